//! What garbage collection leaves alone, and that it holds up nobody.

use std::time::Duration;

use ark_model::api::Role;
use ark_model::hook::{HookRun, HookState, HookWhat};
use ark_model::instance::{EngineState, Exit, InstanceState, ObservedInstance};
use ark_model::run::{Attempt, AttemptEnd, RunCause, RunOutcome, RunRecord, RunState};
use ark_model::{DeploymentState, InstanceId, ReleaseNumber, RunId};
use jiff::Timestamp;
use reqwest::Method;
use serde_json::json;

use crate::fixture::{LAUNCH, Server, deploy_body, manifest, web};

fn attempt(instance: InstanceId, end: Option<AttemptEnd>) -> Attempt {
    Attempt {
        instance,
        created_at: Timestamp::now(),
        started_at: None,
        held: None,
        stopping_at: None,
        ended_at: None,
        end,
    }
}

fn run(number: u64, state: RunState, attempts: Vec<Attempt>) -> RunRecord {
    RunRecord {
        id: RunId(uuid::Uuid::now_v7()),
        env: "production".parse().expect("a name"),
        app: web(),
        number,
        release: ReleaseNumber(1),
        cause: RunCause::Asked { by: "ana".into() },
        args: Vec::new(),
        retries: 3,
        timeout: Duration::from_secs(60),
        alone: false,
        state,
        attempts,
        start_after: None,
        stop: None,
        created_at: Timestamp::now(),
        ended_at: (state == RunState::Ended).then(Timestamp::now),
        outcome: (state == RunState::Ended).then_some(RunOutcome::Succeeded),
    }
}

/// How a run or a hook ended is read off its instance, after it has ended.
#[tokio::test]
async fn instances_of_runs_and_hooks_stay_until_their_end_is_on_record() {
    let server = Server::start().await;
    server.deploy("production", LAUNCH).await.expect(202);
    let d = server.finish("production", DeploymentState::Replacing).await;
    let of_instance = server.instance("production", InstanceState::Active).await;
    let fresh = || InstanceId(uuid::Uuid::now_v7());
    let (of_run, of_attempt_before, of_run_over) = (fresh(), fresh(), fresh());
    let (of_hook, of_hook_over, of_nobody) = (fresh(), fresh(), fresh());
    let hook = |instance, state| HookRun {
        name: "pre_deploy".into(),
        stage: ark_model::definition::HookStage::PreDeploy,
        what: HookWhat::Command { command: vec!["./migrate".into()] },
        timeout_ms: 60_000,
        state,
        attempts: 1,
        instance: Some(instance),
        seen: true,
        begun_at: None,
        ask_at: None,
        stopping_at: None,
        ended_at: None,
        note: None,
        log: Vec::new(),
    };
    let hooks = vec![hook(of_hook_over, HookState::Succeeded), hook(of_hook, HookState::Running)];
    server
        .write(move |tx| {
            let mut d = tx.deployment(d.id)?.expect("the deployment");
            d.hooks = hooks;
            tx.put_deployment(&d, d.state)?;
            let lost = attempt(of_attempt_before, Some(AttemptEnd::Lost));
            let goes_on = run(1, RunState::Running, vec![lost.clone()]);
            tx.insert_run(&goes_on)?;
            tx.put_run(&goes_on)?;
            let attempts = vec![lost, attempt(of_run, None)];
            tx.put_run(&RunRecord { attempts, ..goes_on })?;
            let exit = Exit {
                began: None,
                code: Some(0),
                signal: None,
                out_of_memory: false,
                requested: false,
                at: Timestamp::now(),
            };
            let end = Some(AttemptEnd::Exited { exit });
            let over = run(2, RunState::Ended, vec![attempt(of_run_over, end)]);
            tx.insert_run(&over)?;
            tx.put_run(&over)
        })
        .await;
    let all =
        [of_instance, of_run, of_attempt_before, of_run_over, of_hook, of_hook_over, of_nobody];
    *server.engine.instances.lock().expect("no panic") = all
        .iter()
        .map(|id| ObservedInstance {
            id: *id,
            env: "production".parse().expect("a name"),
            app: web(),
            release: ReleaseNumber(1),
            state: EngineState::Exited {
                exit: Exit {
                    began: None,
                    code: Some(0),
                    signal: None,
                    out_of_memory: false,
                    requested: false,
                    at: Timestamp::now(),
                },
            },
        })
        .collect();
    server.post("/v1/gc", &json!({})).await.expect(200);
    assert_eq!(server.engine.kept(), [of_instance, of_run, of_hook].into());
}

/// The release of a run that goes on is kept, however many came after it.
#[tokio::test]
async fn the_release_of_a_run_is_kept() {
    let server = Server::start().await;
    for version in 1..=53 {
        let launch = format!("{LAUNCH}team: t{version}\n");
        server.deploy("production", &launch).await.expect(202);
        server.finish("production", DeploymentState::Succeeded).await;
    }
    server.write(|tx| tx.insert_run(&run(1, RunState::Waiting, Vec::new()))).await;
    server.post("/v1/gc", &json!({})).await.expect(200);
    let kept = |number| {
        let env = "production".parse().expect("a name");
        server.state.store.read::<_, ark_store::StoreError, _>(move |tx| {
            Ok(tx.release(&env, &web(), ReleaseNumber(number))?.is_some())
        })
    };
    for (number, expected) in [(1, true), (2, false), (3, false), (4, true)] {
        assert_eq!(kept(number).await.expect("a read"), expected, "release {number}");
    }
}

/// A build goes on for as long as it likes; nobody waits for it.
#[tokio::test]
async fn a_build_holds_up_neither_gc_nor_deployments() {
    let server = Server::start().await;
    let content = b"FROM scratch";
    let (mut context, sha256) = manifest(content);
    context.entries[0].path = "Dockerfile".into();
    server.post("/v1/artifacts", &json!({ "manifest": context })).await.expect(200);
    let path = format!("/v1/blobs/{sha256}");
    let sent = server.request(Role::Admin, Method::PUT, &path).body(content.to_vec());
    assert_eq!(server.send(sent).await.status, 201);
    let asked = json!({ "context": context.digest(), "image": "web:1" });
    let build = server.request(Role::Admin, Method::POST, "/v1/builds").json(&asked);
    let mut build = build.send().await.expect("an answer");
    assert_eq!(build.status(), 200);
    let begun = build.chunk().await.expect("a line").expect("a line");
    assert!(String::from_utf8_lossy(&begun).contains("it begins"));

    server.post("/v1/gc", &json!({})).await.expect(200);
    let offer = json!({ "manifest": manifest(b"another").0 });
    server.post("/v1/artifacts", &offer).await.expect(200);
    let path = "/v1/environments/production/apps/web/deployments";
    server.post(path, &deploy_body(LAUNCH)).await.expect(202);

    server.engine.builds_end.send_replace(true);
    let rest = build.text().await.expect("the rest");
    assert!(rest.contains("built") && rest.contains("sha256:1"), "{rest}");
}
