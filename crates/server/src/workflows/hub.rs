//! Hints in memory: who waits for what, so that nobody has to look. Everything here may be lost,
//! or told too early or twice: what is so is decided in the store. Every second the driver tells
//! the hints anew from the store.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::Notify;

use super::busy::Busy;
use super::step::Told;

/// The most workers that wait for one activity (the quota of AWS).
pub(super) const POLLERS_MAX: usize = 1_000;
/// The most chores that are known to be broken.
const RESTING_MAX: usize = 500;

/// One activity's waiting workers.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) notify: Notify,
    waiting: AtomicUsize,
    /// The machine whose task was handed out last, for fairness between machines.
    pub(super) last_machine: AtomicU64,
}

/// Executions whose inboxes hold events, machine by machine in circle.
#[derive(Debug, Default)]
pub(super) struct Thinking {
    /// Wakes whoever takes the events.
    pub(super) told: Notify,
    turns: Mutex<Turns>,
}

#[derive(Debug, Default)]
struct Turns {
    /// By machine, in the order in which they were told of.
    waiting: BTreeMap<u64, VecDeque<u64>>,
    /// All of them, and those under way.
    known: HashMap<u64, Known>,
    /// The machine that had its turn last.
    last: u64,
}

#[derive(Debug)]
struct Known {
    machine: u64,
    /// Whether it was told of since its turn began.
    again: bool,
}

impl Thinking {
    /// There are events for these: machine and execution.
    pub(super) fn tell(&self, executions: Vec<(u64, u64)>) {
        if executions.is_empty() {
            return;
        }
        let mut turns = lock(&self.turns);
        for (machine, execution) in executions {
            let Turns { waiting, known, .. } = &mut *turns;
            let known = known.entry(execution).or_insert_with(|| {
                waiting.entry(machine).or_default().push_back(execution);
                Known { machine, again: false }
            });
            known.again = true;
        }
        drop(turns);
        self.told.notify_one();
    }

    /// Whose turn it is. Until [`Self::done`] it is nobody else's.
    pub(super) fn next(&self) -> Option<u64> {
        let mut turns = lock(&self.turns);
        let last = turns.last;
        let machine = turns.waiting.range(last + 1..).next().or(turns.waiting.iter().next());
        let machine = *machine?.0;
        let queue = turns.waiting.get_mut(&machine)?;
        let execution = queue.pop_front()?;
        if queue.is_empty() {
            turns.waiting.remove(&machine);
        }
        turns.last = machine;
        if let Some(known) = turns.known.get_mut(&execution) {
            known.again = false;
        }
        Some(execution)
    }

    /// Its turn is over. It gets another one when there are more events, or it was told of
    /// meanwhile.
    pub(super) fn done(&self, execution: u64, more: bool) {
        let known = lock(&self.turns).known.remove(&execution);
        if let Some(known) = known
            && (more || known.again)
        {
            self.tell(vec![(known.machine, execution)]);
        }
    }
}

/// What the driver does for somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Chore {
    /// A step of a map run.
    MapRun(u64),
    /// The child of a task: its execution and number.
    Child(u64, u64),
    /// The end of a task that waits for a run: its execution and number.
    Job(u64, u64),
}

/// Chores that could not be done, and until when they are left alone: otherwise each round would
/// try them anew, and say so.
#[derive(Debug, Default)]
pub(super) struct Resting(Mutex<HashMap<Chore, Timestamp>>);

impl Resting {
    /// Leaves a chore alone until `until`.
    pub(super) fn put(&self, chore: Chore, until: Timestamp) {
        let mut resting = lock(&self.0);
        if resting.len() >= RESTING_MAX {
            resting.clear();
        }
        resting.insert(chore, until);
    }

    /// Whether a chore is to be left alone.
    pub(super) fn holds(&self, chore: Chore, now: Timestamp) -> bool {
        let mut resting = lock(&self.0);
        let Some(until) = resting.get(&chore) else { return false };
        if *until > now {
            return true;
        }
        resting.remove(&chore);
        false
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        lock(&self.0).len()
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Hub {
    queues: Mutex<HashMap<u64, Arc<Queue>>>,
    watchers: Mutex<HashMap<u64, (usize, Arc<Notify>)>>,
    /// Wakes the driver.
    pub(super) driver: Notify,
    /// Who works.
    pub(super) busy: Busy,
    /// Executions whose inboxes hold events.
    pub(super) thinking: Thinking,
    /// Wakes whoever does work outside: calls and files.
    pub(super) outbound: Notify,
    /// Wakes whoever makes calls over HTTP.
    pub(super) calls: Notify,
    /// Chores that are left alone for a while.
    pub(super) resting: Resting,
    next_due: Mutex<Option<Timestamp>>,
    undelivered: Mutex<Vec<(u64, u64)>>,
    confirmed: Mutex<Vec<(u64, u64)>>,
    closing: AtomicBool,
    closed: Notify,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Queue {
    /// Workers that wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

/// A worker that waits; stops counting when dropped.
#[derive(Debug)]
pub(super) struct Waiting(Arc<Queue>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Somebody who waits for the end of an execution; forgotten when dropped.
#[derive(Debug)]
pub(super) struct Watcher<'a> {
    hub: &'a Hub,
    execution: u64,
    pub(super) notify: Arc<Notify>,
}

impl Drop for Watcher<'_> {
    fn drop(&mut self) {
        let mut watchers = lock(&self.hub.watchers);
        if let Some((count, _)) = watchers.get_mut(&self.execution) {
            *count -= 1;
            if *count == 0 {
                watchers.remove(&self.execution);
            }
        }
    }
}

impl Hub {
    pub(super) fn queue(&self, activity: u64) -> Arc<Queue> {
        lock(&self.queues).entry(activity).or_default().clone()
    }

    /// Looks how busy the workers of all activities are.
    pub(super) fn look_at_workers(&self) {
        let waiting: Vec<(u64, usize)> =
            lock(&self.queues).iter().map(|(id, queue)| (*id, queue.waiting())).collect();
        self.busy.look(&waiting);
    }

    /// How many workers wait for an activity.
    pub(super) fn waiting_for(&self, activity: u64) -> usize {
        lock(&self.queues).get(&activity).map_or(0, |queue| queue.waiting())
    }

    /// Counts a waiting worker in; `None` when too many wait.
    pub(super) fn wait_in(&self, queue: &Arc<Queue>) -> Option<Waiting> {
        if queue.waiting.fetch_add(1, Ordering::Relaxed) >= POLLERS_MAX {
            queue.waiting.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Waiting(queue.clone()))
    }

    /// A task of this activity can be handed out.
    pub(super) fn task_ready(&self, activity: u64) {
        let queue = lock(&self.queues).get(&activity).cloned();
        if let Some(queue) = queue {
            queue.notify.notify_one();
        }
    }

    /// The activity has tasks, nobody remembers how many: wakes some of its workers.
    pub(super) fn tasks_ready(&self, activity: u64) {
        const SOME: usize = 64;
        let queue = lock(&self.queues).get(&activity).cloned();
        if let Some(queue) = queue {
            for _ in 0..queue.waiting.load(Ordering::Relaxed).min(SOME) {
                queue.notify.notify_one();
            }
        }
    }

    /// Watches for the end of an execution. Look at it after this call, not only before.
    pub(super) fn watch(&self, execution: u64) -> Watcher<'_> {
        let mut watchers = lock(&self.watchers);
        let (count, notify) = watchers.entry(execution).or_default();
        *count += 1;
        Watcher { hub: self, execution, notify: notify.clone() }
    }

    /// An execution ends with the transaction that is being written.
    pub(super) fn ended(&self, execution: u64) {
        if let Some((_, notify)) = lock(&self.watchers).get(&execution) {
            notify.notify_waiters();
        }
    }

    /// A timer was set: the driver wakes if it is before those it knew of.
    pub(super) fn timer_set(&self, due: Timestamp) {
        let mut next = lock(&self.next_due);
        if next.is_none_or(|next| due < next) {
            *next = Some(due);
            drop(next);
            self.driver.notify_one();
        }
    }

    /// What the store says about the next timer.
    pub(super) fn next_timer_is(&self, due: Option<Timestamp>) {
        *lock(&self.next_due) = due;
    }

    pub(super) fn next_timer(&self) -> Option<Timestamp> {
        *lock(&self.next_due)
    }

    pub(super) fn undelivered(&self, execution: u64, task: u64) {
        lock(&self.undelivered).push((execution, task));
        self.driver.notify_one();
    }

    pub(super) fn take_undelivered(&self) -> Vec<(u64, u64)> {
        std::mem::take(&mut lock(&self.undelivered))
    }

    pub(super) fn confirmed(&self, execution: u64, task: u64) {
        lock(&self.confirmed).push((execution, task));
    }

    /// After a commit: what it left to others.
    pub(super) fn tell(&self, told: Told) {
        self.thinking.tell(told.waiting);
        if told.calls {
            self.calls.notify_one();
        }
        if told.objects {
            self.outbound.notify_one();
        }
    }

    /// Notes that were taken and could not be written: they are taken again in the next round.
    pub(super) fn not_written(&self, undelivered: &[(u64, u64)], confirmed: &[(u64, u64)]) {
        lock(&self.undelivered).extend_from_slice(undelivered);
        lock(&self.confirmed).extend_from_slice(confirmed);
    }

    pub(super) fn take_confirmed(&self) -> Vec<(u64, u64)> {
        std::mem::take(&mut lock(&self.confirmed))
    }

    /// The server ends: everybody who waits is answered empty.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
        self.closed.notify_waiters();
        self.driver.notify_one();
        self.outbound.notify_one();
        self.thinking.told.notify_one();
        self.calls.notify_one();
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }

    /// Resolves once the server ends.
    pub(super) async fn closed(&self) {
        let closed = self.closed.notified();
        if self.is_closing() {
            return;
        }
        closed.await;
    }
}
