//! The hosts of the cluster in one round: which of them take what, which say nothing. Used by the
//! deployment loop and what it calls; places nothing itself ([`ark_planner::placement`] does).

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use ark_engine::{Engine, EngineKind, NodeSight};
use ark_model::artifact::Artifact;
use ark_model::definition::RunKind;
use ark_model::instance::InstanceRecord;
use ark_model::{NodeName, ReleaseNumber};
use ark_planner::HostSeen;
use ark_store::NodeRecord;
use jiff::Timestamp;

use super::reconcile::ReleaseFacts;
use crate::world::World;

/// How many silent hosts are named in one text.
const NAMED_MAX: usize = 40;

/// The hosts as last seen; none where Ark's own is the only one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Hosts {
    all: BTreeMap<NodeName, Host>,
    /// Engines of Ark's own host that say nothing.
    silent_here: Vec<EngineKind>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Host {
    seen: HostSeen,
    images_only: bool,
    address: Option<IpAddr>,
}

impl Hosts {
    pub(super) fn new(
        nodes: Vec<NodeSight>,
        silent_here: &[EngineKind],
        since: &HashMap<NodeName, Timestamp>,
    ) -> Self {
        let host = |node: NodeSight| {
            let seen = match (since.get(&node.name), node.draining) {
                (Some(since), _) => HostSeen::Silent { since: *since },
                (None, true) => HostSeen::Draining,
                (None, false) => HostSeen::Answers,
            };
            let NodeSight { images_only, address, .. } = node;
            (node.name, Host { seen, images_only, address })
        };
        let all: BTreeMap<NodeName, Host> = nodes.into_iter().map(host).collect();
        let silent_here = if all.is_empty() { Vec::new() } else { silent_here.to_vec() };
        Self { all, silent_here }
    }

    /// Those on record, for a server that has not heard of any yet: it is not known what the others run.
    pub(super) fn on_record(records: Vec<NodeRecord>, now: Timestamp) -> Self {
        let draining_here = records.iter().any(|one| one.name.is_local() && one.draining);
        let others = records.into_iter().filter(|record| !record.name.is_local());
        let mut all: BTreeMap<NodeName, Host> = others
            .map(|record| {
                let seen = HostSeen::Silent { since: now };
                (record.name, Host { seen, images_only: true, address: record.reach })
            })
            .collect();
        if !all.is_empty() || draining_here {
            let seen = if draining_here { HostSeen::Draining } else { HostSeen::Answers };
            all.insert(NodeName::local(), Host { seen, images_only: false, address: None });
        }
        Self { all, silent_here: Vec::new() }
    }

    /// How the host of an instance stands. One that is not known has nothing to say.
    pub(super) fn seen(&self, node: &NodeName) -> HostSeen {
        self.all.get(node).map_or(HostSeen::Answers, |host| host.seen)
    }

    /// How the host of an instance stands for its release: what no other host can take stays where it
    /// is, draining or not.
    pub(super) fn seen_for(
        &self,
        node: &NodeName,
        engine: &dyn Engine,
        facts: Option<&ReleaseFacts>,
    ) -> HostSeen {
        let only = facts.and_then(|facts| self.last_resort(engine, facts));
        if only == Some(node) { HostSeen::Answers } else { self.seen(node) }
    }

    /// Ark's own host while it is draining, if nothing else can take a release. What runs once per host
    /// leaves it all the same.
    fn last_resort(&self, engine: &dyn Engine, facts: &ReleaseFacts) -> Option<&NodeName> {
        let (name, host) = self.all.iter().find(|(name, _)| name.is_local())?;
        let each = facts.definition.run.kind == RunKind::Daemon;
        (host.seen == HostSeen::Draining && !each && self.takers(engine, facts, &[])?.is_empty())
            .then_some(name)
    }

    pub(super) fn is_silent(&self, node: &NodeName) -> bool {
        matches!(self.seen(node), HostSeen::Silent { .. })
    }

    /// Where the ports of a host's instances are reached; `None` for Ark's own.
    pub(super) fn address(&self, node: &NodeName) -> Option<IpAddr> {
        self.all.get(node)?.address
    }

    /// The hosts that may take an instance of a release now; `None` when there is only Ark's own.
    ///
    /// What cannot be carried along stays on Ark's own host: files of a directory where only images
    /// run, volumes (they are a host's own), and dependencies (their discovery ports are open on Ark's
    /// own host alone).
    pub(super) fn for_release(
        &self,
        engine: &dyn Engine,
        facts: &ReleaseFacts,
    ) -> Option<Vec<&NodeName>> {
        let mut hosts = self.takers(engine, facts, &self.silent_here)?;
        if hosts.is_empty() {
            hosts.extend(self.last_resort(engine, facts));
        }
        Some(hosts)
    }

    fn takers(
        &self,
        engine: &dyn Engine,
        facts: &ReleaseFacts,
        silent_here: &[EngineKind],
    ) -> Option<Vec<&NodeName>> {
        if self.all.is_empty() {
            return None;
        }
        let artifact = &facts.release.content.artifact;
        let definition = &facts.definition;
        let carried = matches!(artifact, Artifact::Image { .. })
            && definition.volumes.is_empty()
            && definition.dependencies.is_empty();
        let takes = |(name, host): &(&NodeName, &Host)| {
            let runs = match (name.is_local(), host.images_only) {
                (true, _) => !silent_here.contains(&engine.kind_for(artifact)),
                (false, true) => carried,
                (false, false) => true,
            };
            host.seen == HostSeen::Answers && runs
        };
        Some(self.all.iter().filter(takes).map(|(name, _)| name).collect())
    }

    /// How many hosts an app runs on that runs once per host; at least one. An engine of Ark's own host
    /// that says nothing for a while is no reason to end what runs anywhere.
    pub(super) fn taking(&self, world: &World, facts: &ReleaseFacts) -> Option<u32> {
        let hosts = self.takers(world.engine.as_ref(), facts, &[])?;
        Some(u32::try_from(hosts.len()).unwrap_or(u32::MAX).max(1))
    }

    /// What the end of a deployment leaves undone on hosts that do not answer. `live` is the release
    /// that is to run.
    pub(super) fn silent_words(
        &self,
        instances: &[InstanceRecord],
        live: Option<ReleaseNumber>,
    ) -> Option<String> {
        let silent: Vec<&NodeName> = self.all.keys().filter(|name| self.is_silent(name)).collect();
        if silent.is_empty() {
            return None;
        }
        let left = instances
            .iter()
            .filter(|i| i.state.is_alive() && Some(i.release) != live && self.is_silent(&i.node))
            .count();
        let named: Vec<&str> = silent.iter().take(NAMED_MAX).map(|name| name.as_str()).collect();
        let more = match silent.len() - named.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let what = match left {
            0 => "nothing is left to be replaced there".to_owned(),
            left => format!("{left} instances there are still to be replaced, when they answer"),
        };
        let (count, noun) = match silent.len() {
            1 => (1, "host does"),
            count => (count, "hosts do"),
        };
        Some(format!("{count} {noun} not answer: {}{more}; {what}", named.join(", ")))
    }
}
