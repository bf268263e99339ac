//! Timestamps of Wait and Choice: ISO 8601 with `T` and an offset.

use jiff::Timestamp;

/// Reads `2016-03-14T01:59:00Z`. `None` for every other form: a space for the `T`, no offset, a
/// month 13.
pub fn parse(text: &str) -> Option<Timestamp> {
    text.contains('T').then(|| text.parse().ok()).flatten()
}
