//! How many requests may be inside at once, found from how long they take: three known rules, pure.
//! `limiter` feeds Gradient2 with windows of samples; the others are here to be compared with and
//! chosen from. All follow Netflix's concurrency-limits.
//!
//! A sample is a request's time, how many were inside when it began, and whether it was dropped
//! (refused or timed out). A rule changes its limit only when the limit is being used: what is
//! half empty says nothing about whether more would fit.

use std::time::Duration;

/// What one request, or a window of them, showed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sample {
    pub(crate) rtt: Duration,
    pub(crate) in_flight: u32,
    pub(crate) dropped: bool,
}

/// Vegas: the limit follows the estimated queue, `limit * (1 - rtt_noload / rtt)`.
#[derive(Debug, Clone)]
pub(crate) struct Vegas {
    limit: f64,
    max: f64,
    smoothing: f64,
    alpha: Step,
    beta: Step,
    threshold: Step,
    decrease: Decrease,
    /// The shortest time seen since the last probe.
    rtt_noload: Option<Duration>,
    samples_since_probe: f64,
    probe_multiplier: f64,
    /// Spreads probes; between 0.5 and 1.
    jitter: f64,
}

/// A number of requests that may depend on the limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Step {
    /// Always so many.
    #[cfg_attr(not(test), expect(dead_code, reason = "published cases of the rule set it"))]
    Fixed(f64),
    /// So many times `max(1, floor(log10(limit)))`.
    Log10(f64),
}

/// How Vegas goes down.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Decrease {
    /// By `max(1, floor(log10(limit)))`.
    Log10,
    /// To this part of the limit.
    #[cfg_attr(not(test), expect(dead_code, reason = "published cases of the rule set it"))]
    Times(f64),
}

impl Step {
    fn at(self, limit: f64) -> f64 {
        match self {
            Self::Fixed(count) => count,
            Self::Log10(times) => times * log10_root(limit),
        }
    }
}

fn log10_root(limit: f64) -> f64 {
    limit.floor().log10().floor().max(1.0)
}

impl Vegas {
    /// With the usual steps: alpha 3 and beta 6 times log10 of the limit.
    pub(crate) fn new(initial: u32, max: u32) -> Self {
        Self {
            limit: f64::from(initial),
            max: f64::from(max),
            smoothing: 1.0,
            alpha: Step::Log10(3.0),
            beta: Step::Log10(6.0),
            threshold: Step::Log10(1.0),
            decrease: Decrease::Log10,
            rtt_noload: None,
            samples_since_probe: 0.0,
            probe_multiplier: 30.0,
            jitter: 1.0,
        }
    }

    /// Takes a sample in; the limit from now on. `jitter`, between 0.5 and 1, is taken for the next
    /// probe, should this be one.
    pub(crate) fn update(&mut self, sample: Sample, jitter: f64) -> u32 {
        self.samples_since_probe += 1.0;
        if self.jitter * self.probe_multiplier * self.limit <= self.samples_since_probe {
            // What the app can do without a queue may have changed: measure it anew.
            self.samples_since_probe = 0.0;
            self.rtt_noload = Some(sample.rtt);
            self.jitter = jitter;
            return whole(self.limit);
        }
        let shortest = match self.rtt_noload {
            Some(shortest) if sample.rtt >= shortest => shortest,
            Some(_) | None => {
                self.rtt_noload = Some(sample.rtt);
                return whole(self.limit);
            }
        };
        let queue = (self.limit * (1.0 - shortest.as_secs_f64() / sample.rtt.as_secs_f64())).ceil();
        let (alpha, beta) = (self.alpha.at(self.limit), self.beta.at(self.limit));
        let new = if sample.dropped {
            self.decreased()
        } else if f64::from(sample.in_flight) * 2.0 < self.limit {
            return whole(self.limit);
        } else if queue <= self.threshold.at(self.limit) {
            self.limit + beta
        } else if queue < alpha {
            self.limit + log10_root(self.limit)
        } else if queue > beta {
            self.decreased()
        } else {
            return whole(self.limit);
        };
        let new = new.clamp(1.0, self.max.max(1.0));
        self.limit = (1.0 - self.smoothing) * self.limit + self.smoothing * new;
        whole(self.limit)
    }

    fn decreased(&self) -> f64 {
        match self.decrease {
            Decrease::Log10 => self.limit - log10_root(self.limit),
            Decrease::Times(part) => self.limit * part,
        }
    }
}

/// Gradient2: the limit follows how much longer requests take now than they do in the long run.
#[derive(Debug, Clone)]
pub(crate) struct Gradient2 {
    limit: f64,
    min: f64,
    max: f64,
    smoothing: f64,
    /// How many may queue on top of what the gradient allows.
    queue: f64,
    /// How much longer than in the long run is still good.
    tolerance: f64,
    long: LongAverage,
}

/// An average over the last many samples: plain over the first ten, exponential from then on.
#[derive(Debug, Clone, Copy)]
struct LongAverage {
    window: f64,
    seen: f64,
    value: f64,
}

/// After so many samples a [`LongAverage`] is exponential.
const WARM_UP: f64 = 10.0;

impl LongAverage {
    fn add(&mut self, sample: f64) -> f64 {
        if self.seen < WARM_UP {
            self.value = (self.value * self.seen + sample) / (self.seen + 1.0);
            self.seen += 1.0;
        } else {
            let factor = 2.0 / (self.window + 1.0);
            self.value = self.value * (1.0 - factor) + sample * factor;
        }
        self.value
    }
}

impl Gradient2 {
    /// With smoothing 0.2, a queue of 4, a long window of 600 samples and a tolerance of 1.5.
    pub(crate) fn new(initial: u32, min: u32, max: u32) -> Self {
        Self {
            limit: f64::from(initial),
            min: f64::from(min),
            max: f64::from(max.max(min)),
            smoothing: 0.2,
            queue: 4.0,
            tolerance: 1.5,
            long: LongAverage { window: 600.0, seen: 0.0, value: 0.0 },
        }
    }

    /// Takes a sample in; the limit from now on.
    pub(crate) fn update(&mut self, sample: Sample) -> u32 {
        let short = sample.rtt.as_secs_f64().max(f64::MIN_POSITIVE);
        let long = self.long.add(short);
        // After a long time of overload the long average must come down again.
        if long / short > 2.0 {
            self.long.value *= 0.95;
        }
        if f64::from(sample.in_flight) < self.limit / 2.0 {
            return whole(self.limit);
        }
        let gradient = (self.tolerance * long / short).clamp(0.5, 1.0);
        let new = self.limit * gradient + self.queue;
        let new = self.limit * (1.0 - self.smoothing) + new * self.smoothing;
        self.limit = new.clamp(self.min, self.max);
        whole(self.limit)
    }
}

/// AIMD: one more with each success, a tenth less with each drop.
#[derive(Debug, Clone)]
pub(crate) struct Aimd {
    limit: u32,
    min: u32,
    max: u32,
    backoff_ratio: f64,
    timeout: Duration,
}

impl Aimd {
    /// With a backoff to 0.9 and a timeout of 5 s.
    pub(crate) fn new(initial: u32, min: u32, max: u32) -> Self {
        Self { limit: initial, min, max, backoff_ratio: 0.9, timeout: Duration::from_secs(5) }
    }

    /// Takes a sample in; the limit from now on.
    pub(crate) fn update(&mut self, sample: Sample) -> u32 {
        let new = if sample.dropped || sample.rtt > self.timeout {
            whole(f64::from(self.limit) * self.backoff_ratio)
        } else if sample.in_flight.saturating_mul(2) >= self.limit {
            self.limit.saturating_add(1)
        } else {
            self.limit
        };
        self.limit = new.max(self.min).min(self.max);
        self.limit
    }
}

/// Gathers samples into windows, so that a rule sees what is usual and not each request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Windowed {
    ends: Option<Duration>,
    sum: Duration,
    count: u32,
    in_flight_max: u32,
    dropped: bool,
}

/// The length of a window.
const WINDOW: Duration = Duration::from_secs(1);
/// A window of fewer samples is continued.
const WINDOW_SAMPLES_MIN: u32 = 10;
/// Shorter times say nothing: they were not worked for.
const RTT_MIN: Duration = Duration::from_micros(100);

impl Windowed {
    /// Takes a sample in that ended at `now` (since any fixed moment). The window as one sample
    /// when it is full: the mean time, the most that were inside.
    pub(crate) fn add(&mut self, sample: Sample, now: Duration) -> Option<Sample> {
        if sample.rtt < RTT_MIN {
            return None;
        }
        self.sum += sample.rtt;
        self.count += 1;
        self.in_flight_max = self.in_flight_max.max(sample.in_flight);
        self.dropped |= sample.dropped;
        let ends = *self.ends.get_or_insert(now + WINDOW);
        if now < ends || self.count < WINDOW_SAMPLES_MIN {
            return None;
        }
        let whole = Sample {
            rtt: self.sum / self.count,
            in_flight: self.in_flight_max,
            dropped: self.dropped,
        };
        *self = Self { ends: Some(now + WINDOW), ..Self::default() };
        Some(whole)
    }
}

fn whole(limit: f64) -> u32 {
    // Limits lie between 0 and a u32's largest value by construction.
    limit as u32
}

#[cfg(test)]
mod tests;
