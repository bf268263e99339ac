//! What a container may do beyond what every container may: `run.privileged`, `run.writable_root` and
//! `run.capabilities`. The file asks, the server's policy allows or refuses.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::Run;

/// Rights that an app asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rights {
    /// It may do what the host may.
    pub privileged: bool,
    /// It may write to its image's files.
    pub writable_root: bool,
    /// Linux capabilities beside the one that every container has, as `NET_ADMIN`.
    pub capabilities: BTreeSet<String>,
}

impl Run {
    /// The rights that it asks for.
    pub fn rights(&self) -> Rights {
        let Self { privileged, writable_root, capabilities, .. } = self;
        Rights {
            privileged: *privileged,
            writable_root: *writable_root,
            capabilities: capabilities.clone(),
        }
    }
}

impl Rights {
    /// The capabilities that reach beyond the container's own files, users and processes.
    pub fn beyond_its_own(&self) -> impl Iterator<Item = &str> {
        self.capabilities.iter().map(String::as_str).filter(|name| !OWN.contains(name))
    }
}

/// Those that change nothing outside of the container and its own volumes.
const OWN: [&str; 10] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "NET_BIND_SERVICE",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// All of Linux (capabilities(7)), each with its meaning.
pub(super) static CAPABILITIES: &[(&str, &str)] = &[
    ("AUDIT_CONTROL", "rule the kernel's audit"),
    ("AUDIT_READ", "read the kernel's audit"),
    ("AUDIT_WRITE", "write to the kernel's audit"),
    ("BLOCK_SUSPEND", "keep the host awake"),
    ("BPF", "load programs into the kernel"),
    ("CHECKPOINT_RESTORE", "freeze and restore processes"),
    ("CHOWN", "change the owner of files"),
    ("DAC_OVERRIDE", "read and write files of other users"),
    ("DAC_READ_SEARCH", "read files of other users, and open them by handle"),
    ("FOWNER", "do with a file what its owner may"),
    ("FSETID", "keep set-user bits of files"),
    ("IPC_LOCK", "lock memory"),
    ("IPC_OWNER", "use shared memory of other users"),
    ("KILL", "signal processes of other users"),
    ("LEASE", "take leases on files"),
    ("LINUX_IMMUTABLE", "mark files as immutable"),
    ("MAC_ADMIN", "change mandatory access rules"),
    ("MAC_OVERRIDE", "ignore mandatory access rules"),
    ("MKNOD", "make device files"),
    ("NET_ADMIN", "rule its network: addresses, routes, firewall"),
    ("NET_BIND_SERVICE", "listen below port 1024; every container has it"),
    ("NET_BROADCAST", "broadcast and multicast"),
    ("NET_RAW", "send raw packets"),
    ("PERFMON", "measure the kernel"),
    ("SETFCAP", "give capabilities to files"),
    ("SETGID", "become another group"),
    ("SETPCAP", "drop capabilities of its own"),
    ("SETUID", "become another user"),
    ("SYSLOG", "read the kernel's log"),
    ("SYS_ADMIN", "mount, and much else"),
    ("SYS_BOOT", "restart the host"),
    ("SYS_CHROOT", "change its root folder"),
    ("SYS_MODULE", "load modules into the kernel"),
    ("SYS_NICE", "raise priorities"),
    ("SYS_PACCT", "rule process accounting"),
    ("SYS_PTRACE", "look into other processes"),
    ("SYS_RAWIO", "reach devices past their drivers"),
    ("SYS_RESOURCE", "go beyond limits"),
    ("SYS_TIME", "set the host's clock"),
    ("SYS_TTY_CONFIG", "rule terminals"),
    ("WAKE_ALARM", "wake the host"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_inside_is_told_from_what_does_not() {
        let names: Vec<&str> = CAPABILITIES.iter().map(|(name, _)| *name).collect();
        assert!(names.is_sorted() && OWN.iter().all(|name| names.contains(name)));
        let of = |names: &[&str]| Rights {
            capabilities: names.iter().map(|name| (*name).to_owned()).collect(),
            ..Rights::default()
        };
        assert_eq!(of(&OWN).beyond_its_own().count(), 0);
        let asked = of(&["CHOWN", "SYS_ADMIN", "NET_RAW"]);
        assert_eq!(asked.beyond_its_own().collect::<Vec<_>>(), ["NET_RAW", "SYS_ADMIN"]);
    }
}
