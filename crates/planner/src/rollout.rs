//! The plan of one app in one environment: which deployment runs, where it stands, what its
//! instances are to become. Called for each app by the server's deployment task, in production and
//! in the simulator; decides everything, does nothing.
//!
//! The moves of a deployment:
//!
//! ```text
//!            rolling, recreate
//! Queued ─┬─► Replacing ──┬────────────────► Draining ──► Succeeded
//!         │               ├──► Returning ──► RolledBack | Failed | TimedOut
//!         └─► Stepping ───┼──► Keeping ─────► Draining
//!            canary,      │       └──► Returning
//!            blue-green   └──► Draining (nothing is kept)
//! ```
//!
//! Hooks: those before it hold it in `Replacing` or `Stepping`, untouched; those after it hold it in
//! `Keeping` or `Draining`, and when one fails, lead from there to `Returning` ([`crate::hooks`]).
//!
//! `Superseded` follows from a newer deployment, `ark stop` and destroying: from any state in which
//! it is not live; from `Stepping` by way of `Returning`, so that the new side loses its traffic
//! before anything else happens. What is live then has succeeded. A hook that is under way is ended
//! before its deployment is.
//!
//! Strategies only give targets (which releases, how many of each) and shares of the traffic;
//! [`crate::converge`] moves the instances.

use std::time::Duration;

use std::sync::Arc;

use ark_model::deployment::{Abort, DeploymentKind, Rollout, Strategy};
use ark_model::environment::AppState;
use ark_model::hook::{HookRun, HookStage};
use ark_model::instance::{EngineState, InstanceState, StopCause};
use ark_model::{Deployment, DeploymentState, Diagnosis, InstanceId, ReleaseNumber};
use jiff::Timestamp;

use crate::converge::{Action, Convergence, Progress, Target, converge, floor};
use crate::failures::{backoff, stays_down};
use crate::hooks::{self, Stage};
use crate::keeping::keeping;
use crate::observed::{Measured, Seen, ShareSeen};
use crate::planted::Planted;
use crate::policy::Policy;
use crate::replacing::{draining, replacing};
use crate::returning::{returning, superseded};
use crate::stepping::stepping;
use crate::time::after;
use crate::watch;

/// Everything a plan is made from.
#[derive(Debug)]
pub struct Input<'a> {
    /// Now, by the wall clock.
    pub now: Timestamp,
    /// Since when this server looks: nobody was waited for before.
    pub since: Timestamp,
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
    /// How the table in force divides the traffic.
    pub share: ShareSeen,
    /// Requests that were held while nothing ran and have not ended, as reported under the table in
    /// force.
    pub held: Option<u32>,
    /// What the gateway measured, oldest first.
    pub measured: &'a [Arc<Measured>],
    /// From when on nothing is missing in it.
    pub measured_since: Timestamp,
    /// Up to when nothing is missing in it: what the gateway has counted since is still to come.
    pub measured_until: Timestamp,
    /// A bug, in the simulator's tests; otherwise `None`.
    pub planted: Option<Planted>,
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
    /// How far a deployment in steps is from now on, when that changes.
    pub rollout: Option<Rollout>,
    /// What happened to it, in words, for the events.
    pub said: Vec<String>,
    /// What becomes of the watch window.
    pub watch: Option<watch::Move>,
    /// How the waiting deployment begins, when it does.
    pub begin_waiting: Option<Beginning>,
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

/// How a deployment leaves the queue.
#[derive(Debug, Clone, PartialEq)]
pub struct Beginning {
    /// Its first state.
    pub state: DeploymentState,
    /// Its steps, when it goes in steps.
    pub rollout: Option<Rollout>,
    /// Its hooks.
    pub hooks: Vec<HookRun>,
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
    /// It is to end where it stands, as soon as its hook has been ended: the hooks task is told so.
    Abort(Abort),
    /// All traffic is on the new side.
    Live {
        /// Whether the old side is kept for a while.
        keeping: bool,
    },
    /// The kept old side is let go.
    LetGo,
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

/// Plans the next step of one app.
pub fn plan(input: &Input<'_>) -> Plan {
    let mut plan = next_step(input);
    let wanted = input.ending.is_none() && !input.app.stopped;
    if let (Some(d), Some(Transition::End { state: DeploymentState::Succeeded, .. }), true) =
        (input.running, &plan.transition, wanted)
        && d.state != DeploymentState::Succeeded
    {
        plan.watch = Some(watch::begin(input, d));
    }
    plan
}

fn next_step(input: &Input<'_>) -> Plan {
    let now = input.now;
    match (input.running, input.ending.is_some() || input.app.stopped) {
        (_, true) => stop_everything(input),
        (None, false) => {
            let mut plan = steady(input);
            if let Some(until) = input.waiting.and_then(|waiting| held_back(input, waiting)) {
                plan.waiting_for = "the old side to be whole".to_owned();
                plan.wake_at = earliest(plan.wake_at, [until]);
            } else if let Some(waiting) = input.waiting {
                plan.begin_waiting = Some(beginning(input, waiting));
                plan.watch = input.app.watch.as_ref().map(watch::cut_short);
                // Nothing is begun, or taken away, for the sake of a release that is about to be
                // replaced: the deployment knows what is to run.
                plan.actions.retain(|a| matches!(a, Action::Ended { .. } | Action::Activate(_)));
                plan.backoff = None;
            }
            plan
        }
        (Some(d), false) => match (d.state, &d.abort) {
            // Nothing new begins while a hook of this one may still run: it is ended first.
            (DeploymentState::Draining, Some(abort))
                if hooks::active(d).is_some() && (abort.superseded || !has_another_base(d)) =>
            {
                draining(input, d)
            }
            (DeploymentState::Replacing, Some(abort)) if hooks::active(d).is_some() => {
                let mut plan = preparing(input, d, hooks::active(d));
                plan.transition = Some(Transition::Return(aborted(abort)));
                plan.wake_at = Some(now);
                plan
            }
            (DeploymentState::Returning, Some(abort))
                if abort.superseded && hooks::active(d).is_some() =>
            {
                let mut plan = returning(input, d);
                plan.transition = None;
                plan
            }
            (DeploymentState::Draining, Some(abort)) if abort.superseded => {
                let note = match (&abort.by[..], &abort.reason) {
                    ("ark", Some(why)) => why.clone(),
                    _ => "a newer deployment began before the old side had ended".to_owned(),
                };
                let mut plan = draining(input, d);
                plan.transition = Some(Transition::End {
                    state: DeploymentState::Succeeded,
                    reason: None,
                    note: Some(note),
                });
                plan
            }
            (DeploymentState::Draining, Some(abort)) if has_another_base(d) => {
                let mut plan = draining(input, d);
                // Nothing more of the old side is taken away.
                plan.actions.retain(|a| matches!(a, Action::Ended { .. }));
                plan.transition = Some(Transition::Return(aborted(abort)));
                plan.wake_at = Some(now);
                plan
            }
            (DeploymentState::Replacing | DeploymentState::Returning, Some(abort))
                if abort.superseded =>
            {
                superseded(input, d, abort)
            }
            (DeploymentState::Replacing | DeploymentState::Stepping, _)
                if hooks::stage(d, HookStage::PreDeploy) != Stage::Passed =>
            {
                before_it_begins(input, d)
            }
            (DeploymentState::Replacing, _) => replacing(input, d),
            (DeploymentState::Stepping, _) => stepping(input, d),
            (DeploymentState::Keeping, _) => keeping(input, d),
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

/// How long a deployment that goes in steps is held back for its old side, from when it was asked for.
const HELD_BACK_MAX: Duration = Duration::from_secs(60);

/// Until when a waiting deployment does not begin: one that goes in steps takes the traffic of its
/// release away first, and an earlier deployment of the same release, ended half way, may have left most
/// of what serves to it. The old side is made whole before that (I3). Before the gateway has said what
/// serves, what was let in may.
fn held_back(input: &Input<'_>, waiting: &Deployment) -> Option<Timestamp> {
    let in_steps = beginning(input, waiting).state == DeploymentState::Stepping;
    let serving = |s: &&Seen| Some(s.release) == input.app.live && s.is_serving();
    let old = target(input, input.app.live, input.live_policy, StopCause::Replaced);
    let whole = floor(old.policy, old.count);
    let lacks = (input.seen.iter().filter(serving).count() as u32) < whole;
    let let_in = |s: &Seen| s.release == waiting.release && s.state == InstanceState::Active;
    let may_serve = input.seen.iter().any(let_in);
    let until = after(waiting.created_at.max(input.since), HELD_BACK_MAX);
    let holds = in_steps && lacks && may_serve && input.now < until;
    holds.then_some(until)
}

/// How a waiting deployment begins: in steps only when there is an old side to compare with.
fn beginning(input: &Input<'_>, waiting: &Deployment) -> Beginning {
    let old = input.app.live.filter(|live| *live != waiting.release);
    let serves = input.seen.iter().any(|s| Some(s.release) == old && is_up(s));
    let wanted = target(input, Some(waiting.release), input.new_policy, StopCause::Replaced).count;
    // What is gone back to was let in once already, and nothing may hold up the way back.
    let hooks = match (input.new_policy, waiting.kind) {
        (Some(policy), DeploymentKind::Deploy) => HookRun::all(&policy.hooks),
        (Some(_), DeploymentKind::Rollback) | (None, _) => Vec::new(),
    };
    match input.new_policy {
        Some(policy) if serves && wanted > 0 && !policy.steps.is_empty() => Beginning {
            state: DeploymentState::Stepping,
            rollout: Some(Rollout::new(policy.steps.clone(), input.now)),
            hooks,
        },
        Some(_) | None => Beginning { state: DeploymentState::Replacing, rollout: None, hooks },
    }
}

/// The hooks before it have not all ended well: what is live is kept, and nothing else is touched.
/// Each hook has a deadline of its own; the total one holds too.
fn before_it_begins(input: &Input<'_>, d: &Deployment) -> Plan {
    let (run, failed) = match hooks::stage(d, HookStage::PreDeploy) {
        Stage::Failed(run) => (Some(run), true),
        Stage::Pending(run) => (Some(run), false),
        Stage::Passed => (None, false),
    };
    let mut plan = preparing(input, d, run);
    let deadline = input.new_policy.unwrap_or_else(|| fallback()).deadline;
    let due = after(d.started_at.unwrap_or(d.created_at), deadline);
    plan.wake_at = earliest(plan.wake_at, [due]);
    let reason = match (&d.abort, run) {
        (Some(abort), _) => Some(aborted(abort)),
        (None, Some(run)) if failed => Some(Reason::Diagnosis(hooks::diagnosis(run))),
        (None, _) if input.now >= due => Some(Reason::Diagnosis(Diagnosis::DeadlinePassed {
            deadline_ms: u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX),
            waiting_for: plan.waiting_for.clone(),
        })),
        (None, _) => None,
    };
    if let Some(reason) = reason {
        plan.transition = Some(Transition::Return(reason));
        plan.wake_at = Some(input.now);
    }
    plan
}

/// What was live goes on as if nothing were asked for.
fn preparing(input: &Input<'_>, d: &Deployment, run: Option<&HookRun>) -> Plan {
    let mut t = target(input, d.base, input.live_policy, StopCause::Replaced);
    t.start_after = input.app.start_after;
    let words = run.map_or_else(|| "a hook".to_owned(), HookRun::words);
    let mut plan = new_plan(converge(&t, input.seen, input.now), format!("{words} to end"));
    plan.backoff = backoff(input, d.base, &plan.actions);
    // What happens to the old side is no step forward of the new one.
    plan.progressed = false;
    plan
}

/// Whether it is meant to work, now or soon.
pub(crate) fn is_up(s: &Seen) -> bool {
    match s.state {
        InstanceState::Starting | InstanceState::Active => true,
        InstanceState::Draining | InstanceState::Stopping | InstanceState::Stopped => false,
    }
}

pub(crate) fn new_plan(c: Convergence, waiting_for: String) -> Plan {
    let progressed = c.actions.iter().any(is_progress);
    Plan {
        actions: c.actions,
        transition: None,
        progressed,
        failures: Vec::new(),
        rollout: None,
        said: Vec::new(),
        watch: None,
        begin_waiting: None,
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
pub(crate) fn fallback() -> &'static Policy {
    static POLICY: std::sync::OnceLock<Policy> = std::sync::OnceLock::new();
    POLICY.get_or_init(|| {
        Policy::of(
            &ark_model::definition::Definition::default(),
            ark_model::environment::EnvKind::Permanent,
            Strategy::Rolling,
        )
    })
}

pub(crate) fn target<'a>(
    input: &Input<'a>,
    release: Option<ReleaseNumber>,
    policy: Option<&'a Policy>,
    replaced_by: StopCause,
) -> Target<'a> {
    let policy = policy.unwrap_or_else(|| fallback());
    Target {
        release,
        count: match release {
            Some(_) => policy.wanted(input.app.scale),
            None => 0,
        },
        restart_before: input.app.restart_before,
        policy,
        replaced_by,
        start_after: None,
        base: input.running.map_or(input.app.live, |d| d.base),
        beside: None,
        since: input.since,
        planted: input.planted,
    }
}

/// Whether there is a way back to something else than what it deploys.
fn has_another_base(d: &Deployment) -> bool {
    d.base.is_some_and(|base| base != d.release)
}

fn stop_everything(input: &Input<'_>) -> Plan {
    let target = target(input, None, input.live_policy, StopCause::Asked);
    let mut plan = new_plan(converge(&target, input.seen, input.now), "instances to end".into());
    plan.drop_waiting = input.waiting.is_some();
    plan.watch = input.app.watch.as_ref().map(watch::cut_short);
    if let Some(d) = input.running {
        let by = "ark".to_owned();
        let why = input.ending.unwrap_or("the app was stopped");
        let reason = Some(why.to_owned());
        // A deployment that has ended is nobody's: a command of its hook would run on.
        if let Some(run) = hooks::active(d) {
            plan.waiting_for = format!("{} to end", run.words());
            let abort = Abort { by, reason, superseded: true };
            plan.transition = d.abort.is_none().then_some(Transition::Abort(abort));
            return plan;
        }
        plan.transition = Some(match d.state {
            // It was live; what ends it now is not its failure.
            DeploymentState::Draining | DeploymentState::Keeping => Transition::End {
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
    if let Some(watch) = &input.app.watch {
        let down = stays_down(input, (watch.release, target.count), &plan.actions);
        let (what, wake_at) = watch::plan(input, watch, down);
        plan.watch = what;
        plan.wake_at = earliest(plan.wake_at, [wake_at]);
    }
    plan
}

pub(crate) fn aborted(abort: &Abort) -> Reason {
    let (by, reason) = (abort.by.clone(), abort.reason.clone());
    Reason::Diagnosis(Diagnosis::Aborted { by, reason })
}

/// What such a deployment waits for at its end.
pub(crate) const HELD: &str = "requests that were held to end";

/// Requests that waited while nothing ran (`recreate`) belong to the deployment that made them wait: it
/// ends when they have ended, so that they are in its receipt. They have as long as requests in a
/// draining instance, counted from `since`. Answers until when they are waited for, if they are.
pub(crate) fn held_until(input: &Input<'_>, d: &Deployment, since: Timestamp) -> Option<Timestamp> {
    let longest = input.seen.iter().map(|s| s.drain).max().unwrap_or_default();
    let until = after(since, longest);
    (are_held(input, d) && input.now < until).then_some(until)
}

fn are_held(input: &Input<'_>, d: &Deployment) -> bool {
    d.strategy == Strategy::Recreate
        && input.share != ShareSeen::Unrouted
        && input.held.is_none_or(|held| held > 0)
}

/// What a reader of the receipt must know when they were not waited for any longer.
pub(crate) fn held_note(input: &Input<'_>, d: &Deployment) -> Option<String> {
    are_held(input, d).then(|| match input.held {
        Some(held) => {
            format!("{held} requests that were held had not ended: they are not counted here")
        }
        None => "the gateway did not say whether all requests that were held had ended".to_owned(),
    })
}

pub(crate) fn waiting_words(
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

/// What a deployment that is given up was waiting for: more than a status says meanwhile.
pub(crate) fn waited_for(input: &Input<'_>, release: ReleaseNumber, words: &str) -> String {
    let runs_image = input.new_policy.is_some_and(|policy| policy.runs_image);
    let prepares =
        |s: &Seen| s.release == release && matches!(s.engine, Some(EngineState::Preparing));
    match runs_image && input.seen.iter().any(prepares) {
        true => format!(
            "{words}; its image was still being fetched, a longer `deploy.progress_deadline` gives it \
             more time"
        ),
        false => words.to_owned(),
    }
}

pub(crate) fn earliest(
    a: Option<Timestamp>,
    more: impl IntoIterator<Item = Timestamp>,
) -> Option<Timestamp> {
    a.into_iter().chain(more).min()
}
