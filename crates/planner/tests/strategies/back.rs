//! Ways back: aborts, failures, and a third release in mid-course.

use super::world::*;
use ark_model::definition::{Step, Strategy};
use ark_model::instance::{EngineState, Exit, InstanceState};
use ark_model::rollout::AsksFor;
use ark_model::{DeploymentState, InstanceId, ReleaseNumber};
use ark_planner::{Admission, ProbeSeen};

#[test]
fn a_kept_old_side_takes_over_at_once() {
    let mut world = World::deploying(Strategy::BlueGreen, vec![]);
    world.pass(10);
    assert_eq!(world.state(), Some(DeploymentState::Keeping));
    world.transcript();
    world.abort(false);
    world.pass(1);
    assert_eq!(world.share().percent, 0);
    let log = world.transcript();
    assert!(!log.iter().any(|l| l.starts_with('+')), "nothing has to start: {log:?}");
    world.pass(5);
    assert_eq!(world.ended[0].state, DeploymentState::RolledBack);
    assert_eq!(world.app.live, Some(OLD));
    assert_eq!((world.serving(NEW), world.serving(OLD)), (0, 4));
}

/// Nothing is kept, and the old side is ending: it is started again before the new one goes.
#[test]
fn an_abort_goes_back_as_long_as_the_old_side_is_not_gone() {
    let mut world = World::deploying(Strategy::Canary, vec![Step::Weight(50)]);
    while world.state() != Some(DeploymentState::Draining) {
        if !world.round() {
            world.now += 1;
        }
    }
    assert_eq!((world.app.live, world.serving(OLD)), (Some(NEW), 4));
    world.abort(false);
    world.round();
    assert_eq!((world.state(), world.app.live), (Some(DeploymentState::Returning), Some(OLD)));
    world.pass(120);
    assert_eq!(world.ended[0].state, DeploymentState::RolledBack);
    assert_eq!((world.serving(NEW), world.serving(OLD)), (0, 4));
}

/// Half of the kept side is lost, and somebody goes back: the new side serves until the old one is whole.
#[test]
fn a_way_back_that_a_person_wants_takes_no_capacity_away() {
    let aborted = |judged: bool| {
        let mut world = World::deploying(Strategy::BlueGreen, vec![]);
        world.pass(10);
        assert_eq!(world.state(), Some(DeploymentState::Keeping));
        let old = world.seen.iter().filter(|s| s.release == OLD).map(|s| s.id);
        let lost: Vec<InstanceId> = old.take(2).collect();
        world.seen.retain(|s| !lost.contains(&s.id));
        assert_eq!((world.serving(OLD), world.serving(NEW)), (2, 4));
        world.abort(false);
        world.pass(1);
        if judged {
            let d = world.running.as_mut().expect("a deployment");
            d.diagnosis = Some(ark_model::Diagnosis::Judged { reasons: vec!["5xx".into()] });
        }
        world
    };
    // Those that are started take their time.
    let pass = |world: &mut World, seconds: i64| {
        for _ in 0..seconds {
            let since = at(world.now);
            for seen in world.seen.iter_mut().filter(|s| s.state == InstanceState::Starting) {
                seen.probe = Some(ProbeSeen { ready: false, since, last_failure: None });
            }
            world.pass(1);
        }
    };
    let mut world = aborted(false);
    pass(&mut world, 60);
    assert_eq!((world.share().percent, world.serving(NEW), world.serving(OLD)), (100, 4, 2));
    let now = at(world.now);
    for seen in world.seen.iter_mut().filter(|s| s.release == OLD) {
        seen.probe = Some(ProbeSeen { ready: true, since: now, last_failure: None });
    }
    world.pass(10);
    assert_eq!((world.serving(NEW), world.serving(OLD)), (0, 4));
    assert_eq!(world.ended[0].state, DeploymentState::RolledBack);
    assert!(world.transcript().contains(&"v2 gets no more traffic".to_owned()));
    // They do not come within the time that an instance has: there is no room for them, say.
    let mut never = aborted(false);
    pass(&mut never, 125);
    assert_eq!((never.share().percent, never.serving(OLD)), (0, 2));
    let said = "v2 gets no more traffic; 2 of 4 instances of v1 carry it".to_owned();
    assert!(never.transcript().contains(&said));
    // What is known to be bad does not serve as long.
    let mut bad = aborted(true);
    pass(&mut bad, 35);
    assert_eq!((bad.share().percent, bad.serving(OLD)), (0, 2));
}

#[test]
fn a_failed_recreate_goes_back_the_same_way() {
    let mut world = World::deploying(Strategy::Recreate, vec![]);
    world.healthy = false;
    world.pass(130);
    let together =
        world.seen.iter().any(|s| s.release == OLD) && world.seen.iter().any(|s| s.release == NEW);
    assert!(!together);
    world.pass(10);
    assert_eq!(world.ended[0].state, DeploymentState::RolledBack);
    assert_eq!(world.serving(OLD), 4);
    // Those who never end put off its end, and change nothing of it.
    let mut held = World::deploying(Strategy::Recreate, vec![]);
    (held.healthy, held.held) = (false, Some(3));
    held.pass(140);
    assert_eq!((held.state(), held.serving(OLD)), (Some(DeploymentState::Returning), 4));
    held.pass(400);
    assert_eq!(held.ended[0].state, DeploymentState::RolledBack);
    assert!(held.ended[0].notes.join(" ").contains("3 requests that were held"));
}

#[test]
fn an_abort_takes_the_weight_first_and_the_instances_after_the_acknowledgement() {
    let steps = vec![Step::Weight(25), Step::Pause(None)];
    let mut world = World::deploying(Strategy::Canary, steps);
    world.pass(10);
    assert_eq!((world.share().percent, world.asks()), (25, Some(AsksFor::Promotion)));
    world.abort(false);
    world.acks = false;
    world.transcript();
    world.pass(20);
    assert_eq!(world.share().percent, 0);
    let log = world.transcript();
    assert!(!log.iter().any(|l| l.starts_with("drain")), "{log:?}");
    world.acks = true;
    world.pass(5);
    assert!(world.transcript().contains(&"drain v2".to_owned()));
    assert_eq!(world.ended[0].state, DeploymentState::RolledBack);
}

#[test]
fn a_third_version_in_mid_canary_finds_the_abandoned_one_drained() {
    let steps = vec![Step::Weight(25), Step::Pause(None)];
    let mut world = World::deploying(Strategy::Canary, steps);
    world.pass(10);
    world.transcript();
    world.ask(NEWER, Strategy::Canary);
    world.abort(true);
    world.pass(10);
    let log = world.transcript();
    let place = |what: &str| {
        log.iter().position(|l| l.starts_with(what)).unwrap_or_else(|| panic!("{what}: {log:?}"))
    };
    assert!(place("v2 gets no more traffic") < place("drain v2"));
    assert!(place("drain v2") < place("+1 v3"));
    assert_eq!(world.ended[0].state, DeploymentState::Superseded);
    assert_eq!(world.running.as_ref().map(|d| (d.release, d.base)), Some((NEWER, Some(OLD))));
    assert_eq!((world.serving(NEW), world.serving(OLD)), (0, 4));
    assert_eq!(world.share().percent, 25, "it goes its own steps");
}

#[test]
fn what_an_earlier_deployment_left_serves_until_the_old_side_is_whole_again() {
    let left = ReleaseNumber(9);
    let steps = vec![Step::Weight(25), Step::Pause(None)];
    let mut world = World::deploying(Strategy::Canary, steps);
    world.pass(10);
    // A rolling deployment was superseded when it had replaced three of four.
    for seen in world.seen.iter_mut().filter(|s| s.release == OLD).take(3) {
        seen.release = left;
    }
    world.abort(true);
    world.ask(NEWER, Strategy::Canary);
    for second in 0..60 {
        world.pass(1);
        // Once the newer one has begun, the abandoned canary serves like any other.
        let canary = if world.ended.is_empty() { 0 } else { world.serving(NEW) };
        let serving = world.serving(OLD) + world.serving(left) + canary;
        assert!(serving >= 4, "{serving} serve after {second} s: {:?}", world.log);
    }
    assert_eq!(world.running.as_ref().map(|d| (d.release, d.base)), Some((NEWER, Some(OLD))));
    assert_eq!((world.serving(left), world.serving(OLD)), (0, 4));
}

/// The canary without a share is no capacity: nothing that serves may go because it is there.
#[test]
fn a_canary_that_never_had_traffic_stands_in_for_nobody_on_the_way_back() {
    let left = ReleaseNumber(9);
    let mut world = World::deploying(Strategy::Canary, vec![Step::Approval {}, Step::Weight(100)]);
    world.pass(10);
    assert_eq!((world.asks(), world.serving(NEW)), (Some(AsksFor::Approval), 1));
    for seen in world.seen.iter_mut().filter(|s| s.release == OLD).take(3) {
        seen.release = left;
    }
    world.abort(false);
    for second in 0..60 {
        world.pass(1);
        let serving = world.serving(OLD) + world.serving(left);
        assert!(serving >= 4, "{serving} serve after {second} s: {:?}", world.log);
    }
    assert_eq!(world.ended[0].state, DeploymentState::RolledBack);
    assert_eq!((world.serving(NEW), world.serving(left), world.serving(OLD)), (0, 0, 4));
}

/// What an ended rolling deployment of the release left serves three quarters of the requests.
fn again_in_steps() -> World {
    let mut world = World::deploying(Strategy::Canary, vec![Step::Approval {}, Step::Weight(100)]);
    for seen in world.seen.iter_mut().filter(|s| s.release == OLD).take(3) {
        seen.release = NEW;
    }
    world
}

#[test]
fn a_release_that_serves_already_gives_its_traffic_to_a_whole_old_side() {
    let mut world = again_in_steps();
    for second in 0..30 {
        world.pass(1);
        let old = world.serving(OLD);
        match world.state() {
            None => assert!(old + world.serving(NEW) >= 4, "{second} s: {:?}", world.log),
            Some(_) => assert!(old >= 4, "{old} after {second} s: {:?}", world.log),
        }
    }
    assert_eq!(world.asks(), Some(AsksFor::Approval), "{:?}", world.log);
}

/// A server that has just begun has not heard from the gateway what serves.
#[test]
fn who_may_serve_already_counts_before_the_gateway_says_so() {
    let mut world = again_in_steps();
    world.acks = false;
    for seen in &mut world.seen {
        (seen.admission, seen.probe) = (Admission::Unknown, None);
    }
    world.pass(5);
    assert_eq!(world.state(), None, "{:?}", world.log);
}

#[test]
fn an_old_side_that_cannot_be_made_whole_is_not_waited_for_without_end() {
    let mut world = again_in_steps();
    for _ in 0..59 {
        world.pass(1);
        assert_eq!(world.state(), None, "{:?}", world.log);
        for seen in world.seen.iter_mut().filter(|s| s.state == InstanceState::Starting) {
            seen.probe =
                Some(ProbeSeen { ready: false, since: seen.created_at, last_failure: None });
        }
    }
    world.pass(3);
    assert_eq!(world.state(), Some(DeploymentState::Stepping), "{:?}", world.log);
}

#[test]
fn a_bad_canary_instance_ends_it_and_a_lost_old_one_is_replaced() {
    let steps = || vec![Step::Weight(5), Step::Pause(None)];
    let mut world = World::deploying(Strategy::Canary, steps());
    world.healthy = false;
    world.pass(130);
    assert_eq!(world.ended[0].state, DeploymentState::RolledBack);

    let mut world = World::deploying(Strategy::Canary, steps());
    world.pass(10);
    let exit = Exit {
        began: None,
        code: Some(1),
        signal: None,
        out_of_memory: false,
        requested: false,
        at: at(9),
    };
    world.seen[0].engine = Some(EngineState::Exited { exit });
    world.pass(5);
    assert_eq!((world.serving(OLD), world.serving(NEW)), (4, 1));
    assert_eq!(world.state(), Some(DeploymentState::Stepping));
    world.app.scale = Some(6);
    world.pass(10);
    assert_eq!((world.serving(OLD), world.serving(NEW)), (6, 1), "scaled in the middle");
}
