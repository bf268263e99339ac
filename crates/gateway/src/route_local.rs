//! A route as one worker thread knows it: what the table in force says, the pool of its targets, and
//! the state that outlives tables but belongs to this thread (whose turn it is in a split, the retry
//! budget, copies under way, requests held).

use std::cell::{Cell, RefCell};
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use crate::pool::Pool;
use crate::retry_budget::RetryBudget;
use crate::split::{Dealer, Side};
use crate::table::{Route, Table};

/// See the module.
#[derive(Debug)]
pub(crate) struct RouteLocal {
    table: Arc<Table>,
    /// Where it stands in the table.
    index: usize,
    pub(crate) state: Rc<RouteState>,
    pub(crate) pool: RefCell<Pool>,
    /// The state of health the pool was made from.
    pub(crate) pool_of: Cell<u64>,
}

/// What outlives tables.
#[derive(Debug, Default)]
pub(crate) struct RouteState {
    pub(crate) split: Dealer,
    pub(crate) mirror: Dealer,
    pub(crate) retries: RetryBudget,
    /// Copies of requests under way.
    pub(crate) mirrored: Cell<u32>,
    /// Requests that wait for a target.
    pub(crate) held: Cell<usize>,
}

/// A route as a request needs it: it stays what it was when the request came, whatever tables come
/// meanwhile.
#[derive(Debug, Clone)]
pub(crate) struct Found(pub(crate) Rc<RouteLocal>);

impl RouteLocal {
    pub(crate) fn new(table: Arc<Table>, index: usize, state: Rc<RouteState>) -> Self {
        let (pool, pool_of) = (RefCell::default(), Cell::new(0));
        Self { table, index, state, pool, pool_of }
    }

    /// The side for a connection of which nothing else can be known.
    pub(crate) fn deal_side(&self, random: &mut dyn FnMut() -> u64) -> Side {
        match self.split.as_ref().is_some_and(|s| self.state.split.deal(s.percent, random)) {
            true => Side::Canary,
            false => Side::Stable,
        }
    }
}

impl Deref for RouteLocal {
    type Target = Route;

    fn deref(&self) -> &Route {
        &self.table.routes[self.index]
    }
}

impl Deref for Found {
    type Target = RouteLocal;

    fn deref(&self) -> &RouteLocal {
        &self.0
    }
}
