//! The server under measurement: real API, loops and store; engine and gateway that answer at once.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use ark_engine::fake::{Behaviour, FakeEngine};
use ark_model::BootId;
use ark_model::api::Role;
use ark_model::gateway::{Counters, Readiness, Report, TargetReport};
use ark_model::route::RouteTable;
use ark_server::auth::{AllowedHosts, new_token};
use ark_server::gateway_link::{Routes, take_report};
use ark_server::observations::Observations;
use ark_server::state::ServerState;
use ark_server::webhooks::HttpWebhooks;
use ark_server::workflows::{SystemEntropy, WorkflowWorld, Workflows};
use ark_server::world::{
    CONTROLLER_LEASE, Fence, Settings, SystemClock, SystemHost, SystemIds, World,
};
use ark_server::{api, tasks};
use ark_store::{Blobs, Keyring, Store, StoreError};
use jiff::Timestamp;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::sizes::Sizes;

pub(crate) struct Server {
    pub(crate) sizes: Sizes,
    pub(crate) store: Store,
    pub(crate) observations: Arc<Observations>,
    pub(crate) address: SocketAddr,
    pub(crate) token: String,
    pub(crate) client: reqwest::Client,
    _dir: tempfile::TempDir,
}

impl Server {
    pub(crate) async fn start(sizes: Sizes) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let now = Timestamp::now();
        let store = Store::open(dir.path(), now).expect("a store");
        let (blobs, keyring) =
            (Blobs::open(dir.path()).expect("blobs"), Keyring::open(dir.path()).expect("a key"));
        let engine =
            Arc::new(FakeEngine::new(Arc::new(Timestamp::now), Arc::new(|_| Behaviour::default())));
        let observations = Arc::new(Observations::default());
        let lease = store
            .write(move |tx| {
                tx.acquire_lease(CONTROLLER_LEASE, "bench", now, Duration::from_secs(3_600))
            })
            .await;
        let lease: Result<_, StoreError> = lease;
        let token = lease.expect("the store answers").expect("the lease is free").token;
        let world = World {
            store: store.clone(),
            blobs: blobs.clone(),
            keyring: Arc::new(keyring.clone()),
            engine: engine.clone(),
            observations: observations.clone(),
            route_changes: Arc::default(),
            halt: Arc::new(AtomicBool::new(false)),
            gateway_shutdown: watch::Sender::new(None),
            clock: Arc::new(SystemClock),
            ids: Arc::new(SystemIds),
            host: Arc::new(SystemHost),
            settings: Arc::new(Settings {
                instance_ports: 20_000..=60_000,
                ..Settings::new("/var/lib/ark".into())
            }),
            webhooks: Arc::new(HttpWebhooks::default()),
            fence: Fence { token },
            planted: None,
        };
        let (raw, record) = new_token("bench", Role::Admin, "bench", now).expect("randomness");
        let inserted: Result<(), StoreError> =
            store.write(move |tx| tx.insert_token(&record)).await;
        inserted.expect("a token");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let settings = ark_server::state::Settings {
            data_dir: dir.path().to_owned(),
            api: address,
            version: "bench".into(),
            // Up for an hour, as far as its charts go.
            started_at: now - jiff::SignedDuration::from_hours(1),
            allowed_hosts: AllowedHosts::default(),
        };
        let workflows = Workflows::new(WorkflowWorld {
            store: store.clone(),
            clock: world.clock.clone(),
            entropy: Arc::new(SystemEntropy),
            fence: world.fence,
        });
        let (kept, seen) = (store.clone(), observations.clone());
        let state =
            ServerState::new(store, blobs, keyring, engine, observations, workflows, settings);
        tokio::spawn(api::serve(listener, Arc::new(state)));
        tokio::spawn(gateway(world.clone()));
        tokio::spawn(tasks::deployments::run(world.clone()));
        tokio::spawn(tasks::housekeeping::run(world));
        let client = reqwest::Client::new();
        Self {
            sizes,
            store: kept,
            observations: seen,
            address,
            token: raw.expose().to_owned(),
            client,
            _dir: dir,
        }
    }

    /// An operation of Step Functions' API.
    pub(crate) async fn states(&self, operation: &str, input: &Value) {
        let request = self.client.post(format!("http://{}/", self.address));
        let request = request.header("x-amz-target", format!("AWSStepFunctions.{operation}"));
        let answer = request.bearer_auth(&self.token).json(input).send().await;
        assert_eq!(answer.expect("an answer").status(), 200, "{operation}");
    }

    /// Asks for something to be made.
    pub(crate) async fn make(&self, method: reqwest::Method, path: &str, input: &Value) {
        let request = self.client.request(method, format!("http://{}{path}", self.address));
        let answer = request.bearer_auth(&self.token).json(input).send().await.expect("an answer");
        assert!(
            answer.status().is_success(),
            "{path}: {}",
            answer.text().await.unwrap_or_default()
        );
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let request = self.client.get(format!("http://{}{path}", self.address));
        let answer = request.bearer_auth(&self.token).send().await.expect("an answer");
        answer.json().await.expect("JSON")
    }
}

/// A gateway that applies every table at once and finds every target ready.
async fn gateway(world: World) {
    let boot = BootId(uuid::Uuid::now_v7());
    world.observations.connected(boot, 1, Vec::new(), Timestamp::now());
    let mut routes = Routes::default();
    let mut ready: BTreeMap<ark_model::InstanceId, Timestamp> = BTreeMap::new();
    let mut seq = 0;
    loop {
        if let Ok(Some(table)) = routes.next_table(&world).await {
            routes.acknowledged(&world, table.generation);
            seq += 1;
            let report = report(boot, seq, &table, &mut ready);
            let _ = take_report(&world, &report).await;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What changed since the report before, as the real gateway says it.
fn report(
    boot: BootId,
    seq: u64,
    table: &RouteTable,
    ready: &mut BTreeMap<ark_model::InstanceId, Timestamp>,
) -> Report {
    let now = Timestamp::now();
    let mut targets = Vec::new();
    for route in &table.routes {
        for target in &route.targets {
            let draining = matches!(target.state, ark_model::route::TargetState::Draining { .. });
            if ready.contains_key(&target.instance) && !draining {
                continue;
            }
            let since = *ready.entry(target.instance).or_insert(now);
            let readiness =
                Readiness { ready: true, since, ever: true, failures: 0, last_failure: None };
            targets.push(TargetReport {
                route: route.key.clone(),
                instance: target.instance,
                release: target.release,
                readiness: Some(readiness),
                in_flight: 0,
                streams: 0,
                counters: Counters::default(),
            });
        }
    }
    let applied = Some(table.generation);
    Report {
        boot,
        seq,
        applied,
        targets,
        routes: Vec::new(),
        refusals: Default::default(),
        lost: Vec::new(),
        certificates: Vec::new(),
        calls: Vec::new(),
    }
}
