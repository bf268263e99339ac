//! Tags of state machines and activities.

use std::collections::BTreeMap;

use ark_store::ReadTx;

use super::Workflows;
use super::arn::{Arn, Resource};
use super::error::{Refusal, WorkflowError};

/// The most tags of one resource.
const TAGS_MAX: usize = 50;

/// The name under which a machine's tags are kept.
pub(super) fn of_machine(id: u64) -> String {
    format!("machine/{id}")
}

/// The name under which an activity's tags are kept.
pub(super) fn of_activity(id: u64) -> String {
    format!("activity/{id}")
}

/// Refuses more tags than a resource may have.
pub(super) fn check(tags: &BTreeMap<String, String>) -> Result<(), WorkflowError> {
    if tags.len() <= TAGS_MAX {
        return Ok(());
    }
    let message = format!("Too Many Tags: a resource has at most {TAGS_MAX}");
    Err(Refusal::TooManyTags.with(message))
}

fn resource(tx: &ReadTx, text: &str) -> Result<String, WorkflowError> {
    let arn = Arn::parse(text)?;
    let missing = || Refusal::ResourceNotFound.with(format!("Resource not found: '{text}'"));
    match &arn.resource {
        Resource::Machine { name } => {
            Ok(of_machine(tx.machine_by_name(name)?.ok_or_else(missing)?.id))
        }
        Resource::Activity { name } => {
            Ok(of_activity(tx.activity_by_name(name)?.ok_or_else(missing)?.id))
        }
        _ => Err(arn.wrong_kind()),
    }
}

impl Workflows {
    /// Tags of a machine or activity, by key.
    ///
    /// # Errors
    /// `InvalidArn`, `ResourceNotFound`.
    pub async fn list_tags(&self, arn: &str) -> Result<BTreeMap<String, String>, WorkflowError> {
        let arn = arn.to_owned();
        self.world
            .store
            .read(move |tx| {
                let resource = resource(tx, &arn)?;
                Ok(tx.tags(&resource)?)
            })
            .await
    }

    /// Adds tags, or gives those that are there other values.
    ///
    /// # Errors
    /// `InvalidArn`, `ResourceNotFound`, `TooManyTags`.
    pub async fn tag(
        &self,
        arn: &str,
        tags: BTreeMap<String, String>,
    ) -> Result<(), WorkflowError> {
        let arn = arn.to_owned();
        self.world
            .store
            .write(move |tx| {
                let resource = resource(tx, &arn)?;
                let mut all = tx.tags(&resource)?;
                all.extend(tags.clone());
                check(&all)?;
                Ok(tx.put_tags(&resource, &tags)?)
            })
            .await
    }

    /// Removes tags; keys that are not there are no fault.
    ///
    /// # Errors
    /// `InvalidArn`, `ResourceNotFound`.
    pub async fn untag(&self, arn: &str, keys: Vec<String>) -> Result<(), WorkflowError> {
        let arn = arn.to_owned();
        self.world
            .store
            .write(move |tx| {
                let resource = resource(tx, &arn)?;
                for key in &keys {
                    tx.delete_tag(&resource, key)?;
                }
                Ok(())
            })
            .await
    }
}
