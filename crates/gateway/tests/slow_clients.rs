//! Clients that send or read slowly, or not at all, where HTTP/2 is spoken on either side: what they
//! hold is given back in time, and nothing is held against the app.

#[path = "support/h2.rs"]
mod h2_support;
mod support;

use std::time::Duration;

use ark_model::gateway::RefusalKind;
use ark_model::route::{Route, RouteProtocol, Target};
use bytes::Bytes;
use h2_support::{H2, H2Backend, send_all, whole};
use http::{Request, Response};
use support::{Ark, Backend, ends, route};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// More than eject a target.
const COUNT: u64 = 6;

async fn ark_for(target: Target, protocol: RouteProtocol, idle_body_ms: u64) -> (Ark, Route) {
    let mut ark = Ark::start().await;
    let mut route = route(vec![target]);
    route.protocol = protocol;
    route.limits.idle_body_ms = idle_body_ms;
    ark.server.push(std::slice::from_ref(&route)).await;
    ark.server.until_ready(&[route.targets[0].instance]).await;
    (ark, route)
}

fn post() -> Request<()> {
    Request::post("http://a.test/").body(()).unwrap()
}

/// All were refused with 408, counted as slow bodies, and the target goes on.
async fn all_were_slow(ark: &mut Ark, route: &Route, count: u64) {
    let report = ark.server.until_ended(route.targets[0].instance, count).await;
    assert_eq!(ends(&report.counters), (count, 0, 0, 0));
    assert_eq!(report.counters.by_class, [0, 0, 0, count, 0]);
    assert_eq!(report.counters.ejections, 0);
    let counted = |known: &support::Known| {
        let refusals = known.last.as_ref().map(|report| report.refusals.clone());
        refusals.is_some_and(|refusals| refusals.get(&RefusalKind::SlowBody) == Some(&count))
    };
    ark.server.until("slow bodies are counted", counted).await;
}

#[tokio::test]
async fn a_body_that_falls_silent_is_the_clients_doing() {
    let backend = Backend::start(|mut peer| async move {
        peer.head().await;
        peer.until_closed().await;
    })
    .await;
    let (mut ark, route) = ark_for(backend.target(), RouteProtocol::Http, 200).await;
    let mut client = H2::connect(ark.http).await;
    for _ in 0..COUNT {
        let (response, mut body) = client.begin(post(), false).await;
        send_all(&mut body, Bytes::from_static(b"x"), false).await;
        assert_eq!(whole(response).await.unwrap().status, 408);
    }
    all_were_slow(&mut ark, &route, COUNT).await;
}

#[tokio::test]
async fn a_body_that_drips_is_not_waited_for() {
    let h1 = Backend::start(|mut peer| async move {
        peer.head().await;
        peer.until_closed().await;
    })
    .await;
    let h2 = H2Backend::start(|_, mut body, respond| async move {
        let _ = h2_support::read_all(&mut body).await;
        drop(respond);
    })
    .await;
    let (mut one, route_one) = ark_for(h1.target(), RouteProtocol::Http, 60_000).await;
    let (mut two, route_two) = ark_for(h2.target(), RouteProtocol::H2c, 60_000).await;
    let mut over_h2 = H2::connect(one.http).await;
    let (response, mut body) = over_h2.begin(post(), false).await;
    let mut over_h1 = two.client().await;
    over_h1.say("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000\r\n\r\n").await;
    // A byte, and another when the time is over for which the speed is taken.
    let dripping = async {
        for wait in [Duration::from_millis(10_200), Duration::ZERO] {
            send_all(&mut body, Bytes::from_static(b"x"), false).await;
            over_h1.say("x").await;
            tokio::time::sleep(wait).await;
        }
    };
    let (late, ()) = tokio::join!(whole(response), dripping);
    assert_eq!(late.unwrap().status, 408);
    assert_eq!(over_h1.answer().await.status, 408);
    all_were_slow(&mut one, &route_one, 1).await;
    all_were_slow(&mut two, &route_two, 1).await;
}

#[tokio::test]
async fn a_call_may_be_silent_between_messages() {
    let backend = H2Backend::echo().await;
    let (mut ark, _) = ark_for(backend.target(), RouteProtocol::Grpc, 60_000).await;
    let mut client = H2::connect(ark.http).await;
    let request = Request::post("http://a.test/").header("content-type", "application/grpc");
    let (response, mut body) = client.begin(request.body(()).unwrap(), false).await;
    let message = Bytes::from_static(&[0, 0, 0, 0, 1, 7]);
    send_all(&mut body, message.clone(), false).await;
    tokio::time::sleep(Duration::from_millis(10_200)).await;
    send_all(&mut body, message.clone(), true).await;
    assert_eq!(whole(response).await.unwrap().body.len(), 2 * message.len());
    let report = ark.server.until_ended(backend.instance, 1).await;
    assert_eq!(ends(&report.counters), (1, 0, 0, 0));
}

/// Both sides may talk once the answer has begun, whatever the protocol above.
#[tokio::test]
async fn a_body_may_drip_once_its_answer_has_begun() {
    let backend = H2Backend::echo().await;
    let (mut ark, _) = ark_for(backend.target(), RouteProtocol::H2c, 60_000).await;
    let mut client = H2::connect(ark.http).await;
    let (response, mut body) = client.begin(post(), false).await;
    let talking = async {
        for wait in [Duration::from_millis(10_200), Duration::ZERO] {
            send_all(&mut body, Bytes::from_static(b"x"), wait.is_zero()).await;
            tokio::time::sleep(wait).await;
        }
    };
    let (answer, ()) = tokio::join!(whole(response), talking);
    assert_eq!(answer.unwrap().text(), "xx");
    let report = ark.server.until_ended(backend.instance, 1).await;
    assert_eq!(ends(&report.counters), (1, 0, 0, 0));
}

/// Who hangs in a call whose client may send more is not excused by that.
#[tokio::test]
async fn an_app_that_hangs_in_a_call_between_messages_is_late_itself() {
    let backend = H2Backend::start(|parts, _body, mut respond| async move {
        if parts.uri.path() == "/answers" {
            let head = Response::builder().header("content-type", "application/grpc");
            let _answer = respond.send_response(head.body(()).unwrap(), false);
            std::future::pending::<()>().await;
        }
        std::future::pending::<()>().await;
    })
    .await;
    let message: &[u8] = &[0, 0, 0, 0, 1, 7];
    // (path, what the client sends, how it ends)
    let cases = [
        ("/silent", message, (0, 1, 0, 0)),
        ("/answers", message, (0, 0, 1, 0)),
        // It is the client that owes the rest of a message, or the first one.
        ("/silent", &message[..3], (1, 0, 0, 0)),
        ("/answers", &message[..3], (0, 0, 0, 1)),
        ("/silent", &[], (1, 0, 0, 0)),
    ];
    for (path, sent, expected) in cases {
        let (mut ark, _) = ark_for(backend.target(), RouteProtocol::Grpc, 300).await;
        let mut client = H2::connect(ark.http).await;
        let request = Request::post(format!("http://a.test{path}"));
        let request = request.header("content-type", "application/grpc").body(()).unwrap();
        let (response, mut body) = client.begin(request, false).await;
        send_all(&mut body, Bytes::copy_from_slice(sent), false).await;
        // What the client is told depends on where the call stood.
        let _ = whole(response).await;
        let report = ark.server.until_ended(backend.instance, 1).await;
        assert_eq!(ends(&report.counters), expected, "{path} after {} bytes", sent.len());
    }
}

#[tokio::test]
async fn a_target_that_stops_reading_is_late_itself() {
    let backend = Backend::start(|mut peer| async move {
        peer.head().await;
        std::future::pending::<()>().await;
    })
    .await;
    let (mut ark, route) = ark_for(backend.target(), RouteProtocol::Http, 400).await;
    let mut client = ark.client().await;
    client.say("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000000000\r\n\r\n").await;
    let ended = ark.server.until_ended(route.targets[0].instance, 1);
    let sending = async {
        while client.stream.write_all(&[0; 16 << 10]).await.is_ok() {}
        std::future::pending::<()>().await;
    };
    tokio::select! {
        report = ended => {
            assert_eq!(ends(&report.counters), (0, 1, 0, 0));
            assert_eq!(report.counters.by_class, [0, 0, 0, 0, 1]);
        }
        () = sending => {}
    }
}

#[tokio::test]
async fn a_client_that_reads_no_heads_is_as_good_as_gone() {
    let backend = H2Backend::start(|_, _, mut respond| async move {
        let mut head = Response::new(());
        head.headers_mut().insert("x-long", "y".repeat(15_000).parse().unwrap());
        let _ = respond.send_response(head, true);
    })
    .await;
    let (mut ark, _) = ark_for(backend.target(), RouteProtocol::H2c, 300).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut stream = socket.connect(ark.http).await.unwrap();
    // Far more answers than sockets hold.
    let heads = "HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n".repeat(1_000);
    let writing = async {
        let _ = stream.write_all(heads.as_bytes()).await;
        std::future::pending::<()>().await;
    };
    let gone = ark.server.until_target(backend.instance, "it is given up", |t| {
        t.counters.client_gone == 1 && t.in_flight == 0
    });
    tokio::select! {
        report = gone => assert_eq!((report.counters.failed, report.counters.cut), (0, 0)),
        () = writing => {}
    }
    // It is closed.
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(support::PATIENCE, stream.read_to_end(&mut rest)).await.unwrap();
}

/// Who floods a side that takes nothing is let go in time, and it is known whose fault it was.
#[tokio::test]
async fn a_side_of_a_tunnel_that_takes_nothing_ends_it() {
    const FRAME: &[u8] = &[0; 16 << 10];
    async fn flood(stream: &mut TcpStream) {
        while stream.write_all(FRAME).await.is_ok() {}
    }
    let backend = Backend::start(|mut peer| async move {
        let head = peer.head().await;
        peer.say("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")
            .await;
        match head.unwrap().starts_with("GET /down") {
            true => flood(&mut peer.stream).await,
            false => std::future::pending().await,
        }
    })
    .await;
    let (mut ark, route) = ark_for(backend.target(), RouteProtocol::Http, 400).await;
    for (path, floods, expected) in [("/down", false, (0, 0, 0, 1)), ("/up", true, (0, 0, 1, 1))] {
        let mut client = ark.client().await;
        let fields = "Connection: upgrade\r\nUpgrade: x";
        client.say(&format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n\r\n")).await;
        let ended = ark.server.until_ended(route.targets[0].instance, expected.2 + expected.3);
        let talking = async {
            if floods {
                flood(&mut client.stream).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            report = ended => assert_eq!(ends(&report.counters), expected, "{path}"),
            () = talking => {}
        }
    }
}

#[tokio::test]
async fn a_web_socket_over_http2_that_is_not_read_ends() {
    let backend = Backend::start(|mut peer| async move {
        peer.head().await;
        peer.say("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n").await;
        peer.say("Connection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n").await;
        // Binary frames of 1,000 bytes.
        let frame = [&[0x82, 126, 3, 232][..], &[0; 1_000]].concat();
        while peer.stream.write_all(&frame).await.is_ok() {}
    })
    .await;
    let (mut ark, route) = ark_for(backend.target(), RouteProtocol::Http, 400).await;
    let mut client = H2::connect(ark.http).await;
    let mut request = Request::connect("http://a.test/").body(()).unwrap();
    request.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
    let deadline = tokio::time::Instant::now() + support::PATIENCE;
    while !client.send.is_extended_connect_protocol_enabled() {
        assert!(tokio::time::Instant::now() < deadline, "no settings");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (response, _body) = client.begin(request, false).await;
    let unread = response.await.unwrap();
    let report = ark.server.until_ended(route.targets[0].instance, 1).await;
    assert_eq!(ends(&report.counters), (0, 0, 0, 1));
    drop(unread);
}
