//! One certificate: account, order, proof, request, chain (RFC 8555, 7). Whatever goes wrong is said
//! in words for the operator, with whose fault it is.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, ChallengeHandle, ChallengeType, Error,
    Identifier, NewAccount, NewOrder, Order, OrderStatus, Problem, RetryPolicy,
};
use jiff::{SignedDuration, Timestamp};
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::sign::CertifiedKey;

use super::challenges::Shown;
use super::client::{Client, Told, Unreachable};
use super::schedule::Fault;
use super::{Acme, Challenge, kept};
use crate::conductor::with_sources;
use crate::tls::certificates::{self, Loaded};

/// How long a whole order may take.
const ORDER_MAX: Duration = Duration::from_mins(5);
/// How the authority is asked whether it has looked, and whether the certificate is made.
const POLL: RetryPolicy =
    RetryPolicy::new().initial_delay(Duration::from_millis(500)).backoff(1.5).timeout(POLL_MAX);
const POLL_MAX: Duration = Duration::from_mins(2);
/// How far the clocks of authority and gateway may be apart.
const CLOCKS_APART: SignedDuration = SignedDuration::from_mins(5);

/// A certificate and its key, in PEM.
pub(super) struct Made {
    pub(super) chain: String,
    pub(super) key: String,
}

/// Why there is none.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) fault: Fault,
    /// How long the authority asks to wait.
    pub(super) told: Option<SignedDuration>,
    pub(super) reason: String,
}

/// Gets a certificate for `host`, which is proven in this `way`.
pub(super) async fn certificate(
    acme: &Acme,
    directory: &Path,
    host: &str,
    way: Challenge,
) -> Result<Made, Failure> {
    let told = Told::default();
    let ordering = order(acme, directory, host, way, told.clone());
    let ordered = match tokio::time::timeout(ORDER_MAX, ordering).await {
        Ok(ordered) => ordered,
        Err(_) => {
            let reason = format!("no certificate within {} s", ORDER_MAX.as_secs());
            Err((Fault::Authority, reason))
        }
    };
    ordered.map_err(|(fault, reason)| Failure { fault, told: told.take(Timestamp::now()), reason })
}

type Attempt<T> = Result<T, (Fault, String)>;

async fn order(
    acme: &Acme,
    directory: &Path,
    host: &str,
    way: Challenge,
    told: Told,
) -> Attempt<Made> {
    let client = Client::new(acme.options.roots.as_deref(), told)
        .map_err(|reason| (Fault::Authority, reason))?;
    let mut order = open(acme, directory, &client, host).await?;
    // Shown until the order is decided.
    let mut shown = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.map_err(|error| judged(&error))?;
        if authorization.status == AuthorizationStatus::Valid {
            continue;
        }
        let Some(mut challenge) = authorization.challenge(kind(way)) else {
            let reason = format!("the authority does not offer {}", words(way));
            return Err((Fault::Host, reason));
        };
        shown.push(show(acme, host, way, &challenge)?);
        challenge.set_ready().await.map_err(|error| unproven(way, &error))?;
    }
    match order.poll_ready(&POLL).await.map_err(|error| unproven(way, &error))? {
        OrderStatus::Ready | OrderStatus::Valid => {}
        OrderStatus::Pending | OrderStatus::Processing => {
            return Err((Fault::Authority, "the authority has not looked in time".to_owned()));
        }
        OrderStatus::Invalid => return Err((Fault::Host, refusal(&mut order, way).await)),
    }
    drop(shown);
    finish(&mut order, host).await
}

/// Begins an order; with a new account where the authority does not know the one that is kept.
async fn open(acme: &Acme, directory: &Path, client: &Client, host: &str) -> Attempt<Order> {
    let identifiers = [Identifier::Dns(host.to_owned())];
    let new = NewOrder::new(&identifiers);
    let ordered = account(acme, directory, client).await?.new_order(&new).await;
    let ordered = match ordered {
        Err(error) if is_unknown_account(&error) => {
            tracing::warn!(
                "the authority does not know the account that is kept; a new one is made"
            );
            kept::forget_account(directory, &acme.options.directory);
            account(acme, directory, client).await?.new_order(&new).await
        }
        other => other,
    };
    ordered.map_err(|error| judged(&error))
}

/// The account that is kept for this authority, or a new one.
async fn account(acme: &Acme, directory: &Path, client: &Client) -> Attempt<Account> {
    let authority = &acme.options.directory;
    let builder = || Account::builder_with_http(Box::new(client.clone()));
    let kept = kept::read_account(directory, authority)
        .and_then(|bytes| serde_json::from_slice::<AccountCredentials>(&bytes).ok());
    if let Some(credentials) = kept {
        return builder().from_credentials(credentials).await.map_err(|error| judged(&error));
    }
    let contact = acme.options.email.as_ref().map(|email| format!("mailto:{email}"));
    let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
    let new = NewAccount {
        contact: &contact,
        terms_of_service_agreed: true,
        only_return_existing: false,
    };
    let made = builder().create(&new, authority.clone(), None).await;
    let (account, credentials) = made.map_err(|error| {
        let (_, reason) = judged(&error);
        // No host can be asked for without an account.
        (Fault::Authority, format!("no account: {reason}"))
    })?;
    let bytes = serde_json::to_vec(&credentials).map_err(|e| (Fault::Authority, e.to_string()))?;
    kept::write_account(directory, authority, &bytes)
        .map_err(|error| (Fault::Authority, with_sources(&error)))?;
    Ok(account)
}

/// Has every worker show what the authority will look for.
fn show<'a>(
    acme: &'a Acme,
    host: &str,
    way: Challenge,
    challenge: &ChallengeHandle<'_>,
) -> Attempt<Shown<'a>> {
    let authorization = challenge.key_authorization();
    match way {
        Challenge::Http01 => {
            Ok(acme.challenges.show_answer(host, &challenge.token, authorization.as_str()))
        }
        Challenge::TlsAlpn01 => {
            let key = proof(host, authorization.digest().as_ref())
                .map_err(|reason| (Fault::Host, reason))?;
            Ok(acme.challenges.show_certificate(host, &key))
        }
    }
}

/// The certificate that proves a host in a handshake (RFC 8737, 3).
fn proof(host: &str, digest: &[u8]) -> Result<Arc<CertifiedKey>, String> {
    let made = || {
        let mut params = CertificateParams::new(vec![host.to_owned()])?;
        params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
        let key = KeyPair::generate()?;
        Ok((params.self_signed(&key)?.der().clone(), key.serialize_der()))
    };
    let (certificate, key) = made().map_err(|error: rcgen::Error| error.to_string())?;
    let key = PrivatePkcs8KeyDer::from(key).into();
    // Not held against its certificate: that has a critical extension that only an authority reads.
    let key = any_supported_type(&key).map_err(|error| error.to_string())?;
    Ok(Arc::new(CertifiedKey::new(vec![certificate], key)))
}

fn loaded(chain: &str, key: &str) -> Result<Loaded, String> {
    let file = Path::new("from the authority");
    certificates::load(chain.as_bytes(), key.as_bytes(), file, file)
        .map_err(|problem| problem.reason)
}

fn unproven(way: Challenge, error: &Error) -> (Fault, String) {
    let (fault, reason) = judged(error);
    (fault, format!("{} failed: {reason}", words(way)))
}

/// Why the authority was not convinced.
async fn refusal(order: &mut Order, way: Challenge) -> String {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        if authorization.refresh().await.is_err() {
            continue;
        }
        let told = authorization.challenges.iter().find_map(|challenge| challenge.error.as_ref());
        if let Some(problem) = told {
            return format!("{} failed: {}", words(way), detail(problem));
        }
    }
    let problem = order.state().error.as_ref().map(detail);
    format!("{} failed: {}", words(way), problem.unwrap_or_else(|| "no reason given".to_owned()))
}

/// Has the certificate made, and looks at it before it is let near a client.
async fn finish(order: &mut Order, host: &str) -> Attempt<Made> {
    let failed = |error: rcgen::Error| (Fault::Host, error.to_string());
    let key = KeyPair::generate().map_err(failed)?;
    let mut params = CertificateParams::new(vec![host.to_owned()]).map_err(failed)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    let request = params.serialize_request(&key).map_err(failed)?;
    order.finalize_csr(request.der()).await.map_err(|error| judged(&error))?;
    let chain = order.poll_certificate(&POLL).await.map_err(|error| judged(&error))?;
    let made = Made { chain, key: key.serialize_pem() };
    let wrong = |reason: String| {
        (Fault::Host, format!("the authority's certificate cannot be served: {reason}"))
    };
    let loaded = loaded(&made.chain, &made.key).map_err(wrong)?;
    fits(&loaded, host, Timestamp::now()).map_err(wrong)?;
    Ok(made)
}

fn fits(loaded: &Loaded, host: &str, now: Timestamp) -> Result<(), String> {
    if !loaded.names.iter().any(|name| name == host) {
        return Err(format!("it is for {}", loaded.names.join(", ")));
    }
    let clock = "is the clock right?";
    if loaded.not_after <= now {
        return Err(format!("it has ended at {}; {clock}", loaded.not_after));
    }
    if loaded.not_before.duration_since(now) > CLOCKS_APART {
        return Err(format!("it begins at {}; {clock}", loaded.not_before));
    }
    Ok(())
}

fn kind(way: Challenge) -> ChallengeType {
    match way {
        Challenge::Http01 => ChallengeType::Http01,
        Challenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
    }
}

fn words(way: Challenge) -> &'static str {
    match way {
        Challenge::Http01 => "http-01",
        Challenge::TlsAlpn01 => "tls-alpn-01",
    }
}

fn detail(problem: &Problem) -> String {
    let detail = problem.detail.clone().unwrap_or_else(|| "no reason given".to_owned());
    match problem.r#type.as_deref().and_then(|kind| kind.rsplit_once(':')) {
        Some((_, kind)) => format!("{detail} ({kind})"),
        None => detail,
    }
}

fn problem_is(problem: &Problem, name: &str) -> bool {
    let kind = problem.r#type.as_deref();
    kind.and_then(|kind| kind.strip_prefix("urn:ietf:params:acme:error:")) == Some(name)
}

fn is_unknown_account(error: &Error) -> bool {
    matches!(error, Error::Api(problem) if problem_is(problem, "accountDoesNotExist"))
}

/// Whose fault it is (RFC 8555, 6.7), and what is said of it.
fn judged(error: &Error) -> (Fault, String) {
    match error {
        Error::Api(problem) => {
            let of_authority = ["serverInternal", "accountDoesNotExist"];
            let fault = if problem_is(problem, "rateLimited") {
                Fault::RateLimited
            } else if problem.status.is_some_and(|status| status >= 500)
                || of_authority.iter().any(|name| problem_is(problem, name))
            {
                Fault::Authority
            } else {
                Fault::Host
            };
            (fault, detail(problem))
        }
        Error::Other(other) if other.is::<Unreachable>() => (Fault::Authority, other.to_string()),
        // An answer that is none, from a proxy on the way, say.
        other => (Fault::Authority, with_sources(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_told_apart() {
        let api = |kind: &str, status: u16| {
            let text = format!(
                r#"{{"type": "urn:ietf:params:acme:error:{kind}", "detail": "why", "status": {status}}}"#
            );
            judged(&Error::Api(serde_json::from_str(&text).unwrap()))
        };
        let cases = [
            ("rateLimited", 429, Fault::RateLimited),
            ("rejectedIdentifier", 400, Fault::Host),
            ("caa", 403, Fault::Host),
            ("serverInternal", 500, Fault::Authority),
            ("malformed", 503, Fault::Authority),
            ("accountDoesNotExist", 400, Fault::Authority),
        ];
        for (kind, status, fault) in cases {
            assert_eq!(api(kind, status), (fault, format!("why ({kind})")), "{kind}");
        }
        assert_eq!(judged(&Error::Str("x")).0, Fault::Authority);
    }

    #[test]
    fn what_is_not_for_the_host_or_not_valid_now_is_not_taken() {
        let key = proof("a.com", &[7; 32]).unwrap();
        let at = |second| Timestamp::from_second(second).unwrap();
        let made = |names: &[&str], from, to| Loaded {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            not_before: at(from),
            not_after: at(to),
            key: key.clone(),
        };
        let says = |loaded: &Loaded| fits(loaded, "a.com", at(1_000)).unwrap_err();
        assert_eq!(fits(&made(&["b.com", "a.com"], 0, 2_000), "a.com", at(1_000)), Ok(()));
        assert!(says(&made(&["b.com"], 0, 2_000)).contains("it is for b.com"));
        assert!(says(&made(&["a.com"], 0, 1_000)).contains("has ended"));
        assert!(says(&made(&["a.com"], 1_400, 2_000)).contains("begins"));
    }
}
