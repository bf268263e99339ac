//! How a command ends when it does not do what was asked: a code, an exit code, what happened, and
//! what to type next.
//!
//! Every module of the command line returns [`Failure`]; only `main` prints one. It must never
//! hold a secret value.

use ark_model::api::{DiagnosticSeverity, Problem, ProblemCode, Remedy};
use ark_model::exit::ExitCode;

use crate::output::Style;
use crate::output::lines::wrap_remedies;

/// The exit code of a finished command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exit(pub(crate) u8);

impl Exit {
    /// What was asked for is done.
    pub(crate) const DONE: Self = Self(0);
}

impl From<ExitCode> for Exit {
    fn from(code: ExitCode) -> Self {
        Self(code.number())
    }
}

/// What every command returns.
pub(crate) type Ended = Result<Exit, Failure>;

/// Why a command ended without doing what was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit code of the process.
    pub(crate) exit: Exit,
    /// For programs: `server-unreachable`, `missing-config`.
    pub(crate) code: String,
    /// What happened, naming the noun that failed.
    pub(crate) headline: String,
    /// More lines, printed as they are under the headline.
    pub(crate) details: Vec<String>,
    /// What to do about it, in the order to try.
    pub(crate) remedies: Vec<Remedy>,
    /// Whether the words were printed already (a rendered deployment, say).
    pub(crate) shown: bool,
}

impl Failure {
    /// A failure with nothing but a headline.
    pub(crate) fn new(
        exit: ExitCode,
        code: impl Into<String>,
        headline: impl Into<String>,
    ) -> Self {
        Self {
            exit: exit.into(),
            code: code.into(),
            headline: headline.into(),
            details: Vec::new(),
            remedies: Vec::new(),
            shown: false,
        }
    }

    /// The command line or a file it names is wrong; nothing was changed.
    pub(crate) fn usage(headline: impl Into<String>) -> Self {
        Self::new(ExitCode::Usage, "usage", headline)
    }

    /// A file of this machine could not be read or written.
    pub(crate) fn file(path: &std::path::Path, doing: &str, error: &std::io::Error) -> Self {
        let exit = match error.kind() {
            std::io::ErrorKind::NotFound => ExitCode::Usage,
            _ => ExitCode::Failed,
        };
        Self::new(exit, "file", format!("{} cannot be {doing}: {error}", path.display()))
    }

    /// Adds a line under the headline.
    pub(crate) fn detail(mut self, line: impl Into<String>) -> Self {
        self.details.push(line.into());
        self
    }

    /// Adds something to do about it.
    pub(crate) fn remedy(mut self, label: impl Into<String>, command: impl Into<String>) -> Self {
        self.remedies.push(Remedy { label: label.into(), command: command.into() });
        self
    }

    /// Ends the process with `exit` without another word.
    pub(crate) fn silent(exit: Exit) -> Self {
        Self { exit, shown: true, ..Self::new(ExitCode::Failed, "shown", "") }
    }

    /// The text for people, without a final line break.
    pub(crate) fn render(&self, style: Style) -> String {
        let tail = format!("exit {} · {}", self.exit.0, self.code);
        let mut out = format!("{} {}   {}", style.bad("✗"), self.headline, style.dim(&tail));
        for line in &self.details {
            out.push_str("\n  ");
            out.push_str(line);
        }
        for line in wrap_remedies(&self.remedies, style.width) {
            out.push_str("\n  ");
            out.push_str(&line);
        }
        out
    }

    /// The same for programs.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::json!({"error": {
            "code": self.code,
            "exit_code": self.exit.0,
            "message": self.headline,
            "details": self.details,
            "remedy": self.remedies,
        }})
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        let refused = problem.exit_code == ExitCode::Refused.number();
        let headline =
            if refused { format!("refused: {}", problem.detail) } else { problem.detail.clone() };
        let code = match problem.code {
            // A newer server's code is in the type, which this client can pass on.
            ProblemCode::Unknown => problem.kind.trim_start_matches("urn:ark:error:").to_owned(),
            known => known.as_str().to_owned(),
        };
        let mut details = Vec::new();
        if !problem.missing.iter().all(|name| problem.detail.contains(name)) {
            details.push(problem.missing.join(", "));
        }
        for found in &problem.diagnostics {
            let severity = match found.severity {
                DiagnosticSeverity::Error => "",
                DiagnosticSeverity::Warning => "warning: ",
            };
            let mut line = format!("{} {severity}{}", found.code, found.message);
            if let Some(suggestion) = &found.suggestion {
                line.push_str(&format!("; did you mean `{suggestion}`?"));
            }
            if found.line > 0 {
                line.push_str(&format!(" (line {}, column {})", found.line, found.column));
            }
            details.push(line);
        }
        if let (500.., Some(id)) = (problem.status, &problem.request_id) {
            details.push(format!("in the server's log: request {id}"));
        }
        Self {
            exit: Exit(problem.exit_code),
            code,
            headline,
            details,
            remedies: problem.remedy,
            shown: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_everything_and_what_to_type() {
        let mut problem = Problem::new(
            ProblemCode::MissingConfig,
            "production does not define 2 values that web needs",
        );
        problem.missing = vec!["DB_URL".into(), "SESSION_KEY".into()];
        problem.remedy = vec![
            Remedy {
                label: "set them".into(),
                command: "ark config set -e production web DB_URL=…".into(),
            },
            Remedy {
                label: "secret".into(),
                command: "ark config set -e production web --secret SESSION_KEY".into(),
            },
        ];
        let failure = Failure::from(problem);
        assert_eq!(failure.exit, Exit(7));
        insta::assert_snapshot!(failure.render(Style::plain(120)), @r"
        ✗ refused: production does not define 2 values that web needs   exit 7 · missing-config
          DB_URL, SESSION_KEY
          set them: ark config set -e production web DB_URL=…     secret: ark config set -e production web --secret SESSION_KEY
        ");
    }

    #[test]
    fn a_code_of_a_newer_server_keeps_its_exit_code_and_name() {
        let text = r#"{"type":"urn:ark:error:frozen","title":"t","status":403,"detail":"production is frozen","code":"frozen","exit_code":7}"#;
        let failure = Failure::from(serde_json::from_str::<Problem>(text).unwrap());
        assert_eq!((failure.exit, failure.code.as_str()), (Exit(7), "frozen"));
    }
}
