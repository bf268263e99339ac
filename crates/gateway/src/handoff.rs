//! What supervisor and gateway say to each other over a socket pair: small JSON messages, of which
//! some carry a listening socket. Descriptors travel by `SCM_RIGHTS`; each message is one packet.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ark_model::instance::ProcessIdentity;

use crate::access_log::AccessLog;
use crate::acme;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use serde::{Deserialize, Serialize};

use crate::listen::Door;

/// The longest message, in bytes.
const MESSAGE_BYTES_MAX: usize = 4096;

/// A message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Note {
    /// Supervisor to gateway, with a socket: accept HTTP here.
    Http {
        #[serde(default)]
        door: Door,
    },
    /// Either way, with a socket: this discovery port is listened on.
    Port {
        port: u16,
        #[serde(default = "loopback")]
        address: IpAddr,
    },
    /// Supervisor to gateway: that was all, begin.
    Begin {
        supervisor: ProcessIdentity,
        #[serde(default)]
        access_log: Option<AccessLog>,
        #[serde(default)]
        acme: Option<acme::Options>,
    },
    /// Gateway to supervisor: connections are accepted.
    Ready,
    /// Gateway to supervisor: another gateway has taken over, and this one accepts nothing.
    Retired,
    /// Gateway to supervisor: this discovery port is no longer listened on.
    PortClosed {
        port: u16,
        #[serde(default = "loopback")]
        address: IpAddr,
    },
}

impl Note {
    /// This discovery port is listened on.
    pub(crate) fn port(at: SocketAddr) -> Self {
        Self::Port { port: at.port(), address: at.ip() }
    }

    /// This discovery port is no longer listened on.
    pub(crate) fn port_closed(at: SocketAddr) -> Self {
        Self::PortClosed { port: at.port(), address: at.ip() }
    }
}

/// Where a discovery port is of which nothing else is said.
fn loopback() -> IpAddr {
    Ipv4Addr::LOCALHOST.into()
}

/// Both ends; the first is the supervisor's.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC;
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

/// Sends a note, with a listening socket where it carries one.
pub(crate) fn send(
    socket: BorrowedFd<'_>,
    note: &Note,
    listener: Option<&TcpListener>,
) -> io::Result<()> {
    let bytes = serde_json::to_vec(note)?;
    let descriptors: Vec<BorrowedFd<'_>> = listener.iter().map(|l| l.as_fd()).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    let parts = [IoSlice::new(&bytes)];
    rustix::net::sendmsg(socket, &parts, &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives a note; `None` when the other side is gone.
pub(crate) fn receive(socket: BorrowedFd<'_>) -> io::Result<Option<(Note, Option<TcpListener>)>> {
    let mut bytes = [0; MESSAGE_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received = loop {
        match rustix::net::recvmsg(socket, &mut parts, &mut ancillary, flags) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other?,
        }
    };
    let mut descriptors = ancillary.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => descriptors.collect::<Vec<_>>(),
        _ => Vec::new(),
    });
    let listener = descriptors.next().map(TcpListener::from);
    if received.bytes == 0 {
        return Ok(None);
    }
    let note = serde_json::from_slice(&bytes[..received.bytes])?;
    Ok(Some((note, listener)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listening_socket_survives_the_journey() {
        let (one, other) = pair().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let at = ([172, 17, 0, 1], 7).into();
        send(one.as_fd(), &Note::port(at), Some(&listener)).unwrap();
        send(one.as_fd(), &Note::Ready, None).unwrap();
        drop((listener, one));
        let (note, arrived) = receive(other.as_fd()).unwrap().unwrap();
        assert_eq!(note, Note::port(at));
        std::net::TcpStream::connect(address).unwrap();
        arrived.unwrap().accept().unwrap();
        assert!(matches!(receive(other.as_fd()), Ok(Some((Note::Ready, None)))));
        assert!(matches!(receive(other.as_fd()), Ok(None)));
    }
}
