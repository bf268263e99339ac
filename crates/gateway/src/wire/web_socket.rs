//! WebSocket frames, as far as a gateway must know them: where one ends, so that a close frame can
//! follow, and whether a side has said that it closes. Payloads are not looked at.

/// Where in the frames of one direction the next byte stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frames {
    state: State,
    /// Whether a close frame has begun.
    pub(crate) closed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Between frames.
    Start,
    /// At the byte of mask bit and length.
    Length,
    /// Within a longer length: bytes left, value so far, length of the mask that follows.
    LongLength { left: u8, value: u64, mask: u64 },
    /// Within mask and payload.
    Rest { left: u64 },
}

/// The opcode of a close frame.
const CLOSE: u8 = 0x8;

impl Default for Frames {
    fn default() -> Self {
        Self { state: State::Start, closed: false }
    }
}

impl Frames {
    pub(crate) fn between(&self) -> bool {
        self.state == State::Start
    }

    /// Takes in `data`. With `stop`, ends at the end of the first frame and says where that is.
    pub(crate) fn scan(&mut self, data: &[u8], stop: bool) -> Option<usize> {
        let mut at = 0;
        while at < data.len() {
            if let State::Rest { left } = self.state {
                let count = usize::try_from(left).unwrap_or(usize::MAX).min(data.len() - at);
                at += count;
                self.state = after_header(left - count as u64);
            } else {
                self.step(data[at]);
                at += 1;
            }
            if stop && self.between() {
                return Some(at);
            }
        }
        None
    }

    fn step(&mut self, byte: u8) {
        self.state = match self.state {
            State::Start => {
                self.closed |= byte & 0x0f == CLOSE;
                State::Length
            }
            State::Length => {
                let mask = if byte & 0x80 == 0 { 0 } else { 4 };
                match byte & 0x7f {
                    126 => State::LongLength { left: 2, value: 0, mask },
                    127 => State::LongLength { left: 8, value: 0, mask },
                    length => after_header(u64::from(length) + mask),
                }
            }
            State::LongLength { left, value, mask } => {
                let value = value << 8 | u64::from(byte);
                match left {
                    1 => after_header(value.saturating_add(mask)),
                    _ => State::LongLength { left: left - 1, value, mask },
                }
            }
            rest @ State::Rest { .. } => rest,
        };
    }
}

fn after_header(left: u64) -> State {
    if left == 0 { State::Start } else { State::Rest { left } }
}

/// 1001: going away. Clients are meant to connect anew.
const GOING_AWAY: [u8; 2] = 1001_u16.to_be_bytes();

/// A close frame as a server sends it.
pub(crate) fn close_to_client() -> [u8; 4] {
    [0x80 | CLOSE, 2, GOING_AWAY[0], GOING_AWAY[1]]
}

/// A close frame as a client sends it: masked, as all its frames must be.
pub(crate) fn close_to_server(mask: [u8; 4]) -> [u8; 8] {
    let [a, b, c, d] = mask;
    [0x80 | CLOSE, 0x80 | 2, a, b, c, d, GOING_AWAY[0] ^ a, GOING_AWAY[1] ^ b]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop};
    use proptest::{prop_assert, prop_assert_eq, proptest};

    fn frame(opcode: u8, length: usize, mask: bool) -> Vec<u8> {
        let bit = if mask { 0x80 } else { 0 };
        let mut bytes = vec![0x80 | opcode];
        match length {
            0..126 => bytes.push(bit | u8::try_from(length).unwrap()),
            126..65_536 => {
                bytes.push(bit | 126);
                bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            _ => {
                bytes.push(bit | 127);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        bytes.resize(bytes.len() + if mask { 4 } else { 0 } + length, 0xff);
        bytes
    }

    proptest! {
        #[test]
        fn the_end_of_each_frame_is_found_in_any_split(
            frames in prop::collection::vec((0..8u8, 0..70_000usize, any::<bool>()), 1..4),
            piece in 1..5_000usize,
        ) {
            let encoded: Vec<_> = frames.iter().map(|(o, l, m)| frame(*o, *l, *m)).collect();
            let bytes = encoded.concat();
            let mut whole = Frames::default();
            for part in bytes.chunks(piece) {
                whole.scan(part, false);
            }
            prop_assert!(whole.between() && !whole.closed);
            let mut stopping = Frames::default();
            prop_assert_eq!(stopping.scan(&bytes, true), Some(encoded[0].len()));
            let cut = bytes.len() - 1;
            let mut short = Frames::default();
            short.scan(&bytes[..cut], false);
            prop_assert!(!short.between());
        }

        #[test]
        fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            Frames::default().scan(&bytes, false);
        }
    }

    #[test]
    fn close_frames_are_seen_and_whole() {
        for bytes in [&close_to_client()[..], &close_to_server([1, 2, 3, 4])[..]] {
            let mut frames = Frames::default();
            assert_eq!(frames.scan(bytes, true), Some(bytes.len()));
            assert!(frames.closed);
        }
    }
}
