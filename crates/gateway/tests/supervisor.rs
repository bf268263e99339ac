//! The gateway as processes: killed, started anew, told to end.

mod support;

use std::process::{Command, Stdio};
use std::time::Duration;

use ark_gateway::adopt;
use support::supervised::{Supervised, program, signal, until_gone};
use support::{Backend, Client, Server, draining, ends, route};

#[tokio::test]
async fn a_killed_gateway_is_started_anew_and_connections_wait() {
    let backend = Backend::echo("answer").await;
    let (supervised, running) = Supervised::start().await;
    let mut server = Server::dial(supervised.dir.path()).await;
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut live = route(vec![backend.target()]);
    live.discovery_port = Some(port);
    server.push(&[live]).await;
    server.until_ready(&[backend.instance]).await;
    let (http, discovery) = (running.http[0], ([127, 0, 0, 1], port).into());
    assert_eq!(Client::connect(http).await.get("/").await.body, "answer");
    server.until_target(backend.instance, "1 served", |t| t.counters.served == 1).await;
    // One checkpoint after what was counted.
    tokio::time::sleep(Duration::from_millis(1300)).await;

    let mut before = running;
    for _ in 0..3 {
        signal(before.pid, rustix::process::Signal::KILL);
        until_gone(before.pid);
        // Refused by nobody: both sockets are open although no gateway is there.
        for address in [http, discovery] {
            let mut client = Client::connect(address).await;
            assert_eq!(client.get("/").await.body, "answer");
        }
        let now = supervised.until_serving(Some(before.pid)).await;
        assert_ne!(now.boot, before.boot);
        assert_eq!((&now.http, now.supervisor_pid), (&before.http, before.supervisor_pid));
        before = now;
    }
    // The counters of the first life came back as its last checkpoint said.
    let mut server = Server::dial(supervised.dir.path()).await;
    let known = server
        .until("lost counters", |k| k.last.as_ref().is_some_and(|r| !r.lost.is_empty()))
        .await;
    let lost = known.last.unwrap().lost;
    let counted = lost[0].targets.iter().map(|target| target.counters.served).sum::<u64>();
    assert_eq!(counted, 1, "{lost:?}");
    let seq = server.known.borrow().last.as_ref().unwrap().seq;
    server.sender.report_stored(seq).await.unwrap();
    server
        .until("forgetting", |k| k.last.as_ref().is_some_and(|r| r.seq > seq && r.lost.is_empty()))
        .await;
}

#[tokio::test]
async fn the_gateway_outlives_its_supervisor_and_ends_when_told() {
    let backend = Backend::echo("answer").await;
    let (mut supervised, running) = Supervised::start().await;
    supervised.supervisor.kill().unwrap();
    supervised.supervisor.wait().unwrap();
    let mut server = Server::dial(supervised.dir.path()).await;
    server.push(&[route(vec![backend.target()])]).await;
    server.until_ready(&[backend.instance]).await;
    let mut client = Client::connect(running.http[0]).await;
    assert_eq!(client.get("/").await.body, "answer");
    let found = adopt::find(supervised.dir.path()).unwrap();
    assert_eq!((found.pid, found.serving, found.supervisor_pid), (running.pid, true, None));
    server.sender.shutdown(Duration::from_secs(5)).await.unwrap();
    until_gone(running.pid);
    assert_eq!(adopt::find(supervised.dir.path()), None);
}

#[tokio::test]
async fn shutdown_lets_requests_end_and_ends_the_supervisor_too() {
    let backend = Backend::start(|mut peer| async move {
        peer.head().await;
        tokio::time::sleep(Duration::from_millis(400)).await;
        peer.answer("late but whole").await;
    })
    .await;
    for told_by_signal in [true, false] {
        let (mut supervised, running) = Supervised::start().await;
        let mut server = Server::dial(supervised.dir.path()).await;
        server.push(&[route(vec![backend.target()])]).await;
        server.until_ready(&[backend.instance]).await;
        let mut client = Client::connect(running.http[0]).await;
        client.say("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
        server.until_target(backend.instance, "in flight", |t| t.in_flight == 1).await;
        if told_by_signal {
            let pid = supervised.supervisor.id().cast_signed();
            signal(pid, rustix::process::Signal::TERM);
        } else {
            server.sender.shutdown(Duration::from_secs(10)).await.unwrap();
        }
        let answer = client.answer().await;
        assert_eq!(answer.body, "late but whole");
        assert_eq!(answer.field("connection"), Some("close"));
        assert!(supervised.supervisor.wait().unwrap().success());
        until_gone(running.pid);
        assert!(tokio::net::TcpStream::connect(running.http[0]).await.is_err());
    }
}

/// On a machine that is full it may be a second until the gateway runs again. Streams whose turn to end
/// came in between were cut when their time was over by then, before they had been told a word.
#[tokio::test]
async fn a_gateway_that_does_not_run_for_a_while_cuts_no_stream() {
    let backend = Backend::start(|mut peer| async move {
        peer.head().await;
        peer.say("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n").await;
        loop {
            if tokio::io::AsyncWriteExt::write_all(&mut peer.stream, b"data: 1\n\n").await.is_err()
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let (supervised, running) = Supervised::start().await;
    let mut server = Server::dial(supervised.dir.path()).await;
    server.push(&[route(vec![backend.target()])]).await;
    server.until_ready(&[backend.instance]).await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        let mut client = Client::connect(running.http[0]).await;
        client.say("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
        client.head().await.unwrap();
        clients.push(client);
    }
    server.until_target(backend.instance, "streams", |t| t.streams == 8).await;
    server.push(&[route(vec![backend.target_in(draining(60_000, 2_000))])]).await;
    signal(running.pid, rustix::process::Signal::STOP);
    tokio::time::sleep(Duration::from_millis(2_200)).await;
    signal(running.pid, rustix::process::Signal::CONT);
    for client in &mut clients {
        let body = client.chunks().await.expect("the last chunk");
        assert!(body.ends_with("data: 1\n\n"), "{body:?}");
    }
    let report = server.until_ended(backend.instance, 8).await;
    assert_eq!(ends(&report.counters), (8, 0, 0, 0));
}

#[tokio::test]
async fn a_second_gateway_for_the_same_directory_is_refused() {
    let (supervised, running) = Supervised::start().await;
    let second = Command::new(program())
        .args([supervised.dir.path().to_str().unwrap(), "127.0.0.1:0"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(!second.status.success());
    let words = String::from_utf8_lossy(&second.stderr);
    assert!(words.contains("AlreadyRunning"), "{words}");
    assert_eq!(adopt::find(supervised.dir.path()).unwrap().pid, running.pid);
}
