//! Shares of requests that ended in some way: errors, client errors, redirects, clients gone.

use ark_model::histogram::BUCKETS;
use ark_model::judgement::{Finding, Measure, Outcome};

use super::counts::{Table, boschloo_more};
use super::settings::{Effect, Settings, part};
use super::verdict::{Sides, outcome};
use super::window::Slice;
use super::words::{chance, grouped, percent};

/// A share, and the direction in which it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rate {
    MoreErrors,
    MoreClientErrors,
    MoreClientsGone,
    MoreRedirects,
    FewerRedirects,
    FewerClientErrors,
}

impl Rate {
    pub(super) const ALL: [Self; 6] = [
        Self::MoreErrors,
        Self::MoreClientErrors,
        Self::MoreClientsGone,
        Self::MoreRedirects,
        Self::FewerRedirects,
        Self::FewerClientErrors,
    ];

    fn measure(self) -> Measure {
        match self {
            Self::MoreErrors => Measure::Errors,
            Self::MoreClientErrors => Measure::ClientErrors,
            Self::MoreClientsGone => Measure::ClientGone,
            Self::MoreRedirects | Self::FewerRedirects | Self::FewerClientErrors => {
                Measure::StatusMix
            }
        }
    }

    fn hits(self, slice: &Slice) -> u64 {
        match self {
            Self::MoreErrors => slice.errors(),
            Self::MoreClientErrors | Self::FewerClientErrors => slice.client_errors,
            Self::MoreClientsGone => slice.client_gone,
            Self::MoreRedirects | Self::FewerRedirects => slice.redirects,
        }
    }

    fn is_more(self) -> bool {
        !matches!(self, Self::FewerRedirects | Self::FewerClientErrors)
    }

    fn part(self) -> f64 {
        match self {
            Self::MoreErrors => part::ERRORS,
            Self::MoreClientErrors => part::CLIENT_ERRORS,
            Self::MoreClientsGone => part::CLIENT_GONE,
            Self::MoreRedirects | Self::FewerRedirects | Self::FewerClientErrors => {
                part::STATUS_MIX
            }
        }
    }

    fn effect(self, settings: &Settings) -> Effect {
        match self {
            Self::MoreErrors => settings.errors,
            Self::MoreClientErrors => settings.client_errors,
            Self::MoreClientsGone => settings.client_gone,
            Self::MoreRedirects | Self::FewerRedirects | Self::FewerClientErrors => {
                settings.status_mix
            }
        }
    }
}

/// Compares; `None` when there is nothing to say (neither side has any, or the other direction says
/// it).
pub(super) fn compare(
    sides: &Sides<'_>,
    rate: Rate,
    allowed: f64,
    settings: &Settings,
) -> Option<Finding> {
    let table = sides.table(|s| rate.hits(s).min(s.requests()));
    let (old, new) = (table.old_share(), table.new_share());
    let effect = rate.effect(settings);
    let (asked, is_reached) = match rate.is_more() {
        true => (table, effect.is_reached(old, new)),
        false => (table.complement(), effect.is_reached(new, old)),
    };
    // Errors are said even when there are none: it is the first thing a reader asks.
    let says_always = rate == Rate::MoreErrors;
    if !says_always && (!is_reached || table.new_hits + table.old_hits == 0) {
        return None;
    }
    let p = boschloo_more(asked.thinned(clustering(sides, rate)));
    let outcome = outcome(p, allowed * rate.part(), is_reached);
    if !says_always && outcome == Outcome::Alike {
        return None;
    }
    Some(Finding {
        measure: rate.measure(),
        outcome,
        p_value: Some(p),
        words: words(sides, rate, table, p),
    })
}

/// How many requests say as much as one independent one would.
fn clustering(sides: &Sides<'_>, rate: Rate) -> f64 {
    let mut is_hit = vec![0.0; BUCKETS];
    is_hit[1] = 1.0;
    sides.aligned_hits(|s| rate.hits(s)).clustering(&is_hit)
}

fn words(sides: &Sides<'_>, rate: Rate, t: Table, p: f64) -> String {
    let cut = |s: &Slice| s.cut > 0;
    let what = match rate {
        Rate::MoreErrors if cut(&sides.new_sum) || cut(&sides.old_sum) => "5xx and cut",
        Rate::MoreErrors => "5xx",
        Rate::MoreClientErrors => "4xx",
        Rate::MoreClientsGone => "given up by the client",
        Rate::MoreRedirects => "3xx, more than before",
        Rate::FewerRedirects => "3xx, fewer than before",
        Rate::FewerClientErrors => "4xx, fewer than before",
    };
    let side = |hits: u64, all: u64, unit: &str, share: f64| match hits {
        0 => format!("0 of {}{unit}", grouped(all)),
        _ => format!("{} of {}{unit} ({})", grouped(hits), grouped(all), percent(share)),
    };
    let new = side(t.new_hits, t.new_all, " requests", t.new_share());
    let old = side(t.old_hits, t.old_all, "", t.old_share());
    let tail = match t.new_hits + t.old_hits {
        0 => String::new(),
        _ => format!("; {}", chance(p)),
    };
    format!("{what}: {new} on {}, {old} on {}{tail}", sides.new.release, sides.old.release)
}
