//! A daemon of another host, reached over TCP: both sides show certificates of one authority, which
//! is the only one that is trusted. Used by `connection`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bollard::errors::Error;
use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(3);

/// A daemon that is reached over TLS.
#[derive(Clone)]
pub struct TlsDaemon {
    address: String,
    config: Arc<ClientConfig>,
}

impl fmt::Debug for TlsDaemon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsDaemon").field("address", &self.address).finish_non_exhaustive()
    }
}

impl TlsDaemon {
    /// A daemon at `HOST:PORT`. The certificate of the authority that signed the daemon's, Ark's own and
    /// its key are PEM.
    ///
    /// # Errors
    /// What is wrong with them, in words that name no secret.
    pub fn new(address: &str, authority: &str, own: &str, key: &str) -> Result<Self, String> {
        let certificates = |what: &str,
                            pem: &str|
         -> Result<Vec<CertificateDer<'static>>, String> {
            let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
            let all = all.map_err(|error| format!("{what} is no PEM: {error}"))?;
            match all.is_empty() {
                true => Err(format!("{what} holds no certificate")),
                false => Ok(all),
            }
        };
        let mut roots = RootCertStore::empty();
        for one in certificates("the authority's certificate", authority)? {
            roots.add(one).map_err(|e| format!("the authority's certificate: {e}"))?;
        }
        let own = certificates("Ark's certificate", own)?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
            .map_err(|_| "the key is no private key in PEM".to_owned())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_client_auth_cert(own, key)
            .map_err(|error| format!("certificate and key: {error}"))?;
        Ok(Self { address: address.to_owned(), config: Arc::new(config) })
    }

    /// Where it is.
    pub fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn connect(&self, answer_seconds: u64) -> Result<Docker, Error> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_connect_timeout(Some(CONNECT));
        let config = (*self.config).clone();
        let tls = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_only()
            .enable_http1()
            .wrap_connector(http);
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(tls);
        let send = move |request: BollardRequest| {
            let client = client.clone();
            Box::pin(async move { client.request(request).await.map_err(Error::from) })
        };
        let address = format!("https://{}", self.address);
        Docker::connect_with_custom_transport(
            send,
            Some(address),
            answer_seconds,
            API_DEFAULT_VERSION,
        )
    }
}
