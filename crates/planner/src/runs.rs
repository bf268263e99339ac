//! What a run does next: pure, one function of the record, what the engine says, and the instant.
//! Called by the server's loop of runs, which records the answer before it calls the engine.

use std::time::Duration;

use ark_model::instance::{EngineState, StartFailure};
use ark_model::run::{Attempt, AttemptEnd, RunOutcome, RunRecord, RunState, RunStop};
use jiff::Timestamp;

use crate::time::after;

/// The pause before a run is tried again; each further one is twice as long.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// The longest such pause.
const PAUSE_MAX: Duration = Duration::from_secs(300);
/// How long an engine may be silent, beyond its grace, about an attempt that was told to end.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// What a run is judged by beside its own record.
#[derive(Debug, Clone)]
pub struct Seen<'a> {
    /// What the engine says of the attempt that goes on; `None` when it could not be asked.
    pub engine: Option<&'a EngineState>,
    /// Whether another run of the app goes on, for one that wants to be alone.
    pub others: bool,
    /// Why nothing of the app is to run any more.
    pub ending: Option<&'static str>,
    /// How long its process may take to end once it was told.
    pub grace: Duration,
    /// Since when this server looks: a silence before it was nobody's.
    pub since: Timestamp,
    /// The instant of this look.
    pub now: Timestamp,
}

/// What is to be done with a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing before this instant, or before something changes.
    Wait(Option<Timestamp>),
    /// A new attempt is recorded, with an instance of its own.
    Begin,
    /// The engine is told to start the attempt's instance. It is recorded already.
    CallStart,
    /// The engine runs it since then: to be recorded.
    Runs(Timestamp),
    /// It is recorded as stopping; the engine is told then.
    Stop,
    /// The engine is told (again) to stop it.
    CallStop,
    /// The attempt is over, and another one follows after a pause.
    Again {
        /// How this one ended.
        end: AttemptEnd,
        /// When the next one begins.
        start_after: Timestamp,
    },
    /// The run is over.
    End {
        /// How its attempt ended, when one went on.
        end: Option<AttemptEnd>,
        /// How the run ended.
        outcome: RunOutcome,
    },
}

/// The next step of a run that is not over.
pub fn next(run: &RunRecord, seen: &Seen<'_>) -> Step {
    let stop = wish(run, seen);
    match (run.state, run.current()) {
        (RunState::Ended, _) => Step::Wait(None),
        (RunState::Waiting, _) | (_, None) => waiting(run, seen, stop),
        (RunState::Starting, Some(attempt)) => starting(run, attempt, seen, stop.is_some()),
        (RunState::Running, Some(attempt)) => running(run, attempt, seen, stop.is_some()),
        (RunState::Stopping, Some(attempt)) => stopping(run, attempt, seen, stop),
    }
}

/// The wish that it ends, its own or the app's.
fn wish(run: &RunRecord, seen: &Seen<'_>) -> Option<RunStop> {
    run.stop.clone().or_else(|| {
        let why = seen.ending?.to_owned();
        Some(RunStop { by: "ark".to_owned(), why, at: seen.now })
    })
}

fn stopped(stop: RunStop) -> RunOutcome {
    RunOutcome::Stopped { by: stop.by, why: stop.why }
}

fn waiting(run: &RunRecord, seen: &Seen<'_>, stop: Option<RunStop>) -> Step {
    if let Some(stop) = stop {
        return Step::End { end: None, outcome: stopped(stop) };
    }
    match run.start_after.filter(|at| *at > seen.now) {
        Some(at) => Step::Wait(Some(at)),
        None if run.alone && seen.others => Step::Wait(None),
        None => Step::Begin,
    }
}

/// When the attempt's time is over. Fetching an image counts: no wait is without an end.
fn deadline(run: &RunRecord, attempt: &Attempt) -> Timestamp {
    after(attempt.started_at.unwrap_or(attempt.created_at), run.timeout)
}

fn starting(run: &RunRecord, attempt: &Attempt, seen: &Seen<'_>, stop: bool) -> Step {
    let over = deadline(run, attempt);
    match seen.engine {
        Some(EngineState::Exited { .. } | EngineState::StartFailed { .. }) => {
            ended(run, seen, None)
        }
        // Whatever the engine says, and even if it says nothing: no wait is without an end.
        _ if stop || seen.now >= over => Step::Stop,
        Some(EngineState::Gone) => Step::CallStart,
        Some(EngineState::Running { since, .. }) => Step::Runs(*since),
        None | Some(EngineState::Preparing | EngineState::Stopping { .. }) => {
            Step::Wait(Some(over))
        }
    }
}

fn running(run: &RunRecord, attempt: &Attempt, seen: &Seen<'_>, stop: bool) -> Step {
    let over = deadline(run, attempt);
    match seen.engine {
        Some(EngineState::Exited { .. } | EngineState::StartFailed { .. } | EngineState::Gone) => {
            ended(run, seen, None)
        }
        _ if stop || seen.now >= over => Step::Stop,
        None
        | Some(
            EngineState::Running { .. } | EngineState::Preparing | EngineState::Stopping { .. },
        ) => Step::Wait(Some(over)),
    }
}

fn stopping(run: &RunRecord, attempt: &Attempt, seen: &Seen<'_>, stop: Option<RunStop>) -> Step {
    match seen.engine {
        None => {
            let told = attempt.stopping_at.unwrap_or(attempt.created_at).max(seen.since);
            let patience = after(told, seen.grace.saturating_add(SILENCE_MAX));
            if seen.now < patience {
                return Step::Wait(Some(patience));
            }
            // Not tried again: it may still be running, and housekeeping ends it once the engine
            // speaks.
            let (end, outcome) = match stop {
                Some(stop) => (AttemptEnd::Stopped, stopped(stop)),
                None => {
                    let end = out_of_time(attempt);
                    (end.clone(), RunOutcome::Failed { end })
                }
            };
            Step::End { end: Some(end), outcome }
        }
        Some(EngineState::Exited { .. } | EngineState::StartFailed { .. } | EngineState::Gone) => {
            ended(run, seen, Some(stop))
        }
        Some(
            EngineState::Preparing | EngineState::Running { .. } | EngineState::Stopping { .. },
        ) => Step::CallStop,
    }
}

/// How an attempt ends whose time is over: one that waited for its engine to the last did not take too
/// long, it never began.
fn out_of_time(attempt: &Attempt) -> AttemptEnd {
    match (&attempt.held, attempt.started_at) {
        (Some(why), None) => {
            AttemptEnd::NotStarted { reason: StartFailure::Other { detail: why.clone() } }
        }
        (None, _) | (_, Some(_)) => AttemptEnd::TimedOut,
    }
}

/// What follows from the end of an attempt. `told` is set when it was told to end: by a wish, or
/// else because its time was over.
fn ended(run: &RunRecord, seen: &Seen<'_>, told: Option<Option<RunStop>>) -> Step {
    let end = match (seen.engine, &told) {
        (Some(EngineState::Exited { exit }), _) if exit.code == Some(0) => {
            AttemptEnd::Exited { exit: exit.clone() }
        }
        (_, Some(Some(_))) => AttemptEnd::Stopped,
        (Some(EngineState::Gone), Some(None)) => {
            run.current().map_or(AttemptEnd::TimedOut, out_of_time)
        }
        (_, Some(None)) => AttemptEnd::TimedOut,
        (Some(EngineState::Exited { exit }), None) => AttemptEnd::Exited { exit: exit.clone() },
        (Some(EngineState::StartFailed { reason }), None) => {
            AttemptEnd::NotStarted { reason: reason.clone() }
        }
        (_, None) => AttemptEnd::Lost,
    };
    if end.succeeded() {
        return Step::End { end: Some(end), outcome: RunOutcome::Succeeded };
    }
    if let Some(stop) = told.flatten().or_else(|| wish(run, seen)) {
        return Step::End { end: Some(end), outcome: stopped(stop) };
    }
    let tried = u32::try_from(run.attempts.len()).unwrap_or(u32::MAX);
    if tried > run.retries {
        return Step::End { end: Some(end.clone()), outcome: RunOutcome::Failed { end } };
    }
    Step::Again { end, start_after: after(seen.now, pause(tried)) }
}

/// The pause after so many attempts: 1 s, 2 s, 4 s, ... up to 5 minutes.
fn pause(tried: u32) -> Duration {
    let factor = 2_u32.saturating_pow(tried.saturating_sub(1).min(16));
    PAUSE_MIN.saturating_mul(factor).min(PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ark_model::instance::Exit;
    use ark_model::run::RunCause;
    use ark_model::{InstanceId, ReleaseNumber, RunId};
    use uuid::Uuid;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).expect("an instant")
    }

    fn run(state: RunState, attempts: u32) -> RunRecord {
        let attempt = |n: u32| Attempt {
            instance: InstanceId(Uuid::from_u128(u128::from(n))),
            created_at: at(0),
            started_at: (state == RunState::Running).then(|| at(1)),
            held: None,
            stopping_at: (state == RunState::Stopping).then(|| at(61)),
            ended_at: None,
            end: (n + 1 < attempts || state == RunState::Waiting).then_some(AttemptEnd::Lost),
        };
        RunRecord {
            id: RunId(Uuid::nil()),
            env: "production".parse().expect("a name"),
            app: "nightly".parse().expect("a name"),
            number: 1,
            release: ReleaseNumber(1),
            cause: RunCause::Asked { by: "ana".to_owned() },
            args: Vec::new(),
            retries: 2,
            timeout: Duration::from_secs(60),
            alone: false,
            state,
            attempts: (0..attempts).map(attempt).collect(),
            start_after: None,
            stop: None,
            created_at: at(0),
            ended_at: None,
            outcome: None,
        }
    }

    fn exit(code: i32) -> Exit {
        Exit {
            began: None,
            code: Some(code),
            signal: None,
            out_of_memory: false,
            requested: false,
            at: at(5),
        }
    }

    fn exited(code: i32) -> EngineState {
        EngineState::Exited { exit: exit(code) }
    }

    fn runs() -> EngineState {
        EngineState::Running { since: at(1), process: None, address: None }
    }

    fn seen<'a>(engine: Option<&'a EngineState>, second: i64) -> Seen<'a> {
        let grace = Duration::from_secs(10);
        Seen { engine, others: false, ending: None, grace, since: at(0), now: at(second) }
    }

    fn failed(code: i32) -> AttemptEnd {
        AttemptEnd::Exited { exit: exit(code) }
    }

    #[test]
    fn a_run_goes_from_waiting_to_its_end() {
        use RunState::{Running, Starting, Stopping, Waiting};
        let over = at(61);
        let ok = Step::End { end: Some(failed(0)), outcome: RunOutcome::Succeeded };
        let refused = StartFailure::Other { detail: "no such program".to_owned() };
        // State, attempts so far, what the engine says, second of the look, step.
        for (state, attempts, engine, second, wanted) in [
            (Waiting, 0, None, 0, Step::Begin),
            (Starting, 1, None, 0, Step::Wait(Some(at(60)))),
            (Starting, 1, Some(EngineState::Gone), 0, Step::CallStart),
            (Starting, 1, Some(EngineState::Preparing), 0, Step::Wait(Some(at(60)))),
            (Starting, 1, Some(EngineState::Preparing), 60, Step::Stop),
            (Starting, 1, Some(EngineState::Stopping { since: at(50) }), 60, Step::Stop),
            (Starting, 1, None, 60, Step::Stop),
            (Starting, 1, Some(runs()), 2, Step::Runs(at(1))),
            (Starting, 1, Some(exited(0)), 2, ok.clone()),
            (
                Starting,
                1,
                Some(EngineState::StartFailed { reason: refused.clone() }),
                2,
                Step::Again { end: AttemptEnd::NotStarted { reason: refused }, start_after: at(3) },
            ),
            (Running, 1, Some(runs()), 5, Step::Wait(Some(over))),
            (Running, 1, None, 5, Step::Wait(Some(over))),
            (Running, 1, Some(runs()), 61, Step::Stop),
            (Running, 1, Some(exited(0)), 6, ok.clone()),
            (Running, 1, Some(exited(3)), 6, Step::Again { end: failed(3), start_after: at(7) }),
            (Running, 2, Some(exited(3)), 6, Step::Again { end: failed(3), start_after: at(8) }),
            (
                Running,
                3,
                Some(exited(3)),
                6,
                Step::End { end: Some(failed(3)), outcome: RunOutcome::Failed { end: failed(3) } },
            ),
            (
                Running,
                1,
                Some(EngineState::Gone),
                6,
                Step::Again { end: AttemptEnd::Lost, start_after: at(7) },
            ),
            (Stopping, 1, Some(runs()), 62, Step::CallStop),
            (Stopping, 1, None, 62, Step::Wait(Some(at(131)))),
            (
                Stopping,
                1,
                None,
                131,
                Step::End {
                    end: Some(AttemptEnd::TimedOut),
                    outcome: RunOutcome::Failed { end: AttemptEnd::TimedOut },
                },
            ),
            (
                Stopping,
                1,
                Some(exited(143)),
                62,
                Step::Again { end: AttemptEnd::TimedOut, start_after: at(63) },
            ),
            (Stopping, 1, Some(exited(0)), 62, ok),
        ] {
            let step = next(&run(state, attempts), &seen(engine.as_ref(), second));
            assert_eq!(step, wanted, "{state:?}, {attempts} attempts, {engine:?} at {second}");
        }
    }

    #[test]
    fn a_wish_to_end_is_not_tried_again() {
        let why = "enough".to_owned();
        let stop = RunStop { by: "ana".to_owned(), why: why.clone(), at: at(5) };
        let outcome = RunOutcome::Stopped { by: "ana".to_owned(), why };
        for (state, engine, wanted) in [
            (RunState::Waiting, None, Step::End { end: None, outcome: outcome.clone() }),
            (RunState::Starting, Some(EngineState::Preparing), Step::Stop),
            (RunState::Starting, Some(EngineState::Gone), Step::Stop),
            (RunState::Running, Some(runs()), Step::Stop),
            (RunState::Stopping, Some(runs()), Step::CallStop),
            (RunState::Starting, None, Step::Stop),
            (RunState::Running, None, Step::Stop),
            (
                RunState::Stopping,
                Some(exited(143)),
                Step::End { end: Some(AttemptEnd::Stopped), outcome: outcome.clone() },
            ),
            (
                RunState::Running,
                Some(exited(3)),
                Step::End { end: Some(failed(3)), outcome: outcome.clone() },
            ),
        ] {
            let run = RunRecord { stop: Some(stop.clone()), ..run(state, 1) };
            assert_eq!(next(&run, &seen(engine.as_ref(), 6)), wanted, "{state:?} {engine:?}");
        }
        let ending = Seen { ending: Some("it ends"), ..seen(None, 6) };
        let ended = next(&run(RunState::Waiting, 0), &ending);
        assert!(
            matches!(ended, Step::End { outcome: RunOutcome::Stopped { .. }, .. }),
            "{ended:?}"
        );
    }

    /// With an engine that never says a word every run ends, and no wait lies in the past.
    #[test]
    fn a_silent_engine_holds_no_run() {
        let stop = RunStop { by: "ana".to_owned(), why: "enough".to_owned(), at: at(5) };
        for stop in [None, Some(stop)] {
            for state in [RunState::Starting, RunState::Running, RunState::Stopping] {
                let mut run = RunRecord { stop: stop.clone(), ..run(state, 1) };
                let mut now = 6;
                let outcome = loop {
                    assert!(now < 300, "{state:?} goes on");
                    match next(&run, &seen(None, now)) {
                        Step::Wait(until) => {
                            let until = until.expect("a silent engine wakes nobody");
                            assert!(until > at(now), "{state:?} is looked at again at once");
                            now = until.as_second() - at(0).as_second();
                        }
                        Step::Stop => {
                            run.state = RunState::Stopping;
                            run.attempts[0].stopping_at = Some(at(now));
                        }
                        Step::End { outcome, .. } => break outcome,
                        other => panic!("{state:?}: {other:?}"),
                    }
                };
                match &stop {
                    Some(_) => assert!(matches!(outcome, RunOutcome::Stopped { .. })),
                    None => assert_eq!(outcome.exit_code(), 124),
                }
            }
        }
    }

    /// The time of a run whose engine was away all along says nothing of the run.
    #[test]
    fn what_never_began_did_not_take_too_long() {
        let why = "the docker engine of host local does not answer".to_owned();
        let end = AttemptEnd::NotStarted { reason: StartFailure::Other { detail: why.clone() } };
        let mut held = RunRecord { retries: 0, ..run(RunState::Stopping, 1) };
        held.attempts[0].held = Some(why);
        let outcome = RunOutcome::Failed { end: end.clone() };
        assert_eq!(outcome.exit_code(), 125);
        let ended = Step::End { end: Some(end), outcome };
        assert_eq!(next(&held, &seen(None, 131)), ended);
        assert_eq!(next(&held, &seen(Some(&EngineState::Gone), 62)), ended);
        // What it left shows that it ran after all.
        let late = next(&held, &seen(Some(&exited(143)), 62));
        let timed_out = RunOutcome::Failed { end: AttemptEnd::TimedOut };
        assert_eq!(late, Step::End { end: Some(AttemptEnd::TimedOut), outcome: timed_out.clone() });
        // The engine fell silent only after it had begun.
        held.attempts[0].started_at = Some(at(1));
        let late = next(&held, &seen(None, 131));
        assert_eq!(late, Step::End { end: Some(AttemptEnd::TimedOut), outcome: timed_out });
    }

    /// A server that was away for long first asks the engine in peace.
    #[test]
    fn a_silence_counts_from_the_first_look() {
        let late = Seen { since: at(900), ..seen(None, 901) };
        assert_eq!(next(&run(RunState::Stopping, 1), &late), Step::Wait(Some(at(970))));
        let late = Seen { now: at(970), ..late };
        assert!(matches!(next(&run(RunState::Stopping, 1), &late), Step::End { .. }));
    }

    #[test]
    fn one_that_wants_to_be_alone_waits_and_a_pause_is_kept() {
        let alone = RunRecord { alone: true, ..run(RunState::Waiting, 0) };
        let others = Seen { others: true, ..seen(None, 0) };
        assert_eq!(next(&alone, &others), Step::Wait(None));
        assert_eq!(next(&run(RunState::Waiting, 0), &others), Step::Begin);
        let later = RunRecord { start_after: Some(at(9)), ..run(RunState::Waiting, 1) };
        assert_eq!(next(&later, &seen(None, 8)), Step::Wait(Some(at(9))));
        assert_eq!(next(&later, &seen(None, 9)), Step::Begin);
    }

    #[test]
    fn pauses_double_up_to_five_minutes() {
        let seconds: Vec<u64> = (1..=11).map(|tried| pause(tried).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(pause(u32::MAX), PAUSE_MAX);
    }
}
