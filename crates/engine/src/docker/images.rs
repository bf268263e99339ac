//! Images that nobody needs any more: those that Ark built, by their label, and those that it fetched,
//! by a note of its own (`place`), because nothing can be written on them. No other is ever removed.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use bollard::Docker;
use bollard::models::ImageInspect;
use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListImagesOptionsBuilder, RemoveImageOptionsBuilder,
    TagImageOptionsBuilder,
};
use jiff::{SignedDuration, Timestamp};

use super::place::Fetched;
use super::registry::tagged;
use super::{Inner, config, connection, unavailable};
use crate::engine::EngineError;

/// The most images of a kind that are looked at at once.
const REMOVED_MAX: usize = 1_000;

/// What images are needed for.
struct Needs<'a> {
    /// Names and digests of releases.
    keep: &'a BTreeSet<String>,
    /// Ids of those that a container has.
    used: BTreeSet<String>,
    /// In seconds since 1970; whatever is younger may be about to be used.
    newest: i64,
}

/// What becomes of an image that was fetched.
enum Fate {
    /// It is needed, or something has it still.
    Stays,
    Removed,
    /// It is not here, or only by names that Ark did not give it.
    NotOurs,
}

impl Needs<'_> {
    /// Whether an image is needed; `at` is when somebody last asked for it, in seconds since 1970.
    fn have(&self, id: &str, tags: &[String], digests: &[String], at: i64) -> bool {
        let by_digest = |one: &String| {
            one.split_once('@').is_some_and(|(_, digest)| self.keep.contains(digest))
        };
        at > self.newest
            || self.used.contains(id)
            || self.keep.contains(id)
            || tags.iter().any(|tag| self.keep.contains(tag))
            || digests.iter().any(by_digest)
    }
}

impl Inner {
    /// See [`crate::Engine::remove_images`].
    pub(super) async fn remove_images(
        &self,
        keep: &BTreeSet<String>,
        age: Duration,
    ) -> Result<u64, EngineError> {
        let docker = self.connection.get().await?;
        let options = ListContainersOptionsBuilder::default().all(true).build();
        let containers = docker.list_containers(Some(options)).await;
        let containers = containers.map_err(|e| unavailable("list containers", e))?;
        let age = SignedDuration::try_from(age).unwrap_or(SignedDuration::MAX);
        // As the daemon calls them.
        let keep = keep.iter().map(|name| tagged(name)).collect();
        let needs = Needs {
            keep: &keep,
            used: containers.into_iter().filter_map(|one| one.image_id).collect(),
            newest: Timestamp::now().saturating_sub(age).unwrap_or(Timestamp::MIN).as_second(),
        };
        Ok(self.remove_built(docker, &needs).await? + self.remove_fetched(docker, &needs).await?)
    }

    async fn remove_built(&self, docker: &Docker, needs: &Needs<'_>) -> Result<u64, EngineError> {
        let label = format!("{}={}", config::CLUSTER, self.cluster);
        let filters = HashMap::from([("label".to_owned(), vec![label])]);
        let options = ListImagesOptionsBuilder::default().filters(&filters).build();
        let images = docker.list_images(Some(options)).await;
        let images = images.map_err(|e| unavailable("list images", e))?;
        let mut removed = 0;
        for image in images.into_iter().take(REMOVED_MAX) {
            if needs.have(&image.id, &image.repo_tags, &image.repo_digests, image.created)
                || self.tagged(&image.id).await?.is_some_and(|at| at > needs.newest)
            {
                continue;
            }
            // By its names: an image with several is not removed by its id.
            let names = match image.repo_tags.is_empty() {
                true => vec![image.id],
                false => image.repo_tags,
            };
            removed += u64::from(unname(docker, &names).await?);
        }
        Ok(removed)
    }

    async fn remove_fetched(&self, docker: &Docker, needs: &Needs<'_>) -> Result<u64, EngineError> {
        let failed = |e| unavailable("read the notes of fetched images", e);
        let mut removed = 0;
        for fetched in self.place.all_fetched().map_err(failed)?.into_iter().take(REMOVED_MAX) {
            match self.let_go(docker, needs, &fetched).await? {
                Fate::Stays => continue,
                Fate::Removed => removed += 1,
                Fate::NotOurs => {}
            }
            self.place.forget_fetched(&fetched.image).map_err(failed)?;
        }
        Ok(removed)
    }

    /// Takes the names away by which an image was fetched, and with the last one the image.
    async fn let_go(
        &self,
        docker: &Docker,
        needs: &Needs<'_>,
        fetched: &Fetched,
    ) -> Result<Fate, EngineError> {
        let id = &fetched.image;
        let Some(image) = look(docker, id).await? else { return Ok(Fate::NotOurs) };
        let (tags, digests) = (image.repo_tags, image.repo_digests.unwrap_or_default());
        if needs.have(id, &tags.unwrap_or_default(), &digests, fetched.at.as_second()) {
            return Ok(Fate::Stays);
        }
        let mut names = Vec::new();
        for name in &fetched.names {
            // By now it may be the name of another image, which is somebody else's.
            if self.image(name).await?.as_ref() == Some(id) {
                names.push(name.clone());
            }
        }
        if !unname(docker, &names).await? {
            return Ok(Fate::Stays);
        }
        let Some(left) = look(docker, id).await? else { return Ok(Fate::Removed) };
        if left.repo_tags.is_some_and(|tags| !tags.is_empty()) {
            return Ok(Fate::NotOurs);
        }
        // It lost its name to another one.
        match unname(docker, std::slice::from_ref(id)).await? {
            true => Ok(Fate::Removed),
            false => Ok(Fate::Stays),
        }
    }

    /// When an image was last given a name, in seconds since 1970: a builder that has nothing to do
    /// names an old image anew.
    async fn tagged(&self, id: &str) -> Result<Option<i64>, EngineError> {
        let image = look(self.connection.get().await?, id).await?;
        let at = image.and_then(|image| image.metadata?.last_tag_time);
        Ok(at.and_then(|at| at.parse::<Timestamp>().ok()).map(Timestamp::as_second))
    }

    /// See [`crate::Engine::keep_image`]: the name that it has is given to it again.
    pub(super) async fn keep_image(&self, reference: &str) -> Result<bool, EngineError> {
        let docker = self.connection.get().await?;
        let Some((name, tag)) = reference.rsplit_once(':') else { return Ok(false) };
        let options = TagImageOptionsBuilder::default().repo(name).tag(tag).build();
        match docker.tag_image(reference, Some(options)).await {
            Ok(()) => Ok(true),
            Err(error) if connection::status(&error) == Some(404) => Ok(false),
            Err(error) => Err(unavailable("name an image", error)),
        }
    }
}

/// What the daemon says of an image; nothing when it has none.
async fn look(docker: &Docker, id: &str) -> Result<Option<ImageInspect>, EngineError> {
    match docker.inspect_image(id).await {
        Ok(image) => Ok(Some(image)),
        Err(error) if connection::status(&error) == Some(404) => Ok(None),
        Err(error) => Err(unavailable("look at an image", error)),
    }
}

/// Takes an image's names away; with the last one it goes. Answers whether nobody objected.
async fn unname(docker: &Docker, names: &[String]) -> Result<bool, EngineError> {
    let mut gone = true;
    for name in names {
        let options = RemoveImageOptionsBuilder::default().force(false).build();
        match docker.remove_image(name, Some(options), None).await {
            Ok(_) => {}
            Err(error) if connection::status(&error) == Some(404) => {}
            // A container or another image needs it since.
            Err(error) if connection::status(&error) == Some(409) => gone = false,
            Err(error) => return Err(unavailable("remove an image", error)),
        }
    }
    Ok(gone)
}
