//! A push hook: what it was told, and what came of it.

use ark_model::api::{Page, ProblemCode, PushHookView, PushState, PushView};
use askama::Template;
use axum::extract::Path;

use super::{FRAME, PushLine, TEXT, WORD};
use crate::fault::Fault;
use crate::room::{Room, cut, weights};
use crate::shell::Shell;
use crate::visit::{Answer, Visit};
use crate::words::{self, Tone, When, segment};

/// Characters of a commit that are shown.
const COMMIT_CHARS: usize = 12;
/// Bytes of a push without its texts.
const PUSH: usize = 380;

#[derive(Template)]
#[template(path = "hook.html")]
struct HookPage {
    shell: Shell,
    hook: PushHookView,
    changed: When,
    pushes: Vec<PushLine>,
    hidden: usize,
}

pub(super) async fn hook(visit: Visit, Path(name): Path<String>) -> Answer {
    let all: Page<PushHookView> = visit.get("/v1/push-hooks").await?;
    let hook = all.items.into_iter().find(|hook| hook.name == name).ok_or_else(|| {
        Fault::new(ProblemCode::NoSuchOperation, "there is no push hook of that name")
    })?;
    let address = format!("/v1/push-hooks/{}/pushes", segment(&name));
    let pushes: Page<PushView> = visit.get(&address).await?;
    let shell = visit
        .shell(format!("Push hook {name}"), "/server")
        .crumb("/server", "Server")
        .live("")
        .command(format!("ark hook pushes {}", words::operand(&name)));
    let lines = pushes.items.iter().map(|push| line(&visit, push));
    let bytes = |push: &PushLine| {
        PUSH + weights([&*push.commit, &*push.words, &*push.delivery, &*push.log])
    };
    let (pushes, hidden) = Room::beside(FRAME).fit(lines, bytes);
    visit.page(&HookPage {
        shell,
        changed: When::ago(hook.changed_at, visit.now),
        hook,
        pushes,
        hidden,
    })
}

/// One push, in the list of hooks too.
pub(super) fn line(visit: &Visit, push: &PushView) -> PushLine {
    let (tone, words) = match push.state {
        PushState::Queued => (Tone::Busy, "waits".to_owned()),
        PushState::Running => (Tone::Busy, "is built and deployed".to_owned()),
        PushState::Ended { exit_code: Some(0) } => (Tone::Good, "deployed".to_owned()),
        PushState::Ended { exit_code: Some(code) } => (Tone::Bad, format!("failed: exit {code}")),
        PushState::Ended { exit_code: None } => (Tone::Bad, "was ended".to_owned()),
        PushState::Superseded => (Tone::Quiet, "a newer one came".to_owned()),
    };
    PushLine {
        commit: push.commit.chars().take(COMMIT_CHARS).collect(),
        tone,
        words,
        when: When::ago(push.received_at, visit.now),
        took: push.ended_at.map(|at| words::between(push.received_at, at)).unwrap_or_default(),
        delivery: cut(&push.delivery, WORD),
        log: cut(&push.log, TEXT),
    }
}
