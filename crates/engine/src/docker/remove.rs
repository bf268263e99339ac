//! Removing: the log is saved, then the container and its files go. It goes on in the background,
//! because a log may be long: whoever asks waits for a moment, and asks again later.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use ark_model::ids::InstanceId;
use ark_model::instance::EngineState;
use bollard::query_parameters::RemoveContainerOptions;

use super::{Inner, connection, container_name, unavailable, within};
use crate::engine::EngineError;

/// How long whoever asks waits.
const MOMENT: Duration = Duration::from_secs(6);
/// How long it may take in all; then it is begun anew.
const REMOVAL_MAX: Duration = Duration::from_secs(600);

/// Gives up a removal's place among those under way.
struct Removing {
    inner: Arc<Inner>,
    id: InstanceId,
}

impl Drop for Removing {
    fn drop(&mut self) {
        self.inner.removing.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

impl Inner {
    pub(super) async fn remove(self: &Arc<Self>, id: InstanceId) -> Result<(), EngineError> {
        let goes_on = || unavailable("remove a container", "its log is still being saved");
        if !self.removing.lock().unwrap_or_else(PoisonError::into_inner).insert(id) {
            return Err(goes_on());
        }
        let removing = Removing { inner: Arc::clone(self), id };
        let task = tokio::spawn(async move {
            let removed = removing.inner.remove_now(id);
            let removed = within(REMOVAL_MAX, "remove a container", removed).await;
            drop(removing);
            removed
        });
        match tokio::time::timeout(MOMENT, task).await {
            Ok(Ok(removed)) => removed,
            Ok(Err(ended)) => Err(unavailable("remove a container", ended)),
            Err(_) => Err(goes_on()),
        }
    }

    async fn remove_now(&self, id: InstanceId) -> Result<(), EngineError> {
        let _held = self.hold(id).await;
        let answer = self.options.answer;
        let found = within(answer, "look at a container", self.find(id)).await?;
        let Some(seen) = found else { return Ok(()) };
        match seen.state {
            EngineState::Exited { .. } | EngineState::StartFailed { .. } => {}
            EngineState::Gone => return Ok(()),
            EngineState::Preparing | EngineState::Running { .. } | EngineState::Stopping { .. } => {
                return Err(EngineError::StillThere(id));
            }
        }
        self.keep_log(id).await?;
        let docker = self.connection.get().await?;
        let options = RemoveContainerOptions { v: true, force: false, link: false };
        match docker.remove_container(&container_name(id), Some(options)).await {
            Ok(()) => {}
            Err(error) if connection::status(&error) == Some(404) => {}
            Err(error) => return Err(unavailable("remove a container", error)),
        }
        self.place.forget(id).map_err(|e| unavailable("delete an instance's files", e))?;
        self.changed();
        Ok(())
    }
}
