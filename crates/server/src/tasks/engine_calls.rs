//! Carrying out: what is recorded as starting is started, what is recorded as stopping is stopped.
//! Every call may be repeated by a later round; none of their answers is believed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ark_engine::{EngineError, StopOptions};
use ark_model::ReleaseNumber;
use ark_model::instance::{EngineState, InstanceRecord, InstanceState};
use ark_planner::Planted;
use ark_planner::time::{after, since};
use futures::future::{Either, FutureExt, select};
use futures::stream::{self, StreamExt};

use super::deployments::Listed;
use super::reconcile::{ReleaseFacts, engine_of};
use super::start_spec;
use crate::world::World;

/// How long one call may take.
const CALL_DEADLINE: Duration = Duration::from_secs(10);

/// Brings the engine in line with the records. Says whether a call failed, so that the app is to
/// be looked at again soon.
pub(super) async fn carry_out(
    world: &World,
    records: &[InstanceRecord],
    releases: &HashMap<ReleaseNumber, Arc<ReleaseFacts>>,
    listed: &Listed,
) -> bool {
    let calls: Vec<_> =
        records.iter().map(|record| one(world, record, releases, listed).boxed()).collect();
    let at_once = world.engine.parallel().max(1);
    stream::iter(calls).buffer_unordered(at_once).fold(false, async |any, one| any | one).await
}

/// The same for one instance.
async fn one(
    world: &World,
    record: &InstanceRecord,
    releases: &HashMap<ReleaseNumber, Arc<ReleaseFacts>>,
    listed: &Listed,
) -> bool {
    // A silent host is asked again when it answers.
    if listed.hosts.is_silent(&record.node) {
        return false;
    }
    let own = match world.planted {
        Some(Planted::StartTheNewest) => releases.keys().max().unwrap_or(&record.release),
        _ => &record.release,
    };
    let facts = releases.get(own);
    let state = listed.state(record, engine_of(world, facts));
    let call = match (record.state, state, facts) {
        (InstanceState::Starting, Some(EngineState::Gone), Some(facts)) => {
            start(world, record, facts).await
        }
        (
            InstanceState::Stopping,
            Some(
                EngineState::Preparing | EngineState::Running { .. } | EngineState::Stopping { .. },
            )
            | None,
            facts,
        ) => stop(world, record, facts).await,
        (
            InstanceState::Starting
            | InstanceState::Active
            | InstanceState::Draining
            | InstanceState::Stopping
            | InstanceState::Stopped,
            _,
            _,
        ) => Ok(()),
    };
    if let Err(error) = &call {
        tracing::warn!(instance = %record.id.short(&record.app), %error, "the engine did not do what it was asked");
    }
    call.is_err()
}

async fn start(world: &World, record: &InstanceRecord, facts: &ReleaseFacts) -> Result<(), String> {
    let spec = start_spec::build(world, record, facts).await.map_err(|e| words(&e))?;
    bounded(world, world.engine.start(&spec)).await
}

async fn stop(
    world: &World,
    record: &InstanceRecord,
    facts: Option<&Arc<ReleaseFacts>>,
) -> Result<(), String> {
    let options = match facts {
        Some(facts) => {
            let run = &facts.definition.run;
            StopOptions { signal: run.stop_signal, grace: run.stop_grace.get() }
        }
        None => StopOptions::default(),
    };
    // The grace counts from the first time it was told, not from each repetition.
    let told = record.stopping_at.map_or(Duration::ZERO, |at| since(at, world.clock.now()));
    let options = StopOptions { grace: options.grace.saturating_sub(told), ..options };
    bounded(world, world.engine.stop(record.id, options)).await
}

pub(super) async fn bounded(
    world: &World,
    call: impl Future<Output = Result<(), EngineError>>,
) -> Result<(), String> {
    if world.planted == Some(Planted::WaitForTheEngine) {
        return call.await.map_err(|error| words(&error));
    }
    let deadline = world.clock.sleep_until(after(world.clock.now(), CALL_DEADLINE));
    match select(Box::pin(call), deadline).await {
        Either::Left((Ok(()), _)) => Ok(()),
        Either::Left((Err(error), _)) => Err(words(&error)),
        Either::Right(_) => Err(format!("no answer within {CALL_DEADLINE:?}")),
    }
}

/// An error with its cause: which secret, which file.
pub(super) fn words(error: &dyn std::error::Error) -> String {
    let source = error.source().map(|s| format!(": {s}"));
    format!("{error}{}", source.unwrap_or_default())
}
