//! Everything that happened, newest first, with who and why; filterable.

use ark_model::api::Page;
use ark_model::event::{Event, EventKind};
use ark_model::{AppName, EnvName};
use askama::Template;
use axum::Router;
use axum::extract::Query;
use axum::routing::get;
use serde::Deserialize;

use crate::Shared;
use crate::room::{Room, cut, weight};
use crate::shell::Shell;
use crate::visit::{Answer, Visit};
use crate::words::{Tone, When, shell};

/// Events of one page.
const EVENTS: u32 = 100;
/// Bytes of the page without its list, and of an event without its texts.
const FRAME: usize = 12_000;
const LINE: usize = 330;
/// The longest texts, in bytes.
const TEXT: usize = 700;
const BY: usize = 100;

pub(crate) fn routes() -> Router<Shared> {
    Router::new().route("/events", get(events))
}

#[derive(Deserialize)]
struct Filter {
    #[serde(default)]
    env: String,
    #[serde(default)]
    app: String,
    #[serde(default)]
    kind: String,
    before: Option<u64>,
}

#[derive(Template)]
#[template(path = "events.html")]
struct Events {
    shell: Shell,
    env: String,
    app: String,
    /// The word of each kind, whether it is the chosen one.
    kinds: Vec<(String, bool)>,
    events: Vec<EventLine>,
    older: Option<String>,
    filtered: bool,
    unknown: Option<String>,
}

/// One event, wherever events are listed.
pub(super) struct EventLine {
    pub(super) when: When,
    pub(super) tone: Tone,
    pub(super) kind: String,
    pub(super) text: String,
    pub(super) by: String,
    /// What it concerns: an address and a name.
    pub(super) about: Option<(String, String)>,
}

async fn events(visit: Visit, Query(filter): Query<Filter>) -> Answer {
    let (same, unknown) = question(&filter);
    let before = filter.before.map(|before| format!("&before={before}")).unwrap_or_default();
    let found: Page<Event> = match unknown {
        Some(_) => Page { items: Vec::new(), next: None },
        None => visit.get(&format!("/v1/events?{same}{before}")).await?,
    };
    let lines = found.items.into_iter().map(|event| (event.seq, line(&visit, &event)));
    let (lines, hidden) = Room::beside(FRAME).fit(lines, |(_, line)| line.bytes());
    // What has no room is on the page that follows.
    let next = match lines.last().filter(|_| hidden > 0) {
        Some((seq, _)) => Some(seq.to_string()),
        None => found.next,
    };
    let older = next.map(|next| format!("/events?{}", filter.before(&next)));
    let mut shell = visit.shell("Events", "/events").command(filter.command());
    if filter.before.is_none() && unknown.is_none() {
        shell = shell.live("");
    }
    let kinds = kinds().into_iter().map(|kind| (kind.clone(), kind == filter.kind)).collect();
    let filtered = !(filter.env.is_empty() && filter.app.is_empty() && filter.kind.is_empty());
    let events = lines.into_iter().map(|(_, line)| line).collect();
    let Filter { env, app, .. } = filter;
    visit.page(&Events { shell, env, app, kinds, events, older, filtered, unknown })
}

/// What the API is asked, and what of the filter cannot be: that is said on the page, not refused.
fn question(filter: &Filter) -> (String, Option<String>) {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("newest", "true").append_pair("limit", &EVENTS.to_string());
    let mut unknown = None;
    for (name, noun, value, good) in [
        ("env", "an environment", &filter.env, filter.env.parse::<EnvName>().is_ok()),
        ("app", "an app", &filter.app, filter.app.parse::<AppName>().is_ok()),
        ("kind", "a kind of event", &filter.kind, kinds().contains(&filter.kind)),
    ] {
        match (value.is_empty(), good) {
            (true, _) => {}
            (false, true) => {
                query.append_pair(name, value);
            }
            (false, false) => unknown = Some(format!("“{value}” cannot be {noun}")),
        }
    }
    (query.finish(), unknown)
}

impl Filter {
    /// The command that shows the same.
    fn command(&self) -> String {
        let mut command = "ark events".to_owned();
        for (flag, value) in [("-e", &self.env), ("--app", &self.app), ("--kind", &self.kind)] {
            if !value.is_empty() {
                command.push_str(&format!(" {flag} {}", shell(value)));
            }
        }
        command
    }

    /// The same filter, before an event.
    fn before(&self, number: &str) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in [("env", &self.env), ("app", &self.app), ("kind", &self.kind)] {
            if !value.is_empty() {
                query.append_pair(name, value);
            }
        }
        query.append_pair("before", number).finish()
    }
}

/// The words of all kinds.
fn kinds() -> Vec<String> {
    EventKind::ALL.into_iter().map(word).collect()
}

fn word(kind: EventKind) -> String {
    let value = serde_json::to_value(kind).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

/// An event on a page of the app it is about.
pub(super) fn own_line(visit: &Visit, event: &Event) -> EventLine {
    let about = event.deployment.map(|id| (format!("/d/{id}"), "deployment".to_owned()));
    EventLine { about, ..line(visit, event) }
}

pub(super) fn line(visit: &Visit, event: &Event) -> EventLine {
    let about = match (&event.deployment, &event.env, &event.app) {
        (Some(id), Some(env), Some(app)) => Some((format!("/d/{id}"), format!("{app} on {env}"))),
        (_, Some(env), Some(app)) => Some((format!("/e/{env}/{app}"), format!("{app} on {env}"))),
        (_, Some(env), None) => Some((format!("/environments/{env}"), env.to_string())),
        (_, None, _) => None,
    };
    EventLine {
        when: When::ago(event.at, visit.now),
        tone: tone(event.kind),
        kind: word(event.kind).replace('_', " "),
        text: cut(&event.text, TEXT),
        by: cut(&event.by, BY),
        about,
    }
}

impl EventLine {
    /// Its bytes in markup.
    pub(super) fn bytes(&self) -> usize {
        let about = self.about.as_ref().map_or(0, |(at, name)| at.len() + weight(name));
        LINE + 2 * self.kind.len() + weight(&self.text) + weight(&self.by) + about
    }
}

fn tone(kind: EventKind) -> Tone {
    match kind {
        EventKind::DeploymentLive | EventKind::InstanceReady => Tone::Good,
        EventKind::InstanceLost | EventKind::InstanceUnready | EventKind::DeploymentReturning => {
            Tone::Bad
        }
        EventKind::DeploymentQueued
        | EventKind::DeploymentStarted
        | EventKind::DeploymentProgress
        | EventKind::EnvironmentDestroying => Tone::Busy,
        _ => Tone::Quiet,
    }
}
