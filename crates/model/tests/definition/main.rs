//! Launch files from the outside: real ones, hostile ones, those of the documentation, made-up
//! ones.

mod docs;
mod hostile;
mod launch_files;
mod properties;
mod reading;
mod schema;
mod shared;
