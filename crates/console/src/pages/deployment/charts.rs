//! What was measured while a deployment ran, as charts.

use ark_model::api::{DeploymentView, SideSlice, TrafficHistory, TrafficSlice};

use crate::chart::{Chart, Line};
use crate::fault::Fault;
use crate::visit::Visit;
use crate::words;

/// What was measured while it ran.
pub(super) async fn history(
    visit: &Visit,
    view: &DeploymentView,
) -> Result<Option<TrafficHistory>, Fault> {
    visit.find(&format!("/v1/deployments/{}/traffic", view.id)).await
}

/// The share of the requests that the new side took, as measured, and both sides' failures and
/// latency.
pub(super) fn charts(view: &DeploymentView, history: Option<&TrafficHistory>) -> Vec<Chart> {
    let measured = |history: &&TrafficHistory| history.slices.iter().any(|s| !s.sides.is_empty());
    let Some(history) = history.filter(measured) else { return Vec::new() };
    let new = Some(view.release);
    let requests = |slice: &TrafficSlice, of_new: bool| -> u64 {
        let sides = slice.sides.iter().filter(|side| side.release.is_some());
        let sides = sides.filter(|side| (side.release == new) == of_new);
        sides.map(|side| side.served + side.failed).sum()
    };
    let share = history.slices.iter().map(|slice| {
        let (new, old) = (requests(slice, true), requests(slice, false));
        (new + old > 0).then(|| 100.0 * new as f64 / (new + old) as f64)
    });
    let names = [view.release.to_string(), words::release(view.base)];
    let by_side = |of: &dyn Fn(&SideSlice) -> Option<f64>| -> Vec<Line> {
        let sides = [(new, "new"), (view.base, "old")].into_iter().zip(names.iter());
        let known = sides.filter(|((release, _), _)| release.is_some());
        known
            .map(|((release, class), name)| Line {
                name: name.clone(),
                class,
                values: history
                    .slices
                    .iter()
                    .map(|s| s.sides.iter().find(|side| side.release == release).and_then(of))
                    .collect(),
            })
            .collect()
    };
    let chart = |title: String, unit, lines, top_at_least| Chart {
        title,
        unit,
        slice_s: history.slice_s,
        last: history.slices.last().map(|slice| slice.at),
        end: if view.finished_at.is_some() { "end" } else { "now" },
        lines,
        top_at_least,
    };
    let share = Line { name: names[0].clone(), class: "new", values: share.collect() };
    let failed = |side: &SideSlice| {
        let all = side.served + side.failed;
        (all > 0).then(|| 100.0 * side.failed as f64 / all as f64)
    };
    vec![
        chart(format!("Requests on {}", names[0]), "percent, measured", vec![share], 100.0),
        chart("Failed".to_owned(), "percent of each side", by_side(&failed), 1.0),
        chart("Latency p99".to_owned(), "milliseconds", by_side(&|side| side.p99_ms), 1.0),
    ]
}
