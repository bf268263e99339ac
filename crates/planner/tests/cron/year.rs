//! A simulated year of every schedule of the table, and of some that meet changes of the clocks: a
//! loop that looks late, looks for nothing, is killed before and after it wrote down what it decided.
//! Every firing of the oracle must fire exactly once.

use std::collections::BTreeMap;
use std::time::Duration;

use ark_model::definition::{Missed, Overlap};
use ark_planner::cron::{Cause, Decision, Form, Input, Plan, Schedule, plan};
use jiff::{SignedDuration, Timestamp};

use crate::clock::{Clock, Oracle};
use crate::table::{read, rows, text};

const MINUTES: i64 = 365 * 24 * 60;

/// Dice with a seed (xorshift); the seed is printed by whoever fails.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// What the store would hold: written in one transaction, or not at all.
struct Kept {
    decided: Timestamp,
    fired: BTreeMap<Timestamp, u32>,
    missed: u64,
    caught_up: u64,
}

impl Kept {
    fn write(&mut self, plan: &Plan) {
        self.decided = plan.decided;
        for firing in &plan.firings {
            *self.fired.entry(firing.at).or_default() += 1;
            match firing.decision {
                Decision::Run(Cause::OnTime) | Decision::Replace(Cause::OnTime) => {}
                Decision::Run(Cause::CatchUp) | Decision::Replace(Cause::CatchUp) => {
                    self.caught_up += 1;
                }
                Decision::Skip(why) => panic!("{why:?} although all may overlap"),
            }
        }
        self.missed += plan.missed.map_or(0, |m| u64::from(m.count));
    }
}

/// How long the loop is away: sometimes, when the dice say so, longer than a firing stays on time.
#[derive(Clone, Copy, PartialEq)]
enum Away {
    Briefly,
    ForHours,
}

fn simulate(schedule: &Schedule, start: Timestamp, dice: &mut Dice, away: Away) -> Kept {
    let end = start + SignedDuration::from_mins(MINUTES);
    let opened = start - SignedDuration::from_secs(1);
    let mut kept = Kept { decided: opened, fired: BTreeMap::new(), missed: 0, caught_up: 0 };
    let mut now = start;
    while now < end {
        let input = Input {
            schedule,
            overlap: Overlap::Allow,
            missed: Missed::RunOnce,
            jitter: Duration::ZERO,
            seed: 0,
            paused: false,
            decided: kept.decided,
            running: 0,
            now,
        };
        let plan = plan(&input);
        // Killed before the transaction: nothing is kept, and the next look is another process.
        let killed = dice.roll(50) == 0;
        if !killed {
            kept.write(&plan);
        }
        let next = if killed { Some(now) } else { plan.look_at };
        let late = match (away, dice.roll(100)) {
            (Away::ForHours, 0) => 3_600 + dice.roll(20_000),
            _ => dice.roll(20),
        };
        let later = |t: Timestamp| {
            t + SignedDuration::from_millis(i64::try_from(late * 1_000).expect("small") + 1)
        };
        now = match next {
            // A look for nothing, woken by something else, between now and then.
            Some(next) if next > now && dice.roll(20) == 0 => {
                let gap = u64::try_from(next.duration_since(now).as_secs()).expect("forward");
                now + SignedDuration::from_millis(
                    1 + i64::try_from(dice.roll(gap.max(1)) * 1_000).expect("small"),
                )
            }
            Some(next) => later(next.max(now)),
            None => break,
        };
    }
    kept
}

/// A year, with the clocks of the zones that were asked for.
struct Year {
    start: Timestamp,
    clocks: BTreeMap<String, Clock>,
}

impl Year {
    fn from(start: &str) -> Self {
        Self { start: start.parse().expect("an instant"), clocks: BTreeMap::new() }
    }

    fn firings(&mut self, spec: &str, zone: &str) -> Vec<Timestamp> {
        let oracle = Oracle::read(spec, zone);
        let clock = self.clocks.entry(oracle.zone.clone());
        oracle.firings(clock.or_insert_with(|| Clock::of(&oracle.zone, self.start, MINUTES)))
    }
}

/// The schedules of the table with the zone each is simulated in, without repetition.
fn of_the_table() -> Option<Vec<(String, &'static str)>> {
    let table = read("a_simulated_year")?;
    let mut all: Vec<(String, &'static str)> = Vec::new();
    for key in ["activation", "next", "next_with_tz"] {
        for row in rows(&table, key) {
            let entry = (text(row, "spec").to_owned(), "America/New_York");
            if !all.contains(&entry) {
                all.push(entry);
            }
        }
    }
    Some(all)
}

fn form(spec: &str) -> Form {
    let fields = spec.split(' ').filter(|word| !word.contains("TZ=")).count();
    if fields == 6 { Form::Seconds } else { Form::Minutes }
}

#[track_caller]
fn exactly_once(spec: &str, zone: &str, year: &mut Year, seed: u64) -> usize {
    let start = year.start;
    let schedule = Schedule::parse(spec, form(spec), zone).expect(spec);
    let kept = simulate(&schedule, start, &mut Dice(seed), Away::Briefly);
    let wanted = year.firings(spec, zone);
    let twice = kept.fired.iter().find(|(_, times)| **times != 1);
    assert_eq!(twice, None, "{spec} in {zone}, seed {seed}: fired twice");
    // What is due in the last minute may lie beyond the last look.
    let end = start + SignedDuration::from_mins(MINUTES - 1);
    let due: Vec<&Timestamp> = wanted.iter().filter(|at| **at < end).collect();
    let fired: Vec<&Timestamp> = kept.fired.keys().filter(|at| **at < end).collect();
    let lost = due.iter().find(|at| !kept.fired.contains_key(**at));
    assert_eq!(lost, None, "{spec} in {zone}, seed {seed}: did not fire");
    assert_eq!(fired.len(), due.len(), "{spec} in {zone}, seed {seed}: fired between the times");
    assert_eq!((kept.missed, kept.caught_up), (0, 0), "{spec} in {zone}, seed {seed}");
    fired.len()
}

#[test]
fn a_year_of_every_schedule_of_the_table_fires_each_time_once() {
    let Some(all) = of_the_table() else { return };
    let mut year = Year::from("2012-01-01T05:00:00Z");
    let mut total = 0;
    for (index, (spec, zone)) in all.iter().enumerate() {
        let seed = 0x5eed + u64::try_from(index).expect("small");
        total += exactly_once(spec, zone, &mut year, seed);
    }
    assert!(all.len() > 40 && total > 1_000_000, "{} schedules, {total} firings", all.len());
}

#[test]
fn a_year_in_zones_that_change_their_clocks_fires_each_time_once() {
    let mut year = Year::from("2026-01-01T00:00:00Z");
    for (index, spec) in
        ["30 2 * * *", "0 1 * * *", "*/20 1-3 * * *", "45 1 * * sun", "15 0 1,15 * mon"]
            .iter()
            .enumerate()
    {
        for zone in [
            "Europe/Berlin",
            "America/New_York",
            "Australia/Lord_Howe",
            "America/Santiago",
            "Africa/Casablanca",
            "Asia/Kolkata",
        ] {
            exactly_once(spec, zone, &mut year, 0xd57 + u64::try_from(index).expect("small"));
        }
    }
}

#[test]
fn after_hours_away_one_run_makes_up_for_all_and_the_rest_is_counted() {
    let mut year = Year::from("2026-01-01T00:00:00Z");
    for (spec, zone) in [("*/10 * * * *", "Europe/Berlin"), ("5 * * * *", "America/New_York")] {
        let schedule = Schedule::parse(spec, Form::Minutes, zone).expect(spec);
        let kept = simulate(&schedule, year.start, &mut Dice(0xa3a1), Away::ForHours);
        let wanted = year.firings(spec, zone);
        let decided = wanted.iter().filter(|at| **at <= kept.decided).count();
        let fired = kept.fired.len();
        assert!(kept.fired.values().all(|times| *times == 1), "{spec}: fired twice");
        assert!(kept.fired.keys().all(|at| wanted.binary_search(at).is_ok()), "{spec}");
        let missed = usize::try_from(kept.missed).expect("small");
        assert_eq!(fired + missed, decided, "{spec}: every firing ran or is counted as missed");
        assert!(missed > 100 && kept.caught_up > 10, "{spec}: {missed}, {}", kept.caught_up);
    }
}
