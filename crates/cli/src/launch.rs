//! Which app is meant, where its launch file is, and which directory belongs to it.
//!
//! Reads files of this machine only; what a launch file means is `ark_model::definition`'s.

use std::path::{Path, PathBuf};

use ark_model::AppName;
use ark_model::exit::ExitCode;

use crate::failure::Failure;

/// The folder of launch files within a project.
pub(crate) const FOLDER: &str = "launch";
/// The endings of launch files.
const ENDINGS: [&str; 2] = ["yml", "yaml"];

/// A launch file that was found, with its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Launch {
    /// The app: the stem of the file, unless another name was given.
    pub(crate) app: AppName,
    /// Where the file is, as it was named or found.
    pub(crate) file: PathBuf,
    /// Its text.
    pub(crate) text: Vec<u8>,
}

impl Launch {
    /// The project: the folder that contains the `launch` folder, else the file's own folder.
    pub(crate) fn project(&self) -> PathBuf {
        let folder = self.file.parent().unwrap_or(Path::new(""));
        let project = match folder.file_name() {
            Some(name) if name == FOLDER => folder.parent().unwrap_or(Path::new("")),
            _ => folder,
        };
        if project.as_os_str().is_empty() { PathBuf::from(".") } else { project.to_owned() }
    }
}

/// The app that is meant: the given name, else the only launch file under `./launch`, else the
/// name of the folder.
pub(crate) fn app_name(given: Option<AppName>, here: &Path) -> Result<AppName, Failure> {
    if let Some(app) = given {
        return Ok(app);
    }
    let files = launch_files(&here.join(FOLDER));
    match files.as_slice() {
        [only] => app_of_file(only),
        [] => folder_name(here),
        several => {
            let names: Vec<_> =
                several.iter().filter_map(|file| file.file_stem()?.to_str()).collect();
            Err(Failure::usage(format!("which app? {FOLDER}/ holds several: {}", names.join(", ")))
                .remedy("", "name it as the first argument"))
        }
    }
}

/// Finds and reads the launch file: the given one, else `launch/<app>.yml` below `here`.
pub(crate) fn find(
    given: Option<&Path>,
    app: Option<AppName>,
    here: &Path,
) -> Result<Launch, Failure> {
    if let Some(file) = given {
        let app = app.map_or_else(|| app_of_file(file), Ok)?;
        let text = read(file)?;
        return Ok(Launch { app, file: file.to_owned(), text });
    }
    let app = app_name(app, here)?;
    match find_of(&app, &here.join(FOLDER))? {
        Some(launch) => Ok(Launch { file: shorten(&launch.file, here), ..launch }),
        None => Err(Failure::new(
            ExitCode::NotFound,
            "launch-file-not-found",
            format!("no launch file for {app}: {FOLDER}/{app}.yml does not exist here"),
        )
        .remedy("name one", format!("ark deploy {app} --file LAUNCH.yml"))
        .remedy("the format", "docs/definitions.md, ark schema")),
    }
}

/// The launch file of an app in a folder of launch files, when there is one.
pub(crate) fn find_of(app: &AppName, folder: &Path) -> Result<Option<Launch>, Failure> {
    for ending in ENDINGS {
        let file = folder.join(format!("{app}.{ending}"));
        if file.is_file() {
            return Ok(Some(Launch { app: app.clone(), text: read(&file)?, file }));
        }
    }
    Ok(None)
}

/// Launch files of a folder, sorted.
pub(crate) fn launch_files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<_> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| is_launch_file(path) && path.is_file())
        .collect();
    files.sort();
    files
}

/// Whether the file's ending is one of a launch file.
pub(crate) fn is_launch_file(path: &Path) -> bool {
    path.extension().and_then(|ending| ending.to_str()).is_some_and(|e| ENDINGS.contains(&e))
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(file).map_err(|error| Failure::file(file, "read", &error))
}

fn shorten(file: &Path, here: &Path) -> PathBuf {
    file.strip_prefix(here).map_or_else(|_| file.to_owned(), Path::to_owned)
}

/// The app that a launch file describes when nobody says otherwise.
pub(crate) fn app_of_file(file: &Path) -> Result<AppName, Failure> {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    stem.parse().map_err(|error| {
        Failure::usage(format!("{} names no app: {error}", file.display()))
            .remedy("", "name the app as the first argument, or rename the file")
    })
}

fn folder_name(here: &Path) -> Result<AppName, Failure> {
    let full = here.canonicalize().unwrap_or_else(|_| here.to_owned());
    let name = full.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    name.parse().map_err(|_| {
        Failure::usage(format!(
            "which app? there is no {FOLDER}/ folder here, and `{name}` is no name of an app"
        ))
        .remedy("", "name it as the first argument")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::Builder::new().prefix("shop").tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "{}").unwrap();
        }
        dir
    }

    #[test]
    fn the_app_is_named_by_its_launch_file_or_the_folder() {
        let one = project(&["launch/web.yml", "launch/README.md"]);
        assert_eq!(app_name(None, one.path()).unwrap().as_str(), "web");
        let given = Some("api".parse().unwrap());
        assert_eq!(app_name(given, one.path()).unwrap().as_str(), "api");
        let several = project(&["launch/web.yml", "launch/api.yaml"]);
        let failure = app_name(None, several.path()).unwrap_err();
        assert_eq!(failure.headline, "which app? launch/ holds several: api, web");
        let none = tempfile::tempdir().unwrap();
        let shop = none.path().join("Shop");
        std::fs::create_dir(&shop).unwrap();
        assert_eq!(app_name(None, &shop).unwrap().as_str(), "shop");
        let bad = project(&["launch/Web_1.yml"]);
        assert_eq!(app_name(None, bad.path()).unwrap_err().exit.0, 2);
    }

    #[test]
    fn a_missing_launch_file_is_not_found_and_a_wrong_argument_is_usage() {
        let dir = project(&["launch/web.yml"]);
        let app = |name: &str| Some(name.parse().unwrap());
        let launch = find(None, app("web"), dir.path()).unwrap();
        assert_eq!(launch.file, Path::new("launch/web.yml"));
        assert_eq!(launch.project(), Path::new("."));
        assert_eq!(find(None, app("api"), dir.path()).unwrap_err().exit.0, 6);
        let missing = dir.path().join("nowhere.yml");
        assert_eq!(find(Some(&missing), None, dir.path()).unwrap_err().exit.0, 2);
    }

    #[test]
    fn the_project_is_the_folder_around_launch() {
        for (file, expect) in [
            ("launch/web.yml", "."),
            ("shop/launch/web.yml", "shop"),
            ("/srv/shop/launch/web.yml", "/srv/shop"),
            ("/srv/shop/web.yml", "/srv/shop"),
            ("web.yml", "."),
        ] {
            let launch =
                Launch { app: "web".parse().unwrap(), file: file.into(), text: Vec::new() };
            assert_eq!(launch.project(), Path::new(expect), "{file}");
        }
    }
}
