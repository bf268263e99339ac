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
use crate::shell::Shell;
use crate::visit::{Answer, Visit};
use crate::words::{Tone, When, counted, part};

/// Hooks whose last push is shown in the list.
const HOOKS_LOOKED_AT: usize = 20;
/// Lines of each list on the page.
const LINES_MAX: usize = 100;

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
    more_hooks: usize,
    more_tokens: usize,
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
    let mut tokens: Vec<TokenView> = Vec::new();
    if shell.may_administer {
        tokens = visit.get::<Page<TokenView>>("/v1/tokens?limit=500").await?.items;
        tokens.retain(|token| token.revoked_at.is_none());
    }
    let more_hooks = hooks.items.len().saturating_sub(LINES_MAX);
    visit.page(&ServerPage {
        gateway: gateway(&visit, &info),
        facts: facts(&info),
        since: When::ago(info.started_at, visit.now),
        hosts: hosts.items.iter().map(|host| host_line(&visit, host, hosts.items.len())).collect(),
        registries: registries
            .items
            .into_iter()
            .take(LINES_MAX)
            .map(|one| registry_line(&visit, one))
            .collect(),
        hooks: hook_lines(&visit, hooks.items).await?,
        more_hooks,
        more_tokens: tokens.len().saturating_sub(LINES_MAX),
        tokens: tokens.into_iter().take(LINES_MAX).map(|one| token_line(&visit, one)).collect(),
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
    facts
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
        why: host.silent.clone().unwrap_or_default(),
        instances: crate::words::count(host.instances),
        address: match host.name.is_local() {
            true => "Ark's own".to_owned(),
            false => host.address.clone().unwrap_or_else(dash),
        },
        reach: host.reach.map(|ip| ip.to_string()).unwrap_or_default(),
        changed: host
            .changed_at
            .map(|at| (When::ago(at, visit.now), host.changed_by.clone().unwrap_or_default())),
        // The only one has nowhere to move anything to.
        wish: (host.draining || hosts > 1).then_some(HostWish { word, button, command }),
        name: host.name.to_string(),
    }
}

fn registry_line(visit: &Visit, one: RegistryView) -> RegistryLine {
    RegistryLine {
        image: one.image("NAME"),
        user: one.user.unwrap_or_else(|| "anybody".to_owned()),
        when: When::ago(one.changed_at, visit.now),
        by: one.changed_by,
        host: one.host,
    }
}

async fn hook_lines(visit: &Visit, hooks: Vec<PushHookView>) -> Result<Vec<HookLine>, Fault> {
    let mut lines = Vec::new();
    for (index, hook) in hooks.into_iter().take(LINES_MAX).enumerate() {
        let mut last = None;
        if index < HOOKS_LOOKED_AT {
            // It may be gone since it was listed.
            let address = format!("/v1/push-hooks/{}/pushes", part(&hook.name));
            let pushes: Option<Page<PushView>> = visit.find(&address).await?;
            last = pushes.and_then(|page| page.items.into_iter().next());
        }
        lines.push(HookLine {
            href: format!("/server/hooks/{}", part(&hook.name)),
            last: last.map(|push| hooks::line(visit, push)),
            when: When::ago(hook.changed_at, visit.now),
            by: hook.changed_by,
            repository: hook.repository,
            branch: hook.branch,
            path: hook.path,
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
        by: token.created_by,
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
    visit.page(&Checks {
        shell,
        words,
        tone,
        checks: checks
            .into_iter()
            .map(|check| {
                let (tone, words) = outcome(check.outcome);
                let remedy = check.remedy.unwrap_or_default();
                CheckLine { name: check.name, tone, words, detail: check.detail, remedy }
            })
            .collect(),
    })
}

fn outcome(outcome: CheckOutcome) -> (Tone, &'static str) {
    match outcome {
        CheckOutcome::Ok => (Tone::Good, "well"),
        CheckOutcome::Warn => (Tone::Busy, "could be better"),
        CheckOutcome::Fail => (Tone::Bad, "does not work"),
    }
}
