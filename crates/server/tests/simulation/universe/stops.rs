//! What must hold when an instance is stopped: I2 and I4 of what takes requests, I3 of what takes none.

use ark_model::InstanceId;
use ark_model::instance::EngineState;
use ark_model::route::TargetState;
use jiff::SignedDuration;

use super::{SimInstance, Universe};

/// The server is never away for so long.
const LONG_AGO: SignedDuration = SignedDuration::from_mins(10);
/// Between a plan and what it has stopped.
const JUST_NOW: SignedDuration = SignedDuration::from_secs(1);

impl Universe {
    /// I4: a request is inside an instance that is no more. Whoever dies by itself, or is killed, takes
    /// its requests along; who was asked to end has none.
    pub(super) fn check_cut(&mut self, id: InstanceId) {
        let asked = match self.instances.get(&id).map(|i| &i.state) {
            Some(EngineState::Exited { exit }) => exit.requested,
            Some(_) | None => true,
        };
        if asked {
            self.violate(&format!("I4: {id} was asked to end, and that cut a request inside it"));
        }
    }

    /// I2 at the moment of stopping.
    pub(super) fn check_stop(&mut self, id: InstanceId) {
        let admission = self.gateway.targets().find(|t| t.0 == id).map(|t| t.1.clone());
        let inside = self.gateway.inside(id);
        match admission {
            Some(TargetState::Active { .. }) => {
                self.violate(&format!(
                    "I2: {id} is stopped while the gateway admits requests to it"
                ));
            }
            Some(TargetState::Draining { streams_until, .. }) => {
                if inside > 0 && self.wall() < streams_until {
                    self.violate(&format!("I2: {id} is stopped with {inside} requests inside"));
                }
            }
            Some(TargetState::Candidate) => {}
            None => self.check_stop_of_worker(id),
        }
    }

    /// I3 at the moment of stopping what takes no requests: of that no table tells.
    fn check_stop_of_worker(&mut self, id: InstanceId) {
        let works_at_all = |id: &InstanceId, i: &SimInstance| {
            let release = (i.app.clone(), i.release);
            self.workers.contains(&release) && !self.hooks.keys.contains_key(id)
        };
        // What is about to crash is not told from what works, nor, when the stop was planned, what has just done so.
        let seems_to_work = |i: &SimInstance| match &i.state {
            EngineState::Running { .. } => true,
            EngineState::Exited { exit } => !exit.requested && exit.at + JUST_NOW > self.wall(),
            _ => false,
        };
        let stopped = self.instances.get(&id).filter(|i| i.works() && works_at_all(&id, i));
        let Some(stopped) = stopped else { return };
        let app = (stopped.env.clone(), stopped.app.clone());
        let others = self.instances.iter().filter(|(other, i)| {
            let same = (&i.env, &i.app) == (&app.0, &app.1);
            **other != id && same && works_at_all(other, i) && seems_to_work(i)
        });
        let others = others.count();
        // The stop may have been recorded long ago, by a server that was away since.
        let floor = self.floor(&app, self.now - LONG_AGO, |floor| floor.working);
        self.cover("worker stopped");
        if others < floor {
            self.violate(&format!(
                "I3: a stop leaves {others} of {} working, floor {floor}",
                app.1
            ));
        }
    }
}
