//! `ark config`: configuration and secrets of an app in an environment.
//!
//! The value of a secret is read from standard input or a hidden prompt, never from the command
//! line, where every user of the machine could see it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{IsTerminal, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use ark_model::api::{CONFIG_VALUE_BYTES_MAX, ConfigPatch, ConfigValue, ConfigView};
use ark_model::{AppName, EnvName, ReleaseNumber};
use clap::Subcommand;
use jiff::Timestamp;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use crate::cli::block_on;
use crate::context::{Context, InEnv, app};
use crate::env_file;
use crate::failure::{Ended, Exit, Failure};
use crate::output::numbers::counted;
use crate::output::table::Table;
use crate::output::times::ago;
use crate::output::{Output, Shown, Style};

/// What `config` takes.
#[derive(Debug, clap::Args)]
#[command(
    before_help = "Examples:\n  ark config set -e production web LOG_LEVEL=info\n  ark config set -e production web --secret SESSION_KEY < key.txt\n  ark config list -e production web",
    after_help = "A change makes a new version of the configuration; it takes effect with the next deployment."
)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Set values
    Set(Set),
    /// Remove values
    Unset(Unset),
    /// Show names and values; of secrets the names only
    List(List),
    /// Set every value of a .env file
    Import(Import),
}

#[derive(Debug, clap::Args)]
#[command(
    before_help = "Examples:\n  ark config set -e production web LOG_LEVEL=info CACHE_TTL=60\n  ark config set -e production web --secret SESSION_KEY\n  ark config set -e production web --secret SESSION_KEY < key.txt"
)]
struct Set {
    /// App, then NAME=VALUE, several times
    #[arg(value_name = "[APP] NAME=VALUE")]
    words: Vec<String>,
    /// Set a secret: its value comes from standard input, or is asked for
    #[arg(long, value_name = "NAME")]
    secret: Vec<String>,
    #[command(flatten)]
    common: InEnv,
}

#[derive(Debug, clap::Args)]
#[command(before_help = "Examples:\n  ark config unset -e production web CACHE_TTL")]
struct Unset {
    /// App
    app: AppName,
    /// Names
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    common: InEnv,
}

#[derive(Debug, clap::Args)]
#[command(
    before_help = "Examples:\n  ark config list -e production web\n  ark config list -e production web --json"
)]
struct List {
    /// App [default: the one of this folder]
    app: Option<AppName>,
    #[command(flatten)]
    common: InEnv,
}

#[derive(Debug, clap::Args)]
#[command(
    before_help = "Examples:\n  ark config import -e production web .env --secret SESSION_KEY\n  ark config import -e production web - --secrets < .env"
)]
struct Import {
    /// App
    app: AppName,
    /// File with lines NAME=VALUE; `-` is standard input
    file: PathBuf,
    /// This name is a secret
    #[arg(long, value_name = "NAME")]
    secret: Vec<String>,
    /// All names are secrets
    #[arg(long, conflicts_with = "secret")]
    secrets: bool,
    #[command(flatten)]
    common: InEnv,
}

impl Action {
    fn common(&self) -> &InEnv {
        match self {
            Self::Set(args) => &args.common,
            Self::Unset(args) => &args.common,
            Self::List(args) => &args.common,
            Self::Import(args) => &args.common,
        }
    }
}

pub(crate) fn shown(args: &Args) -> Shown {
    args.action.common().asking.shown
}

pub(crate) fn run(args: Args) -> Ended {
    let (app, patch) = match &args.action {
        Action::Set(set) => {
            let (app_given, pairs) = app_and_pairs(&set.words)?;
            let mut patch = ConfigPatch::default();
            for (name, value) in pairs {
                patch.set.insert(name, ConfigValue { value, secret: false });
            }
            read_secrets(&set.secret, &mut patch)?;
            if patch.set.is_empty() {
                return Err(Failure::usage("nothing to set: give NAME=VALUE, or --secret NAME"));
            }
            (app(app_given)?, Some(patch))
        }
        Action::Unset(unset) => {
            let patch = ConfigPatch { unset: unset.names.clone(), ..ConfigPatch::default() };
            (unset.app.clone(), Some(patch))
        }
        Action::List(list) => (app(list.app.clone())?, None),
        Action::Import(import) => (import.app.clone(), Some(imported(import)?)),
    };
    let common = args.action.common();
    let context = Context::new(&common.asking)?;
    let env = common.env.get()?;
    block_on(async {
        let style = context.out.style;
        let Some(patch) = patch else {
            let view = context.client.config(&env, &app).await?;
            context.out.list(&view.values, |_| render(&view, Timestamp::now(), style))?;
            if view.values.is_empty() {
                context.out.say(format!("{app} has no configuration on {env}"));
            }
            return Ok(Exit::DONE);
        };
        let view = context.client.change_config(&env, &app, &patch).await?;
        context.out.one(&view, |view| changed(view, &patch))?;
        for name in undeclared(&context, &env, &app, &patch).await {
            context.out.warn(format!(
                "warning: {name} is not declared in launch/{app}.yml as it was last deployed on {env}: \
                 the app will not be given it; declare it under `env` (or `env_defaults`)"
            ));
        }
        Ok(Exit::DONE)
    })
}

/// Which of the names that were set neither the live definition of the app nor its newest knows. None where
/// nothing is known of the app: the values are set all the same, and its file may come later.
async fn undeclared(
    context: &Context,
    env: &EnvName,
    app: &AppName,
    patch: &ConfigPatch,
) -> Vec<String> {
    if patch.set.is_empty() {
        return Vec::new();
    }
    let client = &context.client;
    let newest = client.releases(env, app, 1).await.unwrap_or_default();
    let mut known: BTreeSet<ReleaseNumber> = newest.iter().map(|release| release.number).collect();
    known.extend(client.app(env, app).await.ok().and_then(|detail| detail.row.live));
    let mut definitions = Vec::new();
    for number in known {
        match client.release(env, app, number).await {
            Ok(release) => definitions.push(release.definition),
            // Without it nobody can say what is declared.
            Err(_) => return Vec::new(),
        }
    }
    if definitions.is_empty() {
        return Vec::new();
    }
    // Connections of workflows are configured in the same way, and no app is given theirs.
    let connection = |name: &str| name.starts_with("CONNECTION_");
    let known = |name: &str| definitions.iter().any(|definition| declares(definition, name));
    patch.set.keys().filter(|name| !known(name) && !connection(name)).cloned().collect()
}

fn declares(definition: &serde_json::Value, name: &str) -> bool {
    let listed = definition["env"].as_array().is_some_and(|names| names.iter().any(|n| n == name));
    listed || definition["env_defaults"].get(name).is_some()
}

fn changed(view: &ConfigView, patch: &ConfigPatch) -> String {
    let mut done = Vec::new();
    if !patch.set.is_empty() {
        done.push(format!("{} set", counted(patch.set.len() as u64, "value")));
    }
    if !patch.unset.is_empty() {
        done.push(format!("{} removed", counted(patch.unset.len() as u64, "value")));
    }
    let (app, env) = (&view.app, &view.env);
    format!(
        "{app} on {env}: {}; config {}\n  takes effect with the next deployment: ark deploy {app} -e {env}",
        done.join(", "),
        view.version
    )
}

fn render(view: &ConfigView, now: Timestamp, style: Style) -> String {
    let mut table = Table::new(["name", "value", "version", "age", "by"]);
    for entry in &view.values {
        let value = match (&entry.value, entry.secret) {
            (_, true) => "(secret)".to_owned(),
            (Some(value), false) => value.replace('\n', "⏎"),
            (None, false) => String::new(),
        };
        table.row([
            entry.name.clone(),
            value,
            entry.version.to_string(),
            ago(entry.changed_at, now, style),
            entry.changed_by.clone(),
        ]);
    }
    table.render(style)
}

/// Pairs of names and values.
type Pairs = Vec<(String, String)>;

/// The first word is the app unless it is a pair already.
fn app_and_pairs(words: &[String]) -> Result<(Option<AppName>, Pairs), Failure> {
    let (app, pairs) = match words.split_first() {
        Some((first, rest)) if !first.contains('=') => {
            let app = first.parse().map_err(|error| Failure::usage(format!("{error}")))?;
            (Some(app), rest)
        }
        _ => (None, words),
    };
    let pair = |(index, word): (usize, &String)| match word.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        // The word is not repeated: it may be a secret in the wrong place.
        Some(_) | None => {
            Err(Failure::usage(format!("pair {} is not written NAME=VALUE", index + 1))
                .remedy("a secret", "ark config set APP -e ENV --secret NAME"))
        }
    };
    let pairs = pairs.iter().enumerate().map(pair).collect::<Result<_, _>>()?;
    Ok((app, pairs))
}

fn read_secrets(names: &[String], patch: &mut ConfigPatch) -> Result<(), Failure> {
    for name in names {
        if name.contains('=') {
            return Err(Failure::usage(
                "the value of a secret does not belong on the command line, where others can see it",
            )
            .remedy("give the name only", "--secret NAME, and the value on standard input"));
        }
    }
    let stdin = std::io::stdin();
    if !stdin.is_terminal() && names.len() > 1 {
        return Err(Failure::usage("standard input holds the value of one secret only")
            .remedy("several at once", "ark config import APP FILE --secrets -e ENV"));
    }
    for name in names {
        let value = if stdin.is_terminal() { prompt(name)? } else { read_all()? };
        if value.is_empty() {
            // A pipe that failed must not replace a secret by nothing.
            return Err(Failure::usage(format!(
                "the value of {name} is empty; nothing was changed"
            ))
            .remedy("give it on standard input", "ark config set APP -e ENV --secret NAME"));
        }
        patch.set.insert(name.clone(), ConfigValue { value, secret: true });
    }
    Ok(())
}

/// A secret from standard input, or asked for.
pub(super) fn secret(name: &str) -> Result<String, Failure> {
    let value = if std::io::stdin().is_terminal() { prompt(name)? } else { read_all()? };
    if value.is_empty() {
        return Err(Failure::usage(format!("the {name} is empty; nothing was changed"))
            .remedy("give it on standard input", "COMMAND < FILE"));
    }
    Ok(value)
}

/// All of standard input without its last line break.
fn read_all() -> Result<String, Failure> {
    let mut text = String::new();
    std::io::stdin()
        .lock()
        .take(CONFIG_VALUE_BYTES_MAX as u64 + 2)
        .read_to_string(&mut text)
        .map_err(|error| Failure::usage(format!("the secret cannot be read: {error}")))?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

/// Asks without showing what is typed.
fn prompt(name: &str) -> Result<String, Failure> {
    let stdin = std::io::stdin();
    let failed =
        |error: std::io::Error| Failure::usage(format!("the secret cannot be read: {error}"));
    let before = tcgetattr(stdin.as_fd()).map_err(|error| failed(error.into()))?;
    let mut hidden = before.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    Output::new(Shown::default()).warn(format!("{name} (not shown):"));
    tcsetattr(stdin.as_fd(), OptionalActions::Flush, &hidden)
        .map_err(|error| failed(error.into()))?;
    let mut line = String::new();
    let read = stdin.read_line(&mut line);
    // Whatever happened, the terminal shows again what is typed.
    let restored = tcsetattr(stdin.as_fd(), OptionalActions::Flush, &before);
    read.map_err(failed)?;
    restored.map_err(|error| failed(error.into()))?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

fn imported(import: &Import) -> Result<ConfigPatch, Failure> {
    let text = if import.file == Path::new("-") {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(&import.file)
    };
    let text = text.map_err(|error| Failure::file(&import.file, "read", &error))?;
    let pairs: BTreeMap<String, String> = env_file::parse(&text).map_err(|error| {
        Failure::usage(format!("{} cannot be read: {error}", import.file.display()))
    })?;
    let absent: Vec<_> = import.secret.iter().filter(|name| !pairs.contains_key(*name)).collect();
    if let Some(name) = absent.first() {
        return Err(Failure::usage(format!("{} has no {name}", import.file.display())));
    }
    if pairs.is_empty() {
        return Err(Failure::usage(format!("{} sets nothing", import.file.display())));
    }
    let value = |(name, value): (String, String)| {
        let secret = import.secrets || import.secret.contains(&name);
        (name, ConfigValue { value, secret })
    };
    Ok(ConfigPatch { set: pairs.into_iter().map(value).collect(), ..ConfigPatch::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_app_comes_before_the_pairs_or_not_at_all() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let (app, pairs) = app_and_pairs(&words("web A=1 B=x=y C=")).unwrap();
        assert_eq!(app.map(|app| app.to_string()), Some("web".into()));
        let expect = [("A", "1"), ("B", "x=y"), ("C", "")].map(|(n, v)| (n.into(), v.into()));
        assert_eq!(pairs, expect);
        assert_eq!(app_and_pairs(&words("A=1")).unwrap().0, None);
        let failure = app_and_pairs(&words("web A=1 hunter2")).unwrap_err();
        assert_eq!(failure.exit.0, 2);
        assert!(!failure.headline.contains("hunter2"), "{}", failure.headline);
    }

    #[test]
    fn a_secret_on_the_command_line_is_refused_and_not_repeated() {
        let failure =
            read_secrets(&["KEY=hunter2".into()], &mut ConfigPatch::default()).unwrap_err();
        assert_eq!(failure.exit.0, 2);
        assert!(!format!("{failure:?}").contains("hunter2"));
    }
}
