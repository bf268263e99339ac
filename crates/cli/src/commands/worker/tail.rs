//! The last lines that a command wrote, of both streams in the order they came, for people who look why
//! a task failed. Secrets that the worker knows by their variables are left out of them.

use std::collections::VecDeque;

/// Lines that are kept, and bytes of each.
const LINES: usize = 30;
const LINE_BYTES: usize = 1_000;
/// Shorter values are no secrets, and would be found in anything.
const SECRET_BYTES_MIN: usize = 6;
/// Words in the names of variables that hold secrets.
const SECRET_WORDS: [&str; 9] = [
    "SECRET",
    "TOKEN",
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "CREDENTIAL",
    "AUTHORIZATION",
    "PRIVATE",
    "KEY",
];

/// Keeps the newest lines.
#[derive(Debug, Default)]
pub(super) struct Tail(VecDeque<String>);

impl Tail {
    fn push(&mut self, line: &[u8]) {
        if self.0.len() == LINES {
            self.0.pop_front();
        }
        let line = &line[..line.len().min(LINE_BYTES)];
        self.0.push_back(String::from_utf8_lossy(line).trim_end().to_owned());
    }

    /// What is kept.
    pub(super) fn text(&self) -> String {
        let lines: Vec<&str> = self.0.iter().map(String::as_str).collect();
        lines.join("\n").trim_end().to_owned()
    }
}

/// Cuts the bytes of one stream into lines.
#[derive(Debug, Default)]
pub(super) struct Lines(Vec<u8>);

impl Lines {
    /// Takes what was read; lines that are whole go into the tail.
    pub(super) fn push(&mut self, bytes: &[u8], tail: &mut Tail) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (piece, whole) = match piece.strip_suffix(b"\n") {
                Some(piece) => (piece, true),
                None => (piece, false),
            };
            let room = LINE_BYTES.saturating_sub(self.0.len());
            self.0.extend_from_slice(&piece[..piece.len().min(room)]);
            if whole {
                tail.push(&self.0);
                self.0.clear();
            }
        }
    }

    /// The stream is over: a line without an end is one, too.
    pub(super) fn end(&mut self, tail: &mut Tail) {
        if !self.0.is_empty() {
            tail.push(&self.0);
            self.0.clear();
        }
    }
}

/// Values that must not be sent, and what stands for each.
#[derive(Debug, Clone, Default)]
pub(super) struct Secrets(Vec<(String, String)>);

impl Secrets {
    /// Those among some variables: by their names, and passwords within addresses.
    pub(super) fn among(variables: impl Iterator<Item = (String, String)>) -> Self {
        let mut found = Vec::new();
        for (name, value) in variables {
            let upper = name.to_uppercase();
            let secret = if SECRET_WORDS.iter().any(|word| upper.contains(word)) {
                value
            } else {
                password_in(&value).unwrap_or_default().to_owned()
            };
            if secret.len() >= SECRET_BYTES_MIN {
                found.push((secret, format!("[{name}]")));
            }
        }
        // One that is the beginning of another must not leave the other's rest.
        found.sort_by_key(|(secret, _)| std::cmp::Reverse(secret.len()));
        Self(found)
    }

    /// A text without them.
    pub(super) fn left_out_of(&self, text: &str) -> String {
        let replace = |text: String, (secret, name): &(String, String)| {
            if text.contains(secret.as_str()) { text.replace(secret.as_str(), name) } else { text }
        };
        self.0.iter().fold(text.to_owned(), replace)
    }
}

/// The password of `scheme://user:password@host`.
fn password_in(address: &str) -> Option<&str> {
    let (_, rest) = address.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let (user, _) = authority.rsplit_once('@')?;
    Some(user.split_once(':')?.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_lines_of_both_streams_are_kept() {
        let mut tail = Tail::default();
        let (mut out, mut err) = (Lines::default(), Lines::default());
        out.push(b"one\ntw", &mut tail);
        err.push(b"oops\r\n", &mut tail);
        out.push(b"o\nend", &mut tail);
        out.end(&mut tail);
        out.end(&mut tail);
        assert_eq!(tail.text(), "one\noops\ntwo\nend");
        out.push(&[b'x'; 5_000], &mut tail);
        out.push(b"y\n", &mut tail);
        assert_eq!(tail.text().lines().last().map(str::len), Some(LINE_BYTES));
        for n in 0..100 {
            err.push(format!("{n}\n").as_bytes(), &mut tail);
        }
        let text = tail.text();
        assert_eq!((text.lines().count(), text.lines().next()), (LINES, Some("70")));
        let mut bytes = Tail::default();
        err.push(b"\xff\xfe\n", &mut bytes);
        assert_eq!(bytes.text(), "\u{fffd}\u{fffd}");
    }

    #[test]
    fn secrets_are_left_out() {
        let variables = [
            ("API_KEY", "hunter2-long"),
            ("DB_PASSWORD", "hunter2"),
            ("SHORT_TOKEN", "abc"),
            ("DATABASE_URL", "postgres://app:s3cr3t-pw@db:5432/app"),
            ("HOME", "/home/worker"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let secrets = Secrets::among(variables.into_iter());
        for (text, expect) in [
            ("key hunter2-long, then hunter2", "key [API_KEY], then [DB_PASSWORD]"),
            ("abc /home/worker", "abc /home/worker"),
            ("postgres://app:s3cr3t-pw@db", "postgres://app:[DATABASE_URL]@db"),
        ] {
            assert_eq!(secrets.left_out_of(text), expect, "{text}");
        }
    }
}
