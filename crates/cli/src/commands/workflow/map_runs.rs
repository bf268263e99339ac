//! Map Runs of an execution, and the child that failed first: a distributed Map tells by itself no more
//! than that too many children failed.

use ark_model::exit::ExitCode;
use serde_json::{Value, json};

use super::text;
use crate::client::Client;
use crate::failure::Failure;

/// Map Runs of an execution that are shown.
const SHOWN_MAX: u32 = 20;
/// Failed children that are looked through for the first, and how many at once.
const CHILDREN_PAGES_MAX: usize = 10;
const PAGE: u32 = 1_000;

/// Map Runs of an execution, newest first, each with its state and the counts of its items.
pub(super) async fn of_execution(client: &Client, arn: &str) -> Result<Vec<Value>, Failure> {
    let input = json!({ "executionArn": arn, "maxResults": SHOWN_MAX });
    let page = client.states("ListMapRuns", &input).await?;
    let mut found = Vec::new();
    for run in page["mapRuns"].as_array().into_iter().flatten() {
        let input = json!({ "mapRunArn": run["mapRunArn"] });
        let run = client.states("DescribeMapRun", &input).await?;
        found.push(json!({
            "mapRunArn": run["mapRunArn"], "status": run["status"], "itemCounts": run["itemCounts"],
        }));
    }
    Ok(found)
}

/// The child of a Map Run that failed first, with its error and cause. None where children failed that
/// cannot be shown (Express ones), or none did.
pub(super) async fn first_failed(client: &Client, map_run: &str) -> Result<Option<Value>, Failure> {
    for status in ["FAILED", "TIMED_OUT"] {
        let mut input = json!({
            "mapRunArn": map_run, "statusFilter": status, "maxResults": PAGE
        });
        let mut children = Vec::new();
        for _ in 0..CHILDREN_PAGES_MAX {
            let mut page = match client.states("ListExecutions", &input).await {
                // What cannot be told of the children must not hide how the Map failed.
                Err(failure) if is_none(&failure) => break,
                page => page?,
            };
            if let Some(found) = page["executions"].as_array_mut() {
                children.append(found);
            }
            let Some(token) = page.get("nextToken") else { break };
            input["nextToken"] = token.clone();
        }
        let Some(child) = first(&children) else { continue };
        let asked = json!({ "executionArn": child["executionArn"] });
        let described = match client.states("DescribeExecution", &asked).await {
            Ok(described) => described,
            // It was forgotten just now.
            Err(failure) if is_none(&failure) => continue,
            Err(failure) => return Err(failure),
        };
        return Ok(Some(json!({
            "executionArn": described["executionArn"], "mapRunArn": map_run, "status": status,
            "error": text(&described, "error"), "cause": text(&described, "cause"),
        })));
    }
    Ok(None)
}

fn is_none(failure: &Failure) -> bool {
    failure.exit == ExitCode::NotFound.into() || failure.exit == ExitCode::Usage.into()
}

/// The one that ended first, of a list that has the newest first.
fn first(children: &[Value]) -> Option<&Value> {
    let ended = |child: &Value| child["stopDate"].as_f64().unwrap_or(f64::MAX);
    children.iter().rev().min_by(|a, b| ended(a).total_cmp(&ended(b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_ended_is_told() {
        let children = [
            json!({ "name": "c", "stopDate": 3.0 }),
            json!({ "name": "b", "stopDate": 1.0 }),
            json!({ "name": "a", "stopDate": 1.0 }),
        ];
        assert_eq!(first(&children).map(|child| &child["name"]), Some(&json!("a")));
        assert_eq!(first(&[]), None);
    }
}
