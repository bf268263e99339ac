//! The supervisor: binds the listening sockets, keeps them open whatever happens, and starts the
//! gateway's process anew when it dies. While there is none, connections wait in the backlog
//! instead of being refused. It serves nothing itself and knows no routes; should it die, the
//! gateway goes on.
//!
//! On SIGHUP it starts a second gateway on the same sockets. When that one accepts connections it has
//! taken over from the first (see `predecessor`), which ends when its connections have; one that is
//! not ready in time is killed, and the first goes on under its names, unless it was told to retire
//! already: then another one is started at once.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::UnixDatagram;
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep, timeout};

use crate::access_log::AccessLog;
use crate::acme;
use crate::data_dir;
use crate::error::{Error, Result};
use crate::handoff::{self, Note};
use crate::listen::Door;
use crate::predecessor::Names;
use crate::role::Config;
use crate::{adopt, process};

/// How long the gateway's process is waited for after SIGTERM, before it is killed. It allows its
/// requests less.
const END_MAX: Duration = Duration::from_secs(40);
/// The first pause before a gateway that died is started anew, and the longest.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// How long a new gateway may take until it accepts connections.
const REPLACE_MAX: Duration = Duration::from_secs(30);
/// How often gateways that were replaced are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// When another successor is started for a gateway that was told to retire by one that died.
const AGAIN_AFTER: Duration = Duration::from_millis(200);
/// A gateway that lived so long did not die of its beginning: the pause is short again.
const LIVED_LONG: Duration = Duration::from_secs(10);

/// How the gateway's process is started.
#[derive(Debug, Clone)]
pub struct Program {
    /// The executable.
    pub path: PathBuf,
    /// Its arguments; they must lead to [`crate::role::run_worker`].
    pub arguments: Vec<OsString>,
}

/// See the module.
struct Supervisor {
    data_dir: PathBuf,
    program: Program,
    doors: Vec<(TcpListener, Door)>,
    /// Discovery ports the gateway opened.
    ports: HashMap<SocketAddr, TcpListener>,
    access_log: Option<AccessLog>,
    acme: Option<acme::Options>,
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    /// Gateways that were replaced and are ending.
    retiring: Vec<Child>,
    /// Whether the one that is followed was told to retire, by a successor that was never ready.
    is_retired: bool,
    /// Locked for as long as this supervisor lives.
    _lock: File,
}

/// Runs until it is told to end or the gateway has ended by itself, being told to.
pub(crate) async fn run(config: &Config, program: Program) -> Result<()> {
    let data_dir = config.data_dir.as_path();
    let lock = lock(data_dir)?;
    if let Some(running) = adopt::find(data_dir) {
        return Err(Error::AlreadyRunning { pid: running.pid });
    }
    let watch = |kind| signal(kind).map_err(Error::start("signal handler"));
    let supervisor = Supervisor {
        data_dir: data_dir.to_owned(),
        program,
        doors: config.open_doors()?,
        ports: HashMap::new(),
        access_log: config.access_log,
        acme: config.acme.clone(),
        terminate: watch(SignalKind::terminate())?,
        interrupt: watch(SignalKind::interrupt())?,
        hangup: watch(SignalKind::hangup())?,
        retiring: Vec::new(),
        is_retired: false,
        _lock: lock,
    };
    supervisor.supervise().await
}

/// One supervisor per data directory: two would fight over its files.
fn lock(data_dir: &Path) -> Result<File> {
    let path = data_dir.join(data_dir::LOCK);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(Error::file(&path))?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let pid = adopt::find(data_dir).map_or(0, |running| running.pid);
            Err(Error::AlreadyRunning { pid })
        }
        Err(error) => Err(Error::File { path, source: error.into() }),
    }
}

/// Why a gateway's life was over.
enum Ended {
    /// It exited with code 0: it was told to end.
    InOrder,
    /// It died.
    Died(ExitStatus),
    /// The supervisor was told to end.
    Told,
}

impl Supervisor {
    async fn supervise(mut self) -> Result<()> {
        let mut pause = PAUSE_MIN;
        loop {
            let began = Instant::now();
            let (child, socket) = self.start()?;
            self.is_retired = false;
            match self.follow(child, socket).await? {
                Ended::InOrder | Ended::Told => return self.end_retiring().await,
                Ended::Died(status) => {
                    if began.elapsed() >= LIVED_LONG {
                        pause = PAUSE_MIN;
                    }
                    tracing::error!(%status, again_in = ?pause, "gateway died");
                    if self.told_to_end_within(pause).await {
                        return self.end_retiring().await;
                    }
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }

    async fn end_retiring(&mut self) -> Result<()> {
        self.retiring.iter().for_each(tell_to_end);
        for old in &mut self.retiring {
            end(old).await?;
        }
        Ok(())
    }

    /// Starts the gateway's process and hands it all listening sockets.
    fn start(&self) -> Result<(Child, OwnedFd)> {
        let (own, other) = handoff::pair().map_err(Error::start("socket pair"))?;
        let child = Command::new(&self.program.path)
            .args(&self.program.arguments)
            .stdin(Stdio::from(other))
            .spawn()
            .map_err(Error::start("gateway process"))?;
        let send = |note: Note, listener| handoff::send(own.as_fd(), &note, listener);
        let handed = (|| {
            for (listener, door) in &self.doors {
                send(Note::Http { door: *door }, Some(listener))?;
            }
            for (address, listener) in &self.ports {
                send(Note::port(*address), Some(listener))?;
            }
            let (supervisor, access_log) = (process::own_identity(), self.access_log);
            send(Note::Begin { supervisor, access_log, acme: self.acme.clone() }, None)
        })();
        if let Err(error) = handed {
            // It died already; following it says how.
            tracing::error!(%error, "listening sockets could not be handed over");
        }
        rustix::io::ioctl_fionbio(&own, true)
            .map_err(|error| Error::Start { what: "socket pair", source: error.into() })?;
        Ok((child, own))
    }

    /// Takes in what the gateway says, until its end. Should it be replaced, its successor's.
    async fn follow(&mut self, mut child: Child, socket: OwnedFd) -> Result<Ended> {
        // Only its descriptor matters: readiness comes from the runtime, packets from `handoff`.
        let mut socket =
            UnixDatagram::from_std(socket.into()).map_err(Error::start("socket pair"))?;
        let mut is_open = true;
        loop {
            self.retiring.retain_mut(|old| matches!(old.try_wait(), Ok(None)));
            let wants_successor = tokio::select! {
                _ = self.hangup.recv() => true,
                () = sleep(AGAIN_AFTER), if self.is_retired => true,
                // Only to look at those that are ending.
                () = sleep(LOOK_EVERY), if !self.retiring.is_empty() => false,
                status = child.wait() => {
                    let status = status.map_err(Error::start("waiting for the gateway"))?;
                    self.take_in_all(&socket);
                    // One that retired has ended because another one was to serve.
                    let in_order = status.success() && !self.is_retired;
                    return Ok(if in_order { Ended::InOrder } else { Ended::Died(status) });
                }
                readable = socket.readable(), if is_open => {
                    let received = readable.and_then(|()| receive(&socket));
                    match received {
                        Ok(Some((note, listener))) => self.take_in(&note, listener),
                        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                        Ok(None) | Err(_) => is_open = false,
                    }
                    false
                }
                _ = self.terminate.recv() => return self.end_all(&mut child).await,
                _ = self.interrupt.recv() => return self.end_all(&mut child).await,
            };
            if wants_successor && !self.retiring.is_empty() {
                // Three at once would be one too many to hand tables through.
                tracing::warn!("a gateway that was replaced is still ending; not again yet");
            } else if wants_successor && let Some((next, its_socket)) = self.replace().await? {
                self.retiring.push(std::mem::replace(&mut child, next));
                (socket, is_open, self.is_retired) = (its_socket, true, false);
            }
        }
    }

    /// Starts a second gateway and waits until it accepts connections. `None` when it does not.
    async fn replace(&mut self) -> Result<Option<(Child, UnixDatagram)>> {
        let names = Names::take_down(&self.data_dir);
        let (mut next, socket) = self.start()?;
        let socket = UnixDatagram::from_std(socket.into()).map_err(Error::start("socket pair"))?;
        let ready = async {
            loop {
                let received = socket.readable().await.and_then(|()| receive(&socket));
                match received {
                    Ok(Some((Note::Ready, _))) => return true,
                    Ok(Some((note, listener))) => self.take_in(&note, listener),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Ok(None) | Err(_) => return false,
                }
            }
        };
        if matches!(timeout(REPLACE_MAX, ready).await, Ok(true)) {
            tracing::info!("gateway is replaced");
            return Ok(Some((next, socket)));
        }
        tracing::error!("the new gateway did not become ready; the one before goes on");
        next.kill().await.map_err(Error::start("killing the new gateway"))?;
        if let Some(Err(error)) = names.map(Names::give_back) {
            tracing::error!(%error, "the gateway before cannot be found any more");
        }
        Ok(None)
    }

    async fn end_all(&mut self, child: &mut Child) -> Result<Ended> {
        self.retiring.iter().for_each(tell_to_end);
        end(child).await
    }

    /// What a gateway said just before it died.
    fn take_in_all(&mut self, socket: &UnixDatagram) {
        while let Ok(Some((note, listener))) = receive(socket) {
            self.take_in(&note, listener);
        }
    }

    fn take_in(&mut self, note: &Note, listener: Option<TcpListener>) {
        match (note, listener) {
            (Note::Port { port, address }, Some(listener)) => {
                self.ports.insert((*address, *port).into(), listener);
            }
            (Note::PortClosed { port, address }, _) => {
                self.ports.remove(&(*address, *port).into());
            }
            (Note::Ready, _) => tracing::info!("gateway is ready"),
            (Note::Retired, _) => self.is_retired = true,
            (Note::Http { .. } | Note::Port { .. } | Note::Begin { .. }, _) => {
                tracing::warn!(?note, "gateway said what it should not");
            }
        }
    }

    async fn told_to_end_within(&mut self, pause: Duration) -> bool {
        tokio::select! {
            () = sleep(pause) => false,
            _ = self.terminate.recv() => true,
            _ = self.interrupt.recv() => true,
        }
    }
}

fn receive(socket: &UnixDatagram) -> std::io::Result<Option<(Note, Option<TcpListener>)>> {
    socket.try_io(Interest::READABLE, || handoff::receive(socket.as_fd()))
}

fn tell_to_end(child: &Child) {
    if let Some(pid) = child.id().and_then(|pid| rustix::process::Pid::from_raw(pid.cast_signed()))
    {
        // It may have ended by itself a moment ago.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
}

/// Ends the gateway's process: SIGTERM, and SIGKILL should it not end in time.
async fn end(child: &mut Child) -> Result<Ended> {
    tell_to_end(child);
    if timeout(END_MAX, child.wait()).await.is_err() {
        tracing::error!("gateway did not end in time and is killed");
        child.kill().await.map_err(Error::start("killing the gateway"))?;
    }
    Ok(Ended::Told)
}
