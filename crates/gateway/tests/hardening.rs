//! What is refused before any app sees it, and how it is counted.

mod support;

use std::time::Duration;

use ark_gateway::role::{AccessLog, AccessLogTo, Config};
use ark_model::gateway::RefusalKind::{self, HeadTooLarge, Malformed, Smuggling, Unsupported};
use ark_model::route::RouteLimits;
use support::{Ark, Backend};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// A case: what is sent, the status, and how it is counted.
type Case<'a> = (&'a str, u16, RefusalKind);

const HOST: &str = "POST /x HTTP/1.1\r\nHost: a.test\r\n";

#[tokio::test]
async fn what_could_smuggle_a_request_is_refused_and_counted_by_kind() {
    let backend = Backend::echo("never").await;
    let (mut ark, _) = Ark::with(&[&backend]).await;
    let long = "x".repeat(70_000);
    let many: String = (0..101).map(|n| format!("X{n}: 1\r\n")).collect();
    let with = |rest: &str| format!("{HOST}{rest}");
    let after = "GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let smuggling = [
        // Both lengths, in either order and in other letters.
        with(&format!("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{after}")),
        with(&format!("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n{after}")),
        with("content-length: 0\r\ntransfer-encoding: chunked\r\n\r\n"),
        // Several lengths, or one that is no number.
        with("Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
        with("Content-Length: 1,1\r\n\r\na"),
        with("Content-Length: 01, 1\r\n\r\na"),
        with("Content-Length: +1\r\n\r\na"),
        with("Content-Length: 0x1\r\n\r\na"),
        with("Content-Length: 1 1\r\n\r\na"),
        with("Content-Length:\r\n\r\n"),
        // Codings said twice, or by an old version.
        with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        "POST / HTTP/1.0\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
        // Lines: a bare LF, folded, a space before the colon.
        "GET / HTTP/1.1\nHost: a.test\n\n".to_owned(),
        with("X: 1\nContent-Length: 5\r\n\r\n"),
        with("X: 1\r\n Content-Length: 5\r\n\r\n"),
        with("X: 1\r\n\tfolded\r\n\r\n"),
        with("Content-Length : 5\r\n\r\nabcde"),
        with("Transfer-Encoding\t: chunked\r\n\r\n"),
        // Two places to go to.
        with("Host: b.test\r\n\r\n"),
        // Chunks.
        with("Transfer-Encoding: chunked\r\n\r\n5;a=\x01b\r\nhello\r\n0\r\n\r\n"),
        with("Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n"),
        with("Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n"),
        with("Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n0\r\n\r\n"),
        with("Transfer-Encoding: chunked\r\n\r\n10000000000000005\r\nhello\r\n0\r\n\r\n"),
        with("Transfer-Encoding: chunked\r\n\r\n5\r\nhelloX0\r\n\r\n"),
        with("Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n"),
        with(&format!(
            "Transfer-Encoding: chunked\r\n\r\n5;{}\r\nhello\r\n0\r\n\r\n",
            &long[..5_000]
        )),
    ];
    let mut cases: Vec<Case<'_>> =
        smuggling.iter().map(|text| (text.as_str(), 400, Smuggling)).collect();
    let fields = with(&format!("{many}\r\n"));
    let line = format!("GET /{long} HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let gzip = with("Transfer-Encoding: gzip, chunked\r\n\r\n");
    let twice = with("Transfer-Encoding: chunked, chunked\r\n\r\n");
    let masked = with("Transfer-Encoding: xchunked\r\n\r\n");
    cases.extend([
        (fields.as_str(), 431, HeadTooLarge),
        (line.as_str(), 431, HeadTooLarge),
        (gzip.as_str(), 501, Unsupported),
        (twice.as_str(), 501, Unsupported),
        (masked.as_str(), 501, Unsupported),
        ("CONNECT a.test:1 HTTP/1.1\r\nHost: a.test\r\n\r\n", 405, Unsupported),
        ("GET / HTTP/1.1\r\n\r\n", 400, Malformed),
        ("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400, Malformed),
        ("GET /\x7f HTTP/1.1\r\nHost: a.test\r\n\r\n", 400, Malformed),
        ("\x16\x03\x01\x02\n", 400, Malformed),
    ]);
    let mut expected = std::collections::BTreeMap::new();
    for (text, status, kind) in &cases {
        let mut client = ark.client().await;
        client.say(text).await;
        let answer = client.answer().await;
        let shown = &text[..text.len().min(120)];
        assert_eq!(answer.status, *status, "{shown:?}: {}", answer.body);
        assert_eq!(answer.field("connection"), Some("close"), "{shown:?}");
        assert!(client.until_closed().await, "{shown:?}: something came after the answer");
        *expected.entry(*kind).or_insert(0) += 1;
    }
    let counted = ark
        .server
        .until("all kinds counted", |known| {
            known.last.as_ref().is_some_and(|report| report.refusals == expected)
        })
        .await;
    assert_eq!(counted.last.unwrap().refusals, expected);
    let heads = backend.heads.lock().unwrap().clone();
    assert!(!heads.iter().any(|head| head.contains("smuggled")), "{heads:?}");
}

#[tokio::test]
async fn a_body_that_drips_is_given_up() {
    let backend = Backend::start(|mut peer| async move {
        let _ = peer.head().await;
        peer.until_closed().await;
    })
    .await;
    let (mut ark, mut route) = Ark::with(&[&backend]).await;
    // So fast that dripping is noticed as soon as a window is over.
    route.limits = RouteLimits { body_bytes_per_s_min: 1 << 20, ..RouteLimits::default() };
    ark.server.push(std::slice::from_ref(&route)).await;
    let mut client = ark.client().await;
    client.say(&format!("{HOST}Content-Length: 100\r\n\r\n")).await;
    let dripping = async {
        loop {
            if client.stream.write_all(b"x").await.is_err() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(500)) => {}
                _ = client.stream.readable() => return,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), dripping).await.expect("it is given up");
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.field("x-ark-error")), (408, Some("request_timeout")));
    let known = ark.server.until("counted", |known| {
        known
            .last
            .as_ref()
            .is_some_and(|report| report.refusals.contains_key(&RefusalKind::SlowBody))
    });
    known.await;
    let report = ark.server.until_ended(backend.instance, 1).await;
    assert_eq!(report.counters.ejections, 0, "the target had no part in it");
}

#[tokio::test]
async fn metrics_are_had_from_the_gateways_own_socket() {
    let backend = Backend::echo("here").await;
    let (mut ark, _) = Ark::with(&[&backend]).await;
    let mut client = ark.client().await;
    for _ in 0..3 {
        client.get("/").await;
    }
    ark.server.until_ended(backend.instance, 3).await;
    let wanted = "ark_gateway_requests_total{env=\"test\",app=\"web\",expose=\"http\",release=\"1\",outcome=\"served\"} 3";
    let began = std::time::Instant::now();
    loop {
        let mut socket = UnixStream::connect(ark.data_dir().join("gateway.sock")).await.unwrap();
        socket.write_all(b"GET /metrics HTTP/1.1\r\nHost: gateway\r\n\r\n").await.unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).await.unwrap();
        assert!(text.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4"));
        if text.contains(wanted) {
            break;
        }
        assert!(began.elapsed() < support::PATIENCE, "no {wanted} in {text}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut socket = UnixStream::connect(ark.data_dir().join("gateway.sock")).await.unwrap();
    socket.write_all(b"GET /secrets HTTP/1.1\r\n\r\n").await.unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 404 "), "{text}");
    // The server's link goes on as before.
    client.get("/").await;
    ark.server.until_ended(backend.instance, 4).await;
}

#[tokio::test]
async fn requests_are_logged_without_their_queries() {
    let backend = Backend::echo("here").await;
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        data_dir: dir.path().to_owned(),
        http: vec!["127.0.0.1:0".parse().unwrap()],
        access_log: Some(AccessLog { to: AccessLogTo::File, one_in: 2 }),
        ..Config::default()
    };
    let mut ark = Ark::start_as(dir, config).await;
    let route = ark.serve(&[&backend]).await;
    let mut client = ark.client().await;
    for n in 0..4 {
        client.get(&format!("/page/{n}?token=secret")).await;
    }
    let mut stopped = route.clone();
    stopped.targets.clear();
    ark.server.push(&[stopped]).await;
    client.get("/none").await;
    let path = ark.data_dir().join("access.log");
    let began = std::time::Instant::now();
    let lines = loop {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        if text.lines().count() >= 3 {
            break text;
        }
        assert!(began.elapsed() < support::PATIENCE, "only {text}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(!lines.contains("secret"), "{lines}");
    let records: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |n: usize, field: &str| records[n][field].clone();
    assert_eq!(records.len(), 3, "one of two: {lines}");
    for (n, path) in [(0, "/page/0"), (1, "/page/2"), (2, "/none")] {
        assert_eq!(of(n, "path"), path);
        assert_eq!((of(n, "method"), of(n, "host")), ("GET".into(), "a.test".into()));
        assert_eq!((of(n, "app"), of(n, "client")), ("web".into(), "127.0.0.1".into()));
    }
    assert_eq!(
        (of(0, "status"), of(0, "outcome"), of(0, "bytes")),
        (200.into(), "served".into(), 4.into())
    );
    assert_eq!(of(0, "instance"), backend.instance.to_string());
    assert_eq!((of(2, "status"), of(2, "outcome")), (503.into(), "failed".into()));
    assert!(of(2, "instance").is_null());
}
