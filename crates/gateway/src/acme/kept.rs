//! What is kept on disk, in the directory of certificates: `HOST.acme-SECOND/` with a chain and its
//! key, made whole before it gets its name; and in `acme/`, for the owner alone, the account of each
//! authority and what has failed, so that a gateway that is started anew does not ask more often.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use ark_model::gateway::CertificateNews;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::schedule::Failed;
use crate::data_dir::{Durable, write_atomically};
use crate::error::{Error, Result};

/// The directory of accounts and failures.
const DIRECTORY: &str = "acme";
/// What stands between host and second in the name of a certificate's directory.
const MARK: &str = ".acme-";
/// What failed.
const FAILED: &str = "failed.json";
/// What the server has not stored yet.
const NEWS: &str = "news.json";

/// Everything that has failed and did not succeed since.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Failures {
    /// The authority as such.
    #[serde(default)]
    pub(super) authority: Option<Failed>,
    /// By host.
    #[serde(default)]
    pub(super) hosts: BTreeMap<String, Failed>,
}

/// A certificate that could not be got, as `ark doctor` says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failing {
    /// For which host; `None` when the authority itself is the trouble.
    pub host: Option<String>,
    /// How often in a row.
    pub times: u32,
    /// What was wrong.
    pub reason: String,
    /// When it is tried again.
    pub next: Timestamp,
}

/// What fails now, by the files in `certificates`.
pub fn failing(certificates: &Path) -> Vec<Failing> {
    let Failures { authority, hosts } = read_failures(certificates);
    let of = |host: Option<String>, failed: Failed| Failing {
        host,
        times: failed.times,
        reason: failed.reason,
        next: failed.until,
    };
    let authority = authority.into_iter().map(|failed| of(None, failed));
    authority.chain(hosts.into_iter().map(|(host, failed)| of(Some(host), failed))).collect()
}

/// As they were written last; none when there is no file, or none that can be read.
pub(super) fn read_failures(certificates: &Path) -> Failures {
    let bytes = fs::read(certificates.join(DIRECTORY).join(FAILED)).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

pub(super) fn write_failures(certificates: &Path, failures: &Failures) -> Result<()> {
    let path = own_directory(certificates)?.join(FAILED);
    let bytes = serde_json::to_vec_pretty(failures).map_err(|e| Error::file(&path)(e.into()))?;
    write_atomically(&path, &bytes, Durable::No)
}

/// What became of certificates.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct KeptNews {
    /// The last number that was given, also to what is stored by the server and forgotten here.
    pub(super) last: u64,
    /// What the server has not stored, oldest first.
    pub(super) news: Vec<CertificateNews>,
}

/// What was not stored by the server when it was written last.
pub(super) fn read_news(certificates: &Path) -> KeptNews {
    let bytes = fs::read(certificates.join(DIRECTORY).join(NEWS)).unwrap_or_default();
    if let Ok(kept) = serde_json::from_slice(&bytes) {
        return kept;
    }
    // Once it was a mere list.
    let news: Vec<CertificateNews> = serde_json::from_slice(&bytes).unwrap_or_default();
    KeptNews { last: news.last().map_or(0, |last| last.number), news }
}

/// As it was once written.
#[cfg(test)]
pub(super) fn write_as_a_list(certificates: &Path, news: &[CertificateNews]) {
    let path = certificates.join(DIRECTORY).join(NEWS);
    fs::write(path, serde_json::to_vec(news).unwrap()).unwrap();
}

pub(super) fn write_news(certificates: &Path, news: &KeptNews) -> Result<()> {
    let path = own_directory(certificates)?.join(NEWS);
    let bytes = serde_json::to_vec(news).map_err(|e| Error::file(&path)(e.into()))?;
    write_atomically(&path, &bytes, Durable::No)
}

/// The account at this authority, as the library writes it.
pub(super) fn read_account(certificates: &Path, authority: &str) -> Option<Vec<u8>> {
    fs::read(account_file(certificates, authority)).ok()
}

pub(super) fn write_account(certificates: &Path, authority: &str, bytes: &[u8]) -> Result<()> {
    own_directory(certificates)?;
    write_atomically(&account_file(certificates, authority), bytes, Durable::Yes)
}

/// The authority does not know it any longer; it is kept aside.
pub(super) fn forget_account(certificates: &Path, authority: &str) {
    let path = account_file(certificates, authority);
    // Should it stay, it is found unknown again.
    let _ = fs::rename(&path, path.with_extension("json.unknown"));
}

/// Another authority, another account: a digest of its address names the file.
fn account_file(certificates: &Path, authority: &str) -> PathBuf {
    let digest = ring::digest::digest(&ring::digest::SHA256, authority.as_bytes());
    let name: String = digest.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    certificates.join(DIRECTORY).join(format!("account-{name}.json"))
}

fn own_directory(certificates: &Path) -> Result<PathBuf> {
    let path = certificates.join(DIRECTORY);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(Error::file(&path))?;
    Ok(path)
}

/// Whether a chain came from here.
pub(super) fn is_ours(chain: &Path) -> bool {
    let name = chain.parent().and_then(Path::file_name).and_then(|name| name.to_str());
    name.is_some_and(|name| host_of(name).is_some())
}

/// When a certificate that came from here was got.
pub(super) fn taken_at(chain: &Path) -> Option<Timestamp> {
    let second = second_of(chain.parent()?.file_name()?.to_str()?)?;
    Timestamp::from_second(i64::try_from(second).ok()?).ok()
}

/// The host of a certificate's directory.
fn host_of(name: &str) -> Option<&str> {
    let (host, second) = name.rsplit_once(MARK)?;
    (!second.is_empty() && second.bytes().all(|byte| byte.is_ascii_digit())).then_some(host)
}

/// Puts a certificate in place: after a crash at any moment it is there whole or not at all, and
/// the one before is there still.
pub(super) fn write_certificate(
    certificates: &Path,
    host: &str,
    chain: &str,
    key: &str,
    now: Timestamp,
) -> Result<PathBuf> {
    let making = own_directory(certificates)?.join(format!("new-{host}"));
    let place = certificates.join(format!("{host}{MARK}{}", now.as_second()));
    let made = (|| -> io::Result<()> {
        if making.exists() {
            fs::remove_dir_all(&making)?;
        }
        fs::DirBuilder::new().mode(0o700).create(&making)
    })();
    made.map_err(Error::file(&making))?;
    write_atomically(&making.join("privkey.pem"), key.as_bytes(), Durable::Yes)?;
    write_atomically(&making.join("fullchain.pem"), chain.as_bytes(), Durable::Yes)?;
    let placed = fs::rename(&making, &place)
        .and_then(|()| fs::File::open(certificates).and_then(|directory| directory.sync_all()));
    placed.map_err(Error::file(&place))?;
    Ok(place)
}

/// Removes what came before `latest` for its host.
pub(super) fn remove_older(certificates: &Path, latest: &Path) {
    let Some(name) = latest.file_name().and_then(|name| name.to_str()) else { return };
    let Some(host) = host_of(name) else { return };
    for entry in fs::read_dir(certificates).into_iter().flatten().flatten() {
        let other = entry.file_name();
        let is_older = other.to_str().is_some_and(|other| {
            host_of(other) == Some(host) && second_of(other) < second_of(name)
        });
        if is_older {
            // What stays is only never served: a later one is valid longer.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn second_of(name: &str) -> Option<u64> {
    name.rsplit_once(MARK)?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::tls::certificates::pairs;

    #[test]
    fn certificates_are_put_in_place_whole_and_older_ones_go() {
        let dir = tempfile::tempdir().unwrap();
        let at = |second| Timestamp::from_second(second).unwrap();
        let write = |host: &str, second| {
            write_certificate(dir.path(), host, "chain", "key", at(second)).unwrap()
        };
        write("a.com", 5);
        write("b.a.com", 5);
        let latest = write("a.com", 10);
        assert_eq!(pairs(dir.path()).len(), 3);
        remove_older(dir.path(), &latest);
        let left = pairs(dir.path());
        assert_eq!(left.len(), 2, "{left:?}");
        assert!(left.iter().all(|pair| is_ours(&pair.chain)));
        assert!(left.iter().any(|pair| pair.chain == latest.join("fullchain.pem")));
        for (path, mode) in [(latest.clone(), 0o700), (latest.join("privkey.pem"), 0o600)] {
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, mode, "{path:?}");
        }
        // What a crash left behind is no hindrance and never served.
        fs::create_dir_all(dir.path().join("acme/new-a.com")).unwrap();
        fs::write(dir.path().join("acme/new-a.com/fullchain.pem"), "half").unwrap();
        assert_eq!(pairs(dir.path()).len(), 2);
        write("a.com", 20);
        assert!(!is_ours(Path::new("/certs/a.com/fullchain.pem")));
        assert!(!is_ours(Path::new("/certs/a.acme-/fullchain.pem")));
    }

    #[test]
    fn what_failed_outlives_the_process() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(failing(dir.path()), []);
        let next = Timestamp::from_second(1_700_000_000).unwrap();
        let failed = Failed { times: 2, until: next, reason: "no".to_owned(), rate_limited: true };
        let failures =
            Failures { authority: None, hosts: BTreeMap::from([("a.com".to_owned(), failed)]) };
        write_failures(dir.path(), &failures).unwrap();
        assert_eq!(read_failures(dir.path()), failures);
        let host = Some("a.com".to_owned());
        assert_eq!(
            failing(dir.path()),
            [Failing { host, times: 2, reason: "no".to_owned(), next }]
        );
    }
}
