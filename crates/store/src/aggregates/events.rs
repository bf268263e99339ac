//! Events: appended, followed from a resume point, pruned by age, never changed.

use ark_model::event::{Event, EventKind, NewEvent};
use ark_model::{AppName, DeploymentId, EnvName};
use jiff::Timestamp;
use rusqlite::params;

use crate::error::StoreError;
use crate::tx::{ReadTx, WriteTx, body, micros, page, parse, signed, unsigned, word};

/// Which events a list is of. `None` and an empty list mean all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Only of this environment.
    pub env: Option<EnvName>,
    /// Only of this app.
    pub app: Option<AppName>,
    /// Only of this deployment.
    pub deployment: Option<DeploymentId>,
    /// Only of these kinds.
    pub kinds: Vec<EventKind>,
}

/// In which direction a list of events goes.
#[derive(Clone, Copy)]
enum From {
    /// Oldest first, above a number.
    After(u64),
    /// Newest first, below a number.
    Before(u64),
}

impl ReadTx {
    /// Events with numbers above `after`, oldest first. Followers pass the number of the last
    /// event they have seen; a page shorter than `limit` is the end for now.
    pub fn events(
        &self,
        filter: &EventFilter,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Event>, StoreError> {
        self.filtered(filter, From::After(after), limit)
    }

    /// Events with numbers below `before`, newest first.
    pub fn recent_events(
        &self,
        filter: &EventFilter,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Event>, StoreError> {
        self.filtered(filter, From::Before(before.unwrap_or(u64::MAX)), limit)
    }

    /// The number of the newest event ever appended, 0 when there was none.
    pub fn latest_event(&self) -> Result<u64, StoreError> {
        self.number("SELECT seq FROM sqlite_sequence WHERE name = 'events'", [])
    }

    /// The number of the oldest event that is still there. A follower whose resume point is more
    /// than one below has missed events.
    pub fn oldest_event(&self) -> Result<Option<u64>, StoreError> {
        match self.number("SELECT min(seq) FROM events", [])? {
            0 => Ok(None),
            seq => Ok(Some(seq)),
        }
    }

    fn filtered(
        &self,
        filter: &EventFilter,
        from: From,
        limit: usize,
    ) -> Result<Vec<Event>, StoreError> {
        // A statement for each index, because SQLite uses one only for a column that is compared.
        let key = match (&filter.deployment, &filter.env) {
            (Some(_), _) => "deployment = ?3 AND (?1 IS NULL OR env = ?1)",
            (None, Some(_)) => "env = ?1 AND ?3 IS NULL",
            (None, None) => "?1 IS NULL AND ?3 IS NULL",
        };
        let (side, order, bound) = match from {
            From::After(seq) => ("seq > ?5", "ASC", seq),
            From::Before(seq) => ("seq < ?5", "DESC", seq),
        };
        let sql = format!(
            "SELECT seq, body FROM events WHERE {key} AND (?2 IS NULL OR app = ?2)
            AND (?4 IS NULL OR kind IN (SELECT value FROM json_each(?4)))
            AND {side} ORDER BY seq {order} LIMIT ?6"
        );
        let kinds = match filter.kinds.as_slice() {
            [] => None,
            kinds => Some(body("filter of events", &kinds)?),
        };
        let params = params![
            filter.env.as_ref().map(EnvName::as_str),
            filter.app.as_ref().map(AppName::as_str),
            filter.deployment.map(|id| id.to_string()),
            kinds,
            signed(bound),
            page(limit),
        ];
        let rows: Vec<(i64, String)> =
            self.rows(&sql, params, |row| Ok((row.get(0)?, row.get(1)?)))?;
        let event = |(seq, body): (i64, String)| {
            let event: Event = parse("event", &body)?;
            Ok(Event { seq: unsigned(seq), ..event })
        };
        rows.into_iter().map(event).collect()
    }
}

impl WriteTx {
    /// Appends an event; answers its number. Numbers grow by one, and an event whose number is
    /// higher never becomes visible before one whose number is lower.
    pub fn append_event(&mut self, event: NewEvent) -> Result<u64, StoreError> {
        let NewEvent { at, kind, by, env, app, deployment, instance, text } = event;
        // The number is SQLite's to give and stands in its column alone.
        let event = Event { seq: 0, at, kind, by, env, app, deployment, instance, text };
        let sql = "INSERT INTO events (at, kind, env, app, deployment, body)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let params = params![
            micros(event.at),
            word(event.kind),
            event.env.as_ref().map(EnvName::as_str),
            event.app.as_ref().map(AppName::as_str),
            event.deployment.map(|id| id.to_string()),
            body("event", &event)?,
        ];
        self.change(sql, params)?;
        Ok(unsigned(self.conn().last_insert_rowid()))
    }

    /// Deletes events older than an instant, at most `limit`. Answers how many. Their numbers are
    /// never given again.
    pub fn prune_events(&mut self, before: Timestamp, limit: usize) -> Result<usize, StoreError> {
        let sql = "DELETE FROM events WHERE seq IN (
                SELECT seq FROM events WHERE at < ?1 ORDER BY at LIMIT ?2)";
        self.change(sql, params![micros(before), page(limit)])
    }
}
