//! A cluster of many hosts, some of which do not answer.

mod fleet;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use ark_engine::{ClusterOptions, Engine as _, Node};
use ark_model::definition::RunKind;
use ark_model::instance::InstanceState;
use ark_model::{DeploymentState, NodeName, ReleaseNumber};

use fleet::{Fleet, REMOVING, definition, node};

const HOSTS: usize = 300;
const SILENT: usize = HOSTS / 20;
const AT_ONCE: usize = 24;

fn options() -> ClusterOptions {
    ClusterOptions { parallel: AT_ONCE, per_node: 2, ..ClusterOptions::default() }
}

/// Active instances of a release, by host.
async fn active(fleet: &Fleet, release: ReleaseNumber) -> BTreeMap<NodeName, usize> {
    let mut by_host = BTreeMap::new();
    for one in fleet.alive().await {
        if one.release == release && one.state == InstanceState::Active {
            *by_host.entry(one.node).or_default() += 1;
        }
    }
    by_host
}

async fn active_count(fleet: &Fleet, release: ReleaseNumber) -> usize {
    active(fleet, release).await.values().sum()
}

async fn ended(fleet: &Fleet, id: ark_model::DeploymentId) -> ark_model::Deployment {
    fleet.until("the end", async |f| f.deployment(id).await.state.is_terminal()).await;
    fleet.deployment(id).await
}

#[tokio::test(start_paused = true)]
async fn three_hundred_hosts_one_in_twenty_silent() {
    let mut fleet = Fleet::new(HOSTS, options()).await;
    let v1 = fleet.release(definition(RunKind::Worker, HOSTS as u32)).await;
    fleet.until("v1", async |f| active_count(f, v1).await == HOSTS).await;
    assert_eq!(active(&fleet, v1).await.len(), HOSTS, "one on each");
    let silent: BTreeSet<NodeName> = (0..SILENT).map(|n| node(n * 20 + 7)).collect();
    for name in &silent {
        fleet.remotes[name].silence(true);
    }

    let v2 = fleet.release(definition(RunKind::Worker, HOSTS as u32)).await;
    let id = fleet.deploy(v2).await;
    let d = ended(&fleet, id).await;
    assert_eq!(d.state, DeploymentState::Succeeded, "{:?}", d.diagnosis);
    let note = d.notes.iter().find(|note| note.contains("do not answer")).expect("a note");
    for name in &silent {
        assert!(note.contains(name.as_str()), "{name} is not named: {note}");
    }
    assert!(note.contains("15 hosts") && note.contains("15 instances"), "{note}");
    let by_host = active(&fleet, v2).await;
    assert_eq!(by_host.values().sum::<usize>(), HOSTS, "the capacity is whole");
    assert!(silent.iter().all(|name| !by_host.contains_key(name)), "nothing new is placed there");
    assert_eq!(fleet.calls.most(), AT_ONCE, "the parallelism asked for");
    for (name, remote) in &fleet.remotes {
        assert!(remote.most_calls() <= 2, "{name}: {} at once", remote.most_calls());
        let expected = if silent.contains(name) { v1 } else { v2 };
        assert!(remote.running().await.contains(&expected), "{name}");
    }

    // The rest is done when they answer again, without a new deployment, by whichever server lives.
    fleet.restart();
    tokio::time::sleep(Duration::from_secs(30)).await;
    for name in &silent {
        assert_eq!(fleet.remotes[name].running().await, [v1], "nobody could tell it");
        fleet.remotes[name].silence(false);
    }
    let only_v2 = async |f: &Fleet| f.alive().await.iter().all(|one| one.release == v2);
    fleet.until("the rest", only_v2).await;
    for (name, remote) in &fleet.remotes {
        assert!(remote.running().await.iter().all(|release| *release == v2), "{name}");
    }
    assert_eq!(active_count(&fleet, v2).await, HOSTS);
    assert_eq!(fleet.calls.most(), AT_ONCE, "then too");
}

#[tokio::test(start_paused = true)]
async fn what_runs_on_a_silent_host_is_neither_gone_nor_replaced_at_once() {
    let fleet = Fleet::new(4, options()).await;
    let v1 = fleet.release(definition(RunKind::Worker, 8)).await;
    fleet.until("v1", async |f| active_count(f, v1).await == 8).await;
    let before: BTreeSet<_> = fleet.alive().await.iter().map(|one| one.id).collect();
    fleet.remotes[&node(2)].silence(true);
    tokio::time::sleep(Duration::from_secs(50)).await;
    let after: BTreeSet<_> = fleet.alive().await.iter().map(|one| one.id).collect();
    assert_eq!(after, before, "fifty seconds are no reason");
    fleet.remotes[&node(2)].silence(false);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let after: BTreeSet<_> = fleet.alive().await.iter().map(|one| one.id).collect();
    assert_eq!(after, before, "it came back");

    // One that stays away is made up for elsewhere, and holds what is too many when it is back.
    fleet.remotes[&node(2)].silence(true);
    let whole = async |f: &Fleet| {
        let by_host = active(f, v1).await;
        let there: usize =
            [0, 1, 3].map(|n| by_host.get(&node(n)).copied().unwrap_or(0)).iter().sum();
        there == 8
    };
    let took = fleet.until("substitutes", whole).await;
    assert!(took >= Duration::from_secs(60) && took < Duration::from_secs(90), "{took:?}");
    assert_eq!(fleet.remotes[&node(2)].running().await.len(), 2, "nobody could tell it");
    fleet.remotes[&node(2)].silence(false);
    fleet.until("the rest", async |f| f.alive().await.len() == 8).await;
    assert_eq!(fleet.remotes[&node(2)].running().await.len(), 0);
    assert_eq!(active_count(&fleet, v1).await, 8);
}

#[tokio::test(start_paused = true)]
async fn each_host_has_one_daemon() {
    const DAEMONS: usize = 40;
    let mut fleet = Fleet::new(DAEMONS, options()).await;
    let v1 = fleet.release(definition(RunKind::Daemon, 1)).await;
    let one_each = async |f: &Fleet, release| {
        let by_host = active(f, release).await;
        by_host.len() == f.remotes.len() && by_host.values().all(|count| *count == 1)
    };
    fleet.until("v1", async |f| one_each(f, v1).await).await;
    let silent = [node(3), node(17)];
    silent.iter().for_each(|name| fleet.remotes[name].silence(true));
    let v2 = fleet.release(definition(RunKind::Daemon, 1)).await;
    let id = fleet.deploy(v2).await;
    let missing = std::cell::Cell::new(0);
    fleet
        .until("the end", async |f| {
            let mut here = 0;
            for (name, remote) in &f.remotes {
                let runs = remote.running().await;
                assert!(runs.len() <= 1, "{name} runs {runs:?}");
                here += usize::from(runs.is_empty());
            }
            missing.set(missing.get().max(here));
            f.deployment(id).await.state.is_terminal()
        })
        .await;
    assert!(missing.get() <= 1, "{} hosts were without at once", missing.get());
    let d = fleet.deployment(id).await;
    assert_eq!(d.state, DeploymentState::Succeeded, "{:?}", d.diagnosis);
    assert_eq!(active_count(&fleet, v2).await, DAEMONS - silent.len());
    assert!(d.notes.iter().any(|note| note.contains("host-003, host-017")), "{:?}", d.notes);

    // Those that come back are brought up to date, a new host gets its own.
    silent.iter().for_each(|name| fleet.remotes[name].silence(false));
    fleet.join(node(DAEMONS)).await;
    fleet.until("all", async |f| one_each(f, v2).await).await;
    // One that is to be empty loses it; one that is forgotten counts no more.
    fleet.cluster.drain(&node(5), true);
    let emptied = async |f: &Fleet| f.remotes[&node(5)].running().await.is_empty();
    fleet.until("it is empty", emptied).await;
    fleet.until("it is over", async |f| f.alive().await.len() == DAEMONS).await;
    assert_eq!(active_count(&fleet, v2).await, DAEMONS);
    fleet.cluster.drain(&node(5), false);
    fleet.until("all again", async |f| one_each(f, v2).await).await;
}

#[tokio::test(start_paused = true)]
async fn a_host_that_falls_silent_in_the_middle_is_named() {
    let fleet = Fleet::new(3, options()).await;
    let v1 = fleet.release(definition(RunKind::Worker, 6)).await;
    fleet.until("v1", async |f| active_count(f, v1).await == 6).await;
    let v2 = fleet.release(definition(RunKind::Worker, 6)).await;
    let id = fleet.deploy(v2).await;
    fleet.until("a beginning", async |f| active_count(f, v2).await > 0).await;
    fleet.remotes[&node(1)].silence(true);
    let d = ended(&fleet, id).await;
    assert_eq!(d.state, DeploymentState::Succeeded, "{:?}", d.diagnosis);
    assert!(d.notes.iter().any(|note| note.contains("1 host does not answer: host-001")));
    let by_host = active(&fleet, v2).await;
    let there: usize = [0, 2].iter().map(|n| by_host[&node(*n)]).sum();
    assert_eq!(there, 6, "the capacity is whole without it");
    fleet.remotes[&node(1)].silence(false);
    fleet.until("the rest", async |f| f.alive().await.len() == 6).await;
    assert_eq!(active_count(&fleet, v2).await, 6);
}

/// A release works on most hosts and not on others, and one of those on which it works falls silent in
/// the middle: all go back to the release before, that one as soon as it answers again.
#[tokio::test(start_paused = true)]
async fn t38_a_partial_failure_over_hosts_converges() {
    const COUNT: usize = 24;
    let mut fleet = Fleet::new(12, options()).await;
    let v1 = fleet.release(definition(RunKind::Worker, COUNT as u32)).await;
    fleet.until("v1", async |f| active_count(f, v1).await == COUNT).await;
    let v2 = fleet.release(definition(RunKind::Worker, COUNT as u32)).await;
    (8..12).for_each(|n| fleet.breaks(node(n), v2));
    let id = fleet.deploy(v2).await;
    fleet.until("it works on some", async |f| active_count(f, v2).await > 0).await;
    let silent = active(&fleet, v2).await.into_keys().next().expect("a host");
    fleet.remotes[&silent].silence(true);
    let d = ended(&fleet, id).await;
    assert_eq!(d.state, DeploymentState::RolledBack, "{:?}", d.diagnosis);
    let why = d.diagnosis.expect("a diagnosis").words();
    assert!(why.contains("exit 1"), "{why}");
    assert!(d.notes.iter().any(|note| note.contains(silent.as_str())), "{:?}", d.notes);
    let whole = async |f: &Fleet| {
        let by_host = active(f, v1).await;
        by_host.iter().filter(|(name, _)| **name != silent).map(|(_, n)| n).sum::<usize>() >= COUNT
    };
    fleet.until("the capacity is whole without it", whole).await;
    for (name, remote) in &fleet.remotes {
        let left = remote.running().await.contains(&v2);
        assert_eq!(left, *name == silent, "{name}: nobody could tell the silent one");
    }

    // Another server, which knows nothing but the records.
    fleet.restart();
    tokio::time::sleep(Duration::from_secs(20)).await;
    fleet.remotes[&silent].silence(false);
    fleet.until("the rest", async |f| f.alive().await.len() == COUNT).await;
    assert_eq!(active_count(&fleet, v1).await, COUNT);
    let mut running = 0;
    for (name, remote) in &fleet.remotes {
        let here = remote.running().await;
        assert!(here.iter().all(|release| *release == v1), "{name} runs {here:?}");
        running += here.len();
    }
    assert_eq!(running, COUNT);
}

/// Collecting images: each host takes its time, all of them at once, and a silent one holds up nobody.
#[tokio::test(start_paused = true)]
async fn images_go_from_three_hundred_slow_hosts_of_which_some_are_silent() {
    let fleet = Fleet::new(HOSTS, options()).await;
    (0..SILENT).for_each(|n| fleet.remotes[&node(n * 20 + 7)].silence(true));
    let begun = tokio::time::Instant::now();
    let removed = fleet.cluster.remove_images(&BTreeSet::new(), Duration::ZERO).await;
    assert_eq!(removed.expect("an answer"), (HOSTS - SILENT) as u64, "one of each that answers");
    let took = begun.elapsed();
    assert!(took < 2 * REMOVING, "it waits for those that remove: {took:?}");
}

/// A host that is to be empty is emptied without a gap.
#[tokio::test(start_paused = true)]
async fn a_draining_hosts_instances_move_first() {
    let fleet = Fleet::new(3, options()).await;
    let v1 = fleet.release(definition(RunKind::Worker, 3)).await;
    fleet.until("v1", async |f| active_count(f, v1).await == 3).await;
    fleet.cluster.drain(&node(0), true);
    fleet
        .until("it is empty", async |f| {
            let mut running = 0;
            for remote in f.remotes.values() {
                running += remote.running().await.len();
            }
            assert!(running >= 3, "only {running} run");
            f.remotes[&node(0)].running().await.is_empty()
        })
        .await;
    let by_host = active(&fleet, v1).await;
    assert_eq!(by_host.values().sum::<usize>(), 3);
    assert!(!by_host.contains_key(&node(0)));
}

/// Files of a directory are on Ark's own host alone: draining that must not end what has no other place.
#[tokio::test(start_paused = true)]
async fn what_no_other_host_can_take_stays_where_it_is() {
    let fleet = Fleet::new(1, options()).await;
    let engine = fleet.remotes[&node(0)].clone();
    let images_only = true;
    fleet.cluster.put(Node { name: node(0), engine, draining: false, images_only, address: None });
    let v1 = fleet.release(definition(RunKind::Worker, 1)).await;
    // Ark's own host is draining from the beginning.
    fleet.until("v1", async |f| active_count(f, v1).await == 1).await;
    let first = fleet.alive().await;
    assert!(first[0].node.is_local());
    for draining in [false, true] {
        fleet.cluster.drain(&NodeName::local(), draining);
        tokio::time::sleep(Duration::from_secs(120)).await;
        let now = fleet.alive().await;
        assert_eq!(now.len(), 1);
        assert_eq!((now[0].id, now[0].state), (first[0].id, InstanceState::Active));
    }
}

/// A server that cannot look yet knows its hosts from the records: what runs on them is not too many.
#[tokio::test(start_paused = true)]
async fn a_first_look_that_fails_ends_nothing() {
    const DAEMONS: usize = 5;
    let mut fleet = Fleet::new(DAEMONS, options()).await;
    let v1 = fleet.release(definition(RunKind::Daemon, 1)).await;
    fleet.until("v1", async |f| active_count(f, v1).await == DAEMONS).await;
    let states = async |f: &Fleet| -> BTreeMap<_, _> {
        f.alive().await.into_iter().map(|one| (one.id, one.state)).collect()
    };
    let before = states(&fleet).await;
    fleet.ill_here.store(true, SeqCst);
    fleet.restart();
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert_eq!(states(&fleet).await, before, "nothing is known, so nothing is done");
    fleet.ill_here.store(false, SeqCst);
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert_eq!(states(&fleet).await, before);
}

/// Whoever removed a host saw that it was empty: it must not get anything from whoever saw it before.
#[tokio::test(start_paused = true)]
async fn a_host_that_is_removed_in_the_middle_takes_nothing() {
    let fleet = Fleet::new(3, options()).await;
    let v1 = fleet.release(definition(RunKind::Worker, 2)).await;
    fleet.until("v1", async |f| active_count(f, v1).await == 2).await;
    let empty = node(2);
    assert!(fleet.remotes[&empty].running().await.is_empty(), "two are on the first two");
    // Written down, and not told to the cluster yet.
    fleet.forget_record(empty.clone()).await;
    let v2 = fleet.release(definition(RunKind::Worker, 6)).await;
    let id = fleet.deploy(v2).await;
    let d = ended(&fleet, id).await;
    assert_eq!(d.state, DeploymentState::Succeeded, "{:?}", d.diagnosis);
    let by_host = active(&fleet, v2).await;
    assert_eq!(by_host.values().sum::<usize>(), 6);
    assert!(!by_host.contains_key(&empty), "{by_host:?}");
}

/// An image that was built here and is in no registry: another host cannot have it, and the only instance
/// of an app goes where it runs.
#[tokio::test(start_paused = true)]
async fn what_other_hosts_cannot_have_runs_on_arks_own() {
    const OTHERS: usize = 12;
    let fleet = Fleet::new(OTHERS, options()).await;
    let v1 = fleet.release(definition(RunKind::Worker, 1)).await;
    fleet.until("v1", async |f| active_count(f, v1).await == 1).await;
    fleet.cluster.drain(&NodeName::local(), false);
    for (count, left) in [(1, 0), (4, 3)] {
        let next = fleet.release(definition(RunKind::Worker, count)).await;
        (left..OTHERS).for_each(|n| fleet.lacks(node(n), next));
        let id = fleet.deploy(next).await;
        let d = ended(&fleet, id).await;
        assert_eq!(d.state, DeploymentState::Succeeded, "{:?}", d.failures);
        assert!(d.failures.len() <= count as usize, "not host by host: {:?}", d.failures);
        let on_arks_own = active(&fleet, next).await.contains_key(&NodeName::local());
        assert!(on_arks_own || left > 0, "nobody else has it");
        assert_eq!(active_count(&fleet, next).await, count as usize);
    }
}
