//! The loop of runs: makes runs of schedules that fire, and carries every run to its end.
//!
//! A round looks at all schedules and at all runs that are not over. What a run does next is decided
//! by `ark_planner::runs`, recorded in a transaction that checks that the run is still as it was read,
//! and only then carried out; every call of the engine may be repeated. Run by `ark server`; must not
//! spawn, sleep or read a clock except through the world.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ark_engine::{EngineError, EngineKind, StopOptions};
use ark_model::environment::EnvState;
use ark_model::event::EventKind;
use ark_model::instance::{EngineState, InstanceRecord, InstanceState, StartFailure};
use ark_model::run::{Attempt, AttemptEnd, RunRecord, RunState};
use ark_model::{AppName, EnvName, InstanceId, NodeName, Release};
use ark_planner::runs::{Seen, Step, next};
use ark_planner::time::{after, since};
use ark_store::{ReadTx, StoreError, WriteTx};
use futures::future::{Either, select};
use futures::stream::{self, StreamExt};
use jiff::Timestamp;

use super::crons::{Crons, event, fenced};
use super::reconcile::ReleaseFacts;
use super::round::{self, Look, Looking, RETRY, TaskError};
use super::start_spec::{self, SpecError};
use crate::world::World;

/// Everything is looked at this often even if nothing seems to have changed.
const LOOK: Duration = Duration::from_secs(10);
/// Many commits in a row lead to one look.
const SETTLE: Duration = Duration::from_millis(20);
/// How long one call of the engine may take.
const CALL_DEADLINE: Duration = Duration::from_secs(10);
/// The most characters that are kept of why an attempt is not started.
const HELD_CHARS_MAX: usize = 500;
/// Runs worked on at the same time.
const PARALLEL: usize = 16;
/// Runs of an app that are kept, those that ended last, and as many firings that did not run; what an older
/// one did is forgotten.
pub const RUNS_KEPT: u64 = 100;
/// Runs forgotten at once.
pub(super) const PRUNE_MAX: usize = 500;
/// Who does what the loop does.
const ARK: &str = "ark";

/// A run with what is to be known for its next step.
struct Loaded {
    run: RunRecord,
    release: Option<Release>,
    ending: Option<&'static str>,
    others: bool,
}

/// The loop's memory: timetables of releases, and since when it looks.
#[derive(Debug, Default)]
pub struct Runs {
    crons: Crons,
    looking: Looking,
}

impl Runs {
    /// One round. Answers when the next is due if nothing changes before.
    ///
    /// # Errors
    /// When the store cannot be read, or another controller has taken over.
    pub async fn round(&mut self, world: &World) -> Result<Timestamp, TaskError> {
        let halting = world.halt.load(Ordering::Relaxed);
        let begun = self.looking.look(world.clock.as_ref());
        let fires = match halting {
            true => None,
            // Runs go on whatever becomes of the schedules.
            false => round::part(world.clock.now(), self.crons.round(world).await, |error| {
                tracing::warn!(error, "the schedules could not be looked at");
            })?,
        };
        let loaded = load(world, halting).await?;
        let busy = |l: &Result<Loaded, StoreError>| {
            l.as_ref().is_ok_and(|loaded| loaded.run.current().is_some())
        };
        let states = if loaded.iter().any(busy) { look(world).await } else { Looked::default() };
        let states = &states;
        let steps: Vec<Result<Option<Timestamp>, TaskError>> = stream::iter(loaded)
            .map(|loaded| async move { advance(world, &loaded?, states, begun).await })
            .buffer_unordered(PARALLEL)
            .collect()
            .await;
        let now = world.clock.now();
        let mut wake = [Some(after(now, LOOK)), fires].into_iter().flatten().min();
        for step in steps {
            let at = round::part(now, step, |error| tracing::warn!(error, "a run did not go on"))?;
            wake = [wake, at].into_iter().flatten().min();
        }
        Ok(wake.unwrap_or(now))
    }
}

/// All runs that are not over; what cannot be read of one holds up no other.
async fn load(world: &World, halting: bool) -> Result<Vec<Result<Loaded, StoreError>>, TaskError> {
    world
        .store
        .read(move |tx| -> Result<_, TaskError> {
            let runs = tx.active_runs()?;
            let mut oldest: HashMap<(EnvName, AppName), u64> = HashMap::new();
            for run in &runs {
                let key = (run.env.clone(), run.app.clone());
                let first = oldest.entry(key).or_insert(run.number);
                *first = run.number.min(*first);
            }
            let all = runs.into_iter().map(|run| {
                let first = oldest.get(&(run.env.clone(), run.app.clone()));
                let others = first.is_some_and(|first| *first < run.number);
                load_one(tx, run, others, halting)
            });
            Ok(all.collect())
        })
        .await
}

fn load_one(
    tx: &ReadTx,
    run: RunRecord,
    others: bool,
    halting: bool,
) -> Result<Loaded, StoreError> {
    let environment = tx.environment(&run.env)?;
    let stopped = tx.app_state(&run.env, &run.app)?.is_none_or(|app| app.stopped);
    let destroying = environment.is_none_or(|e| e.state == EnvState::Destroying);
    let ending = match (halting, destroying, stopped) {
        (true, ..) => Some("Ark is being shut down with its apps"),
        (_, true, _) => Some("the environment is being destroyed"),
        (_, _, true) => Some("the app is stopped"),
        (false, false, false) => None,
    };
    let release = tx.release(&run.env, &run.app, run.release)?;
    Ok(Loaded { run, release, ending, others })
}

/// What the engines say; of the instances of a silent one nothing is known.
#[derive(Debug, Default)]
struct Looked {
    states: HashMap<InstanceId, EngineState>,
    /// With what each of them failed.
    silent: Vec<(EngineKind, String)>,
    /// Why nothing is known of anything.
    blind: Option<String>,
}

impl Looked {
    fn state(&self, id: InstanceId, kind: Option<EngineKind>) -> Option<EngineState> {
        if self.blind.is_some() {
            return None;
        }
        if let Some(state) = self.states.get(&id) {
            return Some(state.clone());
        }
        let asked = self.silent.is_empty()
            || kind.is_some_and(|kind| !self.silent.iter().any(|(silent, _)| *silent == kind));
        asked.then_some(EngineState::Gone)
    }

    /// Why nothing is known of an instance of this engine.
    fn silence(&self, kind: Option<EngineKind>) -> Option<String> {
        let of_kind =
            self.silent.iter().find(|(silent, _)| kind.is_none_or(|kind| *silent == kind));
        let why = self.blind.as_ref().or(of_kind.map(|(_, why)| why))?;
        let engine = kind.map(|kind| format!("{kind} ")).unwrap_or_default();
        let host = NodeName::local();
        Some(held_words(&format!("the {engine}engine of host {host} does not answer: {why}")))
    }
}

async fn look(world: &World) -> Looked {
    let deadline = world.clock.sleep_until(after(world.clock.now(), CALL_DEADLINE));
    let blind = match select(Box::pin(world.engine.look()), deadline).await {
        Either::Left((Ok(sight), _)) => {
            return Looked {
                states: sight.seen.into_iter().map(|i| (i.id, i.state)).collect(),
                silent: sight.silent.iter().map(|(kind, error)| (*kind, error.cause())).collect(),
                blind: None,
            };
        }
        Either::Left((Err(error), _)) => error.cause(),
        Either::Right(_) => format!("nothing within {CALL_DEADLINE:?}"),
    };
    Looked { blind: Some(blind), ..Looked::default() }
}

/// One step of one run: decided, recorded, carried out. Answers when time alone may change it.
async fn advance(
    world: &World,
    loaded: &Loaded,
    looked: &Looked,
    look: Look,
) -> Result<Option<Timestamp>, TaskError> {
    let run = &loaded.run;
    let kind = loaded.release.as_ref().map(|r| world.engine.kind_for(&r.content.artifact));
    let engine = run.current().and_then(|attempt| looked.state(attempt.instance, kind));
    let look = look.again(world.clock.as_ref());
    let step = next(run, &seen(loaded, engine.as_ref(), look));
    let now = look.at;
    match step {
        Step::Wait(until) => {
            // One that was told to start is held by the engine, as long as nothing is known of it.
            if run.state == RunState::Starting {
                let why = if engine.is_none() { looked.silence(kind) } else { None };
                hold(world, run, why).await?;
            }
            Ok(until)
        }
        Step::CallStart => start(world, loaded).await,
        Step::CallStop => stop(world, loaded).await,
        Step::Begin => {
            let recorded = record(world, run, begun(run, world.ids.instance(), now)).await?;
            let run = Loaded {
                run: recorded,
                release: loaded.release.clone(),
                ending: None,
                others: false,
            };
            start(world, &run).await
        }
        Step::Stop => {
            let mut stopping = run.clone();
            stopping.state = RunState::Stopping;
            if let Some(attempt) = stopping.attempts.last_mut() {
                attempt.stopping_at = Some(now);
            }
            let recorded = record(world, run, Change::quiet(stopping)).await?;
            let run = Loaded {
                run: recorded,
                release: loaded.release.clone(),
                ending: loaded.ending,
                others: false,
            };
            stop(world, &run).await
        }
        step => {
            // From now on its time counts: the commit is no event that would bring another look.
            let again = matches!(step, Step::Runs(_)).then_some(now);
            settle(world, run, step).await?;
            Ok(again)
        }
    }
}

fn seen<'a>(loaded: &Loaded, engine: Option<&'a EngineState>, look: Look) -> Seen<'a> {
    let grace = stop_options(loaded).grace;
    let Look { since, at: now, .. } = look;
    Seen { engine, others: loaded.others, ending: loaded.ending, grace, since, now }
}

fn stop_options(loaded: &Loaded) -> StopOptions {
    loaded.release.as_ref().map_or_else(StopOptions::default, |release| {
        let run = &release.content.definition.run;
        StopOptions { signal: run.stop_signal, grace: run.stop_grace.get() }
    })
}

/// A run as it is to be recorded, with what is said of it.
struct Change {
    run: RunRecord,
    event: Option<(EventKind, String)>,
}

impl Change {
    fn quiet(run: RunRecord) -> Self {
        Self { run, event: None }
    }
}

fn begun(run: &RunRecord, instance: InstanceId, now: Timestamp) -> Change {
    let mut run = run.clone();
    run.state = RunState::Starting;
    run.start_after = None;
    run.attempts.push(Attempt {
        instance,
        created_at: now,
        started_at: None,
        held: None,
        stopping_at: None,
        ended_at: None,
        end: None,
    });
    let text = match run.attempts.len() {
        1 => format!("run {} begins", run.number),
        n => format!("run {} begins its attempt {n} of {}", run.number, run.retries + 1),
    };
    Change { run, event: Some((EventKind::RunProgress, text)) }
}

/// Records why an attempt is not started yet, or that nothing keeps it any more.
async fn hold(world: &World, run: &RunRecord, why: Option<String>) -> Result<(), TaskError> {
    if run.current().is_none_or(|attempt| attempt.held == why) {
        return Ok(());
    }
    let mut held = run.clone();
    let before = run.current().is_some_and(|attempt| attempt.held.is_some());
    let event = why.as_ref().filter(|_| !before).map(|why| {
        (EventKind::RunProgress, format!("run {} is not started yet: {why}", run.number))
    });
    if let Some(attempt) = held.attempts.last_mut() {
        attempt.held = why;
    }
    record(world, run, Change { run: held, event }).await?;
    Ok(())
}

/// Words of an engine as they are kept in a record.
fn held_words(why: &str) -> String {
    why.chars().take(HELD_CHARS_MAX).collect()
}

/// Records what the engine was seen to have done.
async fn settle(world: &World, run: &RunRecord, step: Step) -> Result<(), TaskError> {
    let now = world.clock.now();
    let mut changed = run.clone();
    let over = |changed: &mut RunRecord, end: Option<AttemptEnd>| {
        if let (Some(attempt), Some(end)) = (changed.attempts.last_mut(), end) {
            // One that was over before it was seen to run.
            if let AttemptEnd::Exited { exit } = &end {
                attempt.started_at = attempt.started_at.or(exit.began);
            }
            attempt.ended_at = Some(now);
            attempt.end = Some(end);
        }
    };
    let event = match step {
        Step::Runs(since) => {
            changed.state = RunState::Running;
            if let Some(attempt) = changed.attempts.last_mut() {
                attempt.started_at = Some(since);
                attempt.held = None;
            }
            None
        }
        Step::Again { end, start_after } => {
            let words = end.words();
            over(&mut changed, Some(end));
            changed.state = RunState::Waiting;
            changed.start_after = Some(start_after);
            let tried = changed.attempts.len();
            let text = format!("run {}: attempt {tried} ended ({words}); again", run.number);
            Some((EventKind::RunProgress, text))
        }
        Step::End { end, outcome } => {
            over(&mut changed, end);
            let text = format!("run {} {}", run.number, outcome.words());
            changed.state = RunState::Ended;
            changed.ended_at = Some(now);
            changed.outcome = Some(outcome);
            Some((EventKind::RunEnded, text))
        }
        Step::Wait(_) | Step::Begin | Step::CallStart | Step::CallStop | Step::Stop => {
            return Ok(());
        }
    };
    let recorded = record(world, run, Change { run: changed, event }).await?;
    // Files and environment go at once; the log stays readable for a day.
    if let Some(attempt) = recorded.attempts.last().filter(|attempt| attempt.end.is_some()) {
        let removed = bounded(world, world.engine.remove(attempt.instance)).await;
        if let Err(error) = removed {
            tracing::debug!(%error, "housekeeping will remove the instance of a run");
        }
    }
    Ok(())
}

async fn record(world: &World, before: &RunRecord, change: Change) -> Result<RunRecord, TaskError> {
    let (before, fence, now) = (before.clone(), world.fence, world.clock.now());
    world
        .store
        .write(move |tx| {
            fenced(tx, fence.token)?;
            write(tx, &before, change, now)
        })
        .await
}

fn write(
    tx: &mut WriteTx,
    before: &RunRecord,
    change: Change,
    now: Timestamp,
) -> Result<RunRecord, TaskError> {
    if tx.run(before.id)?.as_ref() != Some(before) {
        return Err(TaskError::Outdated);
    }
    tx.put_run(&change.run)?;
    if let Some((kind, text)) = change.event {
        tx.append_event(event(&change.run, now, kind, ARK, text))?;
    }
    if !change.run.is_active() {
        tx.prune_runs(&change.run.env, &change.run.app, RUNS_KEPT, PRUNE_MAX)?;
    }
    Ok(change.run)
}

/// Tells the engine to start the attempt's instance. What can never be started ends the attempt.
async fn start(world: &World, loaded: &Loaded) -> Result<Option<Timestamp>, TaskError> {
    let run = &loaded.run;
    let Some(attempt) = run.current() else { return Ok(None) };
    let failed = match spec(world, run, attempt, loaded.release.as_ref()).await {
        Ok(spec) => match bounded(world, world.engine.start(&spec)).await {
            Ok(()) => None,
            Err(Failed::Ever(why)) => Some(why),
            Err(Failed::Now(why)) => {
                tracing::warn!(run = run.number, app = %run.app, %why, "the engine did not start a run");
                let why =
                    held_words(&format!("host {} did not start it: {why}", NodeName::local()));
                hold(world, run, Some(why)).await?;
                return Ok(Some(after(world.clock.now(), RETRY)));
            }
        },
        Err(SpecError::Store(error)) => return Err(error.into()),
        Err(error) => Some(error.to_string()),
    };
    let Some(detail) = failed else {
        hold(world, run, None).await?;
        return Ok(None);
    };
    let state = EngineState::StartFailed { reason: StartFailure::Other { detail } };
    // The engine has just spoken.
    let step = next(run, &seen(loaded, Some(&state), Look::first(world.clock.as_ref())));
    settle(world, run, step).await?;
    Ok(None)
}

async fn spec(
    world: &World,
    run: &RunRecord,
    attempt: &Attempt,
    release: Option<&Release>,
) -> Result<ark_engine::StartSpec, SpecError> {
    let Some(release) = release else {
        return Err(SpecError::NoManifest { digest: format!("of release {}", run.release) });
    };
    let facts = ReleaseFacts::new(release.clone());
    let record = InstanceRecord {
        id: attempt.instance,
        env: run.env.clone(),
        app: run.app.clone(),
        release: run.release,
        node: NodeName::local(),
        state: InstanceState::Starting,
        ports: Vec::new(),
        created_at: attempt.created_at,
        running_since: None,
        active_at: None,
        draining_at: None,
        stopping_at: None,
        stopped_at: None,
        process: None,
        cause: None,
    };
    let mut spec = start_spec::build(world, &record, &facts).await?;
    let kind = facts.definition.run.kind;
    match kind.ends() {
        // What the image runs takes them, as `docker run IMAGE ARGS` would.
        true if spec.command.is_empty() => spec.arguments.clone_from(&run.args),
        true => spec.command.extend(run.args.iter().cloned()),
        false => spec.command.clone_from(&run.args),
    }
    Ok(spec)
}

async fn stop(world: &World, loaded: &Loaded) -> Result<Option<Timestamp>, TaskError> {
    let Some(attempt) = loaded.run.current() else { return Ok(None) };
    let now = world.clock.now();
    let options = stop_options(loaded);
    // The grace counts from the first time it was told, not from each repetition.
    let told = attempt.stopping_at.map_or(Duration::ZERO, |at| since(at, now));
    let options = StopOptions { grace: options.grace.saturating_sub(told), ..options };
    if let Err(failed) = bounded(world, world.engine.stop(attempt.instance, options)).await {
        tracing::warn!(run = loaded.run.number, app = %loaded.run.app, %failed, "the engine did not stop a run");
    }
    Ok(Some(after(now, Duration::from_secs(1))))
}

/// Why a call of the engine came to nothing.
#[derive(Debug, thiserror::Error)]
enum Failed {
    /// It can never succeed.
    #[error("{0}")]
    Ever(String),
    /// It may, later.
    #[error("{0}")]
    Now(String),
}

async fn bounded(
    world: &World,
    call: impl Future<Output = Result<(), EngineError>>,
) -> Result<(), Failed> {
    let deadline = world.clock.sleep_until(after(world.clock.now(), CALL_DEADLINE));
    match select(Box::pin(call), deadline).await {
        Either::Left((Ok(()), _)) => Ok(()),
        Either::Left((Err(error @ EngineError::Refused { .. }), _)) => {
            Err(Failed::Ever(error.to_string()))
        }
        Either::Left((Err(error), _)) => Err(Failed::Now(error.words())),
        Either::Right(_) => Err(Failed::Now(format!("no answer within {CALL_DEADLINE:?}"))),
    }
}

/// Runs rounds until another controller takes over: after each, waits for a timer, for something that
/// was said of an app (every change of a wish or a run is an event), or for the engine.
pub async fn run(world: World) -> TaskError {
    let mut loop_ = Runs::default();
    let mut commits = world.store.commits();
    let mut engine = world.engine.changes();
    loop {
        commits.mark_unchanged();
        let seen = world.store.read(ReadTx::latest_event).await.ok();
        let outcome = loop_.round(&world).await;
        let Ok(next) = round::whole(world.clock.now(), outcome, "runs") else {
            return TaskError::Fenced;
        };
        loop {
            world.clock.sleep_until(after(world.clock.now(), SETTLE)).await;
            tokio::select! {
                () = world.clock.sleep_until(next) => break,
                Ok(()) = engine.changed() => break,
                changed = commits.changed() => {
                    if changed.is_err() {
                        return TaskError::Store(StoreError::Closed);
                    }
                    let latest = world.store.read(ReadTx::latest_event).await.ok();
                    if latest != seen || world.halt.load(Ordering::Relaxed) {
                        break;
                    }
                }
            }
        }
    }
}
