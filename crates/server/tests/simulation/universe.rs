//! The simulated world outside the server: instances, the gateway, and requests. It checks the
//! invariants that are about the world at the very moment they could be broken:
//!
//! - I2: no request is admitted to an instance that is not ready; no instance is stopped while the
//!   gateway's table admits requests to it, or with requests inside before its drain deadline.
//! - I3: no table takes serving capacity below what the strategy allows.
//! - I4: no request inside an instance is cut because somebody asked that instance to stop.
//! - I5: nothing is started but what its release says.
//! - I6: a table with a lower generation is never applied.
//!
//! Instances and requests live in time that passes; what is reported of them, and what tables say, is
//! by the wall clock, which may be set.

mod engine;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ark_engine::StartSpec;
use ark_model::gateway::{Counters, Readiness, Report, RouteReport, TargetReport};
use ark_model::instance::{EngineState, Exit, ProcessIdentity};
use ark_model::route::{Route, RouteKey, RouteTable, Target, TargetState};
use ark_model::{AppName, BootId, EnvName, InstanceId, ReleaseNumber};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use super::chance::{Dice, SimIds};
use super::clock::SimClock;
pub(crate) use engine::{SimEngine, SimWebhooks};

/// A wish or a loss this recent may not be in the plan that is carried out now.
const RECENT: SignedDuration = SignedDuration::from_secs(60);
/// How long requests may go on in a draining instance of every simulated release.
pub(crate) const DRAIN: SignedDuration = SignedDuration::from_secs(10);

/// How many requests wait for a route at most.
const HELD_MAX: usize = 5;

/// How the instances of a release behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Behaviour {
    Good,
    Crashes,
    NeverReady,
    Flaps,
    IgnoresStop,
    CannotStart,
    /// Passes its check and fails every second request.
    Errs,
    /// A hook: ends by itself with this code.
    HookEnds(i32),
    /// A hook that never ends, nor when asked to.
    HookHangs,
    /// A job: ends by itself with this code.
    JobEnds(i32),
}

/// What of an app must not run twice at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Once {
    /// Its instances, all of them.
    App,
    /// Those with the same command.
    Command,
    /// Nothing.
    Nothing,
}

/// Work that ends: what of it runs, and how it ended by itself.
#[derive(Debug, Default)]
pub(crate) struct SimJobs {
    /// Apps of such work.
    pub apps: BTreeMap<AppName, Once>,
    /// Of each instance what must not run twice at once.
    pub keys: BTreeMap<InstanceId, String>,
    /// Exit codes of those that were not told to end.
    pub exits: BTreeMap<InstanceId, i32>,
}

/// What runs or asks hooks, and what they did.
#[derive(Debug, Default)]
pub(crate) struct SimHooks {
    /// Releases that have a command before they may begin.
    pub guarded: BTreeSet<(AppName, ReleaseNumber)>,
    /// Of these, those whose command ended well.
    pub passed: BTreeSet<(AppName, ReleaseNumber)>,
    /// Instances that run a hook, each with its key.
    pub keys: BTreeMap<InstanceId, String>,
}

#[derive(Debug, Clone)]
pub(crate) struct SimInstance {
    pub env: EnvName,
    pub app: AppName,
    pub release: ReleaseNumber,
    pub state: EngineState,
    pub behaviour: Behaviour,
    pub starts_at: Timestamp,
    pub ready_at: Timestamp,
    pub ends_at: Option<Timestamp>,
}

#[derive(Debug, Clone)]
struct Request {
    instance: InstanceId,
    until: Timestamp,
    /// That it was held before.
    held: Option<Held>,
}

/// A request that waits until something runs.
#[derive(Debug, Clone)]
struct Held {
    route: RouteKey,
    since: Timestamp,
}

#[derive(Debug, Default, Clone)]
struct Probed {
    ready: bool,
    since: Timestamp,
    ever: bool,
}

/// The gateway process of the moment.
#[derive(Debug)]
pub(crate) struct SimGateway {
    pub boot: BootId,
    pub table: Option<RouteTable>,
    probed: HashMap<InstanceId, Probed>,
    counters: BTreeMap<InstanceId, Counters>,
    requests: Vec<Request>,
    waiting: Vec<Held>,
    seq: u64,
}

/// Everything outside the server, behind one lock.
#[derive(Debug)]
pub(crate) struct Universe {
    /// Time that passes.
    pub now: Timestamp,
    /// From when on the wall clock was how far ahead of it.
    set: Vec<(Timestamp, SignedDuration)>,
    pub dice: Dice,
    pub instances: BTreeMap<InstanceId, SimInstance>,
    pub removed: BTreeSet<InstanceId>,
    pub behaviours: HashMap<(EnvName, AppName, ReleaseNumber), Behaviour>,
    /// What each release runs, as it was when the release was made.
    pub commands: HashMap<(AppName, ReleaseNumber), Vec<String>>,
    pub gateway: SimGateway,
    /// What was wanted of each app, and when: the floor of I3 is the least of the last while, since
    /// a table may have been planned just before a wish changed.
    pub floors: HashMap<(EnvName, AppName), Vec<(Timestamp, u32)>>,
    /// Since when a canary that is being abandoned has waited for its old side to be whole, and for how
    /// long it has to.
    pub returning: HashMap<(EnvName, AppName, ReleaseNumber), (Timestamp, SignedDuration)>,
    /// Instances that ended without being asked: capacity that no plan took away.
    lost: Vec<(Timestamp, EnvName, AppName)>,
    pub engine_down_until: Option<Timestamp>,
    /// Until then no call of the engine is answered.
    pub engine_hangs_until: Option<Timestamp>,
    pub hooks: SimHooks,
    pub jobs: SimJobs,
    pub violations: Vec<String>,
    pub coverage: BTreeMap<&'static str, u64>,
    pub served: u64,
    pub cut: u64,
    /// Requests that found no ready target although an instance had been serving.
    pub refused: u64,
    /// Requests that were held and have ended: of which app, since when they were held, and when they
    /// were counted.
    pub held_over: Vec<((EnvName, AppName), Timestamp, Timestamp)>,
    version: watch::Sender<u64>,
}

impl Universe {
    pub(crate) fn new(now: Timestamp, dice: Dice, ids: &SimIds) -> Self {
        Self {
            now,
            set: vec![(now, SignedDuration::ZERO)],
            dice,
            instances: BTreeMap::new(),
            removed: BTreeSet::new(),
            behaviours: HashMap::new(),
            commands: HashMap::new(),
            gateway: SimGateway::new(BootId(ids.next())),
            floors: HashMap::new(),
            returning: HashMap::new(),
            lost: Vec::new(),
            engine_down_until: None,
            engine_hangs_until: None,
            hooks: SimHooks::default(),
            jobs: SimJobs::default(),
            violations: Vec::new(),
            coverage: BTreeMap::new(),
            served: 0,
            cut: 0,
            refused: 0,
            held_over: Vec::new(),
            version: watch::Sender::new(0),
        }
    }

    pub(crate) fn cover(&mut self, what: &'static str) {
        *self.coverage.entry(what).or_default() += 1;
    }

    fn violate(&mut self, what: &str) {
        self.violations.push(format!("{} {what}", self.wall()));
    }

    /// What the clock on the wall says.
    fn wall(&self) -> Timestamp {
        self.now + self.set.last().map_or(SignedDuration::ZERO, |(_, ahead)| *ahead)
    }

    /// Whether the clock was ever set.
    pub(crate) fn clock_was_set(&self) -> bool {
        self.set.len() > 1
    }

    /// The first moment at which the clock on the wall may have shown this.
    fn shown_at(&self, wall: Timestamp) -> Timestamp {
        let ends = self.set.iter().skip(1).map(|(from, _)| Some(*from)).chain([None]);
        let mut stretches = self.set.iter().zip(ends);
        let found = stretches.find_map(|((from, ahead), end)| {
            let at = wall - *ahead;
            end.is_none_or(|end| at < end).then(|| at.max(*from))
        });
        found.unwrap_or(self.now)
    }

    /// The latest that the clock on the wall has shown since it showed this.
    fn latest_since(&self, wall: Timestamp) -> Timestamp {
        let begin = self.shown_at(wall);
        let ends = self.set.iter().skip(1).map(|(from, _)| *from).chain([self.now]);
        let shown = self.set.iter().zip(ends).filter(|(_, end)| *end >= begin);
        shown.map(|((_, ahead), end)| end + *ahead).max().unwrap_or(wall)
    }

    /// Lets the world go on until now.
    pub(crate) fn advance(&mut self, clock: &SimClock) {
        let ahead = clock.ahead();
        if self.set.last().is_none_or(|(_, known)| *known != ahead) {
            self.set.push((clock.steady(), ahead));
        }
        self.now = clock.steady();
        let ids: Vec<InstanceId> = self.instances.keys().copied().collect();
        for id in ids {
            let of = |u: &Self| u.instances.get(&id).map(|i| std::mem::discriminant(&i.state));
            let before = of(self);
            self.live(id);
            if of(self) != before {
                self.tell();
            }
        }
        self.probe();
        self.finish_requests();
        self.drain_deadlines();
        self.admit();
    }

    /// The engine says that something has changed.
    fn tell(&self) {
        self.version.send_modify(|v| *v += 1);
    }

    fn live(&mut self, id: InstanceId) {
        let (now, wall) = (self.now, self.wall());
        let Some(i) = self.instances.get_mut(&id) else { return };
        let exit = |code: i32, requested: bool| EngineState::Exited {
            exit: Exit {
                code: Some(code),
                signal: None,
                out_of_memory: false,
                requested,
                at: wall,
            },
        };
        match (&i.state, i.behaviour) {
            (EngineState::Preparing, Behaviour::CannotStart) if now >= i.starts_at => {
                i.state = EngineState::StartFailed {
                    reason: ark_model::instance::StartFailure::CommandNotFound {
                        detail: "./web".into(),
                    },
                };
            }
            (EngineState::Preparing, _) if now >= i.starts_at => {
                let low = (id.0.as_u128() & 0xffff) as i32;
                let process = Some(ProcessIdentity { pid: low + 2, start_ticks: 1 });
                i.state = EngineState::Running { since: wall, process, address: None };
            }
            (EngineState::Running { .. }, Behaviour::Crashes) if now >= i.ready_at => {
                i.state = exit(1, false);
                self.cover("instance crashed by itself");
            }
            (EngineState::Running { .. }, Behaviour::HookEnds(code)) if now >= i.ready_at => {
                i.state = exit(code, false);
                let of = (i.app.clone(), i.release);
                if code == 0 {
                    self.hooks.passed.insert(of);
                }
                self.cover(if code == 0 { "hook ended well" } else { "hook failed" });
            }
            (EngineState::Running { .. }, Behaviour::JobEnds(code)) if now >= i.ready_at => {
                i.state = exit(code, false);
                self.jobs.exits.insert(id, code);
                self.cover("job ended by itself");
            }
            (EngineState::Stopping { .. }, _) if i.ends_at.is_some_and(|at| now >= at) => {
                i.state = exit(0, true);
            }
            _ => {}
        }
    }

    fn alive(&self, id: InstanceId) -> bool {
        self.instances.get(&id).is_some_and(|i| {
            matches!(i.state, EngineState::Running { .. } | EngineState::Stopping { .. })
        })
    }

    fn healthy(&mut self, id: InstanceId) -> bool {
        let now = self.now;
        let Some(i) = self.instances.get(&id) else { return false };
        let running = matches!(i.state, EngineState::Running { .. });
        let behaviour = i.behaviour;
        running
            && now >= i.ready_at
            && match behaviour {
                Behaviour::Good | Behaviour::IgnoresStop | Behaviour::Errs => true,
                Behaviour::Flaps => !self.dice.one_in(8),
                Behaviour::Crashes
                | Behaviour::NeverReady
                | Behaviour::CannotStart
                | Behaviour::HookEnds(_)
                | Behaviour::HookHangs
                | Behaviour::JobEnds(_) => false,
            }
    }

    fn probe(&mut self) {
        let targets: Vec<InstanceId> = self.gateway.targets().map(|t| t.0).collect();
        for id in &targets {
            let healthy = self.healthy(*id);
            let since = self.wall();
            let probed = self.gateway.probed.entry(*id).or_default();
            if probed.ready != healthy || probed.since == Timestamp::default() {
                *probed = Probed { ready: healthy, since, ever: probed.ever || healthy };
            }
        }
        self.gateway.probed.retain(|id, _| targets.contains(id));
    }

    fn finish_requests(&mut self) {
        let (now, wall) = (self.now, self.wall());
        let requests = std::mem::take(&mut self.gateway.requests);
        for request in requests {
            let before = self.served + self.cut;
            let held = request.held.clone();
            let counters = self.gateway.counters.entry(request.instance).or_default();
            if !self.instances.get(&request.instance).is_some_and(|i| {
                matches!(i.state, EngineState::Running { .. } | EngineState::Stopping { .. })
            }) {
                counters.cut += 1;
                self.cut += 1;
                self.check_cut(request.instance);
            } else if now >= request.until {
                let errs = self
                    .instances
                    .get(&request.instance)
                    .is_some_and(|i| i.behaviour == Behaviour::Errs);
                if errs && (counters.served + counters.failed).is_multiple_of(2) {
                    counters.failed += 1;
                    counters.by_class[4] += 1;
                } else {
                    counters.served += 1;
                    counters.by_class[1] += 1;
                }
                self.served += 1;
            } else {
                self.gateway.requests.push(request);
            }
            if let Some(held) = held.filter(|_| self.served + self.cut > before) {
                let app = (held.route.env, held.route.app);
                self.held_over.push((app, held.since, wall));
                self.cover("held request ended");
            }
        }
    }

    /// The gateway cuts what is left in a draining target when its time is over.
    fn drain_deadlines(&mut self) {
        let over: Vec<InstanceId> = self
            .gateway
            .targets()
            .filter(|(_, state)| match state {
                TargetState::Draining { streams_until, .. } => self.wall() >= *streams_until,
                TargetState::Candidate | TargetState::Active { .. } => false,
            })
            .map(|t| t.0)
            .collect();
        let before = self.gateway.requests.len();
        for id in over {
            let left = self.gateway.inside(id);
            self.gateway.requests.retain(|r| r.instance != id);
            self.gateway.counters.entry(id).or_default().cut += u64::from(left);
        }
        let cut = (before - self.gateway.requests.len()) as u64;
        self.cut += cut;
    }

    /// A few new requests for each route, to ready active targets only, each side by its share.
    fn admit(&mut self) {
        let Some(table) = self.gateway.table.take() else { return };
        for route in &table.routes {
            for _ in 0..6 {
                let canary = match &route.split {
                    Some(split) => self.dice.below(100) < u64::from(split.percent),
                    None => false,
                };
                let of_side = |t: &&Target| match &route.split {
                    Some(split) => (t.release == split.canary) == canary,
                    None => true,
                };
                let mut ready = self.serving_in(route, of_side);
                // A side without a ready target gives its requests to the other one.
                if ready.is_empty() && route.split.as_ref().is_some_and(|s| canary || s.percent > 0)
                {
                    ready = self.serving_in(route, |_| true);
                }
                if ready.is_empty() && route.limits.hold_empty {
                    let waiting = self.gateway.waiting.iter().filter(|w| w.route == route.key);
                    if waiting.count() < HELD_MAX {
                        let held = Held { route: route.key.clone(), since: self.wall() };
                        self.gateway.waiting.push(held);
                    }
                    continue;
                }
                if ready.is_empty() {
                    self.refused += 1;
                    self.gateway.waiting.retain(|w| w.route != route.key);
                    continue;
                }
                let at = self.gateway.waiting.iter().position(|w| w.route == route.key);
                let held = at.map(|at| self.gateway.waiting.remove(at));
                let index = self.dice.below(ready.len() as u64) as usize;
                let instance = ready[index];
                let slow = self.dice.clone().one_in(20);
                let ms = 20 + self.dice.below(if slow { 20_000 } else { 400 });
                let until = self.now + SignedDuration::from_millis(ms as i64);
                self.gateway.requests.push(Request { instance, until, held });
            }
        }
        self.gateway.table = Some(table);
    }

    fn serving_in(&self, route: &Route, of_side: impl Fn(&&Target) -> bool) -> Vec<InstanceId> {
        route
            .targets
            .iter()
            .filter(|t| matches!(t.state, TargetState::Active { .. }))
            .filter(of_side)
            .map(|t| t.instance)
            .filter(|id| self.gateway.probed.get(id).is_some_and(|p| p.ready) && self.alive(*id))
            .collect()
    }

    /// The gateway applies a table, or refuses it.
    pub(crate) fn apply(&mut self, table: RouteTable) -> bool {
        if self.gateway.table.as_ref().is_some_and(|t| t.generation > table.generation) {
            self.cover("stale table refused");
            return false;
        }
        let before: BTreeMap<_, usize> = match &self.gateway.table {
            Some(old) => {
                old.routes.iter().map(|r| (r.key.clone(), self.held_by(r, &table))).collect()
            }
            None => BTreeMap::new(),
        };
        for route in &table.routes {
            let app = (route.key.env.clone(), route.key.app.clone());
            // What was decided long ago is carried out only now when the server was away meanwhile:
            // whoever stops an app and deploys it again has the stop that was recorded in between.
            let planned = self.drains_newly(route).map(|wall| self.shown_at(wall)).min();
            let planned = planned.unwrap_or(self.now);
            let since = planned.min(self.now - RECENT);
            if planned < self.now - RECENT {
                self.cover("drain carried out long after it was recorded");
            }
            let floor = self.floor(&app, since);
            let was = before.get(&route.key).copied().unwrap_or(0);
            // Only what this table itself takes away counts: an instance that died is no longer
            // serving under the old table either.
            let now = self.capable_in(route);
            if now < was && now < floor.min(was) && !self.flaps_in(&app) {
                self.violate(&format!(
                    "I3: a table takes {} from {was} to {now} serving, floor {floor}",
                    route.key.app
                ));
            }
        }
        self.check_weight_first(&table);
        self.gateway.table = Some(table);
        true
    }

    /// How many serve of a route, of which a table that takes its place must not take any away. A canary
    /// that is abandoned does not count once its old side was waited for long enough: what is left of
    /// that one carries all.
    fn held_by(&self, route: &Route, next: &RouteTable) -> usize {
        let closes = |canary: ReleaseNumber| {
            let next = next.routes.iter().find(|r| r.key == route.key);
            next.and_then(|r| r.split.as_ref())
                .is_some_and(|s| s.canary == canary && s.percent == 0)
        };
        let (env, app) = (&route.key.env, &route.key.app);
        let Some(split) = route.split.as_ref().filter(|s| s.percent > 0 && closes(s.canary)) else {
            return self.capable_in(route);
        };
        let waited = self.returning.get(&(env.clone(), app.clone(), split.canary)).is_some_and(
            |(since, patience)| self.latest_since(*since).duration_since(*since) >= *patience,
        );
        if !waited {
            return self.capable_in(route);
        }
        let mut old_side = route.clone();
        old_side.targets.retain(|t| t.release != split.canary);
        self.capable_in(&old_side)
    }

    /// A canary that is abandoned loses its share before its instances drain, as long as there is
    /// an old side to take it. Not so when a newer deployment has waited long enough for that: its
    /// table no longer divides in favour of the canary, and drains what it does not know.
    fn check_weight_first(&mut self, new: &RouteTable) {
        let Some(old) = &self.gateway.table else { return };
        let mut found = Vec::new();
        for route in &old.routes {
            let Some(split) = route.split.as_ref().filter(|s| (1..100).contains(&s.percent)) else {
                continue;
            };
            let Some(next) = new.routes.iter().find(|r| r.key == route.key) else { continue };
            if next.split.as_ref().is_none_or(|next| next.canary != split.canary) {
                continue;
            }
            let active = |r: &Route, of: bool| {
                let is = |t: &&Target| {
                    (t.release == split.canary) == of
                        && matches!(t.state, TargetState::Active { .. })
                        && self.alive(t.instance)
                };
                r.targets.iter().filter(is).count()
            };
            let drains = next.targets.iter().any(|t| {
                t.release == split.canary && matches!(t.state, TargetState::Draining { .. })
            });
            let others = active(next, false);
            if active(route, true) > 0 && active(next, true) == 0 && drains && others > 0 {
                found.push(format!("{} drains with {} %", route.key.app, split.percent));
            }
        }
        for what in found {
            self.violate(&format!("weight first: the canary of {what}"));
        }
    }

    /// When each instance of a route began to drain of which the table in force does not say so yet.
    fn drains_newly<'a>(&'a self, route: &'a Route) -> impl Iterator<Item = Timestamp> + 'a {
        let known: Vec<InstanceId> = self.gateway.draining().collect();
        route.targets.iter().filter(move |t| !known.contains(&t.instance)).filter_map(|t| match &t
            .state
        {
            TargetState::Draining { requests_until, .. } => Some(*requests_until - DRAIN),
            TargetState::Candidate | TargetState::Active { .. } => None,
        })
    }

    /// The least capacity that any wish since then has asked for, without what was lost.
    fn floor(&self, app: &(EnvName, AppName), since: Timestamp) -> usize {
        let recent = |at: &Timestamp| *at >= since;
        let Some(wishes) = self.floors.get(app) else { return 0 };
        // The wish that held when the window began counts too.
        let from = wishes.iter().rposition(|(at, _)| !recent(at)).unwrap_or(0);
        let least = wishes[from..].iter().map(|(_, n)| *n).min().unwrap_or(0) as usize;
        let lost = self.lost.iter().filter(|(at, e, a)| recent(at) && (e, a) == (&app.0, &app.1));
        least.saturating_sub(lost.count())
    }

    /// Whether an instance of the app flaps: what served when a plan was made and what serves when
    /// its table arrives then differ by chance, and cannot be held against it.
    fn flaps_in(&self, app: &(EnvName, AppName)) -> bool {
        self.instances.values().any(|i| {
            (&i.env, &i.app) == (&app.0, &app.1)
                && i.behaviour == Behaviour::Flaps
                && matches!(i.state, EngineState::Running { .. })
        })
    }

    /// Serving, whatever a single probe says.
    fn capable_in(&self, route: &Route) -> usize {
        let capable = |id: &InstanceId| {
            self.gateway.probed.get(id).is_some_and(|p| p.ever)
                && self.instances.get(id).is_some_and(|i| {
                    matches!(i.state, EngineState::Running { .. })
                        && matches!(
                            i.behaviour,
                            Behaviour::Good | Behaviour::IgnoresStop | Behaviour::Errs
                        )
                })
        };
        let active = |t: &&Target| matches!(t.state, TargetState::Active { .. });
        // What gets no share is no capacity.
        let shared = |t: &&Target| match &route.split {
            Some(split) if split.percent == 0 => t.release != split.canary,
            Some(split) if split.percent == 100 => t.release == split.canary,
            Some(_) | None => true,
        };
        let all = route.targets.iter().filter(active).filter(shared);
        all.filter(|t| capable(&t.instance)).count()
    }

    /// What the gateway reports.
    pub(crate) fn report(&mut self) -> Report {
        self.gateway.seq += 1;
        let gateway = &self.gateway;
        let mut targets = Vec::new();
        if let Some(table) = &gateway.table {
            for route in &table.routes {
                for t in &route.targets {
                    let p = gateway.probed.get(&t.instance).cloned().unwrap_or_default();
                    let counters = gateway.counters.get(&t.instance).cloned().unwrap_or_default();
                    targets.push(TargetReport {
                        route: route.key.clone(),
                        instance: t.instance,
                        release: t.release,
                        readiness: Some(Readiness {
                            ready: p.ready,
                            since: p.since,
                            ever: p.ever,
                            failures: u32::from(!p.ready),
                            last_failure: (!p.ready).then(|| "GET /_health answered 500".into()),
                        }),
                        in_flight: gateway.inside(t.instance),
                        streams: 0,
                        counters,
                    });
                }
            }
        }
        Report {
            boot: gateway.boot,
            seq: gateway.seq,
            applied: gateway.table.as_ref().map(|t| t.generation),
            targets,
            routes: gateway
                .table
                .iter()
                .flat_map(|t| &t.routes)
                .map(|r| gateway.route(r))
                .collect(),
            refusals: BTreeMap::new(),
            lost: Vec::new(),
            certificates: Vec::new(),
            calls: Vec::new(),
        }
    }

    /// `kill -9` of the gateway: a new process with the table from the disk and nothing else.
    pub(crate) fn kill_gateway(&mut self, ids: &SimIds) {
        let table = self.gateway.table.clone();
        self.cut += self.gateway.requests.len() as u64;
        self.gateway = SimGateway::new(BootId(ids.next()));
        self.gateway.table = table;
        self.cover("gateway killed");
    }

    /// Somebody kills a random instance.
    pub(crate) fn kill_instance(&mut self) {
        let running: Vec<InstanceId> = self
            .instances
            .iter()
            .filter(|(_, i)| matches!(i.state, EngineState::Running { .. }))
            .map(|(id, _)| *id)
            .collect();
        if running.is_empty() {
            return;
        }
        let id = running[self.dice.below(running.len() as u64) as usize];
        let at = self.wall();
        if let Some(i) = self.instances.get_mut(&id) {
            let exit =
                Exit { code: None, signal: Some(9), out_of_memory: false, requested: false, at };
            i.state = EngineState::Exited { exit };
            self.lost.push((self.now, i.env.clone(), i.app.clone()));
            self.tell();
        }
        if self.hooks.keys.contains_key(&id) {
            self.cover("hook killed");
        }
        self.cover("instance killed");
    }

    /// A hook's instance vanishes without a trace, as after a restart of the host.
    pub(crate) fn lose_hook(&mut self) {
        let runs = |id: &&InstanceId| {
            let state = self.instances.get(*id).map(|i| &i.state);
            matches!(state, Some(EngineState::Running { .. }))
        };
        if let Some(id) = self.hooks.keys.keys().find(runs).copied() {
            self.instances.remove(&id);
            self.removed.insert(id);
            self.cover("hook lost by the engine");
        }
    }

    /// How a command of a hook behaves; the same hook may behave otherwise when it is run again.
    fn hook_behaviour(&mut self) -> Behaviour {
        match self.dice.below(8) {
            0 => Behaviour::HookHangs,
            1 => Behaviour::HookEnds(1),
            2 => Behaviour::CannotStart,
            _ => Behaviour::HookEnds(0),
        }
    }

    /// How a job behaves; the next attempt may behave otherwise.
    fn job_behaviour(&mut self) -> Behaviour {
        match self.dice.below(8) {
            0 => Behaviour::NeverReady,
            1 => Behaviour::IgnoresStop,
            2 => Behaviour::CannotStart,
            3 => Behaviour::JobEnds(1),
            _ => Behaviour::JobEnds(0),
        }
    }

    /// No run has two attempts at once, and no app that forbids it two runs.
    fn check_job(&mut self, spec: &StartSpec, once: Once) {
        let key = match once {
            Once::App => spec.app.to_string(),
            Once::Command => format!("{} {}", spec.app, spec.command.join(" ")),
            Once::Nothing => format!("{} {}", spec.app, spec.id),
        };
        let twice = self.jobs.keys.iter().any(|(id, other)| {
            *other == key
                && self.instances.get(id).is_some_and(|i| {
                    !matches!(
                        i.state,
                        EngineState::Exited { .. }
                            | EngineState::StartFailed { .. }
                            | EngineState::Gone
                    )
                })
        });
        if twice {
            self.violate(&format!("runs: {key} runs twice at once"));
        }
        self.jobs.keys.insert(spec.id, key);
    }

    /// A hook is never run beside itself, and nothing of a release starts before its hook passed.
    fn check_start(&mut self, spec: &StartSpec, key: Option<&String>) {
        let of = (spec.app.clone(), spec.release);
        match key {
            Some(key) => {
                let twice = self.hooks.keys.iter().any(|(id, other)| {
                    other == key
                        && matches!(
                            self.instances.get(id).map(|i| &i.state),
                            Some(EngineState::Running { .. } | EngineState::Preparing)
                        )
                });
                if twice {
                    self.violate(&format!("hooks: {key} runs twice at once"));
                }
            }
            None if self.hooks.guarded.contains(&of) && !self.hooks.passed.contains(&of) => {
                self.violate(&format!("hooks: {} of {} starts before its hook passed", of.1, of.0));
            }
            None => {}
        }
    }

    /// I4: a request is inside an instance that is no more. Whoever dies by itself, or is killed, takes
    /// its requests along; who was asked to end has none.
    fn check_cut(&mut self, id: InstanceId) {
        let asked = match self.instances.get(&id).map(|i| &i.state) {
            Some(EngineState::Exited { exit }) => exit.requested,
            Some(_) | None => true,
        };
        if asked {
            self.violate(&format!("I4: {id} was asked to end, and that cut a request inside it"));
        }
    }

    /// I2 at the moment of stopping.
    fn check_stop(&mut self, id: InstanceId) {
        let admission = self.gateway.targets().find(|t| t.0 == id).map(|t| t.1.clone());
        let inside = self.gateway.inside(id);
        match admission {
            Some(TargetState::Active { .. }) => {
                self.violate(&format!(
                    "I2: {id} is stopped while the gateway admits requests to it"
                ));
            }
            Some(TargetState::Draining { streams_until, .. }) => {
                if inside > 0 && self.wall() < streams_until {
                    self.violate(&format!("I2: {id} is stopped with {inside} requests inside"));
                }
            }
            Some(TargetState::Candidate) | None => {}
        }
    }
}

impl SimGateway {
    fn new(boot: BootId) -> Self {
        Self {
            boot,
            table: None,
            probed: HashMap::new(),
            counters: BTreeMap::new(),
            requests: Vec::new(),
            waiting: Vec::new(),
            seq: 0,
        }
    }

    fn targets(&self) -> impl Iterator<Item = (InstanceId, &TargetState)> + '_ {
        self.table
            .iter()
            .flat_map(|t| &t.routes)
            .flat_map(|r| &r.targets)
            .map(|t| (t.instance, &t.state))
    }

    fn draining(&self) -> impl Iterator<Item = InstanceId> + '_ {
        let drains = |(_, state): &(_, &TargetState)| matches!(state, TargetState::Draining { .. });
        self.targets().filter(drains).map(|t| t.0)
    }

    fn route(&self, route: &Route) -> RouteReport {
        let held = self.waiting.iter().filter(|w| w.route == route.key).count() as u32;
        let of = |r: &&Request| r.held.as_ref().is_some_and(|held| held.route == route.key);
        let held_inside = self.requests.iter().filter(of).count() as u32;
        let counters = Counters::default();
        RouteReport { route: route.key.clone(), counters, held, held_inside }
    }

    fn inside(&self, id: InstanceId) -> u32 {
        self.requests.iter().filter(|r| r.instance == id).count() as u32
    }
}
