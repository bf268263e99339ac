//! Convergence of one app's instances to a target, start-first. Deployments, their return, scaling,
//! restarts, stopping and the replacement of lost instances are all this one function with another
//! target; so capacity is kept by the same few lines in each of them (I2, I3).
//!
//! Two releases may be wanted at once: the one that is to serve, and another beside it (the old side
//! of a canary, say). Which of them gets what part of the traffic is not decided here.
//!
//! Every instance goes Starting -> Active -> Draining -> Stopping -> Stopped; it may leave any of
//! these for Stopped when it ends by itself. One call moves each instance by at most one step.

mod take_out;

use std::time::Duration;

use ark_model::instance::{EngineState, InstanceState, StopCause};
use ark_model::{InstanceId, ReleaseNumber};
use jiff::Timestamp;

use crate::observed::{HostSeen, Seen};
use crate::planted::Planted;
use crate::policy::{Policy, ReadyBy};
use crate::time::after;

/// What the instances of an app are to become.
#[derive(Debug, Clone)]
pub struct Target<'a> {
    /// The release that is to serve; `None` when nothing is.
    pub release: Option<ReleaseNumber>,
    /// How many instances of it.
    pub count: u32,
    /// Instances recorded before this instant are replaced even if their release is right.
    pub restart_before: Option<Timestamp>,
    /// The policy of the release that is to serve (of the last one when nothing is).
    pub policy: &'a Policy,
    /// Why an instance that is not wanted has to go.
    pub replaced_by: StopCause,
    /// No instance is started before this instant.
    pub start_after: Option<Timestamp>,
    /// The release that served before: of what is not wanted, anything else goes first.
    pub base: Option<ReleaseNumber>,
    /// Another release that runs beside it.
    pub beside: Option<Beside<'a>>,
    /// Since when this server looks, and so waits for a gateway.
    pub since: Timestamp,
    /// A bug, in the simulator's tests.
    pub planted: Option<Planted>,
}

/// A release that runs beside the one that is to serve.
#[derive(Debug, Clone)]
pub struct Beside<'a> {
    /// Which.
    pub release: ReleaseNumber,
    /// How many of it.
    pub hold: Hold,
    /// Its policy.
    pub policy: &'a Policy,
    /// No instance of it is started before this instant.
    pub start_after: Option<Timestamp>,
}

/// How many instances of a release stay beside another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// So many: what is lost is replaced.
    At(u32),
    /// Those that serve: nothing is started, nothing is let in, nothing is taken away.
    AsIs,
    /// The same, but what was starting is let in.
    Kept,
    /// None: no traffic is given to it any more, so none of them stands in for another's.
    Leaving,
}

/// Whose instance it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Target,
    Beside,
    Neither,
}

/// A change to make. The records are changed first, in one transaction; the engine follows the
/// records.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Record new instances of a release, to be started.
    Start {
        /// Which release.
        release: ReleaseNumber,
        /// How many.
        count: u32,
    },
    /// It is ready: it receives traffic from the next table on.
    Activate(InstanceId),
    /// It leaves the table; its requests may end.
    Drain {
        /// Which.
        id: InstanceId,
        /// Why.
        cause: StopCause,
    },
    /// Nothing is inside it any more: the engine is told to stop it.
    Stop {
        /// Which.
        id: InstanceId,
        /// Why, when it was not drained before.
        cause: Option<StopCause>,
    },
    /// It has ended.
    Ended {
        /// Which.
        id: InstanceId,
        /// How, when it was not asked to.
        cause: Option<StopCause>,
    },
}

/// How far the target is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Instances that are wanted and serve.
    pub wanted_serving: u32,
    /// Instances that are wanted and exist, serving or not.
    pub wanted_alive: u32,
    /// Instances of the release beside it that serve.
    pub beside_serving: u32,
    /// Instances that are not wanted and may still receive traffic.
    pub unwanted_admitted: u32,
    /// Instances that are not wanted and still exist.
    pub unwanted_alive: u32,
    /// Of these, those on hosts that do not answer.
    pub unwanted_silent: u32,
    /// Instances that take requests, wanted or not.
    pub serving_requests: u32,
}

/// What to do now, how far it is, and when to look again even if nothing changes.
#[derive(Debug, Clone, PartialEq)]
pub struct Convergence {
    /// Changes to make.
    pub actions: Vec<Action>,
    /// How far it is, before these changes.
    pub progress: Progress,
    /// When time alone may change the answer.
    pub wake_at: Option<Timestamp>,
}

/// Time beyond an instance's grace after which it is no longer waited for by anyone; the engine
/// has sent SIGKILL long before.
pub const STOP_MARGIN: Duration = Duration::from_secs(30);

/// Time beyond the drain time for which a gateway that does not acknowledge is waited for, when
/// nothing of the app is to run.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(300);

/// An instance on a host that has been silent for this long is started elsewhere too.
pub const SUBSTITUTE_AFTER: Duration = Duration::from_secs(60);

/// How long the first look at an instance may take before it is known not to become ready.
const LOOKED_AT_LEAST: Duration = Duration::from_secs(10);

/// How far the clocks of server, engine and gateway differ at most where they are kept.
pub(crate) const CLOCKS_DIFFER_MAX: Duration = Duration::from_secs(10);

/// Time beyond the streams' deadline that the gateway has for closing and reporting.
const DRAIN_MARGIN: Duration = Duration::from_secs(2);

/// Plans the next step towards `target`.
pub fn converge(target: &Target<'_>, seen: &[Seen], now: Timestamp) -> Convergence {
    let mut step = Step { target, now, actions: Vec::new(), wake_at: None };
    let alive: Vec<&Seen> = seen.iter().filter(|s| s.state.is_alive()).collect();
    // Those that ended leave every later count, so that they are replaced in this very step.
    let alive: Vec<&Seen> = alive.into_iter().filter(|s| !step.end(s)).collect();
    let progress = step.progress(&alive);
    step.activate(&alive, &progress);
    step.start(&alive);
    step.drain(&alive);
    step.finish(&alive);
    Convergence { actions: step.actions, progress, wake_at: step.wake_at }
}

struct Step<'a> {
    target: &'a Target<'a>,
    now: Timestamp,
    actions: Vec<Action>,
    wake_at: Option<Timestamp>,
}

impl Step<'_> {
    fn side(&self, s: &Seen) -> Side {
        match &self.target.beside {
            _ if Some(s.release) == self.target.release => Side::Target,
            Some(beside) if s.release == beside.release => Side::Beside,
            Some(_) | None => Side::Neither,
        }
    }

    fn wanted(&self, s: &Seen) -> bool {
        let fresh = self.target.restart_before.is_none_or(|before| s.created_at >= before);
        let fresh = fresh && s.host != HostSeen::Draining;
        match (self.side(s), &self.target.beside) {
            (Side::Target, _) => self.target.count > 0 && fresh,
            (Side::Beside, Some(beside)) => match beside.hold {
                Hold::At(count) => count > 0 && fresh,
                Hold::AsIs | Hold::Kept => true,
                Hold::Leaving => false,
            },
            (Side::Beside, None) | (Side::Neither, _) => false,
        }
    }

    fn policy(&self, s: &Seen) -> &Policy {
        match (self.side(s), &self.target.beside) {
            (Side::Beside, Some(beside)) => beside.policy,
            (Side::Beside | Side::Target | Side::Neither, _) => self.target.policy,
        }
    }

    /// Whether another is started in its place: its host has been silent for long, and no request
    /// gets through to it either. Of work that each host has one of, none stands in for another.
    fn is_missed(&self, s: &Seen) -> bool {
        let HostSeen::Silent { since } = s.host else { return false };
        let long = self.now >= after(since, SUBSTITUTE_AFTER);
        (long || self.policy(s).one_per_host) && !s.is_serving()
    }

    fn wake(&mut self, at: Timestamp) {
        self.wake_at = Some(self.wake_at.map_or(at, |w| w.min(at)));
    }

    /// Records the end of an instance that has ended, or was given up. Says whether it has.
    fn end(&mut self, s: &Seen) -> bool {
        let asked = matches!(s.state, InstanceState::Stopping);
        let cause = match &s.engine {
            Some(EngineState::Exited { exit }) => StopCause::Exited { exit: exit.clone() },
            Some(EngineState::StartFailed { reason }) => {
                StopCause::StartFailed { reason: reason.clone() }
            }
            // A record without an instance: it was never started, and will be by its record, unless
            // the engine has refused for as long as it may take.
            Some(EngineState::Gone) if s.state == InstanceState::Starting => {
                return self.give_up_waiting_for_ready(s);
            }
            Some(EngineState::Gone) => StopCause::Vanished,
            Some(
                EngineState::Preparing | EngineState::Running { .. } | EngineState::Stopping { .. },
            )
            | None => return self.give_up_waiting_for_ready(s),
        };
        self.actions.push(Action::Ended { id: s.id, cause: (!asked).then_some(cause) });
        true
    }

    /// A starting instance that is known not to be ready at its deadline is stopped. One of which
    /// nothing is known (the gateway is away) is left alone.
    fn give_up_waiting_for_ready(&mut self, s: &Seen) -> bool {
        if s.state != InstanceState::Starting || s.is_silent() {
            return false;
        }
        let policy = self.policy(s);
        let begun_by =
            after(s.created_at, policy.ready_timeout.saturating_add(policy.progress_deadline));
        let deadline = match s.engine {
            // It has not begun: a server that was away for a while still starts it, and an image may
            // come from far away.
            Some(EngineState::Gone | EngineState::Preparing) => begun_by,
            // The engine says nothing of it: when it began is not known.
            None => after(begun_by, policy.ready_timeout),
            // From then on it has its time, whatever came before.
            _ => {
                let since = s.running_since().unwrap_or(s.created_at);
                after(since.clamp(s.created_at, begun_by), policy.ready_timeout)
            }
        };
        // Nobody has looked at it yet: a server that was away may only now have told the gateway of it. One that
        // is ready now and then was looked at.
        let unseen = s.probe.as_ref().filter(|probe| !probe.ready && probe.last_failure.is_none());
        let looked_at = unseen.map(|probe| {
            let since = probe.since.min(self.now);
            after(since, policy.ready_timeout.min(LOOKED_AT_LEAST))
        });
        let deadline = looked_at.map_or(deadline, |due| due.max(deadline));
        if self.now < deadline {
            self.wake(deadline);
            return false;
        }
        let last = match (&s.engine, &s.probe) {
            (Some(EngineState::Preparing), _) if policy.runs_image => {
                "its image was still being fetched; a longer `deploy.ready_timeout` gives it more time"
                    .to_owned()
            }
            (Some(EngineState::Preparing), _) => "its files were still being prepared".to_owned(),
            (Some(EngineState::Gone), _) => "the engine did not start it".to_owned(),
            (_, Some(probe)) if !probe.ready => {
                probe.last_failure.clone().unwrap_or_else(|| "its check did not pass".to_owned())
            }
            _ => return false,
        };
        let cause = StopCause::NeverReady { last };
        self.actions.push(Action::Stop { id: s.id, cause: Some(cause) });
        true
    }

    fn is_target(&self, s: &Seen) -> bool {
        self.side(s) == Side::Target && self.wanted(s)
    }

    fn progress(&self, alive: &[&Seen]) -> Progress {
        let count = |test: &dyn Fn(&Seen) -> bool| alive.iter().filter(|s| test(s)).count() as u32;
        // What is stopping was out of the table before it was told to (I2).
        let admitted = |s: &Seen| match s.state {
            InstanceState::Starting | InstanceState::Active => true,
            InstanceState::Draining => s.has_ports && !s.admission.is_closed(),
            InstanceState::Stopping | InstanceState::Stopped => false,
        };
        Progress {
            wanted_serving: count(&|s| self.is_target(s) && s.is_serving()),
            wanted_alive: count(&|s| self.is_target(s) && is_up(s)),
            beside_serving: count(&|s| self.side(s) == Side::Beside && s.is_serving()),
            unwanted_admitted: count(&|s| (!self.wanted(s) || !is_up(s)) && admitted(s)),
            unwanted_alive: count(&|s| !self.wanted(s) || !is_up(s)),
            unwanted_silent: count(&|s| s.is_silent() && (!self.wanted(s) || !is_up(s))),
            serving_requests: count(&|s| s.has_ports && s.is_serving()),
        }
    }

    /// Ready long enough: it takes traffic. While nothing serves at all there is nobody to wait
    /// for, so readiness alone is enough.
    fn activate(&mut self, alive: &[&Seen], progress: &Progress) {
        for s in alive.iter().filter(|s| s.state == InstanceState::Starting) {
            let as_is = matches!(&self.target.beside, Some(b) if b.hold == Hold::AsIs);
            if !self.wanted(s) || (as_is && self.side(s) == Side::Beside) {
                continue;
            }
            let policy = self.policy(s);
            let (since, hold) = match (policy.readiness, s.has_ports, &s.probe) {
                (_, true, Some(probe)) if probe.ready && s.running_since().is_some() => {
                    (probe.since, policy.min_healthy_time)
                }
                (_, true, _) => continue,
                (ReadyBy::Running(time), false, _) => match s.running_since() {
                    Some(since) => (since, time),
                    None => continue,
                },
                (ReadyBy::Probe, false, _) => match s.running_since() {
                    Some(since) => (since, policy.min_healthy_time),
                    None => continue,
                },
            };
            let due = after(since, hold);
            // The clock was set back since: for how long nobody knows, and nobody waits until it says
            // again what it said then.
            let since_then = since > after(self.now, CLOCKS_DIFFER_MAX);
            if self.now >= due || since_then || (s.has_ports && progress.serving_requests == 0) {
                self.actions.push(Action::Activate(s.id));
            } else {
                self.wake(due);
            }
        }
    }

    /// As many new ones as are missing, within the surge. Draining instances are outside it, unless
    /// an instance must be alone.
    fn start(&mut self, alive: &[&Seen]) {
        let Some(release) = self.target.release else { return };
        for s in alive {
            if let HostSeen::Silent { since } = s.host {
                let due = after(since, SUBSTITUTE_AFTER);
                if self.now < due {
                    self.wake(due);
                }
            }
        }
        let alive: Vec<&Seen> = alive.iter().copied().filter(|s| !self.is_missed(s)).collect();
        let count = |test: &dyn Fn(&Seen) -> bool| alive.iter().filter(|s| test(s)).count() as u32;
        let right = |side: Side| count(&|s| is_up(s) && self.side(s) == side && self.wanted(s));
        let wanted = self.target.count;
        let beside = match &self.target.beside {
            Some(Beside { hold: Hold::At(count), .. }) => *count,
            Some(_) => right(Side::Beside),
            None => 0,
        };
        let all = count(&|s| is_up(s) || self.target.policy.alone);
        let most = wanted.saturating_add(beside).saturating_add(self.target.policy.surge(wanted));
        let mut room = most.saturating_sub(all);
        let mut missing =
            vec![(release, wanted.saturating_sub(right(Side::Target)), self.target.start_after)];
        if let Some(Beside { release, hold: Hold::At(count), start_after, .. }) =
            &self.target.beside
        {
            let lacks = count.saturating_sub(right(Side::Beside));
            missing.push((*release, lacks, *start_after));
        }
        for (release, missing, start_after) in missing {
            let count = missing.min(room);
            if count == 0 {
                continue;
            }
            match start_after {
                Some(at) if self.now < at => self.wake(at),
                _ => {
                    room -= count;
                    self.actions.push(Action::Start { release, count });
                }
            }
        }
    }

    /// Draining instances are stopped when the table in force no longer admits anything to them
    /// and what was inside has ended, or had its time (I2). Only when somebody asked that nothing
    /// of the app runs is a gateway that never answers not waited for without end.
    fn finish(&mut self, alive: &[&Seen]) {
        for s in alive.iter().filter(|s| s.state == InstanceState::Draining) {
            let started = s.draining_at.unwrap_or(self.now);
            let over = after(started, s.drain.saturating_add(DRAIN_MARGIN));
            let empty = s.in_flight == Some(0);
            let hasty = self.target.planted == Some(Planted::StopBeforeAcknowledgement);
            let empty = empty || (hasty && s.in_flight.is_none());
            let closed = !s.has_ports || s.admission.is_closed() || hasty;
            let given_up = after(over.max(self.target.since), UNACKNOWLEDGED_MAX);
            if closed && (!s.has_ports || empty || self.now >= over) {
                self.actions.push(Action::Stop { id: s.id, cause: None });
            } else if self.now < over {
                self.wake(over);
            } else if self.target.replaced_by == StopCause::Asked {
                // A stop, or the end of an environment, ends even without a gateway (I1).
                if self.now >= given_up {
                    self.actions.push(Action::Stop { id: s.id, cause: None });
                } else {
                    self.wake(given_up);
                }
            }
        }
    }
}

/// Instances that must serve of `count`.
pub(crate) fn floor(policy: &Policy, count: u32) -> u32 {
    count.saturating_sub(policy.unavailable(count))
}

/// Whether it is meant to work, now or soon.
fn is_up(s: &Seen) -> bool {
    match s.state {
        InstanceState::Starting | InstanceState::Active => true,
        InstanceState::Draining | InstanceState::Stopping | InstanceState::Stopped => false,
    }
}
