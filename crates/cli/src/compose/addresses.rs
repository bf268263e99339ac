//! How services speak of each other: Compose lets `db:5432` resolve, Ark tells dependents an address by
//! variables. Finds who names whom, so that it can be said, and gives those who are called a port.

use std::collections::BTreeMap;

use ark_model::AppName;
use serde_json::Value;

use super::Notes;
use super::interpolate::interpolated;
use super::service::{Service, environment_of, ports, scalar, words};

/// Images whose port everybody knows, by the last part of their name.
const WELL_KNOWN: [(&str, u16); 5] =
    [("postgres", 5432), ("redis", 6379), ("mysql", 3306), ("mariadb", 3306), ("mongo", 27017)];
/// Parts of names of variables whose whole value is a host.
const HOST: [&str; 5] = ["HOST", "ADDR", "SERVER", "URL", "ENDPOINT"];

/// A service as the others see it.
pub(super) struct Peer {
    pub(super) app: AppName,
    /// Its ports, those that an image is known for included.
    pub(super) ports: Vec<u16>,
    /// Whether another one needs it to run, or names its address.
    pub(super) called: bool,
}

/// All services by their names in the file.
pub(super) type Peers = BTreeMap<String, Peer>;

/// Looks through all services.
pub(super) fn peers(services: &[(String, AppName, Service)]) -> Peers {
    let called = |name: &String| {
        let calls = |(other, _, service): &(String, AppName, Service)| {
            other != name && (needs(service, name) || !mentions(service, name).is_empty())
        };
        services.iter().any(calls)
    };
    let peer = |(name, app, service): &(String, AppName, Service)| {
        let called = called(name);
        let mut ports = ports(service, &mut Notes::default());
        if ports.is_empty() && called {
            ports.extend(well_known(service));
        }
        (name.clone(), Peer { app: app.clone(), ports, called })
    };
    services.iter().map(peer).collect()
}

/// The port that the image of a service is known for.
pub(super) fn well_known(service: &Service) -> Option<u16> {
    let image = service.get("image").and_then(Value::as_str)?;
    let name = image.rsplit('/').next()?.split([':', '@']).next()?;
    WELL_KNOWN.iter().find(|(known, _)| *known == name).map(|(_, port)| *port)
}

/// Notes where a service names the address of another one.
pub(super) fn note(
    own: &str,
    service: &Service,
    peers: &Peers,
    dependencies: &[String],
    notes: &mut Notes,
) {
    for (name, peer) in peers.iter().filter(|(name, _)| *name != own) {
        for (key, port) in mentions(service, name) {
            let why = match variable(peer, port) {
                Some(variable) => format!(
                    "{name} has another address here: {variable}_HOST and {variable}_PORT say it"
                ),
                None => format!("{name} has no address here: it declares no port"),
            };
            let declared = dependencies.iter().any(|one| one == peer.app.as_str());
            let more = match declared {
                true => String::new(),
                false => format!("; add {} to `dependencies`", peer.app),
            };
            notes.add(&key, why + &more);
        }
    }
}

/// `SERVICE_DB_DEFAULT`: what the variables begin with that tell of a port, or of the first.
fn variable(peer: &Peer, port: Option<u16>) -> Option<String> {
    let first = peer.ports.first()?;
    let other = port.filter(|port| port != first && peer.ports.contains(port));
    let expose = other.map_or_else(|| "DEFAULT".to_owned(), |port| format!("PORT_{port}"));
    let app = peer.app.as_str().to_ascii_uppercase().replace('-', "_");
    Some(format!("SERVICE_{app}_{expose}"))
}

/// Whether a service begins after another one, and with it.
fn needs(service: &Service, name: &str) -> bool {
    match service.get("depends_on") {
        Some(Value::Array(names)) => names.iter().any(|one| scalar(one) == name),
        Some(Value::Object(map)) => map.get(name).is_some_and(|how| {
            how.get("condition").and_then(Value::as_str) != Some("service_completed_successfully")
        }),
        _ => false,
    }
}

/// The keys of a service whose values name another one as a host, with the port.
fn mentions(service: &Service, name: &str) -> Vec<(String, Option<u16>)> {
    let mut found = Vec::new();
    for (variable, value) in environment_of(service) {
        let Some(value) = value else { continue };
        let value = interpolated(&value).unwrap_or(value);
        let upper = variable.to_ascii_uppercase();
        let host = value.trim() == name && HOST.iter().any(|part| upper.contains(part));
        let port = if host { Some(None) } else { mention(&value, name) };
        found.extend(port.map(|port| (format!("environment.{variable}"), port)));
    }
    for key in ["entrypoint", "command"] {
        let words = words(service.get(key)).unwrap_or_default();
        let port = words.iter().find_map(|word| mention(word, name));
        found.extend(port.map(|port| (key.to_owned(), port)));
    }
    found
}

/// The port of `postgres://app@db:5432/app` for `db`; the inner one is `None` where it is not said.
fn mention(text: &str, name: &str) -> Option<Option<u16>> {
    let of_a_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || c == '.';
    for (at, _) in text.match_indices(name) {
        let (before, after) = (&text[..at], &text[at + name.len()..]);
        if before.ends_with(of_a_name) || after.starts_with(of_a_name) {
            continue;
        }
        // Not a host but a user: `//db:secret@`.
        let rest = after.split(['/', '?', ' ', ',']).next().unwrap_or_default();
        if rest.contains('@') {
            continue;
        }
        let port = after.strip_prefix(':').and_then(|after| {
            let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
            after[..end].parse().ok()
        });
        if port.is_some() || before.ends_with("//") || before.ends_with('@') {
            return Some(port);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_found_in_values() {
        for (text, expected) in [
            ("db:5432", Some(Some(5432))),
            ("postgres://app:pw@db:5432/app", Some(Some(5432))),
            ("postgres://app:${PW}@db/app", Some(None)),
            ("http://db/", Some(None)),
            ("http://db", Some(None)),
            ("a:1,db:2", Some(Some(2))),
            ("tcp://db:6379?x=1", Some(Some(6379))),
            ("db", None),
            ("db://other/", None),
            ("postgres://db:5432@other/", None),
            ("postgres://db@other/", None),
            ("http://db.example.test/", None),
            ("http://my-db:80/", None),
            ("http://other/db/", None),
            ("the db: 5", None),
        ] {
            assert_eq!(mention(text, "db"), expected, "{text}");
        }
    }
}
