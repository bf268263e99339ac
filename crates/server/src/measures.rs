//! What the gateway measured of one app, per release and slice of time: the judge's evidence. Kept
//! by `observations` for apps with a running deployment or an open watch window; lost with the
//! process, and then gathered anew for as long as the steps say: too little evidence is never a pass.

use std::collections::VecDeque;
use std::sync::Arc;

use ark_model::ReleaseNumber;
use ark_planner::Measured;
use ark_planner::judge::Slice;
use jiff::{SignedDuration, Timestamp};

/// Length of a slice, until there are too many.
const SLICE_MS: i64 = 1_000;
/// The most slices; with more, neighbours are joined and slices become twice as long.
const SLICES_MAX: usize = 240;

/// See the module.
#[derive(Debug)]
pub(crate) struct Measures {
    slice_ms: i64,
    slices: VecDeque<Arc<Measured>>,
}

impl Default for Measures {
    fn default() -> Self {
        Self { slice_ms: SLICE_MS, slices: VecDeque::new() }
    }
}

impl Measures {
    /// Adds what a release did.
    pub(crate) fn add(&mut self, release: ReleaseNumber, slice: &Slice, now: Timestamp) {
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
            Arc::make_mut(newest).sides.entry(release).or_default().add(slice);
        }
    }

    /// Slices that are whole, oldest first.
    pub(crate) fn whole(&self, now: Timestamp) -> Vec<Arc<Measured>> {
        let length = SignedDuration::from_millis(self.slice_ms);
        let is_whole = |m: &&Arc<Measured>| now.duration_since(m.from) >= length;
        self.slices.iter().filter(is_whole).cloned().collect()
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
    use super::*;

    #[test]
    fn slices_are_joined_when_there_are_too_many_and_nothing_is_lost() {
        let one = Slice { served: 1, ..Slice::default() };
        let (mut measures, release) = (Measures::default(), ReleaseNumber(2));
        let at = |s: i64| Timestamp::from_second(s).expect("an instant");
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
}
