//! Whole-process tests of deployments, each named after the report it stands for: `t26` is test 26
//! of the list in `tests/rollouts/README.md`, which also says where the others are.

#![allow(clippy::print_stdout, reason = "the run reports what it measured")]

mod harness;

#[path = "rollouts/hooks.rs"]
mod hooks;
