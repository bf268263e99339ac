//! `ark run`: runs an app of type job (or a command with any app's release) to its end.

use std::time::Duration;

use ark_model::api::{LogLine, OutputStream, RunRequest, RunStopRequest, RunView};
use ark_model::definition::DurationText;
use ark_model::exit::ExitCode;
use ark_model::run::{RETRIES_MAX, TIMEOUT_MAX};
use ark_model::{AppName, EnvName};

use crate::cli::block_on;
use crate::client::follow::Follow;
use crate::client::runs::log_path;
use crate::context::{Asking, Context, EnvArg, app};
use crate::failure::{Ended, Exit, Failure};
use crate::output::{Shown, lines};

/// How long the server may be away while a run is followed.
const PATIENCE: Duration = Duration::from_secs(600);

/// What `run` takes.
#[derive(Debug, clap::Args)]
#[command(
    before_help = "Examples:\n  ark run import -e production -- --since yesterday\n  ark run import -e production --detach --retries 3 --timeout 2h\n  ark run web -e production -- ./manage check",
    after_help = "For an app of type job or cron the arguments follow its command; for any other they are the\ncommand. Its exit code is this command's; 124 when it took too long, 125 when it never ran. ^C\nstops it; a second ^C leaves it to its end."
)]
pub(crate) struct Args {
    /// App [default: the one of this folder]
    app: Option<AppName>,
    /// Arguments, or the command
    #[arg(last = true, value_name = "ARGS")]
    args: Vec<String>,
    #[command(flatten)]
    env: EnvArg,
    /// Leave it to itself; `ark runs` shows it
    #[arg(short, long)]
    detach: bool,
    /// Try again so often after a failure [default: the launch file's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=i64::from(RETRIES_MAX)))]
    retries: Option<u32>,
    /// End an attempt that takes longer [default: the launch file's, else 1d]
    #[arg(long, value_name = "TIME", value_parser = timeout)]
    timeout: Option<Duration>,
    #[command(flatten)]
    asking: Asking,
}

pub(crate) fn shown(args: &Args) -> Shown {
    args.asking.shown
}

fn timeout(text: &str) -> Result<Duration, String> {
    let time = text.parse::<DurationText>().map_err(|error| error.to_string())?.get();
    if (Duration::from_secs(1)..=TIMEOUT_MAX).contains(&time) {
        return Ok(time);
    }
    Err("an attempt may take 1s to 30d".to_owned())
}

pub(crate) fn run(args: Args) -> Ended {
    let context = Context::new(&args.asking)?;
    let (env, app) = (args.env.get()?, app(args.app)?);
    let request = RunRequest {
        args: args.args,
        retries: args.retries,
        timeout_seconds: args.timeout.map(|timeout| timeout.as_secs()),
    };
    block_on(async {
        let run = context.client.start_run(&env, &app, &request).await?;
        if args.detach {
            context.out.one(&run, |run| {
                format!(
                    "run {} of {app} on {env}  (ark runs {app} {} -e {env})",
                    run.number, run.number
                )
            })?;
            return Ok(Exit::DONE);
        }
        attached(&context, &env, &app, run.number).await
    })
}

/// Shows what a run writes until it is over; ^C ends it.
pub(crate) async fn attached(
    context: &Context,
    env: &EnvName,
    app: &AppName,
    number: u64,
) -> Ended {
    let mut asked = false;
    let mut shown = std::pin::pin!(show(context, env, app, number));
    loop {
        tokio::select! {
            ended = &mut shown => {
                let run = ended?;
                context.out.say(format!("run {number}: {}", words(&run)));
                let code = run.exit_code.unwrap_or(i32::from(ExitCode::Failed.number()));
                return Ok(Exit(u8::try_from(code).unwrap_or(u8::MAX)));
            }
            _ = tokio::signal::ctrl_c() => {
                if asked {
                    return Ok(ExitCode::Detached.into());
                }
                asked = true;
                context.out.say(format!("run {number} is stopped; ^C again leaves it to its end"));
                let reason = RunStopRequest { reason: Some("^C".to_owned()) };
                context.client.stop_run(env, app, number, &reason).await?;
            }
        }
    }
}

/// Writes the lines of a run as it writes them; answers the run once it is over.
pub(crate) async fn show(
    context: &Context,
    env: &EnvName,
    app: &AppName,
    number: u64,
) -> Result<RunView, Failure> {
    let path = log_path(env, app, number);
    let mut follow = Follow::new(&context.client, path, Vec::new(), PATIENCE);
    loop {
        let message = follow.next().await?;
        match message.event.as_str() {
            "line" => write(context, &parse::<LogLine>(&message.data)?)?,
            "ended" => {
                let run: RunView = parse(&message.data)?;
                if context.out.json {
                    context.out.value(&run)?;
                }
                return Ok(run);
            }
            "held" => {
                let run: RunView = parse(&message.data)?;
                let why = held(&run).unwrap_or("the engine holds it");
                context.out.say(format!("run {number} is not started yet: {why}"));
            }
            _ => {}
        }
    }
}

fn parse<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, Failure> {
    serde_json::from_str(text).map_err(|error| {
        let words = format!("what the server says of a run cannot be read: {error}");
        Failure::new(ExitCode::Failed, "unexpected-answer", words)
    })
}

/// What the run wrote goes where it wrote it, so that `ark run` stands in a pipe as the program would.
fn write(context: &Context, line: &LogLine) -> Result<(), Failure> {
    let out = &context.out;
    if out.json {
        return out.value(line);
    }
    let text = if out.terminal { lines::cut(&line.text, usize::MAX) } else { line.text.clone() };
    match line.stream {
        OutputStream::Stdout => out.line(text),
        OutputStream::Stderr => out.warn(text),
        OutputStream::Ark => out.warn(format!("ark: {text}")),
    }
    Ok(())
}

/// How a run stands, in a few words.
pub(crate) fn words(run: &RunView) -> String {
    use ark_model::run::RunState;
    match (&run.outcome, run.state) {
        (Some(outcome), _) => outcome.words(),
        (None, RunState::Waiting) if run.attempts.is_empty() => "waits".to_owned(),
        (None, RunState::Waiting) => format!("waits for attempt {}", run.attempts.len() + 1),
        (None, RunState::Starting) if held(run).is_some() => "not started yet".to_owned(),
        (None, RunState::Starting) => "starts".to_owned(),
        (None, RunState::Running) => "runs".to_owned(),
        (None, RunState::Stopping) => "is being ended".to_owned(),
        (None, RunState::Ended) => "ended".to_owned(),
    }
}

/// Why the engine has not started it yet, when it should have.
pub(crate) fn held(run: &RunView) -> Option<&str> {
    run.attempts.last().filter(|attempt| attempt.end.is_none())?.held.as_deref()
}
