//! Lines of text: cutting to a width, and putting remedies side by side where they fit.

use ark_model::api::Remedy;

/// Spaces between two remedies on one line.
const REMEDY_GAP: &str = "     ";

/// The text cut to `width` characters; what is cut shows as `…`. Control characters, which a log
/// line may hold, become spaces: they would move the cursor.
pub(crate) fn cut(text: &str, width: usize) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    if text.chars().count() <= width {
        return text.chars().map(clean).collect();
    }
    text.chars().take(width.saturating_sub(1)).map(clean).chain(std::iter::once('…')).collect()
}

/// Remedies as `label: command`, two and more on a line as far as `width` allows.
pub(crate) fn wrap_remedies(remedies: &[Remedy], width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for remedy in remedies {
        let text = if remedy.label.is_empty() {
            remedy.command.clone()
        } else {
            format!("{}: {}", remedy.label, remedy.command)
        };
        // 2 for the indentation every caller adds.
        let fits = |line: &String| {
            2 + line.chars().count() + REMEDY_GAP.len() + text.chars().count() <= width.min(120)
        };
        match lines.last_mut() {
            Some(line) if fits(line) => {
                line.push_str(REMEDY_GAP);
                line.push_str(&text);
            }
            _ => lines.push(text),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_line_has_exactly_the_width() {
        for (text, width, expect) in [
            ("abc", 3, "abc"),
            ("abcd", 3, "ab…"),
            ("a\tb\x1b[2Jc", 20, "a b [2Jc"),
            ("äöüß", 2, "ä…"),
            ("", 0, ""),
        ] {
            assert_eq!(cut(text, width), expect);
        }
    }

    #[test]
    fn remedies_share_a_line_when_they_fit() {
        let remedy = |label: &str, command: &str| Remedy {
            label: label.to_owned(),
            command: command.to_owned(),
        };
        let both = [remedy("look", "ark logs web"), remedy("", "ark up")];
        assert_eq!(wrap_remedies(&both, 80), ["look: ark logs web     ark up"]);
        assert_eq!(wrap_remedies(&both, 20), ["look: ark logs web", "ark up"]);
    }
}
