//! Certificates in files: `NAME.pem` (or `.crt`) with `NAME.key`, or a directory with
//! `fullchain.pem` and `privkey.pem`, as ACME clients leave them. The names a certificate serves
//! are those it says itself. Read by the gateway to serve them and by `ark doctor` to judge them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use jiff::Timestamp;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;

/// The directory within the data directory where certificates are looked for.
pub const DIRECTORY: &str = "certs";
/// The largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// The most pairs that are read.
const PAIRS_MAX: usize = 10_000;

/// Where a certificate and its key stand.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pair {
    /// The certificate, and those that lead from it to an authority, in PEM.
    pub chain: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
}

/// A certificate that can be served.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// Names it serves, in lower case; `*.example.com` serves one label before it.
    pub names: Vec<String>,
    /// From when it is valid.
    pub not_before: Timestamp,
    /// Until when.
    pub not_after: Timestamp,
    pub(crate) key: Arc<CertifiedKey>,
}

/// Why a pair cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {reason}", file.display())]
pub struct Problem {
    /// The file that is wrong.
    pub file: PathBuf,
    /// What is wrong with it, and what to do.
    pub reason: String,
}

/// By what a change of a pair is noticed without reading it.
pub(crate) type Stamp = [Option<(SystemTime, u64)>; 2];

impl Pair {
    pub(crate) fn stamp(&self) -> Stamp {
        [&self.chain, &self.key].map(|path| {
            let metadata = fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        })
    }

    /// Reads and checks it.
    ///
    /// # Errors
    /// The problem names the file.
    pub fn load(&self) -> Result<Loaded, Problem> {
        load(&read(&self.chain)?, &read(&self.key)?, &self.chain, &self.key)
    }
}

/// All pairs in `directory`, sorted. A directory that is not there holds none.
pub fn pairs(directory: &Path) -> Vec<Pair> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut found: Vec<Pair> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter_map(|path| {
            if path.is_dir() {
                let chain = path.join("fullchain.pem");
                return chain.exists().then(|| Pair { chain, key: path.join("privkey.pem") });
            }
            let kind = path.extension()?.to_str()?;
            let key = path.with_extension("key");
            let is_own = path.file_name()?.to_str()?.starts_with(LOCAL_PREFIX);
            (matches!(kind, "pem" | "crt") && !is_own).then_some(Pair { chain: path, key })
        })
        .take(PAIRS_MAX)
        .collect();
    found.sort_by(|one, other| one.chain.cmp(&other.chain));
    found
}

/// How the files of the authority for `.localhost` names begin.
pub(crate) const LOCAL_PREFIX: &str = "ark-local-ca";

fn read(path: &Path) -> Result<Vec<u8>, Problem> {
    let failed = |reason: String| Problem { file: path.to_owned(), reason };
    let size = fs::metadata(path).map_err(|error| failed(error.to_string()))?.len();
    if size > FILE_BYTES_MAX {
        return Err(failed(format!("{size} bytes are too many for a certificate or key")));
    }
    fs::read(path).map_err(|error| failed(error.to_string()))
}

/// Checks a chain and its key, both in PEM.
pub(crate) fn load(
    chain: &[u8],
    key: &[u8],
    chain_file: &Path,
    key_file: &Path,
) -> Result<Loaded, Problem> {
    let bad = |reason: String| Problem { file: chain_file.to_owned(), reason };
    let bad_key = |reason: String| Problem { file: key_file.to_owned(), reason };
    let chain = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| bad(format!("not PEM as it must be: {error:?}")))?;
    let Some(own) = chain.first() else {
        return Err(bad("holds no certificate (a block `BEGIN CERTIFICATE`)".to_owned()));
    };
    let (_, parsed) = x509_parser::parse_x509_certificate(own)
        .map_err(|error| bad(format!("the first certificate cannot be read: {error}")))?;
    let alternative = parsed
        .subject_alternative_name()
        .map_err(|error| bad(format!("the names cannot be read: {error}")))?;
    let names: Vec<String> = alternative
        .iter()
        .flat_map(|extension| &extension.value.general_names)
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        })
        .collect();
    if names.is_empty() {
        let reason = "the certificate names no host (subject alternative names)".to_owned();
        return Err(bad(reason));
    }
    let time = |at: x509_parser::time::ASN1Time| {
        Timestamp::from_second(at.timestamp()).unwrap_or(Timestamp::MAX)
    };
    let (not_before, not_after) =
        (time(parsed.validity().not_before), time(parsed.validity().not_after));
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|error| bad_key(format!("holds no private key: {error:?}")))?;
    let provider: CryptoProvider = rustls::crypto::ring::default_provider();
    let key = CertifiedKey::from_der(chain.clone(), key, &provider).map_err(|error| {
        bad_key(match error {
            rustls::Error::InconsistentKeys(_) => {
                format!("is not the key of the certificate in {}", chain_file.display())
            }
            other => format!("the key cannot be used: {other}"),
        })
    })?;
    Ok(Loaded { names, not_before, not_after, key: Arc::new(key) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(name: &str) -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    #[test]
    fn pairs_are_found_in_both_layouts_and_problems_name_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let (chain, key) = made("A.example.com");
        fs::write(at("a.pem"), &chain).unwrap();
        fs::write(at("a.key"), &key).unwrap();
        fs::create_dir(at("b")).unwrap();
        let (chain_b, key_b) = made("*.b.example.com");
        fs::write(at("b/fullchain.pem"), &chain_b).unwrap();
        fs::write(at("b/privkey.pem"), &key_b).unwrap();
        fs::write(at("ark-local-ca.pem"), &chain).unwrap();
        fs::write(at("notes.txt"), "nothing").unwrap();
        let found = pairs(dir.path());
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[0].load().unwrap().names, ["a.example.com"]);
        assert_eq!(found[1].load().unwrap().names, ["*.b.example.com"]);

        let cases: [(&str, &str, &str, &str); 4] = [
            ("", &key, "a.pem", "holds no certificate"),
            (&chain, "", "a.key", "holds no private key"),
            (&chain, &key_b, "a.key", "is not the key of the certificate in"),
            (
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                &key,
                "a.pem",
                "cannot be read",
            ),
        ];
        for (chain, key, file, reason) in cases {
            fs::write(at("a.pem"), chain).unwrap();
            fs::write(at("a.key"), key).unwrap();
            let problem = found[0].load().unwrap_err();
            assert_eq!(problem.file, at(file), "{problem}");
            assert!(problem.to_string().contains(reason), "{problem}");
        }
        fs::remove_file(at("a.key")).unwrap();
        assert_eq!(found[0].load().unwrap_err().file, at("a.key"));
    }
}
