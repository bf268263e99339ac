//! Which app calls which: makes apps of the users and addresses that the gateway saw at discovery
//! ports, and writes them down. A pair that is new is written at once, one that goes on once a
//! minute; what was not seen for a week is forgotten. Nothing is planned by it, and a round that
//! fails costs what was heard meanwhile: the gateway tells of what goes on again.
//!
//! A user stands for an app as long as there is its environment (`users.json`); an address does only
//! while a container has it, so one that ended before it was looked up is not told.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use ark_model::gateway::CallerSeen;
use ark_model::instance::{EngineState, ObservedInstance};
use ark_planner::time::after;
use ark_store::CallEdge;
use futures::future::{Either, select};
use jiff::{SignedDuration, Timestamp};

use super::round::TaskError;
use crate::observations::AppKey;
use crate::world::{CONTROLLER_LEASE, World};

/// Time between two rounds.
const EVERY: Duration = Duration::from_secs(2);
/// How often a pair that goes on is written.
const WRITE_AGAIN: SignedDuration = SignedDuration::from_mins(1);
/// How long a pair is remembered after it was last seen, in days.
pub(crate) const DAYS_KEPT: u32 = 7;
/// How often what is old is forgotten.
const PRUNE_EVERY: SignedDuration = SignedDuration::from_hours(1);
/// How long the engine may take for one call.
const CALL_DEADLINE: Duration = Duration::from_secs(10);
/// Pairs kept in memory.
const PAIRS_MAX: usize = 20_000;
/// Under this name the store keeps since when calls are looked at.
pub(crate) const SINCE: &str = "calls-since";

/// The loop's memory.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    /// Seen and not written yet.
    seen: BTreeMap<CallEdge, Timestamp>,
    /// What was last written of each.
    written: BTreeMap<CallEdge, Timestamp>,
    pruned_at: Option<Timestamp>,
}

impl Calls {
    /// One round.
    ///
    /// # Errors
    /// When the store does not answer or another controller has taken over.
    pub(crate) async fn round(&mut self, world: &World) -> Result<(), TaskError> {
        let heard: Vec<Heard> = world.observations.take_heard().into_iter().collect();
        let whose = Whose::of(world, &heard).await;
        for ((caller, callee), at) in heard {
            let Some(from) = whose.app(caller, at).filter(|from| **from != callee) else {
                continue;
            };
            let edge = CallEdge { from: from.clone(), to: callee };
            let last = self.seen.entry(edge).or_insert(at);
            *last = at.max(*last);
        }
        let now = world.clock.now();
        let prune = self.pruned_at.is_none_or(|at| now >= at + PRUNE_EVERY || now < at);
        if !prune && !self.is_news() {
            return Ok(());
        }
        let edges: Vec<(CallEdge, Timestamp)> =
            self.seen.iter().map(|(edge, at)| (edge.clone(), *at)).collect();
        let token = world.fence.token;
        world
            .store
            .write(move |tx| -> Result<(), TaskError> {
                tx.check_lease(CONTROLLER_LEASE, token).map_err(|_| TaskError::Fenced)?;
                for (edge, at) in &edges {
                    tx.note_call(edge, *at)?;
                }
                if prune {
                    if tx.meta(SINCE)?.is_none() {
                        tx.put_meta(SINCE, &now.to_string())?;
                    }
                    tx.prune_calls(kept_since(now))?;
                }
                Ok(())
            })
            .await?;
        self.written.append(&mut self.seen);
        if self.written.len() > PAIRS_MAX {
            self.written.clear();
        }
        if prune {
            self.pruned_at = Some(now);
        }
        Ok(())
    }

    /// Whether any pair is to be written now; then all that were seen are.
    fn is_news(&self) -> bool {
        let is_due = |(edge, at): (&CallEdge, &Timestamp)| {
            self.written.get(edge).is_none_or(|written| *at >= *written + WRITE_AGAIN)
        };
        self.seen.len() > PAIRS_MAX || self.seen.iter().any(is_due)
    }
}

/// What was last seen before this is forgotten.
pub(crate) fn kept_since(now: Timestamp) -> Timestamp {
    let kept = SignedDuration::from_hours(24 * i64::from(DAYS_KEPT));
    now.checked_sub(kept).unwrap_or(Timestamp::MIN)
}

/// Who called which app, and when.
type Heard = ((CallerSeen, AppKey), Timestamp);

/// Whose users and addresses are.
#[derive(Debug, Default)]
struct Whose {
    users: BTreeMap<u32, AppKey>,
    /// And since when.
    addresses: BTreeMap<IpAddr, (AppKey, Timestamp)>,
}

impl Whose {
    /// Asks for what these callers need.
    async fn of(world: &World, heard: &[Heard]) -> Self {
        let any = |is: fn(&CallerSeen) -> bool| heard.iter().any(|((caller, _), _)| is(caller));
        let deadline = || world.clock.sleep_until(after(world.clock.now(), CALL_DEADLINE));
        let mut whose = Self::default();
        if any(|caller| matches!(caller, CallerSeen::User { .. })) {
            match select(world.engine.users(), deadline()).await {
                Either::Left((Ok(users), _)) => whose.users = users,
                Either::Left((Err(error), _)) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::debug!(error, "who calls whom is not known");
                }
                Either::Right(_) => {}
            }
        }
        if any(|caller| matches!(caller, CallerSeen::Address { .. })) {
            // Housekeeping and the deployment loop say when the engine does not answer.
            if let Either::Left((Ok(sight), _)) = select(world.engine.look(), deadline()).await {
                whose.addresses = sight.seen.into_iter().filter_map(placed).collect();
            }
        }
        whose
    }

    /// Whose call this was.
    fn app(&self, caller: CallerSeen, at: Timestamp) -> Option<&AppKey> {
        match caller {
            CallerSeen::User { uid } => self.users.get(&uid),
            CallerSeen::Address { ip } => {
                let (key, since) = self.addresses.get(&ip)?;
                // Somebody else had it then.
                (*since <= at).then_some(key)
            }
            CallerSeen::Other => None,
        }
    }
}

/// The address of a container that runs, with its app and since when.
fn placed(instance: ObservedInstance) -> Option<(IpAddr, (AppKey, Timestamp))> {
    match instance.state {
        EngineState::Running { since, address, .. } => {
            Some((address?, ((instance.env, instance.app), since)))
        }
        EngineState::Preparing
        | EngineState::Stopping { .. }
        | EngineState::Exited { .. }
        | EngineState::StartFailed { .. }
        | EngineState::Gone => None,
    }
}

/// Runs rounds until another controller takes over.
pub(crate) async fn run(world: World) -> TaskError {
    let mut calls = Calls::default();
    loop {
        match calls.round(&world).await {
            Ok(()) => {}
            Err(TaskError::Fenced) => return TaskError::Fenced,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "which app calls which was not written down");
            }
        }
        world.clock.sleep_until(after(world.clock.now(), EVERY)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(app: &str) -> AppKey {
        ("dev".parse().expect("a name"), app.parse().expect("a name"))
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("an instant")
    }

    #[test]
    fn users_and_addresses_are_apps_as_long_as_they_are_theirs() {
        let ip: IpAddr = "10.208.1.7".parse().expect("an address");
        let whose = Whose {
            users: [(1_880_000_007, key("web"))].into(),
            addresses: [(ip, (key("worker"), at(100)))].into(),
        };
        for (caller, second, expected) in [
            (CallerSeen::User { uid: 1_880_000_007 }, 1, Some(key("web"))),
            (CallerSeen::User { uid: 0 }, 1, None),
            (CallerSeen::Address { ip }, 100, Some(key("worker"))),
            (CallerSeen::Address { ip }, 99, None),
            (CallerSeen::Address { ip: "10.208.1.8".parse().expect("an address") }, 100, None),
            (CallerSeen::Other, 100, None),
        ] {
            assert_eq!(whose.app(caller, at(second)), expected.as_ref(), "{caller:?} at {second}");
        }
    }

    #[test]
    fn a_new_pair_is_written_at_once_and_a_known_one_each_minute() {
        let edge = CallEdge { from: key("web"), to: key("api") };
        let other = CallEdge { from: key("web"), to: key("db") };
        for (written, seen, expected) in [
            (vec![], vec![(edge.clone(), at(5))], true),
            (vec![(edge.clone(), at(5))], vec![], false),
            (vec![(edge.clone(), at(5))], vec![(edge.clone(), at(64))], false),
            (vec![(edge.clone(), at(5))], vec![(edge.clone(), at(65))], true),
            (vec![(edge.clone(), at(5))], vec![(edge, at(6)), (other, at(6))], true),
        ] {
            let words = format!("{seen:?} after {written:?}");
            let (written, seen) = (written.into_iter().collect(), seen.into_iter().collect());
            assert_eq!(Calls { seen, written, pruned_at: None }.is_news(), expected, "{words}");
        }
    }
}
