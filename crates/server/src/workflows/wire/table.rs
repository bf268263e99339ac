//! Every operation of the API: what it takes, who may call it, how long it may take, what does it.
//! Members and their constraints are those of AWS's service model (2016-11-23).

use std::pin::Pin;
use std::time::Duration;

use super::answer::Answered;
use super::call::Call;
use super::constraints::{Field, Kind};
use super::{
    activities, executions, machines, map_runs, tags, tasks, test_state, validate, versions,
};
use crate::auth::Permission;
use crate::workflows::http::DEADLINE as CALL_DEADLINE;

/// How long a test of a state may: somewhat longer than the call over HTTP that it may make, for an answer
/// that is not in time is one that clients repeat, and the call with it.
const TEST: Duration = Duration::from_secs(CALL_DEADLINE.as_secs() + 30);
/// How long an operation may take that waits for nothing.
const ANSWER: Duration = Duration::from_secs(30);
/// How long one may that waits for a task: a little above the wait itself.
const POLL: Duration = Duration::from_secs(75);
/// How long one may that waits for an Express execution, which has five minutes.
const EXPRESS: Duration = Duration::from_secs(330);

/// Among which limited number a call takes a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Places {
    /// Short ones.
    Requests,
    /// Those that wait.
    Polls,
    /// Tests of states, which may wait for somebody else's server.
    Tests,
}

/// See the module.
pub(super) struct Operation {
    pub(super) name: &'static str,
    pub(super) permission: Permission,
    pub(super) input: &'static [Field],
    pub(super) places: Places,
    pub(super) deadline: Duration,
    pub(super) run: fn(Call) -> Pin<Box<dyn Future<Output = Answered> + Send>>,
}

/// The operation of that name.
pub(super) fn find(name: &str) -> Option<&'static Operation> {
    OPERATIONS.iter().find(|operation| operation.name == name)
}

const fn required(name: &'static str, kind: Kind) -> Field {
    Field { name, required: true, kind }
}

const fn optional(name: &'static str, kind: Kind) -> Field {
    Field { name, required: false, kind }
}

const NAME: Kind = Kind::Text(1, 80);
const ARN: Kind = Kind::Text(1, 256);
const LONG_ARN: Kind = Kind::Text(1, 2_000);
const DEFINITION: Kind = Kind::Secret(1, 1_048_576);
const DATA: Kind = Kind::Secret(0, 262_144);
const DESCRIPTION: Kind = Kind::Secret(0, 256);
const ERROR: Kind = Kind::Secret(0, 256);
const CAUSE: Kind = Kind::Secret(0, 32_768);
const TASK_TOKEN: Kind = Kind::Secret(1, 2_048);
const PAGE_SIZE: Field = optional("maxResults", Kind::Int(0, 1_000));
const PAGE_TOKEN: Field = optional("nextToken", Kind::Text(1, 1_024));
const MACHINE_TYPE: Kind = Kind::Word(&["STANDARD", "EXPRESS"]);
const INCLUDED: Field = optional("includedData", Kind::Word(&["ALL_DATA", "METADATA_ONLY"]));
/// How many members a list may have that AWS gives no limit: far above what it accepts later.
const MANY: usize = 1_000;

const TAG: Kind =
    Kind::Object(&[optional("key", Kind::Text(1, 128)), optional("value", Kind::Text(0, 256))]);
const TAGS: Kind = Kind::List(0, MANY, &TAG);

const ENCRYPTION: Kind = Kind::Object(&[
    optional("kmsKeyId", Kind::Text(1, 2_048)),
    optional("kmsDataKeyReusePeriodSeconds", Kind::Int(60, 900)),
    required("type", Kind::Word(&["AWS_OWNED_KEY", "CUSTOMER_MANAGED_KMS_KEY"])),
]);

const LOG_DESTINATION: Kind = Kind::Object(&[optional(
    "cloudWatchLogsLogGroup",
    Kind::Object(&[optional("logGroupArn", Kind::Text(1, 256))]),
)]);
const LOGGING: Kind = Kind::Object(&[
    optional("level", Kind::Word(&["ALL", "ERROR", "FATAL", "OFF"])),
    optional("includeExecutionData", Kind::Bool),
    optional("destinations", Kind::List(0, MANY, &LOG_DESTINATION)),
]);
const TRACING: Kind = Kind::Object(&[optional("enabled", Kind::Bool)]);

const ROUTE: Kind =
    Kind::Object(&[required("stateMachineVersionArn", ARN), required("weight", Kind::Int(0, 100))]);
const ROUTES: Kind = Kind::List(1, 2, &ROUTE);

const START: &[Field] = &[
    required("stateMachineArn", ARN),
    optional("name", NAME),
    optional("input", DATA),
    optional("traceHeader", Kind::Ascii(256)),
    INCLUDED,
];

macro_rules! operation {
    ($name:literal, $permission:ident, $run:path, $input:expr) => {
        operation!($name, $permission, $run, $input, Requests, ANSWER)
    };
    ($name:literal, $permission:ident, $run:path, $input:expr, $places:ident, $deadline:expr) => {
        Operation {
            name: $name,
            permission: Permission::$permission,
            input: $input,
            places: Places::$places,
            deadline: $deadline,
            run: |call| Box::pin($run(call)),
        }
    };
}

/// All of them, by name.
pub(super) static OPERATIONS: [Operation; 37] = [
    operation!(
        "CreateActivity",
        Deploy,
        activities::create,
        &[
            required("name", NAME),
            optional("tags", TAGS),
            optional("encryptionConfiguration", ENCRYPTION),
        ]
    ),
    operation!(
        "CreateStateMachine",
        Deploy,
        machines::create,
        &[
            required("name", NAME),
            required("definition", DEFINITION),
            required("roleArn", ARN),
            optional("type", MACHINE_TYPE),
            optional("loggingConfiguration", LOGGING),
            optional("tags", TAGS),
            optional("tracingConfiguration", TRACING),
            optional("publish", Kind::Bool),
            optional("versionDescription", DESCRIPTION),
            optional("encryptionConfiguration", ENCRYPTION),
        ]
    ),
    operation!(
        "CreateStateMachineAlias",
        Deploy,
        versions::create_alias,
        &[
            optional("description", DESCRIPTION),
            required("name", Kind::AliasName),
            required("routingConfiguration", ROUTES),
        ]
    ),
    operation!("DeleteActivity", Deploy, activities::delete, &[required("activityArn", ARN)]),
    operation!("DeleteStateMachine", Deploy, machines::delete, &[required("stateMachineArn", ARN)]),
    operation!(
        "DeleteStateMachineAlias",
        Deploy,
        versions::delete_alias,
        &[required("stateMachineAliasArn", ARN)]
    ),
    operation!(
        "DeleteStateMachineVersion",
        Deploy,
        versions::delete_version,
        &[required("stateMachineVersionArn", LONG_ARN)]
    ),
    operation!("DescribeActivity", Read, activities::describe, &[required("activityArn", ARN)]),
    operation!(
        "DescribeExecution",
        Read,
        executions::describe,
        &[required("executionArn", ARN), INCLUDED]
    ),
    operation!("DescribeMapRun", Read, map_runs::describe, &[required("mapRunArn", LONG_ARN)]),
    operation!(
        "DescribeStateMachine",
        Read,
        machines::describe,
        &[required("stateMachineArn", ARN), INCLUDED]
    ),
    operation!(
        "DescribeStateMachineAlias",
        Read,
        versions::describe_alias,
        &[required("stateMachineAliasArn", ARN)]
    ),
    operation!(
        "DescribeStateMachineForExecution",
        Read,
        machines::describe_for_execution,
        &[required("executionArn", ARN), INCLUDED]
    ),
    operation!(
        "GetActivityTask",
        Operate,
        tasks::poll,
        &[required("activityArn", ARN), optional("workerName", NAME)],
        Polls,
        POLL
    ),
    operation!(
        "GetExecutionHistory",
        Read,
        executions::history,
        &[
            required("executionArn", ARN),
            PAGE_SIZE,
            optional("reverseOrder", Kind::Bool),
            PAGE_TOKEN,
            optional("includeExecutionData", Kind::Bool),
        ]
    ),
    operation!("ListActivities", Read, activities::list, &[PAGE_SIZE, PAGE_TOKEN]),
    operation!(
        "ListExecutions",
        Read,
        executions::list,
        &[
            optional("stateMachineArn", ARN),
            optional(
                "statusFilter",
                Kind::Word(&[
                    "RUNNING",
                    "SUCCEEDED",
                    "FAILED",
                    "TIMED_OUT",
                    "ABORTED",
                    "PENDING_REDRIVE",
                ])
            ),
            PAGE_SIZE,
            optional("nextToken", Kind::Text(1, 3_096)),
            optional("mapRunArn", LONG_ARN),
            optional("redriveFilter", Kind::Word(&["REDRIVEN", "NOT_REDRIVEN"])),
        ]
    ),
    operation!(
        "ListMapRuns",
        Read,
        map_runs::list,
        &[required("executionArn", ARN), PAGE_SIZE, PAGE_TOKEN]
    ),
    operation!(
        "ListStateMachineAliases",
        Read,
        versions::list_aliases,
        &[required("stateMachineArn", ARN), PAGE_TOKEN, PAGE_SIZE]
    ),
    operation!(
        "ListStateMachineVersions",
        Read,
        versions::list_versions,
        &[required("stateMachineArn", ARN), PAGE_TOKEN, PAGE_SIZE]
    ),
    operation!("ListStateMachines", Read, machines::list, &[PAGE_SIZE, PAGE_TOKEN]),
    operation!("ListTagsForResource", Read, tags::list, &[required("resourceArn", ARN)]),
    operation!(
        "PublishStateMachineVersion",
        Deploy,
        versions::publish,
        &[
            required("stateMachineArn", ARN),
            optional("revisionId", Kind::Text(0, 256)),
            optional("description", DESCRIPTION),
        ]
    ),
    operation!(
        "RedriveExecution",
        Operate,
        executions::redrive,
        &[required("executionArn", ARN), optional("clientToken", Kind::ClientToken)]
    ),
    operation!(
        "SendTaskFailure",
        Operate,
        tasks::failure,
        &[required("taskToken", TASK_TOKEN), optional("error", ERROR), optional("cause", CAUSE),]
    ),
    operation!(
        "SendTaskHeartbeat",
        Operate,
        tasks::heartbeat,
        &[required("taskToken", TASK_TOKEN)]
    ),
    operation!(
        "SendTaskSuccess",
        Operate,
        tasks::success,
        &[required("taskToken", TASK_TOKEN), required("output", DATA)]
    ),
    operation!("StartExecution", Operate, executions::start, START),
    operation!("StartSyncExecution", Operate, executions::start_sync, START, Polls, EXPRESS),
    operation!(
        "StopExecution",
        Operate,
        executions::stop,
        &[required("executionArn", ARN), optional("error", ERROR), optional("cause", CAUSE)]
    ),
    operation!(
        "TagResource",
        Deploy,
        tags::tag,
        &[required("resourceArn", ARN), required("tags", TAGS)]
    ),
    operation!(
        "TestState",
        Operate,
        test_state::test_state,
        &[
            required("definition", DEFINITION),
            optional("roleArn", ARN),
            optional("input", DATA),
            optional("inspectionLevel", Kind::Word(&["INFO", "DEBUG", "TRACE"])),
            optional("revealSecrets", Kind::Bool),
            optional("variables", DATA),
            optional("stateName", Kind::Secret(1, 80)),
            optional(
                "mock",
                Kind::Object(&[
                    optional("result", DATA),
                    optional(
                        "errorOutput",
                        Kind::Object(&[optional("error", ERROR), optional("cause", CAUSE)])
                    ),
                    optional("fieldValidationMode", Kind::Word(&["STRICT", "PRESENT", "NONE"])),
                ])
            ),
            optional("context", DATA),
            optional(
                "stateConfiguration",
                Kind::Object(&[
                    optional("retrierRetryCount", Kind::Int(0, i64::MAX)),
                    optional("errorCausedByState", Kind::Secret(1, 80)),
                    optional("mapIterationFailureCount", Kind::Int(0, i64::MAX)),
                    optional("mapItemReaderData", DATA),
                ])
            ),
        ],
        Tests,
        TEST
    ),
    operation!(
        "UntagResource",
        Deploy,
        tags::untag,
        &[
            required("resourceArn", ARN),
            required("tagKeys", Kind::List(0, MANY, &Kind::Text(1, 128))),
        ]
    ),
    operation!(
        "UpdateMapRun",
        Operate,
        map_runs::update,
        &[
            required("mapRunArn", LONG_ARN),
            optional("maxConcurrency", Kind::Int(0, i64::MAX)),
            optional("toleratedFailurePercentage", Kind::Float(0.0, 100.0)),
            optional("toleratedFailureCount", Kind::Int(0, i64::MAX)),
        ]
    ),
    operation!(
        "UpdateStateMachine",
        Deploy,
        machines::update,
        &[
            required("stateMachineArn", ARN),
            optional("definition", DEFINITION),
            optional("roleArn", ARN),
            optional("loggingConfiguration", LOGGING),
            optional("tracingConfiguration", TRACING),
            optional("publish", Kind::Bool),
            optional("versionDescription", DESCRIPTION),
            optional("encryptionConfiguration", ENCRYPTION),
        ]
    ),
    operation!(
        "UpdateStateMachineAlias",
        Deploy,
        versions::update_alias,
        &[
            required("stateMachineAliasArn", ARN),
            optional("description", DESCRIPTION),
            optional("routingConfiguration", ROUTES),
        ]
    ),
    operation!(
        "ValidateStateMachineDefinition",
        Read,
        validate::validate,
        &[
            required("definition", DEFINITION),
            optional("type", MACHINE_TYPE),
            optional("severity", Kind::Word(&["ERROR", "WARNING"])),
            optional("maxResults", Kind::Int(0, 100)),
        ]
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::allows;
    use ark_model::api::Role;

    #[test]
    fn operations_stand_once_and_in_order() {
        assert!(OPERATIONS.is_sorted_by(|a, b| a.name < b.name));
        assert!(find("StartExecution").is_some() && find("Start").is_none());
    }

    #[test]
    fn a_test_of_a_state_outlasts_its_call_and_takes_no_place_of_short_requests() {
        let test = find("TestState").expect("an operation");
        assert!(test.deadline > CALL_DEADLINE + Duration::from_secs(10));
        assert_eq!(test.places, Places::Tests);
    }

    #[test]
    fn what_changes_something_needs_more_than_reading() {
        for operation in &OPERATIONS {
            let reads = ["Describe", "List", "GetExecutionHistory", "Validate"];
            let reads = reads.iter().any(|prefix| operation.name.starts_with(prefix));
            assert_eq!(allows(Role::Reader, operation.permission), reads, "{}", operation.name);
            assert!(allows(Role::Deployer, operation.permission), "{}", operation.name);
        }
    }
}
