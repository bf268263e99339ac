//! Amounts of a launch file: memory, and shares of the instances of an app.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

const GIB: f64 = 1024.0 * 1024.0 * 1024.0;

/// An amount of memory in bytes. Launch files write GiB as a number (`0.5`).
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(transparent)]
pub struct Bytes(pub u64);

impl Bytes {
    /// The whole bytes of an amount in GiB; `None` when it is negative, no number, or beyond 1 PiB.
    pub fn from_gib(gib: f64) -> Option<Self> {
        let bytes = gib * GIB;
        // Beyond 2^53 a float no longer holds whole bytes, and no machine has 1 PiB of memory.
        let in_range = bytes.is_finite() && (0.0..=1024.0 * 1024.0 * GIB).contains(&bytes);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the range was checked just above"
        )]
        in_range.then_some(Self(bytes as u64))
    }

    /// The amount in GiB.
    pub fn gib(self) -> f64 {
        #[expect(
            clippy::cast_precision_loss,
            reason = "for people; exact up to 8 PiB, far above the limit of `from_gib`"
        )]
        let bytes = self.0 as f64;
        bytes / GIB
    }
}

/// A number of instances, absolute (`2`) or relative to the wanted number (`25%`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Quantity {
    /// Share of the wanted instances, 0 to 100.
    Percent(u8),
    /// So many instances.
    Count(u32),
}

impl Quantity {
    /// Of `wanted` instances, rounded up: for a surge, where a single instance still needs one.
    pub fn of_rounded_up(self, wanted: u32) -> u32 {
        match self {
            Self::Percent(percent) => share(percent, wanted, 99),
            Self::Count(count) => count,
        }
    }

    /// Of `wanted` instances, rounded down: for what may be missing, where none is the safe side.
    pub fn of_rounded_down(self, wanted: u32) -> u32 {
        match self {
            Self::Percent(percent) => share(percent, wanted, 0),
            Self::Count(count) => count,
        }
    }

    /// Whether it is none of any number.
    pub const fn is_zero(self) -> bool {
        matches!(self, Self::Percent(0) | Self::Count(0))
    }
}

fn share(percent: u8, wanted: u32, round: u64) -> u32 {
    let instances = (u64::from(percent) * u64::from(wanted) + round) / 100;
    u32::try_from(instances).unwrap_or(u32::MAX)
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percent(percent) => write!(f, "{percent}%"),
            Self::Count(count) => write!(f, "{count}"),
        }
    }
}

/// A text that is neither a count nor a percentage from 0% to 100%.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a number of instances (2) or a share of them (25%, at most 100%)")]
pub struct QuantityError;

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_suffix('%').unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(QuantityError);
        }
        if text.ends_with('%') {
            let percent: u8 = digits.parse().map_err(|_| QuantityError)?;
            return (percent <= 100).then_some(Self::Percent(percent)).ok_or(QuantityError);
        }
        digits.parse().map(Self::Count).map_err(|_| QuantityError)
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Percent(_) => serializer.collect_str(self),
            Self::Count(count) => serializer.serialize_u32(*count),
        }
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Count(u32),
            Text(String),
        }
        match Either::deserialize(deserializer)? {
            Either::Count(count) => Ok(Self::Count(count)),
            Either::Text(text) => text.parse().map_err(de::Error::custom),
        }
    }
}

impl JsonSchema for Quantity {
    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                {"type": "integer", "minimum": 0, "maximum": u32::MAX},
                {"type": "string", "pattern": "^(100|[0-9]{1,2})%$"},
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn surge_rounds_up_and_missing_rounds_down() {
        for (text, wanted, up, down) in [
            ("25%", 1, 1, 0),
            ("25%", 4, 1, 1),
            ("25%", 5, 2, 1),
            ("100%", 3, 3, 3),
            ("0%", 3, 0, 0),
            ("2", 1, 2, 2),
            ("0", 9, 0, 0),
            ("99%", u32::MAX, 4_252_017_623, 4_252_017_622),
        ] {
            let quantity: Quantity = text.parse().unwrap();
            assert_eq!(quantity.of_rounded_up(wanted), up, "{text} of {wanted}, up");
            assert_eq!(quantity.of_rounded_down(wanted), down, "{text} of {wanted}, down");
            assert_eq!(quantity.to_string(), text);
        }
        for text in ["", "%", "101%", "-1", "2.5", "25 %", "４"] {
            assert_eq!(text.parse::<Quantity>(), Err(QuantityError), "{text:?}");
        }
    }

    #[test]
    fn gib_to_bytes() {
        for (gib, bytes) in [
            (0.5, Some(536_870_912)),
            (0.02, Some(21_474_836)),
            (0.0, Some(0)),
            (8.0, Some(8_589_934_592)),
            (-1.0, None),
            (f64::NAN, None),
            (f64::INFINITY, None),
            (1e300, None),
        ] {
            assert_eq!(Bytes::from_gib(gib), bytes.map(Bytes), "{gib}");
        }
    }
}
