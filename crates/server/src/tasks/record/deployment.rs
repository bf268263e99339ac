//! The running deployment: how far it is, where it goes, how it ends, and its receipt.

use ark_model::deployment::FAILURES_MAX;
use ark_model::event::EventKind;
use ark_model::hook::HookState;
use ark_model::{Deployment, DeploymentState, Diagnosis, Receipt};
use ark_planner::rollout::{Plan, Transition};
use ark_store::WriteTx;

use super::Recording;
use crate::receipts;
use crate::tasks::diagnose::Diagnoses;
use crate::tasks::round::TaskError;

impl Recording {
    /// Moves the running deployment.
    pub(super) fn deployment(
        &mut self,
        tx: &mut WriteTx,
        plan: &Plan,
        diagnoses: Diagnoses,
    ) -> Result<(), TaskError> {
        let Some(mut d) = self.loaded.running.clone() else { return Ok(()) };
        let before = d.state;
        if plan.progressed {
            d.progress_at = Some(self.now);
        }
        let room = FAILURES_MAX.saturating_sub(d.failures.len());
        d.failures.extend(diagnoses.failures.into_iter().take(room));
        if let Some(rollout) = plan.rollout.clone() {
            d.rollout = Some(rollout);
        }
        for text in &plan.said {
            self.event(EventKind::DeploymentProgress, None, text.clone());
        }
        match &plan.transition {
            None => {}
            Some(Transition::Abort(abort)) => {
                let why = abort.reason.as_deref().unwrap_or("aborted");
                let text = format!("{why}; waiting for {}", plan.waiting_for);
                d.abort = Some(abort.clone());
                self.event(EventKind::DeploymentProgress, None, text);
            }
            Some(Transition::Live { keeping }) => self.live(&mut d, *keeping),
            Some(Transition::LetGo) => {
                d.state = DeploymentState::Draining;
                d.progress_at = Some(self.now);
                let old = d.base.map_or("the old side".to_owned(), |base| base.to_string());
                self.event(EventKind::DeploymentProgress, None, format!("{old} is let go"));
            }
            Some(Transition::Return(_)) => {
                // It was live: from now on what was before it is.
                if matches!(d.state, DeploymentState::Keeping | DeploymentState::Draining) {
                    let app = &mut self.loaded.app;
                    app.live = d.base;
                    app.previous = app.previous.filter(|previous| app.live != Some(*previous));
                }
                d.state = DeploymentState::Returning;
                d.returning_at = Some(self.now);
                d.diagnosis = diagnoses.reason;
                let why = d.diagnosis.as_ref().map_or(String::new(), Diagnosis::words);
                let back = d.base.map_or("stopping it".to_owned(), |b| format!("back to {b}"));
                self.event(EventKind::DeploymentReturning, None, format!("{why}; {back}"));
            }
            Some(Transition::End { state, note, .. }) => {
                d.state = *state;
                d.finished_at = Some(self.now);
                let waiting = d.hooks.iter_mut().filter(|run| run.state == HookState::Waiting);
                waiting.for_each(|run| run.state = HookState::Cancelled);
                d.diagnosis = diagnoses.reason.or(d.diagnosis);
                d.notes.extend(note.clone());
                let live = match d.state {
                    DeploymentState::Succeeded => Some(d.release),
                    _ => self.loaded.app.live,
                };
                d.notes.extend(self.hosts.silent_words(&self.loaded.instances, live));
                d.receipt = Some(self.receipt(tx, &d)?);
                self.loaded.app.running = None;
                self.finished(&d);
            }
        }
        tx.put_deployment(&d, before)?;
        if let Some(traffic) = self.traffic.take() {
            tx.put_deployment_traffic(d.id, &traffic)?;
        }
        self.loaded.running = (!d.state.is_terminal()).then_some(d);
        Ok(())
    }

    fn live(&mut self, d: &mut Deployment, keeping: bool) {
        d.state = match keeping {
            true => DeploymentState::Keeping,
            false => DeploymentState::Draining,
        };
        d.live_at = Some(self.now);
        d.progress_at = Some(self.now);
        let app = &mut self.loaded.app;
        if app.live != Some(d.release) {
            app.previous = app.live;
            app.live = Some(d.release);
        }
        app.failures = 0;
        app.start_after = None;
        self.event(EventKind::DeploymentLive, None, format!("{} is live", d.release));
    }

    fn receipt(&self, tx: &WriteTx, d: &Deployment) -> Result<Receipt, TaskError> {
        let traffic = tx.traffic(&d.env, &d.app)?;
        Ok(receipts::compute(d, &traffic))
    }

    fn finished(&mut self, d: &Deployment) {
        let counts = d.receipt.as_ref().map_or(String::new(), |r| {
            format!("; {} served, {} failed, {} cut", r.total.served, r.total.failed, r.total.cut)
        });
        let how = match d.state {
            DeploymentState::Succeeded => format!("{} succeeded", d.release),
            DeploymentState::RolledBack => match d.base {
                Some(base) => format!("{} failed, back on {base}", d.release),
                None => format!("{} failed", d.release),
            },
            DeploymentState::TimedOut => format!("{} timed out", d.release),
            DeploymentState::Superseded => format!("{} was superseded", d.release),
            DeploymentState::Failed
            | DeploymentState::Queued
            | DeploymentState::Replacing
            | DeploymentState::Stepping
            | DeploymentState::Keeping
            | DeploymentState::Draining
            | DeploymentState::Returning => format!("{} failed", d.release),
        };
        self.event(EventKind::DeploymentFinished, None, format!("{how}{counts}"));
    }
}
