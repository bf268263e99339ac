//! A schedule: cron fields read in a time zone.
//!
//! The fields are croner's, with these rules of the common reading settled here:
//! - `a/n` is `a` to the field's end by steps of `n`; names of months and days have any case;
//! - a day must match the day of the month *and* the day of the week when one of the two is `*` or `?`,
//!   and one of them when both are restricted; `*/2` restricts, `*/1` does not;
//! - `@hourly`, `@daily` (`@midnight`), `@weekly`, `@monthly`, `@yearly` (`@annually`);
//! - `TZ=<zone> ` or `CRON_TZ=<zone> ` before the fields stands over the zone given beside them.
//!
//! croner sees civil time only. What a change of the clocks does is decided here, by walking the
//! stretches of one offset: within a stretch civil time and real time run alike.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// How many fields a schedule has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Five: minute, hour, day of month, month, day of week. The form of launch files.
    Minutes,
    /// Six: seconds before the five.
    Seconds,
}

impl Form {
    const fn fields(self) -> usize {
        match self {
            Self::Minutes => 5,
            Self::Seconds => 6,
        }
    }
}

/// Why a text is no schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// The fields.
    #[error("`{text}` is no schedule: {why}; `0 3 * * mon-fri` and `@daily` are")]
    Fields {
        /// What was written, cut.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// The time zone.
    #[error("`{0}` is no time zone that this machine knows; Europe/Berlin is one")]
    Zone(String),
}

/// When something is to happen, again and again.
#[derive(Debug, Clone)]
pub struct Schedule {
    cron: Cron,
    zone: TimeZone,
}

/// Texts are cut to so many characters in errors.
const SHOWN_MAX: usize = 80;

/// So many changes of a zone's offset are walked in search of a firing: more than 200 years.
const CHANGES_MAX: usize = 500;

impl Schedule {
    /// Reads a schedule whose fields are meant in the zone of this IANA name.
    ///
    /// # Errors
    /// [`ScheduleError`]: what is wrong, and what would be right.
    pub fn parse(text: &str, form: Form, zone: &str) -> Result<Self, ScheduleError> {
        Self::parse_in(text, form, find_zone(zone)?)
    }

    /// [`Schedule::parse`] with a zone that is at hand.
    ///
    /// # Errors
    /// [`ScheduleError`].
    pub fn parse_in(text: &str, form: Form, zone: TimeZone) -> Result<Self, ScheduleError> {
        let text = text.trim();
        let refused = |why: String| ScheduleError::Fields { text: cut(text), why };
        let (own_zone, fields) = split_zone(text);
        let zone = match own_zone {
            Some(name) => find_zone(name)?,
            None => zone,
        };
        let fields = plain_fields(fields, form).map_err(refused)?;
        let parser = CronParser::builder()
            .seconds(Seconds::Required)
            .year(Year::Disallowed)
            .sloppy_ranges(true)
            .build();
        let cron = parser.parse(&fields).map_err(|why| refused(why.to_string()))?;
        Ok(Self { cron, zone })
    }

    /// The first firing after this instant; `None` when there is none (30 February).
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let (mut from, mut inclusive) = (after, false);
        for _ in 0..CHANGES_MAX {
            let offset = self.zone.to_offset(from);
            let found =
                self.cron.find_next_occurrence(&offset.to_datetime(from), inclusive).ok()?;
            let at = offset.to_timestamp(found).ok()?;
            match self.zone.following(from).next().map(|change| change.timestamp()) {
                Some(change) if at >= change => (from, inclusive) = (change, true),
                Some(_) | None => return Some(at),
            }
        }
        None
    }

    /// The last firing at or before this instant; `None` when there was none.
    pub fn last_until(&self, until: Timestamp) -> Option<Timestamp> {
        let mut from = until;
        for _ in 0..CHANGES_MAX {
            let offset = self.zone.to_offset(from);
            let found = self.cron.find_previous_occurrence(&offset.to_datetime(from), true).ok()?;
            let at = offset.to_timestamp(found).ok()?;
            // `preceding` leaves out a change at the instant itself.
            let begun = from.checked_add(SignedDuration::from_nanos(1)).ok()?;
            match self.zone.preceding(begun).next().map(|change| change.timestamp()) {
                Some(change) if at < change => {
                    from = change.checked_sub(SignedDuration::from_secs(1)).ok()?;
                }
                Some(_) | None => return Some(at),
            }
        }
        None
    }
}

fn find_zone(name: &str) -> Result<TimeZone, ScheduleError> {
    TimeZone::get(name).map_err(|_| ScheduleError::Zone(cut(name)))
}

fn cut(text: &str) -> String {
    text.chars().take(SHOWN_MAX).collect()
}

/// `TZ=<zone> ` before the fields.
fn split_zone(text: &str) -> (Option<&str>, &str) {
    let named = text.strip_prefix("CRON_TZ=").or_else(|| text.strip_prefix("TZ="));
    match named {
        Some(rest) => {
            let (zone, fields) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            (Some(zone), fields)
        }
        None => (None, text),
    }
}

/// Six fields in words that croner reads as they are meant here.
fn plain_fields(text: &str, form: Form) -> Result<String, String> {
    let text = match text.trim() {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        name if name.starts_with('@') => return Err("there is no such name".to_owned()),
        fields => return given_fields(fields, form),
    };
    Ok(format!("0 {text}"))
}

fn given_fields(text: &str, form: Form) -> Result<String, String> {
    let fields: Vec<&str> = text.split_whitespace().collect();
    if fields.len() != form.fields() {
        return Err(format!("it needs {} fields and has {}", form.fields(), fields.len()));
    }
    let seconds = matches!(form, Form::Minutes).then_some("0");
    let plain: Vec<&str> =
        seconds.into_iter().chain(fields).map(|f| if is_star(f) { "*" } else { f }).collect();
    let (of_week, others) = plain.split_last().ok_or_else(|| "it is empty".to_owned())?;
    let of_week: Vec<String> = of_week.split(',').map(week_part).collect();
    Ok(format!("{} {}", others.join(" "), of_week.join(",")))
}

/// `mon/2` ends with Saturday: Sunday is 0, and 7 only where it is written.
fn week_part(part: &str) -> String {
    match part.split_once('/') {
        Some((first, step)) if !first.contains(['*', '?', '-', '7']) => format!("{first}-6/{step}"),
        Some(_) | None => part.to_owned(),
    }
}

/// Whether a field lets everything through.
fn is_star(field: &str) -> bool {
    field.split(',').any(|part| matches!(part, "*" | "?" | "*/1" | "?/1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("an instant")
    }

    #[test]
    fn a_change_of_the_clocks_leaves_out_and_repeats() {
        // Schedule, zone, every firing between two instants.
        for (fields, zone, from, to, wanted) in [
            // Berlin leaves out 02:00 to 03:00 on 29 March 2026.
            (
                "30 2 * * *",
                "Europe/Berlin",
                "2026-03-28T00:00Z",
                "2026-03-31T00:00Z",
                &["2026-03-28T01:30Z", "2026-03-30T00:30Z"][..],
            ),
            (
                "*/30 * * * *",
                "Europe/Berlin",
                "2026-03-29T00:15Z",
                "2026-03-29T01:45Z",
                &["2026-03-29T00:30Z", "2026-03-29T01:00Z", "2026-03-29T01:30Z"],
            ),
            // And shows 02:00 to 03:00 twice on 25 October 2026.
            (
                "30 2 * * *",
                "Europe/Berlin",
                "2026-10-24T12:00Z",
                "2026-10-26T12:00Z",
                &["2026-10-25T00:30Z", "2026-10-25T01:30Z", "2026-10-26T01:30Z"],
            ),
            // Lord Howe changes by half an hour: 01:30 to 02:00 comes twice on 5 April 2026.
            (
                "45 1 * * *",
                "Australia/Lord_Howe",
                "2026-04-04T12:00Z",
                "2026-04-05T12:00Z",
                &["2026-04-04T14:45Z", "2026-04-04T15:15Z"],
            ),
            // Samoa left out a whole day: 30 December 2011.
            (
                "0 12 30 12 *",
                "Pacific/Apia",
                "2011-12-01T00:00Z",
                "2012-12-31T23:00Z",
                &["2012-12-29T22:00Z"],
            ),
            // A change at midnight: Sao Paulo had no 00:00 on 4 November 2018.
            (
                "@daily",
                "America/Sao_Paulo",
                "2018-11-03T00:00Z",
                "2018-11-05T12:00Z",
                &["2018-11-03T03:00Z", "2018-11-05T02:00Z"],
            ),
        ] {
            let schedule = Schedule::parse(fields, Form::Minutes, zone).expect(fields);
            let (from, to) = (parse_short(from), parse_short(to));
            let wanted: Vec<Timestamp> = wanted.iter().map(|t| parse_short(t)).collect();
            let mut forward = Vec::new();
            let mut cursor = from;
            while let Some(next) = schedule.next_after(cursor).filter(|next| *next <= to) {
                forward.push(next);
                cursor = next;
            }
            assert_eq!(forward, wanted, "{fields} in {zone}");
            let mut backward = Vec::new();
            let mut cursor = to;
            while let Some(last) = schedule.last_until(cursor).filter(|last| *last > from) {
                backward.push(last);
                cursor = last - SignedDuration::from_secs(1);
            }
            backward.reverse();
            assert_eq!(backward, wanted, "{fields} in {zone}, backwards");
        }
    }

    fn parse_short(text: &str) -> Timestamp {
        at(&text.replace('Z', ":00Z"))
    }

    #[test]
    fn parts_of_a_second_do_not_repeat_a_firing() {
        let schedule = Schedule::parse("* * * * *", Form::Minutes, "UTC").expect("a schedule");
        let next = schedule.next_after(at("2026-01-01T00:00:00.000000001Z"));
        assert_eq!(next, Some(at("2026-01-01T00:01:00Z")));
        let next = schedule.next_after(at("2026-01-01T00:00:59.999999999Z"));
        assert_eq!(next, Some(at("2026-01-01T00:01:00Z")));
        assert_eq!(
            schedule.last_until(at("2026-01-01T00:00:59.9Z")),
            Some(at("2026-01-01T00:00:00Z"))
        );
    }

    #[test]
    fn what_is_no_schedule_is_refused_with_the_place() {
        for (text, said) in [
            ("", "needs 5 fields and has 0"),
            ("0 3 * *", "needs 5 fields and has 4"),
            ("0 0 3 * * *", "needs 5 fields and has 6"),
            ("@dayly", "no such name"),
            ("TZ=Europe/Berln 0 3 * * *", "no time zone"),
            ("TZ=UTC", "needs 5 fields and has 0"),
            ("61 * * * *", "61"),
        ] {
            let error = Schedule::parse(text, Form::Minutes, "UTC").expect_err(text).to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
        assert!(Schedule::parse("* * * * *", Form::Minutes, "Nowhere").is_err());
    }
}
