//! The verdict: every comparison made, each at its part of the allowed chance of a false alarm.

use ark_model::judgement::{Finding, Judgement, Measure, Outcome, SideSeen, Verdict};
use jiff::Timestamp;

use super::counts::{Table, fisher_more};
use super::settings::{Effect, Look, Settings};
use super::window::{SideWindow, Slice};

/// Judges the new side against the old one, both measured over the same time.
pub fn verdict(
    new: &SideWindow,
    old: &SideWindow,
    look: Look,
    settings: &Settings,
    at: Timestamp,
) -> Judgement {
    let (new_sum, old_sum) = (new.sum(), old.sum());
    let sides = Sides { new, old, new_sum, old_sum };
    let findings = match sides.too_few(settings) {
        Some(finding) => vec![finding],
        None => sides.compare(look, settings),
    };
    let has = |outcome| findings.iter().any(|f: &Finding| f.outcome == outcome);
    let verdict = match look {
        _ if has(Outcome::Worse) => Verdict::Fail,
        _ if has(Outcome::TooFew) => Verdict::Inconclusive,
        Look::Early { .. } => Verdict::Inconclusive,
        Look::Last => Verdict::Pass,
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
struct Sides<'a> {
    new: &'a SideWindow,
    old: &'a SideWindow,
    new_sum: Slice,
    old_sum: Slice,
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

    fn compare(&self, look: Look, settings: &Settings) -> Vec<Finding> {
        let errors = Table {
            new_hits: self.new_sum.errors(),
            new_all: self.new_sum.requests(),
            old_hits: self.old_sum.errors(),
            old_all: self.old_sum.requests(),
        };
        vec![self.more(Measure::Errors, "5xx", errors, settings.errors, settings.allowance(look))]
    }

    fn more(
        &self,
        measure: Measure,
        what: &str,
        t: Table,
        effect: Effect,
        allowed: f64,
    ) -> Finding {
        let p = fisher_more(t);
        let outcome = match (p <= allowed, effect.is_reached(t.old_share(), t.new_share())) {
            (true, true) => Outcome::Worse,
            (true, false) => Outcome::Tolerated,
            (false, _) => Outcome::Alike,
        };
        let words = format!(
            "{what}: {} of {} requests ({}) on {}, {} of {} ({}) on {}; chance {}",
            grouped(t.new_hits),
            grouped(t.new_all),
            percent(t.new_share()),
            self.new.release,
            grouped(t.old_hits),
            grouped(t.old_all),
            percent(t.old_share()),
            self.old.release,
            chance(p),
        );
        Finding { measure, outcome, p_value: Some(p), words }
    }
}

/// `19400` as `19,400`.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn percent(share: f64) -> String {
    let percent = share * 100.0;
    match percent {
        0.0 => "0 %".into(),
        p if p < 0.1 => format!("{p:.3} %"),
        p if p < 10.0 => format!("{p:.1} %"),
        p => format!("{p:.0} %"),
    }
}

fn chance(p: f64) -> String {
    match p {
        p if p < 1e-9 => "below 1 in 10^9".into(),
        p if p < 0.1 => format!("1 in {}", grouped((1.0 / p).round() as u64)),
        p => format!("{p:.2}"),
    }
}
