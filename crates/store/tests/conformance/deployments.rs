//! Releases, deployments, instances and their ports.

use std::collections::BTreeSet;
use std::time::Duration;

use ark_model::{DeploymentId, DeploymentState, InstanceId, InstanceState, ReleaseNumber};
use ark_store::{DeploymentFilter, InsertedRelease, PortRequest, ReadTx, Store, StoreError};

use super::samples::{
    app, at, deployment, env, environments, id, instance, new_release, route, write,
};

pub(crate) async fn releases_are_numbered_and_equal_content_is_one_release(store: &Store) {
    environments(store, &["dev", "prod"]).await;
    let insert = |env: &'static str, app: &'static str, config: &'static str| {
        write(store, move |tx| tx.insert_release(new_release(env, app, config)))
    };
    for (env, app, config, number, is_new) in [
        ("dev", "web", "a", 1, true),
        ("dev", "web", "b", 2, true),
        ("dev", "web", "a", 1, false),
        ("dev", "api", "a", 1, true),
        ("prod", "web", "b", 1, true),
        ("dev", "web", "c", 3, true),
    ] {
        let inserted = insert(env, app, config).await;
        assert_eq!(matches!(inserted, InsertedRelease::New(_)), is_new, "{env} {app} {config}");
        let release = inserted.into_release();
        assert_eq!(release.number, ReleaseNumber(number), "{env} {app} {config}");
        assert_eq!(release.digest, release.content.digest());
    }
    let (latest, page, first) = store
        .read(|tx| {
            let (env, app) = (env("dev"), app("web"));
            Ok::<_, StoreError>((
                tx.latest_release(&env, &app)?,
                tx.releases(&env, &app, Some(ReleaseNumber(3)), 1)?,
                tx.release(&env, &app, ReleaseNumber(1))?,
            ))
        })
        .await
        .expect("the read succeeds");
    assert_eq!(latest.map(|r| r.number), Some(ReleaseNumber(3)));
    assert_eq!(page.iter().map(|r| r.number.0).collect::<Vec<_>>(), [2]);
    assert_eq!(first.map(|r| r.content), Some(new_release("dev", "web", "a").content));
}

pub(crate) async fn deleted_release_numbers_are_not_given_again(store: &Store) {
    environments(store, &["dev"]).await;
    for config in ["a", "b", "c", "d"] {
        write(store, move |tx| tx.insert_release(new_release("dev", "web", config))).await;
    }
    let keep = BTreeSet::from([ReleaseNumber(2)]);
    let deleted = write(store, move |tx| {
        tx.delete_releases_before(&env("dev"), &app("web"), ReleaseNumber(9), &keep)
    })
    .await;
    assert_eq!(deleted, 3);
    let next = write(store, |tx| tx.insert_release(new_release("dev", "web", "d"))).await;
    assert_eq!(next.into_release().number, ReleaseNumber(5));
}

pub(crate) async fn a_deployment_is_only_changed_from_the_expected_state(store: &Store) {
    environments(store, &["dev"]).await;
    write(store, |tx| tx.insert_deployment(&deployment(1, "dev", "web"))).await;
    let again = store.write(|tx| tx.insert_deployment(&deployment(1, "dev", "web"))).await;
    assert!(matches!(again, Err(StoreError::Exists { .. })), "{again:?}");

    let mut moved = deployment(1, "dev", "web");
    moved.state = DeploymentState::Replacing;
    moved.started_at = Some(at(1));
    let expected = moved.clone();
    let put = move |tx: &mut ark_store::WriteTx| {
        tx.put_deployment(&moved.clone(), DeploymentState::Queued)
    };
    write(store, put.clone()).await;
    match store.write(put).await {
        Err(StoreError::Conflict { expected, found, .. }) => {
            assert_eq!((expected.as_str(), found.as_str()), ("queued", "replacing"));
        }
        other => panic!("{other:?}"),
    }
    let unknown = deployment(2, "dev", "web");
    let unknown = store.write(move |tx| tx.put_deployment(&unknown, DeploymentState::Queued)).await;
    assert!(matches!(unknown, Err(StoreError::NotFound { .. })), "{unknown:?}");
    let found = store.read(|tx| tx.deployment(DeploymentId(id(1)))).await;
    assert_eq!(found.expect("the read succeeds"), Some(expected));
}

pub(crate) async fn deployments_are_listed_newest_first_in_pages(store: &Store) {
    environments(store, &["dev", "prod"]).await;
    // Ids that do not sort by age: the order is that of recording.
    for (number, env, app) in
        [(9, "dev", "web"), (4, "prod", "web"), (7, "dev", "api"), (1, "dev", "web")]
    {
        write(store, move |tx| tx.insert_deployment(&deployment(number, env, app))).await;
    }
    for (env_name, app_name, before, limit, expected) in [
        (None, None, None, 9, vec![1, 7, 4, 9]),
        (None, None, None, 2, vec![1, 7]),
        (None, None, Some(7), 9, vec![4, 9]),
        (None, None, Some(77), 9, vec![]),
        (Some("dev"), None, None, 9, vec![1, 7, 9]),
        (Some("dev"), Some("web"), None, 9, vec![1, 9]),
        (Some("dev"), Some("web"), Some(1), 9, vec![9]),
        (None, Some("web"), None, 9, vec![1, 4, 9]),
        (None, None, None, 0, vec![]),
    ] {
        let filter = DeploymentFilter { env: env_name.map(env), app: app_name.map(app) };
        let asked = format!("{filter:?} {before:?} {limit}");
        let before = before.map(|number| DeploymentId(id(number)));
        let found = store.read(move |tx| tx.deployments(&filter, before, limit)).await;
        let found: Vec<_> =
            found.expect("the read succeeds").iter().map(|d| d.id.0.as_u128()).collect();
        assert_eq!(found, expected, "{asked}");
    }
}

pub(crate) async fn finished_deployments_are_pruned_beyond_the_newest(store: &Store) {
    environments(store, &["dev"]).await;
    for number in 1..=4 {
        write(store, move |tx| {
            let mut deployment = deployment(number, "dev", "web");
            if number != 2 {
                deployment.state = DeploymentState::Succeeded;
            }
            tx.insert_deployment(&deployment)
        })
        .await;
    }
    let pruned = write(store, |tx| tx.prune_deployments(&env("dev"), &app("web"), 1)).await;
    assert_eq!(pruned, 2);
    let (left, unfinished) = store
        .read(|tx| {
            let all = DeploymentFilter::default();
            Ok::<_, StoreError>((tx.deployments(&all, None, 9)?, tx.unfinished_deployments()?))
        })
        .await
        .expect("the read succeeds");
    assert_eq!(left.iter().map(|d| d.id.0.as_u128()).collect::<Vec<_>>(), [4, 2]);
    assert_eq!(unfinished.damaged, []);
    assert_eq!(unfinished.deployments.iter().map(|d| d.id.0.as_u128()).collect::<Vec<_>>(), [2]);
}

pub(crate) async fn instances_are_alive_until_stopped(store: &Store) {
    environments(store, &["dev", "prod"]).await;
    for (number, env, app) in [(1, "dev", "web"), (2, "prod", "web"), (3, "dev", "web")] {
        write(store, move |tx| tx.insert_instance(&instance(number, env, app))).await;
    }
    let mut stopped = instance(1, "dev", "web");
    stopped.state = InstanceState::Stopped;
    stopped.stopped_at = Some(at(5));
    let expected = stopped.clone();
    write(store, move |tx| tx.put_instance(&stopped)).await;
    let missing = store.write(|tx| tx.put_instance(&instance(9, "dev", "web"))).await;
    assert!(matches!(missing, Err(StoreError::NotFound { .. })), "{missing:?}");

    let ids = |records: Vec<ark_model::instance::InstanceRecord>| {
        records.iter().map(|record| record.id.0.as_u128()).collect::<Vec<_>>()
    };
    let (one, of_app, alive_of_app, alive) = store
        .read(|tx| {
            let (env, app) = (env("dev"), app("web"));
            Ok::<_, StoreError>((
                tx.instance(InstanceId(id(1)))?,
                tx.instances_of(&env, &app, 10)?,
                tx.alive_instances_of(&env, &app)?,
                tx.alive_instances()?,
            ))
        })
        .await
        .expect("the read succeeds");
    assert_eq!(one, Some(expected));
    assert_eq!((ids(of_app), ids(alive_of_app), ids(alive)), (vec![3, 1], vec![3], vec![3, 2]));

    assert_eq!(write(store, |tx| tx.prune_instances(at(5), 10)).await, 0);
    assert_eq!(write(store, |tx| tx.prune_instances(at(6), 10)).await, 1);
    write(store, |tx| tx.delete_instance(InstanceId(id(3)))).await;
    let alive = store.read(ReadTx::alive_instances).await.expect("the read succeeds");
    assert_eq!(ids(alive), [2]);
}

fn request(number: u128, count: usize) -> PortRequest {
    PortRequest {
        instance: InstanceId(id(number)),
        count,
        range: 100..=103,
        hold: Duration::from_secs(10),
        avoid: BTreeSet::new(),
    }
}

pub(crate) async fn those_that_stopped_lately_are_found_among_the_newest(store: &Store) {
    environments(store, &["dev"]).await;
    write(store, |tx| {
        for number in 1..=6 {
            let mut record = instance(number, "dev", "web");
            // The third is alive; the others stopped at 10, 20, 40, 50, 60.
            if number != 3 {
                record.state = InstanceState::Stopped;
                record.stopped_at = Some(at(10 * number as i64));
            }
            tx.insert_instance(&record)?;
        }
        Ok(())
    })
    .await;
    for (among, after, expected) in [(10, 0, 5), (10, 20, 3), (10, 60, 0), (3, 0, 3), (4, 0, 3)] {
        let found = store
            .read(move |tx| tx.lately_stopped_of(&env("dev"), &app("web"), among, at(after)))
            .await
            .expect("the read succeeds");
        assert_eq!(found.len(), expected, "among {among} after {after}: {found:?}");
        assert!(found.is_sorted_by(|a, b| a.stopped_at > b.stopped_at));
    }
}

pub(crate) async fn ports_are_not_given_twice_nor_within_the_hold(store: &Store) {
    let allocate = |request: PortRequest, seconds| {
        store.write(move |tx| tx.allocate_ports(&request, at(seconds)))
    };
    let first = allocate(request(1, 2), 0).await.expect("two ports");
    let second = allocate(request(2, 1), 0).await.expect("one port");
    let all: BTreeSet<_> = first.iter().chain(&second).copied().collect();
    assert_eq!(all.len(), 3, "{first:?} {second:?}");
    assert!(all.iter().all(|port| (100..=103).contains(port)));
    match allocate(request(3, 2), 0).await {
        Err(StoreError::NoPort { wanted: 2, free: 1, first: 100, last: 103 }) => {}
        other => panic!("{other:?}"),
    }

    let released = write(store, |tx| tx.release_ports(InstanceId(id(1)), at(5))).await;
    assert_eq!(released, 2);
    let again = write(store, |tx| tx.release_ports(InstanceId(id(1)), at(9))).await;
    assert_eq!(again, 0, "a repeated release does not prolong the hold");
    let held = allocate(request(4, 2), 14).await;
    assert!(matches!(held, Err(StoreError::NoPort { .. })), "{held:?}");
    // The clock went back: still held.
    let held = allocate(request(4, 2), 1).await;
    assert!(matches!(held, Err(StoreError::NoPort { .. })), "{held:?}");
    let mut avoiding = request(4, 2);
    avoiding.avoid = BTreeSet::from([first[0]]);
    let fourth = allocate(avoiding, 15).await.expect("two ports");
    assert!(!fourth.contains(&first[0]) && fourth.contains(&first[1]), "{fourth:?}");
    let mut of = store.read(|tx| tx.ports_of(InstanceId(id(4)))).await.expect("the ports");
    of.sort_unstable();
    let mut fourth = fourth;
    fourth.sort_unstable();
    assert_eq!(of, fourth);
}

pub(crate) async fn a_route_keeps_its_discovery_port(store: &Store) {
    environments(store, &["dev"]).await;
    let allocate = |env: &'static str, expose: &'static str, seconds| {
        store.write(move |tx| {
            let hold = Duration::from_secs(10);
            tx.allocate_discovery_port(&route(env, "web", expose), &(100..=101), hold, at(seconds))
        })
    };
    let http = allocate("dev", "http", 0).await.expect("a port");
    let admin = allocate("dev", "admin", 0).await.expect("a port");
    assert_ne!(http, admin);
    assert_eq!(allocate("dev", "http", 5).await.expect("a port"), http);
    let listed = store.read(ReadTx::discovery_ports).await.expect("the read succeeds");
    assert_eq!(
        listed,
        [(route("dev", "web", "admin"), admin), (route("dev", "web", "http"), http)]
    );
    let full = allocate("prod", "http", 5).await;
    assert!(matches!(full, Err(StoreError::NoPort { .. })), "{full:?}");
    let mut range = request(1, 1);
    range.range = 100..=101;
    let taken = store.write(move |tx| tx.allocate_ports(&range, at(5))).await;
    assert!(matches!(taken, Err(StoreError::NoPort { .. })), "{taken:?}");

    write(store, |tx| tx.delete_environment(&env("dev"), at(10))).await;
    let held = allocate("prod", "http", 19).await;
    assert!(matches!(held, Err(StoreError::NoPort { .. })), "{held:?}");
    allocate("prod", "http", 20).await.expect("a port after the hold");
}
