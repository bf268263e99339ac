//! Where distributed Maps read their items and write their results: buckets of objects. One trait,
//! so that a store reached over S3's API can stand beside directories.

use std::fmt;
use std::path::{Component, Path, PathBuf};

use async_trait::async_trait;
use jiff::Timestamp;

/// The largest object that is read, in bytes (64 MiB).
pub const OBJECT_BYTES_MAX: u64 = 64 << 20;
/// The most objects that a list answers.
pub const LISTED_MAX: usize = 100_000;

/// An object of a list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// Its key.
    pub key: String,
    /// Its length in bytes.
    pub size: u64,
    /// What tells one content from another, in quotes.
    pub etag: String,
    /// When it was written last.
    pub modified: Timestamp,
    /// `STANDARD` and its like.
    pub storage_class: String,
}

/// Buckets of objects. Errors are texts for the author of the state machine.
#[async_trait]
pub trait Objects: Send + Sync + fmt::Debug {
    /// A whole object, at most [`OBJECT_BYTES_MAX`]: the newest, or the version of that id.
    async fn read(&self, bucket: &str, key: &str, version: Option<&str>)
    -> Result<Vec<u8>, String>;
    /// Objects whose keys begin with a prefix, in order of keys, at most [`LISTED_MAX`].
    async fn list(&self, bucket: &str, prefix: &str) -> Result<Vec<Listed>, String>;
    /// Writes an object, replacing the one of that key.
    async fn write(&self, bucket: &str, key: &str, bytes: Vec<u8>) -> Result<(), String>;
}

/// Directories under one root: `<root>/<bucket>/<key>`.
#[derive(Debug)]
pub struct FileObjects {
    root: PathBuf,
}

impl FileObjects {
    /// Buckets under `root`, which need not be there.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The file of an object; nothing outside of its bucket can be named.
    fn file(&self, bucket: &str, key: &str) -> Result<PathBuf, String> {
        let plain = |text: &str| {
            !text.is_empty()
                && Path::new(text).components().all(|c| matches!(c, Component::Normal(_)))
        };
        if !plain(bucket) || bucket.contains('/') || !plain(key) {
            return Err(format!("'{bucket}/{key}' is not the name of an object"));
        }
        Ok(self.root.join(bucket).join(key))
    }
}

#[async_trait]
impl Objects for FileObjects {
    async fn read(
        &self,
        bucket: &str,
        key: &str,
        version: Option<&str>,
    ) -> Result<Vec<u8>, String> {
        if version.is_some() {
            return Err(format!(
                "the object {bucket}/{key} is a file, of which there are no versions: leave out \
                 VersionId, or start the server with ARK_S3_ENDPOINT"
            ));
        }
        let file = self.file(bucket, key)?;
        let failed = |e: std::io::Error| format!("the object {bucket}/{key} cannot be read: {e}");
        let size = tokio::fs::metadata(&file).await.map_err(failed)?.len();
        if size > OBJECT_BYTES_MAX {
            return Err(format!(
                "the object {bucket}/{key} has {size} bytes, at most {OBJECT_BYTES_MAX} are read"
            ));
        }
        tokio::fs::read(&file).await.map_err(failed)
    }

    async fn list(&self, bucket: &str, prefix: &str) -> Result<Vec<Listed>, String> {
        let root = self.file(bucket, "x")?;
        let root = root.parent().unwrap_or(&self.root).to_owned();
        let failed = |e: std::io::Error| format!("the bucket {bucket} cannot be listed: {e}");
        let (mut found, mut folders) = (Vec::new(), vec![root.clone()]);
        while let Some(folder) = folders.pop() {
            let mut entries = tokio::fs::read_dir(&folder).await.map_err(failed)?;
            while let Some(entry) = entries.next_entry().await.map_err(failed)? {
                let metadata = entry.metadata().await.map_err(failed)?;
                if metadata.is_dir() {
                    folders.push(entry.path());
                } else if let Some(key) =
                    entry.path().strip_prefix(&root).ok().and_then(Path::to_str)
                    && key.starts_with(prefix)
                {
                    let modified = metadata.modified().map_err(failed)?;
                    let modified = Timestamp::try_from(modified).unwrap_or(Timestamp::UNIX_EPOCH);
                    let size = metadata.len();
                    found.push(Listed {
                        key: key.to_owned(),
                        size,
                        // What has changed has another time or length.
                        etag: format!("\"{:x}-{size:x}\"", modified.as_nanosecond()),
                        modified,
                        storage_class: "STANDARD".to_owned(),
                    });
                    if found.len() > LISTED_MAX {
                        return Err(format!(
                            "the bucket {bucket} has more than {LISTED_MAX} objects under '{prefix}'"
                        ));
                    }
                }
            }
        }
        found.sort();
        Ok(found)
    }

    async fn write(&self, bucket: &str, key: &str, bytes: Vec<u8>) -> Result<(), String> {
        let file = self.file(bucket, key)?;
        let failed =
            |e: std::io::Error| format!("the object {bucket}/{key} cannot be written: {e}");
        if let Some(folder) = file.parent() {
            tokio::fs::create_dir_all(folder).await.map_err(failed)?;
        }
        // Never half an object under its name.
        let mut name = file.as_os_str().to_owned();
        name.push(".new");
        let new = PathBuf::from(name);
        tokio::fs::write(&new, bytes).await.map_err(failed)?;
        tokio::fs::rename(&new, &file).await.map_err(failed)
    }
}

/// No buckets at all: says so.
#[derive(Debug)]
pub struct NoObjects;

const NONE: &str = "this server has no place for objects";

#[async_trait]
impl Objects for NoObjects {
    async fn read(
        &self,
        _bucket: &str,
        _key: &str,
        _version: Option<&str>,
    ) -> Result<Vec<u8>, String> {
        Err(NONE.to_owned())
    }

    async fn list(&self, _bucket: &str, _prefix: &str) -> Result<Vec<Listed>, String> {
        Err(NONE.to_owned())
    }

    async fn write(&self, _bucket: &str, _key: &str, _bytes: Vec<u8>) -> Result<(), String> {
        Err(NONE.to_owned())
    }
}
