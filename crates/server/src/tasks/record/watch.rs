//! The watch window after a deployment's end: it opens, goes on, ends, and may lead back.

use ark_model::Deployment;
use ark_model::deployment::{DeploymentKind, Watch};
use ark_model::event::EventKind;
use ark_model::rollout::WatchEnd;
use ark_planner::queue::{Recent, Running as OnRunning, enqueue, rollback_strategy};
use ark_planner::time::since;
use ark_planner::watch;
use ark_store::WriteTx;

use super::{ARK, Recording};
use crate::tasks::round::TaskError;

impl Recording {
    /// The watch window of the last deployment opens, goes on or ends.
    pub(super) fn watch(&mut self, tx: &mut WriteTx, change: watch::Move) -> Result<(), TaskError> {
        let watch = match change {
            watch::Move::Open(watch) => {
                if self.loaded.app.watch.is_none() {
                    let time = since(watch.since, watch.until);
                    let text = format!("watching {} for {} s", watch.release, time.as_secs());
                    self.watch_event(&watch, text);
                }
                self.loaded.app.watch = Some(watch);
                return Ok(());
            }
            watch::Move::End(watch) => watch,
        };
        self.loaded.app.watch = None;
        // Its deployment may have been forgotten meanwhile.
        if let Some(mut d) = tx.deployment(watch.deployment)? {
            d.watch = Some(watch.clone());
            let state = d.state;
            tx.put_deployment(&d, state)?;
        }
        let good = &mut self.loaded.app.good;
        let says_nothing = matches!(watch.end, Some(WatchEnd::CutShort | WatchEnd::Unjudged));
        good.retain(|release| *release != watch.release || says_nothing);
        let reasons = watch.judgement.as_ref().map(|j| j.reasons().join("; ")).unwrap_or_default();
        let release = watch.release;
        let text = match watch.end {
            Some(WatchEnd::Completed) => {
                good.push(release);
                let surplus = good.len().saturating_sub(watch::GOOD_MAX);
                good.drain(..surplus);
                format!("{release} completed its watch window")
            }
            Some(WatchEnd::RolledBack) => {
                self.go_back(tx, &watch, &reasons)?;
                format!("the judge fails {release}: {reasons}")
            }
            Some(WatchEnd::FoundBad) => {
                format!("the judge fails {release}, and nothing better is known: {reasons}")
            }
            Some(WatchEnd::Unjudged) => format!(
                "{release} could not be judged in its watch window: too much of what was measured is \
                 missing; it is not known good"
            ),
            Some(WatchEnd::CutShort) | None => {
                format!("{release} is no longer watched: something else is wanted")
            }
        };
        self.watch_event(&watch, text);
        Ok(())
    }

    fn watch_event(&mut self, watch: &Watch, text: String) {
        self.event(EventKind::DeploymentWatched, None, text);
        if let Some(event) = self.events.last_mut() {
            event.deployment = Some(watch.deployment);
        }
    }

    /// What was watched is bad and what was before it was good: a rollback, like anybody's.
    fn go_back(&mut self, tx: &mut WriteTx, watch: &Watch, why: &str) -> Result<(), TaskError> {
        let Some(base) = watch.base else { return Ok(()) };
        let app = &self.loaded.app;
        let (env, name) = (app.env.clone(), app.app.clone());
        let Some(release) = tx.release(&env, &name, base)? else { return Ok(()) };
        let asked = release.content.definition.strategy_in(env.as_str());
        let strategy = rollback_strategy(asked, Recent::Yes);
        let mut d = Deployment::queued(
            self.rollback_id,
            (env, name),
            DeploymentKind::Rollback,
            base,
            strategy,
            (ARK.to_owned(), self.now),
        );
        d.reason = Some(format!("the judge fails {}: {why}", watch.release));
        let queued = enqueue(&self.loaded.app, &d, None, None, OnRunning::Finishes);
        tx.insert_deployment(&d)?;
        self.loaded.app = queued.app;
        let text = format!("rollback to {base}: {} turned bad", watch.release);
        self.event(EventKind::DeploymentQueued, None, text);
        if let Some(event) = self.events.last_mut() {
            event.deployment = Some(d.id);
        }
        self.loaded.waiting = Some(d);
        Ok(())
    }
}
