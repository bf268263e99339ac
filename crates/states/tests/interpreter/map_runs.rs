//! Map Runs: concurrency, tolerances, updates, redrive.

use ark_states::Failure;
use ark_states::definition::ScopeId;
use ark_states::machine::{
    ChildStatus, MapItems, MapRunEffect, MapRunEvent, MapRunId, MapRunRequest, MapRunState,
    MapRunStatus,
};

fn run(max_concurrency: u32, count: u64, percentage: f64) -> MapRunState {
    MapRunState::new(&MapRunRequest {
        map_run: MapRunId(1),
        arn: "arn".into(),
        state: "M".into(),
        processor: ScopeId(1),
        express: false,
        max_concurrency,
        tolerated_failure_count: count,
        tolerated_failure_percentage: percentage,
        batched: false,
        items: MapItems::Inputs(Vec::new()),
        writer: None,
    })
}

fn ready(children: u64) -> MapRunEvent {
    MapRunEvent::ItemsReady { children, items: children, last: true }
}

fn ended(status: ChildStatus) -> MapRunEvent {
    MapRunEvent::ChildEnded { status, items: 1 }
}

fn redrive(unfinished: u64) -> MapRunEvent {
    MapRunEvent::Redrive { unfinished, unfinished_items: unfinished }
}

fn threshold() -> Failure {
    Failure::new(
        "States.ExceedToleratedFailureThreshold",
        "The specified tolerated failure threshold was exceeded",
    )
}

#[test]
fn no_item_is_done_at_once() {
    assert_eq!(run(0, 0, 0.0).next(ready(0)), [MapRunEffect::Complete]);
}

#[test]
fn never_more_children_than_allowed() {
    let mut map_run = run(2, 0, 0.0);
    assert_eq!(map_run.next(ready(3)), [MapRunEffect::StartChildren(2)]);
    assert_eq!(map_run.next(ended(ChildStatus::Succeeded)), [MapRunEffect::StartChildren(1)]);
    assert_eq!(map_run.next(ended(ChildStatus::Succeeded)), []);
    assert_eq!(map_run.next(ended(ChildStatus::Succeeded)), [MapRunEffect::Complete]);
    assert_eq!(map_run.counts().succeeded, 3);
}

#[test]
fn beyond_the_tolerance_nothing_more_is_started() {
    let failed = || ended(ChildStatus::Failed);
    // (count, percentage, failures that are tolerated of four)
    for (count, percentage, tolerated) in [
        (0, 0.0, 0),
        (1, 0.0, 1),
        (0, 25.0, 1),
        (0, 49.9, 1),
        (0, 50.0, 2),
        (2, 25.0, 1),
        (1, 100.0, 1),
    ] {
        let mut map_run = run(1, count, percentage);
        map_run.next(ready(4));
        for _ in 0..tolerated {
            assert_eq!(
                map_run.next(failed()),
                [MapRunEffect::StartChildren(1)],
                "{count} {percentage}"
            );
        }
        assert_eq!(
            map_run.next(failed()),
            [MapRunEffect::AbortChildren, MapRunEffect::Fail(threshold())],
            "{count} {percentage}"
        );
        assert_eq!(map_run.next(failed()), [], "late ends change nothing");
        let counts = map_run.counts();
        assert_eq!(counts.failed + counts.pending, counts.total, "what was never begun is pending");
    }
}

#[test]
fn an_update_takes_hold_while_running() {
    let mut map_run = run(1, 0, 0.0);
    map_run.next(ready(10));
    let update = MapRunEvent::Update {
        max_concurrency: Some(4),
        tolerated_failure_count: Some(5),
        tolerated_failure_percentage: None,
    };
    assert_eq!(map_run.next(update), [MapRunEffect::StartChildren(3)]);
    assert_eq!(map_run.next(ended(ChildStatus::TimedOut)), [MapRunEffect::StartChildren(1)]);
}

#[test]
fn a_redrive_starts_what_did_not_succeed() {
    let mut map_run = run(0, 0, 0.0);
    map_run.next(ready(3));
    map_run.next(ended(ChildStatus::Succeeded));
    map_run.next(ended(ChildStatus::Failed));
    assert_eq!(map_run.status(), MapRunStatus::Failed);
    assert_eq!(
        map_run.next(redrive(2)),
        [MapRunEffect::ResetChildren, MapRunEffect::StartChildren(2)]
    );
    map_run.next(ended(ChildStatus::Succeeded));
    assert_eq!(map_run.next(ended(ChildStatus::Succeeded)), [MapRunEffect::Complete]);
    assert_eq!((map_run.redrive_count(), map_run.counts().succeeded), (1, 3));
}

#[test]
fn a_child_can_succeed_before_its_abort() {
    let mut map_run = run(0, 0, 0.0);
    map_run.next(ready(3));
    map_run.next(ended(ChildStatus::Failed));
    assert_eq!(map_run.counts().aborted, 2);
    assert_eq!(map_run.next(ended(ChildStatus::Succeeded)), []);
    let counts = map_run.counts();
    assert_eq!((counts.failed, counts.aborted, counts.succeeded), (1, 1, 1));
    assert_eq!(
        map_run.next(redrive(2)),
        [MapRunEffect::ResetChildren, MapRunEffect::StartChildren(2)]
    );
    map_run.next(ended(ChildStatus::Succeeded));
    assert_eq!(map_run.next(ended(ChildStatus::Succeeded)), [MapRunEffect::Complete]);
    assert_eq!(map_run.counts().succeeded, map_run.counts().total);
}

/// The rows count: the counters of an earlier version did not see such a child.
#[test]
fn a_redrive_starts_no_more_children_than_are_kept() {
    let mut map_run = run(0, 0, 0.0);
    map_run.next(ready(3));
    map_run.next(MapRunEvent::Stop);
    assert_eq!(map_run.counts().aborted, 3);
    assert_eq!(
        map_run.next(redrive(1)),
        [MapRunEffect::ResetChildren, MapRunEffect::StartChildren(1)]
    );
    assert_eq!(map_run.next(ended(ChildStatus::Succeeded)), [MapRunEffect::Complete]);
    assert_eq!(map_run.counts().succeeded, 3);
    map_run.next(MapRunEvent::CompletionFailed(threshold()));
    assert_eq!(map_run.next(redrive(0)), [MapRunEffect::Complete]);
}

/// An earlier version's run succeeded with its last child, before its results were written.
#[test]
fn an_earlier_version_s_run_that_succeeded_too_early_is_failed_and_redriven() {
    let failure = || Failure::new("States.ResultWriterFailed", "no such bucket");
    let kept = || -> MapRunState {
        let mut map_run = run(0, 1, 0.0);
        map_run.next(ready(2));
        map_run.next(ended(ChildStatus::Failed));
        map_run.next(ended(ChildStatus::Succeeded));
        let mut kept = serde_json::to_value(&map_run).unwrap();
        kept["status"] = "Succeeded".into();
        kept.as_object_mut().unwrap().remove("all_done").unwrap();
        serde_json::from_value(kept).unwrap()
    };
    let mut writes = kept();
    assert_eq!(
        writes.next(MapRunEvent::CompletionFailed(failure())),
        [MapRunEffect::Fail(failure())]
    );
    assert_eq!(writes.status(), MapRunStatus::Failed);
    for mut map_run in [writes, kept()] {
        assert_eq!(map_run.next(redrive(1)), [MapRunEffect::Complete]);
        assert_eq!((map_run.status(), map_run.redrive_count()), (MapRunStatus::Running, 1));
        map_run.next(MapRunEvent::Completed);
        assert_eq!(map_run.status(), MapRunStatus::Succeeded);
        assert_eq!((map_run.counts().failed, map_run.counts().succeeded), (1, 1));
    }
}

#[test]
fn a_redrive_reads_again_what_was_not_read() {
    let failure = Failure::new("States.ItemReaderFailed", "no such object");
    let failed = MapRunEvent::ItemsFailed(failure.clone());
    for (ending, effects) in [
        (failed, vec![MapRunEffect::Fail(failure)]),
        (MapRunEvent::Stop, vec![MapRunEffect::AbortChildren]),
    ] {
        let mut map_run = run(1, 0, 0.0);
        assert_eq!(map_run.next(ending), effects);
        assert_eq!(map_run.next(redrive(0)), [MapRunEffect::ReadItems]);
        assert_eq!(map_run.status(), MapRunStatus::Running);
        assert_eq!(map_run.next(ready(2)), [MapRunEffect::StartChildren(1)]);
        assert_eq!(map_run.counts().total, 2);
    }
}

#[test]
fn a_redrive_writes_again_what_was_not_written() {
    let failure = || Failure::new("States.ResultWriterFailed", "no such bucket");
    let mut map_run = run(0, 1, 0.0);
    map_run.next(ready(2));
    map_run.next(ended(ChildStatus::Failed));
    map_run.next(ended(ChildStatus::Succeeded));
    assert_eq!(map_run.status(), MapRunStatus::Running, "the results are still to be written");
    assert_eq!(
        map_run.next(MapRunEvent::CompletionFailed(failure())),
        [MapRunEffect::Fail(failure())]
    );
    assert_eq!(map_run.status(), MapRunStatus::Failed);
    assert_eq!(map_run.next(redrive(1)), [MapRunEffect::Complete]);
    let update = MapRunEvent::Update {
        max_concurrency: None,
        tolerated_failure_count: Some(0),
        tolerated_failure_percentage: None,
    };
    assert_eq!(map_run.next(update), [], "all children are done");
    assert_eq!(map_run.next(MapRunEvent::Completed), []);
    assert_eq!(map_run.status(), MapRunStatus::Succeeded);
    assert_eq!((map_run.counts().failed, map_run.counts().succeeded), (1, 1));
}
