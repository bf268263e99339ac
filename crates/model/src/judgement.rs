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

impl Judgement {
    /// The verdict's reasons in one line, at most `max` of them. A pass is summed up: what was seen,
    /// and the errors of both sides.
    pub fn words(&self, max: usize) -> String {
        let decided = || self.reasons().into_iter().take(max).collect::<Vec<_>>().join("; ");
        match self.verdict {
            Verdict::Fail | Verdict::Inconclusive => decided(),
            Verdict::Pass => {
                let side =
                    |side: &SideSeen| format!("{} on {}", grouped(side.requests), side.release);
                let errors = self.findings.iter().find(|f| f.measure == Measure::Errors);
                let errors = errors.map_or(String::new(), |f| format!(" ({})", f.words));
                format!(
                    "nothing worth stopping for in the requests of both sides, {} and {}{errors}",
                    side(&self.new),
                    side(&self.old)
                )
            }
        }
    }
}

/// `19400` as `19,400`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
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
    /// Instances that fail again and again; only looked at once a release is live.
    Instances,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_says_what_was_seen_and_not_its_first_remark() {
        let finding = |measure, words: &str| Finding {
            measure,
            outcome: Outcome::Tolerated,
            p_value: Some(0.001),
            words: words.into(),
        };
        let mut judgement = Judgement {
            at: Timestamp::UNIX_EPOCH,
            verdict: Verdict::Pass,
            new: SideSeen { release: ReleaseNumber(43), requests: 1_204 },
            old: SideSeen { release: ReleaseNumber(42), requests: 23_190 },
            findings: vec![
                finding(Measure::LatencyP50, "median latency: 1.1 ms on v43, 1.0 ms on v42"),
                finding(Measure::Errors, "5xx: 0 of 1,204 requests on v43, 1 of 23,190 on v42"),
            ],
        };
        assert_eq!(
            judgement.words(2),
            "nothing worth stopping for in the requests of both sides, 1,204 on v43 and 23,190 on \
             v42 (5xx: 0 of 1,204 requests on v43, 1 of 23,190 on v42)"
        );
        judgement.verdict = Verdict::Fail;
        judgement.findings[0].outcome = Outcome::Worse;
        assert_eq!(judgement.words(2), "median latency: 1.1 ms on v43, 1.0 ms on v42");
    }
}
