//! What the judge does to deployments under load: its verdict leads back, in words and numbers that agree
//! with the client's count; and what was measured while the server was away counts.

use std::time::Duration;

use ark_load::{Driver, Load, VersionSeen};
use serde_json::Value;

use crate::harness::{Ark, ENV, Sample, eventually_within, state, words};
use crate::shared;

const OVER: Duration = Duration::from_secs(60);

fn load(ark: &Ark, app: &str, rate: f64) -> Load {
    let mix = [(Driver::KeepAlive, 3), (Driver::NewConnection, 1)];
    Load::builder(ark.http, &ark.host(app)).rate(rate).mix(mix)
}

fn number(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or_else(|| panic!("no {key} in {value}"))
}

/// `40 of 1,120 requests` in a finding's words, after its colon.
fn hits_of_all(finding: &str) -> (u64, u64) {
    let (_, counts) = finding.split_once(": ").expect("a colon");
    let mut numbers = counts.split(" of ").map(|part| {
        let digits: String = part.chars().take_while(|c| !c.is_whitespace()).collect();
        digits.replace(',', "").parse().unwrap_or_else(|_| panic!("no number in {finding:?}"))
    });
    let mut next = || numbers.next().expect("two numbers");
    (next(), next())
}

#[test]
fn t47_a_canary_that_is_worse_goes_back_by_the_judges_verdict() {
    let ark = shared();
    let (output, _) = ark.deploy("t47-worse", &Sample::version(1).deploy("watch: 0s"));
    assert!(output.status.success(), "{}", words(&output));
    let load = load(&ark, "t47-worse", 120.0).start().expect("load");
    let canary = Sample::version(2).variable("BROKEN", "fails-one-in:3").deploy(
        "strategy: canary, steps: [{weight: 50}, {pause: 60s}, {analysis: {}}, {weight: 100}]",
    );
    let (output, d) = ark.deploy("t47-worse", &canary);
    let report = load.stop_blocking();
    println!("{report}");
    assert_eq!(output.status.code(), Some(3), "{}", words(&output));
    assert_eq!(state(&d), "rolled_back", "{d}");

    // Early: in the pause, by a look at a few hundred requests.
    assert_eq!(d["rollout"]["step"], 2, "{d}");
    let judgements = d["rollout"]["judgements"].as_array().expect("judgements");
    let judgement = &judgements.last().expect("one")["judgement"];
    assert_eq!(judgement["verdict"], "fail", "{judgement}");
    let judged = number(&judgement["new"], "requests");
    assert!(judged >= 100, "{judgement}");

    // The same words with the deployment, in the diagnosis and in an event.
    assert_eq!(d["diagnosis"]["kind"], "judged", "{d}");
    let reason = d["diagnosis"]["reasons"][0].as_str().expect("a reason");
    assert!(reason.starts_with("5xx: ") && reason.contains(" on v2, 0 of "), "{reason}");
    assert!(reason.contains("on v1; chance"), "{reason}");
    let (failed, all) = hits_of_all(reason);
    assert_eq!(all, judged, "{reason}");
    assert!(failed * 5 > all && failed * 2 < all, "one in three: {reason}");
    assert!(d["diagnosis_words"].to_string().contains(reason), "{d}");
    let id = d["id"].as_str().expect("an id");
    let events = ark.get(&format!("/v1/events?deployment={id}&limit=200")).unwrap_or_default();
    assert!(events.to_string().contains(&format!("the judge fails it: {reason}")), "{events}");

    // The receipt says what the client saw of each version, to the request.
    let seen = |version: &str| report.versions.get(version).copied().unwrap_or_default();
    let receipt = &d["receipt"];
    let VersionSeen { ok, not_ok, answers, .. } = seen("2");
    let of_new = (number(&receipt["new"], "served"), number(&receipt["new"], "failed"));
    assert_eq!(of_new, (ok, not_ok), "{receipt}\n{report}");
    assert_eq!(number(&receipt["new"], "cut"), 0, "{receipt}");
    assert!(answers >= judged, "the judge saw no more than there was: {judged} of {answers}");
    assert_eq!(number(&receipt["old"], "failed"), 0, "{receipt}");
    assert_eq!((seen("1").not_ok, number(receipt, "failed")), (0, not_ok), "{receipt}");
    assert_eq!(report.failed(), not_ok, "{:#?}", report.failures);
}

/// The server dies soon after the watch window has begun and comes again when it is over: what the gateway
/// counted meanwhile is nearly all the evidence there is, and it is waited for.
#[test]
fn t47_a_watch_window_that_passed_without_the_server_is_judged_all_the_same() {
    const APP: &str = "t47-unwatched";
    let mut ark = Ark::up();
    let (output, _) = ark.deploy(APP, &Sample::version(1).deploy("watch: 0s"));
    assert!(output.status.success(), "{}", words(&output));
    let good = load(&ark, APP, 150.0).start().expect("load");
    let watched = Sample::version(2).deploy("watch: 5s").variable("START_DELAY_MS", 2_500);
    let id = ark.deploy_detached(APP, &watched);
    assert_eq!(state(&ark.wait_over(&id, OVER)), "succeeded");
    // From which counters on they count is written down each second.
    std::thread::sleep(Duration::from_millis(1_500));
    ark.kill_server();
    assert_eq!(good.stop_blocking().failed(), 0);
    // From now on it answers nothing but 404.
    let bad = load(&ark, APP, 150.0).path("/gone").start().expect("load");
    std::thread::sleep(Duration::from_secs(5));
    let report = bad.stop_blocking();
    println!("while the server was away: {} requests", report.totals.started);
    ark.start_server();
    let watch = || ark.deployment(&id).unwrap_or_default()["watch"].clone();
    eventually_within(OVER, "the window ends", || watch()["end"].is_string());
    let watch = watch();
    assert_eq!(watch["end"], "rolled_back", "{watch}");
    let looked_at = number(&watch["judgement"]["new"], "requests");
    assert!(looked_at >= 500, "those of the time in which nobody listened: {watch}");
    let app = || ark.get(&format!("/v1/environments/{ENV}/apps/{APP}")).unwrap_or_default();
    eventually_within(OVER, "the release before is live again", || app()["live"] == 1);
}
