//! Sending a directory: the manifest first, then only the blobs the server lacks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ark_model::Sha256;
use ark_model::api::{ArtifactOffer, ProblemCode};
use ark_model::artifact::{Artifact, ManifestNode};
use ark_model::exit::ExitCode;
use futures::{StreamExt, TryStreamExt};
use reqwest::Body;
use tokio::io::AsyncReadExt;
use tokio_util::io::ReaderStream;

use super::{Client, is_passing};
use crate::failure::Failure;
use crate::manifest::Directory;

/// How long one blob may take.
pub(super) const BLOB_TIMEOUT: Duration = Duration::from_secs(600);
/// Blobs on their way at once.
const AT_ONCE: usize = 4;
/// How often one blob is tried.
const TRIES: u32 = 3;
/// The pause before a further try.
const PAUSE: Duration = Duration::from_millis(500);

/// What was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sent {
    /// Files the server lacked.
    pub(crate) blobs: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
}

/// Sends what the server lacks of `directory`. `progress` hears of each blob that arrived.
pub(crate) async fn send_directory(
    client: &Client,
    directory: &Directory,
    mut progress: impl FnMut(Sent, Sent),
) -> Result<(Artifact, Sent), Failure> {
    let offer = ArtifactOffer { manifest: directory.manifest.clone() };
    let answer = client.offer(&offer).await?;
    let lengths = directory.manifest.blobs();
    let files = files_by_digest(directory);
    let total = Sent {
        blobs: answer.missing.len() as u64,
        bytes: answer.missing.iter().filter_map(|sha256| lengths.get(sha256)).sum(),
    };
    let mut sent = Sent { blobs: 0, bytes: 0 };
    let mut uploads = futures::stream::iter(answer.missing.iter().map(|sha256| {
        let path = files.get(sha256);
        let bytes = lengths.get(sha256).copied();
        async move {
            let (Some(path), Some(bytes)) = (path, bytes) else {
                return Err(Failure::new(
                    ExitCode::Failed,
                    "unexpected-answer",
                    format!("the server asks for blob {sha256}, which is not of this directory"),
                ));
            };
            send_blob(client, sha256, path, bytes).await.map(|()| bytes)
        }
    }))
    .buffer_unordered(AT_ONCE);
    while let Some(bytes) = uploads.try_next().await? {
        sent = Sent { blobs: sent.blobs + 1, bytes: sent.bytes + bytes };
        progress(sent, total);
    }
    Ok((Artifact::Directory { digest: answer.digest }, sent))
}

/// Of several files with one content any will do.
fn files_by_digest(directory: &Directory) -> BTreeMap<Sha256, PathBuf> {
    let entries = directory.manifest.entries.iter();
    entries
        .filter_map(|entry| match &entry.node {
            ManifestNode::File { sha256, .. } => Some((*sha256, directory.root.join(&entry.path))),
            ManifestNode::Symlink { .. } | ManifestNode::Directory => None,
        })
        .collect()
}

async fn send_blob(
    client: &Client,
    sha256: &Sha256,
    path: &Path,
    bytes: u64,
) -> Result<(), Failure> {
    let mut tried = 0;
    loop {
        let file =
            std::fs::File::open(path).map_err(|error| Failure::file(path, "read", &error))?;
        // A file that has grown meanwhile is cut here and refused by its digest.
        let file = tokio::fs::File::from_std(file).take(bytes);
        let body = Body::wrap_stream(ReaderStream::new(file));
        tried += 1;
        let failure = match client.put_blob(sha256, bytes, body).await {
            Ok(()) => return Ok(()),
            Err(failure) => failure,
        };
        if failure.code == ProblemCode::DigestMismatch.as_str() {
            return Err(Failure {
                headline: format!("{} changed while it was being sent", path.display()),
                ..failure
            }
            .remedy("", "run the command again when nothing writes to the directory"));
        }
        if tried >= TRIES || !is_passing(&failure) {
            return Err(failure.detail(format!("while sending {}", path.display())));
        }
        tokio::time::sleep(PAUSE * tried).await;
        client.rediscover();
    }
}
