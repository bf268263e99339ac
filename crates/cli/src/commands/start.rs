//! `ark start`: apps with what they depend on, in an environment; or one app on this machine.

mod local;
pub(crate) mod order;

use std::path::PathBuf;

use ark_model::api::{DeployRequest, EnvironmentCreate, ReleaseRef, ReleaseRow};
use ark_model::definition::{Definition, DurationText};
use ark_model::exit::ExitCode;
use ark_model::{AppName, EnvName};
use jiff::Timestamp;

use super::deploy::{Sources, ask, judge, request};
use super::env::lease_words;
use super::follow_deployment::{Ending, follow};
use crate::cli::block_on;
use crate::context::{Asking, Context, EnvArg, here};
use crate::failure::{Ended, Exit, Failure};
use crate::launch::{self, Launch};
use crate::output::Shown;

/// What `start` takes.
#[derive(Debug, clap::Args)]
#[command(
    before_help = "Examples:\n  ark start web -e eng1-env\n  ark start web api -e eng1-env --lease 8h\n  ark start -l web -e staging",
    after_help = "A dependency is found as a launch file beside the app's, else as the newest release the server\n\
                  knows. What runs there already is left alone; the named apps are deployed in any case.\n\n\
                  -l runs the app's command here, in the foreground, with the environment's configuration and\n\
                  the addresses of its dependencies. Variables of this shell stand over those the launch file\n\
                  names. The exit code is the app's own."
)]
pub(crate) struct Args {
    /// Apps [default: the one of this folder]
    apps: Vec<AppName>,
    #[command(flatten)]
    env: EnvArg,
    /// Run on this machine, in the foreground
    #[arg(short, long)]
    local: bool,
    /// Destroy the environment after this time, unless the lease is renewed: 90m, 8h, 14d
    #[arg(long, value_name = "DURATION", conflicts_with = "local")]
    lease: Option<DurationText>,
    #[command(flatten)]
    asking: Asking,
}

pub(crate) fn shown(args: &Args) -> Shown {
    args.asking.shown
}

pub(crate) fn run(args: Args) -> Ended {
    let context = Context::new(&args.asking)?;
    let env = args.env.get()?;
    let here = here()?;
    let apps = if args.apps.is_empty() { vec![launch::app_name(None, &here)?] } else { args.apps };
    if args.local {
        let [app] = apps.as_slice() else {
            return Err(Failure::usage("-l runs one app; name one"));
        };
        return block_on(local::run(&context, &env, app));
    }
    block_on(async {
        if let Some(lease) = args.lease {
            let lease_seconds = Some(lease.get().as_secs());
            let request = EnvironmentCreate { name: env.clone(), kind: None, lease_seconds };
            let view = context.client.create_environment(&request).await?;
            let ends = lease_words(&view, Timestamp::now(), context.out.talk_style);
            context.out.say(format!("environment {env}; {ends}"));
        }
        start(&context, &env, &apps).await
    })
}

/// Where an app comes from.
#[derive(Debug)]
enum Source {
    /// A launch file.
    Launch(Launch, Box<Definition>),
    /// A release the server knows, of any environment.
    Release(Box<ReleaseRow>),
    /// It runs there already.
    Running,
}

async fn start(context: &Context, env: &EnvName, apps: &[AppName]) -> Ended {
    let folder = here()?.join(launch::FOLDER);
    let mut finder = Finder { context, env, folder, named: apps };
    let ordered = order::order(apps, async |app: &AppName| finder.find(app).await).await?;
    // Before any is begun: one that is refused keeps the others from being left half way.
    let mut sources = Sources::new(context, env, false);
    let mut runs = Vec::new();
    for (_, source) in &ordered {
        runs.push(match source {
            Source::Launch(launch, definition) => {
                Some(sources.for_start(launch, definition).await?)
            }
            Source::Release(_) | Source::Running => None,
        });
    }
    for ((app, source), runs) in ordered.iter().zip(runs) {
        let request = match (source, runs) {
            (Source::Running, _) => {
                context.out.say(format!("{app} runs on {env} already"));
                continue;
            }
            (Source::Launch(launch, _), Some(runs)) => request(context, launch, runs, None).await?,
            (Source::Launch(..), None) => continue,
            (Source::Release(release), _) => {
                let from = ReleaseRef { env: release.env.clone(), number: release.number };
                DeployRequest { from: Some(from), ..DeployRequest::default() }
            }
        };
        let view = ask(&context.client, env, app, &request).await?;
        let exit = follow(context, view, Ending::Words).await?;
        if exit != Exit::DONE {
            return Ok(exit);
        }
    }
    if context.out.json {
        for (app, _) in &ordered {
            context.out.value(&context.client.app(env, app).await?)?;
        }
    }
    Ok(Exit::DONE)
}

/// Finds where apps come from.
struct Finder<'a> {
    context: &'a Context,
    env: &'a EnvName,
    folder: PathBuf,
    named: &'a [AppName],
}

impl Finder<'_> {
    /// The source of an app and what it depends on.
    async fn find(&mut self, app: &AppName) -> Result<(Source, Vec<AppName>), Failure> {
        if !self.named.contains(app) && self.runs(app).await? {
            return Ok((Source::Running, Vec::new()));
        }
        if let Some(launch) = launch::find_of(app, &self.folder)? {
            let definition = judge(&launch, self.context.out)?;
            let needs = names(&definition.dependencies)?;
            return Ok((Source::Launch(launch, Box::new(definition)), needs));
        }
        let client = &self.context.client;
        let release = match client.newest_release(app).await {
            Ok(release) => release,
            Err(failure) if failure.exit == ExitCode::NotFound.into() => {
                return Err(self.unknown(app));
            }
            Err(failure) => return Err(failure),
        };
        let detail = client.release(&release.env, app, release.number).await?;
        let needs = dependencies(&detail.definition)?;
        Ok((Source::Release(Box::new(release)), needs))
    }

    async fn runs(&self, app: &AppName) -> Result<bool, Failure> {
        match self.context.client.app(self.env, app).await {
            Ok(detail) => {
                let row = detail.row;
                Ok(row.live.is_some() && !row.stopped && row.ready > 0)
            }
            Err(failure) if failure.exit == ExitCode::NotFound.into() => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    fn unknown(&self, app: &AppName) -> Failure {
        let file = self.folder.join(format!("{app}.yml"));
        Failure::new(
            ExitCode::NotFound,
            "app-not-found",
            format!(
                "{app} is unknown: {} does not exist, and the server knows no release of it",
                file.display()
            ),
        )
        .remedy("deploy it from its own folder", format!("ark deploy {app} -e {}", self.env))
    }
}

/// Dependencies of a definition as a release holds it.
fn dependencies(definition: &serde_json::Value) -> Result<Vec<AppName>, Failure> {
    let list = definition["dependencies"].as_array();
    let texts: Vec<String> =
        list.into_iter().flatten().filter_map(|name| name.as_str().map(str::to_owned)).collect();
    names(&texts)
}

fn names(texts: &[String]) -> Result<Vec<AppName>, Failure> {
    let parse = |text: &String| text.parse().map_err(|error| Failure::usage(format!("{error}")));
    texts.iter().map(parse).collect()
}
