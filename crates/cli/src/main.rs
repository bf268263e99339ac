//! The `ark` binary.
fn main() {}
