//! A `healthcheck` as a check of the gateway: it asks over HTTP what the command asked, where that
//! can be read from the command.

use std::time::Duration;

use serde_json::{Map, Value};

use super::Notes;
use super::service::{count, length, scalar, time};
use super::yaml::Node;

/// Docker's own, where the file does not say.
const INTERVAL: Duration = Duration::from_secs(30);
/// Docker's own, where the file does not say.
const RETRIES: u64 = 3;

/// The check of a service, when its `healthcheck` says one, with the port that it asks, one of
/// `http`. `listens` is whether the service has a port at all.
pub(super) fn check(
    service: &Map<String, Value>,
    http: &[u16],
    listens: bool,
    notes: &mut Notes,
) -> Option<(u16, Node)> {
    let health = enabled(service)?;
    for key in health.keys() {
        match key.as_str() {
            "test" | "interval" | "timeout" | "retries" | "start_period" | "disable" => {}
            "start_interval" => {
                notes
                    .add("healthcheck.start_interval", "an instance is asked at `interval` always");
            }
            other => notes.add(&format!("healthcheck.{other}"), "unknown"),
        }
    }
    let Some(words) = words(health.get("test")) else {
        notes.add("healthcheck", "what the image itself asks is not run; write a `test` over HTTP");
        return None;
    };
    let Some((port, path)) = asked(&words, http) else {
        let why = match http.is_empty() {
            false => {
                "a command is not run inside; ready is who accepts connections, until the launch file names a path"
            }
            true if listens => "a command is not run inside; ready is who accepts connections",
            true => "a command is not run inside; without a port, ready is who has run for 10 s",
        };
        notes.add("healthcheck.test", why);
        return None;
    };
    let mut map =
        vec![("type".to_owned(), Node::text("http")), ("path".to_owned(), Node::text(path))];
    for key in ["interval", "timeout"] {
        let time = time(health, key, &format!("healthcheck.{key}"), notes);
        map.extend(time.map(|time| (key.to_owned(), Node::text(time))));
    }
    let retries = count(health, "retries", "healthcheck.retries", notes);
    if let Some(retries) = retries.filter(|n| *n > 0) {
        map.push(("failures".to_owned(), Node::plain(&retries)));
    }
    Some((port, Node::Map(map)))
}

/// How long Docker waits before it calls an instance unhealthy that never was well: failures do not
/// count in `start_period`, then `retries` of them do, one each `interval`. `None` without a check.
pub(super) fn patience(service: &Map<String, Value>, notes: &mut Notes) -> Option<Duration> {
    let health = enabled(service)?;
    let start = time(health, "start_period", "healthcheck.start_period", notes);
    let start = start.and_then(|text| length(&text)).unwrap_or_default();
    let interval = health.get("interval").map(scalar).and_then(|text| length(&text));
    let interval = interval.filter(|time| !time.is_zero()).unwrap_or(INTERVAL);
    let retries = health.get("retries").map(scalar).and_then(|text| text.trim().parse().ok());
    let retries = retries.filter(|n| *n > 0).unwrap_or(RETRIES);
    let retries = u32::try_from(retries).unwrap_or(u32::MAX);
    Some(start.saturating_add(interval.saturating_mul(retries)))
}

fn enabled(service: &Map<String, Value>) -> Option<&Map<String, Value>> {
    let health = service.get("healthcheck")?.as_object()?;
    let none = health.get("test").and_then(|test| test.get(0)) == Some(&Value::from("NONE"));
    (health.get("disable") != Some(&Value::Bool(true)) && !none).then_some(health)
}

/// The command of a check as one line.
fn words(test: Option<&Value>) -> Option<String> {
    match test? {
        Value::String(line) => Some(line.clone()),
        Value::Array(words) => {
            let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
            match words.first() {
                Some(&("CMD" | "CMD-SHELL")) => Some(words[1..].join(" ")),
                _ => Some(words.join(" ")),
            }
        }
        _ => None,
    }
}

/// The port and the path of `curl -f http://localhost:8080/health || exit 1`, when it is one of these
/// ports.
fn asked(command: &str, ports: &[u16]) -> Option<(u16, String)> {
    let asks = ["curl", "wget"].iter().any(|client| command.contains(client));
    let (_, rest) = command.split_once("http://").filter(|_| asks)?;
    let address = rest.split([' ', '"', '\'', ';', '|', ')']).next()?;
    let (host, path) = address.split_once('/').unwrap_or((address, ""));
    let (host, port) = match host.split_once(':') {
        Some((host, number)) => (host, number.parse().ok()?),
        None => (host, 80_u16),
    };
    let own = ["localhost", "127.0.0.1", "0.0.0.0"].contains(&host);
    (own && ports.contains(&port)).then(|| (port, format!("/{path}")))
}
