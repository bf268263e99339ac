//! Images: built by the server's engine from a directory that was sent.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::Sha256;

/// What is to be built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BuildRequest {
    /// The build's context: a directory that was offered and sent.
    pub context: Sha256,
    /// The Dockerfile within it; `Dockerfile` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dockerfile: Option<String>,
    /// The image's name and tag: `web:1a2b3c4`. An image that exists is never overwritten.
    pub image: String,
}

/// One line of a build's answer. The last is `built` or `failed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum BuildEvent {
    /// The builder said something.
    Log {
        /// One line, without its end.
        text: String,
    },
    /// The image is there.
    Built {
        /// As it was named.
        image: String,
        /// What pins it: the id of its content.
        digest: String,
    },
    /// There is no image.
    Failed {
        /// The builder's reason.
        reason: String,
    },
}

/// Which images are asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImagesFind {
    /// Names with tags.
    pub images: Vec<String>,
    /// Whether they are about to be used: for `ark gc` they are then as young as if built now.
    #[serde(default)]
    pub keep: bool,
}

/// Which of them the engine has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImagesFound {
    /// Their digests, by name.
    pub present: BTreeMap<String, String>,
}
