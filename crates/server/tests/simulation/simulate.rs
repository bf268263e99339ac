//! Long runs of the simulation on all cores:
//!
//! ```text
//! cargo run --release -p ark-server --example simulate -- --seeds 100000
//! cargo run --release -p ark-server --example simulate -- --seed 4711
//! ```
//!
//! `--from N` begins elsewhere than at 1. A failing seed is printed with its last events and
//! replays exactly; the exit code is 1.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool")]

mod chance;
mod clock;
mod driver;
mod runner;
mod universe;

use std::process::ExitCode;
use std::time::Instant;

/// Seeds between two words about how far it is.
const CHUNK: u64 = 1_000;

fn option(name: &str) -> Option<u64> {
    let words: Vec<String> = std::env::args().collect();
    let at = words.iter().position(|word| word == name)?;
    words.get(at + 1)?.parse().ok()
}

fn main() -> ExitCode {
    let (mut first, last) = match option("--seed") {
        Some(seed) => (seed, seed),
        None => {
            let first = option("--from").unwrap_or(1);
            (first, first + option("--seeds").unwrap_or(CHUNK) - 1)
        }
    };
    let (begun, begin) = (Instant::now(), first);
    let mut coverage = std::collections::BTreeMap::<String, u64>::new();
    while first <= last {
        let until = last.min(first + CHUNK - 1);
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
