//! What flows: log lines, events, and the two directions of `exec`.
//!
//! **Exec** is a WebSocket. The first message of the client is [`ExecFromClient::Start`] as text.
//! After that each side sends text messages with the JSON of its enum, and binary messages with
//! bytes: from the client they go to the command's standard input; from the server the first byte
//! says where they come from (1 standard output, 2 standard error) and the rest are the bytes. The
//! last message of the server is [`ExecFromServer::Exit`] or [`ExecFromServer::Failed`], then it
//! closes. A client that goes away ends the command.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Problem;
use crate::event::EventKind;
use crate::ids::{AppName, DeploymentId, EnvName};

/// Which log lines. Without `follow` the answer is `application/x-ndjson`, one [`LogLine`] per
/// line, oldest first; with it (or with `Accept: text/event-stream`) server-sent events named
/// `line`, whose `id` is the line's time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogsQuery {
    /// Only of this instance: its short or whole id. Ended instances have logs, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The last so many lines, at most 10000; 100 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail: Option<u32>,
    /// Only lines after this instant: that of the last line one has gives those that follow it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Only lines up to this instant, itself included: `tail` counts from there. Not with `follow`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Go on with new lines.
    #[serde(default)]
    pub follow: bool,
}

/// Who wrote a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OutputStream {
    /// The instance, to its standard output.
    Stdout,
    /// The instance, to its standard error.
    Stderr,
    /// The engine, about the instance.
    Ark,
}

/// One line of an instance's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogLine {
    /// When it was read.
    pub at: Timestamp,
    /// By which instance: its short id.
    pub instance: String,
    /// Who wrote it, and where to.
    pub stream: OutputStream,
    /// The line without its end; bytes that are not UTF-8 are replaced.
    pub text: String,
}

/// Which events.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventsQuery {
    /// Only events after this number. Absent: a list begins with the oldest event, a stream with
    /// the next one; `Last-Event-ID` of a stream stands over it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Only of this environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<EnvName>,
    /// Only of this app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<AppName>,
    /// Only of this deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<DeploymentId>,
    /// Only of this kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<EventKind>,
    /// In a list: newest first, so that `next` is to be given as `before`. A stream ignores it.
    #[serde(default)]
    pub newest: bool,
    /// With `newest`: only events before this number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// The most events of one answer, 1 to 500; 50 when absent. A stream has no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// The last message (`event: lagged`) of a stream whose reader was too slow. The reader connects
/// again with this resume point and misses nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StreamLagged {
    /// The number of the last event that was sent.
    pub after: u64,
}

/// The first message (`event: missed`) of a stream whose resume point is so far back that events
/// after it are no longer kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventsMissed {
    /// The number of the oldest event that is still kept.
    pub oldest: u64,
}

/// The first message (`event: missed`) of a stream of lines that goes on where another broke, when
/// lines in between may be lacking: more came than are sent at once, or they are no longer kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogsMissed {
    /// Where the other stream broke.
    pub after: Timestamp,
    /// The time of the first line that follows; absent when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<Timestamp>,
}

/// What the client of `exec` says in text messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ExecFromClient {
    /// First: what to run in the instance's working directory with its environment.
    Start {
        /// Program and arguments.
        command: Vec<String>,
        /// Whether it is to have a terminal; then all its output is standard output. Where there is
        /// none to give it runs without: `started` says so.
        #[serde(default)]
        tty: bool,
        /// Size of the terminal.
        #[serde(default)]
        columns: Option<u16>,
        /// Size of the terminal.
        #[serde(default)]
        rows: Option<u16>,
    },
    /// Standard input has ended.
    StdinClosed,
    /// The terminal has another size.
    Resize {
        /// Columns.
        columns: u16,
        /// Rows.
        rows: u16,
    },
}

/// What the server says in text messages of `exec`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ExecFromServer {
    /// The command runs.
    Started {
        /// Whether it has the terminal that was asked for: not every engine has one to give.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        tty: bool,
    },
    /// Last: it ended.
    Exit {
        /// The exit code; 128 and the signal's number when a signal ended it.
        code: i32,
    },
    /// Last: it could not be run.
    Failed {
        /// Why.
        problem: Box<Problem>,
    },
}
