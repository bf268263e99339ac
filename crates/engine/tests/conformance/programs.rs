//! What an instance finds and what becomes of what it starts, for engines that run real programs.
//! The programs are shell scripts that need nothing but sh and coreutils.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ark_engine::{
    Engine, EngineError, ExecSession, ExecSpec, INSTANCE_ID_VARIABLE, LogQuery, LogSource,
    StopOptions,
};
use ark_model::ids::InstanceId;
use ark_model::instance::Exit;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::lacking::{Lack, skip};
use super::{Blobs, DEADLINE, Fixture, Program, log, run, until_exited, until_logged};

fn shell(script: &str) -> Program {
    Program::Shell(script.to_owned())
}

/// Runs a program to its end; its ending and what it wrote to standard output.
async fn output(engine: &Arc<dyn Engine>, spec: &ark_engine::StartSpec) -> (Exit, Vec<String>) {
    engine.start(spec).await.unwrap();
    let exit = until_exited(engine, spec.id).await;
    let lines = log(engine, spec.id, LogQuery::default()).await;
    let lines = lines.into_iter().filter(|line| line.stream == LogSource::Stdout);
    (exit, lines.map(|line| line.text).collect())
}

async fn stop(engine: &Arc<dyn Engine>, id: InstanceId) -> Exit {
    engine.stop(id, StopOptions { grace: DEADLINE, ..StopOptions::default() }).await.unwrap();
    until_exited(engine, id).await
}

pub(crate) async fn the_environment_is_exactly_as_declared(fixture: &mut dyn Fixture) {
    let engine = fixture.engine();
    let mut spec = fixture.spec(&shell(""));
    spec.command = vec!["/usr/bin/env".to_owned(), "-0".to_owned()];
    for (name, value) in [("PLAIN", "1"), ("EMPTY", ""), ("ODD", "a=b \"c\" $d\n\u{e9}")] {
        spec.variables.push((name.to_owned(), value.to_owned()));
    }
    let (exit, lines) = output(&engine, &spec).await;
    assert_eq!(exit.code, Some(0));
    let text = lines.join("\n");
    let mut found: Vec<&str> = text.split_terminator('\0').collect();
    let mut expected: Vec<String> =
        spec.variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
    expected.push(format!("{INSTANCE_ID_VARIABLE}={}", spec.id));
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);
}

pub(crate) async fn arguments_pass_untouched(fixture: &mut dyn Fixture) {
    let engine = fixture.engine();
    let mut spec = fixture.spec(&shell(""));
    spec.command = ["printf", "[%s]\\n", "a b", "", "$HOME", "*", "'\""].map(str::to_owned).into();
    let (_, lines) = output(&engine, &spec).await;
    assert_eq!(lines, ["[a b]", "[]", "[$HOME]", "[*]", "['\"]"]);
}

pub(crate) async fn nothing_is_inherited(fixture: &mut dyn Fixture) {
    let engine = fixture.engine();
    // A descriptor of ours that is not closed on exec, and blocked signals, must not arrive.
    let leaked = nix::unistd::dup(std::io::stderr()).unwrap();
    let script = "ls /proc/self/fd | tr '\\n' ' '; echo; cat; umask; \
                  while read name value; do case $name in SigBlk:|SigIgn:) echo $value;; esac; \
                  done < /proc/self/status; set -- $(cat /proc/$$/stat); [ $5 = $$ ] && \
                  [ $6 = $$ ] && echo leads";
    let (exit, lines) = output(&engine, &fixture.spec(&shell(script))).await;
    drop(leaked);
    assert_eq!(exit.code, Some(0), "{lines:?}");
    // 3 is the directory that `ls` reads; `cat` found an empty standard input.
    let (masks, rest): (Vec<_>, Vec<_>) = lines.iter().partition(|line| line.len() == 16);
    assert_eq!(rest, ["0 1 2 3 ", "0022", "leads"]);
    // Bits 31 and 32 are signals of the C library's own; its `posix_spawn` ignores them.
    let is_ignored = |mask: &&&String| u64::from_str_radix(mask, 16).unwrap() & !(3 << 31) != 0;
    assert_eq!((masks.len(), masks.iter().find(is_ignored)), (2, None), "{masks:?}");
}

pub(crate) async fn each_instance_has_its_own_copy_of_the_files(fixture: &mut dyn Fixture) {
    let engine = fixture.engine();
    let place = tempfile::tempdir().unwrap();
    let blobs = Blobs::new(&place.path().join("blobs"))
        .file("data/words.txt", b"original", false)
        .file("run.sh", b"#!/bin/sh\ncat data/words.txt; echo\n", true)
        .file("empty", b"", false)
        .symlink("link", "data/words.txt");
    let change = "./run.sh; printf changed > link; rm run.sh; mkdir new; ./run.sh; \
                  cat data/words.txt; echo; [ -x data/words.txt ] || echo plain; ls | tr '\\n' ' '";
    for round in 0..2 {
        let mut spec = fixture.spec(&shell(change));
        spec.artifact = blobs.source();
        let (_, lines) = output(&engine, &spec).await;
        let expected = ["original", "changed", "plain", "data empty link new "];
        assert_eq!(lines, expected, "round {round}");
    }
}

pub(crate) async fn the_source_may_vanish_once_it_runs(fixture: &mut dyn Fixture) {
    let engine = fixture.engine();
    let place = tempfile::tempdir().unwrap();
    let blobs = Blobs::new(&place.path().join("blobs")).file("words.txt", b"kept\n", false);
    let script = "trap 'cat words.txt; exit 0' TERM; echo up; sleep 1000 & wait";
    let mut spec = fixture.spec(&shell(script));
    spec.artifact = blobs.source();
    let id = run(&engine, &spec).await;
    until_logged(&engine, id, "up").await;
    drop(place);
    assert_eq!(stop(&engine, id).await.code, Some(0));
    let lines = log(&engine, id, LogQuery::default()).await;
    assert!(lines.iter().any(|line| line.text == "kept"), "{lines:?}");
}

/// Detaches a child from the process group, the session and its parent, as daemons do.
const ESCAPE: &str = "(setsid sh -c 'trap \"\" TERM HUP; echo $$ away; while :; do sleep 0.1; \
                      done' &) ; sleep 0.3; ";

async fn escaped_pid(engine: &Arc<dyn Engine>, id: InstanceId) -> i32 {
    let begun = Instant::now();
    loop {
        let lines = log(engine, id, LogQuery::default()).await;
        if let Some(pid) = lines.iter().find_map(|line| line.text.strip_suffix(" away")) {
            return pid.parse().unwrap();
        }
        assert!(begun.elapsed() < DEADLINE, "{lines:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Whether a process of this host, as an engine on this host numbers it, is alive.
pub(crate) fn is_alive(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or("").trim_start().starts_with('Z'))
}

pub(crate) async fn a_child_that_got_away_ends_with_its_instance(fixture: &mut dyn Fixture) {
    let engine = fixture.engine();
    for (name, ending) in [
        ("exits", "exit 4"),
        ("crashes", "kill -SEGV $$"),
        ("is stopped", "trap 'exit 0' TERM; echo up; sleep 1000 & wait"),
    ] {
        let spec = fixture.spec(&shell(&format!("{ESCAPE}{ending}")));
        engine.start(&spec).await.unwrap();
        let pid = escaped_pid(&engine, spec.id).await;
        if name == "is stopped" {
            until_logged(&engine, spec.id, "up").await;
            stop(&engine, spec.id).await;
        } else {
            until_exited(&engine, spec.id).await;
        }
        assert!(!is_alive(pid), "main process {name}: {pid} is alive after `Exited`");
    }
}

pub(crate) async fn a_kill_reaches_everything(fixture: &mut dyn Fixture) {
    let engine = fixture.engine();
    let spec = fixture.spec(&shell(&format!("{ESCAPE} while :; do sleep 1; done")));
    engine.start(&spec).await.unwrap();
    let pid = escaped_pid(&engine, spec.id).await;
    engine.kill(spec.id).await.unwrap();
    until_exited(&engine, spec.id).await;
    assert!(!is_alive(pid));
}

pub(crate) async fn the_stop_signal_reaches_the_group(fixture: &mut dyn Fixture) {
    let engine = fixture.engine();
    let script = "trap 'wait; echo parent; exit 0' USR1; sh -c 'trap \"echo child; exit 0\" USR1; \
                  echo ready; while :; do sleep 0.1; done' & wait";
    let id = run(&engine, &fixture.spec(&shell(script))).await;
    until_logged(&engine, id, "ready").await;
    let signal = ark_model::definition::StopSignal::Usr1;
    engine.stop(id, StopOptions { signal, grace: DEADLINE }).await.unwrap();
    assert_eq!(until_exited(&engine, id).await.code, Some(0));
    let lines = log(&engine, id, LogQuery::default()).await;
    for expected in ["child", "parent"] {
        assert!(lines.iter().any(|line| line.text == expected), "{expected}: {lines:?}");
    }
}

pub(crate) async fn too_much_memory_is_seen_as_such(fixture: &mut dyn Fixture) {
    let engine = fixture.engine();
    if !engine.capabilities().memory_limit.is_enforced() {
        return skip(
            "too_much_memory_is_seen_as_such",
            Lack::Limits,
            "memory limits are not enforced here",
        );
    }
    for script in ["exec tail /dev/zero", "tail /dev/zero; exit $?"] {
        let mut spec = fixture.spec(&shell(script));
        spec.memory_bytes = Some(48 << 20);
        engine.start(&spec).await.unwrap();
        let exit = until_exited(&engine, spec.id).await;
        assert!(exit.out_of_memory && !exit.requested, "{script}: {exit:?}");
        assert_eq!(exit.words(), "out of memory");
    }
    // A kill by somebody else within a limit is not for memory.
    let mut spec = fixture.spec(&Program::DiesOf(9));
    spec.memory_bytes = Some(48 << 20);
    engine.start(&spec).await.unwrap();
    assert!(!until_exited(&engine, spec.id).await.out_of_memory);
}

pub(crate) async fn too_many_processes_are_refused(fixture: &mut dyn Fixture) {
    let engine = fixture.engine();
    if !engine.capabilities().pids_limit.is_enforced() {
        return skip(
            "too_many_processes_are_refused",
            Lack::Limits,
            "process limits are not enforced here",
        );
    }
    let script = "i=0; while [ $i -lt 40 ]; do sleep 100 & i=$((i+1)); echo $i; done; echo all";
    let mut spec = fixture.spec(&shell(script));
    spec.pids_max = Some(10);
    let (exit, lines) = output(&engine, &spec).await;
    assert_ne!(exit.code, Some(0));
    assert!(lines.len() < 10 && !lines.contains(&"all".to_owned()), "{lines:?}");
}

pub(crate) async fn too_much_processor_time_is_held_back(fixture: &mut dyn Fixture) {
    let engine = fixture.engine();
    if !engine.capabilities().cpu_limit.is_enforced() {
        return skip(
            "too_much_processor_time_is_held_back",
            Lack::Limits,
            "cpu limits are not enforced here",
        );
    }
    let mut spec = fixture.spec(&shell("while :; do :; done"));
    spec.cpu_cores = Some(0.1);
    let begun = Instant::now();
    let id = run(&engine, &spec).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let used = engine.stats(id).await.unwrap().cpu_time;
    // A tenth of the time, a period's quota more at the most; without the limit it is all of it.
    assert!(used < begun.elapsed().mul_f64(0.6), "{used:?}");
    engine.kill(id).await.unwrap();
    until_exited(&engine, id).await;
}

pub(crate) async fn more_cores_than_there_are_is_no_limit(fixture: &mut dyn Fixture) {
    let engine = fixture.engine();
    let mut spec = fixture.spec(&shell("echo ran"));
    spec.cpu_cores = Some(1_000.0);
    assert_eq!(output(&engine, &spec).await.1, ["ran"]);
}

pub(crate) async fn limits_that_are_not_enforced_stop_nothing(fixture: &mut dyn Fixture) {
    let engine = fixture.engine();
    let capabilities = engine.capabilities();
    assert!(!capabilities.memory_limit.is_enforced() && !capabilities.pids_limit.is_enforced());
    let mut spec = fixture.spec(&shell("sleep 0.1 & sleep 0.1 & wait; echo all"));
    (spec.memory_bytes, spec.cpu_cores, spec.pids_max) = (Some(1), Some(0.001), Some(1));
    assert_eq!(output(&engine, &spec).await.1, ["all"]);
}

pub(crate) async fn stats_count_what_runs(fixture: &mut dyn Fixture) {
    let engine = fixture.engine();
    let script = "sleep 1000 & i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo done; wait";
    let id = run(&engine, &fixture.spec(&shell(script))).await;
    until_logged(&engine, id, "done").await;
    let stats = engine.stats(id).await.unwrap();
    assert_eq!(stats.processes, 2);
    assert!(stats.rss_bytes > 100_000 && stats.rss_bytes < 1 << 30, "{stats:?}");
    assert!(stats.cpu_time > Duration::from_millis(10), "{stats:?}");
    engine.kill(id).await.unwrap();
    until_exited(&engine, id).await;
}

async fn finish(mut session: ExecSession) -> (i32, String, String) {
    drop(session.stdin.take());
    let (mut out, mut err) = (String::new(), String::new());
    let (mut stdout, mut stderr) = (session.stdout.take().unwrap(), session.stderr.take().unwrap());
    let (read_out, read_err) =
        tokio::join!(stdout.read_to_string(&mut out), stderr.read_to_string(&mut err));
    read_out.unwrap();
    read_err.unwrap();
    let code = tokio::time::timeout(DEADLINE, session.exit).await.unwrap().unwrap();
    (code, out, err)
}

fn sh(script: &str) -> ExecSpec {
    ExecSpec { command: ["sh", "-c", script].map(str::to_owned).to_vec(), tty: false }
}

pub(crate) async fn an_exec_is_in_the_same_place_as_its_instance(fixture: &mut dyn Fixture) {
    let engine = fixture.engine();
    let facts = "pwd; id; echo $WORD; ls";
    let script = format!("touch here; {facts}; echo up; while :; do sleep 1; done");
    let mut spec = fixture.spec(&shell(&script));
    spec.variables.push(("WORD".to_owned(), "hush".to_owned()));
    let id = run(&engine, &spec).await;
    until_logged(&engine, id, "up").await;
    let lines = log(&engine, id, LogQuery::default()).await;
    let mut expected: Vec<String> = lines
        .into_iter()
        .filter(|line| line.stream == LogSource::Stdout)
        .map(|line| line.text)
        .collect();
    assert_eq!(expected.pop().as_deref(), Some("up"));
    let (code, out, _) = finish(engine.exec(id, &sh(facts)).await.unwrap()).await;
    assert_eq!((code, out.lines().map(str::to_owned).collect()), (0, expected));

    let mut session = engine.exec(id, &sh("cat; echo oops >&2; kill -9 $$")).await.unwrap();
    session.stdin.as_mut().unwrap().write_all(b"through").await.unwrap();
    assert_eq!(finish(session).await, (137, "through".to_owned(), "oops\n".to_owned()));

    let missing = ExecSpec { command: vec!["no-such-command".to_owned()], tty: false };
    let error = engine.exec(id, &missing).await.unwrap_err();
    assert!(matches!(error, EngineError::ExecFailed { .. }), "{error:?}");
    engine.kill(id).await.unwrap();
    until_exited(&engine, id).await;
}

pub(crate) async fn an_exec_ends_with_its_instance_and_its_session(fixture: &mut dyn Fixture) {
    let engine = fixture.engine();
    let id = run(&engine, &fixture.spec(&Program::Obeys)).await;
    let script = "echo $$; while :; do sleep 0.1; done";
    let begin = async || {
        let mut session = engine.exec(id, &sh(script)).await.unwrap();
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            line.push(session.stdout.as_mut().unwrap().read_u8().await.unwrap());
        }
        let pid: i32 = String::from_utf8(line).unwrap().trim().parse().unwrap();
        (session, pid)
    };
    let (dropped, dropped_pid) = begin().await;
    let (kept, kept_pid) = begin().await;
    drop(dropped);
    let begun = Instant::now();
    while is_alive(dropped_pid) {
        assert!(begun.elapsed() < DEADLINE, "a dropped session's command lives on");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(is_alive(kept_pid));
    stop(&engine, id).await;
    assert_eq!(finish(kept).await.0, 137);
    assert!(!is_alive(kept_pid));
}
