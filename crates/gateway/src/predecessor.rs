//! The gateway before this one, when this one was started to take its place (a planned restart). The
//! new one takes control of the old one as a server would: tables it applies are applied there too
//! before they are acknowledged, since requests may still be admitted there on connections that are
//! open; what is inside there is reported as inside here, so that no instance is stopped under it;
//! what it counted is told like that of a life that has ended.
//!
//! **When the new one dies.** A gateway that retires serves open connections for minutes, by a table that
//! only its successor keeps true. So it is never left alone:
//!
//! - Its socket has a second name from before the successor's takes the first one's place. The next
//!   gateway finds it there, takes control of it just as the first successor did, brings it to the table
//!   in force, and hears what is inside it before it reports or accepts anything.
//! - One that cannot be brought to the table in force is killed before that table is acknowledged: it may
//!   admit to instances that are about to stop.
//! - One to which nobody speaks for 10 s (the supervisor may be dead, too) ends by itself: it takes no
//!   more requests on its connections than one each, and has 10 s for those under way and its streams.
//! - A successor that dies before it was ready leaves the old one in its place: the supervisor gives it
//!   back its names ([`Names`]). Had it been told to retire already, it says so to the supervisor, and that
//!   starts another successor at once.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ark_model::gateway::{FromGateway, LostBoot, Report, RouteReport, TargetReport, ToGateway};
use ark_model::ids::{BootId, Generation, InstanceId};
use ark_model::instance::ProcessIdentity;
use ark_model::route::{RouteKey, RouteTable};
use jiff::Timestamp;
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

use crate::data_dir::{self, Durable, IDENTITY, SOCKET, SOCKET_BEFORE, SocketPath};
use crate::error::{Error, Result};
use crate::link::{Link, LinkReceiver, LinkSender};
use crate::{adopt, process};

/// How long it may take to put a table in force.
const APPLY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long its open connections and streams have to end.
const GRACE: Duration = Duration::from_secs(300);
/// How long its process may take to end when it has closed the connection.
const END_MAX: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Debug)]
pub(crate) struct Predecessor {
    pub(crate) boot: BootId,
    /// The generation in force there when it was taken over.
    pub(crate) applied: Option<Generation>,
    process: ProcessIdentity,
    sender: LinkSender,
    receiver: LinkReceiver,
    targets: HashMap<(RouteKey, InstanceId), TargetReport>,
    routes: Vec<RouteReport>,
}

/// A gateway that lives and is to be taken over, with a connection to it.
#[derive(Debug)]
pub(crate) struct Before {
    stream: UnixStream,
    process: ProcessIdentity,
    role: Role,
}

/// What a gateway does that is to be taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// It serves: should it not be taken over, it goes on.
    Serving,
    /// It retires, and the gateway that took it over has died.
    Retiring,
}

/// The gateway to take over, if there is one. Called before this one's socket takes the place of the
/// other's, which has a second name from now on.
pub(crate) async fn find(data_dir: &Path) -> Option<Before> {
    let (first, second) = (data_dir.join(SOCKET), data_dir.join(SOCKET_BEFORE));
    let serving = adopt::find(data_dir)
        .filter(|running| running.serving && running.pid != process::own_identity().pid);
    let (path, role) = match serving {
        Some(_) => {
            let _ = std::fs::remove_file(&second);
            if let Err(error) = std::fs::hard_link(&first, &second) {
                tracing::error!(%error, "the socket of the gateway before has no second name");
            }
            (first, Role::Serving)
        }
        None => (second, Role::Retiring),
    };
    let stream = UnixStream::connect(SocketPath::new(&path).ok()?.as_path()).await.ok()?;
    let pid = stream.peer_cred().ok()?.pid()?;
    let process = ProcessIdentity { pid, start_ticks: process::start_ticks(pid)? };
    Some(Before { stream, process, role })
}

impl Before {
    /// Takes control. From now on no server reaches it. One that serves and does not answer goes on, and
    /// this gateway ends; one that retires and does not answer is killed.
    pub(crate) async fn take_over(self) -> Result<Option<Predecessor>> {
        let Self { stream, process, role } = self;
        match (Link::greet(stream).await, role) {
            (Ok(Link { sender, receiver, welcome }), _) => {
                let (boot, applied) = (welcome.boot, welcome.applied);
                let (targets, routes) = (HashMap::new(), Vec::new());
                let predecessor =
                    Predecessor { boot, applied, process, sender, receiver, targets, routes };
                Ok(Some(predecessor))
            }
            (Err(error), Role::Serving) => Err(error),
            (Err(error), Role::Retiring) => {
                tracing::error!(%error, "the gateway before does not answer and is killed");
                kill(process);
                Ok(None)
            }
        }
    }
}

/// The names under which the gateway of a data directory is found. Held by the supervisor while it starts
/// a successor, which takes them.
#[derive(Debug)]
pub(crate) struct Names {
    data_dir: PathBuf,
    identity: Vec<u8>,
}

impl Names {
    /// Those of the gateway that serves, which is the only one there is.
    pub(crate) fn take_down(data_dir: &Path) -> Option<Self> {
        // Of one that was killed while it retired.
        let _ = std::fs::remove_file(data_dir.join(SOCKET_BEFORE));
        let identity = std::fs::read(data_dir.join(IDENTITY)).ok()?;
        Some(Self { data_dir: data_dir.to_owned(), identity })
    }

    /// The successor is dead: the gateway has its names back.
    pub(crate) fn give_back(self) -> Result<()> {
        let (first, second) = (self.data_dir.join(SOCKET), self.data_dir.join(SOCKET_BEFORE));
        if second.exists() {
            std::fs::rename(&second, &first).map_err(Error::file(&first))?;
        }
        data_dir::write_atomically(&self.data_dir.join(IDENTITY), &self.identity, Durable::No)
    }
}

/// `kill -9`, of exactly this process.
fn kill(process: ProcessIdentity) {
    if let Some(pid) = rustix::process::Pid::from_raw(process.pid)
        && process::is_alive(process)
    {
        // It may have ended by itself a moment ago.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

impl Predecessor {
    /// What it told another successor, which died, and may have forgotten since.
    pub(crate) fn remember(&mut self, told: LostBoot) {
        for target in told.targets {
            let target = TargetReport { in_flight: 0, streams: 0, ..target };
            self.targets.insert((target.route.clone(), target.instance), target);
        }
    }

    /// It must not go on.
    pub(crate) fn kill(&self) {
        kill(self.process);
    }

    /// It has said that it has ended, or says nothing any more: then it is killed.
    pub(crate) fn end(&self) {
        let process = self.process;
        tokio::spawn(async move {
            sleep(END_MAX).await;
            kill(process);
        });
    }

    /// Lets it end: nothing new is accepted there.
    pub(crate) async fn retire(&mut self) {
        let grace_ms = crate::clock::millis(GRACE);
        // Should it be gone, the next word that is waited for says so.
        let _ = self.sender.send(&ToGateway::Retire { grace_ms }).await;
    }

    /// Takes in what it says next. `None` when it has ended. Cancel-safe.
    pub(crate) async fn hear(&mut self) -> Option<FromGateway> {
        self.receiver.next().await.ok()
    }

    /// Takes in a report, whole or with changes alone.
    pub(crate) async fn take_in(&mut self, report: Report) {
        for target in report.targets {
            self.targets.insert((target.route.clone(), target.instance), target);
        }
        self.routes = report.routes;
        // It may forget what is gone: it stands here.
        let _ = self.sender.report_stored(report.seq).await;
    }

    /// Puts a table in force there, too. `false` when it has ended meanwhile.
    pub(crate) async fn apply(&mut self, table: &RouteTable) -> bool {
        let applying = async {
            self.sender.push(table.clone()).await.ok()?;
            loop {
                match self.receiver.next().await.ok()? {
                    FromGateway::Ack { generation } if generation == table.generation => {
                        return Some(());
                    }
                    FromGateway::Refused { generation, .. } if generation == table.generation => {
                        return None;
                    }
                    FromGateway::Report(report) => self.take_in(report).await,
                    FromGateway::Ack { .. }
                    | FromGateway::Refused { .. }
                    | FromGateway::Hello { .. } => {}
                }
            }
        };
        matches!(timeout(APPLY_TIMEOUT, applying).await, Ok(Some(())))
    }

    /// Adds what is inside there to what is inside here, and what is held there to what is held here: a
    /// deployment waits for both.
    pub(crate) fn add_inside(
        &self,
        targets: &mut Vec<TargetReport>,
        routes: &mut Vec<RouteReport>,
    ) {
        let inside = |target: &&TargetReport| target.in_flight + target.streams > 0;
        for there in self.targets.values().filter(inside) {
            let same = |here: &&mut TargetReport| {
                here.instance == there.instance && here.route == there.route
            };
            match targets.iter_mut().find(same) {
                Some(here) => {
                    here.in_flight += there.in_flight;
                    here.streams += there.streams;
                }
                None => {
                    let counters = ark_model::gateway::Counters::default();
                    targets.push(TargetReport { readiness: None, counters, ..there.clone() });
                }
            }
        }
        let held = |route: &&RouteReport| route.held + route.held_inside > 0;
        for there in self.routes.iter().filter(held) {
            match routes.iter_mut().find(|here| here.route == there.route) {
                Some(here) => {
                    here.held += there.held;
                    here.held_inside += there.held_inside;
                }
                None => {
                    let counters = ark_model::gateway::Counters::default();
                    routes.push(RouteReport { counters, ..there.clone() });
                }
            }
        }
    }

    /// What it counted, as the server is told. `died`: what was inside was cut.
    pub(crate) fn counted(&self, died: bool) -> LostBoot {
        let mut targets: Vec<TargetReport> = self.targets.values().cloned().collect();
        let inside: u32 = targets.iter().map(|target| target.in_flight + target.streams).sum();
        let in_order = !died || inside == 0;
        if in_order {
            targets.iter_mut().for_each(|target| (target.in_flight, target.streams) = (0, 0));
        }
        let routes = self.routes.clone();
        LostBoot { boot: self.boot, checkpoint_at: Timestamp::now(), in_order, targets, routes }
    }
}
