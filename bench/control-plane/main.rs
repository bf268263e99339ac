//! What the control plane costs with 300 apps of 10 instances on the fake engine: deployments per
//! minute, memory, API reads per second, pages of the console with an hour of traffic behind them.
//! The store is on disk and every write durable; API, loops and store are the real ones; engine and
//! gateway answer at once. Behind them stand a long past (a million events, 10,000 versions of a
//! configuration, 300 environments) and an environment that the console draws.
//!
//! `cargo bench -p ark-server --bench control-plane [-- small]`

#![allow(clippy::print_stdout, reason = "the result of a benchmark is what it prints")]

mod pages;
mod past;
mod process;
mod server;
mod sizes;
mod traffic;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::process::{cpu_seconds, resident_mb};
use crate::server::Server;
use crate::sizes::Sizes;

/// Clients that deploy, and that read, at the same time.
const CLIENTS: usize = 16;

fn main() {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(tracing::Level::WARN)
        .init();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let small = std::env::args().any(|argument| argument == "small");
    runtime.block_on(run(if small { Sizes::SMALL } else { Sizes::FULL }));
}

async fn run(sizes: Sizes) {
    let Sizes { apps, instances, .. } = sizes;
    let server = Server::start(sizes).await;
    println!("idle: {:.1} MB resident", resident_mb());
    let first = deploy_all(&server, 1).await;
    println!(
        "first deployment of {apps} apps, {} instances: {:.1} s, {:.0} deployments a minute",
        apps * instances,
        first.as_secs_f64(),
        apps as f64 * 60.0 / first.as_secs_f64()
    );
    println!("with {apps} apps of {instances} instances: {:.1} MB resident", resident_mb());
    let cpu = cpu_seconds();
    tokio::time::sleep(Duration::from_secs(10)).await;
    println!("at rest with them: {:.1} % of one core", (cpu_seconds() - cpu) * 10.0);
    let (count, p99) = read_for(&server, STATUS).await;
    println!(
        "status of {apps} apps, at rest: {:.0} reads a second, p99 {:.1} ms",
        count as f64 / sizes.read_seconds as f64,
        p99.as_secs_f64() * 1_000.0
    );
    let second = deploy_all(&server, 2).await;
    println!(
        "rolling all of them to a second release: {:.1} s, {:.0} deployments a minute",
        second.as_secs_f64(),
        apps as f64 * 60.0 / second.as_secs_f64()
    );
    for (what, path) in [
        ("status of all apps", STATUS),
        ("one app", "/v1/environments/production/apps/app-7"),
        ("50 deployments", "/v1/deployments?limit=50"),
    ] {
        let (count, p99) = read_for(&server, path).await;
        println!(
            "{what}: {:.0} reads a second, p99 {:.1} ms",
            count as f64 / sizes.read_seconds as f64,
            p99.as_secs_f64() * 1_000.0
        );
    }
    let resident = resident_mb();
    traffic::traffic(&server).await;
    println!("with an hour of traffic of all of them: {:.1} MB more", resident_mb() - resident);
    let (count, p99) = read_for(&server, STATUS).await;
    println!(
        "status of {apps} apps with traffic: {:.0} reads a second, p99 {:.1} ms",
        count as f64 / sizes.read_seconds as f64,
        p99.as_secs_f64() * 1_000.0
    );
    past::past(&server).await;
    for (what, path) in [
        ("one app with a long past", "/v1/environments/production/apps/app-7"),
        ("its configuration", "/v1/environments/production/apps/app-7/config"),
        ("its newest events", "/v1/events?env=production&app=app-7&newest=true"),
    ] {
        let (count, p99) = read_for(&server, path).await;
        println!(
            "{what}: {:.0} reads a second, p99 {:.1} ms",
            count as f64 / sizes.read_seconds as f64,
            p99.as_secs_f64() * 1_000.0
        );
    }
    pages::pages(&server).await;
}

const STATUS: &str = "/v1/environments/production/apps?limit=500";

async fn deploy_all(server: &Server, version: u32) -> Duration {
    let Sizes { apps: all_apps, instances, .. } = server.sizes;
    let begun = Instant::now();
    let apps: Vec<usize> = (0..all_apps).collect();
    let all = apps.chunks(all_apps.div_ceil(CLIENTS)).map(|apps| async move {
        for app in apps {
            let text = format!(
                "run: {{command: [./web]}}\nexpose: [{{name: http, port: 80}}]\n\
                 autoscaling: {{min_count: {instances}, max_count: {instances}}}\n\
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
        if done == all_apps {
            return begun.elapsed();
        }
        assert!(begun.elapsed() < Duration::from_secs(600), "{done} of {all_apps} done");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn is_done(row: &Value, version: u32) -> bool {
    row["live"]["number"].as_u64().or(row["live"].as_u64()) == Some(u64::from(version))
        && row["running_deployment"].is_null()
}

async fn read_for(server: &Server, path: &str) -> (usize, Duration) {
    let until = Instant::now() + Duration::from_secs(server.sizes.read_seconds);
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
