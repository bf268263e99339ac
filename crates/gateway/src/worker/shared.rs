//! What all worker threads of one gateway share.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::Release};
use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;

use super::message::Message;
use crate::access_log::Sink;
use crate::acme::Acme;
use crate::acme::challenges::PATH;
use crate::callers::CallsSeen;
use crate::clock::Clock;
use crate::refusals::Refusals;
use crate::wire::slot::DoorSide;

/// Descriptors kept for what is not a connection: discovery ports, probes, files.
const DESCRIPTORS_KEPT: usize = 2048;

/// One of so many parts of all connections there may be is kept for the other side.
const OTHERS_PART: usize = 4;

/// What all threads of one gateway share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    /// Rung when the readiness of any target changes.
    pub(crate) readiness_changed: tokio::sync::Notify,
    /// Grows with each change of what targets may be used; pools are made from one state of it.
    pub(super) health: AtomicU64,
    /// Held while a target is ejected, so that two threads do not eject one too many.
    pub(super) ejecting: Mutex<()>,
    /// Connections open per worker.
    pub(crate) loads: Box<[Load]>,
    /// How many there may be; more wait in the backlog. Each may need a second descriptor, for
    /// its target.
    pub(crate) connections_max: usize,
    /// Requests held over all workers.
    pub(crate) held: AtomicUsize,
    /// Requests refused before any route was looked for.
    pub(crate) refusals: Refusals,
    /// Who was seen calling which route through its own port.
    pub(crate) calls: CallsSeen,
    /// Where TLS is spoken.
    pub(crate) tls: std::sync::OnceLock<Tls>,
    /// Where requests are logged, if at all.
    pub(crate) access_log: std::sync::OnceLock<Sink>,
    /// Filled in before the first worker starts.
    pub(crate) mailboxes: std::sync::OnceLock<Vec<mpsc::UnboundedSender<Message>>>,
}

/// What workers need to speak TLS.
#[derive(Debug)]
pub(crate) struct Tls {
    pub(crate) config: Arc<rustls::ServerConfig>,
    pub(crate) certificates: Arc<crate::tls::Certificates>,
    /// Where certificates are got, if anywhere.
    pub(crate) acme: Option<Arc<Acme>>,
}

/// A worker's open connections.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Load {
    /// All of them.
    pub(super) all: AtomicUsize,
    /// Those of discovery ports.
    pub(super) inside: AtomicUsize,
}

impl Shared {
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            clock: Clock::start(),
            readiness_changed: tokio::sync::Notify::new(),
            health: AtomicU64::new(1),
            ejecting: Mutex::new(()),
            loads: (0..workers).map(|_| Load::default()).collect(),
            connections_max: connections_max(),
            held: AtomicUsize::new(0),
            refusals: Refusals::default(),
            calls: CallsSeen::default(),
            access_log: std::sync::OnceLock::new(),
            tls: std::sync::OnceLock::new(),
            mailboxes: std::sync::OnceLock::new(),
        }
    }

    /// What the authority of certificates is answered, should it be who asks.
    pub(crate) fn proof(&self, host: &str, path: &str) -> Option<String> {
        if !path.starts_with(PATH) {
            return None;
        }
        self.tls.get()?.acme.as_ref()?.challenges.answer(host, path)
    }

    pub(crate) fn send(&self, worker: usize, message: Message) {
        if let Some(mailbox) = self.mailboxes.get().and_then(|all| all.get(worker)) {
            // A worker that has ended serves nothing, so it need not be told anything.
            let _ = mailbox.send(message);
        }
    }

    /// The readiness of a target has changed: the server is told, and who waits for it.
    pub(crate) fn readiness_changed(&self) {
        self.health_changed();
        self.readiness_changed.notify_one();
        if self.held.load(Relaxed) > 0 {
            (0..self.loads.len()).for_each(|worker| self.send(worker, Message::Nudge));
        }
    }

    /// Pools of targets are made anew.
    pub(super) fn health_changed(&self) {
        self.health.fetch_add(1, Release);
    }

    pub(crate) fn connections(&self) -> usize {
        self.loads.iter().map(|load| load.all.load(Relaxed)).sum()
    }

    /// Whether one more connection of this side may be open: of all there may be, neither side has more
    /// than its share, so that clients of this host and apps that call one another cannot shut each
    /// other out.
    pub(super) fn has_room(&self, side: DoorSide) -> bool {
        let all = self.connections();
        let inside = self.loads.iter().map(|load| load.inside.load(Relaxed)).sum();
        let own = match side {
            DoorSide::Outside => all.saturating_sub(inside),
            DoorSide::Inside => inside,
        };
        let max = self.connections_max;
        all < max && own < max - max / OTHERS_PART
    }
}

/// Half of what the limit of open files leaves after what is not a connection.
fn connections_max() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    (limit.saturating_sub(DESCRIPTORS_KEPT) / 2).max(64)
}
