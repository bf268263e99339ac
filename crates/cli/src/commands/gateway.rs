//! `ark gateway`: the data plane: a supervisor and, as its child (`--worker`), the gateway.

use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use ark_model::exit::ExitCode;
use ark_server::roles::gateway::{
    self, AccessLog, AccessLogTo, Acme, Challenge, Config, LETS_ENCRYPT, Program,
};
use clap::ValueEnum;

use super::up::{data_dir, log_to_stderr};
use crate::cli::block_on;
use crate::context::{Asking, Context};
use crate::failure::{Ended, Exit, Failure};
use crate::output::Shown;

/// What `gateway` takes.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    before_help = "Examples:\n  ark gateway --data-dir ./data --http 127.0.0.1:8080\n  ark gateway restart",
    after_help = "It serves the last routes it was told, with or without a server. SIGTERM gives requests 30 s\nto end. `ark up` starts one by itself."
)]
pub(crate) struct Args {
    /// Where its socket and files are [default: the one of ark up]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where apps are reached; port 0 is any; several times for several addresses
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    http: Vec<SocketAddr>,
    /// Where apps are reached over TLS; several times for several addresses
    #[arg(long, value_name = "ADDR")]
    https: Vec<SocketAddr>,
    #[command(flatten)]
    doors: DoorArgs,
    #[command(flatten)]
    log: LogArgs,
    #[command(flatten)]
    acme: AcmeArgs,
    /// Serve with the sockets handed over on standard input (started by the supervisor)
    #[arg(long, hide = true)]
    worker: bool,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Replace the gateway's process without losing a request
    #[command(
        before_help = "Examples:\n  ark gateway restart",
        after_help = "A new process takes over the listening sockets. The one before lets its connections end,\nfor at most five minutes."
    )]
    Restart {
        #[command(flatten)]
        asking: Asking,
    },
}

/// What `gateway` and `up` take about the access log.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct LogArgs {
    /// Log one JSON line per request, without queries: to access.log in the data directory (rotated at
    /// 64 MiB, four kept), or to standard output
    #[arg(long, value_name = "WHERE")]
    access_log: Option<LogTo>,
    /// Log one of so many requests
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..), requires = "access_log")]
    access_log_sample: u32,
}

impl LogArgs {
    fn wanted(&self) -> Option<AccessLog> {
        let to = match self.access_log? {
            LogTo::File => AccessLogTo::File,
            LogTo::Stdout => AccessLogTo::Stdout,
        };
        Some(AccessLog { to, one_in: self.access_log_sample })
    }

    /// The same as arguments of another process.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let to = match self.access_log {
            Some(LogTo::File) => "file",
            Some(LogTo::Stdout) => "stdout",
            None => return Vec::new(),
        };
        let sample = self.access_log_sample.to_string();
        ["--access-log", to, "--access-log-sample", &sample].map(str::to_owned).into()
    }
}

/// What `gateway` and `up` take about certificates.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct AcmeArgs {
    /// Get and renew certificates by ACME for the hosts of routes that no file vouches for; says that
    /// you agree to the authority's terms of service
    #[arg(long, requires = "https")]
    acme: bool,
    /// Whom the authority may write to
    #[arg(long, value_name = "ADDRESS", requires = "acme")]
    acme_email: Option<String>,
    /// The authority's directory
    #[arg(long, value_name = "URL", requires = "acme", default_value = LETS_ENCRYPT, value_parser = directory)]
    acme_directory: String,
    /// Certificates (PEM) by which the authority itself is known [default: the system's]
    #[arg(long, value_name = "FILE", requires = "acme")]
    acme_roots: Option<PathBuf>,
    /// Prove hosts in this way only [default: both in turn, as far as there are listeners]
    #[arg(long, value_name = "WAY", requires = "acme")]
    acme_challenge: Option<Way>,
}

/// A way to prove a host.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Way {
    /// By an answer on port 80
    #[value(name = "http-01")]
    Http01,
    /// By a handshake on port 443
    #[value(name = "tls-alpn-01")]
    TlsAlpn01,
}

fn directory(text: &str) -> Result<String, String> {
    match text.starts_with("https://") {
        true => Ok(text.to_owned()),
        false => Err("must begin with https://".to_owned()),
    }
}

impl AcmeArgs {
    fn wanted(&self) -> Option<Acme> {
        let challenge = self.acme_challenge.map(|way| match way {
            Way::Http01 => Challenge::Http01,
            Way::TlsAlpn01 => Challenge::TlsAlpn01,
        });
        self.acme.then(|| Acme {
            directory: self.acme_directory.clone(),
            email: self.acme_email.clone(),
            roots: self.roots(),
            challenge,
        })
    }

    /// The same as arguments of another process.
    pub(crate) fn arguments(&self) -> Vec<String> {
        if !self.acme {
            return Vec::new();
        }
        let mut all = vec!["--acme".to_owned()];
        let mut add = |name: &str, value: Option<String>| {
            all.extend(value.into_iter().flat_map(|value| [name.to_owned(), value]));
        };
        add("--acme-directory", Some(self.acme_directory.clone()));
        add("--acme-email", self.acme_email.clone());
        add("--acme-roots", self.roots().map(|path| path.display().to_string()));
        let way = self.acme_challenge.and_then(|way| way.to_possible_value());
        add("--acme-challenge", way.map(|way| way.get_name().to_owned()));
        all
    }

    /// The gateway need not be where this process is.
    fn roots(&self) -> Option<PathBuf> {
        let path = self.acme_roots.as_ref()?;
        Some(std::path::absolute(path).unwrap_or_else(|_| path.clone()))
    }
}

/// Where the access log goes.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum LogTo {
    /// The data directory.
    File,
    /// Standard output.
    Stdout,
}

/// What `gateway` and `up` take about listeners.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct DoorArgs {
    /// Send requests without TLS to the first --https address
    #[arg(long, requires = "https")]
    pub(crate) redirect: bool,
    /// Listeners behind a balancer that says for whom it speaks (PROXY protocol v1 or v2)
    #[arg(long, value_name = "LISTENER", value_delimiter = ',')]
    pub(crate) proxy_protocol: Vec<Listener>,
}

/// A kind of listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Listener {
    /// Those of --http.
    Http,
    /// Those of --https.
    Https,
}

impl Listener {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

pub(crate) fn shown(args: &Args) -> Shown {
    match &args.action {
        Some(Action::Restart { asking }) => asking.shown,
        None => Shown::default(),
    }
}

fn restart(asking: &Asking) -> Ended {
    let context = Context::new(asking)?;
    block_on(async {
        let gateway = context.client.restart_gateway().await?;
        context.out.one(&gateway, |gateway| {
            let pid = gateway.pid.map_or_else(String::new, |pid| format!(" (pid {pid})"));
            format!("replaced: a new gateway serves{pid}, the one before lets its connections end")
        })?;
        Ok(Exit::DONE)
    })
}

pub(crate) fn run(args: Args) -> Ended {
    if let Some(Action::Restart { asking }) = args.action {
        return restart(&asking);
    }
    log_to_stderr();
    let data_dir = data_dir(args.data_dir)?;
    if args.worker {
        gateway::run_worker(&data_dir).map_err(|error| ended(&error))?;
        return Ok(Exit::DONE);
    }
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o711).create(&data_dir);
    made.map_err(|error| Failure::file(&data_dir, "made", &error))?;
    let data_dir =
        data_dir.canonicalize().map_err(|error| Failure::file(&data_dir, "read", &error))?;
    let path = std::env::current_exe().map_err(|error| {
        Failure::new(ExitCode::Failed, "program", format!("this program cannot be found: {error}"))
    })?;
    let arguments =
        vec!["gateway".into(), "--worker".into(), "--data-dir".into(), data_dir.clone().into()];
    let config = Config {
        data_dir,
        http: args.http,
        https: args.https,
        proxy_protocol_http: args.doors.proxy_protocol.contains(&Listener::Http),
        proxy_protocol_https: args.doors.proxy_protocol.contains(&Listener::Https),
        redirect: args.doors.redirect,
        access_log: args.log.wanted(),
        acme: args.acme.wanted(),
    };
    gateway::run_supervisor(&config, Program { path, arguments }).map_err(|error| ended(&error))?;
    Ok(Exit::DONE)
}

fn ended(error: &dyn std::error::Error) -> Failure {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    Failure::new(ExitCode::Failed, "gateway", text)
}
