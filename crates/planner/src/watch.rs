//! The watch window after a deployment's end: the judge looks on, and what turns bad while the
//! release before was good is rolled back. A release that completes its window is known good.
//!
//! There is no old side beside the new one any more: it is compared with what was measured of the
//! old one during the deployment. Latencies change with the load, so only errors and the mix of
//! answers lead back; and answers from 400 to 499 do so only as far as they take the place of others.
//! A release that refuses what it answered before has as many requests as before. A crawler that asks
//! for what never was comes on top, and when it leaves the app has fewer.
//!
//! Of a release most of whose answers are errors nothing need be compared, and so few requests are enough; of
//! one of which no instance stays up, none at all: what is asked of it then reaches no release. A release that
//! had too few to be compared and many errors among them, or whose instances keep ending, is not known good
//! either.
//!
//! While an old side is kept after the switch, the same looks are made, and what is bad goes back to it.
//!
//! The last look is at the whole window: what the gateway has counted and not yet said (the server was
//! away at the end, say) is waited for. A release of which too much is missing for a verdict is not known
//! good, however quiet its window was.

use ark_model::deployment::{DeploymentKind, Watch};
use ark_model::judgement::{Finding, Judgement, Measure, Outcome, Verdict, grouped};
use ark_model::rollout::WatchEnd;
use ark_model::{Deployment, ReleaseNumber};
use jiff::Timestamp;

use std::time::Duration;

use crate::failures::Down;
use crate::judge::{Look, Settings, SideWindow, early_look_due, verdict};
use crate::observed::window;
use crate::rollout::Input;
use crate::time::{after, since};

/// How often measurements are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long what is missing of a window is waited for after its end, and after the server's start.
const MISSING_MAX: Duration = Duration::from_secs(60);
/// Time between two looks whether it has come.
const MISSING_EVERY: Duration = Duration::from_secs(1);
/// A deployment is measured from its first round on, which comes so soon after its beginning.
const FIRST_ROUND: Duration = Duration::from_secs(5);
/// The most releases remembered as good.
pub const GOOD_MAX: usize = 50;
/// Requests from which on most of a release's answers tell something of it.
const PLAIN_MIN: u64 = 20;
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
pub(crate) fn plan(
    input: &Input<'_>,
    watch: &Watch,
    down: Option<Down>,
) -> (Option<Move>, Timestamp) {
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
    let evidence = evidence(input, watch);
    let over = match evidence {
        Evidence::StillToCome if over => return (None, after(now, MISSING_EVERY)),
        Evidence::StillToCome | Evidence::Short | Evidence::Lost | Evidence::Whole => over,
    };
    let Some(looked) = look(input, watch, base, (over, down)) else { return (None, wake_at) };
    let what = match (looked.is_bad, over) {
        (true, _) if looked.base_was_good => {
            Move::End(ended(watch, Some(looked.judgement), WatchEnd::RolledBack))
        }
        (true, _) => Move::End(ended(watch, Some(looked.judgement), WatchEnd::FoundBad)),
        (false, true) => {
            let end = match (evidence, looked.judgement.verdict) {
                (Evidence::Short | Evidence::StillToCome, _) => WatchEnd::Unjudged,
                (Evidence::Lost, Verdict::Inconclusive) => WatchEnd::Unjudged,
                (Evidence::Whole, Verdict::Inconclusive) if !looked.has_few_errors => {
                    WatchEnd::Unjudged
                }
                // Its instances keep ending.
                (Evidence::Lost | Evidence::Whole, _) if input.app.failures > 0 => {
                    WatchEnd::Unjudged
                }
                (Evidence::Lost | Evidence::Whole, _) => WatchEnd::Completed,
            };
            Move::End(ended(watch, Some(looked.judgement), end))
        }
        (false, false) => Move::Open(Watch {
            looks: watch.looks + 1,
            judgement: Some(looked.judgement),
            ..watch.clone()
        }),
    };
    (Some(what), wake_at)
}

/// What a look found.
pub(crate) struct Looked {
    pub(crate) judgement: Judgement,
    /// Whether the release is to be left.
    pub(crate) is_bad: bool,
    /// Whether the one before was better.
    pub(crate) base_was_good: bool,
    has_few_errors: bool,
}

/// Looks at what there is of a window, when it is time to.
fn look(
    input: &Input<'_>,
    watch: &Watch,
    base: ReleaseNumber,
    (over, down): (bool, Option<Down>),
) -> Option<Looked> {
    let settings = Settings::default();
    let of = |release: ReleaseNumber, from, before| window(input.measured, release, from, before);
    let new = of(watch.release, watch.since, Timestamp::MAX);
    let old = of(base, watch.measured_from, watch.since);
    let old_is_known = old.sum().requests() >= PLAIN_MIN;
    let is_plain = is_plainly_bad(&new) && (was_good(&old) || !old_is_known);
    let due = early_look_due(&settings, watch.looks, new.sum().requests());
    if !over && !due && !is_plain && down.is_none() {
        return None;
    }
    let look = if over { Look::Last } else { Look::Early { before: watch.looks } };
    let judgement = verdict(&new, &old, look, &settings, input.now);
    let is_judged_bad =
        judgement.verdict == Verdict::Fail && leads_back(&judgement, callers(input, watch));
    let mut judgement = judgement;
    if is_plain && !is_judged_bad {
        said_plainly(&mut judgement, &new, &old);
    }
    if let Some(Down { failures }) = down {
        let words = format!("instances: none is up, {failures} failed in a row");
        fail(&mut judgement, Measure::Instances, words);
    }
    Some(Looked {
        judgement,
        is_bad: is_judged_bad || is_plain || down.is_some(),
        base_was_good: input.app.good.contains(&base) || (was_good(&old) && old_is_known),
        has_few_errors: was_good(&new),
    })
}

/// While the old side is kept after the switch: what was measured since, beside the old side before it. `looks`
/// were made before.
pub(crate) fn look_while_kept(
    input: &Input<'_>,
    d: &Deployment,
    base: ReleaseNumber,
    (since, looks): (Timestamp, u32),
    down: Option<Down>,
) -> Option<Looked> {
    let watch = Watch {
        deployment: d.id,
        release: d.release,
        base: Some(base),
        since,
        until: Timestamp::MAX,
        measured_from: d.started_at.unwrap_or(d.created_at),
        looks,
        judgement: None,
        end: None,
    };
    look(input, &watch, base, (false, down))
}

/// Most of what a release answers is errors: for that nothing need be compared.
fn is_plainly_bad(new: &SideWindow) -> bool {
    let sum = new.sum();
    sum.requests() >= PLAIN_MIN && sum.errors() >= sum.requests().div_ceil(2)
}

/// The judge had too little to compare, and there was no need to.
fn said_plainly(judgement: &mut Judgement, new: &SideWindow, old: &SideWindow) {
    let side = |window: &SideWindow, release: ReleaseNumber| {
        let sum = window.sum();
        format!("{} of {} on {release}", grouped(sum.errors()), grouped(sum.requests()))
    };
    let words = format!(
        "errors: {}, {}",
        side(new, judgement.new.release),
        side(old, judgement.old.release)
    );
    fail(judgement, Measure::Errors, words);
}

/// What the judge found of this measure gives way to what is plain.
fn fail(judgement: &mut Judgement, measure: Measure, words: String) {
    judgement.verdict = Verdict::Fail;
    judgement.findings.retain(|f| f.measure != measure);
    let outcome = Outcome::Worse;
    judgement.findings.push(Finding { measure, outcome, p_value: None, words });
}

/// What there is of the measurements that a watch window is judged by, at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Evidence {
    /// All of it. It may still be too little for a verdict: an app that is hardly asked for anything.
    Whole,
    /// Some was lost with a server, on one side or the other.
    Lost,
    /// The gateway has not yet said what it counted up to the end.
    StillToCome,
    /// It never said it.
    Short,
}

fn evidence(input: &Input<'_>, watch: &Watch) -> Evidence {
    let portless = !input.seen.is_empty() && input.seen.iter().all(|s| !s.has_ports);
    let patience = after(watch.until.max(input.since), MISSING_MAX);
    match input.measured_until >= watch.until {
        // Nothing is ever counted of it.
        _ if portless => Evidence::Whole,
        false if input.now < patience => Evidence::StillToCome,
        false => Evidence::Short,
        true if input.measured_since > after(watch.measured_from, FIRST_ROUND) => Evidence::Lost,
        true => Evidence::Whole,
    }
}

fn ended(watch: &Watch, judgement: Option<Judgement>, end: WatchEnd) -> Watch {
    Watch {
        judgement: judgement.or_else(|| watch.judgement.clone()),
        end: Some(end),
        ..watch.clone()
    }
}

/// Who asks the app, beside who did before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Callers {
    /// The same, as far as can be told.
    AsBefore,
    /// Some came, or some left, whose requests are refused: there are so many requests more, or fewer.
    Others,
}

/// What an app was asked in some time.
#[derive(Debug, Clone, Copy)]
struct Asked {
    requests: u64,
    client_errors: u64,
    time: Duration,
}

/// Compares the app's requests in the window with those during the deployment, both sides together.
fn callers(input: &Input<'_>, watch: &Watch) -> Callers {
    let asked = |from: Timestamp, before: Timestamp| {
        let (mut requests, mut client_errors) = (0, 0);
        for release in watch.base.into_iter().chain([watch.release]) {
            let sum = window(input.measured, release, from, before).sum();
            requests += sum.requests();
            client_errors += sum.client_errors;
        }
        Asked { requests, client_errors, time: since(from, before) }
    };
    tell_callers(asked(watch.measured_from, watch.since), asked(watch.since, input.now))
}

/// Others ask when at least half of what there is more of refused requests, or less, is so of all; and
/// when the answers to everybody else go on, by at least half: who is refused may ask again and again.
fn tell_callers(before: Asked, now: Asked) -> Callers {
    if before.time.is_zero() || now.time.is_zero() {
        return Callers::AsBefore;
    }
    let rates = |asked: Asked| {
        let seconds = asked.time.as_secs_f64();
        (asked.requests as f64 / seconds, asked.client_errors as f64 / seconds)
    };
    let ((all_before, refused_before), (all, refused)) = (rates(before), rates(now));
    let more = refused - refused_before;
    let explained = (all - all_before) * more.signum() >= more.abs() / 2.0;
    let go_on = all - refused >= (all_before - refused_before) / 2.0;
    match more != 0.0 && explained && go_on {
        true => Callers::Others,
        false => Callers::AsBefore,
    }
}

/// Whether what is worse is more than slowness, and the release's own doing.
fn leads_back(judgement: &Judgement, callers: Callers) -> bool {
    judgement.findings.iter().any(|f| match f.measure {
        Measure::Errors | Measure::Instances => f.outcome == Outcome::Worse,
        Measure::ClientErrors | Measure::StatusMix => {
            f.outcome == Outcome::Worse && callers == Callers::AsBefore
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_requests_on_top_are_others_and_in_place_of_answers_are_not() {
        let asked = |requests: u64, client_errors: u64| Asked {
            requests: requests * 60,
            client_errors: client_errors * 60,
            time: Duration::from_secs(60),
        };
        let cases = [
            ("nothing changed", (100, 5), (100, 5), Callers::AsBefore),
            ("all is refused", (100, 5), (100, 100), Callers::AsBefore),
            ("one in ten is refused", (100, 5), (103, 15), Callers::AsBefore),
            ("it is refused and asked again", (100, 0), (120, 60), Callers::AsBefore),
            ("all is refused and asked again and again", (100, 0), (250, 250), Callers::AsBefore),
            ("a crawler", (100, 5), (180, 85), Callers::Others),
            ("a crawler in the evening", (100, 5), (160, 85), Callers::Others),
            ("a crawler has left", (180, 85), (100, 5), Callers::Others),
            ("all is let in", (100, 40), (100, 0), Callers::AsBefore),
            ("a quiet hour, and all is refused", (100, 5), (40, 40), Callers::AsBefore),
        ];
        for (name, before, now, expected) in cases {
            let (before, now) = (asked(before.0, before.1), asked(now.0, now.1));
            assert_eq!(tell_callers(before, now), expected, "{name}");
        }
        let never = Asked { time: Duration::ZERO, ..asked(0, 0) };
        assert_eq!(tell_callers(never, asked(100, 90)), Callers::AsBefore);
    }
}
