//! The steps of a deployment in words: which are done, what is waited for, what both sides do.
//!
//! Pure: values in, lines out. Shown by `deployment`.

use ark_model::api::{DeploymentView, RolloutView, SideTraffic, StepState};
use ark_model::judgement::{Judgement, Verdict};
use ark_model::rollout::AsksFor;
use ark_model::{DeploymentState, ReleaseNumber};
use jiff::Timestamp;

use super::Style;
use super::numbers::count;
use super::times::{age, between_ms, length};

/// Steps shown at once; of more, those around the one it is at.
const STEPS_SHOWN: usize = 14;
/// Of these, so many are done.
const DONE_SHOWN: usize = 5;

/// How a step stands, as a sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    Done,
    Current,
    Ahead,
    Bad,
}

impl Mark {
    pub(crate) fn shown(self, style: Style) -> String {
        match self {
            Self::Done => style.good("✓"),
            Self::Current => "▸".to_owned(),
            Self::Ahead => " ".to_owned(),
            Self::Bad => style.bad("✗"),
        }
    }
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StepLine {
    pub(crate) mark: Mark,
    pub(crate) words: String,
    pub(crate) facts: String,
}

/// All steps, or those around the one it is at.
pub(crate) fn steps(view: &DeploymentView, now: Timestamp) -> Vec<StepLine> {
    let Some(rollout) = &view.rollout else { return Vec::new() };
    let current = rollout.step.saturating_sub(1) as usize;
    let first = match rollout.steps.len() > STEPS_SHOWN {
        true => {
            let last = rollout.steps.len() - STEPS_SHOWN;
            current.saturating_sub(DONE_SHOWN).min(last)
        }
        false => 0,
    };
    let shown = rollout.steps.iter().enumerate().skip(first).take(STEPS_SHOWN);
    shown
        .map(|(index, step)| {
            let judged = rollout.judgements.iter().rfind(|j| j.step == index).map(|j| &j.judgement);
            let failed = judged.is_some_and(|j| j.verdict == Verdict::Fail);
            let mark = match step.state {
                _ if failed => Mark::Bad,
                StepState::Done => Mark::Done,
                StepState::Current if view.state == DeploymentState::Stepping => Mark::Current,
                StepState::Current | StepState::Ahead => Mark::Ahead,
            };
            let facts = match (judged, &step.approved_by, mark) {
                (Some(judgement), _, Mark::Current) => {
                    let found = match judgement.verdict {
                        // Requests go on; the next look is at so many.
                        Verdict::Inconclusive => format!("last look: {}", judgement.words(2)),
                        Verdict::Pass | Verdict::Fail => verdict(judgement),
                    };
                    format!("{}   {found}", current_facts(view, rollout, now))
                }
                (Some(judgement), ..) => verdict(judgement),
                (None, Some(by), _) => format!("approved by {by}"),
                (None, None, Mark::Current) => current_facts(view, rollout, now),
                (None, None, _) => String::new(),
            };
            StepLine { mark, words: step.words.clone(), facts }
        })
        .collect()
}

/// `pass: nothing worth stopping for in the requests of both sides, ...`.
pub(crate) fn verdict(judgement: &Judgement) -> String {
    let word = match judgement.verdict {
        Verdict::Pass => "pass",
        Verdict::Fail => "fail",
        Verdict::Inconclusive => "cannot say yet",
    };
    format!("{word}: {}", judgement.words(2))
}

fn current_facts(view: &DeploymentView, rollout: &RolloutView, now: Timestamp) -> String {
    let since = age(between_ms(rollout.since, now));
    match &rollout.asks {
        _ if rollout.paused.is_some() => format!("paused, for {since} in this step"),
        Some(_) => format!("for {since}"),
        None if !rollout.in_force && view.state == DeploymentState::Stepping => {
            "on its way to the gateway".to_owned()
        }
        None => format!("for {since}"),
    }
}

/// What both sides do, what a person is asked, how long the old side is kept.
pub(crate) fn facts(view: &DeploymentView, now: Timestamp) -> Vec<(&'static str, String)> {
    let Some(rollout) = &view.rollout else { return Vec::new() };
    let mut facts = Vec::new();
    let percent = rollout.percent;
    let new = side(view.release, percent, &rollout.new);
    facts.push(match view.base {
        Some(base) => {
            ("traffic", format!("{new}   {}", side(base, 100 - percent.min(100), &rollout.old)))
        }
        None => ("traffic", new),
    });
    if let Some(paused) = &rollout.paused {
        let why = paused.reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
        facts.push(("paused", format!("by {}{why}", paused.by)));
    }
    if let Some(asks) = &rollout.asks {
        facts.push(("your word", question(view, asks.what)));
    }
    if let Some(until) = rollout.keep_until {
        let left = length(between_ms(now, until));
        let base = view.base.map_or("the old side".to_owned(), |base| base.to_string());
        let back = format!("ark abort {} -e {}", view.app, view.env);
        facts.push(("old side", format!("{base} is kept for {left} more; back at once: {back}")));
    }
    facts
}

fn side(release: ReleaseNumber, percent: u8, traffic: &SideTraffic) -> String {
    if traffic.requests == 0 && percent == 0 {
        return format!("{release} 0 %");
    }
    if traffic.requests == 0 {
        return format!("{release} {percent} %, no requests yet");
    }
    let p99 =
        traffic.p99_ms.map_or_else(String::new, |ms| format!(", p99 {}", length(ms.ceil() as u64)));
    let (requests, failed) = (count(traffic.requests), count(traffic.failed));
    format!("{release} {percent} %, {failed} of {requests} failed{p99}")
}

/// What a person is asked, and the commands that answer.
pub(crate) fn question(view: &DeploymentView, what: AsksFor) -> String {
    let place = format!("{} -e {}", view.app, view.env);
    match what {
        AsksFor::Approval => format!("ark approve {place}     or: ark abort {place}"),
        AsksFor::Promotion => format!("ark promote {place}     or: ark abort {place}"),
        AsksFor::Judgement => {
            format!("the judge cannot say; ark promote {place}     or: ark abort {place}")
        }
        AsksFor::Resumption => format!("ark resume {place}     or: ark abort {place}"),
    }
}

/// `step 3 of 7, 25 %`, for logs.
pub(crate) fn line(view: &DeploymentView) -> Option<String> {
    let rollout = view.rollout.as_ref()?;
    let all = rollout.steps.len();
    let at = (rollout.step as usize).min(all);
    let words = &rollout.steps.get(at.saturating_sub(1))?.words;
    Some(format!("step {at} of {all} ({words}), {} % of the traffic", rollout.percent))
}
