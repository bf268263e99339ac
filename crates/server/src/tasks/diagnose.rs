//! From how an instance ended to a diagnosis with its last log lines and with what was down of all that
//! the app needs. Never fails: a diagnosis without log lines is better than none.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ark_engine::LogQuery;
use ark_model::diagnosis::Down;
use ark_model::hook::{HookState, HookWhat};
use ark_model::instance::{StartFailure, StopCause};
use ark_model::{Deployment, Diagnosis, InstanceId, ReleaseNumber};
use ark_planner::rollout::{InstanceFailure, Plan, Reason, Transition};
use ark_planner::time::{after, since_ms};
use futures::StreamExt;
use futures::future::{Either, select};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::needed;
use super::reconcile::{Loaded, ReleaseFacts};
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
    releases: &HashMap<ReleaseNumber, Arc<ReleaseFacts>>,
    plan: &Plan,
    now: Timestamp,
) -> Diagnoses {
    let down = down(world, loaded, releases, plan).await;
    let with_down = |diagnosis: Diagnosis| match by_its_own(&diagnosis) {
        true => diagnosis.while_down(down.clone()),
        false => diagnosis,
    };
    let mut failures = Vec::new();
    for failure in &plan.failures {
        failures.push(with_down(of_failure(world, loaded, failure, now).await));
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
                Reason::Diagnosis(diagnosis) => with_down(diagnosis.clone()),
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
                        None => with_down(of_failure(world, loaded, failure, now).await),
                    }
                }
            })
        }
    };
    Diagnoses { failures, reason }
}

/// Whether it is the app that failed, which something that it needs may have made it do.
fn by_its_own(diagnosis: &Diagnosis) -> bool {
    match diagnosis {
        Diagnosis::Crashed { .. } | Diagnosis::NeverReady { .. } | Diagnosis::HookFailed { .. } => {
            true
        }
        Diagnosis::ArtifactMissing { .. }
        | Diagnosis::CommandNotFound { .. }
        | Diagnosis::PortTaken { .. }
        | Diagnosis::NoCapacity { .. }
        | Diagnosis::StartFailed { .. }
        | Diagnosis::DependencyDown { .. }
        | Diagnosis::NoProgress { .. }
        | Diagnosis::DeadlinePassed { .. }
        | Diagnosis::Judged { .. }
        | Diagnosis::NobodyAnswered { .. }
        | Diagnosis::Aborted { .. } => false,
    }
}

/// What is down of all that the release under deployment needs, when that may explain what the plan
/// found.
async fn down(
    world: &World,
    loaded: &Loaded,
    releases: &HashMap<ReleaseNumber, Arc<ReleaseFacts>>,
    plan: &Plan,
) -> Vec<Down> {
    let Some(d) = &loaded.running else { return Vec::new() };
    let failed = plan.failures.iter().find(|failure| match &failure.cause {
        StopCause::Exited { .. } | StopCause::NeverReady { .. } => true,
        StopCause::StartFailed { .. }
        | StopCause::Vanished
        | StopCause::Replaced
        | StopCause::Returned
        | StopCause::ScaledDown
        | StopCause::Asked => false,
    });
    let turns = matches!(
        plan.transition,
        Some(Transition::Return(_) | Transition::End { reason: Some(_), .. })
    );
    if failed.is_none() && !(turns && command_failed(d)) {
        return Vec::new();
    }
    let Some(facts) = releases.get(&d.release) else { return Vec::new() };
    let instance = failed.and_then(|failed| loaded.instances.iter().find(|i| i.id == failed.id));
    needed::down(world, facts, instance).await
}

/// Whether a hook that runs a command failed. What a webhook says is not by the app's needs.
fn command_failed(d: &Deployment) -> bool {
    let command = |what: &HookWhat| matches!(what, HookWhat::Command { .. });
    d.hooks.iter().any(|run| run.state == HookState::Failed && command(&run.what))
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
    let begun = loaded.running.as_ref().map_or(now, |d| d.created_at);
    match &failure.cause {
        StopCause::Exited { exit } => {
            let log = last_lines(world, failure.id, begun).await;
            Diagnosis::Crashed { instance, exit: exit.clone(), log }
        }
        StopCause::NeverReady { last } => {
            let log = last_lines(world, failure.id, begun).await;
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

/// `12:04:33.221  error: connection refused`, the last ones; with the date when they are of another
/// day than the deployment, which `begun` on one that its readers know. All in UTC.
pub(crate) async fn last_lines(world: &World, id: InstanceId, begun: Timestamp) -> Vec<String> {
    let query = LogQuery { tail: Some(LINES_MAX), since: None, follow: false };
    let read = async {
        let mut lines = Vec::new();
        if let Ok(mut log) = world.engine.logs(id, query).await {
            while let Some(Ok(line)) = log.next().await {
                let text: String = line.text.chars().take(LINE_CHARS_MAX).collect();
                lines.push(format!("{}  {text}", clock(line.at, begun)));
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

fn clock(at: Timestamp, begun: Timestamp) -> String {
    let day = |at: Timestamp| at.to_zoned(TimeZone::UTC).date();
    let format = if day(at) == day(begun) { "%H:%M:%S%.3f" } else { "%Y-%m-%d %H:%M:%S%.3f" };
    at.strftime(format).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_another_day_says_which() {
        let begun: Timestamp = "2026-05-01T23:58:00Z".parse().expect("an instant");
        for (at, said) in [
            ("2026-05-01T23:59:58.5Z", "23:59:58.500"),
            ("2026-05-02T00:00:01Z", "2026-05-02 00:00:01.000"),
            ("2026-04-30T12:00:00Z", "2026-04-30 12:00:00.000"),
        ] {
            assert_eq!(clock(at.parse().expect("an instant"), begun), said);
        }
    }
}
