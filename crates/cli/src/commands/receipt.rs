//! `ark receipt`: what a deployment did to traffic.

use ark_model::api::{DeploymentsQuery, ReceiptView};
use ark_model::exit::ExitCode;
use ark_model::receipt::Side;
use ark_model::{AppName, DeploymentState};

use super::deployments::state;
use crate::cli::block_on;
use crate::context::{Asking, Context, EnvArg};
use crate::failure::{Ended, Exit, Failure};
use crate::output::numbers::count;
use crate::output::table::Table;
use crate::output::times::length;
use crate::output::{Shown, Style};

/// How many deployments are looked at for one that has ended.
const LOOK_BACK: u32 = 50;

/// What `receipt` takes.
#[derive(Debug, clap::Args)]
#[command(
    before_help = "Examples:\n  ark receipt\n  ark receipt web -e production\n  ark receipt 4f1b8a2c90de --json",
    after_help = "Without DEPLOYMENT: the last one that ended; with an app's name, its last one. A\ndeployment may be named by the beginning or the end of its id. `ark deployments` lists them."
)]
pub(crate) struct Args {
    /// Deployment, or app
    #[arg(value_name = "DEPLOYMENT|APP")]
    of: Option<String>,
    /// Only of this app
    #[arg(long, conflicts_with = "of")]
    app: Option<AppName>,
    #[command(flatten)]
    env: EnvArg,
    #[command(flatten)]
    asking: Asking,
}

pub(crate) fn shown(args: &Args) -> Shown {
    args.asking.shown
}

pub(crate) fn run(args: Args) -> Ended {
    let context = Context::new(&args.asking)?;
    let env = args.env.optional()?;
    // Ids are hexadecimal, and are named by four characters or more; `cafe` is an app.
    let is_id = |text: &String| {
        text.chars().all(|c| c.is_ascii_hexdigit() || c == '-')
            && text.chars().any(|c| c.is_ascii_digit())
            && text.len() >= 4
    };
    let (id, named) = match args.of {
        Some(text) if is_id(&text) => (Some(text), None),
        Some(text) => (
            None,
            Some(text.parse::<AppName>().map_err(|error| Failure::usage(error.to_string()))?),
        ),
        None => (None, None),
    };
    block_on(async {
        let id = match id {
            Some(id) => id,
            None => {
                let app = named.or(args.app);
                let query = DeploymentsQuery { env, app, cursor: None, limit: Some(LOOK_BACK) };
                let deployments = context.client.deployments(&query).await?;
                let ended = deployments.iter().find(|d| d.receipt.is_some());
                ended.map(|d| d.id.to_string()).ok_or_else(|| {
                    Failure::new(
                        ExitCode::NotFound,
                        "deployment-not-found",
                        "no deployment has ended yet",
                    )
                    .remedy("all deployments", "ark deployments")
                })?
            }
        };
        let receipt = context.client.receipt(&id).await?;
        let style = context.out.style;
        context.out.one(&receipt, |receipt| render(receipt, style))?;
        if receipt.state != DeploymentState::Succeeded {
            let view = context.client.deployment(&id).await?;
            if let Some(diagnosis) = &view.diagnosis {
                context.out.say(format!("why: {}", diagnosis.words()));
            }
        }
        Ok(Exit::DONE)
    })
}

/// The receipt as a small table.
pub(crate) fn render(view: &ReceiptView, style: Style) -> String {
    let from = view.base.map_or_else(String::new, |base| format!("{base} → "));
    let mut text =
        format!("{} → {}   {from}{}   {}\n", view.app, view.env, view.release, state(view.state));
    let mut table =
        Table::new(["", "served", "failed", "cut", "retried", "client gone", "longest stall"]);
    let mut row = |name: String, side: &Side| {
        table.row([
            name,
            count(side.served),
            count(side.failed),
            count(side.cut),
            count(side.retried),
            count(side.client_gone),
            length(side.longest_stall_ms),
        ]);
    };
    let old = view.base.map_or_else(|| "old".to_owned(), |base| format!("old ({base})"));
    row(old, &view.receipt.old);
    row(format!("new ({})", view.release), &view.receipt.new);
    row("all".to_owned(), &view.receipt.total);
    text.push_str(&table.render(style));
    for note in &view.receipt.notes {
        text.push_str(&format!("\nnote: {note}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use ark_model::receipt::Receipt;
    use ark_model::{DeploymentId, ReleaseNumber};

    #[test]
    fn both_sides_and_the_sum() {
        let side = |served| Side { served, longest_stall_ms: 6, ..Side::default() };
        let view = ReceiptView {
            deployment: DeploymentId(uuid::Uuid::nil()),
            env: "production".parse().unwrap(),
            app: "web".parse().unwrap(),
            release: ReleaseNumber(42),
            base: Some(ReleaseNumber(41)),
            state: DeploymentState::Succeeded,
            receipt: Receipt {
                total: side(12_884),
                old: side(9_000),
                new: side(3_884),
                notes: vec!["the gateway was started anew once".into()],
            },
        };
        insta::assert_snapshot!(render(&view, Style::plain(100)), @r"
        web → production   v41 → v42   succeeded
                   served  failed  cut  retried  client gone  longest stall
        old (v41)  9,000   0       0    0        0            6 ms
        new (v42)  3,884   0       0    0        0            6 ms
        all        12,884  0       0    0        0            6 ms
        note: the gateway was started anew once
        ");
        let json = serde_json::to_value(&view).unwrap();
        for key in ["served", "failed", "cut", "retried", "longest_stall_ms"] {
            assert!(json[key].is_u64() && json["old"][key].is_u64() && json["new"][key].is_u64());
        }
    }
}
