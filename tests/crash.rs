//! `kill -9` of server, gateway and shim in every state of a deployment: everything ends in a
//! terminal state, no process is left over, no acknowledged write is lost, and while the server is
//! dead requests go on (rollouts.md, tests 20 to 22; invariants I1, I4, I7).

#![allow(clippy::print_stdout, reason = "the run reports what it measured")]

mod harness;

use std::collections::BTreeSet;
use std::time::Duration;

use ark_load::{Driver, Load};
use harness::lacking::{Lack, skip};
use harness::{Ark, ENV, Raw, Sample, eventually, eventually_within, is_over, kill, state, words};
use jiff::Timestamp;

const APP: &str = "web";
const OVER: Duration = Duration::from_secs(90);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Victim {
    Server,
    Gateway,
    Shim,
}

/// A deployment that stays in `wanted` long enough to be hit there; answers its id.
fn reach(ark: &Ark, wanted: &str, version: &str) -> String {
    let sample = match wanted {
        "replacing" => Sample::version(version).variable("START_DELAY_MS", 1_500),
        // Streams keep the old side for a while.
        "draining" | "queued" => Sample::version(version).variable("START_DELAY_MS", 300),
        // The broken side ignores its stop signal.
        "returning" => Sample::version(version)
            .variable("BROKEN", "never-ready")
            .variable("IGNORE_SIGTERM", 1)
            .ready_timeout("2s")
            .stop_grace("3s"),
        other => panic!("no way to {other}"),
    };
    if wanted == "queued" {
        let before = Sample::version(format!("{version}-before")).variable("START_DELAY_MS", 1_500);
        ark.deploy_detached(APP, &before);
    }
    // On a busy machine a short state may go by between two looks.
    for _ in 0..REACH_MAX {
        let id = ark.deploy_detached(APP, &sample);
        let mut now = String::new();
        eventually(&format!("{wanted} of {version}"), || {
            now = ark.deployment(&id).map(|d| state(&d).to_owned()).unwrap_or_default();
            now == wanted || is_over(&now)
        });
        if now == wanted {
            return id;
        }
    }
    panic!("{version} was never seen {wanted}");
}

/// Within which a receipt is closed once the gateway was asked for the last time.
const MOMENT: Duration = Duration::from_millis(500);

fn finished_at(over: &serde_json::Value) -> Timestamp {
    over["finished_at"].as_str().and_then(|at| at.parse().ok()).expect("when it was over")
}

/// What may be inside of one instance of two at a hundred requests a second, its stream included.
const IN_ONE_MAX: u64 = 20;
/// How often a state is tried for.
const REACH_MAX: u32 = 3;

/// The rows of `ark ps` for processes of the app, the newest first.
fn rows(ark: &Ark) -> Vec<serde_json::Value> {
    let output = ark.run(&["ps", APP, "-e", ENV, "--json"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let all = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    all.filter(|row| row["pid"].as_i64().is_some_and(|pid| pid > 1)).collect()
}

/// The processes of a release that take traffic, or would.
fn active(ark: &Ark, release: u32) -> Vec<i64> {
    let of = |row: &serde_json::Value| row["release"] == release && row["state"] == "active";
    rows(ark).iter().filter(|row| of(row)).filter_map(|row| row["pid"].as_i64()).collect()
}

/// The shim of a process of the app: its parent.
fn shim_of(pid: i64) -> i32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let after = stat.rsplit_once(')').expect("stat").1;
    after.split_whitespace().nth(1).and_then(|p| p.parse().ok()).expect("a parent")
}

/// Kills a shim of this release and waits until so many instances of it are left or there again.
fn kill_shim_of(ark: &Ark, release: u32, then: usize) {
    let before = active(ark, release);
    kill(shim_of(before[0]));
    eventually(&format!("{then} instances of v{release}"), || {
        let now = active(ark, release);
        now.len() == then && !now.contains(&before[0])
    });
}

fn asks_for_promotion(ark: &Ark, id: &str) {
    eventually("it waits for a person", || {
        ark.deployment(id).is_some_and(|d| d["rollout"]["asks"]["what"] == "promotion")
    });
}

/// New connections, so that each is dealt to a side.
fn load_of(ark: &Ark) -> ark_load::Running {
    let load = Load::builder(ark.http, &ark.host(APP)).rate(150.0);
    load.mix([(Driver::NewConnection, 1)]).start().expect("load")
}

fn short_load(ark: &Ark) -> ark_load::Report {
    let load = load_of(ark);
    std::thread::sleep(Duration::from_millis(300));
    load.stop_blocking()
}

#[test]
fn kill_9_in_every_state_of_a_deployment() {
    let mut ark = Ark::up();
    let (output, _) = ark.deploy(APP, &Sample::version("first"));
    assert!(output.status.success(), "{}", words(&output));
    let mut hit = BTreeSet::new();
    let mut acknowledged = Vec::new();
    let mut round = 0;
    for victim in [Victim::Server, Victim::Gateway, Victim::Shim] {
        for wanted in ["queued", "replacing", "draining", "returning"] {
            round += 1;
            // Streams and requests throughout; what may fail depends on who is killed.
            let load = Load::builder(ark.http, &ark.host(APP))
                .rate(100.0)
                .mix([(Driver::KeepAlive, 1), (Driver::NewConnection, 1)])
                .sse_streams(2)
                .start()
                .expect("load");
            let id = reach(&ark, wanted, &format!("{round}-{wanted}"));
            acknowledged.push(id.clone());
            match victim {
                Victim::Server => {
                    ark.kill_server();
                    let before = load.snapshot().ok();
                    std::thread::sleep(Duration::from_millis(700));
                    let after = load.snapshot().ok();
                    assert!(after > before, "requests must go on without a server");
                    ark.start_server();
                }
                Victim::Gateway => {
                    ark.kill_gateway();
                    let before = load.snapshot().ok();
                    eventually("the next gateway serves", || load.snapshot().ok() > before);
                }
                Victim::Shim => {
                    let rows = rows(&ark);
                    kill(shim_of(rows[0]["pid"].as_i64().expect("a process")));
                }
            }
            let killed_at = Timestamp::now();
            hit.insert((victim, wanted));
            let over = ark.wait_over(&id, OVER);
            assert!(over["receipt"].is_object(), "no receipt: {over}");
            let report = load.stop_blocking();
            println!(
                "{victim:?} killed in {wanted}: {} ({} ok, {} failed)",
                state(&over),
                report.ok(),
                report.failed()
            );
            match victim {
                Victim::Server => assert_eq!(report.failed(), 0, "{:#?}", report.failures),
                // What was in the instance, of which the other took everything that came after.
                Victim::Shim => assert!(report.failed() <= IN_ONE_MAX, "{:#?}", report.failures),
                Victim::Gateway => {}
            }
            // One that had not begun has nothing to say of it: the one before it has. Nor has one
            // that was counting for the last time as it happened.
            if victim == Victim::Gateway
                && wanted != "queued"
                && finished_at(&over) > killed_at + MOMENT
            {
                let notes = over["receipt"]["notes"].to_string();
                assert!(notes.contains("gateway"), "the receipt does not say so: {over}");
            }
            eventually("the app has its two instances and nothing else runs", || {
                let d = ark.get(&format!("/v1/deployments?env={ENV}&app={APP}&limit=5"));
                let busy = d.is_none_or(|d| {
                    d["items"].as_array().is_some_and(|a| a.iter().any(|d| !is_over(state(d))))
                });
                !busy && ark.marked().len() == 2
            });
        }
    }
    println!("hit: {hit:?}");
    assert_eq!(hit.len(), 12, "every role in every state: {hit:?}");
    for id in acknowledged {
        let d = ark.deployment(&id).unwrap_or_else(|| panic!("acknowledged and lost: {id}"));
        assert!(is_over(state(&d)), "{d}");
    }
}

/// Half way through a canary and while its old side is kept: whoever is killed, the shares stay what they
/// are, what died is replaced, and a person's word ends it well (rollouts.md, tests 12, 21 and 25).
#[test]
fn kill_9_while_a_canary_steps_and_while_its_old_side_is_kept() {
    let mut ark = Ark::up();
    let (output, _) = ark.deploy(APP, &Sample::version(1));
    assert!(output.status.success(), "{}", words(&output));
    let steps = "strategy: canary, keep_old: 10m, steps: [{weight: 50}, {scale: 2}, {pause: {}}], watch: 0s";
    let id = ark.deploy_detached(APP, &Sample::version(2).deploy(steps));
    asks_for_promotion(&ark, &id);
    let goes_on = |ark: &Ark, wanted: &str, killed: &str| {
        // Whoever is started anew divides the traffic as before.
        let mut last = String::new();
        eventually(&format!("{wanted} goes on after the death of {killed}"), || {
            let report = short_load(ark);
            last = format!("{report}");
            let sides: Vec<&String> = report.versions.keys().collect();
            let right = if wanted == "stepping" { sides == ["1", "2"] } else { sides == ["2"] };
            right && report.failed() == 0
        });
        let d = ark.deployment(&id).expect("it is on record");
        assert_eq!(state(&d), wanted, "after the death of {killed}: {d}");
        let percent = if wanted == "stepping" { 50 } else { 100 };
        assert_eq!(d["rollout"]["percent"], percent, "after the death of {killed}: {d}");
        println!("{killed} killed in {wanted}: {last}");
    };
    for wanted in ["stepping", "keeping"] {
        let during = load_of(&ark);
        ark.kill_server();
        ark.start_server();
        let report = during.stop_blocking();
        assert_eq!(report.failed(), 0, "{wanted}: {:#?}", report.failures);
        goes_on(&ark, wanted, "the server");
        ark.kill_gateway();
        goes_on(&ark, wanted, "the gateway");
        kill_shim_of(&ark, 2, 2);
        goes_on(&ark, wanted, "a shim of the new side");
        assert_eq!(active(&ark, 1).len(), 2, "the old side is as it was");
        if wanted == "keeping" {
            // What is kept is kept as it is: nothing is started for an old side without traffic.
            kill_shim_of(&ark, 1, 1);
            goes_on(&ark, wanted, "a shim of the old side");
            assert_eq!(active(&ark, 1).len(), 1, "nothing was started in its place");
            continue;
        }
        kill_shim_of(&ark, 1, 2);
        goes_on(&ark, wanted, "a shim of the old side");
        // Started anew as planned, a gateway loses nothing at all.
        let during = load_of(&ark);
        let output = ark.run(&["gateway", "restart"]);
        assert!(output.status.success(), "{}", words(&output));
        std::thread::sleep(Duration::from_millis(300));
        let report = during.stop_blocking();
        assert_eq!(report.failed(), 0, "{:#?}", report.failures);
        let output = ark.run(&["promote", APP, "-e", ENV]);
        assert!(output.status.success(), "{}", words(&output));
        eventually("all of the traffic is on the new side", || {
            ark.deployment(&id).is_some_and(|d| state(&d) == "keeping")
        });
    }
    // The way back makes the old side whole first.
    let during = load_of(&ark);
    let output = ark.run(&["abort", APP, "-e", ENV]);
    assert!(output.status.success(), "{}", words(&output));
    let over = ark.wait_over(&id, OVER);
    let report = during.stop_blocking();
    assert_eq!(state(&over), "rolled_back", "{over}");
    assert_eq!(report.failed(), 0, "{:#?}", report.failures);
    assert_eq!((active(&ark, 1).len(), ark.marked().len()), (2, 2), "nothing is left over");

    // Server and gateway come back to a target that died while they were dead.
    ark.kill_server();
    let before = ark.marked();
    kill(before[0]);
    ark.kill_gateway();
    let during = load_of(&ark);
    std::thread::sleep(Duration::from_secs(1));
    ark.start_server();
    eventually("the dead instance is replaced", || {
        let now = ark.marked();
        now.len() == 2 && !now.contains(&before[0])
    });
    let report = during.stop_blocking();
    assert_eq!(report.failed(), 0, "{:#?}", report.failures);
}

/// All that a canary has of the new side is one instance: its death is a verdict. The share goes first,
/// and nobody notices but who was inside.
#[test]
fn a_canary_of_one_that_is_killed_goes_back() {
    let ark = Ark::up();
    let (output, _) = ark.deploy(APP, &Sample::version(1));
    assert!(output.status.success(), "{}", words(&output));
    let steps = "strategy: canary, \
                 steps: [{header: {name: x-canary, value: \"1\"}}, {weight: 50}, {pause: {}}]";
    let file = ark.launch(APP, &Sample::version(2).deploy(steps));
    let file = file.to_string_lossy().into_owned();
    let mut deploy = ark.command(&["deploy", APP, "-e", ENV, "--file", &file, "--json"]);
    let deploy = deploy.stdout(std::process::Stdio::piped()).spawn().expect("ark runs");
    let mut id = String::new();
    eventually("it begins", || {
        let all = ark.get(&format!("/v1/deployments?env={ENV}&app={APP}&limit=1"));
        let newest = all.map(|all| all["items"][0].clone()).unwrap_or_default();
        newest["id"].as_str().unwrap_or_default().clone_into(&mut id);
        newest["release"] == 2
    });
    asks_for_promotion(&ark, &id);
    let old = ark.marked();
    // An upload that is never finished, and so is never repeated: inside when it dies.
    let mut inside = Raw::open(&ark, APP);
    let head = "POST /echo HTTP/1.1\r\nhost: HOST\r\nx-canary: 1\r\ncontent-length: 10\r\n\r\n";
    inside.send(&format!("{head}hello"));
    let during = load_of(&ark);
    std::thread::sleep(Duration::from_millis(500));
    kill(shim_of(active(&ark, 2)[0]));
    let output = deploy.wait_with_output().expect("it ends");
    let after = short_load(&ark);
    let report = during.stop_blocking();
    let over = ark.deployment(&id).expect("it is on record");
    assert_eq!(output.status.code(), Some(3), "{}", words(&output));
    assert_eq!(state(&over), "rolled_back", "{over}");
    assert_eq!(over["diagnosis"]["kind"], "crashed", "{over}");
    assert!(over["diagnosis_words"].to_string().contains("signal 9"), "{over}");
    assert_eq!(report.versions.len(), 2, "it had half of the traffic: {report}");
    assert_eq!(after.versions.keys().collect::<Vec<_>>(), ["1"], "{after}");
    // What was inside is counted as cut, and the client's own count is the receipt's.
    let receipt = &over["receipt"];
    println!("{report}\n{receipt}");
    assert_eq!(receipt["cut"], report.failed() + 1, "{receipt}\n{:#?}", report.failures);
    assert_eq!(receipt["failed"], 0, "{receipt}");
    let now = ark.marked();
    assert_eq!((now.len(), active(&ark, 1).len()), (2, 2), "the old side and nothing else");
    assert!(now.iter().all(|pid| old.contains(pid)), "it was never touched");
}

#[test]
fn acknowledged_configuration_survives_a_killed_server() {
    let mut ark = Ark::up();
    for n in 0..5 {
        let pair = format!("KEY_{n}=value-{n}");
        let output = ark.run(&["config", "set", "-e", ENV, APP, &pair]);
        assert!(output.status.success(), "{}", words(&output));
        ark.kill_server();
        ark.start_server();
    }
    let output = ark.run(&["config", "list", "-e", ENV, APP]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for n in 0..5 {
        assert!(text.contains(&format!("value-{n}")), "{text}");
    }
}

#[test]
fn down_ends_apps_and_gateway_that_outlived_their_server() {
    let mut ark = Ark::up();
    let (output, _) = ark.deploy(APP, &Sample::version(1));
    assert!(output.status.success(), "{}", words(&output));
    let gateway = ark.gateway_pid();
    ark.kill_server();
    std::fs::remove_file(ark.data_dir().join("server.json")).expect("removed");
    let data_dir = ark.data_dir().to_string_lossy().into_owned();
    let output = std::process::Command::new(harness::ark())
        .args(["down", "--yes", "--data-dir", &data_dir])
        .output()
        .expect("ark runs");
    assert!(output.status.success(), "{}", words(&output));
    assert_eq!(ark.marked(), Vec::<i32>::new(), "instances are left");
    eventually("the gateway is gone", || {
        !std::path::Path::new("/proc").join(gateway.to_string()).exists()
    });
}

/// Writes zeros until the disk is full.
fn fill(disk: &mut std::fs::File) {
    use std::io::Write;
    for size in [1 << 20, 64 << 10, 4 << 10, 1] {
        while disk.write_all(&vec![0; size]).is_ok() {}
    }
}

/// What was acknowledged is kept, what cannot be kept is refused in words, the app serves on, and all
/// of it goes on by itself when there is room again (rollouts.md, test 23).
#[test]
fn t23_a_full_disk() {
    let Some(mut ark) = Ark::up_on_small_disk(96) else {
        return skip("t23_a_full_disk", Lack::Mount, "no file system can be mounted here");
    };
    let (output, _) = ark.deploy(APP, &Sample::version(1));
    assert!(output.status.success(), "{}", words(&output));
    let load = Load::builder(ark.http, &ark.host(APP))
        .rate(50.0)
        .mix([(Driver::KeepAlive, 1), (Driver::NewConnection, 1)])
        .start()
        .expect("load");
    let filler = ark.data_dir().join("filler");
    let appends = std::fs::OpenOptions::new().create(true).append(true).open(&filler);
    let mut disk = appends.expect("a file");
    let set = |ark: &Ark, n: u32| {
        let pair = format!("KEY_{n}={}", "x".repeat(4_000));
        ark.run(&["config", "set", "-e", ENV, APP, &pair])
    };
    fill(&mut disk);
    // Room for a few writes more.
    let length = disk.metadata().expect("a file").len();
    disk.set_len(length - (512 << 10)).expect("a shorter file");
    let mut kept = Vec::new();
    let refused = (0..400).find_map(|n| {
        let output = set(&ark, n);
        if output.status.success() {
            kept.push(n);
        }
        (!output.status.success()).then_some((n, output))
    });
    let (refused, output) = refused.expect("the disk has an end");
    assert!(!kept.is_empty(), "nothing was written before the disk was full");
    fill(&mut disk);
    assert!(words(&output).contains("the disk that holds the store is full"), "{}", words(&output));
    assert_eq!(output.status.code(), Some(1), "{}", words(&output));
    let file = ark.launch(APP, &Sample::version(2));
    let file = file.to_string_lossy();
    let output = ark.run(&["deploy", APP, "-e", ENV, "--file", &file, "--json"]);
    assert_eq!(
        output.status.code(),
        Some(1),
        "nobody can have written that down: {}",
        words(&output)
    );
    // Long enough for what the gateway writes every second, and says that it could not.
    let (before, gateway) = (load.snapshot().ok(), ark.gateway_pid());
    std::thread::sleep(Duration::from_secs(3));
    assert!(load.snapshot().ok() > before, "requests go on without a disk");
    assert_eq!(ark.gateway_pid(), gateway, "the gateway died of a full disk");
    drop(disk);
    std::fs::remove_file(&filler).expect("removed");
    eventually("it goes on when there is room", || set(&ark, 1_000).status.success());
    kept.push(1_000);
    let (output, _) = ark.deploy(APP, &Sample::version(3));
    assert!(output.status.success(), "{}", words(&output));
    ark.kill_server();
    ark.start_server();
    let output = ark.run(&["config", "list", "-e", ENV, APP, "--json"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for n in &kept {
        assert!(text.contains(&format!("\"KEY_{n}\"")), "KEY_{n} was acknowledged: {text:.300}");
    }
    assert!(!text.contains(&format!("\"KEY_{refused}\"")), "KEY_{refused} was refused");
    let report = load.stop_blocking();
    assert_eq!(report.failed(), 0, "{:#?}", report.failures);
}

#[test]
fn a_lost_key_is_not_replaced_without_a_word() {
    let mut ark = Ark::up();
    ark.kill_server();
    let key = ark.data_dir().join("master.key");
    let kept = std::fs::read(&key).expect("a key");
    let up = |ark: &Ark| {
        let data_dir = ark.data_dir();
        std::process::Command::new(harness::ark())
            .args(["up", "--json", "--api", "127.0.0.1:0", "--data-dir"])
            .arg(data_dir)
            .output()
            .expect("ark runs")
    };
    std::fs::remove_file(&key).expect("removed");
    let output = up(&ark);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("master.key"), "{}", words(&output));
    assert!(!key.exists(), "a new key was made");
    std::fs::write(&key, &kept).expect("put back");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&key, mode).expect("permissions");
    ark.start_server();
}

#[test]
fn a_dead_instance_is_replaced_and_a_stopped_environment_leaves_nothing() {
    let ark = Ark::up();
    let (output, _) = ark.deploy(APP, &Sample::version(1));
    assert!(output.status.success(), "{}", words(&output));
    let before = ark.marked();
    assert_eq!(before.len(), 2);
    kill(before[0]);
    eventually("the dead instance is replaced", || {
        let now = ark.marked();
        now.len() == 2 && !now.contains(&before[0])
    });
    let output = ark.run(&["env", "destroy", ENV, "--yes"]);
    assert!(output.status.success(), "{}", words(&output));
    eventually("nothing is left of the environment", || ark.marked().is_empty());
    eventually("the environment is gone", || {
        ark.get("/v1/environments").is_some_and(|e| !e.to_string().contains(ENV))
    });
    // Twice is as good as once: what is gone is not found.
    assert_eq!(ark.run(&["env", "destroy", ENV, "--yes"]).status.code(), Some(6));
}

/// What the old side did is measured by nobody any more, and what the new one did at first was measured
/// by a server that is dead.
#[test]
fn a_release_that_turns_bad_is_brought_back_after_a_restart() {
    let mut ark = Ark::up();
    let (output, _) = ark.deploy(APP, &Sample::version(1).deploy("watch: 0s"));
    assert!(output.status.success(), "{}", words(&output));
    let host = ark.host(APP);
    let load = Load::builder(ark.http, &host).rate(150.0).mix([(Driver::KeepAlive, 1)]);
    let good = load.clone().path("/").start().expect("load");
    let watched = Sample::version(2).deploy("watch: 60s").variable("START_DELAY_MS", 2_500);
    let id = ark.deploy_detached(APP, &watched);
    assert_eq!(state(&ark.wait_over(&id, OVER)), "succeeded");
    std::thread::sleep(Duration::from_millis(1_500));
    let report = good.stop_blocking();
    assert_eq!(report.failed(), 0, "{:#?}", report.failures);
    ark.kill_server();
    ark.start_server();
    // From now on it answers nothing but 404.
    let bad = load.path("/gone").start().expect("load");
    let live = |ark: &Ark| {
        let app = ark.get(&format!("/v1/environments/{ENV}/apps/{APP}")).unwrap_or_default();
        app["live"].as_u64()
    };
    eventually_within(OVER, "the release before is live again", || live(&ark) == Some(1));
    println!("after the restart: {}", bad.stop_blocking());
    let all = ark.get(&format!("/v1/deployments?env={ENV}&app={APP}&limit=5")).unwrap_or_default();
    let newest = &all["items"][0];
    assert_eq!(newest["kind"], "rollback", "{all}");
    assert!(newest["reason"].to_string().contains("the judge fails v2"), "{newest}");
}

/// Of all the records of a server only one is unreadable: that of a deployment in its middle.
#[test]
fn a_damaged_deployment_holds_up_its_own_app_alone() {
    let mut ark = Ark::up();
    for app in ["sick", "well"] {
        let (output, _) = ark.deploy(app, &Sample::version(1));
        assert!(output.status.success(), "{}", words(&output));
    }
    let steps = "strategy: canary, steps: [{weight: 50}, {pause: {}}]";
    let id = ark.deploy_detached("sick", &Sample::version(2).deploy(steps));
    eventually("it waits for a person", || {
        ark.deployment(&id).is_some_and(|d| d["rollout"]["asks"]["what"] == "promotion")
    });
    let host = ark.host("sick");
    ark.kill_server();
    let database = ark.data_dir().join("ark.db");
    let change = |sql: &str| {
        let connection = rusqlite::Connection::open(&database).expect("the database");
        assert_eq!(connection.execute(sql, [&id]).expect("it is changed"), 1, "{sql}");
    };
    change("UPDATE deployments SET body = substr(body, 1, 100) WHERE id = ?1");
    ark.start_server();

    // Everything else goes on: hooks, housekeeping, lists.
    let folder = ark.dir.path().join("hooks");
    std::fs::create_dir_all(&folder).expect("a folder");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(&folder, open).expect("permissions");
    let done = folder.join("done");
    let hook =
        format!("hooks: {{pre_deploy: [\"/bin/sh\", \"-c\", \"touch {}\"]}}", done.display());
    let (output, d) = ark.deploy("well", &Sample::version(2).deploy(&hook));
    assert!(output.status.success(), "{}", words(&output));
    assert_eq!((state(&d), done.exists()), ("succeeded", true), "{d}");
    for command in [&["env", "create", "short"][..], &["env", "destroy", "short", "--yes"]] {
        let output = ark.run(command);
        assert!(output.status.success(), "{}", words(&output));
    }
    eventually("the other environment is gone", || {
        let all = ark.get("/v1/environments?limit=50").unwrap_or_default();
        all["items"].as_array().is_some_and(|all| all.iter().all(|env| env["name"] != "short"))
    });
    let status = ark.run(&["status", "-e", ENV]);
    let said = words(&status);
    assert!(status.status.success() && said.contains("sick") && said.contains("well"), "{said}");
    let list = ark.get(&format!("/v1/deployments?env={ENV}&limit=20")).unwrap_or_default();
    assert_eq!(list["items"].as_array().map(Vec::len), Some(3), "all but one: {list}");

    // What is held up serves on, and is named.
    let load = Load::builder(ark.http, &host)
        .rate(50.0)
        .mix([(Driver::NewConnection, 1)])
        .strict()
        .start()
        .expect("load");
    std::thread::sleep(Duration::from_secs(1));
    let report = load.stop_blocking();
    assert!(report.ok() > 20 && report.failed() == 0, "{report}");
    let doctor = words(&ark.run(&["doctor"]));
    assert!(doctor.contains(&id) && doctor.contains("sick"), "{doctor}");
    eventually("an event says so", || {
        let events = ark.get("/v1/events?app=sick&limit=200").unwrap_or_default();
        events.to_string().contains("sick is held up")
    });

    // The way out that is named there.
    ark.kill_server();
    change("DELETE FROM deployments WHERE id = ?1");
    ark.start_server();
    let (output, d) = ark.deploy("sick", &Sample::version(3));
    assert!(output.status.success(), "{}", words(&output));
    assert_eq!(state(&d), "succeeded", "{d}");
}
