//! A socket in front of a daemon's that stops answering when it is told to: connections are accepted
//! and nothing is passed on. When it goes on, everything is, late. Used by the engine's suites and by
//! the whole-process ones.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

pub(crate) struct Proxy {
    pub(crate) socket: PathBuf,
    gate: Arc<Gate>,
    _place: tempfile::TempDir,
}

#[derive(Default)]
struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    held: bool,
    /// The first request that holds this text is the last that is looked at.
    at: Option<(&'static str, Lost)>,
}

/// What is lost of a request at which nothing more is passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lost {
    /// The request itself: the daemon never hears of it.
    Request,
    /// Its answer alone.
    Answer,
}

/// While this is there, nothing is passed on.
pub(crate) struct Held(Arc<Gate>);

impl Held {
    /// Whether the request was made at which nothing more is passed on.
    pub(crate) fn is_reached(&self) -> bool {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).held
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        *self.0.state.lock().unwrap_or_else(PoisonError::into_inner) = State::default();
        self.0.changed.notify_all();
    }
}

impl Proxy {
    pub(crate) fn to(daemon: &Path) -> Self {
        let place = tempfile::tempdir().unwrap();
        let socket = place.path().join("proxy.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let (daemon, gate) = (daemon.to_owned(), Arc::new(Gate::default()));
        let for_all = gate.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = UnixStream::connect(&daemon) else { continue };
                let (Ok(from), Ok(to)) = (client.try_clone(), server.try_clone()) else { continue };
                let gate = for_all.clone();
                std::thread::spawn(move || pass(from, to, &gate, true));
                let gate = for_all.clone();
                std::thread::spawn(move || pass(server, client, &gate, false));
            }
        });
        Self { socket, gate, _place: place }
    }

    /// From now on nothing is passed on.
    pub(crate) fn hold(&self) -> Held {
        self.hold_state(State { held: true, at: None })
    }

    /// The first request that holds this text is passed on, and neither its answer nor anything else.
    pub(crate) fn hold_after(&self, text: &'static str) -> Held {
        self.hold_at(text, Lost::Answer)
    }

    /// From the first request that holds this text on nothing is passed on.
    pub(crate) fn hold_at(&self, text: &'static str, lost: Lost) -> Held {
        self.hold_state(State { held: false, at: Some((text, lost)) })
    }

    fn hold_state(&self, state: State) -> Held {
        *self.gate.state.lock().unwrap() = state;
        Held(self.gate.clone())
    }
}

impl Gate {
    /// Waits until a piece may be passed on; false when it is lost.
    fn pass(&self, piece: &[u8], is_request: bool) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let has = |text: &str| piece.windows(text.len()).any(|window| window == text.as_bytes());
        let reached = state.at.filter(|(text, _)| is_request && !state.held && has(text));
        if let Some((_, lost)) = reached {
            *state = State { held: true, at: None };
            if lost == Lost::Answer {
                return true;
            }
        }
        while state.held {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        reached.is_none()
    }
}

fn pass(mut from: UnixStream, mut to: UnixStream, gate: &Gate, is_request: bool) {
    let mut buffer = [0; 16 << 10];
    loop {
        let read = from.read(&mut buffer).unwrap_or(0);
        let goes_on = gate.pass(&buffer[..read], is_request);
        if read == 0 || !goes_on || to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
