//! AWS's own clients, unchanged: boto3 and the AWS CLI from `target/aws-clients`, a virtual
//! environment that `.ci/run` makes. Without it these tests say so and pass.

use std::path::PathBuf;
use std::process::{Command, Output};

use crate::client::Client;
use crate::harness::Ark;
use crate::harness::lacking::{Lack, skip};
use crate::recorded;

pub(crate) fn clients() -> Option<PathBuf> {
    let bin = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/aws-clients/bin"));
    if bin.join("python").exists() && bin.join("aws").exists() {
        return Some(bin);
    }
    skip("AWS's clients", Lack::AwsClients, &format!("they are not in {}", bin.display()));
    None
}

pub(crate) fn python(bin: &std::path::Path, client: &Client, args: &[&str]) -> Output {
    Command::new(bin.join("python"))
        .args(args)
        .env("AWS_ACCESS_KEY_ID", &client.key)
        .env("AWS_SECRET_ACCESS_KEY", &client.secret)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        .env_remove("AWS_SESSION_TOKEN")
        .output()
        .expect("python runs")
}

pub(crate) fn said(output: &Output) -> String {
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{out}{err}")
}

#[test]
fn boto3_and_the_aws_cli_are_served() {
    let Some(bin) = clients() else { return };
    let ark = Ark::up();
    let client = Client::of(&ark, "deployer");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/workflows/aws_clients.py");
    let cli = bin.join("aws");
    let ran = python(&bin, &client, &[script, &client.base, &cli.to_string_lossy()]);
    assert!(ran.status.success(), "{}", said(&ran));
}

/// The cases' own runner, sixteen at a time.
#[test]
fn recorded_executions_end_as_recorded() {
    let (Some(bin), Some(runner), Some(cases)) =
        (clients(), recorded::file("run_cases.py"), recorded::file("cases.json"))
    else {
        return;
    };
    let ark = Ark::up();
    let client = Client::of(&ark, "deployer");
    let (runner, cases) = (runner.to_string_lossy(), cases.to_string_lossy());
    let report = ark.dir.path().join("report.json");
    let args = ["--endpoint", &client.base, "--cases", &cases, "--jobs", "16"];
    let report_text = report.to_string_lossy();
    let args: Vec<&str> =
        [&*runner].into_iter().chain(args).chain(["-v", "--report", &report_text]).collect();
    let ran = python(&bin, &client, &args);
    let text = std::fs::read_to_string(&report).unwrap_or_else(|_| panic!("{}", said(&ran)));
    let results: Vec<serde_json::Value> = serde_json::from_str(&text).expect("a list");
    assert!(results.len() > 100, "{} cases ran", results.len());
    let wrong: Vec<String> = results
        .iter()
        .filter(|result| result["result"] != "pass")
        .map(|result| format!("{} {}: {}", result["result"], result["id"], result["detail"]))
        .collect();
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), results.len(), wrong.join("\n"));
}
