//! What the result of a call must look like: the output shapes of AWS's APIs.
//!
//! TestState holds a mock's result to the shape of the API that the state calls, so that a test does
//! not pass on an answer that the API would never give. The shapes stand in `api_models.txt`, which
//! `api_models.py` makes of botocore's service models: whole services, or the operations that Step
//! Functions integrates by name. What is not in the table is not judged, nor is a result that is not
//! the API's answer (`.sync`, `.waitForTaskToken`, activities, functions by ARN). The licence and the
//! notice of botocore stand beside it, `api_models.LICENSE` and `api_models.NOTICE`.
//!
//! ```text
//! @sqs sqs SendMessage=3 PurgeQueue=-     names of the service, optimised and SDK; output shapes by line
//! OMessageId*:S Attributes:1              object: members, `*` required, `/` between two spellings
//! MS                                      map of strings
//! L4 1..10                                list of line 4, 1 to 10 of them
//! S1..64    S|ON|OFF    B1..    N0..100   text, one of words, bytes in Base64, number
//! T D A                                   truth value, instant, anything
//! ```
//! A member's shape is a letter when there is no more to say than its type, else the number of a line.

use crate::resource::{Pattern, Resource};
use crate::value::{Object, Value};

const TABLE: &str = include_str!("api_models.txt");

/// How strictly the result of a mock is held to the API it stands for (`fieldValidationMode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FieldValidation {
    /// Required fields are there, and every field that is there conforms.
    #[default]
    Strict,
    /// Every field that is there conforms.
    Present,
    /// Anything goes.
    None,
}

/// What is wrong with a result of a resource, in AWS's words. Fields that the API does not know are
/// let through, as AWS does.
pub(super) fn problem(
    resource: &Resource,
    result: &Value,
    mode: FieldValidation,
) -> Option<String> {
    let Resource::Service { service, action, pattern: Pattern::RequestResponse, .. } = resource
    else {
        return None;
    };
    if mode == FieldValidation::None {
        return None;
    }
    let (model, output) = Model::of(service, action)?;
    let strict = mode == FieldValidation::Strict;
    let Some(members) = result.as_object() else {
        return Some(
            "Mock result schema validation error: The result must be an object".to_owned(),
        );
    };
    let found = model.object(output, members, strict).err()?;
    Some(format!("Mock result schema validation error: Field '{}' {}", found.0, found.1))
}

/// A field, and what is wrong with it.
type Found = (String, &'static str);

/// The shapes of one service.
struct Model {
    lines: Vec<&'static str>,
}

impl Model {
    /// The service's shapes, and the members of the operation's output; nothing when one of the two is
    /// not in the table.
    fn of(service: &str, action: &str) -> Option<(Self, &'static str)> {
        let mut sections = TABLE.split("\n@").skip(1);
        let lines: Vec<&str> = sections.find_map(|section| {
            let (heading, shapes) = section.split_once('\n')?;
            is_called(heading, service)
                .then(|| [heading].into_iter().chain(shapes.lines()).collect())
        })?;
        let (heading, lines) = lines.split_first()?;
        let mut outputs = heading.split(' ').filter_map(|word| word.split_once('='));
        // `sendMessage` is the operation `SendMessage`.
        let is_operation = |name: &str| {
            let (mut name, mut action) = (name.chars(), action.chars());
            let (first, called) = (name.next(), action.next());
            first.map(|c| c.to_ascii_lowercase()) == called.map(|c| c.to_ascii_lowercase())
                && name.eq(action)
        };
        let (_, output) = outputs.find(|(name, _)| is_operation(name))?;
        let model = Self { lines: lines.to_vec() };
        let members = match output {
            "-" => "",
            number => model.shape(number).strip_prefix('O')?,
        };
        Some((model, members))
    }

    fn shape(&self, reference: &'static str) -> &'static str {
        match reference.parse::<usize>() {
            Ok(line) => self.lines.get(line).copied().unwrap_or("A"),
            Err(_) => reference,
        }
    }

    /// Recursion is bounded by the depth of a JSON text.
    fn value(
        &self,
        shape: &'static str,
        field: &str,
        value: &Value,
        strict: bool,
    ) -> Result<(), Found> {
        let wrong = |what: &'static str| Err((field.to_owned(), what));
        let (kind, rest) = shape.split_at(1);
        match (kind, value) {
            ("A", _) | ("T", Value::Bool(_)) => Ok(()),
            ("T", _) => wrong("must be a boolean"),
            ("S", Value::String(text)) => match rest.strip_prefix('|') {
                Some(words) if words.split('|').any(|word| word == &**text) => Ok(()),
                Some(_) => wrong("is not an expected value"),
                None => within(rest, text.chars().count()).or_else(wrong),
            },
            // The length of the bytes is not that of their Base64: only what is surely too short.
            ("B", Value::String(text)) => {
                let least = rest.split("..").next().unwrap_or_default();
                within(&format!("{least}.."), text.len()).or_else(wrong)
            }
            ("D", Value::String(_) | Value::Number(_)) => Ok(()),
            ("S" | "B" | "D", _) => wrong("must be a string"),
            ("N", Value::Number(number)) => {
                let (least, most) = bounds(rest);
                match number.as_f64() {
                    number if least.is_some_and(|least| number < least) => {
                        wrong("is less than the minimum value")
                    }
                    number if most.is_some_and(|most| number > most) => {
                        wrong("exceeds the maximum value")
                    }
                    _ => Ok(()),
                }
            }
            ("N", _) => wrong("must be a number"),
            ("L", Value::Array(items)) => {
                let (item, length) = rest.split_once(' ').unwrap_or((rest, ""));
                within(length, items.len()).or_else(wrong)?;
                let item = self.shape(item);
                items.iter().try_for_each(|value| self.value(item, field, value, strict))
            }
            ("L", _) => wrong("must be an array"),
            ("M", Value::Object(members)) => {
                let member = self.shape(rest);
                members.iter().try_for_each(|(key, value)| self.value(member, key, value, strict))
            }
            ("O", Value::Object(members)) => self.object(rest, members, strict),
            _ => wrong("must be an object"),
        }
    }

    fn object(&self, shape: &'static str, members: &Object, strict: bool) -> Result<(), Found> {
        let known = || shape.split(' ').filter_map(|member| member.split_once(':'));
        let spellings = |names: &'static str| names.trim_end_matches('*').split('/');
        for (key, value) in members.iter().filter(|(_, value)| !value.is_null()) {
            let member = known().find(|(names, _)| spellings(names).any(|name| name == &**key));
            if let Some((_, reference)) = member {
                self.value(self.shape(reference), key, value, strict)?;
            }
        }
        let given = |name: &str| members.get(name).is_some_and(|value| !value.is_null());
        for (names, _) in known().filter(|(names, _)| strict && names.ends_with('*')) {
            if !spellings(names).any(given) {
                let name = spellings(names).next().unwrap_or_default();
                return Err((name.to_owned(), "is required"));
            }
        }
        Ok(())
    }
}

/// Whether a section is that of a service as resources name it: `sqs`, `aws-sdk:sqs`.
fn is_called(heading: &str, service: &str) -> bool {
    let mut names = heading.split(' ');
    let (optimised, sdk) = (names.next(), names.next());
    match service.strip_prefix("aws-sdk:") {
        Some(service) => sdk.is_some_and(|sdk| sdk.eq_ignore_ascii_case(service)),
        None => service != "-" && optimised == Some(service),
    }
}

/// `1..10`, `..10`, `1..`, or nothing.
fn bounds(text: &str) -> (Option<f64>, Option<f64>) {
    let (least, most) = text.split_once("..").unwrap_or_default();
    (least.parse().ok(), most.parse().ok())
}

#[expect(clippy::cast_precision_loss, reason = "lengths of what fits a request")]
fn within(range: &str, length: usize) -> Result<(), &'static str> {
    let (least, most) = bounds(range);
    match length as f64 {
        length if least.is_some_and(|least| length < least) => {
            Err("is smaller than the minimum length")
        }
        length if most.is_some_and(|most| length > most) => Err("exceeds the maximum length"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every reference of the table leads to a line of its section, and every output is an object.
    #[test]
    fn the_table_is_whole() {
        let mut operations = 0;
        for section in TABLE.split("\n@").skip(1) {
            let (heading, shapes) = section.split_once('\n').unwrap();
            let lines: Vec<&str> = shapes.lines().collect();
            let sound = |reference: &str| match reference.parse::<usize>() {
                Ok(line) => line < lines.len(),
                Err(_) => matches!(reference, "S" | "B" | "N" | "T" | "D" | "A"),
            };
            for (name, output) in heading.split(' ').filter_map(|word| word.split_once('=')) {
                operations += 1;
                let line = output.parse::<usize>().map_or("O", |line| lines[line]);
                assert!(line.starts_with('O'), "{heading}: {name}: {line}");
            }
            for line in &lines {
                let (kind, rest) = line.split_at(1);
                let references: Vec<&str> = match kind {
                    "O" => rest.split_whitespace().map(|m| m.split_once(':').unwrap().1).collect(),
                    "L" | "M" => vec![rest.split(' ').next().unwrap()],
                    "S" | "B" | "N" => Vec::new(),
                    _ => panic!("{line}"),
                };
                assert!(references.iter().all(|reference| sound(reference)), "{heading}: {line}");
            }
        }
        assert!(operations > 400, "{operations}");
    }

    #[test]
    fn a_result_conforms_to_the_api_that_is_called() {
        use FieldValidation::{None as Nothing, Present, Strict};
        let sdk = "aws-sdk:";
        for (resource, result, mode, expected) in [
            ("sqs:sendMessage", r#"{"MessageId":"a","MD5OfMessageBody":"b"}"#, Strict, ""),
            (
                "sqs:sendMessage",
                r#"{"MD5OfMessageBody":1}"#,
                Strict,
                "MD5OfMessageBody: must be a string",
            ),
            (
                &format!("{sdk}sqs:sendMessage"),
                r#"{"Md5OfMessageBody":1}"#,
                Strict,
                "Md5OfMessageBody: must be a string",
            ),
            ("sqs:sendMessage", "[]", Strict, "The result must be an object"),
            // Any JSON is a function's payload.
            ("lambda:invoke", r#"{"Payload":{"a":[1]},"StatusCode":200}"#, Strict, ""),
            ("lambda:invoke", r#"{"StatusCode":"200"}"#, Strict, "StatusCode: must be a number"),
            ("lambda:invoke", r#"{"StatusCode":"200"}"#, Present, "StatusCode: must be a number"),
            ("lambda:invoke", r#"{"StatusCode":"200"}"#, Nothing, ""),
            // Required fields.
            ("states:startExecution", r#"{"ExecutionArn":"a"}"#, Strict, "StartDate: is required"),
            ("states:startExecution", r#"{"ExecutionArn":"a"}"#, Present, ""),
            (
                "states:startExecution",
                r#"{"ExecutionArn":"","StartDate":1}"#,
                Present,
                "ExecutionArn: is smaller than the minimum length",
            ),
            (
                "states:startExecution",
                r#"{"ExecutionArn":"a","StartDate":1.5E9,"Else":1}"#,
                Strict,
                "",
            ),
            (
                "aws-sdk:sfn:describeExecution",
                r#"{"Status":"DONE"}"#,
                Present,
                "Status: is not an expected value",
            ),
            // Shapes that hold themselves, in both spellings.
            (
                "dynamodb:getItem",
                r#"{"Item":{"a":{"M":{"b":{"L":[{"BOOL":true},{"N":"1"}]}}}}}"#,
                Strict,
                "",
            ),
            (
                "dynamodb:getItem",
                r#"{"Item":{"a":{"M":{"b":{"L":[{"BOOL":1}]}}}}}"#,
                Strict,
                "BOOL: must be a boolean",
            ),
            (
                "aws-sdk:dynamodb:getItem",
                r#"{"Item":{"a":{"Bool":1}}}"#,
                Strict,
                "Bool: must be a boolean",
            ),
            ("dynamodb:getItem", r#"{"Item":{"a":"b"}}"#, Strict, "a: must be an object"),
            // Bounds.
            ("aws-sdk:lambda:getFunction", r#"{"Configuration":{"MemorySize":128}}"#, Strict, ""),
            (
                "aws-sdk:lambda:getFunction",
                r#"{"Configuration":{"MemorySize":1}}"#,
                Strict,
                "MemorySize: is less than the minimum value",
            ),
            (
                "aws-sdk:lambda:getFunction",
                r#"{"Configuration":{"MemorySize":1e9}}"#,
                Strict,
                "MemorySize: exceeds the maximum value",
            ),
            (
                "aws-sdk:secretsmanager:getSecretValue",
                r#"{"VersionStages":[]}"#,
                Strict,
                "VersionStages: is smaller than the minimum length",
            ),
            // What is no call of a known API, or not its answer.
            ("aws-sdk:unknown:getIt", r#"{"a":1}"#, Strict, ""),
            ("sqs:unknown", r#"{"MessageId":1}"#, Strict, ""),
            ("http:invoke", r#"{"StatusCode":"200"}"#, Strict, ""),
            ("-:encrypt", r#"{"CiphertextBlob":1}"#, Strict, ""),
            ("sqs:sendMessage.waitForTaskToken", r#"{"MessageId":1}"#, Strict, ""),
            ("states:startExecution.sync:2", r#"{"ExecutionArn":1}"#, Strict, ""),
        ] {
            let called = Resource::parse(&format!("arn:aws:states:::{resource}"));
            let found = problem(&called, &Value::parse(result).unwrap(), mode);
            let expected = match expected.split_once(": ") {
                Some((field, what)) => format!("Field '{field}' {what}"),
                None => expected.to_owned(),
            };
            let expected = (!expected.is_empty())
                .then(|| format!("Mock result schema validation error: {expected}"));
            assert_eq!(found, expected, "{resource} {result}");
        }
    }
}
