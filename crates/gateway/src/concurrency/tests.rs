//! The recorded cases, and that each rule does what it is for.

use super::*;
use crate::lacking;
use serde_json::Value;

fn cases() -> Option<Value> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../../shared/data/tables/concurrency_limits_cases.json"
    );
    match std::fs::read(path) {
        Ok(bytes) => Some(serde_json::from_slice(&bytes).unwrap()),
        Err(_) => {
            let why = format!("{path} is not there");
            lacking::skip("recorded limits", lacking::Lack::SharedData, &why);
            None
        }
    }
}

enum Rule {
    Vegas(Vegas),
    Gradient2(Gradient2),
    Aimd(Aimd),
}

fn step(value: &Value) -> Option<Step> {
    value.as_f64().map(Step::Fixed)
}

fn rule(name: &str, cfg: &Value, defaults: &Value) -> Rule {
    let number = |key: &str| cfg[key].as_f64().or_else(|| defaults[name][key].as_f64());
    let count = |key: &str| number(key).map_or(0, |n| n as u32);
    match name {
        "vegas" => {
            let mut vegas = Vegas::new(count("initial"), count("max"));
            vegas.smoothing = number("smoothing").unwrap();
            vegas.alpha = step(&cfg["alpha"]).unwrap_or(vegas.alpha);
            vegas.beta = step(&cfg["beta"]).unwrap_or(vegas.beta);
            vegas.threshold = step(&cfg["threshold"]).unwrap_or(vegas.threshold);
            vegas.probe_multiplier = number("probe_multiplier").unwrap();
            vegas.decrease = match cfg["decrease"].as_str() {
                None => Decrease::Log10,
                Some("limit/2") => Decrease::Times(0.5),
                Some(other) => panic!("unknown decrease {other}"),
            };
            Rule::Vegas(vegas)
        }
        "gradient2" => {
            let mut rule = Gradient2::new(count("initial"), count("min"), count("max"));
            rule.smoothing = number("smoothing").unwrap();
            rule.queue = number("queue_size").unwrap();
            rule.tolerance = number("rtt_tolerance").unwrap();
            rule.long.window = number("long_window").unwrap();
            Rule::Gradient2(rule)
        }
        "aimd" => {
            let mut rule = Aimd::new(count("initial"), count("min"), count("max"));
            rule.backoff_ratio = number("backoff_ratio").unwrap();
            rule.timeout = Duration::from_secs_f64(number("timeout_s").unwrap());
            Rule::Aimd(rule)
        }
        other => panic!("unknown rule {other}"),
    }
}

fn sample(value: &Value) -> Sample {
    let seconds = value["rtt_s"].as_f64().or(value["rtt_ms"].as_f64().map(|ms| ms / 1000.0));
    Sample {
        rtt: Duration::from_secs_f64(seconds.unwrap()),
        in_flight: u32::try_from(value["inflight"].as_u64().unwrap()).unwrap(),
        dropped: value["drop"].as_bool().unwrap_or(false),
    }
}

#[test]
fn the_rules_are_the_known_ones() {
    let Some(cases) = cases() else { return };
    for case in cases["cases"].as_array().unwrap() {
        let mut rule = rule(case["algo"].as_str().unwrap(), &case["cfg"], &cases["defaults"]);
        for line in case["samples"].as_array().unwrap() {
            let limit = match &mut rule {
                Rule::Vegas(rule) => rule.update(sample(line), 1.0),
                Rule::Gradient2(rule) => rule.update(sample(line)),
                Rule::Aimd(rule) => rule.update(sample(line)),
            };
            assert_eq!(u64::from(limit), line["limit"].as_u64().unwrap(), "{line} in {case}");
        }
    }
}

fn of(ms: u64, in_flight: u32) -> Sample {
    Sample { rtt: Duration::from_millis(ms), in_flight, dropped: false }
}

#[test]
fn gradient2_grows_while_times_are_good_and_shrinks_when_they_are_not() {
    let mut rule = Gradient2::new(20, 20, 200);
    let mut limit = 20;
    for _ in 0..300 {
        limit = rule.update(of(10, limit));
    }
    assert_eq!(limit, 200, "good times use all there is");
    for _ in 0..40 {
        limit = rule.update(of(100, limit));
    }
    assert!(limit < 60, "{limit} after ten times longer answers");
    let before = limit;
    assert_eq!(rule.update(of(10, 1)), before, "an unused limit does not change");
}

#[test]
fn vegas_measures_the_empty_app_anew_from_time_to_time() {
    let mut rule = Vegas::new(1, 10);
    rule.update(of(10, 1), 1.0);
    for _ in 0..60 {
        rule.update(of(50, 0), 1.0);
    }
    // Probes have taken 50 ms as what the app takes without a queue.
    assert_eq!(rule.rtt_noload, Some(Duration::from_millis(50)));
}

#[test]
fn a_window_needs_time_and_samples() {
    let mut window = Windowed::default();
    let at = Duration::from_millis;
    assert_eq!(window.add(Sample { rtt: Duration::from_micros(99), ..of(0, 1) }, at(0)), None);
    for n in 0..9 {
        assert_eq!(window.add(of(10, n), at(u64::from(n) * 200)), None);
    }
    let whole = window.add(of(110, 3), at(1_900)).unwrap();
    assert_eq!(whole, Sample { rtt: at(20), in_flight: 8, dropped: false });
    for _ in 0..20 {
        assert_eq!(window.add(of(10, 1), at(2_000)), None, "a second has not passed");
    }
    assert!(window.add(of(10, 1), at(2_900)).is_some());
}
