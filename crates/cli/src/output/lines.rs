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

/// The text in lines of at most `width` characters, broken between words; what follows the first is indented by
/// two. A word that is longer has a line of its own, whole: it may be what is to be copied.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let word: String = word.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let fits = |line: &String| line.chars().count() + 1 + word.chars().count() <= width;
        match lines.last_mut() {
            Some(line) if fits(line) => {
                line.push(' ');
                line.push_str(&word);
            }
            Some(_) => lines.push(format!("  {word}")),
            None => lines.push(word),
        }
    }
    lines
}

/// The text in at most `lines_max` lines of at most `width` characters, broken where what it tells is apart (three
/// spaces), else between words. What is still too long is cut.
pub(crate) fn fold(text: &str, width: usize, lines_max: usize) -> Vec<String> {
    let mut rest = text.trim();
    let mut lines = Vec::new();
    while rest.chars().count() > width && lines.len() + 1 < lines_max {
        let end = rest.char_indices().nth(width + 1).map_or(rest.len(), |(at, _)| at);
        let place = rest[..end].rfind("   ").or_else(|| rest[..end].rfind(' '));
        let Some(at) = place.filter(|at| *at > 0) else { break };
        let (line, after) = rest.split_at(at);
        lines.push(cut(line.trim_end(), width));
        rest = after.trim_start();
    }
    lines.push(cut(rest, width));
    lines
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
    fn a_folded_text_is_broken_where_what_it_tells_is_apart() {
        for (text, width, lines, expect) in [
            ("v2 5 %   v1 95 %", 20, 3, vec!["v2 5 %   v1 95 %"]),
            ("v2 5 %   v1 95 %", 14, 3, vec!["v2 5 %", "v1 95 %"]),
            ("one two three", 7, 3, vec!["one two", "three"]),
            ("one two three", 7, 1, vec!["one tw…"]),
            ("incomprehensible", 7, 3, vec!["incomp…"]),
            ("a incomprehensible b", 7, 3, vec!["a", "incomp…"]),
            ("žluťoučký kůň", 9, 3, vec!["žluťoučký", "kůň"]),
            ("", 7, 3, vec![""]),
        ] {
            assert_eq!(fold(text, width, lines), expect, "{text:?} at {width}");
        }
    }

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
    fn text_is_wrapped_between_words_and_loses_none() {
        for (text, width, expect) in [
            ("", 10, &[][..]),
            ("one two", 10, &["one two"]),
            ("one two three", 8, &["one two", "  three"]),
            ("a http://a.long/one b", 6, &["a", "  http://a.long/one", "  b"]),
            ("a\x1b[2J b", 20, &["a [2J b"]),
        ] {
            assert_eq!(wrap(text, width), expect);
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
