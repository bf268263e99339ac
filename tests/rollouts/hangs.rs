//! What hangs while a deployment is under way, and what is well while nobody looks.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{Ark, ENV, Sample, eventually, state, words};

const APP: &str = "sample";
const OVER: Duration = Duration::from_secs(120);

fn live(ark: &Ark) -> serde_json::Value {
    ark.get(&format!("/v1/environments/{ENV}/apps/{APP}")).unwrap_or_default()
}

/// A process that does nothing until this is dropped.
struct Stopped(Pid);

impl Stopped {
    fn pid(pid: i32) -> Self {
        kill(Pid::from_raw(pid), Signal::SIGSTOP).expect("it is there");
        Self(Pid::from_raw(pid))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // It may have been killed meanwhile.
        let _ = kill(self.0, Signal::SIGCONT);
    }
}

/// The process that started another.
fn parent(pid: i32) -> i32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it is there");
    let rest = stat.rsplit(')').next().expect("what follows its name");
    rest.split_whitespace().nth(1).expect("its parent").parse().expect("a number")
}

#[test]
fn t26_a_supervisor_that_hangs_keeps_no_deployment_from_its_end() {
    let ark = Ark::up();
    let (output, _) = ark.deploy(APP, &Sample::version(1));
    assert!(output.status.success(), "{}", words(&output));
    let old = ark.marked();
    let hung = Stopped::pid(parent(old[0]));
    let id = ark.deploy_detached(APP, &Sample::version(2));
    let d = ark.wait_over(&id, OVER);
    assert_eq!(state(&d), "succeeded", "{d}");
    assert_eq!(live(&ark)["live"], 2);
    drop(hung);
    eventually("nothing but two instances of the second", || {
        ark.marked().len() == 2 && ark.marked().iter().all(|pid| !old.contains(pid))
    });
}

#[test]
fn t26_a_gateway_that_hangs_keeps_no_deployment_from_its_end() {
    let ark = Ark::up();
    let (output, _) = ark.deploy(APP, &Sample::version(1));
    assert!(output.status.success(), "{}", words(&output));
    let old = ark.marked();
    let file = ark.launch(APP, &Sample::version(2).ready_timeout("2s"));
    let text = std::fs::read_to_string(&file).expect("the launch file");
    let text = text
        .replace("progress_deadline: 60s, deadline: 120s", "progress_deadline: 3s, deadline: 5s");
    std::fs::write(&file, text).expect("written");
    let hung = Stopped::pid(ark.gateway_pid());
    let file = file.to_string_lossy();
    let output = ark.run(&["deploy", APP, "-e", ENV, "--file", &file, "--json"]);
    let d = crate::harness::last_json(&output);
    assert_eq!(output.status.code(), Some(3), "{}", words(&output));
    assert_eq!((state(&d), &d["diagnosis"]["kind"]), ("rolled_back", &"no_progress".into()), "{d}");
    drop(hung);
    eventually("the old side is what runs", || ark.marked() == old);
    assert_eq!(live(&ark)["live"], 1);
}

#[test]
fn t32_what_is_healthy_is_never_reported_failed() {
    let mut ark = Ark::up();
    // Each instance is ready in time; all of them, one after the other, take longer than one may.
    let slow = |version| {
        let sample = Sample::version(version).count(3).variable("START_DELAY_MS", 1_500);
        sample.ready_timeout("4s").deploy("max_surge: 1")
    };
    ark.deploy(APP, &slow(1));
    let began = Instant::now();
    let (output, d) = ark.deploy(APP, &slow(2));
    assert!(output.status.success(), "{}: {d}", words(&output));
    assert!(began.elapsed() > Duration::from_secs(4), "one after the other");
    // The time for becoming ready runs out while the server is dead; they have long been ready.
    let id = ark.deploy_detached(APP, &slow(3).deploy("max_surge: 3"));
    eventually("its instances were started", || ark.marked().len() == 6);
    ark.kill_server();
    std::thread::sleep(Duration::from_secs(7));
    ark.start_server();
    let d = ark.wait_over(&id, OVER);
    assert_eq!(state(&d), "succeeded", "{d}");
    assert_eq!(live(&ark)["live"], 3);
}
