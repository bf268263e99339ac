//! One other host: what it last said, whether it is silent, and how many calls it may have under
//! way. Used by the cluster alone.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ark_model::ids::NodeName;
use ark_model::instance::ObservedInstance;
use tokio::sync::{Semaphore, SemaphorePermit, watch};
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
    /// All calls but the question what runs, which must not wait for them.
    calls: Semaphore,
    /// Held while it is asked what runs: others wait for the same answer.
    asking: tokio::sync::Mutex<()>,
    /// What it last said, as long as it is not silent.
    last: Mutex<Option<Answer>>,
    /// Why it is silent.
    silent: watch::Sender<Option<String>>,
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
            calls: Semaphore::new(options.per_node.saturating_sub(1).max(1)),
            asking: tokio::sync::Mutex::default(),
            last: Mutex::default(),
            silent: watch::Sender::new(None),
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
        self.silent.borrow().clone()
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
        let _permit = all.acquire().await;
        match self.silence() {
            Some(why) => Err(why),
            None => self.ask().await,
        }
    }

    /// What need not be asked.
    fn known(&self) -> Option<Result<Vec<ObservedInstance>, String>> {
        if let Some(why) = self.silence() {
            return Some(Err(why));
        }
        let last = self.last();
        let answer = last.as_ref()?;
        let fresh = answer.version == *self.engine.changes().borrow()
            && answer.at.elapsed() < self.options.believe;
        fresh.then(|| Ok(answer.seen.clone()))
    }

    /// Asks it what runs. From an error on it is silent, until it answers this question.
    async fn ask(&self) -> Result<Vec<ObservedInstance>, String> {
        let (version, at) = (*self.engine.changes().borrow(), Instant::now());
        let why = match tokio::time::timeout(self.options.patience, self.engine.list()).await {
            Ok(Ok(seen)) => {
                *self.last() = Some(Answer { version, at, seen: seen.clone() });
                self.silent.send_if_modified(|why| why.take().is_some());
                return Ok(seen);
            }
            Ok(Err(error)) => words(&error),
            Err(_) => format!("it did not answer within {:?}", self.options.patience),
        };
        self.fall_silent(&why);
        Err(why)
    }

    /// Any other call, at the longest until its host is silent. That it takes long says nothing of the
    /// host: what it runs is asked beside it, and only that makes it silent.
    pub(super) async fn call<T>(
        self: &Arc<Self>,
        all: &Semaphore,
        call: impl Future<Output = Result<T, EngineError>> + Send,
    ) -> Result<T, EngineError> {
        self.answers()?;
        let _permits = self.permits(all).await;
        self.bounded(self.options.call_deadline, call).await
    }

    /// Work that may take long and is rare: as [`Self::call`], with a deadline of its own and without
    /// taking the place of a call.
    pub(super) async fn work<T>(
        self: &Arc<Self>,
        deadline: Duration,
        work: impl Future<Output = Result<T, EngineError>> + Send,
    ) -> Result<T, EngineError> {
        self.answers()?;
        self.bounded(deadline, work).await
    }

    async fn bounded<T>(
        self: &Arc<Self>,
        deadline: Duration,
        call: impl Future<Output = Result<T, EngineError>> + Send,
    ) -> Result<T, EngineError> {
        let patience = self.options.patience;
        let call = async {
            let mut call = std::pin::pin!(call);
            if let Ok(answer) = tokio::time::timeout(patience, &mut call).await {
                return answer;
            }
            let member = Arc::clone(self);
            tokio::spawn(async move { member.ask_since(Instant::now()).await });
            let rest = deadline.saturating_sub(patience);
            let late = || self.unavailable(&format!("it did not do this within {deadline:?}"));
            tokio::time::timeout(rest, call).await.unwrap_or_else(|_| Err(late()))
        };
        tokio::select! {
            biased;
            why = self.falls_silent() => Err(self.unavailable(&why)),
            answer = call => answer,
        }
    }

    /// Until it is silent; answers why.
    async fn falls_silent(&self) -> String {
        let mut silent = self.silent.subscribe();
        let why = silent.wait_for(Option::is_some).await;
        why.ok().and_then(|why| why.clone()).unwrap_or_default()
    }

    /// Asks it what runs, unless it said so since then.
    async fn ask_since(&self, since: Instant) {
        let _asking = self.asking.lock().await;
        let said = self.last().as_ref().is_some_and(|answer| answer.at >= since);
        if !said && self.silence().is_none() {
            // What it answers is kept, and so is why it does not.
            let _ = self.ask().await;
        }
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
        let before = self.silent.send_replace(Some(why.to_owned()));
        if before.is_none() {
            tracing::warn!(host = %self.name, why, "a host does not answer");
        }
    }

    fn last(&self) -> MutexGuard<'_, Option<Answer>> {
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
                _ = member.falls_silent() => {}
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
