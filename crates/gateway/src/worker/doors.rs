//! Connections as they come: accepted, spread over the workers, served.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;

use ark_model::gateway::RefusalKind;
use ark_model::route::ContainerNetwork;

use super::message::{Entry, Message};
use super::{TICK, Worker};
use crate::wire::conn;

impl Worker {
    /// Accepts from a socket; who is not of the network `only` is not served.
    pub(super) fn listen(
        self: &Rc<Self>,
        listener: std::net::TcpListener,
        entry: Entry,
        only: Option<ContainerNetwork>,
    ) {
        let bound = listener.local_addr().ok();
        let listener = match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(%error, ?entry, "listening socket cannot be used");
                return;
            }
        };
        let worker = self.clone();
        let task = tokio::task::spawn_local(async move {
            loop {
                while !worker.shared.has_room(entry.side()) {
                    worker.close_idle(entry.side());
                    tokio::time::sleep(TICK).await;
                }
                match listener.accept().await {
                    Ok((_, peer)) if only.is_some_and(|network| !network.contains(peer.ip())) => {
                        worker.shared.refusals.count(RefusalKind::Stranger);
                    }
                    Ok((stream, peer)) => worker.place(stream, peer, entry),
                    Err(error) if is_of_connection(&error) => {}
                    Err(error) => {
                        // Out of descriptors or memory: connections wait in the backlog.
                        tracing::error!(%error, "cannot accept connections");
                        tokio::time::sleep(TICK).await;
                    }
                }
            }
        });
        self.accepting.borrow_mut().push((bound, task));
    }

    /// Serves an accepted connection here, or hands it to a worker that has clearly fewer:
    /// whichever worker wakes first would otherwise take a whole burst.
    fn place(self: &Rc<Self>, stream: tokio::net::TcpStream, peer: SocketAddr, entry: Entry) {
        let loads = &self.shared.loads;
        let own = loads[self.index].all.load(Relaxed);
        let least = (0..loads.len()).min_by_key(|worker| loads[*worker].all.load(Relaxed));
        if let Some(least) = least.filter(|w| loads[*w].all.load(Relaxed) + 2 + own / 16 <= own) {
            if let Ok(stream) = stream.into_std() {
                // Counted at once, so that the next connection of the burst sees it.
                loads[least].all.fetch_add(1, Relaxed);
                self.shared.send(least, Message::Serve { stream, peer, entry });
            }
            return;
        }
        self.serve(stream, peer, entry);
    }

    pub(super) fn serve(
        self: &Rc<Self>,
        stream: tokio::net::TcpStream,
        peer: SocketAddr,
        entry: Entry,
    ) {
        let guard = self.enter(entry.side());
        let call = match entry {
            Entry::Port(route) => self.callers.begin(route, peer, &stream, self.now_ms()),
            Entry::Http(_) => None,
        };
        let served = conn::serve(self.clone(), guard, stream, peer.ip(), entry);
        match call {
            // Connections that come through the other doors do not carry the room for it.
            Some(call) => {
                tokio::task::spawn_local(async move {
                    let _call = call;
                    served.await;
                });
            }
            None => {
                tokio::task::spawn_local(served);
            }
        }
    }
}

/// Errors of `accept` that concern the accepted connection, not the listener.
fn is_of_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::listen::Door;
    use crate::table::RouteSlot;
    use crate::wire::slot::{Doing, DoorSide, Slot, Verdict};
    use crate::worker::Shared;

    /// A worker that may have eight connections, and where it listens for either side.
    fn small() -> (Rc<Worker>, [SocketAddr; 2]) {
        let shared = Shared { connections_max: 8, ..Shared::new(1) };
        let worker = Worker::new(0, Arc::new(shared), 1);
        let listen = |entry| {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.set_nonblocking(true).unwrap();
            let address = listener.local_addr().unwrap();
            worker.listen(listener, entry, None);
            address
        };
        let addresses = [listen(Entry::Http(Door::default())), listen(Entry::Port(RouteSlot(7)))];
        tokio::task::spawn_local({
            let worker = worker.clone();
            async move {
                let mut ticks = tokio::time::interval(TICK);
                loop {
                    ticks.tick().await;
                    worker.tick();
                }
            }
        });
        (worker, addresses)
    }

    async fn connect(address: SocketAddr, first: &[u8], count: usize) -> Vec<TcpStream> {
        let mut streams = Vec::new();
        for _ in 0..count {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(first).await.unwrap();
            streams.push(stream);
        }
        streams
    }

    #[tokio::test]
    async fn idle_connections_give_way_and_neither_side_shuts_out_the_other() {
        let local = tokio::task::LocalSet::new();
        local
            .run_until(tokio::time::timeout(Duration::from_secs(20), async {
                let (worker, [http, port]) = small();
                // More than there may be, which ask for nothing.
                let silent = connect(http, b"", 10).await;
                let mut asks = TcpStream::connect(http).await.unwrap();
                asks.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await.unwrap();
                let mut answer = [0; 12];
                asks.read_exact(&mut answer).await.unwrap();
                assert_eq!(&answer, b"HTTP/1.1 404");
                let closed = worker.shared.refusals.report()[&RefusalKind::Silent];
                assert!(closed >= 5, "{closed} were closed");
                drop((silent, asks));
                // Busy ones stay, and have no more than their share.
                let busy = connect(http, b"GET / HTTP/1.1\r\n", 10).await;
                while worker.shared.connections() < 6 {
                    tokio::time::sleep(TICK).await;
                }
                // There is no such route: served, and closed for it.
                let mut inside = TcpStream::connect(port).await.unwrap();
                assert_eq!(inside.read(&mut answer).await.unwrap(), 0);
                assert_eq!(worker.shared.connections(), 6);
                drop(busy);
            }))
            .await
            .expect("served in time");
    }

    /// The only connection's slot.
    async fn only_slot(worker: &Worker) -> Rc<Slot> {
        loop {
            if let [slot] = worker.slots.borrow().as_slice() {
                return slot.clone();
            }
            tokio::time::sleep(TICK).await;
        }
    }

    #[tokio::test]
    async fn a_request_that_lies_in_the_kernel_is_served_though_its_connection_is_late() {
        let local = tokio::task::LocalSet::new();
        local
            .run_until(tokio::time::timeout(Duration::from_secs(20), async {
                let (worker, [http, _]) = small();
                let mut client = TcpStream::connect(http).await.unwrap();
                let slot = only_slot(&worker).await;
                let request = b"POST / HTTP/1.1\r\nHost: a.test\r\n\r\n";
                for verdict in [Verdict::Late, Verdict::Late, Verdict::Leave] {
                    client.writable().await.unwrap();
                    // Nothing else runs between these two.
                    assert_eq!(client.try_write(request).unwrap(), request.len());
                    slot.tell(verdict);
                    let mut answer = Vec::new();
                    while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
                        assert!(client.read_buf(&mut answer).await.unwrap() > 0, "{verdict:?}");
                    }
                    assert!(answer.starts_with(b"HTTP/1.1 404"), "{verdict:?}");
                    while matches!(client.try_read_buf(&mut answer), Ok(1..)) {}
                    while !matches!(*slot.doing(), Doing::Idle) {
                        tokio::time::sleep(TICK).await;
                    }
                }
                slot.tell(Verdict::Late);
                let mut rest = Vec::new();
                client.read_to_end(&mut rest).await.unwrap();
                assert!(worker.slots.borrow().is_empty(), "closed when nothing was there");
            }))
            .await
            .expect("served in time");
    }

    /// The next frame's kind.
    async fn frame(stream: &mut TcpStream) -> u8 {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        stream.read_exact(&mut payload).await.unwrap();
        head[3]
    }

    #[tokio::test]
    async fn a_connection_of_http2_that_gives_way_serves_what_is_under_way() {
        const HEADERS: u8 = 1;
        const GOAWAY: u8 = 7;
        let local = tokio::task::LocalSet::new();
        local
            .run_until(tokio::time::timeout(Duration::from_secs(20), async {
                let (worker, [http, _]) = small();
                let mut client = TcpStream::connect(http).await.unwrap();
                let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
                client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
                client.write_all(&settings).await.unwrap();
                let slot = only_slot(&worker).await;
                frame(&mut client).await;
                let soon_ms = worker.now_ms() + 10_000;
                assert!(slot.is_idle(DoorSide::Outside, soon_ms));
                slot.tell(Verdict::Late);
                while frame(&mut client).await != GOAWAY {}
                assert!(!slot.is_idle(DoorSide::Outside, soon_ms), "it has been told");
                // A POST that left before the goodbye arrived.
                let fields = [&[0x83, 0x86, 0x84, 0x41, 6][..], b"a.test"].concat();
                let head = [0, 0, u8::try_from(fields.len()).unwrap(), HEADERS, 5, 0, 0, 0, 1];
                client.write_all(&[&head[..], &fields].concat()).await.unwrap();
                while frame(&mut client).await != HEADERS {}
                assert!(!slot.is_idle(DoorSide::Outside, soon_ms));
            }))
            .await
            .expect("served in time");
    }
}
