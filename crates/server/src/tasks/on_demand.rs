//! How many instances an app wants whose instance is started by requests (`run.type: lambda`): one while
//! it is used, and for a while after; none otherwise. When it was last used is an observation, as
//! readiness is: nothing of it is recorded.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ark_model::ReleaseNumber;
use ark_model::definition::RunKind;
use ark_model::instance::InstanceRecord;
use ark_planner::time::after;
use jiff::Timestamp;

use super::reconcile::{Loaded, ReleaseFacts};
use crate::observations::AppKey;
use crate::world::World;

/// How long an instance is kept after its last request when the definition does not say.
const KEEP_WARM: Duration = Duration::from_secs(300);

/// What the requests of an app ask for.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Demand {
    /// Instances; `None` for an app whose number is not a matter of requests.
    pub(super) count: Option<u32>,
    /// When that changes if no request comes.
    pub(super) until: Option<Timestamp>,
}

pub(super) fn demand(
    world: &World,
    key: &AppKey,
    loaded: &Loaded,
    releases: &HashMap<ReleaseNumber, Arc<ReleaseFacts>>,
    now: Timestamp,
) -> Demand {
    let deploying = loaded.running.as_ref().or(loaded.waiting.as_ref()).map(|d| d.release);
    let current = deploying.or(loaded.app.live).and_then(|release| releases.get(&release));
    let Some(facts) = current.filter(|f| f.definition.run.kind == RunKind::Lambda) else {
        return Demand::default();
    };
    // A target of which nothing changes is not reported again: a long request is use as long as it lasts.
    let is_inside = |i: &InstanceRecord| world.observations.in_flight(i.id).is_some_and(|n| n > 0);
    let is_used = loaded.instances.iter().any(|i| i.state.is_alive() && is_inside(i));
    let last = world.observations.last_used(key).max(is_used.then_some(now));
    // A deployment shows that the new release works before it takes over.
    if deploying.is_some() {
        return Demand { count: Some(1), until: None };
    }
    let warm =
        facts.definition.run.keep_warm.map_or(KEEP_WARM, ark_model::definition::DurationText::get);
    // After a restart of the server nothing is known of the use of what runs.
    let became =
        || loaded.instances.iter().filter_map(|i| i.active_at.or(Some(i.created_at))).max();
    let Some(idle_at) = last.max(became()).map(|last| after(last, warm)) else {
        return Demand { count: Some(0), until: None };
    };
    let count = u32::from(idle_at > now);
    Demand { count: Some(count), until: (count == 1).then_some(idle_at) }
}
