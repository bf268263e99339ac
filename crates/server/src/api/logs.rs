//! Log lines of an app's instances, put together by time.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::str::FromStr;
use std::time::Duration;

use ark_engine::{EngineError, LogQuery, LogSource};
use ark_model::api::{
    LOG_LINES_DEFAULT, LOG_LINES_MAX, LogLine, LogsMissed, LogsQuery, OutputStream, ProblemCode,
};
use ark_model::instance::InstanceRecord;
use ark_model::{AppName, EnvName, InstanceId};
use axum::body::Body;
use axum::extract::State;
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response};
use futures::stream::{BoxStream, SelectAll};
use futures::{StreamExt as _, stream};
use http::{HeaderMap, HeaderValue, header};
use jiff::{SignedDuration, Timestamp};

use super::error::{ApiError, chain};
use super::extract::{Path, Query};
use super::find;
use super::operation::{Content, Operation, Shared, subschema};
use super::stream::{Outlet, events, json_event, last_event_id, wants_events};

/// Instances whose logs are read for one answer, the newest first.
const INSTANCES_MAX: usize = 200;
/// The most bytes of lines that are put together for one answer.
const BYTES_MAX: usize = 32 << 20;
/// How long reading logs may take.
const READ_DEADLINE: Duration = Duration::from_secs(20);
/// Clocks of hosts may differ by so much, and a log may be complete so long after its instance was
/// recorded as ended.
const SLACK: SignedDuration = SignedDuration::from_secs(60);
/// New instances are looked for at most this often while following.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How far before the line that was sent last another instance's may be that was not sent yet: a log
/// is looked at every so often, and a new instance is found a while after its first line.
const REACH: SignedDuration = SignedDuration::from_secs(2);
/// What an id begins with that is not the time of a line, but the instant from which on there was none.
const NONE_BEFORE: &str = "from ";

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::get(
            "/v1/environments/{env}/apps/{app}/logs",
            ("getLogs", "Log lines of an app or of one instance"),
            logs,
        )
        .about(
            "Lines as newline-delimited JSON, oldest first. With `follow` or `Accept: \
             text/event-stream`: server-sent events named `line`, whose `id` is the line's time; \
             instances that start later are followed, too. A client that reconnects with \
             `Last-Event-ID` gets, whatever `tail` says, all lines since two seconds before that \
             line, for instances are not read at one pace: it sees every line at least once, and \
             lines of that time again. When there are more than can be sent at once, or they are \
             no longer kept, `event: missed` comes first.",
        )
        .query::<LogsQuery>()
        .streams(200, Content::LinesOrEvents(subschema::<LogLine>))
        .problems(&[
            ProblemCode::EnvironmentNotFound,
            ProblemCode::AppNotFound,
            ProblemCode::InstanceNotFound,
            ProblemCode::EngineFailed,
            ProblemCode::InvalidValue,
        ]),
    ]
}

async fn logs(
    State(state): State<Shared>,
    Path((env, app)): Path<(EnvName, AppName)>,
    Query(query): Query<LogsQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let tail = query.tail.unwrap_or(LOG_LINES_DEFAULT);
    if tail > LOG_LINES_MAX {
        let detail = format!("{tail} lines are not allowed: at most {LOG_LINES_MAX}");
        return Err(ApiError::new(ProblemCode::InvalidValue, detail));
    }
    let resumed = last_event_id(&headers).map(str::parse::<Resumed>).transpose().map_err(|_| {
        ApiError::new(ProblemCode::InvalidValue, "Last-Event-ID is not the time of a line")
    })?;
    if query.until.is_some() && query.follow {
        let detail = "`until` and `follow` exclude each other: what goes on has no end";
        return Err(ApiError::new(ProblemCode::InvalidValue, detail));
    }
    let wanted = Wanted { env, app, instance: query.instance.clone() };
    let records = wanted.instances(&state).await?;
    let since = query.since.map(just_after);
    let span = Span { from: resumed.map(Resumed::from).max(since), until: query.until };
    // `tail` is of the beginning: whoever comes back is to miss nothing of what came meanwhile.
    let tail = if resumed.is_some() { LOG_LINES_MAX } else { tail };
    // Before they are read: what comes meanwhile is among them, or is new.
    let begun = Timestamp::now();
    let lines = tokio::time::timeout(READ_DEADLINE, recent(&state, &records, tail, span)).await;
    let lines = lines.map_err(|_| {
        let detail = format!("the engine did not give the logs within {READ_DEADLINE:?}");
        ApiError::new(ProblemCode::Timeout, detail).remedy("look closer", "ark doctor")
    })??;
    if query.follow || wants_events(&headers) {
        let missed = resumed.and_then(|resumed| resumed.missed(&lines));
        let follower = Follower::new(state.clone(), wanted, query.follow, span.from, begun);
        return events(&state, move |outlet| follower.run(outlet, missed, lines));
    }
    let mut body = String::new();
    for line in &lines {
        body.push_str(&serde_json::to_string(line).unwrap_or_default());
        body.push('\n');
    }
    let ndjson = HeaderValue::from_static("application/x-ndjson");
    Ok(([(header::CONTENT_TYPE, ndjson)], Body::from(body)).into_response())
}

/// The first instant after another: engines give lines from an instant on, itself included.
fn just_after(at: Timestamp) -> Timestamp {
    at.checked_add(SignedDuration::from_nanos(1)).unwrap_or(Timestamp::MAX)
}

/// Where a stream was when it broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Resumed {
    /// It had sent the line of this time, and maybe not all that others wrote until then.
    After(Timestamp),
    /// It had sent nothing.
    Begun(Timestamp),
}

impl FromStr for Resumed {
    type Err = jiff::Error;

    fn from_str(id: &str) -> Result<Self, jiff::Error> {
        match id.strip_prefix(NONE_BEFORE) {
            Some(at) => at.parse().map(Self::Begun),
            None => id.parse().map(Self::After),
        }
    }
}

impl Resumed {
    /// The first instant whose lines may not have been sent.
    fn from(self) -> Timestamp {
        match self {
            Self::After(at) => at.checked_sub(REACH).unwrap_or(Timestamp::MIN),
            Self::Begun(at) => at,
        }
    }

    /// What there is to say when lines may be lacking: of those that were read the oldest is newer
    /// than what was sent last, or that is not kept any more.
    fn missed(self, lines: &[LogLine]) -> Option<LogsMissed> {
        let oldest = lines.first().map(|line| line.at);
        let (after, lacking) = match self {
            Self::After(at) => (at, !lines.iter().any(|line| line.at == at)),
            Self::Begun(at) => (at, lines.len() >= LOG_LINES_MAX as usize),
        };
        lacking.then_some(LogsMissed { after, oldest })
    }
}

/// Lines of which time are wanted; both ends are within.
#[derive(Debug, Clone, Copy)]
struct Span {
    from: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl Span {
    /// Whether an instance may have written any of them: one that ended before has not.
    fn meets(&self, record: &InstanceRecord) -> bool {
        let later = |at: Timestamp| at.checked_add(SLACK).unwrap_or(Timestamp::MAX);
        let ended = |from: Timestamp| record.stopped_at.is_some_and(|at| later(at) < from);
        !self.from.is_some_and(ended)
    }
}

/// Whose lines.
#[derive(Clone)]
struct Wanted {
    env: EnvName,
    app: AppName,
    instance: Option<String>,
}

impl Wanted {
    /// The instances, newest first: the one that was named, else all that may still have a log.
    async fn instances(&self, state: &Shared) -> Result<Vec<InstanceRecord>, ApiError> {
        let wanted = self.clone();
        state
            .store
            .read::<_, ApiError, _>(move |tx| match &wanted.instance {
                Some(id) => Ok(vec![find::instance(tx, &wanted.env, &wanted.app, id)?]),
                None => {
                    find::app(tx, &wanted.env, &wanted.app)?;
                    Ok(tx.instances_of(&wanted.env, &wanted.app, INSTANCES_MAX)?)
                }
            })
            .await
    }
}

fn line(record: &InstanceRecord, line: ark_engine::LogLine) -> LogLine {
    LogLine {
        at: line.at,
        instance: record.id.short(&record.app),
        stream: match line.stream {
            LogSource::Stdout => OutputStream::Stdout,
            LogSource::Stderr => OutputStream::Stderr,
            LogSource::Ark => OutputStream::Ark,
        },
        text: line.text,
    }
}

/// The last `tail` lines of all these instances within a span of time together, oldest first.
async fn recent(
    state: &Shared,
    records: &[InstanceRecord],
    tail: u32,
    span: Span,
) -> Result<Vec<LogLine>, ApiError> {
    let tail = tail as usize;
    // An engine counts from the end of its log.
    let tail_of_engine = span.until.is_none().then_some(tail);
    // The oldest line is on top and falls out first. The number breaks ties in reading order.
    let mut newest: BinaryHeap<Reverse<(Timestamp, u64, OrderedLine)>> = BinaryHeap::new();
    let (mut number, mut bytes) = (0, 0);
    for record in records.iter().filter(|record| span.meets(record)) {
        let query = LogQuery { tail: tail_of_engine, since: span.from, follow: false };
        let mut log = match state.engine.logs(record.id, query).await {
            Ok(log) => log,
            // Its log was removed with it.
            Err(EngineError::Unknown(_)) => continue,
            Err(error) => return Err(ApiError::of_host(&record.node, error)),
        };
        while let Some(next) = log.next().await {
            let next = next.map_err(|error| ApiError::of_host(&record.node, error))?;
            let next = line(record, next);
            // Time never goes back within a log.
            if span.until.is_some_and(|until| next.at > until) {
                break;
            }
            number += 1;
            bytes += next.text.len();
            newest.push(Reverse((next.at, number, OrderedLine(next))));
            while newest.len() > tail || bytes > BYTES_MAX {
                let Some(Reverse((_, _, OrderedLine(oldest)))) = newest.pop() else { break };
                bytes -= oldest.text.len();
            }
        }
    }
    let mut lines: Vec<_> = newest.into_iter().map(|Reverse(line)| line).collect();
    lines.sort_by_key(|(at, number, _)| (*at, *number));
    Ok(lines.into_iter().map(|(_, _, OrderedLine(line))| line).collect())
}

/// A line that lets time and number decide the order.
struct OrderedLine(LogLine);

impl PartialEq for OrderedLine {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl Eq for OrderedLine {}
impl PartialOrd for OrderedLine {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for OrderedLine {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

/// How far an instance's log was read: the time of the last line, and how many lines have it.
#[derive(Debug, Clone, Copy)]
struct Read {
    at: Timestamp,
    lines: usize,
}

/// Goes on where the recent lines end, with every instance there is and every one that comes.
struct Follower {
    state: Shared,
    wanted: Wanted,
    follow: bool,
    since: Option<Timestamp>,
    /// When this began: what comes later is new, in an instance that showed none of the recent lines.
    begun: Timestamp,
    read: HashMap<String, Read>,
    followed: HashSet<InstanceId>,
}

type Lines = SelectAll<BoxStream<'static, LogLine>>;

impl Follower {
    fn new(
        state: Shared,
        wanted: Wanted,
        follow: bool,
        since: Option<Timestamp>,
        begun: Timestamp,
    ) -> Self {
        let (read, followed) = (HashMap::new(), HashSet::new());
        Self { state, wanted, follow, since, begun, read, followed }
    }

    async fn run(mut self, outlet: Outlet, missed: Option<LogsMissed>, recent: Vec<LogLine>) {
        let first = match (missed, recent.is_empty() && self.follow) {
            (Some(missed), _) => Some(json_event("missed", None, &missed)),
            // Without data it is no message, and yet what a client comes back with.
            (None, true) => {
                let from = self.since.unwrap_or(self.begun);
                Some(Event::default().id(format!("{NONE_BEFORE}{from}")))
            }
            (None, false) => None,
        };
        if let Some(first) = first
            && outlet.send(first, || None).await.is_err()
        {
            return;
        }
        for line in recent {
            let read =
                self.read.entry(line.instance.clone()).or_insert(Read { at: line.at, lines: 0 });
            *read = match read.at == line.at {
                true => Read { lines: read.lines + 1, ..*read },
                false => Read { at: line.at, lines: 1 },
            };
            if self.send(&outlet, &line).await.is_err() {
                return;
            }
        }
        if !self.follow {
            return;
        }
        let mut commits = self.state.store.commits();
        let mut lines = Lines::new();
        loop {
            commits.mark_unchanged();
            if self.attach(&mut lines).await.is_err() {
                return;
            }
            let look_again = tokio::time::sleep(LOOK_EVERY);
            tokio::pin!(look_again);
            loop {
                tokio::select! {
                    Some(line) = lines.next() => {
                        if self.send(&outlet, &line).await.is_err() {
                            return;
                        }
                    }
                    changed = async { (&mut look_again).await; commits.changed().await } => {
                        if changed.is_err() {
                            return;
                        }
                        break;
                    }
                    () = outlet.closed() => return,
                }
            }
        }
    }

    async fn send(&self, outlet: &Outlet, line: &LogLine) -> Result<(), super::stream::Over> {
        let id = Some(line.at.to_string());
        outlet.send(json_event("line", id, line), || None).await
    }

    /// Follows instances that are not followed yet.
    async fn attach(&mut self, lines: &mut Lines) -> Result<(), ApiError> {
        let begun = self.begun;
        let records = self.wanted.instances(&self.state).await?;
        for record in records {
            // One that had ended before this began has said all it had to say.
            let over = record.stopped_at.is_some_and(|at| at < begun);
            if over || !self.followed.insert(record.id) {
                continue;
            }
            let read = self.read.get(&record.id.short(&record.app)).copied();
            let since = read.map(|read| read.at).or(self.since);
            let since = since.or((record.created_at < begun).then_some(begun));
            let query = LogQuery { tail: None, since, follow: true };
            match self.state.engine.logs(record.id, query).await {
                Ok(log) => lines.push(new_lines(log, record, read)),
                // Not started yet: the next look finds it.
                Err(EngineError::Unknown(_)) => {
                    self.followed.remove(&record.id);
                }
                Err(error) => {
                    tracing::debug!(error = chain(&error), "a log could not be followed");
                    self.followed.remove(&record.id);
                }
            }
        }
        Ok(())
    }
}

/// A log from `read` on, without the lines that were read.
fn new_lines(
    log: ark_engine::LogStream,
    record: InstanceRecord,
    read: Option<Read>,
) -> BoxStream<'static, LogLine> {
    let mut known = read.map_or(0, |read| read.lines);
    let lines = log.filter_map(move |next| {
        let next = next.ok().and_then(|next| {
            if known > 0 && read.is_some_and(|read| read.at == next.at) {
                known -= 1;
                return None;
            }
            Some(line(&record, next))
        });
        std::future::ready(next)
    });
    // Never more than one line ahead of the reader.
    stream::StreamExt::boxed(lines)
}
