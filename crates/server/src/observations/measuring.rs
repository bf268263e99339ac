//! What is measured of apps for the judge and the watch window, as part of what the gateway says: begun
//! and ended by the tasks, written down by the link. What it means is in `measures`.

use std::sync::Arc;
use std::time::Duration;

use ark_model::{DeploymentId, ReleaseNumber};
use ark_planner::Measured;
use ark_planner::judge::Slice;
use ark_planner::time::after;
use ark_store::MeasuresChange;
use jiff::Timestamp;

use super::{AppKey, Inner, Observations};
use crate::measures::{Measures, Place};

/// Least time between two writings of what was measured.
const SAVE_EVERY: Duration = Duration::from_secs(1);

impl Observations {
    /// Whether an app is measured.
    pub fn is_measured(&self, key: &AppKey) -> bool {
        self.inner().measures.contains_key(key)
    }

    /// Measures an app for the sake of this deployment and its watch window; `window` says from when on
    /// it is judged now. `kept` is what an earlier server wrote down of it; asked for only as long as it
    /// is not measured yet.
    pub fn measure(
        &self,
        key: &AppKey,
        (of, window): (DeploymentId, Option<Timestamp>),
        kept: &[String],
        now: Timestamp,
    ) {
        let mut inner = self.inner();
        inner.begin_measuring(key, of, kept, now);
        if let (Some(measures), Some(window)) = (inner.measures.get_mut(key), window) {
            measures.window_begins(window, now);
        }
    }

    /// An app is not judged any more.
    pub fn measure_no_more(&self, key: &AppKey) {
        let mut inner = self.inner();
        if inner.measures.remove(key).is_some() {
            inner.unmeasured.insert(key.clone());
        }
    }

    /// From when on what was measured of an app is whole.
    pub fn measured_since(&self, key: &AppKey) -> Option<Timestamp> {
        self.inner().measures.get(key).map(Measures::since)
    }

    /// Up to when [`Self::measured`] says all that the gateway counted; the beginning of time as long as
    /// it has told this server nothing.
    pub fn measured_until(&self, key: &AppKey, now: Timestamp) -> Timestamp {
        self.inner().measures.get(key).map_or(Timestamp::MIN, |m| m.settled_until(now))
    }

    /// What is to be written down of measurements, from time to time; told once.
    pub(crate) fn unsaved_measures(&self, now: Timestamp) -> Vec<(AppKey, MeasuresChange)> {
        let mut inner = self.inner();
        let due = inner.measures_saved.is_none_or(|at| now < at || now >= after(at, SAVE_EVERY));
        if !due {
            return Vec::new();
        }
        inner.measures_saved = Some(now);
        let over = std::mem::take(&mut inner.unmeasured).into_iter();
        let nothing = MeasuresChange { anew: true, ..MeasuresChange::default() };
        let over = over.map(|key| (key, nothing.clone())).collect::<Vec<_>>();
        let changed = inner
            .measures
            .iter_mut()
            .filter_map(|(key, measures)| Some((key.clone(), measures.take_unsaved()?)));
        over.into_iter().chain(changed).collect()
    }

    /// These could not be written down.
    pub(crate) fn measures_not_saved(&self, changes: &[(AppKey, MeasuresChange)]) {
        let mut inner = self.inner();
        let inner = &mut *inner;
        for (key, _) in changes {
            match inner.measures.get_mut(key) {
                Some(measures) => measures.is_unsaved(),
                None => drop(inner.unmeasured.insert(key.clone())),
            }
        }
    }

    /// What was measured of an app since it is measured, up to now, oldest first.
    pub(crate) fn measured_so_far(&self, key: &AppKey) -> Vec<Arc<Measured>> {
        self.inner().measures.get(key).map(Measures::so_far).unwrap_or_default()
    }

    /// The same without a slice that has just begun.
    pub fn measured(&self, key: &AppKey, now: Timestamp) -> Vec<Arc<Measured>> {
        self.inner().measures.get(key).map(|m| m.settled(now)).unwrap_or_default()
    }

    /// What was measured of a release of an app since an instant.
    pub fn side(&self, key: &AppKey, release: ReleaseNumber, since: Timestamp) -> Slice {
        self.inner().measures.get(key).map(|m| m.side(release, since)).unwrap_or_default()
    }
}

impl Inner {
    fn begin_measuring(&mut self, key: &AppKey, of: DeploymentId, kept: &[String], now: Timestamp) {
        self.unmeasured.remove(key);
        if let Some(measures) = self.measures.get_mut(key) {
            measures.go_on_for(of, now);
            return;
        }
        let mut measures = Measures::read(kept, of).unwrap_or_else(|| Measures::new(of, now));
        if let Some(boot) = self.gateway.boot {
            measures.connected(boot);
        }
        // What was reported before this is counted up to here, or begins here.
        let reported = self
            .last
            .iter()
            .filter(|((_, route, _), _)| (&route.env, &route.app) == (&key.0, &key.1));
        for ((boot, route, instance), last) in reported {
            let (Some(instance), Some(release)) = (*instance, last.release) else { continue };
            let place = Place { boot: *boot, expose: route.expose.clone(), instance };
            measures.take(place, (release, &last.counters), None, now);
        }
        if let Some(at) = self.reported {
            measures.reported(at);
        }
        self.measures.insert(key.clone(), measures);
    }
}
