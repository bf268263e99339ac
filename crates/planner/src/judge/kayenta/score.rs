//! From classified metrics to one score, and from the score to a verdict.

use std::collections::BTreeMap;

use super::classify::Classification;

/// A metric as the score sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Scored {
    /// The groups it belongs to.
    pub groups: Vec<String>,
    /// What was said of it.
    pub classification: Classification,
    /// Whether it fails the canary unless it passes.
    pub is_critical: bool,
}

/// The score of one group.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupScore {
    /// Its name.
    pub name: String,
    /// Share of metrics that passed, 0 to 100; 0 without data.
    pub score: f64,
    /// Whether none of its metrics had data.
    pub has_no_data: bool,
}

/// The whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// Per group, by name.
    pub groups: Vec<GroupScore>,
    /// 0 to 100, to two decimals.
    pub summary: f64,
    /// Why the summary is 0, when it is not the sum of the groups.
    pub reason: Option<String>,
}

/// Share of metrics without data, in percent, from which on nothing is believed.
const NODATA_PERCENT_MAX: f64 = 50.0;

/// Sums the groups' scores by their weights (in percent). Groups without a weight share what the
/// others leave of 100.
pub fn weighted_sum(metrics: &[Scored], weights: &BTreeMap<String, f64>) -> Score {
    let groups = group_scores(metrics);
    let is_bad = |m: &&Scored| m.is_critical && m.classification != Classification::Pass;
    let nodata = metrics.iter().filter(|m| m.classification == Classification::Nodata).count();
    let nodata_percent = nodata as f64 / metrics.len() as f64 * 100.0;
    let reason = if let Some(metric) = metrics.iter().find(is_bad) {
        Some(format!("a critical metric is {:?}", metric.classification))
    } else if nodata_percent >= NODATA_PERCENT_MAX {
        Some(format!("{nodata_percent:.0} % of the metrics have no data"))
    } else {
        None
    };
    let summary = if reason.is_some() { 0.0 } else { summary(&groups, weights) };
    Score { groups, summary, reason }
}

fn group_scores(metrics: &[Scored]) -> Vec<GroupScore> {
    let mut members: BTreeMap<&str, Vec<Classification>> = BTreeMap::new();
    for metric in metrics {
        for group in &metric.groups {
            members.entry(group).or_default().push(metric.classification);
        }
    }
    members.into_iter().map(|(name, members)| group_score(name, &members)).collect()
}

fn group_score(name: &str, members: &[Classification]) -> GroupScore {
    let count = |wanted: &[Classification]| members.iter().filter(|c| wanted.contains(c)).count();
    let passed = count(&[Classification::Pass]);
    let failed =
        count(&[Classification::High, Classification::Low, Classification::NodataFailMetric]);
    let has_no_data = passed + failed == 0;
    let score = if has_no_data { 0.0 } else { passed as f64 / (passed + failed) as f64 * 100.0 };
    GroupScore { name: name.to_owned(), score, has_no_data }
}

fn summary(groups: &[GroupScore], weights: &BTreeMap<String, f64>) -> f64 {
    let without_weight = groups.iter().filter(|g| !weights.contains_key(&g.name)).count();
    let left = (100.0 - weights.values().sum::<f64>()) / without_weight.max(1) as f64;
    let sum: f64 = groups
        .iter()
        .map(|group| {
            // What has no data is not held against the canary here.
            let score = if group.has_no_data { 100.0 } else { group.score };
            score * weights.get(&group.name).copied().unwrap_or(left) / 100.0
        })
        .sum();
    (sum * 100.0).round() / 100.0
}

/// What a score means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScoreClass {
    /// At least the pass threshold.
    Pass,
    /// At least the marginal threshold.
    Marginal,
    /// Below both.
    Fail,
}

/// Classifies a summary score by thresholds of 0 to 100.
pub fn score_class(summary: f64, pass: f64, marginal: f64) -> ScoreClass {
    if summary >= pass {
        ScoreClass::Pass
    } else if summary >= marginal {
        ScoreClass::Marginal
    } else {
        ScoreClass::Fail
    }
}
