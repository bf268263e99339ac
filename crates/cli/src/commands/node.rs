//! `ark node`: the hosts of the cluster.

use std::net::IpAddr;
use std::path::PathBuf;

use ark_model::NodeName;
use ark_model::api::{NodePut, NodeView};
use clap::Subcommand;

use crate::cli::block_on;
use crate::context::{Asking, Context};
use crate::failure::{Ended, Exit, Failure};
use crate::output::table::Table;
use crate::output::{Shown, Style};

/// What a folder of certificates is.
const CERTS: &str = "--certs takes a folder with ca.pem (of the authority that signed the daemon's certificate), \
                     cert.pem (Ark's own) and key.pem (its key)";

/// What `node` takes.
#[derive(Debug, clap::Args)]
#[command(
    before_help = "Examples:\n  ark node add eu-1 tcp://10.0.0.5:2376 --certs ~/.docker/eu-1\n  ark node list\n  ark node drain eu-1",
    after_help = "Containers are spread over all hosts that answer and are not draining; `local` is Ark's own. What is\nto run elsewhere is an image from a registry, without volumes and dependencies."
)]
pub(crate) struct Args {
    #[command(flatten)]
    asking: Asking,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Add a host by its Docker daemon; replaces what was said of it before
    #[command(
        before_help = "Examples:\n  ark node add eu-1 tcp://10.0.0.5:2376 --certs ~/.docker/eu-1\n  ark node add eu-2 ssh://ark@eu-2.test --reach 10.0.0.6"
    )]
    Add {
        /// What it is called from now on
        name: NodeName,
        /// tcp://HOST:PORT, spoken to over TLS, ssh://[USER@]HOST[:PORT], or unix:///PATH
        address: String,
        /// The folder with ca.pem, cert.pem and key.pem, as Docker's own command has it
        #[arg(long, value_name = "DIR")]
        certs: Option<PathBuf>,
        /// Its private address, where the gateway reaches its instances; the one in ADDRESS if not given
        #[arg(long, value_name = "IP")]
        reach: Option<IpAddr>,
    },
    /// List hosts and how they stand
    #[command(before_help = "Examples:\n  ark node list")]
    List,
    /// Place nothing new on a host, and move what is there
    #[command(before_help = "Examples:\n  ark node drain eu-1\n  ark node drain eu-1 --end")]
    Drain {
        /// Its name
        name: NodeName,
        /// Use it again
        #[arg(long)]
        end: bool,
    },
    /// Forget a host
    #[command(before_help = "Examples:\n  ark node remove eu-1")]
    Remove {
        /// Its name
        name: NodeName,
        /// Also when instances are on record there: they count as lost, and go on without Ark
        #[arg(long)]
        force: bool,
    },
}

pub(crate) fn shown(args: &Args) -> Shown {
    args.asking.shown
}

pub(crate) fn run(args: Args) -> Ended {
    let context = Context::new(&args.asking)?;
    let style = context.out.style;
    block_on(async {
        match args.action {
            Action::Add { name, address, certs, reach } => {
                let [authority, certificate, key] = match &certs {
                    Some(folder) => pems(folder)?.map(Some),
                    None => [None, None, None],
                };
                let put = NodePut { address, reach, authority, certificate, key };
                let set = context.client.put_node(&name, &put).await?;
                context.out.one(&set, |set| match &set.silent {
                    None => format!("host {} is added, and answers", set.name),
                    Some(why) => format!("host {} is added, and does not answer: {why}", set.name),
                })?;
            }
            Action::List => {
                let all = context.client.nodes().await?;
                context.out.list(&all, |rows| render(rows, style))?;
            }
            Action::Drain { name, end } => {
                let set = context.client.drain_node(&name, !end).await?;
                context.out.one(&set, |set| match set.draining {
                    true => format!("host {} drains: {} instances there", set.name, set.instances),
                    false => format!("host {} is used again", set.name),
                })?;
            }
            Action::Remove { name, force } => {
                context.client.remove_node(&name, force).await?;
                context.out.say(format!("host {name} is forgotten"));
            }
        }
        Ok(Exit::DONE)
    })
}

fn pems(folder: &std::path::Path) -> Result<[String; 3], Failure> {
    let read = |name: &str| {
        let file = folder.join(name);
        std::fs::read_to_string(&file)
            .map_err(|error| Failure::file(&file, "read", &error).detail(CERTS))
    };
    Ok([read("ca.pem")?, read("cert.pem")?, read("key.pem")?])
}

fn render(rows: &[NodeView], style: Style) -> String {
    let mut table = Table::new(["host", "state", "instances", "address", "reached at", "note"]);
    for row in rows {
        table.row([
            row.name.to_string(),
            row.state().to_owned(),
            row.instances.to_string(),
            row.address.clone().unwrap_or_else(|| "–".to_owned()),
            row.reach.map_or_else(|| "–".to_owned(), |ip| ip.to_string()),
            row.silent.clone().unwrap_or_default(),
        ]);
    }
    table.render(style)
}
