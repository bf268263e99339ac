//! The images of a project: which apps share one, what it is called at a commit, and whether what it
//! is made from has changed since the last one. `ark build` and `ark ci` build them.

mod apps;
mod recipe;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use ark_model::AppName;
use ark_model::api::BuildRequest;
use ark_model::artifact::Artifact;
use ark_model::exit::ExitCode;
use serde::Serialize;
use tokio::process::Command;
use tokio::time::timeout;

pub(crate) use self::apps::{Apps, Broken, is_built};
pub(crate) use self::recipe::Image;
use crate::client::upload;
use crate::context::Context;
use crate::failure::Failure;
use crate::git::{git, without_repository};
use crate::launch;
use crate::manifest::read_context;
use crate::output::numbers::{bytes, counted};

/// Where an image is described, unless the launch file names another file.
const DOCKERFILE: &str = "Dockerfile";
/// How long the command of a definition that makes an artifact may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60 * 60);
/// Commits before this one that are searched for an image.
const COMMITS_MAX: usize = 200;
/// Images asked for at once: of most projects one of the last commits has one.
const ASKED_AT_ONCE: usize = 16;
/// Characters of a commit that name an image.
const TAG_CHARS: usize = 7;

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
    root: PathBuf,
    /// All its characters.
    commit: String,
}

impl Project {
    /// The project of a folder that holds `launch/`, and its apps. Only what is committed can be built: an
    /// image is named by its commit.
    pub(crate) async fn open(root: &Path) -> Result<(Self, Apps), Failure> {
        let project = Self::as_it_stands(root).await?;
        let apps = Apps::read(root, Broken::Refused)?;
        if apps.with.is_empty() {
            return Err(Failure::usage(format!(
                "no launch file in {} describes an app that runs an image",
                root.join(launch::FOLDER).display()
            )));
        }
        let changed = git(root, &["status", "--porcelain", "--untracked-files=no"]).await?;
        match changed.lines().next() {
            None => Ok((project, apps)),
            Some(first) => Err(project.not_committed(changed.lines().count(), first.trim())),
        }
    }

    /// The same, whatever is not committed: for who builds nothing.
    pub(crate) async fn as_it_stands(root: &Path) -> Result<Self, Failure> {
        let commit = git(root, &["rev-parse", "HEAD"]).await.map_err(|failure| {
            failure.remedy("images are named by commits", "git init, git commit")
        })?;
        Ok(Self { root: root.to_owned(), commit })
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

/// Names as `git diff -z` lists them. Of a clean tree there are none: a glob such as `**` matches nothing too.
fn each(names: &str) -> impl Iterator<Item = &str> {
    names.split('\0').filter(|name| !name.is_empty())
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
    use ark_model::definition::{Definition, LaunchFile, parse};
    use globset::GlobSet;

    use super::*;

    pub(super) fn definition(text: &str) -> Definition {
        match parse("launch/x.yml", text.as_bytes()).into_result() {
            Ok((LaunchFile::App(definition), _)) => *definition,
            other => panic!("{other:?}"),
        }
    }

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
        let text = b"build: {artifact: {dependencies: [src/**]}}";
        let Ok((LaunchFile::App(definition), _)) = parse("launch/x.yml", text).into_result() else {
            panic!("a definition");
        };
        let web = "web".parse().unwrap();
        let image = recipe::shared([(&web, &*definition)].into_iter()).unwrap();
        let project = |commit: &str| Project { root: root.to_owned(), commit: commit.to_owned() };
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
}
