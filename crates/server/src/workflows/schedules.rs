//! Schedules: executions that the clock starts.
//!
//! When a schedule fires is `ark_planner::cron`'s; here a firing becomes an execution. One
//! transaction, under the fencing token, reads the schedule, starts what is due and writes down up to
//! where all is decided: a firing happens once, whatever crashes and whichever server takes over. The
//! execution's name is made of the schedule's and the instant, so that it can be seen which it was.
//!
//! Called by the driver once a second, and by `api/schedules`.

use ark_model::api::{LastFiring, SchedulePut, ScheduleView};
use ark_model::definition::Missed;
use ark_model::event::{EventKind, NewEvent};
use ark_model::workflow::ExecutionStatus;
use ark_planner::cron::{self, Cause, Decision, Firing, Form, MissedFirings, Schedule, Skipped};
use ark_states::error::Failure;
use ark_states::machine::Event;
use ark_states::{Value, limits};
use ark_store::{ReadTx, ScheduleRow, WriteTx};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::arn::{ACCOUNT, Arn, DEFAULT_REGION};
use super::error::{Refusal, WorkflowError};
use super::manager::conventions;
use super::step::{StartSpec, Stepper, after, kind_of};
use super::types::{Page, PageRequest};
use super::versions::resolve;
use super::{Workflows, names};

/// The most schedules.
const SCHEDULES_MAX: u64 = 10_000;
/// The longest name: an instant comes after it in the names of executions.
const NAME_CHARS_MAX: usize = 60;
/// The longest time to make up for, in seconds: a year.
const CATCH_UP_MAX: u64 = 366 * 86_400;
/// Schedules fired in one go of the driver.
const BATCH: usize = 200;
/// One that cannot be used is looked at again after this long.
const BROKEN: SignedDuration = SignedDuration::from_secs(60);
/// How an instant stands in the name of an execution.
const INSTANT: &str = "%Y%m%dT%H%M%SZ";
/// Who is said to have skipped a firing.
const ARK: &str = "ark";

/// A schedule's row, the columns apart.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Body {
    schedule: SchedulePut,
    paused: bool,
    /// Every firing up to here is decided.
    decided: Timestamp,
    created_at: Timestamp,
    /// Executions it started that may still run.
    #[serde(default)]
    open: Vec<u64>,
    #[serde(default)]
    last: Option<LastFiring>,
}

impl Body {
    fn parse(row: &ScheduleRow) -> Result<Self, WorkflowError> {
        serde_json::from_str(&row.body)
            .map_err(|e| WorkflowError::Internal(format!("schedule {}: {e}", row.name)))
    }

    fn row(&self, name: &str, next_at: Option<Timestamp>) -> Result<ScheduleRow, WorkflowError> {
        Ok(ScheduleRow { name: name.to_owned(), next_at, body: serde_json::to_string(self)? })
    }

    fn timetable(&self) -> Result<Schedule, String> {
        let SchedulePut { cron, time_zone, .. } = &self.schedule;
        Schedule::parse(cron, Form::Minutes, time_zone).map_err(|error| error.to_string())
    }

    /// When it fires next, if it is not paused.
    fn next(&self) -> Result<Option<Timestamp>, WorkflowError> {
        if self.paused {
            return Ok(None);
        }
        Ok(self.timetable().map_err(refused)?.next_after(self.decided))
    }
}

fn refused(message: impl Into<String>) -> WorkflowError {
    Refusal::ValidationException.with(message)
}

fn missing(name: &str) -> WorkflowError {
    let name: String = name.chars().take(100).collect();
    Refusal::ResourceNotFound.with(format!("schedule `{name}` does not exist"))
}

fn view(row: &ScheduleRow) -> Result<ScheduleView, WorkflowError> {
    let Body { schedule, paused, created_at, last, .. } = Body::parse(row)?;
    let (name, next_at) = (row.name.clone(), row.next_at);
    Ok(ScheduleView { name, schedule, paused, next_at, last, created_at })
}

/// The machine of `NAME`, `NAME:VERSION` or `NAME:ALIAS`.
fn arn_of(workflow: &str) -> Result<Arn, WorkflowError> {
    Arn::parse(&format!("arn:aws:states:{DEFAULT_REGION}:{ACCOUNT}:stateMachine:{workflow}"))
}

fn judge(name: &str, put: &SchedulePut) -> Result<(), WorkflowError> {
    if !names::is_valid(name) || name.chars().count() > NAME_CHARS_MAX {
        return Err(refused(format!(
            "a schedule's name has 1 to {NAME_CHARS_MAX} characters, without spaces and `:/*?\"`"
        )));
    }
    arn_of(&put.workflow)?;
    let value = Value::parse(&put.input)
        .map_err(|error| refused(format!("the input must be JSON, as text: {error}")))?;
    // Room for the name that an object gets.
    let most = limits::PAYLOAD_BYTES_MAX - 200;
    if put.input.len() > most || value.depth() > 900 {
        return Err(refused(format!("the input may have {most} bytes and 900 levels")));
    }
    if put.catch_up_seconds > CATCH_UP_MAX {
        return Err(refused(format!("catch_up_seconds is at most {CATCH_UP_MAX}, a year")));
    }
    Ok(())
}

fn changed(tx: &mut WriteTx, by: &str, now: Timestamp, text: String) -> Result<(), WorkflowError> {
    tx.append_event(NewEvent::of_server(EventKind::ScheduleChanged, by, now, text))?;
    Ok(())
}

impl Workflows {
    /// Makes a schedule, or changes it. One whose time is changed counts from now.
    ///
    /// # Errors
    /// `ValidationException`, `InvalidArn`, `StateMachineDoesNotExist`.
    pub async fn put_schedule(
        &self,
        name: &str,
        put: SchedulePut,
        by: &str,
    ) -> Result<ScheduleView, WorkflowError> {
        judge(name, &put)?;
        let (name, by) = (name.to_owned(), by.to_owned());
        let now = self.world.clock.now();
        let written = self.world.store.write(move |tx| {
            resolve(tx, &arn_of(&put.workflow)?, 0)?;
            let before = tx.schedule(&name)?.map(|row| Body::parse(&row)).transpose()?;
            if before.is_none() && tx.count_schedules()? >= SCHEDULES_MAX {
                return Err(refused(format!("there are at most {SCHEDULES_MAX} schedules")));
            }
            let text =
                format!("schedule {name}: {} at `{}`, {}", put.workflow, put.cron, put.time_zone);
            let body = match before {
                Some(before) => {
                    let old = &before.schedule;
                    let same = (&old.cron, &old.time_zone) == (&put.cron, &put.time_zone);
                    let decided = if same { before.decided } else { now };
                    Body { schedule: put, decided, ..before }
                }
                None => Body {
                    schedule: put,
                    paused: false,
                    decided: now,
                    created_at: now,
                    open: Vec::new(),
                    last: None,
                },
            };
            body.timetable().map_err(refused)?;
            let next = body.next()?;
            if next.is_none() && !body.paused {
                return Err(refused(format!("`{}` never comes", body.schedule.cron)));
            }
            let row = body.row(&name, next)?;
            tx.put_schedule(&row)?;
            changed(tx, &by, now, text)?;
            view(&row)
        });
        written.await
    }

    /// One schedule.
    ///
    /// # Errors
    /// `ResourceNotFound`.
    pub async fn schedule(&self, name: &str) -> Result<ScheduleView, WorkflowError> {
        let name = name.to_owned();
        self.world.store.read(move |tx| view(&find(tx, &name)?)).await
    }

    /// Schedules, by name.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn schedules(&self, page: PageRequest) -> Result<Page<ScheduleView>, WorkflowError> {
        let (after, limit) = page.after_name();
        let rows = self
            .world
            .store
            .read::<_, WorkflowError, _>(move |tx| {
                tx.schedules(&after, limit)?.iter().map(view).collect::<Result<Vec<_>, _>>()
            })
            .await?;
        Ok(Page::of(rows, limit, |row| row.name.clone(), |row| row))
    }

    /// Pauses a schedule, or lets it go on: nothing of the pause is made up for.
    ///
    /// # Errors
    /// `ResourceNotFound`.
    pub async fn pause_schedule(
        &self,
        name: &str,
        paused: bool,
        by: &str,
    ) -> Result<ScheduleView, WorkflowError> {
        let (name, by) = (name.to_owned(), by.to_owned());
        let now = self.world.clock.now();
        let written = self.world.store.write(move |tx| {
            let row = find(tx, &name)?;
            let mut body = Body::parse(&row)?;
            if body.paused == paused {
                return view(&row);
            }
            body.paused = paused;
            body.decided = now;
            let row = body.row(&name, body.next()?)?;
            tx.put_schedule(&row)?;
            let word = if paused { "paused" } else { "resumed" };
            changed(tx, &by, now, format!("schedule {name} was {word}"))?;
            view(&row)
        });
        written.await
    }

    /// Removes a schedule. What it started goes on.
    ///
    /// # Errors
    /// `ResourceNotFound`.
    pub async fn remove_schedule(&self, name: &str, by: &str) -> Result<(), WorkflowError> {
        let (name, by) = (name.to_owned(), by.to_owned());
        let now = self.world.clock.now();
        let written = self.world.store.write(move |tx| {
            if !tx.delete_schedule(&name)? {
                return Err(missing(&name));
            }
            changed(tx, &by, now, format!("schedule {name} was removed"))
        });
        written.await
    }
}

fn find(tx: &ReadTx, name: &str) -> Result<ScheduleRow, WorkflowError> {
    tx.schedule(name)?.ok_or_else(|| missing(name))
}

/// Fires what is due, each schedule in a transaction of its own.
pub(super) async fn fire_due(workflows: &Workflows) -> Result<(), WorkflowError> {
    let now = workflows.world.clock.now();
    let due = workflows.world.store.read(move |tx| tx.due_schedules(now, BATCH)).await?;
    for row in due {
        let name = row.name.clone();
        match workflows.transact(move |step| step.fire_schedule(&name)).await {
            Ok(()) => {}
            Err(error) if error.is_everybodys() => return Err(error),
            Err(error) => {
                tracing::error!(
                    schedule = row.name,
                    error = &error as &dyn std::error::Error,
                    "a schedule cannot be used"
                );
                workflows.transact(move |step| step.put_schedule_off(row)).await?;
            }
        }
    }
    Ok(())
}

impl Stepper<'_> {
    /// Decides all firings of a schedule that are due, and starts what they start.
    fn fire_schedule(&mut self, name: &str) -> Result<(), WorkflowError> {
        let now = self.now;
        let Some(row) = self.tx.schedule(name)? else { return Ok(()) };
        if row.next_at.is_none_or(|at| at > now) {
            return Ok(());
        }
        let mut body = Body::parse(&row)?;
        let timetable = body.timetable().map_err(WorkflowError::Internal)?;
        self.forget_ended(&mut body, name)?;
        let catch_up = SignedDuration::from_secs(
            i64::try_from(body.schedule.catch_up_seconds).unwrap_or(i64::MAX),
        );
        let plan = cron::plan(&cron::Input {
            schedule: &timetable,
            overlap: body.schedule.overlap,
            missed: if catch_up.is_zero() { Missed::Skip } else { Missed::RunOnce },
            jitter: std::time::Duration::ZERO,
            seed: 0,
            paused: body.paused,
            decided: body.decided,
            running: body.open.len(),
            now,
        });
        if let Some(missed) = plan.missed {
            self.skipped(&mut body, name, missed.last, &missed_words(missed))?;
        }
        for firing in plan.firings {
            let too_old = after(firing.at, catch_up) < now;
            match firing.decision {
                Decision::Run(Cause::CatchUp) | Decision::Replace(Cause::CatchUp) if too_old => {
                    self.skipped(&mut body, name, firing.at, "it was missed, too long ago")?;
                }
                Decision::Run(_) => self.start_by_schedule(&mut body, name, firing)?,
                Decision::Replace(_) => {
                    self.stop_open(&mut body, name)?;
                    self.start_by_schedule(&mut body, name, firing)?;
                }
                Decision::Skip(Skipped::Overlap) => {
                    self.skipped(&mut body, name, firing.at, "what it started before still runs")?;
                }
                Decision::Skip(Skipped::TooMany) => {
                    self.skipped(&mut body, name, firing.at, "too much that it started runs")?;
                }
            }
        }
        body.decided = plan.decided;
        self.tx.put_schedule(&body.row(name, plan.look_at)?)?;
        Ok(())
    }

    /// A schedule that cannot be used is looked at again later, unless it was changed or removed
    /// since it was read.
    fn put_schedule_off(&mut self, read: ScheduleRow) -> Result<(), WorkflowError> {
        if self.tx.schedule(&read.name)?.as_ref() == Some(&read) {
            let later = ScheduleRow { next_at: Some(after(self.now, BROKEN)), ..read };
            self.tx.put_schedule(&later)?;
        }
        Ok(())
    }

    /// Keeps of the executions that a schedule started those that run. The number of one that ended
    /// within its start was never written, and another one may have got it: the name tells.
    fn forget_ended(&self, body: &mut Body, name: &str) -> Result<(), WorkflowError> {
        let mut open = Vec::new();
        for id in std::mem::take(&mut body.open) {
            let row = self.tx.execution(id)?;
            if row.is_some_and(|row| {
                row.status == ExecutionStatus::Running && is_named_by(name, &row.name)
            }) {
                open.push(id);
            }
        }
        body.open = open;
        Ok(())
    }

    fn stop_open(&mut self, body: &mut Body, name: &str) -> Result<(), WorkflowError> {
        for id in std::mem::take(&mut body.open) {
            let cause = format!("Schedule {name} started the next execution.");
            let failure = Failure { error: None, cause: Some(cause.into()) };
            self.apply(id, &Event::Stop { failure })?;
        }
        Ok(())
    }

    fn start_by_schedule(
        &mut self,
        body: &mut Body,
        name: &str,
        firing: Firing,
    ) -> Result<(), WorkflowError> {
        let at = firing.at;
        let execution = format!("{name}-{}", at.strftime(INSTANT));
        let input = &body.schedule.input;
        // What is no object has no members, and is given as it is.
        let input = conventions::with_name(input, &execution).unwrap_or_else(|_| input.clone());
        let draw = self.shared.entropy.bits();
        let target = arn_of(&body.schedule.workflow).and_then(|arn| resolve(self.tx, &arn, draw));
        let started = target.and_then(|target| {
            let kind = kind_of(target.machine_type);
            self.start(StartSpec {
                target,
                kind,
                name: Some(execution),
                input: input.into(),
                trace_header: None,
                priority: 0,
                namespace: body.schedule.namespace.clone(),
                parent: None,
            })
        });
        match started {
            Ok(begun) => {
                let goes_on = self.load(begun.id)?.is_some_and(|l| !l.row.status.is_ended());
                if goes_on && !body.open.contains(&begun.id) {
                    body.open.push(begun.id);
                }
                let execution_arn = Some(begun.arn);
                body.last = Some(LastFiring { at, execution_arn, skipped: None });
                Ok(())
            }
            // The machine is gone, or there is no room: asking again would be another firing.
            Err(WorkflowError::Refused { message, .. }) => self.skipped(body, name, at, &message),
            Err(other) => Err(other),
        }
    }

    fn skipped(
        &mut self,
        body: &mut Body,
        name: &str,
        at: Timestamp,
        why: &str,
    ) -> Result<(), WorkflowError> {
        let text = format!("schedule {name} did not start at {at}: {why}");
        let kind = EventKind::ScheduleSkipped;
        self.tx.append_event(NewEvent::of_server(kind, ARK, self.now, text))?;
        body.last = Some(LastFiring { at, execution_arn: None, skipped: Some(why.to_owned()) });
        Ok(())
    }
}

/// Whether a schedule named an execution so.
fn is_named_by(schedule: &str, execution: &str) -> bool {
    // The name of an Express execution has a number behind it.
    let execution = execution.split(':').next().unwrap_or_default();
    let instant = execution.strip_prefix(schedule).and_then(|rest| rest.strip_prefix('-'));
    instant.is_some_and(|text| jiff::civil::DateTime::strptime(INSTANT, text).is_ok())
}

fn missed_words(missed: MissedFirings) -> String {
    match missed.count {
        1 => "it was missed".to_owned(),
        count => format!("{count} times since {} were missed", missed.first),
    }
}
