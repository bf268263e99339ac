//! One gateway takes the place of another: as planned, and when the new one dies on the way.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use ark_gateway::adopt::{self, RunningGateway};
use ark_model::gateway::ToGateway;
use rustix::process::Signal;
use support::supervised::{Supervised, signal, until_gone};
use support::{Backend, Client, Server, draining, ends, route};

/// One client's requests until it is told to stop: how many were answered. Keeps its connection for
/// as long as the gateway does.
async fn ask_on(http: std::net::SocketAddr, stop: Arc<AtomicBool>, keep: bool) -> u64 {
    let mut answered = 0;
    let mut client = Client::connect(http).await;
    while !stop.load(Relaxed) {
        let answer = client.get("/").await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "answer"));
        answered += 1;
        if !keep || answer.field("connection") == Some("close") {
            client = Client::connect(http).await;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    answered
}

/// A supervised gateway with one route to this target, ready, and the server that told it so.
async fn serving(target: &Backend) -> (Supervised, RunningGateway, Server) {
    let (supervised, running) = Supervised::start().await;
    let mut server = Server::dial(supervised.dir.path()).await;
    server.push(&[route(vec![target.target()])]).await;
    server.until_ready(&[target.instance]).await;
    (supervised, running, server)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_planned_restart_under_load_loses_nothing_and_counters_add_up() {
    let backend = Backend::start(|mut peer| async move {
        while let Some(head) = peer.head().await {
            if head.starts_with("GET /events") {
                peer.say("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n").await;
                peer.say("data: 1\n\n").await;
                tokio::time::sleep(Duration::from_secs(3)).await;
                peer.say("data: 2\n\n").await;
                return;
            }
            if head.starts_with("GET /slow") {
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
            peer.answer("answer").await;
        }
    })
    .await;
    let (supervised, running, mut server) = serving(&backend).await;
    let http = running.http[0];
    let stop = Arc::new(AtomicBool::new(false));
    let asking: Vec<_> =
        (0..8).map(|n| tokio::spawn(ask_on(http, stop.clone(), n % 2 == 0))).collect();
    let (mut slow, mut events) = (Client::connect(http).await, Client::connect(http).await);
    // Idle for longer than the restart takes, then asked.
    let mut idle = Client::connect(http).await;
    idle.get("/").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    slow.say("GET /slow HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    events.say("GET /events HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    server.until_target(backend.instance, "a stream", |t| t.streams == 1).await;

    let now = supervised.replace(&running).await;
    let mut server = Server::dial(supervised.dir.path()).await;
    assert_eq!(server.welcome.boot, now.boot);
    // What is inside the gateway before is inside, too.
    server.until_target(backend.instance, "the stream of before", |t| t.streams == 1).await;
    let (mut expected, answer) = (0, idle.get("/").await);
    assert_eq!((answer.status, answer.field("connection")), (200, Some("close")));
    assert_eq!(slow.answer().await.body, "answer");
    let streamed = events.answer().await.body;
    assert!(streamed.ends_with("data: 2\n\n"), "{streamed:?}");
    // It would be kept for a while, in case its client asks once more.
    drop(events);
    until_gone(running.pid);
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.store(true, Relaxed);
    for task in asking {
        expected += task.await.expect("no request failed");
    }
    // The two of the idle client, the slow one and the stream.
    expected += 4;
    let sum = |known: &support::Known| {
        let lost = known.last.iter().flat_map(|report| &report.lost);
        let before: Vec<_> = lost.filter(|lost| lost.boot == running.boot).collect();
        let ended = before.iter().all(|lost| lost.in_order);
        let counted = before.iter().flat_map(|lost| &lost.targets).chain(known.targets.values());
        let sums = counted.fold((0, 0), |(served, other), target| {
            let (ok, failed, cut, gone) = ends(&target.counters);
            (served + ok, other + failed + cut + gone)
        });
        (ended && !before.is_empty()).then_some(sums)
    };
    let known = server
        .until("sums of both lives", |known| sum(known).is_some_and(|(all, _)| all >= expected))
        .await;
    assert_eq!(sum(&known), Some((expected, 0)), "served, and anything else");
    assert!(expected > 500, "only {expected} requests in the test");
    // The table that comes now is followed by the one gateway there is.
    server.push(&[route(vec![backend.target()])]).await;
    assert_eq!(Client::connect(http).await.get("/").await.body, "answer");
}

/// A deployment waits for what is held. It heard of none in the gateway that was being replaced.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_held_in_the_gateway_before_is_reported_as_held() {
    let backend = Backend::start(|mut peer| async move {
        while peer.head().await.is_some() {
            peer.answer("answer").await;
        }
    })
    .await;
    let (supervised, running) = Supervised::start().await;
    let mut server = Server::dial(supervised.dir.path()).await;
    let mut replaced = route(Vec::new());
    (replaced.limits.hold_ms, replaced.limits.hold_empty) = (30_000, true);
    server.push(&[replaced.clone()]).await;
    let mut client = Client::connect(running.http[0]).await;
    client.say("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    let held = |known: &support::Known| {
        let routes = known.last.iter().flat_map(|report| &report.routes);
        routes.map(|route| route.held + route.held_inside).sum::<u32>()
    };
    server.until("a request to be held", |known| held(known) == 1).await;

    let now = supervised.replace(&running).await;
    let mut server = Server::dial(supervised.dir.path()).await;
    assert_eq!(server.welcome.boot, now.boot);
    server.until("it to be held there still", |known| held(known) == 1).await;
    // The table in force, as this server's first.
    server.push(&[replaced.clone()]).await;
    replaced.targets = vec![backend.target()];
    server.push(&[replaced]).await;
    assert_eq!(client.answer().await.body, "answer");
    server.until("nothing to be held", |known| held(known) == 0).await;
    until_gone(running.pid);
}

/// Answers with its name; `/events` are an event each 20 ms.
async fn named(name: &'static str) -> Backend {
    Backend::start(move |mut peer| async move {
        while let Some(head) = peer.head().await {
            if !head.starts_with("GET /events") {
                peer.answer(name).await;
                continue;
            }
            peer.say("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n").await;
            let event = b"data: 1\n\n";
            while tokio::io::AsyncWriteExt::write_all(&mut peer.stream, event).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            return;
        }
    })
    .await
}

/// A connection on which something was asked, and a stream.
async fn pinned(http: std::net::SocketAddr) -> (Client, Client) {
    let (mut pinned, mut events) = (Client::connect(http).await, Client::connect(http).await);
    assert_eq!(pinned.get("/").await.body, "old");
    events.say("GET /events HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    events.head().await.unwrap();
    (pinned, events)
}

/// A gateway that was being replaced served open connections for minutes by a table that nobody changed
/// any more, and nobody knew what was inside it.
#[tokio::test]
async fn when_the_new_gateway_is_killed_the_next_one_takes_over_from_the_one_before_both() {
    let (old, new) = (named("old").await, named("new").await);
    let (supervised, first, mut server) = serving(&old).await;
    let (mut pinned, mut events) = pinned(first.http[0]).await;
    server.until_target(old.instance, "a stream", |t| t.streams == 1).await;

    let second = supervised.replace(&first).await;
    // It listens, and has the first one retire.
    drop(Server::dial(supervised.dir.path()).await);
    signal(second.pid, Signal::KILL);
    until_gone(second.pid);
    let third = supervised.until_serving_other_than(&[first.pid, second.pid]).await;
    let mut server = Server::dial(supervised.dir.path()).await;
    assert_eq!(server.welcome.boot, third.boot);
    let known = server.until("a report", |known| known.last.is_some()).await;
    assert_eq!(known.targets[&old.instance].streams, 1, "in the first report, and once");

    // What it admits on connections that were open is what the table says now.
    server.push(&[route(vec![old.target(), new.target()])]).await;
    server.until_ready(&[old.instance, new.instance]).await;
    let drains = old.target_in(draining(60_000, 1_000));
    server.push(&[route(vec![drains, new.target()])]).await;
    assert_eq!(pinned.get("/").await.body, "new");
    let body = events.chunks().await.expect("the last chunk");
    assert!(body.ends_with("data: 1\n\n"), "{body:?}");
    drop((pinned, events));
    until_gone(first.pid);
    let sum = |known: &support::Known| {
        let lost = known.last.iter().flat_map(|report| &report.lost);
        let lost = lost.filter(|lost| lost.boot == first.boot).flat_map(|lost| &lost.targets);
        let mut all = lost.map(|target| ends(&target.counters)).collect::<Vec<_>>();
        all.sort_unstable();
        all
    };
    let told = |known: &support::Known| sum(known) == [(1, 0, 0, 0), (2, 0, 0, 0)];
    let known = server.until("what the first one counted", told).await;
    // What was inside the first one was no loss of the second.
    let lost = known.last.iter().flat_map(|report| &report.lost);
    let lost = lost.filter(|lost| lost.boot == second.boot).flat_map(|lost| &lost.targets);
    assert!(lost.clone().all(|target| target.streams + target.in_flight == 0), "{known:?}");
}

#[tokio::test]
async fn a_successor_that_cannot_take_over_leaves_the_gateway_in_its_place() {
    let old = named("old").await;
    let (supervised, first, _server) = serving(&old).await;
    let (mut pinned, _events) = pinned(first.http[0]).await;
    // It hears of nothing for longer than a successor waits.
    signal(first.pid, Signal::STOP);
    signal(supervised.supervisor_pid(), Signal::HUP);
    let second = supervised.until_serving(Some(first.pid)).await;
    until_gone(second.pid);
    signal(first.pid, Signal::CONT);
    assert_eq!(supervised.until_serving(Some(second.pid)).await.boot, first.boot);
    let mut server = Server::dial(supervised.dir.path()).await;
    assert_eq!(server.welcome.boot, first.boot);
    server.until_target(old.instance, "a stream", |t| t.streams == 1).await;
    server.push(&[route(vec![old.target(), named("new").await.target()])]).await;
    assert_eq!(pinned.get("/").await.status, 200);
    assert_eq!(Client::connect(first.http[0]).await.get("/").await.status, 200);
    // Another one can.
    let third = supervised.replace(&first).await;
    assert_eq!(Client::connect(third.http[0]).await.get("/").await.status, 200);
}

/// A successor told it to retire, and died before it was ready itself: nobody accepted any more, and when the
/// last connection had ended the supervisor took it for the end of all.
#[tokio::test]
async fn a_gateway_that_retires_for_nobody_gets_a_successor() {
    let old = named("old").await;
    let (supervised, first, mut server) = serving(&old).await;
    let (mut pinned, _events) = pinned(first.http[0]).await;
    server.sender.send(&ToGateway::Retire { grace_ms: 60_000 }).await.unwrap();
    drop(server);
    let second = supervised.until_serving(Some(first.pid)).await;
    assert_eq!(Client::connect(second.http[0]).await.get("/").await.body, "old");
    let mut server = Server::dial(supervised.dir.path()).await;
    assert_eq!(server.welcome.boot, second.boot);
    server.until_target(old.instance, "the stream of before", |t| t.streams == 1).await;
    assert_eq!(pinned.get("/").await.body, "old");
}

/// With the supervisor gone no other successor comes.
#[tokio::test]
async fn a_gateway_that_retires_and_to_which_nobody_speaks_ends_in_order() {
    let old = named("old").await;
    let (mut supervised, first) = Supervised::start().await;
    let mut server = Server::dial(supervised.dir.path()).await;
    server.push(&[route(vec![old.target()])]).await;
    server.until_ready(&[old.instance]).await;
    let (_pinned, mut events) = pinned(first.http[0]).await;
    let second = supervised.replace(&first).await;
    // It listens, and has the first one retire.
    drop(Server::dial(supervised.dir.path()).await);
    supervised.supervisor.kill().unwrap();
    supervised.supervisor.wait().unwrap();
    signal(second.pid, Signal::KILL);
    let began = Instant::now();
    let body = tokio::time::timeout(2 * support::PATIENCE, events.chunks()).await;
    let body = body.expect("an end").expect("the last chunk");
    assert!(body.ends_with("data: 1\n\n"), "{body:?}");
    assert!(began.elapsed() > Duration::from_secs(5), "another one might have come");
    drop((_pinned, events));
    until_gone(first.pid);
    assert_eq!(adopt::find(supervised.dir.path()), None);
}
