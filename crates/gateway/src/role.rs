//! The processes of `ark gateway`: the supervisor, and the gateway itself, which it starts. Both
//! functions block until their end and bring their own threads; whoever calls them needs no
//! runtime.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

pub use crate::access_log::{AccessLog, AccessLogTo};
use crate::acme;
pub use crate::acme::{Challenge, LETS_ENCRYPT, Options as Acme};
use crate::conductor::News;
use crate::error::{Error, Result};
use crate::gateway::{Gateway, Options, default_workers};
use crate::handoff::{self, Note};
pub use crate::listen::Door;
use crate::listen::{self, Presence};
pub use crate::supervisor::Program;

/// How long requests may take to end after SIGTERM.
const TERM_GRACE: Duration = Duration::from_secs(30);

/// How a gateway is run.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Where its socket and files are. Exists and belongs to the caller.
    pub data_dir: PathBuf,
    /// The addresses on which HTTP is accepted. Port 0 is allowed; `gateway.json` says which port
    /// it became.
    pub http: Vec<SocketAddr>,
    /// The addresses on which HTTP over TLS is accepted.
    pub https: Vec<SocketAddr>,
    /// Whether a balancer stands before the former and says for whom it speaks (PROXY protocol).
    pub proxy_protocol_http: bool,
    /// The same for the latter.
    pub proxy_protocol_https: bool,
    /// Whether requests without TLS are sent to the first address with it.
    pub redirect: bool,
    /// Whether and where requests are logged.
    pub access_log: Option<AccessLog>,
    /// Whether and where certificates are got; needs an address with TLS.
    pub acme: Option<acme::Options>,
}

impl Config {
    /// Binds all addresses.
    pub(crate) fn open_doors(&self) -> Result<Vec<(TcpListener, Door)>> {
        let mut doors = Vec::new();
        for address in &self.https {
            let proxy_protocol = self.proxy_protocol_https;
            doors.push((
                listen::bind(*address, Presence::Now)?,
                Door { tls: true, proxy_protocol, redirect_to: None },
            ));
        }
        let first = doors.first().and_then(|(listener, _)| listener.local_addr().ok());
        let redirect_to = first.filter(|_| self.redirect).map(|address| address.port());
        for address in &self.http {
            let proxy_protocol = self.proxy_protocol_http;
            let door = Door { tls: false, proxy_protocol, redirect_to };
            doors.push((listen::bind(*address, Presence::Now)?, door));
        }
        Ok(doors)
    }
}

/// Supervises a gateway in a session of its own, until SIGTERM, SIGINT or the gateway's end by
/// order of the server. `program` must lead to [`run_worker`] with the same data directory.
/// SIGTERM gives requests 30 s to end.
pub fn run_supervisor(config: &Config, program: Program) -> Result<()> {
    // Fails when this is the leader of a group already, as when started from a shell.
    let _ = rustix::process::setsid();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::start("runtime of the supervisor"))?;
    runtime.block_on(crate::supervisor::run(config, program))
}

/// Asks the supervisor of `data_dir` to replace the gateway's process by a new one, without a request
/// noticing. Returns what served before, at once; `None` when there is no supervisor to ask. It has
/// happened when `adopt::find` says another boot id.
pub fn replace(data_dir: &Path) -> Option<crate::adopt::RunningGateway> {
    let running = crate::adopt::find(data_dir)?;
    let pid = rustix::process::Pid::from_raw(running.supervisor_pid?)?;
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).ok()?;
    Some(running)
}

/// Serves, with the listening sockets that the supervisor hands over on standard input, until
/// SIGTERM or the server's order. Goes on when the supervisor dies.
pub fn run_worker(data_dir: &Path) -> Result<()> {
    raise_descriptor_limit();
    let from_supervisor =
        std::io::stdin().as_fd().try_clone_to_owned().map_err(|source| Error::Socket { source })?;
    let options = receive_options(&from_supervisor, data_dir)?;
    let to_supervisor = Arc::new(from_supervisor);
    let observed = to_supervisor.clone();
    let gateway = Gateway::start_observed(
        options,
        Box::new(move |news| match news {
            News::PortOpened(at, listener) => tell(&observed, &Note::port(at), Some(listener)),
            News::PortClosed(at) => tell(&observed, &Note::port_closed(at), None),
            News::Retired => tell(&observed, &Note::Retired, None),
        }),
    )?;
    tell(&to_supervisor, &Note::Ready, None);
    stop_on_signal(&gateway)?;
    gateway.wait();
    Ok(())
}

/// The supervisor may be dead; the gateway goes on without it.
fn tell(supervisor: &OwnedFd, note: &Note, listener: Option<&TcpListener>) {
    if let Err(error) = handoff::send(supervisor.as_fd(), note, listener) {
        tracing::warn!(%error, "supervisor cannot be told");
    }
}

fn receive_options(supervisor: &OwnedFd, data_dir: &Path) -> Result<Options> {
    let (mut doors, mut ports) = (Vec::new(), HashMap::new());
    loop {
        let received =
            handoff::receive(supervisor.as_fd()).map_err(|source| Error::Socket { source })?;
        match received {
            Some((Note::Http { door }, Some(listener))) => doors.push((listener, door)),
            Some((Note::Port { port, address }, Some(listener))) => {
                ports.insert((address, port).into(), listener);
            }
            Some((Note::Begin { supervisor, access_log, acme }, _)) => {
                return Ok(Options {
                    data_dir: data_dir.to_owned(),
                    doors,
                    ports,
                    workers: default_workers(),
                    supervisor: Some(supervisor),
                    access_log,
                    acme,
                });
            }
            Some((note, _)) => {
                let reason = format!("supervisor said {note:?}");
                return Err(Error::Protocol { reason });
            }
            None => {
                let reason = "supervisor ended before it said to begin".to_owned();
                return Err(Error::Protocol { reason });
            }
        }
    }
}

/// Lets SIGTERM and SIGINT end the gateway in order; a second one at once.
fn stop_on_signal(gateway: &Gateway) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::start("runtime for signals"))?;
    let requests = gateway.requests();
    let watch = move || {
        runtime.block_on(async {
            let (Ok(mut terminate), Ok(mut interrupt)) =
                (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
            else {
                return;
            };
            for grace in [TERM_GRACE, Duration::ZERO] {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                let grace_ms = crate::clock::millis(grace);
                let asked = crate::control::Request::Shutdown { grace_ms };
                if requests.send(asked).await.is_err() {
                    return;
                }
            }
        });
    };
    std::thread::Builder::new()
        .name("ark-signals".to_owned())
        .spawn(watch)
        .map(drop)
        .map_err(Error::start("thread for signals"))
}

/// A gateway needs two descriptors per request under way; the soft limit is often 1024.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "limit of open files stays as it is");
    }
}
