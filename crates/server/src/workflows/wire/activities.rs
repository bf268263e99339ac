//! CreateActivity, DeleteActivity, DescribeActivity, ListActivities.

use super::answer::{Answered, Object, nothing, seconds};
use super::call::Call;
use super::machines::{encryption, encryption_shown};
use crate::workflows::ActivityView;

fn described(activity: ActivityView) -> Object {
    Object::default()
        .with("activityArn", activity.arn)
        .with("name", activity.name)
        .with("creationDate", seconds(activity.created_at))
}

pub(super) async fn create(call: Call) -> Answered {
    encryption(&call)?;
    let (name, region) = (call.needed("name").to_owned(), call.who.region.clone());
    let activity = call.workflows().create_activity(name, region, call.tags()).await?;
    Object::default()
        .with("activityArn", activity.arn)
        .with("creationDate", seconds(activity.created_at))
        .done()
}

pub(super) async fn delete(call: Call) -> Answered {
    call.workflows().delete_activity(call.needed("activityArn")).await?;
    nothing()
}

pub(super) async fn describe(call: Call) -> Answered {
    let activity = call.workflows().describe_activity(call.needed("activityArn")).await?;
    described(activity).with("encryptionConfiguration", encryption_shown()).done()
}

pub(super) async fn list(call: Call) -> Answered {
    let page = call.workflows().list_activities(call.page()?).await?;
    let activities: Vec<_> = page.items.into_iter().map(|a| described(a).value()).collect();
    Object::default()
        .with("activities", activities)
        .maybe("nextToken", call.seal(page.next_token)?)
        .done()
}
