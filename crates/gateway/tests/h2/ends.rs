//! Limits, deadlines and ends of streams and of connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ark_model::route::{RouteProtocol, TargetState};
use bytes::Bytes;
use h2::SendStream;
use http::{Request, Response};
use tokio::net::TcpListener;

use crate::h2_support::{H2, H2Backend, send_all, whole};
use crate::support::{Ark, Backend, draining, ends, route};
use crate::{ark_for, post};

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
    let mut body = tokio::time::timeout(crate::support::PATIENCE, response)
        .await
        .unwrap()
        .unwrap()
        .into_body();
    let first = tokio::time::timeout(crate::support::PATIENCE, body.data())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert!(first.starts_with(b"data: 0\n\n"), "{first:?}");
    ark.server.until_target(backend.instance, "a stream", |t| t.streams == 1).await;
    route.targets = vec![backend.target_in(draining(100, 2_000))];
    ark.server.push(&[route]).await;
    let mut last = first.to_vec();
    while let Some(data) =
        tokio::time::timeout(crate::support::PATIENCE, body.data()).await.unwrap()
    {
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
    let ended =
        tokio::time::timeout(crate::support::PATIENCE, client.driver).await.unwrap().unwrap();
    assert!(ended.is_ok(), "{ended:?}");
    tokio::task::spawn_blocking(|| gateway.wait()).await.unwrap();
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
    let reason =
        tokio::time::timeout(crate::support::PATIENCE, told.recv()).await.unwrap().unwrap();
    assert_eq!(reason, h2::Reason::CANCEL);
    let report = ark.server.until_ended(backend.instance, 1).await;
    assert_eq!(ends(&report.counters), (0, 0, 0, 1));
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

/// Answers `/stream` with an answer that does not end, and says goodbye on that connection.
async fn leaving() -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let count = connections.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let count = count.clone();
            tokio::spawn(async move {
                let Ok(mut connection) = h2::server::handshake(stream).await else { return };
                count.fetch_add(1, Ordering::SeqCst);
                let mut open = Vec::new();
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    let lasts = request.uri().path() == "/stream";
                    let answer: SendStream<Bytes> =
                        respond.send_response(Response::new(()), !lasts).unwrap();
                    if lasts {
                        open.push(answer);
                        connection.graceful_shutdown();
                    }
                }
            });
        }
    });
    (address, connections)
}

#[tokio::test]
async fn a_connection_whose_target_said_goodbye_gets_no_more_requests() {
    let (address, connections) = leaving().await;
    let backend = H2Backend::echo().await;
    let mut ark = Ark::start().await;
    let mut route = route(vec![ark_model::route::Target { address, ..backend.target() }]);
    route.protocol = RouteProtocol::H2c;
    ark.server.push(&[route]).await;
    ark.server.until_ready(&[backend.instance]).await;
    let mut client = H2::connect(ark.http).await;
    let request = Request::get("http://a.test/stream").body(()).unwrap();
    let (stream, _) = client.begin(request, true).await;
    let stream = tokio::time::timeout(crate::support::PATIENCE, stream).await.unwrap().unwrap();
    for _ in 0..50 {
        assert_eq!(client.get("/").await.status, 200);
    }
    // That with the stream, and the one that came after it: each worker thread has its own.
    assert_eq!(connections.load(Ordering::SeqCst), 2);
    drop(stream);
}

#[tokio::test]
async fn a_client_that_leaves_while_its_upload_is_held_is_not_asked_for() {
    let mut ark = Ark::start().await;
    let dead = H2Backend::echo().await;
    let mut route = route(vec![dead.target()]);
    route.protocol = RouteProtocol::H2c;
    route.limits.hold_ms = 10_000;
    ark.server.push(std::slice::from_ref(&route)).await;
    ark.server.until_ready(&[dead.instance]).await;
    dead.kill();
    let alive = H2Backend::echo().await;
    let mut client = H2::connect(ark.http).await;
    let (_response, mut upload) = client.begin(post("/held"), false).await;
    upload.send_data(Bytes::from_static(b"some"), false).unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    upload.send_reset(h2::Reason::CANCEL);
    ark.server.until_route("one that gave up", |route| route.client_gone == 1).await;
    route.targets = vec![alive.target()];
    ark.server.push(&[route]).await;
    ark.server.until_ready(&[alive.instance]).await;
    assert_eq!(client.get("/").await.status, 200);
    assert_eq!(alive.seen.lock().unwrap().len(), 1, "what is not wanted any more is not asked");
}
