//! The pages of the console, and what they are about.

use std::time::{Duration, Instant};

use ark_store::StoreError;
use serde_json::json;

use crate::past;
use crate::process::{cpu_seconds, resident_mb};
use crate::server::Server;

/// Rows of one transaction.
const EXECUTIONS_AT_ONCE: usize = 5_000;
const COMMIT_EVERY: Duration = Duration::from_millis(50);

/// Every page of the console: how long it takes, one reader at a time, and how large it is; then what
/// open live pages cost.
pub(crate) async fn pages(server: &Server) {
    let sizes = server.sizes;
    let at = |path: &str| at(server, path);
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
    let failed = failed_execution(sizes.executions);
    let mut addresses: Vec<String> =
        ark_console::PAGES.iter().map(|pattern| address(pattern, &id, &failed)).collect();
    // The same pages, asked for something that may take longer.
    for path in [
        "/e/production/app-7/deploy?from=production&number=1",
        "/workflows/sorting?status=unresolved",
        "/workflows/sorting?q=nr-05",
        "/workflows/sorting?error=bad",
        "/?q=app-7",
        "/environments/drawn",
        "/events?env=production",
        "/events?app=app-7",
        "/events?kind=certificate",
        "/events?env=production&app=app-7",
        "/events?env=production&kind=certificate",
        "/events?env=production&app=app-7&kind=certificate",
    ] {
        addresses.push(path.to_owned());
    }
    for path in addresses {
        let mut times = Vec::new();
        let mut bytes = 0;
        for _ in 0..sizes.page_reads {
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
    live(server, &client, &cookie).await;
}

/// The name that browsers take for this machine.
fn at(server: &Server, path: &str) -> String {
    format!("http://ark.localhost:{}{path}", server.address.port())
}

/// What open pages cost: by themselves, while something happens that none of them shows, and when
/// all of them are fetched anew.
async fn live(server: &Server, client: &reqwest::Client, cookie: &str) {
    let sizes = server.sizes;
    let before = resident_mb();
    let mut open = Vec::new();
    for n in 0..sizes.live_pages {
        // As the pages of apps ask for it.
        let path = format!("/live?env=production&app=app-{}", n % sizes.apps);
        let request = client.get(at(server, &path)).header("cookie", cookie);
        open.push(request.send().await.expect("a stream"));
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    println!("{} live pages (with their client): {:.1} MB", open.len(), resident_mb() - before);
    let rest = cpu_of(Duration::from_secs(3)).await;
    let commits = async {
        let mut every = tokio::time::interval(COMMIT_EVERY);
        loop {
            every.tick().await;
            past::happens_elsewhere(server).await;
        }
    };
    let busy = tokio::select! {
        busy = cpu_of(Duration::from_secs(5)) => busy,
        () = commits => unreachable!("commits have no end"),
    };
    println!(
        "{} live pages, each of an app: {:.1} % of one core at rest, {:.1} % with {:.0} commits a second \
         that concern none of them",
        open.len(),
        rest,
        busy,
        1.0 / COMMIT_EVERY.as_secs_f64(),
    );
    // Something happens: all of them are fetched anew at once.
    let begun = Instant::now();
    let all = (0..sizes.live_pages).map(|_| async {
        let request = client.get(at(server, "/")).header("cookie", cookie);
        let mut answer = request.send().await.expect("an answer");
        // Thrown away as it comes: what is measured is the server.
        let mut bytes = 0;
        while let Some(piece) = answer.chunk().await.expect("a body") {
            bytes += piece.len();
        }
        bytes
    });
    let bytes: usize = futures::future::join_all(all).await.into_iter().sum();
    println!(
        "all of them fetched anew at once: {:.2} s, {:.1} MB of pages, {:.1} MB more resident (the \
         client's connections included)",
        begun.elapsed().as_secs_f64(),
        bytes as f64 / 1e6,
        resident_mb() - before
    );
}

/// Percent of one core that the process takes for so long.
async fn cpu_of(time: Duration) -> f64 {
    let before = cpu_seconds();
    tokio::time::sleep(time).await;
    (cpu_seconds() - before) * 100.0 / time.as_secs_f64()
}

/// A page of the table, with the names of what there is here.
fn address(pattern: &str, deployment: &str, execution: &str) -> String {
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
        ("{execution}", execution),
        ("{act}", "redrive"),
        ("{code}", "none"),
    ];
    let path = named.iter().fold(pattern.to_owned(), |path, (part, name)| path.replace(part, name));
    assert!(!path.contains('{'), "{path}: what is the name of that?");
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

fn execution(n: usize) -> String {
    format!("nr-{n:06}")
}

fn failed_execution(executions: usize) -> String {
    execution(executions / 2)
}

/// A workflow with many executions, one of which failed.
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
    let executions = server.sizes.executions;
    for begin in (0..executions).step_by(EXECUTIONS_AT_ONCE) {
        let written = server.store.write::<_, StoreError, _>(move |tx| {
            for n in begin..executions.min(begin + EXECUTIONS_AT_ONCE) {
                let like = if n == executions / 2 { "bad" } else { "good" };
                let mut row = tx.execution_by_name(machine, like)?.expect("an execution");
                let history = tx.history_from(row.id, 1, 100)?;
                (row.id, row.name) = (0, execution(n));
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
