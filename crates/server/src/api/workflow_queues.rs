//! Priorities of workflows by queue. What they mean is `workflows::queues`'s.

use ark_model::address::Segment;
use ark_model::api::{Page, PageQuery, ProblemCode, WorkflowQueue, WorkflowQueuePut};
use axum::extract::State;

use super::error::ApiError;
use super::extract::{Json, Path, Query, page_limit};
use super::operation::{Operation, Shared};
use super::workflow_manager;
use crate::auth::{Caller, Permission};
use crate::workflows::{PageRequest, WorkflowError};

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::get(
            "/v1/workflow-queues",
            ("listWorkflowQueues", "Queues of workflows with a priority of their own, by name"),
            list,
        )
        .query::<PageQuery>()
        .answers::<Page<WorkflowQueue>>(200),
        Operation::put(
            "/v1/workflow-queues/{queue}",
            ("putWorkflowQueue", "Give a queue of workflows a priority"),
            put,
        )
        .about(
            "An activity's workers get the tasks of the highest priority first. It holds for \
             workflows that start from then on, with their children. A queue needs not be made; \
             priority 0 forgets it.",
        )
        .needs(Permission::Operate)
        .takes::<WorkflowQueuePut>()
        .answers::<WorkflowQueue>(200)
        .problems(&[ProblemCode::InvalidValue]),
    ]
}

fn problem(error: WorkflowError) -> ApiError {
    match error {
        WorkflowError::Refused { message, .. } => ApiError::new(ProblemCode::InvalidValue, message),
        other => workflow_manager::problem(other),
    }
}

async fn list(
    State(state): State<Shared>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<WorkflowQueue>>, ApiError> {
    let max_results = page_limit(query.limit)?;
    let page = PageRequest { max_results, next_token: query.cursor };
    let page = state.workflows.queues(page).await.map_err(problem)?;
    Ok(Json(Page { items: page.items, next: page.next_token }))
}

async fn put(
    State(state): State<Shared>,
    caller: Caller,
    Path(Segment(name)): Path<Segment>,
    Json(put): Json<WorkflowQueuePut>,
) -> Result<Json<WorkflowQueue>, ApiError> {
    let made = state.workflows.put_queue(&name, put.priority, &caller.name).await;
    made.map(Json).map_err(problem)
}
