//! `ark worker`: works on the tasks of an activity, one run of a command for each.
//!
//! What a command is given and what its end means is a contract that older workers share
//! ([`verdict`]); [`task`] runs one command; this file polls and reports.

mod handed;
mod ring;
mod tail;
mod task;
mod verdict;

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ark_model::exit::ExitCode;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::cli::block_on;
use crate::client::{Client, Connection, is_passing};
use crate::context::Context;
use crate::failure::{Ended, Exit, Failure};
use crate::output::numbers::counted;
use crate::output::{Output, Shown};

use handed::Handed;
use tail::Secrets;
use task::{GRACE_STOPPING, Outcome, Told, is_lost, perform};
use verdict::{Verdict, expand};

/// Between two polls of which the first brought nothing.
const POLL_EVERY: Duration = Duration::from_secs(1);
/// How long a result is sent again while the server is away.
const REPORT_DEADLINE: Duration = Duration::from_secs(600);
/// The same when this process is told to end: its own end is near.
const REPORT_DEADLINE_STOPPING: Duration = Duration::from_secs(4);
/// The pause in between.
const REPORT_PAUSE: Duration = Duration::from_millis(500);
/// How long the server may be away when the worker starts.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// Signals that commands may miss when too many come at once.
const SIGNALS_AHEAD: usize = 64;
/// The most commands at once.
const PARALLEL_MAX: i64 = 1_000;

/// Tags of the activity and the variables they are read from.
const TAGS: [(&str, &str); 7] = [
    ("environment", "_DEPLOY_ENV"),
    ("application", "_APP_NAME"),
    ("pod", "_POD_ID"),
    ("pod-shortname", "_POD_SHORTNAME"),
    ("pod-region", "_POD_REGION"),
    ("pod-account", "_POD_ACCOUNT"),
    ("team", "_TEAM_OWNER"),
];

/// What `worker` takes.
#[derive(Debug, clap::Args)]
#[command(
    before_help = "Examples:\n  ark worker --activity resize -- ./resize\n  ark worker --activity '${_DEPLOY_ENV}--resize' --parallel 4 -- ./resize --fast",
    after_help = "Each task runs the command once, its input (JSON) as last argument. The last line of standard output\nis the task's output, a JSON object. SIGTERM ends the worker: commands have 25 seconds, and the\ntasks of those that do not finish fail with sfncli.CommandTerminated. ^C does the same; ^C again ends\nthe commands at once."
)]
pub(crate) struct Args {
    /// Activity; made when it is not there. $NAME and ${NAME} are replaced by variables
    #[arg(long, value_name = "NAME")]
    activity: String,
    /// Commands at once
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=PARALLEL_MAX))]
    parallel: u32,
    /// Name of this worker in histories [default: the instance's, else the machine's]
    #[arg(long, value_name = "NAME")]
    worker_name: Option<String>,
    /// Each task gets a fresh directory in this one, removed afterwards; it is made when it is not there
    #[arg(long, value_name = "DIR", env = "WORK_DIR", hide_env_values = true)]
    work_dir: Option<PathBuf>,
    /// The last argument is the path of a file with the input, not the input: one argument holds 128 KiB at most
    #[arg(long)]
    input_file: bool,
    /// Program and arguments
    #[arg(required = true, last = true, value_name = "COMMAND")]
    command: Vec<String>,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) fn shown(_: &Args) -> Shown {
    Shown::default()
}

/// What every slot of a worker works with.
pub(super) struct Worker {
    client: Client,
    out: Output,
    activity_arn: String,
    name: String,
    program: String,
    arguments: Vec<String>,
    work_dir: Option<PathBuf>,
    input_file: bool,
    /// Commands that run.
    running: Running,
    /// What is left out of the lines that are sent with a failure.
    secrets: Secrets,
}

impl Worker {
    fn warn(&self, text: &str) {
        self.out.event(jiff::Timestamp::now(), text);
    }
}

/// How many commands run.
#[derive(Debug, Clone, Default)]
struct Running(Arc<AtomicU64>);

impl Running {
    fn begin(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn end(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// `2 commands`; `None` when there is none.
    fn told(&self) -> Option<String> {
        let running = self.0.load(Ordering::Relaxed);
        (running > 0).then(|| counted(running, "command"))
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

pub(crate) fn run(args: Args) -> Ended {
    let Context { client, out } = Context::quiet(&args.connection)?;
    let mut command = args.command.into_iter();
    let program = expand(&command.next().unwrap_or_default(), variable);
    let activity = expand(&args.activity, variable);
    let name = args.worker_name.map(|name| expand(&name, variable)).filter(|n| !n.is_empty());
    let name = name.or_else(|| variable("_POD_SHORTNAME")).unwrap_or_else(machine);
    let input_file = args.input_file;
    let mut work_dir = args.work_dir.filter(|dir| !dir.as_os_str().is_empty());
    if let Some(dir) = work_dir.as_deref() {
        make_work_dir(dir).map_err(|error| {
            Failure::usage(format!("--work-dir: {} cannot be made: {error}", dir.display()))
        })?;
    } else if input_file {
        work_dir = Some(std::env::temp_dir());
    }
    block_on(async move {
        let (tell, _) = broadcast::channel(SIGNALS_AHEAD);
        let (stop, stopping) = watch::channel(false);
        let running = Running::default();
        forward_signals(out, &tell, &stop, &running)?;
        let activity_arn = make_activity(&client, &activity).await?;
        let arguments = command.collect();
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        let secrets = Secrets::among(variables);
        let worker = Worker {
            client,
            out,
            activity_arn,
            name,
            program,
            arguments,
            work_dir,
            input_file,
            running,
            secrets,
        };
        worker.warn(&format!("{} works on {activity}", worker.name));
        let slots = (0..args.parallel).map(|_| slot(&worker, &tell, &stop, stopping.clone()));
        let ended: Vec<_> = futures::future::join_all(slots).await;
        ended.into_iter().collect::<Result<(), _>>()?;
        Ok(Exit::DONE)
    })
}

/// What tasks leave there is nobody else's to read.
fn make_work_dir(dir: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// The name of the machine, or a fixed word where it has none.
fn machine() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name: String = name.trim().chars().take(80).collect();
    if name.is_empty() { "worker".to_owned() } else { name }
}

/// Makes the activity (one that is there is fine) and tags it.
async fn make_activity(client: &Client, name: &str) -> Result<String, Failure> {
    let deadline = Instant::now() + START_DEADLINE;
    let made = loop {
        match client.states("CreateActivity", &json!({ "name": name })).await {
            Err(failure) if passes(&failure) && Instant::now() < deadline => {
                sleep(REPORT_PAUSE).await;
                client.rediscover();
            }
            answer => break answer?,
        }
    };
    let arn = made["activityArn"].as_str().unwrap_or_default().to_owned();
    let tag = |(key, from): (&str, &str)| Some(json!({ "key": key, "value": variable(from)? }));
    let tags: Vec<Value> = TAGS.into_iter().filter_map(tag).collect();
    if !tags.is_empty() {
        client.states("TagResource", &json!({ "resourceArn": arn, "tags": tags })).await?;
    }
    Ok(arn)
}

/// Whether a failure is the server's state and not the request's fault.
fn passes(failure: &Failure) -> bool {
    is_passing(failure)
        || matches!(
            failure.code.as_str(),
            "ServiceUnavailable"
                | "ThrottlingException"
                | "InternalFailure"
                | "ActivityWorkerLimitExceeded"
        )
}

/// Forwards every signal that can be, and notes the word to end. ^C while that is under way ends the
/// commands at once: who types it again does not want to wait.
fn forward_signals(
    out: Output,
    tell: &broadcast::Sender<Told>,
    stop: &watch::Sender<bool>,
    running: &Running,
) -> Result<(), Failure> {
    let signals = [
        (SignalKind::terminate(), Told::End(Signal::TERM)),
        (SignalKind::interrupt(), Told::End(Signal::INT)),
        (SignalKind::hangup(), Told::Pass(Signal::HUP)),
        (SignalKind::quit(), Told::Pass(Signal::QUIT)),
        (SignalKind::user_defined1(), Told::Pass(Signal::USR1)),
        (SignalKind::user_defined2(), Told::Pass(Signal::USR2)),
        (SignalKind::window_change(), Told::Pass(Signal::WINCH)),
    ];
    for (kind, word) in signals {
        let mut arrivals = signal(kind)
            .map_err(|error| Failure::new(ExitCode::Failed, "signals", error.to_string()))?;
        let (tell, stop, running) = (tell.clone(), stop.clone(), running.clone());
        tokio::spawn(async move {
            while arrivals.recv().await.is_some() {
                let ends = matches!(word, Told::End(_)) && stop.send_replace(true);
                let again = ends && word == Told::End(Signal::INT);
                let word = if again { Told::Kill } else { word };
                if let Some(text) = ending(word, &running).filter(|_| again || !ends) {
                    out.event(jiff::Timestamp::now(), &text);
                }
                // Nobody listens while no command runs.
                let _ = tell.send(word);
            }
        });
    }
    Ok(())
}

/// What is said when the worker is told to end and commands run.
fn ending(word: Told, running: &Running) -> Option<String> {
    let commands = running.told()?;
    match word {
        Told::End(signal) => {
            let again = if signal == Signal::INT { "^C again" } else { "^C" };
            let most = GRACE_STOPPING.as_secs();
            Some(format!("waits up to {most} s for {commands}; {again} ends them at once"))
        }
        Told::Kill => Some(format!("ends {commands} at once")),
        Told::Pass(_) => None,
    }
}

/// One task after the other until the word to end. A slot that is refused for good gives that word:
/// the commands of the others have their grace, and what comes of them is told.
async fn slot(
    worker: &Worker,
    tell: &broadcast::Sender<Told>,
    stop: &watch::Sender<bool>,
    mut stopping: watch::Receiver<bool>,
) -> Result<(), Failure> {
    let input = json!({ "activityArn": worker.activity_arn, "workerName": worker.name });
    loop {
        let next_poll = Instant::now() + POLL_EVERY;
        let polled = tokio::select! {
            // A task that has arrived is taken, so that its failure can be told.
            biased;
            polled = worker.client.states("GetActivityTask", &input) => polled,
            _ = stopping.wait_for(|stopping| *stopping) => return Ok(()),
        };
        match polled {
            Ok(answer) => match Handed::from(&answer) {
                Some(task) => work(worker, &task, tell, &stopping).await,
                None => pause_until(next_poll, &mut stopping).await,
            },
            Err(failure) if passes(&failure) => {
                worker.warn(&format!("no task could be asked for: {}", failure.headline));
                worker.client.rediscover();
                pause_until(next_poll, &mut stopping).await;
            }
            Err(failure) => {
                let end = Told::End(Signal::TERM);
                if !stop.send_replace(true)
                    && let Some(text) = ending(end, &worker.running)
                {
                    worker.warn(&text);
                }
                // Nobody listens while no command runs.
                let _ = tell.send(end);
                return Err(failure);
            }
        }
        if *stopping.borrow() {
            return Ok(());
        }
    }
}

async fn pause_until(at: Instant, stopping: &mut watch::Receiver<bool>) {
    tokio::select! {
        () = sleep_until(at) => {}
        _ = stopping.wait_for(|stopping| *stopping) => {}
    }
}

async fn work(
    worker: &Worker,
    task: &Handed,
    tell: &broadcast::Sender<Told>,
    stopping: &watch::Receiver<bool>,
) {
    // Listening begins before the look, so that no word falls in between.
    let told = tell.subscribe();
    let outcome = match &task.input {
        Err(verdict) => Some(verdict.clone().into()),
        Ok(_) if *stopping.borrow() => Some(Verdict::terminated("").into()),
        Ok(input) => {
            worker.running.begin();
            let outcome = perform(worker, task, input, told).await;
            worker.running.end();
            outcome
        }
    };
    if let Some(outcome) = outcome {
        report(worker, task, &outcome, stopping).await;
    }
}

/// Tells the server, again while it is away.
async fn report(
    worker: &Worker,
    task: &Handed,
    outcome: &Outcome,
    stopping: &watch::Receiver<bool>,
) {
    let token = &task.token;
    let (operation, input) = match &outcome.verdict {
        Verdict::Succeeded { output } => {
            ("SendTaskSuccess", json!({ "taskToken": token, "output": output }))
        }
        Verdict::Failed { error, cause } => {
            worker.warn(&format!("{task} failed: {error}"));
            let log = outcome.log.as_str();
            let failure = json!({ "taskToken": token, "error": error, "cause": cause, "log": log });
            ("SendTaskFailure", failure)
        }
    };
    let begun = Instant::now();
    loop {
        let stops = *stopping.borrow();
        let most = if stops { REPORT_DEADLINE_STOPPING } else { REPORT_DEADLINE };
        let sent = timeout(most, worker.client.states(operation, &input)).await;
        match sent {
            Ok(Ok(_)) => return,
            Ok(Err(failure)) if is_lost(&failure.code) => {
                worker.warn(&format!("the result of {task} came too late: {}", failure.code));
                return;
            }
            Ok(Err(failure)) if passes(&failure) && begun.elapsed() < most => {
                worker.client.rediscover();
                sleep(REPORT_PAUSE).await;
            }
            Ok(Err(failure)) => {
                worker.warn(&format!("the result of {task} was not taken: {}", failure.headline));
                return;
            }
            Err(_) => {
                worker.warn(&format!("the result of {task} could not be sent in time"));
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_says_for_what_it_waits() {
        let running = Running::default();
        let int = Told::End(Signal::INT);
        assert_eq!(ending(int, &running), None);
        running.begin();
        running.begin();
        for (word, expect) in [
            (int, Some("waits up to 25 s for 2 commands; ^C again ends them at once")),
            (
                Told::End(Signal::TERM),
                Some("waits up to 25 s for 2 commands; ^C ends them at once"),
            ),
            (Told::Kill, Some("ends 2 commands at once")),
            (Told::Pass(Signal::HUP), None),
        ] {
            assert_eq!(ending(word, &running).as_deref(), expect);
        }
        running.end();
        running.end();
        assert_eq!(ending(Told::Kill, &running), None);
    }

    #[test]
    fn what_passes_is_waited_for() {
        for (code, expect) in [
            ("ActivityWorkerLimitExceeded", true),
            ("ThrottlingException", true),
            ("ActivityDoesNotExist", false),
            ("UnrecognizedClientException", false),
        ] {
            assert_eq!(passes(&Failure::new(ExitCode::Failed, code, "")), expect, "{code}");
        }
    }
}
