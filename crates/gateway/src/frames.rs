//! Frames of the gateway's socket: a 4-byte big-endian length, then that many bytes of JSON. Used
//! by both ends (`link`, `control`); says nothing about what the values mean.

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt};

use ark_model::gateway::FRAME_BYTES_MAX;

use crate::error::{Error, Result};

/// `value` as a frame.
pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, value)
        .map_err(|error| Error::Protocol { reason: format!("cannot encode: {error}") })?;
    let length = frame.len() - 4;
    if length > FRAME_BYTES_MAX {
        return Err(Error::Protocol { reason: format!("a frame of {length} bytes is too large") });
    }
    frame[..4].copy_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    Ok(frame)
}

/// Reads frames. What was read of an unfinished frame is kept here, so that a dropped call of
/// [`FrameReader::next`] loses nothing.
#[derive(Debug)]
pub(crate) struct FrameReader<R> {
    source: R,
    buffer: Vec<u8>,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(crate) fn new(source: R) -> Self {
        Self { source, buffer: Vec::new() }
    }

    /// The next value; `None` at the end of the connection.
    pub(crate) async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>> {
        loop {
            if let Some(value) = self.take()? {
                return Ok(Some(value));
            }
            self.buffer.reserve(16 << 10);
            let count = self
                .source
                .read_buf(&mut self.buffer)
                .await
                .map_err(|source| Error::Socket { source })?;
            match (count, self.buffer.is_empty()) {
                (0, true) => return Ok(None),
                (0, false) => {
                    return Err(Error::Protocol { reason: "ended within a frame".to_owned() });
                }
                _ => {}
            }
        }
    }

    fn take<T: DeserializeOwned>(&mut self) -> Result<Option<T>> {
        let Some(head) = self.buffer.first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_be_bytes(*head) as usize;
        if length > FRAME_BYTES_MAX {
            let reason = format!("a frame of {length} bytes is too large");
            return Err(Error::Protocol { reason });
        }
        let Some(body) = self.buffer.get(4..4 + length) else { return Ok(None) };
        let value = serde_json::from_slice(body)
            .map_err(|error| Error::Protocol { reason: format!("frame: {error}") })?;
        self.buffer.drain(..4 + length);
        if self.buffer.is_empty() && self.buffer.capacity() > 1 << 20 {
            self.buffer = Vec::new();
        }
        Ok(Some(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_survive_any_split_and_too_large_ones_are_refused() {
        let mut bytes = encode(&"one").unwrap();
        bytes.extend(encode(&"two").unwrap());
        for split in 1..bytes.len() {
            let (head, tail) = bytes.split_at(split);
            let mut reader = FrameReader::new(AsyncReadExt::chain(head, tail));
            assert_eq!(reader.next::<String>().await.unwrap().as_deref(), Some("one"));
            assert_eq!(reader.next::<String>().await.unwrap().as_deref(), Some("two"));
            assert!(reader.next::<String>().await.unwrap().is_none());
        }
        for bad in [&[255, 255, 255, 255][..], &[0, 0, 0, 9, b'"'], &[0, 0, 0, 1, b'{'], &[0, 0]] {
            assert!(FrameReader::new(bad).next::<String>().await.is_err(), "{bad:?}");
        }
    }
}
