//! A text as words, as Compose splits a `command` or an `entrypoint`: by blanks, with quotes and
//! backslashes. No shell runs it: variables stay as they stand, and it ends where a shell would take an
//! operator.

/// What ends the words when it is not quoted.
const OPERATORS: [char; 5] = [';', '&', '|', '<', '>'];

/// A text that was split.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Split<'a> {
    pub(super) words: Vec<String>,
    /// What begins with an operator of a shell: Compose does not look at it.
    pub(super) rest: &'a str,
}

/// Splits a text; `None` where a quote is not closed.
pub(super) fn split(text: &str) -> Option<Split<'_>> {
    let mut words = Vec::new();
    // `None` between words: `""` is one, too.
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match (quote, letter) {
            (Some(open), letter) if letter == open => quote = None,
            (None | Some('"'), '\\') => {
                let (_, escaped) = letters.next()?;
                word.get_or_insert_default().push(escaped);
            }
            (Some(_), letter) => word.get_or_insert_default().push(letter),
            (None, '"' | '\'') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None, blank) if blank.is_ascii_whitespace() => words.extend(word.take()),
            (None, operator) if OPERATORS.contains(&operator) => {
                words.extend(word);
                return Some(Split { words, rest: &text[at..] });
            }
            (None, letter) => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    quote.is_none().then_some(Split { words, rest: "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_what_compose_takes_for_them() {
        for (text, words, rest) in [
            ("", vec![], ""),
            ("  a\tb \n c ", vec!["a", "b", "c"], ""),
            ("a 'b c' \"d e\"", vec!["a", "b c", "d e"], ""),
            ("a\"b c\"'d'", vec!["ab cd"], ""),
            ("a '' \"\"", vec!["a", "", ""], ""),
            (r#"a\ b "c\"d" 'e\f'"#, vec!["a b", "c\"d", "e\\f"], ""),
            ("sh -c 'echo $HOME; ls'", vec!["sh", "-c", "echo $HOME; ls"], ""),
            ("echo $HOME", vec!["echo", "$HOME"], ""),
            ("a && b", vec!["a"], "&& b"),
            ("a; b", vec!["a"], "; b"),
            ("a\\;", vec!["a;"], ""),
        ] {
            let words = words.into_iter().map(str::to_owned).collect();
            assert_eq!(split(text), Some(Split { words, rest }), "{text}");
        }
        for open in ["'", "a \"b", "a\\"] {
            assert_eq!(split(open), None, "{open}");
        }
    }
}
