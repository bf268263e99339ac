//! A Map Run: how many children run, when it ends and how. Pure, counters only.
//!
//! The runtime keeps the children and their inputs as rows; this decides how many to start, when to
//! stop and what the parent is told. Results are gathered by the runtime from the children in order.

use serde::{Deserialize, Serialize};

use super::effect::MapRunRequest;
use crate::error::{Failure, names};
use crate::limits::DISTRIBUTED_CONCURRENCY;

/// How a child execution ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChildStatus {
    /// Well.
    Succeeded,
    /// With a failure.
    Failed,
    /// By its time limit.
    TimedOut,
    /// Stopped by someone.
    Aborted,
}

/// `DescribeMapRun`'s `executionCounts`; the sum of all but `total` is `total`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "AWS's names")]
pub struct MapRunCounts {
    pub pending: u64,
    pub running: u64,
    pub succeeded: u64,
    pub failed: u64,
    pub timed_out: u64,
    pub aborted: u64,
    pub total: u64,
}

/// Items of the children, as far as their end is known: a child may have several (`ItemBatcher`), and
/// they end as it does. Those of `total` that are in no other counter wait or are worked on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "AWS's names")]
pub struct MapRunItems {
    pub succeeded: u64,
    pub failed: u64,
    pub timed_out: u64,
    pub aborted: u64,
    pub total: u64,
}

impl MapRunItems {
    /// Items whose end is not known yet.
    pub fn open(&self) -> u64 {
        let ended = self.succeeded + self.failed + self.timed_out + self.aborted;
        self.total.saturating_sub(ended)
    }
}

/// Children or items that did not succeed, by how they ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "AWS's names")]
pub struct Unsuccessful {
    pub failed: u64,
    pub timed_out: u64,
    pub aborted: u64,
}

impl Unsuccessful {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.failed + self.timed_out + self.aborted
    }

    /// Those that a redrive goes on with. A run kept by an earlier version counts as aborted what was
    /// never begun, or was faster than its abort: no more than `unfinished` are there.
    fn of(failed: u64, timed_out: u64, aborted: u64, unfinished: u64) -> Self {
        let most = unfinished.saturating_sub(failed + timed_out);
        Self { failed, timed_out, aborted: aborted.min(most) }
    }

    fn take(&mut self, status: ChildStatus, count: u64) {
        let counter = match status {
            ChildStatus::Succeeded => return,
            ChildStatus::Failed => &mut self.failed,
            ChildStatus::TimedOut => &mut self.timed_out,
            ChildStatus::Aborted => &mut self.aborted,
        };
        *counter = counter.saturating_sub(count);
    }
}

/// `DescribeMapRun`'s `status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MapRunStatus {
    /// Items are read, children run, or their results are written.
    Running,
    /// All children done, failures within the tolerance, the results with the parent.
    Succeeded,
    /// More failed than is tolerated, or reader or writer failed.
    Failed,
    /// Stopped with its parent.
    Aborted,
}

/// What happens to a Map Run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum MapRunEvent {
    /// So many more children can be started; `last` when there will be no more.
    ItemsReady {
        /// Children added.
        children: u64,
        /// Items that they work on.
        items: u64,
        /// Whether reading is over.
        last: bool,
    },
    /// Reading failed (`States.ItemReaderFailed`), or making inputs did.
    ItemsFailed(Failure),
    /// One child ended.
    ChildEnded {
        /// How.
        status: ChildStatus,
        /// Items that it worked on.
        items: u64,
    },
    /// The results were gathered or written.
    Completed,
    /// They could not be (`States.ResultWriterFailed`).
    CompletionFailed(Failure),
    /// `UpdateMapRun`.
    Update {
        /// New value of `maxConcurrency`.
        max_concurrency: Option<u32>,
        /// New value of `toleratedFailureCount`.
        tolerated_failure_count: Option<u64>,
        /// New value of `toleratedFailurePercentage`.
        tolerated_failure_percentage: Option<f64>,
    },
    /// The parent ended or left the state.
    Stop,
    /// Go on where it failed or was stopped: with reading, with what did not succeed, or with writing.
    Redrive {
        /// Children of those read that did not succeed, as they are kept.
        unfinished: u64,
        /// Their items.
        unfinished_items: u64,
    },
}

/// What a Map Run wants done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum MapRunEffect {
    /// Forget all items and read them from the first on: a redrive of a run that had not read them all.
    ReadItems,
    /// Set the children that did not succeed back to pending: a redrive.
    ResetChildren,
    /// Start this many pending children, in order of their items.
    StartChildren(u64),
    /// Abort the children that run (their ends are reported as [`MapRunEvent::ChildEnded`] no more) and
    /// forget those pending.
    AbortChildren,
    /// Gather or write the results; the answer is [`MapRunEvent::Completed`] or
    /// [`MapRunEvent::CompletionFailed`].
    Complete,
    /// Tell the parent it failed.
    Fail(Failure),
}

/// Where a Map Run stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MapRunState {
    status: MapRunStatus,
    counts: MapRunCounts,
    /// Fewer than children in runs kept by an earlier version, which counted children only.
    #[serde(default)]
    items: MapRunItems,
    /// No more children will be added.
    all_read: bool,
    /// All children are done: what is left are the results.
    #[serde(default)]
    all_done: bool,
    /// Of a redrive: children that did not succeed before and have not gone on yet. They are among those
    /// pending, or among those running that the runtime has not begun.
    #[serde(default)]
    waiting: Unsuccessful,
    /// Their items.
    #[serde(default)]
    waiting_items: Unsuccessful,
    max_concurrency: u32,
    tolerated_failure_count: u64,
    tolerated_failure_percentage: f64,
    redrive_count: u32,
}

impl MapRunState {
    /// A new Map Run.
    pub fn new(request: &MapRunRequest) -> Self {
        Self {
            status: MapRunStatus::Running,
            counts: MapRunCounts::default(),
            items: MapRunItems::default(),
            all_read: false,
            all_done: false,
            waiting: Unsuccessful::default(),
            waiting_items: Unsuccessful::default(),
            max_concurrency: request.max_concurrency,
            tolerated_failure_count: request.tolerated_failure_count,
            tolerated_failure_percentage: request.tolerated_failure_percentage,
            redrive_count: 0,
        }
    }

    /// Its status.
    pub fn status(&self) -> MapRunStatus {
        self.status
    }

    /// Whether all children are done, with failures within the tolerance: none of them is redriven.
    pub fn is_all_done(&self) -> bool {
        self.all_done || self.status == MapRunStatus::Succeeded
    }

    /// Its counters.
    pub fn counts(&self) -> MapRunCounts {
        self.counts
    }

    /// Its items. Of a run kept by an earlier version, its children.
    pub fn items(&self) -> MapRunItems {
        let counts = self.counts;
        if self.items.total >= counts.total {
            return self.items;
        }
        MapRunItems {
            succeeded: counts.succeeded,
            failed: counts.failed,
            timed_out: counts.timed_out,
            aborted: counts.aborted,
            total: counts.total,
        }
    }

    /// Children and items that wait to be redriven.
    pub fn waiting(&self) -> (Unsuccessful, Unsuccessful) {
        (self.waiting, self.waiting_items)
    }

    /// A child that did not succeed before goes on, or begins anew: it waits for its redrive no more.
    pub fn redriven(&mut self, before: ChildStatus, items: u64) {
        self.waiting.take(before, 1);
        self.waiting_items.take(before, items);
    }

    /// The answer to [`MapRunEffect::AbortChildren`]: of the children to be started so many were not begun,
    /// and so many items wait with them and with those pending. What was never begun is pending still, and
    /// what waited for its redrive is again what it was.
    pub fn not_begun(&mut self, children: u64, items: u64) {
        let (waiting, of_items) =
            (std::mem::take(&mut self.waiting), std::mem::take(&mut self.waiting_items));
        let counts = &mut self.counts;
        counts.aborted = counts.aborted.saturating_sub(children) + waiting.aborted;
        counts.pending = (counts.pending + children).saturating_sub(waiting.total());
        counts.failed += waiting.failed;
        counts.timed_out += waiting.timed_out;
        let counts = &mut self.items;
        counts.aborted = counts.aborted.saturating_sub(items) + of_items.aborted;
        counts.failed += of_items.failed;
        counts.timed_out += of_items.timed_out;
    }

    /// `maxConcurrency` in force; 0 means the default.
    pub fn max_concurrency(&self) -> u32 {
        self.max_concurrency
    }

    /// `toleratedFailureCount` in force.
    pub fn tolerated_failure_count(&self) -> u64 {
        self.tolerated_failure_count
    }

    /// `toleratedFailurePercentage` in force.
    pub fn tolerated_failure_percentage(&self) -> f64 {
        self.tolerated_failure_percentage
    }

    /// How often it was redriven.
    pub fn redrive_count(&self) -> u32 {
        self.redrive_count
    }

    /// Takes one event. Events that come after the end have no effect, but a redrive.
    pub fn next(&mut self, event: MapRunEvent) -> Vec<MapRunEffect> {
        match (self.status, event) {
            (MapRunStatus::Running, MapRunEvent::ItemsReady { children, items, last }) => {
                self.counts.pending += children;
                self.counts.total += children;
                self.items.total += items;
                self.all_read = last;
            }
            (MapRunStatus::Running, MapRunEvent::ItemsFailed(failure)) => {
                return self.fail(failure);
            }
            (MapRunStatus::Running, MapRunEvent::ChildEnded { status, items }) => {
                self.counts.running = self.counts.running.saturating_sub(1);
                self.count(status, items);
            }
            (
                MapRunStatus::Running,
                MapRunEvent::Update {
                    max_concurrency,
                    tolerated_failure_count,
                    tolerated_failure_percentage,
                },
            ) => {
                self.max_concurrency = max_concurrency.unwrap_or(self.max_concurrency);
                self.tolerated_failure_count =
                    tolerated_failure_count.unwrap_or(self.tolerated_failure_count);
                self.tolerated_failure_percentage =
                    tolerated_failure_percentage.unwrap_or(self.tolerated_failure_percentage);
            }
            (MapRunStatus::Running, MapRunEvent::Completed) => {
                self.end(MapRunStatus::Succeeded);
                return Vec::new();
            }
            (MapRunStatus::Running, MapRunEvent::CompletionFailed(failure)) => {
                return self.fail(failure);
            }
            (MapRunStatus::Running, MapRunEvent::Stop) => {
                self.end(MapRunStatus::Aborted);
                return vec![MapRunEffect::AbortChildren];
            }
            (
                MapRunStatus::Failed | MapRunStatus::Aborted,
                MapRunEvent::ChildEnded { status, items },
            ) => {
                // It may have been faster than its abort, with which it was counted.
                if self.counts.aborted > 0 {
                    self.counts.aborted -= 1;
                    self.items.aborted = self.items.aborted.saturating_sub(items);
                    self.count(status, items);
                }
                return Vec::new();
            }
            (
                MapRunStatus::Failed | MapRunStatus::Aborted,
                MapRunEvent::Redrive { unfinished, unfinished_items },
            ) => {
                return self.redrive(unfinished, unfinished_items);
            }
            // Runs kept by an earlier version succeeded before their results were written.
            (MapRunStatus::Succeeded, MapRunEvent::CompletionFailed(failure)) => {
                self.all_done = true;
                return self.fail(failure);
            }
            (MapRunStatus::Succeeded, MapRunEvent::Redrive { unfinished, unfinished_items }) => {
                self.all_done = true;
                return self.redrive(unfinished, unfinished_items);
            }
            (MapRunStatus::Running, MapRunEvent::Redrive { .. })
            | (MapRunStatus::Succeeded | MapRunStatus::Failed | MapRunStatus::Aborted, _) => {
                return Vec::new();
            }
        }
        self.go_on()
    }

    fn count(&mut self, status: ChildStatus, items: u64) {
        let (child, of_items) = match status {
            ChildStatus::Succeeded => (&mut self.counts.succeeded, &mut self.items.succeeded),
            ChildStatus::Failed => (&mut self.counts.failed, &mut self.items.failed),
            ChildStatus::TimedOut => (&mut self.counts.timed_out, &mut self.items.timed_out),
            ChildStatus::Aborted => (&mut self.counts.aborted, &mut self.items.aborted),
        };
        *child += 1;
        *of_items += items;
    }

    fn go_on(&mut self) -> Vec<MapRunEffect> {
        if self.all_done {
            return Vec::new();
        }
        if self.beyond_tolerance() {
            return self.fail(Failure::new(
                names::EXCEED_TOLERATED_FAILURE_THRESHOLD,
                "The specified tolerated failure threshold was exceeded",
            ));
        }
        if self.all_read && self.counts.pending == 0 && self.counts.running == 0 {
            self.all_done = true;
            return vec![MapRunEffect::Complete];
        }
        let most = u64::from(if self.max_concurrency == 0 {
            DISTRIBUTED_CONCURRENCY
        } else {
            self.max_concurrency
        });
        let start = self.counts.pending.min(most.saturating_sub(self.counts.running));
        self.counts.pending -= start;
        self.counts.running += start;
        if start == 0 { Vec::new() } else { vec![MapRunEffect::StartChildren(start)] }
    }

    /// Items are what is tolerated, not children. Of both tolerances the one passed first decides;
    /// while items are still being read only the number does, for the share of an unknown whole is
    /// unknown.
    #[expect(clippy::cast_precision_loss, reason = "counts of items fit")]
    fn beyond_tolerance(&self) -> bool {
        let items = self.items();
        let failed = items.failed + items.timed_out;
        if failed == 0 {
            return false;
        }
        let by_share = self.all_read
            && failed as f64 * 100.0 > self.tolerated_failure_percentage * items.total as f64;
        let by_number = failed > self.tolerated_failure_count;
        match (self.tolerated_failure_count, self.tolerated_failure_percentage > 0.0) {
            (0, true) => by_share,
            (_, false) => by_number,
            (_, true) => by_number || by_share,
        }
    }

    fn fail(&mut self, failure: Failure) -> Vec<MapRunEffect> {
        let mut effects = Vec::new();
        if self.counts.running > 0 || self.counts.pending > 0 {
            effects.push(MapRunEffect::AbortChildren);
        }
        self.end(MapRunStatus::Failed);
        effects.push(MapRunEffect::Fail(failure));
        effects
    }

    fn end(&mut self, status: MapRunStatus) {
        self.status = status;
        self.items.aborted += self.items.open();
        self.counts.aborted += self.counts.running;
        self.counts.running = 0;
    }

    fn redrive(&mut self, unfinished: u64, unfinished_items: u64) -> Vec<MapRunEffect> {
        self.status = MapRunStatus::Running;
        self.redrive_count += 1;
        if !self.all_read {
            self.counts = MapRunCounts::default();
            self.items = MapRunItems::default();
            return vec![MapRunEffect::ReadItems];
        }
        if self.all_done {
            return vec![MapRunEffect::Complete];
        }
        let (c, i) = (self.counts, self.items());
        self.waiting = Unsuccessful::of(c.failed, c.timed_out, c.aborted, unfinished);
        self.waiting_items = Unsuccessful::of(i.failed, i.timed_out, i.aborted, unfinished_items);
        // Not from the other counters: those of a run kept by an earlier version count a child that was
        // faster than its abort as aborted.
        self.counts.pending = unfinished;
        self.counts.succeeded = self.counts.total.saturating_sub(unfinished);
        self.counts.failed = 0;
        self.counts.timed_out = 0;
        self.counts.aborted = 0;
        let total = self.items.total;
        let succeeded = total.saturating_sub(unfinished_items);
        self.items = MapRunItems { succeeded, total, ..MapRunItems::default() };
        let mut effects = vec![MapRunEffect::ResetChildren];
        effects.extend(self.go_on());
        effects
    }
}
