//! The compiled route table: how a host and a path become a route, and a route's choice of a
//! target. Built by `registry` on the control thread, read by every worker thread, never changed.

use std::collections::HashMap;
use std::sync::Arc;

use ark_model::route::{RouteKey, RouteLimits, RouteProtocol};

use crate::counters::Cells;
use crate::target::Target;

/// Everything that is served, as of one generation.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) routes: Vec<Route>,
    /// By host, lower case: prefixes and the routes (by index) they lead to, longest first.
    pub(crate) hosts: HashMap<Box<str>, Vec<(Box<str>, usize)>>,
    /// By a route's number, which is the same in all tables: where it stands in `routes`, and
    /// where its requests that reach no target are counted (one block per worker).
    pub(crate) by_slot: Vec<Option<RouteEntry>>,
    /// Whether any target drains: else workers need not look for what is to be ended.
    pub(crate) any_draining: bool,
}

/// A route's number within this gateway process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct RouteSlot(pub(crate) u32);

/// A route as found by its number. The counters stay when the route leaves the table, until what
/// they say is stored: a request may have been waiting when it left.
#[derive(Debug, Clone)]
pub(crate) struct RouteEntry {
    pub(crate) index: Option<usize>,
    pub(crate) cells: Arc<[Cells]>,
}

/// A route and those of its targets that may receive requests.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) slot: RouteSlot,
    pub(crate) key: RouteKey,
    pub(crate) protocol: RouteProtocol,
    pub(crate) limits: RouteLimits,
    /// Active targets by weight; within a group all weigh the same.
    pub(crate) groups: Vec<Group>,
    /// Sum of all groups' shares.
    pub(crate) share_total: u64,
    /// Whether it has any target, in whatever state.
    pub(crate) has_targets: bool,
}

/// Active targets of one weight.
#[derive(Debug)]
pub(crate) struct Group {
    /// Weight of one target times the number of targets.
    pub(crate) share: u64,
    pub(crate) targets: Vec<Arc<Target>>,
}

/// What became of the search for a target.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Choice<'t> {
    /// This one.
    Target(&'t Arc<Target>),
    /// There are targets, but none that may be used now.
    NoneReady,
    /// There are none at all: the app is stopped.
    NoTargets,
}

impl Table {
    /// The route of a host and a path. `host` may carry a port, a closing dot and capitals.
    pub(crate) fn find(&self, host: &str, path: &str) -> Option<&Route> {
        let name = host_name(host);
        let prefixes = match self.hosts.get(name) {
            Some(prefixes) => prefixes,
            None if name.bytes().any(|b| b.is_ascii_uppercase()) => {
                self.hosts.get(name.to_ascii_lowercase().as_str())?
            }
            None => return None,
        };
        let (_, index) = prefixes.iter().find(|(prefix, _)| matches_prefix(path, prefix))?;
        self.routes.get(*index)
    }

    pub(crate) fn route(&self, slot: RouteSlot) -> Option<&Route> {
        self.routes.get(self.entry(slot)?.index?)
    }

    pub(crate) fn entry(&self, slot: RouteSlot) -> Option<&RouteEntry> {
        self.by_slot.get(slot.0 as usize)?.as_ref()
    }
}

impl Route {
    /// Picks a ready target that is not among `tried`: first a group by its share, so that shares are
    /// exact whatever the load, then the less loaded of two of its targets. When no target is
    /// ready, those that once were are used as if they were (panic): a failing check alone must
    /// not take an app down. `random` supplies randomness.
    pub(crate) fn choose(&self, tried: &[usize], mut random: impl FnMut() -> u64) -> Choice<'_> {
        if let Some(target) = self.pick(tried, Target::is_ready, &mut random) {
            return Choice::Target(target);
        }
        if self.targets().any(|target| target.is_ready()) {
            return Choice::NoneReady;
        }
        match self.pick(tried, Target::is_usable_in_panic, &mut random) {
            Some(target) => Choice::Target(target),
            None => self.nothing(),
        }
    }

    /// As [`Route::choose`], without panic.
    pub(crate) fn choose_ready(&self, mut random: impl FnMut() -> u64) -> Choice<'_> {
        match self.pick(&[], Target::is_ready, &mut random) {
            Some(target) => Choice::Target(target),
            None => self.nothing(),
        }
    }

    fn nothing(&self) -> Choice<'_> {
        if self.has_targets { Choice::NoneReady } else { Choice::NoTargets }
    }

    fn targets(&self) -> impl Iterator<Item = &Arc<Target>> {
        self.groups.iter().flat_map(|group| &group.targets)
    }

    fn pick(
        &self,
        tried: &[usize],
        usable: impl Fn(&Target) -> bool,
        random: &mut impl FnMut() -> u64,
    ) -> Option<&Arc<Target>> {
        let usable = |target: &Target| usable(target) && !tried.contains(&target.slot);
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
        // Groups after the chosen one only matter when it has nothing usable.
        let (before, from) = self.groups.split_at(first);
        from.iter().chain(before).find_map(|group| group.pick(&usable, random))
    }
}

impl Group {
    /// The less loaded of two random usable targets. Two draws by index cost nothing; only when
    /// they hit unusable ones is the whole group looked at.
    fn pick(
        &self,
        usable: &impl Fn(&Target) -> bool,
        random: &mut impl FnMut() -> u64,
    ) -> Option<&Arc<Target>> {
        let count = self.targets.len();
        if let [only] = self.targets.as_slice() {
            return usable(only).then_some(only);
        }
        if count == 0 {
            return None;
        }
        let draw = random();
        let one = (draw & 0xffff_ffff) as usize % count;
        let other = (one + 1 + (draw >> 32) as usize % (count - 1)) % count;
        let (one, other) = (&self.targets[one], &self.targets[other]);
        match (usable(one), usable(other)) {
            (true, true) => Some(less_loaded(one, other)),
            (false | true, _) => {
                let usable: Vec<_> = self.targets.iter().filter(|t| usable(t)).collect();
                match usable.as_slice() {
                    [] => None,
                    [only] => Some(only),
                    several => {
                        let draw = random();
                        let count = several.len();
                        let one = (draw & 0xffff_ffff) as usize % count;
                        let other = (one + 1 + (draw >> 32) as usize % (count - 1)) % count;
                        Some(less_loaded(several[one], several[other]))
                    }
                }
            }
        }
    }
}

fn less_loaded<'t>(one: &'t Arc<Target>, other: &'t Arc<Target>) -> &'t Arc<Target> {
    if other.load() < one.load() { other } else { one }
}

/// A host without port and closing dot.
pub(crate) fn host_name(host: &str) -> &str {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.split(':').next().unwrap_or(host),
    };
    name.strip_suffix('.').unwrap_or(name)
}

/// Whether `prefix` covers `path` by whole segments: `/api` covers `/api` and `/api/x`, not
/// `/apix`. A closing slash of the prefix means the same as none.
fn matches_prefix(path: &str, prefix: &str) -> bool {
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    let Some(rest) = path.strip_prefix(prefix) else { return false };
    rest.is_empty() || rest.starts_with('/') || prefix.is_empty()
}

#[cfg(test)]
mod tests;
