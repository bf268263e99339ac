//! The scheduler: decides with seeded dice who runs next, what breaks, and what users ask for; at
//! the end lets everything heal and looks whether everything ended well (I1, no orphans). Work that
//! ends, by hand and by schedule, is in `driver/jobs.rs`; wishes that change while the server is away
//! are in `driver/away.rs`.

mod away;
mod jobs;
#[cfg(test)]
pub(crate) mod scene;

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use ark_model::artifact::Artifact;
use ark_model::definition::{
    Definition, DurationText, Expose, HeaderStep, HookStage, Hooks, Step, Strategy, Webhook,
};
use ark_model::deployment::{DeploymentKind, FAILURES_MAX};
use ark_model::environment::{AppState, EnvKind, EnvState, Environment};
use ark_model::event::{EventKind, NewEvent};
use ark_model::gateway::FromGateway;
use ark_model::hook::{HookRun, HookState, HookWhat};
use ark_model::instance::EngineState;
use ark_model::release::ReleaseContent;
use ark_model::rollout::{JUDGEMENTS_MAX, Said, WatchEnd};
use ark_model::route::RouteTable;
use ark_model::{AppName, Deployment, DeploymentState, Diagnosis, EnvName, ReleaseNumber, Verdict};
use ark_planner::Planted;
use ark_planner::queue::{Running, enqueue};
use ark_planner::watch::GOOD_MAX;
use ark_planner::wishes::{self, Wish};
use ark_server::gateway_link::{RouteChanges, Routes, take_report};
use ark_server::observations::Observations;
use ark_server::tasks::deployments::Deployments;
use ark_server::tasks::hooks::Hooks as HooksLoop;
use ark_server::tasks::housekeeping::Housekeeping;
use ark_server::tasks::runs::Runs;
use ark_server::world::{CONTROLLER_LEASE, Clock, Fence, Ids, Settings, World};
use ark_store::{Blobs, EventFilter, Keyring, NewRelease, Store, StoreError, WriteTx};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use super::chance::{Dice, SimHost, SimIds};
use super::clock::SimClock;
use super::universe::{Behaviour, DRAIN, SimEngine, SimWebhooks, Universe};

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

type Wire<T> = Arc<Mutex<VecDeque<T>>>;

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
    to_gateway: Wire<RouteTable>,
    from_gateway: Wire<FromGateway>,
    /// Tables that were on their way when a connection broke, and arrive late.
    late: Vec<RouteTable>,
    /// Times in which the schedule was paused: from what was decided then to the instant of going on.
    pauses: Vec<(Timestamp, Timestamp)>,
    /// An app that was stopped and is soon to be deployed again.
    stopped: Option<(&'static str, Timestamp)>,
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
            to_gateway: Wire::default(),
            from_gateway: Wire::default(),
            late: Vec::new(),
            pauses: Vec::new(),
            stopped: None,
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
        self.to_gateway.lock().unwrap().clear();
        self.from_gateway.lock().unwrap().clear();
        let (out, inbox) = (self.to_gateway.clone(), self.from_gateway.clone());
        let (w, w2, w3, w4) = (world.clone(), world.clone(), world.clone(), world.clone());
        let w5 = world;
        let boot = self.universe.lock().unwrap().gateway.boot;
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
            link: Box::pin(async move {
                w2.observations.connected(boot, 1, Vec::new(), w2.clock.now());
                let mut routes = Routes::default();
                loop {
                    let message = inbox.lock().unwrap().pop_front();
                    match message {
                        Some(FromGateway::Ack { generation }) => {
                            routes.acknowledged(&w2, generation);
                        }
                        Some(FromGateway::Refused { generation, reason }) => {
                            routes.refused(&w2, generation, &reason);
                        }
                        Some(FromGateway::Report(report)) => {
                            let _ = take_report(&w2, &report).await;
                        }
                        Some(FromGateway::Hello { .. }) | None => {}
                    }
                    if let Ok(Some(table)) = routes.next_table(&w2).await {
                        out.lock().unwrap().push_back(table);
                    }
                    w2.clock.sleep_until(w2.clock.now() + SignedDuration::from_millis(5)).await;
                }
            }),
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
            90..=91 if self.dice.one_in(4) => self.user(),
            92 if self.dice.one_in(8) => self.crash(),
            93 if self.dice.one_in(12) => {
                let ids = self.ids.clone();
                self.universe.lock().unwrap().kill_gateway(&ids);
                self.lose_connection();
            }
            94 if self.dice.one_in(6) => self.universe.lock().unwrap().kill_instance(),
            95 if self.dice.one_in(20) => {
                let until = self.clock.now() + SignedDuration::from_secs(8);
                self.universe.lock().unwrap().engine_down_until = Some(until);
                self.cover("engine away for a while");
            }
            96 if self.dice.one_in(8) => self.lose_connection(),
            97 if self.dice.one_in(6) => self.universe.lock().unwrap().lose_hook(),
            98 if self.dice.one_in(3) => self.user_of_jobs(),
            _ => self.poll(),
        }
    }

    /// The link breaks: what was under way is lost. The server's link task would dial again; here
    /// the whole server life is kept and only its link begins anew, by a restart of the server in
    /// half of the cases.
    fn lose_connection(&mut self) {
        self.cover("connection lost");
        // A table that was on its way may still arrive, late, from the old connection.
        if self.dice.one_in(4) {
            self.to_gateway.lock().unwrap().clear();
        }
        self.from_gateway.lock().unwrap().clear();
        let stale = self.to_gateway.lock().unwrap().drain(..).collect::<Vec<_>>();
        self.crash();
        self.start();
        self.late.extend(stale);
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
        let until = self.clock.now() + SignedDuration::from_secs(self.dice.below(400) as i64);
        while self.clock.now() < until {
            self.clock.advance(SignedDuration::from_millis(500));
            let now = self.clock.now();
            self.universe.lock().unwrap().advance(now);
        }
    }

    fn advance(&mut self) {
        let ms = match self.dice.below(40) {
            0 => self.dice.below(20_000),
            1..=4 => self.dice.below(1_000),
            _ => self.dice.below(30),
        };
        self.clock.advance(SignedDuration::from_millis(ms as i64));
        let now = self.clock.now();
        self.universe.lock().unwrap().advance(now);
    }

    /// The gateway takes the next table that was sent to it.
    fn gateway(&mut self) {
        if !self.late.is_empty() && self.dice.one_in(4) {
            let late = self.late.remove(0);
            self.gateway_takes(late, false);
        }
        let table = self.to_gateway.lock().unwrap().pop_front();
        if let Some(table) = table {
            self.gateway_takes(table, true);
        }
    }

    fn gateway_takes(&mut self, table: RouteTable, answer: bool) {
        for name in APPS {
            self.floor(name);
        }
        let generation = table.generation;
        let applied = self.universe.lock().unwrap().apply(table);
        if !answer {
            return;
        }
        let message = if applied {
            FromGateway::Ack { generation }
        } else {
            FromGateway::Refused { generation, reason: "older than the one in force".into() }
        };
        let mut wire = self.from_gateway.lock().unwrap();
        wire.push_back(message.clone());
        // Now and then an acknowledgement arrives twice.
        if self.dice.one_in(10) {
            wire.push_back(message);
        }
    }

    fn report(&mut self) {
        let report = self.universe.lock().unwrap().report();
        let mut wire = self.from_gateway.lock().unwrap();
        if wire.len() < 8 {
            wire.push_back(FromGateway::Report(report));
        }
    }

    fn unfinished(&self) -> Vec<Deployment> {
        block(self.store.read(ark_store::ReadTx::unfinished_deployments)).unwrap().deployments
    }

    fn user(&mut self) {
        let name = APPS[self.dice.below(APPS.len() as u64) as usize];
        match self.dice.below(16) {
            0..=5 => self.deploy(name),
            6 => self.scale(name),
            7 => self.abort(name),
            8 => self.restart(name),
            9 => self.stop_for_a_while(name),
            10..=11 => self.wish(name, Wish::Promote { full: self.calm }),
            12 => self.wish(name, Wish::Promote { full: true }),
            13 => self.wish(name, Wish::Pause),
            14 => self.wish(name, Wish::Resume),
            _ => self.wish(name, Wish::Approve),
        }
    }

    /// Somebody speaks to the running deployment; a refusal is as good as any answer.
    fn wish(&mut self, name: &str, wish: Wish) {
        let now = self.clock.now();
        self.change(name, move |tx, state| {
            let Some(id) = state.running else { return Ok(format!("{wish:?}: nothing runs")) };
            let Some(d) = tx.deployment(id)? else { return Ok("is confused".into()) };
            let said = Said { by: "ana".into(), at: now, reason: None };
            match wishes::apply(&d, wish, said) {
                Ok((after, words)) => {
                    tx.put_deployment(&after, d.state)?;
                    Ok(words)
                }
                Err(refusal) => Ok(format!("{wish:?}: {refusal}")),
            }
        });
        self.cover(match wish {
            Wish::Promote { full: false } => "somebody promotes",
            Wish::Promote { full: true } => "somebody promotes to the end",
            Wish::Pause => "somebody pauses",
            Wish::Resume => "somebody resumes",
            Wish::Approve => "somebody approves",
        });
    }

    fn change(
        &mut self,
        name: &str,
        change: impl FnOnce(&mut WriteTx, AppState) -> Result<String, StoreError> + Send + 'static,
    ) {
        let (key, now) = (app(name), self.clock.now());
        let done = block(self.store.write(move |tx| {
            let state = match tx.app_state(&env(), &key)? {
                Some(state) => state,
                None => AppState::new(env(), key.clone(), now),
            };
            let text = change(tx, state)?;
            tx.append_event(NewEvent {
                at: now,
                kind: EventKind::AppChanged,
                by: "ana".into(),
                env: Some(env()),
                app: Some(key),
                deployment: None,
                instance: None,
                text: text.clone(),
            })?;
            Ok::<_, StoreError>(text)
        }))
        .unwrap();
        self.note(&format!("user: {name}: {done}"));
        self.floor(name);
    }

    /// Tells the universe how much capacity must not be taken away.
    fn floor(&mut self, name: &str) {
        let key = app(name);
        let (floor, running) = block(self.store.read(move |tx| {
            let Some(state) = tx.app_state(&env(), &key)? else { return Ok((0, None)) };
            let release = state.live.map(|n| tx.release(&env(), &key, n)).transpose()?.flatten();
            let running = match state.running {
                Some(id) => tx.deployment(id)?,
                None => None,
            };
            let recreates = running.as_ref().is_some_and(|d| d.strategy == Strategy::Recreate);
            let new = match &running {
                Some(d) => tx.release(&env(), &key, d.release)?,
                None => None,
            };
            let count = |r: &ark_model::Release| r.content.definition.count();
            let counts = release.iter().chain(&new).map(count);
            let wanted = state.scale.or(counts.min()).unwrap_or(0);
            // Before the first release is live there is nothing to hold on to, and what is
            // recreated goes to zero by intent.
            let empties = recreates || state.stopped || state.live.is_none();
            Ok::<_, StoreError>((if empties { 0 } else { wanted }, running))
        }))
        .unwrap();
        let mut u = self.universe.lock().unwrap();
        if let Some(d) = running {
            let superseded = d.abort.as_ref().is_some_and(|abort| abort.superseded);
            let patience = SignedDuration::from_secs(if superseded { 5 } else { 30 });
            let key = (env(), app(name), d.release);
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

    fn deploy(&mut self, name: &'static str) {
        let behaviour = match self.dice.below(12) {
            0 => Behaviour::Crashes,
            1 => Behaviour::NeverReady,
            2 => Behaviour::Flaps,
            3 => Behaviour::IgnoresStop,
            4 => Behaviour::CannotStart,
            5..=6 => Behaviour::Errs,
            _ => Behaviour::Good,
        };
        let strategy = match self.dice.below(8) {
            0..=2 => Strategy::Canary,
            3..=4 => Strategy::BlueGreen,
            5 => Strategy::Recreate,
            _ => Strategy::Rolling,
        };
        let mut definition = self.definition(behaviour);
        definition.deploy.strategy = strategy;
        definition.deploy.hooks = self.hooks();
        let on_running = if self.dice.one_in(3) { Running::GivesWay } else { Running::Finishes };
        self.deploy_as(name, definition, behaviour, on_running);
    }

    fn deploy_as(
        &mut self,
        name: &'static str,
        definition: Definition,
        behaviour: Behaviour,
        on_running: Running,
    ) {
        let strategy = definition.deploy.strategy;
        let guarded = definition.deploy.hooks.pre_deploy.is_some();
        let (id, now, key) = (self.ids.deployment(), self.clock.now(), app(name));
        let number = Arc::new(Mutex::new(ReleaseNumber(0)));
        let told = number.clone();
        self.change(name, move |tx, mut state| {
            let release = tx
                .insert_release(NewRelease {
                    env: env(),
                    app: key.clone(),
                    content: ReleaseContent {
                        artifact: Artifact::None,
                        definition,
                        config: BTreeMap::new(),
                    },
                    config_version: 0,
                    created_at: now,
                    created_by: "ana".into(),
                    commit: None,
                })?
                .into_release();
            *told.lock().unwrap() = release.number;
            let deployment = Deployment::queued(
                id,
                (env(), key),
                DeploymentKind::Deploy,
                release.number,
                strategy,
                ("ana".into(), now),
            );
            let get = |id: Option<_>| match id {
                Some(id) => tx.deployment(id),
                None => Ok(None),
            };
            let (running, waiting) = (get(state.running)?, get(state.waiting)?);
            let queued =
                enqueue(&state, &deployment, running.as_ref(), waiting.as_ref(), on_running);
            tx.insert_deployment(&deployment)?;
            if let Some(d) = queued.superseded {
                tx.put_deployment(&d, DeploymentState::Queued)?;
            }
            if let Some(d) = queued.giving_way {
                tx.put_deployment(&d, d.state)?;
            }
            state = queued.app;
            tx.put_app_state(&state)?;
            Ok(format!("deploys {} by {strategy} ({behaviour:?}, {on_running:?})", release.number))
        });
        let number = *number.lock().unwrap();
        let key = (env(), app(name), number);
        let mut u = self.universe.lock().unwrap();
        u.behaviours.insert(key, behaviour);
        if guarded {
            u.hooks.guarded.insert((app(name), number));
        }
    }

    fn definition(&mut self, behaviour: Behaviour) -> Definition {
        let seconds = DurationText::from_secs;
        let expose = vec![Expose::new("default", 80)];
        let mut definition = Definition { expose, ..Definition::default() };
        definition.run.command = Some(vec!["./web".into()]);
        definition.run.stop_grace = seconds(5);
        definition.autoscaling.min_count = Some(1 + self.dice.below(5) as u32);
        definition.deploy.min_healthy_time = Some(seconds(self.dice.below(3)));
        definition.deploy.ready_timeout = seconds(20);
        definition.deploy.progress_deadline = seconds(60);
        definition.deploy.deadline = seconds(300);
        definition.drain.requests = seconds(DRAIN.as_secs().unsigned_abs());
        definition.drain.streams = seconds(10);
        definition.deploy.steps = self.steps();
        definition.deploy.keep_old = match self.dice.below(3) {
            0 => None,
            n => Some(seconds(n * n * 50)),
        };
        definition.deploy.watch = seconds(self.dice.below(3) * 20);
        // Every behaviour is a release of its own.
        definition.team = Some(format!("{behaviour:?}-{}", self.dice.below(1 << 40)));
        definition
    }

    /// Hooks of a release, if it has any.
    fn hooks(&mut self) -> Hooks {
        let mut command = || self.dice.one_in(10).then(|| vec!["./hook".to_owned()]);
        let (pre_deploy, post_deploy) = (command(), command());
        let webhook = |at| Webhook {
            url: "https://gate.example.test/".into(),
            at,
            timeout: Some(DurationText::from_secs(30)),
            token: None,
        };
        let webhooks = match self.dice.below(12) {
            0 => vec![webhook(HookStage::PreDeploy)],
            1 => vec![webhook(HookStage::PostDeploy)],
            _ => Vec::new(),
        };
        Hooks { pre_deploy, post_deploy, timeout: Some(DurationText::from_secs(20)), webhooks }
    }

    /// Steps of a canary, if it is to be one.
    fn steps(&mut self) -> Vec<Step> {
        let seconds = DurationText::from_secs;
        let mut weight = 0;
        let mut steps = Vec::new();
        for _ in 0..self.dice.below(6) {
            steps.push(match self.dice.below(9) {
                0..=3 => {
                    weight += self.dice.below(40) as u8;
                    Step::Weight(weight.min(99))
                }
                4..=5 => Step::Pause(Some(seconds(self.dice.below(20)))),
                6 => Step::Analysis {},
                7 => Step::Approval {},
                _ => Step::Header(HeaderStep {
                    name: Some("x-canary".into()),
                    ..HeaderStep::default()
                }),
            });
        }
        steps
    }

    fn scale(&mut self, name: &str) {
        let count = self.dice.below(6) as u32;
        self.change(name, move |tx, mut state| {
            state.scale = Some(count);
            tx.put_app_state(&state)?;
            Ok(format!("scales to {count}"))
        });
    }

    fn restart(&mut self, name: &str) {
        let now = self.clock.now();
        self.change(name, move |tx, mut state| {
            state.restart_before = Some(now);
            tx.put_app_state(&state)?;
            Ok("restarts".into())
        });
    }

    fn stop(&mut self, name: &str) {
        let key = app(name);
        let active = |run: &HookRun| run.state.is_active();
        if self.unfinished().iter().any(|d| d.app == key && d.hooks.iter().any(active)) {
            self.cover("stopped while a hook runs");
        }
        self.change(name, move |tx, mut state| {
            state.stopped = true;
            tx.put_app_state(&state)?;
            Ok("stops".into())
        });
    }

    fn abort(&mut self, name: &str) {
        self.change(name, move |tx, state| {
            let Some(id) = state.running else { return Ok("has nothing to abort".into()) };
            let Some(mut d) = tx.deployment(id)? else { return Ok("is confused".into()) };
            if d.state.is_terminal() || d.abort.is_some() {
                return Ok("has nothing to abort".into());
            }
            d.abort = Some(ark_model::deployment::Abort {
                by: "ana".into(),
                reason: None,
                superseded: false,
            });
            let state = d.state;
            tx.put_deployment(&d, state)?;
            Ok(format!("aborts {}", d.release))
        });
    }

    /// Nothing breaks any more; everything must come to its end.
    fn settle(&mut self) {
        self.calm = true;
        self.stopped = None;
        {
            let mut u = self.universe.lock().unwrap();
            u.engine_down_until = None;
        }
        self.pause();
        let until = self.clock.now() + SETTLE;
        let mut quiet = 0;
        let mut round = 0u64;
        while self.clock.now() < until && quiet < QUIET {
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
        self.check_runs();
    }

    /// What has not come to its end.
    fn unsettled(&self) -> Vec<String> {
        let mut left: Vec<String> = self
            .unfinished()
            .iter()
            .map(|d| format!("{} {} is still {:?}", d.app, d.release, d.state))
            .collect();
        left.extend(self.unsettled_runs());
        if !left.is_empty() {
            return left;
        }
        let states = block(self.store.read(ark_store::ReadTx::app_states)).unwrap();
        let u = self.universe.lock().unwrap();
        for state in states.into_iter().filter(|s| APPS.contains(&s.app.as_str())) {
            if state.watch.is_some() {
                left.push(format!("{} is still watched", state.app));
            }
            let key = state.app.clone();
            assert!(state.good.len() <= GOOD_MAX, "I9");
            let release = state.live.and_then(|n| {
                block(self.store.read(move |tx| tx.release(&env(), &key, n))).unwrap()
            });
            let wanted = match &release {
                Some(r) if !state.stopped => {
                    state.scale.unwrap_or_else(|| r.content.definition.count())
                }
                _ => 0,
            };
            let of = |live_only: bool| {
                u.instances
                    .values()
                    .filter(|i| i.app == state.app)
                    .filter(|i| {
                        !matches!(
                            i.state,
                            EngineState::Exited { .. } | EngineState::StartFailed { .. }
                        )
                    })
                    .filter(|i| !live_only || Some(i.release) == state.live)
                    .count() as u32
            };
            let flaky = state.live.is_some_and(|n| {
                u.behaviours.get(&(env(), state.app.clone(), n)).is_some_and(|b| {
                    !matches!(b, Behaviour::Good | Behaviour::IgnoresStop | Behaviour::Errs)
                })
            });
            // What flaps or crashes while live is replaced for ever, one beyond the count.
            if flaky {
                continue;
            }
            if of(false) != of(true) {
                left.push(format!("{} has orphans of other releases", state.app));
            } else if of(true) != wanted {
                left.push(format!("{} has {} instances of {wanted}", state.app, of(true)));
            }
        }
        left
    }

    fn count_states(&mut self) {
        let all = block(
            self.store
                .read(|tx| tx.deployments(&ark_store::DeploymentFilter::default(), None, 1_000)),
        )
        .unwrap();
        for d in all {
            if d.failures.iter().any(|f| matches!(f, Diagnosis::NoCapacity { .. })) {
                self.cover("deployment without room");
            }
            self.cover_steps(&d);
            let judged = d.rollout.as_ref().map_or(0, |r| r.judgements.len());
            if d.failures.len() > FAILURES_MAX || judged > JUDGEMENTS_MAX {
                let what = format!("I9: {} {} has a list without limit", d.app, d.release);
                self.universe.lock().unwrap().violations.push(what);
            }
            self.cover(match d.state {
                DeploymentState::Succeeded => "deployment Succeeded",
                DeploymentState::RolledBack => "deployment RolledBack",
                DeploymentState::Failed => "deployment Failed",
                DeploymentState::TimedOut => "deployment TimedOut",
                DeploymentState::Superseded => "deployment Superseded",
                _ => "deployment not ended",
            });
            self.check_held(&d);
            if d.receipt.is_none() && d.started_at.is_some() {
                let what = format!("{} {} ended without a receipt", d.app, d.release);
                self.universe.lock().unwrap().violations.push(what);
            }
        }
    }

    /// What a deployment made wait before it was live has ended when it has, unless its notes say
    /// otherwise: its receipt has it all.
    fn check_held(&self, d: &Deployment) {
        let (Some(started), Some(live), Some(finished)) = (d.started_at, d.live_at, d.finished_at)
        else {
            return;
        };
        let key = (d.env.clone(), d.app.clone());
        let mut universe = self.universe.lock().unwrap();
        let flaps = universe.behaviours.iter().any(|((env, app, _), behaviour)| {
            (env, app) == (&key.0, &key.1) && *behaviour == Behaviour::Flaps
        });
        let whole = d.strategy == Strategy::Recreate && d.state == DeploymentState::Succeeded;
        if !whole || flaps || !d.notes.is_empty() {
            return;
        }
        let made_wait: Vec<Timestamp> = universe
            .held_over
            .iter()
            .filter(|(app, since, _)| *app == key && *since > started && *since < live)
            .map(|(_, _, ended)| *ended)
            .collect();
        if !made_wait.is_empty() {
            universe.cover("receipt with requests that were held");
        }
        if let Some(late) = made_wait.into_iter().find(|ended| *ended > finished) {
            let what =
                format!("{} {}: held and ended at {late}, after {finished}", d.app, d.release);
            universe.violations.push(what);
        }
    }

    /// What deployments in steps came through.
    fn cover_steps(&mut self, d: &Deployment) {
        for run in &d.hooks {
            if run.state.is_active() {
                let what = format!("hooks: {} of a deployment that ended is active", run.name);
                self.universe.lock().unwrap().violations.push(what);
            }
            match (run.state, run.stage, &run.what) {
                (HookState::Failed, HookStage::PreDeploy, _) => self.cover("pre_deploy failed"),
                (HookState::Failed, HookStage::PostDeploy, _) => self.cover("post_deploy failed"),
                (HookState::Cancelled, ..) => self.cover("hook cancelled"),
                (HookState::Succeeded, _, HookWhat::Webhook { .. }) => {
                    self.cover("webhook succeeded");
                }
                (HookState::Succeeded, ..) => self.cover("hook succeeded"),
                _ => {}
            }
            let again = matches!(run.what, HookWhat::Command { .. }) && run.attempts > 1;
            if again {
                self.cover("hook run again");
            }
        }
        match (d.strategy, d.state) {
            (Strategy::Canary, DeploymentState::Succeeded) => self.cover("canary succeeded"),
            (Strategy::Canary, DeploymentState::RolledBack) => self.cover("canary rolled back"),
            (Strategy::Canary, DeploymentState::Superseded) => self.cover("canary superseded"),
            (Strategy::BlueGreen, DeploymentState::Succeeded) => self.cover("blue-green succeeded"),
            (Strategy::BlueGreen, DeploymentState::RolledBack) => {
                self.cover("blue-green rolled back");
            }
            (Strategy::Recreate, DeploymentState::Succeeded) => self.cover("recreate succeeded"),
            (Strategy::Recreate, DeploymentState::RolledBack) => {
                self.cover("recreate rolled back");
            }
            _ => {}
        }
        for judged in d.rollout.iter().flat_map(|r| &r.judgements) {
            self.cover(match judged.judgement.verdict {
                Verdict::Pass => "verdict pass",
                Verdict::Fail => "verdict fail",
                Verdict::Inconclusive => "verdict inconclusive",
            });
        }
        match d.watch.as_ref().and_then(|watch| watch.end) {
            Some(WatchEnd::Completed) => self.cover("watch completed"),
            Some(WatchEnd::RolledBack) => self.cover("watch rolled back"),
            Some(WatchEnd::FoundBad) => self.cover("watch found it bad"),
            Some(WatchEnd::CutShort) => self.cover("watch cut short"),
            None => {}
        }
        if d.kind == DeploymentKind::Rollback && d.created_by == "ark" {
            self.cover("rolled back by the watch");
        }
        if d.rollout.as_ref().is_some_and(|r| r.released_at.is_some()) {
            self.cover("old side let go");
        }
    }

    fn outcome(mut self) -> Outcome {
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
