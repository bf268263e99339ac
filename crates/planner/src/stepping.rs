//! A deployment in steps: the new side runs beside the whole old one, and the traffic goes to it
//! step by step. Blue-green is the same with one step, to all of it.
//!
//! A share is raised only when enough instances of the new side serve for it, and a step counts
//! from the gateway's acknowledgement. The old side keeps its whole size until all traffic has
//! left it, so the way back needs no start.

use std::time::Duration;

use ark_model::definition::{Quantity, Step};
use ark_model::deployment::Rollout;
use ark_model::instance::StopCause;
use ark_model::judgement::{Judgement, Verdict};
use ark_model::rollout::{Asks, AsksFor, JUDGEMENTS_MAX, Share, StepJudgement};
use ark_model::{Deployment, Diagnosis, ReleaseNumber};
use jiff::Timestamp;

use crate::converge::{Action, Beside, Hold, Target, converge};
use crate::failures::{backoff, fatal, new_failures};
use crate::judge::{Look, Settings, SideWindow, early_look_due, verdict};
use crate::observed::window;
use crate::planted::Planted;
use crate::replacing::{proven_at, replacing};
use crate::rollout::{
    Input, Plan, Reason, Transition, aborted, earliest, fallback, new_plan, target, waited_for,
};
use crate::time::{after, since_ms};

/// How long a person is waited for; then the deployment is aborted.
pub const PERSON_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// How long the judge may be undecided before a person is asked.
pub const UNDECIDED_MAX: Duration = Duration::from_secs(5 * 60);
/// Time between two looks of a judge that could not say.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// Time between two looks whether the gateway has said what it counted.
const STILL_TO_COME: Duration = Duration::from_secs(1);
/// How often measurements are looked at while they are judged.
const MEASURED_EVERY: Duration = Duration::from_secs(5);

/// What a walk through the steps gives.
struct Walk<'a> {
    input: &'a Input<'a>,
    d: &'a Deployment,
    base: ReleaseNumber,
    rollout: Rollout,
    /// Instances of the new side when all traffic is on it.
    wanted: u32,
    /// Instances of the new side that serve.
    serving: u32,
    said: Vec<String>,
    wake_at: Option<Timestamp>,
    /// Why it goes back.
    reason: Option<Diagnosis>,
}

/// What became of the step it is at.
enum Outcome {
    Done,
    Waits,
    Asks(AsksFor),
}

pub(crate) fn stepping(input: &Input<'_>, d: &Deployment) -> Plan {
    let (Some(before), Some(base)) = (&d.rollout, d.base) else {
        // No record is ever written so; such a one still ends.
        return replacing(input, d);
    };
    let whole = target(input, Some(d.release), input.new_policy, StopCause::Replaced);
    let serving = input.seen.iter().filter(|s| s.release == d.release && s.is_serving());
    let mut walk = Walk {
        input,
        d,
        base,
        rollout: before.clone(),
        wanted: whole.count,
        serving: serving.count() as u32,
        said: Vec::new(),
        wake_at: None,
        reason: None,
    };
    walk.go();
    if walk.rollout.current().is_none() {
        walk.end_looks();
    }
    let moved = walk.keep_time();
    let t = Target { count: walk.count(), beside: Some(old_side(input, base)), ..whole.clone() };
    let c = converge(&t, input.seen, input.now);
    let mut plan = new_plan(c, walk.waiting_words(t.count));
    plan.failures = new_failures(input, d, &plan.actions);
    plan.backoff = backoff(input, Some(base), &plan.actions);
    plan.progressed |= moved;
    plan.wake_at = earliest(plan.wake_at, walk.wake_at);
    let Walk { rollout, said, reason, .. } = walk;
    let all_done = rollout.current().is_none();
    let limits = Limits::of(d, &rollout, &whole, input.now);
    if before != &rollout {
        plan.rollout = Some(rollout);
        plan.wake_at = Some(input.now);
    }
    plan.said = said;
    plan.wake_at = earliest(plan.wake_at, limits.wake_at());
    let reason = if let Some(abort) = &d.abort {
        Some(aborted(abort))
    } else if let Some(diagnosis) = reason {
        Some(Reason::Diagnosis(diagnosis))
    } else if all_done && input.now >= proven_at(input, d, &whole) {
        let keeping = !whole.policy.keep_old.is_zero();
        plan.transition = Some(Transition::Live { keeping });
        plan.wake_at = Some(input.now);
        return plan;
    } else if let Some(reason) = fatal(input, d, &plan.failures, t.count) {
        Some(reason)
    } else if all_done {
        plan.wake_at = earliest(plan.wake_at, [proven_at(input, d, &whole)]);
        None
    } else {
        limits.passed(&plan, input, d.release).map(Reason::Diagnosis)
    };
    if let Some(reason) = reason {
        // What was planned towards the new release is not begun; what ended has ended.
        plan.actions.retain(|a| matches!(a, Action::Ended { .. } | Action::Stop { .. }));
        plan.transition = Some(Transition::Return(reason));
        plan.wake_at = Some(input.now);
    }
    plan
}

/// The old side, whole.
fn old_side<'a>(input: &Input<'a>, base: ReleaseNumber) -> Beside<'a> {
    let policy = input.live_policy.unwrap_or_else(|| fallback());
    Beside {
        release: base,
        hold: Hold::At(policy.wanted(input.app.scale)),
        policy,
        start_after: input.app.start_after,
    }
}

impl Walk<'_> {
    /// Should what was measured be lost, with the server that gathered it and what it wrote down: the
    /// window that is judged begins anew, and the step it is at lasts longer by what was lost, so that
    /// the verdict rests on no less time than promised.
    fn measure_anew(&mut self) {
        let since = self.input.measured_since;
        let Some(from) = self.rollout.judged_from.filter(|from| *from < since) else { return };
        let judged = |s: &Step| matches!(s, Step::Analysis {});
        let sets_share = matches!(self.rollout.current(), Some(Step::Weight(_) | Step::Header(_)));
        if sets_share || !self.rollout.steps.iter().skip(self.rollout.step).any(judged) {
            return;
        }
        let lost = since.duration_since(from);
        self.rollout.judged_from = Some(since);
        self.rollout.since = self.rollout.since.checked_add(lost).unwrap_or(since);
        self.end_looks();
        self.said.push("what was measured is lost: measuring begins anew".to_owned());
    }

    /// Goes on over every step that is over.
    fn go(&mut self) {
        self.measure_anew();
        // Every round of it ends a step, and steps are limited by the definition.
        while let Some(step) = self.rollout.current().cloned() {
            if let Some(paused) = &self.rollout.paused {
                let since = paused.at;
                self.ask(AsksFor::Resumption, Some(since));
                self.look_early();
                return;
            }
            match self.at(&step) {
                Outcome::Done => self.next(),
                Outcome::Waits => {
                    self.rollout.asks = None;
                    self.look_early();
                    return;
                }
                Outcome::Asks(what) => {
                    self.ask(what, None);
                    self.look_early();
                    return;
                }
            }
            if self.reason.is_some() {
                return;
            }
        }
    }

    fn at(&mut self, step: &Step) -> Outcome {
        match step {
            Step::Weight(percent) => self.weight(*percent),
            Step::Pause(Some(time)) => {
                let due = after(self.rollout.since, time.get());
                self.wake(due);
                self.over_if(self.input.now >= due)
            }
            Step::Pause(None) => self.asks_unless_promoted(AsksFor::Promotion),
            Step::Approval {} => {
                let approved = self.rollout.approvals.iter().any(|a| a.step == self.rollout.step);
                match approved {
                    true => Outcome::Done,
                    false => self.asks_unless_promoted(AsksFor::Approval),
                }
            }
            Step::Scale(count) => {
                let count = match count {
                    Quantity::Count(count) => *count,
                    Quantity::Percent(_) => count.of_rounded_up(self.wanted),
                };
                self.rollout.scale = Some(count);
                self.done_when(self.serving >= self.count())
            }
            Step::Header(rule) => {
                if self.serving >= self.count() && !self.rollout.share.headers.contains(rule) {
                    self.rollout.share.headers.push(rule.clone());
                }
                if !self.rollout.share.headers.contains(rule) || !self.in_force() {
                    return Outcome::Waits;
                }
                self.judge_from_now();
                Outcome::Done
            }
            // Copies are in no count that is judged: what was measured before counts on.
            Step::Mirror(mirror) => {
                let wanted = (mirror.percent > 0).then(|| mirror.clone());
                if self.serving >= self.count() {
                    self.rollout.share.mirror.clone_from(&wanted);
                }
                let set = self.rollout.share.mirror == wanted;
                self.done_when(set && self.in_force())
            }
            Step::Analysis {} => self.analysis(),
        }
    }

    fn weight(&mut self, percent: u8) -> Outcome {
        let is_last = self.rollout.step + 1 == self.rollout.steps.len();
        let share = match is_last {
            true => Share { percent, ..Share::default() },
            false => Share { percent, ..self.rollout.share.clone() },
        };
        let hasty = self.input.planted == Some(Planted::PromoteWithoutHealth);
        if self.rollout.share != share && (self.serving >= self.count() || hasty) {
            self.rollout.share = share.clone();
        }
        if self.rollout.share != share || !self.in_force() {
            return Outcome::Waits;
        }
        self.judge_from_now();
        self.said.push(match percent {
            100 => format!("all of the traffic goes to {}", self.d.release),
            percent => format!("{percent} % of the traffic goes to {}", self.d.release),
        });
        Outcome::Done
    }

    /// The traffic is divided in another way from now on.
    fn judge_from_now(&mut self) {
        self.rollout.judged_from = Some(self.input.now);
        self.end_looks();
    }

    fn analysis(&mut self) -> Outcome {
        if self.promoted() {
            return Outcome::Done;
        }
        if self.input.now < self.rollout.since {
            self.wake(self.rollout.since);
            return Outcome::Waits;
        }
        let step = self.rollout.step;
        let last = self.rollout.judgements.iter().rfind(|j| j.step == step);
        let last = last.map(|j| j.judgement.at);
        let undecided_until = after(self.rollout.since, UNDECIDED_MAX);
        let waits = match self.input.now >= undecided_until {
            true => Outcome::Asks(AsksFor::Judgement),
            false => Outcome::Waits,
        };
        self.wake(undecided_until);
        let next = last.map(|at| after(at, LOOK_EVERY));
        if let Some(next) = next.filter(|at| self.input.now < *at) {
            self.wake(next);
            return waits;
        }
        // The server was away in the pause before, say, and what the gateway counted meanwhile is still
        // to come: a verdict without it would rest on less time than promised.
        if self.input.measured_until < self.rollout.since {
            self.wake(after(self.input.now, STILL_TO_COME));
            return waits;
        }
        self.wake(after(self.input.now, LOOK_EVERY));
        let (new, old) = self.windows();
        let judgement = verdict(&new, &old, Look::Last, &self.settings(), self.input.now);
        let found = judgement.verdict;
        let first = last.is_none();
        if found != Verdict::Inconclusive || first {
            self.say_judgement(&judgement);
        }
        self.record(judgement);
        match found {
            Verdict::Pass => {
                self.end_looks();
                Outcome::Done
            }
            Verdict::Fail => Outcome::Waits,
            Verdict::Inconclusive => waits,
        }
    }

    /// Before an analysis is over, what is clearly bad is stopped.
    fn look_early(&mut self) {
        let ahead = self.rollout.steps.iter().skip(self.rollout.step);
        let analysed = ahead.clone().any(|s| matches!(s, Step::Analysis {}));
        let in_analysis = matches!(self.rollout.current(), Some(Step::Analysis {}));
        if !analysed || self.rollout.judged_from.is_none() || self.reason.is_some() {
            return;
        }
        self.wake(after(self.input.now, MEASURED_EVERY));
        let (new, old) = self.windows();
        let settings = self.settings();
        if in_analysis || !early_look_due(&settings, self.rollout.looks, new.sum().requests()) {
            return;
        }
        let before = self.rollout.looks_before + self.rollout.looks;
        self.rollout.looks += 1;
        let judgement = verdict(&new, &old, Look::Early { before }, &settings, self.input.now);
        if judgement.verdict == Verdict::Fail {
            self.say_judgement(&judgement);
            self.record(judgement);
        }
    }

    fn end_looks(&mut self) {
        self.rollout.looks_before += self.rollout.looks;
        self.rollout.looks = 0;
    }

    fn settings(&self) -> Settings {
        let analyses = self.rollout.steps.iter().filter(|s| matches!(s, Step::Analysis {}));
        Settings { analyses: analyses.count() as u32, ..Settings::default() }
    }

    fn windows(&self) -> (SideWindow, SideWindow) {
        let from = self.rollout.judged_from.unwrap_or(self.rollout.since);
        let of = |release| window(self.input.measured, release, from, Timestamp::MAX);
        (of(self.d.release), of(self.base))
    }

    fn say_judgement(&mut self, judgement: &Judgement) {
        let words = match judgement.verdict {
            Verdict::Pass => "the judge passes it",
            Verdict::Fail => "the judge fails it",
            Verdict::Inconclusive => "the judge cannot say",
        };
        self.said.push(format!("{words}: {}", judgement.words(3)));
    }

    fn record(&mut self, judgement: Judgement) {
        let step = self.rollout.step;
        if judgement.verdict == Verdict::Fail {
            let reasons = judgement.reasons().into_iter().map(str::to_owned).collect();
            self.reason = Some(Diagnosis::Judged { reasons });
        }
        let judgements = &mut self.rollout.judgements;
        // Of one analysis the last word counts.
        judgements.retain(|j| j.step != step || j.judgement.verdict != Verdict::Inconclusive);
        judgements.push(StepJudgement { step, judgement });
        let surplus = judgements.len().saturating_sub(JUDGEMENTS_MAX);
        judgements.drain(..surplus);
    }

    fn in_force(&self) -> bool {
        self.input.share.is(self.d.release, &self.rollout.share)
    }

    fn promoted(&self) -> bool {
        self.rollout.promoted.as_ref().is_some_and(|p| self.rollout.step < p.until)
    }

    fn over_if(&self, over: bool) -> Outcome {
        self.done_when(over || self.promoted())
    }

    fn done_when(&self, done: bool) -> Outcome {
        if done { Outcome::Done } else { Outcome::Waits }
    }

    fn asks_unless_promoted(&self, what: AsksFor) -> Outcome {
        if self.promoted() { Outcome::Done } else { Outcome::Asks(what) }
    }

    fn ask(&mut self, what: AsksFor, since: Option<Timestamp>) {
        let known = self.rollout.asks.as_ref().filter(|asks| asks.what == what);
        let since = since.or(known.map(|asks| asks.since)).unwrap_or(self.input.now);
        if known.is_none() {
            self.said.push(self.question(what));
        }
        self.rollout.asks = Some(Asks { since, what });
        let due = after(since, PERSON_MAX);
        self.wake(due);
        if self.input.now >= due && self.reason.is_none() {
            self.reason = Some(Diagnosis::NobodyAnswered {
                waited_ms: since_ms(since, self.input.now),
                waiting_for: self.question(what),
            });
        }
    }

    fn question(&self, what: AsksFor) -> String {
        let place = format!("{} -e {}", self.d.app, self.d.env);
        match what {
            AsksFor::Approval => format!("waits for approval: ark approve {place}"),
            AsksFor::Promotion => format!("paused until somebody goes on: ark promote {place}"),
            AsksFor::Judgement => {
                format!(
                    "the judge cannot say; go on or back: ark promote {place}, ark abort {place}"
                )
            }
            AsksFor::Resumption => {
                let by = self.rollout.paused.as_ref().map_or("ark", |p| p.by.as_str());
                format!("paused by {by}: ark resume {place}")
            }
        }
    }

    fn next(&mut self) {
        self.rollout.step += 1;
        self.rollout.since = self.input.now;
        self.rollout.asks = None;
        if let Some(step) = self.rollout.current() {
            let (n, all) = (self.rollout.step + 1, self.rollout.steps.len());
            self.said.push(format!("step {n} of {all}: {}", step.words()));
        }
    }

    /// Instances of the new side that its present share, or the one that is to come, needs.
    fn count(&self) -> u32 {
        let coming = match self.rollout.current() {
            Some(Step::Weight(percent)) => (*percent).max(self.rollout.share.percent),
            Some(_) => self.rollout.share.percent,
            None => 100,
        };
        match self.rollout.scale {
            _ if self.wanted == 0 || coming == 100 => self.wanted,
            Some(count) => count.max(1),
            None => Quantity::Percent(coming).of_rounded_up(self.wanted).max(1),
        }
    }

    /// Counts the time it holds, and says whether it came forward.
    fn keep_time(&mut self) -> bool {
        let now = self.input.now;
        let r = &mut self.rollout;
        let holds = r.paused.is_some() || r.current().is_some_and(Step::holds);
        let went_on = match (holds, r.held_since) {
            (true, None) => {
                // Not from now on: the server may have been away when it began.
                r.held_since = Some(r.paused.as_ref().map_or(r.since, |p| p.at).min(now));
                false
            }
            (false, Some(since)) => {
                r.held_ms = r.held_ms.saturating_add(since_ms(since, now));
                r.held_since = None;
                true
            }
            (true, Some(_)) | (false, None) => false,
        };
        let before = self.d.rollout.as_ref();
        went_on
            || before.is_some_and(|b| b.step != self.rollout.step || b.share != self.rollout.share)
    }

    fn wake(&mut self, at: Timestamp) {
        if at > self.input.now {
            self.wake_at = earliest(self.wake_at, [at]);
        }
    }

    fn waiting_words(&self, count: u32) -> String {
        let release = self.d.release;
        if let Some(asks) = &self.rollout.asks {
            return self.question(asks.what);
        }
        match self.rollout.current() {
            Some(Step::Pause(_)) => "the pause to end".to_owned(),
            Some(Step::Analysis {}) => "enough requests for the judge".to_owned(),
            Some(_) if self.serving < count => {
                let missing = count - self.serving;
                let noun = if missing == 1 { "instance" } else { "instances" };
                format!("{missing} {noun} of {release} to become ready")
            }
            Some(_) | None => "the gateway to acknowledge the route table".to_owned(),
        }
    }
}

/// The deadlines of a deployment in steps; time it holds counts against none.
struct Limits {
    progress_due: Option<Timestamp>,
    due: Option<Timestamp>,
    progress_at: Timestamp,
    deadline: Duration,
}

impl Limits {
    fn of(d: &Deployment, rollout: &Rollout, t: &Target<'_>, now: Timestamp) -> Self {
        let started = d.started_at.unwrap_or(d.created_at);
        let progress_at = d.progress_at.unwrap_or(started);
        let held = Duration::from_millis(rollout.held_ms);
        let runs = rollout.held_since.is_none() && now >= started;
        let due = after(started, t.policy.deadline.saturating_add(held));
        let progress_due = after(progress_at, t.policy.progress_deadline);
        Self {
            progress_due: runs.then_some(progress_due),
            due: runs.then_some(due),
            progress_at,
            deadline: t.policy.deadline,
        }
    }

    fn wake_at(&self) -> impl Iterator<Item = Timestamp> {
        self.progress_due.into_iter().chain(self.due)
    }

    fn passed(&self, plan: &Plan, input: &Input<'_>, release: ReleaseNumber) -> Option<Diagnosis> {
        let now = input.now;
        if self.due.is_some_and(|due| now >= due) {
            let deadline_ms = u64::try_from(self.deadline.as_millis()).unwrap_or(u64::MAX);
            let waiting_for = plan.waiting_for.clone();
            return Some(Diagnosis::DeadlinePassed { deadline_ms, waiting_for });
        }
        let late = self.progress_due.is_some_and(|due| now >= due) && !plan.progressed;
        late.then(|| Diagnosis::NoProgress {
            waited_ms: since_ms(self.progress_at, now),
            waiting_for: waited_for(input, release, &plan.waiting_for),
        })
    }
}
