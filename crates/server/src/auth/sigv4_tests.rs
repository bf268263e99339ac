//! The documented examples, signatures made by AWS's own SDK, and what must be refused.

use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::*;

const KEY_ID: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

fn then() -> Timestamp {
    "2015-08-30T12:36:00Z".parse().expect("a time")
}

fn headers(list: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in list {
        headers.append(
            HeaderName::try_from(*name).expect("a name"),
            HeaderValue::from_str(value).expect("a value"),
        );
    }
    headers
}

#[test]
fn the_documented_key_is_derived() {
    let key = signing_key(SECRET, "20150830", "us-east-1", "iam");
    assert_eq!(
        hex::encode(key),
        "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9"
    );
}

#[test]
fn signatures_of_the_documentation_and_of_awss_sdk_are_right() {
    let date = ("x-amz-date", "20150830T123600Z");
    let host = ("host", "example.amazonaws.com");
    for (method, path, query, extra, body, service, signature) in [
        (
            "GET",
            "/",
            "Action=ListUsers&Version=2010-05-08",
            vec![
                ("host", "iam.amazonaws.com"),
                ("content-type", "application/x-www-form-urlencoded; charset=utf-8"),
            ],
            "",
            "iam",
            "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
        ),
        (
            "POST",
            "/",
            "",
            vec![host],
            "",
            "service",
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
        ),
        (
            "POST",
            "/",
            "",
            vec![
                host,
                ("x-amz-target", "AWSStepFunctions.ListActivities"),
                ("content-type", "application/x-amz-json-1.0"),
            ],
            "{\"a\":1}",
            "service",
            "76968efb10f3930c3daf64c9f13c25acea8ad5ba24a10691f4f6ad3e02c1f1a8",
        ),
        (
            "GET",
            "/",
            "Param2=value2&Param1=value1&Param1=a%20b",
            vec![host],
            "",
            "service",
            "cfb7bc6022571aff570c203e0b6e68cfc6d4018fbd56b41d9d66bd0dc38dd69f",
        ),
        (
            "GET",
            "/a%20b/../c//d/./e~f/",
            "",
            vec![host],
            "",
            "service",
            "9ba857b44ccf9c431abf358dbe933ba6cb379274ae87f72d1801fb537dcbfa89",
        ),
    ] {
        let mut headers = headers(&extra);
        headers.append(date.0, HeaderValue::from_static(date.1));
        let request = Request { method, path, query, headers: &headers, body: body.as_bytes() };
        let signed = sign(request, KEY_ID, SECRET, "us-east-1", service).expect("signed");
        assert!(signed.ends_with(&format!("Signature={signature}")), "{path}?{query}: {signed}");
    }
    let headers = headers(&[host, date, ("my-header", "  a   b  c "), ("x-two", "x")]);
    let path = "/service/Granite/operation/Put";
    let request =
        Request { method: "POST", path, query: "", headers: &headers, body: &[0xbf, 0xff] };
    let signed = sign(request, KEY_ID, SECRET, "us-east-1", "service").expect("signed");
    let signature = "364fef102434bc2dc5d3d97a5c4c56b632bd76affdaa4f0a13dc992a8b4e2c8b";
    assert!(signed.ends_with(signature), "{signed}");
}

/// A request of a client, signed.
fn signed(list: &[(&str, &str)], body: &[u8]) -> HeaderMap {
    let mut headers = headers(list);
    let request = Request { method: "POST", path: "/", query: "", headers: &headers, body };
    let value = sign(request, KEY_ID, SECRET, "us-east-1", "states").expect("signed");
    headers.insert("authorization", value.parse().expect("a value"));
    headers
}

fn judge(headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<(), SignatureError> {
    let request = Request { method: "POST", path: "/", query: "", headers, body };
    Signer::of(headers)?.verify(request, "states", SECRET, now)
}

const USUAL: [(&str, &str); 3] = [
    ("host", "127.0.0.1:7070"),
    ("x-amz-date", "20150830T123600Z"),
    ("x-amz-target", "AWSStepFunctions.ListActivities"),
];

#[test]
fn what_is_missing_or_off_is_named_as_aws_names_it() {
    let body = b"{}";
    let good = signed(&USUAL, body);
    assert_eq!(judge(&good, body, then()), Ok(()));
    // Headers that came with the request but were not signed are no fault.
    let mut more = good.clone();
    more.insert("user-agent", HeaderValue::from_static("x"));
    assert_eq!(judge(&more, body, then()), Ok(()));

    let code = |headers: &HeaderMap, now| judge(headers, body, now).map_err(|e| e.code());
    let with = |name: &'static str, value: String| {
        let mut headers = good.clone();
        headers.insert(name, value.parse().expect("a value"));
        headers
    };
    let header = good["authorization"].to_str().expect("text").to_owned();
    let changed = |from: &str, to: &str| with("authorization", header.replace(from, to));
    let without = |name: &str| {
        let mut headers = good.clone();
        headers.remove(name);
        headers
    };
    let invalid = Err("InvalidSignatureException");
    let incomplete = Err("IncompleteSignatureException");
    let missing = Err("MissingAuthenticationTokenException");
    assert_eq!(code(&without("authorization"), then()), missing);
    assert_eq!(code(&with("authorization", "Bearer ark_x".into()), then()), missing);
    assert_eq!(code(&without("x-amz-date"), then()), incomplete);
    for part in ["Credential=", "SignedHeaders=", "Signature="] {
        assert_eq!(code(&changed(part, "Other="), then()), incomplete, "{part}");
    }
    assert_eq!(code(&changed("/aws4_request", ""), then()), incomplete);
    assert_eq!(code(&changed("host;", ""), then()), invalid);
    assert_eq!(code(&changed(";x-amz-target", ""), then()), invalid);
    assert_eq!(code(&changed("us-east-1", "eu-west-1"), then()), invalid);
    assert_eq!(code(&changed("/states/", "/monitoring/"), then()), invalid);
    assert_eq!(code(&with("x-amz-content-sha256", "UNSIGNED-PAYLOAD".into()), then()), invalid);
    assert_eq!(code(&with("x-amz-date", "20150830T123601Z".into()), then()), invalid);
    for (minutes, good) in [(-6, false), (-4, true), (4, true), (6, false)] {
        let now = then() + SignedDuration::from_mins(minutes);
        assert_eq!(judge(&good_headers(&header), body, now).is_ok(), good, "{minutes} min");
    }
    let late = judge(&good_headers(&header), body, then() + SignedDuration::from_mins(6));
    assert_eq!(
        late.map_err(|e| e.to_string()),
        Err("Signature expired: 20150830T123600Z is now earlier than 20150830T123700Z \
             (20150830T124200Z - 5 min.)"
            .to_owned())
    );
}

fn good_headers(authorization: &str) -> HeaderMap {
    let mut headers = headers(&USUAL);
    headers.insert("authorization", authorization.parse().expect("a value"));
    headers
}

/// Even a signed claim that the body is not signed does not make it so.
#[test]
fn an_unsigned_body_is_refused() {
    let list = [USUAL[0], USUAL[1], USUAL[2], ("x-amz-content-sha256", "UNSIGNED-PAYLOAD")];
    let headers = signed(&list, b"{}");
    assert_eq!(judge(&headers, b"{}", then()), Ok(()), "the body it was made for");
    assert!(judge(&headers, b"{ }", then()).is_err());
}

proptest! {
    #[test]
    fn whatever_is_changed_is_noticed(
        body in proptest::collection::vec(any::<u8>(), 0..200),
        value in "[ -~]{0,40}",
        flip in any::<prop::sample::Index>(),
        bit in 0_u8..8,
    ) {
        let list = [USUAL[0], USUAL[1], USUAL[2], ("x-amz-extra", value.as_str())];
        let headers = signed(&list, &body);
        prop_assert_eq!(judge(&headers, &body, then()), Ok(()));
        let mut other = body.clone();
        if other.is_empty() {
            other.push(0);
        } else {
            let at = flip.index(other.len());
            other[at] ^= 1 << bit;
        }
        prop_assert!(judge(&headers, &other, then()).is_err());
        let mut changed = headers.clone();
        changed.insert("x-amz-extra", format!("{value}x").parse().expect("a value"));
        prop_assert!(judge(&changed, &body, then()).is_err());
        let text = headers["authorization"].to_str().expect("text");
        let at = text.len() - 64 + flip.index(64);
        let digit = if &text[at..=at] == "0" { "1" } else { "0" };
        let forged = format!("{}{digit}{}", &text[..at], &text[at + 1..]);
        changed = headers.clone();
        changed.insert("authorization", forged.parse().expect("a value"));
        prop_assert!(judge(&changed, &body, then()).is_err());
    }

    #[test]
    fn no_header_makes_it_panic(text in "\\PC{0,200}", parts in "[A-Za-z0-9/=;, -]{0,120}") {
        for text in [text, format!("AWS4-HMAC-SHA256 {parts}"),
            format!("AWS4-HMAC-SHA256 Credential={parts},SignedHeaders={parts},Signature={parts}")]
        {
            let mut headers = headers(&USUAL);
            if let Ok(value) = HeaderValue::from_str(&text) {
                headers.insert("authorization", value);
                prop_assert!(judge(&headers, b"", then()).is_err());
            }
        }
    }
}

#[test]
fn requests_of_s3_are_signed_with_their_path_as_it_is_sent() {
    // "Signature Calculations for the Authorization Header", the examples of S3's reference.
    let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let welcome = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072";
    for (method, path, query, extra, body, digest, signature) in [
        (
            "GET",
            "/test.txt",
            "",
            vec![("range", "bytes=0-9")],
            "",
            empty,
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            "PUT",
            "/test%24file.text",
            "",
            vec![
                ("date", "Fri, 24 May 2013 00:00:00 GMT"),
                ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            ],
            "Welcome to Amazon S3.",
            welcome,
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
        (
            "GET",
            "/",
            "max-keys=2&prefix=J",
            vec![],
            "",
            empty,
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ] {
        let all = [
            vec![
                ("host", "examplebucket.s3.amazonaws.com"),
                ("x-amz-content-sha256", digest),
                ("x-amz-date", "20130524T000000Z"),
            ],
            extra,
        ];
        let headers = headers(&all.concat());
        let request = Request { method, path, query, headers: &headers, body: body.as_bytes() };
        let signed = sign(request, "AKIAIOSFODNN7EXAMPLE", secret, "us-east-1", "s3");
        let signed = signed.expect("it can be signed");
        assert!(signed.ends_with(signature), "{method} {path}: {signed}");
    }
}
