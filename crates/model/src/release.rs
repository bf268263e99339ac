//! Releases: artifact, resolved configuration and definition, immutable and numbered (I5).

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::artifact::Artifact;
use crate::definition::Definition;
use crate::ids::{AppName, EnvName, ReleaseNumber, Sha256};

/// A value of the configuration as a release pins it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum PinnedValue {
    /// Readable.
    Plain {
        /// The value.
        value: String,
    },
    /// A secret, by the number of the configuration version that holds it, encrypted; never the
    /// value (I8).
    Secret {
        /// The configuration version.
        version: u64,
    },
}

/// What is immutable of a release; its digest is taken over this.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReleaseContent {
    /// What is run.
    pub artifact: Artifact,
    /// The definition as it was parsed.
    pub definition: Definition,
    /// Every declared variable with its value or secret version.
    pub config: BTreeMap<String, PinnedValue>,
}

impl ReleaseContent {
    /// The digest that addresses the content.
    pub fn digest(&self) -> Sha256 {
        Sha256::of(&serde_json::to_vec(self).unwrap_or_default())
    }
}

/// A release: numbered per app and environment, never changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Release {
    /// Its environment.
    pub env: EnvName,
    /// Its app.
    pub app: AppName,
    /// Its number.
    pub number: ReleaseNumber,
    /// Digest of `content`.
    pub digest: Sha256,
    /// What it pins.
    pub content: ReleaseContent,
    /// The version of the configuration it was made from.
    pub config_version: u64,
    /// When.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
    /// The commit the caller's directory was at, when it told.
    pub commit: Option<String>,
}
