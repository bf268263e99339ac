//! `kill -9` of the server again and again while workflows run: what was acknowledged is there
//! afterwards, each piece of work was done once, and everything ends (workflows.md, failure mode 2).
//!
//! The workers count what they do by the task's token, as the documentation asks of a worker that
//! must not repeat an effect. `ARK_CRASHES=50` kills more often than ten times; `ARK_CRASH_LOAD=400`
//! keeps 400 executions open with 100 workers, which is all that the server can do, and kills it in
//! the middle of that. `ARK_CRASH_SEED=n` chooses other moments.

#![allow(clippy::print_stdout, reason = "the run reports what it counted")]

#[path = "workflows/client.rs"]
#[allow(dead_code, reason = "each suite uses a part of it")]
mod client;
mod harness;
#[path = "workflows/crash_load.rs"]
mod load;

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use client::Client;
use futures::StreamExt as _;
use harness::Ark;
use load::{Ledger, Load, Made, OVER, Wire};
use serde_json::{Value, json};

/// Tasks of one execution: before, three items, after.
const TASKS: usize = 5;
/// Items of one execution.
const ITEMS: usize = 3;
/// The longest time between the load's return and the next kill.
const KILL_WITHIN_MS: u64 = 1_500;
/// One kill in so many comes while the server before it is being made up for.
const EARLY_EACH: u64 = 5;
/// Executions that are looked at at once when all is over.
const JUDGES: usize = 16;

/// What the run is to be.
#[derive(Debug, Clone, Copy)]
struct Plan {
    kills: u64,
    load: Load,
    seed: u64,
}

impl Plan {
    fn asked_for() -> Self {
        let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
        let load = match number("ARK_CRASH_LOAD") {
            Some(open) => Load { open, workers: (open / 4).clamp(8, 100), starters: 16 },
            None => Load { open: 15, workers: 8, starters: 2 },
        };
        Self {
            kills: number("ARK_CRASHES").unwrap_or(10),
            load,
            seed: number("ARK_CRASH_SEED").unwrap_or(1),
        }
    }
}

/// The moments of the kills (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (x ^ (x >> 31)) % n
    }
}

/// What a kill cut off.
#[derive(Debug, Clone, Copy)]
struct Kill {
    /// Executions under way.
    open: u64,
    /// Starts and results that were sent and not answered.
    calls: u64,
    early: bool,
}

/// A task, three items (in child executions if `distributed`), a second of rest, a task.
fn definition(activity: &str, distributed: bool) -> Value {
    let task = |step: &str, more: Value| {
        let mut task = json!({
            "Type": "Task", "Resource": activity, "ResultPath": format!("$.{step}"),
            "Parameters": { "name.$": "$.name", "step": step },
        });
        for (key, value) in more.as_object().expect("fields") {
            task[key] = value.clone();
        }
        task
    };
    let mut item = task("item", json!({ "End": true }));
    item["Parameters"] = json!({ "name.$": "$.name", "step.$": "$.item" });
    item.as_object_mut().expect("a state").remove("ResultPath");
    let mut processor = json!({ "StartAt": "Item", "States": { "Item": item } });
    if distributed {
        let mode = json!({ "Mode": "DISTRIBUTED", "ExecutionType": "STANDARD" });
        processor["ProcessorConfig"] = mode;
    }
    json!({ "StartAt": "Before", "States": {
        "Before": task("before", json!({ "Next": "Each" })),
        "Each": {
            "Type": "Map", "ItemsPath": "$.items", "ResultPath": "$.each", "Next": "Rest",
            "ItemSelector": { "name.$": "$.name", "item.$": "$$.Map.Item.Value" },
            "ItemProcessor": processor,
        },
        "Rest": { "Type": "Wait", "Seconds": 1, "Next": "After" },
        "After": task("after", json!({ "End": true })),
    } })
}

/// The effects an execution's output holds.
fn effects_of(output: &Value) -> Vec<u64> {
    let each = output["each"].as_array().cloned().unwrap_or_default();
    let all = [&output["before"], &output["after"]].into_iter().chain(&each);
    all.filter_map(Value::as_u64).collect()
}

async fn make(client: &Client) -> Made {
    let activity = client.good("CreateActivity", json!({ "name": "work" })).await;
    let activity = activity["activityArn"].as_str().expect("an ARN").to_owned();
    let machine = async |name: &str, distributed: bool| {
        let machine = json!({
            "name": name, "roleArn": "arn:aws:iam::000000000000:role/any",
            "definition": definition(&activity, distributed).to_string(),
        });
        let made = client.good("CreateStateMachine", machine).await;
        made["stateMachineArn"].as_str().expect("an ARN").to_owned()
    };
    let (inline, distributed) = (machine("m", false).await, machine("d", true).await);
    Made { inline, distributed, activity }
}

#[tokio::test(flavor = "multi_thread")]
async fn work_goes_on_once_over_a_server_killed_again_and_again() {
    let plan = Plan::asked_for();
    let mut ark = Ark::up();
    let client = Client::of(&ark, "deployer");
    let made = make(&client).await;
    let wire = Wire::new(client);
    let begun = Instant::now();
    let mut tasks = Vec::new();
    for n in 0..plan.load.workers {
        let (wire, activity) = (wire.clone(), made.activity.clone());
        let pause = Duration::from_millis(n % 8 * 7);
        tasks.push(tokio::spawn(async move { wire.work(&activity, pause).await }));
    }
    let mut starters = Vec::new();
    for _ in 0..plan.load.starters {
        let (wire, made) = (wire.clone(), made.clone());
        starters.push(tokio::spawn(async move { wire.start_all(&made, plan.load.open).await }));
    }
    let kills = kill_often(&mut ark, &wire, &plan).await;
    wire.enough.store(true, Ordering::Relaxed);
    for starter in starters {
        starter.await.expect("a starter");
    }
    wait_for_the_end(&wire, &made).await;
    let took = begun.elapsed();
    wire.over.store(true, Ordering::Relaxed);
    for task in &tasks {
        task.abort();
    }
    for task in tasks {
        // A panic of a worker is a failure of the test; that it was ended is not.
        assert!(task.await.err().is_none_or(|error| error.is_cancelled()));
    }
    judge(&wire, &made).await;
    report(&wire, &plan, &kills, took);
}

/// Kills the server at chance moments, most of them once everything is under way again.
async fn kill_often(ark: &mut Ark, wire: &Wire, plan: &Plan) -> Vec<Kill> {
    let mut dice = Dice(plan.seed);
    let mut kills = Vec::new();
    for _ in 0..plan.kills {
        let early = dice.below(EARLY_EACH) == 0;
        if !early {
            under_load(wire, &plan.load).await;
        }
        tokio::time::sleep(Duration::from_millis(dice.below(KILL_WITHIN_MS))).await;
        let under_way = &wire.under_way;
        let calls = || {
            let (starts, results) = (&under_way.starts, &under_way.results);
            starts.load(Ordering::Relaxed) + results.load(Ordering::Relaxed)
        };
        kills.push(Kill { open: wire.open(), calls: calls(), early });
        tokio::task::block_in_place(|| {
            ark.kill_server();
            ark.start_server();
        });
        wire.client.lock().unwrap().base = format!("http://{}", ark.api);
    }
    kills
}

/// Waits until as many executions are open as there may be, and results are acknowledged again.
async fn under_load(wire: &Wire, load: &Load) {
    let acknowledged = || wire.ledger.lock().unwrap().acknowledged.len() as u64;
    let (before, until) = (acknowledged(), Instant::now() + OVER);
    while wire.open() < load.open * 9 / 10 || acknowledged() < before + load.workers {
        assert!(Instant::now() < until, "the load never came back: {} open", wire.open());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn wait_for_the_end(wire: &Wire, made: &Made) {
    let until = Instant::now() + OVER;
    loop {
        let mut open = 0;
        for machine in [&made.inline, &made.distributed] {
            let list = json!({ "stateMachineArn": machine, "statusFilter": "RUNNING" });
            let list = wire.insist("ListExecutions", &list).await.expect("a list");
            open += list["executions"].as_array().map_or(0, Vec::len);
        }
        if open == 0 {
            return;
        }
        assert!(Instant::now() < until, "{open} executions never ended");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// All executions of a machine or of a map run, each once.
async fn listed(wire: &Wire, of: &str, arn: &str) -> BTreeSet<String> {
    let mut listed = BTreeSet::new();
    let mut list = json!({ of: arn, "maxResults": 100 });
    loop {
        let page = wire.insist("ListExecutions", &list).await.expect("a list");
        for execution in page["executions"].as_array().expect("a list") {
            let arn = execution["executionArn"].as_str().expect("an ARN");
            assert!(listed.insert(arn.to_owned()), "listed twice: {arn}");
        }
        match page.get("nextToken") {
            Some(token) => list["nextToken"] = token.clone(),
            None => return listed,
        }
    }
}

/// Looks at everything there is against what was acknowledged.
async fn judge(wire: &Wire, made: &Made) {
    look_for_wrong_answers(wire);
    let started = wire.ledger.lock().unwrap().started.clone();
    let mut all = listed(wire, "stateMachineArn", &made.inline).await;
    all.extend(listed(wire, "stateMachineArn", &made.distributed).await);
    let acknowledged: BTreeSet<String> = started.keys().cloned().collect();
    assert_eq!(all, acknowledged, "what was acknowledged is what there is");
    let looks = started.iter().map(|(arn, input)| effects_in(wire, arn, input));
    let looks = futures::stream::iter(looks).buffer_unordered(JUDGES);
    let mut seen = BTreeSet::new();
    for effect in looks.collect::<Vec<_>>().await.into_iter().flatten() {
        assert!(seen.insert(effect), "effect {effect} counts twice");
    }
    look_for_wrong_answers(wire);
    // Every effect is in an output, and every piece of work was one effect.
    let ledger = wire.ledger.lock().unwrap();
    assert_eq!(seen.len(), ledger.effects.len(), "effects that count nowhere");
    assert_eq!(ledger.work.len(), ledger.effects.len(), "work done under two tokens");
    assert_eq!(ledger.effects.len(), started.len() * TASKS);
    let twice = ledger.acknowledged.values().filter(|times| **times > 1).count();
    assert_eq!(twice, 0, "results acknowledged twice");
    assert_eq!(ledger.wrongly_refused, Vec::<String>::new());
}

/// A server that lives may refuse, or say that it is not there; nothing else was tried again.
fn look_for_wrong_answers(wire: &Wire) {
    assert_eq!(wire.ledger.lock().unwrap().wrongly_answered, Vec::<String>::new());
}

/// Looks at one execution; answers the effects that are in its output.
async fn effects_in(wire: &Wire, arn: &str, input: &Value) -> Vec<u64> {
    let describe = json!({ "executionArn": arn });
    let view = wire.insist("DescribeExecution", &describe).await.expect("it is there");
    assert_eq!(view["status"], "SUCCEEDED", "{view}");
    let text = |key: &str| -> Value {
        serde_json::from_str(view[key].as_str().expect(key)).expect("JSON")
    };
    assert_eq!(text("input"), *input);
    let effects = effects_of(&text("output"));
    assert_eq!(effects.len(), TASKS, "{view}");
    let runs = wire.insist("ListMapRuns", &describe).await.expect("a list");
    let runs = runs["mapRuns"].as_array().expect("a list").clone();
    let mut tasks = TASKS;
    if let [run] = &runs[..] {
        tasks -= ITEMS;
        let run = run["mapRunArn"].as_str().expect("an ARN");
        let children = listed(wire, "mapRunArn", run).await;
        assert_eq!(children.len(), ITEMS, "{run}: {children:?}");
        for child in &children {
            look_at_history(wire, child, 1).await;
        }
    } else {
        assert_eq!(runs, Vec::<Value>::new(), "{arn}");
    }
    look_at_history(wire, arn, tasks).await;
    effects
}

/// A history has no gap, and each of its tasks was scheduled, begun and ended once.
async fn look_at_history(wire: &Wire, arn: &str, tasks: usize) {
    let page = json!({ "executionArn": arn, "maxResults": 1_000 });
    let history = wire.insist("GetExecutionHistory", &page).await.expect("a history");
    let events = history["events"].as_array().expect("a list");
    let ids = events.iter().map(|event| event["id"].as_u64());
    assert!(ids.eq((1..=events.len() as u64).map(Some)), "a gap: {history}");
    for kind in ["ActivityScheduled", "ActivityStarted", "ActivitySucceeded"] {
        let count = events.iter().filter(|event| event["type"] == kind).count();
        assert_eq!(count, tasks, "{kind}: {history}");
    }
    let last = events.last().map(|event| &event["type"]);
    assert_eq!(last, Some(&json!("ExecutionSucceeded")), "{history}");
}

fn report(wire: &Wire, plan: &Plan, kills: &[Kill], took: Duration) {
    let ledger = wire.ledger.lock().unwrap();
    let Ledger { started, effects, in_doubt, starts_in_doubt, handed_again, .. } = &*ledger;
    let late = || kills.iter().filter(|kill| !kill.early);
    let spread = |of: &dyn Fn(&Kill) -> u64| {
        let mut all: Vec<u64> = late().map(of).collect();
        all.sort_unstable();
        let at = |share: usize| all.get((all.len() * share / 100).min(all.len().saturating_sub(1)));
        let at = |share| at(share).copied().unwrap_or(0);
        format!("{} to {}, median {}", at(0), at(100), at(50))
    };
    println!(
        "{} kills in {:.0} s (seed {}): {} executions acknowledged and ended, one in {} with a Map \
         Run of {ITEMS}; {} effects, each once and under one token; {starts_in_doubt} starts and {} \
         results in doubt when the server died, {} tasks handed out again under their token",
        kills.len(),
        took.as_secs_f64(),
        plan.seed,
        started.len(),
        load::DISTRIBUTED_EACH,
        effects.len(),
        in_doubt.len(),
        handed_again.len()
    );
    println!(
        "{} kills under load: {} executions open, {} calls unanswered; {} kills while the load came \
         back",
        late().count(),
        spread(&|kill| kill.open),
        spread(&|kill| kill.calls),
        kills.len() - late().count()
    );
}
