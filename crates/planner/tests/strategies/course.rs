//! How each strategy goes from the old side to the new one.

use std::time::Duration;

use super::world::*;
use ark_model::DeploymentState;
use ark_model::definition::{HeaderStep, MirrorStep, Quantity, Step, Strategy};
use ark_model::instance::InstanceState;
use ark_model::rollout::{AsksFor, Share};
use ark_planner::ShareSeen;
use ark_planner::wishes::{Refusal, Wish};
use jiff::SignedDuration;

#[test]
fn a_canary_goes_step_by_step_and_the_old_side_stays_whole() {
    let pause = |n| Step::Pause(Some(seconds(n)));
    let steps = vec![Step::Weight(5), pause(10), Step::Weight(50), pause(10)];
    let mut world = World::deploying(Strategy::Canary, steps);
    let mut whole = true;
    for _ in 0..14 {
        world.pass(1);
        whole &= world.serving(OLD) == 4;
    }
    assert_eq!(
        world.transcript(),
        [
            "+1 v2",
            "5 % of the traffic goes to v2",
            "step 2 of 5: pause 10s",
            "+1 v2",
            "step 3 of 5: 50 % of the traffic"
        ]
    );
    assert_eq!((world.serving(NEW), world.share().percent), (1, 5), "too few for half of it");
    for _ in 0..12 {
        world.pass(1);
        whole &= world.serving(OLD) == 4;
    }
    assert_eq!((world.serving(NEW), world.share().percent), (2, 50));
    assert!(whole, "the old side keeps its size until it has no traffic");
    world.pass(20);
    let log = world.transcript();
    let place = |what: &str| {
        log.iter().position(|l| l == what).unwrap_or_else(|| panic!("{what}: {log:?}"))
    };
    assert!(place("+2 v2") < place("all of the traffic goes to v2"));
    assert!(place("all of the traffic goes to v2") < place("live"));
    assert!(place("live") < place("drain v1"));
    assert_eq!(world.ended[0].state, DeploymentState::Succeeded);
    assert_eq!((world.serving(NEW), world.serving(OLD)), (4, 0));
}

#[test]
fn a_step_counts_from_the_acknowledgement() {
    let steps = vec![Step::Weight(5), Step::Pause(Some(seconds(10)))];
    let mut world = World::deploying(Strategy::Canary, steps);
    world.pass(3);
    let asked = world.share();
    assert_eq!(asked.percent, 5);
    // From here on the gateway does not answer: the table in force says 0.
    world.acks = false;
    world.share = ShareSeen::Of(NEW, Share::default());
    let d = world.running.as_mut().expect("a deployment");
    let rollout = d.rollout.as_mut().expect("steps");
    (rollout.step, rollout.share) = (0, asked);
    world.pass(60);
    assert_eq!(world.running.as_ref().and_then(|d| d.rollout.as_ref()).map(|r| r.step), Some(0));
    world.acks = true;
    world.pass(5);
    assert_eq!(world.running.as_ref().and_then(|d| d.rollout.as_ref()).map(|r| r.step), Some(1));
}

#[test]
fn of_a_kept_old_side_what_was_still_starting_is_let_in() {
    let mut world = World::deploying(Strategy::BlueGreen, vec![]);
    world.pass(20);
    assert_eq!(world.state(), Some(DeploymentState::Keeping));
    let kept = world.seen.iter_mut().find(|s| s.release == OLD).expect("an old one");
    (kept.state, kept.active_at) = (InstanceState::Starting, None);
    world.pass(5);
    assert_eq!((world.serving(OLD), world.serving(NEW)), (4, 4), "{:?}", world.log);
}

#[test]
fn blue_green_switches_once_and_keeps_the_old_side() {
    let mut world = World::deploying(Strategy::BlueGreen, vec![]);
    world.pass(2);
    assert_eq!((world.serving(NEW), world.serving(OLD), world.share().percent), (0, 4, 0));
    world.pass(3);
    assert_eq!(world.transcript(), ["+4 v2", "all of the traffic goes to v2", "live, keeping"]);
    assert_eq!((world.serving(NEW), world.serving(OLD)), (4, 4));
    world.pass(55);
    assert_eq!(world.serving(OLD), 4, "kept");
    world.pass(10);
    assert_eq!(
        world.transcript(),
        ["let go", "drain v1", "drain v1", "drain v1", "drain v1", "Succeeded"]
    );
    assert_eq!(world.seen.len(), 4);
}

#[test]
fn the_old_side_is_let_go_early_when_somebody_says_so() {
    let mut world = World::deploying(Strategy::BlueGreen, vec![]);
    world.pass(10);
    world.wish(Wish::Promote { full: false }).expect("it is kept");
    world.pass(3);
    assert_eq!(world.ended[0].state, DeploymentState::Succeeded);
}

#[test]
fn recreate_stops_all_then_starts_all() {
    let mut world = World::deploying(Strategy::Recreate, vec![]);
    world.pass(1);
    let log = world.transcript();
    let first_start = log.iter().position(|l| l.starts_with('+')).expect("a start");
    assert_eq!(&log[..first_start], ["drain v1", "drain v1", "drain v1", "drain v1"]);
    assert_eq!(log[first_start], "+4 v2");
    world.pass(3);
    assert_eq!(world.ended[0].state, DeploymentState::Succeeded);
    // It ends when what it made wait has ended, or has had the time of a drain.
    for (held, note) in [(Some(7), "7 requests that were held"), (None, "did not say")] {
        let mut world = World::deploying(Strategy::Recreate, vec![]);
        world.held = held;
        world.pass(20);
        assert_eq!(world.state(), Some(DeploymentState::Draining), "{held:?}");
        let mut answered = World::deploying(Strategy::Recreate, vec![]);
        answered.held = held;
        answered.pass(20);
        answered.held = Some(0);
        answered.pass(1);
        assert_eq!(answered.ended[0].state, DeploymentState::Succeeded, "{held:?}");
        assert_eq!(answered.ended[0].notes, Vec::<String>::new());
        world.pass(400);
        assert_eq!(world.ended[0].state, DeploymentState::Succeeded, "{held:?}");
        let said = world.ended[0].notes.join(" ");
        assert!(said.contains(note), "{said}");
    }
    // One that is busy is waited for: two versions never run beside each other.
    let mut world = World::deploying(Strategy::Recreate, vec![]);
    world.seen[0].in_flight = Some(3);
    world.pass(10);
    assert!(world.seen.iter().all(|s| s.release == OLD));
    world.pass(30);
    assert_eq!(world.ended[0].state, DeploymentState::Succeeded);
}

#[test]
fn people_say_go_and_stay() {
    let approval =
        || vec![Step::Weight(10), Step::Approval {}, Step::Weight(50), Step::Pause(None)];
    let mut world = World::deploying(Strategy::Canary, approval());
    world.pass(10);
    assert_eq!(world.asks(), Some(AsksFor::Approval));
    assert_eq!(world.wish(Wish::Resume), Err(Refusal::NotPaused));
    world.wish(Wish::Approve).expect("it waits for that");
    world.pass(10);
    assert_eq!((world.share().percent, world.asks()), (50, Some(AsksFor::Promotion)));
    assert!(matches!(world.wish(Wish::Approve), Err(Refusal::NothingToApprove { step: 4, .. })));
    world.wish(Wish::Pause).expect("it can wait");
    assert!(matches!(world.wish(Wish::Pause), Err(Refusal::Paused { .. })));
    world.wish(Wish::Resume).expect("it is paused");
    world.pass(3);
    assert_eq!(world.asks(), Some(AsksFor::Promotion));
    world.wish(Wish::Promote { full: false }).expect("it waits for that");
    world.pass(10);
    assert_eq!(world.ended[0].state, DeploymentState::Succeeded);

    let mut full = World::deploying(Strategy::Canary, approval());
    full.pass(10);
    full.wish(Wish::Promote { full: true }).expect("to the end");
    full.pass(1);
    assert_eq!(full.share().percent, 10, "not before there are enough instances");
    full.pass(10);
    assert_eq!(full.ended[0].state, DeploymentState::Succeeded);
    assert!(!full.transcript().iter().any(|l| l.starts_with("50 %")));
}

#[test]
fn a_pause_counts_against_no_deadline_and_a_person_has_a_day() {
    let day = 24 * 60 * 60;
    for step in [Step::Approval {}, Step::Pause(None)] {
        let mut world = World::deploying(Strategy::Canary, vec![Step::Weight(10), step]);
        world.pass(10);
        // Plans are made at their times only; second by second would take too long.
        world.now += day - 60;
        world.pass(10);
        assert_eq!(world.state(), Some(DeploymentState::Stepping), "the deadline is 30 m");
        world.now += 60;
        world.pass(10);
        assert_eq!(world.ended[0].state, DeploymentState::RolledBack);
    }
    let mut paused = World::deploying(Strategy::Canary, vec![Step::Weight(10)]);
    paused.pass(1);
    paused.wish(Wish::Pause).expect("steps");
    paused.now += day - 60;
    paused.pass(10);
    assert_eq!(paused.state(), Some(DeploymentState::Stepping));
    paused.wish(Wish::Resume).expect("paused");
    paused.pass(20);
    assert_eq!(paused.ended[0].state, DeploymentState::Succeeded);
}

#[test]
fn scale_header_and_mirror_are_in_force_before_the_next_step() {
    let rule = HeaderStep { name: Some("x-canary".into()), cookie: None, value: Some("1".into()) };
    let mirror = MirrorStep { percent: 10, unsafe_methods: false };
    let steps = vec![
        Step::Scale(Quantity::Count(3)),
        Step::Header(rule.clone()),
        Step::Mirror(mirror.clone()),
        Step::Pause(None),
    ];
    let mut world = World::deploying(Strategy::Canary, steps);
    world.pass(1);
    assert_eq!(world.share(), Share::default(), "not before the instances serve");
    world.pass(10);
    assert_eq!(world.serving(NEW), 3);
    assert_eq!(world.share(), Share { percent: 0, headers: vec![rule], mirror: Some(mirror) });
    world.wish(Wish::Promote { full: false }).expect("it waits");
    world.pass(10);
    assert_eq!(world.ended[0].state, DeploymentState::Succeeded);
    assert_eq!(
        world.ended[0].rollout.as_ref().map(|r| r.share.clone()),
        Some(Share { percent: 100, ..Share::default() })
    );
}

#[test]
fn a_first_deployment_and_a_stopped_app_have_no_steps() {
    for live in [None, Some(OLD)] {
        let mut world =
            World::deploying(Strategy::Canary, vec![Step::Weight(5), Step::Pause(None)]);
        world.seen.clear();
        world.app.live = live;
        world.pass(10);
        assert_eq!(world.ended[0].state, DeploymentState::Succeeded, "{live:?}");
        assert_eq!(world.ended[0].rollout, None);
    }
}

#[test]
fn what_is_said_to_one_step_is_no_answer_at_the_next() {
    let go_on = Wish::Promote { full: false };
    let steps = vec![Step::Weight(10), Step::Pause(None), Step::Approval {}, Step::Pause(None)];
    let mut world = World::deploying(Strategy::Canary, steps);
    world.policy.keep_old = Duration::from_secs(60);
    world.pass(10);
    assert_eq!(world.asks(), Some(AsksFor::Promotion));
    // Twice before anything moved is once.
    world.wish_at(Some(2), go_on).expect("it waits for that");
    world.wish_at(Some(2), go_on).expect("and has not moved yet");
    world.pass(3);
    assert_eq!(world.asks(), Some(AsksFor::Approval), "{:?}", world.log);
    for wish in [go_on, Wish::Resume, Wish::Approve] {
        let refusal = world.wish_at(Some(2), wish).expect_err("it was said to another step");
        assert_eq!(
            refusal.to_string(),
            "it is no longer at step 2: it is at step 3 of 5 (approval) now, and waits for an \
             approval"
        );
    }
    world.pass(3);
    assert_eq!(world.asks(), Some(AsksFor::Approval), "nobody gave it: {:?}", world.log);
    world.wish_at(Some(2), Wish::Pause).expect("to stay is to stay, wherever it is");
    world.wish_at(Some(3), Wish::Resume).expect("it is paused there");
    world.wish_at(Some(3), Wish::Approve).expect("it waits for that");
    world.pass(3);
    assert_eq!(world.asks(), Some(AsksFor::Promotion), "{:?}", world.log);
    world.wish_at(Some(1), Wish::Promote { full: true }).expect("the end is the end");
    world.pass(10);
    assert_eq!(world.state(), Some(DeploymentState::Keeping), "{:?}", world.log);
    // The old side is let go only by whoever knows that it is kept.
    for wish in [go_on, Wish::Promote { full: true }] {
        let refusal = world.wish_at(Some(4), wish).expect_err("it was said to another step");
        assert!(refusal.to_string().contains("all of its steps are done"), "{refusal}");
    }
    world.wish_at(Some(6), go_on).expect("it is kept");
}

/// It takes traffic as soon as it is ready, and is live when it has been so for its time.
#[test]
fn where_the_old_side_is_down_the_new_one_has_yet_to_prove_itself() {
    let mut world = World::deploying(Strategy::BlueGreen, Vec::new());
    for old in &mut world.seen {
        old.probe.as_mut().expect("a check").ready = false;
    }
    world.pass(30);
    let live = world.said_at("live, keeping").unwrap_or_else(|| panic!("{:?}", world.log));
    let ready = world.seen.iter().filter(|s| s.release == NEW).map(|s| s.created_at).max();
    assert!(at(live) >= ready.expect("the new side") + SignedDuration::from_secs(2));
}
