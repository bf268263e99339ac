//! What runs write: the log of one attempt after the other, followed to the end of the run, or its last
//! lines. Reads records and logs, and changes neither.

use std::collections::VecDeque;
use std::time::Duration;

use ark_engine::{EngineError, LogQuery, LogSource};
use ark_model::api::{LOG_LINES_MAX, LogLine, OutputStream, ProblemCode, RunLogsQuery};
use ark_model::run::{Attempt, AttemptEnd, RunRecord, RunState};
use ark_model::{AppName, EnvName, InstanceId, RunId};
use axum::extract::State;
use axum::response::Response;
use futures::StreamExt as _;
use http::HeaderMap;
use tokio::time::Instant;

use super::error::ApiError;
use super::extract::{Path, Query};
use super::operation::Shared;
use super::runs::{read, view};
use super::stream::{Outlet, Over, events, json_event, last_event_id};

/// A run is looked at this often while its log is followed, even if nothing seems to happen.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// The most bytes of last lines that are put together for one answer.
const TAIL_BYTES_MAX: usize = 32 << 20;
/// How long the engine may keep the log of an attempt that is over to itself, before that is said instead.
const LOG_PATIENCE: Duration = Duration::from_secs(15);
/// How soon it is looked at again when its log is not there yet.
const LOOK_SOON: Duration = Duration::from_millis(100);

pub(super) async fn follow(
    State(state): State<Shared>,
    Path(which): Path<(EnvName, AppName, u64)>,
    Query(query): Query<RunLogsQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let run = read(&state, which).await?;
    if let Some(tail) = query.tail {
        if query.follow != Some(false) {
            let detail = "`tail` is of what was written by now: it wants `follow=false`";
            return Err(ApiError::new(ProblemCode::InvalidValue, detail));
        }
        if tail > LOG_LINES_MAX {
            let detail = format!("{tail} lines are not allowed: at most {LOG_LINES_MAX}");
            return Err(ApiError::new(ProblemCode::InvalidValue, detail));
        }
        let state_of = state.clone();
        return events(&state, move |outlet| last_lines(state_of, run, tail as usize, outlet));
    }
    let after = match last_event_id(&headers) {
        Some(text) => text.parse::<Place>().map_err(|()| {
            ApiError::new(ProblemCode::InvalidValue, "Last-Event-ID is not one of this stream")
        })?,
        None => Place::default(),
    };
    let until = if query.follow == Some(false) { Until::Now } else { Until::Over };
    let follower = Follower {
        state: state.clone(),
        id: run.id,
        place: after,
        until,
        held: None,
        unread: None,
    };
    events(&state, move |outlet| follower.run(outlet))
}

/// Sends the last lines of a run, of all its attempts together, then the run if it is over.
async fn last_lines(state: Shared, run: RunRecord, tail: usize, outlet: Outlet) {
    let lines = tokio::select! {
        lines = newest(&state, &run, tail) => lines,
        () = outlet.closed() => return,
    };
    for line in lines {
        if outlet.send(json_event("line", None, &line), || None).await.is_err() {
            return;
        }
    }
    if !run.is_active() {
        let _ = outlet.send(json_event("ended", None, &view(run)), || None).await;
    }
}

/// The last lines of all attempts together, oldest first. An attempt whose log is gone has none.
async fn newest(state: &Shared, run: &RunRecord, tail: usize) -> VecDeque<LogLine> {
    let (mut newest, mut bytes) = (VecDeque::new(), 0);
    for attempt in run.attempts.iter().rev() {
        let left = tail - newest.len();
        if left == 0 || bytes >= TAIL_BYTES_MAX {
            break;
        }
        let query = LogQuery { tail: Some(left), since: None, follow: false };
        let mut of_attempt = VecDeque::new();
        let mut log = match state.engine.logs(attempt.instance, query).await {
            Ok(log) => log,
            Err(EngineError::Unknown(_)) => {
                if let Some(line) = gone(run, attempt) {
                    newest.push_front(line);
                }
                continue;
            }
            Err(error) => {
                tracing::debug!(%error, "the log of a run cannot be read");
                let words = "its log cannot be read now";
                newest.push_front(said(run, attempt, words));
                continue;
            }
        };
        while let Some(Ok(line)) = log.next().await {
            bytes += line.text.len();
            of_attempt.push_back(log_line(run, attempt.instance, line));
            while bytes > TAIL_BYTES_MAX {
                let Some(oldest) = of_attempt.pop_front() else { break };
                bytes -= oldest.text.len();
            }
        }
        of_attempt.append(&mut newest);
        newest = of_attempt;
    }
    newest
}

/// What is said of an attempt's log that is not there: silence would read as an attempt that wrote nothing. One
/// that never ran had none.
fn gone(run: &RunRecord, attempt: &Attempt) -> Option<LogLine> {
    let ran = attempt.end.is_some() && !never_began(attempt);
    ran.then(|| said(run, attempt, "its log is no longer kept"))
}

/// Whether it ended before it ran: there is no log to ask for.
fn never_began(attempt: &Attempt) -> bool {
    matches!(attempt.end, Some(AttemptEnd::NotStarted { .. }))
}

fn said(run: &RunRecord, attempt: &Attempt, words: &str) -> LogLine {
    LogLine {
        at: attempt.ended_at.unwrap_or(attempt.created_at),
        instance: attempt.instance.short(&run.app),
        stream: OutputStream::Ark,
        text: words.to_owned(),
    }
}

fn log_line(run: &RunRecord, instance: InstanceId, line: ark_engine::LogLine) -> LogLine {
    LogLine {
        at: line.at,
        instance: instance.short(&run.app),
        stream: match line.stream {
            LogSource::Stdout => OutputStream::Stdout,
            LogSource::Stderr => OutputStream::Stderr,
            LogSource::Ark => OutputStream::Ark,
        },
        text: line.text,
    }
}

/// How far a run's log was read: so many lines of its n-th attempt, counted from 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Place {
    attempt: usize,
    lines: u64,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.attempt, self.lines)
    }
}

impl std::str::FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (attempt, lines) = text.split_once('-').ok_or(())?;
        Ok(Self {
            attempt: attempt.parse().map_err(|_| ())?,
            lines: lines.parse().map_err(|_| ())?,
        })
    }
}

/// How far a run is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    /// To what it has written by now.
    Now,
    /// To its end.
    Over,
}

/// Sends the logs of one attempt after the other, then the run.
struct Follower {
    state: Shared,
    id: RunId,
    place: Place,
    until: Until,
    /// What was last said of why an attempt is not started.
    held: Option<String>,
    /// Since when the engine does not give the log of an attempt that is over.
    unread: Option<Instant>,
}

impl Follower {
    async fn run(mut self, outlet: Outlet) {
        let mut commits = self.state.store.commits();
        loop {
            commits.mark_unchanged();
            let id = self.id;
            // A run that was forgotten meanwhile has nothing more to say.
            let Ok(Some(run)) = self.state.store.read(move |tx| tx.run(id)).await else { return };
            if self.say_held(&outlet, &run).await.is_err() {
                return;
            }
            let logged = match run.attempts.get(self.place.attempt) {
                Some(attempt) => {
                    let Ok(logged) = self.attempt(&outlet, &run, attempt.instance).await else {
                        return;
                    };
                    // The log has ended; the record says whether the attempt has.
                    if self.until == Until::Now || logged && attempt.end.is_some() {
                        self.place = Place { attempt: self.place.attempt + 1, lines: 0 };
                        continue;
                    }
                    logged
                }
                None if !run.is_active() => {
                    let id = Some(self.place.to_string());
                    let _ = outlet.send(json_event("ended", id, &view(run)), || None).await;
                    return;
                }
                None if self.until == Until::Now => return,
                None => true,
            };
            let pause = if logged { LOOK_AGAIN } else { LOOK_SOON };
            tokio::select! {
                changed = commits.changed() => { if changed.is_err() { return; } }
                () = tokio::time::sleep(pause) => {}
                () = outlet.closed() => return,
            }
        }
    }

    /// Says why the attempt that is to start has not, each time that it is something else.
    async fn say_held(&mut self, outlet: &Outlet, run: &RunRecord) -> Result<(), Over> {
        let attempt = run.current().filter(|_| run.state == RunState::Starting);
        let held = attempt.and_then(|attempt| attempt.held.clone());
        if held == self.held {
            return Ok(());
        }
        self.held = held;
        if self.held.is_none() {
            return Ok(());
        }
        outlet.send(json_event("held", None, &view(run.clone())), || None).await
    }

    /// Sends the lines of one attempt that were not sent yet. Answers whether its log was there, or
    /// is gone for good.
    async fn attempt(
        &mut self,
        outlet: &Outlet,
        run: &RunRecord,
        instance: InstanceId,
    ) -> Result<bool, Over> {
        let over = run.attempts.get(self.place.attempt).is_some_and(|a| a.end.is_some());
        let attempt = run.attempts.get(self.place.attempt);
        if attempt.is_some_and(|a| a.held.is_some() && never_began(a)) {
            return Ok(true);
        }
        let query = LogQuery { tail: None, since: None, follow: self.until == Until::Over };
        let mut log = match self.state.engine.logs(instance, query).await {
            Ok(log) => log,
            Err(EngineError::Unknown(_)) => {
                if over {
                    self.no_log(outlet, run).await?;
                }
                return Ok(over);
            }
            Err(error) => {
                tracing::debug!(%error, "the log of a run could not be followed");
                return match over || self.until == Until::Now {
                    true => self.give_up(outlet, run).await,
                    false => Ok(false),
                };
            }
        };
        self.unread = None;
        let mut number = 0;
        loop {
            let line = tokio::select! {
                line = log.next() => line,
                () = outlet.closed() => return Err(Over),
            };
            let Some(Ok(line)) = line else { return Ok(true) };
            number += 1;
            if number <= self.place.lines {
                continue;
            }
            self.place.lines = number;
            let line = log_line(run, instance, line);
            self.send(outlet, line).await?;
        }
    }

    /// Says of an attempt that is over, and whose log the engine does not give, that it does not, once it
    /// had its time: an engine that is away holds nobody who follows. Answers whether that was said.
    async fn give_up(&mut self, outlet: &Outlet, run: &RunRecord) -> Result<bool, Over> {
        let since = self.unread.get_or_insert_with(Instant::now);
        if self.until == Until::Over && since.elapsed() < LOG_PATIENCE {
            return Ok(false);
        }
        self.unread = None;
        if let Some(attempt) = run.attempts.get(self.place.attempt) {
            let words = "its log cannot be read now: the engine does not give it";
            // Of no place of its own: who resumes has every line of the log.
            let line = said(run, attempt, words);
            outlet.send(json_event("line", None, &line), || None).await?;
        }
        Ok(true)
    }

    /// Says of an attempt that ran, and whose log is gone, that it is: silence would read as an attempt
    /// that wrote nothing.
    async fn no_log(&mut self, outlet: &Outlet, run: &RunRecord) -> Result<(), Over> {
        let attempt = run.attempts.get(self.place.attempt).filter(|_| self.place.lines == 0);
        let Some(line) = attempt.and_then(|attempt| gone(run, attempt)) else { return Ok(()) };
        self.place.lines = 1;
        self.send(outlet, line).await
    }

    async fn send(&self, outlet: &Outlet, line: LogLine) -> Result<(), Over> {
        let id = Some(self.place.to_string());
        outlet.send(json_event("line", id, &line), || None).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_a_log_survives_text() {
        let place = Place { attempt: 2, lines: 31 };
        assert_eq!(place.to_string().parse(), Ok(place));
        for text in ["", "2", "a-1", "1-", "-1"] {
            assert_eq!(text.parse::<Place>(), Err(()), "{text}");
        }
    }
}
