//! Starting the main process of an instance: exactly its environment, its working directory, its
//! user, its control groups, a session of its own, and the end of its shim as its own end.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::process::{ChildStderr, ChildStdout, Command, Stdio};

use ark_model::instance::{ProcessIdentity, StartFailure};

use super::prepare::system;
use crate::engine::INSTANCE_ID_VARIABLE;
use crate::process::host;
use crate::process::record::{InstanceDir, Spec};
use crate::sys::{self, ChildSetup, ChildStage};

/// A main process that runs.
pub(super) struct Main {
    pub(super) identity: ProcessIdentity,
    pub(super) stdout: ChildStdout,
    pub(super) stderr: ChildStderr,
}

/// Starts it. When this returns `Ok` its program has begun.
pub(super) fn spawn(dir: &InstanceDir, spec: &Spec) -> Result<Main, StartFailure> {
    let Some(program) = spec.command.first() else {
        return Err(StartFailure::CommandNotFound { detail: "no command is given".to_owned() });
    };
    let entrances =
        spec.cgroups.entrances().map_err(|error| system(&error, "open the control group"))?;
    let (stage_read, stage_write) = rustix::pipe::pipe_with(
        rustix::pipe::PipeFlags::CLOEXEC | rustix::pipe::PipeFlags::NONBLOCK,
    )
    .map_err(|error| system(&error.into(), "make a pipe"))?;
    let mut command = command(dir, spec, program);
    command.args(&spec.command[1..]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    sys::prepare_child(
        &mut command,
        ChildSetup {
            cgroup_procs: entrances,
            new_session: true,
            user: spec.user.map(|user| (user.uid, user.gid)),
            open_files: spec.open_files,
            die_with: Some(std::process::id().cast_signed()),
            stage: stage_write,
        },
    );
    let mut child =
        command.spawn().map_err(|error| explain(&error, last_stage(stage_read), spec, program))?;
    let pid = child.id().cast_signed();
    // A program that has ended already is a zombie until the shim waits for it, so it is there.
    let start_ticks = host::stat(pid).map(|stat| stat.start_ticks).unwrap_or_default();
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(StartFailure::Other { detail: "its output cannot be read".to_owned() });
    };
    // One stream being readable says nothing of the other.
    rustix::io::ioctl_fionbio(&stdout, true)
        .and_then(|()| rustix::io::ioctl_fionbio(&stderr, true))
        .map_err(|error| system(&error.into(), "read its output"))?;
    // `child` is dropped without a wait: the supervisor reaps every child by itself.
    Ok(Main { identity: ProcessIdentity { pid, start_ticks }, stdout, stderr })
}

/// A command with an instance's environment, working directory and mark; `ark exec` uses it too.
pub(crate) fn command(dir: &InstanceDir, spec: &Spec, program: &str) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .envs(spec.variables.iter().map(|(name, value)| (name, value)))
        .env(INSTANCE_ID_VARIABLE, spec.id.to_string())
        .current_dir(dir.files());
    command
}

/// The last stage that the child began, if it got that far.
fn last_stage(pipe: OwnedFd) -> Option<u8> {
    let mut stages = [0; 8];
    let length = File::from(pipe).read(&mut stages).ok()?;
    stages[..length].last().copied()
}

fn explain(error: &io::Error, stage: Option<u8>, spec: &Spec, program: &str) -> StartFailure {
    let at = |wanted: ChildStage| stage == Some(wanted as u8);
    if at(ChildStage::Limits) {
        return system(error, "enter the control group");
    }
    if at(ChildStage::User) {
        return system(error, "become the app's user");
    }
    if stage.is_none() {
        return system(error, "make a process or enter its working directory");
    }
    match error.kind() {
        io::ErrorKind::NotFound
        | io::ErrorKind::PermissionDenied
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::IsADirectory => {
            let user = match (error.kind(), spec.user) {
                (io::ErrorKind::PermissionDenied, Some(user)) => {
                    format!(" (it would run as uid {}, apart from other users)", user.uid)
                }
                _ => String::new(),
            };
            StartFailure::CommandNotFound { detail: format!("`{program}`: {error}{user}") }
        }
        _ if error.raw_os_error() == Some(libc::ENOEXEC) => {
            StartFailure::CommandNotFound { detail: format!("`{program}`: {error}") }
        }
        _ => system(error, &format!("run `{program}`")),
    }
}
