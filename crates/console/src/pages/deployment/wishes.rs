//! What a deployment can be told: the buttons of its page, and what they post.

use ark_model::DeploymentState;
use ark_model::api::{AbortRequest, DeploymentView, ProblemCode, PromoteRequest, WishRequest};
use ark_model::rollout::AsksFor;
use axum::extract::{Form, Path};
use serde::Deserialize;
use serde_json::Value;

use super::checked;
use crate::fault::Fault;
use crate::visit::{Answer, Visit, see};

/// What it can be told now.
pub(super) struct Wish {
    /// The word in the address.
    pub(super) word: &'static str,
    pub(super) button: &'static str,
    /// Whether it is the one that is waited for.
    pub(super) first: bool,
    pub(super) command: String,
}

pub(super) fn wishes(view: &DeploymentView) -> Vec<Wish> {
    let asks = view.rollout.as_ref().and_then(|r| r.asks.as_ref()).map(|asks| asks.what);
    let paused = view.rollout.as_ref().is_some_and(|rollout| rollout.paused.is_some());
    let mut all = Vec::new();
    match view.state {
        DeploymentState::Stepping => {
            match asks {
                Some(AsksFor::Approval) => all.push(("approve", "Approve", true)),
                Some(AsksFor::Promotion | AsksFor::Judgement) => {
                    all.push(("promote", "Go on", true));
                }
                Some(AsksFor::Resumption) | None => {}
            }
            match paused {
                true => all.push(("resume", "Resume", true)),
                false => all.push(("pause", "Pause", false)),
            }
            all.push(("full", "All of the traffic", false));
        }
        DeploymentState::Keeping => all.push(("promote", "Let the old side go", false)),
        _ => {}
    }
    match view.state {
        DeploymentState::Queued => all.push(("abort", "Withdraw", false)),
        DeploymentState::Replacing | DeploymentState::Stepping | DeploymentState::Keeping => {
            all.push(("abort", "Abort and go back", false));
        }
        _ => {}
    }
    let command = |word: &str| {
        let (word, more) = if word == "full" { ("promote", " --full") } else { (word, "") };
        format!("ark {word} {} -e {}{more}", view.app, view.env)
    };
    let wish = |(word, button, first)| Wish { word, button, first, command: command(word) };
    all.into_iter().map(wish).collect()
}

#[derive(Deserialize)]
pub(super) struct Said {
    /// The step that the page showed, where it showed one.
    step: Option<u32>,
    #[serde(default)]
    reason: String,
}

pub(super) async fn say(
    visit: Visit,
    Path((id, wish)): Path<(String, String)>,
    Form(form): Form<Said>,
) -> Answer {
    let id = checked(&id)?;
    let reason = Some(form.reason.trim().to_owned()).filter(|reason| !reason.is_empty());
    let at = |word: &str| format!("/v1/deployments/{id}/{word}");
    let _: Value = match wish.as_str() {
        "promote" | "full" => {
            let request = PromoteRequest { full: wish == "full", step: form.step, reason };
            visit.post(&at("promote"), &request).await?
        }
        "pause" | "resume" | "approve" => {
            visit.post(&at(&wish), &WishRequest { step: form.step, reason }).await?
        }
        "abort" => visit.post(&at("abort"), &AbortRequest { reason }).await?,
        _ => {
            let code = ProblemCode::NothingToSay;
            return Err(Fault::new(code, "a deployment cannot be told that"));
        }
    };
    see(&format!("/d/{id}"))
}
