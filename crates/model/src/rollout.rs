//! How far a deployment in steps is, and the watch after its end: what must be known again after a
//! crash. Moved by `ark-planner`, recorded with the deployment (the watch, while it is open, with
//! the app).

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::definition::{HeaderStep, MirrorStep, Step};
use crate::ids::{DeploymentId, ReleaseNumber};
use crate::judgement::Judgement;

/// The most judgements recorded with a deployment: the newest are kept.
pub const JUDGEMENTS_MAX: usize = 40;

/// A deployment in steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    /// The steps, as pinned at the start. The last gives all of the traffic to the new side.
    pub steps: Vec<Step>,
    /// The step it is at, from 0; as many as there are steps when all are done.
    pub step: usize,
    /// When it came to that step.
    pub since: Timestamp,
    /// The share the new side is to have. The gateway's acknowledgement is an observation.
    pub share: Share,
    /// When the traffic was last divided in another way (by percent or by a header) and that was
    /// acknowledged: what is measured from then on is judged.
    pub judged_from: Option<Timestamp>,
    /// So many instances of the new side, when a step said so.
    pub scale: Option<u32>,
    /// A person's pause.
    pub paused: Option<Said>,
    /// A person's word to go on: steps before `until` that wait are over.
    pub promoted: Option<Promotion>,
    /// Who approved which step.
    pub approvals: Vec<Approval>,
    /// Since when it waits for a person; 24 hours later it is aborted.
    pub asks: Option<Asks>,
    /// What the judge said, oldest first.
    pub judgements: Vec<StepJudgement>,
    /// Early looks of the judge in the analysis it is at or on its way to.
    pub looks: u32,
    /// Early looks before that.
    pub looks_before: u32,
    /// When the old side was let go, after it had been kept.
    pub released_at: Option<Timestamp>,
    /// Time it held so far, in milliseconds: counts against no deadline.
    pub held_ms: u64,
    /// Since when it holds.
    pub held_since: Option<Timestamp>,
}

impl Rollout {
    /// At the first of `steps`.
    pub fn new(steps: Vec<Step>, now: Timestamp) -> Self {
        Self {
            steps,
            step: 0,
            since: now,
            share: Share::default(),
            judged_from: None,
            scale: None,
            paused: None,
            promoted: None,
            approvals: Vec::new(),
            asks: None,
            judgements: Vec::new(),
            looks: 0,
            looks_before: 0,
            released_at: None,
            held_ms: 0,
            held_since: None,
        }
    }

    /// The step it is at, `None` when all are done.
    pub fn current(&self) -> Option<&Step> {
        self.steps.get(self.step)
    }
}

/// What part of the traffic the new side gets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Percent of the requests, 0 to 100.
    pub percent: u8,
    /// Requests that go to the new side whatever the percent.
    pub headers: Vec<HeaderStep>,
    /// Copies for the new side.
    pub mirror: Option<MirrorStep>,
}

/// A person's word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Said {
    /// Who.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Why, when told.
    pub reason: Option<String>,
}

/// A person's word to go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Promotion {
    /// Who, and when.
    #[serde(flatten)]
    pub said: Said,
    /// Steps before this one that wait are over.
    pub until: usize,
}

/// A person's approval of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Approval {
    /// Who, and when.
    #[serde(flatten)]
    pub said: Said,
    /// Which step, from 0.
    pub step: usize,
}

/// A deployment that waits for a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Asks {
    /// Since when.
    pub since: Timestamp,
    /// For what.
    pub what: AsksFor,
}

/// What a person is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AsksFor {
    /// A step wants an approval.
    Approval,
    /// A step pauses until somebody goes on.
    Promotion,
    /// The judge could not say.
    Judgement,
    /// Somebody paused it.
    Resumption,
}

/// What the judge said at a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StepJudgement {
    /// At which step, from 0.
    pub step: usize,
    /// What.
    pub judgement: Judgement,
}

/// The time after a deployment's end in which the judge still looks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Watch {
    /// After which deployment.
    pub deployment: DeploymentId,
    /// The release that is watched.
    pub release: ReleaseNumber,
    /// The release before it, to which a bad judgement leads back.
    pub base: Option<ReleaseNumber>,
    /// When it began.
    pub since: Timestamp,
    /// When it ends.
    pub until: Timestamp,
    /// From when on the old side was measured beside the new one, or before it.
    pub measured_from: Timestamp,
    /// Looks of the judge so far.
    pub looks: u32,
    /// The last judgement.
    pub judgement: Option<Judgement>,
    /// How it ended.
    pub end: Option<WatchEnd>,
}

/// How a watch window ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WatchEnd {
    /// Its time passed and nothing bad was found: the release is known good.
    Completed,
    /// The judge found it bad: rolled back.
    RolledBack,
    /// The judge found it bad, and there is no better release to go back to.
    FoundBad,
    /// Its time passed, but too much of what was measured was lost, or never said by the gateway: whether
    /// the release is good is not known.
    Unjudged,
    /// A newer deployment began, or the app was stopped.
    CutShort,
}
