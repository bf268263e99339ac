//! What the pages before an act say, and that the form does just that: where a rollback leads, what a
//! restart does, by what the app is.

mod table;

use ark_model::api::{Problem, ProblemCode};
use serde_json::{Value, json};

use table::{Table, app, get, post, text, token_of, world};

const BASE: &str = "/v1/environments/production/apps/web";
const AT: &str = "2026-01-01T00:00:00Z";

/// An app of a kind with a live release, the one before it, and where a rollback leads.
fn detail(kind: &str, live: u64, previous: Option<u64>, back: Option<u64>) -> Value {
    let mut detail = app("web");
    for (name, value) in [
        ("kind", json!(kind)),
        ("live", json!(live)),
        ("addresses", json!([{ "expose": "http", "url": "http://web.production.localhost" }])),
        ("scale", Value::Null),
        ("previous", json!(previous)),
        ("rollback_to", json!(back)),
        ("dependencies", json!([])),
        ("failures", json!(0)),
        ("start_after", Value::Null),
        ("config_version", json!(0)),
    ] {
        detail[name] = value;
    }
    detail
}

fn plan(live: u64, to: u64, steps: &[&str]) -> Value {
    json!({
        "env": "production", "app": "web", "changes": true, "live": live, "release": to,
        "release_exists": true, "strategy": "recreate", "instances": 1, "artifact": null,
        "config": [{ "name": "LEVEL", "change": "changed", "secret": false, "from": "b", "to": "a" }],
        "definition": [], "steps": steps, "not_enforced": [], "missing": [], "refusals": [],
        "remedy": [], "warnings": []
    })
}

/// With everything that the app's own page asks for.
fn with_app(table: Table, detail: Value) -> Table {
    let empty = json!({ "items": [] });
    let release = |number: u64| {
        json!({
            "env": "production", "app": "web", "number": number, "digest": "a".repeat(64),
            "artifact": { "kind": "none" }, "config_version": 1, "created_at": AT,
            "created_by": "ana", "commit": null, "live": false
        })
    };
    table
        .with(&format!("GET {BASE}"), detail)
        .with(&format!("GET {BASE}/instances?ended=true"), empty.clone())
        .with(
            &format!("GET {BASE}/releases?limit=9"),
            json!({ "items": [release(3), release(2), release(1)] }),
        )
        .with(
            &format!("GET {BASE}/config"),
            json!({ "env": "production", "app": "web", "version": 0, "values": [] }),
        )
        .with_any(&format!("GET {BASE}/traffic?"), json!({ "slice_s": 60, "slices": [] }))
        .with_any("GET /v1/deployments?", empty.clone())
        .with_any("GET /v1/events?", empty)
}

#[tokio::test]
async fn a_rollback_leads_where_the_server_says_and_not_to_what_was_before() {
    for (live, previous, back) in [
        // The third is half way: back to what was live.
        (2, Some(1), 2),
        // Rolled back from the third: not forth to it again.
        (2, Some(3), 1),
    ] {
        let steps = ["stop all of v2 first", "start v1"];
        let (site, table) = with_app(world(), detail("service", live, previous, Some(back)))
            .with(&format!("POST {BASE}/rollback/plan"), plan(live, back, &steps))
            .with(&format!("POST {BASE}/rollback"), json!({}))
            .site();
        let page = text(get(&site, "/e/production/web", "fresh").await).await;
        assert!(page.contains("Roll back…") && page.contains("ark rollback web"), "{page}");
        let page = text(get(&site, "/e/production/web/rollback", "fresh").await).await;
        let field = format!("name=\"to\" value=\"{back}\"");
        let button = format!("Roll back to v{back}<");
        for words in ["stop all of v2 first", "configuration LEVEL", &*field, &*button] {
            assert!(page.contains(words), "{words}: {page}");
        }
        let command = format!("ark rollback web -e production --to v{back}<");
        assert!(page.contains(&command), "the command leads where the button does: {page}");
        let (asked, body) = table.asked().pop().expect("a question");
        assert_eq!((asked, body.as_str()), (format!("POST {BASE}/rollback/plan"), "{}"));
        // The form says where to, so that nothing that happens meanwhile changes it.
        let own = token_of(&page);
        let fields = format!("to={back}&key=k");
        post(&site, "/e/production/web/rollback", "fresh", Some(&own), &fields).await;
        let (asked, body) = table.asked().pop().expect("a question");
        assert_eq!((asked, body), (format!("POST {BASE}/rollback"), format!("{{\"to\":{back}}}")));
        // A release that is named is asked for by its number.
        let page = text(get(&site, "/e/production/web/rollback?to=1", "fresh").await).await;
        let (_, body) = table.asked().pop().expect("a question");
        assert_eq!(body, r#"{"to":1}"#);
        assert!(page.contains("--to"), "{page}");
    }
}

#[tokio::test]
async fn without_a_way_back_none_is_offered() {
    let (site, _) = with_app(world(), detail("service", 3, Some(2), None)).site();
    let page = text(get(&site, "/e/production/web", "fresh").await).await;
    assert!(!page.contains("Roll back…") && !page.contains("ark rollback"), "{page}");
}

#[tokio::test]
async fn what_restart_and_start_do_is_said_by_what_the_app_is() {
    for (kind, restarts, starts) in [
        ("service", "beside those that run", "each gets traffic once it is ready"),
        ("daemon", "stop the instance of v2 first", "on each host"),
        ("job", "no instances that stand", "may be run again"),
        ("cron", "no instances that stand", "its schedule fires again"),
        ("lambda", "beside those that run", "its requests start"),
    ] {
        let (site, _) = with_app(world(), detail(kind, 2, None, None)).site();
        for (wish, words) in [("restart", restarts), ("start", starts)] {
            let page =
                text(get(&site, &format!("/e/production/web/do/{wish}"), "fresh").await).await;
            assert!(page.contains(words), "{kind} {wish}: {page}");
            assert!(!page.contains("0 instances"), "{kind} {wish}: {page}");
        }
    }
}

#[tokio::test]
async fn releases_are_offered_of_one_environment_with_a_way_to_each_other() {
    let mut staging = table::environment("staging");
    staging["apps"] = json!(["web"]);
    let environments = json!({ "items": [table::environment("production"), staging] });
    let release = json!({
        "env": "staging", "app": "web", "number": 7, "digest": "a".repeat(64),
        "artifact": { "kind": "none" }, "config_version": 1, "created_at": AT,
        "created_by": "ana", "commit": null, "live": false
    });
    let (site, _) = world()
        .with("GET /v1/environments?limit=500", environments)
        .with(&format!("GET {BASE}/releases?limit=12"), json!({ "items": [] }))
        .with(
            "GET /v1/environments/staging/apps/web/releases?limit=12",
            json!({ "items": [release] }),
        )
        .site();
    let page = text(get(&site, "/e/production/web/deploy", "fresh").await).await;
    assert!(page.contains("Releases of production") && !page.contains("number=7"), "{page}");
    let other = "/e/production/web/deploy?from=staging";
    assert!(page.contains(&format!("href=\"{other}\"")), "{page}");
    let page = text(get(&site, other, "fresh").await).await;
    assert!(page.contains("deploy?from=staging&#38;number=7"), "{page}");
    assert!(page.contains("href=\"/e/production/web/deploy?from=production\""), "{page}");
}

#[tokio::test]
async fn a_plan_says_what_the_command_says_of_it() {
    let mut planned = plan(1, 2, &["start v2"]);
    planned["not_enforced"] = json!([{ "path": "run.memory", "reason": "no cgroups" }]);
    planned["notes"] = json!(["SEARCH_URL is read as it stands"]);
    planned["warnings"] = json!([{
        "code": "W007", "severity": "warning", "message": "mesh_config is not used", "line": 3,
        "column": 1, "suggestion": null
    }]);
    planned["missing"] = json!(["TOKEN"]);
    let remedy =
        json!({ "label": "set it", "command": "ark config set web TOKEN=... -e production" });
    planned["remedy"] = json!([remedy]);
    let (site, _) = world()
        .with(&format!("POST {BASE}/plan"), planned.clone())
        .with(&format!("POST {BASE}/rollback/plan"), planned)
        .site();
    let all = [
        "run.memory: no cgroups",
        "SEARCH_URL is read as it stands",
        "W007: mesh_config is not used",
        "set it: <code class=\"command\">ark config set web TOKEN=... -e production</code>",
    ];
    for address in ["deploy?from=production&number=2", "rollback"] {
        let page = text(get(&site, &format!("/e/production/web/{address}"), "fresh").await).await;
        for words in all {
            assert!(page.contains(words), "{address}: {words}: {page}");
        }
    }
}

/// A deployment that waits at its second step.
fn waiting() -> Value {
    let side = json!({ "requests": 0, "failed": 0, "p50_ms": null, "p99_ms": null });
    let step =
        |words: &str, state: &str| json!({ "words": words, "state": state, "approved_by": null });
    json!({
        "id": ID, "env": "production", "app": "web", "kind": "deploy", "release": 2, "base": 1,
        "strategy": "canary", "state": "stepping", "exit_code": null, "created_at": AT,
        "created_by": "ana", "reason": null, "commit": null, "started_at": AT, "live_at": null,
        "returning_at": null, "finished_at": null, "diagnosis": null, "diagnosis_words": null,
        "failures": [], "abort": null, "receipt": null, "notes": [], "artifact": null,
        "config_version": 1, "config_changed": [], "progress": null, "hooks": [], "watch": null,
        "rollout": {
            "steps": [
                step("10 % of the traffic", "done"), step("pause until promoted", "current"),
                step("approval", "ahead")
            ],
            "step": 2, "since": AT, "percent": 10, "in_force": true,
            "asks": { "since": AT, "what": "promotion" }, "paused": null, "keep_until": null,
            "new": side.clone(), "old": side, "judgements": []
        }
    })
}

const ID: &str = "0197a1b2-0000-7000-8000-000000000001";

#[tokio::test]
async fn what_a_button_says_is_said_to_the_step_that_was_shown() {
    let at = format!("/v1/deployments/{ID}");
    let (site, table) = with_app(world(), detail("service", 1, None, None))
        .with(&format!("GET {at}"), waiting())
        .with(&format!("GET {at}/traffic"), json!({ "slice_s": 1, "slices": [] }))
        .with(&format!("POST {at}/promote"), json!({}))
        .with(&format!("POST {at}/approve"), json!({}))
        .with(&format!("POST {at}/pause"), json!({}))
        .site();
    let page = text(get(&site, &format!("/d/{ID}"), "fresh").await).await;
    assert!(page.contains("Go on<"), "{page}");
    assert!(page.contains("name=\"step\" value=\"2\""), "{page}");
    let own = token_of(&page);
    for (word, fields, path, body) in [
        ("promote", "step=2", "promote", r#"{"full":false,"step":2}"#),
        ("full", "step=2", "promote", r#"{"full":true,"step":2}"#),
        ("approve", "step=2&reason=seen", "approve", r#"{"step":2,"reason":"seen"}"#),
        ("pause", "step=2", "pause", r#"{"step":2}"#),
        // A form of a deployment without steps.
        ("approve", "", "approve", "{}"),
    ] {
        let response = post(&site, &format!("/d/{ID}/{word}"), "fresh", Some(&own), fields).await;
        assert_eq!(response.status(), 303, "{word}");
        let (asked, said) = table.asked().pop().expect("a question");
        assert_eq!((asked, said.as_str()), (format!("POST {at}/{path}"), body));
    }
}

#[tokio::test]
async fn what_has_changed_since_it_was_planned_is_shown_anew_and_not_done() {
    let mut planned = plan(1, 2, &["start v2"]);
    planned["expect"] = json!("first");
    let problem = Problem::new(ProblemCode::PlanChanged, "it has changed");
    let (site, table) = world()
        .with(&format!("POST {BASE}/plan"), planned.clone())
        .with(&format!("POST {BASE}/rollback/plan"), planned)
        .refusing(&format!("POST {BASE}/deployments"), &problem)
        .refusing(&format!("POST {BASE}/rollback"), &problem)
        .site();
    for (address, fields, path) in
        [("deploy", "from=production&number=2", "deployments"), ("rollback", "to=2", "rollback")]
    {
        let address = format!("/e/production/web/{address}");
        let page = text(get(&site, &format!("{address}?{fields}"), "fresh").await).await;
        assert!(page.contains("name=\"expect\" value=\"first\""), "{page}");
        assert!(!page.contains("has changed since"), "{page}");
        let own = token_of(&page);
        let fields = format!("{fields}&key=k&expect=before&reason=it+is+time");
        let response = post(&site, &address, "fresh", Some(&own), &fields).await;
        assert_eq!(response.status(), 409);
        let page = text(response).await;
        let asked = table.asked();
        let (_, body) = asked.iter().rfind(|(asked, _)| asked.ends_with(path)).expect("a request");
        assert!(body.contains(r#""expect":"before""#), "{body}");
        for words in ["has changed since it was shown", "start v2", "value=\"it is time\""] {
            assert!(page.contains(words), "{words}: {page}");
        }
    }
}
