//! Data stores that Ark runs itself: PostgreSQL and Redis for development environments
//! (`ark_model::definition::DataStore::definition` is the app they become). Here is what they have
//! beyond other apps: which programs or image they run from, the command, their password, and what
//! the apps that depend on them are told.
//!
//! The API calls [`choose`] and [`prepare`] for a deployment, the tasks [`command`] and
//! [`credentials`] for a start. Their data is the engine's (a volume); nothing here touches it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ark_engine::EngineKind;
use ark_model::artifact::Artifact;
use ark_model::definition::{STORE_PASSWORD, StoreProduct, StoreServer};
use ark_model::release::PinnedValue;
use ark_model::{AppName, EnvName, Release};
use ark_store::{ConfigValue, Keyring, ReadTx, SecretName, SecretValue};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::process::Command;
use tokio::time::timeout;

use crate::tasks::start_spec::SpecError;

/// How long a program may take to tell its version.
const VERSION_DEADLINE: Duration = Duration::from_secs(3);
/// Folders that are looked into for programs.
const FOLDERS_MAX: usize = 64;
/// Random bytes of a password.
const PASSWORD_BYTES: usize = 24;

/// What an app that depends on a data store is told beside its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Which.
    pub product: StoreProduct,
    /// Its password.
    pub password: SecretValue,
}

impl Credentials {
    /// The variables that tell of it, by what follows `SERVICE_<APP>_<EXPOSE>_`.
    pub fn variables(&self, host: &str, port: u16) -> [(&'static str, String); 4] {
        let (user, database) = self.product.login();
        let password = self.password.expose();
        let quoted = quoted(password);
        let url = match self.product {
            StoreProduct::Postgres => {
                format!("postgres://{user}:{quoted}@{host}:{port}/{database}")
            }
            StoreProduct::Redis => format!("redis://{user}:{quoted}@{host}:{port}/{database}"),
        };
        [
            ("USER", user.to_owned()),
            ("PASSWORD", password.to_owned()),
            ("DATABASE", database.to_owned()),
            ("URL", url),
        ]
    }
}

/// As it stands in an address (RFC 3986, 2.1).
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// A new password: letters and digits only, so that it needs no quoting anywhere. `None` when the
/// system has no randomness.
pub(crate) fn new_password() -> Option<SecretValue> {
    let mut bytes = [0; PASSWORD_BYTES];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(SecretValue::new(hex::encode(bytes)))
}

/// The command that runs one. In a container it listens at all addresses, because the gateway comes
/// from elsewhere.
pub(crate) fn command(server: StoreServer, engine: EngineKind) -> Vec<String> {
    let container = matches!(engine, EngineKind::Docker | EngineKind::Kubernetes);
    let (script, everywhere) = match server.product {
        StoreProduct::Postgres => (include_str!("data_stores/postgres.sh"), "*"),
        StoreProduct::Redis => (include_str!("data_stores/redis.sh"), "* -::*"),
    };
    let listen = if container { everywhere } else { "127.0.0.1" };
    let version = server.version.map(|version| version.to_string()).unwrap_or_default();
    ["/bin/sh", "-c", script, server.product.as_str(), listen, &version].map(str::to_owned).into()
}

/// What is known when it is chosen what a data store runs from.
#[derive(Debug, Clone)]
pub(crate) struct Choice {
    pub(crate) server: StoreServer,
    /// What its file names.
    pub(crate) image: Option<String>,
    /// What the live release runs from: its data is there.
    pub(crate) live: Option<Artifact>,
    /// Whether images can be run at all.
    pub(crate) images: bool,
}

/// Where a data store's server comes from: the image that is named; else the programs of this
/// machine, of the version that is asked for; else its makers' image. One that is live stays where
/// its data is.
///
/// # Errors
/// Words for people.
pub(crate) async fn choose(choice: &Choice) -> Result<Artifact, String> {
    let Choice { server, image, live, images } = choice;
    let product = server.product;
    let image_of = |reference: String| Artifact::Image { reference, digest: None };
    match (live, image) {
        (Some(Artifact::Image { .. }), image) => {
            return Ok(image_of(image.clone().unwrap_or_else(|| server.default_image())));
        }
        (Some(_), Some(image)) => {
            return Err(format!(
                "its data is in a folder of this machine, and image `{image}` would begin with none: \
                 leave `image` out, or give the new one another name"
            ));
        }
        (None, Some(image)) => return Ok(image_of(image.clone())),
        (Some(_) | None, None) => {}
    }
    let here = machine_versions(product).await;
    if server.version.map_or(!here.is_empty(), |version| here.contains(&version)) {
        return Ok(Artifact::None);
    }
    if live.is_none() && *images {
        return Ok(image_of(server.default_image()));
    }
    Err(absent(*server, &here))
}

/// That this machine cannot run it by itself.
pub(crate) fn absent(server: StoreServer, here: &BTreeSet<u16>) -> String {
    let product = server.product;
    let (title, programs) = (product.title(), product.programs().join(" and "));
    match server.version {
        Some(version) if !here.is_empty() => {
            let here: Vec<String> = here.iter().map(u16::to_string).collect();
            format!(
                "this machine has {title} {}, and version {version} is asked for",
                here.join(", ")
            )
        }
        Some(_) | None => format!("this machine has no {title} of its own ({programs} in PATH)"),
    }
}

/// The major versions of a product that this machine has.
pub(crate) async fn machine_versions(product: StoreProduct) -> BTreeSet<u16> {
    let mut found = BTreeSet::new();
    for folder in tokio::task::spawn_blocking(folders).await.unwrap_or_default() {
        if !product.programs().iter().all(|program| folder.join(program).is_file()) {
            continue;
        }
        if let Some(first) = product.programs().first() {
            found.extend(version_of(&folder.join(first)).await);
        }
    }
    found
}

/// Where programs may be, as the scripts look for them.
fn folders() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    if let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") {
        folders.extend(versions.flatten().map(|entry| entry.path().join("bin")));
    }
    // An app's PATH, not the server's: the server's program may be where no app looks.
    let path = crate::variables::PATH;
    folders.extend(path.split(':').map(PathBuf::from));
    folders.truncate(FOLDERS_MAX);
    folders
}

async fn version_of(program: &Path) -> Option<u16> {
    let asked = Command::new(program)
        .arg(if program.ends_with("redis-server") { "-v" } else { "-V" })
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(VERSION_DEADLINE, asked).await.ok()?.ok()?;
    major(&String::from_utf8_lossy(&output.stdout))
}

/// `postgres (PostgreSQL) 15.13 (Debian 15.13-1)` and `Redis server v=7.0.15 sha=0` have the version
/// as the first word that begins with a digit, perhaps after `v=`.
fn major(text: &str) -> Option<u16> {
    let mut words = text.split_whitespace().map(|word| word.trim_start_matches("v="));
    let word = words.find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    let digits: String = word.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// The password of a data store's release; `None` when the release is of no data store.
pub(crate) fn credentials(
    tx: &ReadTx,
    keyring: &Keyring,
    release: &Release,
) -> Result<Option<Credentials>, SpecError> {
    let Some(server) = release.content.definition.data_store else { return Ok(None) };
    let (env, app): (&EnvName, &AppName) = (&release.env, &release.app);
    let missing = |version: u64| SpecError::NoVersion { name: STORE_PASSWORD.to_owned(), version };
    let password = match release.content.config.get(STORE_PASSWORD) {
        Some(PinnedValue::Plain { value }) => SecretValue::new(value.clone()),
        Some(PinnedValue::Secret { version }) => {
            let config = tx.config_version(env, app, *version)?;
            let value = config.as_ref().and_then(|config| config.values.get(STORE_PASSWORD));
            let Some(ConfigValue::Secret { sealed, .. }) = value else {
                return Err(missing(*version));
            };
            let place = SecretName { env, app, name: STORE_PASSWORD, version: *version };
            keyring.open_sealed(place, sealed)?
        }
        None => return Err(missing(release.config_version)),
    };
    Ok(Some(Credentials { product: server.product, password }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_the_programs_tell_them() {
        for (text, expect) in [
            ("postgres (PostgreSQL) 15.13 (Debian 15.13-0+deb12u1)\n", Some(15)),
            ("postgres (PostgreSQL) 18beta1", Some(18)),
            ("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64", Some(7)),
            ("", None),
            ("usage: postgres", None),
        ] {
            assert_eq!(major(text), expect, "{text}");
        }
    }

    #[test]
    fn an_address_holds_any_password() {
        let credentials =
            |product| Credentials { product, password: SecretValue::new("a@b:c/ä".to_owned()) };
        let url = |product| credentials(product).variables("db", 5432)[3].1.clone();
        assert_eq!(url(StoreProduct::Postgres), "postgres://app:a%40b%3Ac%2F%C3%A4@db:5432/app");
        assert_eq!(url(StoreProduct::Redis), "redis://default:a%40b%3Ac%2F%C3%A4@db:5432/0");
        assert!(!format!("{:?}", credentials(StoreProduct::Redis)).contains("a@b"));
    }

    #[tokio::test]
    async fn one_that_is_live_stays_where_its_data_is() {
        let server = StoreServer { product: StoreProduct::Postgres, version: Some(16) };
        let image = |reference: &str| Artifact::Image { reference: reference.into(), digest: None };
        let choice = |live: Option<Artifact>, named: Option<&str>| Choice {
            // A version that no machine has.
            server: StoreServer { version: Some(999), ..server },
            image: named.map(str::to_owned),
            live,
            images: true,
        };
        let chosen = |live, named| async move { choose(&choice(live, named)).await };
        assert_eq!(chosen(None, None).await, Ok(image("postgres:999")));
        assert_eq!(chosen(None, Some("pg:1")).await, Ok(image("pg:1")));
        assert_eq!(chosen(Some(image("pg:1")), Some("pg:2")).await, Ok(image("pg:2")));
        assert_eq!(chosen(Some(image("pg:1")), None).await, Ok(image("postgres:999")));
        assert!(chosen(Some(Artifact::None), Some("pg:1")).await.is_err());
        assert!(chosen(Some(Artifact::None), None).await.is_err());
    }
}
