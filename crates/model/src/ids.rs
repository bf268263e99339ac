//! Newtype ids and names. Built from values that are passed in; nothing here draws randomness.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{kind} name `{text}` is not allowed: use 1 to {max} characters a-z, 0-9, `-`, starting with a letter or digit and not ending with `-`"
)]
pub struct NameError {
    /// What was to be named (`app`, `environment`).
    pub kind: &'static str,
    /// The text that was given, cut to 80 characters.
    pub text: String,
    /// The longest name allowed, in bytes.
    pub max: usize,
}

/// Names appear in host names (`<app>.<env>.localhost`), so they follow the rules of a DNS label,
/// except that `_` and `.` are refused rather than mapped: two apps must never share a host.
fn check_name(kind: &'static str, text: &str, max: usize) -> Result<(), NameError> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let good = !text.is_empty()
        && text.len() <= max
        && text.bytes().all(allowed)
        && !text.starts_with('-')
        && !text.ends_with('-');
    if good {
        return Ok(());
    }
    Err(NameError { kind, text: text.chars().take(80).collect(), max })
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $max:literal) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
        )]
        #[serde(try_from = "String", into = "String")]
        #[schemars(with = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                check_name($kind, text, $max)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

name!(
    /// The name of an app: the stem of its launch file.
    AppName,
    "app",
    63
);
name!(
    /// The name of an environment: `production`, `eng1-env`.
    EnvName,
    "environment",
    40
);

name!(
    /// The name of a host of the cluster: `local` is Ark's own.
    NodeName,
    "host",
    63
);

impl NodeName {
    const LOCAL: &str = "local";

    /// Ark's own host.
    pub fn local() -> Self {
        Self(Self::LOCAL.to_owned())
    }

    /// Whether it is Ark's own host.
    pub fn is_local(&self) -> bool {
        self.0 == Self::LOCAL
    }
}

impl Default for NodeName {
    fn default() -> Self {
        Self::local()
    }
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
            JsonSchema,
        )]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

uuid_id!(
    /// A deployment. UUIDv7, so that ids sort by time of creation.
    DeploymentId
);
uuid_id!(
    /// One running copy of a release. UUIDv7. People see [`InstanceId::short`].
    InstanceId
);
uuid_id!(
    /// One run of work that ends. UUIDv7. People see its number.
    RunId
);
uuid_id!(
    /// One life of a gateway process; counters are cumulative within it.
    BootId
);

impl InstanceId {
    /// What people see and type: `web-7f3a9c`. The last six hex digits are from the random part
    /// of the UUIDv7; the leading digits are a clock and would be equal for instances that were
    /// started together.
    pub fn short(&self, app: &AppName) -> String {
        let hex = self.0.simple().to_string();
        format!("{app}-{}", &hex[26..])
    }
}

/// The number of a release: counted from 1 per app and environment. People see `v42`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct ReleaseNumber(pub u64);

impl fmt::Display for ReleaseNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

impl FromStr for ReleaseNumber {
    type Err = std::num::ParseIntError;
    /// Accepts `v42` and `42`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.strip_prefix('v').unwrap_or(text).parse().map(Self)
    }
}

/// The number of a route table. A new store (a restored backup, say) begins a new epoch, so that
/// its numbers, which start again, are not taken for old ones. Ordered by epoch, then number.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub struct Generation {
    /// Milliseconds since 1970 at which the store was created.
    pub epoch: u64,
    /// Grows by one with each table that differs from the last.
    pub number: u64,
}

/// A SHA-256 digest, written as 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Sha256(pub [u8; 32]);

impl Sha256 {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
        let mut out = [0; 32];
        out.copy_from_slice(digest.as_ref());
        Self(out)
    }

    /// The first twelve hex digits, for people.
    pub fn short(&self) -> String {
        hex::encode(&self.0[..6])
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sha256({self})")
    }
}

impl FromStr for Sha256 {
    type Err = hex::FromHexError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut out = [0; 32];
        hex::decode_to_slice(text.strip_prefix("sha256:").unwrap_or(text), &mut out)?;
        Ok(Self(out))
    }
}

impl TryFrom<String> for Sha256 {
    type Error = hex::FromHexError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Sha256> for String {
    fn from(digest: Sha256) -> String {
        digest.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rules_of_a_host_label() {
        for (text, good) in [
            ("web", true),
            ("0-a", true),
            ("s3-to-redshift", true),
            ("", false),
            ("-web", false),
            ("web-", false),
            ("Web", false),
            ("a.b", false),
            ("a_b", false),
            ("wéb", false),
            (&"a".repeat(63), true),
            (&"a".repeat(64), false),
        ] {
            assert_eq!(text.parse::<AppName>().is_ok(), good, "{text:?}");
        }
    }

    #[test]
    fn ids_and_digests_survive_text() {
        let digest = Sha256::of(b"ark");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert_eq!(format!("sha256:{digest}").parse(), Ok(digest));
        assert_eq!("v42".parse(), Ok(ReleaseNumber(42)));
        assert_eq!(ReleaseNumber(42).to_string(), "v42");
    }
}
