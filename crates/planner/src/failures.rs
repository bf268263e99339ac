//! Failures of single instances: which of them end a deployment, and how they delay the next start
//! outside of one.

use std::time::Duration;

use ark_model::deployment::FAILURES_MAX;
use ark_model::instance::{EngineState, InstanceState, StartFailure, StopCause};
use ark_model::{Deployment, Diagnosis, InstanceId, ReleaseNumber};

use crate::converge::Action;
use crate::observed::Seen;
use crate::rollout::{Backoff, Input, InstanceFailure, Reason};
use crate::time::since;

/// An instance that lived this long did not fail to start.
const SETTLED: Duration = Duration::from_secs(60);
/// The same failure of so many instances ends a deployment.
const SAME_FAILURES_MAX: usize = 2;
/// Other failures of single instances are survived, up to this many.
const FAILURES_TOLERATED: usize = 5;
/// So many failures in a row of a release that is live, with none that is up, are its own.
const ROW_MAX: u32 = 5;

/// Delays the next start after a failure of an instance of `release`, the one that is to serve;
/// how others end says nothing about it.
pub(crate) fn backoff(
    input: &Input<'_>,
    release: Option<ReleaseNumber>,
    actions: &[Action],
) -> Option<Backoff> {
    let wanted =
        |id: &InstanceId| input.seen.iter().any(|s| s.id == *id && Some(s.release) == release);
    let settled = |id: &InstanceId| {
        input
            .seen
            .iter()
            .find(|s| s.id == *id)
            .and_then(|s| s.active_at)
            .is_some_and(|at| since(at, input.now) >= SETTLED)
    };
    let failed = actions
        .iter()
        .any(|action| failure(action).is_some_and(|f| wanted(&f.id) && !settled(&f.id)));
    if failed {
        return Some(Backoff::after_failure(input.app.failures, input.now));
    }
    let calm = input.app.failures > 0
        && input.seen.iter().any(Seen::is_serving)
        && input
            .seen
            .iter()
            .filter(|s| s.is_serving())
            .all(|s| s.active_at.is_some_and(|at| since(at, input.now) >= SETTLED))
        && input.app.start_after.is_none_or(|at| since(at, input.now) >= SETTLED);
    calm.then_some(Backoff::Reset)
}

/// The failure in an action, when it is one: an instance that was not asked to end.
fn failure(action: &Action) -> Option<InstanceFailure> {
    match action {
        Action::Ended { id, cause: Some(cause) } => {
            Some(InstanceFailure { id: *id, cause: cause.clone() })
        }
        Action::Stop { id, cause: Some(cause @ StopCause::NeverReady { .. }) } => {
            Some(InstanceFailure { id: *id, cause: cause.clone() })
        }
        Action::Ended { cause: None, .. }
        | Action::Stop { .. }
        | Action::Start { .. }
        | Action::Activate(_)
        | Action::Drain { .. } => None,
    }
}

/// A release of which no instance stays up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Down {
    /// Failures in a row, the last one included.
    pub(crate) failures: u32,
}

/// Whether what the actions tell is one more failure of a release's own, of so many in a row that with the pauses
/// between starts they took 15 s or more, and leaves none that is up. One that runs is up, whether it is known to
/// be ready or not.
pub(crate) fn stays_down(
    input: &Input<'_>,
    (release, wanted): (ReleaseNumber, u32),
    actions: &[Action],
) -> Option<Down> {
    let failed: Vec<InstanceFailure> = actions.iter().filter_map(failure).collect();
    let own = |seen: &Seen| {
        let ended = failed.iter().find(|f| f.id == seen.id).map(|f| &f.cause);
        let at_once = seen.active_at.is_none_or(|at| since(at, input.now) < SETTLED);
        matches!(ended, Some(StopCause::Exited { .. } | StopCause::NeverReady { .. })) && at_once
    };
    let is_up = |seen: &Seen| {
        let runs = matches!(seen.engine, None | Some(EngineState::Running { .. }));
        seen.state == InstanceState::Active && runs
    };
    let failures = input.app.failures.saturating_add(1);
    let of_it = || input.seen.iter().filter(|seen| seen.release == release);
    let is_down = wanted > 0 && failures >= ROW_MAX && of_it().any(own) && !of_it().any(is_up);
    is_down.then_some(Down { failures })
}

/// Failures of instances of the release under deployment. Instances that were recorded before it
/// began are not its own.
pub(crate) fn new_failures(
    input: &Input<'_>,
    d: &Deployment,
    actions: &[Action],
) -> Vec<InstanceFailure> {
    let begun = d.started_at.unwrap_or(d.created_at);
    let own = |id: &InstanceId| {
        input.seen.iter().any(|s| s.id == *id && s.release == d.release && s.created_at >= begun)
    };
    actions.iter().filter_map(failure).filter(|f| own(&f.id)).take(FAILURES_MAX).collect()
}

/// A failure is the release's own fault unless a port was taken, which another port cures, or another
/// host could not have the image, which Ark's own or a third may have.
fn counts(input: &Input<'_>, failure: &InstanceFailure) -> bool {
    let StopCause::StartFailed { reason } = &failure.cause else { return true };
    match reason {
        StartFailure::PortTaken { .. } => false,
        StartFailure::ArtifactMissing { .. } => {
            !input.seen.iter().any(|seen| seen.id == failure.id && seen.elsewhere)
        }
        StartFailure::CommandNotFound { .. }
        | StartFailure::NoCapacity { .. }
        | StartFailure::Other { .. } => true,
    }
}

/// Whether the failures so far end the deployment: two of one kind, or one when one instance is
/// all there is to start, or too many of any kind.
pub(crate) fn fatal(
    input: &Input<'_>,
    d: &Deployment,
    found: &[InstanceFailure],
    wanted: u32,
) -> Option<Reason> {
    let recorded = d.failures.iter().map(Diagnosis::key);
    let earlier: Vec<String> = recorded.filter(|key| key != "port taken").collect();
    // What found no room never was an instance: it is known only by its record.
    let full = |f: &Diagnosis| matches!(f, Diagnosis::NoCapacity { .. });
    let last = d.failures.iter().rposition(full);
    let times = d.failures.iter().filter(|f| full(f)).count();
    if let Some(last) = last.filter(|_| times >= SAME_FAILURES_MAX || wanted <= 1) {
        return Some(Reason::Recorded(last));
    }
    let mut keys = earlier.clone();
    for f in found.iter().filter(|f| counts(input, f)) {
        let key = cause_key(&f.cause);
        let same = keys.iter().filter(|k| **k == key).count() + 1;
        keys.push(key);
        if same >= SAME_FAILURES_MAX || wanted <= 1 || keys.len() > FAILURES_TOLERATED {
            return Some(Reason::Failure(f.clone()));
        }
    }
    let all = d.failures.len() + found.len();
    if all >= FAILURES_MAX {
        return match found.first() {
            Some(f) => Some(Reason::Failure(f.clone())),
            None => Some(Reason::Recorded(d.failures.len() - 1)),
        };
    }
    None
}

/// The [`Diagnosis::key`] that a cause will get.
pub fn cause_key(cause: &StopCause) -> String {
    match cause {
        StopCause::Exited { exit } => format!("crashed: {}", exit.words()),
        StopCause::NeverReady { .. } => "never ready".to_owned(),
        StopCause::StartFailed { reason } => match reason {
            StartFailure::ArtifactMissing { .. } => "artifact missing".to_owned(),
            StartFailure::CommandNotFound { .. } => "command not found".to_owned(),
            StartFailure::PortTaken { .. } => "port taken".to_owned(),
            StartFailure::NoCapacity { .. } => "no capacity".to_owned(),
            StartFailure::Other { .. } => "start failed".to_owned(),
        },
        StopCause::Vanished => "start failed".to_owned(),
        StopCause::Replaced | StopCause::Returned | StopCause::ScaledDown | StopCause::Asked => {
            "asked".to_owned()
        }
    }
}
