//! What is only added to or guarded: events, idempotency, leases, traffic.

use std::collections::BTreeMap;
use std::time::Duration;

use ark_model::event::EventKind;
use ark_model::gateway::{Counters, LostBoot, Report, RouteReport, TargetReport};
use ark_model::receipt::Side;
use ark_model::{BootId, DeploymentId, InstanceId, ReleaseNumber, Sha256};
use ark_store::{
    CallEdge, EventFilter, EventsFrom, EventsPage, Store, StoreError, StoredAnswer, TrafficLine,
};

use super::samples::{app, at, env, environments, event, id, instance, route, side, write};

pub(crate) async fn events_are_followed_from_a_resume_point(store: &Store) {
    let mut of_deployment = event(EventKind::DeploymentLive, Some("dev"), 4);
    of_deployment.deployment = Some(DeploymentId(id(1)));
    for event in [
        event(EventKind::ServerStarted, None, 1),
        event(EventKind::EnvironmentCreated, Some("dev"), 2),
        event(EventKind::EnvironmentCreated, Some("prod"), 3),
        of_deployment,
    ] {
        let failed = store
            .write(|tx| {
                tx.append_event(event_that_is_undone())?;
                Err::<(), _>(StoreError::Closed)
            })
            .await;
        assert!(failed.is_err());
        write(store, move |tx| tx.append_event(event)).await;
    }
    let created = vec![EventKind::EnvironmentCreated];
    let all = EventFilter::default();
    for (filter, after, limit, expected) in [
        (all.clone(), 0, 10, vec![1, 2, 3, 4]),
        (all.clone(), 2, 1, vec![3]),
        (all.clone(), 4, 10, vec![]),
        (EventFilter { env: Some(env("dev")), ..all.clone() }, 0, 10, vec![2, 4]),
        (EventFilter { app: Some(app("web")), ..all.clone() }, 2, 10, vec![3, 4]),
        (EventFilter { kinds: created.clone(), ..all.clone() }, 0, 10, vec![2, 3]),
        (EventFilter { kinds: created, env: Some(env("prod")), ..all.clone() }, 0, 10, vec![3]),
        (EventFilter { deployment: Some(DeploymentId(id(1))), ..all.clone() }, 0, 10, vec![4]),
        (EventFilter { deployment: Some(DeploymentId(id(2))), ..all.clone() }, 0, 10, vec![]),
    ] {
        let asked = format!("{filter:?} after {after}");
        let newest_first = filter.clone();
        let found = store.read(move |tx| tx.events(&filter, after, limit)).await;
        let found: Vec<_> = found.expect("the read succeeds").iter().map(|e| e.seq).collect();
        assert_eq!(found, expected, "{asked}");
        if after == 0 {
            let found = store.read(move |tx| tx.recent_events(&newest_first, None, limit)).await;
            let found: Vec<_> =
                found.expect("the read succeeds").iter().rev().map(|e| e.seq).collect();
            assert_eq!(found, expected, "{asked}, newest first");
        }
    }
    let second = store.read(|tx| tx.recent_events(&EventFilter::default(), Some(3), 1)).await;
    let second = second.expect("the read succeeds").remove(0);
    assert_eq!((second.at, second.text.as_str()), (at(2), "EnvironmentCreated at 2"));
}

/// Kinds within an environment have no index of their own: a page of them looks at so many events
/// and says how far it came.
pub(crate) async fn a_list_of_rare_events_says_how_far_it_looked(store: &Store) {
    const MANY: usize = 6_000;
    write(store, |tx| {
        for number in 1..=MANY {
            let kind = match number {
                1 | MANY => EventKind::EnvironmentCreated,
                _ => EventKind::Gateway,
            };
            tx.append_event(event(kind, Some("dev"), number as i64))?;
        }
        Ok(())
    })
    .await;
    let rare = EventFilter {
        env: Some(env("dev")),
        kinds: vec![EventKind::EnvironmentCreated],
        ..EventFilter::default()
    };
    let page = async |from: EventsFrom, limit: usize| {
        let filter = rare.clone();
        let page = store.read(move |tx| tx.events_page(&filter, from, limit)).await;
        let page: EventsPage = page.expect("the read succeeds");
        (page.events.iter().map(|e| e.seq).collect::<Vec<_>>(), page.reached, page.more)
    };
    let many = MANY as u64;
    assert_eq!(page(EventsFrom::After(0), 1).await, (vec![1], 5_000, true));
    assert_eq!(page(EventsFrom::After(1), 9).await, (vec![], 5_001, true));
    assert_eq!(page(EventsFrom::After(5_001), 9).await, (vec![many], many, false));
    assert_eq!(page(EventsFrom::After(many), 9).await, (vec![], many, false));
    assert_eq!(page(EventsFrom::Before(u64::MAX), 9).await, (vec![many], 1_001, true));
    assert_eq!(page(EventsFrom::Before(1_001), 9).await, (vec![1], 0, false));
    // Whoever wants all of them gets all of them.
    let filter = rare.clone();
    let found = store.read(move |tx| tx.events(&filter, 0, 9)).await.expect("the read succeeds");
    assert_eq!(found.iter().map(|e| e.seq).collect::<Vec<_>>(), [1, many]);
    // A page that is full goes on after its last event, several kinds by their numbers.
    let both = vec![EventKind::Gateway, EventKind::EnvironmentCreated];
    let filter = EventFilter { kinds: both, ..EventFilter::default() };
    let read = store.read(move |tx| tx.events_page(&filter, EventsFrom::After(0), 3)).await;
    let found = read.expect("the read succeeds");
    assert_eq!(found.events.iter().map(|e| e.seq).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!((found.reached, found.more), (3, true));
}

fn event_that_is_undone() -> ark_model::event::NewEvent {
    event(EventKind::Gateway, Some("dev"), 0)
}

pub(crate) async fn events_are_pruned_and_their_numbers_are_not_given_again(store: &Store) {
    let bounds = || store.read(|tx| Ok::<_, StoreError>((tx.oldest_event()?, tx.latest_event()?)));
    assert_eq!(bounds().await.expect("the read succeeds"), (None, 0));
    for seconds in 1..=3 {
        let event = event(EventKind::Gateway, None, seconds);
        write(store, move |tx| tx.append_event(event)).await;
    }
    assert_eq!(write(store, |tx| tx.prune_events(at(3), 1)).await, 1);
    assert_eq!(bounds().await.expect("the read succeeds"), (Some(2), 3));
    assert_eq!(write(store, |tx| tx.prune_events(at(9), 100)).await, 2);
    assert_eq!(bounds().await.expect("the read succeeds"), (None, 3));
    let next = event(EventKind::Gateway, None, 9);
    assert_eq!(write(store, move |tx| tx.append_event(next)).await, 4);
}

pub(crate) async fn an_idempotency_key_gives_the_same_answer_until_it_expires(store: &Store) {
    let (request, other) = (Sha256::of(b"request"), Sha256::of(b"other"));
    let answer = StoredAnswer { status: 202, body: "{\"id\":1}".into() };
    let stored = answer.clone();
    write(store, move |tx| {
        assert_eq!(tx.stored_answer("ada", "key", &request, at(0))?, None);
        tx.store_answer("ada", "key", &request, &stored, at(10))
    })
    .await;
    let ask = |caller: &'static str, request, seconds| {
        store.read(move |tx| tx.stored_answer(caller, "key", &request, at(seconds)))
    };
    assert_eq!(ask("ada", request, 9).await.expect("the read succeeds"), Some(answer));
    assert_eq!(ask("bob", other, 9).await.expect("the read succeeds"), None);
    let reused = ask("ada", other, 9).await;
    assert!(matches!(reused, Err(StoreError::KeyReused { .. })), "{reused:?}");
    assert_eq!(ask("ada", other, 10).await.expect("the read succeeds"), None);
    assert_eq!(write(store, |tx| tx.prune_answers(at(9), 10)).await, 0);
    assert_eq!(write(store, |tx| tx.prune_answers(at(10), 10)).await, 1);
}

pub(crate) async fn a_stale_lease_is_refused(store: &Store) {
    let lifetime = Duration::from_secs(10);
    let acquire = |holder: &'static str, seconds| {
        write(store, move |tx| tx.acquire_lease("app", holder, at(seconds), lifetime))
    };
    let guarded = |token: u64| {
        store.write(move |tx| {
            tx.check_lease("app", token)?;
            tx.put_meta("by", &token.to_string())
        })
    };
    let first = acquire("a", 0).await.expect("a free lease");
    assert_eq!((first.holder.as_str(), first.expires_at), ("a", at(10)));
    assert_eq!(acquire("b", 9).await, None);
    guarded(first.token).await.expect("held");
    write(store, move |tx| tx.renew_lease("app", first.token, at(9), lifetime)).await;
    assert_eq!(acquire("b", 18).await, None, "it was renewed");

    // It expires; until somebody takes it, its holder may go on.
    guarded(first.token).await.expect("expired but not taken");
    let second = acquire("b", 19).await.expect("an expired lease");
    assert!(second.token > first.token);
    for stale in [
        guarded(first.token).await,
        store.write(move |tx| tx.renew_lease("app", first.token, at(19), lifetime)).await,
    ] {
        assert!(matches!(stale, Err(StoreError::StaleLease { .. })), "{stale:?}");
    }
    write(store, move |tx| tx.release_lease("app", first.token)).await;
    guarded(second.token).await.expect("the stale holder released nothing");

    // The same holder again (its process was restarted) makes its older self stale.
    let third = acquire("b", 20).await.expect("its own lease");
    assert!(third.token > second.token);
    assert!(guarded(second.token).await.is_err());
    write(store, move |tx| tx.release_lease("app", third.token)).await;
    assert!(guarded(third.token).await.is_err());
    let fourth = acquire("c", 20).await.expect("a released lease");
    assert!(fourth.token > third.token, "tokens grow across a release");
    let by = store.read(|tx| tx.meta("by")).await.expect("the read succeeds");
    assert_eq!(by, Some(second.token.to_string()));
}

fn line(expose: &str, target: Option<u128>, counted: Side) -> TrafficLine {
    let target = target.map(|number| (InstanceId(id(number)), ReleaseNumber(3)));
    TrafficLine { route: route("dev", "web", expose), target, counted }
}

fn boot(number: u128) -> BootId {
    BootId(id(number))
}

pub(crate) async fn reports_may_be_repeated_late_and_lost(store: &Store) {
    environments(store, &["dev"]).await;
    write(store, |tx| tx.insert_instance(&instance(1, "dev", "web"))).await;
    for (number, expose, target, served, added) in [
        (1, "http", Some(1), 5, 5),
        (1, "http", Some(1), 5, 0),
        (1, "http", Some(1), 9, 4),
        (1, "http", Some(1), 6, 0),
        (1, "http", Some(1), 10, 1),
        (1, "admin", Some(1), 2, 2),
        (2, "http", Some(1), 3, 3),
        (1, "http", None, 1, 1),
        (2, "http", None, 1, 1),
        (2, "http", Some(9), 4, 4),
    ] {
        let line = line(expose, target, side(served));
        let what = format!("{line:?} of {number}");
        let found = write(store, move |tx| tx.apply_traffic(boot(number), &[line], at(1))).await;
        assert_eq!(found, [side(added)], "{what}");
    }
    let unknown =
        TrafficLine { route: route("gone", "web", "http"), ..line("http", None, side(1)) };
    let added = write(store, move |tx| tx.apply_traffic(boot(1), &[unknown], at(1))).await;
    assert_eq!(added, [Side::default()]);

    let traffic = || async {
        let found = store.read(|tx| tx.traffic(&env("dev"), &app("web"))).await;
        let found = found.expect("the read succeeds");
        let instances: Vec<_> = found
            .instances
            .iter()
            .map(|(id, (release, side))| (id.0.as_u128(), release.0, side.served))
            .collect();
        (instances, found.routes.served)
    };
    assert_eq!(traffic().await, (vec![(1, 3, 15), (9, 3, 4)], 2));

    // An old gateway and what it says of instances that are forgotten may go; nothing else does.
    assert_eq!(write(store, |tx| tx.prune_traffic(at(1), boot(2), 10)).await, 0);
    assert_eq!(write(store, |tx| tx.prune_traffic(at(2), boot(2), 10)).await, 1);
    let repeated = line("http", Some(1), side(3));
    let added = write(store, move |tx| tx.apply_traffic(boot(2), &[repeated], at(3))).await;
    assert_eq!(added, [Side::default()]);
    assert_eq!(traffic().await, (vec![(1, 3, 15)], 2));
}

pub(crate) async fn a_killed_gateways_last_counters_are_added_once(store: &Store) {
    environments(store, &["dev"]).await;
    let target = |served, in_flight, streams| TargetReport {
        route: route("dev", "web", "http"),
        instance: InstanceId(id(1)),
        release: ReleaseNumber(3),
        readiness: None,
        in_flight,
        streams,
        counters: Counters { served, ..Counters::default() },
    };
    let report = |number, targets, lost| Report {
        boot: boot(number),
        seq: 1,
        applied: None,
        targets,
        routes: vec![RouteReport {
            route: route("dev", "web", "http"),
            counters: Counters { failed: 2, ..Counters::default() },
            held: 0,
            held_inside: 0,
        }],
        refusals: BTreeMap::new(),
        lost,
        certificates: Vec::new(),
        calls: Vec::new(),
    };
    let first = report(1, vec![target(100, 3, 1)], Vec::new());
    let lost = LostBoot {
        boot: boot(1),
        checkpoint_at: at(1),
        in_order: false,
        targets: vec![target(104, 2, 1)],
        routes: Vec::new(),
    };
    let second = report(2, vec![target(7, 1, 0)], vec![lost]);
    write(store, move |tx| {
        tx.apply_report(&first, at(1))?;
        tx.apply_report(&second, at(2))?;
        tx.apply_report(&second, at(3))
    })
    .await;
    let found = store.read(|tx| tx.traffic(&env("dev"), &app("web"))).await;
    let found = found.expect("the read succeeds");
    let (release, side) = &found.instances[&InstanceId(id(1))];
    assert_eq!((release.0, side.served, side.cut), (3, 111, 3));
    assert_eq!(found.routes.failed, 4);
}

pub(crate) async fn stalls_are_kept_until_reset(store: &Store) {
    environments(store, &["dev"]).await;
    let stall = |ms| Side { longest_stall_ms: ms, ..side(1) };
    let apply = |ms, seconds| {
        let line = line("http", Some(1), stall(ms));
        write(store, move |tx| tx.apply_traffic(boot(1), &[line], at(seconds)))
    };
    let longest = || async {
        let found = store.read(|tx| tx.traffic(&env("dev"), &app("web"))).await;
        found.expect("the read succeeds").instances[&InstanceId(id(1))].1.longest_stall_ms
    };
    apply(30, 1).await;
    apply(80, 2).await;
    apply(10, 3).await;
    assert_eq!(longest().await, 80);
    write(store, |tx| tx.reset_stalls(&env("dev"), &app("web"))).await;
    assert_eq!(longest().await, 0);
    let before = *store.commits().borrow();
    apply(20, 4).await;
    assert_eq!(longest().await, 20);
    assert!(*store.commits().borrow() > before);
    let before = *store.commits().borrow();
    apply(20, 5).await;
    assert_eq!(*store.commits().borrow(), before, "a repeated report changes nothing");
}

pub(crate) async fn calls_are_kept_with_their_first_and_last_time_until_pruned(store: &Store) {
    environments(store, &["dev", "prod"]).await;
    let edge = |from: &str, from_app: &str, to: &str, to_app: &str| CallEdge {
        from: (env(from), app(from_app)),
        to: (env(to), app(to_app)),
    };
    let of = |name: &'static str| async move {
        let found = store.read(move |tx| tx.calls_of(&env(name))).await.expect("the read succeeds");
        let told = found.into_iter().map(|record| {
            let CallEdge { from, to } = record.edge;
            let seconds = |instant| at(0).until(instant).expect("a span").get_seconds();
            let (first, last) = (seconds(record.first_seen), seconds(record.last_seen));
            format!("{}/{} {}/{} {first} {last}", from.0, from.1, to.0, to.1)
        });
        told.collect::<Vec<String>>()
    };
    for (edge, seconds) in [
        (edge("dev", "web", "dev", "api"), 10),
        (edge("dev", "web", "dev", "api"), 30),
        (edge("dev", "web", "dev", "api"), 20),
        (edge("dev", "web", "prod", "api"), 5),
        (edge("prod", "web", "prod", "api"), 40),
        // Of an environment that is gone.
        (edge("dev", "web", "gone", "api"), 50),
        (edge("gone", "web", "dev", "api"), 50),
    ] {
        write(store, move |tx| tx.note_call(&edge, at(seconds))).await;
    }
    assert_eq!(of("dev").await, ["dev/web dev/api 10 30", "dev/web prod/api 5 5"]);
    assert_eq!(of("prod").await, ["dev/web prod/api 5 5", "prod/web prod/api 40 40"]);
    assert_eq!(write(store, |tx| tx.prune_calls(at(30))).await, 1);
    assert_eq!(of("dev").await, ["dev/web dev/api 10 30"]);
    write(store, |tx| tx.delete_environment(&env("dev"), at(60))).await;
    assert_eq!(of("dev").await, [""; 0]);
    assert_eq!(of("prod").await, ["prod/web prod/api 40 40"]);
}
