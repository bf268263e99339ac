//! One deployment: where it stands, its steps, both sides side by side, what the judge said, what it
//! did to traffic, why it failed; and what it can be told.

mod charts;
mod wishes;

use ark_model::api::{AppDetail, DeploymentView, Page, RolloutView, SideProgress, StepState};
use ark_model::event::Event;
use ark_model::hook::{HookRun, HookState};
use ark_model::judgement::{Judgement, Verdict};
use ark_model::receipt::Side;
use ark_model::rollout::WatchEnd;
use ark_model::{DeploymentState, Diagnosis};
use askama::Template;
use axum::Router;
use axum::extract::Path;
use axum::routing::{get, post};

use super::events::{self, EventLine};
use super::overview::asked;
use crate::Shared;
use crate::chart::{self, Chart};
use crate::fault::Fault;
use crate::room::{Room, cut, weight};
use crate::shell::Shell;
use crate::visit::{Answer, Visit};
use crate::words::{self, Tone, When, count, counted, length};
use charts::{charts, history};
use wishes::{Wish, say, wishes};

const EVENTS: usize = 40;
/// Bytes of the page without its lists, and of one list at most.
const FRAME: usize = 12_000;
const LOG: usize = 9_000;
const FAILURES: usize = 14_000;
const HOOKS: usize = 12_000;
const VERDICTS: usize = 10_000;
const STEPS: usize = 9_000;
const NOTES: usize = 6_000;
const CHANGED: usize = 4_000;
/// Of a line of each without its texts.
const FAILURE_LINE: usize = 110;
const HOOK_LINE: usize = 160;
const VERDICT_LINE: usize = 330;
const STEP_LINE: usize = 130;
const NOTE_LINE: usize = 40;
/// The longest texts, in bytes.
const SAID: usize = 600;
const LOG_LINE: usize = 600;
const WORD: usize = 100;
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
    /// On which it was asked for: lines without a date are of it.
    day: String,
    terminal: bool,
    facts: Vec<(&'static str, String)>,
    times: Vec<(&'static str, When)>,
    /// What is asked, and since when.
    asks: Option<(&'static str, When)>,
    paused: Option<String>,
    wishes: Vec<Wish>,
    /// The step it is at: what a button says is said to that one.
    step: Option<u32>,
    /// The release to go back to, once this one is live and its deployment is over.
    back: Option<String>,
    diagnosis: Option<Why>,
    failures: Vec<Why>,
    more_failures: usize,
    abort: Option<String>,
    /// The name of a side, what its instances do, and since when some drain.
    progress: Vec<(String, String, Option<When>)>,
    steps: Vec<Step>,
    more_steps: usize,
    share: Option<(u8, bool)>,
    sides: Vec<SideLine>,
    verdicts: Vec<VerdictLine>,
    hooks: Vec<HookLine>,
    more_hooks: usize,
    receipt: Vec<(&'static str, [String; 3])>,
    notes: Vec<String>,
    /// The watch window: what is said before its end, the end, what is said of it.
    watch: Option<(String, When, String)>,
    charts: Vec<Chart>,
    /// Why there are none.
    unmeasured: &'static str,
    events: Vec<EventLine>,
    changed: Vec<String>,
    more_changed: usize,
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
    let charts = charts(&view, history.as_ref());
    let unmeasured = match (&history, view.started_at, view.finished_at) {
        (Some(history), ..) if !history.slices.is_empty() => {
            "No request was measured while it ran."
        }
        (_, Some(_), Some(_)) => "What was measured while it ran was not kept.",
        _ => "No request was measured yet.",
    };
    let mut room = Room::beside(FRAME + chart::bytes(&charts));
    let diagnosis = view.diagnosis.as_ref().map(|end| why(end, &mut room.part(LOG)));
    let mut of_failures = room.part(FAILURES);
    // What ended it is shown; other failures are shown while it goes on, or beside it. The newest say
    // most.
    let others = view.failures.iter().rev().filter(|one| Some(*one) != view.diagnosis.as_ref());
    let half = FAILURES / 2;
    let others = others.map(|one| why(one, &mut Room::bytes(half)));
    let (failures, more_failures) = of_failures.fit(others, Why::bytes);
    let hooks = view.hooks.iter().map(|run| hook(&visit, run));
    let (hooks, more_hooks) = room.part(HOOKS).fit(hooks, HookLine::bytes);
    let steps = rollout.map(steps).unwrap_or_default();
    let (steps, more_steps) = room.part(STEPS).fit(steps, Step::bytes);
    let notes = view.notes.iter().map(|note| cut(note, SAID));
    let (notes, _) = room.part(NOTES).fit(notes, |note| NOTE_LINE + weight(note));
    let names = view.config_changed.iter().cloned();
    let (changed, more_changed) = room.part(CHANGED).fit(names, |name| NOTE_LINE + weight(name));
    let (verdicts, _) = room.part(VERDICTS).fit(verdicts(&visit, &view), VerdictLine::bytes);
    let happened = happened.items.iter();
    let happened = happened.map(|event| EventLine { about: None, ..events::line(&visit, event) });
    let (happened, _) = room.fit(happened, EventLine::bytes);
    visit.page(&DeploymentPage {
        id: view.id.to_string(),
        what: words::what(view.kind, view.release),
        from: words::release(view.base),
        to: view.release.to_string(),
        tone: words::deployment_tone(view.state),
        state: words::deployment_state(view.state),
        strategy: view.strategy.as_str(),
        day: view.created_at.strftime("%-d %b %Y").to_string(),
        terminal: view.state.is_terminal(),
        facts: facts(&view),
        times: times(&visit, &view),
        asks: rollout
            .and_then(|rollout| rollout.asks.as_ref())
            .map(|asks| (asked(asks.what), When::since(asks.since, visit.now))),
        paused: rollout.and_then(|rollout| rollout.paused.as_ref()).map(|said| {
            let why = said.reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
            cut(&format!("paused by {}{why}", said.by), SAID)
        }),
        wishes: if may { wishes(&view) } else { Vec::new() },
        step: rollout.map(|rollout| rollout.step),
        back: back.filter(|_| may),
        diagnosis,
        failures,
        more_failures,
        abort: view.abort.as_ref().map(|abort| {
            let why = abort.reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
            cut(&format!("its end was asked for by {}{why}", abort.by), SAID)
        }),
        progress: progress(&visit, &view),
        steps,
        more_steps,
        share: rollout
            .filter(|_| !view.state.is_terminal())
            .map(|rollout| (rollout.percent, rollout.in_force)),
        sides: rollout.map(|rollout| sides(&view, rollout)).unwrap_or_default(),
        verdicts,
        hooks,
        more_hooks,
        receipt: view.receipt.as_ref().map(receipt).unwrap_or_default(),
        notes,
        watch: view.watch.as_ref().map(|watch| watch_words(&visit, watch)),
        charts,
        unmeasured,
        events: happened,
        changed,
        more_changed,
        shell,
        env: env.to_string(),
        app: app.to_string(),
    })
}

/// Where a rollback leads, while what was deployed is what is live.
async fn back(visit: &Visit, view: &DeploymentView) -> Result<Option<String>, Fault> {
    if view.state != DeploymentState::Succeeded {
        return Ok(None);
    }
    let address = format!("/v1/environments/{}/apps/{}", view.env, view.app);
    let app: Option<AppDetail> = visit.find(&address).await?;
    let app = app.filter(|app| app.row.live == Some(view.release));
    Ok(app.and_then(|app| app.rollback_to).map(|to| to.0.to_string()))
}

fn facts(view: &DeploymentView) -> Vec<(&'static str, String)> {
    let text = |text: &String| cut(text, SAID);
    let mut facts = vec![("asked for by", text(&view.created_by))];
    facts.extend(view.reason.as_ref().map(|reason| ("why", cut(reason, 5 * SAID))));
    facts.extend(view.commit.as_ref().map(|commit| ("commit", text(commit))));
    facts.extend(view.artifact.as_ref().map(|artifact| ("artifact", text(artifact))));
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

/// A failure with the last of its lines that there is room for.
fn why(diagnosis: &Diagnosis, room: &mut Room) -> Why {
    Why { words: cut(&diagnosis.words(), SAID), log: newest(diagnosis.log(), room) }
}

/// The last lines of a log that there is room for.
fn newest(log: &[String], room: &mut Room) -> Vec<String> {
    let lines = log.iter().rev().map(|line| cut(line, LOG_LINE));
    let (mut lines, _) = room.fit(lines, |line| 1 + weight(line));
    lines.reverse();
    lines
}

impl Why {
    fn bytes(&self) -> usize {
        FAILURE_LINE + weight(&self.words) + lines(&self.log)
    }
}

impl HookLine {
    fn bytes(&self) -> usize {
        HOOK_LINE + weight(&self.words) + weight(&self.state) + lines(&self.log)
    }
}

impl Step {
    fn bytes(&self) -> usize {
        STEP_LINE + weight(&self.words) + self.approved_by.as_deref().map_or(0, weight)
    }
}

impl VerdictLine {
    fn bytes(&self) -> usize {
        let reasons = self.reasons.iter().map(|reason| NOTE_LINE + weight(reason));
        VERDICT_LINE + reasons.sum::<usize>()
    }
}

fn lines(log: &[String]) -> usize {
    log.iter().map(|line| 1 + weight(line)).sum()
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
    parts.extend(run.note.as_ref().map(|note| cut(note, SAID)));
    let log = newest(&run.log, &mut Room::bytes(HOOKS / 3));
    HookLine { words: cut(&run.words(), SAID), tone, state: parts.join(", "), log }
}

fn progress(visit: &Visit, view: &DeploymentView) -> Vec<(String, String, Option<When>)> {
    let Some(progress) = &view.progress else { return Vec::new() };
    let side = |side: &SideProgress| {
        let mut parts = vec![format!("{} serving", side.active)];
        let rest = [
            (side.starting, "starting".to_owned()),
            (side.draining, draining(side)),
            (side.stopping, "stopping".to_owned()),
        ];
        parts.extend(rest.into_iter().filter(|(n, _)| *n > 0).map(|(n, w)| format!("{n} {w}")));
        parts.join(", ")
    };
    let since = |side: &SideProgress| {
        let since = side.draining_since.filter(|_| side.draining > 0);
        since.map(|at| When::since(at, visit.now))
    };
    let (new, old) = (&progress.new, &progress.old);
    vec![
        (format!("{} (new)", view.release), side(new), since(new)),
        (format!("{} (old)", words::release(view.base)), side(old), since(old)),
    ]
}

fn draining(side: &SideProgress) -> String {
    match side.draining_since {
        Some(_) => {
            format!("draining ({})", counted(u64::from(side.draining_in_flight), "request"))
        }
        None => "draining".to_owned(),
    }
}

fn steps(rollout: &RolloutView) -> Vec<Step> {
    let step = |step: &ark_model::api::StepView| Step {
        words: cut(&step.words, SAID),
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
        approved_by: step.approved_by.as_ref().map(|by| cut(by, WORD)),
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
        reasons: judgement.reasons().into_iter().map(|reason| cut(reason, SAID)).collect(),
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

fn watch_words(visit: &Visit, watch: &ark_model::api::WatchView) -> (String, When, String) {
    match watch.end {
        None => (
            format!("{} is watched for", watch.release),
            When::until(watch.until, visit.now),
            format!("more; a bad judgement leads back to {}", words::release(watch.base)),
        ),
        Some(end) => {
            let time = words::between(watch.since, watch.until);
            let said = format!("for {time}: {}", watch_end(end));
            (format!("{} was watched from", watch.release), When::date(watch.since), said)
        }
    }
}

fn watch_end(end: WatchEnd) -> &'static str {
    match end {
        WatchEnd::Completed => "nothing bad was found; it is known good",
        WatchEnd::RolledBack => "found bad and rolled back",
        WatchEnd::FoundBad => "found bad, and there is no better release to go back to",
        WatchEnd::Unjudged => "too much of what was measured is missing; it is not known good",
        WatchEnd::CutShort => "cut short by a newer deployment or a stop",
    }
}
