//! What follows a push that a hook was told of: `ark ci`, as a client of this server, one push at a
//! time, in the order they came. Takes no input: it looks which push waits, or was begun by a server
//! that ended, and does it from the start; `ark ci` builds and deploys only what is not there.

use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use ark_model::api::PushState;
use ark_store::{PushHookRecord, PushRecord, Store, StoreError};
use jiff::Timestamp;
use tokio::process::Command;

/// How long one push may take.
const PUSH_DEADLINE: Duration = Duration::from_secs(2 * 60 * 60);
/// How long it may then take to end by itself.
const END_GRACE: Duration = Duration::from_secs(10);
/// Time between two looks when nothing was committed.
const LOOK: Duration = Duration::from_secs(5);
/// Time until the next try when something failed that should not.
const RETRY: Duration = Duration::from_secs(5);
/// Characters of a delivery that name its log.
const LOG_CHARS: usize = 64;

/// What is needed to run `ark ci`.
pub(crate) struct Runner {
    pub(crate) store: Store,
    /// The `ark` program.
    pub(crate) exe: PathBuf,
    /// This server's API.
    pub(crate) api: String,
    /// The file with the token to use.
    pub(crate) token_file: PathBuf,
    pub(crate) data_dir: PathBuf,
}

/// Where it stands what `ark ci` said of a push.
pub(crate) fn log_file(data_dir: &Path, push: &PushRecord) -> PathBuf {
    let delivery = push.delivery.get(..LOG_CHARS).unwrap_or(&push.delivery);
    data_dir.join("pushes").join(&push.hook).join(format!("{delivery}.log"))
}

impl Runner {
    /// Runs for ever; answers why the store no longer answers.
    pub(crate) async fn run(self) -> StoreError {
        let mut commits = self.store.commits();
        loop {
            commits.mark_unchanged();
            match self.next().await {
                Ok(true) => {}
                Ok(false) => {
                    let _ = tokio::time::timeout(LOOK, commits.changed()).await;
                }
                Err(error @ StoreError::Closed) => return error,
                Err(error) => {
                    tracing::warn!(%error, "a push waits");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    /// Does the next push; answers whether there was one.
    async fn next(&self) -> Result<bool, StoreError> {
        let waiting = self
            .store
            .read::<_, StoreError, _>(|tx| {
                let Some(push) = tx.next_push()? else { return Ok(None) };
                Ok(tx.push_hook(&push.hook)?.map(|hook| (push, hook)))
            })
            .await?;
        let Some((mut push, hook)) = waiting else { return Ok(false) };
        push.state = PushState::Running;
        self.record(&push).await?;
        let exit_code = match self.ci(&push, &hook).await {
            Ok(code) => code,
            Err(error) => {
                tracing::warn!(hook = hook.name, %error, "`ark ci` could not be run");
                None
            }
        };
        push.state = PushState::Ended { exit_code };
        push.ended_at = Some(Timestamp::now());
        self.record(&push).await?;
        Ok(true)
    }

    async fn record(&self, push: &PushRecord) -> Result<(), StoreError> {
        let push = push.clone();
        self.store.write::<_, StoreError, _>(move |tx| tx.update_push(&push)).await
    }

    /// Its exit code; `None` when a signal or the deadline ended it.
    async fn ci(&self, push: &PushRecord, hook: &PushHookRecord) -> io::Result<Option<i32>> {
        let file = log_file(&self.data_dir, push);
        let folder = file.parent().unwrap_or(&self.data_dir);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let mut options = std::fs::OpenOptions::new();
        let log = options.create(true).write(true).truncate(true).mode(0o600).open(&file)?;
        let token = tokio::fs::read_to_string(&self.token_file).await?;
        let mut child = Command::new(&self.exe)
            .args(["ci", "--leash", "--repo", &hook.repository, "--commit", &push.commit])
            .current_dir(&self.data_dir)
            .env("ARK_SERVER", &self.api)
            .env("ARK_TOKEN", token.trim())
            .env("NO_COLOR", "1")
            // It ends with this server, however that ends, and with it what it started in its group:
            // the next server begins it anew.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        let leash = child.stdin.take();
        if let Ok(ended) = tokio::time::timeout(PUSH_DEADLINE, child.wait()).await {
            return Ok(ended?.code());
        }
        drop(leash);
        if tokio::time::timeout(END_GRACE, child.wait()).await.is_err() {
            child.kill().await?;
        }
        Ok(None)
    }
}
