//! Requests of the simulated world: where the gateway admits them, and how they end.

use ark_model::instance::EngineState;
use ark_model::route::{Route, Target, TargetState};
use ark_model::traffic::Split;
use ark_model::{BootId, InstanceId};
use jiff::{SignedDuration, Timestamp};

use super::gateway::{Held, Probed, Request};
use super::{Behaviour, Universe};

/// How many requests wait for a route at most.
const HELD_MAX: usize = 5;

impl Universe {
    fn healthy(&mut self, id: InstanceId) -> bool {
        let now = self.now;
        let Some(i) = self.instances.get(&id) else { return false };
        let running = matches!(i.state, EngineState::Running { .. });
        let behaviour = i.behaviour;
        running
            && now >= i.ready_at
            && match behaviour {
                Behaviour::Good | Behaviour::IgnoresStop | Behaviour::Errs => true,
                Behaviour::Flaps => !self.dice.one_in(8),
                Behaviour::Crashes
                | Behaviour::NeverReady
                | Behaviour::CannotStart
                | Behaviour::HookEnds(_)
                | Behaviour::HookHangs
                | Behaviour::JobEnds(_) => false,
            }
    }

    pub(super) fn probe(&mut self) {
        let targets: Vec<InstanceId> = self.gateway.targets().map(|t| t.0).collect();
        for id in &targets {
            let healthy = self.healthy(*id);
            let since = self.wall();
            let probed = self.gateway.probed.entry(*id).or_default();
            if probed.ready != healthy || probed.since == Timestamp::default() {
                *probed = Probed { ready: healthy, since, ever: probed.ever || healthy };
            }
        }
        self.gateway.probed.retain(|id, _| targets.contains(id));
    }

    pub(super) fn finish_requests(&mut self) {
        let (now, wall) = (self.now, self.wall());
        let requests = std::mem::take(&mut self.gateway.requests);
        for request in requests {
            let before = self.served + self.cut;
            let held = request.held.clone();
            let counters = self.gateway.counters(request.boot, request.instance);
            if !self.instances.get(&request.instance).is_some_and(|i| {
                matches!(i.state, EngineState::Running { .. } | EngineState::Stopping { .. })
            }) {
                counters.cut += 1;
                self.cut += 1;
                self.check_cut(request.instance);
            } else if now >= request.until {
                let errs = self
                    .instances
                    .get(&request.instance)
                    .is_some_and(|i| i.behaviour == Behaviour::Errs);
                if errs && (counters.served + counters.failed).is_multiple_of(2) {
                    counters.failed += 1;
                    counters.by_class[4] += 1;
                } else {
                    counters.served += 1;
                    counters.by_class[1] += 1;
                }
                self.served += 1;
            } else {
                self.gateway.requests.push(request);
            }
            if let Some(held) = held.filter(|_| self.served + self.cut > before) {
                let app = (held.route.env, held.route.app);
                self.held_over.push((app, held.since, wall));
                self.cover("held request ended");
            }
        }
    }

    /// The gateway cuts what is left in a draining target when its time is over.
    pub(super) fn drain_deadlines(&mut self) {
        let over: Vec<InstanceId> = self
            .gateway
            .targets()
            .filter(|(_, state)| match state {
                TargetState::Draining { streams_until, .. } => self.wall() >= *streams_until,
                TargetState::Candidate | TargetState::Active { .. } => false,
            })
            .map(|t| t.0)
            .collect();
        let before = self.gateway.requests.len();
        for id in over {
            for request in
                self.gateway.requests.extract_if(.., |r| r.instance == id).collect::<Vec<_>>()
            {
                self.gateway.counters(request.boot, id).cut += 1;
            }
        }
        let cut = (before - self.gateway.requests.len()) as u64;
        self.cut += cut;
    }

    /// A few new requests for each route, to ready active targets only, each side by its share.
    pub(super) fn admit(&mut self) {
        let Some(table) = self.gateway.table.take() else { return };
        for route in &table.routes {
            for _ in 0..6 {
                let canary = route.split.as_ref().is_some_and(|split| self.deal(split));
                let of_side = |t: &&Target| match &route.split {
                    Some(split) => (t.release == split.canary) == canary,
                    None => true,
                };
                let mut ready = self.serving_in(route, of_side);
                // A side without a ready target gives its requests to the other one.
                if ready.is_empty() && route.split.as_ref().is_some_and(|s| canary || s.percent > 0)
                {
                    ready = self.serving_in(route, |_| true);
                }
                if ready.is_empty() && route.limits.hold_empty {
                    let waiting = self.gateway.waiting.iter().filter(|w| w.route == route.key);
                    if waiting.count() < HELD_MAX {
                        let boot = self.arrives_in();
                        let held = Held { route: route.key.clone(), boot, since: self.wall() };
                        self.gateway.waiting.push(held);
                    }
                    continue;
                }
                if ready.is_empty() {
                    self.refused += 1;
                    self.gateway.waiting.retain(|w| w.route != route.key);
                    continue;
                }
                let at = self.gateway.waiting.iter().position(|w| w.route == route.key);
                let held = at.map(|at| self.gateway.waiting.remove(at));
                let boot = match &held {
                    Some(held) => held.boot,
                    None => self.arrives_in(),
                };
                let index = self.dice.below(ready.len() as u64) as usize;
                let instance = ready[index];
                self.copy(route, instance);
                let slow = self.dice.clone().one_in(20);
                let ms = 20 + self.dice.below(if slow { 20_000 } else { 400 });
                let until = self.now + SignedDuration::from_millis(ms as i64);
                // Of those that last some are streams; one that was held counts as a request.
                let stream = ms > 5_000 && held.is_none() && self.dice.one_in(2);
                if stream {
                    self.cover("stream");
                }
                self.gateway.requests.push(Request { instance, until, boot, stream, held });
            }
        }
        self.gateway.table = Some(table);
    }

    /// Whether a request goes to the canary's side: by its share, or by what the request carries.
    fn deal(&mut self, split: &Split) -> bool {
        if !split.header.is_empty() && self.dice.one_in(6) {
            self.cover("request divided by a rule");
            return true;
        }
        self.dice.below(100) < u64::from(split.percent)
    }

    /// In which life of the gateway a request arrives: on a connection that was open when it was
    /// replaced, or on a new one.
    fn arrives_in(&mut self) -> BootId {
        match self.gateway.before {
            Some(before) if self.dice.one_in(4) => before,
            Some(_) | None => self.gateway.boot,
        }
    }

    /// A request for the old side may be copied to the new one. The copy counts nowhere else, and holds
    /// up nothing.
    fn copy(&mut self, route: &Route, original: InstanceId) {
        let Some(split) = &route.split else { return };
        let Some(mirror) = &split.mirror else { return };
        let is_canary = |t: &&Target| t.release == split.canary;
        let canary = self.serving_in(route, is_canary);
        let copied =
            !canary.contains(&original) && self.dice.below(100) < u64::from(mirror.percent);
        if let Some(to) = canary.first().filter(|_| copied) {
            let boot = self.gateway.boot;
            self.gateway.counters(boot, *to).mirrored += 1;
            self.cover("request copied");
        }
    }

    fn serving_in(&self, route: &Route, of_side: impl Fn(&&Target) -> bool) -> Vec<InstanceId> {
        route
            .targets
            .iter()
            .filter(|t| matches!(t.state, TargetState::Active { .. }))
            .filter(of_side)
            .map(|t| t.instance)
            .filter(|id| self.gateway.probed.get(id).is_some_and(|p| p.ready) && self.alive(*id))
            .collect()
    }
}
