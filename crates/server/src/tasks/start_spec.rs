//! What an engine is told to start: a release's command, files, variables and limits for one
//! recorded instance. The only place where secrets are opened; they go nowhere but into the spec.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use ark_engine::{ArtifactSource, EngineKind, LogLimits, Published, StartSpec};
use ark_model::artifact::Artifact;
use ark_model::definition::{Definition, Protocol};
use ark_model::instance::{InstanceRecord, PortBinding};
use ark_model::release::PinnedValue;
use ark_model::{AppName, EnvName, Release};
use ark_store::{Keyring, ReadTx, SecretError, SecretName, StoreError};

use super::reconcile::ReleaseFacts;
use crate::data_stores;
use crate::variables::{Discovered, Identity, PATH, assemble};
use crate::world::World;

/// Processes and threads an instance may have when nothing else is said.
const PIDS_MAX: u64 = 4_096;

/// Why an instance cannot be described to the engine.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// The store did not answer.
    #[error("the store did not answer")]
    Store(#[from] StoreError),
    /// A secret cannot be opened.
    #[error("a secret of the release cannot be opened")]
    Secret(#[from] SecretError),
    /// The configuration version of a secret is gone.
    #[error("configuration version {version}, which holds secret {name}, is gone")]
    NoVersion {
        /// Which variable.
        name: String,
        /// Which version.
        version: u64,
    },
    /// The manifest of the release's artifact is gone.
    #[error("the manifest of artifact {digest} is gone")]
    NoManifest {
        /// Which artifact.
        digest: String,
    },
}

pub(super) async fn build(
    world: &World,
    record: &InstanceRecord,
    facts: &ReleaseFacts,
) -> Result<StartSpec, SpecError> {
    let release = &facts.release;
    let definition = &facts.definition;
    let values = values(world, release).await?;
    let mut dependencies = dependencies(world, &record.env, &definition.dependencies).await?;
    let mut host_names = Vec::new();
    let engine = world.engine.kind_for(&release.content.artifact);
    if engine == EngineKind::Docker {
        // The gateway is elsewhere for a container: at the host's address in its network, which
        // only the engine knows, under each app's name.
        for found in &mut dependencies {
            found.host = found.app.to_string();
        }
        // Also of those that are not there yet: a name cannot be given to a container later.
        let names = definition.dependencies.iter().filter(|name| name.parse::<AppName>().is_ok());
        host_names = names.cloned().collect::<BTreeSet<String>>().into_iter().collect();
    }
    let (ports, published) = ports(record, definition, &release.content.artifact);
    let who = Identity { env: &record.env, app: &record.app, instance: Some(record.id) };
    let mut variables = assemble(who, definition, values, &ports, &dependencies);
    if engine != EngineKind::Docker {
        // An image says itself where its programs are.
        variables.entry("PATH".to_owned()).or_insert_with(|| PATH.to_owned());
    }
    Ok(StartSpec {
        id: record.id,
        env: record.env.clone(),
        app: record.app.clone(),
        release: record.release,
        node: record.node.clone(),
        command: match definition.data_store {
            Some(server) => data_stores::command(server, engine),
            None => definition.run.command.clone().unwrap_or_default(),
        },
        arguments: Vec::new(),
        variables: variables.into_iter().collect(),
        artifact: artifact(world, release).await?,
        host_names,
        ports,
        published,
        memory_bytes: definition.resources.max_mem.map(|bytes| bytes.0),
        memory_soft_bytes: definition.resources.soft_mem_limit.map(|bytes| bytes.0),
        volumes: definition.volumes.clone(),
        user: definition.data_store.map(|server| server.product.user().to_owned()),
        rights: definition.run.rights(),
        cpu_cores: definition.resources.cpu.filter(|cores| *cores > 0.0),
        pids_max: Some(PIDS_MAX),
        stop_signal: definition.run.stop_signal,
        stop_grace: definition.run.stop_grace.get(),
        log_limits: LogLimits::default(),
    })
}

/// Where it listens, and where that is reached. A container of another host listens at the
/// definition's ports, and its host gives it those on record.
fn ports(
    record: &InstanceRecord,
    definition: &Definition,
    artifact: &Artifact,
) -> (Vec<PortBinding>, Vec<Published>) {
    if record.node.is_local() || !matches!(artifact, Artifact::Image { .. }) {
        return (record.ports.clone(), Vec::new());
    }
    let own = |port: &PortBinding| {
        let expose = definition.expose.iter().find(|expose| expose.name == port.expose)?;
        let inside = SocketAddr::from((Ipv4Addr::UNSPECIFIED, expose.port));
        let binding = PortBinding { expose: port.expose.clone(), address: inside };
        Some((binding, Published { port: expose.port, address: port.address }))
    };
    record.ports.iter().filter_map(own).unzip()
}

/// The declared variables, secrets in clear.
pub async fn values(
    world: &World,
    release: &Release,
) -> Result<BTreeMap<String, String>, SpecError> {
    let mut values = BTreeMap::new();
    let mut sealed_in: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for (name, value) in &release.content.config {
        match value {
            PinnedValue::Plain { value } => {
                values.insert(name.clone(), value.clone());
            }
            PinnedValue::Secret { version } => {
                sealed_in.entry(*version).or_default().push(name.clone());
            }
        }
    }
    for (version, names) in sealed_in {
        let (env, app) = (release.env.clone(), release.app.clone());
        let config = world.store.read(move |tx| tx.config_version(&env, &app, version)).await?;
        for name in names {
            let place = SecretName { env: &release.env, app: &release.app, name: &name, version };
            let value = match config.as_ref().and_then(|c| c.values.get(&name)) {
                Some(ark_store::ConfigValue::Secret { sealed, .. }) => {
                    world.keyring.open_sealed(place, sealed)?.expose().to_owned()
                }
                Some(ark_store::ConfigValue::Plain { .. }) | None => {
                    return Err(SpecError::NoVersion { name, version });
                }
            };
            values.insert(name, value);
        }
    }
    Ok(values)
}

/// How the dependencies of an app are reached: the gateway's discovery ports of their routes, and
/// the credentials of data stores.
pub async fn dependencies(
    world: &World,
    env: &EnvName,
    names: &[String],
) -> Result<Vec<Discovered>, SpecError> {
    let apps: Vec<AppName> = names.iter().filter_map(|name| name.parse().ok()).collect();
    if apps.is_empty() {
        return Ok(Vec::new());
    }
    let env = env.clone();
    let keyring = Arc::clone(&world.keyring);
    world.store.read(move |tx| discovered(tx, &keyring, &env, &apps)).await
}

pub(crate) fn discovered(
    tx: &ReadTx,
    keyring: &Keyring,
    env: &EnvName,
    apps: &[AppName],
) -> Result<Vec<Discovered>, SpecError> {
    let mut all = Vec::new();
    for (route, port) in tx.discovery_ports()? {
        if route.env != *env || !apps.contains(&route.app) {
            continue;
        }
        let release = match tx.app_state(env, &route.app)?.and_then(|state| state.live) {
            Some(live) => tx.release(env, &route.app, live)?,
            None => tx.latest_release(env, &route.app)?,
        };
        let tcp = release
            .iter()
            .flat_map(|r| &r.content.definition.expose)
            .any(|e| e.name == route.expose && e.protocol == Protocol::Tcp);
        let credentials = match &release {
            Some(release) => data_stores::credentials(tx, keyring, release)?,
            None => None,
        };
        all.push(Discovered {
            app: route.app,
            expose: route.expose,
            proto: if tcp { "tcp" } else { "http" },
            host: "127.0.0.1".to_owned(),
            port,
            credentials,
        });
    }
    Ok(all)
}

async fn artifact(world: &World, release: &Release) -> Result<ArtifactSource, SpecError> {
    match &release.content.artifact {
        Artifact::Directory { digest } => {
            let wanted = *digest;
            let record = world.store.read(move |tx| tx.artifact(&wanted)).await?;
            let record =
                record.ok_or_else(|| SpecError::NoManifest { digest: digest.to_string() })?;
            Ok(ArtifactSource::Directory {
                manifest: record.manifest,
                blobs: world.blobs.directory().to_owned(),
            })
        }
        Artifact::Image { reference, digest } => {
            Ok(ArtifactSource::Image { reference: reference.clone(), digest: digest.clone() })
        }
        Artifact::None => Ok(ArtifactSource::None),
    }
}
