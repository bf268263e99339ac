//! What is wanted of each app in each environment.

use ark_model::environment::AppState;
use ark_model::{AppName, EnvName};
use rusqlite::params;

use crate::error::StoreError;
use crate::tx::{ReadTx, WriteTx, body, page, unsigned};

/// The most apps of one store, all environments together.
const APPS_MAX: u64 = 20_000;

impl ReadTx {
    /// What is wanted of one app.
    pub fn app_state(&self, env: &EnvName, app: &AppName) -> Result<Option<AppState>, StoreError> {
        let sql = "SELECT body FROM apps WHERE env = ?1 AND app = ?2";
        self.record("app", sql, [env.as_str(), app.as_str()])
    }

    /// Which apps there are, by environment and name, whatever their records hold: at most 20,000.
    pub fn app_keys(&self) -> Result<Vec<(EnvName, AppName)>, StoreError> {
        let sql = "SELECT env, app FROM apps ORDER BY env, app";
        let rows: Vec<(String, String)> =
            self.rows(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let key = |(env, app): (String, String)| {
            let unreadable = |error: ark_model::NameError| StoreError::Record {
                noun: "app",
                key: format!("{env}/{app}"),
                source: std::sync::Arc::new(serde::de::Error::custom(error)),
            };
            Ok((env.parse().map_err(unreadable)?, app.parse().map_err(unreadable)?))
        };
        rows.into_iter().map(key).collect()
    }

    /// All apps of all environments, by environment and name: at most 20,000.
    pub fn app_states(&self) -> Result<Vec<AppState>, StoreError> {
        self.records("app", "SELECT body FROM apps ORDER BY env, app", [])
    }

    /// All apps of one environment, by name.
    pub fn app_states_of(&self, env: &EnvName) -> Result<Vec<AppState>, StoreError> {
        let sql = "SELECT body FROM apps WHERE env = ?1 ORDER BY app";
        self.records("app", sql, [env.as_str()])
    }

    /// The names of an environment's apps, in order.
    pub fn app_names_of(&self, env: &EnvName) -> Result<Vec<String>, StoreError> {
        let sql = "SELECT app FROM apps WHERE env = ?1 ORDER BY app";
        self.rows(sql, [env.as_str()], |row| row.get(0))
    }

    /// The apps of an environment beyond a name, in order, each with the number of the last change
    /// of what is recorded of it: of its wishes, releases, deployments and instances. A number
    /// grows with each change and is given once in the life of the store, so what was made of these
    /// records is as good as new while the number is the same. Only apps with `containing` in
    /// their names; it may be empty.
    pub fn app_changes(
        &self,
        env: &EnvName,
        beyond: Option<&AppName>,
        containing: &str,
        limit: usize,
    ) -> Result<Vec<(AppName, u64)>, StoreError> {
        let sql = "SELECT app, change FROM app_changes WHERE env = ?1 AND app > ?2
            AND (?4 = '' OR instr(app, ?4) > 0) ORDER BY app LIMIT ?3";
        // No name is empty.
        let beyond = beyond.map_or("", AppName::as_str);
        let params = params![env.as_str(), beyond, page(limit), containing];
        let rows =
            self.rows(sql, params, |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?;
        let parsed = rows.into_iter().map(|(name, change)| {
            let app = name.parse().map_err(|_| StoreError::not_found("the name of app", &name))?;
            Ok((app, unsigned(change)))
        });
        parsed.collect()
    }
}

impl WriteTx {
    /// Records what is wanted of an app, new or known.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without the environment, [`StoreError::Limit`].
    pub fn put_app_state(&mut self, state: &AppState) -> Result<(), StoreError> {
        let (env, app) = (state.env.as_str(), state.app.as_str());
        let body = body("app", state)?;
        let sql = "UPDATE apps SET body = ?3 WHERE env = ?1 AND app = ?2";
        if self.change(sql, params![env, app, body])? > 0 {
            return Ok(());
        }
        if self.number("SELECT count(*) FROM apps", [])? >= APPS_MAX {
            return Err(StoreError::Limit { noun: "apps", max: APPS_MAX });
        }
        let sql = "INSERT INTO apps (env, app, body) VALUES (?1, ?2, ?3)";
        self.insert("app", &format!("{env}/{app}"), sql, params![env, app, body])
    }
}
