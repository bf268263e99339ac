//! Which page each picture is of. Every page of the console has one, so that none is added without being
//! looked at in both themes and at both widths.

use ark_console::PAGES;

/// The name of a picture, and the address of its page as a pattern; of no page in particular when that
/// is empty.
const PICTURES: &[(&str, &str)] = &[
    ("app", "/e/{env}/{app}"),
    ("app-data-store", "/e/{env}/{app}"),
    ("app-failed", "/e/{env}/{app}"),
    ("app-reader", "/e/{env}/{app}"),
    ("app-stopped", "/e/{env}/{app}"),
    ("deploy", "/e/{env}/{app}/deploy"),
    ("deploy-refused", "/e/{env}/{app}/deploy"),
    ("deployment", "/d/{id}"),
    ("deployment-failed", "/d/{id}"),
    ("deployment-running", "/d/{id}"),
    ("deployments", "/e/{env}/{app}/deployments"),
    ("diff", "/e/{env}/{app}/diff"),
    ("environment", "/environments/{env}"),
    ("environment-graph", "/environments/{env}"),
    ("environment-lease", "/environments/{env}"),
    ("environments", "/environments"),
    ("environments-empty", "/environments"),
    ("error", "/e/{env}/{app}"),
    ("events", "/events"),
    ("events-filtered", "/events"),
    ("events-unknown", "/events"),
    ("execution", "/workflows/{workflow}/x/{execution}"),
    ("execution-failed", "/workflows/{workflow}/x/{execution}"),
    ("execution-resolve", "/workflows/{workflow}/x/{execution}/do/{act}"),
    ("execution-running", "/workflows/{workflow}/x/{execution}"),
    ("hook", "/server/hooks/{hook}"),
    ("host-drain", "/server/hosts/{host}/{wish}"),
    ("jobs", "/jobs"),
    ("jobs-empty", "/jobs"),
    ("logs", "/e/{env}/{app}/logs"),
    ("logs-none", "/e/{env}/{app}/logs"),
    ("logs-search", "/e/{env}/{app}/logs"),
    ("no-permission", "/e/{env}/{app}/do/{what}"),
    ("nowhere", ""),
    ("overview", "/"),
    ("overview-empty", "/"),
    ("overview-failed", "/"),
    ("overview-running", "/"),
    ("overview-silent-host", "/"),
    ("refused", ""),
    ("releases", "/e/{env}/{app}/releases"),
    ("restart", "/e/{env}/{app}/do/{what}"),
    ("rollback", "/e/{env}/{app}/rollback"),
    ("run", "/e/{env}/{app}/runs/{run}"),
    ("run-ask", "/e/{env}/{app}/run"),
    ("runs", "/e/{env}/{app}/runs"),
    ("scale", "/e/{env}/{app}/do/{what}"),
    ("server", "/server"),
    ("server-checks", "/server/checks"),
    ("server-reader", "/server"),
    ("sign-in", "/sign-in"),
    ("sign-in-link", "/sign-in/{code}"),
    ("sign-in-refused", "/sign-in"),
    ("stop", "/e/{env}/{app}/do/{what}"),
    ("workflow", "/workflows/{workflow}"),
    ("workflow-start", "/workflows/{workflow}/start"),
    ("workflow-unresolved", "/workflows/{workflow}"),
    ("workflows", "/workflows"),
    ("workflows-empty", "/workflows"),
];

/// The tests that look.
const SOURCES: [&str; 4] = [
    include_str!("../console.rs"),
    include_str!("jobs.rs"),
    include_str!("pages.rs"),
    include_str!("workflows.rs"),
];

/// That a picture of this name is one of this page.
#[track_caller]
pub(super) fn check(name: &str, url: &str) {
    let found = PICTURES.iter().find(|(known, _)| *known == name);
    let (_, pattern) = found.unwrap_or_else(|| panic!("{name} is no picture of the list"));
    let path = path_of(url);
    assert!(pattern.is_empty() || fits(pattern, &path), "{name} is taken of {path}");
}

/// The path of an address.
pub(super) fn path_of(url: &str) -> String {
    let path = url.splitn(4, '/').nth(3).unwrap_or_default();
    format!("/{}", path.split(['?', '#']).next().unwrap_or_default())
}

/// Whether a path is one of a pattern's.
pub(super) fn fits(pattern: &str, path: &str) -> bool {
    let (pattern, path): (Vec<&str>, Vec<&str>) =
        (pattern.split('/').collect(), path.split('/').collect());
    let same = |(wanted, part): (&&str, &&str)| wanted.starts_with('{') || wanted == part;
    pattern.len() == path.len() && pattern.iter().zip(&path).all(same)
}

#[test]
fn every_page_is_looked_at() {
    for page in PAGES {
        assert!(PICTURES.iter().any(|(_, pattern)| pattern == page), "nobody looks at {page}");
    }
    for (name, pattern) in PICTURES {
        assert!(pattern.is_empty() || PAGES.contains(pattern), "{name}: no page {pattern}");
        let quoted = format!("\"{name}\"");
        assert!(SOURCES.iter().any(|text| text.contains(&quoted)), "no test looks at {name}");
    }
}
