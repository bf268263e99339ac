//! Any bytes as a request's head that came over HTTP/2: what is accepted reaches an HTTP/1.1 target as
//! exactly one head. Odd first bytes: it has a body.

#![no_main]

use ark_gateway::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((first, text)) = bytes.split_first() else { return };
    fuzzing::crossing(text, first % 2 == 0);
});
