//! Runs of work that ends, and what is remembered of schedules.

use ark_model::run::{CronRecord, RunCause, RunRecord};
use ark_model::{AppName, EnvName, InstanceId, RunId};
use jiff::Timestamp;
use rusqlite::params;

use crate::error::StoreError;
use crate::tx::{ReadTx, WriteTx, body, micros, page, signed};

/// The most runs that are not over at once.
const ACTIVE_MAX: u64 = 10_000;

/// Firings that did not run are counted apart: while a run hangs there may be hundreds of them, and they
/// must not push out what ran. With `+`, for an index of an expression serves no comparison that has the
/// affinity of a column.
const PRUNE: &str = "DELETE FROM runs WHERE seq IN (
        SELECT seq FROM runs WHERE env = ?1 AND app = ?2 AND active = 0
            AND (coalesce(body ->> '$.outcome.kind', '') IN ('skipped', 'missed')) = ?5
        ORDER BY ended_at DESC, seq DESC LIMIT ?4 OFFSET ?3)
    AND NOT EXISTS (SELECT 1 FROM workflow_tasks
        WHERE kind = 'job' AND phase = 'waiting' AND body ->> '$.run' = +runs.id)";

impl ReadTx {
    /// One run.
    pub fn run(&self, id: RunId) -> Result<Option<RunRecord>, StoreError> {
        self.record("run", "SELECT body FROM runs WHERE id = ?1", [id.to_string()])
    }

    /// One run of an app by its number.
    pub fn run_numbered(
        &self,
        env: &EnvName,
        app: &AppName,
        number: u64,
    ) -> Result<Option<RunRecord>, StoreError> {
        let sql = "SELECT body FROM runs WHERE env = ?1 AND app = ?2 AND number = ?3";
        self.record("run", sql, params![env.as_str(), app.as_str(), signed(number)])
    }

    /// Runs of an app with numbers below `before`, newest first.
    pub fn runs_of(
        &self,
        env: &EnvName,
        app: &AppName,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<RunRecord>, StoreError> {
        let sql = "SELECT body FROM runs WHERE env = ?1 AND app = ?2 AND number < ?3
            ORDER BY number DESC LIMIT ?4";
        let before = before.map_or(i64::MAX, signed);
        self.records("run", sql, params![env.as_str(), app.as_str(), before, page(limit)])
    }

    /// All runs that are not over, oldest first: at most 10,000.
    pub fn active_runs(&self) -> Result<Vec<RunRecord>, StoreError> {
        self.records("run", "SELECT body FROM runs WHERE active = 1 ORDER BY seq", [])
    }

    /// Runs of one app that are not over, oldest first.
    pub fn active_runs_of(
        &self,
        env: &EnvName,
        app: &AppName,
    ) -> Result<Vec<RunRecord>, StoreError> {
        let sql = "SELECT body FROM runs WHERE env = ?1 AND app = ?2 AND active = 1 ORDER BY seq";
        self.records("run", sql, [env.as_str(), app.as_str()])
    }

    /// The run to which an instance belongs, when it belongs to one.
    pub fn run_of_instance(&self, instance: InstanceId) -> Result<Option<RunRecord>, StoreError> {
        let sql = "SELECT body FROM runs JOIN run_instances ON run = id WHERE instance = ?1";
        self.record("run", sql, [instance.to_string()])
    }

    /// Whether a run stands for this instant of an app's schedule.
    pub fn has_fired(
        &self,
        env: &EnvName,
        app: &AppName,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let sql = "SELECT count(*) FROM runs WHERE env = ?1 AND app = ?2 AND fired_at = ?3";
        Ok(self.number(sql, params![env.as_str(), app.as_str(), micros(at)])? > 0)
    }

    /// What is remembered of all schedules.
    pub fn crons(&self) -> Result<Vec<CronRecord>, StoreError> {
        self.records("schedule", "SELECT body FROM crons ORDER BY env, app", [])
    }

    /// What is remembered of an app's schedule.
    pub fn cron(&self, env: &EnvName, app: &AppName) -> Result<Option<CronRecord>, StoreError> {
        let sql = "SELECT body FROM crons WHERE env = ?1 AND app = ?2";
        self.record("schedule", sql, [env.as_str(), app.as_str()])
    }
}

impl WriteTx {
    /// The number of the next run of an app. Numbers are never given twice.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without the environment.
    pub fn next_run_number(&mut self, env: &EnvName, app: &AppName) -> Result<u64, StoreError> {
        self.next_number(env, app, "run")
    }

    /// Records a new run.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when a run stands for the same instant of the schedule already;
    /// [`StoreError::Limit`], [`StoreError::NotFound`] without the environment.
    pub fn insert_run(&mut self, run: &RunRecord) -> Result<(), StoreError> {
        let active = self.number("SELECT count(*) FROM runs WHERE active = 1", [])?;
        if run.is_active() && active >= ACTIVE_MAX {
            return Err(StoreError::Limit { noun: "runs at once", max: ACTIVE_MAX });
        }
        let fired_at = match &run.cause {
            RunCause::Schedule { at, .. } => Some(micros(*at)),
            RunCause::Asked { .. } => None,
        };
        let sql = "INSERT INTO runs (id, env, app, number, fired_at, active, ended_at, body)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        let key = format!("{} of {}/{}", run.number, run.env, run.app);
        let params = params![
            run.id.to_string(),
            run.env.as_str(),
            run.app.as_str(),
            signed(run.number),
            fired_at,
            run.is_active(),
            run.ended_at.map(micros),
            body("run", run)?,
        ];
        self.insert("run", &key, sql, params)
    }

    /// Replaces the record of a run, and knows its instances from now on. Read it in the same
    /// closure.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub fn put_run(&mut self, run: &RunRecord) -> Result<(), StoreError> {
        let id = run.id.to_string();
        let sql = "UPDATE runs SET active = ?2, ended_at = ?3, body = ?4 WHERE id = ?1";
        let ended_at = run.ended_at.map(micros);
        if self.change(sql, params![id, run.is_active(), ended_at, body("run", run)?])? == 0 {
            return Err(StoreError::not_found("run", &run.number));
        }
        if let Some(attempt) = run.attempts.last() {
            let sql = "INSERT OR IGNORE INTO run_instances (instance, run) VALUES (?1, ?2)";
            self.change(sql, [attempt.instance.to_string(), id])?;
        }
        Ok(())
    }

    /// Forgets runs of an app that are over, but for the `keep` that ended last, as many firings that
    /// were skipped or missed, and those whose end a task of a workflow has still to learn; at most
    /// `limit`. Answers how many.
    pub fn prune_runs(
        &mut self,
        env: &EnvName,
        app: &AppName,
        keep: u64,
        limit: usize,
    ) -> Result<usize, StoreError> {
        let mut gone = 0;
        for did_not_run in [true, false] {
            let left = page(limit.saturating_sub(gone));
            let params = params![env.as_str(), app.as_str(), signed(keep), left, did_not_run];
            gone += self.change(PRUNE, params)?;
        }
        Ok(gone)
    }

    /// Remembers how far an app's schedule is decided.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without the environment.
    pub fn put_cron(&mut self, cron: &CronRecord) -> Result<(), StoreError> {
        let sql = "INSERT INTO crons (env, app, body) VALUES (?1, ?2, ?3)
            ON CONFLICT (env, app) DO UPDATE SET body = excluded.body";
        let key = format!("{}/{}", cron.env, cron.app);
        let body = body("schedule", cron)?;
        self.insert("schedule", &key, sql, params![cron.env.as_str(), cron.app.as_str(), body])
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::connection::open_memory;

    #[test]
    fn tasks_that_wait_for_a_run_are_found_by_it() {
        let tx = WriteTx::new(open_memory(Timestamp::UNIX_EPOCH).expect("a store"));
        let plan = format!("EXPLAIN QUERY PLAN {PRUNE}");
        let params = params!["dev", "nightly", 100, 500, false];
        let plan = tx.rows(&plan, params, |row| row.get::<_, String>(3)).expect("a plan");
        assert!(
            plan.iter().any(|line| line.contains("workflow_tasks_runs (<expr>=?)")),
            "{plan:?}"
        );
        assert!(plan.iter().all(|line| !line.starts_with("SCAN")), "{plan:?}");
    }
}
