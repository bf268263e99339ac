//! Whether an event comes from the Git hosting service that a push hook is for: by the signature of
//! GitHub and Gitea (HMAC-SHA256 of the body under the hook's secret) or the token of GitLab, both
//! compared in constant time. Pure; called by `api/push_hooks` before anything of the body is read.

use http::HeaderMap;
use ring::hmac;

/// Headers with `HEX` or `sha256=HEX`: GitHub's, Gitea's own, Gogs's.
const SIGNATURES: [&str; 3] = ["x-hub-signature-256", "x-gitea-signature", "x-gogs-signature"];
/// GitLab's header with the secret itself.
const TOKEN: &str = "x-gitlab-token";

/// Whether there is a header that may prove anything.
pub(crate) fn names_sender(headers: &HeaderMap) -> bool {
    SIGNATURES.iter().chain([&TOKEN]).any(|name| headers.contains_key(*name))
}

/// Whether one of the headers proves knowledge of the secret. Each that is there must.
pub fn is_from_sender(secret: &str, headers: &HeaderMap, body: &[u8]) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let mut proven = false;
    for name in SIGNATURES {
        for value in headers.get_all(name) {
            if !is_signature(&key, value.as_bytes(), body) {
                return false;
            }
            proven = true;
        }
    }
    for token in headers.get_all(TOKEN) {
        // Of their digests, so that neither content nor length shows in the time.
        let expected = hmac::sign(&key, secret.as_bytes());
        if hmac::verify(&key, token.as_bytes(), expected.as_ref()).is_err() {
            return false;
        }
        proven = true;
    }
    proven
}

fn is_signature(key: &hmac::Key, value: &[u8], body: &[u8]) -> bool {
    let value = value.strip_prefix(b"sha256=").unwrap_or(value);
    hex::decode(value).is_ok_and(|tag| hmac::verify(key, body, &tag).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of GitHub's documentation.
    const SECRET: &str = "It's a Secret to Everybody";
    const BODY: &[u8] = b"Hello, World!";
    const HEX: &str = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    #[test]
    fn only_who_knows_the_secret_is_heard() {
        let prefixed = format!("sha256={HEX}");
        let other = HEX.replace('7', "8");
        for (headers, body, expected) in [
            (vec![("x-hub-signature-256", prefixed.as_str())], BODY, true),
            (vec![("x-gitea-signature", HEX)], BODY, true),
            (vec![("x-gitlab-token", SECRET)], BODY, true),
            (vec![("x-hub-signature-256", &prefixed), ("x-gitea-signature", HEX)], BODY, true),
            (vec![], BODY, false),
            (vec![("x-hub-signature", "sha1=00")], BODY, false),
            (vec![("x-hub-signature-256", "sha256=")], BODY, false),
            (vec![("x-hub-signature-256", &other)], BODY, false),
            (vec![("x-hub-signature-256", &prefixed)], b"Hello, World?", false),
            (vec![("x-hub-signature-256", &prefixed), ("x-gitea-signature", &other)], BODY, false),
            (vec![("x-hub-signature-256", &prefixed), ("x-gitlab-token", "x")], BODY, false),
            (vec![("x-gitlab-token", "")], BODY, false),
            (vec![("x-gitlab-token", "It's a Secret to Everybod")], BODY, false),
        ] {
            let map: HeaderMap = headers
                .iter()
                .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
                .collect::<Vec<(http::HeaderName, http::HeaderValue)>>()
                .into_iter()
                .collect();
            assert_eq!(is_from_sender(SECRET, &map, body), expected, "{headers:?}");
        }
    }
}
