//! What the gateway said: readiness, admissions, requests inside, and recent traffic. Filled by
//! `gateway_link`, read by the tasks and the API. All of it is observation and is lost with the
//! process; what must not be lost (the counters of receipts, what was measured for the judge) is
//! written to the store by the link.

mod measuring;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ark_gateway::metrics::Totals;
use ark_model::gateway::{
    CallReport, CallerSeen, Counters, Readiness, Report, RouteReport, TargetReport,
};
use ark_model::route::{RouteKey, RouteTable, TargetState};
use ark_model::{AppName, BootId, EnvName, Generation, InstanceId, ReleaseNumber};
use ark_planner::{Admission, ProbeSeen, ShareSeen};
use jiff::Timestamp;
use tokio::sync::watch;

use crate::measures::{Measures, Place};
use crate::recent_traffic::{AppTraffic, Flow, Flows, Recent};
use crate::tables_under_way::{Splits, TablesUnderWay, splits};

/// How many callers of apps are kept until they are taken.
const HEARD_MAX: usize = 8_192;

/// Whether and which gateway is connected.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GatewayStatus {
    /// Whether the link stands.
    pub connected: bool,
    /// The connected (or last connected) life of the gateway.
    pub boot: Option<BootId>,
    /// Its process.
    pub pid: Option<i32>,
    /// Where it accepts HTTP.
    pub http: Vec<SocketAddr>,
    /// Since when the link stands, or is down.
    pub since: Option<Timestamp>,
    /// The generation it acknowledged.
    pub acknowledged: Option<Generation>,
    /// Why the last table was refused, when it was.
    pub refused: Option<String>,
}

/// An app in an environment.
pub type AppKey = (EnvName, AppName);

/// See the module.
#[derive(Debug)]
pub struct Observations {
    inner: Mutex<Inner>,
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Inner {
    gateway: GatewayStatus,
    /// What the acknowledged table says; `None` before there is one.
    admitted: Option<HashMap<InstanceId, Admitted>>,
    /// How the acknowledged table divides the traffic of apps.
    splits: Splits,
    under_way: TablesUnderWay,
    /// Measurements of apps that are judged.
    measures: HashMap<AppKey, Measures>,
    /// Apps that are no longer judged, and whose measurements the store still keeps.
    unmeasured: BTreeSet<AppKey>,
    /// When the gateway last said what it had counted.
    reported: Option<Timestamp>,
    /// When measurements were last written down.
    measures_saved: Option<Timestamp>,
    /// By instance and `expose` entry.
    targets: HashMap<InstanceId, BTreeMap<String, TargetSeen>>,
    /// Requests that were held and have not ended, of apps that have any; `None` until a report came
    /// under the table in force.
    held: Option<HashMap<AppKey, u32>>,
    /// Apps of which it was asked in vain, and those that had any under the table before.
    held_asked: HashSet<AppKey>,
    traffic: BTreeMap<AppKey, Recent>,
    /// All apps of an environment together; by no release, theirs have nothing to do with each other.
    together: BTreeMap<EnvName, Recent>,
    /// All of them together, those that are gone by now among them.
    everywhere: Recent,
    last: HashMap<(BootId, RouteKey, Option<InstanceId>), Last>,
    dirty: HashSet<AppKey>,
    /// Apps whose instances are started by requests, and when the last request was seen.
    used: HashMap<AppKey, Option<Timestamp>>,
    /// Who was heard to call an app since that was last taken, and when.
    heard: HashMap<(CallerSeen, AppKey), Timestamp>,
    /// Sums for who asks for metrics.
    totals: Totals,
}

/// A report's last word.
#[derive(Debug)]
struct Last {
    release: Option<ReleaseNumber>,
    counters: Counters,
}

#[derive(Debug)]
struct Admitted {
    key: AppKey,
    admission: Admission,
    /// Whether a report came since the admission became this, so that "0 inside" means what it
    /// says.
    settled: bool,
}

#[derive(Debug)]
struct TargetSeen {
    key: AppKey,
    readiness: Option<Readiness>,
    inside: u32,
}

impl Default for Observations {
    fn default() -> Self {
        Self { inner: Mutex::default(), changed: watch::channel(0).0 }
    }
}

impl Observations {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Every change below is complete before it could panic; a poisoned lock hides nothing.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes when something changed that a plan may depend on.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn notify(&self) {
        self.changed.send_modify(|n| *n += 1);
    }

    /// The apps about which something changed since the last call.
    pub fn take_dirty(&self) -> HashSet<AppKey> {
        std::mem::take(&mut self.inner().dirty)
    }

    /// The gateway as known.
    pub fn gateway(&self) -> GatewayStatus {
        self.inner().gateway.clone()
    }

    /// Whether the link to a gateway stands.
    pub fn is_connected(&self) -> bool {
        self.inner().gateway.connected
    }

    /// The link stands; nothing is known of the gateway's targets yet.
    pub fn connected(&self, boot: BootId, pid: i32, http: Vec<SocketAddr>, now: Timestamp) {
        let mut inner = self.inner();
        inner.forget_targets();
        inner.measures.values_mut().for_each(|measures| measures.connected(boot));
        inner.gateway = GatewayStatus {
            connected: true,
            boot: Some(boot),
            pid: Some(pid),
            http,
            since: Some(now),
            acknowledged: None,
            refused: None,
        };
        drop(inner);
        self.notify();
    }

    /// The link is down; what it had said no longer holds.
    pub fn disconnected(&self, now: Timestamp) {
        let mut inner = self.inner();
        inner.forget_targets();
        if inner.gateway.connected {
            inner.gateway.since = Some(now);
        }
        inner.gateway.connected = false;
        inner.gateway.acknowledged = None;
        drop(inner);
        self.notify();
    }

    /// A table is in force.
    pub fn acknowledged(&self, table: &RouteTable) {
        let mut inner = self.inner();
        let mut before = inner.admitted.take().unwrap_or_default();
        let mut now = HashMap::new();
        for route in &table.routes {
            for target in &route.targets {
                let admission = match target.state {
                    TargetState::Candidate => Admission::Candidate,
                    TargetState::Active { .. } => Admission::Active,
                    TargetState::Draining { .. } => Admission::Draining,
                };
                // An instance with several routes stands there several times, always the same.
                if now.contains_key(&target.instance) {
                    continue;
                }
                let unchanged =
                    before.remove(&target.instance).filter(|known| known.admission == admission);
                let admitted = unchanged.unwrap_or_else(|| {
                    let key = (route.key.env.clone(), route.key.app.clone());
                    inner.dirty.insert(key.clone());
                    Admitted { key, admission, settled: false }
                });
                now.insert(target.instance, admitted);
            }
        }
        inner.dirty.extend(before.into_values().map(|gone| gone.key));
        inner.divide(table);
        inner.admitted = Some(now);
        inner.hold_anew();
        inner.gateway.acknowledged = Some(table.generation);
        inner.gateway.refused = None;
        inner.under_way.acknowledged(table.generation);
        inner.answer();
        drop(inner);
        self.notify();
    }

    /// A table was refused; the one before stays in force.
    pub fn refused(&self, generation: Generation, reason: String) {
        let mut inner = self.inner();
        inner.gateway.refused = Some(reason);
        inner.under_way.refused(generation);
        inner.answer();
        drop(inner);
        self.notify();
    }

    /// The records of these apps are about to be read for the next table.
    pub(crate) fn building(&self, apps: &BTreeSet<AppKey>) {
        self.inner().under_way.building(apps);
    }

    /// They were read; this table is pushed, or none when nothing has changed.
    pub(crate) fn built(&self, table: Option<&RouteTable>) {
        let mut inner = self.inner();
        inner.under_way.built(table);
        if inner.answer() {
            drop(inner);
            self.notify();
        }
    }

    /// A report came in.
    pub fn report(&self, report: &Report, now: Timestamp) {
        let mut inner = self.inner();
        inner.totals.take_in(report);
        if report.applied == inner.gateway.acknowledged {
            inner.settle();
            inner.hold(&report.routes);
        }
        for target in &report.targets {
            let seen =
                inner.targets.get(&target.instance).and_then(|s| s.get(&target.route.expose));
            let was_inside = seen.is_some_and(|seen| seen.inside > 0);
            inner.target(target);
            let key = (target.route.env.clone(), target.route.app.clone());
            let last = (report.boot, target.route.clone(), Some(target.instance));
            inner.measure(&key, target, report.boot, now);
            if was_inside || target.in_flight + target.streams > 0 {
                inner.use_(&key, now);
            }
            inner.count((key.clone(), Some(target.release)), last, &target.counters, now);
            if target.readiness.is_none() && target.in_flight == 0 && target.streams == 0 {
                inner.last.remove(&(report.boot, target.route.clone(), Some(target.instance)));
                inner.forget(target.instance, &target.route.expose);
                if let Some(measures) = inner.measures.get_mut(&key) {
                    measures.gone(&Place::of(target, report.boot));
                }
            }
        }
        for route in &report.routes {
            let key = (route.route.env.clone(), route.route.app.clone());
            if route.held > 0 {
                inner.use_(&key, now);
                if inner.used.contains_key(&key) {
                    inner.dirty.insert(key.clone());
                }
            }
            let place = (report.boot, route.route.clone(), None);
            inner.count((key, None), place, &route.counters, now);
        }
        inner.reported = Some(now);
        inner.measures.values_mut().for_each(|measures| measures.reported(now));
        for call in &report.calls {
            inner.hear(call, now);
        }
        let changed = !inner.dirty.is_empty();
        drop(inner);
        if changed {
            self.notify();
        }
    }

    /// What the gateway measured, in Prometheus's text format.
    pub fn metrics(&self) -> String {
        self.inner().totals.render()
    }

    /// Readiness of an instance over the `expose` entries that are checked.
    pub fn probe(&self, id: InstanceId, checked: &[String]) -> Option<ProbeSeen> {
        let inner = self.inner();
        let targets = inner.targets.get(&id)?;
        let mut all: Option<ProbeSeen> = None;
        for expose in checked {
            let readiness = targets.get(expose)?.readiness.as_ref()?;
            let one = ProbeSeen {
                ready: readiness.ready,
                since: readiness.since,
                last_failure: readiness.last_failure.clone(),
            };
            all = Some(match all {
                Some(a) if !a.ready => a,
                Some(a) if one.ready && a.since > one.since => a,
                _ => one,
            });
        }
        all
    }

    /// Readiness of an instance on any of its ports, the worst first.
    pub fn readiness(&self, id: InstanceId) -> Option<Readiness> {
        let inner = self.inner();
        inner
            .targets
            .get(&id)?
            .values()
            .filter_map(|seen| seen.readiness.clone())
            .min_by_key(|r| (r.ready, std::cmp::Reverse(r.since)))
    }

    /// Whether an instance passes its checks on all of its ports, as far as they were told of.
    pub(crate) fn is_ready(&self, id: InstanceId) -> bool {
        let inner = self.inner();
        let Some(ports) = inner.targets.get(&id) else { return false };
        let mut checked = ports.values().filter_map(|seen| seen.readiness.as_ref()).peekable();
        checked.peek().is_some() && checked.all(|readiness| readiness.ready)
    }

    /// When a request of the app was last seen waiting, inside or done; `None` when none was since this
    /// was first asked. From then on the app is looked at when a request waits.
    pub fn last_used(&self, key: &AppKey) -> Option<Timestamp> {
        *self.inner().used.entry(key.clone()).or_insert(None)
    }

    /// Who was heard to call an app since the last time, and when.
    pub(crate) fn take_heard(&self) -> HashMap<(CallerSeen, AppKey), Timestamp> {
        std::mem::take(&mut self.inner().heard)
    }

    /// Environments are gone: their recent traffic is nobody's any more.
    pub fn forget_environments(&self, gone: &[EnvName]) {
        let mut inner = self.inner();
        inner.traffic.retain(|(env, _), _| !gone.contains(env));
        inner.together.retain(|env, _| !gone.contains(env));
        inner.measures.retain(|(env, _), _| !gone.contains(env));
        inner.unmeasured.retain(|(env, _)| !gone.contains(env));
        inner.used.retain(|(env, _), _| !gone.contains(env));
    }

    /// What the table in force does with an instance.
    pub fn admission(&self, id: InstanceId) -> Admission {
        match &self.inner().admitted {
            None => Admission::Unknown,
            Some(admitted) => admitted.get(&id).map_or(Admission::Absent, |a| a.admission),
        }
    }

    /// Requests and streams inside an instance; `None` until a report came after the table that
    /// says of it what the one in force says was acknowledged.
    pub fn in_flight(&self, id: InstanceId) -> Option<u32> {
        let inner = self.inner();
        inner.admitted.as_ref()?.get(&id).filter(|admitted| admitted.settled)?;
        Some(inner.targets.get(&id).map_or(0, |seen| seen.values().map(|s| s.inside).sum()))
    }

    /// Requests of an app that were held and have not ended; `None` until a report came under the table
    /// in force, which then is a reason to look at the app.
    pub fn held(&self, key: &AppKey) -> Option<u32> {
        let mut inner = self.inner();
        let held = inner.held.as_ref().map(|held| held.get(key).copied().unwrap_or(0));
        if held.is_none() {
            inner.held_asked.insert(key.clone());
        }
        held
    }

    /// How the table in force divides the traffic of an app; unknown while one that divides it
    /// otherwise may have taken its place.
    pub fn share(&self, key: &AppKey) -> ShareSeen {
        let mut inner = self.inner();
        let inner = &mut *inner;
        let split = inner.splits.get(key);
        if !inner.under_way.certain(key, split) {
            return ShareSeen::Unknown;
        }
        match (&inner.admitted, split) {
            (None, _) => ShareSeen::Unknown,
            (Some(_), None) => ShareSeen::Even,
            (Some(_), Some(split)) => ShareSeen::Of(split.canary, crate::shares::share(split)),
        }
    }

    /// Recent traffic of an app.
    pub fn traffic(&self, env: &EnvName, app: &AppName, now: Timestamp) -> AppTraffic {
        let inner = self.inner();
        let recent = inner.traffic.get(&(env.clone(), app.clone()));
        recent.map(|recent| recent.sum(now)).unwrap_or_default()
    }

    /// Recent traffic of an app by release, in slices of `slice_s` seconds.
    pub(crate) fn flows(&self, key: &AppKey, slice_s: i64) -> BTreeMap<i64, Flows> {
        self.inner().traffic.get(key).map(|recent| recent.flows(slice_s)).unwrap_or_default()
    }

    /// Recent traffic of all apps of an environment together, in slices of `slice_s` seconds.
    pub(crate) fn flows_together(&self, env: &EnvName, slice_s: i64) -> BTreeMap<i64, Flows> {
        self.inner().together.get(env).map(|recent| recent.flows(slice_s)).unwrap_or_default()
    }

    /// The same of all environments.
    pub(crate) fn flows_everywhere(&self, slice_s: i64) -> BTreeMap<i64, Flows> {
        self.inner().everywhere.flows(slice_s)
    }
}

impl Inner {
    fn forget_targets(&mut self) {
        let seen = self.targets.drain().flat_map(|(_, seen)| seen.into_values());
        self.dirty.extend(seen.map(|seen| seen.key));
        self.dirty.extend(self.admitted.take().into_iter().flatten().map(|(_, a)| a.key));
        self.splits.clear();
        self.under_way.clear();
        self.last.clear();
        self.hold_anew();
    }

    /// Those who asked in vain how their traffic is divided look again. Says whether there are any.
    fn answer(&mut self) -> bool {
        let answered = self.under_way.answered(&self.splits);
        let any = !answered.is_empty();
        self.dirty.extend(answered);
        any
    }

    /// Remembers how a table divides the traffic.
    fn divide(&mut self, table: &RouteTable) {
        let now = splits(table);
        let gone = self.splits.keys().filter(|key| !now.contains_key(*key)).cloned();
        let changed = now.iter().filter(|(key, split)| self.splits.get(*key) != Some(*split));
        let dirty: Vec<AppKey> = gone.chain(changed.map(|(key, _)| key.clone())).collect();
        self.dirty.extend(dirty);
        self.splits = now;
    }

    /// Who is held is to be told again. Whoever was may have ended by then: that is looked at too.
    fn hold_anew(&mut self) {
        self.held_asked.extend(self.held.take().into_iter().flat_map(HashMap::into_keys));
    }

    /// A report came under the table in force. Plans wait for held requests to end.
    fn hold(&mut self, routes: &[RouteReport]) {
        let key = |route: &RouteReport| (route.route.env.clone(), route.route.app.clone());
        let mut now: HashMap<AppKey, u32> = HashMap::new();
        for route in routes {
            let held = route.held.saturating_add(route.held_inside);
            if held > 0 {
                *now.entry(key(route)).or_default() += held;
            }
        }
        match &self.held {
            Some(before) => {
                let over = before.keys().filter(|key| !now.contains_key(*key));
                self.dirty.extend(over.cloned());
            }
            None => self.dirty.extend(self.held_asked.drain()),
        }
        self.held = Some(now);
    }

    /// A report came under the table in force. Plans wait for that where something drains.
    fn settle(&mut self) {
        for admitted in self.admitted.iter_mut().flat_map(HashMap::values_mut) {
            if !admitted.settled && admitted.admission == Admission::Draining {
                self.dirty.insert(admitted.key.clone());
            }
            admitted.settled = true;
        }
    }

    fn forget(&mut self, id: InstanceId, expose: &str) {
        if let Some(seen) = self.targets.get_mut(&id) {
            seen.remove(expose);
            if seen.is_empty() {
                self.targets.remove(&id);
            }
        }
    }

    fn target(&mut self, target: &TargetReport) {
        let key = (target.route.env.clone(), target.route.app.clone());
        let inside = target.in_flight.saturating_add(target.streams);
        let seen = self.targets.entry(target.instance).or_default();
        let old = seen.get(&target.route.expose);
        let same_readiness = old.is_some_and(|o| {
            let pair = |r: &Option<Readiness>| r.as_ref().map(|r| (r.ready, r.since));
            pair(&o.readiness) == pair(&target.readiness)
        });
        // A plan cares for the number inside only when it becomes none.
        let emptied = inside == 0 && old.is_none_or(|o| o.inside > 0);
        if !same_readiness || emptied {
            self.dirty.insert(key.clone());
        }
        let new = TargetSeen { key, readiness: target.readiness.clone(), inside };
        seen.insert(target.route.expose.clone(), new);
    }

    /// Adds to the measurements of an app that is judged; before the counters are remembered.
    fn measure(&mut self, key: &AppKey, target: &TargetReport, boot: BootId, now: Timestamp) {
        let Some(measures) = self.measures.get_mut(key) else { return };
        let last = self.last.get(&(boot, target.route.clone(), Some(target.instance)));
        let before = last.map(|last| &last.counters);
        let counted = (target.release, &target.counters);
        measures.take(Place::of(target, boot), counted, before, now);
    }

    /// Somebody was seen calling an app. Nothing that is planned depends on it.
    fn hear(&mut self, call: &CallReport, now: Timestamp) {
        let key = (call.caller, (call.route.env.clone(), call.route.app.clone()));
        if self.heard.len() >= HEARD_MAX && !self.heard.contains_key(&key) {
            return;
        }
        // Of the same machine, but the clock may have been set.
        let seen = call.seen.min(now);
        let last = self.heard.entry(key).or_insert(seen);
        *last = seen.max(*last);
    }

    /// A request of the app was seen.
    fn use_(&mut self, key: &AppKey, now: Timestamp) {
        if let Some(last) = self.used.get_mut(key) {
            *last = Some(now);
        }
    }

    fn count(
        &mut self,
        (key, release): (AppKey, Option<ReleaseNumber>),
        place: (BootId, RouteKey, Option<InstanceId>),
        counters: &Counters,
        now: Timestamp,
    ) {
        let known = self.last.insert(place, Last { release, counters: counters.clone() });
        // After a reconnection the first report says all since the gateway's start; that is not
        // traffic of this moment.
        let Some(Last { counters: last, .. }) = known else { return };
        let served = counters.served.saturating_sub(last.served);
        let failed = (counters.failed + counters.cut).saturating_sub(last.failed + last.cut);
        if served + failed == 0 {
            return;
        }
        self.use_(&key, now);
        let latency_us = counters.latency_us.since(&last.latency_us);
        let flow = Flow { served, failed, latency_us };
        self.together.entry(key.0.clone()).or_default().add(None, &flow, now);
        self.everywhere.add(None, &flow, now);
        self.traffic.entry(key).or_default().add(release, &flow, now);
    }
}
