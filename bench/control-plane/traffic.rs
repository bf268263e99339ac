//! An hour of traffic, as gateways would have reported it.

use std::collections::BTreeMap;

use ark_model::BootId;
use ark_model::gateway::{Counters, Readiness, Report, TargetReport};
use ark_store::StoreError;
use jiff::Timestamp;

use crate::server::Server;

/// Slices of ten seconds in the hour, and requests of each app in one.
const SLICES: i64 = 360;
const SLICE_REQUESTS: u64 = 50;

/// An hour in which every app had requests in each slice of time.
pub(crate) async fn traffic(server: &Server) {
    let alive = server.store.read::<_, StoreError, _>(ark_store::ReadTx::alive_instances).await;
    let mut one_of_each = BTreeMap::new();
    for instance in alive.expect("the store answers") {
        one_of_each.insert(instance.app.clone(), instance);
    }
    let boot = BootId(uuid::Uuid::now_v7());
    let now = Timestamp::now();
    let mut counters = Counters::default();
    for slice in 0..=SLICES {
        let at = now - jiff::SignedDuration::from_secs((SLICES - slice) * 10);
        counters.served += SLICE_REQUESTS;
        for n in 0..SLICE_REQUESTS {
            // 1 to 100 ms, most of them short.
            let spread = (n * 7_919 + slice as u64 * 104_729) % 1_000;
            counters.latency_us.record(1_000 + spread * spread / 10);
        }
        let target = |instance: &ark_model::instance::InstanceRecord| TargetReport {
            route: ark_model::route::RouteKey {
                env: instance.env.clone(),
                app: instance.app.clone(),
                expose: "http".into(),
            },
            instance: instance.id,
            release: instance.release,
            readiness: Some(Readiness {
                ready: true,
                since: now,
                ever: true,
                failures: 0,
                last_failure: None,
            }),
            in_flight: 0,
            streams: 0,
            counters: counters.clone(),
        };
        let report = Report {
            boot,
            seq: slice as u64 + 1,
            applied: None,
            targets: one_of_each.values().map(target).collect(),
            routes: Vec::new(),
            refusals: Default::default(),
            lost: Vec::new(),
            certificates: Vec::new(),
            calls: Vec::new(),
        };
        server.observations.report(&report, at);
    }
}
