//! The gateway as processes: killed, started anew, told to end.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use ark_gateway::adopt::{self, RunningGateway};
use support::{Backend, Client, PATIENCE, Server, route};

/// A supervisor of its own process, killed with all it started at the end of the test.
struct Supervised {
    dir: tempfile::TempDir,
    supervisor: Child,
}

impl Supervised {
    async fn start() -> (Self, RunningGateway) {
        let dir = tempfile::tempdir().unwrap();
        let supervisor = Command::new(program())
            .args([dir.path().to_str().unwrap(), "127.0.0.1:0"])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let own = Self { dir, supervisor };
        let running = own.until_serving(None).await;
        (own, running)
    }

    /// The gateway, once one serves that is not the process `before`.
    async fn until_serving(&self, before: Option<i32>) -> RunningGateway {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            let found = adopt::find(self.dir.path());
            if let Some(found) = found.filter(|f| f.serving && Some(f.pid) != before) {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no gateway serves");
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        let _ = self.supervisor.kill();
        let _ = self.supervisor.wait();
        if let Some(left) = adopt::find(self.dir.path()) {
            signal(left.pid, rustix::process::Signal::KILL);
        }
    }
}

/// The example beside this test's own executable.
fn program() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let folder = own.ancestors().nth(2).unwrap();
    let program = folder.join("examples/gateway");
    assert!(program.exists(), "cargo builds examples with tests; {} is missing", program.display());
    program
}

fn signal(pid: i32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    let _ = rustix::process::kill_process(pid, signal);
}

fn until_gone(pid: i32) {
    let began = Instant::now();
    while Path::new(&format!("/proc/{pid}")).exists()
        && ark_gateway::process::start_ticks(pid).is_some()
    {
        assert!(began.elapsed() < PATIENCE, "process {pid} lives on");
        std::thread::sleep(Duration::from_millis(10));
    }
}

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

/// One client's requests until it is told to stop: how many were answered. Keeps its connection for
/// as long as the gateway does.
async fn ask_on(http: std::net::SocketAddr, stop: Arc<AtomicBool>, keep: bool) -> u64 {
    let mut answered = 0;
    let mut client = Client::connect(http).await;
    while !stop.load(Relaxed) {
        let answer = client.get("/").await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "answer"));
        answered += 1;
        if !keep || answer.field("connection") == Some("close") {
            client = Client::connect(http).await;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    answered
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_planned_restart_under_load_loses_nothing_and_counters_add_up() {
    let backend = Backend::start(|mut peer| async move {
        while let Some(head) = peer.head().await {
            if head.starts_with("GET /events") {
                peer.say("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n").await;
                peer.say("data: 1\n\n").await;
                tokio::time::sleep(Duration::from_secs(3)).await;
                peer.say("data: 2\n\n").await;
                return;
            }
            if head.starts_with("GET /slow") {
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
            peer.answer("answer").await;
        }
    })
    .await;
    let (supervised, running) = Supervised::start().await;
    let supervisor = i32::try_from(supervised.supervisor.id()).unwrap();
    let mut server = Server::dial(supervised.dir.path()).await;
    server.push(&[route(vec![backend.target()])]).await;
    server.until_ready(&[backend.instance]).await;
    let http = running.http[0];
    let stop = Arc::new(AtomicBool::new(false));
    let asking: Vec<_> =
        (0..8).map(|n| tokio::spawn(ask_on(http, stop.clone(), n % 2 == 0))).collect();
    let (mut slow, mut events) = (Client::connect(http).await, Client::connect(http).await);
    // Idle for longer than the restart takes, then asked.
    let mut idle = Client::connect(http).await;
    idle.get("/").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    slow.say("GET /slow HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    events.say("GET /events HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    server.until_target(backend.instance, "a stream", |t| t.streams == 1).await;

    signal(supervisor, rustix::process::Signal::HUP);
    let now = supervised.until_serving(Some(running.pid)).await;
    assert_eq!(now.http, running.http);
    let mut server = Server::dial(supervised.dir.path()).await;
    assert_eq!(server.welcome.boot, now.boot);
    // What is inside the gateway before is inside, too.
    server.until_target(backend.instance, "the stream of before", |t| t.streams == 1).await;
    let (mut expected, answer) = (0, idle.get("/").await);
    assert_eq!((answer.status, answer.field("connection")), (200, Some("close")));
    assert_eq!(slow.answer().await.body, "answer");
    let streamed = events.answer().await.body;
    assert!(streamed.ends_with("data: 2\n\n"), "{streamed:?}");
    // It would be kept for a while, in case its client asks once more.
    drop(events);
    until_gone(running.pid);
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.store(true, Relaxed);
    for task in asking {
        expected += task.await.expect("no request failed");
    }
    // The two of the idle client, the slow one and the stream.
    expected += 4;
    let sum = |known: &support::Known| {
        let lost = known.last.iter().flat_map(|report| &report.lost);
        let before: Vec<_> = lost.filter(|lost| lost.boot == running.boot).collect();
        let ended = before.iter().all(|lost| lost.in_order);
        let counted = before.iter().flat_map(|lost| &lost.targets).chain(known.targets.values());
        let sums = counted.fold((0, 0), |(served, other), target| {
            let (ok, failed, cut, gone) = support::ends(&target.counters);
            (served + ok, other + failed + cut + gone)
        });
        (ended && !before.is_empty()).then_some(sums)
    };
    let known = server
        .until("sums of both lives", |known| sum(known).is_some_and(|(all, _)| all >= expected))
        .await;
    assert_eq!(sum(&known), Some((expected, 0)), "served, and anything else");
    assert!(expected > 500, "only {expected} requests in the test");
    // The table that comes now is followed by the one gateway there is.
    server.push(&[route(vec![backend.target()])]).await;
    assert_eq!(Client::connect(http).await.get("/").await.body, "answer");
}
