//! `deploy.resources` and its older forms as `resources`.

use serde_json::Value;

use super::Notes;
use super::service::{Entries, Service, put, scalar};
use super::yaml::Node;

/// The section `resources`.
pub(super) fn section(service: &Service, notes: &mut Notes) -> Entries {
    let at = |path: &str| service.get("deploy").and_then(|deploy| deploy.pointer(path));
    let mut out = Vec::new();
    let cpus = at("/resources/limits/cpus").or_else(|| service.get("cpus"));
    match cpus.map(scalar).map(|text| (text.trim().parse::<f64>(), text)) {
        None => {}
        Some((Ok(cpus), _)) => put(&mut out, "cpu", Node::plain(&cpus)),
        Some((Err(_), text)) => {
            notes.add("deploy.resources (cpu)", format!("`{text}` is no number of cores"));
        }
    }
    let sizes = [
        ("max_mem", at("/resources/limits/memory").or_else(|| service.get("mem_limit"))),
        (
            "soft_mem_limit",
            at("/resources/reservations/memory").or_else(|| service.get("mem_reservation")),
        ),
    ];
    for (key, value) in sizes {
        let Some(value) = value.map(scalar) else { continue };
        match bytes(&value) {
            Some(bytes) => put(&mut out, key, Node::plain(&(bytes as f64 / f64::from(1 << 30)))),
            None => {
                notes.add(&format!("deploy.resources ({key})"), format!("`{value}` is no size"));
            }
        }
    }
    rest(at("/resources"), notes);
    out
}

/// What else stands under `deploy.resources`.
fn rest(resources: Option<&Value>, notes: &mut Notes) {
    for (side, values) in resources.and_then(Value::as_object).into_iter().flatten() {
        for key in values.as_object().into_iter().flatten().map(|(key, _)| key.as_str()) {
            let why = match (side.as_str(), key) {
                ("limits", "cpus" | "memory") | ("reservations", "memory") => continue,
                ("reservations", "cpus") => {
                    "no cores are set aside; `resources.cpu` is the most that an instance uses"
                }
                (_, "devices" | "generic_resources") => "a container gets no devices of the host",
                (_, "pids") => "the number of processes is bounded by Ark for every container",
                _ => "unknown",
            };
            notes.add(&format!("deploy.resources.{side}.{key}"), why);
        }
    }
}

/// `512m`, `1.5g`, `64mb`.
fn bytes(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let digits = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let unit = match &text[digits..] {
        "" | "b" => 1.0,
        "k" | "kb" => 1024.0,
        "m" | "mb" => 1024.0 * 1024.0,
        "g" | "gb" => 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    let number: f64 = text[..digits].trim().parse().ok()?;
    (number > 0.0).then_some((number * unit) as u64)
}
