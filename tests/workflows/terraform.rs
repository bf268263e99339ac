//! Terraform with AWS's provider, unchanged: what it made it finds again as it was, and what it is told
//! to change it changes in one go. `terraform/main.tf` says what is applied.
//!
//! The provider comes from a mirror: the folder that [`MIRROR`] names, or the one that `.ci/run` fills.
//! Without it, or without Terraform, this test says so and passes; nothing here asks a registry.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::Client;
use crate::harness::lacking::{Lack, skip};
use crate::harness::{Ark, words};

/// The variable that names the provider's mirror.
const MIRROR: &str = "ARK_TEST_TERRAFORM_MIRROR";
const MAIN: &str = include_str!("terraform/main.tf");

/// The mirror of Terraform's providers, when Terraform is here, too.
fn mirror() -> Option<PathBuf> {
    let ours = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/terraform-mirror");
    let mirror = std::env::var_os(MIRROR).map_or_else(|| PathBuf::from(ours), PathBuf::from);
    let lacks = if Command::new("terraform").arg("version").output().is_err() {
        "there is no terraform".to_owned()
    } else if mirror.join("registry.terraform.io/hashicorp/aws").is_dir() {
        return Some(mirror);
    } else {
        format!("its provider of AWS is not in {}", mirror.display())
    };
    skip("Terraform", Lack::Terraform, &lacks);
    None
}

/// A folder in which Terraform keeps what it knows of an Ark.
struct Terraform<'a> {
    dir: TempDir,
    client: &'a Client,
    /// What the workflow is to answer.
    greeting: &'static str,
}

impl<'a> Terraform<'a> {
    fn begun(client: &'a Client, mirror: &std::path::Path, greeting: &'static str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mirror = json!(mirror.canonicalize().expect("a mirror"));
        let config =
            format!("provider_installation {{\n  filesystem_mirror {{ path = {mirror} }}\n}}\n");
        fs::write(dir.path().join("cli.tfrc"), config).expect("a file");
        fs::write(dir.path().join("main.tf"), MAIN).expect("a file");
        let terraform = Self { dir, client, greeting };
        terraform.good(&["init"]);
        terraform
    }

    fn run(&self, args: &[&str]) -> Output {
        Command::new("terraform")
            .args(args)
            .current_dir(self.dir.path())
            .env("TF_CLI_CONFIG_FILE", self.dir.path().join("cli.tfrc"))
            .env("TF_IN_AUTOMATION", "1")
            .env("TF_INPUT", "0")
            .env("CHECKPOINT_DISABLE", "1")
            .env("TF_VAR_endpoint", &self.client.base)
            .env("TF_VAR_greeting", self.greeting)
            .env("AWS_ACCESS_KEY_ID", &self.client.key)
            .env("AWS_SECRET_ACCESS_KEY", &self.client.secret)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_CONFIG_FILE", "/dev/null")
            .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
            .env_remove("AWS_SESSION_TOKEN")
            .env_remove("AWS_PROFILE")
            .output()
            .expect("terraform runs")
    }

    fn good(&self, args: &[&str]) -> String {
        let output = self.run(&[args, &["-no-color"]].concat());
        assert!(output.status.success(), "terraform {args:?}: {}", words(&output));
        String::from_utf8(output.stdout).expect("text")
    }

    /// Makes what there is into what is wanted; answers what was said of that.
    fn apply(&self) -> String {
        self.good(&["apply", "-auto-approve"])
    }

    /// What a plan would change, if anything.
    fn differs(&self) -> Option<String> {
        let output = self.run(&["plan", "-detailed-exitcode", "-no-color"]);
        match output.status.code() {
            Some(0) => None,
            Some(2) => Some(words(&output)),
            _ => panic!("terraform plan: {}", words(&output)),
        }
    }
}

/// The versions of the machine and, of these, the one that the alias leads to.
async fn versions(client: &Client) -> (Vec<String>, String) {
    let region = "arn:aws:states:eu-west-1:000000000000";
    let machine = format!("{region}:stateMachine:greets");
    let listed = json!({ "stateMachineArn": machine });
    let listed = client.good("ListStateMachineVersions", listed).await;
    let arn = |version: &Value| {
        version["stateMachineVersionArn"].as_str().expect("an ARN").replace(&machine, "")
    };
    let all = listed["stateMachineVersions"].as_array().expect("a list").iter().map(arn).collect();
    let alias = json!({ "stateMachineAliasArn": format!("{machine}:live") });
    let alias = client.good("DescribeStateMachineAlias", alias).await;
    let routes = alias["routingConfiguration"].as_array().expect("a list");
    assert_eq!((routes.len(), &routes[0]["weight"]), (1, &json!(100)), "{alias}");
    (all, arn(&routes[0]))
}

/// What the workflow answers whoever starts its alias.
async fn answer(client: &Client) -> Value {
    let alias = "arn:aws:states:eu-west-1:000000000000:stateMachine:greets:live";
    let started = client.good("StartExecution", json!({ "stateMachineArn": alias })).await;
    let ended = client.end(started["executionArn"].as_str().expect("an ARN")).await;
    serde_json::from_str(ended["output"].as_str().expect("an output")).expect("JSON")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn terraform_finds_what_it_applied_and_changes_it_in_one_go() {
    let Some(mirror) = mirror() else { return };
    let ark = Ark::up();
    let client = Client::of(&ark, "deployer");
    let mut terraform = Terraform::begun(&client, &mirror, "hello");
    terraform.apply();
    assert_eq!(terraform.differs(), None);
    assert_eq!(terraform.differs(), None, "a second time");
    assert_eq!(versions(&client).await, (vec![":1".to_owned()], ":1".to_owned()));

    terraform.greeting = "good day";
    let applied = terraform.apply();
    assert!(applied.contains("0 added, 2 changed, 0 destroyed"), "{applied}");
    assert_eq!(terraform.differs(), None);
    let all = vec![":2".to_owned(), ":1".to_owned()];
    assert_eq!(versions(&client).await, (all, ":2".to_owned()));
    assert_eq!(answer(&client).await, "good day");

    terraform.good(&["destroy", "-auto-approve"]);
    for (operation, list) in
        [("ListStateMachines", "stateMachines"), ("ListActivities", "activities")]
    {
        assert_eq!(client.good(operation, json!({})).await, json!({ list: [] }));
    }
    assert_eq!(terraform.good(&["state", "list"]), "");
}
