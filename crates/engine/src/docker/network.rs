//! One bridge network per environment: made with the first container, removed after the last. What
//! the daemon says of them is remembered, because the gateway listens in them also while the
//! daemon is away. Used by `launch` and `events`.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::sync::{Arc, PoisonError};

use ark_model::ids::EnvName;
use ark_model::route::ContainerNetwork;
use bollard::Docker;
use bollard::models::{Ipam, IpamConfig, NetworkCreateRequest};
use bollard::query_parameters::{ListNetworksOptions, ListNetworksOptionsBuilder};

use super::subnets::Subnet;
use super::{Inner, config, connection, subnets, unavailable, within};
use crate::engine::EngineError;

/// How many address ranges are tried for one network.
const TRIES_MAX: usize = 64;

/// A network for a container.
pub(super) struct Network {
    pub(super) name: String,
    /// As the host sees it; `None` where it has no address of version 4.
    pub(super) seen: Option<ContainerNetwork>,
}

impl Inner {
    /// The network of an environment, made when it is not there: one after the other, each within the time
    /// that the daemon has for an answer, which does not begin before its turn.
    pub(super) async fn network(self: &Arc<Self>, env: &EnvName) -> Result<Network, EngineError> {
        let answer = self.options.answer;
        let known = within(answer, "look for the environment's network", self.known_network(env));
        if let Some(known) = known.await? {
            return Ok(known);
        }
        // The daemon makes a second network of the same name without a word. So one is made at a time,
        // and to its end also when who asked for it waits no longer.
        let making = Arc::clone(&self.networks).lock_owned().await;
        let (inner, env) = (Arc::clone(self), env.clone());
        let made = tokio::spawn(async move {
            let _making = making;
            let answer = inner.options.answer;
            within(answer, "make the environment's network", inner.have_network(&env)).await
        });
        made.await.unwrap_or_else(|e| Err(unavailable("make the environment's network", e)))
    }

    /// The network of an environment, where it was seen before and is there, by a name that says which.
    async fn known_network(&self, env: &EnvName) -> Result<Option<Network>, EngineError> {
        let Some(before) = self.seen_networks().get(env).copied() else { return Ok(None) };
        let docker = self.connection.get().await?;
        let name = format!("ark-{}-{env}", &self.cluster[..8]);
        let found = docker.inspect_network(&name, None).await.ok();
        let now = found.and_then(|found| seen(found.ipam.as_ref()));
        Ok(now.filter(|now| *now == before).map(|now| Network { name, seen: Some(now) }))
    }

    async fn have_network(&self, env: &EnvName) -> Result<Network, EngineError> {
        let docker = self.connection.get().await?;
        let name = format!("ark-{}-{env}", &self.cluster[..8]);
        let mut found = only_one(docker, &name).await?;
        if found.is_none() {
            self.make_network(docker, &name, env).await?;
            found = only_one(docker, &name).await?;
        }
        let seen = found.and_then(|found| seen(found.ipam.as_ref()));
        if let Some(seen) = seen {
            let mut all = self.seen_networks();
            all.insert(env.clone(), seen);
            self.remember(all)?;
        }
        Ok(Network { name, seen })
    }

    /// Makes a network with addresses that nobody else has; with the daemon's own choice when there are
    /// none left.
    async fn make_network(
        &self,
        docker: &Docker,
        name: &str,
        env: &EnvName,
    ) -> Result<(), EngineError> {
        let all = docker.list_networks(None::<ListNetworksOptions>).await;
        let mut taken = subnets::routed().await;
        for network in all.map_err(|e| unavailable("list networks", e))? {
            let pools = network.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
            let subnets = pools.iter().filter_map(|pool| pool.subnet.as_deref()?.parse().ok());
            taken.extend::<Vec<Subnet>>(subnets.collect());
        }
        let labels = [(config::CLUSTER, self.cluster.clone()), (config::ENV, env.to_string())];
        let labels = HashMap::from(labels.map(|(name, value)| (name.to_owned(), value)));
        let mut free = self.options.addresses.free(name, &taken).take(TRIES_MAX);
        loop {
            let subnet = free.next();
            let pool =
                |subnet: String| IpamConfig { subnet: Some(subnet), ..IpamConfig::default() };
            let request = NetworkCreateRequest {
                name: name.to_owned(),
                driver: Some("bridge".to_owned()),
                labels: Some(labels.clone()),
                ipam: subnet.map(|subnet| Ipam {
                    config: Some(vec![pool(subnet.to_string())]),
                    ..Ipam::default()
                }),
                ..NetworkCreateRequest::default()
            };
            match docker.create_network(request).await {
                Ok(_) => return Ok(()),
                // Somebody was faster: to the network, or to its addresses.
                Err(error) if connection::status(&error) == Some(409) => return Ok(()),
                Err(error) if subnet.is_some() && connection::words(&error).contains("overlap") => {
                    tracing::debug!(%env, %error, "the addresses of a network are taken");
                }
                Err(error) => return Err(unavailable("make the environment's network", error)),
            }
        }
    }

    /// The networks as last seen.
    pub(super) fn seen_networks(&self) -> BTreeMap<EnvName, ContainerNetwork> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn remember(&self, now: BTreeMap<EnvName, ContainerNetwork>) -> Result<(), EngineError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == now {
            return Ok(());
        }
        let written = self.place.write_networks(&now);
        written.map_err(|e| unavailable("record the networks", e))?;
        *seen = now;
        drop(seen);
        self.changed();
        Ok(())
    }

    /// Looks at all networks of this Ark, and removes those of environments that are not used.
    pub(super) async fn tidy_networks(&self, used: &[EnvName]) -> Result<(), EngineError> {
        let _making = self.networks.lock().await;
        let docker = self.connection.get().await?;
        let label = format!("{}={}", config::CLUSTER, self.cluster);
        let filters = HashMap::from([("label".to_owned(), vec![label])]);
        let options = ListNetworksOptionsBuilder::default().filters(&filters).build();
        let networks = docker.list_networks(Some(options)).await;
        let mut left = BTreeMap::new();
        for network in networks.map_err(|e| unavailable("list networks", e))? {
            let env = network.labels.as_ref().and_then(|labels| labels.get(config::ENV));
            let env = env.and_then(|env| env.parse::<EnvName>().ok());
            let (Some(id), Some(env)) = (network.id.as_deref(), env) else { continue };
            // One that a container just joined refuses; it is tried again at the next look.
            if !used.contains(&env) && docker.remove_network(id).await.is_ok() {
                continue;
            }
            left.extend(seen(network.ipam.as_ref()).map(|seen| (env, seen)));
        }
        self.remember(left)
    }
}

/// The network of this name. Of several, which a daemon makes for two who ask at once, the eldest that
/// containers are in is left: none can be started in a name that is ambiguous.
async fn only_one(
    docker: &Docker,
    name: &str,
) -> Result<Option<bollard::models::Network>, EngineError> {
    let filters = HashMap::from([("name".to_owned(), vec![name.to_owned()])]);
    let options = ListNetworksOptionsBuilder::default().filters(&filters).build();
    let found = docker.list_networks(Some(options)).await;
    let mut found = found.map_err(|e| unavailable("look for the environment's network", e))?;
    // The filter finds names that only hold this one, too.
    found.retain(|network| network.name.as_deref() == Some(name));
    found.sort_by(|one, other| one.created.cmp(&other.created).then(one.id.cmp(&other.id)));
    let mut left = Vec::new();
    while let Some(last) = found.pop() {
        let others = !(found.is_empty() && left.is_empty());
        if others && docker.remove_network(last.id.as_deref().unwrap_or(name)).await.is_ok() {
            tracing::warn!(network = name, id = last.id, "removed the second network of a name");
            continue;
        }
        left.push(last);
    }
    if left.len() > 1 {
        let ids: Vec<&str> = left.iter().filter_map(|network| network.id.as_deref()).collect();
        let several = format!(
            "the daemon has several networks `{name}`, all in use: stop what is in one of {} and \
             remove it with `docker network rm`",
            ids.join(", ")
        );
        return Err(unavailable("look for the environment's network", several));
    }
    Ok(left.pop())
}

/// The host's address in a network and its size, of version 4.
fn seen(ipam: Option<&Ipam>) -> Option<ContainerNetwork> {
    ipam?.config.iter().flatten().find_map(|pool| {
        let (first, prefix) = pool.subnet.as_deref()?.split_once('/')?;
        let (first, prefix): (Ipv4Addr, u8) = (first.parse().ok()?, prefix.parse().ok()?);
        // Unless told otherwise, the daemon takes the first address for the host.
        let address = match pool.gateway.as_deref().filter(|gateway| !gateway.is_empty()) {
            Some(gateway) => gateway.split('/').next()?.parse().ok()?,
            None => Ipv4Addr::from(u32::from(first).checked_add(1)?),
        };
        Some(ContainerNetwork { address, prefix }).filter(|_| prefix <= 32)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_address_is_the_gateway_or_the_first() {
        let pool = |subnet: &str, gateway: Option<&str>| IpamConfig {
            subnet: Some(subnet.to_owned()),
            gateway: gateway.map(str::to_owned),
            ..IpamConfig::default()
        };
        let network =
            |address: [u8; 4], prefix| Some(ContainerNetwork { address: address.into(), prefix });
        for (pools, expected) in [
            (vec![pool("172.18.0.0/16", Some("172.18.0.1"))], network([172, 18, 0, 1], 16)),
            (vec![pool("10.9.0.0/24", Some("10.9.0.254/24"))], network([10, 9, 0, 254], 24)),
            (vec![pool("10.9.0.0/24", None)], network([10, 9, 0, 1], 24)),
            (
                vec![pool("fd00::/64", Some("fd00::1")), pool("10.9.0.0/24", Some(""))],
                network([10, 9, 0, 1], 24),
            ),
            (vec![pool("fd00::/64", None)], None),
            (vec![], None),
        ] {
            let ipam = Ipam { config: Some(pools.clone()), ..Ipam::default() };
            assert_eq!(seen(Some(&ipam)), expected, "{pools:?}");
        }
    }
}
