//! The apps of a project, as its launch files describe them, and which of them run an image that can be
//! built there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use ark_model::AppName;
use ark_model::definition::{
    DataStoreKind, Definition, EngineRequirement, LaunchFile, RunKind, parse,
};

use super::DOCKERFILE;
use super::recipe::{Image, artifact, shared};
use crate::commands::validate;
use crate::failure::Failure;
use crate::launch::{self, Launch};

/// What becomes of launch files that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    /// They are an error.
    Refused,
    /// They are somebody else's.
    PassedOver,
}

/// The apps of a project.
#[derive(Debug)]
pub(crate) struct Apps {
    root: PathBuf,
    /// Apps whose image can be built here, with their launch files.
    pub(crate) with: BTreeMap<AppName, (Launch, Definition)>,
    /// The other apps, and why no image is built for them.
    pub(crate) without: Vec<(AppName, &'static str)>,
}

impl Apps {
    /// Those of a folder that holds `launch/`.
    ///
    /// # Errors
    /// A launch file cannot be read, and none is passed over.
    pub(crate) fn read(root: &Path, broken: Broken) -> Result<Self, Failure> {
        let mut apps = Self { root: root.to_owned(), with: BTreeMap::new(), without: Vec::new() };
        for file in launch::launch_files(&root.join(launch::FOLDER)) {
            let launch = launch::find(Some(&file), None, root)?;
            let name = file.display().to_string();
            match parse(&name, &launch.text).into_result() {
                Err(_) if broken == Broken::PassedOver => {}
                Err(found) => return Err(validate::refusal(&name, &found)),
                Ok((LaunchFile::DataStore(store), _)) => {
                    let what = match store.kind {
                        DataStoreKind::Library => "a library",
                        _ => "a data store",
                    };
                    apps.without.push((launch.app, what));
                }
                Ok((LaunchFile::App(definition), _)) => apps.take(&launch, &definition),
            }
        }
        Ok(apps)
    }

    /// Takes an app as this launch file describes it, which may stand elsewhere than the project's own.
    pub(crate) fn take(&mut self, launch: &Launch, definition: &Definition) {
        self.without.retain(|(app, _)| *app != launch.app);
        self.with.remove(&launch.app);
        match no_image(definition, self.root.join(DOCKERFILE).is_file()) {
            None => {
                self.with.insert(launch.app.clone(), (launch.clone(), definition.clone()));
            }
            Some(why) => self.without.push((launch.app.clone(), why)),
        }
    }

    /// The images of these apps, or of all.
    pub(crate) fn images(&self, wanted: &[AppName]) -> Result<Vec<Image>, Failure> {
        if let Some(unknown) = wanted.iter().find(|app| !self.with.contains_key(*app)) {
            let known: Vec<&str> = self.with.keys().map(AppName::as_str).collect();
            return Err(Failure::usage(format!("no image is built for {unknown}"))
                .detail(format!("Apps with images here: {}", known.join(", "))));
        }
        let all = self.with.iter().map(|(app, (_, definition))| (app, definition));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::tests::definition;

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
