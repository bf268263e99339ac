//! From the bytes of a launch file to its meaning and a verdict.

use super::diagnostic::{Code, Diagnostic, Severity};
use super::judge::{find, judge_root};
use super::report::Report;
use super::yaml::{self, Entry, Node, Value};
use super::{DataStore, Definition, LaunchFile, assemble, format, rules};
use crate::ids::AppName;

/// What came out of a launch file.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// What the file holds. Present whenever the file holds a mapping, even with errors: then the
    /// wrong parts are missing, and it must be shown at most, never deployed. See
    /// [`Parsed::into_result`].
    pub launch: Option<LaunchFile>,
    /// Every finding, in the order of the file; at most about a hundred.
    pub diagnostics: Vec<Diagnostic>,
}

impl Parsed {
    /// Whether the file is accepted: no errors, warnings at most.
    pub fn ok(&self) -> bool {
        self.launch.is_some() && self.errors().next().is_none()
    }

    /// The findings that refuse the file.
    pub fn errors(&self) -> impl Iterator<Item = &Diagnostic> {
        self.diagnostics.iter().filter(|d| d.severity == Severity::Error)
    }

    /// The findings that do not.
    pub fn warnings(&self) -> impl Iterator<Item = &Diagnostic> {
        self.diagnostics.iter().filter(|d| d.severity == Severity::Warning)
    }

    /// What the file holds, with the warnings.
    ///
    /// # Errors
    /// All findings, when one of them is an error.
    pub fn into_result(self) -> Result<(LaunchFile, Vec<Diagnostic>), Vec<Diagnostic>> {
        let ok = self.ok();
        match self.launch {
            Some(launch) if ok => Ok((launch, self.diagnostics)),
            Some(_) | None => Err(self.diagnostics),
        }
    }
}

/// Reads and judges a launch file.
///
/// `file_name` is what the author calls it, with or without a path; it is used in words only.
/// Any bytes give an answer, in time that grows with their number up to 1 MiB and not beyond;
/// nothing panics.
pub fn parse(file_name: &str, text: &[u8]) -> Parsed {
    parse_of(None, file_name, text)
}

/// The same, of a file that is known to describe this app: what would be wrong for it alone is found too.
pub fn parse_of(app: Option<&AppName>, file_name: &str, text: &[u8]) -> Parsed {
    let text = match yaml::text_of(text) {
        Ok(text) => text,
        Err(finding) => {
            let lossy = String::from_utf8_lossy(&text[..text.len().min(yaml::FILE_BYTES_MAX)]);
            let mut report = Report::new(&lossy);
            report.add_reading(finding);
            return Parsed { launch: None, diagnostics: report.finish() };
        }
    };
    let mut report = Report::new(text);
    let document = yaml::read(text);
    let unread = document.root.is_none() && !document.findings.is_empty();
    for finding in document.findings {
        report.add_reading(finding);
    }
    let launch = match &document.root {
        _ if unread => None,
        Some(root) => launch_of(app, file_name, root, &mut report),
        None => {
            empty(file_name, None, &mut report);
            None
        }
    };
    Parsed { launch, diagnostics: report.finish() }
}

fn empty(file_name: &str, place: Option<yaml::Place>, report: &mut Report<'_>) {
    let message = format!("{file_name} is empty; the smallest definition is `{{}}`");
    report.add(Code::NotAMapping, place, "", message);
}

fn launch_of(
    name: Option<&AppName>,
    file_name: &str,
    root: &Node,
    report: &mut Report<'_>,
) -> Option<LaunchFile> {
    match &root.value {
        Value::Map(entries) if entries.iter().any(|entry| entry.key == "type") => {
            store(root, entries, report).map(LaunchFile::DataStore)
        }
        Value::Map(entries) => Some(LaunchFile::App(Box::new(app(name, root, entries, report)))),
        Value::Null => {
            empty(file_name, None, report);
            None
        }
        other => {
            let message = format!("a launch file holds a mapping, found {}", other.type_name());
            report.add(Code::NotAMapping, Some(root.place), "", message);
            None
        }
    }
}

fn app(
    name: Option<&AppName>,
    root: &Node,
    entries: &[Entry],
    report: &mut Report<'_>,
) -> Definition {
    let parts = judge_root(&format::APP, entries, report);
    match assemble::definition(parts) {
        Ok(definition) => {
            rules::judge(&definition, name, root, report);
            definition
        }
        Err(error) => {
            unreadable(&error, root, report);
            Definition::default()
        }
    }
}

fn store(root: &Node, entries: &[Entry], report: &mut Report<'_>) -> Option<DataStore> {
    let parts = judge_root(&format::STORE, entries, report);
    let typed = parts.contains_key("type");
    match serde_json::from_value::<DataStore>(parts.into()) {
        Ok(store) => {
            rules::judge_store(&store, root, report);
            Some(store)
        }
        Err(error) => {
            // Without a `type` that is understood there is nothing to read, and that is reported.
            if typed {
                unreadable(&error, root, report);
            } else if let Some((Node { value: Value::Text(text), .. }, place)) = find(root, "type")
                && super::text::is_run_type(text)
            {
                let message = format!(
                    "`type` at the top is for data stores; the kind of an app is written under `run`: {{type: {text}}}"
                );
                report.add(Code::UnknownKey, Some(place), "type", message);
            }
            None
        }
    }
}

/// The tables of the format and the types disagree: a defect here, and the author should see it
/// as one instead of getting half a definition.
fn unreadable(error: &serde_json::Error, root: &Node, report: &mut Report<'_>) {
    let message = format!("the definition cannot be read: {error}");
    report.add(Code::WrongType, Some(root.place), "", message);
}
