//! Whole-process tests of deployments, each named after the report it stands for: `t26` is test 26
//! of the list in `tests/rollouts/README.md`, which also says where the others are. What happens to
//! traffic is the same with containers: `docker.rs` runs those modules too.

#![allow(clippy::print_stdout, reason = "the run reports what it measured")]

mod harness;

#[path = "rollouts/address.rs"]
mod address;
#[path = "rollouts/broken.rs"]
mod broken_of_processes;
#[path = "rollouts/course.rs"]
mod course;
#[path = "rollouts/defaults.rs"]
mod defaults;
#[path = "rollouts/group.rs"]
mod group;
#[path = "rollouts/hangs.rs"]
mod hangs;
#[path = "rollouts/hooks.rs"]
mod hooks;
#[path = "rollouts/judged.rs"]
mod judged;
#[path = "rollouts/rollovers.rs"]
mod rollovers_of_processes;
#[path = "rollouts/traffic.rs"]
mod traffic_of_processes;
#[path = "rollouts/worker.rs"]
mod worker_of_processes;

use std::sync::{Arc, Mutex, PoisonError, Weak};

use harness::Ark;

/// How many rollovers follow each other under load.
const ROLLOVERS: u32 = 20;
/// And how many requests there are in a second meanwhile.
const RATE: f64 = 500.0;
/// Of how many instances a client sees a rollover.
const INSTANCES: u32 = 2;
/// What a deployment needs besides its file to run the shell.
const SHELL: [&str; 0] = [];

/// The Ark of the tests that another suite runs too, on its engine: there is always one here.
#[allow(clippy::unnecessary_wraps, reason = "another engine may be missing")]
fn suite(_test: &str) -> Option<Arc<Ark>> {
    Some(shared())
}

/// One Ark for all tests that end no server and no gateway: each has an app of its own. It ends with
/// the last test that holds it.
fn shared() -> Arc<Ark> {
    static SHARED: Mutex<Weak<Ark>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let ark = Arc::new(Ark::up());
        *shared = Arc::downgrade(&ark);
        ark
    })
}
