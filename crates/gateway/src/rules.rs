//! What of a request rules look at: fields and cookies, wherever the protocol keeps them.

use ark_model::traffic::{RequestPart, RequestRule};

/// The fields of a request's head.
pub(crate) trait Fields {
    /// Whether any field of this name (whose case does not matter) has a value that passes.
    fn any(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool;
}

/// An HTTP/1.1 head as it was received; it has been parsed and found good.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head<'h>(pub(crate) &'h [u8]);

impl Fields for Head<'_> {
    fn any(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        let mut lines = self.0.split(|byte| *byte == b'\n').skip(1);
        lines.any(|line| {
            let colon = name.len();
            line.get(colon) == Some(&b':')
                && line[..colon].eq_ignore_ascii_case(name.as_bytes())
                && test(line[colon + 1..].trim_ascii())
        })
    }
}

/// Whether any of the rules matches.
pub(crate) fn any_matches(rules: &[RequestRule], fields: &dyn Fields) -> bool {
    rules.iter().any(|rule| matches(rule, fields))
}

fn matches(rule: &RequestRule, fields: &dyn Fields) -> bool {
    let mut is_it = |value: &[u8]| rule.value.as_ref().is_none_or(|own| own.as_bytes() == value);
    match rule.part {
        RequestPart::Header => fields.any(&rule.name, &mut is_it),
        RequestPart::Cookie => any_cookie(&rule.name, fields, &mut is_it),
    }
}

/// Whether any cookie of this name has a value that passes.
pub(crate) fn any_cookie(
    name: &str,
    fields: &dyn Fields,
    test: &mut dyn FnMut(&[u8]) -> bool,
) -> bool {
    fields.any("cookie", &mut |line| {
        line.split(|byte| *byte == b';').map(<[u8]>::trim_ascii).any(|pair| {
            let value = pair.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"="));
            value.is_some_and(|value| test(unquoted(value)))
        })
    })
}

fn unquoted(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_find_fields_and_cookies() {
        let head = Head(
            b"GET /x HTTP/1.1\r\nHost: a\r\nX-Canary:  yes \r\nx-canary: 2\r\nX-Empty:\r\n\
              Cookie: a=1; ark=\"q\";b=2\r\nCookie: c=a=b\r\n\r\n",
        );
        for (part, name, value, expected) in [
            (RequestPart::Header, "x-canary", Some("yes"), true),
            (RequestPart::Header, "X-CANARY", Some("2"), true),
            (RequestPart::Header, "x-canary", Some("ye"), false),
            (RequestPart::Header, "x-canary", None, true),
            (RequestPart::Header, "x-canar", None, false),
            (RequestPart::Header, "x-empty", None, true),
            (RequestPart::Header, "x-empty", Some(""), true),
            (RequestPart::Header, "GET /x HTTP/1.1\r\nHost", None, false),
            (RequestPart::Cookie, "a", Some("1"), true),
            (RequestPart::Cookie, "A", None, false),
            (RequestPart::Cookie, "ark", Some("q"), true),
            (RequestPart::Cookie, "b", Some("2"), true),
            (RequestPart::Cookie, "c", Some("a=b"), true),
            (RequestPart::Cookie, "d", None, false),
        ] {
            let rule = RequestRule { part, name: name.to_owned(), value: value.map(str::to_owned) };
            let found = any_matches(std::slice::from_ref(&rule), &head);
            assert_eq!(found, expected, "{rule:?}");
        }
    }
}
