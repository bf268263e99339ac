//! Images from a project's `build` sections: built once for all who share them, named by their
//! commit, never overwritten, left alone when nothing of them changed; a build that fails says why
//! and works once the cause is gone. What a push deploys, volumes that outlive instances, and what
//! `ark gc` removes. No registry is needed: every image is made from scratch.

#[path = "../crates/engine/tests/docker_fixture/daemon.rs"]
mod daemon;
mod harness;

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};

use daemon::{daemon, docker, skip};
use harness::{Ark, ENV, words};
use serde_json::Value;

/// A repository with a project whose image is the host's static busybox.
struct Project {
    root: PathBuf,
}

impl Project {
    fn new(ark: &Ark) -> Self {
        let project = Self { root: ark.dir.path().join("shop") };
        std::fs::create_dir_all(project.root.join("launch")).expect("a folder");
        let busybox = ["/bin/busybox", "/usr/bin/busybox"].iter().find(|p| Path::new(p).exists());
        std::fs::copy(busybox.expect("busybox"), project.root.join("busybox")).expect("a copy");
        project.write("src/page", "one");
        project.write(".dockerignore", "*\n!busybox\n!out\n");
        project.write(".gitignore", "out\n");
        project.write(
            "Dockerfile",
            "FROM scratch\nCOPY busybox /bin/busybox\nCOPY busybox /bin/sh\nCOPY out /www/index.html\n\
             CMD [\"/bin/busybox\", \"httpd\", \"-f\", \"-p\", \"80\", \"-h\", \"/www\"]\n",
        );
        for app in ["web", "admin"] {
            project.write(&format!("launch/{app}.yml"), &Self::launch(ark));
        }
        project.write(
            "launch/worker.yml",
            &format!(
                "run: {{command: [/bin/busybox, sleep, \"1000\"]}}\n\
                 build: {{artifact: {{dependencies: [worker/**]}}, docker: {{file: worker/Dockerfile}}}}\n\
                 volumes: [{{name: data, path: /data}}]\nenv_defaults: {{MARK: \"{}\"}}\n",
                ark.mark
            ),
        );
        project.write(
            "worker/Dockerfile",
            "FROM scratch\nCOPY busybox /bin/busybox\nCOPY busybox /bin/sh\n",
        );
        project.git(&["init", "-q", "-b", "main"]);
        project.commit("first");
        project
    }

    fn launch(ark: &Ark) -> String {
        format!(
            "build:\n  artifact: {{name: goods, command: cp src/page out, dependencies: [src/**]}}\n\
             expose: [{{name: default, port: 80, health_check: {{type: http, path: /, \
             interval: 100ms}}}}]\n\
             deploy: {{min_healthy_time: 200ms}}\ndrain: {{requests: 1s, streams: 1s}}\n\
             deploy_config: {{autoDeployEnvs: [{ENV}]}}\nenv_defaults: {{MARK: \"{}\"}}\n",
            ark.mark
        )
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root.join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    }

    fn git(&self, arguments: &[&str]) -> String {
        git(&self.root, arguments)
    }

    /// Answers the tag that its images get.
    fn commit(&self, message: &str) -> String {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", message]);
        self.git(&["rev-parse", "HEAD"])[..7].to_owned()
    }

    fn build(&self, ark: &Ark, more: &[&str]) -> Output {
        let root = self.root.to_string_lossy().into_owned();
        ark.run(&[&["build", "--dir", &root, "--json"], more].concat())
    }
}

fn git(dir: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .arg("-C")
        .arg(dir)
        .args(["-c", "user.name=Test", "-c", "user.email=test@example.test"])
        .args(["-c", "commit.gpgsign=false"])
        .args(arguments)
        .output()
        .expect("git");
    assert!(output.status.success(), "git {arguments:?}: {}", words(&output));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Pushes to a bare repository whose `post-receive` hook is `ark ci`; answers what that said.
fn push(ark: &Ark, project: &Project, bare: &Path, branch: &str) -> Output {
    let said = ["out", "err", "code"].map(|kind| ark.dir.path().join(format!("hook.{kind}")));
    let [out, err, code] = said.clone().map(|path| path.to_string_lossy().into_owned());
    let hook = format!(
        "#!/bin/sh\n{ark} ci --branch main --json >{out} 2>{err}\necho $? >{code}\n",
        ark = harness::ark()
    );
    let path = bare.join("hooks/post-receive");
    std::fs::write(&path, hook).expect("a hook");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("permissions");
    let like = ark.command(&[]);
    let variables = like.get_envs().filter_map(|(name, value)| Some((name, value?)));
    let pushed = Command::new("git")
        .arg("-C")
        .arg(&project.root)
        .args(["push", "-q"])
        .arg(bare)
        .arg(branch)
        .envs(variables)
        .output()
        .expect("git");
    assert!(pushed.status.success(), "{}", words(&pushed));
    let [out, err, code] = said.map(|path| std::fs::read(path).expect("what the hook said"));
    let code: i32 = String::from_utf8_lossy(&code).trim().parse().expect("an exit code");
    Output { status: ExitStatus::from_raw(code << 8), stdout: out, stderr: err }
}

/// `app image outcome` of each line.
fn told(output: &Output) -> Vec<String> {
    assert!(output.status.success(), "{}", words(output));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let ready = |line: &str| -> Option<String> {
        let one: Value = serde_json::from_str(line).ok()?;
        let field = |name: &str| one[name].as_str().map(str::to_owned);
        Some(format!("{} {} {}", field("app")?, field("image")?, field("outcome")?))
    };
    text.lines().filter_map(ready).collect()
}

fn engine(test: &str) -> Option<(&'static Path, Ark)> {
    let socket = daemon().map_err(|reason| skip(test, reason)).ok()?;
    let ark = Ark::up_with(&[("DOCKER_HOST", &format!("unix://{}", socket.display()))]);
    Some((socket, ark))
}

/// Removes what a test built, however it ends.
struct Built(&'static Path);

impl Drop for Built {
    fn drop(&mut self) {
        for name in ["goods", "worker"] {
            let output = docker(self.0).args(["images", "-q", name]).output();
            let ids = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned());
            for id in ids.unwrap_or_default().lines() {
                let _ = docker(self.0).args(["rmi", "-f", id]).output();
            }
        }
    }
}

#[test]
fn images_are_built_once_named_by_their_commit_and_deployed_by_a_push() {
    let test = "images_are_built_once_named_by_their_commit_and_deployed_by_a_push";
    let Some((socket, ark)) = engine(test) else { return };
    let _built = Built(socket);
    let project = Project::new(&ark);
    let first = project.git(&["rev-parse", "HEAD"])[..7].to_owned();
    let goods = |tag: &str, outcome: &str| {
        ["admin", "web"].map(|app| format!("{app} goods:{tag} {outcome}")).to_vec()
    };
    let worker = |tag: &str, outcome: &str| format!("worker worker:{tag} {outcome}");
    let all = |one: Vec<String>, other: String| [one, vec![other]].concat();

    // Both apps of one artifact share one build; a second time nothing is built.
    let output = project.build(&ark, &[]);
    assert_eq!(told(&output), all(goods(&first, "built"), worker(&first, "built")));
    let output = project.build(&ark, &[]);
    assert_eq!(told(&output), all(goods(&first, "present"), worker(&first, "present")));

    // What is not committed is not built: its name would lie.
    project.write("src/page", "two");
    let output = project.build(&ark, &[]);
    assert_eq!(output.status.code(), Some(2), "{}", words(&output));
    let second = project.commit("page");
    let output = ark.run(&["build", "--dir", &project.root.to_string_lossy()]);
    assert!(output.status.success(), "{}", words(&output));
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(log.matches("COPY out").count(), 1, "what the builder says is passed on: {log}");
    let output = project.build(&ark, &[]);
    assert_eq!(told(&output), all(goods(&second, "present"), worker(&first, "unchanged")));

    // A build that fails says why, and works once that is gone.
    project.write("worker/Dockerfile", "FROM scratch\nCOPY nothing /nothing\n");
    project.commit("broken");
    let output = project.build(&ark, &["worker"]);
    assert_eq!(output.status.code(), Some(1), "{}", words(&output));
    assert!(words(&output).contains("nothing"), "{}", words(&output));
    project.write("worker/Dockerfile", "FROM scratch\nCOPY busybox /bin/busybox\n");
    let mended = project.commit("mended");
    let output = project.build(&ark, &["worker"]);
    assert_eq!(told(&output), [worker(&mended, "built")]);

    // A push to a bare repository deploys what it changed, where its file says.
    let bare = ark.dir.path().join("shop.git");
    let at = bare.to_string_lossy().into_owned();
    project.git(&["clone", "-q", "--bare", ".", &at]);
    project.write("src/page", "three");
    let third = project.commit("third");
    let commit = project.git(&["rev-parse", "HEAD"]);
    let output = push(&ark, &project, &bare, "main");
    assert_eq!(told(&output), all(goods(&third, "built"), worker(&mended, "unchanged")));
    for app in ["web", "admin"] {
        let output =
            ark.run(&["exec", app, "-e", ENV, "--", "/bin/busybox", "cat", "/www/index.html"]);
        assert_eq!(String::from_utf8_lossy(&output.stdout), "three", "{}", words(&output));
        let releases = ark.json(&["releases", app, "-e", ENV, "--json"]);
        assert!(releases.to_string().contains(&commit[..7]), "{releases}");
    }
}

#[test]
fn a_volume_outlives_its_instance() {
    let Some((socket, ark)) = engine("a_volume_outlives_its_instance") else { return };
    let launch = ark.dir.path().join("keeper.yml");
    let text = format!(
        "run: {{command: [sh, -c, \"date >> /data/starts; trap 'exit 0' TERM; sleep 1000 & wait\"]}}\n\
         volumes: [{{name: data, path: /data}}]\nautoscaling: {{min_count: 1, max_count: 1}}\n\
         resources: {{max_mem: 0.0625, soft_mem_limit: 0.03125}}\n\
         deploy: {{strategy: recreate, min_healthy_time: 100ms}}\nenv_defaults: {{MARK: \"{}\"}}\n",
        ark.mark
    );
    std::fs::write(&launch, text).expect("a file");
    let file = launch.to_string_lossy();
    let output =
        ark.run(&["deploy", "keeper", "-e", ENV, "--file", &file, "--image", daemon::IMAGE]);
    assert!(output.status.success(), "{}", words(&output));
    let output = ark.run(&["restart", "keeper", "-e", ENV]);
    assert!(output.status.success(), "{}", words(&output));
    let output = ark.run(&["exec", "keeper", "-e", ENV, "--", "wc", "-l", "/data/starts"]);
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(lines.trim_start().starts_with('2'), "{}", words(&output));
    let cluster = std::fs::read_to_string(ark.data_dir().join("docker/cluster")).expect("cluster");
    let label = format!("label=ark.cluster={cluster}");
    let list = docker(socket).args(["volume", "ls", "-q", "--filter", &label]).output();
    let volumes = String::from_utf8_lossy(&list.expect("docker").stdout).into_owned();
    assert_eq!(volumes.trim(), format!("ark-{}-{ENV}-keeper-data", &cluster[..8]));
    drop(ark);
    let _ = docker(socket).args(["volume", "rm", volumes.trim()]).output();
}
