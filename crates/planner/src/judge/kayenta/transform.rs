//! What becomes of a series before it is classified.

use super::super::special::normal_quantile;
use super::outliers::Detector;

/// What stands for a value that was not measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NanStrategy {
    /// Nothing: it is left out.
    Remove,
    /// Zero.
    Replace,
}

impl NanStrategy {
    /// The series without missing values.
    pub fn apply(self, values: &[f64]) -> Vec<f64> {
        match self {
            Self::Remove => values.iter().copied().filter(|v| !v.is_nan()).collect(),
            Self::Replace => values.iter().map(|v| if v.is_nan() { 0.0 } else { *v }).collect(),
        }
    }
}

/// The series without outliers.
pub fn without_outliers(values: &[f64], detector: Detector) -> Vec<f64> {
    let outliers = detector.detect(values);
    values.iter().zip(outliers).filter(|(_, out)| !out).map(|(v, _)| *v).collect()
}

/// Adds normally distributed noise. The noise is the quantiles of the distribution in the middle of
/// equal parts, not drawn: what is pure takes no randomness, and ties are broken just as well.
pub fn with_noise(values: &[f64], mean: f64, deviation: f64) -> Vec<f64> {
    let n = values.len() as f64;
    let noise = |i: usize| mean + deviation * normal_quantile((i as f64 + 0.5) / n);
    values.iter().enumerate().map(|(i, v)| v + noise(i)).collect()
}
