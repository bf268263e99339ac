//! 12: distributed Map, its runs and its children.

use ark_model::workflow::ExecutionStatus;
use ark_server::workflows::{ListExecutions, PageRequest, Refusal, UpdateMapRun};
use serde_json::{Value, json};

use crate::fixture::Fixture;

fn distributed(processor: Value, more: Value) -> Value {
    let mut map = json!({"Type": "Map", "End": true, "ItemsPath": "$.items", "Label": "L",
        "ItemProcessor": {"ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
            "StartAt": "T", "States": {"T": processor}}});
    for (key, value) in more.as_object().unwrap() {
        map[key] = value.clone();
    }
    json!({"StartAt": "M", "States": {"M": map}})
}

async fn children(f: &Fixture, run: &str) -> Vec<ark_server::workflows::ExecutionView> {
    let list = ListExecutions { map_run_arn: Some(run.to_owned()), ..ListExecutions::default() };
    f.wf.list_executions(list).await.unwrap().items
}

async fn the_run(f: &Fixture, arn: &str) -> ark_server::workflows::MapRunView {
    f.wf.list_map_runs(arn, PageRequest::default()).await.unwrap().items.remove(0)
}

#[tokio::test]
async fn each_item_is_a_child_and_results_come_in_order() {
    let f = Fixture::new().await;
    let machine =
        f.machine("m", distributed(json!({"Type": "Pass", "End": true}), json!({}))).await;
    let items: Vec<i32> = (0..300).collect();
    let arn = f.start(&machine, json!({"items": items})).await;
    f.settle().await;
    assert_eq!(f.output(&arn).await, json!(items));
    let run = the_run(&f, &arn).await;
    assert_eq!(run.status, ExecutionStatus::Succeeded);
    assert_eq!((run.executions.total, run.executions.succeeded), (300, 300));
    let first = &children(&f, &run.arn).await[0];
    assert!(first.arn.contains(":execution:m/L:"), "{}", first.arn);
    assert_eq!(first.map_run_arn.as_ref(), Some(&run.arn));
    assert!(f.history(&first.arn).await.len() >= 4);
    let types = f.types(&arn).await;
    assert!(types.contains(&"MapRunStarted") && types.contains(&"MapRunSucceeded"), "{types:?}");
    assert!(types.len() < 20, "events of children do not count against the parent");
}

#[tokio::test]
async fn children_beyond_the_tolerance_fail_the_run_and_stop_the_rest() {
    let f = Fixture::new().await;
    let activity = f.activity("a").await;
    let task = json!({"Type": "Task", "Resource": activity, "End": true});
    let limits = json!({"MaxConcurrency": 2, "ToleratedFailureCount": 1});
    let machine = f.machine("m", distributed(task, limits)).await;
    let arn = f.start(&machine, json!({"items": [0, 1, 2, 3, 4, 5]})).await;
    f.settle().await;
    let run = the_run(&f, &arn).await;
    assert_eq!((run.executions.running, run.executions.pending), (2, 4));
    for _ in 0..2 {
        let (token, _) = f.take(&activity).await.unwrap();
        f.wf.task_failed(&token, Some("E".into()), None).await.unwrap();
        f.settle().await;
    }
    let view = f.view(&arn).await;
    assert_eq!(view.error.as_deref(), Some("States.ExceedToleratedFailureThreshold"));
    let run = the_run(&f, &arn).await;
    assert_eq!(run.status, ExecutionStatus::Failed);
    let seen = children(&f, &run.arn).await;
    assert!(seen.iter().all(|c| c.status.is_ended()), "a child still runs: {seen:?}");
    assert!(seen.len() < 6, "no child is started after the run failed");
    assert!(f.take(&activity).await.is_none());
}

#[tokio::test]
async fn a_child_that_succeeds_before_its_abort_is_not_run_again() {
    let f = Fixture::new().await;
    let activity = f.activity("a").await;
    let task = json!({"Type": "Task", "Resource": activity, "End": true});
    let machine = f.machine("m", distributed(task, json!({}))).await;
    let arn = f.start(&machine, json!({"items": [0, 1, 2, 3]})).await;
    f.settle().await;
    let (fails, _) = f.take(&activity).await.unwrap();
    let (succeeds, input) = f.take(&activity).await.unwrap();
    f.wf.task_failed(&fails, Some("E".into()), None).await.unwrap();
    assert_eq!(the_run(&f, &arn).await.status, ExecutionStatus::Failed);
    f.succeed(&succeeds, input).await;
    f.settle().await;
    let counts = the_run(&f, &arn).await.executions;
    assert_eq!((counts.failed, counts.aborted, counts.succeeded), (1, 2, 1));
    f.wf.redrive_execution(&arn, None).await.unwrap();
    f.settle().await;
    assert_eq!(the_run(&f, &arn).await.executions.running, 3);
    for _ in 0..3 {
        let (token, input) = f.take(&activity).await.unwrap();
        f.succeed(&token, input).await;
    }
    f.settle().await;
    assert_eq!(f.output(&arn).await, json!([0, 1, 2, 3]));
    assert_eq!(the_run(&f, &arn).await.executions.succeeded, 4);
}

#[tokio::test]
async fn limits_of_a_running_run_can_be_changed() {
    let f = Fixture::new().await;
    let activity = f.activity("a").await;
    let task = json!({"Type": "Task", "Resource": activity, "End": true});
    let machine = f.machine("m", distributed(task, json!({"MaxConcurrency": 1}))).await;
    let arn = f.start(&machine, json!({"items": [0, 1, 2, 3]})).await;
    f.settle().await;
    let run = the_run(&f, &arn).await;
    assert_eq!(run.executions.running, 1);
    let more = UpdateMapRun { max_concurrency: Some(3), ..UpdateMapRun::default() };
    f.wf.update_map_run(&run.arn, more).await.unwrap();
    f.settle().await;
    let run = f.wf.describe_map_run(&run.arn).await.unwrap();
    assert_eq!((run.max_concurrency, run.executions.running), (3, 3));
    for _ in 0..4 {
        f.settle().await;
        let (token, input) = f.take(&activity).await.unwrap();
        f.succeed(&token, input).await;
    }
    f.settle().await;
    assert_eq!(f.output(&arn).await, json!([0, 1, 2, 3]));
    let late = f.wf.update_map_run(&run.arn, more).await.unwrap_err();
    assert_eq!(late.refusal(), Some(Refusal::ValidationException));
}

#[tokio::test]
async fn a_run_ends_with_its_execution() {
    let f = Fixture::new().await;
    let activity = f.activity("a").await;
    let task = json!({"Type": "Task", "Resource": activity, "End": true});
    let machine = f.machine("m", distributed(task, json!({}))).await;
    let arn = f.start(&machine, json!({"items": [0, 1, 2]})).await;
    f.settle().await;
    f.wf.stop_execution(&arn, None, None).await.unwrap();
    f.settle().await;
    let run = the_run(&f, &arn).await;
    assert_eq!(run.status, ExecutionStatus::Aborted);
    let seen = children(&f, &run.arn).await;
    assert!(seen.iter().all(|c| c.status == ExecutionStatus::Aborted), "{seen:?}");
}

#[tokio::test]
async fn a_redrive_runs_only_the_children_that_failed() {
    let f = Fixture::new().await;
    let activity = f.activity("a").await;
    let task = json!({"Type": "Task", "Resource": activity, "End": true});
    let machine = f.machine("m", distributed(task, json!({"MaxConcurrency": 1}))).await;
    let arn = f.start(&machine, json!({"items": [0, 1, 2]})).await;
    f.settle().await;
    let (token, input) = f.take(&activity).await.unwrap();
    f.succeed(&token, input).await;
    f.settle().await;
    let (token, _) = f.take(&activity).await.unwrap();
    f.wf.task_failed(&token, Some("E".into()), None).await.unwrap();
    f.settle().await;
    assert_eq!(f.status(&arn).await, ExecutionStatus::Failed);
    f.wf.redrive_execution(&arn, None).await.unwrap();
    let mut again = Vec::new();
    loop {
        f.settle().await;
        let Some((token, input)) = f.take(&activity).await else { break };
        again.push(input.clone());
        f.succeed(&token, input).await;
    }
    assert_eq!(again, [json!(1), json!(2)]);
    assert_eq!(f.output(&arn).await, json!([0, 1, 2]));
    assert_eq!(the_run(&f, &arn).await.redrive_count, 1);
}

#[tokio::test]
async fn a_map_within_a_map_and_a_second_run_in_a_loop() {
    let f = Fixture::new().await;
    let inner = json!({"Type": "Map", "End": true,
        "ItemProcessor": {"ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "EXPRESS"},
            "StartAt": "P", "States": {"P": {"Type": "Pass", "End": true}}}});
    let mut outer = distributed(inner, json!({"ResultPath": "$.items"}));
    let states = outer["States"].as_object_mut().unwrap();
    states["M"].as_object_mut().unwrap().remove("End");
    states["M"]["Next"] = json!("Count");
    states.insert(
        "Count".into(),
        json!({"Type": "Pass", "Next": "Again",
        "Parameters": {"items.$": "$.items", "n.$": "States.MathAdd($.n, 1)"}}),
    );
    states.insert(
        "Again".into(),
        json!({"Type": "Choice", "Default": "Done",
        "Choices": [{"Variable": "$.n", "NumericLessThan": 2, "Next": "M"}]}),
    );
    states.insert("Done".into(), json!({"Type": "Succeed"}));
    let machine = f.machine("m", outer).await;
    let arn = f.start(&machine, json!({"items": [[1, 2], [3]], "n": 0})).await;
    f.settle().await;
    assert_eq!(f.output(&arn).await, json!({"items": [[1, 2], [3]], "n": 2}));
    let runs = f.wf.list_map_runs(&arn, PageRequest::default()).await.unwrap();
    assert_eq!(runs.items.len(), 2);
}

#[tokio::test]
async fn items_come_from_an_object_and_results_go_to_one() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("in")).unwrap();
    std::fs::write(dir.path().join("in/items.csv"), "id,name\n1,a\n2,b\n3,c\n").unwrap();
    let mut f = Fixture::new().await;
    let objects = ark_server::workflows::objects::FileObjects::new(dir.path().to_owned());
    f.wf = f.wf.clone().with_objects(std::sync::Arc::new(objects));
    let files = |key: &str| {
        json!({
        "ItemReader": {"Resource": "arn:aws:states:::s3:getObject",
            "ReaderConfig": {"InputType": "CSV", "CSVHeaderLocation": "FIRST_ROW", "MaxItems": 2},
            "Parameters": {"Bucket": "in", "Key": key}},
        "ResultWriter": {"Resource": "arn:aws:states:::s3:putObject",
            "Parameters": {"Bucket": "out", "Prefix": "runs"}}})
    };
    let pass = json!({"Type": "Pass", "OutputPath": "$.name", "End": true});
    let mut definition = distributed(pass.clone(), files("items.csv"));
    definition["States"]["M"].as_object_mut().unwrap().remove("ItemsPath");
    let machine = f.machine("m", definition).await;
    let arn = f.start(&machine, json!({})).await;
    f.settle().await;
    let output = f.output(&arn).await;
    let key = output["ResultWriterDetails"]["Key"].as_str().unwrap();
    assert!(key.starts_with("runs/") && key.ends_with("/manifest.json"), "{key}");
    let read = |key: &str| -> Value {
        serde_json::from_slice(&std::fs::read(dir.path().join("out").join(key)).unwrap()).unwrap()
    };
    let results = read(read(key)["ResultFiles"]["SUCCEEDED"][0]["Key"].as_str().unwrap());
    let outputs: Vec<_> = results.as_array().unwrap().iter().map(|r| r["Output"].clone()).collect();
    assert_eq!(outputs, [json!("\"a\""), json!("\"b\"")]);

    for key in ["missing.csv", "../../etc/passwd"] {
        let mut definition = distributed(pass.clone(), files(key));
        definition["States"]["M"].as_object_mut().unwrap().remove("ItemsPath");
        let machine = f.machine("broken", definition).await;
        let arn = f.start(&machine, json!({})).await;
        f.settle().await;
        assert_eq!(f.view(&arn).await.error.as_deref(), Some("States.ItemReaderFailed"), "{key}");
    }
}

/// A runtime on the objects below a folder, with a machine that passes on the items of `in/ITEMS` and
/// writes the results to `out`.
async fn reads_and_writes(dir: &std::path::Path, items: &str) -> (Fixture, String) {
    let mut f = Fixture::new().await;
    let objects = ark_server::workflows::objects::FileObjects::new(dir.to_owned());
    f.wf = f.wf.clone().with_objects(std::sync::Arc::new(objects));
    let files = json!({
        "ItemReader": {"Resource": "arn:aws:states:::s3:getObject",
            "ReaderConfig": {"InputType": "JSON"}, "Parameters": {"Bucket": "in", "Key": items}},
        "ResultWriter": {"Resource": "arn:aws:states:::s3:putObject",
            "Parameters": {"Bucket": "out", "Prefix": "p"}}});
    let mut definition = distributed(json!({"Type": "Pass", "End": true}), files);
    definition["States"]["M"].as_object_mut().unwrap().remove("ItemsPath");
    let machine = f.machine("m", definition).await;
    (f, machine)
}

/// The outputs that a run has written.
fn written(dir: &std::path::Path, output: &Value) -> Vec<Value> {
    let read = |key: &Value| -> Value {
        let path = dir.join("out").join(key.as_str().unwrap());
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    };
    let manifest = read(&output["ResultWriterDetails"]["Key"]);
    let results = read(&manifest["ResultFiles"]["SUCCEEDED"][0]["Key"]);
    results.as_array().unwrap().iter().map(|r| r["Output"].clone()).collect()
}

#[tokio::test]
async fn a_redrive_reads_the_items_that_could_not_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let (f, machine) = reads_and_writes(dir.path(), "late.json").await;
    let arn = f.start(&machine, json!({})).await;
    f.settle().await;
    assert_eq!(f.view(&arn).await.error.as_deref(), Some("States.ItemReaderFailed"));
    assert_eq!(the_run(&f, &arn).await.status, ExecutionStatus::Failed);
    std::fs::create_dir(dir.path().join("in")).unwrap();
    std::fs::write(dir.path().join("in/late.json"), "[1, 2]").unwrap();
    f.wf.redrive_execution(&arn, None).await.unwrap();
    assert_eq!(the_run(&f, &arn).await.status, ExecutionStatus::Running);
    f.settle().await;
    assert_eq!(written(dir.path(), &f.output(&arn).await), [json!("1"), json!("2")]);
    let run = the_run(&f, &arn).await;
    assert_eq!((run.status, run.redrive_count), (ExecutionStatus::Succeeded, 1));
}

#[tokio::test]
async fn a_redrive_reads_the_items_that_were_being_read_at_a_stop() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("in")).unwrap();
    std::fs::write(dir.path().join("in/items.json"), "[1, 2]").unwrap();
    let (f, machine) = reads_and_writes(dir.path(), "items.json").await;
    let arn = f.start(&machine, json!({})).await;
    f.wf.stop_execution(&arn, None, None).await.unwrap();
    f.settle().await;
    assert_eq!(the_run(&f, &arn).await.status, ExecutionStatus::Aborted);
    f.wf.redrive_execution(&arn, None).await.unwrap();
    f.settle().await;
    assert_eq!(written(dir.path(), &f.output(&arn).await), [json!("1"), json!("2")]);
    assert_eq!(the_run(&f, &arn).await.executions.succeeded, 2);
}

#[tokio::test]
async fn a_redrive_writes_the_results_that_could_not_be_written() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("in")).unwrap();
    std::fs::write(dir.path().join("in/items.json"), "[1, 2]").unwrap();
    // Where the bucket should be is a file.
    std::fs::write(dir.path().join("out"), "").unwrap();
    let (f, machine) = reads_and_writes(dir.path(), "items.json").await;
    let arn = f.start(&machine, json!({})).await;
    f.settle().await;
    assert_eq!(f.view(&arn).await.error.as_deref(), Some("States.ResultWriterFailed"));
    let run = the_run(&f, &arn).await;
    assert_eq!((run.status, run.executions.succeeded), (ExecutionStatus::Failed, 2));
    let first = children(&f, &run.arn).await;
    std::fs::remove_file(dir.path().join("out")).unwrap();
    f.wf.redrive_execution(&arn, None).await.unwrap();
    f.settle().await;
    assert_eq!(written(dir.path(), &f.output(&arn).await), [json!("1"), json!("2")]);
    let run = the_run(&f, &arn).await;
    assert_eq!((run.status, run.redrive_count), (ExecutionStatus::Succeeded, 1));
    let again = children(&f, &run.arn).await;
    assert_eq!(again.len(), first.len(), "no child is started again");
}

/// A writer without a place: what it would write is the output of the state.
#[tokio::test]
async fn a_writer_without_a_place_shapes_the_output() {
    let f = Fixture::new().await;
    let fails = json!({"Type": "Choice", "Default": "P",
        "Choices": [{"Variable": "$", "IsString": true, "Next": "F"}]});
    let outputs = async |transformation: &str| {
        let writer = json!({"ToleratedFailureCount": 1, "ResultWriter": {"WriterConfig":
            {"Transformation": transformation, "OutputType": "JSON"}}});
        let mut definition = distributed(fails.clone(), writer);
        let states = &mut definition["States"]["M"]["ItemProcessor"]["States"];
        states["P"] = json!({"Type": "Pass", "End": true});
        states["F"] = json!({"Type": "Fail", "Error": "E", "Cause": "why"});
        let machine = f.machine(transformation, definition).await;
        let arn = f.start(&machine, json!({"items": [[1, 2], "bad", 3]})).await;
        f.settle().await;
        f.output(&arn).await.as_array().unwrap().clone()
    };
    let [one, failed, three] = <[Value; 3]>::try_from(outputs("COMPACT").await).unwrap();
    assert_eq!((one, three), (json!([1, 2]), json!(3)));
    assert_eq!((&failed["Error"], &failed["Status"]), (&json!("E"), &json!("FAILED")));
    let flat = outputs("FLATTEN").await;
    assert_eq!((&flat[0], &flat[1], &flat[3]), (&json!(1), &json!(2), &json!(3)));
    let all = outputs("NONE").await;
    let first = all[0].as_object().unwrap();
    let names: Vec<&str> = first.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "ExecutionArn",
            "Input",
            "InputDetails",
            "Name",
            "Output",
            "OutputDetails",
            "RedriveCount",
            "RedriveStatus",
            "RedriveStatusReason",
            "StartDate",
            "StateMachineArn",
            "Status",
            "StopDate",
        ]
    );
    assert_eq!((&first["Input"], &first["Output"]), (&json!("[1,2]"), &json!("[1,2]")));
    assert_eq!(first["StartDate"], "2026-01-01T00:00:00.000Z");
    let arn = first["ExecutionArn"].as_str().unwrap();
    assert!(arn.contains(":execution:NONE/L:"), "{arn}");
    assert_eq!(all[1]["RedriveStatus"], "NOT_REDRIVABLE");
    let reason = "Map Run was completed without the result of this execution";
    assert_eq!(all[1]["RedriveStatusReason"], reason);
    assert_eq!((&all[1]["Cause"], all[1].get("Output")), (&json!("why"), None));
}

#[tokio::test]
async fn listed_objects_are_items_and_can_be_loaded() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("in")).unwrap();
    for (name, text) in [("a1.json", "[1, 2]"), ("a2.json", "[3]"), ("b.json", "[4]")] {
        std::fs::write(dir.path().join("in").join(name), text).unwrap();
    }
    let mut f = Fixture::new().await;
    let objects = ark_server::workflows::objects::FileObjects::new(dir.path().to_owned());
    f.wf = f.wf.clone().with_objects(std::sync::Arc::new(objects));
    let outputs = async |name: &str, config: Value| {
        let reader = json!({"ItemReader": {"Resource": "arn:aws:states:::s3:listObjectsV2",
            "Parameters": {"Bucket": "in", "Prefix": "a"}, "ReaderConfig": config}});
        let mut definition = distributed(json!({"Type": "Pass", "End": true}), reader);
        definition["States"]["M"].as_object_mut().unwrap().remove("ItemsPath");
        let machine = f.machine(name, definition).await;
        let arn = f.start(&machine, json!({})).await;
        f.settle().await;
        f.output(&arn).await
    };
    let listed = outputs("list", json!({})).await;
    let names: Vec<&str> = listed[0].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["Etag", "Key", "LastModified", "Size", "StorageClass"]);
    assert_eq!((&listed[0]["Key"], &listed[0]["Size"]), (&json!("a1.json"), &json!(6)));
    assert_ne!(listed[0]["Etag"], listed[1]["Etag"]);
    let modified = listed[0]["LastModified"].to_string();
    assert!(listed[0]["LastModified"].is_f64(), "a fraction, as AWS has it: {modified}");
    let loads = json!({"Transformation": "LOAD_AND_FLATTEN", "InputType": "JSON", "MaxItems": 3});
    assert_eq!(outputs("load", loads).await, json!([1, 2, 3]));
}

/// The answer of a large run does not wait until its items are forgotten, and no transaction forgets all.
#[tokio::test]
async fn items_of_a_finished_run_are_forgotten_by_and_by() {
    const ITEMS: u64 = 2_300;
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("in")).unwrap();
    std::fs::write(dir.path().join("in/items.json"), json!(vec![0; ITEMS as usize]).to_string())
        .unwrap();
    let (f, machine) = reads_and_writes(dir.path(), "items.json").await;
    let arn = f.start(&machine, json!({})).await;
    let run = f.store.read(|tx| tx.busy_map_runs(0, 1)).await.unwrap().remove(0).id;
    let items = || f.store.read(move |tx| tx.map_items_count(run));
    let mut driver = ark_server::workflows::driver::Driver::default();
    let (mut left, mut ended_with) = (0, None);
    for _ in 0..10_000 {
        f.wf.serve_objects().await.unwrap();
        driver.round(&f.wf).await.unwrap();
        let now = items().await.unwrap();
        assert!(now + 1_000 >= left, "{left} items, then {now}");
        left = now;
        if f.status(&arn).await.is_ended() {
            ended_with.get_or_insert(left);
            if left == 0 {
                break;
            }
        }
    }
    assert_eq!(f.status(&arn).await, ExecutionStatus::Succeeded);
    assert!(ended_with.is_some_and(|items| items > 1_000), "{ended_with:?}");
    assert_eq!(left, 0);
    f.settle().await;
    let busy = f.store.read(|tx| tx.busy_map_runs(0, 10)).await.unwrap();
    assert_eq!(busy.len(), 0, "nothing is left to do");
}

#[tokio::test]
async fn items_come_from_the_objects_that_a_manifest_names() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    let gzip = |text: &str| {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut packed, text.as_bytes()).unwrap();
        packed.finish().unwrap()
    };
    let inventory = |schema: &str| {
        json!({"sourceBucket": "src", "destinationBucket": "arn:aws:s3:::lists",
            "version": "2016-11-30", "fileFormat": "CSV", "fileSchema": schema,
            "files": [{"key": "data/1.csv.gz", "size": 1}, {"key": "data/2.csv", "size": 1}]})
    };
    write("in/manifest.json", inventory("Bucket, Key, Size").to_string().as_bytes());
    write("lists/data/1.csv.gz", &gzip("\"src\",\"a.txt\",\"3\"\n\"src\",\"b.txt\",\"4\"\n"));
    write("lists/data/2.csv", b"\"src\",\"c.txt\",\"5\"\n");
    write("in/unloaded.csv", b"s3://lists/u/1.gz\ns3://lists/u/2\n");
    write("lists/u/1.gz", &gzip("{\"n\":1}\n{\"n\":2}\n"));
    write("lists/u/2", b"{\"n\":3}\n");
    write("in/gone.csv", b"s3://lists/none\n");
    let mut f = Fixture::new().await;
    let objects = ark_server::workflows::objects::FileObjects::new(dir.path().to_owned());
    f.wf = f.wf.clone().with_objects(std::sync::Arc::new(objects));
    let f = &f;
    let run = async |config: Value, parameters: Value| {
        let reader = json!({"ItemReader": {"Resource": "arn:aws:states:::s3:getObject",
            "ReaderConfig": config, "Parameters": parameters}});
        let mut definition = distributed(json!({"Type": "Pass", "End": true}), reader);
        definition["States"]["M"].as_object_mut().unwrap().remove("ItemsPath");
        let machine = f.machine("m", definition).await;
        let arn = f.start(&machine, json!({})).await;
        f.settle().await;
        let view = f.view(&arn).await;
        match view.output {
            Some(output) => serde_json::from_str(&output).unwrap(),
            None => json!([view.error, view.cause]),
        }
    };
    let at = |key: &str| json!({"Bucket": "in", "Key": key});
    let row = |key: &str, size: &str| json!({"Bucket": "src", "Key": key, "Size": size});
    let all = run(json!({"InputType": "MANIFEST"}), at("manifest.json")).await;
    assert_eq!(all, json!([row("a.txt", "3"), row("b.txt", "4"), row("c.txt", "5")]));
    let some = json!({"InputType": "MANIFEST", "ManifestType": "S3_INVENTORY", "MaxItems": 1});
    assert_eq!(run(some, at("manifest.json")).await, json!([row("a.txt", "3")]));
    let athena = json!({"InputType": "JSONL", "ManifestType": "ATHENA_DATA"});
    let unloaded = run(athena.clone(), at("unloaded.csv")).await;
    assert_eq!(unloaded, json!([{"n": 1}, {"n": 2}, {"n": 3}]));

    let versioned = json!({"Bucket": "in", "Key": "manifest.json", "VersionId": "v1"});
    for (config, parameters, cause) in [
        (athena, at("gone.csv"), "the object lists/none cannot be read"),
        (json!({"InputType": "MANIFEST"}), at("unloaded.csv"), "no inventory of S3"),
        (json!({"InputType": "PARQUET"}), at("manifest.json"), "PARQUET is not served by Ark"),
        (json!({"InputType": "JSON"}), versioned, "there are no versions: leave out VersionId"),
    ] {
        let failed = run(config, parameters).await;
        assert_eq!(failed[0], "States.ItemReaderFailed", "{failed}");
        assert!(failed[1].as_str().is_some_and(|text| text.contains(cause)), "{failed}");
    }
}

/// What a hostile machine's author makes of each item: much work, and nothing of it is wanted.
fn hostile(file: &str) -> Value {
    let costly = "{% $count($filter([1..3000], function($n) { $n % 7 = 0 })) %}";
    json!({"QueryLanguage": "JSONata", "StartAt": "M", "States": {"M": {
        "Type": "Map", "End": true, "Label": "L", "ItemSelector": {"n": costly},
        "ItemReader": {"Resource": "arn:aws:states:::s3:getObject",
            "ReaderConfig": {"InputType": "JSON"}, "Arguments": {"Bucket": "in", "Key": file}},
        "ItemProcessor": {"ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "EXPRESS"},
            "StartAt": "P", "States": {"P": {"Type": "Pass", "End": true}}}}}})
}

async fn with_items(dir: &std::path::Path, count: usize) -> Fixture {
    std::fs::create_dir(dir.join("in")).unwrap();
    std::fs::write(dir.join("in/items.json"), json!(vec![0; count]).to_string()).unwrap();
    let mut f = Fixture::new().await;
    let objects = ark_server::workflows::objects::FileObjects::new(dir.to_owned());
    f.wf = f.wf.clone().with_objects(std::sync::Arc::new(objects));
    f
}

#[tokio::test]
async fn a_costly_selection_of_items_stalls_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let f = with_items(dir.path(), 400).await;
    let hostile = f.machine("h", hostile("items.json")).await;
    let wait =
        json!({"StartAt": "W", "States": {"W": {"Type": "Wait", "Seconds": 1, "End": true}}});
    let wait = f.machine("w", wait).await;
    let first = f.start(&hostile, json!({})).await;
    let running = tokio::spawn({
        let wf = f.wf.clone();
        async move { wf.run().await }
    });
    f.someone_sleeps().await;
    let waits = f.start(&wait, json!({})).await;
    for _ in 0..500 {
        f.clock.advance(jiff::SignedDuration::from_secs(1));
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        if f.status(&waits).await.is_ended() {
            break;
        }
    }
    assert_eq!(f.status(&waits).await, ExecutionStatus::Succeeded);
    assert_eq!(the_run(&f, &first).await.executions.total, 0, "its items are still selected");
    f.wf.stop_execution(&first, None, None).await.unwrap();
    f.wf.close();
    running.await.unwrap();
}

#[tokio::test]
async fn the_selection_of_items_has_an_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut f = with_items(dir.path(), 1_000).await;
    f.wf = f.wf.clone().with_items_fuel(1_000_000);
    let machine = f.machine("h", hostile("items.json")).await;
    let arn = f.start(&machine, json!({})).await;
    f.settle().await;
    let seen = f.view(&arn).await;
    assert_eq!(seen.error.as_deref(), Some("States.ItemReaderFailed"), "{seen:?}");
    assert!(seen.cause.unwrap().contains("costs more"));
    let run = the_run(&f, &arn).await;
    assert_eq!((run.status, run.executions.total), (ExecutionStatus::Failed, 0));
}

/// Pages of items, batches that go over their ends, and an order that is kept.
#[tokio::test]
async fn many_items_are_selected_page_by_page() {
    let dir = tempfile::tempdir().unwrap();
    let f = with_items(dir.path(), 1_203).await;
    let mut definition = hostile("items.json");
    let map = &mut definition["States"]["M"];
    map["ItemSelector"] = json!("{% $states.context.Map.Item.Index %}");
    map["ItemBatcher"] = json!({"MaxItemsPerBatch": 7});
    let machine = f.machine("m", definition).await;
    let arn = f.start(&machine, json!({})).await;
    f.settle().await;
    let output = f.output(&arn).await;
    let batches = output.as_array().unwrap();
    assert_eq!(batches.len(), 172);
    let items = batches.iter().flat_map(|batch| batch["Items"].as_array().unwrap().clone());
    assert_eq!(items.collect::<Vec<_>>(), (0..1_203).map(|n| json!(n)).collect::<Vec<_>>());
}

/// A child that works on several items ends all of them.
#[tokio::test]
async fn items_of_batches_are_counted_and_tolerated_one_by_one() {
    let f = Fixture::new().await;
    let activity = f.activity("a").await;
    let task = json!({"Type": "Task", "Resource": activity, "End": true});
    let more = json!({"ItemBatcher": {"MaxItemsPerBatch": 3}, "MaxConcurrency": 2,
        "ToleratedFailurePercentage": 35});
    let machine = f.machine("m", distributed(task, more)).await;
    let arn = f.start(&machine, json!({"items": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]})).await;
    f.settle().await;
    let run = the_run(&f, &arn).await;
    let (items, children_) = (run.items, run.executions);
    assert_eq!((items.total, items.running, items.pending), (10, 6, 4));
    assert_eq!((children_.total, children_.running, children_.pending), (4, 2, 2));
    let seen = children(&f, &run.arn).await;
    assert!(seen.iter().all(|child| child.item_count == Some(3)), "{seen:?}");

    // Three of ten are tolerated, and the fourth child has one item only.
    let fail = async || {
        let (token, _) = f.take(&activity).await.unwrap();
        f.wf.task_failed(&token, Some("E".into()), None).await.unwrap();
        f.settle().await;
    };
    fail().await;
    let (token, input) = f.take(&activity).await.unwrap();
    f.succeed(&token, input).await;
    f.settle().await;
    let items = the_run(&f, &arn).await.items;
    assert_eq!((items.failed, items.succeeded, items.running, items.pending), (3, 3, 4, 0));
    fail().await;
    let run = the_run(&f, &arn).await;
    assert_eq!(run.status, ExecutionStatus::Failed);
    let items = run.items;
    assert_eq!((items.failed, items.succeeded, items.aborted, items.total), (6, 3, 1, 10));
    assert_eq!((run.executions.failed, run.executions.aborted), (2, 1));

    f.wf.redrive_execution(&arn, None).await.unwrap();
    f.settle().await;
    let items = the_run(&f, &arn).await.items;
    assert_eq!((items.succeeded, items.failed, items.aborted), (3, 0, 0));
    assert_eq!((items.running + items.pending + items.pending_redrive, items.total), (7, 10));
    for _ in 0..3 {
        let (token, input) = f.take(&activity).await.unwrap();
        f.succeed(&token, input).await;
        f.settle().await;
    }
    assert_eq!(f.status(&arn).await, ExecutionStatus::Succeeded);
    let run = the_run(&f, &arn).await;
    assert_eq!((run.items.succeeded, run.executions.succeeded), (10, 4));
}
