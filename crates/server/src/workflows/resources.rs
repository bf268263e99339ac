//! What does a task: which `Resource` leads to which kind of work.
//!
//! - An activity's ARN: its workers. A bare name `x` is the activity `<namespace>--x` of the
//!   execution's namespace, or `x` itself where the execution has none.
//! - A function's ARN, and `lambda:invoke`: the workers of the activity that has the function's name.
//! - `states:startExecution`, with `.sync`, `.sync:2` or `.waitForTaskToken`: a child execution.
//! - `aws-sdk:sfn:sendTaskSuccess`, `sendTaskFailure`, `sendTaskHeartbeat`: by the runtime itself.
//! - `http:invoke`: a call over HTTP, by the runtime itself.
//! - `ark:job`, with `.sync`: a run of an app.

use ark_states::resource::{Pattern, Resource};
use ark_store::ReadTx;

use super::arn::{self, Arn};
use super::error::WorkflowError;

/// What does a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Work {
    /// Workers of an activity.
    Activity {
        /// The activity.
        queue: u64,
    },
    /// Workers of the activity of a function's name.
    Function {
        /// The function's name, when the resource says it; else the input does.
        name: Option<String>,
        /// Whether the answer is a whole invocation's (`lambda:invoke`) or the function's own.
        invocation: bool,
        /// Whether the function is only asked, and a callback ends the task.
        callback: bool,
    },
    /// A child execution.
    Child(ChildWait),
    /// A call of the States API itself.
    Send(SendTask),
    /// A run of an app.
    Job {
        /// Whether its end is waited for.
        wait: bool,
    },
    /// A call over HTTP.
    Http,
}

/// Until when a child execution is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChildWait {
    /// Until it is started.
    Started,
    /// Until it has ended; its texts are given as texts.
    EndedTexts,
    /// Until it has ended; its texts are given as JSON.
    EndedJson,
    /// Until somebody sends the token back.
    Callback,
    /// Until it is started, by `aws-sdk:sfn`: the answer says nothing of the call itself.
    StartedBySdk,
}

/// Which call of the States API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SendTask {
    /// `sendTaskSuccess`.
    Success,
    /// `sendTaskFailure`.
    Failure,
    /// `sendTaskHeartbeat`.
    Heartbeat,
}

/// What a resource leads to, or why it cannot be used.
pub(super) fn work(
    tx: &ReadTx,
    resource: &Resource,
    region: &str,
    namespace: Option<&str>,
) -> Result<Result<Work, String>, WorkflowError> {
    Ok(match resource {
        Resource::Activity(text) => {
            let (name, shown) = match Arn::parse(text) {
                Ok(Arn { resource: arn::Resource::Activity { name }, .. }) => {
                    (name, text.to_string())
                }
                Ok(_) | Err(_) => {
                    let name = match namespace {
                        Some(namespace) => format!("{namespace}--{text}"),
                        None => text.to_string(),
                    };
                    let resource = arn::Resource::Activity { name: name.clone() };
                    (name, Arn::new(region, resource).to_string())
                }
            };
            match tx.activity_by_name(&name)? {
                Some(activity) => Ok(Work::Activity { queue: activity.id }),
                None => Err(format!("The activity {shown} does not exist.")),
            }
        }
        Resource::Lambda(text) => Ok(Work::Function {
            name: Some(function_name(text).to_owned()),
            invocation: false,
            callback: false,
        }),
        Resource::Service { text, service, action, pattern } => {
            service_work(text, service, action, *pattern)
        }
    })
}

fn service_work(text: &str, service: &str, action: &str, pattern: Pattern) -> Result<Work, String> {
    let plain = action.split('.').next().unwrap_or(action);
    match (service, plain, pattern) {
        ("lambda", "invoke", Pattern::RequestResponse | Pattern::WaitForTaskToken) => {
            let callback = pattern == Pattern::WaitForTaskToken;
            Ok(Work::Function { name: None, invocation: true, callback })
        }
        ("states", "startExecution", Pattern::RequestResponse) => {
            Ok(Work::Child(ChildWait::Started))
        }
        ("aws-sdk:sfn", "startExecution", Pattern::RequestResponse) => {
            Ok(Work::Child(ChildWait::StartedBySdk))
        }
        ("states", "startExecution", Pattern::WaitForTaskToken) => {
            Ok(Work::Child(ChildWait::Callback))
        }
        ("states", "startExecution", Pattern::Sync) => Ok(Work::Child(if action.ends_with(":2") {
            ChildWait::EndedJson
        } else {
            ChildWait::EndedTexts
        })),
        ("http", "invoke", Pattern::RequestResponse) => Ok(Work::Http),
        ("aws-sdk:sfn", "sendTaskSuccess", Pattern::RequestResponse) => {
            Ok(Work::Send(SendTask::Success))
        }
        ("aws-sdk:sfn", "sendTaskFailure", Pattern::RequestResponse) => {
            Ok(Work::Send(SendTask::Failure))
        }
        ("aws-sdk:sfn", "sendTaskHeartbeat", Pattern::RequestResponse) => {
            Ok(Work::Send(SendTask::Heartbeat))
        }
        ("ark", "job", Pattern::RequestResponse) => Ok(Work::Job { wait: false }),
        ("ark", "job", Pattern::Sync) => Ok(Work::Job { wait: true }),
        _ => Err(format!(
            "The resource {text} is not served by Ark. Served are activities, functions (by the activity of the function's name), states:startExecution, http:invoke and ark:job."
        )),
    }
}

/// The function's name in an ARN, a partial ARN or a bare name; a version or alias after it is
/// dropped.
pub(super) fn function_name(text: &str) -> &str {
    match text.split_once(":function:") {
        Some((_, rest)) => rest.split(':').next().unwrap_or(rest),
        None => text.split(':').next().unwrap_or(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_named_in_three_ways() {
        for text in [
            "f",
            "f:3",
            "arn:aws:lambda:r:1:function:f",
            "arn:aws:lambda:r:1:function:f:prod",
            "1:function:f",
        ] {
            assert_eq!(function_name(text), "f", "{text}");
        }
    }

    #[test]
    fn what_is_not_served_says_so() {
        let refused = |text: &str| match Resource::parse(text) {
            Resource::Service { text, service, action, pattern } => {
                service_work(&text, &service, &action, pattern).expect_err("refused")
            }
            other => panic!("{other:?}"),
        };
        assert!(refused("ark:job.waitForTaskToken").contains("not served"));
        assert!(refused("http:invoke.sync").contains("not served"));
        assert!(refused("arn:aws:states:::sqs:sendMessage").contains("not served"));
        assert!(refused("arn:aws:states:::lambda:invoke.sync").contains("not served"));
    }
}
