//! Which values of a series are outliers.

use super::descriptive::{mean, percentile, variance};

/// How outliers are found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Detector {
    /// Below the first quartile less `factor` times the distance of the quartiles, or above the
    /// third plus that (Tukey's fences).
    Iqr {
        /// Times the distance of the quartiles.
        factor: f64,
        /// How far the fences stand at least.
        fences: Fences,
    },
    /// Farther from the mean than `k` standard deviations of the population.
    KSigma {
        /// How many.
        k: f64,
    },
}

/// How far the fences of [`Detector::Iqr`] stand at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fences {
    /// Where the quartiles put them.
    Plain,
    /// Never within the 1st and the 99th percentile.
    Wide,
}

impl Detector {
    /// For each value, whether it is an outlier.
    pub fn detect(self, values: &[f64]) -> Vec<bool> {
        let (low, high) = match self {
            Self::Iqr { factor, fences } => {
                let (q1, q3) = (percentile(values, 25.0), percentile(values, 75.0));
                let (low, high) = (q1 - factor * (q3 - q1), q3 + factor * (q3 - q1));
                match fences {
                    Fences::Plain => (low, high),
                    Fences::Wide => {
                        (low.min(percentile(values, 1.0)), high.max(percentile(values, 99.0)))
                    }
                }
            }
            Self::KSigma { k } => {
                let mean = mean(values);
                let reach = k * variance(values, 0).sqrt();
                return values.iter().map(|v| (v - mean).abs() > reach).collect();
            }
        };
        values.iter().map(|v| *v > high || *v < low).collect()
    }
}
