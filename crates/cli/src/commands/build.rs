//! `ark build`: builds the images of a project by the server's engine.

use std::path::PathBuf;

use ark_model::AppName;

use crate::cli::block_on;
use crate::context::{Asking, Context, here};
use crate::failure::{Ended, Exit};
use crate::images::{Outcome, Project, Ready};
use crate::output::Shown;

/// What `build` takes.
#[derive(Debug, clap::Args)]
#[command(
    before_help = "Examples:\n  ark build\n  ark build web api\n  ark build --json",
    after_help = "Each image is called ARTIFACT:COMMIT, with the first seven characters of the commit, and is\n\
                  never overwritten. `build` in the launch file names the artifact (apps may share one), a\n\
                  command that is run before, the Dockerfile, and globs of what it is made from: when none of\n\
                  that has changed since the last commit that has an image, that one is taken.\n\
                  `ark deploy APP -e ENV` takes it."
)]
pub(crate) struct Args {
    /// Apps [default: all of launch/ that run images]
    apps: Vec<AppName>,
    /// The project, which holds launch/ [default: this folder]
    #[arg(long, value_name = "PATH")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    asking: Asking,
}

pub(crate) fn shown(args: &Args) -> Shown {
    args.asking.shown
}

pub(crate) fn run(args: Args) -> Ended {
    let root = args.dir.map_or_else(here, Ok)?;
    let context = Context::new(&args.asking)?;
    block_on(async {
        let (project, apps) = Project::open(&root).await?;
        for image in apps.images(&args.apps)? {
            let (name, outcome) = project.make(&context, &image).await?;
            for app in image.apps {
                let ready = Ready { app, image: name.clone(), outcome };
                context.out.one(&ready, line)?;
            }
        }
        Ok(Exit::DONE)
    })
}

/// `web  web:1a2b3c4  built`.
pub(crate) fn line(ready: &Ready) -> String {
    let outcome = match ready.outcome {
        Outcome::Built => "built",
        Outcome::Present => "was there",
        Outcome::Unchanged => "nothing of it has changed since",
    };
    format!("{}  {}  {outcome}", ready.app, ready.image)
}
