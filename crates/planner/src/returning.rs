//! The way back: the old release takes over again, the new side loses its traffic, drains and
//! stops. Also the end of a deployment in whose place a newer one begins.
//!
//! A deployment in steps first takes the new side's share away and waits until the gateway has
//! acknowledged that; only then are its instances touched.

use std::time::Duration;

use ark_model::deployment::{Abort, Rollout};
use ark_model::instance::StopCause;
use ark_model::rollout::Share;
use ark_model::{Deployment, DeploymentState, Diagnosis};

use crate::converge::{Action, Beside, Convergence, Hold, STOP_MARGIN, Target, converge, floor};
use crate::failures::backoff;
use crate::hooks;
use crate::policy::Policy;
use crate::replacing::emptied_first;
use crate::rollout::{
    HELD, Input, Plan, Transition, aborted, earliest, fallback, held_note, held_until, new_plan,
    target,
};
use crate::time::after;

/// How long an old side that lacks instances is waited for before it takes all traffic back.
const CAPACITY_PATIENCE: Duration = Duration::from_secs(30);
/// The same when a newer deployment waits for it.
const CAPACITY_PATIENCE_NEWER: Duration = Duration::from_secs(5);
/// How long a newer deployment waits for the gateway's word that the abandoned side has no traffic.
/// After it the newer one begins all the same: one table then takes the division away and drains.
const NEWER_PATIENCE: Duration = Duration::from_secs(10);

/// The new side's share on the way back.
struct Closing {
    /// As it is to be recorded.
    rollout: Rollout,
    /// Whether it is certain that the new side gets no traffic.
    closed: bool,
    /// How many of the old side serve, and of how many.
    carried_by: (u32, u32),
}

fn capacity_patience(d: &Deployment, base: &Policy) -> Duration {
    let comes_within = base.ready_timeout.saturating_add(base.min_healthy_time);
    match (&d.abort, &d.diagnosis) {
        (Some(abort), _) if abort.superseded => CAPACITY_PATIENCE_NEWER,
        // Somebody wants it so, and nothing says that the new side does not serve well: it goes on as long
        // as the old one may need to be whole.
        (Some(_), None | Some(Diagnosis::Aborted { .. })) => CAPACITY_PATIENCE.max(comes_within),
        (Some(_) | None, _) => CAPACITY_PATIENCE,
    }
}

fn closing(input: &Input<'_>, d: &Deployment, rollout: &Rollout, base: &Target<'_>) -> Closing {
    let mut rollout = rollout.clone();
    let serving = input.seen.iter().filter(|s| Some(s.release) == d.base && s.is_serving());
    let serving = serving.count() as u32;
    let floor = floor(base.policy, base.count);
    let began = d.returning_at.unwrap_or(input.now);
    let patient = input.now < after(began, capacity_patience(d, base.policy));
    // The new side is live and serves well meanwhile; the old one is whole before it takes over: a hook failed,
    // or somebody goes back to what was let go.
    let kept = input.new_policy.is_some_and(|policy| !policy.keep_old.is_zero());
    let let_go = rollout.released_at.is_some() || !kept;
    let serves_well = d.live_at.is_some()
        && match d.diagnosis.as_ref().map(Diagnosis::failure) {
            Some(Diagnosis::HookFailed { .. }) => true,
            Some(Diagnosis::Aborted { .. }) => let_go,
            _ => false,
        };
    // What is left of the old side after the patience carries it better than a bad new side.
    if serving >= floor || (!patient && !serves_well && serving > 0) {
        rollout.share = Share::default();
    }
    // A table that is built now may still divide as the record says now.
    let recorded = d.rollout.as_ref().is_some_and(|r| r.share == Share::default());
    let closed = recorded && input.share.is(d.release, &Share::default());
    Closing { rollout, closed, carried_by: (serving, base.count) }
}

/// The new side beside the old one. As long as the gateway may give it traffic it stays; then it goes, and
/// is no capacity any more: nothing else may go for its sake (I3).
fn left<'a>(input: &Input<'a>, d: &Deployment, closing: &Closing) -> Option<Beside<'a>> {
    let hold = if closing.closed { Hold::Leaving } else { Hold::AsIs };
    (d.base != Some(d.release)).then(|| Beside {
        release: d.release,
        hold,
        policy: input.new_policy.unwrap_or_else(|| fallback()),
        start_after: None,
    })
}

pub(crate) fn returning(input: &Input<'_>, d: &Deployment) -> Plan {
    let mut t = target(input, d.base, input.live_policy, StopCause::Returned);
    // What served before is good enough to return to; a restart asked for meanwhile comes after.
    t.restart_before = None;
    // What is gone back to may fail as well: it is not started over and over without a pause.
    t.start_after = input.app.start_after;
    let closing = d.rollout.as_ref().map(|r| closing(input, d, r, &t));
    let closed = closing.as_ref().is_none_or(|c| c.closed);
    t.beside = closing.as_ref().and_then(|c| left(input, d, c));
    let c = converge(&emptied_first(input, d, t.clone()), input.seen, input.now);
    let missing = t.count.saturating_sub(c.progress.wanted_serving);
    let words = match d.base {
        Some(base) if missing > 0 => format!("{missing} instances of {base} to become ready"),
        _ if !closed => format!("the gateway to send no more requests to {}", d.release),
        _ => format!("{} instances of {} to end", c.progress.unwanted_alive, d.release),
    };
    let hook = hooks::active(d);
    let words = match hook {
        Some(run) if missing == 0 && closed => format!("{} to end", run.words()),
        Some(_) | None => words,
    };
    // On hosts that do not answer nothing ends now; it is ended when they answer again.
    let silent = c.progress.unwanted_silent;
    let told = |a: &Action| matches!(a, Action::Drain { .. } | Action::Stop { .. });
    let ended = c.progress.unwanted_alive == silent && (silent == 0 || !c.actions.iter().any(told));
    let mut done = missing == 0 && ended && closed && hook.is_none();
    let mut plan = new_plan(c, words);
    plan.backoff = backoff(input, d.base, &plan.actions);
    let began = d.returning_at.unwrap_or(input.now);
    let longest = input.seen.iter().map(|s| s.drain).max().unwrap_or_default();
    let span = t.policy.deadline.saturating_add(longest).saturating_add(STOP_MARGIN);
    let due = after(began, span);
    // What it would go back to is what failed: to try on is no longer this deployment's business.
    let failed = !matches!(d.diagnosis, None | Some(Diagnosis::Aborted { .. }));
    let itself = failed && d.base == Some(d.release);
    let up = d.progress_at.unwrap_or(began).max(began);
    // All is back: what is waited for here may put off the end, but not change it.
    if done
        && !itself
        && input.now < due
        && let Some(until) = held_until(input, d, up)
    {
        done = false;
        plan.waiting_for = HELD.to_owned();
        plan.wake_at = earliest(plan.wake_at, [until]);
    }
    if let Some(closing) = closing {
        if d.rollout.as_ref() != Some(&closing.rollout) {
            plan.said.push(match (closing.carried_by, d.base) {
                ((serving, wanted), Some(base)) if serving < wanted => format!(
                    "{} gets no more traffic; {serving} of {wanted} instances of {base} carry it",
                    d.release
                ),
                _ => format!("{} gets no more traffic", d.release),
            });
            plan.rollout = Some(closing.rollout);
        } else if !closed {
            let patience = after(began, capacity_patience(d, t.policy));
            plan.wake_at =
                earliest(plan.wake_at, [patience].into_iter().filter(|at| *at > input.now));
        }
    }
    plan.wake_at = earliest(plan.wake_at, [due]);
    if hook.is_some() {
        // It has a deadline of its own, and its end is looked at at once.
        plan.wake_at = plan.wake_at.filter(|at| *at > input.now);
        return plan;
    }
    if !done && !itself && input.now < due {
        return plan;
    }
    let state = match &d.diagnosis {
        _ if done && d.base.is_some() => DeploymentState::RolledBack,
        Some(Diagnosis::DeadlinePassed { .. } | Diagnosis::NoProgress { .. })
            if itself || d.base.is_none() =>
        {
            DeploymentState::TimedOut
        }
        _ => DeploymentState::Failed,
    };
    let note = match (done, itself) {
        (true, _) => held_note(input, d),
        (false, true) => Some(format!("{} was live before: nothing else to go back to", d.release)),
        (false, false) => Some(format!(
            "going back had not ended by its deadline: waiting for {}",
            plan.waiting_for
        )),
    };
    plan.transition = Some(Transition::End { state, reason: None, note });
    plan
}

/// A newer deployment takes over from where this one stands. One in steps has first lost its
/// traffic, and its instances drain from now on: the newer one does not know them.
pub(crate) fn superseded(input: &Input<'_>, d: &Deployment, abort: &Abort) -> Plan {
    let mut base = target(input, d.base, input.live_policy, StopCause::Returned);
    let began = d.returning_at.unwrap_or(input.now);
    let patience = after(began, NEWER_PATIENCE);
    let closing = d.rollout.as_ref().map(|rollout| closing(input, d, rollout, &base));
    if closing.as_ref().is_some_and(|c| !c.closed) && input.now < patience {
        let mut plan = returning(input, d);
        plan.transition = None;
        plan.wake_at = earliest(plan.wake_at, [patience]);
        return plan;
    }
    base.beside = closing.filter(|c| c.closed).and_then(|c| left(input, d, &c));
    let c = converge(&base, input.seen, input.now);
    let mut actions = c.actions;
    match d.rollout {
        Some(_) => actions.retain(|a| !matches!(a, Action::Start { .. })),
        None => actions.clear(),
    }
    let c = Convergence { actions, wake_at: Some(input.now), ..c };
    let mut plan = new_plan(c, "a newer deployment".into());
    let reason = d.diagnosis.is_none().then(|| aborted(abort));
    plan.transition =
        Some(Transition::End { state: DeploymentState::Superseded, reason, note: None });
    plan
}
