//! Backend swaps under load: the new side is ready, the table changes, and the old side is killed the
//! moment the gateway says that nothing is inside it. No request fails and no stream breaks off.
//!
//! `ARK_SWAPS=300 cargo test -p ark-gateway --test swaps -- --nocapture` is the measurement of
//! `docs/benchmarks.md`.

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use support::{Ark, Backend, Client, PATIENCE, draining, ends, route};
use tokio::time::{MissedTickBehavior, interval, timeout};

/// Requests a second, over all clients.
const RATE: u64 = 300;
/// Clients that ask, each on a connection of its own, and those with an endless stream.
const CLIENTS: u64 = 10;
const STREAMS: u64 = 8;
/// How long streams of the old side have until they end in order, in milliseconds.
const STREAMS_MS: i64 = 1_000;
/// How long an answer takes: some requests are inside whenever the table changes.
const ANSWER: Duration = Duration::from_millis(20);

/// What clients saw.
#[derive(Debug, Default)]
struct Seen {
    served: AtomicU64,
    failed: AtomicU64,
    streams_ended: AtomicU64,
    streams_broken: AtomicU64,
    over: AtomicBool,
}

async fn backend() -> Backend {
    Backend::start(|mut peer| async move {
        while let Some(head) = peer.head().await {
            if !head.starts_with("GET /events") {
                tokio::time::sleep(ANSWER).await;
                peer.answer("served").await;
                continue;
            }
            peer.say("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n").await;
            loop {
                // Fails when the gateway has closed it, and then nobody listens.
                if peer.stream.writable().await.is_err() {
                    return;
                }
                peer.say("data: x\n\n").await;
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
        }
    })
    .await
}

/// Asks at its share of the rate until it is over.
async fn ask(address: SocketAddr, seen: Arc<Seen>) {
    let mut client = Client::connect(address).await;
    let mut ticks = interval(Duration::from_millis(1000 * CLIENTS / RATE));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !seen.over.load(Relaxed) {
        ticks.tick().await;
        client.say("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
        let answer = timeout(PATIENCE, client.try_answer()).await.ok().flatten();
        if answer.is_some_and(|answer| answer.status == 200 && answer.body == "served") {
            seen.served.fetch_add(1, Relaxed);
        } else {
            seen.failed.fetch_add(1, Relaxed);
            client = Client::connect(address).await;
        }
    }
}

/// Follows events, anew whenever they end, until it is over.
async fn follow(address: SocketAddr, seen: Arc<Seen>) {
    while !seen.over.load(Relaxed) {
        let mut client = Client::connect(address).await;
        client.say("GET /events HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
        let read = client.try_answer();
        let over = async {
            while !seen.over.load(Relaxed) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            answer = read => {
                let whole = answer.is_some_and(|a| a.status == 200 && a.body.ends_with("\n\n"));
                let count = if whole { &seen.streams_ended } else { &seen.streams_broken };
                count.fetch_add(1, Relaxed);
            }
            () = over => return,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[allow(clippy::print_stderr)] // The figures of a measurement.
async fn no_request_fails_and_no_stream_breaks_over_swaps_with_the_old_side_killed() {
    let swaps = std::env::var("ARK_SWAPS").ok().and_then(|text| text.parse().ok()).unwrap_or(5);
    let mut old = backend().await;
    let (mut ark, _) = Ark::with(&[&old]).await;
    let seen = Arc::new(Seen::default());
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(ask(ark.http, seen.clone()));
    }
    for _ in 0..STREAMS {
        clients.spawn(follow(ark.http, seen.clone()));
    }
    let mut counted = (0, 0, 0, 0);
    for _ in 0..swaps {
        let new = backend().await;
        ark.server.push(&[route(vec![old.target(), new.target()])]).await;
        ark.server.until_ready(&[new.instance]).await;
        let leaving = old.target_in(draining(10_000, STREAMS_MS));
        ark.server.push(&[route(vec![leaving, new.target()])]).await;
        let report = ark.server.until_target(old.instance, "nothing inside", |target| {
            target.in_flight == 0 && target.streams == 0
        });
        let (served, failed, cut, gone) = ends(&report.await.counters);
        counted = (counted.0 + served, counted.1 + failed, counted.2 + cut, counted.3 + gone);
        old.kill().await;
        old = new;
    }
    seen.over.store(true, Relaxed);
    clients.join_all().await;
    let count = |of: &AtomicU64| of.load(Relaxed);
    eprintln!(
        "{swaps} swaps: {} served, {} failed; {} streams ended in order, {} broken; the gateway \
         counted {counted:?} (served, failed, cut, gone) at the sides that were killed",
        count(&seen.served),
        count(&seen.failed),
        count(&seen.streams_ended),
        count(&seen.streams_broken)
    );
    assert_eq!((count(&seen.failed), count(&seen.streams_broken)), (0, 0));
    assert_eq!((counted.1, counted.2, counted.3), (0, 0, 0));
    assert!(count(&seen.streams_ended) >= swaps, "streams were inside at the swaps");
}
