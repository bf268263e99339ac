//! Situations of which users of another judge report that it passes them.

use ark_model::{ReleaseNumber, Verdict};
use ark_planner::judge::{Look, Settings, SideWindow, Slice, verdict};
use jiff::Timestamp;
use serde_json::Value;

use crate::lacking::{Lack, skip};

const TABLE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../../shared/data/tables/kayenta_known_shortcomings.json"
);

fn table() -> Option<Vec<Value>> {
    let Ok(text) = std::fs::read_to_string(TABLE) else {
        skip("known shortcomings", Lack::SharedData, &format!("{TABLE} is absent"));
        return None;
    };
    let table: Value = serde_json::from_str(&text).expect("JSON");
    Some(table["cases"].as_array().expect("cases").clone())
}

fn series(case: &Value, key: &str) -> Vec<f64> {
    case[key].as_array().expect(key).iter().map(|v| v.as_f64().expect("a number")).collect()
}

/// A point is a slice: so many errors among its requests.
fn errors(points: &[f64], requests: u64) -> Vec<Slice> {
    let slice = |errors: &f64| {
        let failed = *errors as u64;
        Slice { served: requests - failed, failed, ..Slice::default() }
    };
    points.iter().map(slice).collect()
}

/// A point is a slice of requests that all took so many milliseconds.
fn latencies(points: &[f64], requests: u64) -> Vec<Slice> {
    let slice = |ms: &f64| {
        let mut slice = Slice { served: requests, ..Slice::default() };
        (0..requests).for_each(|_| slice.latency_us.record((ms * 1_000.0) as u64));
        slice
    };
    points.iter().map(slice).collect()
}

#[test]
fn what_users_wanted_stopped_is_stopped() {
    let Some(cases) = table() else { return };
    for case in &cases {
        let why = case["why"].as_str().expect("why");
        let (experiment, control) = (series(case, "experiment"), series(case, "control"));
        let (new, old) = if why.contains("errors") {
            // Sparse errors can be told from chance when the old side has the more traffic, as it
            // has beside a canary of 5 %.
            (errors(&experiment, 200), errors(&control, 3_800))
        } else if why.contains("variability") {
            // The steadier of the two is the old side: less variation is nothing to stop for.
            (latencies(&control, 100), latencies(&experiment, 100))
        } else {
            (latencies(&experiment, 100), latencies(&control, 1_900))
        };
        let new = SideWindow { release: ReleaseNumber(2), slices: new };
        let old = SideWindow { release: ReleaseNumber(1), slices: old };
        let said = verdict(&new, &old, Look::Last, &Settings::default(), Timestamp::UNIX_EPOCH);
        assert_eq!(said.verdict, Verdict::Fail, "{why}: {said:#?}");
    }
}
