//! A daemon of another host, reached over TCP: both sides show certificates of one authority, which
//! is the only one that is trusted. What goes wrong with them is told with what helps. Used by
//! `connection`.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use bollard::errors::Error;
use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};

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
            let told = |error| Error::from(io::Error::other(told(&error)));
            Box::pin(async move { client.request(request).await.map_err(told) })
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

/// An error with all its causes, and what helps against the last of them.
fn told(error: &(dyn StdError + 'static)) -> String {
    let mut words = error.to_string();
    let mut helps = None;
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if !words.contains(&text) {
            words = format!("{words}: {text}");
        }
        helps = of_tls(error).and_then(remedy).or(helps);
        next = error.source();
    }
    helps.map_or(words.clone(), |helps| format!("{words}; {helps}"))
}

/// What TLS says, however often it is wrapped.
fn of_tls<'a>(mut error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    loop {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        error = error.downcast_ref::<io::Error>()?.get_ref()?;
    }
}

/// What helps against a refusal of one side by the other.
fn remedy(error: &rustls::Error) -> Option<&'static str> {
    use AlertDescription as Alert;
    use CertificateError as Wrong;
    match error {
        rustls::Error::InvalidCertificate(Wrong::UnknownIssuer | Wrong::BadSignature) => Some(
            "the daemon's certificate is not signed by the authority of `ca.pem`: add the host again \
             with the `ca.pem` that signed it",
        ),
        rustls::Error::InvalidCertificate(
            Wrong::NotValidForName | Wrong::NotValidForNameContext { .. },
        ) => Some(
            "the daemon's certificate is made for another name: add the host by that name, or give the \
             daemon a certificate that has this one among its subjectAltNames",
        ),
        rustls::Error::InvalidCertificate(
            Wrong::Expired
            | Wrong::ExpiredContext { .. }
            | Wrong::NotValidYet
            | Wrong::NotValidYetContext { .. },
        ) => Some("renew the daemon's certificate, or set the clocks right"),
        rustls::Error::AlertReceived(
            Alert::BadCertificate
            | Alert::CertificateExpired
            | Alert::CertificateRequired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::UnsupportedCertificate,
        ) => Some(
            "the daemon does not take Ark's certificate: `cert.pem` must be in date, for clients, and \
             signed by the authority of the daemon's `--tlscacert`; add the host again with one that is",
        ),
        rustls::Error::InvalidMessage(_) => {
            Some("it speaks no TLS there: start its dockerd with `--tlsverify`")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_wrong_with_certificates_is_told_with_what_helps() {
        let unknown = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let alert = rustls::Error::AlertReceived(AlertDescription::BadCertificate);
        let plain = rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType);
        for (error, expected) in [
            (io::Error::other(unknown), "the `ca.pem` that signed it"),
            (io::Error::other(io::Error::other(alert)), "does not take Ark's certificate"),
            (io::Error::other(plain), "--tlsverify"),
        ] {
            let text = told(&error);
            assert!(text.contains(expected), "{text}");
        }
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!(told(&refused), "connection refused");
    }
}
