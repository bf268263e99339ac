//! What is to be done about a schedule now: which firings run, are skipped, or were missed.

use std::time::Duration;

use ark_model::definition::{Missed, Overlap};
use jiff::{SignedDuration, Timestamp};

use super::schedule::Schedule;
use crate::time::after;

/// A firing that is later than this was missed; up to here a restart or a busy machine made it late.
pub const ON_TIME_FOR: Duration = Duration::from_secs(60);

/// Runs of one app at once under `overlap: allow`; further firings are skipped.
pub const RUNS_MAX: usize = 100;

/// Missed firings are counted up to here; after a long time away of a schedule of every minute the
/// number says nothing more.
const COUNTED_MAX: u32 = 1_000;

/// What is known of a schedule and its runs.
#[derive(Debug)]
pub struct Input<'a> {
    /// When it fires.
    pub schedule: &'a Schedule,
    /// What a firing does while a run is going on.
    pub overlap: Overlap,
    /// What becomes of missed firings.
    pub missed: Missed,
    /// Each firing is late by [`delay`], which is below this.
    pub jitter: Duration,
    /// Names the app and its environment: apps with the same schedule get different delays.
    pub seed: u64,
    /// While paused nothing fires. Whoever resumes sets `decided` to that instant, so that nothing is
    /// made up for.
    pub paused: bool,
    /// Every firing up to here is decided. For a schedule that is new: the instant it came into force.
    pub decided: Timestamp,
    /// Runs that have not ended, those waiting for their start included.
    pub running: usize,
    /// The instant of this look.
    pub now: Timestamp,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Firings that are decided now, oldest first.
    pub firings: Vec<Firing>,
    /// Firings that are left out because they were missed.
    pub missed: Option<MissedFirings>,
    /// All is decided up to here; to be written down together with the firings.
    pub decided: Timestamp,
    /// When to look again; `None` when the schedule never fires any more, or is paused.
    pub look_at: Option<Timestamp>,
}

/// One firing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Firing {
    /// The instant of the schedule, which names it.
    pub at: Timestamp,
    /// What becomes of it.
    pub decision: Decision,
}

/// What becomes of a firing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It runs beside whatever runs.
    Run(Cause),
    /// It runs once everything that runs has been stopped.
    Replace(Cause),
    /// It does not run.
    Skip(Skipped),
}

/// Why a firing runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Its time has come.
    OnTime,
    /// Its time has passed while nothing could run it; it makes up for all that were missed with it.
    CatchUp,
}

/// Why a firing does not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skipped {
    /// The run before it still runs, and `overlap: forbid` stands.
    Overlap,
    /// [`RUNS_MAX`] runs are going on.
    TooMany,
}

/// Firings that were missed and are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MissedFirings {
    /// How many, at most 1,000: then there were at least so many.
    pub count: u32,
    /// The oldest of them.
    pub first: Timestamp,
    /// The newest of them.
    pub last: Timestamp,
}

/// How late every firing of an app is: from 0 up to `jitter`, in whole seconds, the same each time, so
/// that the time between two firings stays what the schedule says.
pub fn delay(seed: u64, jitter: Duration) -> Duration {
    let seconds = jitter.as_secs();
    if seconds == 0 { Duration::ZERO } else { Duration::from_secs(mixed(seed) % seconds) }
}

/// A finaliser of 64 bits (SplitMix64): neighbouring seeds give unlike numbers.
const fn mixed(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Decides all firings that are due. Calling it again with what it gave decides nothing twice.
pub fn plan(input: &Input<'_>) -> Plan {
    let delay = delay(input.seed, input.jitter);
    let schedule = input.schedule;
    let nothing =
        |look_at| Plan { firings: Vec::new(), missed: None, decided: input.decided, look_at };
    if input.paused {
        return nothing(None);
    }
    let Some(first) = schedule.next_after(input.decided) else { return nothing(None) };
    let due_until = before(input.now, delay);
    if first > due_until {
        return nothing(Some(after(first, delay)));
    }
    let late_before = before(due_until, ON_TIME_FOR);
    let mut missed = missed(schedule, first, late_before);
    let start = if first < late_before { next_from(schedule, late_before) } else { Some(first) };
    let (mut due, next) = on_time(schedule, start, due_until);
    let mut cause = Cause::OnTime;
    let decided = due.last().copied().or(missed.map(|m| m.last)).unwrap_or(first);
    if due.is_empty() && input.missed == Missed::RunOnce {
        cause = Cause::CatchUp;
        due.push(decided);
        missed = missed.and_then(|missed| missed.without_last(schedule));
    }
    let firings = decide(input, &due, cause);
    Plan { firings, missed, decided, look_at: next.map(|next| after(next, delay)) }
}

/// The firings from `start`, which is one, to `last`, and the one after them. On time are those of a
/// minute: at most one for each second.
fn on_time(
    schedule: &Schedule,
    start: Option<Timestamp>,
    last: Timestamp,
) -> (Vec<Timestamp>, Option<Timestamp>) {
    let mut found = Vec::new();
    let mut next = start;
    while let Some(at) = next.filter(|at| *at <= last) {
        found.push(at);
        next = schedule.next_after(at);
    }
    (found, next)
}

/// The first firing at this instant or after it.
fn next_from(schedule: &Schedule, at: Timestamp) -> Option<Timestamp> {
    schedule.next_after(just_before(at))
}

/// The firings from `first`, which is one, up to and without `end`.
fn missed(schedule: &Schedule, first: Timestamp, end: Timestamp) -> Option<MissedFirings> {
    if first >= end {
        return None;
    }
    let last = schedule.last_until(just_before(end)).unwrap_or(first);
    let mut count = 1;
    let mut at = first;
    while count < COUNTED_MAX {
        match schedule.next_after(at).filter(|next| *next <= last) {
            Some(next) => (at, count) = (next, count + 1),
            None => break,
        }
    }
    Some(MissedFirings { count, first, last })
}

impl MissedFirings {
    /// These but for the newest, which is made up for.
    fn without_last(self, schedule: &Schedule) -> Option<Self> {
        let last = schedule.last_until(just_before(self.last)).filter(|l| *l >= self.first)?;
        let count = if self.count == COUNTED_MAX { COUNTED_MAX } else { self.count - 1 };
        Some(Self { count, first: self.first, last })
    }
}

fn decide(input: &Input<'_>, due: &[Timestamp], cause: Cause) -> Vec<Firing> {
    let mut running = input.running;
    let firings = due.iter().map(|at| {
        let decision = decision(input.overlap, running, cause);
        running = match decision {
            Decision::Run(_) => running + 1,
            Decision::Replace(_) => 1,
            Decision::Skip(_) => running,
        };
        Firing { at: *at, decision }
    });
    firings.collect()
}

const fn decision(overlap: Overlap, running: usize, cause: Cause) -> Decision {
    match (overlap, running) {
        (Overlap::Forbid | Overlap::Replace, 0) => Decision::Run(cause),
        (Overlap::Forbid, _) => Decision::Skip(Skipped::Overlap),
        (Overlap::Replace, _) => Decision::Replace(cause),
        (Overlap::Allow, n) if n >= RUNS_MAX => Decision::Skip(Skipped::TooMany),
        (Overlap::Allow, _) => Decision::Run(cause),
    }
}

/// `at - duration`, or the first instant there is.
fn before(at: Timestamp, duration: Duration) -> Timestamp {
    SignedDuration::try_from(duration)
        .ok()
        .and_then(|d| at.checked_sub(d).ok())
        .unwrap_or(Timestamp::MIN)
}

fn just_before(at: Timestamp) -> Timestamp {
    before(at, Duration::from_nanos(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cron::Form;

    fn at(text: &str) -> Timestamp {
        format!("2026-06-01T{text}Z").parse().expect("an instant")
    }

    fn input(schedule: &Schedule) -> Input<'_> {
        Input {
            schedule,
            overlap: Overlap::Forbid,
            missed: Missed::RunOnce,
            jitter: Duration::ZERO,
            seed: 7,
            paused: false,
            decided: at("10:00:00"),
            running: 0,
            now: at("10:10:00"),
        }
    }

    fn every_ten() -> Schedule {
        Schedule::parse("*/10 * * * *", Form::Minutes, "UTC").expect("a schedule")
    }

    #[test]
    fn what_is_due_and_when_to_look_again() {
        let schedule = every_ten();
        let input = input(&schedule);
        let run = |text, decision| vec![Firing { at: at(text), decision }];
        let (on_time, caught_up) = (Decision::Run(Cause::OnTime), Decision::Run(Cause::CatchUp));
        // Now, what fires, what was missed (count, first, last), decided up to, the next look.
        for (now, firings, missed, decided, look_at) in [
            ("10:00:00", vec![], None, "10:00:00", "10:10:00"),
            ("10:09:59", vec![], None, "10:00:00", "10:10:00"),
            ("10:10:00", run("10:10:00", on_time), None, "10:10:00", "10:20:00"),
            ("10:11:00", run("10:10:00", on_time), None, "10:10:00", "10:20:00"),
            ("10:11:01", run("10:10:00", caught_up), None, "10:10:00", "10:20:00"),
            (
                "10:31:00",
                run("10:30:00", on_time),
                Some((2, "10:10:00", "10:20:00")),
                "10:30:00",
                "10:40:00",
            ),
            (
                "10:39:00",
                run("10:30:00", caught_up),
                Some((2, "10:10:00", "10:20:00")),
                "10:30:00",
                "10:40:00",
            ),
            ("09:00:00", vec![], None, "10:00:00", "10:10:00"),
        ] {
            let plan = plan(&Input { now: at(now), ..input });
            assert_eq!(plan.firings, firings, "{now}");
            let missed = missed.map(|(count, first, last)| MissedFirings {
                count,
                first: at(first),
                last: at(last),
            });
            assert_eq!(plan.missed, missed, "{now}");
            assert_eq!((plan.decided, plan.look_at), (at(decided), Some(at(look_at))), "{now}");
        }
    }

    #[test]
    fn missed_firings_are_left_out_when_the_file_says_so() {
        let schedule = every_ten();
        let skip = Input { missed: Missed::Skip, ..input(&schedule) };
        let late = plan(&Input { now: at("10:39:00"), ..skip });
        assert_eq!(late.firings, []);
        let missed = MissedFirings { count: 3, first: at("10:10:00"), last: at("10:30:00") };
        assert_eq!((late.missed, late.decided), (Some(missed), at("10:30:00")));
        let on_time = plan(&Input { now: at("10:30:30"), ..skip });
        assert_eq!(on_time.firings.len(), 1);
        assert_eq!(on_time.missed.map(|m| m.count), Some(2));
    }

    #[test]
    fn a_long_time_away_is_counted_up_to_a_limit() {
        let schedule = Schedule::parse("* * * * *", Form::Minutes, "UTC").expect("a schedule");
        let away = Input {
            decided: "2016-01-01T00:00:00Z".parse().expect("an instant"),
            ..input(&schedule)
        };
        for missed in [Missed::RunOnce, Missed::Skip] {
            let plan = plan(&Input { missed, ..away });
            assert_eq!(plan.missed.map(|m| m.count), Some(COUNTED_MAX));
            assert_eq!(plan.decided, at("10:10:00"));
            assert_eq!(plan.firings.len(), 2, "10:09 and 10:10 are on time");
        }
    }

    #[test]
    fn what_a_running_one_means_for_the_next() {
        let schedule = every_ten();
        let on_time = Cause::OnTime;
        for (overlap, running, wanted) in [
            (Overlap::Forbid, 0, Decision::Run(on_time)),
            (Overlap::Forbid, 1, Decision::Skip(Skipped::Overlap)),
            (Overlap::Allow, 3, Decision::Run(on_time)),
            (Overlap::Allow, RUNS_MAX, Decision::Skip(Skipped::TooMany)),
            (Overlap::Replace, 0, Decision::Run(on_time)),
            (Overlap::Replace, 2, Decision::Replace(on_time)),
        ] {
            let plan = plan(&Input { overlap, running, ..input(&schedule) });
            let decisions: Vec<Decision> = plan.firings.iter().map(|f| f.decision).collect();
            assert_eq!(decisions, [wanted], "{overlap:?} {running}");
            assert_eq!(plan.decided, at("10:10:00"), "a skipped firing is decided too");
        }
    }

    #[test]
    fn paused_means_nothing_fires() {
        let schedule = every_ten();
        let paused = plan(&Input { paused: true, now: at("12:00:00"), ..input(&schedule) });
        assert_eq!((paused.firings.len(), paused.missed, paused.look_at), (0, None, None));
    }

    #[test]
    fn jitter_delays_every_firing_alike() {
        let schedule = every_ten();
        let jitter = Duration::from_secs(300);
        let delays: Vec<Duration> = (0..50).map(|seed| delay(seed, jitter)).collect();
        assert!(delays.iter().all(|d| *d < jitter));
        let mut distinct = delays.clone();
        distinct.sort();
        distinct.dedup();
        assert!(distinct.len() > 35, "50 apps share {} delays", distinct.len());
        let late = delay(7, jitter);
        assert!(late > Duration::ZERO);
        let jittered = Input { jitter, ..input(&schedule) };
        let early = plan(&jittered);
        assert_eq!((early.firings.len(), early.look_at), (0, Some(after(at("10:10:00"), late))));
        let due = plan(&Input { now: after(at("10:10:00"), late), ..jittered });
        assert_eq!(due.firings.first().map(|f| f.at), Some(at("10:10:00")));
        assert_eq!(due.look_at, Some(after(at("10:20:00"), late)));
    }
}
