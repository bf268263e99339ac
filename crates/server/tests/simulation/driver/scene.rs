//! A scene of the whole simulation, in which nothing is left to the dice but the order of the loops.

use std::task::{Context, Waker};

use ark_model::definition::{DurationText, Expose, Step, Strategy};
use ark_model::instance::InstanceState;
use ark_model::{Deployment, DeploymentState};
use ark_planner::queue::Running;
use ark_server::world::Clock;
use ark_store::DeploymentFilter;
use jiff::SignedDuration;

use super::{APPS, Outcome, Simulation, app, block, env};
use crate::universe::Behaviour;

impl Simulation {
    fn poll_deployments(&mut self) {
        let Some(life) = &mut self.life else { return };
        let _ = life.future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }

    fn states(&self, name: &str) -> Vec<InstanceState> {
        let key = app(name);
        let all = block(self.store.read(move |tx| tx.alive_instances_of(&env(), &key))).unwrap();
        all.iter().map(|i| i.state).collect()
    }

    /// Lets the server, the gateway and time go on, nothing failing, until this holds.
    fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        self.calm = true;
        for _ in 0..20_000 {
            if holds(self) {
                return;
            }
            self.step();
        }
        let ended: Vec<String> = self
            .all_deployments()
            .iter()
            .map(|d| format!("{} {}: {:?} {:?}", d.app, d.release, d.state, d.diagnosis))
            .collect();
        let events = self.events().join("\n");
        panic!("it never came to that: {what}; {}\n{events}", ended.join("\n"));
    }

    fn deploys(&mut self, strategy: Strategy, steps: Vec<Step>, on_running: Running) {
        let mut definition = self.definition(Behaviour::Good);
        definition.expose = vec![Expose::new("default", 80)];
        definition.autoscaling.min_count = Some(2);
        definition.deploy.strategy = strategy;
        definition.deploy.steps = steps;
        definition.deploy.keep_old = None;
        self.deploy_as(APPS[1], definition, Behaviour::Good, on_running);
    }
}

fn is_up(state: InstanceState) -> bool {
    matches!(state, InstanceState::Starting | InstanceState::Active)
}

/// In the middle of a canary the app is stopped; the stop is recorded, but before the gateway hears of
/// it the server is gone, for so long; meanwhile the app is deployed again by another strategy.
pub(crate) fn stopped_in_mid_canary(away: SignedDuration, on_running: Running) -> Outcome {
    let name = APPS[1];
    let mut s = Simulation::new(13);
    s.start();
    s.deploys(Strategy::Rolling, Vec::new(), Running::Finishes);
    s.until("the first is live", |s| s.unsettled().is_empty());
    let seconds = DurationText::from_secs;
    let steps = vec![Step::Weight(40), Step::Pause(Some(seconds(600)))];
    s.deploys(Strategy::Canary, steps, Running::Finishes);
    s.until("the canary has its share", |s| {
        let stands = |d: &Deployment| d.rollout.as_ref().is_some_and(|r| r.step == 1);
        s.unfinished().iter().any(stands)
    });
    s.stop(name);
    for _ in 0..10_000 {
        s.poll_deployments();
        s.clock.advance(SignedDuration::from_millis(5));
        if !s.states(name).iter().any(|state| is_up(*state)) {
            break;
        }
    }
    assert!(s.unfinished().is_empty(), "the canary ended with the stop");
    s.crash();
    let pass = |s: &mut Simulation, time: SignedDuration| {
        let until = s.clock.now() + time;
        while s.clock.now() < until {
            s.pass(SignedDuration::from_millis(500));
        }
    };
    pass(&mut s, SignedDuration::from_secs(4));
    s.deploys(Strategy::BlueGreen, Vec::new(), on_running);
    pass(&mut s, away);
    s.until("the last is live", |s| {
        s.unsettled().is_empty() || !s.universe.lock().unwrap().violations.is_empty()
    });
    if s.universe.lock().unwrap().violations.is_empty() {
        let filter = DeploymentFilter::default();
        let all = block(s.store.read(move |tx| tx.deployments(&filter, None, 1)));
        assert_eq!(all.unwrap()[0].state, DeploymentState::Succeeded);
    }
    s.outcome()
}

/// The clock is set back by so much while a new release is ready and has to stay so for a while; then
/// another is deployed. Neither waits until the clock says again what it said.
pub(crate) fn set_back_in_mid_deployment(by: SignedDuration) -> Outcome {
    let mut s = Simulation::new(12);
    s.start();
    s.deploys(Strategy::Rolling, Vec::new(), Running::Finishes);
    s.until("the first is live", |s| s.unsettled().is_empty());
    for clock_is_set in [true, false] {
        s.deploys(Strategy::Rolling, Vec::new(), Running::Finishes);
        let begin = s.clock.steady();
        s.until("the next one has begun", |s| s.states(APPS[1]).contains(&InstanceState::Starting));
        if clock_is_set {
            s.clock.set(-by);
            s.universe.lock().unwrap().advance(&s.clock);
        }
        s.until("the next one is live", |s| s.unsettled().is_empty());
        let took = s.clock.steady().duration_since(begin);
        assert!(took < SignedDuration::from_mins(10), "it took {took}");
    }
    s.outcome()
}
