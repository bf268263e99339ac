//! Tables of a deployment's end while one of its hooks is under way: the hook is ended first,
//! whoever wants the end, and both end in a time that is known.

use std::time::Duration;

use ark_model::definition::{Definition, Expose, HookStage, Strategy};
use ark_model::deployment::{Abort, DeploymentKind};
use ark_model::environment::{AppState, EnvKind};
use ark_model::hook::{HookRun, HookState, HookWhat};
use ark_model::instance::EngineState;
use ark_model::{Deployment, DeploymentId, DeploymentState, InstanceId, ReleaseNumber};
use ark_planner::hooks::{self, HookCall, HookSeen, STOP_MAX};
use ark_planner::{Input, Policy, ShareSeen, Transition, plan};
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

fn at(seconds: i64) -> Timestamp {
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().expect("an instant");
    start + SignedDuration::from_secs(seconds)
}

fn id(n: u128) -> InstanceId {
    InstanceId(Uuid::from_u128(n))
}

/// A deployment in this state with one command of this stage that has run for ten seconds.
fn hooked(state: DeploymentState, stage: HookStage) -> Deployment {
    let run = HookRun {
        name: stage.as_str().to_owned(),
        stage,
        what: HookWhat::Command { command: vec!["./migrate".to_owned()] },
        timeout_ms: 600_000,
        state: HookState::Running,
        attempts: 1,
        instance: Some(id(7)),
        seen: true,
        begun_at: Some(at(0)),
        ask_at: None,
        stopping_at: None,
        ended_at: None,
        note: None,
        log: Vec::new(),
    };
    Deployment {
        base: Some(ReleaseNumber(1)),
        state,
        started_at: Some(at(0)),
        progress_at: Some(at(0)),
        live_at: matches!(state, DeploymentState::Keeping | DeploymentState::Draining)
            .then(|| at(0)),
        returning_at: (state == DeploymentState::Returning).then(|| at(0)),
        hooks: vec![run],
        ..Deployment::queued(
            DeploymentId(Uuid::from_u128(99)),
            ("production".parse().expect("a name"), "web".parse().expect("a name")),
            DeploymentKind::Deploy,
            ReleaseNumber(2),
            Strategy::Rolling,
            ("ana".into(), at(0)),
        )
    }
}

/// Who wants the end.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Wish {
    Stop,
    Down,
    Nobody,
}

fn step(d: &Deployment, wish: Wish, now: Timestamp) -> ark_planner::Plan {
    let definition = Definition { expose: vec![Expose::new("http", 80)], ..Definition::default() };
    let policy = Policy::of(&definition, EnvKind::Permanent, Strategy::Rolling);
    let mut app = AppState::new(d.env.clone(), d.app.clone(), at(0));
    app.live = Some(ReleaseNumber(1));
    app.running = Some(d.id);
    app.stopped = wish == Wish::Stop;
    plan(&Input {
        now,
        app: &app,
        ending: (wish == Wish::Down).then_some("Ark is being shut down with its apps"),
        running: Some(d),
        waiting: None,
        new_policy: Some(&policy),
        live_policy: Some(&policy),
        seen: &[],
        share: ShareSeen::Unrouted,
        measured: &[],
        measured_since: Timestamp::UNIX_EPOCH,
        measured_until: Timestamp::MAX,
        held: Some(0),
        since: at(0),
        planted: None,
    })
}

/// The hooks loop and the deployment loop, in turns, until the deployment ends; the engine ends the
/// command at `dies`, or never. Answers when the deployment ended and where.
fn ended(
    mut d: Deployment,
    wish: Wish,
    dies: Option<Timestamp>,
) -> Result<(Timestamp, DeploymentState), String> {
    let mut told = false;
    for seconds in 10..1_000 {
        let now = at(seconds);
        let gone = dies.is_some_and(|dies| told && now >= dies);
        let seen = match gone {
            true => HookSeen::Engine(EngineState::Gone, Vec::new()),
            false => {
                let since = at(0);
                let state = EngineState::Running { since, process: None, address: None };
                HookSeen::Engine(state, Vec::new())
            }
        };
        let hook = hooks::plan(&d, &seen, id(8), now);
        told |= matches!(hook.call, Some(HookCall::Stop(_)));
        if matches!(hook.call, Some(HookCall::Start(_))) {
            return Err(format!("at {now} it is run again"));
        }
        d.hooks = hook.hooks;
        let plan = step(&d, wish, now);
        match plan.transition {
            Some(Transition::Abort(abort)) => d.abort = Some(abort),
            Some(Transition::End { state, .. }) => {
                return match hooks::active(&d) {
                    Some(run) => Err(format!("ended while {} is {:?}", run.words(), run.state)),
                    None => Ok((now, state)),
                };
            }
            Some(other) => return Err(format!("{other:?}")),
            None => {}
        }
        if plan.wake_at.is_some_and(|wake| wake < now) && hooks::active(&d).is_some() {
            return Err(format!("at {now} it is woken at {:?}", plan.wake_at));
        }
    }
    Err("never ended".to_owned())
}

#[test]
fn a_deployment_ends_after_its_hook_whoever_wants_it() {
    use DeploymentState::{Draining, Keeping, Replacing, Returning, Stepping};
    for (state, stage, end) in [
        (Replacing, HookStage::PreDeploy, DeploymentState::Superseded),
        (Stepping, HookStage::PreDeploy, DeploymentState::Superseded),
        (Returning, HookStage::PreDeploy, DeploymentState::Superseded),
        (Keeping, HookStage::PostDeploy, DeploymentState::Succeeded),
        (Draining, HookStage::PostDeploy, DeploymentState::Succeeded),
    ] {
        for wish in [Wish::Stop, Wish::Down] {
            for asked in [false, true] {
                let mut d = hooked(state, stage);
                d.abort =
                    asked.then(|| Abort { by: "ana".into(), reason: None, superseded: false });
                let case = format!("{state:?}, {wish:?}, aborted before: {asked}");
                let (when, how) = ended(d.clone(), wish, Some(at(30)))
                    .unwrap_or_else(|why| panic!("{case}: {why}"));
                assert_eq!((when, how), (at(30), end), "{case}");
                // Also when it cannot be ended.
                let (when, _) = ended(d, wish, None).unwrap_or_else(|why| panic!("{case}: {why}"));
                let most = at(12) + SignedDuration::try_from(STOP_MAX).expect("short");
                assert!(when <= most, "{case}: it takes until {when}");
            }
        }
    }
}

/// A way back with a short deadline waits for the hook as well.
#[test]
fn a_way_back_ends_after_its_hook() {
    let d = hooked(DeploymentState::Returning, HookStage::PostDeploy);
    let late = at(i64::try_from(Duration::from_secs(86_400).as_secs()).expect("a day"));
    let plan = step(&d, Wish::Nobody, late);
    assert_eq!(plan.transition, None);
    assert!(plan.wake_at.is_none_or(|wake| wake >= late), "{:?}", plan.wake_at);
}

/// Who goes back while a hook after the end still runs goes back at once: the way back ends the hook.
#[test]
fn an_abort_takes_no_more_of_the_old_side_away_for_the_sake_of_a_hook() {
    let mut d = hooked(DeploymentState::Draining, HookStage::PostDeploy);
    d.abort = Some(Abort { by: "ana".into(), reason: None, superseded: false });
    let plan = step(&d, Wish::Nobody, at(12));
    assert!(matches!(plan.transition, Some(Transition::Return(_))), "{plan:?}");
    assert_eq!(plan.actions, []);
    // What it deploys is what was there before: there is nothing to go back to.
    d.base = Some(d.release);
    assert_eq!(step(&d, Wish::Nobody, at(12)).transition, None);
}
