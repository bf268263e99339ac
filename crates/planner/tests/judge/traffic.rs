//! Simulated sides: shapes of latency, clusters, errors, all from a seed.

use ark_model::ReleaseNumber;
use ark_planner::judge::{SideWindow, Slice};

/// A small generator (SplitMix64: G. L. Steele and others, OOPSLA 2014): the same numbers on every
/// machine for ever.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to 1, neither included.
    pub(crate) fn share(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    /// Standard normal (G. E. P. Box and M. E. Muller 1958).
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.share().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.share()).cos()
    }

    pub(crate) fn is(&mut self, chance: f64) -> bool {
        self.share() < chance
    }
}

/// How latencies are spread, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Shape {
    /// Log-normal around 20 ms with this deviation of the logarithm.
    LogNormal(f64),
    /// 5 ms and more with a tail of this power (Pareto).
    Pareto(f64),
    /// Hits of a cache at 2 ms and misses at 50 ms, four to one.
    Bimodal,
    /// 10 ms plus an exponential 3 ms.
    Exponential,
    /// Always 8 ms, give or take 2 %.
    Constant,
}

impl Shape {
    pub(crate) fn sample(self, dice: &mut Dice) -> f64 {
        match self {
            Self::LogNormal(deviation) => 20_000.0 * (deviation * dice.normal()).exp(),
            Self::Pareto(power) => 5_000.0 * dice.share().powf(-1.0 / power),
            Self::Bimodal if dice.is(0.8) => 2_000.0 * (0.3 * dice.normal()).exp(),
            Self::Bimodal => 50_000.0 * (0.3 * dice.normal()).exp(),
            Self::Exponential => 10_000.0 - 3_000.0 * dice.share().ln(),
            Self::Constant => 8_000.0 * (1.0 + 0.02 * dice.normal()),
        }
    }
}

/// What makes requests of one side alike in time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Clusters {
    /// Nothing.
    None,
    /// The load, hence the latency, of both sides swings together: the deviation of the logarithm.
    Shared(f64),
    /// Each side pauses on its own: one slice in this many has everything three times slower and
    /// one request in five failed.
    Pauses(f64),
    /// Each side's level wanders on its own: the deviation of its logarithm; it forgets half in
    /// three slices.
    Wander(f64),
}

/// One side's traffic.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Side {
    pub(crate) release: u64,
    pub(crate) requests: u64,
    pub(crate) shape: Shape,
    /// Latencies above this quantile (0 to 1, of the shape)...
    pub(crate) slower_above: f64,
    /// ...take so many times as long.
    pub(crate) times: f64,
    pub(crate) errors: f64,
}

impl Side {
    pub(crate) fn new(release: u64, requests: u64, shape: Shape) -> Self {
        Self { release, requests, shape, slower_above: 0.0, times: 1.0, errors: 0.002 }
    }
}

/// Both sides over `slices` seconds.
pub(crate) fn windows(
    dice: &mut Dice,
    new: Side,
    old: Side,
    slices: usize,
    clusters: Clusters,
) -> (SideWindow, SideWindow) {
    let shared: Vec<f64> = match clusters {
        Clusters::Shared(deviation) => wander(dice, slices, deviation),
        _ => vec![0.0; slices],
    };
    let mut make = |side: Side| {
        let mut own = match clusters {
            Clusters::Wander(deviation) => wander(dice, slices, deviation),
            _ => shared.clone(),
        };
        let mut pauses = vec![false; slices];
        if let Clusters::Pauses(every) = clusters {
            pauses.iter_mut().for_each(|p| *p = dice.is(1.0 / every));
        }
        for (level, paused) in own.iter_mut().zip(&pauses) {
            *level = if *paused { 3f64.ln() } else { *level };
        }
        side_window(dice, side, &own, &pauses)
    };
    (make(new), make(old))
}

fn wander(dice: &mut Dice, slices: usize, deviation: f64) -> Vec<f64> {
    let keeps = 0.5f64.powf(1.0 / 3.0);
    let mut level = deviation * dice.normal();
    (0..slices)
        .map(|_| {
            level = keeps * level + (1.0 - keeps * keeps).sqrt() * deviation * dice.normal();
            level
        })
        .collect()
}

fn side_window(dice: &mut Dice, side: Side, levels: &[f64], pauses: &[bool]) -> SideWindow {
    let edge = quantile(side.shape, side.slower_above);
    let mut slices = vec![Slice::default(); levels.len()];
    for _ in 0..side.requests {
        // A request comes at any time: so sides of few requests differ in each slice.
        let at = ((dice.share() * levels.len() as f64) as usize).min(levels.len() - 1);
        let slice = &mut slices[at];
        let plain = side.shape.sample(dice);
        let stretched = if plain >= edge { plain * side.times } else { plain };
        slice.latency_us.record((stretched * levels[at].exp()) as u64);
        slice.answer_bytes.record((4_096.0 * (0.8 * dice.normal()).exp()) as u64);
        let errors = if pauses[at] { 0.2 } else { side.errors };
        match dice.share() {
            u if u < errors => slice.failed += 1,
            u => {
                slice.served += 1;
                if u > 0.95 {
                    slice.client_errors += 1;
                } else if u > 0.9 {
                    slice.redirects += 1;
                }
            }
        }
    }
    SideWindow { release: ReleaseNumber(side.release), slices }
}

/// A quantile of a shape, from many samples of a fixed seed.
fn quantile(shape: Shape, share: f64) -> f64 {
    if share <= 0.0 {
        return 0.0;
    }
    let mut dice = Dice::new(7);
    let mut samples: Vec<f64> = (0..20_000).map(|_| shape.sample(&mut dice)).collect();
    samples.sort_by(f64::total_cmp);
    samples[((share * samples.len() as f64) as usize).min(samples.len() - 1)]
}
