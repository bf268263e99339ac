//! The gateway before this one, when this one was started to take its place (a planned restart). The
//! new one takes control of the old one as a server would: tables it applies are applied there too
//! before they are acknowledged, since requests may still be admitted there on connections that are
//! open; what is inside there is reported as inside here, so that no instance is stopped under it;
//! what it counted is told like that of a life that has ended.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use ark_model::gateway::{FromGateway, LostBoot, Report, RouteReport, TargetReport, ToGateway};
use ark_model::ids::{BootId, Generation, InstanceId};
use ark_model::route::{RouteKey, RouteTable};
use jiff::Timestamp;
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::data_dir::{SOCKET, SocketPath};
use crate::link::{Link, LinkReceiver, LinkSender};
use crate::{adopt, process};

/// How long it may take to put a table in force.
const APPLY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long its open connections and streams have to end.
const GRACE: Duration = Duration::from_secs(300);

/// See the module.
#[derive(Debug)]
pub(crate) struct Predecessor {
    pub(crate) boot: BootId,
    /// The generation in force there when it was taken over.
    pub(crate) applied: Option<Generation>,
    sender: LinkSender,
    receiver: LinkReceiver,
    targets: HashMap<(RouteKey, InstanceId), TargetReport>,
    routes: Vec<RouteReport>,
}

/// A connection to the gateway that serves `data_dir` now, if another process does. Made before
/// this one's socket takes the place of the other's.
pub(crate) async fn find(data_dir: &Path) -> Option<UnixStream> {
    let running = adopt::find(data_dir).filter(|running| running.serving)?;
    if running.pid == process::own_identity().pid {
        return None;
    }
    let path = SocketPath::new(&data_dir.join(SOCKET)).ok()?;
    UnixStream::connect(path.as_path()).await.ok()
}

impl Predecessor {
    /// Takes control. From now on no server reaches it.
    pub(crate) async fn take_over(stream: UnixStream) -> Option<Self> {
        let Link { sender, receiver, welcome } = match Link::greet(stream).await {
            Ok(link) => link,
            Err(error) => {
                tracing::error!(%error, "the gateway before cannot be taken over");
                return None;
            }
        };
        let (boot, applied) = (welcome.boot, welcome.applied);
        let (targets, routes) = (HashMap::new(), Vec::new());
        Some(Self { boot, applied, sender, receiver, targets, routes })
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

    /// Adds what is inside there to what is inside here.
    pub(crate) fn add_inside(&self, targets: &mut Vec<TargetReport>) {
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
