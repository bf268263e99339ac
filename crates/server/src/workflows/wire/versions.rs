//! PublishStateMachineVersion, ListStateMachineVersions, DeleteStateMachineVersion, and the five
//! operations of aliases.

use serde_json::{Value, json};

use super::answer::{Answered, Object, nothing, seconds};
use super::call::{Call, text};
use crate::workflows::Route;

pub(super) async fn publish(call: Call) -> Answered {
    let version = call
        .workflows()
        .publish_version(
            call.needed("stateMachineArn"),
            call.owned("revisionId"),
            call.owned("description"),
        )
        .await?;
    Object::default()
        .with("stateMachineVersionArn", version.arn)
        .with("creationDate", seconds(version.created_at))
        .done()
}

pub(super) async fn list_versions(call: Call) -> Answered {
    let page = call.workflows().list_versions(call.needed("stateMachineArn"), call.page()?).await?;
    let versions: Vec<Value> = page
        .items
        .into_iter()
        .map(|version| {
            Object::default()
                .with("stateMachineVersionArn", version.arn)
                .with("creationDate", seconds(version.created_at))
                .value()
        })
        .collect();
    Object::default()
        .with("stateMachineVersions", versions)
        .maybe("nextToken", call.seal(page.next_token)?)
        .done()
}

pub(super) async fn delete_version(call: Call) -> Answered {
    call.workflows().delete_version(call.needed("stateMachineVersionArn")).await?;
    nothing()
}

fn routes(call: &Call) -> Option<Vec<Route>> {
    let route = |route: &Value| {
        let route = route.as_object()?;
        let weight = route.get("weight").and_then(Value::as_u64).unwrap_or(0);
        Some(Route {
            version_arn: text(route, "stateMachineVersionArn")?.to_owned(),
            // The constraints keep it at 100.
            weight: u8::try_from(weight).unwrap_or(u8::MAX),
        })
    };
    Some(call.list("routingConfiguration")?.iter().filter_map(route).collect())
}

pub(super) async fn create_alias(call: Call) -> Answered {
    let (name, description) = (call.needed("name").to_owned(), call.owned("description"));
    let routes = routes(&call).unwrap_or_default();
    let alias = call.workflows().create_alias(name, description, routes).await?;
    Object::default()
        .with("stateMachineAliasArn", alias.arn)
        .with("creationDate", seconds(alias.created_at))
        .done()
}

pub(super) async fn update_alias(call: Call) -> Answered {
    let alias = call
        .workflows()
        .update_alias(call.needed("stateMachineAliasArn"), call.owned("description"), routes(&call))
        .await?;
    Object::default().with("updateDate", seconds(alias.updated_at)).done()
}

pub(super) async fn describe_alias(call: Call) -> Answered {
    let alias = call.workflows().describe_alias(call.needed("stateMachineAliasArn")).await?;
    let route = |route: &Route| {
        json!({
            "stateMachineVersionArn": route.version_arn, "weight": route.weight,
        })
    };
    Object::default()
        .with("stateMachineAliasArn", alias.arn)
        .with("name", alias.name)
        .maybe("description", alias.description)
        .with("routingConfiguration", alias.routes.iter().map(route).collect::<Vec<_>>())
        .with("creationDate", seconds(alias.created_at))
        .with("updateDate", seconds(alias.updated_at))
        .done()
}

pub(super) async fn delete_alias(call: Call) -> Answered {
    call.workflows().delete_alias(call.needed("stateMachineAliasArn")).await?;
    nothing()
}

pub(super) async fn list_aliases(call: Call) -> Answered {
    let page = call.workflows().list_aliases(call.needed("stateMachineArn"), call.page()?).await?;
    let aliases: Vec<Value> = page
        .items
        .into_iter()
        .map(|alias| {
            Object::default()
                .with("stateMachineAliasArn", alias.arn)
                .with("creationDate", seconds(alias.created_at))
                .value()
        })
        .collect();
    Object::default()
        .with("stateMachineAliases", aliases)
        .maybe("nextToken", call.seal(page.next_token)?)
        .done()
}
