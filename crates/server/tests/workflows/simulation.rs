//! The simulation: the real runtime on an inline store, under one seeded scheduler. Users start and
//! stop executions, workers poll, succeed, fail, vanish with their task or answer twice; time
//! passes; the server is crashed at any await, which is before and after each commit, and replaced
//! while the old one still has calls under way. Half of the machines have distributed Maps
//! (`simulated_maps`).
//!
//! Looked at after each run, once everything has healed: no acknowledged start or result is lost,
//! no task is completed twice, histories are contiguous, everything ends. Then all that did not succeed
//! is redriven, and must succeed. That each row is what its history makes of it (`replay`) is looked at
//! while everything runs, too, but for machines with map runs, whose histories do not hold all that
//! they were told.
//! A failing seed prints itself; `ARK_SIM_SEED=n` replays it alone, `ARK_SIM_SEEDS=n` runs more.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ark_model::workflow::MachineType;
use ark_server::workflows::driver::Driver;
use ark_server::workflows::{
    StartExecution, UpdateMapRun, WorkflowError, WorkflowWorld, Workflows,
};
use ark_server::world::{CONTROLLER_LEASE, Clock, Fence};
use ark_states::Definition;
use ark_store::Store;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::clock::SimClock;
use crate::dice::Dice;
use crate::fixture::{TestEntropy, clock};
use crate::simulated_maps::{self, SimObjects};

const SEEDS: u64 = 60;
const STEPS: u64 = 300;
pub(crate) const MACHINES: [&str; 9] =
    ["task", "parallel", "wait", "nested", "mapped", "tolerant", "files", "outer", "beside"];

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// What the users and workers know: only what was acknowledged to them.
#[derive(Default)]
pub(crate) struct Ledger {
    /// Starts that were acknowledged: ARN and input.
    pub(crate) started: Vec<(String, String)>,
    /// Stops that were acknowledged.
    pub(crate) stopped: Vec<String>,
    /// Results that were acknowledged, by token: how often.
    pub(crate) results: HashMap<String, u32>,
    /// Tokens of Express executions, whose histories nobody keeps.
    pub(crate) express: HashSet<String>,
    /// Tasks in the hands of workers: token and input.
    pub(crate) held: Vec<(String, String)>,
    pub(crate) violations: Vec<String>,
    pub(crate) covered: BTreeMap<&'static str, u64>,
}

impl Ledger {
    fn cover(&mut self, what: &'static str) {
        *self.covered.entry(what).or_default() += 1;
    }
}

pub(crate) type Shared = Arc<Mutex<Ledger>>;
pub(crate) type Call = Pin<Box<dyn Future<Output = ()>>>;

pub(crate) struct Simulation {
    pub(crate) dice: Dice,
    pub(crate) clock: Arc<SimClock>,
    pub(crate) store: Store,
    pub(crate) ledger: Shared,
    pub(crate) wf: Workflows,
    pub(crate) driver: Call,
    pub(crate) calls: Vec<Call>,
    pub(crate) activity: String,
    /// The activity that Express executions use.
    pub(crate) express: String,
    pub(crate) definitions: BTreeMap<String, Definition>,
    pub(crate) objects: Arc<SimObjects>,
    pub(crate) lives: u64,
    pub(crate) fuel: u64,
    pub(crate) names: u64,
}

pub(crate) fn block<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..1_000_000 {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
    }
    panic!("a call never ended");
}

fn definitions(activity: &str) -> Vec<(&'static str, Value)> {
    let retry = json!([{"ErrorEquals": ["States.ALL"], "IntervalSeconds": 2, "MaxAttempts": 4}]);
    let task = |name: &str| {
        json!({name: {"Type": "Task", "Resource": activity, "TimeoutSeconds": 60,
            "HeartbeatSeconds": 20, "Retry": retry, "End": true}})
    };
    let child = "arn:aws:states:us-east-1:000000000000:stateMachine:task";
    vec![
        ("task", json!({"StartAt": "A", "States": task("A")})),
        (
            "parallel",
            json!({"StartAt": "P", "States": {"P": {"Type": "Parallel", "End": true, "Branches": [
                {"StartAt": "B", "States": task("B")},
                {"StartAt": "C", "States": task("C")},
                {"StartAt": "D", "States": {"D": {"Type": "Wait", "Seconds": 3, "End": true}}}]}}}),
        ),
        (
            "wait",
            json!({"StartAt": "W", "States": {
                "W": {"Type": "Wait", "Seconds": 5, "Next": "M"},
                "M": {"Type": "Map", "ItemsPath": "$.items", "MaxConcurrency": 2, "End": true,
                    "ItemProcessor": {"StartAt": "E", "States": task("E")}}}}),
        ),
        (
            "nested",
            json!({"StartAt": "N", "States": {"N": {"Type": "Task", "End": true,
                "Resource": "arn:aws:states:::states:startExecution.sync:2",
                "Parameters": {"StateMachineArn": child, "Input": {"nested": true}}}}}),
        ),
    ]
}

pub(crate) fn machine_arn(name: &str) -> String {
    format!("arn:aws:states:us-east-1:000000000000:stateMachine:{name}")
}

/// Units of fuel that a step may cost on the writer: none in every third seed, where all events go
/// through inboxes.
fn trial_fuel(seed: u64) -> u64 {
    if seed.is_multiple_of(3) { 0 } else { 20_000 }
}

pub(crate) fn life(
    store: &Store,
    clock: &Arc<SimClock>,
    objects: &Arc<SimObjects>,
    seed: u64,
    fuel: u64,
) -> (Workflows, Call) {
    let now = clock.now();
    let lease =
        block(store.write(move |tx| {
            tx.acquire_lease(CONTROLLER_LEASE, "sim", now, Duration::from_secs(15))
        }))
        .unwrap()
        .unwrap();
    let wf = Workflows::new(WorkflowWorld {
        store: store.clone(),
        clock: clock.clone(),
        entropy: TestEntropy::new(seed),
        fence: Fence { token: lease.token },
    })
    .with_trial_fuel(fuel)
    .with_work_inline()
    .with_objects(objects.clone());
    let driven = wf.clone();
    let clock = clock.clone();
    let driver: Call = Box::pin(async move {
        let mut driver = Driver::default();
        loop {
            let next = match driver.round(&driven).await {
                Ok(next) => next,
                Err(_) => clock.now() + SignedDuration::from_millis(200),
            };
            // An error shows again in the next round.
            let _ = driven.think().await;
            let _ = driven.serve_objects().await;
            let soon = clock.now() + SignedDuration::from_millis(100);
            Clock::sleep_until(&*clock, next.min(soon)).await;
        }
    });
    (wf, driver)
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let clock = clock();
        let store = Store::inline_in_memory(clock.now()).unwrap();
        let activity = "arn:aws:states:us-east-1:000000000000:activity:a".to_owned();
        let now = clock.now();
        let express = "arn:aws:states:us-east-1:000000000000:activity:x".to_owned();
        let quick = json!({"StartAt": "X", "States": {
            "X": {"Type": "Task", "Resource": express, "TimeoutSeconds": 60, "End": true}}});
        let mut machines = definitions(&activity);
        let parsed = machines.iter().map(|(name, text)| {
            (machine_arn(name), Definition::parse(&text.to_string()).expect("a definition"))
        });
        let definitions = parsed.collect();
        machines.extend(simulated_maps::definitions(&activity));
        let objects = Arc::new(SimObjects::new(seed));
        block(store.write(move |tx| -> Result<(), ark_store::StoreError> {
            tx.insert_activity("a", "us-east-1", "{}", now)?;
            tx.insert_activity("x", "us-east-1", "{}", now)?;
            let id = tx.insert_machine("express", "us-east-1", MachineType::Express, now)?;
            tx.insert_machine_revision(id, "express", &quick.to_string(), "{}", now)?;
            for (name, definition) in machines {
                let id = tx.insert_machine(name, "us-east-1", MachineType::Standard, now)?;
                tx.insert_machine_revision(id, name, &definition.to_string(), "{}", now)?;
            }
            Ok(())
        }))
        .unwrap();
        let fuel = trial_fuel(seed);
        let (wf, driver) = life(&store, &clock, &objects, seed, fuel);
        Self {
            dice: Dice::of(seed),
            clock,
            store,
            ledger: Shared::default(),
            wf,
            driver,
            calls: Vec::new(),
            activity,
            express,
            definitions,
            objects,
            lives: seed << 32,
            fuel,
            names: 0,
        }
    }

    pub(crate) fn cover(&self, what: &'static str) {
        self.ledger.lock().unwrap().cover(what);
    }

    /// Polls one of the futures once.
    fn advance(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        let at = self.dice.below(self.calls.len() + 1);
        if at == self.calls.len() {
            let _ = self.driver.as_mut().poll(&mut context);
        } else if self.calls[at].as_mut().poll(&mut context).is_ready() {
            drop(self.calls.swap_remove(at));
        }
    }

    fn start(&mut self) {
        let name = MACHINES[self.dice.below(MACHINES.len())];
        self.names += 1;
        // Now and then a name that may be in use.
        let named = if self.dice.one_in(4) { self.names.saturating_sub(2) } else { self.names };
        let input = simulated_maps::input(named).to_string();
        let start = StartExecution {
            machine_arn: machine_arn(name),
            name: Some(format!("n{named}")),
            input: Some(input.clone()),
            ..StartExecution::default()
        };
        let (wf, ledger) = (self.wf.clone(), self.ledger.clone());
        self.calls.push(Box::pin(async move {
            let answer = wf.start_execution(start).await;
            let mut ledger = ledger.lock().unwrap();
            match answer {
                Ok(started) => {
                    ledger.cover("start acknowledged");
                    ledger.started.push((started.execution_arn, input));
                }
                Err(WorkflowError::Fenced) => ledger.cover("start by a replaced server refused"),
                Err(_) => ledger.cover("start refused"),
            }
        }));
    }

    fn start_express(&mut self) {
        let start = StartExecution {
            machine_arn: machine_arn("express"),
            input: Some("{}".to_owned()),
            ..StartExecution::default()
        };
        let (wf, ledger) = (self.wf.clone(), self.ledger.clone());
        self.calls.push(Box::pin(async move {
            if wf.start_execution(start).await.is_ok() {
                ledger.lock().unwrap().cover("express start acknowledged");
            }
        }));
    }

    fn stop(&mut self) {
        let arn = {
            let ledger = self.ledger.lock().unwrap();
            if ledger.started.is_empty() {
                return;
            }
            ledger.started[self.dice.below(ledger.started.len())].0.clone()
        };
        let (wf, ledger) = (self.wf.clone(), self.ledger.clone());
        self.calls.push(Box::pin(async move {
            if wf.stop_execution(&arn, None, None).await.is_ok() {
                let mut ledger = ledger.lock().unwrap();
                ledger.cover("stop acknowledged");
                ledger.stopped.push(arn);
            }
        }));
    }

    /// What was started, chosen by chance.
    fn any_started(&mut self) -> Option<String> {
        let ledger = self.ledger.lock().unwrap();
        let started = &ledger.started;
        (!started.is_empty()).then(|| started[self.dice.below(started.len())].0.clone())
    }

    /// A child of a map run is stopped, or its run may do more or less at once.
    fn meddle(&mut self) {
        let Some(arn) = self.any_started() else { return };
        let (wf, ledger) = (self.wf.clone(), self.ledger.clone());
        let (stops, most) = (self.dice.one_in(2), 1 + self.dice.below(3) as u64);
        self.calls.push(Box::pin(async move {
            let runs = simulated_maps::runs_of(&wf, &arn).await.unwrap_or_default();
            let Some(run) = runs.first() else { return };
            if !stops {
                let change =
                    UpdateMapRun { max_concurrency: Some(most), ..UpdateMapRun::default() };
                if wf.update_map_run(&run.arn, change).await.is_ok() {
                    ledger.lock().unwrap().cover("map run changed");
                }
                return;
            }
            let children = simulated_maps::children_of(&wf, run).await.unwrap_or_default();
            let running = children.iter().find(|child| !child.status.is_ended());
            if let Some(child) = running
                && wf.stop_execution(&child.arn, None, None).await.is_ok()
            {
                ledger.lock().unwrap().cover("child of a map run stopped");
            }
        }));
    }

    /// What was stopped or failed goes on.
    fn redrive(&mut self) {
        let stopped = {
            let ledger = self.ledger.lock().unwrap();
            let stopped = &ledger.stopped;
            (!stopped.is_empty()).then(|| stopped[self.dice.below(stopped.len())].clone())
        };
        let chosen = if self.dice.one_in(2) { stopped } else { self.any_started() };
        let Some(arn) = chosen else { return };
        let (wf, ledger) = (self.wf.clone(), self.ledger.clone());
        self.calls.push(Box::pin(async move {
            if wf.redrive_execution(&arn, None).await.is_ok() {
                ledger.lock().unwrap().cover("redrive acknowledged");
            }
        }));
    }

    fn poll(&mut self) {
        let express = self.dice.one_in(6);
        let activity = if express { self.express.clone() } else { self.activity.clone() };
        let (wf, ledger) = (self.wf.clone(), self.ledger.clone());
        let deadline = self.clock.now() + SignedDuration::from_secs(2);
        let arrives = !self.dice.one_in(5);
        self.calls.push(Box::pin(async move {
            let Ok(Some(task)) = wf.poll_activity(&activity, None, deadline).await else { return };
            let mut ledger = ledger.lock().unwrap();
            if express {
                ledger.cover("express task handed out");
                ledger.express.insert(task.token.clone());
            }
            if arrives {
                ledger.cover("task handed out");
                ledger.held.push((task.token.clone(), task.input.clone()));
                drop(ledger);
                task.delivered();
            } else {
                ledger.cover("task lost on the wire");
            }
        }));
    }

    fn answer(&mut self) {
        let (token, input) = {
            let mut ledger = self.ledger.lock().unwrap();
            if ledger.held.is_empty() {
                return;
            }
            let at = self.dice.below(ledger.held.len());
            // Now and then it is answered by two.
            if self.dice.one_in(4) { ledger.held[at].clone() } else { ledger.held.swap_remove(at) }
        };
        let kind = self.dice.below(8);
        let (wf, ledger) = (self.wf.clone(), self.ledger.clone());
        self.calls.push(Box::pin(async move {
            let answered = match kind {
                0 => wf.task_failed(&token, Some("E".into()), None).await,
                1 => return drop(wf.task_heartbeat(&token).await),
                _ => wf.task_succeeded(&token, input).await,
            };
            let mut ledger = ledger.lock().unwrap();
            match answered {
                Ok(()) => {
                    ledger.cover("result acknowledged");
                    let times = ledger.results.entry(token).or_default();
                    *times += 1;
                    if *times > 1 {
                        ledger.violations.push("a task was completed twice".to_owned());
                    }
                }
                Err(WorkflowError::Fenced) => ledger.cover("result to a replaced server refused"),
                Err(_) => ledger.cover("late result refused"),
            }
        }));
    }

    /// The server is killed: every future is dropped where it stands. Or it is paused: its calls go
    /// on beside the new one.
    fn replace(&mut self) {
        let stale = self.dice.one_in(3);
        if stale {
            self.cover("server replaced while it goes on");
        } else {
            self.calls.clear();
            self.cover("server crashed");
        }
        self.lives += 1;
        let (wf, driver) = life(&self.store, &self.clock, &self.objects, self.lives, self.fuel);
        self.wf = wf;
        let old = std::mem::replace(&mut self.driver, driver);
        if stale {
            self.calls.push(old);
        }
    }

    fn step(&mut self) {
        match self.dice.below(40) {
            0 | 1 if self.dice.one_in(8) => self.start_express(),
            0 | 1 => self.start(),
            2 => {
                if self.dice.one_in(6) {
                    self.stop();
                } else if self.dice.one_in(4) {
                    self.redrive();
                } else if self.dice.one_in(4) {
                    self.meddle();
                }
            }
            3..=5 if self.calls.len() < 20 => self.poll(),
            6..=8 => self.answer(),
            9 => {
                let by = [10, 500, 3_000, 25_000][self.dice.below(4)];
                self.clock.advance(SignedDuration::from_millis(by));
            }
            10 if self.dice.one_in(5) => self.replace(),
            _ => self.advance(),
        }
    }
}

pub(crate) fn simulate(seed: u64) -> (Vec<String>, BTreeMap<&'static str, u64>) {
    let mut simulation = Simulation::new(seed);
    for _ in 0..STEPS {
        simulation.step();
    }
    let mut violations = Vec::new();
    simulation.replay_all(&mut violations);
    simulation.settle();
    violations.extend(simulation.judge());
    simulation.replay_all(&mut violations);
    if violations.is_empty() {
        simulation.redrive_all(&mut violations);
        violations.extend(simulation.judge());
        simulation.replay_all(&mut violations);
    }
    simulation.cover_maps();
    let covered = std::mem::take(&mut simulation.ledger.lock().unwrap().covered);
    (violations, covered)
}

#[test]
#[allow(clippy::print_stdout, reason = "what was injected and reached is part of the result")]
fn nothing_acknowledged_is_lost_or_doubled_whatever_crashes() {
    let (first, last) = match number("ARK_SIM_SEED") {
        Some(seed) => (seed, seed),
        None => (1, number("ARK_SIM_SEEDS").unwrap_or(SEEDS)),
    };
    let mut coverage: BTreeMap<&'static str, u64> = BTreeMap::new();
    for seed in first..=last {
        let (violations, covered) = simulate(seed);
        for (what, n) in covered {
            *coverage.entry(what).or_default() += n;
        }
        assert!(
            violations.is_empty(),
            "seed {seed} (replay with ARK_SIM_SEED={seed}):\n{}",
            violations.join("\n")
        );
    }
    let lines: Vec<String> = coverage.iter().map(|(k, n)| format!("{n:>9}  {k}")).collect();
    println!("{} seeds, coverage:\n{}", last - first + 1, lines.join("\n"));
    if first == last {
        return;
    }
    for must in [
        "server crashed",
        "server replaced while it goes on",
        "start acknowledged",
        "start by a replaced server refused",
        "stop acknowledged",
        "redrive acknowledged",
        "running row replayed",
        "event waits in an inbox",
        "ended row replayed",
        "express start acknowledged",
        "express task handed out",
        "task handed out",
        "task lost on the wire",
        "result acknowledged",
        "result to a replaced server refused",
        "late result refused",
        "items could not be read",
        "map run changed",
        "map run redriven",
        "failed child tolerated",
        "child of a map run stopped",
        "child of a map run succeeded",
        "child of a map run failed",
        "child of a map run aborted",
        "all redriven and ended well",
    ] {
        assert!(coverage.contains_key(must), "never happened: {must}");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    assert_eq!(simulate(7).1, simulate(7).1);
}
