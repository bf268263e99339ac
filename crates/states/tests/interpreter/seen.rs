//! What states see and show: the context object, the inputs of a distributed Map's children, the data
//! flow of a tested state.

use ark_states::machine::{Event, MapItems, MapRunEnd};
use ark_states::test_state::{self, Configuration, InspectionLevel, Mock};
use ark_states::{Document, Failure, Fuel, Value};

use super::play::Play;
use super::specification::one;

#[test]
fn the_context_object_has_its_fields_where_they_belong() {
    // All of a Pass state's: no Task, no Map, no RetryCount.
    let play = Play::start(&one(r#"{"Type":"Pass","InputPath":"$$","End":true}"#), r#"{"i":1}"#);
    let machine = "arn:aws:states:us-east-1:111111111111:stateMachine:machine-1";
    let execution = "arn:aws:states:us-east-1:111111111111:execution:machine-1:run-1";
    assert_eq!(
        play.output(),
        format!(
            r#"{{"Execution":{{"Id":"{execution}","Input":{{"i":1}},"StartTime":"2023-11-14T22:13:20.000Z","Name":"run-1","RoleArn":"snf_role_arn","RedriveCount":0}},"StateMachine":{{"Id":"{machine}","Name":"machine-1"}},"State":{{"Name":"A","EnteredTime":"2023-11-14T22:13:20.000Z"}}}}"#
        )
    );
    // The token of a callback alone.
    for (resource, token) in [
        ("arn:aws:states:::sqs:sendMessage.waitForTaskToken", true),
        ("arn:aws:states:::sqs:sendMessage", false),
        ("w", false),
    ] {
        let state = format!(
            r#"{{"Type":"Task","QueryLanguage":"JSONata","Resource":"{resource}","Arguments":"{{% $exists($states.context.Task.Token) %}}","End":true}}"#
        );
        let task = Play::start(&one(&state), "{}").take();
        assert_eq!(&**task.input.text(), token.to_string(), "{resource}");
    }
    // How often it was tried, and when it was redriven.
    let state = r#"{"Type":"Task","Resource":"w","End":true,"Retry":[{"ErrorEquals":["E"],"MaxAttempts":1}],
        "Parameters":{"n.$":"$$.State.RetryCount","r.$":"$$.Execution.RedriveCount","t.$":"$$.Execution['RedriveTime','Name']"}}"#;
    let mut play = Play::start(&one(state), "{}");
    let input = |play: &mut Play| {
        let task = play.take();
        play.fail(task.task, "E").unwrap();
        task.input.text().to_string()
    };
    assert_eq!(input(&mut play), r#"{"n":0,"r":0,"t":{"Name":"run-1"}}"#);
    play.fire();
    assert_eq!(input(&mut play), r#"{"n":1,"r":0,"t":{"Name":"run-1"}}"#);
    play.redrive();
    assert_eq!(
        input(&mut play),
        r#"{"n":0,"r":1,"t":{"RedriveTime":"2023-11-14T22:13:21.000Z","Name":"run-1"}}"#
    );
}

fn distributed(rest: &str) -> String {
    one(&format!(
        r#"{{"Type":"Map","End":true,{rest},"ItemProcessor":{{"ProcessorConfig":{{"Mode":"DISTRIBUTED","ExecutionType":"STANDARD"}},
            "StartAt":"B","States":{{"B":{{"Type":"Pass","End":true}}}}}}}}"#
    ))
}

/// The inputs of a distributed Map's children.
fn inputs(rest: &str, input: &str) -> Vec<String> {
    let mut play = Play::start(&distributed(rest), input);
    let request = play.map_runs.remove(0);
    let MapItems::Inputs(inputs) = request.items else { panic!("{request:?}") };
    inputs.iter().map(|input| input.text().to_string()).collect()
}

#[test]
fn a_distributed_map_makes_its_childrens_inputs() {
    let item = r#""ItemSelector":{"item.$":"$$.Map.Item"}"#;
    for (rest, input, expected) in [
        (r#""Comment":"plain""#, "[1,2]", &["1", "2"][..]),
        // Members of an object, each with its key.
        (r#""Comment":"keyed""#, r#"{"a":1}"#, &[r#"{"Key":"a","Value":1}"#]),
        (
            r#""ItemsPath":"$.o""#,
            r#"{"o":{"a":1,"b":[]}}"#,
            &[r#"{"Key":"a","Value":1}"#, r#"{"Key":"b","Value":[]}"#],
        ),
        (
            r#""QueryLanguage":"JSONata","Items":"{% $states.input.o %}""#,
            r#"{"o":{"a":1}}"#,
            &[r#"{"Key":"a","Value":1}"#],
        ),
        (item, "[7]", &[r#"{"item":{"Index":0,"Value":7,"Source":"STATE_DATA"}}"#]),
        (
            item,
            r#"{"k":7}"#,
            &[r#"{"item":{"Index":0,"Value":7,"Key":"k","Source":"STATE_DATA"}}"#],
        ),
        (
            r#""ItemBatcher":{"MaxItemsPerBatch":2}"#,
            "[1,2,3]",
            &[r#"{"Items":[1,2]}"#, r#"{"Items":[3]}"#],
        ),
        (
            r#""ItemsPath":"$.l","ItemBatcher":{"MaxItemsPerBatchPath":"$.n","BatchInput":{"b.$":"$.n","s.$":"$$.State.Name"}}"#,
            r#"{"l":[1,2],"n":5}"#,
            &[r#"{"BatchInput":{"b":5,"s":"A"},"Items":[1,2]}"#],
        ),
        // `{"Items":["aaaa"]}` has 18 bytes, a second item 7 more.
        (
            r#""ItemBatcher":{"MaxInputBytesPerBatch":25}"#,
            r#"["aaaa","bbbb","cccc"]"#,
            &[r#"{"Items":["aaaa","bbbb"]}"#, r#"{"Items":["cccc"]}"#],
        ),
        (
            r#""ItemBatcher":{"MaxInputBytesPerBatch":24}"#,
            r#"["aaaa","bbbb"]"#,
            &[r#"{"Items":["aaaa"]}"#, r#"{"Items":["bbbb"]}"#],
        ),
        // Written as 0 it is no limit.
        (
            r#""ItemBatcher":{"MaxItemsPerBatch":0,"MaxInputBytesPerBatch":0}"#,
            "[1,2,3]",
            &[r#"{"Items":[1,2,3]}"#],
        ),
        (
            r#""QueryLanguage":"JSONata","Items":[1,2],"ItemSelector":"{% $states.context.Map.Item.Value * 10 %}","ItemBatcher":{"MaxItemsPerBatch":"{% 2 %}","BatchInput":"{% $states.input %}"}"#,
            "0",
            &[r#"{"BatchInput":0,"Items":[10,20]}"#],
        ),
    ] {
        assert_eq!(inputs(rest, input), expected, "{rest}");
    }
    for (rest, input, error) in [
        (r#""ItemBatcher":{"MaxItemsPerBatchPath":"$[0]"}"#, "[0]", "States.Runtime"),
        (r#""ItemBatcher":{"MaxItemsPerBatchPath":"$[0]"}"#, r#"["x"]"#, "States.Runtime"),
        (r#""MaxConcurrencyPath":"$[0]""#, "[-1]", "States.Runtime"),
        (r#""ToleratedFailureCountPath":"$[0]""#, "[1.5]", "States.Runtime"),
        (
            r#""QueryLanguage":"JSONata","Items":[],"ToleratedFailurePercentage":"{% 101 %}""#,
            "0",
            "States.QueryEvaluationError",
        ),
        (
            r#""QueryLanguage":"JSONata","Items":[],"ItemBatcher":{"MaxItemsPerBatch":"{% 0 %}"}"#,
            "0",
            "States.QueryEvaluationError",
        ),
        (
            r#""QueryLanguage":"JSONata","Items":[],"ItemBatcher":{"MaxInputBytesPerBatch":"{% -1 %}"}"#,
            "0",
            "States.QueryEvaluationError",
        ),
        (
            r#""QueryLanguage":"JSONata","ItemReader":{"Resource":"arn:aws:states:::s3:getObject","ReaderConfig":{"InputType":"JSON","MaxItems":"{% -1 %}"},"Arguments":{}}"#,
            "0",
            "States.QueryEvaluationError",
        ),
        (
            r#""QueryLanguage":"JSONata","ItemReader":{"Resource":"arn:aws:states:::s3:getObject","Arguments":{}},"ItemBatcher":{"MaxItemsPerBatch":"{% 0 %}"}"#,
            "0",
            "States.QueryEvaluationError",
        ),
        (r#""Comment":"c""#, "7", "States.Runtime"),
    ] {
        let play = Play::start(&distributed(rest), input);
        assert_eq!(play.failure().name(), error, "{rest}");
        let told = play.types(0).contains(&"EvaluationFailed");
        assert_eq!(told, error == "States.QueryEvaluationError", "{rest}");
    }
}

#[test]
fn a_map_run_is_asked_for_with_what_the_fields_say() {
    let rest = r#""ItemsPath":"$.l","MaxConcurrencyPath":"$.c","ToleratedFailureCountPath":"$.t","ToleratedFailurePercentagePath":"$.p"
        ,"ItemReader":{"Resource":"arn:aws:states:::s3:getObject","Parameters":{"Bucket.$":"$.b","Key":"k.csv"},"ReaderConfig":{"InputType":"CSV","CSVHeaderLocation":"GIVEN","CSVHeaders":["x"],"MaxItemsPath":"$.c"}}
        ,"ResultWriter":{"Resource":"arn:aws:states:::s3:putObject","Parameters":{"Bucket.$":"$.b","Prefix":"p"},"WriterConfig":{"Transformation":"COMPACT","OutputType":"JSON"}}"#;
    let mut play = Play::start(&distributed(rest), r#"{"c":3,"t":2,"p":12.5,"b":"bucket"}"#);
    let request = play.map_runs.remove(0);
    assert_eq!((request.max_concurrency, request.tolerated_failure_count), (3, 2));
    assert_eq!(request.tolerated_failure_percentage, 12.5);
    let MapItems::Reader(reader, selection) = &request.items else { panic!("{request:?}") };
    assert_eq!(reader.parameters.to_json(), r#"{"Bucket":"bucket","Key":"k.csv"}"#);
    assert_eq!(reader.max_items, Some(3));
    assert_eq!(selection.source.as_deref(), Some("S3://bucket/k.csv"));
    let writer = request.writer.as_ref().unwrap();
    assert_eq!(writer.parameters.to_json(), r#"{"Bucket":"bucket","Prefix":"p"}"#);
    assert_eq!(
        play.types(2),
        ["MapStateStarted", "MapRunStarted"],
        "items that are read are not counted at the start"
    );
    let end = MapRunEnd::Succeeded(Document::new(Value::array([Value::from(1i64)])));
    play.send(Event::MapRunFinished { map_run: request.map_run, end }).unwrap();
    assert_eq!(play.output(), "[1]");
}

/// The inspection of a state tested with a mock, at level DEBUG.
fn inspected(definition: &str, input: &str, mock: Option<Mock>) -> serde_json::Value {
    let info = super::driver::info("{}", true);
    let answer = test_state::run(&test_state::Request {
        definition,
        state_name: None,
        input,
        variables: Some(r#"{"a":1,"b":2}"#),
        context: None,
        level: InspectionLevel::Debug,
        mock,
        field_validation: test_state::FieldValidation::default(),
        configuration: Configuration::default(),
        execution: &info,
        now: info.start_time,
        seed: 1,
        fuel: &Fuel::ample(),
    });
    answer.unwrap_or_else(|error| panic!("{definition}: {error}")).to_wire()["inspectionData"]
        .take()
}

#[test]
fn a_tested_state_shows_its_data_flow() {
    let result = |text: &str| Some(Mock::Result(text.to_owned()));
    let error = || Some(Mock::Error(Failure::new("E", "c")));
    let processor = r#""ItemProcessor":{"ProcessorConfig":{"Mode":"DISTRIBUTED","ExecutionType":"STANDARD"},"StartAt":"B","States":{"B":{"Type":"Pass","End":true}}},"End":true"#;
    for (definition, mock, expected) in [
        (
            r#"{"Type":"Pass","Assign":{"b":3,"c":4},"End":true}"#.to_owned(),
            None,
            &[("variables", r#"{"a":1,"b":3,"c":4}"#)][..],
        ),
        (
            r#"{"Type":"Task","Resource":"w","End":true,"Assign":{"c":4},"Catch":[{"ErrorEquals":["E"],"Assign":{"e.$":"$.Error"},"Next":"Z"}]}"#
                .to_owned(),
            error(),
            &[("variables", r#"{"a":1,"b":2,"e":"E"}"#)],
        ),
        (
            r#"{"Type":"Task","Resource":"w","End":true,"InputPath":"$.l","Parameters":{"p.$":"$[0]"},"ResultSelector":{"s.$":"$.r"},"ResultPath":"$.t"}"#
                .to_owned(),
            result(r#"{"r":9}"#),
            &[
                ("afterInputPath", "[7,8]"),
                ("afterParameters", r#"{"p":7}"#),
                ("result", r#"{"r":9}"#),
                ("afterResultSelector", r#"{"s":9}"#),
                ("afterResultPath", r#"{"l":[7,8],"t":{"s":9}}"#),
                ("variables", r#"{"a":1,"b":2}"#),
            ],
        ),
        (
            format!(
                r#"{{"Type":"Map","ItemsPath":"$.l","ItemSelector":{{"i.$":"$$.Map.Item.Index","v.$":"$$.Map.Item.Value"}},"ItemBatcher":{{"MaxItemsPerBatch":2}},{processor}}}"#
            ),
            result("[1]"),
            &[
                ("afterItemsPath", "[7,8]"),
                ("afterItemSelector", r#"[{"i":0,"v":7},{"i":1,"v":8}]"#),
                ("afterItemBatcher", r#"[{"Items":[{"i":0,"v":7},{"i":1,"v":8}]}]"#),
            ],
        ),
        (
            format!(
                r#"{{"Type":"Map","QueryLanguage":"JSONata","Items":"{{% $states.input.l %}}","ItemSelector":"{{% $states.context.Map.Item.Value + $a %}}",{processor}}}"#
            ),
            result("[1,2]"),
            &[("afterItemSelector", "[8,9]")],
        ),
    ] {
        let shown = inspected(&definition, r#"{"l":[7,8]}"#, mock);
        for (key, value) in expected {
            assert_eq!(shown[key], *value, "{key} of {definition}: {shown}");
        }
    }
    // A failed branch is what a catcher of failed branches takes.
    let parallel = r#"{"Type":"Parallel","End":true,"Catch":[{"ErrorEquals":["States.BranchFailed"],"Next":"Z"}],
        "Branches":[{"StartAt":"B","States":{"B":{"Type":"Pass","End":true}}}]}"#;
    assert_eq!(inspected(parallel, "{}", error())["errorDetails"]["catchIndex"], 0);
}
