//! h2spec's cases against the gateway, without and with TLS. Skipped by name where the tool is not
//! installed (`.ci/run` installs it).

#[path = "../../../tests/harness/lacking.rs"]
mod lacking;
mod support;

use std::net::SocketAddr;
use std::path::PathBuf;

use ark_gateway::role::Config;
use lacking::{Lack, skip};
use support::{Ark, Backend, route};

/// Cases that do not pass without TLS, with the reason why they need not. With TLS all pass.
const EXCEPTIONS: [(&str, &str); 1] = [(
    "2: Sends invalid connection preface",
    "the port speaks HTTP/1.1 too: what is no preface is answered as HTTP/1.1, with 400 and the end \
     of the connection",
)];

fn tool() -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([home.join("go/bin")])
        .map(|directory| directory.join("h2spec"))
        .find(|program| program.is_file())
}

/// Runs all cases; the lines of those that failed, and how many passed.
async fn run(tool: PathBuf, address: SocketAddr, tls: bool) -> (Vec<String>, usize) {
    let mut command = tokio::process::Command::new(tool);
    command.args(["--host", "localhost", "--port", &address.port().to_string()]);
    command.args(["--timeout", "3"]);
    if tls {
        command.args(["--tls", "--insecure"]);
    }
    let output = command.output().await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let failed = text.lines().map(str::trim).filter(|line| line.starts_with('×'));
    // `146 tests, 145 passed, 0 skipped, 1 failed`
    let summary = text.lines().find(|line| line.contains(" tests, ")).unwrap_or_default();
    let passed = summary.split(", ").find_map(|part| part.strip_suffix(" passed"));
    let passed = passed.and_then(|count| count.trim().parse().ok()).unwrap_or(0);
    let mut failed: Vec<String> = failed.map(str::to_owned).collect();
    failed.sort();
    failed.dedup();
    failed.retain(|line| tls || !EXCEPTIONS.iter().any(|(case, _)| line.contains(case)));
    (failed, passed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h2spec_passes() {
    let Some(tool) = tool() else {
        return skip("h2spec_passes", Lack::H2spec, "h2spec is not installed");
    };
    let dir = tempfile::tempdir().unwrap();
    let any = || vec!["127.0.0.1:0".parse().unwrap()];
    let config =
        Config { data_dir: dir.path().to_owned(), http: any(), https: any(), ..Config::default() };
    let mut ark = Ark::start_as(dir, config).await;
    // Reads bodies, whatever their length, and answers as an app would.
    let backend = Backend::start(|mut peer| async move {
        while let Some(head) = peer.head().await {
            if head.contains("transfer-encoding: chunked") {
                // Trailers may follow the last chunk.
                while !peer.read.ends_with(b"\r\n\r\n") {
                    use tokio::io::AsyncReadExt;
                    if !matches!(peer.stream.read_buf(&mut peer.read).await, Ok(1..)) {
                        return;
                    }
                }
                peer.read.clear();
            }
            peer.answer("some words that are long enough to be split").await;
        }
    })
    .await;
    let mut route = route(vec![backend.target()]);
    route.hosts = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    ark.server.push(&[route]).await;
    ark.server.until_ready(&[backend.instance]).await;
    for (name, address, tls) in [("cleartext", ark.http, false), ("TLS", ark.https(), true)] {
        let (failed, passed) = run(tool.clone(), address, tls).await;
        assert!(failed.is_empty(), "{name}: {failed:#?}");
        assert!(passed > 140, "{name}: only {passed} cases ran");
    }
}
