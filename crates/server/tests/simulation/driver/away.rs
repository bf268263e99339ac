//! Wishes that change while the server is away: an app is stopped, and deployed again before anybody
//! has done what was asked. The plan of the stop may stand in the records while the table that drains
//! has not reached the gateway; it is carried out minutes later, when something else is wanted.

use jiff::SignedDuration;

use super::Simulation;

impl Simulation {
    /// Half of those who stop an app deploy it again within seconds.
    pub(super) fn stop_for_a_while(&mut self, name: &'static str) {
        self.stop(name);
        if self.dice.one_in(2) {
            let ms = self.dice.below(8_000) as i64;
            self.stopped = Some((name, self.clock.steady() + SignedDuration::from_millis(ms)));
        }
    }

    /// Whoever stopped an app deploys it again, often while the server is gone.
    pub(super) fn change_of_mind(&mut self) {
        let now = self.clock.steady();
        let Some((name, _)) = self.stopped.filter(|(_, at)| *at <= now) else { return };
        self.stopped = None;
        let gone = self.dice.one_in(2);
        if gone && self.life.is_some() {
            self.crash();
        }
        self.deploy(name);
        if gone && self.dice.one_in(2) {
            self.away();
        }
        self.cover("stopped and deployed again at once");
    }
}
