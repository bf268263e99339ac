//! What the runtime keeps of an execution beside the interpreter's state; long texts; tokens.

use ark_model::workflow::MachineType;
use ark_store::{ReadTx, WriteTx};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use ring::{digest, hmac};
use serde::{Deserialize, Serialize};

use super::error::{Refusal, WorkflowError};

/// Texts above this length are kept once per execution, under their digest.
const INLINE_BYTES_MAX: usize = 1_024;
/// Begins a reference to such a text; no JSON text begins with it.
const REFERENCE: char = '\u{1}';
/// The longest token that is looked at (the quota of AWS).
const TOKEN_CHARS_MAX: usize = 2_048;
const TAG_BYTES: usize = 16;

pub(super) fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn one_item() -> u64 {
    1
}

fn is_one_item(items: &u64) -> bool {
    *items == 1
}

fn is_zero_signed(number: &i64) -> bool {
    *number == 0
}

/// The `body` of an execution's row. Field names are short because there are millions.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Facts {
    /// Key of its task tokens.
    #[serde(rename = "k")]
    pub(super) secret: String,
    /// Input's text, or a reference.
    #[serde(rename = "i")]
    pub(super) input: String,
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    pub(super) output: Option<String>,
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub(super) cause: Option<String>,
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub(super) trace_header: Option<String>,
    #[serde(rename = "va", default, skip_serializing_if = "Option::is_none")]
    pub(super) version_arn: Option<String>,
    #[serde(rename = "aa", default, skip_serializing_if = "Option::is_none")]
    pub(super) alias_arn: Option<String>,
    #[serde(rename = "p", default, skip_serializing_if = "is_zero_signed")]
    pub(super) priority: i64,
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    pub(super) namespace: Option<String>,
    #[serde(rename = "rc", default, skip_serializing_if = "is_zero")]
    pub(super) redrive_count: u64,
    #[serde(rename = "ra", default, skip_serializing_if = "Option::is_none")]
    pub(super) redriven_at: Option<Timestamp>,
    #[serde(rename = "rt", default, skip_serializing_if = "Option::is_none")]
    pub(super) redrive_token: Option<String>,
    #[serde(rename = "pa", default, skip_serializing_if = "Option::is_none")]
    pub(super) parent: Option<Parent>,
    /// Events in its inbox, and the number of the last one that ever was there.
    #[serde(rename = "q", default, skip_serializing_if = "is_zero")]
    pub(super) waiting: u64,
    #[serde(rename = "qs", default, skip_serializing_if = "is_zero")]
    pub(super) last_waiting: u64,
    /// Whether it ever had a map run.
    #[serde(rename = "m", default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) map_runs: bool,
}

/// Who is told how an execution ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Parent {
    /// A task of another execution.
    Task {
        /// Which execution.
        execution: u64,
        /// Which task.
        task: u64,
        /// Whether input and output are given as JSON (`.sync:2`) or as texts.
        json: bool,
    },
    /// A map run.
    Item {
        /// Which run.
        map_run: u64,
        /// The place of its input.
        index: u64,
        /// The scope it runs.
        scope: u32,
        /// Label of the Map state.
        label: String,
        /// Whether its history is kept.
        express: bool,
        /// Items in its input.
        #[serde(default = "one_item", skip_serializing_if = "is_one_item")]
        items: u64,
    },
}

impl Facts {
    /// It goes on where it failed: what was said of its end holds no more.
    pub(super) fn goes_on(&mut self, now: Timestamp, token: Option<String>) {
        self.redrive_count += 1;
        self.redriven_at = Some(now);
        self.redrive_token = token;
        self.output = None;
        self.error = None;
        self.cause = None;
    }

    /// The key of the tokens.
    fn key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, self.secret.as_bytes())
    }

    /// The token of a task.
    pub(super) fn token(&self, execution: u64, task: u64, use_: TokenUse) -> String {
        let mut bytes = Vec::with_capacity(17 + TAG_BYTES);
        bytes.extend_from_slice(&execution.to_be_bytes());
        bytes.extend_from_slice(&task.to_be_bytes());
        bytes.push(use_ as u8);
        let tag = hmac::sign(&self.key(), &bytes);
        bytes.extend_from_slice(&tag.as_ref()[..TAG_BYTES]);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Whether the execution gave this token.
    pub(super) fn gave(&self, token: &Token) -> bool {
        let mut bytes = Vec::with_capacity(17);
        bytes.extend_from_slice(&token.execution.to_be_bytes());
        bytes.extend_from_slice(&token.task.to_be_bytes());
        bytes.push(token.use_ as u8);
        let tag = hmac::sign(&self.key(), &bytes);
        subtle::ConstantTimeEq::ct_eq(&tag.as_ref()[..TAG_BYTES], &token.tag[..]).into()
    }
}

/// For what a token is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenUse {
    /// Ends the task.
    Task = 0,
    /// Ends the call by which a callback's task was asked for, not the task.
    Call = 1,
}

/// A token, taken apart and not yet believed.
#[derive(Debug, Clone)]
pub(super) struct Token {
    pub(super) execution: u64,
    pub(super) task: u64,
    pub(super) use_: TokenUse,
    tag: [u8; TAG_BYTES],
}

impl Token {
    /// Takes a token apart.
    pub(super) fn parse(text: &str) -> Result<Self, WorkflowError> {
        let parts = || {
            if text.len() > TOKEN_CHARS_MAX {
                return None;
            }
            let bytes: [u8; 17 + TAG_BYTES] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
            let number = |from: usize| -> Option<u64> {
                Some(u64::from_be_bytes(bytes[from..from + 8].try_into().ok()?))
            };
            let use_ = match bytes[16] {
                0 => TokenUse::Task,
                1 => TokenUse::Call,
                _ => return None,
            };
            let tag = bytes[17..].try_into().ok()?;
            Some(Self { execution: number(0)?, task: number(8)?, use_, tag })
        };
        parts().ok_or_else(|| Refusal::InvalidToken.with("Invalid Token: 'Invalid token'"))
    }
}

/// Whether a text is too long for a row, or looks like a reference.
pub(super) fn is_kept_apart(text: &str) -> bool {
    text.len() > INLINE_BYTES_MAX || text.starts_with(REFERENCE)
}

/// A text as it is kept in a row: itself, or a reference to a payload written here.
pub(super) fn keep_text(
    tx: &mut WriteTx,
    execution: u64,
    text: &str,
) -> Result<String, WorkflowError> {
    if !is_kept_apart(text) {
        return Ok(text.to_owned());
    }
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    let digest = hex::encode(&digest.as_ref()[..16]);
    tx.put_payload(execution, &digest, text)?;
    Ok(format!("{REFERENCE}{digest}"))
}

/// The way back from [`keep_text`].
pub(super) fn kept_text(tx: &ReadTx, execution: u64, kept: &str) -> Result<String, WorkflowError> {
    match kept.strip_prefix(REFERENCE) {
        None => Ok(kept.to_owned()),
        Some(digest) => tx.payload(execution, digest)?.ok_or_else(|| gone(execution)),
    }
}

/// The first characters of what [`keep_text`] kept, and the bytes of the whole: for what is shown
/// cut, of which there may be much.
pub(super) fn kept_beginning(
    tx: &ReadTx,
    execution: u64,
    kept: &str,
    chars: usize,
) -> Result<(String, u64), WorkflowError> {
    match kept.strip_prefix(REFERENCE) {
        None => Ok((kept.chars().take(chars).collect(), kept.len() as u64)),
        Some(digest) => {
            tx.payload_beginning(execution, digest, chars)?.ok_or_else(|| gone(execution))
        }
    }
}

fn gone(execution: u64) -> WorkflowError {
    WorkflowError::Internal(format!("a text of execution {execution} is gone"))
}

/// What of a revision's body the runtime needs.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct RevisionBody {
    #[serde(default, alias = "roleArn")]
    pub(super) role_arn: String,
}

/// The kind of machine a child of a map run is.
pub(super) fn child_type(express: bool) -> MachineType {
    if express { MachineType::Express } else { MachineType::Standard }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_its_task_alone() {
        let facts = Facts { secret: "s".into(), ..Facts::default() };
        let other = Facts { secret: "t".into(), ..Facts::default() };
        let text = facts.token(7, 3, TokenUse::Task);
        let token = Token::parse(&text).expect("a token");
        assert!(facts.gave(&token));
        assert!(!other.gave(&token));
        let forged = Token { task: 4, ..token.clone() };
        assert!(!facts.gave(&forged));
        let forged = Token { use_: TokenUse::Call, ..token };
        assert!(!facts.gave(&forged));
        for bad in ["", "x", &text[1..], &format!("{text}A"), "ünïcode"] {
            assert!(Token::parse(bad).is_err(), "{bad}");
        }
    }
}
