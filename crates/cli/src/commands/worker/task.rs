//! One task: its command from start to end, with heartbeats beside it.

use std::ffi::OsString;
use std::fs::Permissions;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use super::Worker;
use super::handed::Handed;
use super::ring::{Kept, Ring};
use super::tail::{Lines, Tail};
use super::verdict::{EXECUTION_NAME, End, Input, OUTPUT_BYTES_MAX, Verdict, judge};

/// Between two heartbeats.
const HEARTBEAT: Duration = Duration::from_secs(20);
/// How long a command may go on after SIGTERM when the worker ends.
pub(super) const GRACE_STOPPING: Duration = Duration::from_secs(25);
/// The same when the task is no longer this worker's.
const GRACE_LOST: Duration = Duration::from_secs(5);
/// How long the streams are read after the command's end: something it left behind may hold them.
const STREAMS_END: Duration = Duration::from_secs(2);
/// Bytes that are kept of standard output: an output and what stands around it.
const STDOUT_BYTES: usize = OUTPUT_BYTES_MAX + 1_024;
/// Bytes that are kept of standard error: a cause.
const STDERR_BYTES: usize = 32_768;
/// Bytes read at once.
const READ_BYTES: usize = 16 << 10;

/// A signal that this process got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// To end: it is forwarded and the command has its grace.
    End(Signal),
    /// To end at once.
    Kill,
    /// Another: it is forwarded.
    Pass(Signal),
}

/// Whether a refusal says that the task is not this worker's any more.
pub(super) fn is_lost(code: &str) -> bool {
    matches!(code, "TaskDoesNotExist" | "TaskTimedOut" | "InvalidToken")
}

/// What became of a task.
pub(super) struct Outcome {
    pub(super) verdict: Verdict,
    /// The last lines that the command wrote.
    pub(super) log: String,
}

impl From<Verdict> for Outcome {
    /// Of a task whose command was never run.
    fn from(verdict: Verdict) -> Self {
        Self { verdict, log: String::new() }
    }
}

/// Runs the command of a task. `None`: the task was lost, and nothing is to be told.
pub(super) async fn perform(
    worker: &Worker,
    task: &Handed,
    input: &Input,
    mut told: broadcast::Receiver<Told>,
) -> Option<Outcome> {
    let (mut child, _dir) = match start(worker, &task.id, input) {
        Ok(started) => started,
        Err(verdict) => return Some(verdict.into()),
    };
    let tail = Arc::new(Mutex::new(Tail::default()));
    let (to, most) = (tokio::io::stdout(), STDOUT_BYTES);
    let stdout = Stream::follow(child.stdout.take(), to, Ring::of(most), tail.clone());
    let (to, most) = (tokio::io::stderr(), STDERR_BYTES);
    let stderr = Stream::follow(child.stderr.take(), to, Ring::of(most), tail.clone());
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let (mut stopping, mut lost) = (false, false);
    let mut kill_at: Option<Instant> = None;
    let beats = heartbeats(worker, task);
    tokio::pin!(beats);
    let status = loop {
        // Far away when no end was asked for; the arm is off then.
        let kill = kill_at.unwrap_or_else(|| Instant::now() + GRACE_STOPPING);
        tokio::select! {
            status = child.wait() => break status,
            () = &mut beats, if !lost => {
                worker.warn(&format!("{task} is no longer this worker's; its command is ended"));
                lost = true;
                signal(group, Signal::TERM);
                let at = Instant::now() + GRACE_LOST;
                kill_at = Some(kill_at.map_or(at, |earlier| earlier.min(at)));
            }
            word = told.recv() => match word {
                Ok(Told::End(which)) => {
                    signal(group, which);
                    stopping = true;
                    kill_at.get_or_insert(Instant::now() + GRACE_STOPPING);
                }
                Ok(Told::Kill) => {
                    signal(group, Signal::KILL);
                    stopping = true;
                }
                Ok(Told::Pass(which)) => signal(group, which),
                // Some were missed: the next is heard. The sender lives as long as the process.
                Err(_) => {}
            },
            () = sleep_until(kill), if kill_at.is_some() => {
                signal(group, Signal::KILL);
                kill_at = None;
            }
        }
    };
    let (stdout, stderr) = tokio::join!(stdout.end(), stderr.end());
    // What the command started in its group and left behind ends with it.
    signal(group, Signal::KILL);
    if lost {
        return None;
    }
    let verdict = match status {
        Ok(status) => judge(ended(status), stopping, &stdout, &stderr, &input.execution),
        Err(error) => Verdict::failed("sfncli.Unknown", error.to_string()),
    };
    Some(Outcome { verdict, log: worker.secrets.left_out_of(&locked(&tail).text()) })
}

fn ended(status: ExitStatus) -> End {
    match (status.code(), status.signal()) {
        (Some(code), _) => End::Exited(code),
        (None, signal) => End::Signalled(signal.unwrap_or(0)),
    }
}

/// A group that is gone needs no signal.
fn signal(group: Option<Pid>, which: Signal) {
    if let Some(group) = group {
        let _ = kill_process_group(group, which);
    }
}

/// Starts the command in a group of its own, with a directory of its own when there is a place for
/// one. The directory goes with the task.
fn start(worker: &Worker, id: &str, input: &Input) -> Result<(Child, Option<TempDir>), Verdict> {
    let dir = worker.work_dir.as_deref().map(|parent| fresh_dir(parent, id)).transpose()?;
    let argument: OsString = match &dir {
        Some(dir) if worker.input_file => written(dir.path(), &input.argument)?.into(),
        Some(_) | None => (&input.argument).into(),
    };
    let mut command = Command::new(&worker.program);
    command
        .args(&worker.arguments)
        .arg(argument)
        .env(EXECUTION_NAME, &input.execution)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    if let Some(dir) = &dir {
        command.env("WORK_DIR", dir.path());
    }
    match command.spawn() {
        Ok(child) => Ok((child, dir)),
        Err(error) => {
            let kind = error.kind();
            let is_none = matches!(kind, ErrorKind::NotFound | ErrorKind::PermissionDenied)
                || error.raw_os_error() == Some(Errno::NOEXEC.raw_os_error());
            let (name, what) = match (is_none, kind) {
                (true, _) => ("sfncli.CommandNotFound", "command not found"),
                (_, ErrorKind::ArgumentListTooLong) => {
                    ("sfncli.Unknown", "the input is too long for an argument (try --input-file)")
                }
                (false, _) => ("sfncli.Unknown", "the command cannot be run"),
            };
            Err(Verdict::failed(name, format!("{what}: '{}': {error}", worker.program)))
        }
    }
}

fn fresh_dir(parent: &Path, id: &str) -> Result<TempDir, Verdict> {
    let private = Permissions::from_mode(0o700);
    let prefix = format!("task-{id}-");
    let made = tempfile::Builder::new().prefix(&prefix).permissions(private).tempdir_in(parent);
    made.map_err(|error| {
        let cause = format!("no directory can be made in {}: {error}", parent.display());
        Verdict::failed("sfncli.Unknown", cause)
    })
}

/// The file with a task's input, in its directory.
fn written(dir: &Path, input: &str) -> Result<PathBuf, Verdict> {
    let path = dir.join("input.json");
    match std::fs::write(&path, input) {
        Ok(()) => Ok(path),
        Err(error) => {
            let cause = format!("{} cannot be written: {error}", path.display());
            Err(Verdict::failed("sfncli.Unknown", cause))
        }
    }
}

/// Sends heartbeats, the first at once; ends when the task is lost.
async fn heartbeats(worker: &Worker, task: &Handed) {
    let beat = json!({ "taskToken": task.token });
    let mut next = Instant::now();
    loop {
        sleep_until(next).await;
        next = Instant::now() + HEARTBEAT;
        match worker.client.states("SendTaskHeartbeat", &beat).await {
            Ok(_) => {}
            Err(failure) if is_lost(&failure.code) => return,
            Err(failure) => {
                worker.warn(&format!("a heartbeat of {task} was not sent: {}", failure.headline));
                worker.client.rediscover();
            }
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A stream that is passed on, and the end of it that is kept.
struct Stream {
    ring: Arc<Mutex<Ring>>,
    reader: JoinHandle<()>,
}

impl Stream {
    fn follow(
        from: Option<impl AsyncRead + Unpin + Send + 'static>,
        mut to: impl AsyncWrite + Unpin + Send + 'static,
        ring: Ring,
        tail: Arc<Mutex<Tail>>,
    ) -> Self {
        let ring = Arc::new(Mutex::new(ring));
        let kept = ring.clone();
        let reader = tokio::spawn(async move {
            let Some(mut from) = from else { return };
            let (mut bytes, mut lines) = (vec![0; READ_BYTES], Lines::default());
            while let Ok(read @ 1..) = from.read(&mut bytes).await {
                locked(&kept).push(&bytes[..read]);
                lines.push(&bytes[..read], &mut locked(&tail));
                // A stream of this process that is gone does not stop the command.
                let _ = to.write_all(&bytes[..read]).await;
                let _ = to.flush().await;
            }
            lines.end(&mut locked(&tail));
        });
        Self { ring, reader }
    }

    async fn end(mut self) -> Kept {
        if timeout(STREAMS_END, &mut self.reader).await.is_err() {
            self.reader.abort();
        }
        locked(&self.ring).kept()
    }
}
