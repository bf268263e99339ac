//! Ark itself: the gateway, the hosts of the cluster, registries, push hooks, tokens; and what a look
//! at everything it stands on finds. What is set there is set by the command line, which has the
//! secrets; a host can be told to become empty.

mod hooks;
mod hosts;

use ark_model::api::{
    CheckOutcome, DoctorCheck, DoctorReport, NodeView, Page, PushHookView, PushView, RegistryView,
    ServerInfo, TokenView,
};
use askama::Template;
use axum::Router;
use axum::routing::get;

use super::overview::{GatewayLine, gateway};
use crate::Shared;
use crate::fault::Fault;
use crate::room::{Room, cut, weight, weights};
use crate::shell::Shell;
use crate::visit::{Answer, Visit};
use crate::words::{Tone, When, counted, segment};

/// Hooks whose last push is shown in the list.
const HOOKS_LOOKED_AT: usize = 20;
/// Lines of each list on the page.
const LINES_MAX: usize = 100;
/// Bytes of the page without its lists, of one list at most, and of a line of each without its texts.
const FRAME: usize = 12_000;
const LIST: usize = 30_000;
const HOST: usize = 620;
const REGISTRY: usize = 330;
const HOOK: usize = 560;
const TOKEN: usize = 430;
const CHECK: usize = 150;
/// The longest texts, in bytes.
const WORD: usize = 120;
const TEXT: usize = 600;

pub(crate) fn routes() -> Router<Shared> {
    Router::new()
        .route("/server", get(server))
        .route("/server/checks", get(checks))
        .route("/server/hooks/{hook}", get(hooks::hook))
        .route("/server/hosts/{host}/{wish}", get(hosts::ask).post(hosts::tell))
}

#[derive(Template)]
#[template(path = "server.html")]
struct ServerPage {
    shell: Shell,
    gateway: GatewayLine,
    facts: Vec<(&'static str, String)>,
    since: When,
    hosts: Vec<HostLine>,
    registries: Vec<RegistryLine>,
    hooks: Vec<HookLine>,
    tokens: Vec<TokenLine>,
    /// Lines that the page has no room for.
    more_hosts: usize,
    more_registries: usize,
    more_hooks: usize,
    more_tokens: usize,
    /// Whether there are tokens that were not even asked for.
    more_than_asked: bool,
}

struct HostLine {
    name: String,
    tone: Tone,
    state: &'static str,
    why: String,
    instances: String,
    address: String,
    reach: String,
    changed: Option<(When, String)>,
    wish: Option<HostWish>,
}

/// What a host can be told.
struct HostWish {
    /// The word in the address.
    word: &'static str,
    button: &'static str,
    command: String,
}

struct RegistryLine {
    host: String,
    user: String,
    /// What an image that is built is called there.
    image: Option<String>,
    when: When,
    by: String,
}

struct HookLine {
    name: String,
    href: String,
    repository: String,
    branch: String,
    path: String,
    last: Option<PushLine>,
    by: String,
    when: When,
}

/// What a push came to.
struct PushLine {
    commit: String,
    tone: Tone,
    words: String,
    when: When,
    took: String,
    delivery: String,
    log: String,
}

struct TokenLine {
    name: String,
    role: &'static str,
    kind: &'static str,
    used: Option<When>,
    when: When,
    by: String,
}

async fn server(visit: Visit) -> Answer {
    let info: ServerInfo = visit.get("/v1/server").await?;
    let hosts: Page<NodeView> = visit.get("/v1/nodes").await?;
    let registries: Page<RegistryView> = visit.get("/v1/registries").await?;
    let hooks: Page<PushHookView> = visit.get("/v1/push-hooks").await?;
    let shell = visit.shell("Server", "/server").live("").command("ark doctor; ark node list");
    let (mut tokens, mut more_than_asked): (Vec<TokenView>, _) = (Vec::new(), false);
    if shell.may_administer {
        let found: Page<TokenView> = visit.get("/v1/tokens?limit=500").await?;
        (tokens, more_than_asked) = (found.items, found.next.is_some());
        tokens.retain(|token| token.revoked_at.is_none());
    }
    let mut room = Room::beside(FRAME);
    let all = hosts.items.len();
    // Those that somebody must look at come first; the order by name is kept within both.
    let mut by_need: Vec<&NodeView> = hosts.items.iter().collect();
    if all > LINES_MAX {
        by_need.sort_by_key(|host| host.silent.is_none());
    }
    let lines = by_need.into_iter().take(LINES_MAX).map(|host| host_line(&visit, host, all));
    let (shown_hosts, _) = room.part(LIST).fit(lines, HostLine::bytes);
    let more_hosts = all - shown_hosts.len();
    let all_registries = registries.items.len();
    let lines = registries.items.into_iter().take(LINES_MAX).map(|one| registry_line(&visit, one));
    let (registries, _) = room.part(LIST).fit(lines, RegistryLine::bytes);
    let all_hooks = hooks.items.len();
    let lines = hook_lines(&visit, hooks.items).await?;
    let (hooks, _) = room.part(LIST).fit(lines, HookLine::bytes);
    let all_tokens = tokens.len();
    let lines = tokens.into_iter().take(LINES_MAX).map(|one| token_line(&visit, one));
    let (tokens, _) = room.fit(lines, TokenLine::bytes);
    visit.page(&ServerPage {
        gateway: gateway(&visit, &info),
        facts: facts(&info),
        since: When::ago(info.started_at, visit.now),
        hosts: shown_hosts,
        more_hosts,
        more_registries: all_registries - registries.len(),
        registries,
        more_hooks: all_hooks - hooks.len(),
        hooks,
        more_tokens: all_tokens - tokens.len(),
        tokens,
        more_than_asked,
        shell,
    })
}

fn facts(info: &ServerInfo) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("version", info.version.clone()),
        ("API", info.api.clone()),
        ("apps are served at", info.http.join(", ")),
        ("engine", info.engine.kind.clone()),
    ];
    let capability = |enforced: bool| {
        let all = info.engine.capabilities.iter().filter(|one| one.enforced == enforced);
        all.map(|one| one.name.clone()).collect::<Vec<_>>().join(", ")
    };
    facts.push(("it holds apps to", capability(true)));
    facts.push(("and not to", capability(false)));
    facts.push(("data", info.data_dir.clone()));
    facts.retain(|(_, value)| !value.is_empty());
    facts.into_iter().map(|(name, value)| (name, cut(&value, TEXT))).collect()
}

impl HostLine {
    fn bytes(&self) -> usize {
        let by = self.changed.as_ref().map_or(0, |(_, by)| weight(by));
        let wish = self.wish.as_ref().map_or(0, |wish| wish.command.len() + 2 * self.name.len());
        HOST + weights([&*self.name, &*self.why, &*self.address, &*self.reach]) + by + wish
    }
}

impl RegistryLine {
    fn bytes(&self) -> usize {
        let image = self.image.as_deref().map_or(0, weight);
        REGISTRY + weights([&*self.host, &*self.user, &*self.by]) + image
    }
}

impl HookLine {
    fn bytes(&self) -> usize {
        let texts = [&*self.name, &*self.repository, &*self.branch, &*self.path, &*self.by];
        let last = self.last.as_ref().map_or(0, |push| weight(&push.commit) + weight(&push.words));
        HOOK + weights(texts) + 2 * self.href.len() + last
    }
}

impl TokenLine {
    fn bytes(&self) -> usize {
        TOKEN + weight(&self.name) + weight(&self.by)
    }
}

fn host_line(visit: &Visit, host: &NodeView, hosts: usize) -> HostLine {
    let (tone, state) = match (&host.silent, host.draining) {
        (Some(_), _) => (Tone::Bad, "does not answer"),
        (None, true) if host.instances == 0 => (Tone::Quiet, "empty"),
        (None, true) => (Tone::Busy, "is being emptied"),
        (None, false) => (Tone::Good, "answers"),
    };
    let (word, button) = match host.draining {
        true => ("use", "Use it again…"),
        false => ("drain", "Drain…"),
    };
    let command = hosts::command(&host.name, host.draining);
    let dash = || "–".to_owned();
    HostLine {
        tone,
        state,
        why: cut(host.silent.as_deref().unwrap_or_default(), 2 * WORD),
        instances: crate::words::count(host.instances),
        address: match host.name.is_local() {
            true => "Ark's own".to_owned(),
            false => host.address.as_ref().map_or_else(dash, |address| cut(address, WORD)),
        },
        reach: host.reach.map(|ip| ip.to_string()).unwrap_or_default(),
        changed: host.changed_at.map(|at| {
            (When::ago(at, visit.now), cut(host.changed_by.as_deref().unwrap_or_default(), WORD))
        }),
        // The only one has nowhere to move anything to.
        wish: (host.draining || hosts > 1).then_some(HostWish { word, button, command }),
        name: host.name.to_string(),
    }
}

fn registry_line(visit: &Visit, one: RegistryView) -> RegistryLine {
    RegistryLine {
        image: one.image("NAME").map(|image| cut(&image, 2 * WORD)),
        user: one.user.map_or_else(|| "anybody".to_owned(), |user| cut(&user, WORD)),
        when: When::ago(one.changed_at, visit.now),
        by: cut(&one.changed_by, WORD),
        host: cut(&one.host, 2 * WORD),
    }
}

async fn hook_lines(visit: &Visit, hooks: Vec<PushHookView>) -> Result<Vec<HookLine>, Fault> {
    let mut lines = Vec::new();
    for (index, hook) in hooks.into_iter().take(LINES_MAX).enumerate() {
        let mut last = None;
        if index < HOOKS_LOOKED_AT {
            // It may be gone since it was listed.
            let address = format!("/v1/push-hooks/{}/pushes", segment(&hook.name));
            let pushes: Option<Page<PushView>> = visit.find(&address).await?;
            last = pushes.and_then(|page| page.items.into_iter().next());
        }
        lines.push(HookLine {
            href: format!("/server/hooks/{}", segment(&hook.name)),
            last: last.map(|push| hooks::line(visit, &push)),
            when: When::ago(hook.changed_at, visit.now),
            by: cut(&hook.changed_by, WORD),
            repository: cut(&hook.repository, 2 * WORD),
            branch: cut(&hook.branch, WORD),
            path: cut(&hook.path, 2 * WORD),
            name: hook.name,
        });
    }
    Ok(lines)
}

fn token_line(visit: &Visit, token: TokenView) -> TokenLine {
    TokenLine {
        role: token.role.as_str(),
        kind: match token.access_key_id {
            Some(_) => "access key",
            None => "token",
        },
        used: token.last_used_at.map(|at| When::ago(at, visit.now)),
        when: When::ago(token.created_at, visit.now),
        by: cut(&token.created_by, WORD),
        name: token.name,
    }
}

#[derive(Template)]
#[template(path = "checks.html")]
struct Checks {
    shell: Shell,
    words: String,
    tone: Tone,
    checks: Vec<CheckLine>,
    hidden: usize,
}

struct CheckLine {
    name: String,
    tone: Tone,
    words: &'static str,
    detail: String,
    remedy: String,
}

/// Looks at everything: not followed live, because looking costs something.
async fn checks(visit: Visit) -> Answer {
    let report: DoctorReport = visit.get("/v1/doctor").await?;
    let shell = visit
        .shell("What is well and what is not", "/server")
        .crumb("/server", "Server")
        .command("ark doctor");
    let bad = report.checks.iter().filter(|check| check.outcome != CheckOutcome::Ok).count();
    let words = match bad {
        0 => "Everything is as it should be".to_owned(),
        some => format!("{} to look at", counted(some as u64, "thing")),
    };
    let (tone, _) = outcome(report.outcome);
    let mut checks: Vec<DoctorCheck> = report.checks;
    // What is worst comes first; the sort keeps the order of the others.
    checks.sort_by_key(|check| std::cmp::Reverse(check.outcome));
    let lines = checks.into_iter().map(|check| {
        let (tone, words) = outcome(check.outcome);
        CheckLine {
            name: cut(&check.name, WORD),
            tone,
            words,
            detail: cut(&check.detail, TEXT),
            remedy: cut(check.remedy.as_deref().unwrap_or_default(), TEXT),
        }
    });
    let bytes = |line: &CheckLine| CHECK + weights([&*line.name, &*line.detail, &*line.remedy]);
    let (checks, hidden) = Room::beside(FRAME).fit(lines, bytes);
    visit.page(&Checks { shell, words, tone, checks, hidden })
}

fn outcome(outcome: CheckOutcome) -> (Tone, &'static str) {
    match outcome {
        CheckOutcome::Ok => (Tone::Good, "well"),
        CheckOutcome::Warn => (Tone::Busy, "could be better"),
        CheckOutcome::Fail => (Tone::Bad, "does not work"),
    }
}
