//! Instances of the new release replace those of the old one, one by one (rolling) or all at once
//! with nothing in between (recreate); and what follows when it is live: the old side drains.

use ark_model::definition::Strategy;
use ark_model::hook::HookStage;
use ark_model::instance::StopCause;
use ark_model::{Deployment, DeploymentState, Diagnosis};
use jiff::Timestamp;

use crate::converge::{Action, CLOCKS_DIFFER_MAX, STOP_MARGIN, Target, converge};
use crate::failures::{backoff, fatal, new_failures};
use crate::hooks::{self, Stage};
use crate::observed::Seen;
use crate::rollout::{
    HELD, Input, Plan, Reason, Transition, aborted, earliest, held_note, held_until, new_plan,
    target, waited_for, waiting_words,
};
use crate::time::{after, since_ms};

/// What `recreate` converges to: nothing, until every instance of another release has ended.
pub(crate) fn emptied_first<'a>(
    input: &Input<'a>,
    d: &Deployment,
    wanted: Target<'a>,
) -> Target<'a> {
    let other = |s: &Seen| Some(s.release) != wanted.release && s.state.is_alive();
    match d.strategy {
        Strategy::Recreate if input.seen.iter().any(other) => {
            Target { release: None, count: 0, ..wanted }
        }
        Strategy::Recreate | Strategy::Rolling | Strategy::BlueGreen | Strategy::Canary => wanted,
    }
}

pub(crate) fn replacing(input: &Input<'_>, d: &Deployment) -> Plan {
    let t = target(input, Some(d.release), input.new_policy, StopCause::Replaced);
    let c = converge(&emptied_first(input, d, t.clone()), input.seen, input.now);
    let missing = t.count.saturating_sub(c.progress.wanted_serving);
    let words = waiting_words(input, d.release, missing, &c.progress);
    let reached = c.progress.wanted_serving >= t.count && c.progress.unwanted_admitted == 0;
    let proven = proven_at(input, d, &t);
    let words = match reached && input.now < proven {
        true => format!("the instances to have been ready for {:?}", t.policy.min_healthy_time),
        false => words,
    };
    let mut plan = new_plan(c, words);
    plan.failures = new_failures(input, d, &plan.actions);
    let started = d.started_at.unwrap_or(d.created_at);
    let progress_at = d.progress_at.unwrap_or(started);
    let progress_due = after(progress_at, t.policy.progress_deadline);
    let due = after(started, t.policy.deadline);
    plan.wake_at = earliest(plan.wake_at, [progress_due, due]);
    if reached && input.now < proven {
        plan.wake_at = earliest(plan.wake_at, [proven]);
    }
    let reason = if let Some(abort) = &d.abort {
        Some(aborted(abort))
    } else if reached && input.now >= proven {
        plan.transition = Some(Transition::Live { keeping: false });
        plan.wake_at = Some(input.now);
        return plan;
    } else if let Some(reason) = fatal(input, d, &plan.failures, t.count) {
        Some(reason)
    } else if input.now >= due {
        Some(Reason::Diagnosis(Diagnosis::DeadlinePassed {
            deadline_ms: u64::try_from(t.policy.deadline.as_millis()).unwrap_or(u64::MAX),
            waiting_for: plan.waiting_for.clone(),
        }))
    } else if input.now >= progress_due && !plan.progressed {
        Some(Reason::Diagnosis(Diagnosis::NoProgress {
            waited_ms: since_ms(progress_at, input.now),
            waiting_for: waited_for(input, d.release, &plan.waiting_for),
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

/// When all that serve of the target will have been ready, or active, for their time: where nothing served an
/// instance takes traffic as soon as it is ready, which makes no good release of one that crashes soon after.
/// Never later than the deadline of it all.
pub(crate) fn proven_at(input: &Input<'_>, d: &Deployment, target: &Target<'_>) -> Timestamp {
    let counts = |s: &&Seen| Some(s.release) == target.release && s.has_ports && s.is_serving();
    let begun = |s: &Seen| {
        let active = s.active_at.unwrap_or(input.now);
        s.probe.as_ref().map_or(active, |probe| probe.since.min(active))
    };
    // The clock was set back since: for how long nobody knows, as when it was let in.
    let is_known = |since: &Timestamp| *since <= after(input.now, CLOCKS_DIFFER_MAX);
    let latest = input.seen.iter().filter(counts).map(begun).filter(is_known).max();
    let proven = latest.map_or(input.now, |since| after(since, target.policy.min_healthy_time));
    proven.min(after(d.started_at.unwrap_or(d.created_at), target.policy.deadline))
}

/// Live; the old side drains and stops. Failures now are steady state's business.
pub(crate) fn draining(input: &Input<'_>, d: &Deployment) -> Plan {
    let mut t = target(input, Some(d.release), input.new_policy, StopCause::Replaced);
    t.start_after = input.app.start_after;
    let c = converge(&t, input.seen, input.now);
    let all = c.progress.unwanted_alive;
    // On hosts that do not answer nothing ends now; it is ended when they answer again.
    let left = all - c.progress.unwanted_silent;
    let told = |a: &Action| matches!(a, Action::Drain { .. } | Action::Stop { .. });
    let settled = all == 0 || !c.actions.iter().any(told);
    let words = format!("{left} instances of other releases to end");
    let mut plan = new_plan(c, words);
    plan.backoff = backoff(input, Some(d.release), &plan.actions);
    let let_go = d.rollout.as_ref().and_then(|r| r.released_at);
    let live = let_go.or(d.live_at).unwrap_or(input.now);
    let longest = input.seen.iter().map(|s| s.drain).max().unwrap_or_default();
    let due = after(live, longest.saturating_add(t.policy.stop_grace).saturating_add(STOP_MARGIN));
    plan.wake_at = earliest(plan.wake_at, [due]);
    match hooks::stage(d, HookStage::PostDeploy) {
        Stage::Failed(run) if d.abort.is_none() => {
            plan.transition = Some(Transition::Return(Reason::Diagnosis(hooks::diagnosis(run))));
            plan.wake_at = Some(input.now);
            return plan;
        }
        Stage::Pending(run) if d.abort.is_none() || hooks::active(d).is_some() => {
            plan.waiting_for = format!("{} to end", run.words());
            plan.wake_at = plan.wake_at.filter(|at| *at > input.now);
            return plan;
        }
        Stage::Failed(_) | Stage::Pending(_) | Stage::Passed => {}
    }
    let over = left == 0 && settled;
    if over && let Some(until) = held_until(input, d, live) {
        plan.waiting_for = HELD.to_owned();
        plan.wake_at = earliest(plan.wake_at, [until]);
    } else if over {
        plan.transition = Some(Transition::End {
            state: DeploymentState::Succeeded,
            reason: None,
            note: held_note(input, d),
        });
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
