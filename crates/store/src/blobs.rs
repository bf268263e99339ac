//! Blobs: contents of artifacts as files named by their SHA-256, below `<data-dir>/artifacts`.
//!
//! A blob is written beside its place, checked for length and digest, made durable and renamed:
//! what stands under a name is whole. The API writes them, the engine reads and copies them,
//! garbage collection deletes them. Which blobs are needed is not known here.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ark_model::Sha256;
use ark_model::artifact::BLOB_BYTES_MAX;
use jiff::Timestamp;
use ring::digest::{Context, SHA256};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::data_dir::sync_dir;

/// How much is read at once, in bytes.
const CHUNK_BYTES: usize = 256 << 10;

/// Why a blob cannot be kept or found.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BlobError {
    /// The content has another digest than was said.
    #[error("blob {expected} has another content: its digest is {found}")]
    Digest {
        /// What was said.
        expected: Sha256,
        /// What it is.
        found: Sha256,
    },
    /// The content has another length than was said.
    #[error("blob {digest} has {found} bytes{more}, not {expected}", more = if *.found > *.expected { " or more" } else { "" })]
    Length {
        /// Which.
        digest: Sha256,
        /// What was said, in bytes.
        expected: u64,
        /// What came, in bytes; reading ends with the first byte too many.
        found: u64,
    },
    /// It would be larger than blobs may be.
    #[error("blob {digest} has {bytes} bytes; at most {BLOB_BYTES_MAX} are allowed")]
    TooLarge {
        /// Which.
        digest: Sha256,
        /// Its length in bytes.
        bytes: u64,
    },
    /// There is none of that digest.
    #[error("blob {digest} does not exist")]
    Missing {
        /// Which.
        digest: Sha256,
    },
    /// The sender's stream broke.
    #[error("blob {digest} was not received whole")]
    Received {
        /// Which.
        digest: Sha256,
        /// Why.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// The disk is full or failed.
    #[error("{what} {path}", path = path.display())]
    File {
        /// What was attempted.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: Arc<std::io::Error>,
    },
}

/// What became of a blob that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// It is new.
    Stored,
    /// It was there already.
    Present,
}

/// The blobs of a data directory. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Blobs {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    incoming: PathBuf,
    /// Names files that are being written.
    next: AtomicU64,
}

impl Blobs {
    /// Opens `<data_dir>/artifacts`, making it if there is none, and removes what an earlier
    /// process left unfinished. The caller holds the data directory (an open [`crate::Store`]).
    pub fn open(data_dir: impl AsRef<Path>) -> Result<Self, BlobError> {
        let artifacts = data_dir.as_ref().join("artifacts");
        let (root, incoming) = (artifacts.join("sha256"), artifacts.join("incoming"));
        for dir in [&root, &incoming] {
            crate::data_dir::create(dir)
                .map_err(|error| failed("create", dir)(std::io::Error::other(error)))?;
        }
        let leftovers = std::fs::read_dir(&incoming).map_err(failed("read", &incoming))?;
        for leftover in leftovers {
            let path = leftover.map_err(failed("read", &incoming))?.path();
            std::fs::remove_file(&path).map_err(failed("remove", &path))?;
        }
        let next = AtomicU64::new(0);
        Ok(Self { inner: Arc::new(Inner { root, incoming, next }) })
    }

    /// The folder below which every blob stands at `ab/abcd...`, by the hex digits of its digest.
    pub fn directory(&self) -> &Path {
        &self.inner.root
    }

    /// Where a blob is, or would be. To be read, never written: the engine copies from here.
    pub fn path(&self, digest: &Sha256) -> PathBuf {
        let hex = digest.to_string();
        self.inner.root.join(&hex[..2]).join(hex)
    }

    /// Whether there is a blob of that digest.
    pub fn has(&self, digest: &Sha256) -> bool {
        self.path(digest).is_file()
    }

    /// Those of `wanted` (digest and length in bytes) that are not here in that length.
    pub fn missing(&self, wanted: &BTreeMap<Sha256, u64>) -> Vec<Sha256> {
        let lacks = |(digest, bytes): &(&Sha256, &u64)| {
            !std::fs::metadata(self.path(digest)).is_ok_and(|file| file.len() == **bytes)
        };
        wanted.iter().filter(lacks).map(|(digest, _)| *digest).collect()
    }

    /// Opens a blob for reading.
    pub fn open_blob(&self, digest: &Sha256) -> Result<File, BlobError> {
        let path = self.path(digest);
        File::open(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => BlobError::Missing { digest: *digest },
            _ => failed("open", &path)(error),
        })
    }

    /// Reads a blob whole and holds its content against its name: finds a disk's damage.
    pub fn verify(&self, digest: &Sha256) -> Result<(), BlobError> {
        let mut file = self.open_blob(digest)?;
        let mut context = Context::new(&SHA256);
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            match file.read(&mut chunk).map_err(failed("read", &self.path(digest)))? {
                0 => break,
                read => context.update(&chunk[..read]),
            }
        }
        match finish(context) {
            found if found == *digest => Ok(()),
            found => Err(BlobError::Digest { expected: *digest, found }),
        }
    }

    /// Begins to write a blob of `bytes` length.
    pub fn writer(&self, digest: Sha256, bytes: u64) -> Result<BlobWriter, BlobError> {
        if bytes > BLOB_BYTES_MAX {
            return Err(BlobError::TooLarge { digest, bytes });
        }
        let number = self.inner.next.fetch_add(1, Ordering::Relaxed);
        let path = self.inner.incoming.join(format!("{}-{number}", digest.short()));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o400).open(&path);
        let file = file.map_err(failed("create", &path))?;
        let incoming = Incoming { path };
        let context = Context::new(&SHA256);
        let blobs = self.clone();
        Ok(BlobWriter { blobs, file, incoming, context, digest, bytes, written: 0 })
    }

    /// Keeps what `reader` gives, if it is what it is said to be. Blocks.
    pub fn put(&self, mut reader: impl Read, digest: Sha256, bytes: u64) -> Result<Put, BlobError> {
        let mut writer = self.writer(digest, bytes)?;
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let read = match reader.read(&mut chunk) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(broken(digest, error)),
                Ok(read) => read,
            };
            if read == 0 {
                return writer.finish();
            }
            writer.write(&chunk[..read])?;
        }
    }

    /// Keeps what `reader` gives, if it is what it is said to be; the disk is used on blocking
    /// threads. The caller bounds the time.
    pub async fn put_async(
        &self,
        mut reader: impl AsyncRead + Unpin,
        digest: Sha256,
        bytes: u64,
    ) -> Result<Put, BlobError> {
        let blobs = self.clone();
        let mut writer = blocking(move || blobs.writer(digest, bytes)).await?;
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        loop {
            // Small blobs come in one chunk and are written in one visit to the disk.
            while chunk.len() < CHUNK_BYTES {
                let room = (CHUNK_BYTES - chunk.len()) as u64;
                let mut limited = (&mut reader).take(room);
                let read = limited.read_buf(&mut chunk).await;
                if read.map_err(|error| broken(digest, error))? == 0 {
                    return blocking(move || {
                        writer.write(&chunk)?;
                        writer.finish()
                    })
                    .await;
                }
            }
            (writer, chunk) = blocking(move || {
                writer.write(&chunk)?;
                chunk.clear();
                Ok((writer, chunk))
            })
            .await?;
        }
    }

    /// All blobs with their lengths and the instants they were written at.
    pub fn list(&self) -> Result<Vec<(Sha256, u64, Timestamp)>, BlobError> {
        let mut blobs = Vec::new();
        let root = &self.inner.root;
        for folder in std::fs::read_dir(root).map_err(failed("read", root))? {
            let folder = folder.map_err(failed("read", root))?.path();
            for entry in std::fs::read_dir(&folder).map_err(failed("read", &folder))? {
                let entry = entry.map_err(failed("read", &folder))?;
                // What is not named by a digest is not ours to judge.
                let Some(digest) = entry.file_name().to_str().and_then(|name| name.parse().ok())
                else {
                    continue;
                };
                let metadata = entry.metadata().map_err(failed("read", &folder))?;
                let written = metadata.modified().map_err(failed("read", &folder))?;
                let written = Timestamp::try_from(written).unwrap_or(Timestamp::MAX);
                blobs.push((digest, metadata.len(), written));
            }
        }
        Ok(blobs)
    }

    /// Deletes a blob. Nothing happens when there is none.
    pub fn delete(&self, digest: &Sha256) -> Result<(), BlobError> {
        let path = self.path(digest);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(failed("remove", &path)(error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// A blob that is being written. Dropped before [`BlobWriter::finish`], it leaves nothing.
pub struct BlobWriter {
    blobs: Blobs,
    file: File,
    incoming: Incoming,
    context: Context,
    digest: Sha256,
    bytes: u64,
    written: u64,
}

impl std::fmt::Debug for BlobWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BlobWriter({}, {} of {} bytes)", self.digest, self.written, self.bytes)
    }
}

/// A file that is removed when it is dropped, unless it was renamed before.
#[derive(Debug)]
struct Incoming {
    path: PathBuf,
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // After a rename there is nothing; should removal fail, the next start removes it.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl BlobWriter {
    /// Writes on. Blocks.
    ///
    /// # Errors
    /// [`BlobError::Length`] as soon as there is a byte too many.
    pub fn write(&mut self, chunk: &[u8]) -> Result<(), BlobError> {
        self.written = self.written.saturating_add(chunk.len() as u64);
        if self.written > self.bytes {
            return Err(self.wrong_length());
        }
        self.context.update(chunk);
        self.file.write_all(chunk).map_err(failed("write", &self.incoming.path))
    }

    /// Checks the whole, makes it durable and gives it its name. Blocks.
    pub fn finish(self) -> Result<Put, BlobError> {
        if self.written != self.bytes {
            return Err(self.wrong_length());
        }
        let found = finish(self.context);
        if found != self.digest {
            return Err(BlobError::Digest { expected: self.digest, found });
        }
        let path = self.blobs.path(&self.digest);
        let put = if path.is_file() { Put::Present } else { Put::Stored };
        self.file.sync_all().map_err(failed("sync", &self.incoming.path))?;
        let folder = path.parent().unwrap_or(&self.blobs.inner.root);
        if !folder.is_dir() {
            crate::data_dir::create(folder)
                .map_err(|error| failed("create", folder)(std::io::Error::other(error)))?;
            let root = &self.blobs.inner.root;
            sync_dir(root).map_err(failed("sync", root))?;
        }
        // Over one that is there too: should that be damaged, it is whole again.
        std::fs::rename(&self.incoming.path, &path).map_err(failed("create", &path))?;
        sync_dir(folder).map_err(failed("sync", folder))?;
        Ok(put)
    }

    fn wrong_length(&self) -> BlobError {
        BlobError::Length { digest: self.digest, expected: self.bytes, found: self.written }
    }
}

fn finish(context: Context) -> Sha256 {
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    Sha256(digest)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BlobError> + Send + 'static,
) -> Result<T, BlobError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(failed("write", Path::new("blob"))(std::io::Error::other(error))),
    }
}

fn broken(digest: Sha256, source: std::io::Error) -> BlobError {
    BlobError::Received { digest, source: Arc::new(source) }
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> BlobError {
    move |source| BlobError::File { what, path: path.to_owned(), source: Arc::new(source) }
}
