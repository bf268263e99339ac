//! How sure the judge must be, how much it tolerates, and how many requests it wants.

/// Which look at the data of one analysis this is. False alarms add up over looks, so each may
/// spend only its part of what is allowed in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Before the analysis is over, to stop early what is clearly bad. Fails or is inconclusive,
    /// never passes.
    Early {
        /// How many early looks came before it in this deployment, over all its analyses.
        before: u32,
    },
    /// The last of an analysis: the one that passes.
    Last,
}

/// Whether an early look is due, `before` of them having been taken in this analysis (not in the
/// whole deployment) and `requests` having ended on the new side since it began: at the minimum count
/// and at each doubling of it, so that looks stay few however much traffic there is.
pub fn early_look_due(settings: &Settings, before: u32, requests: u64) -> bool {
    settings.requests_min.checked_shl(before).is_some_and(|due| requests >= due)
        && before < EARLY_LOOKS_MAX
}

/// The most early looks of one analysis.
const EARLY_LOOKS_MAX: u32 = 20;

/// A difference worth stopping for: both must hold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Effect {
    /// The new value is at least the old one plus this. Shares: 0.01 is one percentage point.
    /// Latencies: microseconds.
    pub by: f64,
    /// The new value is at least the old one times this.
    pub times: f64,
}

/// What the judge goes by.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Requests that must have ended on each side.
    pub requests_min: u64,
    /// The chance of a false alarm over all analyses of one deployment, when both sides are equal.
    pub false_alarms: f64,
    /// How many analyses the deployment makes in all; each may spend an equal part.
    pub analyses: u32,
    /// More answers of 500 and above, and cut requests.
    pub errors: Effect,
    /// More answers from 400 to 499.
    pub client_errors: Effect,
    /// More requests given up by the client.
    pub client_gone: Effect,
    /// More or fewer answers from 300 to 399, or fewer from 400 to 499: not bad in itself, but a
    /// change so large is not what a deployment is for.
    pub status_mix: Effect,
    /// Slower, at a quantile. In microseconds.
    pub latency: Effect,
    /// Share of answers that became smaller than half, or larger than double.
    pub answer_size: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            requests_min: 100,
            false_alarms: 0.01,
            analyses: 1,
            errors: Effect { by: 0.001, times: 1.1 },
            client_errors: Effect { by: 0.01, times: 1.25 },
            client_gone: Effect { by: 0.01, times: 1.25 },
            status_mix: Effect { by: 0.1, times: 1.0 },
            latency: Effect { by: 500.0, times: 1.1 },
            answer_size: 0.2,
        }
    }
}

/// Early looks together spend this part.
const EARLY_PART: f64 = 0.1;

impl Settings {
    /// The chance of a false alarm that this look may take. Early looks share a tenth of it as
    /// 1/2, 1/6, 1/12, ... (which sum to 1); the last looks of all analyses share the rest.
    pub(super) fn allowance(&self, look: Look) -> f64 {
        match look {
            Look::Early { before } => {
                let n = f64::from(before) + 1.0;
                self.false_alarms * EARLY_PART / (n * (n + 1.0))
            }
            Look::Last => self.false_alarms * (1.0 - EARLY_PART) / f64::from(self.analyses.max(1)),
        }
    }
}

/// Parts of a look's allowance, one per comparison. They sum to 1, so that whatever the comparisons
/// have to do with each other, a look takes no more than its allowance (Bonferroni).
pub(super) mod part {
    pub(in super::super) const ERRORS: f64 = 0.40;
    pub(in super::super) const CLIENT_ERRORS: f64 = 0.08;
    pub(in super::super) const CLIENT_GONE: f64 = 0.04;
    /// More redirects, fewer, fewer client errors: each.
    pub(in super::super) const STATUS_MIX: f64 = 0.01;
    /// Smaller answers, larger answers: each.
    pub(in super::super) const ANSWER_SIZE: f64 = 0.02;
    pub(in super::super) const LATENCY_P50: f64 = 0.03;
    pub(in super::super) const LATENCY_P90: f64 = 0.05;
    pub(in super::super) const LATENCY_P99: f64 = 0.12;
    /// Each of the three rank tests.
    pub(in super::super) const LATENCY_RANKS: f64 = 0.07;
}

impl Effect {
    /// Whether going from `old` to `new` is worth stopping for.
    pub(super) fn is_reached(self, old: f64, new: f64) -> bool {
        new >= old + self.by && new >= old * self.times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_sum_to_the_whole() {
        let parts = part::ERRORS
            + part::CLIENT_ERRORS
            + part::CLIENT_GONE
            + 3.0 * part::STATUS_MIX
            + 2.0 * part::ANSWER_SIZE
            + part::LATENCY_P50
            + part::LATENCY_P90
            + part::LATENCY_P99
            + 3.0 * part::LATENCY_RANKS;
        assert!((parts - 1.0).abs() < 1e-12, "{parts}");
    }

    #[test]
    fn all_looks_of_a_deployment_spend_no_more_than_is_allowed() {
        let settings = Settings { analyses: 3, ..Settings::default() };
        let early: f64 = (0..60).map(|before| settings.allowance(Look::Early { before })).sum();
        let last = 3.0 * settings.allowance(Look::Last);
        assert!(early + last <= settings.false_alarms);
        assert!(early + last > settings.false_alarms * 0.99);
    }

    #[test]
    fn early_looks_are_due_at_each_doubling() {
        let settings = Settings::default();
        let due = |before, requests| early_look_due(&settings, before, requests);
        assert!(!due(0, 99));
        assert!(due(0, 100));
        assert!(!due(1, 199));
        assert!(due(1, 200));
        assert!(due(3, 800));
        assert!(!due(20, u64::MAX));
    }
}
