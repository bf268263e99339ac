//! What the server talks to besides the gateway: an engine whose calls take a moment, fail, or get no
//! answer, and webhooks that do the same. It checks that nothing is started but what its release says
//! (I5).

use std::sync::{Arc, Mutex};

use ark_engine::{
    Capabilities, Enforcement, Engine, EngineError, EngineKind, ExecSession, ExecSpec, LogQuery,
    LogStream, StartSpec, Stats, StopOptions,
};
use ark_model::InstanceId;
use ark_model::instance::{EngineState, ObservedInstance};
use ark_server::webhooks::{Question, Reply, Webhooks};
use async_trait::async_trait;
use jiff::SignedDuration;
use tokio::sync::watch;

use super::{Behaviour, SimInstance, Universe};

/// Webhooks of the world: they answer, fail, go on for a while, or never answer.
#[derive(Debug)]
pub(crate) struct SimWebhooks(pub Arc<Mutex<Universe>>);

#[async_trait]
impl Webhooks for SimWebhooks {
    async fn ask(&self, _: Question) -> Result<Reply, String> {
        let rolled = {
            let mut u = self.0.lock().unwrap();
            u.cover("webhook asked");
            u.dice.below(12)
        };
        let said = |status, body: &str| Ok(Reply { status, body: body.into() });
        match rolled {
            0 => std::future::pending().await,
            1 => Err("connection refused".to_owned()),
            2 => said(503, ""),
            3 => said(200, r#"{"status": "FAILED", "reason": "not today"}"#),
            4..=7 => said(200, r#"{"status": "IN_PROGRESS", "retry_after_s": 3}"#),
            _ => said(200, r#"{"status": "SUCCEEDED"}"#),
        }
    }
}

/// The engine as the server sees it: every call takes a moment, may fail, and may never be answered.
#[derive(Debug, Clone)]
pub(crate) struct SimEngine {
    pub universe: Arc<Mutex<Universe>>,
    changes: watch::Receiver<u64>,
}

/// What becomes of a call that does not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It is done, and answered.
    Answered,
    /// It is done, and nobody says so.
    Unanswered,
    /// Nobody heard it.
    Unheard,
}

impl SimEngine {
    pub(crate) fn new(universe: Arc<Mutex<Universe>>) -> Self {
        let changes = universe.lock().unwrap().version.subscribe();
        Self { universe, changes }
    }

    /// A call takes a moment, in which anything else may happen.
    async fn moment(&self) -> Result<Fate, EngineError> {
        let mut yielded = false;
        std::future::poll_fn(|context| {
            if std::mem::replace(&mut yielded, true) {
                return std::task::Poll::Ready(());
            }
            context.waker().wake_by_ref();
            std::task::Poll::Pending
        })
        .await;
        let mut universe = self.universe.lock().unwrap();
        let now = universe.now;
        if universe.engine_down_until.is_some_and(|until| now < until) || universe.dice.one_in(200)
        {
            universe.cover("engine call failed");
            return Err(EngineError::Unavailable {
                engine: EngineKind::Fake,
                action: "simulated call".into(),
                source: std::io::Error::other("simulated"),
            });
        }
        if universe.engine_hangs_until.is_none_or(|until| now >= until) {
            return Ok(Fate::Answered);
        }
        universe.cover("engine call hung");
        Ok(if universe.dice.one_in(2) { Fate::Unanswered } else { Fate::Unheard })
    }

    /// A call that does something: what it does, and what the caller hears of it.
    async fn call(&self, what: impl FnOnce(&mut Universe) + Send) -> Result<(), EngineError> {
        let fate = self.moment().await?;
        if fate != Fate::Unheard {
            what(&mut self.universe.lock().unwrap());
        }
        if fate != Fate::Answered {
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    /// A call that only asks.
    async fn question(&self) -> Result<(), EngineError> {
        self.call(|_| {}).await
    }
}

#[async_trait]
impl Engine for SimEngine {
    fn kind(&self) -> EngineKind {
        EngineKind::Fake
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            memory_limit: Enforcement::Enforced,
            cpu_limit: Enforcement::Enforced,
            pids_limit: Enforcement::Enforced,
            kill_everything: Enforcement::Enforced,
            app_isolation: Enforcement::Enforced,
        }
    }

    async fn start(&self, spec: &StartSpec) -> Result<(), EngineError> {
        self.call(|u| u.start(spec)).await
    }

    async fn stop(&self, id: InstanceId, options: StopOptions) -> Result<(), EngineError> {
        self.call(|u| u.stop(id, options)).await
    }

    async fn remove(&self, id: InstanceId) -> Result<(), EngineError> {
        self.call(|u| u.remove(id)).await
    }

    async fn list(&self) -> Result<Vec<ObservedInstance>, EngineError> {
        self.question().await?;
        let mut u = self.universe.lock().unwrap();
        u.cover("engine asked what runs");
        let observed = |(id, i): (&InstanceId, &SimInstance)| ObservedInstance {
            id: *id,
            env: i.env.clone(),
            app: i.app.clone(),
            release: i.release,
            state: i.state.clone(),
        };
        Ok(u.instances.iter().map(observed).collect())
    }

    async fn logs(&self, _: InstanceId, _: LogQuery) -> Result<LogStream, EngineError> {
        self.question().await?;
        Ok(Box::pin(futures::stream::empty()))
    }

    async fn exec(&self, id: InstanceId, _: &ExecSpec) -> Result<ExecSession, EngineError> {
        Err(EngineError::NotRunning(id))
    }

    async fn stats(&self, id: InstanceId) -> Result<Stats, EngineError> {
        Err(EngineError::NotRunning(id))
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }
}

impl Universe {
    fn start(&mut self, spec: &StartSpec) {
        if self.instances.contains_key(&spec.id) || self.removed.contains(&spec.id) {
            self.cover("start repeated");
            return;
        }
        let hook = spec.variables.iter().find(|(name, _)| name == "ARK_HOOK_KEY");
        let hook = hook.map(|(_, key)| key.clone());
        self.check_start(spec, hook.as_ref());
        let key = (spec.env.clone(), spec.app.clone(), spec.release);
        let behaviour = match hook {
            Some(key) => {
                self.hooks.keys.insert(spec.id, key);
                self.hook_behaviour()
            }
            None => match self.jobs.apps.get(&spec.app).copied() {
                Some(once) if !self.behaviours.contains_key(&key) => {
                    self.check_job(spec, once);
                    self.job_behaviour()
                }
                Some(_) | None => {
                    self.check_content(spec);
                    self.behaviours.get(&key).copied().unwrap_or(Behaviour::Good)
                }
            },
        };
        let ms = |n: u64| SignedDuration::from_millis(n as i64);
        let starts_at = self.now + ms(10 + self.dice.clone().below(300));
        let ready_at = starts_at + ms(50 + self.dice.below(3_000));
        let instance = SimInstance {
            env: spec.env.clone(),
            app: spec.app.clone(),
            release: spec.release,
            state: EngineState::Preparing,
            behaviour,
            starts_at,
            ready_at,
            ends_at: None,
        };
        self.instances.insert(spec.id, instance);
        self.tell();
    }

    /// I5: what is started of a release is what was written down when it was made.
    fn check_content(&mut self, spec: &StartSpec) {
        let of = (spec.app.clone(), spec.release);
        let Some(command) = self.commands.get(&of) else { return };
        if *command != spec.command {
            let (is, was) = (spec.command.join(" "), command.join(" "));
            self.violate(&format!("I5: {} of {} starts `{is}`, and is `{was}`", of.1, of.0));
        }
    }

    fn stop(&mut self, id: InstanceId, options: StopOptions) {
        let Some(i) = self.instances.get(&id).cloned() else { return };
        match i.state {
            EngineState::Running { .. } | EngineState::Preparing => {}
            _ => return,
        }
        self.check_stop(id);
        let wait = match i.behaviour {
            Behaviour::IgnoresStop | Behaviour::HookHangs => {
                SignedDuration::try_from(options.grace).unwrap()
            }
            _ => SignedDuration::from_millis(20 + self.dice.below(500) as i64),
        };
        let (now, wall) = (self.now, self.wall());
        if let Some(i) = self.instances.get_mut(&id) {
            i.state = EngineState::Stopping { since: wall };
            i.ends_at = Some(now + wait);
        }
        self.tell();
    }

    fn remove(&mut self, id: InstanceId) {
        if self.gateway.inside(id) > 0 && self.alive(id) {
            self.violate(&format!("I4: {id} is removed with requests inside"));
        }
        self.instances.remove(&id);
        self.removed.insert(id);
        self.tell();
    }
}
