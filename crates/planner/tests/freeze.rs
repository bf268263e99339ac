//! Freeze windows, in several time zones, across changes of the clocks.

use ark_model::freeze::{FreezeEffect, FreezeWindow};
use ark_planner::freeze::{FreezeError, check, frozen};
use jiff::Timestamp;

fn window(name: &str, effect: FreezeEffect, cron: &str, hours: u64, zone: &str) -> FreezeWindow {
    FreezeWindow {
        name: name.into(),
        effect,
        cron: cron.into(),
        seconds: hours * 3_600,
        time_zone: zone.into(),
    }
}

fn deny(cron: &str, hours: u64, zone: &str) -> FreezeWindow {
    window("freeze", FreezeEffect::Deny, cron, hours, zone)
}

fn allow(cron: &str, hours: u64, zone: &str) -> FreezeWindow {
    window("office", FreezeEffect::Allow, cron, hours, zone)
}

fn at(text: &str) -> Timestamp {
    text.parse().expect(text)
}

/// The window, or `-` for "none allows", and until when.
type Frozen<'a> = (&'a str, Option<&'a str>);

/// Each case: at this instant, frozen or not.
#[track_caller]
fn all(windows: &[FreezeWindow], cases: &[(&str, Option<Frozen<'_>>)]) {
    check(windows, at("2026-01-01T00:00:00Z")).expect("windows that can be used");
    for (now, wanted) in cases {
        let got = frozen(windows, at(now));
        let got = got.as_ref().map(|f| (f.window.as_deref().unwrap_or("-"), f.until));
        assert_eq!(got, wanted.map(|(name, until)| (name, until.map(at))), "{now}");
    }
}

#[test]
fn without_windows_nothing_is_frozen() {
    all(&[], &[("2026-11-21T12:00:00Z", None)]);
}

#[test]
fn a_weekend_in_berlin() {
    // Friday 17:00 for 64 hours: until Monday 9:00. 2026-11-20 is a Friday.
    all(
        &[deny("0 17 * * FRI", 64, "Europe/Berlin")],
        &[
            ("2026-11-20T15:59:59Z", None),
            ("2026-11-20T16:00:00Z", Some(("freeze", Some("2026-11-23T08:00:00Z")))),
            ("2026-11-22T12:00:00Z", Some(("freeze", Some("2026-11-23T08:00:00Z")))),
            ("2026-11-23T07:59:59Z", Some(("freeze", Some("2026-11-23T08:00:00Z")))),
            ("2026-11-23T08:00:00Z", None),
        ],
    );
}

#[test]
fn the_zones_clock_opens_it_and_real_time_closes_it() {
    // Saturday 22:00 for 8 hours, over the nights in which the clocks change in New York:
    // forward on 2026-03-08 (from EST, -5, to EDT, -4), back on 2026-11-01.
    all(
        &[deny("0 22 * * SAT", 8, "America/New_York")],
        &[
            ("2026-03-08T02:59:59Z", None),
            ("2026-03-08T03:00:00Z", Some(("freeze", Some("2026-03-08T11:00:00Z")))),
            ("2026-03-15T01:59:59Z", None),
            ("2026-03-15T02:00:00Z", Some(("freeze", Some("2026-03-15T10:00:00Z")))),
            ("2026-11-01T02:00:00Z", Some(("freeze", Some("2026-11-01T10:00:00Z")))),
            ("2026-11-08T02:59:59Z", None),
            ("2026-11-08T03:00:00Z", Some(("freeze", Some("2026-11-08T11:00:00Z")))),
        ],
    );
}

#[test]
fn a_time_that_the_clocks_leave_out_opens_after_it() {
    // 2:30 does not exist on 2026-03-29 in Berlin: 1:59:59 CET is followed by 3:00 CEST (1:00 UTC).
    all(
        &[deny("30 2 * * *", 1, "Europe/Berlin")],
        &[
            ("2026-03-28T01:30:00Z", Some(("freeze", Some("2026-03-28T02:30:00Z")))),
            ("2026-03-29T00:59:59Z", None),
            ("2026-03-29T01:00:00Z", Some(("freeze", Some("2026-03-29T02:00:00Z")))),
            ("2026-03-30T00:30:00Z", Some(("freeze", Some("2026-03-30T01:30:00Z")))),
        ],
    );
}

#[test]
fn allowed_hours_refuse_all_others() {
    // Weekdays 9:00 to 17:00 in Tokyo (+9, no changes). 2026-11-20 is a Friday.
    all(
        &[allow("0 9 * * MON-FRI", 8, "Asia/Tokyo")],
        &[
            ("2026-11-19T23:59:59Z", Some(("-", Some("2026-11-20T00:00:00Z")))),
            ("2026-11-20T00:00:00Z", None),
            ("2026-11-20T07:59:59Z", None),
            ("2026-11-20T08:00:00Z", Some(("-", Some("2026-11-23T00:00:00Z")))),
        ],
    );
}

#[test]
fn deny_beats_allow() {
    let windows = [
        allow("0 9 * * MON-FRI", 8, "UTC"),
        window("lunch", FreezeEffect::Deny, "0 12 * * *", 1, "UTC"),
        window("late", FreezeEffect::Deny, "30 16 * * *", 1, "UTC"),
    ];
    all(
        &windows,
        &[
            ("2026-11-20T11:59:59Z", None),
            ("2026-11-20T12:30:00Z", Some(("lunch", Some("2026-11-20T13:00:00Z")))),
            ("2026-11-20T13:00:00Z", None),
            // `late` outlives the allowed hours, and the weekend follows.
            ("2026-11-20T16:45:00Z", Some(("late", Some("2026-11-23T09:00:00Z")))),
            ("2026-11-20T18:00:00Z", Some(("-", Some("2026-11-23T09:00:00Z")))),
        ],
    );
}

#[test]
fn openings_that_overlap_are_one_freeze() {
    // Each day for 25 hours: for ever.
    all(&[deny("0 0 * * *", 25, "UTC")], &[("2026-11-20T12:00:00Z", Some(("freeze", None)))]);
    // Two windows that follow each other.
    all(
        &[
            window("first", FreezeEffect::Deny, "0 1 * * *", 2, "UTC"),
            window("second", FreezeEffect::Deny, "0 3 * * *", 2, "UTC"),
        ],
        &[("2026-11-20T01:30:00Z", Some(("first", Some("2026-11-20T05:00:00Z"))))],
    );
}

#[test]
fn what_cannot_be_used_is_refused_with_its_reason() {
    let now = at("2026-11-20T00:00:00Z");
    let said = |window: FreezeWindow| check(&[window], now).expect_err("refused");
    assert!(matches!(said(deny("0 17 * *", 1, "UTC")), FreezeError::Cron { .. }));
    assert!(matches!(said(deny("0 0 17 * * 5", 1, "UTC")), FreezeError::Cron { .. }));
    assert!(matches!(said(deny("61 * * * *", 1, "UTC")), FreezeError::Cron { .. }));
    assert!(matches!(said(deny("0 17 * * 5", 1, "Berlin")), FreezeError::Zone { .. }));
    assert_eq!(said(deny("0 17 * * 5", 0, "UTC")), FreezeError::Length("freeze".into()));
    assert_eq!(said(deny("0 17 * * 5", 9_000, "UTC")), FreezeError::Length("freeze".into()));
    assert_eq!(said(deny("0 0 30 2 *", 1, "UTC")), FreezeError::Never("freeze".into()));
    let named = |name: &str| said(window(name, FreezeEffect::Deny, "0 0 * * *", 1, "UTC"));
    for name in ["", "1st", "no spaces", "über"] {
        assert_eq!(named(name), FreezeError::Name(name.into()));
    }
    let many = vec![deny("0 0 * * *", 1, "UTC"); 51];
    assert_eq!(check(&many, now), Err(FreezeError::TooMany));
}

#[test]
fn a_window_that_cannot_be_read_any_more_lets_nothing_through() {
    let now = at("2026-11-20T00:00:00Z");
    let lost = frozen(&[deny("0 0 * * *", 1, "Atlantis/Capital")], now).expect("frozen");
    assert_eq!((lost.window.as_deref(), lost.until), (Some("freeze"), None));
    let lost = frozen(&[allow("0 0 * * *", 1, "Atlantis/Capital")], now).expect("frozen");
    assert_eq!((lost.window, lost.until), (None, None));
}
