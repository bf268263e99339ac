//! Bare HTTP/1.1 on one connection, for what a test wants to say and see byte by byte.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::Ark;

/// One connection that the test itself speaks on.
pub(crate) struct Raw {
    stream: TcpStream,
    host: String,
}

impl Raw {
    pub(crate) fn open(ark: &Ark, app: &str) -> Self {
        let stream = TcpStream::connect(ark.http).expect("the gateway accepts");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
        Self { stream, host: ark.host(app) }
    }

    pub(crate) fn send(&mut self, head: &str) {
        let text = head.replace("HOST", &self.host);
        self.stream.write_all(text.as_bytes()).expect("sent");
    }

    /// The next answer: its status and its body.
    pub(crate) fn answer(&mut self) -> (u16, String) {
        let mut bytes = Vec::new();
        let mut byte = [0];
        while !bytes.ends_with(b"\r\n\r\n") {
            self.stream.read_exact(&mut byte).expect("an answer's head");
            bytes.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
        let length = head.lines().find_map(|l| l.strip_prefix("content-length: "));
        let body = match length {
            Some(length) => self.bytes(length.trim().parse().expect("a length")),
            None if head.contains("transfer-encoding: chunked") => self.chunks(),
            None => Vec::new(),
        };
        (status, String::from_utf8_lossy(&body).trim_end().to_owned())
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes).expect("an answer's body");
        bytes
    }

    fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let mut line = Vec::new();
            while !line.ends_with(b"\r\n") {
                line.extend(self.bytes(1));
            }
            let line = String::from_utf8_lossy(&line).into_owned();
            let size = usize::from_str_radix(line.trim(), 16).expect("the size of a chunk");
            body.extend(self.bytes(size));
            self.bytes(2);
            if size == 0 {
                return body;
            }
        }
    }
}
