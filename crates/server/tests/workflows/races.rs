//! Whoever comes first ends a task, and every other is told so.

use ark_model::workflow::{ExecutionStatus, MachineType};
use ark_server::workflows::{Refusal, WorkflowError};
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::fixture::{Fixture, one_task};

/// What may end a task that has been handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Succeed,
    Fail,
    Stop,
    TimeOut,
}

const ENDS: [End; 4] = [End::Succeed, End::Fail, End::Stop, End::TimeOut];

/// All orders of the four.
fn orders() -> Vec<[End; 4]> {
    let mut orders = Vec::new();
    for a in ENDS {
        for b in ENDS {
            for c in ENDS {
                for d in ENDS {
                    let order = [a, b, c, d];
                    if ENDS.iter().all(|end| order.contains(end)) {
                        orders.push(order);
                    }
                }
            }
        }
    }
    orders
}

/// A machine of one task that is given up after five seconds, by what is said of it.
fn given_up(activity: &str, by: &str) -> Value {
    match by {
        "machine" => {
            let mut machine = one_task(activity, json!({}));
            machine["TimeoutSeconds"] = json!(5);
            machine
        }
        field => one_task(activity, json!({ field: 5 })),
    }
}

/// 5. In each order, against each kind of timeout.
#[tokio::test]
async fn what_comes_first_counts_and_the_others_are_told() {
    assert_eq!(orders().len(), 24);
    let f = Fixture::new().await;
    let activity = f.activity("a").await;
    for by in ["TimeoutSeconds", "HeartbeatSeconds", "machine"] {
        let machine = f.machine(by, given_up(&activity, by)).await;
        for order in orders() {
            let arn = f.start(&machine, json!({})).await;
            let (token, _) = f.take(&activity).await.unwrap();
            f.clock.advance(SignedDuration::from_secs(5));
            for (place, end) in order.into_iter().enumerate() {
                let told = match end {
                    End::Succeed => f.wf.task_succeeded(&token, "{}".into()).await,
                    End::Fail => f.wf.task_failed(&token, Some("E".into()), None).await,
                    End::Stop => f.wf.stop_execution(&arn, None, None).await.map(drop),
                    End::TimeOut => {
                        f.settle().await;
                        Ok(())
                    }
                };
                let late = place > 0 && matches!(end, End::Succeed | End::Fail);
                let expected = late.then_some(Refusal::TaskTimedOut);
                let refusal = told.err().and_then(|refused: WorkflowError| refused.refusal());
                assert_eq!(refusal, expected, "{by}: {end:?} of {order:?}");
            }
            let beat = f.wf.task_heartbeat(&token).await.unwrap_err();
            assert_eq!(beat.refusal(), Some(Refusal::TaskTimedOut), "{by}: {order:?}");
            let (status, error) = match (order[0], by) {
                (End::Succeed, _) => (ExecutionStatus::Succeeded, None),
                (End::Fail, _) => (ExecutionStatus::Failed, Some("E")),
                (End::Stop, _) => (ExecutionStatus::Aborted, None),
                (End::TimeOut, "machine") => (ExecutionStatus::TimedOut, Some("States.Timeout")),
                (End::TimeOut, "HeartbeatSeconds") => {
                    (ExecutionStatus::Failed, Some("States.HeartbeatTimeout"))
                }
                (End::TimeOut, _) => (ExecutionStatus::Failed, Some("States.Timeout")),
            };
            let view = f.view(&arn).await;
            assert_eq!((view.status, view.error.as_deref()), (status, error), "{by}: {order:?}");
            let ends = f.types(&arn).await;
            let ends = ends
                .iter()
                .filter(|name| name.starts_with("Execution") && **name != "ExecutionStarted");
            assert_eq!(ends.count(), 1, "{by}: {order:?}");
        }
    }
}

/// 5. Of an Express execution that has ended nothing is kept.
#[tokio::test]
async fn a_task_of_what_is_not_kept_does_not_exist() {
    let f = Fixture::new().await;
    let activity = f.activity("a").await;
    let task = one_task(&activity, json!({"TimeoutSeconds": 10}));
    let machine = f.machine_of(MachineType::Express, "m", task).await;
    f.start(&machine, json!({})).await;
    let (token, _) = f.take(&activity).await.unwrap();
    f.seconds(11).await;
    let refusals = [
        f.wf.task_succeeded(&token, "{}".into()).await.unwrap_err().refusal(),
        f.wf.task_failed(&token, None, None).await.unwrap_err().refusal(),
        f.wf.task_heartbeat(&token).await.unwrap_err().refusal(),
    ];
    assert_eq!(refusals, [Some(Refusal::TaskDoesNotExist); 3]);
}
