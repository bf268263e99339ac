//! Deployments. Which states may follow which is the planner's to know; the store only refuses a
//! write by somebody who believed the deployment to be in another state.

use ark_model::api::TrafficHistory;
use ark_model::{AppName, Deployment, DeploymentId, DeploymentState, EnvName};
use rusqlite::params;

use crate::PAGE_MAX;
use crate::aggregates::damage::{DAMAGED_MAX, DamagedRecord};
use crate::error::StoreError;
use crate::tx::{ReadTx, WriteTx, body, page, parse, signed, word};

/// Which deployments a list is of. `None` means all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeploymentFilter {
    /// Only of this environment.
    pub env: Option<EnvName>,
    /// Only of this app.
    pub app: Option<AppName>,
}

/// Deployments that are not over.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Unfinished {
    /// Oldest first, at most two per app.
    pub deployments: Vec<Deployment>,
    /// Those of which no more is known than their app: they hold up that and nothing else.
    pub damaged: Vec<DamagedRecord>,
}

impl Unfinished {
    /// Whether something is under way in an app of which nobody can say what.
    pub fn is_damaged(&self, env: &EnvName, app: &AppName) -> bool {
        self.damaged.iter().any(|record| record.is_of(env, app))
    }
}

/// A statement for each index, because SQLite uses one only for a column that is compared.
const fn list_sql(env: bool, app: bool) -> &'static str {
    match (env, app) {
        (true, true) => {
            "SELECT body FROM deployments WHERE env = ?1 AND app = ?2 AND seq < ?3
            ORDER BY seq DESC LIMIT ?4"
        }
        (true, false) => {
            "SELECT body FROM deployments WHERE env = ?1 AND ?2 IS NULL AND seq < ?3
            ORDER BY seq DESC LIMIT ?4"
        }
        (false, true) => {
            "SELECT body FROM deployments WHERE ?1 IS NULL AND app = ?2 AND seq < ?3
            ORDER BY seq DESC LIMIT ?4"
        }
        (false, false) => {
            "SELECT body FROM deployments WHERE ?1 IS NULL AND ?2 IS NULL AND seq < ?3
            ORDER BY seq DESC LIMIT ?4"
        }
    }
}

impl ReadTx {
    /// One deployment.
    pub fn deployment(&self, id: DeploymentId) -> Result<Option<Deployment>, StoreError> {
        let sql = "SELECT body FROM deployments WHERE id = ?1";
        self.record("deployment", sql, [id.to_string()])
    }

    /// What was measured while a deployment ran, once that was written down.
    pub fn deployment_traffic(
        &self,
        id: DeploymentId,
    ) -> Result<Option<TrafficHistory>, StoreError> {
        let sql = "SELECT traffic FROM deployments WHERE id = ?1 AND traffic IS NOT NULL";
        self.record("traffic of a deployment", sql, [id.to_string()])
    }

    /// The same for whom nothing is lost with one that cannot be read: that is `None` too.
    pub fn readable_deployment(&self, id: DeploymentId) -> Result<Option<Deployment>, StoreError> {
        match self.deployment(id) {
            Err(StoreError::Record { .. }) => Ok(None),
            found => found,
        }
    }

    /// Deployments recorded before the deployment `before`, newest first. An unknown `before`
    /// gives an empty page. What cannot be read is left out: [`Self::damaged_records`] names it.
    pub fn deployments(
        &self,
        filter: &DeploymentFilter,
        before: Option<DeploymentId>,
        limit: usize,
    ) -> Result<Vec<Deployment>, StoreError> {
        let before = match before {
            Some(id) => {
                let sql = "SELECT seq FROM deployments WHERE id = ?1";
                signed(self.number(sql, [id.to_string()])?)
            }
            None => i64::MAX,
        };
        let env = filter.env.as_ref().map(EnvName::as_str);
        let app = filter.app.as_ref().map(AppName::as_str);
        let sql = list_sql(env.is_some(), app.is_some());
        // Some more than asked for stand in for those that are left out.
        let most = page(limit).saturating_add(signed(DAMAGED_MAX as u64));
        let mut statement = self.conn().prepare_cached(sql)?;
        let mut rows = statement.query(params![env, app, before, most])?;
        let mut found = Vec::new();
        while found.len() < limit.min(PAGE_MAX)
            && let Some(row) = rows.next()?
        {
            let body = row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?;
            found.extend(parse::<Deployment>("deployment", body).ok());
        }
        Ok(found)
    }

    /// All deployments that are not over.
    pub fn unfinished_deployments(&self) -> Result<Unfinished, StoreError> {
        let sql = "SELECT id, env, app, body FROM deployments WHERE finished = 0 ORDER BY seq";
        let mut unfinished = Unfinished::default();
        let rows: Vec<(DamagedRecord, String)> =
            self.rows(sql, [], |row| Ok((DamagedRecord::of_app("deployment", row)?, row.get(3)?)))?;
        for (record, body) in rows {
            match parse("deployment", &body) {
                Ok(deployment) => unfinished.deployments.push(deployment),
                Err(_) => unfinished.damaged.push(record),
            }
        }
        Ok(unfinished)
    }
}

impl WriteTx {
    /// Records a new deployment.
    ///
    /// # Errors
    /// [`StoreError::Exists`], [`StoreError::NotFound`] without the environment.
    pub fn insert_deployment(&mut self, deployment: &Deployment) -> Result<(), StoreError> {
        let sql = "INSERT INTO deployments (id, env, app, state, finished, body)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let id = deployment.id.to_string();
        let params = params![
            id,
            deployment.env.as_str(),
            deployment.app.as_str(),
            word(deployment.state),
            deployment.state.is_terminal(),
            body("deployment", deployment)?,
        ];
        self.insert("deployment", &id, sql, params)
    }

    /// Replaces the record of a deployment that is in state `expected`. Read it in the same
    /// closure: a record read earlier may lack what others have added without changing the state.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when it is in another state, [`StoreError::NotFound`].
    pub fn put_deployment(
        &mut self,
        deployment: &Deployment,
        expected: DeploymentState,
    ) -> Result<(), StoreError> {
        let sql = "UPDATE deployments SET state = ?3, finished = ?4, body = ?5
            WHERE id = ?1 AND state = ?2";
        let id = deployment.id.to_string();
        let params = params![
            id,
            word(expected),
            word(deployment.state),
            deployment.state.is_terminal(),
            body("deployment", deployment)?,
        ];
        if self.change(sql, params)? > 0 {
            return Ok(());
        }
        let sql = "SELECT state FROM deployments WHERE id = ?1";
        let found = self.row(sql, [&id], |row| row.get::<_, String>(0))?;
        let found = found.ok_or_else(|| StoreError::not_found("deployment", &id))?;
        Err(StoreError::Conflict { noun: "deployment", key: id, expected: word(expected), found })
    }

    /// Writes down what was measured while a deployment ran.
    pub fn put_deployment_traffic(
        &mut self,
        id: DeploymentId,
        traffic: &TrafficHistory,
    ) -> Result<(), StoreError> {
        let sql = "UPDATE deployments SET traffic = ?2 WHERE id = ?1";
        let text = body("traffic of a deployment", traffic)?;
        match self.change(sql, params![id.to_string(), text])? {
            0 => Err(StoreError::not_found("deployment", &id.to_string())),
            _ => Ok(()),
        }
    }

    /// Deletes the app's finished deployments, except the newest `keep`. Answers how many.
    pub fn prune_deployments(
        &mut self,
        env: &EnvName,
        app: &AppName,
        keep: usize,
    ) -> Result<usize, StoreError> {
        let sql = "DELETE FROM deployments WHERE seq IN (
                SELECT seq FROM deployments WHERE env = ?1 AND app = ?2 AND finished = 1
                ORDER BY seq DESC LIMIT -1 OFFSET ?3)";
        self.change(sql, params![env.as_str(), app.as_str(), signed(keep as u64)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregates::query_plan;

    #[test]
    fn every_list_of_deployments_is_found_by_an_index_of_its_own() {
        for (env, app, index) in [
            (true, true, "INDEX deployments_app (env=? AND app=? AND seq<?)"),
            (true, false, "INDEX deployments_env (env=? AND seq<?)"),
            (false, true, "INDEX deployments_name (app=? AND seq<?)"),
            (false, false, "INTEGER PRIMARY KEY (rowid<?)"),
        ] {
            let plan = query_plan(list_sql(env, app), 4);
            assert_eq!(plan, [format!("SEARCH deployments USING {index}")]);
        }
    }
}
