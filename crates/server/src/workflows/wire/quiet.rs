//! Calls to other services that clients and workers of Step Functions make in passing, by any of the
//! three protocols AWS's SDKs speak: they are verified like all others and answered so that nothing
//! fails. CloudWatch's `PutMetricData` is taken and forgotten (Ark measures workers itself);
//! `GetCallerIdentity` says whose key it is. Everything else is unknown.

use axum::body::{Body, Bytes};
use axum::response::Response;
use http::request::Parts;
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

use super::answer::{self, Answered};
use super::authenticate;
use super::error::WireError;
use crate::api::Shared;
use crate::workflows::arn::ACCOUNT;

const METRICS_TARGET: &str = "GraniteServiceVersion20100801.PutMetricData";
const METRICS_PATH: &str = "/service/GraniteServiceVersion20100801/operation/PutMetricData";
const FORM: &str = "application/x-www-form-urlencoded";
/// Says that a body is CBOR of Smithy's protocol.
const SMITHY_PROTOCOL: &str = "smithy-protocol";
const CBOR: &str = "rpc-v2-cbor";

/// How a client speaks, and therefore how errors are said to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// awsJson 1.0.
    Json,
    /// Form in, XML out.
    Query,
    /// Smithy's RPC with CBOR.
    Cbor,
}

pub(super) fn protocol_of(parts: &Parts) -> Protocol {
    let text = |name: &str| {
        parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    };
    if text(SMITHY_PROTOCOL) == CBOR {
        Protocol::Cbor
    } else if text(header::CONTENT_TYPE.as_str()).starts_with(FORM) {
        Protocol::Query
    } else {
        Protocol::Json
    }
}

impl Protocol {
    pub(super) fn error(self, error: &WireError, request: &str) -> Response {
        match self {
            Self::Json => answer::json(error.status, &error.json()),
            Self::Query => xml(
                error.status,
                format!(
                    "<ErrorResponse><Error><Type>Sender</Type><Code>{}</Code><Message>{}</Message>\
                     </Error><RequestId>{request}</RequestId></ErrorResponse>",
                    escaped(&error.code),
                    escaped(&error.message),
                ),
            ),
            Self::Cbor => cbor(
                error.status,
                cbor_texts(&[("__type", &error.code), ("message", &error.message)]),
            ),
        }
    }
}

pub(super) async fn answer(
    state: &Shared,
    parts: &Parts,
    target: Option<&str>,
    body: Bytes,
) -> Answered {
    let protocol = protocol_of(parts);
    let action = match protocol {
        Protocol::Json if target == Some(METRICS_TARGET) => "PutMetricData",
        Protocol::Cbor if parts.uri.path() == METRICS_PATH => "PutMetricData",
        Protocol::Query => form_value(&body, "Action").unwrap_or_default(),
        Protocol::Json | Protocol::Cbor => "",
    };
    match action {
        "PutMetricData" => {
            authenticate(state, parts, &body, "monitoring").await?;
            Ok(match protocol {
                Protocol::Json => answer::json(StatusCode::OK, &json!({})),
                Protocol::Query => xml(
                    StatusCode::OK,
                    "<PutMetricDataResponse xmlns=\"http://monitoring.amazonaws.com/doc/2010-08-01/\">\
                     <ResponseMetadata><RequestId>0</RequestId></ResponseMetadata>\
                     </PutMetricDataResponse>"
                        .to_owned(),
                ),
                Protocol::Cbor => cbor(StatusCode::OK, cbor_texts(&[])),
            })
        }
        "GetCallerIdentity" => {
            let who = authenticate(state, parts, &body, "sts").await?;
            let name = escaped(&who.caller.name);
            Ok(xml(
                StatusCode::OK,
                format!(
                    "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
                     <GetCallerIdentityResult><Arn>arn:aws:iam::{ACCOUNT}:user/{name}</Arn>\
                     <UserId>{name}</UserId><Account>{ACCOUNT}</Account></GetCallerIdentityResult>\
                     <ResponseMetadata><RequestId>0</RequestId></ResponseMetadata>\
                     </GetCallerIdentityResponse>"
                ),
            ))
        }
        // Whoever speaks no protocol of AWS gets no further than anybody without a signature.
        _ if parts.headers.contains_key(header::AUTHORIZATION) => {
            Err(WireError::unknown_operation())
        }
        _ => {
            let missing = crate::auth::SignatureError::Missing;
            Err(WireError::bad_request(missing.code(), missing.to_string()))
        }
    }
}

/// A value of a form, where it needs no decoding: names of actions are letters.
fn form_value<'a>(body: &'a [u8], name: &str) -> Option<&'a str> {
    let text = std::str::from_utf8(body).ok()?;
    let mut pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

fn xml(status: StatusCode, text: String) -> Response {
    answer::response(status, "text/xml", Body::from(text))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn cbor(status: StatusCode, bytes: Vec<u8>) -> Response {
    let mut response = answer::response(status, "application/cbor", Body::from(bytes));
    response.headers_mut().insert(SMITHY_PROTOCOL, HeaderValue::from_static(CBOR));
    response
}

/// A CBOR map of texts (RFC 8949): few and short ones.
fn cbor_texts(texts: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = vec![0xa0 | u8::try_from(texts.len()).unwrap_or(0)];
    for text in texts.iter().flat_map(|(key, value)| [key, value]) {
        let length = u16::try_from(text.len()).unwrap_or(0);
        bytes.push(0x79);
        bytes.extend(length.to_be_bytes());
        bytes.extend(&text.as_bytes()[..usize::from(length)]);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cbor_is_as_the_specification_says() {
        assert_eq!(cbor_texts(&[]), [0xa0]);
        assert_eq!(cbor_texts(&[("a", "bc")]), *b"\xa1\x79\x00\x01a\x79\x00\x02bc");
    }
}
