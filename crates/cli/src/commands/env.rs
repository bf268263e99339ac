//! `ark env`: environments.

use std::str::FromStr;
use std::time::Duration;

use ark_model::api::{
    DependenciesView, DependencyView, EnvironmentCreate, EnvironmentView, FreezePut, LeasePut,
};
use ark_model::definition::{DurationText, DurationTextError};
use ark_model::environment::{EnvKind, EnvState};
use ark_model::exit::ExitCode;
use ark_model::freeze::FreezeEffect;
use ark_model::{AppName, EnvName};
use clap::{Subcommand, ValueEnum};
use jiff::Timestamp;
use tokio::time::{Instant, sleep};

use crate::cli::block_on;
use crate::client::is_passing;
use crate::confirm::confirm;
use crate::context::{Asking, Context};
use crate::failure::{Ended, Exit, Failure};
use crate::output::numbers::{count, counted};
use crate::output::table::Table;
use crate::output::times::{ago, between_ms, exact, length};
use crate::output::{Output, Shown, Style};
use crate::settings::Settings;

/// How long `destroy` waits for the end; the server goes on afterwards.
const DESTROY_DEADLINE: Duration = Duration::from_secs(600);
/// The most dependencies that are shown at once: declared ones, and the 20,000 calls that are kept.
const NEEDS_MAX: i64 = 50_000;
/// How often it looks.
const LOOK: Duration = Duration::from_millis(300);

/// What `env` takes.
#[derive(Debug, clap::Args)]
#[command(
    before_help = "Examples:\n  ark env list\n  ark env use staging\n  ark env destroy eng1-env",
    after_help = "An environment is made by the first deployment to it; `production` is permanent, others are\nfor development unless made with --kind permanent."
)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make an environment
    #[command(
        before_help = "Examples:\n  ark env create staging --kind permanent\n  ark env create eng1-env\n  ark env create eng1-env --lease 8h"
    )]
    Create {
        /// Name
        name: EnvName,
        /// permanent or development [default: development, but production is permanent]
        #[arg(long)]
        kind: Option<Kind>,
        /// Destroy it after this time, unless the lease is renewed: 90m, 8h, 14d
        #[arg(long, value_name = "DURATION")]
        lease: Option<DurationText>,
        #[command(flatten)]
        common: Asking,
    },
    /// List environments
    #[command(before_help = "Examples:\n  ark env list\n  ark env list --json")]
    List {
        #[command(flatten)]
        common: Asking,
    },
    /// Show which apps need which: as they declare it, and as calls were seen
    #[command(
        before_help = "Examples:\n  ark env dependencies staging\n  ark env dependencies staging --limit 2000 --json",
        after_help = "Declared is what `dependencies` of the live release says; seen are calls through discovery ports\nwithin the last week."
    )]
    Dependencies {
        /// Name
        name: EnvName,
        /// At most so many
        #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=NEEDS_MAX))]
        limit: u32,
        #[command(flatten)]
        common: Asking,
    },
    /// Stop everything in an environment and remove it
    #[command(
        before_help = "Examples:\n  ark env destroy eng1-env\n  ark env destroy eng1-env --yes --detach"
    )]
    Destroy {
        /// Name
        name: EnvName,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
        /// Return as soon as the server has accepted it
        #[arg(long)]
        detach: bool,
        #[command(flatten)]
        common: Asking,
    },
    /// Show, give, renew or lift the lease of a development environment
    #[command(
        before_help = "Examples:\n  ark env lease eng1-env\n  ark env lease eng1-env 8h\n  ark env lease eng1-env none",
        after_help = "When a lease runs out, the environment is destroyed with everything in it. An event warns an hour\nbefore, or when three quarters of a shorter lease have passed. Nothing has a lease unless it was\nasked for, and what is permanent can have none."
    )]
    Lease {
        /// Environment
        name: EnvName,
        /// How long from now on: 90m, 8h, 14d; `none` keeps it until somebody destroys it
        lease: Option<LeaseTerm>,
        #[command(flatten)]
        common: Asking,
    },
    /// Show, make or remove times at which an environment takes no deployments
    #[command(
        before_help = "Examples:\n  ark env freeze production\n  ark env freeze production weekend --cron \"0 17 * * FRI\" --for 64h --zone Europe/Berlin\n  ark env freeze production office --allow --cron \"0 9 * * MON-FRI\" --for 8h --zone Europe/Berlin\n  ark env freeze production weekend --remove",
        after_help = "A window that denies beats one that allows; with windows that allow, deployments begin only\nwhile one of them is open. `ark deploy --override-freeze REASON` begins nevertheless; rollbacks always do."
    )]
    Freeze(Freeze),
    /// Save the default environment of this user
    #[command(before_help = "Examples:\n  ark env use staging")]
    Use {
        /// Name
        name: EnvName,
    },
}

/// What `env freeze` takes.
#[derive(Debug, clap::Args)]
struct Freeze {
    /// Environment
    name: EnvName,
    /// Name of a window; without it all are shown
    window: Option<String>,
    /// Deployments begin only while a window like this is open, instead of never while it is
    #[arg(long, requires = "cron")]
    allow: bool,
    /// When it opens: minute, hour, day, month, day of the week
    #[arg(long, value_name = "CRON", requires = "window", requires = "length")]
    cron: Option<String>,
    /// How long it stays open: 90m, 64h, 14d
    #[arg(long = "for", value_name = "DURATION", id = "length", requires = "cron")]
    length: Option<DurationText>,
    /// Time zone whose clock the cron expression follows
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    zone: String,
    /// Remove it
    #[arg(long, requires = "window", conflicts_with = "cron")]
    remove: bool,
    #[command(flatten)]
    common: Asking,
}

/// What `env lease` sets.
#[derive(Debug, Clone, Copy)]
enum LeaseTerm {
    None,
    For(DurationText),
}

impl FromStr for LeaseTerm {
    type Err = DurationTextError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "none" { Ok(Self::None) } else { text.parse().map(Self::For) }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    Permanent,
    Development,
}

pub(crate) fn shown(args: &Args) -> Shown {
    match &args.action {
        Action::Create { common, .. }
        | Action::List { common }
        | Action::Dependencies { common, .. }
        | Action::Lease { common, .. }
        | Action::Destroy { common, .. }
        | Action::Freeze(Freeze { common, .. }) => common.shown,
        Action::Use { .. } => Shown::default(),
    }
}

pub(crate) fn run(args: Args) -> Ended {
    match args.action {
        Action::Create { name, kind, lease, common } => {
            create(&Context::new(&common)?, name, kind, lease)
        }
        Action::Lease { name, lease, common } => set_lease(&Context::new(&common)?, &name, lease),
        Action::List { common } => list(&Context::new(&common)?),
        Action::Dependencies { name, limit, common } => {
            dependencies(&Context::new(&common)?, &name, limit)
        }
        Action::Destroy { name, yes, detach, common } => {
            let context = &Context::new(&common)?;
            block_on(destroy(context, &name, yes, detach))
        }
        Action::Freeze(args) => freeze(&args),
        Action::Use { name } => use_env(name),
    }
}

fn create(
    context: &Context,
    name: EnvName,
    kind: Option<Kind>,
    lease: Option<DurationText>,
) -> Ended {
    let kind = kind.map(|kind| match kind {
        Kind::Permanent => EnvKind::Permanent,
        Kind::Development => EnvKind::Development,
    });
    block_on(async {
        let lease_seconds = lease.map(|lease| lease.get().as_secs());
        let request = EnvironmentCreate { name, kind, lease_seconds };
        let view = context.client.create_environment(&request).await?;
        let style = context.out.style;
        context.out.one(&view, |view| match &view.lease {
            None => format!("environment {} ({})", view.name, word(view.kind)),
            Some(_) => {
                let ends = lease_words(view, Timestamp::now(), style);
                format!("environment {} ({}); {ends}", view.name, word(view.kind))
            }
        })?;
        Ok(Exit::DONE)
    })
}

fn set_lease(context: &Context, name: &EnvName, lease: Option<LeaseTerm>) -> Ended {
    block_on(async {
        let client = &context.client;
        let view = match lease {
            Some(LeaseTerm::For(length)) => {
                client.put_lease(name, &LeasePut { seconds: length.get().as_secs() }).await?
            }
            Some(LeaseTerm::None) => client.delete_lease(name).await?,
            None => client.environment(name).await?,
        };
        let style = context.out.style;
        context.out.one(&view, |view| {
            format!("{}: {}", view.name, lease_words(view, Timestamp::now(), style))
        })?;
        Ok(Exit::DONE)
    })
}

/// When an environment ends.
pub(super) fn lease_words(view: &EnvironmentView, now: Timestamp, style: Style) -> String {
    match &view.lease {
        _ if view.state == EnvState::Destroying => "it is being destroyed".to_owned(),
        None => "it has no lease and stays until somebody destroys it".to_owned(),
        Some(lease) => {
            let end = match style.utc {
                true => format!("at {}", exact(lease.until)),
                false => format!("in {}", length(between_ms(now, lease.until))),
            };
            format!("it is destroyed {end} unless the lease is renewed (given by {})", lease.by)
        }
    }
}

fn list(context: &Context) -> Ended {
    block_on(async {
        let rows = context.client.environments().await?;
        let style = context.out.style;
        context.out.list(&rows, |rows| render(rows, Timestamp::now(), style))?;
        if rows.is_empty() {
            context
                .out
                .say("no environment yet; the first deployment makes one: ark deploy APP -e ENV");
        }
        Ok(Exit::DONE)
    })
}

fn render(rows: &[EnvironmentView], now: Timestamp, style: Style) -> String {
    let mut table =
        Table::new(["environment", "kind", "state", "instances", "apps", "owner", "age", "lease"]);
    for row in rows {
        table.row([
            row.name.to_string(),
            word(row.kind).to_owned(),
            match row.state {
                EnvState::Active => "active",
                EnvState::Destroying => "being destroyed",
            }
            .to_owned(),
            row.instances.to_string(),
            if row.apps.is_empty() { "–".to_owned() } else { row.apps.join(", ") },
            row.owner.clone(),
            ago(row.created_at, now, style),
            match &row.lease {
                None => "–".to_owned(),
                Some(lease) if style.utc => format!("until {}", exact(lease.until)),
                Some(lease) => format!("{} left", length(between_ms(now, lease.until))),
            },
        ]);
    }
    table.render(style)
}

fn dependencies(context: &Context, name: &EnvName, limit: u32) -> Ended {
    block_on(async {
        let view = context.client.dependencies(name, limit as usize).await?;
        let style = context.out.style;
        context.out.one(&view, |view| render_dependencies(name, view, Timestamp::now(), style))?;
        Ok(Exit::DONE)
    })
}

fn render_dependencies(
    env: &EnvName,
    view: &DependenciesView,
    now: Timestamp,
    style: Style,
) -> String {
    let place = |of: &EnvName, app: &AppName| match of == env {
        true => app.to_string(),
        false => format!("{app} of {of}"),
    };
    let mut lines = Vec::new();
    if view.items.is_empty() {
        lines.push(format!("no app of {env} declares that it needs another, and no call was seen"));
    } else {
        let mut table = Table::new(["app", "needs", "known by", "last seen", "note"]);
        for DependencyView { from_env, from, to_env, to, known, last_seen, note, .. } in &view.items
        {
            table.row([
                place(from_env, from),
                place(to_env, to),
                known.words().to_owned(),
                last_seen.map_or_else(|| "–".to_owned(), |at| ago(at, now, style)),
                note.clone().unwrap_or_default(),
            ]);
        }
        lines.push(table.render(style));
        let shown = view.items.len() as u64;
        if view.next.is_some() {
            let (shown, total) = (count(shown), count(view.total));
            lines.push(format!("these are the first {shown} of {total}: --limit shows more"));
        }
    }
    if let Some(since) = view.since {
        lines.push(style.dim(&format!("calls are looked at since {}", exact(since))));
    }
    if let Some(why) = &view.blind {
        lines.push(format!("calls of apps that are processes cannot be told apart here: {why}"));
    }
    lines.join("\n")
}

fn freeze(args: &Freeze) -> Ended {
    let context = Context::new(&args.common)?;
    let client = &context.client;
    block_on(async {
        let view = match (&args.window, &args.cron, args.length) {
            (Some(window), Some(cron), Some(length)) => {
                let put = FreezePut {
                    effect: if args.allow { FreezeEffect::Allow } else { FreezeEffect::Deny },
                    cron: cron.clone(),
                    seconds: length.get().as_secs(),
                    time_zone: args.zone.clone(),
                };
                client.put_freeze(&args.name, window, &put).await?
            }
            (Some(window), ..) if args.remove => client.delete_freeze(&args.name, window).await?,
            (Some(window), ..) => {
                let mut view = client.environment(&args.name).await?;
                view.freeze.retain(|other| other.name == *window);
                if view.freeze.is_empty() {
                    let text = format!("{} has no freeze window `{window}`", args.name);
                    return Err(Failure::new(ExitCode::NotFound, "freeze-not-found", text)
                        .remedy("those there are", format!("ark env freeze {}", args.name)));
                }
                view
            }
            (None, ..) => client.environment(&args.name).await?,
        };
        let style = context.out.style;
        context.out.one(&view, |view| render_freeze(view, style))?;
        Ok(Exit::DONE)
    })
}

fn render_freeze(view: &EnvironmentView, style: Style) -> String {
    let now = match &view.frozen {
        None => format!("{} takes deployments now", view.name),
        Some(frozen) => {
            let until = match frozen.until {
                Some(until) => format!("until {until}"),
                None => "with no end in sight".to_owned(),
            };
            let cause = match &frozen.window {
                Some(window) => format!("window {window} is open"),
                None => "no window that allows deployments is open".to_owned(),
            };
            format!("{} is frozen {until}: {cause}", view.name)
        }
    };
    if view.freeze.is_empty() {
        return format!("{now}; it has no freeze windows");
    }
    let mut table = Table::new(["window", "effect", "opens", "stays open", "time zone"]);
    for window in &view.freeze {
        let effect = match window.effect {
            FreezeEffect::Deny => "deny",
            FreezeEffect::Allow => "allow",
        };
        table.row([
            window.name.clone(),
            effect.to_owned(),
            window.cron.clone(),
            DurationText::from(window.length()).to_string(),
            window.time_zone.clone(),
        ]);
    }
    format!("{now}\n{}", table.render(style))
}

async fn destroy(context: &Context, name: &EnvName, yes: bool, detach: bool) -> Ended {
    let view = context.client.environment(name).await?;
    let apps = match view.apps.as_slice() {
        [] => "no app".to_owned(),
        apps => format!("{} ({})", counted(apps.len() as u64, "app"), apps.join(", ")),
    };
    let lost = [
        format!("destroying {name} ({}) loses:", word(view.kind)),
        format!("  {apps}, {}", counted(u64::from(view.instances), "instance")),
        "  their releases, configuration, secrets, logs and history".to_owned(),
    ];
    confirm(context.out, yes, &lost, name.as_str())?;
    context.client.destroy_environment(name).await?;
    if detach {
        context.out.say(format!("{name} is being destroyed"));
        return Ok(Exit::DONE);
    }
    let gone = async {
        let deadline = Instant::now() + DESTROY_DEADLINE;
        loop {
            match context.client.environment(name).await {
                Err(failure) if failure.exit == ExitCode::NotFound.into() => return Ok(()),
                Ok(_) => {}
                Err(failure) if is_passing(&failure) => context.client.rediscover(),
                Err(failure) => return Err(failure),
            }
            if Instant::now() >= deadline {
                return Err(Failure::new(
                    ExitCode::TimedOut,
                    "not-destroyed",
                    format!("{name} is not gone yet; the server goes on"),
                )
                .remedy("look", format!("ark events -e {name}")));
            }
            sleep(LOOK).await;
        }
    };
    tokio::select! {
        ended = gone => {
            ended?;
            if context.out.json {
                context.out.value(&serde_json::json!({"name": name, "state": "destroyed"}))?;
            } else {
                context.out.line(format!("{name} is destroyed"));
            }
            Ok(Exit::DONE)
        }
        _ = tokio::signal::ctrl_c() => {
            context.out.warn(format!("the server goes on; look: ark events -e {name}"));
            Ok(ExitCode::Detached.into())
        }
    }
}

fn use_env(name: EnvName) -> Ended {
    let mut settings = Settings::load()?;
    settings.env = Some(name.clone());
    let path = settings.save()?;
    Output::new(Shown::default())
        .line(format!("default environment: {name} (saved in {})", path.display()));
    Ok(Exit::DONE)
}

fn word(kind: EnvKind) -> &'static str {
    match kind {
        EnvKind::Permanent => "permanent",
        EnvKind::Development => "development",
    }
}
