//! What an app runs when the command line does not say: the image that was built of it, what it ran
//! before, or a process; nothing moves between a container and the host unless somebody says so. And of
//! which commit it is when pushes overtake each other.

#[path = "../crates/engine/tests/docker_fixture/daemon.rs"]
mod daemon;
mod harness;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use daemon::{IMAGE, daemon, docker, skip};
use harness::{Ark, ENV, eventually_within, words};

/// A repository with an app whose image is built of it, and one whose image is somebody else's.
struct Project {
    ark: Ark,
    root: PathBuf,
    /// What is built is called; each test has its own, for all have one daemon.
    image: &'static str,
}

impl Project {
    fn new(ark: Ark, image: &'static str) -> Self {
        let root = ark.dir.path().join("shop");
        std::fs::create_dir_all(root.join("launch")).expect("a folder");
        let project = Self { ark, root, image };
        project.write("Dockerfile", &format!("FROM {IMAGE}\nCOPY page /page\n"));
        project.write("page", "one\n");
        let run = "run: {type: docker, command: [/bin/sh, -c, \"trap 'exit 0' TERM; sleep 1000 & wait\"]}\n\
                   deploy: {min_healthy_time: 100ms}\nautoscaling: {min_count: 1, max_count: 1}\n";
        let run = format!("{run}env_defaults: {{MARK: \"{}\"}}\n", project.ark.mark);
        let build = format!(
            "build: {{docker: {{file: Dockerfile}}, artifact: {{name: {image}}}}}\n\
             deploy_config: {{autoDeployEnvs: [production]}}\n"
        );
        project.write("launch/who.yml", &format!("{build}{run}"));
        project.write("launch/other.yml", &run);
        project.git(&["init", "-q", "-b", "main"]);
        project.commit("first");
        project
    }

    fn write(&self, path: &str, text: &str) {
        std::fs::write(self.root.join(path), text).expect("a file");
    }

    fn git(&self, arguments: &[&str]) -> String {
        let who = ["-c", "user.name=Test", "-c", "user.email=test@example.test"];
        let mut git = Command::new("git");
        git.arg("-C").arg(&self.root).args(who).args(["-c", "commit.gpgsign=false"]);
        let output = git.args(arguments).output().expect("git");
        assert!(output.status.success(), "git {arguments:?}: {}", words(&output));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn commit(&self, message: &str) {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", message]);
    }

    fn image(&self) -> String {
        format!("{}:{}", self.image, &self.git(&["rev-parse", "HEAD"])[..7])
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = self.ark.command(arguments);
        command.current_dir(&self.root).output().expect("ark runs")
    }

    fn good(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "ark {arguments:?}: {}", words(&output));
        words(&output)
    }

    /// A refusal that names these commands.
    fn refused(&self, arguments: &[&str], says: &[&str]) {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(2), "ark {arguments:?}: {}", words(&output));
        for word in says {
            assert!(
                words(&output).contains(word),
                "ark {arguments:?}: no {word}: {}",
                words(&output)
            );
        }
    }

    /// What the live release runs, without digests.
    fn runs(&self, app: &str) -> String {
        let path = format!("/v1/environments/{ENV}/apps/{app}");
        let live = self.ark.get(&path).expect("the app")["live"].as_u64().expect("a release");
        let release = self.ark.get(&format!("{path}/releases/{live}")).expect("the release");
        let artifact = &release["artifact"];
        let text = artifact["reference"].as_str().or(artifact["kind"].as_str());
        text.expect("an artifact").to_owned()
    }
}

/// Removes what was built.
struct Built(&'static Path, &'static str);

impl Drop for Built {
    fn drop(&mut self) {
        let listed = docker(self.0).args(["images", "-q", self.1]).output();
        let ids = listed.map(|o| String::from_utf8_lossy(&o.stdout).into_owned());
        for id in ids.unwrap_or_default().lines() {
            let _ = docker(self.0).args(["rmi", "-f", id]).output();
        }
    }
}

#[test]
fn an_app_does_not_leave_its_container_by_itself() {
    let test = "an_app_does_not_leave_its_container_by_itself";
    let Ok(socket) = daemon().map_err(|reason| skip(test, reason)) else { return };
    let _built = Built(socket, "ark-test-who");
    let host = format!("unix://{}", socket.display());
    let project = Project::new(Ark::up_with(&[("DOCKER_HOST", &host)]), "ark-test-who");
    let first = project.image();

    // What is to be built and is not: how to build it, and how to do without.
    let ways = ["ark build who", "ark deploy who -e production --dir .", &first];
    project.refused(&["deploy", "who", "-e", ENV], &ways);
    project.refused(&["start", "who", "-e", ENV], &ways);
    project.good(&["build"]);
    let told = project.run(&["plan", "who", "-e", ENV]);
    assert!(words(&told).contains(&format!("runs image {first}")), "{}", words(&told));
    let told = project.good(&["deploy", "who", "-e", ENV]);
    assert!(told.contains(&format!("runs image {first}")), "{told}");
    assert_eq!(project.runs("who"), first);

    // It goes on with what it ran, with what its file says now.
    project.good(&["stop", "who", "-e", ENV]);
    project.write("page", "two\n");
    project.good(&["start", "who", "-e", ENV]);
    assert_eq!(project.runs("who"), first);
    // What is not committed is in no image.
    project.refused(&["deploy", "who", "-e", ENV], &["page", "git commit", "--keep-image"]);
    project.commit("second");
    project.refused(&["deploy", "who", "-e", ENV], &["ark build who", "--keep-image"]);
    project.good(&["deploy", "who", "-e", ENV, "--keep-image"]);
    assert_eq!(project.runs("who"), first);

    // An image that nobody builds here is named, or kept.
    project.good(&["deploy", "other", "-e", ENV, "--image", IMAGE]);
    let ways = ["--image", "--keep-image", "ark deploy other -e production --dir ."];
    project.refused(&["deploy", "other", "-e", ENV], &ways);
    project.good(&["stop", "other", "-e", ENV]);
    project.good(&["start", "other", "-e", ENV]);
    assert_eq!(project.runs("other"), IMAGE);

    // A group: nothing is begun when one of it is refused; each runs its own image.
    project.good(&["build"]);
    project.refused(&["deploy", "--all", "-e", ENV], &["which image is other to run"]);
    assert_eq!(project.runs("who"), first);
    project.good(&["deploy", "--all", "-e", ENV, "--keep-image"]);
    assert_eq!((project.runs("who"), project.runs("other")), (first, IMAGE.to_owned()));

    // A process, because somebody says so; and it stays one.
    let told = project.good(&["deploy", "other", "-e", ENV, "--dir", "."]);
    assert!(told.contains("as a process of the host"), "{told}");
    project.good(&["stop", "other", "-e", ENV]);
    project.good(&["start", "other", "-e", ENV]);
    assert_eq!(project.runs("other"), "none");
    project.good(&["deploy", "--all", "-e", ENV]);
    assert_eq!(project.runs("who"), project.image());
    assert_eq!(project.runs("other"), "none");
}

/// A name that is none is told so before anybody is asked, and an engine that is away is no fault of who
/// names an image.
#[test]
fn a_wrong_image_is_told_from_an_engine_that_is_away() {
    let nowhere = tempfile::tempdir().expect("a directory");
    let host = format!("unix://{}", nowhere.path().join("docker.sock").display());
    let project = Project::new(Ark::up_with(&[("DOCKER_HOST", &host)]), "ark-test-wrong");
    for wrong in ["UPPER:x", "a@b", " base:1", "", "base:1;ls"] {
        let output = project.run(&["deploy", "other", "-e", ENV, "--image", wrong]);
        let told = words(&output);
        assert_eq!(output.status.code(), Some(2), "{wrong}: {told}");
        assert!(told.contains("is no image"), "{wrong}: {told}");
        assert!(!told.contains("not available"), "{wrong}: {told}");
    }
    let launch = serde_json::json!({"file": "other.yml", "text": "run: {command: [/bin/true]}"});
    let artifact = serde_json::json!({"kind": "image", "reference": "UPPER:x", "digest": null});
    let body = serde_json::json!({"launch": launch, "artifact": artifact}).to_string();
    let path = format!("/v1/environments/{ENV}/apps/other/deployments");
    let problem = project.ark.ask("POST", &path, &body).expect("an answer");
    assert_eq!(problem["code"], "invalid-value", "{problem}");

    let output = project.run(&["deploy", "other", "-e", ENV, "--image", IMAGE]);
    assert_eq!(output.status.code(), Some(1), "{}", words(&output));
    assert!(words(&output).contains("engine-failed"), "{}", words(&output));
    // What is to be an image is not run as a process because nobody can be asked for it.
    let output = project.run(&["deploy", "who", "-e", ENV]);
    assert_eq!(output.status.code(), Some(1), "{}", words(&output));
    assert!(words(&output).contains("--dir ."), "{}", words(&output));
    let output = project.run(&["deploy", "who", "-e", ENV, "--dir", "."]);
    assert!(output.status.success(), "{}", words(&output));
}

#[test]
fn an_older_commit_does_not_take_the_place_of_a_newer_one() {
    let test = "an_older_commit_does_not_take_the_place_of_a_newer_one";
    let Ok(socket) = daemon().map_err(|reason| skip(test, reason)) else { return };
    let _built = Built(socket, "ark-test-older");
    let host = format!("unix://{}", socket.display());
    let project = Project::new(Ark::up_with(&[("DOCKER_HOST", &host)]), "ark-test-older");
    let (first, older) = (project.image(), project.git(&["rev-parse", "HEAD"]));

    // A repository is named from where the command is typed.
    project.good(&["ci", "--repo", "../shop", "--commit", "main"]);
    assert_eq!(project.runs("who"), first);
    project.write("page", "two\n");
    project.commit("second");
    let second = project.image();
    project.good(&["ci", "--repo", ".", "--commit", "main"]);
    assert_eq!(project.runs("who"), second);
    let told = project.good(&["ci", "--commit", &older]);
    assert!(told.contains("who in production is of a later commit already"), "{told}");
    assert_eq!(project.runs("who"), second);
    // What is live is not deployed once more, whoever comes with it.
    let releases = |ark: &Ark| {
        let told = ark.run(&["releases", "who", "-e", ENV, "--json"]);
        String::from_utf8_lossy(&told.stdout).lines().count()
    };
    let before = releases(&project.ark);
    project.good(&["ci", "--commit", "main"]);
    assert_eq!(releases(&project.ark), before);
    // What a person took off the branch is not later any more.
    project.git(&["reset", "-q", "--hard", &older]);
    project.good(&["ci", "--commit", "main"]);
    assert_eq!(project.runs("who"), first);

    // Files of the copy that was built are named as they are in the repository.
    project.write("launch/bad.yml", "run: {type: porcess}\n");
    project.commit("bad");
    let commit = project.git(&["rev-parse", "HEAD"]);
    let name = format!("{}:launch/bad.yml", &commit[..7]);
    project.refused(&["ci", "--commit", "main"], &[&name]);
    let output = words(&project.run(&["ci", "--commit", "main"]));
    assert!(!output.contains("project/launch"), "{output}");
}

/// One that takes its time has had its turn once it has begun: a fix is built and asked for beside it, so
/// that it goes out as soon as somebody breaks off what it mends.
#[test]
fn a_fix_is_built_while_what_it_mends_is_rolled_out() {
    let test = "a_fix_is_built_while_what_it_mends_is_rolled_out";
    let Ok(socket) = daemon().map_err(|reason| skip(test, reason)) else { return };
    let _built = Built(socket, "ark-test-fix");
    let host = format!("unix://{}", socket.display());
    let project = Project::new(Ark::up_with(&[("DOCKER_HOST", &host)]), "ark-test-fix");
    let pushed = || {
        let mut ci = project.ark.command(&["ci", "--commit", "main"]);
        let ci = ci.current_dir(&project.root).stdout(Stdio::piped()).stderr(Stdio::piped());
        ci.spawn().expect("ark runs")
    };
    let deployments = |count: usize| {
        let told = project.ark.get("/v1/deployments?app=who");
        told.is_some_and(|told| told["items"].as_array().is_some_and(|all| all.len() == count))
    };
    let quick = std::fs::read_to_string(project.root.join("launch/who.yml")).expect("a file");
    let never = quick.replace("min_healthy_time: 100ms", "min_healthy_time: 4m");
    project.write("launch/who.yml", &never);
    project.commit("slow");
    let slow = pushed();
    let soon = Duration::from_secs(60);
    eventually_within(soon, "the slow one is asked for", || deployments(1));
    project.write("launch/who.yml", &quick);
    project.write("page", "mended\n");
    project.commit("a fix");
    let fix = pushed();
    eventually_within(soon, "the fix is asked for beside it", || deployments(2));
    project.good(&["abort", "who", "-e", ENV]);
    let told = slow.wait_with_output().expect("it ends");
    assert!(!told.status.success(), "it was broken off: {}", words(&told));
    let told = fix.wait_with_output().expect("it ends");
    assert!(told.status.success(), "{}", words(&told));
    assert_eq!(project.runs("who"), project.image());
}

#[test]
fn a_push_of_nothing_is_told_from_a_hook_that_has_nothing_to_do() {
    let project = Project::new(Ark::up(), "ark-test-nothing");
    project.refused(&["ci", "--repo", "/nonexist"], &["/nonexist is no git repository", "--repo"]);
    project.refused(&["ci"], &["what was pushed?", "ark ci --commit main"]);
    let mut hook = project.ark.command(&["ci"]);
    let output = hook.current_dir(project.root.join(".git")).env("GIT_DIR", ".").output();
    let output = output.expect("ark runs");
    assert!(output.status.success(), "{}", words(&output));
    assert!(words(&output).contains("nothing was pushed to main"), "{}", words(&output));
}

/// It says how something is built, and there is no Dockerfile; nor a repository, and a launch file beside it is
/// broken: none of that is its business.
#[test]
fn what_no_image_can_be_made_of_runs_as_a_process() {
    let ark = Ark::up();
    let launch = ark.dir.path().join("plain/launch");
    std::fs::create_dir_all(&launch).expect("a folder");
    let text = format!(
        "build: {{artifact: {{name: goods, dependencies: [\"**\"]}}}}\n\
         run: {{command: [sleep, \"1000\"]}}\ndeploy: {{min_healthy_time: 100ms}}\n\
         env_defaults: {{MARK: \"{}\"}}\n",
        ark.mark
    );
    std::fs::write(launch.join("plain.yml"), text).expect("a file");
    std::fs::write(launch.join("broken.yml"), "run: [").expect("a file");
    let file = launch.join("plain.yml").to_string_lossy().into_owned();
    let output = ark.run(&["deploy", "plain", "-e", ENV, "--file", &file]);
    assert!(output.status.success(), "{}", words(&output));
    assert!(words(&output).contains("as a process"), "{}", words(&output));
}
