//! A server for one test, and a client that remembers every answer.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use ark_engine::EngineKind;
use ark_model::api::Role;
use ark_model::artifact::{Manifest, ManifestEntry, ManifestNode};
use ark_model::instance::{InstanceRecord, InstanceState, PortBinding};
use ark_model::{Deployment, DeploymentState, InstanceId, ReleaseNumber, Sha256};
use ark_server::api;
use ark_server::auth::{AllowedHosts, new_token};
use ark_server::observations::Observations;
use ark_server::state::{ServerState, Settings};
use ark_server::workflows::{SystemEntropy, WorkflowWorld, Workflows};
use ark_server::world::{CONTROLLER_LEASE, Fence, SystemClock};
use ark_store::{Blobs, Keyring, Store, StoreError, WriteTx};
use jiff::Timestamp;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::engine::TestEngine;

/// No request of a test takes as long.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Server {
    pub(crate) state: Arc<ServerState>,
    pub(crate) engine: Arc<TestEngine>,
    pub(crate) address: SocketAddr,
    pub(crate) blobs: Blobs,
    tokens: [String; 3],
    pub(crate) client: reqwest::Client,
    heard: Mutex<String>,
    _data_dir: TempDir,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text)
            .unwrap_or_else(|error| panic!("{error}: {} {}", self.status, self.text))
    }

    /// The body of an answer that must have this status.
    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        self.json()
    }

    /// The problem, which must have this code.
    #[track_caller]
    pub(crate) fn problem(&self, code: &str) -> Value {
        let problem = self.json();
        assert_eq!(problem["code"], code, "{} {}", self.status, self.text);
        assert_eq!(problem["status"], self.status);
        assert_eq!(problem["type"], format!("urn:ark:error:{code}"));
        assert_eq!(self.headers["content-type"], "application/problem+json");
        for key in ["title", "detail"] {
            assert!(problem[key].as_str().is_some_and(|t| !t.is_empty()), "{key}: {problem}");
        }
        assert!(problem["exit_code"].is_u64(), "{problem}");
        problem
    }
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with_engine(EngineKind::Fake).await
    }

    pub(crate) async fn with_engine(kind: EngineKind) -> Self {
        Self::with(kind, |_, now| Store::in_memory(now)).await
    }

    /// With a store whose readers work beside its writer.
    pub(crate) async fn on_disk() -> Self {
        Self::with(EngineKind::Fake, |dir, now| Store::open(dir.path(), now)).await
    }

    async fn with(
        kind: EngineKind,
        store: impl FnOnce(&TempDir, Timestamp) -> Result<Store, StoreError>,
    ) -> Self {
        static TLS: Once = Once::new();
        TLS.call_once(|| {
            // Only the client's constructor wants it; every request of these tests is plain HTTP.
            let _ = rustls::crypto::ring::default_provider().install_default();
        });
        let now = Timestamp::now();
        let data_dir = TempDir::new().expect("a temporary directory");
        let store = store(&data_dir, now).expect("a store");
        let blobs = Blobs::open(data_dir.path()).expect("blobs");
        let keyring = Keyring::ephemeral().expect("a key");
        let engine = Arc::new(TestEngine::new(kind));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let settings = Settings {
            data_dir: data_dir.path().to_owned(),
            api: address,
            version: "0.0.0-test".into(),
            started_at: now,
            allowed_hosts: AllowedHosts::default(),
        };
        let observations = Arc::new(Observations::default());
        let hour = Duration::from_secs(3_600);
        let lease = store
            .write::<_, StoreError, _>(move |tx| {
                tx.acquire_lease(CONTROLLER_LEASE, "test", now, hour)
            })
            .await
            .expect("the lease")
            .expect("nobody else holds it");
        let workflows = Workflows::new(WorkflowWorld {
            store: store.clone(),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            fence: Fence { token: lease.token },
        });
        let state = Arc::new(ServerState::new(
            store,
            blobs.clone(),
            keyring,
            engine.clone(),
            observations,
            workflows,
            settings,
        ));
        let mut tokens = [const { String::new() }; 3];
        for (token, role) in tokens.iter_mut().zip(Role::ALL) {
            let (raw, record) = new_token(role.as_str(), role, "test", now).expect("randomness");
            raw.expose().clone_into(token);
            let inserted =
                state.store.write::<_, StoreError, _>(move |tx| tx.insert_token(&record));
            inserted.await.expect("a token");
        }
        tokio::spawn(api::serve(listener, state.clone()));
        let client = reqwest::Client::builder().timeout(PATIENCE).build().expect("a client");
        let heard = Mutex::default();
        Self { state, engine, address, blobs, tokens, client, heard, _data_dir: data_dir }
    }

    pub(crate) fn token(&self, role: Role) -> &str {
        &self.tokens[role as usize]
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A request without a token.
    pub(crate) fn bare(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, self.url(path))
    }

    pub(crate) fn request(&self, role: Role, method: Method, path: &str) -> RequestBuilder {
        self.bare(method, path).bearer_auth(self.token(role))
    }

    pub(crate) async fn send(&self, request: RequestBuilder) -> Answer {
        let response = request.send().await.expect("an answer");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.expect("a body of text");
        let mut heard = self.heard.lock().expect("no test panics while it holds this");
        heard.push_str(&text);
        heard.push_str(&format!("{headers:?}\n"));
        drop(heard);
        Answer { status, headers, text }
    }

    /// Everything that was answered so far.
    pub(crate) fn heard(&self) -> String {
        self.heard.lock().expect("see above").clone()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Role::Admin, Method::GET, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Role::Admin, Method::POST, path).json(body)).await
    }

    pub(crate) async fn patch(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Role::Admin, Method::PATCH, path).json(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Role::Admin, Method::DELETE, path)).await
    }

    /// Asks for a deployment of `web`; without an artifact.
    pub(crate) async fn deploy(&self, env: &str, launch: &str) -> Answer {
        let path = format!("/v1/environments/{env}/apps/web/deployments");
        self.post(&path, &deploy_body(launch)).await
    }

    /// Records what the tasks would: the waiting deployment of `web` has come to its end.
    pub(crate) async fn finish(&self, env: &str, end: DeploymentState) -> Deployment {
        let env: ark_model::EnvName = env.parse().expect("a name");
        let result = self.state.store.write::<_, StoreError, _>(move |tx| {
            let mut app = tx.app_state(&env, &web())?.expect("the app");
            let id = app.running.or(app.waiting).expect("a deployment");
            let mut d = tx.deployment(id)?.expect("its record");
            let before = d.state;
            let now = Timestamp::now();
            d.base = d.base.or(app.live);
            d.started_at = d.started_at.or(Some(now));
            d.state = end;
            match end {
                DeploymentState::Succeeded => {
                    app.previous = app.live;
                    app.live = Some(d.release);
                    d.live_at = Some(now);
                }
                DeploymentState::Replacing => app.running = Some(id),
                _ => {}
            }
            if app.waiting == Some(id) {
                app.waiting = None;
            }
            if end.is_terminal() {
                d.finished_at = Some(now);
                d.receipt = Some(ark_model::Receipt::default());
                app.running = None;
            }
            tx.put_deployment(&d, before)?;
            tx.put_app_state(&app)?;
            Ok(d)
        });
        result.await.expect("the records")
    }

    /// Records an instance of `web`.
    pub(crate) async fn instance(&self, env: &str, state: InstanceState) -> InstanceId {
        let id = InstanceId(uuid::Uuid::now_v7());
        let now = Timestamp::now();
        let record = InstanceRecord {
            id,
            env: env.parse().expect("a name"),
            app: web(),
            release: ReleaseNumber(1),
            node: ark_model::NodeName::local(),
            state,
            ports: vec![PortBinding {
                expose: "default".into(),
                address: ([127, 0, 0, 1], 20_001).into(),
            }],
            created_at: now,
            running_since: Some(now),
            active_at: (state == InstanceState::Active).then_some(now),
            draining_at: None,
            stopping_at: None,
            stopped_at: (state == InstanceState::Stopped).then_some(now),
            process: None,
            cause: None,
        };
        self.write(move |tx| tx.insert_instance(&record)).await;
        id
    }

    pub(crate) async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut WriteTx) -> Result<T, StoreError> + Send + 'static,
    ) -> T {
        self.state.store.write::<_, StoreError, _>(change).await.expect("a write")
    }
}

pub(crate) fn web() -> ark_model::AppName {
    "web".parse().expect("a name")
}

pub(crate) fn deploy_body(launch: &str) -> Value {
    json!({ "launch": { "file": "launch/web.yml", "text": launch } })
}

/// A launch file that any engine runs.
pub(crate) const LAUNCH: &str = "run: {type: docker, command: [./web]}\n\
    expose: [{name: default, port: 80, health_check: {type: http, path: /_health}}]\n";

/// A directory with one file.
pub(crate) fn manifest(content: &[u8]) -> (Manifest, Sha256) {
    let sha256 = Sha256::of(content);
    let node = ManifestNode::File { sha256, bytes: content.len() as u64, executable: true };
    (Manifest { entries: vec![ManifestEntry { path: "web".into(), node }] }, sha256)
}
