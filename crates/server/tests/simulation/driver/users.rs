//! What users do: deploy, roll back, scale, restart, stop, abort, and speak to a deployment that goes
//! on; at any time, and often just while something is under way. What was answered to them is
//! remembered, to be looked for at the end (`ends.rs`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use ark_model::artifact::Artifact;
use ark_model::definition::{
    Definition, DurationText, Expose, HeaderStep, HookStage, Hooks, MirrorStep, Quantity, Step,
    Strategy, Webhook,
};
use ark_model::deployment::DeploymentKind;
use ark_model::environment::AppState;
use ark_model::event::{EventKind, NewEvent};
use ark_model::hook::HookRun;
use ark_model::release::ReleaseContent;
use ark_model::rollout::Said;
use ark_model::{Deployment, DeploymentId, DeploymentState, ReleaseNumber};
use ark_planner::queue::{Running, enqueue, recent, rollback_strategy, rollback_targets};
use ark_planner::wishes::{self, Wish};
use ark_server::world::{Clock, Ids};
use ark_store::{DeploymentFilter, NewRelease, ReadTx, StoreError, WriteTx};

use super::{APPS, ENV, Simulation, app, block, env};
use crate::universe::{Behaviour, DRAIN};

/// Deployments among which the release to go back to is looked for.
const HISTORY: usize = 500;

/// What users were told is done.
#[derive(Debug, Default)]
pub(super) struct Answered {
    /// Deployments and rollbacks that were taken.
    pub(super) asked: Vec<(&'static str, DeploymentId)>,
    /// When apps were stopped, as ids are counted.
    pub(super) stops: Vec<(&'static str, DeploymentId)>,
    /// How many instances each app was last scaled to.
    pub(super) scales: BTreeMap<&'static str, u32>,
    /// Releases, as they were made.
    pub(super) releases: Vec<Made>,
}

/// A release, as it was made.
#[derive(Debug, Clone)]
pub(super) struct Made {
    pub(super) app: &'static str,
    pub(super) number: ReleaseNumber,
    pub(super) content: ReleaseContent,
    pub(super) behaviour: Behaviour,
}

impl Simulation {
    pub(super) fn user(&mut self) {
        let name = APPS[self.dice.below(APPS.len() as u64) as usize];
        match self.dice.below(20) {
            0..=5 => self.deploy(name),
            6 => self.scale(name),
            7 => self.abort(name),
            8 => self.restart(name),
            9 => self.stop_for_a_while(name),
            10..=11 => self.wish(name, Wish::Promote { full: self.calm }),
            12 => self.wish(name, Wish::Promote { full: true }),
            13 => self.wish(name, Wish::Pause),
            14 => self.wish(name, Wish::Resume),
            15 => self.roll_back(name),
            16 => self.redeploy(name),
            17..=18 => self.interfere(),
            _ => self.wish(name, Wish::Approve),
        }
    }

    /// Somebody scales, rolls back or deploys the same again just while a deployment goes on.
    fn interfere(&mut self) {
        let begun: Vec<Deployment> =
            self.unfinished().into_iter().filter(|d| d.state != DeploymentState::Queued).collect();
        if begun.is_empty() {
            return;
        }
        let d = &begun[self.dice.below(begun.len() as u64) as usize];
        let Some(name) = APPS.into_iter().find(|name| *name == d.app.as_str()) else { return };
        self.cover(match d.state {
            DeploymentState::Stepping => "somebody interferes in Stepping",
            DeploymentState::Keeping => "somebody interferes in Keeping",
            DeploymentState::Draining => "somebody interferes in Draining",
            DeploymentState::Returning => "somebody interferes in Returning",
            _ => "somebody interferes in Replacing",
        });
        match self.dice.below(3) {
            0 => {
                self.cover("scaled in the middle");
                self.scale(name);
            }
            1 => {
                self.cover("rolled back in the middle");
                self.roll_back(name);
            }
            _ => {
                self.cover("deployed again in the middle");
                self.redeploy(name);
            }
        }
    }

    /// Somebody speaks to the running deployment; a refusal is as good as any answer.
    pub(super) fn wish(&mut self, name: &str, wish: Wish) {
        let now = self.clock.now();
        self.change(name, move |tx, state| {
            let Some(id) = state.running else { return Ok(format!("{wish:?}: nothing runs")) };
            let Some(d) = tx.deployment(id)? else { return Ok("is confused".into()) };
            let said = Said { by: "ana".into(), at: now, reason: None };
            match wishes::apply(&d, wish, None, said) {
                Ok((after, words)) => {
                    tx.put_deployment(&after, d.state)?;
                    Ok(words)
                }
                Err(refusal) => Ok(format!("{wish:?}: {refusal}")),
            }
        });
        self.cover(match wish {
            Wish::Promote { full: false } => "somebody promotes",
            Wish::Promote { full: true } => "somebody promotes to the end",
            Wish::Pause => "somebody pauses",
            Wish::Resume => "somebody resumes",
            Wish::Approve => "somebody approves",
        });
    }

    pub(super) fn change(
        &mut self,
        name: &str,
        change: impl FnOnce(&mut WriteTx, AppState) -> Result<String, StoreError> + Send + 'static,
    ) {
        let (key, now) = (app(name), self.clock.now());
        let done = block(self.store.write(move |tx| {
            let state = match tx.app_state(&env(), &key)? {
                Some(state) => state,
                None => AppState::new(env(), key.clone(), now),
            };
            let text = change(tx, state)?;
            tx.append_event(NewEvent {
                at: now,
                kind: EventKind::AppChanged,
                by: "ana".into(),
                env: Some(env()),
                app: Some(key),
                deployment: None,
                instance: None,
                text: text.clone(),
            })?;
            Ok::<_, StoreError>(text)
        }))
        .unwrap();
        self.note(&format!("user: {name}: {done}"));
        self.floor(name);
    }

    pub(super) fn deploy(&mut self, name: &'static str) {
        let behaviour = match self.dice.below(12) {
            0 => Behaviour::Crashes,
            1 => Behaviour::NeverReady,
            2 => Behaviour::Flaps,
            3 => Behaviour::IgnoresStop,
            4 => Behaviour::CannotStart,
            5..=6 => Behaviour::Errs,
            _ => Behaviour::Good,
        };
        let strategy = match self.dice.below(8) {
            0..=2 => Strategy::Canary,
            3..=4 => Strategy::BlueGreen,
            5 => Strategy::Recreate,
            _ => Strategy::Rolling,
        };
        let mut definition = self.definition(behaviour);
        definition.deploy.strategy = strategy;
        if behaviour == Behaviour::Errs && self.dice.one_in(2) {
            // Straight before the judge.
            let pause = Step::Pause(Some(DurationText::from_secs(5)));
            definition.deploy.steps = vec![Step::Weight(50), pause, Step::Analysis {}];
        }
        definition.deploy.hooks = self.hooks();
        let on_running = if self.dice.one_in(3) { Running::GivesWay } else { Running::Finishes };
        self.deploy_as(name, definition, behaviour, on_running);
    }

    pub(super) fn deploy_as(
        &mut self,
        name: &'static str,
        definition: Definition,
        behaviour: Behaviour,
        on_running: Running,
    ) {
        let strategy = definition.deploy.strategy;
        let guarded = definition.deploy.hooks.pre_deploy.is_some();
        let works = definition.expose.is_empty();
        let command = definition.run.command.clone().unwrap_or_default();
        let (id, now, key) = (self.ids.deployment(), self.clock.now(), app(name));
        let number = Arc::new(Mutex::new(ReleaseNumber(0)));
        let told = number.clone();
        let content =
            ReleaseContent { artifact: Artifact::None, definition, config: BTreeMap::new() };
        let written = content.clone();
        self.change(name, move |tx, state| {
            let release = tx
                .insert_release(NewRelease {
                    env: env(),
                    app: key.clone(),
                    content: written,
                    config_version: 0,
                    created_at: now,
                    created_by: "ana".into(),
                    commit: None,
                })?
                .into_release();
            *told.lock().unwrap() = release.number;
            let deployment = Deployment::queued(
                id,
                (env(), key),
                DeploymentKind::Deploy,
                release.number,
                strategy,
                ("ana".into(), now),
            );
            queue(tx, &state, &deployment, on_running)?;
            Ok(format!("deploys {} by {strategy} ({behaviour:?}, {on_running:?})", release.number))
        });
        let number = *number.lock().unwrap();
        self.answered.asked.push((name, id));
        self.answered.releases.push(Made { app: name, number, content, behaviour });
        let mut u = self.universe.lock().unwrap();
        u.behaviours.insert((env(), app(name), number), behaviour);
        u.commands.insert((app(name), number), command);
        if works {
            u.workers.insert((app(name), number));
        }
        if guarded {
            u.hooks.guarded.insert((app(name), number));
        }
    }

    /// A release that there is already is deployed as it was: the newest, or an earlier one.
    fn redeploy(&mut self, name: &'static str) {
        let made = self.answered.releases.iter().filter(|made| made.app == name);
        let made: Vec<Made> = made.cloned().collect();
        if made.is_empty() {
            return;
        }
        let back = if self.dice.one_in(2) { 0 } else { self.dice.below(made.len() as u64) };
        let Made { content, behaviour, .. } = made[made.len() - 1 - back as usize].clone();
        let on_running = if self.dice.one_in(2) { Running::GivesWay } else { Running::Finishes };
        self.cover("a release is deployed again");
        self.deploy_as(name, content.definition, behaviour, on_running);
    }

    /// `ark rollback`, to the last good release or to any.
    fn roll_back(&mut self, name: &'static str) {
        let (id, now, key) = (self.ids.deployment(), self.clock.now(), app(name));
        let (named, which) = (self.dice.one_in(3), self.dice.roll());
        let target = Arc::new(Mutex::new(None));
        let told = target.clone();
        self.change(name, move |tx, state| {
            let filter = DeploymentFilter { env: Some(env()), app: Some(key.clone()) };
            let history = tx.deployments(&filter, None, HISTORY)?;
            let running = unfinished(tx, state.running)?;
            let target = match history.len() as u64 {
                all @ 1.. if named => Some(history[(which % all) as usize].release),
                _ => rollback_targets(&state, running.as_ref(), &history).first().copied(),
            };
            let Some(target) = target else { return Ok("has nothing to go back to".into()) };
            let Some(release) = tx.release(&env(), &key, target)? else {
                return Ok(format!("cannot go back to {target}"));
            };
            let asked = release.content.definition.strategy_in(ENV);
            let strategy = rollback_strategy(asked, recent(&state, target, &history));
            let deployment = Deployment::queued(
                id,
                (env(), key),
                DeploymentKind::Rollback,
                target,
                strategy,
                ("ana".into(), now),
            );
            queue(tx, &state, &deployment, Running::GivesWay)?;
            *told.lock().unwrap() = Some(target);
            Ok(format!("rolls back to {target} by {strategy}"))
        });
        let Some(target) = *target.lock().unwrap() else { return };
        self.answered.asked.push((name, id));
        self.cover(if named { "rolled back to a named release" } else { "rolled back" });
        // A rollback runs no hooks.
        self.universe.lock().unwrap().hooks.passed.insert((app(name), target));
    }

    pub(super) fn definition(&mut self, behaviour: Behaviour) -> Definition {
        let seconds = DurationText::from_secs;
        // Now and then it takes no requests.
        let expose = match self.dice.one_in(8) {
            true => Vec::new(),
            false => vec![Expose::new("default", 80)],
        };
        let mut definition = Definition { expose, ..Definition::default() };
        definition.run.stop_grace = seconds(5);
        definition.autoscaling.min_count = Some(1 + self.dice.below(5) as u32);
        definition.deploy.min_healthy_time = Some(seconds(self.dice.below(3)));
        definition.deploy.ready_timeout = seconds(20);
        definition.deploy.progress_deadline = seconds(60);
        definition.deploy.deadline = seconds(300);
        definition.drain.requests = seconds(DRAIN.as_secs().unsigned_abs());
        definition.drain.streams = seconds(10);
        definition.deploy.steps = self.steps();
        definition.deploy.keep_old = match self.dice.below(3) {
            0 => None,
            n => Some(seconds(n * n * 50)),
        };
        definition.deploy.watch = seconds(self.dice.below(3) * 20);
        // Every behaviour is a release of its own.
        let mark = format!("{behaviour:?}-{}", self.dice.below(1 << 40));
        definition.run.command = Some(vec!["./web".into(), mark]);
        definition
    }

    /// Hooks of a release, if it has any.
    fn hooks(&mut self) -> Hooks {
        let mut command = || self.dice.one_in(10).then(|| vec!["./hook".to_owned()]);
        let (pre_deploy, post_deploy) = (command(), command());
        let webhook = |at| Webhook {
            url: "https://gate.example.test/".into(),
            at,
            timeout: Some(DurationText::from_secs(30)),
            token: None,
        };
        let webhooks = match self.dice.below(12) {
            0 => vec![webhook(HookStage::PreDeploy)],
            1 => vec![webhook(HookStage::PostDeploy)],
            _ => Vec::new(),
        };
        Hooks { pre_deploy, post_deploy, timeout: Some(DurationText::from_secs(20)), webhooks }
    }

    /// Steps of a canary, if it is to be one.
    fn steps(&mut self) -> Vec<Step> {
        let seconds = DurationText::from_secs;
        let mut weight = 0;
        let mut steps = Vec::new();
        if self.dice.one_in(5) {
            // Before any real traffic, where most of them come.
            steps.push(Step::Mirror(MirrorStep { percent: 50, unsafe_methods: false }));
        }
        for _ in 0..self.dice.below(7) {
            steps.push(match self.dice.below(14) {
                0..=3 => {
                    weight += self.dice.below(40) as u8;
                    Step::Weight(weight.min(99))
                }
                4..=5 => Step::Pause(Some(seconds(self.dice.below(20)))),
                6 => Step::Pause(None),
                7..=8 => Step::Analysis {},
                9 => Step::Approval {},
                10 => Step::Header(self.rule()),
                11 => Step::Mirror(MirrorStep {
                    percent: [0, 10, 100][self.dice.below(3) as usize],
                    unsafe_methods: self.dice.one_in(2),
                }),
                12 => Step::Scale(Quantity::Count(self.dice.below(8) as u32)),
                _ => Step::Scale(Quantity::Percent(self.dice.below(101) as u8)),
            });
        }
        steps
    }

    fn rule(&mut self) -> HeaderStep {
        let (canary, value) = (Some("x-canary".to_owned()), Some("yes".to_owned()));
        match self.dice.below(3) {
            0 => HeaderStep { name: canary, ..HeaderStep::default() },
            1 => HeaderStep { name: canary, value, ..HeaderStep::default() },
            _ => HeaderStep { cookie: canary, value, ..HeaderStep::default() },
        }
    }

    fn scale(&mut self, name: &'static str) {
        let count = self.dice.below(6) as u32;
        self.answered.scales.insert(name, count);
        self.change(name, move |tx, mut state| {
            state.scale = Some(count);
            tx.put_app_state(&state)?;
            Ok(format!("scales to {count}"))
        });
    }

    fn restart(&mut self, name: &str) {
        let now = self.clock.now();
        self.change(name, move |tx, mut state| {
            state.restart_before = Some(now);
            tx.put_app_state(&state)?;
            Ok("restarts".into())
        });
    }

    pub(super) fn stop(&mut self, name: &'static str) {
        let key = app(name);
        self.answered.stops.push((name, self.ids.deployment()));
        let active = |run: &HookRun| run.state.is_active();
        if self.unfinished().iter().any(|d| d.app == key && d.hooks.iter().any(active)) {
            self.cover("stopped while a hook runs");
        }
        self.change(name, move |tx, mut state| {
            state.stopped = true;
            tx.put_app_state(&state)?;
            Ok("stops".into())
        });
    }

    fn abort(&mut self, name: &str) {
        self.change(name, move |tx, state| {
            let Some(id) = state.running else { return Ok("has nothing to abort".into()) };
            let Some(mut d) = tx.deployment(id)? else { return Ok("is confused".into()) };
            if d.state.is_terminal() || d.abort.is_some() {
                return Ok("has nothing to abort".into());
            }
            d.abort = Some(ark_model::deployment::Abort {
                by: "ana".into(),
                reason: None,
                superseded: false,
            });
            let state = d.state;
            tx.put_deployment(&d, state)?;
            Ok(format!("aborts {}", d.release))
        });
    }
}

/// As the API does it, in the transaction of whoever asks.
fn queue(
    tx: &mut WriteTx,
    state: &AppState,
    deployment: &Deployment,
    on_running: Running,
) -> Result<(), StoreError> {
    let (running, waiting) = (unfinished(tx, state.running)?, unfinished(tx, state.waiting)?);
    let queued = enqueue(state, deployment, running.as_ref(), waiting.as_ref(), on_running);
    tx.insert_deployment(deployment)?;
    if let Some(d) = queued.superseded {
        tx.put_deployment(&d, DeploymentState::Queued)?;
    }
    if let Some(d) = queued.giving_way {
        tx.put_deployment(&d, d.state)?;
    }
    tx.put_app_state(&queued.app)
}

fn unfinished(tx: &ReadTx, id: Option<DeploymentId>) -> Result<Option<Deployment>, StoreError> {
    let found = match id {
        Some(id) => tx.deployment(id)?,
        None => None,
    };
    Ok(found.filter(|d| !d.state.is_terminal()))
}
