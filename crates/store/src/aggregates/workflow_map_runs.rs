//! Map runs and the inputs of their children.

use jiff::Timestamp;
use rusqlite::{Row, params};

use crate::error::StoreError;
use crate::tx::{ReadTx, WriteTx, micros, page, signed, unsigned};

use super::workflow_executions::instant;

/// A map run as it stands in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapRunRow {
    /// Its number. 0 before it is inserted.
    pub id: u64,
    /// The execution it belongs to.
    pub execution: u64,
    /// The interpreter's number for it.
    pub num: u64,
    /// Last part of its ARN.
    pub uuid: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub stopped_at: Option<Timestamp>,
    /// Whether the runtime has something to do for it.
    pub busy: bool,
    /// JSON of what was asked for; never changes.
    pub request: String,
    /// JSON of where it stands.
    pub body: String,
}

/// What became of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItemPhase {
    /// Its child was not started.
    Pending,
    /// Its child runs.
    Running,
    /// Its child ended well.
    Succeeded,
    /// Its child ended otherwise.
    Failed,
}

impl ItemPhase {
    const ALL: [Self; 4] = [Self::Pending, Self::Running, Self::Succeeded, Self::Failed];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        }
    }
}

/// One child's input and result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapItemRow {
    /// Its place, from 0.
    pub index: u64,
    /// What became of it.
    pub phase: ItemPhase,
    /// Its child, once there was one.
    pub execution: Option<u64>,
    /// Items in that input: several where they are batched.
    pub items: u64,
    /// The input's text.
    pub input: String,
    /// The output's text, or JSON of the failure.
    pub result: Option<String>,
}

/// The planner of SQLite rather walks over all children that are done than use the index.
const IN_PHASE: &str = "SELECT idx, phase, execution, input, result, items
    FROM workflow_map_items INDEXED BY workflow_map_items_phase
    WHERE map_run = ?1 AND phase = ?2 ORDER BY idx LIMIT ?3";
// Inputs and results stand before `items` in the table, and are long: the index has all that is counted.
const UNFINISHED: &str = "SELECT count(*), coalesce(sum(items), 0)
    FROM workflow_map_items INDEXED BY workflow_map_items_phase
    WHERE map_run = ?1 AND phase <> 'succeeded'";
const COUNT: &str = "SELECT coalesce(sum(items), 0)
    FROM workflow_map_items INDEXED BY workflow_map_items_phase WHERE map_run = ?1";
const COUNT_IN: &str = "SELECT coalesce(sum(items), 0)
    FROM workflow_map_items INDEXED BY workflow_map_items_phase WHERE map_run = ?1 AND phase = ?2";

const COLUMNS: &str = "id, execution, num, uuid, started_at, stopped_at, busy, request, body";

fn map_run(row: &Row<'_>) -> rusqlite::Result<MapRunRow> {
    Ok(MapRunRow {
        id: unsigned(row.get(0)?),
        execution: unsigned(row.get(1)?),
        num: unsigned(row.get(2)?),
        uuid: row.get(3)?,
        started_at: instant(row.get(4)?),
        stopped_at: row.get::<_, Option<i64>>(5)?.map(instant),
        busy: row.get(6)?,
        request: row.get(7)?,
        body: row.get(8)?,
    })
}

fn item(row: &Row<'_>) -> rusqlite::Result<MapItemRow> {
    let word = row.get_ref(1)?.as_str()?;
    let phase = ItemPhase::ALL.into_iter().find(|p| p.as_str() == word);
    Ok(MapItemRow {
        index: unsigned(row.get(0)?),
        phase: phase.unwrap_or(ItemPhase::Failed),
        execution: row.get::<_, Option<i64>>(2)?.map(unsigned),
        input: row.get(3)?,
        result: row.get(4)?,
        items: unsigned(row.get(5)?),
    })
}

impl ReadTx {
    /// One map run.
    pub fn map_run(&self, id: u64) -> Result<Option<MapRunRow>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM workflow_map_runs WHERE id = ?1");
        self.row(&sql, [signed(id)], map_run)
    }

    /// The map run of that ARN.
    pub fn map_run_by_uuid(&self, uuid: &str) -> Result<Option<MapRunRow>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM workflow_map_runs WHERE uuid = ?1");
        self.row(&sql, [uuid], map_run)
    }

    /// The map run of that number within its execution.
    pub fn map_run_of(&self, execution: u64, num: u64) -> Result<Option<MapRunRow>, StoreError> {
        let sql =
            format!("SELECT {COLUMNS} FROM workflow_map_runs WHERE execution = ?1 AND num = ?2");
        self.row(&sql, params![signed(execution), signed(num)], map_run)
    }

    /// Map runs of an execution, newest first, with numbers below `before`.
    pub fn map_runs_of(
        &self,
        execution: u64,
        before: u64,
        limit: usize,
    ) -> Result<Vec<MapRunRow>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM workflow_map_runs WHERE execution = ?1 AND id < ?2
            ORDER BY id DESC LIMIT ?3"
        );
        self.rows(&sql, params![signed(execution), signed(before), page(limit)], map_run)
    }

    /// Map runs for which the runtime has something to do, oldest first, with numbers above `after`.
    pub fn busy_map_runs(&self, after: u64, limit: usize) -> Result<Vec<MapRunRow>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM workflow_map_runs WHERE busy = 1 AND id > ?1
            ORDER BY id LIMIT ?2"
        );
        self.rows(&sql, params![signed(after), page(limit)], map_run)
    }

    /// Whether children of a map run go on, or map runs of theirs have something to do.
    pub fn map_run_has_life(&self, run: u64) -> Result<bool, StoreError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM workflow_executions
                WHERE map_run = ?1 AND status = 'RUNNING')
            OR EXISTS (SELECT 1 FROM workflow_map_runs m
                JOIN workflow_executions e ON e.id = m.execution
                WHERE m.busy = 1 AND e.map_run = ?1)";
        Ok(self.number(sql, [signed(run)])? > 0)
    }

    /// Items of a map run in one phase, in order.
    pub fn map_items(
        &self,
        run: u64,
        phase: ItemPhase,
        limit: usize,
    ) -> Result<Vec<MapItemRow>, StoreError> {
        self.rows(IN_PHASE, params![signed(run), phase.as_str(), page(limit)], item)
    }

    /// Items of a map run whatever became of them, in order, from index `from` on.
    pub fn map_items_from(
        &self,
        run: u64,
        from: u64,
        limit: usize,
    ) -> Result<Vec<MapItemRow>, StoreError> {
        let sql = "SELECT idx, phase, execution, input, result, items FROM workflow_map_items
            WHERE map_run = ?1 AND idx >= ?2 ORDER BY idx LIMIT ?3";
        self.rows(sql, params![signed(run), signed(from), page(limit)], item)
    }

    /// How many inputs of a map run did not succeed (pending, running or failed), and the items in
    /// them.
    pub fn map_items_unfinished(&self, run: u64) -> Result<(u64, u64), StoreError> {
        let both = |row: &Row<'_>| Ok((unsigned(row.get(0)?), unsigned(row.get(1)?)));
        let both = self.row(UNFINISHED, [signed(run)], both)?;
        Ok(both.unwrap_or_default())
    }

    /// The items in all inputs of a map run.
    pub fn map_items_count(&self, run: u64) -> Result<u64, StoreError> {
        self.number(COUNT, [signed(run)])
    }

    /// The items in the inputs of a map run that are in one phase.
    pub fn map_items_in(&self, run: u64, phase: ItemPhase) -> Result<u64, StoreError> {
        self.number(COUNT_IN, params![signed(run), phase.as_str()])
    }

    /// One item.
    pub fn map_item(&self, run: u64, index: u64) -> Result<Option<MapItemRow>, StoreError> {
        let sql = "SELECT idx, phase, execution, input, result, items FROM workflow_map_items
            WHERE map_run = ?1 AND idx = ?2";
        self.row(sql, params![signed(run), signed(index)], item)
    }
}

impl WriteTx {
    /// Adds a map run; its `id` is given by the store and answered.
    ///
    /// # Errors
    /// [`StoreError::Exists`].
    pub fn insert_map_run(&mut self, row: &MapRunRow) -> Result<u64, StoreError> {
        let sql = "INSERT INTO workflow_map_runs
                (execution, num, uuid, started_at, stopped_at, busy, request, body)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        let params = params![
            signed(row.execution),
            signed(row.num),
            row.uuid,
            micros(row.started_at),
            row.stopped_at.map(micros),
            row.busy,
            row.request,
            row.body,
        ];
        self.insert("map run", &row.uuid, sql, params)?;
        Ok(unsigned(self.conn().last_insert_rowid()))
    }

    /// Replaces what may change of a map run. Read it in the same closure.
    pub fn put_map_run(&mut self, row: &MapRunRow) -> Result<(), StoreError> {
        let sql = "UPDATE workflow_map_runs SET stopped_at = ?2, busy = ?3, body = ?4
            WHERE id = ?1";
        let at = row.stopped_at.map(micros);
        self.change(sql, params![signed(row.id), at, row.busy, row.body])?;
        Ok(())
    }

    /// Adds an input with so many items in it, pending.
    pub fn insert_map_item(
        &mut self,
        run: u64,
        index: u64,
        input: &str,
        items: u64,
    ) -> Result<(), StoreError> {
        let sql = "INSERT INTO workflow_map_items (map_run, idx, phase, input, items)
            VALUES (?1, ?2, 'pending', ?3, ?4)";
        let params = params![signed(run), signed(index), input, signed(items)];
        self.insert("map item", &index, sql, params)
    }

    /// Says what became of an item.
    pub fn set_map_item(
        &mut self,
        run: u64,
        index: u64,
        phase: ItemPhase,
        execution: Option<u64>,
        result: Option<&str>,
    ) -> Result<(), StoreError> {
        let sql = "UPDATE workflow_map_items SET phase = ?3, execution = ?4, result = ?5
            WHERE map_run = ?1 AND idx = ?2";
        let params =
            params![signed(run), signed(index), phase.as_str(), execution.map(signed), result];
        self.change(sql, params)?;
        Ok(())
    }

    /// Turns all items of one phase into another. Answers how many.
    pub fn move_map_items(
        &mut self,
        run: u64,
        from: ItemPhase,
        to: ItemPhase,
    ) -> Result<usize, StoreError> {
        let sql = "UPDATE workflow_map_items SET phase = ?3 WHERE map_run = ?1 AND phase = ?2";
        self.change(sql, params![signed(run), from.as_str(), to.as_str()])
    }

    /// Forgets the first items of a map run, at most `limit`. Answers how many.
    pub fn delete_map_items(&mut self, run: u64, limit: usize) -> Result<usize, StoreError> {
        let sql = "DELETE FROM workflow_map_items WHERE map_run = ?1 AND idx IN (
            SELECT idx FROM workflow_map_items WHERE map_run = ?1 ORDER BY idx LIMIT ?2)";
        self.change(sql, params![signed(run), page(limit)])
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::{Connection, StatementStatus};

    use super::*;
    use crate::connection::open_memory;

    const CHILDREN: u64 = 500;

    /// Children of the run 1, each of three items, with long inputs.
    fn many() -> WriteTx {
        let mut tx = WriteTx::new(open_memory(Timestamp::UNIX_EPOCH).expect("a store"));
        let input = "x".repeat(10_000);
        for index in 0..CHILDREN {
            tx.insert_map_item(1, index, &input, 3).expect("a row");
        }
        tx.insert_map_item(2, 0, &input, 9).expect("a row");
        tx
    }

    fn plan(tx: &ReadTx, sql: &str, params: impl rusqlite::Params) -> String {
        let lines =
            tx.rows(&format!("EXPLAIN QUERY PLAN {sql}"), params, |row| row.get::<_, String>(3));
        lines.expect("a plan").join("\n")
    }

    #[test]
    fn items_are_counted_without_a_look_at_inputs_and_results() {
        let mut tx = many();
        let long = "y".repeat(10_000);
        for (index, phase) in (0..).zip([ItemPhase::Running, ItemPhase::Succeeded]) {
            tx.set_map_item(1, index, phase, Some(7), Some(&long)).expect("a row");
        }
        assert_eq!(tx.map_items_count(1).expect("a count"), 3 * CHILDREN);
        assert_eq!(tx.map_items_in(1, ItemPhase::Running).expect("a count"), 3);
        assert_eq!(tx.map_items_in(1, ItemPhase::Failed).expect("a count"), 0);
        let unfinished = (CHILDREN - 1, 3 * (CHILDREN - 1));
        assert_eq!(tx.map_items_unfinished(1).expect("counts"), unfinished);
        let covering = "USING COVERING INDEX workflow_map_items_phase (map_run=?";
        for plan in [
            plan(&tx, COUNT, [1]),
            plan(&tx, UNFINISHED, [1]),
            plan(&tx, COUNT_IN, params![1, "running"]),
        ] {
            assert!(plan.contains(covering), "{plan}");
        }
    }

    #[test]
    fn children_to_start_are_found_past_those_that_are_done() {
        let mut tx = many();
        let found = |tx: &ReadTx| -> (Vec<u64>, i32) {
            let items = tx.map_items(1, ItemPhase::Pending, 5).expect("items");
            let statement = tx.conn().prepare_cached(IN_PHASE).expect("a statement");
            let steps = statement.reset_status(StatementStatus::VmStep);
            (items.into_iter().map(|item| item.index).collect(), steps)
        };
        let (first, early) = found(&tx);
        assert_eq!(first, [0, 1, 2, 3, 4]);
        for index in 0..CHILDREN - 5 {
            tx.set_map_item(1, index, ItemPhase::Succeeded, Some(7), Some("{}")).expect("a row");
        }
        let (last, late) = found(&tx);
        assert_eq!(last, [495, 496, 497, 498, 499]);
        assert!(
            early > 0 && late <= early + 5,
            "{late} steps at the end, {early} at the beginning"
        );
    }

    /// Runs of earlier versions go on: those before batches were counted have one item a child.
    #[test]
    fn children_kept_by_earlier_versions_are_counted() {
        let mut conn = Connection::open_in_memory().expect("a database");
        crate::migrate::migrate_to(&mut conn, 14).expect("an old one");
        let insert = "INSERT INTO workflow_map_items (map_run, idx, phase, input) VALUES ";
        conn.execute_batch(&format!("{insert} (1, 0, 'running', 'a'), (1, 1, 'pending', 'b')"))
            .expect("rows");
        crate::migrate::migrate_to(&mut conn, 15).expect("an old one");
        let insert = "INSERT INTO workflow_map_items (map_run, idx, phase, input, items) VALUES ";
        conn.execute_batch(&format!("{insert} (1, 2, 'pending', 'c', 4)")).expect("rows");
        crate::migrate::migrate(&mut conn).expect("this version's");
        let tx = WriteTx::new(conn);
        assert_eq!(tx.map_items_count(1).expect("a count"), 6);
        assert_eq!(tx.map_items_in(1, ItemPhase::Pending).expect("a count"), 5);
        let kept: Vec<_> =
            tx.map_items_from(1, 0, 9).expect("rows").into_iter().map(|row| row.input).collect();
        assert_eq!(kept, ["a", "b", "c"]);
    }
}
