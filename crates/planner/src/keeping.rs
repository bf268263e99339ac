//! Live, and the old side is kept without traffic for an instant way back: until its time is over, somebody
//! lets it go or goes back to it, or the judge finds the new side bad.
//!
//! Called by [`crate::rollout`].

use std::time::Duration;

use ark_model::deployment::DeploymentKind;
use ark_model::hook::HookStage;
use ark_model::instance::StopCause;
use ark_model::rollout::{JUDGEMENTS_MAX, Rollout, StepJudgement};
use ark_model::{Deployment, DeploymentState, Diagnosis, ReleaseNumber};

use crate::converge::{Beside, Hold, converge};
use crate::failures::{Down, backoff, stays_down};
use crate::hooks::{self, Stage};
use crate::rollout::{
    Input, Plan, Reason, Transition, aborted, earliest, fallback, is_up, new_plan, target,
};
use crate::time::after;
use crate::watch::look_while_kept;

/// How often measurements are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Live; the old side is kept, without traffic, for an instant way back.
pub(crate) fn keeping(input: &Input<'_>, d: &Deployment) -> Plan {
    let mut t = target(input, Some(d.release), input.new_policy, StopCause::Replaced);
    t.start_after = input.app.start_after;
    let live = d.live_at.unwrap_or(input.now);
    let until = after(live, t.policy.keep_old);
    let kept = d.base.filter(|base| input.seen.iter().any(|s| s.release == *base && is_up(s)));
    let newer = d.abort.as_ref().filter(|abort| abort.superseded);
    let back = newer.is_some() && input.waiting.is_some_and(|w| Some(w.release) == d.base);
    if let (Some(base), true) = (kept, newer.is_none() || back) {
        t.beside = Some(Beside {
            release: base,
            hold: Hold::Kept,
            policy: input.live_policy.unwrap_or_else(|| fallback()),
            start_after: None,
        });
    }
    let c = converge(&t, input.seen, input.now);
    let mut plan = new_plan(c, "the time for which the old side is kept to pass".to_owned());
    plan.backoff = backoff(input, Some(d.release), &plan.actions);
    let down = stays_down(input, (d.release, t.count), &plan.actions);
    plan.wake_at = earliest(plan.wake_at, [until]);
    let promoted =
        d.rollout.as_ref().is_some_and(|r| r.promoted.is_some() && r.current().is_none());
    let whole = |r: &Rollout| r.promoted.as_ref().is_some_and(|p| p.until > r.steps.len());
    let let_go = promoted && d.rollout.as_ref().is_some_and(whole);
    let hooked = match hooks::stage(d, HookStage::PostDeploy) {
        Stage::Pending(run) => {
            plan.waiting_for = format!("{} to end", run.words());
            true
        }
        Stage::Failed(_) | Stage::Passed => false,
    };
    match &d.abort {
        // A hook that runs is ended first.
        Some(_) if hooks::active(d).is_some() => {}
        None if let Stage::Failed(run) = hooks::stage(d, HookStage::PostDeploy) => {
            plan.transition = Some(Transition::Return(Reason::Diagnosis(hooks::diagnosis(run))));
        }
        // A hook has no word in that: the way back ends it.
        None if let Some(diagnosis) = judged(input, d, (kept, down), &mut plan) => {
            plan.transition = Some(Transition::Return(Reason::Diagnosis(diagnosis)));
        }
        None if hooked => {}
        Some(abort) if abort.superseded => {
            let note = "a newer deployment began while the old side was still kept".to_owned();
            plan.transition = Some(Transition::End {
                state: DeploymentState::Succeeded,
                reason: None,
                note: Some(note),
            });
        }
        Some(abort) => plan.transition = Some(Transition::Return(aborted(abort))),
        None if let_go || kept.is_none() || input.now >= until => {
            plan.rollout = d.rollout.clone().map(|mut r| {
                r.released_at = Some(input.now);
                r
            });
            plan.transition = Some(Transition::LetGo);
        }
        None => {}
    }
    match plan.transition {
        Some(_) => plan.wake_at = Some(input.now),
        None if plan.rollout.is_some() => plan.wake_at = Some(input.now),
        // What is waited for is a hook: its time to be kept may be over.
        None => plan.wake_at = plan.wake_at.filter(|at| *at > input.now),
    }
    plan
}

/// What the judge says against the new side, where the old one is there and was better. A way back is not
/// judged: what it left was left for a reason.
fn judged(
    input: &Input<'_>,
    d: &Deployment,
    (kept, down): (Option<ReleaseNumber>, Option<Down>),
    plan: &mut Plan,
) -> Option<Diagnosis> {
    let (base, before) = (kept?, d.rollout.as_ref()?);
    if d.kind != DeploymentKind::Deploy {
        return None;
    }
    plan.wake_at = earliest(plan.wake_at, [after(input.now, LOOK_EVERY)]);
    let looked = look_while_kept(input, d, base, (d.live_at?, before.looks), down)?;
    if looked.is_bad && !looked.base_was_good {
        return None;
    }
    let mut rollout = before.clone();
    if !looked.is_bad {
        rollout.looks += 1;
        plan.rollout = Some(rollout);
        return None;
    }
    plan.said.push(format!("the judge fails it: {}", looked.judgement.words(3)));
    let reasons = looked.judgement.reasons().into_iter().map(str::to_owned).collect();
    // Of the last step: the one that gave it all of the traffic.
    let step = rollout.steps.len().saturating_sub(1);
    rollout.judgements.push(StepJudgement { step, judgement: looked.judgement });
    let surplus = rollout.judgements.len().saturating_sub(JUDGEMENTS_MAX);
    rollout.judgements.drain(..surplus);
    plan.rollout = Some(rollout);
    Some(Diagnosis::Judged { reasons })
}
