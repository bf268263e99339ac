//! The console in a real browser, in front of a real Ark: sign in, watch a canary move, say what is
//! to be said, roll back, read a log live, destroy an environment. No script may fail, nothing may be
//! asked of anybody else, axe may find nothing serious in either theme, and without script the pages
//! still read.
//!
//! `ARK_SCREENSHOTS=DIR` writes what was looked at, in both themes and at two widths.

#[path = "console/browser.rs"]
mod browser;
mod harness;
#[path = "console/jobs.rs"]
mod jobs;
#[path = "console/noscript.rs"]
mod noscript;
#[path = "console/pages.rs"]
mod pages;
#[path = "console/script.rs"]
mod script;
#[path = "console/walk.rs"]
mod walk;
#[path = "console/workflows.rs"]
mod workflows;

use std::path::PathBuf;
use std::time::Duration;

use ark_load::{Driver, Load};
use browser::{Browser, is_installed};
use harness::lacking::{Lack, skip};
use harness::{Ark, ENV, Sample, words};
use serde_json::{Value, json};

const APP: &str = "web";

/// A browser that is signed in by a link, at the overview.
fn signed_in(ark: &Ark, script: bool) -> Browser {
    let browser = Browser::start(script);
    let link = ark.json(&["open", "--console", "--json"]);
    let url = link["url"].as_str().expect("a link");
    assert!(url.starts_with(&format!("http://ark.localhost:{}/sign-in/", ark.api.port())), "{url}");
    browser.go(url);
    browser.reads("Overview");
    browser
}

fn site(ark: &Ark) -> String {
    format!("http://ark.localhost:{}", ark.api.port())
}

/// No script failed, and nothing was asked of anybody but the server.
fn check_quiet(browser: &Browser, ark: &Ark) {
    for entry in browser.log("browser") {
        let text = entry["message"].as_str().unwrap_or_default();
        // A stream that ends with its page, and the page of something that is gone.
        let expected = text.contains("/live") || text.contains("status of 404");
        assert!(entry["level"] != "SEVERE" || expected, "the browser complains: {text}");
    }
    for entry in browser.log("performance") {
        let message: Value =
            serde_json::from_str(entry["message"].as_str().unwrap_or_default()).expect("JSON");
        if message["message"]["method"] != "Network.requestWillBeSent" {
            continue;
        }
        let url = message["message"]["params"]["request"]["url"].as_str().unwrap_or_default();
        assert!(url.starts_with(&site(ark)), "{url} was asked for");
    }
}

/// The accessibility checker's program, when `.ci/run` has fetched it.
fn axe() -> Option<String> {
    let path =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/axe-core/package/axe.min.js");
    let program = std::fs::read_to_string(path);
    program.map_err(|why| skip("what axe finds", Lack::Axe, &why.to_string())).ok()
}

/// What of a page is cut at an edge, to be reached by scrolling sideways only. Drawings may be.
const CUT: &str = "
    const scrolls = (e) => getComputedStyle(e).overflowX !== 'visible'
      && e.scrollWidth > e.clientWidth + 1;
    const own = (e) => e.closest('svg, .drawing, input, select, textarea, .hidden');
    return [...document.querySelectorAll('main *')]
      .filter((e) => e.checkVisibility() && !own(e) && scrolls(e))
      .map((e) => `${e.tagName}.${e.className} ${e.scrollWidth}: ${e.textContent.trim().slice(0, 90)}`);";

/// Looks at the page in both themes: what axe finds, what is wider than a phone or cut at its edge, and
/// screenshots.
#[track_caller]
fn look(browser: &Browser, name: &str) {
    walk::check(name, &browser.url());
    let axe = axe();
    for theme in ["light", "dark"] {
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": theme }] });
        browser.chromium("Emulation.setEmulatedMedia", media);
        if let Some(axe) = &axe {
            browser.script(axe);
            let found = browser.script_async(
                "const done = arguments[arguments.length - 1];
                 axe.run(document, { resultTypes: ['violations'] }).then((r) => done(
                   r.violations.filter((v) => ['serious', 'critical'].includes(v.impact))
                     .map((v) => v.id + ': ' + v.nodes.map((n) => n.html + ' ' +
                       n.any.map((a) => a.message).join('; ')).join(' | '))));",
            );
            assert_eq!(found, json!([]), "axe, {name}, {theme}");
        }
        for (width, height) in [(1440, 1000), (390, 844)] {
            let size = json!({
                "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600
            });
            browser.chromium("Emulation.setDeviceMetricsOverride", size);
            let wide = browser.script("return document.documentElement.scrollWidth;");
            assert!(wide.as_u64() <= Some(width), "{name} is {wide} wide on {width}");
            let cut = browser.script(CUT);
            assert_eq!(cut, json!([]), "{name} is cut on {width}");
            shoot(browser, &format!("{name}-{theme}-{width}"));
        }
        browser.chromium("Emulation.clearDeviceMetricsOverride", json!({}));
    }
    browser.chromium("Emulation.setEmulatedMedia", json!({ "features": [] }));
}

fn shoot(browser: &Browser, name: &str) {
    use base64::Engine as _;
    let Some(folder) = std::env::var_os("ARK_SCREENSHOTS") else { return };
    let shot = browser.chromium(
        "Page.captureScreenshot",
        json!({ "format": "png", "captureBeyondViewport": true }),
    );
    let data = shot["data"].as_str().expect("a picture");
    let png = base64::engine::general_purpose::STANDARD.decode(data).expect("base64");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(PathBuf::from(folder).join(format!("{name}.png")), png).expect("a file");
}

fn canary(version: u32) -> Sample {
    let steps =
        "strategy: canary, steps: [{weight: 25}, {approval: {}}, {weight: 60}, {pause: {}}]";
    Sample::version(version).deploy(steps)
}

#[test]
fn an_engineer_follows_a_canary_rolls_back_reads_a_log_and_destroys_an_environment() {
    if !is_installed() {
        return skip(
            "an_engineer_follows_a_canary_rolls_back_reads_a_log_and_destroys_an_environment",
            Lack::Browser,
            "chromium or chromedriver is not installed",
        );
    }
    let ark = Ark::up();
    let (output, _) = ark.deploy(APP, &Sample::version(1));
    assert!(output.status.success(), "{}", words(&output));
    let load = Load::builder(ark.http, &ark.host(APP))
        .rate(60.0)
        .mix([(Driver::KeepAlive, 1)])
        .strict()
        .start()
        .expect("load");
    let set = ark.run(&["config", "set", "-e", ENV, APP, "LOG_LEVEL=debug"]);
    assert!(set.status.success(), "{}", words(&set));

    let browser = signed_in(&ark, true);
    browser.reads("v1");
    look(&browser, "overview");

    // The canary appears by itself, moves, waits, and goes on when it is told to.
    ark.deploy_detached(APP, &canary(2));
    browser.reads("Being deployed");
    browser.reads("waits for an approval");
    look(&browser, "overview-running");
    browser.click(".card.busy a");
    browser.reads("25 % of the requests on v2");
    std::thread::sleep(Duration::from_secs(12));
    look(&browser, "deployment-running");
    // Enter in the field is no approval, and what is typed stays although the page goes on.
    browser.type_into("#why", "the p99 is fine\n");
    std::thread::sleep(Duration::from_secs(2));
    browser.reads("waits for an approval");
    browser.click_words("Approve");
    browser.reads("60 % of the requests on v2");
    browser.reads("approves step 2 of 5: the p99 is fine");
    browser.reads("waits until somebody promotes it");
    browser.click_words("Go on");
    browser.reads("succeeded");
    browser.reads("served");
    look(&browser, "deployment");
    // What was measured is kept with it.
    let url = browser.url();
    let id = url.rsplit('/').next().expect("an id");
    let kept = ark.get(&format!("/v1/deployments/{id}/traffic")).expect("its traffic");
    let slices = kept["slices"].as_array().expect("slices");
    let served = |release: u64| {
        let sides = slices.iter().flat_map(|slice| slice["sides"].as_array().expect("sides"));
        let own = sides.filter(|side| side["release"] == release);
        own.filter_map(|side| side["served"].as_u64()).sum::<u64>()
    };
    assert!(served(1) > 100 && served(2) > 100, "{kept}");
    let wide = slices.iter().any(|slice| slice["sides"].as_array().is_some_and(|s| s.len() == 2));
    assert!(wide, "both sides at one time: {kept}");

    // Back, after the plan was shown.
    browser.go(&format!("{}/e/{ENV}/{APP}", site(&ark)));
    browser.reads("VERSION");
    look(&browser, "app");
    browser.click_words("All deployments");
    browser.reads("0 of");
    look(&browser, "deployments");
    browser.go(&format!("{}/e/{ENV}/{APP}/releases", site(&ark)));
    browser.reads("configuration VERSION");
    look(&browser, "releases");
    browser.go(&format!("{}/e/{ENV}/{APP}/diff?from=1&to=2", site(&ark)));
    browser.reads("configuration VERSION");
    look(&browser, "diff");
    browser.go(&format!("{}/e/{ENV}/{APP}", site(&ark)));
    browser.click_words("Roll back");
    browser.reads("What would be done");
    browser.reads("back to v1");
    look(&browser, "rollback");
    browser.type_into("#reason", "the p99 looks odd");
    browser.click_words("Roll back to v1");
    browser.reads("the p99 looks odd");
    browser.reads("succeeded");
    let report = load.stop_blocking();
    assert_eq!(report.failed(), 0, "{:#?}", report.failures);
    // It does not lead forth again to what was rolled back from, and there is nothing before it.
    browser.go(&format!("{}/e/{ENV}/{APP}", site(&ark)));
    browser.reads("rollback to v1");
    assert!(!browser.text().contains("Roll back…"), "{}", browser.text());

    // Deploy a known release by hand.
    browser.go(&format!("{}/e/{ENV}/{APP}/deploy", site(&ark)));
    browser.reads("Releases of production");
    look(&browser, "deploy");
    browser.click(&format!("a[href=\"/e/{ENV}/{APP}/deploy?from={ENV}&number=2\"]"));
    browser.reads("What would be done");
    browser.click_words("Deploy");
    browser.reads("v1 → v2");
    browser.reads("25 % of the requests on v2");
    browser.click_words("All of the traffic");
    browser.reads("succeeded");
    browser.go(&format!("{}/e/{ENV}/{APP}/do/scale", site(&ark)));
    browser.type_into("#count", "1");
    browser.click_words("Scale");
    browser.reads("1 wanted, set by scale");

    // A log goes on by itself.
    browser.go(&format!("{}/e/{ENV}/{APP}/logs", site(&ark)));
    browser.reads("start: app=web version=1");
    let starts = |browser: &Browser| browser.text().matches("start: ").count();
    let before = starts(&browser);
    // What the page had is not sent again by the stream that goes on from there.
    browser.reads("Live");
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(starts(&browser), before, "a line stands twice: {}", browser.text());
    assert!(ark.run(&["restart", APP, "-e", ENV]).status.success());
    browser.until("a new line in the log", || starts(&browser) == before + 1);
    look(&browser, "logs");
    browser.go(&format!("{}/events", site(&ark)));
    browser.reads("was scaled to 1 instance");
    look(&browser, "events");

    // An environment with an end, put off, and lifted; then it is destroyed by hand.
    browser.go(&format!("{}/environments", site(&ark)));
    browser.type_into("#name", "eng1-env");
    browser.script("document.getElementById('lease').value = '28800';");
    browser.click_words("Make it");
    browser.reads("Its lease runs out in 7 h");
    look(&browser, "environment-lease");
    browser.script("document.getElementById('term').value = '604800';");
    browser.click_words("Renew");
    browser.reads("Its lease runs out in 6 d");
    browser.go(&format!("{}/environments", site(&ark)));
    browser.reads("in 6 d");
    look(&browser, "environments");
    browser.go(&format!("{}/environments/eng1-env", site(&ark)));
    browser.click_words("Lift it");
    browser.reads("It has none and stays");
    browser.type_into("#name", "eng1-env");
    browser.click_words("Destroy");
    browser.until("eng1-env to be gone", || !browser.text().contains("eng1-env"));

    browser.go(&format!("{}/environments/{ENV}", site(&ark)));
    look(&browser, "environment");
    browser.type_into("#name", ENV);
    browser.click_words("Destroy");
    browser.reads("There is none yet");
    look(&browser, "environments-empty");
    check_quiet(&browser, &ark);
}
