//! Copies of requests to the canary, whose answers are thrown away. A copy is a task of its own with
//! a connection of its own: the original neither waits for it nor shares anything with it. It is
//! counted as `mirrored` at its target and nowhere else, and holds up no drain.

use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::upstream;
use crate::split::Side;
use crate::worker::{Found, LocalTarget, Worker};

/// How long a copy may take in all.
const COPY_MAX: Duration = Duration::from_secs(30);
/// The most of an answer that is read before the connection is closed, in bytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// What says to the app that nobody will see the answer, and ends the connection with it.
const FIELDS: &[u8] = b"Connection: close\r\nX-Ark-Mirror: 1\r\n";

/// Copies a request that goes to the stable side, should the route say so. `request` is its head as
/// the target gets it, with all of its body.
pub(super) fn copy(worker: &Rc<Worker>, found: &Found, request: &[u8]) {
    let Some(mirror) = found.split.as_ref().and_then(|split| split.mirror.as_ref()) else { return };
    let state = &found.state;
    let wanted = (mirror.unsafe_methods || is_safe(request))
        && state.mirror.deal(mirror.percent, &mut || worker.draw());
    if !wanted || state.mirrored.get() >= mirror.in_flight_max {
        return;
    }
    let Some(line_end) = memchr::memchr(b'\n', request) else { return };
    let Some(local) = worker.ready_of(found.slot, Side::Canary) else { return };
    let (line, rest) = request.split_at(line_end + 1);
    let copy = [line, FIELDS, rest].concat();
    let under_way = UnderWay::new(found.clone());
    tokio::task::spawn_local(async move {
        let _under_way = under_way;
        // Whatever becomes of it: nobody waits for it.
        let _ = timeout(COPY_MAX, send(&local, &copy)).await;
    });
}

fn is_safe(request: &[u8]) -> bool {
    [&b"GET "[..], b"HEAD ", b"OPTIONS "].iter().any(|method| request.starts_with(method))
}

async fn send(local: &LocalTarget, copy: &[u8]) -> std::io::Result<()> {
    let mut stream = upstream::connect(local.target.address).await?;
    local.cells().mirrored();
    stream.write_all(copy).await?;
    let mut thrown_away = [0; 4096];
    let mut read = 0;
    while read < ANSWER_BYTES_MAX {
        match stream.read(&mut thrown_away).await? {
            0 => break,
            count => read += count,
        }
    }
    Ok(())
}

/// A copy under way, for the limit of them.
struct UnderWay(Found);

impl UnderWay {
    fn new(found: Found) -> Self {
        found.state.mirrored.set(found.state.mirrored.get() + 1);
        Self(found)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.state.mirrored.set(self.0.state.mirrored.get() - 1);
    }
}
