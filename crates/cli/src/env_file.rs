//! `.env` files: lines `NAME=VALUE`, comments, quotes. Pure; `ark config import` calls it.

use std::collections::BTreeMap;

/// What is wrong with a file. Never holds a value: it may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EnvFileError {
    /// A line that is not `NAME=VALUE`.
    #[error("line {0} is not NAME=VALUE")]
    NotAPair(usize),
    /// A name with other characters than letters, digits and `_`, or beginning with a digit.
    #[error("line {0} has no proper name before the `=`")]
    BadName(usize),
    /// A quote that does not end.
    #[error("the quote that begins in line {0} does not end")]
    OpenQuote(usize),
    /// Text after the closing quote.
    #[error("line {0} has text after the closing quote")]
    AfterQuote(usize),
}

/// Reads a file. A name that is set twice has the last value, as a shell would give it.
pub(crate) fn parse(text: &str) -> Result<BTreeMap<String, String>, EnvFileError> {
    let mut values = BTreeMap::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let number = index + 1;
        let line = line.trim_start();
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").map_or(line, str::trim_start);
        let (name, value) = line.split_once('=').ok_or(EnvFileError::NotAPair(number))?;
        let name = name.trim_end();
        if !is_name(name) {
            return Err(EnvFileError::BadName(number));
        }
        let value = value.trim_start();
        let value = match value.chars().next() {
            Some(quote @ ('"' | '\'')) => {
                let mut quoted = value[1..].to_owned();
                loop {
                    match unquote(&quoted, quote, number)? {
                        Some(value) => break value,
                        None => {
                            let (_, more) = lines.next().ok_or(EnvFileError::OpenQuote(number))?;
                            quoted.push('\n');
                            quoted.push_str(more);
                        }
                    }
                }
            }
            Some(_) | None => plain(value),
        };
        values.insert(name.to_owned(), value);
    }
    Ok(values)
}

fn is_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Without quotes a comment begins at ` #`.
fn plain(value: &str) -> String {
    let end = value
        .match_indices('#')
        .find(|(at, _)| value[..*at].is_empty() || value[..*at].ends_with(char::is_whitespace));
    value[..end.map_or(value.len(), |(at, _)| at)].trim_end().to_owned()
}

/// The value when the closing quote is there; `None` when it is still to come.
fn unquote(text: &str, quote: char, line: usize) -> Result<Option<String>, EnvFileError> {
    let mut value = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            c if c == quote => {
                let rest = chars.as_str().trim_start();
                return if rest.is_empty() || rest.starts_with('#') {
                    Ok(Some(value))
                } else {
                    Err(EnvFileError::AfterQuote(line))
                };
            }
            '\\' if quote == '"' => match chars.next() {
                Some('n') => value.push('\n'),
                Some('r') => value.push('\r'),
                Some('t') => value.push('\t'),
                Some(c @ ('"' | '\\' | '$' | '`')) => value.push(c),
                Some(c) => value.extend(['\\', c]),
                None => value.push('\\'),
            },
            c => value.push(c),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_a_shell_would() {
        for (text, expect) in [
            ("A=1", Ok(vec![("A", "1")])),
            ("# x\n\n  export A = b c # d\nB=\n", Ok(vec![("A", "b c"), ("B", "")])),
            ("A=a#b", Ok(vec![("A", "a#b")])),
            ("A=#b", Ok(vec![("A", "")])),
            ("A='a # \"b\" \\n' # c", Ok(vec![("A", "a # \"b\" \\n")])),
            (r#"A="a\n\"b\" \$x \d""#, Ok(vec![("A", "a\n\"b\" $x \\d")])),
            ("A=\"-----\nkey\n-----\"\nB=2", Ok(vec![("A", "-----\nkey\n-----"), ("B", "2")])),
            ("A=1\r\nB=2\r\n", Ok(vec![("A", "1"), ("B", "2")])),
            ("A=1\nA=2", Ok(vec![("A", "2")])),
            ("A=x=y", Ok(vec![("A", "x=y")])),
            ("A", Err(EnvFileError::NotAPair(1))),
            ("A=1\n2B=3", Err(EnvFileError::BadName(2))),
            ("a-b=3", Err(EnvFileError::BadName(1))),
            ("=3", Err(EnvFileError::BadName(1))),
            ("A=\"x\nB=2", Err(EnvFileError::OpenQuote(1))),
            ("A='x'y", Err(EnvFileError::AfterQuote(1))),
        ] {
            let expect = expect.map(|pairs| {
                pairs.into_iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect()
            });
            assert_eq!(parse(text), expect, "{text:?}");
        }
    }
}
