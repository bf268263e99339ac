//! Rollovers under load: nothing failed, nothing reset, and receipts that agree with the load
//! client's own count (rollouts.md, tests 1 to 7).

#![allow(clippy::print_stdout, reason = "the run reports what it measured")]

mod harness;

use std::time::Duration;

use ark_load::{Driver, Load};
use harness::{Ark, Sample, state, words};

const APP: &str = "web";
const ROLLOVERS: u32 = 20;

fn counts(receipt: &serde_json::Value, key: &str) -> u64 {
    receipt[key].as_u64().unwrap_or_else(|| panic!("no {key} in {receipt}"))
}

#[test]
fn twenty_rollovers_under_mixed_load_fail_nothing() {
    let ark = Ark::up();
    let (output, first) = ark.deploy(APP, &Sample::version(0));
    assert!(output.status.success(), "{}", words(&output));
    assert_eq!(state(&first), "succeeded");

    let load = Load::builder(ark.http, &ark.host(APP))
        .rate(500.0)
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
    let (mut served, mut stall) = (0, 0);
    for version in 1..=ROLLOVERS {
        let (output, d) = ark.deploy(APP, &Sample::version(version));
        assert!(output.status.success(), "rollover {version}: {}", words(&output));
        assert_eq!(state(&d), "succeeded");
        let receipt = &d["receipt"];
        assert_eq!(counts(receipt, "failed"), 0, "rollover {version}: {receipt}");
        assert_eq!(counts(receipt, "cut"), 0, "rollover {version}: {receipt}");
        served += counts(receipt, "served");
        stall = stall.max(counts(receipt, "longest_stall_ms"));
    }
    let report = load.stop_blocking();
    println!("{report}");
    println!("receipts: {served} served, longest stall {stall} ms");
    assert!(report.is_balanced(), "{report:?}");
    assert_eq!(report.failed(), 0, "{:#?}", report.failures);
    assert_eq!(report.overflow, 0, "the load itself was too slow");
    assert!(served > 0 && served <= report.totals.started, "{served} of {}", report.totals.started);
    for version in 0..=ROLLOVERS {
        let seen = report.versions.contains_key(&version.to_string());
        assert!(seen, "version {version} never answered: {:?}", report.versions.keys());
    }
}

#[test]
fn a_receipt_agrees_with_the_client_to_the_request() {
    let ark = Ark::up();
    let (output, _) = ark.deploy(APP, &Sample::version(1).count(1));
    assert!(output.status.success(), "{}", words(&output));
    // The new side takes its time, so that the whole load falls within the deployment.
    let slow = Sample::version(2).count(1).variable("START_DELAY_MS", 6_000);
    let id = ark.deploy_detached(APP, &slow);
    harness::eventually("the deployment begins", || {
        ark.deployment(&id).is_some_and(|d| state(&d) == "replacing")
    });
    let load = Load::builder(ark.http, &ark.host(APP))
        .rate(400.0)
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
    let ark = Ark::up();
    let (output, _) = ark.deploy(APP, &Sample::version(1));
    assert!(output.status.success(), "{}", words(&output));
    let load = Load::builder(ark.http, &ark.host(APP))
        .rate(200.0)
        .mix([(Driver::KeepAlive, 1), (Driver::NewConnection, 1)])
        .strict()
        .start()
        .expect("load");
    let cases = [("never-ready", "never_ready", "answered 500"), ("crash", "crashed", "exit 1")];
    for (broken, kind, words_of_it) in cases {
        let sample = Sample::version(broken).variable("BROKEN", broken).ready_timeout("3s");
        let (output, d) = ark.deploy(APP, &sample);
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
    let ark = Ark::up();
    // Nothing but what an app must say: every deadline, check and drain is Ark's own.
    let launch = |version: u32| {
        let folder = ark.dir.path().join("launch");
        std::fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join(format!("{APP}.yml"));
        let text = format!(
            "run: {{command: [\"{}\", sample]}}\n\
             expose: [{{name: default, port: 80, health_check: {{type: http, path: /_health}}}}]\n\
             autoscaling: {{min_count: 2}}\n\
             env_defaults: {{VERSION: \"{version}\", MARK: \"{}\"}}\n",
            harness::ark(),
            ark.mark
        );
        std::fs::write(&path, text).expect("a file");
        path.to_string_lossy().into_owned()
    };
    let deploy = |version: u32| {
        let file = launch(version);
        ark.json(&["deploy", APP, "-e", harness::ENV, "--file", &file, "--json"])
    };
    assert_eq!(state(&deploy(1)), "succeeded");
    let load = Load::builder(ark.http, &ark.host(APP))
        .rate(300.0)
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
fn agrees_under_load(strategy: &str, more: &str) -> serde_json::Value {
    let ark = Ark::up();
    let (output, _) = ark.deploy(APP, &Sample::version(1));
    assert!(output.status.success(), "{}", words(&output));
    // The new side takes a moment, so that the load begins on the old one.
    let sample = Sample::version(2)
        .variable("START_DELAY_MS", 2_000)
        .deploy(&format!("strategy: {strategy}, keep_old: 8s, {more}"));
    let id = ark.deploy_detached(APP, &sample);
    let state_of = |wanted: &str| ark.deployment(&id).is_some_and(|d| state(&d) == wanted);
    harness::eventually("the deployment begins", || state_of("stepping"));
    let load = Load::builder(ark.http, &ark.host(APP))
        .rate(400.0)
        .mix([(Driver::KeepAlive, 2), (Driver::NewConnection, 1)])
        .strict()
        .start()
        .expect("load");
    harness::eventually_within(Duration::from_secs(90), "all traffic is on the new side", || {
        state_of("keeping")
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
    let over = agrees_under_load(
        "canary",
        // Without the judge: what it says of two sides on a busy machine is its own business.
        "steps: [{weight: 25}, {pause: 2s}, {weight: 60}, {pause: 1s}]",
    );
    let rollout = &over["rollout"];
    assert_eq!(rollout["steps"].as_array().map(Vec::len), Some(5), "{rollout}");
}

#[test]
fn a_blue_green_switch_under_load_fails_nothing_and_its_receipt_agrees() {
    agrees_under_load("blue-green", "watch: 2s");
}

#[test]
fn requests_are_held_while_all_is_recreated_and_then_served() {
    let ark = Ark::up();
    let (output, _) = ark.deploy(APP, &Sample::version(1));
    assert!(output.status.success(), "{}", words(&output));
    let load = Load::builder(ark.http, &ark.host(APP))
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
    let (output, over) = ark.deploy(APP, &sample);
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

#[test]
fn people_steer_a_canary_and_an_abort_leaves_the_old_side_whole() {
    let ark = Ark::up();
    let (output, _) = ark.deploy(APP, &Sample::version(1));
    assert!(output.status.success(), "{}", words(&output));
    let steps = "strategy: canary, steps: [{weight: 50}, {approval: {}}, {pause: {}}]";
    let canary = |version: u32| Sample::version(version).deploy(steps);
    let asks = |id: &str, what: &str| {
        harness::eventually(what, || {
            ark.deployment(id).is_some_and(|d| d["rollout"]["asks"]["what"] == what)
        });
    };
    let say = |command: &[&str]| {
        let output = ark.run(&[command, &["-e", harness::ENV, "--json"]].concat());
        (output.status.code(), words(&output))
    };
    let id = ark.deploy_detached(APP, &canary(2));
    asks(&id, "approval");
    assert_eq!(say(&["resume", APP]).0, Some(5), "it is not paused");
    assert_eq!(say(&["approve", APP, "--reason", "looks good"]).0, Some(0));
    asks(&id, "promotion");
    assert_eq!(say(&["pause", APP]).0, Some(0));
    asks(&id, "resumption");
    assert_eq!(say(&["promote", APP, "--full", "--wait"]).0, Some(0));
    assert_eq!(state(&ark.wait_over(&id, Duration::from_secs(30))), "succeeded");
    assert_eq!(say(&["promote", APP]).0, Some(5), "nothing runs");

    let id = ark.deploy_detached(APP, &canary(3));
    asks(&id, "approval");
    let load = Load::builder(ark.http, &ark.host(APP))
        .rate(100.0)
        .mix([(Driver::KeepAlive, 1)])
        .strict()
        .start()
        .expect("load");
    std::thread::sleep(Duration::from_secs(1));
    let (code, said) = say(&["abort", APP]);
    assert_eq!(code, Some(0), "{said}");
    let over = ark.wait_over(&id, Duration::from_secs(30));
    let report = load.stop_blocking();
    assert_eq!(state(&over), "rolled_back", "{over}");
    assert_eq!(report.failed(), 0, "{:#?}", report.failures);
}
