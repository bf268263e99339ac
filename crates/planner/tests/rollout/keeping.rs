//! The count is kept, with patience and with delays.

use super::case::*;
use ark_model::definition::{Definition, DurationText, Run, RunKind, Strategy};
use ark_model::environment::EnvKind;
use ark_model::instance::{EngineState, InstanceState, StopCause};
use ark_model::{DeploymentState, ReleaseNumber};
use ark_planner::rollout::{Backoff, Reason};
use ark_planner::{Action, Admission, Policy, ProbeSeen, Seen, Transition};

#[test]
fn steady_state_keeps_the_count() {
    let scaled = |n, seen| {
        let mut case = Case::steady(2, seen);
        case.app.scale = Some(n);
        case
    };
    let stopped = |seen| {
        let mut case = Case::steady(2, seen);
        case.app.stopped = true;
        case
    };
    let restarted = |seen| {
        let mut case = Case::steady(1, seen);
        case.app.restart_before = Some(at(-1));
        case
    };
    let delayed = |seen| {
        let mut case = Case::steady(2, seen);
        case.app.start_after = Some(at(10));
        case
    };
    let unready_old =
        |n| Seen { admission: Admission::Candidate, ..instance(n, OLD, InstanceState::Starting) };
    let cases: Vec<(&str, Case, &str)> = vec![
        ("as wanted", Case::steady(2, vec![old(1), old(2)]), ""),
        ("one died", Case::steady(2, vec![exited(old(1), 1), old(2)]), "!1 +1"),
        (
            "one vanished",
            Case::steady(2, vec![Seen { engine: Some(EngineState::Gone), ..old(1) }, old(2)]),
            "!1 +1",
        ),
        (
            "recorded, never started: its record starts it",
            Case::steady(
                2,
                vec![Seen { engine: Some(EngineState::Gone), ..unready_old(1) }, old(2)],
            )
            .at(-599),
            "",
        ),
        ("backoff", delayed(vec![old(1)]), ""),
        ("a surplus one, the newest", Case::steady(2, vec![old(1), old(2), old(3)]), "-3"),
        (
            "a surplus one that is not ready",
            Case::steady(2, vec![old(1), unready_old(2), old(3)]).at(-550),
            "x2",
        ),
        ("scaled up", scaled(5, vec![old(1), old(2)]), "+3"),
        ("scaled to none", scaled(0, vec![old(1), old(2)]), "-1 -2"),
        ("stopped", stopped(vec![old(1), old(2)]), "-1 -2"),
        ("restart is start-first", restarted(vec![old(1)]), "+1"),
        ("an abandoned release drains", Case::steady(1, vec![old(1), new(2)]), "-2"),
    ];
    for (what, case, expected) in cases {
        assert_eq!(short(&case.plan()), expected, "{what}");
    }
}

#[test]
fn failing_starts_are_delayed_more_and_more() {
    let young = |n| Seen { active_at: Some(at(0)), ..old(n) };
    let mut case = Case::steady(1, vec![exited(young(1), 1)]);
    for (before, delay) in [(0, 1), (1, 2), (2, 4), (5, 32), (6, 60), (500, 60)] {
        case.app.failures = before;
        let until = at(1 + delay);
        let expected = Backoff::Delay { failures: before + 1, until };
        assert_eq!(case.plan().backoff, Some(expected), "{before}");
    }
    // One that had lived long is replaced at once.
    assert_eq!(Case::steady(1, vec![exited(old(1), 1)]).plan().backoff, None);
    let mut calm = Case::steady(1, vec![old(1)]);
    calm.app.failures = 3;
    assert_eq!(calm.plan().backoff, Some(Backoff::Reset));
}

#[test]
fn causes_say_why_an_instance_goes() {
    let plan = Case::deploying(1, vec![old(1), new(2)]).plan();
    let cause = plan.actions.iter().find_map(|a| match a {
        Action::Drain { cause, .. } => Some(cause.clone()),
        _ => None,
    });
    assert_eq!(cause, Some(StopCause::Replaced));
}

#[test]
fn a_release_about_to_be_replaced_is_not_started() {
    let with_waiting = |case: Case| {
        let waiting = Some(deployment(DeploymentState::Queued));
        Case { waiting, ..case }.plan()
    };
    // The app was stopped, or its live release failed, and something else is deployed.
    let begun = with_waiting(Case::steady(2, vec![]));
    assert!(begun.begin_waiting.is_some());
    assert_eq!(short(&begun), "");
    // What an abandoned deployment left is the next one's to judge; what has ended has ended.
    let left = vec![old(1), new(2), exited(new(3), 1)];
    assert_eq!(short(&with_waiting(Case::steady(1, left))), "!3");
}

#[test]
fn what_fails_while_the_old_side_drains_or_on_the_way_back_is_delayed_too() {
    let young =
        |n, release| Seen { active_at: Some(at(0)), ..instance(n, release, InstanceState::Active) };
    for (state, release, base) in
        [(DeploymentState::Draining, NEW, Some(OLD)), (DeploymentState::Returning, OLD, Some(OLD))]
    {
        let busy = Seen { in_flight: Some(1), ..instance(1, OLD, InstanceState::Draining) };
        let case = |start_after| {
            let seen = vec![busy.clone(), exited(young(2, release), 1)];
            let mut case = Case::deploying(1, seen).with(|d| {
                (d.state, d.base) = (state, base);
                (d.live_at, d.returning_at) = (Some(at(0)), Some(at(0)));
            });
            case.app.start_after = start_after;
            case
        };
        let failed = case(None).plan();
        let until = at(2);
        assert_eq!(failed.backoff, Some(Backoff::Delay { failures: 1, until }), "{state:?}");
        assert_eq!(short(&case(Some(at(10))).plan()), "!2", "{state:?}");
        assert_eq!(short(&case(Some(at(1))).plan()), "!2 +1", "{state:?}");
    }
    // On the way back, the end of what is being left delays nothing.
    let back = Case::deploying(1, vec![exited(young(2, NEW), 1)]).with(|d| {
        d.state = DeploymentState::Returning;
        d.returning_at = Some(at(0));
    });
    assert_eq!(back.plan().backoff, None);
}

#[test]
fn what_the_engine_never_starts_is_given_up() {
    let never = |now| {
        let gone = Seen { engine: Some(EngineState::Gone), probe: None, ..starting(2, None) };
        Case::steady(1, vec![Seen { release: OLD, ..gone }]).at(now).plan()
    };
    assert_eq!(short(&never(419)), "");
    assert_eq!(short(&never(420)), "x2 +1");
    assert!(matches!(never(420).backoff, Some(Backoff::Delay { .. })));
}

#[test]
fn a_stop_ends_even_when_no_gateway_ever_answers() {
    let step = |stopped, now| {
        let draining =
            Seen { admission: Admission::Unknown, ..instance(1, OLD, InstanceState::Draining) };
        let mut case = Case::steady(1, vec![draining, old(2)]).at(now);
        case.app.stopped = stopped;
        short(&case.plan())
    };
    assert_eq!(step(true, 331), "-2");
    assert_eq!(step(true, 332), "-2 x1");
    assert_eq!(step(false, 10_000), "", "while others serve it is waited for");
}

/// A server that was away for minutes asks its gateway first: requests may be inside.
#[test]
fn what_passed_while_no_server_looked_was_no_patience() {
    let draining =
        Seen { admission: Admission::Unknown, ..instance(1, OLD, InstanceState::Draining) };
    let mut case = Case::steady(1, vec![draining]);
    case.app.stopped = true;
    for (now, expected) in [(900, ""), (1_199, ""), (1_200, "x1")] {
        (case.since, case.now) = (900, now);
        assert_eq!(short(&case.plan()), expected, "at {now}");
    }
}

/// A release made before its launch file would have been refused.
#[test]
fn a_worker_that_counts_later_than_the_progress_deadline_gets_there() {
    let mut definition = Definition::of_run(Run::of_kind(RunKind::Worker));
    definition.deploy.min_healthy_time = Some(DurationText::from_secs(360));
    let policy = Policy::of(&definition, EnvKind::Permanent, Strategy::Rolling);
    let mut new = instance(1, NEW, InstanceState::Starting);
    new.has_ports = false;
    new.probe = None;
    // It began two seconds after the deployment.
    new.engine = Some(EngineState::Running { since: at(2), process: None, address: None });
    for (second, expected) in [(300, None), (361, None), (362, Some(Action::Activate(id(1))))] {
        let plan = Case::deploying(1, vec![new.clone()]).at(second).plan_by(&policy);
        assert_eq!(plan.transition, None, "{second}");
        assert_eq!(plan.actions.first(), expected.as_ref(), "{second}");
    }
}

/// The server was away while it became ready, and has just told the gateway of it.
#[test]
fn what_was_not_looked_at_is_not_known_to_be_ill() {
    let seen = |since: i64, failed: bool| {
        let probe = ProbeSeen {
            ready: false,
            since: at(since),
            last_failure: failed.then(|| "500".into()),
        };
        let engine = Some(EngineState::Running { since: at(0), process: None, address: None });
        let starting = Seen { created_at: at(0), probe: Some(probe), ..starting(2, None) };
        vec![old(1), Seen { engine, ..starting }]
    };
    for (since, failed, now, stops) in [
        (0, false, 119, false),
        (0, false, 120, true),
        (300, false, 300, false),
        (300, false, 309, false),
        (300, false, 310, true),
        // It was ready in between, and is not again.
        (119, true, 120, true),
        (300, true, 301, true),
    ] {
        let plan = Case { since: 0, ..Case::deploying(1, seen(since, failed)).at(now) }.plan();
        let stopped = plan.actions.iter().any(|a| matches!(a, Action::Stop { .. }));
        assert_eq!(stopped, stops, "looked at since {since}, at {now}: {plan:?}");
    }
}

/// What is still being prepared has more time than to become ready, and all of that afterwards.
#[test]
fn an_image_that_comes_from_far_away_is_waited_for() {
    const PREPARING: Option<EngineState> = Some(EngineState::Preparing);
    let image = Policy { runs_image: true, ..policy(1) };
    let by = |engine: Option<EngineState>, now: i64| {
        let probe = ProbeSeen { ready: false, since: at(0), last_failure: None };
        let starting = Seen { created_at: at(0), probe: Some(probe), ..starting(2, None) };
        let seen = vec![old(1), Seen { engine, ..starting }];
        (
            Case::deploying(1, seen.clone()).at(now),
            Case { since: now, ..Case::steady(1, seen).at(now) },
        )
    };
    let runs_since =
        |second| Some(EngineState::Running { since: at(second), process: None, address: None });
    for (engine, now, stops) in [
        (PREPARING, 121, false),
        (PREPARING, 299, false),
        // It began late: its two minutes count from then.
        (runs_since(200), 201, false),
        (runs_since(200), 299, false),
        (runs_since(0), 119, false),
        (runs_since(0), 120, true),
        (runs_since(-600), 120, true),
        // The engine was not heard: whenever it began, it has its time.
        (None, 210, false),
        (None, 299, false),
    ] {
        let plan = by(engine.clone(), now).0.plan_by(&image);
        let stopped = plan.actions.iter().any(|a| matches!(a, Action::Stop { .. }));
        assert_eq!(stopped, stops, "{engine:?} at {now}: {plan:?}");
        assert_eq!(plan.transition.is_some(), stops, "{engine:?} at {now}");
    }
    // A deployment is given up for want of progress, and says what is in its way and what helps.
    let given_up = by(PREPARING, 300).0.plan_by(&image);
    let Some(Transition::Return(Reason::Diagnosis(why))) = given_up.transition else {
        panic!("{given_up:?}")
    };
    let why = why.words();
    assert!(why.contains("image") && why.contains("`deploy.progress_deadline`"), "{why}");
    let (files, _) = by(PREPARING, 300);
    assert!(!format!("{:?}", files.plan().transition).contains("image"));
    // Beyond both times it goes, also when nobody deploys: then it says which time it had.
    let word = |policy: &Policy| {
        let mut case = by(PREPARING, 420).1;
        case.app.live = Some(NEW);
        let plan = case.plan_by(policy);
        let last = plan.actions.into_iter().find_map(|action| match action {
            Action::Stop { cause: Some(StopCause::NeverReady { last }), .. } => Some(last),
            _ => None,
        });
        last.expect("it is stopped")
    };
    assert!(
        word(&image).contains("its image was still being fetched; a longer `deploy.ready_timeout`")
    );
    assert_eq!(word(&policy(1)), "its files were still being prepared");
}

/// Two releases are left over: one that takes requests, and a later one that takes none.
#[test]
fn what_takes_no_requests_stands_in_for_nobody_that_does() {
    let worker = |n: u128| Seen {
        has_ports: false,
        probe: None,
        admission: Admission::Absent,
        ..instance(n, ReleaseNumber(3), InstanceState::Active)
    };
    for (seen, expected) in [
        (vec![new(7), worker(8), worker(9)], "-8"),
        (vec![old(1), new(7), worker(8)], "-8"),
        (vec![old(1), old(2), new(7), worker(8)], "-7 -8"),
        // Nobody takes requests: one that is ready need not be so for long.
        (vec![Seen { release: OLD, ..starting(1, Some(1)) }, worker(8), worker(9)], "^1"),
    ] {
        let plan = Case::steady(2, seen).plan();
        assert_eq!(short(&plan), expected);
    }
}
