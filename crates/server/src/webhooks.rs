//! Webhooks: one question to an address outside, and what its answer means. Called by the hooks task
//! alone; the simulator has its own. No secret of a question is ever logged.
//!
//! The question is a POST of JSON with the header `idempotency-key`; the answer is a JSON object with
//! `status` (or `hookStatus`) `SUCCEEDED`, `FAILED` or `IN_PROGRESS`, a `reason`, and the seconds
//! after which to ask again (`retry_after_s` or `callBackDelay`). What cannot be reached, or fails by
//! itself (5xx, 408, 425, 429), is asked again; what refuses (other 4xx) has failed.

use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use ark_planner::hooks::HookAnswer;
use async_trait::async_trait;
use serde::Deserialize;

/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// How long it may take to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What is asked.
#[derive(Clone)]
pub struct Question {
    /// Where.
    pub url: String,
    /// Sent as bearer token.
    pub token: Option<String>,
    /// The same for each repetition.
    pub key: String,
    /// What is sent.
    pub body: serde_json::Value,
    /// How long the answer may take.
    pub deadline: Duration,
}

impl fmt::Debug for Question {
    /// Without the token, and without the query, which may hold a secret too.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.url.split('?').next();
        f.debug_struct("Question")
            .field("url", &url)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The beginning of the body.
    pub body: Vec<u8>,
}

/// Asks webhooks.
#[async_trait]
pub trait Webhooks: Send + Sync + fmt::Debug {
    /// Asks once.
    ///
    /// # Errors
    /// Why there was no answer, in words without secrets.
    async fn ask(&self, question: Question) -> Result<Reply, String>;
}

/// What a reply means.
pub fn answer_of(reply: &Reply) -> HookAnswer {
    match reply.status {
        200..=299 => {}
        status @ (408 | 425 | 429 | 500..=599) => {
            return HookAnswer::Unclear(format!("answered {status}"));
        }
        status => return HookAnswer::Failed(format!("answered {status}")),
    }
    #[derive(Deserialize)]
    struct Said {
        #[serde(alias = "hookStatus")]
        status: String,
        #[serde(default)]
        reason: Option<String>,
        #[serde(default, alias = "callBackDelay")]
        retry_after_s: Option<u64>,
    }
    let said: Said = match serde_json::from_slice(&reply.body) {
        Ok(said) => said,
        Err(error) => return HookAnswer::Unclear(format!("its answer is no status: {error}")),
    };
    match said.status.as_str() {
        "SUCCEEDED" => HookAnswer::Succeeded,
        "FAILED" => HookAnswer::Failed(match said.reason {
            Some(reason) => format!("FAILED: {reason}"),
            None => "FAILED".to_owned(),
        }),
        "IN_PROGRESS" => HookAnswer::InProgress(said.retry_after_s.map(Duration::from_secs)),
        _ => HookAnswer::Unclear("it says neither SUCCEEDED, FAILED nor IN_PROGRESS".to_owned()),
    }
}

/// Over HTTP.
#[derive(Debug, Default)]
pub struct HttpWebhooks {
    client: OnceLock<Option<reqwest::Client>>,
}

impl HttpWebhooks {
    fn client(&self) -> Result<&reqwest::Client, String> {
        let made = self.client.get_or_init(|| {
            // Whoever came first decides; all here use the same provider.
            let _ = rustls::crypto::ring::default_provider().install_default();
            reqwest::Client::builder()
                .connect_timeout(CONNECT_TIMEOUT)
                .redirect(reqwest::redirect::Policy::none())
                .build()
                .ok()
        });
        made.as_ref().ok_or_else(|| "no HTTP client could be made".to_owned())
    }
}

#[async_trait]
impl Webhooks for HttpWebhooks {
    async fn ask(&self, question: Question) -> Result<Reply, String> {
        let request = self
            .client()?
            .post(&question.url)
            .timeout(question.deadline)
            .header("idempotency-key", &question.key)
            .json(&question.body);
        let request = match &question.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let mut response = request.send().await.map_err(words)?;
        let status = response.status().as_u16();
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(words)? {
            if body.len() + piece.len() > ANSWER_BYTES_MAX {
                return Err(format!("its answer is longer than {ANSWER_BYTES_MAX} bytes"));
            }
            body.extend_from_slice(&piece);
        }
        Ok(Reply { status, body })
    }
}

/// Without the address: its query may hold a secret.
fn words(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_mean_what_they_say() {
        let of = |status, body: &str| answer_of(&Reply { status, body: body.into() });
        assert_eq!(of(200, r#"{"status": "SUCCEEDED"}"#), HookAnswer::Succeeded);
        assert_eq!(of(200, r#"{"hookStatus": "SUCCEEDED"}"#), HookAnswer::Succeeded);
        assert_eq!(
            of(200, r#"{"status": "FAILED", "reason": "no"}"#),
            HookAnswer::Failed("FAILED: no".into())
        );
        assert_eq!(of(202, r#"{"status": "IN_PROGRESS"}"#), HookAnswer::InProgress(None));
        assert_eq!(
            of(200, r#"{"hookStatus": "IN_PROGRESS", "callBackDelay": 30}"#),
            HookAnswer::InProgress(Some(Duration::from_secs(30)))
        );
        assert_eq!(of(403, ""), HookAnswer::Failed("answered 403".into()));
        for (status, body) in [(503, ""), (429, ""), (200, "ok"), (200, r#"{"status": "done"}"#)] {
            assert!(matches!(of(status, body), HookAnswer::Unclear(_)), "{status} {body}");
        }
    }

    #[test]
    fn a_question_shows_no_secret() {
        let question = Question {
            url: "https://gate.test/ask?key=hush".into(),
            token: Some("hush".into()),
            key: "1/webhook-1".into(),
            body: serde_json::Value::Null,
            deadline: Duration::ZERO,
        };
        assert!(!format!("{question:?}").contains("hush"));
    }
}
