//! The waiting deployment: it begins, with its baseline and its discovery ports, or is withdrawn.

use ark_model::definition::Step;
use ark_model::event::EventKind;
use ark_model::route::RouteKey;
use ark_model::{DeploymentState, ReleaseNumber};
use ark_planner::rollout::Plan;
use ark_store::{StoreError, WriteTx};

use super::{PORT_HOLD, Recording};
use crate::receipts;
use crate::tasks::round::TaskError;

impl Recording {
    /// The waiting deployment becomes the running one.
    pub(super) fn begin(&mut self, tx: &mut WriteTx, plan: &Plan) -> Result<(), TaskError> {
        let Some(begins) = plan.begin_waiting.clone() else { return Ok(()) };
        if self.loaded.app.running.is_some() {
            return Ok(());
        }
        let Some(mut d) = self.loaded.waiting.take() else { return Ok(()) };
        let app = &mut self.loaded.app;
        tx.reset_stalls(&d.env, &d.app)?;
        let traffic = tx.traffic(&d.env, &d.app)?;
        (d.baseline, d.baseline_routes) = receipts::baseline(&traffic);
        d.state = begins.state;
        d.rollout = begins.rollout;
        d.hooks = begins.hooks;
        d.started_at = Some(self.now);
        d.progress_at = Some(self.now);
        d.base = app.live;
        app.running = Some(d.id);
        app.waiting = None;
        app.failures = 0;
        app.start_after = None;
        let from = d.base.map_or(String::new(), |b| format!("{b} → "));
        let text = match &d.rollout {
            Some(rollout) => {
                let words: Vec<String> = rollout.steps.iter().map(Step::words).collect();
                let (release, strategy) = (d.release, d.strategy);
                format!("{from}{release} begins, {strategy}: {}", words.join(", "))
            }
            None => format!("{from}{} begins, {}", d.release, d.strategy),
        };
        self.discovery(tx, d.release)?;
        tx.put_deployment(&d, DeploymentState::Queued)?;
        self.loaded.running = Some(d);
        self.event(EventKind::DeploymentStarted, None, text);
        Ok(())
    }

    /// The waiting deployment ends before it began.
    pub(super) fn drop_waiting(&mut self, tx: &mut WriteTx, plan: &Plan) -> Result<(), TaskError> {
        if !plan.drop_waiting {
            return Ok(());
        }
        let Some(mut d) = self.loaded.waiting.take() else { return Ok(()) };
        d.state = DeploymentState::Superseded;
        d.finished_at = Some(self.now);
        self.loaded.app.waiting = None;
        tx.put_deployment(&d, DeploymentState::Queued)?;
        let text = format!("{} was withdrawn before it began: the app is to stop", d.release);
        self.event(EventKind::DeploymentFinished, None, text);
        if let Some(event) = self.events.last_mut() {
            event.deployment = Some(d.id);
        }
        Ok(())
    }

    /// Each `expose` entry has a stable port from its first deployment on.
    fn discovery(&mut self, tx: &mut WriteTx, release: ReleaseNumber) -> Result<(), TaskError> {
        let facts = self.releases.get(&release).ok_or(TaskError::Outdated)?.clone();
        for expose in &facts.definition.expose {
            let route = RouteKey {
                env: self.loaded.app.env.clone(),
                app: self.loaded.app.app.clone(),
                expose: expose.name.clone(),
            };
            let range = &self.settings.discovery_ports.clone();
            match tx.allocate_discovery_port(&route, range, PORT_HOLD, self.now) {
                Ok(_) => {}
                // It is served by its hosts all the same; the next deployment tries again.
                Err(full @ StoreError::NoPort { .. }) => {
                    let text = format!("no discovery port for `{}`: {full}", expose.name);
                    self.event(EventKind::AppChanged, None, text);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
