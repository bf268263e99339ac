//! Rollovers under load, by each strategy: nothing failed, nothing reset, and receipts that agree
//! with the load client's own count; on the engine of the suite.

use std::time::Duration;

use ark_load::{Driver, Load};

use crate::harness::{Ark, ENV, Sample, eventually, eventually_within, is_over, state, words};
use crate::{RATE, ROLLOVERS, suite};

fn counts(receipt: &serde_json::Value, key: &str) -> u64 {
    receipt[key].as_u64().unwrap_or_else(|| panic!("no {key} in {receipt}"))
}

#[test]
fn rollovers_in_a_row_under_mixed_load_fail_nothing() {
    let Some(ark) = suite("rollovers_in_a_row_under_mixed_load_fail_nothing") else { return };
    // An upload of this load takes 17 s where others have the machine, and one that outlasts its drain is cut
    // by agreement: that is no loss of the rollover.
    let release = |version| Sample { drain_requests: "60s", ..Sample::version(version) };
    let (output, first) = ark.deploy("row", &release(0));
    assert!(output.status.success(), "{}", words(&output));
    assert_eq!(state(&first), "succeeded");

    let load = Load::builder(ark.http, &ark.host("row"))
        .rate(RATE)
        .mix([
            (Driver::KeepAlive, 12),
            (Driver::NewConnection, 6),
            (Driver::Slow, 1),
            (Driver::Upload, 1),
        ])
        .slow(Duration::from_millis(400))
        .sse_streams(4)
        .websockets(4)
        .strict()
        .start()
        .expect("load");
    let (mut served, mut stall, mut lost) = (0, 0, Vec::new());
    for version in 1..=ROLLOVERS {
        let (output, d) = ark.deploy("row", &release(version));
        assert!(output.status.success(), "rollover {version}: {}", words(&output));
        assert_eq!(state(&d), "succeeded");
        let receipt = &d["receipt"];
        if counts(receipt, "failed") + counts(receipt, "cut") > 0 {
            lost.push(format!("rollover {version}: {receipt}"));
        }
        served += counts(receipt, "served");
        stall = stall.max(counts(receipt, "longest_stall_ms"));
    }
    let report = load.stop_blocking();
    println!("{report}");
    println!("receipts: {served} served, longest stall {stall} ms");
    assert!(report.is_balanced(), "{report:?}");
    // Both sides of it, so that one that is lost is known by how it ended.
    assert!(report.failed() == 0 && lost.is_empty(), "{lost:#?}\n{:#?}", report.failures);
    assert_eq!(report.overflow, 0, "the load itself was too slow");
    assert!(served > 0 && served <= report.totals.started, "{served} of {}", report.totals.started);
    for version in 0..=ROLLOVERS {
        let seen = report.versions.contains_key(&version.to_string());
        assert!(seen, "version {version} never answered: {:?}", report.versions.keys());
    }
}

#[test]
fn a_receipt_agrees_with_the_client_to_the_request() {
    let Some(ark) = suite("a_receipt_agrees_with_the_client_to_the_request") else { return };
    let (output, _) = ark.deploy("agrees", &Sample::version(1).count(1));
    assert!(output.status.success(), "{}", words(&output));
    // The new side takes its time, so that the whole load falls within the deployment.
    let slow = Sample::version(2).count(1).variable("START_DELAY_MS", 6_000);
    let id = ark.deploy_detached("agrees", &slow);
    eventually("the deployment begins", || {
        ark.deployment(&id).is_some_and(|d| state(&d) == "replacing")
    });
    let load = Load::builder(ark.http, &ark.host("agrees"))
        .rate(RATE.min(400.0))
        .mix([(Driver::KeepAlive, 2), (Driver::NewConnection, 1)])
        .strict()
        .start()
        .expect("load");
    std::thread::sleep(Duration::from_secs(2));
    let report = load.stop_blocking();
    let during = ark.deployment(&id).expect("the deployment");
    assert_eq!(state(&during), "replacing", "the load must end before the deployment does");
    assert_eq!(report.failed(), 0, "{:#?}", report.failures);
    let over = ark.wait_over(&id, Duration::from_secs(60));
    assert_eq!(state(&over), "succeeded");
    let receipt = &over["receipt"];
    assert_eq!(counts(receipt, "served"), report.ok(), "{receipt}\n{report}");
    assert_eq!(counts(receipt, "failed") + counts(receipt, "cut"), 0, "{receipt}");
    assert_eq!(counts(&receipt["old"], "served"), report.ok(), "all of it was on the old side");
    assert_eq!(counts(&receipt["new"], "served"), 0, "{receipt}");
}

#[test]
fn a_broken_release_is_returned_and_its_failure_is_explained() {
    let Some(ark) = suite("a_broken_release_is_returned_and_its_failure_is_explained") else {
        return;
    };
    let (output, _) = ark.deploy("broken", &Sample::version(1));
    assert!(output.status.success(), "{}", words(&output));
    let load = Load::builder(ark.http, &ark.host("broken"))
        .rate(200.0)
        .mix([(Driver::KeepAlive, 1), (Driver::NewConnection, 1)])
        .strict()
        .start()
        .expect("load");
    let cases = [("never-ready", "never_ready", "answered 500"), ("crash", "crashed", "exit 1")];
    for (broken, kind, words_of_it) in cases {
        let mut sample = Sample::version(broken).variable("BROKEN", broken);
        if kind == "never_ready" {
            sample = sample.ready_timeout("5s");
        }
        let (output, d) = ark.deploy("broken", &sample);
        assert_eq!(output.status.code(), Some(3), "{broken}: {}", words(&output));
        assert_eq!(state(&d), "rolled_back", "{d}");
        assert_eq!(d["diagnosis"]["kind"], kind, "{d}");
        let said = d["diagnosis_words"].as_str().unwrap_or_default().to_owned();
        assert!(said.contains(words_of_it), "{broken}: {said}");
        assert_eq!(counts(&d["receipt"], "failed") + counts(&d["receipt"], "cut"), 0, "{d}");
    }
    let report = load.stop_blocking();
    assert_eq!(report.failed(), 0, "{:#?}", report.failures);
    let versions: Vec<&String> = report.versions.keys().collect();
    assert_eq!(versions, ["1"], "only the good release ever answered");
}

#[test]
fn rolling_on_the_defaults_fails_nothing() {
    let Some(ark) = suite("rolling_on_the_defaults_fails_nothing") else { return };
    let deploy = |version: u32| {
        let (output, d) = ark.deploy("defaults", &Sample::version(version).on_defaults());
        assert!(output.status.success(), "{}", words(&output));
        d
    };
    assert_eq!(state(&deploy(1)), "succeeded");
    let load = Load::builder(ark.http, &ark.host("defaults"))
        .rate(RATE.min(300.0))
        .mix([(Driver::KeepAlive, 2), (Driver::NewConnection, 1)])
        .strict()
        .start()
        .expect("load");
    let second = deploy(2);
    let report = load.stop_blocking();
    assert_eq!(state(&second), "succeeded", "{second}");
    assert_eq!(report.failed(), 0, "{:#?}", report.failures);
    let receipt = &second["receipt"];
    assert_eq!(counts(receipt, "failed") + counts(receipt, "cut"), 0, "{receipt}");
    assert!(counts(receipt, "served") > 0, "{receipt}");
}

/// A rollover by `strategy` whose whole load falls within the deployment: what the client counted
/// and what the receipt says must be the same, on each side.
fn agrees_under_load(ark: &Ark, app: &str, strategy: &str, more: &str) -> serde_json::Value {
    let (output, _) = ark.deploy(app, &Sample::version(1));
    assert!(output.status.success(), "{}", words(&output));
    // The new side takes a moment, so that the load begins on the old one.
    let sample = Sample::version(2)
        .variable("START_DELAY_MS", 2_000)
        .deploy(&format!("strategy: {strategy}, keep_old: 8s, {more}"));
    let id = ark.deploy_detached(app, &sample);
    let state_of = |wanted: &str| ark.deployment(&id).is_some_and(|d| state(&d) == wanted);
    eventually("the deployment begins", || state_of("stepping"));
    let load = Load::builder(ark.http, &ark.host(app))
        .rate(RATE.min(400.0))
        .mix([(Driver::KeepAlive, 2), (Driver::NewConnection, 1)])
        .strict()
        .start()
        .expect("load");
    eventually_within(Duration::from_secs(100), "all traffic is on the new side", || {
        let d = ark.deployment(&id).unwrap_or_default();
        assert!(!is_over(state(&d)), "it ended early: {d}");
        state(&d) == "keeping"
    });
    std::thread::sleep(Duration::from_secs(2));
    let report = load.stop_blocking();
    assert!(state_of("keeping"), "the load must end before the deployment does");
    println!("{strategy}: {report}");
    assert_eq!(report.failed(), 0, "{:#?}", report.failures);
    let over = ark.wait_over(&id, Duration::from_secs(60));
    assert_eq!(state(&over), "succeeded", "{over}");
    let receipt = &over["receipt"];
    assert_eq!(counts(receipt, "failed") + counts(receipt, "cut"), 0, "{receipt}");
    assert_eq!(counts(receipt, "served"), report.ok(), "{receipt}\n{report}");
    let seen = |version: &str| report.versions.get(version).map_or(0, |seen| seen.ok);
    assert_eq!(counts(&receipt["old"], "served"), seen("1"), "{receipt}\n{report}");
    assert_eq!(counts(&receipt["new"], "served"), seen("2"), "{receipt}\n{report}");
    assert!(seen("1") > 0 && seen("2") > 0, "{report}");
    over
}

#[test]
fn a_canary_under_load_fails_nothing_and_its_receipt_agrees() {
    let Some(ark) = suite("a_canary_under_load_fails_nothing_and_its_receipt_agrees") else {
        return;
    };
    let over = agrees_under_load(
        &ark,
        "birds",
        "canary",
        // Without the judge: what it says of two sides on a busy machine is its own business.
        "steps: [{weight: 25}, {pause: 2s}, {weight: 60}, {pause: 1s}]",
    );
    let rollout = &over["rollout"];
    assert_eq!(rollout["steps"].as_array().map(Vec::len), Some(5), "{rollout}");
}

#[test]
fn a_blue_green_switch_under_load_fails_nothing_and_its_receipt_agrees() {
    let test = "a_blue_green_switch_under_load_fails_nothing_and_its_receipt_agrees";
    let Some(ark) = suite(test) else { return };
    agrees_under_load(&ark, "switched", "blue-green", "watch: 2s");
}

#[test]
fn requests_are_held_while_all_is_recreated_and_then_served() {
    let Some(ark) = suite("requests_are_held_while_all_is_recreated_and_then_served") else {
        return;
    };
    let (output, _) = ark.deploy("recreated", &Sample::version(1));
    assert!(output.status.success(), "{}", words(&output));
    let load = Load::builder(ark.http, &ark.host("recreated"))
        .rate(50.0)
        .mix([(Driver::NewConnection, 1)])
        .request_timeout(Duration::from_secs(60))
        .strict()
        .start()
        .expect("load");
    // A receipt counts what has ended when the deployment ends: what was held needs a while to be answered
    // on a busy machine.
    let sample = Sample {
        min_healthy: "2s",
        ..Sample::version(2).variable("START_DELAY_MS", 1_500).deploy("strategy: recreate")
    };
    let (output, over) = ark.deploy("recreated", &sample);
    assert!(output.status.success(), "{}", words(&output));
    std::thread::sleep(Duration::from_secs(1));
    let report = load.stop_blocking();
    println!("recreate: {report}");
    assert_eq!(report.failed(), 0, "{:#?}", report.failures);
    let receipt = &over["receipt"];
    assert_eq!(counts(receipt, "failed") + counts(receipt, "cut"), 0, "{receipt}");
    let stall = counts(receipt, "longest_stall_ms");
    assert!(stall >= 1_000, "requests must have waited for the new side: {receipt}");
    let seen = |version: &str| report.versions.get(version).expect("both answer");
    assert!(seen("1").last_at_ms <= seen("2").first_at_ms, "never beside each other: {report}");
}

/// What was held is answered long after the new side is live: the deployment ends when it has been.
#[test]
fn what_was_held_is_in_the_receipt_to_the_request() {
    let Some(ark) = suite("what_was_held_is_in_the_receipt_to_the_request") else { return };
    let (output, _) = ark.deploy("held", &Sample::version(1));
    assert!(output.status.success(), "{}", words(&output));
    let sample = Sample::version(2).variable("START_DELAY_MS", 4_000).deploy("strategy: recreate");
    let id = ark.deploy_detached("held", &sample);
    eventually("the deployment begins", || {
        ark.deployment(&id).is_some_and(|d| state(&d) == "replacing")
    });
    let load = Load::builder(ark.http, &ark.host("held"))
        .rate(40.0)
        .mix([(Driver::NewConnection, 1)])
        .path("/slow?ms=2500")
        .request_timeout(Duration::from_secs(60))
        .stop_timeout(Duration::from_secs(60))
        .strict()
        .start()
        .expect("load");
    std::thread::sleep(Duration::from_secs(2));
    let during = ark.deployment(&id).expect("the deployment");
    assert_eq!(state(&during), "replacing", "all requests are sent before the new side serves");
    let report = load.stop_blocking();
    println!("recreate: {report}");
    let over = ark.wait_over(&id, Duration::from_secs(60));
    assert_eq!(state(&over), "succeeded", "{over}");
    assert_eq!(report.failed(), 0, "{:#?}", report.failures);
    let receipt = &over["receipt"];
    assert_eq!(counts(receipt, "served"), report.ok(), "{receipt}\n{report}");
    assert_eq!(counts(receipt, "failed") + counts(receipt, "cut"), 0, "{receipt}");
    let held = report.versions.get("2").map_or(0, |seen| seen.ok);
    assert!(held > 20, "{report}");
    assert_eq!(counts(&receipt["new"], "served"), held, "{receipt}\n{report}");
}

#[test]
fn people_steer_a_canary_and_an_abort_leaves_the_old_side_whole() {
    let Some(ark) = suite("people_steer_a_canary_and_an_abort_leaves_the_old_side_whole") else {
        return;
    };
    let (output, _) = ark.deploy("steered", &Sample::version(1));
    assert!(output.status.success(), "{}", words(&output));
    let steps = "strategy: canary, steps: [{weight: 50}, {approval: {}}, {pause: {}}]";
    let canary = |version: u32| Sample::version(version).deploy(steps);
    let asks = |id: &str, what: &str| {
        eventually(what, || {
            ark.deployment(id).is_some_and(|d| d["rollout"]["asks"]["what"] == what)
        });
    };
    let say = |command: &[&str]| {
        let output = ark.run(&[command, &["-e", ENV, "--json"]].concat());
        (output.status.code(), words(&output))
    };
    let id = ark.deploy_detached("steered", &canary(2));
    asks(&id, "approval");
    assert_eq!(say(&["resume", "steered"]).0, Some(5), "it is not paused");
    assert_eq!(say(&["approve", "steered", "--reason", "looks good"]).0, Some(0));
    asks(&id, "promotion");
    assert_eq!(say(&["pause", "steered"]).0, Some(0));
    asks(&id, "resumption");
    assert_eq!(say(&["promote", "steered", "--full", "--wait"]).0, Some(0));
    assert_eq!(state(&ark.wait_over(&id, Duration::from_secs(30))), "succeeded");
    assert_eq!(say(&["promote", "steered"]).0, Some(5), "nothing runs");

    let id = ark.deploy_detached("steered", &canary(3));
    asks(&id, "approval");
    let load = Load::builder(ark.http, &ark.host("steered"))
        .rate(100.0)
        .mix([(Driver::KeepAlive, 1)])
        .strict()
        .start()
        .expect("load");
    std::thread::sleep(Duration::from_secs(1));
    let (code, said) = say(&["abort", "steered"]);
    assert_eq!(code, Some(0), "{said}");
    let over = ark.wait_over(&id, Duration::from_secs(30));
    let report = load.stop_blocking();
    assert_eq!(state(&over), "rolled_back", "{over}");
    assert_eq!(report.failed(), 0, "{:#?}", report.failures);
}
