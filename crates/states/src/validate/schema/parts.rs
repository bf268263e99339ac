//! The parts of machines and states that have fields of their own: the machine's head, retriers and
//! catchers, a Map's processor, reader, batcher, writer and label.

use super::{Check, is_expression};
use crate::limits::SECONDS_MAX;
use crate::resource::Resource;
use crate::validate::{Finding, MachineKind};
use crate::value::{Object, Value};

/// Characters of a label.
const LABEL_CHARS_MAX: usize = 40;
/// What a label must not hold, beside white space and control characters.
const LABEL_REFUSED: &str = "<>{}[]?*\"#%\\^|~`$&,;:";
/// The highest `MaxItems` of a reader.
const READ_ITEMS_MAX: i64 = 100_000_000;
const LANGUAGES: [&str; 2] = ["JSONPath", "JSONata"];

/// What a reader may ask of S3, and the fields that each needs.
const READS: [(&str, &[&str]); 2] =
    [("getObject", &["Bucket", "Key"]), ("listObjectsV2", &["Bucket"])];
/// The same for a writer.
const WRITES: [(&str, &[&str]); 1] = [("putObject", &["Bucket"])];

/// A field and the words it may hold.
type Words<'a> = &'a [(&'a str, &'a [&'a str])];

/// Where a list of states stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Whole,
    Branch,
    Processor,
}

/// Whether the iterations of a Map are executions of their own.
pub(super) fn is_distributed(map: &Object) -> bool {
    let config = map.get("ItemProcessor").and_then(|processor| processor.get("ProcessorConfig"));
    config.and_then(|config| config.get("Mode")).and_then(Value::as_str) == Some("DISTRIBUTED")
}

impl Check {
    /// What a machine says beside its states.
    pub(super) fn head(&mut self, machine: &Object, of: Place, place: &str) {
        let allowed: &[&str] = match of {
            Place::Whole => {
                &["StartAt", "States", "Comment", "Version", "TimeoutSeconds", "QueryLanguage"]
            }
            Place::Branch => &["StartAt", "States", "Comment", "QueryLanguage"],
            Place::Processor => &["StartAt", "States", "Comment", "ProcessorConfig"],
        };
        let here = if place.is_empty() { "/" } else { place };
        self.only(machine, allowed, here);
        if let Some(start) = machine.get("StartAt")
            && start.as_str().is_none()
        {
            self.say("Expected value of type String", format!("{place}/StartAt"));
        }
        self.language(machine, place);
        if machine.get("Comment").is_some_and(|comment| comment.as_str().is_none()) {
            self.say("Expected value of type String", format!("{place}/Comment"));
        }
        if of == Place::Whole {
            if let Some(version) = machine.get("Version")
                && version.as_str() != Some("1.0")
            {
                self.say("The only supported 'Version' is \"1.0\"", format!("{place}/Version"));
            }
            if let Some(seconds) = machine.get("TimeoutSeconds") {
                let whole = seconds.as_number().and_then(crate::value::Number::as_i64);
                if !whole.is_some_and(|seconds| (1..=SECONDS_MAX).contains(&seconds)) {
                    self.say(
                        format!("'TimeoutSeconds' must be a whole number from 1 to {SECONDS_MAX}"),
                        format!("{place}/TimeoutSeconds"),
                    );
                }
            }
        }
    }

    /// `QueryLanguage` of a machine or a state.
    pub(super) fn language(&mut self, members: &Object, place: &str) {
        self.words(members, &[("QueryLanguage", &LANGUAGES)], place);
    }

    /// The fields of a retrier or a catcher.
    pub(super) fn rule_fields(&mut self, field: &str, rule: &Object, jsonata: bool, place: &str) {
        let allowed: &[&str] = match (field, jsonata) {
            ("Retry", _) => &[
                "ErrorEquals",
                "IntervalSeconds",
                "MaxAttempts",
                "BackoffRate",
                "MaxDelaySeconds",
                "JitterStrategy",
                "Comment",
            ],
            (_, true) => &["ErrorEquals", "Next", "Assign", "Comment", "Output"],
            (_, false) => &["ErrorEquals", "Next", "Assign", "Comment", "ResultPath"],
        };
        self.only(rule, allowed, place);
        if field == "Retry" {
            self.words(rule, &[("JitterStrategy", &["FULL", "NONE"])], place);
            let number = |name| rule.get(name).and_then(Value::as_f64);
            let interval = number("IntervalSeconds").unwrap_or(1.0);
            if number("MaxDelaySeconds").is_some_and(|most| most <= interval) {
                self.say(
                    "'MaxDelaySeconds' must be greater than 'IntervalSeconds'",
                    format!("{place}/MaxDelaySeconds"),
                );
            }
        }
    }

    /// The parts of a Map state. Returns as what kind of machine its iterations run.
    pub(super) fn map_parts(&mut self, state: &Object, jsonata: bool, place: &str) -> MachineKind {
        let config = ["ItemProcessor", "Iterator"].iter().find_map(|field| {
            let config = state.get(*field)?.get("ProcessorConfig")?;
            Some((config, format!("{place}/{field}/ProcessorConfig")))
        });
        let mut kind = self.kind;
        let mut distributed = false;
        if let Some((config, place)) = config {
            match config.as_object() {
                None => self.say("Expected value of type Object", place),
                Some(config) => {
                    self.only(config, &["Mode", "ExecutionType"], &place);
                    let modes: Words<'_> = &[
                        ("Mode", &["INLINE", "DISTRIBUTED"]),
                        ("ExecutionType", &["STANDARD", "EXPRESS"]),
                    ];
                    self.words(config, modes, &place);
                    let word = |name| config.get(name).and_then(Value::as_str);
                    distributed = word("Mode") == Some("DISTRIBUTED");
                    if distributed && self.kind == MachineKind::Express {
                        self.say(
                            "Express state machine does not support Map states in 'DISTRIBUTED' mode",
                            format!("{place}/Mode"),
                        );
                    }
                    if distributed && word("ExecutionType") == Some("EXPRESS") {
                        kind = MachineKind::Express;
                    }
                }
            }
        }
        for field in ["ItemReader", "ItemBatcher", "ResultWriter"] {
            if let Some(part) = state.get(field) {
                let place = format!("{place}/{field}");
                if !distributed {
                    self.say(
                        format!(
                            "Field '{field}' is only supported for Map states in 'DISTRIBUTED' mode"
                        ),
                        place.clone(),
                    );
                }
                self.map_part(field, part, jsonata, &place);
            }
        }
        self.label(state, place);
        kind
    }

    fn map_part(&mut self, field: &str, part: &Value, jsonata: bool, place: &str) {
        let Some(part) = part.as_object() else {
            self.say("Expected value of type Object", place);
            return;
        };
        let parameters = if jsonata { "Arguments" } else { "Parameters" };
        match field {
            "ItemReader" => {
                self.only(part, &["Resource", "ReaderConfig", parameters], place);
                self.require(part, &["Resource"], place);
                self.objects(part, &READS, jsonata, place);
            }
            "ResultWriter" => {
                self.only(part, &["Resource", "WriterConfig", parameters], place);
                let writes = ["Resource", parameters].map(|name| part.contains_key(name));
                // A preview needs its format alone; what is written needs a place.
                if writes.contains(&true) || !part.contains_key("WriterConfig") {
                    self.require(part, &["Resource", parameters], place);
                }
                self.objects(part, &WRITES, jsonata, place);
            }
            _ => {
                let most = ["MaxItemsPerBatch", "MaxInputBytesPerBatch"];
                self.only_with_paths(part, &["BatchInput"], &most, jsonata, place);
                let is_one = |name: &str| most.iter().any(|most| name.strip_prefix(most).is_some());
                if !part.keys().any(|name| is_one(name)) {
                    self.say(
                        "One of 'MaxItemsPerBatch' and 'MaxInputBytesPerBatch' is required",
                        place,
                    );
                }
            }
        }
        if !jsonata {
            for (name, value) in part {
                let name = if &**name == "BatchInput" { "Parameters" } else { name };
                self.json_path(name, value, &format!("{place}/{name}"));
            }
        }
        for name in ["MaxItemsPerBatch", "MaxInputBytesPerBatch"] {
            self.count(part, name, i64::MAX, jsonata, place);
        }
        for name in ["ReaderConfig", "WriterConfig"] {
            let Some(config) = part.get(name) else { continue };
            let place = format!("{place}/{name}");
            match config.as_object() {
                Some(config) if name == "ReaderConfig" => self.reader(config, jsonata, &place),
                Some(config) => self.writer(config, &place),
                None => self.say("Expected value of type Object", place),
            }
        }
    }

    /// What a reader or a writer asks of S3: one of these actions, with the fields that it needs.
    fn objects(&mut self, part: &Object, actions: &[(&str, &[&str])], jsonata: bool, place: &str) {
        let Some(resource) = part.get("Resource") else { return };
        let resource = resource.as_str().map(Resource::parse);
        let action = match &resource {
            // Not known to be refused by AWS: the same action by its other name.
            Some(Resource::Service { service, action, .. })
                if matches!(&**service, "s3" | "aws-sdk:s3") =>
            {
                &**action
            }
            _ => "",
        };
        let Some((_, needed)) = actions.iter().find(|(known, _)| *known == action) else {
            let names: Vec<String> =
                actions.iter().map(|(name, _)| format!("arn:aws:states:::s3:{name}")).collect();
            self.say(
                format!("'Resource' must be one of [{}]", names.join(", ")),
                format!("{place}/Resource"),
            );
            return;
        };
        let field = if jsonata { "Arguments" } else { "Parameters" };
        match part.get(field) {
            Some(Value::Object(given)) => {
                self.required_fields(given, needed, jsonata, &format!("{place}/{field}"));
            }
            // One expression may give all of them.
            Some(_) => {}
            // A writer without them has been told.
            None if action == "putObject" => {}
            None => self.require(part, &[field], place),
        }
    }

    fn reader(&mut self, config: &Object, jsonata: bool, place: &str) {
        let fields = [
            "InputType",
            "Transformation",
            "ManifestType",
            "CSVHeaderLocation",
            "CSVHeaders",
            "CSVDelimiter",
            "ItemsPointer",
        ];
        self.only_with_paths(config, &fields, &["MaxItems"], jsonata, place);
        let words: Words<'_> = &[
            ("InputType", &["CSV", "JSON", "JSONL", "PARQUET", "MANIFEST"]),
            ("ManifestType", &["ATHENA_DATA", "S3_INVENTORY"]),
            ("Transformation", &["NONE", "LOAD_AND_FLATTEN"]),
            ("CSVHeaderLocation", &["FIRST_ROW", "GIVEN"]),
        ];
        self.words(config, words, place);
        self.count(config, "MaxItems", READ_ITEMS_MAX, jsonata, place);
        if let Some(path) = config.get("MaxItemsPath").filter(|_| !jsonata) {
            self.json_path("MaxItemsPath", path, &format!("{place}/MaxItemsPath"));
        }
        if config.get("Transformation").and_then(Value::as_str) == Some("LOAD_AND_FLATTEN") {
            // Without it nobody knows as what the listed objects are to be read.
            self.require(config, &["InputType"], place);
        }
        let given = config.get("CSVHeaderLocation").and_then(Value::as_str) == Some("GIVEN");
        if given && !config.contains_key("CSVHeaders") {
            self.require(config, &["CSVHeaders"], place);
        }
    }

    fn writer(&mut self, config: &Object, place: &str) {
        self.only(config, &["Transformation", "OutputType"], place);
        let words: Words<'_> = &[
            ("Transformation", &["NONE", "COMPACT", "FLATTEN"]),
            ("OutputType", &["JSON", "JSONL"]),
        ];
        self.words(config, words, place);
    }

    fn label(&mut self, state: &Object, place: &str) {
        let Some(label) = state.get("Label") else { return };
        let place = format!("{place}/Label");
        let Some(label) = label.as_str() else {
            self.say("Expected value of type String", place);
            return;
        };
        let refused = |c: char| c.is_whitespace() || c.is_control() || LABEL_REFUSED.contains(c);
        if label.is_empty() || label.chars().count() > LABEL_CHARS_MAX || label.contains(refused) {
            self.say(
                format!(
                    "'Label' must have 1 to {LABEL_CHARS_MAX} characters, none of them white \
                     space, a control character or one of {LABEL_REFUSED}"
                ),
                place,
            );
        } else if !self.labels.insert(label.to_owned()) {
            self.find(Finding {
                code: "DUPLICATE_LABEL_NAME",
                message: format!("Duplicate Label name: {label}"),
                location: Some(place),
            });
        }
    }

    /// Names every field that is none of these.
    pub(super) fn only(&mut self, members: &Object, allowed: &[&str], place: &str) {
        for name in members.keys().filter(|name| !allowed.contains(&&***name)) {
            self.say(format!("Field '{name}' is not supported"), place);
        }
    }

    /// The same, where numbers may also be given by a path, in JSONPath mode.
    fn only_with_paths(
        &mut self,
        members: &Object,
        plain: &[&str],
        numbers: &[&str],
        jsonata: bool,
        place: &str,
    ) {
        let paths: Vec<String> = numbers.iter().map(|number| format!("{number}Path")).collect();
        let known = plain.iter().chain(numbers).copied().chain(paths.iter().map(String::as_str));
        self.only(members, &known.collect::<Vec<&str>>(), place);
        for (number, path) in numbers.iter().zip(&paths) {
            if !members.contains_key(path.as_str()) {
                continue;
            }
            if jsonata {
                self.of_other_language(path, true, place);
            } else if members.contains_key(*number) {
                self.not_both(number, path, place);
            }
        }
    }

    /// A literal of these fields must be one of these words.
    fn words(&mut self, members: &Object, fields: Words<'_>, place: &str) {
        for (name, words) in fields {
            let Some(value) = members.get(*name) else { continue };
            let text = value.as_str();
            if !text.is_some_and(|text| words.contains(&text) || is_expression(text)) {
                self.say(
                    format!("'{name}' must be one of [{}]", words.join(", ")),
                    format!("{place}/{name}"),
                );
            }
        }
    }
}
