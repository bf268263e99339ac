//! What a rollover does to traffic, client by client, on the engine of the suite.

use std::time::{Duration, Instant};

use ark_load::{Class, Driver, Load};

use crate::harness::{Ark, ENV, Raw, Sample, eventually, state, words};
use crate::{INSTANCES, suite};

fn release(version: u32) -> Sample {
    Sample::version(version).count(INSTANCES)
}

/// Deploys and must succeed.
fn deploys(ark: &Ark, app: &str, sample: &Sample) -> serde_json::Value {
    let (output, d) = ark.deploy(app, sample);
    assert!(output.status.success(), "{}", words(&output));
    d
}

/// Whether a receipt lost nothing.
fn lost_nothing(d: &serde_json::Value) {
    let receipt = &d["receipt"];
    assert_eq!(receipt["failed"], 0, "{d}");
    assert_eq!(receipt["cut"], 0, "{d}");
}

/// A rollover from one sample to another under a load, which must lose nothing.
fn under(ark: &Ark, app: &str, load: Load, before: &Sample, after: &Sample) -> ark_load::Report {
    deploys(ark, app, before);
    let load = load.strict().start().expect("load");
    std::thread::sleep(Duration::from_millis(300));
    let d = deploys(ark, app, after);
    // Whose stream ended with the old side comes again.
    std::thread::sleep(Duration::from_millis(500));
    let report = load.stop_blocking();
    lost_nothing(&d);
    assert_eq!(report.failed(), 0, "{:#?}", report.failures);
    report
}

fn load(ark: &Ark, app: &str) -> Load {
    Load::builder(ark.http, &ark.host(app)).rate(60.0)
}

fn plain(ark: &Ark, app: &str) -> Load {
    load(ark, app).mix([(Driver::KeepAlive, 1), (Driver::NewConnection, 1)])
}

#[test]
fn t02_one_replica_only() {
    let Some(ark) = suite("t02_one_replica_only") else { return };
    let report = under(
        &ark,
        "t02",
        plain(&ark, "t02"),
        &Sample::version(1).count(1),
        &Sample::version(2).count(1),
    );
    assert_eq!(report.versions.len(), 2, "{report}");
}

#[test]
fn t03_a_keep_alive_client_pinned_to_the_old_side() {
    let Some(ark) = suite("t03_a_keep_alive_client_pinned_to_the_old_side") else { return };
    deploys(&ark, "t03", &release(1));
    let mut pinned = Raw::open(&ark, "t03");
    let mut ask = || {
        pinned.send("GET /version HTTP/1.1\r\nhost: HOST\r\n\r\n");
        pinned.answer()
    };
    assert_eq!(ask(), (200, "1".to_owned()));
    deploys(&ark, "t03", &release(2));
    assert_eq!(ask(), (200, "2".to_owned()), "the same connection, the new side");
}

#[test]
fn t04_an_answer_that_outlives_sigterm() {
    let Some(ark) = suite("t04_an_answer_that_outlives_sigterm") else { return };
    deploys(&ark, "t04", &release(1));
    let mut slow = Raw::open(&ark, "t04");
    slow.send("GET /slow?ms=5000 HTTP/1.1\r\nhost: HOST\r\n\r\n");
    let id = ark.deploy_detached("t04", &release(2));
    let (status, _) = slow.answer();
    assert_eq!(status, 200, "the old side finished it");
    let d = ark.wait_over(&id, Duration::from_secs(60));
    assert_eq!(state(&d), "succeeded", "{d}");
    lost_nothing(&d);
}

#[test]
fn t05_an_upload_in_progress_is_finished_and_never_retried() {
    let Some(ark) = suite("t05_an_upload_in_progress_is_finished_and_never_retried") else {
        return;
    };
    deploys(&ark, "t05", &release(1));
    let mut upload = Raw::open(&ark, "t05");
    upload.send("POST /echo HTTP/1.1\r\nhost: HOST\r\ncontent-length: 10\r\n\r\nhello");
    let id = ark.deploy_detached("t05", &release(2));
    eventually("the new side has the traffic", || {
        ark.deployment(&id).is_some_and(|d| state(&d) == "draining")
    });
    upload.send("world");
    assert_eq!(upload.answer(), (200, "helloworld".to_owned()));
    let d = ark.wait_over(&id, Duration::from_secs(60));
    assert_eq!(state(&d), "succeeded", "{d}");
    lost_nothing(&d);
    assert_eq!(d["receipt"]["retried"], 0, "{d}");
}

#[test]
fn t06_a_websocket_gets_a_close_frame_and_grace() {
    let Some(ark) = suite("t06_a_websocket_gets_a_close_frame_and_grace") else { return };
    let load = load(&ark, "t06").websockets(4);
    let report = under(&ark, "t06", load, &release(1), &release(2));
    // Those of the old side are closed with it, in order; those of the new side with the load.
    let sockets = report.driver(Driver::Ws);
    let in_order = sockets.count(Class::Ok) + sockets.count(Class::Ended);
    assert!(in_order > 4 && in_order == sockets.started, "closed in order: {report}");
}

#[test]
fn t07_sse_not_buffered_drained() {
    let Some(ark) = suite("t07_sse_not_buffered_drained") else { return };
    let load = load(&ark, "t07").sse_streams(4);
    let report = under(&ark, "t07", load, &release(1), &release(2));
    let streams = report.driver(Driver::Sse);
    // Those of the old side ended with it, in order; those of the new side end with the load.
    let in_order = streams.count(Class::Ok) + streams.count(Class::Ended);
    assert!(in_order > 4 && in_order == streams.started, "ended in order: {report}");
    // Each event came by itself: buffered ones would come in few, large pieces, long apart.
    assert!(streams.messages > 20, "{report}");
    assert!(streams.longest_message_gap_ms < 5_000, "{report}");
}

#[test]
fn t08_an_app_that_ignores_sigterm() {
    let Some(ark) = suite("t08_an_app_that_ignores_sigterm") else { return };
    let stubborn = release(1).variable("IGNORE_SIGTERM", 1).stop_grace("1s");
    under(&ark, "t08", plain(&ark, "t08"), &stubborn, &release(2));
}

#[test]
fn t09_an_app_that_exits_at_once_on_sigterm() {
    let Some(ark) = suite("t09_an_app_that_exits_at_once_on_sigterm") else { return };
    let hasty = release(1).variable("EXIT_AT_ONCE", 1);
    let load = plain(&ark, "t09").mix([(Driver::KeepAlive, 2), (Driver::Slow, 1)]);
    under(&ark, "t09", load, &hasty, &release(2));
}

#[test]
fn t10_a_slow_start() {
    let Some(ark) = suite("t10_a_slow_start") else { return };
    let slow = release(2).variable("START_DELAY_MS", 2_000);
    let report = under(&ark, "t10", plain(&ark, "t10"), &release(1), &slow);
    assert!(report.versions.contains_key("2"), "{report}");
}

/// Ready, then not for a while, then ready again: no failure, and its time of being healthy begins anew.
/// When it does so again while it has all the traffic, that serves on: a check alone takes nothing down.
#[test]
fn t10_health_that_flaps_once() {
    let Some(ark) = suite("t10_health_that_flaps_once") else { return };
    let before = release(1).count(1);
    let flaps = |version: u32, between: &str| {
        let broken = format!("ill-between-ms:{between}");
        Sample { min_healthy: "2s", ..release(version).count(1).variable("BROKEN", broken) }
    };
    let report = under(&ark, "t10f", plain(&ark, "t10f"), &before, &flaps(2, "500-2500"));
    assert_eq!(report.versions.keys().collect::<Vec<_>>(), ["1", "2"], "{report}");
    let row = || {
        let output = ark.run(&["ps", "t10f", "-e", ENV, "--json"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let all = text.lines().filter_map(|l| serde_json::from_str::<serde_json::Value>(l).ok());
        all.into_iter().find(|i| i["state"] == "active").unwrap_or_default()
    };
    let time = |row: &serde_json::Value, key: &str| -> jiff::Timestamp {
        row[key].as_str().and_then(|at| at.parse().ok()).unwrap_or_else(|| panic!("{key}: {row}"))
    };
    let second = row();
    assert_eq!(second["release"], 2, "{second}");
    let waited = time(&second, "since").duration_since(time(&second, "created_at"));
    assert!(waited.as_millis() >= 2_500 + 2_000, "active after {waited}: {second}");

    let deployed = deploys(&ark, "t10f", &flaps(3, "7000-9000"));
    assert_eq!(deployed["failures"], serde_json::json!([]), "{deployed}");
    let load = plain(&ark, "t10f").strict().start().expect("load");
    eventually("it is seen ill", || row()["ready"] == false);
    eventually("it is well again", || row()["ready"] == true);
    let third = row();
    assert_eq!(third["release"], 3, "{third}");
    let report = load.stop_blocking();
    assert_eq!(report.failed(), 0, "{:#?}", report.failures);
}

#[test]
fn t11_healthy_then_dead_within_min_healthy_time() {
    let Some(ark) = suite("t11_healthy_then_dead_within_min_healthy_time") else { return };
    deploys(&ark, "t11", &release(1));
    let load = plain(&ark, "t11").strict().start().expect("load");
    let mut dies = release(2).variable("BROKEN", "crash-after-ms:700");
    dies.min_healthy = "3s";
    let (output, d) = ark.deploy("t11", &dies);
    let report = load.stop_blocking();
    assert_eq!(output.status.code(), Some(3), "{}", words(&output));
    assert_eq!(d["diagnosis"]["kind"], "crashed", "{d}");
    assert_eq!(report.failed(), 0, "{:#?}", report.failures);
    assert_eq!(report.versions.keys().collect::<Vec<_>>(), ["1"], "it never had traffic");
}

#[test]
fn t13_held_requests_are_served_in_the_end() {
    let Some(ark) = suite("t13_held_requests_are_served_in_the_end") else { return };
    let slow = release(2).variable("START_DELAY_MS", 3_000).variable("LOG_REQUESTS", 1);
    let slow = slow.deploy("strategy: recreate");
    deploys(&ark, "t13", &release(1));
    let id = ark.deploy_detached("t13", &slow);
    eventually("the old side has ended, and the new one is not ready", || {
        ark.deployment(&id).is_some_and(|d| d["progress"]["new"]["starting"].as_u64() >= Some(1))
    });
    let begun = Instant::now();
    let mut held = Raw::open(&ark, "t13");
    let mut left = Raw::open(&ark, "t13");
    held.send("GET /version HTTP/1.1\r\nhost: HOST\r\n\r\n");
    left.send("GET /left HTTP/1.1\r\nhost: HOST\r\n\r\n");
    drop(left);
    assert_eq!(held.answer(), (200, "2".to_owned()), "after {:?}", begun.elapsed());
    let d = ark.wait_over(&id, Duration::from_secs(60));
    assert_eq!(state(&d), "succeeded", "{d}");
    lost_nothing(&d);
    // Who has left is not asked for.
    let log = ark.run(&["logs", "t13", "-e", ENV, "--tail", "100"]);
    let log = String::from_utf8_lossy(&log.stdout).into_owned();
    assert!(log.contains("/version") && !log.contains("/left"), "{log}");
}

/// It is started again soon; who asks meanwhile waits for that.
#[test]
fn an_instance_that_ends_is_waited_for() {
    let Some(ark) = suite("an_instance_that_ends_is_waited_for") else { return };
    deploys(&ark, "ends", &Sample::version(1).count(1).variable("BROKEN", "crash-after-ms:600"));
    eventually("it has ended, and is not started yet", || {
        let path = format!("/v1/environments/{ENV}/apps/ends");
        ark.get(&path).is_some_and(|app| app["alive"] == 0)
    });
    let mut asks = Raw::open(&ark, "ends");
    asks.send("GET /version HTTP/1.1\r\nhost: HOST\r\n\r\n");
    assert_eq!(asks.answer(), (200, "1".to_owned()));
}
