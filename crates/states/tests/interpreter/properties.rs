//! What holds for every machine and every order of events: the game of `game.rs`, from seeds.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use ark_states::scope::Random;
use ark_states::{Definition, Value};
use proptest::prelude::*;

use super::game::{machine, play};
use super::play::Play;

/// How long the game goes on, unless `ARK_GAME_SECONDS` says otherwise.
const GAME: Duration = Duration::from_millis(1_500);
/// Games that reach every corner.
const ROUNDS: u64 = 160;

/// Says the seed of a game that fails.
struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("ARK_GAME_SEED={} plays this game again", self.0);
        }
    }
}

/// The game of a seed: what was seen, and how many children of Map Runs were played.
fn game(seed: u64) -> (Vec<&'static str>, usize) {
    let _told = Told(seed);
    let random = Random::new(u128::from(seed));
    let draw = |count: u64| -> Vec<u32> { (0..count).map(|_| random.next_u64() as u32).collect() };
    let (shape, events) = (draw(80), draw(160));
    play(&machine(&shape), &events)
}

/// Plays anew each time, from a seed that is said when a game fails; `ARK_GAME_SEED` plays it again.
#[test]
fn every_machine_keeps_its_books() {
    let variable = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(again) = variable("ARK_GAME_SEED") {
        game(again);
        return;
    }
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let base = since.map_or(0, |since| since.as_millis() as u64);
    let time = variable("ARK_GAME_SECONDS").map_or(GAME, Duration::from_secs);
    let begun = Instant::now();
    let mut rounds = 0;
    while begun.elapsed() < time {
        game(base + rounds);
        rounds += 1;
    }
    eprintln!("{rounds} games from {base}");
}

/// The game must reach what it is for.
#[test]
fn the_game_reaches_every_corner() {
    let mut seen = BTreeSet::new();
    let mut children = 0;
    for seed in 0..ROUNDS {
        let (types, played) = game(seed);
        seen.extend(types);
        children += played;
    }
    assert!(children > 0, "no child of a Map Run was played");
    for wanted in [
        "ActivityTimedOut",
        "EvaluationFailed",
        "ExecutionAborted",
        "ExecutionRedriven",
        "ExecutionSucceeded",
        "ExecutionTimedOut",
        "LambdaFunctionFailed",
        "MapIterationAborted",
        "MapIterationFailed",
        "MapIterationSucceeded",
        "MapRunFailed",
        "MapRunRedriven",
        "MapRunSucceeded",
        "MapStateAborted",
        "MapStateFailed",
        "ParallelStateAborted",
        "ParallelStateFailed",
        "ParallelStateSucceeded",
        "TaskStateAborted",
        "TaskStateExited",
        "TaskSubmitted",
        "WaitStateAborted",
    ] {
        assert!(seen.contains(wanted), "no {wanted} in {seen:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn short_games_shrink_to_the_shortest_that_fails(
        shape in prop::collection::vec(any::<u32>(), 1..80),
        events in prop::collection::vec(any::<u32>(), 0..60),
    ) {
        play(&machine(&shape), &events);
    }

    #[test]
    fn broken_definitions_are_refused_without_panic(
        shape in prop::collection::vec(any::<u32>(), 1..40),
        cut in any::<prop::sample::Index>(),
        put in prop::sample::select(vec!["", "{", "}", "null", "\"$\"", "-1", "1e999", "[]", ",", "{%"]),
    ) {
        let text = machine(&shape).to_string();
        let at = cut.index(text.len());
        prop_assume!(text.is_char_boundary(at));
        let broken = format!("{}{put}{}", &text[..at], &text[(at + 1).min(text.len())..]);
        if let Ok(definition) = Definition::parse(&broken) {
            drop(Play::start_of(definition, "{}", 1));
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in ".{0,60}") {
        let _ = Value::parse(&text);
        let _ = Definition::parse(&text);
    }
}
