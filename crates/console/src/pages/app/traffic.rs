//! The charts of an app's traffic, out of what the gateway measured.

use ark_model::ReleaseNumber;
use ark_model::api::{SideSlice, TrafficHistory, TrafficSlice};

use crate::chart::{Chart, Line};

/// Releases that have a line of their own; older ones are in the sum.
const LINES_MAX: usize = 3;
const CLASSES: [&str; LINES_MAX] = ["new", "old", "older"];

/// Requests, failures, latency of all and by release. Empty when nothing was measured.
pub(super) fn charts(history: &TrafficHistory) -> Vec<Chart> {
    if history.slices.iter().all(|slice| slice.sides.is_empty()) {
        return Vec::new();
    }
    let releases = releases(history);
    let several = releases.len() > 1;
    let chart = |title: &str, unit: &'static str, lines: Vec<Line>, top_at_least: f64| Chart {
        title: title.to_owned(),
        unit,
        slice_s: history.slice_s,
        last: history.slices.last().map(|slice| slice.at),
        end: "now",
        lines,
        top_at_least,
    };
    let per_s = |n: u64| n as f64 / f64::from(history.slice_s.max(1));
    let by_release = |of: &dyn Fn(&SideSlice) -> Option<f64>| -> Vec<Line> {
        let numbered = releases.iter().zip(CLASSES);
        numbered.map(|(release, class)| line_of(history, *release, class, of)).collect()
    };
    let requests = match several {
        true => by_release(&|side| Some(per_s(side.served + side.failed))),
        false => vec![line(history, "requests", "new", &|slice| {
            Some(per_s(slice.sides.iter().map(|side| side.served + side.failed).sum()))
        })],
    };
    let errors = match several {
        true => by_release(&|side| Some(per_s(side.failed))),
        false => vec![line(history, "failed", "bad", &|slice| {
            Some(per_s(slice.sides.iter().map(|side| side.failed).sum()))
        })],
    };
    let quantile = |name: &str, class, of: fn(&TrafficSlice) -> Option<f64>| {
        line(history, name, class, &move |slice| of(slice))
    };
    let latency = vec![
        quantile("p99", "bad", |slice| slice.p99_ms),
        quantile("p95", "old", |slice| slice.p95_ms),
        quantile("p50", "new", |slice| slice.p50_ms),
    ];
    let mut charts = vec![
        chart("Requests", "per second", requests, 1.0),
        chart("Failed requests", "per second", errors, 0.1),
        chart("Latency", "milliseconds", latency, 1.0),
    ];
    if several {
        let lines = by_release(&|side| side.p99_ms);
        charts.push(chart("Latency p99 by release", "milliseconds", lines, 1.0));
    }
    charts
}

/// The releases that took requests, newest first.
fn releases(history: &TrafficHistory) -> Vec<ReleaseNumber> {
    let sides = history.slices.iter().flat_map(|slice| &slice.sides);
    let mut found: Vec<ReleaseNumber> = sides.filter_map(|side| side.release).collect();
    found.sort_unstable();
    found.dedup();
    found.reverse();
    found.truncate(LINES_MAX);
    found
}

fn line(
    history: &TrafficHistory,
    name: &str,
    class: &'static str,
    of: &dyn Fn(&TrafficSlice) -> Option<f64>,
) -> Line {
    Line { name: name.to_owned(), class, values: history.slices.iter().map(of).collect() }
}

fn line_of(
    history: &TrafficHistory,
    release: ReleaseNumber,
    class: &'static str,
    of: &dyn Fn(&SideSlice) -> Option<f64>,
) -> Line {
    // Where a release took nothing it has no value: a line of zeros would say that it was asked.
    let value = |slice: &TrafficSlice| {
        let side = slice.sides.iter().find(|side| side.release == Some(release));
        side.and_then(of)
    };
    line(history, &release.to_string(), class, &value)
}
