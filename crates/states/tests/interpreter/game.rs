//! A game of any machine and any events, both drawn from numbers. The property tests play it with
//! numbers from a seed, the fuzz target `interpreter` with those that libFuzzer finds.
//!
//! `Play` checks after each step what must always hold: ids are contiguous, the stored form is read
//! back, open work outside is what the state waits for, the status is what the history says, a
//! refusal changes nothing, a step costs no more than it may.

use ark_states::machine::{
    ChildInputs, Event, InputsProgress, MapItems, MapRunEnd, MapRunRequest, TaskId, TaskTimeout,
    TimerId,
};
use ark_states::validate::{MachineKind, validate};
use ark_states::{Definition, Document, Failure, Value};
use jiff::SignedDuration;
use serde_json::{Value as Json, json};

use super::play::Play;

/// The input of every game.
const INPUT: &str =
    r#"{"items":[1,2,3],"n":1,"s":"2016-08-18T17:33:00Z","o":{"a":[],"b":null},"none":[]}"#;

/// Templates of the JSONPath mode; some fail, or grow what they are given.
const TEMPLATES: [&str; 12] = [
    r#"{"was.$":"$.was"}"#,
    r#"{"all.$":"$","n.$":"$.n"}"#,
    r#"{"n.$":"States.MathAdd($.n, 1)"}"#,
    r#"{"x.$":"States.ArrayRange(0, $.n, 1)"}"#,
    r#"{"s.$":"States.Format('{} and {}', $.n, $.s)"}"#,
    r#"{"p.$":"States.ArrayPartition($.items, 2)","u.$":"States.UUID()"}"#,
    r#"{"c.$":"$$","v.$":"$v"}"#,
    r#"{"deep":{"er.$":"$..a","last.$":"$.items[-1:]"}}"#,
    r#"{"m.$":"States.JsonMerge($, $.o, false)"}"#,
    r#"{"j.$":"States.StringToJson(States.JsonToString($))"}"#,
    r#"{"r.$":"States.MathRandom(1, $.n, 7)"}"#,
    r#"{"items.$":"$.items[?(@ > 1)]","n":1}"#,
];
/// Expressions of the JSONata mode.
const EXPRESSIONS: [&str; 14] = [
    "$states.input",
    "$states.input.items[0]",
    "$states.input.missing",
    "$v + 1",
    "$states.context.State.RetryCount",
    "$map($states.input.items, function($i) { {'n': $i, 'all': $states.input} })",
    "$reduce([1..50], function($a, $b) { $a & $string($b) }, '')",
    "$states.input.items ~> $sum",
    "($f := function($x) { $x <= 0 ? 0 : $f($x - 1) }; $f(100))",
    "$merge([$states.input, {'n': $states.input.n + 1}])",
    "[$states.input.items, $states.input.items]",
    "$now() & $uuid()",
    "$states.result",
    "1 / 0",
];
const RULES: [&str; 8] = [
    r#"{"Variable":"$.n","NumericGreaterThan":7}"#,
    r#"{"Variable":"$.n","IsPresent":true}"#,
    r#"{"Not":{"Variable":"$.s","StringMatches":"*-18T*"}}"#,
    r#"{"Variable":"$.s","TimestampLessThan":"2020-01-01T00:00:00Z"}"#,
    r#"{"And":[{"Variable":"$.n","IsNumeric":true},{"Variable":"$.n","NumericEqualsPath":"$.items[0]"}]}"#,
    r#"{"Variable":"$.missing","BooleanEquals":true}"#,
    r#"{"Or":[{"Variable":"$$.State.Name","IsNull":true},{"Variable":"$v","IsString":true}]}"#,
    r#"{"Variable":"$.o.b","IsNull":true}"#,
];
const RESOURCES: [&str; 6] = [
    "w",
    "arn:aws:states:us-east-1:1:activity:w",
    "arn:aws:lambda:us-east-1:1:function:f",
    "arn:aws:states:::states:startExecution.sync:2",
    "arn:aws:states:::lambda:invoke.waitForTaskToken",
    "arn:aws:states:::aws-sdk:s3:getObject",
];
const ERRORS: [&str; 7] = [
    "E",
    "F",
    "States.Timeout",
    "States.TaskFailed",
    "States.DataLimitExceeded",
    "States.BranchFailed",
    "States.ALL",
];
const RESULT_PATHS: [&str; 4] = ["$", "$.r", "$.items[1]", "$.o.a"];

/// Numbers drawn one after the other; zero when none is left.
struct Draw<'a>(&'a mut dyn Iterator<Item = u32>);

impl Draw<'_> {
    fn below(&mut self, most: usize) -> usize {
        self.0.next().unwrap_or(0) as usize % most
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn json(&mut self, of: &[&str]) -> Json {
        serde_json::from_str(self.one(of)).expect("JSON")
    }

    fn expression(&mut self) -> Json {
        format!("{{% {} %}}", self.one(&EXPRESSIONS)).into()
    }
}

/// A machine.
pub(super) fn machine(numbers: &[u32]) -> Json {
    let mut numbers = numbers.iter().copied();
    let mut draw = Draw(&mut numbers);
    let timeout = draw.below(5) == 0;
    let mut machine = list(&mut draw, 2, "s");
    if timeout {
        machine["TimeoutSeconds"] = 50.into();
    }
    machine
}

/// A list of states, at most `depth` lists deep. Names are unique by `path`.
fn list(draw: &mut Draw<'_>, depth: u32, path: &str) -> Json {
    let count = 1 + draw.below(4);
    let name = |index: usize| format!("{path}{index}");
    let mut states = serde_json::Map::new();
    for index in 0..count {
        // Many have work that is done outside, and most lead on: a loop shows soon what it has to show.
        let kind = match depth {
            0 => draw.one(&[0, 1, 2, 3, 3, 3, 4, 5, 6]),
            _ => draw.one(&[0, 1, 2, 3, 3, 3, 4, 5, 6, 7, 7, 8, 8, 8]),
        };
        let after = name((index + 1).min(count - 1));
        let jsonata = draw.below(3) == 0;
        let mut state = match kind {
            0 | 1 => pass(draw, jsonata),
            2 => wait(draw, jsonata),
            3 => task(draw, jsonata),
            4 if jsonata => json!({"Type": "Fail", "Error": draw.expression()}),
            4 => draw.json(&[
                r#"{"Type":"Fail","Error":"E"}"#,
                r#"{"Type":"Fail","ErrorPath":"$.s","CausePath":"States.Format('{}', $)"}"#,
            ]),
            5 => match draw.below(32) {
                0 => choice(draw, jsonata, &name(0), &after),
                _ => choice(draw, jsonata, &after, &name(count - 1)),
            },
            6 => json!({"Type": "Succeed"}),
            7 => json!({"Type": "Parallel", "Branches": [
                list(draw, depth - 1, &format!("{path}{index}a")),
                list(draw, depth - 1, &format!("{path}{index}b"))]}),
            _ => {
                let processor = list(draw, depth - 1, &format!("{path}{index}m"));
                map(draw, jsonata, processor)
            }
        };
        if jsonata {
            state["QueryLanguage"] = "JSONata".into();
        }
        if matches!(kind, 3 | 7 | 8) {
            let to = if draw.below(16) == 0 { name(0) } else { after.clone() };
            handle(draw, jsonata, &mut state, &to);
        }
        if !matches!(kind, 4..=6) {
            match draw.below(64) {
                0 => state["Next"] = name(draw.below(count)).into(),
                1..=47 if index + 1 < count => state["Next"] = after.into(),
                _ => state["End"] = true.into(),
            }
        }
        states.insert(name(index), state);
    }
    json!({"StartAt": name(0), "States": states})
}

fn pass(draw: &mut Draw<'_>, jsonata: bool) -> Json {
    let mut state = json!({"Type": "Pass"});
    match (jsonata, draw.below(2)) {
        (true, _) => {
            state["Output"] = draw.expression();
            state["Assign"] = json!({"v": draw.expression()});
        }
        (false, 0) => {
            state["Result"] = json!({"n": draw.below(16), "items": [3, 4]});
            state["Assign"] = json!({"v": draw.below(16)});
        }
        (false, _) => {
            state["Parameters"] = draw.json(&TEMPLATES);
            state["ResultPath"] = draw.one(&RESULT_PATHS).into();
        }
    }
    state
}

fn wait(draw: &mut Draw<'_>, jsonata: bool) -> Json {
    match (jsonata, draw.below(3)) {
        (true, 0) => json!({"Type": "Wait", "Seconds": draw.expression()}),
        (true, _) => json!({"Type": "Wait", "Timestamp": "{% $states.input.s %}"}),
        (false, 0) => json!({"Type": "Wait", "SecondsPath": "$.n"}),
        (false, 1) => json!({"Type": "Wait", "TimestampPath": "$.s"}),
        (false, _) => json!({"Type": "Wait", "Seconds": draw.below(3)}),
    }
}

fn task(draw: &mut Draw<'_>, jsonata: bool) -> Json {
    let mut state = json!({"Type": "Task", "Resource": draw.one(&RESOURCES),
        "TimeoutSeconds": 60, "HeartbeatSeconds": 1 + draw.below(59)});
    if jsonata {
        state["Arguments"] = json!({"a": draw.expression()});
        state["Output"] = draw.expression();
    } else if draw.below(2) == 0 {
        state["Parameters"] = draw.json(&TEMPLATES);
        state["ResultSelector"] = draw.json(&TEMPLATES);
        state["ResultPath"] = draw.one(&RESULT_PATHS).into();
    }
    state
}

fn choice(draw: &mut Draw<'_>, jsonata: bool, first: &str, last: &str) -> Json {
    let mut rule = match jsonata {
        true => json!({"Condition": draw.one(&["{% $states.input.n > 7 %}", "{% $v %}"])}),
        false => draw.json(&RULES),
    };
    rule["Next"] = last.into();
    let mut state = json!({"Type": "Choice", "Choices": [rule]});
    if draw.below(4) > 0 {
        state["Default"] = first.into();
    }
    state
}

fn map(draw: &mut Draw<'_>, jsonata: bool, mut processor: Json) -> Json {
    let mut state = json!({"Type": "Map", "MaxConcurrency": draw.below(3)});
    let distributed = draw.below(3) == 0;
    if distributed {
        processor["ProcessorConfig"] = json!({"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"});
        state["ToleratedFailureCount"] = draw.below(3).into();
        if draw.below(2) == 0 {
            state["ItemBatcher"] = json!({"MaxItemsPerBatch": 1 + draw.below(3)});
        }
    }
    let key = if jsonata { "Arguments" } else { "Parameters" };
    if distributed && draw.below(3) == 0 {
        state["ItemReader"] = json!({"Resource": "arn:aws:states:::s3:getObject",
            "ReaderConfig": {"InputType": "JSON", "MaxItems": 2}, key: {"Bucket": "b", "Key": "k"}});
    } else if jsonata {
        state["Items"] = "{% $states.context.Execution.Input.items %}".into();
    } else {
        let paths = ["$$.Execution.Input.items", "$.items", "$.o", "$.none", "$"];
        state["ItemsPath"] = draw.one(&paths).into();
    }
    if distributed && draw.below(4) == 0 {
        state["ResultWriter"] = json!({"Resource": "arn:aws:states:::s3:putObject",
            key: {"Bucket": "b", "Prefix": "p"}});
    }
    if jsonata {
        state["ItemSelector"] =
            json!({"v": "{% $states.context.Map.Item.Value %}", "n": draw.expression()});
    } else if draw.below(2) == 0 {
        state["ItemSelector"] = draw.json(&[
            r#"{"v.$":"$$.Map.Item.Value","n.$":"$$.Map.Item.Index"}"#,
            r#"{"n.$":"States.MathAdd($$.Map.Item.Value, 1)"}"#,
        ]);
    }
    state["ItemProcessor"] = processor;
    state
}

/// `Retry` and `Catch`.
fn handle(draw: &mut Draw<'_>, jsonata: bool, state: &mut Json, to: &str) {
    if draw.below(2) == 0 {
        state["Retry"] = json!([{"ErrorEquals": [draw.one(&ERRORS)], "MaxAttempts": draw.below(3),
            "IntervalSeconds": 1 + draw.below(3), "BackoffRate": 1.5, "MaxDelaySeconds": 5,
            "JitterStrategy": draw.one(&["FULL", "NONE"])}]);
    }
    if draw.below(2) == 0 {
        let mut catcher = json!({"ErrorEquals": [draw.one(&ERRORS)], "Next": to});
        if jsonata {
            catcher["Output"] = "{% $states.errorOutput %}".into();
            catcher["Assign"] = json!({"v": "{% $states.errorOutput.Error %}"});
        } else {
            catcher["ResultPath"] = "$.error".into();
        }
        state["Catch"] = json!([catcher]);
    }
}

/// What a worker sends back.
fn result(pick: usize) -> String {
    match pick % 32 {
        0..=12 => r#"{"n":8,"items":[1,2],"s":"x","o":{}}"#.to_owned(),
        13..=15 => "[]".to_owned(),
        16..=18 => "null".to_owned(),
        19 => "1e400".to_owned(),
        20 => format!("\"{}\"", "x".repeat(300_000)),
        21 => format!("{}{}", "[".repeat(900), "]".repeat(900)),
        22..=24 => r#"{"n":-0.5,"items":[[],{}],"Payload":"\u0000"}"#.to_owned(),
        _ => INPUT.to_owned(),
    }
}

/// Plays a machine with events drawn from the numbers; gives the types of events seen, and the number of
/// children of Map Runs that were played, too.
pub(super) fn play(machine: &Json, numbers: &[u32]) -> (Vec<&'static str>, usize) {
    let text = machine.to_string();
    let Ok(definition) = Definition::parse(&text) else {
        assert!(!validate(&text, MachineKind::Standard).is_empty(), "sound and not read: {text}");
        return (Vec::new(), 0);
    };
    let mut play = Play::start_of(definition, INPUT, 7);
    for (at, number) in numbers.iter().enumerate() {
        if play.end.is_some() {
            if number % 4 == 0 || !play.state.is_redrivable() {
                break;
            }
            play.redrive();
            continue;
        }
        // Refusals are part of the game; that they change nothing is checked by the player.
        let _ = turn(&mut play, *number);
        // A game that has gone on for long has shown what it can.
        if play.history.len() > 4_000 || at > 400 {
            break;
        }
    }
    let children = play.asked.clone();
    let played = children.iter().take(3).map(|request| child(&play, request, numbers)).sum();
    (play.types(0), played)
}

fn turn(play: &mut Play, number: u32) -> Result<(), ark_states::machine::Refused> {
    let pick = (number / 16) as usize;
    match number % 16 {
        0..=3 if !play.tasks.is_empty() => {
            let task = play.tasks[pick % play.tasks.len()].task;
            play.succeed(task, &result(pick / 8))
        }
        4 if !play.tasks.is_empty() => {
            let task = play.tasks[pick % play.tasks.len()].task;
            let output = Document::new(Value::from(&json!({"ExecutionArn": "arn"})));
            play.send(Event::TaskSubmitted { task, output })
        }
        5 | 6 if !play.tasks.is_empty() => {
            let task = play.tasks[pick % play.tasks.len()].task;
            play.fail(task, ERRORS[pick / 8 % ERRORS.len()])
        }
        7 if !play.tasks.is_empty() => {
            let task = play.tasks.remove(pick % play.tasks.len()).task;
            let timeout = match pick % 3 {
                0 => TaskTimeout::Heartbeat,
                _ => TaskTimeout::Total,
            };
            play.send(Event::TaskTimedOut { task, timeout })
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
            let end = match pick % 3 {
                0 => MapRunEnd::Succeeded(Document::new(Value::array([]))),
                1 => MapRunEnd::Succeeded(Document::parse(&result(pick / 8)).expect("JSON")),
                _ => MapRunEnd::Failed(Failure::new("E", "c")),
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
        14 if pick.is_multiple_of(8) => play.send(Event::Start),
        _ if !play.timers.is_empty() => {
            play.fire();
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Plays a child of a Map Run, of an item that was given or read. Gives how many were played.
fn child(parent: &Play, request: &MapRunRequest, numbers: &[u32]) -> usize {
    let input = match &request.items {
        MapItems::Inputs(inputs) => inputs.first().cloned(),
        MapItems::Reader(_, selection) => parent.with_env(|definition, env| {
            let mut inputs = ChildInputs::new(definition, selection, InputsProgress::default());
            let made = inputs.push((None, Value::from(&json!({"read": 1}))), env);
            made.and_then(|made| if made.is_some() { Ok(made) } else { inputs.finish() })
                .unwrap_or_default()
        }),
    };
    let Some(input) = input else { return 0 };
    let mut play = Play::child_of(parent, request.processor, input.text());
    for number in numbers.iter().rev().take(30) {
        if play.end.is_some() {
            break;
        }
        let _ = turn(&mut play, *number);
    }
    1
}
