//! Artifacts: what a release runs. A directory is a manifest of content hashes; an image is a
//! digest. Blobs are stored elsewhere (`ark-store`), copied elsewhere (`ark-engine`).

use std::path::{Component, Path};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::Sha256;

/// The most entries a manifest may have.
pub const MANIFEST_ENTRIES_MAX: usize = 100_000;
/// The largest single file of a directory artifact, in bytes (4 GiB).
pub const BLOB_BYTES_MAX: u64 = 4 << 30;

/// What a release runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Artifact {
    /// A directory, known by the digest of its manifest.
    Directory {
        /// Digest of [`Manifest::canonical`].
        digest: Sha256,
    },
    /// A container image.
    Image {
        /// As it was named by the user.
        reference: String,
        /// Digest of the image, when the engine resolved it.
        digest: Option<String>,
    },
    /// Nothing but the command itself: the definition's command is on the host already.
    None,
}

/// The files of a directory, by content. Entries are sorted by path and no path occurs twice.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Manifest {
    /// Files, symbolic links and directories, sorted by path.
    pub entries: Vec<ManifestEntry>,
}

/// One entry of a [`Manifest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ManifestEntry {
    /// Relative, `/` between parts, no `.` or `..` parts.
    pub path: String,
    /// What stands there.
    #[serde(flatten)]
    pub node: ManifestNode,
}

/// What stands at a path of a [`Manifest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ManifestNode {
    /// A regular file.
    File {
        /// Digest of the content.
        sha256: Sha256,
        /// Length in bytes.
        bytes: u64,
        /// Whether it may be executed. No other permission bit is kept.
        executable: bool,
    },
    /// A symbolic link. That of an artifact that instances get copies of stays within the directory.
    Symlink {
        /// As it stands in the link.
        target: String,
    },
    /// A directory; needed only for empty ones, allowed for all.
    Directory,
}

/// Why a manifest is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// More than [`MANIFEST_ENTRIES_MAX`] entries.
    #[error("the directory has {0} entries; at most {MANIFEST_ENTRIES_MAX} are allowed")]
    TooMany(usize),
    /// Absolute, empty, or with `.` or `..` parts.
    #[error("path `{0}` is not a plain relative path")]
    Path(String),
    /// Not sorted, or twice the same.
    #[error("path `{0}` is out of order or occurs twice")]
    Order(String),
    /// A link that leads out of the directory.
    #[error("symbolic link `{path}` leads outside the directory (to `{target}`)")]
    Escapes {
        /// Where the link is.
        path: String,
        /// Where it leads.
        target: String,
    },
    /// A path below something that is not a directory.
    #[error("path `{0}` lies below a file or a link")]
    Parent(String),
    /// Larger than [`BLOB_BYTES_MAX`].
    #[error("file `{path}` has {bytes} bytes; at most {BLOB_BYTES_MAX} are allowed")]
    TooLarge {
        /// Where the file is.
        path: String,
        /// Its length.
        bytes: u64,
    },
}

impl Manifest {
    /// The text whose digest names the artifact.
    pub fn canonical(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The artifact's digest.
    pub fn digest(&self) -> Sha256 {
        Sha256::of(&self.canonical())
    }

    /// The distinct blobs it needs, with their lengths in bytes.
    pub fn blobs(&self) -> std::collections::BTreeMap<Sha256, u64> {
        self.entries
            .iter()
            .filter_map(|entry| match &entry.node {
                ManifestNode::File { sha256, bytes, .. } => Some((*sha256, *bytes)),
                ManifestNode::Symlink { .. } | ManifestNode::Directory => None,
            })
            .collect()
    }

    /// Checks everything that a copier relies on: plain paths in order, links that stay inside,
    /// nothing below a file or a link.
    pub fn check(&self) -> Result<(), ManifestError> {
        self.check_links(escapes)
    }

    /// The same for what is sent to a builder of images, where a link leads to something in the image and
    /// may be absolute.
    pub fn check_context(&self) -> Result<(), ManifestError> {
        self.check_links(|_, target| !is_target(target))
    }

    fn check_links(&self, leads_out: fn(&str, &str) -> bool) -> Result<(), ManifestError> {
        if self.entries.len() > MANIFEST_ENTRIES_MAX {
            return Err(ManifestError::TooMany(self.entries.len()));
        }
        let mut previous: Option<&str> = None;
        let mut leaves = std::collections::HashSet::new();
        for entry in &self.entries {
            let path = entry.path.as_str();
            if !plain(path) {
                return Err(ManifestError::Path(path.to_owned()));
            }
            if previous.is_some_and(|p| p >= path) {
                return Err(ManifestError::Order(path.to_owned()));
            }
            previous = Some(path);
            // Sorting by bytes puts `a` before `a/b`, so a parent is always seen first.
            let below_leaf = path.match_indices('/').any(|(at, _)| leaves.contains(&path[..at]));
            if below_leaf {
                return Err(ManifestError::Parent(path.to_owned()));
            }
            match &entry.node {
                ManifestNode::File { bytes, .. } => {
                    if *bytes > BLOB_BYTES_MAX {
                        return Err(ManifestError::TooLarge { path: path.into(), bytes: *bytes });
                    }
                    leaves.insert(path);
                }
                ManifestNode::Symlink { target } => {
                    if leads_out(path, target) {
                        return Err(ManifestError::Escapes {
                            path: path.into(),
                            target: target.clone(),
                        });
                    }
                    leaves.insert(path);
                }
                ManifestNode::Directory => {}
            }
        }
        Ok(())
    }
}

fn plain(path: &str) -> bool {
    !path.is_empty()
        && path.len() <= 4096
        && !path.contains('\0')
        && !path.contains("//")
        && !path.ends_with('/')
        && Path::new(path).components().all(|c| matches!(c, Component::Normal(_)))
        && path.split('/').all(|part| part != "." && part != "..")
}

/// Whether a link can be made that leads there.
fn is_target(target: &str) -> bool {
    !target.is_empty() && !target.contains('\0')
}

fn escapes(link: &str, target: &str) -> bool {
    if !is_target(target) {
        return true;
    }
    let mut depth = link.split('/').count() as i64 - 1;
    for component in Path::new(target).components() {
        match component {
            Component::Normal(_) => depth += 1,
            Component::ParentDir => depth -= 1,
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return true,
        }
        if depth < 0 {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str) -> ManifestEntry {
        let node = ManifestNode::File { sha256: Sha256::of(b""), bytes: 0, executable: false };
        ManifestEntry { path: path.into(), node }
    }

    fn link(path: &str, target: &str) -> ManifestEntry {
        ManifestEntry { path: path.into(), node: ManifestNode::Symlink { target: target.into() } }
    }

    #[test]
    fn manifests_that_would_write_outside_are_refused() {
        for (entries, good) in [
            (vec![file("a"), file("b/c")], true),
            (vec![link("a/b", "../c"), file("c")], true),
            (vec![file("/etc/passwd")], false),
            (vec![file("../x")], false),
            (vec![file("a/../x")], false),
            (vec![file("a/./x")], false),
            (vec![file("a//x")], false),
            (vec![file("")], false),
            (vec![file("b"), file("a")], false),
            (vec![file("a"), file("a")], false),
            (vec![file("a"), file("a/b")], false),
            (vec![link("a", "/etc"), file("a/passwd")], false),
            (vec![link("a", "b"), file("a/x")], false),
            (vec![link("a", "..")], false),
            (vec![link("a/b", "../../c")], false),
        ] {
            let manifest = Manifest { entries };
            assert_eq!(manifest.check().is_ok(), good, "{manifest:?}");
        }
    }

    #[test]
    fn a_link_of_a_context_leads_wherever_it_will() {
        for (entries, good) in [
            (vec![link("a", "/etc/ssl")], true),
            (vec![link("a/b", "../../c")], true),
            (vec![link("a", "")], false),
            (vec![link("a", "b\0c")], false),
            (vec![link("a", "/etc"), file("a/passwd")], false),
            (vec![file("../x")], false),
        ] {
            let manifest = Manifest { entries };
            assert_eq!(manifest.check_context().is_ok(), good, "{manifest:?}");
        }
    }
}
