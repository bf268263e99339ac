//! Reading the items of map runs and writing their results. Waits for objects, so it runs beside the
//! driver and outside of transactions; a run that was cut short is begun again.

use ark_model::workflow::ExecutionStatus;
use ark_states::error::{Failure, names};
use ark_states::machine::{
    ChildInputs, Env, ExecutionInfo, Host, ItemSelection, MapItems, MapRunEvent, ReaderRequest,
    TaskId, WriterRequest,
};
use ark_states::resource::Resource;
use ark_states::{Definition, Document, Fuel, Value};
use ark_store::{ItemPhase, MapItemRow, MapRunRow};

use super::Workflows;
use super::driver::RUNS_BATCH;
use super::error::WorkflowError;
use super::hub::Chore;
use super::item_formats::items;
use super::map_runs::{Work, body_of, request_of};

/// Inputs written in one transaction, and results read in one.
const ITEMS_PAGE: usize = 500;
/// The most items of one run.
const ITEMS_MAX: usize = 1_000_000;

/// Items are selected without tasks, so nothing is asked of the runtime.
struct NoHost;

impl Host for NoHost {
    fn task_token(&self, _task: TaskId) -> String {
        String::new()
    }

    fn refusal(&self, _resource: &Resource) -> Option<String> {
        None
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

impl Workflows {
    /// Serves every map run that waits for objects once.
    ///
    /// # Errors
    /// When the store does not answer or another server has taken over.
    pub async fn serve_objects(&self) -> Result<(), WorkflowError> {
        let mut last = 0;
        loop {
            let busy = self.world.store.read(move |tx| tx.busy_map_runs(last, RUNS_BATCH)).await?;
            for row in &busy {
                last = row.id;
                let chore = Chore::MapRun(row.id);
                if !self.shared.hub.resting.holds(chore, self.world.clock.now()) {
                    self.rest_if_broken(chore, self.serve_run_objects(row).await)?;
                }
            }
            if busy.len() < RUNS_BATCH {
                return Ok(());
            }
        }
    }

    async fn serve_run_objects(&self, row: &MapRunRow) -> Result<(), WorkflowError> {
        match body_of(row)?.work {
            Work::Reading => self.read_items(row).await,
            Work::Writing => self.write_results(row).await,
            Work::Running | Work::Aborting | Work::Ended => Ok(()),
        }
    }

    async fn read_items(&self, row: &MapRunRow) -> Result<(), WorkflowError> {
        let (id, execution) = (row.id, row.execution);
        let MapItems::Reader(reader, selection) = request_of(row)?.items else { return Ok(()) };
        let found = self
            .transact(move |step| {
                step.tx.delete_map_items(id)?;
                let loaded = step.load(execution)?;
                Ok(loaded.map(|l| (l.info.clone(), l.program.definition.clone())))
            })
            .await?;
        let Some((info, definition)) = found else { return Ok(()) };
        let inputs = match self.items(&reader).await {
            Ok(values) => self.inputs(&definition, &selection, &info, values),
            Err(why) => Err(Failure::new(names::ITEM_READER_FAILED, why)),
        };
        let inputs = match inputs {
            Ok(inputs) => inputs,
            Err(failure) => {
                return self
                    .transact(move |step| {
                        step.map_inbox.push_back((id, MapRunEvent::ItemsFailed(failure)));
                        Ok(())
                    })
                    .await;
            }
        };
        let mut pages: Vec<Vec<Document>> = inputs.chunks(ITEMS_PAGE).map(<[_]>::to_vec).collect();
        if pages.is_empty() {
            pages.push(Vec::new());
        }
        let (mut first, last) = (0, pages.len() - 1);
        for (n, page) in pages.into_iter().enumerate() {
            let count = page.len() as u64;
            self.transact(move |step| step.items_read(id, first, &page, n == last)).await?;
            first += count;
        }
        self.shared.hub.driver.notify_one();
        Ok(())
    }

    async fn items(&self, reader: &ReaderRequest) -> Result<Vec<Value>, String> {
        let most = reader.max_items.and_then(|n| usize::try_from(n).ok()).unwrap_or(ITEMS_MAX);
        let most = most.min(ITEMS_MAX);
        let bucket = text(&reader.parameters, "Bucket");
        if reader.resource.ends_with("s3:listObjectsV2") {
            let listed = self.objects.list(bucket, text(&reader.parameters, "Prefix")).await?;
            let item = |o: super::objects::Listed| {
                let size = i64::try_from(o.size).unwrap_or(i64::MAX);
                Value::object([("Key", Value::from(o.key)), ("Size", Value::from(size))])
            };
            return Ok(listed.into_iter().take(most).map(item).collect());
        }
        if !reader.resource.ends_with("s3:getObject") {
            return Err(format!(
                "The item reader {} is not served by Ark: s3:getObject and s3:listObjectsV2 are",
                reader.resource
            ));
        }
        let bytes = self.objects.read(bucket, text(&reader.parameters, "Key")).await?;
        items(&bytes, &reader.config, most)
    }

    fn inputs(
        &self,
        definition: &Definition,
        selection: &ItemSelection,
        info: &ExecutionInfo,
        values: Vec<Value>,
    ) -> Result<Vec<Document>, Failure> {
        let entropy = &self.shared.entropy;
        let mut inputs = ChildInputs::new(definition, selection);
        let mut made = Vec::new();
        for value in values {
            let seed = (u128::from(entropy.bits()) << 64) | u128::from(entropy.bits());
            let now = self.world.clock.now();
            let env = Env { now, seed, execution: info, host: &NoHost, fuel: &Fuel::ample() };
            made.extend(inputs.push(value, &env)?);
        }
        made.extend(inputs.finish()?);
        Ok(made)
    }

    async fn write_results(&self, row: &MapRunRow) -> Result<(), WorkflowError> {
        let (id, request) = (row.id, request_of(row)?);
        let Some(writer) = request.writer else { return Ok(()) };
        let (mut from, mut all) = (0, Vec::new());
        loop {
            let page =
                self.world.store.read(move |tx| tx.map_items_from(id, from, ITEMS_PAGE)).await?;
            let Some(last) = page.last() else { break };
            from = last.index + 1;
            all.extend(page);
        }
        let written = self.results(&request.arn, &row.uuid, &writer, &all).await;
        let count = all.len() as u64;
        let outcome = written
            .map(|answer| (answer, count))
            .map_err(|why| Failure::new(names::RESULT_WRITER_FAILED, why));
        self.transact(move |step| step.results_written(id, outcome)).await
    }

    /// Writes one object of what succeeded, one of what failed, and a manifest that names both.
    async fn results(
        &self,
        arn: &str,
        uuid: &str,
        writer: &WriterRequest,
        all: &[MapItemRow],
    ) -> Result<Document, String> {
        let bucket = text(&writer.parameters, "Bucket");
        let prefix = text(&writer.parameters, "Prefix").trim_end_matches('/');
        let folder = if prefix.is_empty() { uuid.to_owned() } else { format!("{prefix}/{uuid}") };
        let lines = text(&writer.config, "OutputType") == "JSONL";
        let transformation = text(&writer.config, "Transformation");
        let mut files = Vec::new();
        for (name, phase) in [("FAILED", ItemPhase::Failed), ("SUCCEEDED", ItemPhase::Succeeded)] {
            let chosen = all.iter().filter(|item| item.phase == phase);
            let entries: Vec<Value> = chosen.flat_map(|i| entries(i, transformation)).collect();
            if entries.is_empty() {
                files.push((name, Value::array([])));
                continue;
            }
            let key = format!("{folder}/{name}_0.{}", if lines { "jsonl" } else { "json" });
            let body = if lines {
                entries.iter().map(|entry| entry.to_json() + "\n").collect::<String>()
            } else {
                Value::array(entries).to_json()
            };
            let size = i64::try_from(body.len()).unwrap_or(i64::MAX);
            self.objects.write(bucket, &key, body.into_bytes()).await?;
            let file = Value::object([("Key", Value::from(key)), ("Size", Value::from(size))]);
            files.push((name, Value::array([file])));
        }
        files.push(("PENDING", Value::array([])));
        let manifest = Value::object([
            ("DestinationBucket", Value::from(bucket)),
            ("MapRunArn", Value::from(arn)),
            ("ResultFiles", Value::object(files)),
        ]);
        let key = format!("{folder}/manifest.json");
        self.objects.write(bucket, &key, manifest.to_json().into_bytes()).await?;
        let details = [("Bucket", Value::from(bucket)), ("Key", Value::from(key))];
        Ok(Document::new(Value::object([
            ("MapRunArn", Value::from(arn)),
            ("ResultWriterDetails", Value::object(details)),
        ])))
    }
}

/// How one child's result is written.
fn entries(item: &MapItemRow, transformation: &str) -> Vec<Value> {
    let result = item.result.as_deref().and_then(|text| Value::parse(text).ok());
    let result = result.unwrap_or_default();
    match (item.phase, transformation, result.as_array()) {
        (ItemPhase::Succeeded, "FLATTEN", Some(parts)) => parts.to_vec(),
        (ItemPhase::Succeeded, "COMPACT" | "FLATTEN", _) => vec![result],
        (ItemPhase::Succeeded, _, _) => vec![Value::object([
            ("Input", Value::from(item.input.as_str())),
            ("Output", Value::from(item.result.as_deref().unwrap_or("null"))),
            ("Status", Value::from(ExecutionStatus::Succeeded.as_str())),
        ])],
        (_, _, _) => vec![Value::object([
            ("Input", Value::from(item.input.as_str())),
            ("Error", result.get("Error").cloned().unwrap_or_default()),
            ("Cause", result.get("Cause").cloned().unwrap_or_default()),
            ("Status", result.get("Status").cloned().unwrap_or_default()),
        ])],
    }
}
