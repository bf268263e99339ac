//! Group commit: many closures, one transaction, one sync to disk.
//!
//! Called by the writer thread (`threads`) and by the inline store. Each closure runs in a
//! savepoint, so an error or a panic undoes only its own writes. The answers are given after the
//! commit, and if the commit fails every closure of the group hears of it: even one that had
//! refused may have done so because of something that is now undone.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::{StoreError, last_failure};
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
        last_failure::forget();
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

/// The error for a transaction that SQLite ended by itself: when the disk is full or fails, when memory
/// is out, when a statement wants it. What the closure made of its error is its own, so the cause is what
/// SQLite said last.
fn rolled_back(tx: &WriteTx) -> StoreError {
    if let Some(cause) = last_failure::take() {
        return cause;
    }
    // Asking again makes the cause visible: a full disk still is.
    let probe = tx.conn().execute_batch("BEGIN IMMEDIATE; ROLLBACK");
    probe.map_err(StoreError::from).err().unwrap_or_else(|| {
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_ABORT_ROLLBACK);
        let words = "the transaction was rolled back, and nothing says why".to_owned();
        rusqlite::Error::SqliteFailure(code, Some(words)).into()
    })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::connection::open_memory;

    type Answer = (&'static str, Result<(), StoreError>);

    /// Runs statements as the closures of one group, and tells each one's answer in order.
    fn group(statements: &[&'static str]) -> (Vec<Answer>, u64) {
        let mut tx = WriteTx::new(open_memory(jiff::Timestamp::UNIX_EPOCH).expect("a database"));
        let (sender, answers) = mpsc::channel::<Answer>();
        let mut jobs: Vec<Box<dyn Job>> = Vec::new();
        for sql in statements.iter().copied().rev() {
            let sender = sender.clone();
            let closure = move |tx: &mut WriteTx| Ok(tx.conn().execute_batch(sql)?);
            let answer = move |result| sender.send((sql, result)).expect("the test listens");
            jobs.push(Box::new(Closure::new(closure, answer)));
        }
        let (ran, committed) = run_group(&mut tx, || jobs.pop());
        assert!(answers.try_recv().is_err(), "nobody is answered before the commit");
        let failure = committed.err();
        ran.into_iter().for_each(|job| job.answer(failure.clone()));
        assert!(tx.conn().is_autocommit(), "the transaction is over");
        let kept = tx.number("SELECT count(*) FROM meta", []).expect("a number");
        (answers.try_iter().collect(), kept)
    }

    const FIRST: &str = "INSERT INTO meta VALUES ('first', '')";
    const SECOND: &str = "INSERT INTO meta VALUES ('second', '')";
    const BROKEN: &str = "INSERT INTO meta VALUES ('third', ''); INSERT INTO meta VALUES (0/0)";
    /// Is refused at the commit only.
    const ORPHAN: &str = "PRAGMA defer_foreign_keys = 1;
        INSERT INTO apps VALUES ('nowhere', 'web', '')";

    #[test]
    fn an_error_undoes_only_its_own_closure() {
        let (answers, kept) = group(&[FIRST, BROKEN, SECOND]);
        let good: Vec<_> = answers.iter().map(|(sql, result)| (*sql, result.is_ok())).collect();
        assert_eq!(good, [(FIRST, true), (BROKEN, false), (SECOND, true)]);
        assert_eq!(kept, 2);
    }

    #[test]
    fn a_transaction_that_the_database_ended_says_why() {
        const TAKEN: &str = "INSERT OR ROLLBACK INTO meta VALUES ('first', '')";
        let (answers, kept) = group(&[FIRST, TAKEN]);
        assert_eq!(kept, 0);
        for (sql, result) in answers {
            let text = format!("{result:?}");
            assert!(text.contains("UNIQUE") && !text.contains("DiskFull"), "{sql}: {text}");
        }
    }

    #[test]
    fn a_failed_commit_is_everybodys_answer() {
        let (answers, kept) = group(&[FIRST, ORPHAN, BROKEN, SECOND]);
        assert_eq!(answers.len(), 4);
        assert_eq!(kept, 0);
        let mut texts = answers.iter().map(|(_, result)| format!("{result:?}"));
        let first = texts.next().expect("an answer");
        assert!(first.contains("FOREIGN KEY"), "{first}");
        assert!(texts.all(|text| text == first));
    }

    #[test]
    fn a_transaction_that_cannot_begin_is_everybodys_answer() {
        let mut tx = WriteTx::new(open_memory(jiff::Timestamp::UNIX_EPOCH).expect("a database"));
        tx.conn().pragma_update(None, "query_only", true).expect("a setting");
        let (sender, answers) = mpsc::channel();
        let closure = |tx: &mut WriteTx| tx.put_meta("key", "value");
        let answer = move |result: Result<(), StoreError>| {
            sender.send(result).expect("the test listens");
        };
        let mut job: Option<Box<dyn Job>> = Some(Box::new(Closure::new(closure, answer)));
        tx.conn().execute_batch("BEGIN").expect("a transaction that is in the way");
        let (ran, committed) = run_group(&mut tx, || job.take());
        let failure = committed.expect_err("a second BEGIN is refused");
        ran.into_iter().for_each(|job| job.answer(Some(failure.clone())));
        assert!(answers.recv().expect("an answer").is_err());
        assert!(tx.conn().is_autocommit(), "what was in the way is gone");
    }
}
