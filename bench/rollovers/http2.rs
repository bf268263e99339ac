//! HTTP/2 by prior knowledge: a few connections, many requests at a time on each, every answer read
//! to its end and counted. Open loop, like the other drivers.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::net::TcpStream;

/// How long one request may take.
const REQUEST_MAX: Duration = Duration::from_secs(60);
/// Failures of which the words are kept.
const WORDS_MAX: usize = 10;

/// What was counted.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    pub(crate) started: AtomicU64,
    pub(crate) ok: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) words: Mutex<Vec<String>>,
}

impl Counted {
    fn fail(&self, words: String) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        let mut kept = self.words.lock().expect("no panic while counting");
        if kept.len() < WORDS_MAX {
            kept.push(words);
        }
    }
}

/// A load under way.
pub(crate) struct Http2Load {
    counted: Arc<Counted>,
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<()>,
}

impl Http2Load {
    /// Starts `per_second` requests each second over `connections`.
    pub(crate) fn start(
        target: SocketAddr,
        host: String,
        per_second: f64,
        connections: usize,
    ) -> Self {
        let (counted, stop) = (Arc::new(Counted::default()), Arc::new(AtomicBool::new(false)));
        let (all, ended) = (counted.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async move {
                let each = per_second / connections as f64;
                let mut tasks = tokio::task::JoinSet::new();
                for _ in 0..connections {
                    let (all, ended, host) = (all.clone(), ended.clone(), host.clone());
                    tasks.spawn(connection(target, host, each, all, ended));
                }
                while tasks.join_next().await.is_some() {}
            });
        });
        Self { counted, stop, thread }
    }

    /// Begins nothing more, and waits for what was begun.
    pub(crate) fn stop(self) -> Arc<Counted> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the load did not panic");
        self.counted
    }
}

async fn connection(
    target: SocketAddr,
    host: String,
    per_second: f64,
    counted: Arc<Counted>,
    ended: Arc<AtomicBool>,
) {
    let begun = Instant::now();
    let mut requests = tokio::task::JoinSet::new();
    let mut client: Option<SendRequest<Bytes>> = None;
    let mut n = 0u32;
    while !ended.load(Ordering::Relaxed) {
        let due = begun + Duration::from_secs_f64(f64::from(n) / per_second);
        tokio::time::sleep_until(due.into()).await;
        n += 1;
        // A connection that says it goes away takes nothing new; what it has, it finishes.
        let ready = match client.take() {
            Some(client) => client.ready().await.ok(),
            None => None,
        };
        let ready = match ready {
            Some(client) => Ok(client),
            None => open(target).await,
        };
        counted.started.fetch_add(1, Ordering::Relaxed);
        match ready {
            Err(words) => counted.fail(words),
            Ok(mut ready) => {
                let uri = format!("http://{host}/");
                let request = http::Request::get(uri).body(()).expect("a request");
                match ready.send_request(request, true) {
                    Err(error) => counted.fail(format!("send: {error}")),
                    Ok((response, _)) => {
                        let counted = counted.clone();
                        requests.spawn(async move {
                            match tokio::time::timeout(REQUEST_MAX, read(response)).await {
                                Ok(Ok(())) => {
                                    counted.ok.fetch_add(1, Ordering::Relaxed);
                                }
                                Ok(Err(words)) => counted.fail(words),
                                Err(_) => counted.fail("no answer in time".to_owned()),
                            }
                        });
                    }
                }
                client = Some(ready);
            }
        }
        while requests.try_join_next().is_some() {}
    }
    while requests.join_next().await.is_some() {}
}

async fn open(target: SocketAddr) -> Result<SendRequest<Bytes>, String> {
    let stream = TcpStream::connect(target).await.map_err(|e| format!("connect: {e}"))?;
    let _ = stream.set_nodelay(true);
    let (client, driver) =
        h2::client::handshake(stream).await.map_err(|e| format!("handshake: {e}"))?;
    tokio::spawn(async move {
        // What broke it is seen by its requests.
        let _ = driver.await;
    });
    client.ready().await.map_err(|e| format!("not ready: {e}"))
}

async fn read(response: h2::client::ResponseFuture) -> Result<(), String> {
    let response = response.await.map_err(|e| format!("answer: {e}"))?;
    let status = response.status();
    let mut body = response.into_body();
    while let Some(piece) = body.data().await {
        let piece = piece.map_err(|e| format!("body: {e}"))?;
        let _ = body.flow_control().release_capacity(piece.len());
    }
    if status.is_success() { Ok(()) } else { Err(format!("answered {status}")) }
}
