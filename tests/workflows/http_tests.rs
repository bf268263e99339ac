//! TestState makes the call of an HTTP task that no mock stands for.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::client::Client;
use crate::harness::Ark;

/// Answers each request with the fields that it came with; `/gone` with 410.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream);
            let mut head = Vec::new();
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
                    break;
                }
                head.push(line.trim_end().to_owned());
            }
            let is_gone = head.first().is_some_and(|line| line.contains("/gone"));
            let status = if is_gone { "410 Gone" } else { "200 OK" };
            let body = json!({ "head": head }).to_string();
            let length = body.len();
            let _ = write!(
                reader.get_mut(),
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
        }
    });
    address
}

fn json_of(text: &Value) -> Value {
    serde_json::from_str(text.as_str().expect("a text")).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_without_a_mock_is_made() {
    let ark = Ark::up_with(&[("ARK_HTTP_INVOKE_ALLOW", "127.0.0.1/32")]);
    let client = Client::of(&ark, "deployer");
    let there = echo();
    let hosts = "CONNECTION_HOSTS=127.0.0.1,127.0.0.2,169.254.169.254";
    assert!(ark.run(&["config", "set", "-e", "production", "pay", hosts]).status.success());
    let secret =
        ["config", "set", "-e", "production", "pay", "--secret", "CONNECTION_AUTHORIZATION"];
    let mut secret = ark.command(&secret);
    let mut secret = secret.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("ark");
    secret.stdin.take().expect("stdin").write_all(b"Bearer s3cret").expect("written");
    assert!(secret.wait().expect("it ends").success());

    let test = |host: &str, path: &str, more: Value| {
        let state = json!({"Type": "Task", "Resource": "arn:aws:states:::http:invoke", "End": true,
            "Parameters": {"ApiEndpoint": format!("http://{host}{path}"), "Method": "GET",
                "Headers": {"x-own": "1"}, "QueryParameters": {"q.$": "$.q"},
                "Authentication": {"ConnectionArn":
                    "arn:aws:events:r:1:connection/production--pay/1"}},
            "ResultSelector": {"head.$": "$.ResponseBody.head"},
            "Catch": [{"ErrorEquals": ["States.Http.StatusCode.410"], "Next": "Gone"}]});
        let mut request = json!({"definition": state.to_string(), "input": "{\"q\": \"x\"}"});
        for (name, value) in more.as_object().expect("fields") {
            request[name] = value.clone();
        }
        request
    };
    let host = there.to_string();
    let trace = json!({"inspectionLevel": "TRACE", "revealSecrets": true});
    let tested = client.good("TestState", test(&host, "/a", trace)).await;
    assert_eq!(tested["status"], "SUCCEEDED", "{tested:#}");
    let head = json_of(&tested["output"])["head"].to_string();
    assert!(head.contains("GET /a?q=x HTTP/1.1") && head.contains("Bearer s3cret"), "{head}");
    let request = &tested["inspectionData"]["request"];
    assert_eq!(request["method"], "GET");
    assert_eq!(request["url"], format!("http://{host}/a?q=x"));
    assert_eq!(request["headers"], "[x-own: 1]", "what the connection adds is shown to nobody");
    let response = &tested["inspectionData"]["response"];
    assert_eq!(
        (&response["statusCode"], &response["statusMessage"]),
        (&json!("200"), &json!("OK"))
    );
    assert_eq!(json_of(&response["body"])["head"][0], "GET /a?q=x HTTP/1.1");
    let headers = response["headers"].as_str().expect("a text");
    assert!(headers.starts_with('[') && headers.ends_with(']'), "{headers}");
    assert!(headers.contains("content-type: application/json"), "{headers}");

    let gone = client.good("TestState", test(&host, "/gone", json!({}))).await;
    assert_eq!((&gone["status"], &gone["nextState"]), (&json!("CAUGHT_ERROR"), &json!("Gone")));
    assert!(gone.get("inspectionData").is_none(), "{gone:#}");
    // The last one is no host of the connection.
    for (host, error, cause) in [
        ("169.254.169.254".to_owned(), "States.Runtime", "out of reach"),
        (format!("127.0.0.2:{}", there.port()), "States.Runtime", "out of reach"),
        (format!("localhost:{}", there.port()), "States.Http.Connection", "is not for host"),
    ] {
        let refused = client.good("TestState", test(&host, "/", json!({}))).await;
        assert_eq!((&refused["status"], &refused["error"]), (&json!("FAILED"), &json!(error)));
        let told = refused["cause"].as_str().expect("a cause");
        assert!(told.contains(cause), "{host}: {told}");
    }
    let near = json!({"Type": "Task", "Resource": "http:invoke", "End": true,
        "Parameters": {"ApiEndpoint": "http://169.254.169.254/", "Method": "GET"}});
    let near = client.good("TestState", json!({"definition": near.to_string()})).await;
    assert_eq!((&near["status"], &near["error"]), (&json!("FAILED"), &json!("States.Runtime")));
    let reader = Client::of(&ark, "reader");
    let denied = reader.refused("TestState", test(&host, "/a", json!({}))).await;
    assert_eq!(denied, "AccessDeniedException");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_has_as_long_as_its_state_gives_it() {
    let ark = Ark::up_with(&[("ARK_HTTP_INVOKE_ALLOW", "127.0.0.1/32")]);
    let client = Client::of(&ark, "deployer");
    // Connections are taken, and never answered.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("an address");
    let test = |more: Value| {
        let mut state = json!({"Type": "Task", "Resource": "arn:aws:states:::http:invoke",
            "Parameters": {"ApiEndpoint": format!("http://{address}/"), "Method": "POST"},
            "End": true});
        for (name, value) in more.as_object().expect("fields") {
            state[name] = value.clone();
        }
        json!({"definition": state.to_string(), "input": "{\"seconds\": 1, \"none\": 0}",
            "inspectionLevel": "TRACE"})
    };
    let late = client.good("TestState", test(json!({"TimeoutSeconds": 1}))).await;
    assert_eq!((&late["status"], &late["error"]), (&json!("FAILED"), &json!("States.Timeout")));
    assert!(late.get("cause").is_none(), "as of a task that timed out: {late:#}");
    assert_eq!(late["inspectionData"]["request"]["method"], "POST");
    assert!(late["inspectionData"].get("response").is_none(), "{late:#}");
    let caught = json!({"TimeoutSecondsPath": "$.seconds",
        "Catch": [{"ErrorEquals": ["States.Timeout"], "Next": "Late"}]});
    let caught = client.good("TestState", test(caught)).await;
    assert_eq!((&caught["status"], &caught["nextState"]), (&json!("CAUGHT_ERROR"), &json!("Late")));
    let wrong = client.good("TestState", test(json!({"TimeoutSecondsPath": "$.none"}))).await;
    assert_eq!((&wrong["status"], &wrong["error"]), (&json!("FAILED"), &json!("States.Runtime")));
}
