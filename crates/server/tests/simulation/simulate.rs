//! Long runs of the simulation on all cores:
//!
//! ```text
//! cargo run --release -p ark-server --example simulate -- --seeds 100000
//! cargo run --release -p ark-server --example simulate -- --seed 4711
//! ```
//!
//! `--from N` begins elsewhere than at 1. A failing seed is printed with its last events and
//! replays exactly; the exit code is 1, and 2 for options that are not understood.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool")]

mod chance;
mod clock;
mod driver;
mod runner;
mod seeds;
mod universe;

use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let (mut first, last) = match seeds::asked(std::env::args()) {
        Ok(seeds) => seeds.into_inner(),
        Err(wrong) => {
            eprintln!("{wrong}");
            return ExitCode::from(2);
        }
    };
    let (begun, begin) = (Instant::now(), first);
    let mut coverage = std::collections::BTreeMap::<String, u64>::new();
    while first <= last {
        let until = last.min(first + seeds::CHUNK - 1);
        let summary = runner::run(first..=until, None);
        for (what, n) in summary.coverage {
            *coverage.entry(what).or_default() += n;
        }
        if let Some((seed, outcome)) = summary.failed {
            println!("seed {seed} (replay with --seed {seed}):");
            println!(
                "{}\nlast events:\n{}",
                outcome.violations.join("\n"),
                outcome.trace.join("\n")
            );
            return ExitCode::FAILURE;
        }
        let (done, seconds) = (until - begin + 1, begun.elapsed().as_secs());
        eprintln!("{done} seeds, {seconds} s");
        first = until + 1;
    }
    let lines: Vec<String> = coverage.iter().map(|(k, n)| format!("{n:>12}  {k}")).collect();
    println!("{} seeds without a violation; coverage:\n{}", last - begin + 1, lines.join("\n"));
    ExitCode::SUCCESS
}
