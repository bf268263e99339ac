//! A registry for tests: the part of the OCI distribution protocol that pushing and pulling take, in
//! memory, on a port of its own. It can ask for a password, break, and keep those who pull waiting; it
//! remembers what it was asked. Daemons speak to loopback without TLS.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::response::Builder;
use axum::http::{Method, StatusCode, header};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::sync::watch;

/// The largest layer.
const BODY_BYTES_MAX: usize = 256 << 20;

/// Runs until the process ends.
#[derive(Clone)]
pub(crate) struct Registry(Arc<Inner>);

struct Inner {
    address: SocketAddr,
    held: watch::Sender<bool>,
    held_manifests_are: watch::Sender<usize>,
    state: Mutex<Contents>,
}

#[derive(Default)]
struct Contents {
    login: Option<(String, String)>,
    broken: bool,
    blobs: HashMap<String, Vec<u8>>,
    uploads: HashMap<String, Vec<u8>>,
    /// By `NAME/TAG` and `NAME/DIGEST`: its type and text.
    manifests: HashMap<String, (String, Vec<u8>)>,
    asked: Vec<String>,
}

impl Registry {
    pub(crate) fn start() -> Self {
        let (send, receive) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async move {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
                let inner = Arc::new(Inner {
                    address: listener.local_addr().expect("an address"),
                    held: watch::Sender::new(false),
                    held_manifests_are: watch::Sender::new(0),
                    state: Mutex::default(),
                });
                send.send(Registry(Arc::clone(&inner))).expect("somebody waits");
                let router = Router::new().fallback(answer).with_state(inner);
                axum::serve(listener, router).await.expect("it serves");
            });
        });
        receive.recv().expect("a registry")
    }

    /// `127.0.0.1:1234`.
    pub(crate) fn host(&self) -> String {
        self.0.address.to_string()
    }

    /// From now on it wants a user and a password.
    pub(crate) fn ask_for(&self, user: &str, password: &str) {
        self.contents().login = Some((user.to_owned(), password.to_owned()));
    }

    /// Whether it answers nothing but that it cannot.
    pub(crate) fn set_broken(&self, broken: bool) {
        self.contents().broken = broken;
    }

    /// Whether who asks for an image waits.
    pub(crate) fn hold(&self, held: bool) {
        self.0.held.send_replace(held);
    }

    /// How many wait now.
    pub(crate) fn waiting(&self) -> usize {
        *self.0.held_manifests_are.borrow()
    }

    /// What was asked, `GET /v2/...`, from the first on.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.contents().asked.clone()
    }

    /// Names and tags that it has.
    pub(crate) fn tags(&self) -> Vec<String> {
        let mut all: Vec<String> = self
            .contents()
            .manifests
            .keys()
            .filter(|name| !name.contains("sha256:"))
            .cloned()
            .collect();
        all.sort();
        all
    }

    /// Lets a tag mean what another one means.
    pub(crate) fn retag(&self, from: &str, to: &str) {
        let mut contents = self.contents();
        let manifest = contents.manifests[from].clone();
        contents.manifests.insert(to.to_owned(), manifest);
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.0.state.lock().expect("not poisoned")
    }
}

async fn answer(State(inner): State<Arc<Inner>>, request: Request) -> Response {
    let registry = Registry(inner);
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let authorization = head.headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    let kind = head.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    {
        let mut contents = registry.contents();
        contents.asked.push(format!("{} {path}", head.method));
        if contents.broken {
            return error(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", "down for the test");
        }
        if let Some((user, password)) = &contents.login {
            let expected = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
            if authorization != Some(expected.as_str()) {
                let mut refused = error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "who are you?");
                let basic = "Basic realm=\"test\"".parse().expect("a header");
                refused.headers_mut().insert(header::WWW_AUTHENTICATE, basic);
                return refused;
            }
        }
    }
    let Ok(body) = to_bytes(body, BODY_BYTES_MAX).await else {
        return error(StatusCode::BAD_REQUEST, "SIZE_INVALID", "too much");
    };
    let Some(rest) = path.strip_prefix("/v2/") else {
        return error(StatusCode::NOT_FOUND, "UNSUPPORTED", "no such thing");
    };
    let query = head.uri.query().unwrap_or_default();
    if rest.is_empty() {
        return plain(StatusCode::OK).body(Body::from("{}")).expect("an answer");
    }
    if let Some((name, upload)) = rest.split_once("/blobs/uploads/") {
        return registry.upload(&head.method, name, upload, query, &body);
    }
    if let Some((_, digest)) = rest.split_once("/blobs/") {
        return registry.blob(&head.method, digest);
    }
    let Some((name, reference)) = rest.split_once("/manifests/") else {
        return error(StatusCode::NOT_FOUND, "UNSUPPORTED", "no such thing");
    };
    if head.method != Method::PUT {
        let mut held = registry.0.held.subscribe();
        registry.0.held_manifests_are.send_modify(|count| *count += 1);
        let _ = held.wait_for(|held| !held).await;
        registry.0.held_manifests_are.send_modify(|count| *count -= 1);
    }
    registry.manifest(&head.method, name, reference, kind, &body)
}

impl Registry {
    fn upload(
        &self,
        method: &Method,
        name: &str,
        upload: &str,
        query: &str,
        body: &[u8],
    ) -> Response {
        let mut contents = self.contents();
        let upload = match *method {
            Method::POST => uuid::Uuid::new_v4().to_string(),
            _ => upload.to_owned(),
        };
        let so_far = contents.uploads.entry(upload.clone()).or_default();
        so_far.extend_from_slice(body);
        let end = so_far.len().saturating_sub(1);
        if *method == Method::PUT {
            let whole = contents.uploads.remove(&upload).unwrap_or_default();
            let digest = query.split('&').find_map(|part| part.strip_prefix("digest="));
            let digest = digest.unwrap_or_default().replace("%3A", ":");
            if digest != digest_of(&whole) {
                return error(StatusCode::BAD_REQUEST, "DIGEST_INVALID", "not what it says");
            }
            contents.blobs.insert(digest.clone(), whole);
            return plain(StatusCode::CREATED)
                .header("docker-content-digest", digest.as_str())
                .header(header::LOCATION, format!("/v2/{name}/blobs/{digest}"))
                .body(Body::empty())
                .expect("an answer");
        }
        plain(StatusCode::ACCEPTED)
            .header(header::LOCATION, format!("/v2/{name}/blobs/uploads/{upload}"))
            .header("docker-upload-uuid", upload)
            .header(header::RANGE, format!("0-{end}"))
            .body(Body::empty())
            .expect("an answer")
    }

    fn blob(&self, method: &Method, digest: &str) -> Response {
        match self.contents().blobs.get(digest) {
            None => error(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", "no such blob"),
            Some(bytes) => content("application/octet-stream", digest, bytes, method),
        }
    }

    fn manifest(
        &self,
        method: &Method,
        name: &str,
        reference: &str,
        kind: &str,
        body: &[u8],
    ) -> Response {
        let mut contents = self.contents();
        if *method == Method::PUT {
            let digest = digest_of(body);
            for reference in [reference, digest.as_str()] {
                let manifest = (kind.to_owned(), body.to_vec());
                contents.manifests.insert(format!("{name}/{reference}"), manifest);
            }
            return plain(StatusCode::CREATED)
                .header("docker-content-digest", digest)
                .body(Body::empty())
                .expect("an answer");
        }
        match contents.manifests.get(&format!("{name}/{reference}")) {
            None => error(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", "manifest unknown"),
            Some((kind, bytes)) => content(kind, &digest_of(bytes), bytes, method),
        }
    }
}

fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{}", ark_model::Sha256::of(bytes))
}

fn plain(status: StatusCode) -> Builder {
    Response::builder().status(status).header("docker-distribution-api-version", "registry/2.0")
}

fn content(kind: &str, digest: &str, bytes: &[u8], method: &Method) -> Response {
    let body = if *method == Method::HEAD { Body::empty() } else { Body::from(bytes.to_vec()) };
    plain(StatusCode::OK)
        .header(header::CONTENT_TYPE, kind)
        .header(header::CONTENT_LENGTH, bytes.len())
        .header("docker-content-digest", digest)
        .body(body)
        .expect("an answer")
}

fn error(status: StatusCode, code: &str, message: &str) -> Response {
    let text = format!(r#"{{"errors":[{{"code":"{code}","message":"{message}"}}]}}"#);
    let kind = "application/json";
    plain(status).header(header::CONTENT_TYPE, kind).body(Body::from(text)).expect("an answer")
}
