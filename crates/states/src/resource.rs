//! What a Task state's `Resource` names.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// How long a service task is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Pattern {
    /// Until the request is answered.
    RequestResponse,
    /// Until the job has ended (`.sync`, `.sync:2`).
    Sync,
    /// Until someone sends the token back (`.waitForTaskToken`).
    WaitForTaskToken,
}

/// A parsed `Resource`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Resource {
    /// Work polled for by activity workers: an activity ARN, or a bare name (Ark's shorthand), which
    /// the runtime completes to `<namespace>--<name>`.
    Activity(Arc<str>),
    /// A function, by its ARN.
    Lambda(Arc<str>),
    /// A service: `arn:aws:states:::<service>:<action>[.sync|.sync:2|.waitForTaskToken]`; those that
    /// Ark serves may be written without the prefix (`ark:job.sync`, `http:invoke`, `s3:getObject`).
    Service {
        /// As written.
        text: Arc<str>,
        /// `lambda`, `states`, `ark`, `http`, `sqs`, `aws-sdk:s3`, ..: `resourceType` of the events.
        service: Arc<str>,
        /// `invoke`, `startExecution.sync:2`, ..: `resource` of the events, pattern included.
        action: Arc<str>,
        /// How long it is waited for.
        pattern: Pattern,
    },
}

const SERVICE_PREFIX: &str = "arn:aws:states:::";

impl Resource {
    /// Reads a `Resource`. Never fails: a text that is no ARN is the name of an activity.
    pub fn parse(text: &str) -> Self {
        if let Some(rest) = text.strip_prefix(SERVICE_PREFIX) {
            return Self::service(text, rest);
        }
        // Other partitions: aws-cn, aws-us-gov, ark.
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        match parts.as_slice() {
            ["arn", _, "states", "", "", rest] => Self::service(text, rest),
            ["arn", _, "states", _, _, rest] if rest.starts_with("activity:") => {
                Self::Activity(text.into())
            }
            ["arn", _, "lambda", ..] => Self::Lambda(text.into()),
            ["arn", ..] => Self::service(text, text),
            ["ark" | "http" | "states" | "lambda" | "s3", ..] if parts.len() > 1 => {
                Self::service(text, text)
            }
            _ => Self::Activity(text.into()),
        }
    }

    fn service(text: &str, rest: &str) -> Self {
        let (plain, pattern) = if let Some(plain) = rest.strip_suffix(".waitForTaskToken") {
            (plain, Pattern::WaitForTaskToken)
        } else if let Some(plain) =
            rest.strip_suffix(".sync").or_else(|| rest.strip_suffix(".sync:2"))
        {
            (plain, Pattern::Sync)
        } else {
            (rest, Pattern::RequestResponse)
        };
        let cut = plain.rfind(':').unwrap_or(0);
        let service = &plain[..cut];
        let action = rest[cut..].trim_start_matches(':');
        Self::Service { text: text.into(), service: service.into(), action: action.into(), pattern }
    }

    /// The text as written.
    pub fn text(&self) -> &Arc<str> {
        match self {
            Self::Activity(text) | Self::Lambda(text) | Self::Service { text, .. } => text,
        }
    }

    /// Whether it may wait longer than an Express execution may last.
    pub fn is_standard_only(&self) -> bool {
        match self {
            Self::Activity(_) => true,
            Self::Lambda(_) => false,
            Self::Service { pattern, .. } => *pattern != Pattern::RequestResponse,
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl Serialize for Resource {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.text())
    }
}

impl<'de> Deserialize<'de> for Resource {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::parse(&String::deserialize(deserializer)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_are_told_apart() {
        let activity = |text: &str| Resource::Activity(text.into());
        let service = |text: &str, service: &str, action: &str, pattern| Resource::Service {
            text: text.into(),
            service: service.into(),
            action: action.into(),
            pattern,
        };
        let lambda = "arn:aws:lambda:us-east-1:1:function:f";
        let plain = Pattern::RequestResponse;
        let prefixed = |rest: &str, name: &str, action: &str, pattern| {
            service(&format!("{SERVICE_PREFIX}{rest}"), name, action, pattern)
        };
        for expect in [
            activity("arn:aws:states:us-east-1:1:activity:a"),
            activity("resize-image"),
            Resource::Lambda(lambda.into()),
            prefixed("lambda:invoke", "lambda", "invoke", plain),
            service("s3:getObject", "s3", "getObject", plain),
            prefixed(
                "states:startExecution.sync:2",
                "states",
                "startExecution.sync:2",
                Pattern::Sync,
            ),
            prefixed(
                "sqs:sendMessage.waitForTaskToken",
                "sqs",
                "sendMessage.waitForTaskToken",
                Pattern::WaitForTaskToken,
            ),
            prefixed("aws-sdk:dynamodb:getItem", "aws-sdk:dynamodb", "getItem", plain),
            service("ark:job.sync", "ark", "job.sync", Pattern::Sync),
            service("http:invoke", "http", "invoke", plain),
        ] {
            assert_eq!(Resource::parse(expect.text()), expect);
        }
    }
}
