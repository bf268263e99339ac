//! Calls of a TestState: made as a task's are, with the same limits and out of the same reach, and shown
//! with their answers. What a connection adds is a secret and is shown to nobody.

use ark_states::Value;
use ark_states::error::{Failure, names};
use ark_states::test_state::Called;
use serde_json::{Map, Value as Json, json};

use super::super::Workflows;
use super::caller::{Answer, Outgoing};
use super::{outcome, request};

impl Workflows {
    /// Makes the call that a tested state asks for.
    pub(in crate::workflows) async fn call_of_test(&self, parameters: &Value) -> Called {
        let asked = match request::read(parameters) {
            Ok(asked) => asked,
            Err(why) => {
                let result = Err(Failure::new(names::RUNTIME, why));
                return Called { result, request: None, response: None };
            }
        };
        // Before its connection adds anything.
        let shown = shown_request(&asked.outgoing);
        let made = self.made(asked, None).await;
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

/// Header fields as the API shows them: a text of JSON, each name with its values.
fn headers(fields: &[(String, String)]) -> Json {
    let mut all = Map::new();
    for (name, value) in fields {
        let values = all.entry(name.as_str()).or_insert_with(|| json!([]));
        if let Some(values) = values.as_array_mut() {
            values.push(value.as_str().into());
        }
    }
    Json::Object(all).to_string().into()
}
