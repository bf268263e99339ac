//! One deployment: where it stands, its steps, both sides side by side, what the judge said, what it
//! did to traffic, why it failed; and what it can be told.

use ark_model::api::{
    AbortRequest, AppDetail, DeploymentView, Page, PromoteRequest, RolloutView, SideProgress,
    StepState, TrafficHistory, WishRequest,
};
use ark_model::event::Event;
use ark_model::hook::{HookRun, HookState};
use ark_model::judgement::{Judgement, Verdict};
use ark_model::receipt::Side;
use ark_model::rollout::{AsksFor, WatchEnd};
use ark_model::{DeploymentState, Diagnosis};
use askama::Template;
use axum::Router;
use axum::extract::{Form, Path};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::Value;

use super::events::{self, EventLine};
use super::overview::asked;
use crate::Shared;
use crate::chart::{Chart, Line};
use crate::fault::Fault;
use crate::shell::Shell;
use crate::visit::{Answer, Visit, see};
use crate::words::{self, Tone, When, count, counted, length};

const EVENTS: usize = 40;
/// The longest id that is looked up.
const ID_CHARS_MAX: usize = 64;

pub(crate) fn routes() -> Router<Shared> {
    Router::new().route("/d/{id}", get(deployment)).route("/d/{id}/{wish}", post(say))
}

#[derive(Template)]
#[template(path = "deployment.html")]
struct DeploymentPage {
    shell: Shell,
    id: String,
    env: String,
    app: String,
    what: String,
    from: String,
    to: String,
    tone: Tone,
    state: &'static str,
    strategy: &'static str,
    terminal: bool,
    facts: Vec<(&'static str, String)>,
    times: Vec<(&'static str, When)>,
    asks: Option<String>,
    paused: Option<String>,
    wishes: Vec<Wish>,
    /// The release to go back to, once this one is live and its deployment is over.
    back: Option<String>,
    diagnosis: Option<Why>,
    failures: Vec<Why>,
    abort: Option<String>,
    progress: Vec<(String, String)>,
    steps: Vec<Step>,
    share: Option<(u8, bool)>,
    sides: Vec<SideLine>,
    verdicts: Vec<VerdictLine>,
    hooks: Vec<HookLine>,
    receipt: Vec<(&'static str, [String; 3])>,
    notes: Vec<String>,
    watch: Option<String>,
    charts: Vec<Chart>,
    events: Vec<EventLine>,
    changed: Vec<String>,
}

/// A command or a webhook before or after it.
struct HookLine {
    words: String,
    tone: Tone,
    state: String,
    log: Vec<String>,
}

struct Why {
    words: String,
    log: Vec<String>,
}

struct Step {
    words: String,
    tone: Tone,
    state: &'static str,
    approved_by: Option<String>,
}

/// One side since the share last changed.
struct SideLine {
    name: String,
    class: &'static str,
    requests: String,
    success: String,
    p99: String,
}

struct VerdictLine {
    tone: Tone,
    verdict: &'static str,
    when: When,
    reasons: Vec<String>,
    seen: String,
}

/// An id as it stands in an address: letters, digits and dashes.
fn checked(id: &str) -> Result<&str, Fault> {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if !id.is_empty() && id.len() <= ID_CHARS_MAX && id.chars().all(good) {
        return Ok(id);
    }
    let code = ark_model::api::ProblemCode::DeploymentNotFound;
    Err(Fault::new(code, "that is not the id of a deployment"))
}

async fn deployment(visit: Visit, Path(id): Path<String>) -> Answer {
    let view: DeploymentView = visit.get(&format!("/v1/deployments/{}", checked(&id)?)).await?;
    let (env, app) = (view.env.clone(), view.app.clone());
    let happened = format!("/v1/events?deployment={}&newest=true&limit={EVENTS}", view.id);
    let happened: Page<Event> = visit.get(&happened).await?;
    let history = history(&visit, &view).await?;
    let back = back(&visit, &view).await?;
    let shell = visit
        .shell(format!("{} of {app} on {env}", words::what(view.kind, view.release)), "/")
        .crumb("/", "Overview")
        .crumb(format!("/environments/{env}"), &env)
        .crumb(format!("/e/{env}/{app}"), &app)
        .live(&format!("env={env}&app={app}"))
        .command(format!("ark deployments {}", view.id));
    let rollout = view.rollout.as_ref();
    let may = shell.may_deploy;
    visit.page(&DeploymentPage {
        id: view.id.to_string(),
        what: words::what(view.kind, view.release),
        from: words::release(view.base),
        to: view.release.to_string(),
        tone: words::deployment_tone(view.state),
        state: words::deployment_state(view.state),
        strategy: view.strategy.as_str(),
        terminal: view.state.is_terminal(),
        facts: facts(&view),
        times: times(&visit, &view),
        asks: rollout.and_then(|rollout| rollout.asks.as_ref()).map(|asks| {
            let since = words::between(asks.since, visit.now);
            format!("{}, for {since}; after 24 h without an answer it goes back", asked(asks.what))
        }),
        paused: rollout.and_then(|rollout| rollout.paused.as_ref()).map(|said| {
            let why = said.reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
            format!("paused by {}{why}", said.by)
        }),
        wishes: if may { wishes(&view) } else { Vec::new() },
        back: back.filter(|_| may),
        diagnosis: view.diagnosis.as_ref().map(why),
        failures: match &view.diagnosis {
            // What ended it is shown; other failures are shown while it goes on, or beside it.
            Some(end) => view.failures.iter().filter(|one| *one != end).map(why).collect(),
            None => view.failures.iter().map(why).collect(),
        },
        abort: view.abort.as_ref().map(|abort| {
            let why = abort.reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
            format!("its end was asked for by {}{why}", abort.by)
        }),
        progress: progress(&visit, &view),
        steps: rollout.map(steps).unwrap_or_default(),
        share: rollout
            .filter(|_| !view.state.is_terminal())
            .map(|rollout| (rollout.percent, rollout.in_force)),
        sides: rollout.map(|rollout| sides(&view, rollout)).unwrap_or_default(),
        verdicts: verdicts(&visit, &view),
        hooks: view.hooks.iter().map(|run| hook(&visit, run)).collect(),
        receipt: view.receipt.as_ref().map(receipt).unwrap_or_default(),
        notes: view.notes.clone(),
        watch: view.watch.as_ref().map(|watch| watch_words(&visit, watch)),
        charts: charts(&view, history.as_ref()),
        events: happened
            .items
            .into_iter()
            .map(|event| EventLine { about: None, ..events::line(&visit, event) })
            .collect(),
        changed: view.config_changed.clone(),
        shell,
        env: env.to_string(),
        app: app.to_string(),
    })
}

/// What the app was before, while what was deployed is what is live.
async fn back(visit: &Visit, view: &DeploymentView) -> Result<Option<String>, Fault> {
    let base = view.base.filter(|base| *base != view.release);
    let (DeploymentState::Succeeded, Some(base)) = (view.state, base) else { return Ok(None) };
    let address = format!("/v1/environments/{}/apps/{}", view.env, view.app);
    let app: Option<AppDetail> = visit.find(&address).await?;
    let is_live = app.is_some_and(|app| app.row.live == Some(view.release));
    Ok(is_live.then(|| base.0.to_string()))
}

fn facts(view: &DeploymentView) -> Vec<(&'static str, String)> {
    let mut facts = vec![("asked for by", view.created_by.clone())];
    facts.extend(view.reason.clone().map(|reason| ("why", reason)));
    facts.extend(view.commit.clone().map(|commit| ("commit", commit)));
    facts.extend(view.artifact.clone().map(|artifact| ("artifact", artifact)));
    if let (Some(start), Some(live)) = (view.started_at, view.live_at) {
        facts.push(("live after", words::between(start, live)));
    }
    if let (Some(start), Some(end)) = (view.started_at, view.finished_at) {
        facts.push(("over after", words::between(start, end)));
    }
    facts
}

fn times(visit: &Visit, view: &DeploymentView) -> Vec<(&'static str, When)> {
    let all = [
        ("asked for", Some(view.created_at)),
        ("began", view.started_at),
        ("live", view.live_at),
        ("turned back", view.returning_at),
        ("over", view.finished_at),
    ];
    let known = all.into_iter().filter_map(|(name, at)| Some((name, at?)));
    known.map(|(name, at)| (name, When::ago(at, visit.now))).collect()
}

fn why(diagnosis: &Diagnosis) -> Why {
    let log = match diagnosis {
        Diagnosis::Crashed { log, .. } | Diagnosis::NeverReady { log, .. } => log.clone(),
        _ => Vec::new(),
    };
    Why { words: diagnosis.words(), log }
}

fn hook(visit: &Visit, run: &HookRun) -> HookLine {
    let (tone, state) = match run.state {
        HookState::Waiting => (Tone::Quiet, "waits for its turn"),
        HookState::Running => (Tone::Busy, "runs"),
        HookState::Stopping => (Tone::Busy, "is being stopped"),
        HookState::Succeeded => (Tone::Good, "done"),
        HookState::Failed => (Tone::Bad, "failed"),
        HookState::Cancelled => (Tone::Quiet, "cancelled"),
    };
    let mut parts = vec![state.to_owned()];
    if let Some(begun) = run.begun_at {
        parts.push(words::between(begun, run.ended_at.unwrap_or(visit.now)));
    }
    if run.attempts > 1 {
        parts.push(counted(u64::from(run.attempts), "attempt"));
    }
    parts.extend(run.note.clone());
    HookLine { words: run.words(), tone, state: parts.join(", "), log: run.log.clone() }
}

/// What it can be told now.
struct Wish {
    /// The word in the address.
    word: &'static str,
    button: &'static str,
    /// Whether it is the one that is waited for.
    first: bool,
    command: String,
}

fn wishes(view: &DeploymentView) -> Vec<Wish> {
    let asks = view.rollout.as_ref().and_then(|r| r.asks.as_ref()).map(|asks| asks.what);
    let paused = view.rollout.as_ref().is_some_and(|rollout| rollout.paused.is_some());
    let mut all = Vec::new();
    match view.state {
        DeploymentState::Stepping => {
            match asks {
                Some(AsksFor::Approval) => all.push(("approve", "Approve", true)),
                Some(AsksFor::Promotion | AsksFor::Judgement) => {
                    all.push(("promote", "Go on", true));
                }
                Some(AsksFor::Resumption) | None => {}
            }
            match paused {
                true => all.push(("resume", "Resume", true)),
                false => all.push(("pause", "Pause", false)),
            }
            all.push(("full", "All of the traffic", false));
        }
        DeploymentState::Keeping => all.push(("promote", "Let the old side go", false)),
        _ => {}
    }
    match view.state {
        DeploymentState::Queued => all.push(("abort", "Withdraw", false)),
        DeploymentState::Replacing | DeploymentState::Stepping | DeploymentState::Keeping => {
            all.push(("abort", "Abort and go back", false));
        }
        _ => {}
    }
    let command = |word: &str| {
        let (word, more) = if word == "full" { ("promote", " --full") } else { (word, "") };
        format!("ark {word} {} -e {}{more}", view.app, view.env)
    };
    let wish = |(word, button, first)| Wish { word, button, first, command: command(word) };
    all.into_iter().map(wish).collect()
}

fn progress(visit: &Visit, view: &DeploymentView) -> Vec<(String, String)> {
    let Some(progress) = &view.progress else { return Vec::new() };
    let side = |side: &SideProgress| {
        let mut parts = vec![format!("{} serving", side.active)];
        let rest = [
            (side.starting, "starting".to_owned()),
            (side.draining, draining(visit, side)),
            (side.stopping, "stopping".to_owned()),
        ];
        parts.extend(rest.into_iter().filter(|(n, _)| *n > 0).map(|(n, w)| format!("{n} {w}")));
        parts.join(", ")
    };
    vec![
        (format!("{} (new)", view.release), side(&progress.new)),
        (format!("{} (old)", words::release(view.base)), side(&progress.old)),
    ]
}

fn draining(visit: &Visit, side: &SideProgress) -> String {
    let inside = counted(u64::from(side.draining_in_flight), "request");
    match side.draining_since {
        Some(since) => format!("draining ({inside}, {})", words::between(since, visit.now)),
        None => "draining".to_owned(),
    }
}

fn steps(rollout: &RolloutView) -> Vec<Step> {
    let step = |step: &ark_model::api::StepView| Step {
        words: step.words.clone(),
        tone: match step.state {
            StepState::Done => Tone::Good,
            StepState::Current => Tone::Busy,
            StepState::Ahead => Tone::Quiet,
        },
        state: match step.state {
            StepState::Done => "done",
            StepState::Current => "now",
            StepState::Ahead => "ahead",
        },
        approved_by: step.approved_by.clone(),
    };
    rollout.steps.iter().map(step).collect()
}

fn sides(view: &DeploymentView, rollout: &RolloutView) -> Vec<SideLine> {
    let line = |name: String, class, side: &ark_model::api::SideTraffic| SideLine {
        name,
        class,
        requests: count(side.requests),
        success: match side.requests {
            0 => "–".to_owned(),
            all => format!("{:.2} %", 100.0 * (all - side.failed.min(all)) as f64 / all as f64),
        },
        p99: side.p99_ms.map_or_else(|| "–".to_owned(), |ms| format!("{ms:.1} ms")),
    };
    vec![
        line(format!("{} (new)", view.release), "new", &rollout.new),
        line(format!("{} (old)", words::release(view.base)), "old", &rollout.old),
    ]
}

/// What the judge said, newest first: at the steps, and in the watch window.
fn verdicts(visit: &Visit, view: &DeploymentView) -> Vec<VerdictLine> {
    let steps = view.rollout.iter().flat_map(|rollout| &rollout.judgements);
    let watch = view.watch.iter().filter_map(|watch| watch.judgement.as_ref());
    let all = steps.map(|step| &step.judgement).chain(watch);
    let mut lines: Vec<VerdictLine> = all.map(|judgement| verdict(visit, judgement)).collect();
    lines.reverse();
    lines
}

fn verdict(visit: &Visit, judgement: &Judgement) -> VerdictLine {
    let (tone, verdict) = match judgement.verdict {
        Verdict::Pass => (Tone::Good, "pass: nothing that is worth stopping for"),
        Verdict::Fail => (Tone::Bad, "fail: the new side is worse"),
        Verdict::Inconclusive => (Tone::Busy, "inconclusive: too little was seen to say"),
    };
    let (new, old) = (&judgement.new, &judgement.old);
    VerdictLine {
        tone,
        verdict,
        when: When::ago(judgement.at, visit.now),
        reasons: judgement.reasons().into_iter().map(str::to_owned).collect(),
        seen: format!(
            "{} of {} against {} of {}",
            counted(new.requests, "request"),
            new.release,
            count(old.requests),
            old.release
        ),
    }
}

/// Rows of the receipt: all, new side, old side.
fn receipt(receipt: &ark_model::Receipt) -> Vec<(&'static str, [String; 3])> {
    let row =
        |of: fn(&Side) -> u64| [&receipt.total, &receipt.new, &receipt.old].map(of).map(count);
    let stall = [&receipt.total, &receipt.new, &receipt.old];
    vec![
        ("served", row(|side| side.served)),
        ("failed", row(|side| side.failed)),
        ("cut", row(|side| side.cut)),
        ("retried", row(|side| side.retried)),
        ("given up by the client", row(|side| side.client_gone)),
        ("longest stall", stall.map(|side| length(side.longest_stall_ms))),
    ]
}

fn watch_words(visit: &Visit, watch: &ark_model::api::WatchView) -> String {
    match watch.end {
        None => format!(
            "{} is watched for {} more; a bad judgement leads back to {}",
            watch.release,
            words::between(visit.now, watch.until),
            words::release(watch.base)
        ),
        Some(end) => {
            let time = words::between(watch.since, watch.until);
            format!("{} was watched for {time}: {}", watch.release, watch_end(end))
        }
    }
}

fn watch_end(end: WatchEnd) -> &'static str {
    match end {
        WatchEnd::Completed => "nothing bad was found; it is known good",
        WatchEnd::RolledBack => "found bad and rolled back",
        WatchEnd::FoundBad => "found bad, and there is no better release to go back to",
        WatchEnd::CutShort => "cut short by a newer deployment or a stop",
    }
}

/// What was measured while it ran; nothing when there was no request.
async fn history(visit: &Visit, view: &DeploymentView) -> Result<Option<TrafficHistory>, Fault> {
    let found: Option<TrafficHistory> =
        visit.find(&format!("/v1/deployments/{}/traffic", view.id)).await?;
    Ok(found.filter(|history| history.slices.iter().any(|slice| !slice.sides.is_empty())))
}

/// The share of the requests that the new side took, as measured, and both sides' failures and
/// latency.
fn charts(view: &DeploymentView, history: Option<&TrafficHistory>) -> Vec<Chart> {
    let Some(history) = history else { return Vec::new() };
    let new = Some(view.release);
    let requests = |slice: &ark_model::api::TrafficSlice, of_new: bool| -> u64 {
        let sides = slice.sides.iter().filter(|side| side.release.is_some());
        let sides = sides.filter(|side| (side.release == new) == of_new);
        sides.map(|side| side.served + side.failed).sum()
    };
    let share = history.slices.iter().map(|slice| {
        let (new, old) = (requests(slice, true), requests(slice, false));
        (new + old > 0).then(|| 100.0 * new as f64 / (new + old) as f64)
    });
    let names = [view.release.to_string(), words::release(view.base)];
    let by_side = |of: &dyn Fn(&ark_model::api::SideSlice) -> Option<f64>| -> Vec<Line> {
        let sides = [(new, "new"), (view.base, "old")].into_iter().zip(names.iter());
        let known = sides.filter(|((release, _), _)| release.is_some());
        known
            .map(|((release, class), name)| Line {
                name: name.clone(),
                class,
                values: history
                    .slices
                    .iter()
                    .map(|s| s.sides.iter().find(|side| side.release == release).and_then(of))
                    .collect(),
            })
            .collect()
    };
    let chart = |title: String, unit, lines, top_at_least| Chart {
        title,
        unit,
        slice_s: history.slice_s,
        end: if view.finished_at.is_some() { "end" } else { "now" },
        lines,
        top_at_least,
    };
    let share = Line { name: names[0].clone(), class: "new", values: share.collect() };
    let failed = |side: &ark_model::api::SideSlice| {
        let all = side.served + side.failed;
        (all > 0).then(|| 100.0 * side.failed as f64 / all as f64)
    };
    vec![
        chart(format!("Requests on {}", names[0]), "percent, measured", vec![share], 100.0),
        chart("Failed".to_owned(), "percent of each side", by_side(&failed), 1.0),
        chart("Latency p99".to_owned(), "milliseconds", by_side(&|side| side.p99_ms), 1.0),
    ]
}

#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    reason: String,
}

async fn say(
    visit: Visit,
    Path((id, wish)): Path<(String, String)>,
    Form(form): Form<Said>,
) -> Answer {
    let id = checked(&id)?;
    let reason = Some(form.reason.trim().to_owned()).filter(|reason| !reason.is_empty());
    let at = |word: &str| format!("/v1/deployments/{id}/{word}");
    let _: Value = match wish.as_str() {
        "promote" | "full" => {
            let request = PromoteRequest { full: wish == "full", reason };
            visit.post(&at("promote"), &request).await?
        }
        "pause" | "resume" | "approve" => visit.post(&at(&wish), &WishRequest { reason }).await?,
        "abort" => visit.post(&at("abort"), &AbortRequest { reason }).await?,
        _ => {
            let code = ark_model::api::ProblemCode::NothingToSay;
            return Err(Fault::new(code, "a deployment cannot be told that"));
        }
    };
    see(&format!("/d/{id}"))
}
