//! `docs/workflow-failures.md` names tests. This looks whether each of them is there, so that none is
//! renamed or removed behind its back. It says nothing of whether they pass.

use std::path::Path;

/// The places that the document abbreviates.
const PLACES: [(&str, &str); 7] = [
    ("runtime/", "crates/server/tests/workflows/"),
    ("api/", "crates/server/tests/api/"),
    ("interpreter/", "crates/states/tests/interpreter/"),
    ("states/", "crates/states/src/"),
    ("clients/", "tests/workflows/"),
    ("server/", "crates/server/src/workflows/"),
    ("store/", "crates/store/"),
];

#[test]
fn every_test_that_the_failures_of_workflows_name_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let read = |path: &str| {
        std::fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    let document = read("docs/workflow-failures.md");
    let rows = document.lines().filter(|line| line.starts_with("| ")).skip(2);
    let (mut numbers, mut missing) = (Vec::new(), Vec::new());
    for row in rows {
        let cells: Vec<&str> = row.split(" | ").collect();
        let number = cells[0].trim_start_matches("| ");
        numbers.push(number.to_owned());
        let (mut source, mut named) = (String::new(), 0);
        // Every second piece stands between backquotes.
        for name in cells[2].split('`').skip(1).step_by(2) {
            if name.ends_with(".rs") {
                let place = PLACES.iter().find(|(short, _)| name.starts_with(short));
                let path = place.map_or_else(
                    || name.to_owned(),
                    |(short, long)| format!("{long}{}", &name[short.len()..]),
                );
                source = read(&path);
            } else {
                named += 1;
                if !source.contains(&format!("fn {name}(")) {
                    missing.push(format!("{number}: {name}"));
                }
            }
        }
        assert!(named > 0, "{number} names no test");
    }
    let all: Vec<String> = (1..=30).map(|number| number.to_string()).collect();
    assert_eq!(numbers, all);
    assert_eq!(missing, Vec::<String>::new(), "tests that are not where they are said to be");
}
