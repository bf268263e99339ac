//! What an instance needs before its first process: its own copy of the artifact, and ports that
//! are free. Called by the shim before it starts the main process.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use ark_model::artifact::{Manifest, ManifestNode};
use ark_model::ids::Sha256;
use ark_model::instance::{PortBinding, StartFailure};
use ring::digest;

use crate::process::record::{InstanceDir, Spec, User, read_json};

/// Read and hashed at a time.
const CHUNK_BYTES: usize = 128 * 1024;

/// Makes the instance's working directory: its own copy of every file of the manifest, checked
/// against its digest as it is copied, owned by the instance's user. Gives up early, without an
/// error, when the instance is asked to stop.
pub(super) fn files(
    dir: &InstanceDir,
    spec: &Spec,
    is_stop_requested: &dyn Fn() -> bool,
) -> Result<(), StartFailure> {
    let root = dir.files();
    fs::create_dir(&root).map_err(|error| system(&error, "make the working directory"))?;
    if let Some(blobs) = &spec.blobs {
        let manifest: Manifest = read_json(&dir.manifest())
            .map_err(|error| system(&error, "read the artifact's manifest"))?;
        manifest.check().map_err(|error| StartFailure::ArtifactMissing {
            detail: format!("the manifest is not usable: {error}"),
        })?;
        let mut copier = Copier {
            root: &root,
            blobs,
            user: spec.user,
            reflink: true,
            chunk: vec![0; CHUNK_BYTES],
        };
        for entry in &manifest.entries {
            if is_stop_requested() {
                return Ok(());
            }
            copier.place(&entry.path, &entry.node)?;
        }
        let _ = fs::remove_file(dir.manifest());
    }
    let private = spec.user.is_some();
    own(&root, spec.user)
        .and_then(|()| {
            fs::set_permissions(&root, Permissions::from_mode(if private { 0o700 } else { 0o755 }))
        })
        .map_err(|error| system(&error, "hand over the working directory"))
}

struct Copier<'a> {
    root: &'a Path,
    blobs: &'a Path,
    user: Option<User>,
    /// Whether the file system may be able to share blocks; given up at its first refusal.
    reflink: bool,
    chunk: Vec<u8>,
}

impl Copier<'_> {
    fn place(&mut self, path: &str, node: &ManifestNode) -> Result<(), StartFailure> {
        let target = self.root.join(path);
        self.make_parents(&target).map_err(|error| system(&error, &format!("make `{path}`")))?;
        match node {
            ManifestNode::Directory => self.make_directory(&target),
            ManifestNode::Symlink { target: leads_to } => {
                std::os::unix::fs::symlink(leads_to, &target).and_then(|()| own(&target, self.user))
            }
            ManifestNode::File { sha256, bytes, executable } => {
                return self.copy(path, &target, *sha256, *bytes, *executable);
            }
        }
        .map_err(|error| system(&error, &format!("make `{path}`")))
    }

    fn make_parents(&self, target: &Path) -> io::Result<()> {
        let Some(parent) = target.parent() else { return Ok(()) };
        if parent == self.root || parent.is_dir() {
            return Ok(());
        }
        self.make_parents(parent)?;
        self.make_directory(parent)
    }

    fn make_directory(&self, target: &Path) -> io::Result<()> {
        match fs::create_dir(target) {
            Ok(()) => {
                fs::set_permissions(target, Permissions::from_mode(0o755))?;
                own(target, self.user)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn copy(
        &mut self,
        path: &str,
        target: &Path,
        sha256: Sha256,
        bytes: u64,
        executable: bool,
    ) -> Result<(), StartFailure> {
        let blob_path = crate::engine::blob_path(self.blobs, sha256);
        let missing = |what: &str| StartFailure::ArtifactMissing {
            detail: format!("blob {} of `{path}` {what}", sha256.short()),
        };
        let mut blob = match File::open(&blob_path) {
            Ok(blob) => blob,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(missing("is not there"));
            }
            Err(error) => return Err(missing(&format!("cannot be read: {error}"))),
        };
        let failed = |error: &io::Error| system(error, &format!("copy `{path}`"));
        if blob.metadata().map_err(|error| failed(&error))?.len() != bytes {
            return Err(missing("is damaged: its length is wrong"));
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(target)
            .map_err(|error| failed(&error))?;
        let found = self.transfer(&mut blob, &mut file).map_err(|error| failed(&error))?;
        if found != sha256.0 {
            return Err(missing("is damaged: its content is not what its name says"));
        }
        let mode = if executable { 0o755 } else { 0o644 };
        file.set_permissions(Permissions::from_mode(mode))
            .and_then(|()| own(target, self.user))
            .map_err(|error| failed(&error))
    }

    /// Copies, sharing blocks where possible; returns the digest of what was read.
    fn transfer(&mut self, blob: &mut File, file: &mut File) -> io::Result<[u8; 32]> {
        let shared = self.reflink && rustix::fs::ioctl_ficlone(&*file, &*blob).is_ok();
        self.reflink = shared;
        let mut digest = digest::Context::new(&digest::SHA256);
        loop {
            let length = match blob.read(&mut self.chunk) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            digest.update(&self.chunk[..length]);
            if !shared {
                file.write_all(&self.chunk[..length])?;
            }
        }
        let mut found = [0; 32];
        found.copy_from_slice(digest.finish().as_ref());
        Ok(found)
    }
}

fn own(path: &Path, user: Option<User>) -> io::Result<()> {
    match user {
        Some(User { uid, gid }) => std::os::unix::fs::lchown(path, Some(uid), Some(gid)),
        None => Ok(()),
    }
}

/// Whether somebody listens on one of the ports already.
pub(super) fn check_ports(ports: &[PortBinding]) -> Result<(), StartFailure> {
    for port in ports {
        if let Err(error) = TcpListener::bind(port.address)
            && error.kind() == io::ErrorKind::AddrInUse
        {
            return Err(StartFailure::PortTaken { port: port.address.port() });
        }
    }
    Ok(())
}

/// What the system's refusal means.
pub(super) fn system(error: &io::Error, action: &str) -> StartFailure {
    let detail = format!("cannot {action}: {error}");
    match error.kind() {
        io::ErrorKind::StorageFull
        | io::ErrorKind::QuotaExceeded
        | io::ErrorKind::OutOfMemory
        | io::ErrorKind::WouldBlock => StartFailure::NoCapacity { detail },
        _ => StartFailure::Other { detail },
    }
}
