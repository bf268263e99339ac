//! Any bytes on the gateway's wire: an answer, never a panic, and nothing smuggled.

#![no_main]

use ark_gateway::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((first, rest)) = bytes.split_first() else { return };
    match first % 4 {
        0 => fuzzing::request(rest),
        1 => fuzzing::response(rest),
        2 => fuzzing::chunked(rest, usize::from(*first) / 4 + 1),
        _ => {
            let text = String::from_utf8_lossy(rest);
            let (host, path) = text.split_once('\n').unwrap_or((&text, "/"));
            fuzzing::routing(host, path);
        }
    }
});
