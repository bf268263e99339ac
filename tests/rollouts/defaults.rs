//! Each strategy with nothing but Ark's own checks, deadlines, steps and drains; a person shortens what
//! takes minutes. (Rolling, which nobody has to shorten, is in `rollovers.rs`.)

use std::collections::BTreeSet;
use std::time::Duration;

use ark_load::{Driver, Load, Running};
use serde_json::Value;

use crate::harness::{Ark, ENV, Sample, eventually_within, is_over, state, words};
use crate::shared;

/// For what is waited for five seconds of health by default, instance by instance.
const PATIENCE: Duration = Duration::from_secs(90);

fn release(version: u32, strategy: &str) -> Sample {
    let more = format!("deploy: {{strategy: {strategy}}}\n");
    // Of a canary one instance is enough, and comes sooner.
    let count = if strategy == "canary" { 1 } else { 2 };
    Sample { more, ..Sample::version(version).count(count).on_defaults() }
}

fn first(ark: &Ark, app: &str, strategy: &str) {
    let (output, d) = ark.deploy(app, &release(1, strategy));
    assert!(output.status.success(), "{}", words(&output));
    assert_eq!(state(&d), "succeeded", "{d}");
}

fn load(ark: &Ark, app: &str, rate: f64, path: &str) -> Running {
    let load = Load::builder(ark.http, &ark.host(app)).rate(rate).path(path).strict();
    let load = load.mix([(Driver::KeepAlive, 2), (Driver::NewConnection, 1)]);
    load.request_timeout(Duration::from_secs(60)).start().expect("load")
}

/// Nothing was lost, by what the receipt says and by what the clients saw.
fn lost_nothing(load: Running, over: &Value) {
    let report = load.stop_blocking();
    println!("{report}");
    assert_eq!(state(over), "succeeded", "{over}");
    assert_eq!(report.failed(), 0, "{:#?}", report.failures);
    assert_eq!(report.versions.keys().collect::<Vec<_>>(), ["1", "2"], "{report}");
    let receipt = &over["receipt"];
    assert_eq!((&receipt["failed"], &receipt["cut"]), (&0.into(), &0.into()), "{over}");
    assert!(receipt["new"]["served"].as_u64() > Some(0), "{over}");
}

fn say(ark: &Ark, command: &[&str]) {
    let output = ark.run(&[command, &["-e", ENV]].concat());
    assert!(output.status.success(), "{}", words(&output));
}

/// How many instances of a release take traffic, or would.
fn active(ark: &Ark, app: &str, release: u32) -> usize {
    let output = ark.run(&["ps", app, "-e", ENV, "--json"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let all = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    all.filter(|i| i["release"] == release && i["state"] == "active").count()
}

#[test]
fn blue_green_on_the_defaults_keeps_the_old_side_until_somebody_promotes() {
    let ark = shared();
    first(&ark, "d-blue", "blue-green");
    let load = load(&ark, "d-blue", 150.0, "/");
    let id = ark.deploy_detached("d-blue", &release(2, "blue-green"));
    eventually_within(PATIENCE, "all of the traffic is on the new side", || {
        let d = ark.deployment(&id).unwrap_or_default();
        assert!(!is_over(state(&d)), "it ended by itself: {d}");
        state(&d) == "keeping"
    });
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!((active(&ark, "d-blue", 1), active(&ark, "d-blue", 2)), (2, 2), "both are whole");
    say(&ark, &["promote", "d-blue", "--wait"]);
    let over = ark.deployment(&id).expect("it is on record");
    lost_nothing(load, &over);
    assert_eq!((active(&ark, "d-blue", 1), active(&ark, "d-blue", 2)), (0, 2));
}

#[test]
fn recreate_on_the_defaults_holds_what_comes_meanwhile() {
    let ark = shared();
    first(&ark, "d-again", "recreate");
    let load = load(&ark, "d-again", 40.0, "/");
    let (output, over) = ark.deploy("d-again", &release(2, "recreate"));
    assert!(output.status.success(), "{}", words(&output));
    lost_nothing(load, &over);
}

/// Three times a minute is nobody's wish here: a person ends the pauses, and the judge has its word all
/// the same.
#[test]
fn a_canary_on_the_defaults_is_judged_three_times() {
    let ark = shared();
    first(&ark, "d-bird", "canary");
    // What a busy machine adds is little beside what an answer takes by itself: the judge sees two sides
    // that are alike.
    let load = load(&ark, "d-bird", 400.0, "/slow?ms=100");
    let id = ark.deploy_detached("d-bird", &release(2, "canary"));
    let mut promoted = BTreeSet::new();
    eventually_within(PATIENCE, "it is over", || {
        let d = ark.deployment(&id).unwrap_or_default();
        let steps = d["rollout"]["steps"].as_array().into_iter().flatten().zip(1..);
        let at = steps.into_iter().find(|(step, _)| step["state"] == "current");
        if let Some((step, n)) = at
            && step["words"] == "pause 1m"
            && promoted.insert(n)
        {
            say(&ark, &["promote", "d-bird"]);
        }
        is_over(state(&d))
    });
    let over = ark.deployment(&id).expect("it is on record");
    lost_nothing(load, &over);
    assert_eq!(promoted.into_iter().collect::<Vec<i32>>(), [2, 5, 8], "{over}");
    let said = over["rollout"]["judgements"].as_array().cloned().unwrap_or_default();
    let verdicts = said.iter().map(|j| (j["step"].as_i64(), j["judgement"]["verdict"].as_str()));
    let passed = [2, 5, 8].map(|step| (Some(step), Some("pass")));
    assert_eq!(verdicts.collect::<Vec<_>>(), passed, "{over}");
}
