//! What is the process engine's own: shims that are killed, records that are torn, starts that were
//! interrupted, users, secrets on disk.

mod conformance;
mod process_fixture;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use ark_engine::{CgroupUse, Engine, EngineError, LogQuery, StopOptions};
use ark_model::definition::Volume;
use ark_model::ids::InstanceId;
use ark_model::instance::{EngineState, PortBinding, StartFailure};
use conformance::lacking::{Lack, skip};
use conformance::programs::is_alive;
use conformance::{
    Blobs, DEADLINE, Fixture, Program, log, run, run_up, state, until, until_exited, until_logged,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use process_fixture::ProcessFixture;

const ALL: [CgroupUse; 3] = [CgroupUse::Auto, CgroupUse::Version1Only, CgroupUse::Never];

fn shell(script: &str) -> Program {
    Program::Shell(script.to_owned())
}

fn shim_pid(dir: &Path) -> i32 {
    let status = fs::read(dir.join("status.json")).unwrap();
    let status: serde_json::Value = serde_json::from_slice(&status).unwrap();
    i32::try_from(status["shim"]["pid"].as_i64().unwrap()).unwrap()
}

fn kill_shim(dir: &Path) {
    kill(Pid::from_raw(shim_pid(dir)), Signal::SIGKILL).unwrap();
}

async fn pid_in_log(engine: &Arc<dyn Engine>, id: InstanceId, after: &str) -> i32 {
    let begun = Instant::now();
    loop {
        let lines = log(engine, id, LogQuery::default()).await;
        if let Some(pid) = lines.iter().find_map(|line| line.text.strip_prefix(after)) {
            return pid.trim().parse().unwrap();
        }
        assert!(begun.elapsed() < DEADLINE, "{lines:?}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// A main process, a child of it, and one that got away.
const FAMILY: &str = "echo main $$; (setsid sh -c 'echo away $$; while :; do sleep 0.2; done' &); \
                      sh -c 'echo child $$; while :; do sleep 0.2; done' & wait";

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_shim_takes_everything_with_it_at_once() {
    for cgroups in ALL {
        let fixture = ProcessFixture::new(cgroups);
        let engine = fixture.engine();
        let id = run(&engine, &fixture.spec(&shell(FAMILY))).await;
        let mut pids = Vec::new();
        for name in ["main ", "child ", "away "] {
            pids.push(pid_in_log(&engine, id, name).await);
        }
        kill_shim(&fixture.dir(id));
        let exit = until_exited(&engine, id).await;
        assert_eq!((exit.code, exit.signal, exit.requested), (None, Some(9), false), "{cgroups:?}");
        for pid in pids {
            assert!(!is_alive(pid), "{cgroups:?}: {pid} lives on");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shim_killed_while_no_engine_looked_is_found_later() {
    for cgroups in ALL {
        let mut fixture = ProcessFixture::new(cgroups);
        let engine = fixture.engine();
        let id = run(&engine, &fixture.spec(&shell(FAMILY))).await;
        let away = pid_in_log(&engine, id, "away ").await;
        let dir = fixture.dir(id);
        drop(engine);
        fixture.stop_engine();
        kill_shim(&dir);
        fixture.restart();
        let engine = fixture.engine();
        assert_eq!(until_exited(&engine, id).await.signal, Some(9), "{cgroups:?}");
        assert!(!is_alive(away), "{cgroups:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shim_killed_while_stopping_counts_as_requested() {
    let fixture = ProcessFixture::new(CgroupUse::Auto);
    let engine = fixture.engine();
    let id = run_up(&engine, &fixture.spec(&Program::Ignores)).await;
    engine.stop(id, StopOptions { grace: DEADLINE * 10, ..StopOptions::default() }).await.unwrap();
    until(&engine, id, "stopping", |state| matches!(state, EngineState::Stopping { .. })).await;
    kill_shim(&fixture.dir(id));
    let exit = until_exited(&engine, id).await;
    assert_eq!((exit.signal, exit.requested), (Some(9), true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_was_only_recorded_is_begun_by_the_next_engine() {
    let mut fixture = ProcessFixture::new(CgroupUse::Auto);
    let engine = fixture.engine();
    let spec = fixture.spec(&Program::Exits(6));
    engine.start(&spec).await.unwrap();
    until_exited(&engine, spec.id).await;
    // As a crash between the record and the shim leaves it.
    let dir = fixture.dir(spec.id);
    drop(engine);
    fixture.stop_engine();
    fs::remove_file(dir.join("status.json")).unwrap();
    fs::remove_dir_all(dir.join("files")).unwrap();
    fixture.restart();
    assert_eq!(until_exited(&fixture.engine(), spec.id).await.code, Some(6));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_status_ends_the_instance_and_a_torn_record_sets_it_aside() {
    for (file, cut) in [("status.json", 10), ("status.json", 0), ("spec.json", 0), ("spec.json", 9)]
    {
        let mut fixture = ProcessFixture::new(CgroupUse::Auto);
        let engine = fixture.engine();
        let id = run(&engine, &fixture.spec(&shell(FAMILY))).await;
        let main = pid_in_log(&engine, id, "main ").await;
        let away = pid_in_log(&engine, id, "away ").await;
        let dir = fixture.dir(id);
        drop(engine);
        fixture.stop_engine();
        kill_shim(&dir);
        let path = dir.join(file);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..cut]).unwrap();
        fixture.restart();
        let engine = fixture.engine();
        let terminal = |state: &EngineState| match state {
            EngineState::Gone => file == "spec.json",
            EngineState::StartFailed { .. } | EngineState::Exited { .. } => true,
            EngineState::Preparing | EngineState::Running { .. } | EngineState::Stopping { .. } => {
                false
            }
        };
        until(&engine, id, "ended or gone", terminal).await;
        let begun = Instant::now();
        while is_alive(main) || is_alive(away) {
            assert!(begun.elapsed() < DEADLINE, "{file} cut to {cut}: {main} or {away} lives on");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        engine.remove(id).await.unwrap();
        assert_eq!(state(&engine, id).await, EngineState::Gone);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_whose_directory_is_deleted_ends() {
    let fixture = ProcessFixture::new(CgroupUse::Auto);
    let engine = fixture.engine();
    let id = run(&engine, &fixture.spec(&shell(FAMILY))).await;
    let mut pids = vec![shim_pid(&fixture.dir(id))];
    for name in ["main ", "child ", "away "] {
        pids.push(pid_in_log(&engine, id, name).await);
    }
    fs::remove_dir_all(fixture.dir(id)).unwrap();
    assert_eq!(state(&engine, id).await, EngineState::Gone);
    let begun = Instant::now();
    while pids.iter().any(|pid| is_alive(*pid)) {
        assert!(begun.elapsed() < DEADLINE, "{pids:?}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// A folder in the place of the status file stands for a full disk: neither takes a new status.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_takes_no_status_holds_up_no_stop() {
    let fixture = ProcessFixture::new(CgroupUse::Auto);
    let engine = fixture.engine();
    let id = run_up(&engine, &fixture.spec(&Program::Obeys)).await;
    let main = pid_in_log(&engine, id, "started, pid ").await;
    let status = fixture.dir(id).join("status.json");
    let shim = shim_pid(&fixture.dir(id));
    let kept = fs::read(&status).unwrap();
    let request = r#"{"at":"2026-01-01T00:00:00Z","signal":"SIGTERM","grace_ms":60000}"#;
    fs::write(fixture.dir(id).join("stop.json"), request).unwrap();
    fs::remove_file(&status).unwrap();
    fs::create_dir_all(status.join("in-the-way")).unwrap();
    kill(Pid::from_raw(shim), Signal::SIGTERM).unwrap();
    let begun = Instant::now();
    while is_alive(main) {
        assert!(begun.elapsed() < DEADLINE, "{main} lives on");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    fs::remove_dir_all(&status).unwrap();
    fs::write(&status, kept).unwrap();
    let exit = until_exited(&engine, id).await;
    assert_eq!((exit.code, exit.requested), (Some(0), true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_blob_never_runs() {
    let fixture = ProcessFixture::new(CgroupUse::Auto);
    let engine = fixture.engine();
    let root = fixture.data_dir().join("blobs");
    let content = b"#!/bin/sh\necho fine\n";
    let blobs = Blobs::new(&root).file("run.sh", content, true);
    let blob = ark_engine::blob_path(&root, ark_model::ids::Sha256::of(content));
    for (damage, words) in [
        (content.to_ascii_uppercase(), "content"),
        (b"cut".to_vec(), "length"),
        (Vec::new(), "length"),
    ] {
        fs::write(&blob, damage).unwrap();
        let mut spec = fixture.spec(&shell("./run.sh"));
        spec.artifact = blobs.source();
        engine.start(&spec).await.unwrap();
        let failed = |state: &EngineState| matches!(state, EngineState::StartFailed { .. });
        match until(&engine, spec.id, "failed", failed).await {
            EngineState::StartFailed { reason: StartFailure::ArtifactMissing { detail } } => {
                assert!(detail.contains("run.sh") && detail.contains(words), "{detail}");
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Nobody can give a port to a process: between the look at it and the application's own, another
/// may take it. An application that is killed, or ends well, has not given up for want of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_port_lost_to_another_while_the_application_began_is_named() {
    let fixture = ProcessFixture::new(CgroupUse::Auto);
    let engine = fixture.engine();
    for (end, lost) in [("exit 1", true), ("exit 0", false), ("kill -9 $$", false)] {
        let go = fixture.data_dir().join("go");
        let wait = format!("while [ ! -e {} ]; do sleep 0.02; done", go.display());
        let mut spec = fixture.spec(&shell(&format!("echo up; {wait}; {end}")));
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        spec.ports = vec![PortBinding { expose: "default".into(), address }];
        engine.start(&spec).await.unwrap();
        until_logged(&engine, spec.id, "up").await;
        let _stranger = TcpListener::bind(address).unwrap();
        fs::write(&go, "").unwrap();
        let ended = |state: &EngineState| {
            matches!(state, EngineState::StartFailed { .. } | EngineState::Exited { .. })
        };
        let found = until(&engine, spec.id, "ended", ended).await;
        let reason = StartFailure::PortTaken { port: address.port() };
        assert_eq!(found == EngineState::StartFailed { reason }, lost, "{end}: {found:?}");
        fs::remove_file(&go).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_the_copying_of_files() {
    let fixture = ProcessFixture::new(CgroupUse::Auto);
    let engine = fixture.engine();
    let mut blobs = Blobs::new(&fixture.data_dir().join("blobs"));
    for number in 0..5_000 {
        blobs = blobs.file(&format!("{number:05}"), b"same", false);
    }
    let mut spec = fixture.spec(&shell("echo ran"));
    spec.artifact = blobs.source();
    engine.start(&spec).await.unwrap();
    engine.stop(spec.id, StopOptions::default()).await.unwrap();
    let exit = until_exited(&engine, spec.id).await;
    assert!(exit.requested, "{exit:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_readable_by_the_owner_alone_and_go_with_the_instance() {
    let fixture = ProcessFixture::new(CgroupUse::Auto);
    let engine = fixture.engine();
    let mut spec = fixture.spec(&Program::Exits(0));
    spec.variables.push(("TOKEN".to_owned(), "hush-hush".to_owned()));
    assert!(!format!("{spec:?}").contains("hush-hush"));
    engine.start(&spec).await.unwrap();
    until_exited(&engine, spec.id).await;
    let path = fixture.dir(spec.id).join("spec.json");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    assert!(fs::read_to_string(path).unwrap().contains("hush-hush"));
    engine.remove(spec.id).await.unwrap();
    let mut files = vec![fixture.data_dir()];
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            let text = fs::read(&path).unwrap();
            let found = String::from_utf8_lossy(&text).contains("hush-hush");
            assert!(!found, "{} still holds it", path.display());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_reads_neither_another_apps_files_nor_arks_own() {
    let fixture = ProcessFixture::new(CgroupUse::Auto);
    let engine = fixture.engine();
    if !engine.capabilities().app_isolation.is_enforced() {
        return skip(
            "an_app_reads_neither_another_apps_files_nor_arks_own",
            Lack::Root,
            "isolation needs root",
        );
    }
    let mut victim = fixture.spec(&shell("echo private > mine; chmod 644 mine; echo up; sleep 99"));
    victim.app = "victim".parse().unwrap();
    let victim_id = run_up(&engine, &victim).await;
    let dir = fixture.dir(victim_id);
    let pid = pid_in_log(&engine, victim_id, "started, pid ").await;
    let tries = format!(
        "id -u; for f in {0}/files/mine {0}/spec.json {0}/log.0 /proc/{pid}/environ; do \
         cat $f >/dev/null 2>&1 && echo read $f; done; kill -9 {pid} 2>/dev/null && echo killed; \
         ls {0} >/dev/null 2>&1 && echo listed; touch own && echo wrote",
        dir.display()
    );
    let mut thief = fixture.spec(&shell(&tries));
    thief.app = "thief".parse().unwrap();
    engine.start(&thief).await.unwrap();
    until_exited(&engine, thief.id).await;
    let lines = log(&engine, thief.id, LogQuery::default()).await;
    let texts: Vec<&str> =
        lines.iter().map(|line| line.text.as_str()).filter(|t| !t.contains(' ')).collect();
    assert_eq!(texts.len(), 2, "{lines:?}");
    assert_eq!(texts[1], "wrote", "{lines:?}");
    let uid: u32 = texts[0].parse().unwrap();
    let victims = fs::metadata(dir.join("files")).unwrap().uid();
    assert!(uid > 1_000_000 && uid != victims, "{uid} beside {victims}");
    assert!(is_alive(pid));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_others_cannot_enter_is_reported() {
    let mut fixture = ProcessFixture::new(CgroupUse::Auto);
    let closed = fixture.data_dir();
    fs::set_permissions(&closed, PermissionsExt::from_mode(0o700)).unwrap();
    fixture.restart();
    let engine = fixture.engine();
    match engine.capabilities().app_isolation {
        ark_engine::Enforcement::NotEnforced { reason } => {
            let named = reason.contains(closed.to_str().unwrap()) || reason.contains("uid");
            assert!(named, "{reason}");
        }
        ark_engine::Enforcement::Enforced => panic!("apps could not enter their directories"),
    }
    let id = run(&engine, &fixture.spec(&shell("echo up; sleep 99"))).await;
    until_logged(&engine, id, "up").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_is_a_folder_of_its_app_that_outlives_its_instances() {
    let fixture = ProcessFixture::new(CgroupUse::Auto);
    let engine = fixture.engine();
    let script = "cd \"$ARK_VOLUME_MY_DATA\" && echo line >> file && wc -l < file";
    let volume = |name: &str| Volume { name: name.to_owned(), path: "/data".to_owned() };
    let mut counts = Vec::new();
    for env in ["production", "production", "staging"] {
        let mut spec = fixture.spec(&shell(script));
        spec.env = env.parse().unwrap();
        spec.volumes = vec![volume("my-data")];
        engine.start(&spec).await.unwrap();
        until_exited(&engine, spec.id).await;
        let lines = log(&engine, spec.id, LogQuery::default()).await;
        counts.extend(lines.iter().filter_map(|line| line.text.trim().parse::<u32>().ok()));
        engine.remove(spec.id).await.unwrap();
    }
    assert_eq!(counts, [1, 2, 1], "of its app in its environment");
    for name in ["", "..", "a/b"] {
        let mut spec = fixture.spec(&shell(script));
        spec.volumes = vec![volume(name)];
        assert!(matches!(engine.start(&spec).await, Err(EngineError::Refused { .. })), "{name}");
    }
}
