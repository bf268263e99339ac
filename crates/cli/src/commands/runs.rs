//! `ark runs`: the runs of an app, one of them with what it wrote, and the end of one.

use ark_model::AppName;
use ark_model::api::{PAGE_ITEMS_MAX, RunStopRequest, RunView};
use ark_model::run::{AttemptEnd, RunCause};
use jiff::Timestamp;

use super::run::{attached, held, show, words};
use crate::cli::block_on;
use crate::context::{Asking, Context, EnvArg};
use crate::failure::{Ended, Exit, Failure};
use crate::output::table::{Table, or_dash};
use crate::output::times::{ago, between_ms, length};
use crate::output::{Shown, Style};

/// What `runs` takes.
#[derive(Debug, clap::Args)]
#[command(
    before_help = "Examples:\n  ark runs nightly -e production\n  ark runs nightly 17 -e production --logs\n  ark runs nightly 17 -e production --stop",
    after_help = "The newest 100 runs of an app are kept; what they wrote is kept for a day."
)]
pub(crate) struct Args {
    /// App
    app: AppName,
    /// Number of a run [default: list them]
    run: Option<u64>,
    #[command(flatten)]
    env: EnvArg,
    /// Print what the run wrote
    #[arg(short, long, requires = "run")]
    logs: bool,
    /// Follow a run that goes on to its end; ^C stops it
    #[arg(short, long, requires = "run", conflicts_with = "logs")]
    attach: bool,
    /// End the run; it is not tried again
    #[arg(long, requires = "run", conflicts_with_all = ["logs", "attach"])]
    stop: bool,
    /// At most so many
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=i64::from(PAGE_ITEMS_MAX)))]
    limit: u32,
    #[command(flatten)]
    asking: Asking,
}

pub(crate) fn shown(args: &Args) -> Shown {
    args.asking.shown
}

pub(crate) fn run(args: Args) -> Ended {
    let context = Context::new(&args.asking)?;
    let (env, app) = (args.env.get()?, args.app);
    block_on(async {
        let Some(number) = args.run else {
            let runs = context.client.runs(&env, &app, args.limit).await?;
            list(&context, &runs)?;
            return Ok(Exit::DONE);
        };
        if args.stop {
            let run =
                context.client.stop_run(&env, &app, number, &RunStopRequest::default()).await?;
            context.out.one(&run, |run| format!("run {number}: {}", words(run)))?;
        } else if args.attach {
            return attached(&context, &env, &app, number).await;
        } else if args.logs {
            let run = show(&context, &env, &app, number).await?;
            context.out.say(format!("run {number}: {}", words(&run)));
        } else {
            let run = context.client.run(&env, &app, number).await?;
            let style = context.out.style;
            context.out.one(&run, |run| detail(run, Timestamp::now(), style))?;
        }
        Ok(Exit::DONE)
    })
}

/// Prints a list of runs.
pub(crate) fn list(context: &Context, runs: &[RunView]) -> Result<(), Failure> {
    let style = context.out.style;
    context.out.list(runs, |runs| render(runs, Timestamp::now(), style))
}

fn render(runs: &[RunView], now: Timestamp, style: Style) -> String {
    let mut table = Table::new(["run", "release", "age", "took", "tries", "why", "state", "exit"]);
    for run in runs {
        table.row([
            run.number.to_string(),
            run.release.to_string(),
            ago(run.created_at, now, style),
            took(run, now),
            run.attempts.len().to_string(),
            cause(&run.cause),
            words(run),
            or_dash(run.exit_code.filter(|_| !run.attempts.is_empty())),
        ]);
    }
    let mut text = table.render(style);
    for run in runs {
        if let Some(why) = held(run) {
            text.push_str(&format!("\nrun {} is not started yet: {why}", run.number));
        }
    }
    text
}

/// From the first start to the end of the last process, or to now.
fn took(run: &RunView, now: Timestamp) -> String {
    let started = run.attempts.iter().find_map(|attempt| attempt.started_at);
    let ended = match run.attempts.last().and_then(|attempt| attempt.end.as_ref()) {
        Some(AttemptEnd::Exited { exit }) if run.ended_at.is_some() => Some(exit.at),
        Some(_) | None => run.ended_at,
    };
    or_dash(started.map(|at| length(between_ms(at, ended.unwrap_or(now)))))
}

fn cause(cause: &RunCause) -> String {
    match cause {
        RunCause::Schedule { caught_up: false, .. } => "schedule".to_owned(),
        RunCause::Schedule { caught_up: true, .. } => "schedule, late".to_owned(),
        RunCause::Asked { by } => by.clone(),
    }
}

fn detail(run: &RunView, now: Timestamp, style: Style) -> String {
    let mut text = render(std::slice::from_ref(run), now, style);
    if let RunCause::Schedule { at, .. } = &run.cause {
        text.push_str(&format!("\n\nfired for  {at}"));
    }
    if !run.args.is_empty() {
        text.push_str(&format!("\n\narguments  {}", run.args.join(" ")));
    }
    let mut table = Table::new(["try", "instance", "age", "end"]);
    for (index, attempt) in run.attempts.iter().enumerate() {
        table.row([
            (index + 1).to_string(),
            attempt.instance.clone(),
            ago(attempt.created_at, now, style),
            or_dash(attempt.end.as_ref().map(AttemptEnd::words)),
        ]);
    }
    if !run.attempts.is_empty() {
        text.push_str(&format!("\n\n{}", table.render(style)));
    }
    text
}
