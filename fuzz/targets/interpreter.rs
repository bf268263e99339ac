//! Any numbers as a machine and the events that come to it, played step by step: no panic, the state is
//! read back as it was stored, the history has no gap, a step costs no more than it may. The game is
//! that of the crate's own tests (`crates/states/tests/interpreter/game.rs`).
//!
//! Two bytes are a number. The first says how many numbers make the machine; the others are the events.

#![no_main]
#![allow(dead_code, reason = "the tests use more of the player than the game does")]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/states/tests/interpreter/driver.rs"]
mod driver;
#[path = "../../crates/states/tests/interpreter/game.rs"]
mod game;
#[path = "../../crates/states/tests/interpreter/play.rs"]
mod play;

fuzz_target!(|bytes: &[u8]| {
    let number = |pair: &[u8]| u32::from(pair[0]) | u32::from(pair[1]) << 8;
    let numbers: Vec<u32> = bytes.chunks_exact(2).map(number).collect();
    let Some((shape, rest)) = numbers.split_first() else { return };
    let (shape, events) = rest.split_at((*shape as usize).min(rest.len()));
    game::play(&game::machine(shape), events);
});
