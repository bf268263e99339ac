//! Activities: made, described, listed, deleted. Their tasks are `tasks`'s.

use std::collections::BTreeMap;

use ark_store::{ActivityRow, ReadTx};
use jiff::Timestamp;

use super::arn::{Arn, Resource};
use super::error::{Refusal, WorkflowError};
use super::types::{Page, PageRequest};
use super::{Workflows, names, tags};

/// The most activities.
const ACTIVITIES_MAX: u64 = 100_000;

/// An activity, as it is described.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActivityView {
    /// Its ARN.
    pub arn: String,
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
}

fn view(row: ActivityRow) -> ActivityView {
    let arn = Arn::new(&row.region, Resource::Activity { name: row.name.clone() }).to_string();
    ActivityView { arn, name: row.name, created_at: row.created_at }
}

/// The name in an activity's ARN.
pub(super) fn name_of(text: &str) -> Result<String, WorkflowError> {
    let arn = Arn::parse(text)?;
    match &arn.resource {
        Resource::Activity { name } => Ok(name.clone()),
        _ => Err(arn.wrong_kind()),
    }
}

/// The refusal of an activity that is not there.
pub(super) fn missing(arn: &str) -> WorkflowError {
    Refusal::ActivityDoesNotExist.with(format!("Activity Does Not Exist: '{arn}'"))
}

/// The activity of that ARN.
///
/// # Errors
/// `InvalidArn`, `ActivityDoesNotExist`.
pub(super) fn find(tx: &ReadTx, arn: &str) -> Result<ActivityRow, WorkflowError> {
    tx.activity_by_name(&name_of(arn)?)?.ok_or_else(|| missing(arn))
}

impl Workflows {
    /// Makes an activity. One of that name that is there is answered as it is, tags included.
    ///
    /// # Errors
    /// `InvalidName`, `ActivityLimitExceeded`, `TooManyTags`.
    pub async fn create_activity(
        &self,
        name: String,
        region: String,
        tags: BTreeMap<String, String>,
    ) -> Result<ActivityView, WorkflowError> {
        names::check(&name)?;
        tags::check(&tags)?;
        let now = self.world.clock.now();
        self.world
            .store
            .write(move |tx| {
                if let Some(row) = tx.activity_by_name(&name)? {
                    return Ok(view(row));
                }
                if tx.count_activities()? >= ACTIVITIES_MAX {
                    let message = format!("Activity Limit Exceeded: {ACTIVITIES_MAX}");
                    return Err(Refusal::ActivityLimitExceeded.with(message));
                }
                let id = tx.insert_activity(&name, &region, "{}", now)?;
                tx.put_tags(&tags::of_activity(id), &tags)?;
                let body = "{}".to_owned();
                Ok(view(ActivityRow { id, name, region, created_at: now, body }))
            })
            .await
    }

    /// One activity.
    ///
    /// # Errors
    /// `InvalidArn`, `ActivityDoesNotExist`.
    pub async fn describe_activity(&self, arn: &str) -> Result<ActivityView, WorkflowError> {
        let arn = arn.to_owned();
        self.world.store.read(move |tx| find(tx, &arn).map(view)).await
    }

    /// Activities, in the order in which they were made.
    ///
    /// # Errors
    /// `InvalidToken`.
    pub async fn list_activities(
        &self,
        page: PageRequest,
    ) -> Result<Page<ActivityView>, WorkflowError> {
        let (after, limit) = page.after_number()?;
        let rows = self
            .world
            .store
            .read::<_, WorkflowError, _>(move |tx| Ok(tx.activities(after, limit)?))
            .await?;
        Ok(Page::of(rows, limit, |row| row.id.to_string(), view))
    }

    /// Deletes an activity. Nothing happens when there is none.
    ///
    /// # Errors
    /// `InvalidArn`.
    pub async fn delete_activity(&self, arn: &str) -> Result<(), WorkflowError> {
        let name = name_of(arn)?;
        self.world
            .store
            .write(move |tx| {
                if let Some(row) = tx.activity_by_name(&name)? {
                    tx.delete_activity(row.id)?;
                    tx.delete_tags(&tags::of_activity(row.id))?;
                }
                Ok(())
            })
            .await
    }
}
