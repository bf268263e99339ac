//! Releases and what differs between two of them.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::artifact::Artifact;
use crate::ids::{AppName, EnvName, ReleaseNumber, Sha256};

/// A release in a list. Newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReleaseRow {
    /// Its environment.
    pub env: EnvName,
    /// Its app.
    pub app: AppName,
    /// Its number.
    pub number: ReleaseNumber,
    /// Digest of everything it pins.
    pub digest: Sha256,
    /// What it runs.
    pub artifact: Artifact,
    /// The version of the configuration it was made from.
    pub config_version: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
    /// The commit the caller's directory was at.
    pub commit: Option<String>,
    /// Whether it is the live one.
    pub live: bool,
}

/// A release with everything it pins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReleaseDetail {
    /// The row of the list.
    #[serde(flatten)]
    pub row: ReleaseRow,
    /// Its configuration, sorted by name.
    pub config: Vec<ReleaseConfigEntry>,
    /// Its definition with every default filled in.
    pub definition: serde_json::Value,
}

/// One variable a release pins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReleaseConfigEntry {
    /// Its name.
    pub name: String,
    /// Its value; absent for a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Whether it is a secret.
    pub secret: bool,
    /// The version of the configuration that holds the secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
}

/// Which two releases: `v41` or `41`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DiffQuery {
    /// The older one; the live release when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The newer one; the newest release when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// What differs between two releases.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReleaseDiff {
    /// From which release.
    pub from: ReleaseNumber,
    /// To which release.
    pub to: ReleaseNumber,
    /// Whether anything differs.
    pub changes: bool,
    /// The artifact, in words, when it differs.
    pub artifact: Option<TextChange>,
    /// Configuration that differs, sorted by name.
    pub config: Vec<ConfigChange>,
    /// Parts of the definition that differ, in the definition's order.
    pub definition: Vec<DefinitionChange>,
}

/// A text and what it becomes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TextChange {
    /// Before; absent when there was none.
    pub from: Option<String>,
    /// After; absent when there is none.
    pub to: Option<String>,
}

/// What became of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It has another value.
    Changed,
}

/// A variable that differs. Secrets differ when their versions do; their values are not shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigChange {
    /// Its name.
    pub name: String,
    /// What became of it.
    pub change: ChangeKind,
    /// Whether it is or was a secret.
    pub secret: bool,
    /// The value before; absent for a secret and when there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The value after; absent for a secret and when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// A part of the definition that differs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DefinitionChange {
    /// Where: `deploy.max_surge`, `expose[0].port`.
    pub path: String,
    /// What became of it.
    pub change: ChangeKind,
    /// Before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<serde_json::Value>,
    /// After.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<serde_json::Value>,
}
