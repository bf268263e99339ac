//! One metric: is the experiment's series higher or lower than the control's?

use super::descriptive::mean;
use super::effect::EffectMeasure;
use super::mann_whitney::shift;
use super::transform::{NanStrategy, with_noise};

/// What is said of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Classification {
    /// No difference that counts.
    Pass,
    /// Higher.
    High,
    /// Lower.
    Low,
    /// A side has no values.
    Nodata,
    /// A side has no values and had to have some.
    NodataFailMetric,
    /// It could not be classified.
    Error,
}

/// Which change counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Upwards.
    Increase,
    /// Downwards.
    Decrease,
    /// Any.
    Either,
}

/// What a failed metric does to the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Criticality {
    /// It lowers the score of its groups.
    Normal,
    /// It fails the canary.
    Critical,
}

/// Whether a metric may be without values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It may.
    Optional,
    /// It counts as failed when it is.
    Required,
}

/// From which effect on a difference counts, in the unit of the [`EffectMeasure`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thresholds {
    /// At most this is low.
    pub decrease: f64,
    /// At least this is high.
    pub increase: f64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { decrease: 1.0, increase: 1.0 }
    }
}

/// How the test is made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Test {
    /// Share of the estimated shift that its interval must exceed.
    pub tolerance: f64,
    /// Confidence of the interval.
    pub confidence: f64,
}

/// The published judge's own.
impl Default for Test {
    fn default() -> Self {
        Self { tolerance: 0.25, confidence: 0.98 }
    }
}

/// How one metric is classified.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule {
    /// Which change counts.
    pub direction: Direction,
    /// What stands for missing values, and for a side without any.
    pub nan_strategy: NanStrategy,
    /// What a failure does.
    pub criticality: Criticality,
    /// Whether there must be values.
    pub presence: Presence,
    /// How effects are measured.
    pub measure: EffectMeasure,
    /// From which effect on the metric fails.
    pub effect: Thresholds,
    /// From which effect on a failed critical metric fails the canary.
    pub critical: Thresholds,
}

impl Default for Rule {
    fn default() -> Self {
        Self {
            direction: Direction::Either,
            nan_strategy: NanStrategy::Remove,
            criticality: Criticality::Normal,
            presence: Presence::Optional,
            measure: EffectMeasure::MeanRatio,
            effect: Thresholds::default(),
            critical: Thresholds::default(),
        }
    }
}

/// A classified metric.
#[derive(Debug, Clone, PartialEq)]
pub struct Classified {
    /// What is said of it.
    pub classification: Classification,
    /// Why, where there is something to say.
    pub reason: Option<String>,
    /// The effect; 1 when nothing was compared, NaN when a mean is zero.
    pub deviation: f64,
    /// Whether it fails the canary.
    pub is_critical: bool,
}

/// Classifies by the Mann-Whitney test: high when the whole interval of the shift is above the
/// tolerated share of its estimate, low when it is below, and the effect is large enough.
pub fn mann_whitney(control: &[f64], experiment: &[f64], test: Test, rule: &Rule) -> Classified {
    if let Some(empty) = without_data(control, experiment, rule) {
        return empty;
    }
    if sorted(control) == sorted(experiment) {
        return pass(Some("the data of both sides are identical"), 1.0);
    }
    let (control, experiment) = match (is_constant(control), is_constant(experiment)) {
        (true, true) if control[0] == experiment[0] => return pass(None, 1.0),
        // The test knows no order among ties alone; noise far below the values makes one.
        (true, true) => (jittered(control), jittered(experiment)),
        _ => (control.to_vec(), experiment.to_vec()),
    };
    let shift = shift(&control, &experiment, test.confidence);
    let deviation = rule.measure.of(&control, &experiment);
    let tolerated = test.tolerance * shift.estimate.abs();
    let up = rule.direction != Direction::Decrease && shift.low > tolerated;
    let down = rule.direction != Direction::Increase && shift.high < -tolerated;
    // No ratio can be formed with a mean of zero: then every difference is large enough.
    let is_high = |t: Thresholds| deviation.is_nan() || deviation >= t.increase;
    let is_low = |t: Thresholds| deviation.is_nan() || deviation <= t.decrease;
    let (classification, reaches_critical) = match (up, down) {
        (true, _) if is_high(rule.effect) => (Classification::High, is_high(rule.critical)),
        (_, true) if is_low(rule.effect) => (Classification::Low, is_low(rule.critical)),
        _ => return pass(None, deviation),
    };
    let is_critical = rule.criticality == Criticality::Critical && reaches_critical;
    let reason = format!(
        "shifted by {:.4} ({:.4} to {:.4}){}",
        shift.estimate,
        shift.low,
        shift.high,
        if is_critical { ", critical" } else { "" },
    );
    Classified { classification, reason: Some(reason), deviation, is_critical }
}

/// Classifies by the means alone: any difference counts. For comparison.
pub fn mean_inequality(control: &[f64], experiment: &[f64], rule: &Rule) -> Classified {
    if let Some(empty) = without_data(control, experiment, rule) {
        return empty;
    }
    let (old, new) = (mean(control), mean(experiment));
    let classification = match rule.direction {
        Direction::Increase | Direction::Either if new > old => Classification::High,
        Direction::Decrease | Direction::Either if new < old => Classification::Low,
        Direction::Increase | Direction::Decrease | Direction::Either => return pass(None, 1.0),
    };
    Classified {
        classification,
        reason: Some(format!("the mean went from {old:.4} to {new:.4}")),
        deviation: new / old,
        is_critical: rule.criticality == Criticality::Critical,
    }
}

fn without_data(control: &[f64], experiment: &[f64], rule: &Rule) -> Option<Classified> {
    let which = match (control.is_empty(), experiment.is_empty()) {
        (false, false) => return None,
        (true, true) => "both sides",
        (true, false) => "the control",
        (false, true) => "the experiment",
    };
    let (classification, is_critical) = match (rule.nan_strategy, rule.criticality, rule.presence) {
        (NanStrategy::Replace, _, _) => return Some(pass(None, 1.0)),
        (NanStrategy::Remove, Criticality::Normal, Presence::Required) => {
            (Classification::NodataFailMetric, false)
        }
        (NanStrategy::Remove, Criticality::Normal, Presence::Optional) => {
            (Classification::Nodata, false)
        }
        (NanStrategy::Remove, Criticality::Critical, _) => (Classification::Nodata, true),
    };
    let reason = Some(format!("no data of {which}"));
    Some(Classified { classification, reason, deviation: 1.0, is_critical })
}

fn pass(reason: Option<&str>, deviation: f64) -> Classified {
    Classified {
        classification: Classification::Pass,
        reason: reason.map(str::to_owned),
        deviation,
        is_critical: false,
    }
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

fn is_constant(values: &[f64]) -> bool {
    values.iter().all(|v| *v == values[0])
}

/// Noise against ties, in shares of the value.
const NOISE: f64 = 1e-5;

fn jittered(values: &[f64]) -> Vec<f64> {
    // A series of zeros stays as it is: the other one's noise makes the order.
    if values[0] == 0.0 {
        values.to_vec()
    } else {
        with_noise(values, 0.0, values[0].abs() * NOISE)
    }
}
