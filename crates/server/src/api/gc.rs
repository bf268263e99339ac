//! `ark gc`: removes what nothing needs any more. What a running deployment, an instance, the live
//! release or a rollback needs is kept, and so is everything younger than the time in which
//! somebody may still be about to use it.

use std::collections::BTreeSet;
use std::time::Duration;

use ark_engine::EngineError;
use ark_model::api::{GcReport, ProblemCode};
use ark_model::artifact::Artifact;
use ark_model::environment::AppState;
use ark_model::instance::EngineState;
use ark_model::{AppName, EnvName, InstanceId, NodeName, ReleaseNumber, Sha256};
use ark_planner::queue::rollback_targets;
use ark_store::{BlobError, DeploymentFilter, ReadTx, StoreError, WriteTx};
use axum::extract::State;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::OwnedRwLockWriteGuard;

use super::error::{ApiError, chain, unavailable};
use super::extract::Json;
use super::operation::Shared;
use crate::tasks::hooks;

/// How long it may take.
pub(super) const DEADLINE: Duration = Duration::from_secs(10 * 60);
/// Releases of each app that are kept, the newest.
const RELEASES_KEPT: usize = 50;
/// Finished deployments of each app that are kept, the newest.
const DEPLOYMENTS_KEPT: usize = 500;
/// What was sent within this time may be about to be deployed.
const UPLOADS_KEPT: SignedDuration = SignedDuration::from_hours(1);
/// Ended instances are remembered for so long.
const INSTANCES_KEPT: SignedDuration = SignedDuration::from_hours(24);
/// Events and revoked tokens are remembered for so long.
const HISTORY_KEPT: SignedDuration = SignedDuration::from_hours(90 * 24);
/// Records removed in one transaction, so that others get their turn.
const AT_ONCE: usize = 1_000;
/// The most such transactions of one kind in one run.
const ROUNDS_MAX: usize = 1_000;
/// How long the engine may take for one call.
const ENGINE_DEADLINE: Duration = Duration::from_secs(10);
/// How long it may take to remove images.
const IMAGES_DEADLINE: Duration = Duration::from_secs(120);
/// How long it waits for a moment in which nobody relies on blobs, and how often it looks.
const ALONE_DEADLINE: Duration = Duration::from_secs(10);
const ALONE_AGAIN: Duration = Duration::from_millis(20);
/// More releases than an app can have kept.
const RELEASES_MAX: usize = 10_000;

pub(super) async fn collect(State(state): State<Shared>) -> Result<Json<GcReport>, ApiError> {
    let now = Timestamp::now();
    let mut report = GcReport::default();
    let old = before(now, INSTANCES_KEPT);
    report.instances += rounds(&state, move |tx| Ok(tx.prune_instances(old, AT_ONCE)?)).await?;
    report.unreached = engine_leftovers(&state).await?;
    // Nobody relies on a blob being here while this goes on; deployments wait for it.
    let alone = alone(&state).await?;
    for (env, app) in apps(&state).await? {
        let removed = state
            .store
            .write::<_, ApiError, _>(move |tx| {
                // Read anew: a deployment may have begun since the list was made.
                match tx.app_state(&env, &app)? {
                    Some(app) => releases(tx, &app),
                    None => Ok(0),
                }
            })
            .await?;
        report.releases += removed as u64;
    }
    let old = before(now, UPLOADS_KEPT);
    rounds(&state, move |tx| Ok(tx.prune_artifacts(old, AT_ONCE)?)).await?;
    blobs(&state, old, &mut report).await?;
    // What follows takes its time, and nobody waits for it.
    drop(alone);
    images(&state, &mut report).await?;
    let old = before(now, HISTORY_KEPT);
    rounds(&state, move |tx| Ok(tx.prune_events(old, AT_ONCE)?)).await?;
    rounds(&state, move |tx| Ok(tx.prune_answers(now, AT_ONCE)?)).await?;
    state.store.write::<_, ApiError, _>(move |tx| Ok(tx.prune_tokens(old)?)).await?;
    Ok(Json(report))
}

/// Waits until nobody relies on blobs that no record names yet. It asks again and again instead of
/// standing in the queue: whoever comes after one that waits there would have to wait as well.
async fn alone(state: &Shared) -> Result<OwnedRwLockWriteGuard<()>, ApiError> {
    let until = tokio::time::Instant::now() + ALONE_DEADLINE;
    loop {
        if let Ok(alone) = state.blobs_in_use.clone().try_write_owned() {
            return Ok(alone);
        }
        if tokio::time::Instant::now() >= until {
            let detail = "files are being sent or deployments are being made all the time";
            return Err(ApiError::new(ProblemCode::Busy, detail).remedy("repeat it", "ark gc"));
        }
        tokio::time::sleep(ALONE_AGAIN).await;
    }
}

fn before(now: Timestamp, age: SignedDuration) -> Timestamp {
    now.saturating_sub(age).unwrap_or(Timestamp::MIN)
}

async fn apps(state: &Shared) -> Result<Vec<(EnvName, AppName)>, ApiError> {
    let apps = state.store.read::<_, ApiError, _>(|tx| Ok(tx.app_states()?)).await?;
    Ok(apps.into_iter().map(|app| (app.env, app.app)).collect())
}

/// Repeats a bounded removal until there is nothing left of it.
async fn rounds<F>(state: &Shared, remove: F) -> Result<u64, ApiError>
where
    F: Fn(&mut WriteTx) -> Result<usize, ApiError> + Clone + Send + 'static,
{
    let mut removed = 0;
    for _ in 0..ROUNDS_MAX {
        let remove = remove.clone();
        match state.store.write::<_, ApiError, _>(move |tx| remove(tx)).await? {
            0 => break,
            some => removed += some as u64,
        }
    }
    Ok(removed)
}

fn releases(tx: &mut WriteTx, app: &AppState) -> Result<usize, ApiError> {
    let (env, name) = (&app.env, &app.app);
    tx.prune_deployments(env, name, DEPLOYMENTS_KEPT)?;
    let newest = tx.releases(env, name, None, RELEASES_KEPT)?;
    let Some(oldest_kept) = newest.last().map(|release| release.number) else {
        return Ok(0);
    };
    let filter = DeploymentFilter { env: Some(env.clone()), app: Some(name.clone()) };
    let history = tx.deployments(&filter, None, DEPLOYMENTS_KEPT)?;
    for id in [app.running, app.waiting].into_iter().flatten() {
        if matches!(tx.deployment(id), Err(StoreError::Record { .. })) {
            // Nobody knows which releases it needs.
            return Ok(0);
        }
    }
    let mut keep: BTreeSet<ReleaseNumber> = app.live.into_iter().chain(app.previous).collect();
    keep.extend(tx.alive_instances_of(env, name)?.into_iter().map(|instance| instance.release));
    keep.extend(tx.active_runs_of(env, name)?.into_iter().map(|run| run.release));
    for d in history.iter().filter(|d| !d.state.is_terminal()) {
        keep.insert(d.release);
        keep.extend(d.base);
    }
    keep.extend(rollback_targets(app, None, &history).first());
    Ok(tx.delete_releases_before(env, name, oldest_kept, &keep)?)
}

/// Images that Ark built and that no release on record names any more.
async fn images(state: &Shared, report: &mut GcReport) -> Result<(), ApiError> {
    let mut keep = BTreeSet::new();
    for (env, app) in apps(state).await? {
        let of_app = state.store.read::<_, ApiError, _>(move |tx| {
            let mut names = Vec::new();
            for release in tx.releases(&env, &app, None, RELEASES_MAX)? {
                if let Artifact::Image { reference, digest } = release.content.artifact {
                    names.push(reference);
                    names.extend(digest);
                }
            }
            Ok(names)
        });
        keep.extend(of_app.await?);
    }
    let age = UPLOADS_KEPT.unsigned_abs();
    let stay = |why: String| format!("{why}; its images stay");
    match tokio::time::timeout(IMAGES_DEADLINE, state.engine.remove_images(&keep, age)).await {
        Ok(Ok(removed)) => report.images = removed,
        Ok(Err(error)) => report.unreached.push(stay(error.words())),
        Err(_) => {
            let why = format!("the engine did not remove images within {IMAGES_DEADLINE:?}");
            report.unreached.push(stay(why));
        }
    }
    Ok(())
}

/// Removes ended instances that the engine still keeps and that are no longer on record. Answers what
/// could not be asked: what it keeps stays, and the rest goes on.
async fn engine_leftovers(state: &Shared) -> Result<Vec<String>, ApiError> {
    let stay = |why: String| format!("{why}; its ended instances stay");
    let sight = match tokio::time::timeout(ENGINE_DEADLINE, state.engine.look()).await {
        Ok(Ok(sight)) => sight,
        Ok(Err(error)) => return Ok(vec![stay(error.words())]),
        Err(_) => {
            let why = format!("the engine did not say what it keeps within {ENGINE_DEADLINE:?}");
            return Ok(vec![stay(why)]);
        }
    };
    let local = NodeName::local();
    let here = sight.silent.iter().map(|(kind, error)| stay(unavailable(&local, *kind, error)));
    let others = sight.nodes.iter().filter(|node| !node.name.is_local()).filter_map(|node| {
        let why = node.silent.as_ref()?;
        Some(stay(format!("the engine of host {} does not answer: {why}", node.name)))
    });
    let unreached = here.chain(others).collect();
    let seen = sight.seen;
    // How a run or a hook ended is read off its instance: it stays until that is on record. Read
    // after the look: what it shows was recorded before it was started.
    let unfinished = state.store.read(ReadTx::unfinished_deployments).await?;
    let mut ended: BTreeSet<InstanceId> = BTreeSet::new();
    for observed in seen {
        let over =
            matches!(observed.state, EngineState::Exited { .. } | EngineState::StartFailed { .. });
        // Of an app whose deployment cannot be read nobody knows the hooks.
        if over && !unfinished.is_damaged(&observed.env, &observed.app) {
            ended.insert(observed.id);
        }
    }
    let hooks = hooks::instances(&unfinished.deployments);
    for id in ended.into_iter().filter(|id| !hooks.contains(id)) {
        let needed = state.store.read::<_, ApiError, _>(move |tx| {
            Ok(tx.instance(id)?.is_some()
                || tx.run_of_instance(id)?.is_some_and(|run| run.is_carried_by(id)))
        });
        if needed.await? {
            continue;
        }
        match tokio::time::timeout(ENGINE_DEADLINE, state.engine.remove(id)).await {
            Ok(Ok(()) | Err(EngineError::StillThere(_))) => {}
            Ok(Err(error)) => tracing::warn!(error = chain(&error), "gc: an instance stays"),
            Err(_) => tracing::warn!(%id, "gc: the engine did not remove an instance in time"),
        }
    }
    Ok(unreached)
}

async fn blobs(state: &Shared, old: Timestamp, report: &mut GcReport) -> Result<(), ApiError> {
    let named = state.store.read::<_, ApiError, _>(|tx| Ok(tx.named_blobs()?)).await?;
    let blobs = state.blobs.clone();
    let removed = tokio::task::spawn_blocking(move || -> Result<(u64, u64), BlobError> {
        let (mut count, mut bytes) = (0, 0);
        let unneeded = |(digest, _, written): &(Sha256, u64, Timestamp)| {
            !named.contains_key(digest) && *written < old
        };
        for (digest, length, _) in blobs.list()?.into_iter().filter(unneeded) {
            blobs.delete(&digest)?;
            count += 1;
            bytes += length;
        }
        Ok((count, bytes))
    });
    let removed = removed
        .await
        .map_err(|error| ApiError::internal(format!("removing blobs: {error}")))?
        .map_err(|error| ApiError::internal(chain(&error)))?;
    report.blobs += removed.0;
    report.bytes += removed.1;
    Ok(())
}
