//! Whose the other end of a connection on this machine is: the kernel is asked for that one socket,
//! as `ss -e` does (`sock_diag(7)`, `linux/inet_diag.h`). It answers within the call; nothing is
//! waited for. Where it does not know the question, [`UserOf::needs_tables`] says so.

use std::cell::{Cell, RefCell};
use std::io::{Error, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};

/// `SOCK_DIAG_BY_FAMILY`: the type of questions and answers.
const BY_FAMILY: u16 = 20;
/// `NLMSG_ERROR`: the type of refusals.
const REFUSAL: u16 = 2;
/// `NLM_F_REQUEST`: without the flag for a list, this asks for one socket.
const REQUEST: u16 = 1;
/// `IPPROTO_TCP`.
const TCP: u8 = 6;
/// `ENOENT`, as a refusal holds it.
const NO_SUCH_SOCKET: i32 = -2;
/// Length of the header of a message (`nlmsghdr`).
const HEADER: usize = 16;
/// Length of a question (`inet_diag_req_v2`) with its header.
const QUESTION: usize = HEADER + 56;
/// Where in an answer (`inet_diag_msg` after the header) the ports and the user stand.
const PORTS_AT: usize = HEADER + 4;
const USER_AT: usize = HEADER + 64;
/// How many answers to earlier questions may be in the way.
const LATE_MAX: usize = 4;
/// After so many sockets in a row of which the kernel knew nothing, and none of which it knew, it is
/// taken for one that cannot tell: the module may be missing.
const IN_VAIN_MAX: u32 = 8;

/// What the kernel told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// The user of the socket. 0 also when its process has let go of it already.
    User(u32),
    /// There is no such socket (any more).
    Nobody,
    /// It cannot tell.
    Unable,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct UserOf {
    way: RefCell<Way>,
    /// Questions so far; numbers the next one.
    count: Cell<u32>,
}

#[derive(Debug, Default)]
enum Way {
    /// Nothing was asked yet.
    #[default]
    Untried,
    /// The kernel is asked on this socket.
    Asked {
        socket: OwnedFd,
        /// How often it knew of nothing; `None` once it has known a socket.
        in_vain: Option<u32>,
    },
    /// It cannot be asked.
    Tables,
}

impl UserOf {
    /// Whether the tables of all sockets must be looked at instead.
    pub(super) fn needs_tables(&self) -> bool {
        matches!(*self.way.borrow(), Way::Tables)
    }

    /// Whose the socket is that is bound to `own` and connected to `other`.
    pub(super) fn ask(&self, own: SocketAddr, other: SocketAddr) -> Told {
        let mut way = self.way.borrow_mut();
        if let Way::Untried = *way {
            *way = match open() {
                Ok(socket) => Way::Asked { socket, in_vain: Some(0) },
                Err(error) => {
                    tracing::info!(%error, "the kernel cannot be asked whose a connection is");
                    Way::Tables
                }
            };
        }
        let Way::Asked { socket, in_vain } = &mut *way else { return Told::Unable };
        let number = self.count.get().wrapping_add(1);
        self.count.set(number);
        match ask(socket, number, own, other) {
            Ok(Some(user)) => {
                *in_vain = None;
                Told::User(user)
            }
            Ok(None) => {
                let Some(times) = in_vain else { return Told::Nobody };
                *times += 1;
                if *times < IN_VAIN_MAX {
                    return Told::Nobody;
                }
                tracing::info!("the kernel knows no connection that it is asked for");
                *way = Way::Tables;
                Told::Unable
            }
            Err(error) => {
                tracing::debug!(%error, "the kernel does not say whose a connection is");
                *way = match in_vain {
                    // It did before: perhaps on another socket.
                    None => Way::Untried,
                    Some(_) => Way::Tables,
                };
                Told::Unable
            }
        }
    }
}

fn open() -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(netlink::SOCK_DIAG))
}

fn ask(
    socket: &OwnedFd,
    number: u32,
    own: SocketAddr,
    other: SocketAddr,
) -> Result<Option<u32>, Error> {
    let Some(question) = question(number, own, other) else { return Ok(None) };
    send(socket, &question, SendFlags::DONTWAIT)?;
    let mut bytes = [0; 1024];
    for _ in 0..LATE_MAX {
        let (count, _) = recv(socket, &mut bytes[..], RecvFlags::DONTWAIT)?;
        match read(&bytes[..count], number) {
            Answer::User { uid, ports } if ports == (own.port(), other.port()) => {
                return Ok(Some(uid));
            }
            Answer::User { .. } => return Err(ErrorKind::InvalidData.into()),
            Answer::Refused(NO_SUCH_SOCKET) => return Ok(None),
            Answer::Refused(code) => return Err(Error::from_raw_os_error(-code)),
            Answer::Late => {}
            Answer::Unreadable => return Err(ErrorKind::InvalidData.into()),
        }
    }
    Err(ErrorKind::TimedOut.into())
}

/// Asks for the socket that is bound to `own` and connected to `other`. A socket of version 6 that
/// speaks version 4 is found by its addresses of version 4. `None` when the two cannot be of one
/// connection.
fn question(number: u32, own: SocketAddr, other: SocketAddr) -> Option<[u8; QUESTION]> {
    let (family, own_bytes, other_bytes) =
        match (own.ip().to_canonical(), other.ip().to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (AddressFamily::INET, wide(own.octets()), wide(other.octets()))
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                (AddressFamily::INET6, own.octets(), other.octets())
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return None,
        };
    let mut all = [0; QUESTION];
    let mut at = 0;
    let mut put = |bytes: &[u8]| {
        all[at..at + bytes.len()].copy_from_slice(bytes);
        at += bytes.len();
    };
    // The header: length, type, flags, number, and from whom (the kernel knows).
    put(&u32::try_from(QUESTION).ok()?.to_ne_bytes());
    put(&BY_FAMILY.to_ne_bytes());
    put(&REQUEST.to_ne_bytes());
    put(&number.to_ne_bytes());
    put(&[0; 4]);
    // Family, protocol, no more than the usual, a gap; in whatever state.
    put(&[u8::try_from(family.as_raw()).ok()?, TCP, 0, 0]);
    put(&u32::MAX.to_ne_bytes());
    // Which: ports and addresses as on the wire, any device, no cookie.
    put(&own.port().to_be_bytes());
    put(&other.port().to_be_bytes());
    put(&own_bytes);
    put(&other_bytes);
    put(&[0; 4]);
    put(&[u8::MAX; 8]);
    Some(all)
}

/// The address in the first of four words.
fn wide(address: [u8; 4]) -> [u8; 16] {
    let mut all = [0; 16];
    all[..4].copy_from_slice(&address);
    all
}

/// A message of the kernel.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// The socket's user, and its own and its peer's port.
    User { uid: u32, ports: (u16, u16) },
    /// An error number, negative.
    Refused(i32),
    /// To another question.
    Late,
    /// Not as it should be.
    Unreadable,
}

fn read(bytes: &[u8], number: u32) -> Answer {
    let at = |from: usize| bytes.get(from..from + 4)?.try_into().ok();
    let port = |from: usize| Some(u16::from_be_bytes(bytes.get(from..from + 2)?.try_into().ok()?));
    let parsed = || {
        let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
        if u32::from_ne_bytes(at(8)?) != number {
            return Some(Answer::Late);
        }
        match kind {
            REFUSAL => Some(Answer::Refused(i32::from_ne_bytes(at(HEADER)?))),
            BY_FAMILY => {
                let ports = (port(PORTS_AT)?, port(PORTS_AT + 2)?);
                Some(Answer::User { uid: u32::from_ne_bytes(at(USER_AT)?), ports })
            }
            _ => None,
        }
    };
    parsed().unwrap_or(Answer::Unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_laid_out_as_the_kernel_reads_it() {
        let own: SocketAddr = "127.0.0.1:50000".parse().unwrap();
        let other: SocketAddr = "127.0.0.1:17000".parse().unwrap();
        let bytes = question(7, own, other).unwrap();
        assert_eq!(bytes[..4], 72u32.to_ne_bytes());
        assert_eq!(bytes[8..12], 7u32.to_ne_bytes());
        assert_eq!(bytes[16..18], [2, 6]);
        assert_eq!(bytes[24..28], [0xc3, 0x50, 0x42, 0x68]);
        assert_eq!(bytes[28..32], [127, 0, 0, 1]);
        assert_eq!(bytes[44..48], [127, 0, 0, 1]);
        assert_eq!(bytes[64..], [0xff; 8]);
        let mapped: SocketAddr = "[::ffff:127.0.0.1]:50000".parse().unwrap();
        assert_eq!(question(7, mapped, other).unwrap(), bytes);
        let six: SocketAddr = "[::1]:50000".parse().unwrap();
        assert_eq!(question(7, six, six).unwrap()[16], 10);
        assert_eq!(question(7, six, other), None);
    }

    #[test]
    fn answers_are_read_and_what_is_torn_is_none() {
        let message = |kind: u16, number: u32, rest: &[u8]| {
            let mut bytes = Vec::new();
            let length = u32::try_from(HEADER + rest.len()).unwrap();
            bytes.extend(length.to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend([0; 2]);
            bytes.extend(number.to_ne_bytes());
            bytes.extend([0; 4]);
            bytes.extend(rest);
            bytes
        };
        let mut socket = vec![0; 72];
        socket[4..8].copy_from_slice(&[0xc3, 0x50, 0x42, 0x68]);
        socket[64..68].copy_from_slice(&1_880_000_007u32.to_ne_bytes());
        let user = Answer::User { uid: 1_880_000_007, ports: (50_000, 17_000) };
        for (bytes, expected) in [
            (message(BY_FAMILY, 3, &socket), user),
            (message(BY_FAMILY, 2, &socket), Answer::Late),
            (message(REFUSAL, 3, &(-2i32).to_ne_bytes()), Answer::Refused(NO_SUCH_SOCKET)),
            (message(REFUSAL, 3, &(-1i32).to_ne_bytes()), Answer::Refused(-1)),
            (message(3, 3, &socket), Answer::Unreadable),
            (message(BY_FAMILY, 3, &socket[..60]), Answer::Unreadable),
            (message(REFUSAL, 3, &[]), Answer::Unreadable),
            (vec![1, 2, 3], Answer::Unreadable),
            (vec![], Answer::Unreadable),
        ] {
            assert_eq!(read(&bytes, 3), expected, "{bytes:?}");
        }
    }

    #[test]
    fn the_kernel_knows_the_user_of_this_very_process() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let client = std::net::TcpStream::connect(address).unwrap();
        let own = client.local_addr().unwrap();
        let user_of = UserOf::default();
        let uid = rustix::process::geteuid().as_raw();
        let told = user_of.ask(own, address);
        if user_of.needs_tables() {
            // A kernel that does not answer such questions: the tables are what there is.
            assert_eq!(super::super::socket_table::users(&[(own, address)]), [Some(uid)]);
            return;
        }
        assert_eq!(told, Told::User(uid));
        drop(client);
        let nobody: SocketAddr = "127.0.0.1:1".parse().unwrap();
        for _ in 0..2 * IN_VAIN_MAX {
            assert_eq!(user_of.ask(nobody, address), Told::Nobody, "it knew one before");
        }
    }
}
