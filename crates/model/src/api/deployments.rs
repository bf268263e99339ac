//! Artifacts, deployments, plans and receipts.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ConfigChange, DefinitionChange, DiagnosticView, Remedy, TextChange};
use crate::artifact::{Artifact, Manifest};
use crate::definition::{NotEnforced, Strategy};
use crate::deployment::{Abort, DeploymentKind, DeploymentState};
use crate::diagnosis::Diagnosis;
use crate::hook::HookRun;
use crate::ids::{AppName, DeploymentId, EnvName, ReleaseNumber, Sha256};
use crate::judgement::Judgement;
use crate::receipt::Receipt;
use crate::rollout::{Asks, Said, StepJudgement, WatchEnd};

/// Offers a directory by the digests of its files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ArtifactOffer {
    /// Its files.
    pub manifest: Manifest,
}

/// What the server lacks of an offered directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ArtifactAnswer {
    /// The artifact's digest, for [`DeployRequest::artifact`].
    pub digest: Sha256,
    /// Digests of the files to be sent with `PUT /v1/blobs/{sha256}`. Empty when it has all.
    pub missing: Vec<Sha256>,
}

/// A blob the server has now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BlobStored {
    /// Its digest.
    pub sha256: Sha256,
    /// Its length.
    pub bytes: u64,
}

/// A launch file, as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LaunchText {
    /// Its path, for messages only; the server never opens it.
    pub file: String,
    /// Its whole text.
    pub text: String,
}

/// A release the server knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReleaseRef {
    /// Its environment; its app is the one that is deployed.
    pub env: EnvName,
    /// Its number.
    pub number: ReleaseNumber,
}

/// Asks for a deployment, or for the plan of one. Either `launch` (with `artifact`) or `from`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeployRequest {
    /// The launch file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launch: Option<LaunchText>,
    /// What is run; absent means nothing but the command of the launch file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<Artifact>,
    /// Definition and artifact of a known release of this app, of any environment, with the
    /// configuration of this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<ReleaseRef>,
    /// How the new side takes over; absent means what the definition says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// Aborts the running deployment instead of waiting for it.
    #[serde(default)]
    pub now: bool,
    /// Why, for the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The commit the caller's directory is at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Why it is to begin although the environment is frozen. Recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub override_freeze: Option<String>,
    /// `expect` of the plan that was looked at. Refused when what is live, waits or would run has changed
    /// since. Absent means whatever would be done by now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<String>,
}

/// Asks to go back. The running deployment is aborted first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RollbackRequest {
    /// To which release; absent means the last good one that is not live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<ReleaseNumber>,
    /// Why, for the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// `expect` of the plan that was looked at. Refused when what is live, runs or waits has changed since.
    /// Absent means whatever would be done by now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<String>,
}

/// Asks for the end of a deployment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AbortRequest {
    /// Why, for the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Tells a deployment in steps to go on: over the step at which it waits, or to the end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PromoteRequest {
    /// Over all steps: all of the traffic as soon as there are enough instances.
    #[serde(default)]
    pub full: bool,
    /// The step the caller saw it at, from 1, as `rollout.step` says. Refused when it has gone on since;
    /// with `full`, when all steps are done. Absent means whichever it is at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u32>,
    /// Why, for the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Tells a deployment in steps to stay, to go on, or that a step is approved.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WishRequest {
    /// The step the caller saw it at, from 1, as `rollout.step` says. Refused when it has gone on since;
    /// a pause never is. Absent means whichever it is at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u32>,
    /// Why, for the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Which deployments. Newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeploymentsQuery {
    /// Only of this environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<EnvName>,
    /// Only of this app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<AppName>,
    /// `next` of the page before; absent for the first page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// The most items wanted, 1 to 500; 50 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// A deployment in a row of another answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DeploymentSummary {
    /// Which.
    pub id: DeploymentId,
    /// Why it was asked for.
    pub kind: DeploymentKind,
    /// The release that is to become live.
    pub release: ReleaseNumber,
    /// The release that was live when it started.
    pub base: Option<ReleaseNumber>,
    /// Where it stands.
    pub state: DeploymentState,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
    /// From leaving the queue to all traffic being on the new side, in milliseconds.
    pub live_after_ms: Option<u64>,
    /// The hook that is under way: `pre_deploy (./migrate)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hook: Option<String>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Why it failed, in one line.
    pub diagnosis: Option<String>,
    /// Requests served while it ran, when it has ended.
    pub served: Option<u64>,
    /// Requests failed while it ran, when it has ended.
    pub failed: Option<u64>,
    /// Requests cut while it ran, when it has ended: they began to be answered, and were not to the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<u64>,
}

impl DeploymentSummary {
    /// Requests that were not served as they should be, and all of them, when it has ended and there
    /// were any. Those that were cut are lost as those that failed are.
    #[must_use]
    pub fn lost(&self) -> Option<(u64, u64)> {
        let lost = self.failed? + self.cut.unwrap_or(0);
        let all = self.served? + lost;
        (all > 0).then_some((lost, all))
    }
}

/// A deployment with everything known of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DeploymentView {
    /// Which.
    pub id: DeploymentId,
    /// Environment.
    pub env: EnvName,
    /// App.
    pub app: AppName,
    /// Why it was asked for.
    pub kind: DeploymentKind,
    /// The release that is to become live.
    pub release: ReleaseNumber,
    /// The release that was live when it started, to which it returns when it fails.
    pub base: Option<ReleaseNumber>,
    /// How the new side takes over.
    pub strategy: Strategy,
    /// Where it stands.
    pub state: DeploymentState,
    /// The exit code of a command that waited for it; absent while it is not over.
    pub exit_code: Option<u8>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
    /// Why, when told.
    pub reason: Option<String>,
    /// The commit of its release.
    pub commit: Option<String>,
    /// When it left the queue.
    pub started_at: Option<Timestamp>,
    /// When all traffic was on the new side.
    pub live_at: Option<Timestamp>,
    /// When it turned back.
    pub returning_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Why it failed.
    pub diagnosis: Option<Diagnosis>,
    /// The same in one line.
    pub diagnosis_words: Option<String>,
    /// Failures of single instances so far.
    pub failures: Vec<Diagnosis>,
    /// Who asked for its end, and why.
    pub abort: Option<Abort>,
    /// What it did to traffic; from its end.
    pub receipt: Option<Receipt>,
    /// What a reader of the receipt must know.
    pub notes: Vec<String>,
    /// The artifact in words: `directory 3fa1b2c4d5e6`, `image web@sha256:61ab…`.
    pub artifact: Option<String>,
    /// The image, as whoever asked named it; absent when it runs none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The version of the configuration of its release.
    pub config_version: Option<u64>,
    /// Names of variables that differ from the base release.
    pub config_changed: Vec<String>,
    /// How far it is; absent when it has ended.
    pub progress: Option<DeploymentProgress>,
    /// Its steps, when it goes in steps.
    pub rollout: Option<RolloutView>,
    /// Commands and calls around it, in the order in which they run.
    pub hooks: Vec<HookRun>,
    /// The watch window after its end, open or over.
    pub watch: Option<WatchView>,
}

/// The steps of a deployment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RolloutView {
    /// All steps in their order.
    pub steps: Vec<StepView>,
    /// The step it is at, from 1; one more than there are steps when all are done.
    pub step: u32,
    /// When it came to that step.
    pub since: Timestamp,
    /// Percent of the requests that the new side is to get.
    pub percent: u8,
    /// Whether the gateway has acknowledged that.
    pub in_force: bool,
    /// What a person is asked, and since when.
    pub asks: Option<Asks>,
    /// Who has paused it.
    pub paused: Option<Said>,
    /// How long the old side is kept, once all of the traffic is on the new one.
    pub keep_until: Option<Timestamp>,
    /// What the new side did since its share last changed.
    pub new: SideTraffic,
    /// What the old side did in the same time.
    pub old: SideTraffic,
    /// What the judge said, oldest first.
    pub judgements: Vec<StepJudgement>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StepView {
    /// What it does, in words.
    pub words: String,
    /// Whether it is done, under way or ahead.
    pub state: StepState,
    /// Who approved it.
    pub approved_by: Option<String>,
}

/// Where a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// Over.
    Done,
    /// Under way.
    Current,
    /// To come.
    Ahead,
}

/// What one side did, by the gateway's measurements.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SideTraffic {
    /// Requests that ended.
    pub requests: u64,
    /// Of those, failed or cut.
    pub failed: u64,
    /// The latency that one in a hundred exceeded, in milliseconds.
    pub p99_ms: Option<f64>,
}

/// The watch window after a deployment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WatchView {
    /// The release that is watched.
    pub release: ReleaseNumber,
    /// To which a bad judgement leads back.
    pub base: Option<ReleaseNumber>,
    /// When it began.
    pub since: Timestamp,
    /// When it ends, if nothing ends it before.
    pub until: Timestamp,
    /// How it ended; absent while it is open.
    pub end: Option<WatchEnd>,
    /// The last judgement.
    pub judgement: Option<Judgement>,
}

/// How far a deployment is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeploymentProgress {
    /// Instances wanted in the end.
    pub wanted: u32,
    /// Instances of the new release.
    pub new: SideProgress,
    /// Instances of every other release.
    pub old: SideProgress,
}

/// Where the instances of one side stand.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SideProgress {
    /// Started, not yet taking traffic.
    pub starting: u32,
    /// Taking traffic.
    pub active: u32,
    /// Taking no new requests; what they have may end.
    pub draining: u32,
    /// Told to stop.
    pub stopping: u32,
    /// Requests and streams inside draining instances, as far as the gateway has said.
    pub draining_in_flight: u32,
    /// When the first of the draining instances began to drain.
    pub draining_since: Option<Timestamp>,
}

/// What a deployment did to traffic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReceiptView {
    /// Which deployment.
    pub deployment: DeploymentId,
    /// Its environment.
    pub env: EnvName,
    /// Its app.
    pub app: AppName,
    /// The release it was to make live.
    pub release: ReleaseNumber,
    /// The release that was live before.
    pub base: Option<ReleaseNumber>,
    /// How it ended.
    pub state: DeploymentState,
    /// `served`, `failed`, `cut`, `retried`, `client_gone`, `longest_stall_ms`, and the same under
    /// `old` and `new`.
    #[serde(flatten)]
    pub receipt: Receipt,
}

/// What a deployment would do. Nothing is changed by asking.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlanView {
    /// Environment.
    pub env: EnvName,
    /// App.
    pub app: AppName,
    /// Whether the release would differ from the live one.
    pub changes: bool,
    /// The live release.
    pub live: Option<ReleaseNumber>,
    /// The number the release would have: a known one when its content is known.
    pub release: ReleaseNumber,
    /// Whether that release exists already.
    pub release_exists: bool,
    /// How the new side would take over.
    pub strategy: Strategy,
    /// Instances wanted in the end.
    pub instances: u32,
    /// What would run, in words: `directory 3fa1b2c4d5e6`, `image web@sha256:61ab…`.
    #[serde(default)]
    pub runs: String,
    /// The artifact, in words, when it differs.
    pub artifact: Option<TextChange>,
    /// Configuration that differs from the live release, sorted by name.
    pub config: Vec<ConfigChange>,
    /// Parts of the definition that differ.
    pub definition: Vec<DefinitionChange>,
    /// What would be done, in words, in order.
    pub steps: Vec<String>,
    /// What the definition asks for and the engine does not enforce.
    pub not_enforced: Vec<NotEnforced>,
    /// Variables without a value: the deployment would be refused.
    pub missing: Vec<String>,
    /// Why else the deployment would be refused, one sentence each.
    pub refusals: Vec<String>,
    /// What to do about `missing` and `refusals`.
    pub remedy: Vec<Remedy>,
    /// What the deployment's record will say of it from the start, one sentence each.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Warnings about the launch file.
    pub warnings: Vec<DiagnosticView>,
    /// What the plan rests on, for a request that is to do just this: the live release, what runs and
    /// waits, and the content of what would run, configuration included. Opaque.
    #[serde(default)]
    pub expect: String,
}
