//! Reading a directory into a manifest: every file by its digest, links and empty folders.
//!
//! Called by `deploy` before anything is sent. Memory is bounded by the number of entries, not by
//! the size of files; what cannot be part of an artifact is an error that names the path.

use std::fs::{self, File, FileType, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use ark_model::Sha256;
use ark_model::artifact::{
    MANIFEST_ENTRIES_MAX, Manifest, ManifestEntry, ManifestError, ManifestNode,
};
use ark_model::exit::ExitCode;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::docker_ignore::DockerIgnore;
use crate::failure::Failure;

/// Names of files that keep others out of the artifact, in the syntax of `.gitignore`.
const IGNORE_FILE: &str = ".arkignore";
/// The same for the context of an image.
const DOCKER_IGNORE_FILE: &str = ".dockerignore";
/// Never part of an artifact.
const GIT: &str = ".git";
/// Threads that read and digest files.
const THREADS_MAX: usize = 4;
/// Bytes read at once by each of them.
const BUFFER_BYTES: usize = 64 << 10;

/// A directory that was read.
#[derive(Debug)]
pub(crate) struct Directory {
    /// Where it is.
    pub(crate) root: PathBuf,
    /// What it holds.
    pub(crate) manifest: Manifest,
}

impl Directory {
    /// Files, and their bytes.
    pub(crate) fn size(&self) -> (u64, u64) {
        let files = self.manifest.entries.iter().filter_map(|entry| match entry.node {
            ManifestNode::File { bytes, .. } => Some(bytes),
            ManifestNode::Symlink { .. } | ManifestNode::Directory => None,
        });
        files.fold((0, 0), |(count, sum), bytes| (count + 1, sum + bytes))
    }
}

/// Reads `root`. Blocking: it may take as long as the disk does.
pub(crate) fn read_directory(root: &Path) -> Result<Directory, Failure> {
    let metadata = fs::metadata(root).map_err(|error| Failure::file(root, "read", &error))?;
    if !metadata.is_dir() {
        return Err(Failure::usage(format!("{} is not a directory", root.display())));
    }
    read_all(root, Ignored::Ark(ignored(root)?))
}

/// Reads the context of an image: what `.dockerignore` leaves of `root`. A file of that name after
/// the Dockerfile's own (`app.Dockerfile.dockerignore`) goes before it. The Dockerfile is part of it, kept
/// out or not: the builder reads it there.
pub(crate) fn read_context(root: &Path, dockerfile: &str) -> Result<Directory, Failure> {
    let own = root.join(format!("{dockerfile}{DOCKER_IGNORE_FILE}"));
    let path = if own.is_file() { own } else { root.join(DOCKER_IGNORE_FILE) };
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(Failure::file(&path, "read", &error)),
    };
    let rules = DockerIgnore::parse(&text, &[dockerfile])
        .map_err(|error| Failure::usage(format!("{} cannot be read: {error}", path.display())))?;
    read_all(root, Ignored::Docker(rules))
}

fn read_all(root: &Path, ignored: Ignored) -> Result<Directory, Failure> {
    let mut walk = Walk { root, ignored, found: Vec::new() };
    walk.folder(Path::new(""))?;
    let entries = digest_all(root, &walk.found)?;
    let mut manifest = Manifest { entries };
    manifest.entries.sort_by(|a, b| a.path.cmp(&b.path));
    let checked = match walk.ignored {
        Ignored::Ark(_) => manifest.check(),
        Ignored::Docker(_) => manifest.check_context(),
    };
    checked.map_err(|error| refused(root, walk.ignored.file(), &error))?;
    Ok(Directory { root: root.to_owned(), manifest })
}

/// An entry before its content was read.
struct Found {
    path: String,
    node: FoundNode,
}

enum FoundNode {
    File { executable: bool },
    Symlink { target: String },
    Directory,
}

/// What is kept out.
enum Ignored {
    /// By `.arkignore`.
    Ark(Gitignore),
    /// By `.dockerignore`.
    Docker(DockerIgnore),
}

impl Ignored {
    /// The file that says so.
    fn file(&self) -> &'static str {
        match self {
            Self::Ark(_) => IGNORE_FILE,
            Self::Docker(_) => DOCKER_IGNORE_FILE,
        }
    }

    /// Whether what can be no part of an artifact is left out without a word, as Docker does.
    fn leaves_out(&self, kind: FileType) -> bool {
        matches!(self, Self::Docker(_)) && (kind.is_socket() || kind.is_fifo())
    }

    fn keeps_out(&self, path: &Path, is_dir: bool) -> bool {
        match self {
            Self::Ark(rules) => rules.matched(path, is_dir).is_ignore(),
            Self::Docker(rules) => rules.ignores(&path.to_string_lossy()),
        }
    }

    /// Whether a folder that is kept out is looked into all the same.
    fn looks_into(&self) -> bool {
        match self {
            Self::Ark(_) => false,
            Self::Docker(rules) => rules.takes_back(),
        }
    }
}

struct Walk<'a> {
    root: &'a Path,
    ignored: Ignored,
    found: Vec<Found>,
}

impl Walk<'_> {
    fn folder(&mut self, relative: &Path) -> Result<(), Failure> {
        let full = self.root.join(relative);
        let read = |error: io::Error| Failure::file(&full, "read", &error);
        let mut entries = fs::read_dir(&full)
            .map_err(read)?
            .collect::<io::Result<Vec<_>>>()
            .map_err(|error| Failure::file(&full, "read", &error))?;
        entries.sort_by_key(fs::DirEntry::file_name);
        let mut kept = 0;
        for entry in entries {
            let path = relative.join(entry.file_name());
            let metadata =
                entry.metadata().map_err(|error| Failure::file(&entry.path(), "read", &error))?;
            if entry.file_name() == GIT {
                continue;
            }
            if self.ignored.keeps_out(&path, metadata.is_dir()) {
                if metadata.is_dir() && self.ignored.looks_into() {
                    let before = self.found.len();
                    self.folder(&path)?;
                    kept += usize::from(self.found.len() > before);
                }
                continue;
            }
            let before = self.found.len();
            self.entry(&path, &metadata)?;
            kept += usize::from(self.found.len() > before);
        }
        // A folder with something in it exists by that; an empty one must be named.
        let named = !relative.as_os_str().is_empty() && !self.ignored.keeps_out(relative, true);
        if kept == 0 && named {
            self.keep(text(relative)?, FoundNode::Directory)?;
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, metadata: &Metadata) -> Result<(), Failure> {
        let kind = metadata.file_type();
        let full = self.root.join(path);
        if kind.is_dir() {
            return self.folder(path);
        }
        if self.ignored.leaves_out(kind) {
            return Ok(());
        }
        let node = if kind.is_file() {
            FoundNode::File { executable: metadata.permissions().mode() & 0o111 != 0 }
        } else if kind.is_symlink() {
            let target =
                fs::read_link(&full).map_err(|error| Failure::file(&full, "read", &error))?;
            FoundNode::Symlink { target: text(&target)? }
        } else {
            let what = match () {
                () if kind.is_socket() => "a socket",
                () if kind.is_fifo() => "a named pipe",
                () => "a device",
            };
            return Err(Failure::usage(format!(
                "{} is {what}, which cannot be part of an artifact",
                full.display()
            ))
            .remedy("leave it out", format!("name it in {}", self.ignored.file())));
        };
        self.keep(text(path)?, node)
    }

    fn keep(&mut self, path: String, node: FoundNode) -> Result<(), Failure> {
        if self.found.len() >= MANIFEST_ENTRIES_MAX {
            let error = ManifestError::TooMany(self.found.len() + 1);
            return Err(refused(self.root, self.ignored.file(), &error));
        }
        self.found.push(Found { path, node });
        Ok(())
    }
}

fn ignored(root: &Path) -> Result<Gitignore, Failure> {
    let mut builder = GitignoreBuilder::new("");
    let path = root.join(IGNORE_FILE);
    if path.is_file()
        && let Some(error) = builder.add(&path)
    {
        return Err(Failure::usage(format!("{} cannot be read: {error}", path.display())));
    }
    builder
        .build()
        .map_err(|error| Failure::usage(format!("{} cannot be read: {error}", path.display())))
}

fn text(path: &Path) -> Result<String, Failure> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        Failure::usage(format!(
            "the name {} is not UTF-8, so it cannot be part of an artifact",
            path.display()
        ))
    })
}

fn refused(root: &Path, ignore_file: &str, error: &ManifestError) -> Failure {
    let failure = Failure::new(
        ExitCode::Usage,
        "artifact",
        format!("{} cannot be sent: {error}", root.display()),
    );
    match error {
        ManifestError::TooMany(_) | ManifestError::TooLarge { .. } => {
            failure.remedy("leave files out", format!("name them in {ignore_file}, or --dir PATH"))
        }
        ManifestError::Escapes { .. } => failure.remedy(
            "",
            format!("let it lead to something within the directory, or name it in {ignore_file}"),
        ),
        ManifestError::Path(_) | ManifestError::Order(_) | ManifestError::Parent(_) => failure,
    }
}

fn digest_all(root: &Path, found: &[Found]) -> Result<Vec<ManifestEntry>, Failure> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(found.len()));
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get().min(THREADS_MAX));
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| -> Result<(), Failure> {
                    let mut buffer = vec![0; BUFFER_BYTES];
                    while let Some(entry) = found.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let entry = digest_one(root, entry, &mut buffer)?;
                        done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(entry);
                    }
                    Ok(())
                })
            })
            .collect();
        workers.into_iter().try_for_each(|worker| {
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    })?;
    Ok(done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
}

fn digest_one(root: &Path, found: &Found, buffer: &mut [u8]) -> Result<ManifestEntry, Failure> {
    let node = match &found.node {
        FoundNode::Directory => ManifestNode::Directory,
        FoundNode::Symlink { target } => ManifestNode::Symlink { target: target.clone() },
        FoundNode::File { executable } => {
            let path = root.join(&found.path);
            let (sha256, bytes) =
                digest(&path, buffer).map_err(|error| Failure::file(&path, "read", &error))?;
            ManifestNode::File { sha256, bytes, executable: *executable }
        }
    };
    Ok(ManifestEntry { path: found.path.clone(), node })
}

fn digest(path: &Path, buffer: &mut [u8]) -> io::Result<(Sha256, u64)> {
    let mut file = File::open(path)?;
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    let mut bytes = 0;
    loop {
        let read = match file.read(buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        context.update(&buffer[..read]);
        bytes += read as u64;
    }
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    Ok((Sha256(out), bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        for folder in ["a", "empty", ".git", "node_modules/x", "a-b"] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        for (path, text) in [
            ("a/f", "one"),
            ("a-b/g", "two"),
            ("run", "#!/bin/sh\n"),
            (".git/HEAD", "x"),
            ("node_modules/x/y", "z"),
            ("keep.log", "k"),
            ("drop.log", "d"),
            (".arkignore", "node_modules/\n*.log\n!keep.log\n"),
        ] {
            fs::write(at(path), text).unwrap();
        }
        fs::set_permissions(at("run"), fs::Permissions::from_mode(0o755)).unwrap();
        symlink("../run", at("a/link")).unwrap();
        dir
    }

    #[test]
    fn a_directory_becomes_a_manifest_that_the_server_accepts() {
        let dir = tree();
        let read = read_directory(dir.path()).unwrap();
        let paths: Vec<_> = read.manifest.entries.iter().map(|e| e.path.as_str()).collect();
        assert_eq!(
            paths,
            [".arkignore", "a-b/g", "a/f", "a/link", "empty", "keep.log", "run"],
            "sorted by bytes, ignored ones left out"
        );
        let node = |path: &str| {
            read.manifest.entries.iter().find(|e| e.path == path).map(|e| e.node.clone())
        };
        let file = |text: &str, executable: bool| ManifestNode::File {
            sha256: Sha256::of(text.as_bytes()),
            bytes: text.len() as u64,
            executable,
        };
        assert_eq!(node("run"), Some(file("#!/bin/sh\n", true)));
        assert_eq!(node("a/f"), Some(file("one", false)));
        assert_eq!(node("a/link"), Some(ManifestNode::Symlink { target: "../run".into() }));
        assert_eq!(node("empty"), Some(ManifestNode::Directory));
        assert_eq!(read.size().0, 5);
    }

    #[test]
    fn a_context_is_what_dockerignore_leaves() {
        let dir = tree();
        fs::write(dir.path().join("Dockerfile"), "FROM scratch\n").unwrap();
        let paths = |rules: &str| {
            fs::write(dir.path().join(".dockerignore"), rules).unwrap();
            let read = read_context(dir.path(), "Dockerfile").unwrap();
            read.manifest.entries.into_iter().map(|entry| entry.path).collect::<Vec<_>>()
        };
        let kept = paths("*\n!a/f\n!empty");
        assert_eq!(kept, ["Dockerfile", "a/f", "empty"]);
        let kept = paths("node_modules\n**/*.log\na*\nempty\n.arkignore");
        assert_eq!(kept, [".dockerignore", "Dockerfile", "run"]);
        fs::write(dir.path().join("Dockerfile.dockerignore"), "*").unwrap();
        assert_eq!(paths(""), ["Dockerfile"]);
    }

    #[test]
    fn a_context_has_links_as_they_are_and_no_sockets() {
        let dir = tempfile::tempdir().unwrap();
        for (target, at) in [("/etc/ssl", "absolute"), ("../../beside", "beside")] {
            symlink(target, dir.path().join(at)).unwrap();
        }
        fs::create_dir(dir.path().join("run")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("run/s")).unwrap();
        let read = read_context(dir.path(), "Dockerfile").unwrap();
        let found: Vec<_> = read.manifest.entries.into_iter().map(|e| (e.path, e.node)).collect();
        let link = |target: &str| ManifestNode::Symlink { target: target.to_owned() };
        assert_eq!(
            found,
            [
                ("absolute".to_owned(), link("/etc/ssl")),
                ("beside".to_owned(), link("../../beside")),
                ("run".to_owned(), ManifestNode::Directory),
            ]
        );
    }

    #[test]
    fn a_file_larger_than_the_buffer_is_read_whole() {
        let dir = tempfile::tempdir().unwrap();
        let content = vec![7_u8; BUFFER_BYTES * 3 + 11];
        fs::write(dir.path().join("big"), &content).unwrap();
        let read = read_directory(dir.path()).unwrap();
        assert_eq!(read.manifest.blobs().keys().next(), Some(&Sha256::of(&content)));
    }

    #[test]
    fn what_cannot_be_sent_is_named() {
        let dir = tree();
        symlink("/etc/passwd", dir.path().join("a/out")).unwrap();
        let failure = read_directory(dir.path()).unwrap_err();
        assert_eq!(failure.exit.0, 2);
        assert!(failure.headline.contains("`a/out` leads outside"), "{}", failure.headline);

        let dir = tree();
        let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("s")).unwrap();
        let failure = read_directory(dir.path()).unwrap_err();
        assert!(failure.headline.contains("/s is a socket"), "{}", failure.headline);

        assert_eq!(read_directory(&dir.path().join("nowhere")).unwrap_err().exit.0, 2);
        assert_eq!(read_directory(&dir.path().join("run")).unwrap_err().exit.0, 2);
    }
}
