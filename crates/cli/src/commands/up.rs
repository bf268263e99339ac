//! `ark up`: server and gateway on this machine. Also the parts that `server` and `down` share.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use ark_model::api::ShutdownRequest;
use ark_model::exit::ExitCode;
use ark_server::workflows::s3::S3Options;
use ark_server::{Doors, ServerError, ServerFile, UpOptions, WithGateway};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;
use tracing_subscriber::EnvFilter;

use super::gateway::{AcmeArgs, DoorArgs, LogArgs};
use crate::cli::block_on;
use crate::client::discovery::default_data_dir;
use crate::failure::{Ended, Exit, Failure};
use crate::output::{Output, Shown, Style};

/// Where the API listens unless told otherwise.
pub(crate) const API: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 7070);
/// Where the gateway listens unless told otherwise.
const HTTP: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
/// How long a server in the background may take to be up.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest line a server says when it is up.
const READY_BYTES_MAX: u64 = 64 << 10;

/// Where the API is: shared with `server`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ApiArgs {
    /// Where the API listens; port 0 is any
    #[arg(long, value_name = "ADDR", default_value_t = API)]
    api: SocketAddr,
    /// A host name by which API and console may be reached, beside localhost and IP addresses;
    /// may be given several times
    #[arg(long, value_name = "NAME", value_parser = host_name)]
    allow_host: Vec<String>,
    /// Also serve the workflow manager's API at the root of this address, for clients that know that API
    /// alone. On a loopback address it asks for no token
    #[arg(long, value_name = "ADDR")]
    workflow_manager: Option<SocketAddr>,
}

fn host_name(text: &str) -> Result<String, String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    match (1..=253).contains(&text.len()) && text.bytes().all(plain) {
        true => Ok(text.to_owned()),
        false => Err("a host name such as ark.example.com, without scheme and port".to_owned()),
    }
}

/// What `up` takes.
#[derive(Debug, clap::Args)]
#[command(
    before_help = "Examples:\n  ark up\n  ark up --detach\n  ark up --data-dir ./data --api 127.0.0.1:0 --http 127.0.0.1:0 --json",
    after_help = "^C and SIGTERM stop the server only: gateway and apps go on, and the next `ark up` takes them\nover. `ark down` stops everything. ARK_LOG=info says more."
)]
pub(crate) struct Args {
    /// Where everything is kept [default: ARK_DATA_DIR, else /var/lib/ark for root, ~/.local/share/ark]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    at: ApiArgs,
    /// Where apps are reached; port 0 is any [default: where a running gateway is, else 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    http: Option<SocketAddr>,
    /// Where apps are reached over TLS; port 0 is any. Certificates: DATA_DIR/certs/NAME.pem and .key
    #[arg(long, value_name = "ADDR")]
    https: Option<SocketAddr>,
    #[command(flatten)]
    doors: DoorArgs,
    #[command(flatten)]
    log: LogArgs,
    #[command(flatten)]
    acme: AcmeArgs,
    /// Print one line of JSON when it is up
    #[arg(long)]
    json: bool,
    /// Return when it is up; the server goes on in the background
    #[arg(long)]
    detach: bool,
    /// In a session of its own (started by --detach)
    #[arg(long, hide = true)]
    own_session: bool,
}

pub(crate) fn shown(args: &Args) -> Shown {
    Shown { json: args.json, utc: false }
}

pub(crate) fn run(args: Args) -> Ended {
    let out = Output::new(shown(&args));
    let data_dir = data_dir(args.data_dir.clone())?;
    if args.own_session {
        // Fails only for the leader of a process group, who is in no danger of its terminal.
        let _ = rustix::process::setsid();
    }
    if args.detach {
        return block_on(detach(out, &data_dir, &args));
    }
    let http = args.http.unwrap_or_else(|| remembered(&data_dir).unwrap_or(HTTP));
    let doors = Doors {
        http,
        https: args.https,
        redirect: args.doors.redirect,
        proxy_protocol: args.doors.proxy_protocol.iter().map(|kind| kind.name()).collect(),
        more: [args.log.arguments(), args.acme.arguments()].concat(),
    };
    serve(out, data_dir, args.at, WithGateway::Kept { doors })
}

/// The data directory that is meant.
pub(crate) fn data_dir(given: Option<PathBuf>) -> Result<PathBuf, Failure> {
    given.map_or_else(default_data_dir, Ok)
}

/// Where the gateway of this data directory was last: apps keep their addresses.
fn remembered(data_dir: &Path) -> Option<SocketAddr> {
    let text = std::fs::read(data_dir.join("gateway.json")).ok()?;
    let file: serde_json::Value = serde_json::from_slice(&text).ok()?;
    file["http"][0].as_str()?.parse().ok()
}

/// Where distributed Maps find objects, from the environment: a secret is in no argument.
fn store_of_objects(
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<S3Options>, Failure> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    let Some(endpoint) = set("ARK_S3_ENDPOINT") else { return Ok(None) };
    let needed = |name: &str| {
        set(name).ok_or_else(|| {
            Failure::usage(format!("ARK_S3_ENDPOINT is set, and {name} is not: set both or none"))
        })
    };
    Ok(Some(S3Options {
        endpoint,
        region: set("ARK_S3_REGION").unwrap_or_else(|| "us-east-1".to_owned()),
        access_key_id: needed("ARK_S3_ACCESS_KEY_ID")?,
        secret_access_key: needed("ARK_S3_SECRET_ACCESS_KEY")?.into(),
    }))
}

/// Runs a server until it is told to end.
pub(crate) fn serve(out: Output, data_dir: PathBuf, at: ApiArgs, gateway: WithGateway) -> Ended {
    log_to_stderr();
    let exe = std::env::current_exe().map_err(|error| {
        Failure::new(ExitCode::Failed, "program", format!("this program cannot be found: {error}"))
    })?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| {
        Failure::new(ExitCode::Failed, "runtime", format!("no runtime can be started: {error}"))
    })?;
    runtime.block_on(async {
        let s3 = store_of_objects(|name| std::env::var(name).ok())?;
        let options = UpOptions {
            data_dir: data_dir.clone(),
            api: at.api,
            allowed_hosts: at.allow_host,
            workflow_manager: at.workflow_manager,
            gateway,
            exe,
            s3,
        };
        let running = ark_server::up(options).await.map_err(|error| not_up(&error))?;
        out.one(&running.file, |file| words(file, &data_dir, FOREGROUND, out.style))?;
        let shutdown = running.shutdown();
        let signals = tokio::spawn(async move {
            let (Ok(mut interrupt), Ok(mut terminate)) =
                (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
            else {
                return;
            };
            tokio::select! { _ = interrupt.recv() => {} _ = terminate.recv() => {} }
            shutdown.request(ShutdownRequest { apps: false });
        });
        let ended = running.wait().await;
        signals.abort();
        match ended {
            ark_server::Ended::ServerOnly => {
                out.say("the server has ended; gateway and apps go on");
                out.say("  go on: ark up     stop all: ark down");
                Ok(Exit::DONE)
            }
            ark_server::Ended::Everything => {
                out.say("apps, gateway and server have ended");
                Ok(Exit::DONE)
            }
            ark_server::Ended::Fault(what) => Err(Failure::new(
                ExitCode::Failed,
                "server-fault",
                format!("{what} ended by itself; gateway and apps go on"),
            )
            .remedy("start it again", "ark up")),
        }
    })
}

fn not_up(error: &ServerError) -> Failure {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        let next = error.to_string();
        // Some errors repeat what caused them.
        if !text.ends_with(&next) {
            text.push_str(&format!(": {next}"));
        }
        source = error.source();
    }
    Failure::new(ExitCode::Failed, "not-up", text)
}

/// What ends it, when it holds this terminal.
const FOREGROUND: &str = "^C stops the server only; gateway and apps go on. stop all: ark down";
/// The same, when it runs in the background.
const DETACHED: &str = "it goes on in the background. stop all: ark down";

fn words(file: &ServerFile, data_dir: &Path, ends: &str, style: Style) -> String {
    let apps = file.http.as_ref().map_or_else(String::new, |http| format!("   apps {http}"));
    let apps = file.https.as_ref().map_or_else(|| apps.clone(), |https| format!("{apps} {https}"));
    let manager = file
        .workflow_manager
        .as_ref()
        .map_or_else(String::new, |at| format!("   workflow manager {at}"));
    let gateway = file
        .gateway_pid
        .map_or_else(|| "no gateway".to_owned(), |pid| format!("gateway process {pid}"));
    format!(
        "{} ark is up   api {}{manager}{apps}\n  data {} · server process {} · {gateway}\n  \
         deploy: ark deploy APP -e ENV     look: ark doctor\n  \
         {ends}",
        style.good("✓"),
        file.api,
        data_dir.display(),
        file.pid,
    )
}

/// Diagnostics of a role, to standard error; `ARK_LOG` says how much.
pub(crate) fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("ARK_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    // A second call, in a test, changes nothing.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        // It would tell standard error of it, and panic: a full disk must end nothing.
        .log_internal_errors(false)
        .try_init();
}

async fn detach(out: Output, data_dir: &Path, args: &Args) -> Ended {
    let https = args.https.map(|https| https.to_string());
    let manager = args.at.workflow_manager.map(|manager| manager.to_string());
    let mut more = vec!["--own-session"];
    if let Some(https) = &https {
        more.extend(["--https", https]);
    }
    if let Some(manager) = &manager {
        more.extend(["--workflow-manager", manager]);
    }
    for host in &args.at.allow_host {
        more.extend(["--allow-host", host]);
    }
    if args.doors.redirect {
        more.push("--redirect");
    }
    for listener in &args.doors.proxy_protocol {
        more.extend(["--proxy-protocol", listener.name()]);
    }
    let further = [args.log.arguments(), args.acme.arguments()].concat();
    more.extend(further.iter().map(String::as_str));
    let mut server = Background::start(data_dir, args.at.api, args.http, &more).await?;
    out.one(&server.file, |file| words(file, data_dir, DETACHED, out.style))?;
    server.leave();
    Ok(Exit::DONE)
}

/// A server in a process of its own that this process started.
#[derive(Debug)]
pub(crate) struct Background {
    /// What it said when it was up.
    pub(crate) file: ServerFile,
    child: Option<Child>,
}

impl Background {
    /// Starts one and waits until it is up. Its log is `server.log` in the data directory.
    pub(crate) async fn start(
        data_dir: &Path,
        api: SocketAddr,
        http: Option<SocketAddr>,
        more: &[&str],
    ) -> Result<Self, Failure> {
        let log_path = data_dir.join("server.log");
        let failed = |error: &std::io::Error| Failure::file(&log_path, "written", error);
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o711)
            .create(data_dir)
            .map_err(|error| failed(&error))?;
        let mut options = std::fs::OpenOptions::new();
        let log = options.create(true).append(true).mode(0o600).open(&log_path);
        let log = log.map_err(|error| failed(&error))?;
        let exe = std::env::current_exe().map_err(|error| failed(&error))?;
        let mut command = Command::new(exe);
        command.arg("up").arg("--json").args(more).arg("--data-dir").arg(data_dir);
        command.arg("--api").arg(api.to_string());
        if let Some(http) = http {
            command.arg("--http").arg(http.to_string());
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(|error| failed(&error))?;
        match timeout(READY_TIMEOUT, ready(&mut child)).await.ok().flatten() {
            Some(file) => Ok(Self { file, child: Some(child) }),
            None => {
                // It is this process's own child, which is of no use.
                let _ = child.kill().await;
                Err(did_not_start(&log_path))
            }
        }
    }

    /// Leaves it running.
    pub(crate) fn leave(&mut self) {
        self.child = None;
    }

    /// Waits until it has ended, at most for `limit`; then it is killed.
    pub(crate) async fn wait(&mut self, limit: Duration) -> bool {
        let Some(child) = &mut self.child else { return true };
        if timeout(limit, child.wait()).await.is_ok() {
            return true;
        }
        let _ = child.kill().await;
        false
    }
}

async fn ready(child: &mut Child) -> Option<ServerFile> {
    let stdout = child.stdout.take()?;
    let mut line = String::new();
    BufReader::new(stdout.take(READY_BYTES_MAX)).read_line(&mut line).await.ok()?;
    serde_json::from_str(&line).ok()
}

fn did_not_start(log: &Path) -> Failure {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let failure = Failure::new(ExitCode::Failed, "not-up", "the server did not come up")
        .detail(format!("last lines of {}:", log.display()));
    let tail = lines.iter().skip(lines.len().saturating_sub(5));
    tail.fold(failure, |failure, line| failure.detail(format!("  {line}")))
}
