//! Map states up to where their items run: evaluation, and the request for a Map Run.

use super::effect::{
    Effect, ItemSelection, MapItems, MapRunId, MapRunRequest, ReaderRequest, WriterRequest,
};
use super::evaluate::{Eval, Evaluated, Tolerance, out_of_range};
use super::event::MapRunEnd;
use super::failure::Origin;
use super::frame::{Doing, FrameId, Item};
use super::run::{Extra, Run, map_context};
use super::states::limited;
use super::{Env, Refused};
use crate::definition::{Definition, FieldError, Map, MapMode, NumberField, StateKind};
use crate::error::Failure;
use crate::history::{Details, EventType};
use crate::item_formats::Keyed;
use crate::limits::PAYLOAD_BYTES_MAX;
use crate::scope::{Context, Random, Variables};
use crate::value::{Document, Object, Value};

/// `Map.Item.Source` of items that the input holds.
const STATE_DATA: &str = "STATE_DATA";

/// `Map.Item.Source` of items that are read: the object they are in, or the bucket that is listed.
fn source_of(request: &ReaderRequest) -> std::sync::Arc<str> {
    let text = |key: &str| request.parameters.get(key).and_then(Value::as_str).unwrap_or_default();
    let bucket = text("Bucket");
    match request.resource.ends_with("listObjectsV2") {
        true => format!("S3://{bucket}").into(),
        false => format!("S3://{bucket}/{}", text("Key")).into(),
    }
}

impl Run<'_> {
    pub(super) fn map(&mut self, id: FrameId, map: &Map) -> Evaluated<()> {
        let (most, items) = self.evaluating(id, &Extra::default(), |eval| {
            let effective = eval.effective_input()?;
            let most = eval.max_concurrency(map, &effective)?;
            let items = match map.reader {
                Some(_) => Vec::new(),
                None => eval.items(map, &effective)?,
            };
            Ok((most, items))
        })?;
        let frame = self.frame(id);
        let previous = frame.previous;
        let details = Details { length: Some(items.len() as u64), ..Details::default() };
        let started = self.record(EventType::MapStateStarted, previous, details);
        self.frame(id).previous = started;
        let tolerance = self.evaluating(id, &Extra::default(), |eval| {
            let effective = eval.effective_input()?;
            eval.tolerance(map, &effective)
        })?;
        match map.mode {
            MapMode::Inline => self.inline_map(id, items, most),
            MapMode::Distributed { express } => {
                self.distributed_map(id, map, items, most, tolerance, express)
            }
        }
    }

    fn distributed_map(
        &mut self,
        id: FrameId,
        map: &Map,
        items: Vec<(Option<Value>, Value)>,
        max_concurrency: u32,
        tolerance: Tolerance,
        express: bool,
    ) -> Evaluated<()> {
        let items = match &map.reader {
            Some(_) => self.reader(id, map)?,
            None => MapItems::Inputs(self.inputs(id, map, items)?),
        };
        let writer = self.evaluating(id, &Extra::default(), |eval| writer(eval, map))?;
        let map_run = MapRunId(self.new_id());
        let arn: std::sync::Arc<str> = self.map_run_arn(map).into();
        let previous = self.frame(id).previous;
        let details = Details { map_run_arn: Some(arn.clone()), ..Details::default() };
        let event = self.record(EventType::MapRunStarted, previous, details);
        let state = self.state_name(id);
        let frame = self.frame(id);
        frame.previous = event;
        frame.doing = Doing::MapRun { map_run, arn: arn.clone(), redrives: 0 };
        self.step.effects.push(Effect::StartMapRun(Box::new(MapRunRequest {
            map_run,
            arn,
            state,
            processor: map.processor,
            express,
            max_concurrency,
            tolerated_failure_count: tolerance.count.unwrap_or(0),
            tolerated_failure_percentage: tolerance.percentage.unwrap_or(0.0),
            batched: map.batcher.is_some(),
            items,
            writer,
        })));
        Ok(())
    }

    /// `arn:aws:states:<region>:<account>:mapRun:<machine>/<label>:<uuid>`.
    fn map_run_arn(&self, map: &Map) -> String {
        let execution = self.env.execution;
        let mut parts = execution.state_machine_arn.splitn(7, ':');
        let head: Vec<&str> = parts.by_ref().take(5).collect();
        let label = map.label.as_deref().map_or_else(|| self.random.uuid(), str::to_owned);
        let name = &execution.state_machine_name;
        format!("{}:mapRun:{name}/{label}:{}", head.join(":"), self.random.uuid())
    }

    fn inputs(
        &self,
        id: FrameId,
        map: &Map,
        items: Vec<(Option<Value>, Value)>,
    ) -> Evaluated<Vec<Document>> {
        let name = self.state_name(id);
        let mut inputs = Vec::new();
        let mut batch = self.evaluating(id, &Extra::default(), |eval| Batch::new(eval, map))?;
        for (index, (key, value)) in items.into_iter().enumerate() {
            let source = Some(STATE_DATA.into());
            let item = Item { index: index as u64, value, key, source };
            let extra = Extra { task: None, item: Some(item.clone()) };
            let selected =
                self.evaluating(id, &extra, |eval| super::children::selected(eval, map, &item))?;
            inputs.extend(batch.push(selected).map(|input| limited(input, &name)).transpose()?);
        }
        inputs.extend(batch.finish().map(|input| limited(input, &name)).transpose()?);
        Ok(inputs)
    }

    fn reader(&self, id: FrameId, map: &Map) -> Evaluated<MapItems> {
        let request = self.evaluating(id, &Extra::default(), |eval| {
            // What is wrong with the batches is this state's error, before anything is read.
            Batch::new(eval, map)?;
            reader(eval, map)
        })?;
        let frame =
            self.state.frames.get(&id).ok_or_else(|| FieldError::runtime("no such frame"))?;
        let context =
            self.evaluating(id, &Extra::default(), |eval| Ok(eval.context.value().clone()))?;
        let selection = ItemSelection {
            state: frame.at,
            input: frame.input.clone(),
            context,
            variables: self.all_variables(id),
            source: Some(source_of(&request)),
        };
        Ok(MapItems::Reader(request, selection))
    }

    pub(super) fn map_run_finished(
        &mut self,
        map_run: MapRunId,
        end: MapRunEnd,
    ) -> Result<(), Refused> {
        let waits = |doing: &Doing| matches!(doing, Doing::MapRun { map_run: waited, .. } if *waited == map_run);
        let found = self.state.frames.iter().find(|(_, frame)| waits(&frame.doing));
        let id = *found.ok_or(Refused::NotWaitedFor)?.0;
        let previous = self.frame(id).previous;
        match end {
            MapRunEnd::Succeeded(result) => {
                let event = self.record(EventType::MapRunSucceeded, previous, Details::default());
                let frame = self.frame(id);
                frame.previous = event;
                // The run is over: should the state's own output fail, a redrive makes a new one.
                frame.doing = Doing::Work;
                if let Err(error) = self.map_run_done(id, previous, &result) {
                    self.state_error(id, error);
                }
            }
            MapRunEnd::Failed(failure) => {
                let details = Details {
                    error: failure.error.clone(),
                    cause: failure.cause.clone(),
                    ..Details::default()
                };
                let event = self.record(EventType::MapRunFailed, previous, details);
                self.frame(id).previous = event;
                self.failed(id, failure, Origin::Work);
            }
        }
        Ok(())
    }

    /// Leaves a Map whose run has ended well. `started` is the event of the run's start.
    fn map_run_done(&mut self, id: FrameId, started: u64, result: &Document) -> Evaluated<()> {
        let name = self.state_name(id);
        let result = limited(result.value().clone(), &name)?;
        let frame = self.frame(id);
        let previous = frame.previous;
        // As AWS records it: the exit follows from the run's end in the state that an execution begins
        // with, and from the run's start in every later one.
        if frame.entered.previous > 0 {
            frame.previous = started;
        }
        self.record(EventType::MapStateSucceeded, previous, Details::default());
        self.leave_work(id, result.value())
    }
}

pub(crate) fn reader(eval: &Eval<'_>, map: &Map) -> Evaluated<ReaderRequest> {
    let Some(reader) = &map.reader else { return Err(FieldError::runtime("no ItemReader")) };
    let effective = eval.effective_input()?;
    let field = |field: &str| format!("ItemReader/{field}");
    let template = |template: &Option<crate::definition::Template>, name: &str| match template {
        None => Ok(Value::empty_object()),
        Some(template) => eval.template(template, &field(name), &effective),
    };
    let max_items = match &reader.max_items {
        None => None,
        Some(number) => {
            let most = eval.integer(number, "MaxItems", &effective)?;
            let most = u64::try_from(most)
                .map_err(|_| out_of_range(number, "MaxItems", "MaxItems cannot be negative."))?;
            // 0 means all of them.
            (most > 0).then_some(most)
        }
    };
    Ok(ReaderRequest {
        resource: reader.resource.clone(),
        parameters: template(&reader.parameters, "Parameters")?,
        config: template(&reader.config, "ReaderConfig")?,
        max_items,
    })
}

fn writer(eval: &Eval<'_>, map: &Map) -> Evaluated<Option<WriterRequest>> {
    let Some(writer) = &map.writer else { return Ok(None) };
    let effective = eval.effective_input()?;
    let parameters = match &writer.parameters {
        None => Value::empty_object(),
        Some(template) => eval.template(template, "ResultWriter/Parameters", &effective)?,
    };
    Ok(Some(WriterRequest {
        resource: writer.resource.clone(),
        parameters,
        config: writer.config.clone(),
    }))
}

/// What is made of the items of a Map before its work begins.
#[derive(Debug)]
pub(crate) struct MapInputs {
    /// Each after `ItemSelector`.
    pub(crate) selected: Vec<Value>,
    /// The same, batched; each by itself without `ItemBatcher`.
    pub(crate) batched: Vec<Value>,
}

/// Selects and batches items, for TestState.
pub(crate) fn inputs_of(
    eval: &Eval<'_>,
    map: &Map,
    items: Vec<(Option<Value>, Value)>,
) -> Evaluated<MapInputs> {
    let mut batch = Batch::new(eval, map)?;
    let mut made = MapInputs { selected: Vec::new(), batched: Vec::new() };
    for (index, (key, value)) in items.into_iter().enumerate() {
        let source = map.is_distributed().then(|| STATE_DATA.into());
        let item = Item { index: index as u64, value, key, source };
        let build = || {
            let mut members = eval.context.value().as_object().cloned().unwrap_or_default();
            members.insert("Map".into(), map_context(&item));
            Value::from(members)
        };
        let context = Context::new(&build);
        let selected = super::children::selected(&Eval { context: &context, ..*eval }, map, &item)?;
        made.selected.push(selected.clone());
        made.batched.extend(batch.push(selected));
    }
    made.batched.extend(batch.finish());
    Ok(made)
}

/// Items gathered until a batch is full.
#[derive(Debug)]
struct Batch {
    /// `None`: no batching, each item is an input.
    limits: Option<(u64, usize)>,
    input: Option<Value>,
    items: Vec<Value>,
    bytes: usize,
}

impl Batch {
    fn new(eval: &Eval<'_>, map: &Map) -> Evaluated<Self> {
        let Some(batcher) = &map.batcher else {
            return Ok(Self { limits: None, input: None, items: Vec::new(), bytes: 0 });
        };
        let effective = eval.effective_input()?;
        let positive = |number: Option<&NumberField>, field: &str, most: u64| {
            match number {
                None => Ok(most),
                Some(number) => {
                    let value = eval.integer(number, field, &effective)?;
                    if value == 0 && matches!(number, NumberField::Literal(_)) {
                        // The machine could be made: it is as if nothing stood there.
                        return Ok(most);
                    }
                    u64::try_from(value).ok().filter(|value| *value > 0).ok_or_else(|| {
                        let cause = format!("{field} must be positive but was: {value}");
                        out_of_range(number, field, &cause)
                    })
                }
            }
        };
        let items = positive(batcher.max_items.as_ref(), "MaxItemsPerBatch", u64::MAX)?;
        let bytes_max = PAYLOAD_BYTES_MAX as u64;
        let bytes = positive(batcher.max_bytes.as_ref(), "MaxInputBytesPerBatch", bytes_max)?;
        let input = match &batcher.input {
            None => None,
            Some(template) => {
                Some(eval.template(template, "ItemBatcher/BatchInput", &effective)?)
            }
        };
        let mut batch = Self {
            limits: Some((items, bytes.min(bytes_max) as usize)),
            input,
            items: Vec::new(),
            bytes: 0,
        };
        batch.bytes = batch.frame_bytes();
        Ok(batch)
    }

    /// Bytes of a batch without items.
    fn frame_bytes(&self) -> usize {
        let input = self
            .input
            .as_ref()
            .map_or(0, |input| input.to_json().len() + r#""BatchInput":,"#.len());
        input + r#"{"Items":[]}"#.len()
    }

    fn push(&mut self, item: Value) -> Option<Value> {
        let Some((items_max, bytes_max)) = self.limits else { return Some(item) };
        // One that is too long for any batch is refused when its batch is.
        let bytes = item.to_json_within(bytes_max).map_or(bytes_max, |text| text.len()) + 1;
        let mut full = None;
        if !self.items.is_empty() && self.bytes + bytes > bytes_max + 1 {
            full = self.take();
        }
        self.items.push(item);
        self.bytes += bytes;
        if full.is_none() && self.items.len() as u64 >= items_max {
            full = self.take();
        }
        full
    }

    fn take(&mut self) -> Option<Value> {
        if self.items.is_empty() {
            return None;
        }
        let items = Value::from(std::mem::take(&mut self.items));
        self.bytes = self.frame_bytes();
        let mut members = Vec::new();
        if let Some(input) = &self.input {
            members.push(("BatchInput", input.clone()));
        }
        members.push(("Items", items));
        Some(Value::object(members))
    }

    fn finish(mut self) -> Option<Value> {
        self.take()
    }
}

/// Makes the inputs of a Map Run's children of items read one by one: selects (`ItemSelector`) and
/// batches (`ItemBatcher`).
pub struct ChildInputs<'a> {
    definition: &'a Definition,
    selection: &'a ItemSelection,
    batch: Option<Batch>,
    index: u64,
}

/// How far a [`ChildInputs`] came, so that another one goes on from there.
#[derive(Debug, Default)]
pub struct InputsProgress {
    batch: Option<Batch>,
    index: u64,
}

impl<'a> ChildInputs<'a> {
    /// For one Map Run, from where another one stopped; by default items begin with index 0.
    pub fn new(
        definition: &'a Definition,
        selection: &'a ItemSelection,
        progress: InputsProgress,
    ) -> Self {
        let InputsProgress { batch, index } = progress;
        Self { definition, selection, batch, index }
    }

    /// Stops, with the batch that is not full yet.
    pub fn pause(self) -> InputsProgress {
        InputsProgress { batch: self.batch, index: self.index }
    }

    /// Takes an item; gives an input when a batch is full (or when there is no batching).
    pub fn push(&mut self, item: Keyed, env: &Env<'_>) -> Result<Option<Document>, Failure> {
        let source = self.selection.source.clone();
        let (key, value) = item;
        let item = Item { index: self.index, value, key, source };
        self.index += 1;
        let mut batch = self.batch.take();
        let made = self.evaluating(env, Some(&item), |eval, map| {
            if batch.is_none() {
                batch = Some(Batch::new(eval, map)?);
            }
            let selected = super::children::selected(eval, map, &item)?;
            batch
                .as_mut()
                .and_then(|batch| batch.push(selected))
                .map(|input| limited(input, &eval.state.name))
                .transpose()
        });
        self.batch = batch;
        made
    }

    /// The last, not full batch.
    pub fn finish(self) -> Result<Option<Document>, Failure> {
        let name = self.definition.state(self.selection.state).map(|state| state.name.clone());
        let made = self.batch.and_then(Batch::finish);
        made.map(|input| limited(input, &name.unwrap_or_default()))
            .transpose()
            .map_err(|error| Failure::new(error.error, error.cause))
    }

    fn evaluating<R>(
        &self,
        env: &Env<'_>,
        item: Option<&Item>,
        f: impl FnOnce(&Eval<'_>, &Map) -> Evaluated<R>,
    ) -> Result<R, Failure> {
        let missing = || {
            Failure::new(
                crate::error::names::RUNTIME,
                "the Map state is not part of the definition",
            )
        };
        let state = self.definition.state(self.selection.state).ok_or_else(missing)?;
        let StateKind::Map(map) = &state.kind else { return Err(missing()) };
        let build = || {
            let mut members: Object =
                self.selection.context.as_object().cloned().unwrap_or_default();
            if let Some(item) = item {
                members.insert("Map".into(), map_context(item));
            }
            Value::from(members)
        };
        let context = Context::new(&build);
        let variables = Variables::new(vec![&self.selection.variables]);
        let random = Random::new(env.seed.wrapping_add(u128::from(self.index)));
        let eval = Eval {
            state,
            input: self.selection.input.value(),
            context: &context,
            variables: &variables,
            random: &random,
            fuel: env.fuel,
            now: env.now,
        };
        f(&eval, map).map_err(|error| {
            let cause = format!(
                "An error occurred while executing the state '{}'. {}",
                state.name, error.cause
            );
            Failure::new(error.error, cause)
        })
    }
}
