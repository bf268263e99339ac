//! From how an instance ended to a diagnosis with its last log lines. Never fails: a diagnosis
//! without log lines is better than none.

use std::time::Duration;

use ark_engine::LogQuery;
use ark_model::instance::{StartFailure, StopCause};
use ark_model::{Diagnosis, InstanceId};
use ark_planner::rollout::{InstanceFailure, Plan, Reason, Transition};
use ark_planner::time::{after, since_ms};
use futures::StreamExt;
use futures::future::{Either, select};
use jiff::Timestamp;

use super::reconcile::Loaded;
use crate::world::World;

/// Log lines that go with a diagnosis.
const LINES_MAX: usize = 20;
/// The longest of them, in characters.
const LINE_CHARS_MAX: usize = 500;
/// How long the engine may take to give them.
const LOG_DEADLINE: Duration = Duration::from_secs(3);

/// The plan's failures and reason as diagnoses.
#[derive(Debug, Clone, Default)]
pub(super) struct Diagnoses {
    /// One for each of the plan's failures, in their order.
    pub(super) failures: Vec<Diagnosis>,
    /// Why the deployment turns back or ends, when it does for a reason of its own.
    pub(super) reason: Option<Diagnosis>,
}

/// Diagnoses what the plan found.
pub(super) async fn diagnose(
    world: &World,
    loaded: &Loaded,
    plan: &Plan,
    now: Timestamp,
) -> Diagnoses {
    let mut failures = Vec::new();
    for failure in &plan.failures {
        failures.push(of_failure(world, loaded, failure, now).await);
    }
    let reason = match &plan.transition {
        None
        | Some(
            Transition::Live { .. }
            | Transition::LetGo
            | Transition::Abort(_)
            | Transition::End { reason: None, .. },
        ) => None,
        Some(Transition::Return(reason) | Transition::End { reason: Some(reason), .. }) => {
            Some(match reason {
                Reason::Diagnosis(diagnosis) => diagnosis.clone(),
                Reason::Recorded(index) => loaded
                    .running
                    .as_ref()
                    .and_then(|d| d.failures.get(*index))
                    .cloned()
                    .unwrap_or_else(unknown),
                Reason::Failure(failure) => {
                    let same = plan.failures.iter().position(|f| f == failure);
                    match same.and_then(|i| failures.get(i)) {
                        Some(known) => known.clone(),
                        None => of_failure(world, loaded, failure, now).await,
                    }
                }
            })
        }
    };
    Diagnoses { failures, reason }
}

fn unknown() -> Diagnosis {
    Diagnosis::StartFailed { detail: "the failure is no longer on record".to_owned() }
}

async fn of_failure(
    world: &World,
    loaded: &Loaded,
    failure: &InstanceFailure,
    now: Timestamp,
) -> Diagnosis {
    let instance = failure.id.short(&loaded.app.app);
    match &failure.cause {
        StopCause::Exited { exit } => {
            let log = last_lines(world, failure.id).await;
            Diagnosis::Crashed { instance, exit: exit.clone(), log }
        }
        StopCause::NeverReady { last } => {
            let log = last_lines(world, failure.id).await;
            let created = loaded.instances.iter().find(|i| i.id == failure.id);
            let waited_ms = created.map_or(0, |i| since_ms(i.created_at, now));
            Diagnosis::NeverReady { instance, last: last.clone(), waited_ms, log }
        }
        StopCause::StartFailed { reason } => match reason.clone() {
            StartFailure::ArtifactMissing { detail } => Diagnosis::ArtifactMissing { detail },
            StartFailure::CommandNotFound { detail } => Diagnosis::CommandNotFound { detail },
            StartFailure::PortTaken { port } => Diagnosis::PortTaken { port },
            StartFailure::NoCapacity { detail } => Diagnosis::NoCapacity { detail },
            StartFailure::Other { detail } => Diagnosis::StartFailed { detail },
        },
        StopCause::Vanished => Diagnosis::StartFailed {
            detail: format!("instance {instance} vanished from the engine"),
        },
        StopCause::Replaced | StopCause::Returned | StopCause::ScaledDown | StopCause::Asked => {
            Diagnosis::StartFailed { detail: format!("instance {instance} was asked to stop") }
        }
    }
}

/// `12:04:33.221  error: connection refused`, the last ones.
pub(crate) async fn last_lines(world: &World, id: InstanceId) -> Vec<String> {
    let query = LogQuery { tail: Some(LINES_MAX), since: None, follow: false };
    let read = async {
        let mut lines = Vec::new();
        if let Ok(mut log) = world.engine.logs(id, query).await {
            while let Some(Ok(line)) = log.next().await {
                let time = line.at.strftime("%H:%M:%S%.3f");
                let text: String = line.text.chars().take(LINE_CHARS_MAX).collect();
                lines.push(format!("{time}  {text}"));
                if lines.len() >= LINES_MAX {
                    break;
                }
            }
        }
        lines
    };
    let deadline = world.clock.sleep_until(after(world.clock.now(), LOG_DEADLINE));
    match select(Box::pin(read), deadline).await {
        Either::Left((lines, _)) => lines,
        Either::Right(_) => Vec::new(),
    }
}
