//! Waiting until the instances of an app are as they were asked to be: `scale`, `restart`, `stop`.
//!
//! The server does the work and goes on when this ends: by ^C, or by its deadline.

use std::time::Duration;

use ark_model::api::{AppDetail, AppRow};
use ark_model::exit::ExitCode;
use ark_model::{AppName, EnvName};
use tokio::time::{Instant, sleep};

use crate::client::is_passing;
use crate::context::Context;
use crate::failure::{Ended, Exit, Failure};
use crate::output::numbers::counted;

/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// How long to wait, and whether at all: taken by the commands above.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Wait {
    /// Return as soon as the server has accepted it
    #[arg(long)]
    pub(crate) detach: bool,
    /// Wait at most so many seconds; then exit code 4 (the server goes on)
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub(crate) timeout: u64,
}

/// Waits until `settled` says so, then prints the app.
pub(crate) async fn settle(
    context: &Context,
    env: &EnvName,
    app: &AppName,
    wait: Wait,
    settled: impl AsyncFn(&AppDetail) -> Result<bool, Failure>,
) -> Ended {
    let waiting = async {
        let deadline = Instant::now() + Duration::from_secs(wait.timeout);
        loop {
            match context.client.app(env, app).await {
                Ok(detail) if wait.detach => return Ok(detail),
                Ok(detail) => match settled(&detail).await {
                    Ok(true) => return Ok(detail),
                    Ok(false) => {}
                    Err(failure) if is_passing(&failure) => {}
                    Err(failure) => return Err(failure),
                },
                Err(failure) if is_passing(&failure) => context.client.rediscover(),
                Err(failure) => return Err(failure),
            }
            if Instant::now() >= deadline {
                return Err(late(env, app, wait.timeout));
            }
            sleep(LOOK).await;
        }
    };
    tokio::select! {
        detail = waiting => {
            context.out.one(&detail?, |detail| words(&detail.row))?;
            Ok(Exit::DONE)
        }
        _ = tokio::signal::ctrl_c() => {
            context.out.warn(format!("the server goes on; look: ark ps {app} -e {env}"));
            Ok(ExitCode::Detached.into())
        }
    }
}

fn late(env: &EnvName, app: &AppName, seconds: u64) -> Failure {
    Failure::new(
        ExitCode::TimedOut,
        "not-settled",
        format!("{app} on {env} is not as it should be after {seconds} s; the server goes on"),
    )
    .remedy("look closer", format!("ark ps {app} -e {env} --all"))
}

fn words(row: &AppRow) -> String {
    if row.stopped {
        return match row.alive {
            0 => format!("{} is stopped on {}", row.app, row.env),
            alive => format!(
                "{} is being stopped on {}, {} left",
                row.app,
                row.env,
                counted(u64::from(alive), "instance")
            ),
        };
    }
    let wanted = counted(u64::from(row.wanted), "instance");
    format!("{} on {}: {} of {wanted} ready", row.app, row.env, row.ready)
}
