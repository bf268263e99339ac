//! The world the tasks act on: clock, ids, engine, gateway and store, as traits and values that the
//! simulator replaces (`decisions.md` 23). No task spawns, sleeps or reads a clock but through it.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};
use std::{fmt, io};

use ark_engine::Engine;
use ark_model::{DeploymentId, InstanceId, RunId};
use ark_planner::Planted;
use ark_store::{Blobs, Keyring, Store};
use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::watch;

use crate::gateway_link::RouteChanges;
use crate::observations::Observations;
use crate::webhooks::Webhooks;

/// Time, as the tasks see it.
#[async_trait]
pub trait Clock: Send + Sync + fmt::Debug {
    /// The wall clock.
    fn now(&self) -> Timestamp;
    /// How much time has passed since some beginning. Nobody sets it; it stands while the machine sleeps.
    fn passed(&self) -> Duration;
    /// Returns at that instant, or later.
    async fn sleep_until(&self, at: Timestamp);
}

/// Fresh ids.
pub trait Ids: Send + Sync + fmt::Debug {
    /// A new instance.
    fn instance(&self) -> InstanceId;
    /// A new deployment.
    fn deployment(&self) -> DeploymentId;
    /// A new run.
    fn run(&self) -> RunId {
        RunId(self.instance().0)
    }
}

/// The machine the instances run on.
#[async_trait]
pub trait Host: Send + Sync + fmt::Debug {
    /// Ports on which anything listens now: not to be given to an instance.
    fn listening_ports(&self) -> BTreeSet<u16>;

    /// The addresses of a name as this machine knows them; empty when it knows none.
    async fn resolve(&self, name: &str) -> Vec<IpAddr>;

    /// Connects and says nothing.
    ///
    /// # Errors
    /// The system's.
    async fn connect(&self, to: SocketAddr) -> io::Result<()>;
}

/// Settings that do not change while the server runs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// Ports for instances.
    pub instance_ports: RangeInclusive<u16>,
    /// Ports for discovery.
    pub discovery_ports: RangeInclusive<u16>,
}

impl Settings {
    /// The defaults for a data directory. Both ranges lie below the one from which systems take
    /// ports for outgoing connections. Arks of passing data directories (tests, the quickstart) take
    /// a part each, so that several on one machine rarely want the same port; when they do, the
    /// later one takes another.
    pub fn new(data_dir: PathBuf) -> Self {
        let (discovery_ports, instance_ports) = if data_dir.starts_with(std::env::temp_dir()) {
            let digest = ark_model::Sha256::of(data_dir.as_os_str().as_encoded_bytes()).0;
            let slot = u16::from_be_bytes([digest[0], digest[1]]) % SLOTS;
            let (discovery, instances) = (10_000 + slot * 100, 20_000 + slot * 100);
            (discovery..=discovery + 1_299, instances..=instances + 3_999)
        } else {
            (10_000..=19_999, 20_000..=32_767)
        };
        Self { data_dir, instance_ports, discovery_ports }
    }
}

/// Places at which the port ranges of a passing Ark may begin.
const SLOTS: u16 = 88;

/// Everything a task may touch. Cheap to clone.
#[derive(Clone)]
pub struct World {
    /// What is recorded.
    pub store: Store,
    /// Artifacts.
    pub blobs: Blobs,
    /// Opens secrets.
    pub keyring: Arc<Keyring>,
    /// Runs instances.
    pub engine: Arc<dyn Engine>,
    /// What the gateway said.
    pub observations: Arc<Observations>,
    /// Which routes must be built anew.
    pub route_changes: Arc<RouteChanges>,
    /// Set by `ark down`: every app is stopped, without forgetting that it is wanted.
    pub halt: Arc<AtomicBool>,
    /// Told to the gateway when it is to end: how long requests may go on.
    pub gateway_shutdown: watch::Sender<Option<Duration>>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Fresh ids.
    pub ids: Arc<dyn Ids>,
    /// The machine.
    pub host: Arc<dyn Host>,
    /// Asks webhooks.
    pub webhooks: Arc<dyn Webhooks>,
    /// Settings.
    pub settings: Arc<Settings>,
    /// The fencing token of this controller's lease: a write with an older one is refused.
    pub fence: Fence,
    /// A bug for the simulator to find; `None` everywhere else.
    pub planted: Option<Planted>,
}

/// The lease under which the tasks write (I6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fence {
    /// Grows with each new holder.
    pub token: u64,
}

/// Name of the lease held by the one controller that may act.
pub const CONTROLLER_LEASE: &str = "controller";

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("settings", &self.settings)
            .field("fence", &self.fence)
            .finish_non_exhaustive()
    }
}

/// The system's clock.
#[derive(Debug)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn passed(&self) -> Duration {
        static BEGINNING: LazyLock<Instant> = LazyLock::new(Instant::now);
        BEGINNING.elapsed()
    }

    async fn sleep_until(&self, at: Timestamp) {
        let wait = ark_planner::time::since(self.now(), at);
        tokio::time::sleep(wait).await;
    }
}

/// UUIDv7 from the system's clock and randomness.
#[derive(Debug)]
pub struct SystemIds;

impl Ids for SystemIds {
    fn instance(&self) -> InstanceId {
        InstanceId(uuid::Uuid::now_v7())
    }

    fn deployment(&self) -> DeploymentId {
        DeploymentId(uuid::Uuid::now_v7())
    }
}

/// This machine, by `/proc`.
#[derive(Debug)]
pub struct SystemHost;

#[async_trait]
impl Host for SystemHost {
    async fn resolve(&self, name: &str) -> Vec<IpAddr> {
        let found = tokio::net::lookup_host((name, 0)).await;
        found.map(|all| all.map(|address| address.ip()).collect()).unwrap_or_default()
    }

    async fn connect(&self, to: SocketAddr) -> io::Result<()> {
        tokio::net::TcpStream::connect(to).await.map(drop)
    }

    fn listening_ports(&self) -> BTreeSet<u16> {
        // Where there is no /proc nothing is avoided; a port that turns out to be taken is
        // diagnosed by the engine and replaced by another.
        ["/proc/net/tcp", "/proc/net/tcp6"]
            .iter()
            .filter_map(|file| std::fs::read_to_string(file).ok())
            .flat_map(|text| listening(&text))
            .collect()
    }
}

/// Local ports of lines whose state is 0A (listening), as `proc(5)` describes them.
fn listening(text: &str) -> Vec<u16> {
    let port = |line: &str| {
        let mut fields = line.split_whitespace();
        let local = fields.nth(1)?;
        let state = fields.nth(1)?;
        let (_, port) = local.rsplit_once(':')?;
        (state == "0A").then(|| u16::from_str_radix(port, 16).ok())?
    };
    text.lines().skip(1).filter_map(port).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listening_sockets_count() {
        let text = "  sl  local_address rem_address   st tx_queue\n\
            0: 0100007F:1F90 00000000:0000 0A 00000000:00000000\n\
            1: 0100007F:C350 0100007F:1F90 01 00000000:00000000\n";
        assert_eq!(listening(text), [8080]);
    }
}
