//! The workflow runtime on a file. Every start and every result is durable before it is acknowledged.
//!
//! ```text
//! cargo bench -p ark-server --bench workflows [-- handle] [SECONDS [OPEN]]
//! cargo bench -p ark-server --bench workflows -- million [EXECUTIONS]
//! cargo bench -p ark-server --bench workflows -- timers [WAITS]
//! cargo bench -p ark-server --bench workflows -- backlog [TASKS]
//! cargo bench -p ark-server --bench workflows -- wire [SECONDS]
//! cargo bench -p ark-server --bench workflows -- load URL [SECONDS]
//! ```
//!
//! `handle`: executions of five Pass and Choice states, of one and of three activities with 100
//! workers, latency at half of that load, recovery with many open executions; all in one process,
//! without HTTP. `million`: one long run. `timers`: 100,000 waits due at once. `backlog`: 100,000 tasks
//! and few workers. `wire`: the same kinds of load over AWS's API, signed, on a
//! server in a process of its own, whose CPU is counted alone. `load`: that load on any other server
//! of that API, for comparison.
#![allow(clippy::print_stdout, reason = "a benchmark prints its result")]

mod backlog;
mod handle;
mod million;
mod timers;
mod wire;

use std::time::Duration;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|w| w != "--bench").collect();
    let numbers: Vec<u64> = words.iter().filter_map(|w| w.parse().ok()).collect();
    let number = |at: usize, otherwise: u64| numbers.get(at).copied().unwrap_or(otherwise);
    let time = Duration::from_secs(number(0, 10));
    let word = |at: usize| words.get(at).map(String::as_str);
    match (word(0), word(1)) {
        (Some("million"), _) => million::run(number(0, 1_000_000)),
        (Some("timers"), _) => timers::run(number(0, 100_000)),
        (Some("backlog"), _) => backlog::run(number(0, 100_000)),
        (Some("wire"), _) => wire::run(time),
        (Some("load"), Some(url)) => wire::load(url, time),
        (Some("serve"), Some(dir)) => wire::serve(dir.as_ref()),
        (_, _) => handle::run(time, number(1, 100_000)),
    }
}
