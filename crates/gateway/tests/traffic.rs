//! Traffic rules: splits, copies, limits, ejection, retries, maintenance.

#[path = "support/h2.rs"]
mod h2_support;
mod support;

use std::time::{Duration, Instant};

use ark_model::gateway::TargetReport;
use ark_model::ids::ReleaseNumber;
use ark_model::route::{Probe, ProbeCheck, Route, RouteLimits, RouteProtocol, Target, TargetState};
use ark_model::traffic::{
    Adaptive, Maintenance, Mirror, RateLimit, RequestPart, RequestRule, RetryBudget, Split, Sticky,
};
use h2_support::{H2, H2Backend, whole};
use support::{Answer, Ark, Backend, Client, ends, route};
use tokio::io::AsyncWriteExt;

fn of_release(backend: &Backend, release: u64) -> Target {
    Target { release: ReleaseNumber(release), ..backend.target() }
}

fn split(percent: u8) -> Split {
    Split { canary: ReleaseNumber(2), percent, sticky: None, header: vec![], mirror: None }
}

/// A gateway with one stable backend and one of the canary.
async fn split_in_two(old: &Backend, new: &Backend, split: Split) -> (Ark, Route) {
    let mut ark = Ark::start().await;
    let mut route = route(vec![of_release(old, 1), of_release(new, 2)]);
    route.split = Some(split);
    ark.server.push(std::slice::from_ref(&route)).await;
    ark.server.until_ready(&[old.instance, new.instance]).await;
    (ark, route)
}

async fn get(client: &mut Client, fields: &str) -> Answer {
    client.say(&format!("GET / HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n")).await;
    client.answer().await
}

#[tokio::test]
async fn a_split_is_exact_whatever_the_number_of_instances() {
    let (old, new) = (Backend::echo("old").await, Backend::echo("new").await);
    let more = Backend::echo("old").await;
    let (mut ark, mut route) = split_in_two(&old, &new, split(5)).await;
    route.targets.push(of_release(&more, 1));
    for percent in [5, 25, 50, 100, 0] {
        route.split = Some(split(percent));
        ark.server.push(std::slice::from_ref(&route)).await;
        ark.server.until_ready(&[more.instance]).await;
        // One connection is served by one thread.
        let mut client = ark.client().await;
        let before = new.requests();
        for _ in 0..200 {
            assert_eq!(client.get("/").await.status, 200);
        }
        let expected = 2 * usize::from(percent);
        let found = new.requests() - before;
        // The first of two hundreds may have been begun under the percent before.
        assert!(found.abs_diff(expected) <= 50, "{found} of 200 at {percent} %");
        if percent == 5 || percent % 100 == 0 {
            assert_eq!(found, expected, "{percent} %");
        }
    }
}

#[tokio::test]
async fn one_user_sees_one_side_and_stays_on_the_canary_while_it_grows() {
    let (old, new) = (Backend::echo("old").await, Backend::echo("new").await);
    let sticky = Some(Sticky { cookie: "ark_side".to_owned(), ttl_s: 3600 });
    let growing = |percent| Split { sticky: sticky.clone(), ..split(percent) };
    let (mut ark, mut route) = split_in_two(&old, &new, growing(20)).await;
    let mut client = ark.client().await;
    let mut users = Vec::new();
    for _ in 0..100 {
        let answer = client.get("/").await;
        let cookie = answer.field("set-cookie").expect("a new user gets a cookie").to_owned();
        assert!(cookie.ends_with("; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax"), "{cookie}");
        users.push((cookie.split(';').next().unwrap().to_owned(), answer.body));
    }
    assert_eq!(users.iter().filter(|(_, side)| side == "new").count(), 20);
    for percent in [20, 50, 100] {
        route.split = Some(growing(percent));
        ark.server.push(std::slice::from_ref(&route)).await;
        for (cookie, side) in &mut users {
            let answer = get(&mut client, &format!("Cookie: a=b; {cookie}\r\n")).await;
            assert_eq!(answer.field("set-cookie"), None);
            assert!(answer.body == *side || (side == "old" && percent > 20));
            *side = answer.body;
        }
    }
    assert!(users.iter().all(|(_, side)| side == "new"));
}

#[tokio::test]
async fn rules_lead_to_the_canary_and_nothing_else_does_at_0_percent() {
    let (old, mut new) = (Backend::echo("old").await, Backend::echo("new").await);
    let rule = |part, name: &str| RequestRule {
        part,
        name: name.to_owned(),
        value: Some("yes".to_owned()),
    };
    let header = vec![rule(RequestPart::Header, "x-canary"), rule(RequestPart::Cookie, "canary")];
    let (mut ark, _) = split_in_two(&old, &new, Split { header, ..split(0) }).await;
    let mut client = ark.client().await;
    for (fields, expected) in [
        ("", "old"),
        ("X-Canary: yes\r\n", "new"),
        ("X-Canary: no\r\n", "old"),
        ("Cookie: canary=yes\r\n", "new"),
    ] {
        assert_eq!(get(&mut client, fields).await.body, expected, "{fields:?}");
    }
    // A request that asks for a canary that is gone is served all the same.
    new.kill().await;
    ark.server
        .until_target(new.instance, "unready", |t| !t.readiness.as_ref().unwrap().ready)
        .await;
    assert_eq!(get(&mut client, "X-Canary: yes\r\n").await.body, "old");
}

#[tokio::test]
async fn copies_go_to_the_canary_and_are_counted_apart() {
    let old = Backend::echo("old").await;
    // The canary never answers: no original may notice.
    let new = Backend::start(|mut peer| async move {
        let _ = peer.head().await;
        peer.until_closed().await;
    })
    .await;
    let mirror = Some(Mirror { percent: 100, unsafe_methods: false, in_flight_max: 4 });
    let (mut ark, _) = split_in_two(&old, &new, Split { mirror, ..split(0) }).await;
    let mut client = ark.client().await;
    client.say("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\n\r\nx").await;
    assert_eq!(client.answer().await.body, "old");
    for _ in 0..10 {
        assert_eq!(client.get("/x?y").await.body, "old");
    }
    let report =
        ark.server.until_target(new.instance, "4 copies", |t| t.counters.mirrored == 4).await;
    assert_eq!(ends(&report.counters), (0, 0, 0, 0));
    assert_eq!((report.in_flight, new.requests()), (0, 4), "beyond the limit none is made");
    let head = new.heads.lock().unwrap()[0].clone();
    assert!(head.starts_with("GET /x?y HTTP/1.1\r\nConnection: close\r\nX-Ark-Mirror: 1\r\n"));
    assert_eq!(ark.server.until_ended(old.instance, 11).await.counters.served, 11);
}

#[tokio::test]
async fn copies_are_made_of_requests_over_http2_too() {
    // A client of HTTP/2 and targets of HTTP/1.1.
    let (old, new) = (Backend::echo("old").await, Backend::echo("new").await);
    let mirror = Some(Mirror { percent: 100, unsafe_methods: true, in_flight_max: 4 });
    let rules = Split { mirror, ..split(0) };
    let (mut ark, _) = split_in_two(&old, &new, rules.clone()).await;
    let mut client = H2::connect(ark.http).await;
    assert_eq!(client.get("/x?y").await.text(), "old");
    ark.server.until_target(new.instance, "a copy", |t| t.counters.mirrored == 1).await;
    until(|| new.requests() == 1).await;
    let head = new.heads.lock().unwrap()[0].clone();
    assert!(head.starts_with("GET /x?y HTTP/1.1\r\nConnection: close\r\nX-Ark-Mirror: 1\r\n"));

    // Targets of HTTP/2, and clients of both.
    let (old, new) = (H2Backend::echo().await, H2Backend::echo().await);
    let of = |backend: &H2Backend, release| Target {
        release: ReleaseNumber(release),
        ..backend.target()
    };
    let mut ark = Ark::start().await;
    let mut route = route(vec![of(&old, 1), of(&new, 2)]);
    route.protocol = RouteProtocol::H2c;
    route.split = Some(rules);
    ark.server.push(&[route]).await;
    ark.server.until_ready(&[old.instance, new.instance]).await;
    let mut client = H2::connect(ark.http).await;
    assert_eq!(client.get("/x?y").await.status, 200);
    assert_eq!(ark.client().await.get("/z").await.status, 200);
    // A body is streamed, so there is nothing to copy.
    let post = http::Request::post("http://a.test/").body(()).unwrap();
    let (response, mut body) = client.begin(post, false).await;
    body.send_data("x".into(), true).unwrap();
    assert_eq!(whole(response).await.unwrap().text(), "x");
    until(|| new.seen.lock().unwrap().len() == 2).await;
    let seen = new.seen.lock().unwrap().clone();
    let mut paths: Vec<&str> = seen.iter().map(|parts| parts.uri.path()).collect();
    paths.sort_unstable();
    assert_eq!(paths, ["/x", "/z"]);
    assert!(seen.iter().all(|parts| parts.headers["x-ark-mirror"] == "1"));
    let report = ark.server.until_target(new.instance, "copies", |t| t.counters.mirrored == 2);
    assert_eq!(ends(&report.await.counters), (0, 0, 0, 0));
    assert_eq!(ark.server.until_ended(old.instance, 3).await.counters.served, 3);
}

#[tokio::test]
async fn copies_over_http2_are_read_to_their_end_however_long_the_answer_is() {
    let old = H2Backend::echo().await;
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let new = H2Backend::start(move |_, _, mut respond| {
        let tell = tell.clone();
        async move {
            let mut answer = respond.send_response(http::Response::new(()), false).unwrap();
            h2_support::send_all(&mut answer, vec![b'x'; 200 << 10].into(), true).await;
            let _ = tell.send(());
        }
    })
    .await;
    let mirror = Some(Mirror { percent: 100, unsafe_methods: false, in_flight_max: 4 });
    let mut ark = Ark::start().await;
    let of = |backend: &H2Backend, release| Target {
        release: ReleaseNumber(release),
        ..backend.target()
    };
    let mut route = route(vec![of(&old, 1), of(&new, 2)]);
    route.protocol = RouteProtocol::H2c;
    route.split = Some(Split { mirror, ..split(0) });
    ark.server.push(&[route]).await;
    ark.server.until_ready(&[old.instance, new.instance]).await;
    let mut client = H2::connect(ark.http).await;
    for copies in 1..=2 {
        // All of the answer is taken, more than fits into the window of a stream.
        assert_eq!(client.get("/").await.status, 200);
        tokio::time::timeout(support::PATIENCE / 2, told.recv()).await.expect("the copy ends");
        ark.server.until_target(new.instance, "a copy", |t| t.counters.mirrored == copies).await;
    }
}

async fn until(good: impl Fn() -> bool) {
    let began = Instant::now();
    while !good() {
        assert!(began.elapsed() < support::PATIENCE, "it does not come about");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_target_that_breaks_off_is_ejected_and_nobody_notices() {
    let good = Backend::echo("good").await;
    let bad = Backend::start(|mut peer| async move {
        let _ = peer.head().await;
    })
    .await;
    let (mut ark, _) = Ark::with(&[&good, &bad]).await;
    let mut client = ark.client().await;
    for _ in 0..100 {
        assert_eq!(client.get("/").await.body, "good");
    }
    assert_eq!(bad.requests(), 5, "after five failures in a row it is left out");
    let report = ark.server.until_target(bad.instance, "ejection", |t| t.counters.ejections == 1);
    let report = report.await;
    assert_eq!((report.counters.retried, report.counters.failed), (5, 0));
    assert_eq!(report.counters.broken_off, 5, "what it did to them is known");
    assert!(report.readiness.unwrap().ready, "its check still passes");
}

/// Its requests are answered by the other side, where they count as served: the judge must hear of it.
#[tokio::test]
async fn what_a_canary_of_one_breaks_off_is_told_of_it() {
    let old = Backend::echo("old").await;
    let new = Backend::start(|mut peer| async move {
        let _ = peer.head().await;
    })
    .await;
    let (mut ark, _) = split_in_two(&old, &new, split(100)).await;
    let mut client = ark.client().await;
    for _ in 0..10 {
        assert_eq!(client.get("/").await.body, "old");
    }
    let report = ark.server.until_target(new.instance, "ten", |t| t.counters.broken_off == 10);
    assert_eq!(ends(&report.await.counters), (0, 0, 0, 0));
    let report = ark.server.until_ended(old.instance, 10).await;
    assert_eq!((report.counters.served, report.counters.broken_off), (10, 0));
}

#[tokio::test]
async fn only_what_may_be_repeated_is_and_only_within_the_budget() {
    let good = Backend::echo("good").await;
    let bad = Backend::start(|mut peer| async move {
        let _ = peer.head().await;
        peer.say("HTTP/1.1 103 Early Hints\r\n\r\n").await;
    })
    .await;
    let (mut ark, mut route) = Ark::with(&[&bad]).await;
    // Alone: there is nothing to repeat it on. Interim answers were sent back.
    assert_eq!(ark.client().await.get("/").await.status, 103);
    let broken = Backend::start(|mut peer| async move {
        let _ = peer.head().await;
    })
    .await;
    for (method, budget, expected) in [
        ("GET", RetryBudget::default(), 200),
        ("DELETE", RetryBudget::default(), 200),
        ("POST", RetryBudget::default(), 502),
        ("GET", RetryBudget { percent: 0, per_s: 0 }, 502),
    ] {
        // Weight decides that the broken one is asked first.
        route.targets = vec![
            good.target_in(TargetState::Active { weight: 1 }),
            broken.target_in(TargetState::Active { weight: 1_000_000 }),
        ];
        route.limits = RouteLimits { retries: budget, ..RouteLimits::default() };
        ark.server.push(std::slice::from_ref(&route)).await;
        ark.server.until_ready(&[good.instance, broken.instance]).await;
        let mut client = ark.client().await;
        client.say(&format!("{method} / HTTP/1.1\r\nHost: a.test\r\n\r\n")).await;
        assert_eq!(client.answer().await.status, expected, "{method} {budget:?}");
    }
    ark.server
        .until_target(broken.instance, "a refused retry", |t| t.counters.retries_refused == 1)
        .await;
}

#[tokio::test]
async fn more_than_the_limit_is_shed_but_health_checks_and_operators_pass() {
    let slow = Backend::start(|mut peer| async move {
        while let Some(head) = peer.head().await {
            if head.starts_with("GET /slow") {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            peer.answer("done").await;
        }
    })
    .await;
    let (mut ark, mut route) = Ark::with(&[&slow]).await;
    let operators = vec![RequestRule {
        part: RequestPart::Header,
        name: "x-operator".to_owned(),
        value: Some("secret".to_owned()),
    }];
    route.limits = RouteLimits { concurrency_max: 2, operators, ..RouteLimits::default() };
    route.targets[0].probe = Probe {
        check: ProbeCheck::Http { path: "/_health?full".to_owned() },
        ..support::tcp_probe()
    };
    ark.server.push(std::slice::from_ref(&route)).await;
    let (mut one, mut two) = (ark.client().await, ark.client().await);
    one.say("GET /slow HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    two.say("GET /slow HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    ark.server.until_target(slow.instance, "two inside", |t| t.in_flight == 2).await;
    let mut client = ark.client().await;
    let shed = client.get("/").await;
    assert_eq!((shed.status, shed.field("x-ark-error")), (503, Some("overloaded")));
    assert_eq!(shed.field("retry-after"), Some("1"));
    assert_eq!(client.get("/_health").await.status, 200);
    assert_eq!(get(&mut client, "X-Operator: secret\r\n").await.status, 200);
    assert_eq!(get(&mut client, "X-Operator: guess\r\n").await.status, 503);
    assert_eq!((one.answer().await.status, two.answer().await.status), (200, 200));
    assert_eq!(client.get("/").await.status, 200);
    let counted = ark.server.until_route("two shed", |c| c.shed == 2).await;
    assert_eq!(counted.failed, 2);
}

/// What an adaptive limit is nobody can ask: it is seen by how many are let in beside each other.
#[tokio::test]
async fn an_adaptive_limit_follows_what_the_app_bears() {
    let (answer, answered) = tokio::sync::watch::channel(0_usize);
    let app = Backend::start(move |mut peer| {
        let mut answered = answered.clone();
        async move {
            while let Some(head) = peer.head().await {
                let round = head.strip_prefix("GET /held/").and_then(|rest| rest.split_once(' '));
                match round.and_then(|(round, _)| round.parse::<usize>().ok()) {
                    Some(round) => drop(answered.wait_for(|now| *now >= round).await),
                    None => tokio::time::sleep(Duration::from_millis(5)).await,
                }
                peer.answer("done").await;
            }
        }
    })
    .await;
    let (mut ark, mut route) = Ark::with(&[&app]).await;
    let limits = RouteLimits { adaptive: Adaptive::Aimd, ..RouteLimits::default() };
    let hasty = RouteLimits { response_header_ms: 1_000, ..limits.clone() };
    // It begins at twenty, grows by one in a second in which it was needed, and falls by a tenth, to no
    // less than twenty, when answers do not come.
    for (round, limit, limits, status) in
        [(1, 20, &limits, 200), (2, 21, &limits, 200), (3, 22, &hasty, 504), (4, 20, &limits, 200)]
    {
        route.limits = limits.clone();
        ark.server.push(std::slice::from_ref(&route)).await;
        let mut inside = Vec::new();
        for _ in 0..limit {
            let mut client = ark.client().await;
            client.say(&format!("GET /held/{round} HTTP/1.1\r\nHost: a.test\r\n\r\n")).await;
            inside.push(client);
        }
        if status == 200 {
            let all = |t: &TargetReport| t.in_flight == limit;
            ark.server.until_target(app.instance, "all are inside", all).await;
            let shed = ark.client().await.get("/").await;
            assert_eq!((shed.status, shed.field("x-ark-error")), (503, Some("overloaded")));
            answer.send_replace(round);
        }
        for mut client in inside {
            assert_eq!(client.answer().await.status, status, "round {round}");
        }
        // The next answer after a second ends what was measured in it.
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        assert_eq!(ark.client().await.get("/").await.status, 200);
    }
    ark.server.until_route("three shed", |c| c.shed == 3).await;
}

#[tokio::test]
async fn too_many_requests_of_one_client_are_refused() {
    let backend = Backend::echo("here").await;
    let (mut ark, mut route) = Ark::with(&[&backend]).await;
    let rate = Some(RateLimit { per_s: 1, burst: 3 });
    route.limits = RouteLimits { rate_per_client: rate, ..RouteLimits::default() };
    ark.server.push(std::slice::from_ref(&route)).await;
    let mut client = ark.client().await;
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(client.get("/").await.status);
    }
    assert_eq!(statuses, [200, 200, 200, 429, 429]);
    let refused = client.get("/").await;
    assert_eq!(refused.field("x-ark-error"), Some("rate_limited"));
    assert_eq!(refused.field("retry-after"), Some("1"));
    ark.server.until_route("three refused", |c| c.rate_limited == 3).await;
}

#[tokio::test]
async fn under_maintenance_the_gateway_answers_all() {
    let backend = Backend::echo("here").await;
    let (mut ark, mut route) = Ark::with(&[&backend]).await;
    let mut client = ark.client().await;
    for (page, expected, kind) in [
        ("<h1>back at five</h1>", "<h1>back at five</h1>", "text/html; charset=utf-8"),
        (
            "",
            "503 Service Unavailable\nthe app is under maintenance\n",
            "text/plain; charset=utf-8",
        ),
    ] {
        let page = Maintenance { status: 503, retry_after_s: Some(60), page: page.to_owned() };
        route.maintenance = Some(page);
        ark.server.push(std::slice::from_ref(&route)).await;
        let answer = client.get("/").await;
        assert_eq!((answer.status, answer.body.as_str()), (503, expected));
        assert_eq!(answer.field("retry-after"), Some("60"));
        assert_eq!(answer.field("content-type"), Some(kind));
        assert_eq!(answer.field("x-ark-error"), Some("maintenance"));
    }
    route.maintenance = None;
    ark.server.push(std::slice::from_ref(&route)).await;
    assert_eq!(client.get("/").await.body, "here");
}

#[tokio::test]
async fn rules_that_cannot_be_obeyed_are_refused() {
    let backend = Backend::echo("here").await;
    let (mut ark, good) = Ark::with(&[&backend]).await;
    let sticky = |cookie: &str| Some(Sticky { cookie: cookie.to_owned(), ttl_s: 1 });
    type Change = fn(&mut Route);
    let cases: [(&str, Change); 4] = [
        ("percent above 100", |r| r.split = Some(split(101))),
        ("status 200", |r| {
            let (status, retry_after_s) = (200, None);
            r.maintenance = Some(Maintenance { status, retry_after_s, page: String::new() });
        }),
        ("per_s and burst", |r| r.limits.rate = Some(RateLimit { per_s: 0, burst: 1 })),
        ("is not a name", |r| {
            let header = RequestRule { part: RequestPart::Header, name: "a b".into(), value: None };
            r.limits.operators = vec![header];
        }),
    ];
    for (reason, change) in cases {
        let mut bad = good.clone();
        change(&mut bad);
        ark.server.push_refused(&[bad], reason).await;
    }
    let mut bad = good.clone();
    bad.split = Some(Split { sticky: sticky("a;b"), ..split(1) });
    ark.server.push_refused(&[bad], "is not a name").await;
    assert_eq!(ark.client().await.get("/").await.body, "here");
}

#[tokio::test]
async fn the_time_that_is_left_is_told_and_kept() {
    let backend = Backend::start(|mut peer| async move {
        while let Some(head) = peer.head().await {
            if head.starts_with("GET /slow") {
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
            peer.answer("done").await;
        }
    })
    .await;
    let (ark, _) = Ark::with(&[&backend]).await;
    let mut client = ark.client().await;
    for (fields, expected) in [
        ("", "X-Ark-Timeout-Ms: 60000\r\n"),
        ("X-Ark-Timeout-Ms: 90000\r\n", "X-Ark-Timeout-Ms: 60000\r\n"),
        ("X-Ark-Timeout-Ms: soon\r\n", "X-Ark-Timeout-Ms: 60000\r\n"),
    ] {
        assert_eq!(get(&mut client, fields).await.status, 200);
        let head = backend.heads.lock().unwrap().last().unwrap().clone();
        assert!(head.ends_with(&format!("{expected}\r\n")), "{head}");
        assert_eq!(head.to_ascii_lowercase().matches("x-ark-timeout-ms").count(), 1, "{head}");
    }
    let began = Instant::now();
    client.say("GET /slow HTTP/1.1\r\nHost: a.test\r\nX-Ark-Timeout-Ms: 200\r\n\r\n").await;
    let late = client.answer().await;
    assert_eq!((late.status, late.field("x-ark-error")), (504, Some("upstream_timeout")));
    assert!(began.elapsed() < Duration::from_secs(4));
    let head = backend.heads.lock().unwrap().last().unwrap().clone();
    let left = head.split("X-Ark-Timeout-Ms: ").nth(1).unwrap().split('\r').next().unwrap();
    assert!((1..=200).contains(&left.parse::<u64>().unwrap()), "{head}");
}

#[tokio::test]
async fn held_requests_keep_their_order_and_know_when_their_client_left() {
    let mut ark = Ark::start().await;
    let backend = Backend::echo("here").await;
    let mut route = route(vec![backend.target_in(TargetState::Candidate)]);
    route.limits = RouteLimits { hold_ms: 20_000, ..RouteLimits::default() };
    ark.server.push(std::slice::from_ref(&route)).await;
    let mut clients = Vec::new();
    // The gateway has two threads, each with an order of its own; all go through one here.
    for n in 0..10 {
        let mut client = ark.client().await;
        client.say(&format!("GET /{n} HTTP/1.1\r\nHost: a.test\r\n\r\n")).await;
        clients.push(client);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut gone = clients.remove(3);
    gone.stream.shutdown().await.unwrap();
    drop(gone);
    ark.server.until_route("one left", |c| c.client_gone == 1).await;
    route.targets = vec![backend.target()];
    ark.server.push(std::slice::from_ref(&route)).await;
    for client in &mut clients {
        assert_eq!(client.answer().await.body, "here");
    }
    let heads = backend.heads.lock().unwrap().clone();
    let order: Vec<u32> =
        heads.iter().map(|head| head.split(['/', ' ']).nth(2).unwrap().parse().unwrap()).collect();
    assert_eq!(order.len(), 9);
    // What one thread held is in order: two ascending sequences, one per thread.
    let mut lasts = [None, None];
    for n in &order {
        let fits = lasts.iter_mut().filter(|last| last.is_none_or(|last| last < *n)).max();
        *fits.unwrap_or_else(|| panic!("out of order: {order:?}")) = Some(*n);
    }
    assert!(!order.contains(&3), "the one that left");
}
