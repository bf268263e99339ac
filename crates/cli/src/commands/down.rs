//! `ark down`: stops apps, gateway and server. Data stays.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use ark_model::api::ShutdownRequest;
use ark_model::exit::ExitCode;
use tokio::time::{Instant, sleep};

use super::up::Background;
use crate::cli::block_on;
use crate::client::{Client, UNREACHABLE, discovery, is_passing};
use crate::confirm::confirm;
use crate::context::Asking;
use crate::failure::{Ended, Exit, Failure};
use crate::output::numbers::counted;
use crate::output::{Output, Shown};

/// Apps have 90 s to end, the gateway 15 s; then the server has ended.
const DEADLINE: Duration = Duration::from_secs(150);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// What `down` takes.
#[derive(Debug, clap::Args)]
#[command(
    before_help = "Examples:\n  ark down\n  ark down --yes --data-dir ./data",
    after_help = "Releases, configuration and history stay. `ark up` afterwards starts the apps again."
)]
pub(crate) struct Args {
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    asking: Asking,
}

pub(crate) fn shown(args: &Args) -> Shown {
    args.asking.shown
}

pub(crate) fn run(args: Args) -> Ended {
    let out = Output::new(args.asking.shown);
    block_on(down(out, args))
}

async fn down(out: Output, args: Args) -> Ended {
    // A server that is named by its address is somewhere else; its files are none of ours.
    let dir = match args.asking.connection.server {
        Some(_) => None,
        None => Some(args.asking.connection.data_dir()?),
    };
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    // Apps and gateway may run without their server; only a server can end them in order.
    let starting = "the server is not running; starting it to stop apps and gateway";
    let mut started = None;
    if let Some(dir) = &dir
        && !discovery::server_file(dir).exists()
    {
        if !ark_server::gateway_link::exists(dir) {
            out.say(format!("no ark runs in {}", dir.display()));
            return Ok(Exit::DONE);
        }
        out.say(starting);
        started = Some(Background::start(dir, any, None, &[]).await?);
    }
    let mut client = Client::new(&args.asking.connection)?;
    if let Some(dir) = &dir
        && started.is_none()
        && let Err(failure) = client.server_info().await
        && failure.code == UNREACHABLE
    {
        out.say(starting);
        started = Some(Background::start(dir, any, None, &[]).await?);
        client = Client::new(&args.asking.connection)?;
    }
    let asked = confirm(out, args.yes, &what_ends(&client).await?, "down");
    if let Err(failure) = asked {
        // Left as it was found: without a server.
        if started.is_some() {
            client.shutdown(ShutdownRequest { apps: false }).await?;
        }
        return Err(failure);
    }
    stop_everything(&client).await?;
    if let Some(mut server) = started {
        server.wait(LOOK * 50).await;
    }
    if let Some(dir) = &dir {
        forget(dir);
    }
    out.say("apps, gateway and server have ended");
    Ok(Exit::DONE)
}

async fn what_ends(client: &Client) -> Result<Vec<String>, Failure> {
    let environments = client.environments().await?;
    let apps: u64 = environments.iter().map(|env| env.apps.len() as u64).sum();
    let instances: u64 = environments.iter().map(|env| u64::from(env.instances)).sum();
    Ok(vec![format!(
        "this stops {} with {}, the gateway and the server at {}; data stays",
        counted(apps, "app"),
        counted(instances, "instance"),
        client.base()
    )])
}

/// Asks the server to end everything and waits until it has.
pub(crate) async fn stop_everything(client: &Client) -> Result<(), Failure> {
    let info = client.server_info().await?;
    client.shutdown(ShutdownRequest { apps: true }).await?;
    let own_machine = discovery::is_loopback(&client.base());
    let process = |pid: u32| Path::new("/proc").join(pid.to_string());
    let server = process(info.pid);
    let gateway = info.gateway.pid.and_then(|pid| u32::try_from(pid).ok()).map(process);
    let deadline = Instant::now() + DEADLINE;
    loop {
        // Of a server elsewhere nothing but its silence is seen; here its process is, too.
        let silent = client.server_info().await.is_err_and(|failure| {
            failure.code == UNREACHABLE || (own_machine && is_passing(&failure))
        });
        if silent && !(own_machine && is_running(&server)) {
            // It ends the gateway last: while that runs, it has not done what it was asked to.
            if own_machine && gateway.is_some_and(|gateway| is_running(&gateway)) {
                return Err(Failure::new(
                    ExitCode::Failed,
                    "not-down",
                    "the server ended before apps and gateway did",
                )
                .remedy("try again", "ark down"));
            }
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(Failure::new(
                ExitCode::TimedOut,
                "not-down",
                format!("the server at {} has not ended in time", client.base()),
            )
            .remedy("look closer", "ark events"));
        }
        sleep(LOOK).await;
    }
}

/// A process that has ended and was not yet waited for runs no more.
fn is_running(process: &Path) -> bool {
    let stat = std::fs::read_to_string(process.join("stat")).unwrap_or_default();
    stat.rsplit(')')
        .next()
        .is_some_and(|rest| !rest.trim().is_empty() && !rest.trim().starts_with('Z'))
}

/// Commands after this say that no server runs, instead of that it does not answer.
fn forget(dir: &Path) {
    // Somebody else's file stays; then the words are a little less exact.
    let _ = std::fs::remove_file(discovery::server_file(dir));
}
