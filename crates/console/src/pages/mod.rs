//! One file per page. See the crate for the pattern.

pub(crate) mod fault;
mod overview;

use axum::Router;

use crate::Shared;

pub(crate) fn routes() -> Router<Shared> {
    Router::new().merge(overview::routes())
}
