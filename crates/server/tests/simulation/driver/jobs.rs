//! Work that ends, in the simulation: a job that users ask for and a schedule of every minute, with
//! what must hold of them:
//!
//! - every firing is decided exactly once, whatever crashes: it runs, is skipped, or counts as missed;
//! - no run has two attempts at once, and no schedule that forbids it two runs (checked by the engine);
//! - what ended well by itself is on record as a success, unless the engine said nothing of it for a
//!   minute after it was told to end, and nothing is lost;
//! - every run ends (I1).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ark_model::artifact::Artifact;
use ark_model::definition::{Definition, DurationText, Missed, Overlap, Run, RunKind};
use ark_model::environment::AppState;
use ark_model::instance::EngineState;
use ark_model::release::ReleaseContent;
use ark_model::run::{Attempt, AttemptEnd, RunCause, RunOutcome, RunRecord, RunState, RunStop};
use ark_model::{ReleaseNumber, RunId};
use ark_server::world::Clock;
use ark_store::{NewRelease, ReadTx, Store};
use jiff::{SignedDuration, Timestamp};

use super::{Simulation, app, block, env};
use crate::chance::Dice;
use crate::universe::{Once, Universe};

/// Run when somebody asks.
const JOB: &str = "batch";
/// Run each minute.
const CRON: &str = "tick";
const MINUTE: SignedDuration = SignedDuration::from_secs(60);
/// More runs than a simulation makes of one app, and fewer than are kept.
const RUNS_MAX: usize = 100;

/// Whether nobody could say how it ended: it was told to, and the engine was silent for a minute.
fn given_up(attempt: &Attempt) -> bool {
    let told_and_ended = attempt.stopping_at.zip(attempt.ended_at);
    told_and_ended.is_some_and(|(told, ended)| ended.duration_since(told) >= MINUTE)
        && matches!(attempt.end, Some(AttemptEnd::Stopped | AttemptEnd::TimedOut))
}

/// Both apps are live from the beginning.
pub(super) fn begin(
    store: &Store,
    dice: &mut Dice,
    universe: &Arc<Mutex<Universe>>,
    start: Timestamp,
) {
    let overlap = match dice.below(3) {
        0 => Overlap::Forbid,
        1 => Overlap::Allow,
        _ => Overlap::Replace,
    };
    let missed = if dice.one_in(2) { Missed::RunOnce } else { Missed::Skip };
    for (name, kind) in [(JOB, RunKind::Job), (CRON, RunKind::Cron)] {
        let mut run = Run::of_kind(kind);
        run.command = Some(vec!["./job".into()]);
        run.stop_grace = DurationText::from_secs(5);
        if kind == RunKind::Cron {
            run.schedule = Some("* * * * *".into());
            (run.overlap, run.missed, run.retries) = (overlap, missed, 1);
            run.timeout = Some(DurationText::from_secs(40));
        }
        let definition = Definition { run, ..Definition::default() };
        let content =
            ReleaseContent { artifact: Artifact::None, definition, config: BTreeMap::new() };
        let made = block(store.write(move |tx| {
            tx.insert_release(NewRelease {
                env: env(),
                app: app(name),
                content,
                config_version: 0,
                created_at: start,
                created_by: "ana".into(),
                commit: None,
            })?;
            let mut state = AppState::new(env(), app(name), start);
            state.live = Some(ReleaseNumber(1));
            tx.put_app_state(&state)
        }));
        made.unwrap();
    }
    let apps = &mut universe.lock().unwrap().jobs.apps;
    // Runs that somebody asks for have an argument of their own, by which they are told apart.
    apps.insert(app(JOB), Once::Command);
    let once = if overlap == Overlap::Allow { Once::Nothing } else { Once::App };
    apps.insert(app(CRON), once);
}

impl Simulation {
    pub(super) fn user_of_jobs(&mut self) {
        match self.dice.below(10) {
            0..=4 => self.ask_for_a_run(),
            5..=6 => self.stop_a_run(),
            7 => self.pause(),
            8 => self.go_on(),
            _ => self.stop_or_start_the_job(),
        }
    }

    fn ask_for_a_run(&mut self) {
        let (id, now) = (RunId(self.ids.next()), self.clock.now());
        let retries = self.dice.below(3) as u32;
        let timeout = Duration::from_secs(2 + self.dice.below(40));
        self.change(JOB, move |tx, state| {
            if state.stopped {
                return Ok("is stopped: no run".into());
            }
            let number = tx.next_run_number(&env(), &app(JOB))?;
            tx.insert_run(&RunRecord {
                id,
                env: env(),
                app: app(JOB),
                number,
                release: ReleaseNumber(1),
                cause: RunCause::Asked { by: "ana".into() },
                args: vec![format!("run-{number}")],
                retries,
                timeout,
                alone: false,
                state: RunState::Waiting,
                attempts: Vec::new(),
                start_after: None,
                stop: None,
                created_at: now,
                ended_at: None,
                outcome: None,
            })?;
            Ok(format!("run {number}, {retries} retries"))
        });
    }

    fn stop_a_run(&mut self) {
        let now = self.clock.now();
        let name = if self.dice.one_in(2) { JOB } else { CRON };
        self.change(name, move |tx, _| {
            let active = tx.active_runs_of(&env(), &app(name))?;
            let Some(mut run) = active.into_iter().find(|run| run.stop.is_none()) else {
                return Ok("no run to stop".into());
            };
            run.stop = Some(RunStop { by: "ana".into(), why: "enough".into(), at: now });
            tx.put_run(&run)?;
            Ok(format!("stops run {}", run.number))
        });
    }

    fn stop_or_start_the_job(&mut self) {
        self.change(JOB, move |tx, mut state| {
            state.stopped = !state.stopped;
            tx.put_app_state(&state)?;
            Ok(format!("stopped: {}", state.stopped))
        });
    }

    /// Nothing fires from now on.
    pub(super) fn pause(&mut self) {
        let now = self.clock.now();
        self.change(CRON, move |tx, _| {
            let Some(mut cron) = tx.cron(&env(), &app(CRON))? else {
                return Ok("is not followed yet".into());
            };
            let by = RunStop { by: "ana".into(), why: String::new(), at: now };
            cron.paused = cron.paused.or(Some(by));
            tx.put_cron(&cron)?;
            Ok("paused".into())
        });
    }

    fn go_on(&mut self) {
        let (now, paused) = (self.clock.now(), Arc::new(Mutex::new(None)));
        let told = paused.clone();
        self.change(CRON, move |tx, _| {
            let Some(mut cron) = tx.cron(&env(), &app(CRON))? else {
                return Ok("is not followed yet".into());
            };
            if cron.paused.take().is_none() {
                return Ok("goes on as it was".into());
            }
            *told.lock().unwrap() = Some(cron.decided);
            cron.decided = cron.decided.max(now);
            tx.put_cron(&cron)?;
            Ok("goes on".into())
        });
        if let Some(from) = paused.lock().unwrap().take() {
            self.pauses.push((from, now));
            self.cover("schedule paused for a while");
        }
    }

    fn runs(&self, name: &'static str) -> Vec<RunRecord> {
        let all =
            block(self.store.read(move |tx| tx.runs_of(&env(), &app(name), None, RUNS_MAX + 1)));
        all.unwrap()
    }

    pub(super) fn cover_active_runs(&self) {
        for run in block(self.store.read(ReadTx::active_runs)).unwrap() {
            self.cover(match run.state {
                RunState::Waiting => "crash with a run Waiting",
                RunState::Starting => "crash with a run Starting",
                RunState::Running => "crash with a run Running",
                RunState::Stopping => "crash with a run Stopping",
                RunState::Ended => "crash with a run Ended",
            });
        }
    }

    /// Runs that go on, and instances of runs that are over.
    pub(super) fn unsettled_runs(&self) -> Vec<String> {
        let active = block(self.store.read(ReadTx::active_runs)).unwrap();
        let mut left: Vec<String> = active
            .iter()
            .map(|run| format!("run {} of {} is still {:?}", run.number, run.app, run.state))
            .collect();
        let u = self.universe.lock().unwrap();
        for (id, i) in &u.instances {
            let ended =
                matches!(i.state, EngineState::Exited { .. } | EngineState::StartFailed { .. });
            let carried = active.iter().any(|run| run.is_carried_by(*id));
            if [JOB, CRON].contains(&i.app.as_str()) && !ended && !carried {
                left.push(format!("{} has an orphan of a run", i.app));
            }
        }
        left
    }

    /// What must hold of all runs in the end.
    pub(super) fn check_runs(&mut self) {
        let mut wrong = Vec::new();
        for run in [JOB, CRON].into_iter().flat_map(|name| self.runs(name)) {
            self.cover_run(&run);
            let u = self.universe.lock().unwrap();
            for attempt in &run.attempts {
                let name = format!("run {} of {}", run.number, run.app);
                if attempt.end == Some(AttemptEnd::Lost) {
                    wrong.push(format!("{name} was lost"));
                }
                let well = u.jobs.exits.get(&attempt.instance) == Some(&0);
                if well && !given_up(attempt) && run.outcome != Some(RunOutcome::Succeeded) {
                    wrong.push(format!("{name} ended well, and is {:?}", run.outcome));
                }
            }
        }
        wrong.extend(self.check_firings());
        let now = self.clock.now();
        let violations = &mut self.universe.lock().unwrap().violations;
        violations.extend(wrong.into_iter().map(|what| format!("{now} runs: {what}")));
    }

    /// Each minute from the first that is on record to the last that is decided stands there once,
    /// but for those in a pause.
    fn check_firings(&self) -> Vec<String> {
        let cron = block(self.store.read(|tx| tx.cron(&env(), &app(CRON)))).unwrap();
        let Some(cron) = cron else { return Vec::new() };
        let runs = self.runs(CRON);
        assert!(runs.len() <= RUNS_MAX, "older ones are forgotten");
        let mut decided: BTreeMap<Timestamp, u32> = BTreeMap::new();
        for run in &runs {
            let RunCause::Schedule { at, .. } = run.cause else { continue };
            let mut minute = match &run.outcome {
                Some(RunOutcome::Missed { first, .. }) => *first,
                _ => at,
            };
            while minute <= at {
                *decided.entry(minute).or_default() += 1;
                minute += MINUTE;
            }
        }
        let mut wrong = Vec::new();
        let Some(mut minute) = decided.keys().next().copied() else { return wrong };
        while minute <= cron.decided {
            let paused = self.pauses.iter().any(|(from, to)| *from < minute && minute <= *to);
            match decided.get(&minute).copied().unwrap_or(0) {
                1 => {}
                0 if paused => {}
                n => wrong.push(format!("the firing of {minute} stands {n} times")),
            }
            minute += MINUTE;
        }
        wrong
    }

    fn cover_run(&self, run: &RunRecord) {
        match &run.outcome {
            Some(RunOutcome::Succeeded) => self.cover("run succeeded"),
            Some(RunOutcome::Failed { end: AttemptEnd::TimedOut }) => self.cover("run timed out"),
            Some(RunOutcome::Failed { .. }) => self.cover("run failed"),
            Some(RunOutcome::Stopped { .. }) => self.cover("run stopped"),
            Some(RunOutcome::Skipped { .. }) => self.cover("firing skipped"),
            Some(RunOutcome::Missed { .. }) => self.cover("firings missed"),
            None => self.cover("run without an end"),
        }
        if run.attempts.len() > 1 {
            self.cover("run tried again");
        }
        match run.cause {
            RunCause::Schedule { caught_up: true, .. } => self.cover("firing made up for"),
            RunCause::Schedule { caught_up: false, .. } => self.cover("schedule fired"),
            RunCause::Asked { .. } => self.cover("run asked for"),
        }
    }
}
