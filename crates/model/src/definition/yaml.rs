//! Bytes to a tree with places: the only module that knows the YAML reader.
//!
//! It is driven by the reader's events and not by serde, because the judge wants every value with
//! its line, the values of a file that is wrong in ten places, and keys that stand twice. Limits
//! are checked while reading: the size of the file before anything, depth and number of values at
//! each event, aliases counted as often as they are used.
//!
//! YAML 1.2 core schema; tags of that schema and `!` only; one document; merge keys (`<<`).

use std::collections::HashMap;

use serde_saphyr::granit_parser::{
    ErrorKind, Event, Marker, Parser, ScalarStyle, ScanError, Span, Tag, options,
};

use super::diagnostic::Code;
use super::report::shown;

/// Longest file that is read, in bytes.
pub(super) const FILE_BYTES_MAX: usize = 1024 * 1024;

/// Lists and mappings within each other. The deepest real file has 7.
pub(super) const DEPTH_MAX: usize = 32;

/// Values in one file, those behind an alias counted at each use. The largest real file has 400.
pub(super) const VALUES_MAX: usize = 20_000;

/// Where something stands in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Place {
    /// From 1.
    pub(super) line: usize,
    /// In characters, from 1.
    pub(super) column: usize,
    /// Characters on that line.
    pub(super) length: usize,
}

impl Place {
    fn of(span: Span) -> Self {
        let length = if span.end.line() == span.start.line() {
            span.end.col().saturating_sub(span.start.col())
        } else {
            // A text over several lines: as far as its first line goes, the snippet cuts it.
            usize::from(u8::MAX)
        };
        Self { length: length.max(1), ..Self::at(span.start) }
    }

    fn at(marker: Marker) -> Self {
        Self { line: marker.line().max(1), column: marker.col() + 1, length: 1 }
    }
}

/// A value with its place.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) place: Place,
}

/// One key of a mapping with its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_place: Place,
    pub(super) node: Node,
}

/// What YAML's core schema knows.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, with the text it was written as.
    Number(Number),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A mapping, in the order of the file, each key once.
    Map(Vec<Entry>),
}

/// A number as it was written and as it was meant.
#[derive(Clone, Debug)]
pub(super) struct Number {
    pub(super) text: String,
    pub(super) float: f64,
    /// Present when it was written as a whole number that fits.
    pub(super) int: Option<i64>,
}

impl Value {
    /// The name of the type with its article, for messages.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "true or false",
            Self::Number(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

/// Something the reader did not like.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) code: Code,
    pub(super) message: String,
    pub(super) place: Option<Place>,
}

/// What came out of a file.
pub(super) struct Document {
    /// The root, when the file could be read to its end.
    pub(super) root: Option<Node>,
    /// Findings in the order of the file.
    pub(super) findings: Vec<Finding>,
}

/// The text of a file, or why it is none. A byte order mark is dropped.
pub(super) fn text_of(bytes: &[u8]) -> Result<&str, Finding> {
    if bytes.len() > FILE_BYTES_MAX {
        return Err(Finding {
            code: Code::TooLarge,
            message: format!(
                "the file has {} bytes; a launch file has at most {FILE_BYTES_MAX}",
                bytes.len()
            ),
            place: None,
        });
    }
    let text = std::str::from_utf8(bytes).map_err(|error| Finding {
        code: Code::NotUtf8,
        message: format!("the file is not UTF-8 text: byte {} cannot be read", error.valid_up_to()),
        place: Some(place_of_offset(bytes, error.valid_up_to())),
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // The reader takes NUL for the end of the file and would silently leave out what follows.
    let forbidden = |c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}');
    match text.find(forbidden) {
        None => Ok(text),
        Some(offset) => Err(Finding {
            code: Code::NotYaml,
            message: "the file is not YAML: it holds a control character".to_owned(),
            place: Some(place_of_offset(text.as_bytes(), offset)),
        }),
    }
}

fn place_of_offset(bytes: &[u8], offset: usize) -> Place {
    let before = &bytes[..offset.min(bytes.len())];
    let line_start = before.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
    Place {
        line: 1 + before.iter().filter(|b| **b == b'\n').count(),
        column: 1 + String::from_utf8_lossy(&before[line_start..]).chars().count(),
        length: 1,
    }
}

/// Lines as YAML counts them: a carriage return alone ends one, too, and after the last line
/// break there is an empty one.
pub(super) fn lines(text: &str) -> Vec<&str> {
    let feeds = text.matches('\n').count();
    text.split('\n')
        .enumerate()
        .flat_map(|(index, line)| {
            let before_feed = index < feeds;
            let line = if before_feed { line.strip_suffix('\r').unwrap_or(line) } else { line };
            line.split('\r')
        })
        .collect()
}

/// Reads one document.
pub(super) fn read(text: &str) -> Document {
    let mut reader = Reader::default();
    let root = match reader.run(text) {
        Ok(()) if reader.fatal => None,
        Ok(()) => reader.root.take(),
        Err(error) => {
            reader.findings.push(of_scan_error(&error, text));
            None
        }
    };
    Document { root, findings: reader.findings }
}

fn of_scan_error(error: &ScanError, text: &str) -> Finding {
    let place = Place::at(*error.marker());
    let (code, message) = match error.kind() {
        ErrorKind::RecursionLimitExceeded => (Code::TooDeep, too_deep()),
        ErrorKind::UnknownAnchor => {
            (Code::BadAlias, "an alias (`*name`) that no anchor (`&name`) stands before".to_owned())
        }
        _ => (Code::NotYaml, format!("the file is not YAML: {}", error.info())),
    };
    // At the very end the reader names a line that does not exist; show the last that does.
    let lines = lines(text);
    let last = lines.iter().zip(1..).filter(|(line, _)| !line.trim().is_empty()).last();
    let (last, number) = last.unwrap_or((&"", 1));
    let place = if place.line > number {
        Place { line: number, column: last.chars().count().max(1), length: 1 }
    } else {
        place
    };
    Finding { code, message, place: Some(place) }
}

fn too_deep() -> String {
    format!("lists and mappings are nested more than {DEPTH_MAX} deep")
}

/// A list or mapping whose end has not come yet.
struct Open {
    place: Place,
    anchor: usize,
    children: Children,
}

enum Children {
    List(Vec<Node>),
    Map {
        entries: Vec<Entry>,
        /// Line of each key so far.
        seen: HashMap<String, usize>,
        /// Entries of `<<`, which count where the mapping has no such key itself.
        merged: Vec<Entry>,
        key: Key,
    },
}

/// What is known of the key whose value comes next.
enum Key {
    /// The next node is a key.
    Awaited,
    /// A good key.
    Known(String, Place),
    /// `<<`.
    Merge(Place),
    /// A key that was refused: its value is read and dropped.
    Refused,
}

#[derive(Default)]
struct Reader {
    stack: Vec<Open>,
    root: Option<Node>,
    documents: usize,
    values: usize,
    /// Finished nodes by anchor, with their number of values.
    anchors: HashMap<usize, (Node, usize)>,
    findings: Vec<Finding>,
    /// Reading was given up; the root is not whole.
    fatal: bool,
}

impl Reader {
    fn run(&mut self, text: &str) -> Result<(), ScanError> {
        let mut options =
            options! { flow_nesting_limit: 2 * DEPTH_MAX, block_nesting_limit: 2 * DEPTH_MAX };
        options.set_emit_comments(false);
        let mut parser = Parser::new_from_str_with_options(text, options);
        while let Some(next) = parser.next_event() {
            let (event, span) = next?;
            self.on(event, span);
            if self.fatal {
                return Ok(());
            }
        }
        Ok(())
    }

    fn on(&mut self, event: Event<'_>, span: Span) {
        let place = Place::of(span);
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    self.give_up(
                        Code::SeveralDocuments,
                        "a launch file holds one YAML document, and here a second one starts",
                        place,
                    );
                }
            }
            Event::DocumentEnd => self.anchors.clear(),
            Event::Scalar(text, style, anchor, tag) => {
                let value = self.scalar(&text, style, tag.as_deref(), place);
                self.complete(Node { value, place }, anchor, 1);
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.check_tag(tag.as_deref(), place);
                self.open(place, anchor, Children::List(Vec::new()));
            }
            Event::MappingStart(_, anchor, tag) => {
                self.check_tag(tag.as_deref(), place);
                let children = Children::Map {
                    entries: Vec::new(),
                    seen: HashMap::new(),
                    merged: Vec::new(),
                    key: Key::Awaited,
                };
                self.open(place, anchor, children);
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(anchor) => self.alias(anchor, place),
            _ => {}
        }
    }

    fn find(&mut self, code: Code, message: impl Into<String>, place: Place) {
        self.findings.push(Finding { code, message: message.into(), place: Some(place) });
    }

    fn give_up(&mut self, code: Code, message: impl Into<String>, place: Place) {
        self.find(code, message, place);
        self.fatal = true;
    }

    fn open(&mut self, place: Place, anchor: usize, children: Children) {
        if self.stack.len() >= DEPTH_MAX {
            return self.give_up(Code::TooDeep, too_deep(), place);
        }
        self.stack.push(Open { place, anchor, children });
    }

    fn close(&mut self) {
        let Some(open) = self.stack.pop() else { return };
        let (value, size) = match open.children {
            Children::List(items) => {
                let size = items.iter().map(size_of).sum();
                (Value::List(items), size)
            }
            Children::Map { mut entries, mut seen, merged, .. } => {
                let missing = merged
                    .into_iter()
                    .filter(|e| seen.insert(e.key.clone(), e.key_place.line).is_none());
                entries.extend(missing);
                let size = entries.iter().map(|entry| size_of(&entry.node)).sum();
                (Value::Map(entries), size)
            }
        };
        let node = Node { value, place: open.place };
        // Its children were counted when they came; only an anchor needs their sum again.
        if open.anchor > 0 {
            self.anchors.insert(open.anchor, (node.clone(), size));
        }
        self.complete(node, 0, 1);
    }

    fn alias(&mut self, anchor: usize, place: Place) {
        let Some((node, size)) = self.anchors.get(&anchor) else {
            // The anchor exists, or the reader itself had failed: it is still open.
            return self.give_up(Code::BadAlias, "an alias that contains itself", place);
        };
        let (size, depth) = (*size, depth_of(node));
        if self.values + size > VALUES_MAX {
            return self.give_up(Code::TooManyValues, too_many(), place);
        }
        if self.stack.len() + depth > DEPTH_MAX {
            return self.give_up(Code::TooDeep, too_deep(), place);
        }
        let node = Node { place, ..node.clone() };
        self.complete(node, 0, size + 1);
    }

    /// A node is whole: it becomes a key, a value, an item or the root.
    fn complete(&mut self, node: Node, anchor: usize, size: usize) {
        self.values += size;
        if self.values > VALUES_MAX {
            return self.give_up(Code::TooManyValues, too_many(), node.place);
        }
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), size));
        }
        let Some(open) = self.stack.last_mut() else {
            self.root = Some(node);
            return;
        };
        let finding = match &mut open.children {
            Children::List(items) => {
                items.push(node);
                None
            }
            Children::Map { entries, seen, merged, key } => {
                match std::mem::replace(key, Key::Awaited) {
                    Key::Awaited => {
                        let (next, finding) = key_of(node, seen);
                        *key = next;
                        finding
                    }
                    Key::Known(name, key_place) => {
                        entries.push(Entry { key: name, key_place, node });
                        None
                    }
                    Key::Merge(place) => merge(merged, node, place),
                    Key::Refused => None,
                }
            }
        };
        self.findings.extend(finding);
    }

    fn check_tag(&mut self, tag: Option<&Tag>, place: Place) {
        if let Some(tag) = tag
            && tag.core_suffix().is_none()
            && tag.original() != "!"
        {
            let message = format!("the tag `{}` means nothing here", shown(&tag.original()));
            self.find(Code::UnknownTag, message, place);
        }
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, tag: Option<&Tag>, place: Place) -> Value {
        self.check_tag(tag, place);
        let as_text = match tag {
            Some(tag) => tag.original() == "!" || tag.core_suffix() == Some("str"),
            None => style != ScalarStyle::Plain,
        };
        if as_text { Value::Text(text.to_owned()) } else { plain(text) }
    }
}

fn too_many() -> String {
    format!("the file holds more than {VALUES_MAX} values")
}

fn size_of(node: &Node) -> usize {
    match &node.value {
        Value::List(items) => 1 + items.iter().map(size_of).sum::<usize>(),
        Value::Map(entries) => 1 + entries.iter().map(|e| size_of(&e.node)).sum::<usize>(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) => 1,
    }
}

fn depth_of(node: &Node) -> usize {
    match &node.value {
        Value::List(items) => 1 + items.iter().map(depth_of).max().unwrap_or(0),
        Value::Map(entries) => 1 + entries.iter().map(|e| depth_of(&e.node)).max().unwrap_or(0),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) => 0,
    }
}

fn key_of(node: Node, seen: &mut HashMap<String, usize>) -> (Key, Option<Finding>) {
    let place = node.place;
    let refused = |code, message| {
        let finding = Finding { code, message, place: Some(place) };
        (Key::Refused, Some(finding))
    };
    let Value::Text(name) = node.value else {
        let message = format!("a key must be a text; this one is {}", node.value.type_name());
        return refused(Code::BadKey, message);
    };
    if name == "<<" {
        return (Key::Merge(place), None);
    }
    if let Some(first) = seen.get(&name) {
        let message = format!("the key `{}` stands twice; first in line {first}", shown(&name));
        return refused(Code::DuplicateKey, message);
    }
    seen.insert(name.clone(), place.line);
    (Key::Known(name, place), None)
}

/// `<<: *base` or `<<: [*base, *other]`: keys that count where the mapping has none of that name.
fn merge(merged: &mut Vec<Entry>, node: Node, place: Place) -> Option<Finding> {
    let wrong = |found: &Value| Finding {
        code: Code::WrongType,
        message: format!("`<<` merges a mapping, found {}", found.type_name()),
        place: Some(place),
    };
    let sources = match node.value {
        Value::Map(entries) => {
            merged.extend(entries);
            return None;
        }
        Value::List(items) => items,
        other => return Some(wrong(&other)),
    };
    for source in sources {
        match source.value {
            Value::Map(entries) => merged.extend(entries),
            other => return Some(wrong(&other)),
        }
    }
    None
}

/// A plain scalar by YAML 1.2's core schema.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => number(text).map_or_else(|| Value::Text(text.to_owned()), Value::Number),
    }
}

fn number(text: &str) -> Option<Number> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let special = match unsigned {
        ".inf" | ".Inf" | ".INF" if text.starts_with('-') => Some(f64::NEG_INFINITY),
        ".inf" | ".Inf" | ".INF" => Some(f64::INFINITY),
        ".nan" | ".NaN" | ".NAN" => Some(f64::NAN),
        _ => None,
    };
    if let Some(float) = special {
        return Some(Number { text: text.to_owned(), float, int: None });
    }
    for (prefix, radix) in [("0x", 16), ("0o", 8)] {
        if let Some(digits) = unsigned.strip_prefix(prefix) {
            // `from_str_radix` would take a sign after the prefix.
            let plain = digits.bytes().all(|b| b.is_ascii_hexdigit());
            let int = plain.then(|| i64::from_str_radix(digits, radix).ok())??;
            return Some(whole(text, if text.starts_with('-') { -int } else { int }));
        }
    }
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let (before, after) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let good_exponent = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !exponent.is_empty() && digits(exponent)
    });
    if !digits(before) || !digits(after) || !good_exponent || before.len() + after.len() == 0 {
        return None;
    }
    if !mantissa.contains('.')
        && exponent.is_none()
        && let Ok(int) = text.strip_prefix('+').unwrap_or(text).parse::<i64>()
    {
        return Some(whole(text, int));
    }
    let float = text.parse::<f64>().ok()?;
    Some(Number { text: text.to_owned(), float, int: None })
}

fn whole(text: &str, int: i64) -> Number {
    #[expect(
        clippy::cast_precision_loss,
        reason = "beyond 2^53 every limit of the format is passed anyway"
    )]
    let float = int as f64;
    Number { text: text.to_owned(), float, int: Some(int) }
}
