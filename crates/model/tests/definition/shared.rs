//! The real launch files, which are not part of this repository.

use std::path::{Path, PathBuf};

use crate::lacking::{Lack, skip};

const LAUNCH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/launch");

/// The folder, or `None` after having said which test is skipped.
pub(crate) fn launch(test: &str) -> Option<PathBuf> {
    let launch = Path::new(LAUNCH);
    if launch.is_dir() {
        return Some(launch.to_owned());
    }
    skip(test, Lack::SharedData, &format!("the real launch files ({LAUNCH}) are not here"));
    None
}

/// Names of all files below it, sorted: `current/web__web.yml`.
pub(crate) fn files(launch: &Path) -> Vec<String> {
    let mut files = Vec::new();
    for folder in ["current", "past"] {
        for entry in std::fs::read_dir(launch.join(folder)).expect(folder) {
            let name = entry.expect(folder).file_name().into_string().expect("a UTF-8 name");
            files.push(format!("{folder}/{name}"));
        }
    }
    files.sort();
    files
}
