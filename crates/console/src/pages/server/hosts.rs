//! What a host can be told: to become empty, or to be used again. Said first, then done.

use ark_model::NodeName;
use ark_model::api::{NodeDraining, NodeView, Page, ProblemCode, Role};
use axum::extract::Path;
use serde::Deserialize;
use serde_json::Value;

use crate::fault::Fault;
use crate::pages::actions::Action;
use crate::visit::{Answer, Visit, see};
use crate::words::counted;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Wish {
    Drain,
    Use,
}

/// The command that drains a host, or ends that.
pub(super) fn command(host: &NodeName, draining: bool) -> String {
    let end = if draining { " --end" } else { "" };
    format!("ark node drain {host}{end}")
}

pub(super) async fn ask(visit: Visit, Path((name, wish)): Path<(NodeName, Wish)>) -> Answer {
    let all: Page<NodeView> = visit.get("/v1/nodes").await?;
    let host =
        all.items.into_iter().find(|host| host.name == name).ok_or_else(|| {
            Fault::new(ProblemCode::NodeNotFound, format!("there is no host {name}"))
        })?;
    let there = counted(host.instances, "instance");
    let (title, steps, button) = match wish {
        Wish::Drain => (
            format!("Empty the host {name}"),
            vec![
                "place nothing new there".to_owned(),
                match host.instances {
                    0 => "nothing runs there that would be moved".to_owned(),
                    _ => format!(
                        "move the {there} there to other hosts, new ones first; the old ones drain"
                    ),
                },
                "keep there what no other host can run: volumes, dependencies, a directory"
                    .to_owned(),
            ],
            "Drain",
        ),
        Wish::Use => (
            format!("Use the host {name} again"),
            vec![
                "place instances there again when some are started".to_owned(),
                "leave those that run where they are".to_owned(),
            ],
            "Use it again",
        ),
    };
    let already = (host.draining == (wish == Wish::Drain)).then(|| match wish {
        Wish::Drain => format!("{name} is being emptied already; {there} there"),
        Wish::Use => format!("{name} is in use already"),
    });
    let silent = host.silent.map(|why| format!("{name} does not answer: {why}"));
    let mut shell = visit.shell(title, "/server").crumb("/server", "Server");
    shell = shell.command(command(&name, wish == Wish::Use));
    let word = match wish {
        Wish::Drain => "drain",
        Wish::Use => "use",
    };
    let to = format!("/server/hosts/{name}/{word}");
    let page = Action {
        may: shell.may_administer,
        needs: Role::Admin.as_str(),
        steps,
        notes: already.into_iter().chain(silent).collect(),
        danger: wish == Wish::Drain,
        ..Action::new(shell, to, "/server".to_owned(), button)
    };
    visit.page(&page)
}

pub(super) async fn tell(visit: Visit, Path((name, wish)): Path<(NodeName, Wish)>) -> Answer {
    let draining = NodeDraining { draining: wish == Wish::Drain };
    let _: Value = visit.put(&format!("/v1/nodes/{name}/draining"), &draining).await?;
    see("/server")
}
