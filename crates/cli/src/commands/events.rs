//! `ark events`: what happened, who did it and why.

use std::time::Duration;

use ark_model::AppName;
use ark_model::api::{EventsMissed, EventsQuery, Page};
use ark_model::event::{Event, EventKind};
use ark_model::exit::ExitCode;

use crate::cli::block_on;
use crate::client::follow::Follow;
use crate::context::{Asking, Context, EnvArg};
use crate::failure::{Ended, Exit, Failure};
use crate::output::lines::cut;
use crate::output::{Output, Shown, times};

/// How long the server may be away while events are followed.
const PATIENCE: Duration = Duration::from_secs(600);
/// Events of one answer.
const PAGE: u32 = 500;

/// What `events` takes.
#[derive(Debug, clap::Args)]
#[command(
    before_help = "Examples:\n  ark events web -e production -f\n  ark events --kind instance_lost\n  ark events --after 1200 --json"
)]
pub(crate) struct Args {
    /// Go on with new events
    #[arg(short, long)]
    follow: bool,
    /// Only of this app
    #[arg(value_name = "APP", conflicts_with = "app")]
    of: Option<AppName>,
    /// The same
    #[arg(long)]
    app: Option<AppName>,
    /// Only of this kind
    #[arg(long, value_parser = kind)]
    kind: Option<EventKind>,
    #[command(flatten)]
    env: EnvArg,
    /// Only after the event with this number
    #[arg(long, value_name = "NUMBER")]
    after: Option<u64>,
    /// The last so many, when not following
    #[arg(long, value_name = "N", default_value_t = 50)]
    tail: usize,
    #[command(flatten)]
    asking: Asking,
}

fn kind(text: &str) -> Result<EventKind, String> {
    serde_json::from_value(text.into()).map_err(|_| {
        let word = |kind| serde_json::to_value(kind).ok()?.as_str().map(str::to_owned);
        let all: Vec<String> = EventKind::ALL.into_iter().filter_map(word).collect();
        format!("one of {}", all.join(", "))
    })
}

pub(crate) fn shown(args: &Args) -> Shown {
    args.asking.shown
}

pub(crate) fn run(args: Args) -> Ended {
    let context = Context::new(&args.asking)?;
    let query = EventsQuery {
        after: args.after,
        env: args.env.optional()?,
        app: args.of.or(args.app),
        kind: args.kind,
        deployment: None,
        limit: None,
        ..EventsQuery::default()
    };
    block_on(async {
        if args.follow {
            tokio::select! {
                ended = follow(&context, &query) => return ended,
                _ = tokio::signal::ctrl_c() => return Ok(ExitCode::Detached.into()),
            }
        }
        for event in list(&context, query, args.tail).await? {
            print(&context.out, &event)?;
        }
        Ok(Exit::DONE)
    })
}

/// The last `tail` events, oldest first: read from the newest on, so that a long past costs nothing.
async fn list(
    context: &Context,
    mut query: EventsQuery,
    tail: usize,
) -> Result<Vec<Event>, Failure> {
    let after = query.after.take().unwrap_or(0);
    let mut events: Vec<Event> = Vec::new();
    query.newest = true;
    while events.len() < tail {
        let missing = u32::try_from(tail - events.len()).unwrap_or(u32::MAX);
        query.limit = Some(missing.min(PAGE));
        let page: Page<Event> = context.client.get("/v1/events", &query).await?;
        events.extend(page.items.into_iter().filter(|event| event.seq > after));
        // A page may be empty and not be the last one.
        let next = page.next.and_then(|next| next.parse::<u64>().ok());
        match next.filter(|next| *next > after + 1) {
            Some(next) => query.before = Some(next),
            None => break,
        }
    }
    events.reverse();
    Ok(events)
}

async fn follow(context: &Context, query: &EventsQuery) -> Ended {
    let mut pairs = Vec::new();
    let mut pair = |name: &str, value: Option<String>| {
        pairs.extend(value.map(|value| (name.to_owned(), value)));
    };
    pair("after", query.after.map(|after| after.to_string()));
    pair("env", query.env.as_ref().map(ToString::to_string));
    pair("app", query.app.as_ref().map(ToString::to_string));
    let kind = serde_json::to_value(query.kind).unwrap_or_default();
    pair("kind", kind.as_str().map(str::to_owned));
    let mut follow = Follow::new(&context.client, "/v1/events/stream".to_owned(), pairs, PATIENCE);
    loop {
        let message = follow.next().await?;
        match message.event.as_str() {
            "event" => {
                let event: Event = serde_json::from_str(&message.data).map_err(|error| {
                    Failure::new(ExitCode::Failed, "unexpected-answer", error.to_string())
                })?;
                print(&context.out, &event)?;
            }
            "missed" => {
                let oldest = serde_json::from_str::<EventsMissed>(&message.data);
                let from =
                    oldest.map_or_else(|_| String::new(), |m| format!(" before {}", m.oldest));
                context.out.warn(format!("events{from} are no longer kept"));
            }
            _ => {}
        }
    }
}

fn print(out: &Output, event: &Event) -> Result<(), Failure> {
    out.one(event, |event| {
        let place = match (&event.env, &event.app) {
            (Some(env), Some(app)) => format!("{env}/{app}  "),
            (Some(env), None) => format!("{env}  "),
            (None, _) => String::new(),
        };
        let line = format!("{}  {place}{}  ({})", times::exact(event.at), event.text, event.by);
        cut(&line, out.style.width)
    })
}
