//! A WebSocket of which one side at least speaks HTTP/2: its frames are passed on both ways until one
//! side ends, drains or stalls.

use std::future::poll_fn;
use std::task::Poll;

use super::{CLOSE_MS, Crossing};
use crate::clock::NEVER;
use crate::counters::Outcome;
use crate::wire::h2::SILENT_MS;
use crate::wire::h2::side::{Answer, Client};
use crate::wire::h2::target::{Head, Target};
use crate::wire::h2::upgrade;
use crate::wire::h2::way::{Watch, Way};
use crate::wire::in_flight::InFlight;
use crate::wire::stream::watch_peer;
use crate::wire::web_socket::Frames;
use crate::wire::wires::{Fault, check};

impl<C: Client> Crossing<'_, C> {
    /// Passes a WebSocket's bytes on both ways.
    pub(super) async fn tunnel(
        &mut self,
        target: &mut Target,
        in_flight: &mut InFlight,
        head: Head,
    ) -> Result<Outcome, Fault> {
        let (to_client, to_target) = upgrade::close_frames();
        let mut down = Way::new(Watch::Frames(Frames::default(), to_client), 0);
        let mut up = Way::new(Watch::Frames(Frames::default(), to_target), 0);
        in_flight.answered_with(101);
        let Head { status, fields, .. } = head;
        self.client.send_head(Answer { status, fields, upgraded: true }, false)?;
        in_flight.becomes_stream();
        if let Target::H1(target) = &*target {
            watch_peer(&target.stream, SILENT_MS);
        }
        self.passage.slot.set_deadline(NEVER);
        let stall_ms = self.passage.found.limits.idle_body_ms;
        let (mut closed_by_ms, mut down_stalls, mut up_stalls) = (NEVER, NEVER, NEVER);
        let slot = self.passage.slot.clone();
        let worker = self.passage.worker.clone();
        let ended = poll_fn(|cx| {
            match check(&slot) {
                Ok(()) => {}
                Err(Fault::EndStream) => {
                    down.end_soon();
                    up.end_soon();
                    closed_by_ms = worker.deadline(CLOSE_MS);
                }
                // Who takes nothing for so long is as good as gone.
                Err(Fault::Late) if down_stalls <= worker.now_ms() => {
                    return Poll::Ready(Err(Fault::ClientGone));
                }
                Err(Fault::Late) if up_stalls <= worker.now_ms() => {
                    return Poll::Ready(Err(Fault::TargetGone));
                }
                Err(Fault::Late) if closed_by_ms > worker.now_ms() => {}
                // A frame that long has until the end of the period.
                Err(Fault::Late) if down.is_ending() => closed_by_ms = NEVER,
                Err(fault) => return Poll::Ready(Err(fault)),
            }
            let downward = down.poll(target, self.client, cx)?;
            let upward = up.poll(self.client, target, cx)?;
            if downward.is_ready() && upward.is_ready() {
                return Poll::Ready(Ok(()));
            }
            // A WebSocket of which one side has ended is over.
            if (down.is_finished() || up.is_finished()) && closed_by_ms == NEVER {
                closed_by_ms = worker.deadline(CLOSE_MS);
            }
            let stalls_at_ms = worker.deadline(stall_ms);
            down_stalls = down.stalls(down_stalls, stalls_at_ms);
            up_stalls = up.stalls(up_stalls, stalls_at_ms);
            slot.set_deadline(closed_by_ms.min(down_stalls).min(up_stalls));
            Poll::Pending
        })
        .await;
        if down.has_closed() || up.has_closed() {
            return Ok(Outcome::Answered);
        }
        ended.map(|()| Outcome::Answered).or_else(|fault| match (up.is_finished(), fault) {
            (true, Fault::Late) => Ok(Outcome::ClientGone),
            (_, fault) => Err(fault),
        })
    }
}
