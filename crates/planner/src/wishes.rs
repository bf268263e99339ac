//! What people say to a deployment in steps: go on, wait, approve. Called by the server's API
//! inside the transaction that records the wish; [`crate::rollout`] acts on it.

use ark_model::definition::Step;
use ark_model::deployment::Rollout;
use ark_model::rollout::{Approval, AsksFor, Promotion, Said};
use ark_model::{Deployment, DeploymentState};

/// A person's wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Go on to the next step, or to the end.
    Promote {
        /// To the end.
        full: bool,
    },
    /// Stay at this step.
    Pause,
    /// Go on after a pause.
    Resume,
    /// The step that waits for an approval has it.
    Approve,
}

/// Why a wish cannot be fulfilled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is over.
    #[error("it has ended")]
    Ended,
    /// It is already on its way back.
    #[error("it is on its way back")]
    Returning,
    /// It does not go in steps, or not yet, or no longer.
    #[error("it has no steps to go")]
    NoSteps,
    /// The step it is at waits for nobody.
    #[error("step {step} of {steps} ({words}) waits for no approval")]
    NothingToApprove {
        /// From 1.
        step: usize,
        /// How many there are.
        steps: usize,
        /// What it does.
        words: String,
    },
    /// It is paused already.
    #[error("{by} has paused it already")]
    Paused {
        /// Who.
        by: String,
    },
    /// It is not paused.
    #[error("it is not paused")]
    NotPaused,
    /// It has gone on since whoever says so looked at it.
    #[error("it is no longer at step {seen}: {now}")]
    Elsewhere {
        /// The step that was seen, from 1.
        seen: u32,
        /// Where it is, and what it waits for.
        now: String,
    },
}

/// The deployment with the wish on record, and what was said in words. `seen` is the step that whoever
/// says so saw it at, from 1, where they say: a second press of a button is no answer to the question
/// that came meanwhile.
///
/// # Errors
/// When it makes no sense where the deployment stands.
pub fn apply(
    d: &Deployment,
    wish: Wish,
    seen: Option<u32>,
    said: Said,
) -> Result<(Deployment, String), Refusal> {
    match d.state {
        DeploymentState::Stepping | DeploymentState::Keeping => {}
        DeploymentState::Returning => return Err(Refusal::Returning),
        DeploymentState::Queued | DeploymentState::Replacing | DeploymentState::Draining => {
            return Err(Refusal::NoSteps);
        }
        DeploymentState::Succeeded
        | DeploymentState::RolledBack
        | DeploymentState::Failed
        | DeploymentState::TimedOut
        | DeploymentState::Superseded => return Err(Refusal::Ended),
    }
    if d.abort.is_some() {
        return Err(Refusal::Returning);
    }
    let mut d = d.clone();
    let r = d.rollout.as_mut().ok_or(Refusal::NoSteps)?;
    if let Some(seen) = seen.filter(|seen| is_elsewhere(r, wish, *seen)) {
        return Err(Refusal::Elsewhere { seen, now: stands(r) });
    }
    let by = said.by.clone();
    let words = match wish {
        Wish::Promote { full } => {
            promote(r, full, said);
            let what = match (d.state, full) {
                (DeploymentState::Keeping, _) => "lets the old side go",
                (_, true) => "promotes it to the end",
                (_, false) => "promotes it",
            };
            format!("{by} {what}")
        }
        Wish::Pause => {
            if let Some(paused) = &r.paused {
                return Err(Refusal::Paused { by: paused.by.clone() });
            }
            if r.current().is_none() {
                return Err(Refusal::NoSteps);
            }
            r.paused = Some(said);
            format!("{by} pauses it")
        }
        Wish::Resume => {
            let paused = r.paused.take().ok_or(Refusal::NotPaused)?;
            r.held_since = r.held_since.or(Some(paused.at));
            format!("{by} resumes it")
        }
        Wish::Approve => {
            let (step, steps) = (r.step, r.steps.len());
            match r.current() {
                Some(Step::Approval {}) => r.approvals.push(Approval { said, step }),
                Some(other) => {
                    let words = other.words();
                    return Err(Refusal::NothingToApprove { step: step + 1, steps, words });
                }
                None => return Err(Refusal::NoSteps),
            }
            format!("{by} approves step {} of {steps}", step + 1)
        }
    };
    Ok((d, words))
}

/// Whether what was wished for at step `seen` would be something else where it is now.
fn is_elsewhere(r: &Rollout, wish: Wish, seen: u32) -> bool {
    let seen = usize::try_from(seen).unwrap_or(usize::MAX);
    match wish {
        // To stay is to stay, wherever it is.
        Wish::Pause => false,
        // To the end is the same at every step; after the last one it would let the old side go.
        Wish::Promote { full: true } => r.current().is_none() && seen <= r.steps.len(),
        Wish::Promote { full: false } | Wish::Resume | Wish::Approve => seen != r.step + 1,
    }
}

/// Where it is, and what it waits for.
fn stands(r: &Rollout) -> String {
    let Some(step) = r.current() else {
        return "all of its steps are done, and the old side is kept".to_owned();
    };
    let asks = r.asks.as_ref().map(|asks| match asks.what {
        AsksFor::Approval => ", and waits for an approval",
        AsksFor::Promotion => ", and waits until somebody goes on",
        AsksFor::Judgement => ", and waits for somebody to decide, for the judge cannot say",
        AsksFor::Resumption => ", and is paused",
    });
    let (at, steps, words) = (r.step + 1, r.steps.len(), step.words());
    format!("it is at step {at} of {steps} ({words}) now{}", asks.unwrap_or_default())
}

/// Steps that wait are over: the one it is at or the next one; with `full` all of them, without
/// the shares in between.
fn promote(r: &mut Rollout, full: bool, said: Said) {
    if let Some(paused) = r.paused.take() {
        r.held_since = r.held_since.or(Some(paused.at));
    }
    let last = r.steps.len().saturating_sub(1);
    let until = if full || r.current().is_none() {
        if r.step < last {
            r.step = last;
            r.since = said.at;
            r.asks = None;
        }
        // One more than there are steps: the old side need not be kept either once it is live
        // already. One that only now goes to the end keeps it.
        r.steps.len() + usize::from(r.current().is_none())
    } else {
        let ahead = r.steps.iter().enumerate().skip(r.step);
        ahead.clone().find(|(_, step)| step.holds()).map_or(r.steps.len(), |(i, _)| i + 1)
    };
    r.promoted = Some(Promotion { said, until });
}
