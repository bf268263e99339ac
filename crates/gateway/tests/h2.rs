//! HTTP/2 at the socket: all crossings with HTTP/1.1, gRPC, WebSockets, drain, and what clients may
//! not do.

#[path = "support/h2.rs"]
mod h2_support;
mod support;
#[path = "support/tls.rs"]
mod tls_support;

use std::time::Duration;

use ark_gateway::role::Config;
use ark_model::gateway::RefusalKind;
use ark_model::route::{Route, RouteProtocol, TargetState};
use bytes::Bytes;
use h2_support::{Answer, H2, H2Backend, send_all, whole};
use http::{HeaderMap, Request, Response};
use support::{Ark, Backend, draining, ends, route};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A gateway with one route for host `a.test` to this target, ready.
async fn ark_for(backend: &H2Backend, protocol: RouteProtocol) -> (Ark, Route) {
    let mut ark = Ark::start().await;
    let mut route = route(vec![backend.target()]);
    route.protocol = protocol;
    ark.server.push(std::slice::from_ref(&route)).await;
    ark.server.until_ready(&[backend.instance]).await;
    (ark, route)
}

fn post(path: &str) -> Request<()> {
    Request::post(format!("http://a.test{path}")).body(()).unwrap()
}

/// A message as gRPC frames it.
fn message(bytes: &[u8]) -> Bytes {
    let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
    Bytes::from([&[0], &length[..], bytes].concat())
}

fn grpc_request(path: &str) -> http::request::Builder {
    Request::post(format!("http://a.test{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
}

fn grpc_ok() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    trailers
}

#[tokio::test]
async fn http2_to_http1() {
    let backend = Backend::start(|mut peer| async move {
        while let Some(head) = peer.head().await {
            if head.contains("transfer-encoding: chunked") {
                peer.body(b"5\r\nhello\r\n0\r\n\r\n".len()).await;
                peer.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n")
                    .await;
                peer.say("3\r\nabc\r\n0\r\nX-T: yes\r\n\r\n").await;
            } else if head.contains("content-length: 4") {
                let body = peer.body(4).await;
                peer.answer(std::str::from_utf8(&body).unwrap()).await;
            } else if head.starts_with("HEAD") {
                peer.say("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n").await;
            } else {
                peer.say("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n").await;
                peer.say("HTTP/1.1 200 OK\r\nConnection: x-hop\r\nX-Hop: 1\r\n").await;
                peer.say("Content-Length: 2\r\n\r\nhi").await;
            }
        }
    })
    .await;
    let (mut ark, _) = Ark::with(&[&backend]).await;
    let mut client = H2::connect(ark.http).await;

    let request =
        Request::get("http://a.test/x?y=1").header("cookie", "a=1").header("cookie", "b=2");
    let (response, _) = client.begin(request.body(()).unwrap(), true).await;
    let answer = whole(response).await.unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (200, "hi"));
    assert!(!answer.fields.contains_key("x-hop") && !answer.fields.contains_key("connection"));
    let head = backend.heads.lock().unwrap()[0].clone();
    assert!(head.starts_with("GET /x?y=1 HTTP/1.1\r\nhost: a.test\r\n"), "{head}");
    assert!(head.contains("cookie: a=1; b=2\r\n"), "{head}");
    assert!(head.contains("x-forwarded-for: 127.0.0.1\r\n"), "{head}");
    assert!(head.contains("x-forwarded-proto: http\r\n"), "{head}");

    let (response, mut body) = client.begin(post("/chunked"), false).await;
    send_all(&mut body, Bytes::from_static(b"hello"), true).await;
    let answer = whole(response).await.unwrap();
    assert_eq!(answer.text(), "abc");
    assert_eq!(answer.trailers.unwrap()["x-t"], "yes");

    let mut request = post("/length");
    request.headers_mut().insert("content-length", "4".parse().unwrap());
    let (response, mut body) = client.begin(request, false).await;
    send_all(&mut body, Bytes::from_static(b"four"), true).await;
    assert_eq!(whole(response).await.unwrap().text(), "four");

    let request = Request::head("http://a.test/").body(()).unwrap();
    let (response, _) = client.begin(request, true).await;
    let answer = whole(response).await.unwrap();
    assert_eq!((answer.fields["content-length"].as_bytes(), answer.body.len()), (&b"7"[..], 0));

    let request = Request::get("http://other.test/").body(()).unwrap();
    let (response, _) = client.begin(request, true).await;
    let answer = whole(response).await.unwrap();
    assert_eq!((answer.status, answer.fields["x-ark-error"].as_bytes()), (404, &b"no_route"[..]));

    let report = ark.server.until_ended(backend.instance, 4).await;
    assert_eq!(ends(&report.counters), (4, 0, 0, 0));
}

#[tokio::test]
async fn http1_to_http2() {
    let backend = H2Backend::echo().await;
    let (mut ark, _) = ark_for(&backend, RouteProtocol::H2c).await;
    let mut client = ark.client().await;
    let answer = client.get("/path?q").await;
    assert_eq!((answer.status, answer.field("x-method")), (200, Some("GET")));
    client.say("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello").await;
    let answer = client.answer().await;
    assert_eq!(answer.body, "hellox-count: 5\r\n", "body and trailer");
    client.say("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    client.say("3\r\nabc\r\n2\r\nde\r\n0\r\n\r\nGET /next HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    assert_eq!(client.answer().await.body, "abcdex-count: 5\r\n");
    assert_eq!(client.answer().await.status, 200, "pipelined");
    {
        let seen = backend.seen.lock().unwrap();
        assert_eq!(seen[0].uri, "http://a.test/path?q");
        assert_eq!(seen[0].headers["x-forwarded-for"], "127.0.0.1");
        assert!(!seen[1].headers.contains_key("host"));
    }
    client.say("HEAD / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").await;
    assert!(client.until_closed().await);
    assert!(client.rest().ends_with("connection: close\r\n\r\n"));
    assert_eq!(*backend.connections.lock().unwrap(), 1, "one connection is shared");
    let report = ark.server.until_ended(backend.instance, 5).await;
    assert_eq!(ends(&report.counters), (5, 0, 0, 0));
}

#[tokio::test]
async fn large_bodies_cross_both_ways_at_once() {
    const LENGTH: usize = 2 << 20;
    let backend = H2Backend::echo().await;
    let (mut ark, _) = ark_for(&backend, RouteProtocol::H2c).await;
    let client = H2::connect(ark.http).await;
    let body =
        Bytes::from((0..LENGTH).map(|at| u8::try_from(at % 251).unwrap()).collect::<Vec<_>>());
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (mut client, body) = (client.again(), body.clone());
        requests.spawn(async move {
            let (response, mut stream) = client.begin(post("/"), false).await;
            let sent = body.clone();
            let sending = tokio::spawn(async move { send_all(&mut stream, sent, true).await });
            let answer = whole(response).await.unwrap();
            sending.await.unwrap();
            assert!(answer.body == body, "bytes changed");
            assert_eq!(answer.trailers.unwrap()["x-count"], LENGTH.to_string().as_str());
        });
    }
    while let Some(done) = requests.join_next().await {
        done.unwrap();
    }
    let report = ark.server.until_ended(backend.instance, 4).await;
    assert_eq!(ends(&report.counters), (4, 0, 0, 0));
    assert!(report.counters.response_bytes >= 4 * LENGTH as u64);
}

#[tokio::test]
async fn a_target_cannot_send_more_than_a_window_to_a_client_that_does_not_read() {
    let sent = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = sent.clone();
    let backend = H2Backend::start(move |_, _, mut respond| {
        let counted = counted.clone();
        async move {
            let mut answer = respond.send_response(Response::new(()), false).unwrap();
            loop {
                answer.reserve_capacity(16 << 10);
                let Some(Ok(room)) = std::future::poll_fn(|cx| answer.poll_capacity(cx)).await
                else {
                    return;
                };
                counted.fetch_add(room, std::sync::atomic::Ordering::Relaxed);
                if answer.send_data(Bytes::from(vec![7; room]), false).is_err() {
                    return;
                }
            }
        }
    })
    .await;
    let (mut ark, _) = ark_for(&backend, RouteProtocol::H2c).await;
    let mut client = H2::connect(ark.http).await;
    let request = Request::get("http://a.test/").body(()).unwrap();
    let (response, _) = client.begin(request, true).await;
    let body = response.await.unwrap().into_body();
    let mut before = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let now = sent.load(std::sync::atomic::Ordering::Relaxed);
        if now == before && now > 0 {
            break;
        }
        before = now;
    }
    assert!(before < 1 << 20, "{before} bytes are on their way");
    // It leaves: the target is told, and it counts as the client's doing.
    drop(body);
    let report = ark.server.until_ended(backend.instance, 1).await;
    assert_eq!(ends(&report.counters), (0, 0, 0, 1));
}

#[tokio::test]
async fn a_client_that_resets_its_request_cancels_it_upstream() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let backend = H2Backend::start(move |_, _, mut respond| {
        let tell = tell.clone();
        async move {
            let reason = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
            let _ = tell.send(reason.unwrap());
        }
    })
    .await;
    let (mut ark, _) = ark_for(&backend, RouteProtocol::H2c).await;
    let mut client = H2::connect(ark.http).await;
    let request = Request::get("http://a.test/").body(()).unwrap();
    let (_response, mut stream) = client.begin(request, true).await;
    ark.server.until_target(backend.instance, "in flight", |t| t.in_flight == 1).await;
    stream.send_reset(h2::Reason::CANCEL);
    let reason = tokio::time::timeout(support::PATIENCE, told.recv()).await.unwrap().unwrap();
    assert_eq!(reason, h2::Reason::CANCEL);
    let report = ark.server.until_ended(backend.instance, 1).await;
    assert_eq!(ends(&report.counters), (0, 0, 0, 1));
}

#[tokio::test]
async fn limits_and_deadlines_hold_for_streams() {
    let backend = Backend::start(|mut peer| async move {
        while let Some(head) = peer.head().await {
            if head.contains("/slow") {
                tokio::time::sleep(Duration::from_secs(60)).await;
            }
            peer.answer("ok").await;
        }
    })
    .await;
    let mut ark = Ark::start().await;
    let mut route = route(vec![backend.target()]);
    route.limits.body_bytes_max = 10;
    route.limits.response_header_ms = 300;
    ark.server.push(&[route]).await;
    ark.server.until_ready(&[backend.instance]).await;
    let mut client = H2::connect(ark.http).await;
    let slow = client.get("/slow").await;
    assert_eq!(
        (slow.status, slow.fields["x-ark-error"].as_bytes()),
        (504, &b"upstream_timeout"[..])
    );
    let mut request = post("/");
    request.headers_mut().insert("content-length", "11".parse().unwrap());
    let (response, _body) = client.begin(request, false).await;
    assert_eq!(whole(response).await.unwrap().status, 413);
    let (response, mut body) = client.begin(post("/slow"), false).await;
    send_all(&mut body, Bytes::from(vec![1; 11]), false).await;
    assert_eq!(whole(response).await.unwrap().status, 413);
    assert_eq!(client.get("/").await.text(), "ok", "the connection goes on");
}

#[tokio::test]
async fn requests_are_held_and_repeated_as_over_http1() {
    let mut dead = H2Backend::echo().await;
    let mut ark = Ark::start().await;
    let mut route = route(vec![dead.target()]);
    route.protocol = RouteProtocol::H2c;
    route.limits.hold_ms = 10_000;
    ark.server.push(std::slice::from_ref(&route)).await;
    ark.server.until_ready(&[dead.instance]).await;
    let mut client = H2::connect(ark.http).await;
    assert_eq!(client.get("/").await.status, 200);
    dead.kill();
    let alive = H2Backend::echo().await;
    let held = tokio::spawn(async move { client.get("/held").await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!held.is_finished());
    route.targets = vec![alive.target()];
    ark.server.push(&[route]).await;
    assert_eq!(held.await.unwrap().status, 200);
    dead = alive;
    let report = ark.server.until_ended(dead.instance, 1).await;
    assert_eq!(ends(&report.counters), (1, 0, 0, 0));
}

#[tokio::test]
async fn grpc_calls_pass_with_trailers_deadlines_and_statuses() {
    let backend = H2Backend::start(|parts, mut body, mut respond| async move {
        let sent = h2_support::read_all(&mut body).await.unwrap_or_default();
        let response = Response::builder().header("content-type", "application/grpc");
        match parts.uri.path() {
            "/slow" => tokio::time::sleep(Duration::from_secs(60)).await,
            "/only" => {
                let head = response.header("grpc-status", "5").body(()).unwrap();
                respond.send_response(head, true).unwrap();
            }
            _ => {
                let mut answer = respond.send_response(response.body(()).unwrap(), false).unwrap();
                send_all(&mut answer, Bytes::from(sent), false).await;
                answer.send_trailers(grpc_ok()).unwrap();
            }
        }
    })
    .await;
    let (mut ark, mut route) = ark_for(&backend, RouteProtocol::Grpc).await;
    let mut client = H2::connect(ark.http).await;
    let call = async |client: &mut H2, path: &str, timeout: Option<&str>| -> Answer {
        let mut request = grpc_request(path);
        if let Some(timeout) = timeout {
            request = request.header("grpc-timeout", timeout);
        }
        let (response, mut body) = client.begin(request.body(()).unwrap(), false).await;
        send_all(&mut body, message(b"ping"), true).await;
        whole(response).await.unwrap()
    };
    let answer = call(&mut client, "/echo", Some("5S")).await;
    assert_eq!(answer.body, message(b"ping"));
    assert_eq!(answer.trailers.unwrap()["grpc-status"], "0");
    {
        let seen = backend.seen.lock().unwrap();
        assert_eq!(seen[0].headers["te"], "trailers");
        let told = seen[0].headers["grpc-timeout"].to_str().unwrap();
        let left: u64 = told.strip_suffix('m').unwrap().parse().unwrap();
        assert!((4_000..=5_000).contains(&left), "{told}");
    }
    let answer = call(&mut client, "/only", None).await;
    assert_eq!(answer.fields["grpc-status"], "5");

    let began = std::time::Instant::now();
    let answer = call(&mut client, "/slow", Some("300m")).await;
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!((answer.status, answer.fields["grpc-status"].as_bytes()), (200, &b"4"[..]));
    assert_eq!(answer.fields["x-ark-error"], "upstream_timeout");

    let report = ark.server.until_ended(backend.instance, 3).await;
    assert_eq!(ends(&report.counters), (2, 0, 0, 1), "its own deadline");

    route.targets.clear();
    ark.server.push(&[route]).await;
    let answer = call(&mut client, "/echo", None).await;
    assert_eq!((answer.status, answer.fields["grpc-status"].as_bytes()), (200, &b"14"[..]));
    assert_eq!(answer.fields["grpc-message"], "app web in environment test: the app is stopped");
}

#[tokio::test]
async fn grpc_streams_end_between_messages_when_their_turn_comes() {
    let backend = H2Backend::start(|_, body, mut respond| async move {
        let response = Response::builder().header("content-type", "application/grpc");
        let mut answer = respond.send_response(response.body(()).unwrap(), false).unwrap();
        loop {
            send_all(&mut answer, message(b"tick"), false).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
            if std::future::poll_fn(|cx| std::task::Poll::Ready(answer.poll_reset(cx).is_ready()))
                .await
            {
                drop(body);
                return;
            }
        }
    })
    .await;
    let (mut ark, mut route) = ark_for(&backend, RouteProtocol::Grpc).await;
    let mut client = H2::connect(ark.http).await;
    let mut calls = Vec::new();
    for _ in 0..5 {
        let (response, mut body) =
            client.begin(grpc_request("/watch").body(()).unwrap(), false).await;
        send_all(&mut body, message(b"go"), true).await;
        calls.push(tokio::spawn(whole(response)));
    }
    ark.server.until_target(backend.instance, "streams", |t| t.streams == 5).await;
    route.targets = vec![backend.target_in(draining(100, 3_000))];
    ark.server.push(&[route]).await;
    for call in calls {
        let answer = call.await.unwrap().unwrap();
        assert_eq!(answer.trailers.unwrap()["grpc-status"], "14");
        assert_eq!(answer.body.len() % message(b"tick").len(), 0, "a message was torn");
    }
    let report = ark.server.until_ended(backend.instance, 5).await;
    assert_eq!(ends(&report.counters), (5, 0, 0, 0));
}

#[tokio::test]
async fn events_over_http2_are_not_held_back_and_end_whole() {
    let backend = Backend::start(|mut peer| async move {
        while peer.head().await.is_some() {
            peer.say("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n").await;
            for count in 0.. {
                peer.say(&format!("data: {count}\n\n")).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    })
    .await;
    let (mut ark, mut route) = Ark::with(&[&backend]).await;
    let mut client = H2::connect(ark.http).await;
    let request = Request::get("http://a.test/").body(()).unwrap();
    let (response, _) = client.begin(request, true).await;
    let mut body =
        tokio::time::timeout(support::PATIENCE, response).await.unwrap().unwrap().into_body();
    let first =
        tokio::time::timeout(support::PATIENCE, body.data()).await.unwrap().unwrap().unwrap();
    assert!(first.starts_with(b"data: 0\n\n"), "{first:?}");
    ark.server.until_target(backend.instance, "a stream", |t| t.streams == 1).await;
    route.targets = vec![backend.target_in(draining(100, 2_000))];
    ark.server.push(&[route]).await;
    let mut last = first.to_vec();
    while let Some(data) = tokio::time::timeout(support::PATIENCE, body.data()).await.unwrap() {
        last.extend_from_slice(&data.expect("the stream ends in order"));
    }
    assert!(last.ends_with(b"\n\n"));
    let report = ark.server.until_ended(backend.instance, 1).await;
    assert_eq!(ends(&report.counters), (1, 0, 0, 0));
}

#[tokio::test]
async fn requests_of_a_draining_target_are_cut_at_their_deadline_and_no_sooner() {
    let backend = H2Backend::start(|parts, _, mut respond| async move {
        let wait = if parts.uri.path() == "/slow" { 60_000 } else { 300 };
        tokio::time::sleep(Duration::from_millis(wait)).await;
        let _ = respond.send_response(Response::new(()), true);
    })
    .await;
    let (mut ark, mut route) = ark_for(&backend, RouteProtocol::H2c).await;
    let mut client = H2::connect(ark.http).await;
    let get = |path: &str| Request::get(format!("http://a.test{path}")).body(()).unwrap();
    let (slow, _) = client.begin(get("/slow"), true).await;
    let (quick, _) = client.begin(get("/quick"), true).await;
    ark.server.until_target(backend.instance, "in flight", |t| t.in_flight == 2).await;
    route.targets = vec![backend.target_in(draining(1_000, 1_000))];
    ark.server.push(&[route]).await;
    assert_eq!(whole(quick).await.unwrap().status, 200);
    let cut = whole(slow).await.unwrap();
    assert_eq!((cut.status, cut.fields["x-ark-error"].as_bytes()), (503, &b"drained"[..]));
    let report = ark.server.until_ended(backend.instance, 2).await;
    assert_eq!(ends(&report.counters), (1, 0, 1, 0));
}

#[tokio::test]
async fn a_gateway_that_ends_says_goodbye_and_finishes_what_it_has() {
    let backend = Backend::start(|mut peer| async move {
        while peer.head().await.is_some() {
            tokio::time::sleep(Duration::from_millis(500)).await;
            peer.answer("late").await;
        }
    })
    .await;
    let (mut ark, _) = Ark::with(&[&backend]).await;
    let mut client = H2::connect(ark.http).await;
    let request = Request::get("http://a.test/").body(()).unwrap();
    let (response, _) = client.begin(request, true).await;
    ark.server.until_target(backend.instance, "in flight", |t| t.in_flight == 1).await;
    let gateway = ark.gateway.take().unwrap();
    gateway.stop(Duration::from_secs(10));
    assert_eq!(whole(response).await.unwrap().text(), "late");
    let ended = tokio::time::timeout(support::PATIENCE, client.driver).await.unwrap().unwrap();
    assert!(ended.is_ok(), "{ended:?}");
    tokio::task::spawn_blocking(|| gateway.wait()).await.unwrap();
}

#[tokio::test]
async fn http2_by_alpn_over_tls() {
    let dir = tempfile::tempdir().unwrap();
    let any = || vec!["127.0.0.1:0".parse().unwrap()];
    let config =
        Config { data_dir: dir.path().to_owned(), http: any(), https: any(), ..Config::default() };
    let mut ark = Ark::start_as(dir, config).await;
    let backend = Backend::echo("over both").await;
    let mut route = route(vec![backend.target()]);
    route.hosts = vec!["localhost".to_owned()];
    ark.server.push(&[route]).await;
    ark.server.until_ready(&[backend.instance]).await;
    // curl-like: no check of the certificate, as `tls.rs` has those.
    let stream = tls_support::connect_unchecked(ark.https(), "localhost", &[b"h2"]).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let mut client = H2::over(stream).await;
    let request = Request::get("https://localhost/").body(()).unwrap();
    let (response, _) = client.begin(request, true).await;
    assert_eq!(whole(response).await.unwrap().text(), "over both");
    assert!(backend.heads.lock().unwrap()[0].contains("x-forwarded-proto: https\r\n"));
}

/// Frames of HTTP/2, by hand.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Sends `flood` over and over until the gateway closes; the reason of its GOAWAY.
async fn until_goodbye(ark: &Ark, mut flood: impl FnMut(u32) -> Vec<u8>) -> Option<u32> {
    let mut stream = TcpStream::connect(ark.http).await.unwrap();
    stream.write_all(&[PREFACE, &frame(4, 0, 0, &[])].concat()).await.unwrap();
    let (mut read, mut write) = stream.into_split();
    let reading = tokio::spawn(async move {
        let mut bytes = Vec::new();
        while matches!(read.read_buf(&mut bytes).await, Ok(1..)) {}
        bytes
    });
    for count in 0..200_000 {
        if write.write_all(&flood(count)).await.is_err() || reading.is_finished() {
            break;
        }
    }
    let bytes = tokio::time::timeout(support::PATIENCE, reading).await.unwrap().unwrap();
    let mut rest = &bytes[..];
    let mut reason = None;
    while let [a, b, c, kind, _, _, _, _, _, tail @ ..] = rest {
        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        let Some((payload, next)) = tail.split_at_checked(length) else { break };
        if *kind == 7 {
            reason = Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
        }
        rest = next;
    }
    reason
}

#[tokio::test]
async fn floods_are_answered_with_enhance_your_calm() {
    let backend = Backend::echo("ok").await;
    let (mut ark, _) = Ark::with(&[&backend]).await;
    const CALM: Option<u32> = Some(0xb);
    // :method GET, :scheme http, :path /, :authority a.test, by HPACK's static table.
    let head = [&[0x82, 0x86, 0x84, 0x41, 6][..], b"a.test"].concat();
    assert_eq!(until_goodbye(&ark, |_| frame(6, 0, 0, &[0; 8])).await, CALM, "PING");
    assert_eq!(until_goodbye(&ark, |_| frame(4, 0, 0, &[])).await, CALM, "SETTINGS");
    let rapid = |count: u32| {
        let stream = count * 2 + 1;
        [frame(1, 5, stream, &head), frame(3, 0, stream, &[0, 0, 0, 8])].concat()
    };
    assert_eq!(until_goodbye(&ark, rapid).await, CALM, "rapid reset");
    let continuation = |count: u32| match count {
        0 => frame(1, 1, 1, &head),
        _ => frame(9, 0, 1, &[]),
    };
    assert_eq!(until_goodbye(&ark, continuation).await, CALM, "CONTINUATION");
    let empty = |count: u32| match count {
        0 => frame(1, 4, 1, &[&[0x83], &head[1..]].concat()),
        _ => frame(0, 0, 1, &[]),
    };
    assert_eq!(until_goodbye(&ark, empty).await, CALM, "empty DATA");
    // A body of small pieces, which may last, pays for none of them.
    let open = frame(1, 4, 1, &[&[0x83], &head[1..]].concat());
    let pieces = [0, 1, 2, 3, 4, 5].map(|_| frame(0, 0, 1, &[7])).concat();
    let paid = |count: u32| {
        let stream = count * 2 + 3;
        let begun = if count == 0 { open.clone() } else { Vec::new() };
        let reset = frame(3, 0, stream, &[0, 0, 0, 8]);
        [&begun[..], &pieces, &frame(1, 5, stream, &head), &reset].concat()
    };
    assert_eq!(until_goodbye(&ark, paid).await, CALM, "rapid reset beside small DATA");
    let settings = |count: u32| {
        let begun = if count == 0 { open.clone() } else { Vec::new() };
        [&begun[..], &pieces, &frame(4, 0, 0, &[])].concat()
    };
    assert_eq!(until_goodbye(&ark, settings).await, CALM, "SETTINGS beside small DATA");
    let counted = |known: &support::Known| {
        let refusals = known.last.as_ref().map(|report| report.refusals.clone());
        refusals.is_some_and(|refusals| refusals.get(&RefusalKind::Http2Flood) == Some(&7))
    };
    ark.server.until("seven floods are counted", counted).await;
    // Others are served on.
    assert_eq!(H2::connect(ark.http).await.get("/").await.text(), "ok");
}

#[tokio::test]
async fn web_sockets_cross_in_all_ways() {
    // An HTTP/1.1 target, and an HTTP/2 one, that echo bytes.
    let h1 = Backend::start(|mut peer| async move {
        let head = peer.head().await.unwrap();
        assert!(
            head.contains("upgrade: websocket\r\n") && head.contains("sec-websocket-key: "),
            "{head}"
        );
        peer.say("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n").await;
        peer.say("Connection: Upgrade\r\nSec-WebSocket-Accept: x\r\nX-Sub: y\r\n\r\n").await;
        let (mut read, mut write) = peer.stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
    })
    .await;
    let h2 = H2Backend::start(|parts, mut body, mut respond| async move {
        assert_eq!(parts.method, http::Method::CONNECT);
        assert_eq!(parts.extensions.get::<h2::ext::Protocol>().unwrap().as_str(), "websocket");
        let mut answer = respond.send_response(Response::new(()), false).unwrap();
        while let Some(Ok(data)) = body.data().await {
            let _ = body.flow_control().release_capacity(data.len());
            send_all(&mut answer, data, false).await;
        }
        let _ = answer.send_data(Bytes::new(), true);
    })
    .await;
    let mut ark = Ark::start().await;
    let mut one = route(vec![h1.target()]);
    one.hosts = vec!["h1.test".to_owned()];
    let mut two = route(vec![h2.target()]);
    two.key.expose = "two".to_owned();
    two.hosts = vec!["h2.test".to_owned()];
    two.protocol = RouteProtocol::H2c;
    ark.server.push(&[one.clone(), two.clone()]).await;
    ark.server.until_ready(&[h1.instance, h2.instance]).await;
    // A masked text frame.
    let text = b"\x81\x85\0\0\0\0hello".as_slice();

    let mut client = H2::connect(ark.http).await;
    // The client learns from the settings that it may.
    while !client.send.is_extended_connect_protocol_enabled() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut open = Vec::new();
    for host in ["h1.test", "h2.test"] {
        let mut request = Request::builder()
            .method(http::Method::CONNECT)
            .uri(format!("http://{host}/chat"))
            .header("sec-websocket-version", "13")
            .body(())
            .unwrap();
        request.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
        let (response, mut send) = client.begin(request, false).await;
        let response = tokio::time::timeout(support::PATIENCE, response).await.unwrap().unwrap();
        assert_eq!(response.status(), 200, "{host}");
        assert!(!response.headers().contains_key("sec-websocket-accept"));
        let mut body = response.into_body();
        send_all(&mut send, Bytes::from_static(text), false).await;
        let echoed = tokio::time::timeout(support::PATIENCE, body.data()).await.unwrap();
        assert_eq!(echoed.unwrap().unwrap(), text, "{host}");
        open.push((send, body));
    }
    let mut classic = ark.client().await;
    classic
        .say(
            "GET /chat HTTP/1.1\r\nHost: h2.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
              Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .await;
    let answer = classic.answer().await;
    assert_eq!(answer.status, 101, "{}", answer.head);
    assert_eq!(answer.field("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    classic.stream.write_all(text).await.unwrap();
    assert_eq!(classic.bytes(text.len()).await, text);

    // All are told to go, between two frames.
    for (route, backend) in [
        (&mut one, h1.target_in(draining(100, 2_000))),
        (&mut two, h2.target_in(draining(100, 2_000))),
    ] {
        route.targets = vec![backend];
    }
    ark.server.push(&[one, two]).await;
    const GOING_AWAY: &[u8] = b"\x88\x02\x03\xe9";
    assert_eq!(classic.bytes(4).await, GOING_AWAY);
    for (_, body) in &mut open {
        let close = tokio::time::timeout(support::PATIENCE, body.data()).await.unwrap();
        assert_eq!(close.unwrap().unwrap(), GOING_AWAY);
    }
    let report = ark.server.until_ended(h2.instance, 2).await;
    assert_eq!(ends(&report.counters), (2, 0, 0, 0));
    let report = ark.server.until_ended(h1.instance, 1).await;
    assert_eq!(ends(&report.counters), (1, 0, 0, 0));
}

#[tokio::test]
async fn a_target_that_dies_in_an_answer_resets_the_stream_alone() {
    let backend = Backend::start(|mut peer| async move {
        while let Some(head) = peer.head().await {
            if head.contains("/torn") {
                peer.say("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome").await;
                return;
            }
            peer.answer("whole").await;
        }
    })
    .await;
    let (mut ark, _) = Ark::with(&[&backend]).await;
    let mut client = H2::connect(ark.http).await;
    let request = Request::get("http://a.test/torn").body(()).unwrap();
    let (response, _) = client.begin(request, true).await;
    let error = whole(response).await.unwrap_err();
    assert_eq!(error.reason(), Some(h2::Reason::INTERNAL_ERROR));
    assert_eq!(client.get("/").await.text(), "whole");
    let report = ark.server.until_ended(backend.instance, 2).await;
    assert_eq!(ends(&report.counters), (1, 0, 1, 0));
}

#[tokio::test]
async fn a_candidate_gets_no_streams() {
    let (one, two) = (H2Backend::echo().await, H2Backend::echo().await);
    let mut ark = Ark::start().await;
    let mut route = route(vec![one.target(), two.target_in(TargetState::Candidate)]);
    route.protocol = RouteProtocol::H2c;
    ark.server.push(&[route]).await;
    ark.server.until_ready(&[one.instance, two.instance]).await;
    let mut client = H2::connect(ark.http).await;
    for _ in 0..20 {
        assert_eq!(client.get("/").await.status, 200);
    }
    assert_eq!(two.seen.lock().unwrap().len(), 0);
    assert_eq!(one.seen.lock().unwrap().len(), 20);
}

#[tokio::test]
async fn http_checks_are_asked_in_http2_where_that_is_spoken() {
    let backend = H2Backend::start(|parts, _, mut respond| async move {
        let good = parts.uri.path() == "/good";
        let response = Response::builder().status(if good { 204 } else { 500 });
        let mut answer = respond.send_response(response.body(()).unwrap(), good).unwrap();
        if !good {
            send_all(&mut answer, Bytes::from_static(b"db: refused"), true).await;
        }
    })
    .await;
    let h1 = Backend::echo("no HTTP/2 here").await;
    let mut ark = Ark::start().await;
    let with_check = |mut target: ark_model::route::Target, path: &str| {
        target.probe.check = ark_model::route::ProbeCheck::Http { path: path.to_owned() };
        target
    };
    let mut route = route(vec![with_check(backend.target(), "/good")]);
    route.protocol = RouteProtocol::Grpc;
    ark.server.push(std::slice::from_ref(&route)).await;
    ark.server.until_ready(&[backend.instance]).await;
    assert_eq!(backend.seen.lock().unwrap()[0].uri, "http://a.test/good");
    route.targets = vec![with_check(backend.target(), "/bad"), with_check(h1.target(), "/good")];
    ark.server.push(&[route]).await;
    let failure = async |ark: &mut Ark, instance, words: &str| {
        ark.server
            .until_target(instance, words, |target| {
                let failure = target.readiness.as_ref().and_then(|r| r.last_failure.as_deref());
                failure.is_some_and(|failure| failure.contains(words))
            })
            .await;
    };
    failure(&mut ark, backend.instance, "GET /bad answered 500: \"db: refused\"").await;
    failure(&mut ark, h1.instance, "GET /good: the answer is not HTTP/2").await;
}
