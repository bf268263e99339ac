//! An engine in memory whose instances follow a script: for simulation, where time is passed in and
//! every run must be the same, and for benchmarks of everything but the engine.
//!
//! It shows the states that the process and Docker engines show, in the same order and after the
//! same calls; the conformance suite holds it to that. It starts no task, reads no clock of its own
//! and draws no randomness: an instance's state is a function of its script, the calls made, and
//! the time that the given clock tells.

mod script;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ark_model::artifact::ManifestError;
use ark_model::definition::StopSignal;
use ark_model::ids::InstanceId;
use ark_model::instance::{EngineState, ObservedInstance};
use async_trait::async_trait;
use futures::FutureExt;
use futures::stream::{self, StreamExt};
use jiff::Timestamp;
use tokio::sync::watch;

use self::script::Life;
pub use self::script::{Behaviour, Ending, OnStop};
use crate::engine::{
    ArtifactSource, Capabilities, Enforcement, Engine, EngineError, EngineKind, ExecSession,
    ExecSpec, LogLine, LogQuery, LogSource, LogStream, StartSpec, Stats, StopOptions,
};

/// Tells the time. Must never go back.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;
/// Says how an instance behaves; asked once, when it is handed over.
pub type Script = Arc<dyn Fn(&StartSpec) -> Behaviour + Send + Sync>;
/// Says whether a call fails; asked at the beginning of each, before anything is done.
pub type Faults = Arc<dyn Fn(Call) -> Option<EngineError> + Send + Sync>;

/// A call of the engine, as [`Faults`] sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// [`Engine::start`].
    Start(InstanceId),
    /// [`Engine::stop`] and [`Engine::kill`].
    Stop(InstanceId),
    /// [`Engine::remove`].
    Remove(InstanceId),
    /// [`Engine::list`].
    List,
    /// [`Engine::logs`].
    Logs(InstanceId),
    /// [`Engine::exec`].
    Exec(InstanceId),
    /// [`Engine::stats`].
    Stats(InstanceId),
}

/// The engine. A clone is another engine object over the same instances, as a restarted server
/// makes one.
#[derive(Clone)]
pub struct FakeEngine {
    clock: Clock,
    script: Script,
    faults: Option<Faults>,
    world: Arc<World>,
}

struct World {
    state: Mutex<State>,
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    instances: BTreeMap<InstanceId, Instance>,
    /// Logs of removed instances.
    removed: HashMap<InstanceId, Vec<LogLine>>,
    /// Up to when [`FakeEngine::tick`] has announced changes.
    ticked: Option<Timestamp>,
}

struct Instance {
    seen: ObservedInstance,
    life: Life,
    log: Vec<LogLine>,
}

impl FakeEngine {
    /// An engine without instances.
    pub fn new(clock: Clock, script: Script) -> Self {
        let world = World { state: Mutex::default(), changes: watch::Sender::new(0) };
        Self { clock, script, faults: None, world: Arc::new(world) }
    }

    /// The same engine, with calls that may fail.
    #[must_use]
    pub fn with_faults(mut self, faults: Faults) -> Self {
        self.faults = Some(faults);
        self
    }

    /// When the next state change comes that no call brings about; `None` when none will.
    pub fn next_change(&self) -> Option<Timestamp> {
        let now = (self.clock)();
        let state = self.lock();
        state.instances.values().flat_map(|one| one.life.turns()).filter(|at| *at > now).min()
    }

    /// Announces the state changes that the clock has passed since the last tick. Whoever moves the
    /// clock calls this; states are right without it, only nobody is woken.
    pub fn tick(&self) {
        let now = (self.clock)();
        let mut state = self.lock();
        let since = state.ticked.replace(now);
        let passed = |at: Timestamp| at <= now && since.is_none_or(|since| at > since);
        let changed = state.instances.values().flat_map(|one| one.life.turns()).any(passed);
        drop(state);
        if changed {
            self.changed();
        }
    }

    /// An instance ends now, as if by itself (somebody else's `kill`, a crash).
    pub fn end(&self, id: InstanceId, ending: Ending) {
        let now = (self.clock)();
        if let Some(instance) = self.lock().instances.get_mut(&id) {
            instance.life.end(now, ending);
        }
        self.changed();
    }

    /// An instance vanishes without a trace, as a container does that somebody removes.
    pub fn vanish(&self, id: InstanceId) {
        self.lock().instances.remove(&id);
        self.changed();
    }

    /// Adds a line to an instance's log.
    pub fn write_log(&self, id: InstanceId, stream: LogSource, text: &str) {
        let at = (self.clock)();
        if let Some(instance) = self.lock().instances.get_mut(&id) {
            instance.log.push(LogLine { at, stream, text: text.to_owned() });
        }
        self.changed();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.world.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.world.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn check_fault(&self, call: Call) -> Result<(), EngineError> {
        match self.faults.as_ref().and_then(|faults| faults(call)) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Fails unless the instance's main process runs.
    fn running(&self, id: InstanceId) -> Result<(), EngineError> {
        match self.lock().instances.get(&id).map(|one| one.life.state((self.clock)())) {
            None => Err(EngineError::Unknown(id)),
            Some(EngineState::Running { .. } | EngineState::Stopping { .. }) => Ok(()),
            Some(
                EngineState::Preparing
                | EngineState::Exited { .. }
                | EngineState::StartFailed { .. }
                | EngineState::Gone,
            ) => Err(EngineError::NotRunning(id)),
        }
    }
}

fn refused(detail: String) -> EngineError {
    EngineError::Refused { engine: EngineKind::Fake, detail }
}

#[async_trait]
impl Engine for FakeEngine {
    fn kind(&self) -> EngineKind {
        EngineKind::Fake
    }

    fn capabilities(&self) -> Capabilities {
        let none = || Enforcement::NotEnforced { reason: "nothing really runs".to_owned() };
        Capabilities {
            memory_limit: none(),
            cpu_limit: none(),
            pids_limit: none(),
            kill_everything: Enforcement::Enforced,
            app_isolation: Enforcement::Enforced,
        }
    }

    async fn start(&self, spec: &StartSpec) -> Result<(), EngineError> {
        self.check_fault(Call::Start(spec.id))?;
        let bad = |error: ManifestError| refused(format!("the artifact: {error}"));
        match &spec.artifact {
            ArtifactSource::Directory { manifest, .. } => manifest.check().map_err(bad)?,
            ArtifactSource::Image { .. } | ArtifactSource::None => {}
        }
        let has_own_command = matches!(spec.artifact, ArtifactSource::Image { .. });
        if spec.command.is_empty() && !has_own_command {
            return Err(refused("`run.command` is missing".to_owned()));
        }
        let now = (self.clock)();
        let mut state = self.lock();
        if state.instances.contains_key(&spec.id) || state.removed.contains_key(&spec.id) {
            return Ok(());
        }
        let behaviour = (self.script)(spec);
        let line =
            |text: &String| LogLine { at: now, stream: LogSource::Stdout, text: text.clone() };
        let instance = Instance {
            seen: ObservedInstance {
                id: spec.id,
                env: spec.env.clone(),
                app: spec.app.clone(),
                release: spec.release,
                state: EngineState::Preparing,
            },
            log: behaviour.log.iter().map(line).collect(),
            life: Life::new(now, behaviour),
        };
        state.instances.insert(spec.id, instance);
        drop(state);
        self.changed();
        Ok(())
    }

    async fn stop(&self, id: InstanceId, options: StopOptions) -> Result<(), EngineError> {
        self.check_fault(Call::Stop(id))?;
        let now = (self.clock)();
        if let Some(instance) = self.lock().instances.get_mut(&id) {
            instance.life.stop(now, options);
        }
        self.changed();
        Ok(())
    }

    async fn remove(&self, id: InstanceId) -> Result<(), EngineError> {
        self.check_fault(Call::Remove(id))?;
        let now = (self.clock)();
        let mut state = self.lock();
        let Some(instance) = state.instances.get(&id) else { return Ok(()) };
        if !script::is_terminal(&instance.life.state(now)) {
            return Err(EngineError::StillThere(id));
        }
        if let Some(instance) = state.instances.remove(&id) {
            state.removed.insert(id, instance.log);
        }
        drop(state);
        self.changed();
        Ok(())
    }

    async fn list(&self) -> Result<Vec<ObservedInstance>, EngineError> {
        self.check_fault(Call::List)?;
        let now = (self.clock)();
        let seen =
            |one: &Instance| ObservedInstance { state: one.life.state(now), ..one.seen.clone() };
        Ok(self.lock().instances.values().map(seen).collect())
    }

    async fn logs(&self, id: InstanceId, query: LogQuery) -> Result<LogStream, EngineError> {
        self.check_fault(Call::Logs(id))?;
        let log = move |state: &State| {
            let living = state.instances.get(&id).map(|one| one.log.clone());
            living.or_else(|| state.removed.get(&id).cloned())
        };
        let Some(now) = log(&self.lock()) else { return Err(EngineError::Unknown(id)) };
        let skipped = query.tail.map_or(0, |tail| now.len().saturating_sub(tail));
        let wanted = move |line: &LogLine| query.since.is_none_or(|since| line.at >= since);
        if !query.follow {
            let lines = now.into_iter().skip(skipped).filter(wanted).map(Ok);
            return Ok(stream::iter(lines.collect::<Vec<_>>()).boxed());
        }
        let engine = self.clone();
        let changes = self.world.changes.subscribe();
        let lines = stream::unfold((engine, changes, skipped), move |mut at| async move {
            let (engine, changes, read) = (&at.0, &mut at.1, at.2);
            loop {
                changes.mark_unchanged();
                let all = log(&engine.lock())?;
                if let Some(line) = all.get(read) {
                    at.2 += 1;
                    return Some((line.clone(), at));
                }
                if engine.running(id).is_err() {
                    return None;
                }
                changes.changed().await.ok()?;
            }
        });
        let wanted = move |line: &LogLine| std::future::ready(wanted(line));
        Ok(lines.filter(wanted).map(Ok).boxed())
    }

    async fn exec(&self, id: InstanceId, spec: &ExecSpec) -> Result<ExecSession, EngineError> {
        self.check_fault(Call::Exec(id))?;
        self.running(id)?;
        if spec.command.is_empty() {
            return Err(refused("`exec` of this".to_owned()));
        }
        let code = self.lock().instances.get(&id).map_or(0, |one| one.life.exec_code());
        Ok(ExecSession {
            stdin: Some(Box::new(tokio::io::sink())),
            stdout: Some(Box::new(tokio::io::empty())),
            stderr: Some(Box::new(tokio::io::empty())),
            terminal: None,
            exit: std::future::ready(Ok(code)).boxed(),
        })
    }

    async fn stats(&self, id: InstanceId) -> Result<Stats, EngineError> {
        self.check_fault(Call::Stats(id))?;
        self.running(id)?;
        Ok(Stats { rss_bytes: 1 << 20, cpu_time: Duration::ZERO, processes: 1 })
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.world.changes.subscribe()
    }
}

/// The signal that no script can refuse.
const fn is_final(signal: StopSignal) -> bool {
    matches!(signal, StopSignal::Kill)
}
