//! Receipts out of counters: what each side did between a deployment's start and now.

use std::collections::BTreeMap;

use ark_model::receipt::Side;
use ark_model::{Deployment, InstanceId, Receipt};
use ark_store::AppTraffic;

/// The counters at a deployment's start, to be recorded with it.
pub fn baseline(traffic: &AppTraffic) -> (BTreeMap<InstanceId, Side>, Side) {
    let instances = traffic.instances.iter().map(|(id, (_, side))| (*id, side.clone())).collect();
    (instances, traffic.routes.clone())
}

/// What was counted since the deployment's baseline. Instances of the deployed release are the new
/// side, all others the old one.
pub fn compute(deployment: &Deployment, traffic: &AppTraffic) -> Receipt {
    let mut receipt = Receipt { notes: deployment.notes.clone(), ..Receipt::default() };
    for (id, (release, side)) in &traffic.instances {
        let counted = match deployment.baseline.get(id) {
            Some(base) => side.since(base),
            None => side.clone(),
        };
        let to = if *release == deployment.release { &mut receipt.new } else { &mut receipt.old };
        to.add(&counted);
    }
    receipt.total = traffic.routes.since(&deployment.baseline_routes);
    receipt.total.add(&receipt.old);
    receipt.total.add(&receipt.new);
    receipt
}

#[cfg(test)]
mod tests {
    use ark_model::definition::Strategy;
    use ark_model::deployment::DeploymentKind;
    use ark_model::{DeploymentId, DeploymentState, ReleaseNumber};
    use jiff::Timestamp;
    use uuid::Uuid;

    use super::*;

    fn side(served: u64, failed: u64, stall: u64) -> Side {
        Side { served, failed, longest_stall_ms: stall, ..Side::default() }
    }

    #[test]
    fn only_what_was_counted_since_the_start_is_in_the_receipt() {
        let id = |n| InstanceId(Uuid::from_u128(n));
        let before = AppTraffic {
            instances: [(id(1), (ReleaseNumber(1), side(100, 2, 9)))].into(),
            routes: side(0, 5, 0),
        };
        let (instances, routes) = baseline(&before);
        let deployment = Deployment {
            base: Some(ReleaseNumber(1)),
            state: DeploymentState::Draining,
            baseline: instances,
            baseline_routes: routes,
            notes: vec!["a gateway process was killed".into()],
            ..Deployment::queued(
                DeploymentId(Uuid::nil()),
                ("production".parse().expect("a name"), "web".parse().expect("a name")),
                DeploymentKind::Deploy,
                ReleaseNumber(2),
                Strategy::Rolling,
                ("ana".into(), Timestamp::UNIX_EPOCH),
            )
        };
        let after = AppTraffic {
            instances: [
                (id(1), (ReleaseNumber(1), side(150, 2, 4))),
                (id(2), (ReleaseNumber(2), side(30, 1, 6))),
            ]
            .into(),
            routes: side(0, 7, 11),
        };
        let receipt = compute(&deployment, &after);
        assert_eq!(receipt.old, side(50, 0, 4));
        assert_eq!(receipt.new, side(30, 1, 6));
        assert_eq!(receipt.total, side(80, 3, 11));
        assert_eq!(receipt.notes, deployment.notes);
    }
}
