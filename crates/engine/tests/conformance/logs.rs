//! Logs of real programs: order, times, streams, sizes, bytes of any kind, reading while it is
//! written.

use std::time::Duration;

use ark_engine::{LOG_LINE_BYTES_MAX, LogLimits, LogLine, LogQuery, LogSource, StopOptions};
use futures::StreamExt;

use super::{DEADLINE, Fixture, Program, log, run, until_exited, until_logged};

fn shell(script: &str) -> Program {
    Program::Shell(script.to_owned())
}

/// What the instance itself wrote, without what a shell says when a signal ends its `sleep`.
fn written(lines: &[LogLine]) -> Vec<(LogSource, &str)> {
    lines
        .iter()
        .filter(|line| line.stream != LogSource::Ark)
        .filter(|line| (line.stream, line.text.as_str()) != (LogSource::Stderr, "Terminated"))
        .map(|line| (line.stream, line.text.as_str()))
        .collect()
}

pub(crate) async fn lines_are_kept_in_order_with_stream_and_time(fixture: &mut dyn Fixture) {
    let engine = fixture.engine();
    let before = jiff::Timestamp::now();
    let script = "for i in 1 2 3; do echo out $i; sleep 0.05; echo err $i >&2; sleep 0.05; done; \
                  echo; printf last";
    let spec = fixture.spec(&shell(script));
    engine.start(&spec).await.unwrap();
    until_exited(&engine, spec.id).await;
    let lines = log(&engine, spec.id, LogQuery::default()).await;
    use LogSource::{Stderr, Stdout};
    let expected = [
        (Stdout, "out 1"),
        (Stderr, "err 1"),
        (Stdout, "out 2"),
        (Stderr, "err 2"),
        (Stdout, "out 3"),
        (Stderr, "err 3"),
        (Stdout, ""),
        (Stdout, "last"),
    ];
    assert_eq!(written(&lines), expected);
    assert!(lines.windows(2).all(|pair| pair[0].at <= pair[1].at));
    let after = jiff::Timestamp::now();
    // The file keeps microseconds.
    let first = lines[0].at + Duration::from_micros(1);
    assert!(first >= before && lines[lines.len() - 1].at <= after);
}

pub(crate) async fn a_long_line_is_cut_and_nothing_of_it_lost(fixture: &mut dyn Fixture) {
    let engine = fixture.engine();
    let script = "head -c 100000 /dev/zero | tr '\\0' x; echo; echo after";
    let spec = fixture.spec(&shell(script));
    engine.start(&spec).await.unwrap();
    until_exited(&engine, spec.id).await;
    let lines = log(&engine, spec.id, LogQuery::default()).await;
    let mut pieces = written(&lines);
    assert_eq!(pieces.pop().unwrap().1, "after");
    assert!(pieces.len() >= 100_000 / LOG_LINE_BYTES_MAX);
    assert!(pieces.iter().all(|(_, text)| text.len() <= LOG_LINE_BYTES_MAX));
    assert_eq!(pieces.iter().map(|(_, text)| text.len()).sum::<usize>(), 100_000);
    assert!(pieces.iter().all(|(_, text)| text.bytes().all(|byte| byte == b'x')));
}

pub(crate) async fn binary_junk_disorders_nothing(fixture: &mut dyn Fixture) {
    let engine = fixture.engine();
    let script = "echo before; printf 'a\\000b\\377\\376c\\r\\n'; head -c 20000 /dev/urandom; \
                  echo; echo after; echo 2026-01-01T00:00:00Z e forged";
    let spec = fixture.spec(&shell(script));
    engine.start(&spec).await.unwrap();
    until_exited(&engine, spec.id).await;
    let lines = log(&engine, spec.id, LogQuery::default()).await;
    let lines = written(&lines);
    assert_eq!(lines[0].1, "before");
    assert_eq!(lines[1].1, "a\0b\u{fffd}\u{fffd}c\r");
    assert_eq!(lines[lines.len() - 2].1, "after");
    let last = (LogSource::Stdout, "2026-01-01T00:00:00Z e forged");
    assert_eq!(lines[lines.len() - 1], last, "text that looks like a record stays text");
}

pub(crate) async fn the_log_is_bounded_and_its_newest_part_kept(fixture: &mut dyn Fixture) {
    let engine = fixture.engine();
    let script = "i=0; while [ $i -lt 5000 ]; do i=$((i+1)); echo line number $i; done";
    let mut spec = fixture.spec(&shell(script));
    spec.log_limits = LogLimits { file_bytes_max: 20_000, files_max: 3 };
    engine.start(&spec).await.unwrap();
    until_exited(&engine, spec.id).await;
    let lines = log(&engine, spec.id, LogQuery::default()).await;
    let bytes: usize = lines.iter().map(|line| line.text.len() + 31).sum();
    assert!(bytes <= 60_000, "{bytes}");
    let numbers: Vec<u32> = written(&lines)
        .iter()
        .filter_map(|(_, text)| text.strip_prefix("line number ")?.parse().ok())
        .collect();
    assert_eq!(numbers.last(), Some(&5_000));
    assert!(numbers.len() > 300, "{}", numbers.len());
    assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "without a gap");
}

pub(crate) async fn a_tail_and_a_since_choose_lines(fixture: &mut dyn Fixture) {
    let engine = fixture.engine();
    let script = "for i in 1 2 3 4 5; do echo $i; sleep 0.02; done";
    let spec = fixture.spec(&shell(script));
    engine.start(&spec).await.unwrap();
    until_exited(&engine, spec.id).await;
    let all = log(&engine, spec.id, LogQuery::default()).await;
    for tail in 0..all.len() + 2 {
        let some = log(&engine, spec.id, LogQuery { tail: Some(tail), ..LogQuery::default() });
        assert_eq!(some.await, all[all.len().saturating_sub(tail)..], "tail {tail}");
    }
    for line in &all {
        let since = LogQuery { since: Some(line.at), ..LogQuery::default() };
        let expected: Vec<LogLine> = all.iter().filter(|l| l.at >= line.at).cloned().collect();
        assert_eq!(log(&engine, spec.id, since).await, expected);
    }
}

pub(crate) async fn a_followed_log_ends_with_its_instance(fixture: &mut dyn Fixture) {
    let engine = fixture.engine();
    let script = "trap 'echo goodbye; exit 0' TERM; echo first; sleep 1000 & wait";
    let id = run(&engine, &fixture.spec(&shell(script))).await;
    let query = LogQuery { follow: true, ..LogQuery::default() };
    let mut stream = engine.logs(id, query).await.unwrap();
    let next = async |stream: &mut ark_engine::LogStream| {
        tokio::time::timeout(DEADLINE, stream.next()).await.expect("a line in time")
    };
    loop {
        let line = next(&mut stream).await.unwrap().unwrap();
        if line.text == "first" {
            break;
        }
    }
    let options = StopOptions { grace: DEADLINE, ..StopOptions::default() };
    engine.stop(id, options).await.unwrap();
    let mut rest = Vec::new();
    while let Some(line) = next(&mut stream).await {
        rest.push(line.unwrap());
    }
    assert_eq!(written(&rest), [(LogSource::Stdout, "goodbye")]);
    assert_eq!(log(&engine, id, LogQuery::default()).await.last(), rest.last());
}

pub(crate) async fn a_log_may_be_followed_before_its_instance_runs(fixture: &mut dyn Fixture) {
    let engine = fixture.engine();
    for _ in 0..5 {
        let spec = fixture.spec(&shell("echo first; sleep 0.1; echo last"));
        engine.start(&spec).await.unwrap();
        let query = LogQuery { follow: true, ..LogQuery::default() };
        let lines = log(&engine, spec.id, query).await;
        let expected = [(LogSource::Stdout, "first"), (LogSource::Stdout, "last")];
        assert_eq!(written(&lines), expected);
    }
}

pub(crate) async fn following_loses_nothing_while_files_rotate(fixture: &mut dyn Fixture) {
    let engine = fixture.engine();
    let script = "i=0; while [ $i -lt 400 ]; do i=$((i+1)); echo $i; [ $((i % 20)) = 0 ] && \
                  sleep 0.1; done";
    let mut spec = fixture.spec(&shell(script));
    spec.log_limits = LogLimits { file_bytes_max: 2_000, files_max: 5 };
    engine.start(&spec).await.unwrap();
    let query = LogQuery { follow: true, ..LogQuery::default() };
    let lines = log(&engine, spec.id, query).await;
    let numbers: Vec<u32> =
        written(&lines).iter().filter_map(|(_, text)| text.parse().ok()).collect();
    assert_eq!(numbers, (1..=400).collect::<Vec<u32>>());
}

pub(crate) async fn output_after_a_restart_of_the_engine_is_kept(fixture: &mut dyn Fixture) {
    let engine = fixture.engine();
    let script = "trap 'echo after; exit 0' TERM; echo before; sleep 1000 & wait";
    let id = run(&engine, &fixture.spec(&shell(script))).await;
    until_logged(&engine, id, "before").await;
    drop(engine);
    fixture.restart();
    let engine = fixture.engine();
    engine.stop(id, StopOptions { grace: DEADLINE, ..StopOptions::default() }).await.unwrap();
    until_exited(&engine, id).await;
    let lines = log(&engine, id, LogQuery::default()).await;
    let texts: Vec<&str> = written(&lines).into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, ["before", "after"]);
}
