//! Simulated time: instants move only when the scheduler says so. The wall clock may be set, as on any
//! machine; who waits, waits by another clock, which is never set. The tests of the workflow runtime use
//! it, too.

use std::sync::Mutex;
use std::task::{Poll, Waker};
use std::time::Duration;

use ark_server::world::Clock;
use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};

/// Time that the scheduler moves.
#[derive(Debug)]
pub(crate) struct SimClock {
    time: Mutex<Time>,
    sleepers: Mutex<Vec<(Timestamp, Waker)>>,
}

#[derive(Debug, Clone, Copy)]
struct Time {
    /// Time that passes, whatever clocks say.
    steady: Timestamp,
    /// How far the wall clock is ahead of it.
    ahead: SignedDuration,
}

impl SimClock {
    pub(crate) fn new(start: Timestamp) -> Self {
        let time = Time { steady: start, ahead: SignedDuration::ZERO };
        Self { time: Mutex::new(time), sleepers: Mutex::default() }
    }

    /// How many wait for time to pass.
    #[allow(dead_code, reason = "the tests of rollouts do not ask")]
    pub(crate) fn sleepers(&self) -> usize {
        self.sleepers.lock().unwrap().len()
    }

    /// The time that has really passed since the start, as an instant.
    pub(crate) fn steady(&self) -> Timestamp {
        self.time.lock().unwrap().steady
    }

    /// How far the wall clock is ahead of the time that has really passed.
    #[allow(dead_code, reason = "the tests of workflows do not set the clock")]
    pub(crate) fn ahead(&self) -> SignedDuration {
        self.time.lock().unwrap().ahead
    }

    /// Time passes.
    pub(crate) fn advance(&self, by: SignedDuration) {
        let now = {
            let mut time = self.time.lock().unwrap();
            time.steady = time.steady.checked_add(by).unwrap();
            time.steady
        };
        self.sleepers.lock().unwrap().retain(|(at, waker)| {
            if *at <= now {
                waker.wake_by_ref();
            }
            *at > now
        });
    }

    /// Somebody sets the wall clock, forth or back; nobody waits longer or shorter for it.
    #[allow(dead_code, reason = "the tests of workflows do not set the clock")]
    pub(crate) fn set(&self, by: SignedDuration) {
        self.time.lock().unwrap().ahead += by;
    }
}

#[async_trait]
impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        let time = *self.time.lock().unwrap();
        time.steady.checked_add(time.ahead).unwrap()
    }

    fn passed(&self) -> Duration {
        Duration::try_from(self.steady().duration_since(Timestamp::UNIX_EPOCH)).unwrap()
    }

    async fn sleep_until(&self, at: Timestamp) {
        // Like the system's: how long that is, is found out once.
        let wait = at.duration_since(self.now()).max(SignedDuration::ZERO);
        let due = self.steady().checked_add(wait).unwrap_or(Timestamp::MAX);
        std::future::poll_fn(|context| {
            if self.steady() >= due {
                return Poll::Ready(());
            }
            self.sleepers.lock().unwrap().push((due, context.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}
