//! Hooks: runs the commands and asks the webhooks that deployments have around them. What to do is
//! planned by [`ark_planner::hooks`], recorded with the deployment, then done; the deployment loop
//! waits for what is recorded. Run by `ark server`, and by the simulator with another world.
//!
//! A command is an instance of the engine that no route and no count knows: its id stands in the
//! deployment's record, and housekeeping leaves it alone as long as it is under way.
//!
//! Webhooks are asked beside the rounds: one that does not answer holds up nobody else.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use ark_engine::StopOptions;
use ark_model::event::{EventKind, NewEvent};
use ark_model::hook::{HookRun, HookWhat};
use ark_model::instance::{EngineState, InstanceRecord, InstanceState};
use ark_model::{Deployment, DeploymentId, DeploymentState, InstanceId, NodeName, ReleaseNumber};
use ark_planner::hooks::{self, HookAnswer, HookCall, HookPlan, HookSeen, STOP_GRACE, Stage};
use ark_planner::time::{after, since};
use ark_store::ReadTx;
use futures::FutureExt;
use futures::future::{BoxFuture, Either, select};
use futures::stream::{self, FuturesUnordered, StreamExt};
use jiff::Timestamp;

use super::reconcile::ReleaseFacts;
use super::round::{self, TaskError};
use super::{diagnose, engine_calls, start_spec};
use crate::webhooks::{Question, answer_of};
use crate::world::{CONTROLLER_LEASE, World};

/// Deployments whose hooks are worked on at the same time.
const PARALLEL: usize = 8;
/// How long the engine may take to say what runs.
const LIST_DEADLINE: Duration = Duration::from_secs(10);
/// How long a webhook may take for one answer; less when its hook's own time is over before.
pub const ASK_DEADLINE: Duration = Duration::from_secs(10);
/// Webhooks asked at the same time; others wait until one of them has answered.
const ASKS_MAX: usize = 64;
/// Two rounds are at least so far apart, however much is committed.
const ROUND_MIN: Duration = Duration::from_millis(100);
/// Rounds come at least this often.
const ROUND_MAX: Duration = Duration::from_secs(10);

/// The ids of instances that run hooks of deployments that have not ended.
pub(crate) fn instances(deployments: &[Deployment]) -> HashSet<InstanceId> {
    let active = |run: &&HookRun| run.state.is_active();
    let all = deployments.iter().flat_map(|d| &d.hooks).filter(active);
    all.filter_map(|run| run.instance).collect()
}

/// One question to a webhook: the hook at this place of a deployment, asked for the n-th time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Asked {
    deployment: DeploymentId,
    at: usize,
    attempt: u32,
}

impl Asked {
    /// The question that the records say was asked last.
    fn last(d: &Deployment) -> Option<Self> {
        let at = d.hooks.iter().position(|run| run.state.is_active())?;
        Some(Self { deployment: d.id, at, attempt: d.hooks[at].attempts })
    }
}

/// What became of the question that was asked last.
#[derive(Debug, Clone)]
enum Heard {
    /// There was none, or its answer was lost with a server's life.
    Nothing,
    /// It is not answered yet.
    Waiting,
    Answer(HookAnswer),
}

/// The loop. Its memory between rounds, questions that are not answered and answers that are not
/// recorded, is worth a repetition of these questions and no more.
#[derive(Debug, Default)]
pub struct Hooks {
    asks: FuturesUnordered<BoxFuture<'static, (Asked, HookAnswer)>>,
    waiting: HashSet<Asked>,
    answers: HashMap<Asked, HookAnswer>,
}

impl Hooks {
    /// One round. Answers when the next is due if nothing changes before.
    ///
    /// # Errors
    /// When the store cannot be read, or another controller has taken over.
    pub async fn round(&mut self, world: &World) -> Result<Timestamp, TaskError> {
        self.listen();
        // Of one that cannot be read, the deployment loop says so.
        let all = world.store.read(ReadTx::unfinished_deployments).await?.deployments;
        let due: Vec<Deployment> = all.into_iter().filter(hooks::concerns).collect();
        let idle = after(world.clock.now(), ROUND_MAX);
        let current: HashSet<Asked> = due.iter().filter_map(Asked::last).collect();
        self.answers.retain(|asked, _| current.contains(asked));
        if due.is_empty() {
            return Ok(idle);
        }
        let listed = list(world, &due).await;
        let room = &AtomicUsize::new(ASKS_MAX.saturating_sub(self.asks.len()));
        let parts: Vec<_> = due.into_iter().map(|d| (self.heard(&d), d)).collect();
        let results: Vec<_> = stream::iter(parts)
            .map(|(heard, d)| {
                let listed = listed.clone();
                async move {
                    let outcome = step(world, &d, listed.as_deref(), heard, room).await;
                    (d, outcome)
                }
            })
            .buffer_unordered(PARALLEL)
            .collect()
            .await;
        let mut wake = idle;
        for (d, outcome) in results {
            let outcome = outcome.map(|Stepped { wake_at, ask }| {
                if let Some(asked) = Asked::last(&d) {
                    self.answers.remove(&asked);
                }
                if let Some((d, at)) = ask {
                    self.ask(world, d, at);
                }
                wake_at
            });
            let at = round::part(world.clock.now(), outcome, |error| {
                tracing::warn!(env = %d.env, app = %d.app, error, "a hook could not be driven");
            })?;
            wake = at.map_or(wake, |at| wake.min(at));
        }
        // The questions go out now, and some may be answered at once.
        Ok(if self.listen() { world.clock.now() } else { wake })
    }

    /// Takes in the answers that are there. Answers whether there were any.
    fn listen(&mut self) -> bool {
        let mut any = false;
        while let Some(Some(answered)) = self.asks.next().now_or_never() {
            self.answered(answered);
            any = true;
        }
        any
    }

    fn answered(&mut self, (asked, answer): (Asked, HookAnswer)) {
        self.waiting.remove(&asked);
        self.answers.insert(asked, answer);
    }

    fn heard(&self, d: &Deployment) -> Heard {
        let Some(asked) = Asked::last(d) else { return Heard::Nothing };
        match self.answers.get(&asked) {
            Some(answer) => Heard::Answer(answer.clone()),
            None if self.waiting.contains(&asked) => Heard::Waiting,
            None => Heard::Nothing,
        }
    }

    /// Asks a webhook, beside the rounds.
    fn ask(&mut self, world: &World, d: Deployment, at: usize) {
        let asked = Asked { deployment: d.id, at, attempt: d.hooks[at].attempts };
        let world = world.clone();
        self.waiting.insert(asked);
        let question = async move { (asked, ask(&world, &d, &d.hooks[at]).await) };
        self.asks.push(question.boxed());
    }
}

/// What follows from one deployment's step.
struct Stepped {
    wake_at: Option<Timestamp>,
    /// The webhook to be asked: that of this deployment, at this place.
    ask: Option<(Deployment, usize)>,
}

type Listed = Arc<HashMap<InstanceId, EngineState>>;

/// What the engine says, when it is of interest; `None` also when it could not be asked.
async fn list(world: &World, due: &[Deployment]) -> Option<Listed> {
    if instances(due).is_empty() {
        return None;
    }
    let deadline = world.clock.sleep_until(after(world.clock.now(), LIST_DEADLINE));
    match select(Box::pin(world.engine.look()), deadline).await {
        // Hooks run on Ark's own host: others may be silent.
        Either::Left((Ok(sight), _)) if sight.silent.is_empty() => {
            Some(Arc::new(sight.seen.into_iter().map(|i| (i.id, i.state)).collect()))
        }
        Either::Left((Ok(_), _)) => None,
        Either::Left((Err(_), _)) | Either::Right(_) => None,
    }
}

/// Takes one of what is left, when anything is.
fn take(room: &AtomicUsize) -> bool {
    room.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok()
}

/// The next step of one deployment's hooks: see, plan, record, do. `room` says how many more
/// webhooks may be asked in this round.
async fn step(
    world: &World,
    d: &Deployment,
    listed: Option<&HashMap<InstanceId, EngineState>>,
    heard: Heard,
    room: &AtomicUsize,
) -> Result<Stepped, TaskError> {
    let waiting = matches!(heard, Heard::Waiting);
    let seen = match heard {
        Heard::Answer(answer) => HookSeen::Answer(answer),
        Heard::Nothing | Heard::Waiting => see(world, d, listed).await,
    };
    let plan = hooks::plan(d, &seen, world.ids.instance(), world.clock.now());
    let (call, wake_at) = (plan.call, plan.wake_at);
    if matches!(call, Some(HookCall::Ask(_))) && (waiting || !take(room)) {
        // The next answer brings about the next round.
        return Ok(Stepped { wake_at: None, ask: None });
    }
    let hooks = plan.hooks.clone();
    record(world, d, plan).await?;
    let d = Deployment { hooks, ..d.clone() };
    let mut ask = None;
    match call {
        None => {}
        Some(HookCall::Start(at)) => {
            if let Err(error) = start(world, &d, &d.hooks[at]).await {
                tracing::warn!(env = %d.env, app = %d.app, hook = %d.hooks[at].name, %error, "a hook could not be started yet");
            }
        }
        Some(HookCall::Stop(at)) => {
            if let Err(error) = stop(world, &d, &d.hooks[at]).await {
                tracing::warn!(env = %d.env, app = %d.app, %error, "a hook could not be stopped yet");
            }
        }
        Some(HookCall::Ask(at)) => ask = Some((d, at)),
    }
    Ok(Stepped { wake_at, ask })
}

async fn see(
    world: &World,
    d: &Deployment,
    listed: Option<&HashMap<InstanceId, EngineState>>,
) -> HookSeen {
    let Some(id) = hooks::active(d).and_then(|run| run.instance) else { return HookSeen::Nothing };
    let Some(listed) = listed else { return HookSeen::Nothing };
    let state = listed.get(&id).cloned().unwrap_or(EngineState::Gone);
    let log = match &state {
        EngineState::Exited { .. } => diagnose::last_lines(world, id, d.created_at).await,
        _ => Vec::new(),
    };
    HookSeen::Engine(state, log)
}

/// Writes the plan down, if the deployment still is what it was made from.
async fn record(world: &World, d: &Deployment, plan: HookPlan) -> Result<(), TaskError> {
    if plan.hooks == d.hooks && plan.said.is_empty() {
        return Ok(());
    }
    let (fence, now, before) = (world.fence, world.clock.now(), d.clone());
    world
        .store
        .write(move |tx| -> Result<(), TaskError> {
            match tx.check_lease(CONTROLLER_LEASE, fence.token) {
                Ok(()) => {}
                Err(ark_store::StoreError::StaleLease { .. }) => return Err(TaskError::Fenced),
                Err(error) => return Err(error.into()),
            }
            let Some(mut d) = tx.deployment(before.id)? else { return Err(TaskError::Outdated) };
            if d.hooks != before.hooks || d.state != before.state || d.abort != before.abort {
                return Err(TaskError::Outdated);
            }
            d.hooks = plan.hooks;
            if plan.progressed {
                d.progress_at = Some(now);
                let passed = hooks::stage(&d, hooks::HookStage::PreDeploy) == Stage::Passed;
                // The first step counts from here.
                if let (DeploymentState::Stepping, true, Some(rollout)) =
                    (d.state, passed, &mut d.rollout)
                {
                    rollout.since = now;
                }
            }
            for text in plan.said {
                tx.append_event(NewEvent {
                    at: now,
                    kind: EventKind::DeploymentProgress,
                    by: "ark".to_owned(),
                    env: Some(d.env.clone()),
                    app: Some(d.app.clone()),
                    deployment: Some(d.id),
                    instance: None,
                    text,
                })?;
            }
            let state = d.state;
            tx.put_deployment(&d, state)?;
            Ok(())
        })
        .await
}

/// Hands the command over to the engine, as an instance of the new release without ports.
async fn start(world: &World, d: &Deployment, run: &HookRun) -> Result<(), String> {
    let (HookWhat::Command { command }, Some(id)) = (&run.what, run.instance) else {
        return Ok(());
    };
    let facts = facts(world, d).await?;
    let record = InstanceRecord {
        id,
        env: d.env.clone(),
        app: d.app.clone(),
        release: d.release,
        node: NodeName::local(),
        state: InstanceState::Starting,
        ports: Vec::new(),
        created_at: world.clock.now(),
        running_since: None,
        active_at: None,
        draining_at: None,
        stopping_at: None,
        stopped_at: None,
        process: None,
        cause: None,
    };
    let mut spec = start_spec::build(world, &record, &facts)
        .await
        .map_err(|error| engine_calls::words(&error))?;
    spec.command.clone_from(command);
    spec.variables.extend(variables(d, run));
    engine_calls::bounded(world, world.engine.start(&spec)).await
}

/// Like any instance of the release, but with no more than a certain grace.
async fn stop(world: &World, d: &Deployment, run: &HookRun) -> Result<(), String> {
    let Some(id) = run.instance else { return Ok(()) };
    let facts = facts(world, d).await?;
    let asked = &facts.definition.run;
    // The grace counts from the first time it was told.
    let told = run.stopping_at.map_or(Duration::ZERO, |at| since(at, world.clock.now()));
    let grace = asked.stop_grace.get().min(STOP_GRACE).saturating_sub(told);
    let options = StopOptions { signal: asked.stop_signal, grace };
    engine_calls::bounded(world, world.engine.stop(id, options)).await
}

/// By what a hook knows what it is run for.
fn variables(d: &Deployment, run: &HookRun) -> Vec<(String, String)> {
    let base = d.base.map(|base: ReleaseNumber| base.to_string()).unwrap_or_default();
    [
        ("ARK_HOOK", run.name.clone()),
        ("ARK_HOOK_KEY", run.key(d.id)),
        ("ARK_HOOK_ATTEMPT", run.attempts.to_string()),
        ("ARK_DEPLOYMENT", d.id.to_string()),
        ("ARK_RELEASE", d.release.to_string()),
        ("ARK_RELEASE_BEFORE", base),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

async fn facts(world: &World, d: &Deployment) -> Result<ReleaseFacts, String> {
    let (env, app, release) = (d.env.clone(), d.app.clone(), d.release);
    let found = world.store.read(move |tx| tx.release(&env, &app, release)).await;
    match found {
        Ok(Some(release)) => Ok(ReleaseFacts::new(release)),
        Ok(None) => Err(format!("release {} is gone", d.release)),
        Err(error) => Err(engine_calls::words(&error)),
    }
}

/// Asks a webhook once.
async fn ask(world: &World, d: &Deployment, run: &HookRun) -> HookAnswer {
    let HookWhat::Webhook { url, token } = &run.what else {
        return HookAnswer::Unclear("it is no webhook".to_owned());
    };
    let token = match token {
        None => None,
        Some(name) => match secret(world, d, name).await {
            Ok(value) => Some(value),
            Err(why) => return HookAnswer::Failed(why),
        },
    };
    let now = world.clock.now();
    let limit = since(now, hooks::due(run, now)).min(ASK_DEADLINE);
    let question = Question {
        url: url.clone(),
        token,
        key: run.key(d.id),
        body: body(d, run),
        deadline: limit,
    };
    let deadline = world.clock.sleep_until(after(now, limit));
    match select(Box::pin(world.webhooks.ask(question)), deadline).await {
        Either::Left((Ok(reply), _)) => answer_of(&reply),
        Either::Left((Err(why), _)) => HookAnswer::Unclear(why),
        Either::Right(_) => HookAnswer::Unclear("no answer in time".to_owned()),
    }
}

/// The value of a variable of the release, secrets in clear: it goes nowhere but into the question.
async fn secret(world: &World, d: &Deployment, name: &str) -> Result<String, String> {
    let facts = facts(world, d).await?;
    let values = start_spec::values(world, &facts.release).await;
    let mut values = values.map_err(|error| engine_calls::words(&error))?;
    values
        .remove(name)
        .ok_or_else(|| format!("the app declares no variable `{name}` for its token"))
}

fn body(d: &Deployment, run: &HookRun) -> serde_json::Value {
    let id: DeploymentId = d.id;
    serde_json::json!({
        "hook": run.name,
        "at": run.stage.as_str(),
        "key": run.key(id),
        "attempt": run.attempts,
        "deployment": id,
        "env": d.env,
        "app": d.app,
        "release": d.release.to_string(),
        "release_before": d.base.map(|base| base.to_string()),
        "strategy": d.strategy,
        "by": d.created_by,
        "reason": d.reason,
    })
}

/// Runs rounds until another controller takes over.
pub async fn run(world: World) -> TaskError {
    let mut loop_ = Hooks::default();
    let mut commits = world.store.commits();
    let mut engine = world.engine.changes();
    loop {
        let outcome = loop_.round(&world).await;
        let Ok(next) = round::whole(world.clock.now(), outcome, "hooks") else {
            return TaskError::Fenced;
        };
        world.clock.sleep_until(after(world.clock.now(), ROUND_MIN)).await;
        tokio::select! {
            () = world.clock.sleep_until(next) => {}
            changed = commits.changed() => { if changed.is_err() { return TaskError::Store(ark_store::StoreError::Closed); } }
            Ok(()) = engine.changed() => {}
            Some(answered) = loop_.asks.next(), if !loop_.asks.is_empty() => loop_.answered(answered),
        }
    }
}
