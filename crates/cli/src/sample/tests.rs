//! The sample app held to its promises over real sockets, with the load client as judge.

use std::net::SocketAddr;
use std::time::Duration;

use ark_load::{Class, Driver, Load, Report, Running};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::serve;
use super::settings::Settings;

const LIMIT: Duration = Duration::from_secs(20);

struct Sample {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<anyhow::Result<()>>,
}

impl Sample {
    async fn start(variables: &[(&str, &str)]) -> Self {
        let settings = Settings::read(|name| {
            let mut all = [("PORT", "0"), ("_APP_NAME", "web")].iter().chain(variables);
            all.find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let (stop, told) = oneshot::channel();
        let stopped = async move {
            let _ = told.await;
        };
        let serving = tokio::spawn(serve(listener, settings.expect("settings"), stopped));
        Self { address, stop, serving }
    }

    async fn stop(self) {
        self.stop.send(()).expect("it is serving");
        let ended = tokio::time::timeout(LIMIT, self.serving).await;
        ended.expect("it ends in time").expect("no panic").expect("no error");
    }

    /// One whole answer, head and body.
    async fn ask(&self, request_line: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.expect("a connection");
        let request = format!("{request_line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        answer
    }

    fn load(&self) -> Load {
        Load::builder(self.address, "web.test").rate(100.0).slow(Duration::from_millis(10))
    }
}

async fn wait(running: &Running, enough: impl Fn(&Report) -> bool) {
    let waited = running.wait_until(LIMIT, enough).await;
    waited.unwrap_or_else(|report| panic!("never: {report}"));
}

#[tokio::test]
async fn plain_answers() {
    let sample = Sample::start(&[("VERSION", "7"), ("_DEPLOY_ENV", "test")]).await;
    for (request, status, body) in [
        ("GET /", 200, "app=web version=7 instance=local env=test\n"),
        ("GET /_health", 200, "healthy\n"),
        ("GET /version", 200, "7\n"),
        ("GET /slow?ms=1", 200, "slept 1 ms\n"),
        ("GET /bytes?n=0", 200, ""),
        ("GET /bytes?n=28", 200, "abcdefghijklmnopqrstuvwxyzab"),
        ("GET /bytes?n=99999999999", 400, "n is at most 1073741824\n"),
        ("GET /slow?ms=99999999999", 400, "ms is at most 600000\n"),
        ("GET /env", 404, "nothing here\n"),
    ] {
        let answer = sample.ask(request).await;
        let (head, answered) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {head}");
        assert!(head.contains("x-ark-sample-version: 7"), "{request}: {head}");
        assert_eq!(answered, body, "{request}");
    }
    sample.stop().await;
}

#[tokio::test]
async fn health_says_why_it_is_ill() {
    for (variable, reason) in [
        (("BROKEN", "never-ready"), "db: connection refused"),
        (("START_DELAY_MS", "3600000"), "starting: "),
        (("BROKEN", "ill-between-ms:0-3600000"), "db: too slow"),
    ] {
        let sample = Sample::start(&[variable]).await;
        let answer = sample.ask("GET /_health").await;
        assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
        assert!(answer.contains(reason), "{answer}");
        let index = sample.ask("GET /").await;
        assert!(index.starts_with("HTTP/1.1 200 "), "only its health is ill: {index}");
        sample.stop().await;
    }
    for delay in [("START_DELAY_MS", "50"), ("BROKEN", "ill-between-ms:0-50")] {
        let sample = Sample::start(&[delay]).await;
        tokio::time::timeout(LIMIT, async {
            while !sample.ask("GET /_health").await.starts_with("HTTP/1.1 200 ") {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await
        .expect("it becomes healthy");
        sample.stop().await;
    }
}

#[tokio::test]
async fn one_in_so_many_fails_and_it_is_healthy() {
    let sample = Sample::start(&[("VERSION", "7"), ("BROKEN", "fails-one-in:3")]).await;
    for round in 1..=3 {
        for (request, status) in [("/", 200), ("/_health", 200), ("/version", 200), ("/", 500)] {
            let answer = sample.ask(&format!("GET {request}")).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{round}: {answer}");
            assert!(answer.contains("x-ark-sample-version: 7"), "{answer}");
        }
    }
    sample.stop().await;
}

#[tokio::test]
async fn every_driver_of_the_load_client_is_content() {
    let sample = Sample::start(&[("VERSION", "7")]).await;
    let mix = Driver::ALL.map(|driver| (driver, 1));
    let load = sample.load().mix(mix).stream_lifetime(Duration::from_millis(450));
    let running = load.sse_streams(1).websockets(1).start().expect("a load");
    wait(&running, |report| {
        Driver::ALL.iter().all(|driver| report.driver(*driver).count(Class::Ok) >= 5)
    })
    .await;
    let report = running.stop().await;
    assert_eq!(report.ok(), report.totals.started, "{report}");
    assert_eq!(report.versions["7"].ok, report.totals.started, "{report}");
    sample.stop().await;

    let sample = Sample::start(&[]).await;
    let load = sample.load().path("/bytes?n=100000").expect_body_bytes(100_000);
    let running = load.mix([(Driver::KeepAlive, 1)]).start().expect("a load");
    wait(&running, |report| report.ok() >= 20).await;
    let report = running.stop().await;
    assert_eq!(report.failed(), 0, "{report}");
    sample.stop().await;
}

#[tokio::test]
async fn a_stop_finishes_requests_and_ends_streams_in_order() {
    let sample = Sample::start(&[]).await;
    let streams = sample.load().sse_streams(3).websockets(3).start().expect("a load");
    wait(&streams, |report| report.driver(Driver::Ws).messages >= 3).await;
    wait(&streams, |report| report.driver(Driver::Sse).messages >= 3).await;
    let address = sample.address;
    let slow = tokio::spawn(async move {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        let request = b"GET /slow?ms=700 HTTP/1.1\r\nhost: x\r\n\r\n";
        stream.write_all(request).await.expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer and then the end");
        answer
    });
    // The slow request shall be at the app before the app is told to stop.
    tokio::time::sleep(Duration::from_millis(200)).await;
    sample.stop().await;
    let answer = slow.await.expect("no panic");
    assert!(answer.ends_with("slept 700 ms\n"), "{answer:?}");
    wait(&streams, |report| report.totals.count(Class::Ended) >= 6).await;
    let report = streams.stop().await;
    // Once it had ended, nobody listened; nothing that was open was cut.
    assert_eq!(report.count(Class::Ended), 6, "{report}");
    assert_eq!(report.count(Class::Cut), 0, "{report}");
    assert_eq!(report.failed(), report.count(Class::ConnectRefused), "{report}");
}
