//! Several apps in one go: each after those of them it depends on, one after the other. When one
//! fails, those before it that were changed are rolled back, the last first.
//!
//! The command leads the group, the server each deployment: when the command is left, what was asked
//! for goes on, and nothing more is begun.

use ark_model::api::{DeploymentView, Remedy, RollbackRequest};
use ark_model::definition::Definition;
use ark_model::deployment::DeploymentState;
use ark_model::environment::EnvKind;
use ark_model::exit::ExitCode;
use ark_model::receipt::Side;
use ark_model::{AppName, EnvName};
use serde::Serialize;

use super::source::Source;
use super::{Sources, Wishes, judge, request};
use crate::commands::follow_deployment::{Ending, follow};
use crate::commands::start::order::order;
use crate::context::{Context, here};
use crate::failure::{Ended, Exit, Failure};
use crate::launch::{self, Launch};
use crate::output::Style;
use crate::output::lines::wrap_remedies;
use crate::output::numbers::count;
use crate::output::times::length;

/// What became of one app.
#[derive(Debug, Clone, Serialize)]
struct Member {
    app: AppName,
    outcome: Outcome,
    /// Its deployment, and then the rollback of it.
    deployments: Vec<DeploymentView>,
}

/// How it ended for one app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    /// Its new release is live.
    Live,
    /// It was deployed, and gone back from because another failed.
    RolledBack,
    /// It was deployed for the first time: there is nothing to go back to.
    Left,
    /// It failed itself.
    Failed,
    /// Its way back failed.
    Stuck,
    /// It was not begun.
    NotBegun,
}

/// Deploys the apps; with none named, those of all launch files here.
pub(super) async fn run(
    context: &Context,
    env: &EnvName,
    apps: &[AppName],
    keep_image: bool,
    wishes: &Wishes,
) -> Ended {
    let folder = here()?.join(launch::FOLDER);
    let mut files = found(apps, &folder, context)?;
    if apps.is_empty() && files.iter().any(is_store) && is_permanent(context, env).await? {
        let stores: Vec<String> = files
            .extract_if(.., |file| is_store(file))
            .map(|(launch, _)| launch.app.to_string())
            .collect();
        let names = stores.join(", ");
        context.out.say(format!("{env} is permanent, so data stores are left out: {names}"));
    }
    let known: Vec<AppName> = files.iter().map(|(launch, _)| launch.app.clone()).collect();
    let ordered = order(&known, async |app: &AppName| {
        let at = files.iter().position(|(launch, _)| launch.app == *app).unwrap_or_default();
        let needs = &files[at].1.dependencies;
        // What is not of the group runs already, or is not this command's business.
        let own = needs.iter().filter_map(|need| known.iter().find(|k| k.as_str() == need));
        Ok((at, own.cloned().collect()))
    })
    .await?;
    // Before any is begun: one that is refused is nothing to go back for.
    let mut sources = Sources::new(context, env, keep_image);
    let mut runs = Vec::new();
    for (_, at) in &ordered {
        let (launch, definition) = &files[*at];
        runs.push(sources.for_deploy(launch, definition).await?);
    }
    let names: Vec<String> = ordered.iter().map(|(app, _)| app.to_string()).collect();
    context.out.say(format!("{} apps, in this order: {}", names.len(), names.join(", ")));
    let mut members: Vec<Member> = ordered
        .iter()
        .map(|(app, _)| Member {
            app: app.clone(),
            outcome: Outcome::NotBegun,
            deployments: Vec::new(),
        })
        .collect();
    let mut failed = None;
    for (index, ((app, at), runs)) in ordered.iter().zip(runs).enumerate() {
        let (launch, _) = &files[*at];
        match one(context, env, app, launch, runs, wishes).await {
            Ok((view, exit)) => {
                let succeeded = view.state == DeploymentState::Succeeded;
                members[index].deployments.push(view);
                members[index].outcome = if succeeded { Outcome::Live } else { Outcome::Failed };
                if !succeeded {
                    failed = Some(exit);
                }
            }
            // Left by ^C: what was asked for goes on in the server.
            Err(failure) if failure.exit == ExitCode::Detached.into() => {
                let (words, next) = left(env, &members, index);
                context.out.warn(words);
                for line in wrap_remedies(&next, context.out.talk_style.width) {
                    context.out.warn(format!("  {line}"));
                }
                return Err(failure);
            }
            Err(failure) => {
                context.out.failure(&failure);
                members[index].outcome = Outcome::Failed;
                failed = Some(failure.exit);
            }
        }
        if failed.is_some() {
            break;
        }
    }
    let exit = match failed {
        None => Exit::DONE,
        Some(exit) => {
            go_back(context, env, &mut members, wishes).await?;
            exit
        }
    };
    let group = Group { env: env.clone(), receipt: receipt(&members), members };
    context.out.one(&group, |group| block(group, context.out.style))?;
    if exit == Exit::DONE { Ok(exit) } else { Err(Failure::silent(exit)) }
}

/// The group as data, after its deployments.
#[derive(Debug, Serialize)]
struct Group {
    env: EnvName,
    members: Vec<Member>,
    receipt: Side,
}

fn found(
    apps: &[AppName],
    folder: &std::path::Path,
    context: &Context,
) -> Result<Vec<(Launch, Definition)>, Failure> {
    let mut files = Vec::new();
    if apps.is_empty() {
        for file in launch::launch_files(folder) {
            let launch = launch::find(Some(&file), None, folder)?;
            // What belongs to another platform is described beside the apps, and not deployed.
            if let Ok(definition) = super::judge_app(&launch, context.out)? {
                files.push((launch, definition));
            }
        }
        if files.is_empty() {
            return Err(Failure::usage(format!("no launch files in {}", folder.display())));
        }
    }
    for app in apps {
        let Some(launch) = launch::find_of(app, folder)? else {
            let name = folder.join(format!("{app}.yml"));
            return Err(Failure::usage(format!("{} does not exist", name.display())));
        };
        let definition = judge(&launch, context.out)?;
        files.push((launch, definition));
    }
    Ok(files)
}

fn is_store((_, definition): &(Launch, Definition)) -> bool {
    definition.data_store.is_some()
}

/// Whether data stores are not run there. An environment that is yet to be made is permanent by its
/// name.
async fn is_permanent(context: &Context, env: &EnvName) -> Result<bool, Failure> {
    match context.client.environment(env).await {
        Ok(environment) => Ok(environment.kind == EnvKind::Permanent),
        Err(failure) if failure.exit == ExitCode::NotFound.into() => {
            Ok(EnvKind::of_new(env) == EnvKind::Permanent)
        }
        Err(failure) => Err(failure),
    }
}

/// Deploys one and follows it to its end.
async fn one(
    context: &Context,
    env: &EnvName,
    app: &AppName,
    launch: &Launch,
    runs: Source,
    wishes: &Wishes,
) -> Result<(DeploymentView, Exit), Failure> {
    let mut request = request(context, launch, runs, None).await?;
    wishes.apply(&mut request);
    let view = context.client.deploy(env, app, &request).await?;
    ended(context, view).await
}

async fn ended(context: &Context, view: DeploymentView) -> Result<(DeploymentView, Exit), Failure> {
    let id = view.id.to_string();
    let exit = match follow(context, view, Ending::Data).await {
        Ok(exit) => exit,
        Err(failure) if failure.shown => failure.exit,
        Err(failure) => return Err(failure),
    };
    let view = context.client.deployment(&id).await?;
    // ^C: it goes on in the server, and the group ends here.
    if !view.state.is_terminal() {
        return Err(Failure::silent(exit));
    }
    Ok((view, exit))
}

/// What is said when the command is left while the app at `index` is deployed: nobody leads the group any
/// more, so the rest is up to whoever left it.
fn left(env: &EnvName, members: &[Member], index: usize) -> (String, Vec<Remedy>) {
    let names = |members: &[Member]| -> Vec<String> {
        members.iter().map(|member| member.app.to_string()).collect()
    };
    let (done, rest) = (names(&members[..index]), names(members.get(index + 1..).unwrap_or(&[])));
    let list = |names: &[String]| match names {
        [] => "nothing".to_owned(),
        names => names.join(", "),
    };
    let words = format!(
        "the group ends here: {} before it, {} not begun, nothing is rolled back",
        list(&done),
        list(&rest)
    );
    let remedy = |label: &str, command: String| Remedy { label: label.to_owned(), command };
    let mut next = Vec::new();
    if !rest.is_empty() {
        next.push(remedy("the rest", format!("ark deploy {} -e {env}", rest.join(" "))));
    }
    for member in members[..index].iter().rev() {
        // What ran for the first time has nothing to go back to.
        if let Some(base) = member.deployments.last().and_then(|view| view.base) {
            let command = format!("ark rollback {} -e {env} --to {base}", member.app);
            next.push(remedy("or back", command));
        }
    }
    (words, next)
}

/// Takes back what was changed, the last first.
async fn go_back(
    context: &Context,
    env: &EnvName,
    members: &mut [Member],
    wishes: &Wishes,
) -> Result<(), Failure> {
    let failed = members.iter().find(|m| m.outcome == Outcome::Failed);
    let why = failed.map_or("the group failed".to_owned(), |m| format!("{} failed", m.app));
    for member in members.iter_mut().rev().filter(|m| m.outcome == Outcome::Live) {
        let Some(view) = member.deployments.last() else { continue };
        let Some(base) = view.base else {
            member.outcome = Outcome::Left;
            continue;
        };
        if base == view.release {
            continue;
        }
        let reason = match &wishes.reason {
            Some(asked) => format!("{why} ({asked})"),
            None => why.clone(),
        };
        let request = RollbackRequest { to: Some(base), reason: Some(reason), expect: None };
        context.out.say(format!("{} goes back to {base}: {why}", member.app));
        let back = async {
            let view = context.client.rollback(env, &member.app, &request).await?;
            ended(context, view).await
        };
        member.outcome = match back.await {
            Ok((view, _)) => {
                let succeeded = view.state == DeploymentState::Succeeded;
                member.deployments.push(view);
                if succeeded { Outcome::RolledBack } else { Outcome::Stuck }
            }
            Err(failure) => {
                context.out.failure(&failure);
                Outcome::Stuck
            }
        };
    }
    Ok(())
}

/// What all deployments of the group did to traffic together.
fn receipt(members: &[Member]) -> Side {
    let mut all = Side::default();
    let receipts = members.iter().flat_map(|m| &m.deployments).filter_map(|d| d.receipt.as_ref());
    receipts.for_each(|receipt| all.add(&receipt.total));
    all
}

/// One line for each app, and one for all of them.
fn block(group: &Group, style: Style) -> String {
    let failed = group.members.iter().any(|m| m.outcome != Outcome::Live);
    let all = group.members.len();
    let mut lines = vec![match failed {
        false => format!("{} {all} apps are live on {}", style.good("✓"), group.env),
        true => format!("{} the group was not deployed to {}", style.bad("✗"), group.env),
    }];
    let width = group.members.iter().map(|m| m.app.as_str().len()).max().unwrap_or_default();
    for member in &group.members {
        let first = member.deployments.first();
        let release = first.map_or(String::new(), |d| d.release.to_string());
        let base = first.and_then(|d| d.base).map_or("nothing".to_owned(), |b| b.to_string());
        let (mark, words) = match member.outcome {
            Outcome::Live => (style.good("✓"), format!("{release} is live")),
            Outcome::RolledBack => ("–".to_owned(), format!("back on {base}")),
            Outcome::Left => {
                ("–".to_owned(), format!("{release} is left live: nothing ran before it"))
            }
            Outcome::Failed => (style.bad("✗"), failure_words(first)),
            Outcome::Stuck => (style.bad("✗"), format!("could not be brought back to {base}")),
            Outcome::NotBegun => ("–".to_owned(), "was not begun".to_owned()),
        };
        lines.push(format!("  {mark} {:width$}   {words}", member.app.as_str()));
    }
    let r = &group.receipt;
    lines.push(format!(
        "  served {} during all changes · failed {} · cut {} · retried {} · longest stall {}",
        count(r.served),
        count(r.failed),
        count(r.cut),
        count(r.retried),
        length(r.longest_stall_ms)
    ));
    lines.join("\n")
}

fn failure_words(view: Option<&DeploymentView>) -> String {
    let Some(view) = view else { return "was refused".to_owned() };
    let why = view.diagnosis_words.clone().unwrap_or_else(|| "failed".to_owned());
    match (view.state, view.base) {
        (DeploymentState::RolledBack, Some(base)) => format!("{why}; back on {base}"),
        _ => why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_leaves_a_group_is_told_what_is_left_to_do() {
        let member = |app: &str| Member {
            app: app.parse().unwrap(),
            outcome: Outcome::NotBegun,
            deployments: vec![],
        };
        let members = ["api", "web", "worker", "mailer"].map(member);
        let env = "staging".parse().unwrap();
        let (words, next) = left(&env, &members, 1);
        assert_eq!(
            words,
            "the group ends here: api before it, worker, mailer not begun, nothing is rolled back"
        );
        let commands: Vec<&str> = next.iter().map(|next| next.command.as_str()).collect();
        assert_eq!(commands, ["ark deploy worker mailer -e staging"], "api had nothing before it");
        assert_eq!(left(&env, &members, 3).1, []);
    }

    #[test]
    fn the_group_ends_with_a_line_for_each() {
        let member =
            |app: &str, outcome| Member { app: app.parse().unwrap(), outcome, deployments: vec![] };
        let group = Group {
            env: "staging".parse().unwrap(),
            members: vec![
                member("api", Outcome::RolledBack),
                member("web", Outcome::Failed),
                member("worker", Outcome::NotBegun),
            ],
            receipt: Side { served: 12_884, ..Side::default() },
        };
        insta::assert_snapshot!(block(&group, Style::plain(80)), @r"
        ✗ the group was not deployed to staging
          – api      back on nothing
          ✗ web      was refused
          – worker   was not begun
          served 12,884 during all changes · failed 0 · cut 0 · retried 0 · longest stall 0 ms
        ");
    }
}
