//! What stands in a server's data directory beside the store: its key, the admin token, and the file
//! by which clients on this machine find it. Called by [`crate::roles`] when a server starts.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use ark_model::api::Role;
use ark_store::{Keyring, Store};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::auth::new_token;
use crate::error::ServerError;

/// Under which name the store keeps the digest of its key.
const KEY_DIGEST: &str = "master-key-digest";

/// What clients on this machine find in `<data-dir>/server.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerFile {
    /// Base address of the API: `http://127.0.0.1:7070`.
    pub api: String,
    /// The same of the workflow manager's API, where it is served at the root of an address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow_manager: Option<String>,
    /// Base address of the gateway, when there is one.
    pub http: Option<String>,
    /// The same over TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub https: Option<String>,
    /// The file that holds the admin token.
    pub token_file: PathBuf,
    /// The server's process.
    pub pid: u32,
    /// The gateway's process, when there is one.
    pub gateway_pid: Option<i32>,
}

/// Name of the file in the data directory by which clients find the server.
pub const SERVER_FILE: &str = "server.json";
/// Name of the file in the data directory that holds the admin token.
pub const TOKEN_FILE: &str = "admin.token";

/// Makes the directory, and answers where it really is.
pub(crate) fn make(dir: &Path) -> Result<PathBuf, ServerError> {
    let failed = |source| ServerError::DataDir { dir: dir.to_owned(), source };
    // Apps that run under users of their own must pass through it to their files, and read none
    // of Ark's: those are all readable by Ark's user alone.
    fs::DirBuilder::new().recursive(true).mode(0o711).create(dir).map_err(failed)?;
    dir.canonicalize().map_err(failed)
}

/// The key of the data directory. A new one is made only for a store that never had one: making one
/// in the place of a lost key would lose every secret without a word.
pub(crate) async fn keyring(store: &Store, data_dir: &Path) -> Result<Keyring, ServerError> {
    let file = data_dir.join("master.key");
    let known = store.read(|tx| tx.meta(KEY_DIGEST)).await?;
    if known.is_some() && !file.exists() {
        return Err(ServerError::WrongKey { file });
    }
    let keyring = Keyring::open(data_dir)?;
    let failed = |source| ServerError::DataDir { dir: data_dir.to_owned(), source };
    let digest = ark_model::Sha256::of(&fs::read(&file).map_err(failed)?).to_string();
    match known {
        Some(known) if known != digest => Err(ServerError::WrongKey { file }),
        Some(_) => Ok(keyring),
        None => {
            store.write(move |tx| tx.put_meta(KEY_DIGEST, &digest)).await?;
            Ok(keyring)
        }
    }
}

/// The admin token of this machine's command line: made once, found again by its file.
pub(crate) async fn admin_token(
    store: &Store,
    data_dir: &Path,
    now: Timestamp,
) -> Result<PathBuf, ServerError> {
    let path = data_dir.join(TOKEN_FILE);
    let failed = |source| ServerError::DataDir { dir: data_dir.to_owned(), source };
    if let Ok(text) = fs::read_to_string(&path) {
        let digest = ark_model::Sha256::of(text.trim().as_bytes());
        let known = store.read(move |tx| tx.token_by_digest(&digest)).await?;
        if known.is_some_and(|token| token.revoked_at.is_none()) {
            return Ok(path);
        }
    }
    let (raw, record) = new_token("admin", Role::Admin, "ark up", now)
        .ok_or_else(|| failed(std::io::Error::other("the system has no randomness")))?;
    let temporary = path.with_extension("new");
    let write = || {
        let mut options = fs::OpenOptions::new();
        let mut file =
            options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        file.write_all(raw.expose().as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()
    };
    write().map_err(failed)?;
    store
        .write(move |tx| {
            // A lost token file: the token it held must not stay good.
            for old in tx.tokens()? {
                if old.name == record.name && old.created_by == record.created_by {
                    tx.revoke_token(&old.id, now)?;
                }
            }
            tx.insert_token(&record)
        })
        .await?;
    fs::rename(&temporary, &path).map_err(failed)?;
    Ok(path)
}

/// Tells clients on this machine where the server is.
pub(crate) fn announce(data_dir: &Path, file: &ServerFile) -> Result<(), ServerError> {
    let failed = |source| ServerError::DataDir { dir: data_dir.to_owned(), source };
    let path = data_dir.join(SERVER_FILE);
    let temporary = path.with_extension("new");
    let text = serde_json::to_vec(file).map_err(|e| failed(e.into()))?;
    fs::write(&temporary, text).map_err(failed)?;
    fs::rename(&temporary, &path).map_err(failed)
}
