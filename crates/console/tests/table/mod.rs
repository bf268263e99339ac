//! A host that answers from a table, and a browser of sorts in front of it.

#![allow(dead_code, reason = "each suite uses a part of it")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use ark_console::{Credential, Host, Viewer, router};
use ark_model::api::{Problem, ProblemCode, Role};
use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::response::{IntoResponse, Response};
use http::{Method, Request, StatusCode, header};
use serde_json::{Value, json};
use tower::ServiceExt as _;

/// What a deployment did to traffic, on both sides alike.
pub(crate) fn receipt() -> Value {
    let counts = json!({
        "served": 5, "failed": 1, "cut": 0, "retried": 0, "client_gone": 0, "longest_stall_ms": 3
    });
    let mut receipt = counts.clone();
    receipt["old"] = counts.clone();
    receipt["new"] = counts;
    receipt
}

/// Answers of the API by method and address, and what was asked.
#[derive(Default)]
pub(crate) struct Table {
    answers: BTreeMap<String, (u16, Value)>,
    beginnings: Vec<(String, Value)>,
    streams: BTreeMap<String, String>,
    endless: Vec<String>,
    asked: Mutex<Vec<(String, String)>>,
    ended: Mutex<Vec<String>>,
    revoked: Mutex<bool>,
}

#[async_trait]
impl Host for Table {
    async fn begin(&self, credential: Credential<'_>) -> Result<Option<String>, Problem> {
        Ok(match credential {
            Credential::Token("good") => Some("fresh".to_owned()),
            Credential::Link("once") => Some("linked".to_owned()),
            Credential::Token(_) | Credential::Link(_) => None,
        })
    }

    async fn viewer(&self, session: &str) -> Result<Option<Viewer>, Problem> {
        if *self.revoked.lock().expect("no panic") {
            return Ok(None);
        }
        let role = match session {
            "fresh" | "linked" => Role::Admin,
            "reader" => Role::Reader,
            _ => return Ok(None),
        };
        Ok(Some(Viewer { name: "ana".into(), role, token: "1".into() }))
    }

    async fn end(&self, session: &str) -> Result<(), Problem> {
        self.ended.lock().expect("no panic").push(session.to_owned());
        Ok(())
    }

    async fn call(&self, _: &Viewer, request: Request<Body>) -> Response {
        let target = request.headers().get("x-amz-target").and_then(|value| value.to_str().ok());
        let key = match target.and_then(|target| target.strip_prefix("AWSStepFunctions.")) {
            Some(operation) => format!("STATES {operation}"),
            None => format!("{} {}", request.method(), request.uri()),
        };
        let body = to_bytes(request.into_body(), 1 << 20).await.expect("a body");
        let text = String::from_utf8(body.to_vec()).expect("text");
        self.asked.lock().expect("no panic").push((key.clone(), text));
        if self.endless.contains(&key) {
            let kind = [(header::CONTENT_TYPE, "text/event-stream")];
            let nothing = futures::stream::pending::<Result<Bytes, std::convert::Infallible>>();
            return (kind, Body::from_stream(nothing)).into_response();
        }
        if let Some(events) = self.streams.get(&key) {
            let kind = [(header::CONTENT_TYPE, "text/event-stream")];
            return (kind, events.clone()).into_response();
        }
        let exact = self.answers.get(&key).cloned();
        let begins = || self.beginnings.iter().find(|(begin, _)| key.starts_with(begin.as_str()));
        let found = exact.or_else(|| begins().map(|(_, answer)| (200, answer.clone())));
        let found = found.or_else(|| self.all_apps(&key).map(|answer| (200, answer)));
        let (status, answer) = found.unwrap_or_else(|| {
            let detail = format!("not in the table: {key}");
            let problem = Problem::new(ProblemCode::NoSuchOperation, detail);
            (404, serde_json::to_value(problem).expect("JSON"))
        });
        (StatusCode::from_u16(status).expect("a status"), axum::Json(answer)).into_response()
    }
}

impl Table {
    /// Answers `GET /v1/server`, say, with this.
    pub(crate) fn with(mut self, key: &str, answer: Value) -> Self {
        self.answers.insert(key.to_owned(), (200, answer));
        self
    }

    /// Answers everything that begins so.
    pub(crate) fn with_any(mut self, beginning: &str, answer: Value) -> Self {
        self.beginnings.push((beginning.to_owned(), answer));
        self
    }

    /// Answers with server-sent events: those of a log, with these lines.
    pub(crate) fn with_lines(mut self, key: &str, lines: &[Value]) -> Self {
        let event = |line: &Value| format!("event: line\ndata: {line}\n\n");
        self.streams.insert(key.to_owned(), lines.iter().map(event).collect());
        self
    }

    /// Answers with a stream that has nothing to say and does not end.
    pub(crate) fn with_endless(mut self, key: &str) -> Self {
        self.endless.push(key.to_owned());
        self
    }

    /// Answers with a problem.
    pub(crate) fn refusing(mut self, key: &str, problem: &Problem) -> Self {
        let answer = serde_json::to_value(problem).expect("JSON");
        self.answers.insert(key.to_owned(), (problem.status, answer));
        self
    }

    /// The apps of all environments, put together from the lists of each.
    fn all_apps(&self, key: &str) -> Option<Value> {
        let (limit, rest) = key.strip_prefix("GET /v1/apps?limit=")?.split_once("&name=")?;
        let (name, cursor) = rest.split_once('&').unwrap_or((rest, ""));
        let cursor = if cursor.is_empty() { String::new() } else { format!("&{cursor}") };
        let listed = format!("GET /v1/environments?limit={limit}{cursor}");
        let begins =
            || self.beginnings.iter().find(|(begin, _)| listed.starts_with(begin.as_str()));
        let exact = self.answers.get(&listed).map(|(_, answer)| answer);
        let mut page = exact.or_else(|| begins().map(|(_, answer)| answer))?.clone();
        for item in page["items"].as_array_mut()? {
            let apps = format!("GET /v1/environments/{}/apps?limit=500", item["name"].as_str()?);
            let named = self.answers.get(&format!("{apps}&name={name}"));
            let apps = named.or_else(|| self.answers.get(&apps)).map(|(_, answer)| answer.clone());
            let apps = apps.unwrap_or_else(|| json!({ "items": [] }));
            *item = json!({ "environment": item.take(), "apps": apps });
        }
        Some(page)
    }

    /// What it answers.
    pub(crate) fn answer(&self, key: &str) -> Value {
        self.answers.get(key).map(|(_, answer)| answer.clone()).unwrap_or_default()
    }

    /// What was asked of the API: method and address, body.
    pub(crate) fn asked(&self) -> Vec<(String, String)> {
        self.asked.lock().expect("no panic").clone()
    }

    /// Sessions that were ended.
    pub(crate) fn ended(&self) -> Vec<String> {
        self.ended.lock().expect("no panic").clone()
    }

    /// From now on no session is anybody's.
    pub(crate) fn revoke(&self) {
        *self.revoked.lock().expect("no panic") = true;
    }

    /// The console in front of it.
    pub(crate) fn site(self) -> (Router, Arc<Self>) {
        let table = Arc::new(self);
        (router(table.clone()), table)
    }
}

pub(crate) async fn text(response: Response) -> String {
    let body = to_bytes(response.into_body(), 16 << 20).await.expect("a body");
    String::from_utf8(body.to_vec()).expect("text")
}

/// Sessions: `fresh` is an administrator's, `reader` a reader's, others are nobody's.
pub(crate) async fn get(site: &Router, address: &str, session: &str) -> Response {
    let request = Request::get(address).header(header::COOKIE, format!("ark_session={session}"));
    let request = request.body(Body::empty()).expect("a request");
    site.clone().oneshot(request).await.expect("an answer")
}

/// Posts a form; with the token of the session when `token` is none.
pub(crate) async fn post(
    site: &Router,
    address: &str,
    session: &str,
    token: Option<&str>,
    fields: &str,
) -> Response {
    let own = match token {
        Some(token) => token.to_owned(),
        None => token_of(&text(get(site, "/", session).await).await),
    };
    let request = Request::builder()
        .method(Method::POST)
        .uri(address)
        .header(header::COOKIE, format!("ark_session={session}"))
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(format!("form_token={own}&{fields}")))
        .expect("a request");
    site.clone().oneshot(request).await.expect("an answer")
}

pub(crate) fn token_of(page: &str) -> String {
    let (_, rest) = page.split_once("name=\"form_token\" value=\"").expect("a form");
    rest.split('"').next().expect("a token").to_owned()
}

pub(crate) fn location(response: &Response) -> &str {
    response.headers()[header::LOCATION].to_str().expect("text")
}

pub(crate) fn server() -> Value {
    json!({
        "version": "0.1.0", "pid": 1, "started_at": "2026-01-01T00:00:00Z", "data_dir": "/d",
        "api": "http://127.0.0.1:7070", "http": ["http://127.0.0.1:8080"],
        "gateway": { "connected": true, "http": ["127.0.0.1:8080"] },
        "engine": { "kind": "process", "capabilities": [] }, "store_epoch": 1
    })
}

pub(crate) fn environment(name: &str) -> Value {
    json!({
        "name": name, "kind": "permanent", "state": "active", "owner": "ana",
        "created_at": "2026-01-01T00:00:00Z", "apps": [], "instances": 0
    })
}

/// An app that is up, with one deployment behind it.
pub(crate) fn app(name: &str) -> Value {
    json!({
        "env": "production", "app": name, "kind": "service", "live": 14,
        "live_since": "2026-01-01T00:00:00Z", "wanted": 3, "ready": 3, "alive": 3,
        "stopped": false, "lost_1h": 0,
        "traffic": { "requests_per_s": 412.0, "served_1h": 18204, "failed_1h": 0, "p99_ms": 38 },
        "last_deployment": {
            "id": "0197a1b2-0000-7000-8000-000000000001", "kind": "deploy", "release": 14,
            "base": 13, "state": "succeeded", "created_at": "2026-01-01T00:00:00Z",
            "created_by": "ana <script>alert(1)</script>", "live_after_ms": 31000,
            "finished_at": "2026-01-01T00:01:00Z", "diagnosis": null, "served": 18204, "failed": 0
        },
        "running_deployment": null, "waiting_deployment": null, "not_enforced": []
    })
}

/// One environment with one app.
pub(crate) fn world() -> Table {
    let environments = json!({ "items": [environment("production")] });
    Table::default()
        .with("GET /v1/server", server())
        .with("GET /v1/environments?limit=100", environments.clone())
        .with("GET /v1/environments?limit=500", environments)
        .with("GET /v1/environments/production/apps?limit=500", json!({ "items": [app("web")] }))
}
