//! Runs and schedules: one method per operation.

use ark_model::api::{CronView, CronsQuery, Page, PageQuery, RunRequest, RunStopRequest, RunView};
use ark_model::{AppName, EnvName};

use super::Client;
use super::endpoints::app_path;
use crate::failure::Failure;

/// A query without parameters.
const NONE: [(&str, &str); 0] = [];

/// Where what a run writes is followed.
pub(crate) fn log_path(env: &EnvName, app: &AppName, number: u64) -> String {
    format!("{}/runs/{number}/logs", app_path(env, app))
}

impl Client {
    /// Asks for a run.
    pub(crate) async fn start_run(
        &self,
        env: &EnvName,
        app: &AppName,
        request: &RunRequest,
    ) -> Result<RunView, Failure> {
        self.post_once(&format!("{}/runs", app_path(env, app)), request).await
    }

    /// Runs of an app, newest first, at most `limit`.
    pub(crate) async fn runs(
        &self,
        env: &EnvName,
        app: &AppName,
        limit: u32,
    ) -> Result<Vec<RunView>, Failure> {
        let query = PageQuery { cursor: None, limit: Some(limit) };
        let page: Page<RunView> = self.get(&format!("{}/runs", app_path(env, app)), &query).await?;
        Ok(page.items)
    }

    /// One run.
    pub(crate) async fn run(
        &self,
        env: &EnvName,
        app: &AppName,
        number: u64,
    ) -> Result<RunView, Failure> {
        self.get(&format!("{}/runs/{number}", app_path(env, app)), &NONE).await
    }

    /// Ends a run.
    pub(crate) async fn stop_run(
        &self,
        env: &EnvName,
        app: &AppName,
        number: u64,
        request: &RunStopRequest,
    ) -> Result<RunView, Failure> {
        self.post(&format!("{}/runs/{number}/stop", app_path(env, app)), request).await
    }

    /// Apps that follow a schedule.
    pub(crate) async fn crons(&self, env: Option<EnvName>) -> Result<Vec<CronView>, Failure> {
        let page: Page<CronView> = self.get("/v1/crons", &CronsQuery { env }).await?;
        Ok(page.items)
    }

    /// Says `pause` or `resume` to a schedule.
    pub(crate) async fn cron_wish(
        &self,
        env: &EnvName,
        app: &AppName,
        word: &str,
    ) -> Result<CronView, Failure> {
        self.act(&format!("{}/cron/{word}", app_path(env, app))).await
    }
}
