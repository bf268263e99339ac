//! Users of sockets by the kernel's tables of all connections (`proc(5)`, `/proc/net/tcp`), for
//! kernels that do not answer for single ones. Reading them takes milliseconds where there are
//! thousands of connections, so no worker thread does it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, SocketAddr};

/// How much of a table is read: some 400,000 connections.
const TABLE_BYTES_MAX: u64 = 64 << 20;

/// Two ends of a connection: the socket's own, and the other.
type Ends = (SocketAddr, SocketAddr);

/// The user of each of these sockets, where it is found.
pub(super) fn users(wanted: &[Ends]) -> Vec<Option<u32>> {
    let mut found: HashMap<Ends, u32> = HashMap::with_capacity(wanted.len());
    let plain: Vec<Ends> =
        wanted.iter().map(|(own, other)| (canonical(*own), canonical(*other))).collect();
    let is_wanted: HashMap<Ends, ()> = plain.iter().map(|ends| (*ends, ())).collect();
    for file in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let Ok(table) = File::open(file) else { continue };
        let lines = BufReader::new(table.take(TABLE_BYTES_MAX)).lines();
        let rows = lines.skip(1).map_while(Result::ok).filter_map(|line| row(&line));
        found.extend(rows.filter(|(ends, _)| is_wanted.contains_key(ends)));
    }
    plain.iter().map(|ends| found.get(ends).copied()).collect()
}

/// One row: the two ends and the user of an open connection.
fn row(line: &str) -> Option<(Ends, u32)> {
    let mut fields = line.split_whitespace().skip(1);
    let (own, other) = (address(fields.next()?)?, address(fields.next()?)?);
    // Open, or closed by the other side alone: others have no owner any more.
    if !matches!(fields.next()?, "01" | "08") {
        return None;
    }
    let user = fields.nth(3)?.parse().ok()?;
    Some(((own, other), user))
}

/// An address and a port of such a table: words of four bytes in the order of this machine.
fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let word = u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    };
    let ip = match address.len() {
        8 => IpAddr::from(word(0)?),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            let bytes: [u8; 16] = words.concat().try_into().ok()?;
            IpAddr::from(bytes)
        }
        _ => return None,
    };
    Some(canonical(SocketAddr::new(ip, port)))
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_tells_both_ends_and_the_user_of_an_open_connection() {
        let rest = "00000000:00000000 00:00000000 00000000";
        let ends = |own: &str, other: &str| (own.parse().unwrap(), other.parse().unwrap());
        let open = Some((ends("127.0.0.1:50000", "127.0.0.1:17000"), 1_880_000_007));
        let mapped = "0000000000000000FFFF00000100007F";
        let six = "00000000000000000000000001000000";
        for (row_, expected) in [
            (format!("1: 0100007F:C350 0100007F:4268 01 {rest} 1880000007 0 2"), open),
            (format!("1: 0100007F:C350 0100007F:4268 08 {rest} 1880000007 0 2"), open),
            (format!("1: {mapped}:C350 {mapped}:4268 01 {rest} 1880000007 0 2"), open),
            (
                format!("1: {six}:C350 {six}:4268 01 {rest} 5 0 2"),
                Some((ends("[::1]:50000", "[::1]:17000"), 5)),
            ),
            (format!("0: 0100007F:4268 00000000:0000 0A {rest} 0 0 1"), None),
            (format!("3: 0100007F:C351 0100007F:4268 06 {rest} 0 0 4"), None),
            (format!("3: 0100007F:C351 0100007F:4268 01 {rest} none 0 4"), None),
            ("4: 0100007F:C352 01".to_owned(), None),
            ("5: 0100:C352 0100007F:4268 01".to_owned(), None),
            ("torn".to_owned(), None),
        ] {
            assert_eq!(row(&row_), expected, "{row_}");
        }
    }

    #[test]
    fn a_connection_of_this_process_is_found_in_the_tables() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let client = std::net::TcpStream::connect(address).unwrap();
        let own = client.local_addr().unwrap();
        let nobody: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let uid = rustix::process::geteuid().as_raw();
        assert_eq!(users(&[(own, address), (nobody, address)]), [Some(uid), None]);
    }
}
