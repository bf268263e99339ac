//! A rolling deployment's steps, and how it ends.

use super::case::*;
use ark_model::definition::{DataStore, Quantity, Strategy};
use ark_model::deployment::Abort;
use ark_model::environment::EnvKind;
use ark_model::instance::{EngineState, Exit, InstanceState, StartFailure};
use ark_model::{DeploymentState, Diagnosis, ReleaseNumber};
use ark_planner::rollout::Reason;
use ark_planner::{Action, Admission, Plan, Policy, ProbeSeen, Seen, Transition};

#[test]
fn rolling_is_start_first_and_never_below_the_count() {
    let draining = |n| instance(n, OLD, InstanceState::Draining);
    let busy = |n| Seen { in_flight: Some(3), ..draining(n) };
    let unacknowledged = |n| Seen { admission: Admission::Active, ..draining(n) };
    let unreported = |n| Seen { in_flight: None, ..draining(n) };
    let cases: Vec<(&str, Case, &str)> = vec![
        ("one is replaced start-first", Case::deploying(1, vec![old(1)]), "+1"),
        (
            "a quarter above, rounded up",
            Case::deploying(4, vec![old(1), old(2), old(3), old(4)]),
            "+1",
        ),
        ("two of eight", Case::deploying(8, (1..=8).map(old).collect()), "+2"),
        ("not ready yet", Case::deploying(1, vec![old(1), starting(2, None)]), ""),
        (
            "ready, not long enough",
            Case::deploying(1, vec![old(1), starting(2, Some(0))]).at(4),
            "",
        ),
        ("ready long enough", Case::deploying(1, vec![old(1), starting(2, Some(0))]).at(5), "^2"),
        ("nobody serves: no wait", Case::deploying(1, vec![starting(2, Some(0))]), "^2"),
        ("serving: the old one goes", Case::deploying(1, vec![old(1), new(2)]), "-1"),
        (
            "recorded active, not yet in the table: the old one stays",
            Case::deploying(1, vec![old(1), Seen { admission: Admission::Candidate, ..new(2) }]),
            "",
        ),
        (
            "next one starts as the old drains",
            Case::deploying(2, vec![draining(1), old(2), new(3)]),
            "+1 x1",
        ),
        ("requests inside", Case::deploying(1, vec![busy(1), new(2)]), ""),
        ("requests inside, time over", Case::deploying(1, vec![busy(1), new(2)]).at(33), "x1"),
        ("not acknowledged", Case::deploying(1, vec![unacknowledged(1), new(2)]), ""),
        (
            "not acknowledged, time over",
            Case::deploying(1, vec![unacknowledged(1), new(2)]).at(33),
            "",
        ),
        ("nothing reported yet", Case::deploying(1, vec![unreported(1), new(2)]), ""),
        (
            "old ones long sick: deploying is possible",
            Case::deploying(
                2,
                vec![
                    Seen {
                        probe: Some(ProbeSeen { ready: false, since: at(-60), last_failure: None }),
                        ..old(1)
                    },
                    Seen {
                        probe: Some(ProbeSeen { ready: false, since: at(-60), last_failure: None }),
                        ..old(2)
                    },
                    new(3),
                ],
            ),
            "-1 -2",
        ),
        (
            "the engine does not answer: nothing is replaced",
            Case::deploying(
                1,
                vec![Seen { engine: None, ..old(1) }, Seen { engine: None, ..new(2) }],
            ),
            "-1",
        ),
    ];
    for (what, case, expected) in cases {
        let plan = case.plan();
        assert_eq!(short(&plan), expected, "{what}");
        // While the old side is to leave and the new one is short of its count, it is not live.
        let short_of = plan.progress.wanted_serving < case.count;
        assert!(!(short_of && matches!(plan.transition, Some(Transition::Live { .. }))), "{what}");
    }
}

#[test]
fn what_became_ready_before_the_clock_was_set_back_is_not_waited_for_again() {
    // Ready at 3 600 by a clock that says 10 now: nobody knows since when, and it is an hour to then.
    let case = |since| Case::deploying(1, vec![old(1), starting(2, Some(since))]).at(10);
    let activates = |plan: &Plan| plan.actions.contains(&Action::Activate(id(2)));
    assert!(activates(&case(3_600).plan()));
    // A gateway whose clock is a little ahead has only just seen it become ready.
    let ahead = case(12).plan();
    assert!(!activates(&ahead));
    assert_eq!(ahead.wake_at, Some(at(17)));
}

#[test]
fn a_deployment_is_live_when_the_old_side_left_the_table_and_over_when_it_is_gone() {
    let draining = instance(1, OLD, InstanceState::Draining);
    let busy = Seen { in_flight: Some(1), ..draining.clone() };
    let unacknowledged = Seen { admission: Admission::Active, ..draining.clone() };
    let live = |seen| Case::deploying(1, seen).at(5).plan().transition;
    assert_eq!(live(vec![busy.clone(), new(2)]), Some(Transition::Live { keeping: false }));
    assert_eq!(live(vec![unacknowledged, new(2)]), None);
    assert_eq!(live(vec![old(1), new(2)]), None);
    let over = |seen| {
        let case = Case::deploying(1, seen).with(|d| {
            d.state = DeploymentState::Draining;
            d.live_at = Some(at(0));
        });
        case.plan().transition
    };
    assert_eq!(over(vec![busy.clone(), new(2)]), None);
    let ending = exited(instance(3, OLD, InstanceState::Stopping), 0);
    assert_eq!(over(vec![busy, ending, new(2)]), None, "one has ended, another has not");
    let succeeded = Transition::End { state: DeploymentState::Succeeded, reason: None, note: None };
    assert_eq!(over(vec![new(2)]), Some(succeeded));
}

/// Where nothing serves an instance takes traffic at once, and the deployment succeeds when it has been ready
/// for its time.
#[test]
fn what_takes_traffic_at_once_has_yet_to_prove_itself() {
    let first = |seen, now: i64| {
        let mut case = Case::deploying(1, seen).with(|d| d.base = None).at(now);
        case.app.live = None;
        case.plan()
    };
    let early = first(vec![starting(2, Some(1))], 1);
    assert_eq!((short(&early).as_str(), early.transition), ("^2", None));
    let waits = first(vec![new(2)], 4);
    assert_eq!((waits.transition, waits.wake_at), (None, Some(at(5))));
    assert_eq!(first(vec![new(2)], 5).transition, Some(Transition::Live { keeping: false }));
    // It has flapped since: that is the steady state's business.
    let probe = ProbeSeen { ready: true, since: at(6), last_failure: None };
    let flapped = Seen { probe: Some(probe), ..new(2) };
    assert_eq!(first(vec![flapped], 6).transition, Some(Transition::Live { keeping: false }));
    // The clock was set back since: for how long it has been ready nobody knows.
    let probe = ProbeSeen { ready: true, since: at(3_590), last_failure: None };
    let ahead = Seen { probe: Some(probe), active_at: Some(at(3_600)), ..new(2) };
    assert_eq!(first(vec![ahead], 10).transition, Some(Transition::Live { keeping: false }));
    let ended = first(vec![exited(new(2), 9)], 3);
    assert!(matches!(ended.transition, Some(Transition::Return(Reason::Failure(_)))));
}

/// A stopped app is rolled back to its only release, which cannot be had: there is nothing to wait for.
#[test]
fn what_fails_with_itself_to_go_back_to_ends_at_once() {
    let missing = || Some(Diagnosis::ArtifactMissing { detail: "the registry is away".into() });
    let returning = |diagnosis: Option<Diagnosis>, base: ReleaseNumber, seen: Vec<Seen>| {
        let case = Case::deploying(1, seen).with(|d| {
            d.state = DeploymentState::Returning;
            d.returning_at = Some(at(0));
            d.base = Some(base);
            d.diagnosis = diagnosis;
        });
        match case.plan().transition {
            Some(Transition::End { state, note, .. }) => Some((state, note.is_some())),
            other => {
                assert_eq!(other, None);
                None
            }
        }
    };
    let aborted = || Some(Diagnosis::Aborted { by: "ana".into(), reason: None });
    assert_eq!(returning(missing(), NEW, vec![]), Some((DeploymentState::Failed, true)));
    assert_eq!(returning(aborted(), NEW, vec![]), None, "it was well: it is made whole");
    assert_eq!(returning(missing(), OLD, vec![]), None, "another release may well be had");
    let whole = returning(missing(), NEW, vec![new(2)]);
    assert_eq!(whole, Some((DeploymentState::RolledBack, false)));
    let late = Some(Diagnosis::NoProgress { waited_ms: 300_000, waiting_for: "it".into() });
    assert_eq!(returning(late, NEW, vec![]), Some((DeploymentState::TimedOut, true)));
}

#[test]
fn failures_end_a_deployment_fast() {
    let crashed = |n| exited(starting(n, None), 1);
    let other = |n| exited(starting(n, None), 7);
    let port = |n| {
        let reason = StartFailure::PortTaken { port: 80 };
        Seen { engine: Some(EngineState::StartFailed { reason }), ..starting(n, None) }
    };
    let four = || (1..=4).map(old).collect::<Vec<_>>();
    let with = |mut seen: Vec<Seen>, more: Vec<Seen>| {
        seen.extend(more);
        seen
    };
    let cases: Vec<(&str, Case, bool)> = vec![
        ("one when one is all there is", Case::deploying(1, vec![old(1), crashed(2)]), true),
        ("one of four is survived", Case::deploying(4, with(four(), vec![crashed(5)])), false),
        ("two alike", Case::deploying(4, with(four(), vec![crashed(5), crashed(6)])), true),
        ("two that differ", Case::deploying(4, with(four(), vec![crashed(5), other(6)])), false),
        (
            "one now, one alike before",
            Case::deploying(4, with(four(), vec![crashed(5)])).with(|d| {
                let exit = Exit {
                    began: None,
                    code: Some(1),
                    signal: None,
                    out_of_memory: false,
                    requested: false,
                    at: at(0),
                };
                d.failures =
                    vec![Diagnosis::Crashed { instance: "web-1".into(), exit, log: vec![] }];
            }),
            true,
        ),
        (
            "a taken port is not the release's fault",
            Case::deploying(1, vec![old(1), port(2)]),
            false,
        ),
        ("never ready", Case::deploying(1, vec![old(1), starting(2, None)]).at(120), true),
        ("not ready, in time", Case::deploying(1, vec![old(1), starting(2, None)]).at(119), false),
        (
            "of which nothing is known is not called unready",
            Case::deploying(1, vec![old(1), Seen { probe: None, ..starting(2, None) }]).at(120),
            false,
        ),
        (
            "an old instance's end is not the release's fault",
            Case::deploying(1, vec![exited(old(1), 1), starting(2, None)]),
            false,
        ),
    ];
    for (what, case, returns) in cases {
        let plan = case.plan();
        let returned = matches!(plan.transition, Some(Transition::Return(Reason::Failure(_))));
        assert_eq!(returned, returns, "{what}: {:?}", plan.transition);
        if returned {
            let begun = plan.actions.iter().any(|a| {
                matches!(a, Action::Start { .. } | Action::Activate(_) | Action::Drain { .. })
            });
            assert!(!begun, "{what}: a deployment that turns back begins nothing");
        }
    }
}

#[test]
fn deadlines_and_aborts_turn_back() {
    let stuck = || Case::deploying(1, vec![old(1), Seen { probe: None, ..starting(2, None) }]);
    let reason = |case: Case| match case.plan().transition {
        Some(Transition::Return(Reason::Diagnosis(d))) => d.key(),
        other => format!("{other:?}"),
    };
    assert_eq!(reason(stuck().at(299)), "None");
    assert_eq!(reason(stuck().at(300)), "no progress");
    assert_eq!(
        reason(stuck().with(|d| d.progress_at = Some(at(1_700))).at(1_800)),
        "deadline passed"
    );
    let abort = |superseded| Abort { by: "ana".into(), reason: None, superseded };
    assert_eq!(reason(stuck().with(|d| d.abort = Some(abort(false)))), "aborted");
    let superseded = stuck().with(|d| d.abort = Some(abort(true))).plan();
    let ended = matches!(
        superseded.transition,
        Some(Transition::End { state: DeploymentState::Superseded, .. })
    );
    assert!(ended && superseded.actions.is_empty(), "{superseded:?}");
}

#[test]
fn going_back_ends_with_the_old_release_serving_and_says_how() {
    let returning = |base, seen| {
        Case::deploying(1, seen).with(|d| {
            d.state = DeploymentState::Returning;
            d.returning_at = Some(at(0));
            d.base = base;
            d.diagnosis = Some(Diagnosis::PortTaken { port: 1 });
        })
    };
    let state = |case: Case| match case.plan().transition {
        Some(Transition::End { state, .. }) => Some(state),
        _ => None,
    };
    // The new instance serves, the old one is gone: it comes back first.
    let lost = returning(Some(OLD), vec![new(2)]);
    assert_eq!(short(&lost.plan()), "+1");
    assert_eq!(short(&returning(Some(OLD), vec![old(1), new(2)]).plan()), "-2");
    assert_eq!(state(returning(Some(OLD), vec![old(1), new(2)])), None);
    assert_eq!(state(returning(Some(OLD), vec![old(1)])), Some(DeploymentState::RolledBack));
    assert_eq!(state(returning(Some(OLD), vec![]).at(5_000)), Some(DeploymentState::Failed));
    assert_eq!(short(&returning(None, vec![new(2)]).plan()), "-2");
    assert_eq!(state(returning(None, vec![])), Some(DeploymentState::Failed));
    let timed_out = returning(None, vec![]).with(|d| {
        d.diagnosis = Some(Diagnosis::DeadlinePassed { deadline_ms: 1, waiting_for: "x".into() });
    });
    assert_eq!(state(timed_out), Some(DeploymentState::TimedOut));
}

#[test]
fn no_surge_and_nothing_missing_still_moves() {
    let mut p = policy(3);
    p.max_surge = Quantity::Count(0);
    assert_eq!(p.surge(3), 1);
    p.max_unavailable = Quantity::Count(1);
    assert_eq!(p.surge(3), 0);
}

#[test]
fn without_surge_a_sick_old_side_makes_room() {
    let sick = |n| Seen {
        probe: Some(ProbeSeen { ready: false, since: at(-60), last_failure: None }),
        ..old(n)
    };
    let step = |seen: Vec<Seen>| {
        let mut p = policy(3);
        (p.max_surge, p.max_unavailable) = (Quantity::Count(0), Quantity::Count(1));
        let case = Case::deploying(3, seen);
        short(&case.plan_by(&p))
    };
    assert_eq!(step(vec![sick(1), sick(2), sick(3)]), "-1");
    let leaving = instance(1, OLD, InstanceState::Draining);
    assert_eq!(step(vec![leaving, sick(2), sick(3)]), "+1 x1");
    assert_eq!(step(vec![sick(2), sick(3), starting(4, None)]), "-2");
    assert_eq!(step(vec![old(1), old(2), old(3)]), "-1");
}

#[test]
fn the_server_of_a_data_store_begins_when_the_one_before_has_ended() {
    let store: DataStore = serde_json::from_str(r#"{"type": "postgres"}"#).expect("a data store");
    let definition = store.definition().expect("Ark runs it");
    let policy = Policy::of(&definition, EnvKind::Development, Strategy::Rolling);
    assert_eq!((policy.count, policy.wanted(Some(3)), policy.surge(1)), (1, 1, 0));
    let step = |case: Case| short(&case.plan_by(&policy));
    let leaving = || vec![instance(1, OLD, InstanceState::Draining)];
    let stopping = || vec![instance(1, OLD, InstanceState::Stopping)];
    let gone = || vec![exited(instance(1, OLD, InstanceState::Stopping), 0)];
    // A deployment, asked for as any strategy.
    assert_eq!(step(Case::deploying(1, vec![old(1)])), "-1");
    assert_eq!(step(Case::deploying(1, leaving())), "x1");
    assert_eq!(step(Case::deploying(1, stopping())), "");
    assert_eq!(step(Case::deploying(1, gone())), "!1 +1");
    // A restart, which is of the same release.
    let restart = |seen| {
        let mut case = Case::steady(1, seen);
        case.app.restart_before = Some(at(0));
        step(case)
    };
    assert_eq!(restart(vec![old(1)]), "-1");
    assert_eq!(restart(leaving()), "x1");
    assert_eq!(restart(stopping()), "");
    assert_eq!(restart(gone()), "!1 +1");
    // It ended by itself.
    assert_eq!(step(Case::steady(1, vec![exited(old(1), 1)])), "!1 +1");
}

#[test]
fn no_room_ends_a_deployment_fast() {
    let full = || Diagnosis::NoCapacity { detail: "no port is free".into() };
    for (count, times, returns) in [(1, 1, true), (2, 1, false), (2, 2, true)] {
        let case = Case::deploying(count, (1..=u128::from(count)).map(old).collect())
            .with(|d| d.failures = vec![full(); times]);
        let recorded = Some(Transition::Return(Reason::Recorded(times - 1)));
        let expected = if returns { recorded } else { None };
        assert_eq!(case.plan().transition, expected, "{count} wanted, {times} times");
    }
}
