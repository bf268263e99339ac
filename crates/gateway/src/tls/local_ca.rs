//! An authority of this machine's own for `.localhost` names, so that an app under development is
//! reached over TLS without further ado. Its key never leaves the data directory; whoever wants
//! browsers to trust it adds `ark-local-ca.pem` to them. Made at the first handshake that needs it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::sign::CertifiedKey;

use super::certificates::{self, LOCAL_PREFIX, Problem};
use crate::data_dir::{Durable, write_atomically};

/// How long a certificate of it is valid, in days. It is made anew with each gateway process.
const LEAF_DAYS: i64 = 90;
/// How long the authority itself is, in days.
const CA_DAYS: i64 = 3650;

/// See the module.
pub(super) struct LocalCa {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    file: PathBuf,
}

impl std::fmt::Debug for LocalCa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalCa").field("file", &self.file).finish_non_exhaustive()
    }
}

impl LocalCa {
    /// The authority kept in `directory`, made there when there is none.
    pub(super) fn open(directory: &Path) -> Result<Self, Problem> {
        let file = directory.join(format!("{LOCAL_PREFIX}.pem"));
        let key_file = directory.join(format!("{LOCAL_PREFIX}.key"));
        let failed = |reason: String| Problem { file: file.clone(), reason };
        if let (Ok(pem), Ok(key)) =
            (std::fs::read_to_string(&file), std::fs::read_to_string(&key_file))
        {
            let opened =
                KeyPair::from_pem(&key).and_then(|key| Issuer::from_ca_cert_pem(&pem, key));
            return match opened {
                Ok(issuer) => Ok(Self { issuer, pem, file }),
                Err(error) => Err(failed(format!(
                    "cannot be read ({error}); remove it and its key, and another one is made"
                ))),
            };
        }
        let (params, key) = authority().map_err(|error| failed(error.to_string()))?;
        let pem = params.self_signed(&key).map_err(|error| failed(error.to_string()))?.pem();
        std::fs::create_dir_all(directory).map_err(|error| failed(error.to_string()))?;
        for (path, text) in [(&key_file, key.serialize_pem()), (&file, pem.clone())] {
            write_atomically(path, text.as_bytes(), Durable::Yes)
                .map_err(|error| failed(crate::conductor::with_sources(&error)))?;
        }
        Ok(Self { issuer: Issuer::new(params, key), pem, file })
    }

    /// A certificate for one name.
    pub(super) fn issue(&self, name: &str) -> Result<Arc<CertifiedKey>, Problem> {
        let failed = |reason: String| Problem { file: self.file.clone(), reason };
        let made = || {
            let mut params = CertificateParams::new(vec![name.to_owned()])?;
            params.distinguished_name.push(DnType::CommonName, name);
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            valid_for(&mut params, LEAF_DAYS);
            let key = KeyPair::generate()?;
            let chain = params.signed_by(&key, &self.issuer)?.pem();
            Ok((format!("{chain}{}", self.pem), key.serialize_pem()))
        };
        let (chain, key) = made().map_err(|error: rcgen::Error| failed(error.to_string()))?;
        let loaded = certificates::load(chain.as_bytes(), key.as_bytes(), &self.file, &self.file)?;
        Ok(loaded.key)
    }
}

fn authority() -> Result<(CertificateParams, KeyPair), rcgen::Error> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, "Ark local authority");
    // It can vouch for nothing but names that never leave the machine.
    params.name_constraints = Some(rcgen::NameConstraints {
        permitted_subtrees: vec![rcgen::GeneralSubtree::DnsName("localhost".to_owned())],
        excluded_subtrees: Vec::new(),
    });
    valid_for(&mut params, CA_DAYS);
    Ok((params, KeyPair::generate()?))
}

/// From yesterday on, since clocks differ.
fn valid_for(params: &mut CertificateParams, days: i64) {
    let now = std::time::SystemTime::now();
    let day = std::time::Duration::from_secs(86_400);
    params.not_before = (now - day).into();
    params.not_after = (now + day * u32::try_from(days).unwrap_or(1)).into();
}
