//! Who calls which route through its own port, over real sockets and processes.

#[path = "../../../tests/harness/lacking.rs"]
mod lacking;
mod support;

use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ark_model::gateway::CallerSeen;
use ark_model::route::{ContainerNetwork, Route, RouteKey};
use lacking::{Lack, skip};
use support::{Ark, Backend, Client, Known, key, route};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::sleep;

/// A user that nobody else is.
const STRANGER: u32 = 1_999_999_999;

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn named(app: &str) -> RouteKey {
    RouteKey { app: app.parse().unwrap(), ..key() }
}

/// A route with a port of its own.
fn with_port(app: &str, backend: &Backend) -> Route {
    Route {
        key: named(app),
        hosts: vec![format!("{app}.test")],
        discovery_port: Some(free_port()),
        ..route(vec![backend.target()])
    }
}

fn address(route: &Route) -> SocketAddr {
    ([127, 0, 0, 1], route.discovery_port.unwrap()).into()
}

fn called(known: &Known, app: &str) -> Vec<CallerSeen> {
    let of = known.calls.iter().filter(|call| call.route == named(app));
    let mut callers: Vec<_> = of.map(|call| call.caller).collect();
    callers.sort();
    callers.dedup();
    callers
}

fn own() -> CallerSeen {
    CallerSeen::User { uid: rustix::process::geteuid().as_raw() }
}

/// Asks once, and closes.
async fn ask(from: [u8; 4], to: SocketAddr) -> String {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    let mut stream = socket.connect(to).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nHost: called.test\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// A child that is killed with its owner.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_process_that_calls_is_told_by_its_user_and_nobody_else_is() {
    let backend = Backend::echo("found").await;
    let mut ark = Ark::start().await;
    let routes = [with_port("called", &backend), with_port("quiet", &backend)];
    ark.server.push(&routes).await;
    ark.server.until_ready(&[backend.instance]).await;
    // Those who come through the public door are nobody's business, whichever route they want.
    let mut public = ark.client().await;
    public.say("GET / HTTP/1.1\r\nHost: quiet.test\r\n\r\n").await;
    assert_eq!(public.answer().await.body, "found");
    for _ in 0..3 {
        let answer = ask([127, 0, 0, 1], address(&routes[0])).await;
        assert!(answer.ends_with("found"), "{answer}");
    }
    let known = ark.server.until("a call", |known| !called(known, "called").is_empty()).await;
    assert_eq!(called(&known, "called"), [own()]);
    // All that there was to tell was told.
    sleep(Duration::from_millis(1_500)).await;
    let known = ark.server.known.borrow().clone();
    assert_eq!(called(&known, "quiet"), []);
    let told = known.calls.len();
    assert_eq!(told, 1, "what has not changed is not told again: {:?}", known.calls);
    // A server that comes anew is told all that is remembered.
    let mut anew = support::Server::dial(ark.dir.path()).await;
    let known = anew.until("the call again", |known| !known.calls.is_empty()).await;
    assert_eq!(called(&known, "called"), [own()]);
}

#[tokio::test]
async fn somebody_in_a_network_of_containers_is_told_by_address_and_its_host_by_user() {
    let backend = Backend::echo("found").await;
    let mut ark = Ark::start().await;
    let mut live = with_port("called", &backend);
    // A loopback address stands for the host's in such a network.
    live.discovery_networks =
        vec![ContainerNetwork { address: [127, 0, 77, 1].into(), prefix: 24 }];
    ark.server.push(std::slice::from_ref(&live)).await;
    ark.server.until_ready(&[backend.instance]).await;
    let host = SocketAddr::from(([127, 0, 77, 1], live.discovery_port.unwrap()));
    assert!(ask([127, 0, 77, 9], host).await.ends_with("found"));
    let container = CallerSeen::Address { ip: [127, 0, 77, 9].into() };
    let known = ark.server.until("a call", |known| !called(known, "called").is_empty()).await;
    assert_eq!(called(&known, "called"), [container]);
    assert!(ask([127, 0, 77, 1], host).await.ends_with("found"));
    let both = |known: &Known| called(known, "called").len() == 2;
    let known = ark.server.until("the other call", both).await;
    assert_eq!(called(&known, "called"), [own(), container]);
}

#[tokio::test]
async fn one_that_stays_is_told_however_many_come_with_it() {
    if !rustix::process::geteuid().is_root() {
        let test = "one_that_stays_is_told_however_many_come_with_it";
        return skip(test, Lack::Root, "only root can be another user");
    }
    let backend = Backend::echo("found").await;
    let mut ark = Ark::start().await;
    let live = with_port("called", &backend);
    ark.server.push(std::slice::from_ref(&live)).await;
    ark.server.until_ready(&[backend.instance]).await;
    // Far more at once than are looked at as they come.
    let mut crowd = Vec::new();
    for _ in 0..40 {
        crowd.push(Client::connect(address(&live)).await);
    }
    let script = format!("exec 3<>/dev/tcp/127.0.0.1/{}; sleep 60", address(&live).port());
    let mut command = Command::new("bash");
    command.args(["-c", &script]).uid(STRANGER).gid(STRANGER).current_dir("/").stdin(Stdio::null());
    let _child = Killed(command.spawn().expect("bash starts"));
    let stranger = CallerSeen::User { uid: STRANGER };
    let both = |known: &Known| called(known, "called") == [own(), stranger];
    ark.server.until("both callers", both).await;
}
