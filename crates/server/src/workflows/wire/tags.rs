//! ListTagsForResource, TagResource, UntagResource.

use serde_json::{Value, json};

use super::answer::{Answered, Object, nothing};
use super::call::Call;

pub(super) async fn list(call: Call) -> Answered {
    let tags = call.workflows().list_tags(call.needed("resourceArn")).await?;
    let tags: Vec<Value> =
        tags.into_iter().map(|(key, value)| json!({ "key": key, "value": value })).collect();
    Object::default().with("tags", tags).done()
}

pub(super) async fn tag(call: Call) -> Answered {
    call.workflows().tag(call.needed("resourceArn"), call.tags()).await?;
    nothing()
}

pub(super) async fn untag(call: Call) -> Answered {
    let keys = call.list("tagKeys").unwrap_or_default();
    let keys = keys.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    call.workflows().untag(call.needed("resourceArn"), keys).await?;
    nothing()
}
