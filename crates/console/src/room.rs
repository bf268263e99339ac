//! How much fits on a page. A page stays small whatever names and texts are on it and however many
//! things there are: texts are cut, and lists take room, by their bytes in markup. What has no room is
//! counted, so that the page can say so and name the way to it. Called by pages; what they show is
//! theirs. `tests/limits.rs` holds every page to its size with everything at its limit.

/// Bytes of a page that lists may fill together with its frame; pages stay under 150,000.
pub(crate) const PAGE_BYTES: usize = 146_000;

/// Room for lists, in bytes of markup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    left: usize,
}

impl Room {
    pub(crate) const fn bytes(left: usize) -> Self {
        Self { left }
    }

    /// What a page has besides what stands on it already.
    pub(crate) const fn beside(taken: usize) -> Self {
        Self { left: PAGE_BYTES.saturating_sub(taken) }
    }

    pub(crate) const fn left(self) -> usize {
        self.left
    }

    /// The part of it that one list may fill.
    pub(crate) fn part(&mut self, bytes_max: usize) -> Self {
        let left = bytes_max.min(self.left);
        self.left -= left;
        Self { left }
    }

    /// Takes so many bytes if there are as many.
    pub(crate) const fn take(&mut self, bytes: usize) -> bool {
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }

    /// The first of them that fit, and how many do not.
    pub(crate) fn fit<T>(
        &mut self,
        all: impl IntoIterator<Item = T>,
        bytes: impl Fn(&T) -> usize,
    ) -> (Vec<T>, usize) {
        let (mut fitting, mut hidden) = (Vec::new(), 0);
        for one in all {
            if hidden == 0 && self.take(bytes(&one)) {
                fitting.push(one);
            } else {
                hidden += 1;
            }
        }
        (fitting, hidden)
    }
}

/// Bytes of a character in markup, at most.
const fn markup(c: char) -> usize {
    match c {
        '<' | '>' | '&' | '"' | '\'' => 5,
        other => other.len_utf8(),
    }
}

/// Bytes of a text in markup, at most.
pub(crate) fn weight(text: &str) -> usize {
    text.chars().map(markup).sum()
}

/// Bytes of several.
pub(crate) fn weights<'a>(texts: impl IntoIterator<Item = &'a str>) -> usize {
    texts.into_iter().map(weight).sum()
}

/// A text of so many bytes in markup at most; what is cut ends so.
pub(crate) fn cut(text: &str, bytes_max: usize) -> String {
    const MARK: char = '…';
    let (mut bytes, mut last) = (0, 0);
    for (at, c) in text.char_indices() {
        bytes += markup(c);
        if bytes > bytes_max {
            return format!("{}{MARK}", &text[..last]);
        }
        if bytes + MARK.len_utf8() <= bytes_max {
            last = at + c.len_utf8();
        }
    }
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_by_what_they_are_in_markup() {
        for (text, most, expect) in [
            ("", 0, ""),
            ("abcdef", 6, "abcdef"),
            ("abcdefg", 6, "abc…"),
            ("<<<", 15, "<<<"),
            ("<<<", 14, "<<…"),
            ("ééé", 6, "ééé"),
            ("éééé", 7, "éé…"),
        ] {
            let told = cut(text, most);
            assert_eq!(told, expect, "{text} {most}");
            assert!(weight(&told) <= most.max(3), "{text} {most}");
        }
    }

    #[test]
    fn what_does_not_fit_is_counted_and_nothing_after_it_comes_in() {
        let mut room = Room::bytes(10);
        assert_eq!(room.fit([4, 4, 4, 1], |n| *n), (vec![4, 4], 2));
        assert_eq!(room.left(), 2);
        assert_eq!(room.part(5), Room::bytes(2));
        assert!(!room.take(1));
    }
}
