//! Long runs of the simulation of workflows:
//!
//! ```text
//! cargo run --release -p ark-server --example simulate-workflows -- --seeds 10000 [--from 1]
//! cargo run --release -p ark-server --example simulate-workflows -- --seed 4711
//! ```
//!
//! A failing seed is printed and replays exactly; the exit code is 1, and 2 for options that are not
//! understood.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool")]
#![allow(dead_code, unused_imports, reason = "the tests use more of the fixture")]

#[path = "../simulation/clock.rs"]
mod clock;
mod dice;
mod fixture;
mod replay;
#[path = "../simulation/seeds.rs"]
mod seeds;
mod simulated_end;
mod simulated_maps;
mod simulation;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let (first, last) = match seeds::asked(std::env::args()) {
        Ok(seeds) => seeds.into_inner(),
        Err(wrong) => {
            eprintln!("{wrong}");
            return ExitCode::from(2);
        }
    };
    let begun = Instant::now();
    let mut coverage = BTreeMap::<&'static str, u64>::new();
    for seed in first..=last {
        let (violations, covered) = simulation::simulate(seed);
        if !violations.is_empty() {
            println!("seed {seed} (replay with --seed {seed}):\n{}", violations.join("\n"));
            return ExitCode::FAILURE;
        }
        for (what, n) in covered {
            *coverage.entry(what).or_default() += n;
        }
        let done = seed - first + 1;
        if done.is_multiple_of(seeds::CHUNK) {
            eprintln!("{done} seeds, {} s", begun.elapsed().as_secs());
        }
    }
    let lines: Vec<String> = coverage.iter().map(|(k, n)| format!("{n:>12}  {k}")).collect();
    println!("{} seeds without a violation; coverage:\n{}", last - first + 1, lines.join("\n"));
    ExitCode::SUCCESS
}
