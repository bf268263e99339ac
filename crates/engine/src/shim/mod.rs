//! `ark shim`: the parent of one instance of the process engine. It makes the instance's files and
//! limits, starts its main process, keeps its log, passes on the request to stop, ends whatever is
//! left and records how it ended. Started by the process engine, in a session of its own, so that
//! it outlives the server; it talks to nobody and listens to signals and files only.
//!
//! One thread, no runtime, little memory: there is one shim per instance. It must not print, must
//! not read its own environment, and must keep the status on disk true at every moment it can be
//! killed at.

mod child;
mod log;
mod prepare;
mod supervise;

use std::io;
use std::path::Path;
use std::process::ExitCode;

use ark_model::instance::{EngineState, Exit, ProcessIdentity, StartFailure};
use jiff::Timestamp;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

pub(crate) use self::child::command;
#[cfg(test)]
pub(crate) use self::log::Stream;
pub(crate) use self::log::{LogWriter, log_file, log_files};
use self::supervise::Supervisor;
use crate::process::host;
use crate::process::record::{InstanceDir, Spec, Status, read_json};
use crate::sys;

/// The signals a shim takes note of; all are blocked and read from a descriptor. Those it does not
/// act on are here so that they do not end it.
const SIGNALS: [Signal; 7] = [
    Signal::SIGCHLD,
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
];

/// Runs the instance whose directory is `directory` to its end. Call it first thing in a process
/// of its own, before any thread or runtime: it closes every inherited descriptor.
///
/// Exit code 0 when the end was recorded; 1 when another shim is in charge, the instance had
/// already been started, or the directory cannot be used.
pub fn run(directory: &Path) -> ExitCode {
    sys::close_inherited();
    match serve(directory) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error is `shim.log` of the instance.
            let _ = io::Write::write_all(
                &mut io::stderr(),
                format!("{} shim: {error}\n", Timestamp::now()).as_bytes(),
            );
            ExitCode::FAILURE
        }
    }
}

fn serve(directory: &Path) -> io::Result<()> {
    // Before anybody can learn this process's identity and signal it.
    let signals = SigSet::from_iter(SIGNALS);
    signals.thread_block()?;
    let signals = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    // So as not to hold the caller's directory.
    std::env::set_current_dir("/")?;
    // Orphans of the instance become children of the shim instead of the host's first process.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;

    let dir = InstanceDir::new(directory);
    let Some(_lock) = dir.try_lock()? else {
        return Err(io::Error::other("another process is in charge of the instance"));
    };
    if dir.status().exists() {
        return Err(io::Error::other("the instance has been started before"));
    }
    let pid = std::process::id().cast_signed();
    let journal = Journal {
        dir: dir.clone(),
        boot_id: host::boot_id(),
        shim: host::identity(pid).ok_or_else(|| io::Error::other("/proc is not mounted"))?,
    };
    // From here on, whoever asks the instance to stop can wake this process; a request made before
    // is found by looking once the signals are being read.
    journal.write(None, EngineState::Preparing)?;
    let spec: Spec = match read_json(&dir.spec()) {
        Ok(spec) => spec,
        Err(error) => {
            let detail = format!("spec.json cannot be read: {error}");
            return journal.start_failed(StartFailure::Other { detail });
        }
    };
    let log = LogWriter::create(dir.path(), spec.log_limits)?;
    start(&journal, &spec, signals, log)
}

/// Prepares and starts the main process, then watches over it.
fn start(journal: &Journal, spec: &Spec, signals: SignalFd, mut log: LogWriter) -> io::Result<()> {
    let is_stop_requested = || journal.dir.read_stop_request().is_some();
    let prepared = prepare::files(&journal.dir, spec, &is_stop_requested);
    let prepared = prepared.and_then(|()| prepare::check_ports(&spec.ports)).and_then(|()| {
        spec.cgroups
            .create(&spec.limits)
            .map_err(|error| StartFailure::NoCapacity { detail: format!("control group: {error}") })
    });
    if is_stop_requested() {
        spec.cgroups.remove();
        let never_ran = Exit {
            began: None,
            code: None,
            signal: None,
            out_of_memory: false,
            requested: true,
            at: Timestamp::now(),
        };
        log.note("asked to stop before it was started");
        return journal.write(None, EngineState::Exited { exit: never_ran });
    }
    match prepared.and_then(|()| child::spawn(&journal.dir, spec)) {
        Ok(main) => {
            log.note(&format!("started, pid {}", main.identity.pid));
            Supervisor::new(journal, spec, signals, log, main).run()
        }
        Err(reason) => {
            spec.cgroups.remove();
            log.note(&format!("cannot be started: {}", reason.words()));
            journal.start_failed(reason)
        }
    }
}

/// Writes the instance's status as seen by this shim.
struct Journal {
    dir: InstanceDir,
    boot_id: String,
    shim: ProcessIdentity,
}

impl Journal {
    fn write(&self, main: Option<ProcessIdentity>, state: EngineState) -> io::Result<()> {
        self.dir.write_status(&Status {
            boot_id: self.boot_id.clone(),
            shim: Some(self.shim),
            main,
            state,
        })
    }

    fn start_failed(&self, reason: StartFailure) -> io::Result<()> {
        self.write(None, EngineState::StartFailed { reason })
    }
}
