//! The wish that an environment ends, as a person expresses it or a lease that has run out: nothing
//! is wanted of its apps any more. The loops stop what runs, and housekeeping removes the rest.

use ark_model::environment::{AppState, EnvState, Environment};
use ark_model::event::{EventKind, NewEvent};
use ark_model::{Deployment, DeploymentState};
use ark_planner::queue::supersede;
use ark_store::{StoreError, WriteTx};
use jiff::Timestamp;

/// Records the wish, once.
pub(crate) fn end_environment(
    tx: &mut WriteTx,
    environment: &mut Environment,
    (by, now): (&str, Timestamp),
    text: String,
) -> Result<(), StoreError> {
    if environment.state == EnvState::Destroying {
        return Ok(());
    }
    environment.state = EnvState::Destroying;
    tx.put_environment(environment)?;
    for mut app in tx.app_states_of(&environment.name)? {
        end_waiting(tx, &mut app, (by, now))?;
        app.stopped = true;
        app.updated_at = now;
        tx.put_app_state(&app)?;
    }
    tx.append_event(NewEvent {
        at: now,
        kind: EventKind::EnvironmentDestroying,
        by: by.to_owned(),
        env: Some(environment.name.clone()),
        app: None,
        deployment: None,
        instance: None,
        text,
    })?;
    Ok(())
}

/// A deployment that waits would wait for ever once nothing of the app is to run. Answers whether
/// there was one.
pub(crate) fn end_waiting(
    tx: &mut WriteTx,
    wanted: &mut AppState,
    (by, now): (&str, Timestamp),
) -> Result<bool, StoreError> {
    let Some(id) = wanted.waiting.take() else {
        return Ok(false);
    };
    if let Some(waiting) = tx.deployment(id)?
        && waiting.state == DeploymentState::Queued
    {
        let ended = supersede(&waiting, now);
        tx.put_deployment(&ended, waiting.state)?;
        tx.append_event(superseded_event(&ended, (by, now)))?;
    }
    Ok(true)
}

/// The event of a deployment that ended before it began.
pub(crate) fn superseded_event(ended: &Deployment, (by, now): (&str, Timestamp)) -> NewEvent {
    NewEvent {
        at: now,
        kind: EventKind::DeploymentFinished,
        by: by.to_owned(),
        env: Some(ended.env.clone()),
        app: Some(ended.app.clone()),
        deployment: Some(ended.id),
        instance: None,
        text: format!("{} was superseded before it began", ended.release),
    }
}
