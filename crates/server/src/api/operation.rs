//! One operation of the API: everything that the router, the authorisation and the OpenAPI
//! document need to know of it, stated once. Each resource file lists its operations; what is not
//! in such a list cannot be reached, and what is in it is documented and needs a permission.

use std::sync::Arc;
use std::time::Duration;

use ark_model::api::{BODY_BYTES_MAX, ProblemCode};
use axum::handler::Handler;
use axum::routing::{MethodRouter, delete, get, patch, post, put};
use http::Method;
use schemars::{JsonSchema, Schema, SchemaGenerator};

use crate::auth::Permission;
use crate::state::ServerState;

/// What the router hands to every handler.
pub type Shared = Arc<ServerState>;

/// Who may call an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everybody, without a token.
    Public,
    /// Whose token has this permission.
    Needs(Permission),
}

/// Gives the schema of a type.
pub type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// What a body holds.
#[derive(Debug, Clone, Copy)]
pub enum Content {
    /// Nothing.
    Empty,
    /// One JSON value.
    Json(SchemaOf),
    /// One JSON value per line.
    Lines(SchemaOf),
    /// Lines of JSON, or server-sent events with the same values as data.
    LinesOrEvents(SchemaOf),
    /// Server-sent events with such values as data.
    Events(SchemaOf),
    /// Bytes as they are.
    Bytes,
    /// Text of this media type.
    Text(&'static str),
}

/// How long a request may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deadline {
    /// Until the answer is complete.
    Answer(Duration),
    /// None: the answer goes on until one side leaves; streams have a limit of their own number.
    Stream,
}

/// The deadline of everything that is not a stream or an upload.
const ANSWER: Duration = Duration::from_secs(30);

/// See the module.
#[derive(Clone)]
pub struct Operation {
    /// Method.
    pub method: Method,
    /// Path with parameters in braces.
    pub path: &'static str,
    /// Its name in the OpenAPI document; never changes.
    pub id: &'static str,
    /// The section of the document.
    pub tag: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
    /// What else is to be known.
    pub description: &'static str,
    /// Who may call it.
    pub access: Access,
    /// Query parameters: the properties of an object.
    pub query: Option<SchemaOf>,
    /// The request's body.
    pub request: Content,
    /// The answer's status.
    pub status: u16,
    /// The answer's body.
    pub answer: Content,
    /// What is said over a WebSocket: by the client, by the server.
    pub frames: Option<(SchemaOf, SchemaOf)>,
    /// Problems beyond those that every operation may have.
    pub problems: &'static [ProblemCode],
    /// Whether `Idempotency-Key` is honoured.
    pub idempotent_by_key: bool,
    /// The largest body, in bytes.
    pub body_bytes_max: usize,
    /// How long it may take.
    pub deadline: Deadline,
    /// What does it.
    pub(super) handler: MethodRouter<Shared>,
}

/// The name and the summary of an operation.
type Title = (&'static str, &'static str);

impl Operation {
    fn new(
        method: Method,
        path: &'static str,
        title: Title,
        handler: MethodRouter<Shared>,
    ) -> Self {
        Self {
            method,
            path,
            id: title.0,
            tag: "",
            summary: title.1,
            description: "",
            // The strictest, should an operation forget to say.
            access: Access::Needs(Permission::ManageServer),
            query: None,
            request: Content::Empty,
            status: 200,
            answer: Content::Empty,
            frames: None,
            problems: &[],
            idempotent_by_key: false,
            body_bytes_max: BODY_BYTES_MAX,
            deadline: Deadline::Answer(ANSWER),
            handler,
        }
    }

    pub(super) fn get<H, T>(path: &'static str, title: Title, handler: H) -> Self
    where
        H: Handler<T, Shared>,
        T: 'static,
    {
        Self::new(Method::GET, path, title, get(handler)).needs(Permission::Read)
    }

    pub(super) fn post<H, T>(path: &'static str, title: Title, handler: H) -> Self
    where
        H: Handler<T, Shared>,
        T: 'static,
    {
        Self::new(Method::POST, path, title, post(handler))
    }

    pub(super) fn put<H, T>(path: &'static str, title: Title, handler: H) -> Self
    where
        H: Handler<T, Shared>,
        T: 'static,
    {
        Self::new(Method::PUT, path, title, put(handler))
    }

    pub(super) fn patch<H, T>(path: &'static str, title: Title, handler: H) -> Self
    where
        H: Handler<T, Shared>,
        T: 'static,
    {
        Self::new(Method::PATCH, path, title, patch(handler))
    }

    pub(super) fn delete<H, T>(path: &'static str, title: Title, handler: H) -> Self
    where
        H: Handler<T, Shared>,
        T: 'static,
    {
        Self::new(Method::DELETE, path, title, delete(handler))
    }

    pub(super) fn about(self, description: &'static str) -> Self {
        Self { description, ..self }
    }

    pub(super) fn public(self) -> Self {
        Self { access: Access::Public, ..self }
    }

    pub(super) fn needs(self, permission: Permission) -> Self {
        Self { access: Access::Needs(permission), ..self }
    }

    pub(super) fn query<T: JsonSchema>(self) -> Self {
        Self { query: Some(T::json_schema), ..self }
    }

    pub(super) fn takes<T: JsonSchema>(self) -> Self {
        Self { request: Content::Json(subschema::<T>), ..self }
    }

    pub(super) fn takes_bytes(self, bytes_max: usize, deadline: Duration) -> Self {
        Self { request: Content::Bytes, deadline: Deadline::Answer(deadline), ..self }
            .body_up_to(bytes_max)
    }

    pub(super) fn deadline(self, deadline: Duration) -> Self {
        Self { deadline: Deadline::Answer(deadline), ..self }
    }

    pub(super) fn body_up_to(self, bytes_max: usize) -> Self {
        Self { body_bytes_max: bytes_max, ..self }
    }

    pub(super) fn answers<T: JsonSchema>(self, status: u16) -> Self {
        Self { status, answer: Content::Json(subschema::<T>), ..self }
    }

    pub(super) fn answers_text(self, media_type: &'static str) -> Self {
        Self { answer: Content::Text(media_type), ..self }
    }

    pub(super) fn answers_nothing(self, status: u16) -> Self {
        Self { status, answer: Content::Empty, ..self }
    }

    pub(super) fn streams(self, status: u16, answer: Content) -> Self {
        Self { status, answer, deadline: Deadline::Stream, ..self }
    }

    pub(super) fn speaks(self, client: SchemaOf, server: SchemaOf) -> Self {
        Self { frames: Some((client, server)), ..self }.streams(101, Content::Empty)
    }

    pub(super) fn problems(self, problems: &'static [ProblemCode]) -> Self {
        Self { problems, ..self }
    }

    pub(super) fn idempotent_by_key(self) -> Self {
        Self { idempotent_by_key: true, ..self }
    }
}

/// The schema of a type, as a reference where it has a name.
pub(super) fn subschema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}
