//! Pages over a host that answers from a table: what a page shows of an answer, who may see it, and
//! that nothing an app is named or says becomes markup.

mod table;

use ark_model::api::{Problem, ProblemCode};
use axum::body::Body;
use http::{Request, StatusCode, header};
use serde_json::json;
use tower::ServiceExt as _;

use table::{Table, app, get, location, post, server, text, token_of, world};

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
async fn three_hundred_apps_are_a_small_page() {
    let rows: Vec<_> = (0..300).map(|n| app(&format!("customer-app-{n}"))).collect();
    let apps = "GET /v1/environments/production/apps?limit=500";
    let (site, _) = world().with(apps, json!({ "items": rows })).site();
    let page = text(get(&site, "/", "fresh").await).await;
    assert!(page.contains("customer-app-299"));
    assert!(page.len() < 150_000, "{} bytes", page.len());
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
    assert_eq!(get(&site, "/live", "unknown").await.status(), StatusCode::UNAUTHORIZED);
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
