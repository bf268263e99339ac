//! A client of the wire API: signs, sends, reads.

use std::time::{Duration, Instant};

use ark_server::auth::{SignedRequest, sign};
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use crate::harness::Ark;

/// How long an execution may take to end.
const OVER: Duration = Duration::from_secs(60);

/// An access key and where it is good.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) base: String,
    pub(crate) key: String,
    pub(crate) secret: String,
    pub(crate) http: reqwest::Client,
}

/// An answer: the body of a good one, name and text of a refusal.
pub(crate) type Answer = Result<Value, (String, String)>;

impl Client {
    /// A client with a key of its own.
    pub(crate) fn of(ark: &Ark, role: &str) -> Self {
        let made = ark.json(&["token", "create", "--kind", "aws", "--role", role, "--json"]);
        let text = |name: &str| made[name].as_str().expect(name).to_owned();
        // The command line installs one too, but this process is not the command line.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().timeout(Duration::from_secs(90)).build();
        Self {
            base: format!("http://{}", ark.api),
            key: text("access_key_id"),
            secret: text("secret_access_key"),
            http: http.expect("a client"),
        }
    }

    /// One operation.
    pub(crate) async fn call(&self, operation: &str, input: &Value) -> Answer {
        let body = input.to_string();
        let (status, text) = self.send(operation, &body, &self.secret).await;
        let answer: Value = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{operation}: {status} {error}: {text}"));
        match status {
            200 => Ok(answer),
            _ => Err((
                answer["__type"].as_str().unwrap_or_default().to_owned(),
                answer["message"].as_str().unwrap_or_default().to_owned(),
            )),
        }
    }

    /// One operation that must be done.
    pub(crate) async fn good(&self, operation: &str, input: Value) -> Value {
        let answer = self.call(operation, &input).await;
        answer.unwrap_or_else(|(name, text)| panic!("{operation} {input}: {name}: {text}"))
    }

    /// One operation that must be refused. Answers its name.
    pub(crate) async fn refused(&self, operation: &str, input: Value) -> String {
        match self.call(operation, &input).await {
            Ok(answer) => panic!("{operation} {input} was not refused: {answer}"),
            Err((name, _)) => name,
        }
    }

    /// An execution once it has ended, as it is described.
    pub(crate) async fn end(&self, execution: &str) -> Value {
        let describe = json!({ "executionArn": execution });
        let until = Instant::now() + OVER;
        loop {
            let seen = self.good("DescribeExecution", describe.clone()).await;
            if seen["status"] != "RUNNING" {
                return seen;
            }
            assert!(Instant::now() < until, "{execution} does not end");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) async fn send(&self, operation: &str, body: &str, secret: &str) -> (u16, String) {
        self.attempt(operation, body, secret).await.expect("an answer")
    }

    /// The same, to a server that may be killed over it: what came back whole.
    pub(crate) async fn attempt(
        &self,
        operation: &str,
        body: &str,
        secret: &str,
    ) -> Result<(u16, String), reqwest::Error> {
        let headers = self.signed(operation, body, secret);
        let request = self.http.post(&self.base).headers(headers).body(body.to_owned());
        let answer = request.send().await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    /// What goes before a body: for whoever speaks on a connection of its own.
    pub(crate) fn signed(&self, operation: &str, body: &str, secret: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let host = self.base.trim_start_matches("http://");
        let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
        for (name, value) in [
            ("host", host),
            ("x-amz-date", now.as_str()),
            ("x-amz-target", &format!("AWSStepFunctions.{operation}")),
            ("content-type", "application/x-amz-json-1.0"),
        ] {
            headers.insert(name, value.parse().expect("a value"));
        }
        let request = SignedRequest {
            method: "POST",
            path: "/",
            query: "",
            headers: &headers,
            body: body.as_bytes(),
        };
        let signed = sign(request, &self.key, secret, "us-east-1", "states").expect("signed");
        headers.insert("authorization", signed.parse().expect("a value"));
        headers
    }
}
