//! `ark exec`: a command beside an instance, with its files and variables. Its exit code becomes
//! this command's.

use std::io::{IsTerminal, Read, Write};
use std::os::fd::AsFd;

use ark_model::AppName;
use ark_model::api::{ExecFromClient, ExecFromServer, InstancesQuery};
use ark_model::exit::ExitCode;
use ark_model::instance::InstanceState;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::cli::block_on;
use crate::client::Connection;
use crate::client::exec::{Arrived, ExecReceiver, ExecSender};
use crate::context::{Context, EnvArg, app};
use crate::failure::{Ended, Exit, Failure};
use crate::output::{Output, Shown, terminal_size};

/// Bytes of standard input sent at once.
const STDIN_BYTES: usize = 16 << 10;
/// Such pieces read ahead.
const STDIN_AHEAD: usize = 8;
/// The exit code of who was ended by SIGTERM.
const TERMINATED: u8 = 128 + 15;
/// What is said where a terminal was asked for and there is none.
const NO_TERMINAL: &str = "without a terminal: only containers have one to give (-T asks for none)";

/// What `exec` takes.
#[derive(Debug, clap::Args)]
#[command(
    before_help = "Examples:\n  ark exec web -e production -- ls -l\n  ark exec web -e production -- sh\n  ark exec web -e staging --instance web-7f3a9c -- env < /dev/null",
    after_help = "At a terminal the command has one too where the instance is a container; a process gets pipes.\n\
                  The exit code is the command's own; 128 and the signal's number when a signal ended it."
)]
pub(crate) struct Args {
    /// App
    app: AppName,
    #[command(flatten)]
    env: EnvArg,
    /// Which instance [default: one that is active]
    #[arg(long, value_name = "ID")]
    instance: Option<String>,
    /// Without a terminal, even when this one is
    #[arg(short = 'T', long)]
    no_tty: bool,
    /// Program and arguments
    #[arg(required = true, last = true, value_name = "COMMAND")]
    command: Vec<String>,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) fn shown(_: &Args) -> Shown {
    Shown::default()
}

pub(crate) fn run(args: Args) -> Ended {
    let context = Context::quiet(&args.connection)?;
    let (env, app) = (args.env.get()?, app(Some(args.app))?);
    let stdin = std::io::stdin();
    let tty = !args.no_tty && stdin.is_terminal() && std::io::stdout().is_terminal();
    block_on(async {
        let instance = match args.instance {
            Some(instance) => instance,
            None => {
                let rows = context.client.instances(&env, &app, &InstancesQuery::default()).await?;
                let active = rows.iter().find(|row| row.state == InstanceState::Active);
                active.map(|row| row.id.clone()).ok_or_else(|| {
                    Failure::new(
                        ExitCode::NotFound,
                        "instance-not-found",
                        format!("no instance of {app} is active on {env}"),
                    )
                    .remedy("look", format!("ark ps {app} -e {env} --all"))
                })?
            }
        };
        let path = format!("/v1/environments/{env}/apps/{app}/instances/{instance}/exec");
        let (mut sender, receiver) = context.client.exec(&path).await?;
        let size = terminal_size().filter(|_| tty);
        sender
            .say(&ExecFromClient::Start {
                command: args.command,
                tty,
                columns: size.map(|(columns, _)| columns),
                rows: size.map(|(_, rows)| rows),
            })
            .await?;
        session(&context.out, sender, receiver, tty).await
    })
}

/// `tty` is whether a terminal was asked for.
async fn session(
    out: &Output,
    mut sender: ExecSender,
    mut receiver: ExecReceiver,
    tty: bool,
) -> Ended {
    let mut stdin = Some(read_stdin());
    let listen = |kind: SignalKind| {
        signal(kind).map_err(|error| Failure::new(ExitCode::Failed, "signals", error.to_string()))
    };
    let mut resized = listen(SignalKind::window_change())?;
    let mut ended = None;
    // Given back when this returns, however it does.
    let mut raw = None;
    loop {
        tokio::select! {
            arrived = receiver.next() => match arrived? {
                Arrived::Stdout(bytes) => write_all(&mut std::io::stdout(), &bytes)?,
                Arrived::Stderr(bytes) => write_all(&mut std::io::stderr(), &bytes)?,
                Arrived::Said(ExecFromServer::Started { tty: true }) if tty => {
                    // A signal must not leave the terminal as it is for the command.
                    ended = Some(listen(SignalKind::terminate())?);
                    raw = Some(Raw::enter()?);
                }
                Arrived::Said(ExecFromServer::Started { .. }) if tty => out.warn(NO_TERMINAL),
                Arrived::Said(ExecFromServer::Started { .. }) => {}
                Arrived::Said(ExecFromServer::Exit { code }) => {
                    return Ok(Exit(u8::try_from(code).unwrap_or(u8::MAX)));
                }
                Arrived::Said(ExecFromServer::Failed { problem }) => {
                    return Err((*problem).into());
                }
            },
            // A command that has ended takes nothing more; what it said and how it ended is still to
            // be read, and if the connection is broken, reading says so.
            bytes = next(&mut stdin) => {
                let sent = match bytes {
                    Some(bytes) => sender.stdin(bytes).await.is_ok(),
                    None => {
                        let _ = sender.say(&ExecFromClient::StdinClosed).await;
                        false
                    }
                };
                if !sent {
                    stdin = None;
                }
            }
            () = terminated(&mut ended) => return Ok(Exit(TERMINATED)),
            _ = resized.recv(), if raw.is_some() => {
                if let Some((columns, rows)) = terminal_size() {
                    let _ = sender.say(&ExecFromClient::Resize { columns, rows }).await;
                }
            }
        }
    }
}

async fn terminated(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

async fn next(stdin: &mut Option<mpsc::Receiver<Vec<u8>>>) -> Option<Vec<u8>> {
    match stdin {
        Some(stdin) => stdin.recv().await,
        None => std::future::pending().await,
    }
}

/// Standard input is read by a thread: no other way of reading it works for files, pipes and
/// terminals alike. The thread ends with the process.
fn read_stdin() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(STDIN_AHEAD);
    std::thread::spawn(move || {
        let mut buffer = vec![0; STDIN_BYTES];
        let mut stdin = std::io::stdin().lock();
        loop {
            match stdin.read(&mut buffer) {
                Ok(0) => return,
                Ok(read) => {
                    if sender.blocking_send(buffer[..read].to_vec()).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    });
    receiver
}

fn write_all(stream: &mut impl Write, bytes: &[u8]) -> Result<(), Failure> {
    let written = stream.write_all(bytes).and_then(|()| stream.flush());
    written.map_err(|error| {
        Failure::new(ExitCode::Failed, "output", format!("the output cannot be written: {error}"))
    })
}

/// The terminal passes every key on while this lives.
struct Raw {
    before: Termios,
}

impl Raw {
    fn enter() -> Result<Self, Failure> {
        let stdin = std::io::stdin();
        let failed = |error: rustix::io::Errno| {
            Failure::new(
                ExitCode::Failed,
                "terminal",
                format!("the terminal cannot be set up: {error}"),
            )
        };
        let before = tcgetattr(stdin.as_fd()).map_err(failed)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin.as_fd(), OptionalActions::Now, &raw).map_err(failed)?;
        Ok(Self { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that is gone needs no more care.
        let _ = tcsetattr(std::io::stdin().as_fd(), OptionalActions::Now, &self.before);
    }
}
