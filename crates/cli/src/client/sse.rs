//! Server-sent events: bytes in, messages out. Pure, so that its edge cases are tables.
//!
//! Used by [`super::follow`]. It follows the WHATWG rules: CR, LF and CRLF end a line, a blank line
//! ends a message, a message without data is not delivered, `id` sticks until the next one.

/// The longest line or message that is kept; beyond it the stream is not what it claims to be.
const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// One message of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// The name, `message` when none was given.
    pub(crate) event: String,
    /// The resume point as of this message; empty while none was given.
    pub(crate) id: String,
    /// Its text; several `data` lines are joined by line breaks.
    pub(crate) data: String,
}

/// A message grew beyond [`MESSAGE_BYTES_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message of the stream is longer than {MESSAGE_BYTES_MAX} bytes")]
pub(crate) struct MessageTooLong;

/// The parser of one stream.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    line: Vec<u8>,
    /// The last byte was CR, so that a LF that follows belongs to it.
    after_cr: bool,
    /// Whether the first line was seen, which alone may begin with a byte order mark.
    begun: bool,
    event: String,
    data: String,
    has_data: bool,
    id: String,
    /// The id as of the last message that ended.
    ended_id: String,
}

impl Parser {
    /// A parser that goes on after a message with this id.
    pub(crate) fn after(id: String) -> Self {
        Self { ended_id: id.clone(), id, ..Self::default() }
    }

    /// Takes bytes as they come; `found` gets the messages that became complete.
    pub(crate) fn feed(
        &mut self,
        bytes: &[u8],
        mut found: impl FnMut(Message),
    ) -> Result<(), MessageTooLong> {
        for &byte in bytes {
            if std::mem::take(&mut self.after_cr) && byte == b'\n' {
                continue;
            }
            match byte {
                b'\r' | b'\n' => {
                    self.after_cr = byte == b'\r';
                    if let Some(message) = self.end_of_line() {
                        found(message);
                    }
                }
                _ => self.line.push(byte),
            }
            if self.line.len() + self.data.len() > MESSAGE_BYTES_MAX {
                return Err(MessageTooLong);
            }
        }
        Ok(())
    }

    /// The resume point as of the last message, one without data included: it is nothing to hand out,
    /// but a stream may say by it where it begins.
    pub(crate) fn last_id(&self) -> &str {
        &self.ended_id
    }

    fn end_of_line(&mut self) -> Option<Message> {
        let bytes = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(&bytes);
        let line = match std::mem::replace(&mut self.begun, true) {
            false => text.strip_prefix('\u{feff}').unwrap_or(&text),
            true => &text,
        };
        if line.is_empty() {
            return self.end_of_message();
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                if self.has_data {
                    self.data.push('\n');
                }
                self.has_data = true;
                self.data.push_str(value);
            }
            "event" => value.clone_into(&mut self.event),
            "id" if !value.contains('\0') => value.clone_into(&mut self.id),
            // Comments have an empty name; `retry` is ignored, the pause is the client's choice.
            _ => {}
        }
        None
    }

    fn end_of_message(&mut self) -> Option<Message> {
        let event = std::mem::take(&mut self.event);
        let data = std::mem::take(&mut self.data);
        self.id.clone_into(&mut self.ended_id);
        std::mem::take(&mut self.has_data).then(|| Message {
            event: if event.is_empty() { "message".to_owned() } else { event },
            id: self.id.clone(),
            data,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(chunks: &[&[u8]]) -> Vec<(String, String, String)> {
        let mut parser = Parser::default();
        let mut out = Vec::new();
        for chunk in chunks {
            parser.feed(chunk, |m| out.push((m.event, m.id, m.data))).unwrap();
        }
        out
    }

    fn message(event: &str, id: &str, data: &str) -> (String, String, String) {
        (event.to_owned(), id.to_owned(), data.to_owned())
    }

    #[test]
    fn streams_are_read_as_the_standard_says() {
        for (text, expect) in [
            ("data: a\n\n", vec![message("message", "", "a")]),
            ("data:a\ndata: b\n\n", vec![message("message", "", "a\nb")]),
            ("id: 7\nevent: line\ndata: x\n\n", vec![message("line", "7", "x")]),
            (
                "id: 7\ndata: a\n\ndata: b\n\n",
                vec![message("message", "7", "a"), message("message", "7", "b")],
            ),
            (": keep-alive\n\n", vec![]),
            ("event: empty\n\ndata: a\n\n", vec![message("message", "", "a")]),
            ("data\n\n", vec![message("message", "", "")]),
            ("\u{feff}data: a\r\n\r\n", vec![message("message", "", "a")]),
            (
                "data: a\r\rdata: b\r\r",
                vec![message("message", "", "a"), message("message", "", "b")],
            ),
            ("data: not complete\n", vec![]),
            ("data:  two spaces\n\n", vec![message("message", "", " two spaces")]),
            ("retry: 10\nunknown: x\ndata: a\n\n", vec![message("message", "", "a")]),
        ] {
            assert_eq!(parse(&[text.as_bytes()]), expect, "{text:?}");
        }
    }

    #[test]
    fn a_stream_without_line_ends_is_refused() {
        let mut parser = Parser::default();
        let chunk = vec![b'a'; MESSAGE_BYTES_MAX / 2];
        assert_eq!(parser.feed(&chunk, |_| ()), Ok(()));
        assert_eq!(parser.feed(&chunk, |_| ()), Ok(()));
        assert_eq!(parser.feed(b"a", |_| ()), Err(MessageTooLong));
    }

    proptest! {
        /// Where the network cuts the bytes makes no difference.
        #[test]
        fn cuts_make_no_difference(text in "(data: [a-z]{0,5}|id: [0-9]|event: x|:c|)(\r\n|\n|\r)", times in 1usize..9, cut in 0usize..200) {
            let text = text.repeat(times) + "\n\n";
            let bytes = text.as_bytes();
            let cut = cut.min(bytes.len());
            prop_assert_eq!(parse(&[bytes]), parse(&[&bytes[..cut], &bytes[cut..]]));
        }
    }
}
