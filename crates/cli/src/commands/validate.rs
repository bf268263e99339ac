//! `ark validate`: checks launch files. Needs no server.

use std::path::{Path, PathBuf};

use ark_model::definition::{Diagnostic, parse_of};
use ark_model::exit::ExitCode;
use serde::Serialize;

use crate::context::here;
use crate::failure::{Ended, Exit, Failure};
use crate::launch;
use crate::output::numbers::counted;
use crate::output::{Output, Shown, Style};

/// Folders below a named one are looked into so deep; beyond it something is a circle.
const DEPTH_MAX: usize = 32;

/// What `validate` takes.
#[derive(Debug, clap::Args)]
#[command(
    before_help = "Examples:\n  ark validate\n  ark validate launch/web.yml\n  ark validate launch --json",
    after_help = "Folders are searched for *.yml and *.yaml. Exit code 0 when every file is accepted, else 2."
)]
pub(crate) struct Args {
    /// Launch files and folders [default: launch]
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    shown: Shown,
}

pub(crate) fn shown(args: &Args) -> Shown {
    args.shown
}

/// One file with what is wrong with it.
#[derive(Debug, Serialize)]
struct Verdict {
    path: String,
    ok: bool,
    diagnostics: Vec<Diagnostic>,
}

pub(crate) fn run(args: Args) -> Ended {
    let out = Output::new(args.shown);
    let paths = if args.paths.is_empty() { vec![here()?.join(launch::FOLDER)] } else { args.paths };
    let mut files = Vec::new();
    for path in &paths {
        collect(path, 0, &mut files)?;
    }
    if files.is_empty() {
        let named: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
        return Err(Failure::usage(format!("no launch file in {}", named.join(", ")))
            .remedy("the format", "docs/definitions.md, ark schema"));
    }
    let mut refused = 0_u64;
    for file in &files {
        let verdict = judge(file)?;
        refused += u64::from(!verdict.ok);
        out.one(&verdict, |verdict| render(verdict, out.style))?;
    }
    let checked = counted(files.len() as u64, "file");
    out.say(match refused {
        0 => format!("{checked} checked, all accepted"),
        refused => format!("{checked} checked, {refused} refused"),
    });
    Ok(if refused == 0 { Exit::DONE } else { ExitCode::Usage.into() })
}

fn judge(file: &Path) -> Result<Verdict, Failure> {
    let text = std::fs::read(file).map_err(|error| Failure::file(file, "read", &error))?;
    let path = file.display().to_string();
    let app = launch::app_of_file(file).ok();
    let parsed = parse_of(app.as_ref(), &path, &text);
    Ok(Verdict { ok: parsed.ok(), path, diagnostics: parsed.diagnostics })
}

fn collect(path: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let metadata = std::fs::metadata(path).map_err(|error| Failure::file(path, "read", &error))?;
    if !metadata.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    if depth >= DEPTH_MAX {
        return Err(Failure::usage(format!("{} is nested too deeply", path.display())));
    }
    let read = |error: std::io::Error| Failure::file(path, "read", &error);
    let mut entries = std::fs::read_dir(path)
        .map_err(read)?
        .collect::<std::io::Result<Vec<_>>>()
        .map_err(|error| Failure::file(path, "read", &error))?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if folder || launch::is_launch_file(&path) {
            collect(&path, depth + 1, files)?;
        }
    }
    Ok(())
}

fn render(verdict: &Verdict, style: Style) -> String {
    rendered(&verdict.path, verdict.ok, &verdict.diagnostics, style)
}

/// A file with its findings, as every command shows them.
pub(crate) fn rendered(path: &str, ok: bool, found: &[Diagnostic], style: Style) -> String {
    let errors = found.iter().filter(|d| d.code.as_str().starts_with('E')).count() as u64;
    let warnings = found.len() as u64 - errors;
    let mark = if ok { style.good("✓") } else { style.bad("✗") };
    let counts: Vec<String> = [(errors, "error"), (warnings, "warning")]
        .into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, noun)| counted(number, noun))
        .collect();
    let mut text = format!("{mark} {path}");
    if !counts.is_empty() {
        text.push_str(&format!(": {}", counts.join(", ")));
    }
    for diagnostic in found {
        text.push('\n');
        text.push_str(&diagnostic.render());
    }
    text
}

/// The failure of a command whose launch file is refused.
pub(crate) fn refusal(path: &str, found: &[Diagnostic]) -> Failure {
    let text = rendered(path, false, found, Style::plain(usize::MAX));
    let headline = text.lines().next().unwrap_or_default().trim_start_matches("✗ ").to_owned();
    let mut failure = Failure::new(ExitCode::Usage, "invalid-definition", headline);
    // The findings come with their own indentation, made to stand under the name of the file.
    failure.details.extend(
        text.lines().skip(1).map(|line| line.strip_prefix("  ").unwrap_or(line).to_owned()),
    );
    failure
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_file_shows_each_finding_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("web.yml");
        std::fs::write(&file, "team: eng\nalarms:\n  - type: InternalErrorAlarm\n    severity: major\n    paramaters:\n      threshold: 0.1\n").unwrap();
        let verdict = judge(&file).unwrap();
        assert!(!verdict.ok);
        let json = serde_json::to_value(&verdict).unwrap();
        assert_eq!(json["diagnostics"][0]["code"], "E012");
        assert_eq!(json["diagnostics"][0]["line"], 5);
        assert_eq!(json["diagnostics"][0]["suggestion"], "parameters");
        let text = render(&verdict, Style::plain(100));
        let text = text.replace(&verdict.path, "web.yml");
        insta::assert_snapshot!(text, @r"
        ✗ web.yml: 1 error
          E012 unknown key `paramaters` in alarms[0]; did you mean `parameters`?
            5 │     paramaters:
              │     ^^^^^^^^^^
        ");
    }

    #[test]
    fn folders_are_searched_and_what_is_missing_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("deep")).unwrap();
        for name in ["a.yml", "b.yaml", "c.txt", "deep/d.yml"] {
            std::fs::write(dir.path().join(name), "{}").unwrap();
        }
        let mut files = Vec::new();
        collect(dir.path(), 0, &mut files).unwrap();
        let names: Vec<_> =
            files.iter().map(|f| f.strip_prefix(dir.path()).unwrap().to_owned()).collect();
        assert_eq!(names, ["a.yml", "b.yaml", "deep/d.yml"].map(PathBuf::from));
        assert_eq!(collect(&dir.path().join("none"), 0, &mut files).unwrap_err().exit.0, 2);
    }
}
