//! Hooks around a deployment: commands and webhooks, that end well, fail, hang, and outlive the
//! server.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::harness::{Ark, Sample, eventually, state, words};

const APP: &str = "web";

/// A folder into which hooks write, whoever they run as.
fn open_folder(ark: &Ark) -> PathBuf {
    let folder = ark.dir.path().join("open");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o777)).expect("permissions");
    folder
}

fn hooked(version: u32, hooks: &str) -> Sample {
    Sample::version(version).deploy(&format!("hooks: {{{hooks}}}"))
}

/// One question that a webhook got.
struct Asked {
    key: String,
    token: String,
    body: serde_json::Value,
}

/// A webhook that gives these answers, one after the other, and then the last one again. `None`
/// never answers.
fn webhook(answers: Vec<Option<&'static str>>) -> (SocketAddr, Receiver<Asked>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let (send, asked) = channel();
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for (n, stream) in listener.incoming().enumerate() {
            let Ok(mut stream) = stream else { return };
            let mut reader = BufReader::new(stream.try_clone().expect("a socket"));
            let (mut key, mut token, mut length) = (String::new(), String::new(), 0);
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|n| n > 2) {
                let (name, value) = line.split_once(':').unwrap_or_default();
                match name.to_ascii_lowercase().as_str() {
                    "idempotency-key" => key = value.trim().to_owned(),
                    "authorization" => token = value.trim().to_owned(),
                    "content-length" => length = value.trim().parse().unwrap_or(0),
                    _ => {}
                }
                line.clear();
            }
            let mut body = vec![0; length];
            let _ = reader.read_exact(&mut body);
            let body = serde_json::from_slice(&body).unwrap_or_default();
            if send.send(Asked { key, token, body }).is_err() {
                return;
            }
            match answers.get(n).or(answers.last()).copied().flatten() {
                None => open.push(stream),
                Some(answer) => {
                    let _ = write!(
                        stream,
                        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{answer}",
                        answer.len()
                    );
                }
            }
        }
    });
    (address, asked)
}

const GO: &str = r#"{"status": "SUCCEEDED"}"#;
const LATER: &str = r#"{"status": "IN_PROGRESS", "retry_after_s": 1}"#;
const NO: &str = r#"{"status": "FAILED", "reason": "the shop is open"}"#;

#[test]
fn a_webhook_that_says_no_leaves_the_old_side_untouched() {
    let ark = Ark::up();
    let (output, _) = ark.deploy(APP, &Sample::version(1));
    assert!(output.status.success(), "{}", words(&output));
    let before = ark.marked();
    let (address, _asked) = webhook(vec![Some(NO)]);
    let refused = hooked(2, &format!("webhooks: [{{url: \"http://{address}/gate\"}}]"));
    let (output, d) = ark.deploy(APP, &refused);
    assert_eq!(output.status.code(), Some(3), "{}", words(&output));
    assert!(d["diagnosis_words"].to_string().contains("the shop is open"), "{d}");
    assert_eq!(ark.marked(), before, "the same processes as before, and no other");
}

#[test]
fn t26_a_hang_in_each_hook_ends_by_its_deadline() {
    let ark = Ark::up();
    let (output, _) = ark.deploy(APP, &Sample::version(1));
    assert!(output.status.success(), "{}", words(&output));
    let (address, _asked) = webhook(vec![None]);
    let hang = "[sh, -c, \"trap : TERM; sleep 300 & wait; sleep 300\"]";
    for (version, hooks) in [
        (2, format!("timeout: 1s, pre_deploy: {hang}")),
        (3, format!("timeout: 1s, post_deploy: {hang}")),
        (4, format!("webhooks: [{{url: \"http://{address}/\", timeout: 1s}}]")),
        (5, format!("webhooks: [{{url: \"http://{address}/\", at: post_deploy, timeout: 1s}}]")),
    ] {
        let id = ark.deploy_detached(APP, &hooked(version, &hooks));
        let d = ark.wait_over(&id, Duration::from_secs(120));
        assert_eq!(state(&d), "rolled_back", "{hooks}: {d}");
        assert_eq!(d["diagnosis"]["kind"], "hook_failed", "{hooks}: {d}");
        eventually("two instances of the old side, and no hook", || ark.marked().len() == 2);
    }
}

#[test]
fn hooks_run_around_a_deployment_and_say_for_what() {
    let ark = Ark::up();
    let (output, _) = ark.deploy(APP, &Sample::version(1));
    assert!(output.status.success(), "{}", words(&output));
    let file = open_folder(&ark).join("hooks");
    let line = |word: &str| {
        let values = "$ARK_HOOK $ARK_RELEASE_BEFORE $ARK_RELEASE $VERSION $ARK_HOOK_KEY";
        format!("[sh, -c, \"echo {word} {values} >> {}\"]", file.display())
    };
    let (address, asked) = webhook(vec![Some(LATER), Some(GO)]);
    let hooks = format!(
        "pre_deploy: {}, post_deploy: {}, \
         webhooks: [{{url: \"http://{address}/gate?x=1\", token: GATE_TOKEN}}]",
        line("before"),
        line("after")
    );
    let sample = hooked(2, &hooks).variable("GATE_TOKEN", "hush");
    let plan = {
        let launch = ark.launch(APP, &sample);
        let launch = launch.to_string_lossy();
        ark.run(&["plan", APP, "-e", crate::harness::ENV, "--file", &launch, "--json"])
    };
    let planned = String::from_utf8_lossy(&plan.stdout).into_owned();
    assert!(planned.contains("(pre_deploy) before anything is touched"), "{planned}");
    assert!(planned.contains("(post_deploy) when it is live"), "{planned}");
    let (output, d) = ark.deploy(APP, &sample);
    assert!(output.status.success(), "{}", words(&output));
    let id = d["id"].as_str().expect("an id").to_owned();
    let wrote = std::fs::read_to_string(&file).expect("the hooks wrote");
    let expected = format!(
        "before pre_deploy v1 v2 2 {id}/pre_deploy\nafter post_deploy v1 v2 2 {id}/post_deploy\n"
    );
    assert_eq!(wrote, expected);
    let questions: Vec<Asked> = asked.try_iter().collect();
    assert_eq!(questions.len(), 2, "asked again after IN_PROGRESS");
    for (n, question) in questions.iter().enumerate() {
        assert_eq!(question.key, format!("{id}/webhook-1"), "one call, whenever it is made");
        assert_eq!(question.token, "Bearer hush");
        assert_eq!(question.body["attempt"], n + 1, "{}", question.body);
        assert_eq!(question.body["release"], "v2", "{}", question.body);
    }
    let hooks = d["hooks"].as_array().expect("hooks");
    assert!(hooks.iter().all(|hook| hook["state"] == "succeeded"), "{d}");
    let events = ark.run(&["events", "-e", crate::harness::ENV, "--app", APP]);
    let events = String::from_utf8_lossy(&events.stdout).into_owned();
    for word in ["pre_deploy (", "webhook 1 (", "post_deploy (", "succeeded after"] {
        assert!(events.contains(word), "{word} in {events}");
    }
    assert!(!events.contains("hush") && !d.to_string().contains("x=1"), "no secret: {d}");
}

#[test]
fn t21_hooks_survive_a_killed_server() {
    let mut ark = Ark::up();
    let (output, _) = ark.deploy(APP, &Sample::version(1));
    assert!(output.status.success(), "{}", words(&output));
    let file = open_folder(&ark).join("ran");
    let (address, asked) = webhook(vec![Some(LATER), Some(LATER), Some(GO)]);
    let hooks = format!(
        "pre_deploy: [sh, -c, \"echo x >> {0}; sleep 2; echo y >> {0}\"], \
         webhooks: [{{url: \"http://{address}/\"}}]",
        file.display()
    );
    let id = ark.deploy_detached(APP, &hooked(2, &hooks));
    let ran = || std::fs::read_to_string(&file).unwrap_or_default();
    eventually("the command runs", || ran() == "x\n");
    ark.kill_server();
    ark.start_server();
    asked.recv_timeout(Duration::from_secs(30)).expect("the webhook is asked");
    ark.kill_server();
    ark.start_server();
    let d = ark.wait_over(&id, Duration::from_secs(60));
    assert_eq!(state(&d), "succeeded", "{d}");
    assert_eq!(ran(), "x\ny\n", "the command ran once, through it all");
    let last = asked.try_iter().last().expect("asked again");
    assert_eq!(last.key, format!("{id}/webhook-1"));
}

/// A migration that is killed halfway, or that runs on while nobody knows of it, is the worst of a
/// stop: it is told, waited for, and on record as ended.
#[test]
fn a_stop_and_a_shutdown_end_the_hook_first() {
    let ark = Ark::up();
    let file = open_folder(&ark).join("told");
    let slow = |n: u32| {
        let path = file.display();
        format!(
            "pre_deploy: [sh, -c, \"trap 'sleep 1; echo told {n} >> {path}; exit 0' TERM; \
             echo runs {n} >> {path}; while :; do sleep 0.1; done\"]"
        )
    };
    let wrote = || std::fs::read_to_string(&file).unwrap_or_default();
    let id = ark.deploy_detached(APP, &hooked(1, &slow(1)));
    eventually("the command runs", || wrote() == "runs 1\n");
    let output = ark.run(&["stop", APP, "-e", crate::harness::ENV]);
    assert!(output.status.success(), "{}", words(&output));
    let d = ark.wait_over(&id, Duration::from_secs(60));
    assert_eq!(state(&d), "superseded", "{d}");
    assert_eq!(d["hooks"][0]["state"], "cancelled", "{d}");
    assert_eq!(wrote(), "runs 1\ntold 1\n", "it was waited for");
    assert!(ark.marked().is_empty(), "and has ended");

    ark.deploy_detached(APP, &hooked(2, &slow(2)));
    eventually("the command runs", || wrote().ends_with("runs 2\n"));
    let data_dir = ark.data_dir();
    let output = ark.run(&["down", "--yes", "--data-dir", &data_dir.to_string_lossy()]);
    assert!(output.status.success(), "{}", words(&output));
    assert!(wrote().ends_with("told 2\n"), "it was waited for: {}", wrote());
    assert!(ark.marked().is_empty(), "and has ended");
}
