//! Collects findings while a file is judged: puts lines under them, orders them, and stops
//! counting where nobody reads on. Also says what a mistyped word was probably meant to be.

use super::diagnostic::{Code, Diagnostic, Severity, Snippet};
use super::yaml::{Finding, Place, lines};

/// Findings that are kept of one file; a file with more is not a launch file.
const FINDINGS_MAX: usize = 100;

/// Words longer than this are not compared: no key is, and comparing costs their product.
const WORD_BYTES_MAX: usize = 40;

/// Words whose lengths differ by more are not compared.
const LENGTHS_APART_MAX: usize = 6;

/// Characters of a value of the author that are repeated in a message.
const SHOWN_CHARS_MAX: usize = 60;

pub(super) struct Report<'a> {
    lines: Vec<&'a str>,
    diagnostics: Vec<Diagnostic>,
}

impl<'a> Report<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { lines: lines(text), diagnostics: Vec::new() }
    }

    /// Adds a finding about a place in the file.
    pub(super) fn add(
        &mut self,
        code: Code,
        place: Option<Place>,
        path: &str,
        message: impl Into<String>,
    ) {
        self.add_with(code, place, path, message, None);
    }

    /// Adds a finding with what was probably meant.
    pub(super) fn add_with(
        &mut self,
        code: Code,
        place: Option<Place>,
        path: &str,
        message: impl Into<String>,
        suggestion: Option<String>,
    ) {
        // Warnings never push an error out: a file with a hundred of them is still refused for
        // the error that follows.
        let many = self.diagnostics.len() >= FINDINGS_MAX;
        if many && (code.severity() == Severity::Warning || self.has_errors()) {
            return;
        }
        let place = place.unwrap_or_default();
        let snippet = place
            .line
            .checked_sub(1)
            .and_then(|index| self.lines.get(index))
            .map(|line| Snippet::of_line(line, place.column, place.length));
        self.diagnostics.push(Diagnostic {
            line: place.line,
            column: place.column,
            snippet,
            suggestion,
            ..Diagnostic::new(code, path, message)
        });
    }

    pub(super) fn add_reading(&mut self, finding: Finding) {
        self.add(finding.code, finding.place, "", finding.message);
    }

    /// Whether nothing that could still be added would be kept.
    pub(super) fn is_full(&self) -> bool {
        self.diagnostics.len() >= FINDINGS_MAX && self.has_errors()
    }

    pub(super) fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|d| d.severity == Severity::Error)
    }

    /// All findings in the order of the file.
    pub(super) fn finish(mut self) -> Vec<Diagnostic> {
        self.diagnostics.sort_by_key(|d| (d.line, d.column));
        self.diagnostics
    }
}

/// A text of the author, short enough for a message.
pub(super) fn shown(text: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let mut out: String = text.chars().take(SHOWN_CHARS_MAX).map(clean).collect();
    if out.len() < text.len() {
        out.push('…');
    }
    out
}

/// The word of `known` that `word` was probably meant to be.
pub(super) fn closest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    if word.is_empty() || word.len() > WORD_BYTES_MAX {
        return None;
    }
    let folded = fold(word);
    known
        .into_iter()
        .filter(|candidate| word.len().abs_diff(candidate.len()) <= LENGTHS_APART_MAX)
        .map(|candidate| (distance(&folded, &fold(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= allowed(word, candidate))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Every third letter may be wrong, and one always, unless that would be half of the word.
fn allowed(word: &str, candidate: &str) -> usize {
    let letters = word.chars().count().min(candidate.chars().count());
    if letters <= 2 { 0 } else { (letters / 3).max(1) }
}

/// Lower case, split into its words: `soft_limit_mem`, `soft-mem-limit` and `softMemLimit` hold
/// the same ones.
fn fold(word: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut after_lower = false;
    for c in word.chars() {
        let boundary = matches!(c, '_' | '-' | ' ' | '.') || (after_lower && c.is_uppercase());
        if boundary {
            words.push(String::new());
        }
        if !matches!(c, '_' | '-' | ' ' | '.')
            && let Some(last) = words.last_mut()
        {
            last.extend(c.to_lowercase());
        }
        after_lower = c.is_lowercase() || c.is_ascii_digit();
    }
    words.retain(|word| !word.is_empty());
    words
}

fn distance(left: &[String], right: &[String]) -> usize {
    let in_order = strsim::damerau_levenshtein(&left.concat(), &right.concat());
    let sorted = |words: &[String]| {
        let mut words = words.to_vec();
        words.sort_unstable();
        words.concat()
    };
    // Words in another order are one mistake, not eight letters.
    in_order.min(1 + strsim::damerau_levenshtein(&sorted(left), &sorted(right)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_probably_meant() {
        let known = [
            "parameters",
            "extraParameters",
            "soft_mem_limit",
            "max_mem",
            "cpu",
            "dynamodb",
            "s3",
            "sqs",
            "autoDeployEnvs",
            "health_check",
            "env",
            "expose",
            "threshold",
            "period",
            "evaluationPeriods",
            "run",
            "team",
        ];
        for (word, meant) in [
            ("paramaters", Some("parameters")),
            ("extraParamters", Some("extraParameters")),
            ("soft_limit_mem", Some("soft_mem_limit")),
            ("dynamo", Some("dynamodb")),
            ("auto_deploy_envs", Some("autoDeployEnvs")),
            ("healthcheck", Some("health_check")),
            ("healthCheck", Some("health_check")),
            ("CPU", Some("cpu")),
            ("envs", Some("env")),
            ("lifevest", None),
            ("zzz", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(closest(word, known), meant, "{word}");
        }
        assert_eq!(closest(&"parameters".repeat(1000), known), None);
    }
}
