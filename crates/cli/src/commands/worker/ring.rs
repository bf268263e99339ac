//! The last bytes that a stream gave.

use std::collections::VecDeque;

/// Bytes that are kept of each stream.
pub(super) const RING_BYTES: usize = 32_768;

/// Keeps the newest [`RING_BYTES`] bytes.
#[derive(Debug, Default)]
pub(super) struct Ring(VecDeque<u8>);

impl Ring {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let newest = &bytes[bytes.len().saturating_sub(RING_BYTES)..];
        let over = (self.0.len() + newest.len()).saturating_sub(RING_BYTES);
        self.0.drain(..over);
        self.0.extend(newest);
    }

    /// What is kept, as text: what is no UTF-8 (a letter cut at the beginning, say) is replaced.
    pub(super) fn text(&self) -> String {
        let (front, back) = self.0.as_slices();
        String::from_utf8_lossy(&[front, back].concat()).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_bytes_are_kept() {
        let mut ring = Ring::default();
        ring.push(b"old");
        ring.push(&vec![b'x'; RING_BYTES - 2]);
        ring.push(b"yz");
        let text = ring.text();
        assert_eq!(text.len(), RING_BYTES);
        assert!(text.starts_with('x') && text.ends_with("xyz"), "{}", &text[..4]);
        ring.push(&vec![b'w'; RING_BYTES * 2]);
        assert_eq!(ring.text(), "w".repeat(RING_BYTES));
    }
}
