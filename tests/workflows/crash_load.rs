//! The load under which the server is killed: starters that keep so many executions open, workers
//! that count what they do by the task's token, and the ledger of what they were told.
//!
//! Knows the server only by AWS's API, and takes nothing for done that was not acknowledged.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Answer, Client};

/// How long everything may take to be answered, or to end.
pub(crate) const OVER: Duration = Duration::from_secs(300);
/// One in so many executions has its items in child executions.
pub(crate) const DISTRIBUTED_EACH: u64 = 4;

/// How much is under way at a time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// Executions that starters keep open.
    pub(crate) open: u64,
    pub(crate) workers: u64,
    pub(crate) starters: u64,
}

/// The machines that are started, by how they do their items, and what their workers poll.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    pub(crate) inline: String,
    pub(crate) distributed: String,
    pub(crate) activity: String,
}

/// What the outside knows.
#[derive(Default)]
pub(crate) struct Ledger {
    /// Executions whose start was acknowledged, and their inputs.
    pub(crate) started: BTreeMap<String, Value>,
    /// Executions whose last result is settled, by name.
    pub(crate) finished: BTreeSet<String>,
    /// The number of the effect done under each token.
    pub(crate) effects: HashMap<String, u64>,
    /// The work each effect was: execution and step, from the task's input.
    pub(crate) work: HashMap<String, Vec<String>>,
    /// How often each token's result was acknowledged.
    pub(crate) acknowledged: HashMap<String, u32>,
    /// Results that were sent while the server died: whether they counted is not known.
    pub(crate) in_doubt: BTreeSet<String>,
    /// Starts that were sent while the server died.
    pub(crate) starts_in_doubt: u64,
    /// Results refused although none was in doubt and nobody else had the task.
    pub(crate) wrongly_refused: Vec<String>,
    /// Answers that a server gave although it lived, and must not give.
    pub(crate) wrongly_answered: Vec<String>,
    /// Tokens that were handed out more than once.
    pub(crate) handed_again: BTreeSet<String>,
}

/// What is under way in this moment.
#[derive(Debug, Default)]
pub(crate) struct UnderWay {
    pub(crate) starts: AtomicU64,
    pub(crate) results: AtomicU64,
}

/// What a call that was answered came to.
#[derive(Debug, PartialEq)]
enum Came {
    Answer(Answer),
    /// The server goes down or comes up: who asks again gets an answer.
    Down,
    /// What no death excuses.
    Wrong(String),
}

impl Came {
    fn of(status: u16, text: &str) -> Self {
        if status == 503 {
            return Self::Down;
        }
        let answer = serde_json::from_str::<Value>(text);
        match (status, answer) {
            (200, Ok(answer)) => Self::Answer(Ok(answer)),
            (400..=499, Ok(answer)) => {
                let text = |key: &str| answer[key].as_str().unwrap_or_default().to_owned();
                Self::Answer(Err((text("__type"), text("message"))))
            }
            (_, Ok(_) | Err(_)) => Self::Wrong(format!("{status} {text}")),
        }
    }
}

#[test]
fn only_a_server_that_is_gone_is_excused() {
    let refused = r#"{"__type":"TaskTimedOut","message":"late"}"#;
    let broken = r#"{"__type":"InternalFailure"}"#;
    let refusal = || Err(("TaskTimedOut".to_owned(), "late".to_owned()));
    let wrong = |text: &str| Came::Wrong(text.to_owned());
    for (status, text, came) in [
        (200, "{}", Came::Answer(Ok(json!({})))),
        (400, refused, Came::Answer(refusal())),
        (503, refused, Came::Down),
        (503, "", Came::Down),
        (500, broken, wrong(&format!("500 {broken}"))),
        (504, "", wrong("504 ")),
        (200, "{", wrong("200 {")),
        (400, "", wrong("400 ")),
    ] {
        assert_eq!(Came::of(status, text), came, "{status} {text}");
    }
}

/// The server at whatever address it has now.
#[derive(Clone)]
pub(crate) struct Wire {
    pub(crate) client: Arc<Mutex<Client>>,
    pub(crate) ledger: Arc<Mutex<Ledger>>,
    pub(crate) under_way: Arc<UnderWay>,
    /// Executions that somebody set out to start.
    pub(crate) begun: Arc<AtomicU64>,
    /// No further starts.
    pub(crate) enough: Arc<AtomicBool>,
    /// Nothing any more.
    pub(crate) over: Arc<AtomicBool>,
}

impl Wire {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client: Arc::new(Mutex::new(client)),
            ledger: Arc::default(),
            under_way: Arc::default(),
            begun: Arc::default(),
            enough: Arc::default(),
            over: Arc::default(),
        }
    }

    /// Executions under way, as starters and workers know it.
    pub(crate) fn open(&self) -> u64 {
        let finished = self.ledger.lock().unwrap().finished.len() as u64;
        self.begun.load(Ordering::Relaxed).saturating_sub(finished)
    }

    /// One operation; `None` when the server died over it or is not up, and for what no live server
    /// may answer, which is written down.
    pub(crate) async fn attempt(&self, operation: &str, input: &Value) -> Option<Answer> {
        let client = self.client.lock().unwrap().clone();
        let came = match client.attempt(operation, &input.to_string(), &client.secret).await {
            Ok((status, text)) => Came::of(status, &text),
            // A connection to a server that was killed breaks at once.
            Err(error) if error.is_timeout() => Came::Wrong("no answer in time".to_owned()),
            Err(_) => Came::Down,
        };
        match came {
            Came::Answer(answer) => Some(answer),
            Came::Down => None,
            Came::Wrong(what) => {
                self.ledger.lock().unwrap().wrongly_answered.push(format!("{operation}: {what}"));
                None
            }
        }
    }

    /// One operation, until a server answers it.
    pub(crate) async fn insist(&self, operation: &str, input: &Value) -> Answer {
        let until = Instant::now() + OVER;
        loop {
            if let Some(answer) = self.attempt(operation, input).await {
                return answer;
            }
            assert!(Instant::now() < until, "no server answers {operation}");
            self.pause().await;
        }
    }

    /// Between two attempts. The more there are, the longer: they share the machine with the server.
    async fn pause(&self) {
        tokio::time::sleep(Duration::from_millis(30 + self.open() / 4)).await;
    }

    pub(crate) async fn work(&self, activity: &str, pause: Duration) {
        while !self.over.load(Ordering::Relaxed) {
            let poll = json!({ "activityArn": activity, "workerName": "w" });
            let Some(Ok(task)) = self.attempt("GetActivityTask", &poll).await else {
                self.pause().await;
                continue;
            };
            let Some(token) = task["taskToken"].as_str() else { continue };
            let input = task["input"].as_str().expect("an input").to_owned();
            let effect = self.effect(token, &input);
            tokio::time::sleep(pause).await;
            self.answer(token, effect).await;
            let input: Value = serde_json::from_str(&input).expect("JSON");
            if input["step"] == "after" {
                let name = input["name"].as_str().expect("a name").to_owned();
                self.ledger.lock().unwrap().finished.insert(name);
            }
        }
    }

    /// Does the work, unless it was done under this token.
    fn effect(&self, token: &str, input: &str) -> u64 {
        let mut ledger = self.ledger.lock().unwrap();
        if let Some(done) = ledger.effects.get(token).copied() {
            ledger.handed_again.insert(token.to_owned());
            return done;
        }
        let number = ledger.effects.len() as u64;
        ledger.effects.insert(token.to_owned(), number);
        ledger.work.entry(input.to_owned()).or_default().push(token.to_owned());
        number
    }

    async fn answer(&self, token: &str, effect: u64) {
        let input = json!({ "taskToken": token, "output": effect.to_string() });
        loop {
            self.under_way.results.fetch_add(1, Ordering::Relaxed);
            let answer = self.attempt("SendTaskSuccess", &input).await;
            self.under_way.results.fetch_sub(1, Ordering::Relaxed);
            if self.note(token, answer) {
                return;
            }
            self.pause().await;
        }
    }

    /// Writes down what became of a result; answers whether it is settled.
    fn note(&self, token: &str, answer: Option<Answer>) -> bool {
        let mut ledger = self.ledger.lock().unwrap();
        match answer {
            None => {
                ledger.in_doubt.insert(token.to_owned());
                return false;
            }
            Some(Ok(_)) => *ledger.acknowledged.entry(token.to_owned()).or_default() += 1,
            Some(Err((name, text))) => {
                // Of two workers that hold it, the other may have been first.
                let known = ledger.in_doubt.contains(token) || ledger.handed_again.contains(token);
                if !known {
                    ledger.wrongly_refused.push(format!("{name}: {text}"));
                }
            }
        }
        true
    }

    /// Starts one execution after the other, as long as fewer than `open` are under way.
    pub(crate) async fn start_all(&self, made: &Made, open: u64) {
        while !self.enough.load(Ordering::Relaxed) {
            if self.open() >= open {
                tokio::time::sleep(Duration::from_millis(5)).await;
                continue;
            }
            let n = self.begun.fetch_add(1, Ordering::Relaxed);
            let distributed = n.is_multiple_of(DISTRIBUTED_EACH);
            let machine = if distributed { &made.distributed } else { &made.inline };
            let name = format!("e{n}");
            let input = json!({ "name": name, "items": [1, 2, 3] });
            let start = json!({
                "stateMachineArn": machine, "name": name, "input": input.to_string(),
            });
            let until = Instant::now() + OVER;
            let answer = loop {
                self.under_way.starts.fetch_add(1, Ordering::Relaxed);
                let answer = self.attempt("StartExecution", &start).await;
                self.under_way.starts.fetch_sub(1, Ordering::Relaxed);
                match answer {
                    Some(answer) => break answer,
                    None => self.ledger.lock().unwrap().starts_in_doubt += 1,
                }
                assert!(Instant::now() < until, "no server starts {name}");
                self.pause().await;
            };
            let arn = match answer {
                Ok(started) => started["executionArn"].as_str().expect("an ARN").to_owned(),
                // An earlier attempt counted, and it has ended by now.
                Err((error, _)) if error == "ExecutionAlreadyExists" => {
                    format!("{}:{name}", machine.replace(":stateMachine:", ":execution:"))
                }
                Err(error) => panic!("{name}: {error:?}"),
            };
            self.ledger.lock().unwrap().started.insert(arn, input);
        }
    }
}
