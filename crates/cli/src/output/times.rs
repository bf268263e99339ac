//! Times for people: how long something took, how long ago it was. `--utc` gives exact instants.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::Style;

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// A length of time: `38 ms`, `4.1 s`, `31 s`, `5 m`, `3 h`, `9 d`.
pub(crate) fn length(ms: u64) -> String {
    match ms {
        0..SECOND => format!("{ms} ms"),
        SECOND..10_000 if !ms.is_multiple_of(SECOND) => {
            format!("{}.{} s", ms / SECOND, ms % SECOND / 100)
        }
        SECOND..120_000 => format!("{} s", ms / SECOND),
        120_000..7_200_000 => format!("{} m", ms / MINUTE),
        7_200_000..172_800_000 => format!("{} h", ms / HOUR),
        _ => format!("{} d", ms / DAY),
    }
}

/// From `from` to `to`; nothing when the clock went back.
pub(crate) fn between_ms(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.as_millisecond() - from.as_millisecond()).unwrap_or(0)
}

/// How long ago, or the exact instant when that was asked for.
pub(crate) fn ago(at: Timestamp, now: Timestamp, style: Style) -> String {
    if style.utc { exact(at) } else { age(between_ms(at, now)) }
}

/// A length of time that grows while it is looked at: milliseconds would only flicker.
pub(crate) fn age(ms: u64) -> String {
    if ms < SECOND { "0 s".to_owned() } else { length(ms / SECOND * SECOND) }
}

/// `2026-05-01T12:04:31.220Z`.
pub(crate) fn exact(at: Timestamp) -> String {
    format!("{at:.3}")
}

/// `12:04:31.220`, in the zone of the terminal or in UTC.
pub(crate) fn clock(at: Timestamp, style: Style) -> String {
    if style.utc {
        return exact(at);
    }
    at.to_zoned(TimeZone::system()).strftime("%H:%M:%S.%3f").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_units_people_use() {
        for (ms, expect) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (1_000, "1 s"),
            (4_130, "4.1 s"),
            (31_400, "31 s"),
            (119_999, "119 s"),
            (120_000, "2 m"),
            (7_199_999, "119 m"),
            (7_200_000, "2 h"),
            (172_800_000, "2 d"),
            (9 * DAY, "9 d"),
        ] {
            assert_eq!(length(ms), expect);
        }
    }

    #[test]
    fn a_clock_that_went_back_gives_no_negative_age() {
        let at: Timestamp = "2026-05-01T12:00:00Z".parse().unwrap();
        let before: Timestamp = "2026-05-01T11:00:00Z".parse().unwrap();
        assert_eq!(ago(at, before, Style::plain(80)), "0 s");
        assert_eq!(ago(before, at, Style { utc: true, ..Style::plain(80) }), exact(before));
        assert_eq!(exact(before), "2026-05-01T11:00:00.000Z");
    }
}
