//! What holds for every machine and every order of events. `Play` checks after each step: ids are
//! contiguous, the stored form is read back, open work outside is what the state waits for, the status
//! is what the history says, a refusal changes nothing.

use ark_states::machine::{Event, MapRunEnd, TaskId, TaskTimeout, TimerId};
use ark_states::{Definition, Document, Failure, Value};
use jiff::SignedDuration;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::play::Play;

/// A list of states drawn from the numbers, at most `depth` lists deep. Names are unique by `path`.
fn list(numbers: &mut impl Iterator<Item = u32>, depth: u32, path: &str) -> Json {
    let mut draw = |most: u32| numbers.next().unwrap_or(0) % most;
    let count = 1 + draw(4);
    let kinds: Vec<u32> = (0..count).map(|_| draw(if depth == 0 { 6 } else { 9 })).collect();
    let targets: Vec<u32> = (0..count).map(|_| draw(count + 2)).collect();
    let flags: Vec<u32> = (0..count).map(|_| draw(1 << 16)).collect();
    let name = |index: u32| format!("{path}{index}");
    let mut states = serde_json::Map::new();
    for index in 0..count {
        let (kind, target, flag) =
            (kinds[index as usize], targets[index as usize], flags[index as usize]);
        let handlers = json!({
            "Retry": [{"ErrorEquals": ["E"], "MaxAttempts": flag % 3, "IntervalSeconds": 1}],
            "Catch": [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.error", "Next": name(0)}],
        });
        let mut state = match kind {
            0 => json!({"Type": "Pass", "Result": {"n": flag}, "Assign": {"v": flag}}),
            1 => json!({"Type": "Pass", "Parameters": {"was.$": "$.was"}}),
            2 => json!({"Type": "Wait", "Seconds": flag % 3}),
            3 => json!({"Type": "Task", "Resource": "w", "TimeoutSeconds": 60}),
            4 => json!({"Type": "Fail", "Error": "E"}),
            5 => json!({"Type": "Choice", "Default": name(0), "Choices": [
                {"Variable": "$.n", "NumericGreaterThan": 7, "Next": name(count - 1)}]}),
            6 => json!({"Type": "Parallel", "Branches": [
                list(numbers, depth - 1, &format!("{path}{index}a")),
                list(numbers, depth - 1, &format!("{path}{index}b"))]}),
            7 => {
                let mut processor = list(numbers, depth - 1, &format!("{path}{index}m"));
                if flag % 4 == 0 {
                    processor["ProcessorConfig"] =
                        json!({"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"});
                }
                json!({"Type": "Map", "ItemsPath": "$$.Execution.Input.items", "MaxConcurrency": flag % 3,
                       "ItemProcessor": processor})
            }
            _ => json!({"Type": "Succeed"}),
        };
        if matches!(kind, 3 | 6 | 7) && flag % 2 == 0 {
            for key in ["Retry", "Catch"] {
                state[key] = handlers[key].clone();
            }
        }
        if !matches!(kind, 4 | 5 | 8) {
            if target < count {
                state["Next"] = name(target).into();
            } else {
                state["End"] = true.into();
            }
        }
        states.insert(name(index), state);
    }
    json!({"StartAt": name(0), "States": states})
}

fn machine(numbers: &[u32]) -> Json {
    let mut machine = list(&mut numbers.iter().copied(), 2, "s");
    if numbers.first().is_some_and(|number| number % 5 == 0) {
        machine["TimeoutSeconds"] = 50.into();
    }
    machine
}

/// Plays a machine with events drawn from the numbers; gives the types of events seen.
fn play(machine: &Json, numbers: &[u32]) -> Vec<&'static str> {
    let definition = Definition::from_value(&Value::from(machine)).expect("a machine");
    let mut play = Play::start_of(definition, r#"{"items":[1,2,3],"n":1}"#, 7);
    for number in numbers {
        let pick = (number / 16) as usize;
        if play.end.is_some() {
            if number % 4 == 0 || !play.state.is_redrivable() {
                break;
            }
            play.redrive();
            continue;
        }
        let refused = match number % 16 {
            0..=4 if !play.tasks.is_empty() => {
                let task = play.tasks[pick % play.tasks.len()].task;
                play.succeed(task, r#"{"n":8}"#)
            }
            5 | 6 if !play.tasks.is_empty() => {
                let task = play.tasks[pick % play.tasks.len()].task;
                play.fail(task, if pick.is_multiple_of(2) { "E" } else { "F" })
            }
            7 if !play.tasks.is_empty() => {
                let task = play.tasks.remove(pick % play.tasks.len()).task;
                play.send(Event::TaskTimedOut { task, timeout: TaskTimeout::Total })
            }
            8 if !play.tasks.is_empty() => {
                let task = play.tasks[0].task;
                play.send(Event::TaskStarted { task, worker: Some("w".to_owned()) })
            }
            9 | 10 if !play.map_runs.is_empty() || !play.redriven.is_empty() => {
                let map_run = if play.map_runs.is_empty() {
                    play.redriven.remove(0)
                } else {
                    play.map_runs.remove(0).map_run
                };
                let end = if pick.is_multiple_of(2) {
                    MapRunEnd::Succeeded(Document::new(Value::array([])))
                } else {
                    MapRunEnd::Failed(Failure::new("E", "c"))
                };
                play.send(Event::MapRunFinished { map_run, end })
            }
            // What nobody waits for.
            11 => play.send(Event::TaskSucceeded {
                task: TaskId(u64::MAX),
                output: Document::new(Value::Null),
            }),
            12 => play.send(Event::TimerFired { timer: TimerId(u64::MAX) }),
            13 if pick.is_multiple_of(8) => {
                play.now += SignedDuration::from_secs(1);
                play.send(Event::Stop { failure: Failure::new("S", "c") })
            }
            _ if !play.timers.is_empty() => {
                play.fire();
                Ok(())
            }
            _ => Ok(()),
        };
        // Refusals are part of the game; that they change nothing is checked by the player.
        let _ = refused;
    }
    play.types(0)
}

/// The game must reach what it is for.
#[test]
fn the_game_reaches_every_corner() {
    let mut seen = std::collections::BTreeSet::new();
    let random = ark_states::scope::Random::new(20);
    let draw = |count: u64| -> Vec<u32> { (0..count).map(|_| random.next_u64() as u32).collect() };
    for _ in 0..400 {
        let (shape, events) = (draw(60), draw(120));
        seen.extend(play(&machine(&shape), &events));
    }
    for wanted in [
        "ActivityTimedOut",
        "ExecutionAborted",
        "ExecutionRedriven",
        "ExecutionSucceeded",
        "ExecutionTimedOut",
        "MapIterationAborted",
        "MapIterationFailed",
        "MapRunFailed",
        "MapRunRedriven",
        "MapRunSucceeded",
        "MapStateAborted",
        "MapStateFailed",
        "ParallelStateAborted",
        "ParallelStateFailed",
        "ParallelStateSucceeded",
        "TaskStateAborted",
        "TaskStateExited",
        "WaitStateAborted",
    ] {
        assert!(seen.contains(wanted), "no {wanted} in {seen:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_machine_keeps_its_books(
        shape in prop::collection::vec(any::<u32>(), 1..60),
        events in prop::collection::vec(any::<u32>(), 0..120),
    ) {
        play(&machine(&shape), &events);
    }

    #[test]
    fn broken_definitions_are_refused_without_panic(
        shape in prop::collection::vec(any::<u32>(), 1..40),
        cut in any::<prop::sample::Index>(),
        put in prop::sample::select(vec!["", "{", "}", "null", "\"$\"", "-1", "1e999", "[]", ",", "{%"]),
    ) {
        let text = machine(&shape).to_string();
        let at = cut.index(text.len());
        prop_assume!(text.is_char_boundary(at));
        let broken = format!("{}{put}{}", &text[..at], &text[(at + 1).min(text.len())..]);
        if let Ok(definition) = Definition::parse(&broken) {
            drop(Play::start_of(definition, "{}", 1));
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in ".{0,60}") {
        let _ = Value::parse(&text);
        let _ = Definition::parse(&text);
    }
}
