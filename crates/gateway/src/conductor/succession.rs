//! How a gateway takes the place of another one, and gives up its own: see [`crate::predecessor`] for
//! the plan.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use ark_model::gateway::FromGateway;
use tokio::time::{interval, timeout};

use super::{Conductor, News, PortUse, REPORT_EVERY, tell_all};
use crate::clock::NEVER;
use crate::control::Request;
use crate::data_dir::SOCKET_BEFORE;
use crate::predecessor::Predecessor;
use crate::saved;
use crate::worker::Message;

/// The least time a gateway takes to retire.
const RETIRE_MIN: Duration = Duration::from_secs(1);
/// How long the gateway before may take to say what is inside it. It says so at once.
const FIRST_REPORT_MAX: Duration = Duration::from_secs(5);
/// For how long a gateway that retires waits for another successor when its own has died, in
/// milliseconds: a gateway starts within four seconds, at worst.
const ALONE_MAX_MS: u64 = 10_000;
/// How long its requests and streams have to end when none has come, in milliseconds.
const ALONE_GRACE_MS: u64 = 10_000;

impl Conductor {
    /// Takes over from the gateway before: follows a table that came there meanwhile. Returns the
    /// ports that are wanted.
    pub(super) async fn take_over(
        &mut self,
        mut predecessor: Predecessor,
        ports: HashMap<SocketAddr, PortUse>,
    ) -> HashMap<SocketAddr, PortUse> {
        tracing::info!(boot = %predecessor.boot, "taking over from the gateway before");
        let here = self.applied.as_ref().map(|table| table.generation);
        let (newer, older) = (predecessor.applied > here, predecessor.applied < here);
        // Its checkpoint looks like that of one that was killed; another successor's has what it told that
        // one, and may have forgotten.
        let known = self.lost.iter().position(|lost| lost.boot == predecessor.boot);
        if let Some(known) = known {
            predecessor.remember(self.lost.remove(known));
        }
        self.predecessor = Some(predecessor);
        self.hear_first().await;
        let data_dir = self.data_dir.clone();
        let read = || saved::read_table(&data_dir);
        if let Some(table) = newer.then(read).flatten() {
            return self.begin_with(table).await;
        }
        // A successor before this one may have been killed before it passed its last table on.
        if let (true, Some(table), Some(predecessor)) =
            (older, self.applied.clone(), &mut self.predecessor)
            && !predecessor.apply(&table).await
        {
            self.lose_predecessor().await;
        }
        ports
    }

    /// Waits until the gateway before has said what is inside it: whoever reads the first report from
    /// here must not take it for empty.
    async fn hear_first(&mut self) {
        let first = async {
            while let Some(predecessor) = &mut self.predecessor {
                let said = predecessor.hear().await;
                let is_report = matches!(said, Some(FromGateway::Report(_)));
                self.heard(said).await;
                if is_report {
                    return;
                }
            }
        };
        if timeout(FIRST_REPORT_MAX, first).await.is_err() {
            self.lose_predecessor().await;
        }
    }

    /// The gateway before does not follow: nothing says what it admits, and it must not go on.
    pub(super) async fn lose_predecessor(&mut self) {
        if let Some(predecessor) = &self.predecessor {
            predecessor.kill();
        }
        self.heard(None).await;
    }

    /// What the gateway before said; `None` when it has ended.
    pub(super) async fn heard(&mut self, said: Option<FromGateway>) {
        let Some(predecessor) = &mut self.predecessor else { return };
        let counted = match said {
            Some(FromGateway::Report(report)) => {
                predecessor.take_in(report).await;
                predecessor.counted(false)
            }
            Some(
                FromGateway::Hello { .. } | FromGateway::Ack { .. } | FromGateway::Refused { .. },
            ) => return,
            None => {
                tracing::info!("the gateway before has ended");
                let counted = predecessor.counted(true);
                predecessor.end();
                self.predecessor = None;
                counted
            }
        };
        let known = self.lost.iter().find(|lost| lost.boot == counted.boot);
        let same = known.is_some_and(|known| {
            known.targets == counted.targets && known.routes == counted.routes
        });
        if !same {
            self.lost.retain(|lost| lost.boot != counted.boot);
            self.lost.push(counted);
            self.lost_told = None;
        }
    }

    /// Another gateway has taken over: lets connections end, and says what was counted to it.
    pub(super) async fn retire(mut self, grace_ms: u64) {
        tracing::info!(grace_ms, "another gateway has taken over");
        self.retired = true;
        (self.observer)(News::Retired);
        let now_ms = self.shared.clock.now_ms();
        let mut until_ms = now_ms.saturating_add(grace_ms).min(NEVER - 1);
        tell_all(&self.shared, || Message::Retire { until_ms });
        let mut ticks = interval(REPORT_EVERY);
        let shared = self.shared.clone();
        // A connection may be on its way from one worker to another.
        let not_before_ms = now_ms + crate::clock::millis(RETIRE_MIN);
        let mut alone_since_ms = None;
        while (shared.connections() > 0 || shared.clock.now_ms() < not_before_ms)
            && shared.clock.now_ms() < until_ms
        {
            tokio::select! {
                _ = ticks.tick() => {
                    self.report();
                    if self.is_alone_for_long(&mut alone_since_ms) {
                        tracing::warn!("nobody has said what to admit for a while; ending");
                        until_ms = until_ms.min(shared.clock.now_ms().saturating_add(ALONE_GRACE_MS));
                        tell_all(&shared, || Message::Retire { until_ms });
                    }
                }
                () = shared.readiness_changed.notified() => {}
                request = self.requests.recv() => match request {
                    Some(Request::Stored { seq }) => self.stored(seq),
                    Some(Request::Apply { table, answer }) => {
                        let applied = self.apply(*table).await;
                        self.report();
                        let _ = answer.send(applied);
                    }
                    Some(Request::Shutdown { grace_ms }) => {
                        until_ms = until_ms.min(shared.clock.now_ms().saturating_add(grace_ms));
                        tell_all(&shared, || Message::Retire { until_ms });
                    }
                    Some(Request::Retire { .. }) => {}
                    None => break,
                },
            }
        }
        // Who comes next must not find a name that leads nowhere.
        let _ = std::fs::remove_file(self.data_dir.join(SOCKET_BEFORE));
        self.end_now().await;
    }

    /// Whether no successor has held the control connection for so long that this one must end: said
    /// once.
    fn is_alone_for_long(&self, since_ms: &mut Option<u64>) -> bool {
        // One is the socket's own.
        if self.reports.receiver_count() > 1 {
            *since_ms = None;
            return false;
        }
        let now_ms = self.shared.clock.now_ms();
        let since_ms = since_ms.get_or_insert(now_ms);
        let is_long = *since_ms != NEVER && now_ms >= since_ms.saturating_add(ALONE_MAX_MS);
        if is_long {
            *since_ms = NEVER;
        }
        is_long
    }
}

/// What the gateway before says next; for ever nothing when there is none.
pub(super) async fn hear(predecessor: &mut Option<Predecessor>) -> Option<FromGateway> {
    match predecessor {
        Some(predecessor) => predecessor.hear().await,
        None => std::future::pending().await,
    }
}
