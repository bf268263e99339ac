//! What server and gateway say to each other over the gateway's socket: JSON values, each in a
//! frame of a 4-byte big-endian length and that many bytes (at most [`FRAME_BYTES_MAX`]).
//!
//! The server dials, sends [`ToGateway::Hello`], is answered with [`FromGateway::Hello`], and then
//! pushes tables. The gateway answers each table with `Ack` or `Refused` and sends a `Report` each
//! 250 ms, and at once when a target's readiness changes. Counters are cumulative within a boot,
//! so a lost report loses nothing.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::histogram::Histogram;
use crate::ids::{BootId, Generation, InstanceId, ReleaseNumber};
use crate::route::{RouteKey, RouteTable};

/// The version of this protocol.
pub const PROTOCOL: u32 = 1;
/// The largest frame, in bytes.
pub const FRAME_BYTES_MAX: usize = 64 << 20;

/// From server to gateway.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToGateway {
    /// First.
    Hello {
        /// [`PROTOCOL`].
        protocol: u32,
    },
    /// A whole table.
    Table {
        /// The table.
        table: RouteTable,
    },
    /// All reports up to `seq` are stored: what they said of targets that are gone may be
    /// forgotten, and stall maxima may begin anew.
    ReportStored {
        /// The last stored report.
        seq: u64,
    },
    /// Another gateway has taken over the listening sockets, and speaks from now on: stop accepting,
    /// let connections end for at most this long, then exit. Tables are followed until then, but
    /// neither table nor counters are written to disk any more.
    Retire {
        /// In milliseconds.
        grace_ms: u64,
    },
    /// End: stop accepting, let requests end for at most this long, then exit (and the supervisor
    /// with it).
    Shutdown {
        /// In milliseconds.
        grace_ms: u64,
    },
}

/// From gateway to server.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromGateway {
    /// First answer.
    Hello {
        /// [`PROTOCOL`].
        protocol: u32,
        /// This life of the gateway.
        boot: BootId,
        /// Its process id.
        pid: i32,
        /// The addresses on which HTTP is accepted.
        http: Vec<std::net::SocketAddr>,
        /// The generation in force.
        applied: Option<Generation>,
    },
    /// The table of this generation is in force: no request admitted from now on goes anywhere it
    /// does not say.
    Ack {
        /// Which.
        generation: Generation,
    },
    /// The table is not applied; the one before stays in force.
    Refused {
        /// Which.
        generation: Generation,
        /// Why.
        reason: String,
    },
    /// What was measured.
    Report(Report),
}

/// What a gateway measured, cumulative within its boot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// This life of the gateway.
    pub boot: BootId,
    /// Grows by one with each report.
    pub seq: u64,
    /// The generation in force.
    pub applied: Option<Generation>,
    /// Per target, those no longer in the table included until the server has stored them. The
    /// first report on a connection names every target; later ones leave out those of which
    /// nothing changed since the report before.
    pub targets: Vec<TargetReport>,
    /// Per route: requests that reached no target.
    pub routes: Vec<RouteReport>,
    /// Requests refused before any route was looked for, by kind.
    #[serde(default)]
    pub refusals: BTreeMap<RefusalKind, u64>,
    /// Last known counters of earlier boots that ended without saying so (killed), read from
    /// their checkpoint.
    pub lost: Vec<LostBoot>,
    /// What became of certificates and is not known to be stored yet, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<CertificateNews>,
    /// Who was seen calling which route through its discovery port. The first report on a
    /// connection names all that are remembered; later ones leave out those of which nothing
    /// changed since the report before. Gateways of before say nothing of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<CallReport>,
}

/// Somebody was seen calling a route through its discovery port. How often is not told: connections
/// are looked at by sample.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CallReport {
    /// Which route.
    pub route: RouteKey,
    /// Who calls.
    pub caller: CallerSeen,
    /// When a connection of theirs was last seen, to about ten seconds.
    pub seen: Timestamp,
}

/// Whose a connection to a discovery port is, as far as the gateway can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum CallerSeen {
    /// A process of this machine, by its user.
    User {
        /// The user's number.
        uid: u32,
    },
    /// Somebody in a network of containers, by their address.
    Address {
        /// Where the connection came from.
        ip: IpAddr,
    },
    /// Of a newer gateway.
    #[serde(other)]
    Other,
}

/// What became of a host's certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateNews {
    /// Grows from one to the next, also over restarts of the gateway: what is told twice is known by
    /// it.
    pub number: u64,
    /// When it happened.
    pub at: Timestamp,
    /// For which host.
    pub host: String,
    /// What happened.
    pub change: CertificateChange,
}

/// See [`CertificateNews`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum CertificateChange {
    /// The first one from the authority is in force.
    Issued {
        /// How long it is valid.
        until: Option<Timestamp>,
    },
    /// A later one took the place of the one before.
    Renewed {
        /// How long it is valid.
        until: Option<Timestamp>,
    },
    /// None could be got; what is served goes on being served.
    Failed {
        /// Why, in words.
        reason: String,
        /// How often in a row.
        times: u32,
        /// When it is tried again.
        next: Timestamp,
    },
}

impl CertificateNews {
    /// In words, for the events.
    pub fn words(&self) -> String {
        let host = &self.host;
        let valid = |until: &Option<Timestamp>| {
            until.map_or_else(String::new, |until| format!(", valid until {until}"))
        };
        match &self.change {
            CertificateChange::Issued { until } => {
                format!("certificate for {host} issued by ACME{}", valid(until))
            }
            CertificateChange::Renewed { until } => {
                format!("certificate for {host} renewed by ACME{}", valid(until))
            }
            CertificateChange::Failed { reason, times, next } => format!(
                "no certificate for {host} by ACME: {reason} (attempt {times}, next {next}); \
                 what is served goes on being served"
            ),
        }
    }
}

/// One target's measurements.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetReport {
    /// Which route.
    pub route: RouteKey,
    /// Which instance.
    pub instance: InstanceId,
    /// Which release it runs.
    pub release: ReleaseNumber,
    /// Readiness as probed; `None` for targets that are gone.
    pub readiness: Option<Readiness>,
    /// Requests being served now, streams not included.
    pub in_flight: u32,
    /// Streams (WebSocket, SSE, upgraded connections) open now.
    pub streams: u32,
    /// What has been counted.
    pub counters: Counters,
}

/// Readiness of a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// Whether it passes its check.
    pub ready: bool,
    /// Since when that is so.
    pub since: Timestamp,
    /// Whether it was ever ready.
    pub ever: bool,
    /// Probes failed since the last success.
    pub failures: u32,
    /// What the last failed probe got, in words: `GET /_health answered 500: "db: refused"`.
    pub last_failure: Option<String>,
}

/// Requests counted at their end. All cumulative, except `stall_max_ms`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Counters {
    /// Answered whole, with any status below 500; streams that ended in order.
    pub served: u64,
    /// Answered with 500 or above, by the app or by the gateway on its behalf.
    pub failed: u64,
    /// Broken before their end by something other than the client: the instance died, a drain
    /// deadline passed.
    pub cut: u64,
    /// Attempts repeated on another target without the client noticing.
    pub retried: u64,
    /// Of those, how many had been sent to the target, which broke them off. The request counts where it
    /// ended; this is what its first target did to it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub broken_off: u64,
    /// Given up by the client (499). Not a failure.
    pub client_gone: u64,
    /// Longest time, in milliseconds, that a request waited in the gateway before a target had
    /// accepted it. Begins anew after `ReportStored`.
    pub stall_max_ms: u64,
    /// Answers by class: 1xx (upgrades), 2xx, 3xx, 4xx, 5xx. What the client gave up (499) is no answer.
    pub by_class: [u64; 5],
    /// Bytes of response bodies.
    pub response_bytes: u64,
    /// Of those that ended in any of the ways above, how many the gateway refused because of a
    /// concurrency limit (503).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub shed: u64,
    /// Of those that ended in any of the ways above, how many the gateway refused because of a
    /// rate limit (429).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rate_limited: u64,
    /// Retries that the budget did not allow.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retries_refused: u64,
    /// How often the target was ejected: left out for a while after failures of the gateway to
    /// reach it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub ejections: u64,
    /// Copies of requests sent here. They appear in no other number.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub mirrored: u64,
    /// Time from a request's head to the last byte of its answer, or until it ended otherwise, in
    /// microseconds. Streams (WebSocket, SSE, upgraded connections) are left out.
    #[serde(default, skip_serializing_if = "Histogram::is_empty")]
    pub latency_us: Histogram,
    /// Bytes of the response bodies of requests answered whole, streams left out.
    #[serde(default, skip_serializing_if = "Histogram::is_empty")]
    pub answer_bytes: Histogram,
}

impl Counters {
    /// Adds what was counted elsewhere.
    pub fn add(&mut self, other: &Self) {
        self.served += other.served;
        self.failed += other.failed;
        self.cut += other.cut;
        self.retried += other.retried;
        self.broken_off += other.broken_off;
        self.client_gone += other.client_gone;
        self.response_bytes += other.response_bytes;
        self.stall_max_ms = self.stall_max_ms.max(other.stall_max_ms);
        self.by_class.iter_mut().zip(other.by_class).for_each(|(sum, count)| *sum += count);
        self.shed += other.shed;
        self.rate_limited += other.rate_limited;
        self.retries_refused += other.retries_refused;
        self.mirrored += other.mirrored;
        self.ejections += other.ejections;
        self.latency_us.merge(&other.latency_us);
        self.answer_bytes.merge(&other.answer_bytes);
    }

    /// What has come since `earlier`, an older state of the same counters; the longest stall is this
    /// one's. A number that has shrunk gives 0.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut by_class = self.by_class;
        by_class.iter_mut().zip(earlier.by_class).for_each(|(n, e)| *n = n.saturating_sub(e));
        Self {
            served: self.served.saturating_sub(earlier.served),
            failed: self.failed.saturating_sub(earlier.failed),
            cut: self.cut.saturating_sub(earlier.cut),
            retried: self.retried.saturating_sub(earlier.retried),
            broken_off: self.broken_off.saturating_sub(earlier.broken_off),
            client_gone: self.client_gone.saturating_sub(earlier.client_gone),
            stall_max_ms: self.stall_max_ms,
            by_class,
            response_bytes: self.response_bytes.saturating_sub(earlier.response_bytes),
            shed: self.shed.saturating_sub(earlier.shed),
            rate_limited: self.rate_limited.saturating_sub(earlier.rate_limited),
            retries_refused: self.retries_refused.saturating_sub(earlier.retries_refused),
            ejections: self.ejections.saturating_sub(earlier.ejections),
            mirrored: self.mirrored.saturating_sub(earlier.mirrored),
            latency_us: self.latency_us.since(&earlier.latency_us),
            answer_bytes: self.answer_bytes.since(&earlier.answer_bytes),
        }
    }
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Why a request was refused before any route was looked for.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum RefusalKind {
    /// Not HTTP as it must be, in a way that is none of the others.
    Malformed,
    /// Framing that two servers might read differently.
    Smuggling,
    /// The head took too long.
    SlowHead,
    /// The body came too slowly.
    SlowBody,
    /// Too many fields, or too long ones.
    HeadTooLarge,
    /// A version, method or transfer coding that is not spoken.
    Unsupported,
    /// No app answers for the host and path.
    NoRoute,
    /// A connection that did not begin with a PROXY header, where it must.
    ProxyHeader,
    /// A TLS handshake that failed or took too long.
    TlsHandshake,
    /// An HTTP/2 connection closed for breaking the protocol.
    Http2Protocol,
    /// An HTTP/2 connection closed because it cost more than it asked for: streams opened and
    /// reset, floods of frames that carry nothing.
    Http2Flood,
    /// A connection to a discovery port of containers from outside their network.
    Stranger,
    /// A connection that the gateway closed before it had asked for anything.
    Silent,
    /// Of a newer gateway.
    #[serde(other)]
    Other,
}

/// Requests of a route that reached no target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RouteReport {
    /// Which route.
    pub route: RouteKey,
    /// What has been counted.
    pub counters: Counters,
    /// Requests that wait for a target now.
    #[serde(default)]
    pub held: u32,
    /// Requests that waited for a target, are at one now and are no streams: not counted yet.
    #[serde(default)]
    pub held_inside: u32,
}

/// The counters of a gateway process before this one: of one that was killed, as of its last
/// checkpoint (one a second); of one that is being replaced, as of its last word.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LostBoot {
    /// That life of the gateway.
    pub boot: BootId,
    /// When the checkpoint was written.
    pub checkpoint_at: Timestamp,
    /// Whether it was replaced as planned, rather than killed: then nothing was lost with it. Told
    /// again as it counts on.
    #[serde(default)]
    pub in_order: bool,
    /// Its targets; what was in flight then was cut.
    pub targets: Vec<TargetReport>,
    /// Its routes.
    pub routes: Vec<RouteReport>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_of_older_and_callers_of_newer_gateways_are_read() {
        let boot = "018f0000-0000-7000-8000-000000000000";
        let older = format!(
            r#"{{"boot":"{boot}","seq":1,"applied":null,"targets":[],"routes":[],"lost":[]}}"#
        );
        let report: Report = serde_json::from_str(&older).expect("a report");
        assert_eq!(report.calls, []);
        let text = serde_json::to_string(&report).expect("JSON");
        assert!(!text.contains("calls"), "{text}");
        let address = CallerSeen::Address { ip: IpAddr::from([10, 208, 1, 7]) };
        for (text, expected) in [
            (r#"{"by":"user","uid":1880000007}"#, CallerSeen::User { uid: 1_880_000_007 }),
            (r#"{"by":"address","ip":"10.208.1.7"}"#, address),
            (r#"{"by":"control_group","id":[7]}"#, CallerSeen::Other),
        ] {
            let caller: CallerSeen = serde_json::from_str(text).expect("a caller");
            assert_eq!(caller, expected, "{text}");
        }
    }
}
