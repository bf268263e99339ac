//! Page tokens: sealed, so that a client can neither read nor change one; bound to the operation
//! and to everything else in its input, so that one is good for its own list only; for a day.

use std::fmt::Write as _;

use ark_store::Sealed;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::SignedDuration;
use serde_json::Value;

use super::call::Call;
use super::error::{WireError, invalid_token};

/// How long a token is good.
const GOOD_FOR: SignedDuration = SignedDuration::from_hours(24);

pub(super) fn seal(call: &Call, next: &str) -> Result<String, WireError> {
    let text = format!("{} {next}", call.now.as_second());
    let sealed = call.state.keyring.seal_token(&purpose(call), text);
    let sealed = sealed.map_err(|error| WireError::internal(error.to_string()))?;
    Ok(URL_SAFE_NO_PAD.encode(sealed.as_bytes()))
}

pub(super) fn open(call: &Call, token: &str) -> Result<String, WireError> {
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| invalid_token())?;
    let text = call
        .state
        .keyring
        .open_token(&purpose(call), &Sealed::from_bytes(bytes))
        .map_err(|_| invalid_token())?;
    let (issued, next) = text.expose().split_once(' ').ok_or_else(invalid_token)?;
    let issued: i64 = issued.parse().map_err(|_| invalid_token())?;
    if call.now.as_second().saturating_sub(issued) > GOOD_FOR.as_secs() {
        return Err(invalid_token());
    }
    Ok(next.to_owned())
}

/// What the token is for. The size of the page may change from one to the next.
fn purpose(call: &Call) -> String {
    let mut about: Vec<(&str, &Value)> = call
        .input
        .iter()
        .filter(|(name, _)| !["nextToken", "maxResults"].contains(&name.as_str()))
        .map(|(name, value)| (name.as_str(), value))
        .collect();
    about.sort_by_key(|(name, _)| *name);
    let mut purpose = format!("page of {}", call.operation.name);
    for (name, value) in about {
        // As JSON, a value cannot be mistaken for another member.
        let _ = write!(purpose, "\n{name}={value}");
    }
    purpose
}
