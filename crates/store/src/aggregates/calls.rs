//! Which app was seen calling which. One row per pair; who writes it decides how often.

use ark_model::{AppName, EnvName};
use jiff::Timestamp;
use rusqlite::params;

use super::workflow_executions::instant;
use crate::error::StoreError;
use crate::tx::{ReadTx, WriteTx, micros, signed};

/// The most pairs; those seen longest ago give way.
const CALLS_MAX: u64 = 20_000;

/// One app that calls another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallEdge {
    /// Who calls.
    pub from: (EnvName, AppName),
    /// Who is called.
    pub to: (EnvName, AppName),
}

/// When an app was seen calling another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallRecord {
    /// Which calls which.
    pub edge: CallEdge,
    /// The first time.
    pub first_seen: Timestamp,
    /// The last time, to the minute.
    pub last_seen: Timestamp,
}

impl ReadTx {
    /// Calls from and to the apps of an environment, by caller: at most 20,000.
    pub fn calls_of(&self, env: &EnvName) -> Result<Vec<CallRecord>, StoreError> {
        let sql = "SELECT env, app, to_env, to_app, first_seen, last_seen FROM calls
            WHERE env = ?1 OR to_env = ?1 ORDER BY env, app, to_env, to_app";
        type Row = (String, String, String, String, i64, i64);
        let rows: Vec<Row> = self.rows(sql, [env.as_str()], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?))
        })?;
        // Only names were written.
        let record = |(env, app, to_env, to_app, first, last): Row| {
            let from = (env.parse().ok()?, app.parse().ok()?);
            let to = (to_env.parse().ok()?, to_app.parse().ok()?);
            let edge = CallEdge { from, to };
            Some(CallRecord { edge, first_seen: instant(first), last_seen: instant(last) })
        };
        Ok(rows.into_iter().filter_map(record).collect())
    }
}

impl WriteTx {
    /// An app was seen calling another. Nothing is written of environments that are gone.
    pub fn note_call(&mut self, edge: &CallEdge, at: Timestamp) -> Result<(), StoreError> {
        let sql = "INSERT INTO calls (env, app, to_env, to_app, first_seen, last_seen)
            SELECT ?1, ?2, ?3, ?4, ?5, ?5
            WHERE EXISTS (SELECT 1 FROM environments WHERE name = ?1)
              AND EXISTS (SELECT 1 FROM environments WHERE name = ?3)
            ON CONFLICT (env, app, to_env, to_app)
            DO UPDATE SET last_seen = max(last_seen, excluded.last_seen),
                          first_seen = min(first_seen, excluded.first_seen)";
        let CallEdge { from, to } = edge;
        let (env, app, to_env, to_app) =
            (from.0.as_str(), from.1.as_str(), to.0.as_str(), to.1.as_str());
        self.change(sql, params![env, app, to_env, to_app, micros(at)])?;
        Ok(())
    }

    /// Forgets calls last seen before an instant, and those seen longest ago where there are more
    /// than 20,000. Answers how many.
    pub fn prune_calls(&mut self, before: Timestamp) -> Result<usize, StoreError> {
        let old = self.change("DELETE FROM calls WHERE last_seen < ?1", [micros(before)])?;
        let count = self.number("SELECT count(*) FROM calls", [])?;
        let Some(over) = count.checked_sub(CALLS_MAX).filter(|over| *over > 0) else {
            return Ok(old);
        };
        let sql = "DELETE FROM calls WHERE (env, app, to_env, to_app) IN
            (SELECT env, app, to_env, to_app FROM calls ORDER BY last_seen LIMIT ?1)";
        Ok(old + self.change(sql, [signed(over)])?)
    }
}
