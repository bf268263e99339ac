//! The life of one scripted instance: states as a function of time. Pure.

use std::time::Duration;

use ark_model::instance::{EngineState, Exit, StartFailure};
use jiff::Timestamp;

use crate::engine::StopOptions;

/// How an instance behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behaviour {
    /// How long it is `Preparing`.
    pub start_delay: Duration,
    /// Why it cannot be started, then.
    pub start_failure: Option<StartFailure>,
    /// After how long of running it ends by itself, and how.
    pub ends: Option<(Duration, Ending)>,
    /// What it does when it is asked to stop.
    pub on_stop: OnStop,
    /// What it writes when it is handed over.
    pub log: Vec<String>,
    /// What every `exec` beside it returns.
    pub exec_code: i32,
}

impl Default for Behaviour {
    /// Runs at once, for ever, and ends at once when asked.
    fn default() -> Self {
        Self {
            start_delay: Duration::ZERO,
            start_failure: None,
            ends: None,
            on_stop: OnStop::Obeys { after: Duration::ZERO },
            log: Vec::new(),
            exec_code: 0,
        }
    }
}

/// How an instance ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// By itself, with a code.
    Code(i32),
    /// By a signal.
    Signal(i32),
    /// By the kernel, for its memory.
    OutOfMemory,
}

/// What an instance does when it is asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnStop {
    /// Ends with code 0 after a while, if its grace is that long.
    Obeys {
        /// The while.
        after: Duration,
    },
    /// Ends when its grace is over, by SIGKILL.
    Ignores,
    /// Does not even end by SIGKILL: stuck in the kernel.
    Hangs,
}

/// An instance's script with what was done to it.
pub(super) struct Life {
    behaviour: Behaviour,
    begun: Timestamp,
    /// When it was asked to stop first, and when its grace is over.
    stop: Option<(Timestamp, Timestamp)>,
    /// What somebody else did to it.
    ended: Option<(Timestamp, Ending)>,
}

impl Life {
    pub(super) fn new(now: Timestamp, behaviour: Behaviour) -> Self {
        Self { behaviour, begun: now, stop: None, ended: None }
    }

    pub(super) fn exec_code(&self) -> i32 {
        self.behaviour.exec_code
    }

    /// Asking again can only shorten the grace; asking what has ended does nothing.
    pub(super) fn stop(&mut self, now: Timestamp, options: StopOptions) {
        if is_terminal(&self.state(now)) {
            return;
        }
        let grace = if super::is_final(options.signal) { Duration::ZERO } else { options.grace };
        let deadline = add(now, grace);
        self.stop = Some(match self.stop {
            Some((at, earlier)) => (at, earlier.min(deadline)),
            None => (now, deadline),
        });
    }

    /// Ends it now, if it runs.
    pub(super) fn end(&mut self, now: Timestamp, ending: Ending) {
        if self.ended.is_none() {
            self.ended = Some((now, ending));
        }
    }

    /// When its state changes, as far as is known.
    pub(super) fn turns(&self) -> Vec<Timestamp> {
        let stop = self.stop.map(|(at, _)| at);
        let end = self.end_of_run().map(|(at, _)| at);
        [Some(self.runs_at()), stop, end].into_iter().flatten().collect()
    }

    pub(super) fn state(&self, now: Timestamp) -> EngineState {
        let runs_at = self.runs_at();
        let stop = self.stop.filter(|(at, _)| *at <= now);
        if let Some((at, _)) = stop.filter(|(at, _)| *at < runs_at) {
            // Asked to stop before there was anything to stop.
            let exit = Exit {
                began: None,
                code: None,
                signal: None,
                out_of_memory: false,
                requested: true,
                at,
            };
            return EngineState::Exited { exit };
        }
        if now < runs_at {
            return EngineState::Preparing;
        }
        if let Some(reason) = &self.behaviour.start_failure {
            return EngineState::StartFailed { reason: reason.clone() };
        }
        if let Some((at, ending)) = self.end_of_run().filter(|(at, _)| *at <= now) {
            let requested = self.stop.is_some_and(|(asked, _)| asked <= at);
            return EngineState::Exited { exit: exit(ending, requested, (runs_at, at)) };
        }
        match stop {
            Some((since, _)) => EngineState::Stopping { since },
            None => EngineState::Running { since: runs_at, process: None, address: None },
        }
    }

    fn runs_at(&self) -> Timestamp {
        add(self.begun, self.behaviour.start_delay)
    }

    /// When and how it ends: whichever comes first.
    fn end_of_run(&self) -> Option<(Timestamp, Ending)> {
        let by_itself =
            self.behaviour.ends.map(|(after, ending)| (add(self.runs_at(), after), ending));
        let stopped = self.stop.and_then(|(at, deadline)| {
            let killed = (deadline, Ending::Signal(9));
            match self.behaviour.on_stop {
                OnStop::Obeys { after } if add(at, after) <= deadline && deadline > at => {
                    Some((add(at, after), Ending::Code(0)))
                }
                OnStop::Obeys { .. } | OnStop::Ignores => Some(killed),
                OnStop::Hangs => None,
            }
        });
        let all = [self.ended, by_itself, stopped];
        all.into_iter().flatten().min_by_key(|(at, _)| *at)
    }
}

/// Whether nothing runs any more.
pub(super) fn is_terminal(state: &EngineState) -> bool {
    match state {
        EngineState::Preparing | EngineState::Running { .. } | EngineState::Stopping { .. } => {
            false
        }
        EngineState::Exited { .. } | EngineState::StartFailed { .. } | EngineState::Gone => true,
    }
}

fn exit(ending: Ending, requested: bool, (began, at): (Timestamp, Timestamp)) -> Exit {
    let (code, signal, out_of_memory) = match ending {
        Ending::Code(code) => (Some(code), None, false),
        Ending::Signal(signal) => (None, Some(signal), false),
        Ending::OutOfMemory => (None, Some(9), true),
    };
    Exit { began: Some(began), code, signal, out_of_memory, requested, at }
}

/// Far in the future is as good as never.
fn add(at: Timestamp, after: Duration) -> Timestamp {
    at.checked_add(after).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn options(grace: u64) -> StopOptions {
        StopOptions { grace: secs(grace), ..StopOptions::default() }
    }

    #[test]
    fn a_stop_ends_a_life_as_its_script_says() {
        use Ending::{Code, Signal};
        for (name, on_stop, grace, expected) in [
            ("obeys in time", OnStop::Obeys { after: secs(3) }, 10, Some((at(103), Code(0)))),
            ("obeys too late", OnStop::Obeys { after: secs(30) }, 10, Some((at(110), Signal(9)))),
            ("no grace", OnStop::Obeys { after: secs(0) }, 0, Some((at(100), Signal(9)))),
            ("ignores", OnStop::Ignores, 10, Some((at(110), Signal(9)))),
            ("hangs", OnStop::Hangs, 10, None),
        ] {
            let mut life = Life::new(at(0), Behaviour { on_stop, ..Behaviour::default() });
            assert!(matches!(life.state(at(99)), EngineState::Running { .. }), "{name}");
            life.stop(at(100), options(grace));
            assert_eq!(life.end_of_run(), expected, "{name}");
            match expected {
                Some((end, ending)) => {
                    let exit = exit(ending, true, (life.runs_at(), end));
                    assert_eq!(life.state(end), EngineState::Exited { exit }, "{name}");
                }
                None => assert!(matches!(life.state(at(9_999)), EngineState::Stopping { .. })),
            }
        }
    }

    #[test]
    fn asking_again_only_shortens_the_grace() {
        let behaviour = Behaviour { on_stop: OnStop::Ignores, ..Behaviour::default() };
        let mut life = Life::new(at(0), behaviour);
        life.stop(at(10), options(30));
        life.stop(at(12), options(60));
        assert_eq!(life.end_of_run(), Some((at(40), Ending::Signal(9))));
        life.stop(at(13), options(0));
        assert_eq!(life.end_of_run(), Some((at(13), Ending::Signal(9))));
    }

    #[test]
    fn what_is_stopped_before_it_runs_never_runs() {
        let behaviour = Behaviour { start_delay: secs(5), ..Behaviour::default() };
        let mut life = Life::new(at(0), behaviour);
        assert_eq!(life.state(at(4)), EngineState::Preparing);
        life.stop(at(4), options(30));
        match life.state(at(9)) {
            EngineState::Exited { exit } => {
                assert_eq!((exit.code, exit.signal, exit.requested), (None, None, true));
            }
            other => panic!("{other:?}"),
        }
    }
}
