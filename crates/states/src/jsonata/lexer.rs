//! Text to tokens, one at a time: whether `/` begins a pattern depends on what stands before it.

use std::sync::Arc;

use super::error::{Error, Result};
use super::regexp::Pattern;
use crate::value::Number;

#[derive(Debug, Clone)]
pub(super) enum Token {
    /// A sign, or `and`, `or`, `in`.
    Operator(&'static str),
    Name(Arc<str>),
    Variable(Arc<str>),
    Str(Arc<str>),
    Num(Number),
    Null,
    Bool(bool),
    Regex(Arc<Pattern>),
    End,
}

impl Token {
    /// Whether messages show it without quotes.
    pub(super) fn is_bare(&self) -> bool {
        matches!(self, Self::Num(_) | Self::Null | Self::Bool(_))
    }

    /// The token as messages show it.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Operator(sign) => (*sign).to_owned(),
            Self::Name(text) | Self::Variable(text) | Self::Str(text) => text.to_string(),
            Self::Num(number) => number.to_string(),
            Self::Null => "null".to_owned(),
            Self::Bool(flag) => flag.to_string(),
            Self::Regex(pattern) => pattern.text.clone(),
            Self::End => "(end)".to_owned(),
        }
    }
}

/// Signs, the longer ones first.
const SIGNS: [&str; 31] = [
    "..", ":=", "!=", ">=", "<=", "**", "~>", ".", "[", "]", "{", "}", "(", ")", ",", "@", "#",
    ";", ":", "?", "+", "-", "*", "/", "%", "|", "=", "<", ">", "^", "&",
];

pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// The next token; `operand` says whether an operand may stand here, so that `/` is a pattern.
    pub(super) fn next(&mut self, operand: bool) -> Result<Token> {
        self.blanks()?;
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return Ok(Token::End) };
        if operand && first == '/' {
            return self.regex();
        }
        if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            self.at += sign.len();
            return Ok(Token::Operator(sign));
        }
        match first {
            '"' | '\'' => self.string(first),
            '0'..='9' => self.number(),
            '`' => {
                let name = &rest[1..];
                let Some(end) = name.find('`') else { return Err(Error::new("S0105")) };
                self.at += end + 2;
                Ok(Token::Name(name[..end].into()))
            }
            '!' | '~' => Err(Error::new("S0204").token(first)),
            _ => Ok(self.word()),
        }
    }

    fn blanks(&mut self) -> Result<()> {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start_matches([' ', '\t', '\n', '\r', '\u{b}']);
            self.at += rest.len() - trimmed.len();
            let Some(comment) = trimmed.strip_prefix("/*") else { return Ok(()) };
            let Some(end) = comment.find("*/") else { return Err(Error::new("S0106")) };
            self.at += end + 4;
        }
    }

    fn word(&mut self) -> Token {
        let rest = self.rest();
        let end = rest
            .find(|c: char| {
                matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{b}' | '!' | '~')
                    || SIGNS.iter().any(|sign| sign.len() == 1 && sign.starts_with(c))
            })
            .unwrap_or(rest.len());
        self.at += end;
        let word = &rest[..end];
        if let Some(name) = word.strip_prefix('$') {
            return Token::Variable(name.into());
        }
        match word {
            "and" => Token::Operator("and"),
            "or" => Token::Operator("or"),
            "in" => Token::Operator("in"),
            "true" => Token::Bool(true),
            "false" => Token::Bool(false),
            "null" => Token::Null,
            name => Token::Name(name.into()),
        }
    }

    fn number(&mut self) -> Result<Token> {
        let bytes = self.rest().as_bytes();
        let digits = |from: usize| bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
        // A leading zero stands alone, as in JSON.
        let mut end = if bytes[0] == b'0' { 1 } else { digits(0) };
        if bytes.get(end) == Some(&b'.') && digits(end + 1) > 0 {
            end += 1 + digits(end + 1);
        }
        if matches!(bytes.get(end), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
            if end + 1 + sign <= bytes.len() && digits(end + 1 + sign) > 0 {
                end += 1 + sign + digits(end + 1 + sign);
            }
        }
        let text = &self.rest()[..end];
        self.at += end;
        match text.parse::<f64>() {
            Ok(float) if float.is_finite() => Ok(Token::Num(match text.parse::<i64>() {
                Ok(whole) if whole.unsigned_abs() <= 1 << 53 => Number::Int(whole),
                _ => Number::Float(float),
            })),
            _ => Err(Error::new("S0102").token(text)),
        }
    }

    fn string(&mut self, quote: char) -> Result<Token> {
        let mut out = String::new();
        let begin = self.at + 1;
        let mut chars = self.text[begin..].char_indices();
        // The first half of a pair of surrogates that waits for the second.
        let mut high: Option<u32> = None;
        while let Some((at, c)) = chars.next() {
            let mut unit = None;
            let c = match c {
                c if c == quote => {
                    if high.is_some() {
                        out.push(char::REPLACEMENT_CHARACTER);
                    }
                    self.at = begin + at + 1;
                    return Ok(Token::Str(out.into()));
                }
                '\\' => match chars.next() {
                    Some((_, c @ ('"' | '\\' | '/'))) => c,
                    Some((_, 'b')) => '\u{8}',
                    Some((_, 'f')) => '\u{c}',
                    Some((_, 'n')) => '\n',
                    Some((_, 'r')) => '\r',
                    Some((_, 't')) => '\t',
                    Some((_, 'u')) => {
                        let hex: String = chars.by_ref().take(4).map(|(_, c)| c).collect();
                        let all_hex = hex.len() == 4 && hex.chars().all(|c| c.is_ascii_hexdigit());
                        let Some(code) = u32::from_str_radix(&hex, 16).ok().filter(|_| all_hex)
                        else {
                            return Err(Error::new("S0104"));
                        };
                        unit = Some(code);
                        char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
                    }
                    Some((_, c)) => return Err(Error::new("S0103").token(c)),
                    None => break,
                },
                c => c,
            };
            match (high.take(), unit) {
                (None, Some(code @ 0xd800..0xdc00)) => high = Some(code),
                (Some(first), Some(second @ 0xdc00..0xe000)) => {
                    let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                    out.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                }
                (Some(_), Some(code @ 0xd800..0xdc00)) => {
                    out.push(char::REPLACEMENT_CHARACTER);
                    high = Some(code);
                }
                (lone, _) => {
                    if lone.is_some() {
                        out.push(char::REPLACEMENT_CHARACTER);
                    }
                    out.push(c);
                }
            }
        }
        Err(Error::new("S0101"))
    }

    fn regex(&mut self) -> Result<Token> {
        let begin = self.at + 1;
        let mut escaped = false;
        let mut depth = 0_i32;
        for (at, c) in self.text[begin..].char_indices() {
            if !escaped && c == '/' && depth == 0 {
                if at == 0 {
                    return Err(Error::new("S0301"));
                }
                let pattern = &self.text[begin..begin + at];
                self.at = begin + at + 1;
                let rest = self.rest();
                let flags = &rest[..rest.len() - rest.trim_start_matches(['i', 'm']).len()];
                self.at += flags.len();
                return match Pattern::compile(pattern, flags) {
                    Ok(pattern) => Ok(Token::Regex(pattern.into())),
                    Err(problem) => Err(Error::message("S0302", problem)),
                };
            }
            if !escaped {
                match c {
                    '(' | '[' | '{' => depth += 1,
                    ')' | ']' | '}' => depth -= 1,
                    _ => {}
                }
            }
            escaped = !escaped && c == '\\';
        }
        Err(Error::new("S0302"))
    }
}
