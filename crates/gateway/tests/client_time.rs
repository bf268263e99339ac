//! The time that a client gives is the client's: when it is over, nothing is held against the app,
//! whatever protocol either side speaks.

#[path = "support/h2.rs"]
mod h2_support;
mod support;

use std::time::Duration;

use ark_model::route::{Route, RouteLimits, RouteProtocol, Target, TargetState};
use ark_model::traffic::Adaptive;
use bytes::Bytes;
use h2_support::{H2, H2Backend, send_all, whole};
use http::{Request, Response};
use support::{Ark, Backend, ends, route};

/// More than eject a target, or judge a release.
const COUNT: u64 = 12;

/// A route that judges by the time of answers, too.
fn judged(target: Target, protocol: RouteProtocol) -> Route {
    let mut route = route(vec![target]);
    route.protocol = protocol;
    route.limits = RouteLimits { adaptive: Adaptive::Aimd, ..RouteLimits::default() };
    route
}

async fn ark_for(route: &Route) -> Ark {
    let mut ark = Ark::start().await;
    ark.server.push(std::slice::from_ref(route)).await;
    ark.server.until_ready(&[route.targets[0].instance]).await;
    ark
}

/// All were the clients' doing: none counts against the release, and the target goes on.
async fn nothing_is_held_against(ark: &mut Ark, route: &Route, count: u64) {
    let report = ark.server.until_ended(route.targets[0].instance, count).await;
    assert_eq!(ends(&report.counters), (0, 0, 0, count));
    assert_eq!(report.counters.by_class, [0; 5], "what was given up is no answer of the app");
    assert_eq!(report.counters.ejections, 0);
}

/// An app that does not answer within any time that is given here.
async fn slow() -> Backend {
    Backend::start(|mut peer| async move {
        while peer.head().await.is_some() {
            tokio::time::sleep(Duration::from_secs(30)).await;
        }
    })
    .await
}

async fn slow_h2() -> H2Backend {
    H2Backend::start(|_, _, respond| async move {
        tokio::time::sleep(Duration::from_secs(30)).await;
        drop(respond);
    })
    .await
}

async fn over_http1(ark: &Ark) {
    let mut client = ark.client().await;
    for n in 0..COUNT {
        let ms = if n % 2 == 0 { 0 } else { 20 };
        client
            .say(&format!("GET / HTTP/1.1\r\nHost: a.test\r\nX-Ark-Timeout-Ms: {ms}\r\n\r\n"))
            .await;
        let late = client.answer().await;
        assert_eq!((late.status, late.field("x-ark-error")), (504, Some("upstream_timeout")));
    }
}

async fn over_http2(
    ark: &Ark,
    field: &'static str,
    values: [&'static str; 2],
) -> Vec<h2_support::Answer> {
    let mut client = H2::connect(ark.http).await;
    let mut answers = Vec::new();
    for n in 0..COUNT {
        let value = values[usize::try_from(n % 2).unwrap()];
        let mut request = Request::post("http://a.test/").header(field, value);
        if field == "grpc-timeout" {
            request = request.header("content-type", "application/grpc");
        }
        let (response, mut body) = client.begin(request.body(()).unwrap(), false).await;
        send_all(&mut body, Bytes::from_static(&[0, 0, 0, 0, 1, 7]), true).await;
        answers.push(whole(response).await.unwrap());
    }
    answers
}

#[tokio::test]
async fn over_http1_to_an_app_of_http1() {
    let backend = slow().await;
    let route = judged(backend.target(), RouteProtocol::Http);
    let mut ark = ark_for(&route).await;
    over_http1(&ark).await;
    nothing_is_held_against(&mut ark, &route, COUNT).await;
}

#[tokio::test]
async fn over_http1_to_an_app_of_http2() {
    let backend = slow_h2().await;
    let route = judged(backend.target(), RouteProtocol::H2c);
    let mut ark = ark_for(&route).await;
    over_http1(&ark).await;
    nothing_is_held_against(&mut ark, &route, COUNT).await;
}

#[tokio::test]
async fn over_http2_to_an_app_of_http1() {
    let backend = slow().await;
    let route = judged(backend.target(), RouteProtocol::Http);
    let mut ark = ark_for(&route).await;
    for answer in over_http2(&ark, "x-ark-timeout-ms", ["0", "20"]).await {
        assert_eq!(answer.status, 504);
    }
    nothing_is_held_against(&mut ark, &route, COUNT).await;
}

#[tokio::test]
async fn of_a_grpc_call() {
    let backend = slow_h2().await;
    let route = judged(backend.target(), RouteProtocol::Grpc);
    let mut ark = ark_for(&route).await;
    for answer in over_http2(&ark, "grpc-timeout", ["1n", "20m"]).await {
        assert_eq!((answer.status, answer.fields["grpc-status"].as_bytes()), (200, &b"4"[..]));
    }
    nothing_is_held_against(&mut ark, &route, COUNT).await;
}

/// As servers of gRPC do: they know the deadline, and end the call themselves.
#[tokio::test]
async fn of_a_call_that_the_app_ends_for_it() {
    let backend = H2Backend::start(|parts, _, mut respond| async move {
        let told = parts.headers["grpc-timeout"].to_str().unwrap().strip_suffix('m').unwrap();
        tokio::time::sleep(Duration::from_millis(told.parse().unwrap())).await;
        let head = Response::builder()
            .header("content-type", "application/grpc")
            .header("grpc-status", "4");
        let _ = respond.send_response(head.body(()).unwrap(), true);
    })
    .await;
    let route = judged(backend.target(), RouteProtocol::Grpc);
    let mut ark = ark_for(&route).await;
    for answer in over_http2(&ark, "grpc-timeout", ["1m", "20m"]).await {
        assert_eq!(answer.fields["grpc-status"], "4");
    }
    let report = ark.server.until_ended(backend.instance, COUNT).await;
    assert_eq!(report.counters.by_class[4], 0);
    assert_eq!((report.counters.failed, report.counters.cut), (0, 0));
}

#[tokio::test]
async fn of_a_request_that_is_held() {
    let backend = Backend::echo("here").await;
    let mut route = judged(backend.target_in(TargetState::Candidate), RouteProtocol::Http);
    route.limits.hold_ms = 20_000;
    let mut ark = Ark::start().await;
    ark.server.push(std::slice::from_ref(&route)).await;
    let mut client = ark.client().await;
    client.say("GET / HTTP/1.1\r\nHost: a.test\r\nX-Ark-Timeout-Ms: 50\r\n\r\n").await;
    assert_eq!(client.answer().await.status, 504);
    let mut client = H2::connect(ark.http).await;
    let request = Request::get("http://a.test/").header("x-ark-timeout-ms", "50").body(()).unwrap();
    let (response, _) = client.begin(request, true).await;
    assert_eq!(whole(response).await.unwrap().status, 504);
    let counters = ark.server.until_route("both", |c| c.client_gone == 2).await;
    assert_eq!((counters.failed, counters.by_class), (0, [0; 5]));
}

/// The route's own time still counts against the app.
#[tokio::test]
async fn the_routes_time_is_the_apps() {
    let backend = slow().await;
    let mut route = judged(backend.target(), RouteProtocol::Http);
    route.limits.response_header_ms = 100;
    let mut ark = ark_for(&route).await;
    let mut client = ark.client().await;
    for fields in ["", "X-Ark-Timeout-Ms: 60000\r\n"] {
        client.say(&format!("GET / HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n")).await;
        assert_eq!(client.answer().await.status, 504);
    }
    let report = ark.server.until_ended(backend.instance, 2).await;
    assert_eq!(ends(&report.counters), (0, 2, 0, 0));
}
