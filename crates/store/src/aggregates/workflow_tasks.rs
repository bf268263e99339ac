//! Tasks of executions, and what workers are handed next; timers.

use jiff::Timestamp;
use rusqlite::{Row, params};

use crate::error::StoreError;
use crate::tx::{ReadTx, WriteTx, micros, page, signed, unsigned};

use super::workflow_executions::instant;

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskPhase {
    /// To be handed to a worker, or done by the runtime.
    Ready,
    /// A worker has it, or the runtime is at it.
    Handed,
    /// Somebody outside will say how it ended: a callback, a child execution.
    Waiting,
}

impl TaskPhase {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Handed => "handed",
            Self::Waiting => "waiting",
        }
    }
}

/// A task as it stands in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskRow {
    /// Of which execution.
    pub execution: u64,
    /// The interpreter's number for it.
    pub task: u64,
    /// What does it, in the runtime's words.
    pub kind: String,
    /// Where it stands.
    pub phase: TaskPhase,
    /// The activity whose workers poll it.
    pub queue: Option<u64>,
    /// The machine, for fairness.
    pub machine: u64,
    /// Higher comes first.
    pub priority: i64,
    /// When it was scheduled.
    pub scheduled_at: Timestamp,
    /// When it was first handed out.
    pub handed_at: Option<Timestamp>,
    /// Whether the worker is known to have got it.
    pub confirmed: bool,
    /// Seconds between signs of life.
    pub heartbeat_s: Option<u64>,
    /// The input's text.
    pub input: String,
    /// JSON of whatever else the runtime needs.
    pub body: String,
}

/// A timer as it stands in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimerRow {
    /// Of which execution.
    pub execution: u64,
    /// Of which kind, in the runtime's words.
    pub kind: u8,
    /// Which of that kind.
    pub num: u64,
    /// When.
    pub due: Timestamp,
}

const COLUMNS: &str = "execution, task, kind, phase, queue, machine, priority, scheduled_at,
    handed_at, confirmed, heartbeat_s, input, body";

fn task(row: &Row<'_>) -> rusqlite::Result<TaskRow> {
    let phase = match row.get_ref(3)?.as_str()? {
        "ready" => TaskPhase::Ready,
        "handed" => TaskPhase::Handed,
        _ => TaskPhase::Waiting,
    };
    Ok(TaskRow {
        execution: unsigned(row.get(0)?),
        task: unsigned(row.get(1)?),
        kind: row.get(2)?,
        phase,
        queue: row.get::<_, Option<i64>>(4)?.map(unsigned),
        machine: unsigned(row.get(5)?),
        priority: row.get(6)?,
        scheduled_at: instant(row.get(7)?),
        handed_at: row.get::<_, Option<i64>>(8)?.map(instant),
        confirmed: row.get(9)?,
        heartbeat_s: row.get::<_, Option<i64>>(10)?.map(unsigned),
        input: row.get(11)?,
        body: row.get(12)?,
    })
}

fn timer(row: &Row<'_>) -> rusqlite::Result<TimerRow> {
    Ok(TimerRow {
        execution: unsigned(row.get(0)?),
        kind: row.get(1)?,
        num: unsigned(row.get(2)?),
        due: instant(row.get(3)?),
    })
}

impl ReadTx {
    /// One task.
    pub fn workflow_task(
        &self,
        execution: u64,
        task_id: u64,
    ) -> Result<Option<TaskRow>, StoreError> {
        let sql =
            format!("SELECT {COLUMNS} FROM workflow_tasks WHERE execution = ?1 AND task = ?2");
        self.row(&sql, params![signed(execution), signed(task_id)], task)
    }

    /// All tasks of one execution.
    pub fn workflow_tasks_of(&self, execution: u64) -> Result<Vec<TaskRow>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM workflow_tasks WHERE execution = ?1");
        self.rows(&sql, [signed(execution)], task)
    }

    /// The task that a worker of this activity is handed next: of the highest priority, of the
    /// machine after `last_machine` in turn, the oldest.
    pub fn next_ready_task(
        &self,
        queue: u64,
        last_machine: u64,
    ) -> Result<Option<TaskRow>, StoreError> {
        let sql = "SELECT priority FROM workflow_tasks WHERE phase = 'ready' AND queue = ?1
            ORDER BY priority DESC LIMIT 1";
        let Some(priority) = self.row(sql, [signed(queue)], |row| row.get::<_, i64>(0))? else {
            return Ok(None);
        };
        let sql = format!(
            "SELECT {COLUMNS} FROM workflow_tasks
            WHERE phase = 'ready' AND queue = ?1 AND priority = ?2 AND machine > ?3
            ORDER BY machine, scheduled_at LIMIT 1"
        );
        let after = params![signed(queue), priority, signed(last_machine)];
        match self.row(&sql, after, task)? {
            Some(found) => Ok(Some(found)),
            None => self.row(&sql, params![signed(queue), priority, -1], task),
        }
    }

    /// Activities that have tasks to hand out, at most `limit`.
    pub fn ready_queues(&self, limit: usize) -> Result<Vec<u64>, StoreError> {
        // One step of the index per queue, however many tasks each has.
        let sql = "WITH RECURSIVE queues (queue) AS (
                SELECT min(queue) FROM workflow_tasks WHERE phase = 'ready' AND queue IS NOT NULL
                UNION ALL
                SELECT (SELECT min(queue) FROM workflow_tasks
                    WHERE phase = 'ready' AND queue IS NOT NULL AND queue > queues.queue)
                FROM queues WHERE queues.queue IS NOT NULL)
            SELECT queue FROM queues WHERE queue IS NOT NULL LIMIT ?1";
        self.rows(sql, params![page(limit)], |row| Ok(unsigned(row.get(0)?)))
    }

    /// How many tasks of an activity are to be handed out, counted up to `most`.
    pub fn count_ready_tasks(&self, queue: u64, most: usize) -> Result<u64, StoreError> {
        let sql = "SELECT count(*) FROM (SELECT 1 FROM workflow_tasks
            WHERE phase = 'ready' AND queue = ?1 LIMIT ?2)";
        self.number(sql, params![signed(queue), page(most)])
    }

    /// Tasks that the runtime itself is to do, oldest first.
    pub fn outbound_tasks(&self, limit: usize) -> Result<Vec<TaskRow>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM workflow_tasks WHERE phase = 'ready' AND queue IS NULL
            ORDER BY scheduled_at LIMIT ?1"
        );
        self.rows(&sql, params![page(limit)], task)
    }

    /// The same, of one kind.
    pub fn outbound_tasks_of(&self, kind: &str, limit: usize) -> Result<Vec<TaskRow>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM workflow_tasks
            WHERE phase = 'ready' AND queue IS NULL AND kind = ?1 ORDER BY scheduled_at LIMIT ?2"
        );
        self.rows(&sql, params![kind, page(limit)], task)
    }

    /// Tasks of the kind `job` that wait for the end of their runs, by execution and number, those
    /// after `last`.
    pub fn waiting_jobs(&self, last: (u64, u64), limit: usize) -> Result<Vec<TaskRow>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM workflow_tasks WHERE kind = 'job' AND phase = 'waiting'
                AND (execution, task) > (?1, ?2) ORDER BY execution, task LIMIT ?3"
        );
        self.rows(&sql, params![signed(last.0), signed(last.1), page(limit)], task)
    }

    /// Timers due at an instant, the longest due first.
    pub fn due_timers(&self, at: Timestamp, limit: usize) -> Result<Vec<TimerRow>, StoreError> {
        let sql = "SELECT execution, kind, num, due FROM workflow_timers WHERE due <= ?1
            ORDER BY due LIMIT ?2";
        self.rows(sql, params![micros(at), page(limit)], timer)
    }

    /// When the next timer is due.
    pub fn next_timer(&self) -> Result<Option<Timestamp>, StoreError> {
        let sql = "SELECT due FROM workflow_timers ORDER BY due LIMIT 1";
        self.row(sql, [], |row| Ok(instant(row.get(0)?)))
    }

    /// All timers of one execution.
    pub fn timers_of(&self, execution: u64) -> Result<Vec<TimerRow>, StoreError> {
        let sql = "SELECT execution, kind, num, due FROM workflow_timers WHERE execution = ?1";
        self.rows(sql, [signed(execution)], timer)
    }
}

impl WriteTx {
    /// Adds a task.
    ///
    /// # Errors
    /// [`StoreError::Exists`].
    pub fn insert_workflow_task(&mut self, row: &TaskRow) -> Result<(), StoreError> {
        let sql = "INSERT INTO workflow_tasks
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";
        let params = params![
            signed(row.execution),
            signed(row.task),
            row.kind,
            row.phase.as_str(),
            row.queue.map(signed),
            signed(row.machine),
            row.priority,
            micros(row.scheduled_at),
            row.handed_at.map(micros),
            row.confirmed,
            row.heartbeat_s.map(signed),
            row.input,
            row.body,
        ];
        self.insert("task", &row.task, sql, params)
    }

    /// Says where a task stands now. Answers whether it is there.
    pub fn set_task_phase(
        &mut self,
        execution: u64,
        task: u64,
        phase: TaskPhase,
        handed_at: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        let sql = "UPDATE workflow_tasks SET phase = ?3, handed_at = ?4, confirmed = 0
            WHERE execution = ?1 AND task = ?2";
        let at = handed_at.map(micros);
        let params = params![signed(execution), signed(task), phase.as_str(), at];
        Ok(self.change(sql, params)? > 0)
    }

    /// The worker is known to have its task.
    pub fn confirm_task(&mut self, execution: u64, task: u64) -> Result<(), StoreError> {
        let sql = "UPDATE workflow_tasks SET confirmed = 1 WHERE execution = ?1 AND task = ?2";
        self.change(sql, params![signed(execution), signed(task)])?;
        Ok(())
    }

    /// Offers again what was handed out and is not known to have arrived. For a server that has
    /// just started: nobody can be told any more. Answers how many.
    pub fn reoffer_unconfirmed_tasks(&mut self) -> Result<usize, StoreError> {
        let sql = "UPDATE workflow_tasks SET phase = 'ready'
            WHERE phase = 'handed' AND confirmed = 0";
        self.change(sql, [])
    }

    /// Removes a task. Answers whether it was there.
    pub fn delete_workflow_task(&mut self, execution: u64, task: u64) -> Result<bool, StoreError> {
        let sql = "DELETE FROM workflow_tasks WHERE execution = ?1 AND task = ?2";
        Ok(self.change(sql, params![signed(execution), signed(task)])? > 0)
    }

    /// Sets a timer, replacing the one of that number.
    pub fn put_timer(&mut self, timer: TimerRow) -> Result<(), StoreError> {
        let sql = "INSERT INTO workflow_timers VALUES (?1, ?2, ?3, ?4)
            ON CONFLICT (execution, kind, num) DO UPDATE SET due = excluded.due";
        let TimerRow { execution, kind, num, due } = timer;
        self.change(sql, params![signed(execution), kind, signed(num), micros(due)])?;
        Ok(())
    }

    /// Removes a timer. Answers whether it was there.
    pub fn delete_timer(&mut self, execution: u64, kind: u8, num: u64) -> Result<bool, StoreError> {
        let sql = "DELETE FROM workflow_timers WHERE execution = ?1 AND kind = ?2 AND num = ?3";
        Ok(self.change(sql, params![signed(execution), kind, signed(num)])? > 0)
    }

    /// Removes all tasks and timers of an execution that has ended.
    pub fn clear_execution_work(&mut self, execution: u64) -> Result<(), StoreError> {
        self.change("DELETE FROM workflow_tasks WHERE execution = ?1", [signed(execution)])?;
        self.change("DELETE FROM workflow_timers WHERE execution = ?1", [signed(execution)])?;
        Ok(())
    }
}
