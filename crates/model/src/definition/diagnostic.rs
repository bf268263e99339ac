//! What is wrong with a launch file: code, place, words, and the line itself.
//!
//! Codes are a contract: they never change their meaning, and each is explained in
//! `docs/definitions.md` (a test holds the two together).

use std::fmt;

use serde::{Serialize, Serializer, ser::SerializeStruct};

/// Whether a finding refuses the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file is accepted; this should be looked at.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $variant:ident $severity:ident $text:literal $slug:literal)+) => {
        /// The rule that was broken.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Code {
            /// Every code, in order.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The code as it is printed: `E012`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            /// Its name for people: `unknown-key`.
            pub const fn slug(self) -> &'static str {
                match self { $(Self::$variant => $slug),+ }
            }

            /// Whether a finding of this rule refuses the file.
            pub const fn severity(self) -> Severity {
                match self { $(Self::$variant => Severity::$severity),+ }
            }
        }
    };
}

codes! {
    /// The file is not UTF-8 text.
    NotUtf8 Error "E001" "not-utf8"
    /// The file is larger than 1 MiB.
    TooLarge Error "E002" "too-large"
    /// The file is not YAML.
    NotYaml Error "E003" "not-yaml"
    /// Lists and mappings are nested too deeply.
    TooDeep Error "E004" "too-deep"
    /// The file has too many values, aliases counted each time.
    TooManyValues Error "E005" "too-many-values"
    /// An alias that points nowhere or into itself.
    BadAlias Error "E006" "bad-alias"
    /// More than one YAML document in the file.
    SeveralDocuments Error "E007" "several-documents"
    /// A key that stands twice in one mapping.
    DuplicateKey Error "E008" "duplicate-key"
    /// The file holds no mapping.
    NotAMapping Error "E009" "not-a-mapping"
    /// A key that is not text.
    BadKey Error "E010" "bad-key"
    /// A YAML tag that means nothing here.
    UnknownTag Error "E011" "unknown-tag"
    /// A key that the format does not have.
    UnknownKey Error "E012" "unknown-key"
    /// A value of the wrong type.
    WrongType Error "E013" "wrong-type"
    /// A key that must be there.
    MissingKey Error "E014" "missing-key"
    /// A word that is not one of those allowed.
    UnknownValue Error "E015" "unknown-value"
    /// A number beyond its limits.
    OutOfRange Error "E016" "out-of-range"
    /// A duration that cannot be read.
    BadDuration Error "E017" "bad-duration"
    /// A number of instances that cannot be read.
    BadQuantity Error "E018" "bad-quantity"
    /// A text of the wrong form: a name, a path, a host.
    BadFormat Error "E019" "bad-format"
    /// A name or port that stands twice in a list.
    DuplicateName Error "E020" "duplicate-name"
    /// Two keys that cannot both hold.
    Contradiction Error "E021" "contradiction"
    /// A key that means nothing for this kind of work.
    WrongKind Error "E022" "wrong-kind"
    /// A schedule that cannot be read.
    BadSchedule Error "E023" "bad-schedule"
    /// A time zone that does not exist.
    UnknownTimezone Error "E024" "unknown-timezone"
    /// A reference to a data store that cannot be read.
    BadDatabase Error "E025" "bad-database"
    /// The process engine has nothing to run.
    NoCommand Error "E030" "no-command"
    /// The app cannot run on this engine.
    WrongEngine Error "E031" "wrong-engine"
    /// An old form of `run.type`.
    LegacyType Warning "W101" "legacy-type"
    /// A key whose time has passed.
    LegacyKey Warning "W102" "legacy-key"
    /// A key without a value.
    NullValue Warning "W103" "null-value"
    /// A value that was never filled in.
    Placeholder Warning "W104" "placeholder"
    /// An e-mail address where the name of a team belongs.
    TeamAddress Warning "W105" "team-address"
    /// A key of a data store that Ark does not know.
    UnknownStoreKey Warning "W106" "unknown-store-key"
    /// A setting that has no effect beside another one.
    NoEffect Warning "W107" "no-effect"
    /// A value that stands twice in a list.
    RepeatedValue Warning "W108" "repeated-value"
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// The line a finding is about, cut to what fits a terminal, and what to underline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snippet {
    /// The line without control characters.
    pub text: String,
    /// Characters before the underlined part.
    pub offset: usize,
    /// Characters that are underlined, at least one.
    pub length: usize,
}

/// Characters of a line that are shown.
const SNIPPET_CHARS_MAX: usize = 100;

/// Characters kept before the underlined part when a line is cut.
const SNIPPET_CHARS_BEFORE: usize = 40;

impl Snippet {
    /// Cuts the snippet out of a line; `column` counts characters from 1, `length` is of what is underlined.
    pub fn of_line(line: &str, column: usize, length: usize) -> Self {
        let start = column.saturating_sub(1).min(line.chars().count());
        let skipped = if start + length > SNIPPET_CHARS_MAX {
            start.saturating_sub(SNIPPET_CHARS_BEFORE)
        } else {
            0
        };
        let text: String = line
            .chars()
            .skip(skipped)
            .take(SNIPPET_CHARS_MAX)
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        let offset = start - skipped;
        let length = length.clamp(1, SNIPPET_CHARS_MAX.saturating_sub(offset).max(1));
        Self { text: text.trim_end().to_owned(), offset, length }
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The rule.
    pub code: Code,
    /// Whether it refuses the file.
    pub severity: Severity,
    /// What is wrong, lower-case, without a final stop, naming the noun.
    pub message: String,
    /// Line, from 1; 0 when the finding is about no place in the file.
    pub line: usize,
    /// Column in characters, from 1; 0 with line 0.
    pub column: usize,
    /// The line, when there is one.
    pub snippet: Option<Snippet>,
    /// What was probably meant: the text to put in place of the underlined one.
    pub suggestion: Option<String>,
    /// Where in the definition: `alarms[0].paramaters`; empty for the whole file.
    pub path: String,
}

impl Diagnostic {
    /// A finding about no place in a file.
    pub fn new(code: Code, path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: code.severity(),
            message: message.into(),
            line: 0,
            column: 0,
            snippet: None,
            suggestion: None,
            path: path.into(),
        }
    }

    /// The message with the suggestion, on one line: what a log or a problem answer shows.
    pub fn sentence(&self) -> String {
        match &self.suggestion {
            Some(suggestion) => format!("{}; did you mean `{suggestion}`?", self.message),
            None => self.message.clone(),
        }
    }

    /// The finding as the terminal shows it: code, words, the line, the underlining. Each line is
    /// indented to stand under the name of the file; no final line break.
    pub fn render(&self) -> String {
        let mut out = format!("  {} {}", self.code, self.sentence());
        if let Some(snippet) = &self.snippet {
            out.push_str(&format!("\n{:>5} │ {}", self.line, snippet.text));
            out.push_str(&format!(
                "\n      │ {}{}",
                " ".repeat(snippet.offset),
                "^".repeat(snippet.length)
            ));
        }
        out
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.sentence())?;
        if self.line > 0 {
            write!(f, " (line {}, column {})", self.line, self.column)?;
        }
        Ok(())
    }
}

impl Serialize for Diagnostic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Diagnostic", 6)?;
        out.serialize_field("code", &self.code)?;
        out.serialize_field("severity", &self.severity)?;
        out.serialize_field("message", &self.message)?;
        out.serialize_field("line", &self.line)?;
        out.serialize_field("column", &self.column)?;
        out.serialize_field("suggestion", &self.suggestion)?;
        out.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Diagnostic {
        Diagnostic {
            line: 14,
            column: 3,
            snippet: Some(Snippet::of_line("  paramaters:", 3, 10)),
            suggestion: Some("parameters".to_owned()),
            ..Diagnostic::new(
                Code::UnknownKey,
                "alarms[0].paramaters",
                "unknown key `paramaters` in alarms[0]",
            )
        }
    }

    #[test]
    fn a_finding_shows_the_line_and_underlines() {
        assert_eq!(
            example().render(),
            "  E012 unknown key `paramaters` in alarms[0]; did you mean `parameters`?\n\
             \u{20}  14 │   paramaters:\n\
             \u{20}     │   ^^^^^^^^^^"
        );
    }

    #[test]
    fn json_has_the_six_promised_keys() {
        assert_eq!(
            serde_json::to_value(example()).unwrap(),
            serde_json::json!({
                "code": "E012",
                "severity": "error",
                "message": "unknown key `paramaters` in alarms[0]",
                "line": 14,
                "column": 3,
                "suggestion": "parameters",
            })
        );
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let line = format!("{}here{}", "a".repeat(5000), "b".repeat(5000));
        let snippet = Snippet::of_line(&line, 5001, 4);
        assert_eq!(snippet.text.chars().count(), SNIPPET_CHARS_MAX);
        let shown: String =
            snippet.text.chars().skip(snippet.offset).take(snippet.length).collect();
        assert_eq!(shown, "here");
        let snippet = Snippet::of_line("a\tb\u{7}c", 500, 0);
        assert_eq!(snippet.text, "a b c");
        assert_eq!(snippet.length, 1);
    }

    #[test]
    fn codes_are_unique_and_their_letter_is_their_severity() {
        let mut texts: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        let mut slugs: Vec<_> = Code::ALL.iter().map(|code| code.slug()).collect();
        for list in [&mut texts, &mut slugs] {
            list.sort_unstable();
            list.dedup();
            assert_eq!(list.len(), Code::ALL.len());
        }
        for code in Code::ALL {
            let letter = match code.severity() {
                Severity::Error => 'E',
                Severity::Warning => 'W',
            };
            assert!(code.as_str().starts_with(letter), "{code}");
        }
    }
}
