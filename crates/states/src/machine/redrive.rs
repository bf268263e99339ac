//! Redrive: an execution that failed goes on where it failed; what succeeded is kept.

use super::Refused;
use super::effect::Effect;
use super::frame::{Doing, FrameId};
use super::run::Run;
use super::{ExecutionState, ExecutionStatus};
use crate::history::{Details, EventType};
use crate::limits::HISTORY_EVENTS_MAX;

impl ExecutionState {
    /// Whether a redrive would be taken: ended other than well, frames kept, room in the history.
    pub fn is_redrivable(&self) -> bool {
        let ended_badly = matches!(
            self.status,
            ExecutionStatus::Failed | ExecutionStatus::TimedOut | ExecutionStatus::Aborted
        );
        ended_badly && !self.frames.is_empty() && self.last_event_id + 1 < HISTORY_EVENTS_MAX
    }
}

impl Run<'_> {
    pub(super) fn redrive(&mut self) -> Result<(), Refused> {
        if !self.state.is_redrivable() {
            return Err(Refused::WrongStatus);
        }
        self.state.status = ExecutionStatus::Running;
        self.state.redrive_count += 1;
        self.state.redrive_time = Some(self.env.now);
        let details =
            Details { redrive_count: Some(self.state.redrive_count), ..Details::default() };
        let previous = self.state.last_event_id;
        self.record(EventType::ExecutionRedriven, previous, details);
        self.arm_timeout();
        let ids: Vec<FrameId> = self.state.frames.keys().copied().collect();
        for id in ids {
            self.resume(id);
        }
        Ok(())
    }

    fn resume(&mut self, id: FrameId) {
        let has_children = !self.children(id).is_empty();
        let frame = self.frame(id);
        frame.retries.clear();
        frame.retry_count = 0;
        match &mut frame.doing {
            // Its branches or iterations are frames of their own.
            Doing::Parallel { .. } | Doing::Map(_) if has_children => {}
            Doing::MapRun { map_run, arn, redrives } => {
                // Its own: it may have begun in a redrive.
                *redrives += 1;
                let (map_run, arn, redrives) = (*map_run, arn.clone(), *redrives);
                let previous = frame.previous;
                let details = Details {
                    map_run_arn: Some(arn),
                    redrive_count: Some(redrives),
                    ..Details::default()
                };
                let event = self.record(EventType::MapRunRedriven, previous, details);
                self.frame(id).previous = event;
                self.step.effects.push(Effect::RedriveMapRun { map_run });
            }
            Doing::Enter => self.state.ready.push_back(id),
            // Its own output failed after all of them were done: it is done over.
            Doing::Parallel { .. }
            | Doing::Map(_)
            | Doing::Work
            | Doing::Failed { .. }
            | Doing::Wait { .. }
            | Doing::Retry { .. }
            | Doing::Task { .. } => {
                frame.doing = Doing::Work;
                self.state.ready.push_back(id);
            }
        }
    }
}
