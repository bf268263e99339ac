//! All crossings with HTTP/1.1, WebSockets among them.

use std::time::Duration;

use ark_gateway::role::Config;
use ark_model::route::RouteProtocol;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use tokio::io::AsyncWriteExt;

use crate::h2_support::{H2, H2Backend, ark_for_both, send_all, whole};
use crate::support::{Ark, Backend, draining, ends, route};
use crate::{ark_for, post, tls_support};

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
    let (mut ark, [mut one, mut two]) = ark_for_both(&h1, &h2).await;
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
        let response =
            tokio::time::timeout(crate::support::PATIENCE, response).await.unwrap().unwrap();
        assert_eq!(response.status(), 200, "{host}");
        assert!(!response.headers().contains_key("sec-websocket-accept"));
        let mut body = response.into_body();
        send_all(&mut send, Bytes::from_static(text), false).await;
        let echoed = tokio::time::timeout(crate::support::PATIENCE, body.data()).await.unwrap();
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
        let close = tokio::time::timeout(crate::support::PATIENCE, body.data()).await.unwrap();
        assert_eq!(close.unwrap().unwrap(), GOING_AWAY);
    }
    let report = ark.server.until_ended(h2.instance, 2).await;
    assert_eq!(ends(&report.counters), (2, 0, 0, 0));
    let report = ark.server.until_ended(h1.instance, 1).await;
    assert_eq!(ends(&report.counters), (1, 0, 0, 0));
}

/// The library lets names pass that HTTP/1.1 does not have.
#[tokio::test]
async fn a_field_name_that_http1_does_not_have_does_not_reach_it() {
    let odd = || {
        let name = http::HeaderName::from_lowercase(b"content-len\"").unwrap();
        HeaderMap::from_iter([(name, http::HeaderValue::from_static("5"))])
    };
    let backend = H2Backend::start(move |parts, _, mut respond| async move {
        let mut answer = Response::new(());
        let trailing = parts.uri.path() == "/trailing";
        if !trailing {
            *answer.headers_mut() = odd();
        }
        let mut body = respond.send_response(answer, false).unwrap();
        let _ = body.send_data(Bytes::from_static(b"all"), !trailing);
        if trailing {
            let _ = body.send_trailers(odd());
        }
    })
    .await;
    let (ark, _) = ark_for(&backend, RouteProtocol::H2c).await;
    let mut client = ark.client().await;
    assert_eq!(client.get("/").await.status, 502, "an answer that cannot be said");
    let mut client = ark.client().await;
    let answer = client.get("/trailing").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "all"));
}
