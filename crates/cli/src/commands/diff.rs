//! `ark diff`: what differs between two releases.

use ark_model::api::{
    ChangeKind, ConfigChange, DefinitionChange, DiffQuery, ReleaseDiff, TextChange,
};
use ark_model::{AppName, ReleaseNumber};

use crate::cli::block_on;
use crate::context::{Asking, Context, EnvArg, app};
use crate::failure::{Ended, Exit};
use crate::output::{Shown, Style};

/// What `diff` takes.
#[derive(Debug, clap::Args)]
#[command(
    before_help = "Examples:\n  ark diff v41 v42 --app web -e production\n  ark diff v41 --app web -e production\n  ark diff --app web -e production",
    after_help = "Without TO: the newest release. Without FROM: the live one. Values of secrets are never shown."
)]
pub(crate) struct Args {
    /// The older release
    #[arg(value_parser = release)]
    from: Option<ReleaseNumber>,
    /// The newer release
    #[arg(value_parser = release)]
    to: Option<ReleaseNumber>,
    /// App [default: the one of this folder]
    #[arg(long)]
    app: Option<AppName>,
    #[command(flatten)]
    env: EnvArg,
    #[command(flatten)]
    asking: Asking,
}

/// `v41` or `41`. Other commands take the app where this one takes a release.
fn release(text: &str) -> Result<ReleaseNumber, String> {
    text.parse().map_err(|_| "a release is written v41; the app is named with --app".to_owned())
}

pub(crate) fn shown(args: &Args) -> Shown {
    args.asking.shown
}

pub(crate) fn run(args: Args) -> Ended {
    let context = Context::new(&args.asking)?;
    let (env, app) = (args.env.get()?, app(args.app)?);
    block_on(async {
        let text = |number: Option<ReleaseNumber>| number.map(|number| number.to_string());
        let query = DiffQuery { from: text(args.from), to: text(args.to) };
        let diff = context.client.diff(&env, &app, &query).await?;
        let style = context.out.style;
        context.out.one(&diff, |diff| render(diff, style))?;
        Ok(Exit::DONE)
    })
}

fn render(diff: &ReleaseDiff, style: Style) -> String {
    let mut lines = vec![format!("{} → {}", diff.from, diff.to)];
    lines.extend(changes(diff.artifact.as_ref(), &diff.config, &diff.definition, style));
    if !diff.changes {
        lines.push("  nothing differs".to_owned());
    }
    lines.join("\n")
}

/// What differs, one line each.
pub(crate) fn changes(
    artifact: Option<&TextChange>,
    config: &[ConfigChange],
    definition: &[DefinitionChange],
    style: Style,
) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(change) = artifact {
        lines.push(line(
            ChangeKind::Changed,
            "artifact",
            change.from.clone(),
            change.to.clone(),
            style,
        ));
    }
    for change in config {
        let name = format!("config {}", change.name);
        let value = |value: &Option<String>| match (change.secret, value) {
            (true, _) => Some("(secret)".to_owned()),
            (false, value) => value.clone(),
        };
        lines.push(line(change.change, &name, value(&change.from), value(&change.to), style));
    }
    for change in definition {
        let value = |value: &Option<serde_json::Value>| value.as_ref().map(ToString::to_string);
        lines.push(line(
            change.change,
            &change.path,
            value(&change.from),
            value(&change.to),
            style,
        ));
    }
    lines
}

fn line(
    change: ChangeKind,
    name: &str,
    from: Option<String>,
    to: Option<String>,
    style: Style,
) -> String {
    let (from, to) = (from.unwrap_or_else(|| "–".into()), to.unwrap_or_else(|| "–".into()));
    match change {
        ChangeKind::Added => format!("  {} {name}: {to}", style.good("+")),
        ChangeKind::Removed => format!("  {} {name}: {from}", style.bad("-")),
        ChangeKind::Changed => format!("  ~ {name}: {from} → {to}"),
    }
}
