//! Lines of the access log, gathered on this thread.

use super::Worker;
use crate::access_log::{Ending, Line};

impl Worker {
    /// Whether the request that has come is one to be logged.
    pub(crate) fn is_logged(&self) -> bool {
        let Some(sink) = self.shared.access_log.get() else { return false };
        let skips = self.log_skips.get();
        self.log_skips.set(skips.checked_sub(1).unwrap_or(sink.one_in - 1));
        skips == 0
    }

    pub(crate) fn log(&self, line: &Line, ending: Ending) {
        let Some(sink) = self.shared.access_log.get() else { return };
        let mut buffer = self.log.borrow_mut();
        line.write(ending, &mut buffer);
        sink.hand_over(&mut buffer, false);
    }

    pub(super) fn hand_over_log(&self) {
        if let Some(sink) = self.shared.access_log.get() {
            sink.hand_over(&mut self.log.borrow_mut(), true);
        }
    }
}
