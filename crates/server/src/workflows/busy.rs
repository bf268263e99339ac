//! How busy the workers of an activity are: `100 * working / (working + waiting)`, looked at once a
//! second and averaged over the last minute. It is what the metric `ActivityActivePercent` says, told
//! by the server instead of each worker, so that scaling by it needs nobody's report.
//!
//! Who works is noted on the store's writer, in the order in which tasks are handed out and end; a
//! transaction that is undone may be noted, and the next word about the task mends that. Counters in
//! memory only: a server that has just started does not count the tasks that its predecessor had
//! handed out.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ark_model::api::{TASKS_COUNTED_MAX, WorkflowActivity};

use super::Workflows;
use super::error::WorkflowError;
use super::types::{Page, PageRequest};

/// Looks that are averaged: one a second.
const LOOKS: usize = 60;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Busy(Mutex<Seen>);

/// The workers of an activity at one time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Look {
    working: usize,
    waiting: usize,
}

#[derive(Debug, Default)]
struct Seen {
    /// Tasks that workers have, by execution and number, each with its activity.
    tasks: HashMap<(u64, u64), u64>,
    /// How many of them each activity has.
    working: HashMap<u64, usize>,
    /// What was seen of each activity, newest last.
    looks: HashMap<u64, VecDeque<Look>>,
}

impl Seen {
    fn working(&self, activity: u64) -> usize {
        self.working.get(&activity).copied().unwrap_or(0)
    }
}

impl Busy {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker gets a task of an activity.
    pub(super) fn begins(&self, activity: u64, execution: u64, task: u64) {
        let mut seen = self.lock();
        if seen.tasks.insert((execution, task), activity).is_none() {
            *seen.working.entry(activity).or_default() += 1;
        }
    }

    /// A task is over, or is offered to others, whoever had it.
    pub(super) fn ends(&self, execution: u64, task: u64) {
        let mut seen = self.lock();
        let Some(activity) = seen.tasks.remove(&(execution, task)) else { return };
        if let Some(working) = seen.working.get_mut(&activity) {
            *working -= 1;
            if *working == 0 {
                seen.working.remove(&activity);
            }
        }
    }

    /// Looks once; `waiting` says how many wait for each activity that was ever polled.
    pub(super) fn look(&self, waiting: &[(u64, usize)]) {
        let mut seen = self.lock();
        for (activity, waiting) in waiting {
            let look = Look { working: seen.working(*activity), waiting: *waiting };
            let looks = seen.looks.entry(*activity).or_default();
            if looks.len() == LOOKS {
                looks.pop_front();
            }
            looks.push_back(look);
            if looks.iter().all(|look| *look == Look::default()) {
                seen.looks.remove(activity);
            }
        }
    }

    /// Who works now, and the share over the last minute; none while nobody was seen.
    fn load(&self, activity: u64) -> (usize, Option<f64>) {
        let seen = self.lock();
        let looks = seen.looks.get(&activity).into_iter().flatten();
        let (busy, all) = looks.fold((0, 0), |(busy, all), look| {
            (busy + look.working, all + look.working + look.waiting)
        });
        #[expect(clippy::cast_precision_loss, reason = "numbers of workers")]
        let percent = (all > 0).then(|| 100.0 * busy as f64 / all as f64);
        (seen.working(activity), percent)
    }
}

impl Workflows {
    /// Activities in the order in which they were made, each with how busy its workers are.
    ///
    /// # Errors
    /// `InvalidToken`.
    pub async fn activity_loads(
        &self,
        page: PageRequest,
    ) -> Result<Page<WorkflowActivity>, WorkflowError> {
        let (after, limit) = page.after_number()?;
        let rows = self.world.store.read::<_, WorkflowError, _>(move |tx| {
            let rows = tx.activities(after, limit)?.into_iter();
            let most = usize::try_from(TASKS_COUNTED_MAX).unwrap_or(usize::MAX);
            rows.map(|row| Ok((tx.count_ready_tasks(row.id, most)?, row))).collect()
        });
        let rows: Vec<_> = rows.await?;
        let hub = &self.shared.hub;
        let shown = |(ready, row): (u64, ark_store::ActivityRow)| {
            let (working, active_percent) = hub.busy.load(row.id);
            let waiting = hub.waiting_for(row.id) as u64;
            let working = working as u64;
            WorkflowActivity { name: row.name, ready, working, waiting, active_percent }
        };
        Ok(Page::of(rows, limit, |(_, row)| row.id.to_string(), shown))
    }
}
