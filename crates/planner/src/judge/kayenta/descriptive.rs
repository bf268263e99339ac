//! Means, deviations, percentiles.

/// What is said of one series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// Smallest value.
    pub min: f64,
    /// Largest value.
    pub max: f64,
    /// Arithmetic mean.
    pub mean: f64,
    /// Sample standard deviation (divided by n - 1); 0 for a single value.
    pub std: f64,
    /// How many values.
    pub count: usize,
}

/// Summarises a series; all zero when it is empty.
pub fn summary(values: &[f64]) -> Summary {
    if values.is_empty() {
        return Summary { min: 0.0, max: 0.0, mean: 0.0, std: 0.0, count: 0 };
    }
    Summary {
        min: values.iter().copied().fold(f64::INFINITY, f64::min),
        max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        mean: mean(values),
        std: variance(values, 1).sqrt(),
        count: values.len(),
    }
}

/// Arithmetic mean; NaN when there is nothing.
pub fn mean(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    // A second pass takes out what the first lost to rounding.
    mean + values.iter().map(|v| v - mean).sum::<f64>() / n
}

/// Variance around the mean, divided by n less `freedom` (1: of a sample, 0: of a population). 0
/// for a single value.
pub fn variance(values: &[f64], freedom: usize) -> f64 {
    if values.len() == 1 {
        return 0.0;
    }
    let mean = mean(values);
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    let deviations: f64 = values.iter().map(|v| v - mean).sum();
    (squares - deviations * deviations / values.len() as f64) / (values.len() - freedom) as f64
}

/// The `p`-th percentile (0 to 100), between two values by linear interpolation: estimate 7 of
/// Hyndman and Fan, Sample Quantiles in Statistical Packages, The American Statistician 50, 1996.
/// NaN when there is nothing.
pub fn percentile(values: &[f64], p: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let at = last as f64 * (p / 100.0).clamp(0.0, 1.0);
    let below = at.floor() as usize;
    let above = (below + 1).min(last);
    sorted[below] + (at - below as f64) * (sorted[above] - sorted[below])
}
