//! Is the new side slower: at the median, the 90th, the 99th percentile, or as a whole?

use ark_model::histogram::{BUCKETS, Histogram};
use ark_model::judgement::{Finding, Measure, Outcome};

use super::aligned::Aligned;
use super::counts::{Table, fisher_more};
use super::quantiles::{Interval, interval};
use super::ranks::{Scores, chance_above, p_larger};
use super::settings::{Settings, part};
use super::verdict::{Sides, outcome};
use super::words::{chance, change, duration, percent};

/// Values that each side must have for its latencies to be compared.
const COUNT_MIN: u64 = 50;

/// Compares. Empty when a side has next to no latencies: it serves streams.
pub(super) fn compare(sides: &Sides<'_>, allowed: f64, settings: &Settings) -> Vec<Finding> {
    let (new, old) = (&sides.new_sum.latency_us, &sides.old_sum.latency_us);
    if new.count().min(old.count()) < COUNT_MIN {
        return Vec::new();
    }
    let aligned = sides.aligned(|s| &s.latency_us);
    let quantiles = [
        (Measure::LatencyP50, 0.50, part::LATENCY_P50),
        (Measure::LatencyP90, 0.90, part::LATENCY_P90),
        (Measure::LatencyP99, 0.99, part::LATENCY_P99),
    ];
    let mut findings: Vec<Finding> = quantiles
        .into_iter()
        .filter_map(|(measure, share, part)| {
            let (new, old) = (interval(new, share)?, interval(old, share)?);
            let p = match measure {
                Measure::LatencyP99 => p_tail(&aligned),
                _ => p_above(&aligned, share),
            };
            let is_reached = settings.latency.is_reached(old.value, new.value);
            let outcome = outcome(p, allowed * part, is_reached);
            let words = quantile_words(sides, share, new, old, p);
            Some(Finding { measure, outcome, p_value: Some(p), words })
        })
        .collect();
    findings.extend(whole(sides, &aligned, allowed, settings));
    findings
}

/// The chance that so many of the new side's values, or more, are above the quantile of both sides
/// together, when the sides are equal (the quantile test: R. A. Johnson and others, Technometrics
/// 29, 1987; exact by Fisher).
fn p_above(aligned: &Aligned, share: f64) -> f64 {
    let whole = &aligned.whole;
    let (new_all, old_all) = (whole.new_count(), whole.old_count());
    let wanted = share * (new_all + old_all) as f64;
    let mut below = 0;
    let first_above = (0..BUCKETS)
        .find(|b| {
            below += whole.new[*b] + whole.old[*b];
            below as f64 >= wanted
        })
        .map_or(BUCKETS, |b| b + 1);
    let is_above: Vec<f64> =
        (0..BUCKETS).map(|b| if b >= first_above { 1.0 } else { 0.0 }).collect();
    let table = Table {
        new_hits: whole.new[first_above..].iter().sum(),
        new_all,
        old_hits: whole.old[first_above..].iter().sum(),
        old_all,
    };
    fisher_more(table.thinned(aligned.clustering(&is_above)))
}

/// Values of the new side that are to be expected above each place where its tail is asked.
const TAIL_EXPECTED: [f64; 4] = [20.0, 10.0, 5.0, 2.5];

/// [`p_above`] the tail at several places, each of which has its part: a tail that grew by a third
/// shows most where next to nothing of the old side is left.
fn p_tail(aligned: &Aligned) -> f64 {
    let new_all = aligned.whole.new_count() as f64;
    let shares = TAIL_EXPECTED.iter().map(|expected| 1.0 - (expected / new_all).min(0.05));
    let least = shares.map(|share| p_above(aligned, share)).fold(1.0, f64::min);
    (least * TAIL_EXPECTED.len() as f64).min(1.0)
}

/// The latencies as a whole, by ranks: the test that says most decides.
fn whole(
    sides: &Sides<'_>,
    aligned: &Aligned,
    allowed: f64,
    settings: &Settings,
) -> Option<Finding> {
    let p = Scores::ALL.into_iter().map(|s| p_larger(aligned, s)).fold(1.0, f64::min);
    // What the rank tests see must also be large enough somewhere.
    let (new, old) = (&sides.new_sum.latency_us, &sides.old_sum.latency_us);
    let (share, from, to) = most_changed(old, new)?;
    let is_reached = settings.latency.is_reached(from, to);
    let outcome = outcome(p, allowed * part::LATENCY_RANKS, is_reached);
    let words = match outcome {
        Outcome::Worse => format!(
            "latency as a whole: a request takes longer on {} than on {} in {} of all pairs; most at p{:.0}, {} against {} ({}); {}",
            sides.new.release,
            sides.old.release,
            percent(chance_above(&aligned.whole)),
            share * 100.0,
            duration(to),
            duration(from),
            change(from, to, "slower", "faster"),
            chance(p),
        ),
        _ => format!(
            "latency as a whole: a request takes longer on {} than on {} in {} of all pairs; {}",
            sides.new.release,
            sides.old.release,
            percent(chance_above(&aligned.whole)),
            chance(p),
        ),
    };
    Some(Finding { measure: Measure::Latency, outcome, p_value: Some(p), words })
}

/// The share at which the quantiles differ most by ratio, with both.
fn most_changed(old: &Histogram, new: &Histogram) -> Option<(f64, f64, f64)> {
    [0.5, 0.75, 0.9, 0.95, 0.99]
        .into_iter()
        .filter_map(|share| Some((share, old.quantile(share)?, new.quantile(share)?)))
        .max_by(|a, b| (a.2 / a.1.max(1.0)).total_cmp(&(b.2 / b.1.max(1.0))))
}

fn quantile_words(sides: &Sides<'_>, share: f64, new: Interval, old: Interval, p: f64) -> String {
    let side = |i: Interval| {
        format!("{} ({} to {})", duration(i.value), duration(i.low), duration(i.high))
    };
    format!(
        "p{:.0} latency: {} on {}, {} on {}, {}; {}",
        share * 100.0,
        side(new),
        sides.new.release,
        side(old),
        sides.old.release,
        change(old.value.max(1.0), new.value, "slower", "faster"),
        chance(p),
    )
}
