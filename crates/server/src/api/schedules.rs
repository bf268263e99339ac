//! Schedules that start workflows. What they do is `workflows::schedules`'s.

use ark_model::address::Segment;
use ark_model::api::{Page, PageQuery, ProblemCode, SchedulePut, ScheduleView};
use axum::extract::State;
use http::StatusCode;

use super::error::ApiError;
use super::extract::{Json, Path, Query, page_limit};
use super::operation::{Operation, Shared};
use super::workflow_manager;
use crate::auth::{Caller, Permission};
use crate::workflows::{PageRequest, Refusal, WorkflowError};

pub(super) fn operations() -> Vec<Operation> {
    const PATH: &str = "/v1/schedules/{schedule}";
    vec![
        Operation::get("/v1/schedules", ("listSchedules", "Schedules, by name"), list)
            .query::<PageQuery>()
            .answers::<Page<ScheduleView>>(200),
        Operation::get(PATH, ("getSchedule", "One schedule"), show)
            .answers::<ScheduleView>(200)
            .problems(&[ProblemCode::ScheduleNotFound]),
        Operation::put(PATH, ("putSchedule", "Make or change a schedule"), put)
            .about(
                "Each firing starts one execution, named by the schedule and the instant, whatever \
                 restarts. A time that a change of the clocks leaves out does not fire that day, \
                 one that comes twice fires twice. A changed time counts from now.",
            )
            .needs(Permission::Deploy)
            .takes::<SchedulePut>()
            .answers::<ScheduleView>(200)
            .problems(&[ProblemCode::WorkflowNotFound, ProblemCode::InvalidValue]),
        Operation::post(
            "/v1/schedules/{schedule}/pause",
            ("pauseSchedule", "Let a schedule start nothing until it is resumed"),
            pause,
        )
        .needs(Permission::Operate)
        .answers::<ScheduleView>(200)
        .problems(&[ProblemCode::ScheduleNotFound]),
        Operation::post(
            "/v1/schedules/{schedule}/resume",
            ("resumeSchedule", "Let a paused schedule go on"),
            resume,
        )
        .about("Nothing of the pause is made up for.")
        .needs(Permission::Operate)
        .answers::<ScheduleView>(200)
        .problems(&[ProblemCode::ScheduleNotFound]),
        Operation::delete(PATH, ("deleteSchedule", "Remove a schedule"), remove)
            .about("What it started goes on.")
            .needs(Permission::Deploy)
            .answers_nothing(204)
            .problems(&[ProblemCode::ScheduleNotFound]),
    ]
}

fn problem(error: WorkflowError) -> ApiError {
    match error {
        WorkflowError::Refused { refusal, message } => {
            let code = match refusal {
                Refusal::ResourceNotFound => ProblemCode::ScheduleNotFound,
                Refusal::StateMachineDoesNotExist => ProblemCode::WorkflowNotFound,
                _ => ProblemCode::InvalidValue,
            };
            let error = ApiError::new(code, message);
            match code {
                ProblemCode::ScheduleNotFound => {
                    error.remedy("those there are", "ark workflow schedule list")
                }
                _ => error,
            }
        }
        other => workflow_manager::problem(other),
    }
}

async fn list(
    State(state): State<Shared>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<ScheduleView>>, ApiError> {
    let max_results = page_limit(query.limit)?;
    let page = PageRequest { max_results, next_token: query.cursor };
    let page = state.workflows.schedules(page).await.map_err(problem)?;
    Ok(Json(Page { items: page.items, next: page.next_token }))
}

async fn show(
    State(state): State<Shared>,
    Path(Segment(name)): Path<Segment>,
) -> Result<Json<ScheduleView>, ApiError> {
    state.workflows.schedule(&name).await.map(Json).map_err(problem)
}

async fn put(
    State(state): State<Shared>,
    caller: Caller,
    Path(Segment(name)): Path<Segment>,
    Json(put): Json<SchedulePut>,
) -> Result<Json<ScheduleView>, ApiError> {
    state.workflows.put_schedule(&name, put, &caller.name).await.map(Json).map_err(problem)
}

async fn pause(
    State(state): State<Shared>,
    caller: Caller,
    Path(Segment(name)): Path<Segment>,
) -> Result<Json<ScheduleView>, ApiError> {
    state.workflows.pause_schedule(&name, true, &caller.name).await.map(Json).map_err(problem)
}

async fn resume(
    State(state): State<Shared>,
    caller: Caller,
    Path(Segment(name)): Path<Segment>,
) -> Result<Json<ScheduleView>, ApiError> {
    state.workflows.pause_schedule(&name, false, &caller.name).await.map(Json).map_err(problem)
}

async fn remove(
    State(state): State<Shared>,
    caller: Caller,
    Path(Segment(name)): Path<Segment>,
) -> Result<StatusCode, ApiError> {
    state.workflows.remove_schedule(&name, &caller.name).await.map_err(problem)?;
    Ok(StatusCode::NO_CONTENT)
}
