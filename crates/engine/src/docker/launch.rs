//! From a spec to a running container: the image is looked for (and fetched), the container is
//! created, and started. Whatever step a crash interrupts, or a caller that waits no longer, is taken up
//! by the next look of an engine object over the same place (`events::follow`): a start stands in a file
//! before the daemon hears of it and until its container is known to be there, a container that was
//! created and not started is started.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use ark_model::ids::InstanceId;
use ark_model::instance::StartFailure;
use bollard::models::{ContainerInspectResponse, ContainerStateStatusEnum};
use bollard::query_parameters::{CreateContainerOptionsBuilder, CreateImageOptionsBuilder};
use futures::TryStreamExt;

use super::place::{Pending, Stage};
use super::registry::bad_request;
use super::{Inner, config, connection, container_name, observe, unavailable, within};
use crate::engine::{ArtifactSource, EngineError, StartSpec};

/// What is done about an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Created {
    Now,
    Before,
    NoImage,
    /// It can never be made: the record of its start says why.
    Never,
    /// The daemon was asked and did not answer: it may be made, now or later.
    Unheard,
}

/// How long the daemon may take to make a container before that goes on in the background, as it does
/// where an image is missing.
const HAND_OVER: Duration = Duration::from_secs(5);

/// How often and how soon a container is looked for whose name is taken.
const LOOKS_MAX: usize = 25;
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// How often a start that waits is tried again at once, and after how long; then at the next look.
const TRIES_MAX: usize = 5;
const TRY_AGAIN: Duration = Duration::from_secs(2);

/// Gives up a start's place among those that go on.
struct Going {
    inner: Arc<Inner>,
    id: InstanceId,
}

impl Drop for Going {
    fn drop(&mut self) {
        self.inner.going.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

impl Inner {
    /// Makes a container, or a record of what it waits for, and goes on in the background.
    pub(super) async fn start(self: &Arc<Self>, spec: &StartSpec) -> Result<(), EngineError> {
        let _held = self.hold(spec.id).await;
        if self.place.removed_log(spec.id).exists() {
            return Ok(());
        }
        match self.place.pending(spec.id).map(|pending| pending.stage) {
            // Whoever asked before may have given up, and then nobody goes on with it.
            Some(Stage::Waiting(_)) => {
                self.go_on(spec.id);
                return Ok(());
            }
            Some(Stage::Failed(_)) => return Ok(()),
            None => {}
        }
        // Before the daemon hears of it: whatever it does, and whenever, is an instance that is known and
        // can be stopped, also when nobody waits for this any more.
        let (reference, digest) = image_of(spec);
        let pending = Pending::waiting(spec, reference, digest);
        let written = self.place.write_pending(spec.id, &pending);
        written.map_err(|e| unavailable("record a start", e))?;
        let made =
            tokio::time::timeout(HAND_OVER.min(self.options.answer), self.create(spec)).await;
        match made.unwrap_or(Ok(Created::Unheard)) {
            Ok(Created::Never) => {
                self.changed();
                return Ok(());
            }
            // Created, and perhaps not started: whoever did that may be no more.
            Ok(Created::Now | Created::Before) => self.no_longer_waits(spec.id)?,
            Ok(Created::NoImage | Created::Unheard) => {}
            // It was not made, and whoever asked is told so.
            Err(error) => {
                self.no_longer_waits(spec.id)?;
                return Err(error);
            }
        }
        self.changed();
        self.go_on(spec.id);
        Ok(())
    }

    /// A start that is handed over, or was refused.
    fn no_longer_waits(&self, id: InstanceId) -> Result<(), EngineError> {
        let dropped = self.place.drop_pending(id);
        dropped.map_err(|e| unavailable("delete a pending start", e))
    }

    /// Does what is left to do of a start, in the background, unless that goes on already.
    pub(super) fn go_on(self: &Arc<Self>, id: InstanceId) {
        if !self.going.lock().unwrap_or_else(PoisonError::into_inner).insert(id) {
            return;
        }
        let inner = Arc::clone(self);
        let going = Going { inner: Arc::clone(self), id };
        tokio::spawn(async move {
            let _going = going;
            for _ in 0..TRIES_MAX {
                let Err(error) = inner.prepare_and_launch(id).await else { break };
                tracing::warn!(instance = %id, %error, "an instance is not started yet");
                tokio::time::sleep(TRY_AGAIN).await;
            }
            inner.changed();
        });
    }

    /// Why it may not have the rights it asks for.
    pub(super) fn refusal(&self, spec: &StartSpec) -> Option<String> {
        self.options.policy.refusal(&spec.env, &spec.app, &spec.rights)
    }

    async fn prepare_and_launch(self: &Arc<Self>, id: InstanceId) -> Result<(), EngineError> {
        if let Some(spec) = self.waiting(id) {
            self.prepare(id, &spec).await?;
        }
        within(self.options.answer, "start a container", self.launch(id)).await
    }

    /// The spec of a start that has no container yet.
    fn waiting(&self, id: InstanceId) -> Option<StartSpec> {
        self.place.pending(id)?.spec(id)
    }

    /// Fetches what a start waits for and makes its container, or records why there will be none.
    async fn prepare(
        self: &Arc<Self>,
        id: InstanceId,
        spec: &StartSpec,
    ) -> Result<(), EngineError> {
        let answer = self.options.answer;
        if let Some(detail) = self.refusal(spec) {
            // Allowed when it was asked for, and no longer.
            return self.fail(id, StartFailure::Other { detail });
        }
        let (reference, digest) = image_of(spec);
        let have = within(answer, "look for an image", self.have(reference, digest)).await;
        let have = match have {
            // A name that is none never becomes one.
            Err(EngineError::Refused { detail, .. }) => {
                return self.fail(id, StartFailure::ArtifactMissing { detail });
            }
            have => have?,
        };
        let pulled = match have {
            Some(_) => Ok(()),
            None => self.pull(reference, digest).await,
        };
        // When its turn comes; until then the instance may be stopped.
        self.network(&spec.env).await?;
        let _held = self.hold(id).await;
        // It may have been stopped, removed, or made by somebody else meanwhile: the records say so, not
        // this task.
        let Some(spec) = self.waiting(id).filter(|_| self.place.stop(id).is_none()) else {
            return Ok(());
        };
        let created = within(answer, "create a container", self.create(&spec)).await?;
        match (pulled, created) {
            (_, Created::Now | Created::Before) => self.no_longer_waits(id),
            (_, Created::Never) => Ok(()),
            (_, Created::Unheard) => Err(unavailable("create a container", "the daemon broke off")),
            (pulled, Created::NoImage) => {
                let detail = pulled.err().unwrap_or_else(|| "it cannot be had".to_owned());
                self.fail(id, StartFailure::ArtifactMissing { detail })
            }
        }
    }

    /// Starts a container that was created, unless it was stopped before.
    async fn launch(&self, id: InstanceId) -> Result<(), EngineError> {
        let _held = self.hold(id).await;
        // Of one that was removed the daemon may have been asked before, and heard it late.
        let over = self.place.stop(id).is_some() || self.place.removed_log(id).exists();
        if over || self.place.failure(id).is_some() {
            return Ok(());
        }
        let docker = self.connection.get().await?;
        let name = container_name(id);
        let untried = |found: &ContainerInspectResponse| {
            found.state.as_ref().is_some_and(|state| {
                state.status == Some(ContainerStateStatusEnum::CREATED)
                    && state.error.as_deref().is_none_or(str::is_empty)
            })
        };
        let look = async || match connection::inspect(docker, &name).await {
            Ok(found) => Ok(Some(found).filter(untried)),
            Err(error) if connection::status(&error) == Some(404) => Ok(None),
            Err(error) => Err(unavailable("look at a container", error)),
        };
        if look().await?.is_none() {
            return Ok(());
        }
        match docker.start_container(&name, None).await {
            Ok(()) => Ok(()),
            Err(error) if connection::status(&error).is_some() => {
                tracing::debug!(instance = %id, %error, "a container was refused");
                // Docker keeps its reason with the container, Podman does not.
                let Some(found) = look().await? else { return Ok(()) };
                let labels = found.config.and_then(|config| config.labels).unwrap_or_default();
                let reason = observe::failure(&connection::words(&error), None);
                self.record_failure(id, &labels, reason)
            }
            Err(error) => Err(unavailable("start a container", error)),
        }
    }

    /// Records why a container that is there was never started.
    fn record_failure(
        &self,
        id: InstanceId,
        labels: &HashMap<String, String>,
        reason: StartFailure,
    ) -> Result<(), EngineError> {
        let Some(failed) = Pending::failed(labels, reason) else { return Ok(()) };
        let written = self.place.write_pending(id, &failed);
        written.map_err(|e| unavailable("record a failed start", e))
    }

    fn fail(&self, id: InstanceId, reason: StartFailure) -> Result<(), EngineError> {
        let Some(mut pending) = self.place.pending(id) else { return Ok(()) };
        pending.stage = Stage::Failed(reason);
        let written = self.place.write_pending(id, &pending);
        written.map_err(|e| unavailable("record a failed start", e))
    }

    async fn create(self: &Arc<Self>, spec: &StartSpec) -> Result<Created, EngineError> {
        let (reference, digest) = image_of(spec);
        let docker = self.connection.get().await?;
        let Some(image) = self.have(reference, digest).await? else {
            // Perhaps there is a container all the same: its image was removed since.
            return match docker.inspect_container(&container_name(spec.id), None).await {
                Ok(_) => Ok(Created::Before),
                Err(_) => Ok(Created::NoImage),
            };
        };
        let _joining = self.joining.read().await;
        let network = self.network(&spec.env).await?;
        let volumes = self.volumes(spec).await?;
        let body =
            config::container(spec, &image, &self.cluster, &network, &volumes, &self.options);
        let name = container_name(spec.id);
        let options = CreateContainerOptionsBuilder::default().name(&name).build();
        match docker.create_container(Some(options), body).await {
            Ok(_) => Ok(Created::Now),
            Err(error) if connection::name_is_taken(&error) => self.made_before(&name).await,
            Err(error) => match connection::status(&error) {
                Some(400..500) => {
                    // It can never be made. Remembered where every failed start is.
                    let reason = observe::failure(&connection::words(&error), None);
                    let pending = Pending::waiting(spec, reference, digest);
                    let pending = Pending { stage: Stage::Failed(reason), ..pending };
                    let written = self.place.write_pending(spec.id, &pending);
                    written.map_err(|e| unavailable("record a failed start", e))?;
                    Ok(Created::Never)
                }
                Some(_) => Err(unavailable("create a container", error)),
                None => Ok(Created::Unheard),
            },
        }
    }

    /// What has the name of a container that cannot be made: a name is taken before its container is
    /// there to be seen, by a request of before that nobody waited for.
    async fn made_before(&self, name: &str) -> Result<Created, EngineError> {
        let docker = self.connection.get().await?;
        for _ in 0..LOOKS_MAX {
            match connection::inspect(docker, name).await {
                Ok(_) => return Ok(Created::Before),
                Err(error) if connection::status(&error) == Some(404) => {}
                Err(error) => return Err(unavailable("look at a container", error)),
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(Created::Unheard)
    }

    /// The daemon's names of a spec's volumes: the one that an app's volume was made by, also where
    /// that is a name of before, so that its data stay where they are.
    async fn volumes(&self, spec: &StartSpec) -> Result<Vec<String>, EngineError> {
        let docker = self.connection.get().await?;
        let labels = config::volume_labels(spec, &self.cluster);
        let mut names = Vec::new();
        for volume in &spec.volumes {
            let before = config::volume_name_before(spec, &self.cluster, volume);
            let has_it = match docker.inspect_volume(&before).await {
                Ok(found) => {
                    labels.iter().all(|(name, value)| found.labels.get(name) == Some(value))
                }
                Err(error) if connection::status(&error) == Some(404) => false,
                Err(error) => return Err(unavailable("look for a volume", error)),
            };
            let now = || config::volume_name(spec, &self.cluster, volume);
            names.push(if has_it { before } else { now() });
        }
        Ok(names)
    }

    /// The id of an image that the daemon has.
    pub(super) async fn image(&self, name: &str) -> Result<Option<String>, EngineError> {
        let docker = self.connection.get().await?;
        match docker.inspect_image(name).await {
            Ok(image) => Ok(image.id),
            Err(error) if connection::status(&error) == Some(404) => Ok(None),
            Err(error) if connection::status(&error) == Some(400) => Err(bad_request(name, &error)),
            Err(error) => Err(unavailable("look for an image", error)),
        }
    }

    /// Remembers that an image is here because it was fetched, so that it goes when nobody needs it. One
    /// that is not remembered stays.
    async fn note(&self, name: &str) {
        let answer = self.options.answer;
        let noted = match within(answer, "look for an image", self.image(name)).await {
            Ok(Some(image)) => self.place.note_fetched(&image, name).map_err(|e| e.to_string()),
            Ok(None) => Ok(()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = noted {
            tracing::warn!(name, error, "a fetched image will not be collected");
        }
    }

    /// Fetches an image from its registry. The daemon's reason, when it cannot.
    pub(super) async fn pull(&self, reference: &str, digest: Option<&str>) -> Result<(), String> {
        let (names, credentials) = self.asked(reference, digest);
        let refused = |reason: String| format!("image {reference}: {reason}");
        let docker = self.connection.get().await.map_err(|e| e.to_string())?;
        let fetched = async {
            let mut answer = Ok(None);
            for name in names {
                let options = CreateImageOptionsBuilder::default().from_image(&name).build();
                let stream = docker.create_image(Some(options), None, credentials.clone());
                let ended = stream.try_for_each(|_| std::future::ready(Ok(()))).await;
                answer = ended.map(|()| Some(name));
                match &answer {
                    // Not by this name: perhaps by the next.
                    Err(error) if connection::status(error) == Some(404) => {}
                    _ => break,
                }
            }
            answer
        };
        match tokio::time::timeout(self.options.pull_timeout, fetched).await {
            Ok(Ok(name)) => {
                if let Some(name) = name {
                    self.note(&name).await;
                }
                Ok(())
            }
            Ok(Err(error)) => Err(refused(connection::words(&error))),
            Err(_) => Err(refused(format!("not fetched within {:?}", self.options.pull_timeout))),
        }
    }
}

/// The image of a spec; `Engine::start` refuses every other artifact.
fn image_of(spec: &StartSpec) -> (&str, Option<&str>) {
    match &spec.artifact {
        ArtifactSource::Image { reference, digest } => (reference, digest.as_deref()),
        ArtifactSource::Directory { .. } | ArtifactSource::None => ("", None),
    }
}
