//! Tables, their acknowledgement, the file of the last one, and reports.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use ark_gateway::{adopt, link::Link};
use ark_model::ids::Generation;
use ark_model::route::{RouteTable, TargetState};
use support::{Ark, Backend, Client, ends, route};

#[tokio::test]
async fn tables_that_are_old_or_cannot_be_served_are_refused() {
    let backend = Backend::echo("x").await;
    let (mut ark, live) = Ark::with(&[&backend]).await;
    let table =
        |epoch, number, routes| RouteTable { generation: Generation { epoch, number }, routes };
    let mut twice = live.clone();
    twice.key.app = "other".parse().unwrap();
    let mut shouting = live.clone();
    shouting.hosts = vec!["A.test".to_owned()];
    let mut relative = live.clone();
    relative.path = "x".to_owned();
    let mut doubled = live.clone();
    doubled.targets.push(doubled.targets[0].clone());
    for (table, reason) in [
        (table(0, 9, vec![live.clone()]), "is older than"),
        (table(1, 0, vec![live.clone()]), "is older than"),
        (table(1, 1, vec![]), "another content"),
        (table(1, 5, vec![live.clone(), live.clone()]), "stands there twice"),
        (table(1, 6, vec![live.clone(), twice]), "another route's"),
        (table(1, 7, vec![shouting]), "lower case"),
        (table(1, 8, vec![relative]), "does not begin with"),
        (table(1, 9, vec![doubled]), "stands there twice"),
    ] {
        let generation = table.generation;
        ark.server.sender.push(table).await.unwrap();
        let known = ark
            .server
            .until("a refusal", |k| k.refused.iter().any(|(g, _)| *g == generation))
            .await;
        let (_, words) = known.refused.iter().find(|(g, _)| *g == generation).unwrap();
        assert!(words.contains(reason), "{words}");
    }
    // The table before stays in force. A new epoch is newer whatever its number.
    assert_eq!(ark.client().await.get("/").await.status, 200);
    ark.server.sender.push(table(2, 1, vec![])).await.unwrap();
    let newest = Some(Generation { epoch: 2, number: 1 });
    ark.server.until("an acknowledgement", |k| k.acknowledged == newest).await;
    assert_eq!(ark.client().await.get("/").await.status, 404);
}

/// I2: after the acknowledgement nothing is admitted to a target that left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledged_removal_is_final_under_load() {
    let one = Backend::echo("one").await;
    let two = Backend::echo("two").await;
    let (mut ark, _) = Ark::with(&[&one, &two]).await;
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (http, stop) = (ark.http, stop.clone());
            tokio::spawn(async move {
                let mut client = Client::connect(http).await;
                let mut count = 0_u64;
                while !stop.load(Relaxed) {
                    assert_eq!(client.get("/").await.status, 200);
                    count += 1;
                }
                count
            })
        })
        .collect();
    for _ in 0..10 {
        for (stays, leaves) in [(&one, &two), (&two, &one)] {
            let parked = leaves.target_in(TargetState::Candidate);
            ark.server.push(&[route(vec![stays.target(), parked])]).await;
            // What was admitted before may still be under way; what comes later may not.
            ark.server.until_target(leaves.instance, "none in flight", |t| t.in_flight == 0).await;
            let before = leaves.requests();
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            assert_eq!(leaves.requests(), before, "a request after the acknowledgement");
        }
    }
    stop.store(true, Relaxed);
    let mut sent = 0;
    for client in clients {
        sent += client.await.unwrap();
    }
    let total =
        |known: &support::Known| known.targets.values().map(|t| t.counters.served).sum::<u64>();
    let known = ark.server.until("all served", |known| total(known) == sent).await;
    for target in known.targets.values() {
        assert_eq!((target.counters.failed, target.counters.cut), (0, 0));
    }
}

#[tokio::test]
async fn the_last_table_serves_again_after_a_restart_and_a_torn_one_does_not() {
    let backend = Backend::echo("still here").await;
    let (mut ark, _) = Ark::with(&[&backend]).await;
    let applied = ark.server.known.borrow().acknowledged;
    let gateway = ark.gateway.take().unwrap();
    tokio::task::spawn_blocking(move || drop(gateway)).await.unwrap();
    assert_eq!(adopt::find(ark.dir.path()), None);
    let mut ark = Ark::start_in(ark.dir).await;
    assert_eq!(ark.server.welcome.applied, applied);
    let found = adopt::find(ark.dir.path()).unwrap();
    assert_eq!((found.boot, &found.http), (ark.server.welcome.boot, &vec![ark.http]));
    // Without any server having said so: it was probed before the first connection was accepted.
    assert_eq!(ark.client().await.get("/").await.body, "still here");

    let gateway = ark.gateway.take().unwrap();
    tokio::task::spawn_blocking(move || drop(gateway)).await.unwrap();
    let path = ark.dir.path().join("gateway-table.json");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let mut ark = Ark::start_in(ark.dir).await;
    assert_eq!(ark.server.welcome.applied, None);
    assert_eq!(ark.client().await.get("/").await.status, 404);
    // The server sets it right.
    ark.server.push(&[route(vec![backend.target()])]).await;
    ark.server.until_ready(&[backend.instance]).await;
    assert_eq!(ark.client().await.get("/").await.body, "still here");
}

#[tokio::test]
async fn counters_stay_until_they_are_stored() {
    let backend = Backend::echo("x").await;
    let (mut ark, _) = Ark::with(&[&backend]).await;
    assert_eq!(ark.client().await.get("/").await.status, 200);
    ark.server.push(&[]).await;
    ark.server.until_target(backend.instance, "being gone", |t| t.readiness.is_none()).await;
    // A server that dials anew is told everything again.
    let mut again = support::Server::dial(ark.dir.path()).await;
    let report = again.until_target(backend.instance, "a report", |_| true).await;
    assert_eq!(ends(&report.counters), (1, 0, 0, 0));
    let seq = again.known.borrow().last.as_ref().unwrap().seq;
    again.sender.report_stored(seq).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(600)).await;
    let mut later = support::Server::dial(ark.dir.path()).await;
    let known = later.until("a report", |known| known.last.is_some()).await;
    assert!(known.targets.is_empty(), "{:?}", known.targets);
}

#[tokio::test]
async fn a_newer_connection_takes_control_and_unknown_protocols_are_told() {
    let ark = Ark::start().await;
    let mut first = Link::dial(ark.dir.path()).await.unwrap();
    let second = Link::dial(ark.dir.path()).await.unwrap();
    assert_eq!(first.welcome, second.welcome);
    let ended = async { while first.receiver.next().await.is_ok() {} };
    tokio::time::timeout(support::PATIENCE, ended).await.expect("the older one is closed");
}
