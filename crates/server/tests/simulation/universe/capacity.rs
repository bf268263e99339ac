//! I3, as tables are applied: none takes serving capacity below what the strategy allows, and a canary that is
//! abandoned loses its share before it drains. I6: none that is older than the one in force is applied.

use std::collections::BTreeMap;

use ark_model::instance::EngineState;
use ark_model::route::{Route, RouteTable, Target, TargetState};
use ark_model::traffic::Split;
use ark_model::{AppName, EnvName, InstanceId, ReleaseNumber};
use jiff::{SignedDuration, Timestamp};

use super::{Behaviour, DRAIN, Floor, Universe};

/// A wish or a loss this recent may not be in the plan that is carried out now.
const RECENT: SignedDuration = SignedDuration::from_secs(60);
/// How long a deployment in steps is held back until its old side is whole.
const HELD_BACK: SignedDuration = SignedDuration::from_secs(60);

impl Universe {
    /// The gateway applies a table, or refuses it.
    pub(crate) fn apply(&mut self, table: RouteTable) -> bool {
        if self.gateway.table.as_ref().is_some_and(|t| t.generation > table.generation) {
            self.cover("stale table refused");
            return false;
        }
        let before: BTreeMap<_, usize> = match &self.gateway.table {
            Some(old) => {
                old.routes.iter().map(|r| (r.key.clone(), self.held_by(r, &table))).collect()
            }
            None => BTreeMap::new(),
        };
        for route in &table.routes {
            let app = (route.key.env.clone(), route.key.app.clone());
            // What was decided long ago is carried out only now when the server was away meanwhile:
            // whoever stops an app and deploys it again has the stop that was recorded in between.
            let planned = self.drains_newly(route).map(|wall| self.shown_at(wall)).min();
            let planned = planned.unwrap_or(self.now);
            let since = planned.min(self.now - RECENT);
            if planned < self.now - RECENT {
                self.cover("drain carried out long after it was recorded");
            }
            let floor = self.floor(&app, since, |floor| floor.serving);
            let was = before.get(&route.key).copied().unwrap_or(0);
            // Only what this table itself takes away counts: an instance that died is no longer
            // serving under the old table either.
            let now = self.capable_in(route);
            let too_few = now < was && now < floor.min(was);
            if too_few && !self.flaps_in(&app) && !self.leaves_the_canary_its_size(route, floor) {
                let old = self.gateway.table.iter().flat_map(|t| &t.routes);
                let old = old.filter(|r| r.key == route.key).map(words).collect::<String>();
                self.violate(&format!(
                    "I3: a table takes {} from {was} to {now} serving, floor {floor}: {old}; then {}",
                    route.key.app,
                    words(route)
                ));
            }
        }
        self.check_weight_first(&table);
        let waiting = self.gateway.waiting.len();
        self.gateway.waiting.retain(|w| table.routes.iter().any(|r| r.key == w.route));
        self.refused += (waiting - self.gateway.waiting.len()) as u64;
        self.gateway.install(table);
        true
    }

    /// Whether all that a table takes away is what a canary has too many, as after a restart of its
    /// instances. Each side has its own size: that the old one lacks some is nothing that the new one has
    /// instances for.
    fn leaves_the_canary_its_size(&self, next: &Route, floor: usize) -> bool {
        let Some(split) = next.split.as_ref().filter(|s| (1..100).contains(&s.percent)) else {
            return false;
        };
        let old = self.gateway.table.iter().flat_map(|t| &t.routes).find(|r| r.key == next.key);
        let Some(old) = old.filter(|old| old.split == next.split) else { return false };
        let others = |route: &Route| self.capable_beside(route, split.canary);
        let of_canary = self.capable_in(next) - others(next);
        let size = (floor * usize::from(split.percent)).div_ceil(100);
        others(next) >= others(old) && of_canary >= size
    }

    /// How many serve of a route, of which a table that takes its place must not take any away. Who begins
    /// in steps has waited a minute at most for the old side to be whole. A canary
    /// that is abandoned does not count once its old side was waited for long enough: what is left of
    /// that one carries all.
    fn held_by(&self, route: &Route, next: &RouteTable) -> usize {
        let closes = |canary: ReleaseNumber| {
            let next = next.routes.iter().find(|r| r.key == route.key);
            next.and_then(|r| r.split.as_ref())
                .is_some_and(|s| s.canary == canary && s.percent == 0)
        };
        let (env, app) = (&route.key.env, &route.key.app);
        let waited = |asked: &Timestamp, patience: SignedDuration| {
            self.latest_since(*asked).duration_since(*asked) >= patience
        };
        let next_split =
            next.routes.iter().find(|r| r.key == route.key).and_then(|r| r.split.as_ref());
        if let (None, Some(begins)) = (&route.split, next_split.filter(|s| s.percent == 0)) {
            // One that begins in steps takes away what its release had before.
            let asked = self.asked.get(&(env.clone(), app.clone(), begins.canary));
            if asked.is_some_and(|asked| waited(asked, HELD_BACK)) {
                return self.capable_beside(route, begins.canary);
            }
        }
        let Some(split) = route.split.as_ref().filter(|s| s.percent > 0 && closes(s.canary)) else {
            return self.capable_in(route);
        };
        let returning = self.returning.get(&(env.clone(), app.clone(), split.canary));
        if !returning.is_some_and(|(since, patience)| waited(since, *patience)) {
            return self.capable_in(route);
        }
        self.capable_beside(route, split.canary)
    }

    /// How many serve of a route beside those of a release.
    fn capable_beside(&self, route: &Route, release: ReleaseNumber) -> usize {
        let mut others = route.clone();
        others.targets.retain(|t| t.release != release);
        self.capable_in(&others)
    }

    /// A canary that is abandoned loses its share before its instances drain, as long as there is
    /// an old side to take it. Not so when a newer deployment has waited long enough for that: its
    /// table no longer divides in favour of the canary, and drains what it does not know. It may be one of
    /// the same release.
    fn check_weight_first(&mut self, new: &RouteTable) {
        let Some(old) = &self.gateway.table else { return };
        let mut found = Vec::new();
        let deployed = |route: &Route| {
            let canary = route.split.as_ref()?.canary;
            self.asked.get(&(route.key.env.clone(), route.key.app.clone(), canary)).copied()
        };
        let divided = new.routes.iter().map(|route| (route.key.clone(), deployed(route))).collect();
        for route in &old.routes {
            let divides = |s: &&Split| (1..100).contains(&s.percent) || !s.header.is_empty();
            let Some(split) = route.split.as_ref().filter(divides) else { continue };
            let Some(next) = new.routes.iter().find(|r| r.key == route.key) else { continue };
            if next.split.as_ref().is_none_or(|next| next.canary != split.canary) {
                continue;
            }
            if self.divided.get(&route.key).is_some_and(|before| *before != deployed(next)) {
                continue;
            }
            let active = |r: &Route, of: bool| {
                let is = |t: &&Target| {
                    (t.release == split.canary) == of
                        && matches!(t.state, TargetState::Active { .. })
                        && self.alive(t.instance)
                };
                r.targets.iter().filter(is).count()
            };
            let drains = next.targets.iter().any(|t| {
                t.release == split.canary && matches!(t.state, TargetState::Draining { .. })
            });
            let others = active(next, false);
            if active(route, true) > 0 && active(next, true) == 0 && drains && others > 0 {
                found.push(format!("{} drains with {} %", route.key.app, split.percent));
            }
        }
        self.divided = divided;
        for what in found {
            self.violate(&format!("weight first: the canary of {what}"));
        }
    }

    /// When each instance of a route began to drain of which the table in force does not say so yet.
    fn drains_newly<'a>(&'a self, route: &'a Route) -> impl Iterator<Item = Timestamp> + 'a {
        let known: Vec<InstanceId> = self.gateway.draining().collect();
        route.targets.iter().filter(move |t| !known.contains(&t.instance)).filter_map(|t| match &t
            .state
        {
            TargetState::Draining { requests_until, .. } => Some(*requests_until - DRAIN),
            TargetState::Candidate | TargetState::Active { .. } => None,
        })
    }

    /// The least capacity that any wish since then has asked for, without what was lost.
    pub(super) fn floor(
        &self,
        app: &(EnvName, AppName),
        since: Timestamp,
        of: impl Fn(&Floor) -> u32,
    ) -> usize {
        let recent = |at: &Timestamp| *at >= since;
        let Some(wishes) = self.floors.get(app) else { return 0 };
        // The wish that held when the window began counts too.
        let from = wishes.iter().rposition(|(at, _)| !recent(at)).unwrap_or(0);
        let least = wishes[from..].iter().map(|(_, floor)| of(floor)).min().unwrap_or(0) as usize;
        let lost = self.lost.iter().filter(|(at, e, a)| recent(at) && (e, a) == (&app.0, &app.1));
        least.saturating_sub(lost.count())
    }

    /// Whether an instance of the app flaps: what served when a plan was made and what serves when
    /// its table arrives then differ by chance, and cannot be held against it.
    fn flaps_in(&self, app: &(EnvName, AppName)) -> bool {
        self.instances.values().any(|i| {
            (&i.env, &i.app) == (&app.0, &app.1)
                && i.behaviour == Behaviour::Flaps
                && matches!(i.state, EngineState::Running { .. })
        })
    }

    /// Serving, whatever a single probe says.
    fn capable_in(&self, route: &Route) -> usize {
        let capable = |id: &InstanceId| {
            self.gateway.probed.get(id).is_some_and(|p| p.ever)
                && self.instances.get(id).is_some_and(|i| {
                    matches!(i.state, EngineState::Running { .. })
                        && matches!(
                            i.behaviour,
                            Behaviour::Good | Behaviour::IgnoresStop | Behaviour::Errs
                        )
                })
        };
        let active = |t: &&Target| matches!(t.state, TargetState::Active { .. });
        // What gets no share is no capacity.
        let shared = |t: &&Target| match &route.split {
            Some(split) if split.percent == 0 => t.release != split.canary,
            Some(split) if split.percent == 100 => t.release == split.canary,
            Some(_) | None => true,
        };
        let all = route.targets.iter().filter(active).filter(shared);
        all.filter(|t| capable(&t.instance)).count()
    }
}

/// A route's targets and how they share, in few words.
fn words(route: &Route) -> String {
    let target = |t: &Target| {
        let state = match t.state {
            TargetState::Candidate => "candidate",
            TargetState::Active { .. } => "active",
            TargetState::Draining { .. } => "draining",
        };
        format!("{:x} of {} {state}", t.instance.0.as_u128() & 0xffff, t.release)
    };
    let targets: Vec<String> = route.targets.iter().map(target).collect();
    let share = route.split.as_ref().map(|s| format!(" ({} % for {})", s.percent, s.canary));
    format!("{}{}", targets.join(", "), share.unwrap_or_default())
}
