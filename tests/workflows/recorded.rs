//! Where the recorded cases are. They are read in place; without them the tests that need them say
//! so and pass.

use std::path::PathBuf;

use serde_json::Value;

use crate::harness::lacking::{Lack, skip};

/// A file of recorded cases.
pub(crate) fn file(name: &str) -> Option<PathBuf> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/states-language");
    let path = PathBuf::from(root).join(name);
    if path.exists() {
        return Some(path);
    }
    skip(name, Lack::SharedData, &format!("{} is not there", path.display()));
    None
}

/// Its cases.
pub(crate) fn cases(name: &str) -> Option<Vec<Value>> {
    let text = std::fs::read_to_string(file(name)?).expect("readable");
    Some(serde_json::from_str(&text).expect("a list of cases"))
}
