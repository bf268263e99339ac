//! Closures: all or nothing, one after the other, durable before they are answered.

use std::sync::{Arc, Mutex};

use ark_store::{ReadTx, Store, StoreError, WriteTx};

use super::samples::{at, write};

#[derive(Debug, PartialEq)]
enum Refusal {
    Mine(&'static str),
    Store(String),
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Store(error.to_string())
    }
}

pub(crate) async fn an_error_undoes_only_its_own_closure(store: &Store) {
    let good =
        |key: &'static str| store.write(move |tx| tx.put_meta(key, "kept").map_err(Refusal::from));
    let bad = store.write(|tx| {
        tx.put_meta("bad", "lost")?;
        Err::<(), _>(Refusal::Mine("changed my mind"))
    });
    let (first, refused, second) = tokio::join!(good("first"), bad, good("second"));
    assert_eq!(first, Ok(()));
    assert_eq!(refused, Err(Refusal::Mine("changed my mind")));
    assert_eq!(second, Ok(()));
    let found: Vec<_> = store
        .read(|tx| ["first", "bad", "second"].into_iter().map(|key| tx.meta(key)).collect())
        .await
        .map_err(|error: StoreError| error.to_string())
        .expect("the read succeeds");
    assert_eq!(found, [Some("kept".to_owned()), None, Some("kept".to_owned())]);
}

pub(crate) async fn a_panic_undoes_only_its_own_closure(store: &Store) {
    let panicked = store
        .write(|tx| {
            tx.put_meta("bad", "lost")?;
            if tx.meta("bad")?.is_some() {
                panic!("out of {}", "cheese");
            }
            Ok::<(), StoreError>(())
        })
        .await;
    match panicked {
        Err(StoreError::Panicked { message }) => assert_eq!(message, "out of cheese"),
        other => panic!("{other:?}"),
    }
    let panicked = store.read(|_| -> Result<(), StoreError> { panic!("read") }).await;
    assert!(matches!(panicked, Err(StoreError::Panicked { .. })), "{panicked:?}");
    write(store, |tx| tx.put_meta("good", "kept")).await;
    let found = store.read(|tx| Ok::<_, StoreError>((tx.meta("bad")?, tx.meta("good")?))).await;
    assert_eq!(found.expect("the read succeeds"), (None, Some("kept".to_owned())));
}

pub(crate) async fn closures_run_in_the_order_they_were_sent(store: &Store) {
    let order = Arc::new(Mutex::new(Vec::new()));
    let writes = (0..600_u64).map(|number| {
        let order = order.clone();
        store.write(move |tx| {
            let seen = tx.meta("last")?.map_or(0, |text| text.parse().unwrap_or(u64::MAX));
            order.lock().expect("the list").push((number, seen));
            tx.put_meta("last", &number.to_string())
        })
    });
    // Joined futures are polled in order, so they are sent in order.
    for result in futures_join(writes).await {
        result.expect("the write succeeds");
    }
    let order = order.lock().expect("the list").clone();
    let expected: Vec<_> = (0..600).map(|n: u64| (n, n.saturating_sub(1))).collect();
    assert_eq!(order, expected);
}

/// Polls all to their end, in order at first.
async fn futures_join<T, F>(futures: impl Iterator<Item = F>) -> Vec<T>
where
    F: Future<Output = T>,
{
    let mut waiting: Vec<_> = futures.map(|f| (Some(Box::pin(f)), None)).collect();
    std::future::poll_fn(|context| {
        for (future, result) in &mut waiting {
            if let Some(pinned) = future
                && let std::task::Poll::Ready(value) = pinned.as_mut().poll(context)
            {
                *result = Some(value);
                *future = None;
            }
        }
        match waiting.iter().all(|(future, _)| future.is_none()) {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
    waiting.into_iter().filter_map(|(_, result)| result).collect()
}

pub(crate) async fn a_read_sees_what_was_acknowledged(store: &Store) {
    for number in 0..50 {
        let text = number.to_string();
        let expected = text.clone();
        write(store, move |tx| tx.put_meta("number", &text)).await;
        let found = store.read(|tx| tx.meta("number")).await;
        assert_eq!(found.expect("the read succeeds"), Some(expected));
    }
}

pub(crate) async fn commits_that_change_something_are_announced(store: &Store) {
    let commits = store.commits();
    let before = *commits.borrow();
    write(store, |tx| tx.put_meta("key", "value")).await;
    let after = *commits.borrow();
    assert!(after > before, "{after} after {before}");

    write(store, |tx| tx.meta("key").map(drop)).await;
    assert_eq!(*commits.borrow(), after, "a write that changes nothing wakes nobody");
    let refused = store
        .write(|tx| {
            tx.put_meta("key", "other")?;
            Err::<(), StoreError>(StoreError::Closed)
        })
        .await;
    assert!(refused.is_err());
    assert_eq!(*commits.borrow(), after, "what was undone wakes nobody");
}

pub(crate) async fn generations_grow_within_one_epoch(store: &Store) {
    let none = store.read(ReadTx::generation).await.expect("the read succeeds");
    let first = write(store, WriteTx::next_generation).await;
    let second = write(store, WriteTx::next_generation).await;
    assert_eq!(none.number, 0);
    assert!(none < first && first < second, "{first:?} {second:?}");
    assert_eq!(first.epoch, second.epoch);
    assert_eq!(i64::try_from(first.epoch), Ok(at(0).as_millisecond()));
}

pub(crate) async fn a_new_epoch_ranks_above_everything_before(store: &Store) {
    let mut last = write(store, WriteTx::next_generation).await;
    // The second time within the same millisecond, the third after the clock went back.
    for seconds in [5, 5, -5] {
        let begun = write(store, move |tx| tx.begin_epoch(at(seconds))).await;
        let next = write(store, WriteTx::next_generation).await;
        assert!(last < begun && begun < next, "{last:?} {begun:?} {next:?}");
        assert_eq!(next.number, 1);
        last = next;
    }
}
