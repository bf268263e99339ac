//! What the console needs of the server it is part of.

use ark_model::api::{Problem, Role};
use async_trait::async_trait;
use axum::body::Body;
use axum::response::Response;
use http::Request;

/// Who looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Viewer {
    /// The name of the token, as it stands in events.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The id of the token.
    pub token: String,
}

/// What a browser shows to begin a session.
#[derive(Clone, Copy)]
pub enum Credential<'a> {
    /// The text of a token.
    Token(&'a str),
    /// The code of a one-time link. It is used up.
    Link(&'a str),
}

/// The server, as the console sees it.
#[async_trait]
pub trait Host: Send + Sync + 'static {
    /// Begins a session and answers with the text for its cookie, fresh each time; `None` when the
    /// credential is not known.
    ///
    /// # Errors
    /// When the server cannot say.
    async fn begin(&self, credential: Credential<'_>) -> Result<Option<String>, Problem>;

    /// Who holds the session of this text; `None` when it has ended, or its token was revoked.
    ///
    /// # Errors
    /// When the server cannot say.
    async fn viewer(&self, session: &str) -> Result<Option<Viewer>, Problem>;

    /// Ends a session.
    ///
    /// # Errors
    /// When the server cannot.
    async fn end(&self, session: &str) -> Result<(), Problem>;

    /// Carries out one operation of the API in the name of a viewer.
    async fn call(&self, viewer: &Viewer, request: Request<Body>) -> Response;
}
