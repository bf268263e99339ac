//! Amazon States Language: parse, validate and interpret; pure.
//!
//! ```text
//! text --definition::parse--> Definition --+
//!                                          v
//! stored bytes --> ExecutionState --machine::next(event, env)--> state', history, effects
//! ```
//!
//! - [`definition`]: the parsed machine, shared by its executions.
//! - [`machine`]: the interpreter and its words to the runtime ([`machine::Event`],
//!   [`machine::Effect`]); Map Runs.
//! - [`test_state`]: one state alone, with mocks.
//! - [`fuel`]: what a step costs.
//! - [`history`]: the events of `GetExecutionHistory`.
//! - [`jsonpath`], [`intrinsics`], [`jsonata`], [`choice`], [`timestamp`]: what expressions are; they
//!   see a [`scope`] and give [`value`]s.
//!
//! It must not know tokio, SQL, clocks or randomness: time, seeds and tokens come in through
//! [`machine::Env`] (invariant I10).

pub mod choice;
pub mod definition;
pub mod error;
pub mod fuel;
pub mod history;
pub mod intrinsics;
pub mod item_formats;
pub mod jsonata;
pub mod jsonpath;
pub mod limits;
pub mod machine;
mod patterns;
pub mod resource;
pub mod scope;
pub mod test_state;
pub mod timestamp;
pub mod validate;
pub mod value;

pub use definition::Definition;
pub use error::{EvalError, Failure, SyntaxError};
pub use fuel::Fuel;
pub use value::{Document, Value};
