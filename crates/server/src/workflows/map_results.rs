//! Writing the results of map runs to objects, as AWS lays them out: what succeeded, what failed, and
//! a manifest that names the objects of both. Results are read page by page and written part by part,
//! so that of a large run little is in memory at once. Called by `map_files`, outside of transactions.

use ark_model::workflow::ExecutionStatus;
use ark_states::error::{Failure, names};
use ark_states::machine::WriterRequest;
use ark_states::{Document, Value};
use ark_store::{ExecutionRow, ItemPhase, MapItemRow, MapRunRow, ReadTx};
use jiff::Timestamp;

use super::Workflows;
use super::error::WorkflowError;
use super::executions::{COMPLETED, redrivable};
use super::facts::Facts;
use super::map_files::text;
use super::map_runs::{Work, body_of, request_of};
use super::program::{Program, Programs};
use super::step::Loaded;
use super::types::Redrivable;

/// Results read at once: input and output of each have 256 KiB at most.
const PAGE: usize = 64;
/// An object this long is written and the next one begun, in bytes (32 MiB).
const PART_BYTES: usize = 32 << 20;

/// What stopped the writing of results.
enum Stopped {
    /// The run no longer wants them.
    Unwanted,
    /// An object could not be written.
    Failed(String),
    /// The store did not answer.
    Error(WorkflowError),
}

impl From<WorkflowError> for Stopped {
    fn from(error: WorkflowError) -> Self {
        Self::Error(error)
    }
}

impl From<String> for Stopped {
    fn from(why: String) -> Self {
        Self::Failed(why)
    }
}

/// Whose results were written.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Written {
    pub(super) children: u64,
    /// The items they worked on.
    pub(super) items: u64,
}

/// Where the results of a run go.
struct Place {
    bucket: String,
    folder: String,
    /// JSON Lines rather than arrays.
    lines: bool,
}

/// The objects of results that ended alike.
struct Part {
    name: &'static str,
    lines: bool,
    /// The object that is being made.
    body: String,
    /// Those that were written: keys and sizes.
    written: Vec<Value>,
}

impl Part {
    fn new(name: &'static str, lines: bool) -> Self {
        Self { name, lines, body: String::new(), written: Vec::new() }
    }

    fn push(&mut self, entry: &str) {
        match (self.lines, self.body.is_empty()) {
            (false, true) => self.body.push('['),
            (false, false) => self.body.push(','),
            (true, _) => {}
        }
        self.body.push_str(entry);
        if self.lines {
            self.body.push('\n');
        }
    }

    /// The object that was begun, with its key; `None` where nothing was begun.
    fn take(&mut self, folder: &str) -> Option<(String, Vec<u8>)> {
        if self.body.is_empty() {
            return None;
        }
        let mut body = std::mem::take(&mut self.body);
        if !self.lines {
            body.push(']');
        }
        let (name, n) = (self.name, self.written.len());
        let key = format!("{folder}/{name}_{n}.{}", if self.lines { "jsonl" } else { "json" });
        let size = i64::try_from(body.len()).unwrap_or(i64::MAX);
        let file = [("Key", Value::from(key.as_str())), ("Size", Value::from(size))];
        self.written.push(Value::object(file));
        Some((key, body.into_bytes()))
    }
}

/// What one look at the items of a run found.
struct Page {
    /// Whether the results are still wanted.
    wanted: bool,
    /// With what is told of their children.
    items: Vec<(MapItemRow, Told)>,
}

fn page(
    tx: &ReadTx,
    programs: &Programs,
    run: u64,
    from: u64,
    transformation: &str,
    now: Timestamp,
) -> Result<Page, WorkflowError> {
    let row = tx.map_run(run)?;
    let work = row.map(|row| body_of(&row)).transpose()?.map(|body| body.work);
    let mut items = Vec::new();
    for item in tx.map_items_from(run, from, PAGE)? {
        let child = item.execution.filter(|_| is_told(item.phase, transformation));
        let told = match child.map(|child| tx.execution(child)).transpose()?.flatten() {
            Some(row) => {
                let loaded = Loaded::unpack(tx, programs, row)?;
                told(&loaded.program, &loaded.row, &loaded.facts, now)
            }
            None => Told::new(),
        };
        items.push((item, told));
    }
    Ok(Page { wanted: work == Some(Work::Writing), items })
}

/// What is told of a child beside its input and its result.
pub(super) type Told = Vec<(&'static str, Value)>;

/// Whether a result is written with what is told of its child.
pub(super) fn is_told(phase: ItemPhase, transformation: &str) -> bool {
    phase == ItemPhase::Failed || !matches!(transformation, "COMPACT" | "FLATTEN")
}

/// What is told of a child.
pub(super) fn told(program: &Program, row: &ExecutionRow, facts: &Facts, now: Timestamp) -> Told {
    let instant = |at: Timestamp| Value::from(at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string());
    let name = row.name.split_once(':').map_or(row.name.as_str(), |(name, _)| name);
    let redrives = i64::try_from(facts.redrive_count).unwrap_or(i64::MAX);
    let mut told = vec![
        ("ExecutionArn", Value::from(program.execution_arn(row, facts))),
        ("InputDetails", Value::object([("Included", Value::from(true))])),
        ("Name", Value::from(name)),
        ("RedriveCount", Value::from(redrives)),
        ("StartDate", instant(row.started_at)),
        ("StateMachineArn", Value::from(program.machine_arn(facts))),
        ("Status", Value::from(row.status.as_str())),
    ];
    let reason = match redrivable(row, facts, now) {
        // The run is all done, or nothing would be told.
        Redrivable::Yes | Redrivable::ByMapRun => COMPLETED.to_owned(),
        Redrivable::No(reason) => reason,
    };
    told.push(("RedriveStatus", Value::from("NOT_REDRIVABLE")));
    told.push(("RedriveStatusReason", Value::from(reason)));
    told.extend(row.stopped_at.map(|at| ("StopDate", instant(at))));
    told
}

impl Workflows {
    /// Writes the results of a run and says so to it.
    pub(super) async fn write_results(&self, row: &MapRunRow) -> Result<(), WorkflowError> {
        let (id, request) = (row.id, request_of(row)?);
        let Some(writer) = request.writer else {
            return Err(WorkflowError::Internal(format!("map run {id} has no writer")));
        };
        let outcome = match self.results(&request.arn, row, &writer).await {
            Ok(outcome) => Ok(outcome),
            Err(Stopped::Unwanted) => return Ok(()),
            Err(Stopped::Error(error)) => return Err(error),
            Err(Stopped::Failed(why)) => Err(Failure::new(names::RESULT_WRITER_FAILED, why)),
        };
        self.transact(move |step| step.results_written(id, outcome)).await
    }

    /// Writes objects of what failed and of what succeeded, and a manifest that names them. Answers
    /// the output of the Map state, and how much was written.
    async fn results(
        &self,
        arn: &str,
        run: &MapRunRow,
        writer: &WriterRequest,
    ) -> Result<(Document, Written), Stopped> {
        let prefix = text(&writer.parameters, "Prefix").trim_end_matches('/');
        let uuid = run.uuid.as_str();
        let place = Place {
            bucket: text(&writer.parameters, "Bucket").to_owned(),
            folder: if prefix.is_empty() { uuid.to_owned() } else { format!("{prefix}/{uuid}") },
            lines: text(&writer.config, "OutputType") == "JSONL",
        };
        let transformation = text(&writer.config, "Transformation");
        let now = self.world.clock.now();
        let mut failed = Part::new("FAILED", place.lines);
        let mut succeeded = Part::new("SUCCEEDED", place.lines);
        let (id, mut from, mut count) = (run.id, 0, Written::default());
        loop {
            let (shared, kind) = (self.shared.clone(), transformation.to_owned());
            let read = move |tx: &ReadTx| page(tx, &shared.programs, id, from, &kind, now);
            let Page { wanted, items } = self.world.store.read(read).await?;
            if !wanted {
                return Err(Stopped::Unwanted);
            }
            let Some((last, _)) = items.last() else { break };
            from = last.index + 1;
            count.children += items.len() as u64;
            count.items += items.iter().map(|(item, _)| item.items).sum::<u64>();
            let transformation = transformation.to_owned();
            let made = self.beside(move || texts(items, &transformation)).await?;
            for (phase, entries) in made {
                let part = match phase {
                    ItemPhase::Succeeded => &mut succeeded,
                    ItemPhase::Failed => &mut failed,
                    ItemPhase::Pending | ItemPhase::Running => continue,
                };
                for entry in entries {
                    part.push(&entry);
                    if part.body.len() >= PART_BYTES {
                        self.write_part(&place, part).await?;
                    }
                }
            }
        }
        self.write_part(&place, &mut failed).await?;
        self.write_part(&place, &mut succeeded).await?;
        Ok((self.write_manifest(arn, &place, failed, succeeded).await?, count))
    }

    async fn write_part(&self, place: &Place, part: &mut Part) -> Result<(), String> {
        match part.take(&place.folder) {
            Some((key, bytes)) => self.objects.write(&place.bucket, &key, bytes).await,
            None => Ok(()),
        }
    }

    async fn write_manifest(
        &self,
        arn: &str,
        place: &Place,
        failed: Part,
        succeeded: Part,
    ) -> Result<Document, String> {
        let files = [
            ("FAILED", Value::array(failed.written)),
            ("SUCCEEDED", Value::array(succeeded.written)),
            ("PENDING", Value::array([])),
        ];
        let bucket = place.bucket.as_str();
        let manifest = Value::object([
            ("DestinationBucket", Value::from(bucket)),
            ("MapRunArn", Value::from(arn)),
            ("ResultFiles", Value::object(files)),
        ]);
        let key = format!("{}/manifest.json", place.folder);
        self.objects.write(bucket, &key, manifest.to_json().into_bytes()).await?;
        let details = [("Bucket", Value::from(bucket)), ("Key", Value::from(key))];
        Ok(Document::new(Value::object([
            ("MapRunArn", Value::from(arn)),
            ("ResultWriterDetails", Value::object(details)),
        ])))
    }
}

/// The results of some children, as they are written.
fn texts(items: Vec<(MapItemRow, Told)>, transformation: &str) -> Vec<(ItemPhase, Vec<String>)> {
    let made = items.into_iter().map(|(item, told)| {
        let entries = entries(&item, told, transformation);
        (item.phase, entries.iter().map(Value::to_json).collect())
    });
    made.collect()
}

/// How one child's result is written: as it is, its parts one by one, or with what is told of the child.
/// Failures always are the latter.
pub(super) fn entries(item: &MapItemRow, told: Told, transformation: &str) -> Vec<Value> {
    let result = item.result.as_deref().and_then(|text| Value::parse(text).ok());
    let result = result.unwrap_or_default();
    match (item.phase, transformation, result.as_array()) {
        (ItemPhase::Succeeded, "FLATTEN", Some(parts)) => parts.to_vec(),
        (ItemPhase::Succeeded, "COMPACT" | "FLATTEN", _) => vec![result],
        (ItemPhase::Succeeded, _, _) => {
            let own = [
                ("Output", Value::from(item.result.as_deref().unwrap_or("null"))),
                ("OutputDetails", Value::object([("Included", Value::from(true))])),
                ("Status", Value::from(ExecutionStatus::Succeeded.as_str())),
            ];
            vec![with_told(item, told, own.into())]
        }
        (_, _, _) => {
            let part = |key| result.get(key).cloned().map(|value| (key, value));
            let own = ["Cause", "Error", "Status"].into_iter().filter_map(part).collect();
            vec![with_told(item, told, own)]
        }
    }
}

/// What is told, and what a result says by itself, in the order of the names.
fn with_told(item: &MapItemRow, mut told: Told, own: Told) -> Value {
    told.retain(|(name, _)| !own.iter().any(|(other, _)| name == other));
    told.extend(own);
    told.push(("Input", Value::from(item.input.as_str())));
    told.sort_by_key(|(name, _)| *name);
    Value::object(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_is_a_whole_object() {
        for (lines, first, second) in [
            (false, ("f/SUCCEEDED_0.json", "[1,2]"), ("f/SUCCEEDED_1.json", "[3]")),
            (true, ("f/SUCCEEDED_0.jsonl", "1\n2\n"), ("f/SUCCEEDED_1.jsonl", "3\n")),
        ] {
            let mut part = Part::new("SUCCEEDED", lines);
            assert_eq!(part.take("f"), None, "nothing is no object");
            part.push("1");
            part.push("2");
            let pair = |(key, body): (&str, &str)| Some((key.to_owned(), body.as_bytes().to_vec()));
            assert_eq!(part.take("f"), pair(first));
            part.push("3");
            assert_eq!(part.take("f"), pair(second));
            assert_eq!(part.take("f"), None);
            let sizes = part.written.iter().map(|file| file.get("Size").and_then(Value::as_i64));
            let expect = [first.1.len() as i64, second.1.len() as i64].map(Some);
            assert_eq!(sizes.collect::<Vec<_>>(), expect);
        }
    }
}
