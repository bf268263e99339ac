//! From route tables to what worker threads read: gives routes and targets their numbers, keeps
//! what outlives a table (readiness, counters), and says what of it can be forgotten. Owned by the
//! control thread alone. Decides nothing about files, sockets or time.

use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use ark_model::gateway::{RouteReport, TargetReport};
use ark_model::ids::InstanceId;
use ark_model::route::{
    Probe, ProbeCheck, ROUTES_MAX, Route as RouteSpec, RouteKey, RouteProtocol, RouteTable,
    TARGETS_MAX, Target as ModelTarget, TargetState,
};
use ark_model::traffic::{MAINTENANCE_PAGE_BYTES_MAX, RULE_BYTES_MAX, RULES_MAX, RequestRule};

use crate::clock::Clock;
use crate::conductor::PortUse;
use crate::counters::{self, Cells, Stalls};
use crate::limiter::RouteShared;
use crate::table::{Active, Route, RouteEntry, RouteSlot, Table};
use crate::target::{DrainDeadlines, Target, TargetSpec};
use crate::wire::is_token;
use crate::worker::Changes;

/// See the module.
#[derive(Debug)]
pub(crate) struct Registry {
    workers: usize,
    clock: Clock,
    routes: HashMap<RouteKey, RouteRecord>,
    /// The keys of those, by their numbers.
    keys: HashMap<RouteSlot, RouteKey>,
    /// Numbers of routes given so far. None is given twice: a connection that came through a
    /// route's own port knows it by its number, and must never find another app there.
    route_count: u32,
    targets: HashMap<(RouteSlot, InstanceId), TargetRecord>,
    /// No longer in the table; kept until their last counters are stored.
    gone: Vec<GoneTarget>,
    slots: Slots,
}

/// Numbers of targets.
#[derive(Debug, Default)]
struct Slots {
    count: usize,
    free: Vec<usize>,
    /// Not used any more, but workers may still keep something under them.
    forgetting: Vec<usize>,
    /// Workers are being told to forget them.
    told: Vec<usize>,
}

#[derive(Debug)]
struct RouteRecord {
    slot: RouteSlot,
    cells: Arc<[Cells]>,
    shared: Arc<RouteShared>,
    stalls: Stalls,
    /// Reports made since it left the table; `None` while it is in it.
    reports_since_gone: Option<u32>,
    last_report: Option<u64>,
}

#[derive(Debug)]
struct TargetRecord {
    target: Arc<Target>,
    stalls: Stalls,
}

#[derive(Debug)]
struct GoneTarget {
    record: TargetRecord,
    /// The first report made when it was gone and nothing was open there.
    last_report: Option<u64>,
}

/// A compiled table and what it means for workers.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) table: Arc<Table>,
    pub(crate) changes: Arc<Changes>,
    /// All targets with how they are probed.
    pub(crate) probed: Vec<Probed>,
    /// Ports of routes' own.
    pub(crate) ports: HashMap<SocketAddr, PortUse>,
}

/// A target to be probed.
#[derive(Debug, Clone)]
pub(crate) struct Probed {
    pub(crate) target: Arc<Target>,
    pub(crate) probe: Probe,
    /// The `Host` of an HTTP probe.
    pub(crate) host: Arc<str>,
    /// Whether it is asked in HTTP/2.
    pub(crate) speaks_h2: bool,
}

impl Registry {
    pub(crate) fn new(workers: usize, clock: Clock) -> Self {
        Self {
            workers,
            clock,
            routes: HashMap::new(),
            keys: HashMap::new(),
            route_count: 0,
            targets: HashMap::new(),
            gone: Vec::new(),
            slots: Slots::default(),
        }
    }

    /// Whether `table` can be served; if not, why.
    pub(crate) fn check(table: &RouteTable) -> Result<(), String> {
        let targets: usize = table.routes.iter().map(|route| route.targets.len()).sum();
        if table.routes.len() > ROUTES_MAX || targets > TARGETS_MAX {
            return Err(format!(
                "{} routes and {targets} targets are too many",
                table.routes.len()
            ));
        }
        let (mut keys, mut places, mut ports) = (HashSet::new(), HashSet::new(), HashSet::new());
        for route in &table.routes {
            let name = format!("route {}/{}/{}", route.key.env, route.key.app, route.key.expose);
            if !keys.insert(&route.key) {
                return Err(format!("{name} stands there twice"));
            }
            if !route.path.starts_with('/') {
                return Err(format!("{name}: path `{}` does not begin with `/`", route.path));
            }
            for host in &route.hosts {
                let plain = !host.is_empty() && !host.bytes().any(|b| b.is_ascii_uppercase());
                if !plain || crate::table::host_name(host) != host {
                    return Err(format!("{name}: `{host}` is not a host name in lower case"));
                }
                if !places.insert((host, route.path.trim_end_matches('/'))) {
                    return Err(format!("{name}: {host}{} is another route's", route.path));
                }
            }
            if let Some(port) = route.discovery_port
                && !ports.insert(port)
            {
                return Err(format!("{name}: port {port} is another route's"));
            }
            check_rules(route).map_err(|reason| format!("{name}: {reason}"))?;
            let mut instances = HashSet::new();
            if let Some(twice) = route.targets.iter().find(|t| !instances.insert(t.instance)) {
                return Err(format!("{name}: instance {} stands there twice", twice.instance));
            }
        }
        Ok(())
    }

    /// Compiles a table that [`Registry::check`] has passed.
    pub(crate) fn compile(&mut self, source: &RouteTable) -> Compiled {
        let mut before = std::mem::take(&mut self.targets);
        let mut table = Table::default();
        let mut changes = Changes::default();
        let (mut probed, mut ports) = (Vec::new(), HashMap::new());
        for record in self.routes.values_mut() {
            record.reports_since_gone.get_or_insert(0);
        }
        for spec in &source.routes {
            let slot = self.route_slot(&spec.key);
            let index = table.routes.len();
            for host in &spec.hosts {
                let place = (spec.path.as_str().into(), index);
                table.hosts.entry(host.as_str().into()).or_default().push(place);
            }
            if let Some(port) = spec.discovery_port {
                let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
                ports.insert(loopback, PortUse { route: slot, network: None });
                for network in &spec.discovery_networks {
                    let address = SocketAddr::from((network.address, port));
                    ports.insert(address, PortUse { route: slot, network: Some(*network) });
                }
            }
            let speaks_h2 = matches!(spec.protocol, RouteProtocol::H2c | RouteProtocol::Grpc);
            let host: Arc<str> = spec.hosts.first().map_or("localhost", String::as_str).into();
            let mut known = Vec::with_capacity(spec.targets.len());
            for model in &spec.targets {
                let record = self.target(slot, spec, model, &mut before);
                known.push((model, record.target.clone()));
                self.targets.insert((slot, model.instance), record);
            }
            let others_serve = known.iter().any(|(_, target)| target.serves());
            let mut active = Vec::new();
            for (model, target) in known {
                self.settle(&target, &model.state, others_serve, &mut changes);
                if let TargetState::Active { weight } = model.state {
                    active.push(Active { weight, target: target.clone() });
                }
                table.any_draining |= target.drain_deadlines().is_some();
                let (probe, host) = (model.probe.clone(), host.clone());
                probed.push(Probed { target, probe, host, speaks_h2 });
            }
            let shared = self.routes.get(&spec.key).map(|record| record.shared.clone());
            table.routes.push(route(slot, spec, active, shared.unwrap_or_default()));
        }
        for prefixes in table.hosts.values_mut() {
            prefixes
                .sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.trim_end_matches('/').len()));
        }
        for (_, record) in before {
            self.retire(record, &mut changes);
        }
        table.by_slot = self.entries(&table);
        changes.forgotten = std::mem::take(&mut self.slots.forgetting);
        self.slots.told.extend_from_slice(&changes.forgotten);
        Compiled { table: Arc::new(table), changes: Arc::new(changes), probed, ports }
    }

    /// All workers have installed the last compiled table.
    pub(crate) fn installed(&mut self) {
        self.slots.free.append(&mut self.slots.told);
    }

    /// Whose number this is, unless the route is gone.
    pub(crate) fn key(&self, slot: RouteSlot) -> Option<&RouteKey> {
        self.keys.get(&slot)
    }

    /// What is measured now, as report number `seq`.
    pub(crate) fn report(&mut self, seq: u64) -> (Vec<TargetReport>, Vec<RouteReport>) {
        // Before the counters: who is held no more is in them.
        let held: HashMap<RouteKey, (u32, u32)> =
            self.routes.iter().map(|(key, record)| (key.clone(), record.shared.held())).collect();
        let mut targets: Vec<TargetReport> =
            self.targets.values_mut().map(|record| record.report(seq, true)).collect();
        for gone in &mut self.gone {
            if gone.record.target.load() == 0 {
                gone.last_report.get_or_insert(seq);
            }
            let report = gone.record.report(seq, false);
            // The same instance under another address is one and the same to whoever reads.
            let same = |other: &&mut TargetReport| {
                other.instance == report.instance && other.route == report.route
            };
            match targets.iter_mut().find(same) {
                Some(other) => merge(other, &report),
                None => targets.push(report),
            }
        }
        let mut routes = Vec::new();
        for (key, record) in &mut self.routes {
            if let Some(reports) = &mut record.reports_since_gone {
                *reports += 1;
                // A request that was being refused when the route left has been counted by now.
                if *reports > ROUTE_REPORTS_AFTER_GONE {
                    record.last_report.get_or_insert(seq);
                }
            }
            let mut counters = counters::sum(&record.cells);
            let stall = record.cells.iter().map(Cells::take_stall_ms).max().unwrap_or(0);
            counters.stall_max_ms = record.stalls.report(seq, stall);
            let (held, held_inside) = held.get(key).copied().unwrap_or_default();
            routes.push(RouteReport { route: key.clone(), counters, held, held_inside });
        }
        (targets, routes)
    }

    /// Reports up to `seq` are stored: forgets what ended before.
    pub(crate) fn stored(&mut self, seq: u64) {
        self.targets.values_mut().for_each(|record| record.stalls.stored(seq));
        let is_stored = |last: Option<u64>| last.is_some_and(|last| last <= seq);
        self.gone.retain_mut(|gone| {
            gone.record.stalls.stored(seq);
            if is_stored(gone.last_report) {
                self.slots.forgetting.push(gone.record.target.slot);
            }
            !is_stored(gone.last_report)
        });
        self.routes.retain(|_, record| {
            record.stalls.stored(seq);
            let stays = record.reports_since_gone.is_none() || !is_stored(record.last_report);
            if !stays {
                self.keys.remove(&record.slot);
            }
            stays
        });
    }

    fn route_slot(&mut self, key: &RouteKey) -> RouteSlot {
        if let Some(record) = self.routes.get_mut(key) {
            (record.reports_since_gone, record.last_report) = (None, None);
            return record.slot;
        }
        let slot = RouteSlot(self.route_count);
        self.route_count += 1;
        let record = RouteRecord {
            slot,
            cells: Cells::blocks(self.workers).into(),
            shared: Arc::default(),
            stalls: Stalls::default(),
            reports_since_gone: None,
            last_report: None,
        };
        self.routes.insert(key.clone(), record);
        self.keys.insert(slot, key.clone());
        slot
    }

    /// The target as it was known before, or a new one.
    fn target(
        &mut self,
        slot: RouteSlot,
        route: &RouteSpec,
        model: &ModelTarget,
        before: &mut HashMap<(RouteSlot, InstanceId), TargetRecord>,
    ) -> TargetRecord {
        let key = (slot, model.instance);
        if before.get(&key).is_some_and(|known| known.target.address == model.address)
            && let Some(known) = before.remove(&key)
        {
            known.target.set_process(model.process);
            return known;
        }
        // Back after it had left the table, before that was forgotten: its counters go on.
        let is_same = |gone: &GoneTarget| {
            let target = &gone.record.target;
            target.instance == model.instance
                && target.route == route.key
                && target.address == model.address
        };
        if let Some(at) = self.gone.iter().position(is_same) {
            let known = self.gone.swap_remove(at).record;
            known.target.set_process(model.process);
            return known;
        }
        let spec = TargetSpec {
            slot: self.slots.next(),
            route: route.key.clone(),
            instance: model.instance,
            release: model.release,
            address: model.address,
            process: model.process,
        };
        let target = Arc::new(Target::new(spec, self.workers));
        TargetRecord { target, stalls: Stalls::default() }
    }

    /// Applies a target's state.
    fn settle(
        &self,
        target: &Arc<Target>,
        state: &TargetState,
        others_serve: bool,
        changes: &mut Changes,
    ) {
        let now_ms = self.clock.now_ms();
        let active = matches!(state, TargetState::Active { weight: 1.. });
        target.set_active(active, others_serve, now_ms);
        target.keep_idle(matches!(state, TargetState::Active { .. }));
        match state {
            TargetState::Candidate => {
                target.drain(None);
                changes.retired.push(target.slot);
            }
            TargetState::Active { .. } => target.drain(None),
            TargetState::Draining { requests_until, streams_until } => {
                target.drain(Some(DrainDeadlines {
                    since_ms: now_ms,
                    requests_until_ms: self.clock.at(*requests_until),
                    streams_until_ms: self.clock.at(*streams_until),
                }));
                changes.retired.push(target.slot);
            }
        }
    }

    fn retire(&mut self, record: TargetRecord, changes: &mut Changes) {
        record.target.keep_idle(false);
        changes.retired.push(record.target.slot);
        self.gone.push(GoneTarget { record, last_report: None });
    }

    fn entries(&self, table: &Table) -> Vec<Option<RouteEntry>> {
        let mut entries = vec![None; self.route_count as usize];
        for record in self.routes.values() {
            let cells = record.cells.clone();
            entries[record.slot.0 as usize] = Some(RouteEntry { index: None, cells });
        }
        for (index, route) in table.routes.iter().enumerate() {
            if let Some(entry) = &mut entries[route.slot.0 as usize] {
                entry.index = Some(index);
            }
        }
        entries
    }
}

/// How many reports say what was counted of a route that left the table.
const ROUTE_REPORTS_AFTER_GONE: u32 = 4;

impl Slots {
    fn next(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.count += 1;
            self.count - 1
        })
    }
}

impl TargetRecord {
    fn report(&mut self, seq: u64, in_table: bool) -> TargetReport {
        let target = &self.target;
        let mut counters = counters::sum(&target.cells);
        let stall = target.cells.iter().map(Cells::take_stall_ms).max().unwrap_or(0);
        counters.stall_max_ms = self.stalls.report(seq, stall);
        TargetReport {
            route: target.route.clone(),
            instance: target.instance,
            release: target.release,
            readiness: in_table.then(|| target.readiness()),
            in_flight: target.cells.iter().map(Cells::in_flight).sum(),
            streams: target.cells.iter().map(Cells::streams).sum(),
            counters,
        }
    }
}

/// Whether a route's traffic rules can be obeyed.
fn check_rules(route: &RouteSpec) -> Result<(), String> {
    let limits = &route.limits;
    check_matches("operators", &limits.operators)?;
    for (name, rate) in [("rate", limits.rate), ("rate_per_client", limits.rate_per_client)] {
        if rate.is_some_and(|rate| rate.per_s == 0 || rate.burst == 0) {
            return Err(format!("{name}: per_s and burst must be at least 1"));
        }
    }
    if let Some(page) = &route.maintenance {
        if !(400..=599).contains(&page.status) {
            return Err(format!("maintenance: status {} is not 400 to 599", page.status));
        }
        if page.page.len() > MAINTENANCE_PAGE_BYTES_MAX {
            return Err(format!("maintenance: page above {MAINTENANCE_PAGE_BYTES_MAX} bytes"));
        }
    }
    let Some(split) = &route.split else { return Ok(()) };
    let mirrored = split.mirror.as_ref().map_or(0, |mirror| mirror.percent);
    if split.percent > 100 || mirrored > 100 {
        return Err("split: a percent above 100".to_owned());
    }
    if let Some(sticky) = &split.sticky {
        check_name("split: cookie", &sticky.cookie)?;
        // It stands in the cookie: nothing there may end it.
        if route.path.bytes().any(|byte| !byte.is_ascii_graphic() || byte == b';') {
            return Err("split: a cookie cannot be set for that path".to_owned());
        }
    }
    check_matches("split", &split.header)
}

fn check_matches(what: &str, rules: &[RequestRule]) -> Result<(), String> {
    if rules.len() > RULES_MAX {
        return Err(format!("{what}: more than {RULES_MAX} rules"));
    }
    for rule in rules {
        check_name(what, &rule.name)?;
        if rule.value.as_ref().is_some_and(|value| value.len() > RULE_BYTES_MAX) {
            return Err(format!("{what}: a value above {RULE_BYTES_MAX} bytes"));
        }
    }
    Ok(())
}

fn check_name(what: &str, name: &str) -> Result<(), String> {
    let good = !name.is_empty() && name.len() <= RULE_BYTES_MAX && name.bytes().all(is_token);
    if good { Ok(()) } else { Err(format!("{what}: `{name}` is not a name")) }
}

fn merge(into: &mut TargetReport, other: &TargetReport) {
    into.in_flight += other.in_flight;
    into.streams += other.streams;
    into.counters.add(&other.counters);
}

fn route(
    slot: RouteSlot,
    spec: &RouteSpec,
    active: Vec<Active>,
    shared: Arc<RouteShared>,
) -> Route {
    let mut health_paths: Vec<String> = Vec::new();
    for target in &spec.targets {
        if let ProbeCheck::Http { path } = &target.probe.check {
            let path = path.split('?').next().unwrap_or(path);
            if !health_paths.iter().any(|known| known == path) {
                health_paths.push(path.to_owned());
            }
        }
    }
    Route {
        slot,
        key: spec.key.clone(),
        path: spec.path.clone(),
        protocol: spec.protocol,
        limits: spec.limits.clone(),
        split: spec.split.clone(),
        maintenance: spec.maintenance.clone().map(Arc::new),
        health_paths,
        active,
        has_targets: !spec.targets.is_empty(),
        shared,
    }
}
