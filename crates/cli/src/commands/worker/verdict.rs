//! What a task's input must be and what its command's end means: the contract with commands, pure.

use std::collections::BTreeMap;

/// The member of input and output, and the variable, that names the execution.
pub(super) use ark_server::workflows::manager::conventions::EXECUTION_NAME;
use ark_server::workflows::manager::conventions::{name_in, with_name};
use serde_json::value::RawValue;

use super::ring::Kept;

/// Limits of the API on what a failure says, in bytes.
const ERROR_BYTES_MAX: usize = 256;
const CAUSE_BYTES_MAX: usize = 32_768;
/// The longest output that the API takes.
pub(super) const OUTPUT_BYTES_MAX: usize = 262_144;
/// How much of an output's end is shown that is longer.
const LONG_SHOWN: usize = 1_000;
/// The end of a text that was cut.
const CUT: &str = "[truncated]";

/// What is told to the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Succeeded { output: String },
    Failed { error: String, cause: String },
}

impl Verdict {
    pub(super) fn failed(error: &str, cause: impl AsRef<str>) -> Self {
        Self::Failed {
            error: cut(error, ERROR_BYTES_MAX),
            cause: cut(cause.as_ref(), CAUSE_BYTES_MAX),
        }
    }

    /// The command was ended because the worker was told to end.
    pub(super) fn terminated(stderr: &str) -> Self {
        Self::failed("sfncli.CommandTerminated", stderr.trim())
    }
}

/// The input of a task that can be given to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Input {
    /// The execution's name.
    pub(super) execution: String,
    /// The last argument.
    pub(super) argument: String,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// By itself, with this code.
    Exited(i32),
    /// By this signal.
    Signalled(i32),
}

/// Reads the input of a task.
///
/// # Errors
/// The failure of a task without a usable input.
pub(super) fn read_input(text: &str) -> Result<Input, Verdict> {
    let Ok(name) = name_in(text) else {
        let cause = format!("task input not valid JSON: '{text}'");
        return Err(Verdict::failed("sfncli.TaskInputNotJSON", cause));
    };
    let Some(execution) = name else {
        let cause = format!("task input missing {EXECUTION_NAME} attribute: '{text}'");
        return Err(Verdict::failed("sfncli.TaskInputMissingExecutionName", cause));
    };
    Ok(Input { execution, argument: text.trim().to_owned() })
}

/// What a command says of its own failure.
#[derive(Debug)]
struct Own {
    error: String,
    cause: String,
}

impl Own {
    /// From an object with a text `error`, which is not empty, and perhaps a text `cause`; a cause of another
    /// kind (`None` of a Python program, say) is none. Upper and lower case of the names are the same.
    fn read(line: &str) -> Option<Self> {
        // Numbers beyond what a double holds are no reason not to read the rest.
        let members: BTreeMap<String, Box<RawValue>> = serde_json::from_str(line).ok()?;
        let text = |name: &str| -> String {
            let mut named = members.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
            // Names in lower case come last: where both are there, they are meant.
            let text = named.next_back().and_then(|(_, raw)| serde_json::from_str(raw.get()).ok());
            text.unwrap_or_default()
        };
        let own = Self { error: text("error"), cause: text("cause") };
        (!own.error.is_empty()).then_some(own)
    }
}

/// What the end of a command means. `terminated`: the worker was told to end meanwhile.
pub(super) fn judge(
    end: End,
    terminated: bool,
    stdout: &Kept,
    stderr: &Kept,
    execution: &str,
) -> Verdict {
    let (last, cut) = stdout.last_line();
    if end == End::Exited(0) {
        return if cut { too_long(last) } else { output(last, execution) };
    }
    let stderr = stderr.text.trim();
    match (end, Own::read(last)) {
        (_, Some(own)) => Verdict::failed(&own.error, own.cause),
        (End::Exited(_) | End::Signalled(_), None) if terminated => Verdict::terminated(stderr),
        (End::Exited(_), None) => Verdict::failed("sfncli.CommandExitedNonzero", stderr),
        (End::Signalled(9), None) => Verdict::failed("sfncli.CommandKilled", stderr),
        (End::Signalled(signal), None) => {
            Verdict::failed("sfncli.Unknown", format!("signal {signal} ended the command"))
        }
    }
}

/// The output of a command that succeeded, from its last line.
fn output(line: &str, execution: &str) -> Verdict {
    let line = if line.is_empty() { "{}" } else { line };
    match with_name(line, execution) {
        // The server would refuse it, and the task would wait for a result until its time is over.
        Ok(output) if output.len() > OUTPUT_BYTES_MAX => too_long(line),
        Ok(output) => Verdict::Succeeded { output },
        Err(_) => {
            let cause = format!("stdout not valid JSON: '{line}'");
            Verdict::failed("sfncli.TaskOutputNotJSON", cause)
        }
    }
}

/// The failure of a command whose last line is above the limit. Its beginning may be missing.
fn too_long(line: &str) -> Verdict {
    let end = &line[line.ceil_char_boundary(line.len().saturating_sub(LONG_SHOWN))..];
    let cause = format!(
        "stdout's last line is longer than the {OUTPUT_BYTES_MAX} bytes that an output may have, and \
         was cut; it ends with '{end}'"
    );
    Verdict::failed("sfncli.TaskOutputNotJSON", cause)
}

/// A text of at most `bytes_max` bytes.
fn cut(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(bytes_max - CUT.len());
    format!("{}{CUT}", &text[..end])
}

/// `$NAME` and `${NAME}` replaced by what `lookup` knows; what it does not know is empty.
pub(super) fn expand(text: &str, lookup: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        let in_braces = after.strip_prefix('{').and_then(|inner| inner.split_once('}'));
        let (name, end) = match in_braces {
            Some(parts) => parts,
            None => {
                let letter = |c: char| c == '_' || c.is_ascii_alphanumeric();
                after.split_at(after.find(|c| !letter(c)).unwrap_or(after.len()))
            }
        };
        match name.is_empty() {
            true => out.push('$'),
            false => out.push_str(&lookup(name).unwrap_or_default()),
        }
        rest = end;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(text: &str) -> Kept {
        Kept { text: text.to_owned(), cut: false }
    }

    fn error(verdict: &Verdict) -> &str {
        match verdict {
            Verdict::Failed { error, .. } => error,
            Verdict::Succeeded { .. } => "",
        }
    }

    #[test]
    fn an_input_is_an_object_with_the_name_of_its_execution() {
        for (text, expect) in [
            ("", "sfncli.TaskInputNotJSON"),
            ("nothing", "sfncli.TaskInputNotJSON"),
            ("[1]", "sfncli.TaskInputNotJSON"),
            ("null", "sfncli.TaskInputNotJSON"),
            ("{}", "sfncli.TaskInputMissingExecutionName"),
            (r#"{"_EXECUTION_NAME":1}"#, "sfncli.TaskInputMissingExecutionName"),
        ] {
            assert_eq!(error(&read_input(text).unwrap_err()), expect, "{text}");
        }
        let input = read_input(r#"{ "a": 1, "_EXECUTION_NAME": "e" }"#).unwrap();
        assert_eq!(input.execution, "e");
        assert_eq!(input.argument, r#"{ "a": 1, "_EXECUTION_NAME": "e" }"#);
        // Numbers, repeated names and depth are the command's business.
        let deep = "[".repeat(500) + &"]".repeat(500);
        let odd = format!(r#"{{"_EXECUTION_NAME":"e","n":1e400,"m":0.10,"m":{deep}}}"#);
        assert_eq!(read_input(&odd).unwrap().argument, odd);
        let done = judge(End::Exited(0), false, &kept(r#"{"n":1e400}"#), &kept(""), "e");
        let Verdict::Succeeded { output } = done else { panic!("an output") };
        assert_eq!(output, r#"{"_EXECUTION_NAME":"e","n":1e400}"#);
    }

    #[test]
    fn the_end_of_a_command_is_a_verdict() {
        let own = "talk\n{\"error\":\"Mine\",\"cause\":\"why\"}\n";
        for (end, terminated, stdout, expect) in [
            (End::Exited(0), false, "", ""),
            (End::Exited(0), true, "talk\n{\"a\":1}\n\n", ""),
            (End::Exited(0), false, "{\"a\":1}\nend", "sfncli.TaskOutputNotJSON"),
            (End::Exited(0), false, "[1]", "sfncli.TaskOutputNotJSON"),
            (End::Exited(1), false, "{\"a\":1}", "sfncli.CommandExitedNonzero"),
            (End::Exited(1), false, "{\"error\":\"\"}", "sfncli.CommandExitedNonzero"),
            (End::Exited(1), false, own, "Mine"),
            (End::Exited(143), true, "", "sfncli.CommandTerminated"),
            (End::Exited(1), true, own, "Mine"),
            (End::Signalled(15), true, own, "Mine"),
            (End::Signalled(9), true, "", "sfncli.CommandTerminated"),
            (End::Signalled(9), false, own, "Mine"),
            (End::Signalled(9), false, "", "sfncli.CommandKilled"),
            (End::Signalled(15), false, "", "sfncli.Unknown"),
            (End::Exited(1), false, r#"{"error":"Mine","cause":null}"#, "Mine"),
            (End::Exited(1), false, r#"{"error":"Mine","cause":{"n":1e400}}"#, "Mine"),
            (End::Exited(1), false, r#"{"Error":"Other","error":"Mine"}"#, "Mine"),
            (End::Exited(1), false, r#"{"ERROR":"Mine","Cause":"why"}"#, "Mine"),
            (End::Exited(1), false, r#"{"error":7}"#, "sfncli.CommandExitedNonzero"),
            (End::Exited(1), false, r#"["error"]"#, "sfncli.CommandExitedNonzero"),
        ] {
            let verdict = judge(end, terminated, &kept(stdout), &kept("err\n"), "e");
            assert_eq!(error(&verdict), expect, "{end:?} {terminated} {stdout:?}");
        }
        let done = kept(r#"{"_EXECUTION_NAME":"other"}"#);
        let done = judge(End::Exited(0), false, &done, &kept(""), "e");
        let output = r#"{"_EXECUTION_NAME":"e"}"#.to_owned();
        assert_eq!(done, Verdict::Succeeded { output });
    }

    #[test]
    fn an_output_has_its_limit_and_says_so() {
        let exited = End::Exited(0);
        let line = |bytes: usize| format!("{{\"a\":\"{}\"}}", "y".repeat(bytes - 8));
        // With the name of the execution, put back.
        let name = r#""_EXECUTION_NAME":"e","#.len();
        let fits = judge(exited, false, &kept(&line(OUTPUT_BYTES_MAX - name)), &kept(""), "e");
        let Verdict::Succeeded { output } = fits else { panic!("{}", error(&fits)) };
        assert_eq!(output.len(), OUTPUT_BYTES_MAX);
        let over = kept(&line(OUTPUT_BYTES_MAX - name + 1));
        let cut = Kept { text: "yyy\"}\n".to_owned(), cut: true };
        // What is left of a long line may be an object by chance.
        let chance = Kept { text: "{}".to_owned(), cut: true };
        for stdout in [over, cut, chance] {
            let Verdict::Failed { error, cause } = judge(exited, false, &stdout, &kept(""), "e")
            else {
                panic!("an output")
            };
            assert_eq!(error, "sfncli.TaskOutputNotJSON");
            assert!(
                cause.contains("longer than the 262144 bytes") && cause.len() < 1_200,
                "{cause}"
            );
        }
        let lines = Kept { text: "talk\n{\"a\":1}\n".to_owned(), cut: true };
        assert_eq!(error(&judge(exited, false, &lines, &kept(""), "e")), "");
    }

    #[test]
    fn long_texts_are_cut_between_letters() {
        let Verdict::Failed { error, cause } =
            Verdict::failed(&"ä".repeat(200), "é".repeat(20_000))
        else {
            panic!("a failure")
        };
        assert_eq!((error.len(), cause.len()), (255, 32_767));
        assert!(error.ends_with("ä[truncated]") && cause.ends_with("é[truncated]"));
        assert_eq!(cut("same", 4), "same");
    }

    #[test]
    fn variables_are_put_in() {
        let lookup = |name: &str| (name == "ENV_1").then(|| "prod".to_owned());
        for (text, expect) in [
            ("a", "a"),
            ("$ENV_1--a", "prod--a"),
            ("${ENV_1}a", "proda"),
            ("a$NONE-b", "a-b"),
            ("5$ $", "5$ $"),
            ("${ENV_1", "${ENV_1"),
        ] {
            assert_eq!(expand(text, lookup), expect, "{text}");
        }
    }
}
