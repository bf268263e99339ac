//! Text to [`Path`]: one recursive reader over the bytes, used for paths inside filters too.

use super::filter::{Compare, Filter, Operand};
use super::{Function, FunctionArg, MAX_PATH_CHARS, MAX_STEPS, Path, Root, Step};
use crate::error::SyntaxError;
use crate::value::Value;

/// How deeply filters, their brackets and function arguments may nest.
const MAX_NESTING: usize = 24;

/// Reads a whole path.
pub(super) fn parse(text: &str) -> Result<Path, SyntaxError> {
    let (path, len) = read(text, true)?;
    if len < text.len() {
        return Err(SyntaxError::new(format!("unexpected character at character {len}")));
    }
    Ok(path)
}

/// Reads the path that `text` begins with.
pub(super) fn parse_prefix(text: &str) -> Result<(Path, usize), SyntaxError> {
    read(text, false)
}

fn read(text: &str, whole: bool) -> Result<(Path, usize), SyntaxError> {
    let mut reader = Reader { text, at: 0, steps_left: MAX_STEPS, depth: 0, whole };
    let path = reader.path()?;
    if path.text.len() > MAX_PATH_CHARS {
        return Err(SyntaxError::new("the path is too long"));
    }
    Ok((path, reader.at))
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    /// Steps this path may still have, filters included.
    steps_left: usize,
    depth: usize,
    /// Whether the text is a path and nothing else.
    whole: bool,
}

type Parsed<T> = Result<T, SyntaxError>;

impl<'a> Reader<'a> {
    fn fail<T>(&self, message: impl Into<String>) -> Parsed<T> {
        Err(SyntaxError::new(format!("{} at character {}", message.into(), self.at)))
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn eat(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn expect(&mut self, token: &str) -> Parsed<()> {
        if self.eat(token) { Ok(()) } else { self.fail(format!("expected '{token}'")) }
    }

    fn blanks(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    fn take_while(&mut self, keep: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c| !keep(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth >= MAX_NESTING {
            return self.fail("nested too deeply");
        }
        self.depth += 1;
        let read = read(self);
        self.depth -= 1;
        read
    }

    /// `$`, `$$` or `$name`, then steps.
    fn path(&mut self) -> Parsed<Path> {
        let begin = self.at;
        self.expect("$")?;
        let root = if self.eat("$") {
            Root::Context
        } else if self.peek().is_some_and(is_variable_start) {
            Root::Variable(self.take_while(is_variable_char).to_owned())
        } else {
            Root::Input
        };
        let steps = self.steps()?;
        Ok(Path { text: self.text[begin..self.at].to_owned(), root, steps })
    }

    /// `@...` inside a filter.
    fn current(&mut self) -> Parsed<Path> {
        let begin = self.at;
        self.expect("@")?;
        let steps = self.steps()?;
        Ok(Path { text: self.text[begin..self.at].to_owned(), root: Root::Input, steps })
    }

    fn steps(&mut self) -> Parsed<Vec<Step>> {
        let mut steps = Vec::new();
        loop {
            let before = steps.len();
            if self.eat("..") {
                steps.push(Step::Scan);
                match self.peek() {
                    Some('[') => self.bracket(&mut steps)?,
                    _ => self.dotted(&mut steps)?,
                }
            } else if self.eat(".") {
                match self.peek() {
                    Some('[') => self.bracket(&mut steps)?,
                    _ => self.dotted(&mut steps)?,
                }
            } else if self.peek() == Some('[') {
                self.bracket(&mut steps)?;
            } else {
                return Ok(steps);
            }
            let added = steps.len() - before;
            let Some(left) = self.steps_left.checked_sub(added) else {
                return self.fail("too many steps");
            };
            self.steps_left = left;
            if matches!(steps.last(), Some(Step::Function(..))) {
                return Ok(steps);
            }
        }
    }

    /// What follows a dot: `*`, a name, or a function call.
    fn dotted(&mut self, steps: &mut Vec<Step>) -> Parsed<()> {
        if self.eat("*") {
            steps.push(Step::Wildcard);
            return Ok(());
        }
        // Within a filter or a call other signs end a name: operators, commas, closing brackets.
        let alone = self.whole && self.depth == 0;
        let name = self.take_while(|c| if alone { !ends_name(c) } else { is_name_char(c) });
        if name.is_empty() {
            return self.fail("expected a name");
        }
        if self.peek() != Some('(') {
            steps.push(Step::Name(name.to_owned()));
            return Ok(());
        }
        let Some(function) = Function::by_name(name) else {
            return self.fail(format!("unknown function '{name}'"));
        };
        self.expect("(")?;
        let arguments = self.deeper(Self::function_arguments)?;
        steps.push(Step::Function(function, arguments));
        Ok(())
    }

    fn function_arguments(&mut self) -> Parsed<Vec<FunctionArg>> {
        let mut arguments = Vec::new();
        self.blanks();
        if self.eat(")") {
            return Ok(arguments);
        }
        loop {
            self.blanks();
            arguments.push(if self.peek() == Some('$') {
                FunctionArg::Path(self.path()?)
            } else {
                FunctionArg::Literal(self.literal()?)
            });
            self.blanks();
            if self.eat(")") {
                return Ok(arguments);
            }
            self.expect(",")?;
        }
    }

    /// `[...]` with everything that may stand inside.
    fn bracket(&mut self, steps: &mut Vec<Step>) -> Parsed<()> {
        self.expect("[")?;
        self.blanks();
        let step = match self.peek() {
            Some('*') => {
                self.eat("*");
                Step::Wildcard
            }
            Some('?') => {
                self.eat("?");
                self.blanks();
                self.expect("(")?;
                let filter = self.deeper(Self::filter_or)?;
                self.blanks();
                self.expect(")")?;
                Step::Filter(Box::new(filter))
            }
            Some('\'' | '"') => self.names()?,
            Some('-' | ':' | '0'..='9') => self.numbers()?,
            _ => return self.fail("expected an index, a quoted name, '*' or '?('"),
        };
        self.blanks();
        self.expect("]")?;
        steps.push(step);
        Ok(())
    }

    fn names(&mut self) -> Parsed<Step> {
        let mut names = vec![self.quoted()?];
        loop {
            self.blanks();
            if !self.eat(",") {
                break;
            }
            self.blanks();
            names.push(self.quoted()?);
        }
        Ok(if names.len() == 1 { Step::Name(names.remove(0)) } else { Step::Names(names) })
    }

    fn numbers(&mut self) -> Parsed<Step> {
        let first = self.optional_integer()?;
        self.blanks();
        if self.eat(":") {
            self.blanks();
            return Ok(Step::Slice(first, self.optional_integer()?));
        }
        let Some(first) = first else { return self.fail("expected an index") };
        let mut all = vec![first];
        while self.eat(",") {
            self.blanks();
            match self.optional_integer()? {
                Some(next) => all.push(next),
                None => return self.fail("expected an index"),
            }
            self.blanks();
        }
        Ok(if all.len() == 1 { Step::Index(first) } else { Step::Indices(all) })
    }

    fn optional_integer(&mut self) -> Parsed<Option<i64>> {
        let begin = self.at;
        self.eat("-");
        self.take_while(|c| c.is_ascii_digit());
        let digits = &self.text[begin..self.at];
        if digits.is_empty() {
            return Ok(None);
        }
        // Beyond 32 bits no index can mean anything; Jayway refuses them as well.
        match digits.parse::<i32>() {
            Ok(number) => Ok(Some(i64::from(number))),
            Err(_) => self.fail("not an index"),
        }
    }

    /// A quoted name; a backslash takes the next character as it is.
    fn quoted(&mut self) -> Parsed<String> {
        let Some(quote @ ('\'' | '"')) = self.peek() else {
            return self.fail("expected a quoted name");
        };
        self.at += 1;
        let mut out = String::new();
        let mut chars = self.rest().char_indices();
        while let Some((at, c)) = chars.next() {
            if c == quote {
                self.at += at + 1;
                return Ok(out);
            }
            if c != '\\' {
                out.push(c);
                continue;
            }
            match chars.next() {
                Some((_, 'n')) => out.push('\n'),
                Some((_, 't')) => out.push('\t'),
                Some((_, 'r')) => out.push('\r'),
                Some((_, 'b')) => out.push('\u{8}'),
                Some((_, 'f')) => out.push('\u{c}'),
                Some((_, 'u')) => {
                    let hex: String = chars.by_ref().take(4).map(|(_, c)| c).collect();
                    match u32::from_str_radix(&hex, 16).ok().and_then(char::from_u32) {
                        Some(c) => out.push(c),
                        None => return self.fail("not a character escape"),
                    }
                }
                Some((_, c)) => out.push(c),
                None => break,
            }
        }
        self.fail("the quote is not closed")
    }

    fn literal(&mut self) -> Parsed<Value> {
        match self.peek() {
            Some('\'' | '"') => Ok(Value::from(self.quoted()?)),
            Some('[') => self.deeper(Self::list),
            _ => self.bare_word(),
        }
    }

    fn list(&mut self) -> Parsed<Value> {
        self.expect("[")?;
        let mut items = Vec::new();
        self.blanks();
        if self.eat("]") {
            return Ok(Value::from(items));
        }
        loop {
            self.blanks();
            items.push(self.literal()?);
            self.blanks();
            if self.eat("]") {
                return Ok(Value::from(items));
            }
            self.expect(",")?;
        }
    }

    fn bare_word(&mut self) -> Parsed<Value> {
        let begin = self.at;
        let word = self.take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.'));
        match word {
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            "null" => Ok(Value::Null),
            _ => match Value::parse(word) {
                Ok(Value::Number(number)) => Ok(Value::Number(number)),
                _ => {
                    self.at = begin;
                    self.fail("expected a value")
                }
            },
        }
    }

    fn filter_or(&mut self) -> Parsed<Filter> {
        let mut all = vec![self.filter_and()?];
        loop {
            self.blanks();
            if !self.eat("||") {
                break;
            }
            all.push(self.filter_and()?);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Filter::Any(all) })
    }

    fn filter_and(&mut self) -> Parsed<Filter> {
        let mut all = vec![self.filter_one()?];
        loop {
            self.blanks();
            if !self.eat("&&") {
                break;
            }
            all.push(self.filter_one()?);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Filter::All(all) })
    }

    fn filter_one(&mut self) -> Parsed<Filter> {
        self.blanks();
        if self.eat("!") {
            return Ok(Filter::Not(Box::new(self.deeper(Self::filter_one)?)));
        }
        if self.eat("(") {
            let inner = self.deeper(Self::filter_or)?;
            self.blanks();
            self.expect(")")?;
            return Ok(inner);
        }
        let left = self.operand()?;
        self.blanks();
        let Some(compare) = self.comparison() else {
            return match left {
                Operand::Current(_) | Operand::Root(_) => Ok(Filter::Exists(left)),
                Operand::Literal(Value::Bool(known)) => Ok(Filter::Constant(known)),
                Operand::Literal(_) | Operand::Regex(..) => self.fail("expected an operator"),
            };
        };
        self.blanks();
        let right = self.operand()?;
        Ok(Filter::Compare(left, compare, right))
    }

    fn comparison(&mut self) -> Option<Compare> {
        // Longer signs stand before their beginnings.
        const SIGNS: [(&str, Compare); 9] = [
            ("===", Compare::SameType),
            ("!==", Compare::NotSameType),
            ("==", Compare::Equal),
            ("!=", Compare::NotEqual),
            ("<=", Compare::AtMost),
            (">=", Compare::AtLeast),
            ("=~", Compare::Matches),
            ("<", Compare::Less),
            (">", Compare::More),
        ];
        for (sign, compare) in SIGNS {
            if self.eat(sign) {
                return Some(compare);
            }
        }
        let begin = self.at;
        let word = self.take_while(|c| c.is_ascii_alphabetic());
        let found = Compare::by_word(word);
        if found.is_none() {
            self.at = begin;
        }
        found
    }

    fn operand(&mut self) -> Parsed<Operand> {
        match self.peek() {
            Some('@') => Ok(Operand::Current(self.current()?)),
            Some('$') => Ok(Operand::Root(self.path()?)),
            Some('/') => self.regex(),
            _ => Ok(Operand::Literal(self.literal()?)),
        }
    }

    fn regex(&mut self) -> Parsed<Operand> {
        self.expect("/")?;
        let mut pattern = String::new();
        loop {
            let Some(c) = self.peek() else { return self.fail("the pattern is not closed") };
            self.at += c.len_utf8();
            match c {
                '/' => break,
                '\\' => {
                    let Some(next) = self.peek() else {
                        return self.fail("the pattern is not closed");
                    };
                    self.at += next.len_utf8();
                    if next != '/' {
                        pattern.push('\\');
                    }
                    pattern.push(next);
                }
                c => pattern.push(c),
            }
        }
        let flags = self.take_while(|c| c.is_ascii_alphabetic());
        match super::filter::compile(&pattern, flags) {
            Ok(regex) => Ok(Operand::Regex(regex)),
            Err(message) => self.fail(message),
        }
    }
}

fn is_variable_start(c: char) -> bool {
    c == '_' || c.is_alphabetic()
}

fn is_variable_char(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// What ends a name after a dot in a path that stands alone, as in the dialect.
fn ends_name(c: char) -> bool {
    matches!(c, '.' | '[' | '(' | ' ')
}

/// Characters a name after a dot may hold beside other text; the rest needs brackets.
fn is_name_char(c: char) -> bool {
    !matches!(c, '.' | '[' | ']' | '(' | ')' | ' ' | '\'' | '"' | '*' | '?' | ',' | '@' | '$')
        && !c.is_control()
        && !matches!(c, '=' | '!' | '<' | '>' | '&' | '|' | '~')
}
