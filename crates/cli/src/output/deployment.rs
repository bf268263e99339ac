//! A deployment in words: the block that is redrawn while it runs, and how it ended.
//!
//! Pure: values in, lines out. `commands::follow_deployment` decides when which is shown.

use ark_model::api::{DeploymentView, Remedy, SideProgress, TrafficView};
use ark_model::deployment::DeploymentKind;
use ark_model::diagnosis::Down;
use ark_model::hook::HookStage;
use ark_model::receipt::Side;
use ark_model::{DeploymentState, Diagnosis, ReleaseNumber};
use jiff::Timestamp;

use super::lines::{cut, fold, wrap, wrap_remedies};
use super::numbers::{count, counted, failures, rate};
use super::times::{age, between_ms, length};
use super::{Style, hooks, rollout};

/// Cells of a bar.
const BAR_CELLS: u32 = 4;
/// Width of the words before the facts of a step.
const STEP_WIDTH: usize = 22;
/// In less room beside it, what there is to say is cut and not folded.
const FACTS_WIDTH_MIN: usize = 30;
/// The most lines of what there is to say of one thing.
const FACTS_LINES_MAX: usize = 4;
/// Log lines shown with a failure.
const LOG_LINES_MAX: usize = 20;
/// How many apps that were down are named as what to look at.
const DOWN_REMEDIES_MAX: usize = 2;

/// `web → production   v41 → v42   rolling, 3 instances   commit 9f2c1ab by ana`.
pub(crate) fn title(view: &DeploymentView) -> String {
    let mut parts = vec![format!("{} → {}", view.app, view.env), releases(view)];
    let instances = view.progress.as_ref().map(|p| counted(u64::from(p.wanted), "instance"));
    let strategy = view.strategy.to_string();
    parts.push(instances.map_or(strategy.clone(), |instances| format!("{strategy}, {instances}")));
    parts.push(match &view.commit {
        Some(commit) => format!("commit {} by {}", short_commit(commit), view.created_by),
        None => format!("by {}", view.created_by),
    });
    if let Some(reason) = &view.reason {
        parts.push(format!("“{reason}”"));
    }
    parts.join("   ")
}

fn releases(view: &DeploymentView) -> String {
    match view.base {
        Some(base) if base != view.release => format!("{base} → {}", view.release),
        Some(_) | None => view.release.to_string(),
    }
}

fn short_commit(commit: &str) -> String {
    match commit.strip_suffix("-dirty") {
        Some(clean) => format!("{}, with local changes,", clean.get(..7).unwrap_or(clean)),
        None => commit.get(..7).unwrap_or(commit).to_owned(),
    }
}

/// `v42   directory 3fa1b2c4d5e6 · config 7 · 2 keys changed (LOG_LEVEL, CACHE_TTL)`.
pub(crate) fn release_facts(view: &DeploymentView) -> String {
    let mut facts = match view.artifact.as_deref() {
        None => vec!["no artifact".to_owned()],
        Some(artifact) if is_image(artifact) => vec![artifact.to_owned()],
        Some(artifact) => vec![format!("{artifact}, as a process")],
    };
    if let Some(version) = view.config_version {
        facts.push(format!("config {version}"));
    }
    if !view.config_changed.is_empty() {
        let keys = counted(view.config_changed.len() as u64, "key");
        facts.push(format!("{keys} changed ({})", view.config_changed.join(", ")));
    }
    facts.join(" · ")
}

/// What an artifact in words runs as: `directory 3fa1b2c4d5e6, as a process of the host`. An image is one.
pub(crate) fn runs_as(artifact: &str) -> String {
    match is_image(artifact) {
        true => artifact.to_owned(),
        false => format!("{artifact}, as a process of the host"),
    }
}

fn is_image(artifact: &str) -> bool {
    artifact.starts_with("image ")
}

/// One thing of the block and what there is to say of it, in as many lines as that needs.
fn step(mark: &str, words: &str, facts: &str, (width, lines_max): (usize, usize)) -> Vec<String> {
    let room = width.saturating_sub(4 + STEP_WIDTH + 1);
    if room < FACTS_WIDTH_MIN || words.chars().count() > STEP_WIDTH {
        let plain = format!("{words:<STEP_WIDTH$} {facts}");
        return vec![format!("  {mark} {}", cut(&plain, width.saturating_sub(4)))];
    }
    let folded = fold(facts, room, lines_max);
    let line = |(at, facts): (usize, String)| match at {
        0 => format!("  {mark} {words:<STEP_WIDTH$} {facts}"),
        _ => format!("    {:STEP_WIDTH$} {facts}", ""),
    };
    folded.into_iter().enumerate().map(line).collect()
}

/// The block while it runs, in lines of at most the width; what there is to say is cut sooner where the terminal has
/// few of them.
pub(crate) fn block(
    view: &DeploymentView,
    traffic: Option<&TrafficView>,
    now: Timestamp,
    style: Style,
) -> Vec<String> {
    let folded = |lines_max: usize| block_folded(view, traffic, now, (style, lines_max));
    let fits = |lines: &Vec<String>| lines.len() <= style.height;
    (2..=FACTS_LINES_MAX).rev().map(folded).find(fits).unwrap_or_else(|| folded(1))
}

fn block_folded(
    view: &DeploymentView,
    traffic: Option<&TrafficView>,
    now: Timestamp,
    (style, lines_max): (Style, usize),
) -> Vec<String> {
    let room = (style.width, lines_max);
    let step = |mark: String, words: &str, facts: String| step(&mark, words, &facts, room);
    let mut lines = vec![style.strong(&cut(&title(view), style.width)), String::new()];
    let release = format!("release {}", view.release);
    lines.extend(step(style.good("✓"), &release, release_facts(view)));
    for line in hooks::lines(view, HookStage::PreDeploy, now) {
        lines.extend(step(line.mark.shown(style), &line.words, line.facts));
    }
    for line in rollout::steps(view, now) {
        lines.extend(step(line.mark.shown(style), &line.words, line.facts));
    }
    lines.extend(step("▸".to_owned(), verb(view.state), sides(view, now)));
    for (words, facts) in rollout::facts(view, now) {
        lines.extend(step(" ".to_owned(), words, facts));
    }
    for line in hooks::lines(view, HookStage::PostDeploy, now) {
        lines.extend(step(line.mark.shown(style), &line.words, line.facts));
    }
    for failed in view.failures.iter().rev().take(2) {
        lines.extend(step(style.bad("✗"), "failed instance", failed.words()));
    }
    if let Some(abort) = &view.abort
        && !abort.superseded
    {
        let why = abort.reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
        lines.extend(step("–".to_owned(), "aborted", format!("by {}{why}", abort.by)));
    }
    lines.push(String::new());
    let began = view.started_at.unwrap_or(view.created_at);
    let elapsed = format!("elapsed {}", age(between_ms(began, now)));
    let measured = traffic.map_or_else(String::new, |traffic| format!("{}   ", requests(traffic)));
    let facts =
        fold(&format!("{measured}{elapsed}"), style.width.saturating_sub(2), lines_max.min(2));
    lines.extend(facts.into_iter().map(|line| format!("  {line}")));
    lines
}

fn requests(traffic: &TrafficView) -> String {
    let p99 = traffic.p99_ms.map_or_else(String::new, |ms| format!("   p99 {}", length(ms)));
    let failed = failures(traffic.failed_1h, traffic.served_1h + traffic.failed_1h);
    format!("requests {}/s   failed in the last hour {failed}{p99}", rate(traffic.requests_per_s))
}

/// What is being done.
fn verb(state: DeploymentState) -> &'static str {
    match state {
        DeploymentState::Queued => "waiting",
        DeploymentState::Replacing => "replacing",
        DeploymentState::Stepping => "instances",
        DeploymentState::Keeping => "live, old side kept",
        DeploymentState::Draining => "live, draining",
        DeploymentState::Returning => "returning",
        DeploymentState::Succeeded => "finished",
        DeploymentState::RolledBack => "rolled back",
        DeploymentState::Failed => "failed",
        DeploymentState::TimedOut => "timed out",
        DeploymentState::Superseded => "superseded",
    }
}

fn sides(view: &DeploymentView, now: Timestamp) -> String {
    if view.state == DeploymentState::Queued {
        return "for the running deployment of this app".to_owned();
    }
    let Some(progress) = &view.progress else { return String::new() };
    let new = side(&view.release.to_string(), "ready", &progress.new, progress.wanted, now);
    let old_name = match view.base {
        Some(base) if base != view.release => base.to_string(),
        Some(_) | None => "older".to_owned(),
    };
    if progress.old == SideProgress::default() {
        return new;
    }
    let active = match view.state {
        DeploymentState::Keeping => "kept without traffic",
        _ => "serving",
    };
    let old = side(&old_name, active, &progress.old, progress.wanted, now);
    format!("{new}   {old}")
}

fn side(name: &str, active: &str, side: &SideProgress, wanted: u32, now: Timestamp) -> String {
    let mut facts = vec![format!("{} {active}", side.active)];
    if side.starting > 0 {
        facts.push(format!("{} starting", side.starting));
    }
    if side.draining > 0 {
        let since = side.draining_since.map(|since| age(between_ms(since, now)));
        let inside = counted(u64::from(side.draining_in_flight), "request");
        facts.push(match since {
            Some(since) => format!("{} draining ({inside}, {since})", side.draining),
            None => format!("{} draining ({inside})", side.draining),
        });
    }
    if side.stopping > 0 {
        facts.push(format!("{} stopping", side.stopping));
    }
    format!("{name} {} {}", bar(side.active, wanted), facts.join(", "))
}

fn bar(active: u32, wanted: u32) -> String {
    let wanted = wanted.max(1);
    let full = (active.min(wanted) * BAR_CELLS).div_ceil(wanted) as usize;
    "█".repeat(full) + &"░".repeat(BAR_CELLS as usize - full)
}

/// The same facts in one line, for logs.
pub(crate) fn progress_line(view: &DeploymentView, now: Timestamp) -> String {
    let step = rollout::line(view).map_or_else(String::new, |step| format!("   {step}"));
    let hook = hooks::line(view).map_or_else(String::new, |hook| format!("   {hook}"));
    format!("{} {}   {}{step}{hook}", view.app, verb(view.state), sides(view, now))
}

/// `✓ v42 is live on production   31 s`.
pub(crate) fn live(view: &DeploymentView, style: Style) -> String {
    let took = view.live_at.map(|at| between_ms(view.started_at.unwrap_or(view.created_at), at));
    let took = took.map_or_else(String::new, |ms| format!("   {}", length(ms)));
    format!("{} {} is live on {}{took}", style.good("✓"), view.release, view.env)
}

/// How a success ended: the receipt, where it is reached, how to undo it.
pub(crate) fn succeeded(view: &DeploymentView, urls: &[String], style: Style) -> String {
    let began = view.started_at.unwrap_or(view.created_at);
    let mut out = live(view, style);
    if let Some(finished) = view.finished_at {
        let old = match view.base {
            Some(base) if base != view.release => {
                format!(", when the last instance of {base} had ended")
            }
            Some(_) | None => String::new(),
        };
        out.push_str(&format!("    finished after {}{old}", length(between_ms(began, finished))));
    }
    if let Some(artifact) = &view.artifact {
        out.push_str(&format!("\n  runs {}", runs_as(artifact)));
    }
    if let Some(line) = receipt_line(view) {
        out.push_str(&format!("\n  {line}"));
    }
    for note in &view.notes {
        out.push_str(&format!("\n  note: {note}"));
    }
    for url in urls {
        out.push_str(&format!("\n  {url}"));
    }
    if let Some(base) = view.base.filter(|base| *base != view.release) {
        // What was rolled back from is never gone back to unless it is named.
        let to = match view.kind {
            DeploymentKind::Deploy => String::new(),
            DeploymentKind::Rollback => format!(" --to {base}"),
        };
        let undo = format!("undo: ark rollback {} -e {}{to}", view.app, view.env);
        match view.watch.as_ref().filter(|watch| watch.end.is_none()) {
            Some(watch) => {
                let time = length(between_ms(watch.since, watch.until));
                out.push_str(&format!("\n  watching for {time}; {undo}"));
            }
            None => out.push_str(&format!("\n  {undo}")),
        }
    }
    out
}

/// `served 12,884 during the change · failed 0 · cut 0 · retried 2 · longest stall 6 ms`.
fn receipt_line(view: &DeploymentView) -> Option<String> {
    let total = &view.receipt.as_ref()?.total;
    Some(format!(
        "served {} during the change · failed {} · cut {} · retried {} · longest stall {}",
        count(total.served),
        count(total.failed),
        count(total.cut),
        count(total.retried),
        length(total.longest_stall_ms)
    ))
}

/// How a deployment ended that was told to end.
pub(crate) fn aborted(view: &DeploymentView, style: Style) -> String {
    let mut out = format!("{} {}; {}", style.good("✓"), what(view), outcome(view));
    if let Some(line) = kept_serving(view) {
        out.push_str(&format!("\n  {line}"));
    }
    out
}

/// How anything else ended: what happened, why, the last log lines, what to type next.
pub(crate) fn unsuccessful(view: &DeploymentView, style: Style) -> String {
    let exit = view.exit_code.map_or_else(String::new, |code| format!("   exit {code}"));
    let mut out =
        format!("{} {}; {}{}", style.bad("✗"), what(view), outcome(view), style.dim(&exit));
    let indented = |text: &str| -> String {
        let lines = wrap(text, style.width.saturating_sub(2));
        lines.iter().map(|line| format!("\n  {line}")).collect()
    };
    if let Some(diagnosis) = &view.diagnosis {
        let failure = diagnosis.failure();
        match failure {
            Diagnosis::Judged { reasons } => {
                out.push_str(&indented("the judge:"));
                reasons.iter().for_each(|reason| out.push_str(&indented(&format!("- {reason}"))));
            }
            other => out.push_str(&indented(&other.words())),
        }
        for down in diagnosis.down() {
            out.push_str(&indented(&format!("dependency down: {}", down.words())));
        }
        if let Diagnosis::NeverReady { last, .. } = failure
            && last.starts_with("connection to ")
            && last.ends_with(" refused")
        {
            out.push_str(&indented(
                "nothing listens there; the app is to listen on the port in $PORT",
            ));
        }
        let log = diagnosis.log();
        let whose = match failure {
            Diagnosis::HookFailed { hook, .. } => Some(hook.as_str()),
            other => other.instance(),
        };
        if let (Some(whose), false) = (whose, log.is_empty()) {
            // They are clocks in UTC; those of another day bear its date.
            let day = view.created_at.strftime("%Y-%m-%d");
            out.push_str(&indented(&format!("last lines of {whose} ({day}, UTC):")));
            for line in log.iter().skip(log.len().saturating_sub(LOG_LINES_MAX)) {
                out.push_str(&format!("\n    {}", cut(line, style.width.saturating_sub(4))));
            }
        }
    }
    if let Some(line) = kept_serving(view) {
        out.push_str(&indented(&line));
    }
    for note in &view.notes {
        out.push_str(&indented(&format!("note: {note}")));
    }
    for line in wrap_remedies(&next(view), style.width) {
        out.push_str(&format!("\n  {line}"));
    }
    out
}

fn what(view: &DeploymentView) -> String {
    let release = view.release;
    match (view.diagnosis.as_ref().map(Diagnosis::failure), view.state) {
        (_, DeploymentState::Superseded) => format!("{release} was not deployed"),
        (Some(Diagnosis::Crashed { .. }), _) => format!("{release} crashed"),
        (Some(Diagnosis::NeverReady { .. }), _) => format!("{release} did not become healthy"),
        (Some(Diagnosis::Aborted { .. }), _) => format!("{release} was aborted"),
        (Some(Diagnosis::Judged { .. }), _) => format!("{release} is worse"),
        (Some(Diagnosis::HookFailed { .. }), _) => format!("{release} was not let in by a hook"),
        (Some(Diagnosis::NobodyAnswered { .. }), _) => {
            format!("{release} was aborted: nobody said go")
        }
        (Some(Diagnosis::NoProgress { .. } | Diagnosis::DeadlinePassed { .. }), _) => {
            format!("{release} took too long")
        }
        (
            Some(
                Diagnosis::ArtifactMissing { .. }
                | Diagnosis::CommandNotFound { .. }
                | Diagnosis::PortTaken { .. }
                | Diagnosis::NoCapacity { .. }
                | Diagnosis::StartFailed { .. }
                // Its failure was taken above.
                | Diagnosis::DependencyDown { .. },
            ),
            _,
        ) => format!("{release} could not be started"),
        (None, _) => format!("{release} was not deployed"),
    }
}

fn outcome(view: &DeploymentView) -> String {
    let env = &view.env;
    match (view.state, view.base) {
        (DeploymentState::Superseded, _) => "a newer deployment took its place".to_owned(),
        (DeploymentState::RolledBack, Some(base)) => format!("{env} is back on {base}"),
        (_, None) => format!("nothing of {} was running on {env} before", view.app),
        (_, Some(base)) => format!("{env} could not be brought back to {base}"),
    }
}

fn kept_serving(view: &DeploymentView) -> Option<String> {
    let (receipt, base) = (view.receipt.as_ref()?, view.base?);
    let lost = |side: &Side| side.failed + side.cut;
    let all = |side: &Side| side.served + lost(side);
    let failed =
        |side: &Side| format!("{} of {} requests failed", count(lost(side)), count(all(side)));
    let (total, new) = (&receipt.total, &receipt.new);
    let back = view.state == DeploymentState::RolledBack;
    // It had all of the traffic, and nobody kept serving beside it.
    if back && view.live_at.is_some() {
        let (release, new, old) = (view.release, failed(new), failed(&receipt.old));
        return Some(format!("{release} was live: {new}; {base}, before and after: {old}"));
    }
    Some(match (lost(total), lost(new), back) {
        (0, _, _) | (_, 0, true) => format!("{base} kept serving: {}", failed(total)),
        (_, lost, true) => {
            let (old, release) = (failed(&receipt.old), view.release);
            let (lost, all) = (count(lost), count(all(new)));
            format!("{base} kept serving: {old}, and {lost} of {all} of {release}")
        }
        (_, _, false) => failed(total),
    })
}

fn next(view: &DeploymentView) -> Vec<Remedy> {
    let (app, env) = (&view.app, &view.env);
    let remedy = |label: &str, command: String| Remedy { label: label.to_owned(), command };
    let logs = match view.diagnosis.as_ref().and_then(Diagnosis::instance) {
        Some(instance) => format!("ark logs {app} -e {env} --instance {instance}"),
        None => format!("ark events -e {env} --app {app}"),
    };
    let again = match view.kind {
        DeploymentKind::Deploy => match &view.image {
            Some(image) => format!("ark deploy {app} -e {env} --image {image}"),
            None => format!("ark deploy {app} -e {env}"),
        },
        DeploymentKind::Rollback => format!("ark rollback {app} -e {env} --to {}", view.release),
    };
    match view.state {
        DeploymentState::Superseded => {
            vec![remedy("the newer one", format!("ark deployments {app} -e {env}"))]
        }
        _ => {
            let down = view.diagnosis.as_ref().map_or(&[][..], Diagnosis::down);
            let apps = down.iter().filter_map(|down| match down {
                Down::App { app, .. } => Some(app),
                Down::Address { .. } => None,
            });
            let mut all = vec![remedy("look closer", logs)];
            all.extend(apps.take(DOWN_REMEDIES_MAX).map(|app| {
                remedy(&format!("look at {app}"), format!("ark ps {app} -e {env} --all"))
            }));
            all.push(remedy("try again", again));
            all
        }
    }
}

/// `v7`, or `–`.
pub(crate) fn release_or_dash(release: Option<ReleaseNumber>) -> String {
    super::table::or_dash(release)
}

#[cfg(test)]
#[path = "deployment_tests.rs"]
mod tests;
