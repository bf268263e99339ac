//! Which user of the host each app runs as. A user is given out once per environment and app and
//! never to another, so files and processes of different apps stay apart. Kept in `users.json`.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use ark_model::ids::{AppName, EnvName, Sha256};
use nix::unistd::geteuid;
use rustix::thread::{CapabilitySet, capabilities};
use serde::{Deserialize, Serialize};

use super::host::first_untraversable;
use super::record::{User, read_json, write_json};
use crate::engine::Enforcement;

/// The first user id Ark gives out: above those of people, services and container managers.
const FIRST_UID: u32 = 1_880_000_000;
/// How many users one data directory may give out.
const BLOCK_LENGTH: u32 = 1 << 18;
/// How many such blocks there are; a data directory's block follows from its path, so that two of
/// them on one host rarely share users. The last ends below the range of the system's containers.
const BLOCKS: u32 = 1_000;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Table {
    first_uid: u32,
    /// By `env/app`; the number is added to `first_uid`.
    apps: BTreeMap<String, u32>,
}

/// The table of users of one data directory, or why there is none.
pub(crate) enum Users {
    /// Each app has its own.
    Apart { path: PathBuf },
    /// All run as the caller.
    Shared { reason: String },
}

impl Users {
    /// Decides by the rights of this process and the place of the instances.
    pub(crate) fn detect(data_dir: &Path, instances: &Path) -> Self {
        let shared = |reason: String| Self::Shared { reason };
        if !geteuid().is_root() {
            return shared(format!(
                "Ark runs as an ordinary user (uid {}), and so do all apps",
                geteuid()
            ));
        }
        let needed = CapabilitySet::SETUID
            | CapabilitySet::SETGID
            | CapabilitySet::CHOWN
            | CapabilitySet::KILL;
        if !capabilities(None).is_ok_and(|sets| sets.effective.contains(needed)) {
            return shared("Ark runs as root without the right to become other users".to_owned());
        }
        if let Some(barred) = first_untraversable(instances) {
            return shared(format!(
                "other users cannot pass through {}, so apps run as root; `chmod o+x` opens it",
                barred.display()
            ));
        }
        Self::Apart { path: data_dir.join("users.json") }
    }

    pub(crate) fn enforcement(&self) -> Enforcement {
        match self {
            Self::Apart { .. } => Enforcement::Enforced,
            Self::Shared { reason } => Enforcement::NotEnforced { reason: reason.clone() },
        }
    }

    /// The users that were given out, each with its app; none where apps share one.
    pub(crate) fn apps(&self) -> io::Result<BTreeMap<u32, (EnvName, AppName)>> {
        let Self::Apart { path } = self else { return Ok(BTreeMap::new()) };
        let table: Table = match read_json(path) {
            Ok(table) => table,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(error) => return Err(error),
        };
        let app = |(key, number): (&String, &u32)| {
            let (env, app) = key.split_once('/')?;
            let uid = table.first_uid.checked_add(*number)?;
            Some((uid, (env.parse().ok()?, app.parse().ok()?)))
        };
        Ok(table.apps.iter().filter_map(app).collect())
    }

    /// The app's user; the first call for an app makes it. The caller holds a lock around this.
    pub(crate) fn of(&self, env: &EnvName, app: &AppName) -> io::Result<Option<User>> {
        let Self::Apart { path } = self else { return Ok(None) };
        let mut table = match read_json(path) {
            Ok(table) => table,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Table { first_uid: FIRST_UID + block(path) * BLOCK_LENGTH, apps: BTreeMap::new() }
            }
            // Giving out users anew could hand one app the files of another.
            Err(error) => {
                let detail = format!("{}: {error}", path.display());
                return Err(io::Error::new(error.kind(), detail));
            }
        };
        let key = format!("{env}/{app}");
        if let Some(number) = table.apps.get(&key) {
            return Ok(Some(user(table.first_uid + number)));
        }
        let number = u32::try_from(table.apps.len()).unwrap_or(u32::MAX);
        if number >= BLOCK_LENGTH {
            return Err(io::Error::other("every user for apps is given out"));
        }
        table.apps.insert(key, number);
        write_json(path, &table)?;
        // This one must outlive a power failure: files on disk are owned by these numbers.
        std::fs::File::open(path)?.sync_all()?;
        Ok(Some(user(table.first_uid + number)))
    }
}

fn user(id: u32) -> User {
    User { uid: id, gid: id }
}

fn block(path: &Path) -> u32 {
    let digest = Sha256::of(path.as_os_str().as_encoded_bytes()).0;
    u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]) % BLOCKS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_app_of_each_environment_has_its_own_user_for_good() {
        let place = tempfile::tempdir().unwrap();
        let table = || Users::Apart { path: place.path().join("users.json") };
        let of = |users: &Users, env: &str, app: &str| {
            users.of(&env.parse().unwrap(), &app.parse().unwrap()).unwrap().unwrap()
        };
        let users = table();
        let web = of(&users, "production", "web");
        assert_ne!(web, of(&users, "production", "api"));
        assert_ne!(web, of(&users, "staging", "web"));
        assert_eq!(web, of(&users, "production", "web"));
        assert_eq!(web, of(&table(), "production", "web"));
        assert!(web.uid >= FIRST_UID);
        let apps = table().apps().unwrap();
        assert_eq!(apps.len(), 3);
        assert_eq!(apps[&web.uid], ("production".parse().unwrap(), "web".parse().unwrap()));
    }

    #[test]
    fn a_torn_table_is_an_error_not_a_new_table() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("users.json");
        std::fs::write(&path, "{").unwrap();
        let users = Users::Apart { path };
        assert!(users.of(&"a".parse().unwrap(), &"b".parse().unwrap()).is_err());
        assert!(users.apps().is_err());
    }
}
