//! One method per operation of the API. The addresses stand here and nowhere else.

use std::time::Duration;

use ark_model::api::{
    AbortRequest, AppDetail, AppRow, ArtifactAnswer, ArtifactOffer, BuildEvent, BuildRequest,
    ConfigPatch, ConfigView, ConsoleLink, DeployRequest, DeploymentView, DeploymentsQuery,
    DiffQuery, DoctorReport, EnvironmentCreate, EnvironmentView, ExecutionSummary, ExecutionsQuery,
    FreezePut, GatewayView, GcReport, ImagesFind, ImagesFound, InstanceRow, InstancesQuery,
    LeasePut, NodeDraining, NodePut, NodeView, Page, PageQuery, PlanView, PromoteRequest,
    PushHookPut, PushHookView, PushView, ReceiptView, RegistryPut, RegistryView, ReleaseDetail,
    ReleaseDiff, ReleaseRow, ResolvedEnvironment, RollbackRequest, ScaleRequest, SchedulePut,
    ScheduleView, ServerInfo, ShutdownRequest, TokenCreate, TokenCreated, TokenView,
    VariablesQuery, WishRequest, Workflow, WorkflowActivity, WorkflowQueue, WorkflowQueuePut,
    WorkflowsQuery,
};
use ark_model::{AppName, EnvName, NodeName, ReleaseNumber, Sha256};
use reqwest::{Body, Method};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::upload::BLOB_TIMEOUT;
use super::{Client, REQUEST_TIMEOUT};
use crate::failure::Failure;

/// A query without parameters.
const NONE: [(&str, &str); 0] = [];
/// Pages of a list that are read: no list of a server is longer.
const PAGES_MAX: usize = 1_000;
/// How long collecting garbage may take.
const GC_TIMEOUT: Duration = Duration::from_secs(600);

/// How long a build may say nothing; the server gives up before.
const BUILD_SILENCE: Duration = Duration::from_secs(35 * 60);
/// The longest line of a build's answer, in bytes.
const BUILD_LINE_BYTES_MAX: usize = 1 << 20;

fn build_lost(why: &str) -> Failure {
    let headline = format!("the build is not known to have ended: {why}");
    Failure::new(ark_model::exit::ExitCode::Failed, "build", headline)
        .remedy("an image that was built is found", "run the command again")
}

/// Where an app of an environment is found.
pub(crate) fn app_path(env: &EnvName, app: &AppName) -> String {
    format!("/v1/environments/{env}/apps/{app}")
}

impl Client {
    /// What the server is.
    pub(crate) async fn server_info(&self) -> Result<ServerInfo, Failure> {
        self.get("/v1/server", &NONE).await
    }

    /// Ends the server.
    pub(crate) async fn shutdown(&self, request: ShutdownRequest) -> Result<(), Failure> {
        self.send(|| {
            self.request(Method::POST, "/v1/shutdown").timeout(REQUEST_TIMEOUT).json(&request)
        })
        .await
        .map(|_| ())
    }

    /// What the server says of its own health.
    pub(crate) async fn doctor(&self) -> Result<DoctorReport, Failure> {
        self.get("/v1/doctor", &NONE).await
    }

    /// Replaces the gateway's process.
    pub(crate) async fn restart_gateway(&self) -> Result<GatewayView, Failure> {
        self.json_within(GC_TIMEOUT, || self.request(Method::POST, "/v1/gateway/restart")).await
    }

    /// Removes what nothing needs any more.
    pub(crate) async fn gc(&self) -> Result<GcReport, Failure> {
        self.json_within(GC_TIMEOUT, || self.request(Method::POST, "/v1/gc")).await
    }

    /// Which of these images the server's engine has.
    pub(crate) async fn find_images(&self, images: Vec<String>) -> Result<ImagesFound, Failure> {
        self.post("/v1/images/find", &ImagesFind { images, keep: false }).await
    }

    /// Whether the server's engine has an image, which is then left alone by `ark gc` for a while.
    pub(crate) async fn keep_image(&self, image: &str) -> Result<bool, Failure> {
        let wanted = ImagesFind { images: vec![image.to_owned()], keep: true };
        let found: ImagesFound = self.post("/v1/images/find", &wanted).await?;
        Ok(found.present.contains_key(image))
    }

    /// Registries of images.
    pub(crate) async fn registries(&self) -> Result<Vec<RegistryView>, Failure> {
        self.all("/v1/registries", &NONE).await
    }

    /// Uses a registry.
    pub(crate) async fn set_registry(
        &self,
        host: &str,
        put: &RegistryPut,
    ) -> Result<RegistryView, Failure> {
        let path = format!("/v1/registries/{}", segment(host));
        self.json(|| self.request(Method::PUT, &path).json(put)).await
    }

    /// Forgets a registry.
    pub(crate) async fn remove_registry(&self, host: &str) -> Result<(), Failure> {
        self.delete(&format!("/v1/registries/{}", segment(host))).await
    }

    /// The hosts of the cluster.
    pub(crate) async fn nodes(&self) -> Result<Vec<NodeView>, Failure> {
        self.all("/v1/nodes", &NONE).await
    }

    /// Adds a host, or changes it.
    pub(crate) async fn put_node(
        &self,
        name: &NodeName,
        put: &NodePut,
    ) -> Result<NodeView, Failure> {
        let path = format!("/v1/nodes/{name}");
        self.json(|| self.request(Method::PUT, &path).json(put)).await
    }

    /// Says whether a host is to be empty.
    pub(crate) async fn drain_node(
        &self,
        name: &NodeName,
        draining: bool,
    ) -> Result<NodeView, Failure> {
        let path = format!("/v1/nodes/{name}/draining");
        self.json(|| self.request(Method::PUT, &path).json(&NodeDraining { draining })).await
    }

    /// Forgets a host.
    pub(crate) async fn remove_node(&self, name: &NodeName, force: bool) -> Result<(), Failure> {
        self.delete(&format!("/v1/nodes/{name}?force={force}")).await
    }

    /// Push hooks.
    pub(crate) async fn push_hooks(&self) -> Result<Vec<PushHookView>, Failure> {
        self.all("/v1/push-hooks", &NONE).await
    }

    /// What a push hook was told.
    pub(crate) async fn pushes(&self, hook: &str) -> Result<Vec<PushView>, Failure> {
        self.all(&format!("/v1/push-hooks/{}/pushes", segment(hook)), &NONE).await
    }

    /// Makes or changes a push hook.
    pub(crate) async fn set_push_hook(
        &self,
        name: &str,
        put: &PushHookPut,
    ) -> Result<PushHookView, Failure> {
        let path = format!("/v1/push-hooks/{}", segment(name));
        self.json(|| self.request(Method::PUT, &path).json(put)).await
    }

    /// Removes a push hook.
    pub(crate) async fn remove_push_hook(&self, name: &str) -> Result<(), Failure> {
        self.delete(&format!("/v1/push-hooks/{}", segment(name))).await
    }

    /// Builds an image; `said` hears of each line. Answers the image's digest, or the builder's
    /// reason.
    pub(crate) async fn build(
        &self,
        request: &BuildRequest,
        mut said: impl FnMut(&str),
    ) -> Result<Result<String, String>, Failure> {
        let sending = self.send_once(self.request(Method::POST, "/v1/builds").json(request));
        let mut response = sending.await?;
        let mut rest = Vec::new();
        loop {
            let chunk = tokio::time::timeout(BUILD_SILENCE, response.chunk()).await;
            let chunk = chunk.map_err(|_| build_lost("nothing was heard of it for too long"))?;
            let Some(chunk) = chunk.map_err(|error| self.unreachable(&error))? else {
                return Err(build_lost("the server ended in the middle of it"));
            };
            rest.extend_from_slice(&chunk);
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                match serde_json::from_slice(&line) {
                    Ok(BuildEvent::Log { text }) => said(&text),
                    Ok(BuildEvent::Built { digest, .. }) => return Ok(Ok(digest)),
                    Ok(BuildEvent::Failed { reason }) => return Ok(Err(reason)),
                    Err(error) => return Err(build_lost(&error.to_string())),
                }
            }
            if rest.len() > BUILD_LINE_BYTES_MAX {
                return Err(build_lost("a line of it is too long"));
            }
        }
    }

    /// All environments.
    pub(crate) async fn environments(&self) -> Result<Vec<EnvironmentView>, Failure> {
        self.all("/v1/environments", &NONE).await
    }

    /// One environment.
    pub(crate) async fn environment(&self, env: &EnvName) -> Result<EnvironmentView, Failure> {
        self.get(&format!("/v1/environments/{env}"), &NONE).await
    }

    /// Makes an environment.
    pub(crate) async fn create_environment(
        &self,
        request: &EnvironmentCreate,
    ) -> Result<EnvironmentView, Failure> {
        self.post("/v1/environments", request).await
    }

    /// Gives an environment an end, or a later one.
    pub(crate) async fn put_lease(
        &self,
        env: &EnvName,
        put: &LeasePut,
    ) -> Result<EnvironmentView, Failure> {
        let path = format!("/v1/environments/{env}/lease");
        self.json(|| self.request(Method::PUT, &path).json(put)).await
    }

    /// Keeps an environment until somebody destroys it.
    pub(crate) async fn delete_lease(&self, env: &EnvName) -> Result<EnvironmentView, Failure> {
        let path = format!("/v1/environments/{env}/lease");
        self.json(|| self.request(Method::DELETE, &path)).await
    }

    /// Makes or replaces a freeze window.
    pub(crate) async fn put_freeze(
        &self,
        env: &EnvName,
        window: &str,
        put: &FreezePut,
    ) -> Result<EnvironmentView, Failure> {
        let path = format!("/v1/environments/{env}/freeze/{window}");
        self.json(|| self.request(Method::PUT, &path).json(put)).await
    }

    /// Removes a freeze window.
    pub(crate) async fn delete_freeze(
        &self,
        env: &EnvName,
        window: &str,
    ) -> Result<EnvironmentView, Failure> {
        let path = format!("/v1/environments/{env}/freeze/{window}");
        self.json(|| self.request(Method::DELETE, &path)).await
    }

    /// Begins to destroy an environment.
    pub(crate) async fn destroy_environment(&self, env: &EnvName) -> Result<(), Failure> {
        self.delete(&format!("/v1/environments/{env}")).await
    }

    /// All apps of an environment.
    pub(crate) async fn apps(&self, env: &EnvName) -> Result<Vec<AppRow>, Failure> {
        self.all(&format!("/v1/environments/{env}/apps"), &NONE).await
    }

    /// One app.
    pub(crate) async fn app(&self, env: &EnvName, app: &AppName) -> Result<AppDetail, Failure> {
        self.get(&app_path(env, app), &NONE).await
    }

    /// Instances of an app.
    pub(crate) async fn instances(
        &self,
        env: &EnvName,
        app: &AppName,
        query: &InstancesQuery,
    ) -> Result<Vec<InstanceRow>, Failure> {
        self.all(&format!("{}/instances", app_path(env, app)), query).await
    }

    /// Sets the number of instances.
    pub(crate) async fn scale(
        &self,
        env: &EnvName,
        app: &AppName,
        count: Option<u32>,
    ) -> Result<AppDetail, Failure> {
        self.post(&format!("{}/scale", app_path(env, app)), &ScaleRequest { count }).await
    }

    /// Replaces every instance by a new one of the same release.
    pub(crate) async fn restart(&self, env: &EnvName, app: &AppName) -> Result<AppDetail, Failure> {
        self.act(&format!("{}/restart", app_path(env, app))).await
    }

    /// Stops every instance.
    pub(crate) async fn stop(&self, env: &EnvName, app: &AppName) -> Result<AppDetail, Failure> {
        self.act(&format!("{}/stop", app_path(env, app))).await
    }

    /// The newest configuration.
    pub(crate) async fn config(&self, env: &EnvName, app: &AppName) -> Result<ConfigView, Failure> {
        self.get(&format!("{}/config", app_path(env, app)), &NONE).await
    }

    /// Changes the configuration.
    pub(crate) async fn change_config(
        &self,
        env: &EnvName,
        app: &AppName,
        patch: &ConfigPatch,
    ) -> Result<ConfigView, Failure> {
        self.with_body(Method::PATCH, &format!("{}/config", app_path(env, app)), patch).await
    }

    /// Every variable an instance would get, secrets included.
    pub(crate) async fn resolved(
        &self,
        env: &EnvName,
        app: &AppName,
        query: &VariablesQuery,
    ) -> Result<ResolvedEnvironment, Failure> {
        self.get(&format!("{}/environment", app_path(env, app)), query).await
    }

    /// Offers a directory.
    pub(crate) async fn offer(&self, offer: &ArtifactOffer) -> Result<ArtifactAnswer, Failure> {
        self.post("/v1/artifacts", offer).await
    }

    /// Sends one blob of `bytes` bytes.
    pub(crate) async fn put_blob(
        &self,
        sha256: &Sha256,
        bytes: u64,
        body: Body,
    ) -> Result<(), Failure> {
        let request = self
            .request(Method::PUT, &format!("/v1/blobs/{sha256}"))
            .timeout(BLOB_TIMEOUT)
            .header("content-type", "application/octet-stream")
            .header("content-length", bytes)
            .body(body);
        self.send_once(request).await.map(|_| ())
    }

    /// Asks for a deployment.
    pub(crate) async fn deploy(
        &self,
        env: &EnvName,
        app: &AppName,
        request: &DeployRequest,
    ) -> Result<DeploymentView, Failure> {
        self.post_once(&format!("{}/deployments", app_path(env, app)), request).await
    }

    /// What a deployment would do.
    pub(crate) async fn plan(
        &self,
        env: &EnvName,
        app: &AppName,
        request: &DeployRequest,
    ) -> Result<PlanView, Failure> {
        self.post(&format!("{}/plan", app_path(env, app)), request).await
    }

    /// Asks to go back.
    pub(crate) async fn rollback(
        &self,
        env: &EnvName,
        app: &AppName,
        request: &RollbackRequest,
    ) -> Result<DeploymentView, Failure> {
        self.post_once(&format!("{}/rollback", app_path(env, app)), request).await
    }

    /// Deployments, newest first, at most `limit`.
    pub(crate) async fn deployments(
        &self,
        query: &DeploymentsQuery,
    ) -> Result<Vec<DeploymentView>, Failure> {
        let page: Page<DeploymentView> = self.get("/v1/deployments", query).await?;
        Ok(page.items)
    }

    /// One deployment, by its id or the beginning of it.
    pub(crate) async fn deployment(&self, id: &str) -> Result<DeploymentView, Failure> {
        self.get(&format!("/v1/deployments/{}", segment(id)), &NONE).await
    }

    /// Ends a deployment before its time.
    pub(crate) async fn abort(
        &self,
        id: &str,
        request: &AbortRequest,
    ) -> Result<DeploymentView, Failure> {
        self.post(&format!("/v1/deployments/{}/abort", segment(id)), request).await
    }

    /// Tells a deployment in steps to go on.
    pub(crate) async fn promote(
        &self,
        id: &str,
        request: &PromoteRequest,
    ) -> Result<DeploymentView, Failure> {
        self.post(&format!("/v1/deployments/{}/promote", segment(id)), request).await
    }

    /// Says one of `pause`, `resume`, `approve` to a deployment in steps.
    pub(crate) async fn wish(
        &self,
        id: &str,
        word: &str,
        request: &WishRequest,
    ) -> Result<DeploymentView, Failure> {
        self.post(&format!("/v1/deployments/{}/{word}", segment(id)), request).await
    }

    /// What a deployment did to traffic.
    pub(crate) async fn receipt(&self, id: &str) -> Result<ReceiptView, Failure> {
        self.get(&format!("/v1/deployments/{}/receipt", segment(id)), &NONE).await
    }

    /// Executions of a workflow: one page.
    pub(crate) async fn executions(
        &self,
        workflow: &str,
        query: &ExecutionsQuery,
    ) -> Result<Page<ExecutionSummary>, Failure> {
        self.get(&format!("/v1/workflows/{}/executions", segment(workflow)), query).await
    }

    /// Workflows of a definition, as many as `query` asks for: a page may be shorter.
    pub(crate) async fn workflows(&self, query: &WorkflowsQuery) -> Result<Vec<Workflow>, Failure> {
        let most = query.limit.map_or(usize::MAX, |limit| limit as usize);
        let (mut found, mut next) = (Vec::new(), None::<String>);
        for _ in 0..PAGES_MAX {
            let build = || match &next {
                Some(path) => self.request(Method::GET, &format!("/wm{path}")),
                None => self.request(Method::GET, "/wm/workflows").query(query),
            };
            let response = self.send(|| build().timeout(REQUEST_TIMEOUT)).await?;
            let header = response.headers().get("x-next-page-path");
            let further = header.and_then(|path| path.to_str().ok()).map(str::to_owned);
            found.extend(self.parse::<Vec<Workflow>>(response).await?);
            next = further;
            if found.len() >= most || next.is_none() {
                break;
            }
        }
        found.truncate(most);
        Ok(found)
    }

    /// Makes or changes a schedule.
    pub(crate) async fn put_schedule(
        &self,
        name: &str,
        put: &SchedulePut,
    ) -> Result<ScheduleView, Failure> {
        self.with_body(Method::PUT, &schedule_path(name), put).await
    }

    /// Gives a queue of workflows a priority.
    pub(crate) async fn put_workflow_queue(
        &self,
        name: &str,
        priority: i16,
    ) -> Result<WorkflowQueue, Failure> {
        let path = format!("/v1/workflow-queues/{}", segment(name));
        self.with_body(Method::PUT, &path, &WorkflowQueuePut { priority }).await
    }

    /// Activities of workflows, with how busy their workers are.
    pub(crate) async fn workflow_activities(&self) -> Result<Vec<WorkflowActivity>, Failure> {
        self.all("/v1/workflow-activities", &NONE).await
    }

    /// Queues of workflows with a priority of their own.
    pub(crate) async fn workflow_queues(&self) -> Result<Vec<WorkflowQueue>, Failure> {
        self.all("/v1/workflow-queues", &NONE).await
    }

    /// Schedules, by name.
    pub(crate) async fn schedules(&self) -> Result<Vec<ScheduleView>, Failure> {
        self.all("/v1/schedules", &NONE).await
    }

    /// Says `pause` or `resume` to a schedule.
    pub(crate) async fn tell_schedule(
        &self,
        name: &str,
        word: &str,
    ) -> Result<ScheduleView, Failure> {
        let path = format!("{}/{word}", schedule_path(name));
        self.json(|| self.request(Method::POST, &path)).await
    }

    /// Removes a schedule.
    pub(crate) async fn remove_schedule(&self, name: &str) -> Result<(), Failure> {
        self.delete(&schedule_path(name)).await
    }

    /// Says that a workflow that failed is dealt with.
    pub(crate) async fn resolve_workflow(&self, id: &str) -> Result<(), Failure> {
        let path = format!("/wm/workflows/{}/resolved", segment(id));
        self.send(|| self.request(Method::POST, &path)).await.map(|_| ())
    }

    /// Releases of an app, newest first, at most `limit`.
    pub(crate) async fn releases(
        &self,
        env: &EnvName,
        app: &AppName,
        limit: u32,
    ) -> Result<Vec<ReleaseRow>, Failure> {
        let query = PageQuery { cursor: None, limit: Some(limit) };
        let page: Page<ReleaseRow> =
            self.get(&format!("{}/releases", app_path(env, app)), &query).await?;
        Ok(page.items)
    }

    /// One release.
    pub(crate) async fn release(
        &self,
        env: &EnvName,
        app: &AppName,
        number: ReleaseNumber,
    ) -> Result<ReleaseDetail, Failure> {
        self.get(&format!("{}/releases/{}", app_path(env, app), number.0), &NONE).await
    }

    /// The newest release of an app in any environment.
    pub(crate) async fn newest_release(&self, app: &AppName) -> Result<ReleaseRow, Failure> {
        self.get(&format!("/v1/apps/{app}/releases/newest"), &NONE).await
    }

    /// What differs between two releases.
    pub(crate) async fn diff(
        &self,
        env: &EnvName,
        app: &AppName,
        query: &DiffQuery,
    ) -> Result<ReleaseDiff, Failure> {
        self.get(&format!("{}/diff", app_path(env, app)), query).await
    }

    /// All tokens.
    pub(crate) async fn tokens(&self) -> Result<Vec<TokenView>, Failure> {
        self.all("/v1/tokens", &NONE).await
    }

    /// Makes a token.
    pub(crate) async fn create_token(
        &self,
        request: &TokenCreate,
    ) -> Result<TokenCreated, Failure> {
        self.post("/v1/tokens", request).await
    }

    /// Makes a link that signs a browser in to the console.
    pub(crate) async fn create_console_link(&self) -> Result<ConsoleLink, Failure> {
        self.act("/v1/console/links").await
    }

    /// Ends a token.
    pub(crate) async fn revoke_token(&self, id: &str) -> Result<(), Failure> {
        self.delete(&format!("/v1/tokens/{}", segment(id))).await
    }

    pub(super) async fn act<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.json(|| self.request(Method::POST, path)).await
    }

    /// Every item of a list, page by page.
    pub(crate) async fn all<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &impl Serialize,
    ) -> Result<Vec<T>, Failure> {
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let page: Page<T> = self
                .json(|| {
                    let request = self.request(Method::GET, path).query(query);
                    match &cursor {
                        Some(cursor) => request.query(&[("cursor", cursor)]),
                        None => request,
                    }
                })
                .await?;
            items.extend(page.items);
            match page.next {
                Some(next) => cursor = Some(next),
                None => break,
            }
        }
        Ok(items)
    }
}

fn schedule_path(name: &str) -> String {
    format!("/v1/schedules/{}", segment(name))
}

/// What a user typed, as one segment of an address.
fn segment(text: &str) -> String {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    text.bytes()
        .map(|b| if plain(&b) { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}
