//! Images and registries: what is built is sent there, what is not here is fetched by its digest and
//! with a password, a start that is stopped while its image is fetched never runs, an image that
//! was just asked for is not collected, and none that Ark did not fetch.

mod conformance;
mod docker_fixture;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ark_engine::{
    ArtifactSource, BuildSpec, Built, DockerOptions, Engine, EngineError, Registries, Registry,
    StartSpec, StopOptions, blob_path,
};
use ark_model::artifact::{Manifest, ManifestEntry, ManifestNode};
use ark_model::definition::Volume;
use ark_model::instance::{EngineState, StartFailure};
use ark_model::{InstanceId, Sha256};
use conformance::{DEADLINE, Fixture, Program, run_up, state, until, until_exited};
use docker_fixture::registry::Registry as Peer;
use docker_fixture::{DockerFixture, IMAGE, daemon, docker, image_spec, skip};
use futures::StreamExt;

macro_rules! socket {
    ($test:literal) => {
        match daemon() {
            Ok(socket) => socket,
            Err(reason) => return skip($test, reason),
        }
    };
}

fn run(socket: &Path, arguments: &[&str]) -> String {
    let output = docker(socket).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// The tests' image in a registry, and not on the daemon.
fn publish(socket: &Path, peer: &Peer, name: &str) -> String {
    let image = format!("{}/{name}", peer.host());
    run(socket, &["tag", IMAGE, &image]);
    run(socket, &["push", "-q", &image]);
    run(socket, &["rmi", &image]);
    image
}

fn of(image: &str, digest: Option<String>) -> StartSpec {
    let mut spec = image_spec(Program::Obeys.command());
    spec.artifact = ArtifactSource::Image { reference: image.to_owned(), digest };
    spec
}

async fn eventually(what: &str, mut test: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !test() {
        assert!(begun.elapsed() < DEADLINE, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn failure(engine: &Arc<dyn Engine>, id: InstanceId) -> StartFailure {
    let failed = |state: &EngineState| matches!(state, EngineState::StartFailed { .. });
    match until(engine, id, "failed", failed).await {
        EngineState::StartFailed { reason } => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_stopped_and_removed_while_its_image_comes_never_starts() {
    let socket = socket!("what_is_stopped_and_removed_while_its_image_comes_never_starts");
    let peer = Peer::start();
    let image = publish(socket, &peer, "late:1");
    let look_every = Duration::from_millis(100);
    let options = DockerOptions { look_every, ..DockerOptions::default() };
    let fixture = DockerFixture::with(socket, options);
    let engine = fixture.engine();
    peer.hold(true);
    let spec = of(&image, None);
    engine.start(&spec).await.unwrap();
    eventually("somebody asks for it", || peer.waiting() > 0).await;
    // Many looks later it is still one who asks.
    tokio::time::sleep(10 * look_every).await;
    assert_eq!(peer.waiting(), 1, "an image is fetched once for one start");
    engine.stop(spec.id, StopOptions::default()).await.unwrap();
    assert!(until_exited(&engine, spec.id).await.requested);
    engine.remove(spec.id).await.unwrap();
    peer.hold(false);
    eventually("the image is here", || {
        docker(socket).args(["image", "inspect", &image]).output().unwrap().status.success()
    })
    .await;
    tokio::time::sleep(10 * look_every).await;
    assert_eq!(state(&engine, spec.id).await, EngineState::Gone);
    engine.start(&spec).await.unwrap();
    assert_eq!(state(&engine, spec.id).await, EngineState::Gone, "nor is it started again");
    run(socket, &["rmi", &image]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_without_a_tag_is_the_latest_and_not_all() {
    let socket = socket!("a_name_without_a_tag_is_the_latest_and_not_all");
    let peer = Peer::start();
    let image = publish_page(socket, &peer, "page:latest");
    let name = image.trim_end_matches(":latest");
    peer.retag("page/latest", "page/old");
    let fixture = DockerFixture::new(socket);
    let engine = fixture.engine();
    let digest = engine.published_digest(name).await.unwrap();
    assert!(digest.is_some_and(|digest| digest.starts_with("sha256:")));
    assert_eq!(engine.published_digest(&format!("{name}:none")).await.unwrap(), None);
    let id = run_up(&engine, &of(name, None)).await;
    let asked = peer.asked();
    assert!(!asked.iter().any(|one| one.ends_with("/tags/list")), "{asked:?}");
    assert!(!asked.iter().any(|one| one.ends_with("/manifests/old")), "{asked:?}");
    engine.kill(id).await.unwrap();
    until_exited(&engine, id).await;
    engine.remove(id).await.unwrap();
    // What a release calls it keeps it.
    let keep = BTreeSet::from([name.to_owned()]);
    assert_eq!(engine.remove_images(&keep, Duration::ZERO).await.unwrap(), 0);
    assert_eq!(engine.remove_images(&BTreeSet::new(), Duration::ZERO).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_never_be_made_stays_failed_after_its_image_came() {
    let socket = socket!("what_can_never_be_made_stays_failed_after_its_image_came");
    let peer = Peer::start();
    let image = publish(socket, &peer, "never:1");
    let look_every = Duration::from_millis(100);
    let options = DockerOptions { look_every, ..DockerOptions::default() };
    let fixture = DockerFixture::with(socket, options);
    let engine = fixture.engine();
    let mut spec = of(&image, None);
    let volume = Volume { name: "data".to_owned(), path: "not/absolute".to_owned() };
    spec.volumes = vec![volume];
    engine.start(&spec).await.unwrap();
    let StartFailure::Other { detail } = failure(&engine, spec.id).await else { panic!() };
    assert!(detail.contains("absolute"), "{detail}");
    let asked = peer.asked().len();
    tokio::time::sleep(10 * look_every).await;
    assert!(matches!(state(&engine, spec.id).await, EngineState::StartFailed { .. }));
    assert_eq!(peer.asked().len(), asked, "it is not begun again");
    run(socket, &["rmi", &image]);
}

/// A build of one file from scratch.
fn build(blobs: &Path, image: &str, content: &str) -> BuildSpec {
    let dockerfile = format!("FROM {IMAGE}\nCOPY content /content\n");
    build_of(blobs, image, &[("Dockerfile", &dockerfile), ("content", content)])
}

/// A build of these files.
fn build_of(blobs: &Path, image: &str, files: &[(&str, &str)]) -> BuildSpec {
    let file = |path: &str, text: &str| {
        let sha256 = Sha256::of(text.as_bytes());
        let blob = blob_path(blobs, sha256);
        std::fs::create_dir_all(blob.parent().unwrap()).unwrap();
        std::fs::write(blob, text).unwrap();
        let node = ManifestNode::File { sha256, bytes: text.len() as u64, executable: false };
        ManifestEntry { path: path.to_owned(), node }
    };
    BuildSpec {
        manifest: Manifest { entries: files.iter().map(|(path, text)| file(path, text)).collect() },
        blobs: blobs.to_owned(),
        dockerfile: "Dockerfile".to_owned(),
        image: image.to_owned(),
    }
}

/// The last thing that a builder says.
async fn built(engine: &Arc<dyn Engine>, spec: BuildSpec) -> Result<Built, EngineError> {
    let mut last = None;
    let mut said = engine.build(spec).await?;
    while let Some(next) = said.next().await {
        last = Some(next?);
    }
    Ok(last.expect("it says how it ended"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_built_goes_to_its_registry_and_comes_back_by_its_digest() {
    let socket = socket!("what_is_built_goes_to_its_registry_and_comes_back_by_its_digest");
    let peer = Peer::start();
    peer.ask_for("ark", "hush-hush");
    let registries = Registries::default();
    let configure = |password: &str| {
        let login = Some(("ark".to_owned(), password.to_owned()));
        registries.set([(peer.host(), Registry { login, push: true })].into());
    };
    let options = DockerOptions { registries: registries.clone(), ..DockerOptions::default() };
    let fixture = DockerFixture::with(socket, options);
    let engine = fixture.engine();
    let blobs = tempfile::tempdir().unwrap();
    let image = format!("{}/shop/goods:1", peer.host());
    let spec = || build(blobs.path(), &image, "goods");

    // A wrong password, and then a registry that is down: said, and what was built is not lost.
    configure("wrong");
    let error = engine.image_digest(&image).await.unwrap_err();
    assert!(!format!("{error:?}").contains("wrong"), "{error:?}");
    peer.set_broken(true);
    configure("hush-hush");
    assert!(matches!(built(&engine, spec()).await, Err(EngineError::Unavailable { .. })));
    peer.set_broken(false);
    assert_eq!(engine.image_digest(&image).await.unwrap(), None);
    let Built::Done(digest) = built(&engine, spec()).await.unwrap() else { panic!() };
    assert_eq!(peer.tags(), ["shop/goods/1"]);
    assert!(matches!(built(&engine, spec()).await, Err(EngineError::ImageExists(_))));

    // Another host has nothing of it; it finds the digest, and fetches what that means, whatever the
    // tag means by then.
    run(socket, &["rmi", "-f", &image]);
    assert_eq!(engine.image_digest(&image).await.unwrap(), Some(digest.clone()));
    let other = format!("{}/shop/goods:2", peer.host());
    let two = built(&engine, build(blobs.path(), &other, "others")).await.unwrap();
    assert!(matches!(two, Built::Done(_)), "{two:?}");
    run(socket, &["rmi", "-f", &other]);
    peer.retag("shop/goods/2", "shop/goods/1");
    let spec = of(&image, Some(digest.clone()));
    let id = run_up(&engine, &spec).await;
    let content = run(socket, &["exec", &format!("ark-{id}"), "cat", "/content"]);
    assert_eq!(content, "goods");
    assert!(peer.asked().iter().any(|one| one.ends_with(&digest)), "{:?}", peer.asked());
    engine.kill(id).await.unwrap();
    until_exited(&engine, id).await;
    engine.remove(id).await.unwrap();

    // Nothing of it without its password; with it everything works again.
    run(socket, &["rmi", "-f", &format!("{}/shop/goods@{digest}", peer.host())]);
    configure("wrong");
    let refused = of(&image, Some(digest.clone()));
    engine.start(&refused).await.unwrap();
    let reason = failure(&engine, refused.id).await;
    let StartFailure::ArtifactMissing { detail } = &reason else { panic!("{reason:?}") };
    assert!(detail.contains("shop/goods:1") && !detail.contains("wrong"), "{detail}");
    configure("hush-hush");
    let id = run_up(&engine, &of(&image, Some(digest.clone()))).await;
    engine.kill(id).await.unwrap();
    until_exited(&engine, id).await;
    engine.remove(id).await.unwrap();
    // A release keeps what it knows only by that digest.
    let keep = BTreeSet::from([digest.clone()]);
    assert_eq!(engine.remove_images(&keep, Duration::ZERO).await.unwrap(), 0);
    assert!(engine.remove_images(&BTreeSet::new(), Duration::ZERO).await.unwrap() > 0);

    // No file of Ark's has the password.
    let grep = Command::new("grep").args(["-r", "hush-hush"]).arg(fixture.place()).output();
    assert!(grep.unwrap().stdout.is_empty());
}

/// A builder has no credentials; Ark has. What its registry means by a name is what is built upon.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_base_image_that_wants_a_password_is_fetched_for_a_build() {
    let socket = socket!("a_base_image_that_wants_a_password_is_fetched_for_a_build");
    let peer = Peer::start();
    let base = publish_page(socket, &peer, "base:1");
    publish_page(socket, &peer, "base:2");
    peer.ask_for("ark", "hush-hush");
    let registries = Registries::default();
    let options = DockerOptions { registries: registries.clone(), ..DockerOptions::default() };
    let fixture = DockerFixture::with(socket, options);
    let engine = fixture.engine();
    let blobs = tempfile::tempdir().unwrap();
    let spec = |tag: u32| {
        let image = format!("ark-test/based-{}:{tag}", std::process::id());
        let dockerfile = format!("ARG BASE={base}\nFROM $BASE\nLABEL tag={tag}\n");
        build_of(blobs.path(), &image, &[("Dockerfile", &dockerfile)])
    };
    let page = |tag: u32| {
        let image = spec(tag).image;
        run(socket, &["run", "--rm", &image, "sh", "-c", "echo $PAGE"])
    };
    let refused = built(&engine, spec(1)).await.unwrap();
    assert!(matches!(refused, Built::Failed(_)), "nobody knows the password: {refused:?}");
    let login = Some(("ark".to_owned(), "hush-hush".to_owned()));
    registries.set([(peer.host(), Registry { login, push: false })].into());
    let first = built(&engine, spec(1)).await.unwrap();
    assert!(matches!(first, Built::Done(_)), "{first:?}");
    assert_eq!(page(1), "base:1");
    // The tag moves. What is here is not what it means any more.
    peer.retag("base/2", "base/1");
    let second = built(&engine, spec(2)).await.unwrap();
    assert!(matches!(second, Built::Done(_)), "{second:?}");
    assert_eq!(page(2), "base:2");
    // Without its registry what is here does.
    peer.set_broken(true);
    let third = built(&engine, spec(3)).await.unwrap();
    assert!(matches!(third, Built::Done(_)), "{third:?}");
    assert_eq!(page(3), "base:2");
    assert!(engine.remove_images(&BTreeSet::new(), Duration::ZERO).await.unwrap() >= 4);
    let is_here = docker(socket).args(["image", "inspect", &base]).output().unwrap();
    assert!(!is_here.status.success(), "nobody needs it any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_is_as_old_as_its_last_name() {
    let socket = socket!("an_image_is_as_old_as_its_last_name");
    let fixture = DockerFixture::new(socket);
    let engine = fixture.engine();
    let blobs = tempfile::tempdir().unwrap();
    let none = BTreeSet::new();
    let age = Duration::from_secs(2);
    let old = || tokio::time::sleep(age + Duration::from_millis(1_200));
    for image in ["ark-test/aged:1", "ark-test/aged:2"] {
        let built = built(&engine, build(blobs.path(), image, "aged")).await.unwrap();
        assert!(matches!(built, Built::Done(_)), "{built:?}");
        if image.ends_with('1') {
            old().await;
        }
    }
    // The builder had nothing to do for the second: it is the first one's image, made long ago.
    assert_eq!(engine.remove_images(&none, age).await.unwrap(), 0, "it was built just now");
    old().await;
    assert!(engine.keep_image("ark-test/aged:1").await.unwrap());
    assert!(!engine.keep_image("ark-test/aged:3").await.unwrap());
    assert_eq!(engine.remove_images(&none, age).await.unwrap(), 0, "somebody is about to use it");
    old().await;
    assert_eq!(engine.remove_images(&none, age).await.unwrap(), 1);
    assert_eq!(engine.image_digest("ark-test/aged:1").await.unwrap(), None);
}

/// An image of its own in a registry, and not on the daemon.
fn publish_page(socket: &Path, peer: &Peer, name: &str) -> String {
    let image = format!("{}/{name}", peer.host());
    let script = format!(
        "set -e; printf 'FROM {IMAGE}\\nENV PAGE={name}\\n' | docker build -q -t {image} -; \
         docker push -q {image}; docker rmi {image}"
    );
    let at = format!("unix://{}", socket.display());
    let made = Command::new("sh").args(["-c", &script]).env("DOCKER_HOST", at).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    image
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_fetched_goes_and_takes_no_other_image_of_its_name_along() {
    let socket = socket!("what_was_fetched_goes_and_takes_no_other_image_of_its_name_along");
    let peer = Peer::start();
    let fixture = DockerFixture::new(socket);
    let engine = fixture.engine();
    let id_of = |name: &str| run(socket, &["image", "inspect", "-f", "{{.Id}}", name]);
    let is_here = |name: &str| {
        docker(socket).args(["image", "inspect", name]).output().unwrap().status.success()
    };
    let [moved, plain, named] =
        ["moved:1", "plain:1", "named:1"].map(|name| publish_page(socket, &peer, name));
    for image in [&moved, &plain, &named] {
        let id = run_up(&engine, &of(image, None)).await;
        engine.kill(id).await.unwrap();
        until_exited(&engine, id).await;
        engine.remove(id).await.unwrap();
    }
    let keep = BTreeSet::from([moved.clone(), plain.clone(), named.clone()]);
    assert_eq!(engine.remove_images(&keep, Duration::ZERO).await.unwrap(), 0, "all are needed");
    // Somebody fetches what a name means now, and gives another image a name that Ark did not.
    let before = id_of(&moved);
    publish_page(socket, &peer, "moved:2");
    peer.retag("moved/2", "moved/1");
    run(socket, &["pull", "-q", &moved]);
    let now = id_of(&moved);
    assert_ne!(now, before);
    let other = format!("ark-test/named-{}:1", std::process::id());
    run(socket, &["tag", &named, &other]);

    let keep = BTreeSet::from([moved.clone(), now.clone()]);
    let removed = engine.remove_images(&keep, Duration::ZERO).await.unwrap();
    assert_eq!(removed, 2, "what a name meant before, and the plain one");
    assert!(!is_here(&before) && !is_here(&plain) && !is_here(&named));
    assert_eq!(id_of(&moved), now, "a release needs it");
    assert_eq!(engine.remove_images(&BTreeSet::new(), Duration::ZERO).await.unwrap(), 0);
    assert_eq!(id_of(&moved), now, "Ark did not fetch it");
    run(socket, &["rmi", &moved, &other]);
}
