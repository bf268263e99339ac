//! Analyses and watches: what the judge's verdicts lead to, and when there is none.

use super::world::*;
use ark_model::definition::{HeaderStep, HookStage, Step, Strategy};
use ark_model::hook::{HookRun, HookState, HookWhat};
use ark_model::instance::{EngineState, Exit};
use ark_model::rollout::{AsksFor, WatchEnd};
use ark_model::{DeploymentState, Verdict};
use ark_planner::wishes::Wish;

#[test]
fn the_judge_decides() {
    let steps = || vec![Step::Weight(50), Step::Pause(Some(seconds(60))), Step::Analysis {}];
    let run = |rates: Rates, time: i64| {
        let mut world = World::deploying(Strategy::Canary, steps());
        world.rates = rates;
        world.pass(time);
        world
    };
    let good = run(judged((20, 0), (20, 0)), 100);
    assert_eq!(good.ended[0].state, DeploymentState::Succeeded);
    let said = &good.ended[0].rollout.as_ref().expect("steps").judgements;
    assert_eq!(said.last().map(|j| (j.step, j.judgement.verdict)), Some((2, Verdict::Pass)));

    let bad = run(judged((10, 10), (20, 0)), 50);
    assert_eq!(bad.ended[0].state, DeploymentState::RolledBack, "before the pause is over");

    let mut silent = run(judged((0, 0), (0, 0)), 100);
    assert_eq!((silent.state(), silent.asks()), (Some(DeploymentState::Stepping), None), "held");
    silent.pass(300);
    assert_eq!(silent.asks(), Some(AsksFor::Judgement), "no data is never a pass");
    silent.wish(Wish::Promote { full: false }).expect("a person may");
    silent.pass(20);
    assert_eq!(silent.ended[0].state, DeploymentState::Succeeded);
}

/// What was measured is kept over a restart. Should it be lost, a verdict after a few seconds would be one
/// on less than was promised.
#[test]
fn a_restart_takes_nothing_from_the_time_on_which_a_verdict_rests() {
    let steps = || vec![Step::Weight(50), Step::Pause(Some(seconds(60))), Step::Analysis {}];
    let good = || judged((50, 0), (50, 0));
    let mut undisturbed = World::deploying(Strategy::Canary, steps());
    undisturbed.rates = good();
    undisturbed.pass(200);
    let began = undisturbed.said_at("50 %").expect("the share is in force");
    let promised = undisturbed.said_at("the judge passes").expect("a verdict") - began;
    assert!((60..65).contains(&promised), "{promised} s");
    // In the pause, and in the analysis, which has not found enough requests.
    for (restarts, rates) in [(vec![30], good()), (vec![20, 50], good()), (vec![90], Rates::new())]
    {
        let mut world = World::deploying(Strategy::Canary, steps());
        world.rates = rates;
        let mut last = 0;
        for restart in &restarts {
            world.pass(began + restart - world.now);
            assert_eq!(world.said_at("the judge passes"), None, "{restarts:?}");
            world.restart_without_measures();
            last = world.now;
        }
        world.rates = good();
        world.pass(300);
        let anew = world.said_at("what was measured is lost").expect("it is said");
        assert_eq!(anew, began + restarts[0], "{restarts:?}");
        let passed = world.said_at("the judge passes").expect("a verdict");
        assert!((60..65).contains(&(passed - last)), "{restarts:?}: {} s", passed - last);
    }
    // With what was measured nothing takes longer.
    let mut kept = World::deploying(Strategy::Canary, steps());
    kept.rates = good();
    kept.pass(began + 30);
    kept.restart();
    kept.pass(200);
    let passed = kept.said_at("the judge passes").expect("a verdict");
    assert!((60..65).contains(&(passed - began)), "{} s", passed - began);
    // Without an analysis ahead a pause is a pause.
    let mut world =
        World::deploying(Strategy::Canary, vec![Step::Weight(50), Step::Pause(Some(seconds(60)))]);
    world.pass(began + 30);
    world.restart_without_measures();
    world.pass(40);
    assert_eq!(world.said_at("what was measured is lost"), None);
    assert!(world.said_at("all of the traffic").is_some_and(|at| at <= began + 62));
}

/// Testers are let in by a header, and what they meet is judged from then on, not from the analysis on.
#[test]
fn a_canary_by_header_is_judged_by_what_its_testers_met() {
    let rule = || HeaderStep { name: Some("x-canary".into()), cookie: None, value: None };
    let steps = || vec![Step::Header(rule()), Step::Pause(Some(seconds(600))), Step::Analysis {}];
    let run = |new: (u64, u64), time: i64| {
        let mut world = World::deploying(Strategy::Canary, steps());
        world.pass(5);
        assert_eq!((world.share().percent, world.share().headers), (0, vec![rule()]));
        world.rates = judged(new, (100, 0));
        world.pass(time);
        world
    };
    let bad = run((5, 5), 60);
    assert_eq!(bad.ended[0].state, DeploymentState::RolledBack, "in the pause");
    let good = run((1, 0), 620);
    let judgements = &good.ended[0].rollout.as_ref().expect("steps").judgements;
    let passed = judgements.last().expect("a judgement");
    assert_eq!((passed.step, passed.judgement.verdict), (2, Verdict::Pass));
    let requests = passed.judgement.new.requests;
    assert!((595..=605).contains(&requests), "those of the pause: {requests}");
    // A second rule lets in others: what is judged begins anew, and early looks with it.
    let beta = HeaderStep { name: None, cookie: Some("beta".into()), value: None };
    let mut steps = steps();
    steps.insert(2, Step::Header(beta));
    let mut world = World::deploying(Strategy::Canary, steps);
    world.pass(5);
    world.rates = judged((1, 0), (100, 0));
    world.pass(650);
    assert_eq!((world.state(), world.asks()), (Some(DeploymentState::Stepping), None));
    let rollout = world.running.as_ref().and_then(|d| d.rollout.as_ref()).expect("steps");
    assert!(rollout.judged_from.is_some_and(|from| from > at(600)), "{rollout:?}");
    assert_eq!(rollout.looks, 0);
    assert!(rollout.looks_before >= 1);
}

/// The pause passed while the server was away: before it has heard what was counted meanwhile it knows
/// of the first seconds only.
#[test]
fn no_verdict_before_all_of_the_pause_is_known() {
    let steps = vec![Step::Weight(50), Step::Pause(Some(seconds(60))), Step::Analysis {}];
    let mut world = World::deploying(Strategy::Canary, steps);
    world.rates = judged((100, 0), (100, 0));
    world.pass(12);
    world.rates = judged((50, 50), (100, 0));
    world.away(90);
    world.pass(5);
    assert_eq!(world.said_at("the judge passes"), None, "of a few seconds");
    assert_eq!((world.state(), world.asks()), (Some(DeploymentState::Stepping), None));
    world.heard();
    world.pass(20);
    assert_eq!(world.ended[0].state, DeploymentState::RolledBack);
    assert_eq!(world.said_at("the judge passes"), None);
}

#[test]
fn a_watch_window_ends_good_or_leads_back() {
    let after_deploying = |old: (u64, u64), new: (u64, u64)| {
        let mut world = World::deploying(Strategy::BlueGreen, vec![]);
        world.rates = judged((0, 0), old);
        world.pass(80);
        assert_eq!(world.ended.len(), 1);
        world.rates = judged(new, (0, 0));
        world.pass(305);
        world
    };
    let good = after_deploying((20, 0), (20, 0));
    assert_eq!(
        (good.ended_watches.clone(), good.app.good.clone()),
        (vec![WatchEnd::Completed], vec![NEW])
    );
    let bad = after_deploying((20, 0), (10, 10));
    assert_eq!((bad.ended_watches, bad.app.good), (vec![WatchEnd::RolledBack], vec![]));
    let both_bad = after_deploying((15, 5), (10, 10));
    assert_eq!(both_bad.ended_watches, [WatchEnd::FoundBad], "there is nothing good to go back to");
    // What is not found: of nobody's doing when it is asked for beside the rest, and of the release's
    // when it was found before.
    let not_found = |served: u64, not_found: u64| {
        let mut world = World::deploying(Strategy::BlueGreen, vec![]);
        world.rates = judged((0, 0), (20, 0));
        world.pass(80);
        world.rates = judged((served, 0), (0, 0));
        world.not_found = not_found;
        world.pass(305);
        (world.ended_watches, world.app.good)
    };
    assert_eq!(not_found(20, 30), (vec![WatchEnd::Completed], vec![NEW]), "a crawler");
    assert_eq!(not_found(14, 6), (vec![WatchEnd::RolledBack], vec![]));
    assert_eq!(not_found(0, 50), (vec![WatchEnd::RolledBack], vec![]), "asked again and again");
    // A restart in the middle of the window changes nothing of that: what turned bad before it counts,
    // and so does the old side that nobody measures again.
    let mut restarted = World::deploying(Strategy::BlueGreen, vec![]);
    restarted.rates = judged((0, 0), (20, 0));
    restarted.pass(80);
    restarted.rates = judged((20, 0), (0, 0));
    restarted.pass(20);
    restarted.restart();
    restarted.rates = judged((10, 10), (0, 0));
    restarted.pass(285);
    assert_eq!(restarted.ended_watches, [WatchEnd::RolledBack]);
    let mut cut = World::deploying(Strategy::Rolling, vec![]);
    cut.pass(60);
    assert!(cut.app.watch.is_some());
    cut.ask(NEWER, Strategy::Rolling);
    cut.pass(1);
    assert_eq!(cut.ended_watches, [WatchEnd::CutShort]);
}

/// What is missing at a window's end is waited for. A window of which nothing, or too little, is known
/// makes nothing known good; one in which hardly anybody asked does.
#[test]
fn a_watch_window_of_which_nothing_is_known_makes_nothing_known_good() {
    let watched = || {
        let mut world = World::deploying(Strategy::BlueGreen, vec![]);
        world.rates = judged((0, 0), (20, 0));
        world.pass(80);
        assert!(world.app.watch.is_some() && world.ended_watches.is_empty());
        world
    };
    // The server is killed as the window begins, and started again when it is over.
    let away = |new: (u64, u64)| {
        let mut world = watched();
        world.rates = judged(new, (0, 0));
        world.away(400);
        world.pass(10);
        assert_eq!(world.ended_watches, [], "what was counted is still to come");
        world
    };
    let mut good = away((20, 0));
    good.heard();
    good.pass(5);
    assert_eq!((good.ended_watches, good.app.good), (vec![WatchEnd::Completed], vec![NEW]));
    let mut bad = away((10, 10));
    bad.heard();
    bad.pass(5);
    assert_eq!((bad.ended_watches, bad.app.good), (vec![WatchEnd::RolledBack], vec![]));
    // The gateway is not heard again.
    let mut silent = away((20, 0));
    silent.pass(60);
    assert_eq!((silent.ended_watches, silent.app.good), (vec![WatchEnd::Unjudged], vec![]));
    // What was measured cannot be read: there is nothing to hold the release against.
    let mut lost = watched();
    lost.rates = judged((20, 0), (0, 0));
    lost.pass(20);
    lost.restart_without_measures();
    lost.pass(300);
    assert_eq!((lost.ended_watches, lost.app.good), (vec![WatchEnd::Unjudged], vec![]));
    // Nobody asked.
    let mut quiet = watched();
    quiet.rates = judged((0, 0), (0, 0));
    quiet.pass(305);
    assert_eq!((quiet.ended_watches, quiet.app.good), (vec![WatchEnd::Completed], vec![NEW]));
}

/// The old side is there, and better: nobody waits until it is gone.
#[test]
fn what_turns_bad_while_the_old_side_is_kept_goes_back_to_it() {
    let kept = |new: (u64, u64), old: (u64, u64)| {
        let mut world = World::deploying(Strategy::BlueGreen, Vec::new());
        world.rates = judged(new, old);
        world.pass(30);
        world
    };
    for (new, old) in [((100, 100), (100, 0)), ((100, 10), (100, 0)), ((5, 5), (20, 0))] {
        let world = kept(new, old);
        let back = world.said_at("return:").unwrap_or_else(|| panic!("{new:?}: {:?}", world.log));
        let live = world.said_at("live, keeping").expect("it was live");
        assert!(back - live <= 10, "{new:?}: live at {live}, back at {back}");
        assert_eq!(world.app.live, Some(OLD));
    }
    for (new, old) in
        [((100, 1), (100, 1)), ((100, 100), (100, 100)), ((0, 1), (0, 0)), ((0, 0), (100, 0))]
    {
        let world = kept(new, old);
        assert_eq!(world.state(), Some(DeploymentState::Keeping), "{new:?}: {:?}", world.log);
    }
}

/// Hardly anybody asks: most answers are errors all the same.
#[test]
fn a_release_that_answers_little_but_errors_is_not_known_good() {
    let watched = |new: (u64, u64), old: (u64, u64)| {
        let mut world = World::deploying(Strategy::Rolling, Vec::new());
        world.rates = judged(new, old);
        world.pass(400);
        (world.ended_watches.clone(), world.app.good.contains(&NEW))
    };
    assert_eq!(watched((1, 1), (5, 0)), (vec![WatchEnd::RolledBack], false));
    // What the one before was is not known.
    assert_eq!(watched((1, 1), (0, 0)), (vec![WatchEnd::FoundBad], false));
    assert_eq!(watched((1, 0), (0, 0)), (vec![WatchEnd::Completed], true));
}

/// They come back each time, and are ready when they do.
#[test]
fn a_release_whose_instances_keep_ending_is_not_known_good() {
    let mut world = World::deploying(Strategy::Rolling, Vec::new());
    world.rates = judged((20, 0), (20, 0));
    world.pass(100);
    world.app.failures = 3;
    world.pass(300);
    assert_eq!((world.ended_watches, world.app.good), (vec![WatchEnd::Unjudged], vec![]));
}

/// What is asked of it then is counted for no release.
#[test]
fn a_release_of_which_no_instance_stays_up_is_left() {
    let live = |strategy: Strategy, failures: u32| {
        let mut world = World::deploying(strategy, Vec::new());
        world.rates = judged((20, 0), (20, 0));
        world.pass(30);
        world.app.good = vec![OLD];
        world.app.failures = failures;
        world.app.start_after = Some(at(10_000));
        world
    };
    let fails = |mut world: World, count: usize| {
        let exit = Exit {
            code: Some(1),
            signal: None,
            out_of_memory: false,
            requested: false,
            began: None,
            at: at(world.now),
        };
        for seen in world.seen.iter_mut().filter(|seen| seen.release == NEW).take(count) {
            seen.engine = Some(EngineState::Exited { exit: exit.clone() });
        }
        world.pass(20);
        world
    };
    let rolling = |failures, count| fails(live(Strategy::Rolling, failures), count).ended_watches;
    assert_eq!(rolling(4, 4), vec![WatchEnd::RolledBack]);
    assert_eq!(rolling(3, 4), vec![]);
    // One is up: whether the gateway is connected and says so or not.
    assert_eq!(rolling(9, 3), vec![]);
    let mut unheard = live(Strategy::Rolling, 9);
    unheard.acks = false;
    for seen in &mut unheard.seen {
        (seen.probe, seen.admission) = (None, ark_planner::Admission::Unknown);
    }
    assert_eq!(fails(unheard, 3).ended_watches, vec![]);
    // None is wanted.
    let mut none = live(Strategy::Rolling, 9);
    none.app.scale = Some(0);
    none.pass(60);
    assert_eq!(none.ended_watches, vec![]);
    let kept = fails(live(Strategy::BlueGreen, 4), 4);
    assert!(kept.said_at("return:").is_some(), "{:?}", kept.log);
    let gone = kept.ended.last().and_then(|d| d.rollout.as_ref()).expect("it ended");
    let words = gone.judgements.last().expect("a judgement").judgement.words(3);
    assert!(words.contains("none is up, 5 failed in a row"), "{words}");
    assert!(fails(live(Strategy::BlueGreen, 3), 4).said_at("return:").is_none());
}

/// A hook may take its time; users are not to bear a bad release for so long.
#[test]
fn what_turns_bad_while_a_hook_runs_goes_back() {
    let mut world = World::deploying(Strategy::BlueGreen, Vec::new());
    world.rates = judged((20, 0), (20, 0));
    world.pass(5);
    let now = at(world.now);
    let d = world.running.as_mut().expect("it is kept");
    d.hooks = vec![HookRun {
        name: "clear-the-cache".to_owned(),
        stage: HookStage::PostDeploy,
        what: HookWhat::Command { command: vec!["./clear".to_owned()] },
        timeout_ms: 600_000,
        state: HookState::Running,
        attempts: 1,
        instance: None,
        seen: true,
        begun_at: Some(now),
        ask_at: None,
        stopping_at: None,
        ended_at: None,
        note: None,
        log: Vec::new(),
    }];
    world.rates = judged((0, 100), (20, 0));
    world.pass(30);
    assert!(world.said_at("return:").is_some(), "{:?}", world.log);
}
