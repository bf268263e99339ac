//! Group commit: many closures, one transaction, one sync to disk.
//!
//! Called by the writer thread (`threads`) and by the inline store. Each closure runs in a
//! savepoint, so an error or a panic undoes only its own writes. The answers are given after the
//! commit, and if the commit fails every closure of the group hears of it: even one that had
//! refused may have done so because of something that is now undone.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::StoreError;
use crate::tx::WriteTx;

/// How a closure ended within its group.
pub(crate) enum Ran {
    /// It returned `Ok`.
    Kept,
    /// It returned an error of its own, or panicked: its writes are to be undone.
    Refused,
}

/// A closure in the queue, its types forgotten.
pub(crate) trait Job: Send {
    /// Runs the closure and remembers what it returned.
    fn run(&mut self, tx: &mut WriteTx) -> Ran;
    /// Gives the answer to whoever waits: what the closure returned, or `failure`.
    fn answer(self: Box<Self>, failure: Option<StoreError>);
}

/// A closure with its result, before and after it ran.
pub(crate) struct Closure<F, T, E, A> {
    closure: Option<F>,
    result: Option<Result<T, E>>,
    answer: A,
}

impl<F, T, E, A> Closure<F, T, E, A> {
    pub(crate) fn new(closure: F, answer: A) -> Self {
        Self { closure: Some(closure), result: None, answer }
    }
}

impl<F, T, E, A> Job for Closure<F, T, E, A>
where
    F: FnOnce(&mut WriteTx) -> Result<T, E> + Send,
    T: Send,
    E: From<StoreError> + Send,
    A: FnOnce(Result<T, E>) + Send,
{
    fn run(&mut self, tx: &mut WriteTx) -> Ran {
        let Some(closure) = self.closure.take() else {
            return Ran::Refused;
        };
        // The transaction is rolled back to the savepoint after a panic, so nothing half-done is
        // seen by the next closure.
        let result = catch_unwind(AssertUnwindSafe(|| closure(tx)));
        let result = result.unwrap_or_else(|panic| Err(E::from(panicked(&*panic))));
        let ran = if result.is_ok() { Ran::Kept } else { Ran::Refused };
        self.result = Some(result);
        ran
    }

    fn answer(self: Box<Self>, failure: Option<StoreError>) {
        let result = match (failure, self.result) {
            (Some(failure), _) => Err(E::from(failure)),
            (None, Some(result)) => result,
            (None, None) => Err(E::from(StoreError::Closed)),
        };
        (self.answer)(result);
    }
}

/// A panic as an error.
pub(crate) fn panicked(panic: &(dyn Any + Send)) -> StoreError {
    let message = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned());
    StoreError::Panicked { message }
}

/// What a group's commit changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Changed {
    /// At least one row.
    Something,
    /// No row: nobody needs to be woken.
    Nothing,
}

/// Runs jobs from `next` in one transaction until it has no more, and commits. Answers the jobs
/// that ran, to be answered by the caller, and how the commit went.
pub(crate) fn run_group(
    tx: &mut WriteTx,
    mut next: impl FnMut() -> Option<Box<dyn Job>>,
) -> (Vec<Box<dyn Job>>, Result<Changed, StoreError>) {
    let mut ran = Vec::new();
    let committed = transaction(tx, &mut next, &mut ran);
    if committed.is_err() && !tx.conn().is_autocommit() {
        // Should even this fail, the next BEGIN does too and says so.
        let _ = tx.conn().execute_batch("ROLLBACK");
    }
    (ran, committed)
}

fn transaction(
    tx: &mut WriteTx,
    next: &mut dyn FnMut() -> Option<Box<dyn Job>>,
    ran: &mut Vec<Box<dyn Job>>,
) -> Result<Changed, StoreError> {
    let begun = statement(tx, "BEGIN IMMEDIATE");
    let mut changed = Changed::Nothing;
    while let Some(job) = next() {
        // Kept in `ran` from here on, so that it is answered whatever happens below.
        ran.push(job);
        let Some(job) = ran.last_mut() else { break };
        begun.clone()?;
        let before = tx.conn().total_changes();
        statement(tx, "SAVEPOINT job")?;
        let outcome = job.run(tx);
        // A full or failing disk makes SQLite roll back the whole transaction by itself.
        if tx.conn().is_autocommit() {
            return Err(rolled_back(tx));
        }
        match outcome {
            Ran::Kept => {
                if tx.conn().total_changes() != before {
                    changed = Changed::Something;
                }
            }
            Ran::Refused => statement(tx, "ROLLBACK TO job")?,
        }
        statement(tx, "RELEASE job")?;
    }
    begun?;
    statement(tx, "COMMIT")?;
    Ok(changed)
}

fn statement(tx: &WriteTx, sql: &str) -> Result<(), StoreError> {
    tx.conn().prepare_cached(sql)?.execute([])?;
    Ok(())
}

/// The error for a transaction that SQLite ended by itself, which it does only when the disk is
/// full or fails, or memory is out.
fn rolled_back(tx: &WriteTx) -> StoreError {
    // Asking again makes the cause visible: a full disk still is.
    let probe = tx.conn().execute_batch("BEGIN IMMEDIATE; ROLLBACK");
    match probe.map_err(StoreError::from) {
        Err(error) => error,
        Ok(()) => StoreError::DiskFull {
            source: std::sync::Arc::new(rusqlite::Error::SqliteFailure(
                rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL),
                Some("the transaction was rolled back for want of space".to_owned()),
            )),
        },
    }
}
