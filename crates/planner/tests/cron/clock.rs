//! The oracle: which instants of a year a schedule fires at, found without croner by reading the
//! zone's clock at every minute. Written from the table's notes, and slow.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// The allowed values of one field, as bits, and whether it lets all of them through.
struct Field {
    bits: u64,
    star: bool,
}

/// Six fields, read naively.
pub(crate) struct Oracle {
    fields: Vec<Field>,
    pub(crate) zone: String,
}

/// What a zone's clock shows, minute by minute.
pub(crate) struct Clock {
    shown: Vec<(Timestamp, DateTime)>,
}

impl Clock {
    /// From `start`, a whole minute, for so many minutes.
    pub(crate) fn of(zone: &str, start: Timestamp, minutes: i64) -> Self {
        let zone = TimeZone::get(zone).expect(zone);
        let at = |minute| start + SignedDuration::from_mins(minute);
        Self { shown: (0..minutes).map(|m| (at(m), zone.to_datetime(at(m)))).collect() }
    }
}

const LIMITS: [(u64, u64); 6] = [(0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 6)];
const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

impl Oracle {
    /// `TZ=<zone> ` before the fields stands over `zone`; five fields fire at second 0.
    pub(crate) fn read(spec: &str, zone: &str) -> Self {
        let (zone, spec) = match spec.split_once("TZ=") {
            Some((_, rest)) => rest.split_once(' ').expect("fields"),
            None => (zone, spec),
        };
        let spec = match spec {
            "@hourly" => "0 * * * *",
            "@daily" => "0 0 * * *",
            "@weekly" => "0 0 * * 0",
            "@monthly" => "0 0 1 * *",
            other => other,
        };
        let mut texts: Vec<&str> = spec.split(' ').collect();
        if texts.len() == 5 {
            texts.insert(0, "0");
        }
        assert_eq!(texts.len(), 6, "{spec}");
        let fields = texts.iter().enumerate().map(|(i, text)| field(text, i)).collect();
        Self { fields, zone: zone.to_owned() }
    }

    /// Every firing in this time of its zone's clock.
    pub(crate) fn firings(&self, clock: &Clock) -> Vec<Timestamp> {
        let mut found = Vec::new();
        for (minute, shown) in &clock.shown {
            if self.matches_minute(*shown) {
                let seconds = (0..60).filter(|s| self.fields[0].bits & (1 << s) != 0);
                found.extend(seconds.map(|s| *minute + SignedDuration::from_secs(s)));
            }
        }
        found
    }

    fn matches_minute(&self, shown: DateTime) -> bool {
        let fits = |field: usize, value: i8| self.fields[field].bits & (1 << value) != 0;
        let (of_month, of_week) =
            (fits(3, shown.day()), fits(5, shown.weekday().to_sunday_zero_offset()));
        let day = if self.fields[3].star || self.fields[5].star {
            of_month && of_week
        } else {
            of_month || of_week
        };
        day && fits(1, shown.minute()) && fits(2, shown.hour()) && fits(4, shown.month())
    }
}

fn field(text: &str, index: usize) -> Field {
    let mut whole = Field { bits: 0, star: false };
    for part in text.split(',') {
        let (range, step) = part.split_once('/').map_or((part, None), |(r, s)| (r, Some(s)));
        let (min, max) = LIMITS[index];
        let step: u64 = step.map_or(1, |s| s.parse().expect("a step"));
        let value = |text: &str| value(text, index);
        let (first, last) = match range {
            "*" | "?" => (min, max),
            _ => match range.split_once('-') {
                Some((first, last)) => (value(first), value(last)),
                None if part.contains('/') => (value(range), max),
                None => (value(range), value(range)),
            },
        };
        whole.star |= matches!(range, "*" | "?") && step == 1;
        let mut next = first;
        while next <= last {
            whole.bits |= 1 << next;
            next += step;
        }
    }
    whole
}

fn value(text: &str, index: usize) -> u64 {
    let lower = text.to_ascii_lowercase();
    let named = match index {
        4 => MONTHS.iter().position(|n| *n == lower).map(|i| i + 1),
        5 => DAYS.iter().position(|n| *n == lower),
        _ => None,
    };
    named.map_or_else(|| lower.parse().expect("a value"), |v| u64::try_from(v).expect("small"))
}
