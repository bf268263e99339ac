//! What became of each state, out of an execution's events: when it was entered and left, what was
//! tried, by whom, and how that ended. Pure. Events follow each other in chains (`previous`), so that
//! what goes on side by side in branches and iterations is kept apart.

use std::collections::{BTreeMap, HashMap};

use ark_model::api::{EventText, ExecutionEvent};
use ark_model::workflow::ExecutionStatus;
use jiff::Timestamp;

use crate::machine::Mark;
use crate::words::Tone;

/// How a state stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Running,
    Done,
    /// It failed, and somebody caught it.
    Caught,
    Failed,
    /// Ended because of something else.
    Ended,
}

impl Standing {
    pub(super) const fn tone(self) -> Tone {
        match self {
            Self::Running => Tone::Busy,
            Self::Done => Tone::Good,
            Self::Caught | Self::Failed => Tone::Bad,
            Self::Ended => Tone::Quiet,
        }
    }

    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Caught => "failed, caught",
            Self::Failed => "failed",
            Self::Ended => "ended with the others",
        }
    }
}

/// One try of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attempt {
    pub(super) resource: String,
    pub(super) worker: Option<String>,
    pub(super) scheduled_at: Timestamp,
    /// When a worker took it.
    pub(super) started_at: Option<Timestamp>,
    pub(super) ended_at: Option<Timestamp>,
    /// `None` while it goes on.
    pub(super) good: Option<bool>,
    /// The event that says how it ended.
    pub(super) end: Option<u64>,
    pub(super) error: Option<EventText>,
    pub(super) cause: Option<EventText>,
}

/// One stay in a state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Visit {
    /// The event that entered it.
    pub(super) id: u64,
    /// The event that left it.
    pub(super) exit: Option<u64>,
    pub(super) state: String,
    /// `Task`, `Choice`, ...
    pub(super) kind: String,
    pub(super) entered_at: Timestamp,
    pub(super) left_at: Option<Timestamp>,
    pub(super) standing: Standing,
    /// Within which iteration of a Map.
    pub(super) iteration: Option<u64>,
    pub(super) attempts: Vec<Attempt>,
    /// The error with which it ended the execution.
    fault: Option<EventText>,
    /// The Map or Parallel it is within.
    parent: Option<usize>,
}

impl Visit {
    /// The error of the last try, or of the state itself.
    pub(super) fn error(&self) -> Option<&EventText> {
        let tried = self.attempts.last().and_then(|attempt| attempt.error.as_ref());
        tried.or(self.fault.as_ref())
    }
}

#[derive(Default)]
struct Reading {
    visits: Vec<Visit>,
    /// To which visit an event belongs.
    of: HashMap<u64, usize>,
    /// In which iteration.
    iteration: HashMap<u64, u64>,
}

/// The visits of events that follow each other, oldest first. What began before the first of them is
/// left out.
pub(super) fn visits(events: &[ExecutionEvent], status: ExecutionStatus) -> Vec<Visit> {
    let mut reading = Reading::default();
    for event in events {
        reading.take(event);
    }
    // The end of all is the end of each, whatever its own events said last.
    if status != ExecutionStatus::Running && status != ExecutionStatus::PendingRedrive {
        for visit in &mut reading.visits {
            if visit.standing == Standing::Running {
                visit.standing = match visit.attempts.last().and_then(|attempt| attempt.good) {
                    Some(false) => Standing::Failed,
                    Some(true) | None => Standing::Ended,
                };
            }
        }
    }
    reading.visits
}

impl Reading {
    fn take(&mut self, event: &ExecutionEvent) {
        let kind = event.kind.as_str();
        if let Some(word) = kind.strip_suffix("StateEntered") {
            return self.enter(event, word);
        }
        if kind == "ExecutionRedriven" {
            // What had failed or was ended goes on by events of its own.
            return;
        }
        if kind.starts_with("Execution") {
            if let ("ExecutionFailed", Some(at)) = (kind, self.of.get(&event.previous)) {
                let visit = &mut self.visits[*at];
                if visit.left_at.is_none() {
                    visit.standing = Standing::Failed;
                    visit.left_at = Some(event.at);
                    visit.fault.clone_from(&event.error);
                }
            }
            return;
        }
        let Some(mut at) = self.of.get(&event.previous).copied() else { return };
        if kind.ends_with("StateExited") {
            // What leaves a Map or a Parallel follows from the last event within it.
            let named =
                |visit: &Visit| event.state.as_deref().is_none_or(|name| name == visit.state);
            while !named(&self.visits[at]) {
                let Some(parent) = self.visits[at].parent else { break };
                at = parent;
            }
            let visit = &mut self.visits[at];
            visit.exit = Some(event.id);
            visit.left_at = Some(event.at);
            visit.standing = match visit.standing {
                Standing::Failed => Standing::Caught,
                _ if visit.attempts.last().is_some_and(|a| a.good == Some(false)) => {
                    Standing::Caught
                }
                _ => Standing::Done,
            };
        } else if kind.starts_with("Map") || kind.starts_with("Parallel") {
            at = self.container(event, at);
        } else if kind.ends_with("StateAborted") {
            self.visits[at].standing = Standing::Ended;
            self.visits[at].left_at = Some(event.at);
        } else {
            self.visits[at].tried(event);
        }
        self.of.insert(event.id, at);
    }

    fn enter(&mut self, event: &ExecutionEvent, word: &str) {
        let before = self.of.get(&event.previous).copied();
        // After a state that was left comes one beside it; after a beginning, one within.
        let parent = before.and_then(|at| match self.visits[at].exit.is_some() {
            true => self.visits[at].parent,
            false => Some(at),
        });
        let iteration = self
            .iteration
            .get(&event.previous)
            .copied()
            .or_else(|| before.and_then(|at| self.visits[at].iteration));
        self.of.insert(event.id, self.visits.len());
        self.visits.push(Visit {
            id: event.id,
            exit: None,
            state: event.state.clone().unwrap_or_default(),
            kind: word.to_owned(),
            entered_at: event.at,
            left_at: None,
            standing: Standing::Running,
            iteration: if parent.is_some() { iteration } else { None },
            attempts: Vec::new(),
            fault: None,
            parent,
        });
    }

    /// An event of a Map or a Parallel: it may follow from one within.
    fn container(&mut self, event: &ExecutionEvent, mut at: usize) -> usize {
        let kind = event.kind.as_str();
        let word = if kind.starts_with("Map") { "Map" } else { "Parallel" };
        while self.visits[at].kind != word || self.visits[at].exit.is_some() {
            let Some(parent) = self.visits[at].parent else { break };
            at = parent;
        }
        if kind == "MapIterationStarted"
            && let Some(index) = event.index
        {
            self.iteration.insert(event.id, index);
        }
        let ended = match kind {
            "MapStateFailed" | "ParallelStateFailed" | "MapRunFailed" => Some(Standing::Failed),
            "MapStateAborted" | "ParallelStateAborted" => Some(Standing::Ended),
            _ => None,
        };
        if let Some(standing) = ended {
            self.visits[at].standing = standing;
            self.visits[at].left_at = Some(event.at);
        }
        at
    }
}

impl Visit {
    /// An event of its task.
    fn tried(&mut self, event: &ExecutionEvent) {
        let kind = event.kind.as_str();
        let fresh = |resource: &Option<String>| Attempt {
            resource: resource.clone().unwrap_or_default(),
            worker: None,
            scheduled_at: event.at,
            started_at: None,
            ended_at: None,
            good: None,
            end: None,
            error: None,
            cause: None,
        };
        if kind.ends_with("Scheduled") {
            // It goes on: after a failure, or after a redrive.
            self.standing = Standing::Running;
            self.left_at = None;
            return self.attempts.push(fresh(&event.resource));
        }
        let failed = kind.ends_with("Failed") || kind.ends_with("TimedOut");
        if failed && self.attempts.last().is_none_or(|attempt| attempt.good.is_some()) {
            // It could not even be scheduled, or an expression failed.
            self.attempts.push(fresh(&event.resource));
        }
        let Some(attempt) = self.attempts.last_mut() else { return };
        if kind.ends_with("Started") {
            attempt.started_at = Some(event.at);
            attempt.worker.clone_from(&event.worker);
        } else if kind.ends_with("Succeeded") || failed {
            attempt.ended_at = Some(event.at);
            attempt.good = Some(!failed);
            attempt.end = Some(event.id);
            attempt.error.clone_from(&event.error);
            attempt.cause.clone_from(&event.cause);
        }
    }
}

/// What the drawing is told of each state; `href` makes the address of a visit.
pub(super) fn marks(visits: &[Visit], href: impl Fn(u64) -> String) -> BTreeMap<String, Mark> {
    let mut all: BTreeMap<String, Mark> = BTreeMap::new();
    for visit in visits {
        let mark = Mark {
            tone: visit.standing.tone(),
            words: visit.standing.words().to_owned(),
            visits: 1,
            href: href(visit.id),
        };
        match all.get_mut(&visit.state) {
            // What goes on, or failed, in one of many iterations is what is to be seen.
            Some(known) if weight(known.tone) > weight(mark.tone) && visit.iteration.is_some() => {
                known.visits += 1;
            }
            Some(known) => *known = Mark { visits: known.visits + 1, ..mark },
            None => {
                all.insert(visit.state.clone(), mark);
            }
        }
    }
    all
}

const fn weight(tone: Tone) -> u8 {
    match tone {
        Tone::Quiet => 0,
        Tone::Good => 1,
        Tone::Busy => 2,
        Tone::Bad => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Events by number: previous, kind, a word for what it names.
    fn read(rows: &[(u64, u64, &str, &str)], status: ExecutionStatus) -> Vec<Visit> {
        let events: Vec<ExecutionEvent> = rows
            .iter()
            .map(|(id, previous, kind, word)| {
                let named = kind.contains("StateE");
                let word = Some((*word).to_owned()).filter(|word| !word.is_empty());
                let text = |word: Option<String>| {
                    word.map(|text| EventText { bytes: text.len() as u64, text, cut: false })
                };
                let failed = kind.ends_with("Failed");
                let started = kind.ends_with("Started") && !kind.starts_with("Map");
                ExecutionEvent {
                    id: *id,
                    previous: *previous,
                    at: Timestamp::from_second(i64::try_from(*id).expect("small"))
                        .expect("an instant"),
                    kind: (*kind).to_owned(),
                    state: word.clone().filter(|_| named),
                    index: word.as_deref().and_then(|word| word.parse().ok()),
                    resource: None,
                    worker: word.clone().filter(|_| started),
                    map_run: None,
                    input: None,
                    output: None,
                    error: text(word.filter(|_| failed)),
                    cause: None,
                    log: None,
                }
            })
            .collect();
        visits(&events, status)
    }

    fn short(visits: &[Visit]) -> Vec<(&str, Standing)> {
        visits.iter().map(|visit| (visit.state.as_str(), visit.standing)).collect()
    }

    #[test]
    fn retries_are_attempts_and_a_caught_failure_is_told() {
        use Standing::{Caught, Done, Failed, Running};
        let rows = [
            (1, 0, "ExecutionStarted", ""),
            (2, 0, "TaskStateEntered", "Do"),
            (3, 2, "ActivityScheduled", ""),
            (4, 3, "ActivityStarted", "w1"),
            (5, 4, "ActivityFailed", "E"),
            (6, 5, "ActivityScheduled", ""),
            (7, 6, "ActivityStarted", "w2"),
        ];
        let running = read(&rows, ExecutionStatus::Running);
        assert_eq!(short(&running), [("Do", Running)]);
        assert_eq!(running[0].attempts.len(), 2);
        assert_eq!(running[0].attempts[1].worker.as_deref(), Some("w2"));
        let mut caught = rows.to_vec();
        caught.extend([
            (8, 7, "ActivityFailed", "E"),
            (9, 8, "TaskStateExited", "Do"),
            (10, 9, "PassStateEntered", "Tell"),
            (11, 10, "PassStateExited", "Tell"),
            (12, 11, "ExecutionSucceeded", ""),
        ]);
        let caught = read(&caught, ExecutionStatus::Succeeded);
        assert_eq!(short(&caught), [("Do", Caught), ("Tell", Done)]);
        assert_eq!(caught[0].error().map(|error| error.text.as_str()), Some("E"));
        let mut failed = rows.to_vec();
        failed.extend([(8, 7, "ActivityFailed", "E"), (9, 8, "ExecutionFailed", "E")]);
        let failed = read(&failed, ExecutionStatus::Failed);
        assert_eq!(short(&failed), [("Do", Failed)]);
        let mark = &marks(&failed, |id| id.to_string())["Do"];
        assert_eq!((mark.tone, mark.visits, mark.href.as_str()), (Tone::Bad, 1, "2"));
    }

    #[test]
    fn iterations_are_kept_apart_and_what_is_within_is_left_after_it() {
        use Standing::{Done, Ended, Failed};
        let all = read(
            &[
                (1, 0, "ExecutionStarted", ""),
                (2, 0, "MapStateEntered", "All"),
                (3, 2, "MapStateStarted", ""),
                (4, 3, "MapIterationStarted", "0"),
                (5, 4, "PassStateEntered", "One"),
                (6, 3, "MapIterationStarted", "1"),
                (7, 6, "PassStateEntered", "One"),
                (8, 5, "PassStateExited", "One"),
                (9, 8, "MapIterationSucceeded", "0"),
                (10, 7, "PassStateExited", "One"),
                (11, 10, "MapIterationSucceeded", "1"),
                (12, 11, "MapStateSucceeded", ""),
                (13, 12, "MapStateExited", "All"),
                (14, 13, "ParallelStateEntered", "Both"),
                (15, 14, "ParallelStateStarted", ""),
                (16, 15, "WaitStateEntered", "Rest"),
                (17, 15, "FailStateEntered", "No"),
                (18, 17, "ExecutionFailed", "E"),
            ],
            ExecutionStatus::Failed,
        );
        let expect = [
            ("All", Done),
            ("One", Done),
            ("One", Done),
            ("Both", Ended),
            ("Rest", Ended),
            ("No", Failed),
        ];
        assert_eq!(short(&all), expect);
        let iterations: Vec<_> = all.iter().map(|visit| visit.iteration).collect();
        assert_eq!(iterations, [None, Some(0), Some(1), None, None, None]);
        assert_eq!(marks(&all, |id| id.to_string())["One"].visits, 2);
        assert_eq!(all[5].error().map(|error| error.text.as_str()), Some("E"));
    }

    #[test]
    fn events_without_their_beginning_are_left_out() {
        let rows = [
            (700, 650, "TaskStateExited", "Gone"),
            (701, 700, "PassStateEntered", "Here"),
            (702, 701, "PassStateExited", "Here"),
        ];
        assert_eq!(short(&read(&rows, ExecutionStatus::Running)), [("Here", Standing::Done)]);
    }
}
