//! Workflows as people look at them. What is done with them is the wire API's and the workflow
//! manager's.

use std::time::Duration;

use ark_model::address::Segment;
use ark_model::api::{
    ERROR_TEXT_CHARS_MAX, EVENT_TEXT_CHARS, EVENT_TEXT_CHARS_MAX, ExecutionEvent,
    ExecutionEventsQuery, ExecutionMoved, ExecutionSummary, ExecutionsQuery, Page, PageQuery,
    ProblemCode, WorkflowSummary,
};
use axum::extract::State;
use axum::response::Response;

use super::error::ApiError;
use super::extract::{Json, Path, Query, page_limit};
use super::operation::{Content, Operation, Shared, subschema};
use super::stream::{Outlet, events, json_event};
use super::workflow_manager::problem;
use crate::workflows::looking::{Events, Find};
use crate::workflows::{Page as Found, Workflows};

/// What happens within this time is told together.
const GATHER: Duration = Duration::from_millis(250);
/// An execution is looked at this often even when no commit was noticed.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

const PROBLEMS: &[ProblemCode] = &[ProblemCode::WorkflowNotFound];

pub(super) fn operations() -> Vec<Operation> {
    const EXECUTION: &str = "/v1/workflows/{workflow}/executions/{execution}";
    vec![
        Operation::get(
            "/v1/workflows",
            ("listWorkflows", "Workflows by name, with what goes on in them"),
            list,
        )
        .query::<PageQuery>()
        .answers::<Page<WorkflowSummary>>(200),
        Operation::get(
            "/v1/workflows/{workflow}/executions",
            ("findExecutions", "Executions of a workflow, by state and name"),
            find,
        )
        .about(
            "Newest first, or by name when a beginning of it is asked for. Takes as long among a \
             million as among ten: a page may be shorter than `limit`, and even empty, and still \
             have a `next`.",
        )
        .query::<ExecutionsQuery>()
        .answers::<Page<ExecutionSummary>>(200)
        .problems(&[ProblemCode::WorkflowNotFound, ProblemCode::InvalidValue]),
        Operation::get(EXECUTION, ("getExecution", "One execution"), show)
            .answers::<ExecutionSummary>(200)
            .problems(PROBLEMS),
        Operation::get(
            "/v1/workflows/{workflow}/executions/{execution}/events",
            ("listExecutionEvents", "What happened in an execution"),
            list_events,
        )
        .about("`next` is the number to ask for as `from`.")
        .query::<ExecutionEventsQuery>()
        .answers::<Page<ExecutionEvent>>(200)
        .problems(&[ProblemCode::WorkflowNotFound, ProblemCode::InvalidValue]),
        Operation::get(
            "/v1/workflows/{workflow}/executions/{execution}/stream",
            ("followExecution", "That an execution moved"),
            follow,
        )
        .about(
            "Server-sent events named `event`: one at once, then one each time that its history or \
             its state has changed, four in a second at most. It goes on after the end of the \
             execution, which may be redriven.",
        )
        .streams(200, Content::Events(subschema::<ExecutionMoved>))
        .problems(PROBLEMS),
    ]
}

fn page_of<T>(found: Found<T>) -> Json<Page<T>> {
    Json(Page { items: found.items, next: found.next_token })
}

async fn list(
    State(state): State<Shared>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<WorkflowSummary>>, ApiError> {
    let limit = page_limit(query.limit)?;
    let after = query.cursor.unwrap_or_default();
    state.workflows.overview(after, limit).await.map(page_of).map_err(problem)
}

async fn find(
    State(state): State<Shared>,
    Path(Segment(workflow)): Path<Segment>,
    Query(query): Query<ExecutionsQuery>,
) -> Result<Json<Page<ExecutionSummary>>, ApiError> {
    let error = query.error.filter(|text| !text.is_empty());
    if error.as_ref().is_some_and(|text| text.chars().count() > ERROR_TEXT_CHARS_MAX) {
        let detail = format!("a text of at most {ERROR_TEXT_CHARS_MAX} characters is looked for");
        return Err(ApiError::new(ProblemCode::InvalidValue, detail));
    }
    let find = Find {
        workflow,
        error,
        status: query.status,
        unresolved: query.unresolved,
        prefix: query.name.filter(|name| !name.is_empty()),
        cursor: query.cursor,
        limit: page_limit(query.limit)?,
    };
    state.workflows.find(find).await.map(page_of).map_err(problem)
}

async fn show(
    State(state): State<Shared>,
    Path((Segment(workflow), Segment(execution))): Path<(Segment, Segment)>,
) -> Result<Json<ExecutionSummary>, ApiError> {
    let (_, summary) = state.workflows.standing(workflow, execution).await.map_err(problem)?;
    Ok(Json(summary))
}

async fn list_events(
    State(state): State<Shared>,
    Path((Segment(workflow), Segment(execution))): Path<(Segment, Segment)>,
    Query(query): Query<ExecutionEventsQuery>,
) -> Result<Json<Page<ExecutionEvent>>, ApiError> {
    let chars = query.text.unwrap_or(EVENT_TEXT_CHARS);
    if chars > EVENT_TEXT_CHARS_MAX {
        let detail = format!("text {chars} is not allowed: 0 to {EVENT_TEXT_CHARS_MAX}");
        return Err(ApiError::new(ProblemCode::InvalidValue, detail));
    }
    let which = Events {
        from: query.from,
        newest: query.newest,
        chars: chars as usize,
        limit: page_limit(query.limit)?,
    };
    state.workflows.look_at(workflow, execution, which).await.map(page_of).map_err(problem)
}

async fn follow(
    State(state): State<Shared>,
    Path((Segment(workflow), Segment(execution))): Path<(Segment, Segment)>,
) -> Result<Response, ApiError> {
    let names = (workflow, execution);
    // One that does not exist is a problem, not a stream.
    standing(&state.workflows, &names).await?;
    let (workflows, store) = (state.workflows.clone(), state.store.clone());
    events(&state, move |outlet| following(workflows, store, names, outlet))
}

async fn standing(
    workflows: &Workflows,
    (workflow, execution): &(String, String),
) -> Result<ExecutionMoved, ApiError> {
    let found = workflows.standing(workflow.clone(), execution.clone()).await;
    found.map(|(moved, _)| moved).map_err(problem)
}

async fn following(
    workflows: Workflows,
    store: ark_store::Store,
    names: (String, String),
    outlet: Outlet,
) {
    let mut commits = store.commits();
    let mut told = None;
    loop {
        commits.mark_unchanged();
        // It may be gone for good: the page that follows it says so when it is fetched again.
        let Ok(moved) = standing(&workflows, &names).await else { return };
        if told != Some(moved) {
            told = Some(moved);
            if outlet.send(json_event("event", None, &moved), || None).await.is_err() {
                return;
            }
        }
        tokio::select! {
            changed = commits.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(LOOK_AGAIN) => {}
            () = outlet.closed() => return,
        }
        tokio::time::sleep(GATHER).await;
    }
}
