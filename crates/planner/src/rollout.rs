//! The plan of one app in one environment: which deployment runs, where it stands, what its
//! instances are to become. Called for each app by the server's deployment task, in production and
//! in the simulator; decides everything, does nothing.
//!
//! The moves of a deployment:
//!
//! ```text
//! Queued ──► Replacing ──► Draining ──► Succeeded
//!   │            │
//!   │            └──► Returning ──► RolledBack | Failed | TimedOut
//!   └──► Superseded ◄── (a newer one, `ark stop`, destroy: from any state but Draining)
//! ```

use std::time::Duration;

use ark_model::deployment::{Abort, FAILURES_MAX};
use ark_model::environment::AppState;
use ark_model::instance::StopCause;
use ark_model::{Deployment, DeploymentState, Diagnosis, InstanceId, ReleaseNumber};
use jiff::Timestamp;

use crate::converge::{Action, Convergence, Progress, STOP_MARGIN, Target, converge};
use crate::observed::Seen;
use crate::policy::Policy;
use crate::time::{after, since, since_ms};

/// Everything a plan is made from.
#[derive(Debug)]
pub struct Input<'a> {
    /// Now, by the wall clock.
    pub now: Timestamp,
    /// What is wanted of the app.
    pub app: &'a AppState,
    /// Why nothing is to run, when that is so for a reason beyond the app: its environment is being
    /// destroyed, everything is being shut down.
    pub ending: Option<&'a str>,
    /// The running deployment.
    pub running: Option<&'a Deployment>,
    /// The waiting deployment; begins when none runs.
    pub waiting: Option<&'a Deployment>,
    /// The policy of the release under deployment (of the waiting one when none runs).
    pub new_policy: Option<&'a Policy>,
    /// The policy of the live release.
    pub live_policy: Option<&'a Policy>,
    /// The app's instances that may exist, with what was seen of them.
    pub seen: &'a [Seen],
}

/// What to do, and what to record.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Changes to instances.
    pub actions: Vec<Action>,
    /// Change of the running deployment's state.
    pub transition: Option<Transition>,
    /// Whether the deployment came a step forward.
    pub progressed: bool,
    /// Failures of instances of the new release found now.
    pub failures: Vec<InstanceFailure>,
    /// Whether the waiting deployment begins.
    pub begin_waiting: bool,
    /// Whether the waiting deployment ends before it began: nothing is wanted of the app any more.
    pub drop_waiting: bool,
    /// How a failed start outside deployments delays the next.
    pub backoff: Option<Backoff>,
    /// How far it is.
    pub progress: Progress,
    /// What is being waited for, in words.
    pub waiting_for: String,
    /// When to look again even if nothing changes.
    pub wake_at: Option<Timestamp>,
}

/// A failed instance of the release under deployment. The server adds the last log lines.
#[derive(Debug, Clone, PartialEq)]
pub struct InstanceFailure {
    /// Which.
    pub id: InstanceId,
    /// Why it ended.
    pub cause: StopCause,
}

/// A deployment's move to another state.
#[derive(Debug, Clone, PartialEq)]
pub enum Transition {
    /// All traffic is on the new side.
    Live,
    /// It turns back because of this.
    Return(Reason),
    /// It ends.
    End {
        /// Its last state.
        state: DeploymentState,
        /// Why, when it had not failed before.
        reason: Option<Reason>,
        /// What a reader of the receipt must know.
        note: Option<String>,
    },
}

/// Why a deployment turns back or ends.
#[derive(Debug, Clone, PartialEq)]
pub enum Reason {
    /// Known already.
    Diagnosis(Diagnosis),
    /// This instance's failure, to be diagnosed with its log.
    Failure(InstanceFailure),
    /// The failure recorded with the deployment at this place.
    Recorded(usize),
}

/// Change of the backoff outside deployments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backoff {
    /// Instances stay up: start anew from zero.
    Reset,
    /// One more failure; the next start not before this instant.
    Delay {
        /// Failures in a row, this one included.
        failures: u32,
        /// The earliest next start.
        until: Timestamp,
    },
}

impl Backoff {
    /// One more failure after `failures` in a row.
    pub fn after_failure(failures: u32, now: Timestamp) -> Self {
        let failures = failures.saturating_add(1);
        let factor = 1u32.checked_shl(failures.min(10) - 1).unwrap_or(1);
        let delay = BACKOFF_FIRST.saturating_mul(factor).min(BACKOFF_MAX);
        Self::Delay { failures, until: after(now, delay) }
    }
}

const BACKOFF_FIRST: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// An instance that lived this long did not fail to start.
const SETTLED: Duration = Duration::from_secs(60);
/// The same failure of so many instances ends a deployment.
const SAME_FAILURES_MAX: usize = 2;
/// Other failures of single instances are survived, up to this many.
const FAILURES_TOLERATED: usize = 5;

/// Plans the next step of one app.
pub fn plan(input: &Input<'_>) -> Plan {
    let now = input.now;
    match (input.running, input.ending.is_some() || input.app.stopped) {
        (_, true) => stop_everything(input),
        (None, false) => {
            let mut plan = steady(input);
            if input.waiting.is_some() {
                plan.begin_waiting = true;
                // Nothing is begun, or taken away, for the sake of a release that is about to be
                // replaced: the deployment knows what is to run.
                plan.actions.retain(|a| matches!(a, Action::Ended { .. } | Action::Activate(_)));
                plan.backoff = None;
            }
            plan
        }
        (Some(d), false) => match (d.state, &d.abort) {
            (DeploymentState::Draining, Some(abort)) if abort.superseded => {
                let note = "a newer deployment began before the old side had ended".to_owned();
                let mut plan = draining(input, d);
                plan.transition = Some(Transition::End {
                    state: DeploymentState::Succeeded,
                    reason: None,
                    note: Some(note),
                });
                plan
            }
            (DeploymentState::Replacing | DeploymentState::Returning, Some(abort))
                if abort.superseded =>
            {
                superseded(input, d, abort)
            }
            (DeploymentState::Replacing, _) => replacing(input, d),
            (DeploymentState::Draining, _) => draining(input, d),
            (DeploymentState::Returning, _) => returning(input, d),
            // A terminal deployment is no longer the app's running one; should a record say so
            // all the same, ending it again repairs the record. A queued one in its place begins.
            (
                DeploymentState::Queued
                | DeploymentState::Succeeded
                | DeploymentState::RolledBack
                | DeploymentState::Failed
                | DeploymentState::TimedOut
                | DeploymentState::Superseded,
                _,
            ) => {
                let mut plan = steady(input);
                let state =
                    if d.state.is_terminal() { d.state } else { DeploymentState::Superseded };
                plan.transition = Some(Transition::End { state, reason: None, note: None });
                plan.wake_at = Some(now);
                plan
            }
        },
    }
}

fn new_plan(c: Convergence, waiting_for: String) -> Plan {
    let progressed = c.actions.iter().any(is_progress);
    Plan {
        actions: c.actions,
        transition: None,
        progressed,
        failures: Vec::new(),
        begin_waiting: false,
        drop_waiting: false,
        backoff: None,
        progress: c.progress,
        waiting_for,
        wake_at: c.wake_at,
    }
}

fn is_progress(action: &Action) -> bool {
    match action {
        Action::Activate(_) | Action::Drain { .. } | Action::Stop { cause: None, .. } => true,
        Action::Ended { cause, .. } => cause.is_none(),
        Action::Start { .. } | Action::Stop { .. } => false,
    }
}

/// A policy to stop by when no release is known any more.
fn fallback() -> &'static Policy {
    static POLICY: std::sync::OnceLock<Policy> = std::sync::OnceLock::new();
    POLICY.get_or_init(|| {
        Policy::of(
            &ark_model::definition::Definition::default(),
            ark_model::environment::EnvKind::Permanent,
            ark_model::definition::Strategy::Rolling,
        )
    })
}

fn target<'a>(
    input: &Input<'a>,
    release: Option<ReleaseNumber>,
    policy: Option<&'a Policy>,
    replaced_by: StopCause,
) -> Target<'a> {
    let policy = policy.unwrap_or_else(|| fallback());
    Target {
        release,
        count: match release {
            Some(_) => input.app.scale.unwrap_or(policy.count),
            None => 0,
        },
        restart_before: input.app.restart_before,
        policy,
        replaced_by,
        start_after: None,
    }
}

fn stop_everything(input: &Input<'_>) -> Plan {
    let target = target(input, None, input.live_policy, StopCause::Asked);
    let mut plan = new_plan(converge(&target, input.seen, input.now), "instances to end".into());
    plan.drop_waiting = input.waiting.is_some();
    if let Some(d) = input.running {
        let by = "ark".to_owned();
        let why = input.ending.unwrap_or("the app was stopped");
        let reason = Some(why.to_owned());
        plan.transition = Some(match d.state {
            // It was live; what ends it now is not its failure.
            DeploymentState::Draining => Transition::End {
                state: DeploymentState::Succeeded,
                reason: None,
                note: Some(why.to_owned()),
            },
            _ => Transition::End {
                state: DeploymentState::Superseded,
                reason: Some(Reason::Diagnosis(Diagnosis::Aborted { by, reason })),
                note: None,
            },
        });
    }
    plan
}

/// No deployment runs: keep the live release at its count.
fn steady(input: &Input<'_>) -> Plan {
    let mut target = target(input, input.app.live, input.live_policy, StopCause::Replaced);
    target.start_after = input.app.start_after;
    let c = converge(&target, input.seen, input.now);
    let mut plan = new_plan(c, "instances to become ready".into());
    plan.backoff = backoff(input, input.app.live, &plan.actions);
    plan
}

/// Delays the next start after a failure of an instance of `release`, the one that is to serve;
/// how others end says nothing about it.
fn backoff(
    input: &Input<'_>,
    release: Option<ReleaseNumber>,
    actions: &[Action],
) -> Option<Backoff> {
    let wanted =
        |id: &InstanceId| input.seen.iter().any(|s| s.id == *id && Some(s.release) == release);
    let settled = |id: &InstanceId| {
        input
            .seen
            .iter()
            .find(|s| s.id == *id)
            .and_then(|s| s.active_at)
            .is_some_and(|at| since(at, input.now) >= SETTLED)
    };
    let failed = actions
        .iter()
        .any(|action| failure(action).is_some_and(|f| wanted(&f.id) && !settled(&f.id)));
    if failed {
        return Some(Backoff::after_failure(input.app.failures, input.now));
    }
    let calm = input.app.failures > 0
        && input.seen.iter().any(Seen::is_serving)
        && input
            .seen
            .iter()
            .filter(|s| s.is_serving())
            .all(|s| s.active_at.is_some_and(|at| since(at, input.now) >= SETTLED))
        && input.app.start_after.is_none_or(|at| since(at, input.now) >= SETTLED);
    calm.then_some(Backoff::Reset)
}

/// The failure in an action, when it is one: an instance that was not asked to end.
fn failure(action: &Action) -> Option<InstanceFailure> {
    match action {
        Action::Ended { id, cause: Some(cause) } => {
            Some(InstanceFailure { id: *id, cause: cause.clone() })
        }
        Action::Stop { id, cause: Some(cause @ StopCause::NeverReady { .. }) } => {
            Some(InstanceFailure { id: *id, cause: cause.clone() })
        }
        Action::Ended { cause: None, .. }
        | Action::Stop { .. }
        | Action::Start { .. }
        | Action::Activate(_)
        | Action::Drain { .. } => None,
    }
}

fn replacing(input: &Input<'_>, d: &Deployment) -> Plan {
    let t = target(input, Some(d.release), input.new_policy, StopCause::Replaced);
    let c = converge(&t, input.seen, input.now);
    let missing = t.count.saturating_sub(c.progress.wanted_serving);
    let words = waiting_words(input, d.release, missing, &c.progress);
    let reached = c.progress.wanted_serving >= t.count && c.progress.unwanted_admitted == 0;
    let mut plan = new_plan(c, words);
    plan.failures = new_failures(input, d, &plan.actions);
    let started = d.started_at.unwrap_or(d.created_at);
    let progress_at = d.progress_at.unwrap_or(started);
    let progress_due = after(progress_at, t.policy.progress_deadline);
    let due = after(started, t.policy.deadline);
    plan.wake_at = earliest(plan.wake_at, [progress_due, due]);
    let reason = if let Some(abort) = &d.abort {
        Some(aborted(abort))
    } else if reached {
        plan.transition = Some(Transition::Live);
        plan.wake_at = Some(input.now);
        return plan;
    } else if let Some(reason) = fatal(d, &plan.failures, t.count) {
        Some(reason)
    } else if input.now >= due {
        Some(Reason::Diagnosis(Diagnosis::DeadlinePassed {
            deadline_ms: u64::try_from(t.policy.deadline.as_millis()).unwrap_or(u64::MAX),
            waiting_for: plan.waiting_for.clone(),
        }))
    } else if input.now >= progress_due && !plan.progressed {
        Some(Reason::Diagnosis(Diagnosis::NoProgress {
            waited_ms: since_ms(progress_at, input.now),
            waiting_for: plan.waiting_for.clone(),
        }))
    } else {
        None
    };
    if let Some(reason) = reason {
        // What was planned towards the new release is not begun; what ended has ended.
        plan.actions.retain(|a| matches!(a, Action::Ended { .. } | Action::Stop { .. }));
        plan.transition = Some(Transition::Return(reason));
        plan.wake_at = Some(input.now);
    }
    plan
}

fn aborted(abort: &Abort) -> Reason {
    let (by, reason) = (abort.by.clone(), abort.reason.clone());
    Reason::Diagnosis(Diagnosis::Aborted { by, reason })
}

fn waiting_words(
    input: &Input<'_>,
    release: ReleaseNumber,
    missing: u32,
    progress: &Progress,
) -> String {
    let unanswered = input
        .seen
        .iter()
        .any(|s| s.has_ports && s.admission == crate::observed::Admission::Unknown);
    match (missing, progress.unwanted_admitted) {
        _ if unanswered => "the gateway to acknowledge the route table".to_owned(),
        (0, old) => format!("{old} instances of other releases to leave the route table"),
        (1, _) => format!("1 instance of {release} to become ready"),
        (n, _) => format!("{n} instances of {release} to become ready"),
    }
}

fn earliest(a: Option<Timestamp>, more: impl IntoIterator<Item = Timestamp>) -> Option<Timestamp> {
    a.into_iter().chain(more).min()
}

/// Failures of instances of the release under deployment. Instances that were recorded before it
/// began are not its own.
fn new_failures(input: &Input<'_>, d: &Deployment, actions: &[Action]) -> Vec<InstanceFailure> {
    let begun = d.started_at.unwrap_or(d.created_at);
    let own = |id: &InstanceId| {
        input.seen.iter().any(|s| s.id == *id && s.release == d.release && s.created_at >= begun)
    };
    actions.iter().filter_map(failure).filter(|f| own(&f.id)).take(FAILURES_MAX).collect()
}

/// A failure is the release's own fault unless a port was taken, which another port cures.
fn counts(cause: &StopCause) -> bool {
    !matches!(
        cause,
        StopCause::StartFailed { reason: ark_model::instance::StartFailure::PortTaken { .. } }
    )
}

/// Whether the failures so far end the deployment: two of one kind, or one when one instance is
/// all there is to start, or too many of any kind.
fn fatal(d: &Deployment, found: &[InstanceFailure], wanted: u32) -> Option<Reason> {
    let recorded = d.failures.iter().map(Diagnosis::key);
    let earlier: Vec<String> = recorded.filter(|key| key != "port taken").collect();
    // What found no room never was an instance: it is known only by its record.
    let full = |f: &Diagnosis| matches!(f, Diagnosis::NoCapacity { .. });
    let last = d.failures.iter().rposition(full);
    let times = d.failures.iter().filter(|f| full(f)).count();
    if let Some(last) = last.filter(|_| times >= SAME_FAILURES_MAX || wanted <= 1) {
        return Some(Reason::Recorded(last));
    }
    let mut keys = earlier.clone();
    for f in found.iter().filter(|f| counts(&f.cause)) {
        let key = cause_key(&f.cause);
        let same = keys.iter().filter(|k| **k == key).count() + 1;
        keys.push(key);
        if same >= SAME_FAILURES_MAX || wanted <= 1 || keys.len() > FAILURES_TOLERATED {
            return Some(Reason::Failure(f.clone()));
        }
    }
    let all = d.failures.len() + found.len();
    if all >= FAILURES_MAX {
        return match found.first() {
            Some(f) => Some(Reason::Failure(f.clone())),
            None => Some(Reason::Recorded(d.failures.len() - 1)),
        };
    }
    None
}

/// The [`Diagnosis::key`] that a cause will get.
pub fn cause_key(cause: &StopCause) -> String {
    use ark_model::instance::StartFailure;
    match cause {
        StopCause::Exited { exit } => format!("crashed: {}", exit.words()),
        StopCause::NeverReady { .. } => "never ready".to_owned(),
        StopCause::StartFailed { reason } => match reason {
            StartFailure::ArtifactMissing { .. } => "artifact missing".to_owned(),
            StartFailure::CommandNotFound { .. } => "command not found".to_owned(),
            StartFailure::PortTaken { .. } => "port taken".to_owned(),
            StartFailure::NoCapacity { .. } => "no capacity".to_owned(),
            StartFailure::Other { .. } => "start failed".to_owned(),
        },
        StopCause::Vanished => "start failed".to_owned(),
        StopCause::Replaced | StopCause::Returned | StopCause::ScaledDown | StopCause::Asked => {
            "asked".to_owned()
        }
    }
}

/// Live; the old side drains and stops. Failures now are steady state's business.
fn draining(input: &Input<'_>, d: &Deployment) -> Plan {
    let mut t = target(input, Some(d.release), input.new_policy, StopCause::Replaced);
    t.start_after = input.app.start_after;
    let c = converge(&t, input.seen, input.now);
    let left = c.progress.unwanted_alive;
    let ended = c.actions.iter().filter(|a| matches!(a, Action::Ended { .. })).count() as u32;
    let words = format!("{left} instances of other releases to end");
    let mut plan = new_plan(c, words);
    plan.backoff = backoff(input, Some(d.release), &plan.actions);
    let live = d.live_at.unwrap_or(input.now);
    let longest = input.seen.iter().map(|s| s.drain).max().unwrap_or_default();
    let due = after(live, longest.saturating_add(t.policy.stop_grace).saturating_add(STOP_MARGIN));
    plan.wake_at = earliest(plan.wake_at, [due]);
    if left == 0
        || (left <= ended && plan.actions.iter().all(|a| matches!(a, Action::Ended { .. })))
    {
        plan.transition =
            Some(Transition::End { state: DeploymentState::Succeeded, reason: None, note: None });
    } else if input.now >= due {
        let note = format!("{left} instances of other releases had not ended by the deadline");
        plan.transition = Some(Transition::End {
            state: DeploymentState::Succeeded,
            reason: None,
            note: Some(note),
        });
    }
    plan
}

fn returning(input: &Input<'_>, d: &Deployment) -> Plan {
    let mut t = target(input, d.base, input.live_policy, StopCause::Returned);
    // What served before is good enough to return to; a restart asked for meanwhile comes after.
    t.restart_before = None;
    // What is gone back to may fail as well: it is not started over and over without a pause.
    t.start_after = input.app.start_after;
    let c = converge(&t, input.seen, input.now);
    let missing = t.count.saturating_sub(c.progress.wanted_serving);
    let words = match d.base {
        Some(base) if missing > 0 => format!("{missing} instances of {base} to become ready"),
        _ => format!("{} instances of {} to end", c.progress.unwanted_alive, d.release),
    };
    let done = missing == 0 && c.progress.unwanted_alive == 0;
    let mut plan = new_plan(c, words);
    plan.backoff = backoff(input, d.base, &plan.actions);
    let began = d.returning_at.unwrap_or(input.now);
    let longest = input.seen.iter().map(|s| s.drain).max().unwrap_or_default();
    let span = t.policy.deadline.saturating_add(longest).saturating_add(STOP_MARGIN);
    let due = after(began, span);
    plan.wake_at = earliest(plan.wake_at, [due]);
    if !done && input.now < due {
        return plan;
    }
    let state = match (&d.base, &d.diagnosis) {
        (Some(_), _) if done => DeploymentState::RolledBack,
        (None, Some(Diagnosis::DeadlinePassed { .. } | Diagnosis::NoProgress { .. })) => {
            DeploymentState::TimedOut
        }
        _ => DeploymentState::Failed,
    };
    let note = (!done).then(|| {
        format!("going back had not ended by its deadline: waiting for {}", plan.waiting_for)
    });
    plan.transition = Some(Transition::End { state, reason: None, note });
    plan
}

fn superseded(input: &Input<'_>, d: &Deployment, abort: &Abort) -> Plan {
    let c = Convergence {
        actions: Vec::new(),
        progress: converge(
            &target(input, Some(d.release), input.new_policy, StopCause::Replaced),
            input.seen,
            input.now,
        )
        .progress,
        wake_at: Some(input.now),
    };
    let mut plan = new_plan(c, "a newer deployment".into());
    let reason = d.diagnosis.is_none().then(|| aborted(abort));
    plan.transition =
        Some(Transition::End { state: DeploymentState::Superseded, reason, note: None });
    plan
}
