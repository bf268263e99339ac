//! What an app was: all of its deployments and all of its releases, page by page. The app's own page has
//! the newest of both.

use ark_model::api::{DeploymentView, Page, ReleaseDiff, ReleaseRow};
use ark_model::{AppName, EnvName};
use askama::Template;
use axum::extract::{Path, Query};
use serde::Deserialize;

use super::releases::{ReleaseLine, release_lines};
use super::{DeploymentLine, deployment_line, releases as lines};
use crate::room::Room;
use crate::shell::Shell;
use crate::visit::{Answer, Visit};
use crate::words::value;

/// Lines of one page.
const DEPLOYMENTS: u32 = 50;
const RELEASES: u32 = 20;
/// Bytes of a page without its list.
const FRAME: usize = 8_000;
/// Of a release without its changes.
const RELEASE: usize = 1_200;

type Place = Path<(EnvName, AppName)>;

#[derive(Deserialize)]
pub(super) struct Cursor {
    cursor: Option<String>,
}

impl Cursor {
    /// As a part of a query of the API.
    fn beyond(&self) -> String {
        self.cursor.as_deref().map(|at| format!("&cursor={}", value(at))).unwrap_or_default()
    }
}

fn frame(visit: &Visit, env: &EnvName, app: &AppName, title: String) -> Shell {
    visit
        .shell(title, "/")
        .crumb("/", "Overview")
        .crumb(format!("/environments/{env}"), env)
        .crumb(format!("/e/{env}/{app}"), app)
}

#[derive(Template)]
#[template(path = "deployments.html")]
struct Deployments {
    shell: Shell,
    address: String,
    deployments: Vec<DeploymentLine>,
    first: bool,
    next: Option<String>,
}

pub(super) async fn deployments(
    visit: Visit,
    Path((env, app)): Place,
    Query(query): Query<Cursor>,
) -> Answer {
    let beyond = query.beyond();
    let asked = format!("/v1/deployments?env={env}&app={app}&limit={DEPLOYMENTS}{beyond}");
    let found: Page<DeploymentView> = visit.get(&asked).await?;
    let address = format!("/e/{env}/{app}/deployments");
    let mut shell = frame(&visit, &env, &app, format!("Deployments of {app} on {env}"))
        .command(format!("ark deployments {app} -e {env} --limit 500"));
    if query.cursor.is_none() {
        shell = shell.live(&format!("env={env}&app={app}"));
    }
    visit.page(&Deployments {
        shell,
        deployments: found.items.iter().map(|d| deployment_line(&visit, d)).collect(),
        first: query.cursor.is_none(),
        next: found.next.map(|at| format!("{address}?cursor={}", value(&at))),
        address,
    })
}

#[derive(Template)]
#[template(path = "releases.html")]
struct Releases {
    shell: Shell,
    env: EnvName,
    app: AppName,
    address: String,
    releases: Vec<ReleaseLine>,
    first: bool,
    next: Option<String>,
}

pub(super) async fn releases(
    visit: Visit,
    Path((env, app)): Place,
    Query(query): Query<Cursor>,
) -> Answer {
    let base = format!("/v1/environments/{env}/apps/{app}");
    let asked = format!("{base}/releases?limit={RELEASES}{}", query.beyond());
    let mut found: Page<ReleaseRow> = visit.get(&asked).await?;
    let shown = found.items.len();
    if let Some(next) = &found.next {
        // The last one is compared with the first of the page that follows.
        let asked = format!("{base}/releases?limit=1&cursor={}", value(next));
        found.items.extend(visit.get::<Page<ReleaseRow>>(&asked).await?.items);
    }
    let address = format!("/e/{env}/{app}/releases");
    let mut shell = frame(&visit, &env, &app, format!("Releases of {app} on {env}"))
        .command(format!("ark releases {app} -e {env} --limit 500"));
    if query.cursor.is_none() {
        shell = shell.live(&format!("env={env}&app={app}"));
    }
    let mut room = Room::beside(FRAME + RELEASES as usize * RELEASE);
    visit.page(&Releases {
        shell,
        releases: release_lines(&visit, &base, &found.items, shown, &mut room).await?,
        first: query.cursor.is_none(),
        next: found.next.map(|at| format!("{address}?cursor={}", value(&at))),
        address,
        env,
        app,
    })
}

#[derive(Deserialize)]
pub(super) struct Pair {
    from: u64,
    to: u64,
}

#[derive(Template)]
#[template(path = "diff.html")]
struct Diff {
    shell: Shell,
    changes: Vec<lines::Change>,
    hidden: usize,
}

/// All that differs between two releases.
pub(super) async fn diff(
    visit: Visit,
    Path((env, app)): Place,
    Query(Pair { from, to }): Query<Pair>,
) -> Answer {
    let address = format!("/v1/environments/{env}/apps/{app}/diff?from=v{from}&to=v{to}");
    let found: ReleaseDiff = visit.get(&address).await?;
    let shell = frame(&visit, &env, &app, format!("What v{to} of {app} changed from v{from}"))
        .crumb(format!("/e/{env}/{app}/releases"), "Releases")
        .command(format!("ark diff v{from} v{to} --app {app} -e {env}"));
    let (changes, hidden) = Room::beside(FRAME).fit(lines::changes(&found), lines::Change::bytes);
    visit.page(&Diff { shell, changes, hidden })
}
