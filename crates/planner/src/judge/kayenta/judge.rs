//! The whole judge: series in, a score out.

use std::collections::BTreeMap;

use super::classify::{Classified, Rule, Test, mann_whitney};
use super::outliers::{Detector, Fences};
use super::score::{Score, ScoreClass, Scored, score_class, weighted_sum};
use super::transform::without_outliers;

/// A metric's two series and how it is judged. Missing values are NaN.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// Its name.
    pub name: String,
    /// The groups to whose scores it counts.
    pub groups: Vec<String>,
    /// How it is classified.
    pub rule: Rule,
    /// What becomes of outliers.
    pub outliers: Outliers,
    /// The old side.
    pub control: Vec<f64>,
    /// The new side.
    pub experiment: Vec<f64>,
}

/// What becomes of outliers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Outliers {
    /// They stay.
    Keep,
    /// Those beyond the wide fences of so many times the distance of the quartiles are left out; 3
    /// is usual.
    Remove {
        /// Times the distance of the quartiles.
        factor: f64,
    },
}

/// What the judge says.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// Each metric, by name, in the order given.
    pub metrics: Vec<(String, Classified)>,
    /// The score.
    pub score: Score,
    /// What it means.
    pub class: ScoreClass,
}

/// Judges. `weights` are of groups, in percent; `pass` and `marginal` are scores of 0 to 100.
pub fn judge(
    metrics: &[Metric],
    weights: &BTreeMap<String, f64>,
    pass: f64,
    marginal: f64,
) -> Judged {
    let classified: Vec<_> = metrics.iter().map(|m| (m.name.clone(), classify(m))).collect();
    let scored: Vec<_> = metrics
        .iter()
        .zip(&classified)
        .map(|(metric, (_, of))| Scored {
            groups: metric.groups.clone(),
            classification: of.classification,
            is_critical: of.is_critical,
        })
        .collect();
    let score = weighted_sum(&scored, weights);
    let class = score_class(score.summary, pass, marginal);
    Judged { metrics: classified, score, class }
}

fn classify(metric: &Metric) -> Classified {
    let prepared = |values: &[f64]| {
        let values = metric.rule.nan_strategy.apply(values);
        match metric.outliers {
            Outliers::Keep => values,
            Outliers::Remove { factor } => {
                without_outliers(&values, Detector::Iqr { factor, fences: Fences::Wide })
            }
        }
    };
    let (control, experiment) = (prepared(&metric.control), prepared(&metric.experiment));
    mann_whitney(&control, &experiment, Test::default(), &metric.rule)
}
