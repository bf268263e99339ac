//! `ark workflow`, `ark submit` and `ark workflows` as a script uses them.

use std::fs;
use std::io::Write as _;
use std::process::{Output, Stdio};

use serde_json::{Value, json};

use crate::harness::{Ark, last_json, words};

fn exit(ark: &Ark, args: &[&str]) -> Option<i32> {
    ark.run(args).status.code()
}

#[test]
fn workflows_are_defined_started_followed_and_redriven() {
    let ark = Ark::up();
    let file = |name: &str, machine: &Value| {
        let path = ark.dir.path().join(name);
        fs::write(&path, machine.to_string()).expect("a file");
        path.to_string_lossy().into_owned()
    };
    let wrong = file("wrong.json", &json!({ "StartAt": "None", "States": {} }));
    assert_eq!(exit(&ark, &["workflow", "validate", &wrong]), Some(2));
    assert_eq!(exit(&ark, &["workflow", "define", "m", &wrong]), Some(2));
    assert_eq!(exit(&ark, &["workflow", "versions", "m"]), Some(6));

    let choice = json!({ "StartAt": "Look", "States": {
        "Look": { "Type": "Choice", "Default": "Bad",
            "Choices": [{ "Variable": "$.good", "IsPresent": true, "Next": "Good" }] },
        "Good": { "Type": "Pass", "End": true },
        "Bad": { "Type": "Fail", "Error": "E", "Cause": "why it is" },
    }});
    let good = file("good.json", &choice);
    assert_eq!(exit(&ark, &["workflow", "validate", &good]), Some(0));
    let defined = ark.json(&["workflow", "define", "m", &good, "--json"]);
    assert_eq!((&defined["name"], &defined["version"]), (&json!("m"), &json!(1)));
    let wait = json!({ "StartAt": "W", "States": {
        "W": { "Type": "Wait", "Seconds": 600, "Next": "T" },
        "T": { "Type": "Task", "Resource": "arn:aws:states:us-east-1:000000000000:activity:a", "End": true },
    }});
    let wait = file("wait.json", &wait);
    assert_eq!(ark.json(&["workflow", "define", "m", &wait, "--json"])["version"], 2);
    assert_eq!(
        ark.json(&["workflow", "versions", "m", "--json"])["stateMachineVersionArn"],
        "arn:aws:states:us-east-1:000000000000:stateMachine:m:1"
    );
    assert_eq!(ark.json(&["workflow", "list", "--json"])["name"], "m");

    // An older version, followed to its good end.
    let ran = ark.run(&["submit", "m:1", r#"{"good": 1}"#, "--follow", "--json"]);
    assert!(ran.status.success(), "{}", words(&ran));
    let ended = last_json(&ran);
    let id = ended["name"].as_str().expect("a name");
    let output: Value =
        serde_json::from_str(ended["output"].as_str().expect("output")).expect("JSON");
    assert_eq!((&output["good"], &output["_EXECUTION_NAME"]), (&json!(1), &json!(id)));
    assert_eq!(exit(&ark, &["workflows", "--workflow-id", id]), Some(0));
    assert_eq!(ark.json(&["workflow", "history", id, "--json"])["type"], "ExecutionSucceeded");

    // Its bad end names the state, error and cause, and fails the command.
    let ran = ark.run(&["workflow", "start", "m:1", r#"{"b": 2}"#, "--name", "bad", "--follow"]);
    assert_eq!(ran.status.code(), Some(1), "{}", words(&ran));
    let shown = words(&ran);
    for word in ["▸ Look", "m:bad", "failed", "why it is", r#"{"b": 2}"#] {
        assert!(shown.contains(word), "{word}: {shown}");
    }
    assert_eq!(exit(&ark, &["workflows", "--workflow-id", "m:bad"]), Some(1));
    // Somebody looks at it, once.
    let unresolved = ["workflow", "search", "m", "--unresolved", "--json"];
    assert_eq!(ark.json(&unresolved)["id"], "m:bad");
    // It is found by what it says.
    for (text, found) in [("WHY it is", true), ("something else", false)] {
        let ran = ark.run(&["workflow", "search", "m", "--error", text, "--json"]);
        assert_eq!(words(&ran).contains("\"bad\""), found, "{text}: {}", words(&ran));
    }
    assert_eq!(exit(&ark, &["workflow", "resolve", "bad"]), Some(0));
    assert_eq!(exit(&ark, &["workflow", "resolve", "m:bad"]), Some(5));
    assert!(!words(&ark.run(&unresolved)).contains("m:bad"));
    let redriven = ark.run(&["workflow", "redrive", "m:bad", "--follow", "--json"]);
    assert_eq!(last_json(&redriven)["redriveCount"], 1, "{}", words(&redriven));

    // An input is given as it was typed.
    let deep = "[".repeat(300) + &"]".repeat(300);
    let odd = format!(r#"{{"z":1e400,  "a":9007199254740993.10,"a":0.10,"d":{deep}}}"#);
    ark.json(&["workflow", "start", "m", &odd, "--name", "odd", "--json"]);
    assert_eq!(ark.json(&["workflow", "status", "odd", "--json"])["input"], json!(odd));
    let id = ark.json(&["submit", "m", &odd, "--json"])["id"].clone();
    let id = id.as_str().expect("an id");
    let input = ark.json(&["workflow", "status", id, "--json"])["input"].clone();
    let name = id.rsplit(':').next().expect("a name");
    assert_eq!(input, format!(r#"{{"_EXECUTION_NAME":"{name}",{}"#, &odd[1..]));
    for id in ["m:odd", id] {
        assert_eq!(exit(&ark, &["workflow", "stop", id, "--reason", "odd"]), Some(0));
    }

    // Priorities of queues.
    for (name, priority) in [("urgent", "10"), ("idle", "-5"), ("gone", "1"), ("gone", "0")] {
        let set = ark.json(&["workflow", "queue", "set", name, priority, "--json"]);
        assert_eq!(set["priority"].to_string(), priority);
    }
    assert_eq!(exit(&ark, &["workflow", "queue", "set", "urgent", "1001"]), Some(2));
    let queues = words(&ark.run(&["workflow", "queue", "list"]));
    assert!(queues.contains("urgent") && queues.contains("-5"), "{queues}");
    assert!(!queues.contains("gone"), "{queues}");

    // One that goes on until it is stopped.
    let started = ark.json(&["workflow", "start", "m", "--name", "long", "--json"]);
    assert_eq!(started["id"], "m:long");
    assert_eq!(ark.json(&["workflow", "status", "long", "--json"])["status"], "RUNNING");
    let stopped = ark.json(&["workflow", "stop", "m:long", "--reason", "enough", "--json"]);
    assert_eq!((&stopped["status"], &stopped["cause"]), (&json!("ABORTED"), &json!("enough")));
    let found = ark.run(&["workflow", "search", "m", "--status", "aborted", "--json"]);
    assert!(words(&found).contains("\"long\""), "{}", words(&found));

    // The definition got the default retry.
    let described = ark.json(&["workflow", "show", "m", "--json"]);
    let definition = described["definition"].as_str().expect("a definition");
    assert!(definition.contains("sfncli.CommandTerminated"), "{definition}");

    for (args, code) in [
        (&["workflow", "status", "m:none"][..], 6),
        (&["workflow", "status", "none"], 6),
        (&["workflow", "start", "none"], 6),
        (&["workflow", "start", "m", "no json"], 2),
        (&["submit", "m", "[]"], 2),
        (&["workflow", "start", "m", "{\"a\":1}", "--name", "long"], 5),
        (&["workflow", "redrive", "m:long", "--token", "wrong"], 7),
    ] {
        assert_eq!(exit(&ark, args), Some(code), "{args:?}");
    }
}

/// What a command writes with something on its standard input.
fn piped(ark: &Ark, args: &[&str], input: &str) -> Output {
    let mut child = ark.command(args);
    let child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().expect("ark starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(input.as_bytes()).expect("it is read");
    drop(stdin);
    child.wait_with_output().expect("an end")
}

#[test]
fn a_broken_definition_is_shown_in_its_line() {
    let ark = Ark::up();
    let broken = "{\n  \"StartAt\": \"A\",\n  \"States\": {\"A\": {\"Type\": \"Pass\",}}\n}\n";
    let path = ark.dir.path().join("broken.json");
    fs::write(&path, broken).expect("a file");
    let path = path.to_string_lossy();
    for args in [&["workflow", "validate", &path][..], &["workflow", "define", "m", &path]] {
        let said = words(&ark.run(args));
        assert!(said.contains("broken.json:3:35: expected a key in double quotes"), "{said}");
        assert!(said.contains("    3 │   \"States\": {\"A\": {\"Type\": \"Pass\",}}"), "{said}");
        assert!(!said.contains("StartAt"), "no more of the file: {said}");
    }
    let said = piped(&ark, &["workflow", "validate", "-"], broken);
    assert!(words(&said).contains("standard input:3:35:"), "{}", words(&said));
    let good = r#"{"StartAt":"S","States":{"S":{"Type":"Succeed"}}}"#;
    assert!(piped(&ark, &["workflow", "validate", "-"], good).status.success());
}

#[test]
fn a_failed_distributed_map_names_the_child_that_failed_first() {
    let ark = Ark::up();
    let fail = |kind: &str| {
        let processor = json!({
            "ProcessorConfig": { "Mode": "DISTRIBUTED", "ExecutionType": kind },
            "StartAt": "F",
            "States": { "F": { "Type": "Fail", "Error": "Deep", "Cause": "inside child" } }
        });
        let map = json!({ "Type": "Map", "ItemProcessor": processor, "End": true });
        json!({ "StartAt": "M", "States": { "M": map } }).to_string()
    };
    for (name, kind) in [("m", "STANDARD"), ("quick", "EXPRESS")] {
        let defined = piped(&ark, &["workflow", "define", name, "-"], &fail(kind));
        assert!(defined.status.success(), "{}", words(&defined));
    }
    let start = ["workflow", "start", "m", "[1,2]", "--name", "e", "--follow"];
    let followed = ark.run(&start);
    assert_eq!(followed.status.code(), Some(1));
    for word in ["States.ExceedToleratedFailureThreshold", "child  m/", "Deep", "inside child"] {
        assert!(words(&followed).contains(word), "{word}: {}", words(&followed));
    }
    let status = ark.json(&["workflow", "status", "m:e", "--json"]);
    let run = status["mapRuns"][0]["mapRunArn"].as_str().expect("a Map Run").to_owned();
    let child = &status["failedState"]["failedChild"];
    assert_eq!((&child["error"], &child["cause"]), (&json!("Deep"), &json!("inside child")));
    let child = child["executionArn"].as_str().expect("an ARN");
    let shown = words(&ark.run(&["workflow", "status", "m:e"]));
    assert!(shown.contains(&run) && shown.contains("inside child"), "{shown}");

    let (_, id) = child.split_once(":execution:").expect("an execution's");
    let found = ark.run(&["workflow", "search", "--map-run", &run, "--status", "failed"]);
    assert!(words(&found).contains(id), "{id}: {}", words(&found));
    assert_eq!(ark.json(&["workflow", "status", id, "--json"])["error"], "Deep");
    assert_eq!(exit(&ark, &["workflow", "search", "m", "--map-run", &run]), Some(2));
    assert_eq!(exit(&ark, &["workflow", "search"]), Some(2));

    // Express children are not listed; the Map's own failure is told all the same.
    let quick = ark.run(&["workflow", "start", "quick", "[1,2]", "--name", "e", "--follow"]);
    assert_eq!(quick.status.code(), Some(1));
    assert!(words(&quick).contains("States.ExceedToleratedFailureThreshold"), "{}", words(&quick));
    let status = ark.json(&["workflow", "status", "quick:e", "--json"]);
    assert_eq!(status["mapRuns"][0]["itemCounts"]["total"], 2, "{status}");
}

#[test]
fn what_is_wrong_is_said_by_what_was_typed() {
    let ark = Ark::up();
    let good = r#"{"StartAt":"W","States":{"W":{"Type":"Wait","Seconds":600,"End":true}}}"#;
    let path = ark.dir.path().join("good.json");
    fs::write(&path, good).expect("a file");
    let path = path.to_string_lossy();
    for args in [
        &["workflow", "define", "bad name", &path][..],
        &["workflow", "status", ""],
        &["workflow", "stop", "m:"],
    ] {
        let ran = ark.run(args);
        assert_eq!(ran.status.code(), Some(2), "{args:?}");
        let said = words(&ran);
        assert!(said.contains("Invalid Name: '") && !said.contains("arn:"), "{args:?}: {said}");
    }
    let none = words(&ark.run(&["workflow", "start", "none"]));
    assert!(none.contains("ark workflow list"), "{none}");
    let search = words(&ark.run(&["workflow", "search", "m", "--status", "FOO"]));
    assert!(search.contains("--status") && search.contains("TIMED_OUT"), "{search}");

    assert!(piped(&ark, &["workflow", "define", "m", "-"], good).status.success());
    ark.json(&["workflow", "start", "m", "--name", "e", "--json"]);
    let stop = || {
        let stopped = ark.run(&["workflow", "stop", "m:e"]);
        assert!(stopped.status.success(), "{}", words(&stopped));
        words(&stopped)
    };
    let first = stop();
    assert!(first.contains("aborted") && !first.contains("over already"), "{first}");
    let second = stop();
    assert!(second.contains("aborted") && second.contains("m:e was over already"), "{second}");
    let failing = r#"{"StartAt":"F","States":{"F":{"Type":"Fail"}}}"#;
    assert!(piped(&ark, &["workflow", "define", "f", "-"], failing).status.success());
    assert_eq!(exit(&ark, &["workflow", "start", "f", "--name", "e", "--follow"]), Some(1));
    for expect in ["f:e is resolved", "`f:e` is resolved already"] {
        let said = words(&ark.run(&["workflow", "resolve", "f:e"]));
        assert!(said.contains(expect), "{expect}: {said}");
    }
}

#[test]
fn a_schedule_is_made_shown_paused_and_removed() {
    let ark = Ark::up();
    let path = ark.dir.path().join("m.json");
    let machine = json!({ "StartAt": "S", "States": { "S": { "Type": "Succeed" } } });
    fs::write(&path, machine.to_string()).expect("a file");
    ark.json(&["workflow", "define", "m", &path.to_string_lossy(), "--json"]);
    let add = |name: &str, workflow: &str, cron: &str, zone: &str| {
        exit(&ark, &["workflow", "schedule", "add", name, workflow, cron, "--zone", zone])
    };
    assert_eq!(add("s", "m", "* * * * *", "Europe/Berlin"), Some(0));
    assert_eq!(add("s", "none", "* * * * *", "UTC"), Some(6));
    assert_eq!(add("s", "m", "* * * *", "UTC"), Some(2));
    assert_eq!(add("s", "m", "* * * * *", "Mars/Base"), Some(2));
    let view = ark.json(&["workflow", "schedule", "list", "--json"]);
    assert_eq!(
        (&view["name"], &view["schedule"]["catch_up_seconds"]),
        (&json!("s"), &json!(86_400))
    );
    assert!(view["next_at"].is_string(), "{view}");
    let paused = ark.json(&["workflow", "schedule", "pause", "s", "--json"]);
    assert_eq!((&paused["paused"], paused.get("next_at")), (&json!(true), None));
    assert_eq!(ark.json(&["workflow", "schedule", "resume", "s", "--json"])["paused"], false);
    assert_eq!(exit(&ark, &["workflow", "schedule", "remove", "s"]), Some(0));
    assert_eq!(exit(&ark, &["workflow", "schedule", "remove", "s"]), Some(6));
    let events = words(&ark.run(&["events", "--json"]));
    assert!(events.contains("schedule s was removed"), "{events}");
}
