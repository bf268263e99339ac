//! A Docker daemon for tests: the one that answers on this machine, or one of the tests' own
//! (Debian's `docker.io`, as root) that ends with them; and an image made of the host's static
//! busybox. Used by the engine's suites and by the whole-process ones.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The image of all tests: busybox and nothing else.
pub(crate) const IMAGE: &str = "ark-test/busybox:1";
const DAEMON_DEADLINE: Duration = Duration::from_secs(60);

/// The daemon's socket, or why there is none. Asked once in a test process.
pub(crate) fn daemon() -> Result<&'static Path, &'static str> {
    static DAEMON: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    DAEMON.get_or_init(find_or_start).as_deref().map_err(String::as_str)
}

fn find_or_start() -> Result<PathBuf, String> {
    let usual = PathBuf::from("/var/run/docker.sock");
    let socket = if answers(&usual) { usual } else { start()? };
    make_image(&socket)?;
    Ok(socket)
}

pub(crate) fn docker(socket: &Path) -> Command {
    let mut command = Command::new("docker");
    command.arg("--host").arg(format!("unix://{}", socket.display()));
    command
}

fn answers(socket: &Path) -> bool {
    let info = docker(socket).arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    info.is_ok_and(|status| status.success())
}

/// A daemon of our own. It is told to end when the thread that started it does, so that thread
/// lives as long as the tests.
fn start() -> Result<PathBuf, String> {
    sweep();
    let root = std::env::temp_dir().join(format!("ark-test-docker-{}", std::process::id()));
    std::fs::create_dir_all(&root).map_err(|e| e.to_string())?;
    let socket = root.join("docker.sock");
    let log = std::fs::File::create(root.join("dockerd.log")).map_err(|e| e.to_string())?;
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "TERM", "dockerd", "--host"])
        .arg(format!("unix://{}", socket.display()))
        .arg("--data-root")
        .arg(root.join("data"))
        .arg("--exec-root")
        .arg(root.join("exec"))
        .arg("--pidfile")
        .arg(root.join("pid"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    std::thread::spawn(move || command.spawn().and_then(|mut child| child.wait()));
    let begun = Instant::now();
    while !answers(&socket) {
        if begun.elapsed() > DAEMON_DEADLINE {
            let log = std::fs::read_to_string(root.join("dockerd.log")).unwrap_or_default();
            let end = log.lines().rev().take(3).collect::<Vec<_>>().join(" | ");
            return Err(format!("no Docker engine answers, and none could be started: {end}"));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(socket)
}

/// Deletes what daemons of earlier test processes left.
fn sweep() {
    let entries = std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some(pid) = name.strip_prefix("ark-test-docker-") else { continue };
        let daemon = std::fs::read_to_string(path.join("pid")).unwrap_or_default();
        let lives = |pid: &str| !pid.is_empty() && Path::new("/proc").join(pid.trim()).exists();
        if !lives(pid) && !lives(&daemon) {
            let _ = std::fs::remove_dir_all(path);
        }
    }
}

fn make_image(socket: &Path) -> Result<(), String> {
    let there = docker(socket)
        .args(["image", "inspect", IMAGE])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if there.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].iter().find(|path| Path::new(path).exists());
    let busybox = busybox.ok_or("there is no static busybox (Debian's busybox-static)")?;
    let place = tempfile::tempdir().map_err(|e| e.to_string())?;
    let script = format!(
        "set -e; mkdir -p bin tmp run etc; chmod 1777 tmp; cp {busybox} bin/busybox; \
         for a in $(bin/busybox --list); do [ $a = busybox ] || ln -s busybox bin/$a; done; \
         echo root:x:0:0:root:/:/bin/sh > etc/passwd; echo root:x:0: > etc/group; \
         tar -c . | docker --host unix://{} import --change 'WORKDIR /tmp' \
         --change 'ENV PATH=/bin' - {IMAGE}",
        socket.display()
    );
    let made = Command::new("sh").args(["-c", &script]).current_dir(place.path()).output();
    match made {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Says, by name and loudly, that a suite could not be run here.
pub(crate) fn skip(suite: &str, reason: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED {suite}: {reason}");
}
