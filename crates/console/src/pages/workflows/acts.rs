//! What workflows and executions can be told: start, stop, redrive, resolve. Each is a page that says
//! what would be done, with a button that does it.

use ark_model::Sha256;
use ark_model::address::Segment;
use ark_model::api::{ExecutionSummary, Page, ProblemCode};
use ark_model::workflow::ExecutionStatus;
use askama::Template;
use axum::extract::{Form, Path, Query};
use http::Method;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::{execution_api, execution_arn, execution_at, machine_arn, named, workflow_at};
use crate::fault::Fault;
use crate::json;
use crate::pages::actions::Action;
use crate::shell::Shell;
use crate::visit::{Answer, Visit, see};
use crate::words::{self, operand, segment, shell};

/// What workers of `ark worker` need in an input.
const EXECUTION_NAME: &str = "_EXECUTION_NAME";
/// The longest input that stands in the command beside the form, in bytes.
const COMMAND_BYTES: usize = 300;
/// Bytes of an example that is offered, as it stands in markup.
const EXAMPLE: usize = 60_000;

#[derive(Template)]
#[template(path = "start.html")]
struct Start {
    shell: Shell,
    to: String,
    back: String,
    /// Which version, and of what the example is.
    version: Option<u64>,
    example: String,
    from: Option<String>,
    /// What would have been the example, and is too long for that.
    unshown: Option<Unshown>,
    /// Whether its workers want the name in the input.
    named: bool,
    key: String,
    command: String,
}

/// An input that is too long to stand in a form.
struct Unshown {
    name: String,
    bytes: String,
    /// The command that shows it.
    command: String,
}

#[derive(Deserialize)]
pub(super) struct Like {
    /// The execution whose input is the example.
    like: Option<String>,
    version: Option<u64>,
}

pub(super) async fn start(
    visit: Visit,
    Path(Segment(workflow)): Path<Segment>,
    Query(query): Query<Like>,
) -> Answer {
    let machine = serde_json::json!({ "stateMachineArn": machine_arn(&workflow) });
    let told: Value = visit.states("DescribeStateMachine", &machine).await?;
    let like = match query.like {
        Some(like) => Some(like),
        None if told["type"] == "EXPRESS" => None,
        None => {
            let address = format!("/v1/workflows/{}/executions?limit=1", segment(&workflow));
            let newest: Page<ExecutionSummary> = visit.get(&address).await?;
            newest.items.into_iter().next().map(|last| last.name)
        }
    };
    let (mut example, mut from, mut unshown) = ("{}".to_owned(), None, None);
    let mut given = example.clone();
    let mut named = told["definition"].as_str().is_some_and(|text| text.contains(":activity:"));
    if let Some(like) = like {
        let arn = serde_json::json!({ "executionArn": execution_arn(&workflow, &like) });
        let told: Value = visit.states("DescribeExecution", &arn).await?;
        let input = told["input"].as_str().unwrap_or("{}");
        let without = json::without(input, EXECUTION_NAME);
        named = without.is_some();
        let input = without.unwrap_or_else(|| input.to_owned());
        // A part of it would be no example.
        if let (whole, true) = json::pretty(&input, EXAMPLE) {
            (example, from, given) = (whole, Some(like), input);
        } else {
            let bytes = words::bytes(input.len() as u64);
            let command = format!("ark workflow status --json {}", super::named(&workflow, &like));
            unshown = Some(Unshown { name: like, bytes, command });
        }
    }
    let frame = visit
        .shell(format!("Start {workflow}"), "/workflows")
        .crumb("/workflows", "Workflows")
        .crumb(workflow_at(&workflow), &workflow);
    let name = match query.version {
        Some(version) => format!("{workflow}:{version}"),
        None => workflow.clone(),
    };
    let once = format!("{} {}", visit.form_token, visit.now.as_nanosecond());
    visit.page(&Start {
        shell: frame,
        to: format!("{}/start", workflow_at(&workflow)),
        back: workflow_at(&workflow),
        version: query.version,
        example,
        from,
        unshown,
        named,
        key: Sha256::of(once.as_bytes()).to_string()[..32].to_owned(),
        command: match given.len() {
            ..=COMMAND_BYTES => {
                format!("ark workflow start --follow {} {}", operand(&name), shell(&given))
            }
            _ => format!("ark workflow start --follow {} - < input.json", operand(&name)),
        },
    })
}

#[derive(Deserialize)]
pub(super) struct StartForm {
    input: String,
    version: Option<String>,
    #[serde(default)]
    named: String,
    key: String,
}

pub(super) async fn do_start(
    visit: Visit,
    Path(Segment(workflow)): Path<Segment>,
    Form(form): Form<StartForm>,
) -> Answer {
    let refused = |why: String| Fault::new(ProblemCode::InvalidValue, why);
    let text = form.input.trim();
    let text = if text.is_empty() { "{}" } else { text };
    let _: IgnoredAny = serde_json::from_str(text)
        .map_err(|error| refused(format!("the input is no JSON: {error}. Nothing was started.")))?;
    // A form that is sent twice names the same execution, and starts one.
    let key = form.key;
    if key.len() != 32 || !key.chars().all(|c| c.is_ascii_hexdigit()) {
        return Err(refused("the form was changed; open its page again".to_owned()));
    }
    // As it was written: numbers, order and all.
    let text = match form.named.is_empty() {
        true => text.to_owned(),
        false => json::with(text, EXECUTION_NAME, &key).ok_or_else(|| {
            refused(format!("{EXECUTION_NAME} goes into an object; this is none"))
        })?,
    };
    let name = match form.version.filter(|version| !version.is_empty()) {
        Some(version) => format!("{workflow}:{version}"),
        None => workflow.clone(),
    };
    let ask =
        serde_json::json!({ "stateMachineArn": machine_arn(&name), "name": key, "input": text });
    match visit.states::<Value>("StartExecution", &ask).await {
        Ok(started) => {
            let arn = started["executionArn"].as_str().unwrap_or_default();
            match arn.contains(":execution:") {
                true => see(&execution_at(&workflow, &key)),
                false => see(&workflow_at(&workflow)),
            }
        }
        // The form was sent before, and what it started has ended.
        Err(fault) if fault.code() == ProblemCode::WorkflowConflict => {
            see(&execution_at(&workflow, &key))
        }
        Err(fault) => Err(fault),
    }
}

/// What an execution can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Act {
    Stop,
    Redrive,
    Resolve,
}

impl Act {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Redrive => "redrive",
            Self::Resolve => "resolve",
        }
    }

    const fn button(self) -> &'static str {
        match self {
            Self::Stop => "Stop",
            Self::Redrive => "Redrive",
            Self::Resolve => "Resolve",
        }
    }

    fn command(self, workflow: &str, name: &str) -> String {
        format!("ark workflow {} {}", self.as_str(), named(workflow, name))
    }
}

/// What an execution can be told now: the word in the address, the word on the button, the command.
pub(super) fn offered(
    summary: &ExecutionSummary,
    told: &Value,
) -> Vec<(&'static str, &'static str, String)> {
    let mut acts = Vec::new();
    if summary.status == ExecutionStatus::Running {
        acts.push(Act::Stop);
    }
    if told["redriveStatus"] == "REDRIVABLE" {
        acts.push(Act::Redrive);
    }
    let failed = matches!(summary.status, ExecutionStatus::Failed | ExecutionStatus::TimedOut);
    if failed && !summary.resolved {
        acts.push(Act::Resolve);
    }
    let (workflow, name) = (&summary.workflow, &summary.name);
    acts.into_iter().map(|act| (act.as_str(), act.button(), act.command(workflow, name))).collect()
}

pub(super) async fn act(
    visit: Visit,
    Path((Segment(workflow), Segment(name), act)): Path<(Segment, Segment, Act)>,
) -> Answer {
    let summary: ExecutionSummary = visit.get(&execution_api(&workflow, &name)).await?;
    let (title, steps) = match act {
        Act::Stop => (
            format!("Stop {name}"),
            vec![
                "end it as stopped, with all that goes on within it".to_owned(),
                "workers that have a task of it are told at their next heartbeat".to_owned(),
            ],
        ),
        Act::Redrive => (
            format!("Redrive {name}"),
            vec![
                "go on from where it failed, with the definition it was started with".to_owned(),
                "what was done before is not done again".to_owned(),
            ],
        ),
        Act::Resolve => (
            format!("Resolve {name}"),
            vec![
                "note that its failure is dealt with; nothing else is changed".to_owned(),
                "one that is redriven and fails again is open again".to_owned(),
            ],
        ),
    };
    let refusals = match (act, summary.status) {
        (Act::Stop, ExecutionStatus::Running) => None,
        (Act::Stop, _) => Some("it has ended".to_owned()),
        (Act::Redrive | Act::Resolve, ExecutionStatus::Running) => Some("it goes on".to_owned()),
        (Act::Redrive | Act::Resolve, _) => None,
    };
    let at = execution_at(&workflow, &name);
    let frame = visit
        .shell(title, "/workflows")
        .crumb("/workflows", "Workflows")
        .crumb(workflow_at(&workflow), &workflow)
        .crumb(at.clone(), &name)
        .command(act.command(&workflow, &name));
    let page = Action {
        steps,
        refusals: refusals.into_iter().collect(),
        reason: act == Act::Stop,
        danger: act == Act::Stop,
        ..Action::new(frame, format!("{at}/do/{}", act.as_str()), at.clone(), act.button())
    };
    visit.page(&page)
}

#[derive(Deserialize)]
pub(super) struct ActForm {
    #[serde(default)]
    reason: String,
}

pub(super) async fn do_act(
    visit: Visit,
    Path((Segment(workflow), Segment(name), act)): Path<(Segment, Segment, Act)>,
    Form(form): Form<ActForm>,
) -> Answer {
    let arn = execution_arn(&workflow, &name);
    match act {
        Act::Stop => {
            let by = &visit.viewer.name;
            let cause = match form.reason.trim() {
                "" => format!("stopped by {by}"),
                why => format!("stopped by {by}: {why}"),
            };
            let ask = serde_json::json!({ "executionArn": arn, "cause": cause });
            let _: Value = visit.states("StopExecution", &ask).await?;
        }
        Act::Redrive => {
            let ask = serde_json::json!({ "executionArn": arn });
            let _: Value = visit.states("RedriveExecution", &ask).await?;
        }
        Act::Resolve => {
            let address = format!("/wm/workflows/{}/resolved", segment(&arn));
            let _: Value = visit.act(Method::POST, &address).await?;
        }
    }
    see(&execution_at(&workflow, &name))
}
