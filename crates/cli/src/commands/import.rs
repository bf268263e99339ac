//! `ark import`: launch files from a Compose file. Needs no server.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::compose::{App, LeftOut, import};
use crate::context::here;
use crate::failure::{Ended, Exit, Failure};
use crate::launch;
use crate::output::numbers::counted;
use crate::output::{Output, Shown};

/// What `import` takes.
#[derive(Debug, clap::Args)]
#[command(
    before_help = "Examples:\n  ark import compose.yml\n  ark import compose.yml --dry-run --json",
    after_help = "Writes launch/SERVICE.yml for each service; a file that is there and differs is left alone. What\n\
                  has no equivalent is listed with its reason. Values of variables whose names say that they are\n\
                  secret, and addresses with a password, are not written: set them with ark config set --secret."
)]
pub(crate) struct Args {
    /// The Compose file
    #[arg(value_name = "COMPOSE.yml")]
    file: PathBuf,
    /// Write nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    shown: Shown,
}

pub(crate) fn shown(args: &Args) -> Shown {
    args.shown
}

pub(crate) fn run(args: Args) -> Ended {
    let out = Output::new(args.shown);
    let text = std::fs::read_to_string(&args.file)
        .map_err(|error| Failure::file(&args.file, "read", &error))?;
    let mut made = import(&text)?;
    let folder = here()?.join(launch::FOLDER);
    for app in &made.apps {
        if differs(&folder, app)? {
            let key = format!("{}/{}.yml", launch::FOLDER, app.app);
            let why = "it is there already, differs, and is left alone; --dry-run shows what this would write";
            made.left_out.push(LeftOut { key, why: why.to_owned() });
        }
    }
    if !args.dry_run {
        for app in &made.apps {
            if differs(&folder, app)? {
                continue;
            }
            let path = file_of(&folder, app);
            let write =
                std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&path, &app.launch));
            write.map_err(|error| Failure::file(&path, "write", &error))?;
        }
    }
    out.one(&made, |made| {
        let mut lines = Vec::new();
        for app in &made.apps {
            let path = format!("{}/{}.yml", launch::FOLDER, app.app);
            let kept = made.left_out.iter().any(|one| one.key == path);
            lines.push(if kept { format!("{path} (left alone)") } else { path });
            if args.dry_run {
                lines.extend(app.launch.lines().map(|line| format!("  {line}")));
            }
            if !app.needs.is_empty() {
                let names = app.needs.join("=…  ");
                lines.push(format!("  set: ark config set -e ENV {} {names}=…", app.app));
            }
            if let Some(image) = &app.image {
                lines.push(format!("  run: ark deploy {} -e ENV --image {image}", app.app));
            }
        }
        if !made.left_out.is_empty() {
            lines.push(format!("not taken over: {}", counted(made.left_out.len() as u64, "key")));
            lines.extend(made.left_out.iter().map(|one| format!("  {}: {}", one.key, one.why)));
        }
        lines.join("\n")
    })?;
    Ok(Exit::DONE)
}

fn file_of(folder: &Path, app: &App) -> PathBuf {
    folder.join(format!("{}.yml", app.app))
}

/// Whether somebody else's file stands there.
fn differs(folder: &Path, app: &App) -> Result<bool, Failure> {
    let path = file_of(folder, app);
    match std::fs::read(&path) {
        Ok(bytes) => Ok(bytes != app.launch.as_bytes()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Failure::file(&path, "read", &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_there_is_never_written_over_unread() {
        let place = tempfile::tempdir().unwrap();
        let app = App {
            app: "web".parse().unwrap(),
            launch: "{}\n".to_owned(),
            image: None,
            needs: Vec::new(),
        };
        let path = file_of(place.path(), &app);
        assert!(!differs(place.path(), &app).unwrap(), "nothing is there");
        for (there, fine) in [(b"{}\n".as_slice(), true), (b"run: {}\n", false), (b"\xff", false)] {
            std::fs::write(&path, there).unwrap();
            assert_eq!(differs(place.path(), &app).unwrap(), !fine, "{there:?}");
        }
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(differs(place.path(), &app).is_err(), "what cannot be read is there");
    }
}
