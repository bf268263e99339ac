//! The server's own page over a table: hosts, registries, push hooks and tokens whose texts are markup,
//! what a reader sees of them, and who may empty a host.

mod table;

use serde_json::{Value, json};

use table::{Table, app, environment, get, location, post, server, text, token_of, world};

const HOSTILE: &str = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>$(reboot)";
const AT: &str = "2026-01-01T00:00:00Z";

fn encoded() -> String {
    form_urlencoded::byte_serialize(HOSTILE.as_bytes()).collect::<String>().replace('+', "%20")
}

/// As the console asks for it: `*` is plain in forms, not in addresses.
fn hook_path() -> String {
    format!("/v1/push-hooks/{}/pushes", encoded())
}

fn host(name: &str, draining: bool, silent: Option<&str>) -> Value {
    let mut host = json!({
        "name": name, "draining": draining, "instances": 3, "changed_at": AT, "changed_by": HOSTILE
    });
    if name != "local" {
        host["address"] = json!(HOSTILE);
        host["reach"] = json!("10.0.0.5");
    }
    if let Some(why) = silent {
        host["silent"] = json!(why);
    }
    host
}

fn hook() -> Value {
    json!({
        "name": HOSTILE, "path": HOSTILE, "repository": HOSTILE, "branch": HOSTILE,
        "changed_at": AT, "changed_by": HOSTILE
    })
}

fn push(state: &Value) -> Value {
    let mut push = json!({
        "delivery": HOSTILE, "commit": HOSTILE, "received_at": AT, "ended_at": AT, "log": HOSTILE
    });
    for (key, value) in state.as_object().expect("a state") {
        push[key] = value.clone();
    }
    push
}

fn pushes() -> Vec<Value> {
    let ended = |code: Value| push(&json!({ "state": "ended", "exit_code": code }));
    vec![
        push(&json!({ "state": "queued" })),
        push(&json!({ "state": "running" })),
        ended(json!(0)),
        ended(json!(3)),
        ended(Value::Null),
        push(&json!({ "state": "superseded" })),
    ]
}

fn token(name: &str, revoked: Option<&str>) -> Value {
    json!({
        "id": "1", "name": name, "role": "deployer", "created_at": AT, "created_by": HOSTILE,
        "last_used_at": null, "revoked_at": revoked, "kind": "bearer"
    })
}

fn registry() -> Value {
    json!({ "host": HOSTILE, "user": HOSTILE, "push": HOSTILE, "changed_at": AT, "changed_by": HOSTILE })
}

fn check(outcome: &str) -> Value {
    json!({ "name": HOSTILE, "outcome": outcome, "detail": HOSTILE, "remedy": HOSTILE })
}

fn hostile() -> Table {
    let mut info = server();
    for name in ["version", "data_dir", "api"] {
        info[name] = json!(HOSTILE);
    }
    info["engine"] = json!({ "kind": HOSTILE, "capabilities": [
        { "name": HOSTILE, "enforced": true }, { "name": HOSTILE, "enforced": false, "reason": HOSTILE }
    ] });
    info["gateway"]["refused"] = json!(HOSTILE);
    info["silent_hosts"] = json!(["eu-2"]);
    let hosts =
        [host("eu-1", true, None), host("eu-2", false, Some(HOSTILE)), host("local", false, None)];
    let page = |items: Value| json!({ "items": items });
    world()
        .with("GET /v1/server", info)
        .with("GET /v1/nodes", page(json!(hosts)))
        .with("GET /v1/registries", page(json!([registry()])))
        .with("GET /v1/push-hooks", page(json!([hook()])))
        .with(&format!("GET {}", hook_path()), page(json!(pushes())))
        .with(
            "GET /v1/tokens?limit=500",
            page(json!([token(HOSTILE, None), token("gone", Some(AT))])),
        )
        .with(
            "GET /v1/doctor",
            json!({ "checks": [check("ok"), check("fail"), check("warn")],
            "outcome": "fail" }),
        )
        .with("PUT /v1/nodes/eu-1/draining", host("eu-1", false, None))
        .with("PUT /v1/nodes/local/draining", host("local", true, None))
}

#[test]
fn the_answers_are_answers_of_the_api() {
    use ark_model::api::{
        DoctorReport, NodeView, PushHookView, PushView, RegistryView, ServerInfo, TokenView,
    };
    fn check<T: serde::de::DeserializeOwned>(value: Value) {
        if let Err(error) = serde_json::from_value::<T>(value) {
            panic!("{}: {error}", std::any::type_name::<T>());
        }
    }
    let table = hostile();
    check::<ServerInfo>(table.answer("GET /v1/server"));
    check::<Vec<NodeView>>(table.answer("GET /v1/nodes")["items"].clone());
    check::<RegistryView>(registry());
    check::<PushHookView>(hook());
    check::<Vec<PushView>>(json!(pushes()));
    check::<TokenView>(token("ana", Some(AT)));
    check::<DoctorReport>(table.answer("GET /v1/doctor"));
}

#[tokio::test]
async fn no_text_of_the_server_becomes_markup_and_commands_stay_one_word() {
    let (site, _) = hostile().site();
    for address in [
        "/".to_owned(),
        "/server".to_owned(),
        "/server/checks".to_owned(),
        format!("/server/hooks/{}", encoded()),
        "/server/hosts/eu-1/use".to_owned(),
        "/server/hosts/eu-2/drain".to_owned(),
    ] {
        let response = get(&site, &address, "fresh").await;
        let status = response.status();
        let page = text(response).await;
        assert_eq!(status, 200, "{address}: {page}");
        for markup in ["<script>", "<img", "onerror=alert(1)>\"", " style=", "javascript:"] {
            assert!(!page.contains(markup), "{markup} on {address}: {page}");
        }
        for command in page.split("class=\"command\">").skip(1) {
            let command = command.split("</code>").next().unwrap_or_default();
            let quoted = !command.contains("$(") || command.contains("&#39;&#34;&#39;\\&#39;&#39;");
            assert!(quoted, "{command} on {address}");
        }
        assert!(page.len() < 150_000, "{address} has {} bytes", page.len());
    }
    for address in ["/server/hooks/none", "/server/hosts/none/drain", "/server/hosts/eu-1/dance"] {
        assert!(get(&site, address, "fresh").await.status().is_client_error(), "{address}");
    }
}

#[tokio::test]
async fn a_silent_host_is_named_on_the_overview_and_an_instances_host_on_its_app() {
    let (site, _) = hostile().site();
    let page = text(get(&site, "/", "fresh").await).await;
    assert!(page.contains("<b>eu-2</b> does not answer"), "{page}");
    let page = text(get(&site, "/server", "fresh").await).await;
    for words in [
        "is being emptied",
        "does not answer",
        "Use it again…",
        "Drain…",
        "ark node drain eu-1 --end",
    ] {
        assert!(page.contains(words), "{words} is missing in {page}");
    }
}

#[tokio::test]
async fn a_host_is_emptied_and_used_again_by_an_administrator_with_a_form_of_its_session() {
    let (site, table) = hostile().site();
    let own = token_of(&text(get(&site, "/server", "fresh").await).await);
    let foreign = token_of(&text(get(&site, "/", "reader").await).await);
    let told = || {
        let asked = table.asked().into_iter();
        asked.filter(|(key, _)| key.starts_with("PUT /v1/nodes")).collect::<Vec<_>>()
    };
    for token in ["", "x", &foreign] {
        let response = post(&site, "/server/hosts/local/drain", "fresh", Some(token), "").await;
        assert_eq!(response.status(), 403, "{token}");
    }
    assert!(told().is_empty(), "{:?}", told());
    for (address, put, body) in [
        ("/server/hosts/local/drain", "PUT /v1/nodes/local/draining", r#"{"draining":true}"#),
        ("/server/hosts/eu-1/use", "PUT /v1/nodes/eu-1/draining", r#"{"draining":false}"#),
    ] {
        let response = post(&site, address, "fresh", Some(&own), "").await;
        assert_eq!((response.status().as_u16(), location(&response)), (303, "/server"));
        assert_eq!(told().pop(), Some((put.to_owned(), body.to_owned())));
    }
}

#[tokio::test]
async fn a_reader_sees_hosts_and_hooks_but_no_tokens_and_no_button() {
    let (site, table) = hostile().site();
    let page = text(get(&site, "/server", "reader").await).await;
    for words in ["eu-2", "does not answer", "Push hooks", "Registries"] {
        assert!(page.contains(words), "{words} is missing in {page}");
    }
    for words in ["Drain…", "ark token revoke", "id=\"tokens\""] {
        assert!(!page.contains(words), "{words} in {page}");
    }
    let asked = table.asked().into_iter().filter(|(key, _)| key.contains("/v1/tokens")).count();
    assert_eq!(asked, 0, "tokens were asked for in a reader's name");
    let page = text(get(&site, "/server/hosts/local/drain", "reader").await).await;
    assert!(page.contains("--role admin") && !page.contains("action=\"/server"), "{page}");
    let page = text(get(&site, "/server", "fresh").await).await;
    assert!(page.contains("id=\"tokens\"") && !page.contains("gone"), "{page}");
}

#[tokio::test]
async fn what_cannot_be_scaled_or_replaced_is_offered_no_such_button() {
    let of = |name: &str, kind: &str, store: Option<&str>| {
        let mut detail = app(name);
        detail["kind"] = json!(kind);
        if let Some(product) = store {
            detail["data_store"] = json!(product);
        }
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
        detail
    };
    let cases = [
        ("web", "service", None, true, true),
        ("db", "service", Some("postgres"), false, true),
        ("agent", "daemon", None, false, true),
        ("import", "job", None, false, false),
        ("nightly", "cron", None, false, false),
    ];
    let mut table = Table::default()
        .with("GET /v1/environments?limit=500", json!({ "items": [environment("production")] }))
        .with_any("GET /v1/deployments?", json!({ "items": [] }))
        .with_any("GET /v1/events?", json!({ "items": [] }));
    for (name, kind, store, ..) in cases {
        let base = format!("GET /v1/environments/production/apps/{name}");
        let empty = json!({ "items": [] });
        table = table
            .with(&base, of(name, kind, store))
            .with(&format!("{base}/instances?ended=true"), empty.clone())
            .with(&format!("{base}/releases?limit=9"), empty)
            .with(
                &format!("{base}/config"),
                json!({ "env": "production", "app": name, "version": 0,
                "values": [] }),
            )
            .with_any(&format!("{base}/traffic?"), json!({ "slice_s": 60, "slices": [] }));
    }
    let (site, _) = table.site();
    for (name, kind, store, scales, restarts) in cases {
        let response = get(&site, &format!("/e/production/{name}"), "fresh").await;
        let status = response.status();
        let page = text(response).await;
        assert_eq!(status, 200, "{name}: {page}");
        assert_eq!(page.contains("Scale…"), scales, "{kind} {store:?}");
        assert_eq!(page.contains("ark scale"), scales, "{kind} {store:?}");
        assert_eq!(page.contains("Restart…"), restarts, "{kind} {store:?}");
        assert_eq!(page.contains("PostgreSQL data store"), store.is_some(), "{kind} {store:?}");
    }
}
