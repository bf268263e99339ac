//! The control plane: API, controllers, authentication.
//!
//! `api/` answers requests and records wishes; `tasks/` carries them out; `gateway_link` tells the
//! gateway. They meet only in the store and in [`observations`]. Must not know the terminal.

pub mod api;
pub mod auth;
mod console;
mod data_dir;
pub mod data_stores;
mod deployment_traffic;
mod endings;
pub mod error;
pub mod gateway_link;
pub mod gateway_process;
mod measures;
mod nodes;
pub mod observations;
mod pushes;
pub mod receipts;
pub mod recent_traffic;
pub mod roles;
pub mod route_table;
pub mod shares;
pub mod state;
mod tables_under_way;
pub mod tasks;
pub mod variables;
pub mod webhooks;
pub mod workflows;
pub mod world;

pub use error::ServerError;
pub use roles::{Doors, Ended, Running, ServerFile, UpOptions, WithGateway, up};
