//! `ark workflow`: definitions, their versions, and executions of them.

pub(crate) mod activities;
mod definition;
mod failing;
pub(crate) mod follow;
mod map_runs;
pub(crate) mod queue;
pub(crate) mod schedule;
mod search;
pub(crate) mod status;
pub(crate) mod target;

use std::io::Read as _;
use std::path::PathBuf;

use ark_server::workflows::manager::conventions::judge_json;
use clap::Subcommand;
use clap::builder::PossibleValuesParser;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cli::block_on;
use crate::client::Client;
use crate::context::{Asking, Context};
use crate::failure::{Ended, Exit, Failure};
use crate::output::Shown;
use crate::output::table::Table;
use crate::output::times::{ago, exact};

use definition::Source;
use status::status;
use target::{execution_arn, execution_id, machine_arn};

/// What an execution may be.
const STATES: [&str; 6] =
    ["RUNNING", "SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED", "PENDING_REDRIVE"];
/// Pages of a list that are read.
const PAGES_MAX: usize = 1_000;

/// What `workflow` takes.
#[derive(Debug, clap::Args)]
#[command(
    before_help = "Examples:\n  ark workflow define resize machine.json\n  ark workflow start resize '{\"file\": \"a.png\"}' --follow\n  ark workflow history resize:8f2c"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a workflow, or a new version of it
    #[command(
        before_help = "Examples:\n  ark workflow define resize machine.json\n  ark workflow define quick machine.json --express",
        after_help = "Each Task gets a first retry of sfncli.CommandTerminated (10 times, after 10 s), unless it names\nthat error itself, so that a worker's deployment fails no workflow. --as-written leaves it out."
    )]
    Define {
        /// Name
        name: String,
        /// Definition in the States Language, as JSON; `-` reads standard input
        file: PathBuf,
        /// Express instead of Standard; only when it is made
        #[arg(long)]
        express: bool,
        /// Add no retry
        #[arg(long)]
        as_written: bool,
        #[command(flatten)]
        common: Asking,
    },
    /// List workflows
    #[command(before_help = "Examples:\n  ark workflow list\n  ark workflow list --json")]
    List {
        #[command(flatten)]
        common: Asking,
    },
    /// Show a workflow with its definition
    #[command(
        before_help = "Examples:\n  ark workflow show resize\n  ark workflow show resize:3 --json"
    )]
    Show {
        /// Name, with a version or an alias after a colon
        workflow: String,
        #[command(flatten)]
        common: Asking,
    },
    /// List the versions of a workflow, newest first
    #[command(before_help = "Examples:\n  ark workflow versions resize")]
    Versions {
        /// Name
        name: String,
        #[command(flatten)]
        common: Asking,
    },
    /// Check a definition
    #[command(
        before_help = "Examples:\n  ark workflow validate machine.json\n  ark workflow validate - < machine.json"
    )]
    Validate {
        /// Definition in the States Language, as JSON; `-` reads standard input
        file: PathBuf,
        /// Judge it as an Express workflow
        #[arg(long)]
        express: bool,
        #[command(flatten)]
        common: Asking,
    },
    /// Start an execution; the input is given as it is
    #[command(
        before_help = "Examples:\n  ark workflow start resize '{\"file\": \"a.png\"}'\n  ark workflow start resize:3 - --follow < input.json"
    )]
    Start {
        /// Name, with a version or an alias after a colon
        workflow: String,
        /// Input as JSON; `-` reads standard input
        #[arg(default_value = "{}")]
        input: String,
        /// Name of the execution: starting twice with the same name and input starts once
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// Show states as they pass, until the end
        #[arg(short, long)]
        follow: bool,
        #[command(flatten)]
        common: Asking,
    },
    /// List executions of a workflow, newest first
    #[command(
        before_help = "Examples:\n  ark workflow search resize --status FAILED --limit 20\n  ark workflow search resize --unresolved\n  ark workflow search resize --error \"connection refused\"\n  ark workflow search --map-run ARN --status FAILED",
        after_help = "`ark workflow status` names the Map Runs of an execution. Children of Express type are not listed."
    )]
    Search {
        /// Name, with a version or an alias after a colon
        #[arg(required_unless_present = "map_run")]
        workflow: Option<String>,
        /// Children of this Map Run instead: executions that a distributed Map started
        #[arg(long, value_name = "ARN", conflicts_with_all = ["workflow", "unresolved", "name", "error"])]
        map_run: Option<String>,
        /// Only those in this state
        #[arg(long, ignore_case = true, value_parser = PossibleValuesParser::new(STATES))]
        status: Option<String>,
        /// Only those that failed and that nobody has resolved
        #[arg(long, conflicts_with = "status")]
        unresolved: bool,
        /// Only those whose name begins so
        #[arg(long, value_name = "BEGINNING")]
        name: Option<String>,
        /// Only those whose error or cause has this text in it
        #[arg(long, value_name = "TEXT")]
        error: Option<String>,
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        limit: u32,
        #[command(flatten)]
        common: Asking,
    },
    /// Show an execution
    #[command(before_help = "Examples:\n  ark workflow status resize:8f2c")]
    Status {
        /// NAME:EXECUTION, an ARN, or the execution's name
        id: String,
        #[command(flatten)]
        common: Asking,
    },
    /// Show the events of an execution
    #[command(
        before_help = "Examples:\n  ark workflow history resize:8f2c\n  ark workflow history resize:8f2c --json"
    )]
    History {
        /// NAME:EXECUTION, an ARN, or the execution's name
        id: String,
        #[command(flatten)]
        common: Asking,
    },
    /// Stop an execution
    #[command(before_help = "Examples:\n  ark workflow stop resize:8f2c --reason 'wrong file'")]
    Stop {
        /// NAME:EXECUTION, an ARN, or the execution's name
        id: String,
        /// Why, for the history
        #[arg(long)]
        reason: Option<String>,
        #[command(flatten)]
        common: Asking,
    },
    /// Say that an execution that failed is dealt with
    #[command(before_help = "Examples:\n  ark workflow resolve resize:8f2c")]
    Resolve {
        /// NAME:EXECUTION, an ARN, or the execution's name
        id: String,
        #[command(flatten)]
        common: Asking,
    },
    /// Executions that the clock starts
    #[command(
        subcommand,
        before_help = "Examples:\n  ark workflow schedule add nightly resize '0 3 * * *' --zone Europe/Berlin\n  ark workflow schedule list\n  ark workflow schedule pause nightly"
    )]
    Schedule(schedule::Schedule),
    /// Show how busy the workers of each activity are
    #[command(
        before_help = "Examples:\n  ark workflow activities\n  ark workflow activities --json",
        after_help = "`busy` is the share of the activity's workers that worked, over the last minute: as the server sees\nit, without their reports. `working` counts tasks that were handed out since the server started."
    )]
    Activities {
        #[command(flatten)]
        common: Asking,
    },
    /// Which queue's tasks are handed to workers first
    #[command(
        subcommand,
        before_help = "Examples:\n  ark workflow queue set urgent 10\n  ark workflow queue list"
    )]
    Queue(queue::Queue),
    /// Let a failed execution go on from where it failed
    #[command(before_help = "Examples:\n  ark workflow redrive resize:8f2c --follow")]
    Redrive {
        /// NAME:EXECUTION, an ARN, or the execution's name
        id: String,
        /// Show states as they pass, until the end
        #[arg(short, long)]
        follow: bool,
        #[command(flatten)]
        common: Asking,
    },
}

impl Action {
    fn common(&self) -> &Asking {
        match self {
            Self::Define { common, .. }
            | Self::List { common }
            | Self::Activities { common }
            | Self::Show { common, .. }
            | Self::Versions { common, .. }
            | Self::Validate { common, .. }
            | Self::Start { common, .. }
            | Self::Search { common, .. }
            | Self::Status { common, .. }
            | Self::History { common, .. }
            | Self::Stop { common, .. }
            | Self::Resolve { common, .. }
            | Self::Redrive { common, .. } => common,
            Self::Schedule(schedule) => schedule.common(),
            Self::Queue(queue) => queue.common(),
        }
    }
}

pub(crate) fn shown(args: &Args) -> Shown {
    args.action.common().shown
}

pub(crate) fn run(args: Args) -> Ended {
    let common = args.action.common();
    let context = Context::new(common)?;
    block_on(act(&context, args.action))
}

async fn act(context: &Context, action: Action) -> Ended {
    match action {
        Action::Define { name, file, express, as_written, .. } => {
            let source = Source::read(&file)?;
            definition::define(context, &name, &source, machine_type(express), as_written).await
        }
        Action::List { .. } => list(context).await,
        Action::Show { workflow, .. } => show(context, &workflow).await,
        Action::Versions { name, .. } => versions(context, &name).await,
        Action::Validate { file, express, .. } => {
            definition::validate(context, &Source::read(&file)?, machine_type(express)).await
        }
        Action::Start { workflow, input, name, follow, .. } => {
            start(context, &workflow, read_input(&input)?, name, follow).await
        }
        Action::Search { workflow, map_run, status, unresolved, name, error, limit, .. } => {
            let how = search::How { status, unresolved, name, error, limit };
            let whose = match map_run {
                Some(arn) => search::Whose::MapRun(arn),
                None => search::Whose::Workflow(workflow.unwrap_or_default()),
            };
            search::run(context, whose, how).await
        }
        Action::Status { id, .. } => status(context, &id).await,
        Action::History { id, .. } => history(context, &id).await,
        Action::Stop { id, reason, .. } => stop(context, &id, reason).await,
        Action::Schedule(schedule) => schedule::run(context, schedule).await,
        Action::Activities { .. } => activities::run(context).await,
        Action::Queue(queue) => queue::run(context, queue).await,
        Action::Resolve { id, .. } => resolve(context, &id).await,
        Action::Redrive { id, follow, .. } => redrive(context, &id, follow).await,
    }
}

fn machine_type(express: bool) -> &'static str {
    if express { "EXPRESS" } else { "STANDARD" }
}

/// An input as it was typed, or standard input. JSON only: the command line is wrong otherwise. Its
/// text is kept: numbers may be larger than any that this program could hold.
pub(crate) fn read_input(text: &str) -> Result<String, Failure> {
    let mut typed = text.to_owned();
    if text == "-" {
        typed.clear();
        std::io::stdin()
            .read_to_string(&mut typed)
            .map_err(|error| Failure::usage(format!("standard input cannot be read: {error}")))?;
    }
    judge_json(&typed).map_err(|why| Failure::usage(format!("the input is no JSON: {why}")))?;
    Ok(typed.trim().to_owned())
}

/// Every item of a list, page by page.
pub(crate) async fn pages(
    client: &Client,
    operation: &str,
    mut input: Value,
    member: &str,
) -> Result<Vec<Value>, Failure> {
    let mut items = Vec::new();
    for _ in 0..PAGES_MAX {
        let mut page = client.states(operation, &input).await?;
        if let Some(found) = page[member].as_array_mut() {
            items.append(found);
        }
        match page.get("nextToken") {
            Some(token) => input["nextToken"] = token.clone(),
            None => break,
        }
    }
    Ok(items)
}

/// Whether an execution has ended.
pub(crate) fn is_over(execution: &Value) -> bool {
    !matches!(execution["status"].as_str(), Some("RUNNING" | "PENDING_REDRIVE"))
}

/// An instant of the wire: seconds since 1970.
pub(crate) fn instant(value: &Value) -> Timestamp {
    #[allow(clippy::cast_possible_truncation, reason = "milliseconds of this age of the world")]
    let ms = (value.as_f64().unwrap_or_default() * 1_000.0).round() as i64;
    Timestamp::from_millisecond(ms).unwrap_or_default()
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().to_owned()
}

async fn list(context: &Context) -> Ended {
    let machines = pages(&context.client, "ListStateMachines", json!({}), "stateMachines").await?;
    context.out.list(&machines, |machines| {
        let mut table = Table::new(["workflow", "type", "made"]);
        for machine in machines {
            let made = ago(instant(&machine["creationDate"]), Timestamp::now(), context.out.style);
            table.row([text(machine, "name"), text(machine, "type").to_lowercase(), made]);
        }
        table.render(context.out.style)
    })?;
    Ok(Exit::DONE)
}

async fn show(context: &Context, workflow: &str) -> Ended {
    let input = json!({ "stateMachineArn": machine_arn(workflow) });
    let machine = context.client.states("DescribeStateMachine", &input).await?;
    context.out.one(&machine, |machine| text(machine, "definition"))?;
    Ok(Exit::DONE)
}

async fn versions(context: &Context, name: &str) -> Ended {
    let input = json!({ "stateMachineArn": machine_arn(name) });
    // The list of a workflow that is not there is empty; that is no answer for a person.
    context.client.states("DescribeStateMachine", &input).await?;
    let versions =
        pages(&context.client, "ListStateMachineVersions", input, "stateMachineVersions").await?;
    context.out.list(&versions, |versions| {
        let mut table = Table::new(["version", "made"]);
        for version in versions {
            let arn = text(version, "stateMachineVersionArn");
            let made = ago(instant(&version["creationDate"]), Timestamp::now(), context.out.style);
            table.row([arn.rsplit(':').next().unwrap_or_default().to_owned(), made]);
        }
        table.render(context.out.style)
    })?;
    Ok(Exit::DONE)
}

/// Starts an execution and says its id; follows it when that is wished.
pub(crate) async fn start(
    context: &Context,
    workflow: &str,
    input: String,
    name: Option<String>,
    follow: bool,
) -> Ended {
    // One name for all tries: a start whose answer was lost is the same start.
    let name = name.unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
    let start = json!({
        "stateMachineArn": machine_arn(workflow), "name": name, "input": input
    });
    let started = context.client.states("StartExecution", &start).await?;
    let arn = text(&started, "executionArn");
    let id = execution_id(&arn);
    if follow {
        context.out.say(&id);
        return follow::follow(context, &arn).await;
    }
    let shown = json!({ "id": id, "execution_arn": arn, "start_date": started["startDate"] });
    context.out.one(&shown, |_| id.clone())?;
    context.out.say(format!("follow it: ark workflows --workflow-id {id} --follow"));
    Ok(Exit::DONE)
}

async fn resolve(context: &Context, id: &str) -> Ended {
    let arn = execution_arn(&context.client, id).await?;
    let id = execution_id(&arn);
    // The server names it as it was asked, by its ARN.
    context.client.resolve_workflow(&arn).await.map_err(|failure| {
        let headline = failure.headline.replace(&arn, &id);
        Failure { headline, ..failure }
    })?;
    context.out.say(format!("{id} is resolved"));
    Ok(Exit::DONE)
}

async fn history(context: &Context, id: &str) -> Ended {
    let arn = execution_arn(&context.client, id).await?;
    let input = json!({ "executionArn": arn, "maxResults": 500 });
    let mut events = pages(&context.client, "GetExecutionHistory", input, "events").await?;
    for event in &mut events {
        follow::add_log(&context.client, &arn, event).await?;
    }
    context.out.list(&events, |events| {
        let mut table = Table::new(["event", "after", "at", "type", "what"]);
        for event in events {
            let member =
                |name: &str| follow::details(event)?.get(name)?.as_str().map(str::to_owned);
            let what = [member("name"), member("error"), member("cause")];
            let what: Vec<String> = what.into_iter().flatten().collect();
            table.row([
                event["id"].to_string(),
                event["previousEventId"].to_string(),
                exact(instant(&event["timestamp"])),
                text(event, "type"),
                what.join(": ").replace('\n', " "),
            ]);
        }
        let mut out = table.render(context.out.style);
        for event in events.iter().filter(|event| event.get("workerLog").is_some()) {
            out.push_str(&format!("\nlast lines of the worker's log at event {}:", event["id"]));
            for line in text(event, "workerLog").lines() {
                out.push_str(&format!("\n  {line}"));
            }
        }
        out
    })?;
    Ok(Exit::DONE)
}

async fn stop(context: &Context, id: &str, reason: Option<String>) -> Ended {
    let arn = execution_arn(&context.client, id).await?;
    let mut input = json!({ "executionArn": arn });
    if let Some(reason) = reason {
        input["cause"] = reason.into();
    }
    let describe = json!({ "executionArn": arn });
    let before = context.client.states("DescribeExecution", &describe).await?;
    context.client.states("StopExecution", &input).await?;
    let execution = status::described(&context.client, &arn).await?;
    // Stopping what is over changes nothing and is no failure.
    if is_over(&before) || execution["status"] != "ABORTED" {
        context.out.say(format!("{} was over already", execution_id(&arn)));
    }
    status::show(context, &execution)
}

async fn redrive(context: &Context, id: &str, follow: bool) -> Ended {
    let arn = execution_arn(&context.client, id).await?;
    let token = uuid::Uuid::new_v4().to_string();
    let input = json!({ "executionArn": arn, "clientToken": token });
    context.client.states("RedriveExecution", &input).await?;
    if follow { follow::follow(context, &arn).await } else { status(context, &arn).await }
}
