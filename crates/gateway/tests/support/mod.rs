//! A gateway within the test's process, a server's link to it, scripted backends on raw sockets
//! and a raw client. Nothing here is shared with the gateway's own parsing.
#![allow(dead_code, unreachable_pub)] // Each test crate uses a part of it.

pub mod supervised;

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ark_gateway::gateway::{Gateway, Options};
use ark_gateway::link::{Link, LinkSender};
use ark_gateway::role::Config;
use ark_model::gateway::{CallReport, Counters, FromGateway, Report, TargetReport};
use ark_model::ids::{Generation, InstanceId, ReleaseNumber};
use ark_model::route::{
    Probe, ProbeCheck, Route, RouteKey, RouteLimits, RouteProtocol, RouteTable, Target, TargetState,
};
use jiff::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What the server knows of the gateway.
#[derive(Debug, Clone, Default)]
pub struct Known {
    pub last: Option<Report>,
    /// Reports leave out what has not changed, so the last of each target is kept.
    pub targets: HashMap<InstanceId, TargetReport>,
    /// All calls that were told of, in their order.
    pub calls: Vec<CallReport>,
    pub acknowledged: Option<Generation>,
    pub refused: Vec<(Generation, String)>,
}

/// A server's side: pushes tables, collects reports.
pub struct Server {
    pub sender: LinkSender,
    pub known: watch::Receiver<Known>,
    pub welcome: ark_gateway::link::Welcome,
    number: u64,
}

impl Server {
    pub async fn dial(data_dir: &std::path::Path) -> Self {
        let began = std::time::Instant::now();
        let link = loop {
            match Link::dial(data_dir).await {
                Ok(link) => break link,
                Err(error) if began.elapsed() > PATIENCE => panic!("cannot dial: {error}"),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        let Link { sender, mut receiver, welcome } = link;
        let (tell, known) = watch::channel(Known::default());
        tokio::spawn(async move {
            while let Ok(message) = receiver.next().await {
                tell.send_modify(|known| match message {
                    FromGateway::Ack { generation } => known.acknowledged = Some(generation),
                    FromGateway::Refused { generation, reason } => {
                        known.refused.push((generation, reason));
                    }
                    FromGateway::Report(report) => {
                        for target in &report.targets {
                            known.targets.insert(target.instance, target.clone());
                        }
                        known.calls.extend(report.calls.iter().cloned());
                        known.last = Some(report);
                    }
                    FromGateway::Hello { .. } => panic!("hello twice"),
                });
            }
        });
        let number = welcome.applied.map_or(0, |generation| generation.number);
        Self { sender, known, welcome, number }
    }

    /// Pushes routes as the next generation and waits for the acknowledgement.
    pub async fn push(&mut self, routes: &[Route]) {
        self.number += 1;
        let generation = Generation { epoch: 1, number: self.number };
        self.sender.push(RouteTable { generation, routes: routes.to_vec() }).await.unwrap();
        self.until("an acknowledgement", |known| known.acknowledged == Some(generation)).await;
    }

    /// Pushes routes that the gateway must refuse for this reason.
    pub async fn push_refused(&mut self, routes: &[Route], reason: &str) {
        self.number += 1;
        let generation = Generation { epoch: 1, number: self.number };
        self.sender.push(RouteTable { generation, routes: routes.to_vec() }).await.unwrap();
        let is_it = |known: &Known| {
            known.refused.iter().any(|(of, why)| *of == generation && why.contains(reason))
        };
        self.until(&format!("refusal because of {reason}"), is_it).await;
    }

    pub async fn until(&mut self, what: &str, good: impl Fn(&Known) -> bool) -> Known {
        let waited = timeout(PATIENCE, self.known.wait_for(good)).await;
        let found = waited.map(|known| known.map(|known| known.clone()));
        match found {
            Ok(Ok(known)) => known,
            Ok(Err(_)) => panic!("link ended before {what}"),
            Err(_) => panic!("no {what}; last known: {:#?}", *self.known.borrow()),
        }
    }

    pub async fn until_ready(&mut self, instances: &[InstanceId]) {
        self.until("readiness", |known| {
            instances.iter().all(|instance| is_ready(known, *instance))
        })
        .await;
    }

    pub async fn until_target(
        &mut self,
        instance: InstanceId,
        what: &str,
        good: impl Fn(&TargetReport) -> bool,
    ) -> TargetReport {
        let known = self.until(what, |known| known.targets.get(&instance).is_some_and(&good)).await;
        known.targets[&instance].clone()
    }

    /// The report of a target once so many of its requests and streams have ended.
    pub async fn until_ended(&mut self, instance: InstanceId, count: u64) -> TargetReport {
        self.until_target(instance, &format!("{count} ends"), |t| {
            let (served, failed, cut, gone) = ends(&t.counters);
            served + failed + cut + gone == count && t.in_flight == 0 && t.streams == 0
        })
        .await
    }

    /// Counters of requests that reached no target.
    pub async fn until_route(&mut self, what: &str, good: impl Fn(&Counters) -> bool) -> Counters {
        let of = |known: &Known| {
            known.last.as_ref().and_then(|report| report.routes.first()).map(|r| r.counters.clone())
        };
        of(&self.until(what, |known| of(known).is_some_and(|c| good(&c))).await).unwrap()
    }
}

pub fn is_ready(known: &Known, instance: InstanceId) -> bool {
    let readiness = known.targets.get(&instance).and_then(|target| target.readiness.as_ref());
    readiness.is_some_and(|readiness| readiness.ready)
}

/// A gateway within this process and its server.
pub struct Ark {
    pub dir: tempfile::TempDir,
    pub gateway: Option<Gateway>,
    pub http: SocketAddr,
    pub server: Server,
}

impl Ark {
    pub async fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap()).await
    }

    pub async fn start_in(dir: tempfile::TempDir) -> Self {
        let http = vec!["127.0.0.1:0".parse().unwrap()];
        let config = Config { data_dir: dir.path().to_owned(), http, ..Config::default() };
        Self::start_as(dir, config).await
    }

    /// As `config` says.
    pub async fn start_as(dir: tempfile::TempDir, config: Config) -> Self {
        let mut options = Options::of(config).unwrap();
        options.workers = 2;
        let gateway =
            tokio::task::spawn_blocking(|| Gateway::start(options)).await.unwrap().unwrap();
        let http = gateway.http()[0];
        let server = Server::dial(dir.path()).await;
        Self { dir, gateway: Some(gateway), http, server }
    }

    /// With one route for host `a.test` and these backends, all ready.
    pub async fn with(backends: &[&Backend]) -> (Self, Route) {
        let mut ark = Self::start().await;
        let route = ark.serve(backends).await;
        (ark, route)
    }

    /// Serves these backends for host `a.test`, all ready.
    pub async fn serve(&mut self, backends: &[&Backend]) -> Route {
        let ark = self;
        let route = route(backends.iter().map(|backend| backend.target()).collect());
        ark.server.push(std::slice::from_ref(&route)).await;
        let instances: Vec<_> = backends.iter().map(|backend| backend.instance).collect();
        ark.server.until_ready(&instances).await;
        route
    }

    pub async fn client(&self) -> Client {
        Client::connect(self.http).await
    }

    /// Where TLS is spoken.
    pub fn https(&self) -> SocketAddr {
        self.gateway.as_ref().unwrap().https()[0]
    }

    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().to_owned()
    }
}

pub fn key() -> RouteKey {
    RouteKey {
        env: "test".parse().unwrap(),
        app: "web".parse().unwrap(),
        expose: "http".to_owned(),
    }
}

pub fn route(targets: Vec<Target>) -> Route {
    Route {
        key: key(),
        hosts: vec!["a.test".to_owned()],
        path: "/".to_owned(),
        protocol: RouteProtocol::Http,
        discovery_port: None,
        discovery_networks: Vec::new(),
        limits: RouteLimits::default(),
        split: None,
        maintenance: None,
        targets,
    }
}

pub fn tcp_probe() -> Probe {
    Probe { check: ProbeCheck::Tcp, interval_ms: 100, timeout_ms: 1000, successes: 1, failures: 3 }
}

pub fn draining(requests_ms: i64, streams_ms: i64) -> TargetState {
    let after = |ms| Timestamp::now() + jiff::SignedDuration::from_millis(ms);
    TargetState::Draining { requests_until: after(requests_ms), streams_until: after(streams_ms) }
}

/// A target with a scripted behaviour.
pub struct Backend {
    pub instance: InstanceId,
    pub address: SocketAddr,
    /// Connections accepted that sent anything.
    pub heads: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Backend {
    /// Runs `script` on each connection that carries a request.
    pub async fn start<F, W>(script: F) -> Self
    where
        F: Fn(Peer) -> W + Send + Sync + 'static,
        W: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = heads.clone();
        let script = Arc::new(script);
        let task = tokio::spawn(async move {
            // Owned by the task, so that dropping the backend drops its connections too.
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (script, seen) = (script.clone(), seen.clone());
                connections.spawn(async move {
                    let mut byte = [0];
                    // Probes connect and leave.
                    if matches!(stream.peek(&mut byte).await, Ok(1)) {
                        script(Peer { stream, read: Vec::new(), heads: seen }).await;
                    }
                });
            }
        });
        Self { instance: InstanceId(uuid::Uuid::now_v7()), address, heads, task }
    }

    /// Answers each request with `body`.
    pub async fn echo(body: &'static str) -> Self {
        Self::start(move |mut peer| async move {
            while peer.head().await.is_some() {
                peer.answer(body).await;
            }
        })
        .await
    }

    pub fn target(&self) -> Target {
        self.target_in(TargetState::Active { weight: 100 })
    }

    pub fn target_in(&self, state: TargetState) -> Target {
        Target {
            instance: self.instance,
            release: ReleaseNumber(1),
            address: self.address,
            state,
            probe: tcp_probe(),
            process: None,
        }
    }

    /// Stops listening and closes all connections at once.
    pub async fn kill(&mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }

    pub fn requests(&self) -> usize {
        self.heads.lock().unwrap().len()
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The backend's side of a connection.
pub struct Peer {
    pub stream: TcpStream,
    pub read: Vec<u8>,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Peer {
    /// The next request's head.
    pub async fn head(&mut self) -> Option<String> {
        let head = read_until(&mut self.stream, &mut self.read, b"\r\n\r\n").await?;
        self.heads.lock().unwrap().push(head.clone());
        Some(head)
    }

    pub async fn body(&mut self, length: usize) -> Vec<u8> {
        while self.read.len() < length {
            assert!(self.stream.read_buf(&mut self.read).await.unwrap() > 0, "body ended early");
        }
        self.read.drain(..length).collect()
    }

    pub async fn answer(&mut self, body: &str) {
        let length = body.len();
        self.say(&format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}")).await;
    }

    pub async fn say(&mut self, text: &str) {
        let _ = self.stream.write_all(text.as_bytes()).await;
    }

    pub async fn until_closed(&mut self) {
        let mut rest = [0; 1024];
        while matches!(self.stream.read(&mut rest).await, Ok(1..)) {}
    }
}

/// Reads up to and including `end`.
async fn read_until(stream: &mut TcpStream, read: &mut Vec<u8>, end: &[u8]) -> Option<String> {
    loop {
        if let Some(at) = read.windows(end.len()).position(|window| window == end) {
            let text = read.drain(..at + end.len()).collect();
            return Some(String::from_utf8(text).unwrap());
        }
        match stream.read_buf(read).await {
            Ok(0) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}

/// A raw client.
pub struct Client {
    pub stream: TcpStream,
    pub read: Vec<u8>,
}

/// An answer as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(address).await.unwrap(), read: Vec::new() }
    }

    pub async fn say(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// GET with keep-alive.
    pub async fn get(&mut self, path: &str) -> Answer {
        self.say(&format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n")).await;
        self.answer().await
    }

    /// The next answer, whole.
    pub async fn answer(&mut self) -> Answer {
        let answer = timeout(PATIENCE, self.try_answer()).await.expect("an answer in time");
        answer.unwrap_or_else(|| panic!("no whole answer; read {:?}", self.rest()))
    }

    /// The next answer; `None` when the connection ends first.
    pub async fn try_answer(&mut self) -> Option<Answer> {
        let head = self.head().await?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let mut answer = Answer { status, head, body: String::new() };
        if (100..200).contains(&status) || status == 204 || status == 304 {
            return Some(answer);
        }
        if let Some(length) = answer.field("content-length") {
            let length: usize = length.parse().unwrap();
            while self.read.len() < length {
                if self.stream.read_buf(&mut self.read).await.ok()? == 0 {
                    return None;
                }
            }
            answer.body = String::from_utf8(self.read.drain(..length).collect()).unwrap();
        } else if answer.field("transfer-encoding") == Some("chunked") {
            answer.body = self.chunks().await?;
        } else {
            while self.stream.read_buf(&mut self.read).await.ok()? > 0 {}
            answer.body = self.rest();
        }
        Some(answer)
    }

    pub async fn head(&mut self) -> Option<String> {
        read_until(&mut self.stream, &mut self.read, b"\r\n\r\n").await
    }

    /// Chunks up to and including the last; trailers are appended to the body as they come.
    pub async fn chunks(&mut self) -> Option<String> {
        let mut body = String::new();
        loop {
            let size = read_until(&mut self.stream, &mut self.read, b"\r\n").await?;
            let size = usize::from_str_radix(size.trim().split(';').next()?, 16).ok()?;
            if size == 0 {
                loop {
                    let line = read_until(&mut self.stream, &mut self.read, b"\r\n").await?;
                    if line == "\r\n" {
                        return Some(body);
                    }
                    body.push_str(&line);
                }
            }
            while self.read.len() < size + 2 {
                if self.stream.read_buf(&mut self.read).await.ok()? == 0 {
                    return None;
                }
            }
            let chunk: Vec<u8> = self.read.drain(..size + 2).take(size).collect();
            body.push_str(&String::from_utf8(chunk).unwrap());
        }
    }

    /// Reads exactly so many bytes.
    pub async fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.read.len() < count {
            let more = timeout(PATIENCE, self.stream.read_buf(&mut self.read)).await;
            assert!(matches!(more, Ok(Ok(1..))), "{more:?}; read {:?}", self.rest());
        }
        self.read.drain(..count).collect()
    }

    /// Everything until the end of the connection; whether it ended in order.
    pub async fn until_closed(&mut self) -> bool {
        let ended = async {
            loop {
                match self.stream.read_buf(&mut self.read).await {
                    Ok(0) => return true,
                    Ok(_) => {}
                    Err(_) => return false,
                }
            }
        };
        timeout(PATIENCE, ended).await.expect("the connection ends")
    }

    pub fn rest(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.read)).into_owned()
    }
}

/// The counts of ended requests: served, failed, cut, gone.
pub fn ends(counters: &Counters) -> (u64, u64, u64, u64) {
    (counters.served, counters.failed, counters.cut, counters.client_gone)
}
