//! Durations as people write them in a launch file: `30s`, `5m`, `1h30m`, `500ms`.
//!
//! The judge reads them, canonical JSON writes them. Precision is the millisecond and the longest
//! is a year: nothing in a launch file waits longer on purpose.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

const DAY_MS: u128 = 24 * HOUR_MS;
const HOUR_MS: u128 = 60 * MINUTE_MS;
const MINUTE_MS: u128 = 60 * SECOND_MS;
const SECOND_MS: u128 = 1000;
const LONGEST_MS: u128 = 366 * DAY_MS;

/// Longest text that is looked at; the longest sensible one is about twenty characters.
const TEXT_BYTES_MAX: usize = 64;

/// The form every duration must have, for JSON Schema and for editors.
pub(super) const DURATION_PATTERN: &str = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h|d))+$|^0$";

/// A length of time that is written as text (`1h30m`), exact to the millisecond, at most 366 days.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct DurationText(Duration);

impl DurationText {
    /// A duration of whole seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// A duration of whole milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// The duration itself.
    pub const fn get(self) -> Duration {
        self.0
    }

    /// Whether it is no time at all.
    pub const fn is_zero(self) -> bool {
        self.0.is_zero()
    }
}

impl From<DurationText> for Duration {
    fn from(text: DurationText) -> Self {
        text.0
    }
}

impl From<Duration> for DurationText {
    /// Cuts what is finer than a millisecond, so that text and value stay the same thing.
    fn from(duration: Duration) -> Self {
        let millis = duration.as_millis().min(LONGEST_MS);
        Self(Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX)))
    }
}

impl fmt::Display for DurationText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_millis();
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, size) in
            [("d", DAY_MS), ("h", HOUR_MS), ("m", MINUTE_MS), ("s", SECOND_MS), ("ms", 1)]
        {
            if rest >= size {
                write!(f, "{}{unit}", rest / size)?;
                rest %= size;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for DurationText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationTextError {
    /// No digit where one is needed, a stray character, or an empty text.
    #[error("a duration is written like 30s, 5m, 1h30m or 500ms")]
    Malformed,
    /// A bare number: seconds, minutes or milliseconds?
    #[error("a duration needs a unit (ms, s, m, h or d)")]
    NoUnit,
    /// Longer than 366 days.
    #[error("a duration is at most 366 days")]
    TooLong,
    /// Finer than a millisecond.
    #[error("a duration is exact to the millisecond")]
    TooFine,
}

impl FromStr for DurationText {
    type Err = DurationTextError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        use DurationTextError::{Malformed, NoUnit, TooLong};
        if text == "0" {
            return Ok(Self::default());
        }
        if text.is_empty() || text.len() > TEXT_BYTES_MAX {
            return Err(Malformed);
        }
        let mut total_ms: u128 = 0;
        let mut rest = text;
        while !rest.is_empty() {
            let number_end = rest
                .find(|c: char| !c.is_ascii_digit() && c != '.')
                .ok_or(if total_ms == 0 { NoUnit } else { Malformed })?;
            let (number, tail) = rest.split_at(number_end);
            let unit_end = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(unit_end);
            total_ms += part_ms(number, unit)?;
            if total_ms > LONGEST_MS {
                return Err(TooLong);
            }
            rest = tail;
        }
        let millis = u64::try_from(total_ms).map_err(|_| TooLong)?;
        Ok(Self(Duration::from_millis(millis)))
    }
}

fn part_ms(number: &str, unit: &str) -> Result<u128, DurationTextError> {
    use DurationTextError::{Malformed, TooFine, TooLong};
    let size = match unit {
        "d" => DAY_MS,
        "h" => HOUR_MS,
        "m" => MINUTE_MS,
        "s" => SECOND_MS,
        "ms" => 1,
        _ => return Err(Malformed),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return Err(Malformed);
    }
    if whole.len() > 15 {
        return Err(TooLong);
    }
    if fraction.len() > 9 {
        return Err(TooFine);
    }
    let whole: u128 = whole.parse().map_err(|_| Malformed)?;
    let scale = 10_u128.pow(u32::try_from(fraction.len()).map_err(|_| TooFine)?);
    let fraction: u128 = fraction.parse().map_err(|_| Malformed)?;
    if !(fraction * size).is_multiple_of(scale) {
        return Err(TooFine);
    }
    Ok(whole * size + fraction * size / scale)
}

impl Serialize for DurationText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DurationText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for DurationText {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": DURATION_PATTERN,
            "examples": ["30s", "5m", "1h30m", "500ms"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn texts_and_their_canonical_form() {
        for (text, canonical) in [
            ("30s", "30s"),
            ("90s", "1m30s"),
            ("1h30m", "1h30m"),
            ("1.5h", "1h30m"),
            ("500ms", "500ms"),
            ("0.5s", "500ms"),
            ("0", "0s"),
            ("0s", "0s"),
            ("24h", "1d"),
            ("1d1h1m1s1ms", "1d1h1m1s1ms"),
        ] {
            let parsed: DurationText = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(parsed.to_string(), canonical, "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_told_why() {
        use DurationTextError::{Malformed, NoUnit, TooFine, TooLong};
        for (text, why) in [
            ("", Malformed),
            ("30", NoUnit),
            ("1h30", Malformed),
            ("s", Malformed),
            ("-5s", Malformed),
            ("5 s", Malformed),
            ("5sec", Malformed),
            ("1.s", Malformed),
            (".5s", Malformed),
            ("1..5s", Malformed),
            ("0.1ms", TooFine),
            ("367d", TooLong),
            ("99999999999999999999999d", TooLong),
            ("５s", Malformed),
        ] {
            assert_eq!(text.parse::<DurationText>(), Err(why), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn text_and_value_are_the_same_thing(millis in 0..=u64::try_from(LONGEST_MS).unwrap()) {
            let duration = DurationText::from_millis(millis);
            prop_assert_eq!(duration.to_string().parse::<DurationText>(), Ok(duration));
        }
    }
}
