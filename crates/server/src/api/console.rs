//! Links that sign a browser in to the console.

use ark_model::api::ConsoleLink;
use axum::extract::State;
use http::StatusCode;

use super::error::ApiError;
use super::extract::Json;
use super::operation::{Operation, Shared};
use crate::auth::{Caller, Permission, new_link};

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::post(
            "/v1/console/links",
            ("createConsoleLink", "Make a link that signs a browser in to the console, once"),
            create,
        )
        .about("Whoever opens it within 10 minutes acts in the name of the token that asked.")
        .needs(Permission::Read)
        .answers::<ConsoleLink>(201),
    ]
}

async fn create(
    State(state): State<Shared>,
    caller: Caller,
) -> Result<(StatusCode, Json<ConsoleLink>), ApiError> {
    let (code, expires_at) = new_link(&state, &caller).await?;
    Ok((StatusCode::CREATED, Json(ConsoleLink { path: format!("/sign-in/{code}"), expires_at })))
}
