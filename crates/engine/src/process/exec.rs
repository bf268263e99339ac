//! Running a command beside an instance: in its groups, as its user, in its directory, with its
//! environment. It is a child of the server, and ends with the instance or with its session. It is given
//! pipes, never a terminal.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};

use ark_model::ids::InstanceId;
use futures::future::FutureExt;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use super::record::{Spec, read_json};
use super::{Inner, refused, unavailable};
use crate::engine::{EngineError, ExecSession, ExecSpec};
use crate::sys::{self, ChildSetup};
use crate::{open_files, shim};

impl Inner {
    /// Needs a runtime to be entered.
    pub(super) fn exec(&self, id: InstanceId, exec: &ExecSpec) -> Result<ExecSession, EngineError> {
        let Some((program, arguments)) = exec.command.split_first() else {
            return Err(refused("`exec` without a command"));
        };
        let (dir, _) = self.running(id)?;
        let failed = |error: io::Error| unavailable("prepare the command", error);
        let spec: Spec = read_json(&dir.spec()).map_err(failed)?;
        // Nobody asks which stage failed, but the pipe must have a reader until exec.
        let (_stage_read, stage) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .map_err(|error| failed(error.into()))?;
        let mut command = shim::command(&dir, &spec, program);
        command.args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let setup = ChildSetup {
            // The groups are removed when the instance ends, so it is not running any more.
            cgroup_procs: spec.cgroups.entrances().map_err(|_| EngineError::NotRunning(id))?,
            new_session: true,
            user: spec.user.map(|user| (user.uid, user.gid)),
            // One of an earlier version does not say it.
            open_files: spec.open_files.or_else(open_files::of_instances),
            die_with: None,
            stage,
        };
        sys::prepare_child(&mut command, setup);
        let mut command = Command::from(command);
        command.kill_on_drop(true);
        let spawned = command.spawn();
        let mut child = spawned.map_err(|source| EngineError::ExecFailed {
            id,
            program: program.clone(),
            source,
        })?;
        Ok(ExecSession {
            stdin: child.stdin.take().map(|stdin| Box::new(stdin) as _),
            stdout: child.stdout.take().map(|stdout| Box::new(stdout) as _),
            stderr: child.stderr.take().map(|stderr| Box::new(stderr) as _),
            terminal: None,
            exit: wait(Session { child }).boxed(),
        })
    }
}

/// Ends the command's whole process group when dropped before it has ended.
struct Session {
    child: Child,
}

async fn wait(mut session: Session) -> Result<i32, EngineError> {
    let status = session.child.wait().await;
    status.map(exit_code).map_err(|error| unavailable("wait for the command", error))
}

fn exit_code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

impl Drop for Session {
    fn drop(&mut self) {
        // No id means that it was waited for: its pid may be another's by now.
        if let Some(pid) = self.child.id() {
            let _ = killpg(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
        }
    }
}
