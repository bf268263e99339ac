//! Launch files with a top-level `type`: they describe a data store (or a library), not an app.
//!
//! Ark recognises them, so that a folder of launch files validates as a whole; it deploys none.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
    /// How it looks in development.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dev: Option<DataStoreBody>,
    /// How it looks in production.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prod: Option<DataStoreBody>,
}
