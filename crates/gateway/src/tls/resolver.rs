//! Which certificate a handshake gets: by the name the client asks for, exactly or by a wildcard;
//! one of the local authority for `.localhost`. Looks at the files when told, and keeps what it had when a file has become bad.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::acme::{self, Acme, HeldFor};

use super::certificates::{self, Loaded, Pair, Problem, Stamp};
use super::local_ca::LocalCa;

/// How many certificates of the local authority are kept.
const LOCAL_MAX: usize = 1_000;

/// Certificates by name.
type ByName = HashMap<Box<str>, Arc<CertifiedKey>>;

/// See the module.
#[derive(Debug)]
pub(crate) struct Certificates {
    directory: PathBuf,
    acme: Option<Arc<Acme>>,
    by_name: ArcSwap<ByName>,
    known: Mutex<HashMap<Pair, Known>>,
    local: Mutex<ByName>,
    local_ca: OnceLock<Option<LocalCa>>,
}

#[derive(Debug)]
struct Known {
    stamp: Stamp,
    /// As last read without a problem.
    loaded: Option<Loaded>,
}

impl Certificates {
    /// Those of `directory`; none is read before [`Self::look`]. Handshakes by which an authority
    /// proves a host are served from `acme`.
    pub(crate) fn new(directory: PathBuf, acme: Option<Arc<Acme>>) -> Self {
        Self {
            directory,
            acme,
            by_name: ArcSwap::default(),
            known: Mutex::default(),
            local: Mutex::default(),
            local_ca: OnceLock::new(),
        }
    }

    /// Reads what has changed since the last look, and returns what is wrong with it. A pair that
    /// has become bad stays in force as it was; one whose files are gone does not.
    pub(crate) fn look(&self) -> Vec<Problem> {
        let mut known = lock(&self.known);
        let mut before = std::mem::take(&mut *known);
        let (mut problems, mut changed) = (Vec::new(), false);
        for pair in certificates::pairs(&self.directory) {
            let stamp = pair.stamp();
            let entry = match before.remove(&pair) {
                Some(entry) if entry.stamp == stamp => entry,
                entry => {
                    let old = entry.and_then(|entry| entry.loaded);
                    match pair.load() {
                        Ok(loaded) => {
                            changed = true;
                            Known { stamp, loaded: Some(loaded) }
                        }
                        Err(problem) => {
                            problems.push(problem);
                            Known { stamp, loaded: old }
                        }
                    }
                }
            };
            known.insert(pair, entry);
        }
        if changed || !before.is_empty() {
            self.by_name.store(Arc::new(by_name(&known)));
        }
        problems
    }

    /// What is served now, for who renews it.
    pub(crate) fn held(&self) -> Vec<HeldFor> {
        let known = lock(&self.known);
        let loaded = |(pair, known): (&Pair, &Known)| {
            Some(HeldFor::new(&pair.chain, known.loaded.as_ref()?))
        };
        known.iter().filter_map(loaded).collect()
    }

    /// Whether handshakes that prove a host may come.
    pub(crate) fn proves_hosts(&self) -> bool {
        self.acme.is_some()
    }

    fn find(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let by_name = self.by_name.load();
        let wildcard = || by_name.get(format!("*.{}", name.split_once('.')?.1).as_str());
        by_name.get(name).or_else(wildcard).cloned()
    }

    fn local(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let mut made = lock(&self.local);
        if let Some(key) = made.get(name) {
            return Some(key.clone());
        }
        if made.len() >= LOCAL_MAX {
            made.clear();
        }
        let ca = self.local_ca.get_or_init(|| open_local_ca(&self.directory)).as_ref()?;
        match ca.issue(name) {
            Ok(key) => Some(made.entry(name.into()).or_insert(key).clone()),
            Err(problem) => {
                tracing::error!(%problem, "no certificate for a local name");
                None
            }
        }
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // Rustls gives it in lower case and without a closing dot.
        let name = hello.server_name();
        if let Some(acme) = &self.acme
            && hello.alpn().is_some_and(|mut offered| {
                offered.next() == Some(acme::PROTOCOL) && offered.next().is_none()
            })
        {
            return acme.challenges.certificate(name?);
        }
        match name {
            Some(name) if is_local(name) => self.find(name).or_else(|| self.local(name)),
            Some(name) => self.find(name),
            None => self.local("localhost"),
        }
    }
}

fn is_local(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

fn open_local_ca(directory: &Path) -> Option<LocalCa> {
    match LocalCa::open(directory) {
        Ok(ca) => Some(ca),
        Err(problem) => {
            tracing::error!(%problem, "no certificates for `.localhost` names");
            None
        }
    }
}

/// Of several certificates for a name the one that is valid longest is served, unless it is not
/// valid yet.
fn by_name(known: &HashMap<Pair, Known>) -> ByName {
    let now = Timestamp::now();
    let mut best: HashMap<&str, &Loaded> = HashMap::new();
    let rank = |loaded: &Loaded| (loaded.not_before <= now, loaded.not_after);
    for loaded in known.values().filter_map(|entry| entry.loaded.as_ref()) {
        for name in &loaded.names {
            let entry = best.entry(name).or_insert(loaded);
            if rank(loaded) > rank(entry) {
                *entry = loaded;
            }
        }
    }
    best.into_iter().map(|(name, loaded)| (name.into(), loaded.key.clone())).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
