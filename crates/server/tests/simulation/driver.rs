//! The scheduler: decides with seeded dice who runs next, what breaks, and what users ask for; at
//! the end lets everything heal and looks whether everything ended well.
//!
//! ```text
//! users    what users ask for, at any time
//! away     wishes that change while the server is away
//! jobs     work that ends, by hand and by schedule
//! link     what the server and the gateway say to each other, and how that breaks
//! ends     what must hold in the end
//! scene    scenes in which little is left to the dice
//! ```

mod away;
mod ends;
mod jobs;
mod link;
#[cfg(test)]
pub(crate) mod scene;
mod users;

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use ark_model::definition::Strategy;
use ark_model::environment::{EnvKind, EnvState, Environment};
use ark_model::{AppName, Deployment, DeploymentState, EnvName};
use ark_planner::Planted;
use ark_planner::wishes::Wish;
use ark_server::gateway_link::RouteChanges;
use ark_server::observations::Observations;
use ark_server::tasks::deployments::Deployments;
use ark_server::tasks::hooks::Hooks as HooksLoop;
use ark_server::tasks::housekeeping::Housekeeping;
use ark_server::tasks::runs::Runs;
use ark_server::world::{CONTROLLER_LEASE, Clock, Fence, Settings, World};
use ark_store::{Blobs, EventFilter, Keyring, Store, StoreError};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use super::chance::{Dice, SimHost, SimIds};
use super::clock::SimClock;
use super::universe::{Floor, SimEngine, SimWebhooks, Universe};
use link::Wires;
use users::Answered;

/// What a run gave.
pub(crate) struct Outcome {
    pub violations: Vec<String>,
    pub covered: BTreeMap<String, u64>,
    pub trace: Vec<String>,
}

const STEPS: u64 = 4_000;
const APPS: [&str; 2] = ["web", "mailer"];
const ENV: &str = "production";
/// Simulated time after which everything must have ended once nothing breaks any more: the longest
/// deadline of the simulated definitions and a margin.
const SETTLE: SignedDuration = SignedDuration::from_secs(2_400);
/// So many steps in which everything has ended are the end.
const QUIET: u64 = 400;
/// Steps between two looks whether everything has ended.
const LOOK_EVERY: u64 = 20;

/// One life of the server process: its memory, and the futures that run in it.
struct Life {
    future: Pin<Box<dyn Future<Output = ()>>>,
    link: Pin<Box<dyn Future<Output = ()>>>,
    house: Pin<Box<dyn Future<Output = ()>>>,
    hooks: Pin<Box<dyn Future<Output = ()>>>,
    runs: Pin<Box<dyn Future<Output = ()>>>,
}

struct Simulation {
    seed: u64,
    dice: Dice,
    clock: Arc<SimClock>,
    ids: Arc<SimIds>,
    universe: Arc<Mutex<Universe>>,
    store: Store,
    blobs: Blobs,
    keyring: Arc<Keyring>,
    life: Option<Life>,
    wires: Arc<Mutex<Wires>>,
    /// Times in which the schedule was paused: from what was decided then to the instant of going on.
    pauses: Vec<(Timestamp, Timestamp)>,
    /// An app that was stopped and is soon to be deployed again.
    stopped: Option<(&'static str, Timestamp)>,
    /// What users were told is done.
    answered: Answered,
    /// How far the clock was set back, in all.
    set_back: SignedDuration,
    calm: bool,
    planted: Option<Planted>,
    trace: VecDeque<String>,
    _dir: tempfile::TempDir,
}

/// Polls a future that only yields, to its end.
fn block<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..100_000 {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
    }
    panic!("a store call of the simulated user never ended");
}

/// Runs one seed, with a bug planted on purpose when told.
pub(crate) fn simulate(seed: u64, planted: Option<Planted>) -> Outcome {
    let mut simulation = Simulation::new(seed);
    simulation.planted = planted;
    for _ in 0..STEPS {
        simulation.step();
        if !simulation.universe.lock().unwrap().violations.is_empty() {
            break;
        }
    }
    simulation.settle();
    simulation.outcome()
}

fn env() -> EnvName {
    ENV.parse().unwrap()
}

fn app(name: &str) -> AppName {
    name.parse().unwrap()
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut dice = Dice::new(seed);
        let ids = Arc::new(SimIds::default());
        let world_dice = Dice::new(dice.roll());
        let universe = Arc::new(Mutex::new(Universe::new(start, world_dice, &ids)));
        let store = Store::inline_in_memory(start).unwrap();
        block(store.write(move |tx| {
            tx.insert_environment(&Environment {
                name: env(),
                kind: EnvKind::Permanent,
                state: EnvState::Active,
                owner: "ana".into(),
                created_at: start,
                freeze: Vec::new(),
                lease: None,
            })
        }))
        .unwrap();
        jobs::begin(&store, &mut dice, &universe, start);
        Self {
            seed,
            dice,
            clock: Arc::new(SimClock::new(start)),
            ids,
            universe,
            store,
            blobs: Blobs::open(dir.path()).unwrap(),
            keyring: Arc::new(Keyring::ephemeral().unwrap()),
            life: None,
            wires: Arc::default(),
            pauses: Vec::new(),
            stopped: None,
            answered: Answered::default(),
            set_back: SignedDuration::ZERO,
            calm: false,
            planted: None,
            trace: VecDeque::new(),
            _dir: dir,
        }
    }

    fn note(&mut self, text: &str) {
        self.trace.push_back(format!("{} {text}", self.clock.now()));
        if self.trace.len() > 60 {
            self.trace.pop_front();
        }
    }

    fn cover(&self, what: &'static str) {
        self.universe.lock().unwrap().cover(what);
    }

    /// Starts the server: a new process with nothing in its memory.
    fn start(&mut self) {
        let now = self.clock.now();
        let lease = block(self.store.write(move |tx| {
            tx.acquire_lease(CONTROLLER_LEASE, "sim", now, std::time::Duration::from_secs(15))
        }))
        .unwrap()
        .unwrap();
        let mut settings = Settings::new("/nowhere".into());
        if self.seed.is_multiple_of(4) {
            // So few that they run out while released ones are held back.
            settings.instance_ports = 20_000..=20_015;
        }
        let world = World {
            store: self.store.clone(),
            blobs: self.blobs.clone(),
            keyring: self.keyring.clone(),
            engine: Arc::new(SimEngine::new(self.universe.clone())),
            observations: Arc::new(Observations::default()),
            route_changes: Arc::new(RouteChanges::default()),
            halt: Arc::new(AtomicBool::new(false)),
            gateway_shutdown: watch::Sender::new(None),
            clock: self.clock.clone(),
            ids: self.ids.clone(),
            host: Arc::new(SimHost),
            webhooks: Arc::new(SimWebhooks(self.universe.clone())),
            settings: Arc::new(settings),
            fence: Fence { token: lease.token },
            planted: self.planted,
        };
        self.wires.lock().unwrap().cut();
        let (w, w2, w3, w4) = (world.clone(), world.clone(), world.clone(), world.clone());
        let w5 = world;
        self.life = Some(Life {
            future: Box::pin(async move {
                let mut deployments = Deployments::default();
                loop {
                    let next = match deployments.round(&w).await {
                        Ok(next) => next,
                        Err(_) => w.clock.now() + SignedDuration::from_millis(500),
                    };
                    let soon = w.clock.now() + SignedDuration::from_millis(100);
                    w.clock.sleep_until(next.min(soon)).await;
                }
            }),
            link: Box::pin(link::run(w2, self.wires.clone(), self.universe.clone())),
            house: Box::pin(async move {
                let mut house = Housekeeping::default();
                loop {
                    let _ = house.round(&w3).await;
                    w3.clock.sleep_until(w3.clock.now() + SignedDuration::from_secs(5)).await;
                }
            }),
            hooks: Box::pin(async move {
                let mut hooks = HooksLoop::default();
                loop {
                    let next = match hooks.round(&w4).await {
                        Ok(next) => next,
                        Err(_) => w4.clock.now() + SignedDuration::from_millis(500),
                    };
                    let soon = w4.clock.now() + SignedDuration::from_millis(100);
                    w4.clock.sleep_until(next.min(soon).max(w4.clock.now())).await;
                    // A round that is due at once still lets others run.
                    w4.clock.sleep_until(w4.clock.now() + SignedDuration::from_millis(1)).await;
                }
            }),
            runs: Box::pin(async move {
                let mut runs = Runs::default();
                loop {
                    let next = match runs.round(&w5).await {
                        Ok(next) => next,
                        Err(_) => w5.clock.now() + SignedDuration::from_millis(500),
                    };
                    let soon = w5.clock.now() + SignedDuration::from_millis(250);
                    w5.clock.sleep_until(next.min(soon).max(w5.clock.now())).await;
                    w5.clock.sleep_until(w5.clock.now() + SignedDuration::from_millis(1)).await;
                }
            }),
        });
    }

    fn crash(&mut self) {
        self.life = None;
        let arrives = !self.dice.one_in(4);
        self.wires.lock().unwrap().abandon(arrives);
        self.cover("server crashed");
        for d in self.unfinished() {
            self.cover(match d.state {
                DeploymentState::Queued => "crash in Queued",
                DeploymentState::Replacing => "crash in Replacing",
                DeploymentState::Stepping => "crash in Stepping",
                DeploymentState::Keeping => "crash in Keeping",
                DeploymentState::Draining => "crash in Draining",
                DeploymentState::Returning => "crash in Returning",
                _ => "crash in a terminal state",
            });
        }
        self.cover_active_runs();
        self.note("server crashed");
    }

    fn step(&mut self) {
        if self.life.is_none() && (self.calm || self.dice.one_in(40)) {
            if !self.calm && self.dice.one_in(12) {
                self.away();
            }
            self.start();
        }
        self.change_of_mind();
        match self.dice.below(100) {
            0..=39 => self.poll(),
            40..=59 => self.advance(),
            60..=79 => self.gateway(),
            80..=89 => self.report(),
            _ if self.calm => self.poll(),
            90..=91 if self.dice.one_in(3) => self.user(),
            92 if self.dice.one_in(8) => self.crash(),
            93 if self.dice.one_in(12) => self.lose_gateway(),
            94 if self.dice.one_in(6) => self.universe.lock().unwrap().kill_instance(),
            95 if self.dice.one_in(20) => {
                let until = self.clock.steady() + SignedDuration::from_secs(8);
                self.universe.lock().unwrap().engine_down_until = Some(until);
                self.cover("engine away for a while");
            }
            96 if self.dice.one_in(8) => self.lose_connection(),
            97 if self.dice.one_in(6) => self.universe.lock().unwrap().lose_hook(),
            98 if self.dice.one_in(3) => self.user_of_jobs(),
            99 => match self.dice.below(120) {
                0..=2 => self.hang_engine(),
                3..=4 => self.set_clock(),
                _ => self.poll(),
            },
            _ => self.poll(),
        }
    }

    fn poll(&mut self) {
        let which = self.dice.below(8);
        let Some(life) = &mut self.life else { return };
        let mut context = Context::from_waker(Waker::noop());
        let future = match which {
            0..=4 => &mut life.future,
            5..=6 => &mut life.link,
            // Three quiet loops share a turn.
            _ => {
                let _ = life.hooks.as_mut().poll(&mut context);
                let _ = life.runs.as_mut().poll(&mut context);
                &mut life.house
            }
        };
        let _ = future.as_mut().poll(&mut context);
    }

    /// The server is not started again for minutes.
    fn away(&mut self) {
        self.cover("server away for long");
        let until = self.clock.steady() + SignedDuration::from_secs(self.dice.below(400) as i64);
        while self.clock.steady() < until {
            self.pass(SignedDuration::from_millis(500));
        }
    }

    /// Time passes, for the world too.
    fn pass(&self, time: SignedDuration) {
        self.clock.advance(time);
        self.universe.lock().unwrap().advance(&self.clock);
    }

    /// No call of the engine is answered for a while; half of them are carried out all the same.
    fn hang_engine(&mut self) {
        self.cover("engine hangs for a while");
        let time = SignedDuration::from_secs(2 + self.dice.below(28) as i64);
        self.universe.lock().unwrap().engine_hangs_until = Some(self.clock.steady() + time);
    }

    /// Somebody sets the clock of this machine.
    fn set_clock(&mut self) {
        let by = if self.dice.one_in(2) {
            self.cover("clock set forth");
            SignedDuration::from_secs(1 + self.dice.below(300) as i64)
        } else {
            self.cover("clock set back");
            let by = SignedDuration::from_secs(1 + self.dice.below(120) as i64);
            self.set_back += by;
            -by
        };
        self.note(&format!("the clock is set by {by}"));
        self.clock.set(by);
        self.universe.lock().unwrap().advance(&self.clock);
    }

    fn advance(&mut self) {
        let ms = match self.dice.below(40) {
            0 => self.dice.below(20_000),
            1..=4 => self.dice.below(1_000),
            _ => self.dice.below(30),
        };
        self.pass(SignedDuration::from_millis(ms as i64));
    }

    fn unfinished(&self) -> Vec<Deployment> {
        block(self.store.read(ark_store::ReadTx::unfinished_deployments)).unwrap().deployments
    }

    /// Tells the universe how much capacity must not be taken away.
    fn floor(&mut self, name: &str) {
        let key = app(name);
        let (floor, running) = block(self.store.read(move |tx| {
            let Some(state) = tx.app_state(&env(), &key)? else {
                return Ok((Floor::default(), None));
            };
            let release = state.live.map(|n| tx.release(&env(), &key, n)).transpose()?.flatten();
            let deployment = |id: Option<_>| id.map(|id| tx.deployment(id)).transpose();
            let running = deployment(state.running)?.flatten();
            let waiting = deployment(state.waiting)?.flatten();
            let recreates = |d: &Option<Deployment>| {
                d.as_ref().is_some_and(|d| d.strategy == Strategy::Recreate)
            };
            let of = |d: &Option<Deployment>| match d {
                Some(d) => tx.release(&env(), &key, d.release),
                None => Ok(None),
            };
            let (new, next) = (of(&running)?, of(&waiting)?);
            let count = |r: &ark_model::Release| r.content.definition.count();
            // Before the first release is live there is nothing to hold on to, and what is
            // recreated goes to zero by intent.
            let empties = [&running, &waiting].into_iter().any(recreates)
                || state.stopped
                || state.live.is_none();
            // What waits may have begun, and be live, before anybody looks again.
            let counts = || release.iter().chain(&new).chain(&next);
            let least = match empties {
                true => 0,
                false => state.scale.or(counts().map(count).min()).unwrap_or(0),
            };
            // One of them takes requests and the other does not: what they serve is not the same.
            let exposes = |r: &ark_model::Release| !r.content.definition.expose.is_empty();
            let floor = Floor {
                serving: if counts().all(exposes) { least } else { 0 },
                working: if counts().any(exposes) { 0 } else { least },
            };
            Ok::<_, StoreError>((floor, running))
        }))
        .unwrap();
        let mut u = self.universe.lock().unwrap();
        if let Some(d) = running {
            let superseded = d.abort.as_ref().is_some_and(|abort| abort.superseded);
            let patience = SignedDuration::from_secs(if superseded { 5 } else { 30 });
            let key = (env(), app(name), d.release);
            u.asked.insert(key.clone(), d.created_at);
            match d.returning_at {
                Some(at) => u.returning.insert(key, (at, patience)),
                None => u.returning.remove(&key),
            };
        }
        let now = u.now;
        let wishes = u.floors.entry((env(), app(name))).or_default();
        if wishes.last().is_none_or(|(_, n)| *n != floor) {
            wishes.push((now, floor));
        }
    }

    /// Nothing breaks any more; everything must come to its end.
    fn settle(&mut self) {
        self.calm = true;
        self.stopped = None;
        {
            let mut u = self.universe.lock().unwrap();
            u.engine_down_until = None;
            u.engine_hangs_until = None;
        }
        self.pause();
        // What is to last until an instant lasts longer when the clock was set back.
        let until = self.clock.steady() + SETTLE + self.set_back;
        let mut quiet = 0;
        let mut round = 0u64;
        while self.clock.steady() < until && quiet < QUIET {
            self.step();
            round += 1;
            // Whoever is asked comes at last.
            if round.is_multiple_of(200) {
                for d in self.unfinished() {
                    let waits =
                        |r: &ark_model::deployment::Rollout| r.asks.is_some() || r.paused.is_some();
                    if d.rollout.as_ref().is_some_and(waits) && d.abort.is_none() {
                        self.cover("a person is waited for");
                        self.wish(d.app.as_str(), Wish::Promote { full: true });
                    }
                }
            }
            if !self.universe.lock().unwrap().violations.is_empty() {
                return;
            }
            // Reading all records takes as long as many steps.
            if round.is_multiple_of(LOOK_EVERY) {
                quiet = if self.unsettled().is_empty() { quiet + LOOK_EVERY } else { 0 };
            }
        }
        let left = self.unsettled();
        for what in left {
            let at = self.clock.now();
            self.universe.lock().unwrap().violations.push(format!("{at} I1: {what}"));
        }
        self.count_states();
        self.check_answers();
        self.check_runs();
        self.check_counted();
    }

    /// What happened last, by the records and in the world.
    fn events(&mut self) -> Vec<String> {
        let events =
            block(self.store.read(|tx| tx.recent_events(&EventFilter::default(), None, 60)))
                .unwrap();
        let mut lines: Vec<String> = events
            .iter()
            .map(|e| {
                format!(
                    "{} {:?} {} {}",
                    e.at,
                    e.kind,
                    e.app.as_ref().map_or("", |a| a.as_str()),
                    e.text
                )
            })
            .collect();
        lines.extend(self.trace.drain(..));
        lines.sort();
        lines
    }

    fn outcome(mut self) -> Outcome {
        let lines = self.events();
        self.life = None;
        let u = self.universe.lock().unwrap();
        let mut covered: BTreeMap<String, u64> =
            u.coverage.iter().map(|(k, n)| ((*k).to_owned(), *n)).collect();
        covered.insert("requests served".into(), u.served);
        covered.insert("requests cut".into(), u.cut);
        Outcome {
            violations: u.violations.iter().map(|v| format!("[{}] {v}", self.seed)).collect(),
            covered,
            trace: lines,
        }
    }
}
