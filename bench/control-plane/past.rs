//! A long past: environments, events, versions of a configuration; and an environment that is drawn.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ark_model::event::{EventKind, NewEvent};
use ark_store::{ConfigValue, StoreError};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::server::Server;

/// Rows of one transaction.
const AT_ONCE: usize = 10_000;
/// One event of so many is of the rare kind.
const RARE: usize = 5_000;
/// How long the environment that is drawn may take to be live.
const PATIENCE: Duration = Duration::from_secs(120);

/// Makes all of it.
pub(crate) async fn past(server: &Server) {
    for n in 1..server.sizes.environments {
        let body = json!({ "name": environment(n) });
        server.make(reqwest::Method::POST, "/v1/environments", &body).await;
    }
    drawn(server).await;
    let begun = Instant::now();
    events(server).await;
    println!("{} events: {:.1} s", server.sizes.events, begun.elapsed().as_secs_f64());
    configuration(server).await;
}

fn environment(n: usize) -> String {
    match n {
        1 => "drawn".to_owned(),
        n => format!("e{n}"),
    }
}

/// An environment in which each app needs some of the next ones.
async fn drawn(server: &Server) {
    let apps = server.sizes.drawn_apps;
    let needs = |app: usize| -> Vec<String> {
        (1..=8)
            .map(|step| app + step * step)
            .filter(|n| *n < apps)
            .map(|n| format!("part-{n}"))
            .collect()
    };
    // Those that are needed first.
    for app in (0..apps).rev() {
        let text = format!(
            "run: {{command: [./part]}}\nexpose: [{{name: http, port: 80}}]\ndeploy: {{min_healthy_time: 0s}}\n\
             dependencies: [{}]\n",
            needs(app).join(", ")
        );
        let body = json!({"launch": {"file": format!("launch/part-{app}.yml"), "text": text}});
        let path = format!("/v1/environments/drawn/apps/part-{app}/deployments");
        server.make(reqwest::Method::POST, &path, &body).await;
    }
    let begun = Instant::now();
    loop {
        let rows = server.get("/v1/environments/drawn/apps?limit=500").await;
        let items = rows["items"].as_array().expect("rows");
        let live = items.iter().filter(|row| !row["live"].is_null()).count();
        if live == apps {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{live} of {apps} are live");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn event(at: Timestamp, kind: EventKind, env: &str, app: &str, n: usize) -> NewEvent {
    NewEvent {
        at,
        kind,
        by: "bench".into(),
        env: Some(env.parse().expect("a name")),
        app: Some(app.parse().expect("a name")),
        deployment: None,
        instance: None,
        text: format!(
            "instance {app}-{n:06x} of v{} was replaced after it had run for a while",
            n % 40
        ),
    }
}

/// Two of five are of one app, the rest of all apps and environments.
async fn events(server: &Server) {
    let sizes = server.sizes;
    let begun = Timestamp::now() - SignedDuration::from_hours(24);
    for first in (0..sizes.events).step_by(AT_ONCE) {
        let written = server.store.write::<_, StoreError, _>(move |tx| {
            for n in first..sizes.events.min(first + AT_ONCE) {
                let (env, app) = match n % 5 {
                    0 | 1 => ("production".to_owned(), 7),
                    2 | 3 => ("production".to_owned(), n % sizes.apps),
                    _ => (environment(1 + n % (sizes.environments - 1)), n % sizes.apps),
                };
                let kind = match n % RARE {
                    0 => EventKind::Certificate,
                    rest if rest % 2 == 0 => EventKind::InstanceReady,
                    _ => EventKind::InstanceStopped,
                };
                let at = begun + SignedDuration::from_millis(n as i64);
                tx.append_event(event(at, kind, &env, &format!("app-{app}"), n))?;
            }
            Ok(())
        });
        written.await.expect("the store is filled");
    }
}

/// One value of the first day beside one that each deployment sets.
async fn configuration(server: &Server) {
    let versions = server.sizes.config_versions;
    for first in (0..versions).step_by(AT_ONCE) {
        let written = server.store.write::<_, StoreError, _>(move |tx| {
            let (env, app) =
                ("production".parse().expect("a name"), "app-7".parse().expect("a name"));
            let now = Timestamp::now();
            for base in first..versions.min(first + AT_ONCE) {
                let plain = |value: String| ConfigValue::Plain { value };
                let values = BTreeMap::from([
                    ("FIRST_DAY".to_owned(), plain("yes".to_owned())),
                    ("GIT_SHA".to_owned(), plain(format!("{base:040x}"))),
                ]);
                tx.insert_config(&env, &app, base as u64, &values, now, "ci")?;
            }
            Ok(())
        });
        written.await.expect("the store is filled");
    }
}

/// Something that no page of an app in `production` shows.
pub(crate) async fn happens_elsewhere(server: &Server) {
    let written = server.store.write::<_, StoreError, _>(|tx| {
        let (env, app) = ("drawn".to_owned(), "part-0".to_owned());
        tx.append_event(event(Timestamp::now(), EventKind::InstanceReady, &env, &app, 0))
    });
    written.await.expect("an event");
}
