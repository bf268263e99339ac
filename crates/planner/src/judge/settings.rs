//! How sure the judge must be, how much it tolerates, and how many requests it wants.

/// Which look at the data of one analysis this is. False alarms add up over looks, so each may
/// spend only its part of what is allowed in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Before the analysis is over, to stop early what is clearly bad. Fails or is inconclusive,
    /// never passes.
    Early {
        /// How many early looks came before, in this deployment.
        before: u32,
    },
    /// The last of an analysis: the one that passes.
    Last,
}

/// Whether an early look is due, `before` of them having been taken in this analysis and `requests`
/// having ended on the new side since it began: at the minimum count and at each doubling of it, so
/// that looks stay few however much traffic there is.
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
    /// More 5xx and cut requests.
    pub errors: Effect,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            requests_min: 100,
            false_alarms: 0.01,
            analyses: 1,
            errors: Effect { by: 0.001, times: 1.1 },
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

impl Effect {
    /// Whether going from `old` to `new` is worth stopping for.
    pub(super) fn is_reached(self, old: f64, new: f64) -> bool {
        new >= old + self.by && new >= old * self.times
    }
}
