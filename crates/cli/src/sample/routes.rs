//! The sample app's plain answers. Variables of the environment are never shown: they may
//! hold secrets.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state, map_request, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures::stream;
use serde::Deserialize;
use tokio::time::sleep;

use super::settings::Broken;
use super::{App, log, streams};

const SLOW_MS_MAX: u64 = 600_000;
const BYTES_MAX: u64 = 1 << 30;
/// A whole number of alphabets, so that pieces join without a seam.
const PIECE_BYTES: usize = 26 * 1024;

/// All endpoints. Every answer carries the version, errors included.
pub(super) fn router(app: Arc<App>) -> Router {
    let version = app.settings.identity.version_header.clone();
    let log_requests = app.settings.log_requests;
    Router::new()
        .route("/", get(index))
        .route("/_health", get(health))
        .route("/version", get(version_text))
        .route("/slow", get(slow))
        .route("/bytes", get(bytes))
        .route("/echo", post(echo))
        .route("/sse", get(streams::events))
        .route("/ws", get(streams::websocket))
        .fallback(async || (StatusCode::NOT_FOUND, "nothing here\n"))
        .layer(from_fn_with_state(app.clone(), fail_on_purpose))
        .layer(map_request(move |request: Request| {
            let path = request.uri().path();
            if log_requests && path != "/_health" {
                log(&format!("request: {} {path}", request.method()));
            }
            async { request }
        }))
        .layer(map_response(move |mut response: Response| {
            response.headers_mut().insert("x-ark-sample-version", version.clone());
            async { response }
        }))
        .with_state(app)
}

/// Every n-th request, so that a test knows how many; a health check is none.
async fn fail_on_purpose(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if let Broken::FailsOneIn(n) = app.settings.broken
        && request.uri().path() != "/_health"
        && (app.requests.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(n.get())
    {
        return (StatusCode::INTERNAL_SERVER_ERROR, "broken on purpose\n").into_response();
    }
    next.run(request).await
}

async fn index(State(app): State<Arc<App>>) -> String {
    format!("{}\n", app.settings.identity)
}

async fn version_text(State(app): State<Arc<App>>) -> String {
    format!("{}\n", app.settings.identity.version)
}

async fn health(State(app): State<Arc<App>>) -> (StatusCode, String) {
    let ill = |reason: String| {
        log(&format!("error: not healthy: {reason}"));
        (StatusCode::INTERNAL_SERVER_ERROR, format!("{reason}\n"))
    };
    match app.settings.broken {
        Broken::NeverReady => return ill("db: connection refused".to_owned()),
        Broken::IllBetween(from, to) if (from..to).contains(&app.started.elapsed()) => {
            return ill("db: too slow".to_owned());
        }
        Broken::No
        | Broken::Crash
        | Broken::CrashAfter(_)
        | Broken::IllBetween(..)
        | Broken::FailsOneIn(_) => {}
    }
    let left = app.settings.start_delay.saturating_sub(app.started.elapsed());
    if !left.is_zero() {
        return ill(format!("starting: {} ms left", left.as_millis()));
    }
    (StatusCode::OK, "healthy\n".to_owned())
}

#[derive(Deserialize)]
struct Slow {
    ms: u64,
}

async fn slow(Query(Slow { ms }): Query<Slow>) -> Response {
    if ms > SLOW_MS_MAX {
        return too_much("ms", SLOW_MS_MAX);
    }
    sleep(Duration::from_millis(ms)).await;
    format!("slept {ms} ms\n").into_response()
}

#[derive(Deserialize)]
struct Count {
    n: u64,
}

/// The alphabet over and over, with its length announced.
async fn bytes(Query(Count { n }): Query<Count>) -> Response {
    if n > BYTES_MAX {
        return too_much("n", BYTES_MAX);
    }
    let piece: Bytes = (b'a'..=b'z').cycle().take(PIECE_BYTES).collect();
    let body = stream::unfold(n, move |left| {
        let bytes = usize::try_from(left).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
        let next = (bytes > 0).then(|| (piece.slice(..bytes), left - bytes as u64));
        async move { next.map(|(piece, left)| (Ok::<_, std::convert::Infallible>(piece), left)) }
    });
    let length = [(header::CONTENT_LENGTH, n.to_string())];
    (length, Body::from_stream(body)).into_response()
}

/// Streams the body back as it comes.
async fn echo(request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut response = Response::new(body);
    if let Some(kind) = parts.headers.get(header::CONTENT_TYPE) {
        response.headers_mut().insert(header::CONTENT_TYPE, kind.clone());
    }
    response
}

fn too_much(what: &str, most: u64) -> Response {
    (StatusCode::BAD_REQUEST, format!("{what} is at most {most}\n")).into_response()
}
