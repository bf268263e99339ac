//! Registries: where images come from that the daemon does not have, and where built ones go. Which
//! there are and how to sign in is told by the server, in memory; whoever prints this prints no
//! credentials. The daemon itself talks to them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use bollard::auth::DockerCredentials;
use bollard::query_parameters::PushImageOptionsBuilder;
use futures::StreamExt;

use super::{Inner, connection, refused, unavailable};
use crate::engine::EngineError;

/// How long a registry or the daemon may say nothing while an image goes there.
const SILENCE: std::time::Duration = std::time::Duration::from_secs(5 * 60);
/// Where an image without a host comes from.
const HUB: &str = "docker.io";

/// How to use a registry.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Registry {
    /// User and password; neither where anybody may.
    pub login: Option<(String, String)>,
    /// Whether images of its that were built here are sent to it.
    pub push: bool,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let login = self.login.as_ref().map(|_| "hidden");
        f.debug_struct("Registry").field("login", &login).field("push", &self.push).finish()
    }
}

impl Registry {
    /// Whether the daemon can be told this password: the client library writes it in a way that daemons
    /// do not read when it holds one of these at the wrong place.
    ///
    /// # Errors
    /// Why not, for people.
    pub fn check(user: &str, password: &str) -> Result<(), String> {
        let plain =
            |text: &str| text.bytes().all(|b| (b' '..0x7f).contains(&b) && !b"<>?~".contains(&b));
        match (plain(user), plain(password)) {
            (true, true) => Ok(()),
            (false, _) => Err("a user's name has printable ASCII characters, and none of < > ? ~".into()),
            (_, false) => Err(
                "a password for the Docker engine has printable ASCII characters, and none of < > ? ~; \
                 make a token at the registry"
                    .into(),
            ),
        }
    }
}

/// The registries that are configured, by host: `registry.test:5000`. Shared with whoever changes them.
#[derive(Debug, Clone, Default)]
pub struct Registries(Arc<RwLock<BTreeMap<String, Registry>>>);

impl Registries {
    /// Replaces all.
    pub fn set(&self, all: BTreeMap<String, Registry>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = all;
    }

    /// Whether there is a login for the registry of an image.
    pub(super) fn know_us(&self, reference: &str) -> bool {
        self.of(reference).is_some_and(|registry| registry.login.is_some())
    }

    fn of(&self, reference: &str) -> Option<Registry> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(host(reference)).cloned()
    }
}

/// The host of an image's registry.
fn host(reference: &str) -> &str {
    match reference.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => HUB,
    }
}

/// An image's name without tag and digest.
fn repository(reference: &str) -> &str {
    let name = reference.split_once('@').map_or(reference, |(name, _)| name);
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => name,
    }
}

/// An image's name with its tag. Who asks a daemon to fetch one without gets all that its repository
/// has.
pub(super) fn tagged(reference: &str) -> String {
    match reference.rsplit('/').next() {
        Some(last) if !last.contains([':', '@']) => format!("{reference}:latest"),
        _ => reference.to_owned(),
    }
}

/// What pins an image in its repository, out of what the daemon says it is called there.
fn digest_in<'a>(digests: &'a [String], reference: &str) -> Option<&'a str> {
    let of = |one: &'a String| {
        one.split_once('@')
            .filter(|(name, _)| *name == repository(reference))
            .map(|(_, digest)| digest)
    };
    digests.iter().find_map(of)
}

/// `NAME@sha256:...`.
pub(super) fn by_digest(reference: &str, digest: &str) -> String {
    format!("{}@{digest}", repository(reference))
}

/// How daemons begin to say that a text is no image name; Docker's words, then Podman's.
const NO_NAME: [&str; 5] = [
    "invalid reference format",
    "invalid repository name",
    "invalid tag",
    "normalizing name",
    "parsing reference",
];

/// What a daemon answers 400 to when it is asked for an image: it will not take the text for a name,
/// however often it is asked; or else the request itself is wrong to it, for a reason it gives.
pub(super) fn bad_request(reference: &str, error: &bollard::errors::Error) -> EngineError {
    let words = connection::words(error);
    let lower = words.to_ascii_lowercase();
    match NO_NAME.iter().any(|no_name| lower.contains(no_name)) {
        true => refused(format!("`{reference}` is no image name: {words}")),
        false => unavailable(&format!("look for image `{reference}`"), words),
    }
}

impl Inner {
    /// See [`crate::Engine::image_digest`]. Of a registry that is configured an image has the digest
    /// that it has there, so that it can be fetched by it; what is to be sent there and is not there
    /// yet is not here.
    pub(super) async fn digest(&self, reference: &str) -> Result<Option<String>, EngineError> {
        let docker = self.connection.get().await?;
        let here = match docker.inspect_image(reference).await {
            Ok(image) => Some(image),
            Err(error) if connection::status(&error) == Some(404) => None,
            Err(error) if connection::status(&error) == Some(400) => {
                return Err(bad_request(reference, &error));
            }
            Err(error) => return Err(unavailable("look for an image", error)),
        };
        if let Some(id) = here.as_ref().and_then(|image| image.id.as_deref()) {
            let touched = self.place.touch_fetched(id);
            touched.map_err(|e| unavailable("note that an image is asked for", e))?;
        }
        let Some(registry) = self.options.registries.of(reference) else {
            return Ok(here.and_then(|image| image.id));
        };
        let digests = here.as_ref().and_then(|image| image.repo_digests.as_deref());
        if let Some(digest) = digests.and_then(|all| digest_in(all, reference)) {
            return Ok(Some(digest.to_owned()));
        }
        match self.digest_there(reference, &registry).await? {
            Some(digest) => Ok(Some(digest)),
            None if registry.push => Ok(None),
            None => Ok(here.and_then(|image| image.id)),
        }
    }

    /// See [`crate::Engine::published_digest`].
    pub(super) async fn published(&self, reference: &str) -> Result<Option<String>, EngineError> {
        let registry = self.options.registries.of(reference).unwrap_or_default();
        self.digest_there(reference, &registry).await
    }

    /// The digest of an image in its registry.
    async fn digest_there(
        &self,
        reference: &str,
        registry: &Registry,
    ) -> Result<Option<String>, EngineError> {
        let docker = self.connection.get().await?;
        let asked =
            docker.inspect_registry_image(reference, credentials(reference, registry)).await;
        match asked {
            Ok(found) => Ok(found.descriptor.digest),
            Err(error) if connection::status(&error) == Some(404) => Ok(None),
            Err(error) => {
                let action = format!("ask registry {} for an image", host(reference));
                Err(unavailable(&action, connection::words(&error)))
            }
        }
    }

    /// The id of an image that the daemon has, by its digest here or in its registry.
    pub(super) async fn have(
        &self,
        reference: &str,
        digest: Option<&str>,
    ) -> Result<Option<String>, EngineError> {
        let Some(digest) = digest else { return self.image(reference).await };
        match self.image(digest).await? {
            Some(id) => Ok(Some(id)),
            None => self.image(&by_digest(reference, digest)).await,
        }
    }

    /// Under which names an image is asked for at its registry, and as whom: by digest where one is known.
    /// That may be what the image was called here, which no registry knows it by.
    pub(super) fn asked(
        &self,
        reference: &str,
        digest: Option<&str>,
    ) -> (Vec<String>, Option<DockerCredentials>) {
        let registry = self.options.registries.of(reference).unwrap_or_default();
        let pinned = digest.map(|digest| by_digest(reference, digest));
        let names = pinned.into_iter().chain([tagged(reference)]).collect();
        (names, credentials(reference, &registry))
    }

    /// Whether an image has a registry to which it goes once it is built.
    pub(super) fn goes_to_a_registry(&self, reference: &str) -> bool {
        self.options.registries.of(reference).is_some_and(|registry| registry.push)
    }

    /// Sends an image to its registry; the reason when that fails.
    pub(super) async fn push(&self, reference: &str) -> Result<(), String> {
        let Some(registry) = self.options.registries.of(reference) else { return Ok(()) };
        let failed = |why: &str| format!("not sent to registry {}: {why}", host(reference));
        let docker = self.connection.get().await.map_err(|error| failed(&error.to_string()))?;
        let name = repository(reference);
        let tag = reference.get(name.len() + 1..).unwrap_or("latest");
        let options = PushImageOptionsBuilder::default().tag(tag).build();
        let mut sending = docker.push_image(name, Some(options), credentials(reference, &registry));
        loop {
            match tokio::time::timeout(SILENCE, sending.next()).await {
                Ok(Some(Ok(_))) => {}
                Ok(Some(Err(error))) => return Err(failed(&connection::words(&error))),
                Ok(None) => return Ok(()),
                Err(_) => return Err(failed(&format!("nothing was heard for {SILENCE:?}"))),
            }
        }
    }
}

fn credentials(reference: &str, registry: &Registry) -> Option<DockerCredentials> {
    let (user, password) = registry.login.clone()?;
    Some(DockerCredentials {
        username: Some(user),
        password: Some(password),
        serveraddress: Some(match host(reference) {
            // Under the other name a daemon with containerd's store does not know it.
            "docker.io" => "https://index.docker.io/v1/".to_owned(),
            host => host.to_owned(),
        }),
        ..DockerCredentials::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_images_name_has_a_host_and_a_repository() {
        for (reference, at, name) in [
            ("web", HUB, "web"),
            ("web:1", HUB, "web"),
            ("shop/web:1", HUB, "shop/web"),
            ("localhost/web", "localhost", "localhost/web"),
            ("r.test/shop/web:1", "r.test", "r.test/shop/web"),
            ("r.test:5000/web", "r.test:5000", "r.test:5000/web"),
            ("r.test:5000/web:1", "r.test:5000", "r.test:5000/web"),
            ("r.test/web:1@sha256:ab", "r.test", "r.test/web"),
        ] {
            assert_eq!((host(reference), repository(reference)), (at, name), "{reference}");
        }
        for (reference, whole) in [
            ("web", "web:latest"),
            ("r.test:5000/web", "r.test:5000/web:latest"),
            ("r.test:5000/web:1", "r.test:5000/web:1"),
            ("web@sha256:ab", "web@sha256:ab"),
            ("sha256:ab", "sha256:ab"),
        ] {
            assert_eq!(tagged(reference), whole);
        }
        let digests = ["r.test/web@sha256:a".to_owned(), "r.test/api@sha256:b".to_owned()];
        assert_eq!(digest_in(&digests, "r.test/api:7"), Some("sha256:b"));
        assert_eq!(digest_in(&digests, "other.test/api:7"), None);
    }

    #[test]
    fn only_a_name_that_is_none_is_told_as_such() {
        for (message, name) in [
            ("invalid reference format", true),
            ("invalid reference format: repository name (library/Web) must be lowercase", true),
            ("normalizing name \"a b\": invalid reference format", true),
            ("client version 1.52 is too new. Maximum supported API version is 1.41", false),
            ("invalid platform", false),
        ] {
            let message = message.to_owned();
            let error = bollard::errors::Error::DockerResponseServerError {
                status_code: 400,
                message: message.clone(),
            };
            let told = bad_request("Web", &error);
            assert_eq!(matches!(told, EngineError::Refused { .. }), name, "{told:?}");
            let words = told.words();
            assert!(words.contains(&message) && words.contains("`Web`"), "{words}");
            assert_eq!(words.contains("is no image name"), name, "{words}");
        }
    }

    #[test]
    fn nothing_shows_a_password() {
        let registry = Registry { login: Some(("me".into(), "hush-hush".into())), push: true };
        let all = Registries::default();
        all.set([("r.test".to_owned(), registry)].into());
        let shown = format!("{all:?}");
        assert!(shown.contains("r.test") && !shown.contains("hush"), "{shown}");
        assert!(Registry::check("me", "S3cret/+=").is_ok());
        for bad in ["a>b", "käse", "what?", "a\tb"] {
            assert!(Registry::check("me", bad).is_err(), "{bad}");
            assert!(Registry::check(bad, "fine").is_err(), "{bad}");
        }
    }
}
