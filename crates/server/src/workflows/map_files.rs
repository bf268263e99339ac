//! Reading the items of map runs. Waits for objects, so it runs beside the driver and outside of
//! transactions; a run that was cut short is begun again.
//!
//! What an item becomes is the machine's author's expression, and there may be a million of them. So
//! items are selected on other threads, at most on half of the cores, in slices of about a tenth of a
//! second, and written page by page; a run's whole selection has an end ([`ITEMS_FUEL`],
//! [`INPUTS_BYTES_MAX`]). Of each machine one run is served at a time: one that is costly waits for
//! itself.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ark_states::error::{Failure, names};
use ark_states::item_formats::{Keyed, Manifest, items, manifest, names_files};
use ark_states::machine::{
    ChildInputs, Env, ExecutionInfo, Host, InputsProgress, ItemSelection, MapItems, MapRunEvent,
    MapRunRequest, ReaderRequest, TaskId,
};
use ark_states::resource::Resource;
use ark_states::{Document, Fuel, Value};
use ark_store::{MapRunRow, ReadTx};
use flate2::read::MultiGzDecoder;
use futures::StreamExt as _;
use futures::future::{Either, select};
use futures::stream::FuturesUnordered;
use jiff::Timestamp;

use super::driver::RUNS_BATCH;
use super::error::WorkflowError;
use super::hub::Chore;
use super::map_runs::{CLEARED_AT_ONCE, Work, body_of, request_of};
use super::objects::{Listed, OBJECT_BYTES_MAX};
use super::program::Program;
use super::{Entropy, Workflows};

/// Inputs written in one transaction, and their bytes.
const PAGE_ITEMS: usize = 500;
const PAGE_BYTES: usize = 4 << 20;
/// The most items of one run.
const ITEMS_MAX: usize = 1_000_000;
/// Units of fuel after which a thread is left to others.
const SLICE_FUEL: u64 = 1_000_000;
/// Units of fuel that the selection of all items of a run may cost: a minute or so.
pub(super) const ITEMS_FUEL: u64 = 500_000_000;
/// The most bytes of the inputs of one run (1 GiB).
const INPUTS_BYTES_MAX: usize = 1 << 30;
/// Runs served at once, each of another machine.
const AT_ONCE: usize = 4;

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

pub(super) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// An object of a list as an item.
fn listed_item(object: Listed) -> Value {
    let size = i64::try_from(object.size).unwrap_or(i64::MAX);
    #[expect(clippy::cast_precision_loss, reason = "exact up to the year 287,000")]
    let modified = object.modified.as_second() as f64;
    Value::object([
        ("Etag", Value::from(object.etag)),
        ("Key", Value::from(object.key)),
        // A fraction, as AWS shows it, though it is whole: `1.789180622E9`.
        ("LastModified", Value::from(modified)),
        ("Size", Value::from(size)),
        ("StorageClass", Value::from(object.storage_class)),
    ])
}

/// Items of a run on their way to become inputs.
struct Selecting {
    program: Arc<Program>,
    selection: ItemSelection,
    /// The request, without its items.
    request: MapRunRequest,
    info: ExecutionInfo,
    items: std::vec::IntoIter<Keyed>,
    progress: InputsProgress,
    fuel_left: u64,
    bytes_left: usize,
}

/// Some inputs of a run.
struct Page {
    /// Each with the number of items in it.
    inputs: Vec<(Document, u64)>,
    /// Whether they are the last ones.
    last: bool,
}

impl Selecting {
    /// The next inputs, perhaps none yet. Takes a slice of time at most.
    fn page(&mut self, now: Timestamp, entropy: &dyn Entropy) -> Result<Page, Failure> {
        let seed = (u128::from(entropy.bits()) << 64) | u128::from(entropy.bits());
        let fuel = Fuel::of(self.fuel_left);
        let env = Env { now, seed, execution: &self.info, host: &NoHost, fuel: &fuel };
        let progress = std::mem::take(&mut self.progress);
        let mut inputs = ChildInputs::new(&self.program.definition, &self.selection, progress);
        let (mut made, mut bytes, mut last) = (Vec::new(), 0, false);
        while made.len() < PAGE_ITEMS && bytes < PAGE_BYTES && fuel.spent() < SLICE_FUEL {
            let Some(item) = self.items.next() else {
                last = true;
                break;
            };
            let input = inputs.push(item, &env);
            if fuel.is_dry() {
                let why = "To select the items of this Map Run costs more than is allowed: \
                    let the children do what the ItemSelector does";
                return Err(Failure::new(names::ITEM_READER_FAILED, why));
            }
            if let Some(input) = input? {
                bytes += input.size_bytes();
                made.push(input);
            }
        }
        match last {
            true => made.extend(inputs.finish()?),
            false => self.progress = inputs.pause(),
        }
        let counted = made.into_iter().map(|input| {
            let items = self.request.items_in(&input);
            (input, items)
        });
        let made = counted.collect();
        self.fuel_left -= fuel.spent();
        self.bytes_left = self.bytes_left.checked_sub(bytes).ok_or_else(|| {
            let why =
                format!("The inputs of a Map Run may have {INPUTS_BYTES_MAX} bytes altogether");
            Failure::new(names::ITEM_READER_FAILED, why)
        })?;
        Ok(Page { inputs: made, last })
    }
}

/// The oldest runs that wait for objects, one for each machine, with their machines.
fn waiting(
    tx: &ReadTx,
    busy: &BTreeSet<u64>,
    most: usize,
    is_resting: &dyn Fn(u64) -> bool,
) -> Result<BTreeMap<u64, MapRunRow>, WorkflowError> {
    let (mut found, mut last) = (BTreeMap::new(), 0);
    loop {
        let rows = tx.busy_map_runs(last, RUNS_BATCH)?;
        let is_last = rows.len() < RUNS_BATCH;
        for row in rows {
            last = row.id;
            // One that cannot be read is the driver's to complain about.
            let Ok(body) = body_of(&row) else { continue };
            if !matches!(body.work, Work::Reading | Work::Writing) || is_resting(row.id) {
                continue;
            }
            let Some(execution) = tx.execution(row.execution)? else { continue };
            if !busy.contains(&execution.machine) {
                found.entry(execution.machine).or_insert(row);
            }
            if found.len() == most {
                return Ok(found);
            }
        }
        if is_last {
            return Ok(found);
        }
    }
}

fn too_many_bytes() -> String {
    format!("the objects that are to be loaded have more than {INPUTS_BYTES_MAX} bytes altogether")
}

/// What was compressed with gzip; no more of it than an object may have.
fn unpacked(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut packed = MultiGzDecoder::new(bytes).take(OBJECT_BYTES_MAX + 1);
    packed.read_to_end(&mut out).map_err(|error| format!("it cannot be unpacked: {error}"))?;
    match out.len() as u64 {
        0..=OBJECT_BYTES_MAX => Ok(out),
        _ => Err(format!("unpacked it has more than the {OBJECT_BYTES_MAX} bytes that are read")),
    }
}

impl Workflows {
    /// Serves map runs that wait for objects until the server ends or another one takes over.
    pub(super) async fn objects_rounds(&self) -> WorkflowError {
        let hub = &self.shared.hub;
        let (mut under_way, mut machines) = (FuturesUnordered::new(), BTreeSet::new());
        loop {
            // The sweep tells every second.
            let told = std::pin::pin!(hub.outbound.notified());
            if hub.is_closing() {
                return WorkflowError::ShuttingDown;
            }
            match self.waiting_for_objects(&machines).await {
                Ok(found) => {
                    for (machine, row) in found {
                        machines.insert(machine);
                        under_way.push(async move { (machine, self.serve_objects_of(row).await) });
                    }
                }
                Err(WorkflowError::Fenced) => return WorkflowError::Fenced,
                Err(error) => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "map runs that wait for objects could not be looked for"
                ),
            }
            if under_way.is_empty() {
                told.await;
                continue;
            }
            let Either::Left((Some((machine, served)), _)) = select(under_way.next(), told).await
            else {
                continue;
            };
            machines.remove(&machine);
            match served {
                Ok(()) => {}
                Err(WorkflowError::Fenced) => return WorkflowError::Fenced,
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "objects of map runs could not be served"
                    );
                    // Not at once again: the store is out of service.
                    hub.outbound.notified().await;
                }
            }
        }
    }

    /// Serves the oldest map run of each machine that waits for objects, one after the other. For
    /// tests; the server serves them beside its rounds.
    ///
    /// # Errors
    /// When the store does not answer or another server has taken over.
    pub async fn serve_objects(&self) -> Result<(), WorkflowError> {
        for row in self.waiting_for_objects(&BTreeSet::new()).await?.into_values() {
            self.serve_objects_of(row).await?;
        }
        Ok(())
    }

    async fn waiting_for_objects(
        &self,
        busy: &BTreeSet<u64>,
    ) -> Result<BTreeMap<u64, MapRunRow>, WorkflowError> {
        let Some(most) = AT_ONCE.checked_sub(busy.len()).filter(|most| *most > 0) else {
            return Ok(BTreeMap::new());
        };
        let (busy, shared, now) = (busy.clone(), self.shared.clone(), self.world.clock.now());
        self.world
            .store
            .read(move |tx| {
                let is_resting = |run| shared.hub.resting.holds(Chore::MapRun(run), now);
                waiting(tx, &busy, most, &is_resting)
            })
            .await
    }

    async fn serve_objects_of(&self, row: MapRunRow) -> Result<(), WorkflowError> {
        let served = match body_of(&row)?.work {
            Work::Reading => self.read_items(&row).await,
            Work::Writing => self.write_results(&row).await,
            Work::Running | Work::Aborting | Work::Clearing | Work::Ended => Ok(()),
        };
        self.rest_if_broken(Chore::MapRun(row.id), served)?;
        Ok(())
    }

    /// Does work on another thread, where at most half of the cores are at such work.
    ///
    /// # Errors
    /// When it panics.
    pub(super) async fn beside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, WorkflowError> {
        if self.shared.inline.load(Ordering::Relaxed) {
            return Ok(work());
        }
        let broken = |why: String| WorkflowError::Internal(format!("work beside: {why}"));
        let place = self.shared.beside.clone().acquire_owned().await;
        let place = place.map_err(|error| broken(error.to_string()))?;
        // Should nobody wait for it any more, the place is still taken until it is done.
        let done = tokio::task::spawn_blocking(move || (work(), place));
        Ok(done.await.map_err(|error| broken(error.to_string()))?.0)
    }

    async fn read_items(&self, row: &MapRunRow) -> Result<(), WorkflowError> {
        let (id, execution) = (row.id, row.execution);
        let gone = move || WorkflowError::Internal(format!("map run {id} has no items to read"));
        let mut request = request_of(row)?;
        let items = std::mem::replace(&mut request.items, MapItems::Inputs(Vec::new()));
        let MapItems::Reader(reader, selection) = items else { return Err(gone()) };
        // What an earlier reading left that did not come to its end.
        loop {
            let more = self.transact(move |step| match step.run(id)?.reading() {
                Some(_) => Ok(step.tx.delete_map_items(id, CLEARED_AT_ONCE)? == CLEARED_AT_ONCE),
                None => Ok(false),
            });
            if !more.await? {
                break;
            }
        }
        let found = self
            .transact(move |step| {
                let Some(reading) = step.run(id)?.reading() else { return Ok(None) };
                let loaded = step.load(execution)?.ok_or_else(gone)?;
                Ok(Some((reading, loaded.info.clone(), loaded.program.clone())))
            })
            .await?;
        // Stopped since it was found.
        let Some((reading, info, program)) = found else { return Ok(()) };
        let failure = match self.items(&reader).await {
            Ok(items) => {
                let selecting = Selecting {
                    program,
                    selection,
                    request,
                    info,
                    items: items.into_iter(),
                    progress: InputsProgress::default(),
                    fuel_left: self.shared.items_fuel.load(Ordering::Relaxed),
                    bytes_left: INPUTS_BYTES_MAX,
                };
                match self.write_inputs(id, reading, selecting).await? {
                    Ok(()) => return Ok(()),
                    Err(failure) => failure,
                }
            }
            Err(why) => Failure::new(names::ITEM_READER_FAILED, why),
        };
        self.transact(move |step| {
            if step.run(id)?.reading() == Some(reading) {
                step.map_inbox.push_back((id, MapRunEvent::ItemsFailed(failure)));
            }
            Ok(())
        })
        .await
    }

    /// Selects all items and writes the inputs that come of them, page by page.
    async fn write_inputs(
        &self,
        id: u64,
        reading: u32,
        mut selecting: Selecting,
    ) -> Result<Result<(), Failure>, WorkflowError> {
        let mut first = 0;
        loop {
            let (now, entropy) = (self.world.clock.now(), self.shared.entropy.clone());
            let selected = self.beside(move || {
                let page = selecting.page(now, &*entropy);
                (selecting, page)
            });
            let page;
            (selecting, page) = match selected.await {
                Ok(selected) => selected,
                Err(WorkflowError::Internal(why)) => {
                    tracing::error!(map_run = id, why, "the interpreter panicked; the run fails");
                    let why = "The items could not be selected. This is a defect of Ark.";
                    return Ok(Err(Failure::new(names::RUNTIME, why)));
                }
                Err(other) => return Err(other),
            };
            let Page { inputs, last } = match page {
                Ok(page) => page,
                Err(failure) => return Ok(Err(failure)),
            };
            if inputs.is_empty() && !last {
                continue;
            }
            let count = inputs.len() as u64;
            let is_wanted = self
                .transact(move |step| step.items_read(id, reading, first, &inputs, last))
                .await?;
            if last {
                self.shared.hub.driver.notify_one();
            }
            if last || !is_wanted {
                return Ok(Ok(()));
            }
            first += count;
        }
    }

    async fn items(&self, reader: &ReaderRequest) -> Result<Vec<Keyed>, String> {
        let most = reader.max_items.and_then(|n| usize::try_from(n).ok()).unwrap_or(ITEMS_MAX);
        let most = most.min(ITEMS_MAX);
        let bucket = text(&reader.parameters, "Bucket");
        if reader.resource.ends_with("s3:listObjectsV2") {
            let listed = self.objects.list(bucket, text(&reader.parameters, "Prefix")).await?;
            if text(&reader.config, "Transformation") == "LOAD_AND_FLATTEN" {
                return self.items_of_all(bucket, &listed, &reader.config, most).await;
            }
            return Ok(listed
                .into_iter()
                .take(most)
                .map(|object| (None, listed_item(object)))
                .collect());
        }
        if !reader.resource.ends_with("s3:getObject") {
            return Err(format!(
                "The item reader {} is not served by Ark: s3:getObject and s3:listObjectsV2 are",
                reader.resource
            ));
        }
        let version = match reader.parameters.get("VersionId") {
            None | Some(Value::Null) => None,
            Some(version) => Some(version.as_str().ok_or("VersionId must be a text")?),
        };
        let bytes = self.objects.read(bucket, text(&reader.parameters, "Key"), version).await?;
        if names_files(&reader.config) {
            return self.items_of_manifest(&manifest(&bytes, &reader.config)?, most).await;
        }
        self.items_in(bytes, &reader.config, most).await
    }

    async fn items_in(
        &self,
        bytes: Vec<u8>,
        config: &Value,
        most: usize,
    ) -> Result<Vec<Keyed>, String> {
        let config = config.clone();
        let parsed = self.beside(move || items(&bytes, &config, most)).await;
        parsed.map_err(|error| error.to_string())?
    }

    /// The items of all objects that a manifest names, one after the other.
    async fn items_of_manifest(
        &self,
        manifest: &Manifest,
        most: usize,
    ) -> Result<Vec<Keyed>, String> {
        let (mut found, mut bytes_left) = (Vec::new(), INPUTS_BYTES_MAX);
        for file in &manifest.files {
            let left = most - found.len();
            if left == 0 {
                break;
            }
            let at = |why: String| format!("{}/{}: {why}", file.bucket, file.key);
            let mut bytes = self.objects.read(&file.bucket, &file.key, None).await?;
            if file.is_gzip() {
                let unpacked = self.beside(move || unpacked(&bytes)).await;
                bytes = unpacked.map_err(|error| error.to_string())?.map_err(at)?;
            }
            bytes_left = bytes_left.checked_sub(bytes.len()).ok_or_else(too_many_bytes)?;
            found.extend(self.items_in(bytes, &manifest.config, left).await.map_err(at)?);
        }
        Ok(found)
    }

    /// The items of all objects of a list, one after the other.
    async fn items_of_all(
        &self,
        bucket: &str,
        listed: &[Listed],
        config: &Value,
        most: usize,
    ) -> Result<Vec<Keyed>, String> {
        if listed.iter().map(|object| object.size).sum::<u64>() > INPUTS_BYTES_MAX as u64 {
            return Err(too_many_bytes());
        }
        let mut found = Vec::new();
        for object in listed {
            let left = most - found.len();
            if left == 0 {
                break;
            }
            let bytes = self.objects.read(bucket, &object.key, None).await?;
            let more = self.items_in(bytes, config, left).await;
            found.extend(more.map_err(|why| format!("{}: {why}", object.key))?);
        }
        Ok(found)
    }
}
