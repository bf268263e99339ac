//! The console over plain HTTP: who gets in, for how long, and who cannot make somebody else's
//! browser do anything.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use ark_model::DeploymentState;
use ark_model::api::{Role, ShutdownRequest};
use ark_server::api;
use ark_store::CallEdge;
use axum::body::{Body, Bytes, to_bytes};
use jiff::Timestamp;
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tower::ServiceExt as _;

use crate::fixture::Server;

const LAUNCH: &str = "run: {command: [./web]}\nautoscaling: {min_count: 1}\n";

struct Visitor<'a> {
    server: &'a Server,
    client: Client,
}

impl<'a> Visitor<'a> {
    fn new(server: &'a Server) -> Self {
        // As a browser does with this name.
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let client = Client::builder().redirect(reqwest::redirect::Policy::none());
        let client = client.no_proxy().resolve("ark.localhost", here);
        Self { server, client: client.build().expect("a client") }
    }

    fn request(&self, method: Method, path: &str, session: &str) -> RequestBuilder {
        let url = self.server.url(path).replacen("127.0.0.1", "ark.localhost", 1);
        let request = self.client.request(method, url);
        match session {
            "" => request,
            session => request.header("cookie", format!("ark_session={session}")),
        }
    }

    async fn get(&self, path: &str, session: &str) -> Response {
        self.request(Method::GET, path, session).send().await.expect("an answer")
    }

    async fn page(&self, path: &str, session: &str) -> String {
        self.get(path, session).await.text().await.expect("a page")
    }

    fn form(&self, path: &str, session: &str, fields: &str) -> RequestBuilder {
        let kind = "application/x-www-form-urlencoded";
        let request = self.request(Method::POST, path, session).header("content-type", kind);
        request.body(fields.to_owned())
    }

    async fn sign_in(&self, token: &str, held: &str) -> String {
        let form = self.form("/sign-in", held, &format!("token={token}&next=/"));
        session_of(&form.send().await.expect("an answer")).expect("a session")
    }

    async fn is_in(&self, session: &str) -> bool {
        self.get("/", session).await.status() == 200
    }
}

fn session_of(response: &Response) -> Option<String> {
    let cookie = response.headers().get("set-cookie")?.to_str().ok()?;
    let (_, rest) = cookie.split_once("ark_session=")?;
    Some(rest.split(';').next()?.to_owned()).filter(|session| !session.is_empty())
}

fn form_token(page: &str) -> &str {
    let (_, rest) = page.split_once("name=\"form_token\" value=\"").expect("a form");
    rest.split('"').next().expect("a token")
}

#[tokio::test]
async fn a_session_ends_with_signing_out_with_the_next_sign_in_and_with_its_token() {
    let server = Server::start().await;
    let visitor = Visitor::new(&server);
    let made = server.post("/v1/tokens", &json!({ "name": "ana", "role": "deployer" })).await;
    let made = made.expect(201);
    let token = made["token"].as_str().expect("a token");

    assert!(!visitor.is_in("").await && !visitor.is_in("planted").await);
    // A value that somebody planted is not taken over.
    let first = visitor.sign_in(token, "planted").await;
    assert_ne!(first, "planted");
    assert!(visitor.is_in(&first).await && !visitor.is_in("planted").await);
    let second = visitor.sign_in(token, &first).await;
    assert_ne!(first, second);
    assert!(visitor.is_in(&second).await && !visitor.is_in(&first).await, "it was not rotated");

    let other = visitor.sign_in(token, "").await;
    let page = visitor.page("/", &other).await;
    let fields = format!("form_token={}", form_token(&page));
    let out = visitor.form("/sign-out", &other, &fields).send().await.expect("an answer");
    assert_eq!(out.status(), 303);
    assert!(!visitor.is_in(&other).await && visitor.is_in(&second).await);

    let id = made["id"].as_str().expect("an id");
    assert_eq!(server.delete(&format!("/v1/tokens/{id}")).await.status, 204);
    assert!(!visitor.is_in(&second).await, "its token was revoked");
    let refused = visitor.form("/sign-in", "", &format!("token={token}&next=/"));
    assert_eq!(refused.send().await.expect("an answer").status(), 401);
}

#[tokio::test]
async fn a_link_is_used_once_and_acts_for_who_asked_for_it() {
    let server = Server::start().await;
    let visitor = Visitor::new(&server);
    let link = server.request(Role::Reader, Method::POST, "/v1/console/links");
    let link = server.send(link).await.expect(201);
    let path = link["path"].as_str().expect("a path");
    // A page that shows the link, or looks at it beforehand, does not use it up.
    assert!(session_of(&visitor.get(path, "").await).is_none());
    let session = session_of(&visitor.form(path, "", "").send().await.expect("an answer"));
    let session = session.expect("a session");
    let again = visitor.form(path, "", "").send().await.expect("an answer");
    assert_eq!((again.status().as_u16(), session_of(&again)), (401, None));
    // It is a reader's: there is no button, and a form made by hand is refused.
    server.deploy("dev", LAUNCH).await.expect(202);
    let page = visitor.page("/e/dev/web", &session).await;
    assert!(page.contains("Instances") && !page.contains("Restart"), "{page}");
    let fields = format!("form_token={}", form_token(&page));
    let form = visitor.form("/e/dev/web/do/restart", &session, &fields);
    assert_eq!(form.send().await.expect("an answer").status(), 403);
}

#[tokio::test]
async fn another_site_changes_nothing_and_a_form_needs_its_own_session() {
    let server = Server::start().await;
    let visitor = Visitor::new(&server);
    server.deploy("dev", LAUNCH).await.expect(202);
    let admin = visitor.sign_in(server.token(Role::Admin), "").await;
    let reader = visitor.sign_in(server.token(Role::Reader), "").await;
    let token = form_token(&visitor.page("/", &admin).await).to_owned();
    let foreign = form_token(&visitor.page("/", &reader).await).to_owned();
    let destroy = |token: &str| {
        let fields = format!("form_token={token}&name=dev");
        visitor.form("/environments/dev/destroy", &admin, &fields)
    };
    for (what, request) in [
        ("no token", destroy("")),
        ("another session's token", destroy(&foreign)),
        ("another origin", destroy(&token).header("origin", "http://evil.test")),
        ("no origin", destroy(&token).header("origin", "null")),
        ("another site", destroy(&token).header("sec-fetch-site", "cross-site")),
        ("an app of this machine", destroy(&token).header("sec-fetch-site", "same-site")),
        ("another name of the server", destroy(&token).header("host", "evil.test")),
        (
            "a navigation",
            destroy(&token)
                .header("sec-fetch-site", "cross-site")
                .header("sec-fetch-mode", "navigate")
                .header("sec-fetch-dest", "document"),
        ),
    ] {
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), 403, "{what}");
        let env = server.get("/v1/environments/dev").await.expect(200);
        assert_eq!(env["state"], "active", "{what}");
    }
    // Nobody is signed in to somebody else's account by another site.
    let form = visitor.form("/sign-in", "", &format!("token={}&next=/", server.token(Role::Admin)));
    let answer = form.header("origin", "http://evil.test").send().await.expect("an answer");
    assert_eq!((answer.status().as_u16(), session_of(&answer)), (403, None));
    // A link from elsewhere is followed, without anything being done.
    let link =
        visitor.request(Method::GET, "/e/dev/web", "").header("sec-fetch-site", "cross-site");
    let link = link.header("sec-fetch-mode", "navigate").header("sec-fetch-dest", "document");
    let answer = link.send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    assert!(answer.text().await.expect("a page").contains("Go on to the console"));
    assert_eq!(destroy(&token).send().await.expect("an answer").status(), 303);
    let env = server.get("/v1/environments/dev").await;
    assert!(env.status == 404 || env.json()["state"] == "destroying", "{}", env.text);
}

#[tokio::test]
async fn a_session_is_no_token_and_a_token_no_session() {
    let server = Server::start().await;
    let visitor = Visitor::new(&server);
    let session = visitor.sign_in(server.token(Role::Admin), "").await;
    let api = visitor.request(Method::GET, "/v1/server", &session).send().await;
    assert_eq!(api.expect("an answer").status(), 401, "the API takes no cookies");
    assert!(!visitor.is_in(server.token(Role::Admin)).await);
    let heard = server.heard();
    assert!(!heard.contains(&session), "the API told a session");
}

#[tokio::test]
async fn an_unknown_address_is_a_page_to_a_browser_and_a_problem_to_programs() {
    let server = Server::start().await;
    let visitor = Visitor::new(&server);
    let session = visitor.sign_in(server.token(Role::Reader), "").await;
    let open = visitor.request(Method::GET, "/nothing/here", &session);
    let open = open.header("accept", "text/html,application/xhtml+xml,*/*;q=0.8");
    let answer = open.send().await.expect("an answer");
    assert_eq!(answer.status(), 404);
    let page = answer.text().await.expect("a page");
    assert!(page.contains("there is no page at this address"), "{page}");
    server.get("/v1/nothing").await.problem("no-such-operation");
    let form = visitor.form("/nothing/here", &session, "").header("accept", "text/html");
    assert_eq!(form.send().await.expect("an answer").status(), 404);
}

/// What a browser says that it takes.
const HTML: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

fn asks(method: &str, path: &str, host: &str, accept: &str) -> http::Request<Body> {
    let request = http::Request::builder().method(method).uri(path).header("host", host);
    let request = request.header("accept", accept);
    let form = request.header("content-type", "application/x-www-form-urlencoded");
    form.body(Body::empty()).expect("a request")
}

/// Status, kind and text of an answer to each of these, and that programs are answered with the problem.
async fn refused(server: &Server, method: &str, path: &str, host: &str) -> (u16, String) {
    let router = api::router(server.state.clone());
    let read = async |response: http::Response<Body>| {
        let bytes = to_bytes(response.into_body(), 1 << 20).await.expect("a body");
        String::from_utf8(bytes.to_vec()).expect("text")
    };
    let program = router.clone().oneshot(asks(method, path, host, "*/*")).await;
    let program = program.expect("an answer");
    let status = program.status();
    assert_eq!(program.headers()["content-type"], "application/problem+json", "{method} {path}");
    let problem: Value = serde_json::from_str(&read(program).await).expect("JSON");
    let browser = router.oneshot(asks(method, path, host, HTML)).await.expect("an answer");
    assert_eq!(browser.status(), status, "{method} {path}");
    let headers = browser.headers();
    assert_eq!(headers["content-type"], "text/html; charset=utf-8", "{method} {path}");
    assert_eq!(headers["x-frame-options"], "DENY");
    assert_eq!(headers["cache-control"], "no-store");
    let policy = headers["content-security-policy"].to_str().expect("text").to_owned();
    let id = headers["x-request-id"].to_str().expect("text").to_owned();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    let page = read(browser).await;
    for part in
        [problem["detail"].as_str().expect("words"), problem["code"].as_str().expect("a code"), &id]
    {
        assert!(page.contains(part), "{part} in {page}");
    }
    // It needs nothing that would be refused as well.
    assert!(!page.contains("/assets/") && !page.contains("<script"), "{page}");
    (status.as_u16(), page)
}

#[tokio::test]
async fn what_is_refused_before_a_page_is_a_page_to_browsers_and_a_problem_to_programs() {
    const HOST: &str = "ark.localhost";
    let server = Server::start().await;
    for (method, path, host, status, reads) in [
        ("GET", "/e/dev/web?q=1", "evil.test", 403, "ark open --console"),
        ("POST", "/sign-in", "evil.test", 403, "ark up --allow-host NAME"),
        ("GET", "/sign-out", HOST, 405, "Back to the overview"),
        ("DELETE", "/", HOST, 404, "Back to the overview"),
        ("POST", "/nothing/here", HOST, 404, "Back to the overview"),
    ] {
        let (found, page) = refused(&server, method, path, host).await;
        assert_eq!(found, status, "{method} {path}");
        assert!(page.contains(reads) && !page.contains("Try again"), "{method} {path}: {page}");
        assert_eq!(host == HOST, page.contains("Back to the overview"), "{method} {path}: {page}");
    }
    // An operation's address has no page, whoever asks.
    let router = api::router(server.state.clone());
    let api = router.clone().oneshot(asks("GET", "/v1/server", "evil.test", HTML)).await;
    assert_eq!(api.expect("an answer").headers()["content-type"], "application/problem+json");

    // Forms that nobody is signed in for, and that are no forms.
    for (path, body, kind, status) in [
        ("/sign-in", vec![b'x'; 2 << 20], "application/x-www-form-urlencoded", 413),
        ("/sign-in", b"next=/".to_vec(), "application/x-www-form-urlencoded", 422),
        ("/sign-in", b"{}".to_vec(), "application/json", 422),
        ("/sign-in/%FF", Vec::new(), "application/x-www-form-urlencoded", 422),
    ] {
        let mut request = asks("POST", path, HOST, HTML);
        *request.body_mut() = Body::from(body);
        request.headers_mut().insert("content-type", kind.parse().expect("a kind"));
        let answer = router.clone().oneshot(request).await.expect("an answer");
        assert_eq!(answer.status(), status, "{path} {kind}");
        assert_eq!(answer.headers()["content-type"], "text/html; charset=utf-8", "{path} {kind}");
    }

    // As many as may be worked on at once; their bodies never end.
    let mut held = tokio::task::JoinSet::new();
    let inside = Arc::new(Semaphore::new(0));
    for _ in 0..512 {
        let mut request = asks("POST", "/sign-in", HOST, HTML);
        let inside = inside.clone();
        let never = futures::stream::once(async move {
            inside.add_permits(1);
            std::future::pending::<Result<Bytes, std::io::Error>>().await
        });
        *request.body_mut() = Body::from_stream(never);
        held.spawn(router.clone().oneshot(request));
    }
    let _all = inside.acquire_many(512).await.expect("it is never closed");
    let (status, page) = refused(&server, "GET", "/e/dev/web?q=1", HOST).await;
    assert_eq!(status, 503);
    assert!(page.contains("too many requests at once"), "{page}");
    assert!(page.contains("<a href=\"/e/dev/web?q=1\">Try again</a>"), "{page}");
    held.shutdown().await;

    server.state.shutdown.request(ShutdownRequest { apps: false });
    let (status, page) = refused(&server, "GET", "/", HOST).await;
    assert_eq!(status, 503);
    assert!(page.contains("Try again once the server is back"), "{page}");
}

/// Step Functions allows these names, and clients take them away from addresses.
#[tokio::test]
async fn a_workflow_called_dots_is_found_started_and_stopped() {
    let server = Server::start().await;
    let visitor = Visitor::new(&server);
    let machine = json!({ "StartAt": "W", "States": {
        "W": { "Type": "Wait", "Seconds": 600, "End": true }
    }});
    for name in [".", ".."] {
        server.machine(name, &machine).await;
        server.begin_named(name, name, &json!({ "word": name })).await;
        let path = format!("/v1/workflows/~{name}/executions");
        let found = server.get(&path).await.expect(200);
        assert_eq!(found["items"][0]["name"], name, "{found}");
        let events = server.get(&format!("{path}/~{name}/events")).await.expect(200);
        assert_eq!(events["items"][0]["kind"], "ExecutionStarted", "{events}");
    }
    let token = server.token(Role::Admin);
    let session = visitor.sign_in(token, "").await;
    let list = visitor.page("/workflows", &session).await;
    for name in [".", ".."] {
        let (workflow, execution) =
            (format!("/workflows/~{name}"), format!("/workflows/~{name}/x/~{name}"));
        assert!(list.contains(&format!("href=\"{workflow}\"")), "{list}");
        let page = visitor.page(&workflow, &session).await;
        assert!(page.contains(&format!("href=\"{execution}\"")), "{page}");
        let page = visitor.page(&execution, &session).await;
        assert!(page.contains(&format!("data-live-from=\"{execution}/live")), "{page}");
        let like = format!("{workflow}/start?like={name}");
        assert!(page.contains(&format!("href=\"{like}\"")), "{page}");
        let start = visitor.page(&like, &session).await;
        assert!(start.contains(&format!("action=\"{workflow}/start\"")), "{start}");
        let fields =
            format!("form_token={}&input=%7B%7D&key={}", form_token(&start), "0".repeat(32));
        let form = visitor.form(&format!("{workflow}/start"), &session, &fields);
        let answer = form.send().await.expect("an answer");
        let next = answer.headers()["location"].to_str().expect("text").to_owned();
        assert!(next.starts_with(&format!("{workflow}/x/")), "{next}");
        assert_eq!(visitor.get(&next, &session).await.status(), 200);
        let fields = format!("form_token={}&reason=x", form_token(&start));
        let form = visitor.form(&format!("{execution}/do/stop"), &session, &fields);
        assert_eq!(form.send().await.expect("an answer").status(), 303);
        let path = format!("/v1/workflows/~{name}/executions/~{name}");
        assert_eq!(server.get(&path).await.expect(200)["status"], "ABORTED");
    }
    // A schedule is Ark's own, and may be called so as well.
    let schedule = json!({ "workflow": "..", "cron": "0 3 * * *" });
    let put = server.request(Role::Admin, Method::PUT, "/v1/schedules/~..").json(&schedule);
    assert_eq!(server.send(put).await.expect(200)["name"], "..");
    let list = visitor.page("/workflows", &session).await;
    let fields = format!("form_token={}", form_token(&list));
    let form = visitor.form("/schedules/~../pause", &session, &fields);
    assert_eq!(form.send().await.expect("an answer").status(), 303);
    assert_eq!(server.get("/v1/schedules/~..").await.expect(200)["paused"], true);
}

#[tokio::test]
async fn dependencies_are_told_in_words_beside_the_drawing() {
    let server = Server::start().await;
    let visitor = Visitor::new(&server);
    server.deploy("dev", &format!("{LAUNCH}dependencies: [api, db]\n")).await.expect(202);
    for app in ["api", "mail"] {
        let path = format!("/v1/environments/dev/apps/{app}/deployments");
        let launch = json!({ "file": format!("launch/{app}.yml"), "text": LAUNCH });
        server.post(&path, &json!({ "launch": launch })).await.expect(202);
    }
    server.finish("dev", DeploymentState::Succeeded).await;
    for to in ["api", "mail"] {
        let key = |app: &str| ("dev".parse().expect("a name"), app.parse().expect("a name"));
        let edge = CallEdge { from: key("web"), to: key(to) };
        server.write(move |tx| tx.note_call(&edge, Timestamp::now())).await;
    }
    let view = server.get("/v1/environments/dev/dependencies").await.expect(200);
    let known: Vec<&str> = view["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|item| item["known"].as_str().expect("a word"))
        .collect();
    assert_eq!(known, ["both", "declared", "observed"], "{view}");
    assert_eq!((&view["total"], &view["next"]), (&json!(3), &json!(null)), "{view}");
    let first = server.get("/v1/environments/dev/dependencies?limit=2").await.expect(200);
    let next = first["next"].as_str().expect("a cursor");
    let path = format!("/v1/environments/dev/dependencies?limit=2&cursor={next}");
    let second = server.get(&path).await.expect(200);
    assert_eq!(first["items"].as_array().map(Vec::len), Some(2), "{first}");
    assert_eq!(second["items"], json!([view["items"][2]]), "{second}");
    assert_eq!((&second["total"], &second["next"]), (&json!(3), &json!(null)), "{second}");
    for (query, problem) in [("limit=0", "invalid-value"), ("cursor=dev", "invalid-value")] {
        let path = format!("/v1/environments/dev/dependencies?{query}");
        server.get(&path).await.problem(problem);
    }
    server.get("/v1/environments/none/dependencies").await.problem("environment-not-found");

    let session = visitor.sign_in(server.token(Role::Reader), "").await;
    let page = visitor.page("/environments/dev", &session).await;
    for (part, times) in [
        ("<title>web needs api: declared and seen</title><path class=\"edge\"", 1),
        ("<title>web needs mail: seen, not declared</title><path class=\"edge observed\"", 1),
        // In the legend and in the table.
        ("<span class=\"way both\">declared and seen</span>", 2),
        ("<span class=\"way declared\">declared, not seen</span>", 2),
        ("<span class=\"way observed\">seen, not declared</span>", 2),
        ("there is no db in dev", 1),
        ("nothing starts mail before web", 1),
    ] {
        assert_eq!(page.matches(part).count(), times, "{part} in {page}");
    }
}
