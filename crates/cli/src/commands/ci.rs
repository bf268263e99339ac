//! `ark ci`: what follows a push to the main branch. Builds the images of what changed and deploys
//! them to each app's `autoDeployEnvs`. Works on any repository on this disk, bare ones included:
//! as its `post-receive` hook, or by hand.

use std::io::{BufRead, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ark_model::EnvName;
use ark_model::artifact::Artifact;
use ark_model::definition::{AutoDeploy, Definition, DeployConfig, Strategy};
use ark_model::deployment::DeploymentKind;
use ark_model::exit::ExitCode;

use super::build::line;
use super::deploy::{ask, image_request};
use super::follow_deployment::{Ending, follow_to};
use crate::cli::block_on;
use crate::context::{Asking, Context, here};
use crate::failure::{Ended, Exit, Failure};
use crate::git::{git, git_within};
use crate::images::{Outcome, Project, Ready};
use crate::launch::Launch;
use crate::output::Shown;

/// How long a repository may take to be cloned, and checked out.
const CLONE_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// The most references of one push.
const REFERENCES_MAX: usize = 10_000;

/// What `ci` takes.
#[derive(Debug, clap::Args)]
#[command(
    before_help = "Examples:\n  ark ci --repo /srv/git/shop.git --commit main\n  exec ark ci --branch main   (in hooks/post-receive)",
    after_help = "Without --commit it reads what was pushed from its standard input, as git gives it to the hook\n\
                  post-receive: `OLD NEW REFERENCE` in each line. Pushes to other branches are left alone.\n\
                  Images are built as by `ark build`. An app whose image is new is deployed to each environment of\n\
                  its deploy_config.autoDeployEnvs, one after the other, in the way that deploy_config.strategies\n\
                  names and with the strategy that its launch file says; a deployment that fails, or waits for\n\
                  a person, keeps its app from the environments that follow. What a person has to type is printed."
)]
pub(crate) struct Args {
    /// The repository: a path, or an address that `git clone` understands [default: this folder]
    #[arg(long, value_name = "REPOSITORY")]
    repo: Option<PathBuf>,
    /// The branch whose pushes are deployed
    #[arg(long, value_name = "NAME", default_value = "main")]
    branch: String,
    /// Build and deploy this commit instead of what was pushed
    #[arg(long, value_name = "COMMIT")]
    commit: Option<String>,
    /// Build, and deploy nothing
    #[arg(long)]
    build_only: bool,
    /// End when standard input does: with the server that started this
    #[arg(long, hide = true, requires = "commit")]
    leash: bool,
    #[command(flatten)]
    asking: Asking,
}

pub(crate) fn shown(args: &Args) -> Shown {
    args.asking.shown
}

pub(crate) fn run(args: Args) -> Ended {
    let repo = args.repo.clone().map_or_else(here, Ok)?;
    let stdin = std::io::stdin();
    let commit = match args.commit {
        Some(commit) => Some(commit),
        None if stdin.is_terminal() => {
            return Err(Failure::usage("what was pushed? nothing is given on standard input")
                .remedy("name a commit", "ark ci --commit main"));
        }
        None => pushed(stdin.lock(), &args.branch)?,
    };
    let context = Context::new(&args.asking)?;
    let Some(commit) = commit else {
        context.out.say(format!("nothing was pushed to {}", args.branch));
        return Ok(Exit::DONE);
    };
    if args.leash {
        std::thread::spawn(end_with_stdin);
    }
    block_on(async {
        let place = tempfile::tempdir()
            .map_err(|error| Failure::file(&std::env::temp_dir(), "make a folder in", &error))?;
        let checkout = check_out(&repo, &commit, place.path()).await?;
        build_and_deploy(&context, &checkout, args.build_only).await
    })
}

/// Ends this process when nobody holds the other end of its standard input any more.
fn end_with_stdin() {
    // Nothing is ever written to it.
    let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
    if rustix::process::getpgrp() == rustix::process::getpid() {
        // With all it started.
        let _ = rustix::process::kill_current_process_group(rustix::process::Signal::KILL);
    }
    std::process::exit(ExitCode::Failed.number().into());
}

/// The commit that a push put on a branch; `None` when it put none there.
fn pushed(lines: impl BufRead, branch: &str) -> Result<Option<String>, Failure> {
    let wanted = format!("refs/heads/{branch}");
    let mut found = None;
    for line in lines.lines().take(REFERENCES_MAX) {
        let line = line.map_err(|error| Failure::file(Path::new("stdin"), "read", &error))?;
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, new, reference] = words[..] else {
            return Err(Failure::usage(format!("`{line}` is not `OLD NEW REFERENCE`")));
        };
        // A branch that was deleted has nothing but zeros.
        if reference == wanted && new.bytes().any(|byte| byte != b'0') {
            found = Some(new.to_owned());
        }
    }
    Ok(found)
}

/// A copy of a commit's files of its own: building writes to it, and pushes go on meanwhile.
async fn check_out(repo: &Path, commit: &str, place: &Path) -> Result<PathBuf, Failure> {
    let checkout = place.join("project");
    let (from, to) = (repo.to_string_lossy(), checkout.to_string_lossy());
    let far = is_address(&from);
    let full = match far {
        // A branch of the other side is known here under another name.
        true => match commit.strip_prefix("refs/heads/") {
            Some(branch) => format!("refs/remotes/origin/{branch}"),
            None => commit.to_owned(),
        },
        false => {
            let reference = format!("{commit}^{{commit}}");
            git(repo, &["rev-parse", "--verify", "--end-of-options", &reference]).await?
        }
    };
    let shared: &[&str] = if far { &[] } else { &["--shared"] };
    let clone = [&["clone", "--quiet", "--no-checkout"], shared, &["--", &from, &to]].concat();
    git_within(CLONE_TIMEOUT, place, &clone).await?;
    git_within(CLONE_TIMEOUT, &checkout, &["checkout", "--quiet", "--detach", &full, "--"]).await?;
    Ok(checkout)
}

/// Whether a repository is somewhere else: `https://…`, `git@host:shop.git`.
fn is_address(repo: &str) -> bool {
    repo.contains("://") || repo.split('/').next().is_some_and(|first| first.contains(':'))
}

async fn build_and_deploy(context: &Context, checkout: &Path, build_only: bool) -> Ended {
    let project = Project::open(checkout).await?;
    for (app, why) in &project.without {
        context.out.say(format!("{app} is left out: {why}"));
    }
    let (mut ready, mut ended_first) = (Vec::new(), Exit::DONE);
    for image in project.images(&[])? {
        let (name, outcome) = match project.make(context, &image).await {
            Ok(made) => made,
            // What others changed goes out all the same.
            Err(failure) => {
                context.out.failure(&failure);
                ended_first = first(ended_first, failure.exit);
                continue;
            }
        };
        let all = image.apps.into_iter().map(|app| Ready { app, image: name.clone(), outcome });
        ready.extend(all);
    }
    for one in &ready {
        context.out.one(one, line)?;
        let Some((launch, definition)) = project.apps.get(&one.app) else { continue };
        if build_only {
            continue;
        }
        let deployed = deploy(context, &project, one, launch, definition).await;
        // What others changed goes out all the same.
        let exit = deployed.unwrap_or_else(|failure| {
            context.out.failure(&failure);
            failure.exit
        });
        ended_first = first(ended_first, exit);
    }
    Ok(ended_first)
}

/// Brings an app's image to its environments, until one of them fails or waits for a person.
async fn deploy(
    context: &Context,
    project: &Project,
    one: &Ready,
    launch: &Launch,
    definition: &Definition,
) -> Ended {
    let config = &definition.deploy_config;
    let mut waits = false;
    for env in &config.auto_deploy_envs {
        let env: EnvName = env.parse().map_err(|error| {
            Failure::new(ExitCode::Usage, "environment", format!("{}: {error}", one.app))
        })?;
        let by_hand = format!("ark deploy {} -e {env} --image {}", one.app, one.image);
        if waits {
            context.out.say(format!("{} is not deployed to {env} yet: {by_hand}", one.app));
            continue;
        }
        if one.outcome == Outcome::Unchanged {
            let app = &one.app;
            let told = match standing(context, &env, one, definition).await? {
                Standing::Live => continue,
                Standing::Missing => None,
                Standing::UnderWay => Some(format!("a deployment of {app} to {env} is not over")),
                Standing::Withdrawn => Some(format!("{app} was taken back in {env}: {by_hand}")),
            };
            if let Some(told) = told {
                context.out.say(told);
                waits = true;
                continue;
            }
        }
        let Way::Deploy(strategy) = way(config, &env) else {
            context.out.say(format!("{} waits for a person to say: {by_hand}", one.app));
            waits = true;
            continue;
        };
        let mut request = image_request(launch, &one.image, &project.commit)?;
        request.strategy = strategy;
        let view = ask(&context.client, &env, &one.app, &request).await?;
        let (exit, over) = follow_to(context, view, Ending::Begun).await?;
        if exit != Exit::DONE {
            return Ok(exit);
        }
        waits = !over;
    }
    Ok(Exit::DONE)
}

/// How a build goes to an environment.
#[derive(Debug, PartialEq, Eq)]
enum Way {
    /// By itself, with this strategy instead of the launch file's.
    Deploy(Option<Strategy>),
    /// A person types it.
    ByHand,
}

fn way(config: &DeployConfig, env: &EnvName) -> Way {
    match config.strategies.get(env.as_str()).copied().unwrap_or_default() {
        AutoDeploy::NoConfirm => Way::Deploy(None),
        AutoDeploy::CanaryConfirm => Way::Deploy(Some(Strategy::Canary)),
        AutoDeploy::ConfirmThenDeploy => Way::ByHand,
    }
}

/// How an image that did not change stands in an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It takes all traffic there.
    Live,
    /// Its deployment is not over: it may wait for a person.
    UnderWay,
    /// A person went back from it.
    Withdrawn,
    /// It was never deployed with this definition, or its deployment failed.
    Missing,
}

/// How the newest release of an app stands, if it is of this image and this definition. An image that
/// did not change may still wait for its deployment: that of an earlier push failed, or never began.
async fn standing(
    context: &Context,
    env: &EnvName,
    one: &Ready,
    definition: &Definition,
) -> Result<Standing, Failure> {
    let client = &context.client;
    let newest = match client.releases(env, &one.app, 1).await {
        Ok(releases) => releases.into_iter().next(),
        Err(failure) if failure.exit == ExitCode::NotFound.into() => None,
        Err(failure) => return Err(failure),
    };
    let Some(newest) = newest else { return Ok(Standing::Missing) };
    let Artifact::Image { reference, .. } = &newest.artifact else { return Ok(Standing::Missing) };
    if *reference != one.image {
        return Ok(Standing::Missing);
    }
    let detail = client.release(env, &one.app, newest.number).await?;
    if serde_json::to_value(definition).ok() != Some(detail.definition) {
        return Ok(Standing::Missing);
    }
    // Whether it is live and what is under way: as they are at one time.
    let row = client.app(env, &one.app).await?.row;
    let under_way = row.running_deployment.is_some() || row.waiting_deployment.is_some();
    let last = match row.last_deployment {
        Some(last) => Some(client.deployment(&last.id.to_string()).await?),
        None => None,
    };
    let by_a_person = last.is_some_and(|last| {
        last.kind == DeploymentKind::Rollback || last.abort.is_some_and(|abort| !abort.superseded)
    });
    Ok(stands(row.live == Some(newest.number), under_way, by_a_person))
}

/// How the release stands, by whether it is live, anything of its app is under way or queued, and what
/// ended last was a rollback or aborted.
fn stands(live: bool, under_way: bool, by_a_person: bool) -> Standing {
    match (under_way, live, by_a_person) {
        (true, _, _) => Standing::UnderWay,
        (false, true, _) => Standing::Live,
        (false, false, true) => Standing::Withdrawn,
        (false, false, false) => Standing::Missing,
    }
}

/// The exit code of what failed first counts.
fn first(before: Exit, now: Exit) -> Exit {
    if before == Exit::DONE { now } else { before }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_here_or_elsewhere() {
        for (repo, elsewhere) in [
            ("/srv/git/shop.git", false),
            ("shop", false),
            ("./odd:name", false),
            ("https://git.test/shop.git", true),
            ("file:///srv/git/shop.git", true),
            ("git@git.test:shop.git", true),
        ] {
            assert_eq!(is_address(repo), elsewhere, "{repo}");
        }
    }

    #[test]
    fn a_build_goes_to_each_environment_in_its_own_way() {
        let strategies = [
            ("dev", AutoDeploy::NoConfirm),
            ("staging", AutoDeploy::ConfirmThenDeploy),
            ("production", AutoDeploy::CanaryConfirm),
        ];
        let strategies = strategies.map(|(env, how)| (env.to_owned(), how)).into();
        let config = DeployConfig { strategies, ..DeployConfig::default() };
        for (env, expected) in [
            ("dev", Way::Deploy(None)),
            ("staging", Way::ByHand),
            ("production", Way::Deploy(Some(Strategy::Canary))),
            ("unnamed", Way::Deploy(None)),
        ] {
            assert_eq!(way(&config, &env.parse().unwrap()), expected, "{env}");
        }
    }

    /// Only what is live and at rest lets its app go on to the environments that follow.
    #[test]
    fn an_image_that_did_not_change_goes_on_from_where_it_stands() {
        for (live, under_way, by_a_person, expected) in [
            (true, false, false, Standing::Live),
            (true, false, true, Standing::Live),
            // A canary that waits for its approval, a side that is kept, another in the queue.
            (false, true, false, Standing::UnderWay),
            (true, true, false, Standing::UnderWay),
            (false, true, true, Standing::UnderWay),
            // It failed by itself; a person aborted it, or went back from it.
            (false, false, false, Standing::Missing),
            (false, false, true, Standing::Withdrawn),
        ] {
            let told = stands(live, under_way, by_a_person);
            assert_eq!(told, expected, "{live} {under_way} {by_a_person}");
        }
    }

    #[test]
    fn what_failed_first_counts() {
        let (rolled_back, timed_out) = (Exit(3), Exit(4));
        for (ends, expected) in [
            (vec![], Exit::DONE),
            (vec![Exit::DONE, rolled_back, timed_out], rolled_back),
            (vec![timed_out, Exit::DONE, rolled_back], timed_out),
        ] {
            assert_eq!(ends.iter().copied().fold(Exit::DONE, first), expected, "{ends:?}");
        }
    }

    #[test]
    fn what_was_pushed_to_the_branch_is_found() {
        let (old, new) = ("1".repeat(40), "2".repeat(40));
        let zero = "0".repeat(40);
        for (text, expected) in [
            (String::new(), None),
            (format!("{old} {new} refs/heads/main\n"), Some(&new)),
            (format!("{old} {new} refs/heads/topic\n"), None),
            (format!("{old} {new} refs/tags/main\n"), None),
            (format!("{old} {zero} refs/heads/main\n"), None),
            (format!("{zero} {old} refs/heads/a\n{old} {new} refs/heads/main\n"), Some(&new)),
        ] {
            assert_eq!(pushed(text.as_bytes(), "main").unwrap().as_ref(), expected, "{text}");
        }
        assert!(pushed("what".as_bytes(), "main").is_err());
    }
}
