//! The whole API over HTTP, in one process: a store in memory, an engine that is scripted, port 0.

mod arn_kinds;
mod auth;
mod console;
mod deploying;
mod engine;
mod fixture;
mod gc;
mod leases;
mod lists;
mod openapi;
mod problems;
mod registries;
mod rollback_plans;
mod runs;
mod secrets;
mod streams;
mod wishes;
mod workflow_manager;
mod workflows;
