//! Addresses in the values of variables: `postgres://app:x@db.internal/orders`, or `DB_HOST` beside
//! `DB_PORT`. Pure. What is not plainly an address of a server is left out.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// How many servers one variable may name.
const HOSTS_MAX: usize = 4;

/// Where a variable leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// The variables it stands in, the one to name first.
    pub(crate) from: Vec<String>,
    /// Servers and ports; any of them does.
    pub(crate) hosts: Vec<(String, u16)>,
}

impl Address {
    pub(crate) fn variable(&self) -> &str {
        self.from.first().map_or("", String::as_str)
    }

    /// `db.internal:5432`.
    pub(crate) fn words(&self) -> String {
        let each = self.hosts.iter().map(|(host, port)| match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        });
        each.collect::<Vec<String>>().join(",")
    }

    /// Whether it may be where the app itself listens, on one of these ports.
    pub(crate) fn is_own(&self, ports: &[u16]) -> bool {
        let here = |host: &str| match host.parse::<IpAddr>() {
            Ok(ip) => ip.is_loopback(),
            Err(_) => host.eq_ignore_ascii_case("localhost"),
        };
        self.hosts.iter().any(|(host, port)| here(host) && ports.contains(port))
    }
}

/// Whether it is of this machine or of a private network (RFC 1918, RFC 6598, RFC 4193).
pub(crate) fn is_near(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [first, second, ..] = ip.octets();
            ip.is_loopback() || ip.is_private() || (first == 100 && (64..128).contains(&second))
        }
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local(),
    }
}

/// All of them, by the name of the variable.
pub(crate) fn addresses(values: &BTreeMap<String, String>) -> Vec<Address> {
    let of = |(name, value): (&String, &String)| {
        of_url(value).map(|hosts| Address { from: vec![name.clone()], hosts }).or_else(|| {
            let port_name = format!("{}_PORT", name.strip_suffix("_HOST")?);
            let port = port(values.get(&port_name)?)?;
            let host = host(value)?;
            Some(Address { from: vec![name.clone(), port_name], hosts: vec![(host, port)] })
        })
    };
    values.iter().filter_map(of).collect()
}

/// The servers of a URL, each with its port.
fn of_url(text: &str) -> Option<Vec<(String, u16)>> {
    let text = text.trim();
    let (scheme, rest) = text.strip_prefix("jdbc:").unwrap_or(text).split_once("://")?;
    let default = default_port(scheme)?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let hosts = authority.rsplit_once('@').map_or(authority, |(_, hosts)| hosts);
    let each = hosts.split(',').take(HOSTS_MAX).map(|one| {
        let (name, after) = match one.strip_prefix('[') {
            Some(ipv6) => ipv6.split_once(']')?,
            None => one.split_at(one.find(':').unwrap_or(one.len())),
        };
        let port = match after.strip_prefix(':') {
            Some(text) => port(text)?,
            None if after.is_empty() => default?,
            None => return None,
        };
        Some((host(name)?, port))
    });
    each.collect()
}

/// The port of a scheme whose servers are reached by TCP: `Some(None)` when it has none of its own.
fn default_port(scheme: &str) -> Option<Option<u16>> {
    let scheme = scheme.to_ascii_lowercase();
    // `mongodb+srv` is a name of another kind; what else follows `+` names a driver.
    let kind = match scheme.split_once('+') {
        Some((_, "srv")) => return None,
        Some((kind, _)) => kind,
        None => &scheme,
    };
    Some(Some(match kind {
        "postgres" | "postgresql" => 5_432,
        "mysql" | "mariadb" => 3_306,
        "redis" | "rediss" | "valkey" => 6_379,
        "mongodb" => 27_017,
        "amqp" => 5_672,
        "amqps" => 5_671,
        "nats" => 4_222,
        "mqtt" => 1_883,
        "memcached" => 11_211,
        "smtp" => 25,
        "ldap" => 389,
        "ldaps" => 636,
        "http" | "ws" => 80,
        "https" | "wss" => 443,
        "tcp" => return Some(None),
        _ => return None,
    }))
}

fn port(text: &str) -> Option<u16> {
    text.trim().parse().ok().filter(|port| *port != 0)
}

/// A name or an address, unless it stands for all addresses, which is where somebody listens.
fn host(text: &str) -> Option<String> {
    let text = text.trim();
    if let Ok(ip) = text.parse::<IpAddr>() {
        return (!ip.is_unspecified()).then(|| text.to_owned());
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    (!text.is_empty() && text.len() <= 253 && text.chars().all(plain)).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(values: &[(&str, &str)]) -> Vec<String> {
        let values = values.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        addresses(&values).iter().map(|a| format!("{} {}", a.from.join("+"), a.words())).collect()
    }

    #[test]
    fn addresses_are_found_in_what_variables_hold() {
        let one = |value: &str| found(&[("V", value)]).pop().unwrap_or_default();
        for (value, expect) in [
            ("postgres://app:x@db.internal/orders", "V db.internal:5432"),
            ("postgresql+asyncpg://app:p%40ss@10.0.0.7:6000/o?sslmode=disable", "V 10.0.0.7:6000"),
            ("jdbc:mysql://db/shop", "V db:3306"),
            ("redis://:secret@[fd00::7]:6380/0", "V [fd00::7]:6380"),
            ("mongodb://a:1,b,c:3/x", "V a:1,b:27017,c:3"),
            ("http://127.0.0.1:9000", "V 127.0.0.1:9000"),
            ("HTTPS://api.example.test/v1", "V api.example.test:443"),
            ("tcp://queue:7000", "V queue:7000"),
            ("amqp://guest:g@h@mq", "V mq:5672"),
            // No server, or none that TCP leads to.
            ("tcp://queue", ""),
            ("mongodb+srv://cluster.example.test/x", ""),
            ("udp://10.0.0.1:8125", ""),
            ("sqlite:///var/db.sqlite", ""),
            ("file:///etc/hosts", ""),
            ("http://0.0.0.0:8080", ""),
            ("http://[::]:8080", ""),
            ("http://{env}--api:80/", ""),
            ("http://db:0/", ""),
            ("http://db:99999/", ""),
            ("http://", ""),
            ("http://[fd00::7/", ""),
            ("see http://x for more", ""),
            ("10.0.0.7:5432", ""),
            ("", ""),
        ] {
            assert_eq!(one(value), expect, "{value}");
        }
    }

    #[test]
    fn a_host_beside_its_port_is_an_address() {
        let all = found(&[
            ("DB_HOST", "10.1.2.3"),
            ("DB_PORT", " 5432 "),
            ("CACHE_HOST", "cache.internal"),
            ("MAIL_HOST", "mail"),
            ("MAIL_PORT", "smtp"),
            ("BIND_HOST", "0.0.0.0"),
            ("BIND_PORT", "8080"),
        ]);
        assert_eq!(all, ["DB_HOST+DB_PORT 10.1.2.3:5432"]);
    }

    #[test]
    fn only_this_machine_and_private_networks_are_near() {
        for (ip, near) in [
            ("127.0.0.1", true),
            ("127.8.0.1", true),
            ("10.255.0.1", true),
            ("172.31.0.1", true),
            ("172.32.0.1", false),
            ("192.168.1.1", true),
            ("100.64.0.1", true),
            ("100.128.0.1", false),
            ("169.254.169.254", false),
            ("8.8.8.8", false),
            ("::1", true),
            ("fd00::1", true),
            ("fe80::1", false),
            ("::ffff:10.0.0.1", true),
            ("::ffff:8.8.8.8", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(is_near(ip.parse().expect("an address")), near, "{ip}");
        }
    }

    #[test]
    fn where_the_app_itself_listens_is_no_dependency() {
        let address = |host: &str, port| Address {
            from: vec!["BASE_URL".into()],
            hosts: vec![(host.to_owned(), port)],
        };
        for (host, port, own) in [
            ("localhost", 8_080, true),
            ("127.0.0.1", 8_080, true),
            ("::1", 8_080, true),
            ("127.0.0.1", 5_432, false),
            ("10.0.0.7", 8_080, false),
        ] {
            assert_eq!(address(host, port).is_own(&[8_080]), own, "{host}:{port}");
        }
    }
}
