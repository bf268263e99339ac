//! `ark ci`: what follows a push to the main branch. Builds the images of what changed and deploys
//! them to each app's `autoDeployEnvs`. Works on any repository on this disk, bare ones included:
//! as its `post-receive` hook, or by hand.

mod repository;

use std::fs::File;
use std::io::{BufRead, IsTerminal};
use std::path::{Path, PathBuf};

use ark_model::EnvName;
use ark_model::api::ReleaseRow;
use ark_model::artifact::Artifact;
use ark_model::definition::{AutoDeploy, Definition, DeployConfig, Strategy};
use ark_model::deployment::DeploymentKind;
use ark_model::exit::ExitCode;

use self::repository::Repository;
use super::build::line;
use super::deploy::{ask, image_request};
use super::follow_deployment::{Ending, follow_to};
use crate::cli::block_on;
use crate::context::{Asking, Context, here};
use crate::failure::{Ended, Exit, Failure};
use crate::git::git;
use crate::images::{Outcome, Project, Ready};
use crate::launch::Launch;
use crate::output::{Output, Shown};

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
    let asks = async || Repository::find(&repo).await;
    let repo = block_on(asks())?;
    let stdin = std::io::stdin();
    let nothing = || {
        Failure::usage("what was pushed? nothing is given on standard input")
            .remedy("name a commit", "ark ci --commit main")
    };
    let wanted = match &args.commit {
        Some(commit) => Wanted::Commit(commit.clone()),
        None if stdin.is_terminal() => return Err(nothing()),
        None => match pushed(stdin.lock(), &args.branch)? {
            Pushed::ToBranch(commit) => Wanted::Branch { pushed: commit },
            // Git starts its hooks with this, also for a push that changes nothing.
            Pushed::Nothing if std::env::var_os("GIT_DIR").is_none() => return Err(nothing()),
            Pushed::Nothing | Pushed::Elsewhere => {
                let out = Output::new(args.asking.shown);
                out.say(format!("nothing was pushed to {}", args.branch));
                return Ok(Exit::DONE);
            }
        },
    };
    let context = Context::new(&args.asking)?;
    if args.leash {
        std::thread::spawn(end_with_stdin);
    }
    block_on(follow_up(&context, &repo, wanted, &args))
}

/// What is to be built.
#[derive(Debug)]
enum Wanted {
    /// A commit that was named.
    Commit(String),
    /// The branch as it stands when it is this push's turn.
    Branch {
        /// Where the push put it.
        pushed: String,
    },
}

/// Builds in one's turn, and begins each deployment in one's turn; how it goes on holds up nobody, so that a
/// fix can take the place of what it mends.
async fn follow_up(context: &Context, repo: &Repository, wanted: Wanted, args: &Args) -> Ended {
    let out = context.out;
    let turn = match args.build_only {
        true => None,
        false => {
            repo.turn(|| out.say("another `ark ci` of this repository runs; waiting for its end"))
                .await?
        }
    };
    let branch = match &wanted {
        Wanted::Commit(commit) => commit.strip_prefix("refs/heads/").unwrap_or(&args.branch),
        Wanted::Branch { .. } => &args.branch,
    }
    .to_owned();
    let branch = branch.as_str();
    let commit = match wanted {
        Wanted::Commit(commit) => commit,
        Wanted::Branch { pushed } => match repo.tip(branch).await {
            Some(tip) if tip != pushed => {
                let tip_short = tip.get(..7).unwrap_or(&tip);
                out.say(format!("{branch} has moved on: what is built is commit {tip_short}"));
                tip
            }
            Some(_) | None => pushed,
        },
    };
    let place = tempfile::tempdir()
        .map_err(|error| Failure::file(&std::env::temp_dir(), "make a folder in", &error))?;
    let checkout = repo.check_out(&commit, place.path()).await?;
    let commit = git(&checkout, &["rev-parse", "HEAD"]).await?;
    let push = Push { context, repo, branch, checkout: &checkout, commit: &commit };
    push.build_and_deploy(args.build_only, turn).await.map_err(|failure| push.named(failure))
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

/// What a push did.
#[derive(Debug, PartialEq, Eq)]
enum Pushed {
    /// Nothing at all.
    Nothing,
    /// Nothing to the branch that is meant.
    Elsewhere,
    /// It put the branch at this commit.
    ToBranch(String),
}

/// What a push did to a branch.
fn pushed(lines: impl BufRead, branch: &str) -> Result<Pushed, Failure> {
    let wanted = format!("refs/heads/{branch}");
    let mut found = Pushed::Nothing;
    for line in lines.lines().take(REFERENCES_MAX) {
        let line = line.map_err(|error| Failure::file(Path::new("stdin"), "read", &error))?;
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, new, reference] = words[..] else {
            return Err(Failure::usage(format!("`{line}` is not `OLD NEW REFERENCE`")));
        };
        // A branch that was deleted has nothing but zeros.
        if reference == wanted && new.bytes().any(|byte| byte != b'0') {
            found = Pushed::ToBranch(new.to_owned());
        } else if found == Pushed::Nothing {
            found = Pushed::Elsewhere;
        }
    }
    Ok(found)
}

/// A commit that is built and deployed.
struct Push<'a> {
    context: &'a Context,
    repo: &'a Repository,
    branch: &'a str,
    /// Where its files are.
    checkout: &'a Path,
    /// All its characters.
    commit: &'a str,
}

impl Push<'_> {
    /// Names files by their commit, as `git show` takes them: where they were checked out is gone by the
    /// time that this is read.
    fn named(&self, failure: Failure) -> Failure {
        let place = format!("{}/", self.checkout.display());
        let short = format!("{}:", self.commit.get(..7).unwrap_or(self.commit));
        let named = |text: String| text.replace(&place, &short);
        Failure {
            headline: named(failure.headline),
            details: failure.details.into_iter().map(named).collect(),
            ..failure
        }
    }

    /// The later commit of the branch of which the app's newest release is: whoever deployed that was
    /// faster, and is not to be undone.
    async fn overtaken(&self, env: &EnvName, one: &Ready) -> Result<Option<String>, Failure> {
        let Some(newest) = newest(self.context, env, one).await? else { return Ok(None) };
        let Some(theirs) = newest.commit.filter(|_| is_image(&newest.artifact)) else {
            return Ok(None);
        };
        let theirs = theirs.trim_end_matches("-dirty").to_owned();
        let later = self.repo.has_after(self.branch, self.checkout, self.commit, &theirs).await;
        Ok(later.then_some(theirs))
    }

    async fn build_and_deploy(&self, build_only: bool, turn: Option<File>) -> Ended {
        let context = self.context;
        let (project, apps) = Project::open(self.checkout).await?;
        for (app, why) in &apps.without {
            context.out.say(format!("{app} is left out: {why}"));
        }
        let (mut ready, mut ended_first) = (Vec::new(), Exit::DONE);
        for image in apps.images(&[])? {
            let (name, outcome) = match project.make(context, &image).await {
                Ok(made) => made,
                // What others changed goes out all the same.
                Err(failure) => {
                    let failure = self.named(failure);
                    context.out.failure(&failure);
                    ended_first = first(ended_first, failure.exit);
                    continue;
                }
            };
            let all = image.apps.into_iter().map(|app| Ready { app, image: name.clone(), outcome });
            ready.extend(all);
        }
        drop(turn);
        for one in &ready {
            context.out.one(one, line)?;
            let Some((launch, definition)) = apps.with.get(&one.app) else { continue };
            if build_only {
                continue;
            }
            let deployed = self.deploy(one, launch, definition).await;
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
    async fn deploy(&self, one: &Ready, launch: &Launch, definition: &Definition) -> Ended {
        let context = self.context;
        let config = &definition.deploy_config;
        let file = launch.file.strip_prefix(self.checkout).unwrap_or(&launch.file).to_owned();
        let launch = Launch { file, ..launch.clone() };
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
            let turn = self.repo.turn(|| {}).await?;
            if let Some(later) = self.overtaken(&env, one).await? {
                let (app, short) = (&one.app, later.get(..7).unwrap_or(&later));
                context.out.say(format!("{app} in {env} is of a later commit already: {short}"));
                continue;
            }
            // What somebody built for this commit may be deployed as well.
            if one.outcome != Outcome::Built {
                let app = &one.app;
                let told = match standing(context, &env, one, definition).await? {
                    Standing::Live => continue,
                    Standing::Missing => None,
                    Standing::UnderWay => {
                        Some(format!("a deployment of {app} to {env} is not over"))
                    }
                    Standing::Withdrawn => {
                        Some(format!("{app} was taken back in {env}: {by_hand}"))
                    }
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
            let mut request = image_request(&launch, &one.image, self.commit)?;
            request.strategy = strategy;
            let view = ask(&context.client, &env, &one.app, &request).await?;
            drop(turn);
            let (exit, over) = follow_to(context, view, Ending::Begun).await?;
            if exit != Exit::DONE {
                return Ok(exit);
            }
            waits = !over;
        }
        Ok(Exit::DONE)
    }
}

fn is_image(artifact: &Artifact) -> bool {
    matches!(artifact, Artifact::Image { .. })
}

/// The newest release of an app in an environment.
async fn newest(
    context: &Context,
    env: &EnvName,
    one: &Ready,
) -> Result<Option<ReleaseRow>, Failure> {
    match context.client.releases(env, &one.app, 1).await {
        Ok(releases) => Ok(releases.into_iter().next()),
        Err(failure) if failure.exit == ExitCode::NotFound.into() => Ok(None),
        Err(failure) => Err(failure),
    }
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
    let Some(newest) = newest(context, env, one).await? else { return Ok(Standing::Missing) };
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
        let to = || Pushed::ToBranch(new.clone());
        for (text, expected) in [
            (String::new(), Pushed::Nothing),
            (format!("{old} {new} refs/heads/main\n"), to()),
            (format!("{old} {new} refs/heads/topic\n"), Pushed::Elsewhere),
            (format!("{old} {new} refs/tags/main\n"), Pushed::Elsewhere),
            (format!("{old} {zero} refs/heads/main\n"), Pushed::Elsewhere),
            (format!("{zero} {old} refs/heads/a\n{old} {new} refs/heads/main\n"), to()),
            (format!("{old} {new} refs/heads/main\n{zero} {old} refs/heads/a\n"), to()),
        ] {
            assert_eq!(pushed(text.as_bytes(), "main").unwrap(), expected, "{text}");
        }
        assert!(pushed("what".as_bytes(), "main").is_err());
    }
}
