//! Which control group hierarchies this process may use, found by trying. Runs once per engine.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use ark_model::ids::InstanceId;

use super::{CgroupPlan, Ending, Group, Version};
use crate::engine::Enforcement;
use crate::process::CgroupUse;
use crate::process::record::Limits;

/// The folder under which all of Ark's groups are.
const FOLDER: &str = "ark";
/// Controllers that Ark sets limits with.
const CONTROLLERS: [&str; 3] = ["memory", "cpu", "pids"];

/// Where groups of each purpose can be made, or why they cannot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hierarchies {
    ending: Result<Ending, String>,
    memory: Result<Group, String>,
    cpu: Result<Group, String>,
    pids: Result<Group, String>,
}

impl Hierarchies {
    fn none(reason: &str) -> Self {
        let reason = reason.to_owned();
        Self {
            ending: Err(reason.clone()),
            memory: Err(reason.clone()),
            cpu: Err(reason.clone()),
            pids: Err(reason),
        }
    }

    /// The groups for one instance: none where there is no limit to set.
    pub(crate) fn plan(&self, id: InstanceId, limits: &Limits) -> CgroupPlan {
        let own =
            |group: &Group| Group { version: group.version, path: group.path.join(id.to_string()) };
        let limit = |wanted: bool, group: &Result<Group, String>| match group {
            Ok(group) if wanted => Some(own(group)),
            Ok(_) | Err(_) => None,
        };
        CgroupPlan {
            ending: self.ending.as_ref().ok().map(|ending| match ending {
                Ending::Kill { group } => Ending::Kill { group: own(group) },
                Ending::Freeze { group } => Ending::Freeze { group: own(group) },
            }),
            memory: limit(limits.memory_bytes.is_some(), &self.memory),
            cpu: limit(limits.cpu_cores.is_some(), &self.cpu),
            pids: limit(limits.pids_max.is_some(), &self.pids),
        }
    }

    pub(crate) fn memory(&self) -> Enforcement {
        enforcement(&self.memory)
    }

    pub(crate) fn cpu(&self) -> Enforcement {
        enforcement(&self.cpu)
    }

    pub(crate) fn pids(&self) -> Enforcement {
        enforcement(&self.pids)
    }

    pub(crate) fn ending(&self) -> Enforcement {
        enforcement(&self.ending)
    }
}

fn enforcement<T>(found: &Result<T, String>) -> Enforcement {
    match found {
        Ok(_) => Enforcement::Enforced,
        Err(reason) => Enforcement::NotEnforced { reason: reason.clone() },
    }
}

/// Tries every mounted hierarchy that `wanted` allows.
pub(crate) fn detect(wanted: CgroupUse) -> Hierarchies {
    let (try_v1, try_v2) = match wanted {
        CgroupUse::Auto => (true, true),
        CgroupUse::Version1Only => (true, false),
        CgroupUse::Never => return Hierarchies::none("control groups are switched off"),
    };
    let mounts = parse_mounts(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default());
    let own = parse_own_groups(&fs::read_to_string("/proc/self/cgroup").unwrap_or_default());
    let mut found = Hierarchies::none("no control group hierarchy is mounted");
    if try_v2 && let Some(mount) = mounts.get("") {
        offer_v2(&mut found, mount, own.get("").map(String::as_str));
    }
    if !try_v1 {
        return found;
    }
    let v1 = |controller: &str, probe: &str| {
        let mount = mounts.get(controller)?;
        let base = usable_base(mount, own.get(controller).map(String::as_str), &[probe]);
        Some(base.map(|path| Group { version: Version::V1, path }))
    };
    if found.ending.is_err()
        && let Some(group) = v1("freezer", "freezer.state")
    {
        found.ending = group.map(|group| Ending::Freeze { group });
    }
    for (slot, controller, probe) in [
        (&mut found.memory, "memory", "memory.limit_in_bytes"),
        (&mut found.cpu, "cpu", "cpu.cfs_quota_us"),
        (&mut found.pids, "pids", "pids.max"),
    ] {
        if slot.is_err()
            && let Some(group) = v1(controller, probe)
        {
            *slot = group;
        }
    }
    found
}

fn offer_v2(found: &mut Hierarchies, mount: &Path, own: Option<&str>) {
    let base = match usable_base(mount, own, &["cgroup.events"]) {
        Ok(base) => base,
        Err(reason) => {
            *found = Hierarchies::none(&reason);
            return;
        }
    };
    if let Some(parent) = base.parent() {
        for directory in [parent, &base] {
            for controller in CONTROLLERS {
                // Refused where the controller belongs to a version 1 hierarchy, and where the
                // directory holds processes itself; the probe below shows what was granted.
                let _ = enable(directory, controller);
            }
        }
    }
    let has = |file: &str| probe(&base, &[file]).is_ok();
    let group = Group { version: Version::V2, path: base.clone() };
    if has("cgroup.kill") {
        found.ending = Ok(Ending::Kill { group: group.clone() });
    } else if has("cgroup.freeze") {
        found.ending = Ok(Ending::Freeze { group: group.clone() });
    }
    for (slot, file) in [
        (&mut found.memory, "memory.max"),
        (&mut found.cpu, "cpu.max"),
        (&mut found.pids, "pids.max"),
    ] {
        *slot = if has(file) {
            Ok(group.clone())
        } else {
            Err(format!("`{file}` is not offered in {}", base.display()))
        };
    }
}

fn enable(directory: &Path, controller: &str) -> io::Result<()> {
    let file = directory.join("cgroup.subtree_control");
    let enabled = fs::read_to_string(&file)?;
    if enabled.split_ascii_whitespace().any(|name| name == controller) {
        return Ok(());
    }
    fs::write(&file, format!("+{controller}"))
}

/// The folder for Ark's groups: at the hierarchy's root, else below this process's own group.
fn usable_base(mount: &Path, own: Option<&str>, files: &[&str]) -> Result<PathBuf, String> {
    let at_root = mount.join(FOLDER);
    let below_own = own
        .map(|own| own.trim_start_matches('/'))
        .filter(|own| !own.is_empty())
        .map(|own| mount.join(own).join(FOLDER));
    let mut reason = String::new();
    for base in [Some(at_root), below_own].into_iter().flatten() {
        match fs::create_dir_all(&base).and_then(|()| probe(&base, files)) {
            Ok(()) => return Ok(base),
            Err(error) if reason.is_empty() => reason = format!("{}: {error}", base.display()),
            Err(_) => {}
        }
    }
    Err(reason)
}

/// Makes a group below `base`, looks whether processes may enter it and whether it has `files`,
/// and removes it.
fn probe(base: &Path, files: &[&str]) -> io::Result<()> {
    static PROBES: AtomicU64 = AtomicU64::new(0);
    let count = PROBES.fetch_add(1, Ordering::Relaxed);
    let group = base.join(format!("probe-{}-{count}", std::process::id()));
    fs::create_dir(&group)?;
    let result =
        OpenOptions::new().write(true).open(group.join("cgroup.procs")).map(drop).and_then(|()| {
            files.iter().try_for_each(|file| {
                fs::metadata(group.join(file)).map(drop).map_err(|error| {
                    io::Error::new(error.kind(), format!("`{file}` is not offered"))
                })
            })
        });
    let _ = fs::remove_dir(&group);
    result
}

/// Mount points by controller; the version 2 hierarchy stands under the empty name.
fn parse_mounts(mountinfo: &str) -> BTreeMap<String, PathBuf> {
    let mut mounts = BTreeMap::new();
    for line in mountinfo.lines() {
        let Some((before, after)) = line.split_once(" - ") else { continue };
        let mut after = after.split(' ');
        let (Some(kind), _source, Some(options)) = (after.next(), after.next(), after.next())
        else {
            continue;
        };
        let Some(mount_point) = before.split(' ').nth(4) else { continue };
        let names: Vec<&str> = match kind {
            "cgroup2" => vec![""],
            "cgroup" => options.split(',').collect(),
            _ => continue,
        };
        for name in names {
            // The first mount of a hierarchy; later ones are bind mounts of parts.
            mounts.entry(name.to_owned()).or_insert_with(|| PathBuf::from(mount_point));
        }
    }
    mounts
}

/// This process's own group by controller; the version 2 one stands under the empty name.
fn parse_own_groups(text: &str) -> BTreeMap<String, String> {
    let mut groups = BTreeMap::new();
    for line in text.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        if let (Some(names), Some(path)) = (fields.next(), fields.next()) {
            for name in names.split(',') {
                groups.insert(name.to_owned(), path.to_owned());
            }
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_and_own_groups_are_read_in_both_versions() {
        let mounts = parse_mounts(
            "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
             41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n\
             42 31 0:38 /part /mnt rw - cgroup2 cgroup2 rw\n\
             50 1 8:1 / / rw - ext4 /dev/sda rw\n\
             torn",
        );
        assert_eq!(mounts["cpu"], Path::new("/sys/fs/cgroup/cpu,cpuacct"));
        assert_eq!(mounts["cpuacct"], mounts["cpu"]);
        assert_eq!(mounts[""], Path::new("/sys/fs/cgroup/unified"));
        let own = parse_own_groups("4:memory:/a\n2:cpu,cpuacct:/b:c\n0::/user.slice\n");
        assert_eq!(own["memory"], "/a");
        assert_eq!(own["cpuacct"], "/b:c");
        assert_eq!(own[""], "/user.slice");
    }

    #[test]
    fn switched_off_means_nothing_is_enforced_and_nothing_is_planned() {
        let none = detect(CgroupUse::Never);
        assert!(!none.memory().is_enforced());
        let limits = Limits { memory_bytes: Some(1), cpu_cores: Some(1.0), pids_max: Some(1) };
        let id = InstanceId(uuid::Uuid::nil());
        assert_eq!(none.plan(id, &limits), CgroupPlan::default());
    }
}
