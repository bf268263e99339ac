//! What the gateway keeps on disk: the last table, so that it serves without the server, and the
//! counters as of the last second, so that being killed loses little of them. Both are replaced
//! atomically; a file that cannot be read is moved aside, never overwritten in silence.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ark_model::gateway::{LostBoot, RouteReport, TargetReport};
use ark_model::ids::BootId;
use ark_model::route::RouteTable;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::data_dir::{self, Durable, write_atomically};
use crate::error::{Error, Result};

/// Keeps `table` for the next life of the gateway, surviving a power failure.
pub(crate) fn write_table(data_dir: &Path, table: &RouteTable) -> Result<()> {
    write_atomically(&data_dir.join(data_dir::TABLE), &to_json(table)?, Durable::Yes)
}

/// The last table, if there is one that can be read.
pub(crate) fn read_table(data_dir: &Path) -> Option<RouteTable> {
    let table: RouteTable = read(&data_dir.join(data_dir::TABLE))?;
    match crate::registry::Registry::check(&table) {
        Ok(()) => Some(table),
        Err(reason) => {
            tracing::error!(reason, "saved route table cannot be served; starting without one");
            move_aside(&data_dir.join(data_dir::TABLE));
            None
        }
    }
}

/// The table that a gateway in `data_dir` would begin with, left as it is; `None` when there is none
/// that can be read.
pub fn last_table(data_dir: &Path) -> Option<RouteTable> {
    serde_json::from_slice(&fs::read(data_dir.join(data_dir::TABLE)).ok()?).ok()
}

/// The counters of one life of the gateway.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    pub(crate) boot: BootId,
    pub(crate) at: Timestamp,
    /// Whether that life ended saying so, with nothing left open.
    pub(crate) ended: bool,
    pub(crate) targets: Vec<TargetReport>,
    pub(crate) routes: Vec<RouteReport>,
    /// Lives before it that the server has not stored yet.
    pub(crate) lost: Vec<LostBoot>,
}

impl Checkpoint {
    pub(crate) fn write(&self, data_dir: &Path) -> Result<()> {
        write_atomically(&data_dir.join(data_dir::COUNTERS), &to_json(self)?, Durable::No)
    }
}

/// How many lives that were killed before the server stored them are kept; of more, the oldest
/// are forgotten.
const LOST_MAX: usize = 16;

/// The lives that ended without saying so and are not stored yet, oldest first.
pub(crate) fn read_lost(data_dir: &Path) -> Vec<LostBoot> {
    let Some(last) = read::<Checkpoint>(&data_dir.join(data_dir::COUNTERS)) else {
        return Vec::new();
    };
    let mut lost = last.lost;
    if !last.ended {
        let (boot, checkpoint_at) = (last.boot, last.at);
        lost.push(LostBoot {
            boot,
            checkpoint_at,
            in_order: false,
            targets: last.targets,
            routes: last.routes,
        });
    }
    lost.drain(..lost.len().saturating_sub(LOST_MAX));
    lost
}

fn to_json<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value)
        .map_err(|error| Error::Protocol { reason: format!("cannot encode: {error}") })
}

fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::error!(path = %path.display(), %error, "cannot read; starting without it");
            return None;
        }
    };
    match serde_json::from_slice(&bytes) {
        Ok(value) => Some(value),
        Err(error) => {
            let aside = move_aside(path);
            tracing::error!(
                path = %path.display(), moved_to = %aside.display(), %error,
                "file is damaged; starting without it"
            );
            None
        }
    }
}

fn move_aside(path: &Path) -> PathBuf {
    let aside = path.with_extension(format!("json.damaged-{}", Timestamp::now().as_millisecond()));
    if let Err(error) = fs::rename(path, &aside) {
        tracing::error!(path = %path.display(), %error, "cannot move aside");
    }
    aside
}

#[cfg(test)]
mod tests {
    use super::*;
    use ark_model::ids::Generation;

    #[test]
    fn damaged_files_are_moved_aside_and_whole_ones_come_back() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path();
        assert_eq!(read_table(dir), None);
        let table = RouteTable { generation: Generation { epoch: 1, number: 2 }, routes: vec![] };
        write_table(dir, &table).unwrap();
        assert_eq!(read_table(dir), Some(table.clone()));
        let whole = fs::read(dir.join(data_dir::TABLE)).unwrap();
        let torn = &whole[..whole.len() / 2];
        for damaged in [torn, b"", b"\0\0\0\0", b"[]"] {
            fs::write(dir.join(data_dir::TABLE), damaged).unwrap();
            assert_eq!(read_table(dir), None, "{damaged:?}");
            assert!(!dir.join(data_dir::TABLE).exists());
        }
        assert!(fs::read_dir(dir).unwrap().count() >= 1, "nothing was kept aside");
    }

    #[test]
    fn a_life_is_lost_only_when_it_did_not_say_that_it_ended() {
        let root = tempfile::tempdir().unwrap();
        let boot = |n: u128| BootId(uuid::Uuid::from_u128(n));
        let lost = LostBoot {
            boot: boot(1),
            checkpoint_at: Timestamp::UNIX_EPOCH,
            in_order: false,
            targets: vec![],
            routes: vec![],
        };
        for (ended, expected) in [(true, vec![boot(1)]), (false, vec![boot(1), boot(2)])] {
            let checkpoint = Checkpoint {
                boot: boot(2),
                at: Timestamp::UNIX_EPOCH,
                ended,
                targets: vec![],
                routes: vec![],
                lost: vec![lost.clone()],
            };
            checkpoint.write(root.path()).unwrap();
            let read: Vec<_> = read_lost(root.path()).iter().map(|lost| lost.boot).collect();
            assert_eq!(read, expected);
        }
    }
}
