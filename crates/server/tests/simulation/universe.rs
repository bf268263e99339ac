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
//!
//! ```text
//! engine    what the server talks to besides the gateway; I5
//! gateway   one life of the gateway after another
//! requests  where requests are admitted, and how they end
//! capacity  what a table may take away: I3, I6
//! stops     whom may be stopped: I2, I4
//! work      hooks, and work that ends
//! ```

mod capacity;
mod engine;
mod gateway;
mod requests;
mod stops;
mod work;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ark_model::instance::{EngineState, Exit, ProcessIdentity};
use ark_model::route::RouteKey;
use ark_model::{AppName, BootId, EnvName, InstanceId, ReleaseNumber};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use super::chance::{Dice, SimIds};
use super::clock::SimClock;
pub(crate) use engine::{SimEngine, SimWebhooks};
pub(crate) use gateway::SimGateway;
pub(crate) use work::{Once, SimHooks, SimJobs};

/// How long requests may go on in a draining instance of every simulated release.
pub(crate) const DRAIN: SignedDuration = SignedDuration::from_secs(10);

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

/// How much of an app must not be taken away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Floor {
    /// Instances that serve requests; 0 where some of the releases take none.
    pub serving: u32,
    /// Instances that work, where none of the releases takes requests.
    pub working: u32,
}

impl SimInstance {
    /// Whether it does its work, as long as nobody asks whether it is ready.
    fn works(&self) -> bool {
        let able = match self.behaviour {
            Behaviour::Good
            | Behaviour::NeverReady
            | Behaviour::Flaps
            | Behaviour::IgnoresStop
            | Behaviour::Errs => true,
            Behaviour::Crashes
            | Behaviour::CannotStart
            | Behaviour::HookEnds(_)
            | Behaviour::HookHangs
            | Behaviour::JobEnds(_) => false,
        };
        able && matches!(self.state, EngineState::Running { .. })
    }
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
    pub floors: HashMap<(EnvName, AppName), Vec<(Timestamp, Floor)>>,
    /// Releases that take no requests.
    pub workers: BTreeSet<(AppName, ReleaseNumber)>,
    /// Since when a canary that is being abandoned has waited for its old side to be whole, and for how
    /// long it has to.
    pub returning: HashMap<(EnvName, AppName, ReleaseNumber), (Timestamp, SignedDuration)>,
    /// When the deployment that goes on was asked for.
    pub asked: HashMap<(EnvName, AppName, ReleaseNumber), Timestamp>,
    /// By which deployment, as `asked` tells it, the last table divided each route.
    divided: HashMap<RouteKey, Option<Timestamp>>,
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
            workers: BTreeSet::new(),
            returning: HashMap::new(),
            asked: HashMap::new(),
            divided: HashMap::new(),
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
        if self.gateway.retire() {
            self.cover("gateway that was replaced ended");
        }
        self.gateway.keep(self.now);
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
                began: None,
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
            let exit = Exit {
                began: None,
                code: None,
                signal: Some(9),
                out_of_memory: false,
                requested: false,
                at,
            };
            i.state = EngineState::Exited { exit };
            self.lost.push((self.now, i.env.clone(), i.app.clone()));
            self.tell();
        }
        if self.hooks.keys.contains_key(&id) {
            self.cover("hook killed");
        }
        self.cover("instance killed");
    }
}
