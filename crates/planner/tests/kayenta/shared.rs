//! Recorded tables, read in place.

use serde_json::Value;

use crate::lacking::{Lack, skip};

const TABLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/tables");

/// The cases of a table; `None`, said by name, when the folder is absent.
pub(crate) fn cases(test: &str, table: &str) -> Option<Vec<Value>> {
    let path = format!("{TABLES}/{table}.json");
    let Ok(text) = std::fs::read_to_string(&path) else {
        skip(test, Lack::SharedData, &format!("{path} is absent"));
        return None;
    };
    let table: Value = serde_json::from_str(&text).expect("a JSON table");
    let cases = table["cases"].as_array().expect("cases").clone();
    assert!(!cases.is_empty(), "{path} has no cases");
    Some(cases)
}

/// A series; `null` is NaN.
pub(crate) fn series(value: &Value) -> Vec<f64> {
    let values = value.as_array().unwrap_or_else(|| panic!("not a series: {value}"));
    values.iter().map(|v| v.as_f64().unwrap_or(f64::NAN)).collect()
}

pub(crate) fn text<'a>(case: &'a Value, key: &str) -> &'a str {
    case[key].as_str().unwrap_or_else(|| panic!("{key} of {case}"))
}

/// The assertions of a case, as its source writes them.
pub(crate) fn assertions(case: &Value) -> Vec<&str> {
    let list = case["asserts_raw"].as_array().expect("asserts_raw");
    assert!(!list.is_empty(), "a case without assertions: {case}");
    list.iter().map(|a| a.as_str().expect("text")).collect()
}

/// `x` or `(x +- e)`, with a tolerance of rounding when it has none.
pub(crate) fn number(text: &str) -> (f64, f64) {
    let text = text.trim().trim_start_matches('(').trim_end_matches(')');
    let (value, within) = text.split_once("+-").unwrap_or((text, "1e-12"));
    let parse = |t: &str| t.trim().parse().unwrap_or_else(|_| panic!("not a number: {t}"));
    (parse(value), parse(within))
}

#[track_caller]
pub(crate) fn assert_near(name: &str, got: f64, wanted: f64, within: f64) {
    assert!((got - wanted).abs() <= within, "{name}: got {got}, wanted {wanted} within {within}");
}
