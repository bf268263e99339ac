//! Names in addresses. Called by whoever writes or reads one: the command line, the console, the API.
//!
//! `.` and `..` may be names (Step Functions allows them), but no part of a path can be called so:
//! browsers and most clients take them away, encoded or not. As a part they are written `~.` and
//! `~..`, and a name that already looks like that gets one more `~`.

use serde::Deserialize;

/// A name as one part of a path.
pub fn segment(name: &str) -> String {
    let mark = if is_marked(name) { "~" } else { "" };
    format!("{mark}{}", value(name))
}

/// A text as a value of a query.
pub fn value(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
    let each = |b: u8| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") };
    text.bytes().map(each).collect()
}

/// The name that a part of a path stands for, once that was percent-decoded.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub struct Segment(pub String);

impl From<String> for Segment {
    fn from(part: String) -> Self {
        match part.strip_prefix('~').filter(|name| is_marked(name)) {
            Some(name) => Self(name.to_owned()),
            None => Self(part),
        }
    }
}

/// Whether clients take a part of a path away that is called so.
pub fn is_taken_away(name: &str) -> bool {
    matches!(name, "." | "..")
}

fn is_marked(name: &str) -> bool {
    is_taken_away(name.trim_start_matches('~'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_part_of_a_path_and_found_again() {
        for (name, part) in [
            ("web", "web"),
            (".", "~."),
            ("..", "~.."),
            ("...", "..."),
            ("~..", "~~.."),
            ("~web", "~web"),
            (".web", ".web"),
            ("wf:a/b ?é", "wf%3Aa%2Fb%20%3F%C3%A9"),
        ] {
            assert_eq!(segment(name), part);
            let decoded = part.replace("%3A", ":").replace("%2F", "/").replace("%20", " ");
            let decoded = decoded.replace("%3F", "?").replace("%C3%A9", "é");
            assert_eq!(Segment::from(decoded), Segment(name.to_owned()));
        }
        assert_eq!(value("..~ &"), "..~%20%26");
    }
}
