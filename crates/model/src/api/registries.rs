//! Registries of images: what is kept of them, without passwords.

use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How to use a registry; replaces what was kept of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RegistryPut {
    /// Who signs in; absent where anybody may fetch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The password or token of `user`. Kept encrypted, and never shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// When given, images that are built are sent there, under this path (which may be empty) and
    /// their own name. One registry at most has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push: Option<String>,
}

impl fmt::Debug for RegistryPut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryPut").field("user", &self.user).finish_non_exhaustive()
    }
}

/// A registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RegistryView {
    /// Its host, with its port where that is not the usual one.
    pub host: String,
    /// Who signs in; absent where anybody may fetch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Under which path images that are built are sent there; absent when they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push: Option<String>,
    /// When it was last changed.
    pub changed_at: Timestamp,
    /// By whom.
    pub changed_by: String,
}

impl RegistryView {
    /// What an image that is built is called there: `registry.test/shop/web`.
    pub fn image(&self, name: &str) -> Option<String> {
        let path = self.push.as_deref()?.trim_matches('/');
        let parts = [self.host.as_str(), path, name];
        Some(parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/"))
    }
}
