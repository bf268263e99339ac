//! The repository that `ark ci` builds: where it is, whose turn it is there, a copy of a commit of it.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ark_model::exit::ExitCode;
use tokio::time::{Instant, sleep};

use crate::failure::Failure;
use crate::git::{git, git_within};

/// How long a repository may take to be cloned, and checked out.
const CLONE_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// How long others are waited for that build and deploy the same repository.
const TURN_TIMEOUT: Duration = Duration::from_secs(2 * 60 * 60);
/// How often they are asked whether they are done.
const TURN_POLL: Duration = Duration::from_millis(250);

/// A repository.
#[derive(Debug)]
pub(super) enum Repository {
    /// One on this disk.
    Here {
        /// Its path, wherever `git` is started.
        path: PathBuf,
        /// What all its worktrees share.
        common: PathBuf,
    },
    /// One that is cloned anew each time.
    Elsewhere(String),
}

impl Repository {
    /// # Errors
    /// There is none.
    pub(super) async fn find(repo: &Path) -> Result<Self, Failure> {
        let text = repo.to_string_lossy();
        if is_address(&text) {
            return Ok(Self::Elsewhere(text.into_owned()));
        }
        let path =
            std::path::absolute(repo).map_err(|error| Failure::file(repo, "found", &error))?;
        match git(&path, &["rev-parse", "--git-common-dir"]).await {
            Ok(common) => Ok(Self::Here { common: path.join(common), path }),
            Err(failure) => Err(Failure::usage(format!("{} is no git repository", path.display()))
                .detail(failure.headline)
                .remedy("name one", "ark ci --repo PATH --commit main")),
        }
    }

    /// Waits for everybody else who builds and deploys this repository; it is one's own turn for as long
    /// as the answer is kept. Of a repository elsewhere it is always. `waits` hears once that others are
    /// waited for.
    ///
    /// # Errors
    /// They take hours.
    pub(super) async fn turn(&self, waits: impl FnOnce()) -> Result<Option<File>, Failure> {
        let Self::Here { common, .. } = self else { return Ok(None) };
        let failed = |error: &std::io::Error| Failure::file(common, "locked", error);
        // The folder itself: whoever may read the repository may wait, and nothing is left behind.
        let lock = File::open(common).map_err(|error| failed(&error))?;
        let begun = Instant::now();
        let mut waits = Some(waits);
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(Some(lock)),
                // Not every file system has locks of folders. The order of commits is looked at all the same.
                Err(TryLockError::Error(_)) => return Ok(None),
                Err(TryLockError::WouldBlock) => {}
            }
            if begun.elapsed() >= TURN_TIMEOUT {
                let headline = format!(
                    "another `ark ci` of {} did not end within {} hours",
                    common.display(),
                    TURN_TIMEOUT.as_secs() / 3_600
                );
                return Err(Failure::new(ExitCode::TimedOut, "turn", headline));
            }
            if let Some(waits) = waits.take() {
                waits();
            }
            sleep(TURN_POLL).await;
        }
    }

    /// The commit a branch is at; `None` when there is no such branch, or when that is not known here.
    pub(super) async fn tip(&self, branch: &str) -> Option<String> {
        let Self::Here { path, .. } = self else { return None };
        let reference = format!("refs/heads/{branch}^{{commit}}");
        git(path, &["rev-parse", "--verify", "--quiet", &reference]).await.ok()
    }

    /// A copy of a commit's files of its own: building writes to it, and pushes go on meanwhile.
    pub(super) async fn check_out(&self, commit: &str, place: &Path) -> Result<PathBuf, Failure> {
        let checkout = place.join("project");
        let to = checkout.to_string_lossy();
        let (from, full, shared): (_, _, &[&str]) = match self {
            Self::Elsewhere(address) => {
                // A branch of the other side is known here under another name.
                let full = match commit.strip_prefix("refs/heads/") {
                    Some(branch) => format!("refs/remotes/origin/{branch}"),
                    None => commit.to_owned(),
                };
                (address.clone(), full, &[])
            }
            Self::Here { path, .. } => {
                let reference = format!("{commit}^{{commit}}");
                let asks = ["rev-parse", "--verify", "--end-of-options", &reference];
                (path.to_string_lossy().into_owned(), git(path, &asks).await?, &["--shared"])
            }
        };
        let clone = [&["clone", "--quiet", "--no-checkout"], shared, &["--", &from, &to]].concat();
        git_within(CLONE_TIMEOUT, place, &clone).await?;
        let detached = ["checkout", "--quiet", "--detach", &full, "--"];
        git_within(CLONE_TIMEOUT, &checkout, &detached).await?;
        Ok(checkout)
    }

    /// Whether a commit stands on the branch after another one. A branch that was set back has left behind
    /// what came after.
    pub(super) async fn has_after(
        &self,
        branch: &str,
        checkout: &Path,
        commit: &str,
        later: &str,
    ) -> bool {
        let (place, branch) = match self {
            Self::Here { path, .. } => (path.as_path(), format!("refs/heads/{branch}")),
            Self::Elsewhere(_) => (checkout, format!("refs/remotes/origin/{branch}")),
        };
        let before = async |one: &str, other: &str| {
            // Of a commit that is unknown here nothing is known.
            git(place, &["merge-base", "--is-ancestor", one, other]).await.is_ok()
        };
        // Whoever deploys may call a commit what they like; git is not to take it for an option.
        let is_commit = later.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_commit && commit != later && before(commit, later).await && before(later, &branch).await
    }
}

/// Whether a repository is somewhere else: `https://…`, `git@host:shop.git`.
fn is_address(repo: &str) -> bool {
    repo.contains("://") || repo.split('/').next().is_some_and(|first| first.contains(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_here_or_elsewhere() {
        for (repo, elsewhere) in [
            ("/srv/git/shop.git", false),
            ("shop", false),
            ("./odd:name", false),
            ("https://git.test/shop.git", true),
            ("file:///srv/git/shop.git", true),
            ("git@git.test:shop.git", true),
        ] {
            assert_eq!(is_address(repo), elsewhere, "{repo}");
        }
    }

    async fn commit(root: &Path, message: &str) -> String {
        let who = ["-c", "user.name=Test", "-c", "user.email=test@example.test"];
        let commit = ["-c", "commit.gpgsign=false", "commit", "-q", "--allow-empty", "-m", message];
        git(root, &[&who[..], &commit].concat()).await.unwrap();
        git(root, &["rev-parse", "HEAD"]).await.unwrap()
    }

    #[tokio::test]
    async fn a_later_commit_is_one_that_is_still_on_the_branch() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path();
        git(root, &["init", "-q", "-b", "main"]).await.unwrap();
        let first = commit(root, "first").await;
        let second = commit(root, "second").await;
        let repo = Repository::find(root).await.unwrap();
        let after = async |one: &str, other: &str| repo.has_after("main", root, one, other).await;
        assert!(after(&first, &second).await);
        assert!(!after(&second, &first).await);
        assert!(!after(&first, &first).await);
        for nobody_knows in [&*"1".repeat(40), "--all", "main", ""] {
            assert!(!after(&first, nobody_knows).await, "{nobody_knows}");
        }
        git(root, &["reset", "-q", "--hard", &first]).await.unwrap();
        assert!(!after(&first, &second).await, "somebody went back");
        assert_eq!(repo.tip("main").await, Some(first));
        assert_eq!(repo.tip("other").await, None);
    }

    #[tokio::test]
    async fn one_at_a_time_builds_a_repository() {
        let place = tempfile::tempdir().unwrap();
        git(place.path(), &["init", "-q", "--bare"]).await.unwrap();
        let one = Repository::find(place.path()).await.unwrap();
        let other = Repository::find(place.path()).await.unwrap();
        let turn = one.turn(|| panic!("nobody else is there")).await.unwrap();
        let waiting = std::cell::Cell::new(false);
        let next = other.turn(|| waiting.set(true));
        let early = tokio::time::timeout(Duration::from_millis(100), next).await;
        assert!(early.is_err() && waiting.get(), "it waits, and says so");
        drop(turn);
        assert!(other.turn(|| {}).await.unwrap().is_some());
        let nowhere = Repository::find(&place.path().join("nowhere")).await.unwrap_err();
        assert_eq!(nowhere.exit.0, 2);
        assert!(nowhere.headline.contains("is no git repository"), "{}", nowhere.headline);
    }
}
