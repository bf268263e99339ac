//! The images of a project: which apps share one, what it is called at a commit, and whether what it
//! is made from has changed since the last one. `ark build` and `ark ci` build them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use ark_model::AppName;
use ark_model::api::BuildRequest;
use ark_model::artifact::Artifact;
use ark_model::definition::{
    DataStoreKind, Definition, EngineRequirement, LaunchFile, RunKind, parse,
};
use ark_model::exit::ExitCode;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use serde::Serialize;
use tokio::process::Command;
use tokio::time::timeout;

use crate::client::upload;
use crate::commands::validate;
use crate::context::Context;
use crate::failure::Failure;
use crate::git::{git, without_repository};
use crate::launch::{self, Launch};
use crate::manifest::read_context;
use crate::output::numbers::{bytes, counted};
use crate::project_path;

/// How long the command of a definition that makes an artifact may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60 * 60);
/// Commits before this one that are searched for an image.
const COMMITS_MAX: usize = 200;
/// Images asked for at once: of most projects one of the last commits has one.
const ASKED_AT_ONCE: usize = 16;
/// Where an image is described, unless the launch file names another file.
const DOCKERFILE: &str = "Dockerfile";
/// Characters of a commit that name an image.
const TAG_CHARS: usize = 7;

/// An image that one or several apps run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Image {
    /// Its name: the artifact's.
    pub(crate) name: String,
    /// Who runs it.
    pub(crate) apps: Vec<AppName>,
    dockerfile: String,
    command: Option<String>,
    /// Globs of what it is made from; empty when that is not said.
    dependencies: BTreeSet<String>,
}

/// What became of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// It was built.
    Built,
    /// It was there.
    Present,
    /// Nothing that it is made from has changed since the commit that names it.
    Unchanged,
}

/// An image that is there, for an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Ready {
    pub(crate) app: AppName,
    pub(crate) image: String,
    pub(crate) outcome: Outcome,
}

/// A project at a commit.
#[derive(Debug)]
pub(crate) struct Project {
    pub(crate) root: PathBuf,
    /// All its characters.
    pub(crate) commit: String,
    /// Apps whose image can be built here, with their launch files.
    pub(crate) apps: BTreeMap<AppName, (Launch, Definition)>,
    /// The other apps, and why no image is built for them.
    pub(crate) without: Vec<(AppName, &'static str)>,
}

impl Project {
    /// The project of a folder that holds `launch/`. Only what is committed can be built: an image
    /// is named by its commit.
    pub(crate) async fn open(root: &Path) -> Result<Self, Failure> {
        let project = Self::read(root, Broken::Refused).await?;
        if project.apps.is_empty() {
            return Err(Failure::usage(format!(
                "no launch file in {} describes an app that runs an image",
                root.join(launch::FOLDER).display()
            )));
        }
        let changed = git(root, &["status", "--porcelain", "--untracked-files=no"]).await?;
        match changed.lines().next() {
            None => Ok(project),
            Some(first) => Err(project.not_committed(changed.lines().count(), first.trim())),
        }
    }

    /// The same, whatever is not committed and whatever is wrong with other launch files: for who builds nothing.
    pub(crate) async fn as_it_stands(root: &Path) -> Result<Self, Failure> {
        Self::read(root, Broken::PassedOver).await
    }

    async fn read(root: &Path, broken: Broken) -> Result<Self, Failure> {
        let commit = git(root, &["rev-parse", "HEAD"]).await.map_err(|failure| {
            failure.remedy("images are named by commits", "git init, git commit")
        })?;
        let folder = root.join(launch::FOLDER);
        let dockerfile = root.join(DOCKERFILE).is_file();
        let (mut apps, mut without) = (BTreeMap::new(), Vec::new());
        for file in launch::launch_files(&folder) {
            let launch = launch::find(Some(&file), None, root)?;
            let name = file.display().to_string();
            let definition = match parse(&name, &launch.text).into_result() {
                Err(_) if broken == Broken::PassedOver => continue,
                Err(found) => return Err(validate::refusal(&name, &found)),
                Ok((LaunchFile::DataStore(store), _)) => {
                    let what = match store.kind {
                        DataStoreKind::Library => "a library",
                        _ => "a data store",
                    };
                    without.push((launch.app, what));
                    continue;
                }
                Ok((LaunchFile::App(definition), _)) => *definition,
            };
            match no_image(&definition, dockerfile) {
                None => {
                    apps.insert(launch.app.clone(), (launch, definition));
                }
                Some(why) => without.push((launch.app, why)),
            }
        }
        Ok(Self { root: root.to_owned(), commit, apps, without })
    }

    /// The images of these apps, or of all.
    pub(crate) fn images(&self, wanted: &[AppName]) -> Result<Vec<Image>, Failure> {
        if let Some(unknown) = wanted.iter().find(|app| !self.apps.contains_key(*app)) {
            let known: Vec<&str> = self.apps.keys().map(AppName::as_str).collect();
            return Err(Failure::usage(format!("no image is built for {unknown}"))
                .detail(format!("Apps with images here: {}", known.join(", "))));
        }
        let all = self.apps.iter().map(|(app, (_, definition))| (app, definition));
        if wanted.is_empty() {
            return shared(all);
        }
        // How an artifact is made may be said by an app that is not wanted.
        let of_wanted = all.clone().filter(|(app, _)| wanted.contains(app));
        let names: BTreeSet<String> = of_wanted.map(|(app, of)| artifact(app, of)).collect();
        let mut images = shared(all.filter(|(app, of)| names.contains(&artifact(app, of))))?;
        images.iter_mut().for_each(|image| image.apps.retain(|app| wanted.contains(app)));
        Ok(images)
    }

    /// Takes an app as this launch file describes it, which may stand elsewhere than the project's own.
    pub(crate) fn take(&mut self, launch: &Launch, definition: &Definition) {
        self.without.retain(|(app, _)| *app != launch.app);
        self.apps.remove(&launch.app);
        match no_image(definition, self.root.join(DOCKERFILE).is_file()) {
            None => {
                self.apps.insert(launch.app.clone(), (launch.clone(), definition.clone()));
            }
            Some(why) => self.without.push((launch.app.clone(), why)),
        }
    }

    /// Whether an image can be made of what this definition says is built: it names a Dockerfile, the project
    /// has one, or another app of the project says so of the same artifact. Asks no `git`.
    pub(crate) fn is_image(root: &Path, app: &AppName, definition: &Definition) -> bool {
        let says = |of: &Definition| of.build.as_ref().is_some_and(|build| build.docker.is_some());
        if says(definition) || root.join(DOCKERFILE).is_file() {
            return true;
        }
        let name = artifact(app, definition);
        launch::launch_files(&root.join(launch::FOLDER)).iter().any(|file| {
            let Ok(launch) = launch::find(Some(file), None, root) else { return false };
            match parse(&file.display().to_string(), &launch.text).into_result() {
                Ok((LaunchFile::App(other), _)) => {
                    says(&other) && artifact(&launch.app, &other) == name
                }
                _ => false,
            }
        })
    }

    /// The image of one app; `None` when its launch file says how something is built, and there is no
    /// Dockerfile to make an image of that.
    pub(crate) fn image(
        &self,
        app: &AppName,
        definition: &Definition,
    ) -> Result<Option<Image>, Failure> {
        if self.without.iter().any(|(other, _)| other == app) {
            return Ok(None);
        }
        let image = self.images(std::slice::from_ref(app))?.into_iter().next();
        let says = definition.build.as_ref().is_some_and(|build| build.docker.is_some());
        Ok(image.filter(|image| says || self.root.join(&image.dockerfile).is_file()))
    }

    fn not_committed(&self, files: usize, first: &str) -> Failure {
        let files = counted(files as u64, "file");
        let commit = tag(&self.commit);
        Failure::usage(format!("{files} changed since commit {commit}: {first}"))
            .detail("An image is named by its commit and never overwritten.")
            .remedy("commit them", "git commit -a")
    }

    /// Sees to it that an image is there: finds it, or builds it.
    pub(crate) async fn make(
        &self,
        context: &Context,
        image: &Image,
    ) -> Result<(String, Outcome), Failure> {
        let (name, found) = self.find(context, image).await?;
        if let Some(found) = found {
            return Ok(found);
        }
        self.build(context, image, &name).await?;
        Ok((name, Outcome::Built))
    }

    /// What an image is called at this commit, and the one that is there for it, which may be that of an
    /// earlier commit. Builds nothing.
    pub(crate) async fn find(
        &self,
        context: &Context,
        image: &Image,
    ) -> Result<(String, Option<(String, Outcome)>), Failure> {
        let registries = context.client.registries().await?;
        let called = registries.iter().find_map(|registry| registry.image(&image.name));
        let called = called.as_ref().unwrap_or(&image.name);
        let at = |commit: &str| format!("{called}:{}", tag(commit));
        let name = at(&self.commit);
        // Each is kept before it is relied on: it may be about to be collected.
        if context.client.keep_image(&name).await? {
            return Ok((name.clone(), Some((name, Outcome::Present))));
        }
        let before = match image.dependencies.is_empty() {
            true => Vec::new(),
            false => self.commits_before().await?,
        };
        for some in before.chunks(ASKED_AT_ONCE) {
            let asked = some.iter().map(|commit| at(commit)).collect();
            let found = context.client.find_images(asked).await?.present;
            let Some(commit) = some.iter().find(|commit| found.contains_key(&at(commit))) else {
                continue;
            };
            let last = at(commit);
            if !self.changed(image, commit).await? && context.client.keep_image(&last).await? {
                return Ok((name, Some((last, Outcome::Unchanged))));
            }
            break;
        }
        Ok((name, None))
    }

    /// Refuses to take an image for what stands in the folder when that was changed and not committed.
    /// Launch files are no part of images: what they say is sent beside them.
    pub(crate) async fn check_committed(&self, image: &Image) -> Result<(), Failure> {
        let range = ["diff", "--name-only", "-z", "--no-renames", "--relative", "HEAD"];
        let names = git(&self.root, &range).await?;
        let set = match image.dependencies.is_empty() {
            true => None,
            false => Some(image.globs()?),
        };
        let of_it = |name: &&str| match &set {
            Some(set) => set.is_match(name),
            None => Path::new(name).parent() != Some(Path::new(launch::FOLDER)),
        };
        let changed: Vec<&str> = each(&names).filter(of_it).collect();
        match changed.first() {
            None => Ok(()),
            Some(first) => Err(self.not_committed(changed.len(), first)),
        }
    }

    /// Commits that this one was made on, newest first.
    async fn commits_before(&self) -> Result<Vec<String>, Failure> {
        let count = format!("--max-count={COMMITS_MAX}");
        let text = git(&self.root, &["rev-list", &count, "HEAD"]).await?;
        Ok(text.lines().skip(1).map(str::to_owned).collect())
    }

    /// Whether something that an image is made from differs between a commit and this one.
    async fn changed(&self, image: &Image, since: &str) -> Result<bool, Failure> {
        let set = image.globs()?;
        // As they are, not quoted; and what was moved away is named too.
        let range = ["diff", "--name-only", "-z", "--no-renames", "--relative", since, "HEAD"];
        let names = git(&self.root, &range).await?;
        Ok(each(&names).any(|name| set.is_match(name)))
    }

    async fn build(&self, context: &Context, image: &Image, name: &str) -> Result<(), Failure> {
        let out = context.out;
        let say = |text: &str| out.event(jiff::Timestamp::now(), text);
        if let Some(command) = &image.command {
            say(&format!("{}: {command}", image.name));
            self.command(image, command).await?;
        }
        let (root, dockerfile) = (self.root.clone(), image.dockerfile.clone());
        let read = tokio::task::spawn_blocking(move || read_context(&root, &dockerfile)).await;
        let directory = read.map_err(|error| failed(image, &error.to_string()))??;
        let (files, size) = directory.size();
        say(&format!("{}: context of {}, {}", image.name, counted(files, "file"), bytes(size)));
        let (artifact, _) = upload::send_directory(&context.client, &directory, |_, _| {}).await?;
        let Artifact::Directory { digest } = artifact else {
            return Err(failed(image, "the context was not taken for a directory"));
        };
        let request = BuildRequest {
            context: digest,
            dockerfile: Some(image.dockerfile.clone()),
            image: name.to_owned(),
        };
        let built = context.client.build(&request, |line| say(&format!("{}: {line}", image.name)));
        match built.await? {
            Ok(_) => Ok(()),
            Err(reason) => Err(failed(image, &reason)),
        }
    }

    /// Runs the command that makes an artifact, where the project is.
    async fn command(&self, image: &Image, command: &str) -> Result<(), Failure> {
        let mut shell = Command::new("sh");
        without_repository(&mut shell);
        // What a repository says is run, and need not know how to deploy.
        shell.env_remove("ARK_TOKEN");
        let running = shell
            .args(["-c", command])
            .current_dir(&self.root)
            .stdin(Stdio::null())
            // What it says is no data of this command.
            .stdout(std::io::stderr())
            .kill_on_drop(true)
            .status();
        let ended = timeout(COMMAND_TIMEOUT, running).await;
        let ended = ended.map_err(|_| failed(image, "its command took more than an hour"))?;
        match ended {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(failed(image, &format!("`{command}` ended with {status}"))),
            Err(error) => Err(failed(image, &format!("`{command}`: {error}"))),
        }
    }
}

impl Image {
    /// What it is made from: its globs, and its Dockerfile.
    fn globs(&self) -> Result<GlobSet, Failure> {
        let mut set = GlobSetBuilder::new();
        let own = globset::escape(&self.dockerfile);
        for pattern in self.dependencies.iter().chain([&own]) {
            let plain = pattern.trim_start_matches("./").trim_end_matches('/');
            // A folder stands for all that is in it.
            for pattern in [plain.to_owned(), format!("{plain}/**")] {
                let glob = GlobBuilder::new(&pattern).literal_separator(true).build();
                set.add(glob.map_err(|error| {
                    Failure::usage(format!("build.artifact.dependencies: {error}"))
                })?);
            }
        }
        set.build().map_err(|error| Failure::usage(format!("build.artifact.dependencies: {error}")))
    }
}

/// How an artifact is made, as far as one app says it.
#[derive(Debug, Default)]
struct Recipe {
    apps: Vec<AppName>,
    dockerfile: Option<String>,
    command: Option<String>,
    dependencies: BTreeSet<String>,
    /// One says how it is made and not from what.
    from_anything: bool,
}

impl Recipe {
    /// Takes what another app says of the same artifact, which may be described once for all of them.
    /// Answers the key of which they say two different things.
    fn join(&mut self, other: Self) -> Result<(), &'static str> {
        join(&mut self.dockerfile, other.dockerfile).map_err(|()| "docker.file")?;
        join(&mut self.command, other.command).map_err(|()| "artifact.command")?;
        self.apps.extend(other.apps);
        self.dependencies.extend(other.dependencies);
        self.from_anything |= other.from_anything;
        Ok(())
    }
}

fn join(known: &mut Option<String>, new: Option<String>) -> Result<(), ()> {
    match (&*known, new) {
        (Some(known), Some(new)) if *known != new => Err(()),
        (None, new) => {
            *known = new;
            Ok(())
        }
        (Some(_), _) => Ok(()),
    }
}

/// What an app's artifact is called.
fn artifact(app: &AppName, definition: &Definition) -> String {
    let said = definition.build.as_ref().and_then(|build| build.artifact.as_ref());
    let name = said.and_then(|artifact| artifact.name.as_deref());
    name.unwrap_or(app.as_str()).to_ascii_lowercase()
}

/// The images of several apps: one artifact is built once.
fn shared<'a>(
    apps: impl Iterator<Item = (&'a AppName, &'a Definition)>,
) -> Result<Vec<Image>, Failure> {
    let mut recipes: BTreeMap<String, Recipe> = BTreeMap::new();
    for (app, definition) in apps {
        let build = definition.build.clone().unwrap_or_default();
        let artifact = build.artifact.unwrap_or_default();
        let name = self::artifact(app, definition);
        let dockerfile = match build.docker.and_then(|docker| docker.file) {
            Some(file) => Some(dockerfile(app, &file)?),
            None => None,
        };
        let says_how = artifact.command.is_some() || dockerfile.is_some();
        let new = Recipe {
            apps: vec![app.clone()],
            from_anything: says_how && artifact.dependencies.is_empty(),
            dockerfile,
            command: artifact.command,
            dependencies: artifact.dependencies.into_iter().collect(),
        };
        let known = recipes.entry(name.clone()).or_default();
        known.join(new).map_err(|key| {
            Failure::usage(format!(
                "{} and {app} share artifact {name} and say differently how it is built: `build.{key}`",
                known.apps.first().map_or("another", AppName::as_str)
            ))
            .remedy("", "say it once, or give each an artifact of its own")
        })?;
    }
    let image = |(name, recipe): (String, Recipe)| Image {
        name,
        apps: recipe.apps,
        dockerfile: recipe.dockerfile.unwrap_or_else(|| DOCKERFILE.to_owned()),
        command: recipe.command,
        dependencies: if recipe.from_anything { BTreeSet::new() } else { recipe.dependencies },
    };
    Ok(recipes.into_iter().map(image).collect())
}

/// Where an app's Dockerfile is in the project.
fn dockerfile(app: &AppName, file: &str) -> Result<String, Failure> {
    project_path::inside(file).filter(|path| !path.is_empty()).ok_or_else(|| {
        Failure::usage(format!("{app}: `build.docker.file` names no file of the project: {file}"))
            .remedy(
                "",
                "name one by its path within the project, which is what the image is built from",
            )
    })
}

/// Whether a launch file says how the app's image is built.
pub(crate) fn is_built(definition: &Definition) -> bool {
    let build = definition.build.as_ref();
    build.is_some_and(|build| build.docker.is_some() || build.artifact.is_some())
}

/// Why an app runs no image that could be built here: a process never does, and a function only where
/// it says how its image is built, or the project has a Dockerfile.
fn no_image(definition: &Definition, dockerfile: bool) -> Option<&'static str> {
    if definition.run.requires == EngineRequirement::ProcessOnly {
        return Some("a process runs no image");
    }
    let says = definition.build.as_ref().is_some_and(|build| build.docker.is_some());
    let built = definition.run.kind != RunKind::Lambda || says || dockerfile;
    (!built).then_some("a lambda with neither a Dockerfile nor `build.docker`")
}

/// Names as `git diff -z` lists them. Of a clean tree there are none: a glob such as `**` matches nothing too.
fn each(names: &str) -> impl Iterator<Item = &str> {
    names.split('\0').filter(|name| !name.is_empty())
}

/// What becomes of launch files that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broken {
    Refused,
    PassedOver,
}

/// The tag of a commit.
fn tag(commit: &str) -> &str {
    commit.get(..TAG_CHARS).unwrap_or(commit)
}

fn failed(image: &Image, reason: &str) -> Failure {
    let apps: Vec<&str> = image.apps.iter().map(AppName::as_str).collect();
    Failure::new(ExitCode::Failed, "build", format!("image {} was not built", image.name))
        .detail(reason.to_owned())
        .detail(format!("It is for {}.", apps.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_clean_tree_no_glob_finds_a_change() {
        let set = GlobSet::builder()
            .add(globset::Glob::new("**").expect("a glob"))
            .build()
            .expect("a set");
        for (told, changed) in [("", 0), ("src/page\0", 1), ("a\0b\0", 2)] {
            assert_eq!(each(told).filter(|name| set.is_match(name)).count(), changed, "{told:?}");
        }
    }

    fn definition(text: &str) -> Definition {
        match parse("launch/x.yml", text.as_bytes()).into_result() {
            Ok((LaunchFile::App(definition), _)) => *definition,
            other => panic!("{other:?}"),
        }
    }

    fn images(texts: &[(&str, &str)]) -> Result<Vec<Image>, Failure> {
        let all: Vec<(AppName, Definition)> =
            texts.iter().map(|(app, text)| (app.parse().unwrap(), definition(text))).collect();
        shared(all.iter().map(|(app, definition)| (app, definition)))
    }

    #[test]
    fn one_artifact_of_several_apps_is_one_image() {
        let common = "build: {artifact: {name: goods, command: make, dependencies: [src/**]}}";
        let more = "build: {artifact: {name: goods, command: make, dependencies: [lib/**]}}";
        let all = images(&[("api", common), ("web", more), ("worker", "{}")]).unwrap();
        let told: Vec<(&str, usize)> =
            all.iter().map(|image| (image.name.as_str(), image.apps.len())).collect();
        assert_eq!(told, [("goods", 2), ("worker", 1)]);
        let globs = all[0].globs().unwrap();
        for (path, of_it) in [
            ("src/a/b.rs", true),
            ("lib/x", true),
            ("Dockerfile", true),
            ("README.md", false),
            ("docs/src/a", false),
        ] {
            assert_eq!(globs.is_match(path), of_it, "{path}");
        }
        let other = "build: {artifact: {name: goods, command: make all}}";
        let refused = images(&[("api", common), ("web", other)]).unwrap_err();
        assert!(format!("{refused:?}").contains("build.artifact.command"), "{refused:?}");
        let other = "build: {artifact: {name: goods}, docker: {file: a}}";
        let another = "build: {artifact: {name: goods}, docker: {file: b}}";
        assert!(images(&[("api", other), ("web", another)]).is_err());
    }

    #[test]
    fn a_shared_artifact_may_be_described_by_one_of_its_apps() {
        let whole = "build: {artifact: {name: goods, command: make, dependencies: [src/**]}, \
                     docker: {file: goods.Dockerfile}}";
        let name = "build: {artifact: {name: goods}}";
        for texts in [[("api", whole), ("web", name)], [("api", name), ("web", whole)]] {
            let all = images(&texts).unwrap();
            assert_eq!(all.len(), 1);
            let apps: Vec<&str> = all[0].apps.iter().map(AppName::as_str).collect();
            assert_eq!(apps, ["api", "web"]);
            assert_eq!(all[0].dockerfile, "goods.Dockerfile");
            assert_eq!(all[0].command.as_deref(), Some("make"));
            assert!(all[0].dependencies.contains("src/**"));
        }
        let how = "build: {artifact: {name: goods, command: make}}";
        let from = "build: {artifact: {name: goods, dependencies: [src/**]}}";
        let all = images(&[("api", how), ("web", from)]).unwrap();
        assert!(all[0].dependencies.is_empty(), "one says how, and not from what");
    }

    #[test]
    fn a_dockerfile_is_a_file_of_the_project() {
        let of = |file: &str| images(&[("web", &format!("build: {{docker: {{file: {file}}}}}"))]);
        for (file, expected) in
            [("./Dockerfile", "Dockerfile"), ("web/../docker/x", "docker/x"), ("a//b", "a/b")]
        {
            assert_eq!(of(file).unwrap()[0].dockerfile, expected);
        }
        for file in ["../Dockerfile", "/etc/passwd", "."] {
            let refused = format!("{:?}", of(file).unwrap_err());
            assert!(refused.contains("build.docker.file"), "{refused}");
        }
    }

    #[test]
    fn a_folder_stands_for_what_is_in_it() {
        let all = images(&[("web", "build: {artifact: {dependencies: [./cmd/web/, go.mod]}}")]);
        let globs = all.unwrap()[0].globs().unwrap();
        for (path, of_it) in [("cmd/web/main.go", true), ("go.mod", true), ("cmd/api/x", false)] {
            assert_eq!(globs.is_match(path), of_it, "{path}");
        }
    }

    #[tokio::test]
    async fn whatever_changed_is_seen() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path();
        let put = |path: &str, text: &str| {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let commit = async || {
            git(root, &["add", "-A"]).await.unwrap();
            let who = ["-c", "user.name=Test", "-c", "user.email=test@example.test"];
            let commit = ["-c", "commit.gpgsign=false", "commit", "-q", "-m", "next"];
            git(root, &[&who[..], &commit].concat()).await.unwrap();
            git(root, &["rev-parse", "HEAD"]).await.unwrap()
        };
        git(root, &["init", "-q"]).await.unwrap();
        put("src/a", "a page that is long enough to be known again");
        let first = commit().await;
        let image = images(&[("web", "build: {artifact: {dependencies: [src/**]}}")]).unwrap();
        let project = |commit: &str| Project {
            root: root.to_owned(),
            commit: commit.to_owned(),
            apps: BTreeMap::new(),
            without: Vec::new(),
        };
        put("docs/x", "nothing of it");
        let other = commit().await;
        assert!(!project(&other).changed(&image[0], &first).await.unwrap());
        put("src/käse \"x\"", "an odd name");
        let odd = commit().await;
        assert!(project(&odd).changed(&image[0], &other).await.unwrap(), "an odd name");
        std::fs::rename(root.join("src/a"), root.join("docs/a")).unwrap();
        let moved = commit().await;
        assert!(project(&moved).changed(&image[0], &odd).await.unwrap(), "moved away");
    }

    #[test]
    fn who_has_an_image() {
        for (text, dockerfile, has) in [
            ("{}", false, true),
            ("run: {type: docker}", false, true),
            ("run: {type: process, command: [./web]}", true, false),
            ("run: {type: lambda}", false, false),
            ("run: {type: lambda}", true, true),
            ("{run: {type: lambda}, build: {docker: {file: lambda.Dockerfile}}}", false, true),
        ] {
            assert_eq!(no_image(&definition(text), dockerfile).is_none(), has, "{text}");
        }
    }
}
