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

#[cfg(test)]
mod tests {
    use ark_model::InstanceId;
    use ark_model::definition::DurationText;
    use ark_model::instance::PortBinding;
    use jiff::{SignedDuration, Timestamp};

    use super::*;

    fn definition(exposes: &[&str]) -> Arc<Definition> {
        let mut definition = Definition {
            expose: exposes.iter().map(|name| Expose::new(*name, 80)).collect(),
            ..Definition::default()
        };
        definition.drain.requests = DurationText::from_secs(10);
        definition.drain.streams = DurationText::from_secs(20);
        Arc::new(definition)
    }

    fn instance(n: u128, release: u64, state: InstanceState, exposes: &[&str]) -> InstanceRecord {
        let now = Timestamp::UNIX_EPOCH;
        let port = |(i, name): (usize, &&str)| PortBinding {
            expose: (*name).to_owned(),
            address: ([127, 0, 0, 1], 20_000 + n as u16 * 10 + i as u16).into(),
        };
        InstanceRecord {
            id: InstanceId(uuid::Uuid::from_u128(n)),
            env: "production".parse().expect("a name"),
            app: "web".parse().expect("a name"),
            release: ReleaseNumber(release),
            state,
            ports: exposes.iter().enumerate().map(port).collect(),
            created_at: now,
            running_since: Some(now),
            active_at: None,
            draining_at: (state == InstanceState::Draining).then_some(now),
            stopping_at: None,
            stopped_at: None,
            process: None,
            cause: None,
        }
    }

    fn records(shapes: &[u64], instances: Vec<InstanceRecord>) -> AppRecords {
        AppRecords {
            env: "production".parse().expect("a name"),
            app: "web".parse().expect("a name"),
            shapes: shapes.iter().copied().map(ReleaseNumber).collect(),
            definitions: [
                (ReleaseNumber(1), definition(&["default", "pprof"])),
                (ReleaseNumber(2), definition(&["http"])),
            ]
            .into(),
            instances,
            discovery: [("default".to_owned(), 17_000)].into(),
        }
    }

    #[test]
    fn instances_are_in_the_table_as_their_records_say() {
        use InstanceState::{Active, Draining, Starting, Stopping};
        let mut unseen = instance(5, 1, Starting, &["default", "pprof"]);
        unseen.running_since = None;
        let of = |n, state| instance(n, 1, state, &["default", "pprof"]);
        let routes = build(&[records(
            &[1],
            vec![of(1, Starting), of(2, Active), of(3, Draining), of(4, Stopping), unseen],
        )]);
        let names: Vec<&str> = routes.iter().map(|r| r.key.expose.as_str()).collect();
        assert_eq!(names, ["default", "pprof"]);
        assert_eq!(routes[0].hosts, ["web.production.localhost"]);
        assert_eq!(routes[1].hosts, ["pprof.web.production.localhost"]);
        assert_eq!((routes[0].discovery_port, routes[1].discovery_port), (Some(17_000), None));
        let second = |s| Timestamp::UNIX_EPOCH + SignedDuration::from_secs(s);
        let states: Vec<TargetState> = routes[0].targets.iter().map(|t| t.state.clone()).collect();
        assert_eq!(
            states,
            [
                TargetState::Candidate,
                TargetState::Active { weight: WEIGHT },
                TargetState::Draining { requests_until: second(10), streams_until: second(20) },
            ]
        );
        assert_eq!(routes[1].targets[0].address.port(), 20_011);
    }

    #[test]
    fn both_sides_are_reachable_while_one_replaces_the_other() {
        let old = instance(1, 1, InstanceState::Active, &["default", "pprof"]);
        let new = instance(2, 2, InstanceState::Starting, &["http"]);
        let routes = build(&[records(&[1, 2], vec![old, new])]);
        let targets = |name: &str| {
            routes.iter().find(|r| r.key.expose == name).map_or(0, |r| r.targets.len())
        };
        assert_eq!((targets("default"), targets("pprof"), targets("http")), (1, 1, 1));
    }

    #[test]
    fn a_route_that_is_no_longer_exposed_stays_closed_until_it_is_empty() {
        let old = instance(1, 1, InstanceState::Draining, &["default", "pprof"]);
        let new = instance(2, 2, InstanceState::Active, &["http"]);
        let routes = build(&[records(&[2], vec![old, new.clone()])]);
        let default = routes.iter().find(|r| r.key.expose == "default").expect("kept");
        assert!(default.hosts.is_empty() && default.discovery_port.is_none());
        assert_eq!(default.targets.len(), 1);
        let http = routes.iter().find(|r| r.key.expose == "http").expect("open");
        assert_eq!(http.hosts, ["web.production.localhost"]);
        assert_eq!(build(&[records(&[2], vec![new])]).len(), 1);
    }

    #[test]
    fn an_app_without_instances_keeps_its_route_so_that_its_page_can_say_why() {
        let routes = build(&[records(&[1], Vec::new())]);
        assert_eq!(routes.len(), 2);
        assert!(routes.iter().all(|r| r.targets.is_empty()));
    }
}
