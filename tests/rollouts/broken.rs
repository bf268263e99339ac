//! Releases that are broken, overtaken or left, and the way back, on the engine of the suite.

use std::time::Duration;

use ark_load::{Driver, Load};

use crate::harness::{Ark, ENV, Sample, eventually, is_over, state, words};
use crate::{INSTANCES, suite};

pub(crate) const OVER: Duration = Duration::from_secs(120);

pub(crate) fn deploys(ark: &Ark, app: &str, sample: &Sample) -> serde_json::Value {
    let (output, d) = ark.deploy(app, sample);
    assert!(output.status.success(), "{}", words(&output));
    d
}

pub(crate) fn app(ark: &Ark, app: &str) -> serde_json::Value {
    ark.get(&format!("/v1/environments/{ENV}/apps/{app}")).unwrap_or_default()
}

pub(crate) fn rollback(ark: &Ark, app: &str, more: &[&str]) -> (Option<i32>, String) {
    let output = ark.run(&[&["rollback", app, "-e", ENV, "--json"], more].concat());
    (output.status.code(), words(&output))
}

pub(crate) fn code(ark: &Ark, args: &[&str]) -> Option<i32> {
    ark.run(args).status.code()
}

fn release(version: u32) -> Sample {
    Sample::version(version).count(INSTANCES)
}

#[test]
fn t17_rollback_racing_deploy() {
    let Some(ark) = suite("t17_rollback_racing_deploy") else { return };
    deploys(&ark, "t17", &release(1));
    deploys(&ark, "t17", &release(2));
    let third = ark.deploy_detached("t17", &release(3).variable("START_DELAY_MS", 3_000));
    eventually("it runs", || ark.deployment(&third).is_some_and(|d| state(&d) == "replacing"));
    let (code, said) = rollback(&ark, "t17", &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(is_over(state(&ark.wait_over(&third, OVER))));
    assert_eq!(app(&ark, "t17")["live"], 2, "back to what was live before the third");
}

#[test]
fn t18_scaling_in_the_middle_keeps_the_count() {
    let Some(ark) = suite("t18_scaling_in_the_middle_keeps_the_count") else { return };
    deploys(&ark, "t18", &release(1));
    let id = ark.deploy_detached("t18", &release(2).variable("START_DELAY_MS", 1_500));
    eventually("it runs", || ark.deployment(&id).is_some_and(|d| state(&d) == "replacing"));
    assert_eq!(code(&ark, &["scale", "t18=3", "-e", ENV, "--detach"]), Some(0));
    assert_eq!(state(&ark.wait_over(&id, OVER)), "succeeded");
    eventually("three are ready", || {
        let app = app(&ark, "t18");
        app["ready"] == 3 && app["alive"] == 3 && app["wanted"] == 3
    });
}

#[test]
fn t27_a_crash_loop_is_reported_in_seconds_with_exit_code_and_log() {
    let Some(ark) = suite("t27_a_crash_loop_is_reported_in_seconds_with_exit_code_and_log") else {
        return;
    };
    deploys(&ark, "t27", &release(1));
    let (output, d) = ark.deploy("t27", &release(2).variable("BROKEN", "crash"));
    assert_eq!(output.status.code(), Some(3), "{}", words(&output));
    assert!(d["diagnosis_words"].to_string().contains("exit 1"), "{d}");
    assert!(d["diagnosis"]["log"].to_string().contains("crash on purpose"), "{d}");
    assert!(d["failures"].as_array().is_some_and(|f| f.len() <= 2), "no loop: {d}");
}

#[test]
fn t29_a_first_deployment_that_fails() {
    let Some(ark) = suite("t29_a_first_deployment_that_fails") else { return };
    let broken = release(1).variable("BROKEN", "never-ready").ready_timeout("2s");
    let (output, d) = ark.deploy("t29", &broken);
    assert_eq!(output.status.code(), Some(1), "{}", words(&output));
    assert_eq!(state(&d), "failed", "{d}");
    let (output, d) = ark.deploy("t29", &release(2));
    assert!(output.status.success(), "the next one is not in its way: {}", words(&output));
    assert_eq!(state(&d), "succeeded", "{d}");
}

#[test]
fn t33_a_rollback_keeps_all_of_its_capacity() {
    const COUNT: u32 = 3;
    let Some(ark) = suite("t33_a_rollback_keeps_all_of_its_capacity") else { return };
    deploys(&ark, "t33", &Sample::version(1).count(COUNT));
    deploys(&ark, "t33", &Sample::version(2).count(COUNT));
    let load = Load::builder(ark.http, &ark.host("t33"))
        .rate(150.0)
        .mix([(Driver::KeepAlive, 2), (Driver::NewConnection, 1)])
        .strict()
        .start()
        .expect("load");
    std::thread::sleep(Duration::from_millis(300));
    let ready = || app(&ark, "t33")["ready"].as_u64().expect("how many serve");
    // What serves is counted again and again while it goes back.
    let (looks, least, d) = std::thread::scope(|scope| {
        let back = scope.spawn(|| ark.json(&["rollback", "t33", "-e", ENV, "--json"]));
        let (mut looks, mut least) = (0, ready());
        while !back.is_finished() {
            (looks, least) = (looks + 1, least.min(ready()));
            std::thread::sleep(Duration::from_millis(10));
        }
        (looks, least, back.join().expect("it ends"))
    });
    let report = load.stop_blocking();
    println!("t33: {looks} looks, {least} serving at least; {report}");
    assert_eq!(state(&d), "succeeded", "{d}");
    assert!(looks >= 5 && least >= u64::from(COUNT), "{least} at least in {looks} looks");
    assert_eq!(report.failed(), 0, "{:#?}", report.failures);
    assert_eq!(d["receipt"]["failed"], 0, "{d}");
    assert_eq!(d["receipt"]["cut"], 0, "{d}");
    assert_eq!(app(&ark, "t33")["live"], 1, "{d}");
}

#[test]
fn t36_back_to_the_last_good_one_skipping_failed_ones() {
    let Some(ark) = suite("t36_back_to_the_last_good_one_skipping_failed_ones") else { return };
    deploys(&ark, "t36", &release(1));
    let (output, _) = ark.deploy("t36", &release(2).variable("BROKEN", "crash"));
    assert_eq!(output.status.code(), Some(3), "{}", words(&output));
    deploys(&ark, "t36", &release(3));
    let (code, said) = rollback(&ark, "t36", &[]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(app(&ark, "t36")["live"], 1, "not the second, which never worked");
}

/// The instances of an app that are there, by id.
fn alive(ark: &Ark, app: &str) -> Vec<String> {
    let output = ark.run(&["ps", app, "-e", ENV, "--json"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let all = text.lines().filter_map(|l| serde_json::from_str::<serde_json::Value>(l).ok());
    let there = all.filter(|i| i["state"] != "stopped");
    there.map(|i| i["id"].as_str().expect("an id").to_owned()).collect()
}

#[test]
fn t40_a_failed_migration_leaves_the_old_side_untouched() {
    let Some(ark) = suite("t40_a_failed_migration_leaves_the_old_side_untouched") else { return };
    let hooked = |version: u32, command: &str| {
        release(version).deploy(&format!("hooks: {{pre_deploy: {command}}}"))
    };
    deploys(&ark, "t40", &release(1));
    let before = alive(&ark, "t40");
    let load = Load::builder(ark.http, &ark.host("t40"))
        .rate(100.0)
        .mix([(Driver::KeepAlive, 1), (Driver::NewConnection, 1)])
        .strict()
        .start()
        .expect("load");
    let broken = hooked(2, r#"[sh, -c, "echo no such table; exit 3"]"#);
    let (output, d) = ark.deploy("t40", &broken);
    assert_eq!(output.status.code(), Some(3), "{}", words(&output));
    assert_eq!(state(&d), "rolled_back", "{d}");
    assert_eq!(d["diagnosis"]["kind"], "hook_failed", "{d}");
    let said = d["diagnosis_words"].as_str().unwrap_or_default();
    assert!(said.contains("pre_deploy") && said.contains("exit 3"), "{said}");
    assert!(d["diagnosis"]["log"].to_string().contains("no such table"), "{d}");
    let report = load.stop_blocking();
    assert_eq!(report.failed(), 0, "{:#?}", report.failures);
    assert_eq!(report.versions.keys().collect::<Vec<_>>(), ["1"], "only the old side answered");
    assert!(!before.is_empty());
    assert_eq!(alive(&ark, "t40"), before, "the same instances as before, and no other");
    // The way back runs none.
    deploys(&ark, "t40", &hooked(3, "[sh, -c, \"exit 0\"]"));
    let back = ark.json(&["rollback", "t40", "-e", ENV, "--json"]);
    assert_eq!(state(&back), "succeeded", "{back}");
    assert_eq!(back["hooks"], serde_json::json!([]), "{back}");
}

/// What hangs in a hook ends by its deadline, with all that it started.
#[test]
fn t26_a_command_that_hangs_ends_by_its_deadline() {
    let Some(ark) = suite("t26_a_command_that_hangs_ends_by_its_deadline") else { return };
    deploys(&ark, "t26", &release(1));
    let hang =
        "hooks: {timeout: 1s, pre_deploy: [sh, -c, \"trap : TERM; sleep 300 & wait; sleep 300\"]}";
    let id = ark.deploy_detached("t26", &release(2).deploy(hang));
    let d = ark.wait_over(&id, OVER);
    assert_eq!(state(&d), "rolled_back", "{d}");
    assert_eq!(d["diagnosis"]["kind"], "hook_failed", "{d}");
    eventually("the old side, and no hook", || alive(&ark, "t26").len() == INSTANCES as usize);
    assert_eq!(app(&ark, "t26")["live"], 1);
}
