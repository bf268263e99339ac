//! Measurements as the store keeps them: a head, one part per slice, one per target. Only what
//! changed is written.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use ark_model::gateway::Counters;
use ark_model::{BootId, DeploymentId, InstanceId, ReleaseNumber};
use ark_planner::Measured;
use ark_planner::judge::Slice;
use ark_store::MeasuresChange;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::stretch::{Grid, Stretch};
use super::{Measures, Place, Unsaved};

/// One part.
#[derive(Debug, Serialize, Deserialize)]
#[allow(clippy::large_enum_variant, reason = "each lives only until it is text, or is taken apart")]
#[serde(tag = "part", rename_all = "snake_case")]
enum Part {
    Head {
        of: DeploymentId,
        since: Timestamp,
        window: Option<Timestamp>,
        earlier: Grid,
        present: Grid,
    },
    Slice {
        from: Timestamp,
        sides: Vec<(ReleaseNumber, Slice)>,
    },
    Seen {
        boot: BootId,
        expose: String,
        instance: InstanceId,
        release: ReleaseNumber,
        counters: Counters,
    },
}

impl Part {
    fn head(measures: &Measures) -> Self {
        Self::Head {
            of: measures.of,
            since: measures.since,
            window: measures.window,
            earlier: measures.earlier.grid,
            present: measures.present.grid,
        }
    }

    fn slice(measured: &Measured) -> Self {
        let sides = measured.sides.iter().map(|(release, slice)| (*release, slice.clone()));
        Self::Slice { from: measured.from, sides: sides.collect() }
    }

    fn seen(place: &Place, (release, counters): &(ReleaseNumber, Counters)) -> Self {
        Self::Seen {
            boot: place.boot,
            expose: place.expose.clone(),
            instance: place.instance,
            release: *release,
            counters: counters.clone(),
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Head { .. } => "head".to_owned(),
            Self::Slice { from, .. } => format!("slice {}", from.as_microsecond()),
            Self::Seen { boot, expose, instance, .. } => seen_name(*boot, *instance, expose),
        }
    }

    /// Its name and its text; `None` should it have none, which only costs evidence.
    fn row(&self) -> Option<(String, String)> {
        serde_json::to_string(self).ok().map(|body| (self.name(), body))
    }
}

fn seen_name(boot: BootId, instance: InstanceId, expose: &str) -> String {
    format!("seen {boot} {instance} {expose}")
}

impl Measures {
    /// What is to be written down, once; `None` when all is.
    pub(crate) fn take_unsaved(&mut self) -> Option<MeasuresChange> {
        let Unsaved { anew, slices, seen, gone } = std::mem::take(&mut self.unsaved);
        let head = anew.then(|| Part::head(self));
        let slices = self.slices().filter(|m| anew || slices.contains(&m.from));
        let seen = self.seen.iter().filter(|(place, _)| anew || seen.contains(*place));
        let parts = head
            .into_iter()
            .chain(slices.map(|m| Part::slice(m)))
            .chain(seen.map(|(place, seen)| Part::seen(place, seen)));
        let put: Vec<(String, String)> = parts.filter_map(|part| part.row()).collect();
        let gone = gone.iter().filter(|_| !anew);
        let remove: Vec<String> = gone.map(|p| seen_name(p.boot, p.instance, &p.expose)).collect();
        let change = MeasuresChange { anew, put, remove };
        (change != MeasuresChange::default()).then_some(change)
    }

    /// It could not be written: next time all of it is.
    pub(crate) fn is_unsaved(&mut self) {
        self.unsaved.anew = true;
    }

    /// What an earlier server wrote down for the sake of this deployment. `None` when there is
    /// nothing, or when it cannot be read: then measuring begins anew, which is said by its `since`.
    pub(crate) fn read(parts: &[String], wanted: DeploymentId) -> Option<Self> {
        let mut head = None;
        let mut slices: BTreeMap<Timestamp, Measured> = BTreeMap::new();
        let mut all_seen = HashMap::new();
        for part in parts {
            match serde_json::from_str(part).ok()? {
                Part::Head { of, since, window, earlier, present } => {
                    head = Some((of, since, window, earlier, present));
                }
                Part::Slice { from, sides } => {
                    slices.insert(from, Measured { from, sides: sides.into_iter().collect() });
                }
                Part::Seen { boot, expose, instance, release, counters } => {
                    all_seen.insert(Place { boot, expose, instance }, (release, counters));
                }
            }
        }
        let (of, since, window, earlier, present) = head.filter(|(of, ..)| *of == wanted)?;
        let whole = earlier.slice_ms > 0 && present.slice_ms > 0;
        let (before, from): (Vec<_>, Vec<_>) =
            slices.into_values().map(Arc::new).partition(|slice| slice.from < present.began);
        whole.then(|| Self {
            of,
            since,
            window,
            earlier: Stretch::of(earlier, before),
            present: Stretch::of(present, from),
            reported: Timestamp::MIN,
            reported_before: Timestamp::MIN,
            seen: all_seen,
            unsaved: Unsaved::default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    /// The store's side of it.
    fn apply(rows: &mut BTreeMap<String, String>, change: MeasuresChange) {
        if change.anew {
            rows.clear();
        }
        rows.extend(change.put);
        change.remove.iter().for_each(|part| drop(rows.remove(part)));
    }

    #[test]
    fn what_is_read_again_is_what_was_written_step_by_step() {
        let of = DeploymentId(Uuid::from_u128(1));
        let at = |s: i64| Timestamp::from_second(s).expect("an instant");
        let place = |n: u128| Place {
            boot: BootId(Uuid::from_u128(5)),
            expose: "default".into(),
            instance: InstanceId(Uuid::from_u128(n)),
        };
        let mut measures = Measures::new(of, at(3));
        let mut rows = BTreeMap::new();
        let mut written = Vec::new();
        // Long enough for slices to be joined twice.
        for n in 0..700_u64 {
            let mut counters = Counters { served: 10 * n, failed: n, ..Counters::default() };
            counters.latency_us.record(500 + n);
            let release = ReleaseNumber(1 + n % 2);
            let before = Counters::default();
            let second = 10 + i64::try_from(n).expect("a small number");
            measures.take(
                place(u128::from(n % 2)),
                (release, &counters),
                Some(&before),
                at(second),
            );
            if n % 100 == 99 {
                measures.gone(&place(0));
            }
            if n == 400 {
                measures.window_begins(at(second), at(second));
            }
            if n % 7 == 0 {
                let change = measures.take_unsaved().expect("something changed");
                written.push(change.put.len());
                apply(&mut rows, change);
            }
        }
        apply(&mut rows, measures.take_unsaved().expect("something changed"));
        assert_eq!(measures.take_unsaved(), None, "nothing is written twice");
        let parts: Vec<String> = rows.values().cloned().collect();
        let read = Measures::read(&parts, of).expect("it is read again");
        assert_eq!((&read.earlier, &read.present), (&measures.earlier, &measures.present));
        assert_eq!(read.seen, measures.seen);
        assert_eq!((read.since, read.window), (at(3), Some(at(410))));
        assert_eq!(read.side(ReleaseNumber(1), at(0)), measures.side(ReleaseNumber(1), at(0)));
        let few = written.iter().filter(|parts| **parts <= 12).count();
        assert!(few * 10 >= written.len() * 8, "only what changed is written: {written:?}");

        assert!(Measures::read(&parts, DeploymentId(Uuid::from_u128(2))).is_none(), "another's");
        assert!(Measures::read(&[], of).is_none());
        let damaged: Vec<String> =
            parts.iter().map(|part| part.replace("served", "serv")).collect();
        assert!(Measures::read(&damaged, of).is_none(), "half of it would be a wrong picture");
    }
}
