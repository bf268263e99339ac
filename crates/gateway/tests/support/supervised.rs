//! A gateway in processes of its own: a supervisor and what it starts.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ark_gateway::adopt::{self, RunningGateway};

use super::PATIENCE;

/// A supervisor of its own process, killed with all it started at the end of the test.
pub struct Supervised {
    pub dir: tempfile::TempDir,
    pub supervisor: Child,
}

impl Supervised {
    pub async fn start() -> (Self, RunningGateway) {
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
    pub async fn until_serving(&self, before: Option<i32>) -> RunningGateway {
        self.until_serving_other_than(before.as_slice()).await
    }

    pub async fn until_serving_other_than(&self, others: &[i32]) -> RunningGateway {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            let found = adopt::find(self.dir.path());
            if let Some(found) = found.filter(|f| f.serving && !others.contains(&f.pid)) {
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
        // Also one that retires, or was being started.
        for process in std::fs::read_dir("/proc").unwrap().flatten() {
            let said = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
            let ours = self.dir.path().as_os_str().as_encoded_bytes();
            let pid = process.file_name().to_str().and_then(|name| name.parse().ok());
            if let Some(pid) = pid
                && said.split(|byte| *byte == 0).any(|argument| argument == ours)
            {
                signal(pid, rustix::process::Signal::KILL);
            }
        }
    }
}

impl Supervised {
    pub fn supervisor_pid(&self) -> i32 {
        self.supervisor.id().cast_signed()
    }

    /// Has a second gateway take over from the one that serves.
    pub async fn replace(&self, running: &RunningGateway) -> RunningGateway {
        signal(self.supervisor_pid(), rustix::process::Signal::HUP);
        let now = self.until_serving(Some(running.pid)).await;
        assert_eq!(now.http, running.http);
        now
    }
}

/// The example beside this test's own executable.
pub fn program() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let folder = own.ancestors().nth(2).unwrap();
    let program = folder.join("examples/gateway");
    assert!(program.exists(), "cargo builds examples with tests; {} is missing", program.display());
    program
}

pub fn signal(pid: i32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    let _ = rustix::process::kill_process(pid, signal);
}

pub fn until_gone(pid: i32) {
    let began = Instant::now();
    while Path::new(&format!("/proc/{pid}")).exists()
        && ark_gateway::process::start_ticks(pid).is_some()
    {
        assert!(began.elapsed() < PATIENCE, "process {pid} lives on");
        std::thread::sleep(Duration::from_millis(10));
    }
}
