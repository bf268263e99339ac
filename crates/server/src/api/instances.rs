//! Instances of an app.

use std::time::Duration;

use ark_model::api::{InstanceRow, InstancesQuery, Page, ProblemCode};
use ark_model::instance::InstanceRecord;
use ark_model::{AppName, EnvName};
use ark_planner::time::after;
use axum::extract::State;
use futures::StreamExt as _;
use jiff::Timestamp;

use super::app_rows::instance_row;
use super::error::ApiError;
use super::extract::{Json, Path, Query};
use super::operation::{Operation, Shared};
use super::{exec, find};

/// The most ended instances that are shown.
const ENDED_MAX: usize = 100;
/// For how long an ended instance is shown.
const ENDED_SHOWN: Duration = Duration::from_secs(3_600);
/// How long the engine may take to say what one instance uses.
const STATS_DEADLINE: Duration = Duration::from_secs(2);
/// Instances the engine is asked about at the same time.
const STATS_PARALLEL: usize = 16;

pub(super) fn operations() -> Vec<Operation> {
    let mut operations = vec![
        Operation::get(
            "/v1/environments/{env}/apps/{app}/instances",
            ("listInstances", "Instances of an app, newest first"),
            list,
        )
        .query::<InstancesQuery>()
        .answers::<Page<InstanceRow>>(200)
        .problems(&[ProblemCode::EnvironmentNotFound, ProblemCode::AppNotFound]),
    ];
    operations.extend(exec::operations());
    operations
}

async fn list(
    State(state): State<Shared>,
    Path((env, app)): Path<(EnvName, AppName)>,
    Query(query): Query<InstancesQuery>,
) -> Result<Json<Page<InstanceRow>>, ApiError> {
    let now = Timestamp::now();
    let records = state
        .store
        .read::<_, ApiError, _>(move |tx| {
            find::app(tx, &env, &app)?;
            let mut records = tx.alive_instances_of(&env, &app)?;
            records.reverse();
            if query.ended {
                let lately = |at: Timestamp| after(at, ENDED_SHOWN) > now;
                let recent = tx.instances_of(&env, &app, 10 * ENDED_MAX)?;
                let ended = recent.into_iter().filter(|i| !i.state.is_alive());
                let shown = ended.filter(|i| i.stopped_at.is_none_or(lately));
                records.extend(shown.take(ENDED_MAX));
            }
            Ok(records)
        })
        .await?;
    // At once, because an engine may take seconds to say what they use: a row that is made after that
    // would join the record of before with what is seen by then.
    let seen: Vec<(InstanceRecord, InstanceRow)> = records
        .into_iter()
        .map(|record| (record.clone(), instance_row(&state.observations, record)))
        .collect();
    let rows = seen.into_iter().map(|(record, row)| {
        let state = state.clone();
        async move { InstanceRow { memory_bytes: memory(&state, &record).await, ..row } }
    });
    let items = futures::stream::iter(rows).buffered(STATS_PARALLEL).collect().await;
    Ok(Json(Page { items, next: None }))
}

/// What an instance uses; unknown is an answer, too.
async fn memory(state: &Shared, record: &InstanceRecord) -> Option<u64> {
    if !record.state.is_alive() {
        return None;
    }
    let stats = tokio::time::timeout(STATS_DEADLINE, state.engine.stats(record.id)).await;
    stats.ok()?.ok().map(|stats| stats.rss_bytes)
}
