//! A Podman service of the tests' own, which ends with them; where it is asked for ([`ASKED`]), because not
//! everything holds there (`docs/engines.md`). What it needs to run in a machine like
//! the one this was made on (control groups of version 1 beside 2, a bounded number of open files) is
//! said to it in a file, because its defaults ask for more than a container may have there.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::daemon::{ROOT, answers, make_image, sweep};

/// The variable that asks for it.
const ASKED: &str = "ARK_TEST_PODMAN";
const UP_DEADLINE: Duration = Duration::from_secs(30);
/// Soft and hard limits alike: Podman 4.3's API confuses the two.
const LIMITS: &str =
    "[containers]\ndefault_ulimits = [\"nofile=4096:4096\", \"nproc=4096:4096\"]\n";

/// Its socket, or why there is none. Asked once in a test process.
pub(crate) fn podman() -> Result<&'static Path, &'static str> {
    static PODMAN: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    PODMAN.get_or_init(start).as_deref().map_err(String::as_str)
}

fn start() -> Result<PathBuf, String> {
    if std::env::var_os(ASKED).is_none() {
        return Err(format!("it is run where {ASKED}=1 asks for it"));
    }
    for program in ["podman", "runc", "docker"] {
        let there = Command::new(program).arg("--version").output();
        there.map_err(|error| format!("`{program}` cannot be run: {error}"))?;
    }
    sweep();
    let root = std::env::temp_dir().join(format!("{ROOT}{}-podman", std::process::id()));
    std::fs::create_dir_all(root.join("networks")).map_err(|e| e.to_string())?;
    let at = |name: &str| root.join(name);
    std::fs::write(at("containers.conf"), LIMITS).map_err(|e| e.to_string())?;
    let log = std::fs::File::create(at("podman.log")).map_err(|e| e.to_string())?;
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "podman", "--runtime", "runc"]);
    command.args(["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"]);
    command.args(["--events-backend", "file"]);
    for (option, folder) in [
        ("--root", "root"),
        ("--runroot", "run"),
        ("--tmpdir", "tmp"),
        ("--network-config-dir", "networks"),
    ] {
        command.arg(option).arg(at(folder));
    }
    let socket = at("podman.sock");
    command
        .args(["system", "service", "--time", "0"])
        .arg(format!("unix://{}", socket.display()))
        .env("CONTAINERS_CONF", at("containers.conf"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    let pid = at("pid");
    // It is told to end when the thread that started it does.
    std::thread::spawn(move || {
        let Ok(mut child) = command.spawn() else { return };
        let _ = std::fs::write(pid, child.id().to_string());
        let _ = child.wait();
    });
    let begun = Instant::now();
    while !answers(&socket) {
        if begun.elapsed() > UP_DEADLINE {
            let log = std::fs::read_to_string(at("podman.log")).unwrap_or_default();
            return Err(format!("Podman does not answer: {log}"));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    make_image(&socket)?;
    Ok(socket)
}
