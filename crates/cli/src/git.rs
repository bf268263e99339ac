//! Questions to `git`: which commit this is, what changed. Asked by `images` and `ark ci`; each has a
//! deadline, and none waits for a person.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use ark_model::exit::ExitCode;
use tokio::process::Command;
use tokio::time::timeout;

use crate::failure::Failure;

/// How long one question may take.
const GIT_TIMEOUT: Duration = Duration::from_secs(30);

/// A hook of git is told by these variables which repository it stands in; to whatever it starts for
/// another one they would mean the wrong one. Those of `git rev-parse --local-env-vars`, but for
/// settings given on git's command line, which are no repository's.
pub(crate) fn without_repository(command: &mut Command) {
    for name in [
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_COMMON_DIR",
        "GIT_CONFIG",
        "GIT_DIR",
        "GIT_GRAFT_FILE",
        "GIT_IMPLICIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_INTERNAL_SUPER_PREFIX",
        "GIT_NAMESPACE",
        "GIT_NO_REPLACE_OBJECTS",
        "GIT_OBJECT_DIRECTORY",
        "GIT_PREFIX",
        "GIT_QUARANTINE_PATH",
        "GIT_REPLACE_REF_BASE",
        "GIT_SHALLOW_FILE",
        "GIT_WORK_TREE",
    ] {
        command.env_remove(name);
    }
}

/// What `git` answers, without the last line's end.
pub(crate) async fn git(dir: &Path, arguments: &[&str]) -> Result<String, Failure> {
    git_within(GIT_TIMEOUT, dir, arguments).await
}

/// The same, for what may take longer.
pub(crate) async fn git_within(
    deadline: Duration,
    dir: &Path,
    arguments: &[&str],
) -> Result<String, Failure> {
    let said = |why: String| {
        Failure::new(ExitCode::Failed, "git", format!("git {}: {why}", arguments.join(" ")))
    };
    let mut command = Command::new("git");
    without_repository(&mut command);
    // Whoever could answer is not here.
    command.env("GIT_TERMINAL_PROMPT", "0").stdin(Stdio::null()).kill_on_drop(true);
    let asked = command.arg("-C").arg(dir).args(arguments).output();
    let output = timeout(deadline, asked).await;
    let output = output.map_err(|_| said(format!("no answer within {deadline:?}")))?;
    let output = output.map_err(|error| said(error.to_string()))?;
    if !output.status.success() {
        return Err(said(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}
