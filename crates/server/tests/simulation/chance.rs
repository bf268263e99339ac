//! Simulated ids, a machine of one's own, and the dice that choose what happens next.

use std::sync::atomic::{AtomicU64, Ordering};

use ark_model::{DeploymentId, InstanceId};
use ark_server::world::{Host, Ids};
use async_trait::async_trait;

/// Ids that count.
#[derive(Debug, Default)]
pub(crate) struct SimIds(AtomicU64);

impl SimIds {
    pub(crate) fn next(&self) -> uuid::Uuid {
        let n = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        // The counter stands in the last digits too, which people see.
        uuid::Uuid::from_u128((u128::from(n) << 64) | u128::from(n))
    }
}

impl Ids for SimIds {
    fn instance(&self) -> InstanceId {
        InstanceId(self.next())
    }

    fn deployment(&self) -> DeploymentId {
        DeploymentId(self.next())
    }
}

/// A machine on which nobody else listens.
#[derive(Debug)]
pub(crate) struct SimHost;

#[async_trait]
impl Host for SimHost {
    async fn resolve(&self, _: &str) -> Vec<std::net::IpAddr> {
        Vec::new()
    }

    async fn connect(&self, _: std::net::SocketAddr) -> std::io::Result<()> {
        Ok(())
    }

    fn listening_ports(&self) -> std::collections::BTreeSet<u16> {
        std::collections::BTreeSet::new()
    }
}

/// xorshift64*: small, seeded, good enough to choose what happens next.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        (self.roll() >> 11) % n.max(1)
    }

    /// True once in `n` times.
    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}
