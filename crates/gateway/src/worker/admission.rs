//! Which target a request goes to, and that it counts there from the same step on; see the head of
//! [`super`].

use std::rc::Rc;
use std::sync::atomic::Ordering::Acquire;
use std::sync::{Arc, PoisonError};

use super::local_target::LocalTarget;
use super::{Worker, entry};
use crate::balance;
use crate::pool::{Making, Pool};
use crate::route_local::{Found, RouteLocal};
use crate::split::Side;
use crate::table::{Active, RouteSlot};
use crate::target::Target;

/// What [`Worker::admit`] says.
#[derive(Debug)]
pub(crate) enum Admission {
    /// Counted in flight there.
    To(Rc<LocalTarget>),
    /// No target may be used now.
    NoneReady,
    /// The route has no targets.
    NoTargets,
    /// The route is gone.
    NoRoute,
}

fn count(local: &LocalTarget) {
    local.cells().request_begins();
}

impl Worker {
    /// The route of a request that came through the HTTP port.
    pub(crate) fn find(&self, host: &str, path: &str) -> Option<Found> {
        let slot = self.table.borrow().find(host, path)?.slot;
        self.find_slot(slot)
    }

    /// The route of this number.
    pub(crate) fn find_slot(&self, slot: RouteSlot) -> Option<Found> {
        let at = slot.0 as usize;
        if let Some(Some(known)) = self.routes.borrow().get(at) {
            return Some(Found(known.clone()));
        }
        let table = self.table.borrow();
        let index = table.entry(slot)?.index?;
        let state = entry(&mut self.route_states.borrow_mut(), at).get_or_insert_default().clone();
        let local = Rc::new(RouteLocal::new(table.clone(), index, state));
        *entry(&mut self.routes.borrow_mut(), at) = Some(local.clone());
        Some(Found(local))
    }

    /// Chooses a target and counts the request in flight there. See the head of this module.
    pub(crate) fn admit(&self, slot: RouteSlot, side: Side, tried: &[usize]) -> Admission {
        self.admit_by(slot, |pool, random| pool.choose(side, tried, random), count)
    }

    /// As [`Worker::admit`], to a target that is ready now: for requests that were held.
    pub(crate) fn admit_ready(&self, slot: RouteSlot, side: Side) -> Admission {
        self.admit_by(slot, |pool, random| pool.choose_ready(side, random), count)
    }

    /// What [`Worker::admit_ready`] would say now, with nothing counted.
    pub(crate) fn would_admit_ready(&self, slot: RouteSlot, side: Side) -> Admission {
        self.admit_by(slot, |pool, random| pool.choose_ready(side, random), |_| {})
    }

    fn admit_by(
        &self,
        slot: RouteSlot,
        choose: impl for<'p> FnOnce(&'p Pool, &mut dyn FnMut() -> u64) -> Option<&'p Rc<LocalTarget>>,
        then: impl FnOnce(&LocalTarget),
    ) -> Admission {
        // The route of the table in force now, which need not be the one the request was routed by.
        let Some(route) = self.find_slot(slot) else { return Admission::NoRoute };
        self.refresh(&route);
        let pool = route.pool.borrow();
        match choose(&pool, &mut || self.draw()) {
            Some(local) => {
                then(local);
                Admission::To(local.clone())
            }
            None if route.has_targets => Admission::NoneReady,
            None => Admission::NoTargets,
        }
    }

    /// Whether a request that was tried on `tried` could be tried on another ready target.
    pub(crate) fn has_another(&self, slot: RouteSlot, side: Side, tried: &[usize]) -> bool {
        let Some(route) = self.find_slot(slot) else { return false };
        self.refresh(&route);
        let pool = route.pool.borrow();
        pool.choose(side, tried, &mut || self.draw()).is_some()
    }

    /// A ready target of this side alone, for what is no request of a client.
    pub(crate) fn ready_of(&self, slot: RouteSlot, side: Side) -> Option<Rc<LocalTarget>> {
        let route = self.find_slot(slot)?;
        self.refresh(&route);
        let pool = route.pool.borrow();
        pool.choose_own(side, &mut || self.draw()).cloned()
    }

    /// Makes the route's pool anew where something has changed.
    fn refresh(&self, route: &RouteLocal) {
        let health = self.shared.health.load(Acquire);
        let now_ms = self.now_ms();
        if route.pool_of.get() == health && now_ms < route.pool.borrow().until_ms {
            return;
        }
        let making = Making {
            split: route.split.as_ref().map(|split| (split.canary, split.percent)),
            slow_start_ms: route.limits.slow_start_ms,
            now_ms,
        };
        let local = |active: &Active| self.local(&active.target);
        *route.pool.borrow_mut() = Pool::make(&route.active, making, local);
        route.pool_of.set(health);
    }

    /// A target could not be reached, broke off or did not answer in time. After several in a row it
    /// is left out for a while, unless too many are.
    pub(crate) fn target_failed(&self, slot: RouteSlot, local: &LocalTarget) {
        if !local.target.failed_to_answer() {
            return;
        }
        let Some(route) = self.find_slot(slot) else { return };
        let _ejecting = self.shared.ejecting.lock().unwrap_or_else(PoisonError::into_inner);
        let now_ms = self.now_ms();
        let is_ejected = |active: &&Active| active.target.ejected_until_ms() > now_ms;
        let ejected = route.active.iter().filter(is_ejected).count();
        if local.target.ejected_until_ms() > now_ms
            || !balance::may_eject(ejected, route.active.len())
        {
            return;
        }
        local.target.eject(now_ms);
        local.cells().ejected();
        self.shared.health_changed();
        tracing::info!(
            app = %route.key.app, env = %route.key.env, instance = %local.target.instance,
            for_ms = local.target.ejected_until_ms() - now_ms, "target ejected"
        );
    }

    fn local(&self, target: &Arc<Target>) -> Rc<LocalTarget> {
        let mut locals = self.locals.borrow_mut();
        let new = || Rc::new(LocalTarget::new(target.clone(), self.index));
        entry(&mut locals, target.slot).get_or_insert_with(new).clone()
    }
}
