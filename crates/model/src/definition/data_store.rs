//! Launch files with a top-level `type`: they describe a data store (or a library), not an app.
//!
//! Two kinds, `postgres` and `redis`, Ark runs itself in development environments:
//! [`DataStore::definition`] is the app they become. The others belong to another platform; they are
//! recognised, so that a folder of launch files validates as a whole, and never deployed.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Definition, DeployPolicy, Drain, DurationText, Expose, Protocol, Quantity, Run, RunKind,
    StopSignal, Strategy, Volume,
};

/// What the file describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DataStoreKind {
    /// Tables in DynamoDB.
    Dynamodb,
    /// Streams in Kinesis.
    KinesisStreams,
    /// A relational database.
    Aurora,
    /// A search domain.
    Elasticsearch,
    /// Code that is built and never run.
    Library,
    /// A PostgreSQL server that Ark runs in development environments.
    Postgres,
    /// A Redis server that Ark runs in development environments.
    Redis,
}

impl DataStoreKind {
    /// The word used in files.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dynamodb => "dynamodb",
            Self::KinesisStreams => "kinesis-streams",
            Self::Aurora => "aurora",
            Self::Elasticsearch => "elasticsearch",
            Self::Library => "library",
            Self::Postgres => "postgres",
            Self::Redis => "redis",
        }
    }

    /// What it is, of what Ark never runs; `None` of a product of Ark's.
    pub fn why_not_run(self) -> Option<String> {
        match self {
            Self::Postgres | Self::Redis => None,
            Self::Library => Some("a library: code that is built and never run".to_owned()),
            Self::Dynamodb | Self::KinesisStreams | Self::Aurora | Self::Elasticsearch => {
                Some(format!(
                    "a data store of type {self}, which is external: Ark runs postgres and redis"
                ))
            }
        }
    }

    /// The product that Ark runs itself; `None` of what belongs to another platform.
    pub const fn product(self) -> Option<StoreProduct> {
        match self {
            Self::Postgres => Some(StoreProduct::Postgres),
            Self::Redis => Some(StoreProduct::Redis),
            Self::Dynamodb
            | Self::KinesisStreams
            | Self::Aurora
            | Self::Elasticsearch
            | Self::Library => None,
        }
    }
}

impl fmt::Display for DataStoreKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One side (`dev` or `prod`) as it was written: region, tables, shards, alarms.
pub type DataStoreBody = BTreeMap<String, serde_json::Value>;

/// A data store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DataStore {
    /// What it is.
    #[serde(rename = "type")]
    pub kind: DataStoreKind,
    /// The app it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
    /// The owning team.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    /// Responsible engineers.
    #[serde(default)]
    pub shepherds: Vec<String>,
    /// Its major version, of one that Ark runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u16>,
    /// The image it runs from, of one that Ark runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// How it looks in development.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dev: Option<DataStoreBody>,
    /// How it looks in production.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prod: Option<DataStoreBody>,
}

impl DataStore {
    /// The app by which Ark runs it: one instance with a folder that outlives it, its port, and a
    /// password among its variables. `None` of what belongs to another platform.
    ///
    /// Two servers over one folder would destroy it, so the old one ends before the next begins.
    pub fn definition(&self) -> Option<Definition> {
        let product = self.kind.product()?;
        let port =
            Expose { protocol: Protocol::Tcp, ..Expose::new(product.as_str(), product.port()) };
        let deploy = DeployPolicy {
            strategy: Strategy::Recreate,
            max_surge: Quantity::Count(0),
            max_unavailable: Quantity::Count(1),
            watch: DurationText::default(),
            ..DeployPolicy::default()
        };
        let short = DurationText::from_secs(1);
        Some(Definition {
            env: vec![STORE_PASSWORD.to_owned()],
            expose: vec![port],
            deploy,
            // Its clients keep connections open for ever; they are ended and made anew.
            drain: Drain { requests: short, streams: short },
            volumes: vec![Volume {
                name: product.as_str().to_owned(),
                path: product.folder().to_owned(),
            }],
            team: self.team.clone(),
            shepherds: self.shepherds.clone(),
            data_store: Some(StoreServer { product, version: self.version }),
            ..Definition::of_run(Run {
                stop_signal: product.stop_signal(),
                ..Run::of_kind(RunKind::Service)
            })
        })
    }
}

/// The variable that holds the password of a data store's server. Its value is made once, and kept
/// as a secret.
pub const STORE_PASSWORD: &str = "STORE_PASSWORD";

/// That an app is the server of a data store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StoreServer {
    /// Which.
    pub product: StoreProduct,
    /// Its major version; any, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u16>,
}

impl StoreServer {
    /// The image of its makers.
    pub fn default_image(self) -> String {
        let version = self.version.unwrap_or(match self.product {
            StoreProduct::Postgres => 17,
            StoreProduct::Redis => 7,
        });
        format!("{}:{version}", self.product)
    }
}

/// A data store that Ark runs itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StoreProduct {
    /// PostgreSQL.
    Postgres,
    /// Redis.
    Redis,
}

impl StoreProduct {
    /// The word used in files; also the name of its port and its volume.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Redis => "redis",
        }
    }

    /// Its name for people.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Postgres => "PostgreSQL",
            Self::Redis => "Redis",
        }
    }

    /// Its port in a container.
    pub const fn port(self) -> u16 {
        match self {
            Self::Postgres => 5432,
            Self::Redis => 6379,
        }
    }

    /// The programs that a machine needs to run it itself; the first tells its version by `-V`.
    pub const fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Postgres => &["postgres", "initdb"],
            Self::Redis => &["redis-server"],
        }
    }

    /// The user of its makers' images that it runs as.
    pub const fn user(self) -> &'static str {
        self.as_str()
    }

    /// The folder of its makers' images that belongs to that user.
    const fn folder(self) -> &'static str {
        match self {
            Self::Postgres => "/var/lib/postgresql",
            Self::Redis => "/data",
        }
    }

    /// PostgreSQL waits for its clients on SIGTERM, and lets go of them on SIGINT.
    const fn stop_signal(self) -> StopSignal {
        match self {
            Self::Postgres => StopSignal::Int,
            Self::Redis => StopSignal::Term,
        }
    }

    /// The user by which its clients know themselves, and the database; as its variables say.
    pub const fn login(self) -> (&'static str, &'static str) {
        match self {
            Self::Postgres => ("app", "app"),
            Self::Redis => ("default", "0"),
        }
    }
}

impl fmt::Display for StoreProduct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
