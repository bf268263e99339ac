//! `ark ps`: the instances of an app.

use ark_model::AppName;
use ark_model::api::{InstanceRow, InstancesQuery};
use ark_model::instance::InstanceState;
use jiff::Timestamp;

use crate::cli::block_on;
use crate::context::{Asking, Context, EnvArg, app};
use crate::failure::{Ended, Exit};
use crate::output::numbers::bytes;
use crate::output::table::{Table, or_dash};
use crate::output::times::ago;
use crate::output::{Shown, Style};

/// What `ps` takes.
#[derive(Debug, clap::Args)]
#[command(
    before_help = "Examples:\n  ark ps web -e production\n  ark ps web -e production --all --json"
)]
pub(crate) struct Args {
    /// App [default: the one of this folder]
    app: Option<AppName>,
    #[command(flatten)]
    env: EnvArg,
    /// Also those that ended in the last hour
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    asking: Asking,
}

pub(crate) fn shown(args: &Args) -> Shown {
    args.asking.shown
}

pub(crate) fn run(args: Args) -> Ended {
    let context = Context::new(&args.asking)?;
    let (env, app) = (args.env.get()?, app(args.app)?);
    block_on(async {
        let query = InstancesQuery { ended: args.all };
        let rows = context.client.instances(&env, &app, &query).await?;
        let style = context.out.style;
        context.out.list(&rows, |rows| render(rows, Timestamp::now(), style))?;
        if rows.is_empty() {
            context.out.say(format!("no instance of {app} on {env}"));
        }
        Ok(Exit::DONE)
    })
}

fn render(rows: &[InstanceRow], now: Timestamp, style: Style) -> String {
    let mut table = Table::new([
        "instance", "release", "host", "state", "since", "ready", "address", "pid", "inside",
        "memory", "why",
    ]);
    for row in rows {
        let why = row.not_ready_because.clone().filter(|_| !row.ready && row.state.is_alive());
        table.row([
            row.id.clone(),
            row.release.to_string(),
            row.node.to_string(),
            state(row.state).to_owned(),
            ago(row.since, now, style),
            if row.ready { "yes" } else { "no" }.to_owned(),
            or_dash(row.address),
            or_dash(row.pid),
            or_dash(row.in_flight),
            or_dash(row.memory_bytes.map(bytes)),
            row.cause_words.clone().or(why).unwrap_or_default(),
        ]);
    }
    table.render(style)
}

/// The word for a state.
fn state(state: InstanceState) -> &'static str {
    match state {
        InstanceState::Starting => "starting",
        InstanceState::Active => "active",
        InstanceState::Draining => "draining",
        InstanceState::Stopping => "stopping",
        InstanceState::Stopped => "stopped",
    }
}
