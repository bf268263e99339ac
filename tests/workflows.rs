//! Workflows from the outside: `ark up`, spoken to as AWS's clients speak. Recorded call sequences
//! are replayed and the answers compared; AWS's own clients (where Python has them) drive the rest.

#![allow(clippy::print_stderr, reason = "what was skipped, and what differs, is said")]

#[path = "workflows/aws_clients.rs"]
mod aws_clients;
#[path = "workflows/client.rs"]
mod client;
#[path = "workflows/commands.rs"]
mod commands;
#[path = "workflows/exceptions.rs"]
mod exceptions;
mod harness;
#[path = "workflows/http_tests.rs"]
mod http_tests;
#[path = "workflows/lambda_cases.rs"]
mod lambda_cases;
#[path = "workflows/polls.rs"]
mod polls;
#[path = "workflows/recorded.rs"]
mod recorded;
#[path = "workflows/same.rs"]
mod same;
#[path = "workflows/terraform.rs"]
mod terraform;
#[path = "workflows/traces.rs"]
mod traces;
#[path = "workflows/wire.rs"]
mod wire;
#[path = "workflows/worker.rs"]
mod worker;
