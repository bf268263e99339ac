//! One workflow: its graph, its versions, its executions with a search that takes as long among a
//! million as among ten.

use std::collections::BTreeMap;

use ark_model::address::Segment;
use ark_model::api::{ExecutionSummary, Page};
use ark_model::workflow::ExecutionStatus;
use askama::Template;
use axum::extract::{Path, Query};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::{execution_at, machine_arn, workflow_at};
use crate::fault::Fault;
use crate::json;
use crate::machine::Drawing;
use crate::room::{Room, cut, weight};
use crate::shell::Shell;
use crate::visit::{Answer, Visit};
use crate::words::{self, Tone, When, counted, operand, segment, shell};

/// Executions of one page.
const EXECUTIONS: u32 = 50;
/// Versions that are offered.
const VERSIONS: u32 = 30;
/// Bytes of the page without its lists, of a definition, of the states in words, and of an execution
/// without its texts.
const FRAME: usize = 14_000;
const DEFINITION: usize = 18_000;
const STATES: usize = 14_000;
const STATE_LINE: usize = 10;
const LINE: usize = 430;
/// The longest texts, in bytes: why one failed, a comment, a state in words.
const WHY: usize = 200;
const COMMENT: usize = 400;
const WORDS: usize = 400;

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
    /// Why there is no drawing.
    undrawn: &'static str,
    /// The drawing in words, and how many lines of it are missing.
    states: Vec<String>,
    more_states: usize,
    definition: String,
    whole: bool,
    /// The shown one, and all of them.
    version: Option<u64>,
    versions: Vec<Version>,
    /// The command that lists all of them, when these are not all.
    all_versions: Option<String>,
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
    Path(Segment(name)): Path<Segment>,
    Query(filter): Query<Filter>,
) -> Answer {
    let arn = match filter.version {
        Some(number) => machine_arn(&format!("{name}:{number}")),
        None => machine_arn(&name),
    };
    let machine: Value = visit
        .states("DescribeStateMachine", &serde_json::json!({ "stateMachineArn": arn }))
        .await?;
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
        "" => "ark workflow search".to_owned(),
        "unresolved" => "ark workflow search --unresolved".to_owned(),
        status => format!("ark workflow search --status {}", shell(status)),
    };
    for (option, text) in [("--name", filter.q.trim()), ("--error", filter.error.trim())] {
        if !text.is_empty() {
            command.push_str(&format!(" {option}={}", shell(text)));
        }
    }
    command.push_str(&format!(" {}", operand(&name)));
    let mut frame = visit
        .shell(name.clone(), "/workflows")
        .crumb("/workflows", "Workflows")
        .command(format!("ark workflow show {}", operand(&name)));
    if filter.cursor.is_empty() {
        frame = frame.live("");
    }
    let (pretty, whole) = json::pretty(text, DEFINITION);
    let executions: Vec<ExecutionLine> = found.items.iter().map(|one| line(&visit, one)).collect();
    let taken = executions.iter().map(ExecutionLine::bytes).sum::<usize>();
    let mut room = Room::beside(FRAME + DEFINITION + taken);
    let drawing = Drawing::new(&definition, BTreeMap::new());
    let undrawn = match drawing {
        Some(_) => "It is too large to be drawn here; its states are listed",
        None => "It has too many states to be drawn",
    };
    let said = drawing.iter().flat_map(Drawing::words).map(|line| cut(line, WORDS));
    let (states, more_states) = room.part(STATES).fit(said, |line| STATE_LINE + weight(line));
    let drawing = drawing.filter(|drawing| room.take(drawing.to_string().len()));
    let (versions, more_versions) = versions(&visit, &name, filter.version).await?;
    let chosen = |status: &str| filter.status == status;
    visit.page(&WorkflowPage {
        shell: frame,
        kind: if express { "express" } else { "standard" },
        express,
        comment: cut(definition["Comment"].as_str().unwrap_or_default(), COMMENT),
        drawing,
        undrawn,
        states,
        more_states,
        whole,
        definition: pretty,
        version: filter.version,
        versions,
        all_versions: more_versions.then(|| format!("ark workflow versions {}", operand(&name))),
        statuses: STATUSES.map(|(status, words)| (status, words, chosen(status))).to_vec(),
        filtered: [&filter.q, &filter.status, &filter.error].iter().any(|text| !text.is_empty()),
        first,
        next,
        executions,
        command,
        start: format!("ark workflow start {} '{{}}'", operand(&name)),
        q: filter.q,
        error: filter.error,
        address,
        name,
    })
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
    visit.get(&format!("/v1/workflows/{}/executions?{}", segment(name), asked(filter))).await
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

/// The newest versions, and whether there are older ones.
async fn versions(
    visit: &Visit,
    name: &str,
    shown: Option<u64>,
) -> Result<(Vec<Version>, bool), Fault> {
    let input = serde_json::json!({ "stateMachineArn": machine_arn(name), "maxResults": VERSIONS });
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
    Ok((all.filter_map(version).collect(), found["nextToken"].is_string()))
}

/// Seconds since 1970, as Step Functions' API says instants.
pub(super) fn instant(seconds: f64) -> Option<Timestamp> {
    Timestamp::from_millisecond((seconds * 1_000.0).round() as i64).ok()
}

impl ExecutionLine {
    fn bytes(&self) -> usize {
        LINE + weight(&self.name) + self.href.len() + weight(&self.why)
    }
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
        why: cut(&why.join(": "), WHY),
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
