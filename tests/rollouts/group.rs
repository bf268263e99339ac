//! Several apps in one go (`ark deploy a b c`, `ark deploy --all`): in the order of their dependencies,
//! and back, the last first, when one of them fails.

use std::path::PathBuf;
use std::sync::Arc;

use ark_load::{Driver, Load};
use serde_json::Value;

use crate::harness::{Ark, ENV, Sample, last_json, words};
use crate::shared;

/// A folder with launch files, and the commands that are run there.
struct Project {
    ark: Arc<Ark>,
    folder: PathBuf,
}

impl Project {
    fn new(name: &str) -> Self {
        let ark = shared();
        let folder = ark.dir.path().join(name);
        std::fs::create_dir_all(folder.join("launch")).expect("a folder");
        Self { ark, folder }
    }

    /// Writes the launch file of an app that depends on others.
    fn writes(&self, app: &str, needs: &str, sample: Sample) {
        let sample = Sample { more: format!("dependencies: [{needs}]\n"), ..sample };
        let file = self.ark.launch(app, &sample.count(1));
        let here = self.folder.join("launch").join(format!("{app}.yml"));
        std::fs::rename(file, here).expect("a file");
    }

    fn deploys(&self, what: &[&str]) -> std::process::Output {
        let args = [&["deploy"], what, &["-e", ENV]].concat();
        let mut command = self.ark.command(&args);
        command.current_dir(&self.folder).output().expect("ark runs")
    }

    /// The release of each app that has the traffic.
    fn live(&self, apps: &[&str]) -> Vec<Option<u64>> {
        let app = |app| self.ark.get(&format!("/v1/environments/{ENV}/apps/{app}"));
        apps.iter().map(|name| app(name).and_then(|app| app["live"].as_u64())).collect()
    }
}

fn outcomes(group: &Value) -> Vec<(&str, &str)> {
    let members = group["members"].as_array().expect("members");
    members
        .iter()
        .map(|m| (m["app"].as_str().expect("a name"), m["outcome"].as_str().expect("an outcome")))
        .collect()
}

/// The deployment or, as the second, the rollback of an app, and when it was.
fn span(group: &Value, app: &str, nth: usize) -> [jiff::Timestamp; 2] {
    let members = group["members"].as_array().expect("members");
    let member = members.iter().find(|m| m["app"] == app).expect("a member");
    ["created_at", "finished_at"].map(|key| {
        let at = member["deployments"][nth][key].as_str().and_then(|at| at.parse().ok());
        at.unwrap_or_else(|| panic!("no {key} of {nth} of {app}: {group}"))
    })
}

/// Each began when the one before had ended.
fn one_after_the_other(group: &Value, order: &[(&str, usize)]) {
    let spans: Vec<_> = order.iter().map(|(app, nth)| span(group, app, *nth)).collect();
    for (pair, names) in spans.windows(2).zip(order.windows(2)) {
        assert!(pair[0][1] <= pair[1][0], "{names:?} were not in order: {group}");
    }
}

#[test]
fn a_group_goes_in_order_and_back_in_the_reverse_when_one_fails() {
    const APPS: [&str; 4] = ["g-db", "g-api", "g-web", "g-jobs"];
    let project = Project::new("group");
    let ark = &project.ark;
    let writes = |version: u32| {
        for (app, needs) in [("g-db", ""), ("g-api", "g-db"), ("g-jobs", "g-web")] {
            project.writes(app, needs, Sample::version(version));
        }
    };
    writes(1);
    project.writes("g-web", "g-api", Sample::version(1));
    let output = project.deploys(&["--all"]);
    assert!(output.status.success(), "{}", words(&output));
    assert_eq!(project.live(&APPS), [Some(1); 4]);
    let said = words(&output);
    assert!(said.contains("4 apps, in this order: g-db, g-api, g-web, g-jobs"), "{said}");
    assert!(said.contains("4 apps are live on production"), "{said}");

    // The third of five fails; one of those before it runs for the first time.
    writes(2);
    project.writes("g-new", "g-api", Sample::version(1));
    project.writes("g-web", "g-new", Sample::version(2).variable("BROKEN", "crash"));
    let loads: Vec<_> = ["g-db", "g-api", "g-web", "g-jobs"]
        .iter()
        .map(|app| {
            let load = Load::builder(ark.http, &ark.host(app)).rate(40.0).strict();
            load.mix([(Driver::KeepAlive, 1), (Driver::NewConnection, 1)]).start().expect("load")
        })
        .collect();
    let output = project.deploys(&["g-jobs", "g-web", "g-new", "g-api", "g-db", "--json"]);
    assert_eq!(output.status.code(), Some(3), "as the one that failed: {}", words(&output));
    let group = last_json(&output);
    let expected = [
        ("g-db", "rolled_back"),
        ("g-api", "rolled_back"),
        ("g-new", "left"),
        ("g-web", "failed"),
        ("g-jobs", "not_begun"),
    ];
    assert_eq!(outcomes(&group), expected, "{group}");
    let order = [("g-db", 0), ("g-api", 0), ("g-new", 0), ("g-web", 0), ("g-api", 1), ("g-db", 1)];
    one_after_the_other(&group, &order);
    assert_eq!(project.live(&APPS), [Some(1); 4], "each is where it was: {group}");
    assert_eq!(project.live(&["g-new"]), [Some(1)], "there is nothing to go back to: {group}");
    let mut served = 0;
    for load in loads {
        let report = load.stop_blocking();
        assert_eq!(report.failed(), 0, "{:#?}", report.failures);
        served += report.ok();
    }
    let receipt = &group["receipt"];
    assert_eq!((&receipt["failed"], &receipt["cut"]), (&0.into(), &0.into()), "{group}");
    assert!(receipt["served"].as_u64().is_some_and(|n| n > 0 && n <= served), "{receipt}");

    // What is refused ends the group as well, with its own code.
    writes(3);
    let wants = Sample::version(3);
    project.writes("g-web", "g-db", wants);
    let file = project.folder.join("launch").join("g-web.yml");
    let mut text = std::fs::read_to_string(&file).expect("the file");
    text.push_str("env: [NEVER_SET]\n");
    std::fs::write(&file, text).expect("a file");
    let output = project.deploys(&["g-web", "g-db", "--json"]);
    assert_eq!(output.status.code(), Some(7), "{}", words(&output));
    assert!(words(&output).contains("NEVER_SET"), "{}", words(&output));
    let group = last_json(&output);
    assert_eq!(outcomes(&group), [("g-db", "rolled_back"), ("g-web", "failed")], "{group}");
    assert_eq!(project.live(&APPS), [Some(1); 4], "{group}");

    // What cannot be put in order is not begun.
    project.writes("g-db", "g-web", Sample::version(4));
    let output = project.deploys(&["g-web", "g-db"]);
    assert_eq!(output.status.code(), Some(2), "{}", words(&output));
    assert!(words(&output).contains("in a circle"), "{}", words(&output));
    assert_eq!(project.live(&APPS), [Some(1); 4]);
}
