//! Secret values at rest: ChaCha20-Poly1305 under a key file beside the database.
//!
//! The server seals a value when it is set and opens it when an instance is started; nobody else
//! does. Each ciphertext is bound to its environment, app, name and version, so that one cannot be
//! moved to where another belongs; secrets of access keys are bound to the key's id, and what a
//! client is given to bring back (a page token) to its purpose. No type here shows a value in
//! `Debug`.

use std::fmt;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ark_model::{AppName, EnvName};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// The key file within the data directory.
const KEY_FILE: &str = "master.key";
/// Its length in bytes.
const KEY_BYTES: usize = 32;
/// The first byte of every ciphertext: how the rest is to be read.
const FORMAT: u8 = 1;
/// The largest value, in bytes (64 KiB: a certificate chain with its key).
pub const SECRET_BYTES_MAX: usize = 64 << 10;

/// Why a secret cannot be sealed or opened.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SecretError {
    /// The key file cannot be read or made.
    #[error("{what} the key file {file}", file = file.display())]
    File {
        /// What was attempted.
        what: &'static str,
        /// Which file.
        file: PathBuf,
        /// The system's reason.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// Others may read the key file.
    #[error(
        "the key file {file} has mode {mode:04o}: others can read it; if nobody did, run `chmod 600 {file}`",
        file = file.display()
    )]
    Readable {
        /// Which file.
        file: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The key file is not a key.
    #[error("the key file {file} does not hold {KEY_BYTES} bytes: restore it from a backup", file = file.display())]
    NoKey {
        /// Which file.
        file: PathBuf,
    },
    /// Too large.
    #[error("secret {name} has {bytes} bytes; at most {SECRET_BYTES_MAX} are allowed")]
    TooLarge {
        /// Which.
        name: String,
        /// Its length.
        bytes: usize,
    },
    /// The ciphertext does not belong to this key, or not to this place, or is damaged.
    #[error(
        "secret {name} cannot be decrypted: the key file is not the one it was sealed with, or the record is damaged"
    )]
    Unreadable {
        /// Which.
        name: String,
    },
    /// The system has no randomness.
    #[error("the system gave no random bytes")]
    NoRandomness,
}

/// A secret value in the clear: wiped from memory when dropped, never shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(Zeroizing<String>);

impl SecretValue {
    /// Takes over a value.
    pub fn new(value: String) -> Self {
        Self(Zeroizing::new(value))
    }

    /// The value itself: for the environment of an instance, and for nothing that is kept.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(hidden)")
    }
}

/// A sealed value: format, nonce, ciphertext and tag.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sealed(Vec<u8>);

impl Sealed {
    /// Format, nonce, ciphertext and tag, to be given away.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What came back. Whether it is ours shows when it is opened.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({} bytes)", self.0.len())
    }
}

impl TryFrom<String> for Sealed {
    type Error = hex::FromHexError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        hex::decode(text).map(Self)
    }
}

impl From<Sealed> for String {
    fn from(sealed: Sealed) -> Self {
        hex::encode(sealed.0)
    }
}

/// What a sealed value is bound to.
#[derive(Debug, Clone, Copy)]
pub struct SecretName<'a> {
    /// Environment.
    pub env: &'a EnvName,
    /// App.
    pub app: &'a AppName,
    /// The variable.
    pub name: &'a str,
    /// The configuration version in which it was set.
    pub version: u64,
}

impl SecretName<'_> {
    /// Unambiguous: each part is preceded by its length.
    fn associated_data(&self) -> Vec<u8> {
        let mut data = b"ark-secret-1".to_vec();
        for part in [self.env.as_str(), self.app.as_str(), self.name] {
            data.extend((part.len() as u64).to_be_bytes());
            data.extend(part.as_bytes());
        }
        data.extend(self.version.to_be_bytes());
        data
    }
}

/// The key of a data directory. Cheap to clone.
#[derive(Clone)]
pub struct Keyring {
    key: Arc<LessSafeKey>,
    random: SystemRandom,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyring(hidden)")
    }
}

impl Keyring {
    /// Reads `<data_dir>/master.key`, making it (random, mode 0600) if there is none.
    ///
    /// # Errors
    /// [`SecretError::Readable`] when group or others may read it, [`SecretError::NoKey`] when it
    /// is not a key: it is never replaced, because every secret would be lost with it.
    pub fn open(data_dir: impl AsRef<Path>) -> Result<Self, SecretError> {
        let dir = data_dir.as_ref();
        let file = dir.join(KEY_FILE);
        match read(&file) {
            Err(SecretError::File { source, .. })
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                make(dir, &file)?;
                read(&file)
            }
            other => other,
        }
    }

    /// A random key that is kept nowhere: for tests and the simulator.
    pub fn ephemeral() -> Result<Self, SecretError> {
        Self::new(&*random_key()?).ok_or(SecretError::NoRandomness)
    }

    fn new(key: &[u8; KEY_BYTES]) -> Option<Self> {
        let key = UnboundKey::new(&CHACHA20_POLY1305, key).ok()?;
        Some(Self { key: Arc::new(LessSafeKey::new(key)), random: SystemRandom::new() })
    }

    /// Encrypts a value for one place.
    pub fn seal(&self, name: SecretName<'_>, value: &SecretValue) -> Result<Sealed, SecretError> {
        self.seal_bound(name.associated_data(), name.name, value)
    }

    /// Decrypts a value that was sealed for this place.
    pub fn open_sealed(
        &self,
        name: SecretName<'_>,
        sealed: &Sealed,
    ) -> Result<SecretValue, SecretError> {
        self.open_bound(name.associated_data(), name.name, sealed)
    }

    /// Encrypts the secret of an access key.
    pub fn seal_access_key(&self, id: &str, secret: &SecretValue) -> Result<Sealed, SecretError> {
        self.seal_bound(tagged(ACCESS_KEY, id), id, secret)
    }

    /// Decrypts the secret of that access key.
    pub fn open_access_key(&self, id: &str, sealed: &Sealed) -> Result<SecretValue, SecretError> {
        self.open_bound(tagged(ACCESS_KEY, id), id, sealed)
    }

    /// Encrypts a text that a client keeps and brings back for the same purpose.
    pub fn seal_token(&self, purpose: &str, text: String) -> Result<Sealed, SecretError> {
        self.seal_bound(tagged(TOKEN, purpose), purpose, &SecretValue::new(text))
    }

    /// The text of a token that was made for this purpose; anything else is
    /// [`SecretError::Unreadable`].
    pub fn open_token(&self, purpose: &str, sealed: &Sealed) -> Result<SecretValue, SecretError> {
        self.open_bound(tagged(TOKEN, purpose), purpose, sealed)
    }

    fn seal_bound(
        &self,
        associated_data: Vec<u8>,
        noun: &str,
        value: &SecretValue,
    ) -> Result<Sealed, SecretError> {
        let bytes = value.expose().len();
        if bytes > SECRET_BYTES_MAX {
            return Err(SecretError::TooLarge { name: noun.to_owned(), bytes });
        }
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).map_err(|_| SecretError::NoRandomness)?;
        // Room for the tag from the start: growing would leave a copy of the value behind.
        let room = 1 + NONCE_LEN + bytes + CHACHA20_POLY1305.tag_len();
        let mut out = Vec::with_capacity(room);
        out.push(FORMAT);
        out.extend(nonce);
        out.extend(value.expose().as_bytes());
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self
            .key
            .seal_in_place_separate_tag(
                nonce,
                Aad::from(associated_data),
                &mut out[1 + NONCE_LEN..],
            )
            .map_err(|_| SecretError::Unreadable { name: noun.to_owned() })?;
        out.extend(tag.as_ref());
        Ok(Sealed(out))
    }

    fn open_bound(
        &self,
        associated_data: Vec<u8>,
        noun: &str,
        sealed: &Sealed,
    ) -> Result<SecretValue, SecretError> {
        let unreadable = || SecretError::Unreadable { name: noun.to_owned() };
        let (format, rest) = sealed.0.split_first().ok_or_else(unreadable)?;
        let (nonce, ciphertext) = rest.split_at_checked(NONCE_LEN).ok_or_else(unreadable)?;
        if *format != FORMAT {
            return Err(unreadable());
        }
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| unreadable())?;
        let mut buffer = Zeroizing::new(ciphertext.to_vec());
        let plain = self
            .key
            .open_in_place(nonce, Aad::from(associated_data), &mut buffer)
            .map_err(|_| unreadable())?;
        let text = std::str::from_utf8(plain).map_err(|_| unreadable())?;
        Ok(SecretValue::new(text.to_owned()))
    }
}

/// Begin with other bytes than [`SecretName::associated_data`], so that no kind passes for another.
const ACCESS_KEY: &str = "ark-access-key-1:";
const TOKEN: &str = "ark-token-1:";

fn tagged(tag: &str, text: &str) -> Vec<u8> {
    [tag.as_bytes(), text.as_bytes()].concat()
}

fn read(path: &Path) -> Result<Keyring, SecretError> {
    let file = std::fs::File::open(path).map_err(failed("open", path))?;
    let metadata = file.metadata().map_err(failed("read", path))?;
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(SecretError::Readable { file: path.to_owned(), mode });
    }
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    let no_key = || SecretError::NoKey { file: path.to_owned() };
    if metadata.len() != KEY_BYTES as u64 {
        return Err(no_key());
    }
    let mut file = file;
    file.read_exact(&mut *key).map_err(failed("read", path))?;
    Keyring::new(&key).ok_or_else(no_key)
}

/// Makes the key under another name first, so that no half-written key is ever found, and links it
/// into place, so that an existing one is never replaced.
fn make(dir: &Path, path: &Path) -> Result<(), SecretError> {
    crate::data_dir::create(dir)
        .map_err(|error| failed("create", path)(std::io::Error::other(error)))?;
    let key = random_key()?;
    let new = dir.join(format!("{KEY_FILE}.{}", std::process::id()));
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)
        .and_then(|mut file| file.write_all(&*key).and_then(|()| file.sync_all()));
    let linked = written.and_then(|()| match std::fs::hard_link(&new, path) {
        // Somebody else was quicker: theirs it is.
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    });
    let removed = std::fs::remove_file(&new);
    linked.and(removed).map_err(failed("create", path))?;
    crate::data_dir::sync_dir(dir).map_err(failed("sync", path))
}

fn random_key() -> Result<Zeroizing<[u8; KEY_BYTES]>, SecretError> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    SystemRandom::new().fill(&mut *key).map_err(|_| SecretError::NoRandomness)?;
    Ok(key)
}

fn failed(what: &'static str, file: &Path) -> impl FnOnce(std::io::Error) -> SecretError {
    move |source| SecretError::File { what, file: file.to_owned(), source: Arc::new(source) }
}
