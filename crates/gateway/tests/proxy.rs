//! What passes through the gateway, and what it answers itself.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use ark_model::route::{ProbeCheck, RouteLimits, TargetState};
use support::{Answer, Ark, Backend, Client, ends, route};
use tokio::io::AsyncWriteExt;
use tokio::time::sleep;

#[tokio::test]
async fn requests_are_forwarded_on_kept_connections() {
    let backend = Backend::echo("hello").await;
    let (mut ark, _) = Ark::with(&[&backend]).await;
    let mut client = ark.client().await;
    for _ in 0..3 {
        let answer = client.get("/x?y").await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "hello"));
        assert_eq!(answer.field("connection"), None);
    }
    client.say("GET / HTTP/1.0\r\nHost: a.test\r\nConnection: keep-alive\r\n\r\n").await;
    let answer = client.answer().await;
    assert_eq!(answer.field("connection"), Some("keep-alive"));
    client.say("GET / HTTP/1.1\r\nHost: A.TEST:80\r\nConnection: close\r\n\r\n").await;
    let answer = client.answer().await;
    assert_eq!(answer.field("connection"), Some("close"));
    assert!(client.until_closed().await);
    let head = backend.heads.lock().unwrap()[0].clone();
    assert!(head.starts_with("GET /x?y HTTP/1.1\r\nHost: a.test\r\n"), "{head}");
    assert!(head.contains("X-Forwarded-For: 127.0.0.1\r\n"), "{head}");
    let report =
        ark.server.until_target(backend.instance, "5 served", |t| t.counters.served == 5).await;
    assert_eq!(report.counters.by_class, [0, 5, 0, 0, 0]);
    assert_eq!(report.counters.response_bytes, 25);
    assert_eq!(report.counters.latency_us.count(), 5);
    assert_eq!(report.counters.answer_bytes.iter().collect::<Vec<_>>(), [(5, 5)]);
    assert_eq!((report.in_flight, report.streams), (0, 0));
}

#[tokio::test]
async fn heads_and_bodies_arrive_in_any_split() {
    let backend = Backend::start(|mut peer| async move {
        while let Some(head) = peer.head().await {
            assert!(head.contains("Content-Length: 6\r\n"), "{head}");
            let body = peer.body(6).await;
            for byte in b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6;x\r\n" {
                peer.stream.write_all(&[*byte]).await.unwrap();
                tokio::task::yield_now().await;
            }
            peer.stream.write_all(&body).await.unwrap();
            peer.say("\r\n0\r\nX-Sum: 7\r\n\r\n").await;
        }
    })
    .await;
    let (ark, _) = Ark::with(&[&backend]).await;
    let mut client = ark.client().await;
    for round in 0..2 {
        let text = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 6\r\n\r\nabcdef";
        for byte in text.as_bytes() {
            client.stream.write_all(&[*byte]).await.unwrap();
            sleep(Duration::from_micros(200)).await;
        }
        assert_eq!(client.answer().await.body, "abcdefX-Sum: 7\r\n", "round {round}");
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let backend = Backend::start(|mut peer| async move {
        while let Some(head) = peer.head().await {
            let path = head.split(' ').nth(1).unwrap().to_owned();
            peer.answer(&path).await;
        }
    })
    .await;
    let (ark, _) = Ark::with(&[&backend]).await;
    let mut client = ark.client().await;
    let many: String =
        (0..20).map(|n| format!("GET /{n} HTTP/1.1\r\nHost: a.test\r\n\r\n")).collect();
    client.say(&many).await;
    for n in 0..20 {
        assert_eq!(client.answer().await.body, format!("/{n}"));
    }
}

#[tokio::test]
async fn large_bodies_stream_both_ways() {
    let backend = Backend::start(|mut peer| async move {
        while peer.head().await.is_some() {
            let body = peer.body(3_000_000).await;
            peer.say("HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n").await;
            peer.stream.write_all(&body).await.unwrap();
        }
    })
    .await;
    let (mut ark, _) = Ark::with(&[&backend]).await;
    let mut client = ark.client().await;
    let body: String = (0..3_000_000_u32).map(|n| char::from(b'a' + (n % 23) as u8)).collect();
    for _ in 0..2 {
        client.say("PUT / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3000000\r\n\r\n").await;
        client.say(&body).await;
        assert!(client.answer().await.body == body, "the body came back changed");
    }
    let report =
        ark.server.until_target(backend.instance, "2 served", |t| t.counters.served == 2).await;
    assert_eq!(report.counters.response_bytes, 6_000_000);
}

#[tokio::test]
async fn chunked_uploads_pass_and_bad_ones_are_refused() {
    let backend = Backend::start(|mut peer| async move {
        while let Some(head) = peer.head().await {
            assert!(head.contains("Transfer-Encoding: chunked\r\n"), "{head}");
            let body = peer.body(5 + 3 + 5).await;
            peer.answer(std::str::from_utf8(&body).unwrap()).await;
        }
    })
    .await;
    let (mut ark, _) = Ark::with(&[&backend]).await;
    let head = "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut client = ark.client().await;
    client.say(head).await;
    for part in ["3\r\na", "bc\r\n", "0\r\n\r", "\n"] {
        client.say(part).await;
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(client.answer().await.body, "3\r\nabc\r\n0\r\n\r\n");
    // Broken at once, and broken after some of it was sent on.
    for parts in [&["zz\r\n"][..], &["3\r\nabc\r\n", "3\r\nabcd\r\n"][..]] {
        let mut client = ark.client().await;
        client.say(head).await;
        for part in parts {
            sleep(Duration::from_millis(20)).await;
            client.say(part).await;
        }
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.field("x-ark-error")), (400, Some("bad_request")));
        assert!(client.until_closed().await);
    }
    ark.server.until_target(backend.instance, "both counted", |t| t.counters.served == 3).await;
}

#[tokio::test]
async fn smuggling_and_nonsense_are_answered_and_the_connection_closed() {
    let backend = Backend::echo("never").await;
    let (ark, _) = Ark::with(&[&backend]).await;
    let long = "x".repeat(70_000);
    for (text, status) in [
        (
            "GET / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        ("GET / HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n", 400),
        ("GET / HTTP/1.1\nHost: a.test\n\n", 400),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("\x16\x03\x01\x02\n", 400),
        ("GET / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        ("CONNECT a.test:1 HTTP/1.1\r\nHost: a.test\r\n\r\n", 405),
        ("PRI * HTTP/2.0\r\n\r\nXM\r\n\r\n", 505),
        (&format!("GET /{long} HTTP/1.1\r\nHost: a.test\r\n\r\n"), 431),
    ] {
        let mut client = ark.client().await;
        client.say(text).await;
        let answer = client.answer().await;
        assert_eq!(answer.status, status, "{}", &text[..text.len().min(99)]);
        assert_eq!(answer.field("connection"), Some("close"));
        assert!(client.until_closed().await);
    }
    assert_eq!(backend.requests(), 0);
}

#[tokio::test]
async fn the_gateway_answers_for_what_is_not_there() {
    let backend = Backend::echo("x").await;
    let (mut ark, live) = Ark::with(&[&backend]).await;
    let mut client = ark.client().await;
    client.say("GET / HTTP/1.1\r\nHost: b.test\r\nAccept: text/html\r\n\r\n").await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.field("x-ark-error")), (404, Some("no_route")));
    assert!(answer.body.contains("b.test: no app answers there"), "{}", answer.body);
    assert!(answer.body.contains("<h1>404"), "{}", answer.body);

    // HEAD has no body; the connection goes on.
    client.say("HEAD / HTTP/1.1\r\nHost: b.test\r\n\r\n").await;
    assert!(client.head().await.unwrap().starts_with("HTTP/1.1 404 "));
    assert_eq!(client.get("/").await.status, 200);

    // Stopped: a route without targets.
    ark.server.push(&[route(vec![])]).await;
    let answer = client.get("/").await;
    assert_eq!((answer.status, answer.field("x-ark-error")), (503, Some("stopped")));
    assert!(answer.body.contains("app web in environment test"), "{}", answer.body);

    // Not ready: nothing listens there.
    let mut never = backend.target();
    never.instance.0 = uuid::Uuid::now_v7();
    never.address = "127.0.0.1:1".parse().unwrap();
    ark.server.push(&[route(vec![never])]).await;
    let answer = client.get("/").await;
    assert_eq!((answer.status, answer.field("x-ark-error")), (503, Some("none_ready")));
    let counters = ark.server.until_route("two failed", |c| c.failed == 2).await;
    assert_eq!(ends(&counters), (0, 2, 0, 0));

    // Candidates get nothing, even when ready.
    let candidate = backend.target_in(TargetState::Candidate);
    let instance = candidate.instance;
    ark.server.push(&[route(vec![candidate])]).await;
    ark.server.until_ready(&[instance]).await;
    assert_eq!(client.get("/").await.status, 503);
    ark.server.push(&[live]).await;
    assert_eq!(client.get("/").await.status, 200);
}

#[tokio::test]
async fn body_limits_hold_for_both_framings() {
    let backend = Backend::start(|mut peer| async move {
        peer.head().await;
        peer.until_closed().await;
    })
    .await;
    let (mut ark, mut live) = Ark::with(&[&backend]).await;
    live.limits = RouteLimits { body_bytes_max: 10, ..live.limits };
    ark.server.push(&[live]).await;
    for text in [
        "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 11\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n01234567890\r\n",
        "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n012345678\r\n",
    ] {
        let mut client = ark.client().await;
        client.say(text).await;
        if text.contains("\n9\r") {
            sleep(Duration::from_millis(30)).await;
            client.say("9\r\n012345678\r\n").await;
        }
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.field("x-ark-error")), (413, Some("body_too_large")));
        assert!(client.until_closed().await);
    }
    // What announces its length, or brings a chunk that is too large with its head, reaches no target; the
    // third is counted at its own. None is a failure: it was the client's doing.
    let refused = ark.server.until_route("two refused", |c| c.by_class[3] == 2).await;
    assert_eq!((refused.served, refused.failed), (2, 0));
    let report = ark.server.until_ended(backend.instance, 1).await;
    assert_eq!((report.counters.by_class[3], report.counters.failed), (1, 0));
}

#[tokio::test]
async fn interim_answers_and_expectations_pass() {
    let backend = Backend::start(|mut peer| async move {
        let head = peer.head().await.unwrap();
        assert!(head.contains("Expect: 100-continue\r\n"), "{head}");
        peer.say("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n").await;
        peer.say("HTTP/1.1 100 Continue\r\n\r\n").await;
        assert_eq!(peer.body(3).await, b"abc");
        peer.answer("got it").await;
        // A second request on the same connection: an HTTP/1.0 client sees no interim answers.
        peer.head().await.unwrap();
        peer.say("HTTP/1.1 100 Continue\r\n\r\n").await;
        peer.answer("plain").await;
    })
    .await;
    let (ark, _) = Ark::with(&[&backend]).await;
    let mut client = ark.client().await;
    client
        .say("POST / HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        .await;
    let early = client.answer().await;
    assert_eq!((early.status, early.field("link")), (103, Some("</x>")));
    assert_eq!(client.answer().await.status, 100);
    client.say("abc").await;
    assert_eq!(client.answer().await.body, "got it");
    client.say("GET / HTTP/1.0\r\nHost: a.test\r\n\r\n").await;
    assert_eq!(client.answer().await.body, "plain");
}

#[tokio::test]
async fn answers_without_a_body_end_where_they_must() {
    let backend = Backend::start(|mut peer| async move {
        while let Some(head) = peer.head().await {
            let answer = match head.split(' ').next().unwrap() {
                "HEAD" => "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
                "GET" => "HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\n\r\n",
                _ => "HTTP/1.1 204 No Content\r\n\r\n",
            };
            peer.say(answer).await;
        }
    })
    .await;
    let (ark, _) = Ark::with(&[&backend]).await;
    let mut client = ark.client().await;
    for _ in 0..2 {
        client.say("HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
        assert!(client.head().await.unwrap().contains("Content-Length: 1000\r\n"));
        assert_eq!(client.get("/").await.status, 304);
        client.say("DELETE / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
        assert_eq!(client.answer().await.status, 204);
    }
}

#[tokio::test]
async fn bodies_that_end_with_the_connection_are_framed_for_the_client() {
    let backend = Backend::start(|mut peer| async move {
        peer.head().await;
        peer.say("HTTP/1.1 200 OK\r\n\r\nsome ").await;
        sleep(Duration::from_millis(20)).await;
        peer.say("body").await;
    })
    .await;
    let (ark, _) = Ark::with(&[&backend]).await;
    let mut client = ark.client().await;
    let answer = client.get("/").await;
    assert_eq!(answer.field("transfer-encoding"), Some("chunked"));
    assert_eq!(answer.body, "some body");
    // The client's connection goes on; one that speaks HTTP/1.0 is closed instead.
    assert_eq!(client.get("/").await.body, "some body");
    client.say("GET / HTTP/1.0\r\nHost: a.test\r\nConnection: keep-alive\r\n\r\n").await;
    let answer = client.answer().await;
    assert_eq!((answer.field("transfer-encoding"), answer.body.as_str()), (None, "some body"));
}

#[tokio::test]
async fn chunked_answers_are_unpacked_for_old_clients() {
    let backend = Backend::start(|mut peer| async move {
        peer.head().await;
        peer.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n")
            .await;
        peer.say("0\r\n\r\n").await;
        peer.until_closed().await;
    })
    .await;
    let (ark, _) = Ark::with(&[&backend]).await;
    let mut client = ark.client().await;
    client.say("GET / HTTP/1.0\r\nHost: a.test\r\n\r\n").await;
    let answer = client.answer().await;
    assert_eq!((answer.field("transfer-encoding"), answer.body.as_str()), (None, "abcde"));
}

#[tokio::test]
async fn an_early_answer_to_an_upload_arrives() {
    let backend = Backend::start(|mut peer| async move {
        peer.head().await;
        peer.say("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
            .await;
        // Closed with the rest of the upload unread: a reset for whoever still sends.
    })
    .await;
    let (mut ark, _) = Ark::with(&[&backend]).await;
    for _ in 0..5 {
        let mut client = ark.client().await;
        client.say("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5000000\r\n\r\n").await;
        let part = "x".repeat(100_000);
        for _ in 0..8 {
            if client.stream.write_all(part.as_bytes()).await.is_err() {
                break;
            }
        }
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.body.as_str()), (403, "no"));
        assert_eq!(answer.field("connection"), Some("close"));
    }
    ark.server.until_target(backend.instance, "5 served", |t| t.counters.served == 5).await;
}

#[tokio::test]
async fn a_connection_closed_while_idle_is_not_noticed_by_the_client() {
    let backend = Backend::start(|mut peer| async move {
        peer.head().await;
        peer.answer("once").await;
        peer.stream.shutdown().await.unwrap();
    })
    .await;
    let (mut ark, _) = Ark::with(&[&backend]).await;
    let mut client = ark.client().await;
    for _ in 0..50 {
        assert_eq!(client.get("/").await.body, "once");
    }
    let report =
        ark.server.until_target(backend.instance, "50 served", |t| t.counters.served == 50).await;
    assert_eq!(ends(&report.counters), (50, 0, 0, 0));
}

#[tokio::test]
async fn a_request_on_a_connection_that_dies_is_repeated_only_when_that_is_safe() {
    // Answers the first request of a connection, closes at the second without an answer.
    let backend = Backend::start(|mut peer| async move {
        peer.head().await;
        peer.answer("first").await;
        peer.head().await;
    })
    .await;
    let (mut ark, _) = Ark::with(&[&backend]).await;
    let mut client = ark.client().await;
    assert_eq!(client.get("/").await.body, "first");
    assert_eq!(client.get("/").await.body, "first");
    assert_eq!(backend.requests(), 3);
    client.say("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\n\r\nx").await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.field("x-ark-error")), (502, Some("upstream_closed")));
    assert_eq!(backend.requests(), 4);
    let report = ark.server.until_ended(backend.instance, 3).await;
    assert_eq!(ends(&report.counters), (2, 1, 0, 0));
    assert_eq!(
        (report.counters.retried, report.counters.broken_off),
        (1, 0),
        "closed for being idle"
    );
    assert_eq!(report.counters.by_class, [0, 2, 0, 0, 1]);
}

#[tokio::test]
async fn a_target_that_refuses_is_left_for_another() {
    let good = Backend::echo("good").await;
    let mut bad = Backend::echo("bad").await;
    let (mut ark, mut live) = Ark::with(&[&good, &bad]).await;
    // Slow probes, so that only the refusal can be what is noticed.
    live.targets.iter_mut().for_each(|target| target.probe.interval_ms = 60_000);
    ark.server.push(&[live]).await;
    bad.kill().await;
    let mut client = ark.client().await;
    for _ in 0..30 {
        assert_eq!(client.get("/").await.body, "good");
    }
    let report = ark
        .server
        .until_target(bad.instance, "unreadiness", |t| {
            t.readiness.as_ref().is_some_and(|r| !r.ready && r.ever)
        })
        .await;
    let words = report.readiness.unwrap().last_failure.unwrap();
    assert!(words.contains("refused"), "{words}");
    assert_eq!(report.counters.failed, 0);
}

#[tokio::test]
async fn broken_answers_are_never_taken_for_whole() {
    // By path: too short, cut within a chunk, no HTTP at all, nothing, half a head.
    let backend = Backend::start(|mut peer| async move {
        let head = peer.head().await.unwrap();
        let text = match head.split(' ').nth(1).unwrap() {
            "/short" => "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
            "/chunk" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
            "/badchunk" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab",
            "/nonsense" => "ICY 200 OK\r\n\r\n",
            "/half" => "HTTP/1.1 200 OK\r\nConte",
            _ => "",
        };
        peer.say(text).await;
        sleep(Duration::from_millis(20)).await;
    })
    .await;
    let (mut ark, _) = Ark::with(&[&backend]).await;
    for path in ["/short", "/chunk", "/badchunk"] {
        let mut client = ark.client().await;
        client.say(&format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n")).await;
        assert_eq!(client.try_answer().await, None, "{path}");
    }
    for (path, code) in [
        ("/nonsense", "upstream_malformed"),
        ("/half", "upstream_closed"),
        ("/nothing", "upstream_closed"),
    ] {
        let mut client = ark.client().await;
        let answer = client.get(path).await;
        assert_eq!((answer.status, answer.field("x-ark-error")), (502, Some(code)), "{path}");
        // The client's connection is fine.
        assert_eq!(client.get("/half").await.status, 502);
    }
    let report = ark.server.until_ended(backend.instance, 9).await;
    assert_eq!(ends(&report.counters), (0, 6, 3, 0));
}

#[tokio::test]
async fn deadlines_answer_or_cut() {
    let backend = Backend::start(|mut peer| async move {
        while let Some(head) = peer.head().await {
            if head.starts_with("GET /stall ") {
                peer.say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc").await;
            }
        }
    })
    .await;
    let (mut ark, mut live) = Ark::with(&[&backend]).await;
    live.limits.response_header_ms = 100;
    live.limits.idle_body_ms = 100;
    ark.server.push(&[live]).await;
    let mut client = ark.client().await;
    let answer = client.get("/never").await;
    assert_eq!((answer.status, answer.field("x-ark-error")), (504, Some("upstream_timeout")));
    client.say("GET /stall HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    assert_eq!(client.try_answer().await, None);
    let mut client = ark.client().await;
    client.say("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\n\r\nabc").await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.field("x-ark-error")), (408, Some("request_timeout")));
    let report = ark.server.until_ended(backend.instance, 3).await;
    assert_eq!(ends(&report.counters), (1, 1, 1, 0));
}

#[tokio::test]
async fn a_client_that_leaves_cancels_its_request() {
    let (left, mut was_left) = tokio::sync::mpsc::unbounded_channel();
    let backend = Backend::start(move |mut peer| {
        let left = left.clone();
        async move {
            let head = peer.head().await.unwrap();
            if head.starts_with("GET /body ") {
                peer.say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc").await;
            }
            peer.until_closed().await;
            left.send(()).unwrap();
        }
    })
    .await;
    let (mut ark, _) = Ark::with(&[&backend]).await;
    for path in ["/head", "/body"] {
        let mut client = ark.client().await;
        client.say(&format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n")).await;
        ark.server.until_target(backend.instance, "in flight", |t| t.in_flight == 1).await;
        drop(client);
        was_left.recv().await.unwrap();
        ark.server.until_target(backend.instance, "none in flight", |t| t.in_flight == 0).await;
    }
    let report = ark.server.until_ended(backend.instance, 2).await;
    assert_eq!(ends(&report.counters), (0, 0, 0, 2));
}

#[tokio::test]
async fn requests_are_held_until_a_target_is_ready() {
    let backend = Backend::echo("at last").await;
    let mut ark = Ark::start().await;
    let mut live = route(vec![backend.target_in(TargetState::Candidate)]);
    live.limits.hold_ms = 10_000;
    ark.server.push(std::slice::from_ref(&live)).await;
    ark.server.until_ready(&[backend.instance]).await;
    let mut waiting = Vec::new();
    for _ in 0..3 {
        let mut client = ark.client().await;
        client.say("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
        waiting.push(client);
    }
    // One does not wait for it.
    drop(waiting.pop());
    ark.server.until_route("a client gone", |c| c.client_gone == 1).await;
    live.targets[0].state = TargetState::Active { weight: 100 };
    ark.server.push(std::slice::from_ref(&live)).await;
    for client in &mut waiting {
        assert_eq!(client.answer().await.body, "at last");
    }
    let report =
        ark.server.until_target(backend.instance, "2 served", |t| t.counters.served == 2).await;
    assert!(report.counters.stall_max_ms > 0, "a stall was not noticed");

    // The hold ends; a stopped app is not waited for.
    live.targets[0].state = TargetState::Candidate;
    live.limits.hold_ms = 100;
    ark.server.push(std::slice::from_ref(&live)).await;
    let answer = waiting[0].get("/").await;
    assert_eq!((answer.status, answer.field("x-ark-error")), (503, Some("none_ready")));
    live.limits.hold_ms = 60_000;
    live.targets.clear();
    ark.server.push(&[live]).await;
    let answer = waiting[0].get("/").await;
    assert_eq!((answer.status, answer.field("x-ark-error")), (503, Some("stopped")));
}

#[tokio::test]
async fn load_is_spread_and_counted_to_the_request() {
    let one = Backend::echo("one").await;
    let two = Backend::echo("two").await;
    let (mut ark, _) = Ark::with(&[&one, &two]).await;
    let http = ark.http;
    let clients: Vec<_> = (0..8)
        .map(|_| {
            tokio::spawn(async move {
                let mut client = Client::connect(http).await;
                for _ in 0..50 {
                    assert_eq!(client.get("/").await.status, 200);
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    let total =
        |known: &support::Known| known.targets.values().map(|t| t.counters.served).sum::<u64>();
    let known = ark.server.until("400 served", |known| total(known) == 400).await;
    for target in known.targets.values() {
        assert!(target.counters.served > 50, "one side got {}", target.counters.served);
    }
}

#[tokio::test]
async fn probes_say_what_they_got() {
    failed_probe(Duration::ZERO).await;
}

/// The next check begins when this one has ended, and this one says what was answered.
#[tokio::test]
async fn a_probe_does_not_wait_for_a_connection_that_stays_open() {
    failed_probe(Duration::from_secs(60)).await;
}

async fn failed_probe(stays_open: Duration) {
    let backend = Backend::start(move |mut peer| async move {
        peer.head().await;
        peer.say("HTTP/1.1 500 No\r\nContent-Length: 11\r\n\r\ndb: refused").await;
        sleep(stays_open).await;
    })
    .await;
    let mut target = backend.target();
    target.probe.check = ProbeCheck::Http { path: "/_health".to_owned() };
    let mut ark = Ark::start().await;
    ark.server.push(&[route(vec![target])]).await;
    let report = ark
        .server
        .until_target(backend.instance, "a failure", |t| {
            t.readiness.as_ref().is_some_and(|r| r.failures > 1)
        })
        .await;
    let readiness = report.readiness.unwrap();
    assert!(!readiness.ready && !readiness.ever);
    assert_eq!(
        readiness.last_failure.as_deref(),
        Some("GET /_health answered 500: \"db: refused\"")
    );
}

#[tokio::test]
async fn the_address_of_an_ended_process_is_nobodys() {
    let backend = Backend::echo("a stranger").await;
    let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
    let pid = child.id().cast_signed();
    let start_ticks = ark_gateway::process::start_ticks(pid).unwrap();
    let mut target = backend.target();
    target.process = Some(ark_model::instance::ProcessIdentity { pid, start_ticks });
    let mut ark = Ark::start().await;
    ark.server.push(&[route(vec![target])]).await;
    ark.server.until_ready(&[backend.instance]).await;
    child.kill().unwrap();
    child.wait().unwrap();
    let report = ark
        .server
        .until_target(backend.instance, "unreadiness", |t| {
            t.readiness.as_ref().is_some_and(|r| !r.ready)
        })
        .await;
    assert_eq!(report.readiness.unwrap().last_failure.as_deref(), Some("process ended"));
    // Not even in panic, although something answers there.
    let answer: Answer = ark.client().await.get("/").await;
    assert_eq!((answer.status, answer.field("x-ark-error")), (503, Some("none_ready")));
    assert_eq!(backend.requests(), 0);
}

#[tokio::test]
async fn failing_checks_alone_take_nothing_down() {
    let healthy = Arc::new(AtomicBool::new(true));
    let health = healthy.clone();
    let backend = Backend::start(move |mut peer| {
        let health = health.clone();
        async move {
            while let Some(head) = peer.head().await {
                match head.starts_with("GET /_health") && !health.load(Relaxed) {
                    true => peer.say("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n").await,
                    false => peer.answer("works").await,
                }
            }
        }
    })
    .await;
    let mut target = backend.target();
    target.probe.check = ProbeCheck::Http { path: "/_health".to_owned() };
    let mut ark = Ark::start().await;
    ark.server.push(&[route(vec![target])]).await;
    ark.server.until_ready(&[backend.instance]).await;
    healthy.store(false, Relaxed);
    ark.server
        .until_target(backend.instance, "unreadiness", |t| {
            t.readiness.as_ref().is_some_and(|r| !r.ready)
        })
        .await;
    assert_eq!(ark.client().await.get("/").await.body, "works");
}
