//! The workflow manager's REST API, under `/wm`: paths, names and status codes are that API's own.
//!
//! What is done is `workflows::manager`'s; here requests are read and errors get their status: what
//! cannot be understood is 400, what is not there 404, what stands in the way 409.

use ark_model::address::is_taken_away;
use ark_model::api::{
    CancelReason, DefinitionVersionsQuery, DefinitionsQuery, NewStateResource,
    NewWorkflowDefinition, ProblemCode, StartWorkflow, StateResource, StateResourceType, Workflow,
    WorkflowDefinition, WorkflowDefinitionOverrides, WorkflowQuery, WorkflowsQuery,
};
use ark_store::StateResourceRow;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode};
use jiff::Timestamp;

use super::error::ApiError;
use super::extract::{Json, Path, Query};
use super::find::cut;
use super::operation::{Operation, Shared};
use crate::auth::{Caller, Permission};
use crate::workflows::manager::Search;
use crate::workflows::{Refusal, WorkflowError};

/// Where the next page is, beside the address of the API.
const NEXT_PAGE: &str = "x-next-page-path";
/// Workflows of a page when nothing is said, and the most.
const LIMIT: u32 = 10;
const LIMIT_MAX: u32 = 10_000;
/// The most state resources, and the longest of their texts in characters.
const STATE_RESOURCES_MAX: u64 = 100_000;
const STATE_RESOURCE_CHARS_MAX: usize = 2_048;
/// A definition whose every second letter is escaped, and the rest of the request.
const DEFINITION_BYTES_MAX: usize = 4 << 20;

pub(super) fn operations() -> Vec<Operation> {
    let all = [definition_operations(), workflow_operations(), state_resource_operations()];
    all.into_iter().flatten().collect()
}

fn definition_operations() -> Vec<Operation> {
    vec![
        Operation::get("/wm/_health", ("wmHealth", "Whether the server answers"), health)
            .public()
            .answers_nothing(200),
        Operation::get(
            "/wm/workflow-definitions",
            ("wmListDefinitions", "The latest version of each definition"),
            definitions,
        )
        .about("Where there are more, the header `X-Next-Page-Path` says where.")
        .query::<DefinitionsQuery>()
        .answers::<Vec<WorkflowDefinition>>(200),
        Operation::post(
            "/wm/workflow-definitions",
            ("wmCreateDefinition", "Make a definition: its version 0"),
            define,
        )
        .about(
            "Each Task gets a first retry of `sfncli.CommandTerminated` unless it names that error \
             itself; the state machine is shown as it was sent.",
        )
        .needs(Permission::Deploy)
        .takes::<NewWorkflowDefinition>()
        .body_up_to(DEFINITION_BYTES_MAX)
        .answers::<WorkflowDefinition>(201)
        .problems(&[ProblemCode::WorkflowConflict]),
        Operation::get(
            "/wm/workflow-definitions/{name}",
            ("wmGetDefinitions", "Versions of a definition, newest first"),
            versions,
        )
        .query::<DefinitionVersionsQuery>()
        .answers::<Vec<WorkflowDefinition>>(200)
        .problems(&[ProblemCode::WorkflowNotFound]),
        Operation::put(
            "/wm/workflow-definitions/{name}",
            ("wmUpdateDefinition", "Make a new version of a definition"),
            redefine,
        )
        .about("The name in the body must be that of the address. Each call makes a version.")
        .needs(Permission::Deploy)
        .takes::<NewWorkflowDefinition>()
        .body_up_to(DEFINITION_BYTES_MAX)
        .answers::<WorkflowDefinition>(201)
        .problems(&[ProblemCode::WorkflowNotFound]),
        Operation::get(
            "/wm/workflow-definitions/{name}/{version}",
            ("wmGetDefinition", "One version of a definition"),
            version,
        )
        .answers::<WorkflowDefinition>(200)
        .problems(&[ProblemCode::BadRequest, ProblemCode::WorkflowNotFound]),
    ]
}

fn workflow_operations() -> Vec<Operation> {
    vec![
        Operation::post("/wm/workflows", ("wmStartWorkflow", "Start a workflow"), start)
            .about("Answers once the start is durable.")
            .needs(Permission::Operate)
            .takes::<StartWorkflow>()
            .answers::<Workflow>(200)
            .problems(&[ProblemCode::WorkflowNotFound, ProblemCode::StaleWriter]),
        Operation::get("/wm/workflows", ("wmListWorkflows", "Workflows of a definition"), list)
            .about(
                "Newest first. Where there are more, the header `X-Next-Page-Path` says where; \
                 what is started meanwhile neither repeats nor hides another.",
            )
            .query::<WorkflowsQuery>()
            .answers::<Vec<Workflow>>(200)
            .problems(&[ProblemCode::WorkflowNotFound]),
        Operation::get("/wm/workflows/{workflow}", ("wmGetWorkflow", "One workflow"), show)
            .query::<WorkflowQuery>()
            .answers::<Workflow>(200)
            .problems(&[ProblemCode::WorkflowNotFound]),
        Operation::delete(
            "/wm/workflows/{workflow}",
            ("wmCancelWorkflow", "Cancel a workflow that runs"),
            cancel,
        )
        .about("One that has succeeded or failed is refused with 400.")
        .needs(Permission::Operate)
        .takes::<CancelReason>()
        .answers_nothing(200)
        .problems(&[ProblemCode::WorkflowNotFound, ProblemCode::StaleWriter]),
        Operation::post(
            "/wm/workflows/{workflow}",
            ("wmResumeWorkflow", "Go on for a workflow, from one of its states"),
            resume,
        )
        .about(
            "Starts a new workflow at `StartAt` with the input that this state was given last. The \
             old one, and those that go on for it, must have ended.",
        )
        .needs(Permission::Operate)
        .takes::<WorkflowDefinitionOverrides>()
        .answers::<Workflow>(200)
        .problems(&[
            ProblemCode::WorkflowNotFound,
            ProblemCode::WorkflowConflict,
            ProblemCode::StaleWriter,
        ]),
        Operation::post(
            "/wm/workflows/{workflow}/resolved",
            ("wmResolveWorkflow", "Say that a workflow that failed is dealt with"),
            resolve,
        )
        .needs(Permission::Operate)
        .answers_nothing(201)
        .problems(&[ProblemCode::WorkflowNotFound, ProblemCode::WorkflowConflict]),
    ]
}

fn state_resource_operations() -> Vec<Operation> {
    const PATH: &str = "/wm/state-resources/{namespace}/{name}";
    vec![
        Operation::post(
            "/wm/state-resources",
            ("wmPostStateResource", "Record a state resource"),
            post_resource,
        )
        .needs(Permission::Deploy)
        .takes::<NewStateResource>()
        .answers::<StateResource>(201),
        Operation::get(PATH, ("wmGetStateResource", "One state resource"), show_resource)
            .answers::<StateResource>(200)
            .problems(&[ProblemCode::WorkflowNotFound]),
        Operation::put(PATH, ("wmPutStateResource", "Record a state resource"), put_resource)
            .about("Name and namespace in the body must be those of the address.")
            .needs(Permission::Deploy)
            .takes::<NewStateResource>()
            .answers::<StateResource>(201),
        Operation::delete(
            PATH,
            ("wmDeleteStateResource", "Forget a state resource"),
            delete_resource,
        )
        .needs(Permission::Deploy)
        .answers_nothing(200)
        .problems(&[ProblemCode::WorkflowNotFound]),
    ]
}

/// What the runtime refused, as this API says it.
pub(super) fn problem(error: WorkflowError) -> ApiError {
    match error {
        WorkflowError::Refused { refusal, message } => {
            let code = match refusal {
                Refusal::ConflictException
                | Refusal::ExecutionAlreadyExists
                | Refusal::StateMachineAlreadyExists => ProblemCode::WorkflowConflict,
                Refusal::ExecutionLimitExceeded => ProblemCode::Busy,
                refusal if refusal.is_missing() => ProblemCode::WorkflowNotFound,
                _ => ProblemCode::BadRequest,
            };
            ApiError::new(code, message)
        }
        WorkflowError::Store(error) => error.into(),
        WorkflowError::Fenced => ApiError::new(ProblemCode::StaleWriter, error.to_string()),
        WorkflowError::ShuttingDown => ApiError::new(ProblemCode::ShuttingDown, error.to_string()),
        WorkflowError::Internal(why) => ApiError::internal(why),
    }
}

fn bad_request(detail: impl Into<String>) -> ApiError {
    ApiError::new(ProblemCode::BadRequest, detail)
}

/// A list with the way to what comes after it.
fn page(items: impl serde::Serialize, next: Option<String>) -> Response {
    let mut response = Json(items).into_response();
    if let Some(next) = next.and_then(|next| HeaderValue::from_str(&next).ok()) {
        response.headers_mut().insert(NEXT_PAGE, next);
    }
    response
}

/// A value as it may stand in a query.
fn escaped(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
    let each = |b: u8| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") };
    text.bytes().map(each).collect()
}

async fn health() -> StatusCode {
    StatusCode::OK
}

async fn definitions(
    State(state): State<Shared>,
    Query(query): Query<DefinitionsQuery>,
) -> Result<Response, ApiError> {
    let token = query.page_token.map(|token| token.parse()).transpose();
    let after = token.map_err(|_| bad_request("the page token is not one this list has given"))?;
    let manager = state.workflows.manager();
    let (found, next) = manager.definitions(after.unwrap_or(0)).await.map_err(problem)?;
    Ok(page(found, next.map(|next| format!("/workflow-definitions?pageToken={next}"))))
}

async fn define(
    State(state): State<Shared>,
    caller: Caller,
    Json(new): Json<NewWorkflowDefinition>,
) -> Result<(StatusCode, Json<WorkflowDefinition>), ApiError> {
    let made = state.workflows.manager().define(new, &caller.name).await.map_err(problem)?;
    Ok((StatusCode::CREATED, Json(made)))
}

async fn versions(
    State(state): State<Shared>,
    Path(name): Path<String>,
    Query(query): Query<DefinitionVersionsQuery>,
) -> Result<Json<Vec<WorkflowDefinition>>, ApiError> {
    let manager = state.workflows.manager();
    let found = if query.latest.unwrap_or(true) {
        manager.definition(&name, -1).await.map(|latest| vec![latest])
    } else {
        manager.definition_versions(&name).await
    };
    found.map(Json).map_err(problem)
}

async fn redefine(
    State(state): State<Shared>,
    caller: Caller,
    Path(name): Path<String>,
    Json(new): Json<NewWorkflowDefinition>,
) -> Result<(StatusCode, Json<WorkflowDefinition>), ApiError> {
    if new.name != name {
        let (body, path) = (cut(&new.name), cut(&name));
        return Err(bad_request(format!("the body names `{body}`, the address `{path}`")));
    }
    let made = state.workflows.manager().redefine(new, &caller.name).await.map_err(problem)?;
    Ok((StatusCode::CREATED, Json(made)))
}

async fn version(
    State(state): State<Shared>,
    Path((name, version)): Path<(String, String)>,
) -> Result<Json<WorkflowDefinition>, ApiError> {
    let version = version
        .parse::<i64>()
        .map_err(|_| bad_request(format!("version `{}` is no number", cut(&version))))?;
    state.workflows.manager().definition(&name, version).await.map(Json).map_err(problem)
}

async fn start(
    State(state): State<Shared>,
    Json(start): Json<StartWorkflow>,
) -> Result<Json<Workflow>, ApiError> {
    state.workflows.manager().start(start).await.map(Json).map_err(problem)
}

async fn list(
    State(state): State<Shared>,
    Query(query): Query<WorkflowsQuery>,
) -> Result<Response, ApiError> {
    let limit = query.limit.unwrap_or(LIMIT);
    if limit == 0 || limit > LIMIT_MAX {
        return Err(bad_request(format!("limit {limit} is not allowed: 1 to {LIMIT_MAX}")));
    }
    let search = Search {
        definition: query.workflow_definition_name.clone(),
        limit: limit as usize,
        oldest_first: query.oldest_first.unwrap_or(false),
        page_token: query.page_token.clone(),
        status: query.status,
        resolved: query.resolved_by_user,
        summary: query.summary_only.unwrap_or(false),
    };
    let found = state.workflows.manager().search(search).await.map_err(problem)?;
    let next = found
        .next_token
        .map(|token| next_path(&WorkflowsQuery { page_token: Some(token), ..query }));
    Ok(page(found.workflows, next))
}

/// The address of a list, with everything that was asked for.
fn next_path(query: &WorkflowsQuery) -> String {
    let fields = serde_json::to_value(query).unwrap_or_default();
    let fields = fields.as_object().into_iter().flatten();
    let words: Vec<String> = fields
        .map(|(name, value)| {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            format!("{name}={}", escaped(&value))
        })
        .collect();
    format!("/workflows?{}", words.join("&"))
}

async fn show(
    State(state): State<Shared>,
    Path(id): Path<String>,
    Query(query): Query<WorkflowQuery>,
) -> Result<Json<Workflow>, ApiError> {
    let with_jobs = query.fetch_history.unwrap_or(false);
    state.workflows.manager().workflow(&id, with_jobs).await.map(Json).map_err(problem)
}

async fn cancel(
    State(state): State<Shared>,
    Path(id): Path<String>,
    Json(why): Json<CancelReason>,
) -> Result<StatusCode, ApiError> {
    state.workflows.manager().cancel(&id, why.reason).await.map_err(problem)?;
    Ok(StatusCode::OK)
}

async fn resume(
    State(state): State<Shared>,
    Path(id): Path<String>,
    Json(overrides): Json<WorkflowDefinitionOverrides>,
) -> Result<Json<Workflow>, ApiError> {
    let manager = state.workflows.manager();
    manager.resume(&id, &overrides.start_at).await.map(Json).map_err(problem)
}

async fn resolve(
    State(state): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    state.workflows.manager().resolve(&id, &caller.name).await.map_err(problem)?;
    Ok(StatusCode::CREATED)
}

fn resource_view(row: StateResourceRow) -> StateResource {
    StateResource {
        name: row.name,
        namespace: row.namespace,
        uri: row.uri,
        last_updated: Some(row.updated_at),
        kind: StateResourceType::ActivityARN,
    }
}

async fn post_resource(
    State(state): State<Shared>,
    Json(new): Json<NewStateResource>,
) -> Result<(StatusCode, Json<StateResource>), ApiError> {
    for (what, text) in [("name", &new.name), ("namespace", &new.namespace), ("uri", &new.uri)] {
        let chars = text.chars().count();
        if !(1..=STATE_RESOURCE_CHARS_MAX).contains(&chars) {
            return Err(bad_request(format!(
                "{what} must have 1 to {STATE_RESOURCE_CHARS_MAX} characters"
            )));
        }
        if is_taken_away(text) {
            return Err(bad_request(format!("{what} cannot be `{text}`: no address leads to it")));
        }
    }
    let NewStateResource { name, namespace, uri } = new;
    let row = StateResourceRow { namespace, name, uri, updated_at: Timestamp::now() };
    let kept = row.clone();
    state
        .store
        .write::<_, ApiError, _>(move |tx| {
            let known = tx.state_resource(&kept.namespace, &kept.name)?.is_some();
            if !known && tx.count_state_resources()? >= STATE_RESOURCES_MAX {
                return Err(bad_request(format!(
                    "there are at most {STATE_RESOURCES_MAX} state resources: delete some"
                )));
            }
            Ok(tx.put_state_resource(&kept)?)
        })
        .await?;
    Ok((StatusCode::CREATED, Json(resource_view(row))))
}

async fn put_resource(
    state: State<Shared>,
    Path((namespace, name)): Path<(String, String)>,
    Json(new): Json<NewStateResource>,
) -> Result<(StatusCode, Json<StateResource>), ApiError> {
    if (&new.namespace, &new.name) != (&namespace, &name) {
        return Err(bad_request("name and namespace in the body are not those of the address"));
    }
    post_resource(state, Json(new)).await
}

fn no_resource(namespace: &str, name: &str) -> ApiError {
    let detail = format!("state resource `{}/{}` does not exist", cut(namespace), cut(name));
    ApiError::new(ProblemCode::WorkflowNotFound, detail)
}

async fn show_resource(
    State(state): State<Shared>,
    Path((namespace, name)): Path<(String, String)>,
) -> Result<Json<StateResource>, ApiError> {
    let read = state.store.read::<_, ApiError, _>(move |tx| {
        tx.state_resource(&namespace, &name)?.ok_or_else(|| no_resource(&namespace, &name))
    });
    Ok(Json(resource_view(read.await?)))
}

async fn delete_resource(
    State(state): State<Shared>,
    Path((namespace, name)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let written = state.store.write::<_, ApiError, _>(move |tx| {
        match tx.delete_state_resource(&namespace, &name)? {
            true => Ok(()),
            false => Err(no_resource(&namespace, &name)),
        }
    });
    written.await?;
    Ok(StatusCode::OK)
}
