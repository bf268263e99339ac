//! A command beside an instance, by the daemon's exec. The daemon lets such a command live on when
//! its client leaves; here it is ended with its session, by its process id where the daemon's
//! processes are this host's.

use std::io;
use std::time::Duration;

use ark_model::ids::InstanceId;
use bollard::Docker;
use bollard::container::LogOutput;
use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use bollard::models::ExecInspectResponse;
use bollard::query_parameters::ResizeExecOptions;
use futures::{FutureExt, StreamExt, stream};
use hyper::StatusCode;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, getpgid};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::watch;

use super::terminal::{self, NotBegun};
use super::{Inner, connection, container_name, refused, unavailable};
use crate::engine::{EngineError, ExecSession, ExecSpec};
use crate::process::host;
use ark_model::instance::ProcessIdentity;

/// Bytes on their way in each direction.
const BUFFER: usize = 64 << 10;
/// How often the daemon is asked whether a command has begun, and how it ended.
const ASK: Duration = Duration::from_millis(10);
/// How long it may take to say so.
const BEGIN_ASKS_MAX: u32 = 1_000;
/// What a command's first process is ended by.
const KILLED: i32 = 128 + 9;

impl Inner {
    pub(super) async fn exec(
        &self,
        id: InstanceId,
        spec: &ExecSpec,
    ) -> Result<ExecSession, EngineError> {
        let Some(program) = spec.command.first() else {
            return Err(refused("`exec` without a command".to_owned()));
        };
        self.running(id).await?;
        let docker = self.connection.get().await?.clone();
        let options = CreateExecOptions {
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            cmd: Some(spec.command.clone()),
            tty: Some(spec.tty),
            ..CreateExecOptions::default()
        };
        let exec = match docker.create_exec(&container_name(id), options).await {
            Ok(exec) => exec.id,
            Err(error) if matches!(connection::status(&error), Some(404 | 409)) => {
                return Err(EngineError::NotRunning(id));
            }
            Err(error) => return Err(unavailable("prepare a command", error)),
        };
        let failed =
            |source: io::Error| EngineError::ExecFailed { id, program: program.clone(), source };
        if spec.tty {
            return self.with_terminal(&docker, exec, failed).await;
        }
        let options = StartExecOptions::default();
        let started = docker.start_exec(&exec, Some(options)).await;
        let (output, input) = match started {
            Ok(StartExecResults::Attached { output, input }) => (output, input),
            Ok(StartExecResults::Detached) => {
                return Err(unavailable("attach to a command", "the daemon did not attach"));
            }
            Err(error) if connection::status(&error) == Some(400) => {
                return Err(failed(not_found(&connection::words(&error))));
            }
            Err(error) => return Err(unavailable("start a command", error)),
        };
        // Another host has other processes.
        let process = begun(&docker, &exec).await?.map_err(failed)?;
        let process = process.filter(|_| !self.options.elsewhere);
        Ok(session(docker, exec, process, output, input))
    }

    async fn with_terminal(
        &self,
        docker: &Docker,
        exec: String,
        failed: impl Fn(io::Error) -> EngineError,
    ) -> Result<ExecSession, EngineError> {
        let Some(socket) = self.connection.socket() else {
            let detail =
                "a terminal reaches only containers of Ark's own host; go without: `ark exec -T`";
            return Err(refused(detail.to_owned()));
        };
        let connected = match terminal::start(socket, &exec).await {
            Ok(connected) => connected,
            Err(NotBegun::Refused(StatusCode::BAD_REQUEST, words)) => {
                return Err(failed(not_found(&words)));
            }
            Err(NotBegun::Refused(_, words) | NotBegun::Broken(words)) => {
                return Err(unavailable("start a command", words));
            }
        };
        let process = begun(docker, &exec).await?.map_err(failed)?;
        let (output, input) = tokio::io::split(connected);
        let output = stream::unfold(output, async |mut output| {
            let mut piece = bytes::BytesMut::with_capacity(BUFFER);
            match output.read_buf(&mut piece).await {
                Ok(0) | Err(_) => None,
                Ok(_) => Some((Ok(LogOutput::Console { message: piece.freeze() }), output)),
            }
        });
        let terminal = Some(sizes(docker.clone(), exec.clone()));
        let session = session(docker.clone(), exec, process, output.boxed(), input);
        Ok(ExecSession { terminal, ..session })
    }
}

/// Where sizes of a command's terminal are put; the daemon is told the last one. Ends with its sender.
fn sizes(docker: Docker, exec: String) -> watch::Sender<(u16, u16)> {
    let (sender, mut sizes) = watch::channel((0, 0));
    tokio::spawn(async move {
        while sizes.changed().await.is_ok() {
            let (columns, rows) = *sizes.borrow_and_update();
            let size = ResizeExecOptions { h: rows.into(), w: columns.into() };
            // A command that has ended has no terminal any more.
            let _ = docker.resize_exec(&exec, size).await;
        }
    });
    sender
}

fn not_found(words: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, words.to_owned())
}

/// Waits until the command runs or has ended; the daemon's reason when it never ran.
async fn begun(
    docker: &Docker,
    exec: &str,
) -> Result<Result<Option<ProcessIdentity>, io::Error>, EngineError> {
    for _ in 0..BEGIN_ASKS_MAX {
        let seen = look(docker, exec).await?;
        let pid = seen.pid.and_then(|pid| i32::try_from(pid).ok()).filter(|pid| *pid > 0);
        match (seen.running, pid, seen.exit_code) {
            (_, None, Some(126 | 127)) => {
                return Ok(Err(not_found("no such program, or it may not be run")));
            }
            (Some(true), Some(pid), _) => return Ok(Ok(host::identity(pid))),
            (Some(false), _, Some(_)) => return Ok(Ok(None)),
            _ => tokio::time::sleep(ASK).await,
        }
    }
    Err(unavailable("start a command", "the daemon never said whether it runs"))
}

async fn look(docker: &Docker, exec: &str) -> Result<ExecInspectResponse, EngineError> {
    docker.inspect_exec(exec).await.map_err(|e| unavailable("look at a command", e))
}

/// Ends the command, and what it started in its process group, when it is dropped.
struct Leash(Option<ProcessIdentity>);

impl Drop for Leash {
    fn drop(&mut self) {
        let Some(process) = self.0 else { return };
        if host::identity(process.pid) != Some(process) {
            return;
        }
        let pid = Pid::from_raw(process.pid);
        // The daemon gives each command a group of its own; another group would be somebody else's.
        let _ = match getpgid(Some(pid)) {
            Ok(group) if group == pid => killpg(pid, Signal::SIGKILL),
            _ => kill(pid, Signal::SIGKILL),
        };
    }
}

fn session(
    docker: Docker,
    exec: String,
    process: Option<ProcessIdentity>,
    mut output: impl StreamExt<Item = Result<LogOutput, bollard::errors::Error>>
    + Send
    + Unpin
    + 'static,
    input: impl AsyncWrite + Send + Unpin + 'static,
) -> ExecSession {
    let (stdin, from_caller) = duplex(BUFFER);
    let (mut out, stdout) = duplex(BUFFER);
    let (mut err, stderr) = duplex(BUFFER);
    let feeding = tokio::spawn(feed(from_caller, input));
    let reading = tokio::spawn(async move {
        while let Some(Ok(piece)) = output.next().await {
            // A reader that left is no reason to stop: the command's end is still to come.
            let _ = match piece {
                LogOutput::StdErr { message } => err.write_all(&message).await,
                LogOutput::StdOut { message } | LogOutput::Console { message } => {
                    out.write_all(&message).await
                }
                LogOutput::StdIn { .. } => Ok(()),
            };
        }
    });
    let leash = Leash(process);
    let exit = async move {
        let _leash = leash;
        let _ = reading.await;
        feeding.abort();
        loop {
            let seen = look(&docker, &exec).await?;
            match (seen.running, seen.exit_code) {
                (Some(true), _) => tokio::time::sleep(ASK).await,
                (_, Some(code)) => return Ok(i32::try_from(code).unwrap_or(KILLED)),
                // The daemon forgets the code of what its container's end took along.
                (_, None) => return Ok(KILLED),
            }
        }
    };
    ExecSession {
        stdin: Some(Box::new(stdin)),
        stdout: Some(Box::new(stdout)),
        stderr: Some(Box::new(stderr)),
        terminal: None,
        exit: exit.boxed(),
    }
}

async fn feed(mut from: DuplexStream, mut to: impl AsyncWrite + Unpin) {
    let _ = tokio::io::copy(&mut from, &mut to).await;
    let _ = to.shutdown().await;
}
