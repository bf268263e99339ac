//! Logs as their readers see them: nothing is lost nor shown twice while the server is killed, and
//! an app without a log of its own says where there are some.

mod harness;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use harness::{Ark, ENV, words};
use serde_json::Value;

/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(90);

/// Deploys an app that runs a script.
#[track_caller]
fn deploy(ark: &Ark, app: &str, keys: &str, script: &str) {
    let folder = ark.dir.path().join("launch");
    fs::create_dir_all(&folder).expect("a folder");
    let script = serde_json::to_string(script).expect("text");
    let text = format!(
        "run: {{{keys}command: [/bin/sh, -c, {script}], stop_grace: 2s}}\n\
         env_defaults: {{MARK: \"{}\"}}\n",
        ark.mark
    );
    let more = match keys {
        "" => "autoscaling: {min_count: 2, max_count: 2}\n",
        _ => "",
    };
    let file = folder.join(format!("{app}.yml"));
    fs::write(&file, text + more).expect("a file");
    let output = ark.run(&["deploy", app, "-e", ENV, "--file", &file.to_string_lossy()]);
    assert!(output.status.success(), "{}", words(&output));
}

/// Numbers by instance, in the order in which they came; a further one each time it is called.
fn take(lines: &Receiver<Value>, seen: &mut BTreeMap<String, Vec<u64>>) {
    let line = lines.recv_timeout(DEADLINE).expect("the log goes on");
    let text = line["text"].as_str().expect("text");
    if let Ok(number) = text.parse() {
        let instance = line["instance"].as_str().expect("an instance").to_owned();
        seen.entry(instance).or_default().push(number);
    }
}

#[test]
fn a_log_that_is_followed_goes_on_over_kill_9_of_the_server() {
    let mut ark = Ark::up();
    let script = "n=0; while :; do n=$((n+1)); echo $n; sleep 0.02; done";
    deploy(&ark, "counter", "", script);
    let place = ark.data_dir();
    let mut child = ark
        .command(&["logs", "counter", "-e", ENV, "-f", "-n", "1", "--json", "--data-dir"])
        .arg(&place)
        // The server comes back at another address.
        .env_remove("ARK_SERVER")
        .env_remove("ARK_TOKEN")
        .stdout(Stdio::piped())
        .spawn()
        .expect("ark runs");
    let stdout = BufReader::new(child.stdout.take().expect("piped"));
    let (send, lines) = channel();
    std::thread::spawn(move || {
        for line in stdout.lines().map_while(Result::ok) {
            let _ = send.send(serde_json::from_str::<Value>(&line).expect("JSON"));
        }
    });
    let mut seen = BTreeMap::new();
    for kills in 1..=3 {
        // Until both have said something new.
        let begun = Instant::now();
        let before = seen.clone();
        let more = |seen: &BTreeMap<String, Vec<u64>>| {
            let new = |(instance, numbers): (&String, &Vec<u64>)| {
                numbers.len() > before.get(instance).map_or(0, Vec::len) + 60
            };
            seen.len() == 2 && seen.iter().all(new)
        };
        while !more(&seen) {
            assert!(begun.elapsed() < DEADLINE, "kill {kills}: {seen:?}");
            take(&lines, &mut seen);
        }
        if kills < 3 {
            ark.kill_server();
            std::thread::sleep(Duration::from_secs(1));
            ark.start_server();
        }
    }
    child.kill().expect("it runs");
    let _ = child.wait();
    for (instance, numbers) in &seen {
        let expected: Vec<u64> = (numbers[0]..).take(numbers.len()).collect();
        assert_eq!(numbers, &expected, "{instance}");
    }
}

#[test]
fn the_log_of_an_app_that_has_only_runs_says_where_theirs_are() {
    let ark = Ark::up();
    for (app, keys, kind) in
        [("tick", "type: cron, schedule: \"0 0 1 1 *\", ", "cron"), ("once", "type: job, ", "job")]
    {
        deploy(&ark, app, keys, "echo said");
        let output = ark.run(&["logs", app, "-e", ENV]);
        assert!(output.status.success() && output.stdout.is_empty(), "{}", words(&output));
        let said = String::from_utf8_lossy(&output.stderr);
        let hint = format!("`ark runs {app} N -e {ENV} --logs`");
        assert!(said.contains(&hint) && said.contains(kind), "{said}");
    }
}
