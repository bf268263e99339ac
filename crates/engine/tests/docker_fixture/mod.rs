//! A Docker engine for the suite: each fixture is an Ark of its own on one daemon.

#![allow(dead_code, reason = "each test binary uses its part")]

pub(crate) mod daemon;
pub(crate) mod podman;
pub(crate) mod proxy;
pub(crate) mod registry;
pub(crate) mod ssh;
pub(crate) mod sshd;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use ark_engine::{ArtifactSource, DockerEngine, DockerOptions, Engine, StartSpec};
use tempfile::TempDir;

use crate::conformance::{Fixture, Program, plain_spec};
#[allow(unused_imports, reason = "each test binary uses its part")]
pub(crate) use daemon::{IMAGE, daemon, docker, skip};

pub(crate) struct DockerFixture {
    place: TempDir,
    pub(crate) socket: PathBuf,
    engine: Option<Arc<DockerEngine>>,
    options: DockerOptions,
    exceptions: &'static [(&'static str, &'static str)],
}

impl DockerFixture {
    pub(crate) fn new(socket: &Path) -> Self {
        Self::with(socket, DockerOptions::default())
    }

    pub(crate) fn with(socket: &Path, options: DockerOptions) -> Self {
        let place = tempfile::tempdir().unwrap();
        let socket = socket.to_owned();
        let options = DockerOptions { socket: socket.clone(), ..options };
        let mut fixture = Self { place, socket, engine: None, options, exceptions: &[] };
        fixture.restart();
        fixture
    }

    /// With cases of the suite that are known not to hold, and why.
    pub(crate) fn excepting(mut self, cases: &'static [(&'static str, &'static str)]) -> Self {
        self.exceptions = cases;
        self
    }

    pub(crate) fn docker_engine(&self) -> Arc<DockerEngine> {
        Arc::clone(self.engine.as_ref().unwrap())
    }

    pub(crate) fn place(&self) -> &Path {
        self.place.path()
    }
}

impl Fixture for DockerFixture {
    fn engine(&self) -> Arc<dyn Engine> {
        self.docker_engine()
    }

    fn restart(&mut self) {
        self.engine = None;
        let engine = DockerEngine::new(self.place.path(), self.options.clone()).unwrap();
        self.engine = Some(Arc::new(engine));
    }

    fn spec(&self, program: &Program) -> StartSpec {
        image_spec(program.command())
    }

    fn exception(&self, case: &str) -> Option<&'static str> {
        self.exceptions.iter().find(|(name, _)| *name == case).map(|(_, why)| *why)
    }
}

pub(crate) fn image_spec(command: Vec<String>) -> StartSpec {
    let artifact = ArtifactSource::Image { reference: IMAGE.to_owned(), digest: None };
    StartSpec {
        artifact,
        variables: vec![("PATH".to_owned(), "/bin".to_owned())],
        ..plain_spec(command)
    }
}

/// Leaves no container and no network behind, however a test ends.
impl Drop for DockerFixture {
    fn drop(&mut self) {
        self.engine = None;
        let Ok(cluster) = std::fs::read_to_string(self.place.path().join("docker/cluster")) else {
            return;
        };
        let script = format!(
            "docker ps -aq --filter label=ark.cluster={cluster} | xargs -r docker rm -fv; \
             docker network ls -q --filter label=ark.cluster={cluster} | xargs -r docker network rm"
        );
        let host = format!("unix://{}", self.socket.display());
        let _ = Command::new("sh")
            .args(["-c", &script])
            .env("DOCKER_HOST", host)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}
