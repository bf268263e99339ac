//! Workflows whose names, inputs, outputs, errors and causes are markup: on no page does it become
//! any, no page grows beyond its limit, and no form works without its session's token.

mod table;

use serde_json::{Value, json};

use table::{Table, app, get, location, post, text, token_of};

const HOSTILE: &str = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>{{7*7}}$(reboot)";
const AT: &str = "2026-01-01T00:00:00Z";
/// Events of the execution; each page reads as many of them as it may.
const EVENTS: u64 = 900;

fn encoded() -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
    HOSTILE
        .bytes()
        .map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

/// A text that is as long as it may be, and all of it markup.
fn long(chars: usize) -> Value {
    let text: String = HOSTILE.chars().cycle().take(chars).collect();
    json!({ "text": text, "bytes": 1_000_000, "cut": true })
}

fn summary(status: &str) -> Value {
    json!({
        "workflow": HOSTILE, "name": HOSTILE, "status": status, "started_at": AT,
        "stopped_at": AT, "error": HOSTILE, "cause": HOSTILE, "version": 3, "events": EVENTS,
        "redrives": 2, "resolved": false
    })
}

fn event(id: u64, chars: usize) -> Value {
    let word = ["TaskStateEntered", "ActivityScheduled", "ActivityStarted", "ActivityFailed"]
        [usize::try_from(id % 4).expect("small")];
    // The last stay that failed had a worker that is an app of Ark's.
    let resource = match id {
        896..=899 => "arn:aws:states:us-east-1:0:activity:production--web",
        _ => HOSTILE,
    };
    json!({
        "id": id, "previous": id - u64::from(!id.is_multiple_of(4)), "at": AT, "kind": word,
        "state": HOSTILE, "index": 1, "resource": resource, "worker": HOSTILE,
        "input": long(chars), "output": long(chars), "error": long(chars.min(120)),
        "cause": long(chars),
        "log": { "text": "the worker's own last line", "bytes": 26, "cut": false }
    })
}

fn events(chars: usize) -> Value {
    json!({ "items": (1..=EVENTS).rev().map(|id| event(id, chars)).collect::<Vec<_>>() })
}

fn definition() -> String {
    let mut states = serde_json::Map::new();
    for n in 0..99 {
        let catch = json!([{ "Next": HOSTILE }]);
        states.insert(
            format!("{HOSTILE}{n}"),
            json!({ "Type": "Task", "Next": HOSTILE, "Catch": catch }),
        );
    }
    states.insert(HOSTILE.to_owned(), json!({ "Type": HOSTILE, "End": true }));
    json!({ "Comment": HOSTILE, "StartAt": HOSTILE, "States": states }).to_string()
}

fn hostile() -> Table {
    let workflow = format!("/v1/workflows/{}", encoded());
    let execution = format!("{workflow}/executions/{}", encoded());
    let arn = format!("arn:aws:states:us-east-1:0:stateMachine:{HOSTILE}:1");
    let listed = json!({
        "name": HOSTILE, "kind": "STANDARD", "created_at": AT, "version": 1, "running": 1_000,
        "unresolved": 7, "last": summary("FAILED")
    });
    let schedule = json!({
        "name": HOSTILE, "paused": true, "created_at": AT, "next_at": AT,
        "schedule": { "workflow": HOSTILE, "cron": HOSTILE, "time_zone": HOSTILE, "input": HOSTILE },
        "last": { "at": AT, "skipped": HOSTILE }
    });
    let activity = json!({
        "name": HOSTILE, "ready": 1_000, "working": 0, "waiting": 0, "active_percent": 99.5
    });
    let single = |n: u64| json!({ "items": [event(n, 2_000)] });
    let mut detail = app("web");
    for (name, value) in [
        ("addresses", json!([])),
        ("scale", Value::Null),
        ("previous", Value::Null),
        ("dependencies", json!([])),
        ("failures", json!(0)),
        ("start_after", Value::Null),
        ("config_version", json!(1)),
    ] {
        detail[name] = value;
    }
    let wrote = json!({ "at": AT, "instance": HOSTILE, "stream": "stderr", "text": HOSTILE });
    let mut table = Table::default()
        .with("GET /v1/environments/production/apps/web", detail)
        .with_any("GET /v1/environments/production/apps/web/logs?tail=2000&since=", wrote)
        .with("GET /v1/workflows?limit=100", json!({ "items": [listed], "next": HOSTILE }))
        .with("GET /v1/schedules?limit=200", json!({ "items": [schedule] }))
        .with(
            "GET /v1/workflow-activities?limit=50",
            json!({ "items": [activity], "next": HOSTILE }),
        )
        .with(
            "STATES DescribeStateMachine",
            json!({ "type": "STANDARD", "definition": definition() }),
        )
        .with("STATES DescribeStateMachineForExecution", json!({ "definition": definition() }))
        .with(
            "STATES ListStateMachineVersions",
            json!({ "stateMachineVersions": vec![json!({
                "stateMachineVersionArn": arn, "creationDate": 1.5 }); 30] }),
        )
        .with(
            "STATES DescribeExecution",
            json!({ "status": "FAILED", "error": HOSTILE, "cause": long(32_768)["text"],
                "redriveStatus": "REDRIVABLE",
                "input": long(200_000)["text"], "output": long(200_000)["text"] }),
        )
        .with(
            "STATES StartExecution",
            json!({ "executionArn": format!("a:execution:{HOSTILE}:x") }),
        )
        .with("STATES StopExecution", json!({ "stopDate": 1.0 }))
        .with("STATES RedriveExecution", json!({ "redriveDate": 1.0 }))
        .with(&format!("GET {execution}"), summary("FAILED"))
        .with_any(&format!("GET {execution}/events?newest=true&text=120"), events(120))
        .with_any(
            &format!("GET {execution}/events?newest=true&text=200"),
            json!({ "items": events(200)["items"].as_array().expect("a list")[..25], "next": "5" }),
        )
        .with_any("POST /v1/schedules/", json!({}))
        .with_any("POST /wm/workflows/", Value::Null)
        .with_any(
            &format!("GET {workflow}/executions?limit="),
            json!({ "items": vec![summary("FAILED"); 50], "next": HOSTILE }),
        );
    for n in 1..=EVENTS {
        table =
            table.with(&format!("GET {execution}/events?from={n}&limit=1&text=2000"), single(n));
    }
    table
}

fn addresses() -> [String; 9] {
    let workflow = format!("/workflows/{}", encoded());
    let execution = format!("{workflow}/x/{}", encoded());
    [
        "/workflows".to_owned(),
        workflow.clone(),
        format!("{workflow}?status={0}&q={0}&error={0}&cursor={0}", encoded()),
        format!("{workflow}/start"),
        execution.clone(),
        format!("{execution}?state=892"),
        format!("{execution}/do/stop"),
        format!("{execution}/do/redrive"),
        format!("{execution}/do/resolve"),
    ]
}

#[test]
fn the_answers_are_answers_of_the_api() {
    use ark_model::api::{
        ExecutionEvent, ExecutionSummary, ScheduleView, WorkflowActivity, WorkflowSummary,
    };
    let table = hostile();
    let first = |key: &str| table.answer(key)["items"][0].clone();
    serde_json::from_value::<ExecutionSummary>(summary("FAILED")).expect("an execution");
    serde_json::from_value::<ExecutionEvent>(event(1, 10)).expect("an event");
    serde_json::from_value::<WorkflowSummary>(first("GET /v1/workflows?limit=100")).expect("one");
    serde_json::from_value::<ScheduleView>(first("GET /v1/schedules?limit=200")).expect("one");
    let activities = first("GET /v1/workflow-activities?limit=50");
    serde_json::from_value::<WorkflowActivity>(activities).expect("one");
}

#[tokio::test]
async fn no_text_of_a_workflow_becomes_markup_and_pages_stay_small() {
    let (site, _) = hostile().site();
    for address in addresses() {
        let response = get(&site, &address, "fresh").await;
        let status = response.status();
        let page = text(response).await;
        assert_eq!(status, 200, "{address}: {page}");
        for markup in ["<script>", "<img", "onerror=alert(1)>\"", " style=", "javascript:"] {
            assert!(!page.contains(markup), "{markup} on {address}: {page}");
        }
        // A command that is copied is one word where a name stands in it.
        for command in page.split("class=\"command\">").skip(1) {
            let command = command.split("</code>").next().unwrap_or_default();
            let quoted = !command.contains("$(") || command.contains("&#39;&#34;&#39;\\&#39;&#39;");
            assert!(quoted, "{command} on {address}");
        }
        assert!(page.len() < 150_000, "{address} has {} bytes", page.len());
        if address == addresses()[3] {
            assert!(page.contains("too long for this form: <code class=\"command\">ark"), "{page}");
            assert!(!page.contains("this is what"), "the example is nobody's: {page}");
        }
        if address == addresses()[4] {
            assert!(page.contains("<p class=\"err\">"), "what the worker wrote: {page}");
        }
    }
}

#[tokio::test]
async fn a_log_that_cannot_be_read_is_a_sentence_on_the_page_of_what_failed() {
    let logs = "GET /v1/environments/production/apps/web/logs?tail=2000&since=2026-01-01T00:00:00Z\
                &until=2026-01-01T00:00:01Z";
    let problem = ark_model::api::Problem::new(
        ark_model::api::ProblemCode::Internal,
        "the engine did not answer <b>in time</b>",
    );
    let (site, _) = hostile().refusing(logs, &problem).site();
    let page = text(get(&site, &addresses()[4], "fresh").await).await;
    for words in [
        "It could not be read: the engine did not answer &#60;b&#62;in time",
        // What the worker kept does not depend on it.
        "The last lines its worker wrote",
        "the worker&#39;s own last line",
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }
}

#[tokio::test]
async fn readers_are_told_who_may_and_later_pages_do_not_say_that_there_is_nothing() {
    let empty = json!({ "items": [] });
    let (site, _) = hostile().with("GET /v1/workflows?limit=100&cursor=z", empty).site();
    for address in [&addresses()[0], &addresses()[1], &addresses()[4]] {
        let page = text(get(&site, address, "reader").await).await;
        assert!(page.contains("Your role, reader, may look;"), "{address}: {page}");
    }
    let page = text(get(&site, "/workflows?cursor=z", "fresh").await).await;
    assert!(page.contains("There are no more.") && page.contains("First page"), "{page}");
}

#[tokio::test]
async fn an_example_is_what_was_given_and_the_command_sends_it() {
    let given = r#"{"z": 12345678901234567890, "_EXECUTION_NAME": "x", "a": 1.0}"#;
    let machine = "STATES DescribeExecution";
    let told = json!({ "status": "SUCCEEDED", "input": given });
    let (site, _) = hostile().with(machine, told).site();
    let page = text(get(&site, &addresses()[3], "fresh").await).await;
    for words in [
        "&#34;z&#34;: 12345678901234567890,\n  &#34;a&#34;: 1.0",
        "this is what",
        "&#39;{&#34;z&#34;: 12345678901234567890, &#34;a&#34;: 1.0}&#39;</code>",
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }
}

#[tokio::test]
async fn no_form_of_a_workflow_works_without_its_sessions_token() {
    let (site, table) = hostile().site();
    let workflow = format!("/workflows/{}", encoded());
    let execution = format!("{workflow}/x/{}", encoded());
    let key = "0123456789abcdef0123456789abcdef";
    let start = format!("input=%7B%7D&key={key}&named=yes");
    let forms = [
        (format!("{workflow}/start"), start.as_str(), "STATES StartExecution"),
        (format!("{execution}/do/stop"), "reason=x", "STATES StopExecution"),
        (format!("{execution}/do/redrive"), "", "STATES RedriveExecution"),
        (format!("{execution}/do/resolve"), "", "POST /wm/workflows/"),
        (format!("/schedules/{}/pause", encoded()), "", "POST /v1/schedules/"),
    ];
    let foreign = token_of(&text(get(&site, "/workflows", "reader").await).await);
    let own = token_of(&text(get(&site, "/workflows", "fresh").await).await);
    let done = |what: &str| {
        table.asked().into_iter().filter(|(key, _)| key.starts_with(what)).collect::<Vec<_>>()
    };
    for (address, fields, what) in &forms {
        for token in ["", "x", &foreign] {
            let response = post(&site, address, "fresh", Some(token), fields).await;
            assert_eq!(response.status(), 403, "{address} with {token:?}");
        }
        assert!(done(what).is_empty(), "{what} was done without a token");
        let response = post(&site, address, "fresh", Some(&own), fields).await;
        assert_eq!(response.status(), 303, "{address}");
        assert_eq!(done(what).len(), 1, "{what} was not done");
        assert!(location(&response).starts_with("/workflows"), "{}", location(&response));
    }
    // The name of the execution is that of the form: sent twice, it starts one.
    let (_, sent) = done("STATES StartExecution").remove(0);
    let sent: Value = serde_json::from_str(&sent).expect("JSON");
    assert_eq!(sent["name"], key);
    assert!(sent["input"].as_str().is_some_and(|input| input.contains(key)), "{sent}");
}
