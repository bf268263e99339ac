//! One file per page. See the crate for the pattern.

mod actions;
mod app;
mod deployment;
mod environments;
mod events;
pub(crate) mod fault;
mod jobs;
mod logs;
mod overview;
mod runs;
mod server;
mod workflows;

use axum::Router;

use crate::Shared;

/// The addresses of all pages, as patterns: what the benchmark measures and what is looked at in a
/// browser. A test holds it against the routes.
pub const PAGES: &[&str] = &[
    "/",
    "/d/{id}",
    "/e/{env}/{app}",
    "/e/{env}/{app}/deploy",
    "/e/{env}/{app}/deployments",
    "/e/{env}/{app}/diff",
    "/e/{env}/{app}/do/{what}",
    "/e/{env}/{app}/logs",
    "/e/{env}/{app}/releases",
    "/e/{env}/{app}/rollback",
    "/e/{env}/{app}/run",
    "/e/{env}/{app}/runs",
    "/e/{env}/{app}/runs/{run}",
    "/environments",
    "/environments/{env}",
    "/events",
    "/jobs",
    "/server",
    "/server/checks",
    "/server/hooks/{hook}",
    "/server/hosts/{host}/{wish}",
    "/sign-in",
    "/sign-in/{code}",
    "/workflows",
    "/workflows/{workflow}",
    "/workflows/{workflow}/start",
    "/workflows/{workflow}/x/{execution}",
    "/workflows/{workflow}/x/{execution}/do/{act}",
];

pub(crate) fn routes() -> Router<Shared> {
    Router::new()
        .merge(overview::routes())
        .merge(app::routes())
        .merge(actions::routes())
        .merge(logs::routes())
        .merge(deployment::routes())
        .merge(environments::routes())
        .merge(workflows::routes())
        .merge(jobs::routes())
        .merge(runs::routes())
        .merge(events::routes())
        .merge(server::routes())
}
