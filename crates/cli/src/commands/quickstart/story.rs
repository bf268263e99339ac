//! The story that the quickstart prints. Pure, but for the last words.

use std::path::Path;

use ark_server::ServerFile;

use super::sample::{APP, ENV};
use super::steps::{Outcome, Step};
use crate::output::numbers::count;
use crate::output::times::length;
use crate::output::{Output, Style};

/// What happened, step by step, with the receipts.
pub(super) fn render(outcome: &Outcome, style: Style) -> String {
    let mut lines = vec![String::new()];
    for (index, step) in outcome.steps.iter().enumerate() {
        let mark = if step.ok { style.good("✓") } else { style.bad("✗") };
        lines.push(format!("{}. {mark} {}   {}", index + 1, step.title, length(step.took_ms)));
        lines.extend(facts(step).into_iter().map(|fact| format!("     {fact}")));
    }
    let load = &outcome.load;
    let latency = load.totals.latency;
    lines.push(String::new());
    lines.push(format!(
        "the load client's own count: {} requests and streams, {} failed; p50 {}, p99 {}",
        count(load.totals.started),
        count(load.failed()),
        micros(latency.p50_us),
        micros(latency.p99_us),
    ));
    lines.push(format!(
        "the receipts account for {} requests; the whole story took {}",
        count(outcome.receipts_requests),
        length(outcome.took_ms)
    ));
    for wrong in &outcome.wrong {
        lines.push(format!("{} {wrong}", style.bad("✗")));
    }
    for failure in load.failures.iter().take(5) {
        lines.push(format!(
            "    at {} {} {}: {}",
            length(failure.at_ms),
            failure.driver,
            failure.class,
            failure.text
        ));
    }
    lines.push(String::new());
    lines.push(format!("API {}   app {}", outcome.api, outcome.url));
    lines.push(if outcome.ok() {
        "next: deploy your own app. ark up, then ark deploy APP -e ENV; see ark deploy --help"
            .to_owned()
    } else {
        "something was not as it should be; ark doctor looks at this machine".to_owned()
    });
    lines.join("\n")
}

fn micros(us: u64) -> String {
    if us < 1_000 { format!("{us} µs") } else { format!("{:.1} ms", us as f64 / 1_000.0) }
}

fn facts(step: &Step) -> Vec<String> {
    let view = &step.deployment;
    let mut facts = Vec::new();
    if let Some(wrong) = &step.wrong {
        facts.push(wrong.clone());
    }
    if let Some(words) = &view.diagnosis_words {
        let back = view.base.map_or_else(String::new, |base| format!("; back on {base}"));
        facts.push(format!("{words}{back}"));
    }
    // The first deployment had nothing to replace: its receipt says nothing.
    if let (Some(receipt), Some(base)) = (&view.receipt, view.base) {
        let total = &receipt.total;
        facts.push(format!(
            "receipt {base} → {}: served {} ({} by the old side, {} by the new) · failed {} · cut {} · retried {} · longest stall {}",
            view.release,
            count(total.served),
            count(receipt.old.served),
            count(receipt.new.served),
            count(total.failed),
            count(total.cut),
            count(total.retried),
            length(total.longest_stall_ms)
        ));
    }
    facts
}

/// What is said when everything stays up.
pub(super) fn what_next(out: Output, server: &ServerFile, data_dir: &Path) {
    let dir = data_dir.display();
    let http = server.http.as_deref().unwrap_or_default();
    out.say(format!(
        "\nstays up until ^C. in another terminal:\n  export ARK_DATA_DIR={dir}\n  ark status -e {ENV}\n  \
         ark ps {APP} -e {ENV}\n  ark rollback {APP} -e {ENV} --to v2\n  \
         curl -H 'host: {APP}.{ENV}.localhost' {http}/version"
    ));
}
