//! Numbers, times and deployments as people read them; the command line says them alike.

use std::fmt;

pub(crate) use ark_model::address::{segment, value};
use ark_model::artifact::Artifact;
use ark_model::deployment::DeploymentKind;
use ark_model::workflow::ExecutionStatus;
use ark_model::{DeploymentState, ReleaseNumber};
use askama::filters::HtmlSafe;
use jiff::Timestamp;

/// `12,884`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 instance`, `3 instances`.
pub(crate) fn counted(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(number), if number == 1 { "" } else { "s" })
}

/// A text of so many characters at most; what is cut ends so.
pub(crate) fn shortened(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// `412`, `0.4`: requests per second.
pub(crate) fn rate(per_second: f64) -> String {
    match per_second {
        0.0 => "0".to_owned(),
        small if small < 0.05 => "<0.1".to_owned(),
        small if small < 9.95 => format!("{small:.1}"),
        many => count(many.round() as u64),
    }
}

/// `0`, `3 (0.02 %)`: failures with their share of all.
pub(crate) fn failures(failed: u64, all: u64) -> String {
    if failed == 0 {
        return "0".to_owned();
    }
    let share = 100.0 * failed as f64 / all.max(failed) as f64;
    format!("{} ({share:.2} %)", count(failed))
}

/// `38 ms`, `4.1 s`, `31 s`, `5 m`, `3 h`, `9 d`.
pub(crate) fn length(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..10_000 if !ms.is_multiple_of(1_000) => {
            format!("{}.{} s", ms / 1_000, ms % 1_000 / 100)
        }
        1_000..120_000 => format!("{} s", ms / 1_000),
        120_000..7_200_000 => format!("{} m", ms / 60_000),
        7_200_000..172_800_000 => format!("{} h", ms / 3_600_000),
        _ => format!("{} d", ms / 86_400_000),
    }
}

/// From one instant to another, without milliseconds; nothing when the clock went back.
pub(crate) fn between(from: Timestamp, to: Timestamp) -> String {
    let ms = u64::try_from(to.as_millisecond() - from.as_millisecond()).unwrap_or(0);
    if ms < 1_000 { "0 s".to_owned() } else { length(ms / 1_000 * 1_000) }
}

/// `3.4 MB`, in powers of ten.
pub(crate) fn bytes(number: u64) -> String {
    let mut value = number as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        // What would be printed as 1000.0 belongs to the next unit.
        if value < 999.95 {
            return match unit {
                "B" => format!("{number} B"),
                _ => format!("{value:.1} {unit}"),
            };
        }
        value /= 1_000.0;
    }
    format!("{value:.1} TB")
}

/// `directory 3fa1b2c4d5e6`, `image web@sha256:61ab…`.
pub(crate) fn artifact(artifact: &Artifact) -> String {
    match artifact {
        Artifact::Directory { digest } => format!("directory {}", digest.short()),
        Artifact::Image { reference, digest: Some(digest) } => {
            format!("image {reference}@{digest}")
        }
        Artifact::Image { reference, digest: None } => format!("image {reference}"),
        Artifact::None => "command only".to_owned(),
    }
}

/// `v42`, or a dash.
pub(crate) fn release(number: Option<ReleaseNumber>) -> String {
    number.map_or_else(|| "–".to_owned(), |number| number.to_string())
}

/// An instant, printed as `<time>`: in words, with the exact instant on hover. The script shows
/// that in the reader's zone.
#[derive(Debug, Clone)]
pub(crate) struct When {
    at: Timestamp,
    words: String,
    /// How the script says it anew in the reader's zone; the class of the element.
    anew: &'static str,
}

impl When {
    /// `3 m ago`.
    pub(crate) fn ago(at: Timestamp, now: Timestamp) -> Self {
        let words = match at > now {
            true => format!("in {}", between(now, at)),
            false => format!("{} ago", between(at, now)),
        };
        Self { at, words, anew: "" }
    }

    /// `1 Jan 2036, 08:00 UTC`, which the script turns into the reader's zone.
    pub(crate) fn date(at: Timestamp) -> Self {
        Self { at, words: at.strftime("%-d %b %Y, %H:%M UTC").to_string(), anew: "date" }
    }

    /// `12:04:31.220`: the clock in UTC, which the script turns into the reader's.
    pub(crate) fn clock(at: Timestamp) -> Self {
        Self { at, words: at.strftime("%H:%M:%S.%3f").to_string(), anew: "clock" }
    }

    /// `3 m`: how long it is until then.
    pub(crate) fn until(at: Timestamp, now: Timestamp) -> Self {
        Self { at, words: between(now, at), anew: "" }
    }

    /// `3 m`: for how long.
    pub(crate) fn since(at: Timestamp, now: Timestamp) -> Self {
        Self { at, words: between(at, now), anew: "" }
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Nothing here is text of somebody else's: digits, colons and units.
        let exact = self.at.strftime("%Y-%m-%d %H:%M:%S UTC");
        let Self { at, words, anew } = self;
        let class = match anew.is_empty() {
            true => String::new(),
            false => format!(" class=\"{anew}\""),
        };
        write!(f, "<time{class} datetime=\"{at:.3}\" title=\"{exact}\">{words}</time>")
    }
}

impl HtmlSafe for When {}

/// A name among the words of a command, whatever is in it: commands on pages are copied and run. One
/// that begins as an option does stands behind the sign that there are no more of them.
pub(crate) fn operand(word: &str) -> String {
    match word.starts_with('-') {
        true => format!("-- {}", shell(word)),
        false => shell(word),
    }
}

/// A word as a shell takes it, whatever is in it.
pub(crate) fn shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@+,%".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

/// A state of an execution as a colour, and in words.
pub(crate) fn execution(status: ExecutionStatus) -> (Tone, &'static str) {
    match status {
        ExecutionStatus::Running => (Tone::Busy, "running"),
        ExecutionStatus::Succeeded => (Tone::Good, "succeeded"),
        ExecutionStatus::Failed => (Tone::Bad, "failed"),
        ExecutionStatus::TimedOut => (Tone::Bad, "timed out"),
        ExecutionStatus::Aborted => (Tone::Quiet, "stopped"),
        ExecutionStatus::PendingRedrive => (Tone::Busy, "waits for its redrive"),
    }
}

/// How a thing is, as a colour; the words beside it say the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Good,
    Busy,
    Bad,
    Quiet,
}

impl Tone {
    /// The class in the stylesheet.
    pub(crate) const fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Busy => "busy",
            Self::Bad => "bad",
            Self::Quiet => "quiet",
        }
    }

    /// A mark for those who do not see colours.
    pub(crate) const fn mark(self) -> &'static str {
        match self {
            Self::Good => "✓",
            Self::Busy => "▸",
            Self::Bad => "✗",
            Self::Quiet => "–",
        }
    }
}

/// A state of a deployment as a colour.
pub(crate) fn deployment_tone(state: DeploymentState) -> Tone {
    match state {
        DeploymentState::Succeeded => Tone::Good,
        DeploymentState::Queued
        | DeploymentState::Replacing
        | DeploymentState::Stepping
        | DeploymentState::Keeping
        | DeploymentState::Draining
        | DeploymentState::Returning => Tone::Busy,
        DeploymentState::RolledBack | DeploymentState::Failed | DeploymentState::TimedOut => {
            Tone::Bad
        }
        DeploymentState::Superseded => Tone::Quiet,
    }
}

/// A state of a deployment in words.
pub(crate) fn deployment_state(state: DeploymentState) -> &'static str {
    match state {
        DeploymentState::Queued => "waiting",
        DeploymentState::Replacing => "replacing",
        DeploymentState::Stepping => "stepping",
        DeploymentState::Keeping => "live, old side kept",
        DeploymentState::Draining => "live, old side ending",
        DeploymentState::Returning => "going back",
        DeploymentState::Succeeded => "succeeded",
        DeploymentState::RolledBack => "rolled back",
        DeploymentState::Failed => "failed",
        DeploymentState::TimedOut => "timed out",
        DeploymentState::Superseded => "superseded",
    }
}

/// What a deployment that has ended did: `0 of 18,204 failed`, or why it failed, or both. Empty when
/// there was nothing to serve.
pub(crate) fn outcome(diagnosis: Option<&str>, lost: Option<(u64, u64)>) -> String {
    let traffic = lost.map(|(lost, all)| format!("{} of {} failed", count(lost), count(all)));
    let parts: Vec<String> = diagnosis.map(str::to_owned).into_iter().chain(traffic).collect();
    parts.join("; ")
}

/// `v14`, `rollback to v13`.
pub(crate) fn what(kind: DeploymentKind, release: ReleaseNumber) -> String {
    match kind {
        DeploymentKind::Deploy => release.to_string(),
        DeploymentKind::Rollback => format!("rollback to {release}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_lengths_read_as_in_the_terminal() {
        for (number, expect) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")]
        {
            assert_eq!(count(number), expect);
        }
        for (value, expect) in
            [(0.0, "0"), (0.01, "<0.1"), (0.44, "0.4"), (9.96, "10"), (412.4, "412")]
        {
            assert_eq!(rate(value), expect);
        }
        for (ms, expect) in
            [(0, "0 ms"), (4_130, "4.1 s"), (31_400, "31 s"), (120_000, "2 m"), (7_200_000, "2 h")]
        {
            assert_eq!(length(ms), expect);
        }
        assert_eq!(failures(3, 100), "3 (3.00 %)");
    }

    #[test]
    fn what_is_copied_is_one_word_to_a_shell_and_one_part_to_an_address() {
        for (word, expect) in [
            ("resize:8f2c", "resize:8f2c"),
            ("", "''"),
            ("$(reboot)", "'$(reboot)'"),
            ("it's; reboot", "'it'\\''s; reboot'"),
            ("a\nb", "'a\nb'"),
        ] {
            assert_eq!(shell(word), expect);
        }
        assert_eq!(operand("--help"), "-- --help");
        assert_eq!(operand("it's"), "'it'\\''s'");
    }

    #[test]
    fn an_instant_has_words_and_the_exact_time() {
        let at: Timestamp = "2026-05-01T12:00:00Z".parse().expect("an instant");
        let later: Timestamp = "2026-05-01T12:03:10Z".parse().expect("an instant");
        let text = When::ago(at, later).to_string();
        let expect = "<time datetime=\"2026-05-01T12:00:00.000Z\" \
                      title=\"2026-05-01 12:00:00 UTC\">3 m ago</time>";
        assert_eq!(text, expect);
        assert!(When::ago(later, at).to_string().contains(">in 3 m<"));
    }
}
