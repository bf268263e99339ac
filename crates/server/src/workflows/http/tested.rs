//! Calls of a TestState: made as a task's are, with the same limits and out of the same reach, and shown
//! with their answers. What a connection adds is a secret and is shown to nobody.

use ark_states::Value;
use ark_states::error::{Failure, names};
use ark_states::test_state::Called;
use futures::future::{Either, select};
use jiff::SignedDuration;
use serde_json::{Map, Value as Json, json};

use super::super::Workflows;
use super::super::step::after;
use super::caller::{Answer, Outgoing};
use super::{outcome, request};

impl Workflows {
    /// Makes the call that a tested state asks for.
    ///
    /// It has as long as the state gives it, and no longer than any call.
    pub(in crate::workflows) async fn call_of_test(
        &self,
        parameters: &Value,
        timeout_seconds: Option<i64>,
    ) -> Called {
        let asked = match request::read(parameters) {
            Ok(asked) => asked,
            Err(why) => {
                let result = Err(Failure::new(names::RUNTIME, why));
                return Called { result, request: None, response: None };
            }
        };
        // Before its connection adds anything.
        let shown = shown_request(&asked.outgoing);
        let clock = &self.world.clock;
        let late = timeout_seconds.map_or(SignedDuration::MAX, SignedDuration::from_secs);
        let late = std::pin::pin!(clock.sleep_until(after(clock.now(), late)));
        let made = match select(std::pin::pin!(self.made(asked, None)), late).await {
            Either::Left((made, _)) => made,
            Either::Right(_) => Err(Failure { error: Some(names::TIMEOUT.into()), cause: None }),
        };
        let response = made.as_ref().ok().and_then(|made| made.as_ref().ok()).map(shown_response);
        let result = made.and_then(outcome).map(|document| document.value().clone());
        Called { result, request: Some(shown), response }
    }
}

fn shown_request(outgoing: &Outgoing) -> Json {
    let mut shown = Map::new();
    shown.insert("protocol".into(), outgoing.url.scheme().into());
    shown.insert("method".into(), outgoing.method.as_str().into());
    shown.insert("url".into(), outgoing.url.as_str().into());
    shown.insert("headers".into(), headers(&outgoing.headers));
    if let Some(body) = &outgoing.body {
        shown.insert("body".into(), String::from_utf8_lossy(body).into());
    }
    shown.into()
}

fn shown_response(answer: &Answer) -> Json {
    json!({
        "protocol": "HTTP/1.1",
        "statusCode": answer.status.to_string(),
        "statusMessage": answer.reason,
        "headers": headers(&answer.headers),
        "body": String::from_utf8_lossy(&answer.body),
    })
}

/// Header fields as the API shows them: a text, `[name: value, name: value]`.
fn headers(fields: &[(String, String)]) -> Json {
    let all: Vec<_> = fields.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    format!("[{}]", all.join(", ")).into()
}
