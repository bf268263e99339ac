//! TLS towards clients: certificates by name from files, and made by Ark for `.localhost` names;
//! one configuration for all workers, in which certificates are swapped while connections go on. Handshakes ask [`Certificates`]; the control thread looks at the files.
//!
//! It must not decide who may connect: any client is served, whatever name it asks for, and routes
//! are found by `Host` alone.

pub mod certificates;
mod local_ca;
mod resolver;
pub(crate) mod session;

use std::sync::Arc;

pub(crate) use resolver::Certificates;
use rustls::ServerConfig;

use crate::acme;
use crate::error::{Error, Result};

/// What is spoken over TLS, the better first.
const PROTOCOLS: [&[u8]; 2] = [HTTP_2, b"http/1.1"];
/// HTTP/2 in ALPN.
pub(crate) const HTTP_2: &[u8] = b"h2";

/// The configuration of all TLS connections. Sessions are resumed by tickets, whose keys live as
/// long as the gateway's process.
pub(crate) fn config(certificates: Arc<Certificates>) -> Result<Arc<ServerConfig>> {
    let proves = certificates.proves_hosts();
    let failed = |source| Error::Tls { source };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(failed)?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.alpn_protocols = PROTOCOLS.iter().map(|name| name.to_vec()).collect();
    if proves {
        config.alpn_protocols.push(acme::PROTOCOL.to_vec());
    }
    config.ticketer = rustls::crypto::ring::Ticketer::new().map_err(failed)?;
    config.send_tls13_tickets = 1;
    // Clients that know no tickets resume by what the server remembers, which costs memory.
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    Ok(Arc::new(config))
}

/// Says what is wrong with files; what was in force before still is.
pub(crate) fn log(problems: &[certificates::Problem]) {
    for problem in problems {
        tracing::error!(%problem, "certificate not taken over; what was served before still is");
    }
}
