//! Whole-process tests of deployments, each named after the report it stands for: `t26` is test 26
//! of the list in `tests/rollouts/README.md`, which also says where the others are.

#![allow(clippy::print_stdout, reason = "the run reports what it measured")]

mod harness;

#[path = "rollouts/course.rs"]
mod course;
#[path = "rollouts/hooks.rs"]
mod hooks;
#[path = "rollouts/traffic.rs"]
mod traffic;

use std::sync::{Arc, Mutex, PoisonError, Weak};

use harness::Ark;

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
