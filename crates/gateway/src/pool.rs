//! The targets a request may go to, as one worker thread sees them at one moment: sorted by side of
//! a split, by weight, by health. Made from the route's active targets when something about them has
//! changed (a table, readiness, an ejection) and, while one starts slowly, a few times a second; so
//! that choosing for a request costs two draws and looks at two targets.
//!
//! The rules: a side is chosen before (see `split`), then a group by its share, so that shares are
//! exact whatever the load, then the less loaded of two random targets of the group. Below half
//! healthy all that were once ready are used (panic), for the first attempt of a request; a further
//! attempt prefers those that are healthy. A canary of which none is ready gives its requests to the other
//! side before it panics; the other way round a few instances would get what many had.

use std::rc::Rc;

use ark_model::ids::ReleaseNumber;

use crate::balance::{self, FULL};
use crate::clock::NEVER;
use crate::split::Side;
use crate::table::Active;
use crate::worker::LocalTarget;

/// How often shares of targets that start slowly are looked at anew, in milliseconds.
const SLOW_START_STEP_MS: u64 = 250;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    stable: SidePool,
    canary: SidePool,
    /// Whether the canary takes what the other side has no target for.
    canary_helps: bool,
    /// When it must be made anew though nothing was said.
    pub(crate) until_ms: u64,
}

/// One side.
#[derive(Debug, Default)]
struct SidePool {
    /// Ready and not ejected.
    healthy: Groups,
    /// Ready but ejected: for when nothing else is left.
    ejected: Groups,
    /// All that may be used because too few are healthy; empty while there is no panic.
    panic: Groups,
}

#[derive(Debug, Default)]
struct Groups {
    groups: Vec<Group>,
    share_total: u64,
}

/// Targets of the same share.
#[derive(Debug)]
struct Group {
    /// Of all its targets.
    share: u64,
    one: u64,
    targets: Vec<Rc<LocalTarget>>,
}

/// What a pool is made for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Making {
    /// The canary's release and percent, where the route is split.
    pub(crate) split: Option<(ReleaseNumber, u8)>,
    pub(crate) slow_start_ms: u64,
    pub(crate) now_ms: u64,
}

impl Pool {
    /// From a route's active targets; `local` gives what this worker keeps of one.
    pub(crate) fn make(
        active: &[Active],
        making: Making,
        mut local: impl FnMut(&Active) -> Rc<LocalTarget>,
    ) -> Self {
        let mut until_ms = NEVER;
        let mut sides = [Vec::new(), Vec::new()];
        for entry in active.iter().filter(|entry| entry.weight > 0) {
            let is_canary = making.split.is_some_and(|(canary, _)| canary == entry.target.release);
            sides[usize::from(is_canary)].push((entry.weight, local(entry)));
        }
        let [stable, canary] = sides.map(|targets| SidePool::make(targets, making, &mut until_ms));
        let canary_helps = making.split.is_some_and(|(_, percent)| percent > 0);
        Self { stable, canary, canary_helps, until_ms }
    }

    /// A target of this side that is not among `tried`, or of the other side when this one has none
    /// at all that could be used.
    pub(crate) fn choose(
        &self,
        side: Side,
        tried: &[usize],
        random: &mut dyn FnMut() -> u64,
    ) -> Option<&Rc<LocalTarget>> {
        let (own, other) = self.sides(side);
        if side == Side::Canary
            && !own.has_ready()
            && let Some(found) = self.stable.choose_ready(tried, random)
        {
            return Some(found);
        }
        own.choose(tried, random).or_else(|| other?.choose(tried, random))
    }

    /// As [`Pool::choose`], but ready ones only.
    pub(crate) fn choose_ready(
        &self,
        side: Side,
        random: &mut dyn FnMut() -> u64,
    ) -> Option<&Rc<LocalTarget>> {
        let (own, other) = self.sides(side);
        own.choose_ready(&[], random).or_else(|| other?.choose_ready(&[], random))
    }

    /// A ready target of this side alone.
    pub(crate) fn choose_own(
        &self,
        side: Side,
        random: &mut dyn FnMut() -> u64,
    ) -> Option<&Rc<LocalTarget>> {
        self.sides(side).0.choose_ready(&[], random)
    }

    fn sides(&self, side: Side) -> (&SidePool, Option<&SidePool>) {
        match side {
            Side::Stable => (&self.stable, self.canary_helps.then_some(&self.canary)),
            Side::Canary => (&self.canary, Some(&self.stable)),
        }
    }
}

impl SidePool {
    fn make(targets: Vec<(u32, Rc<LocalTarget>)>, making: Making, until_ms: &mut u64) -> Self {
        let mut side = Self::default();
        let total = targets.len();
        let mut healthy = 0;
        let mut once_ready = Vec::new();
        for (weight, local) in targets {
            let target = &local.target;
            let ejected_until_ms = target.ejected_until_ms();
            let is_ejected = ejected_until_ms > making.now_ms;
            if is_ejected {
                *until_ms = (*until_ms).min(ejected_until_ms);
            }
            if target.is_usable_in_panic() {
                once_ready.push((weight, local.clone()));
            }
            if !target.is_ready() {
                continue;
            }
            if is_ejected {
                side.ejected.add(u64::from(weight) * FULL, local);
                continue;
            }
            healthy += 1;
            let factor = match target.joined_ms() {
                NEVER => FULL,
                joined => {
                    balance::slow_start(making.now_ms.saturating_sub(joined), making.slow_start_ms)
                }
            };
            if factor < FULL {
                *until_ms = (*until_ms).min(making.now_ms + SLOW_START_STEP_MS);
            }
            side.healthy.add(u64::from(weight) * factor, local);
        }
        if balance::panics(healthy, total) {
            once_ready.into_iter().for_each(|(weight, local)| {
                side.panic.add(u64::from(weight) * FULL, local);
            });
        }
        side
    }

    fn has_ready(&self) -> bool {
        !self.healthy.groups.is_empty() || !self.ejected.groups.is_empty()
    }

    fn choose(&self, tried: &[usize], random: &mut dyn FnMut() -> u64) -> Option<&Rc<LocalTarget>> {
        if tried.is_empty() && !self.panic.groups.is_empty() {
            return self.panic.pick(tried, random);
        }
        self.choose_ready(tried, random).or_else(|| self.panic.pick(tried, random))
    }

    fn choose_ready(
        &self,
        tried: &[usize],
        random: &mut dyn FnMut() -> u64,
    ) -> Option<&Rc<LocalTarget>> {
        self.healthy.pick(tried, random).or_else(|| self.ejected.pick(tried, random))
    }
}

impl Groups {
    fn add(&mut self, share: u64, local: Rc<LocalTarget>) {
        self.share_total += share;
        match self.groups.iter_mut().find(|group| group.one == share) {
            Some(group) => {
                group.share += share;
                group.targets.push(local);
            }
            None => self.groups.push(Group { share, one: share, targets: vec![local] }),
        }
    }

    fn pick(&self, tried: &[usize], random: &mut dyn FnMut() -> u64) -> Option<&Rc<LocalTarget>> {
        let first = match self.groups.as_slice() {
            [] => return None,
            [_] => 0,
            groups => {
                let mut point = random() % self.share_total.max(1);
                let found = groups.iter().position(|group| {
                    let within = point < group.share;
                    point = point.saturating_sub(group.share);
                    within
                });
                found.unwrap_or(0)
            }
        };
        // Groups after the chosen one only matter when all of its targets were tried.
        let (before, from) = self.groups.split_at(first);
        from.iter().chain(before).find_map(|group| group.pick(tried, random))
    }
}

impl Group {
    /// The less loaded of two random targets.
    fn pick(&self, tried: &[usize], random: &mut dyn FnMut() -> u64) -> Option<&Rc<LocalTarget>> {
        if tried.is_empty() {
            return less_loaded_of_two(self.targets.len(), |at| &self.targets[at], random);
        }
        let untried: Vec<_> =
            self.targets.iter().filter(|local| !tried.contains(&local.target.slot)).collect();
        less_loaded_of_two(untried.len(), |at| untried[at], random)
    }
}

fn less_loaded_of_two<'t>(
    count: usize,
    at: impl Fn(usize) -> &'t Rc<LocalTarget>,
    random: &mut dyn FnMut() -> u64,
) -> Option<&'t Rc<LocalTarget>> {
    match count {
        0 => None,
        1 => Some(at(0)),
        _ => {
            let draw = random();
            let one = (draw & 0xffff_ffff) as usize % count;
            let other = (one + 1 + (draw >> 32) as usize % (count - 1)) % count;
            let (one, other) = (at(one), at(other));
            Some(if other.target.load() < one.target.load() { other } else { one })
        }
    }
}

#[cfg(test)]
mod tests;
