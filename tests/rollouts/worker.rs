//! Work without ports that is replaced while it has something in hand, on the engine of the suite.

use std::time::Duration;

use crate::harness::{ENV, eventually_within, last_json, state, words};
use crate::{SHELL, suite};

const APP: &str = "worker";
const ITEMS: usize = 40;

/// What is to be done, made before anybody looks for it.
const ORDERS: &str = r#"cd "$ARK_VOLUME_LEDGER" && mkdir held done told items
n=0; while [ $n -lt $ITEMS ]; do n=$((n + 1)); : > items/$n; done
mv items queue"#;

/// What a worker does until it is told to stop: takes an item, works on it, puts it down as done. Told
/// to stop, it finishes what it has in hand.
const WORK: &str = r#"cd "$ARK_VOLUME_LEDGER"
stop=; trap 'stop=1; : > told/$VERSION.$ARK_INSTANCE_ID' TERM
while [ -z "$stop" ]; do
  for item in queue/*; do
    [ -z "$stop" ] || break
    name=${item#queue/}
    mv "$item" "held/$name" 2>/dev/null || continue
    (trap '' TERM; sleep 0.4)
    mv "held/$name" "done/$name.$VERSION"
  done
  sleep 0.1
done"#;

#[test]
fn a_worker_is_rolled_and_loses_nothing_of_what_it_has_in_hand() {
    let test = "a_worker_is_rolled_and_loses_nothing_of_what_it_has_in_hand";
    let Some(ark) = suite(test) else { return };
    let work = serde_json::to_string(WORK).expect("text");
    let file = ark.dir.path().join("launch").join(format!("{APP}.yml"));
    std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
    let deploy = |version: &str| {
        let text = format!(
            "run: {{command: [/bin/sh, -c, {work}], stop_grace: 10s}}\n\
             volumes: [{{name: ledger, path: /ledger}}]\n\
             autoscaling: {{min_count: 2, max_count: 2}}\ndeploy: {{min_healthy_time: 500ms}}\n\
             env_defaults: {{VERSION: {version}, ITEMS: \"{ITEMS}\", MARK: \"{mark}\"}}\n",
            mark = ark.mark
        );
        std::fs::write(&file, text).expect("a file");
        let file = file.to_string_lossy();
        let deploy = ["deploy", APP, "-e", ENV, "--file", &file, "--json"];
        let output = ark.run(&[&deploy[..], &SHELL[..]].concat());
        assert!(output.status.success(), "{}", words(&output));
        assert_eq!(state(&last_json(&output)), "succeeded");
    };
    let inside = |script: &str| -> Vec<String> {
        let output = ark.run(&["exec", APP, "-e", ENV, "--", "/bin/sh", "-c", script]);
        assert!(output.status.success(), "{}", words(&output));
        String::from_utf8_lossy(&output.stdout).split_whitespace().map(str::to_owned).collect()
    };
    let list = |folder: &str| inside(&format!("ls \"$ARK_VOLUME_LEDGER/{folder}\""));
    deploy("one");
    inside(ORDERS);
    deploy("two");
    let told = list("told");
    assert!(told.len() == 2 && told.iter().all(|t| t.starts_with("one.")), "each once: {told:?}");
    eventually_within(Duration::from_secs(60), "all is done", || list("done").len() == ITEMS);
    assert!(list("held").is_empty() && list("queue").is_empty(), "what was in hand was finished");
    let done = list("done");
    let by = |version: &str| done.iter().filter(|item| item.ends_with(version)).count();
    assert!(by(".one") > 0 && by(".two") > 0, "replaced in the middle of the work: {done:?}");
}
