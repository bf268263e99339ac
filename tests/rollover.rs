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
