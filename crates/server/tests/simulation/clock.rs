//! Simulated time: instants move only when the scheduler says so. The tests of the workflow runtime
//! use it, too.

use std::sync::Mutex;
use std::task::{Poll, Waker};

use ark_server::world::Clock;
use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};

/// Time that the scheduler moves.
#[derive(Debug)]
pub(crate) struct SimClock {
    now: Mutex<Timestamp>,
    sleepers: Mutex<Vec<(Timestamp, Waker)>>,
}

impl SimClock {
    pub(crate) fn new(start: Timestamp) -> Self {
        Self { now: Mutex::new(start), sleepers: Mutex::default() }
    }

    /// How many wait for time to pass.
    #[allow(dead_code, reason = "the tests of rollouts do not ask")]
    pub(crate) fn sleepers(&self) -> usize {
        self.sleepers.lock().unwrap().len()
    }

    /// Moves time, also backwards.
    pub(crate) fn advance(&self, by: SignedDuration) {
        let now = {
            let mut now = self.now.lock().unwrap();
            *now = now.checked_add(by).unwrap();
            *now
        };
        self.sleepers.lock().unwrap().retain(|(at, waker)| {
            if *at <= now {
                waker.wake_by_ref();
            }
            *at > now
        });
    }
}

#[async_trait]
impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        *self.now.lock().unwrap()
    }

    async fn sleep_until(&self, at: Timestamp) {
        std::future::poll_fn(|context| {
            if self.now() >= at {
                return Poll::Ready(());
            }
            self.sleepers.lock().unwrap().push((at, context.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}
