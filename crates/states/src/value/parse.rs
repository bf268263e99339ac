//! A JSON reader with a limit on depth. It exists because number texts and key order must survive.

use std::sync::Arc;

use super::{Number, Object, Value};

/// Levels of arrays and objects within each other that are accepted, in texts and in results (the
/// limit of AWS's reader).
pub const DEPTH_MAX: usize = 1_000;

/// Why a text is not JSON, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason} at byte {offset}")]
pub struct ParseError {
    /// What is wrong.
    pub reason: &'static str,
    /// Byte of the text at which it was seen, from 0.
    pub offset: usize,
}

/// Most repeated keys that are told.
const REPEATS_MAX: usize = 1_000;

/// One step to a member or an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// To the member of this key.
    Key(Arc<str>),
    /// To the item at this place, from 0.
    Index(usize),
}

pub(super) fn parse(text: &str) -> Result<Value, ParseError> {
    Reader { text, at: 0, within: None, repeats: Vec::new() }.whole()
}

pub(super) fn parse_with_repeats(
    text: &str,
    within: &str,
) -> Result<(Value, Vec<Vec<Step>>), ParseError> {
    let mut reader = Reader { text, at: 0, within: Some(within), repeats: Vec::new() };
    let value = reader.whole()?;
    Ok((value, reader.repeats))
}

/// An array or object whose end has not come.
enum Open {
    Array(Vec<Value>),
    /// With the key whose value comes next.
    Object(Object, Arc<str>),
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    /// Repeated keys are noted in objects that are the member of this name.
    within: Option<&'a str>,
    /// The ways to those found.
    repeats: Vec<Vec<Step>>,
}

impl Reader<'_> {
    fn whole(&mut self) -> Result<Value, ParseError> {
        self.skip_space();
        let value = self.value()?;
        self.skip_space();
        if self.at < self.text.len() {
            return Err(self.error("unexpected text after the value"));
        }
        Ok(value)
    }

    /// Notes a key that these members, within what is open, have already.
    fn note_repeat(&mut self, open: &[Open], members: &Object, key: &Arc<str>) {
        let Some(within) = self.within else { return };
        let wanted = matches!(open.last(), Some(Open::Object(_, name)) if &**name == within);
        if wanted && self.repeats.len() < REPEATS_MAX && members.contains_key(&**key) {
            let step = |open: &Open| match open {
                Open::Array(items) => Step::Index(items.len()),
                Open::Object(_, key) => Step::Key(key.clone()),
            };
            let way = open.iter().map(step).chain([Step::Key(key.clone())]);
            self.repeats.push(way.collect());
        }
    }

    fn error(&self, reason: &'static str) -> ParseError {
        ParseError { reason, offset: self.at }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Reads one value. What is open is kept in a list, not on the stack: a thread's stack must not
    /// decide how deep a text may be.
    fn value(&mut self) -> Result<Value, ParseError> {
        let mut open: Vec<Open> = Vec::new();
        loop {
            self.skip_space();
            let mut value = match self.peek() {
                Some(begin @ (b'{' | b'[')) => {
                    if open.len() >= DEPTH_MAX {
                        return Err(self.error("nested too deeply"));
                    }
                    self.at += 1;
                    self.skip_space();
                    match (begin, self.peek()) {
                        (b'{', Some(b'}')) => {
                            self.at += 1;
                            Object::new().into()
                        }
                        (b'[', Some(b']')) => {
                            self.at += 1;
                            Vec::new().into()
                        }
                        (b'{', _) => {
                            open.push(Open::Object(Object::new(), self.key()?));
                            continue;
                        }
                        (_, _) => {
                            open.push(Open::Array(Vec::new()));
                            continue;
                        }
                    }
                }
                Some(b'"') => Value::String(self.string()?),
                Some(b'-' | b'0'..=b'9') => self.number()?,
                Some(b't') => self.word("true", Value::Bool(true))?,
                Some(b'f') => self.word("false", Value::Bool(false))?,
                Some(b'n') => self.word("null", Value::Null)?,
                Some(_) => return Err(self.error("expected a value")),
                None => return Err(self.error("unexpected end")),
            };
            // Put it into what is open, and close what ends with it.
            loop {
                let Some(container) = open.pop() else { return Ok(value) };
                self.skip_space();
                let next = self.peek();
                match (container, next) {
                    (Open::Array(mut items), Some(b',' | b']')) => {
                        self.at += 1;
                        items.push(value);
                        if next == Some(b',') {
                            open.push(Open::Array(items));
                            break;
                        }
                        value = items.into();
                    }
                    (Open::Object(mut members, key), Some(b',' | b'}')) => {
                        self.at += 1;
                        self.note_repeat(&open, &members, &key);
                        members.insert(key, value);
                        if next == Some(b',') {
                            self.skip_space();
                            open.push(Open::Object(members, self.key()?));
                            break;
                        }
                        value = members.into();
                    }
                    (Open::Array(_), _) => return Err(self.error("expected ',' or ']'")),
                    (Open::Object(..), _) => return Err(self.error("expected ',' or '}'")),
                }
            }
        }
    }

    /// A key and its colon.
    fn key(&mut self) -> Result<Arc<str>, ParseError> {
        if self.peek() != Some(b'"') {
            return Err(self.error("expected a key in double quotes"));
        }
        let key = self.string()?;
        self.skip_space();
        if self.peek() != Some(b':') {
            return Err(self.error("expected ':'"));
        }
        self.at += 1;
        Ok(key)
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, ParseError> {
        if !self.text[self.at..].starts_with(word) {
            return Err(self.error("expected a value"));
        }
        self.at += word.len();
        Ok(value)
    }

    fn digits(&mut self) -> Result<(), ParseError> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { Err(self.error("expected a digit")) } else { Ok(()) }
    }

    fn number(&mut self) -> Result<Value, ParseError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'0'..=b'9')) {
            return Err(self.error("a number must not begin with 0"));
        }
        Ok(Value::Number(Number::parse(&self.text[start..self.at])))
    }

    fn string(&mut self) -> Result<Arc<str>, ParseError> {
        self.at += 1;
        let start = self.at;
        // Most strings hold no escape: they are copied once.
        loop {
            match self.peek() {
                None => return Err(self.error("unexpected end of a string")),
                Some(b'"') => {
                    let text = self.text[start..self.at].into();
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => break,
                Some(0..=0x1f) => return Err(self.error("control character in a string")),
                Some(_) => self.at += 1,
            }
        }
        let mut out = String::from(&self.text[start..self.at]);
        loop {
            let run = self.at;
            while !matches!(self.peek(), None | Some(b'"' | b'\\' | 0..=0x1f)) {
                self.at += 1;
            }
            out.push_str(&self.text[run..self.at]);
            match self.peek() {
                None => return Err(self.error("unexpected end of a string")),
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out.into());
                }
                Some(b'\\') => {
                    self.at += 1;
                    self.escape(&mut out)?;
                }
                Some(_) => return Err(self.error("control character in a string")),
            }
        }
    }

    fn escape(&mut self, out: &mut String) -> Result<(), ParseError> {
        let escaped = self.peek().ok_or_else(|| self.error("unexpected end of a string"))?;
        self.at += 1;
        out.push(match escaped {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => self.unicode()?,
            _ => return Err(self.error("unknown escape in a string")),
        });
        Ok(())
    }

    /// The character of `\uXXXX`, or of two of them; half a pair becomes U+FFFD, for no Rust string
    /// holds it.
    fn unicode(&mut self) -> Result<char, ParseError> {
        let first = self.hex()?;
        if let Some(single) = char::from_u32(first) {
            return Ok(single);
        }
        let rest = &self.text.as_bytes()[self.at..];
        if (0xd800..0xdc00).contains(&first) && rest.starts_with(b"\\u") {
            let before = self.at;
            self.at += 2;
            let second = self.hex()?;
            if (0xdc00..0xe000).contains(&second) {
                let joined = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return Ok(char::from_u32(joined).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = before;
        }
        Ok(char::REPLACEMENT_CHARACTER)
    }

    fn hex(&mut self) -> Result<u32, ParseError> {
        let mut value = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            let digit = digit.ok_or_else(|| self.error("expected four hexadecimal digits"))?;
            value = value * 16 + digit;
            self.at += 1;
        }
        Ok(value)
    }
}
