//! Ending everything an instance started: by its control group where there is one, else by
//! descent, session and mark, in rounds. Called by the shim for itself and by the engine for a dead
//! shim.

use std::thread::sleep;
use std::time::{Duration, Instant};

use ark_model::ids::InstanceId;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::cgroup::CgroupPlan;
use super::host;

/// Between two searches of /proc.
const ROUND_INTERVAL: Duration = Duration::from_millis(5);

/// What is known of an instance whose processes are to end.
pub(crate) struct Scope<'a> {
    pub(crate) id: InstanceId,
    pub(crate) cgroups: &'a CgroupPlan,
    /// Its shim, if that is the caller: all it started descends from it.
    pub(crate) shim: Option<i32>,
    /// Its main process's session.
    pub(crate) session: Option<i32>,
}

impl Scope<'_> {
    /// Everything that still runs.
    pub(crate) fn members(&self) -> Vec<i32> {
        if self.cgroups.knows_members() {
            self.cgroups.members()
        } else {
            host::search(self.id, self.shim, self.session)
        }
    }

    /// Ends everything with SIGKILL and waits until it is gone or `deadline` passes. Returns
    /// whether nothing is left.
    pub(crate) fn end_all(&self, deadline: Instant) -> bool {
        if self.cgroups.knows_members() {
            return self.cgroups.end_all(deadline);
        }
        loop {
            let pids = host::search(self.id, self.shim, self.session);
            if pids.is_empty() {
                return true;
            }
            for pid in pids {
                // It may have ended since it was found.
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            if Instant::now() >= deadline {
                return false;
            }
            sleep(ROUND_INTERVAL);
        }
    }
}
