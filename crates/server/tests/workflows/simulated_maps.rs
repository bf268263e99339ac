//! Distributed Maps of the simulation: machines whose items are child executions, objects that cannot be
//! read or written now and then, and what must hold of map runs once all is over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use ark_model::workflow::ExecutionStatus;
use ark_server::workflows::objects::{Listed, Objects};
use ark_server::workflows::types::MapRunCounts;
use ark_server::workflows::{
    ExecutionView, ListExecutions, MapRunView, PageRequest, WorkflowError, Workflows,
};
use async_trait::async_trait;
use serde_json::{Value, json};

use crate::dice::Dice;

const BUCKET: &str = "sim";

fn all() -> PageRequest {
    PageRequest { max_results: 1_000, next_token: None }
}

/// What each start of them is given.
pub(crate) fn input(n: u64) -> Value {
    json!({"items": [1, 2, 3], "nested": [[1, 2], [3]], "n": n})
}

/// The definitions: children that work on the activity, one that tolerates failed batches and is tried
/// again, one that reads and writes objects, one whose children have map runs of their own, one beside a
/// task that may fail when the run is done.
pub(crate) fn definitions(activity: &str) -> Vec<(&'static str, Value)> {
    let task = json!({"StartAt": "T", "States": {"T": {"Type": "Task", "Resource": activity,
        "TimeoutSeconds": 60, "HeartbeatSeconds": 20, "End": true}}});
    let map = |processor: &Value, more: Value| {
        let mut processor = processor.clone();
        processor["ProcessorConfig"] = json!({"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"});
        let mut map = json!({"Type": "Map", "End": true, "ItemProcessor": processor});
        for (key, value) in more.as_object().expect("fields") {
            map[key] = value.clone();
        }
        json!({"StartAt": "M", "States": {"M": map}})
    };
    let retry = json!([{"ErrorEquals": ["States.ALL"], "IntervalSeconds": 1, "MaxAttempts": 1}]);
    let object = |action: &str, more: Value| {
        let resource = format!("arn:aws:states:::s3:{action}");
        let mut place = json!({"Bucket": BUCKET});
        for (key, value) in more.as_object().expect("fields") {
            place[key] = value.clone();
        }
        json!({"Resource": resource, "Parameters": place})
    };
    let mut reader = object("getObject", json!({"Key": "items.json"}));
    reader["ReaderConfig"] = json!({"InputType": "JSON"});
    let writer = object("putObject", json!({"Prefix": "results"}));
    vec![
        ("mapped", map(&task, json!({"ItemsPath": "$.items", "MaxConcurrency": 2}))),
        (
            "tolerant",
            map(
                &task,
                json!({"ItemsPath": "$.items", "ItemBatcher": {"MaxItemsPerBatch": 2},
                    "ToleratedFailurePercentage": 40, "Retry": retry}),
            ),
        ),
        ("files", map(&task, json!({"ItemReader": reader, "ResultWriter": writer}))),
        ("outer", map(&map(&task, json!({})), json!({"ItemsPath": "$.nested"}))),
        (
            "beside",
            json!({"StartAt": "P", "States": {"P": {"Type": "Parallel", "End": true,
                "Branches": [map(&task, json!({"ItemsPath": "$.items"})), task]}}}),
        ),
    ]
}

/// Whether a machine that succeeded answered what its items make; workers give back what they get.
fn is_right(machine: &str, output: &Value) -> bool {
    let batches = [json!({"Items": [1, 2]}), json!({"Items": [3]})];
    match machine {
        "mapped" => *output == json!([1, 2, 3]),
        "outer" => *output == json!([[1, 2], [3]]),
        // The smaller batch is tolerated, the larger one is not.
        "tolerant" => *output == json!(batches) || *output == json!([batches[0]]),
        "files" => output["ResultWriterDetails"]["Bucket"] == BUCKET,
        "beside" => output[0] == json!([1, 2, 3]) && output[1]["items"] == json!([1, 2, 3]),
        _ => true,
    }
}

/// Whether no child of these runs, or of its own, was stopped by itself: that is no failure of its run,
/// which then succeeds without what it would have answered.
async fn is_whole(wf: &Workflows, runs: &[MapRunView]) -> Result<bool, WorkflowError> {
    for run in runs {
        if run.items.aborted > 0 {
            return Ok(false);
        }
        for child in children_of(wf, run).await? {
            let own = runs_of(wf, &child.arn).await?;
            if own.iter().any(|run| run.items.aborted > 0) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// A bucket that fails now and then.
#[derive(Debug)]
pub(crate) struct SimObjects {
    dice: Mutex<Dice>,
    healed: AtomicBool,
    written: Mutex<BTreeMap<String, String>>,
    failed: Mutex<BTreeSet<&'static str>>,
}

impl SimObjects {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            dice: Mutex::new(Dice::of(seed ^ 0x0B1E_C750)),
            healed: AtomicBool::new(false),
            written: Mutex::default(),
            failed: Mutex::default(),
        }
    }

    /// It fails no more.
    pub(crate) fn heal(&self) {
        self.healed.store(true, Ordering::Relaxed);
    }

    /// What failed at least once.
    pub(crate) fn failures(&self) -> Vec<&'static str> {
        self.failed.lock().unwrap().iter().copied().collect()
    }

    /// The server may be crashed here, and the object may be out of reach.
    async fn reach(&self, what: &'static str) -> Result<(), String> {
        let mut waited = false;
        std::future::poll_fn(|_| match std::mem::replace(&mut waited, true) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
        if !self.healed.load(Ordering::Relaxed) && self.dice.lock().unwrap().one_in(4) {
            self.failed.lock().unwrap().insert(what);
            return Err("the bucket is out of reach".to_owned());
        }
        Ok(())
    }
}

#[async_trait]
impl Objects for SimObjects {
    async fn read(&self, _: &str, _: &str, _: Option<&str>) -> Result<Vec<u8>, String> {
        self.reach("items could not be read").await?;
        Ok(b"[1,2,3]".to_vec())
    }

    async fn list(&self, _bucket: &str, _prefix: &str) -> Result<Vec<Listed>, String> {
        self.reach("objects could not be listed").await?;
        Ok(Vec::new())
    }

    async fn write(&self, _bucket: &str, key: &str, bytes: Vec<u8>) -> Result<(), String> {
        self.reach("results could not be written").await?;
        let text = String::from_utf8(bytes).map_err(|error| error.to_string())?;
        self.written.lock().unwrap().insert(key.to_owned(), text);
        Ok(())
    }
}

/// The map runs of an execution, the newest first.
pub(crate) async fn runs_of(wf: &Workflows, arn: &str) -> Result<Vec<MapRunView>, WorkflowError> {
    Ok(wf.list_map_runs(arn, all()).await?.items)
}

/// The children of a map run, those of earlier tries, too.
pub(crate) async fn children_of(
    wf: &Workflows,
    run: &MapRunView,
) -> Result<Vec<ExecutionView>, WorkflowError> {
    let list = ListExecutions {
        map_run_arn: Some(run.arn.clone()),
        page: all(),
        ..ListExecutions::default()
    };
    Ok(wf.list_executions(list).await?.items)
}

/// Nothing goes on, and of a run that did not succeed what was never begun is pending.
fn settled(counts: &MapRunCounts, status: ExecutionStatus) -> bool {
    let ended = counts.succeeded + counts.failed + counts.timed_out + counts.aborted;
    let is_over = status != ExecutionStatus::Succeeded || counts.pending == 0;
    is_over
        && counts.running + counts.pending_redrive == 0
        && ended + counts.pending == counts.total
}

/// How the children that are listed ended, as a run counts them.
fn listed(children: &[ExecutionView]) -> [u64; 4] {
    let of = |status| children.iter().filter(|child| child.status == status).count() as u64;
    [
        of(ExecutionStatus::Succeeded),
        of(ExecutionStatus::Failed),
        of(ExecutionStatus::TimedOut),
        of(ExecutionStatus::Aborted),
    ]
}

/// Looks at the map runs of an execution that has ended.
pub(crate) async fn judge(
    wf: &Workflows,
    objects: &SimObjects,
    seen: &ExecutionView,
    found: &mut Vec<String>,
) -> Result<(), WorkflowError> {
    let runs = runs_of(wf, &seen.arn).await?;
    for run in &runs {
        let arn = &run.arn;
        if run.status == ExecutionStatus::Running || run.stopped_at.is_none() {
            found.push(format!("{arn} goes on after {} is {:?}", seen.arn, seen.status));
        }
        if !settled(&run.executions, run.status) || !settled(&run.items, run.status) {
            found.push(format!("{arn} counts {:?} and {:?}", run.executions, run.items));
        }
        let children = children_of(wf, run).await?;
        let counts = &run.executions;
        let counted = [counts.succeeded, counts.failed, counts.timed_out, counts.aborted];
        if counted != listed(&children) {
            found.push(format!("{arn} counts {counted:?}, listed are {:?}", listed(&children)));
        }
        let mut done = BTreeMap::<&str, u64>::new();
        let mut items = 0;
        for child in &children {
            if !child.status.is_ended() {
                found.push(format!("{} goes on after its run ended", child.arn));
            }
            if child.status == ExecutionStatus::Succeeded {
                *done.entry(&child.input).or_default() += 1;
                items += child.item_count.unwrap_or(1);
            }
        }
        if let Some((input, times)) = done.iter().find(|(_, times)| **times > 1) {
            found.push(format!("{arn}: the item {input} was done {times} times"));
        }
        let succeeded = (done.len() as u64, items);
        if (run.executions.succeeded, run.items.succeeded) != succeeded {
            let counted = (run.executions.succeeded, run.items.succeeded);
            found.push(format!("{arn} counts {counted:?} as done, and {succeeded:?} are"));
        }
    }
    if seen.status != ExecutionStatus::Succeeded || runs.is_empty() {
        return Ok(());
    }
    if runs[0].status != ExecutionStatus::Succeeded {
        found.push(format!("{} succeeded, its run is {:?}", seen.arn, runs[0].status));
    }
    if !is_whole(wf, &runs).await? {
        return Ok(());
    }
    let machine = seen.machine_arn.rsplit(':').next().unwrap_or_default();
    let output = seen.output.as_deref().unwrap_or_default();
    let output: Value = serde_json::from_str(output).unwrap_or_default();
    if !is_right(machine, &output) {
        found.push(format!("{} answered {output}", seen.arn));
    }
    if machine == "files" {
        let folder = runs[0].arn.rsplit(':').next().unwrap_or_default();
        let key = format!("results/{folder}/SUCCEEDED_0.json");
        let written = objects.written.lock().unwrap().get(&key).cloned().unwrap_or_default();
        let results: Vec<Value> = serde_json::from_str(&written).unwrap_or_default();
        let outputs: Vec<&str> = results.iter().filter_map(|r| r["Output"].as_str()).collect();
        if outputs != ["1", "2", "3"] {
            found.push(format!("{} wrote {written}", seen.arn));
        }
    }
    Ok(())
}
