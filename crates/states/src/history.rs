//! Events of an execution's history, named and shaped as `GetExecutionHistory` shows them.
//!
//! `machine` makes them; the runtime stores [`HistoryEvent`] rows and the wire API prints
//! [`HistoryEvent::to_wire`]. Texts (input, output, error, cause) are kept as AWS keeps them: JSON
//! compact, the caller's input as sent.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

macro_rules! event_types {
    ($($name:ident => $details:literal),* $(,)?) => {
        /// The 62 types of event, and the member of the wire form that holds their details.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[expect(missing_docs, reason = "AWS's names")]
        pub enum EventType { $($name),* }

        impl EventType {
            /// Every type.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// AWS's name of the type.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),* }
            }

            /// The member of the wire form that holds the details; empty when the type has none.
            pub fn details_key(self) -> &'static str {
                match self { $(Self::$name => $details),* }
            }
        }
    };
}

event_types! {
    ActivityFailed => "activityFailedEventDetails",
    ActivityScheduled => "activityScheduledEventDetails",
    ActivityScheduleFailed => "activityScheduleFailedEventDetails",
    ActivityStarted => "activityStartedEventDetails",
    ActivitySucceeded => "activitySucceededEventDetails",
    ActivityTimedOut => "activityTimedOutEventDetails",
    ChoiceStateEntered => "stateEnteredEventDetails",
    ChoiceStateExited => "stateExitedEventDetails",
    EvaluationFailed => "evaluationFailedEventDetails",
    ExecutionAborted => "executionAbortedEventDetails",
    ExecutionFailed => "executionFailedEventDetails",
    ExecutionRedriven => "executionRedrivenEventDetails",
    ExecutionStarted => "executionStartedEventDetails",
    ExecutionSucceeded => "executionSucceededEventDetails",
    ExecutionTimedOut => "executionTimedOutEventDetails",
    FailStateEntered => "stateEnteredEventDetails",
    LambdaFunctionFailed => "lambdaFunctionFailedEventDetails",
    LambdaFunctionScheduled => "lambdaFunctionScheduledEventDetails",
    LambdaFunctionScheduleFailed => "lambdaFunctionScheduleFailedEventDetails",
    LambdaFunctionStarted => "",
    LambdaFunctionStartFailed => "lambdaFunctionStartFailedEventDetails",
    LambdaFunctionSucceeded => "lambdaFunctionSucceededEventDetails",
    LambdaFunctionTimedOut => "lambdaFunctionTimedOutEventDetails",
    MapIterationAborted => "mapIterationAbortedEventDetails",
    MapIterationFailed => "mapIterationFailedEventDetails",
    MapIterationStarted => "mapIterationStartedEventDetails",
    MapIterationSucceeded => "mapIterationSucceededEventDetails",
    MapRunAborted => "",
    MapRunFailed => "mapRunFailedEventDetails",
    MapRunRedriven => "mapRunRedrivenEventDetails",
    MapRunStarted => "mapRunStartedEventDetails",
    MapRunSucceeded => "",
    MapStateAborted => "",
    MapStateEntered => "stateEnteredEventDetails",
    MapStateExited => "stateExitedEventDetails",
    MapStateFailed => "",
    MapStateStarted => "mapStateStartedEventDetails",
    MapStateSucceeded => "",
    ParallelStateAborted => "",
    ParallelStateEntered => "stateEnteredEventDetails",
    ParallelStateExited => "stateExitedEventDetails",
    ParallelStateFailed => "",
    ParallelStateStarted => "",
    ParallelStateSucceeded => "",
    PassStateEntered => "stateEnteredEventDetails",
    PassStateExited => "stateExitedEventDetails",
    SucceedStateEntered => "stateEnteredEventDetails",
    SucceedStateExited => "stateExitedEventDetails",
    TaskFailed => "taskFailedEventDetails",
    TaskScheduled => "taskScheduledEventDetails",
    TaskStarted => "taskStartedEventDetails",
    TaskStartFailed => "taskStartFailedEventDetails",
    TaskStateAborted => "",
    TaskStateEntered => "stateEnteredEventDetails",
    TaskStateExited => "stateExitedEventDetails",
    TaskSubmitFailed => "taskSubmitFailedEventDetails",
    TaskSubmitted => "taskSubmittedEventDetails",
    TaskSucceeded => "taskSucceededEventDetails",
    TaskTimedOut => "taskTimedOutEventDetails",
    WaitStateAborted => "",
    WaitStateEntered => "stateEnteredEventDetails",
    WaitStateExited => "stateExitedEventDetails",
}

/// One event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HistoryEvent {
    /// From 1, without gaps.
    pub id: u64,
    /// The event this one follows from; 0 for the first ones.
    pub previous_event_id: u64,
    /// When the machine made it.
    pub timestamp: Timestamp,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: EventType,
    /// Its details, without what can be told from the type.
    #[serde(default, skip_serializing_if = "Details::is_empty")]
    pub details: Details,
}

/// The details of every type of event in one shape: the members AWS names, absent ones left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "AWS's names, explained in its reference of HistoryEvent")]
pub struct Details {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_arn: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_machine_alias_arn: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_machine_version_arn: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_type: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_in_seconds: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat_in_seconds: Option<i64>,
    /// `{"roleArn": ..}` on the wire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_credentials_role_arn: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_name: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub map_run_arn: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redrive_count: Option<u32>,
    /// The JSON text of each variable, in the order of Assign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assigned_variables: Option<Vec<(Arc<str>, Arc<str>)>>,
}

impl Details {
    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl HistoryEvent {
    /// The wire form: `{"timestamp":<epoch seconds>,"type":..,"id":..,"previousEventId":..,"<kind>EventDetails":{..}}`.
    /// Without `include_data` (GetExecutionHistory's `includeExecutionData: false`) input, output,
    /// parameters, error, cause and variables are left out.
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of this age fit 53 bits")]
    pub fn to_wire(&self, include_data: bool) -> serde_json::Value {
        let mut event = serde_json::Map::new();
        let seconds = self.timestamp.as_millisecond() as f64 / 1000.0;
        event.insert("timestamp".into(), seconds.into());
        event.insert("type".into(), self.kind.name().into());
        event.insert("id".into(), self.id.into());
        event.insert("previousEventId".into(), self.previous_event_id.into());
        let key = self.kind.details_key();
        if !key.is_empty() {
            event.insert(key.into(), self.details.to_wire(include_data));
        }
        event.into()
    }
}

impl Details {
    fn to_wire(&self, include_data: bool) -> serde_json::Value {
        let mut stored = match serde_json::to_value(self) {
            Ok(serde_json::Value::Object(members)) => members,
            Ok(_) | Err(_) => serde_json::Map::new(),
        };
        let whole = serde_json::json!({"truncated": false});
        if let Some(role) = stored.remove("taskCredentialsRoleArn") {
            stored.insert("taskCredentials".into(), serde_json::json!({"roleArn": role}));
        }
        if !include_data {
            for key in ["input", "output", "parameters", "error", "cause", "assignedVariables"] {
                stored.remove(key);
            }
            return stored.into();
        }
        if let Some(variables) = &self.assigned_variables {
            let texts =
                variables.iter().map(|(name, text)| (name.to_string(), text.to_string().into()));
            stored.insert("assignedVariables".into(), serde_json::Value::Object(texts.collect()));
            stored.insert("assignedVariablesDetails".into(), whole.clone());
        }
        for (text, details) in [("input", "inputDetails"), ("output", "outputDetails")] {
            if stored.contains_key(text) {
                stored.insert(details.into(), whole.clone());
            }
        }
        stored.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_62_types() {
        assert_eq!(EventType::ALL.len(), 62);
    }

    #[test]
    fn the_wire_form_is_awss() {
        let event = HistoryEvent {
            id: 3,
            previous_event_id: 2,
            timestamp: Timestamp::from_millisecond(1_500).unwrap(),
            kind: EventType::PassStateExited,
            details: Details {
                name: Some("A".into()),
                output: Some("{}".into()),
                assigned_variables: Some(vec![("x".into(), "\"1\"".into())]),
                ..Details::default()
            },
        };
        let expect = serde_json::json!({
            "timestamp": 1.5, "type": "PassStateExited", "id": 3, "previousEventId": 2,
            "stateExitedEventDetails": {
                "name": "A", "output": "{}", "outputDetails": {"truncated": false},
                "assignedVariables": {"x": "\"1\""}, "assignedVariablesDetails": {"truncated": false},
            },
        });
        assert_eq!(event.to_wire(true), expect);
        let stored = serde_json::to_string(&event).unwrap();
        assert_eq!(serde_json::from_str::<HistoryEvent>(&stored).unwrap(), event);
    }
}
