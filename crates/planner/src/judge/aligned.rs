//! Both sides' histograms side by side, in blocks of time, and how much less a request says than an
//! independent one would.

use ark_model::histogram::{BUCKETS, Histogram};

/// Blocks of time at most; more would leave too little in each.
const BLOCKS_MAX: usize = 64;
/// Values that each side has in a block on average, at least.
const PER_BLOCK_MIN: u64 = 8;
/// Blocks from which on their unevenness can be told from chance.
const BLOCKS_TO_COMPARE: usize = 6;

/// Counts of both sides by bucket, in blocks of time.
#[derive(Debug)]
pub(super) struct Aligned {
    blocks: Vec<Block>,
    /// All blocks together.
    pub(super) whole: Block,
}

/// Counts of both sides by bucket.
#[derive(Debug, Clone)]
pub(super) struct Block {
    pub(super) new: Vec<u64>,
    pub(super) old: Vec<u64>,
}

impl Block {
    fn empty() -> Self {
        Self { new: vec![0; BUCKETS], old: vec![0; BUCKETS] }
    }

    fn add(&mut self, new: &Histogram, old: &Histogram) {
        new.iter().for_each(|(bucket, count)| self.new[bucket] += count);
        old.iter().for_each(|(bucket, count)| self.old[bucket] += count);
    }

    fn merge(&mut self, other: &Self) {
        self.new.iter_mut().zip(&other.new).for_each(|(sum, count)| *sum += count);
        self.old.iter_mut().zip(&other.old).for_each(|(sum, count)| *sum += count);
    }

    pub(super) fn new_count(&self) -> u64 {
        self.new.iter().sum()
    }

    pub(super) fn old_count(&self) -> u64 {
        self.old.iter().sum()
    }
}

/// How far the new side's sum of scores is from what is to be expected of equal sides.
#[derive(Debug, Clone, Copy)]
pub(super) struct Excess {
    /// The sum less its expectation.
    pub(super) sum: f64,
    /// Its variance when the sides are equal and requests independent.
    pub(super) variance: f64,
    /// Its third central moment, likewise.
    pub(super) third: f64,
    /// Its variance when each side has its own distribution.
    own_variance: f64,
    /// Its excess kurtosis, roughly: great when few requests make up the sum.
    kurtosis: f64,
    /// What a difference between the sides adds to the sum, in units of the difference.
    weight: f64,
}

const NO_EXCESS: Excess =
    Excess { sum: 0.0, variance: 0.0, third: 0.0, own_variance: 0.0, kurtosis: 0.0, weight: 0.0 };

impl Aligned {
    /// Aligns slices of equal time. The sides are taken as one block when their slices do not match.
    pub(super) fn new(new: &[&Histogram], old: &[&Histogram]) -> Self {
        let mut whole = Block::empty();
        new.iter().for_each(|h| whole.add(h, &Histogram::default()));
        old.iter().for_each(|h| whole.add(&Histogram::default(), h));
        let fewest = whole.new_count().min(whole.old_count());
        let count = ((fewest / PER_BLOCK_MIN) as usize).clamp(1, BLOCKS_MAX).min(new.len());
        let blocks = if new.len() == old.len() && count > 1 {
            let mut blocks = vec![Block::empty(); count];
            for (i, (new_slice, old_slice)) in new.iter().zip(old).enumerate() {
                blocks[i * count / new.len()].add(new_slice, old_slice);
            }
            blocks
        } else {
            vec![whole.clone()]
        };
        Self { blocks, whole }
    }

    /// The new side's excess in scores, block by block, so that what changes with time for both
    /// sides does not matter.
    pub(super) fn excess(&self, scores: &[f64]) -> Excess {
        total(&self.blocks.iter().map(|b| excess(b, scores)).collect::<Vec<_>>())
    }

    /// By which factor the variance of [`Self::excess`] is greater than independent requests would
    /// have it, at least 1. Requests that come in clusters longer than a block show when blocks are
    /// joined, so pairs, fours and eights are asked too, and the worst is taken.
    pub(super) fn clustering(&self, scores: &[f64]) -> f64 {
        let mut blocks = self.blocks.clone();
        let mut worst = 1.0f64;
        while blocks.len() >= BLOCKS_TO_COMPARE {
            worst = worst.max(unevenness(&blocks, scores));
            if blocks.len() * 8 <= self.blocks.len() {
                break;
            }
            blocks = blocks
                .chunks(2)
                .map(|pair| {
                    let mut joined = pair[0].clone();
                    pair[1..].iter().for_each(|b| joined.merge(b));
                    joined
                })
                .collect();
        }
        worst
    }
}

/// The factor: how far the excess of each block is from its part of the whole excess, against what
/// is to be expected of requests that vary within the block only. Each side's own variance counts
/// there: a real difference between the sides is no cluster. What chance adds to it, one standard deviation, is taken off; what is left is known
/// from few blocks only, and is widened as Student's distribution is wider than the normal one.
fn unevenness(blocks: &[Block], scores: &[f64]) -> f64 {
    let each: Vec<Excess> = blocks.iter().map(|b| excess(b, scores)).collect();
    let all = total(&each);
    let used: Vec<&Excess> = each.iter().filter(|e| e.weight > 0.0).collect();
    if used.len() < BLOCKS_TO_COMPARE || all.own_variance <= 0.0 {
        return 1.0;
    }
    let freedom = (used.len() - 1) as f64;
    let squares: f64 = used.iter().map(|e| (e.sum - all.sum * e.weight / all.weight).powi(2)).sum();
    let factor = squares / all.own_variance * used.len() as f64 / freedom;
    let noise =
        used.iter().map(|e| e.own_variance.powi(2) * (2.0 + e.kurtosis)).sum::<f64>().sqrt();
    1.0 + (factor - 1.0 - noise / all.own_variance).max(0.0) * student_widening(freedom)
}

/// The square of how much wider Student's distribution is than the normal one where one in two
/// thousand is beyond (D. L. Wallace, Bounds on Normal Approximations to Student's and the
/// Chi-square Distributions, Annals of Mathematical Statistics 30, 1959).
fn student_widening(freedom: f64) -> f64 {
    const Z: f64 = 3.290_527;
    let z = Z * (8.0 * freedom + 3.0) / (8.0 * freedom + 1.0);
    freedom * ((z * z / freedom).exp() - 1.0) / (Z * Z)
}

fn total(each: &[Excess]) -> Excess {
    each.iter().fold(NO_EXCESS, |all, e| Excess {
        sum: all.sum + e.sum,
        variance: all.variance + e.variance,
        third: all.third + e.third,
        own_variance: all.own_variance + e.own_variance,
        kurtosis: 0.0,
        weight: all.weight + e.weight,
    })
}

/// Moments of the sum of scores of a side drawn without replacement from both (W. G. Cochran,
/// Sampling Techniques, 3rd edition, 1977, theorem 2.2; the third moment: P. V. Sukhatme 1944).
fn excess(block: &Block, scores: &[f64]) -> Excess {
    let (n, m) = (block.new_count() as f64, block.old_count() as f64);
    let all = n + m;
    if n < 2.0 || m < 2.0 {
        return NO_EXCESS;
    }
    let counts =
        || block.new.iter().zip(&block.old).zip(scores).filter(|((a, b), _)| **a + **b > 0);
    let mean = counts().map(|((a, b), s)| (a + b) as f64 * s).sum::<f64>() / all;
    let (mut sum, mut second, mut third, mut fourth) = (0.0, 0.0, 0.0, 0.0);
    let mut second_new = 0.0;
    for ((new, old), score) in counts() {
        let off = score - mean;
        sum += *new as f64 * off;
        second_new += *new as f64 * off * off;
        second += (new + old) as f64 * off * off;
        third += (new + old) as f64 * off * off * off;
        fourth += (new + old) as f64 * off.powi(4);
    }
    // Around each side's own mean; the new side's sum off the common mean is the old side's, negated.
    let own_new = (second_new - sum * sum / n) / (n - 1.0);
    let own_old = (second - second_new - sum * sum / m) / (m - 1.0);
    let kurtosis = if second > 0.0 { all * fourth / (second * second) - 3.0 } else { 0.0 };
    Excess {
        sum,
        variance: n * m / (all * (all - 1.0)) * second,
        third: n * m * (m - n) / (all * (all - 1.0) * (all - 2.0)) * third,
        own_variance: n * (m / all).powi(2) * own_new + m * (n / all).powi(2) * own_old,
        kurtosis: kurtosis.max(0.0) / n.min(m),
        weight: n * m / all,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Student's quantile of 1 in 2,000: 5.959 with 6 degrees of freedom, 3.460 with 60.
    #[test]
    fn student_is_wider_when_little_is_known() {
        for (freedom, quantile) in [(6.0, 5.959f64), (14.0, 4.140), (60.0, 3.460)] {
            let wanted = (quantile / 3.290_5).powi(2);
            assert!((student_widening(freedom) / wanted - 1.0).abs() < 0.05, "{freedom}");
        }
    }

    fn histogram(counts: &[(usize, u64)]) -> Histogram {
        let mut histogram = Histogram::default();
        counts.iter().for_each(|(bucket, count)| histogram.add(*bucket, *count));
        histogram
    }

    fn hits(bucket: usize) -> Vec<f64> {
        (0..BUCKETS).map(|b| if b == bucket { 1.0 } else { 0.0 }).collect()
    }

    #[test]
    fn bursts_of_one_side_are_seen() {
        // Sixty slices of ten requests; in every tenth all of them hit, on each side in turn.
        let burst = |at: usize| {
            let slices = (0..60).map(move |i| {
                if i % 10 == at { histogram(&[(1, 10)]) } else { histogram(&[(0, 10)]) }
            });
            slices.collect::<Vec<_>>()
        };
        let (new, old) = (burst(3), burst(7));
        let new: Vec<&Histogram> = new.iter().collect();
        let old: Vec<&Histogram> = old.iter().collect();
        let factor = Aligned::new(&new, &old).clustering(&hits(1));
        assert!(factor > 8.0, "{factor}");
    }

    #[test]
    fn what_both_sides_have_alike_is_no_cluster() {
        let slices: Vec<Histogram> =
            (0..60).map(|i| histogram(&[(0, 10), (1, if i % 10 == 3 { 20 } else { 1 })])).collect();
        let slices: Vec<&Histogram> = slices.iter().collect();
        let aligned = Aligned::new(&slices, &slices);
        assert_eq!(aligned.clustering(&hits(1)), 1.0);
        assert!(aligned.excess(&hits(1)).sum.abs() < 1e-9);
    }

    #[test]
    fn a_difference_between_the_sides_is_no_cluster() {
        // A rare hit of the old side, a frequent one of the new, evenly in time.
        let new: Vec<Histogram> = (0..60).map(|_| histogram(&[(0, 12), (1, 4)])).collect();
        let old: Vec<Histogram> = (0..60).map(|_| histogram(&[(0, 315), (1, 1)])).collect();
        let new: Vec<&Histogram> = new.iter().collect();
        let old: Vec<&Histogram> = old.iter().collect();
        assert_eq!(Aligned::new(&new, &old).clustering(&hits(1)), 1.0);
    }

    #[test]
    fn sides_whose_slices_do_not_match_are_one_block() {
        let one = histogram(&[(0, 100), (1, 1)]);
        let aligned = Aligned::new(&[&one], &[&one, &one]);
        assert_eq!(aligned.blocks.len(), 1);
        assert_eq!((aligned.whole.new_count(), aligned.whole.old_count()), (101, 202));
    }
}
