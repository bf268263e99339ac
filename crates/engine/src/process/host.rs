//! What /proc says of processes: who they are, whose children, what they use. Read by the process
//! engine and the shim; changes nothing.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use ark_model::ids::InstanceId;
use ark_model::instance::ProcessIdentity;

use crate::engine::INSTANCE_ID_VARIABLE;

/// The part of `/proc/<pid>/stat` that matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProcessStat {
    /// Ended, but not yet waited for by its parent.
    pub(crate) zombie: bool,
    pub(crate) parent: i32,
    pub(crate) session: i32,
    pub(crate) start_ticks: u64,
    pub(crate) cpu_ticks: u64,
    pub(crate) rss_pages: u64,
}

/// Reads `/proc/<pid>/stat`; `None` when there is no such process.
pub(crate) fn stat(pid: i32) -> Option<ProcessStat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_stat(line: &str) -> Option<ProcessStat> {
    // The second field is the program's name in parentheses and may itself hold anything.
    let after_name = &line[line.rfind(')')? + 1..];
    let fields: Vec<&str> = after_name.split_ascii_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(ProcessStat {
        zombie: matches!(fields.first()?.chars().next()?, 'Z' | 'X' | 'x'),
        parent: fields.get(1)?.parse().ok()?,
        session: fields.get(3)?.parse().ok()?,
        cpu_ticks: number(14)? + number(15)?,
        start_ticks: number(22)?,
        rss_pages: number(24)?,
    })
}

/// The identity of a living process (a zombie is not one).
pub(crate) fn identity(pid: i32) -> Option<ProcessIdentity> {
    let stat = stat(pid).filter(|stat| !stat.zombie)?;
    Some(ProcessIdentity { pid, start_ticks: stat.start_ticks })
}

/// A descriptor of a living process, if it is still the one that is meant.
pub(crate) fn open_process(process: ProcessIdentity) -> Option<OwnedFd> {
    let pid = rustix::process::Pid::from_raw(process.pid)?;
    let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()?;
    // Checked after opening: from here on the descriptor stands for one process only.
    (identity(process.pid) == Some(process)).then_some(pidfd)
}

/// Names this life of the kernel: pids and start times of another one mean nothing.
pub(crate) fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// Every process of the host.
fn all_pids() -> Vec<i32> {
    let Ok(listing) = fs::read_dir("/proc") else { return Vec::new() };
    listing.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Living processes that belong to an instance as far as /proc can tell: descendants of its shim,
/// members of its main process's session, and whatever carries its mark in the environment.
pub(crate) fn search(id: InstanceId, shim: Option<i32>, session: Option<i32>) -> Vec<i32> {
    let own = std::process::id().cast_signed();
    let stats: HashMap<i32, ProcessStat> = all_pids()
        .into_iter()
        .filter_map(|pid| Some((pid, stat(pid).filter(|stat| !stat.zombie)?)))
        .collect();
    let mut found = BTreeSet::new();
    for (&pid, stat) in &stats {
        let by_session = session.is_some_and(|session| stat.session == session);
        let by_descent = shim.is_some_and(|shim| descends(pid, shim, &stats));
        if by_session || by_descent || is_marked(pid, id) {
            found.insert(pid);
        }
    }
    found.remove(&own);
    if let Some(shim) = shim {
        found.remove(&shim);
    }
    found.into_iter().collect()
}

fn descends(mut pid: i32, ancestor: i32, stats: &HashMap<i32, ProcessStat>) -> bool {
    // A bound instead of trust: the table is not one moment's, so it could hold a circle.
    for _ in 0..stats.len() {
        let Some(stat) = stats.get(&pid) else { return false };
        if stat.parent == ancestor {
            return true;
        }
        pid = stat.parent;
    }
    false
}

fn is_marked(pid: i32, id: InstanceId) -> bool {
    let mark = format!("{INSTANCE_ID_VARIABLE}={id}");
    fs::read(format!("/proc/{pid}/environ"))
        .is_ok_and(|environ| environ.split(|b| *b == 0).any(|entry| entry == mark.as_bytes()))
}

/// Resident memory, processor time and number of the processes that live.
pub(crate) fn usage(pids: &[i32]) -> (u64, Duration, u32) {
    let page_bytes = rustix::param::page_size() as u64;
    let ticks_per_second = rustix::param::clock_ticks_per_second().max(1);
    let (mut pages, mut ticks, mut count) = (0, 0, 0);
    for stat in pids.iter().filter_map(|pid| stat(*pid)).filter(|stat| !stat.zombie) {
        pages += stat.rss_pages;
        ticks += stat.cpu_ticks;
        count += 1;
    }
    let cpu = Duration::from_millis(ticks.saturating_mul(1_000) / ticks_per_second);
    (pages * page_bytes, cpu, count)
}

/// The first of `path` and its parents that other users cannot pass through.
pub(crate) fn first_untraversable(path: &Path) -> Option<std::path::PathBuf> {
    use std::os::unix::fs::MetadataExt;
    path.ancestors()
        .filter(|ancestor| {
            fs::metadata(ancestor).is_ok_and(|metadata| metadata.mode() & 0o001 == 0)
        })
        .last()
        .map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_does_not_shift_the_fields() {
        let line = "77 (a) b (c)) S 5 77 77 0 -1 4194560 1 0 0 0 11 4 0 0 20 0 1 0 9876 100 25 1";
        let expected = ProcessStat {
            zombie: false,
            parent: 5,
            session: 77,
            cpu_ticks: 15,
            start_ticks: 9876,
            rss_pages: 25,
        };
        assert_eq!(parse_stat(line), Some(expected));
        assert_eq!(parse_stat("77 (cut"), None);
        assert_eq!(parse_stat("77 (cut) S 1"), None);
    }

    #[test]
    fn a_process_knows_itself() {
        let pid = std::process::id().cast_signed();
        assert_eq!(identity(pid).map(|identity| identity.pid), Some(pid));
        assert_eq!(identity(i32::MAX), None);
        assert!(usage(&[pid]).0 > 0);
    }
}
