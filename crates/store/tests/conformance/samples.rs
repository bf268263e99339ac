//! Records to store, and instants to store them at.

use std::collections::BTreeMap;

use ark_model::artifact::{Artifact, Manifest, ManifestEntry, ManifestNode};
use ark_model::deployment::{DeploymentKind, Strategy};
use ark_model::environment::{AppState, EnvKind, EnvState, Environment};
use ark_model::event::{EventKind, NewEvent};
use ark_model::instance::InstanceRecord;
use ark_model::receipt::Side;
use ark_model::release::ReleaseContent;
use ark_model::route::RouteKey;
use ark_model::{
    AppName, Deployment, DeploymentId, EnvName, InstanceId, InstanceState, ReleaseNumber, Sha256,
};
use ark_store::{NewRelease, Store, StoreError, WriteTx};
use jiff::{SignedDuration, Timestamp};

/// The instant `seconds` after the tests' beginning of time.
pub(crate) fn at(seconds: i64) -> Timestamp {
    let begin = Timestamp::from_second(1_700_000_000).expect("an instant");
    begin + SignedDuration::from_secs(seconds)
}

pub(crate) fn env(name: &str) -> EnvName {
    name.parse().expect("an environment's name")
}

pub(crate) fn app(name: &str) -> AppName {
    name.parse().expect("an app's name")
}

pub(crate) fn id(number: u128) -> uuid::Uuid {
    uuid::Uuid::from_u128(number)
}

pub(crate) fn environment(name: &str) -> Environment {
    Environment {
        name: env(name),
        kind: EnvKind::Development,
        state: EnvState::Active,
        owner: "ada".into(),
        created_at: at(0),
        freeze: Vec::new(),
        lease: None,
    }
}

pub(crate) fn app_state(env_name: &str, app_name: &str) -> AppState {
    AppState::new(env(env_name), app(app_name), at(0))
}

pub(crate) fn content(artifact: Artifact, config: &str) -> ReleaseContent {
    let value = ark_model::release::PinnedValue::Plain { value: config.into() };
    let config = BTreeMap::from([("MODE".to_owned(), value)]);
    ReleaseContent { artifact, definition: Default::default(), config }
}

pub(crate) fn new_release(env_name: &str, app_name: &str, config: &str) -> NewRelease {
    NewRelease {
        env: env(env_name),
        app: app(app_name),
        content: content(Artifact::None, config),
        config_version: 1,
        created_at: at(0),
        created_by: "ada".into(),
        commit: None,
    }
}

pub(crate) fn deployment(number: u128, env_name: &str, app_name: &str) -> Deployment {
    Deployment {
        baseline: BTreeMap::from([(InstanceId(id(7)), side(5))]),
        ..Deployment::queued(
            DeploymentId(id(number)),
            (env(env_name), app(app_name)),
            DeploymentKind::Deploy,
            ReleaseNumber(1),
            Strategy::Rolling,
            ("ada".into(), at(0)),
        )
    }
}

pub(crate) fn instance(number: u128, env_name: &str, app_name: &str) -> InstanceRecord {
    InstanceRecord {
        id: InstanceId(id(number)),
        env: env(env_name),
        app: app(app_name),
        release: ReleaseNumber(1),
        node: ark_model::NodeName::local(),
        state: InstanceState::Starting,
        ports: Vec::new(),
        created_at: at(0),
        active_at: None,
        running_since: None,
        draining_at: None,
        stopping_at: None,
        stopped_at: None,
        process: None,
        cause: None,
    }
}

pub(crate) fn event(kind: EventKind, env_name: Option<&str>, seconds: i64) -> NewEvent {
    NewEvent {
        at: at(seconds),
        kind,
        by: "ada".into(),
        env: env_name.map(env),
        app: env_name.map(|_| app("web")),
        deployment: None,
        instance: None,
        text: format!("{kind:?} at {seconds}"),
    }
}

pub(crate) fn route(env_name: &str, app_name: &str, expose: &str) -> RouteKey {
    RouteKey { env: env(env_name), app: app(app_name), expose: expose.into() }
}

pub(crate) fn side(served: u64) -> Side {
    Side { served, ..Side::default() }
}

pub(crate) fn manifest(path: &str, blob: &[u8]) -> Manifest {
    let node = ManifestNode::File {
        sha256: Sha256::of(blob),
        bytes: blob.len() as u64,
        executable: false,
    };
    Manifest { entries: vec![ManifestEntry { path: path.into(), node }] }
}

/// Writes, and fails the test if that does.
pub(crate) async fn write<T: Send + 'static>(
    store: &Store,
    closure: impl FnOnce(&mut WriteTx) -> Result<T, StoreError> + Send + 'static,
) -> T {
    store.write(closure).await.expect("the write succeeds")
}

/// Makes environments by name.
pub(crate) async fn environments(store: &Store, names: &'static [&'static str]) {
    write(store, |tx| names.iter().try_for_each(|name| tx.insert_environment(&environment(name))))
        .await;
}
