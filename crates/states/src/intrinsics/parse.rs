//! The syntax of a call: name, brackets, arguments, escapes.

use super::functions::Function;
use super::{Argument, NESTING_MAX, Node, Quoted};
use crate::error::SyntaxError;
use crate::jsonpath::Path;
use crate::value::Value;

/// Reads one call that is the whole of `text`.
pub(super) fn parse(text: &str) -> Result<Node, SyntaxError> {
    let mut reader = Reader { text, at: 0 };
    reader.blanks();
    let node = reader.call(1)?;
    reader.blanks();
    if reader.at < text.len() {
        return reader.fail("unexpected text after the call");
    }
    Ok(node)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn fail<T>(&self, message: impl std::fmt::Display) -> Result<T, SyntaxError> {
        Err(SyntaxError::new(format!("{message} at character {}", self.at)))
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn eat(&mut self, token: char) -> bool {
        let found = self.peek() == Some(token);
        if found {
            self.at += token.len_utf8();
        }
        found
    }

    fn blanks(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    fn call(&mut self, depth: usize) -> Result<Node, SyntaxError> {
        if depth > NESTING_MAX {
            return self.fail(format!("more than {NESTING_MAX} calls within each other"));
        }
        let rest = self.rest();
        let end = rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == '_'))
            .unwrap_or(rest.len());
        let name = &rest[..end];
        let Some(function) = Function::by_name(name) else {
            return self.fail(format!("'{name}' is not an intrinsic function"));
        };
        self.at += end;
        if !self.eat('(') {
            return self.fail("expected '('");
        }
        let arguments = self.arguments(depth)?;
        if let Some(problem) = function.arity_problem(arguments.len()) {
            return self.fail(format!("{name} {problem}"));
        }
        Ok(Node { function, arguments })
    }

    fn arguments(&mut self, depth: usize) -> Result<Vec<Argument>, SyntaxError> {
        let mut arguments = Vec::new();
        self.blanks();
        if self.eat(')') {
            return Ok(arguments);
        }
        loop {
            self.blanks();
            arguments.push(self.argument(depth)?);
            self.blanks();
            if self.eat(')') {
                return Ok(arguments);
            }
            if !self.eat(',') {
                return self.fail("expected ',' or ')'");
            }
        }
    }

    fn argument(&mut self, depth: usize) -> Result<Argument, SyntaxError> {
        match self.peek() {
            Some('\'') => self.quoted().map(Argument::Quoted),
            Some('$') => {
                let (path, len) = Path::parse_prefix(self.rest())?;
                self.at += len;
                Ok(Argument::Path(path))
            }
            Some('S') => self.call(depth + 1).map(Argument::Call),
            _ => self.literal().map(Argument::Literal),
        }
    }

    fn literal(&mut self) -> Result<Value, SyntaxError> {
        let rest = self.rest();
        let end = rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.')))
            .unwrap_or(rest.len());
        match Value::parse(&rest[..end]) {
            Ok(value) => {
                self.at += end;
                Ok(value)
            }
            Err(_) => self.fail("expected a string, a number, null, a path or a function"),
        }
    }

    fn quoted(&mut self) -> Result<Quoted, SyntaxError> {
        let begin = self.at + 1;
        let mut text = String::new();
        let mut pieces = vec![];
        let mut piece = String::new();
        let mut chars = self.text[begin..].char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            match c {
                '\'' => {
                    self.at = begin + at + 1;
                    pieces.push(piece);
                    return Ok(Quoted { text: text.into(), pieces });
                }
                '\\' => match chars.next() {
                    Some((_, escaped @ ('\'' | '{' | '}' | '\\'))) => {
                        text.push(escaped);
                        piece.push(escaped);
                    }
                    _ => {
                        self.at = begin + at;
                        return self.fail("a backslash must stand before ', {, } or another one");
                    }
                },
                '{' if matches!(chars.peek(), Some((_, '}'))) => {
                    chars.next();
                    text.push_str("{}");
                    pieces.push(std::mem::take(&mut piece));
                }
                c => {
                    text.push(c);
                    piece.push(c);
                }
            }
        }
        self.fail("the quote is not closed")
    }
}
