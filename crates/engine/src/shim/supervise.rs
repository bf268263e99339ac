//! Watching over a main process: its output into the log, the request to stop onto its process
//! group, and at its end an end for everything it started and a record of how it went.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use ark_model::definition::StopSignal;
use ark_model::instance::{EngineState, Exit, StartFailure};
use jiff::Timestamp;
use nix::sys::signal::{Signal, killpg};
use nix::sys::signalfd::SignalFd;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Journal;
use super::child::Main;
use super::log::{LogWriter, Stream};
use super::prepare;
use crate::process::end::Scope;
use crate::process::record::{Spec, StopRequest};

/// Read from a stream at a time.
const CHUNK_BYTES: usize = 64 * 1024;
/// How long one attempt to end everything waits for the processes to be gone.
const END_DEADLINE: Duration = Duration::from_secs(5);
/// Between two such attempts, when a process is stuck in the kernel.
const END_RETRY: Duration = Duration::from_secs(1);
/// How often the instance's directory is looked for. By time, because the watches of the kernel are
/// few: 128 for a user, by default.
const LOOK_INTERVAL: Duration = Duration::from_secs(15);
/// Between two attempts to write a state that the disk did not take.
const SAVE_RETRY: Duration = Duration::from_secs(1);
/// For how long the end is tried to be recorded; later the engine records it, without the details.
const SAVE_DEADLINE: Duration = Duration::from_secs(600);
/// How long the rest of the output is read after everything has ended.
const DRAIN_DEADLINE: Duration = Duration::from_secs(1);
/// An application that gives up within this time may not have got its port.
const BIND_WITHIN: Duration = Duration::from_secs(10);

pub(super) struct Supervisor<'a> {
    journal: &'a Journal,
    spec: &'a Spec,
    signals: SignalFd,
    log: LogWriter,
    main: Main,
    /// When the main process was started.
    begun: Instant,
    /// The same, as it is told.
    since: Timestamp,
    /// Streams that have not ended.
    open: [bool; 2],
    /// How the main process ended, once it has.
    ended: Option<Ended>,
    /// When the grace is over, once it was asked to stop.
    stop: Option<Stop>,
    /// A state that could not be written yet: the disk is full, say.
    unsaved: Option<EngineState>,
    /// When the instance's directory is looked for next.
    look_at: Instant,
    chunk: Vec<u8>,
}

struct Stop {
    /// When SIGKILL follows, and again after an attempt that left something.
    deadline: Instant,
    /// Whether Ark itself has sent SIGKILL.
    killed: bool,
}

#[derive(Clone, Copy)]
struct Ended {
    code: Option<i32>,
    signal: Option<i32>,
}

impl<'a> Supervisor<'a> {
    pub(super) fn new(
        journal: &'a Journal,
        spec: &'a Spec,
        signals: SignalFd,
        log: LogWriter,
        main: Main,
    ) -> Self {
        Self {
            journal,
            spec,
            signals,
            log,
            main,
            begun: Instant::now(),
            since: Timestamp::now(),
            open: [true; 2],
            ended: None,
            stop: None,
            unsaved: None,
            look_at: Instant::now() + LOOK_INTERVAL,
            chunk: vec![0; CHUNK_BYTES],
        }
    }

    pub(super) fn run(mut self) -> io::Result<()> {
        let process = Some(self.main.identity);
        self.record(EngineState::Running { since: self.since, process, address: None });
        // A request made before the signals were read.
        if let Some(request) = self.journal.dir.read_stop_request() {
            self.begin_stop(&request);
        }
        loop {
            self.reap();
            if self.ended.is_some() {
                return self.conclude();
            }
            self.wait()?;
            if self.stop.as_ref().is_some_and(|stop| Instant::now() >= stop.deadline) {
                self.end_by_force();
            }
            self.save();
        }
    }

    /// Writes the state, now or as soon as the disk takes it: an instance that runs is watched over
    /// whatever the disk does.
    fn record(&mut self, state: EngineState) {
        self.unsaved = Some(state);
        self.save();
    }

    fn save(&mut self) {
        if let Some(state) = &self.unsaved
            && self.journal.write(Some(self.main.identity), state.clone()).is_ok()
        {
            self.unsaved = None;
        }
    }

    /// Sleeps until there is something to do, and deals with signals and output.
    fn wait(&mut self) -> io::Result<()> {
        let now = Instant::now();
        if now >= self.look_at {
            self.look_at = now + LOOK_INTERVAL;
            self.look_for_directory();
        }
        let stop = self.stop.as_ref().map(|stop| stop.deadline);
        let save = self.unsaved.as_ref().map(|_| now + SAVE_RETRY);
        let next = stop.into_iter().chain(save).fold(self.look_at, Instant::min);
        let [signalled, output] = self.poll(next.saturating_duration_since(now))?;
        if signalled {
            self.take_signals()?;
        }
        if output {
            self.read_output();
        }
        Ok(())
    }

    /// Whether there is a signal, and whether there is output.
    fn poll(&self, timeout: Duration) -> io::Result<[bool; 2]> {
        let mut fds = vec![PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN)];
        if self.open[Stream::Stdout as usize] {
            fds.push(PollFd::from_borrowed_fd(self.main.stdout.as_fd(), PollFlags::IN));
        }
        if self.open[Stream::Stderr as usize] {
            fds.push(PollFd::from_borrowed_fd(self.main.stderr.as_fd(), PollFlags::IN));
        }
        let timespec = Timespec::try_from(timeout).map_err(io::Error::other)?;
        match poll(&mut fds, Some(&timespec)) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok([false; 2]),
            Err(error) => return Err(error.into()),
        }
        let ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
        Ok([ready(&fds[0]), fds[1..].iter().any(ready)])
    }

    fn take_signals(&mut self) -> io::Result<()> {
        while let Some(signal) = self.signals.read_signal()? {
            // Children are reaped in each round; the rest is ignored on purpose.
            let signal = Signal::try_from(signal.ssi_signo.cast_signed());
            if let Ok(Signal::SIGTERM | Signal::SIGINT) = signal {
                self.stop_requested();
            }
        }
        Ok(())
    }

    /// By the engine, which leaves a request; or by whoever shuts the host down, who leaves none.
    fn stop_requested(&mut self) {
        let request = self.journal.dir.read_stop_request().unwrap_or_else(|| StopRequest {
            at: Timestamp::now(),
            signal: self.spec.stop_signal,
            grace_ms: self.spec.stop_grace_ms,
        });
        self.begin_stop(&request);
    }

    /// An instance whose directory is deleted can be listed and stopped by nobody: it ends.
    fn look_for_directory(&mut self) {
        if !self.journal.dir.path().exists() {
            self.unsaved = None;
            self.stop_requested();
        }
    }

    /// The first request sends the signal; a later one can only bring the end nearer.
    fn begin_stop(&mut self, request: &StopRequest) {
        let now = Instant::now();
        let deadline = now.checked_add(request.grace()).unwrap_or(now + Duration::from_secs(3_600));
        if let Some(stop) = &mut self.stop {
            stop.deadline = stop.deadline.min(deadline);
            return;
        }
        self.stop = Some(Stop { deadline, killed: false });
        self.record(EngineState::Stopping { since: request.at });
        let grace = request.grace().as_secs_f64();
        self.log.note(&format!("asked to stop: {}, {grace} s of grace", request.signal));
        if request.grace_ms > 0 {
            // It may be ending at this moment.
            let _ = killpg(Pid::from_raw(self.main.identity.pid), signal(request.signal));
        }
    }

    fn end_by_force(&mut self) {
        self.log.note("not ended in its grace: SIGKILL");
        self.end_all();
        if let Some(stop) = &mut self.stop {
            stop.killed = true;
            stop.deadline = Instant::now() + END_RETRY;
        }
    }

    /// Whether nothing is left.
    fn end_all(&mut self) -> bool {
        let all_ended = self.scope().end_all(Instant::now() + END_DEADLINE);
        self.reap();
        all_ended
    }

    fn scope(&self) -> Scope<'a> {
        Scope {
            id: self.spec.id,
            cgroups: &self.spec.cgroups,
            shim: Some(self.journal.shim.pid),
            session: Some(self.main.identity.pid),
        }
    }

    /// Waits for every child that has ended: the main process, and orphans of it.
    fn reap(&mut self) {
        loop {
            let (pid, ended) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => {
                    (pid, Ended { code: Some(code), signal: None })
                }
                Ok(WaitStatus::Signaled(pid, signal, _)) => {
                    (pid, Ended { code: None, signal: Some(signal as i32) })
                }
                Ok(WaitStatus::StillAlive) | Err(nix::Error::ECHILD) => return,
                Ok(_) => continue,
                Err(_) => return,
            };
            if pid.as_raw() == self.main.identity.pid {
                self.ended = Some(ended);
            }
        }
    }

    fn read_output(&mut self) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            if self.open[stream as usize] {
                self.read_stream(stream);
            }
        }
    }

    /// One read: fair to the other stream and to signals.
    fn read_stream(&mut self, stream: Stream) {
        let source: &mut dyn Read = match stream {
            Stream::Stdout => &mut self.main.stdout,
            Stream::Stderr => &mut self.main.stderr,
        };
        match source.read(&mut self.chunk) {
            Ok(0) => {
                self.open[stream as usize] = false;
                self.log.finish(stream);
            }
            Ok(length) => self.log.take(stream, &self.chunk[..length]),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock
                ) => {}
            Err(_) => self.open[stream as usize] = false,
        }
    }

    /// The main process has ended: nothing of it may stay, and the status is the last thing
    /// written, so that whoever reads `Exited` finds the ports free and the log whole.
    fn conclude(mut self) -> io::Result<()> {
        let at = Timestamp::now();
        let leftovers = self.scope().members().len();
        if leftovers > 0 {
            self.log.note(&format!("{leftovers} processes it left behind are ended"));
            if !self.end_all() {
                self.log.note("some of them cannot be ended");
            }
        }
        self.drain();
        let exit = self.exit(at);
        self.log.note(&format!("ended: {}", exit.words()));
        let end = match self.lost_port(&exit) {
            Some(reason) => {
                self.log.note(&reason.words());
                EngineState::StartFailed { reason }
            }
            None => EngineState::Exited { exit },
        };
        self.spec.cgroups.remove();
        let deadline = Instant::now() + SAVE_DEADLINE;
        loop {
            match self.journal.write(Some(self.main.identity), end.clone()) {
                // A deleted directory does not come back.
                Err(error)
                    if error.kind() != io::ErrorKind::NotFound && Instant::now() < deadline =>
                {
                    std::thread::sleep(SAVE_RETRY);
                }
                result => return result,
            }
        }
    }

    /// Somebody may take a port after this shim found it free and before the application asks for
    /// it. The application can only give up then, and is not to blame.
    fn lost_port(&self, exit: &Exit) -> Option<StartFailure> {
        let gave_up = !exit.requested && exit.code.is_some_and(|code| code != 0);
        let early = self.begun.elapsed() < BIND_WITHIN;
        (gave_up && early).then(|| prepare::check_ports(&self.spec.ports).err()).flatten()
    }

    fn drain(&mut self) {
        let deadline = Instant::now() + DRAIN_DEADLINE;
        while self.open.contains(&true) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            match self.poll_output(left) {
                Ok(true) => self.read_output(),
                Ok(false) | Err(_) => break,
            }
        }
        for stream in [Stream::Stdout, Stream::Stderr] {
            self.log.finish(stream);
        }
    }

    fn poll_output(&self, timeout: Duration) -> io::Result<bool> {
        let streams = [self.main.stdout.as_fd(), self.main.stderr.as_fd()];
        let mut fds: Vec<PollFd<'_>> = streams
            .into_iter()
            .zip(self.open)
            .filter(|(_, open)| *open)
            .map(|(fd, _)| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        let timespec = Timespec::try_from(timeout).map_err(io::Error::other)?;
        Ok(poll(&mut fds, Some(&timespec))? > 0)
    }

    fn exit(&self, at: Timestamp) -> Exit {
        let Ended { code, signal } = self.ended.unwrap_or(Ended { code: None, signal: None });
        let killed_by_ark = self.stop.as_ref().is_some_and(|stop| stop.killed);
        // 137 is how a shell reports a child that SIGKILL ended.
        let looks_killed = signal == Some(Signal::SIGKILL as i32) || code == Some(137);
        let out_of_memory =
            looks_killed && !killed_by_ark && self.spec.cgroups.out_of_memory_kills() > 0;
        Exit {
            began: Some(self.since),
            code,
            signal,
            out_of_memory,
            requested: self.stop.is_some(),
            at,
        }
    }
}

fn signal(stop: StopSignal) -> Signal {
    match stop {
        StopSignal::Term => Signal::SIGTERM,
        StopSignal::Int => Signal::SIGINT,
        StopSignal::Quit => Signal::SIGQUIT,
        StopSignal::Hup => Signal::SIGHUP,
        StopSignal::Usr1 => Signal::SIGUSR1,
        StopSignal::Usr2 => Signal::SIGUSR2,
        StopSignal::Winch => Signal::SIGWINCH,
        StopSignal::Kill => Signal::SIGKILL,
    }
}
