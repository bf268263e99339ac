//! Which instances are taken out: what is not wanted, and surplus, as far as enough others serve. Called by
//! [`super::converge`], after what is missing was started.

use std::time::Duration;

use ark_model::instance::{EngineState, InstanceState, StopCause};
use jiff::Timestamp;

use super::{Action, Beside, Hold, Side, Step, floor, is_up};
use crate::observed::Seen;
use crate::planted::Planted;
use crate::policy::{Policy, ReadyBy};
use crate::time::since;

/// An instance that has not passed its check for this long is no capacity.
const IDLE_FOR: Duration = Duration::from_secs(15);

impl Step<'_> {
    /// Takes out what is not wanted, as far as capacity allows: a serving instance only when
    /// enough others serve, one known not to serve as soon as another does.
    pub(super) fn drain(&mut self, alive: &[&Seen]) {
        let Some(beside) = &self.target.beside else {
            let floor = match self.target.release {
                Some(_) => floor(self.target.policy, self.target.count),
                None => 0,
            };
            let up = alive.iter().filter(|s| is_up(s)).count() as u32;
            let serving = Serving::of(alive.iter().copied(), self.target.policy);
            let victims = self.victims(alive, |_| true);
            self.take_out_spare(&victims, floor, up, serving);
            return;
        };
        // Each side keeps its own capacity: an instance of one does not stand in for one of the
        // other, because the traffic between them is divided. What belongs to neither stands in
        // for the old side: that is the one beside on the way forward, the target on the way back.
        let target = floor(self.target.policy, self.target.count);
        let (own, its) = (self.target.policy, beside.policy);
        let (beside, old, old_side, policy): (u32, u32, Belongs, _) = match beside.hold {
            Hold::At(count) => {
                let floor = floor(its, count);
                (floor, floor, is_not_target_side, its)
            }
            Hold::AsIs | Hold::Kept | Hold::Leaving => (0, target, is_not_beside_side, own),
        };
        let groups: [(u32, Belongs, Belongs, &Policy); 3] = [
            (target, is_target_side, is_target_side, own),
            (beside, is_beside_side, is_beside_side, its),
            (old, is_neither_side, old_side, policy),
        ];
        for (floor, of, capacity, policy) in groups {
            let counted = |s: &&&Seen| capacity(self.side(s));
            let up = alive.iter().filter(counted).filter(|s| is_up(s)).count() as u32;
            let serving = Serving::of(alive.iter().filter(counted).copied(), policy);
            let victims = self.victims(alive, |s| of(self.side(s)));
            self.take_out_spare(&victims, floor, up, serving);
        }
    }

    fn take_out_spare(&mut self, victims: &[&Seen], floor: u32, up: u32, serving: Serving) {
        let mut spare = Serving {
            all: serving.all.saturating_sub(floor),
            with_ports: serving.with_ports.saturating_sub(floor),
        };
        // Without a surge nothing can start before something goes. What is long sick is no capacity
        // and may make room, as far as instances may be missing at all.
        let mut room = match self.target.policy.surge(self.target.count) {
            0 => up.saturating_sub(floor),
            _ => 0,
        };
        for s in victims {
            let unserved = !s.is_serving();
            let never_admitted = s.state == InstanceState::Starting;
            // What is not known to serve is not missed once enough others do.
            let unknown = s.is_silent() && unserved && serving.like(s) >= floor;
            let free = never_admitted
                || floor == 0
                || unknown
                || (unserved && is_known_idle(s, self.now) && (serving.all > 0 || room > 0));
            if free {
                room = room.saturating_sub(1);
                self.take_out(s);
                spare = if unserved { spare } else { spare.without(s) };
            } else if !unserved && spare.like(s) > 0 {
                spare = spare.without(s);
                self.take_out(s);
            }
        }
    }

    /// Instances to take out of those that are `of` a group, in the order in which to do so: the
    /// unwanted ones first, of these other releases before instances that are only to be
    /// restarted, what never was the base before what was, then the oldest; then surplus of the
    /// wanted ones, those that do not serve first (of these, those of which nothing is known), then the
    /// newest.
    fn victims<'s>(&self, alive: &[&'s Seen], of: impl Fn(&Seen) -> bool) -> Vec<&'s Seen> {
        let up = || alive.iter().copied().filter(|s| is_up(s) && of(s));
        let mut unwanted: Vec<&Seen> = up().filter(|s| !self.wanted(s)).collect();
        let right_release = |s: &Seen| self.side(s) != Side::Neither;
        let was_base = |s: &Seen| Some(s.release) == self.target.base;
        if self.target.planted == Some(Planted::ForgetTheAbandonedCanary) {
            unwanted.retain(|s| right_release(s) || was_base(s));
        }
        unwanted
            .sort_by_key(|s| (s.is_serving(), right_release(s), was_base(s), s.created_at, s.id));
        let beside = match &self.target.beside {
            Some(Beside { hold: Hold::At(count), .. }) => *count,
            Some(_) | None => u32::MAX,
        };
        for (side, count) in [(Side::Target, self.target.count), (Side::Beside, beside)] {
            let mut right: Vec<&Seen> =
                up().filter(|s| self.side(s) == side && self.wanted(s)).collect();
            // Each host has its own: one that is unknown is not one too many.
            right.retain(|s| !(s.is_silent() && self.policy(s).one_per_host));
            let newest = |s: &Seen| std::cmp::Reverse((s.created_at, s.id));
            right.sort_by_key(|s| (s.is_serving(), !s.is_silent(), newest(s)));
            let surplus = right.len().saturating_sub(count as usize);
            unwanted.extend(right.into_iter().take(surplus));
        }
        unwanted
    }

    fn take_out(&mut self, s: &Seen) {
        let cause =
            if self.wanted(s) { StopCause::ScaledDown } else { self.target.replaced_by.clone() };
        // What no table ever admitted holds no request.
        if s.active_at.is_none() {
            self.actions.push(Action::Stop { id: s.id, cause: Some(cause) });
        } else {
            self.actions.push(Action::Drain { id: s.id, cause });
        }
    }
}

/// How many serve of a group. Where it is to take requests, those that take none (a release without
/// ports) stand in for nobody that does.
#[derive(Clone, Copy)]
struct Serving {
    all: u32,
    with_ports: u32,
}

impl Serving {
    fn of<'s>(group: impl Iterator<Item = &'s Seen>, policy: &Policy) -> Self {
        let takes_requests = policy.readiness == ReadyBy::Probe;
        group.filter(|s| s.is_serving()).fold(Self { all: 0, with_ports: 0 }, |sum, s| Self {
            all: sum.all + 1,
            with_ports: sum.with_ports + u32::from(s.has_ports || !takes_requests),
        })
    }

    /// How many of them could stand in for an instance.
    fn like(self, s: &Seen) -> u32 {
        if s.has_ports { self.with_ports.min(self.all) } else { self.all }
    }

    fn without(self, s: &Seen) -> Self {
        Self {
            all: self.all.saturating_sub(1),
            with_ports: self.with_ports.saturating_sub(u32::from(s.has_ports)),
        }
    }
}

/// Whether an instance of a side belongs to a group.
type Belongs = fn(Side) -> bool;

fn is_target_side(side: Side) -> bool {
    side == Side::Target
}

fn is_beside_side(side: Side) -> bool {
    side == Side::Beside
}

fn is_neither_side(side: Side) -> bool {
    side == Side::Neither
}

fn is_not_target_side(side: Side) -> bool {
    side != Side::Target
}

fn is_not_beside_side(side: Side) -> bool {
    side != Side::Beside
}

/// Whether it is known, not just unreported, that it serves nobody, and not only for a moment: one
/// that flaps is capacity still.
fn is_known_idle(s: &Seen, now: Timestamp) -> bool {
    match &s.engine {
        Some(EngineState::Exited { .. } | EngineState::StartFailed { .. } | EngineState::Gone) => {
            true
        }
        Some(
            EngineState::Preparing | EngineState::Running { .. } | EngineState::Stopping { .. },
        )
        | None => s.probe.as_ref().is_some_and(|p| !p.ready && since(p.since, now) >= IDLE_FOR),
    }
}
