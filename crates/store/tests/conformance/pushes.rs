//! Registries, push hooks and the pushes they were told of.

use ark_model::api::PushState;
use ark_store::{Keyring, PushHookRecord, PushRecord, RegistryRecord, Store, StoreError};

use super::samples::{at, write};

fn hook(name: &str, branch: &str) -> PushHookRecord {
    let keyring = Keyring::ephemeral().expect("a key");
    PushHookRecord {
        name: name.to_owned(),
        repository: "/srv/git/shop.git".to_owned(),
        branch: branch.to_owned(),
        secret: keyring.seal_token("hook", "secret".to_owned()).expect("sealed"),
        changed_at: at(0),
        changed_by: "test".to_owned(),
    }
}

fn push(hook: &str, delivery: &str, second: i64) -> PushRecord {
    PushRecord {
        hook: hook.to_owned(),
        delivery: delivery.to_owned(),
        commit: "ab".repeat(20),
        received_at: at(second),
        state: PushState::Queued,
        ended_at: None,
    }
}

/// Deliveries of a hook with their states, newest first, and the one whose turn it is.
async fn seen(store: &Store, hook: &'static str) -> (Vec<(String, PushState)>, Option<String>) {
    let read = store.read(move |tx| Ok::<_, StoreError>((tx.pushes(hook, 10)?, tx.next_push()?)));
    let (all, next) = read.await.expect("the read succeeds");
    let all = all.into_iter().map(|push| (push.delivery, push.state)).collect();
    (all, next.map(|push| push.delivery))
}

pub(crate) async fn a_delivery_is_recorded_once_and_the_newest_push_is_done(store: &Store) {
    let unknown = store.write(|tx| tx.insert_push(&push("shop", "a", 1))).await;
    assert!(matches!(unknown, Err(StoreError::NotFound { .. })), "{unknown:?}");
    write(store, |tx| tx.put_push_hook(&hook("shop", "main"))).await;
    write(store, |tx| tx.put_push_hook(&hook("docs", "main"))).await;
    assert!(write(store, |tx| tx.insert_push(&push("shop", "a", 1))).await);
    assert!(!write(store, |tx| tx.insert_push(&push("shop", "a", 2))).await);
    assert!(write(store, |tx| tx.insert_push(&push("docs", "a", 2))).await, "another hook's");
    let running = PushRecord { state: PushState::Running, ..push("shop", "a", 1) };
    write(store, move |tx| tx.update_push(&running)).await;
    for (delivery, second) in [("b", 3), ("c", 4)] {
        assert!(write(store, move |tx| tx.insert_push(&push("shop", delivery, second))).await);
    }
    let state = |delivery: &str, state| (delivery.to_owned(), state);
    let (all, next) = seen(store, "shop").await;
    let expected = [
        state("c", PushState::Queued),
        state("b", PushState::Superseded),
        state("a", PushState::Running),
    ];
    assert_eq!((all.as_slice(), next.as_deref()), (expected.as_slice(), Some("a")));
    let ended = PushState::Ended { exit_code: Some(0) };
    let ended = PushRecord { state: ended, ended_at: Some(at(5)), ..push("shop", "a", 1) };
    write(store, move |tx| tx.update_push(&ended)).await;
    assert_eq!(seen(store, "shop").await.1.as_deref(), Some("a"), "the other hook's is older");
    // Changing a hook keeps what it was told; removing it forgets that.
    write(store, |tx| tx.put_push_hook(&hook("shop", "release"))).await;
    assert!(!write(store, |tx| tx.insert_push(&push("shop", "a", 9))).await);
    assert!(write(store, |tx| tx.delete_push_hook("docs")).await);
    assert_eq!(seen(store, "docs").await, (vec![], Some("c".to_owned())));
    assert!(!write(store, |tx| tx.delete_push_hook("docs")).await);
}

pub(crate) async fn registries_are_set_changed_and_forgotten(store: &Store) {
    let registry = |host: &str, push: Option<&str>| RegistryRecord {
        host: host.to_owned(),
        login: None,
        push: push.map(str::to_owned),
        changed_at: at(0),
        changed_by: "test".to_owned(),
    };
    for record in [registry("r.test", None), registry("a.test", None)] {
        write(store, move |tx| tx.put_registry(&record)).await;
    }
    let changed = registry("r.test", Some("shop"));
    let expected = changed.clone();
    write(store, move |tx| tx.put_registry(&changed)).await;
    let read = store.read(|tx| Ok::<_, StoreError>((tx.registries()?, tx.registry("r.test")?)));
    let (all, one) = read.await.expect("the read succeeds");
    let hosts: Vec<&str> = all.iter().map(|one| one.host.as_str()).collect();
    assert_eq!((hosts, one), (vec!["a.test", "r.test"], Some(expected)));
    assert!(write(store, |tx| tx.delete_registry("r.test")).await);
    assert!(!write(store, |tx| tx.delete_registry("r.test")).await);
}
