//! Work that ends, in a browser: a job is asked for and its log read to its exit code, a schedule is
//! paused and resumed; and the pages of those who may not: signing in, errors, a reader's view.

use std::fs;

use serde_json::Value;

use super::browser::{Browser, is_installed};
use super::harness::lacking::{Lack, skip};
use super::harness::{Ark, ENV, words};
use super::{check_quiet, look, signed_in, site};

pub(super) fn deploy(ark: &Ark, app: &str, run: &str, script: &str) {
    let folder = ark.dir.path().join("launch");
    fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join(format!("{app}.yml"));
    let script = serde_json::to_string(script).expect("text");
    let text = format!(
        "run: {{{run}, command: [/bin/sh, -c, {script}, {app}], stop_grace: 2s}}\n\
         env_defaults: {{MARK: \"{}\"}}\n",
        ark.mark
    );
    fs::write(&path, text).expect("a file");
    let output = ark.run(&["deploy", app, "-e", ENV, "--file", &path.to_string_lossy()]);
    assert!(output.status.success(), "{}", words(&output));
}

#[test]
fn a_job_is_run_and_read_a_schedule_paused_and_strangers_are_told() {
    if !is_installed() {
        return skip(
            "a_job_is_run_and_read_a_schedule_paused_and_strangers_are_told",
            Lack::Browser,
            "chromium or chromedriver is not installed",
        );
    }
    let ark = Ark::up();
    let made = ark.json(&["token", "create", "rita", "--role", "reader", "--json"]);
    let stranger = Browser::start(true);
    // By a name that nobody told the server of.
    stranger.go(&format!("http://other.localhost:{}/jobs", ark.api.port()));
    stranger.reads("the request names a host that is not this server");
    stranger.reads("ark open --console");
    look(&stranger, "refused");
    // By the documented address and by the one where apps answer too.
    stranger.go(&format!("http://127.0.0.1:{}/jobs", ark.api.port()));
    stranger.reads("Sign in");
    assert!(stranger.url().starts_with(&site(&ark)), "{}", stranger.url());
    look(&stranger, "sign-in");
    stranger.type_into("#token", "wrong");
    stranger.click_words("Sign in");
    stranger.reads("That is not known");
    look(&stranger, "sign-in-refused");
    // A link that another page shows asks for a click.
    let link = ark.json(&["open", "--console", "--json"]);
    let link = link["url"].as_str().expect("a link");
    stranger.script(&format!("location.href = '{link}';"));
    stranger.reads("This link signs you in once");
    look(&stranger, "sign-in-link");
    stranger.go(&format!("{}/jobs", site(&ark)));
    stranger.type_into("#token", made["token"].as_str().expect("a token"));
    stranger.click_words("Sign in");
    stranger.reads("No app runs by a schedule");
    look(&stranger, "jobs-empty");

    deploy(&ark, "nightly", "type: cron, schedule: \"30 3 * * *\"", "echo nightly");
    deploy(&ark, "import", "type: job", "echo \"got $*\"; sleep 2; echo done >&2; exit 3");
    deploy(&ark, "idle", "type: process", "sleep 3600");
    stranger.go(&format!("{}/e/{ENV}/idle/do/stop", site(&ark)));
    stranger.reads("may look but not do this");
    look(&stranger, "no-permission");
    stranger.go(&format!("{}/e/{ENV}/none", site(&ark)));
    stranger.reads("no such app");
    look(&stranger, "error");
    stranger.go(&format!("{}/nothing/here", site(&ark)));
    stranger.reads("there is no page at this address");
    look(&stranger, "nowhere");
    stranger.go(&format!("{}/e/{ENV}/idle", site(&ark)));
    stranger.reads("Your role, reader, may look");
    look(&stranger, "app-reader");
    stranger.go(&format!("{}/server", site(&ark)));
    stranger.reads("Tokens are shown to administrators");
    look(&stranger, "server-reader");
    drop(stranger);

    let browser = signed_in(&ark, true);
    browser.go(&format!("{}/jobs", site(&ark)));
    browser.reads("30 3 * * *");
    browser.click_words("Pause");
    browser.reads("paused by");
    browser.click_words("Resume");
    browser.until("the schedule to go on", || !browser.text().contains("paused by"));
    browser.click("a[aria-label=\"Run import on production\"]");
    look(&browser, "run-ask");
    browser.type_into("#args", "one word\n<b>bold</b>");
    browser.click_words("Run");
    browser.reads("got one word <b>bold</b>");
    browser.reads("failed: exit 3");
    let log = || browser.script("return document.getElementById('log').innerText;");
    browser.until("its last line", || {
        log().as_str().is_some_and(|text| text.contains("done") && text.matches("got").count() == 1)
    });
    look(&browser, "run");
    browser.go(&format!("{}/e/{ENV}/import/runs", site(&ark)));
    browser.reads("failed: exit 3");
    look(&browser, "runs");
    // One that goes on is ended.
    browser.go(&format!("{}/e/{ENV}/idle/run", site(&ark)));
    browser.type_into("#args", "/bin/sleep\n600");
    browser.click_words("Run");
    browser.reads("running");
    browser.click_words("End it");
    browser.reads("stopped by");
    browser.go(&format!("{}/jobs", site(&ark)));
    browser.reads("import");
    look(&browser, "jobs");
    let runs: Value = ark.get(&format!("/v1/environments/{ENV}/apps/import/runs")).expect("runs");
    assert_eq!(runs["items"].as_array().map(Vec::len), Some(1), "the form made one run: {runs}");
    check_quiet(&browser, &ark);
}
