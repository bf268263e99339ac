//! The conformance suite over Podman's service, by the engine that speaks to Docker.

mod conformance;
mod docker_fixture;

use docker_fixture::podman::podman;
use docker_fixture::{DockerFixture, skip};

macro_rules! podman_suite {
    ($group:ident) => {
        conformance::suite! { $group, name => match podman() {
            Ok(socket) => DockerFixture::new(socket),
            Err(reason) => return skip(name, reason),
        }; }
    };
}

podman_suite!(every);
podman_suite!(programs);
podman_suite!(limits);
