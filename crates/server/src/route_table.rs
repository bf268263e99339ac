//! The route table, as a pure function of what is recorded. `gateway_link` builds it after each
//! commit and pushes it when it differs from the last; nothing else decides what the gateway does.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use ark_model::definition::{Definition, Expose, HealthCheckKind, Protocol};
use ark_model::instance::{InstanceRecord, InstanceState};
use ark_model::route::{
    Probe, ProbeCheck, Route, RouteKey, RouteLimits, RouteProtocol, Target, TargetState,
};
use ark_model::{AppName, EnvName, ReleaseNumber};
use ark_planner::time::after;

/// Share of an active target; all are equal in a rolling deployment.
const WEIGHT: u32 = 100;
/// How long a request may wait while no instance is ready.
const HOLD: Duration = Duration::from_secs(10);

/// What is recorded of one app that may have routes.
#[derive(Debug)]
pub struct AppRecords {
    /// Its environment.
    pub env: EnvName,
    /// The app.
    pub app: AppName,
    /// Releases whose `expose` entries make routes, the live one first, then the one under
    /// deployment: both sides must be reachable while one replaces the other.
    pub shapes: Vec<ReleaseNumber>,
    /// Definitions of every release that is named here or has an instance.
    pub definitions: HashMap<ReleaseNumber, Arc<Definition>>,
    /// Instances that may exist.
    pub instances: Vec<InstanceRecord>,
    /// Discovery port of each `expose` entry.
    pub discovery: BTreeMap<String, u16>,
}

/// All routes, in a fixed order, so that equal records make equal tables.
pub fn build(apps: &[AppRecords]) -> Vec<Route> {
    let mut routes: Vec<Route> = apps.iter().flat_map(app_routes).collect();
    routes.sort_by(|a, b| a.key.cmp(&b.key));
    routes
}

fn app_routes(records: &AppRecords) -> Vec<Route> {
    let mut exposes: Vec<(Reach, &Expose)> = Vec::new();
    let mut collect = |release: &ReleaseNumber, reach: fn(usize) -> Reach| {
        let Some(definition) = records.definitions.get(release) else { return };
        for (index, expose) in definition.expose.iter().enumerate() {
            if exposes.iter().all(|(_, known)| known.name != expose.name) {
                exposes.push((reach(index), expose));
            }
        }
    };
    for release in &records.shapes {
        collect(release, Reach::Open);
    }
    // What a new release no longer exposes keeps its route until its last instance has drained.
    for instance in &records.instances {
        collect(&instance.release, |_| Reach::Closed);
    }
    exposes.into_iter().map(|(reach, expose)| route(records, reach, expose)).collect()
}

/// Whether new requests find a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// By its hosts and its discovery port; the number is the entry's place in its definition.
    Open(usize),
    /// Not at all: what is inside may end.
    Closed,
}

fn route(records: &AppRecords, reach: Reach, expose: &Expose) -> Route {
    let (hosts, discovery_port) = match reach {
        Reach::Open(index) => {
            let mut hosts = vec![default_host(&records.env, &records.app, index, &expose.name)];
            hosts.extend(expose.hosts.iter().map(|host| host.to_ascii_lowercase()));
            hosts.dedup();
            (hosts, records.discovery.get(&expose.name).copied())
        }
        Reach::Closed => (Vec::new(), None),
    };
    let hold_ms = u64::try_from(HOLD.as_millis()).unwrap_or(u64::MAX);
    Route {
        key: RouteKey {
            env: records.env.clone(),
            app: records.app.clone(),
            expose: expose.name.clone(),
        },
        hosts,
        path: expose.path.clone(),
        protocol: match expose.protocol {
            Protocol::Http => RouteProtocol::Http,
            Protocol::H2c => RouteProtocol::H2c,
            Protocol::Grpc => RouteProtocol::Grpc,
            Protocol::Tcp => RouteProtocol::Tcp,
        },
        discovery_port,
        limits: RouteLimits { hold_ms, ..RouteLimits::default() },
        targets: records.instances.iter().filter_map(|i| target(records, expose, i)).collect(),
    }
}

/// The name under which the gateway serves an `expose` entry without any configuration: the first
/// is `<app>.<env>.localhost`, each further one has its own name in front.
pub fn default_host(env: &EnvName, app: &AppName, index: usize, expose: &str) -> String {
    match index {
        0 => format!("{app}.{env}.localhost"),
        _ => format!("{}.{app}.{env}.localhost", expose.to_ascii_lowercase()),
    }
}

fn target(records: &AppRecords, expose: &Expose, instance: &InstanceRecord) -> Option<Target> {
    let definition = records.definitions.get(&instance.release)?;
    let own = definition.expose.iter().find(|e| e.name == expose.name)?;
    let port = instance.ports.iter().find(|p| p.expose == expose.name)?;
    // Before it was seen to run, what answers at its address could be anyone.
    instance.running_since?;
    let state = match instance.state {
        InstanceState::Starting => TargetState::Candidate,
        InstanceState::Active => TargetState::Active { weight: WEIGHT },
        InstanceState::Draining => {
            let start = instance.draining_at?;
            TargetState::Draining {
                requests_until: after(start, definition.drain.requests.get()),
                streams_until: after(start, definition.drain.streams.get()),
            }
        }
        InstanceState::Stopping | InstanceState::Stopped => return None,
    };
    Some(Target {
        instance: instance.id,
        release: instance.release,
        address: port.address,
        state,
        probe: probe(own),
        process: instance.process,
    })
}

fn probe(expose: &Expose) -> Probe {
    let check = &expose.health_check;
    let ms = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
    Probe {
        check: match &check.kind {
            HealthCheckKind::Http { path } => ProbeCheck::Http { path: path.clone() },
            HealthCheckKind::Tcp => ProbeCheck::Tcp,
        },
        interval_ms: ms(check.interval.get()),
        timeout_ms: ms(check.timeout.get()),
        successes: check.successes,
        failures: check.failures,
    }
}
