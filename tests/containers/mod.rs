//! What the suites of containers share: a daemon to test with, a web server out of its image, as a
//! launch file, and what the gateway answers for it.

#![allow(dead_code, reason = "each suite uses a part of it")]

pub(crate) mod authority;
#[path = "../../crates/engine/tests/docker_fixture/daemon.rs"]
pub(crate) mod daemon;
#[path = "../../crates/engine/tests/docker_fixture/proxy.rs"]
pub(crate) mod proxy;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use crate::harness::{Ark, ENV};

pub(crate) const WEB: &str = "web";
/// How long a machine that does other things may take to have a few containers serving again.
pub(crate) const BACK: Duration = Duration::from_secs(90);

/// Releases of a web server that answers with its version.
pub(crate) struct Web {
    /// How many instances.
    pub(crate) count: u32,
    /// Keys of the section `deploy`, in one line.
    pub(crate) deploy: &'static str,
}

impl Web {
    fn launch(&self, ark: &Ark, version: &str) -> PathBuf {
        let folder = ark.dir.path().join("launch");
        std::fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join(format!("{WEB}.yml"));
        let Self { count, deploy } = self;
        let text = format!(
            "run: {{type: docker, stop_grace: 1s, command: [sh, -c, \"echo $VERSION > \
             /tmp/index.html; exec httpd -f -p 80 -h /tmp\"]}}\n\
             expose:\n- name: default\n  port: 80\n  health_check: {{type: http, path: /, \
             interval: 100ms, timeout: 2s}}\n\
             autoscaling: {{min_count: {count}, max_count: {count}}}\n\
             deploy: {{{deploy}}}\ndrain: {{requests: 1s, streams: 1s}}\n\
             env_defaults: {{VERSION: \"{version}\", MARK: \"{}\"}}\n",
            ark.mark
        );
        std::fs::write(&path, text).expect("a file");
        path
    }

    /// Deploys a version and waits for the end.
    pub(crate) fn deployed(&self, ark: &Ark, version: &str) -> Output {
        let file = self.launch(ark, version);
        let file = file.to_string_lossy();
        let image = daemon::IMAGE;
        ark.run(&["deploy", WEB, "-e", ENV, "--file", &file, "--image", image, "--json"])
    }

    /// Begins to deploy a version; answers the deployment's id.
    pub(crate) fn begun(&self, ark: &Ark, version: &str) -> String {
        self.begun_of(ark, version, daemon::IMAGE)
    }

    /// Begins to deploy a version of an image that holds what the tests' own holds.
    pub(crate) fn begun_of(&self, ark: &Ark, version: &str, image: &str) -> String {
        let file = self.launch(ark, version);
        let file = file.to_string_lossy();
        let deploy = ["deploy", WEB, "-e", ENV, "--file", &file, "--image", image];
        let begun = ark.json(&[&deploy[..], &["--detach", "--json"]].concat());
        begun["id"].as_str().expect("an id").to_owned()
    }
}

/// What the gateway answers for the web server now.
pub(crate) fn answer(ark: &Ark) -> Option<String> {
    answer_of(ark.http, &ark.host(WEB), "/", Duration::from_secs(5))
}

/// What a gateway answers for a path of a host; each piece of it may take so long.
pub(crate) fn answer_of(
    gateway: SocketAddr,
    host: &str,
    path: &str,
    patience: Duration,
) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&gateway, Duration::from_secs(2)).ok()?;
    stream.set_read_timeout(Some(patience)).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.1 200").then(|| body.trim().to_owned())
}

/// How a server is told which daemon is its own.
pub(crate) fn at(socket: &Path) -> String {
    format!("unix://{}", socket.display())
}
