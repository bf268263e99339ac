//! The commands, one file each: `Args` (what it takes), `shown` (whether it prints JSON) and `run`.
//!
//! A command is a client of the server's API and nothing more; whatever must survive it is done by
//! the server. `follow_deployment` and `settle` are the two ways of waiting that several share.

#![allow(
    clippy::needless_pass_by_value,
    reason = "all commands are called alike: with what was typed, which is theirs"
)]

pub(crate) mod abort;
pub(crate) mod approve;
pub(crate) mod build;
pub(crate) mod ci;
pub(crate) mod completion;
pub(crate) mod config;
pub(crate) mod cron;
pub(crate) mod deploy;
pub(crate) mod deployments;
pub(crate) mod diff;
pub(crate) mod doctor;
pub(crate) mod down;
pub(crate) mod env;
pub(crate) mod events;
pub(crate) mod exec;
pub(crate) mod follow_deployment;
pub(crate) mod gateway;
pub(crate) mod gc;
pub(crate) mod hook;
pub(crate) mod import;
pub(crate) mod logs;
pub(crate) mod node;
pub(crate) mod open;
pub(crate) mod pause;
pub(crate) mod plan;
pub(crate) mod promote;
pub(crate) mod ps;
pub(crate) mod quickstart;
pub(crate) mod receipt;
pub(crate) mod registry;
pub(crate) mod releases;
pub(crate) mod restart;
pub(crate) mod resume;
pub(crate) mod rollback;
pub(crate) mod run;
pub(crate) mod runs;
pub(crate) mod sample;
pub(crate) mod scale;
pub(crate) mod schema;
pub(crate) mod server;
pub(crate) mod settle;
pub(crate) mod shim;
pub(crate) mod start;
pub(crate) mod status;
pub(crate) mod stop;
pub(crate) mod submit;
pub(crate) mod token;
pub(crate) mod up;
pub(crate) mod validate;
pub(crate) mod version;
mod wish;
pub(crate) mod worker;
pub(crate) mod workflow;
pub(crate) mod workflows;
