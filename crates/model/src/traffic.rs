//! Rules of a route beyond "to any ready instance": how requests are split between two releases,
//! copied, limited, or answered with a maintenance page. Filled by the planner and the server,
//! obeyed by the gateway.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::ReleaseNumber;

/// The most rules in one list of [`RequestRule`].
pub const RULES_MAX: usize = 16;
/// The longest name or value in a rule, in bytes.
pub const RULE_BYTES_MAX: usize = 1024;
/// The longest maintenance page, in bytes.
pub const MAINTENANCE_PAGE_BYTES_MAX: usize = 64 << 10;

/// Requests are split between the targets of one release and all others. It concerns active
/// targets only; within a side their weights count as ever. A side that has no ready target gives
/// its requests to the other one, except that with `percent` 0 the canary gets only what the rules
/// in `header` send there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// The release whose targets are the canary side.
    pub canary: ReleaseNumber,
    /// Share of requests that go to the canary side, 0 to 100: exact whatever the number of
    /// instances or the load (of each hundred that one worker thread of the gateway admits,
    /// exactly so many). With `sticky` it is the share of users.
    pub percent: u8,
    /// One user sees one side.
    #[serde(default)]
    pub sticky: Option<Sticky>,
    /// Requests that match any of these go to the canary side, whatever the percent.
    #[serde(default)]
    pub header: Vec<RequestRule>,
    /// Copies of requests that go to the other side are sent to the canary side.
    #[serde(default)]
    pub mirror: Option<Mirror>,
}

/// One user sees one side: told by a cookie. A cookie's value and the canary's release number give
/// a point between 0 and 100; users below the percent see the canary. So who is on the canary stays
/// there while the percent grows, and another release is tried on other users.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sticky {
    /// The cookie's name: one of the gateway's own, or one the app sets anyway.
    pub cookie: String,
    /// For how long the gateway sets the cookie on clients that come without it, in seconds. 0
    /// means never: then clients without it are split like single requests.
    pub ttl_s: u64,
}

/// What a request must have to match.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestRule {
    /// Where to look.
    pub part: RequestPart,
    /// The field's or cookie's name. Field names have no case.
    pub name: String,
    /// The exact value; `None` when being there is enough.
    #[serde(default)]
    pub value: Option<String>,
}

/// A part of a request that a rule looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestPart {
    /// A header field.
    Header,
    /// A cookie.
    Cookie,
}

/// Copies of requests go to the canary side too; its answers are thrown away. A copy never delays
/// its original and appears in no receipt: it is counted as `mirrored` and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mirror {
    /// Share of the requests that go to the other side, 0 to 100.
    pub percent: u8,
    /// Whether requests with methods other than GET, HEAD and OPTIONS are copied too. Those with a
    /// body only when it has arrived with the head.
    #[serde(default)]
    pub unsafe_methods: bool,
    /// How many copies may be under way at once per worker thread; beyond it none is made.
    #[serde(default = "Mirror::in_flight_max")]
    pub in_flight_max: u32,
}

impl Mirror {
    fn in_flight_max() -> u32 {
        64
    }
}

/// How many requests may come: a bucket of `burst` tokens, filled at `per_s`. Beyond it 429.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RateLimit {
    /// Requests a second, at least 1.
    pub per_s: u32,
    /// How many may come at once, at least 1.
    pub burst: u32,
}

/// How a concurrency limit is found. The rules are those of Netflix's concurrency-limits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Adaptive {
    /// Not at all: `concurrency_max` alone counts.
    #[default]
    Off,
    /// By how much longer answers take than in the long run: the usual choice.
    Gradient2,
    /// By the estimated queue: keeps it short, grows slowly.
    Vegas,
    /// One more with each good second, a tenth less after drops and answers of more than 5 s.
    Aimd,
}

/// How many requests may be repeated on another target: `percent` of those of the last 10 seconds,
/// and `per_s` more each second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryBudget {
    /// Repeated requests per hundred.
    pub percent: u32,
    /// Repeated requests a second that are always allowed.
    pub per_s: u32,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { percent: 20, per_s: 10 }
    }
}

/// The gateway answers every request itself, probes of the app's health path included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Maintenance {
    /// The status, 400 to 599.
    #[serde(default = "Maintenance::status")]
    pub status: u16,
    /// What `Retry-After` says, in seconds.
    #[serde(default)]
    pub retry_after_s: Option<u64>,
    /// The page: sent as HTML when it begins with `<`, else as plain text. Empty for the gateway's
    /// own.
    #[serde(default)]
    pub page: String,
}

impl Default for Maintenance {
    fn default() -> Self {
        Self { status: Self::status(), retry_after_s: None, page: String::new() }
    }
}

impl Maintenance {
    fn status() -> u16 {
        503
    }
}
