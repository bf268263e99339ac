//! An execution, for people: how it stands, and why it failed.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::target::{execution_arn, execution_id};
use super::{failing, instant, map_runs, text};
use crate::client::Client;
use crate::context::Context;
use crate::failure::{Ended, Exit, Failure};
use crate::output::Style;
use crate::output::times::{between_ms, length};

pub(super) async fn status(context: &Context, id: &str) -> Ended {
    let arn = execution_arn(&context.client, id).await?;
    show(context, &described(&context.client, &arn).await?)
}

/// Shows an execution as [`described`] has it.
pub(super) fn show(context: &Context, execution: &Value) -> Ended {
    context.out.one(execution, |execution| render_execution(execution, context.out.style))?;
    Ok(Exit::DONE)
}

/// An execution with its Map Runs; one that failed with the state in which it did.
pub(crate) async fn described(client: &Client, arn: &str) -> Result<Value, Failure> {
    let mut execution = client.states("DescribeExecution", &json!({ "executionArn": arn })).await?;
    let runs = map_runs::of_execution(client, arn).await?;
    if !runs.is_empty() {
        execution["mapRuns"] = runs.into();
    }
    if execution["status"] == "FAILED"
        && let Some(failed) = failing::failed_state(client, arn).await?
    {
        execution["failedState"] = failed;
    }
    Ok(execution)
}

/// An execution, for people.
pub(crate) fn render_execution(execution: &Value, style: Style) -> String {
    let begun = instant(&execution["startDate"]);
    let status = text(execution, "status");
    let mark = match status.as_str() {
        "SUCCEEDED" => style.good("✓"),
        "RUNNING" | "PENDING_REDRIVE" => "▸".to_owned(),
        _ => style.bad("✗"),
    };
    let until = execution.get("stopDate").map_or_else(Timestamp::now, instant);
    let id = execution_id(&text(execution, "executionArn"));
    let took = length(between_ms(begun, until));
    let mut out = format!("{mark} {id}   {}   {took}", status.to_lowercase());
    out.push_str(&labelled("  ", execution, &["error", "cause", "input", "output"]));
    for run in execution["mapRuns"].as_array().into_iter().flatten() {
        let said = format!("{}\n{}", text(run, "mapRunArn"), counts(run));
        out.push_str(&block("  ", "map run", &said));
    }
    if let Some(failed) = execution.get("failedState") {
        out.push_str(&format!("\n  {} {}", style.bad("✗"), text(failed, "state")));
        // Error and cause are said above, unless something else became of them on the way.
        let differs = |name: &&str| failed[*name] != execution[*name];
        let names: Vec<&str> = ["error", "cause"].into_iter().filter(differs).collect();
        out.push_str(&labelled("    ", failed, &[&names[..], &["input", "log"]].concat()));
        if let Some(child) = failed.get("failedChild") {
            out.push_str(&block("    ", "child", &child_of_map(child)));
            let run = text(child, "mapRunArn");
            let status = text(child, "status");
            out.push_str(&format!(
                "\n    others  ark workflow search --map-run {run} --status {status}"
            ));
        }
    }
    out
}

/// The first failed child of a distributed Map: which, its error, and why.
pub(super) fn child_of_map(child: &Value) -> String {
    let id = execution_id(&text(child, "executionArn"));
    let error = match text(child, "error") {
        none if none.is_empty() => text(child, "status").to_lowercase(),
        error => error,
    };
    format!("{id}   {error}\n{}", text(child, "cause"))
}

/// How a Map Run stands: `failed: 1 of 3 items succeeded, 2 failed`.
fn counts(run: &Value) -> String {
    let items = &run["itemCounts"];
    let count = |name: &str| items[name].as_u64().unwrap_or_default();
    let mut out = format!(
        "{}: {} of {} items succeeded",
        text(run, "status").to_lowercase(),
        count("succeeded"),
        count("total")
    );
    for (name, word) in [("failed", "failed"), ("timedOut", "timed out"), ("aborted", "aborted")] {
        if count(name) > 0 {
            out.push_str(&format!(", {} {word}", count(name)));
        }
    }
    out
}

/// Texts with their names before them, line by line.
fn labelled(indent: &str, of: &Value, names: &[&str]) -> String {
    names.iter().map(|name| block(indent, name, &text(of, name))).collect()
}

/// A text with a label before its first line.
fn block(indent: &str, label: &str, text: &str) -> String {
    let (mut out, width) = (String::new(), label.len().max(6));
    for (number, line) in text.lines().enumerate() {
        let label = if number == 0 { label } else { "" };
        out.push_str(&format!("\n{indent}{label:<width$}  {line}"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_map_names_its_run_and_the_child_that_failed_first() {
        let (run, child) = ("arn:run", "arn:aws:states:r:0:execution:m/lab:c-1");
        let execution = json!({
            "executionArn": "arn:aws:states:r:0:execution:m:e", "status": "FAILED",
            "startDate": 0.0, "stopDate": 1.0, "error": "E", "cause": "too many", "input": "[1]",
            "mapRuns": [{ "mapRunArn": run, "status": "FAILED",
                "itemCounts": { "total": 3, "succeeded": 1, "failed": 2 } }],
            "failedState": { "state": "M", "error": "E", "cause": "too many", "input": "[1]",
                "failedChild": { "executionArn": child, "mapRunArn": run, "status": "FAILED",
                    "error": "Deep", "cause": "inside\nchild" } },
        });
        insta::assert_snapshot!(render_execution(&execution, Style::plain(100)), @r"
        ✗ m:e   failed   1 s
          error   E
          cause   too many
          input   [1]
          map run  arn:run
                   failed: 1 of 3 items succeeded, 2 failed
          ✗ M
            input   [1]
            child   m/lab:c-1   Deep
                    inside
                    child
            others  ark workflow search --map-run arn:run --status FAILED
        ");
    }
}
