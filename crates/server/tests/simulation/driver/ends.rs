//! What must hold when nothing breaks any more: all has come to its end (I1), nobody was left behind
//! (I4), what users were told is done is on record (I4), releases are what they were (I5), and of two
//! deployments the one asked for last has won (I6). Counts what was reached on the way.

use ark_model::definition::{HookStage, Step, Strategy};
use ark_model::deployment::{DeploymentKind, FAILURES_MAX, Rollout};
use ark_model::hook::{HookState, HookWhat};
use ark_model::instance::EngineState;
use ark_model::rollout::{JUDGEMENTS_MAX, WatchEnd};
use ark_model::{Deployment, DeploymentState, Diagnosis, Verdict};
use ark_planner::watch::GOOD_MAX;
use ark_server::world::Clock;
use ark_store::{DeploymentFilter, ReadTx};
use jiff::Timestamp;

use super::{APPS, Simulation, app, block, env};
use crate::universe::Behaviour;

/// More deployments than a simulation makes, and fewer than are kept.
const DEPLOYMENTS_MAX: usize = 1_000;
/// As many as gateways that were killed may leave, and what is said at a deployment's end.
const NOTES_MAX: usize = 24;

impl Simulation {
    /// What has not come to its end.
    pub(super) fn unsettled(&self) -> Vec<String> {
        let mut left: Vec<String> = self
            .unfinished()
            .iter()
            .map(|d| format!("{} {} is still {:?}", d.app, d.release, d.state))
            .collect();
        left.extend(self.unsettled_runs());
        if !left.is_empty() {
            return left;
        }
        let states = block(self.store.read(ReadTx::app_states)).unwrap();
        let u = self.universe.lock().unwrap();
        for state in states.into_iter().filter(|s| APPS.contains(&s.app.as_str())) {
            if state.watch.is_some() {
                left.push(format!("{} is still watched", state.app));
            }
            let key = state.app.clone();
            assert!(state.good.len() <= GOOD_MAX, "I9");
            let release = state.live.and_then(|n| {
                block(self.store.read(move |tx| tx.release(&env(), &key, n))).unwrap()
            });
            let wanted = match &release {
                Some(r) if !state.stopped => {
                    state.scale.unwrap_or_else(|| r.content.definition.count())
                }
                _ => 0,
            };
            let of = |live_only: bool| {
                u.instances
                    .values()
                    .filter(|i| i.app == state.app)
                    .filter(|i| {
                        !matches!(
                            i.state,
                            EngineState::Exited { .. } | EngineState::StartFailed { .. }
                        )
                    })
                    .filter(|i| !live_only || Some(i.release) == state.live)
                    .count() as u32
            };
            let live = state.live.and_then(|n| u.behaviours.get(&(env(), state.app.clone(), n)));
            // What never serves takes nothing away from what does, and is started over and over.
            let able = !matches!(
                live,
                Some(Behaviour::Crashes | Behaviour::NeverReady | Behaviour::CannotStart)
            );
            let steady = able && live != Some(&Behaviour::Flaps);
            // What flaps or crashes while live is replaced for ever, one beyond the count.
            if able && of(false) != of(true) {
                left.push(format!("{} has orphans of other releases", state.app));
            } else if of(true) != wanted && steady {
                left.push(format!("{} has {} instances of {wanted}", state.app, of(true)));
            }
        }
        left
    }

    pub(super) fn count_states(&mut self) {
        for d in self.all_deployments() {
            if d.failures.iter().any(|f| matches!(f, Diagnosis::NoCapacity { .. })) {
                self.cover("deployment without room");
            }
            self.cover_steps(&d);
            self.check_lists(&d);
            self.cover(match d.state {
                DeploymentState::Succeeded => "deployment Succeeded",
                DeploymentState::RolledBack => "deployment RolledBack",
                DeploymentState::Failed => "deployment Failed",
                DeploymentState::TimedOut => "deployment TimedOut",
                DeploymentState::Superseded => "deployment Superseded",
                _ => "deployment not ended",
            });
            self.check_held(&d);
            if d.receipt.is_none() && d.started_at.is_some() {
                let what = format!("{} {} ended without a receipt", d.app, d.release);
                self.universe.lock().unwrap().violations.push(what);
            }
        }
    }

    /// I9, as far as records have lists that grow.
    fn check_lists(&self, d: &Deployment) {
        let (judged, approved, steps) = match &d.rollout {
            Some(r) => (r.judgements.len(), r.approvals.len(), r.steps.len()),
            None => (0, 0, 0),
        };
        for (list, length, max) in [
            ("failures", d.failures.len(), FAILURES_MAX),
            ("judgements", judged, JUDGEMENTS_MAX),
            ("approvals", approved, steps),
            ("notes", d.notes.len(), NOTES_MAX),
        ] {
            if length > max {
                let what = format!("I9: {} {} has {length} {list}", d.app, d.release);
                self.universe.lock().unwrap().violations.push(what);
            }
        }
    }

    /// What the gateway counted is on record once: in all its lives, whatever was reported twice, late or
    /// not at all. Of one that was killed some is lost, and nothing can be said.
    pub(super) fn check_counted(&mut self) {
        let now = self.clock.now();
        let report = {
            let mut universe = self.universe.lock().unwrap();
            if universe.coverage.contains_key("gateway killed") {
                return;
            }
            universe.report()
        };
        block(self.store.write(move |tx| tx.apply_report(&report, now))).unwrap();
        let mut stored = 0;
        for name in APPS {
            let key = app(name);
            let traffic = block(self.store.read(move |tx| tx.traffic(&env(), &key))).unwrap();
            let sides = traffic.instances.values().map(|(_, side)| side);
            stored += sides.map(|side| side.served + side.failed + side.cut).sum::<u64>();
        }
        let mut universe = self.universe.lock().unwrap();
        let counted = universe.served + universe.cut;
        universe.cover("all that was counted is on record");
        if stored != counted {
            let what = format!("{now} I4: {counted} requests have ended, {stored} are on record");
            universe.violations.push(what);
        }
    }

    /// What a deployment made wait before it was live has ended when it has, unless its notes say
    /// otherwise: its receipt has it all.
    fn check_held(&self, d: &Deployment) {
        let (Some(started), Some(live), Some(finished)) = (d.started_at, d.live_at, d.finished_at)
        else {
            return;
        };
        let key = (d.env.clone(), d.app.clone());
        let mut universe = self.universe.lock().unwrap();
        if universe.clock_was_set() {
            // What is on record cannot be compared with what was seen.
            return;
        }
        let flaps = universe.behaviours.iter().any(|((env, app, _), behaviour)| {
            (env, app) == (&key.0, &key.1) && *behaviour == Behaviour::Flaps
        });
        let whole = d.strategy == Strategy::Recreate && d.state == DeploymentState::Succeeded;
        if !whole || flaps || !d.notes.is_empty() {
            return;
        }
        let made_wait: Vec<Timestamp> = universe
            .held_over
            .iter()
            .filter(|(app, since, _)| *app == key && *since > started && *since < live)
            .map(|(_, _, ended)| *ended)
            .collect();
        if !made_wait.is_empty() {
            universe.cover("receipt with requests that were held");
        }
        if let Some(late) = made_wait.into_iter().find(|ended| *ended > finished) {
            let what =
                format!("{} {}: held and ended at {late}, after {finished}", d.app, d.release);
            universe.violations.push(what);
        }
    }

    /// What deployments in steps came through.
    fn cover_steps(&mut self, d: &Deployment) {
        for run in &d.hooks {
            if run.state.is_active() {
                let what = format!("hooks: {} of a deployment that ended is active", run.name);
                self.universe.lock().unwrap().violations.push(what);
            }
            match (run.state, run.stage, &run.what) {
                (HookState::Failed, HookStage::PreDeploy, _) => self.cover("pre_deploy failed"),
                (HookState::Failed, HookStage::PostDeploy, _) => self.cover("post_deploy failed"),
                (HookState::Cancelled, ..) => self.cover("hook cancelled"),
                (HookState::Succeeded, _, HookWhat::Webhook { .. }) => {
                    self.cover("webhook succeeded");
                }
                (HookState::Succeeded, ..) => self.cover("hook succeeded"),
                _ => {}
            }
            let again = matches!(run.what, HookWhat::Command { .. }) && run.attempts > 1;
            if again {
                self.cover("hook run again");
            }
        }
        match (d.strategy, d.state) {
            (Strategy::Canary, DeploymentState::Succeeded) => self.cover("canary succeeded"),
            (Strategy::Canary, DeploymentState::RolledBack) => self.cover("canary rolled back"),
            (Strategy::Canary, DeploymentState::Superseded) => self.cover("canary superseded"),
            (Strategy::BlueGreen, DeploymentState::Succeeded) => self.cover("blue-green succeeded"),
            (Strategy::BlueGreen, DeploymentState::RolledBack) => {
                self.cover("blue-green rolled back");
            }
            (Strategy::Recreate, DeploymentState::Succeeded) => self.cover("recreate succeeded"),
            (Strategy::Recreate, DeploymentState::RolledBack) => {
                self.cover("recreate rolled back");
            }
            _ => {}
        }
        let passed = |r: &Rollout| r.steps[..r.step.min(r.steps.len())].to_vec();
        for step in d.rollout.iter().flat_map(passed) {
            match step {
                Step::Pause(None) => self.cover("pause without a time"),
                Step::Scale(_) => self.cover("instances by a step"),
                Step::Mirror(_) => self.cover("copies by a step"),
                Step::Header(_) => self.cover("requests by a rule"),
                Step::Weight(_) | Step::Pause(Some(_)) | Step::Analysis {} | Step::Approval {} => {}
            }
        }
        for judged in d.rollout.iter().flat_map(|r| &r.judgements) {
            self.cover(match judged.judgement.verdict {
                Verdict::Pass => "verdict pass",
                Verdict::Fail => "verdict fail",
                Verdict::Inconclusive => "verdict inconclusive",
            });
        }
        match d.watch.as_ref().and_then(|watch| watch.end) {
            Some(WatchEnd::Completed) => self.cover("watch completed"),
            Some(WatchEnd::RolledBack) => self.cover("watch rolled back"),
            Some(WatchEnd::FoundBad) => self.cover("watch found it bad"),
            Some(WatchEnd::Unjudged) => self.cover("watch unjudged"),
            Some(WatchEnd::CutShort) => self.cover("watch cut short"),
            None => {}
        }
        if d.kind == DeploymentKind::Rollback && d.created_by == "ark" {
            self.cover("rolled back by the watch");
        }
        if d.rollout.as_ref().is_some_and(|r| r.released_at.is_some()) {
            self.cover("old side let go");
        }
    }

    /// All deployments on record, in the order in which they were asked for.
    pub(super) fn all_deployments(&self) -> Vec<Deployment> {
        let filter = DeploymentFilter::default();
        let all = self.store.read(move |tx| tx.deployments(&filter, None, DEPLOYMENTS_MAX));
        let mut all = block(all).unwrap();
        // Clocks may be set; ids are counted.
        all.sort_by_key(|d| d.id);
        all
    }

    /// I4, I5 and I6: what users were told, against what is on record.
    pub(super) fn check_answers(&mut self) {
        let all = self.all_deployments();
        let mut wrong = Vec::new();
        for (name, id) in &self.answered.asked {
            if !all.iter().any(|d| d.id == *id) {
                wrong.push(format!("I4: a deployment of {name} that was taken is not on record"));
            }
        }
        for name in APPS {
            let key = app(name);
            let state = block(self.store.read(move |tx| tx.app_state(&env(), &key))).unwrap();
            let Some(state) = state else { continue };
            let of_app: Vec<&Deployment> = all.iter().filter(|d| d.app == state.app).collect();
            if let Some(scale) = self.answered.scales.get(name)
                && state.scale != Some(*scale)
            {
                wrong.push(format!("I4: {name} was scaled to {scale}, and has {:?}", state.scale));
            }
            wrong.extend(self.check_last_wins(name, &of_app));
            let succeeded = |d: &&&Deployment| d.state == DeploymentState::Succeeded;
            let last = of_app.iter().rfind(succeeded).map(|d| d.release);
            if state.live != last {
                wrong.push(format!("I6: {name} is at {:?}, and went to {last:?} last", state.live));
            }
        }
        for made in &self.answered.releases {
            let (key, number) = (app(made.app), made.number);
            let read = block(self.store.read(move |tx| tx.release(&env(), &key, number))).unwrap();
            if read.is_none_or(|release| release.content != made.content) {
                wrong.push(format!("I5: {number} of {} is not what it was", made.app));
            }
        }
        self.universe.lock().unwrap().violations.extend(wrong);
    }

    /// I6: nothing gives way but to what was asked for later, or to a stop.
    fn check_last_wins(&self, name: &str, of_app: &[&Deployment]) -> Vec<String> {
        let mut wrong = Vec::new();
        for (at, d) in of_app.iter().enumerate() {
            let stopped = self.answered.stops.iter().any(|(app, id)| *app == name && *id > d.id);
            let is_last = at + 1 == of_app.len();
            match d.state {
                DeploymentState::Superseded if is_last && !stopped => {
                    wrong.push(format!("I6: {name} {} was asked for last and gave way", d.release));
                }
                DeploymentState::Queued => {
                    wrong.push(format!("I6: {name} {} never had its turn", d.release));
                }
                _ => {}
            }
        }
        wrong
    }
}
