//! Finding the gateway that serves a data directory. Called by the server before it starts one,
//! and by whoever must know its pid. A pid alone is never believed: its start time must agree.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use ark_model::ids::BootId;
use ark_model::instance::ProcessIdentity;
use serde::{Deserialize, Serialize};

use crate::data_dir::{self, Durable};
use crate::error::Result;
use crate::process;
pub use crate::saved::last_table;

/// What `<data-dir>/gateway.json` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IdentityFile {
    /// The gateway's process.
    pub(crate) pid: i32,
    /// Its start time, in clock ticks since boot.
    pub(crate) start_ticks: u64,
    /// This life of it.
    pub(crate) boot: BootId,
    /// The addresses on which HTTP is accepted.
    pub(crate) http: Vec<SocketAddr>,
    /// Those on which HTTP over TLS is.
    #[serde(default)]
    pub(crate) https: Vec<SocketAddr>,
    /// The process that starts the gateway anew when it dies.
    pub(crate) supervisor_pid: Option<i32>,
    /// Its start time.
    pub(crate) supervisor_start_ticks: Option<u64>,
}

impl IdentityFile {
    /// Makes this process the one that [`find`] finds.
    pub(crate) fn write(&self, data_dir: &Path) -> Result<()> {
        let bytes = serde_json::to_vec(self).unwrap_or_default();
        data_dir::write_atomically(&data_dir.join(data_dir::IDENTITY), &bytes, Durable::No)
    }
}

/// A gateway that serves a data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningGateway {
    /// The gateway's process.
    pub pid: i32,
    /// This life of it.
    pub boot: BootId,
    /// The addresses on which HTTP is accepted.
    pub http: Vec<SocketAddr>,
    /// Those on which HTTP over TLS is.
    pub https: Vec<SocketAddr>,
    /// The supervisor, where it lives.
    pub supervisor_pid: Option<i32>,
    /// Whether the gateway's process itself lives. Where it does not, the supervisor does and is
    /// starting it anew: connections wait in the backlog, and `pid` and `boot` will change.
    pub serving: bool,
}

/// The gateway that serves `data_dir`, if its process or its supervisor lives.
pub fn find(data_dir: &Path) -> Option<RunningGateway> {
    let bytes = fs::read(data_dir.join(data_dir::IDENTITY)).ok()?;
    let file: IdentityFile = serde_json::from_slice(&bytes).ok()?;
    let serving =
        process::is_alive(ProcessIdentity { pid: file.pid, start_ticks: file.start_ticks });
    let supervisor_pid =
        file.supervisor_pid.zip(file.supervisor_start_ticks).and_then(|(pid, start_ticks)| {
            process::is_alive(ProcessIdentity { pid, start_ticks }).then_some(pid)
        });
    (serving || supervisor_pid.is_some()).then_some(RunningGateway {
        pid: file.pid,
        boot: file.boot,
        http: file.http,
        https: file.https,
        supervisor_pid,
        serving,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_living_processes_with_the_right_start_time_are_found() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(find(root.path()), None);
        let own = process::own_identity();
        let file = IdentityFile {
            pid: own.pid,
            start_ticks: own.start_ticks,
            boot: BootId(uuid::Uuid::now_v7()),
            http: vec!["127.0.0.1:80".parse().unwrap()],
            https: vec![],
            supervisor_pid: Some(own.pid),
            supervisor_start_ticks: Some(own.start_ticks),
        };
        let stale = own.start_ticks + 1;
        for (gateway, supervisor, expected) in [
            (own.start_ticks, own.start_ticks, Some((true, true))),
            (own.start_ticks, stale, Some((true, false))),
            (stale, own.start_ticks, Some((false, true))),
            (stale, stale, None),
        ] {
            let file = IdentityFile {
                start_ticks: gateway,
                supervisor_start_ticks: Some(supervisor),
                ..file.clone()
            };
            file.write(root.path()).unwrap();
            let found = find(root.path()).map(|g| (g.serving, g.supervisor_pid.is_some()));
            assert_eq!(found, expected);
        }
        fs::write(root.path().join(data_dir::IDENTITY), b"{\"pid\": ").unwrap();
        assert_eq!(find(root.path()), None);
    }
}
