//! `ark doctor`: whether everything is well, here and on the server.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use ark_model::api::{CheckOutcome, DoctorCheck, DoctorReport};
use ark_model::exit::ExitCode;

use crate::cli::block_on;
use crate::client::{Client, Connection, discovery};
use crate::context::Asking;
use crate::failure::{Ended, Exit, Failure};
use crate::output::{Output, Shown, Style};

/// What `doctor` takes.
#[derive(Debug, clap::Args)]
#[command(
    before_help = "Examples:\n  ark doctor\n  ark doctor --json",
    after_help = "Exit code 1 when something does not work; warnings alone are 0."
)]
pub(crate) struct Args {
    #[command(flatten)]
    asking: Asking,
}

pub(crate) fn shown(args: &Args) -> Shown {
    args.asking.shown
}

pub(crate) fn run(args: Args) -> Ended {
    let out = Output::new(args.asking.shown);
    let report = block_on(async {
        let mut checks = own_checks(&args.asking.connection);
        match Client::new(&args.asking.connection) {
            Ok(client) => match client.doctor().await {
                Ok(report) => {
                    checks.push(version_check(&client).await);
                    checks.extend(report.checks);
                }
                Err(failure) => checks.push(failed("server", &failure)),
            },
            Err(failure) => checks.push(failed("server", &failure)),
        }
        let outcome = checks.iter().map(|check| check.outcome).max().unwrap_or(CheckOutcome::Ok);
        Ok(DoctorReport { checks, outcome })
    })?;
    out.one(&report, |report| render(report, out.style))?;
    Ok(match report.outcome {
        CheckOutcome::Ok | CheckOutcome::Warn => Exit::DONE,
        CheckOutcome::Fail => ExitCode::Failed.into(),
    })
}

fn check(name: &str, outcome: CheckOutcome, detail: impl Into<String>) -> DoctorCheck {
    DoctorCheck { name: name.to_owned(), outcome, detail: detail.into(), remedy: None }
}

fn failed(name: &str, failure: &Failure) -> DoctorCheck {
    let remedy = failure.remedies.first().map(|remedy| remedy.command.clone());
    DoctorCheck { remedy, ..check(name, CheckOutcome::Fail, failure.headline.clone()) }
}

/// What can be seen without a server.
fn own_checks(connection: &Connection) -> Vec<DoctorCheck> {
    let mut checks = Vec::new();
    if let (None, Ok(dir)) = (&connection.server, connection.data_dir())
        && let Ok(file) = discovery::read_server_file(&dir)
    {
        checks.push(token_file(&file.token_file));
    }
    checks
}

fn token_file(path: &Path) -> DoctorCheck {
    let mode = match std::fs::metadata(path) {
        Ok(metadata) => metadata.permissions().mode() & 0o777,
        Err(error) => {
            return check("token file", CheckOutcome::Fail, format!("{}: {error}", path.display()));
        }
    };
    if mode & 0o077 == 0 {
        return check(
            "token file",
            CheckOutcome::Ok,
            format!("{} is readable by you alone", path.display()),
        );
    }
    DoctorCheck {
        remedy: Some(format!("chmod 600 {}", path.display())),
        ..check(
            "token file",
            CheckOutcome::Warn,
            format!("{} is readable by others (mode {mode:o})", path.display()),
        )
    }
}

async fn version_check(client: &Client) -> DoctorCheck {
    let own = env!("CARGO_PKG_VERSION");
    match client.server_info().await {
        Ok(info) if info.version == own => {
            check("version", CheckOutcome::Ok, format!("command and server are both {own}"))
        }
        Ok(info) => check(
            "version",
            CheckOutcome::Warn,
            format!("the command is {own}, the server {}", info.version),
        ),
        Err(failure) => failed("version", &failure),
    }
}

fn render(report: &DoctorReport, style: Style) -> String {
    let width = report.checks.iter().map(|c| c.name.chars().count()).max().unwrap_or(0);
    let mut lines = Vec::new();
    for check in &report.checks {
        let (mark, word) = match check.outcome {
            CheckOutcome::Ok => (style.good("✓"), "ok  "),
            CheckOutcome::Warn => (style.strong("–"), "warn"),
            CheckOutcome::Fail => (style.bad("✗"), "fail"),
        };
        lines.push(format!("{mark} {word}  {:<width$}  {}", check.name, check.detail));
        if let Some(remedy) = &check.remedy {
            lines.push(format!("        {:<width$}  → {remedy}", ""));
        }
    }
    lines.join("\n")
}
