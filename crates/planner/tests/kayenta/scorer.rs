use std::collections::BTreeMap;

use ark_planner::judge::kayenta::score::{Score, Scored, weighted_sum};
use serde_json::Value;

use crate::classifier::classification;
use crate::shared::{assert_near, assertions, cases, number, text};

fn scored(metric: &Value) -> Scored {
    let groups = metric["groups"].as_array().expect("groups");
    Scored {
        groups: groups.iter().map(|g| g.as_str().expect("text").to_owned()).collect(),
        classification: classification(text(metric, "classification")),
        is_critical: metric["critical"].as_bool().expect("critical"),
    }
}

#[test]
fn recorded_cases_are_scored_as_published() {
    let Some(cases) = cases("kayenta scorer", "kayenta_scorer_cases") else { return };
    for case in &cases {
        let name = text(case, "name");
        let weights: BTreeMap<String, f64> = case["group_weights"]
            .as_object()
            .expect("group_weights")
            .iter()
            .map(|(group, weight)| (group.clone(), weight.as_f64().expect("a weight")))
            .collect();
        let metrics: Vec<_> =
            case["metrics"].as_array().expect("metrics").iter().map(scored).collect();
        let score = weighted_sum(&metrics, &weights);
        assertions(case).into_iter().for_each(|a| check(name, &score, a));
    }
}

fn check(name: &str, score: &Score, assertion: &str) {
    let of = |subject: &str| {
        let rest = assertion.strip_prefix(subject)?;
        Some(rest.trim_start_matches([' ', '=']))
    };
    if let Some(wanted) = of("scores.summaryScore") {
        let (wanted, within) = number(wanted);
        assert_near(name, score.summary, wanted, within);
    } else if let Some(size) = of("scores.groupScores.size") {
        assert_eq!(score.groups.len(), size.parse::<usize>().expect("a size"), "{name}");
    } else if let Some(wanted) = of("nodataGroup.score") {
        let group = score.groups.iter().find(|g| g.has_no_data).expect("a group without data");
        assert_near(name, group.score, number(wanted).0, 1e-9);
    } else if let Some(list) = of("justScores.sorted") {
        let list = list.trim_start_matches("List").trim_matches(['(', ')']);
        let wanted: Vec<f64> = list.split(',').map(|n| number(n).0).collect();
        let mut got: Vec<f64> = score.groups.iter().map(|g| g.score).collect();
        got.sort_by(f64::total_cmp);
        assert_eq!(got, wanted, "{name}");
    } else if let Some(rest) = of("groupScores.lengthCompare(") {
        let count: usize = rest.split(')').next().expect("a count").parse().expect("a count");
        assert_eq!(score.groups.len(), count, "{name}");
    } else {
        // Group scores are always there in ours.
        assert_eq!(assertion, "scores.groupScores.isDefined", "{name}");
    }
}
