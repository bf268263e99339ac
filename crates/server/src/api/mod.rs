//! The HTTP API under `/v1`: one file per resource, each listing its operations.
//!
//! [`router`] builds everything from the table of [`operations`]; `openapi` describes the same
//! table. A request passes, in this order: the guard (origin, number of requests, request id,
//! faults), then the gate of its operation (token, permission, deadline, size of the body), then
//! its handler. Handlers change the store and nothing else: what follows from a change is done by
//! the tasks, which each commit wakes.
//!
//! `POST /` is AWS's API of workflows, with rules of its own: `workflows::wire`. `GET /` and its
//! pages are the console's (`crate::console`), which calls these operations for whoever is signed in.
//!
//! Answers never hold a secret value (I8), except the two operations that exist for that.

mod app_rows;
mod apps;
mod artifacts;
mod by_name;
mod config;
mod console;
mod crons;
mod data_store;
mod dependencies;
mod deployments;
mod diff;
mod doctor;
mod environment_leases;
mod environment_values;
mod environments;
mod error;
mod events;
mod exec;
mod extract;
mod find;
mod gc;
mod guard;
mod idempotency;
mod images;
mod instances;
mod intents;
mod judge;
mod kept_apps;
mod logs;
mod manager_port;
mod needs;
mod nodes;
pub mod openapi;
mod operation;
mod plan;
mod push_hooks;
mod registries;
mod releases;
mod resolve;
mod rollbacks;
mod run_logs;
mod runs;
mod schedules;
mod serve;
mod server_info;
mod steps;
mod stream;
mod tokens;
mod traffic;
mod unenforced;
mod wishes;
mod workflow_activities;
mod workflow_manager;
mod workflow_queues;
mod workflows;

use std::sync::OnceLock;

use ark_model::api::ProblemCode;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::put;
use guard::Door;
use http::{HeaderValue, Method, header};
use tower::ServiceExt as _;

pub use error::{ApiError, PROBLEM_JSON};
pub use operation::{Access, Content, Deadline, Operation, SchemaOf, Shared};
pub use serve::{serve, serve_manager};

pub(crate) use kept_apps::KeptApps;
pub(crate) use registries::tell as tell_registries;

/// A run that something else than a request asks for, under the rules of `startRun`.
///
/// # Errors
/// As that operation.
pub(crate) fn create_run(
    tx: &mut ark_store::WriteTx,
    id: ark_model::RunId,
    (env, app): (&ark_model::EnvName, &ark_model::AppName),
    request: &ark_model::api::RunRequest,
    by: &str,
    now: jiff::Timestamp,
) -> Result<ark_model::run::RunRecord, ApiError> {
    runs::check(request)?;
    let act = intents::Act { by: by.to_owned(), now };
    runs::create(tx, id, env, app, request, &act)
}

use crate::workflows::wire;

/// Every operation, in the order of the document.
pub fn operations() -> Vec<Operation> {
    let sections: [(&'static str, Vec<Operation>); 19] = [
        ("server", server_info::operations()),
        (
            "environments",
            environments::operations()
                .into_iter()
                .chain(environment_leases::operations())
                .chain(dependencies::operations())
                .collect(),
        ),
        ("apps", apps::operations().into_iter().chain(traffic::operations()).collect()),
        ("instances", instances::operations()),
        ("configuration", config::operations()),
        ("artifacts", artifacts::operations()),
        ("images", images::operations()),
        ("registries", registries::operations()),
        ("hosts", nodes::operations()),
        ("push hooks", push_hooks::operations()),
        (
            "deployments",
            deployments::operations().into_iter().chain(wishes::operations()).collect(),
        ),
        ("releases", releases::operations()),
        ("runs", runs::operations().into_iter().chain(crons::operations()).collect()),
        ("logs", logs::operations()),
        ("events", events::operations()),
        ("tokens", tokens::operations()),
        ("console", console::operations()),
        (
            "workflows",
            workflows::operations()
                .into_iter()
                .chain(workflow_manager::operations())
                .chain(workflow_activities::operations())
                .chain(workflow_queues::operations())
                .collect(),
        ),
        ("schedules", schedules::operations()),
    ];
    let tagged = |(tag, operations): (&'static str, Vec<Operation>)| {
        operations.into_iter().map(move |operation| Operation { tag, ..operation })
    };
    sections.into_iter().flat_map(tagged).collect()
}

/// Whoever asks for what is not there.
async fn nothing() -> ApiError {
    ApiError::new(ProblemCode::NoSuchOperation, "no operation has this address")
        .remedy("all operations", "GET /openapi.json")
}

async fn other_method() -> ApiError {
    ApiError::new(ProblemCode::MethodNotAllowed, "the address allows other methods only")
}

/// Ark's own operations.
fn own(state: &Shared) -> Router {
    let mut router = Router::new();
    for operation in operations() {
        let rules = guard::Rules {
            state: state.clone(),
            access: operation.access,
            deadline: operation.deadline,
        };
        let handler = operation
            .handler
            .layer(DefaultBodyLimit::max(operation.body_bytes_max))
            .layer(from_fn(move |request, next| guard::gate(rules.clone(), request, next)));
        router = router.route(operation.path, handler);
    }
    router
        .fallback(nothing)
        .method_not_allowed_fallback(other_method)
        .layer(from_fn_with_state((state.clone(), Door::Programs), guard::guard))
        .with_state(state.clone())
}

/// The workflow manager's API alone, at the root of this address.
fn manager_router(state: &Shared, address: std::net::SocketAddr) -> Router {
    manager_port::router(state.clone(), own(state), address)
}

/// The whole API.
pub fn router(state: Shared) -> Router {
    let api = own(&state);
    // What a page asks for may be an operation of either protocol.
    let both = api.clone().merge(wire::router(state.clone()));
    let nowhere = crate::console::nowhere(state.clone(), both.clone());
    let outside = Router::new()
        .fallback(move |request: Request| {
            let nowhere = nowhere.clone();
            async move {
                match asks_for_a_page(&request) {
                    true => nowhere.oneshot(request).await.into_response(),
                    false => nothing().await.into_response(),
                }
            }
        })
        .layer(from_fn_with_state((state.clone(), Door::Pages), guard::guard));
    let pages = crate::console::router(state.clone(), both)
        // GET is the console's, POST the other protocol's.
        .route("/", put(nothing).patch(nothing).delete(nothing))
        .method_not_allowed_fallback(other_method)
        .layer(from_fn_with_state((state.clone(), Door::Pages), guard::guard));
    api.merge(pages).merge(wire::router(state)).fallback_service(outside)
}

/// Whether somebody opened an address in a browser.
fn asks_for_a_page(request: &Request) -> bool {
    let accepts = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
    request.method() == Method::GET && accepts.is_some_and(|kinds| kinds.contains("text/html"))
}

/// `GET /openapi.json`.
async fn serve_openapi() -> Response {
    static TEXT: OnceLock<String> = OnceLock::new();
    let text = TEXT.get_or_init(|| openapi::text(&operations()));
    let json = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, json)], text.as_str()).into_response()
}
