//! `inspectionData`: what each step of a state's data flow gave.

use jiff::SignedDuration;
use serde_json::{Map as Members, Value as Json, json};

use super::{Called, is_json_path};
use crate::definition::{FieldError, Items, Map, Pass};
use crate::item_formats::Keyed;
use crate::machine::children::item_of;
use crate::machine::evaluate::{Eval, Tolerance};
use crate::machine::map::MapInputs;
use crate::value::{Document, Object, Value};

/// The data flow seen; steps that failed are absent.
#[derive(Debug, Clone)]
pub struct Inspection(Members<String, Json>);

impl Inspection {
    pub(super) fn new(input: &Document) -> Self {
        let mut shown = Self(Members::new());
        shown.0.insert("input".into(), input.text().as_ref().into());
        shown
    }

    /// `inspectionData` as the wire shows it: JSON texts, numbers, `errorDetails`.
    pub fn to_wire(&self) -> Json {
        Json::Object(self.0.clone())
    }

    fn show(&mut self, key: &str, value: Result<Value, FieldError>) -> Option<Value> {
        let value = value.ok()?;
        self.0.insert(key.into(), value.to_json().into());
        Some(value)
    }

    /// JSONPath: the input after `InputPath`.
    pub(super) fn effective(&mut self, eval: &Eval<'_>) {
        if is_json_path(eval.state) {
            self.show("afterInputPath", eval.effective_input());
        }
    }

    pub(super) fn pass(&mut self, eval: &Eval<'_>, pass: &Pass) {
        if !is_json_path(eval.state) {
            return;
        }
        let result = match &pass.result {
            Some(result) => self.show("result", Ok(result.clone())),
            None => self
                .show("afterInputPath", eval.effective_input())
                .and_then(|effective| self.show("afterParameters", eval.parameters(&effective))),
        };
        if let Some(result) = result {
            self.selected(eval, result);
        }
    }

    /// The input of a task; its failure is the state's.
    pub(super) fn task(&mut self, eval: &Eval<'_>) -> Result<Value, FieldError> {
        let effective = eval.effective_input()?;
        let parameters = eval.parameters(&effective);
        if is_json_path(eval.state) {
            self.show("afterInputPath", Ok(effective.clone()));
            self.show("afterParameters", parameters.clone());
        } else if eval.state.parameters.is_some() {
            self.show("afterArguments", parameters.clone());
        }
        parameters
    }

    /// A call that was made, and its answer.
    pub(super) fn called(&mut self, called: &Called) {
        for (key, shown) in [("request", &called.request), ("response", &called.response)] {
            if let Some(shown) = shown {
                self.0.insert(key.into(), shown.clone());
            }
        }
    }

    /// The result of the work and what is made of it.
    pub(super) fn result(&mut self, eval: &Eval<'_>, result: &Value) {
        use crate::definition::StateKind;
        if matches!(eval.state.kind, StateKind::Task(_)) {
            self.show("result", Ok(result.clone()));
        }
        if is_json_path(eval.state)
            && let Ok(selected) = eval.selected_result(result)
        {
            self.selected(eval, selected);
        }
    }

    fn selected(&mut self, eval: &Eval<'_>, selected: Value) {
        self.show("afterResultSelector", Ok(selected.clone()));
        self.show("afterResultPath", eval.merged(&eval.state.result_path, selected));
    }

    pub(super) fn map(&mut self, max_concurrency: u32, tolerance: Tolerance) {
        self.0.insert("maxConcurrency".into(), max_concurrency.into());
        if let Some(count) = tolerance.count {
            self.0.insert("toleratedFailureCount".into(), count.into());
        }
        if let Some(percentage) = tolerance.percentage {
            self.0.insert("toleratedFailurePercentage".into(), percentage.into());
        }
    }

    pub(super) fn retried(&mut self, index: usize, delay: SignedDuration) {
        let details = json!({"retryIndex": index, "retryBackoffIntervalSeconds": delay.as_secs()});
        self.0.insert("errorDetails".into(), details);
    }

    pub(super) fn caught(&mut self, index: usize) {
        self.0.insert("errorDetails".into(), json!({"catchIndex": index}));
    }

    /// What the reader of a Map found at its `ItemsPointer`.
    pub(super) fn read(&mut self, config: &Value, items: &[Keyed]) {
        if config.get("ItemsPointer").is_some() {
            let items = items.iter().map(|(key, value)| item_of(key.as_ref(), value));
            self.show("afterItemsPointer", Ok(Value::array(items)));
        }
    }

    /// The items of a Map and what is made of them, step by step.
    pub(super) fn items(&mut self, map: &Map, items: &[Keyed], made: MapInputs) {
        if let Items::Path(_) = map.items {
            let items = items.iter().map(|(_, value)| value.clone());
            self.show("afterItemsPath", Ok(Value::array(items)));
        }
        if map.selector.is_some() {
            self.show("afterItemSelector", Ok(Value::from(made.selected)));
        }
        if map.batcher.is_some() {
            self.show("afterItemBatcher", Ok(Value::from(made.batched)));
        }
    }

    /// The variables as they are after the state.
    pub(super) fn variables(&mut self, given: &Object, assigned: Option<Object>) {
        let mut variables = given.clone();
        variables.extend(assigned.into_iter().flatten());
        if !variables.is_empty() {
            self.0.insert("variables".into(), Value::from(variables).to_json().into());
        }
    }
}
