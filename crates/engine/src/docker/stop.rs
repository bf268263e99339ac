//! Stopping: the signal now, SIGKILL when the grace is over. When it was asked for stands in a
//! file, so that a grace outlives the server and an ending is known to have been asked for.

use std::sync::Arc;
use std::time::Duration;

use ark_model::ids::InstanceId;
use ark_model::instance::EngineState;
use bollard::query_parameters::KillContainerOptionsBuilder;
use jiff::{SignedDuration, Timestamp};

use super::place::AskedStop;
use super::{Inner, connection, container_name, unavailable, within};
use crate::engine::{EngineError, StopOptions};

/// A first process this young may not have its handlers yet, and the kernel throws away what it
/// does not handle: it is told again, after each of these times.
const YOUNG: SignedDuration = SignedDuration::from_secs(1);
const TOLD_AGAIN_AFTER: [Duration; 2] = [Duration::from_millis(300), Duration::from_millis(1_000)];

impl Inner {
    pub(super) async fn stop(
        self: &Arc<Self>,
        id: InstanceId,
        options: StopOptions,
    ) -> Result<(), EngineError> {
        let _held = self.hold(id).await;
        let Some(seen) = self.find(id).await? else { return Ok(()) };
        let now = Timestamp::now();
        let kill_at = now + SignedDuration::try_from(options.grace).unwrap_or(SignedDuration::MAX);
        match seen.state {
            EngineState::Gone | EngineState::Exited { .. } | EngineState::StartFailed { .. } => {}
            EngineState::Preparing => {
                self.record(id, AskedStop { at: now, kill_at, before_start: true, told: true })?;
            }
            EngineState::Running { since, .. } => {
                let told = options.grace.is_zero();
                let asked = AskedStop { at: now, kill_at, before_start: false, told };
                self.record(id, asked)?;
                self.end_in_time(id);
                if !told {
                    self.tell(id, asked, options).await?;
                    if now.duration_since(since) < YOUNG {
                        self.tell_again(id, options.signal.as_str());
                    }
                }
            }
            EngineState::Stopping { .. } => {
                let Some(mut asked) = self.place.stop(id) else { return Ok(()) };
                if kill_at < asked.kill_at {
                    asked.kill_at = kill_at;
                    self.record(id, asked)?;
                    self.end_in_time(id);
                }
                if !asked.told && now < asked.kill_at {
                    self.tell(id, asked, options).await?;
                }
            }
        }
        self.changed();
        Ok(())
    }

    /// Passes the signal on. What waited for this may have been given up, or have died, before the
    /// daemon answered: whoever asks again tells it then.
    async fn tell(
        &self,
        id: InstanceId,
        asked: AskedStop,
        options: StopOptions,
    ) -> Result<(), EngineError> {
        self.signal(id, options.signal.as_str()).await?;
        self.record(id, AskedStop { told: true, ..asked })
    }

    fn record(&self, id: InstanceId, stop: AskedStop) -> Result<(), EngineError> {
        self.place.write_stop(id, stop).map_err(|e| unavailable("record a stop", e))
    }

    async fn signal(&self, id: InstanceId, signal: &str) -> Result<(), EngineError> {
        let docker = self.connection.get().await?;
        let options = KillContainerOptionsBuilder::default().signal(signal).build();
        let told = async {
            match docker.kill_container(&container_name(id), Some(options)).await {
                Ok(()) => Ok(()),
                // It ended meanwhile, or is gone.
                Err(error) if matches!(connection::status(&error), Some(404 | 409)) => Ok(()),
                Err(error) => Err(unavailable("signal a container", error)),
            }
        };
        within(self.options.answer, "signal a container", told).await
    }

    fn tell_again(self: &Arc<Self>, id: InstanceId, signal: &'static str) {
        let inner = Arc::clone(self);
        tokio::spawn(async move {
            for wait in TOLD_AGAIN_AFTER {
                tokio::time::sleep(wait).await;
                if inner.running(id).await.is_err() {
                    return;
                }
                let _ = inner.signal(id, signal).await;
            }
        });
    }

    /// Ends an instance by force when its grace is over, in the background.
    pub(super) fn end_in_time(self: &Arc<Self>, id: InstanceId) {
        let inner = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                let Some(inner) = inner.upgrade() else { return };
                let Some(asked) = inner.place.stop(id) else { return };
                let left = asked.kill_at.duration_since(Timestamp::now());
                if left <= SignedDuration::ZERO {
                    if let Err(error) = inner.signal(id, "SIGKILL").await {
                        tracing::warn!(instance = %id, %error, "a container is not ended yet");
                        drop(inner);
                        tokio::time::sleep(Duration::from_secs(1)).await;
                        continue;
                    }
                    inner.changed();
                    return;
                }
                drop(inner);
                // Not in one piece: a repeated stop may shorten the grace.
                let nap = left.unsigned_abs().min(Duration::from_secs(60));
                tokio::time::sleep(nap).await;
            }
        });
    }
}
