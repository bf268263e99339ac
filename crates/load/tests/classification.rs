//! Raw servers that misbehave in every way, and what the load client makes of it.

mod servers;

use std::net::SocketAddr;
use std::time::Duration;

use ark_load::{Class, Driver, Load, Report, UploadShape};
use servers::Server;

const LIMIT: Duration = Duration::from_secs(20);

fn load(target: SocketAddr) -> Load {
    Load::builder(target, "app.test")
        .rate(200.0)
        .keep_alive_connections(2)
        .upload(UploadShape { chunks: 3, chunk_bytes: 500, gap: Duration::from_millis(5) })
        .message_interval(Duration::from_millis(5))
        .request_timeout(Duration::from_secs(10))
}

/// Runs until `enough`, stops, and holds the books to their promises.
async fn run(load: Load, enough: impl Fn(&Report) -> bool) -> Report {
    let running = load.start().expect("a load");
    running.wait_until(LIMIT, enough).await.unwrap_or_else(|report| panic!("never: {report}"));
    let report = running.stop().await;
    assert!(report.is_balanced(), "{report:?}");
    assert_eq!(report.totals.in_flight, 0, "{report}");
    let json = serde_json::to_string(&report).expect("a report is JSON");
    let back: Report = serde_json::from_str(&json).expect("a report is read back");
    assert_eq!(back.totals.classes, report.totals.classes);
    report
}

fn finished(count: u64) -> impl Fn(&Report) -> bool {
    move |report| report.totals.finished() >= count
}

/// Asserts that every attempt ended in `class`.
#[track_caller]
fn assert_all(report: &Report, class: Class) {
    assert!(report.totals.started > 0, "{report}");
    assert_eq!(report.count(class), report.totals.started, "{report}");
}

#[tokio::test]
async fn a_server_that_behaves() {
    let server = Server::start(servers::behave).await;
    let mix = Driver::ALL.map(|driver| (driver, 1));
    let all = load(server.address)
        .mix(mix)
        .slow(Duration::from_millis(5))
        .stream_lifetime(Duration::from_millis(50))
        .sse_streams(1)
        .websockets(1);
    let enough = |report: &Report| {
        Driver::ALL.iter().all(|driver| report.driver(*driver).count(Class::Ok) >= 10)
            && report.driver(Driver::Ws).messages > 20
            && report.driver(Driver::Sse).messages > 20
    };
    let report = run(all, enough).await;
    assert_all(&report, Class::Ok);
    assert_eq!(report.failed(), 0, "{report}");
    assert!(report.failures.is_empty());
    let seen = report.versions["7"];
    assert_eq!(seen.ok, report.totals.started);
    assert_eq!(seen.answers, report.totals.started);
    assert!(seen.first_at_ms <= seen.last_at_ms);
    let latency = report.driver(Driver::KeepAlive).latency;
    assert_eq!(latency.samples, report.driver(Driver::KeepAlive).started);
    assert!(latency.p50_us <= latency.p99_us && latency.p99_us <= latency.max_us);
}

#[tokio::test]
async fn the_server_counts_the_same_requests() {
    let server = Server::start(servers::behave).await;
    let mix = [(Driver::KeepAlive, 3), (Driver::NewConnection, 1)];
    let report = run(load(server.address).mix(mix).rate(1000.0), finished(500)).await;
    assert_all(&report, Class::Ok);
    assert_eq!(server.requests(), report.totals.started);
    // Two persistent connections; further ones only while both were busy.
    let single = report.driver(Driver::NewConnection).started;
    assert!(server.connections() >= single + 2);
    assert!(server.connections() < report.totals.started, "connections were reused");
}

#[tokio::test]
async fn a_closed_loop_counts_as_exactly() {
    let server = Server::start(servers::behave).await;
    let load = load(server.address).closed_loop(8).mix([(Driver::KeepAlive, 1)]);
    let report = run(load, finished(2000)).await;
    assert_all(&report, Class::Ok);
    assert_eq!(server.requests(), report.totals.started);
}

#[tokio::test]
async fn every_misbehaviour_of_an_answer_has_its_class() {
    let cases: [(&'static [u8], servers::End, Class); 14] = [
        (b"", servers::End::Close, Class::ClosedEarly),
        (b"", servers::End::Reset, Class::Reset),
        (b"HTTP/1.1 200 OK\r\ncontent-le", servers::End::Close, Class::ClosedEarly),
        (b"HTTP/1.1 200 OK\r\ncontent-le", servers::End::Reset, Class::Reset),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf",
            servers::End::Close,
            Class::Truncated,
        ),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", servers::End::Reset, Class::Reset),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
            servers::End::Close,
            Class::Truncated,
        ),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
            servers::End::Close,
            Class::ProtocolError,
        ),
        (b"SSH-2.0-OpenSSH\r\n", servers::End::Close, Class::ProtocolError),
        (
            b"HTTP/1.1 503 x\r\ncontent-length: 4\r\n\r\nfull",
            servers::End::Close,
            Class::Status(503),
        ),
        (b"HTTP/1.1 404 x\r\ncontent-length: 0\r\n\r\n", servers::End::Close, Class::Status(404)),
        (b"HTTP/1.1 302 x\r\ncontent-length: 0\r\n\r\n", servers::End::Close, Class::Status(302)),
        (b"HTTP/1.1 101 x\r\n\r\n", servers::End::Close, Class::ProtocolError),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil close", servers::End::Close, Class::Ok),
    ];
    for (answer, end, class) in cases {
        let server = Server::start(move |socket| servers::say(socket, answer, end)).await;
        for driver in [Driver::KeepAlive, Driver::NewConnection] {
            let report = run(load(server.address).mix([(driver, 1)]), finished(3)).await;
            assert_all(&report, class);
            if class.is_failure(false) {
                assert_eq!(report.failed(), report.totals.started);
                assert!(report.failures[0].local_port.is_some());
                assert!(!report.failures[0].text.is_empty());
            }
        }
    }
}

#[tokio::test]
async fn an_error_answer_says_what_its_body_said() {
    let answer =
        b"HTTP/1.1 503 x\r\nx-ark-sample-version: 3\r\ncontent-length: 10\r\n\r\nno targets";
    let server = Server::start(|socket| servers::say(socket, answer, servers::End::Close)).await;
    let report = run(load(server.address).mix([(Driver::Slow, 1)]), finished(1)).await;
    let failure = &report.failures[0];
    assert_eq!(failure.text, "answer 503: no targets");
    assert_eq!(failure.version.as_deref(), Some("3"));
    assert_eq!(report.versions["3"].not_ok, report.totals.started);
}

#[tokio::test]
async fn nobody_listens() {
    let address = servers::unused_address();
    for driver in Driver::ALL {
        let report = run(load(address).mix([(driver, 1)]), finished(3)).await;
        assert_all(&report, Class::ConnectRefused);
        assert_eq!(report.failures[0].local_port, None);
    }
}

#[tokio::test]
async fn a_full_backlog_times_out() {
    let (address, _full) = servers::full_backlog();
    let load = load(address).connect_timeout(Duration::from_millis(50));
    let report = run(load.mix([(Driver::NewConnection, 1)]), finished(3)).await;
    assert_all(&report, Class::ConnectTimeout);
}

#[tokio::test]
async fn silence_is_a_timeout() {
    let server = Server::start(servers::stay_silent).await;
    for driver in Driver::ALL {
        let load = load(server.address).request_timeout(Duration::from_millis(60));
        let report = run(load.mix([(driver, 1)]), finished(3)).await;
        assert_all(&report, Class::Timeout);
    }
}

#[tokio::test]
async fn a_body_of_the_wrong_length_is_no_success() {
    let server = Server::start(servers::behave).await;
    for (bytes, class) in [(5, Class::Ok), (6, Class::ProtocolError)] {
        let load = load(server.address).expect_body_bytes(bytes).mix([(Driver::KeepAlive, 1)]);
        assert_all(&run(load, finished(3)).await, class);
    }
}

#[tokio::test]
async fn lost_races_with_an_idle_close_are_counted_and_retried() {
    let server = Server::start(servers::close_on_second_request).await;
    let mix = [(Driver::KeepAlive, 1)];
    let report = run(load(server.address).mix(mix), |report| report.retried >= 5).await;
    let races = report.count(Class::ClosedIdleRace);
    assert_eq!(report.retried, races);
    assert_eq!(report.ok() + races, report.totals.started);
    assert_eq!(report.failed(), 0, "{report}");

    let strict = load(server.address).mix(mix).strict();
    let report = run(strict, |report| report.count(Class::ClosedIdleRace) >= 5).await;
    assert_eq!(report.retried, 0);
    assert_eq!(report.failed(), report.count(Class::ClosedIdleRace));
}

#[tokio::test]
async fn a_request_that_was_kept_and_dropped_is_no_idle_race() {
    let server = Server::start(servers::drop_second_request).await;
    let load = load(server.address).mix([(Driver::KeepAlive, 1)]);
    let report = run(load, |report| report.count(Class::ClosedEarly) >= 3).await;
    assert_eq!(report.ok() + report.count(Class::ClosedEarly), report.totals.started, "{report}");
    assert_eq!(report.retried, 0);
}

#[tokio::test]
async fn a_reset_of_a_reused_connection_is_a_reset() {
    let server = Server::start(servers::reset_on_second_request).await;
    let load = load(server.address).mix([(Driver::KeepAlive, 1)]);
    let report = run(load, |report| report.count(Class::Reset) >= 3).await;
    assert_eq!(report.ok() + report.count(Class::Reset), report.totals.started);
    assert_eq!(report.retried, 0);
}

#[tokio::test]
async fn connections_closed_while_idle_are_replaced_unnoticed() {
    let server = Server::start(servers::close_after_answer).await;
    let load = load(server.address).rate(20.0).mix([(Driver::KeepAlive, 1)]);
    let report = run(load, |report| report.idle_discarded >= 3).await;
    assert_eq!(report.failed(), 0, "{report}");
}

#[tokio::test]
async fn uploads_are_compared_byte_by_byte() {
    for (server, class) in [
        (Server::start(servers::echo_changed).await, Class::ProtocolError),
        (Server::start(servers::echo_short).await, Class::ProtocolError),
        (Server::start(servers::refuse_upload).await, Class::Status(413)),
        (
            Server::start(|socket| servers::say(socket, b"", servers::End::Reset)).await,
            Class::Reset,
        ),
    ] {
        let report = run(load(server.address).mix([(Driver::Upload, 1)]), finished(3)).await;
        assert_all(&report, class);
    }
}

#[tokio::test]
async fn arrivals_beyond_the_bound_are_counted_and_not_sent() {
    let server = Server::start(servers::stay_silent).await;
    let load = load(server.address)
        .mix([(Driver::NewConnection, 1)])
        .in_flight_max(3)
        .stop_timeout(Duration::from_millis(50));
    let report = run(load, |report| report.overflow >= 10).await;
    assert_eq!(report.totals.started, 3);
    // They were outstanding when the deadline of stop passed.
    assert_all(&report, Class::Abandoned);
    assert_eq!(report.failed(), 3);
}

#[tokio::test]
async fn stop_lets_outstanding_requests_finish() {
    let server = Server::start(servers::behave).await;
    let load = load(server.address).mix([(Driver::Slow, 1)]).slow(Duration::from_millis(400));
    let report = run(load, |report| report.totals.in_flight >= 5).await;
    assert_all(&report, Class::Ok);
}

#[tokio::test]
async fn the_ends_of_event_streams() {
    use servers::End;
    const HEAD: &str =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    for (body, end, class) in [
        ("7\r\nid: 1\n\n\r\n7\r\nid: 2\n\n\r\n0\r\n\r\n", End::Close, Class::Ended),
        ("7\r\nid: 1\n\n\r\n7\r\nid: 2\n\n\r\n", End::Close, Class::Cut),
        ("7\r\nid: 1\n\n\r\n", End::Reset, Class::Cut),
        ("7\r\nid: 1\n\nxx", End::Close, Class::Cut),
        ("7\r\nid: 1\n\n\r\n7\r\nid: 3\n\n\r\n0\r\n\r\n", End::Close, Class::ProtocolError),
        ("7\r\nid: 1\n\n\r\n", End::Never, Class::Cut),
    ] {
        let answer: &'static [u8] = format!("{HEAD}{body}").leak().as_bytes();
        let server = Server::start(move |socket| servers::say(socket, answer, end)).await;
        let load = load(server.address).stream_silence_max(match end {
            End::Never => Duration::from_millis(200),
            End::Close | End::Reset => LIMIT,
        });
        // A held stream is opened again after its end. The last one may be ended by us.
        let report = run(load.sse_streams(1), finished(2)).await;
        let ours = report.count(Class::Ok);
        assert!(ours <= 1, "{report}");
        assert_eq!(report.count(class) + ours, report.totals.started, "{body:?}: {report}");
        assert!(report.driver(Driver::Sse).messages >= 2);
    }
    let html = b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 0\r\n\r\n";
    let server = Server::start(|socket| servers::say(socket, html, End::Close)).await;
    let report = run(load(server.address).sse_streams(1), finished(2)).await;
    assert_all(&report, Class::ProtocolError);
}

#[tokio::test]
async fn the_ends_of_websockets() {
    use servers::{WebSocketEnd as Way, websocket};
    for (way, class) in [
        (Way::CloseFrame(1000), Class::Ended),
        (Way::CloseFrame(1001), Class::Ended),
        (Way::CloseFrame(1011), Class::Cut),
        (Way::Eof, Class::Cut),
        (Way::Reset, Class::Cut),
        (Way::Silence, Class::Cut),
        (Way::WrongEcho, Class::ProtocolError),
        (Way::MaskedFrame, Class::Cut),
        (Way::WrongAccept, Class::ProtocolError),
        (Way::NoUpgrade, Class::ProtocolError),
    ] {
        let server = Server::start(move |socket| websocket(socket, way)).await;
        let load = load(server.address).stream_silence_max(match way {
            Way::Silence => Duration::from_millis(200),
            _ => LIMIT,
        });
        let report = run(load.websockets(1), finished(2)).await;
        let ours = report.count(Class::Ok);
        assert!(ours <= 1, "{report}");
        assert_eq!(report.count(class) + ours, report.totals.started, "{way:?}: {report}");
        let echoes = report.driver(Driver::Ws).messages;
        match way {
            Way::WrongAccept | Way::NoUpgrade => assert_eq!(echoes, 0),
            _ => assert!(echoes >= 4, "{way:?}: {report}"),
        }
    }
}

#[tokio::test]
async fn a_freeze_is_seen_as_a_stall_and_in_late_arrivals() {
    let freeze = Duration::from_millis(700);
    let server = Server::start(move |socket| servers::freeze_once(socket, freeze)).await;
    let load = load(server.address).mix([(Driver::KeepAlive, 1)]);
    let report = run(load, finished(300)).await;
    assert_all(&report, Class::Ok);
    // Lower bounds only: whatever else the machine does makes these larger.
    assert!(report.longest_stall.ms >= 600, "{report}");
    // 140 of 300 arrivals fell into the freeze, evenly: a tenth waited most of it.
    assert!(report.driver(Driver::KeepAlive).latency.p90_us >= 300_000, "{report}");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(12))]

    /// Whatever mixture of faults a server shows to whatever mix of drivers, each attempt
    /// is counted in exactly one class.
    #[test]
    fn the_classes_add_up_under_any_faults(
        faults in proptest::collection::vec(0_u8..8, 1..12),
        weights in proptest::collection::vec(0_u32..4, 6),
        strict: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let report = runtime.expect("a runtime").block_on(async {
            let server = Server::start(move |socket| servers::faulty(socket, faults.clone())).await;
            let load = load(server.address)
                .mix(Driver::ALL.into_iter().zip(weights).chain([(Driver::KeepAlive, 1)]))
                .rate(1000.0)
                .slow(Duration::from_millis(1))
                .stream_lifetime(Duration::from_millis(20))
                .sse_streams(2)
                .websockets(2);
            run(if strict { load.strict() } else { load }, finished(150)).await
        });
        let sum: u64 = report.totals.classes.values().sum();
        proptest::prop_assert_eq!(sum, report.totals.started);
        let answers: u64 = report.versions.values().map(|seen| seen.answers).sum();
        let ended: u64 = report.versions.values().map(|seen| seen.ok + seen.not_ok).sum();
        proptest::prop_assert_eq!(answers, ended);
        let texts = report.failures.len() as u64 + report.failures_omitted;
        let fine = report.ok() + report.count(Class::Ended);
        proptest::prop_assert_eq!(texts + fine, report.totals.started);
    }
}

#[test]
fn a_load_needs_no_runtime_of_its_caller() {
    let address = servers::unused_address();
    let running = load(address).mix([(Driver::KeepAlive, 1)]).start().expect("a load");
    let report = running.stop_blocking();
    assert!(report.is_balanced());
}
