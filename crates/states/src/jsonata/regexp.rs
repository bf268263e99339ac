//! Regular expressions: the reference's (JavaScript's) syntax on a matcher that takes linear time.
//!
//! What such a matcher cannot do, look-around and back references, is a syntax error.

use regex::{Regex, RegexBuilder};

/// A compiled pattern.
#[derive(Debug)]
pub(super) struct Pattern {
    pub(super) regex: Regex,
    /// `/pattern/flags` as written.
    pub(super) text: String,
}

impl Pattern {
    /// Compiles a pattern with the flags `i` and `m`; the compiled size is bounded.
    pub(super) fn compile(pattern: &str, flags: &str) -> Result<Self, String> {
        let mut builder = RegexBuilder::new(&translate(pattern));
        builder.size_limit(1 << 20).dfa_size_limit(1 << 20).nest_limit(100);
        for flag in flags.chars() {
            match flag {
                'i' => builder.case_insensitive(true),
                'm' => builder.multi_line(true),
                _ => return Err(format!("unknown flag '{flag}'")),
            };
        }
        match builder.build() {
            Ok(regex) => Ok(Self { regex, text: format!("/{pattern}/{flags}") }),
            Err(regex::Error::CompiledTooBig(_)) => Err("the pattern is too large".to_owned()),
            Err(_) => Err("the pattern is not supported".to_owned()),
        }
    }
}

/// JavaScript's syntax as this matcher reads it: `\d`, `\w` and `\b` mean ASCII, brackets and
/// ampersands inside a class mean themselves, a brace that opens no count means itself.
fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut in_class = false;
    let chars: Vec<char> = pattern.chars().collect();
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        at += 1;
        match c {
            '\\' => {
                let Some(&next) = chars.get(at) else {
                    out.push('\\');
                    break;
                };
                at += 1;
                match next {
                    'd' => out.push_str("[0-9]"),
                    'D' => out.push_str("[^0-9]"),
                    'w' => out.push_str("[0-9A-Za-z_]"),
                    'W' => out.push_str("[^0-9A-Za-z_]"),
                    'b' if in_class => out.push_str("\\x08"),
                    'b' => out.push_str("(?-u:\\b)"),
                    '/' => out.push('/'),
                    '<' | '>' => out.push(next),
                    next => {
                        out.push('\\');
                        out.push(next);
                    }
                }
            }
            '[' if in_class => out.push_str("\\["),
            '[' => {
                in_class = true;
                out.push('[');
                if chars.get(at) == Some(&'^') {
                    at += 1;
                    out.push('^');
                }
            }
            ']' => {
                in_class = false;
                out.push(']');
            }
            '&' | '~' if in_class => {
                out.push('\\');
                out.push(c);
            }
            '{' if !in_class && !opens_count(&chars[at..]) => out.push_str("\\{"),
            c => out.push(c),
        }
    }
    out
}

/// Whether what follows a brace is a count: `3}`, `3,}`, `3,5}`.
fn opens_count(rest: &[char]) -> bool {
    let Some(end) = rest.iter().position(|c| *c == '}') else { return false };
    rest.first().is_some_and(char::is_ascii_digit)
        && rest[..end].iter().all(|c| c.is_ascii_digit() || *c == ',')
}
