//! One method per operation of the API on environments and apps; the server's own are in `server`, those
//! of workflows in `workflows`. The addresses stand there and nowhere else.

use ark_model::address::segment;
use ark_model::api::{
    AbortRequest, AppDetail, AppRow, ArtifactAnswer, ArtifactOffer, ConfigPatch, ConfigView,
    DependenciesView, DeployRequest, DeploymentView, DeploymentsQuery, DiffQuery,
    EnvironmentCreate, EnvironmentView, FreezePut, InstanceRow, InstancesQuery, LeasePut,
    PAGE_ITEMS_MAX, Page, PageQuery, PlanView, PromoteRequest, ReceiptView, ReleaseDetail,
    ReleaseDiff, ReleaseRow, ResolvedEnvironment, RollbackRequest, ScaleRequest, VariablesQuery,
    WishRequest,
};
use ark_model::{AppName, EnvName, ReleaseNumber, Sha256};
use reqwest::{Body, Method};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Client;
use super::upload::BLOB_TIMEOUT;
use crate::failure::Failure;

/// A query without parameters.
pub(super) const NONE: [(&str, &str); 0] = [];
/// Pages of a list that are read: no list of a server is longer.
pub(super) const PAGES_MAX: usize = 1_000;

/// Where an app of an environment is found.
pub(crate) fn app_path(env: &EnvName, app: &AppName) -> String {
    format!("/v1/environments/{env}/apps/{app}")
}
impl Client {
    /// All environments.
    pub(crate) async fn environments(&self) -> Result<Vec<EnvironmentView>, Failure> {
        self.all("/v1/environments", &NONE).await
    }

    /// One environment.
    pub(crate) async fn environment(&self, env: &EnvName) -> Result<EnvironmentView, Failure> {
        self.get(&format!("/v1/environments/{env}"), &NONE).await
    }

    /// Which apps of an environment need which: the first so many.
    pub(crate) async fn dependencies(
        &self,
        env: &EnvName,
        limit: usize,
    ) -> Result<DependenciesView, Failure> {
        let path = format!("/v1/environments/{env}/dependencies");
        let page = |cursor: Option<String>, had: usize| {
            let most = u32::try_from(limit.saturating_sub(had)).unwrap_or(u32::MAX);
            PageQuery { cursor, limit: Some(most.min(PAGE_ITEMS_MAX)) }
        };
        let mut view: DependenciesView = self.get(&path, &page(None, 0)).await?;
        while view.items.len() < limit {
            let Some(next) = view.next.take() else { break };
            let query = page(Some(next), view.items.len());
            let more: DependenciesView = self.get(&path, &query).await?;
            view.items.extend(more.items);
            (view.next, view.total) = (more.next, more.total);
        }
        Ok(view)
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

    /// What going back would do.
    pub(crate) async fn plan_rollback(
        &self,
        env: &EnvName,
        app: &AppName,
        request: &RollbackRequest,
    ) -> Result<PlanView, Failure> {
        self.post(&format!("{}/rollback/plan", app_path(env, app)), request).await
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
