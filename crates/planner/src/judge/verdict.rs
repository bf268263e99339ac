//! The verdict: every comparison made, each at its part of the allowed chance of a false alarm.

use ark_model::histogram::Histogram;
use ark_model::judgement::{Finding, Judgement, Measure, Outcome, SideSeen, Verdict};
use jiff::Timestamp;

use super::aligned::Aligned;
use super::counts::Table;
use super::latency;
use super::rates::{self, Rate};
use super::settings::{Look, Settings};
use super::sizes;
use super::window::{SideWindow, Slice};
use super::words::grouped;

/// Judges the new side against the old one, both measured over the same time.
pub fn verdict(
    new: &SideWindow,
    old: &SideWindow,
    look: Look,
    settings: &Settings,
    at: Timestamp,
) -> Judgement {
    let sides = Sides { new, old, new_sum: new.sum(), old_sum: old.sum() };
    let mut findings = match sides.too_few(settings) {
        Some(finding) => vec![finding],
        None => sides.compare(settings.allowance(look), settings),
    };
    findings.sort_by_key(|f| match f.outcome {
        Outcome::Worse => 0,
        Outcome::TooFew => 1,
        Outcome::Tolerated => 2,
        Outcome::Alike => 3,
    });
    let verdict = match (findings.first().map(|f| f.outcome), look) {
        (Some(Outcome::Worse), _) => Verdict::Fail,
        (Some(Outcome::TooFew), _) | (_, Look::Early { .. }) => Verdict::Inconclusive,
        (Some(Outcome::Tolerated | Outcome::Alike) | None, Look::Last) => Verdict::Pass,
    };
    Judgement {
        at,
        verdict,
        new: SideSeen { release: new.release, requests: sides.new_sum.requests() },
        old: SideSeen { release: old.release, requests: sides.old_sum.requests() },
        findings,
    }
}

/// Both sides, with their sums.
pub(super) struct Sides<'a> {
    pub(super) new: &'a SideWindow,
    pub(super) old: &'a SideWindow,
    pub(super) new_sum: Slice,
    pub(super) old_sum: Slice,
}

impl Sides<'_> {
    fn too_few(&self, settings: &Settings) -> Option<Finding> {
        let (new, old) = (self.new_sum.requests(), self.old_sum.requests());
        (new.min(old) < settings.requests_min).then(|| Finding {
            measure: Measure::Requests,
            outcome: Outcome::TooFew,
            p_value: None,
            words: format!(
                "too few requests to judge: {} on {}, {} on {}; {} on each side are needed",
                grouped(new),
                self.new.release,
                grouped(old),
                self.old.release,
                grouped(settings.requests_min),
            ),
        })
    }

    fn compare(&self, allowed: f64, settings: &Settings) -> Vec<Finding> {
        let mut findings: Vec<Finding> = Rate::ALL
            .into_iter()
            .filter_map(|rate| rates::compare(self, rate, allowed, settings))
            .collect();
        findings.extend(latency::compare(self, allowed, settings));
        findings.extend(sizes::compare(self, allowed, settings));
        findings
    }

    /// How many of all requests `of` counts, on both sides.
    pub(super) fn table(&self, of: impl Fn(&Slice) -> u64) -> Table {
        Table {
            new_hits: of(&self.new_sum),
            new_all: self.new_sum.requests(),
            old_hits: of(&self.old_sum),
            old_all: self.old_sum.requests(),
        }
    }

    /// Histograms of both sides, in their slices.
    pub(super) fn aligned(&self, of: fn(&Slice) -> &Histogram) -> Aligned {
        let new: Vec<&Histogram> = self.new.slices.iter().map(of).collect();
        let old: Vec<&Histogram> = self.old.slices.iter().map(of).collect();
        Aligned::new(&new, &old)
    }

    /// Hits and others of both sides as a histogram of two buckets, in their slices.
    pub(super) fn aligned_hits(&self, of: impl Fn(&Slice) -> u64) -> Aligned {
        let two = |slice: &Slice| {
            let hits = of(slice);
            let mut histogram = Histogram::default();
            histogram.add(0, slice.requests().saturating_sub(hits));
            histogram.add(1, hits);
            histogram
        };
        let new: Vec<Histogram> = self.new.slices.iter().map(two).collect();
        let old: Vec<Histogram> = self.old.slices.iter().map(two).collect();
        Aligned::new(&new.iter().collect::<Vec<_>>(), &old.iter().collect::<Vec<_>>())
    }
}

/// What comes out of a difference of this chance, of which so much is allowed.
pub(super) fn outcome(p: f64, allowed: f64, is_worth_stopping: bool) -> Outcome {
    match (p <= allowed, is_worth_stopping) {
        (true, true) => Outcome::Worse,
        (true, false) => Outcome::Tolerated,
        (false, _) => Outcome::Alike,
    }
}
