//! A real OpenSSH server (Debian's `openssh-server`) on a port of loopback, for the user of the tests, whose
//! sessions speak to a daemon of this machine; and an `ssh` that has the key and knows the server.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ark_engine::SshDaemon;

use crate::conformance::lacking::Lack;

const PROGRAM: &str = "/usr/sbin/sshd";
/// Where it wants to find an empty folder of root's.
const EMPTY: &str = "/run/sshd";
const DEADLINE: Duration = Duration::from_secs(10);
/// More than so many that have not shown yet who they are, and it turns all further ones away.
const STRANGERS_MAX: u32 = 5;

/// Which server an `ssh` takes for the right one.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Knows {
    This,
    Another,
}

pub(crate) struct Sshd {
    place: tempfile::TempDir,
    port: u16,
    server: Child,
}

impl Sshd {
    /// What is lacking, and the reason, when there can be none here.
    pub(crate) fn start(socket: &Path) -> Result<Self, (Lack, String)> {
        if !Path::new(PROGRAM).exists() {
            return Err((Lack::Sshd, format!("there is no {PROGRAM} (Debian's openssh-server)")));
        }
        if !nix::unistd::geteuid().is_root() {
            return Err((Lack::Root, "only root lets root in".to_owned()));
        }
        Self::serve(socket).map_err(|reason| (Lack::Sshd, reason))
    }

    fn serve(socket: &Path) -> Result<Self, String> {
        fs::create_dir_all(EMPTY).map_err(|error| error.to_string())?;
        let place = tempfile::tempdir().map_err(|error| error.to_string())?;
        for key in ["host", "client", "other"] {
            let file = place.path().join(key).display().to_string();
            output("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", &file])?;
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|e| e.to_string())?;
        let port = listener.local_addr().map_err(|e| e.to_string())?.port();
        drop(listener);
        let at = place.path().display();
        let config = format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {at}/host\nPidFile none\nStrictModes no\n\
             AuthorizedKeysFile {at}/client.pub\nPasswordAuthentication no\nUsePAM no\n\
             PermitRootLogin prohibit-password\nMaxStartups {STRANGERS_MAX}:100:{STRANGERS_MAX}\n\
             SetEnv DOCKER_HOST=unix://{}\n",
            socket.display()
        );
        fs::write(place.path().join("sshd_config"), config).map_err(|e| e.to_string())?;
        let server = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", PROGRAM, "-D", "-e", "-f"])
            .arg(place.path().join("sshd_config"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(place.path().join("log")).map_err(|e| e.to_string())?)
            .spawn()
            .map_err(|error| error.to_string())?;
        let sshd = Self { place, port, server };
        let begun = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if begun.elapsed() > DEADLINE {
                return Err(format!("it does not listen: {}", sshd.log()));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(sshd)
    }

    /// What it has said.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.place.path().join("log")).unwrap_or_default()
    }

    pub(crate) fn daemon(&self, knows: Knows) -> SshDaemon {
        let daemon = SshDaemon::parse(&format!("root@127.0.0.1:{}", self.port)).unwrap();
        daemon.with_program(self.program(knows))
    }

    /// The machine's own `ssh`, with settings as they stand in `~/.ssh`.
    fn program(&self, knows: Knows) -> PathBuf {
        let (name, key) = match knows {
            Knows::This => ("ssh-this", "host"),
            Knows::Another => ("ssh-another", "other"),
        };
        let at = |name: &str| self.place.path().join(name);
        let key = fs::read_to_string(at(&format!("{key}.pub"))).unwrap();
        let known = at(&format!("{name}-known"));
        fs::write(&known, format!("[127.0.0.1]:{} {key}", self.port)).unwrap();
        let config = format!(
            "IdentityFile {}\nIdentitiesOnly yes\nUserKnownHostsFile {}\nStrictHostKeyChecking yes\n",
            at("client").display(),
            known.display()
        );
        let file = at(&format!("{name}-config"));
        fs::write(&file, config).unwrap();
        let script = format!("#!/bin/sh\nexec ssh -F {} \"$@\"\n", file.display());
        fs::write(at(name), script).unwrap();
        fs::set_permissions(at(name), fs::Permissions::from_mode(0o755)).unwrap();
        at(name)
    }

    /// Ends it, and every session with it: each is a process of its own.
    pub(crate) fn kill(&mut self) {
        let sessions = format!("pkill -KILL -P {}", self.server.id());
        let _ = Command::new("sh").args(["-c", &sessions]).status();
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.kill();
    }
}

fn output(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
