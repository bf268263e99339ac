//! Tables of plans: one situation, one expected step. Whole runs are the simulator's work.

use std::time::Duration;

use ark_model::definition::{
    DataStore, Definition, DurationText, Expose, Quantity, Run, RunKind, Strategy,
};
use ark_model::deployment::{Abort, DeploymentKind};
use ark_model::environment::{AppState, EnvKind};
use ark_model::instance::{EngineState, Exit, InstanceState, StartFailure, StopCause};
use ark_model::{Deployment, DeploymentId, DeploymentState, Diagnosis, InstanceId, ReleaseNumber};
use ark_planner::rollout::{Backoff, Reason};
use ark_planner::{
    Action, Admission, HostSeen, Input, Plan, Policy, ProbeSeen, Seen, ShareSeen, Transition, plan,
};
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

const OLD: ReleaseNumber = ReleaseNumber(1);
const NEW: ReleaseNumber = ReleaseNumber(2);

fn start() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().expect("an instant")
}

fn at(seconds: i64) -> Timestamp {
    start() + SignedDuration::from_secs(seconds)
}

fn id(n: u128) -> InstanceId {
    InstanceId(Uuid::from_u128(n))
}

fn policy(count: u32) -> Policy {
    let mut definition =
        Definition { expose: vec![Expose::new("http", 80)], ..Definition::default() };
    definition.autoscaling.min_count = Some(count);
    definition.deploy.min_healthy_time = Some(DurationText::from_secs(5));
    Policy::of(&definition, EnvKind::Permanent, Strategy::Rolling)
}

fn deployment(state: DeploymentState) -> Deployment {
    Deployment {
        base: Some(OLD),
        state,
        started_at: Some(start()),
        progress_at: Some(start()),
        ..Deployment::queued(
            DeploymentId(Uuid::from_u128(99)),
            ("production".parse().expect("a name"), "web".parse().expect("a name")),
            DeploymentKind::Deploy,
            NEW,
            Strategy::Rolling,
            ("ana".into(), start()),
        )
    }
}

/// An instance in `state`, created before the deployment when it is of the old release.
fn instance(n: u128, release: ReleaseNumber, state: InstanceState) -> Seen {
    let born = if release == OLD { -600 } else { 0 };
    let serving = state == InstanceState::Active;
    Seen {
        id: id(n),
        release,
        state,
        created_at: at(born),
        active_at: (state != InstanceState::Starting).then(|| at(born + 1)),
        draining_at: (state == InstanceState::Draining).then(|| at(0)),
        stopping_at: None,
        has_ports: true,
        drain: Duration::from_secs(30),
        engine: Some(EngineState::Running { since: at(born), process: None, address: None }),
        probe: Some(ProbeSeen { ready: serving, since: at(born), last_failure: None }),
        admission: match state {
            InstanceState::Starting => Admission::Candidate,
            InstanceState::Active => Admission::Active,
            InstanceState::Draining => Admission::Draining,
            InstanceState::Stopping | InstanceState::Stopped => Admission::Absent,
        },
        in_flight: Some(0),
        host: HostSeen::Answers,
        elsewhere: false,
    }
}

fn old(n: u128) -> Seen {
    instance(n, OLD, InstanceState::Active)
}

fn new(n: u128) -> Seen {
    instance(n, NEW, InstanceState::Active)
}

fn starting(n: u128, ready_since: Option<i64>) -> Seen {
    let probe = ProbeSeen {
        ready: ready_since.is_some(),
        since: at(ready_since.unwrap_or(0)),
        last_failure: Some("GET /_health answered 500".into()),
    };
    Seen { probe: Some(probe), ..instance(n, NEW, InstanceState::Starting) }
}

fn exited(mut seen: Seen, code: i32) -> Seen {
    let exit =
        Exit { code: Some(code), signal: None, out_of_memory: false, requested: false, at: at(1) };
    seen.engine = Some(EngineState::Exited { exit });
    seen
}

struct Case {
    app: AppState,
    running: Option<Deployment>,
    count: u32,
    seen: Vec<Seen>,
    since: i64,
    now: i64,
}

impl Case {
    fn deploying(count: u32, seen: Vec<Seen>) -> Self {
        let running = deployment(DeploymentState::Replacing);
        let mut app = AppState::new(running.env.clone(), running.app.clone(), start());
        app.live = Some(OLD);
        app.running = Some(running.id);
        Self { app, running: Some(running), count, seen, since: 0, now: 1 }
    }

    fn steady(count: u32, seen: Vec<Seen>) -> Self {
        let mut case = Self::deploying(count, seen);
        case.app.running = None;
        case.running = None;
        case
    }

    fn at(mut self, now: i64) -> Self {
        self.now = now;
        self
    }

    fn with(mut self, change: impl FnOnce(&mut Deployment)) -> Self {
        change(self.running.as_mut().expect("a deployment"));
        self
    }

    fn plan(&self) -> Plan {
        self.plan_by(&policy(self.count))
    }

    fn plan_by(&self, policy: &Policy) -> Plan {
        plan(&Input {
            now: at(self.now),
            app: &self.app,
            ending: None,
            running: self.running.as_ref(),
            waiting: None,
            new_policy: Some(policy),
            live_policy: Some(policy),
            seen: &self.seen,
            share: ShareSeen::Even,
            measured: &[],
            measured_since: Timestamp::UNIX_EPOCH,
            measured_until: Timestamp::MAX,
            held: Some(0),
            since: at(self.since),
            planted: None,
        })
    }
}

/// The steps in short: `+2` starts two, `^7` activates, `-7` drains, `x7` stops, `!7` has ended.
fn short(plan: &Plan) -> String {
    let n = |id: &InstanceId| id.0.as_u128();
    let words: Vec<String> = plan
        .actions
        .iter()
        .map(|action| match action {
            Action::Start { count, .. } => format!("+{count}"),
            Action::Activate(id) => format!("^{}", n(id)),
            Action::Drain { id, .. } => format!("-{}", n(id)),
            Action::Stop { id, .. } => format!("x{}", n(id)),
            Action::Ended { id, .. } => format!("!{}", n(id)),
        })
        .collect();
    words.join(" ")
}

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
    let live = |seen| Case::deploying(1, seen).plan().transition;
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
    assert_eq!(over(vec![busy, new(2)]), None);
    let succeeded = Transition::End { state: DeploymentState::Succeeded, reason: None, note: None };
    assert_eq!(over(vec![new(2)]), Some(succeeded));
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
fn no_surge_and_nothing_missing_still_moves() {
    let mut p = policy(3);
    p.max_surge = Quantity::Count(0);
    assert_eq!(p.surge(3), 1);
    p.max_unavailable = Quantity::Count(1);
    assert_eq!(p.surge(3), 0);
}

#[test]
fn a_release_about_to_be_replaced_is_not_started() {
    let with_waiting = |case: Case| {
        let policy = policy(case.count);
        let waiting = deployment(DeploymentState::Queued);
        plan(&Input {
            now: at(case.now),
            app: &case.app,
            ending: None,
            running: None,
            waiting: Some(&waiting),
            new_policy: Some(&policy),
            live_policy: Some(&policy),
            seen: &case.seen,
            share: ShareSeen::Even,
            measured: &[],
            measured_since: Timestamp::UNIX_EPOCH,
            measured_until: Timestamp::MAX,
            held: Some(0),
            since: start(),
            planted: None,
        })
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
fn without_surge_a_sick_old_side_makes_room() {
    let sick = |n| Seen {
        probe: Some(ProbeSeen { ready: false, since: at(-60), last_failure: None }),
        ..old(n)
    };
    let step = |seen: Vec<Seen>| {
        let mut p = policy(3);
        (p.max_surge, p.max_unavailable) = (Quantity::Count(0), Quantity::Count(1));
        let case = Case::deploying(3, seen);
        short(&plan(&Input {
            now: at(case.now),
            app: &case.app,
            ending: None,
            running: case.running.as_ref(),
            waiting: None,
            new_policy: Some(&p),
            live_policy: Some(&p),
            seen: &case.seen,
            share: ShareSeen::Even,
            measured: &[],
            measured_since: Timestamp::UNIX_EPOCH,
            measured_until: Timestamp::MAX,
            held: Some(0),
            since: start(),
            planted: None,
        }))
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
    let step = |case: Case| {
        short(&plan(&Input {
            now: at(case.now),
            app: &case.app,
            ending: None,
            running: case.running.as_ref(),
            waiting: None,
            new_policy: Some(&policy),
            live_policy: Some(&policy),
            seen: &case.seen,
            share: ShareSeen::Even,
            measured: &[],
            measured_since: Timestamp::UNIX_EPOCH,
            measured_until: Timestamp::MAX,
            held: Some(0),
            since: start(),
            planted: None,
        }))
    };
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
