//! Schedules: decides which firings are due and makes runs of them. Part of the loop of runs.
//!
//! A firing is recorded as a run, and the instant up to which the schedule is decided with it, in one
//! transaction that first checks that nothing has changed; no two runs of an app may stand for the
//! same instant. So each firing runs once, whatever happens between two looks.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use ark_model::definition::{Definition, Missed, Overlap, RunKind};
use ark_model::environment::{AppState, EnvState};
use ark_model::event::{EventKind, NewEvent};
use ark_model::run::{CronRecord, RunCause, RunOutcome, RunRecord, RunState, RunStop, TIMEOUT};
use ark_model::{AppName, EnvName, ReleaseNumber, RunId, Sha256};
use ark_planner::cron::{self, Cause, Decision, Firing, Form, Plan, Schedule, Skipped};
use ark_store::{ReadTx, StoreError, WriteTx};
use jiff::Timestamp;

use super::round::{self, TaskError};
use super::runs::{PRUNE_MAX, RUNS_KEPT};
use crate::observations::AppKey;
use crate::world::{CONTROLLER_LEASE, World};

/// Who makes the runs of a schedule.
const ARK: &str = "ark";
/// Releases remembered; they never change, so forgetting them all costs only time.
const KNOWN_MAX: usize = 20_000;

/// A release's schedule.
#[derive(Debug, Clone)]
pub(crate) struct Timetable {
    /// When.
    pub(crate) schedule: Schedule,
    /// The fields and the zone, as they are compared with what was in force before.
    pub(crate) text: String,
    /// What a firing does while a run goes on.
    pub(crate) overlap: Overlap,
    missed: Missed,
    jitter: Duration,
    retries: u32,
    timeout: Duration,
}

impl Timetable {
    /// The timetable of a definition of kind `cron`; `None` for any other, and for a schedule that
    /// cannot be read (a time zone that the machine has lost, say).
    pub(crate) fn of(definition: &Definition) -> Option<Self> {
        let run = &definition.run;
        if run.kind != RunKind::Cron {
            return None;
        }
        let (fields, zone) = (run.schedule.as_deref()?, run.timezone.as_deref().unwrap_or("UTC"));
        let schedule = match Schedule::parse(fields, Form::Minutes, zone) {
            Ok(schedule) => schedule,
            Err(error) => {
                tracing::error!(%error, "a schedule cannot be followed");
                return None;
            }
        };
        Some(Self {
            schedule,
            text: format!("{fields} {zone}"),
            overlap: run.overlap,
            missed: run.missed,
            jitter: run.jitter.map(ark_model::definition::DurationText::get).unwrap_or_default(),
            retries: run.retries,
            timeout: run.timeout.map_or(TIMEOUT, ark_model::definition::DurationText::get),
        })
    }

    /// What is due, and when to look again.
    pub(crate) fn plan(
        &self,
        key: &AppKey,
        record: &CronRecord,
        running: usize,
        now: Timestamp,
    ) -> Plan {
        cron::plan(&cron::Input {
            schedule: &self.schedule,
            overlap: self.overlap,
            missed: self.missed,
            jitter: self.jitter,
            seed: seed(key),
            paused: record.paused.is_some(),
            decided: record.decided,
            running,
            now,
        })
    }

    /// When it fires next if nothing is decided before.
    pub(crate) fn next_after(&self, key: &AppKey, decided: Timestamp) -> Option<Timestamp> {
        let delay = cron::delay(seed(key), self.jitter);
        self.schedule.next_after(decided).map(|at| ark_planner::time::after(at, delay))
    }
}

/// Names an app for its delay: the same in every life of the server.
fn seed((env, app): &AppKey) -> u64 {
    let digest = Sha256::of(format!("{env}/{app}").as_bytes());
    digest.0.iter().take(8).fold(0, |seed, byte| (seed << 8) | u64::from(*byte))
}

/// The memory of the loop: timetables of releases, which never change.
#[derive(Debug, Default)]
pub(super) struct Crons {
    known: Known,
}

/// One app with a timetable, as it was read.
struct Due {
    app: AppState,
    timetable: Timetable,
    record: Option<CronRecord>,
    running: usize,
}

impl Crons {
    /// One look at all schedules; one that cannot be followed holds up no other. Answers when the
    /// next is due.
    pub(super) async fn round(&mut self, world: &World) -> Result<Option<Timestamp>, TaskError> {
        let (apps, stale) = self.load(world).await?;
        let forgotten = forget(world, stale).await.map(|()| None);
        let mut next = round::part(world.clock.now(), forgotten, |error| {
            tracing::warn!(error, "schedules that nobody follows could not be forgotten");
        })?;
        for (key, read) in apps {
            let looked = match read {
                Ok(due) => look(world, &due).await,
                Err(error) => Err(error.into()),
            };
            let look_at = round::part(world.clock.now(), looked, |error| {
                tracing::warn!(env = %key.0, app = %key.1, error, "a schedule cannot be followed");
            })?;
            next = [next, look_at].into_iter().flatten().min();
        }
        Ok(next)
    }

    /// The apps that follow a schedule now, as far as they can be read, and what is remembered of
    /// others.
    async fn load(&mut self, world: &World) -> Result<(Vec<Read>, Vec<CronRecord>), TaskError> {
        if self.known.len() > KNOWN_MAX {
            self.known.clear();
        }
        let mut known = std::mem::take(&mut self.known);
        let (apps, stale, known) = world
            .store
            .read::<_, TaskError, _>(move |tx| {
                let mut apps: Vec<Read> = Vec::new();
                for env in tx.environments()?.iter().filter(|e| e.state == EnvState::Active) {
                    for app in tx.app_states_of(&env.name)? {
                        let key = (app.env.clone(), app.app.clone());
                        match due(tx, &mut known, app) {
                            Ok(None) => {}
                            Ok(Some(due)) => apps.push((key, Ok(due))),
                            Err(error) => apps.push((key, Err(error))),
                        }
                    }
                }
                let followed: HashSet<&AppKey> = apps.iter().map(|(key, _)| key).collect();
                let mut stale = tx.crons()?;
                stale.retain(|r| {
                    !r.schedule.is_empty() && !followed.contains(&(r.env.clone(), r.app.clone()))
                });
                Ok((apps, stale, known))
            })
            .await?;
        self.known = known;
        Ok((apps, stale))
    }
}

/// An app that follows a schedule, with what is to be known of it.
type Read = (AppKey, Result<Due, StoreError>);
/// See [`Crons`].
type Known = HashMap<(EnvName, AppName, ReleaseNumber), Option<Timetable>>;

fn due(tx: &ReadTx, known: &mut Known, app: AppState) -> Result<Option<Due>, StoreError> {
    let Some(timetable) = timetable(tx, known, &app)? else { return Ok(None) };
    let record = tx.cron(&app.env, &app.app)?;
    let running = tx.active_runs_of(&app.env, &app.app)?.len();
    Ok(Some(Due { app, timetable, record, running }))
}

/// The timetable that an app follows: of its live release, unless it is stopped.
fn timetable(
    tx: &ReadTx,
    known: &mut Known,
    app: &AppState,
) -> Result<Option<Timetable>, StoreError> {
    let Some(live) = app.live.filter(|_| !app.stopped) else { return Ok(None) };
    let place = (app.env.clone(), app.app.clone(), live);
    if let Some(found) = known.get(&place) {
        return Ok(found.clone());
    }
    let release = tx.release(&app.env, &app.app, live)?;
    let read = release.and_then(|r| Timetable::of(&r.content.definition));
    known.insert(place, read.clone());
    Ok(read)
}

/// A schedule that nobody follows (its app is stopped, or no longer of this kind) begins anew when it
/// is followed again: what it would have fired meanwhile is not made up for.
async fn forget(world: &World, stale: Vec<CronRecord>) -> Result<(), TaskError> {
    if stale.is_empty() {
        return Ok(());
    }
    let fence = world.fence;
    world
        .store
        .write(move |tx| {
            fenced(tx, fence.token)?;
            for record in stale {
                if tx.cron(&record.env, &record.app)?.as_ref() == Some(&record) {
                    tx.put_cron(&CronRecord { schedule: String::new(), ..record })?;
                }
            }
            Ok(())
        })
        .await
}

pub(super) fn fenced(tx: &ReadTx, token: u64) -> Result<(), TaskError> {
    match tx.check_lease(CONTROLLER_LEASE, token) {
        Ok(()) => Ok(()),
        Err(StoreError::StaleLease { .. }) => Err(TaskError::Fenced),
        Err(error) => Err(error.into()),
    }
}

async fn look(world: &World, due: &Due) -> Result<Option<Timestamp>, TaskError> {
    let now = world.clock.now();
    let key = (due.app.env.clone(), due.app.app.clone());
    let in_force = due.record.clone().filter(|r| r.schedule == due.timetable.text);
    let record = in_force.unwrap_or_else(|| CronRecord {
        env: key.0.clone(),
        app: key.1.clone(),
        decided: now,
        schedule: due.timetable.text.clone(),
        paused: due.record.as_ref().and_then(|r| r.paused.clone()),
    });
    let plan = due.timetable.plan(&key, &record, due.running, now);
    let look_at = plan.look_at;
    let nothing = plan.firings.is_empty() && plan.missed.is_none();
    if nothing && due.record.as_ref() == Some(&record) {
        return Ok(look_at);
    }
    let ids = (0..=plan.firings.len()).map(|_| world.ids.run()).collect();
    let making = Making {
        now,
        ids,
        before: due.record.clone(),
        record: CronRecord { decided: plan.decided, ..record },
        live: due.app.live,
        running: due.running,
        timetable: due.timetable.clone(),
        plan,
    };
    let fence = world.fence;
    world
        .store
        .write(move |tx| {
            fenced(tx, fence.token)?;
            making.write(tx)
        })
        .await?;
    Ok(look_at)
}

/// What is written down at once.
struct Making {
    now: Timestamp,
    ids: Vec<RunId>,
    before: Option<CronRecord>,
    record: CronRecord,
    live: Option<ReleaseNumber>,
    running: usize,
    timetable: Timetable,
    plan: Plan,
}

impl Making {
    fn write(mut self, tx: &mut WriteTx) -> Result<(), TaskError> {
        let (env, app) = (self.record.env.clone(), self.record.app.clone());
        let state = tx.app_state(&env, &app)?.ok_or(TaskError::Outdated)?;
        let same = state.live == self.live
            && !state.stopped
            && tx.cron(&env, &app)? == self.before
            && tx.active_runs_of(&env, &app)?.len() == self.running;
        let release = self.live.filter(|_| same).ok_or(TaskError::Outdated)?;
        if let Some(missed) = self.plan.missed {
            let outcome = RunOutcome::Missed { count: missed.count, first: missed.first };
            let text = format!("{} missed, the last at {}", missed.count, missed.last);
            self.ended(tx, release, missed.last, outcome, text)?;
        }
        for firing in std::mem::take(&mut self.plan.firings) {
            self.fire(tx, release, firing)?;
        }
        tx.put_cron(&self.record)?;
        Ok(())
    }

    fn fire(
        &mut self,
        tx: &mut WriteTx,
        release: ReleaseNumber,
        firing: Firing,
    ) -> Result<(), TaskError> {
        let cause = match firing.decision {
            Decision::Run(cause) => cause,
            Decision::Replace(cause) => {
                replace_others(tx, &self.record.env, &self.record.app, ARK, self.now)?;
                cause
            }
            Decision::Skip(why) => {
                let why = match why {
                    Skipped::Overlap => "the run before it goes on",
                    Skipped::TooMany => "too many runs go on",
                };
                let text = format!("the firing of {} is skipped: {why}", firing.at);
                let outcome = RunOutcome::Skipped { why: why.to_owned() };
                return self.ended(tx, release, firing.at, outcome, text);
            }
        };
        let Some(mut run) = self.run(tx, release, firing.at)? else { return Ok(()) };
        run.alone = matches!(firing.decision, Decision::Replace(_));
        let caught_up = cause == Cause::CatchUp;
        run.cause = RunCause::Schedule { at: firing.at, caught_up };
        tx.insert_run(&run)?;
        let made_up = if caught_up { ", which was missed" } else { "" };
        let text = format!("run {}: the schedule fired at {}{made_up}", run.number, firing.at);
        tx.append_event(event(&run, self.now, EventKind::RunCreated, ARK, text))?;
        Ok(())
    }

    /// A record of firings that do not run.
    fn ended(
        &mut self,
        tx: &mut WriteTx,
        release: ReleaseNumber,
        at: Timestamp,
        outcome: RunOutcome,
        text: String,
    ) -> Result<(), TaskError> {
        let Some(run) = self.run(tx, release, at)? else { return Ok(()) };
        let run = RunRecord {
            state: RunState::Ended,
            ended_at: Some(self.now),
            outcome: Some(outcome),
            ..run
        };
        tx.insert_run(&run)?;
        tx.prune_runs(&run.env, &run.app, RUNS_KEPT, PRUNE_MAX)?;
        tx.append_event(event(&run, self.now, EventKind::RunSkipped, ARK, text))?;
        Ok(())
    }

    /// A run for an instant of the schedule; `None` when one stands for it already.
    fn run(
        &mut self,
        tx: &mut WriteTx,
        release: ReleaseNumber,
        at: Timestamp,
    ) -> Result<Option<RunRecord>, TaskError> {
        let (env, app) = (self.record.env.clone(), self.record.app.clone());
        if tx.has_fired(&env, &app, at)? {
            return Ok(None);
        }
        let id = self.ids.pop().ok_or(TaskError::Outdated)?;
        Ok(Some(RunRecord {
            id,
            number: tx.next_run_number(&env, &app)?,
            env,
            app,
            release,
            cause: RunCause::Schedule { at, caught_up: false },
            args: Vec::new(),
            retries: self.timetable.retries,
            timeout: self.timetable.timeout,
            alone: false,
            state: RunState::Waiting,
            attempts: Vec::new(),
            start_after: None,
            stop: None,
            created_at: self.now,
            ended_at: None,
            outcome: None,
        }))
    }
}

/// Wishes that every run of an app that goes on ends, for one that takes its place.
pub(crate) fn replace_others(
    tx: &mut WriteTx,
    env: &EnvName,
    app: &AppName,
    by: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    for mut other in tx.active_runs_of(env, app)? {
        if other.stop.is_none() {
            let why = "a newer run takes its place".to_owned();
            other.stop = Some(RunStop { by: by.to_owned(), why, at: now });
            tx.put_run(&other)?;
        }
    }
    Ok(())
}

/// An event about a run.
pub(crate) fn event(
    run: &RunRecord,
    at: Timestamp,
    kind: EventKind,
    by: &str,
    text: String,
) -> NewEvent {
    NewEvent {
        at,
        kind,
        by: by.to_owned(),
        env: Some(run.env.clone()),
        app: Some(run.app.clone()),
        deployment: None,
        instance: run.attempts.last().map(|attempt| attempt.instance),
        text,
    }
}
