//! Every text that an app, a person or a log can fill, filled with markup: on no page does it become
//! any, and a secret's value that should not have come is not shown.

#![recursion_limit = "256"]

mod table;

use serde_json::{Value, json};

use table::{Table, app, environment, get, location, post, receipt, server, text, token_of};

const HOSTILE: &str = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>{{7*7}}";
const DEPLOYMENT: &str = "0197a1b2-0000-7000-8000-000000000001";
const AT: &str = "2026-01-01T00:00:00Z";

fn deployment() -> Value {
    let side = json!({ "requests": 10, "failed": 1, "p99_ms": 3.5 });
    let judgement = json!({
        "at": AT, "verdict": "fail", "new": { "release": 2, "requests": 10 },
        "old": { "release": 1, "requests": 90 },
        "findings": [{ "measure": "errors", "outcome": "worse", "p_value": 0.01, "words": HOSTILE }]
    });
    let said = json!({ "by": HOSTILE, "at": AT, "reason": HOSTILE });
    let crashed = json!({
        "kind": "crashed", "instance": HOSTILE, "log": [HOSTILE],
        "exit": { "code": 1, "signal": null, "out_of_memory": false, "requested": false, "at": AT }
    });
    let never = json!({
        "kind": "never_ready", "instance": HOSTILE, "last": HOSTILE, "waited_ms": 1, "log": [HOSTILE]
    });
    let address =
        json!({ "kind": "address", "variable": HOSTILE, "address": HOSTILE, "seen": HOSTILE });
    let app = json!({
        "kind": "app", "app": "search", "data_store": false, "seen": HOSTILE, "since": AT
    });
    let down = json!({ "kind": "dependency_down", "down": [app, address], "failure": never });
    let progress = json!({ "starting": 0, "active": 1, "draining": 1, "stopping": 0,
        "draining_in_flight": 3, "draining_since": AT });
    json!({
        "id": DEPLOYMENT, "env": "production", "app": "web", "kind": "deploy", "release": 2,
        "base": 1, "strategy": "canary", "state": "stepping", "exit_code": null,
        "created_at": AT, "created_by": HOSTILE, "reason": HOSTILE, "commit": HOSTILE,
        "started_at": AT, "live_at": null, "returning_at": null, "finished_at": null,
        "diagnosis": crashed, "diagnosis_words": HOSTILE, "failures": [down],
        "abort": { "by": HOSTILE, "reason": HOSTILE, "superseded": false },
        "receipt": receipt(), "notes": [HOSTILE], "artifact": HOSTILE, "config_version": 1,
        "config_changed": [HOSTILE],
        "progress": { "wanted": 2, "new": progress.clone(), "old": progress },
        "rollout": {
            "steps": [{ "words": HOSTILE, "state": "current", "approved_by": HOSTILE }],
            "step": 1, "since": AT, "percent": 50, "in_force": true,
            "asks": { "since": AT, "what": "approval" }, "paused": said, "keep_until": null,
            "new": side.clone(), "old": side, "judgements": [{ "step": 0, "judgement": judgement }]
        },
        "hooks": [{
            "name": HOSTILE, "stage": "pre_deploy", "timeout_ms": 1, "state": "failed",
            "what": { "kind": "command", "command": [HOSTILE] }, "attempts": 2, "begun_at": AT,
            "ended_at": AT, "note": HOSTILE, "log": [HOSTILE]
        }],
        "watch": { "release": 2, "base": 1, "since": AT, "until": AT, "end": null, "judgement": null }
    })
}

fn event() -> Value {
    json!({
        "seq": 1, "at": AT, "kind": "deployment_progress", "by": HOSTILE, "env": "production",
        "app": "web", "deployment": DEPLOYMENT, "instance": null, "text": HOSTILE
    })
}

fn release(number: u64) -> Value {
    json!({
        "env": "production", "app": "web", "number": number, "digest": "a".repeat(64),
        "artifact": { "kind": "image", "reference": HOSTILE, "digest": null },
        "config_version": 1, "created_at": AT, "created_by": HOSTILE, "commit": HOSTILE,
        "live": number == 2
    })
}

fn changes() -> (Value, Value, Value) {
    (
        json!({ "from": HOSTILE, "to": HOSTILE }),
        json!([
            { "name": HOSTILE, "change": "changed", "secret": false, "from": HOSTILE, "to": HOSTILE },
            { "name": "KEY", "change": "changed", "secret": true, "from": "hunter2", "to": "hunter3" }
        ]),
        json!([{ "path": HOSTILE, "change": "added", "from": HOSTILE, "to": { "a": HOSTILE } }]),
    )
}

fn hostile() -> Table {
    let page = |item: Value| json!({ "items": [item], "next": null });
    let mut row = app("web");
    row["last_deployment"]["diagnosis"] = json!(HOSTILE);
    row["running_deployment"] = row["last_deployment"].clone();
    row["running_deployment"]["state"] = json!("stepping");
    row["not_enforced"] = json!([{ "path": HOSTILE, "reason": HOSTILE }]);
    let mut detail = row.clone();
    for (name, value) in [
        ("addresses", json!([{ "expose": HOSTILE, "url": HOSTILE }])),
        ("scale", json!(2)),
        ("previous", json!(1)),
        ("rollback_to", json!(1)),
        ("dependencies", json!([HOSTILE])),
        ("failures", json!(0)),
        ("start_after", Value::Null),
        ("config_version", json!(1)),
    ] {
        detail[name] = value;
    }
    let instance = json!({
        "id": HOSTILE, "uuid": DEPLOYMENT, "env": "production", "app": "web", "release": 2, "node": "eu-1",
        "state": "active", "pid": 7, "address": "127.0.0.1:4000", "ready": false,
        "not_ready_because": HOSTILE, "ports": [], "in_flight": 1, "created_at": AT, "since": AT,
        "memory_bytes": 1000, "cause": null, "cause_words": HOSTILE
    });
    let entry = |name: &str, value: Value, secret: bool| {
        json!({ "name": name, "value": value, "secret": secret, "version": 1, "changed_at": AT,
            "changed_by": HOSTILE })
    };
    let config = json!({ "env": "production", "app": "web", "version": 1, "values": [
        entry(HOSTILE, json!(HOSTILE), false), entry("KEY", json!("hunter2"), true)
    ] });
    let (artifact, changed, definition) = changes();
    let diff = json!({ "from": 1, "to": 2, "changes": true, "artifact": artifact,
        "config": changed, "definition": definition });
    let plan = json!({
        "env": "production", "app": "web", "changes": true, "live": 1, "release": 2,
        "release_exists": true, "strategy": "rolling", "instances": 2, "artifact": diff["artifact"],
        "config": diff["config"], "definition": diff["definition"], "steps": [HOSTILE],
        "not_enforced": [{ "path": HOSTILE, "reason": HOSTILE }], "missing": [HOSTILE],
        "refusals": [HOSTILE], "remedy": [], "warnings": []
    });
    let mut made = environment("production");
    made["owner"] = json!(HOSTILE);
    made["lease"] = json!({ "seconds": 28_800, "until": "2026-01-01T08:00:00Z", "by": HOSTILE });
    made["apps"] = json!(["web", "search"]);
    made["freeze"] = json!([{ "name": HOSTILE, "effect": "deny", "cron": HOSTILE, "seconds": 60,
        "time_zone": HOSTILE }]);
    made["frozen"] = json!({ "window": HOSTILE, "until": AT });
    let side = json!({ "release": 2, "served": 9, "failed": 1, "p99_ms": 3.0 });
    let slice = json!({ "at": AT, "sides": [side], "p50_ms": 1.0, "p95_ms": 2.0, "p99_ms": 3.0 });
    let history = json!({ "slice_s": 60, "slices": [slice] });
    let line = json!({ "at": AT, "instance": HOSTILE, "stream": "stderr", "text": HOSTILE });
    let base = "/v1/environments/production/apps/web";
    let events = "newest=true&limit";
    Table::default()
        .with("GET /v1/server", server())
        .with("GET /v1/environments?limit=500", page(made.clone()))
        .with("GET /v1/environments?limit=100", page(made.clone()))
        .with("GET /v1/environments/production", made)
        .with("GET /v1/environments/production/dependencies?limit=100", dependencies())
        .with("GET /v1/environments/production/apps?limit=500", page(row))
        .with("GET /v1/environments/production/apps/search", detail.clone())
        .with(&format!("GET {base}"), detail)
        .with(&format!("GET {base}/instances?ended=true"), page(instance))
        .with(&format!("GET {base}/releases?limit=9"), json!({ "items": [release(2), release(1)] }))
        .with(&format!("GET {base}/releases?limit=12"), json!({ "items": [release(2)] }))
        .with(
            &format!("GET {base}/releases?limit=20"),
            json!({ "items": [release(2)], "next": HOSTILE }),
        )
        .with_any(&format!("GET {base}/releases?limit=1&cursor="), page(release(1)))
        .with(&format!("GET {base}/diff?from=v1&to=v2"), diff)
        .with(&format!("GET {base}/config"), config)
        .with(&format!("GET {base}/traffic?slice_s=60"), history.clone())
        .with_any(&format!("GET {base}/traffic?slice_s="), history.clone())
        .with(&format!("GET {base}/logs?tail=2000"), line.clone())
        .with(&format!("GET {base}/logs?tail=10000"), line)
        .with(&format!("POST {base}/plan"), plan.clone())
        .with(&format!("POST {base}/rollback/plan"), plan)
        .with("GET /v1/deployments?env=production&app=web&limit=8", page(deployment()))
        .with(
            "GET /v1/deployments?env=production&app=web&limit=50",
            json!({ "items": vec![deployment(); 50], "next": HOSTILE }),
        )
        .with(&format!("GET /v1/deployments/{DEPLOYMENT}"), deployment())
        .with(&format!("GET /v1/deployments/{DEPLOYMENT}/traffic"), history)
        .with(&format!("GET /v1/events?env=production&app=web&{events}=12"), page(event()))
        .with(&format!("GET /v1/events?deployment={DEPLOYMENT}&{events}=40"), page(event()))
        .with(&format!("GET /v1/events?{events}=100"), page(event()))
}

/// What apps need, with every text that anyone but Ark writes.
fn dependencies() -> Value {
    json!({
        "items": [{
            "from_env": "production", "from": "web", "to_env": "production", "to": "search",
            "known": "observed", "first_seen": "2026-01-01T08:00:00Z",
            "last_seen": "2026-01-01T09:00:00Z", "note": HOSTILE,
        }],
        "blind": HOSTILE,
    })
}

/// The table says what the API would: else a page would say nothing of what it is given.
#[test]
fn the_answers_are_answers_of_the_api() {
    use ark_model::api::{
        AppDetail, DependenciesView, DeploymentView, EnvironmentView, InstanceRow, PlanView,
        ReleaseDiff, ReleaseRow,
    };
    fn check<T: serde::de::DeserializeOwned>(value: Value) {
        if let Err(error) = serde_json::from_value::<T>(value) {
            panic!("{}: {error}", std::any::type_name::<T>());
        }
    }
    let table = hostile();
    let answer = |key: &str| table.answer(&format!("GET /v1/{key}"));
    let base = "environments/production/apps/web";
    check::<DeploymentView>(deployment());
    check::<ReleaseRow>(release(2));
    check::<AppDetail>(answer(base));
    check::<EnvironmentView>(answer("environments/production"));
    check::<DependenciesView>(answer("environments/production/dependencies?limit=100"));
    check::<InstanceRow>(answer(&format!("{base}/instances?ended=true"))["items"][0].clone());
    check::<ReleaseDiff>(answer(&format!("{base}/diff?from=v1&to=v2")));
    check::<PlanView>(table.answer(&format!("POST /v1/{base}/plan")));
    check::<ark_model::event::Event>(event());
}

#[tokio::test]
async fn no_text_becomes_markup_and_no_secret_is_shown() {
    let (site, _) = hostile().site();
    let query: String = form_urlencoded::byte_serialize(HOSTILE.as_bytes()).collect();
    for address in [
        "/".to_owned(),
        "/e/production/web".to_owned(),
        "/e/production/web/logs".to_owned(),
        "/e/production/web/deployments".to_owned(),
        "/e/production/web/releases".to_owned(),
        "/e/production/web/diff?from=1&to=2".to_owned(),
        "/e/production/web/deploy".to_owned(),
        "/e/production/web/deploy?from=production&number=2".to_owned(),
        "/e/production/web/rollback".to_owned(),
        "/e/production/web/do/scale".to_owned(),
        "/e/production/web/do/stop".to_owned(),
        format!("/d/{DEPLOYMENT}"),
        "/environments".to_owned(),
        "/environments/production".to_owned(),
        "/events".to_owned(),
    ] {
        let response = get(&site, &address, "fresh").await;
        let status = response.status();
        let page = text(response).await;
        assert_eq!(status, 200, "{address}: {page}");
        for markup in ["<script>", "<img", "onerror=alert(1)>\"", "hunter"] {
            assert!(!page.contains(markup), "{markup} on {address}: {page}");
        }
        assert!(page.len() < 150_000, "{address} has {} bytes", page.len());
    }
    // What stands in the address comes back on the page.
    for address in [
        format!("/?q={query}"),
        format!("/?after={query}"),
        format!("/jobs?after={query}"),
        format!("/environments?cursor={query}"),
        format!("/environments/production?cursor={query}"),
        format!("/e/production/web/deployments?cursor={query}"),
        format!("/e/production/web/diff?from={query}&to=2"),
        format!("/events?env={query}"),
        format!("/events?kind={query}"),
        format!("/e/production/web/logs?q={query}"),
        format!("/d/{query}"),
        format!("/e/production/{query}"),
        format!("/sign-in?next={query}"),
        format!("/sign-in/{query}"),
    ] {
        let page = text(get(&site, &address, "fresh").await).await;
        for markup in ["<script>", "<img"] {
            assert!(!page.contains(markup), "{markup} on {address}: {page}");
        }
    }
}

#[tokio::test]
async fn what_was_not_kept_is_not_called_unmeasured_and_readers_are_told_who_may() {
    let at = format!("GET /v1/deployments/{DEPLOYMENT}/traffic");
    let empty = json!({ "at": AT, "sides": [], "p50_ms": null, "p95_ms": null, "p99_ms": null });
    let mut over = deployment();
    over["state"] = json!("succeeded");
    over["finished_at"] = json!(AT);
    for (slices, says) in [
        (json!([]), "What was measured while it ran was not kept."),
        (json!([empty]), "No request was measured while it ran."),
    ] {
        let (site, _) = hostile()
            .with(&at, json!({ "slice_s": 60, "slices": slices }))
            .with(&format!("GET /v1/deployments/{DEPLOYMENT}"), over.clone())
            .site();
        let page = text(get(&site, &format!("/d/{DEPLOYMENT}"), "fresh").await).await;
        assert!(page.contains(says), "{says}: {page}");
    }
    let (site, _) = hostile().site();
    for address in ["/environments", "/environments/production"] {
        let page = text(get(&site, address, "reader").await).await;
        assert!(page.contains("Your role, reader, may look;"), "{address}: {page}");
    }
    // What was down when an instance failed stands with its failure.
    let page = text(get(&site, &format!("/d/{DEPLOYMENT}"), "fresh").await).await;
    assert!(page.contains("dependency down: search ("), "{page}");
    assert!(page.contains("nothing of it serves since 2026-01-01 00:00:00 UTC"), "{page}");
    // What kind of event it was is read, not only pointed at.
    let page = text(get(&site, "/events", "fresh").await).await;
    assert!(page.contains("<small>deployment progress, by"), "{page}");
}

#[tokio::test]
async fn a_deployment_is_told_what_to_do_and_why() {
    let promote = format!("POST /v1/deployments/{DEPLOYMENT}/approve");
    let abort = format!("POST /v1/deployments/{DEPLOYMENT}/abort");
    let (site, table) = hostile().with(&promote, deployment()).with(&abort, deployment()).site();
    let page = text(get(&site, &format!("/d/{DEPLOYMENT}"), "fresh").await).await;
    let own = token_of(&page);
    for (word, what, fields, body) in [
        ("approve", &promote, "reason=", "{}"),
        ("abort", &abort, "reason=the+p99+is+odd", r#"{"reason":"the p99 is odd"}"#),
    ] {
        let address = format!("/d/{DEPLOYMENT}/{word}");
        assert!(page.contains(&format!("formaction=\"{address}\"")), "{word}: {page}");
        let response = post(&site, &address, "fresh", Some(&own), fields).await;
        assert_eq!(response.status(), 303, "{word}");
        assert_eq!(location(&response), format!("/d/{DEPLOYMENT}"));
        let (key, sent) = table.asked().pop().expect("a question");
        assert_eq!((&key, sent.as_str()), (what, body));
    }
}

#[tokio::test]
async fn what_is_live_has_a_way_back_and_what_is_not_has_none() {
    let mut over = deployment();
    over["state"] = json!("succeeded");
    over["base"] = json!(1);
    for (live, offered) in [(2, true), (14, false)] {
        let base = "GET /v1/environments/production/apps/web";
        let table = hostile();
        let mut detail = table.answer(base);
        detail["live"] = json!(live);
        let (site, _) = table
            .with(base, detail)
            .with(&format!("GET /v1/deployments/{DEPLOYMENT}"), over.clone())
            .site();
        for (session, may) in [("fresh", true), ("reader", false)] {
            let page = text(get(&site, &format!("/d/{DEPLOYMENT}"), session).await).await;
            let link = page.contains("/e/production/web/rollback?to=1");
            assert_eq!(link, offered && may, "v{live} is live, {session}: {page}");
        }
    }
}
