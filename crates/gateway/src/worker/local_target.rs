//! A target as one worker knows it: the connections that it keeps there.

use std::cell::RefCell;
use std::sync::Arc;

use crate::counters::Cells;
use crate::target::Target;
use crate::wire::h2::shared::Shares;
use crate::wire::upstream::Idle;

/// A target as one worker knows it.
#[derive(Debug)]
pub(crate) struct LocalTarget {
    pub(crate) target: Arc<Target>,
    worker: usize,
    /// Connections kept for the next request, last used last.
    pub(crate) idle: RefCell<Vec<Idle>>,
    /// Connections that requests share, where it speaks HTTP/2.
    pub(crate) h2: Shares,
}

impl LocalTarget {
    pub(crate) fn new(target: Arc<Target>, worker: usize) -> Self {
        Self { target, worker, idle: RefCell::default(), h2: Shares::default() }
    }

    pub(crate) fn cells(&self) -> &Cells {
        &self.target.cells[self.worker]
    }
}
