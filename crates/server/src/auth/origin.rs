//! Keeps web pages away from the API. A browser on this machine reaches loopback addresses for any
//! page it shows, by a cross-site request or by a name that resolves to 127.0.0.1 (DNS rebinding);
//! tokens are not cookies, yet a page must not even be able to ask. Command-line clients send
//! neither `Origin` nor a foreign `Host`.

use std::net::IpAddr;

use ark_model::api::ProblemCode;
use http::{HeaderMap, Uri, header};

use crate::api::ApiError;

/// What AWS's clients put before the host of operations that answer when the work is done.
const SYNC_PREFIX: &str = "sync-";

/// The name of this machine that the console's links use: cookies belong to a host, whatever the
/// port, and at `127.0.0.1` apps answer, too.
pub const CONSOLE_HOST: &str = "ark.localhost";

/// Host names under which the API may be addressed, beside `localhost` and plain IP addresses,
/// which no name server can make point here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowedHosts(pub Vec<String>);

impl AllowedHosts {
    fn allows(&self, host: &str) -> bool {
        // AWS's clients put it before the host for two operations; it names the same server.
        let host = host.strip_prefix(SYNC_PREFIX).unwrap_or(host);
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let bare = bare.trim_end_matches('.');
        bare.eq_ignore_ascii_case("localhost")
            || bare.eq_ignore_ascii_case(CONSOLE_HOST)
            || bare.parse::<IpAddr>().is_ok()
            || self.0.iter().any(|known| known.eq_ignore_ascii_case(bare))
    }
}

impl AllowedHosts {
    /// The name of the API and the console that a host is, or, of the console's usual name, is below. No app
    /// may answer there: a browser shows it the session of whoever visits both, whatever their ports, and
    /// from below it can be set. (Below a name of somebody's own the apps may well be meant to be.)
    pub fn taken(&self, host: &str) -> Option<&str> {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let below = host.strip_suffix(CONSOLE_HOST);
        if below.is_some_and(|rest| rest.is_empty() || rest.ends_with('.')) {
            return Some(CONSOLE_HOST);
        }
        let own = self.0.iter().map(String::as_str);
        let mut named = own.filter(|own| own.parse::<IpAddr>().is_err());
        named.find(|own| own.trim_end_matches('.').eq_ignore_ascii_case(&host))
    }
}

/// Refuses a request whose host is not one of ours. Answers the host with its port.
fn authority(allowed: &AllowedHosts, uri: &Uri, headers: &HeaderMap) -> Result<String, ApiError> {
    let named = headers.get(header::HOST).and_then(|value| value.to_str().ok());
    let authority = match (uri.authority(), named) {
        (Some(authority), _) => authority.as_str().to_owned(),
        (None, Some(host)) => host.to_owned(),
        (None, None) => return Err(refused("the request names no host")),
    };
    if !allowed.allows(host_of(&authority)) {
        return Err(refused("the request names a host that is not this server")
            .remedy("allow the name", "ark up --allow-host NAME"));
    }
    Ok(authority)
}

/// Refuses a request whose host is not one of ours.
///
/// # Errors
/// `foreign-origin`.
pub fn check_host(allowed: &AllowedHosts, uri: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
    authority(allowed, uri, headers).map(|_| ())
}

/// Refuses a request whose host is not one of ours, and one that a page of another origin sent.
///
/// # Errors
/// `foreign-origin`.
pub fn check_origin(
    allowed: &AllowedHosts,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<(), ApiError> {
    let authority = authority(allowed, uri, headers)?;
    if let Some(origin) = headers.get(header::ORIGIN) {
        let same = origin
            .to_str()
            .ok()
            .and_then(|origin| origin.split_once("://"))
            .is_some_and(|(_, at)| at.eq_ignore_ascii_case(&authority));
        if !same {
            return Err(refused("the request comes from a page of another origin"));
        }
    }
    match headers.get("sec-fetch-site").map(http::HeaderValue::as_bytes) {
        None | Some(b"same-origin" | b"none") => Ok(()),
        Some(_) => Err(refused("the request comes from a page of another site")),
    }
}

fn refused(detail: &str) -> ApiError {
    ApiError::new(ProblemCode::ForeignOrigin, detail)
}

/// The host of `host[:port]`, with the brackets of IPv6.
fn host_of(authority: &str) -> &str {
    let after_user = authority.rsplit('@').next().unwrap_or(authority);
    match after_user.rfind(']') {
        Some(end) => &after_user[..=end],
        None => after_user.split(':').next().unwrap_or(after_user),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_app_is_at_the_name_of_the_console_or_below_it() {
        let allowed = AllowedHosts(vec!["Ark.Example.com".into(), "192.0.2.7".into()]);
        for (host, taken) in [
            ("ark.localhost", Some(CONSOLE_HOST)),
            ("ARK.localhost.", Some(CONSOLE_HOST)),
            ("web.ark.localhost", Some(CONSOLE_HOST)),
            ("ark.example.com", Some("Ark.Example.com")),
            // The console may be at the top of what the apps are below.
            ("web.ark.example.com", None),
            ("park.localhost", None),
            ("web.production.localhost", None),
            ("example.com", None),
            ("localhost", None),
            ("192.0.2.7", None),
        ] {
            assert_eq!(allowed.taken(host), taken, "{host}");
        }
    }

    #[test]
    fn pages_are_kept_out_and_clients_are_not() {
        let allowed = AllowedHosts(vec!["ark.example.test".into()]);
        for (host, origin, site, good) in [
            (Some("127.0.0.1:7070"), None, None, true),
            (Some("localhost:7070"), None, None, true),
            (Some("LOCALHOST"), None, None, true),
            (Some("[::1]:7070"), None, None, true),
            (Some("ark.localhost:7070"), None, None, true),
            (Some("ark.localhost:7070"), Some("http://web.ark.localhost:7070"), None, false),
            (Some("10.1.2.3:7070"), None, None, true),
            (Some("ark.example.test"), None, None, true),
            (Some("sync-127.0.0.1:7070"), None, None, true),
            (Some("sync-localhost:7070"), None, None, true),
            (Some("sync-evil.test"), None, None, false),
            (None, None, None, false),
            (Some("evil.test:7070"), None, None, false),
            (Some("127.0.0.1.evil.test:7070"), None, None, false),
            (Some("localhost.evil.test"), None, None, false),
            (Some("web.production.localhost:7070"), None, None, false),
            (Some("127.0.0.1@evil.test"), None, None, false),
            (Some("127.0.0.1:7070"), Some("http://127.0.0.1:7070"), None, true),
            (Some("127.0.0.1:7070"), Some("http://127.0.0.1:8080"), None, false),
            (Some("127.0.0.1:7070"), Some("http://evil.test"), None, false),
            (Some("127.0.0.1:7070"), Some("null"), None, false),
            (Some("127.0.0.1:7070"), None, Some("cross-site"), false),
            (Some("127.0.0.1:7070"), None, Some("same-site"), false),
            (Some("127.0.0.1:7070"), None, Some("same-origin"), true),
            (Some("127.0.0.1:7070"), None, Some("none"), true),
        ] {
            let mut headers = HeaderMap::new();
            let mut set = |name: &'static str, value: Option<&'static str>| {
                if let Some(value) = value {
                    headers.insert(name, http::HeaderValue::from_static(value));
                }
            };
            set("host", host);
            set("origin", origin);
            set("sec-fetch-site", site);
            let result = check_origin(&allowed, &Uri::from_static("/v1/server"), &headers);
            assert_eq!(result.is_ok(), good, "{host:?} {origin:?} {site:?}");
        }
    }
}
