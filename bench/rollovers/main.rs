//! Rollovers by every strategy under mixed load, and receipts compared with the client's own count:
//!
//! ```text
//! cargo bench -p ark --bench rollovers -- --rollovers 100 --requests 2500
//! ```
//!
//! `--rollovers N` of each strategy, all four at the same time on one Ark, each app with a load of
//! its own: HTTP/1.1 keep-alive, a new connection per request, slow answers, slow chunked uploads,
//! HTTP/2, server-sent events and WebSockets. The load of one rollover (`--requests N`, at `--rate N`
//! a second) falls wholly within its deployment: a `pre_deploy` hook holds it until the load runs, a
//! `post_deploy` hook until the load has ended. So the receipt must agree with the client's count to
//! the request. Exit code 1 when anything failed or did not agree. Times are reported, not judged.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool")]

#[path = "../../tests/harness/mod.rs"]
mod harness;
mod http2;

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ark_load::{Class, Driver, Load};
use harness::{Ark, Sample, eventually_within, state, words};
use http2::Http2Load;

/// How long one step of a rollover may take.
const PATIENCE: Duration = Duration::from_secs(240);
/// What of the rate is HTTP/2.
const HTTP2_PART: f64 = 0.2;

fn option(name: &str, default: u64) -> u64 {
    let words: Vec<String> = std::env::args().collect();
    let at = words.iter().position(|word| word == name);
    at.and_then(|at| words.get(at + 1)?.parse().ok()).unwrap_or(default)
}

/// One strategy, as the sample app is deployed by it.
struct Way {
    app: &'static str,
    deploy: &'static str,
}

const WAYS: [Way; 4] = [
    Way { app: "rolling", deploy: "strategy: rolling" },
    Way { app: "blue-green", deploy: "strategy: blue-green, keep_old: 0s" },
    Way {
        app: "canary",
        deploy: "strategy: canary, keep_old: 0s, \
                 steps: [{weight: 10}, {pause: 500ms}, {weight: 50}, {pause: 500ms}]",
    },
    Way { app: "recreate", deploy: "strategy: recreate" },
];

/// What came of one strategy.
#[derive(Default)]
struct Sum {
    rollovers: u64,
    requests: u64,
    streams: u64,
    failed: u64,
    /// Receipts that did not say what the client counted.
    differ: Vec<String>,
    failures: Vec<String>,
    stall_gateway_ms: u64,
    stall_client_ms: u64,
    p99_us: u64,
    slowest_rollover: Duration,
}

/// What all rollovers have in common.
struct Setting<'a> {
    ark: &'a Ark,
    flags: PathBuf,
    http: SocketAddr,
    rate: f64,
    requests: u64,
}

fn hook(wait_for: &Path) -> String {
    format!("[sh, -c, \"while [ ! -e {} ]; do sleep 0.1; done\"]", wait_for.display())
}

fn rollover(setting: &Setting<'_>, way: &Way, n: u64, sum: &mut Sum) {
    let ark = setting.ark;
    let begun = Instant::now();
    let flag = |word: &str| setting.flags.join(format!("{}-{n}-{word}", way.app));
    let (begin, end) = (flag("begin"), flag("end"));
    let hooks = format!("hooks: {{pre_deploy: {}, post_deploy: {}}}", hook(&begin), hook(&end));
    let sample = Sample::version(n).deploy(&format!("{}, watch: 0s, {hooks}", way.deploy));
    let id = ark.deploy_detached(way.app, &sample);
    let hook_is = |name: &str, wanted: &str| {
        ark.deployment(&id).is_some_and(|d| {
            assert!(!harness::is_over(state(&d)), "{}: it ended early: {d}", way.app);
            let hooks = d["hooks"].as_array().cloned().unwrap_or_default();
            hooks.iter().any(|hook| hook["name"] == name && hook["state"] == wanted)
        })
    };
    eventually_within(PATIENCE, "the deployment begins", || hook_is("pre_deploy", "running"));
    let host = ark.host(way.app);
    let load = Load::builder(setting.http, &host)
        .rate(setting.rate * (1.0 - HTTP2_PART))
        .mix([
            (Driver::KeepAlive, 12),
            (Driver::NewConnection, 6),
            (Driver::Slow, 1),
            (Driver::Upload, 1),
        ])
        .slow(Duration::from_millis(300))
        .sse_streams(2)
        .websockets(2)
        .request_timeout(Duration::from_secs(60))
        .strict()
        .start()
        .expect("load");
    let http2 = Http2Load::start(setting.http, host, setting.rate * HTTP2_PART, 2);
    std::fs::write(&begin, "").expect("a flag");
    eventually_within(PATIENCE, "it is live", || hook_is("post_deploy", "running"));
    let enough = || load.snapshot().totals.started >= setting.requests;
    eventually_within(PATIENCE, "enough requests", enough);
    let http2 = http2.stop();
    let report = load.stop_blocking();
    // The gateway's last counts are on their way: it reports several times a second.
    std::thread::sleep(Duration::from_millis(700));
    std::fs::write(&end, "").expect("a flag");
    let over = ark.wait_over(&id, PATIENCE);

    let (started, ok) = (http2.started.load(Ordering::Relaxed), http2.ok.load(Ordering::Relaxed));
    let failed = report.failed() + http2.failed.load(Ordering::Relaxed) + report.overflow;
    sum.rollovers += 1;
    sum.requests += report.totals.started + started;
    sum.streams += report.driver(Driver::Sse).started + report.driver(Driver::Ws).started;
    sum.failed += failed;
    sum.failures.extend(report.failures.iter().take(3).map(|f| format!("{} {n}: {f:?}", way.app)));
    let words = http2.words.lock().expect("counted").clone();
    sum.failures.extend(words.into_iter().map(|w| format!("{} {n}: HTTP/2: {w}", way.app)));
    let receipt = &over["receipt"];
    let said = |key: &str| receipt[key].as_u64().unwrap_or(u64::MAX / 8);
    let streams =
        |class| report.driver(Driver::Sse).count(class) + report.driver(Driver::Ws).count(class);
    // A stream that this client closes while it is healthy is one given up, in the gateway's eyes.
    let (served, gone) = (report.ok() + ok, said("client_gone"));
    let whole = said("served") + gone == served + streams(Class::Ended)
        && gone <= streams(Class::Ok)
        && said("failed") == 0
        && said("cut") == 0;
    if state(&over) != "succeeded" || !whole {
        sum.differ.push(format!(
            "{} {n} ({}): client: {served} ok, {} ended; receipt: {receipt}; {}",
            way.app,
            state(&over),
            streams(Class::Ended),
            over["diagnosis_words"],
        ));
    }
    sum.stall_gateway_ms = sum.stall_gateway_ms.max(said("longest_stall_ms"));
    sum.stall_client_ms = sum.stall_client_ms.max(report.longest_stall.ms);
    sum.p99_us = sum.p99_us.max(report.driver(Driver::KeepAlive).latency.p99_us);
    sum.slowest_rollover = sum.slowest_rollover.max(begun.elapsed());
    let _ = (std::fs::remove_file(&begin), std::fs::remove_file(&end));
}

fn all_of(setting: &Setting<'_>, way: &Way, rollovers: u64) -> Sum {
    let (output, _) = setting.ark.deploy(way.app, &Sample::version(0));
    assert!(output.status.success(), "{}", words(&output));
    let mut sum = Sum::default();
    for n in 1..=rollovers {
        rollover(setting, way, n, &mut sum);
        if n % 10 == 0 || n == rollovers {
            let (app, requests, failed) = (way.app, sum.requests, sum.failed);
            let differ = sum.differ.len();
            eprintln!(
                "{app}: {n} rollovers, {requests} requests, {failed} failed, {differ} differ"
            );
        }
    }
    sum
}

fn main() -> std::process::ExitCode {
    let (rollovers, requests) = (option("--rollovers", 3), option("--requests", 500));
    let rate = option("--rate", 250) as f64;
    let ark = Ark::up();
    let flags = ark.dir.path().join("flags");
    std::fs::create_dir_all(&flags).expect("a folder");
    std::fs::set_permissions(&flags, PermissionsExt::from_mode(0o755)).expect("permissions");
    let setting = Setting { ark: &ark, flags, http: ark.http, rate, requests };
    let begun = Instant::now();
    let sums: Vec<(&str, Sum)> = std::thread::scope(|scope| {
        let running: Vec<_> = WAYS
            .iter()
            .map(|way| (way.app, scope.spawn(|| all_of(&setting, way, rollovers))))
            .collect();
        running
            .into_iter()
            .map(|(app, thread)| (app, thread.join().expect("a strategy broke off")))
            .collect()
    });
    println!(
        "| strategy | rollovers | requests | of these streams | failed | receipts that differ | \
         longest stall: receipt, client | worst p99 (keep-alive) of a rollover | slowest rollover |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    let (mut good, mut all) = (true, 0);
    for (app, sum) in &sums {
        println!(
            "| {app} | {} | {} | {} | {} | {} | {} ms, {} ms | {} ms | {:.1} s |",
            sum.rollovers,
            sum.requests,
            sum.streams,
            sum.failed,
            sum.differ.len(),
            sum.stall_gateway_ms,
            sum.stall_client_ms,
            sum.p99_us / 1_000,
            sum.slowest_rollover.as_secs_f64(),
        );
        all += sum.requests;
        good &= sum.failed == 0 && sum.differ.is_empty();
        for words in sum.failures.iter().chain(&sum.differ).take(10) {
            eprintln!("{words}");
        }
    }
    println!("{all} requests in {:.0} s", begun.elapsed().as_secs_f64());
    if good { std::process::ExitCode::SUCCESS } else { std::process::ExitCode::FAILURE }
}
