//! How many requests may be repeated: a share of the requests of the last ten seconds, and some
//! each second whatever comes. Without a budget, retries multiply the load on what is left of an app
//! exactly when it can bear it least. One per route and worker thread; time is passed in.

use std::cell::Cell;

use ark_model::traffic::RetryBudget as Limits;

/// Seconds that are looked back.
const SECONDS: usize = 10;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct RetryBudget {
    /// Requests and retries of the last seconds, by second modulo [`SECONDS`].
    counts: [Cell<(u32, u32)>; SECONDS],
    /// The last second counted in.
    second: Cell<u64>,
}

impl RetryBudget {
    /// A request has come.
    pub(crate) fn request(&self, now_ms: u64) {
        let count = self.current(now_ms);
        let (requests, retries) = count.get();
        count.set((requests.saturating_add(1), retries));
    }

    /// Whether a request may be repeated; if so it is counted. `share` is on how many threads the
    /// budget is spread.
    pub(crate) fn retry(&self, limits: Limits, share: usize, now_ms: u64) -> bool {
        let current = self.current(now_ms);
        let (requests, retries) = self.counts.iter().map(Cell::get).fold(
            (0_u64, 0_u64),
            |(requests, retries), (more, again)| {
                (requests + u64::from(more), retries + u64::from(again))
            },
        );
        let share = u64::try_from(share.max(1)).unwrap_or(1);
        let always = (u64::from(limits.per_s) * SECONDS as u64).div_ceil(share);
        let allowed = requests * u64::from(limits.percent) / 100 + always;
        if retries >= allowed {
            return false;
        }
        let (requests, retries) = current.get();
        current.set((requests, retries.saturating_add(1)));
        true
    }

    /// The count of this second; seconds that have passed since the last call begin at nothing.
    fn current(&self, now_ms: u64) -> &Cell<(u32, u32)> {
        let now = now_ms / 1000;
        let last = self.second.get();
        if now != last {
            let passed = now.saturating_sub(last).min(SECONDS as u64);
            for second in 0..passed {
                self.counts[((now - second) % SECONDS as u64) as usize].set((0, 0));
            }
            self.second.set(now.max(last));
        }
        &self.counts[(now % SECONDS as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(budget: &RetryBudget, limits: Limits, share: usize, now_ms: u64) -> usize {
        (0..10_000).take_while(|_| budget.retry(limits, share, now_ms)).count()
    }

    #[test]
    fn a_share_of_the_requests_and_some_each_second() {
        let limits = Limits::default();
        let budget = RetryBudget::default();
        assert_eq!(allowed(&budget, limits, 1, 1_000), 100, "ten a second over ten seconds");
        assert_eq!(allowed(&budget, limits, 1, 5_000), 0, "they are used");
        assert_eq!(allowed(&budget, limits, 1, 11_000), 100, "and forgotten after ten seconds");
        (0..1_000).for_each(|_| budget.request(12_000));
        assert_eq!(allowed(&budget, limits, 1, 12_500), 200);
        assert_eq!(allowed(&budget, limits, 1, 60_000), 100);
    }

    #[test]
    fn threads_share_it() {
        let none = Limits { percent: 0, per_s: 0 };
        assert_eq!(allowed(&RetryBudget::default(), none, 1, 0), 0);
        assert_eq!(allowed(&RetryBudget::default(), Limits::default(), 4, 0), 25);
    }
}
