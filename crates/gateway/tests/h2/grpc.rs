//! gRPC: trailers, deadlines and statuses pass, and streams end between messages.

use std::time::Duration;

use ark_model::route::RouteProtocol;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};

use crate::ark_for;
use crate::h2_support::{Answer, H2, H2Backend, send_all, whole};
use crate::support::{draining, ends};

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
async fn grpc_calls_pass_with_trailers_deadlines_and_statuses() {
    let backend = H2Backend::start(|parts, mut body, mut respond| async move {
        let sent = crate::h2_support::read_all(&mut body).await.unwrap_or_default();
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
