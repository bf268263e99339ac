//! What a machine may lack for a test, which then says so by name and does not run. Every suite and every
//! crate with such a test reads this file by its path, so that there is one place where a test is skipped.
//!
//! A plain `cargo test` runs what it can. Where [`MAY_LACK`] is set, nothing else may be lacking than what it
//! names: `.ci/run` sets it after a look at the machine, so that nothing there is green without having run.

#![allow(dead_code, reason = "each suite lacks its part")]

use std::io::Write;

/// The variable that names, between spaces, what may be lacking. Empty: nothing.
const MAY_LACK: &str = "ARK_MAY_LACK";

/// What is not here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lack {
    /// The recorded cases beside the repository, `../shared/data`.
    SharedData,
    /// A Docker daemon of this machine, or one that can be started.
    Docker,
    /// Podman, and the wish to test with it.
    Podman,
    /// Control groups that may be written, of the version that a test is about.
    Limits,
    /// The right to mount a file system.
    Mount,
    /// Root.
    Root,
    /// Chromium and its driver.
    Browser,
    /// axe-core, which looks at pages (`target/axe-core`).
    Axe,
    /// PostgreSQL's programs.
    Postgres,
    /// Redis' programs.
    Redis,
    /// OpenSSH's server.
    Sshd,
    /// AWS's clients (`target/aws-clients`).
    AwsClients,
    /// Terraform, and its provider of AWS.
    Terraform,
    /// h2spec, made with Go.
    H2spec,
    /// Pebble, an authority for certificates, made with Go.
    Pebble,
}

impl Lack {
    fn name(self) -> &'static str {
        match self {
            Self::SharedData => "shared-data",
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Limits => "limits",
            Self::Mount => "mount",
            Self::Root => "root",
            Self::Browser => "browser",
            Self::Axe => "axe",
            Self::Postgres => "postgres",
            Self::Redis => "redis",
            Self::Sshd => "sshd",
            Self::AwsClients => "aws-clients",
            Self::Terraform => "terraform",
            Self::H2spec => "h2spec",
            Self::Pebble => "pebble",
        }
    }
}

/// Says that a test does not run here, or not all of it.
///
/// # Panics
/// Where this may not be lacking.
#[track_caller]
pub(crate) fn skip(test: &str, lack: Lack, why: &str) {
    if let Ok(may) = std::env::var(MAY_LACK) {
        assert!(
            may_lack(&may, lack),
            "{test} cannot run: {why} ({} may not be lacking)",
            lack.name()
        );
    }
    // Not by `eprintln!`, which is shown of failed tests alone.
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
}

fn may_lack(may: &str, lack: Lack) -> bool {
    may.split_whitespace().any(|name| name == lack.name())
}
