//! The conformance suite over the Docker engine: the same cases as the process engine's, but for
//! those that a container answers otherwise, which stand in `docker_own.rs` or are named here.
//!
//! - `the_environment_is_exactly_as_declared`, `nothing_is_inherited`: a container also has
//!   `HOSTNAME` and `HOME`, and its image's own variables.
//! - `each_instance_has_its_own_copy_of_the_files`, `the_source_may_vanish_once_it_runs`,
//!   `a_missing_blob_is_named`: directories are the process engine's.
//! - `a_taken_port_is_named`: a container has an address of its own, so no port is taken.
//! - `the_stop_signal_reaches_the_group`: the daemon signals the main process alone.
//! - `a_child_that_got_away_ends_with_its_instance`, `a_kill_reaches_everything`,
//!   `an_exec_ends_with_its_instance_and_its_session`: pids in a container are not this
//!   host's; `docker_own.rs` looks for what is left by its mark instead.
//! - `what_can_never_run_is_refused_at_once`: an image may bring its own command.
//! - `two_hundred_instances_at_once`: a benchmark's work; ten stand in `docker_own.rs`.

mod conformance;
mod docker_fixture;

use docker_fixture::{DockerFixture, daemon, skip};

macro_rules! docker_suite {
    ($group:ident) => {
        conformance::suite! { $group, name => match daemon() {
            Ok(socket) => DockerFixture::new(socket),
            Err(reason) => return skip(name, reason),
        }; }
    };
}

docker_suite!(every);
docker_suite!(programs);
docker_suite!(limits);
