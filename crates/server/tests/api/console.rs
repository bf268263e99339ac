//! The console over plain HTTP: who gets in, for how long, and who cannot make somebody else's
//! browser do anything.

use std::net::{Ipv4Addr, SocketAddr};

use ark_model::DeploymentState;
use ark_model::api::Role;
use ark_store::CallEdge;
use jiff::Timestamp;
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::json;

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
