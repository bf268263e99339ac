//! Chunked bodies: finds where chunks, trailers and the message end. Strict, because whatever two
//! parsers read differently can smuggle a request: CRLF only, at most 16 hex digits, no control
//! characters in extensions, no trailer that names framing or routing. Keeps no body bytes, so it
//! works on a body in any split.

use super::head;

/// The longest chunk extension, and the most all trailers may take, in bytes.
const EXTENSION_BYTES_MAX: usize = 4 << 10;
const TRAILER_BYTES_MAX: usize = 16 << 10;

/// Where in a chunked body the next byte stands.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    state: State,
    trailer: Vec<u8>,
    trailer_bytes: usize,
    /// Lines of all trailers, each with LF, where they are wanted.
    kept: Option<Vec<u8>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size { value: u64, digits: u8 },
    Extension { value: u64, length: usize },
    SizeLf { value: u64 },
    Data { left: u64 },
    DataCr,
    DataLf,
    Trailer,
    TrailerLf,
    Done,
}

impl Default for State {
    fn default() -> Self {
        Self::Size { value: 0, digits: 0 }
    }
}

/// The body is not chunked as it must be: what is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadChunk(pub(crate) &'static str);

/// What stands at the beginning of the given bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Piece {
    /// So many bytes of data.
    Data(usize),
    /// So many bytes of framing.
    Framing(usize),
    /// So many bytes of framing, and with them the message ends.
    End(usize),
}

impl Decoder {
    /// One that keeps trailers, for a message that goes on over HTTP/2.
    pub(crate) fn keeping_trailers() -> Self {
        Self { kept: Some(Vec::new()), ..Self::default() }
    }

    /// The lines of trailers so far, each with LF.
    pub(crate) fn trailers(&self) -> &[u8] {
        self.kept.as_deref().unwrap_or_default()
    }

    /// Whether the body has ended.
    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Passes over all of `input` that belongs to this body: how many bytes that is, and how many
    /// of them are data.
    pub(crate) fn scan(&mut self, input: &[u8]) -> Result<(usize, u64), BadChunk> {
        let (mut consumed, mut data) = (0, 0);
        while consumed < input.len() && !self.is_done() {
            consumed += match self.next(&input[consumed..])? {
                Piece::Data(count) => {
                    data += count as u64;
                    count
                }
                Piece::Framing(count) | Piece::End(count) => count,
            };
        }
        Ok((consumed, data))
    }

    /// The next piece of a non-empty `input`.
    pub(crate) fn next(&mut self, input: &[u8]) -> Result<Piece, BadChunk> {
        if let State::Data { left } = self.state {
            let count = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
            let left = left - count as u64;
            self.state = if left == 0 { State::DataCr } else { State::Data { left } };
            return Ok(Piece::Data(count));
        }
        for (index, byte) in input.iter().enumerate() {
            self.state = self.step(*byte)?;
            match self.state {
                State::Data { .. } => return Ok(Piece::Framing(index + 1)),
                State::Done => return Ok(Piece::End(index + 1)),
                _ => {}
            }
        }
        Ok(Piece::Framing(input.len()))
    }

    fn step(&mut self, byte: u8) -> Result<State, BadChunk> {
        let state = match (self.state, byte) {
            (State::Size { value, digits }, _) if byte.is_ascii_hexdigit() => {
                if digits == 16 {
                    return Err(BadChunk("chunk size too long"));
                }
                let digit = char::from(byte).to_digit(16).unwrap_or(0);
                State::Size { value: value << 4 | u64::from(digit), digits: digits + 1 }
            }
            (State::Size { digits: 0, .. }, _) => return Err(BadChunk("chunk size missing")),
            (State::Size { value, .. } | State::Extension { value, .. }, b'\r') => {
                State::SizeLf { value }
            }
            (State::Size { value, .. }, b';' | b' ' | b'\t') => {
                State::Extension { value, length: 1 }
            }
            (State::Size { .. }, _) => return Err(BadChunk("chunk size is not hexadecimal")),
            (State::Extension { value, length }, _) => {
                if length == EXTENSION_BYTES_MAX {
                    return Err(BadChunk("chunk extension too long"));
                }
                if byte != b'\t' && byte.is_ascii_control() {
                    return Err(BadChunk("control character in a chunk extension"));
                }
                State::Extension { value, length: length + 1 }
            }
            (State::SizeLf { value: 0 }, b'\n') => State::Trailer,
            (State::SizeLf { value }, b'\n') => State::Data { left: value },
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::default(),
            (State::SizeLf { .. } | State::DataCr | State::DataLf, _) => {
                return Err(BadChunk("chunk does not end with CRLF"));
            }
            (State::Trailer, b'\r') => State::TrailerLf,
            (State::Trailer, _) => {
                self.trailer_bytes += 1;
                if self.trailer_bytes > TRAILER_BYTES_MAX {
                    return Err(BadChunk("trailers too long"));
                }
                self.trailer.push(byte);
                State::Trailer
            }
            (State::TrailerLf, b'\n') if self.trailer.is_empty() => State::Done,
            (State::TrailerLf, b'\n') => {
                check_trailer(&self.trailer)?;
                if let Some(kept) = &mut self.kept {
                    kept.extend_from_slice(&self.trailer);
                    kept.push(b'\n');
                }
                self.trailer.clear();
                State::Trailer
            }
            (State::TrailerLf, _) => return Err(BadChunk("trailer does not end with CRLF")),
            // `next` handles both before it comes here.
            (State::Data { .. } | State::Done, _) => return Err(BadChunk("after the end")),
        };
        Ok(state)
    }
}

/// A trailer must be a field, and none that frames or routes messages or is a matter of one hop.
fn check_trailer(line: &[u8]) -> Result<(), BadChunk> {
    let Some(colon) = memchr::memchr(b':', line) else {
        return Err(BadChunk("trailer without a colon"));
    };
    let (name, value) = line.split_at(colon);
    if name.is_empty() || !name.iter().all(|byte| head::is_token(*byte)) {
        return Err(BadChunk("trailer name"));
    }
    if value.iter().any(|byte| *byte != b'\t' && byte.is_ascii_control()) {
        return Err(BadChunk("control character in a trailer"));
    }
    match head::Field::of(name) {
        head::Field::Other | head::Field::Accept => Ok(()),
        _ => Err(BadChunk("trailer that may not be one")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop};
    use proptest::{prop_assert, prop_assert_eq, proptest};

    fn scan_in_pieces(body: &[u8], piece: usize) -> Result<(usize, u64, bool), BadChunk> {
        let mut decoder = Decoder::default();
        let (mut consumed, mut data) = (0, 0);
        for part in body.chunks(piece) {
            let (c, d) = decoder.scan(part)?;
            consumed += c;
            data += d;
        }
        Ok((consumed, data, decoder.is_done()))
    }

    #[test]
    fn chunked_bodies_are_read_strictly_in_any_split() {
        let good: [(&[u8], usize, u64); 6] = [
            (b"0\r\n\r\n", 5, 0),
            (b"3\r\nabc\r\n0\r\n\r\nGET", 13, 3),
            (b"00003;a=\"b\"\r\nabc\r\n0\r\n\r\n", 23, 3),
            (b"A\r\n0123456789\r\n1\r\nx\r\n0\r\n\r\n", 26, 11),
            (b"0\r\nX-Sum: 1\r\nY:\t2\r\n\r\n", 21, 0),
            (b"1 \r\nx\r\n0\r\n\r\n", 12, 1),
        ];
        for (body, consumed, data) in good {
            for piece in 1..=body.len() {
                let read = scan_in_pieces(body, piece);
                let text = String::from_utf8_lossy(body);
                assert_eq!(read, Ok((consumed, data, true)), "{text} by {piece}");
            }
        }
        let bad: [&[u8]; 16] = [
            b"\r\n",
            b"g\r\n",
            b"-1\r\n",
            b"+1\r\n",
            b"0x1\r\n",
            b"1\nx\r\n",
            b"1\r\nxx\r\n",
            b"1\r\nx\n0\r\n",
            b"11111111111111111\r\n",
            b"1;a\nb\r\n",
            b"1;\0\r\n",
            b"0\r\nX: 1\n\r\n",
            b"0\r\nno colon\r\n\r\n",
            b"0\r\nContent-Length: 1\r\n\r\n",
            b"0\r\ntransfer-encoding: chunked\r\n\r\n",
            b"0\r\nHost : a\r\n\r\n",
        ];
        for body in bad {
            for piece in 1..=body.len() {
                let text = String::from_utf8_lossy(body);
                assert!(scan_in_pieces(body, piece).is_err(), "{text:?} by {piece}");
            }
        }
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_found_again(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
            piece in 1..50usize,
        ) {
            let mut body = Vec::new();
            for chunk in &chunks {
                body.extend(format!("{:x}\r\n", chunk.len()).bytes());
                body.extend(chunk);
                body.extend(b"\r\n");
            }
            body.extend(b"0\r\n\r\n");
            let data = chunks.iter().map(|c| c.len() as u64).sum::<u64>();
            prop_assert_eq!(scan_in_pieces(&body, piece), Ok((body.len(), data, true)));
        }

        #[test]
        fn nothing_panics_and_nothing_is_read_beyond_the_end(
            bytes in prop::collection::vec(any::<u8>(), 1..200), piece in 1..50usize,
        ) {
            if let Ok((consumed, ..)) = scan_in_pieces(&bytes, piece) {
                prop_assert!(consumed <= bytes.len());
            }
        }
    }
}
