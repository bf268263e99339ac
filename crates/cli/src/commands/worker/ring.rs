//! The last bytes that a stream gave.

use std::collections::VecDeque;

/// Keeps the newest bytes, so many and no more.
#[derive(Debug)]
pub(super) struct Ring {
    bytes: VecDeque<u8>,
    bytes_max: usize,
    /// Whether anything was left out.
    cut: bool,
}

/// What a ring kept, as text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Kept {
    /// What is no UTF-8 (a letter cut at the beginning, say) is replaced.
    pub(super) text: String,
    /// Whether there was more before it.
    pub(super) cut: bool,
}

impl Ring {
    pub(super) fn of(bytes_max: usize) -> Self {
        Self { bytes: VecDeque::new(), bytes_max, cut: false }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        let newest = &bytes[bytes.len().saturating_sub(self.bytes_max)..];
        let over = (self.bytes.len() + newest.len()).saturating_sub(self.bytes_max);
        self.cut |= over > 0 || newest.len() < bytes.len();
        self.bytes.drain(..over);
        self.bytes.extend(newest);
    }

    pub(super) fn kept(&self) -> Kept {
        let (front, back) = self.bytes.as_slices();
        let text = String::from_utf8_lossy(&[front, back].concat()).into_owned();
        Kept { text, cut: self.cut }
    }
}

impl Kept {
    /// The last line that is not empty, and whether its beginning is missing.
    pub(super) fn last_line(&self) -> (&str, bool) {
        let text = self.text.trim_end();
        match text.rsplit_once('\n') {
            Some((_, line)) => (line.trim(), false),
            None => (text.trim_start(), self.cut),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_bytes_are_kept() {
        let most = 32;
        let mut ring = Ring::of(most);
        ring.push(b"old");
        assert_eq!(ring.kept(), Kept { text: "old".to_owned(), cut: false });
        ring.push(&vec![b'x'; most - 2]);
        ring.push(b"yz");
        let Kept { text, cut } = ring.kept();
        assert_eq!((text.len(), cut), (most, true));
        assert!(text.starts_with('x') && text.ends_with("xyz"), "{}", &text[..4]);
        ring.push(&vec![b'w'; most * 2]);
        assert_eq!(ring.kept().text, "w".repeat(most));
        let mut at_once = Ring::of(most);
        at_once.push(&vec![b'w'; most * 2]);
        assert!(at_once.kept().cut);
    }

    #[test]
    fn a_line_without_its_beginning_is_known() {
        for (text, cut, expect) in [
            ("", false, ("", false)),
            ("a\n b \n\n", false, ("b", false)),
            ("a\nb", true, ("b", false)),
            ("b\n\n", true, ("b", true)),
            ("b\n", false, ("b", false)),
        ] {
            let kept = Kept { text: text.to_owned(), cut };
            assert_eq!(kept.last_line(), expect, "{text:?}");
        }
    }
}
