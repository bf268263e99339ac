//! Did answers become much smaller or much larger? A bad deployment may answer 200 with an empty
//! page. Only changes by more than a factor of two count: pages change with every release.

use ark_model::histogram::{BUCKETS, Histogram, bucket};
use ark_model::judgement::{Finding, Measure, Outcome};

use super::counts::{Table, fisher_more};
use super::settings::{Settings, part};
use super::verdict::{Sides, outcome};
use super::words::{bytes, chance, percent};

/// Values that each side must have.
const COUNT_MIN: u64 = 50;
/// Sizes at which the sides are compared: powers of two up to 1 GiB.
const SIZES: u32 = 31;

/// Compares; empty when there is nothing to say.
pub(super) fn compare(sides: &Sides<'_>, allowed: f64, settings: &Settings) -> Vec<Finding> {
    let (new, old) = (&sides.new_sum.answer_bytes, &sides.old_sum.answer_bytes);
    if new.count().min(old.count()) < COUNT_MIN {
        return Vec::new();
    }
    let aligned = sides.aligned(|s| &s.answer_bytes);
    let found = [Change::Smaller, Change::Larger].into_iter().filter_map(|change| {
        let (size, table) = largest_gap(change, old, new)?;
        let gap = table.new_share() - table.old_share();
        let is_reached = gap >= settings.answer_size;
        let edge = bucket(size);
        let scores: Vec<f64> = (0..BUCKETS).map(|b| if b >= edge { 1.0 } else { 0.0 }).collect();
        // Looked for at every size: each has its part.
        let p =
            (fisher_more(table.thinned(aligned.clustering(&scores))) * f64::from(SIZES)).min(1.0);
        let outcome = outcome(p, allowed * part::ANSWER_SIZE, is_reached);
        (outcome == Outcome::Worse).then(|| Finding {
            measure: Measure::AnswerSize,
            outcome,
            p_value: Some(p),
            words: words(sides, change, size, table, p),
        })
    });
    found.collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Smaller,
    Larger,
}

/// The size at which most answers changed by more than a factor of two, with the counts: of the new
/// side below it and of the old side below twice it (or above it, and above half).
fn largest_gap(change: Change, old: &Histogram, new: &Histogram) -> Option<(u64, Table)> {
    let below = |histogram: &Histogram, size: u64| {
        let edge = bucket(size);
        histogram.iter().take_while(|(b, _)| *b < edge).map(|(_, count)| count).sum::<u64>()
    };
    (0..SIZES)
        .map(|power| 1u64 << power)
        .map(|size| {
            let (new_hits, old_hits) = match change {
                Change::Smaller => (below(new, size), below(old, 2 * size)),
                Change::Larger => {
                    (new.count() - below(new, size), old.count() - below(old, size.div_ceil(2)))
                }
            };
            let table = Table { new_hits, new_all: new.count(), old_hits, old_all: old.count() };
            (size, table)
        })
        .max_by(|(_, a), (_, b)| {
            (a.new_share() - a.old_share()).total_cmp(&(b.new_share() - b.old_share()))
        })
}

fn words(sides: &Sides<'_>, change: Change, size: u64, table: Table, p: f64) -> String {
    let (than, old_size) = match change {
        Change::Smaller => ("below", 2 * size),
        Change::Larger => ("of at least", size.div_ceil(2)),
    };
    format!(
        "answer sizes: {} of the answers {than} {} on {}, {} {than} {} on {}; {}",
        percent(table.new_share()),
        bytes(size),
        sides.new.release,
        percent(table.old_share()),
        bytes(old_size),
        sides.old.release,
        chance(p),
    )
}
