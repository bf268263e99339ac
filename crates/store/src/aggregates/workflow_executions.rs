//! Executions: one row each, changed only by whoever shows the revision it read.

use ark_model::workflow::ExecutionStatus;
use jiff::Timestamp;
use rusqlite::{Row, params};

use crate::error::StoreError;
use crate::tx::{ReadTx, WriteTx, micros, page, signed, unsigned};

/// What an execution is to the runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExecutionKind {
    /// Every step is recorded.
    Standard,
    /// Started and forgotten by its caller; its row goes when it ends.
    Express,
    /// Somebody waits for its outcome; it ends with the server.
    Sync,
}

impl ExecutionKind {
    const ALL: [Self; 3] = [Self::Standard, Self::Express, Self::Sync];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Express => "express",
            Self::Sync => "sync",
        }
    }
}

/// An execution as it stands in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecutionRow {
    /// Its number: grows with the order of starts. 0 before it is inserted.
    pub id: u64,
    /// Of which machine.
    pub machine: u64,
    /// With which definition.
    pub revision: u64,
    /// Its name, unique within the machine.
    pub name: String,
    /// Standard, Express or Sync.
    pub kind: ExecutionKind,
    /// Where it stands.
    pub status: ExecutionStatus,
    /// When it was started.
    pub started_at: Timestamp,
    /// When it ended.
    pub stopped_at: Option<Timestamp>,
    /// The map run whose child it is.
    pub map_run: Option<u64>,
    /// Grows with each change; shown with the next one.
    pub rev: u64,
    /// How many events its history has.
    pub events: u64,
    /// JSON of facts that are not searched for.
    pub body: String,
    /// JSON of the interpreter's state; `None` once nothing can go on from it.
    pub state: Option<String>,
}

/// An instant from a column; what no calendar holds becomes 1970.
pub(crate) fn instant(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap_or(Timestamp::UNIX_EPOCH)
}

pub(super) const COLUMNS: &str =
    "id, machine, revision, name, kind, status, started_at, stopped_at, map_run,
    rev, events, body, state";

pub(super) fn execution(row: &Row<'_>) -> rusqlite::Result<ExecutionRow> {
    let kind = row.get_ref(4)?.as_str()?;
    let kind = ExecutionKind::ALL.into_iter().find(|k| k.as_str() == kind);
    let status = ExecutionStatus::from_word(row.get_ref(5)?.as_str()?);
    Ok(ExecutionRow {
        id: unsigned(row.get(0)?),
        machine: unsigned(row.get(1)?),
        revision: unsigned(row.get(2)?),
        name: row.get(3)?,
        kind: kind.unwrap_or(ExecutionKind::Standard),
        status: status.unwrap_or(ExecutionStatus::Failed),
        started_at: instant(row.get(6)?),
        stopped_at: row.get::<_, Option<i64>>(7)?.map(instant),
        map_run: row.get::<_, Option<i64>>(8)?.map(unsigned),
        rev: unsigned(row.get(9)?),
        events: unsigned(row.get(10)?),
        body: row.get(11)?,
        state: row.get(12)?,
    })
}

/// Executions by name. There is one bound from below, for SQLite seeks by one alone and walks over
/// whatever another would leave out.
fn named_sql(from: &str) -> String {
    // The greatest code point ends what begins with the prefix; no name has it.
    format!(
        "SELECT {COLUMNS} FROM workflow_executions
        WHERE machine = ?1 AND name {from} ?3 AND name < ?2 || char(1114111)
        ORDER BY name LIMIT ?4"
    )
}

/// Items of map runs forgotten with old executions in one transaction.
const PRUNED_ITEMS_MAX: usize = 1_000;

/// The limit is of what is looked at, not of what is found.
const RESOLUTIONS: &str = "SELECT id, EXISTS (SELECT 1 FROM workflow_resolutions r
        WHERE r.execution = e.id AND r.at >= e.stopped_at)
    FROM workflow_executions e
    WHERE machine = ?1 AND status = ?2 AND id < ?3 AND map_run IS NULL
    ORDER BY id DESC LIMIT ?4";

/// The limit is of what is looked at, not of what is found. `e` and `c` are what the body keeps of how
/// an execution failed.
const SAYING: &str = "SELECT id, instr(lower(coalesce(json_extract(body, '$.e'), '') || char(10)
        || coalesce(json_extract(body, '$.c'), '')), ?5) > 0
    FROM workflow_executions
    WHERE machine = ?1 AND status = ?2 AND id < ?3 AND map_run IS NULL
    ORDER BY id DESC LIMIT ?4";

impl ReadTx {
    /// One execution.
    pub fn execution(&self, id: u64) -> Result<Option<ExecutionRow>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM workflow_executions WHERE id = ?1");
        self.row(&sql, [signed(id)], execution)
    }

    /// The execution of that name.
    pub fn execution_by_name(
        &self,
        machine: u64,
        name: &str,
    ) -> Result<Option<ExecutionRow>, StoreError> {
        let sql =
            format!("SELECT {COLUMNS} FROM workflow_executions WHERE machine = ?1 AND name = ?2");
        self.row(&sql, params![signed(machine), name], execution)
    }

    /// Executions of a machine in one status, newest first, with numbers below `before`.
    pub fn executions_of_machine(
        &self,
        machine: u64,
        status: ExecutionStatus,
        before: u64,
        limit: usize,
    ) -> Result<Vec<ExecutionRow>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM workflow_executions
            WHERE machine = ?1 AND status = ?2 AND id < ?3 AND map_run IS NULL
            ORDER BY id DESC LIMIT ?4"
        );
        let params = params![signed(machine), status.as_str(), signed(before), page(limit)];
        self.rows(&sql, params, execution)
    }

    /// Children of a map run in one status, newest first, with numbers below `before`.
    pub fn executions_of_map_run(
        &self,
        map_run: u64,
        status: ExecutionStatus,
        before: u64,
        limit: usize,
    ) -> Result<Vec<ExecutionRow>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM workflow_executions
            WHERE map_run = ?1 AND status = ?2 AND id < ?3 ORDER BY id DESC LIMIT ?4"
        );
        let params = params![signed(map_run), status.as_str(), signed(before), page(limit)];
        self.rows(&sql, params, execution)
    }

    /// Executions that have not ended, oldest first, with numbers above `after`.
    pub fn open_executions(
        &self,
        after: u64,
        limit: usize,
    ) -> Result<Vec<ExecutionRow>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM workflow_executions
            WHERE status = 'RUNNING' AND id > ?1 ORDER BY id LIMIT ?2"
        );
        self.rows(&sql, params![signed(after), page(limit)], execution)
    }
}

impl ReadTx {
    /// The highest number that an execution ever had.
    pub fn last_execution_id(&self) -> Result<u64, StoreError> {
        self.number("SELECT seq FROM sqlite_sequence WHERE name = 'workflow_executions'", [])
    }

    /// How many executions have not ended.
    pub fn open_execution_count(&self) -> Result<u64, StoreError> {
        self.number("SELECT count(*) FROM workflow_executions WHERE status = 'RUNNING'", [])
    }

    /// Executions of the kind `Sync`, ended or not.
    pub fn sync_executions(&self, limit: usize) -> Result<Vec<ExecutionRow>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM workflow_executions WHERE kind = 'sync' ORDER BY id LIMIT ?1"
        );
        self.rows(&sql, params![page(limit)], execution)
    }

    /// Executions of a machine whose name begins so, by name, after a name. Looks at no more rows
    /// than it answers.
    pub fn executions_named(
        &self,
        machine: u64,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ExecutionRow>, StoreError> {
        // A name before the prefix does not lead to others than the prefix itself.
        let (sql, from) = match after.filter(|after| *after >= prefix) {
            Some(after) => (named_sql(">"), after),
            None => (named_sql(">="), prefix),
        };
        self.rows(&sql, params![signed(machine), prefix, from, page(limit)], execution)
    }

    /// How many executions of a machine are in a status, counted up to `most`.
    pub fn count_executions(
        &self,
        machine: u64,
        status: ExecutionStatus,
        most: usize,
    ) -> Result<u64, StoreError> {
        let sql = "SELECT count(*) FROM (SELECT 1 FROM workflow_executions
            WHERE machine = ?1 AND status = ?2 AND map_run IS NULL LIMIT ?3)";
        self.number(sql, params![signed(machine), status.as_str(), page(most)])
    }

    /// How many of the newest `most` executions of a machine in a status nobody has resolved.
    pub fn count_unresolved(
        &self,
        machine: u64,
        status: ExecutionStatus,
        most: usize,
    ) -> Result<u64, StoreError> {
        let sql = "SELECT count(*) FROM (SELECT id, stopped_at FROM workflow_executions
                WHERE machine = ?1 AND status = ?2 AND map_run IS NULL
                ORDER BY id DESC LIMIT ?3) e
            WHERE NOT EXISTS (SELECT 1 FROM workflow_resolutions r WHERE r.execution = e.id
                AND r.at >= e.stopped_at)";
        self.number(sql, params![signed(machine), status.as_str(), page(most)])
    }

    /// Numbers of a machine's executions in a status, newest first, below `before`, each with
    /// whether somebody has resolved it. Looks at no more rows than it answers.
    pub fn resolutions_of_machine(
        &self,
        machine: u64,
        status: ExecutionStatus,
        before: u64,
        limit: usize,
    ) -> Result<Vec<(u64, bool)>, StoreError> {
        let params = params![signed(machine), status.as_str(), signed(before), page(limit)];
        self.rows(RESOLUTIONS, params, |row| Ok((unsigned(row.get(0)?), row.get(1)?)))
    }

    /// Numbers of a machine's executions in a status, newest first, below `before`, each with
    /// whether its error or cause has a text in it, letters of A to Z in either case. Looks at no
    /// more rows than it answers.
    pub fn failures_saying(
        &self,
        machine: u64,
        status: ExecutionStatus,
        text: &str,
        before: u64,
        limit: usize,
    ) -> Result<Vec<(u64, bool)>, StoreError> {
        let text = text.to_ascii_lowercase();
        let params = params![signed(machine), status.as_str(), signed(before), page(limit), text];
        self.rows(SAYING, params, |row| Ok((unsigned(row.get(0)?), row.get(1)?)))
    }

    /// The first characters of a long text of an execution, and the bytes of the whole.
    pub fn payload_beginning(
        &self,
        execution: u64,
        digest: &str,
        chars: usize,
    ) -> Result<Option<(String, u64)>, StoreError> {
        // As bytes, for `substr` of a text ends at a NUL; four are enough for any character.
        let sql = "SELECT substr(CAST(text AS BLOB), 1, ?3), octet_length(text)
            FROM workflow_payloads WHERE execution = ?1 AND digest = ?2";
        let bytes = signed(chars.saturating_mul(4) as u64);
        self.row(sql, params![signed(execution), digest, bytes], |row| {
            let begun = String::from_utf8_lossy(row.get_ref(0)?.as_blob()?);
            Ok((begun.chars().take(chars).collect(), unsigned(row.get(1)?)))
        })
    }

    /// A long text of an execution.
    pub fn payload(&self, execution: u64, digest: &str) -> Result<Option<String>, StoreError> {
        let sql = "SELECT text FROM workflow_payloads WHERE execution = ?1 AND digest = ?2";
        self.row(sql, params![signed(execution), digest], |row| row.get(0))
    }

    /// Executions that have long texts, with numbers above `after`, each with whether it is there.
    /// Numbers that were given but never recorded are given again after a restart: who deletes looks
    /// again in the same transaction.
    pub fn owners_of_texts(
        &self,
        after: u64,
        limit: usize,
    ) -> Result<Vec<(u64, bool)>, StoreError> {
        // One step of the index per execution, however many texts each has.
        let sql = "WITH RECURSIVE owners (id) AS (
                SELECT min(execution) FROM workflow_payloads WHERE execution > ?1
                UNION ALL
                SELECT (SELECT min(execution) FROM workflow_payloads WHERE execution > owners.id)
                FROM owners WHERE owners.id IS NOT NULL)
            SELECT id, EXISTS (SELECT 1 FROM workflow_executions e WHERE e.id = owners.id)
            FROM owners WHERE id IS NOT NULL LIMIT ?2";
        let params = params![signed(after), page(limit)];
        self.rows(sql, params, |row| Ok((unsigned(row.get(0)?), row.get(1)?)))
    }

    /// The steps that hold events from number `from` on, oldest first: the first may begin before
    /// it. At most `limit` steps.
    pub fn history_from(
        &self,
        execution: u64,
        from: u64,
        limit: usize,
    ) -> Result<Vec<(u64, String)>, StoreError> {
        let sql = "SELECT seq, events FROM workflow_history WHERE execution = ?1 AND seq >= (
                SELECT coalesce(max(seq), 0) FROM workflow_history
                WHERE execution = ?1 AND seq <= ?2)
            ORDER BY seq LIMIT ?3";
        let params = params![signed(execution), signed(from), page(limit)];
        self.rows(sql, params, |row| Ok((unsigned(row.get(0)?), row.get(1)?)))
    }

    /// The steps that hold events up to number `to`, newest first. At most `limit` steps.
    pub fn history_down_from(
        &self,
        execution: u64,
        to: u64,
        limit: usize,
    ) -> Result<Vec<(u64, String)>, StoreError> {
        let sql = "SELECT seq, events FROM workflow_history WHERE execution = ?1 AND seq <= ?2
            ORDER BY seq DESC LIMIT ?3";
        let params = params![signed(execution), signed(to), page(limit)];
        self.rows(sql, params, |row| Ok((unsigned(row.get(0)?), row.get(1)?)))
    }
}

impl WriteTx {
    /// Adds an execution; an `id` of 0 is replaced by one that the store gives. Answers it.
    ///
    /// # Errors
    /// [`StoreError::Exists`].
    pub fn insert_execution(&mut self, row: &ExecutionRow) -> Result<u64, StoreError> {
        let sql = "INSERT INTO workflow_executions (id, machine, revision, name, kind, status,
                started_at, stopped_at, map_run, rev, events, body, state)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";
        let params = params![
            (row.id > 0).then(|| signed(row.id)),
            signed(row.machine),
            signed(row.revision),
            row.name,
            row.kind.as_str(),
            row.status.as_str(),
            micros(row.started_at),
            row.stopped_at.map(micros),
            row.map_run.map(signed),
            signed(row.rev),
            signed(row.events),
            row.body,
            row.state,
        ];
        self.insert("execution", &row.name, sql, params)?;
        Ok(unsigned(self.conn().last_insert_rowid()))
    }

    /// Replaces what may change of an execution, if it still is at the revision `row.rev`, and
    /// counts that up by one.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when it was changed meanwhile.
    pub fn put_execution(&mut self, row: &mut ExecutionRow) -> Result<(), StoreError> {
        let sql = "UPDATE workflow_executions SET status = ?3, stopped_at = ?4, rev = rev + 1,
                events = ?5, body = ?6, state = ?7 WHERE id = ?1 AND rev = ?2";
        let params = params![
            signed(row.id),
            signed(row.rev),
            row.status.as_str(),
            row.stopped_at.map(micros),
            signed(row.events),
            row.body,
            row.state,
        ];
        if self.change(sql, params)? == 0 {
            let found = self.execution(row.id)?;
            return Err(StoreError::Conflict {
                noun: "execution",
                key: row.id.to_string(),
                expected: format!("at revision {}", row.rev),
                found: found.map_or("gone".to_owned(), |f| format!("at revision {}", f.rev)),
            });
        }
        row.rev += 1;
        Ok(())
    }

    /// Forgets an execution with everything that belongs to it, its children apart.
    pub fn delete_execution(&mut self, id: u64) -> Result<(), StoreError> {
        for sql in [
            "DELETE FROM workflow_history WHERE execution = ?1",
            "DELETE FROM workflow_payloads WHERE execution = ?1",
            "DELETE FROM workflow_inbox WHERE execution = ?1",
            "DELETE FROM workflow_task_logs WHERE execution = ?1",
            "DELETE FROM workflow_timers WHERE execution = ?1",
            "DELETE FROM workflow_tasks WHERE execution = ?1",
            "DELETE FROM workflow_map_items WHERE map_run IN (
                SELECT id FROM workflow_map_runs WHERE execution = ?1)",
            "DELETE FROM workflow_map_runs WHERE execution = ?1",
            "DELETE FROM workflow_executions WHERE id = ?1",
        ] {
            self.change(sql, [signed(id)])?;
        }
        Ok(())
    }

    /// Forgets executions that had ended before an instant, at most `limit`, and with them at most
    /// [`PRUNED_ITEMS_MAX`] items of map runs: of an execution that has more some items are forgotten,
    /// and the rest the next time. Answers how many were looked at: `limit` when there may be more.
    pub fn prune_executions(
        &mut self,
        stopped_before: Timestamp,
        limit: usize,
    ) -> Result<usize, StoreError> {
        let sql = "SELECT id FROM workflow_executions WHERE stopped_at < ?1
            ORDER BY stopped_at LIMIT ?2";
        let old = self
            .rows(sql, params![micros(stopped_before), page(limit)], |row| row.get::<_, i64>(0))?;
        let mut items_left = PRUNED_ITEMS_MAX;
        for id in &old {
            let sql = "SELECT id FROM workflow_map_runs WHERE execution = ?1";
            for run in self.rows(sql, [id], |row| row.get::<_, i64>(0))? {
                items_left -= self.delete_map_items(unsigned(run), items_left)?;
            }
            if items_left == 0 {
                return Ok(limit);
            }
            self.delete_execution(unsigned(*id))?;
            self.change("DELETE FROM workflow_runs WHERE execution = ?1", [id])?;
            self.change("DELETE FROM workflow_resolutions WHERE execution = ?1", [id])?;
        }
        Ok(old.len())
    }

    /// Keeps a long text of an execution under its digest.
    pub fn put_payload(
        &mut self,
        execution: u64,
        digest: &str,
        text: &str,
    ) -> Result<(), StoreError> {
        let sql = "INSERT OR IGNORE INTO workflow_payloads VALUES (?1, ?2, ?3)";
        self.change(sql, params![signed(execution), digest, text])?;
        Ok(())
    }

    /// Forgets all long texts of an execution.
    pub fn delete_payloads(&mut self, execution: u64) -> Result<(), StoreError> {
        self.change("DELETE FROM workflow_payloads WHERE execution = ?1", [signed(execution)])?;
        Ok(())
    }

    /// Appends events of one step, the first of which has number `seq`.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when events of that number are there.
    pub fn append_history(
        &mut self,
        execution: u64,
        seq: u64,
        events: &str,
    ) -> Result<(), StoreError> {
        let sql = "INSERT INTO workflow_history VALUES (?1, ?2, ?3)";
        self.insert("history", &execution, sql, params![signed(execution), signed(seq), events])
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::*;
    use crate::connection::open_memory;

    const NAMES: u64 = 2_000;
    const PAGE: usize = 5;

    fn failed(name: String) -> ExecutionRow {
        ExecutionRow {
            id: 0,
            machine: 1,
            revision: 1,
            name,
            kind: ExecutionKind::Standard,
            status: ExecutionStatus::Failed,
            started_at: Timestamp::UNIX_EPOCH,
            stopped_at: Some(Timestamp::UNIX_EPOCH),
            map_run: None,
            rev: 1,
            events: 0,
            body: "{}".to_owned(),
            state: None,
        }
    }

    /// `n-0000` to `n-1999`, with a neighbour on either side, failed.
    fn many() -> WriteTx {
        let mut tx = WriteTx::new(open_memory(Timestamp::UNIX_EPOCH).expect("a store"));
        let names = (0..NAMES).map(|n| format!("n-{n:04}"));
        for name in ["m".to_owned(), "o".to_owned()].into_iter().chain(names) {
            tx.insert_execution(&failed(name)).expect("a row");
        }
        tx
    }

    /// Steps of SQLite's machine that the statement has taken since it was last asked.
    fn steps(tx: &ReadTx, sql: &str) -> i32 {
        let statement = tx.conn().prepare_cached(sql).expect("a statement");
        statement.reset_status(StatementStatus::VmStep)
    }

    #[test]
    fn a_page_of_names_walks_over_that_page_alone() {
        let tx = many();
        let names = |prefix: &str, after: Option<&str>| -> Vec<String> {
            let rows = tx.executions_named(1, prefix, after, PAGE).expect("rows");
            rows.into_iter().map(|row| row.name).collect()
        };
        let first = ["n-0000", "n-0001", "n-0002", "n-0003", "n-0004"];
        assert_eq!(names("n-", None), first);
        let (from_prefix, from_name) = (named_sql(">="), named_sql(">"));
        steps(&tx, &from_prefix);
        assert_eq!(names("n-", Some("n-0001"))[..2], ["n-0002", "n-0003"]);
        let early = steps(&tx, &from_name);
        assert_eq!(names("n-", Some("n-1989"))[..2], ["n-1990", "n-1991"]);
        let late = steps(&tx, &from_name);
        assert!(early > 0 && late <= early, "{late} steps at the end, {early} at the beginning");

        // A cursor is text from outside: it leads to nothing that was not asked for.
        assert_eq!(names("n-", Some("a")), first);
        assert_eq!(names("n-", Some("n-")), first);
        assert_eq!(names("n-199", Some("n-1997")), ["n-1998", "n-1999"]);
        assert!(names("n-", Some("n-1999")).is_empty() && names("n-", Some("z")).is_empty());
        assert_eq!(names("n-0000", Some("n-")), ["n-0000"]);
    }

    #[test]
    fn resolved_failures_are_answered_not_walked_over() {
        let mut tx = many();
        for id in 1..=NAMES {
            tx.resolve_workflow(id, Timestamp::UNIX_EPOCH, "somebody").expect("resolved");
        }
        let below = |before| {
            tx.resolutions_of_machine(1, ExecutionStatus::Failed, before, PAGE).expect("rows")
        };
        let top = [(2_002, false), (2_001, false), (2_000, true), (1_999, true), (1_998, true)];
        assert_eq!(below(u64::MAX), top);
        let open = steps(&tx, RESOLUTIONS);
        assert_eq!(below(1_501), [1_500, 1_499, 1_498, 1_497, 1_496].map(|id| (id, true)));
        let resolved = steps(&tx, RESOLUTIONS);
        // Five rows each; that a resolution is there takes some steps more than that none is.
        assert!(open > 0 && resolved <= 2 * open, "{resolved} steps, {open} for open ones");
        assert_eq!(below(3), [(2, true), (1, true)]);
        let plan = format!("EXPLAIN QUERY PLAN {RESOLUTIONS}");
        let params = params![1, "FAILED", i64::MAX, 5];
        let plan = tx.rows(&plan, params, |row| row.get::<_, String>(3)).expect("a plan");
        assert!(plan[0].contains("INDEX workflow_executions_status (machine=?"), "{plan:?}");
        assert!(plan.iter().all(|line| !line.contains("TEMP B-TREE")), "{plan:?}");
    }

    #[test]
    fn a_payload_is_begun_by_characters() {
        let mut tx = WriteTx::new(open_memory(Timestamp::UNIX_EPOCH).expect("a store"));
        let long = format!("a\u{0}ä€😀{}", "😀".repeat(1_000));
        tx.put_payload(1, "d", &long).expect("kept");
        for chars in [0, 1, 2, 3, 4, 5, 6, 1_004, 1_005, 1_006, usize::MAX] {
            let expect: String = long.chars().take(chars).collect();
            let found = tx.payload_beginning(1, "d", chars).expect("an answer");
            assert_eq!(found, Some((expect, long.len() as u64)), "{chars}");
        }
        assert_eq!(tx.payload_beginning(2, "d", 1).expect("an answer"), None);
    }
}
