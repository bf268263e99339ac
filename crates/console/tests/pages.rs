//! Pages over a host that answers from a table: what a page shows of an answer, who may see it, and
//! that nothing an app is named or says becomes markup.

mod table;

use ark_model::api::{Problem, ProblemCode};
use axum::body::Body;
use http::{Request, StatusCode, header};
use serde_json::json;
use tower::ServiceExt as _;

use table::{Table, app, environment, get, location, post, server, text, token_of, world};

#[tokio::test]
async fn the_overview_says_what_runs_and_what_the_last_deployment_did() {
    let (site, _) = world().site();
    let response = get(&site, "/", "fresh").await;
    assert_eq!(response.status(), StatusCode::OK);
    let page = text(response).await;
    for words in ["web", "v14", "3/3", "412", "38 ms", "0 of 18,204 failed", "Gateway connected"] {
        assert!(page.contains(words), "{words} is missing in {page}");
    }
    assert!(!page.contains("<script>alert"), "a name became markup");
    assert!(page.contains("ana &#60;script&#62;"), "{page}");
}

#[tokio::test]
async fn requests_that_were_cut_are_lost_on_every_page() {
    let mut row = app("web");
    for (name, number) in [("served", 97), ("failed", 1), ("cut", 2)] {
        row["last_deployment"][name] = json!(number);
    }
    let apps = "GET /v1/environments/production/apps?limit=500";
    let (site, _) = world().with(apps, json!({ "items": [row] })).site();
    let page = text(get(&site, "/", "fresh").await).await;
    assert!(page.contains("3 of 100 failed"), "{page}");
}

#[tokio::test]
async fn three_hundred_apps_are_a_small_page() {
    let rows: Vec<_> = (0..300).map(|n| app(&format!("customer-app-{n}"))).collect();
    let apps = "GET /v1/environments/production/apps?limit=500";
    let (site, _) = world().with(apps, json!({ "items": rows })).site();
    let page = text(get(&site, "/", "fresh").await).await;
    assert!(page.contains("customer-app-299"));
    assert!(page.len() < 150_000, "{} bytes", page.len());
}

#[tokio::test]
async fn what_has_no_room_is_named_and_what_is_down_comes_first() {
    // Of more apps than fit, those that are down.
    let mut rows: Vec<_> = (0..480).map(|n| app(&format!("customer-app-{n}"))).collect();
    rows[470]["ready"] = json!(0);
    let apps = "GET /v1/environments/production/apps?limit=500";
    // One that the first 500 of an environment do not have is found by the server.
    let found = json!({ "items": [app("customer-app-479")] });
    let (site, _) = world()
        .with(apps, json!({ "items": rows }))
        .with(&format!("{apps}&name=app-479"), found)
        .site();
    let page = text(get(&site, "/", "fresh").await).await;
    assert!(page.len() < 150_000, "{} bytes", page.len());
    let at = |words: &str| page.find(words).unwrap_or_else(|| panic!("no {words} in {page}"));
    assert!(at("customer-app-470") < at("customer-app-0<"));
    let (shown, _) =
        page.split_once(" of 480 apps are shown, those that are down first").expect("so");
    let shown: usize = shown.rsplit('>').next().and_then(|n| n.parse().ok()).expect("a number");
    assert!(page.len() > 120_000 && shown > 250, "{shown} of them on {} bytes", page.len());
    assert!(!page.contains("customer-app-479"), "{page}");
    let found = text(get(&site, "/?q=App-479", "fresh").await).await;
    assert!(found.contains("customer-app-479") && !found.contains("customer-app-470"), "{found}");

    // Of more environments than fit, each has at least a line, and those beyond a page of their own.
    let names: Vec<String> = (0..500).map(|n| format!("environment-number-{n:03}")).collect();
    let all: Vec<_> = names.iter().map(|name| environment(name)).collect();
    let mut table = Table::default()
        .with("GET /v1/server", server())
        .with("GET /v1/environments?limit=500", json!({ "items": all, "next": "last" }))
        .with(
            "GET /v1/environments?limit=500&cursor=last",
            json!({ "items": [environment("one-more")] }),
        )
        .with("GET /v1/environments/one-more/apps?limit=500", json!({ "items": [app("late")] }));
    for name in &names {
        let mut row = app("web");
        row["ready"] = json!(if name.ends_with("199") { 1 } else { 3 });
        let key = format!("GET /v1/environments/{name}/apps?limit=500");
        table = table.with(&key, json!({ "items": [row, app("worker")] }));
    }
    let (site, _) = table.site();
    let page = text(get(&site, "/", "fresh").await).await;
    assert!(page.len() < 150_000, "{} bytes", page.len());
    assert!(page.contains("1 not as wanted") && page.contains("environment-number-199"), "{page}");
    assert!(page.contains("all environments</a>"), "{page}");
    assert!(page.contains("href=\"/?after=last\""), "{page}");
    let next = text(get(&site, "/?after=last", "fresh").await).await;
    assert!(next.contains("late") && next.contains("First environments"), "{next}");
}

#[tokio::test]
async fn environments_and_dependencies_are_turned_page_by_page() {
    let need = |n: usize| {
        json!({
            "from_env": "production", "from": format!("app-{n}"), "to_env": "production", "to": "db",
            "known": "observed"
        })
    };
    let needs = |from: usize, next: Option<&str>| {
        let items: Vec<_> = (from..from + 100).map(need).collect();
        json!({ "items": items, "next": next, "total": 12_345 })
    };
    let mut made = environment("production");
    made["apps"] = json!(["web", "db"]);
    let listed = json!({ "items": [made.clone()], "next": "production" });
    let (site, table) = world()
        .with("GET /v1/environments?limit=100", listed)
        .with(
            "GET /v1/environments?limit=100&cursor=production",
            json!({ "items": [environment("staging")] }),
        )
        .with("GET /v1/environments/production", made)
        .with("GET /v1/environments/production/dependencies?limit=100", needs(0, Some("a:b")))
        .with("GET /v1/environments/production/dependencies?limit=500", needs(0, Some("a:b")))
        .with(
            "GET /v1/environments/production/dependencies?limit=100&cursor=a%3Ab",
            needs(100, None),
        )
        .site();
    let page = text(get(&site, "/environments", "fresh").await).await;
    assert!(page.contains("href=\"/environments?cursor=production\""), "{page}");
    let page = text(get(&site, "/environments?cursor=production", "fresh").await).await;
    assert!(page.contains("staging") && page.contains("First page"), "{page}");

    let page = text(get(&site, "/environments/production", "fresh").await).await;
    for words in [
        "the first 100 of 12,345",
        "the first 100 of 12,345 dependencies are drawn",
        "href=\"/environments/production?cursor=a%3Ab#needs\"",
        "app-99<",
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }
    let page = text(get(&site, "/environments/production?cursor=a%3Ab", "fresh").await).await;
    assert!(page.contains("app-199<") && page.contains("100 of 12,345"), "{page}");
    assert!(table.asked().iter().all(|(key, _)| key.contains("limit=") || !key.ends_with("ies")));
}

/// Addresses that are asked with `GET` and are no pages.
const NO_PAGES: [&str; 6] = [
    "/assets/{digest}/{name}",
    "/e/{env}/{app}/logs/stream",
    "/e/{env}/{app}/runs/{run}/stream",
    "/favicon.ico",
    "/live",
    "/workflows/{workflow}/x/{execution}/live",
];

#[test]
fn every_page_is_in_the_list() {
    let (mut folders, mut found) = (vec![std::path::PathBuf::from("src")], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("the sources").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let source = std::fs::read_to_string(path).expect("text");
            for route in source.split(".route(\"").skip(1) {
                let (address, rest) = route.split_once("\", ").expect("an address");
                if rest.starts_with("get(") {
                    found.push(address.to_owned());
                }
            }
        }
    }
    found.retain(|address| !NO_PAGES.contains(&address.as_str()));
    found.sort();
    assert_eq!(found, ark_console::PAGES, "routes with pages, and `PAGES`");
}

#[tokio::test]
async fn where_there_is_nothing_a_page_says_so() {
    let (_, table) = world().site();
    let site = ark_console::nowhere(table);
    let response = get(&site, "/nothing/here", "fresh").await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert!(response.headers().contains_key("content-security-policy"));
    let page = text(response).await;
    assert!(
        page.contains("there is no page at this address") && page.contains("Overview"),
        "{page}"
    );
    let response = get(&site, "/nothing/here", "").await;
    assert_eq!(location(&response), "/sign-in?next=%2Fnothing%2Fhere");
}

#[tokio::test]
async fn an_empty_server_says_how_to_begin() {
    let (site, _) = Table::default()
        .with("GET /v1/server", server())
        .with("GET /v1/environments?limit=500", json!({ "items": [] }))
        .site();
    assert!(text(get(&site, "/", "fresh").await).await.contains("ark deploy web -e production"));
}

#[tokio::test]
async fn a_problem_of_the_api_becomes_a_page_with_its_reason_and_remedy() {
    let mut problem = Problem::new(ProblemCode::Forbidden, "`<b>ana</b>` may not");
    problem
        .remedy
        .push(ark_model::api::Remedy { label: "ask".into(), command: "ark token".into() });
    let (site, _) = world().refusing("GET /v1/server", &problem).site();
    let response = get(&site, "/", "reader").await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    let page = text(response).await;
    assert!(page.contains("not allowed") && page.contains("ark token"), "{page}");
    assert!(page.contains("&#60;b&#62;ana"), "{page}");
}

#[tokio::test]
async fn without_a_session_there_is_only_the_way_to_sign_in() {
    let (site, table) = world().site();
    for session in ["", "unknown", "revoked"] {
        let response = get(&site, "/?q=we", session).await;
        assert_eq!(response.status(), StatusCode::SEE_OTHER);
        assert_eq!(location(&response), "/sign-in?next=%2F%3Fq%3Dwe");
    }
    // Whatever an app or a workflow is named, a person is led to sign in; a script is told.
    for name in ["/live", "/e/production/live", "/workflows/live", "/workflows/w/x/live"] {
        let response = get(&site, name, "unknown").await;
        assert_eq!(response.status(), StatusCode::SEE_OTHER, "{name}");
        for (header, value) in [("accept", "text/event-stream"), ("x-live", "1")] {
            let request = Request::get(name).header(header, value).body(Body::empty());
            let response = site.clone().oneshot(request.expect("a request")).await;
            let status = response.expect("an answer").status();
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{name}, {header}");
        }
    }
    assert!(table.asked().is_empty(), "the API was asked for a stranger");
}

#[tokio::test]
async fn signing_in_gives_a_new_session_whatever_the_browser_held() {
    let (site, _) = world().site();
    let sign_in = async |token: &str, next: &str| {
        let request = Request::post("/sign-in")
            .header(header::COOKIE, "ark_session=planted")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::from(format!("token={token}&next={next}")))
            .expect("a request");
        site.clone().oneshot(request).await.expect("an answer")
    };
    let response = sign_in("good", "/").await;
    assert_eq!((response.status(), location(&response)), (StatusCode::SEE_OTHER, "/"));
    let cookie = response.headers()[header::SET_COOKIE].to_str().expect("text");
    assert!(cookie.starts_with("ark_session=fresh; Path=/; "), "{cookie}");
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");

    let response = sign_in("good", "//evil.test").await;
    assert_eq!(location(&response), "/");
    let response = sign_in("wrong", "/").await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert!(!response.headers().contains_key(header::SET_COOKIE));
}

#[tokio::test]
async fn a_link_signs_in_by_itself_only_when_it_was_opened_by_hand() {
    let (site, _) = world().site();
    let open = async |from: &str| {
        let request = Request::get("/sign-in/once").header("sec-fetch-site", from);
        let request = request.body(Body::empty()).expect("a request");
        site.clone().oneshot(request).await.expect("an answer")
    };
    let response = open("none").await;
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    assert!(response.headers().contains_key(header::SET_COOKIE));
    let response = open("cross-site").await;
    assert_eq!(response.status(), StatusCode::OK);
    assert!(!response.headers().contains_key(header::SET_COOKIE));
}

#[tokio::test]
async fn a_form_without_the_token_of_its_session_changes_nothing() {
    let (site, _) = world().site();
    let fields = "theme=dark&back=/";
    for token in ["", "x", &token_of(&text(get(&site, "/", "reader").await).await)] {
        let response = post(&site, "/theme", "fresh", Some(token), fields).await;
        assert_eq!(response.status(), StatusCode::FORBIDDEN, "{token}");
        assert!(!response.headers().contains_key(header::SET_COOKIE));
    }
    let response = post(&site, "/theme", "fresh", None, fields).await;
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn an_environments_lease_is_shown_renewed_and_lifted_by_forms_of_its_session() {
    let address = "/environments/eng1-env";
    let lease = "/v1/environments/eng1-env/lease";
    let mut made = environment("eng1-env");
    made["kind"] = json!("development");
    made["lease"] = json!({ "seconds": 3_600, "until": "2036-01-01T08:00:00Z", "by": "bob" });
    let listed = json!({ "items": [made.clone(), environment("production")] });
    let (site, table) = Table::default()
        .with("GET /v1/environments?limit=500", listed)
        .with("GET /v1/environments/eng1-env", made.clone())
        .with("GET /v1/environments/production", environment("production"))
        .with("GET /v1/environments/eng1-env/dependencies?limit=100", json!({ "items": [] }))
        .with("GET /v1/environments/production/dependencies?limit=100", json!({ "items": [] }))
        .with(&format!("PUT {lease}"), made.clone())
        .with(&format!("DELETE {lease}"), made.clone())
        .with("POST /v1/environments", made)
        .site();
    let page = text(get(&site, address, "fresh").await).await;
    for words in ["Its lease runs out", "1 Jan 2036, 08:00 UTC", "bob", "Renew", "Lift it"] {
        assert!(page.contains(words), "{words}: {page}");
    }
    let seen = text(get(&site, address, "reader").await).await;
    assert!(seen.contains("Its lease runs out") && !seen.contains("Renew"), "{seen}");
    let permanent = text(get(&site, "/environments/production", "fresh").await).await;
    assert!(!permanent.contains("/lease\"") && !permanent.contains("Its lease"), "{permanent}");

    let own = token_of(&page);
    let to = format!("{address}/lease");
    for token in ["", "x", &token_of(&seen)] {
        assert_eq!(post(&site, &to, "fresh", Some(token), "lease=28800").await.status(), 403);
    }
    let asked = |what: &str| {
        table.asked().into_iter().filter(|(key, _)| key == what).map(|(_, body)| body).collect()
    };
    let put: Vec<String> = asked(&format!("PUT {lease}"));
    assert!(put.is_empty(), "{put:?}");
    for (fields, status) in [("lease=28800", 303), ("lease=", 303), ("lease=soon", 422)] {
        let response = post(&site, &to, "fresh", Some(&own), fields).await;
        assert_eq!(response.status(), status, "{fields}");
    }
    let put: Vec<String> = asked(&format!("PUT {lease}"));
    assert_eq!(put, [r#"{"seconds":28800}"#]);
    let lifted: Vec<String> = asked(&format!("DELETE {lease}"));
    assert_eq!(lifted.len(), 1);
    // Made with a lease, and without.
    for lease in ["86400", ""] {
        let fields = format!("name=eng1-env&kind=development&lease={lease}");
        let response = post(&site, "/environments", "fresh", Some(&own), &fields).await;
        assert_eq!(response.status(), 303);
    }
    let made: Vec<String> = asked("POST /v1/environments");
    assert_eq!(made.len(), 2);
    assert!(made[0].contains(r#""lease_seconds":86400"#), "{made:?}");
    assert!(!made[1].contains("lease"), "{made:?}");
}

#[tokio::test]
async fn every_answer_forbids_what_is_not_the_consoles_own() {
    let (site, _) = world().site();
    for address in ["/", "/sign-in", "/assets/x/console.css", "/assets/x/none", "/live"] {
        let response = get(&site, address, "fresh").await;
        let policy = response.headers()["content-security-policy"].to_str().expect("text");
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{address}");
        assert!(!policy.contains("unsafe"), "{address}");
    }
    let page = text(get(&site, "/", "fresh").await).await;
    for inline in ["<style", " style=", "onclick=", "javascript:", "<script>"] {
        assert!(!page.contains(inline), "{inline} in {page}");
    }
}

#[tokio::test]
async fn where_apps_answer_too_no_session_begins_and_one_that_was_there_ends() {
    let (site, table) = world().site();
    let ask = async |method: &str, host: &str, path: &str, cookie: &str| {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, host)
            .header(header::COOKIE, cookie)
            .header("sec-fetch-site", "none")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::from("token=good&next=/"))
            .expect("a request");
        site.clone().oneshot(request).await.expect("an answer")
    };
    for host in ["127.0.0.1:7070", "localhost:7070", "[::1]:7070"] {
        for (method, path, to) in [
            ("GET", "/?q=we", "/?q=we"),
            ("GET", "/sign-in?next=%2Fevents", "/sign-in?next=%2Fevents"),
            ("GET", "/sign-in/once", "/sign-in/once"),
            ("POST", "/sign-in", "/"),
            ("POST", "/sign-in/once", "/"),
            ("POST", "/theme", "/"),
        ] {
            let response = ask(method, host, path, "").await;
            assert_eq!(response.status(), StatusCode::SEE_OTHER, "{method} {host} {path}");
            assert_eq!(location(&response), format!("http://ark.localhost:7070{to}"));
            assert!(!response.headers().contains_key(header::SET_COOKIE), "{method} {path}");
        }
        let response = ask("GET", host, "/", "ark_session=fresh").await;
        assert_eq!(location(&response), "http://ark.localhost:7070/");
        let cookie = response.headers()[header::SET_COOKIE].to_str().expect("text");
        assert!(cookie.starts_with("ark_session=; Path=/; Max-Age=0"), "{cookie}");
        assert_eq!(table.ended().pop().as_deref(), Some("fresh"));
    }
    let response = ask("POST", "ark.localhost:7070", "/sign-in", "").await;
    assert_eq!(location(&response), "/");
    assert!(response.headers().contains_key(header::SET_COOKIE));
    assert_eq!(ask("GET", "ark.localhost:7070", "/", "ark_session=fresh").await.status(), 200);
}

#[tokio::test]
async fn the_page_of_a_run_shows_the_end_of_what_it_wrote() {
    let base = "/v1/environments/production/apps/nightly/runs/7";
    let run = json!({
        "env": "production", "app": "nightly", "number": 7, "release": 2, "args": [],
        "cause": { "kind": "asked", "by": "ana" }, "retries": 0, "timeout_seconds": 60,
        "state": "ended", "start_after": null, "created_at": "2026-01-01T00:00:00Z",
        "ended_at": "2026-01-01T00:01:00Z", "outcome": { "kind": "succeeded" }, "exit_code": 0,
        "attempts": []
    });
    let line = |n: u32| {
        json!({
            "at": "2026-01-01T00:00:00Z", "instance": "nightly-1", "stream": "stdout",
            "text": format!("line {n}.")
        })
    };
    for (lines, said) in [(301, true), (300, false)] {
        let wrote: Vec<_> = (1..=lines).map(line).collect();
        let (site, table) = world()
            .with(&format!("GET {base}"), run.clone())
            .with_lines(&format!("GET {base}/logs?follow=false&tail=301"), &wrote)
            .site();
        let address = "/e/production/nightly/runs/7";
        let page = text(get(&site, address, "fresh").await).await;
        assert!(page.contains(&format!("line {lines}.")), "the last line: {page}");
        assert_eq!(page.contains("line 1."), !said, "{lines}: {page}");
        assert_eq!(page.contains("Older lines are not shown"), said, "{lines}: {page}");
        // A page that catches up exchanges everything but the log.
        let before = table.asked().len();
        let request = Request::get(address)
            .header(header::COOKIE, "ark_session=fresh")
            .header("x-live", "1")
            .body(Body::empty())
            .expect("a request");
        let response = site.clone().oneshot(request).await.expect("an answer");
        assert_eq!(response.status(), StatusCode::OK);
        let asked = table.asked().split_off(before);
        assert!(!asked.iter().any(|(asked, _)| asked.contains("/logs")), "{asked:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_its_session() {
    let (site, table) = world().with_endless("GET /v1/events/stream?env=production").site();
    let open = get(&site, "/live?env=production", "fresh").await;
    assert_eq!(open.status(), StatusCode::OK);
    let hour = std::time::Duration::from_secs(3_600);
    let going_on = tokio::time::timeout(hour, axum::body::to_bytes(open.into_body(), 9));
    assert!(going_on.await.is_err(), "its session goes on");

    let open = get(&site, "/live?env=production", "fresh").await;
    table.revoke();
    let minute = std::time::Duration::from_secs(60);
    let ended = tokio::time::timeout(minute, axum::body::to_bytes(open.into_body(), 9)).await;
    assert!(ended.expect("it ends within a minute").expect("a body").is_empty());
}

#[tokio::test]
async fn whoever_shows_two_sessions_is_nobody() {
    let (site, _) = world().site();
    let request = Request::get("/")
        .header(header::COOKIE, "ark_session=fresh; ark_session=reader")
        .body(Body::empty())
        .expect("a request");
    let response = site.clone().oneshot(request).await.expect("an answer");
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert!(text(response).await.contains("two sessions"));
}

#[tokio::test]
async fn failures_of_environments_without_a_line_are_in_the_charts() {
    let history = |served: u64, failed: u64| {
        let slice = |minute: u32| {
            let side =
                json!({ "release": null, "served": served, "failed": failed, "p99_ms": null });
            json!({
                "at": format!("2026-01-01T00:{minute:02}:00Z"), "sides": [side], "p50_ms": null,
                "p95_ms": null, "p99_ms": null
            })
        };
        json!({ "slice_s": 60, "slices": (0..20).map(slice).collect::<Vec<_>>() })
    };
    let names = ["a", "b", "c", "d"];
    let all: Vec<_> = names.iter().map(|name| environment(name)).collect();
    let mut table = Table::default()
        .with("GET /v1/server", server())
        .with("GET /v1/environments?limit=500", json!({ "items": all }))
        .with("GET /v1/traffic?slice_s=60", history(60 * 310, 60 * 7));
    for (index, name) in names.iter().enumerate() {
        let mut row = app("web");
        row["traffic"]["served_1h"] = json!(1_000 - index);
        table = table
            .with(&format!("GET /v1/environments/{name}/apps?limit=500"), json!({ "items": [row] }))
            .with(&format!("GET /v1/environments/{name}/traffic?slice_s=60"), history(60 * 100, 0));
    }
    let (site, _) = table.site();
    let page = text(get(&site, "/", "fresh").await).await;
    assert!(page.contains("c: last 100, at most 100; all others: last 17, at most 17"), "{page}");
    assert!(page.contains("c: last 0, at most 0; all others: last 7, at most 7"), "{page}");
}
