//! The route table, as a pure function of what is recorded. `gateway_link` builds it after each
//! commit and pushes it when it differs from the last; nothing else decides what the gateway does.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use ark_model::definition::{
    Definition, DurationText, Expose, HealthCheckKind, Protocol, RunKind, Strategy,
};
use ark_model::instance::{InstanceRecord, InstanceState};
use ark_model::route::{
    ContainerNetwork, Probe, ProbeCheck, Route, RouteKey, RouteLimits, RouteProtocol, Target,
    TargetState,
};
use ark_model::traffic::Split;
use ark_model::{AppName, Deployment, DeploymentState, EnvName, ReleaseNumber};
use ark_planner::time::after;
use jiff::Timestamp;

use crate::shares::{Users, rule, split};

mod wanted;

pub use wanted::Wanted;

/// Share of an active target; all are equal in a rolling deployment.
const WEIGHT: u32 = 100;
/// How long a request may wait while no instance is ready.
const HOLD: Duration = Duration::from_secs(10);
/// How long it may wait while all instances are replaced at once, beyond the time that is given to
/// the requests of the old ones.
const HOLD_RECREATE: Duration = Duration::from_secs(60);

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
    /// The network of its environment's containers, from which the discovery ports are reached too.
    pub network: Option<ContainerNetwork>,
    /// How the traffic is divided.
    pub division: Division,
    /// What a request may wait for.
    pub wanted: Wanted,
}

/// How the running deployment divides the traffic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Division {
    /// Not at all: active instances are alike.
    #[default]
    Even,
    /// The new side gets a share.
    Split(Split),
    /// Nobody gets any for a while: all instances are replaced at once, and requests wait.
    Held,
}

impl Division {
    /// Of a running deployment.
    pub fn of(d: &Deployment) -> Self {
        match (&d.rollout, d.strategy, d.state) {
            (Some(rollout), strategy, _) => {
                let users = match strategy {
                    Strategy::Canary => Users::Sticky,
                    Strategy::Rolling | Strategy::BlueGreen | Strategy::Recreate => Users::Free,
                };
                Self::Split(split(d.release, &rollout.share, users))
            }
            (None, Strategy::Recreate, DeploymentState::Replacing | DeploymentState::Returning) => {
                Self::Held
            }
            (None, ..) => Self::Even,
        }
    }
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
    let mut routes: Vec<Route> =
        exposes.into_iter().map(|(reach, expose)| route(records, reach, expose)).collect();
    one_route_per_host(&mut routes);
    routes
}

/// A host that moves from one `expose` entry to another (which was renamed, say) belongs to the
/// entry that serves, the live release's first: it changes hands in the table in which the last
/// instance of the old entry drains.
fn one_route_per_host(routes: &mut [Route]) {
    let serves =
        |r: &Route| r.targets.iter().any(|t| matches!(t.state, TargetState::Active { .. }));
    let mut order: Vec<usize> = (0..routes.len()).collect();
    order.sort_by_key(|i| !serves(&routes[*i]));
    let mut taken = HashSet::new();
    for index in order {
        let route = &mut routes[index];
        let path = place(&route.path);
        route.hosts.retain(|host| taken.insert((host.clone(), path.clone())));
    }
}

/// Paths that mean the same are equal.
fn place(path: &str) -> String {
    path.trim_end_matches('/').to_owned()
}

/// Whose claim to a host goes before whose, when several apps name it: a permanent environment's
/// before those for development (which are made from the same launch files), then the older
/// environment's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostRank {
    /// Whether the environment is for development.
    pub development: bool,
    /// When it was made.
    pub created_at: Timestamp,
}

/// All apps' routes as one table, in a fixed order. One host and path lead to one route, or the
/// gateway would refuse the table, and with it everything that waits for its acknowledgement; an
/// app's own names (`web.production.localhost`) go before what another calls itself.
pub fn join<'a>(apps: impl IntoIterator<Item = (HostRank, &'a [Route])>) -> Vec<Route> {
    let mut all: Vec<(HostRank, Route)> = apps
        .into_iter()
        .flat_map(|(rank, routes)| routes.iter().map(move |route| (rank, route.clone())))
        .collect();
    all.sort_by(|a, b| (a.0, &a.1.key).cmp(&(b.0, &b.1.key)));
    let own = |route: &Route, host: &str| {
        host.strip_suffix(".localhost")
            .and_then(|h| h.strip_suffix(route.key.env.as_str()))
            .is_some_and(|h| {
                h.trim_end_matches('.').rsplit('.').next() == Some(route.key.app.as_str())
            })
    };
    let mut taken = HashSet::new();
    for mine in [true, false] {
        for (_, route) in &mut all {
            let path = place(&route.path);
            let hosts = std::mem::take(&mut route.hosts);
            let free = |host: &String| {
                own(route, host) != mine || taken.insert((host.clone(), path.clone()))
            };
            let kept: Vec<String> = hosts.into_iter().filter(free).collect();
            route.hosts = kept;
        }
    }
    let mut routes: Vec<Route> = all.into_iter().map(|(_, route)| route).collect();
    routes.sort_by(|a, b| a.key.cmp(&b.key));
    routes
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
            (hosts, records.discovery.get(&expose.name).copied())
        }
        Reach::Closed => (Vec::new(), None),
    };
    let hold = match records.division {
        Division::Held => {
            let drains = records.definitions.values().map(|d| d.drain.requests.get()).max();
            HOLD_RECREATE.saturating_add(drains.unwrap_or_default())
        }
        Division::Even | Division::Split(_) => HOLD,
    };
    let targets: Vec<Target> =
        records.instances.iter().filter_map(|i| target(records, expose, i)).collect();
    let hold = match records.wanted {
        Wanted::Later if targets.is_empty() && records.division != Division::Held => Duration::ZERO,
        Wanted::Later | Wanted::Instances | Wanted::Nothing => hold,
    };
    let hold_ms = u64::try_from(hold.as_millis()).unwrap_or(u64::MAX);
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
        discovery_networks: match discovery_port {
            Some(_) => records.network.into_iter().collect(),
            None => Vec::new(),
        },
        discovery_port,
        limits: match on_demand(records) {
            Some(definition) => limited(expose, &on_demand_limits(definition, hold_ms)),
            None => {
                let hold_empty =
                    records.division == Division::Held || records.wanted != Wanted::Nothing;
                limited(expose, &RouteLimits { hold_ms, hold_empty, ..RouteLimits::default() })
            }
        },
        split: match &records.division {
            Division::Split(split) => Some(split.clone()),
            Division::Even | Division::Held => None,
        },
        maintenance: expose.maintenance.clone(),
        targets,
    }
}

/// `own` with what a launch file says of the port.
fn limited(expose: &Expose, own: &RouteLimits) -> RouteLimits {
    let said = &expose.limits;
    let millis = |time: DurationText| u64::try_from(time.get().as_millis()).unwrap_or(u64::MAX);
    RouteLimits {
        response_header_ms: said.answer_within.map_or(own.response_header_ms, millis),
        body_bytes_max: said.body_mib.map_or(own.body_bytes_max, |mib| u64::from(mib) << 20),
        concurrency_max: said.concurrency.unwrap_or(own.concurrency_max),
        adaptive: said.adaptive,
        rate: said.rate,
        rate_per_client: said.rate_per_client,
        operators: said.operators.iter().filter_map(rule).collect(),
        slow_start_ms: said.slow_start.map_or(own.slow_start_ms, millis),
        ..own.clone()
    }
}

/// The definition in force of an app whose instance is started by requests.
fn on_demand(records: &AppRecords) -> Option<&Definition> {
    let release = records.shapes.first().filter(|_| records.wanted != Wanted::Nothing)?;
    let definition = records.definitions.get(release)?;
    (definition.run.kind == RunKind::Lambda).then_some(&**definition)
}

/// The first request waits for the instance that it starts; a call has the time and the company that
/// the definition allows.
fn on_demand_limits(definition: &Definition, hold_ms: u64) -> RouteLimits {
    let default = RouteLimits::default();
    let start = definition.deploy.ready_timeout.get().as_millis();
    let lambda = definition.lambda.as_ref();
    RouteLimits {
        hold_ms: hold_ms.max(u64::try_from(start).unwrap_or(u64::MAX)),
        hold_empty: true,
        response_header_ms: lambda
            .and_then(|l| l.timeout)
            .map_or(default.response_header_ms, |seconds| u64::from(seconds) * 1_000),
        concurrency_max: lambda.and_then(|l| l.max_concurrent).unwrap_or(0),
        ..default
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
            let drain = drain(definition, &records.division);
            TargetState::Draining {
                requests_until: after(start, drain.requests),
                streams_until: after(start, drain.streams),
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

/// How long work on a draining instance may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainTimes {
    /// Requests.
    pub requests: Duration,
    /// Streams.
    pub streams: Duration,
}

/// What a definition allows; while requests wait for all instances to be replaced, streams get no
/// longer than requests.
pub fn drain(definition: &Definition, division: &Division) -> DrainTimes {
    let (requests, streams) = (definition.drain.requests.get(), definition.drain.streams.get());
    let streams = match division {
        Division::Held => streams.min(requests),
        Division::Even | Division::Split(_) => streams,
    };
    DrainTimes { requests, streams }
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
    use ark_model::instance::PortBinding;
    use ark_model::traffic::{Adaptive, RequestPart};
    use jiff::SignedDuration;

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
            node: ark_model::NodeName::local(),
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
            network: Some(ContainerNetwork { address: [172, 18, 0, 1].into(), prefix: 16 }),
            division: Division::Even,
            wanted: Wanted::Instances,
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
        let networks = |at: usize| routes[at].discovery_networks.len();
        assert_eq!((networks(0), networks(1)), (1, 0));
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
    fn requests_wait_for_an_instance_that_comes_back_soon() {
        let held = |wanted, instances: Vec<InstanceRecord>| {
            let limits = &build(&[AppRecords { wanted, ..records(&[1], instances) }])[0].limits;
            (limits.hold_empty, limits.hold_ms)
        };
        assert_eq!(held(Wanted::Instances, vec![]), (true, 10_000));
        // The next start is further away than a request waits, until it is there.
        assert_eq!(held(Wanted::Later, vec![]), (true, 0));
        let starting = instance(1, 1, InstanceState::Starting, &["default"]);
        assert_eq!(held(Wanted::Later, vec![starting]), (true, 10_000));
        assert!(!held(Wanted::Nothing, vec![]).0);
    }

    #[test]
    fn a_launch_file_says_who_is_let_in() {
        let text = "
run: {type: process, command: [./web]}
expose:
  - port: 80
    limits:
      concurrency: 64
      adaptive: vegas
      operators: [{name: X-Operator}, {cookie: ops, value: a}]
      body_mib: 2
      answer_within: 1500ms
      slow_start: 0s
";
        let parsed = ark_model::definition::parse("web.yml", text.as_bytes());
        let Some(ark_model::definition::LaunchFile::App(definition)) = parsed.launch else {
            panic!("{:?}", parsed.diagnostics)
        };
        let mut records = records(&[1], vec![instance(1, 1, InstanceState::Active, &["default"])]);
        records.definitions.insert(ReleaseNumber(1), Arc::from(definition));
        let limits = &build(&[records])[0].limits;
        assert_eq!((limits.concurrency_max, limits.adaptive), (64, Adaptive::Vegas));
        assert_eq!((limits.response_header_ms, limits.slow_start_ms), (1_500, 0));
        assert_eq!(limits.body_bytes_max, 2 << 20);
        let rules: Vec<_> = limits
            .operators
            .iter()
            .map(|r| (r.part, r.name.as_str(), r.value.as_deref()))
            .collect();
        let expected =
            [(RequestPart::Header, "X-Operator", None), (RequestPart::Cookie, "ops", Some("a"))];
        assert_eq!(rules, expected);
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
    fn a_host_changes_hands_with_the_last_old_instance() {
        let hosts = |instances| {
            let routes = build(&[records(&[1, 2], instances)]);
            let of = |name: &str| {
                routes.iter().find(|r| r.key.expose == name).map_or(0, |r| r.hosts.len())
            };
            (of("default"), of("http"))
        };
        let old = |state| instance(1, 1, state, &["default", "pprof"]);
        let new = |state| instance(2, 2, state, &["http"]);
        use InstanceState::{Active, Draining, Starting};
        assert_eq!(hosts(vec![old(Active), new(Starting)]), (1, 0));
        assert_eq!(hosts(vec![old(Active), new(Active)]), (1, 0));
        assert_eq!(hosts(vec![old(Draining), new(Active)]), (0, 1));
        assert_eq!(hosts(vec![]), (1, 0));
    }

    #[test]
    fn a_host_that_several_apps_name_belongs_to_one() {
        let of = |env: &str, app: &str, hosts: &[&str]| {
            let mut records = records(&[1], Vec::new());
            records.env = env.parse().expect("a name");
            records.app = app.parse().expect("a name");
            let mut definition = Definition::clone(&definition(&["default"]));
            definition.expose[0].hosts = hosts.iter().map(|h| (*h).to_owned()).collect();
            records.definitions.insert(ReleaseNumber(1), Arc::new(definition));
            build(&[records])
        };
        let rank = |development, second| HostRank {
            development,
            created_at: Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second),
        };
        let hosts = ["web.example.test", "web.example.test", "api.production.localhost"];
        let dev = of("a-dev", "web", &hosts);
        let production = of("production", "web", &hosts);
        let api = of("production", "api", &[]);
        let apps =
            [(rank(true, 1), &*dev), (rank(false, 2), &*production), (rank(false, 2), &*api)];
        let routes = join(apps);
        let told: Vec<(&str, &str, Vec<&str>)> = routes
            .iter()
            .map(|r| {
                let hosts = r.hosts.iter().map(String::as_str).collect();
                (r.key.env.as_str(), r.key.app.as_str(), hosts)
            })
            .collect();
        assert_eq!(
            told,
            [
                ("a-dev", "web", vec!["web.a-dev.localhost"]),
                ("production", "api", vec!["api.production.localhost"]),
                ("production", "web", vec!["web.production.localhost", "web.example.test"]),
            ]
        );
    }

    #[test]
    fn an_app_without_instances_keeps_its_route_so_that_its_page_can_say_why() {
        let routes = build(&[records(&[1], Vec::new())]);
        assert_eq!(routes.len(), 2);
        assert!(routes.iter().all(|r| r.targets.is_empty()));
    }
}
