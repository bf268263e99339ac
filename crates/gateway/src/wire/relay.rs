//! The body of an answer on its way to the client, passed on as it arrives. Where the target's
//! framing suits the client it is checked and passed on unchanged; else the body is framed anew
//! (for HTTP/1.0 clients, for bodies that end with the connection, and for event streams, which
//! must be able to end between any two events).

use super::buffer::{LARGE_BYTES, SMALL_BYTES};
use super::chunked::{Decoder, Piece};
use super::head::{Framing, ResponseHead, Version};
use super::in_flight::InFlight;
use super::wires::{Fault, Wires};

/// How a relay ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The answer is complete.
    Whole,
    /// The gateway ended the stream between two events.
    EndedInOrder,
    /// The client did not get all of it.
    Broken(Fault),
}

/// A body under way.
#[derive(Debug)]
pub(crate) struct Relay {
    source: Source,
    sink: Sink,
    /// Of an event stream: where its last event ends.
    events: Option<Events>,
}

/// How the target frames the body.
#[derive(Debug)]
enum Source {
    Length(u64),
    Chunked(Decoder),
    UntilClose,
    Ended,
}

/// How the client gets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sink {
    /// Byte by byte as the target sends it, framing included.
    AsItIs,
    /// Data alone.
    Plain,
    /// In chunks of our own.
    Chunks,
}

/// The longest chunk head and tail we write.
const CHUNK_FRAME_BYTES: usize = 24;

impl Relay {
    pub(crate) fn new(head: &ResponseHead, version: Version) -> Self {
        let source = match head.framing {
            Framing::None => Source::Ended,
            Framing::Length(length) => Source::Length(length),
            Framing::Chunked => Source::Chunked(Decoder::default()),
            Framing::UntilClose => Source::UntilClose,
        };
        let sink = match (&source, version) {
            (Source::Chunked(_), Version::Http11) if !head.event_stream => Sink::AsItIs,
            (Source::Chunked(_) | Source::UntilClose, Version::Http11) => Sink::Chunks,
            (Source::Chunked(_), Version::Http10) => Sink::Plain,
            (Source::UntilClose, Version::Http10) | (Source::Length(_) | Source::Ended, _) => {
                Sink::AsItIs
            }
        };
        // A stream of known length cannot be ended early and still look whole.
        let events = (head.event_stream && sink == Sink::Chunks).then(Events::default);
        Self { source, sink, events }
    }

    /// Passes on the head in `out` and then the body.
    pub(crate) async fn run(
        mut self,
        wires: &mut Wires<'_>,
        out: &mut Vec<u8>,
        in_flight: &mut InFlight,
    ) -> End {
        match self.pass(wires, out, in_flight).await {
            Ok(end) => end,
            Err(fault) => End::Broken(fault),
        }
    }

    async fn pass(
        &mut self,
        wires: &mut Wires<'_>,
        out: &mut Vec<u8>,
        in_flight: &mut InFlight,
    ) -> Result<End, Fault> {
        wires.progress();
        let mut ending = false;
        loop {
            if !wires.upstream.buffer.is_empty() {
                let end = match self.sink {
                    Sink::AsItIs => self.pass_as_it_is(wires, out, in_flight).await?,
                    Sink::Plain | Sink::Chunks => {
                        self.pass_anew(wires, out, in_flight, ending).await?
                    }
                };
                if let Some(end) = end {
                    return Ok(end);
                }
            } else if !out.is_empty() {
                wires.send(out).await?;
                out.clear();
            }
            if matches!(self.source, Source::Ended) {
                return Ok(End::Whole);
            }
            self.make_room(wires);
            match wires.receive().await {
                Ok(0) => return self.target_closed(wires).await,
                Ok(_) => wires.progress(),
                Err(Fault::EndStream) => match self.events {
                    Some(events) if events.between() => {
                        wires.send(b"0\r\n\r\n").await?;
                        return Ok(End::EndedInOrder);
                    }
                    Some(_) => ending = true,
                    // It ends with the period for streams.
                    None => {}
                },
                Err(fault) => return Err(fault),
            }
        }
    }

    /// Passes on what stands in the buffer, without looking into data.
    async fn pass_as_it_is(
        &mut self,
        wires: &mut Wires<'_>,
        out: &mut Vec<u8>,
        in_flight: &mut InFlight,
    ) -> Result<Option<End>, Fault> {
        let arrived = wires.upstream.buffer.filled();
        let (count, data) = match &mut self.source {
            Source::Length(left) => {
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(arrived.len());
                *left -= count as u64;
                if *left == 0 {
                    self.source = Source::Ended;
                }
                (count, count as u64)
            }
            Source::Chunked(decoder) => {
                let (count, data) = decoder.scan(arrived).map_err(|_| Fault::BadResponse)?;
                if decoder.is_done() {
                    self.source = Source::Ended;
                }
                (count, data)
            }
            Source::UntilClose => (arrived.len(), arrived.len() as u64),
            Source::Ended => (0, 0),
        };
        in_flight.passed_on(data);
        if out.is_empty() {
            wires.pass_on(count).await?;
        } else {
            // Head and beginning of the body leave together.
            out.extend_from_slice(&arrived[..count]);
            wires.upstream.buffer.consume(count);
            wires.send(out).await?;
            out.clear();
        }
        Ok(None)
    }

    /// Passes on the data in the buffer, framed as the client needs it.
    async fn pass_anew(
        &mut self,
        wires: &mut Wires<'_>,
        out: &mut Vec<u8>,
        in_flight: &mut InFlight,
        ending: bool,
    ) -> Result<Option<End>, Fault> {
        let mut end = None;
        while !wires.upstream.buffer.is_empty() && !matches!(self.source, Source::Ended) {
            let arrived = wires.upstream.buffer.filled();
            let piece = match &mut self.source {
                Source::Chunked(decoder) => {
                    decoder.next(arrived).map_err(|_| Fault::BadResponse)?
                }
                Source::Length(_) | Source::UntilClose | Source::Ended => {
                    Piece::Data(arrived.len())
                }
            };
            match piece {
                Piece::Data(count) => {
                    let mut data = &arrived[..count];
                    if let Some(events) = &mut self.events {
                        let last = events.scan(data, ending);
                        if let Some(until) = last {
                            data = &data[..until];
                            end = Some(End::EndedInOrder);
                        }
                    }
                    in_flight.passed_on(data.len() as u64);
                    write_data(self.sink, data, out);
                    wires.upstream.buffer.consume(count);
                    if end.is_some() {
                        break;
                    }
                }
                Piece::Framing(count) => wires.upstream.buffer.consume(count),
                Piece::End(count) => {
                    wires.upstream.buffer.consume(count);
                    self.source = Source::Ended;
                }
            }
        }
        let ended = end.is_some() || matches!(self.source, Source::Ended);
        if ended && self.sink == Sink::Chunks {
            out.extend_from_slice(b"0\r\n\r\n");
        }
        wires.send(out).await?;
        out.clear();
        Ok(end)
    }

    /// The target has closed its connection.
    async fn target_closed(&mut self, wires: &mut Wires<'_>) -> Result<End, Fault> {
        match (&self.source, self.sink) {
            (Source::UntilClose, Sink::Chunks) => {
                wires.send(b"0\r\n\r\n").await?;
                Ok(End::Whole)
            }
            (Source::UntilClose | Source::Ended, _) => Ok(End::Whole),
            (Source::Length(_) | Source::Chunked(_), _) => Err(Fault::TargetGone),
        }
    }

    /// Large bodies are moved in large pieces.
    fn make_room(&self, wires: &mut Wires<'_>) {
        let large = match &self.source {
            Source::Length(left) => *left > SMALL_BYTES as u64,
            Source::Chunked(_) | Source::UntilClose => self.events.is_none(),
            Source::Ended => false,
        };
        let buffer = &mut wires.upstream.buffer;
        if large && buffer.is_empty() && buffer.capacity() < LARGE_BYTES {
            let small = std::mem::replace(buffer, wires.worker.buffers.large());
            wires.worker.buffers.give_back(small);
        }
    }
}

fn write_data(sink: Sink, data: &[u8], out: &mut Vec<u8>) {
    match sink {
        Sink::AsItIs | Sink::Plain => out.extend_from_slice(data),
        Sink::Chunks if data.is_empty() => {}
        Sink::Chunks => {
            out.reserve(data.len() + CHUNK_FRAME_BYTES);
            out.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
            out.extend_from_slice(data);
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// Finds where events end: at an empty line, whichever of LF, CR or CRLF ends lines.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Events {
    /// Whether the last line has ended and the next has not begun.
    at_line_start: bool,
    last: u8,
    /// Whether nothing was seen since the last event ended.
    between: bool,
}

impl Default for Events {
    fn default() -> Self {
        Self { at_line_start: true, last: 0, between: true }
    }
}

impl Events {
    pub(crate) fn between(self) -> bool {
        self.between
    }

    /// Takes in `data`. With `stop`, ends at the first event's end and says where that is.
    pub(crate) fn scan(&mut self, data: &[u8], stop: bool) -> Option<usize> {
        for (index, byte) in data.iter().enumerate() {
            let second_of_crlf = *byte == b'\n' && self.last == b'\r';
            self.last = *byte;
            match byte {
                // The line has ended already with the CR before.
                b'\n' if second_of_crlf => {}
                b'\n' | b'\r' if self.at_line_start => self.between = true,
                b'\n' | b'\r' => self.at_line_start = true,
                _ => {
                    self.at_line_start = false;
                    self.between = false;
                }
            }
            // After the CR of an empty CRLF line its LF still belongs to the event.
            let lf_follows = *byte == b'\r' && data.get(index + 1) == Some(&b'\n');
            if stop && self.between && !lf_follows {
                return Some(index + 1);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_end_at_empty_lines_in_any_split() {
        let cases: [(&[u8], bool, Option<usize>); 9] = [
            (b"data: 1\n\n", true, Some(9)),
            (b"data: 1\r\n\r\n", true, Some(11)),
            (b"data: 1\r\r", true, Some(9)),
            (b"data: 1\n", false, None),
            (b"data: 1", false, None),
            (b"data: 1\ndata: 2\n\nda", false, Some(17)),
            (b"data: 1\r\n", false, None),
            (b": ping\n\ndata: 2\n\n", true, Some(8)),
            (b"a\r\n\r\nb\r\n", false, Some(5)),
        ];
        for (text, between, first_end) in cases {
            for split in 0..text.len() {
                let mut events = Events::default();
                events.scan(&text[..split], false);
                events.scan(&text[split..], false);
                assert_eq!(events.between(), between, "{text:?} at {split}");
            }
            let mut events = Events { between: false, ..Events::default() };
            events.at_line_start = false;
            assert_eq!(events.scan(text, true), first_end, "{text:?}");
        }
    }
}
