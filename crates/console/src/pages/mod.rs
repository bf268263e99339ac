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
