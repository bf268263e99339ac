//! Any bytes as WebSocket frames, gRPC messages and events, in pieces of as many bytes as the first says.

#![no_main]

use ark_gateway::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((first, rest)) = bytes.split_first() else { return };
    fuzzing::boundaries(rest, usize::from(*first) + 1);
});
