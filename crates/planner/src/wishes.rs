//! What people say to a deployment in steps: go on, wait, approve. Called by the server's API
//! inside the transaction that records the wish; [`crate::rollout`] acts on it.

use ark_model::definition::Step;
use ark_model::deployment::Rollout;
use ark_model::rollout::{Approval, Promotion, Said};
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
}

/// The deployment with the wish on record, and what was said in words.
///
/// # Errors
/// When it makes no sense where the deployment stands.
pub fn apply(d: &Deployment, wish: Wish, said: Said) -> Result<(Deployment, String), Refusal> {
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
