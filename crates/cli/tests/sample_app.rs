//! `ark sample` as a process: what it does with signals and how it crashes. Its answers are
//! tested beside its code.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use ark_load::{Class, Driver, Load, Running};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const LIMIT: Duration = Duration::from_secs(20);

/// A running sample app; killed when a test ends early.
struct Sample {
    child: Child,
    log: BufReader<ChildStdout>,
}

impl Drop for Sample {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Sample {
    fn start(variables: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ark"))
            .arg("sample")
            .env_clear()
            .env("PORT", "0")
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .expect("ark sample starts");
        let log = BufReader::new(child.stdout.take().expect("its output"));
        Self { child, log }
    }

    /// The next line of its log; empty at its end.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.log.read_line(&mut line).expect("its log");
        line
    }

    fn address(&mut self) -> SocketAddr {
        let line = self.line();
        let (_, address) = line.trim().split_once("http://").expect("the line of its start");
        address.parse().expect("an address")
    }

    fn terminate(&self) {
        let pid = i32::try_from(self.child.id()).expect("a pid");
        kill(Pid::from_raw(pid), Signal::SIGTERM).expect("a signal");
    }

    /// The rest of its log and its exit code.
    fn end(mut self) -> (String, Option<i32>) {
        let mut rest = String::new();
        self.log.read_to_string(&mut rest).expect("its log");
        (rest, self.child.wait().expect("its end").code())
    }
}

/// Five slow requests, all of them at the app; a sixth begins only when one has ended.
async fn slow_requests(address: SocketAddr) -> Running {
    let load = Load::builder(address, "web.test").rate(500.0).slow(Duration::from_millis(1500));
    let running = load.mix([(Driver::Slow, 1)]).in_flight_max(5).start().expect("a load");
    let busy = running.wait_until(LIMIT, |report| report.totals.in_flight == 5).await;
    busy.expect("requests in flight");
    // Begun is not arrived: give the last one its way to the app.
    tokio::time::sleep(Duration::from_millis(300)).await;
    running
}

#[tokio::test]
async fn a_stop_signal_lets_requests_finish() {
    let mut sample = Sample::start(&[]);
    let running = slow_requests(sample.address()).await;
    sample.terminate();
    let (log, code) = sample.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.ends_with("stop: all requests are finished\n"), "{log}");
    let report = running.stop().await;
    assert_eq!(report.ok(), 5, "{report}");
    // Those that came later found nobody, and that is all that befell them.
    assert_eq!(report.failed(), report.count(Class::ConnectRefused), "{report}");
}

#[tokio::test]
async fn it_can_exit_at_once_and_cut_its_requests() {
    let mut sample = Sample::start(&[("EXIT_AT_ONCE", "1")]);
    let running = slow_requests(sample.address()).await;
    sample.terminate();
    let (log, code) = sample.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("EXIT_AT_ONCE"), "{log}");
    let report = running.stop().await;
    assert_eq!(report.ok(), 0, "{report}");
    assert_eq!(report.count(Class::ClosedEarly) + report.count(Class::Reset), 5, "{report}");
}

#[test]
fn it_can_ignore_its_stop_signal() {
    let mut sample = Sample::start(&[("IGNORE_SIGTERM", "1")]);
    let address = sample.address();
    for _ in 0..2 {
        sample.terminate();
        assert!(sample.line().contains("IGNORE_SIGTERM"));
    }
    TcpStream::connect(address).expect("it goes on listening");
}

#[test]
fn ways_of_crashing() {
    for (variable, expect) in [
        (("BROKEN", "crash"), "error: crash on purpose (BROKEN=crash)\n"),
        (("BROKEN", "crash-after-ms:50"), "error: crash on purpose (BROKEN=crash-after-ms)\n"),
        (("BROKEN", "somehow"), "error: BROKEN \"somehow\""),
        (("PORT", "none"), "error: PORT \"none\""),
    ] {
        let (log, code) = Sample::start(&[variable]).end();
        assert_eq!(code, Some(1), "{log}");
        assert!(log.contains(expect), "{log}");
    }
}
