//! A Docker daemon for tests: the one that answers on this machine, or one of the tests' own
//! (Debian's `docker.io`, as root) that ends with them; and an image made of the host's static
//! busybox. Used by the engine's suites and by the whole-process ones.

#![allow(dead_code, reason = "each test binary uses its part")]

#[path = "../../../../tests/harness/lacking.rs"]
#[allow(clippy::duplicate_mod, reason = "what includes this file may have it as well")]
pub(crate) mod lacking;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The image of all tests: busybox and nothing else.
pub(crate) const IMAGE: &str = "ark-test/busybox:1";
/// Where daemons of tests live: the process that started one follows.
pub(crate) const ROOT: &str = "ark-test-docker-";
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

pub(crate) fn answers(socket: &Path) -> bool {
    let info = docker(socket).arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    info.is_ok_and(|status| status.success())
}

/// A daemon of our own, for all tests of this process.
fn start() -> Result<PathBuf, String> {
    sweep();
    let root = std::env::temp_dir().join(format!("{ROOT}{}", std::process::id()));
    spawn(&root, &[])
}

/// It is told to end when the thread that started it does, so that thread lives as long as the
/// tests.
fn spawn(root: &Path, more: &[String]) -> Result<PathBuf, String> {
    std::fs::create_dir_all(root).map_err(|e| e.to_string())?;
    let socket = root.join("docker.sock");
    let mut log = std::fs::OpenOptions::new();
    let log = log.create(true).append(true).open(root.join("dockerd.log"));
    let log = log.map_err(|e| e.to_string())?;
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
        .args(more)
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

/// A daemon of one test, which stops and starts it. Its containers end with it.
pub(crate) struct OwnDaemon {
    root: PathBuf,
    pub(crate) socket: PathBuf,
    options: Vec<String>,
}

impl OwnDaemon {
    pub(crate) fn start(name: &str, options: &[&str]) -> Result<Self, String> {
        sweep();
        let options: Vec<String> = options.iter().map(|one| (*one).to_owned()).collect();
        let root = std::env::temp_dir().join(format!("{ROOT}{}-{name}", std::process::id()));
        let socket = spawn(&root, &options)?;
        make_image(&socket)?;
        Ok(Self { root, socket, options })
    }

    /// How many containers run.
    pub(crate) fn running(&self) -> usize {
        self.lines(&["ps", "-q"])
    }

    /// How many containers of an app of Ark's run.
    pub(crate) fn running_of(&self, app: &str) -> usize {
        self.lines(&["ps", "-q", "--filter", &format!("label=ark.app={app}")])
    }

    fn lines(&self, args: &[&str]) -> usize {
        let output = docker(&self.socket).args(args).output().expect("docker");
        String::from_utf8_lossy(&output.stdout).lines().count()
    }

    fn pid(&self) -> String {
        std::fs::read_to_string(self.root.join("pid")).unwrap_or_default().trim().to_owned()
    }

    /// Ends it in order, as a restart of its service does.
    pub(crate) fn stop(&self) {
        let pid = self.pid();
        let lives = || !pid.is_empty() && Path::new("/proc").join(&pid).exists();
        let told = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(told.is_ok_and(|status| status.success()), "the daemon is not told to end");
        let begun = Instant::now();
        while lives() {
            assert!(begun.elapsed() < DAEMON_DEADLINE, "the daemon does not end");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Ends it as a failing host does, without a word to its containers.
    pub(crate) fn kill(&self) {
        let pid = self.pid();
        let killed = Command::new("kill").args(["-KILL", &pid]).status();
        assert!(killed.is_ok_and(|status| status.success()), "the daemon is not killed");
    }

    /// Gives it the very image of another.
    pub(crate) fn load_from(&self, other: &Self) -> Result<(), String> {
        let script = format!(
            "docker --host unix://{} save {IMAGE} | docker --host unix://{} load",
            other.socket.display(),
            self.socket.display()
        );
        match Command::new("sh").args(["-c", &script]).output() {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    pub(crate) fn again(&self) {
        spawn(&self.root, &self.options).unwrap();
    }
}

impl Drop for OwnDaemon {
    fn drop(&mut self) {
        if !answers(&self.socket) && spawn(&self.root, &self.options).is_err() {
            return;
        }
        let script = "docker ps -aq | xargs -r docker rm -fv; docker network prune -f";
        let host = format!("unix://{}", self.socket.display());
        let _ = Command::new("sh").args(["-c", script]).env("DOCKER_HOST", host).output();
        let pid = self.pid();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let begun = Instant::now();
        while Path::new("/proc").join(&pid).exists() && begun.elapsed() < DAEMON_DEADLINE {
            std::thread::sleep(Duration::from_millis(50));
        }
        delete(&self.root);
    }
}

/// The bridges that a daemon made, by its own notes. It leaves them behind when it ends; some thirty
/// of them take all addresses that daemons have to give.
fn bridges(root: &Path) -> BTreeSet<String> {
    let notes = std::fs::read(root.join("data/network/files/local-kv.db")).unwrap_or_default();
    let named = notes
        .windows(15)
        .filter(|name| name.starts_with(b"br-") && name[3..].iter().all(u8::is_ascii_hexdigit));
    named.map(|name| String::from_utf8_lossy(name).into_owned()).collect()
}

/// Deletes a daemon's place. One with `--live-restore` leaves mounts behind when it ends.
fn delete(root: &Path) {
    for bridge in bridges(root) {
        let _ = Command::new("ip").args(["link", "delete", &bridge]).output();
    }
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let places = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    for place in places.filter(|place| Path::new(place).starts_with(root)) {
        let _ = Command::new("umount").args(["-l", place]).output();
    }
    let _ = std::fs::remove_dir_all(root);
}

/// Deletes what daemons of earlier test processes left.
pub(crate) fn sweep() {
    let entries = std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some(name) = name.strip_prefix(ROOT) else { continue };
        let pid = name.split('-').next().unwrap_or_default();
        let daemon = std::fs::read_to_string(path.join("pid")).unwrap_or_default();
        let lives = |pid: &str| !pid.is_empty() && Path::new("/proc").join(pid.trim()).exists();
        if !lives(pid) && !lives(&daemon) {
            delete(&path);
        }
    }
}

pub(crate) fn make_image(socket: &Path) -> Result<(), String> {
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

/// Processes of this host, those of containers among them, that have this in their command line.
pub(crate) fn processes(text: &str) -> usize {
    let has = |path: PathBuf| {
        let bytes = std::fs::read(path.join("cmdline")).unwrap_or_default();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    };
    let all = std::fs::read_dir("/proc").expect("/proc").flatten();
    all.filter(|entry| has(entry.path())).count()
}

/// Says, by name and loudly, that a suite could not be run here for want of a daemon.
#[track_caller]
pub(crate) fn skip(suite: &str, reason: &str) {
    lacking::skip(suite, lacking::Lack::Docker, reason);
}
