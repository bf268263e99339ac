//! What the gateway measured of one app, per release and slice of time: the judge's evidence. Held by
//! `observations` for apps with a running deployment or an open watch window, and written down by
//! `gateway_link` ([`kept`]), so that the next server goes on where this one ended.
//!
//! Slices are short where the judge looks: the time from the beginning of the present window (the last
//! change of the share, the beginning of the watch) is a stretch of its own, cut into slices of a second,
//! and slices become longer only with the stretch they are in. What lies before it is kept in as many
//! slices, whose length is that of the whole time.
//!
//! Beside the slices stand the counters up to which they go, per target and life of the gateway. What
//! the gateway counted while nobody listened is the difference to these: it falls into one slice.

mod kept;
mod stretch;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use ark_model::gateway::{Counters, TargetReport};
use ark_model::{BootId, DeploymentId, InstanceId, ReleaseNumber};
use ark_planner::Measured;
use ark_planner::judge::Slice;
use jiff::{SignedDuration, Timestamp};

use self::stretch::Stretch;

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
    /// When the window began that is judged now.
    window: Option<Timestamp>,
    /// Before it.
    earlier: Stretch,
    /// From it on.
    present: Stretch,
    /// When the gateway last said what it had counted, to this server; none is missing up to then.
    reported: Timestamp,
    /// The same when the newest slice was begun: what is in it was counted since then.
    reported_before: Timestamp,
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
            window: None,
            earlier: Stretch::new(now),
            present: Stretch::new(now),
            reported: now,
            reported_before: now,
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

    /// What is judged from now on began at this instant. Said a moment later, and again and again.
    pub(crate) fn window_begins(&mut self, at: Timestamp, now: Timestamp) {
        if self.window == Some(at) {
            return;
        }
        let before =
            Self { seen: std::mem::take(&mut self.seen), ..Self::new(self.of, self.since) };
        let before = std::mem::replace(self, before);
        // What lies before the window is never in it, even if the clock was put back before its time.
        let last = at.checked_sub(SignedDuration::from_millis(1)).unwrap_or(at);
        self.window = Some(at);
        (self.reported, self.reported_before) = (before.reported, before.reported_before);
        self.earlier = Stretch::new(before.earlier.grid.began.min(last));
        self.present = Stretch::new(at);
        for slice in before.slices() {
            match (at..=now).contains(&slice.from) {
                true => self.present.absorb(slice.from, slice),
                false => self.earlier.absorb(slice.from.min(last), slice),
            }
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
        let before = self.present.grid;
        let newest = self.present.newest();
        let from = self.present.add(now, release, slice);
        if newest.is_none_or(|newest| newest < from) {
            self.reported_before = self.reported;
        }
        self.unsaved.slices.insert(from);
        self.unsaved.anew |= self.present.grid != before;
    }

    fn slices(&self) -> impl Iterator<Item = &Arc<Measured>> {
        self.earlier.slices().chain(self.present.slices())
    }

    /// All slices but one that has just begun, oldest first.
    pub(crate) fn settled(&self, now: Timestamp) -> Vec<Arc<Measured>> {
        self.slices().filter(|slice| Stretch::is_settled(slice, now)).cloned().collect()
    }

    /// The gateway has said all that it had counted up to now.
    pub(crate) fn reported(&mut self, now: Timestamp) {
        self.reported = now;
    }

    /// Up to when [`Self::settled`] says all that was counted. A slice that has just begun may hold what
    /// was counted long before it, while nobody listened.
    pub(crate) fn settled_until(&self, now: Timestamp) -> Timestamp {
        match self.present.has_unsettled(now) {
            true => self.reported_before,
            false => self.reported,
        }
    }

    /// All slices, oldest first; the newest is still filling.
    pub(crate) fn so_far(&self) -> Vec<Arc<Measured>> {
        self.slices().cloned().collect()
    }

    /// What a release did since an instant.
    pub(crate) fn side(&self, release: ReleaseNumber, since: Timestamp) -> Slice {
        let mut sum = Slice::default();
        for slice in self.slices().filter(|m| m.from >= since) {
            if let Some(side) = slice.sides.get(&release) {
                sum.add(side);
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use ark_model::judgement::Verdict;
    use ark_planner::judge::{Look, Settings, verdict};
    use ark_planner::observed::window;
    use uuid::Uuid;

    use super::stretch::SLICES_MAX;
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
        let whole = measures.settled(at(2_000));
        assert!(whole.len() <= SLICES_MAX, "{}", whole.len());
        assert!(whole.windows(2).all(|pair| pair[0].from < pair[1].from));
        assert_eq!(measures.side(release, at(0)).served, 1_000);
        assert_eq!(measures.side(ReleaseNumber(1), at(0)), Slice::default());
        assert!(measures.settled(at(992)).len() < whole.len(), "the newest has just begun");
    }

    /// A canary that waited nine hours for an approval: nothing of it may stand between the judge and the
    /// first seconds after that.
    #[test]
    fn after_a_long_pause_the_judge_sees_each_second_at_once() {
        let (old, new) = (ReleaseNumber(1), ReleaseNumber(2));
        let count = |served, failed| Slice { served, failed, ..Slice::default() };
        let mut measures = measures();
        let second = |measures: &mut Measures, n: i64, of_new: Slice| {
            measures.add(old, &count(90, 0), at(n));
            measures.add(new, &of_new, at(n));
        };
        measures.window_begins(at(10), at(11));
        let approved = 9 * 60 * 60;
        for n in 0..approved {
            second(&mut measures, n, count(10, 0));
        }
        assert!(measures.present.grid.slice_ms > 60_000, "{:?}", measures.present.grid);
        // The share is in force at a broken second, and that is heard of half a second later.
        let began = at(approved) + SignedDuration::from_millis(300);
        measures.window_begins(began, began + SignedDuration::from_millis(500));
        for n in approved + 1..approved + 21 {
            measures.window_begins(began, at(n));
            second(&mut measures, n, count(0, 10));
        }
        let now = at(approved + 21);
        let side = |release| window(&measures.settled(now), release, began, Timestamp::MAX);
        let (new_side, old_side) = (side(new), side(old));
        assert_eq!((new_side.slices.len(), new_side.sum()), (20, count(0, 200)));
        assert_eq!(old_side.sum(), count(1_800, 0));
        let look = Look::Early { before: 0 };
        let judged = verdict(&new_side, &old_side, look, &Settings::default(), now);
        assert_eq!(judged.verdict, Verdict::Fail, "{}", judged.words(3));
        // The picture of the steps, and what came before.
        assert_eq!(measures.side(new, began), count(0, 200));
        let all = 10 * u64::try_from(approved).expect("a small number");
        assert_eq!(measures.side(new, at(0)), count(all, 200));
        assert!(measures.so_far().len() <= 2 * SLICES_MAX);
        assert!(measures.so_far().windows(2).all(|pair| pair[0].from < pair[1].from));
        // A watch window begins: what it is held against lies before it, whole.
        measures.window_begins(now, now);
        let before = window(&measures.so_far(), old, at(0), now);
        assert_eq!(before.sum(), count(9 * all + 1_800, 0));
        assert_eq!(window(&measures.so_far(), old, now, Timestamp::MAX).slices.len(), 0);
    }

    #[test]
    fn what_was_measured_before_a_window_is_not_in_it_though_the_clock_was_put_back() {
        let (release, one) = (ReleaseNumber(2), Slice { served: 1, ..Slice::default() });
        let mut measures = measures();
        (0..600).for_each(|n| measures.add(release, &one, at(n)));
        measures.window_begins(at(102), at(102));
        measures.add(release, &one, at(103));
        assert_eq!(measures.side(release, at(102)).served, 1);
        assert_eq!(measures.so_far().iter().map(|m| m.sides[&release].served).sum::<u64>(), 601);
        // Before measuring began.
        let early = at(-500);
        measures.window_begins(early, early);
        measures.add(release, &one, at(-499));
        assert_eq!(measures.side(release, early).served, 1);
        assert_eq!(measures.so_far().iter().map(|m| m.sides[&release].served).sum::<u64>(), 602);
    }

    #[test]
    fn it_is_known_up_to_when_nothing_is_missing() {
        let (release, one) = (ReleaseNumber(2), Slice { served: 1, ..Slice::default() });
        let mut measures = measures();
        assert_eq!(measures.settled_until(at(8)), at(0), "nothing was said");
        measures.reported(at(7));
        assert_eq!(measures.settled_until(at(8)), at(7), "nothing happened");
        measures.add(release, &one, at(8));
        measures.reported(at(8));
        let half = SignedDuration::from_millis(500);
        measures.add(release, &one, at(8) + half);
        measures.reported(at(8) + half);
        // What is looked at by then is what came up to the second 7: the slice may go back to there.
        assert_eq!(measures.settled_until(at(8) + half), at(7));
        assert_eq!(measures.settled_until(at(9)), at(8) + half, "the slice is old enough");
        // Another window is no news of the gateway.
        measures.window_begins(at(9), at(9));
        assert_eq!(measures.settled_until(at(9)), at(8) + half);
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
        assert!(measures.present.grid.slice_ms > 60_000, "{:?}", measures.present.grid);
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
        assert_eq!(history(&measures.settled(at(20_030))), (16, 30));
        assert_eq!((measures.since(), measures.present.grid.slice_ms), (at(20_000), 1_000));
    }
}
