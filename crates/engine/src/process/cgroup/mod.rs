//! Control groups of one instance: made, entered, emptied and removed by its shim, and by the
//! engine when the shim is gone. Which hierarchies serve what is decided once per engine, in
//! `detect.rs`, and written into each instance's spec, so that both sides speak of the same groups.

mod detect;

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

pub(crate) use self::detect::{Hierarchies, detect};
use super::record::Limits;

/// The CPU quota's period, in microseconds: the kernel's default.
const CPU_PERIOD_US: u64 = 100_000;
/// The smallest quota the kernel takes, in microseconds per period.
const CPU_QUOTA_US_MIN: u64 = 1_000;
/// How often a group is looked at while it empties.
const POLL_INTERVAL: Duration = Duration::from_millis(2);
/// How long a freeze may take; a process in an uninterruptible wait delays it.
const FREEZE_DEADLINE: Duration = Duration::from_millis(500);
/// How long a group that has just emptied may stay busy.
const REMOVE_DEADLINE: Duration = Duration::from_millis(500);

/// The interface a group speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Version {
    V1,
    V2,
}

/// One directory of a hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Group {
    pub(crate) version: Version,
    pub(crate) path: PathBuf,
}

impl Group {
    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn write(&self, name: &str, value: &dyn ToString) -> io::Result<()> {
        let file = self.file(name);
        fs::write(&file, value.to_string()).map_err(|error| named(&file, &error))
    }

    /// The processes in the group.
    fn members(&self) -> Vec<i32> {
        fs::read_to_string(self.file("cgroup.procs"))
            .unwrap_or_default()
            .lines()
            .filter_map(|line| line.parse().ok())
            .collect()
    }

    /// A `name value` line of one of the group's files.
    fn counter(&self, file: &str, name: &str) -> Option<u64> {
        fs::read_to_string(self.file(file)).ok()?.lines().find_map(|line| {
            let (found, value) = line.split_once(' ')?;
            if found == name { value.trim().parse().ok() } else { None }
        })
    }
}

/// How everything in a group is ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub(crate) enum Ending {
    /// The kernel does it (`cgroup.kill`, Linux 5.14).
    Kill { group: Group },
    /// The group is frozen, so that nothing in it forks away, and each process is signalled.
    Freeze { group: Group },
}

impl Ending {
    fn group(&self) -> &Group {
        match self {
            Self::Kill { group } | Self::Freeze { group } => group,
        }
    }
}

/// The groups of one instance. Several may be the same directory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CgroupPlan {
    /// Holds everything the instance starts; `None` where no hierarchy can.
    pub(crate) ending: Option<Ending>,
    pub(crate) memory: Option<Group>,
    pub(crate) cpu: Option<Group>,
    pub(crate) pids: Option<Group>,
}

impl CgroupPlan {
    fn directories(&self) -> BTreeSet<&Path> {
        let groups = [self.ending.as_ref().map(Ending::group)];
        let limits = [&self.memory, &self.cpu, &self.pids].map(Option::as_ref);
        groups.into_iter().chain(limits).flatten().map(|group| group.path.as_path()).collect()
    }

    /// Makes the groups and sets the limits.
    pub(crate) fn create(&self, limits: &Limits) -> io::Result<()> {
        for directory in self.directories() {
            fs::create_dir_all(directory).map_err(|error| named(directory, &error))?;
        }
        if let (Some(group), Some(bytes)) = (&self.memory, limits.memory_bytes) {
            limit_memory(group, bytes)?;
        }
        if let (Some(group), Some(cores)) = (&self.cpu, limits.cpu_cores) {
            limit_cpu(group, cores)?;
        }
        if let (Some(group), Some(processes)) = (&self.pids, limits.pids_max) {
            group.write("pids.max", &processes)?;
        }
        Ok(())
    }

    /// The files by which a process enters the groups: it writes `0` to each.
    pub(crate) fn entrances(&self) -> io::Result<Vec<File>> {
        self.directories()
            .into_iter()
            .map(|directory| {
                let file = directory.join("cgroup.procs");
                OpenOptions::new().write(true).open(&file).map_err(|error| named(&file, &error))
            })
            .collect()
    }

    /// How many of the instance's processes the kernel ended for the memory limit.
    pub(crate) fn out_of_memory_kills(&self) -> u64 {
        let Some(group) = &self.memory else { return 0 };
        let file = match group.version {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        };
        group.counter(file, "oom_kill").unwrap_or(0)
    }

    /// Whether the groups know all that the instance started.
    pub(crate) fn knows_members(&self) -> bool {
        self.ending.is_some()
    }

    /// Everything the instance started that still runs.
    pub(crate) fn members(&self) -> Vec<i32> {
        self.ending.as_ref().map(|ending| ending.group().members()).unwrap_or_default()
    }

    /// Processor time of all that ever ran in the groups, where they count it.
    pub(crate) fn cpu_time(&self) -> Option<Duration> {
        let group = self.ending.as_ref()?.group();
        match group.version {
            Version::V1 => None,
            Version::V2 => group.counter("cpu.stat", "usage_usec").map(Duration::from_micros),
        }
    }

    /// Ends everything in the groups with SIGKILL and waits for it until `deadline`. Returns
    /// whether nothing is left.
    pub(crate) fn end_all(&self, deadline: Instant) -> bool {
        let Some(ending) = &self.ending else { return false };
        loop {
            let group = ending.group();
            if group.members().is_empty() {
                return true;
            }
            match ending {
                Ending::Kill { group } => {
                    if group.write("cgroup.kill", &1).is_err() {
                        signal_all(group);
                    }
                }
                Ending::Freeze { group } => {
                    freeze(group, true);
                    signal_all(group);
                    freeze(group, false);
                }
            }
            let round_end = (Instant::now() + Duration::from_millis(100)).min(deadline);
            while Instant::now() < round_end {
                if group.members().is_empty() {
                    return true;
                }
                sleep(POLL_INTERVAL);
            }
            if Instant::now() >= deadline {
                return group.members().is_empty();
            }
        }
    }

    /// Removes the groups. They must be empty; what stays is an empty directory.
    pub(crate) fn remove(&self) {
        let deadline = Instant::now() + REMOVE_DEADLINE;
        for directory in self.directories() {
            while let Err(error) = fs::remove_dir(directory) {
                let busy = error.raw_os_error() == Some(libc::EBUSY);
                if !busy || Instant::now() >= deadline {
                    break;
                }
                sleep(POLL_INTERVAL);
            }
        }
    }
}

fn limit_memory(group: &Group, bytes: u64) -> io::Result<()> {
    match group.version {
        Version::V1 => {
            group.write("memory.limit_in_bytes", &bytes)?;
            // Present only where swap is accounted for; without it swap is beyond the limit.
            if group.file("memory.memsw.limit_in_bytes").exists() {
                group.write("memory.memsw.limit_in_bytes", &bytes)?;
            }
        }
        Version::V2 => {
            group.write("memory.max", &bytes)?;
            if group.file("memory.swap.max").exists() {
                group.write("memory.swap.max", &0)?;
            }
        }
    }
    Ok(())
}

fn limit_cpu(group: &Group, cores: f64) -> io::Result<()> {
    let quota_us = ((cores * CPU_PERIOD_US as f64) as u64).max(CPU_QUOTA_US_MIN);
    match group.version {
        Version::V1 => {
            group.write("cpu.cfs_period_us", &CPU_PERIOD_US)?;
            group.write("cpu.cfs_quota_us", &quota_us)
        }
        Version::V2 => group.write("cpu.max", &format!("{quota_us} {CPU_PERIOD_US}")),
    }
}

fn signal_all(group: &Group) {
    for pid in group.members() {
        // It may have ended meanwhile; nothing else can have got its pid in a frozen group's list.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

/// Freezes or thaws a group. Failing is tolerated: the caller signals in rounds anyway.
fn freeze(group: &Group, frozen: bool) {
    let (file, value) = match (group.version, frozen) {
        (Version::V1, true) => ("freezer.state", "FROZEN"),
        (Version::V1, false) => ("freezer.state", "THAWED"),
        (Version::V2, true) => ("cgroup.freeze", "1"),
        (Version::V2, false) => ("cgroup.freeze", "0"),
    };
    let _ = group.write(file, &value);
    if !frozen {
        return;
    }
    let deadline = Instant::now() + FREEZE_DEADLINE;
    while Instant::now() < deadline {
        let is_frozen = match group.version {
            Version::V1 => fs::read_to_string(group.file("freezer.state"))
                .is_ok_and(|state| state.trim() == "FROZEN"),
            Version::V2 => group.counter("cgroup.events", "frozen") == Some(1),
        };
        if is_frozen {
            return;
        }
        sleep(POLL_INTERVAL);
    }
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
