//! Rank tests on histograms: is the new side's distribution to the right of the old one's? They ask
//! nothing of its shape. Three, because a shift may be everywhere or in the tail alone.

use super::aligned::{Aligned, Block};
use super::special::{normal_density, normal_upper};

/// What a rank is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scores {
    /// Itself: sees a shift of the whole (F. Wilcoxon 1945; H. B. Mann and D. R. Whitney 1947).
    Wilcoxon,
    /// -ln(1 - u), u being the share below it: sees a stretch, which shows in the upper half (I. R.
    /// Savage, Annals of Mathematical Statistics 27, 1956).
    Savage,
    /// Nothing below the upper tenth, there the rank within it: sees a tail that grew.
    UpperTenth,
}

impl Scores {
    pub(super) const ALL: [Self; 3] = [Self::Wilcoxon, Self::Savage, Self::UpperTenth];

    /// The integral of the score from 0 to `u`, so that ties share the mean of theirs.
    fn integral(self, u: f64) -> f64 {
        match self {
            Self::Wilcoxon => u * u / 2.0,
            Self::Savage => {
                let rest = 1.0 - u;
                if rest <= 0.0 { 1.0 } else { rest * rest.ln() + u }
            }
            Self::UpperTenth => (u - 0.9).max(0.0).powi(2) / 2.0,
        }
    }

    /// The score of each bucket.
    pub(super) fn of(self, whole: &Block) -> Vec<f64> {
        let all = (whole.new_count() + whole.old_count()) as f64;
        let mut below = 0.0;
        whole
            .new
            .iter()
            .zip(&whole.old)
            .map(|(new, old)| {
                let here = (new + old) as f64;
                if here == 0.0 {
                    return 0.0;
                }
                let (from, to) = (below / all, (below + here) / all);
                below += here;
                (self.integral(to) - self.integral(from)) / (to - from)
            })
            .collect()
    }
}

/// The chance of an excess at least this large of the new side, when both are equal: the normal
/// approximation, corrected for the skewness of the sum (Edgeworth's first term), with the variance
/// widened by what clusters of requests add to it.
pub(super) fn p_larger(aligned: &Aligned, scores: Scores) -> f64 {
    let scores = scores.of(&aligned.whole);
    let excess = aligned.excess(&scores);
    if excess.variance <= 0.0 {
        return 1.0;
    }
    let deviation = (excess.variance * aligned.clustering(&scores)).sqrt();
    let z = excess.sum / deviation;
    let skewness = excess.third / excess.variance.powf(1.5);
    let p = normal_upper(z) + normal_density(z) * skewness * (z * z - 1.0) / 6.0;
    p.clamp(normal_upper(z) / 2.0, 1.0)
}

/// The chance that a value of the new side is above one of the old side, ties counting half.
pub(super) fn chance_above(whole: &Block) -> f64 {
    let (mut below, mut pairs) = (0.0, 0.0);
    for (new, old) in whole.new.iter().zip(&whole.old) {
        pairs += *new as f64 * (below + *old as f64 / 2.0);
        below += *old as f64;
    }
    pairs / (whole.new_count() as f64 * whole.old_count() as f64).max(1.0)
}
