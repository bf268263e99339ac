//! The daemon of this host's containers, as far as it may hang: it is asked what runs by one at a
//! time, and while it does not answer that, nobody waits for it. Used by the host's engines alone.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ark_model::instance::ObservedInstance;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::docker::DockerEngine;
use crate::engine::{Engine, EngineError, EngineKind};

/// How long the daemon may take to say what runs before it counts as silent; and any other call, before
/// it is asked that.
const PATIENCE: Duration = Duration::from_secs(4);

/// A question to the daemon under way.
type Asked = JoinHandle<Result<Vec<ObservedInstance>, EngineError>>;

pub(super) struct Daemon {
    pub(super) engine: Arc<DockerEngine>,
    changes: watch::Sender<u64>,
    /// It was asked what runs and has not answered yet.
    question: Mutex<Option<Asked>>,
    /// It did not answer that in time, and has not since.
    hangs: AtomicBool,
}

impl Daemon {
    pub(super) fn new(engine: Arc<DockerEngine>, changes: watch::Sender<u64>) -> Self {
        Self { engine, changes, question: Mutex::default(), hangs: AtomicBool::new(false) }
    }

    /// What it says runs. One that hangs is waited for once: until it has answered, it is silent for
    /// everybody else at once.
    pub(super) async fn seen(self: &Arc<Self>) -> Result<Vec<ObservedInstance>, EngineError> {
        let mut question = self.question.lock().await;
        if question.as_ref().is_some_and(|asked| !asked.is_finished()) {
            return Err(silent("list containers"));
        }
        let daemon = Arc::clone(self);
        let asked = question.insert(tokio::spawn(async move { daemon.ask().await }));
        let Ok(answer) = timeout(PATIENCE, asked).await else {
            if !self.hangs.swap(true, Ordering::Relaxed) {
                tracing::warn!("the Docker engine hangs: nothing is asked of it until it answers");
            }
            return Err(silent("list containers"));
        };
        *question = None;
        answer.unwrap_or_else(|_| Err(silent("list containers")))
    }

    async fn ask(&self) -> Result<Vec<ObservedInstance>, EngineError> {
        let begun = Instant::now();
        let answer = self.engine.list().await;
        if answer.is_ok() {
            self.hangs.store(false, Ordering::Relaxed);
        }
        // A late answer tells of long ago; it is worth only that there is one again.
        if begun.elapsed() >= PATIENCE {
            self.changes.send_modify(|count| *count = count.wrapping_add(1));
        }
        answer
    }

    /// Any other call. That it takes long says nothing of the daemon: what runs is asked beside it, and
    /// while that is not answered, this call and every other fail.
    pub(super) async fn call<T>(
        self: &Arc<Self>,
        action: &str,
        call: impl Future<Output = Result<T, EngineError>> + Send,
    ) -> Result<T, EngineError> {
        if self.hangs.load(Ordering::Relaxed) {
            return Err(silent(action));
        }
        let mut call = std::pin::pin!(call);
        if let Ok(answer) = timeout(PATIENCE, &mut call).await {
            return answer;
        }
        // By a task of its own: whoever called may leave, and a question left alone is nobody's answer.
        let daemon = Arc::clone(self);
        let asked = tokio::spawn(async move { daemon.seen().await });
        tokio::select! {
            answer = &mut call => return answer,
            _ = asked => {}
        }
        if self.hangs.load(Ordering::Relaxed) { Err(silent(action)) } else { call.await }
    }
}

fn silent(action: &str) -> EngineError {
    EngineError::Unavailable {
        engine: EngineKind::Docker,
        action: action.to_owned(),
        source: io::Error::new(
            io::ErrorKind::TimedOut,
            format!("the daemon did not answer within {PATIENCE:?}"),
        ),
    }
}
