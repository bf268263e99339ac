//! Which seeds a long run is asked for: `--seed N`, or `--from N` and `--seeds N`.

use std::ops::RangeInclusive;

/// Seeds between two words about how far a run is, and of a run that is not told how many.
pub(crate) const CHUNK: u64 = 1_000;

const USAGE: &str = "usage: --seed N, or [--from N] [--seeds N]; without them, seeds 1 to 1000";

/// What the command line asks for, or what is wrong with it.
pub(crate) fn asked(
    arguments: impl Iterator<Item = String>,
) -> Result<RangeInclusive<u64>, String> {
    let (mut seed, mut from, mut seeds) = (None, None, None);
    let mut words = arguments.skip(1);
    while let Some(word) = words.next() {
        let place = match word.as_str() {
            "--seed" => &mut seed,
            "--from" => &mut from,
            "--seeds" => &mut seeds,
            _ => return Err(format!("{word:?} is not known; {USAGE}")),
        };
        let number = words.next().and_then(|number| number.parse::<u64>().ok());
        *place = Some(number.ok_or_else(|| format!("{word} needs a number; {USAGE}"))?);
    }
    let first = from.unwrap_or(1);
    match (seed, from.or(seeds)) {
        (Some(_), Some(_)) => Err(format!("--seed is one seed alone; {USAGE}")),
        (Some(seed), None) => Ok(seed..=seed),
        (None, _) => match first.checked_add(seeds.unwrap_or(CHUNK)) {
            Some(end) if end > first => Ok(first..=end - 1),
            _ => Err(format!("--seeds must be 1 or more; {USAGE}")),
        },
    }
}
