//! Work without ports that is replaced while it has something in hand, on the engine of the suite.

use crate::harness::{ENV, eventually, last_json, state, words};
use crate::{SHELL, suite};

const APP: &str = "worker";
/// More than are done in the meantime, so that there is always something to do.
const ITEMS: usize = 600;

/// What is to be done, made before anybody looks for it.
const ORDERS: &str = r#"cd "$ARK_VOLUME_LEDGER" && mkdir held done told items
n=0; while [ $n -lt $ITEMS ]; do n=$((n + 1)); : > items/$n; done
mv items queue"#;

/// What a worker does until it is told to stop: takes an item, works on it, puts it down as done. Told
/// to stop, it finishes what it has in hand.
const WORK: &str = r#"cd "$ARK_VOLUME_LEDGER"
stop=; trap 'stop=1; echo $hand > told/$VERSION.$ARK_INSTANCE_ID' TERM
while [ -z "$stop" ]; do
  for item in queue/*; do
    [ -z "$stop" ] || break
    name=${item#queue/}
    mv "$item" "held/$name" 2>/dev/null || continue
    hand=$name
    (trap '' TERM; sleep 0.4)
    mv "held/$name" "done/$name.$VERSION"
    hand=
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
    let in_hand = inside("cat \"$ARK_VOLUME_LEDGER\"/told/*");
    assert!(!in_hand.is_empty(), "none of them had anything in hand when it was told to stop");
    inside("cd \"$ARK_VOLUME_LEDGER\" && mv queue left");
    eventually("nothing is in hand", || list("held").is_empty());
    let (done, left) = (list("done"), list("left").len());
    assert_eq!(done.len() + left, ITEMS, "each is done or left to do, and none is lost: {done:?}");
    for item in in_hand {
        assert!(
            done.contains(&format!("{item}.one")),
            "{item} was finished by who had it: {done:?}"
        );
    }
    assert!(done.iter().any(|item| item.ends_with(".two")), "the new side works: {done:?}");
}
