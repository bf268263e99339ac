use ark_planner::judge::kayenta::effect::cles;
use ark_planner::judge::kayenta::mann_whitney::{
    Alternative, p_asymptotic, p_exact, shift, u_statistic, wilcoxon_diff,
};
use ark_planner::judge::special::normal_quantile;
use serde_json::Value;

use crate::shared::{assert_near, assertions, cases, series, text};

/// The tolerance `E` of the table.
const E: f64 = 1e-6;

struct Numbers {
    x: Vec<f64>,
    y: Vec<f64>,
    confidence: f64,
}

impl Numbers {
    fn of(case: &Value) -> Self {
        let first = |names: &[&str]| {
            let found = names.iter().find(|n| case["arrays"][**n].is_array());
            found.map(|n| series(&case["arrays"][*n])).unwrap_or_default()
        };
        Self {
            x: first(&["x", "experiment", "experimentData"]),
            y: first(&["y", "control", "controlData"]),
            confidence: case["conf_level"].as_f64().expect("conf_level"),
        }
    }

    /// What an expression of the table's source is worth.
    fn value(&self, expression: &str) -> f64 {
        let least = |v: &[f64]| v.iter().copied().fold(f64::INFINITY, f64::min);
        let most = |v: &[f64]| v.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let (mu_min, mu_max) = (least(&self.x) - most(&self.y), most(&self.x) - least(&self.y));
        let quantile = normal_quantile((1.0 - self.confidence) / 2.0);
        let diff = |mu: f64, q: f64| wilcoxon_diff(mu, q, &self.x, &self.y);
        let shift = || shift(&self.y, &self.x, self.confidence);
        match expression {
            "muMin" => mu_min,
            "muMax" => mu_max,
            "zqLower" => -quantile,
            // A test of the quantile itself, at the judge's own confidence.
            "zQuant" => normal_quantile(0.01),
            "zqUpper" => quantile,
            "fLower1" => diff(mu_min, -quantile),
            "fUpper1" => diff(mu_max, -quantile),
            "fLower2" => diff(mu_min, quantile),
            "fUpper2" => diff(mu_max, quantile),
            "ciLower" | "result.confidenceInterval.head" => shift().low,
            "ciUpper" | "result.confidenceInterval.last" => shift().high,
            "estimate" | "result.estimate" => shift().estimate,
            call => {
                let inside = call.strip_prefix("mannWhitney.wilcoxonDiff(");
                let inside = inside.unwrap_or_else(|| panic!("expression {call}"));
                let arguments: Vec<f64> =
                    inside.split(',').filter_map(|a| a.trim().parse().ok()).collect();
                diff(arguments[0], arguments[1])
            }
        }
    }
}

#[test]
fn recorded_cases_agree() {
    let Some(cases) = cases("kayenta Mann-Whitney", "kayenta_mannwhitney_cases") else { return };
    for case in &cases {
        let name = text(case, "name");
        let numbers = Numbers::of(case);
        for assertion in assertions(case) {
            // wanted, expression (with commas of its own), tolerance
            let (wanted, rest) = assertion.split_once(',').expect("wanted");
            let (expression, within) = rest.rsplit_once(',').expect("tolerance");
            let wanted = match case["vals"][wanted].as_str() {
                Some(named) => named.parse().expect("a number"),
                None => wanted.parse::<f64>().expect("a number"),
            };
            let within = if within.trim() == "E" { E } else { within.trim().parse().expect("E") };
            let expression = expression.trim();
            let got = numbers.value(expression);
            assert_near(&format!("{name}: {expression}"), got, wanted, within);
        }
    }
}

#[test]
fn p_values_agree_with_scipy() {
    let Some(cases) = cases("Mann-Whitney golden", "mannwhitney_scipy_golden") else { return };
    let mut exact = 0;
    for case in &cases {
        let name = text(case, "name");
        let (x, y) = (series(&case["x"]), series(&case["y"]));
        for (key, alternative) in [
            ("two-sided", Alternative::TwoSided),
            ("greater", Alternative::Greater),
            ("less", Alternative::Less),
        ] {
            let wanted = &case[key];
            let at = |k: &str| wanted[k].as_f64();
            assert_near(name, u_statistic(&x, &y), at("U_x").expect("U_x"), 1e-9);
            let p = at("p_asymptotic_cc").expect("p_asymptotic_cc");
            assert_near(&format!("{name} {key}"), p_asymptotic(&x, &y, alternative), p, 1e-12);
            if let Some(p) = at("p_exact") {
                assert_near(&format!("{name} {key} exact"), p_exact(&x, &y, alternative), p, 1e-12);
                exact += 1;
            }
        }
        let p_above = case["p_x_gt_y"].as_f64().expect("p_x_gt_y");
        assert_near(name, cles(&y, &x), p_above, 1e-9);
    }
    assert!(exact > 0, "no exact p-value was compared");
}
