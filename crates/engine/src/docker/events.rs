//! The engine's background work: follows the daemon's events, takes up what an earlier engine
//! object left, and tidies. Events are wake-ups and nothing more; a lost one costs at most the
//! time until the next look.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use ark_model::ids::EnvName;
use ark_model::instance::EngineState;
use bollard::query_parameters::EventsOptionsBuilder;
use futures::StreamExt;

use super::{Inner, config, unavailable, within};
use crate::engine::EngineError;

/// How long after a lost connection the daemon is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Runs until the engine object is dropped.
pub(super) async fn follow(engine: Weak<Inner>) {
    loop {
        let Some(inner) = engine.upgrade() else { return };
        let followed = inner.follow_events().await;
        if let Err(error) = followed {
            tracing::debug!(%error, "the Docker engine's events are not followed");
        }
        inner.cache.forget_all();
        inner.changed();
        drop(inner);
        tokio::time::sleep(RETRY).await;
    }
}

impl Inner {
    /// Until the connection is lost.
    async fn follow_events(self: &Arc<Self>) -> Result<(), EngineError> {
        let docker = self.connection.get().await?;
        let filters = HashMap::from([
            ("type".to_owned(), vec!["container".to_owned()]),
            ("label".to_owned(), vec![format!("{}={}", config::CLUSTER, self.cluster)]),
        ]);
        let options = EventsOptionsBuilder::default().filters(&filters).build();
        let mut events = std::pin::pin!(docker.events(Some(options)));
        let answer = self.options.answer;
        within(answer, "look at all containers", self.take_up()).await?;
        let mut look = tokio::time::interval(self.options.look_every);
        loop {
            tokio::select! {
                event = events.next() => {
                    let event = match event {
                        None => return Ok(()),
                        Some(Err(error)) => return Err(unavailable("follow events", error)),
                        Some(Ok(event)) => event,
                    };
                    // An exec in a container changes nothing about it.
                    if event.action.as_deref().is_some_and(|action| action.starts_with("exec_")) {
                        continue;
                    }
                    if let Some(container) = event.actor.and_then(|actor| actor.id) {
                        self.cache.forget(&container);
                    }
                    self.changed();
                }
                _ = look.tick() => {
                    within(answer, "look at all containers", self.take_up()).await?;
                    within(answer, "tidy up", self.tidy()).await?;
                    self.changed();
                }
            }
        }
    }

    /// Goes on with what is begun and nobody does: starts that wait, graces that run.
    async fn take_up(self: &Arc<Self>) -> Result<(), EngineError> {
        let stops = self.place.all_stops().map_err(|e| unavailable("read the stops", e))?;
        for seen in self.list().await? {
            match seen.state {
                EngineState::Preparing => self.go_on(seen.id),
                EngineState::Stopping { .. } if stops.contains(&seen.id) => {
                    self.end_in_time(seen.id);
                }
                EngineState::Stopping { .. }
                | EngineState::Running { .. }
                | EngineState::Exited { .. }
                | EngineState::StartFailed { .. }
                | EngineState::Gone => {}
            }
        }
        Ok(())
    }

    /// Removes logs that are too old, and networks of environments in which nothing is left.
    async fn tidy(&self) -> Result<(), EngineError> {
        let pruned = self.place.prune(self.options.log_retention, self.options.removed_max);
        pruned.map_err(|e| unavailable("delete old logs", e))?;
        // What is made from now on waits; what was made is in the list.
        let _alone = self.joining.write().await;
        let used: Vec<EnvName> = self.list().await?.into_iter().map(|seen| seen.env).collect();
        self.tidy_networks(&used).await
    }
}
