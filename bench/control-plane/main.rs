//! What the control plane costs with 300 apps of 10 instances on the fake engine: deployments per
//! minute, memory, API reads per second, pages of the console with an hour of traffic behind them.
//! The store is on disk and every write durable; API, loops and store are the real ones; engine and
//! gateway answer at once.
//!
//! `cargo bench -p ark-server --bench control-plane`

#![allow(clippy::print_stdout, reason = "the result of a benchmark is what it prints")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

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
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

const APPS: usize = 300;
const INSTANCES: usize = 10;
/// Clients that deploy, and that read, at the same time.
const CLIENTS: usize = 16;
const READS: Duration = Duration::from_secs(5);
/// Executions of the workflow whose pages are read, and rows of one transaction.
const EXECUTIONS: usize = 100_000;
const EXECUTIONS_AT_ONCE: usize = 5_000;
/// How often each page of the console is read, and how many are open at once.
const PAGE_READS: usize = 60;
const LIVE_PAGES: usize = 200;
/// Slices of ten seconds in the hour of traffic, and requests of each app in one.
const SLICES: i64 = 360;
const SLICE_REQUESTS: u64 = 50;

fn main() {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(tracing::Level::WARN)
        .init();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(run());
}

async fn run() {
    let server = Server::start().await;
    println!("idle: {:.1} MB resident", resident_mb());
    let first = deploy_all(&server, 1).await;
    println!(
        "first deployment of {APPS} apps, {} instances: {:.1} s, {:.0} deployments a minute",
        APPS * INSTANCES,
        first.as_secs_f64(),
        APPS as f64 * 60.0 / first.as_secs_f64()
    );
    println!("with {APPS} apps of {INSTANCES} instances: {:.1} MB resident", resident_mb());
    let cpu = cpu_seconds();
    tokio::time::sleep(Duration::from_secs(10)).await;
    println!("at rest with them: {:.1} % of one core", (cpu_seconds() - cpu) * 10.0);
    let (count, p99) = read_for(&server, STATUS).await;
    println!(
        "status of 300 apps, at rest: {:.0} reads a second, p99 {:.1} ms",
        count as f64 / READS.as_secs_f64(),
        p99.as_secs_f64() * 1_000.0
    );
    let second = deploy_all(&server, 2).await;
    println!(
        "rolling all of them to a second release: {:.1} s, {:.0} deployments a minute",
        second.as_secs_f64(),
        APPS as f64 * 60.0 / second.as_secs_f64()
    );
    for (what, path) in [
        ("status of 300 apps", STATUS),
        ("one app", "/v1/environments/production/apps/app-7"),
        ("50 deployments", "/v1/deployments?limit=50"),
    ] {
        let (count, p99) = read_for(&server, path).await;
        println!(
            "{what}: {:.0} reads a second, p99 {:.1} ms",
            count as f64 / READS.as_secs_f64(),
            p99.as_secs_f64() * 1_000.0
        );
    }
    let resident = resident_mb();
    traffic(&server).await;
    println!("with an hour of traffic of all of them: {:.1} MB more", resident_mb() - resident);
    let (count, p99) = read_for(&server, STATUS).await;
    println!(
        "status of 300 apps with traffic: {:.0} reads a second, p99 {:.1} ms",
        count as f64 / READS.as_secs_f64(),
        p99.as_secs_f64() * 1_000.0
    );
    pages(&server).await;
}

/// An hour in which every app had requests in each slice of time.
async fn traffic(server: &Server) {
    let alive = server.store.read::<_, StoreError, _>(ark_store::ReadTx::alive_instances).await;
    let mut one_of_each = BTreeMap::new();
    for instance in alive.expect("the store answers") {
        one_of_each.insert(instance.app.clone(), instance);
    }
    let boot = BootId(uuid::Uuid::now_v7());
    let now = Timestamp::now();
    let mut counters = Counters::default();
    for slice in 0..=SLICES {
        let at = now - jiff::SignedDuration::from_secs((SLICES - slice) * 10);
        counters.served += SLICE_REQUESTS;
        for n in 0..SLICE_REQUESTS {
            // 1 to 100 ms, most of them short.
            let spread = (n * 7_919 + slice as u64 * 104_729) % 1_000;
            counters.latency_us.record(1_000 + spread * spread / 10);
        }
        let target = |instance: &ark_model::instance::InstanceRecord| TargetReport {
            route: ark_model::route::RouteKey {
                env: instance.env.clone(),
                app: instance.app.clone(),
                expose: "http".into(),
            },
            instance: instance.id,
            release: instance.release,
            readiness: Some(Readiness {
                ready: true,
                since: now,
                ever: true,
                failures: 0,
                last_failure: None,
            }),
            in_flight: 0,
            streams: 0,
            counters: counters.clone(),
        };
        let report = Report {
            boot,
            seq: slice as u64 + 1,
            applied: None,
            targets: one_of_each.values().map(target).collect(),
            routes: Vec::new(),
            refusals: Default::default(),
            lost: Vec::new(),
            certificates: Vec::new(),
            calls: Vec::new(),
        };
        server.observations.report(&report, at);
    }
}

/// The console over the same 300 apps: how long each page takes, one reader at a time, how large it
/// is, and what open live pages cost.
async fn pages(server: &Server) {
    // The name that browsers take for this machine.
    let at = |path: &str| format!("http://ark.localhost:{}{path}", server.address.port());
    let form = format!("token={}&next=/", server.token);
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    let client = client.no_proxy().resolve("ark.localhost", server.address);
    let client = client.build().expect("a client");
    let request = client.post(at("/sign-in")).body(form);
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    let signed = request.send().await.expect("an answer");
    let cookie = signed.headers()["set-cookie"].to_str().expect("text");
    let cookie = cookie.split(';').next().expect("a value").to_owned();
    executions(server).await;
    let deployments = server.get("/v1/deployments?limit=1").await;
    let id = deployments["items"][0]["id"].as_str().expect("a deployment").to_owned();
    others(server).await;
    let mut addresses: Vec<String> =
        ark_console::PAGES.iter().map(|pattern| address(pattern, &id)).collect();
    // The same pages, asked for something that may take longer.
    for path in [
        "/e/production/app-7/deploy?from=production&number=1",
        "/workflows/sorting?status=unresolved",
        "/workflows/sorting?q=nr-05",
        "/workflows/sorting?error=bad",
    ] {
        addresses.push(path.to_owned());
    }
    for path in addresses {
        let mut times = Vec::new();
        let mut bytes = 0;
        for _ in 0..PAGE_READS {
            let begun = Instant::now();
            let request = client.get(at(&path)).header("cookie", &cookie);
            let answer = request.send().await.expect("an answer");
            assert_eq!(answer.status(), 200, "{path}");
            bytes = answer.bytes().await.expect("a body").len();
            times.push(begun.elapsed().as_secs_f64() * 1_000.0);
        }
        let first = times[0];
        times.sort_by(f64::total_cmp);
        println!(
            "page {path}: {:.1} kB, first {first:.1} ms, median {:.1} ms, p95 {:.1} ms",
            bytes as f64 / 1_000.0,
            times[times.len() / 2],
            times[times.len() * 95 / 100],
        );
    }
    let before = resident_mb();
    let mut open = Vec::new();
    for _ in 0..LIVE_PAGES {
        let request = client.get(at("/live")).header("cookie", &cookie);
        open.push(request.send().await.expect("a stream"));
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    println!("{} live pages (with their client): {:.1} MB", open.len(), resident_mb() - before);
    // Something happens: all of them are fetched anew at once.
    let begun = Instant::now();
    let all = (0..LIVE_PAGES).map(|_| async {
        let request = client.get(at("/")).header("cookie", &cookie);
        request.send().await.expect("an answer").bytes().await.expect("a body").len()
    });
    let bytes: usize = futures::future::join_all(all).await.into_iter().sum();
    println!(
        "all of them fetched anew at once: {:.2} s, {:.1} MB of pages, {:.1} MB more resident (their \
         client's buffers included)",
        begun.elapsed().as_secs_f64(),
        bytes as f64 / 1e6,
        resident_mb() - before
    );
}

/// A page of the table, with the names of what there is here.
fn address(pattern: &str, deployment: &str) -> String {
    let named = [
        ("{env}", "production"),
        ("{app}", "app-7"),
        ("{id}", deployment),
        ("{what}", "scale"),
        ("{run}", "1"),
        ("{hook}", "shop"),
        ("{host}", "local"),
        ("{wish}", "drain"),
        ("{workflow}", "sorting"),
        ("{execution}", "nr-050000"),
        ("{act}", "redrive"),
        ("{code}", "none"),
    ];
    let path = named.iter().fold(pattern.to_owned(), |path, (part, name)| path.replace(part, name));
    match pattern {
        "/e/{env}/{app}/diff" => format!("{path}?from=1&to=2"),
        _ => path,
    }
}

/// What some pages are about: a run that waits, and a push hook.
async fn others(server: &Server) {
    let run = json!({ "args": ["/bin/true"] });
    server.make(reqwest::Method::POST, "/v1/environments/production/apps/app-7/runs", &run).await;
    let hook = json!({
        "repository": "/srv/git/shop.git", "branch": "main", "secret": "0123456789abcdef0123456789abcdef"
    });
    server.make(reqwest::Method::PUT, "/v1/push-hooks/shop", &hook).await;
}

/// A workflow with 100,000 executions, one of which failed.
async fn executions(server: &Server) {
    let machine = json!({ "StartAt": "Look", "States": {
        "Look": { "Type": "Choice", "Default": "Done", "Choices": [
            { "Variable": "$.bad", "IsPresent": true, "Next": "Refuse" }
        ]},
        "Refuse": { "Type": "Fail", "Error": "Refused", "Cause": "bad" },
        "Done": { "Type": "Succeed" }
    }});
    let create = json!({ "name": "sorting", "definition": machine.to_string(), "publish": true,
        "roleArn": "arn:aws:iam::000000000000:role/x" });
    server.states("CreateStateMachine", &create).await;
    for (name, input) in [("good", "{}"), ("bad", "{\"bad\": 1}")] {
        let arn = "arn:aws:states:us-east-1:000000000000:stateMachine:sorting:1";
        let start = json!({ "stateMachineArn": arn, "name": name, "input": input });
        server.states("StartExecution", &start).await;
    }
    let machine = server.store.read::<_, StoreError, _>(|tx| Ok(tx.machines(0, 1)?.remove(0).id));
    let machine = machine.await.expect("a workflow");
    for begin in (0..EXECUTIONS).step_by(EXECUTIONS_AT_ONCE) {
        let written = server.store.write::<_, StoreError, _>(move |tx| {
            for n in begin..begin + EXECUTIONS_AT_ONCE {
                let like = if n == EXECUTIONS / 2 { "bad" } else { "good" };
                let mut row = tx.execution_by_name(machine, like)?.expect("an execution");
                let history = tx.history_from(row.id, 1, 100)?;
                (row.id, row.name) = (0, format!("nr-{n:06}"));
                let id = tx.insert_execution(&row)?;
                for (seq, events) in history {
                    tx.append_history(id, seq, &events)?;
                }
            }
            Ok(())
        });
        written.await.expect("the store is filled");
    }
}

struct Server {
    store: Store,
    observations: Arc<Observations>,
    address: SocketAddr,
    token: String,
    client: reqwest::Client,
    _dir: tempfile::TempDir,
}

impl Server {
    async fn start() -> Self {
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
            store: kept,
            observations: seen,
            address,
            token: raw.expose().to_owned(),
            client,
            _dir: dir,
        }
    }

    /// An operation of Step Functions' API.
    async fn states(&self, operation: &str, input: &Value) {
        let request = self.client.post(format!("http://{}/", self.address));
        let request = request.header("x-amz-target", format!("AWSStepFunctions.{operation}"));
        let answer = request.bearer_auth(&self.token).json(input).send().await;
        assert_eq!(answer.expect("an answer").status(), 200, "{operation}");
    }

    /// Asks for something to be made.
    async fn make(&self, method: reqwest::Method, path: &str, input: &Value) {
        let request = self.client.request(method, format!("http://{}{path}", self.address));
        let answer = request.bearer_auth(&self.token).json(input).send().await.expect("an answer");
        assert!(
            answer.status().is_success(),
            "{path}: {}",
            answer.text().await.unwrap_or_default()
        );
    }

    async fn get(&self, path: &str) -> Value {
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

const STATUS: &str = "/v1/environments/production/apps?limit=500";

async fn deploy_all(server: &Server, version: u32) -> Duration {
    let begun = Instant::now();
    let apps: Vec<usize> = (0..APPS).collect();
    let all = apps.chunks(APPS.div_ceil(CLIENTS)).map(|apps| async move {
        for app in apps {
            let text = format!(
                "run: {{command: [./web]}}\nexpose: [{{name: http, port: 80}}]\n\
                 autoscaling: {{min_count: {INSTANCES}, max_count: {INSTANCES}}}\n\
                 deploy: {{min_healthy_time: 0s}}\nenv_defaults: {{VERSION: \"{version}\"}}\n"
            );
            let body = json!({"launch": {"file": format!("launch/app-{app}.yml"), "text": text}});
            let address = server.address;
            let url =
                format!("http://{address}/v1/environments/production/apps/app-{app}/deployments");
            let request = server.client.post(url).bearer_auth(&server.token).json(&body);
            let answer = request.send().await.expect("an answer");
            assert_eq!(answer.status(), 202, "{}", answer.text().await.unwrap_or_default());
        }
    });
    futures::future::join_all(all).await;
    loop {
        let rows = server.get("/v1/environments/production/apps?limit=500").await;
        let items = rows["items"].as_array().or(rows.as_array()).expect("rows").clone();
        let done = items.iter().filter(|row| is_done(row, version)).count();
        if done == APPS {
            return begun.elapsed();
        }
        assert!(begun.elapsed() < Duration::from_secs(600), "{done} of {APPS} done");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn is_done(row: &Value, version: u32) -> bool {
    row["live"]["number"].as_u64().or(row["live"].as_u64()) == Some(u64::from(version))
        && row["running_deployment"].is_null()
}

async fn read_for(server: &Server, path: &str) -> (usize, Duration) {
    let until = Instant::now() + READS;
    let clients = (0..CLIENTS).map(|_| async move {
        let mut times = Vec::new();
        while Instant::now() < until {
            let begun = Instant::now();
            server.get(path).await;
            times.push(begun.elapsed());
        }
        times
    });
    let mut times: Vec<Duration> =
        futures::future::join_all(clients).await.into_iter().flatten().collect();
    times.sort_unstable();
    let p99 = times[times.len() - 1 - times.len() / 100];
    (times.len(), p99)
}

fn resident_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    let kb: f64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0.0);
    kb / 1_024.0
}

fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let field = |n: usize| -> f64 {
        after.split_whitespace().nth(n).and_then(|t| t.parse().ok()).unwrap_or(0.0)
    };
    (field(11) + field(12)) / 100.0
}
