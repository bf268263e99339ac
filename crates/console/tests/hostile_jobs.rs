//! Runs and schedules whose arguments, reasons, zones and lines are markup: on no page does it become
//! any, and no form works without its session's token.

mod table;

use serde_json::{Value, json};

use table::{Table, app, environment, get, location, post, text, token_of};

const HOSTILE: &str = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>$(reboot)";
const AT: &str = "2026-01-01T00:00:00Z";
const BASE: &str = "/v1/environments/production/apps/import";

fn run(state: &str) -> Value {
    let exit =
        json!({ "code": 3, "signal": null, "out_of_memory": false, "requested": false, "at": AT });
    let end = json!({ "kind": "exited", "exit": exit });
    let outcome = match state {
        "ended" => json!({ "kind": "stopped", "by": HOSTILE, "why": HOSTILE }),
        _ => Value::Null,
    };
    json!({
        "env": "production", "app": "import", "number": 7, "release": 2, "args": vec![HOSTILE; 40],
        "cause": { "kind": "asked", "by": HOSTILE }, "retries": 2, "timeout_seconds": 60,
        "state": state, "start_after": null, "created_at": AT, "ended_at": AT, "outcome": outcome,
        "exit_code": 130, "attempts": [
            { "instance": HOSTILE, "created_at": AT, "started_at": AT, "ended_at": AT, "end": end }
        ]
    })
}

fn cron() -> Value {
    json!({
        "env": "production", "app": "nightly", "schedule": HOSTILE, "timezone": HOSTILE,
        "overlap": "forbid", "missed": "skip", "next_at": null, "paused_by": HOSTILE,
        "paused_at": AT, "stopped": false, "running": 1, "last": run("ended")
    })
}

fn hostile() -> Table {
    let of = |name: &str, kind: &str| {
        let mut row = app(name);
        row["kind"] = json!(kind);
        row
    };
    let mut detail = of("import", "job");
    for (name, value) in [
        ("addresses", json!([])),
        ("scale", Value::Null),
        ("previous", Value::Null),
        ("dependencies", json!([])),
        ("failures", json!(0)),
        ("start_after", Value::Null),
        ("config_version", json!(1)),
    ] {
        detail[name] = value;
    }
    let rows = json!({ "items": [of("import", "job"), of("agent", "daemon")] });
    Table::default()
        .with("GET /v1/crons", json!({ "items": [cron()] }))
        .with("GET /v1/environments?limit=500", json!({ "items": [environment("production")] }))
        .with("GET /v1/environments/production/apps?limit=500", rows)
        .with(&format!("GET {BASE}"), detail)
        .with(&format!("GET {BASE}/runs?limit=1"), json!({ "items": [run("ended")] }))
        .with(
            &format!("GET {BASE}/runs?limit=50"),
            json!({ "items": vec![run("ended"); 50], "next": HOSTILE }),
        )
        .with(&format!("GET {BASE}/runs/7"), run("running"))
        .with_lines(
            &format!("GET {BASE}/runs/7/logs?follow=false&tail=301"),
            &vec![json!({ "at": AT, "instance": HOSTILE, "stream": "stderr", "text": HOSTILE }); 9],
        )
        .with(&format!("POST {BASE}/runs"), run("waiting"))
        .with(&format!("POST {BASE}/runs/7/stop"), run("stopping"))
        .with("POST /v1/environments/production/apps/nightly/cron/pause", cron())
        .with("POST /v1/environments/production/apps/nightly/cron/resume", cron())
}

#[test]
fn the_answers_are_answers_of_the_api() {
    use ark_model::api::{CronView, RunView};
    for state in ["waiting", "starting", "running", "stopping", "ended"] {
        serde_json::from_value::<RunView>(run(state)).expect("a run");
    }
    serde_json::from_value::<CronView>(cron()).expect("a schedule");
}

#[tokio::test]
async fn no_text_of_a_run_becomes_markup_and_pages_stay_small() {
    let (site, _) = hostile().site();
    for address in [
        "/jobs",
        "/jobs?q=i",
        "/jobs?q=%22%3E%3Cimg%20src%3Dx%3E",
        "/e/production/import/runs",
        "/e/production/import/runs/7",
        "/e/production/import/run",
    ] {
        let response = get(&site, address, "fresh").await;
        let status = response.status();
        let page = text(response).await;
        assert_eq!(status, 200, "{address}: {page}");
        for markup in ["<script>", "<img", "onerror=alert(1)>\"", " style=", "javascript:"] {
            assert!(!page.contains(markup), "{markup} on {address}: {page}");
        }
        assert!(page.len() < 150_000, "{address} has {} bytes", page.len());
        let wrote = page.matches("<p class=\"err\">").count();
        assert_eq!(wrote, if address.ends_with("/7") { 9 } else { 0 }, "{address}: {page}");
    }
}

#[tokio::test]
async fn readers_are_told_who_may_and_later_pages_do_not_say_that_it_never_ran() {
    let (site, _) = hostile()
        .with(&format!("GET {BASE}/runs?limit=50&cursor=7"), json!({ "items": [] }))
        .site();
    for address in ["/jobs", "/e/production/import/runs"] {
        let page = text(get(&site, address, "reader").await).await;
        assert!(page.contains("Your role, reader, may look;"), "{address}: {page}");
    }
    let page = text(get(&site, "/e/production/import/runs?cursor=7", "fresh").await).await;
    assert!(page.contains("There are no older ones") && !page.contains("It never ran"), "{page}");
}

#[tokio::test]
async fn no_form_of_a_run_works_without_its_sessions_token() {
    let (site, table) = hostile().site();
    let foreign = token_of(&text(get(&site, "/jobs", "reader").await).await);
    let own = token_of(&text(get(&site, "/jobs", "fresh").await).await);
    let done =
        |what: &str| table.asked().into_iter().filter(|(key, _)| key == what).collect::<Vec<_>>();
    let pause = "POST /v1/environments/production/apps/nightly/cron/pause";
    for (address, fields, what, to) in [
        (
            "/e/production/import/run",
            "args=a+b%0D%0Ac&retries=2&key=k",
            format!("POST {BASE}/runs"),
            "/e/production/import/runs/7",
        ),
        (
            "/e/production/import/runs/7/stop",
            "",
            format!("POST {BASE}/runs/7/stop"),
            "/e/production/import/runs/7",
        ),
        ("/e/production/nightly/cron/pause", "", pause.to_owned(), "/jobs"),
    ] {
        for token in ["", "x", &foreign] {
            let response = post(&site, address, "fresh", Some(token), fields).await;
            assert_eq!(response.status(), 403, "{address} with {token:?}");
        }
        assert!(done(&what).is_empty(), "{what} was done without a token");
        let response = post(&site, address, "fresh", Some(&own), fields).await;
        assert_eq!((response.status().as_u16(), location(&response)), (303, to), "{address}");
        assert_eq!(done(&what).len(), 1, "{what} was not done");
    }
    let (_, sent) = done(&format!("POST {BASE}/runs")).remove(0);
    let sent: Value = serde_json::from_str(&sent).expect("JSON");
    assert_eq!((&sent["args"], &sent["retries"]), (&json!(["a b", "c"]), &json!(2)));
    let refused = post(&site, "/e/production/nightly/cron/dance", "fresh", Some(&own), "").await;
    assert!(refused.status().is_client_error());
}
