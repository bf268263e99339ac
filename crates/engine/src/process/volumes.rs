//! Folders that outlive an instance: one for each of an app's `volumes` in each environment, shared
//! by its instances, owned by its user. Made before the first instance that has it; never deleted
//! here, because they are data. An instance is told by a variable where each of them is.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use ark_model::ids::{AppName, EnvName};

use super::record::User;
use crate::engine::{StartSpec, volume_variable};

/// The volumes of one data directory.
#[derive(Debug)]
pub(super) struct Volumes {
    root: PathBuf,
}

impl Volumes {
    pub(super) fn new(data_dir: &Path) -> Self {
        Self { root: data_dir.join("volumes") }
    }

    /// Makes those of an instance that are not there, and answers the variables that name them.
    pub(super) fn make(
        &self,
        spec: &StartSpec,
        user: Option<User>,
    ) -> io::Result<Vec<(String, String)>> {
        let mut variables = Vec::new();
        for volume in &spec.volumes {
            let folder = self.folder(&spec.env, &spec.app, &volume.name);
            self.make_folder(&folder, user)?;
            let path = folder.to_str().ok_or_else(|| {
                io::Error::other(format!("{} is no text, as variables are", folder.display()))
            })?;
            variables.push((volume_variable(&volume.name), path.to_owned()));
        }
        Ok(variables)
    }

    fn folder(&self, env: &EnvName, app: &AppName, name: &str) -> PathBuf {
        self.root.join(env.as_str()).join(app.as_str()).join(name)
    }

    /// Others may pass through to a folder, and only its app may look into it.
    fn make_folder(&self, folder: &Path, user: Option<User>) -> io::Result<()> {
        if is_owned(folder, user)? {
            return Ok(());
        }
        let mut parents: Vec<&Path> =
            folder.ancestors().skip(1).take_while(|path| path.starts_with(&self.root)).collect();
        parents.reverse();
        for parent in parents {
            make(parent, 0o711)?;
        }
        make(folder, 0o700)?;
        match user {
            Some(User { uid, gid }) => std::os::unix::fs::chown(folder, Some(uid), Some(gid)),
            None => Ok(()),
        }
    }
}

/// Whether a folder is there and its owner's. Whoever made it may have been killed before it was.
fn is_owned(folder: &Path, user: Option<User>) -> io::Result<bool> {
    match fs::metadata(folder) {
        Ok(found) => Ok(user.is_none_or(|user| found.uid() == user.uid)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn make(path: &Path, mode: u32) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(()) | Err(_) => fs::set_permissions(path, Permissions::from_mode(mode)),
    }
}
