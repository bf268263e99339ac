//! What the gateway measured of one app, per release and slice of time: the judge's evidence. Held by
//! `observations` for apps with a running deployment or an open watch window, and written down by
//! `gateway_link` ([`kept`]), so that the next server goes on where this one ended.
//!
//! Beside the slices stand the counters up to which they go, per target and life of the gateway. What
//! the gateway counted while nobody listened is the difference to these: it falls into one slice.

mod kept;

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use ark_model::gateway::{Counters, TargetReport};
use ark_model::{BootId, DeploymentId, InstanceId, ReleaseNumber};
use ark_planner::Measured;
use ark_planner::judge::Slice;
use jiff::{SignedDuration, Timestamp};

/// Length of a slice, until there are too many.
const SLICE_MS: i64 = 1_000;
/// The most slices; with more, neighbours are joined and slices become twice as long.
const SLICES_MAX: usize = 240;

/// A target in one life of the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) boot: BootId,
    pub(crate) expose: String,
    pub(crate) instance: InstanceId,
}

impl Place {
    /// Where a report's numbers belong.
    pub(crate) fn of(target: &TargetReport, boot: BootId) -> Self {
        Self { boot, expose: target.route.expose.clone(), instance: target.instance }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Measures {
    /// For the sake of which deployment.
    of: DeploymentId,
    /// From when on nothing is missing.
    since: Timestamp,
    slice_ms: i64,
    slices: VecDeque<Arc<Measured>>,
    /// Up to which counters the slices go.
    seen: HashMap<Place, (ReleaseNumber, Counters)>,
    unsaved: Unsaved,
}

/// What was not written down yet.
#[derive(Debug, Default)]
struct Unsaved {
    /// Everything; what was written before is no longer true.
    anew: bool,
    slices: BTreeSet<Timestamp>,
    seen: HashSet<Place>,
    gone: HashSet<Place>,
}

impl Measures {
    /// Nothing is measured yet.
    pub(crate) fn new(of: DeploymentId, now: Timestamp) -> Self {
        Self {
            of,
            since: now,
            slice_ms: SLICE_MS,
            slices: VecDeque::new(),
            seen: HashMap::new(),
            unsaved: Unsaved { anew: true, ..Unsaved::default() },
        }
    }

    /// From now on for the sake of this deployment. Another one's slices would be too long for it: its
    /// own begin here, and the counters go on.
    pub(crate) fn go_on_for(&mut self, of: DeploymentId, now: Timestamp) {
        if self.of != of {
            let seen = std::mem::take(&mut self.seen);
            *self = Self { seen, ..Self::new(of, now) };
        }
    }

    /// From when on nothing is missing.
    pub(crate) fn since(&self) -> Timestamp {
        self.since
    }

    /// Takes in a target's counters. `before` are those of the last report, should it not have been
    /// measured yet: without them what it counted so far is of no known time.
    pub(crate) fn take(
        &mut self,
        place: Place,
        (release, counters): (ReleaseNumber, &Counters),
        before: Option<&Counters>,
        now: Timestamp,
    ) {
        let known = self.seen.get(&place).map(|(_, counters)| counters);
        let slice = known.or(before).map(|earlier| Slice::between(counters, earlier));
        match slice {
            Some(slice) if slice != Slice::default() => self.add(release, &slice, now),
            Some(_) | None if known.is_some() => return,
            Some(_) | None => {}
        }
        self.seen.insert(place.clone(), (release, counters.clone()));
        self.unsaved.gone.remove(&place);
        self.unsaved.seen.insert(place);
    }

    /// A target is gone from the gateway; all that it counted was taken in.
    pub(crate) fn gone(&mut self, place: &Place) {
        if self.seen.remove(place).is_some() {
            self.unsaved.seen.remove(place);
            self.unsaved.gone.insert(place.clone());
        }
    }

    /// Another life of the gateway: what earlier ones counted will not be told again.
    pub(crate) fn connected(&mut self, boot: BootId) {
        let others: Vec<Place> = self.seen.keys().filter(|p| p.boot != boot).cloned().collect();
        others.iter().for_each(|place| self.gone(place));
    }

    /// Adds what a release did.
    fn add(&mut self, release: ReleaseNumber, slice: &Slice, now: Timestamp) {
        let ms = now.as_millisecond();
        let from = Timestamp::from_millisecond(ms - ms.rem_euclid(self.slice_ms)).unwrap_or(now);
        // A clock that was put back adds to the newest slice.
        if self.slices.back().is_none_or(|newest| newest.from < from) {
            if self.slices.len() >= SLICES_MAX {
                self.join();
            }
            self.slices.push_back(Arc::new(Measured { from, ..Measured::default() }));
        }
        if let Some(newest) = self.slices.back_mut() {
            self.unsaved.slices.insert(newest.from);
            Arc::make_mut(newest).sides.entry(release).or_default().add(slice);
        }
    }

    /// Slices that are whole, oldest first.
    pub(crate) fn whole(&self, now: Timestamp) -> Vec<Arc<Measured>> {
        let length = SignedDuration::from_millis(self.slice_ms);
        let is_whole = |m: &&Arc<Measured>| now.duration_since(m.from) >= length;
        self.slices.iter().filter(is_whole).cloned().collect()
    }

    /// All slices, oldest first; the newest is still filling.
    pub(crate) fn so_far(&self) -> Vec<Arc<Measured>> {
        self.slices.iter().cloned().collect()
    }

    /// What a release did since an instant.
    pub(crate) fn side(&self, release: ReleaseNumber, since: Timestamp) -> Slice {
        let mut sum = Slice::default();
        for slice in self.slices.iter().filter(|m| m.from >= since) {
            if let Some(side) = slice.sides.get(&release) {
                sum.add(side);
            }
        }
        sum
    }

    fn join(&mut self) {
        self.slice_ms *= 2;
        self.unsaved.anew = true;
        let old: Vec<_> = self.slices.drain(..).collect();
        for pair in old.chunks(2) {
            let mut first = Measured::clone(&pair[0]);
            for second in &pair[1..] {
                for (release, slice) in &second.sides {
                    first.sides.entry(*release).or_default().add(slice);
                }
            }
            self.slices.push_back(Arc::new(first));
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn at(s: i64) -> Timestamp {
        Timestamp::from_second(s).expect("an instant")
    }

    fn measures() -> Measures {
        Measures::new(DeploymentId(Uuid::from_u128(1)), at(0))
    }

    #[test]
    fn slices_are_joined_when_there_are_too_many_and_nothing_is_lost() {
        let one = Slice { served: 1, ..Slice::default() };
        let (mut measures, release) = (measures(), ReleaseNumber(2));
        for second in 0..1_000 {
            measures.add(release, &one, at(second));
        }
        let whole = measures.whole(at(2_000));
        assert!(whole.len() <= SLICES_MAX, "{}", whole.len());
        assert!(whole.windows(2).all(|pair| pair[0].from < pair[1].from));
        assert_eq!(measures.side(release, at(0)).served, 1_000);
        assert_eq!(measures.side(ReleaseNumber(1), at(0)), Slice::default());
        assert!(measures.whole(at(999)).len() < whole.len(), "the newest is still filling");
    }

    #[test]
    fn what_was_counted_while_nobody_listened_is_taken_in_once() {
        let place = |boot| Place {
            boot: BootId(Uuid::from_u128(boot)),
            expose: "default".into(),
            instance: InstanceId(Uuid::from_u128(7)),
        };
        let served = |served| Counters { served, ..Counters::default() };
        let (mut measures, release) = (measures(), ReleaseNumber(2));
        let sum = |m: &Measures| m.side(release, at(0)).served;
        measures.take(place(1), (release, &served(50)), None, at(1));
        assert_eq!(sum(&measures), 0, "nobody knows when these were");
        measures.take(place(1), (release, &served(60)), None, at(2));
        measures.take(place(1), (release, &served(60)), Some(&served(50)), at(3));
        assert_eq!(sum(&measures), 10);
        // The link was down, and the gateway is the same one.
        measures.connected(BootId(Uuid::from_u128(1)));
        measures.take(place(1), (release, &served(100)), None, at(9));
        assert_eq!(sum(&measures), 50);
        measures.connected(BootId(Uuid::from_u128(2)));
        measures.take(place(2), (release, &served(3)), Some(&served(0)), at(10));
        assert_eq!(sum(&measures), 53, "another one counts from zero");
        measures.gone(&place(2));
        assert!(measures.seen.is_empty());
    }

    #[test]
    fn the_next_deployment_has_short_slices_of_its_own_and_the_counters_go_on() {
        let place = Place {
            boot: BootId(Uuid::from_u128(1)),
            expose: "default".into(),
            instance: InstanceId(Uuid::from_u128(7)),
        };
        let served = |served| Counters { served, ..Counters::default() };
        let (mut measures, release) = (measures(), ReleaseNumber(2));
        // A watch window of hours: a slice is a minute and more.
        for second in 0..20_000 {
            let all = served(u64::try_from(second).expect("a small number"));
            measures.take(place.clone(), (release, &all), Some(&served(0)), at(second));
        }
        assert!(measures.slice_ms > 60_000, "{}", measures.slice_ms);
        let next = DeploymentId(Uuid::from_u128(2));
        measures.go_on_for(next, at(20_000));
        for second in 20_000..=20_030 {
            let all = served(u64::try_from(second).expect("a small number"));
            measures.take(place.clone(), (release, &all), None, at(second));
            measures.go_on_for(next, at(second));
        }
        let history = |all: &[Arc<Measured>]| {
            let found = crate::deployment_traffic::history(all, at(20_000), at(20_030));
            let sides = found.slices.iter().flat_map(|slice| &slice.sides);
            (found.slices.len(), sides.map(|side| side.served).sum::<u64>())
        };
        assert_eq!(history(&measures.so_far()), (16, 31), "to the end");
        assert_eq!(history(&measures.whole(at(20_030))), (16, 30));
        assert_eq!((measures.since(), measures.slice_ms), (at(20_000), SLICE_MS));
    }
}
