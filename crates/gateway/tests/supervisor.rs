//! The gateway as processes: killed, started anew, told to end.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
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
