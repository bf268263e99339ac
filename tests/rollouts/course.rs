//! The course of deployments: beside each other, broken, and back.

use std::time::Duration;

use ark_load::{Driver, Load};

use crate::broken_of_processes::{OVER, app, code, deploys, rollback};
use crate::harness::{Ark, ENV, Raw, Sample, eventually, state, words};
use crate::shared;

#[test]
fn t14_of_two_deployments_at_once_the_last_issued_wins() {
    let ark = shared();
    deploys(&ark, "t14", &Sample::version(1));
    let second = ark.deploy_detached("t14", &Sample::version(2).variable("START_DELAY_MS", 1_500));
    let third = ark.deploy_detached("t14", &Sample::version(3));
    ark.wait_over(&second, OVER);
    assert_eq!(state(&ark.wait_over(&third, OVER)), "succeeded");
    assert_eq!(app(&ark, "t14")["live"], 3);
}

#[test]
fn t15_a_new_one_in_mid_canary_and_the_abandoned_version_drains() {
    let ark = shared();
    deploys(&ark, "t15", &Sample::version(1));
    let canary = Sample::version(2).deploy("strategy: canary, steps: [{weight: 50}, {pause: {}}]");
    let second = ark.deploy_detached("t15", &canary);
    eventually("the canary has half of the traffic", || {
        ark.deployment(&second).is_some_and(|d| d["rollout"]["asks"]["what"] == "promotion")
    });
    let file = ark.launch("t15", &Sample::version(3));
    let file = file.to_string_lossy();
    let third = ark.json(&["deploy", "t15", "-e", ENV, "--file", &file, "--now", "--json"]);
    assert_eq!(state(&third), "succeeded", "{third}");
    assert_eq!(state(&ark.wait_over(&second, OVER)), "superseded");
    eventually("nothing but two instances of the third", || {
        let output = ark.run(&["ps", "t15", "-e", ENV, "--json"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let all: Vec<serde_json::Value> =
            text.lines().filter_map(|l| serde_json::from_str(l).ok()).collect();
        let alive = all.iter().filter(|i| i["state"] != "stopped");
        alive.clone().count() == 2 && alive.into_iter().all(|i| i["release"] == 3)
    });
}

#[test]
fn t16_abort_racing_promote_and_abort_after_a_full_promote() {
    let ark = shared();
    deploys(&ark, "t16", &Sample::version(1));
    let steps = "strategy: canary, keep_old: 20s, steps: [{weight: 50}, {pause: {}}]";
    let asks = |id: &str| {
        eventually("it asks", || {
            ark.deployment(id).is_some_and(|d| d["rollout"]["asks"]["what"] == "promotion")
        });
    };
    let second = ark.deploy_detached("t16", &Sample::version(2).deploy(steps));
    asks(&second);
    std::thread::scope(|scope| {
        scope.spawn(|| ark.run(&["promote", "t16", "-e", ENV]));
        scope.spawn(|| ark.run(&["abort", "t16", "-e", ENV]));
    });
    let d = ark.wait_over(&second, OVER);
    assert_eq!(state(&d), "rolled_back", "whichever came first, an abort is an abort: {d}");
    assert_eq!(app(&ark, "t16")["live"], 1);
    let third = ark.deploy_detached("t16", &Sample::version(3).deploy(steps));
    asks(&third);
    assert_eq!(code(&ark, &["promote", "t16", "-e", ENV, "--full"]), Some(0));
    eventually("all of the traffic is on it", || {
        ark.deployment(&third).is_some_and(|d| state(&d) == "keeping")
    });
    assert_eq!(code(&ark, &["abort", "t16", "-e", ENV]), Some(0));
    assert_eq!(state(&ark.wait_over(&third, OVER)), "rolled_back");
    assert_eq!(app(&ark, "t16")["live"], 1);
}

/// The steps that no weight stands for: requests with a header or a cookie, copies of requests, more
/// instances.
#[test]
fn a_canary_by_header_mirror_and_scale() {
    let ark = shared();
    deploys(&ark, "steps", &Sample::version(1));
    let steps = "strategy: canary, steps: [{header: {name: x-canary, value: \"1\"}}, \
                 {header: {cookie: beta}}, {pause: {}}, {mirror: {percent: 100}}, {pause: {}}, \
                 {scale: 3}, {pause: {}}]";
    let new = Sample::version(2).variable("LOG_REQUESTS", 1).deploy(steps);
    let id = ark.deploy_detached("steps", &new);
    let asks_at = |step: u32| {
        eventually(&format!("it waits at step {step}"), || {
            let d = ark.deployment(&id).unwrap_or_default();
            d["rollout"]["step"] == step && d["rollout"]["asks"]["what"] == "promotion"
        });
    };
    let promote = || assert_eq!(code(&ark, &["promote", "steps", "-e", ENV]), Some(0));
    let ask = |head: &str| {
        let mut raw = Raw::open(&ark, "steps");
        raw.send(&format!("{head}\r\n\r\n"));
        raw.answer()
    };
    asks_at(3);
    for _ in 0..10 {
        for (field, version) in [
            ("accept: */*", "1"),
            ("x-canary: 1", "2"),
            ("x-canary: 2", "1"),
            ("cookie: a=b; beta=yes", "2"),
            ("cookie: alpha=beta", "1"),
        ] {
            let head = format!("GET /version HTTP/1.1\r\nhost: HOST\r\n{field}");
            assert_eq!(ask(&head), (200, version.to_owned()), "{field}");
        }
    }
    let said = |what: &str| {
        let logs = ark.run(&["logs", "steps", "-e", ENV]);
        words(&logs).contains(what)
    };
    assert!(!said("request: GET /copied"));
    promote();
    asks_at(5);
    // Version 1 answers; version 2 gets a copy of what changes nothing.
    let post = "POST /echo HTTP/1.1\r\nhost: HOST\r\ncontent-length: 0";
    assert_eq!(ask(post).0, 200);
    assert_eq!(ask("GET /copied HTTP/1.1\r\nhost: HOST").0, 404);
    assert_eq!(ask("GET /version HTTP/1.1\r\nhost: HOST"), (200, "1".to_owned()));
    eventually("the copy has arrived", || said("request: GET /copied"));
    assert!(!said("request: POST"), "what may change something is not copied");
    promote();
    asks_at(7);
    let alive = |release: u32| {
        let output = ark.run(&["ps", "steps", "-e", ENV, "--json"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let all = text.lines().filter_map(|l| serde_json::from_str::<serde_json::Value>(l).ok());
        all.filter(|i| i["state"] != "stopped" && i["release"] == release).count()
    };
    assert_eq!((alive(1), alive(2)), (2, 3));
    promote();
    let d = ark.wait_over(&id, OVER);
    assert_eq!(state(&d), "succeeded", "{d}");
    assert_eq!(d["receipt"]["failed"], 0, "{d}");
    eventually("two instances of the new side are left", || (alive(1), alive(2)) == (0, 2));
}

/// What goes through a `tcp` expose is nothing but bytes to the gateway: held all the same.
#[test]
fn connections_to_a_tcp_expose_wait_while_all_is_recreated() {
    let ark = shared();
    let file = ark.dir.path().join("launch").join("bytes.yml");
    std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
    let release = |version: u32, delay_ms: u32| {
        let text = format!(
            "run: {{command: [\"{ark}\", sample], stop_grace: 5s}}\n\
             expose: [{{name: line, port: 80, protocol: tcp, \
             health_check: {{type: http, path: /_health, interval: 100ms}}}}]\n\
             autoscaling: {{min_count: 2, max_count: 2}}\n\
             deploy: {{strategy: recreate, min_healthy_time: 300ms}}\n\
             drain: {{requests: 10s, streams: 3s}}\n\
             env_defaults: {{VERSION: \"{version}\", MARK: \"{mark}\", START_DELAY_MS: \"{delay_ms}\"}}\n",
            ark = crate::harness::ark(),
            mark = ark.mark
        );
        std::fs::write(&file, text).expect("a file");
        ark.json(&["deploy", "bytes", "-e", ENV, "--file", &file.to_string_lossy(), "--json"])
    };
    release(1, 0);
    let url = app(&ark, "bytes")["addresses"][0]["url"].as_str().map(str::to_owned);
    let address = url.as_deref().and_then(|url| url.strip_prefix("tcp://")?.parse().ok());
    let load = Load::builder(address.unwrap_or_else(|| panic!("no address: {url:?}")), "bytes")
        .rate(50.0)
        .mix([(Driver::NewConnection, 1)])
        .request_timeout(Duration::from_secs(60))
        .strict()
        .start()
        .expect("load");
    let d = release(2, 1_500);
    std::thread::sleep(Duration::from_millis(500));
    let report = load.stop_blocking();
    println!("tcp: {report}");
    assert_eq!(report.failed(), 0, "{:#?}", report.failures);
    assert_eq!(report.versions.keys().collect::<Vec<_>>(), ["1", "2"], "{report}");
    let stall = d["receipt"]["longest_stall_ms"].as_u64();
    assert!(stall >= Some(1_000), "they must have waited for the new side: {d}");
}

#[test]
fn t19_twenty_queued_are_coalesced_none_lost_none_stuck() {
    let ark = shared();
    let ids: Vec<String> = (1..=20)
        .map(|n| ark.deploy_detached("t19", &Sample::version(n).variable("START_DELAY_MS", 400)))
        .collect();
    let ends: Vec<String> =
        ids.iter().map(|id| state(&ark.wait_over(id, OVER)).to_owned()).collect();
    assert_eq!(ends.last().map(String::as_str), Some("succeeded"), "{ends:?}");
    let waited = ends.iter().filter(|end| *end == "superseded").count();
    assert!(waited >= 10, "the newest waiting one takes the others' place: {ends:?}");
    assert_eq!(app(&ark, "t19")["live"], 20);
}

#[test]
fn t30_the_old_side_is_itself_unhealthy_and_deploying_is_possible() {
    let ark = shared();
    let dying = Sample::version(1).variable("BROKEN", "crash-after-ms:2500");
    ark.deploy("t30", &dying);
    eventually("the old side has died at least once", || {
        app(&ark, "t30")["lost_1h"].as_u64().is_some_and(|lost| lost > 0)
    });
    let d = deploys(&ark, "t30", &Sample::version(2));
    assert_eq!(state(&d), "succeeded", "{d}");
}

#[test]
fn t31_a_command_that_is_not_there() {
    let ark = shared();
    deploys(&ark, "t31", &Sample::version(1));
    let file = ark.launch("t31", &Sample::version(2));
    let text = std::fs::read_to_string(&file).expect("the launch file");
    let text = text.replace(&format!("\"{}\", \"sample\"", crate::harness::ark()), "\"/no/such\"");
    std::fs::write(&file, text).expect("written");
    let file = file.to_string_lossy();
    let output = ark.run(&["deploy", "t31", "-e", ENV, "--file", &file, "--json"]);
    assert_eq!(output.status.code(), Some(3), "{}", words(&output));
    let d = crate::harness::last_json(&output);
    assert_eq!(d["diagnosis"]["kind"], "command_not_found", "{d}");
    assert_eq!(app(&ark, "t31")["live"], 1);
}

#[test]
fn t35_an_unknown_target_is_refused_and_nothing_changes() {
    let ark = shared();
    deploys(&ark, "t35", &Sample::version(1));
    let before = app(&ark, "t35");
    let (code, said) = rollback(&ark, "t35", &["--to", "v77"]);
    assert_eq!(code, Some(6), "{said}");
    assert_eq!(rollback(&ark, "t35", &[]).0, Some(6), "there is nothing to go back to");
    assert_eq!(app(&ark, "t35")["live"], before["live"]);
    assert!(app(&ark, "t35")["running_deployment"].is_null());
}

#[test]
fn t39_more_than_255_releases() {
    const RELEASES: u32 = 260;
    let ark = shared();
    deploys(&ark, "t39", &Sample::version(1));
    let mut last = serde_json::Value::Null;
    for version in 2..=RELEASES {
        last = ark.post_deployment("t39", &Sample::version(version));
    }
    assert_eq!(last["release"], RELEASES, "{last}");
    let id = last["id"].as_str().expect("an id");
    assert_eq!(state(&ark.wait_over(id, OVER)), "succeeded");
    assert_eq!(app(&ark, "t39")["live"], RELEASES);
    let (code, said) = rollback(&ark, "t39", &["--to", "v1"]);
    assert_eq!((code, &app(&ark, "t39")["live"]), (Some(0), &1.into()), "{said}");
    let (code, said) = rollback(&ark, "t39", &["--to", "v256"]);
    assert_eq!((code, &app(&ark, "t39")["live"]), (Some(0), &256.into()), "{said}");
}

#[test]
fn t37_a_rollback_restores_configuration_and_secret_versions() {
    let ark = shared();
    let with_keys = |version: u32| {
        let mut sample = Sample::version(version);
        sample.more = "env: [COLOUR, SECRET_WORD]\n".to_owned();
        sample
    };
    let colour = |pair: &str| {
        let output = ark.run(&["config", "set", "-e", ENV, "t37", pair]);
        assert!(output.status.success(), "{}", words(&output));
    };
    let secret = |value: &str| {
        let file = ark.dir.path().join("secret");
        std::fs::write(&file, value).expect("written");
        let mut command = ark.command(&["config", "set", "-e", ENV, "t37", "--secret"]);
        let input = std::fs::File::open(&file).expect("the secret");
        let output = command.arg("SECRET_WORD").stdin(input).output().expect("ark runs");
        assert!(output.status.success(), "{}", words(&output));
    };
    colour("COLOUR=blue");
    secret("one");
    let environment = || {
        let pid = {
            let output = ark.run(&["ps", "t37", "-e", ENV, "--json"]);
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let all =
                text.lines().filter_map(|l| serde_json::from_str::<serde_json::Value>(l).ok());
            all.into_iter().find_map(|i| i["pid"].as_i64()).expect("a process")
        };
        let bytes = std::fs::read(format!("/proc/{pid}/environ")).expect("its environment");
        String::from_utf8_lossy(&bytes).replace('\0', "\n")
    };
    deploys(&ark, "t37", &with_keys(1));
    colour("COLOUR=red");
    secret("two");
    // t50: what is set waits for a deployment, also when an instance is replaced meanwhile.
    let output = ark.run(&["restart", "t37", "-e", ENV]);
    assert!(output.status.success(), "{}", words(&output));
    assert!(environment().contains("COLOUR=blue") && environment().contains("SECRET_WORD=one"));
    deploys(&ark, "t37", &with_keys(2));
    assert!(environment().contains("COLOUR=red") && environment().contains("SECRET_WORD=two"));
    let (code, said) = rollback(&ark, "t37", &[]);
    assert_eq!(code, Some(0), "{said}");
    eventually("the old values are back", || {
        let now = environment();
        now.contains("COLOUR=blue") && now.contains("SECRET_WORD=one")
    });
}

/// A hook that hangs and then fails, an app that does not stop, and one that depends on it: all go, and
/// to be asked twice does no harm.
#[test]
fn t46_an_environment_is_destroyed_with_all_that_hangs_in_it() {
    const OTHER: &str = "t46";
    let ark = shared();
    let created = ark.run(&["env", "create", OTHER, "--kind", "permanent"]);
    assert!(created.status.success(), "{}", words(&created));
    let deploy = |app: &str, sample: &Sample, more: &[&str]| {
        let file = ark.launch(app, sample);
        let file = file.to_string_lossy();
        ark.json(&[&["deploy", app, "-e", OTHER, "--file", &file, "--json"], more].concat())
    };
    let stubborn = Sample::version(1).count(1).variable("IGNORE_SIGTERM", 1).stop_grace("2s");
    assert_eq!(state(&deploy("t46-db", &stubborn, &[])), "succeeded");
    let mut caller = Sample::version(1).count(1);
    caller.more = "dependencies: [t46-db]\n".to_owned();
    assert_eq!(state(&deploy("t46-web", &caller, &[])), "succeeded");
    let hangs = "hooks: {pre_deploy: [sh, -c, \"trap 'exit 1' TERM; sleep 300 & wait\"]}";
    let second = Sample { version: "2".to_owned(), ..caller }.deploy(hangs);
    let second = deploy("t46-web", &second, &["--detach"]);
    let id = second["id"].as_str().expect("an id").to_owned();
    eventually("its hook runs", || {
        ark.deployment(&id).is_some_and(|d| d["hooks"].to_string().contains("running"))
    });
    for _ in 0..2 {
        let output = ark.run(&["env", "destroy", OTHER, "--yes", "--detach"]);
        assert!(output.status.success(), "{}", words(&output));
    }
    eventually("the environment is gone", || {
        ark.get("/v1/environments?limit=50").is_some_and(|e| !e.to_string().contains(OTHER))
    });
    assert_eq!(code(&ark, &["env", "destroy", OTHER, "--yes"]), Some(6));
    let events = ark.get(&format!("/v1/events?deployment={id}&limit=50")).unwrap_or_default();
    assert!(events.to_string().contains("deployment_finished"), "{events}");
}

#[test]
fn t47_a_canary_without_requests_is_inconclusive_and_never_passes() {
    let ark = shared();
    deploys(&ark, "t47", &Sample::version(1));
    let canary =
        Sample::version(2).deploy("strategy: canary, steps: [{weight: 50}, {analysis: {}}]");
    let id = ark.deploy_detached("t47", &canary);
    eventually("the judge has looked", || {
        let d = ark.deployment(&id).unwrap_or_default();
        let last = d["rollout"]["judgements"].as_array().and_then(|j| j.last().cloned());
        last.is_some_and(|last| last["judgement"]["verdict"] == "inconclusive")
    });
    std::thread::sleep(Duration::from_secs(2));
    let d = ark.deployment(&id).expect("the deployment");
    assert_eq!(state(&d), "stepping", "no data is no pass: {d}");
    assert_eq!(code(&ark, &["abort", "t47", "-e", ENV]), Some(0));
    assert_eq!(state(&ark.wait_over(&id, OVER)), "rolled_back");
}

#[test]
fn t52_every_failure_leaves_an_event() {
    let ark = shared();
    deploys(&ark, "t52", &Sample::version(1));
    let broken = |n: u64, how: &str| Sample::version(n).variable("BROKEN", how).ready_timeout("2s");
    let hook = |n: u64, which: &str| {
        Sample::version(n).deploy(&format!("hooks: {{timeout: 1s, {which}: [sh, -c, \"exit 7\"]}}"))
    };
    let lost = ["instance_lost", "deployment_returning"].as_slice();
    let back = ["deployment_returning"].as_slice();
    for (what, sample, kinds, words) in [
        ("crash", broken(2, "crash"), lost, "exit 1"),
        ("never ready", broken(3, "never-ready"), lost, "never ready"),
        ("a hook before", hook(4, "pre_deploy"), back, "pre_deploy"),
        ("a hook after", hook(5, "post_deploy"), back, "post_deploy"),
    ] {
        let (output, d) = ark.deploy("t52", &sample);
        assert_eq!(output.status.code(), Some(3), "{what}: {}", self::words(&output));
        has_events(&ark, &d, what, kinds, words);
    }
    let slow = Sample::version(6).variable("START_DELAY_MS", 30_000);
    let id = ark.deploy_detached("t52", &slow);
    eventually("it begins", || ark.deployment(&id).is_some_and(|d| state(&d) == "replacing"));
    assert_eq!(code(&ark, &["abort", "t52", "-e", ENV, "--reason", "wrong one"]), Some(0));
    has_events(&ark, &ark.wait_over(&id, OVER), "an abort", back, "wrong one");
}

/// The events of a deployment that failed: its beginning, these kinds, its end; and why, in words.
fn has_events(ark: &Ark, d: &serde_json::Value, what: &str, kinds: &[&str], words: &str) {
    let id = d["id"].as_str().expect("an id");
    let events = ark.get(&format!("/v1/events?deployment={id}&limit=200")).unwrap_or_default();
    let all = events["items"].as_array().expect("a list");
    let found: Vec<&str> = all.iter().filter_map(|event| event["kind"].as_str()).collect();
    for kind in ["deployment_started", "deployment_finished"].iter().chain(kinds) {
        assert!(found.contains(kind), "{what}: no {kind} in {found:?}");
    }
    let said = |event: &serde_json::Value| event["text"].to_string().contains(words);
    assert!(all.iter().any(said), "{what}: nothing says {words}: {events}");
}
