//! What flows: events, logs, exec.

use std::time::Duration;

use ark_model::api::Role;
use ark_model::instance::InstanceState;
use ark_model::{DeploymentState, InstanceId};
use futures::{SinkExt as _, StreamExt as _};
use jiff::Timestamp;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::fixture::{LAUNCH, Server, web};

const PATIENCE: Duration = Duration::from_secs(30);

/// A server-sent event.
#[derive(Debug, Clone, PartialEq)]
struct Sent {
    name: String,
    id: String,
    data: Value,
}

struct Reader {
    response: reqwest::Response,
    text: String,
}

impl Reader {
    async fn open(request: RequestBuilder) -> Self {
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, text: String::new() }
    }

    /// The next event; `None` at the end of the stream.
    async fn next(&mut self) -> Option<Sent> {
        tokio::time::timeout(PATIENCE, self.read()).await.expect("an event in time")
    }

    async fn read(&mut self) -> Option<Sent> {
        loop {
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                let field = |name: &str| {
                    let line = block.lines().find_map(|line| line.strip_prefix(name));
                    line.map(|value| value.trim_start().to_owned()).unwrap_or_default()
                };
                if !field("data:").is_empty() {
                    let data = serde_json::from_str(&field("data:")).expect("JSON");
                    return Some(Sent { name: field("event:"), id: field("id:"), data });
                }
            }
            let chunk = self.response.chunk().await.expect("the stream goes on")?;
            self.text.push_str(std::str::from_utf8(&chunk).expect("text"));
        }
    }
}

#[tokio::test]
async fn a_follower_who_comes_back_misses_nothing() {
    let server = Server::start().await;
    let follow = |from: Option<String>| {
        let request = server.request(Role::Reader, Method::GET, "/v1/events/stream");
        match from {
            Some(id) => request.header("last-event-id", id),
            None => request,
        }
    };
    let mut reader = Reader::open(follow(None)).await;
    let make = async |name: &str| {
        server.post("/v1/environments", &json!({ "name": name })).await.expect(201);
    };
    make("a").await;
    let first = reader.next().await.expect("an event");
    assert_eq!((first.name.as_str(), &first.data["env"]), ("event", &json!("a")));
    assert_eq!(first.id, first.data["seq"].to_string());
    drop(reader);
    for name in ["b", "c", "d"] {
        make(name).await;
    }
    let mut reader = Reader::open(follow(Some(first.id.clone()))).await;
    for name in ["b", "c", "d"] {
        assert_eq!(reader.next().await.expect("an event").data["env"], name);
    }
    make("e").await;
    assert_eq!(reader.next().await.expect("an event").data["env"], "e");

    // A list goes on in the same way.
    let page = server.get(&format!("/v1/events?after={}&limit=2", first.id)).await.expect(200);
    let seen: Vec<_> =
        page["items"].as_array().expect("events").iter().map(|e| &e["env"]).collect();
    assert_eq!(seen, ["b", "c"]);
    let next = page["next"].as_str().expect("more").to_owned();
    let page = server.get(&format!("/v1/events?after={next}&limit=2")).await.expect(200);
    assert_eq!(page["items"][0]["env"], "d");

    // A filter is kept; the newest number that is known is no reason to see older events again.
    let request = server.request(Role::Reader, Method::GET, "/v1/events/stream?after=0&env=c");
    let mut only = Reader::open(request).await;
    assert_eq!(only.next().await.expect("an event").data["env"], "c");
    let bad = follow(Some("x".into()));
    server.send(bad).await.problem("invalid-value");

    // Events that are no longer kept are not silently left out.
    server.write(|tx| tx.prune_events(Timestamp::MAX, 2)).await;
    let mut late = Reader::open(follow(Some("0".into()))).await;
    let missed = late.next().await.expect("the warning");
    assert_eq!((missed.name.as_str(), &missed.data["oldest"]), ("missed", &json!(3)));
    assert_eq!(late.next().await.expect("an event").id, "3");

    // The end of the server is the end of the stream.
    server.state.shutdown.request(ark_model::api::ShutdownRequest::default());
    let end = async { while late.read().await.is_some() {} };
    tokio::time::timeout(PATIENCE, end).await.expect("the stream ends");
}

#[tokio::test]
async fn a_reader_that_does_not_keep_up_gets_everything_when_it_reads_on() {
    let server = Server::start().await;
    let request = server.request(Role::Reader, Method::GET, "/v1/events/stream");
    let mut reader = Reader::open(request).await;
    const COUNT: u64 = 3_000;
    server
        .write(|tx| {
            for number in 0..COUNT {
                tx.append_event(ark_model::event::NewEvent {
                    at: Timestamp::now(),
                    kind: ark_model::event::EventKind::Gateway,
                    by: "test".into(),
                    env: None,
                    app: None,
                    deployment: None,
                    instance: None,
                    text: format!("{number} {}", "x".repeat(1_000)),
                })?;
            }
            Ok(())
        })
        .await;
    let mut last = 0;
    for _ in 0..COUNT {
        let event = reader.next().await.expect("an event");
        let seq = event.data["seq"].as_u64().expect("a number");
        assert_eq!(seq, last + 1);
        last = seq;
    }
}

#[tokio::test]
async fn logs_of_instances_are_put_together_by_time() {
    let server = Server::start().await;
    server.deploy("dev", LAUNCH).await.expect(202);
    server.finish("dev", DeploymentState::Succeeded).await;
    let (a, b) = (
        server.instance("dev", InstanceState::Active).await,
        server.instance("dev", InstanceState::Active).await,
    );
    let at = |second: i64| Timestamp::from_second(1_700_000_000 + second).expect("a time");
    for (id, second, text) in
        [(a, 1, "a1"), (b, 2, "b2"), (a, 3, "a3"), (a, 3, "a3 again"), (b, 4, "b4")]
    {
        server.engine.write(id, at(second), text);
    }
    let path = "/v1/environments/dev/apps/web/logs";
    let texts = async |query: &str| {
        let answer = server.get(&format!("{path}{query}")).await;
        assert_eq!(answer.headers["content-type"], "application/x-ndjson");
        let lines =
            answer.text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let texts: Vec<String> =
            lines.map(|line| line["text"].as_str().expect("text").to_owned()).collect();
        texts.join(" ")
    };
    assert_eq!(texts("").await, "a1 b2 a3 a3 again b4");
    assert_eq!(texts("?tail=2").await, "a3 again b4");
    assert_eq!(texts("?tail=0").await, "");
    assert_eq!(texts(&format!("?instance={}", a.short(&web()))).await, "a1 a3 a3 again");
    // Whoever has the line of an instant wants what follows.
    assert_eq!(texts(&format!("?since={}", at(2))).await, "a3 a3 again b4");
    assert_eq!(texts(&format!("?since={}", at(3))).await, "b4");
    assert_eq!(texts(&format!("?since={}", at(4))).await, "");
    // The last lines up to an instant, not those of the last lines that were written before it.
    assert_eq!(texts(&format!("?until={}&tail=2", at(3))).await, "a3 a3 again");
    assert_eq!(texts(&format!("?until={}&tail=1", at(2))).await, "b2");
    assert_eq!(texts(&format!("?since={}&until={}", at(1), at(3))).await, "b2 a3 a3 again");
    assert_eq!(texts(&format!("?until={}", at(0))).await, "");
    let endless = format!("{path}?follow=true&until={}", at(3));
    server.get(&endless).await.problem("invalid-value");

    let mut events = Vec::new();
    for (header, query, expected) in [
        (None, format!("&since={}", at(3)), vec!["b4"]),
        // A connection that broke: what was seen of the last two seconds comes again, for another
        // instance may have written there what was not seen; and `tail` was of the beginning.
        (Some(at(3)), String::new(), vec!["a1", "b2", "a3", "a3 again", "b4"]),
        (Some(at(3)), "&tail=0".to_owned(), vec!["a1", "b2", "a3", "a3 again", "b4"]),
        (Some(at(3)), format!("&tail=1&since={}", at(2)), vec!["a3", "a3 again", "b4"]),
    ] {
        let url = format!("{path}?follow=true{query}");
        let mut request = server.request(Role::Reader, Method::GET, &url);
        if let Some(id) = header {
            request = request.header("last-event-id", id.to_string());
        }
        let mut reader = Reader::open(request).await;
        for text in expected {
            assert_eq!(reader.next().await.expect("a line").data["text"], text, "{query}");
        }
        events.push(reader);
    }
    server.engine.write(b, at(5), "b5");
    for mut reader in events {
        assert_eq!(reader.next().await.expect("a line").data["text"], "b5", "each line once");
    }

    let request = server.request(Role::Reader, Method::GET, &format!("{path}?follow=true&tail=4"));
    let mut reader = Reader::open(request).await;
    for text in ["a3", "a3 again", "b4", "b5"] {
        assert_eq!(reader.next().await.expect("a line").data["text"], text);
    }
    server.engine.write(a, Timestamp::now(), "a6");
    let line = reader.next().await.expect("a line");
    assert_eq!((line.name.as_str(), &line.data["text"]), ("line", &json!("a6")));
    assert_eq!(line.data["instance"], json!(a.short(&web())));
    assert_eq!(line.id, line.data["at"].as_str().expect("a time"));
    // An instance that starts later is followed, too.
    let c = server.instance("dev", InstanceState::Active).await;
    server.engine.write(c, Timestamp::now(), "c1");
    assert_eq!(reader.next().await.expect("a line").data["text"], "c1");
}

/// A stream of lines that broke goes on, however much came meanwhile; where that is more than is sent
/// again, or is no longer kept, it says so.
#[tokio::test]
async fn lines_that_are_lacking_are_spoken_of() {
    let server = Server::start().await;
    server.deploy("dev", LAUNCH).await.expect(202);
    server.finish("dev", DeploymentState::Succeeded).await;
    let id = server.instance("dev", InstanceState::Active).await;
    let begin = Timestamp::now();
    let at = |number: i64| begin + jiff::SignedDuration::from_millis(number);
    let open = async |query: &str, last: Option<String>| {
        let url = format!("/v1/environments/dev/apps/web/logs?follow=true{query}");
        let request = server.request(Role::Reader, Method::GET, &url);
        Reader::open(match last {
            Some(id) => request.header("last-event-id", id),
            None => request,
        })
        .await
    };
    // Nothing came yet: what it goes on from is told without a line.
    let mut reader = open("&tail=0", None).await;
    let from = loop {
        if let Some((_, from)) = reader.text.split_once("id: ") {
            break from.trim().to_owned();
        }
        let chunk = reader.response.chunk().await.expect("a chunk").expect("the stream goes on");
        reader.text.push_str(std::str::from_utf8(&chunk).expect("text"));
    };
    for number in 1..=9_999 {
        server.engine.write(id, at(60_000 + number), &number.to_string());
    }
    for last in [from, at(60_001).to_string()] {
        let mut reader = open("&tail=0", Some(last)).await;
        for number in 1..=9_999 {
            let line = reader.next().await.expect("a line");
            assert_eq!(
                (line.name.as_str(), &line.data["text"]),
                ("line", &json!(number.to_string()))
            );
        }
    }
    for number in 10_000..=20_000 {
        server.engine.write(id, at(60_000 + number), &number.to_string());
    }
    let mut reader = open("&tail=1", Some(at(60_001).to_string())).await;
    let missed = reader.next().await.expect("the warning");
    let said = json!({ "after": at(60_001), "oldest": at(70_001) });
    assert_eq!((missed.name.as_str(), missed.id.as_str(), missed.data), ("missed", "", said));
    assert_eq!(reader.next().await.expect("a line").data["text"], "10001");
    let request = server.request(Role::Reader, Method::GET, "/v1/environments/dev/apps/web/logs");
    server.send(request.header("last-event-id", "yesterday")).await.problem("invalid-value");
}

/// A client that is slow, and still has something to say when all is over, reads every word.
#[tokio::test]
async fn what_a_client_says_too_late_costs_it_no_word_of_the_command() {
    let server = Server::start().await;
    server.deploy("dev", LAUNCH).await.expect(202);
    server.finish("dev", DeploymentState::Succeeded).await;
    let id = server.instance("dev", InstanceState::Active).await;
    let mut socket = exec(&server, id).await;
    for said in
        [json!({ "type": "start", "command": ["repeat"] }), json!({ "type": "stdin_closed" })]
    {
        socket.send(Message::text(said.to_string())).await.expect("sent");
    }
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        socket.send(Message::binary(b"late".to_vec())).await.expect("sent");
    }
    let mut said = Vec::new();
    let all = async {
        while let Some(Ok(message)) = socket.next().await {
            if let Message::Text(text) = message {
                said.push(serde_json::from_str::<Value>(&text).expect("JSON"));
            }
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("it ends");
    assert_eq!(said, [json!({ "type": "started" }), json!({ "type": "exit", "code": 7 })]);
}

type Socket = tokio_tungstenite::WebSocketStream<tokio::net::TcpStream>;

fn exec_path(id: InstanceId) -> String {
    format!("/v1/environments/dev/apps/web/instances/{}/exec", id.short(&web()))
}

async fn exec(server: &Server, id: InstanceId) -> Socket {
    let url = format!("ws://{}{}", server.address, exec_path(id));
    let mut request = url.into_client_request().expect("a request");
    let bearer = format!("Bearer {}", server.token(Role::Deployer));
    request.headers_mut().insert("authorization", bearer.parse().expect("a header"));
    let stream = tokio::net::TcpStream::connect(server.address).await.expect("a connection");
    tokio_tungstenite::client_async(request, stream).await.expect("a WebSocket").0
}

#[tokio::test]
async fn exec_carries_bytes_both_ways_and_the_exit_code() {
    let server = Server::start().await;
    server.deploy("dev", LAUNCH).await.expect(202);
    server.finish("dev", DeploymentState::Succeeded).await;
    let id = server.instance("dev", InstanceState::Active).await;
    let gone = server.instance("dev", InstanceState::Stopped).await;
    server.get(&exec_path(gone)).await.problem("instance-not-running");
    server.get(&exec_path(id)).await.problem("bad-request");
    let text = |value: Value| Message::text(value.to_string());

    let mut socket = exec(&server, id).await;
    socket.send(text(json!({ "type": "start", "command": ["repeat"] }))).await.expect("sent");
    // Far more than any buffer on the way holds, before a byte comes back.
    let input: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    for chunk in input.chunks(100_000) {
        socket.send(Message::binary(chunk.to_vec())).await.expect("sent");
    }
    socket.send(text(json!({ "type": "stdin_closed" }))).await.expect("sent");
    let (mut output, mut said) = (Vec::new(), Vec::new());
    let all = async {
        while let Some(Ok(message)) = socket.next().await {
            match message {
                Message::Binary(bytes) => {
                    assert_eq!(bytes[0], 1);
                    output.extend_from_slice(&bytes[1..]);
                }
                Message::Text(text) => {
                    said.push(serde_json::from_str::<Value>(&text).expect("JSON"));
                }
                _ => {}
            }
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("it ends");
    assert_eq!(said, [json!({ "type": "started" }), json!({ "type": "exit", "code": 7 })]);
    assert!(output == input, "{} bytes came back of {}", output.len(), input.len());

    let mut socket = exec(&server, id).await;
    socket
        .send(text(json!({ "type": "start", "command": ["none", "s3cret"] })))
        .await
        .expect("sent");
    let answer = socket.next().await.expect("an answer").expect("a message");
    let answer: Value = serde_json::from_str(answer.to_text().expect("text")).expect("JSON");
    assert_eq!(answer["type"], "failed");
    assert_eq!(answer["problem"]["code"], "engine-failed");
    let events = server.get("/v1/events?limit=500").await;
    let runs: Vec<_> = events.json()["items"]
        .as_array()
        .expect("events")
        .iter()
        .filter(|event| event["kind"] == "exec")
        .map(|event| event["by"].clone())
        .collect();
    assert_eq!(runs, ["deployer", "deployer"]);
    assert!(!events.text.contains("s3cret"), "an argument is in an event");
}
