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
                while worker.shared.connections() >= worker.shared.connections_max {
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
        let own = loads[self.index].0.load(Relaxed);
        let least = (0..loads.len()).min_by_key(|worker| loads[*worker].0.load(Relaxed));
        if let Some(least) = least.filter(|w| loads[*w].0.load(Relaxed) + 2 + own / 16 <= own) {
            if let Ok(stream) = stream.into_std() {
                // Counted at once, so that the next connection of the burst sees it.
                loads[least].0.fetch_add(1, Relaxed);
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
        let guard = self.enter();
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
