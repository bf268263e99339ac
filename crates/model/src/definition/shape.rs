//! The words in which the format is written down: one table per mapping, read by the judge and by
//! the JSON Schema alike, so that neither can know a key that the other does not.
//!
//! The tables themselves are in `format`.

/// What a value must look like.
pub(super) enum Shape {
    /// A text that follows a rule.
    Text(TextRule),
    /// One of these words, each with its meaning.
    Word(&'static [(&'static str, &'static str)]),
    /// Any scalar, taken as the text that was written (`8080`, `true`, `1.10`).
    Scalar,
    /// `true` or `false`.
    Bool,
    /// A whole number within limits.
    Int {
        /// Smallest allowed.
        min: i64,
        /// Largest allowed.
        max: i64,
    },
    /// A number within limits.
    Number {
        /// Smallest allowed.
        min: f64,
        /// Largest allowed.
        max: f64,
    },
    /// A duration as text, within limits in milliseconds.
    Duration {
        /// Shortest allowed.
        min_ms: u64,
        /// Longest allowed.
        max_ms: u64,
    },
    /// A duration, or nothing (`{}` or no value): for as long as it takes.
    OpenDuration {
        /// Shortest allowed.
        min_ms: u64,
        /// Longest allowed.
        max_ms: u64,
    },
    /// A count of instances or a percentage.
    Quantity,
    /// A list.
    List(&'static List),
    /// A mapping with known keys.
    Map(&'static Map),
    /// A mapping whose keys the author chooses.
    Entries(&'static Entries),
    /// Whatever stands there (a part in another platform's own form).
    Any,
}

/// Rules for texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TextRule {
    /// Any text, even an empty one.
    Free,
    /// Any text but an empty one.
    Filled,
    /// A text that a template fills in: `TODO` and `{{...}}` warn.
    Owner,
    /// The name of a team: as `Owner`, and an address warns.
    Team,
    /// `run.type`, old forms included.
    RunType,
    /// The name of an environment variable.
    Variable,
    /// A name of Ark's: a DNS label in lower case.
    Label,
    /// The name of a header field or a cookie.
    Token,
    /// A host name.
    Host,
    /// A path prefix of requests.
    RoutePath,
    /// A path with an optional query, for a request.
    RequestPath,
    /// An address of HTTP or HTTPS.
    Url,
    /// An absolute path of a file system.
    FolderPath,
    /// Five cron fields or an `@` name.
    Schedule,
    /// IANA name of a time zone.
    Timezone,
    /// `<kind>:<region>:<name>`.
    Database,
}

/// A list.
pub(super) struct List {
    pub(super) item: Shape,
    /// What one item is called in messages: `name of a variable`.
    pub(super) noun: &'static str,
    pub(super) min: usize,
    pub(super) repeats: Repeats,
}

/// What a value means that stands twice in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeats {
    /// Nothing special: arguments, steps.
    Fine,
    /// It is superfluous.
    Warn,
}

/// A mapping whose keys the author chooses.
pub(super) struct Entries {
    pub(super) key: TextRule,
    pub(super) value: Shape,
}

/// A mapping with known keys.
pub(super) struct Map {
    /// What it is, for the schema.
    pub(super) doc: &'static str,
    pub(super) keys: &'static [Key],
    pub(super) unknown: Unknown,
    /// Keys that belong elsewhere: the wrong key and what to write instead.
    pub(super) moved: &'static [(&'static str, &'static str)],
    /// Exactly one of the keys must be there (a step).
    pub(super) one_of: bool,
}

/// What an unknown key means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unknown {
    /// It is an error.
    Refused,
    /// Another platform defines this part: only what looks like a typo is an error.
    Kept,
}

/// One key of a mapping.
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    /// What it means, with unit; shown by editors.
    pub(super) doc: &'static str,
    /// What holds without it, as JSON.
    pub(super) default: Option<&'static str>,
    pub(super) required: bool,
    /// Why its time has passed.
    pub(super) legacy: Option<&'static str>,
}

impl Key {
    /// An optional key without default.
    pub(super) const fn new(name: &'static str, shape: Shape, doc: &'static str) -> Self {
        Self { name, shape, doc, default: None, required: false, legacy: None }
    }

    /// The key must be there.
    pub(super) const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// What holds without it.
    pub(super) const fn default(mut self, json: &'static str) -> Self {
        self.default = Some(json);
        self
    }

    /// The key still works and warns.
    pub(super) const fn legacy(mut self, why: &'static str) -> Self {
        self.legacy = Some(why);
        self
    }
}

impl Map {
    /// A mapping that refuses unknown keys.
    pub(super) const fn of(doc: &'static str, keys: &'static [Key]) -> Self {
        Self { doc, keys, unknown: Unknown::Refused, moved: &[], one_of: false }
    }

    /// Keys that are often written here and belong elsewhere.
    pub(super) const fn moved(mut self, moved: &'static [(&'static str, &'static str)]) -> Self {
        self.moved = moved;
        self
    }

    /// Another platform defines what else may stand here.
    pub(super) const fn open(mut self) -> Self {
        self.unknown = Unknown::Kept;
        self
    }

    /// Exactly one key.
    pub(super) const fn one_of(mut self) -> Self {
        self.one_of = true;
        self
    }
}

impl List {
    /// A list of `item`s, which may be empty.
    pub(super) const fn of(noun: &'static str, item: Shape) -> Self {
        Self { item, noun, min: 0, repeats: Repeats::Fine }
    }

    /// At least one item.
    pub(super) const fn filled(mut self) -> Self {
        self.min = 1;
        self
    }

    /// An item that stands twice warns.
    pub(super) const fn once(mut self) -> Self {
        self.repeats = Repeats::Warn;
        self
    }
}

/// Days in milliseconds, for limits of durations.
pub(super) const fn days(days: u64) -> u64 {
    days * 24 * 60 * 60 * 1000
}
