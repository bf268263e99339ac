//! The conformance suite over Podman's service, by the engine that speaks to Docker; with the cases that do
//! not hold there, of which each has to fail.

mod conformance;
mod docker_fixture;

use conformance::lacking::{Lack, skip};
use docker_fixture::DockerFixture;
use docker_fixture::podman::podman;

/// Cases that do not hold with Debian 12's Podman 4.3.1, run by runc with control groups of version 1.
const EXCEPTIONS: [(&str, &str); 4] = [
    (
        "a_missing_command_is_named",
        "its `--init` starts whatever the command is, and then ends with code 1",
    ),
    (
        "following_loses_nothing_while_files_rotate",
        "its log has one file, which is emptied when it is full, also before it was read",
    ),
    ("the_log_is_bounded_and_its_newest_part_kept", "the same: what was in the file is gone"),
    ("too_much_memory_is_seen_as_such", "it does not tell that the kernel ended it for its memory"),
];

macro_rules! podman_suite {
    ($group:ident) => {
        conformance::suite! { $group, name => match podman() {
            Ok(socket) => DockerFixture::new(socket).excepting(&EXCEPTIONS),
            Err(reason) => return skip(name, Lack::Podman, reason),
        }; }
    };
}

podman_suite!(every);
podman_suite!(programs);
podman_suite!(limits);
