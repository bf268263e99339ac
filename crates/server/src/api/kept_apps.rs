//! What was read of apps' records, kept until one of them changes: a list of 300 apps would read
//! some 10,000 records for the same answer each time.
//!
//! The store numbers the changes of each app, and its number is read in the very transaction in
//! which the records would be: what was kept with that number is what would be read. Only reads
//! that are on their own come here. Within a write, what is read may yet be undone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ark_model::{AppName, EnvName};
use ark_store::ReadTx;
use jiff::Timestamp;

use super::app_rows::{AppRecords, load};
use super::error::ApiError;

/// The most apps that are kept, however long their definitions are some 2 KiB each; with more, those that were asked for longest ago
/// are forgotten.
const KEPT_MAX: usize = 4_096;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct KeptApps {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    environments: HashMap<EnvName, HashMap<AppName, Kept>>,
    /// Apps of all environments.
    len: usize,
    /// Lists that were asked for: how the age of what is kept is told.
    lists: u64,
}

#[derive(Debug)]
struct Kept {
    change: u64,
    /// The list for which it was last of use.
    used: u64,
    records: Arc<AppRecords>,
}

impl KeptApps {
    /// The apps of an environment beyond a name and with `containing` in theirs, in order, at most
    /// `limit`.
    pub(super) fn list(
        &self,
        tx: &ReadTx,
        env: &EnvName,
        beyond: Option<&AppName>,
        containing: &str,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Arc<AppRecords>>, ApiError> {
        let changes = tx.app_changes(env, beyond, containing, limit)?;
        let mut found = self.lock().find(env, &changes);
        let mut fresh = Vec::new();
        for ((app, change), found) in changes.into_iter().zip(&mut found) {
            if found.is_some() {
                continue;
            }
            // One that has a number is there.
            let Some(state) = tx.app_state(env, &app)? else { continue };
            let records = Arc::new(load(tx, state, now)?);
            *found = Some(records.clone());
            fresh.push((app, change, records));
        }
        if !fresh.is_empty() {
            self.lock().keep(env, fresh);
        }
        Ok(found.into_iter().flatten().collect())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // What is kept is whole before anything could panic.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn find(&mut self, env: &EnvName, changes: &[(AppName, u64)]) -> Vec<Option<Arc<AppRecords>>> {
        self.lists += 1;
        let used = self.lists;
        let Some(apps) = self.environments.get_mut(env) else {
            return vec![None; changes.len()];
        };
        let one = |(app, change): &(AppName, u64)| {
            let kept = apps.get_mut(app).filter(|kept| kept.change == *change)?;
            kept.used = used;
            Some(kept.records.clone())
        };
        changes.iter().map(one).collect()
    }

    fn keep(&mut self, env: &EnvName, fresh: Vec<(AppName, u64, Arc<AppRecords>)>) {
        let used = self.lists;
        let apps = self.environments.entry(env.clone()).or_default();
        for (app, change, records) in fresh {
            // Another reader may have seen a later state meanwhile.
            if apps.get(&app).is_none_or(|kept| kept.change < change) {
                apps.insert(app, Kept { change, used, records });
            }
        }
        self.len = self.environments.values().map(HashMap::len).sum();
        if self.len > KEPT_MAX {
            self.forget_half();
        }
    }

    /// Forgets the half that was asked for longest ago.
    fn forget_half(&mut self) {
        let mut ages: Vec<u64> =
            self.environments.values().flat_map(HashMap::values).map(|kept| kept.used).collect();
        let middle = ages.len() / 2;
        let (_, newest_to_go, _) = ages.select_nth_unstable(middle);
        let newest_to_go = *newest_to_go;
        for apps in self.environments.values_mut() {
            apps.retain(|_, kept| kept.used > newest_to_go);
        }
        self.environments.retain(|_, apps| !apps.is_empty());
        self.len = self.environments.values().map(HashMap::len).sum();
    }
}
