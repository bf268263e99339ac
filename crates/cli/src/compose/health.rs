//! A `healthcheck` as a check of the gateway: it asks over HTTP what the command asked, where that is a
//! plain request of one address. Anything else would be another check, and is named instead.

use std::time::Duration;

use serde_json::{Map, Value};

use super::Notes;
use super::service::{count, length, scalar, time};
use super::words::{Split, split};
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
    let Some(test) = health.get("test").filter(|test| !test.is_null()) else {
        notes.add("healthcheck", "what the image itself asks is not run; write a `test` over HTTP");
        return None;
    };
    let Some((port, path)) = words(test).and_then(|words| asked(&words, http)) else {
        let asks = ["curl", "wget"].iter().any(|client| test.to_string().contains(client));
        let why = match http.is_empty() {
            false if asks => {
                "only a plain request of one address of its own is asked by the gateway; ready is who accepts connections, until the launch file names a path"
            }
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

/// The words of a check's command, when nothing is done but to run one program. What a shell does with
/// its output and its exit code (`> /dev/null 2>&1 || exit 1`) is as a check takes it anyway.
fn words(test: &Value) -> Option<Vec<String>> {
    let line = match test {
        Value::String(line) => line.clone(),
        Value::Array(words) => {
            let words: Vec<String> = words.iter().map(scalar).collect();
            match words.split_first() {
                Some((how, rest)) if how == "CMD-SHELL" => rest.join(" "),
                Some((how, rest)) if how == "CMD" => return Some(rest.to_vec()),
                _ => return None,
            }
        }
        _ => return None,
    };
    let mut line = line.trim().to_owned();
    for silent in ["2>&1", "2>/dev/null", "2> /dev/null", ">/dev/null", "> /dev/null"] {
        line = line.replace(silent, " ");
    }
    let Split { words, rest } = split(&line).filter(|_| !line.contains(['$', '`', '(', '\n']))?;
    let fails = match rest.trim().strip_prefix("||").map(str::trim) {
        None => rest.is_empty(),
        Some("false" | "exit") => true,
        Some(other) => {
            let code = other.strip_prefix("exit ").and_then(|code| code.trim().parse::<u8>().ok());
            code.is_some_and(|code| code > 0)
        }
    };
    fails.then_some(words)
}

/// The port and the path of `curl -f http://localhost:8080/health`, when it is a plain request of one
/// address, and the port is one of these.
fn asked(words: &[String], ports: &[u16]) -> Option<(u16, String)> {
    let (program, arguments) = words.split_first()?;
    let known: fn(&str) -> Option<Takes> = match program.rsplit('/').next()? {
        "curl" => curl,
        "wget" => wget,
        _ => return None,
    };
    let mut address = None;
    let mut arguments = arguments.iter().map(String::as_str);
    while let Some(word) = arguments.next() {
        if !word.starts_with('-') {
            if address.replace(word).is_some() {
                return None;
            }
            continue;
        }
        let (option, value) = match word.split_once('=').filter(|_| word.starts_with("--")) {
            Some((option, value)) => (option, Some(value)),
            None => (word, None),
        };
        match known(option)? {
            Takes::Nothing if value.is_none() => {}
            Takes::Nothing => return None,
            Takes::Value if value.is_some() => {}
            Takes::Value => {
                arguments.next()?;
            }
            Takes::Method if value.or_else(|| arguments.next()) == Some("GET") => {}
            Takes::Method => return None,
        }
    }
    let address = address?;
    let address = address.strip_prefix("http://").unwrap_or(address);
    // It is not sent.
    let address = address.split_once('#').map_or(address, |(address, _)| address);
    let at = address.find(['/', '?']).unwrap_or(address.len());
    let (host, path) = address.split_at(at);
    let (host, port) = match host.split_once(':') {
        Some((host, number)) => (host, number.parse().ok()?),
        None => (host, 80_u16),
    };
    let own = ["localhost", "127.0.0.1", "0.0.0.0"].contains(&host);
    // Such letters mean something to curl, or are none of a path.
    let plain = path.bytes().all(|b| b.is_ascii_graphic() && !b"\"<>[\\]^`{|}".contains(&b));
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    (own && plain && ports.contains(&port)).then_some((port, path))
}

/// What follows an option.
enum Takes {
    Nothing,
    Value,
    Method,
}

/// Options that change nothing of what is asked. Short ones may stand together; the last of them may
/// take a value, or have it at once (`-m5`).
fn curl(option: &str) -> Option<Takes> {
    match option {
        "--fail" | "--silent" | "--show-error" | "--no-progress-meter" | "--ipv4" | "--http1.1" => {
            Some(Takes::Nothing)
        }
        "--output" | "--max-time" | "--connect-timeout" | "--retry" | "--write-out" => {
            Some(Takes::Value)
        }
        "--request" => Some(Takes::Method),
        _ => short(option, "fsS4", "om", Some('X')),
    }
}

/// `--spider` asks by HEAD for what a check asks by GET: it is how wget is told not to keep the answer.
fn wget(option: &str) -> Option<Takes> {
    match option {
        "--quiet" | "--spider" | "--no-verbose" | "-nv" => Some(Takes::Nothing),
        "--output-document" | "--tries" | "--timeout" => Some(Takes::Value),
        _ => short(option, "q", "OtT", None),
    }
}

fn short(option: &str, nothing: &str, value: &str, method: Option<char>) -> Option<Takes> {
    let letters = option.strip_prefix('-').filter(|letters| !letters.is_empty())?;
    let first = letters.find(|letter| !nothing.contains(letter));
    let Some(at) = first else { return Some(Takes::Nothing) };
    let mut rest = letters[at..].chars();
    let letter = rest.next()?;
    let at_once = rest.as_str();
    match at_once {
        "" if value.contains(letter) => Some(Takes::Value),
        "" if method == Some(letter) => Some(Takes::Method),
        "GET" if method == Some(letter) => Some(Takes::Nothing),
        "" => None,
        _ if value.contains(letter) => Some(Takes::Nothing),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_request_of_one_address_is_a_check() {
        for (command, path) in [
            ("curl -f http://localhost:8080/a || exit 1", Some("/a")),
            ("curl localhost:8080", Some("/")),
            ("curl -fsS -m 5 -o /dev/null 'http://127.0.0.1:8080/a?b=c'", Some("/a?b=c")),
            ("curl --fail --silent http://localhost:8080/a#f || false", Some("/a")),
            ("/usr/bin/curl -m5 -X GET http://localhost:8080?x", Some("/?x")),
            ("curl -XGET http://localhost:8080/a > /dev/null 2>&1 || exit 2", Some("/a")),
            ("wget -qO- http://0.0.0.0:8080/ok", Some("/ok")),
            ("wget --no-verbose --tries=1 --spider http://localhost:8080/ok", Some("/ok")),
            ("wget -q -T 3 -O /dev/null http://localhost:8080/ok", Some("/ok")),
            ("curl -f -X POST -d x http://localhost:8080/a", None),
            ("curl --request=POST http://localhost:8080/a", None),
            ("curl -I http://localhost:8080/a", None),
            ("curl -H 'Host: a.test' http://localhost:8080/a", None),
            ("wget --header=A:b http://localhost:8080/a", None),
            ("curl http://localhost:8080/a && curl http://localhost:8080/b", None),
            ("curl http://localhost:8080/a http://localhost:8080/b", None),
            ("curl http://localhost:8080/a | grep ok", None),
            ("curl http://localhost:8080/a || exit 0", None),
            ("curl http://localhost:8080/a; exit 0", None),
            ("curl http://localhost:8080/$PLACE", None),
            ("curl 'http://localhost:8080/[1-3]'", None),
            ("curl https://localhost:8080/a", None),
            ("curl http://u:p@localhost:8080/a", None),
            ("curl http://localhost:9090/a", None),
            ("curl http://other:8080/a", None),
            ("curl -f", None),
            ("curl -m", None),
            ("test -f /curl http://localhost:8080/a", None),
        ] {
            let words = words(&Value::from(command));
            let found = words.and_then(|words| asked(&words, &[8080]));
            assert_eq!(found, path.map(|path| (8080, path.to_owned())), "{command}");
        }
        // No shell: what would be an operator is an argument.
        let list = serde_json::json!(["CMD", "curl", "http://localhost:8080/", "||", "exit", "1"]);
        assert_eq!(words(&list).and_then(|words| asked(&words, &[8080])), None);
        let shell = serde_json::json!(["CMD-SHELL", "curl http://localhost:8080/ || exit 1"]);
        let found = words(&shell).and_then(|words| asked(&words, &[8080]));
        assert_eq!(found, Some((8080, "/".to_owned())));
    }
}
