use ark_planner::judge::kayenta::descriptive::{percentile, summary};
use ark_planner::judge::kayenta::effect::{cles, cohen_d, mean_ratio};
use ark_planner::judge::kayenta::outliers::{Detector, Fences};
use ark_planner::judge::kayenta::transform::{NanStrategy, with_noise, without_outliers};
use serde_json::Value;

use crate::shared::{assert_near, assertions, cases, number, series, text};

#[test]
fn recorded_cases_agree() {
    let Some(cases) = cases("kayenta statistics", "kayenta_detector_stat_cases") else { return };
    for case in &cases {
        match text(case, "suite") {
            "DetectorSuite" => detects(case),
            "StatisticSuite" => measures(case),
            "TransformSuite" => transforms(case),
            other => panic!("suite {other}"),
        }
    }
}

/// `KSigmaDetector(k = 3.0)`, `IQRDetector(factor = 1.5, reduceSensitivity = true)`.
fn detector(case: &Value) -> Detector {
    let raw = case["detector_raw"][0].as_str().expect("a detector");
    let (kind, inside) = raw.split_once('(').expect("arguments");
    let arguments: Vec<&str> = inside
        .trim_end_matches(')')
        .split(',')
        .map(|a| a.rsplit('=').next().expect("a value").trim())
        .collect();
    let first = arguments[0].parse().expect("a number");
    match kind {
        "KSigmaDetector" => Detector::KSigma { k: first },
        "IQRDetector" => {
            let wide = arguments.get(1).is_some_and(|a| *a == "true");
            Detector::Iqr { factor: first, fences: if wide { Fences::Wide } else { Fences::Plain } }
        }
        other => panic!("detector {other}"),
    }
}

fn detects(case: &Value) {
    let wanted: Vec<bool> = case["arrays"]["truth"]
        .as_array()
        .expect("truth")
        .iter()
        .map(|v| v.as_bool().expect("a truth"))
        .collect();
    let got = detector(case).detect(&series(&case["arrays"]["testData"]));
    assert_eq!(got, wanted, "{}", text(case, "name"));
}

/// The table leaves out values that the source wrote as scalars: they are here by name.
fn data(case: &Value) -> Vec<f64> {
    match text(case, "name") {
        "Summary Statistics: Scalar" | "Summary Statistics: Percentile Metric Object" => vec![1.0],
        "Summary Statistics: No Data" => vec![],
        _ => series(&case["arrays"]["testData"]),
    }
}

fn measures(case: &Value) {
    let name = text(case, "name");
    if name == "Summary Statistics: List" {
        // The table has no values for it. Six from 1 to 10 with the mean 5.5 and the deviation
        // 4.9295 are three of each end, which is what the assertions below hold of.
        return measures_list(case, &[10.0, 10.0, 10.0, 1.0, 1.0, 1.0]);
    }
    for assertion in assertions(case) {
        if let Some(rest) = assertion.strip_prefix("percentile(") {
            let (inside, wanted) = rest.split_once(") === ").expect("===");
            let p = inside.rsplit(',').next().expect("p").trim().parse().expect("a number");
            let (wanted, within) = number(wanted);
            assert_near(name, percentile(&data(case), p), wanted, within);
        } else if assertion == "result === truth" {
            let got = summary(&data(case));
            let value = data(case).first().copied().unwrap_or(0.0);
            assert_eq!((got.min, got.max, got.mean, got.std), (value, value, value, 0.0), "{name}");
            assert_eq!(got.count, data(case).len(), "{name}");
        } else {
            let got = effect(case);
            match assertion.strip_prefix("result").expect("a result") {
                ".isNaN" => assert!(got.is_nan(), "{name}: {got}"),
                rest => {
                    let (wanted, within) = number(rest.trim_start_matches([' ', '=']));
                    assert_near(name, got, wanted, within);
                }
            }
        }
    }
}

fn measures_list(case: &Value, values: &[f64]) {
    let got = summary(values);
    for assertion in assertions(case) {
        let (field, wanted) = assertion.split_once(" === ").expect("===");
        let (wanted, within) = number(wanted);
        let got = match field.strip_prefix("result.").expect("a field") {
            "min" => got.min,
            "max" => got.max,
            "mean" => got.mean,
            "std" => got.std,
            "count" => got.count as f64,
            other => panic!("field {other}"),
        };
        assert_near(field, got, wanted, within);
    }
}

fn effect(case: &Value) -> f64 {
    let control = series(&case["arrays"]["controlData"]);
    let experiment = series(&case["arrays"]["experimentData"]);
    let (old, new) = (summary(&control), summary(&experiment));
    let calls = case["calls_raw"].as_array().expect("calls");
    let call = calls.last().and_then(Value::as_str).expect("a call");
    match call.strip_prefix("EffectSizes.").and_then(|c| c.split('(').next()) {
        Some("meanRatio") => mean_ratio(old.mean, new.mean),
        Some("cles") => cles(&control, &experiment),
        Some("cohenD") => cohen_d(&old, &new),
        other => panic!("call {other:?}"),
    }
}

fn transforms(case: &Value) {
    let name = text(case, "name");
    let values = series(&case["arrays"]["testData"]);
    let got = if !case["detector_raw"].as_array().expect("detectors").is_empty() {
        without_outliers(&values, detector(case))
    } else if name.contains("Replace") {
        NanStrategy::Replace.apply(&values)
    } else if name.contains("Remove") {
        NanStrategy::Remove.apply(&values)
    } else {
        return adds_noise(case, &values);
    };
    assert_eq!(got, series(&case["arrays"]["truth"]), "{name}");
}

fn adds_noise(case: &Value, values: &[f64]) {
    let noisy = with_noise(values, 1.0, 1.0);
    let got = summary(&noisy);
    for assertion in assertions(case) {
        let (left, right) = assertion.split_once(" === ").expect("===");
        let got = match left {
            "transformedMean" => got.mean,
            "transformedStdev" => got.std,
            "transformed.length" => {
                assert_eq!(got.count, values.len());
                continue;
            }
            other => panic!("assertion {other}"),
        };
        let (wanted, within) = number(right);
        assert_near(left, got, wanted, within);
    }
}
