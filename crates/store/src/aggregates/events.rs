//! Events: appended, followed from a resume point, pruned by age, never changed.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use ark_model::event::{Event, EventKind, NewEvent};
use ark_model::{AppName, DeploymentId, EnvName};
use jiff::Timestamp;
use rusqlite::params;

use crate::PAGE_MAX;
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

/// Rows looked at for one page of events. Only a list of some kinds within an environment or an app
/// looks at more rows than it finds.
const LOOKED_AT_MAX: usize = 5_000;

/// In which direction a list of events goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventsFrom {
    /// Oldest first, above a number.
    After(u64),
    /// Newest first, below a number; `u64::MAX` begins with the newest.
    Before(u64),
}

/// Some events, and how far was looked for them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EventsPage {
    /// In the order that was asked for.
    pub events: Vec<Event>,
    /// Up to this number nothing is left out: where the next page begins. A page that was looked
    /// for among many others may be short, or even empty, and yet not be the last.
    pub reached: u64,
    /// Whether there may be more beyond.
    pub more: bool,
}

/// By what events are found: an index for each, all of them ending in the number, so that nothing
/// is sorted and nothing that does not match is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Deployment,
    EnvAndApp,
    Env,
    App,
    Kind,
    Number,
}

impl By {
    /// The one that leaves the fewest rows; what else is asked for is looked at row by row.
    fn of(filter: &EventFilter) -> Self {
        match (filter.deployment, &filter.env, &filter.app, filter.kinds.is_empty()) {
            (Some(_), _, _, _) => Self::Deployment,
            (None, Some(_), Some(_), _) => Self::EnvAndApp,
            (None, Some(_), None, _) => Self::Env,
            (None, None, Some(_), _) => Self::App,
            (None, None, None, false) => Self::Kind,
            (None, None, None, true) => Self::Number,
        }
    }

    /// Two keys, a bound and a limit. A statement for each index, because SQLite uses one only for a
    /// column that is compared.
    fn sql(self, from: EventsFrom) -> String {
        let key = match self {
            Self::Deployment => "deployment = ?1 AND ?2 IS NULL",
            Self::EnvAndApp => "env = ?1 AND app = ?2",
            Self::Env => "env = ?1 AND ?2 IS NULL",
            Self::App => "app = ?1 AND ?2 IS NULL",
            Self::Kind => "kind = ?1 AND ?2 IS NULL",
            Self::Number => "?1 IS NULL AND ?2 IS NULL",
        };
        let (side, order) = match from {
            EventsFrom::After(_) => ("seq > ?3", "ASC"),
            EventsFrom::Before(_) => ("seq < ?3", "DESC"),
        };
        format!(
            "SELECT seq, kind, env, app, body FROM events WHERE {key} AND {side}
            ORDER BY seq {order} LIMIT ?4"
        )
    }
}

/// A piece of one index.
struct Scan {
    found: Vec<(i64, String)>,
    /// The last number looked at, when the bound ended it and not the end of the index.
    ended_at: Option<i64>,
}

impl ReadTx {
    /// Events with numbers above `after`, oldest first. Followers pass the number of the last
    /// event they have seen; a page shorter than `limit` is the end for now. Looks on until it has
    /// that many: who serves strangers asks for [`Self::events_page`].
    pub fn events(
        &self,
        filter: &EventFilter,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Event>, StoreError> {
        self.all_of(filter, EventsFrom::After(after), limit)
    }

    /// Events with numbers below `before`, newest first; as [`Self::events`].
    pub fn recent_events(
        &self,
        filter: &EventFilter,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Event>, StoreError> {
        self.all_of(filter, EventsFrom::Before(before.unwrap_or(u64::MAX)), limit)
    }

    fn all_of(
        &self,
        filter: &EventFilter,
        from: EventsFrom,
        limit: usize,
    ) -> Result<Vec<Event>, StoreError> {
        let limit = limit.min(PAGE_MAX);
        let (mut from, mut found) = (from, Vec::new());
        while found.len() < limit {
            let page = self.events_page(filter, from, limit - found.len())?;
            found.extend(page.events);
            if !page.more {
                break;
            }
            from = match from {
                EventsFrom::After(_) => EventsFrom::After(page.reached),
                EventsFrom::Before(_) => EventsFrom::Before(page.reached),
            };
        }
        Ok(found)
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

    /// At most `limit` events, found by looking at a bounded number of rows.
    pub fn events_page(
        &self,
        filter: &EventFilter,
        from: EventsFrom,
        limit: usize,
    ) -> Result<EventsPage, StoreError> {
        let limit = limit.min(PAGE_MAX);
        let scan = match By::of(filter) {
            // One index for each of several kinds.
            By::Kind => self.scan_kinds(filter, from, limit + 1)?,
            by => {
                let deployment = filter.deployment.map(|id| id.to_string());
                let env = filter.env.as_ref().map(EnvName::as_str);
                let app = filter.app.as_ref().map(AppName::as_str);
                let keys = match by {
                    By::Deployment => [deployment.as_deref(), None],
                    By::EnvAndApp => [env, app],
                    By::Env => [env, None],
                    By::App => [app, None],
                    By::Kind | By::Number => [None, None],
                };
                self.scan(by, keys, filter, from, limit + 1)?
            }
        };
        let Scan { mut found, ended_at } = scan;
        let cut = found.len() > limit;
        found.truncate(limit);
        let last = found.last().map(|(seq, _)| *seq);
        let reached = match (cut, ended_at, from) {
            (true, _, EventsFrom::After(seq) | EventsFrom::Before(seq)) => {
                last.map_or(seq, unsigned)
            }
            (false, Some(at), _) => unsigned(at),
            (false, None, EventsFrom::After(seq)) => self.latest_event()?.max(seq),
            (false, None, EventsFrom::Before(_)) => 0,
        };
        let event = |(seq, body): (i64, String)| {
            let event: Event = parse("event", &body)?;
            Ok(Event { seq: unsigned(seq), ..event })
        };
        let events = found.into_iter().map(event).collect::<Result<_, StoreError>>()?;
        Ok(EventsPage { events, reached, more: cut || ended_at.is_some() })
    }

    fn scan_kinds(
        &self,
        filter: &EventFilter,
        from: EventsFrom,
        limit: usize,
    ) -> Result<Scan, StoreError> {
        let mut found = Vec::new();
        let kinds: BTreeSet<String> = filter.kinds.iter().map(|kind| word(*kind)).collect();
        for kind in kinds {
            found.extend(self.scan(By::Kind, [Some(&kind), None], filter, from, limit)?.found);
        }
        match from {
            EventsFrom::After(_) => found.sort_by_key(|(seq, _)| *seq),
            EventsFrom::Before(_) => found.sort_by_key(|(seq, _)| Reverse(*seq)),
        }
        Ok(Scan { found, ended_at: None })
    }

    fn scan(
        &self,
        by: By,
        keys: [Option<&str>; 2],
        filter: &EventFilter,
        from: EventsFrom,
        limit: usize,
    ) -> Result<Scan, StoreError> {
        let (EventsFrom::After(bound) | EventsFrom::Before(bound)) = from;
        let kinds: Vec<String> = filter.kinds.iter().map(|kind| word(*kind)).collect();
        let env = filter.env.as_ref().map(EnvName::as_str);
        let app = filter.app.as_ref().map(AppName::as_str);
        let mut statement = self.conn().prepare_cached(&by.sql(from))?;
        let most = signed(LOOKED_AT_MAX as u64);
        let mut rows = statement.query(params![keys[0], keys[1], signed(bound), most])?;
        let (mut found, mut looked_at, mut last) = (Vec::new(), 0, 0);
        while found.len() < limit
            && let Some(row) = rows.next()?
        {
            looked_at += 1;
            last = row.get(0)?;
            let is = |column: usize, wanted: &str| -> rusqlite::Result<bool> {
                Ok(row.get_ref(column)?.as_str_or_null()? == Some(wanted))
            };
            let mut wanted = kinds.is_empty();
            for kind in &kinds {
                wanted = wanted || is(1, kind)?;
            }
            for (column, name) in [(2, env), (3, app)] {
                wanted = wanted && name.map_or(Ok(true), |name| is(column, name))?;
            }
            if wanted {
                found.push((last, row.get(4)?));
            }
        }
        let bounded = looked_at == LOOKED_AT_MAX && found.len() < limit;
        Ok(Scan { found, ended_at: bounded.then_some(last) })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregates::query_plan;

    /// Whatever is asked for: an index, no sorting, no reading of what is not asked for.
    #[test]
    fn every_list_of_events_is_found_by_an_index_of_its_own() {
        for (by, index) in [
            (By::Deployment, "INDEX events_deployment (deployment=? AND seq"),
            (By::EnvAndApp, "INDEX events_app (env=? AND app=? AND seq"),
            (By::Env, "INDEX events_env (env=? AND seq"),
            (By::App, "INDEX events_name (app=? AND seq"),
            (By::Kind, "INDEX events_kind (kind=? AND seq"),
            (By::Number, "INTEGER PRIMARY KEY (rowid"),
        ] {
            for (from, side) in [(EventsFrom::After(9), ">?)"), (EventsFrom::Before(9), "<?)")] {
                let plan = query_plan(&by.sql(from), 4);
                assert_eq!(plan, [format!("SEARCH events USING {index}{side}")], "{by:?}");
            }
        }
    }
}
