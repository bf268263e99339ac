//! Images built by the daemon from a directory of blobs, by BuildKit where it has it. The context is
//! made on the way: nothing of it is kept on disk or whole in memory.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use ark_model::artifact::ManifestNode;
use bollard::Docker;
use bollard::models::BuildInfo;
use bollard::query_parameters::BuildImageOptionsBuilder;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tokio::sync::mpsc;

use super::{Inner, buildkit, config, connection, refused};
use crate::engine::{BuildSpec, BuildStream, Built, EngineError, blob_path};

/// The most bytes of files of one context.
const CONTEXT_BYTES_MAX: u64 = 4 << 30;
/// The API of the first daemon whose BuildKit needs no experimental mode: 18.09.
const BUILDKIT_SINCE: (usize, usize) = (1, 39);
/// Pieces of the context that wait for the daemon.
const PIECES: usize = 8;
/// Bytes of one piece.
const PIECE_BYTES: usize = 256 << 10;
/// How long a builder may say nothing.
const SILENCE: Duration = Duration::from_secs(30 * 60);

impl Inner {
    pub(super) async fn build(
        self: &Arc<Self>,
        spec: BuildSpec,
    ) -> Result<BuildStream, EngineError> {
        spec.manifest.check_context().map_err(|error| refused(error.to_string()))?;
        let bytes: u64 = spec
            .manifest
            .entries
            .iter()
            .map(|entry| match entry.node {
                ManifestNode::File { bytes, .. } => bytes,
                ManifestNode::Symlink { .. } | ManifestNode::Directory => 0,
            })
            .sum();
        if bytes > CONTEXT_BYTES_MAX {
            return Err(refused(format!(
                "the build's context has {bytes} bytes and at most {CONTEXT_BYTES_MAX} are \
                 allowed; name what the image does not need in .dockerignore"
            )));
        }
        // One at a time: two of one name must not both find that it is free.
        let building = Arc::clone(&self.building).lock_owned().await;
        let here = self.image(&spec.image).await?.is_some();
        let sent = self.goes_to_a_registry(&spec.image);
        // One that was built and could not be sent is sent.
        if (here && !sent) || (sent && self.digest(&spec.image).await?.is_some()) {
            return Err(EngineError::ImageExists(spec.image));
        }
        let docker = self.connection.get().await?.clone();
        let (inner, image) = (Arc::clone(self), spec.image.clone());
        let (lines, receiver) = mpsc::channel::<Result<Built, EngineError>>(PIECES);
        let driver = tokio::spawn(async move {
            let _building = building;
            let bases = if here { Vec::new() } else { inner.private_bases(&spec).await };
            for base in bases {
                let _ = lines.send(Ok(Built::Line(format!("fetching {base}")))).await;
                let fetched = tokio::select! {
                    fetched = inner.pull(&base, None) => fetched,
                    () = lines.closed() => return,
                };
                if let Err(reason) = fetched {
                    let _ = lines.send(Ok(Built::Line(format!("not fetched: {reason}")))).await;
                }
            }
            let mut said = match here {
                true => stream::empty().boxed(),
                false => inner.builder(&docker, spec),
            };
            loop {
                let next = tokio::select! {
                    next = tokio::time::timeout(SILENCE, said.next()) => next,
                    // Nobody listens: the connection is dropped, and the daemon ends the build.
                    () = lines.closed() => return,
                };
                let built = match next {
                    Ok(Some(failed @ Built::Failed(_))) => failed,
                    Ok(Some(line)) => {
                        let _ = lines.send(Ok(line)).await;
                        continue;
                    }
                    Ok(None) => break,
                    Err(_) => Built::Failed(format!("the builder said nothing for {SILENCE:?}")),
                };
                let _ = lines.send(Ok(built)).await;
                return;
            }
            // BuildKit does not write down when it named an image that it had.
            if let Err(error) = inner.keep_image(&image).await {
                let _ = lines.send(Err(error)).await;
                return;
            }
            if sent {
                let _ = lines.send(Ok(Built::Line(format!("sending {image}")))).await;
                let pushed = tokio::select! {
                    pushed = inner.push(&image) => pushed,
                    () = lines.closed() => return,
                };
                if let Err(reason) = pushed {
                    let _ = lines.send(Ok(Built::Failed(reason))).await;
                    return;
                }
            }
            let end = match inner.digest(&image).await {
                Ok(Some(digest)) => Ok(Built::Done(digest)),
                Ok(None) => Ok(Built::Failed("the builder ended without an image".to_owned())),
                Err(error) => Err(error),
            };
            let _ = lines.send(end).await;
        });
        drop(driver);
        Ok(stream::unfold(receiver, async |mut receiver| {
            receiver.recv().await.map(|next| (next, receiver))
        })
        .boxed())
    }

    /// What the builder says, until it has ended or failed.
    fn builder<'d>(&self, docker: &'d Docker, spec: BuildSpec) -> BoxStream<'d, Built> {
        let label = (config::CLUSTER.to_owned(), self.cluster.clone());
        let version = docker.client_version();
        let version = (version.major_version, version.minor_version);
        if version >= BUILDKIT_SINCE
            && let Some(socket) = self.connection.socket()
        {
            let labels = serde_json::json!({ label.0: label.1 }).to_string();
            let wanted =
                [("dockerfile", &spec.dockerfile), ("t", &spec.image), ("labels", &labels)]
                    .map(|(name, value)| (name, value.as_str()));
            let target = buildkit::target(version, &wanted);
            return buildkit::build(socket.to_owned(), target, context(spec));
        }
        let options = BuildImageOptionsBuilder::default()
            .dockerfile(&spec.dockerfile)
            .t(&spec.image)
            .labels(&HashMap::from([label]))
            .rm(true)
            .forcerm(true)
            .build();
        let body = bollard::body_try_stream(context(spec));
        let said = docker.build_image(options, None, Some(body));
        said.filter_map(async |next| match next {
            Ok(info) => told(info),
            Err(error) => Some(Built::Failed(connection::words(&error))),
        })
        .boxed()
    }
}

/// What the builder says in one message.
fn told(info: BuildInfo) -> Option<Built> {
    if let Some(error) = info.error_detail {
        let reason = error.message.unwrap_or_else(|| "the builder gave no reason".to_owned());
        return Some(Built::Failed(reason.trim().to_owned()));
    }
    let line = info.stream.or(info.status)?;
    let line = line.trim_end();
    (!line.is_empty()).then(|| Built::Line(line.to_owned()))
}

/// The context as a tar archive, made by a thread of its own as it is read.
fn context(spec: BuildSpec) -> impl futures::Stream<Item = io::Result<Bytes>> + Send + 'static {
    let (pieces, receiver) = mpsc::channel(PIECES);
    tokio::task::spawn_blocking(move || {
        let mut pipe = Pipe { pieces, piece: Vec::with_capacity(PIECE_BYTES) };
        let written = archive(&spec, &mut pipe).and_then(|()| pipe.flush());
        if let Err(error) = written {
            let _ = pipe.pieces.blocking_send(Err(error));
        }
    });
    stream::unfold(receiver, async |mut receiver| {
        receiver.recv().await.map(|next| (next, receiver))
    })
}

/// Writes an archive; what is not said of an entry (owner, times) is the same for all, so that
/// equal contexts make equal archives and the builder's cache holds.
fn archive(spec: &BuildSpec, to: impl Write) -> io::Result<()> {
    let mut tar = tar::Builder::new(to);
    for entry in &spec.manifest.entries {
        let mut header = tar::Header::new_gnu();
        header.set_mtime(1);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(0);
        match &entry.node {
            ManifestNode::File { sha256, bytes, executable } => {
                header.set_entry_type(tar::EntryType::Regular);
                header.set_mode(if *executable { 0o755 } else { 0o644 });
                header.set_size(*bytes);
                let blob = std::fs::File::open(blob_path(&spec.blobs, *sha256))?;
                tar.append_data(&mut header, &entry.path, io::Read::take(blob, *bytes))?;
            }
            ManifestNode::Symlink { target } => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_mode(0o777);
                tar.append_link(&mut header, &entry.path, target)?;
            }
            ManifestNode::Directory => {
                header.set_entry_type(tar::EntryType::Directory);
                header.set_mode(0o755);
                tar.append_data(&mut header, format!("{}/", entry.path), io::empty())?;
            }
        }
    }
    tar.finish()
}

/// Hands pieces over to whoever reads them.
struct Pipe {
    pieces: mpsc::Sender<io::Result<Bytes>>,
    piece: Vec<u8>,
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE_BYTES));
        let sent = self.pieces.blocking_send(Ok(piece.into()));
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

#[cfg(test)]
mod tests {
    use ark_model::artifact::{Manifest, ManifestEntry};
    use ark_model::ids::Sha256;

    use super::*;

    #[test]
    fn a_context_is_an_archive_with_all_its_entries() {
        let blobs = tempfile::tempdir().unwrap();
        let long = format!("{}/f", "d".repeat(180));
        let file = |path: &str, content: &str, executable| {
            let sha256 = Sha256::of(content.as_bytes());
            let blob = blob_path(blobs.path(), sha256);
            std::fs::create_dir_all(blob.parent().unwrap()).unwrap();
            std::fs::write(blob, content).unwrap();
            let node = ManifestNode::File { sha256, bytes: content.len() as u64, executable };
            ManifestEntry { path: path.to_owned(), node }
        };
        let other = |path: &str, node| ManifestEntry { path: path.to_owned(), node };
        let entries = vec![
            file("Dockerfile", "FROM scratch\n", false),
            file(&long, "deep", false),
            other("empty", ManifestNode::Directory),
            other("link", ManifestNode::Symlink { target: "run".to_owned() }),
            file("run", "#!/bin/sh\n", true),
        ];
        let spec = BuildSpec {
            manifest: Manifest { entries },
            blobs: blobs.path().to_owned(),
            dockerfile: "Dockerfile".to_owned(),
            image: "web:1".to_owned(),
        };
        let mut bytes = Vec::new();
        archive(&spec, &mut bytes).unwrap();
        let mut again = Vec::new();
        archive(&spec, &mut again).unwrap();
        assert_eq!(bytes, again, "equal contexts make equal archives");
        let mut read = tar::Archive::new(bytes.as_slice());
        let mut found = Vec::new();
        for entry in read.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            io::Read::read_to_string(&mut entry, &mut text).unwrap();
            let path = entry.path().unwrap().to_string_lossy().into_owned();
            found.push((path, entry.header().mode().unwrap(), text));
        }
        let expected = [
            ("Dockerfile", 0o644, "FROM scratch\n"),
            (long.as_str(), 0o644, "deep"),
            ("empty/", 0o755, ""),
            ("link", 0o777, ""),
            ("run", 0o755, "#!/bin/sh\n"),
        ];
        let expected = expected.map(|(path, mode, text)| (path.to_owned(), mode, text.to_owned()));
        assert_eq!(found, expected);
    }
}
