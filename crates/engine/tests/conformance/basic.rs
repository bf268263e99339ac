//! What every engine does, the fake included: states, endings, idempotence, adoption.

use std::collections::HashSet;
use std::net::TcpListener;
use std::time::Duration;

use ark_engine::{ArtifactSource, EngineError, ExecSpec, LogQuery, StopOptions};
use ark_model::artifact::{Manifest, ManifestEntry, ManifestNode};
use ark_model::definition::StopSignal;
use ark_model::ids::{InstanceId, Sha256};
use ark_model::instance::{EngineState, PortBinding, StartFailure};
use jiff::Timestamp;

use super::{
    Fixture, Program, find, log, run, run_up, state, until, until_exited, until_logged,
    until_running,
};

fn grace(milliseconds: u64) -> StopOptions {
    StopOptions { signal: StopSignal::Term, grace: Duration::from_millis(milliseconds) }
}

const LONG: u64 = 600_000;

pub(crate) async fn a_start_runs_and_is_listed_with_its_labels(fixture: &mut dyn Fixture) {
    let engine = fixture.engine();
    let spec = fixture.spec(&Program::Obeys);
    let before = Timestamp::now();
    let id = run(&engine, &spec).await;
    let seen = find(&engine, id).await.unwrap();
    assert_eq!((&seen.env, &seen.app, seen.release), (&spec.env, &spec.app, spec.release));
    let EngineState::Running { since, .. } = seen.state else { panic!("{seen:?}") };
    assert!(since >= before && since <= Timestamp::now(), "{since}");
    engine.kill(id).await.unwrap();
    until_exited(&engine, id).await;
}

pub(crate) async fn a_second_start_does_nothing(fixture: &mut dyn Fixture) {
    let engine = fixture.engine();
    let spec = fixture.spec(&Program::Exits(3));
    let both = futures::future::join_all((0..8).map(|_| engine.start(&spec))).await;
    assert!(both.iter().all(Result::is_ok), "{both:?}");
    assert_eq!(until_exited(&engine, spec.id).await.code, Some(3));
    let ended = state(&engine, spec.id).await;
    engine.start(&spec).await.unwrap();
    assert_eq!(state(&engine, spec.id).await, ended, "what has ended is not started again");
    assert_eq!(engine.list().await.unwrap().len(), 1);
}

pub(crate) async fn a_stop_is_obeyed(fixture: &mut dyn Fixture) {
    let engine = fixture.engine();
    let id = run_up(&engine, &fixture.spec(&Program::Obeys)).await;
    engine.stop(id, grace(LONG)).await.unwrap();
    let exit = until_exited(&engine, id).await;
    assert_eq!((exit.code, exit.signal, exit.requested), (Some(0), None, true));
    assert!(!exit.out_of_memory);
    engine.stop(id, grace(0)).await.unwrap();
    assert_eq!(until_exited(&engine, id).await, exit, "stopping what has ended changes nothing");
}

pub(crate) async fn a_stop_that_is_ignored_ends_by_force(fixture: &mut dyn Fixture) {
    let engine = fixture.engine();
    let id = run_up(&engine, &fixture.spec(&Program::Ignores)).await;
    let before = Timestamp::now();
    engine.stop(id, grace(700)).await.unwrap();
    until(&engine, id, "stopping", |state| matches!(state, EngineState::Stopping { .. })).await;
    let exit = until_exited(&engine, id).await;
    assert_eq!((exit.code, exit.signal, exit.requested), (None, Some(9), true));
    assert!(exit.at.duration_since(before).as_millis() >= 700, "the grace is given: {exit:?}");
}

pub(crate) async fn stopping_again_shortens_the_grace_and_never_lengthens_it(
    fixture: &mut dyn Fixture,
) {
    let engine = fixture.engine();
    let id = run_up(&engine, &fixture.spec(&Program::Ignores)).await;
    engine.stop(id, grace(LONG)).await.unwrap();
    until(&engine, id, "stopping", |state| matches!(state, EngineState::Stopping { .. })).await;
    engine.stop(id, grace(300)).await.unwrap();
    engine.stop(id, grace(LONG)).await.unwrap();
    let exit = until_exited(&engine, id).await;
    assert_eq!((exit.signal, exit.requested), (Some(9), true));
}

pub(crate) async fn a_kill_ends_at_once(fixture: &mut dyn Fixture) {
    let engine = fixture.engine();
    for program in [Program::Obeys, Program::Ignores] {
        let id = run_up(&engine, &fixture.spec(&program)).await;
        engine.kill(id).await.unwrap();
        let exit = until_exited(&engine, id).await;
        assert_eq!((exit.signal, exit.requested), (Some(9), true), "{program:?}");
    }
}

pub(crate) async fn a_stop_right_after_a_start_is_not_lost(fixture: &mut dyn Fixture) {
    let engine = fixture.engine();
    for _ in 0..10 {
        let spec = fixture.spec(&Program::Obeys);
        engine.start(&spec).await.unwrap();
        engine.stop(spec.id, grace(LONG)).await.unwrap();
        let exit = until_exited(&engine, spec.id).await;
        assert!(exit.requested, "{exit:?}");
    }
}

pub(crate) async fn endings_are_kept_as_they_were(fixture: &mut dyn Fixture) {
    let engine = fixture.engine();
    let mut expected = Vec::new();
    for code in [0, 1, 3, 42, 126, 255] {
        let spec = fixture.spec(&Program::Exits(code));
        engine.start(&spec).await.unwrap();
        expected.push((spec.id, Some(code), None));
    }
    for signal in [2, 6, 9, 11, 15] {
        let spec = fixture.spec(&Program::DiesOf(signal));
        engine.start(&spec).await.unwrap();
        expected.push((spec.id, None, Some(signal)));
    }
    for (id, code, signal) in expected {
        let exit = until_exited(&engine, id).await;
        assert_eq!((exit.code, exit.signal), (code, signal), "{exit:?}");
        // However short it was, and whoever looked when.
        assert!(exit.began.is_some_and(|began| began <= exit.at), "{exit:?}");
        assert!(!exit.requested && !exit.out_of_memory, "{exit:?}");
    }
}

pub(crate) async fn a_crash_loop_leaves_every_ending(fixture: &mut dyn Fixture) {
    let engine = fixture.engine();
    let mut ids = Vec::new();
    for round in 0..10 {
        let spec = fixture.spec(&Program::Exits(round));
        engine.start(&spec).await.unwrap();
        assert_eq!(until_exited(&engine, spec.id).await.code, Some(round));
        ids.push(spec.id);
    }
    let listed: Vec<InstanceId> = engine.list().await.unwrap().iter().map(|one| one.id).collect();
    assert_eq!(listed, ids, "all are listed, in order of id");
}

pub(crate) async fn a_missing_command_is_named(fixture: &mut dyn Fixture) {
    let engine = fixture.engine();
    let spec = fixture.spec(&Program::Missing);
    engine.start(&spec).await.unwrap();
    let failed = |state: &EngineState| matches!(state, EngineState::StartFailed { .. });
    match until(&engine, spec.id, "failed", failed).await {
        EngineState::StartFailed { reason: StartFailure::CommandNotFound { detail } } => {
            assert!(detail.contains("no-such-command"), "{detail}");
        }
        other => panic!("{other:?}"),
    }
    engine.remove(spec.id).await.unwrap();
    assert_eq!(state(&engine, spec.id).await, EngineState::Gone);
}

pub(crate) async fn a_missing_blob_is_named(fixture: &mut dyn Fixture) {
    let engine = fixture.engine();
    let mut spec = fixture.spec(&Program::Obeys);
    let node = ManifestNode::File { sha256: Sha256::of(b"x"), bytes: 1, executable: false };
    let manifest = Manifest { entries: vec![ManifestEntry { path: "lost.txt".into(), node }] };
    let blobs = std::env::temp_dir().join("ark-no-such-directory");
    spec.artifact = ArtifactSource::Directory { manifest, blobs };
    engine.start(&spec).await.unwrap();
    let failed = |state: &EngineState| matches!(state, EngineState::StartFailed { .. });
    match until(&engine, spec.id, "failed", failed).await {
        EngineState::StartFailed { reason: StartFailure::ArtifactMissing { detail } } => {
            assert!(detail.contains("lost.txt"), "{detail}");
        }
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn a_taken_port_is_named(fixture: &mut dyn Fixture) {
    let engine = fixture.engine();
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = stranger.local_addr().unwrap();
    let mut spec = fixture.spec(&Program::Obeys);
    spec.ports = vec![PortBinding { expose: "default".into(), address }];
    engine.start(&spec).await.unwrap();
    let failed = |state: &EngineState| matches!(state, EngineState::StartFailed { .. });
    match until(&engine, spec.id, "failed", failed).await {
        EngineState::StartFailed { reason: StartFailure::PortTaken { port } } => {
            assert_eq!(port, address.port());
        }
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn what_can_never_run_is_refused_at_once(fixture: &mut dyn Fixture) {
    let engine = fixture.engine();
    let mut no_command = fixture.spec(&Program::Obeys);
    no_command.command.clear();
    let mut climbs = fixture.spec(&Program::Obeys);
    let node = ManifestNode::Directory;
    let entries = vec![ManifestEntry { path: "../out".into(), node }];
    let manifest = Manifest { entries };
    climbs.artifact = ArtifactSource::Directory { manifest, blobs: "/".into() };
    for spec in [no_command, climbs] {
        let error = engine.start(&spec).await.unwrap_err();
        assert!(matches!(error, EngineError::Refused { .. }), "{error:?}");
        assert_eq!(state(&engine, spec.id).await, EngineState::Gone);
    }
}

pub(crate) async fn only_what_has_ended_is_removed(fixture: &mut dyn Fixture) {
    let engine = fixture.engine();
    let program = Program::Prints(vec!["words".to_owned()]);
    let spec = fixture.spec(&program);
    let id = run_up(&engine, &spec).await;
    let error = engine.remove(id).await.unwrap_err();
    assert!(matches!(error, EngineError::StillThere(of) if of == id), "{error:?}");
    engine.kill(id).await.unwrap();
    until_exited(&engine, id).await;
    engine.remove(id).await.unwrap();
    assert_eq!(state(&engine, id).await, EngineState::Gone);
    engine.remove(id).await.unwrap();
    let lines = log(&engine, id, LogQuery::default()).await;
    assert!(lines.iter().any(|line| line.text == "words"), "the log is kept: {lines:?}");
    engine.start(&spec).await.unwrap();
    assert_eq!(state(&engine, id).await, EngineState::Gone, "a late start starts nothing");
}

pub(crate) async fn the_unknown_is_said_to_be_unknown(fixture: &mut dyn Fixture) {
    let engine = fixture.engine();
    let id = InstanceId(uuid::Uuid::now_v7());
    engine.stop(id, grace(0)).await.unwrap();
    engine.remove(id).await.unwrap();
    let exec = ExecSpec { command: vec!["true".to_owned()], tty: false };
    let unknown = |error: &EngineError| matches!(error, EngineError::Unknown(of) if *of == id);
    assert!(unknown(&engine.stats(id).await.unwrap_err()));
    assert!(unknown(&engine.exec(id, &exec).await.unwrap_err()));
    assert!(unknown(&engine.logs(id, LogQuery::default()).await.err().unwrap()));
}

pub(crate) async fn what_has_ended_has_no_stats_and_no_exec(fixture: &mut dyn Fixture) {
    let engine = fixture.engine();
    let spec = fixture.spec(&Program::Exits(0));
    engine.start(&spec).await.unwrap();
    until_exited(&engine, spec.id).await;
    let exec = ExecSpec { command: vec!["true".to_owned()], tty: false };
    let error = engine.exec(spec.id, &exec).await.unwrap_err();
    assert!(matches!(error, EngineError::NotRunning(_)), "{error:?}");
    let error = engine.stats(spec.id).await.unwrap_err();
    assert!(matches!(error, EngineError::NotRunning(_)), "{error:?}");
}

pub(crate) async fn a_new_engine_object_adopts_everything(fixture: &mut dyn Fixture) {
    let engine = fixture.engine();
    let stays = run_up(&engine, &fixture.spec(&Program::Obeys)).await;
    let ignores = run_up(&engine, &fixture.spec(&Program::Ignores)).await;
    let ended = fixture.spec(&Program::Exits(5));
    engine.start(&ended).await.unwrap();
    until_exited(&engine, ended.id).await;
    engine.stop(ignores, grace(LONG)).await.unwrap();
    until(&engine, ignores, "stopping", |s| matches!(s, EngineState::Stopping { .. })).await;
    let before = engine.list().await.unwrap();
    drop(engine);
    fixture.restart();

    let engine = fixture.engine();
    assert_eq!(engine.list().await.unwrap(), before, "same instances, processes and times");
    engine.stop(stays, grace(LONG)).await.unwrap();
    assert_eq!(until_exited(&engine, stays).await.code, Some(0));
    engine.kill(ignores).await.unwrap();
    assert_eq!(until_exited(&engine, ignores).await.signal, Some(9));
}

pub(crate) async fn what_ends_while_no_engine_looks_is_known_later(fixture: &mut dyn Fixture) {
    let engine = fixture.engine();
    let spec = fixture.spec(&Program::Exits(9));
    engine.start(&spec).await.unwrap();
    drop(engine);
    fixture.restart();
    assert_eq!(until_exited(&fixture.engine(), spec.id).await.code, Some(9));
}

pub(crate) async fn changes_wake_a_waiter(fixture: &mut dyn Fixture) {
    let engine = fixture.engine();
    let mut changes = engine.changes();
    changes.mark_unchanged();
    let spec = fixture.spec(&Program::Obeys);
    engine.start(&spec).await.unwrap();
    tokio::time::timeout(super::DEADLINE, changes.changed()).await.unwrap().unwrap();
    until_running(&engine, spec.id).await;
    engine.kill(spec.id).await.unwrap();
    until_exited(&engine, spec.id).await;
}

pub(crate) async fn an_exec_passes_its_code_on(fixture: &mut dyn Fixture) {
    let engine = fixture.engine();
    let id = run_up(&engine, &fixture.spec(&Program::Obeys)).await;
    let command = ["sh", "-c", "exit 7"].map(str::to_owned).to_vec();
    let session = engine.exec(id, &ExecSpec { command, tty: false }).await.unwrap();
    let code = tokio::time::timeout(super::DEADLINE, session.exit).await.unwrap().unwrap();
    assert_eq!(code, 7);
    engine.kill(id).await.unwrap();
    until_exited(&engine, id).await;
}

pub(crate) async fn two_hundred_instances_at_once(fixture: &mut dyn Fixture) {
    const COUNT: usize = 200;
    let engine = fixture.engine();
    let specs: Vec<_> = (0..COUNT).map(|_| fixture.spec(&Program::Obeys)).collect();
    let started = futures::future::join_all(specs.iter().map(|spec| engine.start(spec))).await;
    assert!(started.iter().all(Result::is_ok), "{started:?}");
    for spec in &specs {
        until_running(&engine, spec.id).await;
        until_logged(&engine, spec.id, "up").await;
    }
    let listed = engine.list().await.unwrap();
    assert_eq!(listed.len(), COUNT);
    let distinct: HashSet<_> = listed
        .iter()
        .filter_map(|one| match &one.state {
            EngineState::Running { process, .. } => process.as_ref(),
            _ => None,
        })
        .collect();
    assert!(distinct.is_empty() || distinct.len() == COUNT, "each has its own process");
    let stops = specs.iter().map(|spec| engine.stop(spec.id, grace(LONG)));
    futures::future::join_all(stops).await;
    for spec in &specs {
        let exit = until_exited(&engine, spec.id).await;
        assert_eq!((exit.code, exit.requested), (Some(0), true));
    }
}
