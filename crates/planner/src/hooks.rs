//! Hooks of a deployment: what is to be done about them next, and what they mean for it. Called by
//! the server's hooks task with what was seen of the one that is under way, and by
//! [`crate::rollout`], which waits for them and goes back when one failed.
//!
//! ```text
//! Waiting ──► Running ──┬──► Succeeded
//!    │           │      └──► Failed
//!    │           └► Stopping ──► Failed (took too long) | Cancelled (no longer wanted)
//!    └─────────────────────────► Cancelled
//! ```
//!
//! One at a time, in their order. A command runs as an instance of the engine under a recorded id, so
//! a crash of the server does not run it twice; only when the engine lost it is it begun anew. A
//! webhook is asked until it says `SUCCEEDED` or `FAILED`. So each happens at least once, and says by
//! its key which call is the same.

use std::time::Duration;

use ark_model::hook::{HookRun, HookState, HookWhat, LOG_LINES_MAX, NOTE_CHARS_MAX};
use ark_model::instance::EngineState;
use ark_model::{Deployment, DeploymentState, Diagnosis, InstanceId};
use jiff::Timestamp;

pub use ark_model::hook::HookStage;

use crate::time::{after, since_ms};

/// A command that the engine lost is begun so often in all.
pub const ATTEMPTS_MAX: u32 = 3;
/// How long a command that was told to stop is waited for: its grace, and a margin.
pub const STOP_MAX: Duration = Duration::from_secs(45);
/// The longest grace of a command that is told to stop; its release may say less.
pub const STOP_GRACE: Duration = Duration::from_secs(30);
/// Time between two questions to a webhook that does not say when to ask again.
pub const ASK_EVERY: Duration = Duration::from_secs(5);
/// The longest time between two questions.
pub const ASK_EVERY_MAX: Duration = Duration::from_secs(10 * 60);
/// How often the engine is looked at while a command runs.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How a stage stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage<'a> {
    /// All of its hooks ended well, or it has none.
    Passed,
    /// This one is under way, or the next.
    Pending(&'a HookRun),
    /// This one failed.
    Failed(&'a HookRun),
}

/// How a stage of a deployment stands.
pub fn stage(d: &Deployment, stage: HookStage) -> Stage<'_> {
    let own = || d.hooks.iter().filter(|run| run.stage == stage);
    if let Some(failed) = own().find(|run| run.state == HookState::Failed) {
        return Stage::Failed(failed);
    }
    match own().find(|run| run.state != HookState::Succeeded) {
        Some(run) => Stage::Pending(run),
        None => Stage::Passed,
    }
}

/// The hook of which something may be under way.
pub fn active(d: &Deployment) -> Option<&HookRun> {
    d.hooks.iter().find(|run| run.state.is_active())
}

/// Whether the hooks task has anything to do with it.
pub fn concerns(d: &Deployment) -> bool {
    d.hooks.iter().any(|run| run.state.is_active() || run.state == HookState::Waiting)
}

/// When the time of a hook that has begun is over.
pub fn due(run: &HookRun, now: Timestamp) -> Timestamp {
    after(run.begun_at.unwrap_or(now), Duration::from_millis(run.timeout_ms))
}

/// Why a deployment fails by a hook.
pub(crate) fn diagnosis(run: &HookRun) -> Diagnosis {
    Diagnosis::HookFailed {
        hook: run.words(),
        how: run.note.clone().unwrap_or_else(|| "failed".to_owned()),
        log: run.log.clone(),
    }
}

/// The stage whose hooks are wanted where a deployment stands.
fn wanted(d: &Deployment) -> Option<HookStage> {
    if d.abort.is_some() {
        return None;
    }
    match d.state {
        DeploymentState::Replacing | DeploymentState::Stepping => Some(HookStage::PreDeploy),
        DeploymentState::Keeping | DeploymentState::Draining => Some(HookStage::PostDeploy),
        DeploymentState::Queued
        | DeploymentState::Returning
        | DeploymentState::Succeeded
        | DeploymentState::RolledBack
        | DeploymentState::Failed
        | DeploymentState::TimedOut
        | DeploymentState::Superseded => None,
    }
}

/// What was seen of the hook that is under way.
#[derive(Debug, Clone, PartialEq)]
pub enum HookSeen {
    /// Nothing: the engine could not be asked, or nothing was asked yet.
    Nothing,
    /// What the engine says of its instance, and its last log lines when it has ended.
    Engine(EngineState, Vec<String>),
    /// What the webhook answered.
    Answer(HookAnswer),
}

/// What a webhook says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookAnswer {
    /// Go on.
    Succeeded,
    /// Do not; and why.
    Failed(String),
    /// Ask again, after so long when it says so.
    InProgress(Option<Duration>),
    /// No answer that can be understood; it is asked again.
    Unclear(String),
}

/// What is to be done in the world. Each may be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookCall {
    /// Start the instance of the hook at this place.
    Start(usize),
    /// End it.
    Stop(usize),
    /// Ask the webhook at this place.
    Ask(usize),
}

/// What is to be recorded, done and waited for.
#[derive(Debug, Clone, PartialEq)]
pub struct HookPlan {
    /// The hooks as they are from now on.
    pub hooks: Vec<HookRun>,
    /// What to do once that is recorded.
    pub call: Option<HookCall>,
    /// What happened, in words, for the events.
    pub said: Vec<String>,
    /// Whether one ended well: a step forward for the deployment.
    pub progressed: bool,
    /// When to look again even if nothing changes.
    pub wake_at: Option<Timestamp>,
}

/// Plans the next step of a deployment's hooks. `fresh` is the id for an instance, if one is begun.
pub fn plan(d: &Deployment, seen: &HookSeen, fresh: InstanceId, now: Timestamp) -> HookPlan {
    let mut plan = HookPlan {
        hooks: d.hooks.clone(),
        call: None,
        said: Vec::new(),
        progressed: false,
        wake_at: None,
    };
    let stage = wanted(d);
    if let Some(at) = d.hooks.iter().position(|run| run.state.is_active()) {
        let cancelled = stage != Some(d.hooks[at].stage);
        Step { plan: &mut plan, at, now, fresh, cancelled }.go(seen);
        return plan;
    }
    let stopped = |run: &HookRun| matches!(run.state, HookState::Failed | HookState::Cancelled);
    let next = |run: &HookRun| Some(run.stage) == stage && run.state == HookState::Waiting;
    let over = d.hooks.iter().any(stopped) || !is_going(d);
    match plan.hooks.iter().position(next).filter(|_| !over) {
        Some(at) => Step { plan: &mut plan, at, now, fresh, cancelled: false }.begin(),
        None if over => {
            let waiting = plan.hooks.iter_mut().filter(|run| run.state == HookState::Waiting);
            waiting.for_each(|run| run.state = HookState::Cancelled);
        }
        None => {}
    }
    plan
}

/// Whether its later hooks may still be wanted.
fn is_going(d: &Deployment) -> bool {
    d.abort.is_none() && !d.state.is_terminal() && d.state != DeploymentState::Returning
}

/// One hook under way.
struct Step<'a> {
    plan: &'a mut HookPlan,
    at: usize,
    now: Timestamp,
    fresh: InstanceId,
    /// Whether the deployment no longer wants it.
    cancelled: bool,
}

impl Step<'_> {
    fn run(&mut self) -> &mut HookRun {
        &mut self.plan.hooks[self.at]
    }

    fn begin(&mut self) {
        let now = self.now;
        let run = self.run();
        run.state = HookState::Running;
        run.begun_at = Some(now);
        let words = format!("{} begins", run.words());
        self.plan.said.push(words);
        match self.run().what {
            HookWhat::Command { .. } => self.start(),
            HookWhat::Webhook { .. } => {
                self.run().ask_at = Some(now);
                self.plan.wake_at = Some(now);
            }
        }
    }

    /// Under an id of its own: an id that the engine has lost is never started again.
    fn start(&mut self) {
        let fresh = self.fresh;
        let run = self.run();
        run.attempts += 1;
        run.instance = Some(fresh);
        run.seen = false;
        self.plan.call = Some(HookCall::Start(self.at));
        self.look_again();
    }

    fn look_again(&mut self) {
        let (now, due) = (self.now, self.due());
        let soon = after(now, LOOK_EVERY);
        self.plan.wake_at = Some(if due > now { soon.min(due) } else { soon });
    }

    fn due(&self) -> Timestamp {
        due(&self.plan.hooks[self.at], self.now)
    }

    fn go(&mut self, seen: &HookSeen) {
        match (self.run().what.clone(), self.run().state) {
            (HookWhat::Webhook { .. }, _) => self.webhook(seen),
            (HookWhat::Command { .. }, HookState::Stopping) => self.stopping(seen),
            (HookWhat::Command { .. }, _) => self.command(seen),
        }
    }

    fn command(&mut self, seen: &HookSeen) {
        match seen {
            HookSeen::Engine(EngineState::Exited { exit }, log) => {
                return match exit.code {
                    // A zero that a stop made is no success; only one of its own is.
                    Some(0) if !exit.requested => self.succeeded(),
                    _ => self.failed(&exit.words(), log),
                };
            }
            HookSeen::Engine(EngineState::StartFailed { reason }, log) => {
                return self.failed(&reason.words(), log);
            }
            HookSeen::Engine(EngineState::Gone, _) if self.run().seen && !self.cancelled => {
                if self.run().attempts >= ATTEMPTS_MAX {
                    return self.failed("vanished from the engine, again and again", &[]);
                }
                let words = format!("{} vanished from the engine and is run again", self.words());
                self.plan.said.push(words);
                return self.start();
            }
            HookSeen::Engine(EngineState::Gone, _) if self.cancelled => {
                return self.end(
                    HookState::Cancelled,
                    "was not finished: its deployment no longer wanted it",
                );
            }
            HookSeen::Engine(EngineState::Gone, _) => {
                self.plan.call = Some(HookCall::Start(self.at));
            }
            HookSeen::Engine(EngineState::Running { .. } | EngineState::Stopping { .. }, _) => {
                self.run().seen = true;
            }
            HookSeen::Engine(EngineState::Preparing, _)
            | HookSeen::Nothing
            | HookSeen::Answer(_) => {}
        }
        let now = self.now;
        if self.cancelled || now >= self.due() {
            let timeout = Duration::from_millis(self.run().timeout_ms);
            let run = self.run();
            run.state = HookState::Stopping;
            run.stopping_at = Some(now);
            run.note = Some(format!("had not ended after {}", seconds(timeout)));
            self.plan.call = Some(HookCall::Stop(self.at));
        }
        self.look_again();
    }

    /// It was told to stop, because it took too long or is not wanted any more.
    fn stopping(&mut self, seen: &HookSeen) {
        let told = self.run().stopping_at.unwrap_or(self.now);
        let gone = match seen {
            HookSeen::Engine(
                EngineState::Exited { .. } | EngineState::StartFailed { .. } | EngineState::Gone,
                log,
            ) => Some(log.clone()),
            HookSeen::Engine(..) | HookSeen::Nothing | HookSeen::Answer(_) => None,
        };
        match gone {
            None if self.now < after(told, STOP_MAX) => {
                self.plan.call = Some(HookCall::Stop(self.at));
                self.look_again();
            }
            gone => {
                let lost = if gone.is_none() { ", and could not be ended" } else { "" };
                let log = gone.unwrap_or_default();
                match self.cancelled {
                    true => self.end(
                        HookState::Cancelled,
                        &format!("was ended: its deployment no longer wanted it{lost}"),
                    ),
                    false => {
                        let note = self.run().note.clone().unwrap_or_default();
                        self.failed(&format!("{note}{lost}"), &log);
                    }
                }
            }
        }
    }

    fn webhook(&mut self, seen: &HookSeen) {
        let now = self.now;
        if self.cancelled {
            return self
                .end(HookState::Cancelled, "was not finished: its deployment no longer wanted it");
        }
        let again = match seen {
            HookSeen::Answer(HookAnswer::Succeeded) => return self.succeeded(),
            HookSeen::Answer(HookAnswer::Failed(why)) => return self.failed(why, &[]),
            HookSeen::Answer(HookAnswer::InProgress(wait)) => {
                self.run().note = Some("IN_PROGRESS".to_owned());
                Some(wait.unwrap_or(ASK_EVERY))
            }
            HookSeen::Answer(HookAnswer::Unclear(why)) => {
                self.run().note = Some(cut(why));
                Some(ASK_EVERY)
            }
            HookSeen::Nothing | HookSeen::Engine(..) => None,
        };
        if let Some(wait) = again {
            self.run().ask_at = Some(after(now, wait.clamp(Duration::from_secs(1), ASK_EVERY_MAX)));
        }
        let due = self.due();
        if now >= due {
            let timeout = seconds(Duration::from_millis(self.run().timeout_ms));
            let last = self.run().note.clone().map_or(String::new(), |n| format!("; last: {n}"));
            return self.failed(&format!("no SUCCEEDED within {timeout}{last}"), &[]);
        }
        let ask_at = self.run().ask_at.unwrap_or(now);
        if ask_at <= now {
            self.run().attempts += 1;
            // Should the answer be lost with this server, it is asked again after this time.
            self.run().ask_at = Some(after(now, ASK_EVERY));
            self.plan.call = Some(HookCall::Ask(self.at));
        }
        self.plan.wake_at = Some(self.run().ask_at.unwrap_or(due).min(due));
    }

    fn words(&self) -> String {
        self.plan.hooks[self.at].words()
    }

    fn succeeded(&mut self) {
        self.plan.progressed = true;
        self.end(HookState::Succeeded, "");
    }

    fn failed(&mut self, how: &str, log: &[String]) {
        let surplus = log.len().saturating_sub(LOG_LINES_MAX);
        self.run().log = log[surplus..].to_vec();
        self.end(HookState::Failed, how);
    }

    fn end(&mut self, state: HookState, how: &str) {
        let now = self.now;
        let run = self.run();
        run.state = state;
        run.ended_at = Some(now);
        run.ask_at = None;
        run.note = (!how.is_empty()).then(|| cut(how));
        let took = Duration::from_millis(run.begun_at.map_or(0, |at| since_ms(at, now)));
        let (words, note) = (run.words(), run.note.clone().unwrap_or_default());
        self.plan.said.push(match state {
            HookState::Succeeded => format!("{words} succeeded after {}", seconds(took)),
            HookState::Failed => format!("{words} failed: {note}"),
            HookState::Waiting
            | HookState::Running
            | HookState::Stopping
            | HookState::Cancelled => format!("{words} {note}"),
        });
        self.plan.wake_at = Some(now);
    }
}

fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(NOTE_CHARS_MAX).collect()
}

fn seconds(time: Duration) -> String {
    match time.as_secs() {
        0..10 if time.subsec_millis() > 0 => format!("{:.1} s", time.as_secs_f64()),
        seconds if seconds >= 120 && seconds % 60 == 0 => format!("{} m", seconds / 60),
        seconds => format!("{seconds} s"),
    }
}
