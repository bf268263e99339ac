//! Parallel branches and inline Map iterations: starting them, joining them, aborting them.

use super::evaluate::{Eval, Evaluated};
use super::failure::Origin;
use super::frame::{Doing, Entered, Frame, FrameId, Item, MapWork};
use super::run::{Extra, Run};
use super::states::limited;
use crate::definition::{Map, Parallel, ScopeId, StateKind};
use crate::error::Failure;
use crate::history::{Details, EventType};
use crate::limits::INLINE_CONCURRENCY_MAX;
use crate::value::{Document, Object, Value};

impl Run<'_> {
    pub(super) fn parallel(&mut self, id: FrameId, parallel: &Parallel) -> Evaluated<()> {
        let input = self.evaluating(id, &Extra::default(), |eval| {
            let effective = eval.effective_input()?;
            eval.parameters(&effective)
        })?;
        let previous = self.frame(id).previous;
        let name = self.state_name(id);
        let input = limited(input, &name)?;
        let started = self.record(EventType::ParallelStateStarted, previous, Details::default());
        let count = parallel.branches.len();
        let frame = self.frame(id);
        frame.previous = started;
        frame.doing = Doing::Parallel { results: vec![None; count], open: count as u32 };
        for (index, branch) in parallel.branches.iter().enumerate() {
            self.start_child(id, index as u64, *branch, input.clone(), None, started);
        }
        if count == 0 {
            return self.branches_done(id, Vec::new());
        }
        Ok(())
    }

    pub(super) fn state_name(&self, id: FrameId) -> std::sync::Arc<str> {
        let state = self.state.frames.get(&id).and_then(|frame| self.definition.state(frame.at));
        state.map(|state| state.name.clone()).unwrap_or_default()
    }

    fn start_child(
        &mut self,
        parent: FrameId,
        index: u64,
        scope: ScopeId,
        input: Document,
        item: Option<Item>,
        previous: u64,
    ) {
        let Some(at) = self.definition.start(scope) else { return };
        let time = self.env.now;
        self.start_frame(Frame {
            parent: Some(parent),
            index,
            scope,
            variables: Object::new(),
            item,
            at,
            input,
            entered: Entered { event: 0, previous: 0, time },
            previous,
            retries: Vec::new(),
            retry_count: 0,
            doing: Doing::Enter,
        });
    }

    fn branches_done(&mut self, id: FrameId, results: Vec<Value>) -> Evaluated<()> {
        let previous = self.frame(id).previous;
        self.record(EventType::ParallelStateSucceeded, previous, Details::default());
        self.leave_work(id, &Value::from(results))
    }

    /// An inline Map: starts as many iterations as may run.
    pub(super) fn inline_map(
        &mut self,
        id: FrameId,
        items: Vec<(Option<Value>, Value)>,
        max_concurrency: u32,
    ) -> Evaluated<()> {
        let most = match max_concurrency as usize {
            0 => INLINE_CONCURRENCY_MAX,
            most => most.min(INLINE_CONCURRENCY_MAX),
        };
        let work = MapWork {
            results: vec![None; items.len()],
            items,
            started: 0,
            open: 0,
            most: most as u64,
        };
        let frame = self.frame(id);
        let previous = frame.previous;
        frame.doing = Doing::Map(Box::new(work));
        self.start_iterations(id, previous)?;
        self.join_iterations(id)
    }

    /// Starts iterations until none is left or enough run; each follows from `previous`.
    fn start_iterations(&mut self, id: FrameId, previous: u64) -> Evaluated<()> {
        loop {
            let Some(frame) = self.state.frames.get(&id) else { return Ok(()) };
            let Doing::Map(work) = &frame.doing else { return Ok(()) };
            let index = work.started;
            let Some((key, value)) = work.items.get(index as usize).cloned() else { return Ok(()) };
            if work.open >= work.most {
                return Ok(());
            }
            let Some(state) = self.definition.state(frame.at) else { return Ok(()) };
            let StateKind::Map(map) = &state.kind else { return Ok(()) };
            let item = Item { index, value, key, source: None };
            let extra = Extra { task: None, item: Some(item.clone()) };
            let input = self.evaluating(id, &extra, |eval| selected(eval, map, &item))?;
            let input = limited(input, &state.name)?;
            let details = Details {
                name: Some(state.name.clone()),
                index: Some(index),
                ..Details::default()
            };
            let event = self.record(EventType::MapIterationStarted, previous, details);
            if let Doing::Map(work) = &mut self.frame(id).doing {
                // The iteration keeps it; the stored state need not hold it twice.
                work.items[index as usize] = (None, Value::Null);
                work.started += 1;
                work.open += 1;
            }
            self.start_child(id, index, map.processor, input, Some(item), event);
        }
    }

    fn join_iterations(&mut self, id: FrameId) -> Evaluated<()> {
        let Doing::Map(work) = &mut self.frame(id).doing else { return Ok(()) };
        if work.open > 0 || (work.started as usize) < work.items.len() {
            return Ok(());
        }
        let results: Vec<Value> =
            std::mem::take(&mut work.results).into_iter().map(Option::unwrap_or_default).collect();
        self.items_done(id, &Value::from(results))
    }

    /// All items of a Map are done.
    fn items_done(&mut self, id: FrameId, result: &Value) -> Evaluated<()> {
        let previous = self.frame(id).previous;
        self.record(EventType::MapStateSucceeded, previous, Details::default());
        self.leave_work(id, result)
    }

    /// A branch or iteration ended well.
    pub(super) fn child_succeeded(&mut self, parent: FrameId, child: FrameId, output: &Document) {
        let Some(ended) = self.remove(child) else { return };
        let index = ended.index as usize;
        let value = output.value().clone();
        let name = self.state_name(parent);
        let frame = self.frame(parent);
        let joined = match &mut frame.doing {
            Doing::Parallel { results, open } => {
                if let Some(place) = results.get_mut(index) {
                    *place = Some(value);
                }
                *open = open.saturating_sub(1);
                let done = *open == 0;
                let results = if done { std::mem::take(results) } else { Vec::new() };
                frame.previous = ended.previous;
                if !done {
                    return;
                }
                self.branches_done(
                    parent,
                    results.into_iter().map(Option::unwrap_or_default).collect(),
                )
            }
            Doing::Map(work) => {
                if let Some(place) = work.results.get_mut(index) {
                    *place = Some(value);
                }
                work.open = work.open.saturating_sub(1);
                let details =
                    Details { name: Some(name), index: Some(ended.index), ..Details::default() };
                let event = self.record(EventType::MapIterationSucceeded, ended.previous, details);
                self.frame(parent).previous = event;
                self.start_iterations(parent, ended.previous)
                    .and_then(|()| self.join_iterations(parent))
            }
            Doing::Enter
            | Doing::Work
            | Doing::Wait { .. }
            | Doing::Retry { .. }
            | Doing::Task { .. }
            | Doing::MapRun { .. }
            | Doing::Failed { .. } => return,
        };
        if let Err(error) = joined {
            self.drop_children(parent);
            self.state_error(parent, error);
        }
    }

    /// A branch or iteration failed: its siblings are aborted, its parent has failed.
    pub(super) fn child_failed(&mut self, parent: FrameId, child: FrameId, failure: Failure) {
        let ended = self.frame(child);
        let (previous, index) = (ended.previous, ended.index);
        let is_map = matches!(self.frame(parent).doing, Doing::Map(_));
        if is_map {
            let details = Details {
                name: Some(self.state_name(parent)),
                index: Some(index),
                ..Details::default()
            };
            self.record(EventType::MapIterationFailed, previous, details);
        }
        for sibling in self.children(parent) {
            if sibling != child {
                self.abort(sibling);
            }
        }
        self.frame(parent).previous = previous;
        let origin = if is_map { Origin::Iteration } else { Origin::Branch };
        self.failed(parent, failure, origin);
    }

    /// Stops a branch or iteration because of a sibling, writing what AWS writes: the states that wait
    /// are aborted from the inside out, then the iteration.
    fn abort(&mut self, id: FrameId) {
        for child in self.children(id) {
            self.abort(child);
        }
        let Some(frame) = self.state.frames.get(&id) else { return };
        let Some(state) = self.definition.state(frame.at) else { return };
        if matches!(frame.doing, Doing::Failed { .. }) {
            return;
        }
        let entered = !matches!(frame.doing, Doing::Enter);
        let kind = match &state.kind {
            StateKind::Task(_) => Some(EventType::TaskStateAborted),
            StateKind::Wait(_) => Some(EventType::WaitStateAborted),
            StateKind::Parallel(_) => Some(EventType::ParallelStateAborted),
            StateKind::Map(_) => Some(EventType::MapStateAborted),
            StateKind::Pass(_) | StateKind::Choice(_) | StateKind::Succeed | StateKind::Fail(_) => {
                None
            }
        };
        let (previous, index, parent) = (frame.previous, frame.index, frame.parent);
        let previous = match frame.doing {
            Doing::MapRun { .. } => {
                let event = self.record(EventType::MapRunAborted, previous, Details::default());
                self.frame(id).previous = event;
                event
            }
            _ => previous,
        };
        self.state.ready.retain(|ready| *ready != id);
        self.suspend(id);
        if entered && let Some(kind) = kind {
            let event = self.record(kind, previous, Details::default());
            self.frame(id).previous = event;
        }
        let Some(parent) = parent else { return };
        if matches!(self.state.frames.get(&parent).map(|frame| &frame.doing), Some(Doing::Map(_))) {
            let details = Details {
                name: Some(self.state_name(parent)),
                index: Some(index),
                ..Details::default()
            };
            let previous = self.frame(id).previous;
            self.record(EventType::MapIterationAborted, previous, details);
        }
    }
}

/// The input of an iteration: `ItemSelector` of the item, or the item.
pub(super) fn selected(eval: &Eval<'_>, map: &Map, item: &Item) -> Evaluated<Value> {
    match &map.selector {
        None => Ok(item_of(item.key.as_ref(), &item.value)),
        Some(template) => {
            let effective = eval.effective_input()?;
            eval.template(template, "ItemSelector", &effective)
        }
    }
}

/// An item as an iteration gets it when nothing selects: `{"Key": .., "Value": ..}` for members of an
/// object.
pub(crate) fn item_of(key: Option<&Value>, value: &Value) -> Value {
    match key {
        None => value.clone(),
        Some(key) => Value::object([("Key", key.clone()), ("Value", value.clone())]),
    }
}
