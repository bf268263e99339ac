//! How large a difference between two series is.

use super::descriptive::{Summary, mean};
use super::mann_whitney::ranks;

/// The measure by which a difference must be large enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EffectMeasure {
    /// The experiment's mean over the control's; 1 is no difference.
    MeanRatio,
    /// The chance that a value of the experiment exceeds one of the control; 0.5 is no difference.
    Cles,
}

impl EffectMeasure {
    /// The difference. NaN when there is no ratio, one of the means being zero.
    pub fn of(self, control: &[f64], experiment: &[f64]) -> f64 {
        match self {
            Self::MeanRatio => mean_ratio(mean(control), mean(experiment)),
            Self::Cles => cles(control, experiment),
        }
    }
}

/// The experiment's mean over the control's; NaN when either is zero.
pub fn mean_ratio(control_mean: f64, experiment_mean: f64) -> f64 {
    if control_mean == 0.0 || experiment_mean == 0.0 {
        return f64::NAN;
    }
    experiment_mean / control_mean
}

/// Distance of the means in pooled standard deviations (J. Cohen, Statistical Power Analysis for
/// the Behavioral Sciences, 1988).
pub fn cohen_d(control: &Summary, experiment: &Summary) -> f64 {
    let (n, m) = (control.count as f64, experiment.count as f64);
    let pooled =
        ((m - 1.0) * experiment.std.powi(2) + (n - 1.0) * control.std.powi(2)) / (n + m - 2.0);
    (experiment.mean - control.mean).abs() / pooled.sqrt()
}

/// Common language effect size: the share of pairs in which the experiment's value is the higher,
/// ties counting half (A. Vargha and H. D. Delaney, Journal of Educational and Behavioral
/// Statistics 25, 2000).
pub fn cles(control: &[f64], experiment: &[f64]) -> f64 {
    let (m, n) = (experiment.len() as f64, control.len() as f64);
    let all: Vec<f64> = experiment.iter().chain(control).copied().collect();
    let rank_sum: f64 = ranks(&all).0[..experiment.len()].iter().sum();
    (2.0 * rank_sum - m * (m + 1.0)) / (2.0 * n * m)
}
