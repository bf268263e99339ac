//! `exec`: a command beside an instance, over a WebSocket. The frames are described with
//! [`ExecFromClient`] and [`ExecFromServer`].

use std::time::Duration;

use ark_engine::{ExecSession, ExecSpec};
use ark_model::api::{ExecFromClient, ExecFromServer, Problem, ProblemCode};
use ark_model::event::{EventKind, NewEvent};
use ark_model::instance::InstanceState;
use ark_model::{AppName, EnvName, InstanceId, NodeName};
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use bytes::Bytes;
use futures::FutureExt as _;
use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio::time::Instant;

use super::app_rows::place as app_place;
use super::error::ApiError;
use super::extract::Path;
use super::find;
use super::guard::place;
use super::intents::{Act, words};
use super::operation::{Operation, Shared, subschema};
use crate::auth::{Caller, Permission};

/// The largest message of a client.
const MESSAGE_BYTES_MAX: usize = 256 << 10;
/// Bytes of output that are sent at once.
const CHUNK_BYTES: usize = 32 << 10;
/// How long the client may take to say what to run.
const START_DEADLINE: Duration = Duration::from_secs(10);
/// How long the engine may take to run it.
const EXEC_DEADLINE: Duration = Duration::from_secs(10);
/// How often a silent client is asked whether it lives.
const PING_EVERY: Duration = Duration::from_secs(15);
/// A client that says nothing for this long is gone.
const CLIENT_GONE: Duration = Duration::from_secs(60);
/// The longest session.
const SESSION_MAX: Duration = Duration::from_secs(24 * 3_600);
/// Once the command has ended, its output is over when nothing came for this long: a child of it
/// may hold the pipe.
const OUTPUT_QUIET: Duration = Duration::from_secs(1);
/// The longest that output is waited for once the command has ended.
const OUTPUT_MAX: Duration = Duration::from_secs(30);
/// How long a client may take to hear the last word and go.
const FAREWELL_MAX: Duration = Duration::from_secs(10);
/// The most words of a command.
const COMMAND_WORDS_MAX: usize = 1_000;
/// The first byte of a message with standard output, and with standard error.
const STDOUT: u8 = 1;
const STDERR: u8 = 2;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::get(
            "/v1/environments/{env}/apps/{app}/instances/{instance}/exec",
            ("exec", "Run a command beside an instance, over a WebSocket"),
            exec,
        )
        .about(
            "The first message is `start` as text. After it the client sends bytes for standard \
             input as binary messages, and the server sends output as binary messages whose first \
             byte is 1 for standard output and 2 for standard error. The last message of the \
             server is `exit` or `failed`. A client that goes away ends the command.",
        )
        .needs(Permission::Operate)
        .speaks(subschema::<ExecFromClient>, subschema::<ExecFromServer>)
        .problems(&[
            ProblemCode::EnvironmentNotFound,
            ProblemCode::AppNotFound,
            ProblemCode::InstanceNotFound,
            ProblemCode::InstanceNotRunning,
            ProblemCode::BadRequest,
        ]),
    ]
}

async fn exec(
    State(state): State<Shared>,
    caller: Caller,
    Path((env, app, instance)): Path<(EnvName, AppName, String)>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let wanted = (env.clone(), app.clone());
    let record = state
        .store
        .read::<_, ApiError, _>(move |tx| find::instance(tx, &wanted.0, &wanted.1, &instance))
        .await?;
    match record.state {
        InstanceState::Starting | InstanceState::Active | InstanceState::Draining => {}
        InstanceState::Stopping | InstanceState::Stopped => {
            let detail = format!("instance {} is not running", record.id.short(&app));
            return Err(ApiError::new(ProblemCode::InstanceNotRunning, detail)
                .remedy("all instances", format!("ark ps {app} -e {env}")));
        }
    }
    let upgrade = upgrade.map_err(|rejection| {
        ApiError::new(ProblemCode::BadRequest, "exec needs a WebSocket")
            .context(rejection.to_string())
    })?;
    let place = place(&state.streams, "streams")?;
    let act = Act { by: caller.name, now: Timestamp::now() };
    let session = Session { state, act, env, app, instance: record.id, node: record.node };
    Ok(upgrade.max_message_size(MESSAGE_BYTES_MAX).on_upgrade(async move |socket| {
        let _place = place;
        let ending = session.state.shutdown.requested();
        tokio::select! {
            () = session.run(socket) => {}
            _ = ending => {}
        }
    }))
}

struct Session {
    state: Shared,
    act: Act,
    env: EnvName,
    app: AppName,
    instance: InstanceId,
    node: NodeName,
}

impl Session {
    async fn run(&self, mut socket: WebSocket) {
        match self.start(&mut socket).await {
            Ok(session) => {
                if say(&mut socket, &started(&session)).await.is_ok() {
                    let bridge = bridge(&mut socket, session);
                    let ended = tokio::time::timeout(SESSION_MAX, bridge).await;
                    if let Ok(Some(last)) = ended {
                        // A client that is gone cannot be told.
                        let _ = say(&mut socket, &last).await;
                    }
                }
            }
            Err(error) => {
                let problem = Box::new(error.into_problem());
                let _ = say(&mut socket, &ExecFromServer::Failed { problem }).await;
            }
        }
        close(socket).await;
    }

    async fn start(&self, socket: &mut WebSocket) -> Result<ExecSession, ApiError> {
        let first = tokio::time::timeout(START_DEADLINE, first_text(socket)).await;
        let bad = |detail: &str| ApiError::new(ProblemCode::BadRequest, detail);
        let text = first
            .map_err(|_| bad("nothing was said about what to run"))?
            .ok_or_else(|| bad("the first message must be text"))?;
        // Its text is not repeated: an argument may hold a secret.
        let start: ExecFromClient = serde_json::from_str(&text)
            .map_err(|_| bad("the first message is not `start` with a command"))?;
        let ExecFromClient::Start { command, tty, columns, rows } = start else {
            return Err(bad("the first message must be `start`"));
        };
        if command.is_empty() || command.len() > COMMAND_WORDS_MAX {
            return Err(bad("the command is empty or has too many words"));
        }
        let program = words(&command[0]);
        self.record(&program).await?;
        let spec = ExecSpec { command, tty };
        let started = self.state.engine.exec(self.instance, &spec);
        match tokio::time::timeout(EXEC_DEADLINE, started).await {
            Ok(started) => {
                let session = started.map_err(|error| ApiError::of_host(&self.node, error))?;
                if let (Some(columns), Some(rows)) = (columns, rows) {
                    resize(session.terminal.as_ref(), columns, rows);
                }
                Ok(session)
            }
            Err(_) => {
                let host = &self.node;
                let detail =
                    format!("the engine of host {host} did not answer within {EXEC_DEADLINE:?}");
                Err(ApiError::new(ProblemCode::EngineFailed, detail)
                    .remedy("look closer", "ark doctor"))
            }
        }
    }

    /// Who ran what; the arguments stay out, for they may hold a secret.
    async fn record(&self, program: &str) -> Result<(), ApiError> {
        let text = format!(
            "`{program}` was run beside an instance of {}",
            app_place(&self.env, &self.app)
        );
        let event = self.act.event(EventKind::Exec, &self.env, Some(&self.app), text);
        let event = NewEvent { instance: Some(self.instance), ..event };
        self.state
            .store
            .write::<_, ApiError, _>(move |tx| {
                tx.append_event(event)?;
                Ok(())
            })
            .await
    }
}

/// Says that nothing more comes, and hears the client out. A connection that is closed while something
/// unread lies in it is reset, and the client may then fail before it has read the last word.
async fn close(mut socket: WebSocket) {
    let farewell = async {
        socket.send(Message::Close(None)).await.ok()?;
        while let Some(Ok(_)) = socket.recv().await {}
        Some(())
    };
    let _ = tokio::time::timeout(FAREWELL_MAX, farewell).await;
}

fn started(session: &ExecSession) -> ExecFromServer {
    ExecFromServer::Started { tty: session.terminal.is_some() }
}

type Terminal = watch::Sender<(u16, u16)>;

fn resize(terminal: Option<&Terminal>, columns: u16, rows: u16) {
    if let Some(terminal) = terminal.filter(|_| columns > 0 && rows > 0) {
        // A terminal that is gone has no size.
        let _ = terminal.send((columns, rows));
    }
}

async fn first_text(socket: &mut WebSocket) -> Option<String> {
    loop {
        match socket.recv().await?.ok()? {
            Message::Text(text) => return Some(text.as_str().to_owned()),
            Message::Ping(_) | Message::Pong(_) => {}
            Message::Binary(_) | Message::Close(_) => return None,
        }
    }
}

async fn say(socket: &mut WebSocket, said: &ExecFromServer) -> Result<(), axum::Error> {
    let text = serde_json::to_string(said).unwrap_or_default();
    send(socket, Message::text(text)).await
}

async fn send(socket: &mut WebSocket, message: Message) -> Result<(), axum::Error> {
    match tokio::time::timeout(CLIENT_GONE, socket.send(message)).await {
        Ok(sent) => sent,
        Err(elapsed) => Err(axum::Error::new(elapsed)),
    }
}

type Output = Option<Box<dyn AsyncRead + Send + Unpin>>;

/// What the client sent for the command and the command has not taken yet. While there is
/// something, nothing more is received: a command that does not read holds up its client, not the
/// server, and its output goes on meanwhile.
struct Input {
    to: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    pending: Bytes,
}

impl Input {
    fn is_waiting(&self) -> bool {
        self.to.is_some() && !self.pending.is_empty()
    }

    /// Hands over a part. May be dropped at any point without losing a byte.
    async fn pass_on(&mut self) {
        let Some(to) = &mut self.to else {
            return std::future::pending().await;
        };
        match to.write(&self.pending).await {
            Ok(0) | Err(_) => self.to = None,
            Ok(written) => {
                self.pending = self.pending.slice(written..);
                if self.pending.is_empty() && to.flush().await.is_err() {
                    self.to = None;
                }
            }
        }
    }
}

/// Carries bytes both ways until the command has ended and its output was sent. `None` when the
/// client is gone; dropping the session then ends the command.
async fn bridge(socket: &mut WebSocket, mut session: ExecSession) -> Option<ExecFromServer> {
    let mut input = Input { to: session.stdin.take(), pending: Bytes::new() };
    let (mut stdout, mut stderr): (Output, Output) = (session.stdout.take(), session.stderr.take());
    let (mut out, mut err) = (vec![0; CHUNK_BYTES], vec![0; CHUNK_BYTES]);
    let terminal = session.terminal.take();
    let mut exit = session.exit;
    let mut code = None;
    let mut ping = tokio::time::interval(PING_EVERY);
    let mut heard = Instant::now();
    let mut output_until = heard + SESSION_MAX;
    let mut quiet_at = output_until;
    while code.is_none() || stdout.is_some() || stderr.is_some() {
        tokio::select! {
            message = socket.recv(), if !input.is_waiting() => {
                heard = Instant::now();
                match message?.ok()? {
                    Message::Binary(bytes) => input.pending = bytes,
                    Message::Text(text) => control(&mut input, terminal.as_ref(), text.as_str()),
                    Message::Ping(_) | Message::Pong(_) => {}
                    Message::Close(_) => return None,
                }
            }
            () = input.pass_on(), if input.is_waiting() => {}
            read = read(&mut stdout, &mut out) => {
                forward(socket, STDOUT, &mut stdout, read, &out).await?;
                quiet_at = Instant::now() + OUTPUT_QUIET;
            }
            read = read(&mut stderr, &mut err) => {
                forward(socket, STDERR, &mut stderr, read, &err).await?;
                quiet_at = Instant::now() + OUTPUT_QUIET;
            }
            ended = &mut exit, if code.is_none() => {
                code = Some(ended);
                input.to = None;
                output_until = Instant::now() + OUTPUT_MAX;
                quiet_at = Instant::now() + OUTPUT_QUIET;
            }
            () = tokio::time::sleep_until(quiet_at.min(output_until)), if code.is_some() => {
                // A pause of the machine is no silence: what came meanwhile lies there, and the hour
                // may be noticed before it.
                let more = forward_ready(socket, STDOUT, &mut stdout, &mut out).await?
                    | forward_ready(socket, STDERR, &mut stderr, &mut err).await?;
                if !more || Instant::now() >= output_until {
                    break;
                }
                quiet_at = Instant::now() + OUTPUT_QUIET;
            }
            _ = ping.tick() => {
                if !input.is_waiting() && heard.elapsed() > CLIENT_GONE {
                    return None;
                }
                send(socket, Message::Ping(Bytes::new())).await.ok()?;
            }
        }
    }
    Some(match code? {
        Ok(code) => ExecFromServer::Exit { code },
        Err(error) => {
            let problem: Problem = ApiError::from(error).into_problem();
            ExecFromServer::Failed { problem: Box::new(problem) }
        }
    })
}

fn control(input: &mut Input, terminal: Option<&Terminal>, text: &str) {
    match serde_json::from_str(text) {
        Ok(ExecFromClient::StdinClosed) => input.to = None,
        Ok(ExecFromClient::Resize { columns, rows }) => resize(terminal, columns, rows),
        // What is not understood is of a newer client.
        Ok(ExecFromClient::Start { .. }) | Err(_) => {}
    }
}

/// Reads what there is; waits for ever on what has ended.
async fn read(output: &mut Output, chunk: &mut [u8]) -> std::io::Result<usize> {
    match output {
        Some(output) => output.read(chunk).await,
        None => std::future::pending().await,
    }
}

/// Sends what can be read without waiting, and says whether there was anything.
async fn forward_ready(
    socket: &mut WebSocket,
    channel: u8,
    output: &mut Output,
    chunk: &mut [u8],
) -> Option<bool> {
    let ready = tokio::task::unconstrained(read(output, chunk)).now_or_never();
    let Some(read) = ready else { return Some(false) };
    forward(socket, channel, output, read, chunk).await?;
    Some(output.is_some())
}

async fn forward(
    socket: &mut WebSocket,
    channel: u8,
    output: &mut Output,
    read: std::io::Result<usize>,
    chunk: &[u8],
) -> Option<()> {
    match read {
        Ok(0) | Err(_) => *output = None,
        Ok(read) => {
            let mut message = Vec::with_capacity(1 + read);
            message.push(channel);
            message.extend_from_slice(&chunk[..read]);
            send(socket, Message::Binary(message.into())).await.ok()?;
        }
    }
    Some(())
}
