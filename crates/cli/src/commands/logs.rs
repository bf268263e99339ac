//! `ark logs`: what the instances of an app wrote.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use ark_model::api::{LOG_LINES_MAX, LogLine, LogsMissed, LogsQuery, OutputStream};
use ark_model::definition::{DurationText, RunKind};
use ark_model::exit::ExitCode;
use ark_model::{AppName, EnvName};
use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use tokio::time::timeout;

use crate::cli::block_on;
use crate::client::Client;
use crate::client::follow::Follow;
use crate::context::{Asking, Context, EnvArg, app};
use crate::failure::{Ended, Exit, Failure};
use crate::output::{Output, Shown, Style, times};

/// How long the server may be away while logs are followed.
const PATIENCE: Duration = Duration::from_secs(600);
/// How long the server may be silent within an answer.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// Lines that are known to be printed: twice as many as come again at most.
const PRINTED_MAX: usize = 2 * LOG_LINES_MAX as usize;
/// The longest line that is kept; the engine cuts lines long before.
const LINE_BYTES_MAX: usize = 4 << 20;

/// What `logs` takes.
#[derive(Debug, clap::Args)]
#[command(
    before_help = "Examples:\n  ark logs web -e production\n  ark logs web -e production -f\n  ark logs web -e production --instance web-7f3a9c --since 10m"
)]
pub(crate) struct Args {
    /// App [default: the one of this folder]
    app: Option<AppName>,
    #[command(flatten)]
    env: EnvArg,
    /// Go on with new lines
    #[arg(short, long)]
    follow: bool,
    /// The last so many lines [default: 100, or all with --since]
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=i64::from(LOG_LINES_MAX)))]
    tail: Option<u32>,
    /// Only lines after an instant, or of so long ago (10m)
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Timestamp>,
    /// Only lines up to an instant, or to so long ago
    #[arg(long, value_name = "TIME", value_parser = since, conflicts_with = "follow")]
    until: Option<Timestamp>,
    /// Only of this instance; ended ones have logs, too (`ark ps --all`)
    #[arg(long, value_name = "ID")]
    instance: Option<String>,
    #[command(flatten)]
    asking: Asking,
}

pub(crate) fn shown(args: &Args) -> Shown {
    args.asking.shown
}

fn since(text: &str) -> Result<Timestamp, String> {
    if let Ok(at) = text.parse() {
        return Ok(at);
    }
    let length: DurationText =
        text.parse().map_err(|_| "write 10m, 2h, or 2026-05-01T12:00:00Z".to_owned())?;
    let length = SignedDuration::try_from(length.get()).map_err(|error| error.to_string())?;
    Timestamp::now().checked_sub(length).map_err(|error| error.to_string())
}

pub(crate) fn run(args: Args) -> Ended {
    let context = Context::new(&args.asking)?;
    let (env, app) = (args.env.get()?, app(args.app)?);
    let path = format!("/v1/environments/{env}/apps/{app}/logs");
    let tail = args.tail.or(args.since.map(|_| LOG_LINES_MAX));
    let query = LogsQuery {
        instance: args.instance,
        tail,
        since: args.since,
        until: args.until,
        follow: args.follow,
    };
    block_on(async {
        if args.follow {
            of_runs(&context, &env, &app).await;
            tokio::select! {
                ended = follow(&context, path, &query) => ended,
                _ = tokio::signal::ctrl_c() => Ok(ExitCode::Detached.into()),
            }
        } else {
            let mut lines = 0_u64;
            let found = |line| {
                lines += 1;
                print(&context.out, &line)
            };
            read(&context, &path, &query, found).await?;
            if lines == 0 {
                of_runs(&context, &env, &app).await;
            }
            Ok(Exit::DONE)
        }
    })
}

/// Says where the log of an app is that has only runs. An app that cannot be looked at is no reason to
/// fail: the log says what is wrong with it.
async fn of_runs(context: &Context, env: &EnvName, app: &AppName) {
    let detail = timeout(SILENCE_MAX, context.client.app(env, app)).await;
    let kind = detail.ok().and_then(Result::ok).and_then(|detail| detail.row.kind);
    let kind = match kind {
        Some(RunKind::Cron) => "cron",
        Some(RunKind::Job) => "job",
        Some(RunKind::Service | RunKind::Worker | RunKind::Daemon | RunKind::Lambda) | None => {
            return;
        }
    };
    context.out.warn(format!(
        "{app} is of type {kind}: each run has a log of its own; list them with `ark runs {app} -e {env}`, \
         read one with `ark runs {app} N -e {env} --logs`"
    ));
}

/// Reads an answer that does not follow, line by line: ten thousand lines are not held at once.
async fn read(
    context: &Context,
    path: &str,
    query: &LogsQuery,
    mut found: impl FnMut(LogLine) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let client: &Client = &context.client;
    let sending = client.send(|| client.request(Method::GET, path).query(query));
    let mut response = timeout(SILENCE_MAX, sending).await.map_err(|_| silent(client))??;
    let mut rest = Vec::new();
    loop {
        let chunk = timeout(SILENCE_MAX, response.chunk()).await.map_err(|_| silent(client))?;
        let chunk = chunk.map_err(|error| client.unreachable(&error))?;
        let ended = chunk.is_none();
        rest.extend_from_slice(&chunk.unwrap_or_default());
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            found(parse(&line)?)?;
        }
        if ended || rest.len() > LINE_BYTES_MAX {
            return Ok(());
        }
    }
}

async fn follow(context: &Context, path: String, query: &LogsQuery) -> Ended {
    let mut pairs = vec![("follow".to_owned(), "true".to_owned())];
    let mut pair = |name: &str, value: Option<String>| {
        pairs.extend(value.map(|value| (name.to_owned(), value)));
    };
    pair("instance", query.instance.clone());
    pair("tail", query.tail.map(|tail| tail.to_string()));
    pair("since", query.since.map(|since| since.to_string()));
    let mut follow = Follow::new(&context.client, path, pairs, PATIENCE);
    let mut printed = Printed::default();
    loop {
        let message = follow.next().await?;
        match message.event.as_str() {
            "line" => {
                let line = parse(message.data.as_bytes())?;
                if printed.is_new(&line, follow.resumed()) {
                    print(&context.out, &line)?;
                }
            }
            "missed" => context.out.warn(missed(&message.data, context.out.style)),
            _ => {}
        }
    }
}

/// That lines may be lacking, and where the whole of them is still to be had.
fn missed(data: &str, style: Style) -> String {
    let Ok(LogsMissed { after, oldest }) = serde_json::from_str(data) else {
        return "lines may be left out here".to_owned();
    };
    let until = oldest.map(|oldest| format!(" and {}", times::clock(oldest, style)));
    let between = match until {
        Some(until) => format!("between {}{until}", times::clock(after, style)),
        None => format!("after {}", times::clock(after, style)),
    };
    format!(
        "lines may be left out here, {between}: more came than are sent again, or they are no longer kept"
    )
}

/// What was printed of a log that is followed. A stream that is taken up again begins with lines that
/// were printed, and with older ones that the first one left out.
#[derive(Debug, Default)]
struct Printed {
    /// The time of the first line.
    first: Option<Timestamp>,
    /// The last lines, as numbers that stand for them.
    lately: VecDeque<u64>,
    /// How often the stream was taken up again, and how often each line may come again since then.
    resumed: u64,
    again: HashMap<u64, usize>,
}

impl Printed {
    /// Whether a line is to be printed; it counts as printed from then on.
    fn is_new(&mut self, line: &LogLine, resumed: u64) -> bool {
        if resumed != self.resumed {
            self.resumed = resumed;
            self.again.clear();
            for known in &self.lately {
                *self.again.entry(*known).or_default() += 1;
            }
        }
        let first = *self.first.get_or_insert(line.at);
        if resumed > 0 && line.at < first {
            return false;
        }
        let mut hasher = DefaultHasher::new();
        (line.at, &line.instance, line.stream as u8, &line.text).hash(&mut hasher);
        let line = hasher.finish();
        if let Some(times) = self.again.get_mut(&line).filter(|times| **times > 0) {
            *times -= 1;
            return false;
        }
        self.lately.push_back(line);
        if self.lately.len() > PRINTED_MAX {
            self.lately.pop_front();
        }
        true
    }
}

fn parse(line: &[u8]) -> Result<LogLine, Failure> {
    serde_json::from_slice(line).map_err(|error| {
        Failure::new(
            ExitCode::Failed,
            "unexpected-answer",
            format!("a log line cannot be read: {error}"),
        )
    })
}

fn silent(client: &Client) -> Failure {
    let base = client.base();
    Failure::new(
        ExitCode::TimedOut,
        "server-timeout",
        format!("the server at {base} did not answer in time"),
    )
}

fn print(out: &Output, line: &LogLine) -> Result<(), Failure> {
    out.one(line, |line| {
        let style = out.style;
        let head = format!("{} {}", times::clock(line.at, style), line.instance);
        let mark = match line.stream {
            OutputStream::Stdout => "",
            OutputStream::Stderr => "! ",
            OutputStream::Ark => "ark: ",
        };
        // On a terminal what an app wrote must not move the cursor; in a pipe it stays as it is.
        let text = if out.terminal {
            crate::output::lines::cut(&line.text, usize::MAX)
        } else {
            line.text.clone()
        };
        format!("{}  {mark}{text}", style.dim(&head))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_is_taken_up_again_repeats_nothing() {
        let line = |second: i64, instance: &str, text: &str| LogLine {
            at: Timestamp::from_second(second).unwrap(),
            instance: instance.to_owned(),
            stream: OutputStream::Stdout,
            text: text.to_owned(),
        };
        let mut printed = Printed::default();
        // Two lines of one instant are two, and instances are not read at one pace.
        let lines = [line(5, "a", "x"), line(7, "a", "x"), line(7, "a", "x"), line(6, "b", "x")];
        for line in &lines {
            assert!(printed.is_new(line, 0), "{line:?}");
        }
        for (line, new) in [
            // Older than what was asked for in the beginning.
            (line(4, "a", "x"), false),
            (line(5, "a", "x"), false),
            (line(6, "b", "x"), false),
            (line(6, "b", "late"), true),
            (line(7, "a", "x"), false),
            (line(7, "a", "x"), false),
            (line(7, "a", "x"), true),
            (line(8, "a", "x"), true),
        ] {
            assert_eq!(printed.is_new(&line, 1), new, "{line:?}");
        }
        assert!(!printed.is_new(&line(6, "b", "late"), 2));
        assert!(!printed.is_new(&line(8, "a", "x"), 2));
        for number in 0..30_000 {
            assert!(printed.is_new(&line(9 + number, "a", "x"), 2));
        }
        assert_eq!(printed.lately.len(), PRINTED_MAX);
    }

    #[test]
    fn lines_that_may_be_lacking_are_spoken_of() {
        let style = Style::plain(80);
        let text = missed(r#"{"after":"2026-05-01T12:00:00Z"}"#, style);
        assert!(text.contains("after"), "{text}");
        let data = r#"{"after":"2026-05-01T12:00:00Z","oldest":"2026-05-01T12:00:09Z"}"#;
        let text = missed(data, style);
        assert!(text.contains("between"), "{text}");
        assert!(missed("{}", style).starts_with("lines may be left out"));
    }

    #[test]
    fn since_is_an_instant_or_a_length() {
        assert_eq!(since("2026-05-01T12:00:00Z"), Ok("2026-05-01T12:00:00Z".parse().unwrap()));
        let before = since("10m").unwrap();
        let ago = Timestamp::now().duration_since(before);
        assert!(ago >= SignedDuration::from_mins(10) && ago < SignedDuration::from_mins(11));
        assert!(since("yesterday").is_err());
    }
}
