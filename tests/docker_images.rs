//! Images from a project's `build` sections: built once for all who share them, named by their
//! commit, never overwritten, left alone when nothing of them changed; a build that fails says why
//! and works once the cause is gone. What a push deploys, volumes that outlive instances; a registry,
//! and pushes that a Git hosting service tells of; what is collected, and what a rollback keeps. Every
//! image is made from scratch.

#[path = "../crates/engine/tests/docker_fixture/daemon.rs"]
mod daemon;
mod harness;
#[path = "../crates/engine/tests/docker_fixture/registry.rs"]
mod registry;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use daemon::{daemon, docker, processes, skip};
use harness::{Ark, ENV, eventually_within, words};
use registry::Registry;
use ring::hmac;
use serde_json::{Value, json};

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
        for name in ["goods", "worker", "*/shop/goods", "*/shop/worker"] {
            let filter = format!("reference={name}");
            let output = docker(self.0).args(["images", "-q", "--filter", &filter]).output();
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
    assert_eq!(volumes.trim(), format!("ark-{}-{ENV}.keeper.data", &cluster[..8]));
    drop(ark);
    let _ = docker(socket).args(["volume", "rm", volumes.trim()]).output();
}

/// A command with something on its standard input.
fn told_secret(ark: &Ark, arguments: &[&str], secret: &str) -> Output {
    let mut command = ark.command(arguments);
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().expect("ark");
    child.stdin.take().expect("piped").write_all(secret.as_bytes()).expect("it reads");
    child.wait_with_output().expect("it ends")
}

/// An event as a hosting service sends it; answers the status and what is said. 0: it was cut off.
fn send(ark: &Ark, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(ark.api).expect("the API");
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n",
        ark.api,
        body.len()
    );
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    // Who is refused is not read to the end.
    let _ = stream.write_all(format!("{request}\r\n{body}").as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { return (0, Value::Null) };
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    (status, serde_json::from_str(body).unwrap_or_default())
}

fn signature(secret: &str, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, body.as_bytes());
    let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={hex}")
}

#[test]
fn a_push_that_a_hosting_service_tells_of_is_built_sent_to_the_registry_and_deployed() {
    let test = "a_push_that_a_hosting_service_tells_of";
    let Some((socket, mut ark)) = engine(test) else { return };
    let _built = Built(socket);
    let (password, secret) = ("pass-of-the-registry", "secret-of-the-hook");
    let peer = Registry::start();
    peer.ask_for("ark", password);
    let host = peer.host();
    let project = Project::new(&ark);
    let bare = ark.dir.path().join("shop.git");
    let at = bare.to_string_lossy().into_owned();
    project.git(&["clone", "-q", "--bare", ".", &at]);

    // Without the password nothing can be built for the registry; the reason is said.
    let set = ["registry", "set", &host, "--user", "ark", "--push", "shop", "--json"];
    let output = told_secret(&ark, &set, "a-wrong-one");
    assert!(output.status.success(), "{}", words(&output));
    let output = project.build(&ark, &["worker"]);
    assert!(!output.status.success() && words(&output).contains(&host), "{}", words(&output));
    assert!(!words(&output).contains("a-wrong-one"), "{}", words(&output));
    // With it, it works; also after a restart of the server.
    let output = told_secret(&ark, &set, &format!("{password}\n"));
    assert!(output.status.success() && !words(&output).contains(password), "{}", words(&output));
    ark.kill_server();
    ark.start_server();
    let tag = project.git(&["rev-parse", "HEAD"])[..7].to_owned();
    let output = project.build(&ark, &["worker"]);
    assert_eq!(told(&output), [format!("worker {host}/shop/worker:{tag} built")]);
    assert_eq!(peer.tags(), [format!("shop/worker/{tag}")]);

    // A hook: what is not signed is refused, whatever it says.
    let url = format!("file://{at}");
    let output = told_secret(&ark, &["hook", "set", "shop", "--repo", &url, "--json"], secret);
    assert!(output.status.success(), "{}", words(&output));
    let path = harness::last_json(&output)["path"].as_str().expect("a path").to_owned();
    let commit = project.git(&["rev-parse", "HEAD"]);
    let event = json!({ "ref": "refs/heads/main", "after": commit, "commits": [] }).to_string();
    let signed = signature(secret, &event);
    let (delivery, push) = (("x-github-delivery", "first"), ("x-github-event", "push"));
    for bad in [
        vec![delivery, push],
        vec![delivery, push, ("x-hub-signature-256", "sha256=00")],
        vec![delivery, push, ("x-gitlab-token", "secret-of-another")],
    ] {
        let (status, answer) = send(&ark, &path, &bad, &event);
        assert_eq!(status, 401, "{answer}");
    }
    let (status, _) = send(&ark, "/v1/push-hooks/other/events", &[delivery, push], &event);
    assert_eq!(status, 401, "a hook that does not exist looks the same");
    let pushes = || ark.json(&["hook", "pushes", "shop", "--json"]);
    let large = "x".repeat(6 << 20);
    for (who, refused) in [(vec![], 401), (vec![("x-hub-signature-256", "sha256=00")], 413)] {
        let (status, answer) = send(&ark, &path, &[&[delivery, push], &who[..]].concat(), &large);
        assert!([0, refused].contains(&status), "{status} {answer}");
    }

    // What is signed is done, once.
    let headers = [delivery, push, ("x-hub-signature-256", signed.as_str())];
    let (status, answer) = send(&ark, &path, &headers, &event);
    assert_eq!((status, &answer["accepted"]), (202, &json!(true)), "{answer}");
    let (status, answer) = send(&ark, &path, &headers, &event);
    assert_eq!((status, &answer["accepted"]), (200, &json!(false)), "{answer}");
    let state = || pushes()["state"].as_str().unwrap_or_default().to_owned();
    eventually_within(Duration::from_secs(90), "the push is over", || state() == "ended");
    let push = pushes();
    let log = std::fs::read_to_string(push["log"].as_str().expect("a log")).expect("a log");
    assert_eq!(push["exit_code"], 0, "{log}");
    let output =
        ark.run(&["exec", "web", "-e", ENV, "--", "/bin/busybox", "cat", "/www/index.html"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "one", "{}", words(&output));
    let output = ark.run(&["hook", "pushes", "shop", "--json"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 1, "{}", words(&output));

    // The release knows what its image is called in the registry: it starts from there.
    let run = |arguments: &[&str]| docker(socket).args(arguments).output().expect("docker");
    let image = format!("{host}/shop/goods:{tag}");
    let stopped = ark.run(&["stop", "web", "-e", ENV]);
    assert!(stopped.status.success(), "{}", words(&stopped));
    let stopped = ark.run(&["stop", "admin", "-e", ENV]);
    assert!(stopped.status.success(), "{}", words(&stopped));
    let gone = run(&["rmi", "-f", &image]);
    assert!(gone.status.success(), "{}", words(&gone));
    let started = ark.run(&["rollback", "web", "--to", "v1", "-e", ENV]);
    assert!(started.status.success(), "{}", words(&started));

    // Neither secret stands anywhere in the clear.
    let mut grep = Command::new("grep");
    grep.args(["-rl", "-e", password, "-e", secret]).arg(ark.dir.path());
    let found = grep.output().expect("grep");
    assert!(found.stdout.is_empty(), "{}", words(&found));
}

#[test]
fn a_push_is_done_by_the_next_server_when_one_is_killed() {
    let Some((socket, mut ark)) = engine("a_push_is_done_by_the_next_server") else { return };
    let _built = Built(socket);
    let project = Project::new(&ark);
    let go = ark.dir.path().join("go");
    let at = go.to_string_lossy().into_owned();
    for app in ["web", "admin"] {
        let waits =
            format!("command: \"while [ ! -e {at} ]; do sleep 0.1; done; cp src/page out\"");
        let text = Project::launch(&ark).replace("command: cp src/page out", &waits);
        project.write(&format!("launch/{app}.yml"), &text);
    }
    project.commit("waits");
    let root = project.root.to_string_lossy().into_owned();
    let secret = "secret-of-the-hook";
    let output = told_secret(&ark, &["hook", "set", "shop", "--repo", &root, "--json"], secret);
    let path = harness::last_json(&output)["path"].as_str().expect("a path").to_owned();
    let commit = project.git(&["rev-parse", "HEAD"]);
    let event = json!({ "ref": "refs/heads/main", "after": commit }).to_string();
    let headers = [("x-gitlab-event", "Push Hook"), ("x-gitlab-token", secret)];
    assert_eq!(send(&ark, &path, &headers, &event).0, 202);
    let wait = Duration::from_secs(60);
    eventually_within(wait, "it is being built", || processes(&at) > 0);
    ark.kill_server();
    eventually_within(wait, "it ends with its server", || processes(&at) + processes(&root) == 0);
    ark.start_server();
    eventually_within(wait, "it is begun again", || processes(&at) > 0);
    assert_eq!(send(&ark, &path, &headers, &event).0, 200, "it is known by what it says");
    std::fs::write(&go, "").expect("a file");
    let state = || ark.json(&["hook", "pushes", "shop", "--json"]);
    eventually_within(wait, "the push is over", || state()["state"] == "ended");
    let log = std::fs::read_to_string(state()["log"].as_str().expect("a log")).expect("a log");
    assert_eq!(state()["exit_code"], 0, "{log}");
    let releases = ark.run(&["releases", "web", "-e", ENV, "--json"]);
    assert_eq!(told_lines(&releases), 1, "{}", words(&releases));
}

fn told_lines(output: &Output) -> usize {
    String::from_utf8_lossy(&output.stdout).lines().count()
}

/// An image that knows its page, in a registry and not on the daemon.
fn publish(socket: &Path, image: &str, page: &str) {
    let script = format!(
        "set -e; printf 'FROM {from}\\nENV PAGE={page}\\n' | docker build -q -t {image} -; \
         docker push -q {image}; docker rmi {image}",
        from = daemon::IMAGE
    );
    let at = format!("unix://{}", socket.display());
    let made = Command::new("sh").args(["-c", &script]).env("DOCKER_HOST", at).output();
    let made = made.expect("sh");
    assert!(made.status.success(), "{}", words(&made));
}

/// The launch file of what says its image's page.
fn page(ark: &Ark) -> PathBuf {
    let file = ark.dir.path().join("page.yml");
    let text = format!(
        "run: {{command: [sh, -c, \"echo $PAGE; trap 'exit 0' TERM; sleep 1000 & wait\"]}}\n\
         autoscaling: {{min_count: 1, max_count: 1}}\ndeploy: {{min_healthy_time: 100ms}}\n\
         env_defaults: {{MARK: \"{}\"}}\n",
        ark.mark
    );
    std::fs::write(&file, text).expect("a file");
    file
}

/// The registry is one that nobody set, and its tag moves: a release runs what the tag meant when it was
/// made, and goes back to that without the registry.
#[test]
fn t34_a_rollback_works_while_the_images_registry_is_gone() {
    let test = "t34_a_rollback_works_while_the_images_registry_is_gone";
    let Some((socket, ark)) = engine(test) else { return };
    let peer = Registry::start();
    let image = format!("{}/pinned:1", peer.host());
    let file = page(&ark);
    let file = file.to_string_lossy();
    let done = |arguments: &[&str]| {
        let output = ark.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", words(&output));
        output
    };
    let deploy = || done(&["deploy", "pinned", "-e", ENV, "--file", &file, "--image", &image]);
    let to = |release: &str| done(&["rollback", "pinned", "-e", ENV, "--to", release]);
    let shows = |expected: &str| {
        let shown = ark.run(&["exec", "pinned", "-e", ENV, "--", "sh", "-c", "echo $PAGE"]);
        assert_eq!(String::from_utf8_lossy(&shown.stdout).trim(), expected, "{}", words(&shown));
    };
    let forget = || {
        let filter = format!("reference={}/*", peer.host());
        let list = docker(socket).args(["images", "-q", "--filter", &filter]).output();
        for id in String::from_utf8_lossy(&list.expect("docker").stdout).lines() {
            let _ = docker(socket).args(["rmi", "-f", id]).output();
        }
    };

    publish(socket, &image, "one");
    deploy();
    shows("one");
    let releases = ark.json(&["releases", "pinned", "-e", ENV, "--json"]);
    assert!(releases.to_string().contains("sha256:"), "pinned before it was here: {releases}");
    done(&["stop", "pinned", "-e", ENV]);
    forget();
    publish(socket, &image, "two");
    to("v1");
    shows("one");
    deploy();
    shows("two");

    peer.set_broken(true);
    to("v1");
    shows("one");
    to("v2");
    shows("two");
    // What is live under this name is here, whatever its registry says.
    done(&["config", "set", "pinned", "-e", ENV, "MORE=1"]);
    deploy();
    shows("two");
    drop(ark);
    forget();
}

#[test]
fn gc_removes_what_was_fetched_and_keeps_what_a_rollback_needs() {
    let test = "gc_removes_what_was_fetched_and_keeps_what_a_rollback_needs";
    let Some((socket, ark)) = engine(test) else { return };
    let peer = Registry::start();
    let host = peer.host();
    let run = |arguments: &[&str]| {
        let output = docker(socket).args(arguments).output().expect("docker");
        assert!(output.status.success(), "{arguments:?}: {}", words(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let publish = |name: &str| {
        let image = format!("{host}/{name}");
        publish(socket, &image, name);
        image
    };
    let known = ark.run(&["registry", "set", &host]);
    assert!(known.status.success(), "{}", words(&known));
    let file = page(&ark);
    let file = file.to_string_lossy();
    let deploy = |env: &str, app: &str, image: &str| {
        let output = ark.run(&["deploy", app, "-e", env, "--file", &file, "--image", image]);
        assert!(output.status.success(), "{}", words(&output));
    };
    let gc = || ark.json(&["gc", "--json"])["images"].as_u64().expect("how many");
    let here = || run(&["images", "-q", "--no-trunc", "--filter", &format!("reference={host}/*")]);

    let known = ark.run(&["env", "create", "trial"]);
    assert!(known.status.success(), "{}", words(&known));
    deploy("trial", "page", &publish("tried:1"));
    for version in 1..=3 {
        deploy(ENV, "page", &publish(&format!("page:{version}")));
    }
    // One that somebody else fetched is none of Ark's business.
    let other = publish("other:1");
    run(&["pull", "-q", &other]);
    assert_eq!(here().lines().count(), 5, "{}", here());

    let destroyed = ark.run(&["env", "destroy", "trial", "--yes"]);
    assert!(destroyed.status.success(), "{}", words(&destroyed));
    assert_eq!(gc(), 0, "what was fetched just now may be about to be used");
    let notes = ark.data_dir().join("docker/fetched");
    for note in std::fs::read_dir(&notes).expect("notes").flatten() {
        let old = Command::new("touch").args(["-d", "2 hours ago"]).arg(note.path()).status();
        assert!(old.is_ok_and(|status| status.success()));
    }
    assert_eq!(gc(), 1, "nobody needs what was tried");
    assert_eq!(here().lines().count(), 4, "{}", here());

    // The way back needs no registry.
    peer.set_broken(true);
    for (to, page) in
        [(&[][..], "page:2"), (&["--to", "v1"], "page:1"), (&["--to", "v3"], "page:3")]
    {
        let output = ark.run(&[&["rollback", "page", "-e", ENV], to].concat());
        assert!(output.status.success(), "{}", words(&output));
        let shown = ark.run(&["exec", "page", "-e", ENV, "--", "sh", "-c", "echo $PAGE"]);
        assert_eq!(String::from_utf8_lossy(&shown.stdout).trim(), page, "{}", words(&shown));
    }
    drop(ark);
    let left: Vec<String> = here().lines().map(str::to_owned).collect();
    for id in left {
        let _ = docker(socket).args(["rmi", "-f", &id]).output();
    }
}
