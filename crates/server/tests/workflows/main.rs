//! The workflow runtime at its handle: failures of `workflows.md` section 6, each by its name, on a
//! clock that the tests move; and a simulation that crashes it at every commit.

#![allow(clippy::needless_pass_by_value, reason = "values are given as they are")]

mod broken;
#[path = "../simulation/clock.rs"]
mod clock;
mod deletions;
mod dice;
mod fixture;
mod hints;
mod lifecycle;
mod limits;
mod map_items;
mod map_redrives;
mod maps;
mod nested_maps;
mod races;
mod recovery;
mod redrive;
mod replay;
mod s3;
mod schedules;
mod simulated_end;
mod simulated_maps;
mod simulation;
mod tasks;
mod thinking;
mod timing;
mod upgrades;
