//! The gateway of the simulated world, in one life after another: what it counts and reports, how it
//! is killed, and how it is replaced as planned. Then the one before serves on until its connections
//! have ended; it follows the same tables, and its successor speaks for both.
//!
//! What it told is kept until the server says that it is stored, like the real one does.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ark_model::gateway::{Counters, LostBoot, Readiness, Report, RouteReport, TargetReport};
use ark_model::route::{Route, RouteKey, RouteTable, TargetState};
use ark_model::{BootId, Generation, InstanceId, ReleaseNumber};
use jiff::{SignedDuration, Timestamp};

use super::Universe;
use crate::chance::SimIds;

/// Counters are written to disk so often: what was counted since is lost with a killed one.
const CHECKPOINT_EVERY: SignedDuration = SignedDuration::from_secs(1);

#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) instance: InstanceId,
    pub(super) until: Timestamp,
    /// In which life of the gateway it is.
    pub(super) boot: BootId,
    /// Whether it is one that lasts: a WebSocket, an answer that goes on.
    pub(super) stream: bool,
    /// That it was held before.
    pub(super) held: Option<Held>,
}

/// A request that waits until something runs.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) route: RouteKey,
    pub(super) boot: BootId,
    pub(super) since: Timestamp,
}

#[derive(Debug, Default, Clone)]
pub(super) struct Probed {
    pub(super) ready: bool,
    pub(super) since: Timestamp,
    pub(super) ever: bool,
}

/// What is known of a target besides its counters.
#[derive(Debug, Clone)]
struct Known {
    route: RouteKey,
    release: ReleaseNumber,
    /// The first report that had its last numbers, should it be gone.
    last_report: Option<u64>,
}

/// The gateway process of the moment, and the one before it if that is still ending.
#[derive(Debug)]
pub(crate) struct SimGateway {
    pub boot: BootId,
    pub table: Option<RouteTable>,
    /// The one that is being replaced.
    pub(super) before: Option<BootId>,
    pub(super) probed: HashMap<InstanceId, Probed>,
    /// Of both.
    counters: BTreeMap<(BootId, InstanceId), Counters>,
    known: BTreeMap<InstanceId, Known>,
    pub(super) requests: Vec<Request>,
    pub(super) waiting: Vec<Held>,
    /// Lives before this one that the server has not stored, and the first report that told of them.
    lost: Vec<LostBoot>,
    lost_told: Option<u64>,
    checkpoint: Vec<TargetReport>,
    checkpoint_at: Timestamp,
    seq: u64,
}

impl SimGateway {
    pub(super) fn new(boot: BootId) -> Self {
        Self {
            boot,
            table: None,
            before: None,
            probed: HashMap::new(),
            counters: BTreeMap::new(),
            known: BTreeMap::new(),
            requests: Vec::new(),
            waiting: Vec::new(),
            lost: Vec::new(),
            lost_told: None,
            checkpoint: Vec::new(),
            checkpoint_at: Timestamp::default(),
            seq: 0,
        }
    }

    /// The generation in force.
    pub(crate) fn applied(&self) -> Option<Generation> {
        self.table.as_ref().map(|table| table.generation)
    }

    pub(super) fn targets(&self) -> impl Iterator<Item = (InstanceId, &TargetState)> + '_ {
        self.table
            .iter()
            .flat_map(|t| &t.routes)
            .flat_map(|r| &r.targets)
            .map(|t| (t.instance, &t.state))
    }

    pub(super) fn draining(&self) -> impl Iterator<Item = InstanceId> + '_ {
        let drains = |(_, state): &(_, &TargetState)| matches!(state, TargetState::Draining { .. });
        self.targets().filter(drains).map(|t| t.0)
    }

    pub(super) fn counters(&mut self, boot: BootId, id: InstanceId) -> &mut Counters {
        self.counters.entry((boot, id)).or_default()
    }

    pub(super) fn inside(&self, id: InstanceId) -> u32 {
        self.requests.iter().filter(|r| r.instance == id).count() as u32
    }

    /// A table is in force: remembers its targets.
    pub(super) fn install(&mut self, table: RouteTable) {
        for route in &table.routes {
            for target in &route.targets {
                let (route, release) = (route.key.clone(), target.release);
                self.known.insert(target.instance, Known { route, release, last_report: None });
            }
        }
        self.table = Some(table);
    }

    /// The one before ends when nothing is inside it any more.
    pub(super) fn retire(&mut self) -> bool {
        let Some(before) = self.before else { return false };
        let open = self.requests.iter().any(|r| r.boot == before)
            || self.waiting.iter().any(|held| held.boot == before);
        if open {
            return false;
        }
        self.tell_of(before);
        self.before = None;
        self.counters.retain(|(boot, _), _| *boot != before);
        true
    }

    /// What the one before has counted so far is told like that of a life that has ended.
    fn tell_of(&mut self, before: BootId) {
        let mut targets = self.measured_in(before);
        for target in &mut targets {
            (target.in_flight, target.streams) = (0, 0);
        }
        let same = |lost: &LostBoot| lost.boot == before && lost.targets == targets;
        if targets.is_empty() || self.lost.iter().any(same) {
            return;
        }
        self.lost.retain(|lost| lost.boot != before);
        self.lost.push(LostBoot {
            boot: before,
            checkpoint_at: self.checkpoint_at,
            in_order: true,
            targets,
            routes: Vec::new(),
        });
        self.lost_told = None;
    }

    /// What was measured in one life, its open requests included.
    fn measured_in(&self, boot: BootId) -> Vec<TargetReport> {
        let measured = |(id, known): (&InstanceId, &Known)| {
            let counters = self.counters.get(&(boot, *id)).cloned();
            let (in_flight, streams) = self.open(|r| r.instance == *id && r.boot == boot);
            (counters.is_some() || in_flight + streams > 0).then(|| TargetReport {
                route: known.route.clone(),
                instance: *id,
                release: known.release,
                readiness: None,
                in_flight,
                streams,
                counters: counters.unwrap_or_default(),
            })
        };
        self.known.iter().filter_map(measured).collect()
    }

    /// Requests and streams that are open.
    fn open(&self, of: impl Fn(&Request) -> bool) -> (u32, u32) {
        let mut open = (0, 0);
        for request in self.requests.iter().filter(|r| of(r)) {
            match request.stream {
                true => open.1 += 1,
                false => open.0 += 1,
            }
        }
        open
    }

    /// Writes the counters to disk, from time to time.
    pub(super) fn keep(&mut self, now: Timestamp) {
        if now.duration_since(self.checkpoint_at) >= CHECKPOINT_EVERY {
            self.checkpoint = self.measured_in(self.boot);
            self.checkpoint_at = now;
        }
    }

    /// Reports up to `seq` are stored: forgets what ended before.
    pub(crate) fn stored(&mut self, seq: u64) {
        let is_stored = |last: Option<u64>| last.is_some_and(|last| last <= seq);
        if is_stored(self.lost_told) {
            self.lost.clear();
            self.lost_told = None;
        }
        let (known, counters) = (&mut self.known, &mut self.counters);
        known.retain(|id, known| {
            let gone = is_stored(known.last_report);
            if gone {
                counters.retain(|(_, instance), _| instance != id);
            }
            !gone
        });
    }

    /// What it says now.
    fn report(&mut self) -> Report {
        self.seq += 1;
        if let Some(before) = self.before {
            self.tell_of(before);
        }
        if !self.lost.is_empty() {
            self.lost_told.get_or_insert(self.seq);
        }
        let in_table: BTreeSet<InstanceId> = self.targets().map(|t| t.0).collect();
        let mut targets = Vec::new();
        let mut inside: BTreeMap<InstanceId, (u32, u32)> = BTreeMap::new();
        for request in &self.requests {
            let (in_flight, streams) = inside.entry(request.instance).or_default();
            *if request.stream { streams } else { in_flight } += 1;
        }
        for (id, known) in &mut self.known {
            let (in_flight, streams) = inside.get(id).copied().unwrap_or_default();
            let readiness = in_table.contains(id).then(|| {
                let p = self.probed.get(id).cloned().unwrap_or_default();
                Readiness {
                    ready: p.ready,
                    since: p.since,
                    ever: p.ever,
                    failures: u32::from(!p.ready),
                    last_failure: (!p.ready).then(|| "GET /_health answered 500".into()),
                }
            });
            if readiness.is_none() && in_flight + streams == 0 {
                known.last_report.get_or_insert(self.seq);
            }
            targets.push(TargetReport {
                route: known.route.clone(),
                instance: *id,
                release: known.release,
                readiness,
                in_flight,
                streams,
                counters: self.counters.get(&(self.boot, *id)).cloned().unwrap_or_default(),
            });
        }
        let routes = self.table.iter().flat_map(|t| &t.routes).map(|r| self.route(r)).collect();
        Report {
            boot: self.boot,
            seq: self.seq,
            applied: self.applied(),
            targets,
            routes,
            refusals: BTreeMap::new(),
            lost: self.lost.clone(),
            certificates: Vec::new(),
            calls: Vec::new(),
        }
    }

    fn route(&self, route: &Route) -> RouteReport {
        let held = self.waiting.iter().filter(|w| w.route == route.key).count() as u32;
        let of =
            |r: &&Request| !r.stream && r.held.as_ref().is_some_and(|held| held.route == route.key);
        let held_inside = self.requests.iter().filter(of).count() as u32;
        let counters = Counters::default();
        RouteReport { route: route.key.clone(), counters, held, held_inside }
    }
}

impl Universe {
    /// What the gateway reports.
    pub(crate) fn report(&mut self) -> Report {
        let report = self.gateway.report();
        if report.lost.iter().any(|lost| lost.in_order) {
            self.cover("counters of a gateway that is being replaced");
        }
        report
    }

    /// `kill -9` of the gateway: a new process with the table and the counters from the disk and nothing
    /// else. Should it have been replacing another one, that one ends with it.
    pub(crate) fn kill_gateway(&mut self, ids: &SimIds) {
        self.cut += self.gateway.requests.len() as u64;
        let new = SimGateway::new(BootId(ids.next()));
        let killed = std::mem::replace(&mut self.gateway, new);
        let (next, now) = (&mut self.gateway, self.now);
        next.lost = killed.lost;
        next.lost.push(LostBoot {
            boot: killed.boot,
            checkpoint_at: killed.checkpoint_at,
            in_order: false,
            targets: killed.checkpoint,
            routes: Vec::new(),
        });
        next.checkpoint_at = now;
        if let Some(table) = killed.table {
            next.install(table);
        }
        self.cover("gateway killed");
        if killed.before.is_some() {
            self.cover("gateway killed while it replaces another");
        }
    }

    /// A planned restart of the gateway: a second one takes over, and the first one ends when what is
    /// inside it has ended. Only one at a time.
    pub(crate) fn replace_gateway(&mut self, ids: &SimIds) -> bool {
        if self.gateway.before.is_some() {
            return false;
        }
        let now = self.now;
        let gateway = &mut self.gateway;
        gateway.before = Some(gateway.boot);
        gateway.boot = BootId(ids.next());
        // It asks each target itself before it says anything of it, and has its own numbers.
        gateway.probed.clear();
        (gateway.seq, gateway.lost_told) = (0, None);
        (gateway.checkpoint, gateway.checkpoint_at) = (Vec::new(), now);
        gateway.known.values_mut().for_each(|known| known.last_report = None);
        self.probe();
        self.cover("gateway replaced as planned");
        true
    }
}
