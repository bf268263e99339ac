//! One workflow: its graph, its versions, its executions with a search that takes as long among a
//! million as among ten.

use std::collections::BTreeMap;

use ark_model::api::{ExecutionSummary, Page};
use ark_model::workflow::ExecutionStatus;
use askama::Template;
use axum::extract::{Path, Query};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{execution_at, machine_arn, workflow_at};
use crate::fault::Fault;
use crate::machine::Drawing;
use crate::shell::Shell;
use crate::visit::{Answer, Visit};
use crate::words::{self, Tone, When, counted, part, shell};

/// Executions of one page.
const EXECUTIONS: u32 = 50;
/// Versions that are offered.
const VERSIONS: u32 = 30;
/// Characters of a definition that are shown.
const DEFINITION_CHARS: usize = 6_000;

#[derive(Deserialize)]
pub(super) struct Filter {
    #[serde(default)]
    status: String,
    /// The beginning of a name.
    #[serde(default)]
    q: String,
    /// What an error or a cause has in it.
    #[serde(default)]
    error: String,
    #[serde(default)]
    cursor: String,
    version: Option<u64>,
}

#[derive(Template)]
#[template(path = "workflow.html")]
struct WorkflowPage {
    shell: Shell,
    name: String,
    address: String,
    kind: &'static str,
    express: bool,
    comment: String,
    drawing: Option<Drawing>,
    definition: String,
    whole: bool,
    /// The shown one, and all of them.
    version: Option<u64>,
    versions: Vec<Version>,
    q: String,
    error: String,
    statuses: Vec<(&'static str, &'static str, bool)>,
    filtered: bool,
    first: Option<String>,
    next: Option<String>,
    executions: Vec<ExecutionLine>,
    command: String,
    /// The command that starts one.
    start: String,
}

struct Version {
    number: u64,
    href: String,
    when: Option<When>,
    shown: bool,
}

pub(super) struct ExecutionLine {
    pub(super) name: String,
    pub(super) href: String,
    pub(super) tone: Tone,
    pub(super) words: &'static str,
    pub(super) resolved: bool,
    pub(super) begun: When,
    pub(super) took: String,
    pub(super) version: String,
    pub(super) why: String,
    pub(super) redrives: String,
}

/// The states by which executions are filtered: the word of the address, the word on the page.
const STATUSES: [(&str, &str); 7] = [
    ("", "all"),
    ("unresolved", "failed, not resolved"),
    ("RUNNING", "running"),
    ("FAILED", "failed"),
    ("TIMED_OUT", "timed out"),
    ("ABORTED", "stopped"),
    ("SUCCEEDED", "succeeded"),
];

pub(super) async fn workflow(
    visit: Visit,
    Path(name): Path<String>,
    Query(filter): Query<Filter>,
) -> Answer {
    let arn = match filter.version {
        Some(number) => machine_arn(&format!("{name}:{number}")),
        None => machine_arn(&name),
    };
    let machine: Value =
        visit.states("DescribeStateMachine", &json!({ "stateMachineArn": arn })).await?;
    let express = machine["type"] == "EXPRESS";
    let text = machine["definition"].as_str().unwrap_or_default();
    let definition: Value = serde_json::from_str(text).unwrap_or_default();
    let found = match express {
        // They leave nothing to be listed.
        true => Page { items: Vec::new(), next: None },
        false => find(&visit, &name, &filter).await?,
    };
    let address = workflow_at(&name);
    let next = found.next.as_deref().map(|at| format!("{address}?{}", question(&filter, at)));
    let first = (!filter.cursor.is_empty()).then(|| format!("{address}?{}", question(&filter, "")));
    let mut command = match filter.status.as_str() {
        "" => format!("ark workflow search {}", shell(&name)),
        "unresolved" => format!("ark workflow search {} --unresolved", shell(&name)),
        status => format!("ark workflow search {} --status {}", shell(&name), shell(status)),
    };
    if !filter.error.trim().is_empty() {
        command.push_str(&format!(" --error {}", shell(filter.error.trim())));
    }
    let mut frame = visit
        .shell(name.clone(), "/workflows")
        .crumb("/workflows", "Workflows")
        .command(format!("ark workflow show {}", shell(&name)));
    if filter.cursor.is_empty() {
        frame = frame.live("");
    }
    let pretty = pretty(text);
    let chosen = |status: &str| filter.status == status;
    visit.page(&WorkflowPage {
        shell: frame,
        kind: if express { "express" } else { "standard" },
        express,
        comment: definition["Comment"].as_str().unwrap_or_default().chars().take(300).collect(),
        drawing: Drawing::new(&definition, BTreeMap::new()),
        whole: pretty.chars().count() <= DEFINITION_CHARS,
        definition: pretty.chars().take(DEFINITION_CHARS).collect(),
        version: filter.version,
        versions: versions(&visit, &name, filter.version).await?,
        statuses: STATUSES.map(|(status, words)| (status, words, chosen(status))).to_vec(),
        filtered: [&filter.q, &filter.status, &filter.error].iter().any(|text| !text.is_empty()),
        first,
        next,
        executions: found.items.iter().map(|one| line(&visit, one)).collect(),
        command,
        start: format!("ark workflow start {} '{{}}'", shell(&name)),
        q: filter.q,
        error: filter.error,
        address,
        name,
    })
}

/// JSON as people read it; what is none stays as it is.
pub(super) fn pretty(text: &str) -> String {
    let value = serde_json::from_str::<Value>(text).ok();
    value
        .and_then(|value| serde_json::to_string_pretty(&value).ok())
        .unwrap_or_else(|| text.to_owned())
}

/// The filter as a query, from a place in the list on.
fn question(filter: &Filter, cursor: &str) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    let (status, q, error) = (filter.status.as_str(), filter.q.as_str(), filter.error.as_str());
    for (name, value) in [("status", status), ("q", q), ("error", error), ("cursor", cursor)] {
        if !value.is_empty() {
            query.append_pair(name, value);
        }
    }
    query.finish()
}

async fn find(visit: &Visit, name: &str, filter: &Filter) -> Result<Page<ExecutionSummary>, Fault> {
    visit.get(&format!("/v1/workflows/{}/executions?{}", part(name), asked(filter))).await
}

/// The filter, as the API is asked.
fn asked(filter: &Filter) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("limit", &EXECUTIONS.to_string());
    match filter.status.as_str() {
        "unresolved" => {
            query.append_pair("unresolved", "true");
        }
        // A state that does not exist finds nothing less than all.
        status if ExecutionStatus::from_word(status).is_some() => {
            query.append_pair("status", status);
        }
        _ => {}
    }
    let (name, error) = (filter.q.trim(), filter.error.trim());
    for (name, value) in [("name", name), ("error", error), ("cursor", &filter.cursor)] {
        if !value.is_empty() {
            query.append_pair(name, value);
        }
    }
    query.finish()
}

async fn versions(visit: &Visit, name: &str, shown: Option<u64>) -> Result<Vec<Version>, Fault> {
    let input = json!({ "stateMachineArn": machine_arn(name), "maxResults": VERSIONS });
    let found: Value = visit.states("ListStateMachineVersions", &input).await?;
    let all = found["stateMachineVersions"].as_array().into_iter().flatten();
    let version = |one: &Value| {
        let number = one["stateMachineVersionArn"].as_str()?.rsplit(':').next()?.parse().ok()?;
        let at = one["creationDate"].as_f64().and_then(instant);
        Some(Version {
            number,
            href: format!("{}?version={number}", workflow_at(name)),
            when: at.map(|at| When::ago(at, visit.now)),
            shown: shown == Some(number),
        })
    };
    Ok(all.filter_map(version).collect())
}

/// Seconds since 1970, as Step Functions' API says instants.
pub(super) fn instant(seconds: f64) -> Option<Timestamp> {
    Timestamp::from_millisecond((seconds * 1_000.0).round() as i64).ok()
}

pub(super) fn line(visit: &Visit, one: &ExecutionSummary) -> ExecutionLine {
    let (tone, words) = words::execution(one.status);
    let why = [one.error.as_deref(), one.cause.as_deref()];
    let why: Vec<&str> = why.into_iter().flatten().filter(|text| !text.is_empty()).collect();
    ExecutionLine {
        name: one.name.clone(),
        href: execution_at(&one.workflow, &one.name),
        tone,
        words,
        resolved: one.resolved,
        begun: When::ago(one.started_at, visit.now),
        took: took(one.started_at, one.stopped_at.unwrap_or(visit.now)),
        version: one.version.map(|number| number.to_string()).unwrap_or_default(),
        why: why.join(": ").chars().take(160).collect(),
        redrives: match one.redrives {
            0 => String::new(),
            redrives => counted(redrives, "redrive"),
        },
    }
}

/// How long something took, with milliseconds while they count.
pub(super) fn took(from: Timestamp, to: Timestamp) -> String {
    let ms = u64::try_from(to.as_millisecond() - from.as_millisecond()).unwrap_or(0);
    words::length(ms)
}
