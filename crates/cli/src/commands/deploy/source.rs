//! What an app runs when the command line does not say: the image that was built of it, the project's
//! folder, or nothing but what is on the host. Nothing moves from a container onto the host unless
//! somebody says so: what would is refused, with the command to type.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};

use ark_model::artifact::Artifact;
use ark_model::definition::{Definition, EngineRequirement};
use ark_model::exit::ExitCode;
use ark_model::{AppName, EnvName};

use crate::context::{Context, here};
use crate::failure::Failure;
use crate::images::{Apps, Broken, Project, is_built};
use crate::launch::{FOLDER, Launch};

/// What is sent to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// The files of a directory, as a process.
    Directory(PathBuf),
    /// An image, with its digest where it is to be this content and no other.
    Image { reference: String, digest: Option<String> },
    /// Nothing: the command is on the host, as a process.
    Nothing,
}

/// Looks for what apps run in an environment; a project of several is read once.
pub(crate) struct Sources<'a> {
    context: &'a Context,
    env: &'a EnvName,
    /// Whether what runs an image there goes on with it.
    keep_image: bool,
    apps: BTreeMap<PathBuf, Apps>,
}

impl<'a> Sources<'a> {
    pub(crate) fn new(context: &'a Context, env: &'a EnvName, keep_image: bool) -> Self {
        Self { context, env, keep_image, apps: BTreeMap::new() }
    }

    /// What `ark deploy --keep-image` of one app sends.
    ///
    /// # Errors
    /// It runs no image there: another one, or none, is not what was asked for.
    pub(crate) async fn kept(
        &mut self,
        launch: &Launch,
        definition: &Definition,
    ) -> Result<Source, Failure> {
        if let Some(source) = self.keepable(launch, definition).await? {
            return Ok(source);
        }
        // Which image a data store runs is nobody's to keep.
        if definition.data_store.is_some() {
            return Ok(plain(launch, definition));
        }
        let (app, env) = (&launch.app, self.env);
        let headline = match may_be_image(definition) {
            true => format!("{app} runs no image on {env}: there is none to keep"),
            false => format!("{app} is a process by its launch file, and runs no image"),
        };
        Err(Failure::new(ExitCode::Usage, "no-image-to-keep", headline)
            .remedy("what it is to run now", to_type(launch, env)))
    }

    /// The image that an app runs there.
    async fn keepable(
        &self,
        launch: &Launch,
        definition: &Definition,
    ) -> Result<Option<Source>, Failure> {
        if !may_be_image(definition) {
            return Ok(None);
        }
        Ok(match self.there(&launch.app).await? {
            Some(Artifact::Image { reference, digest }) => {
                Some(Source::Image { reference, digest })
            }
            Some(Artifact::Directory { .. } | Artifact::None) | None => None,
        })
    }

    /// What `ark deploy` sends.
    ///
    /// # Errors
    /// The image is not built, or not named, and the app is not said to be a process.
    pub(crate) async fn for_deploy(
        &mut self,
        launch: &Launch,
        definition: &Definition,
    ) -> Result<Source, Failure> {
        if self.keep_image {
            if let Some(source) = self.keepable(launch, definition).await? {
                return Ok(source);
            }
            // Which image a data store runs is nobody's to keep.
            if definition.data_store.is_none() {
                let (app, env) = (&launch.app, self.env);
                let words = format!("note: {app} runs no image on {env}: there is none to keep");
                self.context.out.warn(words);
            }
        }
        if !may_be_image(definition) {
            return Ok(plain(launch, definition));
        }
        if is_built(definition)
            && let Some(source) = self.built(launch, definition).await?
        {
            return Ok(source);
        }
        match self.there(&launch.app).await? {
            Some(Artifact::Image { reference, .. }) => {
                Err(self.forgotten(launch, definition, &reference))
            }
            Some(Artifact::Directory { .. } | Artifact::None) | None => {
                Ok(plain(launch, definition))
            }
        }
    }

    /// What `ark start` sends: what the app ran there, else the same as `ark deploy`.
    ///
    /// # Errors
    /// As [`Self::for_deploy`].
    pub(crate) async fn for_start(
        &mut self,
        launch: &Launch,
        definition: &Definition,
    ) -> Result<Source, Failure> {
        if !may_be_image(definition) {
            return Ok(plain(launch, definition));
        }
        match self.there(&launch.app).await? {
            Some(Artifact::Image { reference, digest }) => Ok(Source::Image { reference, digest }),
            Some(Artifact::Directory { .. } | Artifact::None) => Ok(plain(launch, definition)),
            None => self.for_deploy(launch, definition).await,
        }
    }

    /// What the app's live release runs; where none is live, its newest one.
    async fn there(&self, app: &AppName) -> Result<Option<Artifact>, Failure> {
        let client = &self.context.client;
        let live = match client.app(self.env, app).await {
            Ok(detail) => detail.row.live,
            Err(failure) if failure.exit == ExitCode::NotFound.into() => return Ok(None),
            Err(failure) => return Err(failure),
        };
        let release = match live {
            Some(live) => Some(client.release(self.env, app, live).await?.row),
            None => client.releases(self.env, app, 1).await?.into_iter().next(),
        };
        Ok(release.map(|release| release.artifact))
    }

    /// The image that was built of what stands in the project; `None` when none can be built of it.
    async fn built(
        &mut self,
        launch: &Launch,
        definition: &Definition,
    ) -> Result<Option<Source>, Failure> {
        let (app, env) = (&launch.app, self.env);
        let failure = match self.look(launch, definition).await {
            Ok(Look::NoImage) => return Ok(None),
            Ok(Look::Found(reference)) => {
                return Ok(Some(Source::Image { reference, digest: None }));
            }
            Ok(Look::Missing(name)) => {
                let project = from_here(launch.project());
                let at = match project == Path::new(".") {
                    true => String::new(),
                    false => format!(" --dir {}", project.display()),
                };
                let headline = format!("image {name} of {app} is not built");
                Failure::new(ExitCode::Usage, "image-not-built", headline)
                    .detail(format!("By `build` in its launch file {app} runs an image."))
                    .remedy("build it", format!("ark build {app}{at}"))
                    .remedy("then", to_type(launch, env))
            }
            Err(failure) => {
                failure.detail(format!("By `build` in its launch file {app} runs an image."))
            }
        };
        let failure = match self.there(app).await {
            Ok(Some(Artifact::Image { .. })) => failure
                .remedy("with the image it runs", format!("{} --keep-image", to_type(launch, env))),
            // What went wrong first is told.
            Ok(_) | Err(_) => failure,
        };
        Err(as_a_process(failure, env, launch, definition))
    }

    /// What the image is called, and which one is there.
    async fn look(&mut self, launch: &Launch, definition: &Definition) -> Result<Look, Failure> {
        let root = launch.project();
        let apps = match self.apps.entry(root.clone()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(Apps::read(&root, Broken::PassedOver)?),
        };
        apps.take(launch, definition);
        let Some(image) = apps.image(&launch.app, definition)? else {
            return Ok(Look::NoImage);
        };
        let project = Project::as_it_stands(&root).await?;
        project.check_committed(&image).await?;
        Ok(match project.find(self.context, &image).await? {
            (_, Some((name, _))) => Look::Found(name),
            (name, None) => Look::Missing(name),
        })
    }

    /// An image that nobody builds here, and nobody named.
    fn forgotten(&self, launch: &Launch, definition: &Definition, reference: &str) -> Failure {
        let (app, env) = (&launch.app, self.env);
        let headline =
            format!("which image is {app} to run? In {env} it runs {reference}, and none is named");
        let failure = Failure::new(ExitCode::Usage, "image-not-named", headline)
            .remedy("another", format!("{} --image REF", to_type(launch, env)))
            .remedy("the same", format!("{} --keep-image", to_type(launch, env)));
        as_a_process(failure, env, launch, definition)
    }
}

/// What a search for an image came to.
enum Look {
    /// None is built of this project.
    NoImage,
    /// It is not built.
    Missing(String),
    /// It is there.
    Found(String),
}

/// Adds how to say that an app is to run without an image.
fn as_a_process(
    failure: Failure,
    env: &EnvName,
    launch: &Launch,
    definition: &Definition,
) -> Failure {
    if definition.run.command.is_none() {
        return failure;
    }
    let dir = from_here(launch.project());
    let command = format!("{} --dir {}", to_type(launch, env), dir.display());
    failure.remedy("as a process of the server's host", command)
}

/// The command that deploys by this launch file.
fn to_type(launch: &Launch, env: &EnvName) -> String {
    let file = from_here(launch.file.clone());
    match file.parent() == Some(Path::new(FOLDER)) {
        true => format!("ark deploy {} -e {env}", launch.app),
        false => format!("ark deploy {} -e {env} --file {}", launch.app, file.display()),
    }
}

/// A path as a person would type it here.
fn from_here(path: PathBuf) -> PathBuf {
    let within = here().ok().and_then(|here| path.strip_prefix(here).ok().map(Path::to_owned));
    let path = within.unwrap_or(path);
    if path.as_os_str().is_empty() { PathBuf::from(".") } else { path }
}

/// Whether an app may run an image at all. Which one a data store runs is the server's choice.
fn may_be_image(definition: &Definition) -> bool {
    definition.run.requires != EngineRequirement::ProcessOnly && definition.data_store.is_none()
}

/// What is sent of an app that runs no image: a program that is not named by an absolute path belongs
/// to the project, so the project goes with it. An absolute path is on the machine already.
pub(super) fn plain(launch: &Launch, definition: &Definition) -> Source {
    let program = definition.run.command.as_ref().and_then(|command| command.first());
    match program {
        Some(program) if !Path::new(program).is_absolute() => Source::Directory(launch.project()),
        Some(_) | None => Source::Nothing,
    }
}
