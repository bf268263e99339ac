//! Certificates from a real authority: Pebble (Let's Encrypt's small test authority) on loopback,
//! with a name server that sends every name here. Skipped by name where it is not installed
//! (`.ci/run` installs it).

#[path = "../../../tests/harness/lacking.rs"]
mod lacking;
mod support;
#[path = "support/tls.rs"]
mod tls;

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ark_gateway::acme::{Challenge, Options, failing};
use ark_gateway::role::Config;
use lacking::{Lack, skip};
use rustls::pki_types::CertificateDer;
use support::{Ark, Backend, PATIENCE, route};
use tls::connect_unchecked;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

fn tool() -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([home.join("go/bin")])
        .map(|directory| directory.join("pebble"))
        .find(|program| program.is_file())
}

/// An address nobody listens on, for a program that cannot choose one itself.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A name server, asked over TCP: every name is 127.0.0.1 and nothing else.
async fn name_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut asker, _)) = listener.accept().await {
            tokio::spawn(async move {
                while let Ok(length) = asker.read_u16().await {
                    let mut question = vec![0; usize::from(length)];
                    if asker.read_exact(&mut question).await.is_err() {
                        return;
                    }
                    let answer = resolved(&question);
                    asker.write_u16(u16::try_from(answer.len()).unwrap()).await.unwrap();
                    asker.write_all(&answer).await.unwrap();
                }
            });
        }
    });
    address
}

/// The answer to one question (RFC 1035, 4.1).
fn resolved(question: &[u8]) -> Vec<u8> {
    let end = 12 + question[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
    let is_address = question[end - 4..end - 2] == [0, 1];
    let mut answer = question[..2].to_vec();
    answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_address), 0, 0, 0, 0]);
    answer.extend(&question[12..end]);
    if is_address {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
    }
    answer
}

/// Where the authority will be, and by which certificate it is known.
struct Authority {
    tool: PathBuf,
    dir: tempfile::TempDir,
    port: u16,
    names: SocketAddr,
}

impl Authority {
    async fn new(tool: PathBuf) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let own = params.self_signed(&key).unwrap();
        std::fs::write(dir.path().join("own.pem"), own.pem()).unwrap();
        std::fs::write(dir.path().join("own.key"), key.serialize_pem()).unwrap();
        Self { tool, dir, port: free_port(), names: name_server().await }
    }

    fn options(&self, challenge: Option<Challenge>) -> Options {
        Options {
            directory: format!("https://localhost:{}/dir", self.port),
            email: Some("ops@example.com".to_owned()),
            roots: Some(self.dir.path().join("own.pem")),
            challenge,
        }
    }

    /// Starts it; it looks for hosts on these ports, and its certificates are valid for so long.
    async fn start(&self, http: u16, https: u16, valid_s: u32) -> Child {
        let file = |name: &str| self.dir.path().join(name).display().to_string();
        let config = serde_json::json!({"pebble": {
            "listenAddress": format!("127.0.0.1:{}", self.port),
            "managementListenAddress": format!("127.0.0.1:{}", free_port()),
            "certificate": file("own.pem"), "privateKey": file("own.key"),
            "httpPort": http, "tlsPort": https, "ocspResponderURL": "",
            "externalAccountBindingRequired": false, "retryAfter": {"authz": 1, "order": 1},
            "profiles": {"default": {"description": "all", "validityPeriod": valid_s}},
        }});
        std::fs::write(file("pebble.json"), config.to_string()).unwrap();
        let child = Command::new(&self.tool)
            .args(["-config", &file("pebble.json"), "-dnsserver", &self.names.to_string()])
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_AUTHZREUSE", "0")
            .stdout(std::fs::File::create(file("pebble.log")).unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let began = Instant::now();
        while tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            assert!(began.elapsed() < PATIENCE, "pebble does not listen");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        child
    }
}

async fn gateway(options: Options) -> Ark {
    gateway_in(tempfile::tempdir().unwrap(), options).await
}

async fn gateway_in(dir: tempfile::TempDir, options: Options) -> Ark {
    let any = || vec!["127.0.0.1:0".parse().unwrap()];
    let config = Config {
        data_dir: dir.path().to_owned(),
        http: any(),
        https: any(),
        redirect: true,
        acme: Some(options),
        ..Config::default()
    };
    Ark::start_as(dir, config).await
}

/// Has the gateway serve these hosts.
async fn serve(ark: &mut Ark, backend: &Backend, hosts: &[&str]) {
    let mut route = route(vec![backend.target()]);
    route.hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
    ark.server.push(&[route]).await;
    ark.server.until_ready(&[backend.instance]).await;
}

/// The certificate that is served for a host by now, if any.
async fn served(ark: &Ark, host: &str) -> Option<CertificateDer<'static>> {
    let connecting = tls::try_connect_unchecked(ark.https(), host, &[b"http/1.1"]);
    let tls = connecting.await.ok()?;
    Some(tls.get_ref().1.peer_certificates()?[0].clone())
}

/// Waits until another certificate than `before` is served.
async fn until_served(
    ark: &Ark,
    host: &str,
    before: Option<&CertificateDer<'static>>,
) -> CertificateDer<'static> {
    let began = Instant::now();
    loop {
        if let Some(now) = served(ark, host).await.filter(|now| Some(now) != before) {
            return now;
        }
        let failing = failing(&certs(ark));
        assert!(began.elapsed() < PATIENCE * 2, "no certificate for {host}: {failing:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn certs(ark: &Ark) -> PathBuf {
    ark.data_dir().join("certs")
}

fn issuer_and_names(certificate: &CertificateDer<'_>) -> (String, Vec<String>) {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).unwrap();
    let names = parsed.subject_alternative_name().unwrap().unwrap();
    let names = names.value.general_names.iter().map(ToString::to_string).collect();
    (parsed.issuer().to_string(), names)
}

/// Everything under `directory` that others may read.
fn readable_by_others(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        let mode = entry.metadata().unwrap().permissions().mode();
        if mode & 0o077 != 0 {
            found.push(entry.path());
        }
        if entry.path().is_dir() {
            found.extend(readable_by_others(&entry.path()));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_got_in_both_ways_renewed_and_swapped_under_a_kept_connection() {
    let Some(tool) = tool() else {
        const TEST: &str =
            "certificates_are_got_in_both_ways_renewed_and_swapped_under_a_kept_connection";
        return skip(TEST, Lack::Pebble, "pebble is not installed");
    };
    for challenge in [Challenge::Http01, Challenge::TlsAlpn01] {
        let authority = Authority::new(tool.clone()).await;
        let mut ark = gateway(authority.options(Some(challenge))).await;
        let backend = Backend::echo("served").await;
        let _pebble = authority.start(ark.http.port(), ark.https().port(), 12).await;
        serve(&mut ark, &backend, &["a.test", "b.a.test", "web.localhost"]).await;

        let first = until_served(&ark, "a.test", None).await;
        let (issuer, names) = issuer_and_names(&first);
        assert!(issuer.contains("Pebble"), "{challenge:?}: {issuer}");
        assert_eq!(names, ["DNSName(a.test)"], "{challenge:?}");
        until_served(&ark, "b.a.test", None).await;
        assert_eq!(readable_by_others(&certs(&ark)), Vec::<PathBuf>::new());
        assert_eq!(failing(&certs(&ark)), []);

        // A renewal swaps it under a connection that goes on.
        let mut kept = connect_unchecked(ark.https(), "a.test", &[b"http/1.1"]).await;
        let second = until_served(&ark, "a.test", Some(&first)).await;
        assert!(issuer_and_names(&second).0.contains("Pebble"));
        kept.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await.unwrap();
        let mut answer = vec![0; 1024];
        let count = tokio::time::timeout(PATIENCE, kept.read(&mut answer)).await.unwrap().unwrap();
        let answer = String::from_utf8_lossy(&answer[..count]).into_owned();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("served"), "{answer}");

        // Only the latest is kept, and nothing answers when no challenge is open.
        let mine = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with("a.test.acme-");
        let kept = std::fs::read_dir(certs(&ark)).unwrap().flatten();
        assert_eq!(kept.filter(|entry| mine(&entry.file_name())).count(), 1);
        let mut client = ark.client().await;
        client.say("GET /.well-known/acme-challenge/x HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
        assert_eq!(client.answer().await.status, 308);
        let alone: &[&[u8]] = &[b"acme-tls/1"];
        let refused = tls::try_connect_unchecked(ark.https(), "a.test", alone).await;
        assert!(refused.is_err());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_that_is_away_or_not_convinced_leaves_what_is_served() {
    let Some(tool) = tool() else {
        const TEST: &str = "an_authority_that_is_away_or_not_convinced_leaves_what_is_served";
        return skip(TEST, Lack::Pebble, "pebble is not installed");
    };
    let authority = Authority::new(tool).await;
    let mut ark = gateway(authority.options(Some(Challenge::Http01))).await;
    let backend = Backend::echo("served").await;
    let mut pebble = authority.start(ark.http.port(), ark.https().port(), 9).await;
    serve(&mut ark, &backend, &["a.test"]).await;
    until_served(&ark, "a.test", None).await;

    // Away: it is said, and what there is goes on being served, even over its end.
    pebble.kill().await.unwrap();
    let last = served(&ark, "a.test").await.expect("a certificate");
    let began = Instant::now();
    let away = loop {
        if let [away] = failing(&certs(&ark)).as_slice() {
            break away.clone();
        }
        assert!(began.elapsed() < PATIENCE, "nothing is said");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!((away.host, away.times), (None, 1));
    assert!(away.reason.contains("cannot be reached"), "{}", away.reason);
    assert!(away.next.duration_since(jiff::Timestamp::now()).as_secs() > 60);
    assert_eq!(served(&ark, "a.test").await, Some(last));
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("certs/acme")).unwrap();
    let account = std::fs::read_dir(certs(&ark).join("acme")).unwrap().flatten();
    let is_account = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with("account-");
    let account =
        account.map(|entry| entry.path()).find(|path| is_account(path.file_name().unwrap()));
    let account = account.expect("an account is kept");
    let copy = dir.path().join("certs/acme").join(account.file_name().unwrap());
    std::fs::copy(account, copy).unwrap();
    drop(ark);

    // Looks where nobody is: the host is named, with the authority's words, and the account that
    // this authority does not know is no lasting trouble.
    let mut ark = gateway_in(dir, authority.options(Some(Challenge::Http01))).await;
    let _pebble = authority.start(free_port(), free_port(), 9).await;
    serve(&mut ark, &backend, &["a.test"]).await;
    let began = Instant::now();
    let refused = loop {
        if let [refused] = failing(&certs(&ark)).as_slice() {
            break refused.clone();
        }
        assert!(began.elapsed() < PATIENCE, "nothing is said");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(refused.host.as_deref(), Some("a.test"), "{refused:?}");
    assert!(refused.reason.contains("http-01 failed"), "{}", refused.reason);
    assert_eq!(served(&ark, "a.test").await, None);
}
