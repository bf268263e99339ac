//! What an app needs and was down when an instance of it failed: apps and data stores that its
//! definition names, and addresses that its variables hold. Called by [`super::diagnose`] once for the
//! failures of a round; takes 2 s at most, changes nothing, and says nothing of what it cannot know.
//!
//! An app is down when no instance of it serves. An address is down when this machine cannot connect to
//! it, and is asked only where that says something of the app as well: the app runs on this machine, and
//! the address is of this machine or of a private network. Nobody outside is ever asked.

pub(crate) mod addresses;
mod apps;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ark_engine::EngineKind;
use ark_model::AppName;
use ark_model::diagnosis::Down;
use ark_model::instance::InstanceRecord;
use ark_model::release::PinnedValue;
use ark_planner::time::after;
use futures::future::{Either, join_all, select};

use self::addresses::{Address, addresses, is_near};
use self::apps::{AppNow, InstanceNow};
use super::reconcile::ReleaseFacts;
use super::start_spec::{self, SpecError};
use crate::world::World;

/// How long a name or a connection is waited for, each.
const ASK_DEADLINE: Duration = Duration::from_secs(1);
/// How many apps are looked at.
const APPS_MAX: usize = 50;
/// How many instances of each, the newest.
const INSTANCES_MAX: usize = 50;
/// How many variables are looked at.
const ADDRESSES_MAX: usize = 16;
/// How many addresses of one name are tried.
const TRIED_MAX: usize = 4;

/// What is down of all that a release needs, seen from one of its instances. Nothing when that cannot
/// be found out.
pub(super) async fn down(
    world: &World,
    facts: &ReleaseFacts,
    instance: Option<&InstanceRecord>,
) -> Vec<Down> {
    let mut down = apps_down(world, facts).await.unwrap_or_default();
    down.extend(addresses_down(world, facts, instance).await.unwrap_or_default());
    down
}

async fn apps_down(world: &World, facts: &ReleaseFacts) -> Result<Vec<Down>, SpecError> {
    let (env, own) = (facts.release.env.clone(), facts.release.app.clone());
    let mut names: Vec<AppName> =
        facts.definition.dependencies.iter().filter_map(|name| name.parse().ok()).collect();
    names.sort_unstable();
    names.dedup();
    names.retain(|name| *name != own);
    names.truncate(APPS_MAX);
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let there = env.clone();
    let read = move |tx: &ark_store::ReadTx| -> Result<_, SpecError> {
        let mut all = Vec::new();
        for app in names {
            let state = tx.app_state(&there, &app)?;
            let release = match state.as_ref().and_then(|state| state.live) {
                Some(live) => tx.release(&there, &app, live)?,
                None => tx.latest_release(&there, &app)?,
            };
            let instances = tx.instances_of(&there, &app, INSTANCES_MAX)?;
            all.push((app, state, release, instances));
        }
        Ok(all)
    };
    let observations = &world.observations;
    let connected = observations.is_connected();
    let now = |record: &InstanceRecord| InstanceNow {
        readiness: connected.then(|| observations.readiness(record.id)).flatten(),
        ..InstanceNow::of(record)
    };
    let all = world.store.read(read).await?;
    let down = all.into_iter().filter_map(|(app, state, release, instances)| {
        let definition = release.as_ref().map(|release| &release.content.definition);
        let seen = AppNow {
            definition,
            stopped: state.as_ref().is_some_and(|state| state.stopped),
            scaled_to_zero: state.as_ref().is_some_and(|state| state.scale == Some(0)),
            instances: instances.iter().map(now).collect(),
        };
        apps::down(&env, app, &seen)
    });
    Ok(down.collect())
}

async fn addresses_down(
    world: &World,
    facts: &ReleaseFacts,
    instance: Option<&InstanceRecord>,
) -> Result<Vec<Down>, SpecError> {
    if instance.is_some_and(|record| !record.node.is_local()) {
        return Ok(Vec::new());
    }
    let values = start_spec::values(world, &facts.release).await?;
    let engine = world.engine.kind_for(&facts.release.content.artifact);
    let here = match engine {
        EngineKind::Process | EngineKind::Fake => Whose::Machine,
        EngineKind::Docker | EngineKind::Kubernetes => Whose::Container,
    };
    let own: Vec<u16> = instance
        .iter()
        .flat_map(|record| record.ports.iter().map(|port| port.address.port()))
        .chain(facts.definition.expose.iter().map(|expose| expose.port))
        .collect();
    let asked = addresses(&values).into_iter().take(ADDRESSES_MAX);
    let asked: Vec<Address> = asked.filter(|address| !address.is_own(&own)).collect();
    let answers = join_all(asked.iter().map(|address| ask(world, address, here))).await;
    let secret = |name: &str| match facts.release.content.config.get(name) {
        Some(PinnedValue::Plain { .. }) => false,
        Some(PinnedValue::Secret { .. }) | None => true,
    };
    let down = asked.into_iter().zip(answers).filter_map(|(address, seen)| {
        let open = !address.from.iter().any(|name| secret(name));
        Some(Down::Address {
            address: open.then(|| address.words()),
            variable: address.variable().to_owned(),
            seen: seen?,
        })
    });
    Ok(down.collect())
}

/// Whose network an app sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    Machine,
    /// `127.0.0.1` is the container, and names may be known to it alone.
    Container,
}

/// What is wrong with an address; `None` when something accepts connections, or that cannot be known.
async fn ask(world: &World, address: &Address, here: Whose) -> Option<String> {
    let mut wrong = None;
    for (host, port) in &address.hosts {
        wrong = Some(ask_host(world, host, *port, here).await?);
    }
    wrong
}

async fn ask_host(world: &World, host: &str, port: u16, here: Whose) -> Option<String> {
    let deadline = || world.clock.sleep_until(after(world.clock.now(), ASK_DEADLINE));
    let found: Vec<IpAddr> = match host.parse() {
        Ok(ip) => vec![ip],
        Err(_) => match select(world.host.resolve(host), deadline()).await {
            Either::Left((found, _)) => found,
            Either::Right(_) => return None,
        },
    };
    if found.is_empty() {
        return (here == Whose::Machine).then(|| "this machine knows no such name".to_owned());
    }
    if !found.iter().all(|ip| is_near(*ip) && (here == Whose::Machine || !ip.is_loopback())) {
        return None;
    }
    let tried = found.into_iter().take(TRIED_MAX).map(|ip| async move {
        let connect = world.host.connect(SocketAddr::new(ip, port));
        match select(connect, deadline()).await {
            Either::Left((Ok(()), _)) => None,
            Either::Left((Err(error), _)) => Some(error.kind().to_string()),
            Either::Right(_) => Some(format!("no answer within {} s", ASK_DEADLINE.as_secs())),
        }
    });
    let answers: Option<Vec<String>> = join_all(tried).await.into_iter().collect();
    answers?.pop()
}
