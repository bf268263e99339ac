//! Many seeds on all cores, and what they covered. The first failing seed, by number, is the result
//! whatever the order in which they ran.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use ark_planner::Planted;

use super::driver::{Outcome, simulate};

/// What came of many seeds.
#[derive(Default)]
pub(crate) struct Summary {
    /// How often each thing was injected or reached.
    pub coverage: BTreeMap<String, u64>,
    /// The failing seed with the lowest number, and its run.
    pub failed: Option<(u64, Outcome)>,
    /// Seeds that ran.
    pub ran: u64,
}

/// Runs the seeds, until one fails; those already begun are finished.
pub(crate) fn run(seeds: RangeInclusive<u64>, planted: Option<Planted>) -> Summary {
    let next = AtomicU64::new(*seeds.start());
    let last = AtomicU64::new(*seeds.end());
    let summary = Mutex::new(Summary::default());
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed > last.load(Ordering::Relaxed) {
                        return;
                    }
                    let outcome = simulate(seed, planted);
                    let mut summary = summary.lock().unwrap();
                    summary.ran += 1;
                    for (what, n) in &outcome.covered {
                        *summary.coverage.entry(what.clone()).or_default() += n;
                    }
                    let lower = summary.failed.as_ref().is_none_or(|(known, _)| seed < *known);
                    if !outcome.violations.is_empty() && lower {
                        // What comes after need not run any more.
                        last.fetch_min(seed, Ordering::Relaxed);
                        summary.failed = Some((seed, outcome));
                    }
                }
            });
        }
    });
    summary.into_inner().unwrap()
}
