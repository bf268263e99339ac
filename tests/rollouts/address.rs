//! Addresses of processes, which are ports of this machine that anyone may take.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::harness::{ENV, Raw, Sample, eventually, kill, words};
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
