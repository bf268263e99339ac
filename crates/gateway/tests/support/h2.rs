//! HTTP/2 for tests: a client and a scripted target, on the `h2` crate.
#![allow(dead_code, unreachable_pub)] // Each test crate uses a part of it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use ark_model::ids::InstanceId;
use ark_model::route::{Route, RouteProtocol, Target, TargetState};
use bytes::Bytes;
use h2::client::SendRequest;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::net::{TcpListener, TcpStream};

/// A client's connection.
pub struct H2 {
    pub send: SendRequest<Bytes>,
    /// Resolves to what ended it.
    pub driver: tokio::task::JoinHandle<Result<(), h2::Error>>,
}

/// An answer, whole.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub fields: HeaderMap,
    pub body: Vec<u8>,
    pub trailers: Option<HeaderMap>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }
}

impl H2 {
    /// By prior knowledge, without TLS.
    pub async fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap()).await
    }

    pub async fn over<T>(io: T) -> Self
    where
        T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let (send, connection) = h2::client::handshake(io).await.unwrap();
        Self { send, driver: tokio::spawn(connection) }
    }

    /// The same connection once more.
    pub fn again(&self) -> Self {
        Self { send: self.send.clone(), driver: tokio::spawn(async { Ok(()) }) }
    }

    /// Begins a request; the answer's future and the stream for its body.
    pub async fn begin(
        &mut self,
        request: Request<()>,
        ended: bool,
    ) -> (h2::client::ResponseFuture, SendStream<Bytes>) {
        let mut send = self.send.clone().ready().await.unwrap();
        send.send_request(request, ended).unwrap()
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        let request = Request::get(format!("http://a.test{path}")).body(()).unwrap();
        let (response, _) = self.begin(request, true).await;
        whole(response).await.unwrap()
    }
}

/// Reads an answer to its end.
pub async fn whole(response: h2::client::ResponseFuture) -> Result<Answer, h2::Error> {
    tokio::time::timeout(crate::support::PATIENCE, async {
        let (parts, mut body) = response.await?.into_parts();
        let read = read_all(&mut body).await?;
        let trailers = body.trailers().await?;
        Ok(Answer { status: parts.status.as_u16(), fields: parts.headers, body: read, trailers })
    })
    .await
    .expect("an answer in time")
}

pub async fn read_all(body: &mut RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut read = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        read.extend_from_slice(&data);
    }
    Ok(read)
}

/// Sends all of `data`, as the receiver has room.
pub async fn send_all(stream: &mut SendStream<Bytes>, mut data: Bytes, end: bool) {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let room = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
        let Some(Ok(room)) = room else { return };
        let piece = data.split_to(room.min(data.len()));
        let last = data.is_empty() && end;
        if stream.send_data(piece, last).is_err() {
            return;
        }
    }
}

/// A target that speaks HTTP/2.
pub struct H2Backend {
    pub instance: InstanceId,
    pub address: SocketAddr,
    /// Heads of requests seen.
    pub seen: Arc<Mutex<Vec<http::request::Parts>>>,
    /// Connections accepted that were HTTP/2.
    pub connections: Arc<Mutex<usize>>,
    task: tokio::task::JoinHandle<()>,
}

impl H2Backend {
    /// Runs `script` on each request.
    pub async fn start<F, W>(script: F) -> Self
    where
        F: Fn(http::request::Parts, RecvStream, SendResponse<Bytes>) -> W + Send + Sync + 'static,
        W: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<http::request::Parts>>> = Arc::default();
        let connections: Arc<Mutex<usize>> = Arc::default();
        let script = Arc::new(script);
        let (log, count) = (seen.clone(), connections.clone());
        let task = tokio::spawn(async move {
            let mut open = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (script, log, count) = (script.clone(), log.clone(), count.clone());
                open.spawn(async move {
                    let begun = h2::server::Builder::new()
                        .enable_connect_protocol()
                        .handshake(stream)
                        .await;
                    // Probes connect and leave.
                    let Ok(mut connection) = begun else { return };
                    *count.lock().unwrap() += 1;
                    let mut requests = tokio::task::JoinSet::new();
                    while let Some(Ok((request, respond))) = connection.accept().await {
                        let (parts, body) = request.into_parts();
                        log.lock().unwrap().push(parts.clone());
                        requests.spawn(script(parts, body, respond));
                    }
                });
            }
        });
        let instance = InstanceId(uuid::Uuid::now_v7());
        Self { instance, address, seen, connections, task }
    }

    /// Answers each request with its own body, and as trailers how long that was.
    pub async fn echo() -> Self {
        Self::start(|parts, mut body, mut respond| async move {
            let response = Response::builder().header("x-method", parts.method.as_str());
            let ended = body.is_end_stream();
            let mut answer = respond.send_response(response.body(()).unwrap(), ended).unwrap();
            let mut count = 0;
            while let Some(Ok(data)) = body.data().await {
                let _ = body.flow_control().release_capacity(data.len());
                count += data.len();
                send_all(&mut answer, data, false).await;
            }
            if !ended {
                let mut trailers = HeaderMap::new();
                trailers.insert("x-count", count.to_string().parse().unwrap());
                let _ = answer.send_trailers(trailers);
            }
        })
        .await
    }

    pub fn target(&self) -> Target {
        self.target_in(TargetState::Active { weight: 100 })
    }

    pub fn target_in(&self, state: TargetState) -> Target {
        Target {
            instance: self.instance,
            release: ark_model::ids::ReleaseNumber(1),
            address: self.address,
            state,
            probe: crate::support::tcp_probe(),
            process: None,
        }
    }

    /// Stops listening and closes all connections at once.
    pub fn kill(&self) {
        self.task.abort();
    }
}

impl Drop for H2Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A gateway with a route for `h1.test` to a target of HTTP/1.1 and one for `h2.test` to one of HTTP/2, both
/// ready.
pub async fn ark_for_both(
    h1: &crate::support::Backend,
    h2: &H2Backend,
) -> (crate::support::Ark, [Route; 2]) {
    let mut ark = crate::support::Ark::start().await;
    let mut one = crate::support::route(vec![h1.target()]);
    one.hosts = vec!["h1.test".to_owned()];
    let mut two = crate::support::route(vec![h2.target()]);
    two.key.expose = "two".to_owned();
    two.hosts = vec!["h2.test".to_owned()];
    two.protocol = RouteProtocol::H2c;
    let routes = [one, two];
    ark.server.push(&routes).await;
    ark.server.until_ready(&[h1.instance, h2.instance]).await;
    (ark, routes)
}
