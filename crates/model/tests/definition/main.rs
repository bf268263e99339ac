//! Launch files from the outside: real ones, hostile ones, those of the documentation, made-up
//! ones.

mod docs;
mod hostile;
#[path = "../../../../tests/harness/lacking.rs"]
mod lacking;
mod launch_files;
mod properties;
mod reading;
mod schema;
mod shared;
