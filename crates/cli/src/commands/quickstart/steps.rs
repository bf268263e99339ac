//! The steps of the quickstart, under load, and what came of each.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use ark_load::{Driver, Load, Report, Running};
use ark_model::api::{DeployRequest, DeploymentView, LaunchText, RollbackRequest};
use ark_model::exit::ExitCode;
use ark_model::{AppName, DeploymentState, Diagnosis, EnvName, ReleaseNumber};
use ark_server::ServerFile;
use serde::Serialize;
use tokio::time::sleep;

use super::sample::{APP, ENV, Health, launch_text};
use crate::client::Client;
use crate::failure::Failure;
use crate::output::{Output, times};

/// Requests per second, besides streams.
const RATE: f64 = 800.0;
/// Requests that the receipts must account for, for their zeros to mean something.
const REQUESTS_MIN: u64 = 10_000;
/// How long one deployment may take; its own deadlines are shorter.
const STEP_DEADLINE: Duration = Duration::from_secs(60);
/// How often a deployment is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// Calm between two steps, so that the story's numbers have a before and an after.
const CALM: Duration = Duration::from_millis(700);
/// How long the load may take to reach every release.
const SEEN_DEADLINE: Duration = Duration::from_secs(20);

/// One step: what was to happen and what did.
#[derive(Debug, Serialize)]
pub(super) struct Step {
    /// What was done, in words.
    pub(super) title: String,
    /// Whether it did what it should.
    pub(super) ok: bool,
    /// Why not.
    pub(super) wrong: Option<String>,
    /// How long it took.
    pub(super) took_ms: u64,
    /// The deployment, with its receipt.
    pub(super) deployment: DeploymentView,
}

/// Everything that happened.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    /// Whether no request failed and every step did what it should.
    ok: bool,
    /// Where the API is.
    pub(super) api: String,
    /// Where the app is.
    pub(super) url: String,
    /// The steps in order.
    pub(super) steps: Vec<Step>,
    /// Requests that the receipts account for.
    pub(super) receipts_requests: u64,
    /// What the load client counted.
    pub(super) load: Report,
    /// What else was not as it should be.
    pub(super) wrong: Vec<String>,
    /// The whole time.
    pub(super) took_ms: u64,
}

impl Outcome {
    pub(super) fn ok(&self) -> bool {
        self.ok
    }
}

/// Runs all steps.
pub(super) async fn run(
    out: Output,
    client: &Client,
    server: &ServerFile,
    dir: &Path,
) -> Result<Outcome, Failure> {
    let began = Instant::now();
    let parsed = |error: ark_model::NameError| Failure::usage(error.to_string());
    let tour = Tour {
        out,
        client,
        dir,
        env: ENV.parse().map_err(parsed)?,
        app: APP.parse().map_err(parsed)?,
    };
    let mut steps = Vec::new();
    tour.deploy(&mut steps, "version 1, three instances", 1, Health::Good).await?;
    let load = start_load(server)?;
    sleep(CALM).await;
    tour.deploy(&mut steps, "version 2, under load", 2, Health::Good).await?;
    sleep(CALM).await;
    tour.deploy(&mut steps, "version 3, which never becomes ready", 3, Health::NeverReady).await?;
    sleep(CALM).await;
    tour.roll_back(&mut steps).await?;
    sleep(CALM).await;
    // A slow machine has not sent enough yet: the same again, in both directions.
    let mut version = 1;
    while receipts_requests(&steps) < REQUESTS_MIN && steps.len() < 10 {
        version = 3 - version;
        let title = format!("version {version} again, for more requests");
        tour.deploy(&mut steps, &title, version, Health::Good).await?;
    }
    let seen =
        |report: &Report| report.versions.contains_key("1") && report.versions.contains_key("2");
    // Its verdict is in the final report, too.
    let _ = load.wait_until(SEEN_DEADLINE, seen).await;
    let load = load.stop().await;
    let receipts_requests = receipts_requests(&steps);
    let wrong = judge(&steps, &load, receipts_requests);
    Ok(Outcome {
        ok: wrong.is_empty() && steps.iter().all(|step| step.ok),
        api: server.api.clone(),
        url: tour.url().await,
        steps,
        receipts_requests,
        load,
        wrong,
        took_ms: millis(began),
    })
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

fn receipts_requests(steps: &[Step]) -> u64 {
    let total = |step: &Step| {
        step.deployment
            .receipt
            .as_ref()
            .map_or(0, |receipt| receipt.total.served + receipt.total.failed + receipt.total.cut)
    };
    steps.iter().map(total).sum()
}

/// What is wrong beyond single steps.
fn judge(steps: &[Step], load: &Report, receipts_requests: u64) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut check = |good: bool, text: String| {
        if !good {
            wrong.push(text);
        }
    };
    check(load.failed() == 0, format!("the load client saw {} failed requests", load.failed()));
    check(load.is_balanced(), "the load client lost count".to_owned());
    check(
        receipts_requests >= REQUESTS_MIN,
        format!("the receipts hold {receipts_requests} requests; {REQUESTS_MIN} were wanted"),
    );
    for version in ["1", "2"] {
        let seen = load.versions.contains_key(version);
        check(seen, format!("version {version} never answered"));
    }
    check(!load.versions.contains_key("3"), "the broken version 3 answered requests".to_owned());
    for step in steps {
        let total = step.deployment.receipt.as_ref().map(|receipt| &receipt.total);
        let lost = total.map_or(0, |total| total.failed + total.cut);
        check(lost == 0, format!("the receipt of “{}” shows {lost} lost requests", step.title));
    }
    wrong
}

fn start_load(server: &ServerFile) -> Result<Running, Failure> {
    let http: Option<SocketAddr> =
        server.http.as_deref().and_then(|http| http.strip_prefix("http://")?.parse().ok());
    let failed = |text: String| Failure::new(ExitCode::Failed, "load", text);
    let http = http.ok_or_else(|| failed("no gateway serves".to_owned()))?;
    Load::builder(http, &format!("{APP}.{ENV}.localhost"))
        .rate(RATE)
        .mix([
            (Driver::KeepAlive, 16),
            (Driver::NewConnection, 2),
            (Driver::Slow, 1),
            (Driver::Upload, 1),
        ])
        .slow(Duration::from_millis(300))
        .sse_streams(4)
        .websockets(4)
        .start()
        .map_err(|error| failed(format!("the load client does not start: {error}")))
}

struct Tour<'a> {
    out: Output,
    client: &'a Client,
    dir: &'a Path,
    env: EnvName,
    app: AppName,
}

impl Tour<'_> {
    async fn deploy(
        &self,
        steps: &mut Vec<Step>,
        title: &str,
        version: u32,
        health: Health,
    ) -> Result<(), Failure> {
        let launch = self.launch(version, health)?;
        let request = DeployRequest {
            launch: Some(launch),
            reason: Some(format!("quickstart: {title}")),
            ..DeployRequest::default()
        };
        let began = Instant::now();
        let view = self.client.deploy(&self.env, &self.app, &request).await?;
        let view = self.over(view).await?;
        let wrong = match health {
            Health::Good => succeeded(&view),
            Health::NeverReady => returned(&view),
        };
        self.record(steps, title, began, view, wrong);
        Ok(())
    }

    async fn roll_back(&self, steps: &mut Vec<Step>) -> Result<(), Failure> {
        let to = ReleaseNumber(1);
        let request =
            RollbackRequest { to: Some(to), reason: Some("quickstart".to_owned()), expect: None };
        let began = Instant::now();
        let view = self.client.rollback(&self.env, &self.app, &request).await?;
        let view = self.over(view).await?;
        let wrong = succeeded(&view)
            .or_else(|| (view.release != to).then(|| format!("it went to {}", view.release)));
        self.record(steps, "rollback to version 1", began, view, wrong);
        Ok(())
    }

    fn record(
        &self,
        steps: &mut Vec<Step>,
        title: &str,
        began: Instant,
        deployment: DeploymentView,
        wrong: Option<String>,
    ) {
        let took_ms = millis(began);
        let mark = if wrong.is_none() {
            self.out.talk_style.good("✓")
        } else {
            self.out.talk_style.bad("✗")
        };
        let why = wrong.as_ref().map_or_else(String::new, |wrong| format!(": {wrong}"));
        self.out.say(format!("{mark} {title}   {}{why}", times::length(took_ms)));
        let ok = wrong.is_none();
        steps.push(Step { title: title.to_owned(), ok, wrong, took_ms, deployment });
    }

    /// Writes the launch file, where a curious user finds it, and reads it as `ark deploy` would.
    fn launch(&self, version: u32, health: Health) -> Result<LaunchText, Failure> {
        let folder = self.dir.join(crate::launch::FOLDER);
        let path = folder.join(format!("{APP}.yml"));
        let failed = |error: std::io::Error| Failure::file(&path, "written", &error);
        let ark = std::env::current_exe().map_err(failed)?;
        let text = launch_text(&ark, version, health);
        fs::create_dir_all(&folder).map_err(failed)?;
        fs::write(&path, &text).map_err(failed)?;
        Ok(LaunchText { file: path.display().to_string(), text })
    }

    async fn over(&self, first: DeploymentView) -> Result<DeploymentView, Failure> {
        let deadline = Instant::now() + STEP_DEADLINE;
        let id = first.id.to_string();
        loop {
            let view = self.client.deployment(&id).await?;
            if view.state.is_terminal() {
                return Ok(view);
            }
            if Instant::now() >= deadline {
                return Err(Failure::new(
                    ExitCode::TimedOut,
                    "quickstart",
                    format!("the deployment of {} did not end", view.release),
                ));
            }
            sleep(LOOK).await;
        }
    }

    async fn url(&self) -> String {
        let detail = self.client.app(&self.env, &self.app).await;
        let url = detail.ok().and_then(|detail| detail.addresses.into_iter().next());
        url.map(|address| address.url).unwrap_or_default()
    }
}

fn succeeded(view: &DeploymentView) -> Option<String> {
    (view.state != DeploymentState::Succeeded).then(|| ended(view))
}

fn returned(view: &DeploymentView) -> Option<String> {
    let failure = view.diagnosis.as_ref().map(Diagnosis::failure);
    let never_ready = matches!(failure, Some(Diagnosis::NeverReady { .. }));
    (view.state != DeploymentState::RolledBack || !never_ready).then(|| ended(view))
}

fn ended(view: &DeploymentView) -> String {
    let state = crate::commands::deployments::state(view.state);
    match &view.diagnosis_words {
        Some(words) => format!("it ended as {state} ({words})"),
        None => format!("it ended as {state}"),
    }
}
