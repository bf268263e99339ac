//! Alarms of an app or of a data store, as the real files write them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What an alarm watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum AlarmKind {
    /// Share of 5xx answers.
    InternalErrorAlarm,
    /// Share of 4xx answers.
    BadRequestAlarm,
    /// A stream's consumer is behind, in milliseconds.
    KinesisDelaysAlarm,
    /// A stream is close to the limit of its shards.
    KinesisLimitsAlarm,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AlarmSeverity {
    /// Look at it in working hours.
    Minor,
    /// Look at it today.
    Major,
    /// Wake someone.
    Critical,
}

/// Which counter of errors is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum AlarmSource {
    /// Answers of the app and of what is in front of it.
    Total,
    /// Answers of the app.
    Target,
    /// Answers of the load balancer itself.
    #[serde(rename = "ELB")]
    Elb,
}

/// When an alarm fires.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct AlarmParameters {
    /// Share of requests from 0 to 1; for `KinesisDelaysAlarm` milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// So many periods in a row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evaluation_periods: Option<u32>,
    /// Length of a period in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period: Option<u32>,
}

/// What narrows an alarm down.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct AlarmExtraParameters {
    /// Which counter of errors is meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<AlarmSource>,
    /// No alarm under so many errors in a period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_minimum: Option<u32>,
    /// No alarm under so many requests in a period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_minimum: Option<u32>,
}

/// One alarm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Alarm {
    /// What it watches.
    #[serde(rename = "type")]
    pub kind: AlarmKind,
    /// How bad it is.
    pub severity: AlarmSeverity,
    /// When it fires.
    #[serde(default)]
    pub parameters: AlarmParameters,
    /// What narrows it down.
    #[serde(default, rename = "extraParameters")]
    pub extra_parameters: AlarmExtraParameters,
    /// Chat channel; the team's channel for this severity when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// Team told, when it is not the owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    /// Page that says what to do.
    #[serde(default, rename = "runbookURL", skip_serializing_if = "Option::is_none")]
    pub runbook_url: Option<String>,
    /// Words shown with the alert.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tips: Option<String>,
}
