//! A call over HTTP, and which addresses are refused.
//!
//! A workflow's author chooses the URL and the server makes the call, so the server's own neighbourhood
//! must be out of reach: loopback, link-local addresses with the metadata services of clouds among them,
//! multicast, broadcast and unspecified ones. The address that a name resolves to is judged, not the
//! name. [`Ranges`] let some of them in.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use ark_states::{Value, limits};
use futures::future::BoxFuture;
use http::Method;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// Connections to one host that are kept for the next call, and for how long.
const IDLE_MAX: usize = 4;
const IDLE_FOR: Duration = Duration::from_secs(30);

/// A request that is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// The method.
    pub method: Method,
    /// Where to.
    pub url: url::Url,
    /// Header fields, names in lower case. May hold credentials: never logged.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Option<Vec<u8>>,
}

impl Outgoing {
    /// A plain GET.
    #[cfg(test)]
    pub(super) fn get(url: &str) -> Self {
        let url = url::Url::parse(url).expect("a URL");
        Self { method: Method::GET, url, headers: Vec::new(), body: None }
    }

    /// Whether a field is set.
    pub fn has_header(&self, name: &str) -> bool {
        self.headers.iter().any(|(n, _)| n == name)
    }

    /// Whether sending it twice does what sending it once does (RFC 9110, 9.2.2).
    pub fn may_be_repeated(&self) -> bool {
        self.method.is_idempotent()
    }
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Its words.
    pub reason: String,
    /// Header fields in their order.
    pub headers: Vec<(String, String)>,
    /// The body, whole.
    pub body: Vec<u8>,
}

impl Answer {
    /// As the state sees it; a body is JSON when it says so and is.
    pub fn shown(&self) -> Value {
        let mut fields: Vec<(String, Vec<Value>)> = Vec::new();
        for (name, value) in &self.headers {
            let value = Value::from(value.as_str());
            match fields.iter_mut().find(|(n, _)| n == name) {
                Some((_, values)) => values.push(value),
                None => fields.push((name.clone(), vec![value])),
            }
        }
        let kind = self.headers.iter().find(|(name, _)| name == "content-type");
        let is_json = kind.is_some_and(|(_, kind)| kind.to_ascii_lowercase().contains("json"));
        let text = String::from_utf8_lossy(&self.body);
        let body = match Value::parse(&text) {
            Ok(value) if is_json => value,
            Ok(_) | Err(_) => Value::from(&*text),
        };
        let fields = fields.into_iter().map(|(name, values)| (name, Value::from(values)));
        Value::object([
            ("Headers", Value::object(fields)),
            ("ResponseBody", body),
            ("StatusCode", Value::from(i64::from(self.status))),
            ("StatusText", Value::from(self.reason.as_str())),
        ])
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No connection, or it broke.
    #[error("{0}")]
    Socket(String),
    /// The address must not be called.
    #[error("{0}")]
    Refused(String),
    /// The answer is larger than a state's data may be.
    #[error("the answer is too large")]
    TooLarge,
}

/// Makes calls; replaced by tests.
pub trait Caller: Send + Sync + fmt::Debug {
    /// Makes one. The caller of this puts the deadline around it.
    fn call(&self, outgoing: Outgoing) -> BoxFuture<'_, Result<Answer, CallError>>;
}

/// Ranges of addresses: `127.0.0.1/32`, `fd00::/8`, or a single address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ranges(Vec<(IpAddr, u8)>);

impl FromStr for Ranges {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let one = |part: &str| -> Result<(IpAddr, u8), String> {
            let wrong = || format!("`{part}` is no range of addresses; 127.0.0.1/32 is one");
            let (address, bits) = match part.split_once('/') {
                Some((address, bits)) => (address, Some(bits)),
                None => (part, None),
            };
            let address: IpAddr = address.parse().map_err(|_| wrong())?;
            let most = if address.is_ipv4() { 32 } else { 128 };
            let bits = bits.map_or(Ok(most), str::parse).map_err(|_| wrong())?;
            if bits > most { Err(wrong()) } else { Ok((address, bits)) }
        };
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.map(one).collect::<Result<Vec<_>, _>>().map(Self)
    }
}

impl Ranges {
    fn contain(&self, address: IpAddr) -> bool {
        self.0.iter().any(|(range, bits)| match (range, address) {
            (IpAddr::V4(range), IpAddr::V4(address)) => {
                let shift = 32 - u32::from(*bits);
                u64::from(u32::from(*range)) >> shift == u64::from(u32::from(address)) >> shift
            }
            (IpAddr::V6(range), IpAddr::V6(address)) => {
                let shift = 128 - u32::from(*bits);
                let of = |a: Ipv6Addr| u128::from(a).checked_shr(shift).unwrap_or(0);
                of(*range) == of(address)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        })
    }

    /// Whether this address may be called.
    pub fn allow(&self, address: IpAddr) -> bool {
        let plain = address.to_canonical();
        self.contain(plain) || !is_near(plain)
    }
}

/// Addresses that belong to the server's own neighbourhood.
fn is_near(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            v4.is_loopback()
                || v4.is_link_local()
                || v4.is_unspecified()
                || v4.is_broadcast()
                || v4.is_multicast()
                || v4.octets()[0] == 0
                // The metadata service of a cloud that has it there.
                || v4 == Ipv4Addr::new(100, 100, 100, 200)
        }
        IpAddr::V6(v6) => {
            v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_multicast()
                || v6.is_unicast_link_local()
                // The metadata service of AWS.
                || v6 == Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)
                || embedded(v6).is_some_and(|v4| is_near(IpAddr::V4(v4)))
        }
    }
}

/// The IPv4 address inside one of NAT64 (64:ff9b::/96) or 6to4 (2002::/16).
fn embedded(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let s = v6.segments();
    let of = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match s {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(of(high, low)),
        [0x2002, high, low, ..] => Some(of(high, low)),
        _ => None,
    }
}

fn refused(host: &str) -> String {
    format!(
        "`{host}` leads to an address that is not called: loopback and link-local addresses are out of reach of workflows unless the server is told otherwise (ARK_HTTP_INVOKE_ALLOW)"
    )
}

/// Calls by the operating system's network.
#[derive(Debug)]
pub struct HttpCaller {
    client: reqwest::Client,
    ranges: Ranges,
}

impl HttpCaller {
    /// A caller that may also call addresses in `ranges`.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(ranges: Ranges) -> Result<Self, String> {
        // TLS by ring. An error means that it was installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .user_agent(concat!("ark/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .pool_max_idle_per_host(IDLE_MAX)
            .pool_idle_timeout(IDLE_FOR)
            // An answer that leads elsewhere is an answer: where it leads was not asked for.
            .redirect(reqwest::redirect::Policy::none())
            // A proxy would resolve names by itself.
            .no_proxy()
            .dns_resolver(Arc::new(Resolver(ranges.clone())))
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self { client, ranges })
    }

    async fn send(&self, outgoing: Outgoing) -> Result<Answer, CallError> {
        let host = outgoing.url.host_str().unwrap_or_default().to_owned();
        // A literal address is not resolved.
        let literal = match outgoing.url.host() {
            Some(url::Host::Ipv4(v4)) => Some(IpAddr::V4(v4)),
            Some(url::Host::Ipv6(v6)) => Some(IpAddr::V6(v6)),
            Some(url::Host::Domain(_)) | None => None,
        };
        if literal.is_some_and(|address| !self.ranges.allow(address)) {
            return Err(CallError::Refused(refused(&host)));
        }
        let mut request = self.client.request(outgoing.method, outgoing.url);
        for (name, value) in &outgoing.headers {
            request = request.header(name, value);
        }
        if let Some(body) = outgoing.body {
            request = request.body(body);
        }
        let mut response = request.send().await.map_err(|error| broken(&error, &host))?;
        let status = response.status();
        let headers = response.headers().iter().map(|(name, value)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        });
        let headers = headers.collect();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| broken(&error, &host))? {
            if body.len() + chunk.len() > limits::PAYLOAD_BYTES_MAX {
                return Err(CallError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        let reason = status.canonical_reason().unwrap_or_default().to_owned();
        Ok(Answer { status: status.as_u16(), reason, headers, body })
    }
}

/// What broke, without the URL: its query may hold secrets.
fn broken(error: &reqwest::Error, host: &str) -> CallError {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(next) = innermost.source() {
        innermost = next;
    }
    let words = innermost.to_string();
    if words == refused(host) {
        return CallError::Refused(words);
    }
    CallError::Socket(format!("{host}: {words}"))
}

impl Caller for HttpCaller {
    fn call(&self, outgoing: Outgoing) -> BoxFuture<'_, Result<Answer, CallError>> {
        Box::pin(self.send(outgoing))
    }
}

/// Resolves names by the system, and keeps only addresses that may be called.
#[derive(Debug)]
struct Resolver(Ranges);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let ranges = self.0.clone();
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found = tokio::net::lookup_host((host.as_str(), 0)).await?;
            let (good, near): (Vec<SocketAddr>, Vec<SocketAddr>) =
                found.partition(|address| ranges.allow(address.ip()));
            if good.is_empty() && !near.is_empty() {
                return Err(refused(&host).into());
            }
            let addresses: Addrs = Box::new(good.into_iter());
            Ok(addresses)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_neighbourhood_is_out_of_reach() {
        let none = Ranges::default();
        for (address, allowed) in [
            ("127.0.0.1", false),
            ("127.9.9.9", false),
            ("0.0.0.0", false),
            ("169.254.169.254", false),
            ("100.100.100.200", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("::1", false),
            ("::", false),
            ("fe80::1", false),
            ("fd00:ec2::254", false),
            ("::ffff:127.0.0.1", false),
            ("::ffff:169.254.169.254", false),
            ("64:ff9b::a9fe:a9fe", false),
            ("2002:7f00:1::", false),
            ("10.0.0.1", true),
            ("192.168.1.1", true),
            ("93.184.216.34", true),
            ("2606:2800:220:1::1", true),
        ] {
            let address: IpAddr = address.parse().expect("an address");
            assert_eq!(none.allow(address), allowed, "{address}");
        }
    }

    #[test]
    fn ranges_let_some_in() {
        let ranges: Ranges =
            "127.0.0.1, 169.254.7.0/24, ::1/128, fe80::/10".parse().expect("ranges");
        for (address, allowed) in [
            ("127.0.0.1", true),
            ("::ffff:127.0.0.1", true),
            ("127.0.0.2", false),
            ("169.254.7.9", true),
            ("169.254.169.254", false),
            ("::1", true),
            ("fe80::9", true),
        ] {
            let address: IpAddr = address.parse().expect("an address");
            assert_eq!(ranges.allow(address), allowed, "{address}");
        }
        for text in ["x", "1.2.3.4/33", "1.2.3/8", "::/129"] {
            assert!(text.parse::<Ranges>().is_err(), "{text}");
        }
        let all: Ranges = "0.0.0.0/0,::/0".parse().expect("ranges");
        assert!(all.allow("127.0.0.1".parse().expect("an address")));
        assert!(all.allow("::1".parse().expect("an address")));
    }
}
