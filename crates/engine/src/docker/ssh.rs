//! A daemon of another host, reached by SSH: a connection is an `ssh` of the server's own user that runs
//! `docker system dial-stdio` there, which passes on what comes to its daemon's socket. Who may, with
//! which key, and which host is the right one is OpenSSH's matter (`~/.ssh`); nothing is asked for, because
//! nobody is there to answer. Used by `connection`.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bollard::errors::Error;
use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::Semaphore;

/// How an `ssh` is told to behave: it asks nobody, gives up soon, and notices that the other side is gone.
const OPTIONS: [&str; 4] =
    ["BatchMode=yes", "ConnectTimeout=3", "ServerAliveInterval=5", "ServerAliveCountMax=3"];
/// What runs there.
const THERE: [&str; 3] = ["docker", "system", "dial-stdio"];
/// How many connections wait for the next call, and for how long: each takes its time to make.
const IDLE_MAX: usize = 8;
const IDLE: Duration = Duration::from_secs(60);
/// How many are made at once: beyond ten that have not shown yet who they are, OpenSSH's server turns
/// some away unless it is set otherwise (`MaxStartups`).
const MADE_AT_ONCE: usize = 4;
/// How long it may take to make one, once it is its turn.
const MADE_WITHIN: Duration = Duration::from_secs(10);
/// What a daemon is asked first, and the most bytes of its answer, which has no body.
const GREETING: &[u8] = b"HEAD /_ping HTTP/1.1\r\nHost: docker\r\n\r\n";
const GREETING_BYTES_MAX: usize = 8 << 10;
/// The most bytes of what an `ssh` says against something.
const WORDS_BYTES_MAX: u64 = 2 << 10;
/// How long it may take to have said it once its connection has ended.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// A daemon that is reached by SSH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshDaemon {
    user: Option<String>,
    host: String,
    port: Option<u16>,
    /// What is run as `ssh`.
    program: PathBuf,
}

impl SshDaemon {
    /// Reads `[USER@]HOST[:PORT]`, an address of version 6 in brackets; `None` when it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let (user, place) = match text.split_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, text),
        };
        let (host, port) = match place.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']')?;
                host.parse::<std::net::Ipv6Addr>().ok()?;
                (host, rest)
            }
            None => place.split_at(place.find(':').unwrap_or(place.len())),
        };
        let port = match port.strip_prefix(':') {
            Some(port) => Some(port.parse::<u16>().ok().filter(|port| *port > 0)?),
            None if port.is_empty() => None,
            None => return None,
        };
        // Nothing that `ssh` could take for an option, or a shell for anything.
        let plain = |word: &str| {
            let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:".contains(&byte);
            !word.is_empty() && !word.starts_with('-') && word.bytes().all(good)
        };
        (plain(host) && user.is_none_or(plain)).then(|| Self {
            user: user.map(str::to_owned),
            host: host.to_owned(),
            port,
            program: PathBuf::from("ssh"),
        })
    }

    /// The same daemon by another program than the `ssh` that is found by `PATH`.
    #[must_use]
    pub fn with_program(self, program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), ..self }
    }

    /// The host's address, where it is said.
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    pub(super) fn connect(&self, answer_seconds: u64) -> Result<Docker, Error> {
        let said = Arc::new(Mutex::new(String::new()));
        let (daemon, words) = (self.clone(), said.clone());
        let turns = Arc::new(Semaphore::new(MADE_AT_ONCE));
        let connector = tower::service_fn(move |_: hyper::Uri| {
            let (daemon, words, turns) = (daemon.clone(), words.clone(), turns.clone());
            Box::pin(async move {
                let _turn = turns.acquire().await;
                let made = tokio::time::timeout(MADE_WITHIN, daemon.tunnel(&words)).await;
                made.unwrap_or_else(|_| {
                    Err(io::Error::other(format!(
                        "the daemon did not answer within {MADE_WITHIN:?}"
                    )))
                })
            })
        });
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(IDLE_MAX)
            .pool_idle_timeout(IDLE)
            .build(connector);
        let send = move |request: BollardRequest| {
            let (client, said) = (client.clone(), said.clone());
            Box::pin(async move {
                let error = match client.request(request).await {
                    Ok(answer) => return Ok(answer),
                    Err(error) => error,
                };
                tokio::time::sleep(LAST_WORDS).await;
                let words = said.lock().map(|mut said| std::mem::take(&mut *said));
                Err(Error::from(io::Error::other(told(&error, &words.unwrap_or_default()))))
            })
        };
        let address = format!("http://{}", self.bracketed());
        Docker::connect_with_custom_transport(
            send,
            Some(address),
            answer_seconds,
            API_DEFAULT_VERSION,
        )
    }

    /// The host as it stands in an address.
    fn bracketed(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        }
    }

    /// One connection on which the daemon answers; what its `ssh` says against it is left in `words`.
    async fn tunnel(&self, words: &Arc<Mutex<String>>) -> io::Result<Tunnel> {
        let mut command = Command::new(&self.program);
        command.arg("-T");
        for option in OPTIONS {
            command.args(["-o", option]);
        }
        if let Some(user) = &self.user {
            command.args(["-l", user]);
        }
        if let Some(port) = self.port {
            command.args(["-p", &port.to_string()]);
        }
        command.arg("--").arg(&self.host).args(THERE);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut ssh = command.kill_on_drop(true).spawn().map_err(|error| {
            io::Error::new(error.kind(), format!("`ssh` cannot be run: {error}"))
        })?;
        let (Some(mut input), Some(mut output), Some(errors)) =
            (ssh.stdin.take(), ssh.stdout.take(), ssh.stderr.take())
        else {
            return Err(io::Error::other("`ssh` has no pipes"));
        };
        tokio::spawn(listen(errors, words.clone()));
        greet(&mut input, &mut output).await?;
        Ok(Tunnel { output: TokioIo::new(output), input: Some(TokioIo::new(input)), _ssh: ssh })
    }
}

impl std::fmt::Display for SshDaemon {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let user = self.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        write!(f, "ssh://{user}{}{port}", self.bracketed())
    }
}

/// Waits until the daemon answers.
async fn greet(input: &mut ChildStdin, output: &mut ChildStdout) -> io::Result<()> {
    let ended = || io::Error::other("it ended before the daemon answered");
    input.write_all(GREETING).await.map_err(|_| ended())?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() > GREETING_BYTES_MAX {
            return Err(io::Error::other("what answers there is no Docker daemon"));
        }
        if output.read_buf(&mut answer).await? == 0 {
            return Err(ended());
        }
    }
    Ok(())
}

/// Keeps the beginning of what an `ssh` says, and lets it say the rest to nobody.
async fn listen(errors: ChildStderr, words: Arc<Mutex<String>>) {
    let mut first = Vec::new();
    let mut errors = errors.take(WORDS_BYTES_MAX);
    let _ = errors.read_to_end(&mut first).await;
    let text = String::from_utf8_lossy(&first).trim().replace(['\r', '\n'], " ");
    if !text.is_empty() {
        *words.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }
    let _ = tokio::io::copy(&mut errors.into_inner(), &mut tokio::io::sink()).await;
}

/// Why a call failed, and what helps.
fn told(error: &dyn std::error::Error, said: &str) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        words = format!("{words}: {next}");
        cause = next.source();
    }
    if said.is_empty() {
        return words;
    }
    let helps = [
        ("Host key verification failed", "let the server's user know the host: `ssh HOST true`"),
        (
            "Permission denied",
            "put the public key of the server's user among the host's authorized keys",
        ),
        ("command not found", "install Docker's command there: it runs `docker system dial-stdio`"),
    ];
    let helps = helps.iter().find(|(text, _)| said.contains(text));
    let helps = helps.map(|(_, helps)| format!("; {helps}")).unwrap_or_default();
    format!("{words}: ssh says: {said}{helps}")
}

/// The pipes of an `ssh`, which ends with them.
struct Tunnel {
    output: TokioIo<ChildStdout>,
    /// `None` once all is said: the other side learns that by this pipe's end.
    input: Option<TokioIo<ChildStdin>>,
    _ssh: Child,
}

impl Connection for Tunnel {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Tunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.output).poll_read(context, into)
    }
}

impl Write for Tunnel {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.input {
            Some(input) => Pin::new(input).poll_write(context, bytes),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.input {
            Some(input) => Pin::new(input).poll_flush(context),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A pipe is closed by being let go, and by nothing else.
        self.input = None;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_or_refused() {
        let daemon = |user: Option<&str>, host: &str, port| {
            let (user, program) = (user.map(str::to_owned), PathBuf::from("ssh"));
            Some(SshDaemon { user, host: host.to_owned(), port, program })
        };
        for (text, expected) in [
            ("eu-1", daemon(None, "eu-1", None)),
            ("root@10.0.0.5", daemon(Some("root"), "10.0.0.5", None)),
            ("ark@eu-1.test:2222", daemon(Some("ark"), "eu-1.test", Some(2222))),
            ("[fd00::5]:22", daemon(None, "fd00::5", Some(22))),
            ("[fd00::5]", daemon(None, "fd00::5", None)),
        ] {
            let read = SshDaemon::parse(text);
            assert_eq!(read, expected, "{text}");
            assert_eq!(read.map(|read| read.to_string()), Some(format!("ssh://{text}")));
        }
        let bad = [
            "",
            "-oProxyCommand=x",
            "a@-x",
            "a b",
            "a;b",
            "@eu-1",
            "eu-1:0",
            "eu-1:",
            "[x]",
            "a/b",
        ];
        for text in bad {
            assert_eq!(SshDaemon::parse(text), None, "{text}");
        }
    }

    #[tokio::test]
    async fn a_connection_that_cannot_be_made_says_why() {
        for (program, why) in [
            ("false", "it ended before the daemon answered"),
            ("/nowhere/ssh", "`ssh` cannot be run"),
        ] {
            let daemon = SshDaemon::parse("eu-1.test").unwrap().with_program(program);
            let error = daemon.connect(5).unwrap().version().await.unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn what_ssh_says_is_told_with_what_helps() {
        let error = io::Error::other("connection closed");
        assert_eq!(told(&error, ""), "connection closed");
        let said = told(&error, "root@eu-1: Permission denied (publickey).");
        assert!(said.contains("(publickey)") && said.contains("authorized keys"), "{said}");
    }
}
