//! JSON as text: indented for people, and objects with a member more or less. Numbers, texts, members
//! that stand twice and the order of all stay as they were written: what is shown is what there is, and
//! what a form sends again is what was given. Pure.

use serde::de::IgnoredAny;

use crate::room;

/// Whether a text is JSON; nested no deeper than anything here reads.
pub(crate) fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// A text for people, of so many bytes in markup at most, and whether that is all of it. What is no JSON
/// stays as it is.
pub(crate) fn pretty(text: &str, bytes_max: usize) -> (String, bool) {
    // Whitespace only makes it longer: what is enough to be cut is enough to be read.
    let shown = match is_json(text) {
        true => indented(text, bytes_max.saturating_add(1)),
        false => text.to_owned(),
    };
    let cut = room::cut(&shown, bytes_max);
    let whole = cut.len() == shown.len();
    (cut, whole)
}

/// Valid JSON with a line for each member and item; the beginning of it, of about so many bytes.
fn indented(text: &str, enough: usize) -> String {
    let mut out = String::new();
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if out.len() > enough {
            break;
        }
        if quoted {
            out.push(c);
            quoted = escaped || c != '"';
            escaped = !escaped && c == '\\';
            continue;
        }
        match c {
            space if space.is_ascii_whitespace() => {}
            '{' | '[' => {
                out.push(c);
                while chars.next_if(char::is_ascii_whitespace).is_some() {}
                match chars.next_if(|next| matches!(next, '}' | ']')) {
                    Some(end) => out.push(end),
                    None => {
                        depth += 1;
                        line(&mut out, depth);
                    }
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            other => {
                quoted = other == '"';
                out.push(other);
            }
        }
    }
    out
}

fn line(out: &mut String, depth: usize) {
    out.push('\n');
    for _ in 0..depth {
        out.push_str("  ");
    }
}

/// The members of an object: the name of each, and all of its text. `None` when it is no object.
fn members(text: &str) -> Option<Vec<(String, &str)>> {
    let text = text.trim_ascii();
    if !text.starts_with('{') || !is_json(text) {
        return None;
    }
    let within = &text[1..text.len() - 1];
    let (mut all, mut begin, mut depth) = (Vec::new(), 0, 0_usize);
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in within.bytes().enumerate() {
        if quoted {
            quoted = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        match byte {
            b'"' => quoted = true,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => {
                all.push(&within[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    all.push(&within[begin..]);
    let member = |text: &str| {
        // The name is the first value of the text.
        let name = serde_json::Deserializer::from_str(text).into_iter::<String>().next();
        name?.ok()
    };
    let all = all.into_iter().map(str::trim_ascii).filter(|text| !text.is_empty());
    all.map(|text| Some((member(text)?, text))).collect()
}

fn object(members: impl IntoIterator<Item = String>) -> String {
    format!("{{{}}}", members.into_iter().collect::<Vec<_>>().join(", "))
}

/// An object without the members of a name; `None` when it is no object, or has none of that name.
pub(crate) fn without(text: &str, name: &str) -> Option<String> {
    let all = members(text)?;
    let rest: Vec<String> =
        all.iter().filter(|(known, _)| known != name).map(|(_, text)| (*text).to_owned()).collect();
    (rest.len() < all.len()).then(|| object(rest))
}

/// An object with one member of a name, the first; `None` when it is no object.
pub(crate) fn with(text: &str, name: &str, value: &str) -> Option<String> {
    let own = format!("{}: {}", serde_json::Value::from(name), serde_json::Value::from(value));
    let others = members(text)?.into_iter().filter(|(known, _)| known != name);
    Some(object(std::iter::once(own).chain(others.map(|(_, text)| text.to_owned()))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITTEN: &str =
        r#"{"z": 12345678901234567890123, "a":[1.0,{}, [ ]],"b\"":"x, {y} \\","a":1e400}"#;

    #[test]
    fn numbers_order_and_members_that_stand_twice_stay() {
        let expect = "{\n  \"z\": 12345678901234567890123,\n  \"a\": [\n    1.0,\n    {},\n    []\n  ],\n  \
                      \"b\\\"\": \"x, {y} \\\\\",\n  \"a\": 1e400\n}";
        assert_eq!(pretty(WRITTEN, 10_000), (expect.to_owned(), true));
        // Indented again it is the same.
        assert_eq!(pretty(expect, 10_000), (expect.to_owned(), true));
        for text in ["", "{", "no JSON, at all", "[1,]"] {
            assert_eq!(pretty(text, 100), (text.to_owned(), true));
        }
        let (cut, whole) = pretty(&format!("[{}1]", "1,".repeat(50_000)), 100);
        assert!(!whole && cut.len() <= 100, "{cut}");
    }

    #[test]
    fn a_member_comes_and_goes_and_the_others_stay_as_they_were_written() {
        let with = with(WRITTEN, "_NAME", "it's \"x\"").expect("an object");
        let rest =
            r#""z": 12345678901234567890123, "a":[1.0,{}, [ ]], "b\"":"x, {y} \\", "a":1e400}"#;
        assert_eq!(with, format!(r#"{{"_NAME": "it's \"x\"", {rest}"#));
        assert_eq!(without(&with, "_NAME"), Some(format!("{{{rest}")));
        assert_eq!(without(&with, "_NO"), None);
        assert_eq!(super::with("{}", "a", "b").as_deref(), Some(r#"{"a": "b"}"#));
        assert_eq!(super::with(r#"{"\u0061": 1}"#, "a", "b").as_deref(), Some(r#"{"a": "b"}"#));
        for no_object in ["", "[]", "1", "\"{}\"", "{} {}"] {
            assert_eq!(super::with(no_object, "a", "b"), None, "{no_object}");
        }
    }
}
