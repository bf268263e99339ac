//! A `healthcheck` as a check of the gateway: it asks over HTTP what the command asked, where that
//! can be read from the command.

use serde_json::{Map, Value};

use super::Notes;
use super::yaml::Node;

/// The check of a service's port, when its `healthcheck` says one.
pub(super) fn check(service: &Map<String, Value>, port: u16, notes: &mut Notes) -> Option<Node> {
    let health = service.get("healthcheck")?.as_object()?;
    if health.get("disable") == Some(&Value::Bool(true)) {
        return None;
    }
    let words = match health.get("test") {
        Some(Value::String(line)) => line.clone(),
        Some(Value::Array(words)) => {
            let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
            match words.first() {
                Some(&"NONE") => return None,
                Some(&("CMD" | "CMD-SHELL")) => words[1..].join(" "),
                _ => words.join(" "),
            }
        }
        _ => return None,
    };
    let Some(path) = path(&words, port) else {
        notes.add(
            "healthcheck.test",
            "a command is not run inside; ready is who accepts connections, until the launch file names a path",
        );
        return None;
    };
    let mut map =
        vec![("type".to_owned(), Node::text("http")), ("path".to_owned(), Node::text(path))];
    for key in ["interval", "timeout"] {
        let time = super::service::time(health, key, &format!("healthcheck.{key}"), notes);
        map.extend(time.map(|time| (key.to_owned(), Node::text(time))));
    }
    let retries = super::service::count(health, "retries", "healthcheck.retries", notes);
    if let Some(retries) = retries.filter(|n| *n > 0) {
        map.push(("failures".to_owned(), Node::plain(&retries)));
    }
    Some(Node::Map(map))
}

/// The path of `curl -f http://localhost:8080/health || exit 1`, when it is this port that is asked.
fn path(command: &str, port: u16) -> Option<String> {
    let asks = ["curl", "wget"].iter().any(|client| command.contains(client));
    let (_, rest) = command.split_once("http://").filter(|_| asks)?;
    let address = rest.split([' ', '"', '\'', ';', '|', ')']).next()?;
    let (host, path) = address.split_once('/').unwrap_or((address, ""));
    let (host, of_port) = match host.split_once(':') {
        Some((host, number)) => (host, number.parse().ok()?),
        None => (host, 80_u16),
    };
    let own = ["localhost", "127.0.0.1", "0.0.0.0"].contains(&host);
    (own && of_port == port).then(|| format!("/{path}"))
}
