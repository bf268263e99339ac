//! How busy the workers of activities are. What that means is `workflows::busy`'s.

use ark_model::api::{Page, PageQuery, WorkflowActivity};
use axum::extract::State;

use super::error::ApiError;
use super::extract::{Json, Query, page_limit};
use super::operation::{Operation, Shared};
use super::workflow_manager::problem;
use crate::workflows::PageRequest;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::get(
            "/v1/workflow-activities",
            ("listWorkflowActivities", "Activities of workflows, with how busy their workers are"),
            list,
        )
        .about(
            "In the order in which they were made. The server sees who works and who waits: nobody \
             needs to report it.",
        )
        .query::<PageQuery>()
        .answers::<Page<WorkflowActivity>>(200),
    ]
}

async fn list(
    State(state): State<Shared>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<WorkflowActivity>>, ApiError> {
    let max_results = page_limit(query.limit)?;
    let page = PageRequest { max_results, next_token: query.cursor };
    let page = state.workflows.activity_loads(page).await.map_err(problem)?;
    Ok(Json(Page { items: page.items, next: page.next_token }))
}
