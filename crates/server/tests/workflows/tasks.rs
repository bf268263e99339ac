//! Handing tasks out and taking answers.

use ark_model::workflow::ExecutionStatus;
use ark_server::workflows::{PageRequest, Refusal, StartExecution};
use ark_server::world::Clock;
use ark_store::TimerRow;
use jiff::SignedDuration;
use serde_json::json;

use crate::fixture::{Fixture, one_task};

#[tokio::test]
async fn a_task_goes_to_a_worker_and_its_output_to_the_execution() {
    let f = Fixture::new().await;
    let activity = f.activity("a").await;
    let machine = f.machine("m", one_task(&activity, json!({}))).await;
    let arn = f.start(&machine, json!({"n": 1})).await;
    let (token, input) = f.take(&activity).await.unwrap();
    assert_eq!(input, json!({"n": 1}));
    f.succeed(&token, json!({"n": 2})).await;
    assert_eq!(f.output(&arn).await, json!({"n": 2}));
    assert_eq!(
        f.types(&arn).await,
        [
            "ExecutionStarted",
            "TaskStateEntered",
            "ActivityScheduled",
            "ActivityStarted",
            "ActivitySucceeded",
            "TaskStateExited",
            "ExecutionSucceeded"
        ]
    );
}

/// 1.
#[tokio::test]
async fn a_task_that_did_not_arrive_is_offered_again_and_ended_once() {
    let f = Fixture::new().await;
    let activity = f.activity("a").await;
    let machine = f.machine("m", one_task(&activity, json!({}))).await;
    let arn = f.start(&machine, json!({})).await;
    let lost = f.poll(&activity).await.unwrap();
    let token = lost.token.clone();
    drop(lost);
    f.settle().await;
    let (again, _) = f.take(&activity).await.expect("offered again");
    assert_eq!(again, token, "the same token: only one of both workers can end it");
    f.succeed(&again, json!("first")).await;
    let second = f.wf.task_succeeded(&token, "\"second\"".into()).await.unwrap_err();
    assert_eq!(second.refusal(), Some(Refusal::TaskTimedOut));
    assert_eq!(f.output(&arn).await, json!("first"));
    let started = f.types(&arn).await.into_iter().filter(|t| *t == "ActivityStarted").count();
    assert_eq!(started, 1);
}

/// 1, with a server that was killed in between.
#[tokio::test]
async fn what_a_killed_server_handed_out_unconfirmed_is_offered_again() {
    let f = Fixture::new().await;
    let activity = f.activity("a").await;
    let machine = f.machine("m", one_task(&activity, json!({}))).await;
    for _ in 0..2 {
        f.start(&machine, json!({})).await;
    }
    let (confirmed, _) = f.take(&activity).await.unwrap();
    f.settle().await;
    let lost = f.poll(&activity).await.unwrap();
    let f = f.restarted().await;
    f.settle().await;
    let (again, _) = f.take(&activity).await.expect("the unconfirmed one");
    assert_eq!(again, lost.token);
    assert!(f.take(&activity).await.is_none(), "the confirmed one stays with its worker");
    f.succeed(&confirmed, json!({})).await;
    f.succeed(&again, json!({})).await;
}

/// 5.
#[tokio::test]
async fn of_a_result_and_a_timeout_exactly_one_counts() {
    let f = Fixture::new().await;
    let activity = f.activity("a").await;
    let machine = f.machine("m", one_task(&activity, json!({"TimeoutSeconds": 10}))).await;
    let arn = f.start(&machine, json!({})).await;
    let (token, _) = f.take(&activity).await.unwrap();
    f.seconds(10).await;
    let late = f.wf.task_succeeded(&token, "{}".into()).await.unwrap_err();
    assert_eq!(late.refusal(), Some(Refusal::TaskTimedOut));
    let view = f.view(&arn).await;
    assert_eq!(view.error.as_deref(), Some("States.Timeout"));

    let arn = f.start(&machine, json!({})).await;
    let (token, _) = f.take(&activity).await.unwrap();
    f.clock.advance(SignedDuration::from_secs(10));
    // The result comes before the driver's round: it counts, and the timer finds nothing.
    f.succeed(&token, json!({})).await;
    f.settle().await;
    assert_eq!(f.status(&arn).await, ExecutionStatus::Succeeded);
}

/// 5.
#[tokio::test]
async fn results_stops_and_timeouts_at_once_have_one_outcome_each() {
    let f = Fixture::new().await;
    let activity = f.activity("a").await;
    let machine = f.machine("m", one_task(&activity, json!({"HeartbeatSeconds": 5}))).await;
    for _ in 0..20 {
        let arn = f.start(&machine, json!({})).await;
        let (token, _) = f.take(&activity).await.unwrap();
        f.clock.advance(SignedDuration::from_secs(5));
        let (ok, failed, stopped, ()) = tokio::join!(
            f.wf.task_succeeded(&token, "{}".into()),
            f.wf.task_failed(&token, Some("E".into()), None),
            f.wf.stop_execution(&arn, None, None),
            f.settle(),
        );
        let status = f.status(&arn).await;
        assert_eq!(ok.is_ok(), status == ExecutionStatus::Succeeded);
        assert!(!(ok.is_ok() && failed.is_ok()), "a task was ended twice");
        assert!(stopped.is_ok());
        let events = f.history(&arn).await;
        let ends = events.iter().filter(|e| {
            let name = e.kind.name();
            name.starts_with("Execution") && name != "ExecutionStarted"
        });
        assert_eq!(ends.count(), 1);
    }
}

/// 6.
#[tokio::test]
async fn results_of_sibling_branches_do_not_overwrite_each_other() {
    let f = Fixture::new().await;
    let activity = f.activity("a").await;
    let branch = |n: i32| {
        json!({"StartAt": format!("B{n}"), "States": {
        format!("B{n}"): {"Type": "Task", "Resource": activity, "Parameters": {"n": n}, "End": true}}})
    };
    let branches: Vec<_> = (0..8).map(branch).collect();
    let machine = json!({"StartAt": "Par", "States": {
        "Par": {"Type": "Parallel", "Branches": branches, "End": true}}});
    let machine = f.machine("m", machine).await;
    let arn = f.start(&machine, json!({})).await;
    let mut answers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (token, input) = f.take(&activity).await.unwrap();
        let wf = f.wf.clone();
        answers.spawn(async move { wf.task_succeeded(&token, input["n"].to_string()).await });
    }
    assert!(answers.join_all().await.iter().all(Result::is_ok));
    assert_eq!(f.output(&arn).await, json!([0, 1, 2, 3, 4, 5, 6, 7]));
    f.history(&arn).await;
}

/// 7.
#[tokio::test]
async fn time_in_the_queue_counts_against_the_timeout() {
    let f = Fixture::new().await;
    let activity = f.activity("a").await;
    let machine = f.machine("m", one_task(&activity, json!({"TimeoutSeconds": 30}))).await;
    let arn = f.start(&machine, json!({})).await;
    f.seconds(31).await;
    assert_eq!(f.status(&arn).await, ExecutionStatus::Failed);
    assert!(f.take(&activity).await.is_none(), "nobody is handed a dead task");
}

/// 13.
#[tokio::test]
async fn heartbeats_keep_each_task_of_many_alive() {
    let f = Fixture::new().await;
    let activity = f.activity("a").await;
    let machine = f.machine("m", one_task(&activity, json!({"HeartbeatSeconds": 10}))).await;
    let mut tasks = Vec::new();
    for n in 0..10 {
        let arn = f.start(&machine, json!({"n": n})).await;
        tasks.push((arn, f.take(&activity).await.unwrap().0));
    }
    for _ in 0..4 {
        f.seconds(8).await;
        for (_, token) in &tasks[..9] {
            f.wf.task_heartbeat(token).await.unwrap();
        }
    }
    let (arn, token) = tasks.pop().unwrap();
    assert_eq!(f.view(&arn).await.error.as_deref(), Some("States.HeartbeatTimeout"));
    let late = f.wf.task_heartbeat(&token).await.unwrap_err();
    assert_eq!(late.refusal(), Some(Refusal::TaskTimedOut));
    for (arn, token) in tasks {
        f.succeed(&token, json!({})).await;
        assert_eq!(f.status(&arn).await, ExecutionStatus::Succeeded);
    }
}

/// 22.
#[tokio::test]
async fn a_poison_task_is_retried_without_holding_anything() {
    let f = Fixture::new().await;
    let activity = f.activity("a").await;
    let retry = json!({"Retry": [{"ErrorEquals": ["States.ALL"], "IntervalSeconds": 1,
        "BackoffRate": 1.0, "MaxAttempts": 99_999_999}]});
    let machine = f.machine("m", one_task(&activity, retry)).await;
    let arn = f.start(&machine, json!({})).await;
    for _ in 0..30 {
        let (token, _) = f.take(&activity).await.expect("tried again");
        f.wf.task_failed(&token, Some("E".into()), None).await.unwrap();
        assert!(f.take(&activity).await.is_none(), "not before its interval");
        f.seconds(1).await;
    }
    assert_eq!(f.status(&arn).await, ExecutionStatus::Running);
}

/// 22. A thousand that fail together come back spread over the interval, and each once.
#[tokio::test]
async fn jitter_spreads_a_thousand_failures() {
    const MANY: usize = 1_000;
    let interval = SignedDuration::from_secs(100);
    for (jitter, spread) in [("FULL", true), ("NONE", false)] {
        let f = Fixture::new().await;
        let activity = f.activity("a").await;
        let retry = json!({"Retry": [{"ErrorEquals": ["States.ALL"], "IntervalSeconds": 100,
            "BackoffRate": 1.0, "MaxAttempts": 99_999_999, "JitterStrategy": jitter}]});
        let machine = f.machine("m", one_task(&activity, retry)).await;
        for _ in 0..MANY {
            f.start(&machine, json!({})).await;
            let (token, _) = f.take(&activity).await.unwrap();
            f.wf.task_failed(&token, Some("E".into()), None).await.unwrap();
        }
        let now = f.clock.now();
        let due = f.store.read(move |tx| tx.due_timers(now + interval, 2 * MANY)).await.unwrap();
        let after = |timer: &TimerRow| timer.due.duration_since(now).as_secs_f64();
        let mut tenths = [0; 10];
        due.iter().for_each(|timer| tenths[((after(timer) / 10.0) as usize).min(9)] += 1);
        let as_wanted = match spread {
            true => tenths.iter().all(|n| (50..=150).contains(n)),
            false => tenths == [0, 0, 0, 0, 0, 0, 0, 0, 0, MANY],
        };
        assert!(as_wanted, "{jitter}: {tenths:?}");
        f.pass(interval).await;
        for _ in 0..MANY {
            f.take(&activity).await.expect("tried again");
        }
        assert!(f.take(&activity).await.is_none(), "each once");
    }
}

/// 23.
#[tokio::test]
async fn a_shutdown_answers_a_thousand_long_polls_empty() {
    let f = Fixture::new().await;
    let activity = f.activity("a").await;
    let deadline = f.clock.now() + SignedDuration::from_secs(60);
    let mut polls = tokio::task::JoinSet::new();
    for _ in 0..1_200 {
        let (wf, activity) = (f.wf.clone(), activity.clone());
        polls.spawn(async move { wf.poll_activity(&activity, None, deadline).await });
    }
    // Those for whom there is no room are refused at once: then a thousand wait.
    for _ in 0..200 {
        let refused = polls.join_next().await.unwrap().unwrap().unwrap_err();
        assert_eq!(refused.refusal(), Some(Refusal::ActivityWorkerLimitExceeded));
    }
    f.wf.close();
    let answers = polls.join_all().await;
    assert_eq!(answers.len(), 1_000);
    for answer in answers {
        assert!(answer.unwrap().is_none());
    }
}

#[tokio::test]
async fn a_waiting_worker_gets_the_task_when_it_comes() {
    let f = Fixture::new().await;
    let activity = f.activity("a").await;
    let machine = f.machine("m", one_task(&activity, json!({}))).await;
    let deadline = f.clock.now() + SignedDuration::from_secs(60);
    let mut polls = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (wf, activity) = (f.wf.clone(), activity.clone());
        polls.spawn(async move {
            let task = wf.poll_activity(&activity, None, deadline).await.unwrap().unwrap();
            let token = task.token.clone();
            task.delivered();
            token
        });
    }
    for _ in 0..50 {
        f.start(&machine, json!({})).await;
    }
    let mut tokens = polls.join_all().await;
    tokens.sort();
    tokens.dedup();
    assert_eq!(tokens.len(), 50, "each worker another task");
}

/// 27.
#[tokio::test]
async fn one_machine_cannot_starve_another_and_priority_goes_first() {
    let f = Fixture::new().await;
    let activity = f.activity("a").await;
    let tag = |name: &str| one_task(&activity, json!({"Parameters": {"from": name}}));
    let greedy = f.machine("greedy", tag("greedy")).await;
    let modest = f.machine("modest", tag("modest")).await;
    for _ in 0..50 {
        f.start(&greedy, json!({})).await;
    }
    for _ in 0..5 {
        f.start(&modest, json!({})).await;
    }
    let mut from = Vec::new();
    for _ in 0..10 {
        from.push(f.take(&activity).await.unwrap().1["from"].clone());
    }
    assert_eq!(from.iter().filter(|m| **m == json!("modest")).count(), 5, "{from:?}");
    let urgent =
        StartExecution { machine_arn: modest.clone(), priority: 1, ..StartExecution::default() };
    f.wf.start_execution(urgent).await.unwrap();
    assert_eq!(f.take(&activity).await.unwrap().1["from"], "modest");
}

#[tokio::test]
async fn a_bare_name_is_the_activity_of_the_namespace() {
    let f = Fixture::new().await;
    let activity = f.activity("prod--resize").await;
    let machine = f.machine("m", one_task("resize", json!({}))).await;
    let start = StartExecution {
        machine_arn: machine.clone(),
        namespace: Some("prod".into()),
        ..StartExecution::default()
    };
    f.wf.start_execution(start).await.unwrap();
    assert!(f.take(&activity).await.is_some());
    let arn = f.start(&machine, json!({})).await;
    let cause = f.view(&arn).await.cause.unwrap();
    assert!(cause.contains("activity:resize does not exist"), "{cause}");
}

#[tokio::test]
async fn a_function_is_served_by_the_activity_of_its_name() {
    let f = Fixture::new().await;
    let activity = f.activity("fn").await;
    let function = "arn:aws:lambda:us-east-1:000000000000:function:fn";
    let plain = f.machine("plain", one_task(function, json!({}))).await;
    let arn = f.start(&plain, json!({"a": 1})).await;
    let (token, input) = f.take(&activity).await.unwrap();
    assert_eq!(input, json!({"a": 1}));
    f.succeed(&token, json!({"b": 2})).await;
    assert_eq!(f.output(&arn).await, json!({"b": 2}));
    assert!(f.types(&arn).await.contains(&"LambdaFunctionSucceeded"));

    let resource = "arn:aws:states:::lambda:invoke";
    let arguments = json!({"Parameters": {"FunctionName": function, "Payload": {"c": 3}}});
    let invoke = f.machine("invoke", one_task(resource, arguments)).await;
    let arn = f.start(&invoke, json!({})).await;
    let (token, input) = f.take(&activity).await.unwrap();
    assert_eq!(input, json!({"c": 3}));
    f.succeed(&token, json!({"d": 4})).await;
    let output = f.output(&arn).await;
    assert_eq!((&output["Payload"], &output["StatusCode"]), (&json!({"d": 4}), &json!(200)));
    let http = &output["SdkHttpMetadata"];
    assert_eq!(http["HttpStatusCode"], 200);
    assert_eq!(http["HttpHeaders"]["Date"], "Thu, 01 Jan 2026 00:00:00 GMT");
    let request = &output["SdkResponseMetadata"]["RequestId"];
    assert_eq!(request.as_str().unwrap().len(), 36);
    assert_eq!(&http["HttpHeaders"]["x-amzn-RequestId"], request);
    assert_eq!(http["AllHttpHeaders"]["x-amzn-RequestId"], json!([request]));

    // A function that is given null, or nothing, gets an empty object.
    let arguments = json!({"Parameters": {"FunctionName": function, "Payload": null}});
    let invoke = f.machine("null", one_task(resource, arguments)).await;
    f.start(&invoke, json!({})).await;
    assert_eq!(f.take(&activity).await.unwrap().1, json!({}));
}

#[tokio::test]
async fn a_callback_ends_with_the_token_that_its_function_was_given() {
    let f = Fixture::new().await;
    let activity = f.activity("fn").await;
    let arguments = json!({"Parameters": {"FunctionName": "fn",
        "Payload": {"token.$": "$$.Task.Token"}}});
    let resource = "arn:aws:states:::lambda:invoke.waitForTaskToken";
    let machine = f.machine("m", one_task(resource, arguments)).await;
    let arn = f.start(&machine, json!({})).await;
    let (call, input) = f.take(&activity).await.unwrap();
    f.succeed(&call, json!({"asked": true})).await;
    assert_eq!(f.status(&arn).await, ExecutionStatus::Running);
    // The call is over: what is said to its token again changes nothing.
    let again = f.wf.task_succeeded(&call, "{}".into()).await.unwrap_err();
    assert_eq!(again.refusal(), Some(Refusal::TaskTimedOut));
    let failed = f.wf.task_failed(&call, Some("E".into()), None).await.unwrap_err();
    assert_eq!(failed.refusal(), Some(Refusal::TaskTimedOut));
    f.succeed(input["token"].as_str().unwrap(), json!({"done": true})).await;
    assert_eq!(f.output(&arn).await, json!({"done": true}));
    let submitted = f.types(&arn).await.iter().filter(|kind| **kind == "TaskSubmitted").count();
    assert_eq!(submitted, 1);
}

/// Nobody would wait for the worker, and the execution might be over before it begins.
#[tokio::test]
async fn a_function_that_is_not_to_be_waited_for_is_refused() {
    let f = Fixture::new().await;
    let activity = f.activity("fn").await;
    let arguments =
        |kind: &str| json!({"Parameters": {"FunctionName": "fn", "InvocationType": kind}});
    let resource = "arn:aws:states:::lambda:invoke";
    let event = f.machine("event", one_task(resource, arguments("Event"))).await;
    let view = f.view(&f.start(&event, json!({})).await).await;
    assert_eq!(view.error.as_deref(), Some("States.Runtime"));
    assert!(view.cause.is_some_and(|cause| cause.contains("InvocationType 'Event'")));
    // One that is only looked for is not called.
    let dry = f.machine("dry", one_task(resource, arguments("DryRun"))).await;
    let output = f.output(&f.start(&dry, json!({})).await).await;
    assert_eq!((&output["StatusCode"], &output["Payload"]), (&json!(204), &json!("")));
    assert!(f.take(&activity).await.is_none());
    let missing = json!({"Parameters": {"FunctionName": "gone", "InvocationType": "DryRun"}});
    let missing = f.machine("missing", one_task(resource, missing)).await;
    let view = f.view(&f.start(&missing, json!({})).await).await;
    assert_eq!(view.error.as_deref(), Some("Lambda.ResourceNotFoundException"));
    let plain = f.machine("plain", one_task(resource, arguments("RequestResponse"))).await;
    f.start(&plain, json!({})).await;
    assert!(f.take(&activity).await.is_some());
    let callback = format!("{resource}.waitForTaskToken");
    let callback = f.machine("callback", one_task(&callback, arguments("Event"))).await;
    f.start(&callback, json!({})).await;
    assert!(f.take(&activity).await.is_some());
    // A function that is named by its ARN gets the whole input, whatever its members are called.
    let arn = "arn:aws:lambda:us-east-1:000000000000:function:fn";
    let named = f.machine("named", one_task(arn, json!({}))).await;
    let payload = json!({"InvocationType": "Event"});
    f.start(&named, payload.clone()).await;
    assert_eq!(f.take(&activity).await.map(|(_, input)| input), Some(payload));
}

#[tokio::test]
async fn tokens_that_nobody_gave_are_refused() {
    let f = Fixture::new().await;
    let activity = f.activity("a").await;
    let machine = f.machine("m", one_task(&activity, json!({}))).await;
    f.start(&machine, json!({})).await;
    let (token, _) = f.take(&activity).await.unwrap();
    let mut forged = token.clone();
    forged.replace_range(30..31, if &token[30..31] == "A" { "B" } else { "A" });
    for (text, refusal) in [
        ("", Refusal::InvalidToken),
        ("nonsense", Refusal::InvalidToken),
        (forged.as_str(), Refusal::InvalidToken),
    ] {
        let refused = f.wf.task_succeeded(text, "{}".into()).await.unwrap_err();
        assert_eq!(refused.refusal(), Some(refusal), "{text}");
    }
    let refused = f.wf.task_succeeded(&token, "no json".into()).await.unwrap_err();
    assert_eq!(refused.refusal(), Some(Refusal::InvalidOutput));
    f.succeed(&token, json!({})).await;
}

/// The share of workers that work is told without any of them reporting it.
#[tokio::test]
async fn the_busy_share_of_an_activity_is_known() {
    let f = Fixture::new().await;
    let activity = f.activity("a").await;
    let load = async || {
        let page = f.wf.activity_loads(PageRequest::default()).await.unwrap();
        let one = page.items.into_iter().next().unwrap();
        (one.ready, one.working, one.waiting, one.active_percent)
    };
    let machine = f.machine("m", one_task(&activity, json!({}))).await;
    assert_eq!(load().await, (0, 0, 0, None));
    f.start(&machine, json!({})).await;
    assert_eq!(load().await, (1, 0, 0, None));
    let (token, _) = f.take(&activity).await.unwrap();
    let until = f.clock.now() + SignedDuration::from_secs(3_600);
    let mut polls: Vec<_> =
        (0..3).map(|_| Box::pin(f.wf.poll_activity(&activity, None, until))).collect();
    // A poll counts once it has looked for a task and found none.
    for _ in 0..200 {
        tokio::task::yield_now().await;
        for poll in &mut polls {
            assert!(futures::poll!(poll.as_mut()).is_pending());
        }
        if load().await.2 == 3 {
            break;
        }
    }
    for _ in 0..60 {
        f.seconds(1).await;
    }
    assert_eq!(load().await, (0, 1, 3, Some(25.0)));
    f.succeed(&token, json!({})).await;
    assert_eq!(load().await.1, 0);
    drop(polls);
    for _ in 0..61 {
        f.seconds(1).await;
    }
    assert_eq!(load().await, (0, 0, 0, None));

    // What did not arrive is nobody's work, and what is stopped no longer.
    let execution = f.start(&machine, json!({})).await;
    let until = f.clock.now() + SignedDuration::from_secs(1);
    let lost = f.wf.poll_activity(&activity, None, until).await.unwrap();
    assert_eq!(load().await.1, 1);
    drop(lost);
    f.seconds(1).await;
    assert_eq!(load().await.1, 0);
    f.take(&activity).await.unwrap();
    assert_eq!(load().await.1, 1);
    f.wf.stop_execution(&execution, None, None).await.unwrap();
    assert_eq!(load().await.1, 0);
}
