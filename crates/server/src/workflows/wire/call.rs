//! One call of an operation: who calls, with what, and short ways to what is in the input. The
//! constraints were checked: a member that is there has its type.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::error::WireError;
use super::page_token;
use super::table::Operation;
use crate::api::Shared;
use crate::auth::SignedCaller;
use crate::workflows::{PageRequest, Workflows};

pub(super) struct Call {
    pub(super) state: Shared,
    pub(super) operation: &'static Operation,
    pub(super) who: SignedCaller,
    pub(super) input: Map<String, Value>,
    pub(super) now: Timestamp,
}

impl Call {
    pub(super) fn workflows(&self) -> &Workflows {
        &self.state.workflows
    }

    /// A text that must be there.
    pub(super) fn needed(&self, name: &str) -> &str {
        text(&self.input, name).unwrap_or_default()
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        text(&self.input, name)
    }

    pub(super) fn owned(&self, name: &str) -> Option<String> {
        self.text(name).map(str::to_owned)
    }

    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        self.input.get(name).and_then(Value::as_bool)
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.input.get(name).and_then(Value::as_u64)
    }

    pub(super) fn object(&self, name: &str) -> Option<&Map<String, Value>> {
        self.input.get(name).and_then(Value::as_object)
    }

    pub(super) fn list(&self, name: &str) -> Option<&[Value]> {
        self.input.get(name).and_then(Value::as_array).map(Vec::as_slice)
    }

    /// `tags`, by key.
    pub(super) fn tags(&self) -> BTreeMap<String, String> {
        let tag = |tag: &Value| {
            let tag = tag.as_object()?;
            Some((text(tag, "key")?.to_owned(), text(tag, "value").unwrap_or_default().to_owned()))
        };
        self.list("tags").unwrap_or_default().iter().filter_map(tag).collect()
    }

    /// Which page of this list is asked for.
    ///
    /// # Errors
    /// `InvalidToken`.
    pub(super) fn page(&self) -> Result<PageRequest, WireError> {
        let max_results = self.number("maxResults").unwrap_or(0);
        let max_results = usize::try_from(max_results).unwrap_or(0);
        let next_token = match self.text("nextToken") {
            Some(token) => Some(page_token::open(self, token)?),
            None => None,
        };
        Ok(PageRequest { max_results, next_token })
    }

    /// The token of the next page, as the client keeps it.
    ///
    /// # Errors
    /// When it cannot be sealed.
    pub(super) fn seal(&self, next: Option<String>) -> Result<Option<String>, WireError> {
        next.map(|next| page_token::seal(self, &next)).transpose()
    }
}

pub(super) fn text<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    object.get(name).and_then(Value::as_str)
}
