//! Leases of development environments: an end that somebody asked for, with a warning before it.
//! Housekeeping brings it about.

use ark_model::EnvName;
use ark_model::api::{
    EnvironmentView, LEASE_SECONDS_MAX, LEASE_SECONDS_MIN, LeasePut, ProblemCode,
};
use ark_model::environment::{EnvKind, EnvLease, Environment};
use ark_model::event::EventKind;
use ark_planner::lease::until;
use ark_store::WriteTx;
use axum::extract::State;
use jiff::Timestamp;

use super::environments::view;
use super::error::ApiError;
use super::extract::{Json, Path};
use super::find;
use super::intents::Act;
use super::operation::{Operation, Shared};
use crate::auth::{Caller, Permission};

pub(super) fn operations() -> Vec<Operation> {
    let address = "/v1/environments/{env}/lease";
    vec![
        Operation::put(
            address,
            ("putLease", "Give a development environment an end, or a later one"),
            put,
        )
        .about(
            "The environment is destroyed when the lease runs out; an event warns an hour before, or \
             when three quarters of a shorter lease have passed. An end that is not later than before \
             may be set by who made the environment, or who may destroy it.",
        )
        .needs(Permission::CreateEnvironment)
        .takes::<LeasePut>()
        .answers::<EnvironmentView>(200)
        .problems(&[
            ProblemCode::EnvironmentNotFound,
            ProblemCode::EnvironmentDestroying,
            ProblemCode::InvalidValue,
        ]),
        Operation::delete(
            address,
            ("deleteLease", "Keep an environment until somebody destroys it"),
            delete,
        )
        .needs(Permission::CreateEnvironment)
        .answers::<EnvironmentView>(200)
        .problems(&[ProblemCode::EnvironmentNotFound, ProblemCode::EnvironmentDestroying]),
    ]
}

async fn put(
    State(state): State<Shared>,
    caller: Caller,
    Path(env): Path<EnvName>,
    Json(put): Json<LeasePut>,
) -> Result<Json<EnvironmentView>, ApiError> {
    let act = Act { by: caller.name.clone(), now: Timestamp::now() };
    let view = state
        .store
        .write::<_, ApiError, _>(move |tx| {
            let mut environment = find::active_environment(tx, &env)?;
            give(tx, &mut environment, put.seconds, &caller, &act)?;
            view(tx, environment)
        })
        .await?;
    Ok(Json(view))
}

async fn delete(
    State(state): State<Shared>,
    caller: Caller,
    Path(env): Path<EnvName>,
) -> Result<Json<EnvironmentView>, ApiError> {
    let act = Act { by: caller.name, now: Timestamp::now() };
    let view = state
        .store
        .write::<_, ApiError, _>(move |tx| {
            let mut environment = find::active_environment(tx, &env)?;
            if environment.lease.take().is_some() {
                tx.put_environment(&environment)?;
                let text = format!("environment {env} has no lease any more: it stays");
                tx.append_event(act.event(EventKind::EnvironmentLease, &env, None, text))?;
            }
            view(tx, environment)
        })
        .await?;
    Ok(Json(view))
}

/// Gives a recorded environment a lease from now on.
///
/// # Errors
/// `invalid-value` for a length or for what is permanent, `forbidden`.
pub(super) fn give(
    tx: &mut WriteTx,
    environment: &mut Environment,
    seconds: u64,
    caller: &Caller,
    act: &Act,
) -> Result<(), ApiError> {
    let lease = lease(environment, seconds, act)?;
    let later = environment.lease.as_ref().is_some_and(|known| known.until <= lease.until);
    if !later && environment.owner != caller.name {
        // It leads to the same end.
        caller.may(Permission::DestroyEnvironment)?;
    }
    let (env, end) = (&environment.name, lease.until);
    let text = match &environment.lease {
        None => format!("environment {env} has a lease: it ends at {end} unless that is renewed"),
        Some(_) => format!("the lease of environment {env} was renewed: it ends at {end}"),
    };
    let event = act.event(EventKind::EnvironmentLease, env, None, text);
    environment.lease = Some(lease);
    tx.put_environment(environment)?;
    tx.append_event(event)?;
    Ok(())
}

/// For one who would make an environment that is there already: what others have in it must not get
/// an end, or an earlier one, by a word that was meant for a new one.
///
/// # Errors
/// `already-exists` when it has no lease, and those of [`give`].
pub(super) fn lengthen(
    tx: &mut WriteTx,
    environment: &mut Environment,
    seconds: u64,
    caller: &Caller,
    act: &Act,
) -> Result<(), ApiError> {
    let wanted = lease(environment, seconds, act)?;
    match &environment.lease {
        None => {
            let env = &environment.name;
            let detail = format!("environment `{env}` exists and has no lease");
            Err(ApiError::new(ProblemCode::AlreadyExists, detail)
                .remedy("when all of it is to have an end", format!("ark env lease {env} 8h")))
        }
        Some(known) if known.until >= wanted.until => Ok(()),
        Some(_) => give(tx, environment, seconds, caller, act),
    }
}

fn lease(environment: &Environment, seconds: u64, act: &Act) -> Result<EnvLease, ApiError> {
    let env = &environment.name;
    if environment.kind == EnvKind::Permanent {
        let detail = format!("{env} is permanent and can have no lease");
        return Err(ApiError::new(ProblemCode::InvalidValue, detail)
            .remedy("when it is to go", format!("ark env destroy {env}")));
    }
    if !(LEASE_SECONDS_MIN..=LEASE_SECONDS_MAX).contains(&seconds) {
        let detail = format!(
            "a lease of {seconds} s is not allowed: {LEASE_SECONDS_MIN} s to {LEASE_SECONDS_MAX} s \
             (366 days)"
        );
        return Err(ApiError::new(ProblemCode::InvalidValue, detail));
    }
    let (until, by) = (until(seconds, act.now), act.by.clone());
    Ok(EnvLease { seconds, until, by, warned_at: None })
}
