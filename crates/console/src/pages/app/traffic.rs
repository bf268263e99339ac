//! The charts of an app's traffic, out of what the gateway measured.

use ark_model::ReleaseNumber;
use ark_model::api::{SideSlice, TrafficHistory, TrafficSlice};

use crate::chart::{Chart, Line};

/// Releases that have a line of their own; older ones are in the line of the others.
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
    // Requests that reached no instance count, too: when everything is down there are no others.
    let counted = |of: &dyn Fn(&SideSlice) -> u64| -> Vec<Line> {
        let mut lines = by_release(&|side| Some(per_s(of(side))));
        lines.extend(others(history, &releases, &|side| per_s(of(side))));
        lines
    };
    let requests = match several {
        true => counted(&|side| side.served + side.failed),
        false => vec![line(history, "requests", "new", &|slice| {
            Some(per_s(slice.sides.iter().map(|side| side.served + side.failed).sum()))
        })],
    };
    let errors = match several {
        true => counted(&|side| side.failed),
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
        let mut latency = |name: &str, of: fn(&SideSlice) -> Option<f64>| {
            let title = format!("Latency {name} by release");
            charts.push(chart(&title, "milliseconds", by_release(&of), 1.0));
        };
        latency("p50", |side| side.p50_ms);
        latency("p95", |side| side.p95_ms);
        latency("p99", |side| side.p99_ms);
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

/// The sum of what has no line of its own: requests that reached no instance, and older releases.
/// None when there was nothing of it.
fn others(
    history: &TrafficHistory,
    shown: &[ReleaseNumber],
    of: &dyn Fn(&SideSlice) -> f64,
) -> Option<Line> {
    let is_other =
        |side: &&SideSlice| !side.release.is_some_and(|release| shown.contains(&release));
    let mut all = history.slices.iter().flat_map(|slice| &slice.sides).filter(is_other);
    let of_releases = all.clone().any(|side| side.release.is_some());
    let of_none = all.any(|side| side.release.is_none());
    let name = match (of_none, of_releases) {
        (false, false) => return None,
        (true, false) => "reached no instance",
        (false, true) => "older releases",
        (true, true) => "older releases, and what reached no instance",
    };
    let sum = |slice: &TrafficSlice| Some(slice.sides.iter().filter(is_other).map(of).sum());
    Some(line(history, name, "other", &sum))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Charts of slices of 10 s with these sides: release, served, failed.
    fn charts_of(slices: &[&[(Option<u64>, u64, u64)]]) -> Vec<Chart> {
        let side = |(release, served, failed): &(Option<u64>, u64, u64)| {
            json!({
                "release": release, "served": served, "failed": failed, "p50_ms": 2.0, "p95_ms": 5.0,
                "p99_ms": 9.0
            })
        };
        let slice = |sides: &&[(Option<u64>, u64, u64)]| {
            let sides: Vec<Value> = sides.iter().map(side).collect();
            json!({ "at": "2026-01-01T00:00:00Z", "sides": sides, "p50_ms": null, "p95_ms": null,
                "p99_ms": null })
        };
        let slices: Vec<Value> = slices.iter().map(slice).collect();
        let history = json!({ "slice_s": 10, "slices": slices });
        charts(&serde_json::from_value(history).expect("a history"))
    }

    fn lines(chart: &Chart) -> Vec<(&str, Vec<Option<f64>>)> {
        chart.lines.iter().map(|line| (line.name.as_str(), line.values.clone())).collect()
    }

    #[test]
    fn failures_that_reached_no_instance_are_shown_beside_two_releases() {
        let charts = charts_of(&[
            &[(Some(2), 90, 10), (Some(1), 50, 0)],
            // Everything is down.
            &[(None, 0, 400)],
        ]);
        assert_eq!(
            lines(&charts[1]),
            [
                ("v2", vec![Some(1.0), None]),
                ("v1", vec![Some(0.0), None]),
                ("reached no instance", vec![Some(0.0), Some(40.0)]),
            ]
        );
        assert_eq!(charts[0].lines[2].values, [Some(0.0), Some(40.0)]);
        let of_release = charts[3..].iter().map(|chart| (chart.title.as_str(), lines(chart)));
        for ((title, lines), ms) in of_release.zip([2.0, 5.0, 9.0]) {
            assert!(title.ends_with("by release"), "{title}");
            assert_eq!(lines, [("v2", vec![Some(ms), None]), ("v1", vec![Some(ms), None])]);
        }
        assert_eq!(charts.len(), 6);
    }

    #[test]
    fn older_releases_than_have_lines_are_summed() {
        let charts = charts_of(&[&[
            (Some(5), 10, 0),
            (Some(4), 10, 0),
            (Some(3), 10, 0),
            (Some(2), 10, 20),
            (Some(1), 10, 30),
        ]]);
        let names: Vec<&str> = charts[0].lines.iter().map(|line| line.name.as_str()).collect();
        assert_eq!(names, ["v5", "v4", "v3", "older releases"]);
        assert_eq!(charts[1].lines[3].values, [Some(5.0)]);
        // With one release the line is the sum of everything.
        let charts = charts_of(&[&[(Some(1), 10, 0), (None, 0, 30)]]);
        assert_eq!(lines(&charts[1]), [("failed", vec![Some(3.0)])]);
    }
}
