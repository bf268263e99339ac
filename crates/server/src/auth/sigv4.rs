//! AWS Signature Version 4 in the `Authorization` header: what a request must be signed as, and
//! whether it is. Pure: the secret and the time are passed in. Called by `access_key`; knows no
//! operation.
//!
//! Source: "Signature Version 4 signing process" of the AWS General Reference. Query strings with
//! signatures (presigned addresses) and chunked signatures belong to other services and are refused.

use http::HeaderMap;
use jiff::{SignedDuration, Timestamp, civil, tz};
use ring::{digest, hmac};
use subtle::ConstantTimeEq as _;

/// The only algorithm.
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// How far the clock of a client may be off.
const SKEW_MAX: SignedDuration = SignedDuration::from_mins(5);
/// The longest `Authorization` header that is looked at, in bytes.
const HEADER_BYTES_MAX: usize = 4_096;
/// The most signed headers.
const SIGNED_HEADERS_MAX: usize = 64;
/// Headers that must be signed when they are there: without them a signature would fit another
/// operation, another body or another time.
const MUST_BE_SIGNED: [&str; 4] =
    ["x-amz-date", "x-amz-target", "x-amz-content-sha256", "x-amz-security-token"];

/// A request as it came.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Its method.
    pub method: &'a str,
    /// Its path as in the first line.
    pub path: &'a str,
    /// What followed `?`.
    pub query: &'a str,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Its body, before any decompression.
    pub body: &'a [u8],
}

/// Why a request is not what its signer sent. The names are those of AWS.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// There is no signature.
    #[error("Missing Authentication Token")]
    Missing,
    /// The header is not what it must be.
    #[error("{0}")]
    Incomplete(String),
    /// The key is not known, or no longer valid.
    #[error("The security token included in the request is invalid.")]
    UnknownKey,
    /// The signature is another one, or out of date, or made for another service.
    #[error("{0}")]
    Invalid(String),
}

impl SignatureError {
    /// The name of the error on the wire.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Missing => "MissingAuthenticationTokenException",
            Self::Incomplete(_) => "IncompleteSignatureException",
            Self::UnknownKey => "UnrecognizedClientException",
            Self::Invalid(_) => "InvalidSignatureException",
        }
    }
}

/// What the header says of its signer. Nothing of it is true before [`Signer::verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// The public half of the key.
    pub access_key_id: String,
    /// The region of the credential's scope.
    pub region: String,
    /// `YYYYMMDD`.
    date: String,
    service: String,
    signed_headers: Vec<String>,
    signature: String,
}

impl Signer {
    /// Reads the header.
    ///
    /// # Errors
    /// [`SignatureError::Missing`], [`SignatureError::Incomplete`].
    pub fn of(headers: &HeaderMap) -> Result<Self, SignatureError> {
        let header = headers.get(http::header::AUTHORIZATION).ok_or(SignatureError::Missing)?;
        let text = header.to_str().unwrap_or_default();
        if text.is_empty() || text.len() > HEADER_BYTES_MAX {
            return Err(SignatureError::Incomplete(
                "Authorization header is empty or too long.".into(),
            ));
        }
        let Some(parameters) = text.strip_prefix(ALGORITHM) else {
            return Err(SignatureError::Missing);
        };
        let find = |name: &str| {
            parameters.split(',').find_map(|part| {
                let (key, value) = part.trim().split_once('=')?;
                (key == name && !value.is_empty()).then(|| value.to_owned())
            })
        };
        let needed = |name: &str| {
            find(name).ok_or_else(|| {
                SignatureError::Incomplete(format!(
                    "Authorization header requires '{name}' parameter."
                ))
            })
        };
        let (credential, signed_headers, signature) =
            (needed("Credential")?, needed("SignedHeaders")?, needed("Signature")?);
        let scope: Vec<&str> = credential.split('/').collect();
        let [access_key_id, date, region, service, "aws4_request"] = scope.as_slice() else {
            return Err(SignatureError::Incomplete(
                "Credential must have exactly 5 slash-delimited elements, e.g. \
                 keyid/date/region/service/term"
                    .into(),
            ));
        };
        let word = |text: &str, max: usize| {
            let letter = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
            !text.is_empty() && text.len() <= max && text.bytes().all(letter)
        };
        if !word(access_key_id, 128) || !word(date, 8) || !word(region, 32) || !word(service, 32) {
            return Err(SignatureError::Incomplete("Credential is not well formed.".into()));
        }
        let signed_headers: Vec<String> =
            signed_headers.split(';').map(str::to_ascii_lowercase).collect();
        if signed_headers.len() > SIGNED_HEADERS_MAX {
            return Err(SignatureError::Incomplete("Too many signed headers.".into()));
        }
        Ok(Self {
            access_key_id: (*access_key_id).to_owned(),
            region: (*region).to_owned(),
            date: (*date).to_owned(),
            service: (*service).to_owned(),
            signed_headers,
            signature,
        })
    }

    /// Whether the request was signed with this secret, for this service, about now.
    ///
    /// # Errors
    /// [`SignatureError::Invalid`], [`SignatureError::Incomplete`].
    pub fn verify(
        &self,
        request: Request<'_>,
        service: &str,
        secret: &str,
        now: Timestamp,
    ) -> Result<(), SignatureError> {
        let signed_at = self.check_headers(request.headers)?;
        // The signature first: to somebody without the secret all refusals look alike.
        let expected = hex::encode(self.signature_of(request, secret, &signed_at));
        if !bool::from(expected.as_bytes().ct_eq(self.signature.as_bytes())) {
            return Err(SignatureError::Invalid(
                "The request signature we calculated does not match the signature you provided. \
                 Check your AWS Secret Access Key and signing method. Consult the service \
                 documentation for details."
                    .into(),
            ));
        }
        if self.service != service {
            return Err(SignatureError::Invalid(format!(
                "Credential should be scoped to correct service: '{service}'. "
            )));
        }
        self.check_time(&signed_at, now)
    }

    /// All that must be signed is; answers when it was signed.
    fn check_headers(&self, headers: &HeaderMap) -> Result<String, SignatureError> {
        let signed = |name: &str| self.signed_headers.iter().any(|signed| signed == name);
        if !signed("host") {
            return Err(SignatureError::Invalid(
                "'Host' must be a 'SignedHeader' in the AWS Authorization.".into(),
            ));
        }
        if let Some(name) =
            MUST_BE_SIGNED.iter().find(|name| headers.contains_key(**name) && !signed(name))
        {
            return Err(SignatureError::Invalid(format!(
                "'{name}' must be a 'SignedHeader' in the AWS Authorization."
            )));
        }
        let date = headers.get("x-amz-date").and_then(|value| value.to_str().ok());
        date.map(str::to_owned).ok_or_else(|| {
            SignatureError::Incomplete(
                "Authorization header requires existence of a 'X-Amz-Date' header.".into(),
            )
        })
    }

    fn check_time(&self, signed_at: &str, now: Timestamp) -> Result<(), SignatureError> {
        let at = basic_time(signed_at).ok_or_else(|| {
            SignatureError::Incomplete(
                "Date must be in ISO-8601 'basic format' (YYYYMMDD'T'HHMMSS'Z').".into(),
            )
        })?;
        if !signed_at.starts_with(&self.date) {
            return Err(SignatureError::Invalid(format!(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date \
                 from HTTP: '{}' != '{signed_at}'.",
                self.date
            )));
        }
        let (earliest, latest) = (now - SKEW_MAX, now + SKEW_MAX);
        let text = |at: Timestamp| at.strftime("%Y%m%dT%H%M%SZ").to_string();
        if at < earliest {
            return Err(SignatureError::Invalid(format!(
                "Signature expired: {signed_at} is now earlier than {} ({} - 5 min.)",
                text(earliest),
                text(now)
            )));
        }
        if at > latest {
            return Err(SignatureError::Invalid(format!(
                "Signature not yet current: {signed_at} is still later than {} ({} + 5 min.)",
                text(latest),
                text(now)
            )));
        }
        Ok(())
    }

    fn signature_of(&self, request: Request<'_>, secret: &str, signed_at: &str) -> [u8; 32] {
        let scope = format!("{}/{}/{}/aws4_request", self.date, self.region, self.service);
        let path = match self.service.as_str() {
            // The one service whose path is signed as it is sent.
            "s3" => request.path.to_owned(),
            _ => canonical_path(request.path),
        };
        let canonical = canonical_request(request, &path, &self.signed_headers);
        let canonical = sha256(canonical.as_bytes());
        let to_sign = format!("{ALGORITHM}\n{signed_at}\n{scope}\n{}", hex::encode(canonical));
        let key = signing_key(secret, &self.date, &self.region, &self.service);
        hmac_sha256(&key, to_sign.as_bytes())
    }
}

/// Signs a request of which `headers` holds at least `host` and `x-amz-date`; answers the value of
/// `Authorization`. For clients of the wire API that are part of Ark.
///
/// # Errors
/// [`SignatureError::Incomplete`] without `x-amz-date`.
pub fn sign(
    request: Request<'_>,
    access_key_id: &str,
    secret: &str,
    region: &str,
    service: &str,
) -> Result<String, SignatureError> {
    let mut signed_headers: Vec<String> =
        request.headers.keys().map(|name| name.as_str().to_owned()).collect();
    signed_headers.sort();
    let mut signer = Signer {
        access_key_id: access_key_id.to_owned(),
        region: region.to_owned(),
        date: String::new(),
        service: service.to_owned(),
        signed_headers,
        signature: String::new(),
    };
    let signed_at = signer.check_headers(request.headers)?;
    signer.date = signed_at.chars().take(8).collect();
    let signature = hex::encode(signer.signature_of(request, secret, &signed_at));
    Ok(format!(
        "{ALGORITHM} Credential={access_key_id}/{}/{region}/{service}/aws4_request, \
         SignedHeaders={}, Signature={signature}",
        signer.date,
        signer.signed_headers.join(";"),
    ))
}

/// `20150830T123600Z`.
fn basic_time(text: &str) -> Option<Timestamp> {
    let at = civil::DateTime::strptime("%Y%m%dT%H%M%SZ", text).ok()?;
    Some(at.to_zoned(tz::TimeZone::UTC).ok()?.timestamp())
}

/// The body is always hashed: `UNSIGNED-PAYLOAD` fits no request to the services that are served
/// here, as with AWS.
fn canonical_request(request: Request<'_>, path: &str, signed_headers: &[String]) -> String {
    let mut text = String::with_capacity(512);
    text.push_str(request.method);
    text.push('\n');
    text.push_str(path);
    text.push('\n');
    text.push_str(&canonical_query(request.query));
    text.push('\n');
    for name in signed_headers {
        text.push_str(name);
        text.push(':');
        for (index, value) in request.headers.get_all(name.as_str()).iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            let value = String::from_utf8_lossy(value.as_bytes());
            let mut words = value.split(' ').filter(|word| !word.is_empty());
            if let Some(first) = words.next() {
                text.push_str(first.trim());
            }
            for word in words {
                text.push(' ');
                text.push_str(word);
            }
        }
        text.push('\n');
    }
    text.push('\n');
    text.push_str(&signed_headers.join(";"));
    text.push('\n');
    text.push_str(&hex::encode(sha256(request.body)));
    text
}

/// Without empty and dot segments, each encoded once more than it was sent: the rule for all
/// services but one.
fn canonical_path(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            other => segments.push(other),
        }
    }
    let mut text = String::from("/");
    for (index, segment) in segments.iter().enumerate() {
        if index > 0 {
            text.push('/');
        }
        encode(segment.as_bytes(), &mut text);
    }
    if !segments.is_empty() && path.ends_with('/') {
        text.push('/');
    }
    text
}

/// Sorted by name, then value, each encoded anew.
fn canonical_query(query: &str) -> String {
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let again = |text: &str| {
                let mut encoded = String::new();
                encode(&decode(text), &mut encoded);
                encoded
            };
            (again(name), again(value))
        })
        .collect();
    pairs.sort();
    let pairs: Vec<String> =
        pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
}

fn encode(bytes: &[u8], into: &mut String) {
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                into.push(char::from(*byte));
            }
            other => {
                into.push('%');
                into.push_str(&hex::encode_upper([*other]));
            }
        }
    }
}

fn decode(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let mut byte = [0];
        let digits = bytes.get(at + 1..at + 3);
        if bytes[at] == b'%' && digits.is_some_and(|d| hex::decode_to_slice(d, &mut byte).is_ok()) {
            decoded.push(byte[0]);
            at += 3;
        } else {
            decoded.push(bytes[at]);
            at += 1;
        }
    }
    decoded
}

fn signing_key(secret: &str, date: &str, region: &str, service: &str) -> [u8; 32] {
    let first = zeroize::Zeroizing::new(format!("AWS4{secret}"));
    let key = hmac_sha256(first.as_bytes(), date.as_bytes());
    let key = hmac_sha256(&key, region.as_bytes());
    let key = hmac_sha256(&key, service.as_bytes());
    hmac_sha256(&key, b"aws4_request")
}

fn hmac_sha256(key: &[u8], data: &[u8]) -> [u8; 32] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data);
    tag.as_ref().try_into().unwrap_or([0; 32])
}

fn sha256(data: &[u8]) -> [u8; 32] {
    digest::digest(&digest::SHA256, data).as_ref().try_into().unwrap_or([0; 32])
}

#[cfg(test)]
#[path = "sigv4_tests.rs"]
mod tests;
