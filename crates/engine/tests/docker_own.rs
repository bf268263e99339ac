//! What is the Docker engine's own: images that cannot be had, what a container may do, networks,
//! graces and starts that outlive the engine object, containers that somebody else removes, daemons
//! reached by SSH.

mod conformance;
mod docker_fixture;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ark_engine::{
    AppList, ArtifactSource, BuildSpec, Built, DockerOptions, Engine, EngineError, ExecSpec,
    LogQuery, LogSource, RightsPolicy, StartSpec, StopOptions, blob_path,
};
use ark_model::artifact::{Manifest, ManifestEntry, ManifestNode};
use ark_model::definition::{Rights, Volume};
use ark_model::ids::Sha256;
use ark_model::instance::{EngineState, StartFailure};
use bollard::Docker;
use bollard::models::NetworkCreateRequest;
use conformance::lacking;
use conformance::{
    DEADLINE, Fixture, Program, log, run, run_up, state, until, until_exited, until_logged,
};
use docker_fixture::ssh::Ssh;
use docker_fixture::sshd::{Knows, Sshd};
use docker_fixture::{DockerFixture, IMAGE, daemon, docker, image_spec, skip};
use futures::StreamExt;

macro_rules! fixture {
    ($test:literal) => {
        match daemon() {
            Ok(socket) => DockerFixture::new(socket),
            Err(reason) => return skip($test, reason),
        }
    };
}

fn shell(script: &str) -> Program {
    Program::Shell(script.to_owned())
}

async fn failure(engine: &Arc<dyn Engine>, id: ark_model::InstanceId) -> StartFailure {
    let failed = |state: &EngineState| matches!(state, EngineState::StartFailed { .. });
    match until(engine, id, "failed", failed).await {
        EngineState::StartFailed { reason } => reason,
        other => panic!("{other:?}"),
    }
}

/// Builds an image of busybox and this Dockerfile, and answers all that the builder said.
async fn built(fixture: &DockerFixture, image: &str, dockerfile: &str) -> Vec<Built> {
    built_with(fixture, image, dockerfile, &[]).await
}

/// The same, with links in the context.
async fn built_with(
    fixture: &DockerFixture,
    image: &str,
    dockerfile: &str,
    links: &[(&str, &str)],
) -> Vec<Built> {
    let blobs = fixture.place().join("blobs");
    let sha256 = Sha256::of(dockerfile.as_bytes());
    let blob = blob_path(&blobs, sha256);
    std::fs::create_dir_all(blob.parent().unwrap()).unwrap();
    std::fs::write(blob, dockerfile).unwrap();
    let bytes = dockerfile.len() as u64;
    let node = ManifestNode::File { sha256, bytes, executable: false };
    let mut entries = vec![ManifestEntry { path: "Dockerfile".to_owned(), node }];
    entries.extend(links.iter().map(|(path, target)| ManifestEntry {
        path: (*path).to_owned(),
        node: ManifestNode::Symlink { target: (*target).to_owned() },
    }));
    let manifest = Manifest { entries };
    let (dockerfile, image) = ("Dockerfile".to_owned(), image.to_owned());
    let spec = BuildSpec { manifest, blobs, dockerfile, image };
    let said = fixture.engine().build(spec).await.unwrap();
    said.map(|next| next.unwrap()).collect().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dockerfile_that_needs_buildkit_is_built_and_a_wrong_one_says_why() {
    let fixture = fixture!("a_dockerfile_that_needs_buildkit_is_built_and_a_wrong_one_says_why");
    let name = |n| format!("ark-test/kit-{}:{n}", std::process::id());
    let (first, second) = (name(1), name(2));
    let text = format!(
        "FROM {IMAGE}\nRUN --mount=type=cache,target=/cache echo kept > /cache/it; echo seen\n\
         COPY --chmod=751 Dockerfile /copied\n"
    );
    let said = built(&fixture, &first, &text).await;
    let has = |said: &[Built], text: &str| {
        said.iter().filter(|b| matches!(b, Built::Line(line) if line.contains(text))).count()
    };
    assert!(
        matches!(said.last(), Some(Built::Done(digest)) if digest.starts_with("sha256:")),
        "{said:?}"
    );
    assert_eq!(has(&said, "COPY --chmod=751"), 1, "each step is told once: {said:?}");
    assert!(said.contains(&Built::Line("seen".to_owned())), "{said:?}");
    // What one build leaves in the cache the next one finds; what it copied is as it should be.
    let text = format!(
        "FROM {first}\nRUN --mount=type=cache,target=/cache cat /cache/it; ls -l /copied; exit 3\n"
    );
    let said = built(&fixture, &second, &text).await;
    assert!(said.contains(&Built::Line("kept".to_owned())), "{said:?}");
    assert_eq!(has(&said, "-rwxr-x--x"), 1, "{said:?}");
    let Some(Built::Failed(reason)) = said.last() else { panic!("{said:?}") };
    assert!(reason.contains("exit code: 3"), "{reason}");
    let said = built(&fixture, &second, "FRUM scratch\n").await;
    let Some(Built::Failed(reason)) = said.last() else { panic!("{said:?}") };
    assert!(reason.contains("FRUM"), "{reason}");
    let engine = fixture.engine();
    assert_eq!(engine.remove_images(&BTreeSet::new(), Duration::from_secs(60)).await.unwrap(), 0);
    assert_eq!(engine.remove_images(&BTreeSet::new(), Duration::ZERO).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_of_a_context_come_into_the_image_as_they_are() {
    let fixture = fixture!("links_of_a_context_come_into_the_image_as_they_are");
    let image = format!("ark-test/links-{}:1", std::process::id());
    let links =
        [("links/absolute", "/etc/passwd"), ("links/beside", "../../x"), ("links/in", "absolute")];
    let text = format!(
        "FROM {IMAGE}\nCOPY links /links\nRUN cd /links && for a in *; do readlink $a; done\n"
    );
    let said = built_with(&fixture, &image, &text, &links).await;
    assert!(matches!(said.last(), Some(Built::Done(_))), "{said:?}");
    for (_, target) in links {
        assert!(said.contains(&Built::Line(target.to_owned())), "{target}: {said:?}");
    }
    let none = BTreeSet::new();
    assert_eq!(fixture.engine().remove_images(&none, Duration::ZERO).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_cannot_be_had_is_named_and_can_be_removed() {
    let mut fixture = fixture!("an_image_that_cannot_be_had_is_named_and_can_be_removed");
    let mut spec = fixture.spec(&Program::Obeys);
    // Nothing listens there, so the refusal is immediate.
    let reference = "127.0.0.1:9/no/such:image".to_owned();
    spec.variables.push(("SECRET".to_owned(), "hush-hush".to_owned()));
    spec.artifact = ArtifactSource::Image { reference, digest: None };
    fixture.engine().start(&spec).await.unwrap();
    match failure(&fixture.engine(), spec.id).await {
        StartFailure::ArtifactMissing { detail } => assert!(detail.contains("no/such"), "{detail}"),
        other => panic!("{other:?}"),
    }
    // Its place on disk keeps the reason and forgets the values.
    let file = fixture.place().join(format!("docker/pending/{}.json", spec.id));
    assert!(!std::fs::read_to_string(file).unwrap().contains("hush-hush"));
    fixture.restart();
    let engine = fixture.engine();
    assert!(matches!(failure(&engine, spec.id).await, StartFailure::ArtifactMissing { .. }));
    engine.remove(spec.id).await.unwrap();
    assert_eq!(state(&engine, spec.id).await, EngineState::Gone);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_image_is_refused_with_both_ways_out() {
    let fixture = fixture!("what_is_no_image_is_refused_with_both_ways_out");
    let mut spec = fixture.spec(&Program::Obeys);
    spec.artifact = ArtifactSource::None;
    let error = fixture.engine().start(&spec).await.unwrap_err();
    let EngineError::Refused { detail, .. } = &error else { panic!("{error:?}") };
    assert!(detail.contains("--image") && detail.contains("run.command"), "{detail}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_may_do_little() {
    let fixture = fixture!("a_container_may_do_little");
    let engine = fixture.engine();
    let script = "touch /root-file 2>/dev/null && echo wrote; touch /tmp/f && echo tmp; \
                  chown 1 /tmp/f 2>/dev/null && echo chowned; \
                  grep -E 'CapEff|NoNewPrivs' /proc/self/status | tr -d '\\t'";
    let spec = fixture.spec(&shell(script));
    engine.start(&spec).await.unwrap();
    until_exited(&engine, spec.id).await;
    let lines = log(&engine, spec.id, LogQuery::default()).await;
    let lines: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
    // Bit 10 is CAP_NET_BIND_SERVICE.
    assert_eq!(lines, ["tmp", "CapEff:0000000000000400", "NoNewPrivs:1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_is_privileged_only_where_the_policy_says_so() {
    let test = "a_container_is_privileged_only_where_the_policy_says_so";
    let socket = match daemon() {
        Ok(socket) => socket,
        Err(reason) => return skip(test, reason),
    };
    let fixture = DockerFixture::new(socket);
    let script = "grep CapEff /proc/self/status | tr -d '\\t'";
    let rights = Rights { privileged: true, ..Rights::default() };
    let spec = |fixture: &DockerFixture| StartSpec {
        rights: rights.clone(),
        ..fixture.spec(&shell(script))
    };
    let error = fixture.engine().start(&spec(&fixture)).await.unwrap_err();
    let EngineError::Refused { detail, .. } = &error else { panic!("{error:?}") };
    assert!(detail.contains("ARK_ALLOW_PRIVILEGED"), "{detail}");
    assert!(fixture.engine().list().await.unwrap().is_empty());
    let policy = RightsPolicy { privileged: AppList::everybody(), ..RightsPolicy::default() };
    let options = DockerOptions { policy, ..DockerOptions::default() };
    let fixture = DockerFixture::with(socket, options);
    let engine = fixture.engine();
    let spec = spec(&fixture);
    engine.start(&spec).await.unwrap();
    let over = |state: &EngineState| {
        matches!(state, EngineState::Exited { .. } | EngineState::StartFailed { .. })
    };
    let over = until(&engine, spec.id, "over", over).await;
    let inspect =
        ["inspect", "--format", "{{.HostConfig.Privileged}}", &format!("ark-{}", spec.id)];
    let asked = docker(socket).args(inspect).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&asked.stdout).trim(), "true");
    let plain = docker(socket).args(["run", "--rm", "--privileged", IMAGE, "true"]).output();
    if !plain.unwrap().status.success() {
        assert!(matches!(over, EngineState::StartFailed { .. }), "{over:?}");
        // The daemon itself has not the rights of its host: what it was asked for is all there is.
        return;
    }
    let line = log(&engine, spec.id, LogQuery::default()).await.remove(0).text;
    let held = u64::from_str_radix(line.trim_start_matches("CapEff:"), 16).unwrap();
    // Bit 21 is CAP_SYS_ADMIN.
    assert!(held & (1 << 21) != 0, "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_has_the_rights_that_it_asks_for_and_may_have() {
    let test = "a_container_has_the_rights_that_it_asks_for_and_may_have";
    let socket = match daemon() {
        Ok(socket) => socket,
        Err(reason) => return skip(test, reason),
    };
    let fixture = DockerFixture::new(socket);
    let engine = fixture.engine();
    let script = "touch /etc/mine && echo written; chown 7 /tmp && echo chowned; \
                  grep CapEff /proc/self/status | tr -d '\\t'";
    let asking = |writable_root, capabilities: &[&str]| {
        let capabilities = capabilities.iter().map(|name| (*name).to_owned()).collect();
        let rights = Rights { writable_root, capabilities, ..Rights::default() };
        StartSpec { rights, ..fixture.spec(&shell(script)) }
    };
    let said = async |engine: &Arc<dyn Engine>, spec: StartSpec| -> Vec<String> {
        engine.start(&spec).await.unwrap();
        until_exited(engine, spec.id).await;
        let lines = log(engine, spec.id, LogQuery::default()).await.into_iter();
        lines.filter(|line| line.stream == LogSource::Stdout).map(|line| line.text).collect()
    };
    assert_eq!(said(&engine, asking(false, &[])).await, ["CapEff:0000000000000400"]);
    // Bit 0 is CAP_CHOWN.
    let own = said(&engine, asking(true, &["CHOWN"])).await;
    assert_eq!(own, ["written", "chowned", "CapEff:0000000000000401"]);

    let error = engine.start(&asking(false, &["CHOWN", "NET_RAW"])).await.unwrap_err();
    let EngineError::Refused { detail, .. } = &error else { panic!("{error:?}") };
    assert!(detail.contains("(NET_RAW)") && detail.contains("ARK_ALLOW_CAPABILITIES"), "{detail}");
    let policy = RightsPolicy {
        capabilities: AppList::everybody(),
        writable_root: AppList::default(),
        ..RightsPolicy::default()
    };
    let strict = DockerFixture::with(socket, DockerOptions { policy, ..DockerOptions::default() });
    // Bit 13 is CAP_NET_RAW.
    let raw = said(&strict.engine(), asking(false, &["NET_RAW"])).await;
    assert_eq!(raw, ["CapEff:0000000000002400"]);
    let error = strict.engine().start(&asking(true, &[])).await.unwrap_err();
    assert!(error.to_string().contains("ARK_ALLOW_WRITABLE_ROOT"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_runs_its_own_command() {
    let fixture = fixture!("an_image_runs_its_own_command");
    let own = "ark-test/own-command:1";
    let build = format!(
        "printf 'FROM {IMAGE}\\nENTRYPOINT [\"echo\", \"entry\"]\\nCMD [\"default\"]\\n' | \
         docker build -q -t {own} -"
    );
    let host = format!("unix://{}", fixture.socket.display());
    let built = std::process::Command::new("sh")
        .args(["-c", &build])
        .env("DOCKER_HOST", host)
        .env("DOCKER_BUILDKIT", "0")
        .output();
    assert!(built.unwrap().status.success());
    let engine = fixture.engine();
    let words = |text: &str| -> Vec<String> {
        text.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect()
    };
    for (command, arguments, expected) in [
        ("", "", "entry default"),
        ("", "of my own", "entry of my own"),
        ("echo instead", "", "instead"),
        ("echo instead", "ignored", "instead"),
    ] {
        let digest = engine.image_digest(own).await.unwrap();
        assert!(digest.as_ref().is_some_and(|digest| digest.starts_with("sha256:")));
        let mut spec = image_spec(words(command));
        spec.arguments = words(arguments);
        spec.artifact = ArtifactSource::Image { reference: own.to_owned(), digest };
        engine.start(&spec).await.unwrap();
        assert_eq!(until_exited(&engine, spec.id).await.code, Some(0));
        assert_eq!(log(&engine, spec.id, LogQuery::default()).await[0].text, expected);
    }
    assert_eq!(engine.image_digest("no/such:image").await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tmp_runs_programs_and_hides_nothing_of_a_writable_image() {
    let fixture = fixture!("tmp_runs_programs_and_hides_nothing_of_a_writable_image");
    let own = "ark-test/ships-tmp:1";
    let place = tempfile::tempdir().unwrap();
    let dockerfile =
        format!("FROM {IMAGE}\nCOPY Dockerfile /tmp/shipped\nCOPY Dockerfile /run/shipped\n");
    std::fs::write(place.path().join("Dockerfile"), dockerfile).unwrap();
    let build = docker(&fixture.socket)
        .env("DOCKER_BUILDKIT", "0")
        .args(["build", "-q", "-t", own])
        .arg(place.path())
        .output();
    assert!(build.unwrap().status.success());
    let engine = fixture.engine();
    let script = "ls /tmp /run; cp /bin/busybox /tmp/echo && /tmp/echo ran";
    for (writable_root, expected) in [
        (false, vec!["/run:", "", "/tmp:", "ran"]),
        (true, vec!["/run:", "shipped", "", "/tmp:", "shipped", "ran"]),
    ] {
        let mut spec = image_spec(shell(script).command());
        spec.artifact = ArtifactSource::Image { reference: own.to_owned(), digest: None };
        spec.rights.writable_root = writable_root;
        engine.start(&spec).await.unwrap();
        until_exited(&engine, spec.id).await;
        let said = log(&engine, spec.id, LogQuery::default()).await.into_iter();
        let said: Vec<String> =
            said.filter(|line| line.stream != LogSource::Ark).map(|line| line.text).collect();
        assert_eq!(said, expected, "writable_root: {writable_root}");
    }
    let _ = docker(&fixture.socket).args(["rmi", "-f", own]).output();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grace_outlives_the_engine_object() {
    let mut fixture = fixture!("a_grace_outlives_the_engine_object");
    let id = run_up(&fixture.engine(), &fixture.spec(&Program::Ignores)).await;
    let options = StopOptions { grace: Duration::from_millis(1_500), ..StopOptions::default() };
    fixture.engine().stop(id, options).await.unwrap();
    fixture.restart();
    let exit = until_exited(&fixture.engine(), id).await;
    assert_eq!((exit.signal, exit.requested), (Some(9), true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_removed_by_somebody_else_is_gone() {
    let fixture = fixture!("a_container_removed_by_somebody_else_is_gone");
    let engine = fixture.engine();
    let id = run_up(&engine, &fixture.spec(&Program::Obeys)).await;
    let name = format!("ark-{id}");
    let removed = docker(&fixture.socket).args(["rm", "-f", &name]).output().unwrap();
    assert!(removed.status.success());
    until(&engine, id, "gone", |state| *state == EngineState::Gone).await;
}

/// Processes of this host that have this text in their environment or arguments.
fn marked(mark: &str) -> usize {
    let holds = |path: std::path::PathBuf| {
        let bytes = std::fs::read(path).unwrap_or_default();
        bytes.windows(mark.len()).any(|window| window == mark.as_bytes())
    };
    let all = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    all.filter(|path| holds(path.join("environ")) || holds(path.join("cmdline"))).count()
}

async fn until_marked(mark: &str, wanted: bool) {
    let begun = Instant::now();
    while (marked(mark) > 0) != wanted {
        assert!(begun.elapsed() < DEADLINE, "{mark}: {}, not {wanted}", marked(mark));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_ends_with_its_container_and_an_exec_with_its_session() {
    let fixture = fixture!("everything_ends_with_its_container_and_an_exec_with_its_session");
    let engine = fixture.engine();
    let script = "(setsid sh -c 'trap \"\" TERM HUP; while :; do sleep 0.1; done' &); \
                  trap 'exit 0' TERM; echo up; sleep 1000 & wait";
    let id = run(&engine, &fixture.spec(&shell(script))).await;
    until_logged(&engine, id, "up").await;
    let mark = format!("ARK_INSTANCE_ID={id}");
    if marked(&mark) == 0 {
        return skip("everything_ends_with_its_container", "the daemon runs on another host");
    }
    let of_exec = format!("exec-of-{id}");
    let alone = "while :; do :; done".to_owned();
    let forking = format!("sh -c 'while :; do sleep 0.1; done' {of_exec}-child & wait");
    for (script, processes) in [(alone, 1), (forking, 2)] {
        let command = ["sh", "-c", &script, &of_exec].map(str::to_owned).to_vec();
        let session = engine.exec(id, &ExecSpec { command, tty: false }).await.unwrap();
        let begun = Instant::now();
        while marked(&of_exec) < processes {
            assert!(begun.elapsed() < DEADLINE, "{script}: {} processes", marked(&of_exec));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        drop(session);
        until_marked(&of_exec, false).await;
    }
    assert!(marked(&mark) > 0);
    engine.stop(id, StopOptions::default()).await.unwrap();
    until_exited(&engine, id).await;
    until_marked(&mark, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_arks_on_one_daemon_do_not_see_each_other() {
    let (one, other) = (
        fixture!("two_arks_on_one_daemon_do_not_see_each_other"),
        fixture!("two_arks_on_one_daemon_do_not_see_each_other"),
    );
    let id = run_up(&one.engine(), &one.spec(&Program::Obeys)).await;
    assert!(other.engine().list().await.unwrap().is_empty());
    other.engine().stop(id, StopOptions::default()).await.unwrap();
    assert!(matches!(state(&one.engine(), id).await, EngineState::Running { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_is_not_there_is_unavailable_and_not_empty() {
    let place = tempfile::tempdir().unwrap();
    let socket = place.path().join("no.sock");
    let options = DockerOptions { socket, ..DockerOptions::default() };
    let engine = ark_engine::DockerEngine::new(place.path(), options).unwrap();
    let error = engine.list().await.unwrap_err();
    assert!(matches!(error, EngineError::Unavailable { .. }), "{error:?}");
    assert!(error.to_string().contains("no.sock"), "{error}");
}

/// The name of this Ark among those that share a daemon.
fn cluster(fixture: &DockerFixture) -> String {
    std::fs::read_to_string(fixture.place().join("docker/cluster")).unwrap()
}

/// The address ranges of this Ark's networks, by environment.
fn subnets(fixture: &DockerFixture) -> Vec<String> {
    let cluster = cluster(fixture);
    let script = format!(
        "docker network ls -q --filter label=ark.cluster={cluster} | xargs -r docker network \
         inspect --format '{{{{range .IPAM.Config}}}}{{{{.Subnet}}}}{{{{end}}}}'"
    );
    let host = format!("unix://{}", fixture.socket.display());
    let output = std::process::Command::new("sh")
        .args(["-c", &script])
        .env("DOCKER_HOST", host)
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// Makes containers in so many environments, all at once.
async fn in_environments(fixture: &DockerFixture, count: usize, what: &StartSpec) {
    let engine = fixture.engine();
    let spec = |n| StartSpec {
        id: fixture.spec(&Program::Obeys).id,
        env: format!("env-{n}").parse().unwrap(),
        ..what.clone()
    };
    let specs: Vec<StartSpec> = (0..count).map(spec).collect();
    let started = futures::future::join_all(specs.iter().map(|spec| engine.start(spec))).await;
    assert!(started.iter().all(Result::is_ok), "{started:?}");
    // Networks are made one after the other: on a busy machine the last one waits for long.
    let begun = Instant::now();
    for spec in &specs {
        loop {
            let seen = state(&engine, spec.id).await;
            if matches!(seen, EngineState::Exited { .. } | EngineState::StartFailed { .. }) {
                break;
            }
            assert!(begun.elapsed() < Duration::from_secs(180), "{} is {seen:?}", spec.id);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forty_environments_of_two_arks_have_networks_of_their_own() {
    let test = "forty_environments_of_two_arks_have_networks_of_their_own";
    let socket = match daemon() {
        Ok(socket) => socket,
        Err(reason) => return skip(test, reason),
    };
    // A range with hardly more room than is needed: both want the same ones now and then.
    let with = |pool: &str| {
        let addresses = pool.parse().unwrap();
        DockerFixture::with(socket, DockerOptions { addresses, ..DockerOptions::default() })
    };
    let both = [with("base=10.211.0.0/20,size=26"), with("base=10.211.0.0/20,size=26")];
    // A container that the daemon refuses for a volume needs its network before, and no time after.
    let mut refused = both[0].spec(&shell("true"));
    refused.volumes = vec![Volume { name: "data".to_owned(), path: "not/absolute".to_owned() }];
    let all = both.iter().map(|fixture| in_environments(fixture, 20, &refused));
    futures::future::join_all(all).await;
    let mut all: Vec<String> = both.iter().flat_map(subnets).collect();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 40, "{all:?}");
    assert!(all.iter().all(|one| one.starts_with("10.211.") && one.ends_with("/26")), "{all:?}");
    // When the range is full the daemon chooses, as it did before.
    let small = with("base=10.212.0.0/28,size=29");
    in_environments(&small, 3, &small.spec(&shell("true"))).await;
    let (mut own, other): (Vec<String>, Vec<String>) =
        subnets(&small).into_iter().partition(|one| one.starts_with("10.212."));
    own.sort();
    assert_eq!((own.len(), other.len()), (2, 1), "{own:?} {other:?}");
}

/// Older daemons make two networks of one name for two who ask, and start nothing in either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_is_there_twice_is_made_one() {
    let fixture = fixture!("a_network_that_is_there_twice_is_made_one");
    let engine = fixture.engine();
    let first = fixture.spec(&Program::Obeys);
    engine.start(&first).await.unwrap();
    until_logged(&engine, first.id, "up").await;
    let (cluster, env) = (cluster(&fixture), &first.env);
    let name = format!("ark-{}-{env}", &cluster[..8]);
    let labels = [("ark.cluster", cluster.clone()), ("ark.env", env.to_string())];
    let request = NetworkCreateRequest {
        name,
        labels: Some(labels.map(|(name, value)| (name.to_owned(), value)).into()),
        ..NetworkCreateRequest::default()
    };
    let socket = fixture.socket.to_str().unwrap();
    let docker = Docker::connect_with_unix(socket, 30, bollard::API_DEFAULT_VERSION).unwrap();
    let docker = docker.negotiate_version().await.unwrap();
    // Newer ones refuse it, and there is nothing to mend.
    if let Err(error) = docker.create_network(request).await {
        assert!(error.to_string().contains("already exists"), "{error}");
    }
    let second = fixture.spec(&Program::Obeys);
    engine.start(&second).await.unwrap();
    until_logged(&engine, second.id, "up").await;
    assert_eq!(subnets(&fixture).len(), 1, "networks of {env}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_at_once_run_and_stop() {
    let fixture = fixture!("ten_at_once_run_and_stop");
    let engine = fixture.engine();
    let specs: Vec<_> = (0..10).map(|_| fixture.spec(&Program::Obeys)).collect();
    let started = futures::future::join_all(specs.iter().map(|spec| engine.start(spec))).await;
    assert!(started.iter().all(Result::is_ok), "{started:?}");
    for spec in &specs {
        until_logged(&engine, spec.id, "up").await;
    }
    let stops = specs.iter().map(|spec| engine.stop(spec.id, StopOptions::default()));
    futures::future::join_all(stops).await;
    for spec in &specs {
        let exit = until_exited(&engine, spec.id).await;
        assert_eq!((exit.code, exit.requested), (Some(0), true));
    }
}

/// A volume in the daemon, by the name that it had before names held points, with something in it.
fn volume_of_before(fixture: &DockerFixture, app: &str, name: &str, holds: &str) -> String {
    let cluster = std::fs::read_to_string(fixture.place().join("docker/cluster")).unwrap();
    let volume = format!("ark-{}-production-{name}", &cluster[..8]);
    let script = format!(
        "set -e; docker volume create --label ark.cluster={cluster} --label ark.env=production \
         --label ark.app={app} {volume}; docker run --rm --network none -v {volume}:/data {IMAGE} \
         sh -c 'echo {holds} > /data/it'"
    );
    let host = format!("unix://{}", fixture.socket.display());
    let mut making = std::process::Command::new("sh");
    let made = making.args(["-c", &script]).env("DOCKER_HOST", host).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    volume
}

/// Deletes volumes, which nothing of Ark's ever does.
struct Volumes<'a>(&'a DockerFixture, Vec<String>);

impl Drop for Volumes<'_> {
    fn drop(&mut self) {
        let Self(fixture, names) = self;
        for name in names {
            let script = format!(
                "docker ps -aq --filter volume={name} | xargs -r docker rm -fv; docker volume rm {name}"
            );
            let host = format!("unix://{}", fixture.socket.display());
            let mut removing = std::process::Command::new("sh");
            let _ = removing.args(["-c", &script]).env("DOCKER_HOST", host).output();
        }
    }
}

/// The names of two apps' volumes could be one: the label tells whose it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_of_before_is_used_again_by_its_app_alone() {
    let fixture = fixture!("a_volume_of_before_is_used_again_by_its_app_alone");
    let engine = fixture.engine();
    let own = volume_of_before(&fixture, "web", "web-data", "of-web");
    let others = volume_of_before(&fixture, "web-shop", "web-shop-db", "of-another");
    let now = others.replace("production-web-shop-db", "production.web.shop-db");
    let _volumes = Volumes(&fixture, vec![own, others, now.clone()]);
    let look = "cat /data/it; cat /other/it 2>/dev/null || echo none; \
                echo more >> /data/it; echo mine > /other/it";
    let mut spec = fixture.spec(&shell(look));
    let volume = |name: &str, path: &str| Volume { name: name.to_owned(), path: path.to_owned() };
    spec.volumes = vec![volume("data", "/data"), volume("shop-db", "/other")];
    engine.start(&spec).await.unwrap();
    until_exited(&engine, spec.id).await;
    let lines = log(&engine, spec.id, LogQuery::default()).await;
    let lines: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(lines, ["of-web", "none"]);
    let made = docker(&fixture.socket).args(["volume", "inspect", &now]).output().unwrap();
    assert!(made.status.success(), "its own has the name of now: {now}");
    // What it wrote is there for the next, in either.
    let next = StartSpec { volumes: spec.volumes.clone(), ..fixture.spec(&shell(look)) };
    engine.start(&next).await.unwrap();
    until_exited(&engine, next.id).await;
    let lines = log(&engine, next.id, LogQuery::default()).await;
    let lines: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(lines, ["of-web", "more", "mine"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_ssh_input_has_an_end_and_few_log_in_at_once() {
    let socket = match daemon() {
        Ok(socket) => socket,
        Err(reason) => return skip("by_ssh_input_has_an_end_and_few_log_in_at_once", reason),
    };
    let ssh = Ssh::to(socket);
    let options = DockerOptions { ssh: Some(ssh.daemon()), ..DockerOptions::default() };
    let mut fixture = DockerFixture::with(socket, DockerOptions { elsewhere: true, ..options });
    // A command that reads its input to the end has one.
    conformance::programs::an_exec_is_in_the_same_place_as_its_instance(&mut fixture).await;
    fixture.restart();
    let engine = fixture.engine();
    let asked = futures::future::join_all((0..24).map(|_| engine.list())).await;
    assert!(asked.iter().all(Result::is_ok), "{asked:?}");
    let seen = ssh.seen();
    assert!(seen.iter().any(|one| *one > 1), "they do not log in one by one: {seen:?}");
    assert!(seen.iter().all(|one| *one <= 4), "an SSH server would turn some away: {seen:?}");
}

/// The machine's own `ssh` and a real server: it turns away whoever is the sixth to log in, and is not
/// believed when it is another one than was known. When it is gone that is said, and nothing waits for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_behind_a_real_ssh_server() {
    let test = "a_daemon_behind_a_real_ssh_server";
    let socket = match daemon() {
        Ok(socket) => socket,
        Err(reason) => return skip(test, reason),
    };
    let mut sshd = match Sshd::start(socket) {
        Ok(sshd) => sshd,
        Err((lack, reason)) => return lacking::skip(test, lack, &reason),
    };
    let by = |knows: Knows, sshd: &Sshd| DockerOptions {
        ssh: Some(sshd.daemon(knows)),
        elsewhere: true,
        ..DockerOptions::default()
    };
    let mut fixture = DockerFixture::with(socket, by(Knows::This, &sshd));
    conformance::programs::an_exec_is_in_the_same_place_as_its_instance(&mut fixture).await;
    fixture.restart();
    let engine = fixture.engine();
    let asked = futures::future::join_all((0..24).map(|_| engine.list())).await;
    assert!(asked.iter().all(Result::is_ok), "{asked:?}: {}", sshd.log());

    let mistaken = DockerFixture::with(socket, by(Knows::Another, &sshd));
    let error = mistaken.engine().list().await.expect_err("another server");
    let EngineError::Unavailable { source, .. } = &error else { panic!("{error:?}") };
    let words = source.to_string().to_lowercase();
    assert!(words.contains("host key") || words.contains("host identification"), "{words}");

    sshd.kill();
    let begun = Instant::now();
    let error = engine.list().await.expect_err("nobody listens");
    assert!(matches!(error, EngineError::Unavailable { .. }), "{error:?}");
    assert!(begun.elapsed() < DEADLINE, "it is said in time: {:?}", begun.elapsed());
}
