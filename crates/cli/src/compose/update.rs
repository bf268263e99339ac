//! `deploy` and what `healthcheck` says of beginning, as `deploy`: how a new release takes over.

use std::time::Duration;

use ark_model::definition::{DeployPolicy, DurationText};
use serde_json::Value;

use super::Notes;
use super::health;
use super::service::{Entries, Service, count, length, put, scalar, time};
use super::yaml::Node;

/// The section `deploy`.
pub(super) fn section(service: &Service, deploy: &Service, notes: &mut Notes) -> Entries {
    let mut out = Vec::new();
    if let Some(update) = deploy.get("update_config").and_then(Value::as_object) {
        update_config(&mut out, update, notes);
    }
    let delay = deploy.get("update_config").and_then(|update| update.get("delay")).map(scalar);
    beginning(&mut out, service, delay.and_then(|text| length(&text)), notes);
    for key in deploy.keys() {
        let why = match key.as_str() {
            "replicas" | "update_config" | "resources" | "mode" => continue,
            "rollback_config" => "a rollback is a deployment like any other",
            "restart_policy" => "what ends is replaced, with growing pauses",
            "labels" => "labels are Ark's own",
            "endpoint_mode" => "the gateway hands out the requests",
            _ => "the environment decides where instances run",
        };
        notes.add(&format!("deploy.{key}"), why);
    }
    out
}

fn update_config(out: &mut Entries, update: &Service, notes: &mut Notes) {
    let parallelism = count(update, "parallelism", "deploy.update_config.parallelism", notes);
    if update.get("order").and_then(Value::as_str) == Some("start-first") {
        put(out, "strategy", Node::text("rolling"));
        match parallelism {
            // All at once.
            Some(0) => put(out, "max_surge", Node::text("100%")),
            Some(n) => put(out, "max_surge", Node::plain(&n)),
            None => {}
        }
    } else {
        notes.add(
            "deploy.update_config.order",
            "new instances start first; nothing is taken away before",
        );
        if parallelism.is_some() {
            notes.add(
                "deploy.update_config.parallelism",
                "how many start beyond the wanted number is `deploy.max_surge`, 25 % unless set",
            );
        }
    }
    for (key, name) in [("delay", "min_healthy_time"), ("monitor", "watch")] {
        let time = time(update, key, &format!("deploy.update_config.{key}"), notes);
        // No delay is Compose's own; here it would make live whoever crashes at once.
        let none = |text: &String| key == "delay" && length(text).is_some_and(|l| l.is_zero());
        if let Some(time) = time.filter(|text| !none(text)) {
            put(out, name, Node::text(time));
        }
    }
    match update.get("failure_action").and_then(Value::as_str) {
        None | Some("rollback") => {}
        Some(other) => notes.add(
            "deploy.update_config.failure_action",
            format!("not `{other}`: a deployment that fails is rolled back"),
        ),
    }
    for key in update.keys() {
        match key.as_str() {
            "parallelism" | "order" | "delay" | "monitor" | "failure_action" => {}
            "max_failure_ratio" => {
                notes.add(
                    "deploy.update_config.max_failure_ratio",
                    "the judge decides: docs/judge.md",
                );
            }
            other => notes.add(&format!("deploy.update_config.{other}"), "unknown"),
        }
    }
}

/// How long an instance may take to become ready, where that is more than what holds by itself. What
/// waits for it, or for `delay` after it, is given the time too.
fn beginning(out: &mut Entries, service: &Service, delay: Option<Duration>, notes: &mut Notes) {
    let usual = DeployPolicy::default();
    let text = |time: Duration| Node::text(DurationText::from(time).to_string());
    let ready = health::patience(service, notes).unwrap_or_default();
    if ready > usual.ready_timeout.get() {
        put(out, "ready_timeout", text(ready));
    }
    let progress = usual.progress_deadline.get();
    let delayed = delay.filter(|delay| *delay >= progress).map(|delay| delay + progress);
    // A delay that leaves no room within the whole deadline is not kept.
    let delayed = delayed.filter(|all| *all <= usual.deadline.get()).unwrap_or_default();
    if ready.max(delayed) > progress {
        put(out, "progress_deadline", text(ready.max(delayed)));
    }
    if ready > usual.deadline.get() {
        put(out, "deadline", text(ready.saturating_add(usual.deadline.get())));
    }
}

/// Whether the service runs once on each node. What else `deploy.mode` says is noted.
pub(super) fn is_daemon(deploy: &Service, notes: &mut Notes) -> bool {
    match deploy.get("mode").map(scalar).as_deref() {
        None | Some("replicated") => false,
        Some("global") => true,
        Some("replicated-job" | "global-job") => {
            notes.add("deploy.mode", "for work that ends write `run: {type: job}`");
            false
        }
        Some(_) => {
            notes.add("deploy.mode", "unknown");
            false
        }
    }
}
