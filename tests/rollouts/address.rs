//! Addresses of processes, which are ports of this machine that anyone may take.

use std::io::Write;
use std::time::{Duration, Instant};

use ark_load::{Driver, Load};

use crate::harness::{Ark, ENV, Raw, Sample, eventually, kill, state, words};
use crate::shared;

#[test]
fn t45_a_reused_address_never_receives_the_apps_requests() {
    let ark = shared();
    let (output, _) = ark.deploy("t45", &Sample::version(1).count(1));
    assert!(output.status.success(), "{}", words(&output));
    let row = || {
        let output = ark.run(&["ps", "t45", "-e", ENV, "--json"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let all = text.lines().filter_map(|l| serde_json::from_str::<serde_json::Value>(l).ok());
        all.into_iter().find(|i| i["pid"].as_i64().is_some())
    };
    let before = row().expect("an instance");
    let address: std::net::SocketAddr =
        before["address"].as_str().and_then(|a| a.parse().ok()).expect("an address");
    kill(before["pid"].as_i64().and_then(|p| i32::try_from(p).ok()).expect("a pid"));
    // A stranger takes the address as soon as it is free, and answers everything with 200.
    std::thread::spawn(move || {
        let until = Instant::now() + Duration::from_secs(20);
        let listener = loop {
            match std::net::TcpListener::bind(address) {
                Ok(listener) => break listener,
                Err(_) if Instant::now() < until => std::thread::sleep(Duration::from_millis(2)),
                Err(_) => return,
            }
        };
        listener.set_nonblocking(true).expect("non-blocking");
        while Instant::now() < until {
            if let Ok((mut stream, _)) = listener.accept() {
                let answer = "HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nstranger";
                let _ = stream.write_all(answer.as_bytes());
            } else {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    });
    // Until the death is noticed and the table without it is in force, nobody can tell them apart.
    let elsewhere = || row().is_none_or(|now| now["address"] != before["address"]);
    eventually("the death is noticed", elsewhere);
    std::thread::sleep(Duration::from_secs(1));
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        let mut raw = Raw::open(&ark, "t45");
        raw.send("GET /version HTTP/1.1\r\nhost: HOST\r\nconnection: close\r\n\r\n");
        let (status, body) = raw.answer();
        assert!(status != 200 || body == "1", "a stranger answered: {status} {body}");
        std::thread::sleep(Duration::from_millis(50));
    }
    eventually("another instance at another address", || {
        row().is_some_and(|now| now["address"] != before["address"] && now["ready"] == true)
    });
}

/// Who has a port without listening on it is seen by nobody before the port is wanted.
#[test]
fn t31_a_port_that_is_taken_is_another_ports_turn() {
    let ark = Ark::up();
    let address = |row: &serde_json::Value| -> Option<std::net::SocketAddr> {
        row["address"].as_str().and_then(|address| address.parse().ok())
    };
    let rows = || -> Vec<serde_json::Value> {
        let output = ark.run(&["ps", "t31", "-e", ENV, "--json"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().filter_map(|l| serde_json::from_str(l).ok()).collect()
    };
    let (output, _) = ark.deploy("t31", &Sample::version(1).count(1));
    assert!(output.status.success(), "{}", words(&output));
    // Ports are given one after the other: these are the next that no other test has.
    let first = rows().iter().find_map(address).expect("an address");
    let taken: Vec<tokio::net::TcpSocket> = (1..=50)
        .filter_map(|n| {
            let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
            socket.bind((first.ip(), first.port() + n).into()).ok().map(|()| socket)
        })
        .take(3)
        .collect();
    assert!(!taken.is_empty(), "all ports after {first} are somebody's");
    let load = Load::builder(ark.http, &ark.host("t31"))
        .rate(60.0)
        .mix([(Driver::NewConnection, 1)])
        .strict()
        .start()
        .expect("load");
    let (output, d) = ark.deploy("t31", &Sample::version(2).count(1));
    let report = load.stop_blocking();
    assert!(output.status.success(), "{}", words(&output));
    assert_eq!(state(&d), "succeeded", "{d}");
    assert_eq!(report.failed(), 0, "{:#?}", report.failures);
    let failures = d["failures"].as_array().expect("failures");
    assert_eq!(failures.len(), taken.len(), "each of them was met once: {d}");
    for socket in &taken {
        let port = socket.local_addr().expect("an address").port();
        let met = |f: &serde_json::Value| f["kind"] == "port_taken" && f["port"] == port;
        assert!(failures.iter().any(met), "{port} was not met: {d}");
    }
    let id = d["id"].as_str().expect("an id");
    let events = ark.get(&format!("/v1/events?deployment={id}&limit=200")).unwrap_or_default();
    assert!(events.to_string().contains("is taken by another process"), "{events}");
}
