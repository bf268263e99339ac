//! Work that waits for nothing but a hint: on a clock that stands, nobody comes round to look for it.

use std::sync::Arc;
use std::time::Duration;

use ark_model::workflow::ExecutionStatus;
use ark_server::workflows::http::{Answer, CallError, Caller, Calls, Outgoing};
use ark_server::workflows::objects::FileObjects;
use ark_store::{Keyring, Store};
use futures::future::BoxFuture;
use serde_json::{Value, json};

use crate::fixture::{Fixture, clock, one_task};

/// How often each is tried: whoever looks before the commit need not be too early each time.
const TIMES: usize = 20;

#[derive(Debug)]
struct AnswersAtOnce;

impl Caller for AnswersAtOnce {
    fn call(&self, _: Outgoing) -> BoxFuture<'_, Result<Answer, CallError>> {
        let reason = "OK".to_owned();
        let answer = Answer { status: 200, reason, headers: Vec::new(), body: b"x".to_vec() };
        Box::pin(std::future::ready(Ok(answer)))
    }
}

/// Each ends although no time passes. On a disk, where others read while one writes.
async fn ends_at_once(definition: Value) {
    let place = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(place.path().join("objects/in")).unwrap();
    std::fs::write(place.path().join("objects/in/items"), "[1,2]").unwrap();
    let clock = clock();
    let store = Store::open(place.path().join("store"), ark_server::world::Clock::now(&*clock));
    let mut f = Fixture::on(store.unwrap(), clock).await;
    let keyring = Arc::new(Keyring::ephemeral().unwrap());
    let objects = FileObjects::new(place.path().join("objects"));
    let calls = Calls { caller: Arc::new(AnswersAtOnce), keyring };
    f.wf = f.wf.clone().with_calls(calls).with_objects(Arc::new(objects));
    let machine = f.machine("m", definition).await;
    let running = tokio::spawn({
        let wf = f.wf.clone();
        async move { wf.run().await }
    });
    for n in 0..TIMES {
        let arn = f.start(&machine, json!({})).await;
        let ended = async {
            while f.status(&arn).await == ExecutionStatus::Running {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let ended = tokio::time::timeout(Duration::from_secs(20), ended).await;
        assert!(ended.is_ok(), "number {n} waits for somebody to come round");
        assert_eq!(f.status(&arn).await, ExecutionStatus::Succeeded);
    }
    f.wf.close();
    running.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_made_as_soon_as_it_is_on_record() {
    let call = json!({"Parameters": {"ApiEndpoint": "https://example.com/", "Method": "POST"}});
    ends_at_once(one_task("arn:aws:states:::http:invoke", call)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_are_read_and_written_as_soon_as_that_is_on_record() {
    ends_at_once(json!({"StartAt": "M", "States": {"M": {"Type": "Map", "End": true,
        "ItemReader": {"Resource": "arn:aws:states:::s3:getObject",
            "ReaderConfig": {"InputType": "JSON"},
            "Parameters": {"Bucket": "in", "Key": "items"}},
        "ResultWriter": {"Resource": "arn:aws:states:::s3:putObject",
            "Parameters": {"Bucket": "out", "Prefix": "p"}},
        "ItemProcessor": {
            "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
            "StartAt": "P", "States": {"P": {"Type": "Pass", "End": true}}}}}}))
    .await;
}
