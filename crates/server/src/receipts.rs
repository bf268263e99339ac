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
