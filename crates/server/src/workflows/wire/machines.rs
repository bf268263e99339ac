//! CreateStateMachine, DeleteStateMachine, DescribeStateMachine, DescribeStateMachineForExecution,
//! ListStateMachines, UpdateStateMachine.

use ark_model::workflow::MachineType;
use serde_json::{Map, Value, json};

use super::answer::{Answered, Object, nothing, seconds};
use super::call::{Call, text};
use super::error::WireError;
use crate::workflows::{
    Arn, CreateMachine, Logging, MachineView, Publishing, Refusal, Resource, UpdateMachine,
};

/// The type of machine a request names.
pub(super) fn machine_type(call: &Call) -> MachineType {
    call.text("type").and_then(MachineType::from_word).unwrap_or(MachineType::Standard)
}

/// Whether a kind of encryption is named. There is the one of the store, which is as if owned by the
/// service; keys of customers would need a service that keeps them.
pub(super) fn encryption(call: &Call) -> Result<bool, WireError> {
    let Some(named) = call.object("encryptionConfiguration") else { return Ok(false) };
    if text(named, "type") == Some("AWS_OWNED_KEY") {
        return Ok(true);
    }
    let message = "Invalid Encryption Configuration: there is no key service; \
        the type can be AWS_OWNED_KEY only.";
    Err(Refusal::InvalidEncryptionConfiguration.with(message).into())
}

pub(super) fn encryption_shown() -> Value {
    json!({ "type": "AWS_OWNED_KEY" })
}

fn logging(call: &Call) -> Option<Logging> {
    let named = call.object("loggingConfiguration")?;
    let destination = |destination: &Value| {
        let group = destination.get("cloudWatchLogsLogGroup")?.as_object()?;
        text(group, "logGroupArn").map(str::to_owned)
    };
    Some(Logging {
        level: text(named, "level").unwrap_or("OFF").to_owned(),
        include_execution_data: named
            .get("includeExecutionData")
            .and_then(Value::as_bool)
            .unwrap_or(false),
        destinations: named
            .get("destinations")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(destination)
            .collect(),
    })
}

fn logging_shown(logging: &Logging) -> Value {
    let mut shown = Map::new();
    shown.insert("level".into(), logging.level.as_str().into());
    shown.insert("includeExecutionData".into(), logging.include_execution_data.into());
    if !logging.destinations.is_empty() {
        let destination =
            |arn: &String| json!({ "cloudWatchLogsLogGroup": { "logGroupArn": arn } });
        let destinations: Vec<Value> = logging.destinations.iter().map(destination).collect();
        shown.insert("destinations".into(), destinations.into());
    }
    Value::Object(shown)
}

fn tracing(call: &Call) -> Option<bool> {
    let named = call.object("tracingConfiguration")?;
    Some(named.get("enabled").and_then(Value::as_bool).unwrap_or(false))
}

fn publishing(call: &Call) -> Publishing {
    Publishing {
        publish: call.flag("publish").unwrap_or(false),
        description: call.owned("versionDescription"),
    }
}

pub(super) async fn create(call: Call) -> Answered {
    encryption(&call)?;
    let create = CreateMachine {
        name: call.needed("name").to_owned(),
        region: call.who.region.clone(),
        definition: call.needed("definition").to_owned(),
        role_arn: call.needed("roleArn").to_owned(),
        machine_type: machine_type(&call),
        logging: logging(&call).unwrap_or_default(),
        tracing: tracing(&call).unwrap_or(false),
        publishing: publishing(&call),
        tags: call.tags(),
    };
    let created = call.workflows().create_machine(create).await?;
    Object::default()
        .with("stateMachineArn", created.arn)
        .with("creationDate", seconds(created.created_at))
        .maybe("stateMachineVersionArn", created.version_arn)
        .done()
}

pub(super) async fn update(call: Call) -> Answered {
    let update = UpdateMachine {
        arn: call.needed("stateMachineArn").to_owned(),
        definition: call.owned("definition"),
        role_arn: call.owned("roleArn"),
        logging: logging(&call),
        tracing: tracing(&call),
        encryption_named: encryption(&call)?,
        publishing: publishing(&call),
    };
    let updated = call.workflows().update_machine(update).await?;
    Object::default()
        .with("updateDate", seconds(updated.updated_at))
        .maybe("revisionId", updated.revision_id)
        .maybe("stateMachineVersionArn", updated.version_arn)
        .done()
}

pub(super) async fn delete(call: Call) -> Answered {
    call.workflows().delete_machine(call.needed("stateMachineArn")).await?;
    nothing()
}

/// What both descriptions say; with `includedData: METADATA_ONLY` without the definition, of which a
/// placeholder says that it was left out.
fn described(call: &Call, machine: &MachineView) -> Object {
    let all = call.text("includedData") != Some("METADATA_ONLY");
    let definition = if all { machine.definition.as_str() } else { "{}" };
    let references = all.then(|| variable_references(&machine.definition)).flatten();
    Object::default()
        .with("stateMachineArn", machine.arn.as_str())
        .with("name", machine.name.as_str())
        .with("definition", definition)
        .with("roleArn", machine.role_arn.as_str())
        .with("loggingConfiguration", logging_shown(&machine.logging))
        .with("tracingConfiguration", json!({ "enabled": machine.tracing }))
        .with("encryptionConfiguration", encryption_shown())
        .maybe("revisionId", machine.revision_id.clone())
        .maybe("variableReferences", references)
}

/// By state the variables it reads; nothing where no state reads any.
fn variable_references(definition: &str) -> Option<Value> {
    let definition = ark_states::Definition::parse(definition).ok()?;
    let mut states = Map::new();
    for (state, names) in definition.variable_references() {
        let names = names.iter().map(|name| Value::from(&**name)).collect();
        states.insert(state.to_string(), Value::Array(names));
    }
    (!states.is_empty()).then_some(Value::Object(states))
}

/// The label of the Map state that a map run belongs to.
fn label(map_run: &str) -> Option<String> {
    match Arn::parse(map_run).ok()?.resource {
        Resource::MapRun { label, .. } => Some(label),
        _ => None,
    }
}

pub(super) async fn describe(call: Call) -> Answered {
    let machine = call.workflows().describe_machine(call.needed("stateMachineArn")).await?;
    described(&call, &machine)
        .with("status", "ACTIVE")
        .with("type", machine.machine_type.as_str())
        .with("creationDate", seconds(machine.created_at))
        .maybe("description", machine.description)
        .done()
}

pub(super) async fn describe_for_execution(call: Call) -> Answered {
    let workflows = call.workflows();
    let execution = workflows.describe_execution(call.needed("executionArn")).await?;
    let machine = workflows.describe_revision(execution.revision).await?;
    described(&call, &machine)
        .with("stateMachineArn", execution.machine_arn)
        .with("updateDate", seconds(machine.revised_at))
        .maybe("label", execution.map_run_arn.as_deref().and_then(label))
        .maybe("mapRunArn", execution.map_run_arn)
        .done()
}

pub(super) async fn list(call: Call) -> Answered {
    let page = call.workflows().list_machines(call.page()?).await?;
    let machines: Vec<Value> = page
        .items
        .into_iter()
        .map(|machine| {
            Object::default()
                .with("stateMachineArn", machine.arn)
                .with("name", machine.name)
                .with("type", machine.machine_type.as_str())
                .with("creationDate", seconds(machine.created_at))
                .value()
        })
        .collect();
    Object::default()
        .with("stateMachines", machines)
        .maybe("nextToken", call.seal(page.next_token)?)
        .done()
}
