//! Traffic counters: totals per instance and route that survive restarts of everything.
//!
//! Gateways report numbers that grow within one life ("boot"). What was last seen of each boot is
//! kept, and only the difference is added, so that a report may be lost, repeated or late without
//! a request being counted twice or not at all.

use std::collections::BTreeMap;

use ark_model::gateway::{Counters, Report, RouteReport, TargetReport};
use ark_model::receipt::Side;
use ark_model::route::RouteKey;
use ark_model::{AppName, BootId, EnvName, InstanceId, ReleaseNumber};
use jiff::Timestamp;
use rusqlite::{Row, params};

use crate::error::StoreError;
use crate::tx::{ReadTx, WriteTx, micros, page, signed, unsigned};

/// A boot's last report is noted to the minute: noting each one would be a write each 250 ms on an
/// idle machine.
const SEEN_AT_EVERY_MICROS: i64 = 60_000_000;

/// What one boot has counted so far for one target, or for requests that reached none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrafficLine {
    /// Which route.
    pub route: RouteKey,
    /// Which instance and its release; `None` for requests that reached none.
    pub target: Option<(InstanceId, ReleaseNumber)>,
    /// Counted since the boot began; the stall is the longest since the last stored report.
    pub counted: Side,
}

/// The totals of one app.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AppTraffic {
    /// Per instance, all its routes together, with the release it runs.
    pub instances: BTreeMap<InstanceId, (ReleaseNumber, Side)>,
    /// Requests that reached no instance, all routes together.
    pub routes: Side,
}

impl ReadTx {
    /// The totals of all instances and routes of an app.
    pub fn traffic(&self, env: &EnvName, app: &AppName) -> Result<AppTraffic, StoreError> {
        let sql = "SELECT served, failed, cut, retried, client_gone, stall_ms, instance, release
            FROM traffic WHERE env = ?1 AND app = ?2";
        let rows: Vec<(Side, String, Option<i64>)> =
            self.rows(sql, [env.as_str(), app.as_str()], |row| {
                Ok((side(row, row.get(5)?)?, row.get(6)?, row.get(7)?))
            })?;
        let mut traffic = AppTraffic::default();
        for (side, instance, release) in rows {
            match instance.parse::<InstanceId>() {
                Ok(id) => {
                    let release = ReleaseNumber(release.map_or(0, unsigned));
                    let entry = traffic.instances.entry(id);
                    entry.or_insert((release, Side::default())).1.add(&side);
                }
                // Only rows without an instance have no id.
                Err(_) => traffic.routes.add(&side),
            }
        }
        Ok(traffic)
    }
}

impl WriteTx {
    /// Adds what a gateway reported, the last counters of killed gateways included: what was in
    /// flight in those was cut.
    pub fn apply_report(&mut self, report: &Report, now: Timestamp) -> Result<(), StoreError> {
        for lost in &report.lost {
            let targets = lost.targets.iter().map(|target| {
                let mut line = target_line(target);
                line.counted.cut += u64::from(target.in_flight) + u64::from(target.streams);
                line
            });
            let lines: Vec<_> = targets.chain(lost.routes.iter().map(route_line)).collect();
            self.apply_traffic(lost.boot, &lines, now)?;
        }
        let targets = report.targets.iter().map(target_line);
        let lines: Vec<_> = targets.chain(report.routes.iter().map(route_line)).collect();
        self.apply_traffic(report.boot, &lines, now)?;
        Ok(())
    }

    /// Adds to the totals what each line has more than was last seen of its boot. Answers what was
    /// added, in the order of `lines`. Lines of environments that do not exist any more count
    /// nothing.
    pub fn apply_traffic(
        &mut self,
        boot: BootId,
        lines: &[TrafficLine],
        now: Timestamp,
    ) -> Result<Vec<Side>, StoreError> {
        let boot = boot.to_string();
        let sql = "INSERT INTO traffic_boots (boot, seen_at) VALUES (?1, ?2)
            ON CONFLICT (boot) DO UPDATE SET seen_at = excluded.seen_at
            WHERE excluded.seen_at - seen_at > ?3";
        self.change(sql, params![boot, micros(now), SEEN_AT_EVERY_MICROS])?;
        lines.iter().map(|line| self.apply_line(&boot, line, now)).collect()
    }

    fn apply_line(
        &mut self,
        boot: &str,
        line: &TrafficLine,
        now: Timestamp,
    ) -> Result<Side, StoreError> {
        let (env, app) = (line.route.env.as_str(), line.route.app.as_str());
        let expose = &line.route.expose;
        let instance = line.target.map_or_else(String::new, |(id, _)| id.to_string());
        let sql = "SELECT served, failed, cut, retried, client_gone FROM traffic_seen
            WHERE boot = ?1 AND env = ?2 AND app = ?3 AND expose = ?4 AND instance = ?5";
        let key = params![boot, env, app, expose, instance];
        let seen = self.row(sql, key, |row| side(row, 0))?.unwrap_or_default();
        // Counters only grow: a smaller one is from an older report that came late.
        let added = line.counted.since(&seen);
        if added == Side::default() {
            return Ok(added);
        }
        if self.row("SELECT 1 FROM environments WHERE name = ?1", [env], |_| Ok(()))?.is_none() {
            return Ok(Side::default());
        }
        let counts = Side { longest_stall_ms: 0, ..added.clone() } != Side::default();
        if counts {
            self.note_seen(boot, line, &instance)?;
        }
        let sql = "INSERT INTO traffic (env, app, expose, instance, release,
                served, failed, cut, retried, client_gone, stall_ms, updated_at)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
            ON CONFLICT (env, app, expose, instance) DO UPDATE SET
                served = served + excluded.served,
                failed = failed + excluded.failed,
                cut = cut + excluded.cut,
                retried = retried + excluded.retried,
                client_gone = client_gone + excluded.client_gone,
                stall_ms = max(stall_ms, excluded.stall_ms),
                updated_at = excluded.updated_at
            WHERE ?13 OR excluded.stall_ms > stall_ms";
        let params = params![
            env,
            app,
            expose,
            instance,
            line.target.map(|(_, release)| signed(release.0)),
            signed(added.served),
            signed(added.failed),
            signed(added.cut),
            signed(added.retried),
            signed(added.client_gone),
            signed(added.longest_stall_ms),
            micros(now),
            counts,
        ];
        self.change(sql, params)?;
        Ok(added)
    }

    fn note_seen(
        &mut self,
        boot: &str,
        line: &TrafficLine,
        instance: &str,
    ) -> Result<(), StoreError> {
        let sql = "INSERT INTO traffic_seen (boot, env, app, expose, instance,
                served, failed, cut, retried, client_gone)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
            ON CONFLICT (boot, env, app, expose, instance) DO UPDATE SET
                served = max(served, excluded.served),
                failed = max(failed, excluded.failed),
                cut = max(cut, excluded.cut),
                retried = max(retried, excluded.retried),
                client_gone = max(client_gone, excluded.client_gone)";
        let params = params![
            boot,
            line.route.env.as_str(),
            line.route.app.as_str(),
            line.route.expose,
            instance,
            signed(line.counted.served),
            signed(line.counted.failed),
            signed(line.counted.cut),
            signed(line.counted.retried),
            signed(line.counted.client_gone),
        ];
        self.change(sql, params)?;
        Ok(())
    }

    /// Forgets the longest stalls of an app, so that those of its next deployment stand alone.
    pub fn reset_stalls(&mut self, env: &EnvName, app: &AppName) -> Result<(), StoreError> {
        let sql = "UPDATE traffic SET stall_ms = 0 WHERE env = ?1 AND app = ?2 AND stall_ms > 0";
        self.change(sql, [env.as_str(), app.as_str()])?;
        Ok(())
    }

    /// Forgets totals of instances whose records are gone and that were last counted before an
    /// instant (at most `limit`), and boots last heard of before it. `reporting` is the gateway
    /// that reports now: it is never forgotten, or its counters would be added once more.
    pub fn prune_traffic(
        &mut self,
        before: Timestamp,
        reporting: BootId,
        limit: usize,
    ) -> Result<usize, StoreError> {
        let sql = "DELETE FROM traffic_boots WHERE seen_at < ?1 AND boot <> ?2";
        self.change(sql, params![micros(before), reporting.to_string()])?;
        let sql = "DELETE FROM traffic WHERE (env, app, expose, instance) IN (
                SELECT env, app, expose, instance FROM traffic
                WHERE instance <> '' AND updated_at < ?1
                    AND instance NOT IN (SELECT id FROM instances)
                LIMIT ?2)";
        self.change(sql, params![micros(before), page(limit)])
    }
}

/// A row that begins with the five counters.
fn side(row: &Row<'_>, stall_ms: i64) -> rusqlite::Result<Side> {
    Ok(Side {
        served: unsigned(row.get(0)?),
        failed: unsigned(row.get(1)?),
        cut: unsigned(row.get(2)?),
        retried: unsigned(row.get(3)?),
        client_gone: unsigned(row.get(4)?),
        longest_stall_ms: unsigned(stall_ms),
    })
}

fn counted(counters: &Counters) -> Side {
    Side {
        served: counters.served,
        failed: counters.failed,
        cut: counters.cut,
        retried: counters.retried,
        client_gone: counters.client_gone,
        longest_stall_ms: counters.stall_max_ms,
    }
}

fn target_line(report: &TargetReport) -> TrafficLine {
    TrafficLine {
        route: report.route.clone(),
        target: Some((report.instance, report.release)),
        counted: counted(&report.counters),
    }
}

fn route_line(report: &RouteReport) -> TrafficLine {
    TrafficLine { route: report.route.clone(), target: None, counted: counted(&report.counters) }
}
