//! Every page at its limits: names as long as they may be, texts full of what markup escapes, lists as
//! long as the API answers them. Each stays under 150,000 bytes, and says what it has no room for.

#![recursion_limit = "256"]

mod table;

use ark_console::PAGES;
use serde_json::{Value, json};

use table::{Table, app, environment, get, receipt, server, text};

const AT: &str = "2026-01-01T00:00:00Z";
const ID: &str = "0197a1b2-0000-7000-8000-000000000001";
const PAGE_BYTES_MAX: usize = 150_000;

/// A text of so many characters, most of which are longer in markup.
fn long(chars: usize) -> String {
    "<&\"'>é plain ".chars().cycle().take(chars).collect()
}

/// A name of an app as long as it may be.
fn name(n: usize) -> String {
    format!("{}-{n:05}", "n".repeat(57))
}

/// One of an environment.
fn env_name(n: usize) -> String {
    format!("{}-{n:05}", "e".repeat(34))
}

fn many(n: usize, one: impl Fn(usize) -> Value) -> Value {
    json!({ "items": (0..n).map(one).collect::<Vec<_>>(), "next": "more" })
}

fn crashed(n: usize) -> Value {
    json!({
        "kind": "crashed", "instance": name(n), "log": vec![long(500); 20],
        "exit": { "code": 1, "signal": null, "out_of_memory": false, "requested": false, "at": AT }
    })
}

fn deployment() -> Value {
    let side = json!({ "requests": 10, "failed": 1, "p99_ms": 3.5 });
    let findings: Vec<Value> = (0..30)
        .map(|_| json!({ "measure": "errors", "outcome": "worse", "p_value": 0.01, "words": long(500) }))
        .collect();
    let judgement = json!({
        "at": AT, "verdict": "fail", "new": { "release": 2, "requests": 10 },
        "old": { "release": 1, "requests": 90 }, "findings": findings
    });
    let hook = json!({
        "name": long(200), "stage": "pre_deploy", "timeout_ms": 1, "state": "failed",
        "what": { "kind": "command", "command": vec![long(200); 10] }, "attempts": 2,
        "begun_at": AT, "ended_at": AT, "note": long(500), "log": vec![long(500); 20]
    });
    let step = json!({ "words": long(500), "state": "current", "approved_by": long(100) });
    json!({
        "id": ID, "env": env_name(0), "app": name(0), "kind": "deploy", "release": 2, "base": 1,
        "strategy": "canary", "state": "stepping", "exit_code": null, "created_at": AT,
        "created_by": long(100), "reason": long(500), "commit": long(500), "started_at": AT,
        "live_at": AT, "returning_at": AT, "finished_at": null, "diagnosis": crashed(0),
        "diagnosis_words": long(2_000),
        "failures": (1..=20).map(crashed).collect::<Vec<_>>(),
        "abort": { "by": long(100), "reason": long(500), "superseded": false },
        "receipt": receipt(), "notes": vec![long(500); 30], "artifact": long(512),
        "config_version": 1, "config_changed": vec![long(200); 2_000], "progress": null,
        "rollout": {
            "steps": vec![step; 100], "step": 1, "since": AT, "percent": 50, "in_force": true,
            "asks": { "since": AT, "what": "approval" },
            "paused": { "by": long(100), "at": AT, "reason": long(500) }, "keep_until": null,
            "new": side.clone(), "old": side,
            "judgements": vec![json!({ "step": 0, "judgement": judgement }); 50]
        },
        "hooks": vec![hook; 20],
        "watch": { "release": 2, "base": 1, "since": AT, "until": AT, "end": null,
            "judgement": null }
    })
}

fn row(env: usize, n: usize) -> Value {
    let mut row = app(&name(n));
    row["env"] = json!(env_name(env));
    row["last_deployment"]["created_by"] = json!(long(100));
    row["last_deployment"]["diagnosis"] = json!(long(600));
    row["running_deployment"] = row["last_deployment"].clone();
    row["running_deployment"]["state"] = json!("stepping");
    row["kind"] = json!(["service", "job", "daemon"][n % 3]);
    row
}

fn detail() -> Value {
    let mut detail = row(0, 0);
    for (name, value) in [
        ("addresses", json!(vec![json!({ "expose": long(63), "url": long(300) }); 100])),
        ("scale", json!(2)),
        ("previous", json!(1)),
        ("dependencies", json!((0..300).map(name).collect::<Vec<_>>())),
        ("failures", json!(7)),
        ("start_after", json!("2036-01-01T00:00:00Z")),
        ("config_version", json!(1)),
        ("not_enforced", json!(vec![json!({ "path": long(500), "reason": long(500) }); 100])),
    ] {
        detail[name] = value;
    }
    detail
}

fn history(slices: usize) -> Value {
    let side = |release: u64| json!({ "release": release, "served": 123_456, "failed": 12_345, "p99_ms": 1_234.5 });
    let slice = json!({ "at": AT, "sides": [side(3), side(2), side(1)], "p50_ms": 1_111.1,
        "p95_ms": 2_222.2, "p99_ms": 3_333.3 });
    json!({ "slice_s": 60, "slices": vec![slice; slices] })
}

fn differences() -> (Value, Value, Value) {
    let config = json!({ "name": long(200), "change": "changed", "secret": false,
        "from": long(300), "to": long(300) });
    let definition = json!({ "path": long(300), "change": "changed", "from": long(300),
        "to": long(300) });
    (
        json!({ "from": long(512), "to": long(512) }),
        json!(vec![config; 250]),
        json!(vec![definition; 250]),
    )
}

fn release(number: u64) -> Value {
    json!({
        "env": env_name(0), "app": name(0), "number": number, "digest": "a".repeat(64),
        "artifact": { "kind": "image", "reference": long(512), "digest": null },
        "config_version": 1, "created_at": AT, "created_by": long(100), "commit": long(500),
        "live": false
    })
}

fn event(seq: usize) -> Value {
    json!({
        "seq": seq, "at": AT, "kind": "deployment_progress", "by": long(100), "env": env_name(0),
        "app": name(0), "deployment": ID, "instance": null, "text": long(2_000)
    })
}

fn run(number: usize, attempts: usize) -> Value {
    let end = json!({ "kind": "exited", "exit": { "code": 3, "signal": null,
        "out_of_memory": false, "requested": false, "at": AT } });
    let attempt = json!({ "instance": name(0), "created_at": AT, "started_at": AT,
        "ended_at": AT, "end": end });
    json!({
        "env": env_name(0), "app": name(0), "number": number, "release": 2, "args": vec![long(500); 10],
        "cause": { "kind": "asked", "by": long(100) }, "retries": 100, "timeout_seconds": 60,
        "state": "ended", "start_after": null, "created_at": AT, "ended_at": AT,
        "outcome": { "kind": "stopped", "by": long(100), "why": long(500) }, "exit_code": 130,
        "attempts": vec![attempt; attempts]
    })
}

fn apps(table: Table) -> Table {
    let base = format!("/v1/environments/{}/apps/{}", env_name(0), name(0));
    let instance = |n: usize| {
        json!({
            "id": name(n), "uuid": ID, "env": env_name(0), "app": name(0), "release": 2,
            "node": "n".repeat(63), "state": "active", "pid": 7, "address": "127.0.0.1:4000",
            "ready": false, "not_ready_because": long(500), "ports": [], "in_flight": 1,
            "created_at": AT, "since": AT, "memory_bytes": 1000, "cause": null,
            "cause_words": long(500)
        })
    };
    let values: Vec<Value> = (0..2_000)
        .map(|n| {
            json!({ "name": format!("{}{n:04}", "N".repeat(196)), "value": long(300),
                "secret": false, "version": 1, "changed_at": AT, "changed_by": long(100) })
        })
        .collect();
    let (artifact, config, definition) = differences();
    let diff = json!({ "from": 1, "to": 2, "changes": true, "artifact": artifact,
        "config": config, "definition": definition });
    let plan = json!({
        "env": env_name(0), "app": name(0), "changes": true, "live": 1, "release": 2,
        "release_exists": true, "strategy": "rolling", "instances": 2,
        "artifact": diff["artifact"], "config": diff["config"], "definition": diff["definition"],
        "steps": vec![long(500); 200],
        "not_enforced": vec![json!({ "path": long(500), "reason": long(500) }); 100],
        "missing": vec![long(200); 500], "refusals": vec![long(500); 100], "remedy": [],
        "warnings": []
    });
    let line = json!({ "at": AT, "instance": name(0), "stream": "stderr", "text": long(5_000) });
    let mut slim = deployment();
    for list in ["failures", "hooks", "config_changed", "notes"] {
        slim[list] = json!([]);
    }
    slim["rollout"] = Value::Null;
    let releases: Vec<Value> = (1..=21).rev().map(release).collect();
    table
        .with(&format!("GET {base}"), detail())
        .with(&format!("GET {base}/instances?ended=true"), many(300, instance))
        .with_any(&format!("GET {base}/releases?limit="), json!({ "items": releases, "next": "1" }))
        .with(
            &format!("GET {base}/config"),
            json!({ "env": env_name(0), "app": name(0), "version": 1, "values": values }),
        )
        .with_any(&format!("GET {base}/diff?"), diff)
        .with_any(&format!("GET {base}/traffic?"), history(61))
        .with_any(&format!("GET {base}/logs?"), line)
        .with(&format!("POST {base}/plan"), plan.clone())
        .with(&format!("POST {base}/rollback/plan"), plan)
        .with_any(&format!("GET {base}/runs?"), many(50, |n| run(n, 3)))
        .with(&format!("GET {base}/runs/7"), run(7, 101))
        .with_lines(
            &format!("GET {base}/runs/7/logs?follow=false&tail=301"),
            &vec![
                json!({ "at": AT, "instance": name(0), "stream": "stderr",
                "text": long(5_000) });
                300
            ],
        )
        .with_any("GET /v1/deployments?", many(50, |_| slim.clone()))
        .with(
            &format!("GET /v1/deployments?env={}&app={}&limit=8", env_name(0), name(0)),
            many(8, |_| slim.clone()),
        )
        .with(&format!("GET /v1/deployments/{ID}"), deployment())
        .with(&format!("GET /v1/deployments/{ID}/traffic"), history(90))
        .with_any("GET /v1/events?", many(100, event))
}

fn environments(mut table: Table) -> Table {
    let named = |n: usize| {
        let mut made = environment(&env_name(n));
        made["owner"] = json!(long(100));
        made["lease"] = json!({ "seconds": 28_800, "until": AT, "by": long(100) });
        made["apps"] = json!([name(0)]);
        made["frozen"] = json!({ "window": long(63), "until": AT });
        made
    };
    let whole = |n: usize, apps: usize| {
        let mut made = named(n);
        made["apps"] = json!((0..apps).map(name).collect::<Vec<_>>());
        let window = json!({ "name": long(63), "effect": "deny", "cron": long(200), "seconds": 60,
            "time_zone": long(100) });
        made["freeze"] = json!(vec![window; 100]);
        made
    };
    let need = |n: usize| {
        json!({
            "from_env": env_name(0), "from": name(n % 60), "to_env": env_name(usize::from(n.is_multiple_of(7))),
            "to": name(n * 7 % 60), "known": "observed", "first_seen": AT, "last_seen": AT,
            "note": long(300)
        })
    };
    let needs = |n: usize| {
        let mut page = many(n, need);
        page["total"] = json!(12_345);
        page["blind"] = json!(long(1_000));
        page["since"] = json!(AT);
        page
    };
    let env = format!("/v1/environments/{}", env_name(0));
    for n in 1..500 {
        let rows = json!({ "items": (0..3).map(|m| row(n, m)).collect::<Vec<_>>() });
        table = table.with(&format!("GET /v1/environments/{}/apps?limit=500", env_name(n)), rows);
    }
    for n in 0..500 {
        let runs = format!("GET {env}/apps/{}/runs?limit=1", name(n));
        table = table.with(&runs, json!({ "items": [run(n, 3)] }));
    }
    table
        .with("GET /v1/environments?limit=500", many(500, named))
        .with_any("GET /v1/environments?limit=500&cursor=", many(500, |n| named(500 + n)))
        .with("GET /v1/environments?limit=100", many(100, named))
        .with(&format!("GET {env}"), whole(0, 60))
        .with(&format!("GET /v1/environments/{}", env_name(1)), whole(1, 1_000))
        .with(&format!("GET {env}/dependencies?limit=100"), needs(100))
        .with(&format!("GET {env}/dependencies?limit=500"), needs(500))
        .with_any(&format!("GET /v1/environments/{}/dependencies", env_name(1)), needs(100))
        .with(&format!("GET {env}/apps?limit=500"), many(500, |n| row(0, n)))
        .with_any(&format!("GET {env}/traffic?"), history(61))
        .with_any(&format!("GET /v1/environments/{}/traffic?", env_name(1)), history(61))
        .with_any(&format!("GET /v1/environments/{}/traffic?", env_name(2)), history(61))
        .with_any(&format!("GET {env}/apps/"), detail())
}

fn workflows(table: Table) -> Table {
    let summary = |n: usize| {
        json!({
            "workflow": name(0), "name": format!("{}{n:05}", "x".repeat(75)), "status": "FAILED",
            "started_at": AT, "stopped_at": AT, "error": long(200), "cause": long(200),
            "version": 3, "events": 25_000, "redrives": 2, "resolved": false
        })
    };
    let listed = |n: usize| {
        json!({ "name": format!("{}{n:05}", "ü".repeat(75)), "kind": "STANDARD", "created_at": AT,
            "version": 1, "running": 1_000, "unresolved": 7, "last": summary(n) })
    };
    let schedule = |n: usize| {
        json!({
            "name": format!("{}{n:05}", "s".repeat(75)), "paused": true, "created_at": AT,
            "next_at": AT, "schedule": { "workflow": name(0), "cron": long(200),
                "time_zone": long(100), "input": long(2_000) },
            "last": { "at": AT, "skipped": long(1_000) }
        })
    };
    let activity = |n: usize| {
        json!({ "name": format!("{}{n:05}", "é".repeat(75)), "ready": 1_000, "working": 0,
            "waiting": 0, "active_percent": 99.5 })
    };
    let cut = |chars: usize| json!({ "text": long(chars), "bytes": 262_144, "cut": true });
    let event = |id: u64, chars: usize| {
        let word = ["TaskStateEntered", "ActivityScheduled", "ActivityStarted", "ActivityFailed"]
            [usize::try_from(id % 4).expect("small")];
        let resource = format!("arn:aws:states:us-east-1:0:activity:{}--{}", env_name(0), name(0));
        json!({
            "id": id, "previous": id - u64::from(!id.is_multiple_of(4)), "at": AT, "kind": word,
            "state": format!("state {}", id % 99), "index": 1, "resource": resource,
            "worker": long(80), "input": cut(chars), "output": cut(chars), "error": cut(chars.min(200)),
            "cause": cut(chars), "log": cut(chars)
        })
    };
    let mut states = serde_json::Map::new();
    for n in 0..100 {
        let catch = json!([{ "Next": "state 0" }, { "Next": format!("state {}", n * 7 % 99) }]);
        let next = format!("state {}", (n + 1) % 100);
        let state = json!({ "Type": "Task", "Comment": long(500), "Next": next, "Catch": catch });
        states.insert(format!("state {n}"), state);
    }
    let definition = json!({ "Comment": long(500), "StartAt": "state 0", "States": states });
    let definition = definition.to_string();
    let version = |n: usize| {
        let arn = format!("arn:aws:states:us-east-1:0:stateMachine:w:{n}");
        json!({ "stateMachineVersionArn": arn, "creationDate": 1.5 })
    };
    let versions: Vec<Value> = (971..=1_000).rev().map(version).collect();
    let execution = "/v1/workflows/w/executions/x";
    let mut table = table
        .with("GET /v1/workflows?limit=100", many(100, listed))
        .with("GET /v1/schedules?limit=200", many(200, schedule))
        .with("GET /v1/workflow-activities?limit=50", many(50, activity))
        .with(
            "STATES DescribeStateMachine",
            json!({ "type": "STANDARD", "definition": definition }),
        )
        .with("STATES DescribeStateMachineForExecution", json!({ "definition": definition }))
        .with(
            "STATES ListStateMachineVersions",
            json!({ "stateMachineVersions": versions, "nextToken": "more" }),
        )
        .with(
            "STATES DescribeExecution",
            json!({ "status": "FAILED", "error": long(256), "cause": long(32_768),
                "redriveStatus": "REDRIVABLE",
                "input": json!({ "text": long(9_000) }).to_string(), "output": long(262_144) }),
        )
        .with(&format!("GET {execution}"), summary(0))
        .with_any("GET /v1/workflows/w/executions?", many(50, summary));
    for n in 1..=500 {
        let at = format!("GET {execution}/events?from={n}&limit=1&text=2000");
        table = table.with(&at, json!({ "items": [event(n, 2_000)] }));
    }
    let newest = |n: u64, chars: usize| -> Vec<Value> {
        (1..=500).rev().take(n as usize).map(|id| event(id, chars)).collect()
    };
    table
        .with_any(
            &format!("GET {execution}/events?newest=true&text=120"),
            json!({ "items": newest(500, 120) }),
        )
        .with_any(
            &format!("GET {execution}/events?newest=true&text=200"),
            json!({ "items": newest(25, 200), "next": "475" }),
        )
}

fn servers(table: Table) -> Table {
    let mut info = server();
    for name in ["version", "data_dir", "api"] {
        info[name] = json!(long(500));
    }
    let capability = json!({ "name": long(200), "enforced": true });
    info["engine"] = json!({ "kind": "docker", "capabilities": vec![capability; 100] });
    info["gateway"]["refused"] = json!(long(2_000));
    let host = |n: usize| format!("h{n:05}");
    info["silent_hosts"] = json!((0..1_000).map(host).collect::<Vec<_>>());
    let node = |n: usize| {
        json!({ "name": host(n), "draining": n.is_multiple_of(2), "instances": 3, "changed_at": AT,
            "changed_by": long(100), "address": long(300), "reach": "10.0.0.5",
            "silent": long(2_000) })
    };
    let registry = |_| {
        json!({ "host": long(256), "user": long(256), "push": long(256), "changed_at": AT,
            "changed_by": long(100) })
    };
    let hook = |n: usize| {
        json!({ "name": format!("hook{n}"), "path": long(300), "repository": long(1_024),
            "branch": long(1_024), "changed_at": AT, "changed_by": long(100) })
    };
    let push = |_| {
        json!({ "delivery": long(500), "commit": long(200), "received_at": AT, "ended_at": AT,
            "log": long(500), "state": "ended", "exit_code": 3 })
    };
    let token = |_| {
        json!({ "id": "1", "name": long(100), "role": "deployer", "created_at": AT,
            "created_by": long(100), "last_used_at": AT, "revoked_at": null, "kind": "bearer" })
    };
    let check = |_| {
        json!({ "name": long(200), "outcome": "fail", "detail": long(2_000),
            "remedy": long(2_000) })
    };
    let mut table = table
        .with("GET /v1/server", info)
        .with("GET /v1/nodes", many(1_000, node))
        .with("GET /v1/registries", many(500, registry))
        .with("GET /v1/push-hooks", many(500, hook))
        .with("GET /v1/tokens?limit=500", many(500, token))
        .with(
            "GET /v1/doctor",
            json!({ "checks": (0..200).map(check).collect::<Vec<_>>(), "outcome": "fail" }),
        );
    for n in 0..500 {
        let pushes = many(if n == 1 { 200 } else { 1 }, push);
        table = table.with(&format!("GET /v1/push-hooks/hook{n}/pushes"), pushes);
    }
    let cron = |n: usize| {
        json!({ "env": env_name(0), "app": name(n), "schedule": long(200), "timezone": long(100),
            "overlap": "forbid", "missed": "skip", "next_at": null, "paused_by": long(100),
            "paused_at": AT, "stopped": false, "running": 1, "last": run(n, 3) })
    };
    table.with("GET /v1/crons", many(500, cron))
}

/// Every page: the pattern, an address of it, and what it says of what it has no room for.
fn pages() -> Vec<(&'static str, String, &'static str)> {
    let (env, app) = (env_name(0), name(0));
    let of = |rest: &str| format!("/e/{env}/{app}{rest}");
    vec![
        ("/", "/".to_owned(), "apps are shown, those that are down first"),
        ("/d/{id}", format!("/d/{ID}"), "before: <code"),
        ("/e/{env}/{app}", of(""), "ark config list"),
        ("/e/{env}/{app}/deploy", of("/deploy"), "Other environments may have"),
        ("/e/{env}/{app}/deploy", of(&format!("/deploy?from={env}&number=2")), "ark plan"),
        ("/e/{env}/{app}/deployments", of("/deployments"), "Older"),
        ("/e/{env}/{app}/diff", of("/diff?from=1&to=2"), "more: <code"),
        ("/e/{env}/{app}/do/{what}", of("/do/scale"), ""),
        ("/e/{env}/{app}/do/{what}", of("/do/restart"), ""),
        ("/e/{env}/{app}/do/{what}", of("/do/stop"), ""),
        ("/e/{env}/{app}/logs", of("/logs"), ""),
        ("/e/{env}/{app}/releases", of("/releases"), "more</a>"),
        ("/e/{env}/{app}/rollback", of("/rollback?to=1"), "--plan"),
        ("/e/{env}/{app}/run", of("/run"), ""),
        ("/e/{env}/{app}/runs", of("/runs"), "Older"),
        ("/e/{env}/{app}/runs/{run}", of("/runs/7"), "Older lines"),
        ("/environments", "/environments".to_owned(), "More"),
        ("/environments/{env}", format!("/environments/{env}"), "dependencies are drawn"),
        ("/environments/{env}", format!("/environments/{}", env_name(1)), "more: <code"),
        ("/events", "/events".to_owned(), "before="),
        ("/jobs", "/jobs".to_owned(), "more are not shown"),
        ("/server", "/server".to_owned(), "ark node list"),
        ("/server/checks", "/server/checks".to_owned(), "more, less bad"),
        ("/server/hooks/{hook}", "/server/hooks/hook1".to_owned(), "before: <code"),
        ("/server/hosts/{host}/{wish}", "/server/hosts/h00001/drain".to_owned(), ""),
        ("/workflows", "/workflows".to_owned(), "ark workflow schedule list"),
        ("/workflows/{workflow}", "/workflows/w".to_owned(), "The rest is not shown"),
        ("/workflows/{workflow}/start", "/workflows/w/start".to_owned(), "what x"),
        ("/workflows/{workflow}/x/{execution}", "/workflows/w/x/x".to_owned(), "are not listed"),
        ("/workflows/{workflow}/x/{execution}/do/{act}", "/workflows/w/x/x/do/stop".to_owned(), ""),
    ]
}

#[tokio::test]
async fn every_page_stays_small_with_everything_at_its_limit() {
    let (site, _) = servers(workflows(environments(apps(Table::default())))).site();
    let pages = pages();
    // Signing in shows nothing of anybody's.
    for page in PAGES.iter().filter(|page| !page.starts_with("/sign-in")) {
        assert!(pages.iter().any(|(pattern, ..)| pattern == page), "{page} is at no limit");
    }
    let mut wrong = Vec::new();
    for (_, address, says) in pages {
        let response = get(&site, &address, "fresh").await;
        let status = response.status();
        let page = text(response).await;
        if status != 200 || page.len() >= PAGE_BYTES_MAX || !page.contains(says) {
            let begin = page
                .split("role=\"alert\">")
                .nth(1)
                .unwrap_or_default()
                .chars()
                .take(200)
                .collect::<String>();
            let shown = if status == 200 { String::new() } else { begin };
            wrong.push(format!(
                "{} {status}: {} bytes, says {says:?}: {}{shown}",
                address.chars().take(200).collect::<String>(),
                page.len(),
                page.contains(says)
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
