//! Between the planner's word for a share of the traffic and the gateway's.

use ark_model::ReleaseNumber;
use ark_model::definition::{HeaderStep, MirrorStep};
use ark_model::rollout::Share;
use ark_model::traffic::{Mirror, RequestPart, RequestRule, Split, Sticky};

/// Copies under way at once per worker thread of the gateway.
const COPIES_MAX: u32 = 64;
/// The cookie by which one user sees one side.
const COOKIE: &str = "ark_side";
/// For how long it is set: longer than a canary takes.
const COOKIE_TTL_S: u64 = 24 * 60 * 60;

/// Whether users stay on their side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Users {
    /// By a cookie.
    Sticky,
    /// Each request is divided by itself.
    Free,
}

/// What the gateway is told.
pub fn split(canary: ReleaseNumber, share: &Share, users: Users) -> Split {
    let divided = share.percent > 0 && share.percent < 100;
    Split {
        canary,
        percent: share.percent,
        sticky: (divided && users == Users::Sticky)
            .then(|| Sticky { cookie: COOKIE.to_owned(), ttl_s: COOKIE_TTL_S }),
        header: share.headers.iter().filter_map(rule).collect(),
        mirror: share.mirror.as_ref().map(|mirror| Mirror {
            percent: mirror.percent,
            unsafe_methods: mirror.unsafe_methods,
            in_flight_max: COPIES_MAX,
        }),
    }
}

/// What the gateway looks for; `None` when a step says neither.
pub(crate) fn rule(step: &HeaderStep) -> Option<RequestRule> {
    let (part, name) = match (&step.name, &step.cookie) {
        (Some(name), _) => (RequestPart::Header, name),
        (None, Some(name)) => (RequestPart::Cookie, name),
        (None, None) => return None,
    };
    Some(RequestRule { part, name: name.clone(), value: step.value.clone() })
}

/// What a table says, in the planner's words.
pub fn share(split: &Split) -> Share {
    let header = |rule: &RequestRule| {
        let (name, cookie) = match rule.part {
            RequestPart::Header => (Some(rule.name.clone()), None),
            RequestPart::Cookie => (None, Some(rule.name.clone())),
        };
        HeaderStep { name, cookie, value: rule.value.clone() }
    };
    Share {
        percent: split.percent,
        headers: split.header.iter().map(header).collect(),
        mirror: split.mirror.as_ref().map(|mirror| MirrorStep {
            percent: mirror.percent,
            unsafe_methods: mirror.unsafe_methods,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_gateway_is_told_comes_back_as_it_was_meant() {
        let header = |name: Option<&str>, cookie: Option<&str>| HeaderStep {
            name: name.map(str::to_owned),
            cookie: cookie.map(str::to_owned),
            value: Some("1".into()),
        };
        let shares = [
            Share::default(),
            Share { percent: 25, ..Share::default() },
            Share {
                percent: 100,
                headers: vec![header(Some("x-canary"), None), header(None, Some("beta"))],
                mirror: Some(MirrorStep { percent: 10, unsafe_methods: true }),
            },
        ];
        for wanted in shares {
            for users in [Users::Sticky, Users::Free] {
                assert_eq!(share(&split(ReleaseNumber(2), &wanted, users)), wanted);
            }
        }
        let divided =
            split(ReleaseNumber(2), &Share { percent: 5, ..Share::default() }, Users::Sticky);
        assert_eq!(divided.sticky.map(|s| s.cookie), Some(COOKIE.to_owned()));
    }
}
