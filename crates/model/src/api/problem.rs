//! The one form of every error answer: RFC 9457 `application/problem+json`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::definition::{Diagnostic, Severity};
use crate::exit::ExitCode;

macro_rules! problem_codes {
    ($($(#[doc = $doc:literal])+ $variant:ident $text:literal $status:literal $exit:ident $title:literal)+) => {
        /// What kind of problem. Codes are a contract: they never change their meaning, and each
        /// has one HTTP status and one exit code.
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
            JsonSchema,
        )]
        pub enum ProblemCode {
            $($(#[doc = $doc])+ #[serde(rename = $text)] $variant,)+
            /// A code of a newer server that this client does not know.
            #[serde(other, rename = "unknown")]
            Unknown,
        }

        impl ProblemCode {
            /// Every code a server of this version answers with.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The code as it is written in the answer: `missing-config`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ Self::Unknown => "unknown" }
            }

            /// The HTTP status.
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)+ Self::Unknown => 500 }
            }

            /// The exit code of a command that ends with it.
            pub const fn exit_code(self) -> ExitCode {
                match self { $(Self::$variant => ExitCode::$exit,)+ Self::Unknown => ExitCode::Failed }
            }

            /// The kind of problem in words; the same for every problem with this code.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)+ Self::Unknown => "problem unknown to this client" }
            }
        }
    };
}

problem_codes! {
    /// The request cannot be understood.
    BadRequest "bad-request" 400 Usage "the request cannot be understood"
    /// A name, number or cursor is not of the form it must have.
    InvalidValue "invalid-value" 422 Usage "a value is not allowed"
    /// The launch file has errors; `diagnostics` has all of them.
    InvalidDefinition "invalid-definition" 422 Usage "the launch file has errors"
    /// The launch file describes a data store that Ark does not run, or not there.
    DataStore "data-store" 422 Usage "the data store is not deployed"
    /// The app cannot run on the engine of this server; `diagnostics` says why.
    NotRunnable "not-runnable" 422 Usage "the app cannot run here"
    /// Blobs of the artifact were not sent; `missing` lists some of them.
    ArtifactIncomplete "artifact-incomplete" 422 Usage "the artifact is incomplete"
    /// The body's digest is not the one in its address.
    DigestMismatch "digest-mismatch" 422 Usage "the content does not have this digest"
    /// No token, or one that is not known.
    Unauthorized "unauthorized" 401 Refused "a token is needed"
    /// The token's role does not allow this.
    Forbidden "forbidden" 403 Refused "the token does not allow this"
    /// The request comes from a web page or names a host that is not this server.
    ForeignOrigin "foreign-origin" 403 Refused "requests from web pages are refused"
    /// The environment does not define every value the app needs; `missing` lists all names.
    MissingConfig "missing-config" 403 Refused "configuration values are missing"
    /// The environment takes no deployments now.
    Frozen "frozen" 403 Refused "the environment is frozen"
    /// Secret values of a permanent environment are given to administrators only.
    SecretsProtected "secrets-protected" 403 Refused "secret values are protected here"
    /// The environment does not exist.
    EnvironmentNotFound "environment-not-found" 404 NotFound "no such environment"
    /// The freeze window does not exist.
    FreezeNotFound "freeze-not-found" 404 NotFound "no such freeze window"
    /// The app does not exist in the environment.
    AppNotFound "app-not-found" 404 NotFound "no such app"
    /// The deployment does not exist.
    DeploymentNotFound "deployment-not-found" 404 NotFound "no such deployment"
    /// The release does not exist, or there is none to go back to.
    ReleaseNotFound "release-not-found" 404 NotFound "no such release"
    /// The instance does not exist.
    InstanceNotFound "instance-not-found" 404 NotFound "no such instance"
    /// The run does not exist, or was forgotten.
    RunNotFound "run-not-found" 404 NotFound "no such run"
    /// The token does not exist.
    TokenNotFound "token-not-found" 404 NotFound "no such token"
    /// The workflow, its definition or a state resource does not exist.
    WorkflowNotFound "workflow-not-found" 404 NotFound "no such workflow"
    /// The schedule does not exist.
    ScheduleNotFound "schedule-not-found" 404 NotFound "no such schedule"
    /// The host does not exist.
    NodeNotFound "node-not-found" 404 NotFound "no such host"
    /// No operation has this path.
    NoSuchOperation "no-such-operation" 404 NotFound "no such operation"
    /// The operation exists, with another method.
    MethodNotAllowed "method-not-allowed" 405 Usage "the method is not allowed here"
    /// The thing exists already, and differs.
    AlreadyExists "already-exists" 409 Conflict "it exists already"
    /// The configuration was changed by someone else meanwhile.
    ConfigConflict "config-conflict" 409 Conflict "the configuration has changed meanwhile"
    /// The environment is being destroyed.
    EnvironmentDestroying "environment-destroying" 409 Conflict "the environment is being destroyed"
    /// The idempotency key was used for another request.
    IdempotencyConflict "idempotency-conflict" 409 Conflict "the idempotency key was used for another request"
    /// A prefix of an id fits several things.
    Ambiguous "ambiguous" 409 Conflict "the short form fits several things"
    /// What would be done is no longer what was planned, and the request wanted nothing else.
    PlanChanged "plan-changed" 409 Conflict "the plan has changed meanwhile"
    /// The deployment has ended already.
    DeploymentFinished "deployment-finished" 409 Conflict "the deployment has ended"
    /// The deployment does not wait for what was said, or does not go in steps.
    NothingToSay "nothing-to-say" 409 Conflict "the deployment does not wait for that"
    /// The deployment has not ended yet, so that there is no receipt.
    DeploymentRunning "deployment-running" 409 Conflict "the deployment has not ended"
    /// The app was never deployed.
    NotDeployed "not-deployed" 409 Conflict "the app was never deployed here"
    /// The instance is not running.
    InstanceNotRunning "instance-not-running" 409 Conflict "the instance is not running"
    /// The workflow does not stand where it must for this.
    WorkflowConflict "workflow-conflict" 409 Conflict "the workflow does not allow this now"
    /// The app is stopped, so that nothing of it runs.
    AppStopped "app-stopped" 409 Conflict "the app is stopped"
    /// Runs of the app go on, and no other may begin beside them.
    RunsGoOn "runs-go-on" 409 Conflict "runs of the app go on"
    /// The app follows no schedule.
    NotCron "not-cron" 409 Conflict "the app follows no schedule"
    /// Instances are on record on the host.
    NodeInUse "node-in-use" 409 Conflict "instances are on record on the host"
    /// A newer writer has taken over.
    StaleWriter "stale-writer" 409 Conflict "someone else has changed it meanwhile"
    /// The body is larger than allowed.
    TooLarge "too-large" 413 Usage "the body is too large"
    /// The body is not of the type it must have.
    UnsupportedType "unsupported-type" 415 Usage "the body has the wrong type"
    /// Too many requests at once; asking again is right.
    Busy "busy" 503 Failed "the server is busy"
    /// The server is about to end.
    ShuttingDown "shutting-down" 503 Failed "the server is shutting down"
    /// The engine did not answer or refused.
    EngineFailed "engine-failed" 502 Failed "the engine refused"
    /// The engine cannot do this at all.
    NotSupported "not-supported" 501 Refused "the engine cannot do this"
    /// The store could not write: the disk is full, say. Nothing was changed.
    StorageFailed "storage-failed" 503 Failed "the store could not write"
    /// The answer took longer than the request's deadline.
    Timeout "timeout" 504 TimedOut "the request took too long"
    /// A fault of the server. The details are in its log under `request_id`.
    Internal "internal" 500 Failed "the server has a fault"
}

/// An error answer (RFC 9457).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// `urn:ark:error:<code>`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of problem in words; the same for every problem with this code.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened here and why, naming the noun that failed.
    pub detail: String,
    /// The kind of problem, for programs.
    pub code: ProblemCode,
    /// The exit code of a command that ends with this problem.
    pub exit_code: u8,
    /// What to do about it, in the order to try.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remedy: Vec<Remedy>,
    /// All names that are missing, for `missing-config`; digests for `artifact-incomplete`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// All findings, for `invalid-definition` and `not-runnable`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diagnostics: Vec<DiagnosticView>,
    /// The same as `detail`, for clients of the workflow manager's API; absent elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Names the request in the server's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

impl Problem {
    /// A problem with nothing but its code and what happened.
    pub fn new(code: ProblemCode, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:ark:error:{}", code.as_str()),
            title: code.title().to_owned(),
            status: code.status(),
            detail: detail.into(),
            code,
            exit_code: code.exit_code().number(),
            remedy: Vec::new(),
            missing: Vec::new(),
            diagnostics: Vec::new(),
            message: None,
            request_id: None,
        }
    }
}

/// One thing to do about a problem: `set them: ark config set -e production web DB_URL=…`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Remedy {
    /// What the command does, in a few words: `set them`.
    pub label: String,
    /// The command to type, or a sentence where no command does it.
    pub command: String,
}

/// Whether a finding refuses the launch file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DiagnosticSeverity {
    /// The file is refused.
    Error,
    /// The file is accepted; this should be looked at.
    Warning,
}

/// One finding in a launch file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DiagnosticView {
    /// The rule: `E012`.
    pub code: String,
    /// Whether it refuses the file.
    pub severity: DiagnosticSeverity,
    /// What is wrong.
    pub message: String,
    /// Line, from 1; 0 when it is about no place in the file.
    pub line: u32,
    /// Column in characters, from 1; 0 with line 0.
    pub column: u32,
    /// What was probably meant.
    pub suggestion: Option<String>,
}

impl From<&Diagnostic> for DiagnosticView {
    fn from(found: &Diagnostic) -> Self {
        Self {
            code: found.code.as_str().to_owned(),
            severity: match found.severity {
                Severity::Error => DiagnosticSeverity::Error,
                Severity::Warning => DiagnosticSeverity::Warning,
            },
            message: found.message.clone(),
            line: u32::try_from(found.line).unwrap_or(u32::MAX),
            column: u32::try_from(found.column).unwrap_or(u32::MAX),
            suggestion: found.suggestion.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_agree_with_the_contract_of_exit_codes() {
        let mut texts: Vec<_> = ProblemCode::ALL.iter().map(|code| code.as_str()).collect();
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), ProblemCode::ALL.len());
        for code in ProblemCode::ALL {
            let expected = match code.status() {
                400 | 405 | 413 | 415 | 422 => ExitCode::Usage,
                401 | 403 | 501 => ExitCode::Refused,
                404 => ExitCode::NotFound,
                409 => ExitCode::Conflict,
                504 => ExitCode::TimedOut,
                500 | 502 | 503 => ExitCode::Failed,
                other => panic!("status {other} has no exit code in the contract"),
            };
            assert_eq!(code.exit_code(), expected, "{}", code.as_str());
        }
    }

    #[test]
    fn a_code_of_a_newer_server_is_read_as_unknown() {
        let text = r#"{"type":"urn:ark:error:new","title":"t","status":418,"detail":"d","code":"new","exit_code":1}"#;
        let problem: Problem = serde_json::from_str(text).expect("an unknown code is no error");
        assert_eq!(problem.code, ProblemCode::Unknown);
    }
}
