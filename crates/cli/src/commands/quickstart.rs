//! `ark quickstart`: server, gateway and sample app in a temporary directory; a deployment, a
//! replacement under load, a broken release that is returned by itself, and a rollback.
//!
//! It does nothing that a user could not do: a real `ark up` in a process of its own, the public
//! API, and the independent load client as the judge. Everything it started is stopped again.

mod sample;
mod steps;
mod story;

use std::io::IsTerminal;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use ark_model::exit::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

use super::down::stop_everything;
use super::up::Background;
use crate::cli::block_on;
use crate::client::Client;
use crate::failure::{Ended, Exit, Failure};
use crate::output::{Output, Shown};

/// The whole story is told in less than a minute; a machine that needs longer is in trouble.
const DEADLINE: Duration = Duration::from_secs(180);
/// How long the server may take to end after it has stopped everything.
const END: Duration = Duration::from_secs(20);

/// What `quickstart` takes.
#[derive(Debug, clap::Args)]
#[command(
    before_help = "Examples:\n  ark quickstart\n  ark quickstart --exit",
    after_help = "Everything happens in a temporary directory, which is removed at the end. Exit code 0 only if no\nrequest failed and every step did what it should."
)]
pub(crate) struct Args {
    /// End when the story is told; otherwise it stays up until ^C
    #[arg(long)]
    exit: bool,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn shown(args: &Args) -> Shown {
    Shown { json: args.json, utc: false }
}

pub(crate) fn run(args: Args) -> Ended {
    let out = Output::new(shown(&args));
    block_on(async {
        let failed =
            |error: &std::io::Error| Failure::file(&std::env::temp_dir(), "written", error);
        let dir = tempfile::Builder::new()
            .prefix("ark-quickstart-")
            .tempdir()
            .map_err(|error| failed(&error))?;
        // Apps run under users of their own and must get through to their files.
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o711))
            .map_err(|error| failed(&error))?;
        let stay = !args.exit && std::io::stdout().is_terminal();
        let ended = told(out, dir.path(), stay).await;
        if let Err(error) = dir.close() {
            out.warn(format!("the temporary directory could not be removed: {error}"));
        }
        ended
    })
}

/// Starts everything, tells the story, stops everything.
async fn told(out: Output, dir: &Path, stay: bool) -> Ended {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let data_dir = dir.join("data");
    out.say("starting server and gateway …");
    // In a session of its own: ^C is for this process, which then stops everything in order.
    let mut server = Background::start(&data_dir, any, Some(any), &["--own-session"]).await?;
    let client = client(&server)?;
    let mut interrupt = signal(SignalKind::interrupt())
        .map_err(|error| Failure::new(ExitCode::Failed, "signals", error.to_string()))?;
    let mut terminate = signal(SignalKind::terminate())
        .map_err(|error| Failure::new(ExitCode::Failed, "signals", error.to_string()))?;
    let ended = tokio::select! {
        ended = tokio::time::timeout(DEADLINE, tell(out, &client, &server, dir)) => {
            ended.unwrap_or_else(|_| Err(late()))
        }
        _ = interrupt.recv() => Ok(ExitCode::Detached.into()),
        _ = terminate.recv() => Ok(ExitCode::Detached.into()),
    };
    if stay && matches!(ended, Ok(Exit(0))) {
        story::what_next(out, &server.file, &data_dir);
        tokio::select! { _ = interrupt.recv() => {} _ = terminate.recv() => {} }
    }
    out.say("stopping everything …");
    let stopped = stop_everything(&client).await;
    let in_time = server.wait(END).await;
    match (ended, stopped) {
        (Err(failure), _) | (Ok(_), Err(failure)) => Err(failure),
        (Ok(_), Ok(())) if !in_time => Err(late()),
        (Ok(exit), Ok(())) => Ok(exit),
    }
}

fn client(server: &Background) -> Result<Client, Failure> {
    let file = &server.file.token_file;
    let token =
        std::fs::read_to_string(file).map_err(|error| Failure::file(file, "read", &error))?;
    Client::of(&server.file.api, token.trim().to_owned(), None)
}

fn late() -> Failure {
    Failure::new(
        ExitCode::TimedOut,
        "quickstart",
        format!("the quickstart did not end within {} s", DEADLINE.as_secs()),
    )
}

async fn tell(out: Output, client: &Client, server: &Background, dir: &Path) -> Ended {
    let result = steps::run(out, client, &server.file, dir).await?;
    if out.json {
        out.value(&result)?;
    } else {
        out.text(&story::render(&result, out.style));
    }
    if result.ok() { Ok(Exit::DONE) } else { Err(Failure::silent(ExitCode::Failed.into())) }
}
