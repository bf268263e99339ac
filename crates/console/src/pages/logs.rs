//! The log of an app: the last lines, by instance and by a search, live with script.

use ark_model::api::{InstanceRow, LogLine, OutputStream, Page};
use ark_model::{AppName, EnvName};
use askama::Template;
use axum::Router;
use axum::extract::{Path, Query};
use axum::response::Response;
use axum::routing::get;
use http::HeaderMap;
use jiff::Timestamp;
use serde::Deserialize;

use crate::Shared;
use crate::room::{Room, cut, weight};
use crate::shell::Shell;
use crate::visit::{Answer, Visit, asks_anew, going_on};
use crate::words::{self, When};

/// Lines that are looked at, those that a search looks through, and lines that are shown of them: the
/// page stays small.
const LINES_READ: u32 = 2_000;
const LINES_SEARCHED: u32 = 10_000;
pub(super) const LINES_SHOWN: usize = 300;
/// Bytes of the lines that are shown, and of one without its texts.
const SHOWN: usize = 80_000;
const LINE: usize = 150;
/// Instances that are offered.
const OFFERED: usize = 100;
/// The longest line that is shown, in characters.
const LINE_CHARS_MAX: usize = 2_000;

pub(crate) fn routes() -> Router<Shared> {
    Router::new()
        .route("/e/{env}/{app}/logs", get(logs))
        .route("/e/{env}/{app}/logs/stream", get(stream))
}

#[derive(Deserialize)]
struct Filter {
    #[serde(default)]
    instance: String,
    #[serde(default)]
    q: String,
    since: Option<Timestamp>,
    /// The id of the last line that a stream gave before.
    last: Option<String>,
}

#[derive(Template)]
#[template(path = "logs.html")]
struct Logs {
    shell: Shell,
    env: EnvName,
    app: AppName,
    q: String,
    /// Short id, what is said of it, whether it is the chosen one.
    instances: Vec<(String, String, bool)>,
    lines: Vec<Line>,
    /// How much of the log this is; empty when it is all.
    said: String,
    /// Where new lines come from.
    stream: String,
}

/// One line, as the templates of logs and of runs show it.
pub(super) struct Line {
    pub(super) at: When,
    pub(super) instance: String,
    pub(super) class: &'static str,
    pub(super) text: String,
}

/// The last of what was read, oldest first; as many as a page may show.
pub(super) fn last_lines(all: &[LogLine]) -> Vec<Line> {
    let newest = all.iter().rev().take(LINES_SHOWN).map(|line| Line {
        at: When::clock(line.at),
        instance: cut(&line.instance, LINE),
        class: match line.stream {
            OutputStream::Stdout => "out",
            OutputStream::Stderr => "err",
            OutputStream::Ark => "ark",
        },
        text: words::shortened(&line.text, LINE_CHARS_MAX),
    });
    let bytes = |line: &Line| LINE + weight(&line.instance) + weight(&line.text);
    let (mut lines, _) = Room::bytes(SHOWN).fit(newest, bytes);
    lines.reverse();
    lines
}

async fn logs(
    visit: Visit,
    Path((env, app)): Path<(EnvName, AppName)>,
    Query(filter): Query<Filter>,
    headers: HeaderMap,
) -> Answer {
    let base = format!("/v1/environments/{env}/apps/{app}");
    let known: Page<InstanceRow> = visit.get(&format!("{base}/instances?ended=true")).await?;
    let of = instance_query(&filter.instance);
    let q = filter.q.to_lowercase();
    let tail = if q.is_empty() { LINES_READ } else { LINES_SEARCHED };
    // The script of a page whose stream was refused asks only whether it may look.
    let text = match asks_anew(&headers) {
        true => String::new(),
        false => visit.lines(&format!("{base}/logs?tail={tail}{of}")).await?,
    };
    let all: Vec<LogLine> =
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let since = all.last().map_or(visit.now, |line| line.at);
    let looked_at = all.len();
    let fits = |line: &LogLine| q.is_empty() || line.text.to_lowercase().contains(&q);
    let read: Vec<LogLine> = all.into_iter().filter(fits).collect();
    let lines = last_lines(&read);
    let said = said(&q, looked_at, read.len(), lines.len());
    let chosen = |row: &&InstanceRow| row.id == filter.instance;
    let others = known.items.iter().filter(|row| !chosen(row)).take(OFFERED);
    let instances = known.items.iter().filter(chosen).chain(others).map(|row| {
        let state = if row.state.is_alive() { "" } else { ", ended" };
        (row.id.clone(), format!("{} ({}{state})", row.id, row.release), row.id == filter.instance)
    });
    let stream = format!("/e/{env}/{app}/logs/stream?since={since}{of}");
    let instance = match filter.instance.as_str() {
        "" => String::new(),
        id => format!(" --instance {}", words::shell(id)),
    };
    let search = match filter.q.as_str() {
        "" => String::new(),
        q => format!(" | grep -iF -- {}", words::shell(q)),
    };
    let shell = visit
        .shell(format!("Log of {app}"), "/")
        .crumb("/", "Overview")
        .crumb(format!("/environments/{env}"), &env)
        .crumb(format!("/e/{env}/{app}"), &app)
        .command(format!("ark logs {app} -e {env} --follow{instance}{search}"));
    visit.page(&Logs {
        shell,
        q: filter.q,
        instances: instances.collect(),
        said,
        lines,
        stream,
        env,
        app,
    })
}

/// How much of the log was looked at, and how much of it is shown.
fn said(q: &str, looked_at: usize, found: usize, shown: usize) -> String {
    let number = |n: usize| words::count(n as u64);
    let hidden = found - shown;
    let whole = looked_at < LINES_SEARCHED as usize;
    match (q.is_empty(), hidden) {
        (true, 0) => String::new(),
        (true, _) => format!("The newest {} lines.", number(shown)),
        (false, 0) if whole => format!("{} of {} lines.", number(found), number(looked_at)),
        (false, 0) => format!("{} of the newest {} lines.", number(found), number(looked_at)),
        (false, _) => format!(
            "The newest {} of {} that fit, of the newest {} lines.",
            number(shown),
            number(found),
            number(looked_at)
        ),
    }
}

/// `&instance=...`, when one is chosen.
fn instance_query(instance: &str) -> String {
    match instance {
        "" => String::new(),
        id => {
            let id: String = form_urlencoded::byte_serialize(id.as_bytes()).collect();
            format!("&instance={id}")
        }
    }
}

async fn stream(
    visit: Visit,
    Path((env, app)): Path<(EnvName, AppName)>,
    Query(filter): Query<Filter>,
    headers: HeaderMap,
) -> Response {
    let of = instance_query(&filter.instance);
    let since = filter.since.unwrap_or(visit.now);
    let base = format!("/v1/environments/{env}/apps/{app}/logs");
    // Whoever looked away for long gets as much of what came meanwhile as there is to have.
    let tail = LINES_SEARCHED;
    let address = format!("{base}?follow=true&tail={tail}&since={since}{of}");
    visit.pass(&address, &going_on(&headers, filter.last.as_deref())).await
}
