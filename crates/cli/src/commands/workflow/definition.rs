//! `ark workflow define` and `validate`: definitions in files, judged and kept by the server.

use std::io::Read as _;
use std::path::Path;

use ark_model::definition::Snippet;
use ark_model::exit::ExitCode;
use ark_server::workflows::manager::conventions::add_default_retry;
use serde_json::{Value, json};

use super::target::machine_arn;
use super::text;
use crate::context::Context;
use crate::failure::{Ended, Exit, Failure};

/// Ark assumes no roles; the API wants one to be named.
const ROLE: &str = "arn:aws:iam::000000000000:role/ark";
/// What the server calls a text that is no JSON.
const NO_JSON: &str = "INVALID_JSON_DESCRIPTION";

/// A definition with the name of where it was read.
pub(super) struct Source {
    name: String,
    text: String,
}

impl Source {
    /// A file, or standard input for `-`.
    pub(super) fn read(file: &Path) -> Result<Self, Failure> {
        if file == Path::new("-") {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map_err(|error| {
                Failure::usage(format!("standard input cannot be read: {error}"))
            })?;
            return Ok(Self { name: "standard input".to_owned(), text });
        }
        let text = std::fs::read_to_string(file);
        let text = text.map_err(|error| Failure::file(file, "read", &error))?;
        Ok(Self { name: file.display().to_string(), text })
    }

    /// With a first retry of what the end of a worker does to its tasks. A definition that is no JSON
    /// is the server's to judge.
    fn with_retry(&self) -> String {
        let Ok(mut machine) = serde_json::from_str::<Value>(&self.text) else {
            return self.text.clone();
        };
        match add_default_retry(&mut machine) {
            0 => self.text.clone(),
            _ => machine.to_string(),
        }
    }

    /// What a server that found no JSON said of it, by the file's own lines: what is wrong and where,
    /// and that line with the place underlined. `None` for anything else that it says.
    fn broken(&self, said: &str) -> Option<[String; 3]> {
        // The server gives the beginning of the whole text on the way to the place, as AWS's does.
        let (_, said) = said.split_once(&format!("{NO_JSON}: ")).unwrap_or(("", said));
        let (what, _) = said.split_once("\n at [Source")?;
        let (_, place) = said.rsplit_once("; line: ")?;
        let (line, column) = place.split_once(", column: ")?;
        let digits = column.find(|c: char| !c.is_ascii_digit()).unwrap_or(column.len());
        let (line, column): (usize, usize) = (line.parse().ok()?, column[..digits].parse().ok()?);
        // The place of a word is its end.
        let word = what.strip_prefix("Unrecognized token '").and_then(|rest| rest.split_once('\''));
        let length = word.map_or(0, |(word, _)| word.chars().count());
        let column = column.saturating_sub(length).max(1);
        let what = what.strip_prefix("Unexpected character or end of input: ").unwrap_or(what);
        let shown = self.text.split('\n').nth(line.checked_sub(1)?).unwrap_or_default();
        let snippet = Snippet::of_line(shown, column, length.max(1));
        let (before, under) = (" ".repeat(snippet.offset), "^".repeat(snippet.length));
        Some([
            format!("{}:{line}:{column}: {what}", self.name),
            format!("{line:>5} │ {}", snippet.text),
            format!("      │ {before}{under}"),
        ])
    }

    /// A refusal of the definition, shorter where it is no JSON.
    fn refused(&self, failure: Failure) -> Failure {
        let said = failure.headline.contains(NO_JSON).then(|| self.broken(&failure.headline));
        let Some([headline, line, place]) = said.flatten() else { return failure };
        Failure { headline, ..failure }.detail(line).detail(place)
    }
}

pub(super) async fn define(
    context: &Context,
    name: &str,
    source: &Source,
    kind: &str,
    as_written: bool,
) -> Ended {
    let client = &context.client;
    let mut definition = if as_written { source.text.clone() } else { source.with_retry() };
    if definition != source.text {
        // What stands there twice vanished on the way, and is the server's to refuse.
        let input = json!({ "definition": source.text, "type": kind });
        let found = client.states("ValidateStateMachineDefinition", &input).await?;
        if found["result"] != "OK" {
            definition = source.text.clone();
        }
    }
    let arn = machine_arn(name);
    let create =
        match client.states("DescribeStateMachine", &json!({ "stateMachineArn": arn })).await {
            Ok(_) => false,
            Err(failure) if failure.exit == ExitCode::NotFound.into() => true,
            // What a name may not be makes no ARN either; making it says so by the name.
            Err(failure) if failure.code == "InvalidArn" && !name.starts_with("arn:") => true,
            Err(failure) => return Err(failure),
        };
    let (operation, input) = if create {
        let create = json!({
            "name": name, "definition": definition, "roleArn": ROLE, "type": kind, "publish": true
        });
        ("CreateStateMachine", create)
    } else {
        let update = json!({ "stateMachineArn": arn, "definition": definition, "publish": true });
        ("UpdateStateMachine", update)
    };
    let answer =
        client.states(operation, &input).await.map_err(|failure| source.refused(failure))?;
    let version_arn = answer["stateMachineVersionArn"].as_str().unwrap_or_default();
    let version = version_arn.rsplit(':').next().unwrap_or_default();
    let defined = json!({
        "name": name, "version": version.parse::<u64>().ok(), "state_machine_arn": arn,
        "state_machine_version_arn": version_arn,
    });
    context.out.one(&defined, |_| format!("{name}:{version} is defined"))?;
    Ok(Exit::DONE)
}

pub(super) async fn validate(context: &Context, source: &Source, kind: &str) -> Ended {
    let input = json!({ "definition": source.text, "type": kind, "severity": "WARNING" });
    let found = context.client.states("ValidateStateMachineDefinition", &input).await?;
    context.out.one(&found, |found| {
        let findings = found["diagnostics"].as_array().map(Vec::as_slice).unwrap_or_default();
        let line = |d: &Value| {
            let (code, message) = (text(d, "code"), text(d, "message"));
            if let Some(broken) = (code == NO_JSON).then(|| source.broken(&message)).flatten() {
                return broken.join("\n");
            }
            let place = d["location"].as_str().map(|at| format!("   {at}")).unwrap_or_default();
            let severity = text(d, "severity").to_lowercase();
            format!("{severity} {code}: {message}{place}")
        };
        let mut lines: Vec<String> = findings.iter().map(line).collect();
        if found["result"] == "OK" {
            lines.push("the definition can be run".to_owned());
        }
        lines.join("\n")
    })?;
    Ok(if found["result"] == "OK" { Exit::DONE } else { ExitCode::Usage.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_json_is_shown_in_its_line() {
        let source = |text: &str| Source { name: "m.json".to_owned(), text: text.to_owned() };
        let file = "{\n  \"StartAt\": \"A\",\n  \"End\": true,}\n";
        let place = "[Source: (String)\"{\n; line: 9, column: 9\"; line: 3, column: 15]";
        let said = format!(
            "Unexpected character or end of input: expected a key in double quotes\n at {place}"
        );
        let broken = source(file).broken(&said).unwrap().join("\n");
        insta::assert_snapshot!(broken, @r#"
        m.json:3:15: expected a key in double quotes
            3 │   "End": true,}
              │               ^
        "#);
        // As the refusal of a definition has it: the place stands there twice, and a quote follows.
        let refused = Failure::new(
            ExitCode::Usage,
            "InvalidDefinition",
            format!("Invalid State Machine Definition: '{NO_JSON}: {said} at {place}'"),
        );
        let refused = source(file).refused(refused);
        assert_eq!(refused.headline, "m.json:3:15: expected a key in double quotes");
        assert_eq!(refused.details.len(), 2);

        let long = format!("{{\"a\": \"{}\", \"b\": nul}}", "x".repeat(5_000));
        let said = "Unrecognized token 'nul': was expecting (JSON String)\n at [Source: (String)\"\"; \
                    line: 1, column: 5019]";
        let [what, line, under] = source(&long).broken(said).unwrap();
        assert_eq!(what, "m.json:1:5016: Unrecognized token 'nul': was expecting (JSON String)");
        assert!(line.chars().count() < 120, "{line}");
        let at = under.chars().position(|c| c == '^').unwrap();
        assert_eq!(line.chars().skip(at).take(3).collect::<String>(), "nul");
        assert!(under.ends_with("^^^"), "{under}");

        assert_eq!(source("{}").broken("something else"), None);
        let other = Failure::new(ExitCode::Usage, "InvalidDefinition", "no states");
        assert_eq!(source("{}").refused(other).headline, "no states");
    }
}
