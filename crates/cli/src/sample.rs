//! The sample app: what `ark quickstart` and the whole-process tests deploy. It is the
//! hidden role `ark sample`, so that nothing has to be built or downloaded to see a
//! deployment. Started like any app: by an engine, with `PORT` and the injected variables
//! in its environment.
//!
//! By other variables it misbehaves on purpose (see [`settings`]), which is how the tests
//! get an app that is never ready, crashes, or ignores its stop signal.
//!
//! It must know nothing of Ark: no store, no API, no gateway. An ordinary app is what it
//! stands for.

mod routes;
mod settings;
mod streams;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::Context;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::TaskTracker;

use settings::{Broken, OnSigterm, Settings};

/// How long WebSockets may take to answer the close frame of a stopping app.
const WEBSOCKETS_FAREWELL: Duration = Duration::from_secs(5);

/// Runs the sample app by the settings in this process's environment, until it is told to
/// stop. Serves on the runtime it is called on; a current-thread runtime is enough and
/// keeps an instance small.
///
/// # Errors
/// When the environment is wrong or the port cannot be bound.
pub(crate) async fn run() -> anyhow::Result<()> {
    let settings = Settings::read(|name| std::env::var(name).ok())?;
    match settings.broken {
        Broken::No | Broken::NeverReady | Broken::IllBetween(..) | Broken::FailsOneIn(_) => {}
        Broken::Crash => exit(1, "error: crash on purpose (BROKEN=crash)"),
        Broken::CrashAfter(delay) => {
            tokio::spawn(async move {
                sleep(delay).await;
                exit(1, "error: crash on purpose (BROKEN=crash-after-ms)");
            });
        }
    }
    let told = told_to_stop(settings.on_sigterm)?;
    let address = settings.address;
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("address {address}"))?;
    let address = listener.local_addr().context("address of the listener")?;
    log(&format!("start: {} on http://{address}", settings.identity));
    serve(listener, settings, told).await?;
    log("stop: all requests are finished");
    Ok(())
}

/// What every handler shares.
struct App {
    settings: Settings,
    started: Instant,
    /// Requests so far, counted when one in so many is to fail.
    requests: AtomicU64,
    /// Its sender lives as long as the listener. Streams end themselves when it is gone, and
    /// not before: a client that comes back at once must find the port closed.
    listening: watch::Receiver<()>,
    /// Open WebSockets: after their upgrade the server no longer counts them.
    websockets: TaskTracker,
}

/// Serves until `stop` is done and then until the last request is answered: streams get an
/// orderly end, other requests run to theirs.
async fn serve(
    listener: TcpListener,
    settings: Settings,
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let (listener_lives, listening) = watch::channel(());
    let websockets = TaskTracker::new();
    let app = Arc::new(App {
        settings,
        started: Instant::now(),
        requests: AtomicU64::new(0),
        listening,
        websockets: websockets.clone(),
    });
    let listener = listener.tap_io(move |stream| {
        // Held by this closure, which the listener owns.
        let _ = &listener_lives;
        // Events are small and must not wait for more. If it fails, they are only later.
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, routes::router(app))
        .with_graceful_shutdown(stop)
        .await
        .context("serving")?;
    websockets.close();
    if timeout(WEBSOCKETS_FAREWELL, websockets.wait()).await.is_err() {
        log(&format!("error: {} WebSockets did not close in time", websockets.len()));
    }
    Ok(())
}

/// Done when SIGTERM (or ^C) asks for an orderly stop. Installs its handlers before it
/// returns, so that no early signal kills the process.
fn told_to_stop(manner: OnSigterm) -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
    let mut terminate = signal(SignalKind::terminate()).context("handler of SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("handler of SIGINT")?;
    Ok(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            match manner {
                OnSigterm::Finish => {
                    log("stopping: finishing the requests at hand");
                    return;
                }
                OnSigterm::Ignore => log("stop signal ignored on purpose (IGNORE_SIGTERM)"),
                OnSigterm::ExitAtOnce => exit(0, "stop: at once, on purpose (EXIT_AT_ONCE)"),
            }
        }
    })
}

/// One line to standard output, where engines capture logs.
pub(crate) fn log(line: &str) {
    let mut out = io::stdout().lock();
    // Nobody reading the logs is no reason to fail.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn exit(code: i32, last_words: &str) -> ! {
    log(last_words);
    std::process::exit(code)
}
