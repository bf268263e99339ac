//! Which image the launch files of apps describe: its name, its Dockerfile and what it is made from. Reads
//! nothing.

use std::collections::{BTreeMap, BTreeSet};

use ark_model::AppName;
use ark_model::definition::Definition;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::DOCKERFILE;
use crate::failure::Failure;
use crate::project_path;

/// An image that one or several apps run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Image {
    /// Its name: the artifact's.
    pub(crate) name: String,
    /// Who runs it.
    pub(crate) apps: Vec<AppName>,
    pub(super) dockerfile: String,
    pub(super) command: Option<String>,
    /// Globs of what it is made from; empty when that is not said.
    pub(super) dependencies: BTreeSet<String>,
}

impl Image {
    /// What it is made from: its globs, and its Dockerfile.
    pub(super) fn globs(&self) -> Result<GlobSet, Failure> {
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
pub(super) fn artifact(app: &AppName, definition: &Definition) -> String {
    let said = definition.build.as_ref().and_then(|build| build.artifact.as_ref());
    let name = said.and_then(|artifact| artifact.name.as_deref());
    name.unwrap_or(app.as_str()).to_ascii_lowercase()
}

/// The images of several apps: one artifact is built once.
pub(super) fn shared<'a>(
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::tests::definition;

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
}
