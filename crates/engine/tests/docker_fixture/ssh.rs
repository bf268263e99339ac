//! A stand-in for `ssh`: it takes its time to log in, counts how many do so beside it, and then speaks to
//! a daemon of this machine as `docker system dial-stdio` does on another.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use ark_engine::SshDaemon;

pub(crate) struct Ssh {
    place: tempfile::TempDir,
}

impl Ssh {
    pub(crate) fn to(socket: &Path) -> Self {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        fs::create_dir(at("logins")).unwrap();
        let script = format!(
            "#!/bin/sh\ncd {place} && touch logins/$$ && n=0\n\
             for one in logins/*; do kill -0 ${{one#logins/}} 2>/dev/null && n=$((n+1)); done\n\
             echo $n >> seen; sleep 0.2; rm logins/$$\n\
             exec docker --host unix://{socket} system dial-stdio\n",
            place = place.path().display(),
            socket = socket.display()
        );
        fs::write(at("ssh"), script).unwrap();
        fs::set_permissions(at("ssh"), fs::Permissions::from_mode(0o755)).unwrap();
        Self { place }
    }

    pub(crate) fn program(&self) -> PathBuf {
        self.place.path().join("ssh")
    }

    pub(crate) fn daemon(&self) -> SshDaemon {
        SshDaemon::parse("eu-1.test").unwrap().with_program(self.program())
    }

    /// How many logged in beside each other, for each that did.
    pub(crate) fn seen(&self) -> Vec<usize> {
        let seen = fs::read_to_string(self.place.path().join("seen")).unwrap();
        seen.lines().map(|line| line.parse().unwrap()).collect()
    }
}
