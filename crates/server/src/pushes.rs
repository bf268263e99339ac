//! What follows a push that a hook was told of: `ark ci`, as a client of this server, one push at a
//! time, in the order they came. Takes no input: it looks which push waits, or was begun by a server
//! that ended, and does it from the start; `ark ci` builds and deploys only what is not there.

use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use ark_model::api::{PushState, Role};
use ark_store::{PushHookRecord, PushRecord, Store, StoreError};
use jiff::Timestamp;
use tokio::process::Command;

use crate::auth::{RawToken, new_token};

/// How long one push may take.
const PUSH_DEADLINE: Duration = Duration::from_secs(2 * 60 * 60);
/// How long it may then take to end by itself.
const END_GRACE: Duration = Duration::from_secs(10);
/// Time between two looks when nothing was committed.
const LOOK: Duration = Duration::from_secs(5);
/// Time until the next try when something failed that should not.
const RETRY: Duration = Duration::from_secs(5);
/// The largest log of a push, in bytes: more ends it.
const LOG_BYTES_MAX: u64 = 64 << 20;
/// Logs kept of a hook.
const LOGS_KEPT: usize = 100;
/// Who makes the tokens of pushes.
const TOKENS_BY: &str = "push hook";
/// What `ark ci`, git and what an app is built with get of this process's environment: what finds
/// programs, keys and proxies. The server's own secrets stand there, too.
const PASSED_ON: [&str; 23] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "LC_ALL",
    "TZ",
    "SSH_AUTH_SOCK",
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_SYSTEM",
    "XDG_CONFIG_HOME",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];
/// Characters of a delivery that name its log.
const LOG_CHARS: usize = 64;

/// What is needed to run `ark ci`.
pub(crate) struct Runner {
    pub(crate) store: Store,
    /// The `ark` program.
    pub(crate) exe: PathBuf,
    /// This server's API.
    pub(crate) api: String,
    pub(crate) data_dir: PathBuf,
}

/// The folder with what was said of a hook's pushes; `None` of what is no name of a hook.
pub(crate) fn logs(data_dir: &Path, hook: &str) -> Option<PathBuf> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_name = !hook.is_empty() && hook.bytes().all(plain);
    is_name.then(|| data_dir.join("pushes").join(hook))
}

/// Where it stands what `ark ci` said of a push.
pub(crate) fn log_file(data_dir: &Path, push: &PushRecord) -> PathBuf {
    let delivery = push.delivery.get(..LOG_CHARS).unwrap_or(&push.delivery);
    data_dir.join("pushes").join(&push.hook).join(format!("{delivery}.log"))
}

/// Leaves the newest logs of a hook. A log that cannot be removed is in nobody's way.
fn prune(folder: &Path) {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let aged =
        |entry: std::fs::DirEntry| Some((entry.metadata().ok()?.modified().ok()?, entry.path()));
    let mut all: Vec<_> = files.filter_map(aged).collect();
    all.sort_unstable_by(|one, other| other.cmp(one));
    for (_, path) in all.into_iter().skip(LOGS_KEPT) {
        let _ = std::fs::remove_file(path);
    }
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
        // What a server left that was killed goes with it.
        let work = self.data_dir.join("pushes").join(".work");
        let _ = std::fs::remove_dir_all(&work);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&work)?;
        let token = self.token(&hook.name).await?;
        // The branch as it is now, not as the event says: one that comes late, or again, must not put
        // an older commit in the place of a newer one.
        let reference = format!("refs/heads/{}", hook.branch);
        let ended = self.run_ci(&hook.repository, &reference, &token, &work, log, &file).await;
        drop(token);
        if let Err(error) = self.revoke(&hook.name).await {
            tracing::warn!(hook = hook.name, %error, "the token of a push stays until the next");
        }
        let _ = std::fs::remove_dir_all(&work);
        prune(folder);
        ended
    }

    /// A token for one push: it may deploy, and nothing else.
    async fn token(&self, hook: &str) -> io::Result<RawToken> {
        self.revoke(hook).await.map_err(io::Error::other)?;
        let name = format!("hook {hook}");
        let made = new_token(&name, Role::Deployer, TOKENS_BY, Timestamp::now());
        let (token, record) = made.ok_or_else(|| io::Error::other("no randomness"))?;
        let kept = self.store.write::<_, StoreError, _>(move |tx| tx.insert_token(&record)).await;
        kept.map_err(io::Error::other)?;
        Ok(token)
    }

    async fn revoke(&self, hook: &str) -> Result<(), StoreError> {
        let (name, now) = (format!("hook {hook}"), Timestamp::now());
        self.store
            .write::<_, StoreError, _>(move |tx| {
                for token in tx.tokens()? {
                    let is_its = token.name == name && token.created_by == TOKENS_BY;
                    if is_its && token.revoked_at.is_none() {
                        tx.revoke_token(&token.id, now)?;
                    }
                }
                Ok(())
            })
            .await
    }

    async fn run_ci(
        &self,
        repository: &str,
        reference: &str,
        token: &RawToken,
        work: &Path,
        log: std::fs::File,
        file: &Path,
    ) -> io::Result<Option<i32>> {
        let passed_on = PASSED_ON.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
        let mut child = Command::new(&self.exe)
            .args(["ci", "--leash", "--repo", repository, "--commit", reference])
            .current_dir(&self.data_dir)
            .env_clear()
            .envs(passed_on)
            .env("TMPDIR", work)
            .env("ARK_SERVER", &self.api)
            .env("ARK_TOKEN", token.expose())
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
        let until = tokio::time::Instant::now() + PUSH_DEADLINE;
        let too_much = || std::fs::metadata(file).is_ok_and(|of| of.len() > LOG_BYTES_MAX);
        while tokio::time::Instant::now() < until && !too_much() {
            if let Ok(ended) = tokio::time::timeout(LOOK, child.wait()).await {
                return Ok(ended?.code());
            }
        }
        drop(leash);
        if tokio::time::timeout(END_GRACE, child.wait()).await.is_err() {
            child.kill().await?;
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use ark_model::Sha256;
    use ark_store::Keyring;

    use super::*;
    use crate::auth::role_of;

    /// A server's runner whose `ark` writes down how it was called.
    fn runner(dir: &Path) -> Runner {
        let exe = dir.join("ark");
        let script =
            "#!/bin/sh\necho \"args $*\"\nenv\necho \"dir $TMPDIR\"\ntouch \"$TMPDIR/left\"\n";
        std::fs::write(&exe, script).expect("a script");
        std::fs::set_permissions(&exe, std::fs::Permissions::from_mode(0o700)).expect("its mode");
        let store = Store::in_memory(Timestamp::now()).expect("a store");
        Runner { store, exe, api: "http://127.0.0.1:1".to_owned(), data_dir: dir.to_owned() }
    }

    #[tokio::test]
    async fn a_push_is_the_branch_as_it_is_with_little_trust_and_leaves_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let runner = runner(dir.path());
        let keyring = Keyring::ephemeral().expect("a key");
        let now = Timestamp::now();
        let push = PushRecord {
            hook: "shop".to_owned(),
            delivery: "first".to_owned(),
            commit: "ab".repeat(20),
            received_at: now,
            state: PushState::Queued,
            ended_at: None,
        };
        let hook = PushHookRecord {
            name: "shop".to_owned(),
            repository: "/srv/git/shop.git".to_owned(),
            branch: "release".to_owned(),
            secret: keyring.seal_token("x", "secret".to_owned()).expect("sealed"),
            changed_at: now,
            changed_by: "ana".to_owned(),
        };
        let told = push.clone();
        let written = runner.store.write::<_, StoreError, _>(move |tx| {
            tx.put_push_hook(&hook)?;
            tx.insert_push(&told)
        });
        assert!(written.await.expect("a hook and a push"));
        assert!(runner.next().await.expect("it is done"));

        let log = std::fs::read_to_string(log_file(dir.path(), &push)).expect("a log");
        let args = "args ci --leash --repo /srv/git/shop.git --commit refs/heads/release";
        assert!(log.contains(args), "{log}");
        // Cargo put these into this process's environment.
        assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
        assert!(!log.contains("CARGO_") && log.contains("PATH="), "{log}");
        let token = log.lines().find_map(|line| line.strip_prefix("ARK_TOKEN=")).expect("a token");
        let digest = Sha256::of(token.as_bytes());
        let token = runner.store.read(move |tx| tx.token_by_digest(&digest)).await;
        let token = token.expect("the read").expect("on record");
        assert_eq!(role_of(&token), Some(Role::Deployer));
        assert!(token.revoked_at.is_some(), "it is good for one push");
        let work = log.lines().find_map(|line| line.strip_prefix("dir ")).expect("a folder");
        assert!(Path::new(work).starts_with(dir.path()) && !Path::new(work).exists(), "{work}");
        let ended = runner.store.read(|tx| tx.pushes("shop", 1)).await.expect("the read");
        assert_eq!(ended[0].state, PushState::Ended { exit_code: Some(0) });
        assert!(!runner.next().await.expect("nothing waits"));
    }

    #[test]
    fn the_newest_logs_of_a_hook_are_kept() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |n: u64| dir.path().join(format!("{n}.log"));
        let count = LOGS_KEPT as u64 + 3;
        for n in 0..count {
            let file = std::fs::File::create(at(n)).expect("a log");
            let age = std::time::UNIX_EPOCH + Duration::from_secs(1_000 + n);
            file.set_modified(age).expect("its age");
        }
        prune(dir.path());
        let kept: Vec<u64> = (0..count).filter(|n| at(*n).exists()).collect();
        assert_eq!(kept, (3..count).collect::<Vec<_>>());
        assert_eq!(logs(dir.path(), "../x"), None);
    }
}
