//! `ark deploy`: checks the launch file here, sends what the server lacks, asks for the
//! deployment and follows it; several at once as a group.

mod group;
mod source;

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use ark_model::api::{DeployRequest, DeploymentView, LaunchText, ProblemCode, ReleaseRef};
use ark_model::artifact::Artifact;
use ark_model::definition::{DataStoreKind, Definition, LaunchFile, Strategy, parse_of};
use ark_model::exit::ExitCode;
use ark_model::image_name::check_reference;
use ark_model::{AppName, EnvName, ReleaseNumber};
use tokio::process::Command;
use tokio::time::timeout;

use self::source::Source;
use super::follow_deployment::{Ending, follow};
use super::validate;
use crate::cli::block_on;
use crate::client::{Client, upload};
use crate::context::{Asking, Context, EnvArg, here};
use crate::failure::{Ended, Exit, Failure};
use crate::launch::{self, Launch};
use crate::manifest::read_directory;
use crate::output::numbers::{bytes, counted};
use crate::output::{Output, Shown};

pub(crate) use self::source::Sources;

/// How long `git` may take to say which commit this is.
const GIT_TIMEOUT: Duration = Duration::from_secs(3);

/// What `deploy` takes.
#[derive(Debug, clap::Args)]
#[command(
    before_help = "Examples:\n  ark deploy web -e staging --dir build --reason \"try the new cache\"\n  ark deploy web -e production --release staging:v7\n  ark deploy --all -e staging",
    after_help = "Several apps, or --all launch files here, are deployed in the order of their dependencies. When\n\
                  one fails, those before it are rolled back; the exit code is that of the one that failed.\n\n\
                  Neither --dir nor --image: an app with `build` in its launch file runs the image that `ark build`\n\
                  made of this commit; one that runs another image there is refused. Every other is a process: when\n\
                  run.command names a program of the project (./web), the folder that contains launch/ is sent.\n\n\
                  Exit codes: 0 done, 1 failed, 2 usage, 3 rolled back, 4 timed out, 5 superseded,\n\
                  6 not found, 7 refused, 130 left by ^C (the deployment goes on)."
)]
pub(crate) struct Args {
    #[command(flatten)]
    what: What,
    /// More apps, deployed with it as a group
    #[arg(value_name = "APP", conflicts_with_all = ["file", "dir", "image", "release", "detach"])]
    more: Vec<AppName>,
    /// All apps that have a launch file here, as a group
    #[arg(long, conflicts_with_all = ["app", "more", "file", "dir", "image", "release", "detach"])]
    all: bool,
    #[command(flatten)]
    env: EnvArg,
    /// Abort the running deployment instead of waiting for it
    #[arg(long)]
    now: bool,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Begin although the environment is frozen; the reason is recorded
    #[arg(long, value_name = "REASON")]
    override_freeze: Option<String>,
    /// Return as soon as the server has accepted it
    #[arg(long)]
    detach: bool,
    #[command(flatten)]
    asking: Asking,
}

/// What is deployed: shared with `plan`.
#[derive(Debug, clap::Args)]
pub(crate) struct What {
    /// App [default: the only launch file in ./launch, else the name of this folder]
    app: Option<AppName>,
    /// Launch file [default: launch/APP.yml]
    #[arg(long, value_name = "LAUNCH.yml")]
    file: Option<PathBuf>,
    /// Send this directory
    #[arg(long, value_name = "PATH", conflicts_with = "image")]
    dir: Option<PathBuf>,
    /// Run this image
    #[arg(long, value_name = "REF", value_parser = image)]
    image: Option<String>,
    /// Run the image that runs there already
    #[arg(long, conflicts_with_all = ["dir", "image", "release"])]
    keep_image: bool,
    /// Deploy a release that is known, of any environment, with the configuration of this one
    #[arg(long, value_name = "[ENV:]vN", requires = "app", conflicts_with_all = ["file", "dir", "image"])]
    release: Option<Known>,
    /// rolling, blue-green, canary or recreate [default: what the launch file says]
    #[arg(long, value_parser = strategy)]
    strategy: Option<Strategy>,
}

pub(crate) fn shown(args: &Args) -> Shown {
    args.asking.shown
}

fn image(text: &str) -> Result<String, String> {
    check_reference(text).map(|()| text.to_owned())
}

fn strategy(text: &str) -> Result<Strategy, String> {
    let all = [Strategy::Rolling, Strategy::BlueGreen, Strategy::Canary, Strategy::Recreate];
    let found = all.into_iter().find(|strategy| strategy.as_str() == text);
    found.ok_or_else(|| format!("one of {}", all.map(Strategy::as_str).join(", ")))
}

pub(crate) fn run(args: Args) -> Ended {
    let wishes = Wishes {
        strategy: args.what.strategy,
        now: args.now,
        reason: args.reason,
        override_freeze: args.override_freeze,
    };
    if args.all || !args.more.is_empty() {
        let env = args.env.get()?;
        let context = Context::new(&args.asking)?;
        let apps: Vec<AppName> = args.what.app.into_iter().chain(args.more).collect();
        return block_on(group::run(&context, &env, &apps, args.what.keep_image, &wishes));
    }
    if args.what.is_known() {
        let env = args.env.get()?;
        let context = Context::new(&args.asking)?;
        let (app, mut request) = args.what.known(&env)?;
        wishes.apply(&mut request);
        return block_on(asked(&context, &env, &app, &request, args.detach));
    }
    let out = Output::new(args.asking.shown);
    let launch = args.what.launch()?;
    let definition = judge(&launch, out)?;
    let env = args.env.get()?;
    let context = Context::new(&args.asking)?;
    block_on(async {
        let mut request = args.what.request(&context, &env, &launch, &definition).await?;
        wishes.apply(&mut request);
        asked(&context, &env, &launch.app, &request, args.detach).await
    })
}

/// Asks for a deployment, and waits for its end unless nobody wants to.
async fn asked(
    context: &Context,
    env: &EnvName,
    app: &AppName,
    request: &DeployRequest,
    detach: bool,
) -> Ended {
    let view = ask(&context.client, env, app, request).await?;
    match detach {
        true => detached(context, &view),
        false => follow(context, view, Ending::Data).await,
    }
}

/// How it is to be deployed, beside what the launch file says.
#[derive(Debug, Clone)]
struct Wishes {
    strategy: Option<Strategy>,
    now: bool,
    reason: Option<String>,
    override_freeze: Option<String>,
}

impl Wishes {
    fn apply(&self, request: &mut DeployRequest) {
        request.strategy = self.strategy.or(request.strategy);
        request.now = self.now;
        request.reason.clone_from(&self.reason);
        request.override_freeze.clone_from(&self.override_freeze);
    }
}

/// Asks for a deployment.
pub(crate) async fn ask(
    client: &Client,
    env: &EnvName,
    app: &AppName,
    request: &DeployRequest,
) -> Result<DeploymentView, Failure> {
    client.deploy(env, app, request).await
}

/// What is said of a deployment nobody waits for.
pub(crate) fn detached(context: &Context, view: &DeploymentView) -> Ended {
    context.out.one(view, |view| {
        format!(
            "{} {} → {} was accepted\n  look: ark deployments {} -e {}     result: ark receipt {}",
            view.app, view.release, view.env, view.app, view.env, view.id
        )
    })?;
    Ok(Exit::DONE)
}

/// Reads the definition of a launch file, or says everything that is wrong with it.
pub(crate) fn judge(launch: &Launch, out: Output) -> Result<Definition, Failure> {
    judge_app(launch, out)?.map_err(|kind| {
        let what = kind.why_not_run().unwrap_or_default();
        let text = format!("{} describes {what}", launch.file.display());
        let code = match kind {
            DataStoreKind::Library => ProblemCode::NotRunnable,
            _ => ProblemCode::DataStore,
        };
        Failure::new(ExitCode::Usage, code.as_str(), text)
    })
}

/// The same; its kind when it describes something that Ark does not run.
fn judge_app(launch: &Launch, out: Output) -> Result<Result<Definition, DataStoreKind>, Failure> {
    let file = launch.file.display().to_string();
    match parse_of(Some(&launch.app), &file, &launch.text).into_result() {
        Err(found) => Err(validate::refusal(&file, &found)),
        Ok((launch, warnings)) => {
            if !warnings.is_empty() {
                out.say(validate::rendered(&file, true, &warnings, out.talk_style));
            }
            Ok(match launch {
                LaunchFile::App(definition) => Ok(*definition),
                LaunchFile::DataStore(store) => store.definition().ok_or(store.kind),
            })
        }
    }
}

/// A release that is known: `v7` of the environment that is deployed to, `staging:v7` of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    env: Option<EnvName>,
    number: ReleaseNumber,
}

impl FromStr for Known {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (env, number) = match text.split_once(':') {
            Some((env, number)) => {
                let env: EnvName = env.parse().map_err(|_| "v7, or staging:v7".to_owned())?;
                (Some(env), number)
            }
            None => (None, text),
        };
        let number = number.parse().map_err(|_| "v7, or staging:v7".to_owned())?;
        Ok(Self { env, number })
    }
}

impl What {
    /// The launch file that is meant.
    pub(crate) fn launch(&self) -> Result<Launch, Failure> {
        launch::find(self.file.as_deref(), self.app.clone(), &here()?)
    }

    /// Whether a known release is meant, for which no launch file is read.
    pub(crate) fn is_known(&self) -> bool {
        self.release.is_some()
    }

    /// The app and the request, when a known release is meant.
    pub(crate) fn known(&self, env: &EnvName) -> Result<(AppName, DeployRequest), Failure> {
        let (Some(app), Some(known)) = (&self.app, &self.release) else {
            let text = "a known release is one of an app: name the app";
            return Err(Failure::new(ExitCode::Usage, "app-missing", text));
        };
        let from_env = known.env.as_ref().unwrap_or(env).clone();
        let from = Some(ReleaseRef { env: from_env, number: known.number });
        Ok((app.clone(), DeployRequest { from, strategy: self.strategy, ..Default::default() }))
    }

    /// The request, after everything it needs was sent.
    pub(crate) async fn request(
        &self,
        context: &Context,
        env: &EnvName,
        launch: &Launch,
        definition: &Definition,
    ) -> Result<DeployRequest, Failure> {
        let source = match (&self.dir, &self.image) {
            (Some(dir), _) => Source::Directory(dir.clone()),
            (None, Some(image)) => Source::Image { reference: image.clone(), digest: None },
            (None, None) if self.keep_image => {
                Sources::new(context, env, true).kept(launch, definition).await?
            }
            (None, None) => {
                Sources::new(context, env, self.keep_image).for_deploy(launch, definition).await?
            }
        };
        request(context, launch, source, self.strategy).await
    }
}

/// The request for a launch file with an image that was built from a commit.
pub(crate) fn image_request(
    launch: &Launch,
    image: &str,
    commit: &str,
) -> Result<DeployRequest, Failure> {
    let file = launch.file.display().to_string();
    let text = String::from_utf8(launch.text.clone())
        .map_err(|_| Failure::usage(format!("{file} is not UTF-8 text")))?;
    Ok(DeployRequest {
        launch: Some(LaunchText { file, text }),
        artifact: Some(Artifact::Image { reference: image.to_owned(), digest: None }),
        commit: Some(commit.to_owned()),
        ..DeployRequest::default()
    })
}

/// The request for a launch file, after everything it needs was sent.
pub(crate) async fn request(
    context: &Context,
    launch: &Launch,
    source: Source,
    strategy: Option<Strategy>,
) -> Result<DeployRequest, Failure> {
    let file = launch.file.display().to_string();
    let text = String::from_utf8(launch.text.clone())
        .map_err(|_| Failure::usage(format!("{file} is not UTF-8 text")))?;
    let folder = match &source {
        Source::Directory(dir) => dir.clone(),
        Source::Image { .. } | Source::Nothing => launch.project(),
    };
    let artifact = match source {
        Source::Directory(dir) => Some(send(context, dir).await?),
        Source::Image { reference, digest } => Some(Artifact::Image { reference, digest }),
        Source::Nothing => None,
    };
    Ok(DeployRequest {
        launch: Some(LaunchText { file, text }),
        artifact,
        strategy,
        commit: commit(&folder).await,
        ..DeployRequest::default()
    })
}

async fn send(context: &Context, dir: PathBuf) -> Result<Artifact, Failure> {
    let out = context.out;
    let read = tokio::task::spawn_blocking(move || read_directory(&dir));
    let directory = read.await.map_err(|error| {
        Failure::new(ExitCode::Failed, "artifact", format!("reading the directory broke: {error}"))
    })??;
    let (files, size) = directory.size();
    let all = format!("{}, {}", counted(files, "file"), bytes(size));
    let mut said = tokio::time::Instant::now();
    let (artifact, sent) = upload::send_directory(&context.client, &directory, |sent, total| {
        if said.elapsed() >= Duration::from_secs(2) {
            said = tokio::time::Instant::now();
            let (sent, total) = (bytes(sent.bytes), bytes(total.bytes));
            out.event(jiff::Timestamp::now(), &format!("sent {sent} of {total}"));
        }
    })
    .await?;
    let place = directory.root.display();
    let new = match sent.blobs {
        0 => "the server has all of it".to_owned(),
        blobs => format!("{} sent, {}", counted(blobs, "file"), bytes(sent.bytes)),
    };
    out.event(jiff::Timestamp::now(), &format!("directory {place} ({all}): {new}"));
    Ok(artifact)
}

/// The commit a directory is at, with `-dirty` when something is not committed; absent outside of
/// a repository.
async fn commit(dir: &Path) -> Option<String> {
    let git = Command::new("git")
        .arg("-C")
        .arg(dir)
        .args(["describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"])
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(GIT_TIMEOUT, git).await.ok()?.ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let text = text.trim();
    (output.status.success() && !text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::source::plain;
    use super::*;

    fn of(text: &str) -> Source {
        let launch = Launch {
            app: "web".parse().unwrap(),
            file: "shop/launch/web.yml".into(),
            text: text.into(),
        };
        let definition = judge(&launch, Output::new(Shown::default())).unwrap();
        plain(&launch, &definition)
    }

    #[test]
    fn a_program_of_the_project_takes_the_project_with_it() {
        let shop = || Source::Directory("shop".into());
        for (text, expect) in [
            ("run: {type: process, command: [./web]}", shop()),
            ("run: {type: process, command: [python3, web.py]}", shop()),
            ("run: {type: process, command: [/usr/bin/web]}", Source::Nothing),
            ("{}", Source::Nothing),
        ] {
            assert_eq!(of(text), expect, "{text}");
        }
    }

    #[test]
    fn a_known_release_is_one_of_this_environment_or_of_another() {
        let known = |env: Option<&str>, number| Known {
            env: env.map(|env| env.parse().unwrap()),
            number: ReleaseNumber(number),
        };
        for (text, expect) in [
            ("v7", Some(known(None, 7))),
            ("7", Some(known(None, 7))),
            ("staging:v12", Some(known(Some("staging"), 12))),
            ("staging", None),
            ("Staging:v1", None),
            ("staging:v1:v2", None),
            ("", None),
        ] {
            assert_eq!(text.parse::<Known>().ok(), expect, "{text}");
        }
    }

    #[test]
    fn a_wrong_launch_file_is_refused_before_anything_is_sent() {
        let launch = Launch {
            app: "web".parse().unwrap(),
            file: "launch/web.yml".into(),
            text: b"run: {type: porcess}".to_vec(),
        };
        let failure = judge(&launch, Output::new(Shown::default())).unwrap_err();
        assert_eq!(failure.exit.0, 2);
        assert_eq!(failure.headline, "launch/web.yml: 1 error");
        for (text, says) in
            [("type: dynamodb", "data store of type dynamodb"), ("type: library", "never run")]
        {
            let other = Launch { text: text.as_bytes().to_vec(), ..launch.clone() };
            let failure = judge(&other, Output::new(Shown::default())).unwrap_err();
            assert_eq!(failure.exit.0, 2);
            assert!(failure.headline.contains(says), "{}", failure.headline);
        }
    }

    #[tokio::test]
    async fn a_folder_outside_of_a_repository_has_no_commit() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(commit(dir.path()).await, None);
    }
}
