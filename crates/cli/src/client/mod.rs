//! The client of the server's API: one method per operation, deadlines on all of them.
//!
//! Commands call [`Client`]; nothing else here or there speaks HTTP to the server. It knows no
//! terminal and never decides what a command does about an answer: problems come back as
//! [`Failure`]s that carry the server's own words and exit code.

pub(crate) mod discovery;
mod endpoints;
pub(crate) mod exec;
pub(crate) mod follow;
pub(crate) mod runs;
mod server;
pub(crate) mod sse;
pub(crate) mod upload;
pub(crate) mod workflows;

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ark_model::api::{IDEMPOTENCY_KEY, Problem, ProblemCode};
use ark_model::exit::ExitCode;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep};

use crate::failure::Failure;

pub(crate) use discovery::Connection;

/// How long a connection to the server may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an ordinary answer may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a request that was lost with its server is sent again, and the pause in between.
const LOST_DEADLINE: Duration = Duration::from_secs(60);
const LOST_PAUSE: Duration = Duration::from_millis(300);
/// The largest JSON answer that is read.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// How often a request is sent again when the server says that it is busy.
const BUSY_RETRIES: u32 = 4;
/// The first pause before that; each further one is twice as long.
const BUSY_PAUSE: Duration = Duration::from_millis(200);

/// A connection to one server, with the token to use.
#[derive(Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    /// Where it is now. A server on port 0 has another port after a restart.
    address: Mutex<Address>,
    /// The data directory whose `server.json` named the server; absent when it was given.
    data_dir: Option<PathBuf>,
}

#[derive(Debug, Clone)]
struct Address {
    base: String,
    token: String,
}

impl Client {
    /// Finds the server and its token; sends nothing yet.
    pub(crate) fn new(connection: &Connection) -> Result<Self, Failure> {
        let found = connection.find()?;
        Self::of(&found.server, found.token, found.data_dir)
    }

    /// A client of a server whose address and token are known.
    pub(crate) fn of(
        server: &str,
        token: String,
        data_dir: Option<PathBuf>,
    ) -> Result<Self, Failure> {
        // TLS by ring. An error means that it was installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let loopback = discovery::is_loopback(server);
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent(concat!("ark/", env!("CARGO_PKG_VERSION")))
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .tcp_nodelay(true);
        if loopback {
            // A proxy has no business between this machine and itself.
            builder = builder.no_proxy();
        }
        let http = builder
            .build()
            .map_err(|error| Failure::new(ExitCode::Failed, "client", chain(&error)))?;
        let base = server.trim_end_matches('/').to_owned();
        Ok(Self { http, address: Mutex::new(Address { base, token }), data_dir })
    }

    /// Where the server is.
    pub(crate) fn base(&self) -> String {
        self.address().base
    }

    fn address(&self) -> Address {
        self.address.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads again where the server is, when a data directory says so.
    pub(crate) fn rediscover(&self) {
        let found = self.data_dir.as_deref().and_then(|dir| discovery::read_server_file(dir).ok());
        if let Some(file) = found {
            let token = std::fs::read_to_string(&file.token_file);
            let mut address = self.address.lock().unwrap_or_else(PoisonError::into_inner);
            address.base = file.api.trim_end_matches('/').to_owned();
            if let Ok(token) = token {
                address.token = token.trim().to_owned();
            }
        }
    }

    /// A request with the token; `path` begins with `/`.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let address = self.address();
        self.http.request(method, format!("{}{path}", address.base)).bearer_auth(address.token)
    }

    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &impl Serialize,
    ) -> Result<T, Failure> {
        self.json(|| self.request(Method::GET, path).query(query)).await
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        self.json(|| self.request(Method::POST, path).json(body)).await
    }

    /// A request that must be carried out once: one key for all tries, so that an answer that was
    /// lost on its way, with the server perhaps, is given again.
    async fn post_once<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        let key = uuid::Uuid::now_v7().to_string();
        let send = || self.request(Method::POST, path).header(IDEMPOTENCY_KEY, &key).json(body);
        let deadline = Instant::now() + LOST_DEADLINE;
        let mut lost = false;
        loop {
            match self.json(send).await {
                Err(failure) if failure.code == LOST || (lost && is_passing(&failure)) => {
                    lost = true;
                    if Instant::now() >= deadline {
                        return Err(failure);
                    }
                }
                answer => return answer,
            }
            sleep(LOST_PAUSE).await;
            self.rediscover();
        }
    }

    async fn with_body<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        self.json(|| self.request(method.clone(), path).json(body)).await
    }

    async fn delete(&self, path: &str) -> Result<(), Failure> {
        self.send(|| self.request(Method::DELETE, path).timeout(REQUEST_TIMEOUT)).await.map(|_| ())
    }

    async fn json<T: DeserializeOwned>(
        &self,
        build: impl Fn() -> RequestBuilder,
    ) -> Result<T, Failure> {
        self.json_within(REQUEST_TIMEOUT, build).await
    }

    async fn json_within<T: DeserializeOwned>(
        &self,
        timeout: Duration,
        build: impl Fn() -> RequestBuilder,
    ) -> Result<T, Failure> {
        let response = self.send(|| build().timeout(timeout)).await?;
        self.parse(response).await
    }

    /// The JSON of an answer.
    async fn parse<T: DeserializeOwned>(&self, response: Response) -> Result<T, Failure> {
        let body = self.read(response).await?;
        serde_json::from_slice(&body).map_err(|error| {
            Failure::new(
                ExitCode::Failed,
                "unexpected-answer",
                format!("the answer of {} cannot be read: {error}", self.base()),
            )
            .detail("is it an Ark server of the same version? ark version, ark doctor")
        })
    }

    /// Sends a request and turns every answer that is not a success into a failure. A busy server
    /// is asked again a few times.
    pub(crate) async fn send(
        &self,
        build: impl Fn() -> RequestBuilder,
    ) -> Result<Response, Failure> {
        let mut pause = BUSY_PAUSE;
        let mut attempt = 0;
        loop {
            let failure = match self.send_once(build()).await {
                Ok(response) => return Ok(response),
                Err(failure) => failure,
            };
            if failure.code != ProblemCode::Busy.as_str() || attempt >= BUSY_RETRIES {
                return Err(failure);
            }
            sleep(pause).await;
            attempt += 1;
            pause *= 2;
        }
    }

    /// The same for a request that cannot be sent twice.
    pub(crate) async fn send_once(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        if status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(response);
        }
        Err(self.refusal(response).await)
    }

    async fn refusal(&self, response: Response) -> Failure {
        let status = response.status();
        let Ok(body) = self.read(response).await else {
            return not_ark(&self.base(), status);
        };
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => problem.into(),
            Err(_) => not_ark(&self.base(), status),
        }
    }

    async fn read(&self, mut response: Response) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unreachable(&error))? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(Failure::new(
                    ExitCode::Failed,
                    "answer-too-large",
                    format!(
                        "the answer of {} is larger than {ANSWER_BYTES_MAX} bytes",
                        self.base()
                    ),
                ));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// Why a request got no answer.
    pub(crate) fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let base = self.base();
        if error.is_timeout() && !error.is_connect() {
            return Failure::new(
                ExitCode::TimedOut,
                "server-timeout",
                format!("the server at {base} did not answer in time"),
            )
            .remedy("look closer", "ark doctor");
        }
        let (code, what) = if error.is_connect() {
            (UNREACHABLE, "cannot be reached")
        } else {
            (LOST, "was lost within a request")
        };
        let why = innermost(error);
        let failure =
            Failure::new(ExitCode::Failed, code, format!("the server at {base} {what}: {why}"));
        match &self.data_dir {
            Some(dir) => failure
                .detail("apps and gateway go on without it")
                .remedy("start it", discovery::up_command(dir)),
            None => failure.remedy("start one here", "ark up"),
        }
    }
}

/// The code of a failure to reach the server at all; followers try again on it.
pub(crate) const UNREACHABLE: &str = "server-unreachable";
/// The code of a connection that broke after a request was sent: it may have been carried out.
const LOST: &str = "server-lost";

/// Whether trying again later may help.
pub(crate) fn is_passing(failure: &Failure) -> bool {
    let passing = [ProblemCode::Busy, ProblemCode::ShuttingDown, ProblemCode::Timeout];
    failure.code == UNREACHABLE
        || failure.code == LOST
        || failure.code == "server-timeout"
        || passing.iter().any(|code| failure.code == code.as_str())
}

fn not_ark(base: &str, status: StatusCode) -> Failure {
    Failure::new(
        ExitCode::Failed,
        "unexpected-answer",
        format!("{base} answered {status} and not as an Ark server does"),
    )
    .detail("check --server and ARK_SERVER")
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut error = error;
    while let Some(source) = error.source() {
        text.push_str(&format!(": {source}"));
        error = source;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn a_request_lost_with_its_server_is_sent_again_under_the_same_key() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let client = Client::of(&format!("http://{address}"), "t".into(), None).unwrap();
        let server = tokio::spawn(async move {
            let mut keys = Vec::new();
            for answer in ["", "HTTP/1.1 202 x\r\ncontent-length: 1\r\n\r\n7"] {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut bytes = vec![0; 64 << 10];
                let read = stream.read(&mut bytes).await.unwrap();
                let text = String::from_utf8_lossy(&bytes[..read]).into_owned();
                let key = text.lines().find_map(|line| line.strip_prefix("idempotency-key: "));
                keys.push(key.unwrap_or_default().to_owned());
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            keys
        });
        assert_eq!(client.post_once::<u8>("/x", &()).await.unwrap(), 7);
        let keys = server.await.unwrap();
        assert_eq!(keys[0], keys[1]);
        assert!(!keys[0].is_empty());
    }
}
