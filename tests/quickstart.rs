//! The quickstart, as the README shows it: one command, a story, receipts without a failure.

mod harness;

use std::process::{Command, Stdio};

use harness::{ark, words};
use serde_json::Value;

#[test]
fn the_quickstart_fails_no_request_and_leaves_nothing_behind() {
    let temporary = tempfile::tempdir().expect("a directory");
    // Apps run under users of their own and must get through to their files.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o711);
    std::fs::set_permissions(temporary.path(), mode).expect("permissions");
    let output = Command::new(ark())
        .args(["quickstart", "--exit", "--json"])
        .env("TMPDIR", temporary.path())
        .stdin(Stdio::null())
        .output()
        .expect("ark runs");
    assert!(output.status.success(), "{}", words(&output));
    let story: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!(story["ok"], true, "{story}");
    assert_eq!(story["wrong"], Value::Array(Vec::new()), "{story}");
    let steps = story["steps"].as_array().expect("steps");
    let states: Vec<_> = steps.iter().map(|s| s["deployment"]["state"].as_str()).collect();
    let expected = ["succeeded", "succeeded", "rolled_back", "succeeded"].map(Some);
    assert!(states.starts_with(&expected), "{states:?}");
    let mut requests = 0;
    for step in steps {
        let receipt = &step["deployment"]["receipt"];
        assert_eq!((receipt["failed"].as_u64(), receipt["cut"].as_u64()), (Some(0), Some(0)));
        requests += receipt["served"].as_u64().unwrap_or_default();
    }
    assert!(requests >= 10_000, "{requests}");
    assert_eq!(story["load"]["totals"]["in_flight"], 0);
    let left: Vec<_> = std::fs::read_dir(temporary.path()).expect("the directory").collect();
    assert!(left.is_empty(), "{left:?} is left");
}
