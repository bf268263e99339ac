//! Ports: of instances, and stable ones of routes (discovery). Allocated here so that two
//! instances never share one, and a port that was just released is left alone for a while:
//! requests on their way to its former owner must not reach a new one.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use ark_model::route::RouteKey;
use ark_model::{AppName, EnvName, InstanceId};
use jiff::Timestamp;
use rusqlite::params;

use crate::error::StoreError;
use crate::tx::{ReadTx, WriteTx, micros, span_micros};

/// What ports an instance needs.
#[derive(Debug, Clone)]
pub struct PortRequest {
    /// For which instance.
    pub instance: InstanceId,
    /// How many.
    pub count: usize,
    /// From which ports.
    pub range: RangeInclusive<u16>,
    /// How long a released port is left alone: at least the drain time.
    pub hold: Duration,
    /// Ports seen to be taken by somebody else.
    pub avoid: BTreeSet<u16>,
}

impl ReadTx {
    /// The ports that an instance has, in order of allocation within one request.
    pub fn ports_of(&self, instance: InstanceId) -> Result<Vec<u16>, StoreError> {
        let sql = "SELECT port FROM ports WHERE instance = ?1 AND released_at IS NULL
            ORDER BY allocated_at, port";
        self.rows(sql, [instance.to_string()], |row| row.get(0))
    }

    /// The stable port of a route, if it has one.
    pub fn discovery_port(&self, route: &RouteKey) -> Result<Option<u16>, StoreError> {
        let sql = "SELECT port FROM ports WHERE env = ?1 AND app = ?2 AND expose = ?3
            AND instance IS NULL AND released_at IS NULL";
        let params = [route.env.as_str(), route.app.as_str(), &route.expose];
        self.row(sql, params, |row| row.get(0))
    }

    /// All stable ports in use, by route.
    pub fn discovery_ports(&self) -> Result<Vec<(RouteKey, u16)>, StoreError> {
        let sql = "SELECT env, app, expose, port FROM ports
            WHERE instance IS NULL AND released_at IS NULL ORDER BY env, app, expose";
        let rows: Vec<(String, String, String, u16)> =
            self.rows(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
        let route = |(env, app, expose, port): (String, String, String, u16)| {
            let key = format!("{env}/{app}");
            let unreadable = |error: ark_model::NameError| StoreError::Record {
                noun: "discovery port",
                key: key.clone(),
                source: std::sync::Arc::new(serde::de::Error::custom(error)),
            };
            let env: EnvName = env.parse().map_err(unreadable)?;
            let app: AppName = app.parse().map_err(unreadable)?;
            Ok((RouteKey { env, app, expose }, port))
        };
        rows.into_iter().map(route).collect()
    }

    /// Whether nobody has the port, and whoever had it gave it back at least `hold` before `now`.
    fn is_free(&self, port: u16, hold: Duration, now: Timestamp) -> Result<bool, StoreError> {
        let sql = "SELECT released_at IS NULL OR ?2 - released_at < ?3 FROM ports WHERE port = ?1";
        let params = params![port, micros(now), span_micros(hold)];
        let taken: Option<bool> = self.row(sql, params, |row| row.get(0))?;
        Ok(taken != Some(true))
    }
}

impl WriteTx {
    /// Gives an instance ports that nobody has and that were not released within the hold.
    ///
    /// # Errors
    /// [`StoreError::NoPort`] when there are not enough; none is given then.
    pub fn allocate_ports(
        &mut self,
        request: &PortRequest,
        now: Timestamp,
    ) -> Result<Vec<u16>, StoreError> {
        let ports =
            self.free_ports(request.count, &request.range, request.hold, &request.avoid, now)?;
        let sql = "INSERT OR REPLACE INTO ports (port, instance, allocated_at) VALUES (?1, ?2, ?3)";
        for port in &ports {
            let params = params![port, request.instance.to_string(), micros(now)];
            self.change(sql, params)?;
        }
        Ok(ports)
    }

    /// Takes an instance's ports back. Answers how many it had.
    pub fn release_ports(
        &mut self,
        instance: InstanceId,
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        let sql = "UPDATE ports SET released_at = ?2 WHERE instance = ?1 AND released_at IS NULL";
        self.change(sql, params![instance.to_string(), micros(now)])
    }

    /// The stable port of a route: the one it has, else a new one. It is kept until the
    /// environment is deleted.
    ///
    /// # Errors
    /// [`StoreError::NoPort`].
    pub fn allocate_discovery_port(
        &mut self,
        route: &RouteKey,
        range: &RangeInclusive<u16>,
        hold: Duration,
        now: Timestamp,
    ) -> Result<u16, StoreError> {
        if let Some(port) = self.discovery_port(route)? {
            return Ok(port);
        }
        let ports = self.free_ports(1, range, hold, &BTreeSet::new(), now)?;
        let port = ports.into_iter().next().ok_or_else(|| no_port(1, 0, range))?;
        let sql = "INSERT OR REPLACE INTO ports (port, env, app, expose, allocated_at)
            VALUES (?1, ?2, ?3, ?4, ?5)";
        let (env, app) = (route.env.as_str(), route.app.as_str());
        self.change(sql, params![port, env, app, route.expose, micros(now)])?;
        Ok(port)
    }

    /// Searches on from where the last search ended, so that a port rests for as long as possible
    /// before it is used again, whatever the hold. Ascending within one answer, unless the search
    /// came round to the start of the range.
    fn free_ports(
        &mut self,
        count: usize,
        range: &RangeInclusive<u16>,
        hold: Duration,
        avoid: &BTreeSet<u16>,
        now: Timestamp,
    ) -> Result<Vec<u16>, StoreError> {
        let mut free = Vec::new();
        if count == 0 {
            return Ok(free);
        }
        let cursor = u16::try_from(self.counter("port_cursor")?).unwrap_or(0);
        let start = if range.contains(&cursor) { cursor } else { *range.start() };
        // Two plain ranges: from the cursor on, then from the start up to it.
        for port in (start..=*range.end()).chain(*range.start()..start) {
            if !avoid.contains(&port) && self.is_free(port, hold, now)? {
                free.push(port);
                if free.len() == count {
                    self.set_counter("port_cursor", u64::from(port) + 1)?;
                    return Ok(free);
                }
            }
        }
        Err(no_port(count, free.len(), range))
    }
}

fn no_port(wanted: usize, free: usize, range: &RangeInclusive<u16>) -> StoreError {
    StoreError::NoPort { wanted, free, first: *range.start(), last: *range.end() }
}
