//! What was observed just now, joined with what is recorded: the planner's whole input about the
//! world. Built by the server for each plan; nothing in it is remembered from an earlier one.

use std::collections::BTreeMap;
use std::time::Duration;

use ark_model::instance::{EngineState, InstanceRecord, InstanceState};
use ark_model::rollout::Share;
use ark_model::{InstanceId, ReleaseNumber};
use jiff::Timestamp;

use crate::judge::{SideWindow, Slice};

/// An instance as recorded and as seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// Which.
    pub id: InstanceId,
    /// The release it runs.
    pub release: ReleaseNumber,
    /// Where the record says it stands.
    pub state: InstanceState,
    /// When the record was made.
    pub created_at: Timestamp,
    /// When it first received traffic, if ever.
    pub active_at: Option<Timestamp>,
    /// When it left the table.
    pub draining_at: Option<Timestamp>,
    /// When the engine was told to stop it.
    pub stopping_at: Option<Timestamp>,
    /// Whether requests reach it through the gateway.
    pub has_ports: bool,
    /// How long its release lets requests and streams go on in a draining instance.
    pub drain: Duration,
    /// What the engine says; `None` when the engine could not be asked.
    pub engine: Option<EngineState>,
    /// What the gateway's probes say; `None` when nothing was reported yet.
    pub probe: Option<ProbeSeen>,
    /// What the table in force does with it.
    pub admission: Admission,
    /// Requests and streams inside it, as reported after the table in force was acknowledged.
    pub in_flight: Option<u32>,
    /// How its host stands.
    pub host: HostSeen,
    /// Whether that is another one than Ark's own, which may have images that no other can have.
    pub elsewhere: bool,
}

/// How the host of an instance stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostSeen {
    /// It answers.
    Answers,
    /// It answers and is to be empty: its instances move to others.
    Draining,
    /// It does not answer: of its instances nothing is known.
    Silent {
        /// Since when, for this server.
        since: Timestamp,
    },
}

/// Readiness as the gateway reported it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeSeen {
    /// Whether it passes its check.
    pub ready: bool,
    /// Since when that is so.
    pub since: Timestamp,
    /// What the last failed probe got.
    pub last_failure: Option<String>,
}

/// What the last acknowledged route table does with an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// No table has been acknowledged since the server started or the gateway came back, or one
    /// that divides otherwise is on its way.
    Unknown,
    /// It is not in the table.
    Absent,
    /// Probed, no traffic.
    Candidate,
    /// It receives traffic when ready.
    Active,
    /// It receives nothing new.
    Draining,
}

impl Admission {
    /// Whether it is certain that nothing new is admitted to an instance that once was recorded as
    /// active. Only a table that says so makes it certain: one in which the instance is still a
    /// candidate, or not yet named, may be followed by one, already on its way, that admits to it.
    pub fn is_closed(self) -> bool {
        match self {
            Self::Draining => true,
            Self::Unknown | Self::Absent | Self::Candidate | Self::Active => false,
        }
    }
}

/// The division of the traffic that the last acknowledged route table makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShareSeen {
    /// No table has been acknowledged since the server started or the gateway came back, or one
    /// that divides otherwise is on its way.
    Unknown,
    /// The app has no routes: there is nothing to divide.
    Unrouted,
    /// None: all active targets are alike.
    Even,
    /// A release gets this.
    Of(ReleaseNumber, Share),
}

impl ShareSeen {
    /// Whether it is certain that `release` gets what is wanted for it.
    pub fn is(&self, release: ReleaseNumber, wanted: &Share) -> bool {
        match self {
            Self::Unrouted => true,
            Self::Of(of, share) => *of == release && share == wanted,
            Self::Unknown | Self::Even => false,
        }
    }
}

/// What the gateway measured in a short time, per release.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Measured {
    /// When the time began.
    pub from: Timestamp,
    /// By release.
    pub sides: BTreeMap<ReleaseNumber, Slice>,
}

/// What was measured of a release from an instant on (and before another), slice by slice.
pub fn window<'a>(
    measured: impl IntoIterator<Item = &'a std::sync::Arc<Measured>>,
    release: ReleaseNumber,
    from: Timestamp,
    before: Timestamp,
) -> SideWindow {
    let slices = measured
        .into_iter()
        .filter(|m| m.from >= from && m.from < before)
        .map(|m| m.sides.get(&release).cloned().unwrap_or_default())
        .collect();
    SideWindow { release, slices }
}

impl Seen {
    /// Joins a record with what was seen.
    pub fn new(
        record: &InstanceRecord,
        drain: Duration,
        engine: Option<EngineState>,
        probe: Option<ProbeSeen>,
        admission: Admission,
        in_flight: Option<u32>,
    ) -> Self {
        Self {
            id: record.id,
            release: record.release,
            state: record.state,
            created_at: record.created_at,
            active_at: record.active_at,
            draining_at: record.draining_at,
            stopping_at: record.stopping_at,
            has_ports: !record.ports.is_empty(),
            drain,
            engine,
            probe,
            admission,
            in_flight,
            host: HostSeen::Answers,
            elsewhere: !record.node.is_local(),
        }
    }

    /// Whether its host does not answer.
    pub fn is_silent(&self) -> bool {
        matches!(self.host, HostSeen::Silent { .. })
    }

    /// Since when its main process runs, as far as the engine says so.
    pub fn running_since(&self) -> Option<Timestamp> {
        match self.engine {
            Some(EngineState::Running { since, .. }) => Some(since),
            _ => None,
        }
    }

    /// Whether it does its share of the work right now: recorded active, running, passing its
    /// check and, with ports, in the table in force. What the engine could not be asked about is
    /// taken to run: an engine that hangs must not lead to instances being replaced. On a silent host
    /// only the gateway's word counts: what takes no requests is no capacity there.
    pub fn is_serving(&self) -> bool {
        let runs = match &self.engine {
            None | Some(EngineState::Running { .. }) => true,
            Some(
                EngineState::Preparing
                | EngineState::Stopping { .. }
                | EngineState::Exited { .. }
                | EngineState::StartFailed { .. }
                | EngineState::Gone,
            ) => false,
        };
        let reachable = (!self.has_ports && !self.is_silent())
            || (self.has_ports
                && self.admission == Admission::Active
                && self.probe.as_ref().is_some_and(|p| p.ready));
        self.state == InstanceState::Active && runs && reachable
    }
}
