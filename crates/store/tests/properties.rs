//! Properties that hold whatever the order of things: ports rest before they are used again, and
//! no request is counted twice or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ark_model::environment::{EnvKind, EnvState, Environment};
use ark_model::receipt::Side;
use ark_model::route::RouteKey;
use ark_model::{AppName, BootId, EnvName, InstanceId, ReleaseNumber};
use ark_store::{PortRequest, Store, StoreError, TrafficLine, WriteTx};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use uuid::Uuid;

fn at(seconds: u32) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(i64::from(seconds))
}

fn env() -> EnvName {
    "dev".parse().expect("a name")
}

fn app() -> AppName {
    "web".parse().expect("a name")
}

/// A store that runs where it is called, and a way to call it.
struct Direct {
    store: Store,
    runtime: tokio::runtime::Runtime,
}

impl Direct {
    fn new() -> Self {
        let store = Store::inline_in_memory(at(0)).expect("a store");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let direct = Self { store, runtime };
        direct
            .write(|tx| {
                tx.insert_environment(&Environment {
                    name: env(),
                    kind: EnvKind::Development,
                    state: EnvState::Active,
                    owner: "ada".into(),
                    created_at: at(0),
                    freeze: Vec::new(),
                    lease: None,
                })
            })
            .expect("an environment");
        direct
    }

    fn write<T: Send + 'static>(
        &self,
        closure: impl FnOnce(&mut WriteTx) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.runtime.block_on(self.store.write(closure))
    }
}

const FIRST: u16 = 100;
const LAST: u16 = 108;
const HOLD_SECONDS: u32 = 10;

#[derive(Debug, Clone)]
enum Step {
    Allocate { instance: u8, count: usize, avoid: Option<u16> },
    Discover { expose: u8 },
    Release { instance: u8 },
    Wait { seconds: u32 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0_u8..6, 1_usize..4, proptest::option::of(FIRST..=LAST))
            .prop_map(|(instance, count, avoid)| Step::Allocate { instance, count, avoid }),
        1 => (0_u8..3).prop_map(|expose| Step::Discover { expose }),
        3 => (0_u8..6).prop_map(|instance| Step::Release { instance }),
        2 => (1_u32..8).prop_map(|seconds| Step::Wait { seconds }),
    ]
}

/// What is known of a port: who has it, or since when nobody has.
#[derive(Debug, Clone, PartialEq)]
enum Port {
    Instance(u8),
    Route(u8),
    Released(u32),
}

/// The rule in its plainest form, to hold the store against.
#[derive(Default)]
struct Model {
    now: u32,
    ports: BTreeMap<u16, Port>,
}

impl Model {
    fn free(&self, avoid: Option<u16>) -> BTreeSet<u16> {
        let free = |port: &u16| match self.ports.get(port) {
            None => true,
            Some(Port::Released(since)) => self.now - since >= HOLD_SECONDS,
            Some(Port::Instance(_) | Port::Route(_)) => false,
        };
        (FIRST..=LAST).filter(free).filter(|port| Some(*port) != avoid).collect()
    }

    /// Checks an answer against what is free, and takes it over.
    fn take(
        &mut self,
        answer: Result<Vec<u16>, StoreError>,
        free: &BTreeSet<u16>,
        count: usize,
        owner: &Port,
    ) -> Result<(), TestCaseError> {
        match answer {
            Ok(ports) => {
                let distinct: BTreeSet<_> = ports.iter().copied().collect();
                prop_assert_eq!(distinct.len(), count);
                prop_assert!(distinct.is_subset(free), "{:?} of {:?}", ports, free);
                self.ports.extend(ports.into_iter().map(|port| (port, owner.clone())));
            }
            Err(StoreError::NoPort { .. }) => prop_assert!(free.len() < count),
            Err(other) => return Err(TestCaseError::fail(other.to_string())),
        }
        Ok(())
    }
}

fn instance(number: u8) -> InstanceId {
    InstanceId(Uuid::from_u128(u128::from(number)))
}

fn run(direct: &Direct, model: &mut Model, step: &Step) -> Result<(), TestCaseError> {
    let (now, hold) = (at(model.now), Duration::from_secs(u64::from(HOLD_SECONDS)));
    match *step {
        Step::Wait { seconds } => model.now += seconds,
        Step::Allocate { instance: owner, count, avoid } => {
            let request = PortRequest {
                instance: instance(owner),
                count,
                range: FIRST..=LAST,
                hold,
                avoid: avoid.into_iter().collect(),
            };
            let free = model.free(avoid);
            let answer = direct.write(move |tx| tx.allocate_ports(&request, now));
            model.take(answer, &free, count, &Port::Instance(owner))?;
        }
        Step::Discover { expose } => {
            let route = RouteKey { env: env(), app: app(), expose: expose.to_string() };
            let known = model.ports.iter().find(|(_, port)| **port == Port::Route(expose));
            let known = known.map(|(port, _)| *port);
            let free = model.free(None);
            let answer = direct
                .write(move |tx| tx.allocate_discovery_port(&route, &(FIRST..=LAST), hold, now));
            match known {
                Some(port) => prop_assert_eq!(answer.ok(), Some(port)),
                None => {
                    model.take(answer.map(|port| vec![port]), &free, 1, &Port::Route(expose))?;
                }
            }
        }
        Step::Release { instance: owner } => {
            let released = direct.write(move |tx| tx.release_ports(instance(owner), now));
            let since = model.now;
            let mut count = 0;
            for port in model.ports.values_mut().filter(|port| **port == Port::Instance(owner)) {
                *port = Port::Released(since);
                count += 1;
            }
            prop_assert_eq!(released.ok(), Some(count));
        }
    }
    Ok(())
}

fn side() -> impl Strategy<Value = Side> {
    (0_u64..4, 0_u64..3, 0_u64..2, 0_u64..2, 0_u64..2).prop_map(
        |(served, failed, cut, retried, client_gone)| Side {
            served,
            failed,
            cut,
            retried,
            client_gone,
            longest_stall_ms: 0,
        },
    )
}

/// What one gateway counts from report to report, and the order in which its reports arrive (some
/// twice, some never; the last one is repeated until it does).
fn gateway() -> impl Strategy<Value = (Vec<Side>, Vec<usize>)> {
    proptest::collection::vec(side(), 1..8).prop_flat_map(|added| {
        let arrivals = proptest::collection::vec(0..added.len(), 0..12);
        (Just(added), arrivals)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn ports_rest_for_the_hold_and_have_one_owner(
        steps in proptest::collection::vec(step(), 1..60)
    ) {
        let direct = Direct::new();
        let mut model = Model::default();
        for step in &steps {
            run(&direct, &mut model, step)?;
        }
    }

    #[test]
    fn no_request_is_counted_twice_or_not_at_all(
        gateways in proptest::collection::vec(gateway(), 1..4)
    ) {
        let direct = Direct::new();
        let mut expected = Side::default();
        let mut added = Side::default();
        for (number, (counted, arrivals)) in gateways.iter().enumerate() {
            let mut so_far = Side::default();
            let reports: Vec<Side> = counted
                .iter()
                .map(|side| {
                    so_far.add(side);
                    so_far.clone()
                })
                .collect();
            expected.add(&so_far);
            let boot = BootId(Uuid::from_u128(number as u128 + 1));
            for arrival in arrivals.iter().copied().chain([reports.len() - 1]) {
                let line = TrafficLine {
                    route: RouteKey { env: env(), app: app(), expose: "http".into() },
                    target: Some((instance(1), ReleaseNumber(1))),
                    counted: reports[arrival].clone(),
                };
                let answer = direct.write(move |tx| tx.apply_traffic(boot, &[line], at(1)));
                for side in answer.map_err(|error| TestCaseError::fail(error.to_string()))? {
                    added.add(&side);
                }
            }
        }
        let read = direct.store.read(|tx| tx.traffic(&env(), &app()));
        let traffic = direct.runtime.block_on(read);
        let traffic = traffic.map_err(|error: StoreError| TestCaseError::fail(error.to_string()))?;
        let total = traffic.instances.get(&instance(1)).map(|(_, side)| side.clone());
        prop_assert_eq!(total.unwrap_or_default(), expected.clone());
        prop_assert_eq!(added, expected);
    }
}
