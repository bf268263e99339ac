//! A daemon that accepts connections and answers none, behind a proxy: no call is waited for longer
//! than said, what was asked for is known, and when it answers again nothing was done twice, nor left
//! undone.

mod conformance;
mod docker_fixture;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use ark_engine::{DockerOptions, Engine, EngineError, ExecSpec, LogQuery, StopOptions};
use ark_model::ids::InstanceId;
use ark_model::instance::EngineState;
use conformance::{DEADLINE, Fixture, Program, log, run_up, state, until_exited, until_logged};
use docker_fixture::proxy::Proxy;
use docker_fixture::{DockerFixture, daemon, docker, skip};

fn options() -> DockerOptions {
    // Long enough for a machine that does other things.
    let (answer, look_every) = (Duration::from_secs(5), Duration::from_secs(1));
    DockerOptions { answer, look_every, ..DockerOptions::default() }
}

/// An answer that is no answer, and comes.
async fn refused<T>(what: &str, call: impl Future<Output = Result<T, EngineError>>) {
    let answer = tokio::time::timeout(DEADLINE, call).await;
    let answer = answer.unwrap_or_else(|_| panic!("{what} is waited for without end"));
    assert!(matches!(answer, Err(EngineError::Unavailable { .. })), "{what} does not fail");
}

/// The containers of an instance, `-a` for those that do not run, too.
fn containers(fixture: &DockerFixture, id: InstanceId, which: &str) -> usize {
    let label = format!("label=ark.instance={id}");
    let listed = docker(&fixture.socket).args(["ps", "-q", which, "--filter", &label]).output();
    let listed = listed.unwrap();
    String::from_utf8_lossy(&listed.stdout).lines().count()
}

async fn removed(engine: &Arc<dyn Engine>, id: InstanceId) {
    let begun = tokio::time::Instant::now();
    while let Err(error) = engine.remove(id).await {
        assert!(begun.elapsed() < DEADLINE, "{error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(state(engine, id).await, EngineState::Gone);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_has_an_end_and_nothing_is_started_twice() {
    let test = "every_call_has_an_end_and_nothing_is_started_twice";
    let socket = match daemon() {
        Ok(socket) => socket,
        Err(reason) => return skip(test, reason),
    };
    let proxy = Proxy::to(socket);
    let fixture = DockerFixture::with(&proxy.socket, options());
    let engine = fixture.engine();
    let id = run_up(&engine, &fixture.spec(&Program::Obeys)).await;
    let EngineState::Running { since, .. } = state(&engine, id).await else { panic!("it runs") };
    let over = fixture.spec(&Program::Exits(0));
    engine.start(&over).await.unwrap();
    until_exited(&engine, over.id).await;

    let held = proxy.hold();
    let command = ExecSpec { command: vec!["true".to_owned()], tty: false };
    futures::join!(
        refused("list", engine.list()),
        refused("logs", engine.logs(id, LogQuery::default())),
        refused("exec", engine.exec(id, &command)),
        refused("stats", engine.stats(id)),
        refused("stop", engine.stop(id, StopOptions::default())),
        refused("remove", engine.remove(over.id)),
        refused("image_digest", engine.image_digest(docker_fixture::IMAGE)),
    );
    // It is handed over all the same, once.
    let asked = fixture.spec(&Program::Obeys);
    engine.start(&asked).await.unwrap();
    engine.start(&asked).await.unwrap();
    drop(held);
    until_logged(&engine, asked.id, "up").await;
    assert_eq!(containers(&fixture, asked.id, "-a"), 1);
    assert_eq!(log(&engine, asked.id, LogQuery::default()).await.len(), 1, "it was started once");
    let now = state(&engine, id).await;
    assert!(matches!(now, EngineState::Running { since: at, .. } if at == since), "{now:?}");
    removed(&engine, over.id).await;

    // The daemon hears what it is asked, and does not say so; of two starts nobody waits for the answer, as
    // when their host is taken for silent.
    let held = proxy.hold_after("/containers/create");
    let [late, left, unwanted] = [0, 1, 2].map(|_| fixture.spec(&Program::Obeys));
    let given_up = |spec| tokio::time::timeout(Duration::from_secs(1), engine.start(spec));
    let (waited, no_longer, nor_here) =
        futures::join!(engine.start(&late), given_up(&left), given_up(&unwanted));
    assert!(waited.is_ok() && no_longer.is_err() && nor_here.is_err(), "{waited:?}");
    drop(held);
    let begun = tokio::time::Instant::now();
    let kill = StopOptions { grace: Duration::ZERO, ..StopOptions::default() };
    while engine.stop(unwanted.id, kill).await.is_err() {
        assert!(begun.elapsed() < DEADLINE, "it is never stopped");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    until_exited(&engine, unwanted.id).await;
    removed(&engine, unwanted.id).await;
    for id in [late.id, left.id] {
        until_logged(&engine, id, "up").await;
        assert_eq!(containers(&fixture, id, "-a"), 1);
        assert_eq!(log(&engine, id, LogQuery::default()).await.len(), 1, "it was started once");
    }
    // Whatever the daemon made of it after it was removed does not run.
    assert_eq!(containers(&fixture, unwanted.id, "--no-trunc"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_was_given_up_goes_on_when_it_is_asked_for_again() {
    let socket = match daemon() {
        Ok(socket) => socket,
        Err(reason) => {
            return skip("a_start_that_was_given_up_goes_on_when_it_is_asked_for_again", reason);
        }
    };
    let proxy = Proxy::to(socket);
    // Nothing is taken up by a look of its own.
    let look_every = Duration::from_secs(3_600);
    let fixture = DockerFixture::with(&proxy.socket, DockerOptions { look_every, ..options() });
    let engine = fixture.engine();
    run_up(&engine, &fixture.spec(&Program::Obeys)).await;
    let held = proxy.hold_after("/containers/create");
    let spec = fixture.spec(&Program::Obeys);
    let given_up = tokio::time::timeout(Duration::from_secs(1), engine.start(&spec)).await;
    assert!(given_up.is_err(), "{given_up:?}");
    drop(held);
    engine.start(&spec).await.unwrap();
    until_logged(&engine, spec.id, "up").await;
    assert_eq!(containers(&fixture, spec.id, "-a"), 1);
}
