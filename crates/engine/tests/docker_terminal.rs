//! A command with a terminal, by a daemon.

mod conformance;
mod docker_fixture;

use ark_engine::ExecSpec;
use conformance::{DEADLINE, Fixture, Program, run_up};
use docker_fixture::{DockerFixture, daemon, skip};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exec_has_the_terminal_it_asks_for_as_large_as_it_is_told() {
    let test = "an_exec_has_the_terminal_it_asks_for_as_large_as_it_is_told";
    let fixture = match daemon() {
        Ok(socket) => DockerFixture::new(socket),
        Err(reason) => return skip(test, reason),
    };
    let engine = fixture.engine();
    let id = run_up(&engine, &fixture.spec(&Program::Obeys)).await;
    // What looks like the head of a frame of four gigabytes is output like any other.
    let script = "printf '\\001\\000\\000\\000\\377\\377\\377\\377'; read word; until [ \"$(stty size)\" = '31 97' ]; do sleep 0.1; done; \
                  tty; echo $word >&2; exit 3";
    let command = ["sh", "-c", script].map(str::to_owned).to_vec();
    let mut session = engine.exec(id, &ExecSpec { command, tty: true }).await.unwrap();
    let terminal = session.terminal.take().expect("a terminal");
    terminal.send((80, 24)).unwrap();
    let (mut stdin, mut stdout) = (session.stdin.take().unwrap(), session.stdout.take().unwrap());
    stdin.write_all(b"said\r").await.unwrap();
    stdin.flush().await.unwrap();
    terminal.send((97, 31)).unwrap();
    let mut output = Vec::new();
    let read = tokio::time::timeout(DEADLINE, stdout.read_to_end(&mut output)).await;
    read.expect("it ends").unwrap();
    assert_eq!(output[..8], [1, 0, 0, 0, 255, 255, 255, 255]);
    let output = String::from_utf8_lossy(&output[8..]).into_owned();
    // What is typed is shown, and standard error is the terminal too.
    assert!(output.contains("/dev/pts/") && output.ends_with("said\r\n"), "{output:?}");
    assert_eq!(session.exit.await.unwrap(), 3);
}
