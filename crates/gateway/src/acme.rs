//! Certificates from an authority that speaks ACME (RFC 8555), proven by HTTP-01 and TLS-ALPN-01
//! (RFC 8737), for the hosts of the table in force that no file vouches for. They are written
//! beside those of the operator and are found and swapped as any file is; what is here only sees
//! to it that they are there in time.
//!
//! - `names`: which hosts are asked for.
//! - `schedule`: when, and how long after a failure. Pure.
//! - `challenges`: what the authority is shown, by any worker thread.
//! - `client`, `order`: one certificate, from the account to the chain.
//! - `kept`: files: the account, certificates, what has failed.
//! - `news`: what became of it, until the server has it among its events.
//! - `keeper`: the loop on the control thread. It is the loop that tries again, nothing else.
//!
//! It must not hold up what serves: a worker reads a map, and an authority that is away changes
//! nothing but when the next certificate comes.

pub(crate) mod challenges;
mod client;
mod keeper;
mod kept;
mod names;
mod news;
mod order;
mod schedule;

use std::path::PathBuf;

use ark_model::route::RouteTable;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

pub(crate) use self::challenges::{Challenges, PROTOCOL};
pub(crate) use self::keeper::{HeldFor, keep};
pub use self::kept::{Failing, failing};
use self::news::News;

/// Let's Encrypt's directory: the default.
pub const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// From which authority certificates are got, and how. That there is one of these means that its
/// terms of service are agreed to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// The authority's directory, `https` only.
    pub directory: String,
    /// Whom it may write to.
    #[serde(default)]
    pub email: Option<String>,
    /// Certificates (PEM) by which the authority itself is known, instead of the system's.
    #[serde(default)]
    pub roots: Option<PathBuf>,
    /// The only way in which hosts are proven; `None` takes turns, as far as there are listeners.
    #[serde(default)]
    pub challenge: Option<Challenge>,
}

/// How the authority is shown that a host is served here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Challenge {
    /// By an answer on port 80 of the host.
    #[serde(rename = "http-01")]
    Http01,
    /// By a handshake on its port 443.
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
}

/// What the threads of a gateway share of it.
#[derive(Debug)]
pub(crate) struct Acme {
    pub(crate) options: Options,
    pub(crate) challenges: Challenges,
    /// The ways that there are listeners for, in the order in which they are tried.
    pub(crate) ways: Vec<Challenge>,
    /// What became of certificates, for the server's events.
    pub(crate) news: News,
    /// Hosts of the table in force that an authority may vouch for.
    hosts: watch::Sender<Vec<String>>,
}

impl Acme {
    /// `http` says whether there is a listener without TLS beside the one with it.
    pub(crate) fn new(options: Options, http: bool) -> Self {
        let all = [Challenge::Http01, Challenge::TlsAlpn01];
        let has_listener = |way: &Challenge| *way != Challenge::Http01 || http;
        let wanted = |way: &Challenge| options.challenge.is_none_or(|only| only == *way);
        let ways = all.into_iter().filter(has_listener).filter(wanted).collect();
        Self {
            options,
            challenges: Challenges::default(),
            ways,
            news: News::default(),
            hosts: watch::Sender::default(),
        }
    }

    /// A table is in force.
    pub(crate) fn table(&self, table: &RouteTable) {
        let hosts = table.routes.iter().flat_map(|route| &route.hosts);
        let public_only = self.options.directory == LETS_ENCRYPT;
        let wanted = names::wanted(hosts.map(String::as_str), public_only);
        self.hosts.send_if_modified(|known| {
            let changed = *known != wanted;
            *known = wanted;
            changed
        });
    }
}
