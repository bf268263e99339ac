//! Accepts connections for the API. HTTP/1.1 only: its clients are command lines and, one day, a
//! console; what users' requests need is the gateway's work.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::operation::Shared;
use super::{manager_router, router};

/// The most connections at once; more wait to be accepted. Each worker of a workflow holds one.
const CONNECTIONS_MAX: usize = 8_192;
/// How long a client may take to send the head of a request. Also ends idle connections.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// The largest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// How long connections may take to end once the server is to end.
const GRACE: Duration = Duration::from_secs(5);
/// A connection whose peer takes nothing for this long is given up by the kernel, in milliseconds:
/// a stream whose reader hangs must not hold its place for ever.
const SEND_TIMEOUT_MS: u32 = 60_000;
/// The pause after a connection could not be accepted: no descriptors are left, say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves the API on `listener` until the server is to end; then lets requests end for a while.
///
/// # Errors
/// When the listener's address cannot be read, which means that it is none.
pub async fn serve(listener: TcpListener, state: Shared) -> io::Result<()> {
    listener.local_addr()?;
    let router = router(state.clone());
    serve_router(listener, state, router).await
}

/// The same for the workflow manager's API alone, at the root of the listener's address.
///
/// # Errors
/// As [`serve`].
pub async fn serve_manager(listener: TcpListener, state: Shared) -> io::Result<()> {
    let router = manager_router(&state, listener.local_addr()?);
    serve_router(listener, state, router).await
}

async fn serve_router(
    listener: TcpListener,
    state: Shared,
    router: axum::Router,
) -> io::Result<()> {
    let service = TowerToHyperService::new(router);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    let ending = state.shutdown.requested();
    tokio::pin!(ending);
    loop {
        let accepted = async {
            let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
            let (stream, _) = listener.accept().await?;
            io::Result::Ok((place, stream))
        };
        let (place, stream) = tokio::select! {
            accepted = accepted => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection to the API could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
            _ = &mut ending => break,
        };
        while connections.try_join_next().is_some() {}
        let connection = serve_connection(stream, service.clone(), state.clone());
        connections.spawn(async move {
            connection.await;
            drop(place);
        });
    }
    let all = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, all).await.is_err() {
        connections.shutdown().await;
    }
    Ok(())
}

async fn serve_connection(
    stream: TcpStream,
    service: TowerToHyperService<axum::Router>,
    state: Shared,
) {
    // Small answers go out at once; a failure to set it costs only time.
    let _ = stream.set_nodelay(true);
    let _ = rustix::net::sockopt::set_tcp_user_timeout(&stream, SEND_TIMEOUT_MS);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        _ = state.shutdown.requested() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to the API ended early");
    }
}
