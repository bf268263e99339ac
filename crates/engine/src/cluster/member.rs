//! One other host: what it last said, whether it is silent, and how many calls it may have under
//! way. Used by the cluster alone.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ark_model::ids::NodeName;
use ark_model::instance::ObservedInstance;
use tokio::sync::{Notify, Semaphore, SemaphorePermit, watch};
use tokio::time::Instant;

use super::{ClusterOptions, Node, bump};
use crate::engine::{Engine, EngineError, NodeSight};

pub(super) struct Member {
    pub(super) name: NodeName,
    pub(super) engine: Arc<dyn Engine>,
    options: Arc<ClusterOptions>,
    images_only: bool,
    address: Option<IpAddr>,
    draining: AtomicBool,
    calls: Semaphore,
    /// Held while it is asked what runs: others wait for the same answer.
    asking: tokio::sync::Mutex<()>,
    last: Mutex<Last>,
    fell_silent: Notify,
}

#[derive(Default)]
struct Last {
    /// Why it is silent.
    silent: Option<String>,
    answer: Option<Answer>,
}

/// What it said that it runs.
struct Answer {
    /// The count of its changes before it was asked.
    version: u64,
    at: Instant,
    seen: Vec<ObservedInstance>,
}

/// The right to one call.
struct Permits<'a> {
    _here: Option<SemaphorePermit<'a>>,
    _all: Option<SemaphorePermit<'a>>,
}

impl Member {
    pub(super) fn new(node: Node, options: Arc<ClusterOptions>) -> Self {
        Self {
            name: node.name,
            engine: node.engine,
            images_only: node.images_only,
            address: node.address,
            draining: AtomicBool::new(node.draining),
            calls: Semaphore::new(options.per_node.max(1)),
            asking: tokio::sync::Mutex::default(),
            last: Mutex::default(),
            fell_silent: Notify::new(),
            options,
        }
    }

    pub(super) fn drain(&self, draining: bool) {
        self.draining.store(draining, Ordering::Relaxed);
    }

    pub(super) fn sight(&self, silent: Option<String>) -> NodeSight {
        NodeSight {
            name: self.name.clone(),
            silent,
            draining: self.draining.load(Ordering::Relaxed),
            images_only: self.images_only,
            address: self.address,
        }
    }

    /// Why it is silent, when it is.
    pub(super) fn silence(&self) -> Option<String> {
        self.last().silent.clone()
    }

    /// What it runs, as it says now or said a moment ago; why not, when it is silent.
    pub(super) async fn seen(&self, all: &Semaphore) -> Result<Vec<ObservedInstance>, String> {
        if let Some(known) = self.known() {
            return known;
        }
        let _asking = self.asking.lock().await;
        if let Some(known) = self.known() {
            return known;
        }
        let _permits = self.permits(all).await;
        match self.silence() {
            Some(why) => Err(why),
            None => self.ask().await,
        }
    }

    /// What need not be asked.
    fn known(&self) -> Option<Result<Vec<ObservedInstance>, String>> {
        let last = self.last();
        if let Some(why) = &last.silent {
            return Some(Err(why.clone()));
        }
        let answer = last.answer.as_ref()?;
        let fresh = answer.version == *self.engine.changes().borrow()
            && answer.at.elapsed() < self.options.believe;
        fresh.then(|| Ok(answer.seen.clone()))
    }

    /// Asks it what runs. From an error on it is silent, until it answers this question.
    async fn ask(&self) -> Result<Vec<ObservedInstance>, String> {
        let (version, at) = (*self.engine.changes().borrow(), Instant::now());
        let why = match tokio::time::timeout(self.options.patience, self.engine.list()).await {
            Ok(Ok(seen)) => {
                let answer = Answer { version, at, seen: seen.clone() };
                *self.last() = Last { silent: None, answer: Some(answer) };
                return Ok(seen);
            }
            Ok(Err(error)) => words(&error),
            Err(_) => format!("it did not answer within {:?}", self.options.patience),
        };
        self.fall_silent(&why);
        Err(why)
    }

    /// Any other call. One that hangs makes the host silent, so that the next need not wait.
    pub(super) async fn call<T>(
        &self,
        all: &Semaphore,
        call: impl Future<Output = Result<T, EngineError>> + Send,
    ) -> Result<T, EngineError> {
        self.answers()?;
        let _permits = self.permits(all).await;
        self.answers()?;
        let deadline = self.options.call_deadline;
        if let Ok(answer) = tokio::time::timeout(deadline, call).await {
            return answer;
        }
        self.fall_silent(&format!("it did not answer within {deadline:?}"));
        self.answers()?;
        Err(self.unavailable("it did not answer"))
    }

    fn answers(&self) -> Result<(), EngineError> {
        self.silence().map_or(Ok(()), |why| Err(self.unavailable(&why)))
    }

    fn unavailable(&self, why: &str) -> EngineError {
        EngineError::Unavailable {
            engine: self.engine.kind(),
            action: format!("speak to host {}", self.name),
            source: io::Error::other(why.to_owned()),
        }
    }

    /// Its own first: a host that hangs keeps no more than those from the others.
    async fn permits<'a>(&'a self, all: &'a Semaphore) -> Permits<'a> {
        // Neither is ever closed.
        let here = self.calls.acquire().await.ok();
        Permits { _here: here, _all: all.acquire().await.ok() }
    }

    fn fall_silent(&self, why: &str) {
        let before = self.last().silent.replace(why.to_owned());
        if before.is_none() {
            tracing::warn!(host = %self.name, why, "a host does not answer");
            self.fell_silent.notify_one();
        }
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Passes on its changes; while it is silent, asks it again, with growing pauses.
pub(super) async fn follow(
    member: Arc<Member>,
    (retries, all): (Arc<Semaphore>, Arc<Semaphore>),
    changes: watch::Sender<u64>,
) {
    let mut engine = member.engine.changes();
    let mut pause = member.options.retry_first;
    loop {
        if member.silence().is_none() {
            pause = member.options.retry_first;
            tokio::select! {
                changed = engine.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                () = member.fell_silent.notified() => {}
            }
            bump(&changes);
            continue;
        }
        tokio::time::sleep(pause).await;
        pause = pause.saturating_mul(2).min(member.options.retry_max);
        let Ok(_retry) = retries.acquire().await else { return };
        let Ok(_call) = all.acquire().await else { return };
        if member.ask().await.is_ok() {
            tracing::info!(host = %member.name, "a host answers again");
            bump(&changes);
        }
    }
}

/// An error with its cause.
fn words(error: &dyn std::error::Error) -> String {
    let source = error.source().map(|cause| format!(": {cause}"));
    format!("{error}{}", source.unwrap_or_default())
}
