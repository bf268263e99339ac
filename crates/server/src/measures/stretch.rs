//! A stretch of time cut into slices of one length, counted from its beginning. A long stretch has long
//! slices, so that there are never too many.

use std::collections::BTreeMap;
use std::sync::Arc;

use ark_model::ReleaseNumber;
use ark_planner::Measured;
use ark_planner::judge::Slice;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// Length of a slice, until there are too many.
const SLICE_MS: i64 = 1_000;
/// The most slices; with more, slices become twice as long and those of one place are joined.
pub(super) const SLICES_MAX: usize = 240;

/// Where slices begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Grid {
    /// The first one.
    pub(super) began: Timestamp,
    /// Their length.
    pub(super) slice_ms: i64,
}

impl Grid {
    /// Where the slice begins that an instant falls into.
    fn slice_of(self, at: Timestamp) -> Timestamp {
        let ms = at.duration_since(self.began).as_millis().max(0);
        let ms = i64::try_from(ms).unwrap_or(i64::MAX);
        let into = SignedDuration::from_millis(ms - ms % self.slice_ms);
        self.began.checked_add(into).unwrap_or(at)
    }
}

/// See the module.
#[derive(Debug, PartialEq)]
pub(super) struct Stretch {
    pub(super) grid: Grid,
    /// Those in which anything happened, oldest first.
    slices: Vec<Arc<Measured>>,
}

impl Stretch {
    pub(super) fn new(began: Timestamp) -> Self {
        Self::of(Grid { began, slice_ms: SLICE_MS }, Vec::new())
    }

    /// Slices that were cut by this grid, oldest first.
    pub(super) fn of(grid: Grid, slices: Vec<Arc<Measured>>) -> Self {
        Self { grid, slices }
    }

    /// Adds what a release did, to the slice of that instant; a clock that was put back adds to the
    /// newest one. Answers where the slice begins.
    pub(super) fn add(&mut self, at: Timestamp, release: ReleaseNumber, what: &Slice) -> Timestamp {
        self.put(at, |sides| sides.entry(release).or_default().add(what))
    }

    /// Takes in a slice of another stretch, for the slice of that instant.
    pub(super) fn absorb(&mut self, at: Timestamp, other: &Measured) {
        self.put(at, |sides| {
            for (release, slice) in &other.sides {
                sides.entry(*release).or_default().add(slice);
            }
        });
    }

    fn put(
        &mut self,
        at: Timestamp,
        change: impl FnOnce(&mut BTreeMap<ReleaseNumber, Slice>),
    ) -> Timestamp {
        let mut from = self.grid.slice_of(at);
        if self.newest().is_none_or(|newest| newest < from) {
            if self.slices.len() >= SLICES_MAX {
                self.join();
                from = self.grid.slice_of(at);
            }
            if self.newest().is_none_or(|newest| newest < from) {
                self.slices.push(Arc::new(Measured { from, ..Measured::default() }));
            }
        }
        let Some(newest) = self.slices.last_mut() else { return from };
        change(&mut Arc::make_mut(newest).sides);
        newest.from
    }

    /// Makes slices longer until there is room for one more.
    fn join(&mut self) {
        while self.slices.len() >= SLICES_MAX {
            self.grid.slice_ms = self.grid.slice_ms.saturating_mul(2);
            let mut longer = Self::of(self.grid, Vec::with_capacity(SLICES_MAX));
            for slice in self.slices.drain(..) {
                longer.absorb(slice.from, &slice);
            }
            self.slices = longer.slices;
        }
    }

    /// All slices, oldest first.
    pub(super) fn slices(&self) -> impl Iterator<Item = &Arc<Measured>> {
        self.slices.iter()
    }

    /// Whether a slice is old enough to be looked at: the newest one may still grow.
    pub(super) fn is_settled(slice: &Measured, now: Timestamp) -> bool {
        now.duration_since(slice.from) >= SignedDuration::from_millis(SLICE_MS)
    }

    /// Whether the newest slice is too young for that.
    pub(super) fn has_unsettled(&self, now: Timestamp) -> bool {
        self.slices.last().is_some_and(|slice| !Self::is_settled(slice, now))
    }

    /// Where the newest slice begins.
    pub(super) fn newest(&self) -> Option<Timestamp> {
        self.slices.last().map(|slice| slice.from)
    }
}
