//! What people say to a deployment in steps: go on, stay, approve. Records the wish; the tasks act
//! on it.

use ark_model::api::{DeploymentView, ProblemCode, PromoteRequest, WishRequest};
use ark_model::event::{EventKind, NewEvent};
use ark_model::rollout::Said;
use ark_planner::wishes::{Refusal, Wish, apply};
use axum::extract::State;
use http::StatusCode;
use jiff::Timestamp;

use super::app_rows::load_deployment;
use super::error::ApiError;
use super::extract::{Json, Path};
use super::find;
use super::intents::{Act, words};
use super::operation::{Operation, Shared};
use crate::auth::{Caller, Permission};

const PROBLEMS: &[ProblemCode] = &[
    ProblemCode::DeploymentNotFound,
    ProblemCode::Ambiguous,
    ProblemCode::DeploymentFinished,
    ProblemCode::NothingToSay,
];

pub(super) fn operations() -> Vec<Operation> {
    let said = |operation: Operation| {
        operation.needs(Permission::Deploy).answers::<DeploymentView>(202).problems(PROBLEMS)
    };
    vec![
        said(Operation::post(
            "/v1/deployments/{deployment}/promote",
            ("promoteDeployment", "Go on over the step at which a deployment waits, or to the end"),
            promote,
        ))
        .about(
            "With `full` over all steps, to all of the traffic. When all of it is on the new side \
             already and the old one is only kept: lets the old one go.",
        )
        .takes::<PromoteRequest>(),
        said(Operation::post(
            "/v1/deployments/{deployment}/pause",
            ("pauseDeployment", "Stay at the step; after 24 hours it is aborted"),
            pause,
        ))
        .takes::<WishRequest>(),
        said(Operation::post(
            "/v1/deployments/{deployment}/resume",
            ("resumeDeployment", "Go on after a pause"),
            resume,
        ))
        .takes::<WishRequest>(),
        said(Operation::post(
            "/v1/deployments/{deployment}/approve",
            ("approveDeployment", "Approve the step that waits for it"),
            approve,
        ))
        .takes::<WishRequest>(),
    ]
}

type Answer = Result<(StatusCode, Json<DeploymentView>), ApiError>;

async fn promote(
    State(state): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
    Json(request): Json<PromoteRequest>,
) -> Answer {
    say(state, caller, id, Wish::Promote { full: request.full }, request.step, request.reason).await
}

async fn pause(
    State(state): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
    Json(request): Json<WishRequest>,
) -> Answer {
    say(state, caller, id, Wish::Pause, request.step, request.reason).await
}

async fn resume(
    State(state): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
    Json(request): Json<WishRequest>,
) -> Answer {
    say(state, caller, id, Wish::Resume, request.step, request.reason).await
}

async fn approve(
    State(state): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
    Json(request): Json<WishRequest>,
) -> Answer {
    say(state, caller, id, Wish::Approve, request.step, request.reason).await
}

async fn say(
    state: Shared,
    caller: Caller,
    id: String,
    wish: Wish,
    seen: Option<u32>,
    reason: Option<String>,
) -> Answer {
    let act = Act { by: caller.name, now: Timestamp::now() };
    let reason = reason.as_deref().map(words);
    let records = state
        .store
        .write::<_, ApiError, _>(move |tx| {
            let before = find::deployment(tx, &id)?;
            let said = Said { by: act.by.clone(), at: act.now, reason: reason.clone() };
            let (after, mut text) = apply(&before, wish, seen, said)
                .map_err(|refusal| refused(&refusal, &before.id.to_string()))?;
            if let Some(reason) = reason {
                text = format!("{text}: {reason}");
            }
            tx.put_deployment(&after, before.state)?;
            let kind = EventKind::DeploymentProgress;
            let event = act.event(kind, &after.env, Some(&after.app), text);
            tx.append_event(NewEvent { deployment: Some(after.id), ..event })?;
            load_deployment(tx, after)
        })
        .await?;
    Ok((StatusCode::ACCEPTED, Json(records.view(&state.observations))))
}

fn refused(refusal: &Refusal, id: &str) -> ApiError {
    let code = match refusal {
        Refusal::Ended => ProblemCode::DeploymentFinished,
        Refusal::Returning
        | Refusal::NoSteps
        | Refusal::NothingToApprove { .. }
        | Refusal::Paused { .. }
        | Refusal::NotPaused
        | Refusal::Elsewhere { .. } => ProblemCode::NothingToSay,
    };
    ApiError::new(code, format!("deployment {id}: {refusal}"))
        .remedy("look at it", format!("ark deployments {id}"))
}
