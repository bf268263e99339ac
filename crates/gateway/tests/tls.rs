//! TLS towards clients, the redirect to it, and the PROXY protocol, at the socket.

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ark_gateway::role::Config;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use support::{Ark, Backend, Client, route};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A gateway with both kinds of door.
async fn start(change: impl FnOnce(&mut Config)) -> Ark {
    let dir = tempfile::tempdir().unwrap();
    let any = || vec!["127.0.0.1:0".parse().unwrap()];
    let mut config =
        Config { data_dir: dir.path().to_owned(), http: any(), https: any(), ..Config::default() };
    change(&mut config);
    Ark::start_as(dir, config).await
}

/// Writes a self-signed certificate for `name` and returns it.
fn write_certificate(directory: &Path, file: &str, name: &str) -> CertificateDer<'static> {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    std::fs::create_dir_all(directory).unwrap();
    std::fs::write(directory.join(format!("{file}.key")), key.serialize_pem()).unwrap();
    std::fs::write(directory.join(format!("{file}.pem")), certificate.pem()).unwrap();
    certificate.der().clone()
}

fn trusting(roots: &[CertificateDer<'static>]) -> TlsConnector {
    let mut store = RootCertStore::empty();
    roots.iter().for_each(|root| store.add(root.clone()).unwrap());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(store)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    TlsConnector::from(Arc::new(config))
}

async fn connect(
    connector: &TlsConnector,
    ark: &Ark,
    name: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(ark.https()).await.unwrap();
    connector.connect(ServerName::try_from(name.to_owned()).unwrap(), tcp).await
}

/// One request on a kept connection; the whole answer, whose body is `length` bytes.
async fn get(tls: &mut TlsStream<TcpStream>, host: &str) -> String {
    tls.write_all(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&answer).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|l| l.strip_prefix("Content-Length: "));
            if body.len() >= length.unwrap().parse().unwrap() {
                return text;
            }
        }
        let read = tokio::time::timeout(support::PATIENCE, tls.read_buf(&mut answer)).await;
        assert!(matches!(read, Ok(Ok(1..))), "{read:?} after {text:?}");
    }
}

fn served(tls: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    tls.get_ref().1.peer_certificates().unwrap()[0].clone()
}

#[tokio::test]
async fn certificates_are_found_by_name_and_swapped_without_dropping_a_connection() {
    let dir = tempfile::tempdir().unwrap();
    let certs = dir.path().join("certs");
    let first = write_certificate(&certs, "a", "a.test");
    let other = write_certificate(&certs, "b", "*.b.test");
    let any = || vec!["127.0.0.1:0".parse().unwrap()];
    let config =
        Config { data_dir: dir.path().to_owned(), http: any(), https: any(), ..Config::default() };
    let mut ark = Ark::start_as(dir, config).await;
    let backend = Backend::echo("over TLS").await;
    ark.serve(&[&backend]).await;

    let mut kept = connect(&trusting(std::slice::from_ref(&first)), &ark, "a.test").await.unwrap();
    assert!(get(&mut kept, "a.test").await.ends_with("over TLS"));
    assert!(backend.heads.lock().unwrap()[0].contains("X-Forwarded-Proto: https\r\n"));
    let wild = connect(&trusting(std::slice::from_ref(&other)), &ark, "x.b.test").await.unwrap();
    assert_eq!(served(&wild), other);
    connect(&trusting(&[other]), &ark, "unknown.test").await.unwrap_err();

    // A bad file changes nothing.
    std::fs::write(certs.join("a.pem"), "nonsense").unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    connect(&trusting(std::slice::from_ref(&first)), &ark, "a.test").await.unwrap();

    let second = write_certificate(&certs, "a", "a.test");
    let connector = trusting(&[first, second.clone()]);
    let began = std::time::Instant::now();
    while served(&connect(&connector, &ark, "a.test").await.unwrap()) != second {
        assert!(began.elapsed() < support::PATIENCE, "the new certificate is not served");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(get(&mut kept, "a.test").await.ends_with("over TLS"), "kept over the swap");
}

#[tokio::test]
async fn local_names_are_served_by_an_authority_of_ones_own_and_sessions_are_resumed() {
    let mut ark = start(|_| {}).await;
    let backend = Backend::echo("local").await;
    let mut route = route(vec![backend.target()]);
    route.hosts = vec!["web.dev.localhost".to_owned()];
    ark.server.push(&[route]).await;
    ark.server.until_ready(&[backend.instance]).await;

    // The first handshake makes the authority.
    let _ = connect(&trusting(&[]), &ark, "web.dev.localhost").await.unwrap_err();
    let pem = std::fs::read(ark.data_dir().join("certs/ark-local-ca.pem")).unwrap();
    let connector = trusting(&[CertificateDer::from_pem_slice(&pem).unwrap()]);
    let mut first = connect(&connector, &ark, "web.dev.localhost").await.unwrap();
    assert!(get(&mut first, "web.dev.localhost").await.ends_with("local"));
    let mut second = connect(&connector, &ark, "web.dev.localhost").await.unwrap();
    assert!(get(&mut second, "web.dev.localhost").await.ends_with("local"));
    assert_eq!(second.get_ref().1.handshake_kind(), Some(HandshakeKind::Resumed));
    // It vouches for nothing else.
    connect(&connector, &ark, "web.example").await.unwrap_err();
}

#[tokio::test]
async fn large_bodies_pass_both_ways_over_tls() {
    const LENGTH: usize = 3 << 20;
    let mut ark = start(|_| {}).await;
    let backend = Backend::start(|mut peer| async move {
        while peer.head().await.is_some() {
            let body = peer.body(LENGTH).await;
            peer.say(&format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n")).await;
            let _ = peer.stream.write_all(&body).await;
        }
    })
    .await;
    let mut route = route(vec![backend.target()]);
    route.hosts = vec!["localhost".to_owned()];
    ark.server.push(&[route]).await;
    ark.server.until_ready(&[backend.instance]).await;
    let _ = connect(&trusting(&[]), &ark, "localhost").await;
    let pem = std::fs::read(ark.data_dir().join("certs/ark-local-ca.pem")).unwrap();
    let connector = trusting(&[CertificateDer::from_pem_slice(&pem).unwrap()]);
    let tls = connect(&connector, &ark, "localhost").await.unwrap();
    let (mut read, mut write) = tokio::io::split(tls);
    let sent: Vec<u8> = (0..LENGTH).map(|at| u8::try_from(at % 251).unwrap()).collect();
    let body = sent.clone();
    let writing = tokio::spawn(async move {
        let head = format!("PUT / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {LENGTH}\r\n\r\n");
        write.write_all(head.as_bytes()).await.unwrap();
        write.write_all(&body).await.unwrap();
        write
    });
    let mut answer = Vec::new();
    while answer.len() < LENGTH || !answer.ends_with(&sent[LENGTH - 1000..]) {
        let count = tokio::time::timeout(support::PATIENCE, read.read_buf(&mut answer)).await;
        assert!(matches!(count, Ok(Ok(1..))), "{count:?} after {} bytes", answer.len());
    }
    let head = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
    assert!(answer[head..] == sent[..], "bytes changed");
    writing.await.unwrap();
    let report = ark.server.until_ended(backend.instance, 1).await;
    assert_eq!(support::ends(&report.counters), (1, 0, 0, 0));
}

#[tokio::test]
async fn requests_without_tls_are_redirected_when_told() {
    let ark = start(|config| config.redirect = true).await;
    let port = ark.https().port();
    let mut client = ark.client().await;
    client.say("GET /x?y=1 HTTP/1.1\r\nHost: a.test:8080\r\n\r\n").await;
    let answer = client.answer().await;
    assert_eq!(answer.status, 308);
    assert_eq!(answer.field("location"), Some(format!("https://a.test:{port}/x?y=1").as_str()));
    // The connection goes on.
    client.say("POST / HTTP/1.1\r\nHost: [::1]:80\r\nContent-Length: 1\r\n\r\nx").await;
    let answer = client.answer().await;
    assert_eq!(answer.field("location"), Some(format!("https://[::1]:{port}/").as_str()));
    assert_eq!(answer.field("connection"), Some("close"));
}

#[tokio::test]
async fn a_balancer_says_for_whom_it_speaks() {
    let mut ark = start(|config| config.proxy_protocol_http = true).await;
    let backend = Backend::echo("hello").await;
    ark.serve(&[&backend]).await;
    let mut v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c".to_vec();
    v2.extend([203, 0, 113, 7, 127, 0, 0, 1, 0, 80, 0, 80]);
    let headers: [(&[u8], &str); 3] = [
        (b"PROXY TCP4 192.0.2.9 127.0.0.1 5000 80\r\n", "192.0.2.9"),
        (&v2, "203.0.113.7"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
    ];
    for (header, client) in headers {
        let mut connection = Client::connect(ark.http).await;
        connection.stream.write_all(header).await.unwrap();
        assert_eq!(connection.get("/").await.body, "hello");
        let head = backend.heads.lock().unwrap().last().cloned().unwrap();
        assert!(head.contains(&format!("X-Forwarded-For: {client}\r\n")), "{head}");
    }
    // Who does not say it is not served.
    let mut connection = Client::connect(ark.http).await;
    connection.say("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    connection.until_closed().await;
    assert_eq!(connection.rest(), "");
}
