//! The compiled route table: how a host and a path become a route. Built by `registry` on the control
//! thread, read by every worker thread, never changed. Which of a route's targets a request goes to
//! is `pool`'s to say.

use std::collections::HashMap;
use std::sync::Arc;

use ark_model::route::{RouteKey, RouteLimits, RouteProtocol};
use ark_model::traffic::{Maintenance, Split};

use crate::counters::Cells;
use crate::limiter::RouteShared;
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
    pub(crate) path: String,
    pub(crate) protocol: RouteProtocol,
    pub(crate) limits: RouteLimits,
    pub(crate) split: Option<Split>,
    pub(crate) maintenance: Option<Arc<Maintenance>>,
    /// What its targets are asked when they are probed: requests for these paths are never refused
    /// because of a limit.
    pub(crate) health_paths: Vec<String>,
    pub(crate) active: Vec<Active>,
    /// Whether it has any target, in whatever state.
    pub(crate) has_targets: bool,
    /// What outlives tables.
    pub(crate) shared: Arc<RouteShared>,
}

/// A target that may receive requests.
#[derive(Debug)]
pub(crate) struct Active {
    /// Its share relative to the others'; of 0 it receives none.
    pub(crate) weight: u32,
    pub(crate) target: Arc<Target>,
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
