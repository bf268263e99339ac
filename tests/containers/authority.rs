//! An authority of a test's own, with what a daemon and its clients show each other.

use std::net::TcpListener;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Writes `ca.pem`, and `cert.pem` and `key.pem` of somebody for this use.
    fn write(&self, folder: &Path, names: &[&str], usage: ExtendedKeyUsagePurpose) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("parameters");
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().expect("a key");
        let own = params.signed_by(&key, &self.issuer).expect("a certificate").pem();
        std::fs::create_dir_all(folder).expect("a folder");
        let files = [("ca.pem", &self.pem), ("cert.pem", &own), ("key.pem", &key.serialize_pem())];
        for (name, pem) in files {
            std::fs::write(folder.join(name), pem).expect("a file");
        }
    }

    /// What a client shows, as Docker's own command has it.
    pub(crate) fn client(&self, folder: &Path) {
        self.write(folder, &[], ExtendedKeyUsagePurpose::ClientAuth);
    }

    /// What a daemon is started with to listen here, with the port, for clients of this authority.
    pub(crate) fn daemon(&self, folder: &Path) -> (u16, Vec<String>) {
        self.write(folder, &["127.0.0.1"], ExtendedKeyUsagePurpose::ServerAuth);
        let free = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = free.local_addr().expect("an address").port();
        let at = |name: &str| folder.join(name).display().to_string();
        let options = vec![
            format!("--host=tcp://127.0.0.1:{port}"),
            "--tlsverify".to_owned(),
            format!("--tlscacert={}", at("ca.pem")),
            format!("--tlscert={}", at("cert.pem")),
            format!("--tlskey={}", at("key.pem")),
        ];
        (port, options)
    }

    /// Trusts another authority from now on, and still shows what this one signed.
    pub(crate) fn trusts(other: &Self, folder: &Path) {
        std::fs::write(folder.join("ca.pem"), &other.pem).expect("a file");
    }
}
