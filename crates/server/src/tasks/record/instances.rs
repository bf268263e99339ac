//! The instances of a plan: started with records and ports, made active, drained, stopped, ended.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ark_model::artifact::Artifact;
use ark_model::definition::{Expose, RunKind};
use ark_model::event::EventKind;
use ark_model::instance::{InstanceRecord, InstanceState, PortBinding, StartFailure, StopCause};
use ark_model::{DeploymentState, Diagnosis, InstanceId, NodeName, ReleaseNumber};
use ark_planner::Action;
use ark_planner::placement::{self, Place, Rule};
use ark_planner::rollout::{Backoff, Plan};
use ark_store::{PortRequest, WriteTx};
use jiff::SignedDuration;

use super::{PORT_HOLD, Recording};
use crate::tasks::round::TaskError;

/// For how long a host where a release did not start is passed over, as long as there is another.
const FAILED_START_REMEMBERED: SignedDuration = SignedDuration::from_mins(10);
/// Of how many of an app's newest instances that is asked.
const FAILED_STARTS_MAX: usize = 200;

/// What came of instances for which there is no room.
pub(super) enum Unstarted {
    /// A failure of the release under deployment.
    Deployed(Diagnosis),
    /// A later attempt.
    Steady(Backoff),
}

impl Recording {
    pub(super) fn act(&mut self, tx: &mut WriteTx, action: &Action) -> Result<(), TaskError> {
        let now = self.now;
        match action {
            Action::Start { release, count } => {
                if let Some(why) = &self.no_room {
                    let text = format!("{count} instances of {release} have no room: {why}");
                    self.event(EventKind::InstanceLost, None, text);
                    return Ok(());
                }
                for node in self.place(tx, *release, *count)? {
                    self.start(tx, *release, node)?;
                }
            }
            Action::Activate(id) => {
                self.change(tx, *id, |i| {
                    i.state = InstanceState::Active;
                    i.active_at = i.active_at.or(Some(now));
                })?;
                let text = format!("{} of {} is ready", self.name(*id), self.release_of(*id));
                self.event(EventKind::InstanceReady, Some(*id), text);
            }
            Action::Drain { id, cause } => {
                self.change(tx, *id, |i| {
                    i.state = InstanceState::Draining;
                    i.draining_at = Some(now);
                    i.cause = Some(cause.clone());
                })?;
                let text = format!("{} of {} drains", self.name(*id), self.release_of(*id));
                self.event(EventKind::InstanceDraining, Some(*id), text);
            }
            Action::Stop { id, cause } => {
                self.change(tx, *id, |i| {
                    i.state = InstanceState::Stopping;
                    i.stopping_at = i.stopping_at.or(Some(now));
                    i.cause = cause.clone().or(i.cause.take());
                })?;
                if let Some(cause @ StopCause::NeverReady { .. }) = cause {
                    let text = format!(
                        "{} of {} {}",
                        self.name(*id),
                        self.release_of(*id),
                        cause_words(cause)
                    );
                    self.event(EventKind::InstanceLost, Some(*id), text);
                }
            }
            Action::Ended { id, cause } => self.ended(tx, *id, cause.as_ref())?,
        }
        Ok(())
    }

    /// Hosts for new instances; fewer than asked for when not so many have room now. The next round
    /// asks again.
    fn place(
        &self,
        tx: &WriteTx,
        release: ReleaseNumber,
        count: u32,
    ) -> Result<Vec<NodeName>, TaskError> {
        let facts = self.releases.get(&release).ok_or(TaskError::Outdated)?;
        let Some(hosts) = self.hosts.for_release(self.here.as_ref(), facts) else {
            return Ok(vec![NodeName::local(); count as usize]);
        };
        // One that was removed since it was seen takes nothing: whoever removed it saw that it was empty.
        let mut known = Vec::with_capacity(hosts.len());
        for host in hosts {
            if host.is_local() || tx.node(host)?.is_some() {
                known.push(host);
            }
        }
        let mut hosts = known;
        let rule = match facts.definition.run.kind {
            RunKind::Daemon => Rule::OnePerHost,
            _ => Rule::Spread,
        };
        let app = (&self.loaded.app.env, &self.loaded.app.app);
        if rule == Rule::Spread {
            // A host where it does not start is the emptiest, and would be tried for ever.
            let after = self.now - FAILED_START_REMEMBERED;
            let unstarted: Vec<InstanceRecord> = tx
                .lately_stopped_of(app.0, app.1, FAILED_STARTS_MAX, after)?
                .into_iter()
                .filter(|one| one.release == release)
                .filter(|one| matches!(one.cause, Some(StopCause::StartFailed { .. })))
                .collect();
            if unstarted.iter().any(could_not_have_it) {
                // Nor can other hosts, most likely: Ark's own may, and those that run the release.
                let running = tx.alive_instances_of(app.0, app.1)?.into_iter();
                let has: BTreeSet<NodeName> = running
                    .filter(|one| one.release == release && one.running_since.is_some())
                    .map(|one| one.node)
                    .chain([NodeName::local()])
                    .collect();
                if hosts.iter().any(|host| has.contains(*host)) {
                    hosts.retain(|host| has.contains(*host));
                }
            }
            let failed: BTreeSet<NodeName> = unstarted.into_iter().map(|one| one.node).collect();
            if hosts.iter().any(|host| !failed.contains(*host)) {
                hosts.retain(|host| !failed.contains(*host));
            }
        }
        let mut places: BTreeMap<&NodeName, Place> = hosts
            .into_iter()
            .map(|node| (node, Place { node: node.clone(), of_app: 0, in_all: 0 }))
            .collect();
        for instance in tx.alive_instances()? {
            let Some(place) = places.get_mut(&instance.node) else { continue };
            let works = matches!(instance.state, InstanceState::Starting | InstanceState::Active);
            place.in_all += 1;
            let counts =
                (&instance.env, &instance.app) == app && (works || rule == Rule::OnePerHost);
            place.of_app += u32::from(counts);
        }
        Ok(placement::place(places.into_values().collect(), count, rule))
    }

    fn start(
        &mut self,
        tx: &mut WriteTx,
        release: ReleaseNumber,
        node: NodeName,
    ) -> Result<(), TaskError> {
        let id = self.ids.pop().ok_or(TaskError::Outdated)?;
        let facts = self.releases.get(&release).ok_or(TaskError::Outdated)?.clone();
        let exposes = &facts.definition.expose;
        let (env, app) = (self.loaded.app.env.clone(), self.loaded.app.app.clone());
        // Ports refer to the instance, and the instance names its ports.
        let mut record = InstanceRecord {
            id,
            env,
            app,
            release,
            node,
            state: InstanceState::Starting,
            ports: Vec::new(),
            // A clock that was put back must not make it older than the restart that it is for.
            created_at: self.loaded.app.restart_before.map_or(self.now, |at| at.max(self.now)),
            running_since: None,
            active_at: None,
            draining_at: None,
            stopping_at: None,
            stopped_at: None,
            process: None,
            cause: None,
        };
        tx.insert_instance(&record)?;
        let numbers = numbers(exposes);
        let drain = facts.definition.drain.requests.get().max(facts.definition.drain.streams.get());
        let request = PortRequest {
            instance: id,
            count: numbers.len(),
            range: self.settings.instance_ports.clone(),
            hold: PORT_HOLD.max(drain),
            avoid: self.avoid.clone(),
        };
        let ports = tx.allocate_ports(&request, self.now)?;
        // In a container, ports are the definition's own; where they are reached is known when it
        // runs, and before that it is in no table.
        let contained = matches!(facts.release.content.artifact, Artifact::Image { .. });
        let elsewhere = self.hosts.address(&record.node);
        let given: BTreeMap<u16, u16> = numbers.into_iter().zip(ports).collect();
        let bind = |expose: &Expose| PortBinding {
            expose: expose.name.clone(),
            address: bound(elsewhere, contained, expose.port, given[&expose.port]),
        };
        record.ports = exposes.iter().map(bind).collect();
        tx.put_instance(&record)?;
        let on = match record.node.is_local() {
            true => String::new(),
            false => format!(" on {}", record.node),
        };
        let text = format!("{} of {release} is to start{on}", self.name(id));
        self.event(EventKind::InstanceStarting, Some(id), text);
        Ok(())
    }

    fn ended(
        &mut self,
        tx: &mut WriteTx,
        id: InstanceId,
        cause: Option<&StopCause>,
    ) -> Result<(), TaskError> {
        let now = self.now;
        let mut was_asked = None;
        self.change(tx, id, |i| {
            i.state = InstanceState::Stopped;
            i.stopped_at = Some(now);
            was_asked = i.cause.clone();
            i.cause = cause.cloned().or(i.cause.take());
        })?;
        tx.release_ports(id, now)?;
        let (name, release) = (self.name(id), self.release_of(id));
        match cause {
            Some(cause) => {
                let text = format!("{name} of {release} {}", cause_words(cause));
                self.event(EventKind::InstanceLost, Some(id), text);
            }
            None => {
                let why = was_asked.map_or(String::new(), |c| format!(": {}", cause_words(&c)));
                let text = format!("{name} of {release} stopped{why}");
                self.event(EventKind::InstanceStopped, Some(id), text);
            }
        }
        Ok(())
    }

    /// What it means that the instances of the plan cannot be started: to a deployment a failure
    /// of its release, else a reason to try again later.
    pub(super) fn unstarted(&self, plan: &Plan) -> Option<Unstarted> {
        let why = self.no_room.as_ref()?;
        let of = plan.actions.iter().find_map(|action| match action {
            Action::Start { release, .. } => Some(*release),
            _ => None,
        })?;
        Some(match &self.loaded.running {
            Some(d) if d.state == DeploymentState::Replacing && d.release == of => {
                Unstarted::Deployed(Diagnosis::NoCapacity { detail: why.clone() })
            }
            Some(_) | None => {
                Unstarted::Steady(Backoff::after_failure(self.loaded.app.failures, self.now))
            }
        })
    }
}

/// Whether another host than Ark's own had no way to the image.
fn could_not_have_it(instance: &InstanceRecord) -> bool {
    let missing = matches!(
        &instance.cause,
        Some(StopCause::StartFailed { reason: StartFailure::ArtifactMissing { .. } })
    );
    missing && !instance.node.is_local()
}

/// The numbers of an app's ports, each once: entries of one `port` are one listener, in a container and
/// outside of one, and have one address.
fn numbers(exposes: &[Expose]) -> BTreeSet<u16> {
    exposes.iter().map(|expose| expose.port).collect()
}

/// Where an entry is reached: `port` is the definition's, `given` the one of its host.
fn bound(elsewhere: Option<IpAddr>, contained: bool, port: u16, given: u16) -> SocketAddr {
    match (elsewhere, contained) {
        (Some(address), _) => (address, given).into(),
        (None, true) => (Ipv4Addr::UNSPECIFIED, port).into(),
        (None, false) => (Ipv4Addr::LOCALHOST, given).into(),
    }
}

/// What happened to an instance, after its name.
fn cause_words(cause: &StopCause) -> String {
    match cause {
        StopCause::Replaced => "was replaced".to_owned(),
        StopCause::Returned => "was withdrawn".to_owned(),
        StopCause::ScaledDown => "was no longer needed".to_owned(),
        StopCause::Asked => "was asked to stop".to_owned(),
        StopCause::Exited { exit } => format!("ended by itself: {}", exit.words()),
        StopCause::StartFailed { reason } => format!("could not be started: {}", reason.words()),
        StopCause::NeverReady { last } => format!("did not become ready: {last}"),
        StopCause::Vanished => "vanished from the engine".to_owned(),
    }
}
