//! The hosts beside Ark's own as engines: from what is recorded of them to what the cluster asks.
//! Told at the server's start and by the API at each change.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ark_engine::{
    Capabilities, Cluster, DockerEngine, DockerOptions, Enforcement, Engine, EngineError,
    EngineKind, ExecSession, ExecSpec, LogQuery, LogStream, Node, SshDaemon, StartSpec, Stats,
    StopOptions, TlsDaemon,
};
use ark_model::instance::ObservedInstance;
use ark_model::{InstanceId, NodeName};
use ark_store::{Keyring, NodeRecord, ReadTx, SecretValue, Store, StoreError};
use async_trait::async_trait;
use tokio::sync::watch;

/// Where a daemon is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DaemonAddress {
    /// A socket of this host: a daemon of its own, or one that is forwarded.
    Socket(PathBuf),
    /// `HOST:PORT`, over TLS.
    Tcp(String),
    /// By the `ssh` of the server's user.
    Ssh(SshDaemon),
}

impl DaemonAddress {
    /// Reads `tcp://HOST:PORT`, `ssh://[USER@]HOST[:PORT]` or `unix:///PATH`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is no address of a Docker daemon: tcp://HOST:PORT, ssh://USER@HOST or \
                 unix:///PATH"
            )
        };
        if let Some(path) = text.strip_prefix("unix://") {
            let path = PathBuf::from(path);
            return if path.is_absolute() { Ok(Self::Socket(path)) } else { Err(wrong()) };
        }
        if let Some(place) = text.strip_prefix("ssh://") {
            return SshDaemon::parse(place).map(Self::Ssh).ok_or_else(wrong);
        }
        let place = text.strip_prefix("tcp://").ok_or_else(wrong)?;
        let (host, port) = place.rsplit_once(':').ok_or_else(wrong)?;
        let named = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
        let good = !host.is_empty() && host.bytes().all(named);
        match port.parse::<u16>() {
            Ok(port) if good && port > 0 => Ok(Self::Tcp(place.to_owned())),
            _ => Err(wrong()),
        }
    }

    /// The address in it, where it is one.
    pub(crate) fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Socket(_) => None,
            Self::Tcp(place) => place.parse::<SocketAddr>().ok().map(|at| at.ip()),
            Self::Ssh(daemon) => daemon.ip(),
        }
    }
}

/// The socket that `DOCKER_HOST` names, or why containers run nowhere on this host: not by the daemon that
/// is meant, and by no other that happens to be here. Processes do not need one, so that the server
/// starts all the same.
pub(crate) fn own_daemon(named: Option<&str>) -> Result<Option<PathBuf>, String> {
    match named.map(str::trim).filter(|host| !host.is_empty()) {
        None => Ok(None),
        Some(host) => match host.strip_prefix("unix://") {
            Some(socket) => Ok(Some(PathBuf::from(socket))),
            None => Err(format!(
                "DOCKER_HOST is {host}, and Ark's own Docker engine is a socket of its host \
                 (unix:///var/run/docker.sock); the engine of another host is added with `ark node add \
                 NAME {host}`"
            )),
        },
    }
}

/// What is sealed to a host's key.
pub(crate) fn purpose(name: &NodeName) -> String {
    format!("host {name}")
}

/// Makes engines of hosts.
pub(crate) struct Nodes {
    cluster: Arc<Cluster>,
    data_dir: PathBuf,
    /// As Ark's own daemon is spoken to.
    like: DockerOptions,
}

impl Nodes {
    pub(crate) fn new(cluster: Arc<Cluster>, data_dir: PathBuf, like: DockerOptions) -> Self {
        Self { cluster, data_dir, like }
    }

    pub(crate) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Joins a host with the cluster, or changes it.
    pub(crate) fn put(&self, record: &NodeRecord, keyring: &Keyring) -> Result<(), String> {
        if record.name.is_local() {
            self.cluster.drain(&record.name, record.draining);
            return Ok(());
        }
        let mut options = DockerOptions { elsewhere: true, none: None, ..self.like.clone() };
        match (DaemonAddress::parse(&record.address)?, &record.credentials) {
            (DaemonAddress::Socket(socket), _) => options.socket = socket,
            (DaemonAddress::Ssh(daemon), _) => options.ssh = Some(daemon),
            (DaemonAddress::Tcp(place), Some(known)) => {
                let key = keyring
                    .open_token(&purpose(&record.name), &known.key)
                    .map_err(|error| format!("its key cannot be opened: {error}"))?;
                let key = SecretValue::expose(&key);
                let tls = TlsDaemon::new(&place, &known.authority, &known.certificate, key)?;
                options.tls = Some(tls);
            }
            (DaemonAddress::Tcp(_), None) => {
                return Err("a daemon over TCP is spoken to with certificates only".to_owned());
            }
        }
        let engine =
            DockerEngine::new(&self.place(&record.name), options).map_err(|error| words(&error))?;
        self.cluster.put(Node {
            name: record.name.clone(),
            engine: Arc::new(engine),
            draining: record.draining,
            images_only: true,
            address: record.reach,
        });
        Ok(())
    }

    /// Forgets a host, and what its starts waited for: that holds values.
    pub(crate) fn remove(&self, name: &NodeName) {
        self.cluster.remove(name);
        forget_starts(&self.place(name));
    }

    /// The files of a host's engine.
    fn place(&self, name: &NodeName) -> PathBuf {
        self.all_places().join(name.as_str())
    }

    fn all_places(&self) -> PathBuf {
        self.data_dir.join("nodes")
    }

    /// Forgets what starts waited for on hosts that are not on record (any more): a server may have ended
    /// between the two.
    fn forget_strangers(&self, known: &[NodeRecord]) {
        for entry in std::fs::read_dir(self.all_places()).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if !known.iter().any(|record| name == record.name.as_str()) {
                forget_starts(&entry.path());
            }
        }
    }

    /// Joins all that are on record. One that cannot be spoken to is silent: what runs there is not
    /// gone.
    pub(crate) async fn put_all(&self, store: &Store, keyring: &Keyring) -> Result<(), StoreError> {
        let records = store.read::<_, StoreError, _>(ReadTx::nodes).await?;
        self.forget_strangers(&records);
        for record in records {
            if let Err(why) = self.put(&record, keyring) {
                tracing::error!(host = %record.name, why, "a host cannot be used");
                self.cluster.put(Node {
                    name: record.name,
                    engine: Arc::new(Unusable { why, changes: watch::Sender::new(0) }),
                    draining: record.draining,
                    images_only: true,
                    address: record.reach,
                });
            }
        }
        Ok(())
    }
}

fn forget_starts(place: &Path) {
    if let Err(error) = DockerEngine::forget_starts(place) {
        tracing::warn!(%error, place = %place.display(), "the starts of a removed host cannot be deleted");
    }
}

/// A host that is on record and cannot be spoken to.
struct Unusable {
    why: String,
    changes: watch::Sender<u64>,
}

impl Unusable {
    fn answer<T>(&self) -> Result<T, EngineError> {
        Err(EngineError::Unavailable {
            engine: EngineKind::Docker,
            action: "find a way to it".to_owned(),
            source: std::io::Error::other(self.why.clone()),
        })
    }
}

#[async_trait]
impl Engine for Unusable {
    fn kind(&self) -> EngineKind {
        EngineKind::Docker
    }

    fn capabilities(&self) -> Capabilities {
        let unknown = || Enforcement::NotEnforced { reason: self.why.clone() };
        Capabilities {
            memory_limit: unknown(),
            cpu_limit: unknown(),
            pids_limit: unknown(),
            kill_everything: unknown(),
            app_isolation: unknown(),
        }
    }

    async fn start(&self, _: &StartSpec) -> Result<(), EngineError> {
        self.answer()
    }

    async fn stop(&self, _: InstanceId, _: StopOptions) -> Result<(), EngineError> {
        self.answer()
    }

    async fn remove(&self, _: InstanceId) -> Result<(), EngineError> {
        self.answer()
    }

    async fn list(&self) -> Result<Vec<ObservedInstance>, EngineError> {
        self.answer()
    }

    async fn logs(&self, _: InstanceId, _: LogQuery) -> Result<LogStream, EngineError> {
        self.answer()
    }

    async fn exec(&self, _: InstanceId, _: &ExecSpec) -> Result<ExecSession, EngineError> {
        self.answer()
    }

    async fn stats(&self, _: InstanceId) -> Result<Stats, EngineError> {
        self.answer()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

/// An error with its cause.
fn words(error: &dyn std::error::Error) -> String {
    let cause = error.source().map(|cause| format!(": {cause}"));
    format!("{error}{}", cause.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_or_refused() {
        let tcp = |place: &str| Ok(DaemonAddress::Tcp(place.to_owned()));
        for (text, expected) in [
            ("tcp://10.0.0.5:2376", tcp("10.0.0.5:2376")),
            ("tcp://eu-1.test:2376", tcp("eu-1.test:2376")),
            ("tcp://[fd00::5]:2376", tcp("[fd00::5]:2376")),
            ("unix:///run/docker.sock", Ok(DaemonAddress::Socket("/run/docker.sock".into()))),
        ] {
            assert_eq!(DaemonAddress::parse(text), expected, "{text}");
        }
        for bad in [
            "",
            "10.0.0.5",
            "tcp://10.0.0.5",
            "tcp://:2376",
            "tcp://a b:1",
            "unix://x",
            "ssh://",
            "ssh://-oProxyCommand=x",
            "http://10.0.0.5:2375",
            "tcp://10.0.0.5:0",
        ] {
            assert!(DaemonAddress::parse(bad).is_err(), "{bad}");
        }
        let ip = |text: &str| DaemonAddress::parse(text).unwrap().ip();
        assert_eq!(ip("tcp://10.0.0.5:2376"), Some([10, 0, 0, 5].into()));
        assert_eq!(ip("tcp://eu-1.test:2376"), None);
        assert_eq!(ip("ssh://root@10.0.0.5"), Some([10, 0, 0, 5].into()));
        assert_eq!(ip("ssh://eu-1.test:2222"), None);
    }

    #[test]
    fn ark_s_own_daemon_is_a_socket_of_its_host() {
        let socket = |text: &str| own_daemon(Some(text)).expect("a socket or none");
        assert_eq!(own_daemon(None), Ok(None));
        assert_eq!(socket(""), None);
        assert_eq!(
            socket("unix:///run/user/7/docker.sock"),
            Some("/run/user/7/docker.sock".into())
        );
        for other in ["tcp://10.0.0.5:2376", "ssh://ops@eu-1", "fd://", "/var/run/docker.sock"] {
            let why = own_daemon(Some(other)).expect_err("no socket");
            assert!(why.contains(&format!("ark node add NAME {other}")), "{why}");
        }
    }

    #[tokio::test]
    async fn what_starts_waited_for_goes_with_their_host() {
        let dir = tempfile::tempdir().unwrap();
        let local = Unusable { why: "not used".to_owned(), changes: watch::Sender::new(0) };
        let cluster = Cluster::new(Arc::new(local), ark_engine::ClusterOptions::default());
        let like = DockerOptions::default();
        let nodes = Nodes::new(Arc::new(cluster), dir.path().to_owned(), like);
        let keyring = Keyring::ephemeral().unwrap();
        let record = NodeRecord {
            name: "eu-1".parse().unwrap(),
            address: "unix:///nowhere.sock".to_owned(),
            reach: Some([127, 0, 0, 1].into()),
            credentials: None,
            draining: false,
            changed_at: jiff::Timestamp::UNIX_EPOCH,
            changed_by: "ana".to_owned(),
        };
        let docker = |name: &str| dir.path().join("nodes").join(name).join("docker");
        for name in ["eu-1", "gone"] {
            std::fs::create_dir_all(docker(name).join("pending")).unwrap();
            std::fs::write(docker(name).join("pending/it.json"), "a value").unwrap();
        }
        let store = Store::inline_in_memory(jiff::Timestamp::UNIX_EPOCH).unwrap();
        let known = record.clone();
        store.write::<_, StoreError, _>(move |tx| tx.put_node(&known)).await.unwrap();
        nodes.put_all(&store, &keyring).await.unwrap();
        assert!(!docker("gone").join("pending").exists(), "a server ended between the two");
        assert!(docker("eu-1").join("pending/it.json").exists());
        nodes.remove(&record.name);
        assert!(!docker("eu-1").join("pending").exists());
        assert!(docker("eu-1").join("cluster").exists(), "what runs there is known again");
        nodes.put(&record, &keyring).unwrap();
        assert!(docker("eu-1").join("pending").is_dir());
    }
}
