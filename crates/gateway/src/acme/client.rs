//! How the authority is spoken to: HTTP/1.1 over TLS, a connection per request, with a deadline and
//! a limit for each answer. What it says of when to come back is kept for the schedule.

use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, HeaderValue, RETRY_AFTER};
use http::{Request, Uri, uri};
use http_body_util::Limited;
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use jiff::fmt::rfc2822;
use jiff::{SignedDuration, Timestamp};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How long an answer may take, its body included.
const REQUEST_MAX: Duration = Duration::from_secs(30);
/// The longest answer that is read, in bytes: a chain of certificates is the longest there is.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Why no request came about. Everything in it is the authority's or the way to it.
#[derive(Debug, thiserror::Error)]
#[error("{authority} cannot be reached: {reason}")]
pub(super) struct Unreachable {
    authority: String,
    reason: String,
}

/// When the authority last said to come back.
#[derive(Debug, Clone, Default)]
pub(super) struct Told(Arc<Mutex<Option<Timestamp>>>);

impl Told {
    /// How long it said to wait, from `now`; asked once.
    pub(super) fn take(&self, now: Timestamp) -> Option<SignedDuration> {
        let at = self.0.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some(at.duration_since(now)).filter(SignedDuration::is_positive)
    }

    fn hear(&self, value: Option<&HeaderValue>) {
        let at = value.and_then(|value| when(value.to_str().ok()?, Timestamp::now()));
        if at.is_some() {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = at;
        }
    }
}

/// `Retry-After`, in seconds or as a date (RFC 9110, 10.2.3).
fn when(value: &str, now: Timestamp) -> Option<Timestamp> {
    if let Ok(seconds) = value.trim().parse::<u32>() {
        return now.checked_add(SignedDuration::from_secs(i64::from(seconds))).ok();
    }
    Some(rfc2822::parse(value.trim()).ok()?.timestamp())
}

/// See the module.
#[derive(Clone)]
pub(super) struct Client {
    connector: TlsConnector,
    told: Told,
}

impl Client {
    /// Trusts the certificates in the file `roots`, or those of the system.
    pub(super) fn new(roots: Option<&Path>, told: Told) -> Result<Self, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let builder = match roots {
            Some(file) => builder.with_root_certificates(read_roots(file)?),
            None => {
                let verifier = rustls_platform_verifier::Verifier::new(provider)
                    .map_err(|error| format!("no roots of this system: {error}"))?;
                builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
            }
        };
        let config = builder.with_no_client_auth();
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), told })
    }
}

fn read_roots(file: &Path) -> Result<RootCertStore, String> {
    let bad = |reason: String| format!("roots of the authority, {}: {reason}", file.display());
    let mut roots = RootCertStore::empty();
    let certificates =
        CertificateDer::pem_file_iter(file).map_err(|error| bad(error.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| bad(error.to_string()))?;
        roots.add(certificate).map_err(|error| bad(error.to_string()))?;
    }
    match roots.is_empty() {
        true => Err(bad("holds no certificate".to_owned())),
        false => Ok(roots),
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let this = self.clone();
        Box::pin(async move {
            let authority = request.uri().authority().map(ToString::to_string).unwrap_or_default();
            let failed = |reason: String| {
                Error::Other(Box::new(Unreachable { authority: authority.clone(), reason }))
            };
            match tokio::time::timeout(REQUEST_MAX, this.exchange(request)).await {
                Ok(answered) => answered.map_err(|error| failed(error.to_string())),
                Err(_) => Err(failed(format!("no answer within {} s", REQUEST_MAX.as_secs()))),
            }
        })
    }
}

impl Client {
    async fn exchange(&self, request: Request<BodyWrapper<Bytes>>) -> io::Result<BytesResponse> {
        let (host, port, request) = to_origin_form(request)?;
        let tcp = TcpStream::connect((host.as_str(), port)).await?;
        let name = ServerName::try_from(host).map_err(io::Error::other)?;
        let tls = self.connector.connect(name, tcp).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tls))
            .await
            .map_err(io::Error::other)?;
        // It ends with the answer: no connection is kept.
        let driving = tokio::spawn(connection);
        let answered = sender.send_request(request).await.map_err(io::Error::other);
        let answer = match answered {
            Ok(answer) => answer,
            Err(error) => {
                driving.abort();
                return Err(error);
            }
        };
        self.told.hear(answer.headers().get(RETRY_AFTER));
        let (parts, body) = answer.into_parts();
        let body = http_body_util::BodyExt::collect(Limited::new(body, ANSWER_BYTES_MAX))
            .await
            .map_err(io::Error::other)?
            .to_bytes();
        driving.abort();
        Ok(BytesResponse { parts, body: Box::new(body) })
    }
}

/// Host and port to connect to, and the request as it is sent there.
fn to_origin_form<B>(mut request: Request<B>) -> io::Result<(String, u16, Request<B>)> {
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what.to_owned());
    if request.uri().scheme() != Some(&uri::Scheme::HTTPS) {
        return Err(bad("an address of the authority is not https"));
    }
    let authority = request.uri().authority().cloned().ok_or_else(|| bad("no host"))?;
    let path = request.uri().path_and_query().cloned();
    let path = path.unwrap_or_else(|| uri::PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from(path);
    let field = HeaderValue::from_str(authority.as_str()).map_err(io::Error::other)?;
    request.headers_mut().insert(HOST, field);
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    Ok((host, authority.port_u16().unwrap_or(443), request))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_to_come_back_is_understood_in_both_forms() {
        let now = Timestamp::from_second(784_111_770).unwrap();
        let after = |value: &str| when(value, now).map(|at| at.as_second() - now.as_second());
        assert_eq!(after("120"), Some(120));
        assert_eq!(after("Sun, 06 Nov 1994 08:49:37 GMT"), Some(7));
        assert_eq!(after("soon"), None);
    }

    #[test]
    fn requests_leave_in_origin_form() {
        let form = |address: &str| {
            let request = Request::get(address).body(()).unwrap();
            to_origin_form(request).map(|(host, port, request)| {
                let field = request.headers()[HOST].to_str().unwrap().to_owned();
                (host, port, field, request.uri().to_string())
            })
        };
        let text = |parts: (&str, u16, &str, &str)| {
            (parts.0.to_owned(), parts.1, parts.2.to_owned(), parts.3.to_owned())
        };
        assert_eq!(form("https://ca.test/d?x").unwrap(), text(("ca.test", 443, "ca.test", "/d?x")));
        assert_eq!(form("https://[::1]:14000").unwrap(), text(("::1", 14000, "[::1]:14000", "/")));
        assert!(form("http://ca.test/d").is_err());
    }
}
