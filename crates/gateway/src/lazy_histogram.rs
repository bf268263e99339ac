//! The histogram of `ark_model::histogram` as one worker thread fills it. Cells are allocated in
//! blocks when a value first falls there, so that thousands of targets without traffic cost
//! nothing, and one with traffic only what its values span (usually two or three blocks).

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use ark_model::histogram::{BUCKETS, Histogram, bucket};

/// Buckets per block: four powers of two.
const BLOCK: usize = 32;
const BLOCKS: usize = BUCKETS.div_ceil(BLOCK);

/// See the module. One thread writes, any may read.
#[derive(Debug, Default)]
pub(crate) struct LazyHistogram {
    blocks: [OnceLock<Box<[AtomicU64; BLOCK]>>; BLOCKS],
}

impl LazyHistogram {
    /// Counts a value; by the one writing thread only.
    pub(crate) fn record(&self, value: u64) {
        let bucket = bucket(value);
        let block = self.blocks[bucket / BLOCK].get_or_init(Box::default);
        super::counters::bump(&block[bucket % BLOCK], 1);
    }

    /// Adds all counts to `sum`.
    pub(crate) fn add_to(&self, sum: &mut Histogram) {
        for (index, block) in self.blocks.iter().enumerate() {
            for (within, cell) in block.get().into_iter().flat_map(|block| block.iter().enumerate())
            {
                sum.add(index * BLOCK + within, cell.load(Relaxed));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_as_the_plain_histogram_does() {
        let (lazy, mut plain) = (LazyHistogram::default(), Histogram::default());
        for value in [0, 1, 31, 32, 1_000, 1_000, 123_456_789, u64::MAX] {
            lazy.record(value);
            plain.record(value);
        }
        let mut sum = Histogram::default();
        lazy.add_to(&mut sum);
        assert_eq!(sum, plain);
    }
}
