//! Removal and drain: nothing new, what is under way ends, streams end in order.

mod support;

use std::time::Duration;

use ark_model::route::{ContainerNetwork, Route, RouteProtocol, Target, TargetState};
use support::{Ark, Backend, Client, Peer, draining, ends, route};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::sleep;

/// Answers after being told how long to take: `/slow` 300 ms, `/sse` events until closed, `/ws` a
/// WebSocket that sends a text frame each 10 ms and answers a close frame with one.
async fn app() -> Backend {
    Backend::start(|mut peer| async move {
        while let Some(head) = peer.head().await {
            match head.split(' ').nth(1).unwrap() {
                "/slow" => {
                    sleep(Duration::from_millis(300)).await;
                    peer.answer("slow").await;
                }
                "/stuck" => peer.until_closed().await,
                "/sse" => {
                    peer.say("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n").await;
                    peer.say("Transfer-Encoding: chunked\r\n\r\n").await;
                    // Events are split over chunks and reads.
                    loop {
                        for part in ["4\r\ndata\r\n", "3\r\n: 1\r\n", "2\r\n\n\n\r\n"] {
                            if peer.stream.write_all(part.as_bytes()).await.is_err() {
                                return;
                            }
                            sleep(Duration::from_millis(7)).await;
                        }
                    }
                }
                "/ws" => return web_socket(peer.stream).await,
                _ => peer.answer("quick").await,
            }
        }
    })
    .await
}

const SWITCH: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";

async fn web_socket(mut stream: tokio::net::TcpStream) {
    stream.write_all(SWITCH).await.unwrap();
    let mut received = Vec::new();
    let close = loop {
        // A frame in two pieces, so that a close in between would be seen.
        for part in [b"\x81\x05he".as_slice(), b"llo"] {
            if stream.write_all(part).await.is_err() {
                return;
            }
            sleep(Duration::from_millis(5)).await;
        }
        let mut more = [0; 512];
        match stream.try_read(&mut more) {
            Ok(0) => return,
            Ok(count) => received.extend_from_slice(&more[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
        let at = received.windows(2).position(|window| window == [0x88, 0x82]);
        if let Some(close) = at.and_then(|at| received.get(at..at + 8)) {
            break close;
        }
    };
    // A masked close frame with 1001; an app answers with its own.
    let code = u16::from_be_bytes([close[6] ^ close[2], close[7] ^ close[3]]);
    assert_eq!(code, 1001);
    let _ = stream.write_all(&[0x88, 2, 3, 0xe9]).await;
}

async fn upgrade(ark: &Ark) -> Client {
    let mut client = ark.client().await;
    client
        .say(
            "GET /ws HTTP/1.1\r\nHost: a.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        )
        .await;
    let head = client.head().await.unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.contains("Upgrade: websocket\r\n"), "{head}");
    assert!(head.to_ascii_lowercase().contains("connection: upgrade\r\n"), "{head}");
    client
}

#[tokio::test]
async fn requests_under_way_end_and_new_ones_go_elsewhere() {
    let (old, new) = (app().await, Backend::echo("new").await);
    let (mut ark, _) = Ark::with(&[&old]).await;
    let mut slow = ark.client().await;
    slow.say("GET /slow HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    let mut pinned = ark.client().await;
    assert_eq!(pinned.get("/").await.body, "quick");
    ark.server.until_target(old.instance, "in flight", |t| t.in_flight == 1).await;
    let candidate = new.target_in(TargetState::Candidate);
    ark.server.push(&[route(vec![old.target(), candidate])]).await;
    ark.server.until_ready(&[new.instance]).await;
    ark.server.push(&[route(vec![old.target_in(draining(60_000, 60_000)), new.target()])]).await;
    // Acknowledged: from now on nothing reaches the old side, whatever connection it comes on.
    for _ in 0..20 {
        assert_eq!(pinned.get("/").await.body, "new");
    }
    assert_eq!(slow.answer().await.body, "slow");
    let report = ark.server.until_ended(old.instance, 2).await;
    assert_eq!(ends(&report.counters), (2, 0, 0, 0));

    // Out of the table: reported until stored, then forgotten.
    ark.server.push(&[route(vec![new.target()])]).await;
    let report =
        ark.server.until_target(old.instance, "being gone", |t| t.readiness.is_none()).await;
    assert_eq!(ends(&report.counters), (2, 0, 0, 0));
}

#[tokio::test]
async fn requests_past_their_time_are_cut() {
    let backend = app().await;
    let (mut ark, _) = Ark::with(&[&backend]).await;
    let mut client = ark.client().await;
    client.say("GET /stuck HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    ark.server.until_target(backend.instance, "in flight", |t| t.in_flight == 1).await;
    ark.server.push(&[route(vec![backend.target_in(draining(100, 60_000))])]).await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.field("x-ark-error")), (503, Some("drained")));
    let report = ark.server.until_ended(backend.instance, 1).await;
    assert_eq!(ends(&report.counters), (0, 0, 1, 0));
    assert_eq!(report.in_flight, 0);
}

#[tokio::test]
async fn web_sockets_are_closed_with_1001_between_two_frames() {
    let backend = app().await;
    let (mut ark, _) = Ark::with(&[&backend]).await;
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(upgrade(&ark).await);
    }
    ark.server.until_target(backend.instance, "streams", |t| t.streams == 5).await;
    // Requests may end later than streams here: it is the streams' own time that counts.
    ark.server.push(&[route(vec![backend.target_in(draining(60_000, 1_000))])]).await;
    for client in &mut clients {
        loop {
            let header = client.bytes(2).await;
            if header == [0x81, 5] {
                assert_eq!(client.bytes(5).await, b"hello");
            } else {
                assert_eq!(header, [0x88, 2], "neither a text nor a close frame");
                assert_eq!(client.bytes(2).await, 1001_u16.to_be_bytes());
                break;
            }
        }
        // A well-behaved client answers the close and waits for the end.
        client.stream.write_all(&[0x88, 0x82, 0, 0, 0, 0, 3, 0xe9]).await.unwrap();
        assert!(client.until_closed().await);
        assert_eq!(client.rest(), "");
    }
    let report = ark.server.until_ended(backend.instance, 5).await;
    assert_eq!(ends(&report.counters), (5, 0, 0, 0));
    assert_eq!(report.counters.by_class[0], 5);
}

#[tokio::test]
async fn a_web_socket_whose_instance_dies_is_cut() {
    let mut backend = app().await;
    let (mut ark, _) = Ark::with(&[&backend]).await;
    let mut client = upgrade(&ark).await;
    assert_eq!(client.bytes(7).await, b"\x81\x05hello");
    backend.kill().await;
    client.until_closed().await;
    drop(client);
    let report = ark.server.until_ended(backend.instance, 1).await;
    assert_eq!(ends(&report.counters), (0, 0, 1, 0));
}

#[tokio::test]
async fn event_streams_end_between_two_events_and_look_whole() {
    let backend = app().await;
    let (mut ark, _) = Ark::with(&[&backend]).await;
    let mut client = ark.client().await;
    client.say("GET /sse HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    let head = client.head().await.unwrap();
    assert!(head.contains("Transfer-Encoding: chunked\r\n"), "{head}");
    ark.server.until_target(backend.instance, "a stream", |t| t.streams == 1).await;
    ark.server.push(&[route(vec![backend.target_in(draining(60_000, 1_000))])]).await;
    let body = client.chunks().await.expect("the last chunk");
    assert!(body.ends_with("data: 1\n\n"), "{body:?}");
    // The connection itself lives on.
    assert_eq!(client.get("/").await.status, 503);
    let report = ark.server.until_ended(backend.instance, 1).await;
    assert_eq!(ends(&report.counters), (1, 0, 0, 0));
}

/// A stream of events and a WebSocket, both in the app.
async fn two_streams(ark: &mut Ark, backend: &Backend) -> (Client, Client) {
    let mut events = ark.client().await;
    events.say("GET /sse HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    events.head().await.unwrap();
    let socket = upgrade(ark).await;
    ark.server.until_target(backend.instance, "streams", |t| t.streams == 2).await;
    (events, socket)
}

/// The one ends whole between two events, the other with a close frame of `1001` between two messages.
async fn end_in_order(events: &mut Client, socket: &mut Client) {
    let body = events.chunks().await.expect("the last chunk");
    assert!(body.ends_with("data: 1\n\n"), "{body:?}");
    while socket.bytes(2).await == [0x81, 5] {
        assert_eq!(socket.bytes(5).await, b"hello");
    }
    assert_eq!(socket.bytes(2).await, 1001_u16.to_be_bytes());
}

/// A gateway that did not run for a while, or was told late, finds the time of streams over before it
/// told them anything.
#[tokio::test]
async fn streams_whose_time_was_over_before_they_were_told_end_in_order() {
    let backend = app().await;
    let (mut ark, _) = Ark::with(&[&backend]).await;
    let (mut events, mut socket) = two_streams(&mut ark, &backend).await;
    ark.server.push(&[route(vec![backend.target_in(draining(60_000, -1))])]).await;
    end_in_order(&mut events, &mut socket).await;
    let report = ark.server.until_ended(backend.instance, 2).await;
    assert_eq!(ends(&report.counters), (2, 0, 0, 0));
}

#[tokio::test]
async fn a_gateway_that_ends_ends_its_streams_in_order() {
    let backend = app().await;
    let (mut ark, _) = Ark::with(&[&backend]).await;
    let (mut events, mut socket) = two_streams(&mut ark, &backend).await;
    let mut idle = ark.client().await;
    assert_eq!(idle.get("/").await.status, 200);
    ark.server.sender.shutdown(Duration::from_secs(20)).await.unwrap();
    end_in_order(&mut events, &mut socket).await;
    assert!(idle.until_closed().await);
    drop((events, socket));
    let gateway = ark.gateway.take().unwrap();
    tokio::task::spawn_blocking(move || gateway.wait()).await.unwrap();
}

#[tokio::test]
async fn events_are_passed_on_at_once_and_a_leaving_client_is_noticed() {
    let backend = Backend::start(|mut peer| async move {
        peer.head().await;
        peer.say("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: x\n\n").await;
        peer.until_closed().await;
    })
    .await;
    let (mut ark, _) = Ark::with(&[&backend]).await;
    let mut client = ark.client().await;
    client.say("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    client.head().await.unwrap();
    assert_eq!(client.bytes(14).await, b"9\r\ndata: x\n\n\r\n");
    drop(client);
    let report =
        ark.server.until_target(backend.instance, "an end", |t| t.counters.client_gone == 1).await;
    assert_eq!(report.streams, 0);
}

#[tokio::test]
async fn other_upgrades_pass_bytes_both_ways() {
    let backend = Backend::start(|mut peer| async move {
        peer.head().await;
        peer.say("HTTP/1.1 101 Go\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\nwelcome").await;
        let (mut read, mut write) = peer.stream.split();
        tokio::io::copy(&mut read, &mut write).await.unwrap();
    })
    .await;
    let (mut ark, _) = Ark::with(&[&backend]).await;
    let mut client = ark.client().await;
    client
        .say("GET / HTTP/1.1\r\nHost: a.test\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\nfirst")
        .await;
    assert!(client.head().await.unwrap().starts_with("HTTP/1.1 101 "));
    assert_eq!(client.bytes(12).await, b"welcomefirst");
    let large = "x".repeat(300_000);
    let (mut read, mut write) = client.stream.split();
    let (sent, received) = tokio::join!(write.write_all(large.as_bytes()), async {
        let mut echoed = vec![0; large.len()];
        read.read_exact(&mut echoed).await.map(|_| echoed)
    });
    sent.unwrap();
    assert!(received.unwrap() == large.as_bytes());
    client.stream.shutdown().await.unwrap();
    assert!(client.until_closed().await);
    let report = ark.server.until_ended(backend.instance, 1).await;
    assert_eq!(ends(&report.counters), (1, 0, 0, 0));
}

/// Says all it is told.
async fn echo() -> Backend {
    let say_again = |mut peer: Peer| async move {
        let (mut read, mut write) = peer.stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
    };
    Backend::start(say_again).await
}

fn tcp_route(port: u16, targets: Vec<Target>) -> Route {
    Route {
        protocol: RouteProtocol::Tcp,
        hosts: Vec::new(),
        discovery_port: Some(port),
        ..route(targets)
    }
}

#[tokio::test]
async fn a_tcp_route_is_reached_on_its_port_and_cut_when_its_time_is_over() {
    let backend = echo().await;
    let mut ark = Ark::start().await;
    let port = free_port();
    let mut live = tcp_route(port, vec![backend.target()]);
    ark.server.push(std::slice::from_ref(&live)).await;
    ark.server.until_ready(&[backend.instance]).await;
    let mut client = Client::connect(([127, 0, 0, 1], port).into()).await;
    client.say("bytes").await;
    assert_eq!(client.bytes(5).await, b"bytes");
    live.targets[0].state = draining(0, 300);
    ark.server.push(std::slice::from_ref(&live)).await;
    client.until_closed().await;
    let report = ark.server.until_ended(backend.instance, 1).await;
    assert_eq!(ends(&report.counters), (0, 0, 1, 0));
    // Without the route the port is closed.
    ark.server.push(&[]).await;
    sleep(Duration::from_millis(100)).await;
    assert!(tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err());
}

#[tokio::test]
async fn a_connection_of_a_tcp_route_waits_for_a_target_as_a_request_does() {
    let backend = echo().await;
    let mut ark = Ark::start().await;
    let port = free_port();
    let mut live = tcp_route(port, vec![]);
    (live.limits.hold_ms, live.limits.hold_empty) = (10_000, true);
    ark.server.push(std::slice::from_ref(&live)).await;
    let address = ([127, 0, 0, 1], port).into();
    let mut held = Client::connect(address).await;
    held.say("said before ").await;
    let mut silent = Client::connect(address).await;
    // One does not wait for it.
    drop(Client::connect(address).await);
    ark.server.until_route("a client gone", |c| c.client_gone == 1).await;
    live.targets = vec![backend.target()];
    live.limits.hold_empty = false;
    ark.server.push(std::slice::from_ref(&live)).await;
    assert_eq!(held.bytes(12).await, b"said before ");
    held.say("and after").await;
    assert_eq!(held.bytes(9).await, b"and after");
    silent.say("at last").await;
    assert_eq!(silent.bytes(7).await, b"at last");
    drop((held, silent));
    let report = ark.server.until_ended(backend.instance, 2).await;
    assert!(report.counters.stall_max_ms > 0, "a stall was not noticed");

    // The hold ends; a stopped app is not waited for.
    live.targets[0].state = TargetState::Candidate;
    live.limits.hold_ms = 100;
    ark.server.push(std::slice::from_ref(&live)).await;
    Client::connect(address).await.until_closed().await;
    live.targets.clear();
    live.limits.hold_ms = 60_000;
    ark.server.push(&[live]).await;
    // The reset may come while the client still connects.
    if let Ok(mut refused) = tokio::net::TcpStream::connect(address).await {
        assert!(!matches!(refused.read(&mut [0]).await, Ok(1..)));
    }
}

#[tokio::test]
async fn a_discovery_port_belongs_to_its_route_whatever_the_host() {
    let backend = Backend::echo("found").await;
    let mut ark = Ark::start().await;
    let port = free_port();
    let mut live = route(vec![backend.target()]);
    live.discovery_port = Some(port);
    ark.server.push(&[live]).await;
    ark.server.until_ready(&[backend.instance]).await;
    let mut client = Client::connect(([127, 0, 0, 1], port).into()).await;
    client.say("GET / HTTP/1.1\r\nHost: anything.example:99\r\n\r\n").await;
    assert_eq!(client.answer().await.body, "found");
    client.say("GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!(client.answer().await.body, "found");
}

#[tokio::test]
async fn a_discovery_port_in_a_network_of_containers_serves_that_network_alone() {
    let backend = Backend::echo("found").await;
    let mut ark = Ark::start().await;
    let port = free_port();
    let mut live = route(vec![backend.target()]);
    live.discovery_port = Some(port);
    // Loopback addresses stand for the host's in such networks. The last is not there (yet), which
    // must not keep the others from being served.
    let network = |address: [u8; 4], prefix| ContainerNetwork { address: address.into(), prefix };
    let networks = [network([127, 0, 77, 1], 24), network([192, 0, 2, 1], 24)];
    live.discovery_networks = networks.to_vec();
    ark.server.push(std::slice::from_ref(&live)).await;
    ark.server.until_ready(&[backend.instance]).await;
    let asked = async |from: [u8; 4], to: [u8; 4]| {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        let mut stream = socket.connect((to, port).into()).await.ok()?;
        let mut answer = String::new();
        let request = b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.ok()?;
        stream.read_to_string(&mut answer).await.ok()?;
        (!answer.is_empty()).then_some(answer)
    };
    let (inside, gateway) = ([127, 0, 77, 9], [127, 0, 77, 1]);
    assert!(asked(inside, gateway).await.is_some_and(|answer| answer.ends_with("found")));
    assert_eq!(asked([127, 0, 78, 9], gateway).await, None, "of another network");
    assert!(asked([127, 0, 0, 1], [127, 0, 0, 1]).await.is_some(), "processes, by loopback");
    // The network goes; loopback stays.
    live.discovery_networks.clear();
    ark.server.push(&[live]).await;
    assert_eq!(asked(inside, gateway).await, None);
    assert!(asked([127, 0, 0, 1], [127, 0, 0, 1]).await.is_some());
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
