//! The watch window after a deployment's end: the judge looks on, and what turns bad while the
//! release before was good is rolled back. A release that completes its window is known good.
//!
//! There is no old side beside the new one any more: it is compared with what was measured of the
//! old one during the deployment. Latencies change with the load, so only errors and the mix of
//! answers lead back.

use ark_model::deployment::{DeploymentKind, Watch};
use ark_model::judgement::{Judgement, Measure, Outcome, Verdict};
use ark_model::rollout::WatchEnd;
use ark_model::{Deployment, ReleaseNumber};
use jiff::Timestamp;

use std::time::Duration;

use crate::judge::{Look, Settings, SideWindow, early_look_due, verdict};
use crate::observed::window;
use crate::rollout::Input;
use crate::time::after;

/// How often measurements are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The most releases remembered as good.
pub const GOOD_MAX: usize = 50;
/// A release with fewer errors than this share was good, even if it never completed a window.
const GOOD_ERRORS_MAX: f64 = 0.05;

/// What becomes of a watch window.
#[derive(Debug, Clone, PartialEq)]
pub enum Move {
    /// It is open, as it now stands.
    Open(Watch),
    /// It ends; [`Watch::end`] says how.
    End(Watch),
}

/// The window of a deployment that has just succeeded.
pub(crate) fn begin(input: &Input<'_>, d: &Deployment) -> Move {
    let length = input.new_policy.map_or(Duration::ZERO, |policy| policy.watch);
    let watch = Watch {
        deployment: d.id,
        release: d.release,
        // What a rollback left was left for a reason.
        base: d.base.filter(|base| *base != d.release && d.kind == DeploymentKind::Deploy),
        since: input.now,
        until: after(input.now, length),
        measured_from: d.started_at.unwrap_or(d.created_at),
        looks: 0,
        judgement: None,
        end: None,
    };
    match length.is_zero() {
        true => Move::End(Watch { end: Some(WatchEnd::Completed), ..watch }),
        false => Move::Open(watch),
    }
}

/// Ends a window before its time.
pub(crate) fn cut_short(watch: &Watch) -> Move {
    Move::End(Watch { end: Some(WatchEnd::CutShort), ..watch.clone() })
}

/// The next step of an open window, and when to look again.
pub(crate) fn plan(input: &Input<'_>, watch: &Watch) -> (Option<Move>, Timestamp) {
    let now = input.now;
    if input.app.live != Some(watch.release) {
        return (Some(cut_short(watch)), now);
    }
    let over = now >= watch.until;
    let wake_at = after(now, LOOK_EVERY).min(watch.until);
    let Some(base) = watch.base else {
        let end = over.then(|| Move::End(ended(watch, None, WatchEnd::Completed)));
        return (end, watch.until.max(now));
    };
    let settings = Settings::default();
    let of = |release: ReleaseNumber, from, before| window(input.measured, release, from, before);
    let new = of(watch.release, watch.since, Timestamp::MAX);
    let due = early_look_due(&settings, watch.looks, new.sum().requests());
    if !over && !due {
        return (None, wake_at);
    }
    let old = of(base, watch.measured_from, watch.since);
    let look = if over { Look::Last } else { Look::Early { before: watch.looks } };
    let judgement = verdict(&new, &old, look, &settings, now);
    let bad = judgement.verdict == Verdict::Fail && leads_back(&judgement);
    let what = match (bad, over) {
        (true, _) if input.app.good.contains(&base) || was_good(&old) => {
            Move::End(ended(watch, Some(judgement), WatchEnd::RolledBack))
        }
        (true, _) => Move::End(ended(watch, Some(judgement), WatchEnd::FoundBad)),
        (false, true) => Move::End(ended(watch, Some(judgement), WatchEnd::Completed)),
        (false, false) => Move::Open(Watch {
            looks: watch.looks + 1,
            judgement: Some(judgement),
            ..watch.clone()
        }),
    };
    (Some(what), wake_at)
}

fn ended(watch: &Watch, judgement: Option<Judgement>, end: WatchEnd) -> Watch {
    Watch {
        judgement: judgement.or_else(|| watch.judgement.clone()),
        end: Some(end),
        ..watch.clone()
    }
}

/// Whether what is worse is more than slowness.
fn leads_back(judgement: &Judgement) -> bool {
    judgement.findings.iter().any(|f| match f.measure {
        Measure::Errors | Measure::ClientErrors | Measure::StatusMix => f.outcome == Outcome::Worse,
        Measure::Requests
        | Measure::ClientGone
        | Measure::LatencyP50
        | Measure::LatencyP90
        | Measure::LatencyP99
        | Measure::Latency
        | Measure::AnswerSize => false,
    })
}

fn was_good(old: &SideWindow) -> bool {
    let sum = old.sum();
    (sum.errors() as f64) <= sum.requests() as f64 * GOOD_ERRORS_MAX
}
