//! What the judge said of a deployment: the verdict on the new side against the old one, and why,
//! in words and numbers. Made by `ark-planner`'s judge, stored with the deployment, shown by CLI
//! and console.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::ReleaseNumber;

/// What is to be done about the new side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Enough was seen, and nothing that is worth stopping for.
    Pass,
    /// The new side is worse, beyond chance and beyond what is tolerated.
    Fail,
    /// Too little was seen to say.
    Inconclusive,
}

/// One judgement: both sides over the same time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Judgement {
    /// When it was made.
    pub at: Timestamp,
    /// What is to be done.
    pub verdict: Verdict,
    /// The side under judgement.
    pub new: SideSeen,
    /// The side it is compared with.
    pub old: SideSeen,
    /// Each thing that was compared, or why it was not; what decided the verdict comes first.
    pub findings: Vec<Finding>,
}

impl Judgement {
    /// Why the verdict is what it is: the findings that decided it, in words, or one sentence that
    /// sums up what was seen.
    pub fn reasons(&self) -> Vec<&str> {
        let decided: Vec<&str> = self
            .findings
            .iter()
            .filter(|f| match self.verdict {
                Verdict::Fail => f.outcome == Outcome::Worse,
                Verdict::Inconclusive => f.outcome == Outcome::TooFew,
                Verdict::Pass => false,
            })
            .map(|f| f.words.as_str())
            .collect();
        match decided.is_empty() {
            false => decided,
            true => self.findings.iter().map(|f| f.words.as_str()).collect(),
        }
    }
}

/// How much was seen of one side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SideSeen {
    /// The release.
    pub release: ReleaseNumber,
    /// Requests that ended.
    pub requests: u64,
}

/// What the judge looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// How many requests there were at all.
    Requests,
    /// Answers of 500 and above, and requests that were cut.
    Errors,
    /// Answers from 400 to 499.
    ClientErrors,
    /// The shares of 2xx, 3xx and 4xx.
    StatusMix,
    /// Requests that the client gave up.
    ClientGone,
    /// Latency of the fast half.
    LatencyP50,
    /// Latency that one request in ten exceeds.
    LatencyP90,
    /// Latency that one request in a hundred exceeds.
    LatencyP99,
    /// The latencies as a whole.
    Latency,
    /// The sizes of answers.
    AnswerSize,
}

/// What came out of one comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Worse beyond chance, and by enough to stop for.
    Worse,
    /// Different beyond chance, but not by enough to stop for, or not for the worse.
    Tolerated,
    /// No difference beyond chance.
    Alike,
    /// Too little was seen to compare.
    TooFew,
}

/// One comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// What was compared.
    pub measure: Measure,
    /// What came out.
    pub outcome: Outcome,
    /// The chance of a difference at least this large between equal sides; `None` when nothing
    /// was compared.
    pub p_value: Option<f64>,
    /// For a reader at three in the morning.
    pub words: String,
}
