//! Load over AWS's API: HTTP/1.1 with connections kept, every request signed.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ark_engine::fake::{Behaviour, FakeEngine};
use ark_model::api::Role;
use ark_server::api;
use ark_server::auth::{AllowedHosts, SignedRequest, new_access_key, sign};
use ark_server::observations::Observations;
use ark_server::state::{ServerState, Settings};
use ark_store::{Blobs, Keyring, StoreError};
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::handle::{open, runtime};

const WORKERS: usize = 100;
const STARTERS: usize = 32;
const REGION: &str = "us-east-1";
/// The longest answer that is read.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Who calls whom.
#[derive(Debug, Clone)]
struct Target {
    address: SocketAddr,
    key: String,
    secret: String,
}

/// A server on a directory, until its standard input ends. Prints its address and an access key.
pub(crate) fn serve(dir: &Path) {
    runtime().block_on(async {
        let (store, workflows) = open(dir).await;
        let (blobs, keyring) =
            (Blobs::open(dir).expect("blobs"), Keyring::open(dir).expect("a key"));
        let now = Timestamp::now();
        let (secret, record) =
            new_access_key(&keyring, "bench", Role::Admin, "bench", now).expect("randomness");
        let key = record.aws.as_ref().map(|aws| aws.access_key_id.clone()).expect("a pair");
        let inserted: Result<(), StoreError> =
            store.write(move |tx| tx.insert_token(&record)).await;
        inserted.expect("a key");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let settings = Settings {
            data_dir: dir.to_owned(),
            api: address,
            version: "bench".into(),
            started_at: now,
            allowed_hosts: AllowedHosts::default(),
        };
        let engine = FakeEngine::new(Arc::new(Timestamp::now), Arc::new(|_| Behaviour::default()));
        let state = ServerState::new(
            store,
            blobs,
            keyring,
            Arc::new(engine),
            Arc::new(Observations::default()),
            workflows.clone(),
            settings,
        );
        tokio::spawn(async move { workflows.run().await });
        tokio::spawn(api::serve(listener, Arc::new(state)));
        println!("{address} {key} {}", secret.expose());
        let ended = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
        let _ = ended.await;
    });
    // What still polls need not be waited for.
    std::process::exit(0);
}

/// One connection. Opened anew when the server closed it.
struct Connection {
    target: Target,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
}

impl Connection {
    fn new(target: &Target) -> Self {
        Self { target: target.clone(), stream: None, buffer: Vec::new() }
    }

    fn request(&self, operation: &str, body: &str) -> String {
        let mut headers = HeaderMap::new();
        let mut set = |name: &'static str, value: &str| {
            headers.insert(name, HeaderValue::from_str(value).expect("a header"));
        };
        let at = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
        set("host", &self.target.address.to_string());
        set("x-amz-date", &at);
        set("x-amz-target", &format!("AWSStepFunctions.{operation}"));
        set("content-type", "application/x-amz-json-1.0");
        let request = SignedRequest {
            method: "POST",
            path: "/",
            query: "",
            headers: &headers,
            body: body.as_bytes(),
        };
        let signed = sign(request, &self.target.key, &self.target.secret, REGION, "states");
        let mut text = String::from("POST / HTTP/1.1\r\n");
        for (name, value) in &headers {
            text.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap_or_default()));
        }
        text.push_str(&format!(
            "authorization: {}\r\ncontent-length: {}\r\n\r\n{body}",
            signed.expect("a signature"),
            body.len()
        ));
        text
    }

    /// One call; its status and answer.
    async fn call(&mut self, operation: &str, body: &Value) -> (u16, Value) {
        let request = self.request(operation, &body.to_string());
        for _ in 0..3 {
            if self.stream.is_none() {
                let stream = TcpStream::connect(self.target.address).await.expect("a server");
                stream.set_nodelay(true).expect("no delay");
                self.stream = Some(stream);
            }
            match self.exchange(&request).await {
                Some(answer) => return answer,
                None => self.stream = None,
            }
        }
        panic!("{operation} is not answered");
    }

    async fn exchange(&mut self, request: &str) -> Option<(u16, Value)> {
        let stream = self.stream.as_mut()?;
        stream.write_all(request.as_bytes()).await.ok()?;
        self.buffer.clear();
        loop {
            if stream.read_buf(&mut self.buffer).await.ok()? == 0
                || self.buffer.len() > ANSWER_BYTES_MAX
            {
                return None;
            }
            let Some(end) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
            let head = String::from_utf8_lossy(&self.buffer[..end]).to_ascii_lowercase();
            let got = &self.buffer[end + 4..];
            let length = head.lines().find_map(|l| l.strip_prefix("content-length:"));
            let body = match length {
                Some(length) => got.get(..length.trim().parse().ok()?).map(<[u8]>::to_vec),
                None if head.contains("transfer-encoding: chunked") => joined(got),
                None => return None,
            };
            let Some(body) = body else { continue };
            let status = head.split_whitespace().nth(1)?.parse().ok()?;
            if head.contains("connection: close") {
                self.stream = None;
            }
            return Some((status, serde_json::from_slice(&body).unwrap_or_default()));
        }
    }

    /// A call that must succeed.
    async fn must(&mut self, operation: &str, body: Value) -> Value {
        let (status, answer) = self.call(operation, &body).await;
        assert_eq!(status, 200, "{operation}: {answer}");
        answer
    }
}

/// The bytes of chunks; nothing as long as the last one is not there.
fn joined(mut chunks: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = chunks.windows(2).position(|w| w == b"\r\n")?;
        let length = usize::from_str_radix(std::str::from_utf8(&chunks[..line]).ok()?, 16).ok()?;
        let end = line + 2 + length;
        body.extend_from_slice(chunks.get(line + 2..end)?);
        if chunks.get(end..end + 2)? == b"\r\n" && length == 0 {
            return Some(body);
        }
        chunks = &chunks[end + 2..];
    }
}

/// Machines and the activity on a server of that API.
struct Made {
    five: String,
    one: String,
    three: String,
    activity: String,
}

async fn make(target: &Target) -> Made {
    let mut c = Connection::new(target);
    let made = c.must("CreateActivity", json!({"name": "a"})).await;
    let activity = made["activityArn"].as_str().expect("an ARN").to_owned();
    let choice = |next: &str| {
        json!({"Type": "Choice", "Default": next,
            "Choices": [{"Variable": "$.n", "NumericLessThan": 0, "Next": next}]})
    };
    let five = json!({"StartAt": "A", "States": {
        "A": {"Type": "Pass", "Next": "B"}, "B": choice("C"),
        "C": {"Type": "Pass", "Next": "D"}, "D": choice("E"), "E": {"Type": "Pass", "End": true}}});
    let then = |next: &str| json!({"Type": "Task", "Resource": activity, "Next": next});
    let last = json!({"Type": "Task", "Resource": activity, "End": true});
    let one = json!({"StartAt": "T", "States": {"T": last}});
    let three = json!({"StartAt": "T", "States": {"T": then("U"), "U": then("V"), "V": last}});
    let mut arns = Vec::new();
    for (name, definition) in [("five", five), ("one", one), ("three", three)] {
        let made = c
            .must(
                "CreateStateMachine",
                json!({"name": name, "definition": definition.to_string(),
                    "roleArn": "arn:aws:iam::000000000000:role/r"}),
            )
            .await;
        arns.push(made["stateMachineArn"].as_str().expect("an ARN").to_owned());
    }
    let [five, one, three] = <[String; 3]>::try_from(arns).expect("three machines");
    Made { five, one, three, activity }
}

/// Seconds of CPU that a process used, and its resident MB.
fn usage(pid: Option<u32>) -> (f64, u64) {
    let Some(pid) = pid else { return (0.0, 0) };
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let field = |n: usize| after.split_whitespace().nth(n).and_then(|t| t.parse::<f64>().ok());
    let cpu = (field(11).unwrap_or(0.0) + field(12).unwrap_or(0.0)) / 100.0;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let rss = status
        .lines()
        .find_map(|l| l.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse::<u64>().ok());
    (cpu, rss.unwrap_or(0) / 1_024)
}

/// What a run of executions came to.
struct Run<'a> {
    what: &'a str,
    time: Duration,
    machine: &'a str,
    activity: &'a str,
    /// Activities of one execution; 0: nobody works.
    tasks: u64,
    /// Starts a second; none: as many as go.
    rate: Option<f64>,
    pid: Option<u32>,
}

impl Run<'_> {
    async fn go(&self, target: &Target) -> f64 {
        let (begun, (cpu, _)) = (Instant::now(), usage(self.pid));
        let done = Arc::new(AtomicBool::new(false));
        let (started, answered) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let mut workers = JoinSet::new();
        for _ in 0..if self.tasks > 0 { WORKERS } else { 0 } {
            let (activity, done, answered) =
                (self.activity.to_owned(), done.clone(), answered.clone());
            let mut c = Connection::new(target);
            workers.spawn(async move {
                let mut ends = Vec::new();
                while !done.load(Ordering::Relaxed) {
                    let polled = c.must("GetActivityTask", json!({"activityArn": activity}));
                    // A poll that waits when all is done is cut off.
                    let task = tokio::select! {
                        task = polled => task,
                        () = async { while !done.load(Ordering::Relaxed) {
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        } } => break,
                    };
                    let (Some(token), Some(input)) =
                        (task["taskToken"].as_str(), task["input"].as_str())
                    else {
                        continue;
                    };
                    let answer = json!({"taskToken": token, "output": input});
                    c.must("SendTaskSuccess", answer).await;
                    let at = serde_json::from_str::<Value>(input).unwrap_or_default();
                    let at = u128::from(at["at"].as_u64().unwrap_or(0));
                    ends.push((at, begun.elapsed().as_micros().saturating_sub(at)));
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                ends
            });
        }
        // Not every server makes names up.
        let run = Timestamp::now().as_millisecond();
        let mut starters = JoinSet::new();
        for _ in 0..STARTERS {
            let (started, answered) = (started.clone(), answered.clone());
            let (machine, rate, time, tasks) =
                (self.machine.to_owned(), self.rate, self.time, self.tasks);
            let mut c = Connection::new(target);
            starters.spawn(async move {
                let mut starts = Vec::new();
                while begun.elapsed() < time {
                    let n = started.fetch_add(1, Ordering::Relaxed);
                    if let Some(rate) = rate {
                        #[allow(clippy::cast_precision_loss, reason = "a plan of seconds")]
                        let due = begun + Duration::from_secs_f64(n as f64 / rate);
                        tokio::time::sleep_until(due.into()).await;
                    }
                    while tasks > 0
                        && n > answered.load(Ordering::Relaxed) / tasks + 500
                        && begun.elapsed() < time
                    {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    let at = begun.elapsed();
                    let micros = u64::try_from(at.as_micros()).unwrap_or(0);
                    let input = json!({"n": n, "at": micros}).to_string();
                    let start = json!({"stateMachineArn": machine, "input": input,
                        "name": format!("{run}-{n}")});
                    c.must("StartExecution", start).await;
                    starts.push((u128::from(micros), (begun.elapsed() - at).as_micros()));
                }
                starts
            });
        }
        let starts: Vec<(u128, u128)> = starters.join_all().await.into_iter().flatten().collect();
        let all = starts.len() as u64;
        let until = Instant::now() + Duration::from_secs(60);
        while self.tasks > 0
            && answered.load(Ordering::Relaxed) < all * self.tasks
            && Instant::now() < until
        {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let took = begun.elapsed().as_secs_f64();
        let (after, resident) = usage(self.pid);
        done.store(true, Ordering::Relaxed);
        let ends: Vec<(u128, u128)> = workers.join_all().await.into_iter().flatten().collect();
        let mut latencies: Vec<u128> = if self.tasks > 0 {
            let mut longest = std::collections::HashMap::new();
            for (at, took) in ends {
                let entry: &mut u128 = longest.entry(at).or_default();
                *entry = took.max(*entry);
            }
            longest.into_values().collect()
        } else {
            starts.into_iter().map(|(_, took)| took).collect()
        };
        latencies.sort_unstable();
        let at = |share: usize| {
            #[allow(clippy::cast_precision_loss, reason = "milliseconds for people")]
            latencies.get(latencies.len() * share / 100).map_or(0.0, |us| *us as f64 / 1_000.0)
        };
        #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
        let (rate, each) = (all as f64 / took, (after - cpu) * 1_000.0 / all.max(1) as f64);
        println!(
            "{}, {}: {rate:.0} executions/s, {each:.2} ms server CPU each, p50 {:.1} ms, p99 {:.1} ms, {resident} MB resident",
            self.what,
            self.rate.map_or("all that go".to_owned(), |r| format!("{r:.0} started a second")),
            at(50),
            at(99),
        );
        rate
    }
}

async fn loads(target: &Target, pid: Option<u32>, time: Duration) {
    let made = make(target).await;
    let kinds = [
        ("five Pass/Choice states", &made.five, 0),
        ("one activity, 100 workers", &made.one, 1),
        ("three activities, 100 workers", &made.three, 3),
    ];
    for (what, machine, tasks) in kinds {
        let activity = &made.activity;
        let run = Run { what, time, machine, activity, tasks, rate: None, pid };
        let most = run.go(target).await;
        Run { rate: Some(most / 2.0), ..run }.go(target).await;
    }
}

/// The load on a server of its own.
pub(crate) fn run(time: Duration) {
    let dir = tempfile::tempdir().expect("a directory");
    runtime().block_on(async {
        let (store, workflows) = open(dir.path()).await;
        drop((store, workflows));
    });
    let exe = std::env::current_exe().expect("this program");
    let mut child: Child = Command::new(exe)
        .arg("serve")
        .arg(dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a server");
    let mut line = String::new();
    let stdout = child.stdout.take().expect("its output");
    BufReader::new(stdout).read_line(&mut line).expect("its address");
    let words: Vec<&str> = line.split_whitespace().collect();
    let [address, key, secret] = words[..] else { panic!("not an address: {line}") };
    let target = Target {
        address: address.parse().expect("an address"),
        key: key.to_owned(),
        secret: secret.to_owned(),
    };
    runtime().block_on(loads(&target, Some(child.id()), time));
    drop(child.stdin.take());
    child.wait().expect("the server's end");
}

/// The load on any server: `127.0.0.1:5000`, with `PID=n` in the environment to count its CPU.
pub(crate) fn load(address: &str, time: Duration) {
    let address = address.trim_start_matches("http://").parse().expect("an address");
    let target = Target { address, key: "AKIAIOSFODNN7EXAMPLE".into(), secret: "x".repeat(40) };
    let pid = std::env::var("PID").ok().and_then(|pid| pid.parse().ok());
    runtime().block_on(loads(&target, pid, time));
}
