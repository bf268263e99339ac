//! The pages that the other tests do not come by: the server with its hosts, registries and push
//! hooks, a data store, a drawing of dependencies, a freeze, forms before they act, a deployment that
//! failed, an empty start. Each is looked at in both themes and at two widths.

use std::fs;
use std::io::Write as _;
use std::process::Stdio;

use super::browser::{Browser, is_installed};
use super::harness::lacking::{Lack, skip};
use super::harness::{Ark, ENV, Sample, words};
use super::{check_quiet, look, signed_in, site};

fn write(ark: &Ark, app: &str, text: &str) -> String {
    let folder = ark.dir.path().join("launch");
    fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join(format!("{app}.yml"));
    fs::write(&path, text).expect("a file");
    path.to_string_lossy().into_owned()
}

/// A worker that needs others.
fn needs(ark: &Ark, app: &str, dependencies: &str) {
    let mark = &ark.mark;
    let text = format!(
        "run: {{type: process, command: [/bin/sleep, \"3600\"], stop_grace: 1s}}\n\
         dependencies: [{dependencies}]\nenv_defaults: {{MARK: \"{mark}\"}}\n"
    );
    let path = write(ark, app, &text);
    good(ark, &["deploy", app, "-e", ENV, "--file", &path]);
}

#[track_caller]
pub(super) fn good(ark: &Ark, args: &[&str]) {
    let output = ark.run(args);
    assert!(output.status.success(), "ark {args:?}: {}", words(&output));
}

/// A push hook, whose secret comes from standard input.
pub(super) fn hook(ark: &Ark) {
    let mut command = ark.command(&["hook", "set", "shop", "--repo", "/srv/git/shop.git"]);
    let mut child = command.stdin(Stdio::piped()).spawn().expect("ark starts");
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(b"0123456789abcdef0123456789abcdef\n").expect("a secret");
    drop(input);
    assert!(child.wait().expect("ark ends").success());
}

#[test]
fn every_other_page_is_looked_at() {
    if !is_installed() {
        return skip(
            "every_other_page_is_looked_at",
            Lack::Browser,
            "chromium or chromedriver is not installed",
        );
    }
    let ark = Ark::up();
    let browser = signed_in(&ark, true);
    let at = |path: &str| browser.go(&format!("{}{path}", site(&ark)));
    browser.reads("Nothing is deployed yet");
    look(&browser, "overview-empty");
    at("/events?kind=token");
    look(&browser, "events-filtered");
    at("/events?env=No+Such");
    browser.reads("cannot be an environment");
    look(&browser, "events-unknown");

    // What needs what, and what failed.
    let (output, _) = ark.deploy("web", &Sample::version(1));
    assert!(output.status.success(), "{}", words(&output));
    let (output, broken) = ark.deploy("mailer", &Sample::version(1).variable("BROKEN", "crash"));
    assert_eq!(output.status.code(), Some(1), "{}", words(&output));
    // The commands that the console shows for a known release do what its buttons do.
    good(&ark, &["plan", "web", "-e", ENV, "--release", "v1"]);
    let from = format!("{ENV}:v1");
    good(&ark, &["deploy", "web", "-e", "eng1-env", "--release", &from]);
    needs(&ark, "search", "web");
    needs(&ark, "shop", "web, search");
    good(&ark, &["env", "freeze", ENV, "always", "--cron", "* * * * *", "--for", "1h"]);
    at(&format!("/environments/{ENV}"));
    browser.reads("Frozen, no deployment begins");
    browser.until("its drawing", || browser.element_there("svg.graph"));
    look(&browser, "environment-graph");
    at(&format!("/d/{}", broken["id"].as_str().expect("its id")));
    browser.reads("crash on purpose");
    look(&browser, "deployment-failed");
    at("/");
    browser.reads("frozen");
    look(&browser, "overview-failed");
    at(&format!("/e/{ENV}/mailer"));
    browser.reads("not deployed");
    look(&browser, "app-failed");

    // Before each act stands what it would do; a freeze refuses.
    at(&format!("/e/{ENV}/web/deploy?from={ENV}&number=1"));
    browser.reads("would be refused");
    look(&browser, "deploy-refused");
    good(&ark, &["env", "freeze", ENV, "always", "--remove"]);
    for (wish, reads) in [("scale", "are wanted now"), ("restart", "beside those"), ("stop", "503")]
    {
        at(&format!("/e/{ENV}/web/do/{wish}"));
        browser.reads(reads);
        look(&browser, wish);
    }
    browser.click_words("Stop");
    browser.reads("Start…");
    look(&browser, "app-stopped");
    at(&format!("/e/{ENV}/web/logs?q=start"));
    browser.reads("start: app=web");
    look(&browser, "logs-search");
    at(&format!("/e/{ENV}/web/logs?q=nobody+wrote+this"));
    browser.reads("No line yet");
    look(&browser, "logs-none");

    // The server. A host that does not answer is named wherever somebody looks first.
    hook(&ark);
    good(&ark, &["registry", "set", "registry.test:5000", "--push", "shop"]);
    at("/server");
    browser.reads("Ark's own");
    browser.reads("registry.test:5000/shop/NAME");
    good(&ark, &["node", "add", "eu-1", "unix:///nonexistent.sock", "--reach", "10.255.0.9"]);
    browser.reads("does not answer");
    look(&browser, "server");
    at("/");
    browser.reads("eu-1 does not answer");
    look(&browser, "overview-silent-host");
    at("/server");
    browser.click("a[href=\"/server/hosts/eu-1/drain\"]");
    browser.reads("place nothing new there");
    look(&browser, "host-drain");
    browser.click_words("Drain");
    browser.reads("Use it again");
    browser.click_words("shop");
    browser.reads("It was told of none yet");
    look(&browser, "hook");
    at("/server/checks");
    browser.reads("store");
    look(&browser, "server-checks");
    check_quiet(&browser, &ark);
}

#[test]
fn a_data_store_says_what_it_is() {
    let here = std::process::Command::new("redis-server").arg("--version").output();
    if !is_installed() || !here.is_ok_and(|output| output.status.success()) {
        return skip(
            "a_data_store_says_what_it_is",
            Lack::Browser,
            "chromium, chromedriver or redis-server is not installed",
        );
    }
    let ark = Ark::up();
    let path = write(&ark, "cache", "type: redis\n");
    good(&ark, &["deploy", "cache", "-e", "eng1", "--file", &path]);
    let browser: Browser = signed_in(&ark, true);
    browser.go(&format!("{}/e/eng1/cache", site(&ark)));
    browser.reads("A Redis data store");
    let text = browser.text();
    assert!(!text.contains("Scale…") && text.contains("local"), "{text}");
    look(&browser, "app-data-store");
    check_quiet(&browser, &ark);
}
