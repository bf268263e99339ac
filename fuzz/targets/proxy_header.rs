//! Any bytes as the header of the PROXY protocol, which a balancer sends before anything else.

#![no_main]

use ark_gateway::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| fuzzing::proxy_header(bytes));
