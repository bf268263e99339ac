//! The recorded table, read in place.

use ark_planner::cron::{Form, Schedule};
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, Zoned};
use serde_json::Value;

use crate::lacking::{Lack, skip};

const TABLE: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/tables/cron_robfig_cases.json");

/// The table; `None`, said by name, when the folder is absent.
pub(crate) fn read(test: &str) -> Option<Value> {
    match std::fs::read_to_string(TABLE) {
        Ok(text) => Some(serde_json::from_str(&text).expect("a JSON table")),
        Err(_) => {
            skip(test, Lack::SharedData, &format!("{TABLE} is absent"));
            None
        }
    }
}

pub(crate) fn rows<'a>(table: &'a Value, key: &str) -> &'a Vec<Value> {
    let rows = table[key].as_array().unwrap_or_else(|| panic!("{key}"));
    assert!(!rows.is_empty(), "{key} has no cases");
    rows
}

pub(crate) fn text<'a>(row: &'a Value, key: &str) -> &'a str {
    row[key].as_str().unwrap_or_else(|| panic!("{key} of {row}"))
}

/// Times without a zone are meant in any fixed one.
const FIXED: Offset = jiff::tz::offset(0);

/// `Mon Jul 9 14:59:59 2012`, `2012-11-04T00:00:00-0400`, the latter perhaps after `TZ=<zone> `. The
/// weekday is not read: the table has some that are not those of their dates.
fn moment(text: &str) -> Zoned {
    if let Some(rest) = text.strip_prefix("TZ=") {
        let (zone, time) = rest.split_once(' ').expect("a zone and a time");
        return moment(time).with_time_zone(TimeZone::get(zone).expect(zone));
    }
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return Zoned::strptime("%Y-%m-%dT%H:%M:%S%z", text).expect(text);
    }
    let (_, date) = text.split_once(' ').expect("a weekday");
    let read = DateTime::strptime("%b %d %H:%M:%S %Y", date)
        .or_else(|_| DateTime::strptime("%b %d %H:%M %Y", date));
    FIXED.to_timestamp(read.expect(text)).expect(text).to_zoned(TimeZone::fixed(FIXED))
}

#[test]
fn a_given_minute_is_or_is_not_a_firing() {
    let Some(table) = read("a_given_minute_is_or_is_not_a_firing") else { return };
    for row in rows(&table, "activation") {
        let spec = text(row, "spec");
        let schedule = Schedule::parse(spec, Form::Minutes, "UTC").expect(spec);
        let time = moment(text(row, "time")).timestamp();
        let fires = schedule.last_until(time) == Some(time);
        assert_eq!(fires, row["expected"].as_bool().expect("a verdict"), "{row}");
        let before = time - jiff::SignedDuration::from_secs(1);
        assert_eq!(schedule.next_after(before) == Some(time), fires, "{row}, forwards");
    }
}

#[test]
fn the_next_firing() {
    let Some(table) = read("the_next_firing") else { return };
    let with_seconds = rows(&table, "next").iter().map(|row| (row, Form::Seconds));
    let in_own_zone = rows(&table, "next_with_tz").iter().map(|row| (row, Form::Minutes));
    for (row, form) in with_seconds.chain(in_own_zone) {
        let from = moment(text(row, "from"));
        let spec = text(row, "spec");
        let schedule = Schedule::parse_in(spec, form, from.time_zone().clone()).expect(spec);
        let wanted = Some(text(row, "expected")).filter(|t| !t.is_empty());
        let wanted: Option<Timestamp> = wanted.map(|t| moment(t).timestamp());
        assert_eq!(schedule.next_after(from.timestamp()), wanted, "{row}");
    }
}

#[test]
fn what_is_no_schedule() {
    let Some(table) = read("what_is_no_schedule") else { return };
    for spec in rows(&table, "invalid") {
        let spec = spec.as_str().expect("text");
        assert!(Schedule::parse(spec, Form::Minutes, "UTC").is_err(), "{spec} was accepted");
    }
}
